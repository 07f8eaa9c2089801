// Package lz unpacks the methods of archives from before LZMA that no library here knows: LZX of cabinets and CHM files, the
// LZH family of LHA and ARJ, of ZIP shrink, reduce, implode and deflate64, of NSIS its kinds of deflate and bzip2, of UPX NRV.
//
// It trusts nothing in a stream. Each reader is an io.Reader that ends with io.EOF when it has given as many bytes as it was
// told, or when the stream says so; with ErrCorrupt where the stream cannot be what it says, and with io.ErrUnexpectedEOF
// where it ends early. Memory is the window of the method, 2 MiB at most, and some tables. What a reader is told of sizes
// only ever ends it.
package lz

import (
	"errors"
	"io"
)

// ErrCorrupt says that a stream is damaged.
var ErrCorrupt = errors.New("lz: the stream is damaged")

// Source is what packed bytes are read from.
type Source interface {
	io.Reader
	io.ByteReader
}

// fastBits is how many bits of a code are looked up at once; longer codes are searched by their length.
const fastBits = 10

// huffman decodes canonical codes, the shortest first and the first symbol first within a length, with the highest bit of
// a code first in the stream.
type huffman struct {
	fast    [1 << fastBits]uint16 // symbol<<4 | length, 0 where the code is longer
	first   [17]uint32            // code of each length
	offset  [17]int               // of its symbol
	count   [17]int
	symbols []uint16
	single  int // the only symbol, which takes no bits; -1 if there is more than one
}

// build makes the table from the length of each symbol's code. A code that says too much is refused. One that says too little
// is taken: what has no meaning is an error when it comes.
func (h *huffman) build(lengths []byte) error {
	*h = huffman{symbols: h.symbols[:0], single: -1}
	for _, n := range lengths {
		if n > 16 {
			return ErrCorrupt
		}
		h.count[n]++
	}
	h.count[0] = 0
	code, total := uint32(0), 0
	for n := 1; n <= 16; n++ {
		code <<= 1
		h.first[n], h.offset[n] = code, total
		code += uint32(h.count[n])
		total += h.count[n]
		if code > 1<<n {
			return ErrCorrupt
		}
	}
	if cap(h.symbols) < total {
		h.symbols = make([]uint16, total)
	}
	h.symbols = h.symbols[:total]
	var at [17]int
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		i := at[n]
		at[n]++
		h.symbols[h.offset[n]+i] = uint16(s)
		if n <= fastBits {
			code := (h.first[n] + uint32(i)) << (fastBits - n)
			for j := range uint32(1) << (fastBits - n) {
				h.fast[code+j] = uint16(s)<<4 | uint16(n)
			}
		}
	}
	return nil
}

// bits reads a stream bit by bit, the highest first. Behind its end there are zeros for a while, since decoders look ahead.
type bits struct {
	src   Source
	word  bool // bytes come in pairs, the second first (LZX)
	acc   uint64
	n     uint
	ended int // bytes behind the end
	err   error
}

// lookAhead is how many bytes behind the end a decoder may see.
const lookAhead = 8

func (b *bits) fill(want uint) {
	for b.n < want {
		v, n := uint64(0), uint(8)
		if b.word {
			n = 16
		}
		c, err := b.src.ReadByte()
		switch {
		case err != nil:
			b.over(err)
		case b.word:
			d, err := b.src.ReadByte()
			if err != nil {
				b.over(err)
			}
			v = uint64(d)<<8 | uint64(c)
		default:
			v = uint64(c)
		}
		b.acc = b.acc<<n | v
		b.n += n
	}
}

func (b *bits) over(err error) {
	if b.ended++; b.ended > lookAhead || err != io.EOF {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if b.err == nil {
			b.err = err
		}
	}
}

// read returns the next bits, 32 at most.
func (b *bits) read(n uint) uint32 {
	if n == 0 {
		return 0
	}
	b.fill(n)
	b.n -= n
	return uint32(b.acc >> b.n & (1<<n - 1))
}

func (b *bits) peek(n uint) uint32 {
	b.fill(n)
	return uint32(b.acc >> (b.n - n) & (1<<n - 1))
}

// symbol decodes the next code.
func (b *bits) symbol(h *huffman) (int, error) {
	if h.single >= 0 {
		return h.single, nil
	}
	v := b.peek(16)
	if e := h.fast[v>>(16-fastBits)]; e != 0 {
		b.n -= uint(e & 15)
		return int(e >> 4), b.err
	}
	for n := 1; n <= 16; n++ {
		if code := v >> (16 - n); h.count[n] > 0 && code >= h.first[n] && code-h.first[n] < uint32(h.count[n]) {
			b.n -= uint(n)
			return int(h.symbols[h.offset[n]+int(code-h.first[n])]), b.err
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return 0, ErrCorrupt
}

// window is the output of a method with matches: a ring that is handed out as it fills.
type window struct {
	buf   []byte
	at    int
	given int
	total int64
}

func newWindow(size int, filled byte) *window {
	w := &window{buf: make([]byte, size)}
	if filled != 0 {
		for i := range w.buf {
			w.buf[i] = filled
		}
	}
	return w
}

// free is how many bytes go into the ring before some have to be handed out.
func (w *window) free() int {
	if w.at == len(w.buf) && w.given == w.at {
		w.at, w.given = 0, 0
	}
	return len(w.buf) - w.at
}

func (w *window) put(b byte) {
	w.buf[w.at] = b
	w.at++
	w.total++
}

// match copies n bytes, as many as are free, from a distance back. What was never written is what the ring was filled with.
func (w *window) match(distance, n int) {
	from := w.at - distance
	if from < 0 {
		from += len(w.buf)
	}
	for range n {
		w.buf[w.at] = w.buf[from]
		w.at++
		if from++; from == len(w.buf) {
			from = 0
		}
	}
	w.total += int64(n)
}

func (w *window) give(p []byte) int {
	n := copy(p, w.buf[w.given:w.at])
	w.given += n
	return n
}
