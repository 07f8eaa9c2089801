package container

import (
	"io"
)

// Filters that make programs pack better: they turn the relative addresses of calls into absolute ones, which is undone here.
// The methods are those of the LZMA SDK (https://www.7-zip.org/sdk.html), which xz and 7z share.

// coderSpec is a coder as a header names it.
type coderSpec struct {
	method uint64
	props  []byte
}

// xzFilter begins a filter before LZMA2 (xz-file-format.txt 5.3).
func xzFilter(s coderSpec, r io.Reader) (io.Reader, error) {
	start := uint32(0)
	if s.method != 3 && len(s.props) == 4 {
		start = le.Uint32(s.props)
	}
	switch s.method {
	case 3:
		if len(s.props) != 1 {
			return nil, ErrMalformed
		}
		return &delta{r: r, distance: int(s.props[0]) + 1}, nil
	case 4:
		return newBranch(r, start, (&x86{}).convert), nil
	case 5:
		return newBranch(r, start, powerPC), nil
	case 7:
		return newBranch(r, start, arm), nil
	case 8:
		return newBranch(r, start, armThumb), nil
	case 9:
		return newBranch(r, start, sparc), nil
	case 10:
		return newBranch(r, start, arm64), nil
	}
	return nil, errUnknown
}

// delta undoes the differences between bytes that stand a distance apart.
type delta struct {
	r        io.Reader
	distance int
	last     [256]byte
	at       byte
}

func (d *delta) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	for i := range p[:max(n, 0)] {
		p[i] += d.last[byte(int(d.at)+d.distance)]
		d.last[d.at] = p[i]
		d.at--
	}
	return n, err
}

// branch runs a filter over a stream. convert changes the beginning of b, whose place in the program is pc, and returns how
// many bytes are done; what is left needs the bytes behind it, and at the end stays as it is.
type branch struct {
	r       io.Reader
	convert func(b []byte, pc uint32) int
	pc      uint32
	buf     []byte
	done    int // converted and not handed out yet
	at      int // handed out
	err     error
}

func newBranch(r io.Reader, start uint32, convert func([]byte, uint32) int) *branch {
	return &branch{r: r, convert: convert, pc: start, buf: make([]byte, 0, 16<<10)}
}

func (b *branch) Read(p []byte) (int, error) {
	for b.at == b.done {
		if b.err != nil && b.at == len(b.buf) {
			return 0, b.err
		}
		b.buf = b.buf[:copy(b.buf, b.buf[b.at:])]
		b.at, b.done = 0, 0
		for b.err == nil && len(b.buf) < cap(b.buf) {
			n, err := b.r.Read(b.buf[len(b.buf):cap(b.buf)])
			if n < 0 || n > cap(b.buf)-len(b.buf) {
				return 0, ErrMalformed
			}
			b.buf, b.err = b.buf[:len(b.buf)+n], err
		}
		b.done = b.convert(b.buf, b.pc)
		if b.err != nil {
			b.done = len(b.buf)
		}
		b.pc += uint32(b.done)
	}
	n := copy(p, b.buf[b.at:b.done])
	b.at += n
	return n, nil
}

// x86 is the filter for calls and jumps with four bytes of address. It keeps which of the last bytes were such opcodes,
// because bytes that only look like one are left alone.
type x86 struct{ mask uint32 }

func (x *x86) convert(b []byte, pc uint32) int {
	test := func(v byte) bool { return v == 0 || v == 0xFF }
	if len(b) < 5 {
		return 0
	}
	pc += 5
	at, last, mask := 0, -1, x.mask&7
	for ; at <= len(b)-5; at++ {
		if b[at]&0xFE != 0xE8 {
			continue
		}
		if gap := at - last; gap > 3 {
			mask = 0
		} else if mask = mask << (gap - 1) & 7; mask != 0 {
			// Within the address of another one.
			if allowed := [8]bool{true, true, true, false, true, false, false, false}; !allowed[mask] || test(b[at+4-[8]int{0, 1, 2, 2, 3, 3, 3, 3}[mask]]) {
				last = at
				mask = mask<<1&7 | 1
				continue
			}
		}
		last = at
		if !test(b[at+4]) {
			mask = mask<<1&7 | 1
			continue
		}
		src, dst := le.Uint32(b[at+1:]), uint32(0)
		for {
			dst = src - (pc + uint32(at))
			if mask == 0 {
				break
			}
			i := [8]uint32{0, 1, 2, 2, 3, 3, 3, 3}[mask] * 8
			if !test(byte(dst >> (24 - i))) {
				break
			}
			src = dst ^ (1<<(32-i) - 1)
		}
		if dst>>24&1 != 0 {
			dst |= 0xFF000000
		} else {
			dst &= 0x00FFFFFF
		}
		le.PutUint32(b[at+1:], dst)
		at += 4
		last = at
		mask = 0
	}
	if gap := at - last; gap > 3 {
		x.mask = 0
	} else {
		x.mask = mask << (gap - 1) & 7
	}
	return at
}

func powerPC(b []byte, pc uint32) (i int) {
	for ; i+4 <= len(b); i += 4 {
		if v := be.Uint32(b[i:]); v&0xFC000003 == 0x48000001 {
			be.PutUint32(b[i:], 0x48000001|(v-(pc+uint32(i)))&0x03FFFFFC)
		}
	}
	return i
}

func arm(b []byte, pc uint32) (i int) {
	for ; i+4 <= len(b); i += 4 {
		if b[i+3] == 0xEB {
			v := le.Uint32(b[i:])
			le.PutUint32(b[i:], v&0xFF000000|((v<<2-(pc+uint32(i)+8))>>2)&0x00FFFFFF)
		}
	}
	return i
}

func armThumb(b []byte, pc uint32) (i int) {
	for ; i+4 <= len(b); i += 2 {
		if b[i+1]&0xF8 != 0xF0 || b[i+3]&0xF8 != 0xF8 {
			continue
		}
		v := (uint32(b[i+1])&7<<19 | uint32(b[i])<<11 | uint32(b[i+3])&7<<8 | uint32(b[i+2])) << 1
		v = (v - (pc + uint32(i) + 4)) >> 1
		b[i+1], b[i] = 0xF0|byte(v>>19)&7, byte(v>>11)
		b[i+3], b[i+2] = 0xF8|byte(v>>8)&7, byte(v)
		i += 2
	}
	return i
}

func sparc(b []byte, pc uint32) (i int) {
	for ; i+4 <= len(b); i += 4 {
		v := be.Uint32(b[i:])
		if v>>22 != 0x100 && v>>22 != 0x1FF {
			continue
		}
		v = (v<<2 - (pc + uint32(i))) >> 2
		v = (0-(v>>22&1))<<22&0x3FFFFFFF | v&0x3FFFFF | 0x40000000
		be.PutUint32(b[i:], v)
	}
	return i
}

func arm64(b []byte, pc uint32) (i int) {
	for ; i+4 <= len(b); i += 4 {
		v, at := le.Uint32(b[i:]), pc+uint32(i)
		if v>>26 == 0x25 { // BL
			le.PutUint32(b[i:], v&0xFC000000|(v-at>>2)&0x03FFFFFF)
		} else if v&0x9F000000 == 0x90000000 { // ADRP, within 512 MiB
			src := v>>29&3 | v>>3&0x1FFFFC
			if (src+0x020000)&0x1C0000 == 0 {
				dst := src - at>>12
				le.PutUint32(b[i:], v&0x9000001F|dst&3<<29|dst&0x03FFFC<<3|(0-dst&0x020000)&0xE00000)
			}
		}
	}
	return i
}
