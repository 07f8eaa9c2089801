package exfat

import (
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// The marks in the allocation table (4.1). What is neither one of them nor a cluster's number is damage.
const (
	markEnd = 0xFFFFFFFF
	markBad = 0xFFFFFFF7
)

// tablePiece is what is taken from the cache at once: a sector, so that one bad sector spoils nothing beside it.
const tablePiece = 512

// clusterSet is a set of cluster numbers, one bit each, that takes memory only where it has members.
type clusterSet struct{ pages []*[pageBits / 64]uint64 }

const pageBits = 1 << 16

func newClusterSet(clusters uint32) clusterSet {
	return clusterSet{make([]*[pageBits / 64]uint64, (uint64(clusters)+2+pageBits-1)/pageBits)}
}

// add puts c in and reports whether it was new.
func (s *clusterSet) add(c uint32) bool {
	page := s.pages[c/pageBits]
	if page == nil {
		page = new([pageBits / 64]uint64)
		s.pages[c/pageBits] = page
	}
	word, bit := &page[c%pageBits/64], uint64(1)<<(c%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

func (s *clusterSet) has(c uint32) bool {
	page := s.pages[c/pageBits]
	return page != nil && page[c%pageBits/64]>>(c%64)&1 != 0
}

// chain follows an allocation and takes its clusters into possession: want of them, or up to the end of the chain if want
// is negative. It returns what it has even with an error. longer says that the chain goes on behind what was wanted.
//
// A cluster that somebody has already ends it: either the chain runs in a circle, or two entries claim the cluster. So all
// chains of a volume together take no more steps than it has clusters, whatever is on it.
func (w *walker) chain(first uint32, want int64, contiguous bool) (extents []volume.Extent, longer bool, err error) {
	g := &w.fs.geo
	if want == 0 {
		return nil, false, nil
	}
	if !g.valid(first) {
		return nil, false, volume.Malformed("it begins at a cluster that the volume does not have.")
	}
	if want > int64(g.clusters) {
		return nil, false, volume.Malformed("it is larger than the volume.")
	}
	limit := int64(maxDirBytes) / g.cluster // only directories come without a length
	crowded := false
	c := first
	for n := int64(1); ; n++ {
		if !w.owned.add(c) {
			return extents, false, volume.Malformed("it runs in a circle, or into clusters that belong to another entry.")
		}
		if g.at(c)+g.cluster > w.fs.src.Size() {
			return extents, false, volume.Malformed("it reaches behind the end of the medium.")
		}
		if k := len(extents) - 1; k >= 0 && extents[k].Start+extents[k].Bytes == g.at(c) {
			extents[k].Bytes += g.cluster
		} else if len(extents) < maxExtents {
			extents = append(extents, volume.Extent{Start: g.at(c), Bytes: g.cluster})
		} else {
			crowded = true // go on, so that its clusters are not taken for lost ones
		}
		if n%(1<<16) == 0 && w.ctx.Err() != nil {
			return extents, false, w.ctx.Err() // the caller asks the context, too
		}
		if contiguous {
			if n == want {
				break
			}
			if c++; !g.valid(c) {
				return extents, false, volume.Malformed("it reaches behind the last cluster.")
			}
			continue
		}
		next, err := w.next(c)
		if err != nil {
			return extents, false, err
		}
		switch {
		case n == want:
			return w.uncrowded(extents, next != markEnd, crowded)
		case next == markEnd && want < 0:
			return w.uncrowded(extents, false, crowded)
		case next == markEnd:
			return extents, false, volume.Malformed("its chain of clusters ends too early.")
		case !g.valid(next):
			return extents, false, volume.Malformed("its chain of clusters leads to a cluster that is free, bad or outside the volume.")
		case want < 0 && n >= max(limit, 1):
			return extents, false, &volume.Fault{Outcome: report.TooLarge, Text: "it is larger than a directory may be."}
		}
		c = next
	}
	return w.uncrowded(extents, false, crowded)
}

func (w *walker) uncrowded(extents []volume.Extent, longer, crowded bool) ([]volume.Extent, bool, error) {
	if crowded {
		return extents, longer, &volume.Fault{Outcome: report.TooLarge, Text: "it lies in more pieces than this program follows."}
	}
	return extents, longer, nil
}

// next is the entry of a cluster in the allocation table.
func (w *walker) next(c uint32) (uint32, error) {
	at := w.fs.geo.fat + int64(c)*4
	base := at - at%tablePiece
	if w.pieceAt != base {
		w.pieceAt = -1
		if err := w.fs.readFull(w.piece[:], base); err != nil {
			return 0, &volume.Fault{Outcome: report.Unreadable,
				Text: "the medium returned an error where its chain of clusters is stored."}
		}
		w.pieceAt = base
	}
	return le.Uint32(w.piece[at-base:]), nil
}
