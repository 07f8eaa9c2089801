package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// holds checks that every acknowledged entry is in the log, in the session that it was written for.
func holds(t *testing.T, l *Log, acknowledged map[int64]string) {
	t.Helper()
	found := 0
	err := l.List(t.Context(), ListOptions{}, func(e Entry) error {
		if want, ok := acknowledged[e.Index]; ok {
			found++
			if e.Session.String() != want {
				return fmt.Errorf("entry %d is of session %v, want %s", e.Index, e.Session, want)
			}
		}
		return nil
	})
	if err != nil || found != len(acknowledged) {
		t.Fatalf("%d of %d acknowledged entries are there, %v", found, len(acknowledged), err)
	}
}

func TestT23_AKilledWriterLosesNothingThatItWasTold(t *testing.T) {
	const killsPerLog = 25 // each check reads the whole log, so a log is not let grow for ever
	acknowledged, repaired := 0, 0
	for done := 0; done < *kills; done += killsPerLog {
		k, dir, all := newKey(t), t.TempDir(), map[int64]string{}
		for range min(killsPerLog, *kills-done) {
			repaired += killWriter(t, k, dir, all)
		}
		l := open(t, dir, k)
		holds(t, l, all)
		mustVerify(t, l.Reader)
		l.Close()
		acknowledged += len(all)
	}
	t.Logf("%d kills, %d entries acknowledged, 0 lost, %d sessions repaired", *kills, acknowledged, repaired)
}

// killWriter lets a writer run, kills it, checks the log and repairs what it left, as the next start does.
func killWriter(t *testing.T, k key, dir string, all map[int64]string) (repaired int) {
	t.Helper()
	p := start(t, "endless", dir, k)
	time.AfterFunc(20*time.Millisecond+rand.N(120*time.Millisecond), func() { p.cmd.Process.Kill() })
	entries, refused := p.acknowledged(t)
	if refused != "" {
		t.Fatal(refused)
	}
	for idx, id := range entries {
		if all[idx] != "" {
			t.Fatalf("entry %d was acknowledged twice", idx)
		}
		all[idx] = id
	}
	l := open(t, dir, k)
	defer l.Close()
	holds(t, l, entries)
	mustVerify(t, l.Reader)
	unfinished, err := l.Unfinished(t.Context())
	if err != nil || len(unfinished) > 1 {
		t.Fatalf("unfinished: %v %v", unfinished, err)
	}
	for _, s := range unfinished {
		if s.Issuing >= 0 {
			l.must(t, s.ID, Abandoned{s.Issuing})
		} else {
			l.must(t, s.ID, Aborted{"killed"})
		}
	}
	return len(unfinished)
}

func TestSeveralProcessesAppendAtOnce(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	// None of them finds a file: they race to create it as well.
	a, b := start(t, "count", dir, k), start(t, "count", dir, k)
	var ofA, ofB map[int64]string
	var errA, errB string
	var wg sync.WaitGroup
	wg.Go(func() { ofA, errA = a.acknowledged(t) })
	wg.Go(func() { ofB, errB = b.acknowledged(t) })
	wg.Wait()
	if errA != "" || errB != "" || len(ofA) != 160 || len(ofB) != 160 {
		t.Fatalf("%d and %d entries; %s %s", len(ofA), len(ofB), errA, errB)
	}
	l := open(t, dir, k)
	holds(t, l, ofA)
	holds(t, l, ofB)
	if res := mustVerify(t, l.Reader); res.Entries != 320 || res.Items != 80*20 {
		t.Errorf("%+v", res)
	}
}

func TestOneLogIsSharedByGoroutines(t *testing.T) {
	l, _ := newLog(t)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 5 {
				runSession(t, l, sessionID(100*n+i), 30)
			}
		})
	}
	wg.Wait()
	if res := mustVerify(t, l.Reader); res.Entries != 100 {
		t.Errorf("%+v", res)
	}
}

