package clearance

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"pratique/scanner/report"
)

// Nightly runs take the full count.
var entries = flag.Int("entries", 700_000, "entries of the large manifest")

// spool is a file as a station has it.
func spool(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// large adds n entries on two volumes, as a scan has them: in the order of the medium, which is not that of directories.
func large(t testing.TB, m *Manifest, n int) {
	t.Helper()
	jump := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		kind, path := report.File, fmt.Sprintf("folder %d/file %d", jump.IntN(30_000), i)
		switch {
		case i%10 == 0:
			kind, path = report.Directory, fmt.Sprintf("folder %d", i/10)
		case i%97 == 0:
			kind, path = report.Stream, path+":stream"
		}
		if err := m.Add(i&1, kind, path, int64(i), sha256.Sum256([]byte(path))); err != nil {
			t.Fatal(err)
		}
	}
}

// A manifest with a spool is the same to the last byte, and takes no more memory when there is more on the medium.
func TestT24_AManifestOfMillionsTakesLittleMemory(t *testing.T) {
	const most = 64 << 20
	n := *entries
	if testing.Short() {
		n = 150_000
	}
	start := time.Now()
	m := NewSpooledManifest(exampleID, spool(t))
	large(t, m, n)
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := after.HeapAlloc
	c, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	written := sha256.New()
	if _, err := m.WriteTo(written); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if heap = max(heap, after.HeapAlloc); heap > most {
		t.Errorf("%d MiB of heap", heap>>20)
	}
	t.Logf("%d entries sealed and written in %v, %d MiB of heap, %d MiB in the spool", n, time.Since(start).Round(10*time.Millisecond), heap>>20, m.spooled>>20)
	if n > 2_000_000 {
		return // the same in memory takes a gigabyte
	}
	held := NewManifest(exampleID)
	large(t, held, n)
	if want, err := held.Seal(); err != nil || c != want {
		t.Errorf("with a spool %+v, in memory %+v (%v)", c, want, err)
	}
	var file bytes.Buffer
	if _, err := held.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(file.Bytes()) != [32]byte(written.Sum(nil)) {
		t.Error("the files differ")
	}
	again, err := ReadManifest(&file)
	if err != nil {
		t.Fatal(err)
	}
	claims := Claims{ID: exampleID, Content: c}
	if got, err := Compare(claims, again, held, WholeMedium); err != nil || !got.Equal {
		t.Errorf("compared with itself: %d changes, %v", len(got.Changes), err)
	}
	// One entry less, in one run of several.
	less := NewManifest(exampleID)
	large(t, less, n-1)
	if _, err := less.Seal(); err != nil {
		t.Fatal(err)
	}
	if got, err := Compare(claims, again, less, WholeMedium); err != nil || got.Equal || len(got.Changes) == 0 || len(got.Changes) > 2 {
		t.Errorf("one entry less: %d changes, %v", len(got.Changes), err)
	}
	if _, err := Compare(claims, again, m, WholeMedium); err == nil {
		t.Error("a manifest in a spool was compared")
	}
}

// brokenSpool fails after some bytes, or gives back less than it took.
type brokenSpool struct {
	Spool
	room  int64
	short bool
}

func (b *brokenSpool) WriteAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > b.room {
		return 0, errors.New("no space left")
	}
	return b.Spool.WriteAt(p, at)
}

func (b *brokenSpool) ReadAt(p []byte, at int64) (int, error) {
	if b.short && at > 0 {
		return 0, io.EOF
	}
	return b.Spool.ReadAt(p, at)
}

func TestASpoolThatFailsMakesNoManifest(t *testing.T) {
	for name, b := range map[string]*brokenSpool{
		"no room":    {room: 1 << 20},
		"cut short":  {room: 1 << 40, short: true},
		"full later": {room: runRecords * recordBytes},
	} {
		b.Spool = spool(t)
		m := NewSpooledManifest(exampleID, b)
		var failed error
		for i := 0; i < 2*runRecords+10 && failed == nil; i++ {
			failed = m.Add(0, report.File, fmt.Sprint(i), 1, [32]byte{})
		}
		if failed == nil {
			_, failed = m.Seal()
		}
		if _, sealed := m.Content(); failed == nil || sealed {
			t.Errorf("%s: sealed all the same (%v)", name, failed)
		}
		if _, err := m.WriteTo(io.Discard); err == nil {
			t.Errorf("%s: written all the same", name)
		}
	}
}
