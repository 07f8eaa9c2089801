package ntfs

// bitset is a set of numbers below its length.
type bitset []uint64

func newBitset(n int64) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(n int64)      { b[n/64] |= 1 << (n % 64) }
func (b bitset) has(n int64) bool { return b[n/64]>>(n%64)&1 != 0 }
