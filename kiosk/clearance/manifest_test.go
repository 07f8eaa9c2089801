package clearance

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"pratique/scanner/report"
)

// fill adds files whose content is their path. A path that ends in '/' is a directory, one with ':' a stream.
func fill(t testing.TB, m *Manifest, volume int, paths ...string) {
	t.Helper()
	for _, path := range paths {
		kind, name := report.File, path
		if strings.HasSuffix(path, "/") {
			kind, name = report.Directory, strings.TrimSuffix(path, "/")
		} else if strings.Contains(path, ":") {
			kind = report.Stream
		}
		if err := m.Add(volume, kind, name, int64(len(path)), sha256.Sum256([]byte(path))); err != nil {
			t.Fatalf("%q: %v", path, err)
		}
	}
}

func content(t testing.TB, paths ...string) Content {
	t.Helper()
	c, ok := sealed(t, exampleID, paths...).Content()
	if !ok {
		t.Fatal("not sealed")
	}
	return c
}

func TestTheRootIsThatOfRFC6962(t *testing.T) {
	for n := range 70 {
		var m merkle
		var stored []tlog.Hash
		reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			var out []tlog.Hash
			for _, i := range indexes {
				out = append(out, stored[i])
			}
			return out, nil
		})
		for i := range n {
			record := fmt.Append(nil, "record ", i)
			m.add(record)
			hashes, err := tlog.StoredHashes(int64(i), record, reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, hashes...)
		}
		want, err := tlog.TreeHash(int64(n), reader)
		if err != nil || m.root() != want {
			t.Fatalf("%d leaves: root %v, want %v (%v)", n, m.root(), want, err)
		}
	}
}

func TestTheOrderOfAddingDoesNotMatter(t *testing.T) {
	var paths []string
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("DICOM/P%d/IM%d", i%7, i), fmt.Sprintf("empty %d/", i))
	}
	for i := range 7 {
		paths = append(paths, fmt.Sprintf("DICOM/P%d/", i))
	}
	paths = append(paths, "DICOM/")
	want := content(t, paths...)
	if want.Files != 500 {
		t.Errorf("%d files", want.Files)
	}
	rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	if got := content(t, paths...); got != want {
		t.Errorf("shuffled: %+v, want %+v", got, want)
	}
}

func TestDirectoriesCountOnlyWhenNothingIsInThem(t *testing.T) {
	if content(t, "a/b/c.txt") != content(t, "a/", "a/b/", "a/b/c.txt") {
		t.Error("directories that are not empty change the root")
	}
	if content(t, "a/", "a/b/") != content(t, "a/b/") {
		t.Error("a directory that holds an empty one changes the root")
	}
	if content(t, "a.txt") == content(t, "a.txt", "empty/") {
		t.Error("an empty directory does not change the root")
	}
	if content(t, "a/", "a:stream") == content(t, "a:stream") {
		t.Error("a stream of an empty directory hides the directory")
	}
}

