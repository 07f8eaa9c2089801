package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
	"pratique/kiosk/staff"
)

// enrol makes a station's key in a sealed file and a trust file that lists it, and returns both sides.
func (d *desk) enrol(secret string) *clearance.Trust {
	d.t.Helper()
	st, err := kiosk.OpenState(d.t.Context(), d.state)
	if err != nil {
		d.t.Fatal(err)
	}
	defer st.Close()
	box, err := keys.New(d.t.Context(), keys.File, keys.Station, "kiosk-1", keys.Access{}, []byte(secret), time.Now().Add(-time.Hour))
	if err != nil {
		d.t.Fatal(err)
	}
	data, err := box.Marshal()
	if err != nil {
		d.t.Fatal(err)
	}
	public, err := box.Public()
	if err != nil {
		d.t.Fatal(err)
	}
	root, err := clearance.GenerateRoot()
	if err != nil {
		d.t.Fatal(err)
	}
	file := &clearance.Trust{Version: 1, Issued: time.Now().Add(-time.Minute).UTC().Truncate(time.Second), Stations: []clearance.StationKey{public}, Threshold: 1}
	file.Roots = append(file.Roots, &root.PublicKey)
	file.Roster = clearance.RosterRule{Keys: file.Roots, Threshold: 1}
	signed, err := clearance.SignTrust(file, root)
	if err != nil {
		d.t.Fatal(err)
	}
	trust, err := clearance.ParseTrust(signed)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := st.PutKey(d.t.Context(), kiosk.EnrolledKey, data, "uid:1"); err != nil {
		d.t.Fatal(err)
	}
	if _, err := st.InstallTrust(d.t.Context(), signed, trust.RootsWords(), "uid:1"); err != nil {
		d.t.Fatal(err)
	}
	// What the configuration says of people counts no more: the site signs its own roster.
	r, err := staff.Load(filepath.Join(d.dir, "roster.toml"))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Version, r.Issued = 1, file.Issued
	roster, err := clearance.DraftRoster(r.Format())
	if err == nil {
		roster, err = clearance.CountersignRoster(roster, root)
	}
	if err == nil {
		_, err = st.InstallRoster(d.t.Context(), roster, "uid:1")
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return trust
}

// Who carries off the state folder and starts a station on it elsewhere gets scans and no clearance, and no demonstration
// takes the place of the station's key.
func TestT17_AStationWithoutItsSecretScreensAndIssuesNothing(t *testing.T) {
	d := newDesk(t, `"general"`)
	trust := d.enrol("correct horse battery")
	d.team("") // an enrolled station clears nothing with the rules that ship
	secret := filepath.Join(d.dir, "secret")
	for _, row := range []struct {
		name, secret string
		ready        bool
	}{{"no secret", "", false}, {"a wrong secret", "wrong horse battery", false}, {"the secret", "correct horse battery\n", true}} {
		os.Remove(secret)
		d.more = nil
		if row.secret != "" {
			if err := os.WriteFile(secret, []byte(row.secret), 0o600); err != nil {
				t.Fatal(err)
			}
			d.more = []string{"--secret", secret}
		}
		d.start()
		c := d.client()
		if row.secret == "" {
			if _, err := c.Install(t.Context(), filepath.Join(d.dir, "repo")); err != nil {
				t.Fatal(err)
			}
		}
		d.plug("clean", "a.img")
		port := d.until("scanned", in("", localapi.Waiting))
		st, err := c.Status(t.Context())
		if err != nil || st.Ready != row.ready || st.Demo {
			t.Errorf("%s: ready %v, demonstration %v, %v", row.name, st.Ready, st.Demo, err)
		}
		a, err := c.Issue(t.Context(), port.ID, "general")
		var e *localapi.Error
		switch {
		case !row.ready && (!errors.As(err, &e) || e.Code != localapi.CodeNotReady || a.Clearance != nil):
			t.Errorf("%s: %+v %v", row.name, a, err)
		case row.ready && (err != nil || a.Clearance == nil):
			t.Errorf("%s: %+v %v", row.name, a, err)
		case row.ready:
			token, err := os.ReadFile(filepath.Join(d.state, "clearances", a.Clearance.ID, "token.cose"))
			if err != nil {
				t.Fatal(err)
			}
			res := clearance.Verify(clearance.Verification{Token: token, Trust: trust, Now: time.Now(), Comparison: &clearance.Comparison{Equal: true}})
			if res.Reason != clearance.Valid || res.Claims.TrustVersion != 1 {
				t.Errorf("%v: %s", res.Reason, res.Text)
			}
		}
		c.Close()
		d.unplug("a.img")
		d.until("idle", in(port.ID, localapi.Idle))
		if err := d.kill(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(d.stderr.String(), "horse") {
			t.Error("the journal holds the secret")
		}
	}
	account(t, d.state)
}

// A station that is enrolled while it runs signs with the site's key and with the demonstration's no more, without a new start.
func TestT34_AStationEnrolledWhileItRunsStopsDemonstrating(t *testing.T) {
	d := newDesk(t, `"general"`)
	secret := filepath.Join(d.dir, "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.more = []string{"--secret", secret}
	d.team("")
	d.start()
	c := d.client()
	defer c.Close()
	if _, err := c.Install(t.Context(), filepath.Join(d.dir, "repo")); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Status(t.Context()); err != nil || !st.Demo {
		t.Fatalf("%+v %v", st, err)
	}
	trust := d.enrol("correct horse battery")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !st.Demo {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it demonstrates on: %+v", st)
		}
	}
	d.plug("clean", "a.img")
	port := d.until("scanned", in("", localapi.Waiting))
	a, err := c.Issue(t.Context(), port.ID, "general")
	if err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	token, err := os.ReadFile(filepath.Join(d.state, "clearances", a.Clearance.ID, "token.cose"))
	if err != nil {
		t.Fatal(err)
	}
	res := clearance.Verify(clearance.Verification{Token: token, Trust: trust, Now: time.Now(), Comparison: &clearance.Comparison{Equal: true}})
	if res.Reason != clearance.Valid {
		t.Errorf("%v: %s", res.Reason, res.Text)
	}
}

// An incident that another process begins stops the daemon at once, not at its next checkup.
func TestT17_AnIncidentStopsARunningStation(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("clean", "a.img")
	port := d.until("scanned", in("", localapi.Waiting))
	st, err := kiosk.OpenState(t.Context(), d.state)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.BeginIncident(t.Context(), "drill", time.Now().Add(-time.Hour), "uid:1"); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Issue(t.Context(), port.ID, "general"); err == nil || a.Clearance != nil {
		t.Fatalf("issued in an incident: %+v", a)
	}
	if over, err := c.EndIncident(t.Context()); err != nil || over {
		t.Fatalf("one person ended it: %v", err)
	}
	if over, err := c.EndIncident(t.Context()); err != nil || over {
		t.Fatalf("one person ended it by asking twice: %v", err)
	}
	if over, err := st.EndIncident(t.Context(), "uid:4711"); err != nil || !over {
		t.Fatalf("two people: %v", err)
	}
}
