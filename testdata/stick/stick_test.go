package stick

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// oracle runs somebody else's program on what this package wrote, and fails the test if it is not there.
func oracle(t *testing.T, name string, args ...string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin"} { // where a plain user has them, but not in the path
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			name = filepath.Join(dir, name)
		}
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// save writes an image to a file of the test's own.
func save(t *testing.T, m *Memory) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// inventions are what fls lists beside the entries of directories.
var inventions = []string{"$MBR", "$FAT1", "$FAT2", "$OrphanFiles", "$ALLOC_BITMAP", "$UPCASE_TABLE", "$VOLUME_GUID"}

// flsPaths lists what fls finds in a volume.
func flsPaths(t *testing.T, path string) []string {
	t.Helper()
	var got []string
	for line := range strings.Lines(oracle(t, "fls", "-r", "-p", "-u", path)) {
		_, name, _ := strings.Cut(strings.TrimRight(line, "\n"), ":\t")
		if !slices.Contains(inventions, name) && !strings.HasSuffix(name, "(Volume Label Entry)") {
			got = append(got, name)
		}
	}
	sort.Strings(got)
	return got
}

func wantPaths(files []File) []string {
	set := map[string]bool{}
	for _, f := range files {
		for p := f.Path; p != "."; p = filepath.Dir(p) {
			set[p] = true
		}
	}
	var want []string
	for p := range set {
		want = append(want, p)
	}
	sort.Strings(want)
	return want
}

// somewhatShort leaves out what the Sleuth Kit cuts: long FAT names of more than 195 characters.
func somewhatShort(files []File, bytes int) []File {
	var out []File
	for _, f := range files {
		if len(filepath.Base(f.Path)) <= bytes {
			out = append(out, f)
		}
	}
	return out
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if diff := cmpLines(got, want); diff != "" {
		t.Errorf("%d paths, want %d; first difference: %s", len(got), len(want), diff)
	}
}

func cmpLines(got, want []string) string {
	for i := 0; i < len(got) || i < len(want); i++ {
		switch {
		case i >= len(got):
			return "missing " + want[i]
		case i >= len(want):
			return "unexpected " + got[i]
		case got[i] != want[i]:
			return fmt.Sprintf("%q, want %q", got[i], want[i])
		}
	}
	return ""
}

func TestFATVolumesPleaseOtherPrograms(t *testing.T) {
	for _, test := range []struct {
		spec  FAT
		files int
	}{
		{FAT{Bits: 12, Bytes: 4 * mega, ClusterBytes: 2048, Label: "TWELVE"}, 120},
		{FAT{Bits: 12, Bytes: 1440 << 10, RootEntries: 224}, 30},
		{FAT{Bits: 16, Bytes: 64 * mega, ClusterBytes: 2048, Label: "SIXTEEN"}, 600},
		{FAT{Bits: 32, Bytes: 64 * mega, Label: "THIRTYTWO"}, 600},
		{FAT{Bits: 32, Bytes: 300 * mega, SectorSize: 4096, ClusterBytes: 4096}, 600},
	} {
		t.Run(fmt.Sprint(test.spec.Bits, "-", test.spec.SectorSize), func(t *testing.T) {
			files := somewhatShort(Corpus(test.files, 3), 190)
			if test.spec.Bits == 12 {
				files = smallOnes(files)
			}
			m := NewMemory(test.spec.Bytes)
			if _, err := WriteFAT(m, test.spec, files); err != nil {
				t.Fatal(err)
			}
			path := save(t, m)
			oracle(t, "fsck.vfat", "-n", path)
			compare(t, flsPaths(t, path), wantPaths(files))
			listed := strings.Count(oracle(t, "mdir", "-/", "-b", "-i", path, "::"), "\n")
			if want := len(wantPaths(files)); listed != want {
				t.Errorf("mdir lists %d paths, want %d", listed, want)
			}
			f := largest(files)
			if got := oracle(t, "mtype", "-i", path, "::"+f.Path); got != string(f.Data) {
				t.Errorf("mtype gives %d other bytes than the %d of %q", len(got), len(f.Data), f.Path)
			}
		})
	}
}

// smallOnes drops what is too large for a floppy.
func smallOnes(files []File) []File {
	var out []File
	for _, f := range files {
		if len(f.Data) < 16<<10 {
			out = append(out, f)
		}
	}
	return out
}

