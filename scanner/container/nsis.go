package container

import (
	"bufio"
	"bytes"
	"io"

	"pratique/scanner/container/lz"
	"pratique/scanner/container/lzma"
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Installers of NSIS (https://nsis.sourceforge.io, Source/exehead/fileform.h). Behind the program there are 28 bytes: flags, a
// signature, the length of the script unpacked, the length of all. Then the script and each file, every one with its length in
// front, packed one by one (the highest bit of the length says that) or all as one stream. How they are packed is said nowhere
// but in how they begin.
//
// Files are found one behind the other and not through the script, which can lie about them; their names come from the script
// where an instruction of it names the place of a file.
const (
	nsisMagic   = "\xEF\xBE\xAD\xDENullsoftInst"
	nsisHeader  = 28
	nsisNoCRC   = 4       // a flag: the last four bytes are no checksum
	nsisMost    = 4 << 20 // of a script: the largest of known installers have some hundreds of KB
	nsisPacked  = 1 << 31
	nsisEntry   = 28
	nsisExtract = 20 // the instruction that writes a file: its second argument is the name, its third the place
)

func isNSIS(c *Content) bool { return c.has(4, nsisMagic) }

// nsis is an installer while it is opened.
type nsis struct {
	*layer
	c     *Content
	end   int64 // of what is packed
	begin func(*bufio.Reader) (io.Reader, error)
	names map[int64]string
}

func openNSIS(c *Content, l *layer) error {
	h := c.piece(0, nsisHeader+16)
	if h == nil {
		return ErrMalformed
	}
	n := &nsis{layer: l, c: c, end: int64(le.Uint32(h[24:])), names: map[int64]string{}}
	if n.end > c.Size || n.end < nsisHeader {
		l.damaged()
		n.end = c.Size
	}
	if le.Uint32(h)&nsisNoCRC == 0 {
		n.end -= 4
	}
	script := int64(le.Uint32(h[20:]))
	first := h[nsisHeader:]
	one := nsisProperties(first) && !nsisProperties(first[4:]) // what looks like a length is the beginning of LZMA
	if packed := le.Uint32(first); !one && packed&nsisPacked != 0 && int64(packed&^nsisPacked) <= n.end-nsisHeader-4 || int64(packed) == script {
		n.begin = nsisMethod(first[4:])
		return n.apart()
	}
	n.begin = nsisMethod(first)
	return n.solid()
}

// nsisProperties reports whether LZMA begins: its usual properties, a round size of the dictionary, a byte of nothing.
func nsisProperties(b []byte) bool {
	return len(b) >= 6 && b[0] == 0x5D && b[1] == 0 && b[2] == 0 && b[5] == 0
}

// nsisMethod tells how something is packed.
func nsisMethod(b []byte) func(*bufio.Reader) (io.Reader, error) {
	switch {
	case nsisProperties(b):
		return nsisLZMA
	case b[0] <= 1 && nsisProperties(b[1:]): // with a byte that says whether there is a filter
		return func(r *bufio.Reader) (io.Reader, error) {
			filtered, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			out, err := nsisLZMA(r)
			if err == nil && filtered == 1 {
				out = newBranch(out, 0, (&x86{}).convert)
			}
			return out, err
		}
	case b[0] == 0x31 && b[1] < 14:
		return func(r *bufio.Reader) (io.Reader, error) { return lz.NewBZip2(r), nil }
	}
	return func(r *bufio.Reader) (io.Reader, error) { return lz.NewNSIS(r), nil }
}

func nsisLZMA(r *bufio.Reader) (io.Reader, error) {
	var h [5]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	return lzma.NewReader(r, h[0], le.Uint32(h[1:]), -1)
}

// apart opens an installer whose files are packed one by one.
func (n *nsis) apart() error {
	base := int64(-1) // where the script's places count from
	for at := int64(nsisHeader); at+4 <= n.end; {
		h := n.c.piece(at, 4)
		if h == nil {
			return ErrUnread
		}
		size, packed := int64(le.Uint32(h)&^nsisPacked), le.Uint32(h)&nsisPacked != 0
		src := n.c.section(at+4, min(size, n.end-at-4))
		if size > n.end-at-4 {
			n.damaged()
		}
		m := Member{Name: n.names[at-base], Size: size, At: src, Open: func() (io.Reader, error) { return io.NewSectionReader(src, 0, src.Size()), nil }}
		if packed {
			m.Size, m.At, m.Window = -1, nil, lzma.MaxWindow
			m.Open = func() (io.Reader, error) {
				return n.begin(bufio.NewReaderSize(io.NewSectionReader(src, 0, src.Size()), 16<<10))
			}
		}
		at += 4 + size
		if base < 0 {
			base = at
			m.Name = "script"
			n.script(m.Open)
		}
		if err := n.file(m); err != nil {
			return err
		}
	}
	return nil
}

// solid opens an installer in which everything is one stream.
func (n *nsis) solid() error {
	all := &solid{walk: n.walk, open: func() (io.Reader, error) {
		return n.begin(bufio.NewReaderSize(n.c.section(nsisHeader, n.end-nsisHeader), 64<<10))
	}}
	if err := n.reserve(lzma.MaxWindow); err != nil {
		return err
	}
	defer func() { n.windows -= lzma.MaxWindow }()
	base := int64(-1)
	for at := int64(0); ; {
		var h [4]byte
		r, _ := all.member(at, 4)()
		if got, err := io.ReadFull(r, h[:]); err != nil {
			if n.stopped != nil {
				return n.stopped
			}
			if got > 0 || base < 0 || !ended(err) {
				return ErrMalformed
			}
			return nil
		}
		size := int64(le.Uint32(h[:]))
		m := Member{Name: n.names[at-base], Size: size, Open: all.member(at+4, size)}
		at += 4 + size
		if base < 0 {
			base = at
			m.Name = "script"
			n.script(m.Open)
		}
		if err := n.file(m); err != nil {
			return err
		}
	}
}

// ended reports whether an error is the end of a stream.
func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

func (n *nsis) file(m Member) error {
	if m.Name == "" {
		m.Name = "file"
	}
	n.part = m.Name == "script"
	return n.member(m)
}

// script learns the names of files. What it cannot read has none: the files are there all the same.
func (n *nsis) script(open func() (io.Reader, error)) {
	_ = guard(func() error {
		r, err := open()
		if err != nil {
			return err
		}
		b, _ := io.ReadAll(io.LimitReader(r, nsisMost))
		if err := n.spend(int64(len(b))); err != nil {
			return err
		}
		// Flags, then eight blocks, each with its place and how many things are in it; in programs of 64 bits the place takes 8.
		for _, wide := range []int64{4, 8} {
			c, place := whole(b), func(i int64) int64 {
				if w := nsisNumber(b, 4+i*(wide+4)); w >= 0 {
					return w
				}
				return 0
			}
			entries, texts, count := place(2), place(3), nsisNumber(b, 4+2*(wide+4)+wide)
			if entries <= 0 || texts <= entries || count <= 0 || count > MaxMembers || entries+count*nsisEntry > texts {
				continue
			}
			two := c.has(texts, "\x00\x00")
			for i := range count {
				e := c.piece(entries+i*nsisEntry, nsisEntry)
				if e == nil {
					break
				}
				if le.Uint32(e) == nsisExtract {
					n.names[int64(le.Uint32(e[12:]))] = nsisText(b, texts, int64(le.Uint32(e[8:])), two)
				}
			}
			return nil
		}
		return nil
	})
}

// nsisNumber is a number of the script, -1 behind its end.
func nsisNumber(b []byte, at int64) int64 {
	if at < 0 || at+4 > int64(len(b)) {
		return -1
	}
	return int64(le.Uint32(b[at:]))
}

// nsisText is a text of the script, in bytes or in units of two. Variables in it are left out.
func nsisText(b []byte, texts, i int64, two bool) string {
	if two {
		i *= 2
	}
	if i += texts; i >= int64(len(b)) {
		return ""
	}
	b = b[i:]
	if !two {
		end := bytes.IndexByte(b, 0)
		return zipName(bytes.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, b[:min(max(end, 0), report.MaxPathBytes)]), 0)
	}
	var units []uint16
	for ; len(b) >= 2 && len(units) < report.MaxPathBytes; b = b[2:] {
		u := le.Uint16(b)
		if u == 0 {
			break
		}
		if u >= 1 && u <= 4 && len(b) >= 4 { // a code, and what it stands for
			b = b[2:]
			continue
		}
		units = append(units, u)
	}
	return volume.WTF8(units)
}
