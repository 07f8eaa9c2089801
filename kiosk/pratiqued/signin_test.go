package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
	"pratique/kiosk/staff"
)

// crew writes a roster of people who sign in at the screen, and gives the station its staff key. Nobody in it is this test's user:
// so this user is the screen and nothing else.
func (d *desk) crew() {
	d.t.Helper()
	st, err := kiosk.OpenState(d.t.Context(), d.state)
	if err != nil {
		d.t.Fatal(err)
	}
	defer st.Close()
	key, err := staff.NewKey()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := st.PutStaffKey(d.t.Context(), key, "uid:1"); err != nil {
		d.t.Fatal(err)
	}
	r := staff.Roster{KeyID: key.ID()}
	for _, p := range []struct {
		person staff.Person
		pin    string
	}{
		{staff.Person{ID: "p-1", Name: "Jane Doe", Number: "4711", Classes: []string{"general"}, Sponsor: true}, "482915"},
		{staff.Person{ID: "p-2", Name: "Sam Sure", Number: "4712", Roles: []staff.Role{staff.Security}}, "730162"},
		{staff.Person{ID: "p-3", Name: "Guy Guest", Number: "4713", Classes: []string{"general", "imaging"}, Until: "2199-01-01",
			Guest: &staff.Guest{Company: "Acme", Order: "WO-1", Sponsor: "p-1"}}, "915037"},
	} {
		if p.person.PIN, err = key.PIN(p.person, p.pin); err != nil {
			d.t.Fatal(err)
		}
		badge, err := key.Badge("card of " + p.person.ID)
		if err != nil {
			d.t.Fatal(err)
		}
		p.person.Badges = []string{badge}
		if r, err = r.With(p.person); err != nil {
			d.t.Fatal(err)
		}
	}
	d.write("roster.toml", string(r.Format()))
}

