package container

import (
	"bufio"
	"io"
)

// bcj2 joins the four streams into which 7-Zip takes programs apart: the program without the targets of its calls and jumps,
// those of the calls, those of the jumps, and a range coded bit for each that says whether it was taken out (Bcj2.c of the
// LZMA SDK).
type bcj2 struct {
	main, calls, jumps, coded *bufio.Reader
	probs                     [2 + 256]uint16
	rng, code                 uint32
	begun                     bool
	prev                      byte
	pc                        uint32
	target                    [4]byte
	left                      int // bytes of it
}

func newBCJ2(ins []io.Reader) *bcj2 {
	r := func(i int) *bufio.Reader { return bufio.NewReaderSize(ins[i], 16<<10) }
	b := &bcj2{main: r(0), calls: r(1), jumps: r(2), coded: r(3), rng: 0xFFFFFFFF}
	for i := range b.probs {
		b.probs[i] = 1 << 10
	}
	return b
}

func (b *bcj2) Read(p []byte) (n int, err error) {
	if !b.begun {
		b.begun = true
		for range 5 {
			c, err := b.coded.ReadByte()
			if err != nil {
				return 0, early(err)
			}
			b.code = b.code<<8 | uint32(c)
		}
	}
	for n < len(p) {
		if b.left > 0 {
			b.prev = b.target[4-b.left]
			b.left--
			p[n] = b.prev
			n++
			b.pc++
			continue
		}
		c, err := b.main.ReadByte()
		if err != nil {
			return n, err
		}
		p[n] = c
		n++
		b.pc++
		prob, src := -1, b.jumps
		switch {
		case c == 0xE8:
			prob, src = 2+int(b.prev), b.calls
		case c == 0xE9:
			prob = 1
		case b.prev == 0x0F && c&0xF0 == 0x80:
			prob = 0
		}
		b.prev = c
		if prob < 0 {
			continue
		}
		taken, err := b.bit(&b.probs[prob])
		if err != nil {
			return n, err
		}
		if taken {
			var t [4]byte
			if _, err := io.ReadFull(src, t[:]); err != nil {
				return n, early(err)
			}
			le.PutUint32(b.target[:], be.Uint32(t[:])-(b.pc+4))
			b.left = 4
		}
	}
	return n, nil
}

func (b *bcj2) bit(p *uint16) (bool, error) {
	bound := b.rng >> 11 * uint32(*p)
	one := b.code >= bound
	if one {
		*p -= *p >> 5
		b.rng, b.code = b.rng-bound, b.code-bound
	} else {
		*p += (1<<11 - *p) >> 5
		b.rng = bound
	}
	if b.rng < 1<<24 {
		c, err := b.coded.ReadByte()
		if err != nil && err != io.EOF { // the last bits need no byte behind them
			return false, err
		}
		b.rng, b.code = b.rng<<8, b.code<<8|uint32(c)
	}
	return one, nil
}
