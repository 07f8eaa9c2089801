package udf

import (
	"bytes"
	"flag"
	"slices"
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
	where := map[string][]volume.Extent{}
	for _, e := range list(t, src, volume.Options{}).Entries {
		where[e.Path] = e.Extents
	}
	return volumetest.Campaign{Source: src, Metadata: structures(t, src), Truth: root.truth(), Open: Open,
		// What lies in its entry is among the metadata: with other bytes it is changed, not lost.
		Deleted: func(m *volumetest.Mutant, path string, _ volumetest.Listing) bool {
			return slices.ContainsFunc(where[path], func(x volume.Extent) bool {
				return slices.ContainsFunc(m.Edits, func(e volumetest.Edit) bool {
					return e.Offset < x.Start+x.Bytes && x.Start < e.Offset+int64(len(e.New))
				})
			})
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

// resealed is what an attacker makes of a mutant: descriptors that were changed get checksums that are right again.
// It is made in scratch, which the one before it leaves.
func resealed(src volume.Source, whole, data []byte, block int) volume.Source {
	m, ok := src.(*volumetest.Mutant)
	if !ok {
		return src
	}
	copy(data, whole)
	for _, e := range m.Edits {
		copy(data[e.Offset:], e.New)
	}
	for _, e := range m.Edits {
		// A name that the edit lies in, or several.
		for at := int(e.Offset)&^3 - 300&^3; at < int(e.Offset)+len(e.New); at += 4 {
			if n, err := nameLength(whole[max(at, 0):]); err == nil && at >= 0 && at+n > int(e.Offset) {
				seal(data[at:at+(n+3)&^3], tagOf(data[at:]), int(le.Uint32(data[at+12:])))
			}
		}
		start := int(e.Offset) / block * block
		if d := whole[start : start+block]; checkTag(d) == nil && tagOf(d) != tagName {
			n := min(tagBytes+int(le.Uint16(data[start+10:])), block)
			seal(data[start:start+n], tagOf(data[start:]), int(le.Uint32(data[start+12:])))
		}
	}
	return volumetest.Bytes(data, 512)
}

func TestT03_MutatedVolumesWithRightChecksumsLoseNothingQuietly(t *testing.T) {
	all := kinds()
	for _, name := range []string{"plain, 2048", "plain, extended, in the entry", "sparable", "virtual", "metadata"} {
		t.Run(name, func(t *testing.T) {
			c := campaign(t, all[name])
			data := make([]byte, c.Source.Size())
			if _, err := c.Source.ReadAt(data, 0); err != nil {
				t.Fatal(err)
			}
			scratch := make([]byte, len(data))
			c.Open = func(src volume.Source) (volume.FileSystem, error) {
				return Open(resealed(src, data, scratch, all[name].block))
			}
			base := c.Deleted
			c.Deleted = func(m *volumetest.Mutant, path string, l volumetest.Listing) bool {
				return base(m, path, l) || deletedByOwner(l, path)
			}
			n := *mutants / 5
			r := c.Run(t, 1, n)
			t.Logf("UDF %s with right checksums, %d mutants: %v", strings.ReplaceAll(name, ",", ""), n, r)
		})
	}
}

// deletedByOwner reports whether a file is still listed and is shorter: its owner could have made it so.
func deletedByOwner(l volumetest.Listing, path string) bool {
	_, there := l.Files[path]
	return there
}
