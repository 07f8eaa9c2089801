package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
	"pratique/kiosk/staff"
)

// rosterFlags say which roster a verb is about.
type rosterFlags struct{ roster, config, state *string }

func (set verbFlags) rosterFlags() rosterFlags {
	return rosterFlags{
		roster: set.String("roster", "", "`FILE` of the roster (default: the one of this station)"),
		config: set.String("config", "", "`FILE` with the configuration"),
		state:  stateFlag(set),
	}
}

// path is the unsigned roster that is meant.
func (f rosterFlags) path() (string, error) {
	if *f.roster != "" {
		return *f.roster, nil
	}
	cfg, err := loadConfig(*f.config)
	if err != nil {
		return "", err
	}
	if cfg.Roster == "" {
		return "", usagef("--roster FILE is missing, and the configuration names none")
	}
	return cfg.Roster, nil
}

// read returns the roster that is meant: a file, signed or not, or what the station goes by.
func (f rosterFlags) read(ctx context.Context) (r staff.Roster, err error) {
	site := false
	if *f.roster == "" {
		if err := withState(ctx, *f.state, func(st *kiosk.State) (err error) {
			if site, err = st.Enrolled(); site && err == nil {
				r, err = st.Roster(ctx)
			}
			return err
		}); err != nil || site {
			return r, err
		}
	}
	name, err := f.path()
	if err != nil {
		return r, err
	}
	return readRoster(name)
}

// readRoster reads a file of a roster. Of a signed one nothing is proved by that.
func readRoster(name string) (staff.Roster, error) {
	data, err := readBounded(name, clearance.MaxRoster)
	if err != nil {
		return staff.Roster{}, err
	}
	if text, err := clearance.RosterText(data); err == nil {
		return staff.ParseSigned(text)
	}
	return staff.Parse(data)
}

func (p *program) staffList(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff list", "", "staff list --roster roster.toml")
	f := set.rosterFlags()
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	r, err := f.read(ctx)
	if err != nil {
		return 0, err
	}
	return exitOK, p.showRoster(&r)
}

func (p *program) showRoster(r *staff.Roster) error {
	w := &errWriter{w: p.stdout}
	w.printf("roster version %d", r.Version)
	if !r.Issued.IsZero() {
		w.printf(" of %s", r.Issued.Format(timeFormat))
	}
	w.printf(", %s\n  content  %s\n", count(uint64(r.Len()), "person", "people"), clearance.RosterWords(r.Format()))
	now := time.Now()
	for _, q := range r.People() {
		w.printf("  %-10s %-20s %s", printable(q.ID), printable(q.Name), rolesText(q.Roles))
		if len(q.Classes) > 0 {
			w.printf(" for %s", printable(strings.Join(q.Classes, ", ")))
		}
		if q.Sponsor {
			w.printf(", sponsor")
		}
		if q.Guest != nil {
			w.printf(", GUEST of %s for %s, sponsor %s", printable(q.Guest.Company), printable(q.Guest.Order), printable(q.Guest.Sponsor))
		}
		if q.UID != nil {
			w.printf(", user %d", *q.UID)
		}
		if n := len(q.Badges); n > 0 {
			w.printf(", %s", count(uint64(n), "badge", "badges"))
		}
		if q.PIN == "" {
			w.printf(", no PIN")
		}
		if q.Until != "" {
			w.printf(", until %s", q.Until)
		}
		if q.Expired(now) {
			w.printf(", EXPIRED")
		}
		w.printf("\n")
	}
	return w.err
}

func rolesText(roles []staff.Role) string {
	var out []string
	for _, r := range roles {
		out = append(out, string(r))
	}
	return strings.Join(out, ", ")
}

// staffCan answers whether a person may do something, and says which rule decides.
func (p *program) staffCan(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff can", "NAME ACTION [CLASS]", `staff can "Jane Doe" clear imaging`)
	f := set.rosterFlags()
	if err := parse(set, args, max(2, min(3, portsGiven(args, set)))); err != nil {
		return 0, err
	}
	action := staff.Action(set.Arg(1))
	if !slices.Contains(staff.Actions(), action) {
		return 0, usagef("staff can: there is no action %q: it is one of %s", action, actionsText())
	}
	r, err := f.read(ctx)
	if err != nil {
		return 0, err
	}
	who, err := r.Named(set.Arg(0))
	if err != nil { // whom nobody knows may do nothing
		_, err := fmt.Fprintf(p.stdout, "no: %s\n", printable(err.Error()))
		return exitNotCleared, err
	}
	answer, why := r.Can(who.ID, action, set.Arg(2), time.Now())
	if _, err := fmt.Fprintf(p.stdout, "%s: %s\n", answer, printable(why)); err != nil {
		return 0, err
	}
	if answer == staff.No {
		return exitNotCleared, nil
	}
	return exitOK, nil
}

