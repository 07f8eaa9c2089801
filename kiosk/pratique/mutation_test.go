package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

var mutants = flag.Int("mutants", 20, "mutated sticks of each file system that are screened; the nightly run says 200")

// mutantDeadline is how long one screening of a small stick may take on a busy machine. More is a hang.
const mutantDeadline = 10 * time.Second

// sample sticks whose metadata is changed. A further file system needs a row.
var mutated = []struct {
	name string
	make func(*testing.T) mutable
}{
	{"FAT32", func(t *testing.T) mutable {
		return written(t, 40*mega, func(w io.WriterAt, bytes int64, files []stick.File) (*stick.Volume, error) {
			return stick.WriteFAT(w, stick.FAT{Bits: 32, Bytes: bytes, Start: mega}, files)
		}, func(w io.WriterAt, part stick.Partition) error {
			return stick.WriteMBR(w, []stick.Partition{part}, nil)
		})
	}},
	{"exFAT", func(t *testing.T) mutable {
		return written(t, 24*mega, func(w io.WriterAt, bytes int64, files []stick.File) (*stick.Volume, error) {
			return stick.WriteExFAT(w, stick.ExFAT{Bytes: bytes, Start: mega}, files)
		}, func(w io.WriterAt, part stick.Partition) error {
			return stick.WriteGPT(w, part.Bytes+2*mega, 512, []stick.Partition{part})
		})
	}},
	{"NTFS", ntfsStick},
	{"ext4", func(t *testing.T) mutable {
		return partition(t, "ext4", "structures of the volume", "mke2fs", "-q", "-F", "-t", "ext4", "-N", "256", "-d", "FOLDER", "IMAGE", "8M")
	}},
	{"ext4 without checksums", func(t *testing.T) mutable {
		return partition(t, "ext4", "structures of the volume", "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum,^uninit_bg", "-N", "256", "-d", "FOLDER", "IMAGE", "8M")
	}},
	{"ISO 9660", func(t *testing.T) mutable {
		return onDisc(t, "iso9660", 0, "-J", "-joliet-long", "-R")
	}},
	// Without the names of ISO 9660, which lead to the same files.
	{"UDF", func(t *testing.T) mutable { return onDisc(t, "udf", 2*2048, "-udf") }},
}

// mutable is a stick with what may be changed on it and what must stay: hashes by path.
type mutable struct {
	image    *stick.Memory
	metadata []volume.Extent
	truth    map[string]string
}

