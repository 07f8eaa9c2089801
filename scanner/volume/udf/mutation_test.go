package udf

import (
	"bytes"
	"flag"
	"strings"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

var mutants = flag.Int("mutants", 300, "mutated volumes to try; the nightly run takes 3,000")

// structures is where descriptors, tables, entries and directories lie.
func structures(t testing.TB, src volume.Source) []volume.Extent {
	t.Helper()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	f := fs.(*FS)
	var ranges volume.Ranges
	for _, x := range f.head {
		ranges.Add(x.Start, x.Bytes)
	}
	l := list(t, src, volume.Options{Deep: true})
	var metadata []volume.Extent
	for _, e := range l.Entries {
		if e.Path == "slack and entries" {
			for _, x := range e.Extents {
				ranges.Add(x.Start, x.Bytes)
			}
		}
	}
	for _, x := range ranges.All() {
		// The mirror of the directories is metadata too, and large.
		metadata = append(metadata, volume.Extent{Start: x.Start, Bytes: min(x.Bytes, 400<<10)})
	}
	return metadata
}

func campaign(t *testing.T, s spec) volumetest.Campaign {
	t.Helper()
	root := sample(120, s.extended)
	data, _ := build(s, root)
	src := volumetest.Bytes(data, 512)
	inEntry := s.form == 3
	return volumetest.Campaign{Source: src, Metadata: structures(t, src), Truth: root.truth(), Open: Open,
		// What lies in its entry is among the metadata: with other bytes it is changed, not lost.
		Deleted: func(m *volumetest.Mutant, path string, l volumetest.Listing) bool {
			f, there := l.Files[path]
			return inEntry && there && f.Size == root.truth()[path].Size
		}}
}

func TestT03_MutatedVolumesLoseNothingQuietly(t *testing.T) {
	all := kinds()
	for _, name := range []string{"plain, 2048", "plain, 512", "plain, extended, in the entry", "plain, written once", "sparable", "virtual", "metadata"} {
		t.Run(name, func(t *testing.T) {
			n := *mutants / 7
			r := campaign(t, all[name]).Run(t, 1, n+1)
			t.Logf("UDF %s, %d mutants: %v", strings.ReplaceAll(name, ",", ""), n+1, r)
		})
	}
}

func TestT03_BadSectorsLoseNothingQuietly(t *testing.T) {
	for _, name := range []string{"plain, 2048", "virtual", "metadata"} {
		t.Run(name, func(t *testing.T) {
			t.Logf("UDF %s, 40 bad sectors: %v", strings.ReplaceAll(name, ",", ""), campaign(t, kinds()[name]).RunFailing(t, 40))
		})
	}
}

func FuzzUDF(f *testing.F) {
	type base struct{ data []byte }
	var bases []base
	for _, s := range []spec{{block: 2048, blocks: 200}, {block: 512, extended: true, form: 3, blocks: 900}, {block: 2048, kind: virtual, form: 1, blocks: 200},
		{block: 2048, kind: sparable, form: 3, blocks: 200}} {
		root := &node{kids: []*node{{name: "a.txt", data: []byte("a")}, {name: "d", dir: true, kids: []*node{{name: "b", data: bytes.Repeat([]byte("b"), 9000), pieces: 3}}}}}
		data, spots := build(s, root)
		for _, at := range spots {
			f.Add(uint8(len(bases)), uint32(at), data[at:min(at+1024, int64(len(data)))], true)
		}
		bases = append(bases, base{data})
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, patch []byte, sealed bool) {
		// The input is laid over a good volume; if it is to be sealed, as a descriptor that is whole.
		data := bases[int(which)%len(bases)].data
		if sealed && len(patch) >= tagBytes {
			patch = bytes.Clone(patch[:min(len(patch), 4096)])
			seal(patch, tagOf(patch), int(le.Uint32(patch[12:])))
		}
		m := &volumetest.Mutant{Source: volumetest.Bytes(data, 512), Edits: []volumetest.Edit{{Offset: int64(at) % int64(len(data)), New: patch}}}
		fs, err := Open(m)
		if err != nil {
			return
		}
		if _, err := volumetest.ReadAll(t.Context(), m, fs, volume.Options{Deep: at%2 == 0}); err != nil {
			t.Fatal(err)
		}
	})
}
