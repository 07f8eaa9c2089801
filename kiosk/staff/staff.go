// Package staff says who there is and who may do what: the roster, badges and PINs, and the desk at which a person signs in on
// the station's screen.
//
// # The roster
//
// A roster is a TOML file, one table for each person:
//
//	version = 7                     # grows with each issue of the file
//	issued = "2026-11-22T08:00:00Z" # when that was
//	key = "9f2c41d07b6a5e38"        # names the staff key that badges and PINs below are made with
//
//	[[person]]
//	id = "p-17"                     # stands for the person in nothing but pseudonyms
//	name = "Jane Doe"               # shown to nobody but the person, on the screen
//	uid = 1001                      # the person's user on the stations, for the command line
//	number = "4711"                 # what the person types who has no badge at hand, 3 to 12 digits
//	roles = ["operator"]            # operator, security, auditor, administrator; left out, operator
//	classes = ["general", "imaging"]  # equipment that an operator may clear media for
//	sponsor = true                  # may answer for guests
//	until = "2027-01-31"            # the last day on which the person may do anything
//	badges = ["…32 digits…"]        # keyed digests of what the badges say
//	pin = "1:…32 digits…:…64 digits…"  # argon2id
//	guest = { company = "Acme", order = "WO-1", sponsor = "p-3" }
//
// Nobody may do what the file does not say. Decoding is strict: an unknown key, a person without an id, an id, user, number or
// badge that two people share, one person with roles that no person may have together, a guest without an end, a company, a
// work order or a sponsor, and a file that others than its owner may write are errors, and then nobody may do anything.
//
// A site's roster is signed by those whom the site's trust file names (package kiosk/clearance, "Roster"). What is signed is the
// text that Format writes: people in the order of their ids, keys in the order above, nothing that could be spelled in a second
// way. An unsigned file serves a station that no site enrolled, and that one alone.
//
// # Badges and PINs
//
// What a badge says is a name and no secret: it can be copied by who stands near it. The PIN is the secret, and six digits of it are
// tried through in no time by who holds its digest. So both are kept as digests under the staff key, 32 random bytes that the
// stations of a site share and that are in no roster: who gets a roster can find out neither. Who gets the key too, from a
// station's disk, has argon2id before them, for some days of a processor for each PIN; then the site makes a new key and new PINs.
//
//	badge  HMAC-SHA256(staff key, "badge" ‖ 0 ‖ what it says), the first 16 bytes
//	PIN    argon2id(HMAC-SHA256(staff key, "pin" ‖ 0 ‖ id ‖ 0 ‖ digits), 16 random bytes), 32 bytes; 1 in front names this way
//
// # Trust and limits
//
// The package trusts whoever may write the file or signed it. It says what the roster allows; that the screen or the kernel
// told the truth about who asks is the caller's matter. A roster has at most 10,000 people.
package staff

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrRoster says that a roster cannot be used: nobody may do anything.
var ErrRoster = errors.New("the roster cannot be used")

// Role is what a person is at a station.
type Role string

// The roles.
const (
	Operator      Role = "operator"      // clears media for the equipment of their classes
	Security      Role = "security"      // approves rule packs and exceptions
	Auditor       Role = "auditor"       // reads, exports and discloses the log
	Administrator Role = "administrator" // looks after the station, and after the log as files: backup, erasure
)

// roles is the order in which a file names them.
var roles = []Role{Operator, Security, Auditor, Administrator}

// apart are the roles that no person may have together, and why.
var apart = []struct {
	a, b Role
	why  string
}{
	{Security, Administrator, "who approves rule packs must not administer the log that tells of it"},
	{Security, Auditor, "who approves rule packs must not be the one who audits that"},
}

