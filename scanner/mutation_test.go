package scanner

import (
	"crypto/sha256"
	"flag"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/testdata/stick"
)

var mutants = flag.Int("mutants", 200, "mutated images; 2,000 at night")

// edited is a medium with some bytes changed.
type edited struct {
	volume.Source
	edits map[int64]byte
}

func (e edited) ReadAt(p []byte, off int64) (int, error) {
	n, err := e.Source.ReadAt(p, off)
	for at, b := range e.edits {
		if off <= at && at < off+int64(n) {
			p[at-off] = b
		}
	}
	return n, err
}

// TestT03_MutatedMediaNeverBreakTheStream changes what file systems are made of, and nothing of the files' content. Whatever
// a reader makes of it, the messages keep their rules; the rig fails the test if the collector refuses one.
func TestT03_MutatedMediaNeverBreakTheStream(t *testing.T) {
	img := newImage(t, 8*mib)
	part := stick.Partition{Start: mib, Bytes: 7 * mib, Type: 0x06}
	if err := stick.WriteMBR(img.File, []stick.Partition{part}, nil); err != nil {
		t.Fatal(err)
	}
	files := []stick.File{noise("deep/er/one", 40_000, 1), noise("two", 5_000, 2), noise("three", 70_000, 3), text("four", "4"), text("evil", "match block\n")}
	v, err := stick.WriteFAT(io.NewOffsetWriter(img.File, part.Start), stick.FAT{Bits: 16, Bytes: part.Bytes, Start: part.Start}, files)
	if err != nil {
		t.Fatal(err)
	}
	truth := map[[32]byte]bool{sha256.Sum256(nil): true}
	for i := range files {
		content, _ := io.ReadAll(files[i].Content())
		truth[sha256.Sum256(content)] = true
	}
	places := []volume.Extent{{Start: 0, Bytes: 512}, {Start: part.Start, Bytes: 512}, {Start: part.Start + v.FAT, Bytes: 300},
		{Start: part.Start + v.FAT + v.FATBytes, Bytes: 300}, {Start: part.Start + v.RootDir, Bytes: 512}}
	complete, odd := 0, 0
	for seed := range *mutants {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		e := edited{img, map[int64]byte{}}
		for range 1 + rng.IntN(4) {
			place := places[rng.IntN(len(places))]
			e.edits[place.Start+rng.Int64N(place.Bytes)] = byte(rng.Uint32())
		}
		r := newRig(t, 2, 2*mib, img.size)
		rep := mustScan(t, r, e)
		if rep.Complete {
			complete++
		}
		if lies := found(rep); slices.ContainsFunc(lies, func(rule string) bool { return strings.HasPrefix(rule, "medium-") }) {
			t.Errorf("an honest medium is accused: %v", lies)
		}
		for _, it := range r.items {
			if it.Kind == report.File && it.Outcome == report.Clean && !truth[it.SHA256] {
				odd++ // a size or a first cluster was changed: other bytes, and they were scanned
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %v", seed, e.edits)
		}
	}
	t.Logf("%d mutants, %d scans complete, %d clean files of other bytes", *mutants, complete, odd)
}
