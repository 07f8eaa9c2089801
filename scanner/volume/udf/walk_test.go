package udf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// kinds are volumes of every kind that the writer makes.
func kinds() map[string]spec {
	return map[string]spec{
		"plain, 2048": {block: 2048}, "plain, 512": {block: 512, blocks: 14_000}, "plain, 1024": {block: 1024, blocks: 9_000},
		"plain, 4096": {block: 4096, extended: true, form: 3}, "plain, long descriptors": {block: 2048, form: 1},
		"plain, extended, in the entry": {block: 2048, extended: true, form: 3},
		"plain, written once":           {block: 2048, strategy: 4096, blocks: 8_000},
		"sparable":                      {block: 2048, kind: sparable, extended: true, form: 3},
		"virtual":                       {block: 2048, kind: virtual, extended: true, form: 1},
		"metadata":                      {block: 2048, kind: metadata, extended: true, form: 3, blocks: 6_000},
		"metadata, 512":                 {block: 512, kind: metadata, extended: true, form: 1, blocks: 30_000},
	}
}

func TestReadsEveryKindOfPartition(t *testing.T) {
	for name, s := range kinds() {
		t.Run(name, func(t *testing.T) {
			files := 700
			if s.kind == metadata {
				files = 150
			}
			root := sample(files, s.extended)
			data, _ := build(s, root)
			src := volumetest.Bytes(data, 512)
			l := list(t, src, volume.Options{})
			healthy(t, l)
			same(t, "truth", root.truth(), l)
			if l.Summary.Label != "Träger" {
				t.Errorf("label %q", l.Summary.Label)
			}
			covers(t, src)
			t.Log(rules(l))
		})
	}
}

// 7-Zip knows blocks of 512 and 2048 bytes, plain partitions and such with metadata.
func TestReadsTheSameAs7Zip(t *testing.T) {
	for name, s := range kinds() {
		t.Run(name, func(t *testing.T) {
			root := sample(2_100, false)
			if s.kind == metadata {
				root = sample(300, false)
			}
			s.blocks = max(s.blocks, 12_000) * 2048 / min(s.block, 2048)
			data, _ := build(s, root)
			l := list(t, volumetest.Bytes(data, 512), volume.Options{})
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, data, 0o600); err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			if said, _ := tryTool("7z", "x", "-y", "-bd", "-tudf", "-o"+out, image); strings.Contains(string(said), "Cannot open") {
				t.Log("7z does not know this kind")
				return
			}
			known := volumetest.Tree(t, out)
			if s.strategy == 0 && s.block == 2048 && s.kind == physical && len(known) < 2_100 {
				t.Fatalf("7z gives %d files", len(known))
			}
			for _, path := range []string{"pieces.bin", "sparse.bin"} {
				if known[path].Size == 0 { // it follows neither holes nor lists of pieces that go on
					known[path] = l.Files[path]
				}
			}
			same(t, "7z", known, l)
		})
	}
}

// udftools reads descriptors, tables and space, if not files.
func TestUdfinfoTakesTheWritersVolumes(t *testing.T) {
	for name, s := range kinds() {
		data, _ := build(s, sample(20, s.extended))
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, data, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"--utf8", fmt.Sprintf("--blocksize=%d", s.block), image}
		out, err := tryTool("udfinfo", args...)
		if err != nil || !strings.Contains(string(out), "label=Träger") || strings.Contains(string(out), "Error") || strings.Contains(string(out), "File Set Descriptor not found") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// covers fails the test if a deep walk leaves out a byte that is not zero.
func covers(t *testing.T, src volume.Source) {
	t.Helper()
	l := list(t, src, volume.Options{Deep: true})
	if l.Bars() {
		t.Fatalf("%+v", l.Summary)
	}
	covered := make([]bool, src.Size())
	for _, e := range l.Entries {
		for _, x := range e.Extents {
			for i := x.Start; x.Start >= 0 && i < x.Start+x.Bytes; i++ {
				covered[i] = true
			}
		}
	}
	data := make([]byte, src.Size())
	if _, err := src.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if !covered[i] && data[i] != 0 {
			t.Fatalf("byte %d belongs to no item", i)
		}
	}
}
