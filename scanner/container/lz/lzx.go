package lz

import (
	"encoding/binary"
	"io"
)

// LZX, after "Microsoft LZX Data Compression Format" ([MS-PATCH] section 2,
// https://learn.microsoft.com/en-us/openspecs/exchange_server_protocols/ms-patch/).

const (
	lzxFrame    = 32768
	lzxLengths  = 249
	lzxMinMatch = 2
	// lzxJumps is how many frames have the targets of calls translated.
	lzxJumps = 32768
)

// lzxSlots is how many places of matches a window of 2^15 to 2^21 bytes has.
var lzxSlots = map[uint]int{15: 30, 16: 32, 17: 34, 18: 36, 19: 38, 20: 42, 21: 50}

// LZX unpacks one stream.
type LZX struct {
	bits
	win    *window
	slots  int
	left   int64 // of the whole stream
	bitsOf uint  // of the window

	reset  int64 // bytes after which everything begins anew, 0 for never (CHM)
	toward int64 // bytes until then

	repeated            [3]uint32
	main, length, align huffman
	mainLen             []byte
	lengthLen           []byte
	kind                uint32
	block               int // bytes left of it
	odd                 bool
	began               bool
	fileSize, frames    int32
	frame, given        []byte
	err                 error
}

// NewLZX returns a reader of size bytes that were packed with a window of 2^windowBits. After each reset bytes the stream
// begins anew; 0 is never.
func NewLZX(src Source, windowBits uint, size, reset int64) (*LZX, error) {
	slots, ok := lzxSlots[windowBits]
	if !ok || reset%lzxFrame != 0 || reset < 0 {
		return nil, ErrCorrupt
	}
	z := &LZX{bits: bits{src: src, word: true}, win: newWindow(1<<windowBits, 0), slots: slots, left: size, reset: reset, toward: reset,
		mainLen: make([]byte, 256+8*slots), lengthLen: make([]byte, lzxLengths), frame: make([]byte, lzxFrame)}
	z.fresh()
	return z, nil
}

// fresh is the state at the beginning, and behind a reset.
func (z *LZX) fresh() {
	z.repeated = [3]uint32{1, 1, 1}
	clear(z.mainLen)
	clear(z.lengthLen)
	z.block, z.began, z.odd = 0, false, false
}

// Read follows io.Reader.
func (z *LZX) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if len(z.given) > 0 {
			n := copy(p, z.given)
			z.given = z.given[n:]
			return n, nil
		}
		if z.err == nil && z.left <= 0 {
			z.err = io.EOF
		}
		if z.err != nil {
			return 0, z.err
		}
		n := int(min(lzxFrame, z.left))
		got, err := z.unpackFrame(n)
		z.left -= int64(n)
		z.err = err
		z.given = z.frame[:got]
		if err == nil {
			z.calls(z.given)
		}
	}
	return 0, nil
}

// unpackFrame unpacks a frame of n bytes into z.frame.
func (z *LZX) unpackFrame(n int) (got int, err error) {
	if z.reset > 0 && z.toward == 0 {
		z.fresh()
		z.toward = z.reset
	}
	if z.reset > 0 {
		z.toward -= int64(n)
	}
	if !z.began {
		z.began = true
		z.fileSize = 0
		if z.read(1) == 1 {
			z.fileSize = int32(z.read(16)<<16 | z.read(16))
		}
	}
	for got < n {
		if z.block == 0 {
			if err := z.header(); err != nil {
				return got, err
			}
		}
		// Frames end where the ring does, and matches end within their frame, so there is room. The last frame of a stream may
		// be packed as a whole one, of which only the beginning counts.
		var k int
		if k, err = z.unpackBlock(min(n-got, z.block, z.win.free()), lzxFrame-got); err != nil {
			return got + z.win.give(z.frame[got:n]), err
		}
		z.block -= k
		got += z.win.give(z.frame[got:n])
	}
	if z.kind != 3 && z.bits.n%16 != 0 { // frames end on a word
		z.bits.n -= z.bits.n % 16
	}
	return got, z.bits.err
}

