package p11

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// program is a helper that does what a shell script says.
func program(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestHelpersThatFailAreErrorsAndAreReaped(t *testing.T) {
	defer func(d time.Duration) { tokenTime = d }(tokenTime)
	tokenTime = 300 * time.Millisecond
	for name, path := range map[string]string{
		"none": "", "not there": filepath.Join(t.TempDir(), "none"), "dies": program(t, "exit 1"), "hangs": program(t, "exec sleep 60"),
		"talks": program(t, "echo hello hello hello hello; exec sleep 60"), "sends too much": program(t, `printf '\177\377\377\377'; exec sleep 60`),
		"breaks off": program(t, `printf '\0\0\1\0x'`),
	} {
		begun := time.Now()
		if h, err := Start(path, "/m.so", "t", []byte("1")); !errors.Is(err, ErrToken) || h != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	if _, err := Start(program(t, "exec sleep 60"), "m.so", "t", []byte("1")); !errors.Is(err, ErrToken) {
		t.Errorf("a request that breaks the rules: %v", err)
	}
}