func actionsText() string {
	var out []string
	for _, a := range staff.Actions() {
		out = append(out, string(a))
	}
	return strings.Join(out, ", ")
}

func (p *program) staffLint(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff lint", "", "staff lint --roster roster.toml")
	f := set.rosterFlags()
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	r, err := f.read(ctx)
	if errors.Is(err, staff.ErrRoster) {
		_, err := fmt.Fprintf(p.stdout, "REFUSED: %s\n", printable(err.Error()))
		return exitNotCleared, err
	}
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	for _, m := range r.Lint(time.Now()) {
		if m.Person != "" {
			w.printf("%s: ", printable(m.Person))
		}
		w.printf("%s\n", printable(m.Text))
	}
	w.printf("%s, sound\n", count(uint64(r.Len()), "person", "people"))
	return exitOK, w.err
}

// edit changes an unsigned roster. Each change has a version of its own, so that no two texts have the same.
func (f rosterFlags) edit(change func(staff.Roster) (staff.Roster, error)) error {
	name, err := f.path()
	if err != nil {
		return err
	}
	old, err := staff.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = staff.Roster{}, nil
	}
	if err != nil {
		return err
	}
	next, err := change(old)
	if err != nil {
		if errors.Is(err, staff.ErrRoster) {
			return err
		}
		return usagef("%v", err)
	}
	next.Version, next.Issued = old.Version+1, time.Now().UTC().Truncate(time.Second)
	return replaceFile(name, next.Format())
}

func (p *program) staffAdd(_ context.Context, args []string) (int, error) {
	set := p.flags("staff add", "ID", `staff add --roster roster.toml --name "Jane Doe" --number 4711 --class general --class imaging p-17`)
	name := set.String("name", "", "the person's `NAME`, for the screen")
	uid := set.Int64("uid", -1, "the person's `USER` number, for the command line")
	number := set.String("number", "", "what the person types without a badge: 3 to 12 `DIGITS`")
	roles := set.list("role", "`ROLE`: operator (which it is without one), security, auditor or administrator")
	classes := set.list("class", "equipment `CLASS` that an operator may clear media for")
	sponsor := set.Bool("sponsor", false, "may answer for guests")
	until := set.String("until", "", "the last `DAY`, such as 2027-01-31")
	company := set.String("company", "", "of a guest: the `COMPANY`, one word")
	order := set.String("order", "", "of a guest: the work `ORDER`, one word")
	by := set.String("by", "", "of a guest: the `ID` of the sponsor")
	f := set.rosterFlags()
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	given := map[string]bool{}
	set.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	return exitOK, f.edit(func(r staff.Roster) (staff.Roster, error) {
		q, known := r.ByID(set.Arg(0)) // who is there already keeps what no flag is about
		q.ID = set.Arg(0)
		for _, s := range []struct {
			flag string
			set  func()
		}{
			{"name", func() { q.Name = *name }}, {"number", func() { q.Number = *number }}, {"until", func() { q.Until = *until }},
			{"sponsor", func() { q.Sponsor = *sponsor }}, {"class", func() { q.Classes = *classes }},
			{"uid", func() { user := uint32(*uid); q.UID = &user }},
			{"role", func() {
				q.Roles = nil
				for _, role := range *roles {
					q.Roles = append(q.Roles, staff.Role(role))
				}
			}},
			{"company", func() { q.Guest = &staff.Guest{Company: *company, Order: *order, Sponsor: *by} }},
		} {
			if given[s.flag] {
				s.set()
			}
		}
		switch {
		case given["uid"] && (*uid < 0 || *uid > 1<<32-2):
			return r, usagef("staff add: --uid %d is no user", *uid)
		case given["company"] != given["order"] || given["company"] != given["by"]:
			return r, usagef("staff add: a guest takes --company, --order and --by together")
		case known && given["number"] && q.PIN != "":
			fmt.Fprintln(p.stderr, "pratique: note: the PIN stays; give a new one if the new number is in it")
		}
		return r.With(q)
	})
}

