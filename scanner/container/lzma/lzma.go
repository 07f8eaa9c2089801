// Package lzma unpacks LZMA and LZMA2, which 7z, xz, lzip, ZIP and installers hold.
//
// It trusts nothing in the stream. Memory is the window alone: it grows with what was unpacked, whatever size of dictionary
// a header asks for, and ends at MaxWindow. Matches that reach further back end the stream with ErrWindow, damage with
// ErrCorrupt, an early end with io.ErrUnexpectedEOF. A stream of unknown size ends at its own mark.
//
// The format is that of the LZMA SDK's lzma-specification.txt (https://www.7-zip.org/sdk.html); LZMA2 is chunks of it, each
// with its sizes and what of the state begins anew (https://tukaani.org/xz/xz-file-format.txt, section 5.3.1). Why not a
// library: the one that resolves allocates the dictionary that a header names, up to 4 GiB, before it reads a byte.
package lzma

import (
	"errors"
	"io"
)

// MaxWindow is how far back a match may reach: that of the strongest setting of xz, and more than 7-Zip takes by itself for
// what fits on a usual stick.
const MaxWindow = 64 << 20

// Errors of a stream.
var (
	ErrCorrupt = errors.New("lzma: the stream is damaged")
	ErrWindow  = errors.New("lzma: a match reaches further back than is kept")
)

const (
	stateCount   = 12
	maxPosBits   = 4
	lenToPos     = 4
	endPosModel  = 14
	fullDistance = 1 << (endPosModel / 2)
	alignBits    = 4
	minMatch     = 2
	topValue     = 1 << 24
	modelBits    = 11
	moveBits     = 5
	half         = 1 << (modelBits - 1)
)

type prob = uint16

// coder is the range decoder over a source with a buffer of its own.
type coder struct {
	src  io.Reader
	buf  []byte
	pos  int
	rng  uint32
	code uint32
	err  error
}

// next returns the next byte. Behind the end there are zeros, and err says so: a decoder looks at it once for each packet.
func (c *coder) next() byte {
	if c.pos < len(c.buf) {
		b := c.buf[c.pos]
		c.pos++
		return b
	}
	return c.fill()
}

func (c *coder) fill() byte {
	if c.err != nil {
		return 0
	}
	for range 100 {
		n, err := c.src.Read(c.buf[:cap(c.buf)])
		if n > 0 && n <= cap(c.buf) {
			c.buf, c.pos = c.buf[:n], 1
			return c.buf[0]
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			c.err = err
			return 0
		}
	}
	c.err = io.ErrNoProgress
	return 0
}

// begin reads the first five bytes of a range coder.
func (c *coder) begin() error {
	first := c.next()
	c.rng, c.code = 0xFFFFFFFF, 0
	for range 4 {
		c.code = c.code<<8 | uint32(c.next())
	}
	if c.err == nil && (first != 0 || c.code == c.rng) {
		return ErrCorrupt
	}
	return c.err
}

func (c *coder) bit(p *prob) uint32 {
	bound := (c.rng >> modelBits) * uint32(*p)
	var bit uint32
	if c.code < bound {
		*p += (1<<modelBits - *p) >> moveBits
		c.rng = bound
	} else {
		*p -= *p >> moveBits
		c.code -= bound
		c.rng -= bound
		bit = 1
	}
	if c.rng < topValue {
		c.rng <<= 8
		c.code = c.code<<8 | uint32(c.next())
	}
	return bit
}

func (c *coder) direct(bits uint32) uint32 {
	var v uint32
	for ; bits > 0; bits-- {
		c.rng >>= 1
		c.code -= c.rng
		mask := 0 - (c.code >> 31)
		c.code += c.rng & mask
		v = v<<1 + mask + 1
		if c.rng < topValue {
			c.rng <<= 8
			c.code = c.code<<8 | uint32(c.next())
		}
	}
	return v
}

func (c *coder) tree(probs []prob, bits uint32) uint32 {
	m := uint32(1)
	for range bits {
		m = m<<1 | c.bit(&probs[m])
	}
	return m - 1<<bits
}

func (c *coder) reverse(probs []prob, bits uint32) uint32 {
	m, v := uint32(1), uint32(0)
	for i := range bits {
		b := c.bit(&probs[m])
		m = m<<1 | b
		v |= b << i
	}
	return v
}

// lengths decodes the lengths of matches.
type lengths struct {
	choice, choice2 prob
	low, mid        [1 << maxPosBits][8]prob
	high            [256]prob
}

