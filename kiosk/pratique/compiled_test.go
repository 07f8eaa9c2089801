package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The first screening compiles, the next does not, and what somebody puts into the folder changes no verdict.
func TestCompiledRulesAreKeptAndNotBelieved(t *testing.T) {
	state, other := t.TempDir(), t.TempDir()
	kept := func(state string) (name string, data []byte) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(state, "rules", "*.yarc"))
		if err != nil || len(names) != 1 {
			t.Fatalf("%v, %v", names, err)
		}
		if data, err = os.ReadFile(names[0]); err != nil {
			t.Fatal(err)
		}
		return names[0], data
	}
	screen := func(state string) {
		t.Helper()
		if code, _, words := run(t, "pratique", "screen", "--state", state, sample("infected")); code != 3 {
			t.Fatalf("exit %d: %s", code, words)
		}
	}
	screen(state)
	name, first := kept(state)
	old, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	screen(state)
	if _, second := kept(state); !bytes.Equal(first, second) {
		t.Error("the rules were compiled again")
	}
	if now, err := os.Stat(name); err != nil || !os.SameFile(old, now) {
		t.Errorf("the file was written again: %v", err)
	}

	screen(other)
	_, foreign := kept(other)
	changed := bytes.Clone(first)
	changed[len(changed)/2] ^= 0xFF
	for what, data := range map[string][]byte{"nothing": nil, "a changed byte": changed, "half of it": first[:len(first)/2], "another station's": foreign} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		screen(state)
		if _, again := kept(state); bytes.Equal(again, data) || len(again) != len(first) {
			t.Errorf("%s is still there", what)
		}
	}
}
