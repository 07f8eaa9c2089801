package scanner

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// metered counts what is read of a range.
type metered struct {
	volume.Source
	content []volume.Extent
	bytes   atomic.Int64
}

func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.Source.ReadAt(p, off)
	for _, x := range m.content {
		m.bytes.Add(max(0, min(off+int64(n), x.Start+x.Bytes)-max(off, x.Start)))
	}
	return n, err
}

// discOf writes a disc whose files have up to three names, and returns it with where the large ones lie.
func discOf(t *testing.T, files map[string][]byte, args ...string) *volumetest.Liar {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "disc.iso")
	if said, err := exec.Command("genisoimage", append(append([]string{"-quiet", "-o", out}, args...), dir)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return &volumetest.Liar{Source: volumetest.Bytes(data, 512), Lies: func(volumetest.Read) bool { return false }}
}

// What several trees name is read once and is an item of each, with the same hash; a rule hears every name.
func TestContentOfManyNamesIsReadOnce(t *testing.T) {
	files := map[string][]byte{"LARGE.BIN": bytes.Repeat([]byte("stream of a large file. "), 400_000), "MIDDLE.BIN": bytes.Repeat([]byte("middle "), 150_000)}
	for i := range 300 {
		files[fmt.Sprintf("F%d.TXT", i)] = fmt.Appendf(nil, "file %d, match warn\n", i)
		files[fmt.Sprintf("IMAGE %d, longer.DCM", i)] = bytes.Repeat([]byte{byte(i), byte(i >> 8), 3}, 3000)
	}
	t.Run("three trees", func(t *testing.T) { readOnce(t, files, 3, "-J", "-R", "-U") })
	t.Run("a bridge of ISO 9660 and UDF", func(t *testing.T) { readOnce(t, files, 4, "-J", "-R", "-U", "-udf") })
	t.Run("a bridge with names of DOS", func(t *testing.T) {
		short := map[string][]byte{"LARGE.BIN": files["LARGE.BIN"]}
		for i := range 300 {
			short[fmt.Sprintf("F%d.TXT", i)] = files[fmt.Sprintf("F%d.TXT", i)]
		}
		readOnce(t, short, 2, "-udf")
	})
}

func readOnce(t *testing.T, files map[string][]byte, trees int, args ...string) {
	src := discOf(t, files, args...)
	image, from := make([]byte, src.Size()), src.Size() // behind every structure
	src.ReadAt(image, 0)
	for _, data := range files {
		from = min(from, int64(bytes.Index(image, data)))
	}
	m := &metered{Source: src, content: []volume.Extent{{Start: from, Bytes: src.Size()}}}
	r := newRig(t, 2, 4*mib, src.Size())
	rep := mustScan(t, r, m)
	if !rep.Complete || len(rep.Volumes) != trees || rep.Tally.Files != uint64(trees*len(files)) {
		t.Fatalf("complete %v %v, %d volumes, %d files", rep.Complete, rep.Shortfalls, len(rep.Volumes), rep.Tally.Files)
	}
	amp := float64(m.bytes.Load()-int64(rep.Again.Bytes)) / float64(src.Size()-from)
	t.Logf("read %.3f times", amp)
	if amp > 1.1 {
		t.Errorf("read %.2f times", amp)
	}
	hashes := map[string]report.Item{}
	for _, it := range r.items {
		if it.Kind != report.File {
			continue
		}
		if data, known := files[it.Path]; !known || it.SHA256 != volumetest.FileOf(data).SHA256 || !it.Outcome.Seen() {
			t.Fatalf("%q of volume %d: %v", it.Path, it.Volume, it.Outcome)
		}
		if other, known := hashes[it.Path]; known && (other.SHA256 != it.SHA256 || len(other.Findings) != len(it.Findings) || other.Type != it.Type) {
			t.Errorf("%q is not the same in volumes %d and %d: %+v, %+v", it.Path, other.Volume, it.Volume, other.Findings, it.Findings)
		}
		hashes[it.Path] = it
	}
	// The order of the output depends on nothing but the medium.
	again := newRig(t, 1, 4*mib, src.Size())
	mustScan(t, again, src)
	if !slices.EqualFunc(r.items, again.items, func(a, b report.Item) bool {
		return cmp.Compare(a.Volume, b.Volume) == 0 && a.Path == b.Path && a.SHA256 == b.SHA256
	}) {
		t.Error("another number of slots gives another order")
	}
}

// A name that ends the matcher, or content that cannot be read, costs each of its names and no other file.
func TestFaultsOfSharedContentReachEveryName(t *testing.T) {
	files := map[string][]byte{"fail-1.txt": []byte("the matcher gives up"), "good.txt": []byte("good"), "bad.bin": bytes.Repeat([]byte("B"), 9000), "later.txt": []byte("later")}
	t.Run("three trees", func(t *testing.T) { faultsReach(t, files, 3, "-J", "-R", "-U") })
	t.Run("a bridge of ISO 9660 and UDF", func(t *testing.T) { faultsReach(t, files, 4, "-J", "-R", "-U", "-udf") })
}

func faultsReach(t *testing.T, files map[string][]byte, trees int, args ...string) {
	src := discOf(t, files, args...)
	data := make([]byte, src.Size())
	src.ReadAt(data, 0)
	broken := volumetest.FailAt(src, []volume.Extent{{Start: int64(bytes.Index(data, files["bad.bin"])) + 4096, Bytes: 512}})
	r := newRig(t, 1, 4*mib, src.Size())
	r.scan(t.Context(), broken)
	seen := map[string][]report.Outcome{}
	for _, it := range r.items {
		if it.Kind == report.File {
			seen[it.Path] = append(seen[it.Path], it.Outcome)
		}
	}
	for path, want := range map[string]report.Outcome{"fail-1.txt": report.Unscanned, "good.txt": report.Clean, "bad.bin": report.Unreadable, "later.txt": report.Clean} {
		if got := seen[path]; len(got) != trees || slices.ContainsFunc(got, func(o report.Outcome) bool { return o != want }) {
			t.Errorf("%s: %v, want %v %d times", path, got, want, trees)
		}
	}
}

// An archive that several trees name is opened once, and its members are items of each name.
func TestArchiveOfManyNamesIsOpenedOnce(t *testing.T) {
	files := map[string][]byte{"A.ZIP": zipOf(t, packedFile{"evil.txt", []byte("match warn\n")}, packedFile{"letter.txt", prose(3000, 1)}),
		"B.ZIP": zipOf(t, packedFile{"large.txt", prose(6*mib, 2)}, packedFile{"inner.zip", zipOf(t, packedFile{"evil.txt", []byte("match warn\n")})})}
	disc := discOf(t, files, "-J", "-R")
	r := newRig(t, 2, 4*mib, disc.Size())
	rep := mustScan(t, r, disc)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	seen := map[string]int{}
	for _, it := range r.items {
		if it.Kind == report.Member {
			seen[it.Member]++
			if !it.Outcome.Seen() {
				t.Errorf("%s in %s: %v", it.Member, it.Path, it.Outcome)
			}
		}
	}
	for _, member := range []string{"evil.txt", "letter.txt", "large.txt", "inner.zip", "inner.zip//evil.txt"} {
		if seen[member] != 3 {
			t.Errorf("%s: %d times", member, seen[member])
		}
	}
	if rep.Tally.Members != 15 {
		t.Errorf("%d members", rep.Tally.Members)
	}
}
