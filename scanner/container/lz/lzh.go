package lz

import (
	"io"
)

// The family of LHA's methods: a window, and Huffman codes that come anew for each block (lh4 to lh7, and the methods 1 to 3 of
// ARJ), or that change with every symbol (lh1). From the sources of LHa for UNIX and of ARJ, which are their only description.

// Method is a variant of LZH.
type Method uint8

// The methods.
const (
	LH1 Method = iota
	LH4
	LH5
	LH6
	LH7
	ARJ  // its methods 1 to 3
	ARJ4 // its method 4, which has no Huffman codes
)

// lzhMethods are the bits of the window, and the size and bits of the code for places.
var lzhMethods = [...]struct {
	window    int
	places    int
	placeBits uint
	fill      byte
}{LH1: {1 << 12, 0, 0, ' '}, LH4: {1 << 12, 14, 4, ' '}, LH5: {1 << 13, 14, 4, ' '}, LH6: {1 << 15, 16, 5, ' '}, LH7: {1 << 16, 17, 5, ' '},
	ARJ: {1 << 15, 17, 5, 0}, ARJ4: {1 << 15, 0, 0, 0}}

const (
	lzhLetters    = 510
	lzhLetterBits = 9
	lzhLengths    = 19
	lzhLengthBits = 5
	lzhMinMatch   = 3
)

// LZH unpacks one stream.
type LZH struct {
	bits
	win    *window
	method Method
	left   int64
	block  int // symbols left
	match  int // bytes of a match that had no room
	dist   int

	letters, places huffman
	tree            *adaptive
	err             error
}

// NewLZH returns a reader of size bytes.
func NewLZH(src Source, method Method, size int64) *LZH {
	m := lzhMethods[method]
	z := &LZH{bits: bits{src: src}, win: newWindow(m.window, m.fill), method: method, left: size}
	if method == LH1 {
		z.tree = newAdaptive()
		// A fixed code: one of 3 bits, three of 4, and so on.
		var l [64]byte
		at := 0
		for i, n := range []int{1, 3, 8, 12, 24, 16} {
			for range n {
				l[at] = byte(3 + i)
				at++
			}
		}
		z.err = z.places.build(l[:])
	}
	return z
}

// Read follows io.Reader.
func (z *LZH) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n := z.win.give(p); n > 0 {
			return n, nil
		}
		if z.err == nil && z.left <= 0 {
			z.err = io.EOF
		}
		if z.err != nil {
			return 0, z.err
		}
		z.err = z.step()
	}
}

// step fills the window as far as there is room.
func (z *LZH) step() error {
	for z.left > 0 && z.win.free() > 0 {
		if z.match > 0 {
			n := int(min(int64(z.match), z.left, int64(len(z.win.buf)-z.win.at)))
			z.win.match(z.dist, n)
			z.match -= n
			z.left -= int64(n)
			if z.win.at == len(z.win.buf) {
				return nil // to be handed out first
			}
			continue
		}
		s, err := z.next()
		if err != nil {
			return err
		}
		if s < 256 {
			z.win.put(byte(s))
			z.left--
		}
		if z.win.at == len(z.win.buf) {
			return nil
		}
	}
	return nil
}

// next decodes a byte, or a match, of which it returns 256 and keeps length and distance.
func (z *LZH) next() (s int, err error) {
	switch z.method {
	case ARJ4:
		n := z.stepped(0, 7)
		if n == 0 {
			return int(z.read(8)), z.bits.err
		}
		z.match, z.dist = n-1+lzhMinMatch, z.stepped(9, 13)+1
		return 256, z.bits.err
	case LH1:
		if s, err = z.tree.decode(&z.bits); err != nil || s < 256 {
			return s, err
		}
		high, err := z.symbol(&z.places)
		if err != nil {
			return 0, err
		}
		z.match, z.dist = s-256+lzhMinMatch, high<<6+int(z.read(6))+1
		return 256, z.bits.err
	}
	if z.block == 0 {
		if err := z.header(); err != nil {
			return 0, err
		}
	}
	z.block--
	if s, err = z.symbol(&z.letters); err != nil || s < 256 {
		return s, err
	}
	n, err := z.symbol(&z.places)
	if err != nil {
		return 0, err
	}
	z.match, z.dist = s-256+lzhMinMatch, 1
	if n > 0 {
		z.dist = 1<<(n-1) + int(z.read(uint(n-1))) + 1
	}
	if z.dist > len(z.win.buf) {
		return 0, ErrCorrupt
	}
	return 256, z.bits.err
}

// stepped is a number whose width is said by ones before it.
func (z *LZH) stepped(from, to uint) int {
	sum, width := 0, from
	for ; width < to && z.read(1) == 1; width++ {
		sum += 1 << width
	}
	return sum + int(z.read(width))
}

// header begins a block.
func (z *LZH) header() error {
	z.block = int(z.read(16))
	if z.bits.err != nil {
		return z.bits.err
	}
	if z.block == 0 {
		return ErrCorrupt
	}
	var lengths huffman
	if err := z.code(&lengths, lzhLengths, lzhLengthBits, 3); err != nil {
		return err
	}
	if err := z.letterCode(&lengths); err != nil {
		return err
	}
	m := lzhMethods[z.method]
	return z.code(&z.places, m.places, m.placeBits, -1)
}

