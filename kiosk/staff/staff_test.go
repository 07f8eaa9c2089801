package staff

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
	f.Add([]byte(everyRole))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil && r.Len() != 0 {
			t.Error("people beside an error")
		}
		for _, p := range r.people {
			if p.ID == "" || len(p.Roles) == 0 {
				t.Error("somebody without an id or a role")
			}
		}
		if err != nil {
			return
		}
		again, err := Parse(r.Format())
		if err != nil || !bytes.Equal(again.Format(), r.Format()) || again.Digest() != r.Digest() {
			t.Errorf("what was written is not what is read: %v\n%s", err, r.Format())
		}
	})
}

// everyRole has one person for each role, guests and an expired one.
const everyRole = `
[[person]]
id = "nurse"
name = "Nora Nurse"
classes = ["general", "imaging"]
sponsor = true
[[person]]
id = "officer"
roles = ["security"]
[[person]]
id = "auditor"
roles = ["auditor"]
[[person]]
id = "admin"
roles = ["administrator"]
[[person]]
id = "both"
roles = ["operator", "security"]
classes = ["general"]
[[person]]
id = "keeper"
roles = ["auditor", "administrator"]
[[person]]
id = "guest"
classes = ["general", "infusion"]
until = "2099-01-01"
guest = { company = "Acme", order = "WO-1", sponsor = "nurse" }
[[person]]
id = "gone"
roles = ["operator", "administrator"]
classes = ["general"]
sponsor = true
until = "2026-01-31"
`

