package container

import (
	"bufio"
	"io"
	"strings"
)

// Formats of one member from the time of floppy disks.

// compress(1): LZW with codes of 9 to 16 bits. The bit order and the gaps at each change of width are those of ncompress.
func isCompress(c *Content) bool {
	h := c.piece(0, 3)
	if h == nil || h[0] != 0x1F || h[1] != 0x9D || h[2]&0x60 != 0 || h[2]&0x1F < 9 || h[2]&0x1F > 16 {
		return false
	}
	return c.Size < 5 || c.piece(3, 2)[1]&1 == 0 // the first code is a byte
}

func openCompress(c *Content, l *layer) error {
	flags := c.piece(2, 1)[0]
	return l.member(Member{Name: stem(l.name, ".Z", ".taz>.tar"), Size: -1, Open: func() (io.Reader, error) {
		z := &lzw{src: bufio.NewReaderSize(c.section(3, c.Size-3), 64<<10), most: uint(flags & 0x1F), blocks: flags&0x80 != 0}
		z.clear()
		z.old = -1
		return z, nil
	}})
}

// lzw unpacks codes of a width that grows.
type lzw struct {
	src    *bufio.Reader
	most   uint
	blocks bool // code 256 begins anew

	width  uint
	next   int // code to be defined
	group  []byte
	at     uint // bit in the group
	old    int
	first  byte
	prefix [1 << 16]uint16
	suffix [1 << 16]byte
	out    []byte // reversed
	err    error
}

func (z *lzw) clear() {
	z.width, z.next = 9, 256
	if z.blocks {
		z.next = 257
	}
	z.group, z.at = nil, 0
}

// code reads the next code. Codes come in groups of eight of a width; when the width changes, the rest of a group is void.
func (z *lzw) code() (int, error) {
	if z.at+z.width > uint(len(z.group))*8 {
		buf := make([]byte, z.width)
		n, err := io.ReadFull(z.src, buf)
		if n == 0 || uint(n)*8 < z.width {
			if err == io.ErrUnexpectedEOF || n > 0 {
				err = io.EOF
			}
			return 0, err
		}
		z.group, z.at = buf[:n], 0
	}
	v := 0
	for i := range z.width {
		v |= int(z.group[(z.at+i)/8]>>((z.at+i)%8)&1) << i
	}
	z.at += z.width
	return v, nil
}

func (z *lzw) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if k := len(z.out); k > 0 {
			for n < len(p) && k > 0 {
				k--
				p[n] = z.out[k]
				n++
			}
			z.out = z.out[:k]
			continue
		}
		if z.err != nil {
			return n, z.err
		}
		z.err = z.step()
	}
	return n, nil
}

func (z *lzw) step() error {
	code, err := z.code()
	if err != nil {
		return err
	}
	if z.old < 0 {
		if code > 255 {
			return ErrMalformed
		}
		z.old, z.first = code, byte(code)
		z.out = append(z.out, byte(code))
		return nil
	}
	if code == 256 && z.blocks {
		z.clear()
		z.next = 256 // as ncompress has it: the next code defines one that is never used
		z.old = -2
		code, err := z.code()
		if err != nil {
			return err
		}
		if code > 255 {
			return ErrMalformed
		}
		z.next = 257
		z.old, z.first = code, byte(code)
		z.out = append(z.out, byte(code))
		return nil
	}
	in := code
	if code >= z.next {
		if code > z.next {
			return ErrMalformed
		}
		z.out = append(z.out, z.first)
		code = z.old
	}
	for code >= 256 {
		z.out = append(z.out, z.suffix[code])
		code = int(z.prefix[code])
	}
	z.first = byte(code)
	z.out = append(z.out, z.first)
	if z.next < 1<<z.most {
		z.prefix[z.next], z.suffix[z.next] = uint16(z.old), z.first
		z.next++
		if z.next > 1<<z.width-1 && z.width < z.most { // ncompress widens one code early
			z.width++
			z.group, z.at = nil, 0
		}
	}
	z.old = in
	return nil
}

// Microsoft's COMPRESS.EXE: SZDD and its older form, KWAJ of installers.
// https://www.cabextract.org.uk/libmspack/doc/szdd_kwaj_format.html
const (
	szdd   = "SZDD\x88\xF0\x27\x33"
	szOld  = "SZ \x88\xF0\x27\x33\xD1"
	kwaj   = "KWAJ\x88\xF0\x27\xD1"
	lzRing = 4096
)

func isSzdd(c *Content) bool { return c.has(0, szdd) || c.has(0, szOld) }

