package kiosk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pratique/rules"
	"pratique/rules/blocklist"
)

var listHashes = flag.Int("list-hashes", 20_000, "hashes of the list in the test of a session's start; make bench does 1,000,000 and 10,000,000")

// hashes is a list of n hashes, one for each number from first on.
func hashes(first, n int) []byte {
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, "%x\n", hashOf(first+i))
	}
	return text.Bytes()
}

func hashOf(i int) [32]byte { return sha256.Sum256(fmt.Append(nil, "hash ", i)) }

// kept lists the files of compiled lists in a state's folder.
func keptLists(t testing.TB, s *State) []string {
	t.Helper()
	names, err := filepath.Glob(s.path("rules", "*"+listSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// has opens a pack's list as scanworker does, and looks a hash up.
func has(t testing.TB, s *State, p rules.Pack, sum [32]byte) bool {
	t.Helper()
	f, err := s.list(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := blocklist.OpenFile(f)
	if err != nil {
		t.Fatal(err)
	}
	return l.Has(blocklist.SHA256, sum[:])
}

// Compiling ten million hashes for each stick would keep people waiting at the kiosk.
func TestALargeListIsCompiledOnceForAllSessions(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	p := pack(t)
	p.Lists = append(p.Lists, hashes(0, *listHashes))
	held := func() time.Duration {
		began := time.Now()
		f, err := s.list(p)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		return time.Since(began)
	}
	timed := func(what string) time.Duration {
		t.Helper()
		took := held()
		if *listHashes >= 1_000_000 {
			fmt.Printf("bench list-seconds-%s-%dm %.3f\n", what, *listHashes/1_000_000, took.Seconds())
		}
		return took
	}
	first, again := timed("compiled"), timed("held")
	for range 3 { // what else runs on this machine must not decide
		again = min(again, held())
	}
	if again > first/2 {
		t.Errorf("the first session waits %v, the next %v", first, again)
	}
	if names := keptLists(t, s); len(names) != 1 {
		t.Fatal(names)
	}
	s.Close()
	s = openState(t, dir)
	timed("kept")
	if !has(t, s, p, hashOf(*listHashes-1)) || has(t, s, p, hashOf(-1)) {
		t.Error("the kept list is another one")
	}
}

// A list that lacks a hash lets something harmful pass: none is used that this station did not make of these very texts.
func TestOnlyOwnListsAreUsed(t *testing.T) {
	p, q := rules.Pack{Lists: [][]byte{hashes(0, 20_000)}}, rules.Pack{Lists: [][]byte{hashes(1, 20_000)}}
	dir := t.TempDir()
	s := openState(t, dir)
	if !has(t, s, p, hashOf(0)) || has(t, s, q, hashOf(0)) || !has(t, s, q, hashOf(20_000)) {
		t.Fatal("two packs, one list")
	}
	again := func() *State {
		s.Close()
		s = openState(t, dir)
		return s
	}
	poor := keptListOf(t, s, p) // p's name, with the content of q: it lacks a hash
	data, err := os.ReadFile(keptListOf(t, s, q))
	if err == nil {
		err = os.WriteFile(poor, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !has(t, again(), p, hashOf(0)) {
		t.Error("a list is used that lacks a hash")
	}
	for what, spoil := range map[string]func(string) error{
		"one byte":  func(name string) error { return flip(name) },
		"cut short": func(name string) error { return os.Truncate(name, 1000) },
		"empty":     func(name string) error { return os.Truncate(name, 0) },
		"a link": func(name string) error {
			return errors.Join(os.Rename(name, filepath.Join(dir, "x")), os.Symlink(filepath.Join(dir, "x"), name))
		},
		"a folder": func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
		"another key": func(string) error {
			return os.WriteFile(filepath.Join(dir, "key", "rules"), make([]byte, keyRules), 0o600)
		},
		"another proof": func(name string) error { return os.Rename(name, name[:len(name)-len(listSuffix)-4]+"0000"+listSuffix) },
	} {
		if err := spoil(keptListOf(t, s, p)); err != nil {
			t.Fatal(what, err)
		}
		if !has(t, again(), p, hashOf(0)) || !has(t, s, p, hashOf(19_999)) {
			t.Errorf("%s: a list is used that lacks a hash", what)
		}
		if names := keptLists(t, s); len(names) > maxListFiles {
			t.Errorf("%s: %d lists are kept", what, len(names))
		}
	}
	// Texts that only together say the same are another list, and old ones make room.
	for i := range 4 {
		has(t, s, rules.Pack{Lists: [][]byte{hashes(i, 20_000), hashes(30_000, i)}}, hashOf(0))
	}
	if names := keptLists(t, s); len(names) != maxListFiles {
		t.Errorf("%d lists are kept", len(names))
	}
	if left, err := filepath.Glob(s.path("rules", ".new-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// keptListOf is the file of a pack's list, which is made if it is not there.
func keptListOf(t testing.TB, s *State, p rules.Pack) string {
	t.Helper()
	key, err := s.rulesKey()
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.compiledList(p.Lists)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id := listID(p.Lists)
	proof, err := vouchList(key, id, f)
	if err != nil {
		t.Fatal(err)
	}
	name := s.path("rules", fmt.Sprintf("%x-%x%s", id, proof, listSuffix))
	if _, err := os.Lstat(name); err != nil {
		t.Fatal(err)
	}
	return name
}

func flip(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(name, data, 0o600)
}

func TestSmallListsAreNotKept(t *testing.T) {
	s := openState(t, t.TempDir())
	if !has(t, s, rules.Pack{Lists: [][]byte{hashes(0, 10)}}, hashOf(9)) {
		t.Error("a hash is missing")
	}
	if left, err := os.ReadDir(s.path("rules")); err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
	if _, err := s.list(rules.Pack{Lists: [][]byte{[]byte("no hash\n")}}); !errors.Is(err, ErrRules) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(s.path("rules")); err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
}