// A write that stops after any step leaves the log as it was, and the session without a clearance.
func TestT23_AWriteThatStopsAtAnyStepLeavesNothing(t *testing.T) {
	stop := errors.New("stopped")
	for _, step := range []string{"entry", "hash", "checkpoint", "items"} {
		t.Run(step, func(t *testing.T) {
			l, _ := newLog(t)
			id := sessionID(1)
			l.must(t, id, Attached{Source: Image})
			l.must(t, id, decided(Cleared, Digest{}, 0))
			before, err := l.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			l.fault = func(s string) error {
				if s == step {
					return stop
				}
				return nil
			}
			at := time.Now().Truncate(time.Second)
			if step == "items" {
				items := l.NewItems(id, testKey)
				if err := items.Add(t.Context(), testItem(1)); err != nil {
					t.Fatal(err)
				}
				if _, _, err := items.Close(t.Context()); err != stop {
					t.Errorf("close: %v", err)
				}
				if _, _, err := items.Close(t.Context()); err == nil {
					t.Error("a second close makes up for the first")
				}
			} else if idx, err := l.AppendLeaf(t.Context(), KindIssuing, id, at, claimsLeaf(t, id, at)); !errors.Is(err, stop) || idx != -1 {
				t.Errorf("append: %d %v", idx, err)
			}
			l.fault = nil
			if after, err := l.Head(t.Context()); err != nil || after != before {
				t.Errorf("head %v %v, was %v", after, err, before)
			}
			if step != "items" {
				if _, err := l.AppendLeaf(t.Context(), KindIssuing, id, at, claimsLeaf(t, id, at)); !errors.Is(err, ErrOrder) {
					t.Errorf("a clearance after a write in doubt: %v", err)
				}
			}
			mustVerify(t, l.Reader)
			l.must(t, id, Failed{Cause: "log"})
			mustVerify(t, l.Reader)
		})
	}
}

func TestACancelledAppendLeavesTheLogSound(t *testing.T) {
	l, _ := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if idx, err := l.Append(ctx, Event{sessionID(1), Attached{Source: Image}}); err == nil || idx != -1 {
		t.Errorf("append: %d %v", idx, err)
	}
	// Whether it was written is not known to the one who asked, so the session does not begin again.
	if _, err := l.Append(t.Context(), Event{sessionID(1), Attached{Source: Image}}); !errors.Is(err, ErrOrder) {
		t.Errorf("the same session again: %v", err)
	}
	l.must(t, sessionID(2), Attached{Source: Image})
	mustVerify(t, l.Reader)
}

func TestAFullDiskStopsTheLogAndLeavesItSound(t *testing.T) {
	full := func(t *testing.T, role, dir string) {
		t.Helper()
		k := newKey(t)
		entries, refused := start(t, role, dir, k).acknowledged(t)
		if !strings.Contains(refused, ErrFull.Error()) || len(entries) == 0 {
			t.Errorf("refused with %q after %d entries", refused, len(entries))
		}
		// What is there can be read and checked where there is room again.
		l := open(t, copyOpenLog(t, dir), k)
		holds(t, l, entries)
		res := mustVerify(t, l.Reader)
		t.Logf("%s: %d entries acknowledged, %d in the log", role, len(entries), res.Entries)
	}
	full(t, "limited", t.TempDir()) // a limit on the size of files, for everybody
	dir := t.TempDir()
	if err := syscall.Mount("pratique-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Logf("a small file system cannot be mounted here: %v", err)
		return
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	full(t, "endless", dir)
}

// copyOpenLog copies a log as cp would, with its -wal file if there is one.
func copyOpenLog(t *testing.T, dir string) string {
	t.Helper()
	copied := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, FileName+suffix))
		if errors.Is(err, os.ErrNotExist) && suffix != "" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, FileName+suffix), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

func TestAFolderThatCannotBeWritten(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // nobody must get as far as the file
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(dir, 0o755)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if _, refused := start(t, "nobody", dir, k).acknowledged(t); !strings.Contains(refused, ErrReadOnly.Error()) {
		t.Errorf("a new log: refused with %q", refused)
	}
	os.Chmod(dir, 0o755)
	l := open(t, dir, k)
	runSession(t, l, sessionID(1), 3)
	l.Close()
	os.Chmod(filepath.Join(dir, FileName), 0o444)
	os.Chmod(dir, 0o555)
	if _, refused := start(t, "nobody", dir, k).acknowledged(t); !strings.Contains(refused, ErrReadOnly.Error()) {
		t.Errorf("an old log: refused with %q", refused)
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "none"), k.options()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("no such folder: %v", err)
	}
}

