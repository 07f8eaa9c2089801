package clearance

import (
	"testing"
	"time"
)

func TestEachReasonHasItsExitCodeAndOnlyValidHasZero(t *testing.T) {
	want := map[Reason]int{NotVerified: 1, Forged: 9, Demonstration: 8, UnknownIssuer: 7, Revoked: 6, OutOfTime: 5, Overridden: 11,
		WrongClass: 4, WrongMedium: 10, Altered: 3, Unfresh: 12, Valid: 0}
	for r := Reason(0); r < reasonEnd; r++ {
		if r.Exit() != want[r] || r.String() == "" {
			t.Errorf("%v has exit code %d", r, r.Exit())
		}
	}
	if Reason(200).Exit() != 1 || Reason(200).String() != "not verified" {
		t.Error("an unknown reason is not a refusal")
	}
	if (Result{}).Reason.Exit() != 1 {
		t.Error("the zero result does not refuse")
	}
}

func TestWhatIsMissingIsNeverValid(t *testing.T) {
	r := newRig(t, false)
	token := r.token(t, nil)
	if got := Verify(Verification{}); got.Reason != NotVerified {
		t.Errorf("nothing at all: %v", got.Reason)
	}
	v := r.question(token)
	v.Trust = r.contents() // never parsed, so nobody signed it
	if got := Verify(v); got.Reason != NotVerified {
		t.Errorf("a trust file that was not read from bytes: %v", got.Reason)
	}
	v = r.question(token)
	v.Comparison = nil
	if got := Verify(v); got.Reason != NotVerified || got.Claims == nil {
		t.Errorf("no comparison: %v", got.Reason)
	}
	v = r.question(token)
	v.Comparison = &Comparison{}
	if got := Verify(v); got.Reason != Altered {
		t.Errorf("the zero comparison: %v", got.Reason)
	}
}