func (l *lengths) reset() {
	l.choice, l.choice2 = half, half
	for i := range l.low {
		fill(l.low[i][:])
		fill(l.mid[i][:])
	}
	fill(l.high[:])
}

func (l *lengths) decode(c *coder, posState uint32) uint32 {
	switch {
	case c.bit(&l.choice) == 0:
		return c.tree(l.low[posState][:], 3)
	case c.bit(&l.choice2) == 0:
		return 8 + c.tree(l.mid[posState][:], 3)
	}
	return 16 + c.tree(l.high[:], 8)
}

func fill(p []prob) {
	for i := range p {
		p[i] = half
	}
}

// decoder is the state of LZMA and its window.
type decoder struct {
	coder
	lc, lp, pb uint32

	window []byte
	size   int   // that the window may have
	at     int   // where the next byte goes
	wraps  bool  // the window is full
	given  int   // up to here in the window, everything was handed out
	total  int64 // bytes since the dictionary was last begun anew, for positions

	state               uint32
	rep                 [4]uint32
	pending             uint32 // bytes of a match that had no room any more
	literal             []prob
	isMatch, isRep0Long [stateCount << maxPosBits]prob
	isRep, isRepG0      [stateCount]prob
	isRepG1, isRepG2    [stateCount]prob
	slot                [lenToPos][64]prob
	align               [1 << alignBits]prob
	special             [fullDistance - endPosModel + 1]prob
	length, repLength   lengths
}

func newDecoder(src io.Reader, dict uint32) *decoder {
	return &decoder{coder: coder{src: src, buf: make([]byte, 0, 4<<10)}, size: int(min(max(dict, 4<<10), MaxWindow))}
}

// props sets lc, lp and pb from their byte.
func (d *decoder) props(b byte) error {
	if b >= 9*5*5 {
		return ErrCorrupt
	}
	d.lc, d.lp, d.pb = uint32(b%9), uint32(b/9%5), uint32(b/45)
	return nil
}

func (d *decoder) resetState() {
	d.state, d.rep, d.pending = 0, [4]uint32{}, 0
	if n := 0x300 << (d.lc + d.lp); cap(d.literal) < n {
		d.literal = make([]prob, n)
	} else {
		d.literal = d.literal[:n]
	}
	fill(d.literal)
	for _, p := range [][]prob{d.isMatch[:], d.isRep0Long[:], d.isRep[:], d.isRepG0[:], d.isRepG1[:], d.isRepG2[:], d.align[:], d.special[:]} {
		fill(p)
	}
	for i := range d.slot {
		fill(d.slot[i][:])
	}
	d.length.reset()
	d.repLength.reset()
}

// room makes place for a byte, and reports false when what is in the window has to be handed out first.
func (d *decoder) room() bool {
	if d.at < len(d.window) {
		return true
	}
	if len(d.window) < d.size {
		grown := make([]byte, min(max(2*len(d.window), 64<<10), d.size))
		copy(grown, d.window)
		d.window = grown
		return true
	}
	if d.given < d.at {
		return false
	}
	d.at, d.given, d.wraps = 0, 0, true
	return true
}

// has reports whether a distance (counted from 0) reaches back to what was unpacked.
func (d *decoder) has(dist uint32) error {
	if int64(dist) >= d.total {
		return ErrCorrupt
	}
	if int(dist) < d.at || d.wraps && int(dist) < len(d.window) {
		return nil
	}
	return ErrWindow
}

func (d *decoder) back(dist uint32) byte {
	i := d.at - 1 - int(dist)
	if i < 0 {
		i += len(d.window)
	}
	return d.window[i]
}

// copyMatch puts as much of the pending match into the window as there is room for, up to most bytes.
func (d *decoder) copyMatch(most int64) (n int64) {
	for d.pending > 0 && n < most && d.room() {
		k := int(min(int64(d.pending), most-n, int64(len(d.window)-d.at)))
		from := d.at - 1 - int(d.rep[0])
		if from < 0 {
			from += len(d.window)
			k = min(k, len(d.window)-from)
		}
		if gap := int(d.rep[0]) + 1; from < d.at && gap < k {
			for i := range k { // it repeats what it has just written
				d.window[d.at+i] = d.window[from+i]
			}
		} else {
			copy(d.window[d.at:d.at+k], d.window[from:from+k])
		}
		d.at += k
		d.pending -= uint32(k)
		n += int64(k)
		d.total += int64(k)
	}
	return n
}

