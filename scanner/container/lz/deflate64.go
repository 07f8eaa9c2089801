package lz

import (
	"io"
	mathbits "math/bits"
)

// Deflate64 is deflate (RFC 1951) with a window of 64 KiB, two more distances, and a longest match that says its length in 16
// bits. PKWARE never described it; this is what 7-Zip and Windows write and read.
type Deflate64 struct {
	src   Source
	acc   uint32
	n     uint
	win   *window
	last  bool
	kind  int // of the block: -1 none
	left  int // bytes of a stored block
	match int // bytes of a match that had no room
	dist  int
	nsis  bool

	literal, distance lowFirst
	err               error
}

// NewDeflate64 returns a reader. It takes of src what belongs to the stream and no more.
func NewDeflate64(src Source) *Deflate64 {
	return &Deflate64{src: src, win: newWindow(1<<16, 0), kind: -1}
}

// NewNSIS returns a reader of the deflate of NSIS's installers: as in RFC 1951, but stored blocks say their length once.
func NewNSIS(src Source) *Deflate64 {
	z := NewDeflate64(src)
	z.nsis = true
	return z
}

// lowFirst is a canonical code whose bits come with the lowest of each byte first.
type lowFirst struct {
	huffman
	table [1 << fastBits]uint16
}

func (h *lowFirst) build(lengths []byte) error {
	if err := h.huffman.build(lengths); err != nil {
		return err
	}
	for i, e := range h.fast {
		h.table[mathbits.Reverse16(uint16(i))>>(16-fastBits)] = e
	}
	return nil
}

func (z *Deflate64) need(n uint) error {
	for z.n < n {
		b, err := z.src.ReadByte()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		z.acc |= uint32(b) << z.n
		z.n += 8
	}
	return nil
}

func (z *Deflate64) bits(n uint) (int, error) {
	if err := z.need(n); err != nil {
		return 0, err
	}
	v := z.acc & (1<<n - 1)
	z.acc >>= n
	z.n -= n
	return int(v), nil
}

// symbol takes a code bit by bit where few are at hand, so that no byte behind the stream is read.
func (z *Deflate64) symbol(h *lowFirst) (int, error) {
	if e := h.table[z.acc&(1<<fastBits-1)]; e != 0 && uint(e&15) <= z.n {
		z.acc >>= e & 15
		z.n -= uint(e & 15)
		return int(e >> 4), nil
	}
	code := uint32(0)
	for n := uint(1); n <= 15; n++ {
		if err := z.need(n); err != nil {
			return 0, err
		}
		code = code<<1 | z.acc>>(n-1)&1
		if h.count[n] > 0 && code >= h.first[n] && code-h.first[n] < uint32(h.count[n]) {
			z.acc >>= n
			z.n -= n
			return int(h.symbols[h.offset[n]+int(code-h.first[n])]), nil
		}
	}
	return 0, ErrCorrupt
}

// Read follows io.Reader.
func (z *Deflate64) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n := z.win.give(p); n > 0 {
			return n, nil
		}
		if z.err != nil {
			return 0, z.err
		}
		z.err = z.step()
	}
}

func (z *Deflate64) step() error {
	switch z.kind {
	case -1:
		if z.last {
			return io.EOF
		}
		return z.header()
	case 0:
		for z.left > 0 && z.win.free() > 0 {
			b, err := z.bits(8)
			if err != nil {
				return err
			}
			z.win.put(byte(b))
			z.left--
		}
		if z.left == 0 {
			z.kind = -1
		}
		return nil
	}
	for free := z.win.free(); free > 0; free = len(z.win.buf) - z.win.at {
		if z.match > 0 {
			n := min(z.match, free)
			z.win.match(z.dist, n)
			z.match -= n
			continue
		}
		s, err := z.symbol(&z.literal)
		if err != nil {
			return err
		}
		switch {
		case s < 256:
			z.win.put(byte(s))
		case s == 256:
			z.kind = -1
			return nil
		default:
			if err := z.copy(s - 257); err != nil {
				return err
			}
		}
	}
	return nil
}

// copy decodes the rest of a match.
func (z *Deflate64) copy(s int) error {
	base, extra := 0, uint(0)
	switch {
	case s < 8:
		base = 3 + s
	case s < 28:
		extra = uint(s)/4 - 1
		base = 3 + (4+s%4)<<extra
	case s == 28 && z.nsis:
		base = 258
	case s == 28:
		base, extra = 3, 16
	default:
		return ErrCorrupt
	}
	more, err := z.bits(extra)
	if err != nil {
		return err
	}
	z.match = base + more
	d, err := z.symbol(&z.distance)
	if err != nil {
		return err
	}
	z.dist = d + 1
	if d >= 4 {
		extra := uint(d)/2 - 1
		if more, err = z.bits(extra); err != nil {
			return err
		}
		z.dist = 1 + (2+d%2)<<extra + more
	}
	if int64(z.dist) > z.win.total || z.nsis && d >= 30 {
		return ErrCorrupt
	}
	return nil
}

func (z *Deflate64) header() error {
	h, err := z.bits(3)
	if err != nil {
		return err
	}
	z.last, z.kind = h&1 != 0, h>>1
	switch z.kind {
	case 0:
		z.acc >>= z.n % 8
		z.n -= z.n % 8
		n, err := z.bits(16)
		if err != nil {
			return err
		}
		if z.left = n; z.nsis {
			return nil
		}
		m, err := z.bits(16)
		if err != nil || n != ^m&0xFFFF {
			return ErrCorrupt
		}
		return nil
	case 1:
		var l [288]byte
		for i := range l {
			l[i] = 8
			if i >= 144 && i < 256 {
				l[i] = 9
			} else if i >= 256 && i < 280 {
				l[i] = 7
			}
		}
		if err := z.literal.build(l[:]); err != nil {
			return err
		}
		var d [32]byte
		for i := range d {
			d[i] = 5
		}
		return z.distance.build(d[:])
	case 2:
		return z.dynamic()
	}
	return ErrCorrupt
}

var deflateOrder = [19]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (z *Deflate64) dynamic() error {
	v, err := z.bits(14)
	if err != nil {
		return err
	}
	literals, distances, codes := v&31+257, v>>5&31+1, v>>10+4
	var pre [19]byte
	for _, i := range deflateOrder[:codes] {
		n, err := z.bits(3)
		if err != nil {
			return err
		}
		pre[i] = byte(n)
	}
	var h lowFirst
	if err := h.build(pre[:]); err != nil {
		return err
	}
	l := make([]byte, literals+distances)
	for i := 0; i < len(l); {
		s, err := z.symbol(&h)
		if err != nil {
			return err
		}
		n, value, extra, least := 1, byte(s), uint(0), 0
		switch s {
		case 16:
			if i == 0 {
				return ErrCorrupt
			}
			value, extra, least = l[i-1], 2, 3
		case 17:
			value, extra, least = 0, 3, 3
		case 18:
			value, extra, least = 0, 7, 11
		}
		if least > 0 {
			if n, err = z.bits(extra); err != nil {
				return err
			}
			n += least
		}
		if n > len(l)-i {
			return ErrCorrupt
		}
		for ; n > 0; n-- {
			l[i] = value
			i++
		}
	}
	if err := z.literal.build(l[:literals]); err != nil {
		return err
	}
	return z.distance.build(l[literals:])
}
