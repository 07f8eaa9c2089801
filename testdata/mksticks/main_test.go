package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritesWhatIsAskedForAndSaysSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sticks")
	var out bytes.Buffer
	if err := run([]string{"-out", dir, "damaged", "hidden"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"damaged.img", "hidden.img"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1<<20 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("%d lines, want 2:\n%s", got, &out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, want 2: %v", len(entries), err)
	}
}

func TestWrongUseIsAnError(t *testing.T) {
	for _, args := range [][]string{{}, {"clean"}, {"-out", t.TempDir(), "nonsense"}} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