// errMark says that the stream's own end mark was read.
var errMark = errors.New("lzma: end mark")

// decode unpacks up to most bytes, less if the window has to be handed out first.
func (d *decoder) decode(most int64) (n int64, err error) {
	n = d.copyMatch(most)
	for n < most && d.room() {
		if d.err != nil {
			return n, d.err
		}
		posState := uint32(d.total) & (1<<d.pb - 1)
		if d.bit(&d.isMatch[d.state<<maxPosBits+posState]) == 0 {
			d.literalByte()
			n++
			continue
		}
		length, err := d.match(posState)
		if err != nil {
			if d.err != nil {
				err = d.err
			}
			return n, err
		}
		if d.err != nil {
			return n, d.err
		}
		d.pending = length
		n += d.copyMatch(most - n)
	}
	return n, nil
}

func (d *decoder) literalByte() {
	prev := uint32(0)
	if d.total > 0 && (d.at > 0 || d.wraps) {
		prev = uint32(d.back(0))
	}
	state := (uint32(d.total)&(1<<d.lp-1))<<d.lc + prev>>(8-d.lc)
	probs := d.literal[0x300*state:][:0x300]
	symbol := uint32(1)
	if d.state >= 7 && d.has(d.rep[0]) == nil {
		matched := uint32(d.back(d.rep[0]))
		for symbol < 0x100 {
			matchBit := matched >> 7 & 1
			matched <<= 1
			bit := d.bit(&probs[(1+matchBit)<<8+symbol])
			symbol = symbol<<1 | bit
			if matchBit != bit {
				break
			}
		}
	}
	for symbol < 0x100 {
		symbol = symbol<<1 | d.bit(&probs[symbol])
	}
	d.window[d.at] = byte(symbol)
	d.at++
	d.total++
	switch {
	case d.state < 4:
		d.state = 0
	case d.state < 10:
		d.state -= 3
	default:
		d.state -= 6
	}
}

// match decodes a match or repetition and returns its length. Its distance is rep[0].
func (d *decoder) match(posState uint32) (length uint32, err error) {
	after := func(short, long uint32) {
		if d.state < 7 {
			d.state = short
		} else {
			d.state = long
		}
	}
	if d.bit(&d.isRep[d.state]) == 0 {
		d.rep[3], d.rep[2], d.rep[1] = d.rep[2], d.rep[1], d.rep[0]
		length = d.length.decode(&d.coder, posState)
		after(7, 10)
		d.rep[0] = d.distance(length)
		if d.rep[0] == 0xFFFFFFFF {
			return 0, errMark
		}
		return length + minMatch, d.has(d.rep[0])
	}
	if d.bit(&d.isRepG0[d.state]) == 0 {
		if d.bit(&d.isRep0Long[d.state<<maxPosBits+posState]) == 0 {
			after(9, 11)
			return 1, d.has(d.rep[0])
		}
	} else {
		dist := d.rep[1]
		if d.bit(&d.isRepG1[d.state]) != 0 {
			dist = d.rep[2]
			if d.bit(&d.isRepG2[d.state]) != 0 {
				dist = d.rep[3]
				d.rep[3] = d.rep[2]
			}
			d.rep[2] = d.rep[1]
		}
		d.rep[1] = d.rep[0]
		d.rep[0] = dist
	}
	length = d.repLength.decode(&d.coder, posState)
	after(8, 11)
	return length + minMatch, d.has(d.rep[0])
}

func (d *decoder) distance(length uint32) uint32 {
	slot := d.tree(d.slot[min(length, lenToPos-1)][:], 6)
	if slot < 4 {
		return slot
	}
	bits := slot>>1 - 1
	dist := (2 | slot&1) << bits
	if slot < endPosModel {
		return dist + d.reverse(d.special[dist-slot:], bits)
	}
	return dist + d.direct(bits-alignBits)<<alignBits + d.reverse(d.align[:], alignBits)
}

// give copies what is in the window and was not handed out yet.
func (d *decoder) give(p []byte) int {
	n := copy(p, d.window[d.given:d.at])
	d.given += n
	return n
}

// Reader unpacks one LZMA stream.
type Reader struct {
	d    *decoder
	left int64 // -1: until the mark
	err  error
}