// TestT13_EveryChangeOfContentChangesTheRoot has the changes that a device must notice.
func TestT13_EveryChangeOfContentChangesTheRoot(t *testing.T) {
	base := func() *Manifest {
		m := NewManifest(exampleID)
		fill(t, m, 0, "a.txt", "b/c.txt", "empty/", "a.txt:s")
		fill(t, m, 1, "second.txt")
		return m
	}
	seal := func(m *Manifest) [32]byte {
		c, err := m.Seal()
		if err != nil {
			t.Fatal(err)
		}
		return c.Root
	}
	seen := map[[32]byte]string{seal(base()): "nothing"}
	for name, change := range map[string]func() *Manifest{
		"file added":             func() *Manifest { m := base(); fill(t, m, 0, "d.txt"); return m },
		"file added to volume 1": func() *Manifest { m := base(); fill(t, m, 1, "d.txt"); return m },
		"empty volume added":     func() *Manifest { m := base(); _ = m.AddVolume(2); return m },
		"directory added":        func() *Manifest { m := base(); fill(t, m, 0, "new/"); return m },
		"stream added":           func() *Manifest { m := base(); fill(t, m, 0, "a.txt:t"); return m },
		"empty file added":       func() *Manifest { m := base(); _ = m.Add(0, report.File, "e", 0, sha256.Sum256(nil)); return m },
		"file removed": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 0, "b/c.txt", "empty/", "a.txt:s")
			fill(t, m, 1, "second.txt")
			return m
		},
		"volume removed": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 0, "a.txt", "b/c.txt", "empty/", "a.txt:s")
			return m
		},
		"volumes swapped": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 1, "a.txt", "b/c.txt", "empty/", "a.txt:s")
			fill(t, m, 0, "second.txt")
			return m
		},
		"file moved to the other volume": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 0, "b/c.txt", "empty/", "a.txt:s")
			fill(t, m, 1, "second.txt", "a.txt")
			return m
		},
		"file renamed in case only": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 0, "b/c.txt", "empty/", "a.txt:s")
			_ = m.Add(0, report.File, "A.TXT", 5, sha256.Sum256([]byte("a.txt")))
			fill(t, m, 1, "second.txt")
			return m
		},
		"content changed": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 0, "b/c.txt", "empty/", "a.txt:s")
			_ = m.Add(0, report.File, "a.txt", 5, sha256.Sum256([]byte("other")))
			fill(t, m, 1, "second.txt")
			return m
		},
		"file become a stream": func() *Manifest {
			m := NewManifest(exampleID)
			fill(t, m, 0, "b/c.txt", "empty/", "a.txt:s")
			_ = m.Add(0, report.Stream, "a.txt", 5, sha256.Sum256([]byte("a.txt")))
			fill(t, m, 1, "second.txt")
			return m
		},
		"another session": func() *Manifest {
			m := NewManifest([16]byte{1})
			fill(t, m, 0, "a.txt", "b/c.txt", "empty/", "a.txt:s")
			fill(t, m, 1, "second.txt")
			return m
		},
	} {
		root := seal(change())
		if before, twice := seen[root]; twice {
			t.Errorf("%s has the same root as %s", name, before)
		}
		seen[root] = name
	}
}

