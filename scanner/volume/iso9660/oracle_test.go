package iso9660

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

var mutants = flag.Int("mutants", 300, "mutated volumes to try; the nightly run takes 3,000")

const corpusFiles = 2_100

// What was put on the disc must be in every tree, under the names that other programs read there.
func TestEveryTreeEqualsItsSourceAndAnotherReader(t *testing.T) {
	from := corpus(t, corpusFiles)
	truth := volumetest.Tree(t, from)
	for _, c := range []struct {
		name    string
		program string
		args    []string
		trees   []string
	}{
		{"genisoimage plain, level 1", "genisoimage", []string{"-iso-level", "1", "-D"}, []string{"ISO 9660"}},
		{"genisoimage plain, level 2", "genisoimage", []string{"-iso-level", "2", "-D"}, []string{"ISO 9660"}},
		{"genisoimage plain, level 3", "genisoimage", []string{"-iso-level", "3", "-D"}, []string{"ISO 9660"}},
		{"genisoimage enhanced, level 4", "genisoimage", []string{"-iso-level", "4"}, []string{"ISO 9660"}},
		{"genisoimage Joliet", "genisoimage", []string{"-J", "-joliet-long", "-D"}, []string{"ISO 9660", "Joliet"}},
		{"genisoimage Rock Ridge", "genisoimage", []string{"-R"}, []string{"ISO 9660", "Rock Ridge"}},
		{"genisoimage both", "genisoimage", []string{"-J", "-joliet-long", "-R"}, []string{"ISO 9660", "Rock Ridge", "Joliet"}},
		{"xorriso Joliet", "xorriso", []string{"-J", "-joliet-long"}, []string{"ISO 9660", "Rock Ridge", "Joliet"}},
		{"xorriso everything", "xorriso", []string{"-J", "-joliet-long", "-R", "-iso-level", "4"}, []string{"ISO 9660", "Rock Ridge", "Joliet", "enhanced ISO 9660"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := image(t, c.program, from, c.args...)
			trees, l := list(t, load(t, name), volume.Options{})
			healthy(t, l)
			var names []string
			for _, tree := range trees {
				names = append(names, tree.What)
				if tree.Label != "PATIENT CD" && len(trees) > 1 {
					t.Errorf("label %q of %q", tree.Label, tree.What)
				}
			}
			if l.Summary.Label != "PATIENT CD" {
				t.Errorf("label %q", l.Summary.Label)
			}
			if len(names) == 1 {
				names[0] = "ISO 9660"
			}
			if !slices.Equal(names, c.trees) {
				t.Fatalf("trees %q, want %q", names, c.trees)
			}
			for i, tree := range c.trees {
				one := only(l, i)
				// A directory that Rock Ridge moved away leaves an empty file in its place, which plain names show.
				moved := tree == "ISO 9660" && slices.Contains(c.args, "-R") && c.program == "genisoimage"
				if got := contents(one.Files); !maps.Equal(contents(truth), got) && (!moved || len(one.Files) != len(truth)+1) {
					t.Errorf("%s: %d files, want %d", tree, len(one.Files), len(truth))
				}
				switch tree {
				case "Rock Ridge", "Joliet":
					same(t, tree+" and its source", truth, one)
				case "ISO 9660":
					same(t, tree+" and isoinfo", isoinfo(t, name, one), one)
				}
				if tree == "Rock Ridge" {
					same(t, tree+" and xorriso", extracted(t, name), one)
				}
			}
			if len(c.trees) == 1 || slices.Equal(c.trees, []string{"ISO 9660", "Joliet"}) {
				out := t.TempDir()
				tool(t, out, "7z", "x", "-y", "-bd", name)
				same(t, "7z", volumetest.Tree(t, out), only(l, len(c.trees)-1))
			}
		})
	}
}

// extracted is what xorriso reads, which prefers Rock Ridge.
func extracted(t *testing.T, name string) volumetest.Truth {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	tool(t, "", "xorriso", "-report_about", "SORRY", "-osirrox", "on", "-indev", name, "-extract", "/", out)
	tool(t, "", "chmod", "-R", "u+rwX", out)
	return volumetest.Tree(t, out)
}

// isoinfo has the plain names; contents are ours, so only names are compared.
func isoinfo(t *testing.T, name string, ours volumetest.Listing) volumetest.Truth {
	t.Helper()
	dirs := map[string]bool{}
	for _, e := range ours.Entries {
		if e.Kind == report.Directory {
			dirs[e.Path] = true
		}
	}
	truth := volumetest.Truth{}
	for line := range strings.Lines(string(tool(t, "", "isoinfo", "-f", "-i", name))) {
		path := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/")
		path = strings.TrimSuffix(strings.TrimSuffix(path, ";1"), ".")
		if !dirs[path] {
			truth[path] = ours.Files[path]
		}
	}
	return truth
}

func TestT06_DeepCoversEveryByteOfTheVolume(t *testing.T) {
	src := load(t, image(t, "genisoimage", corpus(t, 300), "-J", "-R"))
	_, l := list(t, src, volume.Options{Deep: true})
	healthy(t, l)
	covered := make([]bool, src.Size())
	for _, e := range l.Entries {
		for _, x := range e.Extents {
			for i := x.Start; i < x.Start+x.Bytes; i++ {
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

// metadata is where descriptors, tables and directories lie.
func metadata(t testing.TB, src volume.Source) []volume.Extent {
	t.Helper()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volume.Trees(t.Context(), fs); err != nil {
		t.Fatal(err)
	}
	return fs.(*FS).seen.structure.All()
}

func campaign(t *testing.T, args ...string) volumetest.Campaign {
	t.Helper()
	src := load(t, image(t, "genisoimage", corpus(t, 400), args...))
	_, l := list(t, src, volume.Options{})
	return volumetest.Campaign{Source: src, Metadata: metadata(t, src), Truth: l.Files, Open: Open}
}

func TestT03_MutatedVolumesLoseNothingQuietly(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{{"plain", nil}, {"Rock Ridge", []string{"-R"}}, {"Joliet and Rock Ridge", []string{"-J", "-joliet-long", "-R"}}} {
		t.Run(c.name, func(t *testing.T) {
			r := campaign(t, c.args...).Run(t, 1, *mutants/3)
			t.Logf("ISO 9660 %s, %d mutants: %v", c.name, *mutants/3, r)
		})
	}
}

func TestT03_BadSectorsLoseNothingQuietly(t *testing.T) {
	t.Logf("ISO 9660, 40 bad sectors: %v", campaign(t, "-J", "-joliet-long", "-R").RunFailing(t, 40))
}

func FuzzISO9660(f *testing.F) {
	from := f.TempDir()
	for name, text := range map[string]string{"A.TXT": "a", "DIR/B.TXT": "b", "DIR/C.TXT": strings.Repeat("c", 5000)} {
		os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755)
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	src := load(f, image(f, "genisoimage", from, "-J", "-R", "-no-pad"))
	for _, x := range metadata(f, src) {
		for at := x.Start; at < x.Start+x.Bytes; at += 1024 {
			p := make([]byte, 1024)
			src.ReadAt(p, at)
			f.Add(uint32(at), p)
		}
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		// The input is laid over a good volume.
		m := &volumetest.Mutant{Source: src, Edits: []volumetest.Edit{{Offset: int64(at), New: patch}}}
		fs, err := Open(m)
		if err != nil {
			return
		}
		if _, err := volumetest.ReadAll(t.Context(), m, fs, volume.Options{Deep: at%2 == 0}); err != nil {
			t.Fatal(err)
		}
	})
}
