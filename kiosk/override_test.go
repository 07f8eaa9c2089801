package kiosk

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pratique/kiosk/clearance"
	"pratique/kiosk/localapi"
)

// The people of these tests.
var (
	nurse    = Person{ID: "p-nurse", Classes: []string{"general", "imaging"}}
	doctor   = Person{ID: "p-doctor", Classes: []string{"general", "imaging"}}
	officer  = Person{ID: "p-officer", Security: true}
	visitor  = Person{ID: "p-visitor", Classes: []string{"general"}, Guest: true}
	stranger = Person{}
)

// red asks for an override and wants an answer.
func (d *desk) red(class, reason string, who Person) localapi.Answer {
	d.t.Helper()
	a, err := d.Override(d.t.Context(), "left", class, reason, who)
	if err != nil {
		d.t.Fatalf("%s: %v", who.ID, err)
	}
	return a
}

func TestTwoPeopleLetThroughWhatWasNotCleared(t *testing.T) {
	for name, order := range map[string][2]Person{"a nurse asks": {nurse, officer}, "an officer asks": {officer, nurse}} {
		d := newDesk(t, nil)
		d.plug("left", image("infected"))
		d.untilState("left", localapi.Decided)
		a := d.red("general", "patient-emergency", order[0])
		if !a.Pending || a.Clearance != nil || a.Verdict != "not cleared" {
			t.Fatalf("%s: %+v", name, a)
		}
		if p := d.untilState("left", localapi.Decided); p.Override == nil || p.Override.Reason != "patient-emergency" || p.Override.Class != "general" {
			t.Errorf("%s: the screen does not say what waits: %+v", name, p)
		}
		if again := d.red("general", "patient-emergency", order[0]); !again.Pending || again.Clearance != nil {
			t.Fatalf("%s twice: %+v", name, again)
		}
		a = d.red("general", "patient-emergency", order[1])
		if a.Pending || a.Clearance == nil || a.Clearance.Override != "patient-emergency" || a.Verdict != "not cleared" {
			t.Fatalf("%s: %+v", name, a)
		}
		if p := d.untilState("left", localapi.Issued); p.Clearance == nil || p.Clearance.Override == "" || p.Verdict != "not cleared" || p.Override != nil {
			t.Errorf("%s: %+v", name, p)
		}
		c, err := d.cfg.State.Clearance(a.Clearance.ID)
		if err != nil {
			t.Fatal(err)
		}
		state := d.cfg.State
		if o := c.Claims.Override; c.Claims.Verdict != clearance.NotCleared || o == nil || o.Reason != "patient-emergency" || c.Claims.Operator != state.pseudonym(personOf(order[0].ID)) ||
			o.Second != state.pseudonym(personOf(order[1].ID)) || c.Claims.Expires.Sub(c.Claims.IssuedAt) != clearance.MaxOverride {
			t.Errorf("%s: %+v", name, c.Claims)
		}
		if _, err := d.Issue(t.Context(), "left", "general", doctor); code(err) != localapi.CodeBusy {
			t.Errorf("%s: who asks for a clearance gets %v", name, err)
		}
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(state.path("demo.trust"))
		if err != nil {
			t.Fatal(err)
		}
		trust, err := clearance.ParseTrust(data)
		if err != nil {
			t.Fatal(err)
		}
		v := clearance.Verification{Token: token, Trust: trust, AllowDemo: true, Now: time.Now(), Comparison: &clearance.Comparison{Equal: true}}
		if res := clearance.Verify(v); res.Reason != clearance.Overridden {
			t.Errorf("%s: a device takes it: %v", name, res.Reason)
		}
		if v.AllowOverride = true; clearance.Verify(v).Reason != clearance.Valid {
			t.Errorf("%s: a device that was told to does not take it", name)
		}
		d.unplug("left")
		d.untilState("left", localapi.Idle)
		wantLog(t, d, "attached decided override override issuing issued removed")
	}
}

