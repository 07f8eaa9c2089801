package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

var le = binary.LittleEndian

// link is what the allocation table says about one cluster.
type link struct {
	kind linkKind
	next uint32 // only for follows
}

type linkKind uint8

const (
	broken  linkKind = iota // a value that no cluster may have
	free                    // nobody's
	follows                 // another cluster comes next
	last                    // the end of a chain
	bad                     // marked as unusable
)

// windowBytes is how much of the table is decoded from memory at a time. The whole table of a FAT12 volume fits, so no
// entry of one and a half bytes ever lies on a border.
const windowBytes = 64 << 10

// table reads the allocation table in use. It is not safe for concurrent use.
type table struct {
	v        *Volume
	start    int64 // of the table on the volume
	window   int64 // number of the window in data; -1 if there is none
	data     []byte
	failed   map[int64]bool // windows that could not be read in full
	failures int
}

func newTable(v *Volume) *table {
	return &table{v: v, start: v.tableStart(max(v.bpb.ActiveFAT, 0)), window: -1, data: make([]byte, windowBytes), failed: map[int64]bool{}}
}

func (v *Volume) tableStart(copy int) int64 { return v.bpb.Reserved + int64(copy)*v.bpb.FATBytes }

// tableBytes is how much of each copy describes clusters.
func (v *Volume) tableBytes() int64 { return ((int64(v.bpb.Clusters)+2)*int64(v.bpb.Bits) + 7) / 8 }

// raw is the entry of cluster c as stored, less the bits that FAT32 reserves. Errors wrap volume.ErrUnreadable.
func (t *table) raw(c uint32) (uint32, error) {
	at := int64(c) * int64(t.v.bpb.Bits) / 8
	b, err := t.bytes(at, max(t.v.bpb.Bits/8, 2))
	if err != nil {
		return 0, err
	}
	switch t.v.bpb.Bits {
	case 12:
		if c&1 == 1 {
			return uint32(le.Uint16(b)) >> 4, nil
		}
		return uint32(le.Uint16(b)) & 0xFFF, nil
	case 16:
		return uint32(le.Uint16(b)), nil
	}
	return le.Uint32(b) & 0x0FFFFFFF, nil
}

// bytes returns n bytes of the table, which do not cross a window.
func (t *table) bytes(at int64, n int) ([]byte, error) {
	number, within := at/windowBytes, int(at%windowBytes)
	if number != t.window && !t.failed[number] {
		if t.failures >= maxTableFailures {
			return nil, fmt.Errorf("%w: too much of the allocation table", volume.ErrUnreadable)
		}
		t.window = -1
		size := min(windowBytes, t.v.bpb.FATBytes-number*windowBytes)
		if _, err := t.v.src.ReadAt(t.data[:size], t.start+number*windowBytes); err != nil {
			t.failed[number] = true
			t.failures++
		} else {
			t.window = number
		}
	}
	if number == t.window {
		return t.data[within:][:n], nil
	}
	// Part of this window is bad. Clusters whose entries lie in its good sectors are still known.
	if t.failures >= maxTableFailures {
		return nil, fmt.Errorf("%w: too much of the allocation table", volume.ErrUnreadable)
	}
	small := make([]byte, n)
	if _, err := t.v.src.ReadAt(small, t.start+at); err != nil {
		t.failures++
		return nil, fmt.Errorf("%w: %v", volume.ErrUnreadable, err)
	}
	return small, nil
}

// link reads the entry of cluster c, which must be in range.
func (t *table) link(c uint32) (link, error) {
	value, err := t.raw(c)
	if err != nil {
		return link{}, err
	}
	mask := uint32(1)<<min(t.v.bpb.Bits, 28) - 1
	switch {
	case value == 0:
		return link{kind: free}, nil
	case t.v.valid(value):
		return link{follows, value}, nil
	case value >= mask-7: // …F8 to …FF
		return link{kind: last}, nil
	case value == mask-8: // …F7
		return link{kind: bad}, nil
	}
	return link{kind: broken}, nil
}

// clusters is a set of cluster numbers. It takes memory only for the parts of the volume that are in it.
type clusters struct {
	pages []*[pageWords]uint64
	spare int // pages that may still be made
}

