package fat

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// corpusFiles is how many files each image of the differential test has.
const corpusFiles = 2000

// oracleVolumes hold the corpus and are otherwise as different as the formats allow.
var oracleVolumes = []struct {
	bits  int
	bytes int64
	flags []string // for mkfs.vfat
	spec  stick.FAT
}{
	{12, 60 << 20, []string{"-s", "32", "-r", "4096"}, stick.FAT{ClusterBytes: 16 << 10, RootEntries: 8192}},
	{16, 120 << 20, []string{"-s", "4", "-r", "4096"}, stick.FAT{ClusterBytes: 2048, RootEntries: 8192}},
	{32, 300 << 20, []string{"-s", "4"}, stick.FAT{ClusterBytes: 2048}},
}

// TestMtoolsAndTheSleuthKitSeeTheSame: mkfs.vfat makes the volume and mcopy fills it, so nothing of ours is on the writing
// side; then mtools, the Sleuth Kit and this reader must list the same names, sizes and contents as were copied.
func TestMtoolsAndTheSleuthKitSeeTheSame(t *testing.T) {
	tree := t.TempDir()
	truth := hostTree(t, tree)
	for _, c := range oracleVolumes {
		t.Run(fmt.Sprintf("FAT%d", c.bits), func(t *testing.T) {
			img := emptyImage(t, c.bytes)
			img.Close()
			run(t, "mkfs.vfat", append([]string{"-F", strconv.Itoa(c.bits), "-n", "ORACLE"}, append(c.flags, img.Name())...)...)
			run(t, "mcopy", append([]string{"-Q", "-s", "-i", img.Name()}, append(children(t, tree), "::/")...)...)
			l := readImage(t, img.Name())
			if said := l.Signals(); l.Summary.Outcome != report.Clean || len(said) > 0 {
				t.Errorf("the volume is %v: %s; %v", l.Summary.Outcome, l.Summary.Reason, said)
			}
			compare(t, "what was copied", truth, l)
			compare(t, "mtools", mtools(t, img.Name()), l)
			theSleuthKit(t, img.Name(), l)
		})
	}
}

// TestTheSleuthKitSeesTheSameOnNamesThatMcopySpoils has the whole corpus, with the names that mcopy cannot write.
func TestTheSleuthKitSeesTheSameOnNamesThatMcopySpoils(t *testing.T) {
	files := stick.Corpus(corpusFiles, 1)
	for _, c := range oracleVolumes {
		t.Run(fmt.Sprintf("FAT%d", c.bits), func(t *testing.T) {
			img := emptyImage(t, c.bytes)
			c.spec.Bits, c.spec.Bytes = c.bits, c.bytes
			if _, err := stick.WriteFAT(img, c.spec, files); err != nil {
				t.Fatal(err)
			}
			img.Close()
			l := readImage(t, img.Name())
			compare(t, "what was written", (&image{files: files}).truth(t), l)
			theSleuthKit(t, img.Name(), l)
		})
	}
}

func emptyImage(t *testing.T, bytes int64) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	return f
}

// hostTree writes the corpus below dir, less the names that mcopy spoils, and says what mcopy makes of it.
func hostTree(t *testing.T, dir string) volumetest.Truth {
	files := slices.DeleteFunc(stick.Corpus(corpusFiles+800, 1), func(f stick.File) bool {
		return slices.ContainsFunc(strings.Split(f.Path, "/"), mcopySpoils)
	})
	if len(files) < corpusFiles+2 {
		t.Fatalf("only %d files", len(files))
	}
	files = files[:corpusFiles+2] // two are empty directories
	if err := stick.WriteTree(dir, files); err != nil {
		t.Fatal(err)
	}
	truth := volumetest.Truth{}
	for _, f := range files {
		if !f.Dir {
			truth[mcopyPath(f.Path)] = volumetest.FileOf(f.Data)
		}
	}
	if len(truth) != corpusFiles {
		t.Fatalf("%d paths of %d files", len(truth), corpusFiles)
	}
	return truth
}

// mcopySpoils says which names mcopy 4.0.32 does not write as they are: it makes a broken entry if its own short name
// would end in '~', and takes foreign letters for similar ones of its code page if the name is short enough to need no
// long one. Names of more than 255 bytes this machine cannot hold.
func mcopySpoils(name string) bool {
	units := stick.Units(name)
	base, ext, _ := strings.Cut(name, ".")
	short := len(stick.Units(base)) <= 8 && len(stick.Units(ext)) <= 3
	foreign := strings.ContainsFunc(name, func(r rune) bool { return r > 0x7F })
	return len(name) > 255 || len(units) >= 8 && units[7] == '~' || short && foreign
}

// mcopyPath: mcopy cuts a character beyond the basic plane to its lower 16 bits.
func mcopyPath(path string) string {
	return strings.Map(func(r rune) rune { return r & 0xFFFF }, path)
}