// written is a stick of one of the writers of package stick.
func written(t *testing.T, bytes int64, write func(io.WriterAt, int64, []stick.File) (*stick.Volume, error), table func(io.WriterAt, stick.Partition) error) mutable {
	t.Helper()
	files := append(stick.CleanFiles(), stick.Corpus(60, 3)[1:]...) // both have the first
	m := mutable{stick.NewMemory(bytes + 2*mega), []volume.Extent{{Start: 0, Bytes: 512}, {Start: 512, Bytes: 1024}}, map[string]string{}}
	v, err := write(io.NewOffsetWriter(m.image, mega), bytes, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := table(m.image, stick.Partition{Start: mega, Bytes: bytes, Type: 0x0C}); err != nil {
		t.Fatal(err)
	}
	for _, r := range v.Meta {
		m.metadata = append(m.metadata, volume.Extent{Start: mega + r[0], Bytes: r[1]})
	}
	for i := range files {
		if f := &files[i]; !f.Dir && f.Length() > 0 { // an empty file leaves no trace when its entry goes
			h := sha256.New()
			if _, err := io.Copy(h, f.Content()); err != nil {
				t.Fatal(err)
			}
			m.truth[f.Path] = hex.EncodeToString(h.Sum(nil))
		}
	}
	return m
}

// ntfsStick is what ntfs-3g made of some files in the root. What a deep walk hands out beside files and free clusters is
// what the volume is made of.
func ntfsStick(t *testing.T) mutable {
	t.Helper()
	const bytes = 8 * mega
	dir := t.TempDir()
	image, part := filepath.Join(dir, "image"), filepath.Join(dir, "part")
	if err := os.WriteFile(image, make([]byte, bytes), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command("mkntfs", "-F", "-Q", "-q", "-p", "2048", "-s", "512", image))
	m := mutable{stick.NewMemory(bytes + 2*mega), []volume.Extent{{Start: 0, Bytes: 512}, {Start: mega, Bytes: 512}}, map[string]string{}}
	for _, f := range stick.CleanFiles() {
		if f.Dir || strings.Contains(f.Path, "/") || len(f.Data) == 0 {
			continue
		}
		if err := os.WriteFile(part, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		output(t, exec.Command("ntfscp", "-q", "-f", image, part, f.Path))
		sum := sha256.Sum256(f.Data)
		m.truth[f.Path] = hex.EncodeToString(sum[:])
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := stick.WriteMBR(m.image, []stick.Partition{{Start: mega, Bytes: bytes, Type: 0x07}}, nil); err != nil {
		t.Fatal(err)
	}
	m.structures(t, data, mega, "ntfs", "$MFT", "$Bitmap", "directory clusters")
	return m
}

// foldered is a folder of files and what must stay of them.
func foldered(t *testing.T) (dir string, truth map[string]string) {
	t.Helper()
	dir, truth = filepath.Join(t.TempDir(), "folder"), map[string]string{}
	files := stick.CleanFiles()
	for i := range 60 { // with names that every file system can hold
		files = append(files, stick.File{Path: fmt.Sprintf("Study %d/Series %d/Bericht für IM%03d.txt", i/20, i/5, i),
			Data: bytes.Repeat(fmt.Appendf(nil, "file %d\n", i), 1+i*i%2000)})
	}
	if err := stick.WriteTree(dir, files); err != nil {
		t.Fatal(err)
	}
	for path, f := range volumetest.Tree(t, dir) {
		if f.Size > 0 {
			truth[path] = hex.EncodeToString(f.SHA256[:])
		}
	}
	return dir, truth
}

// partition is a stick with one partition, which a tool makes of a FOLDER in an IMAGE.
func partition(t *testing.T, fileSystem, structures, program string, args ...string) mutable {
	t.Helper()
	dir, truth := foldered(t)
	image := filepath.Join(t.TempDir(), "image")
	for i, arg := range args {
		args[i] = strings.NewReplacer("FOLDER", dir, "IMAGE", image).Replace(arg)
	}
	output(t, exec.Command(program, args...))
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(data))
	m := mutable{stick.NewMemory(size + 2*mega), []volume.Extent{{Start: 0, Bytes: 512}}, truth}
	if err := stick.WriteMBR(m.image, []stick.Partition{{Start: mega, Bytes: size, Type: 0x83}}, nil); err != nil {
		t.Fatal(err)
	}
	m.structures(t, data, mega, fileSystem, structures)
	return m
}

// onDisc is a medium that is a disc from its first byte on. The beginning of its descriptors may be taken away.
func onDisc(t *testing.T, fileSystem string, blank int, args ...string) mutable {
	t.Helper()
	dir, truth := foldered(t)
	data, err := os.ReadFile(disc(t, "genisoimage", dir, args...))
	if err != nil {
		t.Fatal(err)
	}
	clear(data[16*2048:][:blank])
	m := mutable{stick.NewMemory(int64(len(data))), nil, truth}
	m.structures(t, data, 0, fileSystem, "volume descriptors", "directories and tables", "slack and entries")
	return m
}

// structures puts a volume where it belongs, and notes where its structures lie, which a deep walk hands out under names.
func (m *mutable) structures(t *testing.T, data []byte, at int64, fileSystem string, named ...string) {
	t.Helper()
	if _, err := m.image.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	fs, err := readers.Open(volumetest.Bytes(data, 512), volume.Candidate{Bytes: int64(len(data)), FileSystem: fileSystem})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Walk(t.Context(), volume.Options{Deep: true}, func(e volume.Entry) error {
		of := func(part string) bool { return strings.HasPrefix(e.Path, part) }
		if e.Kind != report.Directory && !slices.ContainsFunc(named, of) {
			return nil
		}
		for _, x := range e.Extents {
			if x.Start >= 0 {
				m.metadata = append(m.metadata, volume.Extent{Start: at + x.Start, Bytes: x.Bytes})
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(m.metadata) < 3 {
		t.Fatalf("only %d places to change", len(m.metadata))
	}
}

// T03, on whole programs: whatever is changed in what a stick is made of, the answer comes in time and is one of three, and
// it is not "cleared" if a file went missing without a word.
func TestT03_MutatedSticksAreNeverClearedWithFilesMissing(t *testing.T) {
	for _, m := range mutated {
		t.Run(m.name, func(t *testing.T) {
			s := m.make(t)
			c := campaign{t: t, state: t.TempDir(), name: filepath.Join(t.TempDir(), "stick.img"), image: s.image, truth: s.truth}
			c.healthy = c.screen(0, nil)
			if c.cleared != 1 || len(c.missing(c.healthy)) > 0 {
				t.Fatalf("the stick without a change: %d cleared, %q missing", c.cleared, c.missing(c.healthy))
			}
			c.cleared = 0
			for seed := range uint64(*mutants) {
				c.try(seed, volumetest.Mutate(s.image, s.metadata, seed).Edits)
			}
			t.Logf("%s: %d mutated sticks: %d not cleared, %d could not be checked, %d cleared; of these %d with a finding, %d deleted as by an owner; slowest %v",
				m.name, *mutants, c.refused, c.unchecked, c.cleared, c.noted, c.deleted, c.slowest.Round(time.Millisecond))
		})
	}
}

// campaign screens mutants of one stick.
type campaign struct {
	t           *testing.T
	state, name string
	image       *stick.Memory
	truth       map[string]string
	healthy     jsonResult

	refused, unchecked, cleared, noted, deleted int
	slowest                                     time.Duration
}

// try screens one mutant. A file of a cleared one may be gone if the kiosk says something that it does not say of the
// healthy stick, or if it is there with another length, which is what shortening a file looks like.
func (c *campaign) try(seed uint64, edits []volumetest.Edit) {
	before := c.cleared
	res := c.screen(seed, edits)
	if c.cleared == before {
		return
	}
	missing := c.missing(res)
	switch {
	case len(missing) == 0:
	case c.saysMore(res):
		c.noted++
	case c.onlyShortened(res, missing):
		c.deleted++
	default:
		c.t.Errorf("mutant %d: cleared, and %d files are missing without a word, such as %q\n%v", seed, len(missing), missing[0], edits)
	}
}

func (c *campaign) screen(seed uint64, edits []volumetest.Edit) (res jsonResult) {
	c.t.Helper()
	os.Remove(c.name)
	if err := c.image.Save(c.name); err != nil {
		c.t.Fatal(err)
	}
	edit(c.t, c.name, func(f stick.Image) {
		for _, e := range edits {
			put(c.t, f, e.Offset, e.New)
		}
	})
	ctx, cancel := context.WithTimeout(c.t.Context(), mutantDeadline)
	defer cancel()
	begin := time.Now()
	cmd := exec.CommandContext(ctx, filepath.Join(built.bin, "pratique"), "screen", "--json", "--items", "--state", c.state, c.name)
	code, stdout, stderr := runCmd(c.t, cmd)
	c.slowest = max(c.slowest, time.Since(begin))
	if ctx.Err() != nil {
		c.t.Errorf("mutant %d: more than %v\n%v", seed, mutantDeadline, edits)
		return res
	}
	if err := json.Unmarshal([]byte(stdout), &res); err != nil {
		c.t.Errorf("mutant %d: exit code %d, %v\n%s%v", seed, code, err, stderr, edits)
		return res
	}
	switch {
	case code == 0 && res.Verdict == "cleared":
		c.cleared++
	case code == 3 && res.Verdict == "not cleared":
		c.refused++
	case code == 4 && res.Verdict == "could not check":
		c.unchecked++
	default:
		c.t.Errorf("mutant %d: exit code %d with the verdict %q\n%s%v", seed, code, res.Verdict, stderr, edits)
	}
	return res
}

// items returns the path of a clean or flagged file for each hash, and all those paths.
func (c *campaign) items(res jsonResult) (hashes, paths map[string]bool) {
	hashes, paths = map[string]bool{}, map[string]bool{}
	for _, raw := range res.Items {
		var it jsonItem
		if err := json.Unmarshal(raw, &it); err != nil {
			c.t.Fatal(err)
		}
		if it.SHA256 != "" {
			hashes[it.SHA256] = true
			paths[it.Path] = paths[it.Path] || it.Kind == "file"
		}
	}
	return hashes, paths
}

// missing are the files whose content no item has, under whatever name.
func (c *campaign) missing(res jsonResult) (paths []string) {
	hashes, _ := c.items(res)
	for path, sum := range c.truth {
		if !hashes[sum] {
			paths = append(paths, path)
		}
	}
	return paths
}

func (c *campaign) onlyShortened(res jsonResult, missing []string) bool {
	_, paths := c.items(res)
	for _, path := range missing {
		if !paths[path] {
			return false
		}
	}
	return true
}

func (c *campaign) saysMore(res jsonResult) bool {
	before := map[string]bool{}
	key := func(f jsonFinding) string { return strings.Join([]string{f.Path, f.Check, f.Rule, f.Text}, "|") }
	for _, f := range c.healthy.Findings {
		before[key(f)] = true
	}
	for _, f := range res.Findings {
		if !before[key(f)] {
			return true
		}
	}
	return false
}