// Each way to get an override with less than the rules ask for.
func TestT18_NoOverrideWithLessThanTwoPeopleAndTheRulesConsent(t *testing.T) {
	type step struct {
		class, reason string
		who           Person
		code          string // of the error; empty for an answer that is pending
	}
	ask := step{"general", "drill", nurse, ""}
	for name, row := range map[string]struct {
		stick string
		steps []step
	}{
		"one person":                   {"infected", []step{ask, ask, ask}},
		"one officer":                  {"infected", []step{{"general", "drill", officer, ""}, {"general", "drill", officer, ""}}},
		"two of the ward":              {"infected", []step{ask, {"general", "drill", doctor, localapi.CodeOverride}}},
		"nobody":                       {"infected", []step{{"general", "drill", stranger, localapi.CodeDenied}}},
		"a guest":                      {"infected", []step{{"general", "drill", visitor, localapi.CodeDenied}, ask, {"general", "drill", visitor, localapi.CodeDenied}}},
		"a person without the class":   {"infected", []step{{"general", "drill", Person{ID: "p", Classes: []string{"imaging"}}, localapi.CodeDenied}}},
		"another reason":               {"infected", []step{ask, {"general", "equipment-down", officer, ""}}},
		"no reason of the list":        {"infected", []step{{"general", "because", nurse, localapi.CodeRequest}}},
		"a class that has no override": {"infected", []step{{"imaging", "drill", nurse, localapi.CodeOverride}, {"imaging", "drill", officer, localapi.CodeOverride}}},
		"an unknown class":             {"infected", []step{{"kitchen", "drill", nurse, localapi.CodeClass}}},
		"a medium that is cleared":     {"clean", []step{{"general", "drill", nurse, localapi.CodeOverride}, {"general", "drill", officer, localapi.CodeOverride}}},
		"what could not be read":       {"locked", []step{{"general", "drill", nurse, localapi.CodeOverride}, {"general", "drill", officer, localapi.CodeOverride}}},
		"what is damaged":              {"damaged", []step{{"general", "drill", nurse, localapi.CodeOverride}}},
	} {
		d := newDesk(t, nil)
		d.plug("left", image(row.stick))
		d.untilState("left", localapi.Decided, localapi.Waiting)
		for i, s := range row.steps {
			a, err := d.Override(t.Context(), "left", s.class, s.reason, s.who)
			if a.Clearance != nil || (s.code == "") != (err == nil) || err != nil && code(err) != s.code || err == nil && !a.Pending {
				t.Errorf("%s, step %d: %+v %v", name, i, a, err)
			}
		}
		d.Stop()
		if got, _ := kinds(t, d.dir); strings.Contains(strings.Join(got, " "), "issu") {
			t.Errorf("%s: the log has %v", name, got)
		}
	}
}

func TestAnOverrideIsOfOneMediumAndOneMoment(t *testing.T) {
	d := newDesk(t, nil)
	if _, err := d.Override(t.Context(), "left", "general", "drill", nurse); code(err) != localapi.CodeNoMedium {
		t.Errorf("an empty port: %v", err)
	}
	d.plug("left", image("infected"))
	d.untilState("left", localapi.Decided)
	d.red("general", "drill", nurse)
	// The stick is swapped before the second person comes.
	d.plug("left", image("infected"))
	d.until("left", "swapped", func(p localapi.Port) bool { return p.State == localapi.Decided && p.Override == nil })
	if a := d.red("general", "drill", officer); !a.Pending || a.Clearance != nil {
		t.Fatalf("the second person lets another stick through: %+v", a)
	}
	// The first person's word is forgotten after a while.
	d.Station.mu.Lock()
	d.port("left").pending.until = time.Now()
	d.Station.mu.Unlock()
	if a := d.red("general", "drill", nurse); !a.Pending || a.Clearance != nil {
		t.Fatalf("an old word counts: %+v", a)
	}
	d.SetProblems(false, nil)
	if _, err := d.Override(t.Context(), "left", "general", "drill", officer); code(err) != localapi.CodeNotReady {
		t.Errorf("a station that is not ready: %v", err)
	}
	d.SetProblems(true, nil)
	if a := d.red("general", "drill", officer); a.Clearance == nil {
		t.Fatalf("%+v", a)
	}
}

func TestT17_AnIncidentStopsAnOverride(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", image("infected"))
	d.untilState("left", localapi.Decided)
	d.red("general", "drill", nurse)
	if _, err := d.cfg.State.BeginIncident(t.Context(), "test", time.Now(), "uid:1"); err != nil {
		t.Fatal(err)
	}
	if a, err := d.Override(t.Context(), "left", "general", "drill", officer); err == nil || a.Clearance != nil {
		t.Errorf("%+v", a)
	}
}

// A crash at each step of an override leaves a log that is sound, and a token only with its entry.
func TestT23_ACrashInAnOverrideLeavesNothingHalf(t *testing.T) {
	for _, at := range []string{"folder", "manifest", "issuing", "token", "issued"} {
		d := newDesk(t, nil)
		d.plug("left", image("infected"))
		d.untilState("left", localapi.Decided)
		d.red("general", "drill", nurse)
		var once sync.Once
		d.cfg.State.fault = func(step string) (err error) {
			if step == at {
				once.Do(func() { err = context.Canceled })
			}
			return err
		}
		if a, err := d.Override(t.Context(), "left", "general", "drill", officer); err == nil || a.Clearance != nil {
			t.Fatalf("%s: %+v", at, a)
		}
		d.Stop()
		d.cfg.State.fault = nil
		d.cfg.State.Close()
		got, _ := kinds(t, d.dir)
		text := strings.Join(got, " ")
		if strings.Contains(text, "issuing") && !strings.Contains(text, "abandoned") && !strings.Contains(text, "issued") {
			t.Errorf("%s: the log has %s", at, text)
		}
	}
}
