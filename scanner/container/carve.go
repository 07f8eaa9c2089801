package container

import (
	"bytes"
	"hash/crc32"
	"io"
	"slices"
)

// What lies in and behind a program is taken out of it: the slices of a fat file, what follows behind the end that the headers
// name (the overlay, where installers and self-extracting archives have their files), what hides behind a signature, each
// resource that is a program or a container, and each archive whose own header proves it, wherever it lies. All of this has
// been through the rules as bytes of the program; it is taken out so that it is opened, and so that its own hash is looked
// up. A resource that is a picture or a text is left alone: it says nothing new.
//
// Headers can lie about the end, so archives are looked for between the headers and the end, too. In a program that is read
// as a stream they are looked for behind its end alone, for the medium would have to be read twice.
const (
	// maxResources bounds the entries of the tree of resources: Windows' own shell32.dll has 2,300.
	maxResources = 16_384
	// leastOverlay is less than what any archive with a member has, and more than what tools add to round a file up.
	leastOverlay = 24
	// blankBytes of an overlay are looked at for something else than zeros.
	blankBytes = 64 << 10
	// maxCarved bounds the archives in one program that nothing but their own header shows: an installer has one or two.
	maxCarved = 1024
	// carveWindow is how much of a stream is looked through at once, carveHead how much of it the longest header takes.
	carveWindow = 1 << 20
	carveHead   = 128
)

// found is one thing in a program.
type found struct {
	name string
	span
	archive bool // it is opened as what it is
}

func isProgram(c *Content) bool {
	p := readProgram(c)
	if p == nil {
		return false
	}
	if c.At == nil && int64(len(c.Head)) < c.Size { // what it holds can not be asked yet
		return len(p.sections) > 0 || p.end < c.Size || len(p.slices) > 0
	}
	some := false
	_ = p.each(c, func(int64) error { return nil }, func(found) error { some = true; return errNot })
	return some
}

func openProgram(c *Content, l *layer) error {
	p := readProgram(c)
	if p == nil {
		return errNot
	}
	l.part = true
	n := 0
	err := p.each(c, l.spend, func(f found) error {
		n++
		at := c.section(f.at, f.size())
		return l.member(Member{Name: f.name, Size: f.size(), At: at,
			Open: func() (io.Reader, error) { return io.NewSectionReader(at, 0, at.Size()), nil }})
	})
	if err == nil && n == 0 {
		return errNot
	}
	return err
}

// each hands on what the program holds, and ends with the first error. spend is told what was read for it.
func (p *program) each(c *Content, spend func(int64) error, hand func(found) error) error {
	var seen []span
	give := func(f found) error {
		if f.archive {
			seen = append(seen, f.span)
		}
		return hand(f)
	}
	for _, s := range p.slices {
		if err := give(found{"slice", s, true}); err != nil {
			return err
		}
	}
	formats := archives()
	if z := zipIn(c); z.size() > 0 {
		seen = append(seen, z) // opened as a ZIP archive with something before it
	}
	for _, f := range p.behind(c) {
		f.archive = opens(formats, sub(c, f.span))
		if slices.ContainsFunc(seen, func(s span) bool { return s.at <= f.at && f.at < s.end }) {
			continue
		}
		if err := give(f); err != nil {
			return err
		}
	}
	if err := p.resources(c, formats, spend, give); err != nil {
		return err
	}
	from := int64(0)
	if c.At != nil {
		from = p.end
	}
	return carve(c, span{from, c.Size}, p.end, &seen, spend, hand)
}

