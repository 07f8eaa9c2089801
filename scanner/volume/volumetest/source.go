// Package volumetest is what the tests of the volume readers share: sources that lie and fail, the mutation test, and
// the comparison of what a reader listed with what is known to be on the image. Only tests import it.
//
// The mutation test changes metadata and asks one question: did a file go missing without a word? Content is never
// changed, so whoever calls Mutate says where the metadata is.
package volumetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"

	"pratique/scanner/volume"
)

// Bytes is a medium in memory.
func Bytes(data []byte, sector int) volume.Source { return memory{bytes.NewReader(data), sector} }

type memory struct {
	*bytes.Reader
	sector int
}

func (m memory) SectorSize() int { return m.sector }

// Opened is a medium in a file of which size bytes count.
func Opened(r io.ReaderAt, size int64, sector int) volume.Source {
	return memorySection{io.NewSectionReader(r, 0, size), sector}
}

type memorySection struct {
	*io.SectionReader
	sector int
}

func (m memorySection) SectorSize() int { return m.sector }

// ErrInjected is what a source made by FailAt returns.
var ErrInjected = errors.New("injected read error")

// FailAt returns src with bad sectors: a read that touches one of the ranges gives the bytes before it and ErrInjected.
func FailAt(src volume.Source, ranges []volume.Extent) *Failing {
	return &Failing{Source: src, ranges: ranges}
}

// Failing is a medium with bad sectors.
type Failing struct {
	volume.Source
	ranges []volume.Extent
	hits   atomic.Int64
}

// Hits is how many reads failed so far.
func (f *Failing) Hits() int64 { return f.hits.Load() }

// ReadAt follows io.ReaderAt.
func (f *Failing) ReadAt(p []byte, off int64) (int, error) {
	good := int64(len(p))
	for _, r := range f.ranges {
		if off < r.Start+r.Bytes && r.Start < off+int64(len(p)) {
			good = min(good, max(r.Start-off, 0))
		}
	}
	if good == int64(len(p)) {
		return f.Source.ReadAt(p, off)
	}
	f.hits.Add(1)
	n, err := f.Source.ReadAt(p[:good], off)
	if err == nil || err == io.EOF {
		err = ErrInjected
	}
	return n, err
}

// Edit is one change that a Mutant makes.
type Edit struct {
	Offset   int64
	Old, New []byte
}

func (e Edit) String() string { return fmt.Sprintf("at %d: %x -> %x", e.Offset, e.Old, e.New) }

// Mutant is a medium with some bytes changed, in what is read from it and nowhere else.
type Mutant struct {
	volume.Source
	Edits []Edit
}

// Mutate returns src with 1 to 64 edits, drawn from seed, inside the ranges. The same seed gives the same edits. Half of
// the edits aim at bytes that are not zero, an eighth at the first range, where a reader learns the geometry.
func Mutate(src volume.Source, ranges []volume.Extent, seed uint64) *Mutant {
	rng := rand.New(rand.NewPCG(seed, 0x70726174)) // the second word only sets this use apart
	m := &Mutant{Source: src}
	edits := 1 + rng.IntN(4)
	if rng.IntN(3) == 0 {
		edits = 1 + rng.IntN(64)
	}
	var total int64
	for _, r := range ranges {
		total += r.Bytes
	}
	for range edits {
		m.edit(rng, ranges, total)
	}
	return m
}

const editSector = 512 // an edit stays within one sector of this size

func (m *Mutant) edit(rng *rand.Rand, ranges []volume.Extent, total int64) {
	base, room := m.pick(rng, ranges, total)
	sector := make([]byte, room)
	if _, err := m.ReadAt(sector, base); err != nil {
		return
	}
	at := rng.IntN(len(sector))
	for try := 0; try < 20 && sector[at] == 0 && rng.IntN(2) == 0; try++ {
		at = rng.IntN(len(sector))
	}
	var fresh []byte
	switch rng.IntN(8) {
	case 0, 1:
		fresh = []byte{sector[at] ^ 1<<rng.IntN(8)}
	case 2:
		fresh = []byte{byte(rng.Uint32())}
	case 3:
		fresh = []byte{[]byte{0, 0xFF, 0x7F, 0x80, 1, 0xE5}[rng.IntN(6)]}
	case 4:
		at &^= 1
		fresh = binary.LittleEndian.AppendUint16(nil, []uint16{0, 0xFFFF, 0x7FFF, 0x8000, 1, 0x200, uint16(rng.Uint32())}[rng.IntN(7)])
	case 5, 6:
		at &^= 3
		fresh = binary.LittleEndian.AppendUint32(nil, []uint32{0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 1, 2, 0x10000, rng.Uint32(), rng.Uint32() % 100000}[rng.IntN(9)])
	default: // a piece of another sector's metadata, at the same place
		other, _ := m.pick(rng, ranges, total)
		fresh = make([]byte, min(1<<rng.IntN(10), len(sector)-at))
		if _, err := m.ReadAt(fresh, other+int64(at)); err != nil {
			return
		}
	}
	fresh = fresh[:min(len(fresh), len(sector)-at)]
	m.Edits = append(m.Edits, Edit{base + int64(at), bytes.Clone(sector[at : at+len(fresh)]), fresh})
}

// pick draws a sector of the ranges: its start and how much of it belongs to them.
func (m *Mutant) pick(rng *rand.Rand, ranges []volume.Extent, total int64) (start, room int64) {
	if rng.IntN(8) == 0 {
		total = ranges[0].Bytes
	}
	at := rng.Int64N(total)
	for _, r := range ranges {
		if at < r.Bytes {
			at -= at % editSector
			return r.Start + at, min(editSector, r.Bytes-at)
		}
		at -= r.Bytes
	}
	panic("volumetest: the ranges hold less than their sum")
}

// ReadAt follows io.ReaderAt.
func (m *Mutant) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.Source.ReadAt(p, off)
	for _, e := range m.Edits {
		from, to := max(e.Offset, off), min(e.Offset+int64(len(e.New)), off+int64(n))
		if from < to {
			copy(p[from-off:to-off], e.New[from-e.Offset:to-e.Offset])
		}
	}
	return n, err
}
