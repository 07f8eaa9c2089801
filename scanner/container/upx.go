package container

import (
	"bytes"
	"errors"
	"hash/adler32"
	"io"

	"pratique/scanner/container/lz"
	"pratique/scanner/container/lzma"
)

// Programs that UPX packed (https://upx.github.io), whose header is public in its documentation and in every packed file:
//
//	PE    at the word UPX!: version, format, method, level; checksums (Adler-32) unpacked and packed; sizes unpacked, packed and of
//	      the file; filter and its byte; a sum. The packed bytes follow: the sections as they lie in memory, behind them the
//	      headers of the program as it was, and in the last four bytes where these are.
//	ELF   at the word UPX!: two numbers of the loader; then the sizes of the file and of a block; then blocks, each with its sizes,
//	      method, filter and the filter's byte, up to one of size nothing.
//
// Of a PE file the sections are put where its own headers say, so that a rule sees a program. What UPX itself would do to
// tables of imports and relocations is left undone: it is no content. The bytes are not those of the file before, and its hash
// cannot be.
const (
	upxMagic  = "UPX!"
	upxReach  = 4 << 10 // how far from the beginning its header lies: behind the headers of the program
	upxHeader = 32
	upxBlock  = 12
	// maxUPX bounds what is unpacked in memory, with the packed bytes; UPX takes all of a program at once.
	maxUPX = heldBytes
	// lzmaUPX is UPX's number of the method whose stream begins with two bytes of properties.
	lzmaUPX = 14
)

// upxMethods are UPX's numbers of the methods of NRV.
var upxMethods = map[byte]lz.NRV{2: {Kind: 'B', Word: 4}, 3: {Kind: 'B', Word: 1}, 4: {Kind: 'B', Word: 2}, 5: {Kind: 'D', Word: 4}, 6: {Kind: 'D', Word: 1},
	7: {Kind: 'D', Word: 2}, 8: {Kind: 'E', Word: 4}, 9: {Kind: 'E', Word: 1}, 10: {Kind: 'E', Word: 2}}

// upx is what a header says of one stream.
type upx struct {
	at               int64 // of the packed bytes
	method           byte
	packed, size     int64
	sum, packedSum   uint32
	filter, filterBy byte
}

func isUPX(c *Content) bool {
	p := readProgram(c)
	return p != nil && (c.has(0, "\x7FELF") && upxBlocks(c) > 0 || len(p.sections) > 0 && (upxHeaderOf(c) != nil || p.namedUPX()))
}

// namedUPX reports whether sections have the names that UPX gives.
func (p *program) namedUPX() bool { return p.sections[0].name == "UPX0" }

// upxHeaderOf finds the header in a PE file.
func upxHeaderOf(c *Content) *upx {
	b := c.piece(0, min(c.Size, upxReach))
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(upxMagic))
		if at += i; i < 0 || at+upxHeader > len(b) {
			return nil
		}
		h := b[at : at+upxHeader]
		u := &upx{at: int64(at) + upxHeader, method: h[6], sum: le.Uint32(h[8:]), packedSum: le.Uint32(h[12:]), size: int64(le.Uint32(h[16:])),
			packed: int64(le.Uint32(h[20:])), filter: h[28], filterBy: h[29]}
		if u.size > 0 && u.packed > 0 && u.packed <= u.size && u.packed <= c.Size-u.at {
			return u
		}
	}
}

// upxBlocks is where the first block of an ELF file lies, 0 if there is none.
func upxBlocks(c *Content) int64 {
	b := c.piece(0, min(c.Size, upxReach))
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(upxMagic))
		if at += i; i < 0 {
			return 0
		}
		if first := int64(at) + 8 + 12; upxBlockOf(c, first) != nil {
			return first
		}
	}
}

func upxBlockOf(c *Content, at int64) *upx {
	h := c.piece(at, upxBlock)
	if h == nil {
		return nil
	}
	u := &upx{at: at + upxBlock, size: int64(le.Uint32(h)), packed: int64(le.Uint32(h[4:])), method: h[8], filter: h[9], filterBy: h[10]}
	if u.size == 0 || u.packed == 0 || u.packed > u.size || u.packed > c.Size-u.at {
		return nil
	}
	return u
}

