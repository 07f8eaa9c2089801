package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// T16, from outside: a state whose log was put back to an older one, or taken away, is not sound.
func TestT16_LogPutBackOrTakenAwayIsSeen(t *testing.T) {
	state := filepath.Join(t.TempDir(), "st[a]te*") // a folder's name is no pattern
	screen := func() int {
		code, _, _ := run(t, "pratique", "screen", "--state", state, sample("clean"))
		return code
	}
	logFile := filepath.Join(state, "log.db")
	if screen() != 0 {
		t.Fatal("not cleared")
	}
	old, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	if screen() != 0 {
		t.Fatal("not cleared")
	}
	if code, stdout, _ := run(t, "pratique", "audit", "verify", "--state", state); code != 0 {
		t.Fatal(stdout)
	}
	for _, side := range []string{"-wal", "-shm"} {
		os.Remove(logFile + side)
	}
	if err := os.WriteFile(logFile, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := run(t, "pratique", "audit", "verify", "--state", state); code != 1 || !strings.Contains(stdout, "NOT sound") {
		t.Errorf("put back: exit code %d\n%s", code, stdout)
	}
	if err := os.Remove(logFile); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "pratique", "screen", "--state", state, sample("clean"))
	if code != 1 || strings.Contains(stdout, "cleared") || !strings.Contains(stderr, "gone") {
		t.Errorf("taken away: exit code %d\n%s%s", code, stdout, stderr)
	}
}
