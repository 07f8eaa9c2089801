package scanner

import (
	"bytes"
	"context"
	"io"
	mathrand "math/rand/v2"
	"slices"

	"pratique/scanner/report"
)

// A medium with a false capacity has less memory than it says. What it does with an address behind its end is one of: show
// the place at that address modulo its true size, fail, show bytes that are made up, show zeros. The first is found by
// comparing, for the sizes that chips and what is left of them add up to; the second by reading places up to the last one;
// the third if it makes up others the next time. The fourth cannot be told from a part that was never written without
// writing to it, which this kiosk does not do.
const (
	// headBytes of the beginning are held against the same bytes one true size further.
	headBytes = 4 << 10
	// The true sizes that are tried: these many times a power of two, from smallestWrap on.
	smallestWrap = 1 << 20
	// triedPlaces are drawn from all over the medium, and read twice.
	triedPlaces = 16
	// A repetition of the whole medium is concluded from no fewer than wrapSectors sectors that say something and differ
	// from each other, and against none, out of up to wrapBlocks blocks of each kind, from all over. A medium that was
	// formatted and never used has about this many. Two partitions that are equal have one table before them, a copy of a
	// boot sector or of an allocation table is one copy, and a file that is an image of its own medium differs from it in
	// the tables that list the file.
	wrapSectors = 4
	wrapBlocks  = 32
	// shortPlaces have to fail, and everything behind the first of them, for an end to be an end and not some bad sectors.
	shortPlaces = 4
)

var wrapFactors = []int64{1, 3, 5, 7}

// tried is what came of reading some places.
type tried struct {
	good, bad []int64
}

// read reads a place, and notes whether it could be read.
func (t *tried) read(src io.ReaderAt, p []byte, at int64) bool {
	if n, _ := src.ReadAt(p, at); n < len(p) {
		t.bad = append(t.bad, at)
		return false
	}
	t.good = append(t.good, at)
	return true
}

// capacity tries whether the medium has all the bytes that it says it has.
func (s *scan) capacity(ctx context.Context, rng *mathrand.Rand) ([]report.Finding, error) {
	size, sector := s.job.Size, int64(max(s.sector, witnessSector))
	if size < sector || size%sector != 0 {
		return nil, nil // cut short within a sector: that is said elsewhere
	}
	var t tried
	last := size - sector
	t.read(s.src, make([]byte, sector), last)
	places := s.src.asPlaces()
	for range triedPlaces {
		if at := rng.Int64N(size/placeBlock+1) * placeBlock; at+placeBlock <= size {
			t.read(places, make([]byte, placeBlock), at)
		}
	}
	head, there := make([]byte, headBytes), make([]byte, headBytes)
	var found []report.Finding
	if size >= headBytes && t.read(s.src, head, 0) {
		for _, d := range distances(size) {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if t.read(s.src, there, d) && bytes.Equal(head, there) && s.repeats(d, head) {
				found = append(found, report.Finding{Check: report.CheckMedium, Rule: "medium-wraps", Severity: report.Block, Offset: d,
					Text: "The medium has less memory than it says: from one place on it shows again what is at its beginning."})
				break
			}
		}
	}
	if len(t.bad) == 0 {
		return found, nil
	}
	first := slices.Min(t.bad)
	behind := func(at int64) bool { return at > first }
	// The beginning was read after the end: a medium that was pulled out, or that hangs, has no end but no beginning either.
	if len(t.bad) >= shortPlaces && slices.Contains(t.bad, last) && slices.Contains(t.good, 0) && !slices.ContainsFunc(t.good, behind) {
		return append(found, report.Finding{Check: report.CheckMedium, Rule: "medium-ends", Severity: report.Block, Offset: first,
			Text: "The medium has less memory than it says: from one place on nothing of it can be read."}), nil
	}
	_ = s.halt("A place on the medium could not be read when its capacity was tried.")
	return found, nil
}

// distances are the true sizes that are tried, in ascending order.
func distances(size int64) (all []int64) {
	for _, factor := range wrapFactors {
		for d := int64(smallestWrap); d*factor <= size-headBytes; d *= 2 {
			all = append(all, d*factor)
		}
	}
	slices.Sort(all)
	return all
}

// repeats reports whether the medium shows at a distance d whatever it shows without, as far as there is anything to see.
func (s *scan) repeats(d int64, head []byte) bool {
	w := s.src.witness
	seen := map[uint64]bool{}
	compared := map[*sample]int{}
	for _, k := range w.freeze() { // in no order, but for the tables
		start, n := k.span()
		if start > s.job.Size-d-n || compared[k.sample] == wrapBlocks || !w.says(k) {
			continue
		}
		compared[k.sample]++
		there := s.pool.lanes[0].slot.buffer[:n]
		if got, _ := s.src.read(there, start+d); got < len(there) {
			return false
		}
		base := start - k.number*k.sample.block
		for i := int64(0); i < n; i += witnessSector {
			sector, j := there[i:i+witnessSector], int((base+i)/witnessSector)
			if !k.have[j] {
				continue
			}
			sum, same := w.same(k, j, sector)
			if !same {
				return false
			}
			if !uniform(sector) {
				seen[sum] = true
			}
		}
	}
	return len(seen) >= wrapSectors && !uniform(head)
}

// uniform reports whether all bytes are the same: such places are alike wherever they are.
func uniform(b []byte) bool {
	return bytes.Count(b, b[:1]) == len(b)
}
