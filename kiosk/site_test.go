package kiosk

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/localapi"
)

// siteRig is a site: two root holders of two, and a station's keys.
type siteRig struct {
	roots []*ecdsa.PrivateKey
	keys  *clearance.Keys
	last  *clearance.Trust
}

func newSite(t testing.TB) *siteRig {
	t.Helper()
	r := &siteRig{}
	for range 2 {
		root, err := clearance.GenerateRoot()
		if err != nil {
			t.Fatal(err)
		}
		r.roots = append(r.roots, root)
	}
	r.keys = r.newKeys(t)
	return r
}

func (r *siteRig) newKeys(t testing.TB) *clearance.Keys {
	t.Helper()
	k, err := clearance.GenerateKeys("kiosk-1", false, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// trust signs the next trust file.
func (r *siteRig) trust(t testing.TB, change func(*clearance.Trust)) []byte {
	t.Helper()
	file := &clearance.Trust{Version: 1, Issued: time.Now().Add(-time.Minute).UTC().Truncate(time.Second), Stations: []clearance.StationKey{r.keys.Public()}, Threshold: 2}
	if r.last != nil {
		file.Version = r.last.Version + 1
	}
	for _, root := range r.roots {
		file.Roots = append(file.Roots, &root.PublicKey)
	}
	if change != nil {
		change(file)
	}
	data, err := clearance.SignTrust(file, r.roots...)
	if err != nil {
		t.Fatal(err)
	}
	if r.last, err = clearance.ParseTrust(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func (r *siteRig) install(t testing.TB, s *State, data []byte) {
	t.Helper()
	if _, err := s.InstallTrust(t.Context(), data, r.last.RootsWords(), "uid:1"); err != nil {
		t.Fatal(err)
	}
}

func TestAnEnrolledStationSignsWhatDevicesTake(t *testing.T) {
	site := newSite(t)
	d := newDesk(t, func(cfg *StationConfig) {
		if err := cfg.State.UseSite("kiosk-1", site.keys); err != nil {
			t.Fatal(err)
		}
		site.install(t, cfg.State, site.trust(t, nil))
	})
	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	a, err := d.Issue(t.Context(), "left", "general", anybody)
	if err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	c, err := d.cfg.State.Clearance(a.Clearance.ID)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	res := clearance.Verify(clearance.Verification{Token: token, Trust: site.last, Now: time.Now(), Comparison: &clearance.Comparison{Equal: true}})
	if res.Reason != clearance.Valid || c.Claims.TrustVersion != 1 || c.Claims.Issuer != "kiosk-1" {
		t.Errorf("%v: %s, %+v", res.Reason, res.Text, c.Claims)
	}
	if d.last.Demo {
		t.Error("the station calls itself a demonstration")
	}
}

func TestT17_AStationWhoseKeyIsNotTrustedIssuesNothing(t *testing.T) {
	zero, later := uint64(0), uint64(1<<40)
	for name, row := range map[string]struct {
		keys  func(*siteRig) *clearance.Keys
		trust func(*siteRig) []byte
		good  bool
	}{
		"listed": {nil, func(r *siteRig) []byte { return r.trust(t, nil) }, true},
		"taken back from later on": {nil, func(r *siteRig) []byte {
			return r.trust(t, func(f *clearance.Trust) { f.Stations[0].RevokedFromLog = &later })
		}, false},
		"taken back": {nil, func(r *siteRig) []byte {
			return r.trust(t, func(f *clearance.Trust) { f.Stations[0].RevokedFromLog = &zero })
		}, false},
		"no trust file": {nil, nil, false},
		"no key":        {func(*siteRig) *clearance.Keys { return nil }, func(r *siteRig) []byte { return r.trust(t, nil) }, false},
		"another key":   {func(r *siteRig) *clearance.Keys { return r.newKeys(t) }, func(r *siteRig) []byte { return r.trust(t, nil) }, false},
		"another name": {nil, func(r *siteRig) []byte {
			return r.trust(t, func(f *clearance.Trust) { f.Stations[0].Issuer = "kiosk-2" })
		}, false},
		"past its end": {nil, func(r *siteRig) []byte {
			return r.trust(t, func(f *clearance.Trust) { f.Stations[0].NotAfter = f.Issued.Add(-time.Second) })
		}, false},
		"before its time": {nil, func(r *siteRig) []byte {
			return r.trust(t, func(f *clearance.Trust) { f.Stations[0].NotBefore = f.Issued.Add(time.Hour) })
		}, false},
		"a clock far behind": {nil, func(r *siteRig) []byte {
			return r.trust(t, func(f *clearance.Trust) { f.Issued = f.Issued.Add(time.Hour) })
		}, false},
	} {
		site := newSite(t)
		s := openState(t, t.TempDir())
		keys := site.keys
		if row.keys != nil {
			keys = row.keys(site)
		}
		if err := s.UseSite("kiosk-1", keys); err != nil {
			t.Fatal(err)
		}
		if row.trust != nil {
			site.install(t, s, row.trust(site))
		}
		if err := s.MayIssue(); (err == nil) != row.good || err != nil && !errors.Is(err, ErrNotEnrolled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestT34_ADemonstrationKeyNeverStandsInForAnEnrolledOne(t *testing.T) {
	s := openState(t, t.TempDir())
	if err := s.UseSite("kiosk-1", s.station); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("a demonstration key as a site's: %v", err)
	}
	demo, err := os.ReadFile(filepath.Join(s.dir, "demo.trust"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := clearance.ParseTrust(demo)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.InstallTrust(t.Context(), demo, trust.RootsWords(), "uid:1"); !errors.Is(err, ErrTrust) {
		t.Errorf("a demonstration's trust file was installed: %v", err)
	}
	// Somebody puts it there by hand.
	if err := os.WriteFile(s.path(trustName), demo, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Trust(); err == nil {
		t.Error("a demonstration's trust file is in force")
	}
	if on, err := s.Enrolled(); err != nil || !on {
		t.Errorf("the station would fall back to the demonstration: %v %v", on, err)
	}
	if err := s.UseSite("kiosk-1", nil); err != nil {
		t.Fatal(err)
	}
	if s.MayIssue() == nil {
		t.Error("it issues without a key")
	}
}

func TestT12_OlderAndForeignTrustFilesAreNotInstalled(t *testing.T) {
	site, s := newSite(t), openState(t, t.TempDir())
	first := site.trust(t, nil)
	if _, err := s.InstallTrust(t.Context(), first, "", "uid:1"); !errors.Is(err, ErrTrust) {
		t.Errorf("the first one without words: %v", err)
	}
	if _, err := s.InstallTrust(t.Context(), first, "babab babab babab babab babab babab", "uid:1"); !errors.Is(err, ErrTrust) {
		t.Errorf("the first one with other words: %v", err)
	}
	site.install(t, s, first)
	second := site.trust(t, nil)
	if _, err := s.InstallTrust(t.Context(), second, "", "uid:1"); err != nil {
		t.Fatal(err)
	}
	foreign := newSite(t)
	foreign.trust(t, nil)
	foreign.trust(t, nil)
	for name, data := range map[string][]byte{"an older one": first, "another site's": foreign.trust(t, nil), "nothing": nil, "half of it": second[:len(second)/2]} {
		if _, err := s.InstallTrust(t.Context(), data, "", "uid:1"); !errors.Is(err, ErrTrust) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.InstallTrust(t.Context(), second, "", "uid:1"); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	// An older one that is put back by hand is seen, and so is one that was taken away to begin anew.
	if err := os.WriteFile(s.path(trustName), first, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckTrust(t.Context()); !errors.Is(err, ErrTrust) {
		t.Errorf("an older file in its place: %v", err)
	}
	if err := os.Remove(s.path(trustName)); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckTrust(t.Context()); !errors.Is(err, ErrTrust) {
		t.Errorf("no file in its place: %v", err)
	}
	parsed, err := clearance.ParseTrust(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.InstallTrust(t.Context(), first, parsed.RootsWords(), "uid:1"); !errors.Is(err, ErrTrust) {
		t.Errorf("an older file, begun anew: %v", err)
	}
}

func TestT23_ACrashWhileATrustFileIsInstalledLeavesTheStationStopped(t *testing.T) {
	site, s := newSite(t), openState(t, t.TempDir())
	site.install(t, s, site.trust(t, nil))
	second := site.trust(t, nil)
	power := errors.New("power cut")
	s.fault = func(step string) error {
		if step == "trust" {
			return power
		}
		return nil
	}
	if _, err := s.InstallTrust(t.Context(), second, "", "uid:1"); !errors.Is(err, power) {
		t.Fatal(err)
	}
	s.fault = nil
	if err := s.CheckTrust(t.Context()); !errors.Is(err, ErrTrust) {
		t.Errorf("after the crash: %v", err)
	}
	if _, err := s.InstallTrust(t.Context(), second, "", "uid:1"); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckTrust(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKeysRotateOnceDevicesKnowTheNextOne(t *testing.T) {
	site, s := newSite(t), openState(t, t.TempDir())
	next := site.newKeys(t)
	if err := s.RotateKey(t.Context(), next.Public(), "uid:1"); err == nil {
		t.Error("no key was rotated in")
	}
	if err := errors.Join(s.PutKey(t.Context(), EnrolledKey, []byte("old"), "uid:1"), s.PutKey(t.Context(), NextKey, []byte("new"), "uid:1")); err != nil {
		t.Fatal(err)
	}
	if err := s.PutKey(t.Context(), NextKey, []byte("newer"), "uid:1"); err == nil {
		t.Error("a key was replaced by one that nobody enrolled")
	}
	if err := s.RotateKey(t.Context(), next.Public(), "uid:1"); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("without a trust file: %v", err)
	}
	site.install(t, s, site.trust(t, nil))
	if err := s.RotateKey(t.Context(), next.Public(), "uid:1"); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("before it is listed: %v", err)
	}
	both := site.trust(t, func(f *clearance.Trust) { f.Stations = append(f.Stations, next.Public()) })
	if _, err := s.InstallTrust(t.Context(), both, "", "uid:1"); err != nil {
		t.Fatal(err)
	}
	if err := s.RotateKey(t.Context(), next.Public(), "uid:1"); err != nil {
		t.Fatal(err)
	}
	box, err := s.KeyBox(EnrolledKey)
	left, err2 := s.KeyBox(NextKey)
	if err != nil || err2 != nil || string(box) != "new" || left != nil {
		t.Errorf("%q %q %v %v", box, left, err, err2)
	}
	// Old and new are valid side by side.
	for _, k := range []*clearance.Keys{site.keys, next} {
		if err := s.UseSite("kiosk-1", k); err != nil {
			t.Fatal(err)
		}
		if err := s.MayIssue(); err != nil {
			t.Error(err)
		}
	}
}

func TestT17_AnIncidentStopsTheStationUntilTwoPeopleEndIt(t *testing.T) {
	d := newDesk(t, nil)
	s := d.cfg.State
	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	a, err := d.Issue(t.Context(), "left", "general", anybody)
	if err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	d.plug("right", image("clean"))
	d.untilState("right", localapi.Waiting)
	in, err := s.BeginIncident(t.Context(), "key-stolen", time.Now().Add(-time.Hour), "uid:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginIncident(t.Context(), "again", time.Now(), "uid:1"); !errors.Is(err, ErrIncident) {
		t.Errorf("a second one: %v", err)
	}
	if b, err := d.Issue(t.Context(), "right", "general", anybody); err == nil || b.Clearance != nil {
		t.Fatalf("issued in an incident: %+v", b)
	}
	// It outlives the process.
	other := openState(t, d.dir)
	if err := other.MayIssue(); !errors.Is(err, ErrIncident) {
		t.Errorf("after a start: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "report")
	recalls, err := s.Report(t.Context(), in, nil, dir)
	if err != nil || len(recalls) != 1 || recalls[0].Code != a.Clearance.Code || recalls[0].Expired {
		t.Fatalf("%+v %v", recalls, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "revocation.json"))
	if err != nil || !strings.Contains(string(text), a.Clearance.ID) || !strings.Contains(string(text), `"from_log"`) {
		t.Errorf("%s %v", text, err)
	}
	if res, err := VerifyLog(t.Context(), filepath.Join(dir, "evidence")); err != nil || !res.Sound || res.Entries == 0 {
		t.Errorf("the evidence: %+v %v", res, err)
	}

	if over, err := s.EndIncident(t.Context(), ""); err == nil || over {
		t.Errorf("ended by nobody: %v", err)
	}
	for range 3 {
		if over, err := s.EndIncident(t.Context(), "uid:1"); err != nil || over {
			t.Fatalf("one person ended it: %v", err)
		}
	}
	if s.MayIssue() == nil {
		t.Fatal("it issues before the second person")
	}
	if over, err := s.EndIncident(t.Context(), "uid:2"); err != nil || !over {
		t.Fatalf("two people did not end it: %v", err)
	}
	if err := s.MayIssue(); err != nil {
		t.Error(err)
	}
	var what []string
	err = s.Log(t.Context(), func(e audit.Entry) error {
		if d, ok := e.Data.(audit.Administered); ok {
			what = append(what, string(d.What))
		}
		return nil
	})
	if err != nil || strings.Join(what, " ") != "incident-begun incident-end-asked incident-ended" {
		t.Errorf("the log has %q: %v", what, err)
	}
}

// A reason that is no word stops the station all the same, and does not keep it stopped for ever.
func TestT17_AnIncidentOfManyWordsEndsToo(t *testing.T) {
	for _, reason := range []audit.Word{"the key was stolen!", "Schlüssel\ngestohlen", "", audit.Word(strings.Repeat("x", 1000))} {
		s := openState(t, t.TempDir())
		in, err := s.BeginIncident(t.Context(), reason, time.Now(), "uid:1")
		if err != nil || in == nil {
			t.Fatalf("%q: %v", reason, err)
		}
		for _, person := range []string{"uid:1", "uid:2"} {
			if _, err := s.EndIncident(t.Context(), person); err != nil {
				t.Errorf("%q: %v", reason, err)
			}
		}
		if err := s.MayIssue(); err != nil {
			t.Errorf("%q: %v", reason, err)
		}
	}
}

// An incident that begins between the log's entry and the token leaves no token.
func TestT17_AnIncidentStopsAClearanceThatIsBeingMade(t *testing.T) {
	d := newDesk(t, nil)
	s := d.cfg.State
	s.fault = func(step string) error {
		if step == "manifest" {
			return s.writeIncident(&Incident{Reason: "test"})
		}
		return nil
	}
	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	if a, err := d.Issue(t.Context(), "left", "general", anybody); err == nil || a.Clearance != nil {
		t.Fatalf("%+v", a)
	}
	d.Stop()
	s.fault = nil
	list, err := s.Issued(time.Time{})
	if err != nil || len(list) != 0 {
		t.Errorf("%d tokens: %v", len(list), err)
	}
	s.Close()
	again, err := OpenState(context.Background(), d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if res, err := VerifyLog(t.Context(), d.dir); err != nil || !res.Sound {
		t.Errorf("%+v %v", res, err)
	}
}
