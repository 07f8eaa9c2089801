package lz

import (
	"io"
)

// The methods of PKZIP before deflate, after APPNOTE.TXT 5.1 to 5.3: shrink, reduce and implode.

// lowBits reads a stream bit by bit, the lowest of each byte first.
type lowBits struct {
	src Source
	acc uint32
	n   uint
}

func (b *lowBits) read(n uint) (int, error) {
	for b.n < n {
		c, err := b.src.ReadByte()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		b.acc |= uint32(c) << b.n
		b.n += 8
	}
	v := b.acc & (1<<n - 1)
	b.acc >>= n
	b.n -= n
	return int(v), nil
}

// pk is a reader of one of these methods: step puts bytes into the window or the match until size bytes are there.
type pk struct {
	lowBits
	win   *window
	left  int64
	dist  int
	match int
	step  func() error
	err   error
}

func newPK(src Source, size int64, windowSize int) *pk {
	return &pk{lowBits: lowBits{src: src}, win: newWindow(windowSize, 0), left: size}
}

// Read follows io.Reader.
func (z *pk) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n := z.win.give(p); n > 0 {
			return n, nil
		}
		switch {
		case z.err != nil:
			return 0, z.err
		case z.left <= 0:
			return 0, io.EOF
		}
		for z.left > 0 && z.err == nil && z.win.free() > 0 {
			if z.match > 0 {
				n := int(min(int64(z.match), z.left, int64(len(z.win.buf)-z.win.at)))
				z.win.match(z.dist, n)
				z.match -= n
				z.left -= int64(n)
			} else {
				z.err = z.step()
			}
			if z.win.at == len(z.win.buf) {
				break // to be handed out first
			}
		}
	}
}

func (z *pk) put(b byte) {
	z.win.put(b)
	z.left--
}

// implode is a window of 4 or 8 KiB, and two or three fixed codes.
type implode struct {
	*pk
	letters, lengths, distances huffman
	hasLetters                  bool
	low                         uint
	least                       int
}

// NewImplode returns a reader of size bytes. large and letters are bits 1 and 2 of the member's flags.
func NewImplode(src Source, size int64, large, letters bool) (io.Reader, error) {
	z := &implode{pk: newPK(src, size, 8<<10), hasLetters: letters, low: 6, least: 2}
	if large {
		z.low = 7
	}
	if letters {
		z.least = 3
		if err := z.code(&z.letters, 256); err != nil {
			return nil, err
		}
	}
	if err := z.code(&z.lengths, 64); err != nil {
		return nil, err
	}
	if err := z.code(&z.distances, 64); err != nil {
		return nil, err
	}
	z.step = z.next
	return z, nil
}

// code reads the lengths of a code: runs of up to 16 symbols with codes of up to 16 bits.
func (z *implode) code(h *huffman, symbols int) error {
	n, err := z.read(8)
	if err != nil {
		return err
	}
	var lengths []byte
	for range n + 1 {
		v, err := z.read(8)
		if err != nil {
			return err
		}
		for range v>>4 + 1 {
			lengths = append(lengths, byte(v&15)+1)
		}
	}
	if len(lengths) != symbols {
		return ErrCorrupt
	}
	return h.build(lengths)
}

// symbol decodes a code, whose bits are all the other way round here.
func (z *implode) symbol(h *huffman) (int, error) {
	code := uint32(0)
	for n := 1; n <= 16; n++ {
		b, err := z.read(1)
		if err != nil {
			return 0, err
		}
		code = code<<1 | uint32(b^1)
		if h.count[n] > 0 && code >= h.first[n] && code-h.first[n] < uint32(h.count[n]) {
			return int(h.symbols[h.offset[n]+int(code-h.first[n])]), nil
		}
	}
	return 0, ErrCorrupt
}

func (z *implode) next() error {
	letter, err := z.read(1)
	if err != nil {
		return err
	}
	if letter == 1 {
		var c int
		if z.hasLetters {
			c, err = z.symbol(&z.letters)
		} else {
			c, err = z.read(8)
		}
		if err != nil {
			return err
		}
		z.put(byte(c))
		return nil
	}
	low, err := z.read(z.low)
	if err != nil {
		return err
	}
	high, err := z.symbol(&z.distances)
	if err != nil {
		return err
	}
	n, err := z.symbol(&z.lengths)
	if err != nil {
		return err
	}
	if n == 63 {
		more, err := z.read(8)
		if err != nil {
			return err
		}
		n += more
	}
	z.dist, z.match = high<<z.low+low+1, n+z.least
	return nil
}

// reduce is followers, which make the next byte likely, and below them a byte that begins a match.
type reduce struct {
	*pk
	factor    uint
	followers [256][]byte
	last      byte
	state     int
	value     int
}

const reduceEscape = 144