func (p *program) staffRemove(_ context.Context, args []string) (int, error) {
	set := p.flags("staff remove", "ID", "staff remove --roster roster.toml p-17")
	f := set.rosterFlags()
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	return exitOK, f.edit(func(r staff.Roster) (staff.Roster, error) { return r.Without(set.Arg(0)) })
}

// staffKeyOf is the key that badges and PINs are made with: a file's, or this station's own. A demonstration gets one on first use;
// a station that belongs to a site is given its key with the roster.
func (p *program) staffKeyOf(ctx context.Context, file, state string) (key staff.Key, err error) {
	if file != "" {
		data, err := readBounded(file, maxSecretFile)
		if err != nil {
			return key, err
		}
		if key, err = staff.ParseKey(data); err != nil {
			return key, usagef("%s: %v", file, err)
		}
		return key, nil
	}
	err = withState(ctx, state, func(st *kiosk.State) (err error) {
		if key, err = st.StaffKey(); err != nil || key != (staff.Key{}) {
			return err
		}
		if site, err := st.Enrolled(); err != nil || site {
			return errors.Join(usagef("--staff-key FILE is missing: this station belongs to a site and has no staff key yet"), err)
		}
		if key, err = staff.NewKey(); err != nil {
			return err
		}
		return st.PutStaffKey(ctx, key, me())
	})
	return key, err
}

// editPerson changes one person's badge or PIN, under the key that the roster's are made with.
func (p *program) editPerson(ctx context.Context, f rosterFlags, keyFile, id string, change func(staff.Key, *staff.Person) error) error {
	key, err := p.staffKeyOf(ctx, keyFile, *f.state)
	if err != nil {
		return err
	}
	return f.edit(func(r staff.Roster) (staff.Roster, error) {
		q, found := r.ByID(id)
		switch {
		case !found:
			return r, usagef("the roster has nobody with the id %q", id)
		case r.KeyID != "" && r.KeyID != key.ID():
			return r, usagef("the badges and PINs of this roster were made with the staff key %s, and this is %s", r.KeyID, key.ID())
		}
		if err := change(key, &q); err != nil {
			return r, err
		}
		r.KeyID = key.ID()
		return r.With(q)
	})
}

func (p *program) staffPIN(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff pin", "ID", "staff pin --roster roster.toml p-17")
	secret := set.String("secret", "", "`FILE` with the PIN (default: ask for it)")
	keyFile := set.String("staff-key", "", "`FILE` of the staff key (default: this station's)")
	f := set.rosterFlags()
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	pin, err := p.secretOf(*secret, fmt.Sprintf("PIN of %s, %d to %d digits", printable(set.Arg(0)), staff.MinPIN, staff.MaxPIN), true)
	if err != nil {
		return 0, err
	}
	return exitOK, p.editPerson(ctx, f, *keyFile, set.Arg(0), func(key staff.Key, q *staff.Person) (err error) {
		q.PIN, err = key.PIN(*q, string(pin))
		return err
	})
}

func (p *program) staffBadge(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff badge", "ID", "staff badge --roster roster.toml p-17")
	says := set.String("says", "", "`FILE` with what the badge says (default: hold it to a reader that types)")
	drop := set.Bool("drop", false, "take all badges of the person away")
	keyFile := set.String("staff-key", "", "`FILE` of the staff key (default: this station's)")
	f := set.rosterFlags()
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *drop {
		return exitOK, f.edit(func(r staff.Roster) (staff.Roster, error) {
			q, found := r.ByID(set.Arg(0))
			if !found {
				return r, usagef("the roster has nobody with the id %q", set.Arg(0))
			}
			q.Badges = nil
			return r.With(q)
		})
	}
	text, err := p.secretOf(*says, "hold the badge to the reader", false)
	if err != nil {
		return 0, err
	}
	return exitOK, p.editPerson(ctx, f, *keyFile, set.Arg(0), func(key staff.Key, q *staff.Person) error {
		digest, err := key.Badge(string(bytes.TrimSpace(text)))
		if err != nil || slices.Contains(q.Badges, digest) {
			return err
		}
		q.Badges = append(slices.Clone(q.Badges), digest)
		return nil
	})
}

