package volume

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Every answer of a set is compared with that of a plain array of bits.
func TestRangesAnswerAsBitsDo(t *testing.T) {
	const size = 400
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var r Ranges
		var bits [size]bool
		for range rng.IntN(60) {
			start, n := rng.Int64N(size), rng.Int64N(20)
			n = min(n, size-start)
			r.Add(start, n)
			for i := start; i < start+n; i++ {
				bits[i] = true
			}
			if rng.IntN(5) == 0 {
				from, n := rng.Int64N(size), rng.Int64N(9)
				want := slices.Contains(bits[from:min(from+n, size)], true)
				if got := r.Meets(from, n); got != want {
					t.Fatalf("seed %d: Meets(%d, %d) is %v", seed, from, n, got)
				}
			}
		}
		var again [size]bool
		for i := range again {
			again[i] = true
		}
		for _, g := range r.Gaps(0, size) {
			for i := g.Start; i < g.Start+g.Bytes; i++ {
				again[i] = false
			}
		}
		if again != bits {
			t.Fatalf("seed %d: gaps are %v", seed, r.Gaps(0, size))
		}
		if all := r.All(); slices.ContainsFunc(all, func(x Extent) bool { return x.Bytes <= 0 }) ||
			!slices.IsSortedFunc(all, func(a, b Extent) int { return int(a.Start + a.Bytes - b.Start + 1) }) && len(all) > 1 {
			t.Fatalf("seed %d: %v", seed, all)
		}
	}
}
