package iso9660

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// tool runs another program, which must succeed.
func tool(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.600s", name, err, words.String())
	}
	return out
}

// corpus writes files into a folder: many in one, some deep, with names of every kind that all trees can hold, with content
// of every length around a block.
func corpus(t testing.TB, files int) string {
	t.Helper()
	dir := t.TempDir()
	put := func(path string, data []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range files {
		name := fmt.Sprintf("STUDY%02d/IM%05d", i/500, i)
		switch i % 5 {
		case 1:
			name += ".DCM"
		case 2:
			name = fmt.Sprintf("Bericht %d/Befund für Öztürk %05d, mit langem Namen.txt", i/700, i)
		case 3:
			name = fmt.Sprintf("報告/画像 %05d.Bild", i)
		}
		data := fmt.Appendf(nil, "content of file %d ", i)
		put(name, slices.Repeat(data, 1+i%7*30)[:len(data)+i%7*400])
	}
	put("LARGE.BIN", bytes.Repeat([]byte("0123456789abcdef"), 20_000))
	put("BLOCK.BIN", bytes.Repeat([]byte("b"), 2048))
	put("BLOCK1.BIN", bytes.Repeat([]byte("c"), 2049))
	put("EMPTY.TXT", nil)
	put("SAME1.TXT", []byte("twice the same"))
	put("SAME2.TXT", []byte("twice the same"))
	put("D1/D2/D3/D4/D5/D6/D7/D8/D9/D10/DEEP.TXT", []byte("deep"))
	if err := os.MkdirAll(filepath.Join(dir, "NOTHING"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// image writes an ISO 9660 image with a tool that takes mkisofs' arguments.
func image(t testing.TB, program, from string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.iso")
	all := append([]string{"-quiet", "-V", "PATIENT CD", "-o", out}, args...)
	if program == "xorriso" {
		all = append([]string{"-as", "mkisofs"}, all...)
	}
	tool(t, from, program, append(all, from)...)
	return out
}

func load(t testing.TB, name string) volume.Source {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return volumetest.Bytes(data, 2048)
}

// list opens and reads a volume, which must be possible, and returns what is in each tree.
func list(t testing.TB, src volume.Source, opts volume.Options) ([]volume.Tree, volumetest.Listing) {
	t.Helper()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	trees, err := volume.Trees(t.Context(), fs)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(context.Background(), src, fs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return trees, l
}

// only is what a listing has of one tree, under the paths of that.
func only(l volumetest.Listing, tree int) volumetest.Listing {
	one := volumetest.Listing{Files: volumetest.Truth{}, Summary: l.Summary}
	for path, f := range l.Files {
		if rest, ok := strings.CutPrefix(path, volumetest.InTree(tree, "")); ok && (tree > 0 || !strings.HasPrefix(path, "tree ")) {
			one.Files[rest] = f
		}
	}
	for _, e := range l.Entries {
		if e.Tree == tree {
			one.Entries = append(one.Entries, e)
		}
	}
	return one
}

func healthy(t testing.TB, l volumetest.Listing) {
	t.Helper()
	if l.Bars() {
		t.Errorf("a healthy volume is %v: %s", l.Summary.Outcome, l.Summary.Reason)
		for _, e := range l.Entries {
			if e.Outcome != report.Unscanned && e.Outcome != report.Clean || e.Opaque {
				t.Fatalf("%d %q %v %v", e.Tree, e.Path, e.Outcome, e.Findings)
			}
		}
	}
	for _, f := range l.Summary.Findings {
		if f.Severity < report.Inform {
			t.Errorf("finding on a healthy volume: %+v", f)
		}
	}
}

// same fails the test unless a tree holds exactly the truth.
func same(t testing.TB, what string, truth volumetest.Truth, l volumetest.Listing) {
	t.Helper()
	diff := truth.Diff(l)
	for _, d := range diff[:min(len(diff), 5)] {
		t.Errorf("%s: %s", what, d)
	}
	t.Logf("%s: %d files, %d differences", what, len(truth), len(diff))
}

// contents are the contents of a truth, by how many files have each.
func contents(l volumetest.Truth) map[volumetest.File]int {
	n := map[volumetest.File]int{}
	for f := range maps.Values(l) {
		n[f]++
	}
	return n
}