func (p *program) staffKey(_ context.Context, args []string) (int, error) {
	set := p.flags("staff key", "FILE", "staff key staff.key")
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	key, err := staff.NewKey()
	if err != nil {
		return 0, err
	}
	if err := writeNew(set.Arg(0), key.Text(), 0o600); err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(p.stdout, "staff key %s: every station of the site gets it once, with its first roster\n", key.ID())
	return exitOK, err
}

// staffSign signs a roster: an unsigned one into --out, or one that others signed already in its place.
func (p *program) staffSign(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff sign", "ROSTER", "staff sign --key office.key --out roster.cbr roster.toml")
	key := set.String("key", "", "`FILE` of your key, as pratique trust key made it")
	agreed := set.String("words", "", "the six `WORDS` of the content, as the others see them (default: ask)")
	out := set.String("out", "", "`FILE` for the signed roster; a roster that is signed already is signed in its place")
	f := set.keyFlags(false)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *key == "" {
		return 0, usagef("staff sign: --key FILE is missing")
	}
	data, err := readBounded(set.Arg(0), clearance.MaxRoster)
	if err != nil {
		return 0, err
	}
	into := set.Arg(0)
	text, err := clearance.RosterText(data)
	if err != nil { // not signed yet
		if *out == "" {
			return 0, usagef("staff sign: --out FILE is missing")
		}
		r, err := staff.Parse(data)
		if err != nil {
			return 0, err
		}
		if r.Version == 0 || r.Issued.IsZero() {
			return 0, usagef("staff sign: the roster says no version, or not when it was issued: pratique staff add, and every other change, writes both")
		}
		into, text = *out, r.Format()
		if data, err = clearance.DraftRoster(text); err != nil {
			return 0, err
		}
	}
	r, err := staff.ParseSigned(text)
	if err != nil {
		return 0, err
	}
	if err := p.showRoster(&r); err != nil {
		return 0, err
	}
	if *agreed == "" {
		if *agreed, err = p.askWords(); err != nil {
			return 0, err
		}
	}
	if !clearance.SameWords(*agreed, clearance.RosterWords(text)) {
		return 0, fmt.Errorf("%w: these are not the words of this roster; nothing was signed", kiosk.ErrRoster)
	}
	boxed, err := readBounded(*key, 16<<10)
	if err != nil {
		return 0, err
	}
	box, err := keys.Parse(boxed)
	if err != nil {
		return 0, err
	}
	if _, err := box.RootKey(); err != nil {
		return 0, err
	}
	o, err := p.openBox(ctx, box, f)
	if err != nil {
		return 0, err
	}
	defer o.Close()
	signed, err := clearance.CountersignRoster(data, o.Signer)
	if err != nil {
		return 0, err
	}
	if err := replaceFile(into, signed); err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(p.stdout, "signed by %s: %s\n", printable(box.Name), into)
	return exitOK, err
}

func (p *program) staffInstall(ctx context.Context, args []string) (int, error) {
	set := p.flags("staff install", "ROSTER", "staff install --staff-key staff.key roster.cbr")
	keyFile := set.String("staff-key", "", "`FILE` of the site's staff key; a station needs it once")
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	data, err := readBounded(set.Arg(0), clearance.MaxRoster)
	if err != nil {
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		if *keyFile != "" {
			key, err := p.staffKeyOf(ctx, *keyFile, *state)
			if err != nil {
				return err
			}
			if err := st.PutStaffKey(ctx, key, me()); err != nil {
				return err
			}
		}
		r, err := st.InstallRoster(ctx, data, me())
		if err != nil {
			return err
		}
		if key, err := st.StaffKey(); err != nil || key.ID() != r.KeyID {
			fmt.Fprintf(p.stderr, "pratique: note: the roster's badges and PINs are made with the staff key %s, which this station does not have: nobody can sign in at the screen\n", r.KeyID)
		}
		_, err = fmt.Fprintf(p.stdout, "roster version %d of %s is in force: %s\n", r.Version, r.Issued.Format(timeFormat), count(uint64(r.Len()), "person", "people"))
		return err
	})
}