func TestTheAnswerToEachSingleFault(t *testing.T) {
	r := newRig(t, false)
	index, later := uint64(3), uint64(4)
	for _, row := range []struct {
		name   string
		claims func(*Claims)
		trust  func(*Trust)
		ask    func(*Verification)
		want   Reason
	}{
		{name: "nothing", want: Valid},
		{name: "no class given", ask: func(v *Verification) { v.Class = "" }, want: Valid},
		{name: "no medium given", ask: func(v *Verification) { v.Medium = nil }, want: Valid},
		{name: "key taken back from this entry", trust: func(t *Trust) { t.Stations[0].RevokedFromLog = &index }, want: Revoked},
		{name: "key taken back from the entry after", trust: func(t *Trust) { t.Stations[0].RevokedFromLog = &later }, want: Valid},
		{name: "key taken back whole", trust: func(t *Trust) { t.Stations[0].RevokedFromLog = new(uint64) }, want: Revoked},
		{name: "clearance taken back", trust: func(t *Trust) { t.Revoked = [][16]byte{{1}, exampleID} }, want: Revoked},
		{name: "another clearance taken back", trust: func(t *Trust) { t.Revoked = [][16]byte{{1}} }, want: Valid},
		{name: "rules too old", trust: func(t *Trust) { t.MinRules = map[string]uint64{"baseline": 2} }, want: Revoked},
		{name: "rules new enough", trust: func(t *Trust) { t.MinRules = map[string]uint64{"baseline": 1, "other": 9} }, want: Valid},
		{name: "at the last second", ask: func(v *Verification) { v.Now = exampleTime.Add(8*time.Hour - time.Second) }, want: Valid},
		{name: "at the end", ask: func(v *Verification) { v.Now = exampleTime.Add(8 * time.Hour) }, want: OutOfTime},
		{name: "a year later", ask: func(v *Verification) { v.Now = exampleTime.AddDate(1, 0, 0) }, want: OutOfTime},
		{name: "clock set back, but it is known to be later", ask: func(v *Verification) {
			v.Now, v.NotBefore = exampleTime.AddDate(-1, 0, 0), exampleTime.Add(9*time.Hour)
		}, want: OutOfTime},
		{name: "clock set back before the trust file", ask: func(v *Verification) { v.Now = exampleTime.AddDate(-1, 0, 0) }, want: Valid},
		{name: "clock set back, trust file issued after the end", trust: func(t *Trust) { t.Issued = exampleTime.Add(9 * time.Hour) },
			ask: func(v *Verification) { v.Now = exampleTime }, want: OutOfTime},
		{name: "issued in the future", trust: func(t *Trust) { t.Issued = exampleTime.Add(-48 * time.Hour) },
			ask: func(v *Verification) { v.Now = exampleTime.Add(-MaxSkew - time.Second) }, want: OutOfTime},
		{name: "issued a little ahead", trust: func(t *Trust) { t.Issued = exampleTime.Add(-48 * time.Hour) },
			ask: func(v *Verification) { v.Now = exampleTime.Add(-MaxSkew) }, want: Valid},
		{name: "issued before the key", trust: func(t *Trust) { t.Stations[0].NotBefore = exampleTime.Add(time.Second) }, want: OutOfTime},
		{name: "issued after the key", trust: func(t *Trust) { t.Stations[0].NotAfter = exampleTime.Add(-time.Second) }, want: OutOfTime},
		{name: "override", claims: override, want: Overridden},
		{name: "override that is allowed", claims: override, ask: func(v *Verification) { v.AllowOverride = true }, want: Valid},
		{name: "another class", ask: func(v *Verification) { v.Class = "infusion" }, want: WrongClass},
		{name: "a larger medium", ask: func(v *Verification) { v.Medium = &Medium{Sectors: 9} }, want: WrongMedium},
		{name: "another serial number", claims: func(c *Claims) { c.Medium.Serial = [16]byte{1} },
			ask: func(v *Verification) { v.Medium = &Medium{Sectors: 8, Serial: [16]byte{2}} }, want: WrongMedium},
		{name: "another vendor", claims: func(c *Claims) { c.Medium.VID = 1 }, ask: func(v *Verification) { v.Medium = &Medium{VID: 2} }, want: WrongMedium},
		{name: "a serial number that the token does not have", ask: func(v *Verification) { v.Medium = &Medium{Serial: [16]byte{2}} }, want: Valid},
		{name: "content differs", ask: func(v *Verification) { v.Comparison = &Comparison{} }, want: Altered},
		{name: "streams that cannot be seen", ask: func(v *Verification) { v.Comparison = &Comparison{Equal: true, StreamsUnchecked: 1} }, want: Unfresh},
		{name: "trust file of 30 days", trust: func(t *Trust) { t.Issued = exampleTime.Add(time.Hour - MaxTrustAge) }, want: Valid},
		{name: "trust file older than 30 days", trust: func(t *Trust) { t.Issued = exampleTime.Add(time.Hour - MaxTrustAge - time.Second) }, want: Unfresh},
		{name: "manifest of another medium", ask: func(v *Verification) { v.Manifest = sealed(t, exampleID, "b.txt") }, want: Forged},
		{name: "manifest with another id", ask: func(v *Verification) { v.Manifest = sealed(t, [16]byte{9}, "a.txt") }, want: Forged},
		{name: "manifest that is not sealed", ask: func(v *Verification) { v.Manifest = NewManifest(exampleID) }, want: Forged},
		{name: "its own manifest", ask: func(v *Verification) { v.Manifest = exampleManifest(t) }, want: Valid},
	} {
		r.setTrust(t, func(trust *Trust) {
			if row.trust != nil {
				row.trust(trust)
			}
		})
		v := r.question(r.token(t, row.claims))
		if row.ask != nil {
			row.ask(&v)
		}
		if got := Verify(v); got.Reason != row.want || got.Text == "" {
			t.Errorf("%s: %v (%s), want %v", row.name, got.Reason, got.Text, row.want)
		}
	}
}

// override makes the claims those of an override.
func override(c *Claims) {
	c.Operator = [8]byte{1}
	c.Overrule(NotCleared, Override{"patient-emergency", [8]byte{2}})
}