func openUPX(c *Content, l *layer) error {
	l.part = true
	if c.has(0, "\x7FELF") {
		return l.upxELF(c)
	}
	u := upxHeaderOf(c)
	if u == nil {
		return errUnknown // the names are there, and somebody took the header away
	}
	held := u.size + u.packed
	if held > maxUPX {
		return tooHungry
	}
	if err := l.reserve(2 * held); err != nil { // once more as a program
		return err
	}
	defer func() { l.windows -= 2 * held }()
	out, err := u.unpack(c, l)
	if err != nil && len(out) == 0 {
		return err
	}
	if err == nil && adler32.Checksum(out) != u.sum {
		err = ErrMalformed
	}
	if err == nil {
		out = u.rebuild(c, out)
	}
	return l.upxMember(out, err)
}

// upxMember hands on what was unpacked, and says what was wrong with it.
func (l *layer) upxMember(out []byte, err error) error {
	m := Member{Name: "unpacked", Size: int64(len(out)), Open: func() (io.Reader, error) { return bytes.NewReader(out), nil }}
	if memberErr := l.member(m); memberErr != nil {
		return memberErr
	}
	return err
}

// upxELF puts the blocks where the headers say, which are the first of them. The segments follow in their order, and behind
// the loader of UPX, which has no size, what lies between segments and behind them.
func (l *layer) upxELF(c *Content) error {
	at, held := upxBlocks(c), int64(0)
	defer func() { l.windows -= held }()
	block := func(u *upx) ([]byte, error) {
		if held+u.size+u.packed > maxUPX {
			return nil, tooHungry
		}
		if err := l.reserve(u.size + u.packed); err != nil {
			return nil, err
		}
		held += u.size + u.packed
		if err := l.count(); err != nil {
			return nil, err
		}
		b, err := u.unpack(c, l)
		return u.unfilter(b, 0, len(b)), err
	}
	first := upxBlockOf(c, at)
	out, err := block(first)
	if err != nil {
		return err
	}
	size := int64(0)
	if h := c.piece(at-8, 4); h != nil {
		size = int64(le.Uint32(h))
	}
	loads := elfLoads(out)
	if len(loads) == 0 { // of another kind of machine: one block behind the other
		loads = []span{{int64(len(out)), size}}
	}
	var gaps []span
	end := int64(len(out))
	for _, s := range loads {
		if s.at > end {
			gaps = append(gaps, span{end, s.at})
		}
		end = max(end, s.end)
	}
	if size > end && size <= maxUPX {
		gaps = append(gaps, span{end, size})
	}
	put := func(b []byte, to int64) error {
		if more := to + int64(len(b)) - int64(len(out)); more > 0 {
			if to+int64(len(b)) > maxUPX {
				return tooHungry
			}
			out = append(out, make([]byte, more)...)
		}
		copy(out[to:], b)
		return nil
	}
	at = first.at + first.packed
	done := int64(len(out))
	for _, s := range loads {
		for to := max(s.at, done); to < s.end && err == nil; {
			u := upxBlockOf(c, at)
			if u == nil || u.size > s.end-to {
				err = ErrMalformed
				break
			}
			var b []byte
			b, err = block(u)
			err = errors.Join(err, put(b, to))
			to, at = to+u.size, u.at+u.packed
		}
	}
	for _, s := range gaps {
		u := upxGap(c, at, s.size(), first.method)
		if err != nil {
			break
		}
		if u == nil {
			err = errUnknown
			break
		}
		var b []byte
		b, err = block(u)
		err = errors.Join(err, put(b, s.at))
		at = u.at + u.packed
	}
	return l.upxMember(out, err)
}

// upxGap looks for the block of a gap of a known size.
func upxGap(c *Content, at, size int64, method byte) *upx {
	const reach = 64 << 10 // more than a loader takes
	b := c.piece(at, min(reach, c.Size-at))
	word := le.AppendUint32(nil, uint32(size))
	for i := 0; i < len(b); i++ {
		k := bytes.Index(b[i:], word)
		if k < 0 {
			return nil
		}
		i += k
		if u := upxBlockOf(c, at+int64(i)); u != nil && u.method == method && u.filter == 0 {
			return u
		}
	}
	return nil
}

// elfLoads are the segments of a program whose headers are in memory, as far as they lie in the file.
func elfLoads(h []byte) (all []span) {
	if len(h) < 64 || string(h[:4]) != "\x7FELF" || h[5] != 1 {
		return nil
	}
	wide := h[4] == 2
	at, size, n := int64(le.Uint32(h[28:])), int64(le.Uint16(h[42:])), int(le.Uint16(h[44:]))
	if wide {
		at, size, n = int64(le.Uint64(h[32:])), int64(le.Uint16(h[54:])), int(le.Uint16(h[56:]))
	}
	t := whole(h)
	for range min(n, maxSections) {
		b := t.piece(at, size)
		if len(b) < 32 || wide && len(b) < 56 {
			break
		}
		at += size
		if le.Uint32(b) != 1 {
			continue
		}
		s := span{int64(le.Uint32(b[4:])), int64(le.Uint32(b[16:]))}
		if wide {
			s = span{int64(le.Uint64(b[8:])), int64(le.Uint64(b[32:]))}
		}
		if s.at < 0 || s.end < 0 || s.at > maxUPX || s.end > maxUPX {
			break
		}
		s.end += s.at
		all = append(all, s)
	}
	return all
}

