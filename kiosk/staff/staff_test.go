package staff

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const sound = `
[[person]]
id = "p-1"
name = "Jane Doe"
uid = 0
classes = ["general", "imaging"]
[[person]]
id = "p-2"
`

func TestTheRosterSaysWhoMayWhat(t *testing.T) {
	r, err := Parse([]byte(sound))
	if err != nil || r.Len() != 2 {
		t.Fatal(r, err)
	}
	p, ok := r.ByUID(0)
	if !ok || p.ID != "p-1" || strings.Join(p.Classes, " ") != "general imaging" {
		t.Errorf("%+v", p)
	}
	if p, ok := r.ByUID(1); ok { // the one without a user is nobody's user
		t.Errorf("%+v", p)
	}
	var nobody Roster
	if _, ok := nobody.ByUID(0); ok {
		t.Error("an empty roster knows somebody")
	}
}

func TestT18_ARosterWithAMistakeIsNobody(t *testing.T) {
	for name, text := range map[string]string{
		"not TOML":           "[[person",
		"an unknown key":     "[[person]]\nid = \"a\"\nadmin = true\n",
		"an unknown table":   "[boss]\nid = \"a\"\n",
		"no id":              "[[person]]\nuid = 1\n",
		"an id twice":        "[[person]]\nid = \"a\"\n[[person]]\nid = \"a\"\n",
		"a user twice":       "[[person]]\nid = \"a\"\nuid = 1\n[[person]]\nid = \"b\"\nuid = 1\n",
		"a negative user":    "[[person]]\nid = \"a\"\nuid = -1\n",
		"a user too large":   "[[person]]\nid = \"a\"\nuid = 4294967296\n",
		"a class of no name": "[[person]]\nid = \"a\"\nclasses = [\"\"]\n",
		"a long id":          "[[person]]\nid = \"" + strings.Repeat("a", maxText+1) + "\"\n",
		"too large":          strings.Repeat("#", MaxFile+1),
	} {
		if r, err := Parse([]byte(text)); !errors.Is(err, ErrRoster) || r.Len() != 0 {
			t.Errorf("%s: %v, %d people", name, err, r.Len())
		}
	}
}

func TestAFileThatOthersMayWriteIsRefused(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "roster.toml")
	for mode, ok := range map[fs.FileMode]bool{0o600: true, 0o640: true, 0o644: true, 0o660: false, 0o602: false} {
		if err := errors.Join(os.WriteFile(name, []byte(sound), 0o600), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(name); (err == nil) != ok || err != nil && !errors.Is(err, ErrRoster) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, filepath.Join(dir, "none")} {
		if _, err := Load(path); !errors.Is(err, ErrRoster) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil && r.Len() != 0 {
			t.Error("people beside an error")
		}
		for _, p := range r.people {
			if p.ID == "" {
				t.Error("somebody without an id")
			}
		}
	})
}
