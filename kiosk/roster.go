package kiosk

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/staff"
)

// ErrRoster says that a roster was not taken, or that there is none that could be.
var ErrRoster = errors.New("the roster is refused")

const (
	rosterName   = "roster.cbr"
	staffKeyName = "key/staff"
	delaysName   = "sign-in"
	maxDelays    = 64 << 10 // more than package staff writes
)

// Roster is the site's roster: signed by those whom the trust file names, not older than that file asks for, and the one that
// the log knows of. A station that belongs to a site takes no other.
func (s *State) Roster(ctx context.Context) (staff.Roster, error) {
	refused := func(err error) (staff.Roster, error) { return staff.Roster{}, fmt.Errorf("%w: %w", ErrRoster, err) }
	data, err := readSmall(s.path(rosterName), clearance.MaxRoster)
	if err != nil {
		return refused(err)
	}
	r, digest, err := s.checkRoster(data)
	if err != nil {
		return refused(err)
	}
	version, known, err := s.installed(ctx, rosterInstalled)
	switch {
	case err != nil:
		return staff.Roster{}, err
	case r.Version != version || digest != known:
		return refused(fmt.Errorf("the log knows version %d, and another is in its place", version))
	}
	return r, nil
}

// rosterInstalled is the log's word for it.
const rosterInstalled = "roster-installed"

// checkRoster holds a roster against the trust file.
func (s *State) checkRoster(data []byte) (r staff.Roster, digest [32]byte, err error) {
	t, err := s.Trust()
	if err != nil {
		return r, digest, err
	}
	if t == nil {
		return r, digest, errors.New("there is no trust file that says who signs it")
	}
	text, err := t.Roster.OpenRoster(data)
	if err != nil {
		return r, digest, err
	}
	if r, err = staff.ParseSigned(text); err != nil {
		return staff.Roster{}, digest, err
	}
	if r.Version < t.Roster.Least {
		return staff.Roster{}, digest, fmt.Errorf("version %d is older than version %d, which the trust file asks for", r.Version, t.Roster.Least)
	}
	return r, r.Digest(), nil
}

// InstallRoster puts a roster in force. As with a trust file the log learns of it first: a crash then leaves a log that names a
// newer roster than there is, and nobody may do anything until it is installed again.
func (s *State) InstallRoster(ctx context.Context, data []byte, person string) (staff.Roster, error) {
	refused := func(err error) (staff.Roster, error) { return staff.Roster{}, fmt.Errorf("%w: %w", ErrRoster, err) }
	unlock, err := s.lock(ctx)
	if err != nil {
		return staff.Roster{}, err
	}
	defer unlock()
	r, digest, err := s.checkRoster(data)
	if err != nil {
		return refused(err)
	}
	version, known, err := s.installed(ctx, rosterInstalled)
	switch {
	case err != nil:
		return staff.Roster{}, err
	case r.Version < version || r.Version == version && digest != known:
		return refused(fmt.Errorf("version %d is not newer than version %d, which this station had", r.Version, version))
	case r.Version > version: // else the same once more, perhaps after a crash
		if err := s.administered(ctx, audit.Administered{What: rosterInstalled, Number: r.Version, Digest: digest}, person); err != nil {
			return staff.Roster{}, err
		}
	}
	if err := s.step("roster"); err != nil {
		return staff.Roster{}, err
	}
	return r, s.write(rosterName, data, 0o600) // names of people: for nobody else
}

// RosterStamp is another text whenever the roster in the state, or what it is held against, may have changed.
func (s *State) RosterStamp() string { return s.stamp(rosterName, trustName, staffKeyName) }

// StaffKey is the key that badges and PINs are digests under; the zero key if the station has none.
func (s *State) StaffKey() (staff.Key, error) {
	if _, err := os.Lstat(s.path(staffKeyName)); errors.Is(err, fs.ErrNotExist) {
		return staff.Key{}, nil
	}
	data, err := s.secret(staffKeyName, func() ([]byte, error) { return nil, fs.ErrNotExist })
	if err != nil {
		return staff.Key{}, err
	}
	key, err := staff.ParseKey(data)
	if err != nil {
		return staff.Key{}, fmt.Errorf("%w: %s: %w", ErrState, staffKeyName, err)
	}
	return key, nil
}

// PutStaffKey gives the station the site's staff key.
func (s *State) PutStaffKey(ctx context.Context, key staff.Key, person string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if old, err := s.StaffKey(); err == nil && old == key {
		return nil
	}
	if err := s.administered(ctx, audit.Administered{What: "staff-key", Reason: audit.Word(key.ID())}, person); err != nil {
		return err
	}
	return s.write(staffKeyName, key.Text(), 0o600)
}

// Delays is what is known of wrong PINs, as package staff keeps it; nil before the first one.
func (s *State) Delays() ([]byte, error) {
	data, err := readSmall(s.path(delaysName), maxDelays)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrState, delaysName, err)
	}
	return data, nil
}

// SaveDelays keeps it, so that nobody gains by pulling the plug.
func (s *State) SaveDelays(data []byte) error { return s.write(delaysName, data, 0o600) }

// Slowed enters that somebody gives one wrong PIN after the other. who is a digest that stands for the badge, number or person.
func (s *State) Slowed(ctx context.Context, who [16]byte, mistakes int) error {
	return s.administered(ctx, audit.Administered{What: "wrong-pins", Number: uint64(mistakes)}, "sign-in:"+hex.EncodeToString(who[:]))
}

// GuestCame enters that somebody answers for a guest.
func (s *State) GuestCame(ctx context.Context, guest, sponsor string, g staff.Guest) error {
	ev := audit.Guest{Person: s.pseudonym(personOf(guest)), Sponsor: s.pseudonym(personOf(sponsor)), Company: audit.Word(g.Company), Order: audit.Word(g.Order)}
	_, err := s.log.AppendNamed(ctx, audit.Event{Data: ev}, audit.Named{Person: personOf(sponsor)})
	if err != nil {
		return logError(err)
	}
	return nil
}

// personOf is what a person of the roster has a pseudonym for.
func personOf(id string) string { return "person:" + id }
