package ntfs

import "math/bits"

// bitset is a set of numbers below its length.
type bitset []uint64

func newBitset(n int64) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(n int64)      { b[n/64] |= 1 << (n % 64) }
func (b bitset) has(n int64) bool { return b[n/64]>>(n%64)&1 != 0 }

// clusterSet is a set of clusters, one bit each, that takes memory only where it has members.
type clusterSet struct{ pages []*[pageWords]uint64 }

const (
	pageWords = 1 << 10
	pageBits  = pageWords * 64
)

func newClusterSet(clusters int64) clusterSet {
	return clusterSet{make([]*[pageWords]uint64, (clusters+pageBits-1)/pageBits)}
}

// add puts n clusters in and reports whether all were new. It ends at the first that was not, so that all calls together
// take no more steps than there are clusters.
func (s *clusterSet) add(first, n int64) bool {
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

// word returns the 64 clusters that begin at a multiple of 64.
func (s *clusterSet) word(first int64) uint64 {
	if page := s.pages[first/pageBits]; page != nil {
		return page[first%pageBits/64]
	}
	return 0
}