func refusal(err error) string {
	var e *localapi.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestAPersonSignsInAtTheScreenAndIsSignedOut(t *testing.T) {
	d := newDesk(t, "")
	d.crew()
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("clean", "a.img")
	port := d.until("scanned", in("", localapi.Waiting))
	if a, err := c.Issue(t.Context(), port.ID, "general"); refusal(err) != localapi.CodeDenied || a.Clearance != nil {
		t.Errorf("nobody is signed in: %+v %v", a, err)
	}
	if _, err := c.SignIn(t.Context(), "4711", "482916"); refusal(err) != localapi.CodeSignIn {
		t.Errorf("a wrong PIN: %v", err)
	}
	begin := time.Now()
	who, err := c.SignIn(t.Context(), "4711", "482915")
	t.Logf("signed in after %v", time.Since(begin).Round(time.Millisecond))
	if err != nil || who.Name != "Jane Doe" || strings.Join(who.Classes, " ") != "general" || who.Until == "" || strings.Join(who.May, " ") != "override sponsor" {
		t.Fatalf("%+v %v", who, err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.Staff == nil || st.Staff.Name != "Jane Doe" {
		t.Errorf("the screen is not told: %+v %v", st.Staff, err)
	}
	if _, err := c.Issue(t.Context(), port.ID, "imaging"); refusal(err) != localapi.CodeDenied {
		t.Errorf("another class: %v", err)
	}
	if a, err := c.Issue(t.Context(), port.ID, "general"); err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	// The stick is taken out.
	d.unplug("a.img")
	d.nobody(c, "after the stick was taken out")

	// The connection that signed a person in is lost.
	other := d.client()
	if who, err := other.SignIn(t.Context(), "4712", "730162"); err != nil || who.Name != "Sam Sure" || len(who.Classes) != 0 {
		t.Fatalf("%+v %v", who, err)
	}
	other.Close()
	d.nobody(c, "after the connection was lost")

	// Signed out by hand, and by a roster that does not have the person any more.
	if _, err := c.SignIn(t.Context(), "4712", "730162"); err != nil {
		t.Fatal(err)
	}
	if err := c.SignOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.nobody(c, "after signing out")
	if _, err := c.SignIn(t.Context(), "4711", "482915"); err != nil {
		t.Fatal(err)
	}
	d.write("roster.toml", "")
	if err := c.Stay(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.nobody(c, "after the roster has changed")
	if err := d.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	for _, secret := range []string{"482915", "482916", "730162", "Jane", "Sam"} {
		if strings.Contains(d.stderr.String(), secret) {
			t.Errorf("the journal holds %q:\n%s", secret, d.stderr.String())
		}
	}
}

// nobody waits until nobody is signed in.
func (d *desk) nobody(c *localapi.Client, when string) {
	d.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		st, err := c.Status(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if st.Staff != nil && st.Staff.Name == "" {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("%s %+v is signed in", when, st.Staff)
		}
	}
}

func TestT18_AGuestDoesNothingWithoutTheSponsor(t *testing.T) {
	d := newDesk(t, "")
	d.crew()
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("clean", "a.img")
	port := d.until("scanned", in("", localapi.Waiting))
	sign := func(number, pin string) localapi.SignIn {
		t.Helper()
		who, err := c.SignIn(t.Context(), number, localapi.PIN(pin))
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	if who := sign("4713", "915037"); who.Name != "" || !who.Sponsor {
		t.Fatalf("a guest alone: %+v", who)
	}
	if _, err := c.Issue(t.Context(), port.ID, "general"); refusal(err) != localapi.CodeDenied {
		t.Errorf("a guest alone: %v", err)
	}
	if who := sign("4712", "730162"); who.Guest != "" || who.Name != "Sam Sure" {
		t.Fatalf("somebody else than the sponsor: %+v", who)
	}
	if _, err := c.Guest(t.Context(), "Acme", "WO-2"); refusal(err) != localapi.CodeSignIn {
		t.Errorf("who is no sponsor answers for a guest: %v", err)
	}
	sign("4713", "915037")
	if who := sign("4711", "482915"); who.Guest != "Acme" || who.Name != "Guy Guest" || strings.Join(who.Classes, " ") != "general" || len(who.May) != 0 {
		t.Fatalf("with the sponsor: %+v", who)
	}
	if _, err := c.Issue(t.Context(), port.ID, "imaging"); refusal(err) != localapi.CodeDenied {
		t.Errorf("a class that is not the sponsor's: %v", err)
	}
	if a, err := c.Issue(t.Context(), port.ID, "general"); err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	// A guest whom the roster does not have, for whom the sponsor answers.
	sign("4711", "482915")
	for name, words := range map[string][2]string{"no words": {"Acme Inc", "WO 2"}, "a path": {"../x/y", "WO-2"}} {
		if _, err := c.Guest(t.Context(), words[0], words[1]); refusal(err) != localapi.CodeRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	who, err := c.Guest(t.Context(), "Beta", "WO-7")
	if err != nil || who.Guest != "Beta" || who.Name != "Beta" || strings.Join(who.Classes, " ") != "general" || len(who.May) != 0 {
		t.Fatalf("%+v %v", who, err)
	}
	if _, err := c.Guest(t.Context(), "Gamma", "WO-8"); refusal(err) != localapi.CodeSignIn {
		t.Errorf("a guest answers for a guest: %v", err)
	}
	if err := d.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	guests := d.entries(func(e audit.Entry) bool { return e.Kind == audit.KindGuest })
	if len(guests) != 2 || guests[0].Data.(audit.Guest).Order != "WO-1" || guests[1].Data.(audit.Guest).Company != "Beta" {
		t.Errorf("the log has %+v", guests)
	}
}

// The drill of a night: a nurse asks at the screen, an officer signs in and confirms. It must take less than three minutes, of
// which people need most.
func TestT33_TwoPeopleOverrideAtTheScreenWithoutDelay(t *testing.T) {
	d := newDesk(t, "")
	d.crew()
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("infected", "a.img")
	port := d.until("refused", in("", localapi.Decided))
	if _, err := c.Override(t.Context(), port.ID, "general", "patient-emergency"); refusal(err) != localapi.CodeDenied {
		t.Errorf("nobody is signed in: %v", err)
	}
	begin := time.Now()
	if _, err := c.SignIn(t.Context(), "4711", "482915"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a, err := c.Override(t.Context(), port.ID, "general", "patient-emergency"); err != nil || !a.Pending || a.Clearance != nil {
			t.Fatalf("one person: %+v %v", a, err)
		}
	}
	// The same nurse, who answers for a guest, is not a second person.
	if _, err := c.Guest(t.Context(), "Beta", "WO-7"); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Override(t.Context(), port.ID, "general", "patient-emergency"); refusal(err) != localapi.CodeDenied || a.Clearance != nil {
		t.Fatalf("as a guest: %+v %v", a, err)
	}
	if _, err := c.SignIn(t.Context(), "4712", "730162"); err != nil {
		t.Fatal(err)
	}
	a, err := c.Override(t.Context(), port.ID, "general", "patient-emergency")
	if err != nil || a.Clearance == nil || a.Clearance.Override != "patient-emergency" {
		t.Fatalf("two people: %+v %v", a, err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("the station's part took %v", took)
	} else {
		t.Logf("the station's part of the drill took %v", took.Round(time.Millisecond))
	}
	if err := d.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	account(t, d.state)
}

// entries are those of the log that f wants, once no daemon runs.
func (d *desk) entries(f func(audit.Entry) bool) (out []audit.Entry) {
	d.t.Helper()
	st, err := kiosk.OpenState(d.t.Context(), d.state)
	if err != nil {
		d.t.Fatal(err)
	}
	defer st.Close()
	err = st.Log(d.t.Context(), func(e audit.Entry) error {
		if f(e) {
			out = append(out, e)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// Wrong PINs slow down, across a restart and a pulled plug too, and lock nobody out.
func TestT18_WrongPINsSlowDownAcrossRestarts(t *testing.T) {
	d := newDesk(t, "")
	d.crew()
	d.start()
	c := d.client()
	var slow error
	for i := range 4 {
		if _, slow = c.SignIn(t.Context(), "4711", "999998"); i < 3 && refusal(slow) != localapi.CodeSignIn {
			t.Fatalf("try %d: %v", i, slow)
		}
	}
	if refusal(slow) != localapi.CodeSlow {
		t.Fatalf("the fourth try at once: %v", slow)
	}
	st, err := c.Status(t.Context())
	if err != nil || st.Staff.Wait == "" {
		t.Errorf("the screen does not say how long: %+v %v", st.Staff, err)
	}
	if _, err := c.SignIn(t.Context(), "4711", "482915"); refusal(err) != localapi.CodeSlow {
		t.Errorf("the right PIN at once: %v", err)
	}
	if _, err := c.SignIn(t.Context(), "4712", "730162"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	c.Close()
	d.kill(syscall.SIGKILL)
	d.start()
	c = d.client()
	defer c.Close()
	if _, err := c.SignIn(t.Context(), "4711", "999998"); refusal(err) != localapi.CodeSlow && refusal(err) != localapi.CodeSignIn {
		t.Errorf("after the restart: %v", err)
	}
	if _, err := c.SignIn(t.Context(), "4711", "482915"); refusal(err) != localapi.CodeSlow {
		t.Errorf("after the restart the count began anew: %v", err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) { // nobody is locked out
		who, err := c.SignIn(t.Context(), "4711", "482915")
		if err == nil && who.Name == "Jane Doe" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("locked out: %v", err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(d.state, "sign-in")); err != nil || strings.Contains(string(text), "4711") || strings.Contains(string(text), "p-1") {
		t.Errorf("what is kept says who it was: %s %v", text, err)
	}
}

// A station of a site takes the roster that the site signed, whatever its configuration says.
func TestT18_AnEnrolledStationTakesNoUnsignedRoster(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.enrol("correct horse battery")
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("clean", "a.img")
	port := d.until("scanned", in("", localapi.Waiting))
	// The configuration's file gives this user another class; the signed one does not have it.
	d.roster(`"general", "imaging"`)
	if _, err := c.Issue(t.Context(), port.ID, "imaging"); refusal(err) != localapi.CodeDenied {
		t.Errorf("%v", err)
	}
	// Without the signed one, or with a changed one, there is nobody.
	name := filepath.Join(d.state, "roster.cbr")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Issue(t.Context(), port.ID, "general"); refusal(err) != localapi.CodeDenied {
		t.Errorf("with a changed roster: %v", err)
	}
}
