package kiosk

import (
	"crypto/ecdsa"
	"errors"
	"os"
	"testing"
	"time"

	"pratique/kiosk/clearance"
	"pratique/kiosk/staff"
)

// office is who signs a site's rosters.
type office struct{ key *ecdsa.PrivateKey }

func newOffice(t *testing.T) office {
	t.Helper()
	key, err := clearance.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	return office{key}
}

func (o office) rule(least uint64) func(*clearance.Trust) {
	return func(f *clearance.Trust) {
		f.Roster = clearance.RosterRule{Keys: []*ecdsa.PublicKey{&o.key.PublicKey}, Threshold: 1, Least: least}
	}
}

// roster signs one of a version, with a person of that name.
func (o office) roster(t *testing.T, version uint64, name string) []byte {
	t.Helper()
	r, err := staff.Roster{}.With(staff.Person{ID: "p-1", Name: name, Classes: []string{"general"}})
	if err != nil {
		t.Fatal(err)
	}
	r.Version, r.Issued = version, time.Now().UTC().Truncate(time.Second)
	data, err := clearance.DraftRoster(r.Format())
	if err == nil {
		data, err = clearance.CountersignRoster(data, o.key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestT18_OlderAndForeignRostersAreNotInForce(t *testing.T) {
	site, s, o := newSite(t), openState(t, t.TempDir()), newOffice(t)
	if err := s.UseSite("kiosk-1", site.keys); err != nil {
		t.Fatal(err)
	}
	first := o.roster(t, 3, "Jane Doe")
	if _, err := s.InstallRoster(t.Context(), first, "uid:1"); !errors.Is(err, ErrRoster) {
		t.Errorf("without a trust file: %v", err)
	}
	site.install(t, s, site.trust(t, nil))
	if _, err := s.InstallRoster(t.Context(), first, "uid:1"); !errors.Is(err, ErrRoster) {
		t.Errorf("a trust file that names nobody: %v", err)
	}
	site.install(t, s, site.trust(t, o.rule(2)))
	if _, err := s.Roster(t.Context()); !errors.Is(err, ErrRoster) {
		t.Errorf("no roster: %v", err)
	}
	if r, err := s.InstallRoster(t.Context(), first, "uid:1"); err != nil || r.Len() != 1 {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"an older one": o.roster(t, 2, "Jane Doe"), "older than the trust file asks for": o.roster(t, 1, "Jane Doe"), "the same version with another person": o.roster(t, 3, "Jack Doe"),
		"another office's": newOffice(t).roster(t, 9, "Jane Doe"), "nothing": nil, "half of it": first[:len(first)/2], "text": []byte("[[person]]\nid = \"p-1\"\n"),
	} {
		if _, err := s.InstallRoster(t.Context(), data, "uid:1"); !errors.Is(err, ErrRoster) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.InstallRoster(t.Context(), first, "uid:1"); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	second := o.roster(t, 4, "Jane Doe")
	if _, err := s.InstallRoster(t.Context(), second, "uid:1"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Roster(t.Context()); err != nil || r.Version != 4 {
		t.Errorf("%+v %v", r, err)
	}
	// An older one that is put back by hand is seen, and so is a trust file that asks for a newer one.
	if err := os.WriteFile(s.path(rosterName), first, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Roster(t.Context()); !errors.Is(err, ErrRoster) || r.Len() != 0 {
		t.Errorf("an older file in its place: %v", err)
	}
	if err := os.WriteFile(s.path(rosterName), second, 0o600); err != nil {
		t.Fatal(err)
	}
	site.install(t, s, site.trust(t, o.rule(5)))
	if r, err := s.Roster(t.Context()); !errors.Is(err, ErrRoster) || r.Len() != 0 {
		t.Errorf("older than the new trust file asks for: %v", err)
	}
	if info, err := os.Stat(s.path(rosterName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("names of people in a file of mode %v", info.Mode())
	}
}

func TestT23_ACrashWhileARosterIsInstalledLeavesNobody(t *testing.T) {
	site, s, o := newSite(t), openState(t, t.TempDir()), newOffice(t)
	site.install(t, s, site.trust(t, o.rule(0)))
	if _, err := s.InstallRoster(t.Context(), o.roster(t, 1, "Jane Doe"), "uid:1"); err != nil {
		t.Fatal(err)
	}
	power := errors.New("power cut")
	s.fault = func(step string) error {
		if step == "roster" {
			return power
		}
		return nil
	}
	next := o.roster(t, 2, "Jane Doe")
	if _, err := s.InstallRoster(t.Context(), next, "uid:1"); !errors.Is(err, power) {
		t.Fatal(err)
	}
	s.fault = nil
	if r, err := s.Roster(t.Context()); !errors.Is(err, ErrRoster) || r.Len() != 0 {
		t.Errorf("after the crash: %v", err)
	}
	if _, err := s.InstallRoster(t.Context(), next, "uid:1"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Roster(t.Context()); err != nil || r.Version != 2 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestTheStaffKeyIsItsOwnersAlone(t *testing.T) {
	s := openState(t, t.TempDir())
	if key, err := s.StaffKey(); err != nil || key != (staff.Key{}) {
		t.Errorf("a key from nowhere: %v", err)
	}
	want, err := staff.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.PutStaffKey(t.Context(), want, "uid:1"); err != nil {
			t.Fatal(err)
		}
	}
	if key, err := s.StaffKey(); err != nil || key != want {
		t.Errorf("%v", err)
	}
	stamp := s.RosterStamp()
	if err := os.Chmod(s.path(staffKeyName), 0o640); err != nil {
		t.Fatal(err)
	}
	if key, err := s.StaffKey(); err == nil || key != (staff.Key{}) {
		t.Error("a key that others can read is used")
	}
	if err := os.WriteFile(s.path(staffKeyName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.RosterStamp() == stamp {
		t.Error("nobody sees that the key was changed")
	}
}