func TestFilesThatAreNoLog(t *testing.T) {
	k := newKey(t)
	in := func(f func(path string)) string {
		dir := t.TempDir()
		f(filepath.Join(dir, FileName))
		return dir
	}
	write := func(data []byte) func(string) {
		return func(path string) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	sqlFile := func(list ...string) func(string) {
		return func(path string) {
			db := plain(t, path)
			run(t, db, list...)
			db.Close()
		}
	}
	for name, c := range map[string]struct {
		dir  string
		want error
	}{
		"garbage":          {in(write(bytes.Repeat([]byte("garbage "), 2000))), ErrForeign},
		"text":             {in(write([]byte("hello\n"))), ErrForeign},
		"another database": {in(sqlFile("CREATE TABLE x(a)")), ErrForeign},
		"another program":  {in(sqlFile("PRAGMA application_id = 5", "CREATE TABLE x(a)")), ErrForeign},
		"newer":            {in(sqlFile("PRAGMA application_id = 0x50525451", fmt.Sprint("PRAGMA user_version = ", schemaVersion+1), "CREATE TABLE x(a)")), ErrNewer},
		"a folder":         {in(func(p string) { os.Mkdir(p, 0o700) }), ErrForeign},
		"a FIFO":           {in(func(p string) { syscall.Mkfifo(p, 0o600) }), ErrForeign},
		"a symbolic link":  {in(func(p string) { os.Symlink(filepath.Join(t.TempDir(), "x"), p) }), ErrForeign},
	} {
		path := filepath.Join(c.dir, FileName)
		before, _ := os.Lstat(path)
		_, err := Open(t.Context(), c.dir, k.options())
		if !errors.Is(err, c.want) || !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		after, _ := os.Lstat(path)
		if before.Size() != after.Size() || before.ModTime() != after.ModTime() {
			t.Errorf("%s: the file was changed", name)
		}
		if name == "a symbolic link" {
			continue // an auditor may keep copies behind links
		}
		if _, err := OpenReader(t.Context(), path, testOrigin, k.options().Verifiers); !errors.Is(err, c.want) {
			t.Errorf("%s: open reader: %v, want %v", name, err, c.want)
		}
	}
	if _, err := OpenReader(t.Context(), filepath.Join(t.TempDir(), "none"), testOrigin, k.options().Verifiers); !errors.Is(err, ErrUnusable) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(t.Context(), t.TempDir(), Options{}); !errors.Is(err, ErrUnusable) {
		t.Errorf("no key: %v", err)
	}
	other := k.options()
	other.Origin = "another.name"
	if _, err := Open(t.Context(), t.TempDir(), other); !errors.Is(err, ErrUnusable) {
		t.Errorf("another name than the key's: %v", err)
	}
}

// What a crash while the file is made leaves is a new log to the next start.
func TestAnEmptyFileIsANewLog(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, k)
	runSession(t, l, sessionID(1), 1)
	mustVerify(t, l.Reader)
}

// The auditor's copy may be on a medium that cannot be written, and its newest entries may be in the -wal file.
func TestAnAuditorsCopy(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	runSession(t, l, sessionID(1), 3)
	copied := copyOpenLog(t, dir) // while the log is open
	path := filepath.Join(copied, FileName)

	sealed := func() string {
		t.Helper()
		for _, name := range []string{FileName, FileName + "-wal"} {
			os.Chmod(filepath.Join(copied, name), 0o444)
		}
		os.Chmod(filepath.Dir(copied), 0o755)
		os.Chmod(copied, 0o555)
		defer os.Chmod(copied, 0o755)
		_, said := start(t, "auditor", copied, k).acknowledged(t)
		return said
	}
	if said := sealed(); !strings.Contains(said, "-wal file to a folder that can be written") {
		t.Errorf("a copy with a WAL that cannot be used: %q", said)
	}
	if res := verifyCopy(t, path, k, VerifyOptions{}); !res.Sound || res.Entries != 5 {
		t.Errorf("with the WAL: %+v", res)
	}
	l.Close() // which empties the WAL
	copied = copyOpenLog(t, dir)
	if said := sealed(); said != "verified true 5 <nil>" {
		t.Errorf("a copy without a WAL: %q", said)
	}
}
