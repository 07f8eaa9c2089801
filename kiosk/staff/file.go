package staff

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"
)

// Limits on a roster.
const (
	// MaxFile bounds a roster in bytes: ten thousand people, with a few hundred each.
	MaxFile    = 4 << 20
	maxPeople  = 10_000
	maxText    = 128
	maxWord    = 64 // what the log takes as one word
	maxClasses = 64
	maxBadges  = 4 // the one of last year, the one of today, and a spare
	minNumber  = 3
	maxNumber  = 12
)

// Load reads an unsigned file.
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
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	return Parse(text)
}

// Parse reads a roster's text.
func Parse(text []byte) (Roster, error) {
	if len(text) > MaxFile {
		return Roster{}, fmt.Errorf("%w: it is larger than %d bytes", ErrRoster, MaxFile)
	}
	var file struct {
		Version uint64   `toml:"version"`
		Issued  string   `toml:"issued"`
		Key     string   `toml:"key"`
		Person  []Person `toml:"person"`
	}
	meta, err := toml.Decode(string(text), &file)
	if err != nil {
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Roster{}, fmt.Errorf("%w: unknown key %q", ErrRoster, unknown[0].String())
	}
	for _, key := range meta.Keys() {
		// The library takes a key in capitals for the one in small letters: two lines could give one value.
		if name := key.String(); name != strings.ToLower(name) {
			return Roster{}, fmt.Errorf("%w: unknown key %q: keys are in small letters", ErrRoster, name)
		}
	}
	r := Roster{Version: file.Version, KeyID: file.Key, people: file.Person}
	if file.Issued != "" {
		if r.Issued, err = time.Parse(time.RFC3339, file.Issued); err != nil {
			return Roster{}, fmt.Errorf("%w: issued: want a time such as 2026-11-22T08:00:00Z", ErrRoster)
		}
		r.Issued = r.Issued.UTC().Truncate(time.Second)
	}
	return r.sound()
}

// ParseSigned reads the text of a signed roster, whose signatures the caller has checked: it must be exactly what Format
// writes, have a version, and say when it was issued.
func ParseSigned(text []byte) (Roster, error) {
	r, err := Parse(text)
	switch {
	case err != nil:
		return Roster{}, err
	case r.Version == 0 || r.Issued.IsZero():
		return Roster{}, fmt.Errorf("%w: it says no version, or not when it was issued", ErrRoster)
	case !bytes.Equal(r.Format(), text):
		return Roster{}, fmt.Errorf("%w: it is not written as pratique staff sign writes it", ErrRoster)
	}
	return r, nil
}

