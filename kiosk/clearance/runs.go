package clearance

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

const (
	// runRecords is how many entries are sorted at once: 10 MB, and a tenth of a second in which nobody hears of progress.
	// Twenty million entries with as many marks make 300 runs.
	runRecords = 1 << 17
	// runBuffer is what is read of one run at a time while runs are merged: 300 of them take 10 MB.
	runBuffer = 32 << 10
	// heldChunk is by how many entries memory grows until a run is full, so that a small manifest stays small.
	heldChunk = 1 << 10
)

// Spool is where a manifest puts what it does not hold in memory: a file of the station's own that nobody else can open.
// It holds pseudonyms, sizes and hashes, as the manifest does. Nothing in it is of use after a crash.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// record is one entry of a manifest, or a mark that a directory is not empty, in the form in which it is sorted: volume,
// key, kind, size, sum. A mark sorts right before the directory that it is about.
type record [recordBytes]byte

const (
	leafBytes   = 1 + 32 + 8 + 32
	recordBytes = 1 + leafBytes
	sortBytes   = 1 + 32 + 1
)

// The kinds of record. parentMark is none of a leaf and never leaves this package.
const (
	parentMark    = 0
	leafFile      = 'F'
	leafDirectory = 'D' // an empty one
	leafStream    = 'S'
)

func newRecord(volume int, kind byte, key [32]byte, size uint64, sum [32]byte) record {
	var r record
	r[0] = byte(volume) // below MaxVolumes, which is 256
	copy(r[1:], key[:])
	r[33] = kind
	binary.BigEndian.PutUint64(r[34:], size)
	copy(r[42:], sum[:])
	return r
}

func (r *record) volume() int       { return int(r[0]) }
func (r *record) key() [32]byte     { return [32]byte(r[1:33]) }
func (r *record) keyBytes() []byte  { return r[1:33] }
func (r *record) kind() byte        { return r[33] }
func (r *record) size() uint64      { return binary.BigEndian.Uint64(r[34:42]) }
func (r *record) sum() [32]byte     { return [32]byte(r[42:]) }
func (r *record) order() []byte     { return r[:sortBytes] }
func (r *record) directory() []byte { return r[:1+32] } // the volume and path that a mark and its directory share

// sameEntry compares all but the volume.
func (r *record) sameEntry(other *record) bool { return bytes.Equal(r[1:], other[1:]) }

// leaf writes the leaf's bytes: what is hashed, and what the file holds.
func (r *record) leaf(b []byte) []byte {
	b = append(b, r[33])
	b = append(b, r[1:33]...)
	return append(b, r[34:]...)
}

// run is a sorted part of a manifest, in memory or in the spool.
type run struct {
	held    []record
	at      int64 // in the spool
	records int
}

// keep takes one record.
func (m *Manifest) keep(r record) error {
	if len(m.fresh) == cap(m.fresh) {
		room := max(heldChunk, len(m.fresh))
		if len(m.runs) > 0 {
			room = runRecords // the next will be as long
		}
		m.fresh = slices.Grow(m.fresh, min(room, runRecords-len(m.fresh)))
	}
	if m.fresh = append(m.fresh, r); len(m.fresh) < runRecords {
		return nil
	}
	return m.endRun()
}

// endRun sorts what is fresh. Marks that say the same are one.
func (m *Manifest) endRun() error {
	if len(m.fresh) == 0 {
		return nil
	}
	slices.SortFunc(m.fresh, func(a, b record) int { return bytes.Compare(a.order(), b.order()) })
	sorted := slices.CompactFunc(m.fresh, func(a, b record) bool { return a.kind() == parentMark && a == b })
	if m.spool == nil {
		m.runs = append(m.runs, run{held: slices.Clip(sorted), records: len(sorted)})
		m.fresh = nil
		return nil
	}
	out := bufio.NewWriterSize(io.NewOffsetWriter(m.spool, m.spooled), runBuffer)
	for i := range sorted {
		out.Write(sorted[i][:]) // the first error stays until Flush
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("manifest: spool: %w", err)
	}
	m.runs = append(m.runs, run{at: m.spooled, records: len(sorted)})
	m.spooled += int64(len(sorted)) * recordBytes
	m.fresh = m.fresh[:0]
	return nil
}

// merger hands out the entries of several runs in one order, without the directories in which something is.
type merger struct {
	runs runHeap
	full record // the last mark
	out  record
	err  error
}

// merge begins at the first entry of all.
func (m *Manifest) merge() *merger {
	g := &merger{}
	for _, r := range m.runs {
		c := &cursor{held: r.held}
		if r.held == nil {
			c.in = bufio.NewReaderSize(io.NewSectionReader(m.spool, r.at, int64(r.records)*recordBytes), runBuffer)
			c.left = r.records
		}
		g.push(c)
	}
	return g
}

// entries are those of the volume at this place, of a sealed manifest in memory; none if there is no such volume.
func (m *Manifest) entries(place int) *merger {
	g := &merger{}
	if place >= len(m.volumes) {
		return g
	}
	id := m.volumes[place].id
	for _, r := range m.runs {
		from, _ := slices.BinarySearchFunc(r.held, id, func(r record, id int) int { return r.volume() - id })
		to, _ := slices.BinarySearchFunc(r.held, id+1, func(r record, id int) int { return r.volume() - id })
		g.push(&cursor{held: r.held[from:to]})
	}
	return g
}

func (g *merger) push(c *cursor) {
	switch ok, err := c.advance(); {
	case err != nil:
		g.err = err
	case ok:
		heap.Push(&g.runs, c)
	}
}

// next returns the next entry, nil after the last. It is overwritten by the next call.
func (g *merger) next() (*record, error) {
	for g.err == nil && len(g.runs) > 0 {
		first := g.runs[0]
		g.out = first.now
		more, err := first.advance()
		switch {
		case err != nil:
			g.err = err
		case more:
			heap.Fix(&g.runs, 0)
		default:
			heap.Pop(&g.runs)
		}
		switch g.out.kind() {
		case parentMark:
			g.full = g.out
			continue
		case leafDirectory:
			if g.full != (record{}) && bytes.Equal(g.full.directory(), g.out.directory()) {
				continue
			}
		}
		return &g.out, nil
	}
	return nil, g.err
}

// held is next where no run can fail, since all are in memory.
func (g *merger) held() *record {
	r, _ := g.next()
	return r
}

// cursor is a place in a run.
type cursor struct {
	now  record
	held []record // what follows
	in   *bufio.Reader
	left int
}

func (c *cursor) advance() (bool, error) {
	switch {
	case len(c.held) > 0:
		c.now, c.held = c.held[0], c.held[1:]
		return true, nil
	case c.left == 0:
		return false, nil
	}
	c.left--
	if _, err := io.ReadFull(c.in, c.now[:]); err != nil {
		return false, fmt.Errorf("manifest: spool: %w", err)
	}
	return true, nil
}

// runHeap has the run with the smallest record in front.
type runHeap []*cursor

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return bytes.Compare(h[i].now.order(), h[j].now.order()) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(c any)        { *h = append(*h, c.(*cursor)) }
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
