package lz

import (
	"encoding/binary"
)

// NRV unpacks the three methods that UPX took from Oberhumer's UCL (http://www.oberhumer.com/opensource/ucl/): bits that say
// what comes next, taken from words among the bytes. A byte as it is costs one bit; else an offset, which may be the last one
// again, and a length follow, both in steps of two bits. The methods differ in how these begin and in where an offset is so
// far that a match of two bytes does not pay. An offset of all ones ends the stream.
type NRV struct {
	// Kind is 'B', 'D' or 'E'.
	Kind byte
	// Word is how many bytes of bits are taken at once: 4, 2 or 1, the lowest byte first.
	Word int
}

// nrvReader takes bits and bytes. Behind the end there are zeros, and short says so.
type nrvReader struct {
	src   []byte
	at    int
	word  int
	acc   uint32
	n     uint
	short bool
}

func (r *nrvReader) byte() uint32 {
	if r.at >= len(r.src) {
		r.short = true
		return 0
	}
	r.at++
	return uint32(r.src[r.at-1])
}

func (r *nrvReader) bit() uint32 {
	if r.n == 0 {
		b := r.src[min(r.at, len(r.src)):]
		switch {
		case len(b) < r.word:
			r.short = true
			return 1 // ends every loop over bits
		case r.word == 4:
			r.acc = binary.LittleEndian.Uint32(b)
		case r.word == 2:
			r.acc = uint32(binary.LittleEndian.Uint16(b)) << 16
		default:
			r.acc = uint32(b[0]) << 24
		}
		r.at += r.word
		r.n = 8 * uint(r.word)
	}
	v := r.acc >> 31
	r.acc <<= 1
	r.n--
	return v
}

// length is a number in steps of two bits, of which the second says whether it was the last.
func (r *nrvReader) length() uint32 {
	v := uint32(1)
	for {
		v = v*2 + r.bit()
		if r.bit() == 1 || v > nrvMost {
			return v
		}
	}
}

// nrvMost is more than any length or offset of a stream that fits into memory.
const nrvMost = 1 << 28

// Unpack returns what src holds, no more than size bytes. With an error it returns what came before it.
func (m NRV) Unpack(src []byte, size int) ([]byte, error) {
	r := &nrvReader{src: src, word: m.Word}
	out := make([]byte, 0, min(size, 4*len(src)+64))
	last, far := uint32(1), uint32(0x500)
	if m.Kind == 'B' {
		far = 0xD00
	}
	for {
		for r.bit() == 1 {
			if r.short || len(out) >= size {
				return out, ErrCorrupt
			}
			out = append(out, byte(r.byte()))
		}
		offset, long := m.offset(r), uint32(0)
		switch {
		case r.short || offset > nrvMost:
			return out, ErrCorrupt
		case offset == 2:
			offset = last
			if m.Kind != 'B' {
				long = r.bit()
			}
		default:
			offset = (offset-3)<<8 | r.byte()
			if offset == 0xFFFFFFFF {
				if r.short || len(out) != size {
					return out, ErrCorrupt
				}
				return out, nil
			}
			if m.Kind != 'B' {
				long = ^offset & 1
				offset >>= 1
			}
			offset++
			last = offset
		}
		n := m.match(r, long)
		if offset > far {
			n++
		}
		n++
		if r.short || n > uint32(size-len(out)) || offset > uint32(len(out)) {
			return out, ErrCorrupt
		}
		for from := len(out) - int(offset); n > 0; n-- {
			out = append(out, out[from])
			from++
		}
	}
}

// offset is the high part of an offset and three: two means the last one again.
func (m NRV) offset(r *nrvReader) uint32 {
	if m.Kind == 'B' {
		return r.length()
	}
	v := uint32(1)
	for {
		v = v*2 + r.bit()
		if r.bit() == 1 || v > nrvMost {
			return v
		}
		v = (v-1)*2 + r.bit()
	}
}

// match is a length less one, of which long is the first bit in two of the methods.
func (m NRV) match(r *nrvReader, long uint32) uint32 {
	switch m.Kind {
	case 'E':
		if long == 1 {
			return 1 + r.bit()
		}
		if r.bit() == 1 {
			return 3 + r.bit()
		}
		return 3 + r.length()
	case 'B':
		long = r.bit()
	}
	if n := long*2 + r.bit(); n > 0 {
		return n
	}
	return 2 + r.length()
}