func openSzdd(c *Content, l *layer) error {
	at, size, start := int64(14), int64(-1), lzRing-16
	if c.has(0, szOld) {
		at, start = 12, lzRing-18
		if h := c.piece(8, 4); h != nil {
			size = int64(le.Uint32(h))
		}
	} else if h := c.piece(8, 6); h != nil {
		if h[0] != 'A' {
			return errUnknown
		}
		size = int64(le.Uint32(h[2:]))
		if h[1] != 0 && strings.HasSuffix(l.name, "_") { // SETUP.EX_ has lost its last letter
			l.name = strings.TrimSuffix(l.name, "_") + string(rune(h[1]))
		}
	}
	return l.member(Member{Name: l.name, Size: size, Open: func() (io.Reader, error) {
		return newLZSS(bufio.NewReaderSize(c.section(at, c.Size-at), 16<<10), start), nil
	}})
}

// lzss unpacks flags of eight, bytes, and pairs of a place in a ring and a length.
type lzss struct {
	src  *bufio.Reader
	ring [lzRing]byte
	at   int
	flag uint
	from int
	left int
}

func newLZSS(src *bufio.Reader, start int) *lzss {
	z := &lzss{src: src, at: start, flag: 1}
	for i := range z.ring {
		z.ring[i] = ' '
	}
	return z
}

func (z *lzss) put(b byte) byte {
	z.ring[z.at] = b
	z.at = (z.at + 1) % lzRing
	return b
}

func (z *lzss) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if z.left > 0 {
			p[n] = z.put(z.ring[z.from])
			z.from = (z.from + 1) % lzRing
			z.left--
			n++
			continue
		}
		b, err := z.src.ReadByte()
		if err != nil {
			return n, err
		}
		if z.flag == 1 {
			z.flag = 0x100 | uint(b)
			continue
		}
		literal := z.flag&1 != 0
		z.flag >>= 1
		if literal {
			p[n] = z.put(b)
			n++
			continue
		}
		c, err := z.src.ReadByte()
		if err != nil {
			return n, io.ErrUnexpectedEOF
		}
		z.from, z.left = int(b)|int(c&0xF0)<<4, int(c&0x0F)+3
	}
	return n, nil
}

func isKwaj(c *Content) bool { return c.has(0, kwaj) }

func openKwaj(c *Content, l *layer) error {
	h := c.piece(8, 6)
	if h == nil {
		return ErrMalformed
	}
	method, at, flags := le.Uint16(h), int64(le.Uint16(h[2:])), le.Uint16(h[4:])
	size, where := int64(-1), int64(14)
	if flags&1 != 0 {
		if b := c.piece(where, 4); b != nil {
			size = int64(le.Uint32(b))
		}
		where += 4
	}
	if flags&2 != 0 {
		where += 2
	}
	if flags&4 != 0 {
		if b := c.piece(where, 2); b != nil {
			where += 2 + int64(le.Uint16(b))
		}
	}
	name := l.name
	if b := c.piece(where, min(14, max(0, c.Size-where))); b != nil && flags&0x18 != 0 {
		if flags&8 != 0 {
			name = cString(b[:min(9, len(b))])
			b = b[min(len(name)+1, len(b)):]
		}
		if flags&16 != 0 {
			name += "." + cString(b[:min(4, len(b))])
		}
	}
	src := func() *bufio.Reader { return bufio.NewReaderSize(c.section(at, c.Size-at), 16<<10) }
	m := Member{Name: name, Size: size}
	switch method {
	case 0:
		m.Open = func() (io.Reader, error) { return src(), nil }
	case 1:
		m.Open = func() (io.Reader, error) { return inverted{src()}, nil }
	case 2:
		m.Open = func() (io.Reader, error) { return newLZSS(src(), lzRing-16), nil }
	case 4:
		m.Open = func() (io.Reader, error) { return newMSZIP(&kwajBlocks{src: src()}), nil }
	default: // 3: LZ with Huffman codes, which no program of the last thirty years writes
		m.Unknown = true
		m.Open = func() (io.Reader, error) { return src(), nil }
	}
	return l.member(m)
}

// inverted turns every bit around.
type inverted struct{ r io.Reader }

func (x inverted) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	for i := range p[:max(0, n)] {
		p[i] ^= 0xFF
	}
	return n, err
}

// kwajBlocks are MSZIP blocks, each behind its length.
type kwajBlocks struct{ src *bufio.Reader }

func (k *kwajBlocks) next() ([]byte, int, error) {
	var h [2]byte
	if _, err := io.ReadFull(k.src, h[:]); err != nil || le.Uint16(h[:]) == 0 {
		return nil, 0, io.EOF
	}
	b := make([]byte, le.Uint16(h[:]))
	if _, err := io.ReadFull(k.src, b); err != nil {
		return nil, 0, io.ErrUnexpectedEOF
	}
	return b, -1, nil
}