// NewReader returns a Reader of raw LZMA with its byte of properties, the size of the dictionary that it was made with, and
// its unpacked size, -1 if only its end mark says it. It may read more of r than belongs to the stream.
func NewReader(r io.Reader, properties byte, dict uint32, size int64) (*Reader, error) {
	d := newDecoder(r, dict)
	if err := d.props(properties); err != nil {
		return nil, err
	}
	d.resetState()
	if size < 0 {
		size = -1
	}
	return &Reader{d: d, left: size, err: d.begin()}, nil
}

// Read follows io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n := r.d.give(p); n > 0 {
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		r.err = io.EOF
		return 0, io.EOF
	}
	most := int64(len(p))
	if r.left > 0 {
		most = min(most, r.left)
	}
	n, err := r.d.decode(most)
	if r.left > 0 {
		r.left -= n
	}
	switch {
	case err == errMark && r.left > 0:
		r.err = io.ErrUnexpectedEOF // fewer bytes than it was said to have
	case err == errMark:
		r.err = io.EOF
	case err != nil:
		r.err = err
	}
	if given := r.d.give(p); given > 0 {
		return given, nil
	}
	return 0, r.err
}

// Source is what an LZMA2 stream is read from: its headers by the byte, its chunks in pieces.
type Source interface {
	io.Reader
	io.ByteReader
}

// Reader2 unpacks one LZMA2 stream.
type Reader2 struct {
	d      *decoder
	src    Source
	chunk  io.LimitedReader
	raw    bool  // the chunk is stored
	left   int64 // bytes to come of the chunk
	begun  bool  // there was a dictionary
	stated bool  // there were properties
	err    error
}

// NewReader2 returns a Reader2. It reads of r what belongs to the stream and no more.
func NewReader2(r Source, dict uint32) *Reader2 {
	x := &Reader2{src: r}
	x.chunk.R = r
	x.d = newDecoder(&x.chunk, dict)
	return x
}

// Read follows io.Reader.
func (r *Reader2) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n := r.d.give(p); n > 0 {
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if r.left == 0 {
			r.err = r.header()
			continue
		}
		r.err = r.more(min(r.left, int64(len(p))))
	}
}

// more unpacks up to most bytes of the chunk.
func (r *Reader2) more(most int64) error {
	if r.raw {
		for most > 0 && r.d.room() {
			k := int(min(most, int64(len(r.d.window)-r.d.at)))
			n, err := io.ReadFull(r.src, r.d.window[r.d.at:r.d.at+k])
			r.d.at += n
			r.d.total += int64(n)
			r.left -= int64(n)
			most -= int64(n)
			if err != nil {
				return io.ErrUnexpectedEOF
			}
		}
		return nil
	}
	n, err := r.d.decode(most)
	r.left -= n
	if err == errMark {
		err = ErrCorrupt // LZMA2 has no mark within a chunk
	}
	if err == nil && r.left == 0 {
		if r.d.pending > 0 {
			return ErrCorrupt
		}
		// What the coder did not take of the chunk is no part of anything.
		_, err = io.Copy(io.Discard, &r.chunk)
		r.d.buf, r.d.pos = r.d.buf[:0], 0
	}
	return err
}

// header begins the next chunk.
func (r *Reader2) header() error {
	control, err := r.src.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if control == 0 {
		return io.EOF
	}
	var h [4]byte
	size := 2
	if control >= 0x80 {
		size = 4
	} else if control > 2 {
		return ErrCorrupt
	}
	if _, err := io.ReadFull(r.src, h[:size]); err != nil {
		return unexpected(err)
	}
	r.left = int64(h[0])<<8 + int64(h[1]) + 1
	fresh := control == 1 || control >= 0xE0
	if fresh {
		// Nothing reaches back behind here. The window itself goes on.
		r.d.total, r.begun = 0, true
	}
	if !r.begun {
		return ErrCorrupt
	}
	if r.raw = control < 0x80; r.raw {
		return nil
	}
	r.left += int64(control&0x1F) << 16
	r.chunk.N = int64(h[2])<<8 + int64(h[3]) + 1
	if control >= 0xC0 {
		b, err := r.src.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		if err := r.d.props(b); err != nil || r.d.lc+r.d.lp > 4 {
			return ErrCorrupt
		}
		r.stated = true
	}
	if !r.stated {
		return ErrCorrupt
	}
	if control >= 0xA0 {
		r.d.resetState()
	}
	r.d.err = nil
	r.d.buf, r.d.pos = r.d.buf[:0], 0
	return r.d.begin()
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