const (
	pageWords = 4096    // 32 KiB: 2^18 clusters
	allPages  = 1 << 11 // more than any volume needs
)

func newClusters(v *Volume, mostPages int) *clusters {
	n := int(v.bpb.Clusters+2)/(pageWords*64) + 1
	return &clusters{make([]*[pageWords]uint64, n), min(n, mostPages)}
}

// add puts c in and reports whether that could be done.
func (s *clusters) add(c uint32) bool {
	page := &s.pages[c/(pageWords*64)]
	if *page == nil {
		if s.spare == 0 {
			return false
		}
		s.spare--
		*page = new([pageWords]uint64)
	}
	(*page)[c/64%pageWords] |= 1 << (c % 64)
	return true
}

func (s *clusters) has(c uint32) bool {
	page := s.pages[c/(pageWords*64)]
	return page != nil && page[c/64%pageWords]&(1<<(c%64)) != 0
}

// compareBytes is one read while the copies of the table are compared.
const compareBytes = 1 << 20

// compareTables holds each copy of the table against the one in use, and says what is behind the last entry of each.
// Systems differ in which copy they believe, and two tables are two sets of files: that cannot be settled.
func (w *walker) compareTables(ctx context.Context) error {
	v := w.v
	inUse := max(v.bpb.ActiveFAT, 0)
	if v.bpb.ActiveFAT > 0 {
		w.note("fat-not-mirrored", report.Warn, "The volume says that only one copy of its allocation table is in use")
	}
	one, two := make([]byte, compareBytes), make([]byte, compareBytes)
	for copy := range v.bpb.FATs {
		if copy != inUse {
			if err := w.compareTable(ctx, inUse, copy, one, two); err != nil {
				return err
			}
		}
		if err := w.spareRange(ctx, fmt.Sprintf("rest of allocation table %d", copy+1), report.Warn,
			v.tableStart(copy)+v.tableBytes(), v.bpb.FATBytes-v.tableBytes()); err != nil {
			return err
		}
	}
	w.checkMarks()
	return nil
}

func (w *walker) compareTable(ctx context.Context, inUse, copy int, one, two []byte) error {
	v := w.v
	for at := int64(0); at < v.tableBytes(); at += compareBytes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n := min(compareBytes, v.tableBytes()-at)
		_, err1 := v.src.ReadAt(one[:n], v.tableStart(inUse)+at)
		_, err2 := v.raw.ReadAt(two[:n], v.tableStart(copy)+at)
		if err1 != nil || err2 != nil {
			w.known.Wrong(report.Unreadable, "A copy of the allocation table could not be read.")
			return nil
		}
		if bytes.Equal(one[:n], two[:n]) {
			continue
		}
		if at == 0 { // the first two entries are no clusters, and some systems keep marks in the first copy only
			clear(one[:2*v.bpb.Bits/8])
			clear(two[:2*v.bpb.Bits/8])
		}
		if v.bpb.Bits == 32 {
			maskReserved(one[:n])
			maskReserved(two[:n])
		}
		if !bytes.Equal(one[:n], two[:n]) {
			w.known.Wrong(report.Malformed, "The copies of the allocation table differ.")
			return nil
		}
		w.note("fat-marks-differ", report.Inform, "The copies of the allocation table differ in bits that do not count")
	}
	return nil
}

// maskReserved clears the four highest bits of each FAT32 entry, which belong to no cluster number.
func maskReserved(b []byte) {
	for i := 3; i < len(b); i += 4 {
		b[i] &= 0x0F
	}
}

// checkMarks reads the first two entries: the kind of medium, and whether the volume was left in order.
func (w *walker) checkMarks() {
	second, err := w.table.raw(1)
	if err != nil {
		w.known.Wrong(report.Unreadable, "The allocation table could not be read in full.")
		return
	}
	var clean, sound uint32
	switch w.v.bpb.Bits {
	case 16:
		clean, sound = 1<<15, 1<<14
	case 32:
		clean, sound = 1<<27, 1<<26
	}
	if second&clean != clean {
		w.note("volume-dirty", report.Inform, "The stick was removed while it was being written")
	}
	if second&sound != sound {
		w.note("volume-errors", report.Inform, "A computer met read or write errors on the volume")
	}
}
