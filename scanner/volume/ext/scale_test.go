package ext

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

var folderFiles = flag.Int("folder-files", 3_000, "files of the large directory; the nightly run takes 20,000")

// walked reads a volume without its content, and says how long that took and how much the heap grew.
func walked(t *testing.T, src volume.Source) (s volume.Summary, entries int, took time.Duration, heap uint64) {
	t.Helper()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		runtime.ReadMemStats(&now)
		if now.HeapAlloc > before.HeapAlloc {
			heap = max(heap, now.HeapAlloc-before.HeapAlloc)
		}
	}
	s, err = fs.Walk(t.Context(), volume.Options{}, func(volume.Entry) error {
		if entries++; entries%1000 == 1 {
			look()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	look()
	runtime.KeepAlive(fs)
	return s, entries, time.Since(begin), heap
}

func TestT24_ATerabyteTakesLittleMemory(t *testing.T) {
	dir := tree(t, corpusFiles(50))
	image := format(t, dir, 1<<40-4096, "-t", "ext4", "-O", "metadata_csum,64bit,sparse_super2,^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard")
	s, entries, took, heap := walked(t, opened(t, image))
	if s.Outcome != report.Clean || entries < 50 {
		t.Errorf("%v: %s; %d entries", s.Outcome, s.Reason, entries)
	}
	if heap > 96*mega {
		t.Errorf("heap of %d MiB", heap>>20)
	}
	t.Logf("%d GiB: %v, heap of %d MiB", (1<<40)>>30, took.Round(time.Millisecond), heap>>20)
}

func TestReadsALargeDirectory(t *testing.T) {
	dir := t.TempDir()
	for i := range *folderFiles {
		name := fmt.Sprintf("a rather long name for a file, number %d", i)
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Append(nil, i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := format(t, dir, 128*mega, "-t", "ext4", "-N", fmt.Sprint(*folderFiles+100))
	tool(t, "e2fsck", "-f", "-y", "-D", image) // gives the directory its index
	begin := time.Now()
	l := list(t, opened(t, image), volume.Options{})
	healthy(t, l)
	differ(t, "what was written", volumetest.Tree(t, dir), l)
	t.Logf("%d files in one directory: %v", len(l.Files), time.Since(begin).Round(time.Millisecond))
}

// The map of a large file in small blocks has a number for each: a reader that looks for its end again for each takes
// minutes.
func TestT24_LargeFilesInSmallBlocksCostLittle(t *testing.T) {
	dir := tree(t, []stick.File{{Path: "large.bin", Data: noise(80<<20, 1)}})
	image := format(t, dir, 96*mega, "-t", "ext2", "-b", "1024")
	s, _, took, heap := walked(t, opened(t, image))
	if s.Outcome != report.Clean || took > 3*time.Second {
		t.Errorf("%v: %s; %v", s.Outcome, s.Reason, took)
	}
	t.Logf("81,920 blocks: %v, heap of %d MiB", took.Round(time.Millisecond), heap>>20)
}

func TestT24_NamesOfAFileInPiecesAreBounded(t *testing.T) {
	image := format(t, tree(t, []stick.File{{Path: "large.bin", Data: noise(8<<20, 1)}}), 16*mega, "-t", "ext2", "-b", "1024")
	script := []string{"expand_dir /", "expand_dir /", "expand_dir /", "expand_dir /"}
	for i := range 200 {
		script = append(script, fmt.Sprintf("ln large.bin name%d", i))
	}
	debugfs(t, image, append(script, "set_inode_field large.bin links_count 201")...)
	s, _, took, _ := walked(t, opened(t, image))
	if s.Outcome != report.TooLarge {
		t.Errorf("%v: %s", s.Outcome, s.Reason)
	}
	t.Log(took)
}

func TestT24_DirectoriesAreReadDownToALimit(t *testing.T) {
	image := format(t, tree(t, nil), 16*mega, "-t", "ext4", "-b", "1024", "-N", "4000")
	debugfs(t, image, slices.Repeat([]string{"mkdir d", "cd d"}, maxDepth)...)
	l := list(t, opened(t, image), volume.Options{})
	healthy(t, l)
	if e := l.Entry(t, strings.TrimSuffix(strings.Repeat("d/", maxDepth), "/")); e.Outcome != report.Clean || !e.Empty {
		t.Errorf("%v, empty %v", e.Outcome, e.Empty)
	}
	debugfs(t, image, append(slices.Repeat([]string{"cd d"}, maxDepth), "mkdir d")...)
	if l := list(t, opened(t, image), volume.Options{}); l.Summary.Outcome != report.TooLarge {
		t.Errorf("%+v", l.Summary)
	}
}

func TestVolumesThatAreTooLargeAreRefused(t *testing.T) {
	image := format(t, t.TempDir(), 24*mega, "-t", "ext4", "-b", "4096", "-O", "64bit")
	b := bench{t: t, m: &volumetest.Mutant{Source: opened(t, image)}, image: image}
	groups := uint32(1<<29) / 32768
	b.put32(superAt+4, 1<<29)
	b.put32(superAt, groups*b.get32(superAt+40))
	fs, err := Open(b.m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fs.Walk(t.Context(), volume.Options{}, func(volume.Entry) error { t.Error("an entry"); return nil })
	if err != nil || s.Outcome != report.TooLarge {
		t.Errorf("%+v, %v", s, err)
	}
}
