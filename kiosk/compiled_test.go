package kiosk

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/worker"
)

func keep(t *testing.T, name string, key []byte, id [32]byte, content string) {
	t.Helper()
	rules, err := worker.SealCompiled(bytes.NewReader([]byte(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	if err := keepCompiled(name, key, id, rules, int64(len(content))); err != nil {
		t.Fatal(err)
	}
}

// Compiled rules are code for libyara: what this station did not write itself, for exactly this name, is never loaded.
func TestOnlyOwnCompiledRulesAreLoaded(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.yarc")
	key, id := bytes.Repeat([]byte{1}, keyRules), [32]byte{2}
	const content = "compiled rules, as far as this package can tell"
	keep(t, name, key, id, content)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := openCompiled(name, key, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(rules, 0, 1<<20))
	if err != nil || string(got) != content {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := rules.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("what was checked can still be written: %v", err)
	}
	rules.Close()

	refused := func(what string, data []byte, key []byte, id [32]byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if rules, err := openCompiled(name, key, id); err == nil {
			rules.Close()
			t.Errorf("%s is loaded", what)
		}
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s stays in the folder: %v", what, err)
		}
	}
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		refused(fmt.Sprintf("a file with byte %d changed", i), changed, key, id)
		refused(fmt.Sprintf("a file of %d bytes", i), whole[:i], key, id)
	}
	refused("a file with a byte more", append(bytes.Clone(whole), 0), key, id)
	refused("another station's file", whole, bytes.Repeat([]byte{3}, keyRules), id)
	refused("a file under another name: other rules, or another libyara", whole, key, [32]byte{4})

	// Neither is what only looks like a file.
	if err := os.WriteFile(name+".real", whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name+".real", name); err != nil {
		t.Fatal(err)
	}
	if rules, err := openCompiled(name, key, id); err == nil {
		rules.Close()
		t.Error("a link is followed")
	}
	os.Remove(name)
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if rules, err := openCompiled(name, key, id); err == nil {
		rules.Close()
		t.Error("a pipe is loaded")
	}
}

func TestCompiledRulesDependOnEverything(t *testing.T) {
	src := func(parts ...string) (out []worker.Source) {
		for i := 0; i < len(parts); i += 2 {
			out = append(out, worker.Source{Name: parts[i], Text: []byte(parts[i+1])})
		}
		return out
	}
	seen := map[[32]byte]string{}
	for name, id := range map[string][32]byte{
		"one":              rulesID([32]byte{}, src("a", "bc")),
		"another compiler": rulesID([32]byte{1}, src("a", "bc")),
		"another name":     rulesID([32]byte{}, src("ab", "c")),
		"another text":     rulesID([32]byte{}, src("a", "bd")),
		"two":              rulesID([32]byte{}, src("a", "bc", "d", "")),
		"in another order": rulesID([32]byte{}, src("d", "", "a", "bc")),
		"none":             rulesID([32]byte{}, nil),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s share a file", name, other)
		}
		seen[id] = name
	}
}

func TestCompiledRulesAreBounded(t *testing.T) {
	s := &State{dir: t.TempDir(), now: time.Now}
	if err := os.Mkdir(s.path("rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	const n = maxCompiledFiles + 3
	for i := range n {
		name := s.path("rules", hex.EncodeToString([]byte{byte(i)})+compiledSuffix)
		keep(t, name, bytes.Repeat([]byte{1}, keyRules), [32]byte{byte(i)}, "rules")
		used := time.Now().Add(time.Duration(i-n) * time.Hour)
		if err := os.Chtimes(name, used, used); err != nil {
			t.Fatal(err)
		}
	}
	for name, age := range map[string]time.Duration{".new-dead": 2 * compiledLitter, ".new-alive": 0} {
		if err := os.WriteFile(s.path("rules", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(s.path("rules", name), time.Now().Add(-age), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	s.sweepCompiled()
	entries, err := os.ReadDir(s.path("rules"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := "[.new-alive 03.yarc 04.yarc 05.yarc 06.yarc]"; fmt.Sprint(got) != want {
		t.Errorf("left are %v, want %s", got, want)
	}
}