func children(t *testing.T, dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, filepath.Join(dir, e.Name()))
	}
	return out
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %.300s", name, err, words.Bytes())
	}
	return out.Bytes()
}

func readImage(t *testing.T, img string) volumetest.Listing {
	t.Helper()
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	src := volumetest.Opened(f, info.Size(), 512)
	v, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(t.Context(), src, v, volume.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func compare(t *testing.T, oracle string, truth volumetest.Truth, l volumetest.Listing) {
	t.Helper()
	diff := truth.Diff(l)
	for _, d := range diff[:min(len(diff), 10)] {
		t.Errorf("%s: %s", oracle, d)
	}
	t.Logf("%s: %d files, %d differences", oracle, len(truth), len(diff))
}

// mtools reads the whole volume with mcopy, and holds mdir's list of names against that.
func mtools(t *testing.T, img string) volumetest.Truth {
	out := t.TempDir()
	run(t, "mcopy", "-n", "-Q", "-s", "-i", img, "::/*", out)
	truth := volumetest.Tree(t, out)
	var listed []string
	for line := range strings.Lines(string(run(t, "mdir", "-/", "-a", "-b", "-i", img, "::/"))) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "::/"); ok && !strings.HasSuffix(name, "/") {
			listed = append(listed, name)
		}
	}
	slices.Sort(listed)
	if copied := slices.Sorted(maps.Keys(truth)); !slices.Equal(listed, copied) {
		t.Errorf("mdir lists %d files, mcopy copies %d", len(listed), len(copied))
	}
	return truth
}

// flsLine is a line of fls -l: kind, number, path, behind four times the size.
var flsLine = regexp.MustCompile(`^(\S+) (\d+):\t(.*)\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t(\d+)\t\d+\t\d+$`)

// theSleuthKit compares names and sizes with fls, contents with tsk_recover, which leaves out empty files, and some of
// them with icat.
func theSleuthKit(t *testing.T, img string, l volumetest.Listing) {
	const withICAT = 25
	out := t.TempDir()
	run(t, "tsk_recover", "-a", img, out)
	left := maps.Clone(l.Files)
	files := 0
	for line := range strings.Lines(string(run(t, "fls", "-r", "-p", "-l", "-u", "-F", img))) {
		m := flsLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("fls says %q", line)
		}
		number, path := m[2], m[3]
		size, _ := strconv.ParseInt(m[4], 10, 64)
		if m[1] != "r/r" || strings.HasSuffix(path, "(Volume Label Entry)") {
			continue // its own names for the tables, and the label
		}
		ours, ok := tskMatch(left, path, size)
		if !ok {
			t.Errorf("the Sleuth Kit: %q of %d bytes is not among ours", path, size)
			continue
		}
		want := left[ours]
		delete(left, ours)
		if files++; size == 0 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(out, path))
		if files <= withICAT || errors.Is(err, syscall.ENAMETOOLONG) { // as this machine has it, and so it was not recovered
			data, err = run(t, "icat", img, number), nil
		}
		if err != nil || sha256.Sum256(data) != want.SHA256 {
			t.Errorf("the Sleuth Kit: %q has another content, %v", path, err)
		}
	}
	for path := range left {
		if !tskOmits(path) {
			t.Errorf("the Sleuth Kit does not list %q", path)
		}
	}
	t.Logf("the Sleuth Kit: %d files compared, %d not listed by it", files, len(left))
}

// tskOmits: the Sleuth Kit turns each slot of a long name into UTF-8 by itself, and of the long names in which a pair of
// surrogates lies in two slots it does not list some (2 of the corpus). What was written has them, so they are not lost.
func tskOmits(path string) bool {
	name := stick.Units(path[strings.LastIndexByte(path, '/')+1:])
	for i := unitsPerSlot; i < len(name); i += unitsPerSlot {
		if len(name) > 195 && name[i]&0xFC00 == 0xDC00 {
			return true
		}
	}
	return false
}

// tskMatch finds the file of ours that the Sleuth Kit 4.11.1 means. It cuts long names, the extension first (the facts
// that the project measured; more than 195 units, or 255 bytes of UTF-8). So a long name is ours if it begins as the other
// does, in the same directory, and has the same size.
func tskMatch(ours volumetest.Truth, path string, size int64) (string, bool) {
	if f, ok := ours[path]; ok && f.Size == size {
		return path, true
	}
	for p, f := range ours {
		name := p[strings.LastIndexByte(p, '/')+1:]
		long := len(stick.Units(name)) > 195 || len(name) > 195
		if long && f.Size == size && strings.HasPrefix(p, path) && filepath.Dir(p) == filepath.Dir(path) {
			return p, true
		}
	}
	return "", false
}
