package volume

import "math/bits"

// BlockSet is a set of blocks or clusters of a volume, one bit each, that takes memory only where it has members.
type BlockSet struct{ pages []*[pageWords]uint64 }

const (
	pageWords = 1 << 10
	pageBits  = pageWords * 64
)

// NewBlockSet returns an empty set of numbers from 0 to n-1. Its callers bound n.
func NewBlockSet(n int64) BlockSet {
	return BlockSet{make([]*[pageWords]uint64, (n+pageBits-1)/pageBits)}
}

// Add puts n blocks in and reports whether all were new. It ends at the first that was not, so that all calls together take
// no more steps than there are blocks.
func (s *BlockSet) Add(first, n int64) bool {
	for n > 0 {
		page := s.pages[first/pageBits]
		if page == nil {
			page = new([pageWords]uint64)
			s.pages[first/pageBits] = page
		}
		shift := first % 64
		count := min(n, 64-shift)
		mask := ^uint64(0) >> (64 - count) << shift
		word := &page[first%pageBits/64]
		if old := *word & mask; old != 0 {
			*word |= mask & (1<<bits.TrailingZeros64(old) - 1)
			return false
		}
		*word |= mask
		first, n = first+count, n-count
	}
	return true
}

// Has reports whether a block is in the set.
func (s *BlockSet) Has(n int64) bool { return s.Word(n&^63)>>(n%64)&1 != 0 }

// Word returns the 64 blocks that begin at a multiple of 64.
func (s *BlockSet) Word(first int64) uint64 {
	if first/pageBits >= int64(len(s.pages)) {
		return 0
	}
	if page := s.pages[first/pageBits]; page != nil {
		return page[first%pageBits/64]
	}
	return 0
}

// Words returns the 64 blocks that begin anywhere.
func (s *BlockSet) Words(first int64) uint64 {
	shift := first % 64
	return s.Word(first-shift)>>shift | s.Word(first-shift+64)<<(64-shift)
}
