package readers_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// fileSystem is a row of what every reader has to bear, with sizes as large as its format allows.
type fileSystem struct {
	name   string
	tsk    string // its name for the Sleuth Kit
	write  func(w io.WriterAt, bytes, cluster int64, files []stick.File) error
	bytes  int64
	files  int   // in one folder
	pieces int64 // of one file, each a cluster
	unit   int64 // bytes of a cluster
	long   int64 // of the longest file that the format allows, or well above 4 GiB; 0: less than the corpora have anyway
}

// A new reader adds its row. FAT12 has 4,084 clusters at most, hence its numbers.
var fileSystems = []fileSystem{
	{"fat12", "fat12", writeFAT(12), 120 << 20, 12_000, 1_000, 32 << 10, 0},
	{"fat16", "fat16", writeFAT(16), 63 << 20, 12_000, 10_000, 1 << 10, 0},
	{"fat32", "fat32", writeFAT(32), 140 << 20, 20_000, 100_000, 512, 1<<32 - 1},
	{"exfat", "exfat", writeExFAT, 460 << 20, 20_000, 10_000, 4 << 10, 4<<30 + 1<<20 + 17},
}

func writeFAT(bits int) func(io.WriterAt, int64, int64, []stick.File) error {
	return func(w io.WriterAt, bytes, cluster int64, files []stick.File) error {
		_, err := stick.WriteFAT(w, stick.FAT{Bits: bits, Bytes: bytes, ClusterBytes: cluster}, files)
		return err
	}
}

func writeExFAT(w io.WriterAt, bytes, cluster int64, files []stick.File) error {
	_, err := stick.WriteExFAT(w, stick.ExFAT{Bytes: bytes, ClusterBytes: cluster}, files)
	return err
}