// TestT13_NothingHidesBehindWhatWindowsWrites tries to put content where the manifest looks away.
func TestT13_NothingHidesBehindWhatWindowsWrites(t *testing.T) {
	const folder = "System Volume Information"
	add := func(kind report.Kind, path string, size int64) Content {
		m := NewManifest(exampleID)
		fill(t, m, 0, "a.txt")
		if err := m.Add(0, kind, path, size, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		c, err := m.Seal()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	base := content(t, "a.txt")
	for _, path := range []string{folder + "/WPSettings.dat", folder + "/IndexerVolumeGuid"} {
		for _, size := range []int64{0, 12, 76, maxSystemFile} {
			if add(report.File, path, size) != base {
				t.Errorf("%s of %d bytes is an addition", path, size)
			}
		}
		if add(report.File, path, maxSystemFile+1) == base {
			t.Errorf("%s of %d bytes is overlooked", path, maxSystemFile+1)
		}
		if add(report.Stream, path+":evil", 12) == base {
			t.Errorf("a stream of %s is overlooked", path)
		}
	}
	if add(report.Directory, folder, 0) != base {
		t.Error("the empty directory is an addition")
	}
	for _, path := range []string{
		folder + "/WPSettings.dat.exe", folder + "/wpsettings.dat", folder + "/sub/WPSettings.dat", folder + "/tracking.log", folder,
		"system volume information/WPSettings.dat", "x/" + folder + "/WPSettings.dat", "WPSettings.dat", folder + "/WPSettings.dat/a", folder + " /WPSettings.dat",
	} {
		if add(report.File, path, 12) == base {
			t.Errorf("%q is overlooked", path)
		}
	}
	for _, path := range []string{folder + "/sub", "system volume information", folder + "/WPSettings.dat"} {
		if add(report.Directory, path, 0) == base {
			t.Errorf("directory %q is overlooked", path)
		}
	}
}

func TestAddRefusesWhatHasNoPlace(t *testing.T) {
	m := NewManifest(exampleID)
	for name, err := range map[string]error{
		"empty path":       m.Add(0, report.File, "", 1, [32]byte{}),
		"endless path":     m.Add(0, report.File, strings.Repeat("a", report.MaxPathBytes+1), 1, [32]byte{}),
		"negative size":    m.Add(0, report.File, "a", -1, [32]byte{}),
		"no kind":          m.Add(0, report.NoKind, "a", 1, [32]byte{}),
		"a member":         m.Add(0, report.Member, "a", 1, [32]byte{}),
		"an area":          m.Add(0, report.Area, "a", 1, [32]byte{}),
		"outside volumes":  m.Add(-1, report.File, "a", 1, [32]byte{}),
		"too many volumes": m.AddVolume(MaxVolumes),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	fill(t, m, 0, "a", "b")
	_ = m.Add(0, report.Directory, "a", 0, [32]byte{})
	if _, err := m.Seal(); !errors.Is(err, ErrDuplicate) {
		t.Errorf("a path that is there twice: %v", err)
	}
	if _, ok := m.Content(); ok {
		t.Error("a manifest that could not be sealed has a content")
	}
	if _, err := m.WriteTo(io.Discard); err == nil {
		t.Error("a manifest that could not be sealed was written")
	}
	m = sealed(t, exampleID, "a")
	if m.Add(0, report.File, "b", 1, [32]byte{}) == nil || m.AddVolume(1) == nil {
		t.Error("a sealed manifest takes more")
	}
	big := NewManifest(exampleID)
	_ = big.Add(0, report.File, "a", 1<<62, [32]byte{})
	_ = big.Add(0, report.File, "b", 1<<62, [32]byte{})
	if _, err := big.Seal(); err == nil {
		t.Error("sizes that do not fit into a number were added up")
	}
}

func TestAManifestComesBackFromItsFile(t *testing.T) {
	m := NewManifest(exampleID)
	fill(t, m, 2, "late.txt")
	fill(t, m, 0, "a.txt", "b/c.txt", "a.txt:s", "empty/")
	_ = m.AddVolume(1)
	want, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	n, err := m.WriteTo(&file)
	if err != nil || n != int64(file.Len()) {
		t.Fatalf("wrote %d of %d bytes: %v", n, file.Len(), err)
	}
	for _, name := range []string{"late", "a.txt", "c.txt", "empty"} {
		if bytes.Contains(file.Bytes(), []byte(name)) {
			t.Errorf("the file holds the name %q", name)
		}
	}
	again, err := ReadManifest(&file)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := again.Content(); !ok || got != want || again.ID() != exampleID || want.Volumes != 3 || want.Streams != 1 || want.Files != 3 {
		t.Errorf("came back as %+v, was %+v", got, want)
	}
}

// TestT12_EveryChangedByteOfAManifestIsRejected also changes counts and cuts, which leave a manifest that can be read.
func TestT12_EveryChangedByteOfAManifestIsRejected(t *testing.T) {
	r := newRig(t, false)
	m := NewManifest(exampleID)
	fill(t, m, 0, "a.txt", "b/c.txt", "a.txt:s", "empty/")
	fill(t, m, 1, "second.txt")
	_ = m.AddVolume(2)
	c, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	token := r.token(t, func(claims *Claims) { claims.Content = c })
	var file bytes.Buffer
	if _, err := m.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	data := file.Bytes()
	v := r.question(token)
	v.Manifest, _ = ReadManifest(bytes.NewReader(data))
	if got := Verify(v); got.Reason != Valid {
		t.Fatalf("unchanged: %v", got.Reason)
	}
	tried := 0
	try := func(what string, i int, changed []byte) {
		tried++
		m, err := ReadManifest(bytes.NewReader(changed))
		if err != nil {
			if m != nil || !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s at %d: %v", what, i, err)
			}
			return
		}
		v.Manifest = m
		if got := Verify(v); got.Reason != Forged {
			t.Fatalf("%s at %d of %d: %v", what, i, len(data), got.Reason)
		}
	}
	for i := range data {
		changed := bytes.Clone(data)
		for _, c := range changes(data[i]) {
			changed[i] = c
			try("change", i, changed)
		}
		try("cut", i, data[:i])
		try("byte left out", i, append(bytes.Clone(data[:i]), data[i+1:]...))
	}
	try("byte added", len(data), append(bytes.Clone(data), 0))
	t.Logf("%d changed manifests of %d bytes rejected", tried, len(data))
}

func TestAManifestsCountsSizeNoAllocation(t *testing.T) {
	head := append([]byte(ManifestMagic), make([]byte, 16)...)
	head = binary.BigEndian.AppendUint32(head, 1)
	huge := binary.BigEndian.AppendUint64(bytes.Clone(head), MaxLeaves)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ReadManifest(bytes.NewReader(huge)); err == nil {
				b.Fatal("it was taken")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 256<<10 {
		t.Errorf("a count without leaves takes %d bytes of memory", allocated)
	}
	if _, err := ReadManifest(bytes.NewReader(binary.BigEndian.AppendUint64(head, MaxLeaves+1))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a count above the limit: %v", err)
	}
	broken := errors.New("cable pulled")
	if _, err := ReadManifest(io.MultiReader(bytes.NewReader(head), errReader{broken})); !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
		t.Errorf("a file that cannot be read is called malformed: %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