// largest is the largest file whose name mtools can be asked for.
func largest(files []File) File {
	var best File
	for _, f := range files {
		if len(f.Data) > len(best.Data) && len(f.Path) == strings.IndexFunc(f.Path+"\x80", func(r rune) bool { return r > 0x7E }) &&
			!strings.ContainsAny(f.Path, "[]{}`$#!;~") {
			best = f
		}
	}
	return best
}

func TestExFATVolumesPleaseOtherPrograms(t *testing.T) {
	for name, spec := range map[string]ExFAT{
		"usual":        {Bytes: 64 * mega, Label: "Übung 7"},
		"all chained":  {Bytes: 64 * mega, ClusterBytes: 32 << 10, Chained: true, GUID: [16]byte{1, 2, 3}},
		"full table":   {Bytes: 64 * mega, PlainUpcase: true},
		"4096 sectors": {Bytes: 96 * mega, SectorSize: 4096, ClusterBytes: 8192},
		"smallest":     {Bytes: 64 * mega, ClusterBytes: 512},
	} {
		t.Run(name, func(t *testing.T) {
			files := Corpus(600, 4)
			if spec.ClusterBytes == 512 {
				files = somewhatShort(files, 190) // fsck.exfat 1.2.0 loses its way in entry sets longer than a cluster
			}
			m := NewMemory(spec.Bytes)
			if _, err := WriteExFAT(m, spec, files); err != nil {
				t.Fatal(err)
			}
			path := save(t, m)
			if !spec.PlainUpcase { // fsck.exfat 1.2.0 takes the length of a table of 128 KiB for 0
				if out := oracle(t, "fsck.exfat", "-n", path); !strings.Contains(out, "clean") {
					t.Errorf("fsck.exfat: %s", out)
				}
			}
			compare(t, flsPaths(t, path), wantPaths(files))
		})
	}
}

func TestUpcaseTableIsTheRecommendedOne(t *testing.T) {
	table := upcaseBytes(false)
	if sum := checksum32(0, table, nil); sum != 0xE619D30D || len(table) != 5836 {
		t.Errorf("%d bytes with checksum %#x, want 5836 with 0xE619D30D", len(table), sum)
	}
}

func TestHugeSparseFileCostsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.img")
	const size = 8 << 30
	err := create(path, size, func(w io.WriterAt) error {
		_, err := WriteExFAT(w, ExFAT{Bytes: size, ClusterBytes: 32 << 10}, []File{{Path: "huge.bin", Data: []byte("start"), Size: 6 << 30}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := oracle(t, "fsck.exfat", "-n", path); !strings.Contains(out, "clean") {
		t.Errorf("fsck.exfat: %s", out)
	}
	blocks := strings.Fields(oracle(t, "du", "-k", path))[0]
	if len(blocks) > 4 {
		t.Errorf("the image takes %s KiB of disk", blocks)
	}
}

func TestPartitionTablesPleaseOtherPrograms(t *testing.T) {
	m := NewMemory(64 * mega)
	parts := []Partition{
		{Start: mega, Bytes: 8 * mega, Type: 0x06, Active: true}, {Start: 9 * mega, Bytes: 8 * mega, Type: 0x17},
		{Start: 18 * mega, Bytes: 8 * mega, Type: 0x07, Logical: true}, {Start: 30 * mega, Bytes: 9 * mega, Type: 0x0C, Logical: true},
		{Start: 40 * mega, Bytes: 2 * mega, Type: 0x06, Logical: true},
	}
	if err := WriteMBR(m, parts, []byte{0xFA, 0xF4}); err != nil {
		t.Fatal(err)
	}
	out := oracle(t, "sfdisk", "--dump", save(t, m))
	for i, want := range []string{"start=        2048, size=       16384, type=6, bootable", "start=       18432, size=       16384, type=17",
		"start=       34816, size=       51200, type=f", "", "start=       36864, size=       16384, type=7",
		"start=       61440, size=       18432, type=c", "start=       81920, size=        4096, type=6"} {
		if want != "" && !strings.Contains(out, fmt.Sprintf("%d : %s\n", i+1, want)) {
			t.Errorf("row %d is not %q in\n%s", i+1, want, out)
		}
	}

	m = NewMemory(64 * mega)
	if err := WriteGPT(m, 64*mega, 512, []Partition{{Start: mega, Bytes: 8 * mega, Name: "One"}, {Start: 20 * mega, Bytes: 4 * mega}}); err != nil {
		t.Fatal(err)
	}
	path := save(t, m)
	if out := oracle(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	if out := oracle(t, "sgdisk", "-p", path); !strings.Contains(out, "2048           18431   8.0 MiB     0700  One") {
		t.Errorf("sgdisk: %s", out)
	}
}

func TestSticksAreTheSameEveryTime(t *testing.T) {
	for _, s := range Sticks() {
		var sums [2]string
		for i := range sums {
			m, err := s.InMemory()
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			io.Copy(h, io.NewSectionReader(m, 0, m.Size()))
			sums[i] = hex.EncodeToString(h.Sum(nil))
		}
		if sums[0] != sums[1] {
			t.Errorf("%s is not the same twice", s.Name)
		}
	}
}

func TestSticksArePartitionedAndHealthyExceptTheDamagedOne(t *testing.T) {
	for _, s := range Sticks() {
		dir := t.TempDir()
		path := filepath.Join(dir, s.Name+".img")
		if err := s.Create(path); err != nil {
			t.Fatal(err)
		}
		oracle(t, "sfdisk", "-l", path)
		m, err := s.InMemory()
		if err != nil {
			t.Fatal(err)
		}
		part := NewMemory(s.Bytes - mega)
		if err := copySparse(part, m, mega); err != nil {
			t.Fatal(err)
		}
		switch s.Name {
		case "infected":
			oracle(t, "fsck.exfat", "-n", save(t, part))
			compare(t, flsPaths(t, save(t, part))[:4], []string{"DICOM", "DICOM/PAT00001", "DICOM/PAT00001/STUDY001", "DICOM/PAT00001/STUDY001/IM000001"})
		case "damaged":
			out, err := exec.Command("/usr/sbin/fsck.vfat", "-n", save(t, part)).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "Circular cluster chain") || strings.Contains(string(out), "Series 11") {
				t.Errorf("fsck.vfat: %v\n%s", err, out)
			}
		default:
			oracle(t, "fsck.vfat", "-n", save(t, part))
		}
	}
}

// copySparse copies what is written in from, from an offset on.
func copySparse(to, from *Memory, offset int64) error {
	buf := make([]byte, pageBytes)
	for page, data := range from.pages {
		if at := page*pageBytes - offset; at >= 0 {
			copy(buf, data)
			if _, err := to.WriteAt(buf[:min(pageBytes, to.size-at)], at); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestCleanStickHoldsItsFiles(t *testing.T) {
	m := NewMemory(64 * mega)
	if _, err := WriteFAT(m, FAT{Bits: 32, Bytes: 64 * mega}, CleanFiles()); err != nil {
		t.Fatal(err)
	}
	compare(t, flsPaths(t, save(t, m)), wantPaths(CleanFiles()))
}

// TestDICOMDIRPointsAtEveryImage walks the records by their offsets, as a viewer does.
func TestDICOMDIRPointsAtEveryImage(t *testing.T) {
	files := DICOM([]Study{{Patient: "TESTPATIENT^A", ID: "1", Slices: 3, Side: 16, Number: 1}, {Patient: "TESTPATIENT^B", ID: "2", Slices: 2, Side: 16, Number: 2}})
	dir := files[0].Data
	field := func(b []byte, group, element uint16) []byte {
		tag := le.AppendUint16(le.AppendUint16(nil, group), element)
		i := bytes.Index(b, tag)
		if i < 0 {
			return nil
		}
		n := int(le.Uint16(b[i+6:]))
		return b[i+8 : i+8+n]
	}
	seen := map[string]int{}
	var walk func(at uint32)
	walk = func(at uint32) {
		for at != 0 {
			if !bytes.Equal(dir[at:at+4], []byte{0xFE, 0xFF, 0x00, 0xE0}) {
				t.Fatalf("no item at %d", at)
			}
			item := dir[at+8 : at+8+le.Uint32(dir[at+4:])]
			seen[strings.TrimSpace(string(field(item, 4, 0x1430)))]++
			if id := field(item, 4, 0x1500); id != nil {
				seen[strings.ReplaceAll(strings.TrimRight(string(id), " "), `\`, "/")]++
			}
			walk(le.Uint32(field(item, 4, 0x1420)))
			at = le.Uint32(field(item, 4, 0x1400))
		}
	}
	walk(le.Uint32(field(dir, 4, 0x1200)))
	for _, f := range files[1:] {
		if seen[f.Path] != 1 {
			t.Errorf("%s is listed %d times", f.Path, seen[f.Path])
		}
	}
	if seen["PATIENT"] != 2 || seen["STUDY"] != 2 || seen["SERIES"] != 2 || seen["IMAGE"] != 5 {
		t.Errorf("records: %v", seen)
	}
}

func TestSamplesAreWhatTheySay(t *testing.T) {
	// The sum that eicar.org publishes.
	if sum := sha256.Sum256(EICAR()); hex.EncodeToString(sum[:]) != "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f" {
		t.Errorf("EICAR has SHA-256 %x", sum)
	}
	if !bytes.Contains(RuleSample(), []byte(RuleMarker)) || bytes.Contains(BlockedSample(), []byte(RuleMarker)) {
		t.Error("the rule's sample, and only that, has to hold the marker")
	}
	pdf := string(PDF("x"))
	i := strings.LastIndex(pdf, "startxref\n")
	var at int
	if _, err := fmt.Sscan(pdf[i+10:], &at); err != nil || !strings.HasPrefix(pdf[at:], "xref\n") {
		t.Errorf("startxref leads to byte %d, where there is no table: %v", at, err)
	}
}

func TestBenchStickHoldsTheSameAsItsFolder(t *testing.T) {
	dir := t.TempDir()
	if err := CreateBench(dir, 8*mega, 1); err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(filepath.Join(dir, "bench.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	info, err := image.Stat()
	if err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(dir, "volume.img")
	if err := create(volume, info.Size()-mega, func(w io.WriterAt) error {
		_, err := io.Copy(io.NewOffsetWriter(w, 0), io.NewSectionReader(image, mega, info.Size()-mega))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	oracle(t, "fsck.vfat", "-n", volume)
	compare(t, flsPaths(t, volume), wantPaths(BenchFiles(8*mega, 1)))
	for _, f := range BenchFiles(8*mega, 1)[:3] {
		want, err := os.ReadFile(filepath.Join(dir, "bench", f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if got := oracle(t, "mtype", "-i", volume, "::"+f.Path); got != string(want) || int64(len(got)) != f.Size {
			t.Errorf("%s differs between image and folder", f.Path)
		}
	}
}

func TestNamesKeepHalfCharacters(t *testing.T) {
	got := Units("a\xED\xA0\xBDb\U0001F600\xED\xB8\x80")
	want := []uint16{'a', 0xD83D, 'b', 0xD83D, 0xDE00, 0xDE00}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestWrongCallsAreErrors(t *testing.T) {
	for name, write := range map[string]func(io.WriterAt) error{
		"too small for FAT32": func(w io.WriterAt) error {
			_, err := WriteFAT(w, FAT{Bits: 32, Bytes: 4 * mega}, nil)
			return err
		},
		"does not fit": func(w io.WriterAt) error {
			_, err := WriteExFAT(w, ExFAT{Bytes: 2 * mega}, []File{{Path: "a", Size: 3 * mega}})
			return err
		},
		"file as folder": func(w io.WriterAt) error {
			_, err := WriteFAT(w, FAT{Bits: 16, Bytes: 16 * mega}, []File{{Path: "a"}, {Path: "a/b"}})
			return err
		},
		"twice": func(w io.WriterAt) error {
			_, err := WriteExFAT(w, ExFAT{Bytes: 4 * mega}, []File{{Path: "a"}, {Path: "a"}})
			return err
		},
		"illegal on FAT": func(w io.WriterAt) error {
			_, err := WriteFAT(w, FAT{Bits: 16, Bytes: 16 * mega}, []File{{Path: "a?"}})
			return err
		},
		"five rows": func(w io.WriterAt) error { return WriteMBR(w, make([]Partition, 5), nil) },
	} {
		if err := write(NewMemory(16 * mega)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