// image writes a volume to a sparse file and returns its name.
func (f *fileSystem) image(t *testing.T, bytes, cluster int64, files []stick.File) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	if err := f.write(out, bytes, cluster, files); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// read finds, opens and reads the one volume of an image, which must be that of the row and without fault.
func (f *fileSystem) read(t *testing.T, name string) volumetest.Listing {
	t.Helper()
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	src := volumetest.Opened(in, info.Size(), 512)
	layout, err := volume.Map(t.Context(), src)
	if err != nil || len(layout.Volumes) != 1 || layout.Volumes[0].FileSystem != f.name {
		t.Fatalf("volumes %+v, %v", layout.Volumes, err)
	}
	v, err := readers.Open(src, layout.Volumes[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(context.Background(), src, v, volume.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Bars() {
		t.Errorf("the volume is %v: %s", l.Summary.Outcome, l.Summary.Reason)
	}
	return l
}

// corpus is a folder with many files, a file in many pieces, a tree that is as deep as the Sleuth Kit follows, and a
// fragmented file among every nine with content.
func (f *fileSystem) corpus() []stick.File {
	files := []stick.File{{Path: "In pieces.bin", Size: f.pieces*f.unit - 7, Scatter: true, Open: noise}}
	for i := range f.files {
		file := stick.File{Path: fmt.Sprintf("Study 4711/IM%05d", i)}
		if i%3 == 0 {
			file.Path += " with a longer name, Übersicht.dcm"
		}
		if i%20 == 0 {
			file.Data = fmt.Appendf(nil, "file number %d of the folder", i)
		}
		if i%180 == 0 {
			file.Data, file.Scatter = slices.Repeat(file.Data, int(2*f.unit)/len(file.Data)), true
		}
		files = append(files, file)
	}
	deep := "deep"
	for i := range 100 {
		deep += fmt.Sprintf("/%d", i)
		files = append(files, stick.File{Path: deep + "/on the way.txt", Data: []byte(deep)})
	}
	return files
}

// noise does not repeat, so that no two pieces are alike.
func noise() io.Reader { return rand.NewChaCha8([32]byte{7}) }

func TestHugeFoldersAndFilesInPiecesEqualTheTruthAndTheSleuthKit(t *testing.T) {
	for _, f := range fileSystems {
		t.Run(f.name, func(t *testing.T) {
			files := f.corpus()
			name := f.image(t, f.bytes, f.unit, files)
			l := f.read(t, name)
			truth := volumetest.Truth{}
			for i := range files {
				h := sha256.New()
				n, err := io.Copy(h, files[i].Content())
				if err != nil {
					t.Fatal(err)
				}
				truth[files[i].Path] = volumetest.File{Size: n, SHA256: [32]byte(h.Sum(nil))}
			}
			compare(t, "what was written", truth, l)
			compare(t, "the Sleuth Kit", sleuthkit(t, f.tsk, name), l)
			for _, e := range l.Entries {
				if e.Path == "In pieces.bin" && int64(len(e.Extents)) != f.pieces {
					t.Errorf("%q has %d extents, want %d", e.Path, len(e.Extents), f.pieces)
				}
			}
		})
	}
}

func compare(t *testing.T, with string, truth volumetest.Truth, l volumetest.Listing) {
	t.Helper()
	diff := truth.Diff(l)
	for _, d := range diff[:min(len(diff), 5)] {
		t.Errorf("%s: %s", with, d)
	}
	t.Logf("%s: %d files, %d differences", with, len(truth), len(diff))
}

// flsLine is a line of fls -l: kind, number, path, behind four times the size.
var flsLine = regexp.MustCompile(`^(\S+) ([0-9-]+):\t(.*)\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t(\d+)\t\d+\t\d+$`)

// sleuthkit has names and sizes from fls and contents from tsk_recover, which leaves out empty files.
func sleuthkit(t *testing.T, kind, image string) volumetest.Truth {
	t.Helper()
	out := t.TempDir()
	tool(t, "tsk_recover", "-a", "-f", kind, image, out)
	content := volumetest.Tree(t, out)
	truth := volumetest.Truth{}
	for line := range strings.Lines(string(tool(t, "fls", "-r", "-p", "-l", "-u", "-F", "-f", kind, image))) {
		m := flsLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("fls says %q", line)
		}
		if m[1] != "r/r" || strings.HasPrefix(m[3], "$") || strings.HasSuffix(m[3], "(Volume Label Entry)") {
			continue // its own names for the tables, and the label
		}
		file := content[m[3]]
		if delete(content, m[3]); file.Size == 0 {
			file = volumetest.FileOf(nil)
		}
		if size, _ := strconv.ParseInt(m[4], 10, 64); size != file.Size {
			t.Errorf("the Sleuth Kit says %q has %d bytes, and recovers %d", m[3], size, file.Size)
		}
		truth[m[3]] = file
	}
	for path := range maps.Keys(content) {
		if !strings.HasPrefix(path, "$") {
			t.Errorf("the Sleuth Kit recovers %q, which it does not list", path)
		}
	}
	return truth
}

func tool(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.300s", name, err, words.String())
	}
	return out
}

// The longest file of a format lies mostly in zeros, with marks where counters of 31 and 32 bits turn over.
func TestLongestFilesEqualTheSleuthKit(t *testing.T) {
	if testing.Short() {
		t.Skip("reads and compares 18 GB")
	}
	for _, f := range fileSystems {
		if f.long == 0 {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			const bytes, cluster = 8 << 30, 32 << 10
			name := f.image(t, bytes, cluster, []stick.File{{Path: "before.txt", Data: []byte("before")}, {Path: "long.bin", Size: f.long},
				{Path: "behind.txt", Data: []byte("behind")}})
			mark(t, f, name)
			l := f.read(t, name)
			inode := ""
			for line := range strings.Lines(string(tool(t, "fls", "-F", "-f", f.tsk, name))) {
				if head, path, _ := strings.Cut(strings.TrimSpace(line), ":\t"); path == "long.bin" {
					_, inode, _ = strings.Cut(head, " ")
				}
			}
			icat := exec.Command("icat", "-f", f.tsk, name, inode)
			content, err := icat.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := icat.Start(); err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			n, err := io.Copy(h, content)
			if err := errors.Join(err, icat.Wait()); err != nil {
				t.Fatalf("icat: %v", err)
			}
			if got, want := l.Files["long.bin"], (volumetest.File{Size: n, SHA256: [32]byte(h.Sum(nil))}); got != want || n != f.long {
				t.Errorf("%d bytes %x, want %d bytes %x", got.Size, got.SHA256, n, want.SHA256)
			}
			if len(l.Files) != 3 {
				t.Errorf("%d files", len(l.Files))
			}
		})
	}
}

// mark puts bytes into the long file where they matter, through the place that the reader itself says: the Sleuth Kit would
// not agree with a wrong one.
func mark(t *testing.T, f fileSystem, name string) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	src := volumetest.Opened(file, 8<<30, 512)
	v, err := readers.Open(src, volume.Candidate{Bytes: 8 << 30, FileSystem: f.name})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Walk(t.Context(), volume.Options{}, func(e volume.Entry) error {
		if e.Path != "long.bin" {
			return nil
		}
		if len(e.Extents) != 1 || e.Size != f.long || e.Outcome != report.Unscanned {
			t.Errorf("%d extents, %d bytes, %v", len(e.Extents), e.Size, e.Outcome)
		}
		for _, at := range []int64{0, 1<<31 - 3, 1<<32 - 3, f.long - 5} {
			if at < f.long-4 {
				if _, err := file.WriteAt([]byte("mark"), e.Extents[0].Start+at); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
