package volume

import (
	"cmp"
	"context"
	"slices"
)

// loose is how many ranges are added before they are sorted and joined.
const loose = 1 << 16

// Ranges is a set of bytes, kept as few ranges as it takes: files that lie side by side are one. The zero value is empty.
// It is for volumes that have no table of what is in use: what nobody put in is nobody's.
type Ranges struct {
	list   []Extent
	sorted int // so many of them are in order, apart from each other
}

// Add puts a range in. An empty or negative one is none.
func (r *Ranges) Add(start, bytes int64) {
	if bytes <= 0 {
		return
	}
	if k := len(r.list) - 1; k >= 0 && r.list[k].Start+r.list[k].Bytes == start {
		r.list[k].Bytes += bytes // the last, so it reaches none behind it
		return
	}
	r.list = append(r.list, Extent{Start: start, Bytes: bytes})
	if len(r.list)-r.sorted > max(loose, r.sorted) {
		r.settle()
	}
}

// settle sorts and joins.
func (r *Ranges) settle() {
	if r.sorted == len(r.list) {
		return
	}
	slices.SortFunc(r.list, func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	kept := r.list[:0]
	for _, x := range r.list {
		if k := len(kept) - 1; k >= 0 && x.Start <= kept[k].Start+kept[k].Bytes {
			kept[k].Bytes = max(kept[k].Bytes, x.Start+x.Bytes-kept[k].Start)
			continue
		}
		kept = append(kept, x)
	}
	r.list, r.sorted = kept, len(kept)
}

// All is what is in the set, in order. It belongs to the set.
func (r *Ranges) All() []Extent {
	r.settle()
	return r.list
}

// Meets reports whether any byte of a range is in the set.
func (r *Ranges) Meets(start, bytes int64) bool {
	r.settle()
	i, _ := slices.BinarySearchFunc(r.list, start, func(x Extent, at int64) int {
		if x.Start+x.Bytes <= at {
			return -1
		}
		return 1
	})
	return i < len(r.list) && bytes > 0 && r.list[i].Start < start+bytes
}

// Gaps lists what of [from, to) is not in the set, in order.
func (r *Ranges) Gaps(from, to int64) []Extent {
	r.settle()
	var gaps []Extent
	for _, x := range r.list {
		if x.Start >= to {
			break
		}
		if x.Start > from {
			gaps = append(gaps, Extent{Start: from, Bytes: x.Start - from})
		}
		from = max(from, x.Start+x.Bytes)
	}
	if from < to {
		gaps = append(gaps, Extent{Start: from, Bytes: to - from})
	}
	return gaps
}

// gapRead is one read of what belongs to nobody.
const gapRead = 256 << 10

// EachData reads ranges of src and calls visit with every piece that is not all zero, in order; buf is good until it
// returns. A piece that cannot be read in full counts as zeros, and unread says that there was one. Holes of a Sparse
// source are not read. The error is visit's, or says that ctx ended.
func EachData(ctx context.Context, src Source, ranges []Extent, visit func(at int64, buf []byte) error) (unread bool, err error) {
	buf := make([]byte, gapRead)
	sparse, _ := src.(Sparse)
	for _, x := range ranges {
		for at, end := x.Start, x.Start+x.Bytes; at < end; {
			if ctx.Err() != nil {
				return unread, context.Cause(ctx)
			}
			// Reads end on multiples of their size, so that a sector is never divided between two.
			piece := buf[:min(gapRead-at%gapRead, end-at)]
			if n, _ := src.ReadAt(piece, at); n < len(piece) {
				unread = true
			} else if !Zero(piece) {
				if err := visit(at, piece); err != nil {
					return unread, err
				}
			}
			at += int64(len(piece))
			if sparse != nil && at < end {
				at = max(at, (sparse.DataFrom(at)-gapRead)/gapRead*gapRead)
			}
		}
	}
	return unread, nil
}

// Common lists what is in both of two lists, each in order and apart.
func Common(a, b []Extent) []Extent {
	var both []Extent
	for len(a) > 0 && len(b) > 0 {
		start, end := max(a[0].Start, b[0].Start), min(a[0].Start+a[0].Bytes, b[0].Start+b[0].Bytes)
		if start < end {
			both = append(both, Extent{Start: start, Bytes: end - start})
		}
		if a[0].Start+a[0].Bytes == end {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}
