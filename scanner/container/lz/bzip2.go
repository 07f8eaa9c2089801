package lz

import (
	"io"
)

// BZip2 is bzip2 as NSIS writes it: without the header of the stream, the checksums, and the mark of a block that is shuffled.
// A block begins with the byte 0x31, the end of the stream is 0x17. https://nsis.sourceforge.io, Source/bzip2. All else is as
// in https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf.
type BZip2 struct {
	src   Source
	acc   uint32
	n     uint
	chain []uint32 // of the block: the byte in the low bits, the next place above
	left  int      // of the block
	at    uint32
	last  int // the byte before, -1 at the start of a block
	run   int // how often it came
	more  int // how often it is to be repeated
	err   error
}

const (
	bzipBlock    = 900_000
	bzipMostCode = 20
	bzipGroup    = 50 // symbols for which one code holds
)

// NewBZip2 returns a reader.
func NewBZip2(src Source) *BZip2 { return &BZip2{src: src} }

func (z *BZip2) bits(n uint) uint32 {
	for z.n < n {
		b, err := z.src.ReadByte()
		if err != nil && z.err == nil {
			if z.err = err; err == io.EOF {
				z.err = io.ErrUnexpectedEOF
			}
		}
		z.acc = z.acc<<8 | uint32(b)
		z.n += 8
	}
	z.n -= n
	return z.acc >> z.n & (1<<n - 1)
}

// Read follows io.Reader.
func (z *BZip2) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case z.more > 0:
			p[n] = byte(z.last)
			z.more--
			n++
		case z.left > 0:
			e := z.chain[z.at]
			z.left--
			if z.at = e >> 8; int(z.at) >= len(z.chain) {
				z.err, z.left = ErrCorrupt, 0
				return n, z.err
			}
			b := int(e & 0xFF)
			if z.run == 4 { // how many more of them
				z.more, z.run = b, 0
				continue
			}
			if b != z.last {
				z.run = 0
			}
			z.run++
			z.last = b
			p[n] = byte(b)
			n++
		case z.err != nil:
			return n, z.err
		default:
			if z.err = z.block(); z.err != nil && n == 0 {
				return 0, z.err
			}
		}
	}
	return n, nil
}

// bzipCode is a canonical code.
type bzipCode struct {
	count, first, offset [bzipMostCode + 2]int
	symbols              []uint16
}

func (c *bzipCode) build(lengths []byte) {
	for _, n := range lengths {
		c.count[n]++
	}
	code, total := 0, 0
	for n := 1; n <= bzipMostCode; n++ {
		code <<= 1
		c.first[n], c.offset[n] = code, total
		code += c.count[n]
		total += c.count[n]
	}
	c.symbols = make([]uint16, 0, total)
	for n := 1; n <= bzipMostCode; n++ {
		for s, l := range lengths {
			if int(l) == n {
				c.symbols = append(c.symbols, uint16(s))
			}
		}
	}
}

func (z *BZip2) symbol(c *bzipCode) int {
	code := 0
	for n := 1; n <= bzipMostCode; n++ {
		code = code<<1 | int(z.bits(1))
		if i := code - c.first[n]; i >= 0 && i < c.count[n] {
			return int(c.symbols[c.offset[n]+i])
		}
	}
	z.err = ErrCorrupt
	return -1
}

// block decodes a block into the chain in which its bytes follow each other.
func (z *BZip2) block() error {
	switch z.bits(8) {
	case 0x17:
		if z.err == nil {
			return io.EOF
		}
		return z.err
	case 0x31:
	default:
		return ErrCorrupt
	}
	origin := z.bits(24)
	used, values := z.bits(16), []byte{}
	for i := range 16 {
		if used>>(15-i)&1 == 0 {
			continue
		}
		in := z.bits(16)
		for j := range 16 {
			if in>>(15-j)&1 != 0 {
				values = append(values, byte(16*i+j))
			}
		}
	}
	codes, picks := int(z.bits(3)), int(z.bits(15))
	if z.err != nil || len(values) == 0 || codes < 2 || codes > 6 || picks == 0 {
		return ErrCorrupt
	}
	pick, order := make([]byte, picks), []byte{0, 1, 2, 3, 4, 5}
	for i := range pick {
		j := 0
		for z.bits(1) == 1 {
			if j++; j >= codes {
				return ErrCorrupt
			}
		}
		front(order, j)
		pick[i] = order[0]
	}
	symbols := len(values) + 2
	tables := make([]bzipCode, codes)
	for i := range tables {
		lengths := make([]byte, symbols)
		n := int(z.bits(5))
		for s := range lengths {
			for {
				if n < 1 || n > bzipMostCode || z.err != nil {
					return ErrCorrupt
				}
				if z.bits(1) == 0 {
					break
				}
				n += 1 - 2*int(z.bits(1))
			}
			lengths[s] = byte(n)
		}
		tables[i].build(lengths)
	}
	return z.moves(origin, values, pick, tables)
}

// front moves an entry to the front.
func front(list []byte, i int) {
	b := list[i]
	copy(list[1:i+1], list[:i])
	list[0] = b
}

// moves decodes the symbols of a block, runs of the byte in front and moves to the front, and undoes the sorting.
func (z *BZip2) moves(origin uint32, values, pick []byte, tables []bzipCode) error {
	if cap(z.chain) == 0 {
		z.chain = make([]uint32, 0, 64<<10)
	}
	chain, count := z.chain[:0], [256]uint32{}
	run, step, end := 0, 1, len(values)+1
	for done := 0; ; done++ {
		if done/bzipGroup >= len(pick) || z.err != nil {
			return ErrCorrupt
		}
		s := z.symbol(&tables[pick[done/bzipGroup]])
		if s == 0 || s == 1 {
			if step > bzipBlock {
				return ErrCorrupt
			}
			run += step << s
			step <<= 1
			continue
		}
		if run > bzipBlock-len(chain) {
			return ErrCorrupt
		}
		for ; run > 0; run-- {
			chain = append(chain, uint32(values[0]))
			count[values[0]]++
		}
		run, step = 0, 1
		if s < 0 || s == end {
			break
		}
		if len(chain) >= bzipBlock {
			return ErrCorrupt
		}
		front(values, s-1)
		chain = append(chain, uint32(values[0]))
		count[values[0]]++
	}
	if z.err != nil || int(origin) >= len(chain) {
		return ErrCorrupt
	}
	total := uint32(0)
	for i, n := range count {
		count[i] = total
		total += n
	}
	for i := range chain {
		b := chain[i] & 0xFF
		chain[count[b]] |= uint32(i) << 8
		count[b]++
	}
	z.chain, z.left, z.at, z.last, z.run = chain, len(chain), chain[origin]>>8, -1, 0
	return nil
}