// header begins a block.
func (z *LZX) header() (err error) {
	if z.odd {
		z.odd = false
		if _, err := z.src.ReadByte(); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	z.kind, z.block = z.read(3), int(z.read(16)<<8)
	z.block |= int(z.read(8))
	if z.bits.err != nil {
		return z.bits.err
	}
	if z.block == 0 {
		return ErrCorrupt
	}
	switch z.kind {
	case 2:
		var lengths [8]byte
		for i := range lengths {
			lengths[i] = byte(z.read(3))
		}
		if err := z.align.build(lengths[:]); err != nil {
			return err
		}
		fallthrough
	case 1:
		for _, part := range [][]byte{z.mainLen[:256], z.mainLen[256:]} {
			if err := z.lengths(part); err != nil {
				return err
			}
		}
		if err := z.main.build(z.mainLen); err != nil {
			return err
		}
		if err := z.lengths(z.lengthLen); err != nil {
			return err
		}
		return z.length.build(z.lengthLen)
	case 3:
		// One to sixteen bits of padding; a whole word if it is aligned already.
		if z.bits.n%16 == 0 && z.bits.n == 0 {
			z.read(16)
		}
		z.bits.n -= z.bits.n % 16
		var raw [12]byte
		for i := 0; i < len(raw); i += 2 {
			w := z.read(16) // what was looked at ahead comes first
			binary.LittleEndian.PutUint16(raw[i:], uint16(w))
		}
		for i := range z.repeated {
			z.repeated[i] = binary.LittleEndian.Uint32(raw[4*i:])
		}
		z.odd = z.block%2 == 1
		return z.bits.err
	}
	return ErrCorrupt
}

// lengths reads the lengths of codes as differences to those of the block before.
func (z *LZX) lengths(l []byte) error {
	var pre [20]byte
	for i := range pre {
		pre[i] = byte(z.read(4))
	}
	var h huffman
	if err := h.build(pre[:]); err != nil {
		return err
	}
	for i := 0; i < len(l); {
		s, err := z.symbol(&h)
		if err != nil {
			return err
		}
		n, v := 1, byte(0)
		switch s {
		case 17:
			n = int(z.read(4)) + 4
		case 18:
			n = int(z.read(5)) + 20
		case 19:
			n = int(z.read(1)) + 4
			if s, err = z.symbol(&h); err != nil {
				return err
			}
			if s > 16 {
				return ErrCorrupt
			}
			fallthrough
		default:
			v = byte((int(l[i]) - s + 17) % 17)
		}
		for ; n > 0 && i < len(l); n, i = n-1, i+1 {
			l[i] = v
		}
	}
	return z.bits.err
}

// unpackBlock unpacks up to most bytes of the block, a match more at the end, which stays within the frame.
func (z *LZX) unpackBlock(most, frame int) (k int, err error) {
	if z.kind == 3 {
		for k < most {
			if z.bits.n >= 16 { // a word that was looked at ahead
				w := z.read(16)
				z.win.put(byte(w))
				if k++; k < most {
					z.win.put(byte(w >> 8))
					k++
				} else if z.odd && k == z.block {
					z.odd = false // the padding
				} else {
					return k, ErrCorrupt
				}
				continue
			}
			b, err := z.src.ReadByte()
			if err != nil {
				return k, io.ErrUnexpectedEOF
			}
			z.win.put(b)
			k++
		}
		return k, nil
	}
	for k < most {
		s, err := z.symbol(&z.main)
		if err != nil {
			return k, err
		}
		if s < 256 {
			z.win.put(byte(s))
			k++
			continue
		}
		n, distance, err := z.match(s - 256)
		if err != nil {
			return k, err
		}
		if n > frame-k || n > z.block-k {
			return k, ErrCorrupt
		}
		if int64(distance) > z.win.total || int(distance) > len(z.win.buf) {
			return k, ErrCorrupt
		}
		if n > z.win.free() {
			return k, ErrCorrupt
		}
		z.win.match(int(distance), n)
		k += n
	}
	return k, nil
}

// match decodes the rest of a match.
func (z *LZX) match(s int) (n int, distance uint32, err error) {
	n = s & 7
	if n == 7 {
		more, err := z.symbol(&z.length)
		if err != nil {
			return 0, 0, err
		}
		n += more
	}
	n += lzxMinMatch
	slot := s >> 3
	switch {
	case slot == 0:
		return n, z.repeated[0], nil
	case slot < 3:
		z.repeated[0], z.repeated[slot] = z.repeated[slot], z.repeated[0]
		return n, z.repeated[0], nil
	}
	base, extra := lzxSlot(slot)
	distance = base - 2
	if z.kind == 2 && extra >= 3 {
		distance += z.read(extra-3) << 3
		low, err := z.symbol(&z.align)
		if err != nil {
			return 0, 0, err
		}
		distance += uint32(low)
	} else {
		distance += z.read(extra)
	}
	z.repeated[2], z.repeated[1], z.repeated[0] = z.repeated[1], z.repeated[0], distance
	return n, distance, z.bits.err
}

// lzxSlot is the first distance of a slot, and how many bits follow.
func lzxSlot(slot int) (base uint32, extra uint) {
	switch {
	case slot < 4:
		return uint32(slot), 0
	case slot < 36:
		extra = uint(slot)/2 - 1
		return (2 + uint32(slot)&1) << extra, extra
	}
	return uint32(slot-34) << 17, 17
}

// calls undoes the translation of the targets of calls in a frame.
func (z *LZX) calls(b []byte) {
	at := z.frames * lzxFrame
	z.frames++
	if z.fileSize == 0 || z.frames > lzxJumps || len(b) <= 10 {
		return
	}
	for i := 0; i < len(b)-10; i++ {
		if b[i] != 0xE8 {
			continue
		}
		pos := at + int32(i)
		v := int32(binary.LittleEndian.Uint32(b[i+1:]))
		if v >= -pos && v < z.fileSize {
			if v >= 0 {
				v -= pos
			} else {
				v += z.fileSize
			}
			binary.LittleEndian.PutUint32(b[i+1:], uint32(v))
		}
		i += 4
	}
}
