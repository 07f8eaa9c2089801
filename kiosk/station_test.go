package kiosk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/localapi"
	"pratique/kiosk/worker"
)

func wantLog(t *testing.T, d *desk, want string) {
	t.Helper()
	d.Stop()
	got, _ := kinds(t, d.dir)
	if strings.Join(got, " ") != want {
		t.Errorf("the log has %q, want %q", strings.Join(got, " "), want)
	}
}

func code(err error) string {
	var e *localapi.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestAMediumIsScannedThenClearedForWhoMay(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", image("clean"))
	p := d.untilState("left", localapi.Waiting)
	if p.Verdict != "cleared" || p.Class != "general" || p.Medium == nil || p.Medium.Kind != "image" || p.Clearance != nil {
		t.Errorf("%+v", p)
	}
	if _, err := d.Issue(t.Context(), "left", "imaging", Person{ID: "p-2", Classes: []string{"general"}}); code(err) != localapi.CodeDenied {
		t.Errorf("a person who may not: %v", err)
	}
	if _, err := d.Issue(t.Context(), "left", "general", Person{}); code(err) != localapi.CodeDenied {
		t.Errorf("nobody: %v", err)
	}
	if _, err := d.Issue(t.Context(), "left", "kitchen", anybody); code(err) != localapi.CodeClass {
		t.Errorf("an unknown class: %v", err)
	}
	if _, err := d.Issue(t.Context(), "middle", "general", anybody); code(err) != localapi.CodePort {
		t.Errorf("an unknown port: %v", err)
	}
	if _, err := d.Issue(t.Context(), "right", "general", anybody); code(err) != localapi.CodeNoMedium {
		t.Errorf("an empty port: %v", err)
	}
	a, err := d.Issue(t.Context(), "left", "general", anybody)
	if err != nil || a.Clearance == nil || a.Verdict != "cleared" || a.Clearance.Class != "general" {
		t.Fatalf("%+v %v", a, err)
	}
	if again, err := d.Issue(t.Context(), "left", "general", anybody); err != nil || again.Clearance.ID != a.Clearance.ID {
		t.Errorf("asked again: %+v %v", again, err)
	}
	if _, err := d.Issue(t.Context(), "left", "laboratory", anybody); code(err) != localapi.CodeBusy {
		t.Errorf("a second clearance: %v", err)
	}
	d.unplug("left")
	d.untilState("left", localapi.Idle)
	d.Stop()
	got, _ := kinds(t, d.dir)
	text := strings.Join(got, " ")
	if strings.Count(text, "denied") != 2 || strings.ReplaceAll(text, " denied", "") != "attached decided issuing issued removed" {
		t.Errorf("the log has %q", text)
	}
	if sessions, err := d.cfg.State.Sessions(t.Context(), 5); err != nil || len(sessions) != 1 || sessions[0].End != "removed" || sessions[0].Code != a.Clearance.Code {
		t.Errorf("%+v %v", sessions, err)
	}
}

// The scan starts with the plug; who asks meanwhile gets the answer at its end. Another class has another verdict.
func TestWhoAsksDuringTheScanWaitsForItsEnd(t *testing.T) {
	d := newDesk(t, nil)
	strict := d.cfg.Want.Pack.Policies["imaging"]
	strict.Allow = []string{"application/dicom"}
	d.cfg.Want.Pack.Policies["imaging"] = strict
	d.plug("left", image("clean"))
	a, err := d.Issue(t.Context(), "left", "imaging", anybody)
	if err != nil || a.Verdict != "not cleared" || a.Clearance != nil || len(a.Reasons) == 0 {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err = d.Issue(t.Context(), "left", "general", anybody); err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	d.Stop()
	got, classes := kinds(t, d.dir)
	if strings.Join(got, " ") != "attached decided decided issuing issued" || strings.Join(classes, ", ") != "general: cleared, imaging: not cleared" {
		t.Errorf("%v, %v", got, classes)
	}
}

func TestWhatIsNotClearedIsDecidedAndNothingMore(t *testing.T) {
	for name, verdict := range map[string]string{"infected": "not cleared", "locked": "could not check", "damaged": "could not check"} {
		d := newDesk(t, nil)
		d.plug("left", image(name))
		p := d.untilState("left", localapi.Decided)
		if p.Verdict != verdict || len(p.Reasons) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		if a, err := d.Issue(t.Context(), "left", "general", anybody); err != nil || a.Verdict != verdict || a.Clearance != nil {
			t.Errorf("%s: %+v %v", name, a, err)
		}
		d.unplug("left")
		d.untilState("left", localapi.Idle)
		wantLog(t, d, "attached decided removed")
	}
}

func TestTwoPortsAreScannedSideBySide(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", image("clean"))
	d.plug("right", image("infected"))
	left, right := d.untilState("left", localapi.Waiting), d.untilState("right", localapi.Decided)
	if left.Verdict != "cleared" || right.Verdict != "not cleared" {
		t.Errorf("%s, %s", left.Verdict, right.Verdict)
	}
}

// held is a medium whose opening waits until the test lets it go on.
func held(m Plugged) (Plugged, chan struct{}) {
	let := make(chan struct{})
	return Plugged{Open: func(ctx context.Context) (*Medium, error) {
		select {
		case <-let:
			return m.Open(ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}, let
}

// A medium that is pulled at any moment ends its session, and whoever waits is told.
func TestT23_UnpluggedAtEachStep(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.img")
	if err := os.WriteFile(large, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	slow := Plugged{Open: func(context.Context) (*Medium, error) { return OpenMedium(large) }}
	for _, c := range []struct {
		state, log string
		source     func() Plugged
	}{
		{localapi.Attached, "", func() Plugged { m, _ := held(image("clean")); return m }},
		{localapi.Scanning, "attached decided removed", func() Plugged { return slow }},
		{localapi.Waiting, "attached decided removed", func() Plugged { return image("clean") }},
		{localapi.Decided, "attached decided removed", func() Plugged { return image("infected") }},
	} {
		d := newDesk(t, nil)
		d.plug("left", c.source())
		d.untilState("left", c.state)
		told := make(chan error, 1)
		if c.state == localapi.Attached || c.state == localapi.Scanning {
			go func() {
				_, err := d.Issue(t.Context(), "left", "general", anybody)
				told <- err
			}()
			time.Sleep(20 * time.Millisecond)
		}
		d.unplug("left")
		if p := d.untilState("left", localapi.Idle); p.Session != "" || p.Verdict != "" || p.Medium != nil {
			t.Errorf("%s: %+v is left", c.state, p)
		}
		if c.state == localapi.Attached || c.state == localapi.Scanning {
			if err := <-told; code(err) != localapi.CodeRemoved && code(err) != localapi.CodeNoMedium {
				t.Errorf("%s: who asked is told %v", c.state, err)
			}
		}
		// The port takes the next one.
		d.plug("left", image("infected"))
		d.untilState("left", localapi.Decided)
		d.Stop()
		got, _ := kinds(t, d.dir)
		if text := strings.Join(got, " "); text != strings.TrimSpace(c.log+" attached decided") {
			t.Errorf("%s: the log has %q", c.state, text)
		}
	}
}

// Another medium in the same port without an unplug, an eject, and a device that turns into something else.
func TestT02_WhatReplacesAMediumNeverInheritsItsSession(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", image("clean"))
	first := d.untilState("left", localapi.Waiting)
	d.plug("left", image("infected"))
	second := d.untilState("left", localapi.Decided)
	if first.Session == second.Session || second.Verdict != "not cleared" {
		t.Errorf("%+v after %+v", second, first)
	}
	if err := d.Eject(t.Context(), "left"); err != nil {
		t.Error(err)
	}
	d.untilState("left", localapi.Removed)
	if _, err := d.Issue(t.Context(), "left", "general", anybody); code(err) != localapi.CodeNoMedium {
		t.Errorf("after an eject: %v", err)
	}
	d.unplug("left")
	d.untilState("left", localapi.Idle)

	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	if err := d.Refuse("left", Refusal{Code: "keyboard", Text: "This is a keyboard.", VID: 1, PID: 2}); err != nil {
		t.Fatal(err)
	}
	p := d.until("left", "refused", func(p localapi.Port) bool { return p.State == localapi.Refused })
	if p.Refusal == nil || p.Refusal.Code != "keyboard" {
		t.Errorf("%+v", p)
	}
	if _, err := d.Issue(t.Context(), "left", "general", anybody); code(err) != localapi.CodeNoMedium {
		t.Errorf("after it became a keyboard: %v", err)
	}
	d.Stop()
	got, _ := kinds(t, d.dir)
	if text := strings.Join(got, " "); strings.Count(text, "refused") != 1 || strings.Count(text, "removed") != 3 || strings.Contains(text, "issu") {
		t.Errorf("the log has %q", text)
	}
}

// What a source says of its medium after the last read counts like what was read, and nothing is signed for a medium that is
// not there any more, though nobody has said so yet.
func TestT02_AMediumThatWasNotLeftAloneIsNotCleared(t *testing.T) {
	with := func(change func(*Medium)) Plugged {
		return Plugged{Open: func(ctx context.Context) (*Medium, error) {
			m, err := image("clean").Open(ctx)
			if err == nil {
				change(m)
			}
			return m, err
		}}
	}
	finish := func(err error) Plugged {
		return with(func(m *Medium) { m.Finish = func(context.Context) error { return err } })
	}
	d := newDesk(t, nil)
	d.plug("left", finish(&worker.DeviceError{Code: worker.CodeDeviceChanged, Text: "x"}))
	if p := d.untilState("left", localapi.Decided); p.Verdict != "could not check" || len(p.Reasons) != 1 || p.Reasons[0].Code != string(DeviceChanged) {
		t.Errorf("%+v", p)
	}
	d.plug("left", finish(errors.New("x")))
	if p := d.untilState("left", localapi.Fault); p.Verdict != "" {
		t.Errorf("%+v", p)
	}
	d.plug("left", finish(nil))
	d.untilState("left", localapi.Waiting)

	alone := true
	d.plug("right", with(func(m *Medium) { m.Untouched = func() bool { return alone } }))
	d.untilState("right", localapi.Waiting)
	alone = false
	if a, err := d.Issue(t.Context(), "right", "general", anybody); code(err) != localapi.CodeRemoved || a.Clearance != nil {
		t.Errorf("%+v %v", a, err)
	}
	if ids, err := os.ReadDir(filepath.Join(d.dir, "clearances")); err != nil || len(ids) > 0 {
		t.Errorf("%v %v", ids, err)
	}
	if a, err := d.Issue(t.Context(), "left", "general", anybody); err != nil || a.Clearance == nil {
		t.Errorf("%+v %v", a, err)
	}
	d.Stop()
	got, _ := kinds(t, d.dir)
	if text := strings.Join(got, " "); strings.Count(text, "issuing") != 1 || strings.Count(text, "issued") != 1 {
		t.Errorf("the log has %q", text)
	}
}

func TestNobodyCameInTime(t *testing.T) {
	d := newDesk(t, func(c *StationConfig) { c.PersonTime = 10 * time.Millisecond })
	d.plug("left", image("clean"))
	if p := d.untilState("left", localapi.Decided); p.Refusal == nil || p.Refusal.Code != "too-late" {
		t.Errorf("%+v", p)
	}
	if _, err := d.Issue(t.Context(), "left", "general", anybody); code(err) != localapi.CodeRemoved {
		t.Errorf("%v", err)
	}
	wantLog(t, d, "attached decided")
}

func TestAStationThatIsNotReadyIssuesNothing(t *testing.T) {
	d := newDesk(t, nil)
	d.SetProblems(false, []localapi.Problem{{Code: "usb", Text: "x"}})
	d.plug("left", image("clean"))
	if _, err := d.Issue(t.Context(), "left", "general", anybody); code(err) != localapi.CodeNotReady {
		t.Errorf("%v", err)
	}
	d.SetProblems(true, nil)
	if a, err := d.Issue(t.Context(), "left", "general", anybody); err != nil || a.Clearance == nil {
		t.Errorf("%+v %v", a, err)
	}
}

// A stop in the middle of a scan, and one before it, leave sessions that the log knows the end of.
func TestStopEndsEverySession(t *testing.T) {
	d := newDesk(t, nil)
	m, _ := held(image("clean"))
	d.plug("left", m)
	d.plug("right", image("clean"))
	d.untilState("right", localapi.Scanning)
	d.Stop()
	wantLog(t, d, "attached decided")
	if err := d.Plug("left", image("clean")); err != nil {
		t.Error(err)
	}
	if p := d.look("left"); p.State != localapi.Idle {
		t.Errorf("plugged in after the stop: %+v", p)
	}
}

func TestAKioskThatFailsSaysSo(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", Plugged{Open: func(context.Context) (*Medium, error) { return nil, fmt.Errorf("%w: gone", ErrWorkers) }})
	if p := d.untilState("left", localapi.Fault); p.Refusal == nil || p.Refusal.Code != "workers" {
		t.Errorf("%+v", p)
	}
	d.cfg.Want.Workers = t.TempDir() // no programs in it
	d.plug("right", image("clean"))
	d.untilState("right", localapi.Fault)
	d.unplug("right")
	d.untilState("right", localapi.Idle)
	d.Stop()
	if got, _ := kinds(t, d.dir); strings.Contains(strings.Join(got, " "), "decided") {
		t.Errorf("the log has %v", got)
	}
}

// Several units are one medium: one verdict, one manifest, the sum of the sizes; an empty slot does not bar.
func TestT06_EveryUnitOfAMediumCounts(t *testing.T) {
	units := func(names ...string) Plugged {
		return Plugged{Open: func(context.Context) (*Medium, error) {
			m := &Medium{Kind: "image"}
			for _, name := range names {
				if name == "" {
					m.Units = append(m.Units, Unit{})
					continue
				}
				one, err := OpenMedium(filepath.Join(built.sticks, name+".img"))
				if err != nil {
					return nil, err
				}
				m.Units = append(m.Units, one.Units...)
			}
			return m, nil
		}}
	}
	for _, c := range []struct {
		names   []string
		verdict string
		vacant  int
	}{
		{[]string{"clean", "", "clean"}, "cleared", 1},
		{[]string{"clean", "infected"}, "not cleared", 0},
		{[]string{"damaged", "clean"}, "could not check", 0},
		{[]string{"", ""}, "could not check", 2},
	} {
		d := newDesk(t, nil)
		d.plug("left", units(c.names...))
		p := d.untilState("left", localapi.Waiting, localapi.Decided)
		if p.Verdict != c.verdict || p.Medium.Vacant != c.vacant || p.Medium.Units != len(c.names) {
			t.Errorf("%v: %+v %+v", c.names, p, p.Medium)
		}
		if c.verdict != "cleared" {
			continue
		}
		a, err := d.Issue(t.Context(), "left", "general", anybody)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.cfg.State.Clearance(a.Clearance.ID)
		if err != nil || got.Claims.Medium.Sectors != uint64(p.Medium.Bytes)/512 || got.Claims.Content.Volumes != 2 {
			t.Errorf("%+v %v", got, err)
		}
	}
}
