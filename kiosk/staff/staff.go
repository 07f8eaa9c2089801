// Package staff reads the roster: who may ask for clearances, and for which equipment.
//
// The roster is a TOML file, one table for each person:
//
//	[[person]]
//	id = "p-17"                     # stands for the person in nothing but pseudonyms
//	name = "Jane Doe"               # for whoever keeps the file
//	uid = 1001                      # the person's user on this machine, for the command line
//	classes = ["general", "imaging"]
//
// Nobody may do what the file does not say. Decoding is strict: an unknown key, a person without an id, a user or an id that
// two people share, and a file that others than its owner may write are errors, and then nobody may do anything.
//
// The package trusts whoever may write the file. Badges come later, as another key beside uid.
package staff

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"
)

// Limits on a roster.
const (
	maxFile    = 4 << 20 // a large hospital has ten thousand people, with a few hundred bytes each
	maxText    = 128
	maxClasses = 64
)

// ErrRoster says that a roster cannot be used: nobody may clear anything.
var ErrRoster = errors.New("the roster cannot be used")

// Person is one who may ask for clearances. The zero Person may not.
type Person struct {
	ID      string   `toml:"id"`
	Name    string   `toml:"name"`
	UID     *uint32  `toml:"uid"`
	Classes []string `toml:"classes"`
}

// Roster is who there is. The zero Roster is nobody.
type Roster struct{ people []Person }

// Load reads a file.
func Load(path string) (Roster, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO in its place must not make the station wait
	if err != nil {
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	case !info.Mode().IsRegular():
		return Roster{}, fmt.Errorf("%w: it is not a file", ErrRoster)
	case info.Mode().Perm()&0o022 != 0:
		return Roster{}, fmt.Errorf("%w: others than its owner may write it (want mode 0640 or less)", ErrRoster)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	return Parse(text)
}

// Parse reads a roster's text.
func Parse(text []byte) (Roster, error) {
	if len(text) > maxFile {
		return Roster{}, fmt.Errorf("%w: it is larger than %d bytes", ErrRoster, maxFile)
	}
	var file struct {
		Person []Person `toml:"person"`
	}
	meta, err := toml.Decode(string(text), &file)
	if err != nil {
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Roster{}, fmt.Errorf("%w: unknown key %q", ErrRoster, unknown[0].String())
	}
	ids, users := map[string]bool{}, map[uint32]bool{}
	for i, p := range file.Person {
		switch {
		case p.ID == "" || len(p.ID) > maxText || len(p.Name) > maxText:
			return Roster{}, fmt.Errorf("%w: person %d has no id, or one that is too long", ErrRoster, i+1)
		case ids[p.ID]:
			return Roster{}, fmt.Errorf("%w: two people have the id %q", ErrRoster, p.ID)
		case p.UID != nil && users[*p.UID]:
			return Roster{}, fmt.Errorf("%w: two people are the user %d", ErrRoster, *p.UID)
		case len(p.Classes) > maxClasses || slices.Contains(p.Classes, ""):
			return Roster{}, fmt.Errorf("%w: person %q has too many classes, or one without a name", ErrRoster, p.ID)
		}
		ids[p.ID] = true
		if p.UID != nil {
			users[*p.UID] = true
		}
	}
	return Roster{file.Person}, nil
}

// ByUID returns who a user is.
func (r *Roster) ByUID(uid uint32) (Person, bool) {
	for _, p := range r.people {
		if p.UID != nil && *p.UID == uid {
			return p, true
		}
	}
	return Person{}, false
}

// Len returns how many people there are.
func (r *Roster) Len() int { return len(r.people) }