// NewReduce returns a reader of size bytes that were packed with a factor of 1 to 4.
func NewReduce(src Source, size int64, factor int) (io.Reader, error) {
	z := &reduce{pk: newPK(src, size, 8<<10), factor: uint(factor)}
	for c := 255; c >= 0; c-- {
		n, err := z.read(6)
		if err != nil {
			return nil, err
		}
		for range n {
			f, err := z.read(8)
			if err != nil {
				return nil, err
			}
			z.followers[c] = append(z.followers[c], byte(f))
		}
	}
	z.step = z.next
	return z, nil
}

// follow decodes the next byte below the matches.
func (z *reduce) follow() (byte, error) {
	f := z.followers[z.last]
	if len(f) > 0 {
		plain, err := z.read(1)
		if err != nil {
			return 0, err
		}
		if plain == 0 {
			width := uint(1)
			for 1<<width < len(f) {
				width++
			}
			i, err := z.read(width)
			if err != nil {
				return 0, err
			}
			if i >= len(f) {
				return 0, ErrCorrupt
			}
			z.last = f[i]
			return z.last, nil
		}
	}
	c, err := z.read(8)
	z.last = byte(c)
	return z.last, err
}

func (z *reduce) next() error {
	b, err := z.follow()
	if err != nil {
		return err
	}
	c := int(b)
	most := 1<<(8-z.factor) - 1
	switch z.state {
	case 0:
		if c == reduceEscape {
			z.state = 1
		} else {
			z.put(b)
		}
	case 1:
		if c == 0 {
			z.put(reduceEscape)
			z.state = 0
			break
		}
		z.value, z.dist = c&most, c>>(8-z.factor)<<8
		if z.state = 3; z.value == most {
			z.state = 2
		}
	case 2:
		z.value += c
		z.state = 3
	default:
		z.dist, z.match, z.state = z.dist+c+1, z.value+3, 0
	}
	return nil
}

// shrink is LZW with codes of 9 to 13 bits, in which the leaves of the tree can be cleared.
type shrink struct {
	*pk
	width  uint
	parent [shrinkCodes]uint16
	value  [shrinkCodes]byte
	last   int // code that was defined
	old    int
	first  byte
	stack  []byte // to be put, reversed
}

const (
	shrinkCodes   = 1 << 13
	shrinkControl = 256
	shrinkFree    = 0xFFFF
)

// NewShrink returns a reader of size bytes.
func NewShrink(src Source, size int64) io.Reader {
	z := &shrink{pk: newPK(src, size, 8<<10), width: 9, last: shrinkControl, old: -1}
	for i := range z.parent {
		z.parent[i] = shrinkFree
		if i < 256 {
			z.parent[i], z.value[i] = shrinkControl, byte(i)
		}
	}
	z.step = z.next
	return z
}

func (z *shrink) next() error {
	if n := len(z.stack); n > 0 {
		z.put(z.stack[n-1])
		z.stack = z.stack[:n-1]
		return nil
	}
	code, err := z.read(z.width)
	if err != nil {
		return err
	}
	if code == shrinkControl {
		order, err := z.read(z.width)
		switch {
		case err != nil:
			return err
		case order == 1 && z.width < 13:
			z.width++
		case order == 2:
			z.clear()
		default:
			return ErrCorrupt
		}
		return nil
	}
	if z.old < 0 {
		if code > 255 {
			return ErrCorrupt
		}
		z.old, z.first = code, byte(code)
		z.put(byte(code))
		return nil
	}
	at := code
	if z.parent[at] == shrinkFree { // it is the one that is defined now
		z.stack = append(z.stack, z.first)
		at = z.old
	}
	for range shrinkCodes {
		if z.parent[at] == shrinkFree {
			return ErrCorrupt
		}
		z.stack = append(z.stack, z.value[at])
		if at = int(z.parent[at]); at == shrinkControl {
			break
		}
	}
	if at != shrinkControl {
		return ErrCorrupt // a circle
	}
	z.first = z.stack[len(z.stack)-1]
	for z.last++; z.last < shrinkCodes && z.parent[z.last] != shrinkFree; z.last++ {
	}
	if z.last < shrinkCodes {
		z.parent[z.last], z.value[z.last] = uint16(z.old), z.first
	} else {
		z.last = shrinkCodes - 1
	}
	z.old = code
	return nil
}

// clear frees the codes that no other code goes on from.
func (z *shrink) clear() {
	var inner [shrinkCodes]bool
	for i := shrinkControl + 1; i < shrinkCodes; i++ {
		if p := z.parent[i]; p != shrinkFree {
			inner[p] = true
		}
	}
	for i := shrinkControl + 1; i < shrinkCodes; i++ {
		if !inner[i] {
			z.parent[i] = shrinkFree
		}
	}
	z.last = shrinkControl
}