// TestT18_EachRoleMayWhatTheTableSays is the policy, written down a second time: who may do each thing, and everybody else may not.
func TestT18_EachRoleMayWhatTheTableSays(t *testing.T) {
	r, err := Parse([]byte(everyRole))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	table := map[string]string{
		"clear general": "nurse both guest+", "clear imaging": "nurse", "clear infusion": "", "clear kitchen": "",
		"override general": "nurse officer both", "override imaging": "nurse officer both", "override infusion": "officer both",
		"sponsor": "nurse", "install": "officer both admin keeper", "approve": "officer both", "read-log": "auditor keeper", "export-log": "auditor keeper",
		"disclose": "auditor admin keeper", "erase-log": "admin keeper", "incident": "officer both admin keeper", "administer": "admin keeper", "fly": "", "": "",
		"clear": "", "install general": "",
	}
	asked := map[Action]bool{}
	for what, may := range table {
		action, class, _ := strings.Cut(what, " ")
		asked[Action(action)] = true
		for _, p := range append(r.People(), Person{ID: "stranger"}, Person{}) {
			want := No
			for _, word := range strings.Fields(may) {
				switch word {
				case p.ID:
					want = Yes
				case p.ID + "+":
					want = WithSponsor
				}
			}
			got, why := r.Can(p.ID, Action(action), class, now)
			if got != want || why == "" {
				t.Errorf("%s %s: %v (%s), want %v", p.ID, what, got, why, want)
			}
		}
	}
	for _, a := range Actions() {
		if !asked[a] {
			t.Errorf("no row for %s", a)
		}
	}
	// The last day counts to its end; a sponsor who is gone answers for nobody.
	for at, want := range map[string]Answer{"2026-01-31T23:59:59Z": Yes, "2026-02-01T00:00:00Z": No} {
		when, _ := time.Parse(time.RFC3339, at)
		if got, why := r.Can("gone", Clear, "general", when); got != want {
			t.Errorf("%s: %v %s", at, got, why)
		}
	}
	without, err := Parse([]byte(strings.Replace(everyRole, "sponsor = true", "sponsor = true\nuntil = \"2026-11-21\"", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got, why := without.Can("guest", Clear, "general", now); got != No {
		t.Errorf("a guest whose sponsor is gone: %v %s", got, why)
	}
	var nobody Roster
	if got, _ := nobody.Can("", Clear, "general", now); got != No {
		t.Error("nobody may")
	}
}

func TestT18_RolesThatNoPersonMayHaveTogether(t *testing.T) {
	for _, pair := range []string{`"security", "administrator"`, `"security", "auditor"`, `"operator", "administrator", "security"`} {
		_, err := Parse([]byte("[[person]]\nid = \"a\"\nroles = [" + pair + "]\n"))
		if !errors.Is(err, ErrRoster) || !strings.Contains(err.Error(), `person "a": is security and`) {
			t.Errorf("%s: %v", pair, err)
		}
	}
}

func TestT18_ARosterWithAWrongPersonIsNobody(t *testing.T) {
	badge, pin := strings.Repeat("ab", badgeBytes), "1:"+strings.Repeat("ab", saltBytes)+":"+strings.Repeat("cd", pinBytes)
	sponsor := "[[person]]\nid = \"s\"\nsponsor = true\n"
	for name, text := range map[string]string{
		"an unknown role":             "[[person]]\nid = \"a\"\nroles = [\"boss\"]\n",
		"a role twice":                "[[person]]\nid = \"a\"\nroles = [\"operator\", \"operator\"]\n",
		"a key in capitals":           "[[person]]\nid = \"a\"\nROLES = [\"security\"]\n",
		"a guest's id":                "[[person]]\nid = \"guest:Acme:WO-1\"\n",
		"a number of letters":         "[[person]]\nid = \"a\"\nnumber = \"47a1\"\n",
		"a short number":              "[[person]]\nid = \"a\"\nnumber = \"47\"\n",
		"a number twice":              "[[person]]\nid = \"a\"\nnumber = \"4711\"\n[[person]]\nid = \"b\"\nnumber = \"4711\"\n",
		"a day that is none":          "[[person]]\nid = \"a\"\nuntil = \"2026-02-30\"\n",
		"a name that hides":           "[[person]]\nid = \"a\"\nname = \"Jane\u202eeoD\"\n",
		"an id that moves the cursor": "[[person]]\nid = \"a\\u001b[2J\"\n",
		"a class of two words":        "[[person]]\nid = \"a\"\nclasses = [\"a b\"]\n",
		"a badge that says itself":    "key = \"0011223344556677\"\n[[person]]\nid = \"a\"\nbadges = [\"04A2B1\"]\n",
		"a badge of two":              "key = \"0011223344556677\"\n[[person]]\nid = \"a\"\nbadges = [\"" + badge + "\"]\n[[person]]\nid = \"b\"\nbadges = [\"" + badge + "\"]\n",
		"a badge without a key":       "[[person]]\nid = \"a\"\nbadges = [\"" + badge + "\"]\n",
		"a PIN without a key":         "[[person]]\nid = \"a\"\npin = \"" + pin + "\"\n",
		"a PIN in clear":              "key = \"0011223344556677\"\n[[person]]\nid = \"a\"\npin = \"482915\"\n",
		"a PIN of another way":        "key = \"0011223344556677\"\n[[person]]\nid = \"a\"\npin = \"2" + pin[1:] + "\"\n",
		"a key that is none":          "key = \"secret\"\n",
		"a time that is none":         "issued = \"yesterday\"\n",
		"a guest without an end":      sponsor + "[[person]]\nid = \"g\"\nguest = { company = \"A\", order = \"1\", sponsor = \"s\" }\n",
		"a guest of nobody":           sponsor + "[[person]]\nid = \"g\"\nuntil = \"2099-01-01\"\nguest = { company = \"A\", order = \"1\", sponsor = \"x\" }\n",
		"a guest without a company":   sponsor + "[[person]]\nid = \"g\"\nuntil = \"2099-01-01\"\nguest = { order = \"1\", sponsor = \"s\" }\n",
		"a guest without an order":    sponsor + "[[person]]\nid = \"g\"\nuntil = \"2099-01-01\"\nguest = { company = \"A\", sponsor = \"s\" }\n",
		"a guest of the team":         sponsor + "[[person]]\nid = \"g\"\nuntil = \"2099-01-01\"\nroles = [\"security\"]\nguest = { company = \"A\", order = \"1\", sponsor = \"s\" }\n",
		"a guest who sponsors":        sponsor + "[[person]]\nid = \"g\"\nuntil = \"2099-01-01\"\nsponsor = true\nguest = { company = \"A\", order = \"1\", sponsor = \"s\" }\n",
		"a sponsor who is none":       "[[person]]\nid = \"s\"\n[[person]]\nid = \"g\"\nuntil = \"2099-01-01\"\nguest = { company = \"A\", order = \"1\", sponsor = \"s\" }\n",
	} {
		if r, err := Parse([]byte(text)); !errors.Is(err, ErrRoster) || r.Len() != 0 || r.Digest() != [32]byte{} {
			t.Errorf("%s: %v, %d people", name, err, r.Len())
		}
	}
}

// What is signed has one spelling.
func TestASignedRosterIsExactlyWhatFormatWrites(t *testing.T) {
	r := crew(t)
	r.Version, r.Issued = 7, time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	odd, err := r.With(Person{ID: `a"b\c`, Name: `Ünal "the \" Öz`, UID: new(uint32)})
	if err != nil {
		t.Fatal(err)
	}
	text := odd.Format()
	got, err := ParseSigned(text)
	if err != nil || !bytes.Equal(got.Format(), text) || got.Version != 7 || got.Digest() == r.Digest() {
		t.Fatalf("%v\n%s", err, text)
	}
	if p, ok := got.ByID(`a"b\c`); !ok || p.Name != `Ünal "the \" Öz` || *p.UID != 0 {
		t.Errorf("%+v", p)
	}
	for name, other := range map[string]string{
		"a comment": string(text) + "# x\n", "a blank line more": string(text) + "\n", "other quotes": strings.Replace(string(text), `"Jane Doe"`, `'Jane Doe'`, 1),
		"no version": strings.Replace(string(text), "version = 7\n", "", 1), "version 0": strings.Replace(string(text), "version = 7\n", "version = 0\n", 1),
		"no time": strings.Replace(string(text), "issued = \"2026-11-22T08:00:00Z\"\n", "", 1), "another zone": strings.Replace(string(text), "08:00:00Z", "09:00:00+01:00", 1),
		"people in another order": strings.Replace(string(text), `"p-1"`, `"zz"`, 1),
	} {
		if got, err := ParseSigned([]byte(other)); !errors.Is(err, ErrRoster) || got.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLintSaysWhatACarefulPersonWouldChange(t *testing.T) {
	r, err := Parse([]byte(everyRole))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(r.Lint(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)))
	for _, want := range []string{"gone The last day", "keeper An auditor who has another role", "nurse There is no user"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
	if len((&Roster{}).Lint(time.Now())) != 3 {
		t.Error("an empty roster")
	}
}

func TestAPersonIsFoundAsPeopleCallThem(t *testing.T) {
	r := crew(t)
	for _, name := range []string{"p-1", "Jane Doe", "4711"} {
		if p, err := r.Named(name); err != nil || p.ID != "p-1" {
			t.Errorf("%s: %v", name, err)
		}
	}
	twice, err := r.With(Person{ID: "p-9", Name: "Jane Doe"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Jane Doe", "nobody", ""} {
		if p, err := twice.Named(name); err == nil {
			t.Errorf("%q is %s", name, p.ID)
		}
	}
	if _, err := r.Without("p-1"); err == nil {
		t.Error("the sponsor of a guest was taken out")
	}
}