// Person is one who may do something. The zero Person may do nothing.
type Person struct {
	ID      string   `toml:"id"`
	Name    string   `toml:"name"`
	UID     *uint32  `toml:"uid"`
	Number  string   `toml:"number"`
	Roles   []Role   `toml:"roles"`
	Classes []string `toml:"classes"`
	Sponsor bool     `toml:"sponsor"`
	Until   string   `toml:"until"`
	Badges  []string `toml:"badges"`
	PIN     string   `toml:"pin"`
	Guest   *Guest   `toml:"guest"`
}

// Guest is what there is to know of a person who is not of the house.
type Guest struct {
	Company string `toml:"company"`
	Order   string `toml:"order"`   // of the work that the guest is here for
	Sponsor string `toml:"sponsor"` // id of who answers for the guest
}

// Has reports whether the person has a role.
func (p *Person) Has(r Role) bool { return slices.Contains(p.Roles, r) }

// Label is the person's name for a screen; who has none is shown by id.
func (p *Person) Label() string {
	if p.Name != "" {
		return p.Name
	}
	return p.ID
}

// dayFormat is how the last day is written.
const dayFormat = "2006-01-02"

// Expired reports whether the person's last day is over, by the time in UTC.
func (p *Person) Expired(now time.Time) bool {
	if p.Until == "" {
		return false
	}
	day, err := time.Parse(dayFormat, p.Until)
	return err != nil || !now.Before(day.AddDate(0, 0, 1))
}

// Roster is who there is. The zero Roster is nobody.
type Roster struct {
	Version uint64
	Issued  time.Time // whole seconds; zero for a file that does not say
	KeyID   string    // of the staff key; empty for a file without badges and PINs
	people  []Person
	digest  [32]byte // of what Format writes; zero for nobody
}

// Digest tells one roster from another.
func (r *Roster) Digest() [32]byte { return r.digest }

// People returns everybody, in the order of the file.
func (r *Roster) People() []Person { return slices.Clone(r.people) }

// Len returns how many people there are.
func (r *Roster) Len() int { return len(r.people) }

// ByID finds a person by id.
func (r *Roster) ByID(id string) (Person, bool) {
	return r.find(func(p *Person) bool { return p.ID == id })
}

// ByUID returns who a user is.
func (r *Roster) ByUID(uid uint32) (Person, bool) {
	return r.find(func(p *Person) bool { return p.UID != nil && *p.UID == uid })
}

// byNumber and byBadge find who claims to be there.
func (r *Roster) byNumber(number string) (Person, bool) {
	return r.find(func(p *Person) bool { return number != "" && p.Number == number })
}

func (r *Roster) byBadge(digest string) (Person, bool) {
	return r.find(func(p *Person) bool { return slices.Contains(p.Badges, digest) })
}

func (r *Roster) find(f func(*Person) bool) (Person, bool) {
	for i := range r.people {
		if f(&r.people[i]) {
			return r.people[i], true
		}
	}
	return Person{}, false
}

// Named finds a person as people call them: by id, by name or by number. What fits two people fits nobody.
func (r *Roster) Named(name string) (Person, error) {
	var found []Person
	for _, p := range r.people {
		if p.ID == name {
			return p, nil
		}
		if name != "" && (p.Name == name || p.Number == name) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Person{}, fmt.Errorf("the roster has nobody called %q", name)
	case 1:
		return found[0], nil
	}
	return Person{}, fmt.Errorf("%q fits %d people; give the id", name, len(found))
}

// With returns the roster with a person in the place of the one with that id, or added to it. It is checked as a file is.
func (r Roster) With(p Person) (Roster, error) {
	people := slices.DeleteFunc(slices.Clone(r.people), func(q Person) bool { return q.ID == p.ID })
	r.people = append(people, p)
	return r.sound()
}

// Without returns the roster less a person.
func (r Roster) Without(id string) (Roster, error) {
	people := slices.DeleteFunc(slices.Clone(r.people), func(q Person) bool { return q.ID == id })
	if len(people) == len(r.people) {
		return Roster{}, fmt.Errorf("the roster has nobody with the id %q", id)
	}
	r.people = people
	return r.sound()
}