// behind are the ranges that the headers name nothing in.
func (p *program) behind(c *Content) (all []found) {
	add := func(name string, s span) {
		if s.size() < leastOverlay {
			return
		}
		if b := c.piece(s.at, min(s.size(), blankBytes)); b != nil && len(bytes.Trim(b, "\x00")) == 0 {
			if int64(len(b)) == s.size() {
				return
			}
		}
		all = append(all, found{name: name, span: s})
	}
	if p.signed.size() == 0 {
		add("overlay", span{p.end, c.Size})
		return all
	}
	add("overlay", span{p.end, p.signed.at})
	// A certificate is ASN.1 with a length of its own. What the table holds behind it is not part of what was signed.
	const head = 8
	for at := p.signed.at; at+head+4 <= p.signed.end; {
		h := c.piece(at, head+4)
		n := int64(le.Uint32(h))
		if n < head+4 {
			break
		}
		if h[8] == 0x30 && h[9] == 0x82 {
			add("behind the signature", span{at + head + 4 + int64(be.Uint16(h[10:])), min(at+n, p.signed.end)})
		}
		at += (n + 7) &^ 7
	}
	add("overlay", span{p.signed.end, c.Size})
	return all
}

// resources walks the tree, whose leaves are at the third level; a fourth is a lie.
func (p *program) resources(c *Content, formats []format, spend func(int64) error, give func(found) error) error {
	root := p.place(p.tree)
	if p.tree == 0 || root < 0 {
		return nil
	}
	left, known := maxResources, map[int64]bool{}
	var walk func(at int64, depth int) error
	walk = func(at int64, depth int) error {
		h := c.piece(root+at, 16)
		if h == nil || depth > 3 {
			return nil
		}
		for i := range int64(le.Uint16(h[12:])) + int64(le.Uint16(h[14:])) {
			if left--; left < 0 {
				return &limit{tooMany.outcome, "The program has more resources than this station looks at."}
			}
			e := c.piece(root+at+16+8*i, 8)
			if e == nil {
				return nil
			}
			to := int64(le.Uint32(e[4:]))
			if to&(1<<31) != 0 {
				if err := walk(to&(1<<31-1), depth+1); err != nil {
					return err
				}
				continue
			}
			leaf := c.piece(root+to, 16)
			if leaf == nil {
				continue
			}
			from, n := p.place(le.Uint32(leaf)), int64(le.Uint32(leaf[4:]))
			if from < 0 || n < smallest || known[from] {
				continue
			}
			known[from] = true
			s := span{from, min(from+n, c.Size)}
			r := sub(c, s)
			if err := spend(int64(len(r.Head) + len(r.Tail))); c.At != nil && err != nil {
				return err
			}
			if opens(formats, r) {
				if err := give(found{"resource", s, true}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(0, 1)
}

// sub is a range of the content as content.
func sub(c *Content, s span) *Content {
	s.at, s.end = max(0, s.at), min(s.end, c.Size)
	if s.size() <= 0 {
		return whole(nil)
	}
	if s.end <= int64(len(c.Head)) {
		return whole(c.Head[s.at:s.end:s.end])
	}
	tail := min(s.size(), tailBytes)
	return &Content{Size: s.size(), Head: c.piece(s.at, min(s.size(), headBytes)), Tail: c.piece(s.end-tail, tail), At: c.section(s.at, s.size())}
}

// opens reports whether content is worth to be opened by itself: a program or a container.
func opens(formats []format, c *Content) bool {
	if c.has(0, "MZ") || c.has(0, "\x7FELF") {
		return true
	}
	for i := range formats {
		if formats[i].match(c) {
			return true
		}
	}
	return known(c) != nil
}

// zipIn is where in the content a ZIP archive lies that is found from its end.
func zipIn(c *Content) span {
	d := zipTable(c)
	if d == nil || d.entries == 0 {
		return span{}
	}
	first := c.piece(d.at, zipEntrySize)
	if first == nil {
		return span{}
	}
	at := d.base + int64(le.Uint32(first[42:]))
	if !c.has(at, zipLocal) {
		return span{}
	}
	return span{at, d.end}
}

// proofs are archives that begin with enough to be sure of, anywhere. prove says how long one is; 0 is none, -1 to the end.
var proofs = []struct {
	name, word string
	back       int64 // how far before the word it begins
	behind     bool  // only behind the end of a program: little proves it, or libraries hold such among their sections
	prove      func(head []byte) int64
}{
	{"archive.7z", sevenMagic, 0, false, func(b []byte) int64 {
		next, size := le.Uint64(b[12:]), le.Uint64(b[20:])
		if crc32.ChecksumIEEE(b[12:32]) != le.Uint32(b[8:]) || next > 1<<40 || size > sevenMaxHeader {
			return 0
		}
		return int64(32 + next + size)
	}},
	{"archive.cab", cabMagic, 0, false, func(b []byte) int64 {
		if !isCab(whole(b)) || le.Uint32(b[12:]) != 0 || le.Uint32(b[20:]) != 0 || le.Uint16(b[26:]) == 0 || le.Uint16(b[28:]) == 0 || le.Uint32(b[16:]) < cabHeader {
			return 0
		}
		return int64(le.Uint32(b[8:]))
	}},
	{"archive.rar", "Rar!\x1A\x07\x00", 0, false, func(b []byte) int64 {
		n := int(le.Uint16(b[12:]))
		if b[9] != 0x73 || n < 13 || 7+n > len(b) || uint16(crc32.ChecksumIEEE(b[9:7+n])) != le.Uint16(b[7:]) {
			return 0
		}
		return -1
	}},
	{"archive.rar", "Rar!\x1A\x07\x01\x00", 0, false, func(b []byte) int64 {
		n := 13 + int(b[12]) // a header of more than 127 bytes is none that begins an archive
		if n > len(b) || n < 15 || crc32.ChecksumIEEE(b[12:n]) != le.Uint32(b[8:]) {
			return 0
		}
		return -1
	}},
	{"archive.xz", "\xFD7zXZ\x00", 0, true, func(b []byte) int64 {
		if crc32.ChecksumIEEE(b[6:8]) != le.Uint32(b[8:]) {
			return 0
		}
		return -1
	}},
	{"installer.nsis", nsisMagic, 4, true, func(b []byte) int64 {
		if n := int64(le.Uint32(b[24:])); n >= nsisHeader {
			return n
		}
		return 0
	}},
	{"archive.zip", zipLocal, 0, true, func(b []byte) int64 {
		_, method := zipMethods[le.Uint16(b[8:])]
		if b[4] > 63 || !method || le.Uint16(b[26:]) == 0 || le.Uint16(b[26:]) > 1024 || b[30] < ' ' {
			return 0
		}
		return -1
	}},
}

// carve looks for archives in a range. end is that of the program.
func carve(c *Content, r span, end int64, seen *[]span, spend func(int64) error, hand func(found) error) error {
	carved := 0
	for at := r.at; at < r.end; at += carveWindow {
		window := c.piece(at, min(carveWindow+carveHead, r.end-at))
		if window == nil {
			return ErrUnread
		}
		if c.At != nil {
			if err := spend(int64(len(window))); err != nil {
				return err
			}
		}
		for _, p := range proofs {
			for i := 0; ; i++ {
				k := bytes.Index(window[i:], []byte(p.word))
				if k < 0 || i+k >= carveWindow {
					break
				}
				i += k
				from := at + int64(i) - p.back
				head := c.piece(from, min(carveHead, r.end-from))
				if from <= 0 || len(head) < leastOverlay+16 || p.behind && from < end {
					continue
				}
				n := p.prove(head)
				if n < 0 {
					n = r.end - from
				}
				if n < smallest || n > r.end-from || slices.ContainsFunc(*seen, func(s span) bool { return s.at <= from && from < s.end }) {
					continue
				}
				if carved++; carved > maxCarved {
					return &limit{tooMany.outcome, "The program holds more archives than this station looks at."}
				}
				*seen = append(*seen, span{from, from + n})
				if err := hand(found{p.name, span{from, from + n}, true}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