// TestTheFirstReasonInTheOrderDecides breaks everything and then mends one thing after the other.
func TestTheFirstReasonInTheOrderDecides(t *testing.T) {
	r := newRig(t, true)
	good := func(change func(*Claims)) []byte { return r.token(t, change) }
	stranger := newRig(t, true)
	bad := override
	signed := good(bad)
	broken := append([]byte{}, signed...)
	broken[len(broken)-1] ^= 1 // in the post-quantum signature

	take := func(t *Trust) {
		t.Demo, t.Revoked, t.Issued = true, [][16]byte{exampleID}, exampleTime.Add(-31*24*time.Hour)
	}
	keep := func(t *Trust) { t.Demo, t.Issued = true, exampleTime.Add(-31*24*time.Hour) }
	young := func(t *Trust) { t.Demo = true }

	v := Verification{Token: broken[:100], Class: "infusion", Now: exampleTime.Add(9 * time.Hour), Medium: &Medium{Sectors: 9}, Comparison: &Comparison{}}
	for _, step := range []struct {
		mend  func()
		trust func(*Trust)
		want  Reason
	}{
		{func() {}, take, Forged},
		{func() { v.Token = stranger.token(t, bad) }, take, Demonstration},
		{func() { v.AllowDemo = true }, take, UnknownIssuer},
		{func() { v.Token = broken }, take, Forged},
		{func() { v.Token = signed }, take, Revoked},
		{func() {}, keep, OutOfTime},
		{func() { v.Now = r.now }, keep, Overridden},
		{func() { v.AllowOverride = true }, keep, WrongClass},
		{func() { v.Class = "imaging" }, keep, WrongMedium},
		{func() { v.Medium.Sectors = 8 }, keep, Altered},
		{func() { v.Comparison.Equal = true }, keep, Unfresh},
		{func() {}, young, Valid},
	} {
		step.mend()
		r.setTrust(t, step.trust)
		v.Trust = r.trust
		if got := Verify(v); got.Reason != step.want {
			t.Errorf("%v (%s), want %v", got.Reason, got.Text, step.want)
		}
	}
}

// TestT34_ADemonstrationProvesNothing tries to pass off what a demonstration signed as real.
func TestT34_ADemonstrationProvesNothing(t *testing.T) {
	demo := newRig(t, true)
	token := demo.token(t, nil)
	v := demo.question(token)
	if got := Verify(v); got.Reason != Demonstration {
		t.Errorf("with its own trust file: %v", got.Reason)
	}
	v.AllowDemo = true
	if got := Verify(v); got.Reason != Valid {
		t.Errorf("where it is allowed: %v", got.Reason)
	}

	// A real trust file that somebody was talked into listing the demonstration's key in.
	demo.setTrust(t, func(trust *Trust) { trust.Demo = false })
	v = demo.question(token)
	if got := Verify(v); got.Reason != Demonstration {
		t.Errorf("with a real trust file: %v", got.Reason)
	}
	v.AllowDemo = true
	if got := Verify(v); got.Reason != UnknownIssuer {
		t.Errorf("with a real trust file, and allowed: %v", got.Reason)
	}

	// The demonstration's key without the mark in the token.
	demo.setTrust(t, func(trust *Trust) { trust.Demo = true })
	plain := *demo.keys
	plain.demo = false
	c := demo.claims(t)
	unmarked, err := Sign(c, &plain)
	if err != nil {
		t.Fatal(err)
	}
	v = demo.question(unmarked)
	if got := Verify(v); got.Reason != Demonstration {
		t.Errorf("mark taken away: %v", got.Reason)
	}
	v.AllowDemo = true
	if got := Verify(v); got.Reason != UnknownIssuer {
		t.Errorf("mark taken away, and allowed: %v", got.Reason)
	}
	if _, err := DemoTrust(&plain, 1, exampleTime); err == nil {
		t.Error("a demonstration trust file was made for a real key")
	}
}

func TestT12_TheQRFormIsEnoughOnlyIfTheTrustFileSaysSo(t *testing.T) {
	r := newRig(t, false)
	digits, err := QR(r.token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	short, err := ParseQR(digits)
	if err != nil {
		t.Fatal(err)
	}
	v := r.question(short)
	if got := Verify(v); got.Reason != Forged {
		t.Errorf("a stripped file: %v", got.Reason)
	}
	r.setTrust(t, func(trust *Trust) { trust.QRWithout = false })
	v = r.question(short)
	v.FromQR = true
	if got := Verify(v); got.Reason != Forged {
		t.Errorf("digits where the trust file asks for both signatures: %v", got.Reason)
	}
}

func sealed(t testing.TB, id [16]byte, paths ...string) *Manifest {
	t.Helper()
	m := NewManifest(id)
	fill(t, m, 0, paths...)
	if _, err := m.Seal(); err != nil {
		t.Fatal(err)
	}
	return m
}
