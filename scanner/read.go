package scanner

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"
	"sort"
	"sync/atomic"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

const (
	// stagingBytes is the largest read that gathers small pieces. USB sticks reach their rate with reads of 1 MiB and more.
	stagingBytes = 2 << 20
	// directBytes: a piece of this size and more is read straight to where it belongs, without a copy.
	directBytes = 256 << 10
	// gapBytes is how much between two wanted pieces is read in vain rather than asked around. At the 35 MB/s of a USB 2
	// stick it costs about as much time as one more command.
	gapBytes = 32 << 10
)

// counted is the medium with a count of what was read from it and a witness of what it was. It repeats nothing: a medium
// that fails once has failed.
type counted struct {
	volume.Source
	bytes   atomic.Int64
	witness *witness                 // nil remembers nothing
	forget  func(off, n int64) error // for the second reading; nil before, and where nothing stands before the medium
}

// ReadAt reads content.
func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	if c.witness == nil {
		return c.read(p, off)
	}
	n, err := c.read(p, off)
	c.witness.note(&c.witness.content, p[:n], off)
	return n, err
}

func (c *counted) read(p []byte, off int64) (int, error) {
	if c.forget != nil {
		if err := c.forget(off, int64(len(p))); err != nil {
			return 0, err // what the kernel remembers is no second reading
		}
	}
	n, err := c.Source.ReadAt(p, off)
	if n < 0 || n > len(p) { // a broken source must not become a slice out of range here
		n, err = 0, io.ErrUnexpectedEOF
	}
	c.bytes.Add(int64(n))
	return n, err
}

// view is the medium as one of the witness's samples sees it. A read of more than most bytes is content's.
type view struct {
	*counted
	sample *sample
	most   int
}

func (v view) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > v.most {
		return v.counted.ReadAt(p, off)
	}
	n, err := v.read(p, off)
	v.witness.note(v.sample, p[:n], off)
	return n, err
}

// mapProbe is more than the mapper reads of anything but what lies outside every volume, which it reads to its end.
const mapProbe = 256 << 10

func (c *counted) asTables() view     { return view{c, &c.witness.tables, mapProbe} }
func (c *counted) asStructures() view { return view{c, &c.witness.structures, math.MaxInt} }
func (c *counted) asPlaces() view     { return view{c, &c.witness.places, math.MaxInt} }

// DataFrom implements volume.Sparse for a medium that does.
func (c *counted) DataFrom(off int64) int64 {
	if s, ok := c.Source.(volume.Sparse); ok {
		return max(off, s.DataFrom(off))
	}
	return off
}

// piece is a range of the medium and the memory that it belongs into.
type piece struct {
	start int64
	into  []byte
	owner *content // whose failed is set if the range cannot be read
}

// gatherer reads pieces of the medium with few large reads. It is not safe for concurrent use.
type gatherer struct {
	src     *counted
	staging []byte // made when first needed
}

// read fills all pieces, in the order of the medium. A piece that cannot be read in full marks its owner.
func (g *gatherer) read(pieces []piece) {
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.start, b.start) })
	for len(pieces) > 0 {
		n := run(pieces)
		if n == 1 {
			g.direct(pieces[0])
		} else {
			g.staged(pieces[:n])
		}
		pieces = pieces[n:]
	}
}

// run is how many of the first pieces are worth one read.
func run(pieces []piece) int {
	start, end := pieces[0].start, pieces[0].start+int64(len(pieces[0].into))
	n := 1
	for ; n < len(pieces); n++ {
		next := pieces[n]
		if len(pieces[n-1].into) >= directBytes || len(next.into) >= directBytes {
			break
		}
		last := next.start + int64(len(next.into))
		if next.start-end > gapBytes || max(last, end)-start > stagingBytes {
			break
		}
		end = max(last, end)
	}
	return n
}

func (g *gatherer) direct(p piece) {
	if n, _ := g.src.ReadAt(p.into, p.start); n < len(p.into) {
		p.owner.fail(report.Unreadable)
	}
}

// staged reads a run at once. If the medium fails within it, each piece that was not reached is asked for by itself, so
// that one bad sector costs the file that it lies in and no other.
func (g *gatherer) staged(pieces []piece) {
	if g.staging == nil {
		g.staging = make([]byte, stagingBytes)
	}
	start, end := pieces[0].start, int64(0)
	for _, p := range pieces {
		end = max(end, p.start+int64(len(p.into)))
	}
	n, _ := g.src.ReadAt(g.staging[:end-start], start)
	for _, p := range pieces {
		from := int(p.start - start)
		if from+len(p.into) <= n {
			copy(p.into, g.staging[from:])
		} else {
			g.direct(p)
		}
	}
}

// content is where the bytes of one item lie on the medium, or how they are had from it.
type content struct {
	extents []volume.Extent // absolute; a negative start is a hole
	ends    []int64         // of each extent, in the content
	inline  []byte          // the content's beginning, if the entry held it itself; there are no extents then
	decode  func() io.ReaderAt
	decoded io.ReaderAt // what decode returned; then the extents only say where the raw bytes begin
	bytes   int64       // of content, with the zeros behind what is stored
	failed  bool        // a part could not be read
	why     report.Outcome
}

// fail says that a part of the content could not be had.
func (c *content) fail(why report.Outcome) {
	if !c.failed {
		c.failed, c.why = true, why
	}
}

// open prepares for reading.
func (c *content) open() {
	if c.decode != nil {
		c.decoded = c.decode()
	}
	c.ends = make([]int64, len(c.extents))
	end := int64(0)
	for i, e := range c.extents {
		end += e.Bytes
		c.ends[i] = end
	}
}

// close gives up what only reading needs: items wait to be sent, and a decoder keeps a unit of what it decoded.
func (c *content) close() { c.inline, c.decoded = nil, nil }

// pieces appends what has to be read for the content's bytes [off, off+len(into)) and fills holes and the rest with zeros.
// What is not read as it lies on the medium is put into place at once.
func (c *content) pieces(list []piece, into []byte, off int64) []piece {
	if c.decoded != nil {
		c.unpack(into, off)
		return list
	}
	if off < int64(len(c.inline)) {
		n := copy(into, c.inline[off:])
		into, off = into[n:], off+int64(n)
	}
	i := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > off })
	for ; i < len(c.extents) && len(into) > 0; i++ {
		e := c.extents[i]
		within := off - (c.ends[i] - e.Bytes)
		n := min(e.Bytes-within, int64(len(into)))
		if e.Start < 0 {
			clear(into[:n])
		} else {
			list = append(list, piece{e.Start + within, into[:n:n], c})
		}
		into, off = into[n:], off+n
	}
	clear(into)
	return list
}

// unpack fills into with decoded content. A reader's decoder works on what an attacker wrote, so a panic in it is an answer
// about that content, too.
func (c *content) unpack(into []byte, off int64) {
	defer func() {
		if recover() != nil {
			c.fail(report.Malformed)
			clear(into)
		}
	}()
	n, err := c.decoded.ReadAt(into, off)
	if n == len(into) {
		return
	}
	clear(into)
	switch {
	case errors.Is(err, volume.ErrUnreadable):
		c.fail(report.Unreadable)
	default: // it contradicts itself, or ends before the length that it was said to have
		c.fail(report.Malformed)
	}
}