// sound checks a roster, and says what is left out. One that is not sound is nobody.
func (r Roster) sound() (Roster, error) {
	r.people = slices.Clone(r.people)
	for i := range r.people {
		if p := &r.people[i]; p.Roles == nil {
			p.Roles = []Role{Operator}
		}
	}
	if err := r.check(); err != nil {
		return Roster{}, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	r.digest = sha256.Sum256(r.Format())
	return r, nil
}

func (r *Roster) check() error {
	if len(r.people) > maxPeople {
		return fmt.Errorf("it has more than %d people", maxPeople)
	}
	if r.KeyID != "" && !isHex(r.KeyID, 8) {
		return fmt.Errorf("key: want the id of a staff key, 16 digits of 0-9 and a-f")
	}
	taken := map[string]string{}
	for i := range r.people {
		p := &r.people[i]
		if p.ID == "" || !isLabel(p.ID) || strings.HasPrefix(p.ID, guestID) {
			return fmt.Errorf("person %d has no id, or one that is too long, cannot be shown or begins with %q", i+1, guestID)
		}
		mine := []string{"id " + p.ID}
		if p.UID != nil {
			mine = append(mine, fmt.Sprintf("user %d", *p.UID))
		}
		if p.Number != "" {
			mine = append(mine, "number "+p.Number)
		}
		for _, b := range p.Badges {
			mine = append(mine, "badge "+b)
		}
		for _, what := range mine {
			if other, ok := taken[what]; ok {
				return fmt.Errorf("%q and %q have the same %s", other, p.ID, what)
			}
			taken[what] = p.ID
		}
		if err := p.check(); err != nil {
			return fmt.Errorf("person %q: %w", p.ID, err)
		}
		if (len(p.Badges) > 0 || p.PIN != "") && r.KeyID == "" {
			return fmt.Errorf("person %q has a badge or a PIN, and the file does not say which staff key it was made with", p.ID)
		}
	}
	for i := range r.people {
		if err := r.checkGuest(&r.people[i]); err != nil {
			return fmt.Errorf("person %q: %w", r.people[i].ID, err)
		}
	}
	return nil
}

func (p *Person) check() error {
	switch {
	case p.Name != "" && !isLabel(p.Name):
		return fmt.Errorf("a name that is too long or cannot be shown")
	case p.Number != "" && (len(p.Number) < minNumber || len(p.Number) > maxNumber || !isDigits(p.Number)):
		return fmt.Errorf("number: want %d to %d digits", minNumber, maxNumber)
	case len(p.Classes) > maxClasses || repeats(p.Classes) || slices.ContainsFunc(p.Classes, func(c string) bool { return !isWord(c) }):
		return fmt.Errorf("too many classes, one that stands there twice, or one that is no word")
	case len(p.Badges) > maxBadges || slices.ContainsFunc(p.Badges, func(b string) bool { return !isHex(b, badgeBytes) }):
		return fmt.Errorf("more than %d badges, or one that pratique staff badge did not make", maxBadges)
	case repeats(p.Roles):
		return fmt.Errorf("a role that stands there twice")
	}
	if p.Until != "" {
		if day, err := time.Parse(dayFormat, p.Until); err != nil || day.Format(dayFormat) != p.Until {
			return fmt.Errorf("until: want a day such as 2027-01-31")
		}
	}
	if p.PIN != "" {
		if _, _, err := parsePIN(p.PIN); err != nil {
			return err
		}
	}
	for _, role := range p.Roles {
		if !slices.Contains(roles, role) {
			return fmt.Errorf("there is no role %q", role)
		}
	}
	for _, pair := range apart {
		if p.Has(pair.a) && p.Has(pair.b) {
			return fmt.Errorf("is %s and %s: %s", pair.a, pair.b, pair.why)
		}
	}
	return nil
}

// checkGuest: a guest is never anonymous, never for ever, and nobody's superior.
func (r *Roster) checkGuest(p *Person) error {
	g := p.Guest
	if g == nil {
		return nil
	}
	sponsor, found := r.ByID(g.Sponsor)
	switch {
	case !isWord(g.Company) || !isWord(g.Order):
		return fmt.Errorf("a guest needs a company and a work order, each one word of letters, digits and . _ - +")
	case !found || !sponsor.Sponsor || sponsor.Guest != nil:
		return fmt.Errorf("a guest needs a sponsor: %q is nobody who may be one", g.Sponsor)
	case p.Until == "":
		return fmt.Errorf("a guest needs a last day (until)")
	case len(p.Roles) != 1 || !p.Has(Operator) || p.Sponsor:
		return fmt.Errorf("a guest is an operator and nothing else")
	}
	return nil
}

// isLabel reports whether a text can be shown on one line: nothing in it controls, reverses or hides.
func isLabel(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// isWord reports whether the log takes it as a word.
func isWord(s string) bool {
	return s != "" && len(s) <= maxWord && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+") == ""
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isHex(s string, bytes int) bool {
	data, err := hex.DecodeString(s)
	return err == nil && len(data) == bytes && s == strings.ToLower(s)
}

func repeats[T comparable](list []T) bool {
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			return true
		}
	}
	return false
}

// Format writes the roster in the one form that is signed.
func (r *Roster) Format() []byte {
	var b bytes.Buffer
	line := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	if r.Version > 0 {
		line("version", fmt.Sprint(r.Version))
	}
	if !r.Issued.IsZero() {
		line("issued", quoted(r.Issued.UTC().Format(time.RFC3339)))
	}
	if r.KeyID != "" {
		line("key", quoted(r.KeyID))
	}
	people := slices.Clone(r.people)
	slices.SortFunc(people, func(a, b Person) int { return cmp.Compare(a.ID, b.ID) })
	for _, p := range people {
		b.WriteString("\n[[person]]\n")
		line("id", quoted(p.ID))
		if p.Name != "" {
			line("name", quoted(p.Name))
		}
		if p.UID != nil {
			line("uid", fmt.Sprint(*p.UID))
		}
		if p.Number != "" {
			line("number", quoted(p.Number))
		}
		var has []string
		for _, role := range roles {
			if p.Has(role) {
				has = append(has, string(role))
			}
		}
		line("roles", list(has))
		if len(p.Classes) > 0 {
			line("classes", list(slices.Sorted(slices.Values(p.Classes))))
		}
		if p.Sponsor {
			line("sponsor", "true")
		}
		if p.Until != "" {
			line("until", quoted(p.Until))
		}
		if len(p.Badges) > 0 {
			line("badges", list(slices.Sorted(slices.Values(p.Badges))))
		}
		if p.PIN != "" {
			line("pin", quoted(p.PIN))
		}
		if g := p.Guest; g != nil {
			line("guest", fmt.Sprintf("{ company = %s, order = %s, sponsor = %s }", quoted(g.Company), quoted(g.Order), quoted(g.Sponsor)))
		}
	}
	return b.Bytes()
}

// quoted writes a TOML string. What check lets pass has nothing in it that needs more than these two.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func list(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, quoted(w))
	}
	return "[" + strings.Join(out, ", ") + "]"
}
