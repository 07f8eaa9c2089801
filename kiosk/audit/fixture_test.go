package audit

import (
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var writeFixture = flag.Bool("write-fixture", false, "write a log of the present version to testdata")

// A log of the present version is kept for each version that there was: what the next one must be able to read.
func TestWriteFixture(t *testing.T) {
	if !*writeFixture {
		return
	}
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	rules := Rules{Name: "baseline", Version: 3, Digest: Digest{9}}
	for n := range 4 {
		runSession(t, l, sessionID(n), 1200*(n&1)+7)
	}
	id := sessionID(4)
	l.must(t, id, Attached{Source: USB, Bytes: 1 << 30, SectorSize: 512, VID: 0x1234, PID: 0x5678, Port: "1-1.2"})
	digest, count := addItems(t, l, id, 50)
	l.must(t, id, decided(NotCleared, digest, count))
	l.must(t, id, Denied{Class: "imaging", Person: Pseudonym{3}, Cause: "class"})
	l.must(t, id, Removed{})
	l.must(t, sessionID(5), Attached{Source: Block, Bytes: 1 << 20, SectorSize: 4096})
	addItems(t, l, sessionID(5), 3) // bound by nothing
	l.must(t, sessionID(5), Aborted{"interrupted"})
	for _, d := range []Data{Failed{"no-workers"}, Refused{Port: "1-1", Cause: "keyboard", VID: 1, PID: 2, Digest: Digest{4}},
		Administered{What: "trust-installed", Person: Pseudonym{3}, Number: 7, Digest: Digest{5}}, Pack{Rules: rules, Source: "path"},
		Canary{Rules: rules, Passed: 5}, Recalled{Clearance: sessionID(1), Classes: []Word{"imaging"}, Expires: 1 << 31, Cause: "hash-list", Items: 1, Rules: rules},
		Exported{Format: "csv", To: 3, SHA256: Digest{6}}, Verified{Entries: 3, Sound: true, Bad: -1}, Read{To: 3}} {
		l.must(t, ID{}, d)
	}
	mustVerify(t, l.Reader)
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := l.Copy(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join("testdata", fmt.Sprintf("v%d.db.gz", schemaVersion)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", fmt.Sprintf("v%d.key", schemaVersion)), []byte(k.private+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
