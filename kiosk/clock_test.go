package kiosk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pratique/kiosk/audit"
)

// clockRig is a state with a clock and a count of seconds that a test moves.
type clockRig struct {
	t    *testing.T
	s    *State
	w    *ClockWatch
	dir  string
	at   time.Time     // what the clock shows
	boot time.Duration // what has really passed
}

func newClockRig(t *testing.T) *clockRig {
	r := &clockRig{t: t, dir: t.TempDir(), at: time.Now()}
	r.start()
	return r
}

// start is the next start of the daemon.
func (r *clockRig) start() {
	r.t.Helper()
	if r.s != nil {
		r.s.Close()
	}
	s := &State{dir: r.dir, now: func() time.Time { return r.at }}
	if err := s.open(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	r.s, r.w = s, s.WatchClock()
	r.w.boot = func() (time.Duration, error) { return r.boot, nil }
}

// pass lets time pass; the clock moves by something else.
func (r *clockRig) pass(real, clock time.Duration) {
	r.boot += real
	r.at = r.at.Add(clock)
}

func (r *clockRig) check(stops bool) {
	r.t.Helper()
	f, err := r.w.Check(r.t.Context(), PackConfig{})
	if err != nil || f.Stops != stops || stops != (f.Text != "") {
		r.t.Fatalf("%+v %v, want stopped: %v", f, err, stops)
	}
}

func (r *clockRig) causes() (out []audit.Word) {
	r.t.Helper()
	err := r.s.Log(r.t.Context(), func(e audit.Entry) error {
		switch d := e.Data.(type) {
		case audit.Failed:
			out = append(out, d.Cause)
		case audit.Administered:
			out = append(out, d.What)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func TestT27_AClockThatJumpsStopsTheStationUntilItIsAccepted(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, jump := range map[string]time.Duration{"a year ahead": year, "a year back": -year, "ten minutes ahead": 10 * time.Minute, "ten minutes back": -10 * time.Minute} {
		r := newClockRig(t)
		r.check(false)
		for range 5 { // corrections are none
			r.pass(10*time.Second, 12*time.Second)
			r.check(false)
		}
		r.pass(10*time.Second, 10*time.Second+jump)
		r.check(true)
		r.pass(10*time.Second, 10*time.Second)
		r.check(true)
		r.start() // nor does a new start forget it
		r.check(true)
		r.pass(0, -jump) // nor that somebody sets it right without a word
		r.check(true)
		if c := r.causes(); len(c) != 1 || c[0] != "clock-ahead" && c[0] != "clock-back" {
			t.Errorf("%s: the log has %v", name, c)
		}
		if err := r.s.AcceptClock(t.Context(), PackConfig{}, ""); !errors.Is(err, ErrClock) {
			t.Errorf("%s: accepted by nobody: %v", name, err)
		}
		if err := r.s.AcceptClock(t.Context(), PackConfig{}, "uid:1"); err != nil {
			t.Fatal(err)
		}
		r.check(false)
		r.start()
		r.check(false)
		if c := r.causes(); len(c) != 2 || c[1] != clockAccepted {
			t.Errorf("%s: the log has %v", name, c)
		}
		sound(t, r.dir)
	}
}

func TestT27_AClockThatIsBehindTheLogOrFarAheadOfItStopsAtTheStart(t *testing.T) {
	r := newClockRig(t)
	enter(t, r.s, false)
	r.pass(0, -time.Hour)
	r.start()
	r.check(true)
	r.pass(0, time.Hour) // set right: nothing jumped while it ran, as far as the station saw
	r.start()
	r.check(false)
	r.pass(0, maxOff-time.Hour) // it was in a cupboard
	r.start()
	r.check(false)
	r.pass(0, maxOff+time.Hour)
	r.start()
	r.check(true)
	if err := r.s.AcceptClock(t.Context(), PackConfig{}, "uid:1"); err != nil {
		t.Fatal(err)
	}
	r.check(false)

	// An hour ahead while it was off is not seen, and cannot be; set right again, the log shows it, and an administrator ends it.
	r.pass(0, time.Hour)
	r.start()
	r.check(false)
	enter(t, r.s, false)
	r.pass(0, -time.Hour)
	r.start()
	r.check(true)
	if err := r.s.AcceptClock(t.Context(), PackConfig{}, "uid:1"); err != nil {
		t.Fatal(err)
	}
	r.check(false)
	sound(t, r.dir)
}

func TestT27_SignedTimesOutweighAnAdministrator(t *testing.T) {
	x := newTeam(t)
	x.install()
	at := time.Now().Add(-48 * time.Hour)
	x.s.now = func() time.Time { return at }
	if err := x.s.AcceptClock(t.Context(), x.cfg, "uid:1"); !errors.Is(err, ErrClock) {
		t.Errorf("a clock behind the team's signatures was accepted: %v", err)
	}
	w := x.s.WatchClock()
	if f, err := w.Check(t.Context(), x.cfg); err != nil || !f.Stops {
		t.Errorf("%+v %v", f, err)
	}
	at = time.Now()
	if err := x.s.AcceptClock(t.Context(), x.cfg, "uid:1"); err != nil {
		t.Error(err)
	}
}

func TestNamesAreErasedWhenTheyAreOld(t *testing.T) {
	r := newClockRig(t)
	r.at = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	old := enter(t, r.s, false)
	for _, c := range []struct {
		at     time.Time
		erased bool
	}{{time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC), false}, {time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC), true}, {time.Date(2027, 2, 2, 0, 0, 0, 0, time.UTC), false}} {
		r.at = c.at
		if erased, err := r.s.EraseOld(t.Context(), 12); err != nil || erased != c.erased {
			t.Errorf("%v: %v %v", c.at, erased, err)
		}
	}
	recent := enter(t, r.s, false)
	if erased, err := r.s.EraseOld(t.Context(), 1); err != nil || erased {
		t.Errorf("%v %v", erased, err)
	}
	if d := disclosed(t, r.s, recent); len(d.Items) != 1 {
		t.Errorf("%+v", d)
	}
	if _, err := r.s.Disclose(t.Context(), Subject{Session: old.String()}, "test", Asker{"uid:1", true}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.Disclose(t.Context(), Subject{Session: old.String()}, "test", Asker{"uid:2", true}); !errors.Is(err, ErrDisclosure) {
		t.Errorf("names that are too old: %v", err)
	}
	sound(t, r.dir)
}

func TestADamagedClockFileStops(t *testing.T) {
	r := newClockRig(t)
	if err := os.WriteFile(filepath.Join(r.dir, clockName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.check(true)
}