// unpack returns what the packed bytes hold. With an error it returns what came before it.
func (u *upx) unpack(c *Content, l *layer) ([]byte, error) {
	b := make([]byte, u.packed)
	if !c.read(b, u.at) {
		return nil, ErrUnread
	}
	if u.packedSum != 0 && adler32.Checksum(b) != u.packedSum {
		return nil, ErrMalformed
	}
	var out []byte
	var err error
	method, nrv := upxMethods[u.method]
	switch {
	case u.packed == u.size:
		out = b
	case nrv:
		out, err = method.Unpack(b, int(u.size))
	case u.method == lzmaUPX && len(b) > 2:
		// pb in the low bits of the first byte; lp and lc in the second
		pb, lp, lc := b[0]&7, b[1]>>4, b[1]&15
		if pb > 4 || lp > 4 || lc > 8 {
			return nil, ErrMalformed
		}
		var r *lzma.Reader
		if r, err = lzma.NewReader(bytes.NewReader(b[2:]), (pb*5+lp)*9+lc, uint32(u.size), u.size); err == nil {
			out, err = io.ReadAll(r)
		}
	default:
		return nil, errUnknown
	}
	if spent := l.spend(int64(len(out))); spent != nil {
		return nil, spent
	}
	if errors.Is(err, lz.ErrCorrupt) || err == nil && int64(len(out)) != u.size {
		err = ErrMalformed
	}
	return out, err
}

// rebuild puts sections where the headers that are packed with them say. Without these it returns the sections as they are.
func (u *upx) rebuild(c *Content, image []byte) []byte {
	const fixed, sectionSize, least = 24, 40, 96
	start := c.piece(0, 64)
	if len(image) < 4 || start == nil {
		return image
	}
	f := fields{b: image}
	f.take(uint64(le.Uint32(image[len(image)-4:])))
	h := bytes.Clone(f.take(fixed + least))
	if h == nil || string(h[:4]) != "PE\x00\x00" {
		return image
	}
	wide := le.Uint16(h[fixed:]) == 0x20B
	rest := 128
	if wide {
		rest += 16
	}
	n := int(le.Uint16(h[6:]))
	h = append(h, f.take(uint64(rest))...)
	table := f.take(uint64(n) * sectionSize)
	if f.bad || n == 0 {
		return image
	}
	base, stub := le.Uint32(table[12:]), c.piece(0, int64(le.Uint32(start[60:])))
	code := int64(le.Uint32(h[44:])) - int64(base)
	image = u.unfilter(image, code, int(le.Uint32(h[28:])))
	out := bytes.Join([][]byte{stub, h, table}, nil)
	for ; len(table) > 0; table = table[sectionSize:] {
		from, size, at := int64(le.Uint32(table[12:]))-int64(base), int64(le.Uint32(table[16:])), int64(le.Uint32(table[20:]))
		if from < 0 || from >= int64(len(image)) || size == 0 {
			continue // resources stay in the packed file as they are
		}
		size = min(size, int64(len(image))-from)
		if at < 0 || at+size > int64(len(image))+upxReach {
			return image
		}
		if more := at + size - int64(len(out)); more > 0 {
			out = append(out, make([]byte, more)...)
		}
		copy(out[at:], image[from:from+size])
	}
	return out
}

// unfilter gives back the addresses of calls and jumps in a range, which the filter made absolute, the highest byte first, and
// marked with a byte.
func (u *upx) unfilter(b []byte, at int64, n int) []byte {
	if at < 0 || at > int64(len(b)) {
		return b
	}
	code := b[at:]
	code = code[:min(n, len(code))]
	jumps := u.filter == 0x49
	if u.filter != 0x26 && u.filter != 0x46 && !jumps {
		return b
	}
	for i := 0; i+5 <= len(code); i++ {
		call := code[i]&0xFE == 0xE8 || jumps && i > 0 && code[i-1] == 0x0F && code[i]&0xF0 == 0x80
		if call && code[i+1] == u.filterBy {
			le.PutUint32(code[i+1:], be.Uint32(code[i+1:])-uint32(i+1)-uint32(u.filterBy)<<24)
			i += 4
		}
	}
	return b
}
