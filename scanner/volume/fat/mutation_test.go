package fat

import (
	"context"
	"flag"
	"fmt"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

var mutants = flag.Int("mutants", 300, "mutants for each type of FAT; the nightly run says 3,000")

func campaign(t testing.TB, bits int) volumetest.Campaign {
	spec := specs[bits]
	files := append(someFiles(), stick.Corpus(map[int]int{12: 30, 16: 120, 32: 250}[bits], 5)...)
	if bits == 12 {
		for i := range files {
			files[i].Data = files[i].Data[:min(len(files[i].Data), 20_000)]
		}
	}
	if bits == 16 {
		spec.Bytes = 16 << 20
	}
	img := build(t, spec, files)
	truth := img.truth(t)
	return volumetest.Campaign{Source: img, Metadata: metadataInUse(t, img), Truth: truth,
		Open: func(src volume.Source) (volume.FileSystem, error) { return Open(src) },
		// An empty file leaves no trace when its entry goes, and one that is shortened or lengthened within its last cluster is
		// a file of that length, for this reader as for every system.
		Deleted: func(_ *volumetest.Mutant, path string, l volumetest.Listing) bool {
			return truth[path].Size == 0 || find(l, path) != nil && find(l, path).Outcome == report.Unscanned
		}}
}

// metadataInUse leaves out the far end of the tables, where an edit changes nothing.
func metadataInUse(t testing.TB, img *image) []volume.Extent {
	var most uint32
	for _, chain := range img.made.Chain {
		for _, c := range chain {
			most = max(most, c)
		}
	}
	used := (int64(most)*int64(img.made.Bits)/8 + 1024) &^ 511
	out := []volume.Extent{{Start: 0, Bytes: img.made.FAT}}
	for k := range img.made.FATs {
		out = append(out, volume.Extent{Start: img.made.FAT + int64(k)*img.made.FATBytes, Bytes: min(used, img.made.FATBytes)})
	}
	for _, m := range img.metadata() {
		if m.Start >= img.made.Heap {
			out = append(out, m)
		}
	}
	if img.made.Bits != 32 {
		out = append(out, volume.Extent{Start: img.made.RootDir, Bytes: img.made.Heap - img.made.RootDir})
	}
	return out
}

func TestT03_MutatedMetadataLosesNoFileQuietly(t *testing.T) {
	for _, bits := range []int{12, 16, 32} {
		t.Run(fmt.Sprintf("FAT%d", bits), func(t *testing.T) {
			c := campaign(t, bits)
			t.Logf("FAT%d, %d mutants: %v", bits, *mutants, c.Run(t, 0, *mutants))
		})
	}
}

func TestBadSectorsInMetadataLoseNoFileQuietly(t *testing.T) {
	for _, bits := range []int{12, 16, 32} {
		t.Run(fmt.Sprintf("FAT%d", bits), func(t *testing.T) {
			c := campaign(t, bits)
			t.Logf("FAT%d, 40 bad sectors: %v", bits, c.RunFailing(t, 40))
		})
	}
}

func TestAWhollyUnreadableTableIsAskedOnlySoOften(t *testing.T) {
	img := build(t, specs[32], someFiles())
	f := volumetest.FailAt(img, []volume.Extent{{Start: img.made.FAT, Bytes: 2 * img.made.FATBytes}})
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(t.Context(), f, v, volume.Options{Deep: true})
	if err != nil || l.Summary.Outcome != report.Unreadable {
		t.Errorf("%v, %v", l.Summary.Outcome, err)
	}
	if f.Hits() > 1000 {
		t.Errorf("%d reads of bad sectors", f.Hits())
	}
}

// FuzzFAT takes edits to a small volume, and short volumes as they are.
func FuzzFAT(f *testing.F) {
	img := build(f, specs[12], someFiles())
	boot := img.bytes(0, 512)
	f.Add(boot, []byte{})
	for _, c := range crafted {
		img := build(f, specs[12], someFiles())
		c.damage(img)
		var edits []byte
		for _, e := range img.Edits {
			for i, b := range e.New {
				edits = append(edits, byte((e.Offset+int64(i))>>16), byte((e.Offset+int64(i))>>8), byte(e.Offset+int64(i)), b)
			}
		}
		f.Add(boot, edits)
	}
	for _, bits := range []int{16, 32} {
		f.Add(build(f, specs[bits], nil).bytes(0, 512), []byte{})
	}
	f.Fuzz(func(t *testing.T, boot, edits []byte) {
		m := &volumetest.Mutant{Source: img, Edits: []volumetest.Edit{{Offset: 0, New: boot[:min(len(boot), 4096)]}}}
		for i := 0; i+4 <= len(edits) && i < 4096; i += 4 {
			m.Edits = append(m.Edits, volumetest.Edit{Offset: int64(edits[i])<<16 | int64(edits[i+1])<<8 | int64(edits[i+2]), New: edits[i+3 : i+4]})
		}
		v, err := Open(m)
		if err != nil {
			return
		}
		v.Used()
		for _, deep := range []bool{false, true} {
			s, err := v.Walk(context.Background(), volume.Options{Deep: deep}, func(e volume.Entry) error {
				if e.Path == "" || len(e.Path) > report.MaxPathBytes || e.Size < 0 {
					t.Fatalf("entry %+v", e)
				}
				return nil
			})
			if err != nil || s.Outcome == report.Unscanned || (s.Outcome == report.Clean) != (s.Reason == "") {
				t.Fatalf("%+v, %v", s, err)
			}
		}
	})
}