// code reads a code with the lengths as they are. Behind the symbol that special counts, some may be left out.
func (z *LZH) code(h *huffman, symbols int, width uint, special int) error {
	n := int(z.read(width))
	if n == 0 {
		return z.only(h, int(z.read(width)), symbols)
	}
	if n > symbols {
		return ErrCorrupt
	}
	var l [32]byte
	for i := 0; i < n; {
		v := z.read(3)
		if v == 7 {
			for z.read(1) == 1 {
				if v++; v > 16 {
					return ErrCorrupt
				}
			}
		}
		l[i] = byte(v)
		if i++; i == special {
			i += int(z.read(2))
		}
	}
	if z.bits.err != nil {
		return z.bits.err
	}
	return h.build(l[:symbols])
}

func (z *LZH) only(h *huffman, symbol, symbols int) error {
	if symbol >= symbols {
		return ErrCorrupt
	}
	h.single = symbol
	return z.bits.err
}

// letterCode reads the code for bytes and lengths, whose own lengths are coded.
func (z *LZH) letterCode(lengths *huffman) error {
	n := int(z.read(lzhLetterBits))
	if n == 0 {
		return z.only(&z.letters, int(z.read(lzhLetterBits)), lzhLetters)
	}
	if n > lzhLetters {
		return ErrCorrupt
	}
	var l [lzhLetters]byte
	for i := 0; i < n; {
		s, err := z.symbol(lengths)
		if err != nil {
			return err
		}
		switch s {
		case 0:
			i++
		case 1:
			i += int(z.read(4)) + 3
		case 2:
			i += int(z.read(lzhLetterBits)) + 20
		default:
			l[i] = byte(s - 2)
			i++
		}
	}
	if z.bits.err != nil {
		return z.bits.err
	}
	return z.letters.build(l[:])
}

// adaptive is the Huffman tree of lh1, in which each symbol moves up as it comes more often (LZHUF, H. Yoshizaki 1988).
type adaptive struct {
	freq   [adaptiveNodes + 1]uint16
	parent [adaptiveNodes + adaptiveSymbols]uint16 // of a node; behind them the leaf of each symbol
	child  [adaptiveNodes]uint16                   // the left of two; or adaptiveNodes and a symbol
}

const (
	adaptiveSymbols = 314
	adaptiveNodes   = 2*adaptiveSymbols - 1
	adaptiveRoot    = adaptiveNodes - 1
	adaptiveMost    = 0x8000
)

func newAdaptive() *adaptive {
	t := &adaptive{}
	for i := range adaptiveSymbols {
		t.freq[i], t.child[i], t.parent[adaptiveNodes+i] = 1, uint16(adaptiveNodes+i), uint16(i)
	}
	for i, j := 0, adaptiveSymbols; j <= adaptiveRoot; i, j = i+2, j+1 {
		t.freq[j], t.child[j] = t.freq[i]+t.freq[i+1], uint16(i)
		t.parent[i], t.parent[i+1] = uint16(j), uint16(j)
	}
	t.freq[adaptiveNodes] = 0xFFFF
	return t
}

func (t *adaptive) decode(b *bits) (int, error) {
	c := t.child[adaptiveRoot]
	for c < adaptiveNodes {
		c = t.child[c+uint16(b.read(1))]
		if b.err != nil {
			return 0, b.err
		}
	}
	s := int(c - adaptiveNodes)
	t.update(s)
	return s, nil
}

func (t *adaptive) update(s int) {
	if t.freq[adaptiveRoot] == adaptiveMost {
		t.rebuild()
	}
	c := t.parent[adaptiveNodes+s]
	for {
		t.freq[c]++
		k := t.freq[c]
		if l := c + 1; k > t.freq[l] { // the order is broken: it changes places with the last of its old frequency
			for k > t.freq[l+1] {
				l++
			}
			t.freq[c], t.freq[l] = t.freq[l], k
			i, j := t.child[c], t.child[l]
			t.adopt(i, l)
			t.adopt(j, c)
			t.child[l], t.child[c] = i, j
			c = l
		}
		if c == adaptiveRoot {
			return
		}
		c = t.parent[c]
	}
}

// adopt makes a node the parent of what a child field names.
func (t *adaptive) adopt(child, node uint16) {
	t.parent[child] = node
	if child < adaptiveNodes {
		t.parent[child+1] = node
	}
}

// rebuild halves all frequencies and makes the tree anew.
func (t *adaptive) rebuild() {
	j := 0
	for i := range adaptiveNodes {
		if t.child[i] >= adaptiveNodes {
			t.freq[j], t.child[j] = (t.freq[i]+1)/2, t.child[i]
			j++
		}
	}
	for i, j := 0, adaptiveSymbols; j < adaptiveNodes; i, j = i+2, j+1 {
		f := t.freq[i] + t.freq[i+1]
		k := j
		for k > 0 && f < t.freq[k-1] {
			k--
		}
		copy(t.freq[k+1:j+1], t.freq[k:j])
		copy(t.child[k+1:j+1], t.child[k:j])
		t.freq[k], t.child[k] = f, uint16(i)
	}
	for i := range adaptiveNodes {
		t.adopt(t.child[i], uint16(i))
	}
}
