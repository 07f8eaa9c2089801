package kiosk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/keys"
	"pratique/testdata/swtpm"
)

// countedStation is an enrolled station whose key is in a TPM of its own.
type countedStation struct {
	t    *testing.T
	dir  string
	tpm  *swtpm.Device
	box  *keys.Box
	site *siteRig
	s    *State
	open *keys.Opened
}

func newCountedStation(t *testing.T) *countedStation {
	t.Helper()
	c := &countedStation{t: t, dir: filepath.Join(t.TempDir(), "state"), tpm: swtpm.Start(t), site: newSite(t)}
	s, err := OpenState(t.Context(), c.dir)
	if err != nil {
		t.Fatal(err)
	}
	c.enrol(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

// enrol makes a key in the TPM, and has the site list it.
func (c *countedStation) enrol(s *State) {
	c.t.Helper()
	box, err := keys.New(c.t.Context(), keys.TPM, keys.Station, "kiosk-1", c.access(), nil, time.Now().Add(-time.Hour))
	if err != nil {
		c.t.Fatal(err)
	}
	c.box = box
	o, err := keys.Open(c.t.Context(), box, c.access(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer o.Close()
	if c.site.keys, err = o.Keys(); err != nil {
		c.t.Fatal(err)
	}
	c.site.install(c.t, s, c.site.trust(c.t, nil))
}

func (c *countedStation) access() keys.Access { return keys.Access{Device: c.tpm.Socket} }

// start is what a daemon does first. What it returns keeps the station from issuing.
func (c *countedStation) start() error {
	c.t.Helper()
	c.stop()
	var err error
	if c.s, err = OpenState(c.t.Context(), c.dir); err != nil {
		c.t.Fatal(err)
	}
	if c.open, err = keys.Open(c.t.Context(), c.box, c.access(), nil); err != nil {
		c.t.Fatal(err)
	}
	k, err := c.open.Keys()
	if err == nil {
		err = c.s.UseSite("kiosk-1", k)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return c.s.UseCounter(c.t.Context(), c.open.Counter())
}

// stop is the end of a process, with no farewell to the counter.
func (c *countedStation) stop() {
	if c.s != nil {
		c.s.Close()
		c.open.Close()
		c.s, c.open = nil, nil
	}
}

// well starts a station that must be well.
func (c *countedStation) well() {
	c.t.Helper()
	if err := c.start(); err != nil || c.s.MayIssue() != nil {
		c.t.Fatalf("%v, %v", err, c.s.MayIssue())
	}
}

func (c *countedStation) issue() error {
	c.t.Helper()
	se, err := live(c.t, c.s)
	if err != nil && se != nil && se.end != nil {
		se.end(false)
		se.release()
	}
	return err
}

// refuses holds that a started station issues nothing and says why.
func (c *countedStation) refuses(why string) {
	c.t.Helper()
	err := c.s.MayIssue()
	if !errors.Is(err, ErrCounter) || !strings.Contains(err.Error(), why) {
		c.t.Fatalf("%v, want %q", err, why)
	}
	if err := c.issue(); !errors.Is(err, ErrCounter) {
		c.t.Fatalf("a clearance: %v", err)
	}
}

// steps lists the values in the log, with a sign before one that somebody accepted.
func (c *countedStation) steps() (out []int) {
	c.t.Helper()
	err := c.s.Log(c.t.Context(), func(e audit.Entry) error {
		d, ok := e.Data.(audit.Administered)
		if !ok || d.What != audit.WhatCounted && d.What != audit.WhatCountAccepted {
			return nil
		}
		n := int(d.Number - c.open.Counter().Start())
		if d.What == audit.WhatCountAccepted {
			n = -n
		}
		out = append(out, n)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *countedStation) stepsAre(want ...int) {
	c.t.Helper()
	if got := c.steps(); !slices.Equal(got, want) {
		c.t.Fatalf("the log has the steps %v, want %v", got, want)
	}
}

// copyOf copies the state folder as a whole; back puts a copy in its place.
func (c *countedStation) copyOf() string {
	c.t.Helper()
	c.stop()
	to := filepath.Join(c.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(c.dir)); err != nil {
		c.t.Fatal(err)
	}
	return to
}

func (c *countedStation) back(from string) {
	c.t.Helper()
	c.stop()
	if err := errors.Join(os.RemoveAll(c.dir), os.CopyFS(c.dir, os.DirFS(from))); err != nil {
		c.t.Fatal(err)
	}
	err := filepath.WalkDir(filepath.Join(c.dir, "key"), func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chmod(name, 0o600) // CopyFS gives everybody what the owner may
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *countedStation) verified() (audit.Result, error) {
	c.t.Helper()
	c.stop()
	res, err := VerifyLog(c.t.Context(), c.dir)
	if err != nil || !res.Sound {
		c.t.Fatalf("%+v %v", res.Bad, err)
	}
	now, err := keys.ReadCounter(c.box, c.access())
	if err != nil {
		c.t.Fatal(err)
	}
	return res, CompareCount(res, Counted(now))
}

// accept is an administrator's word.
func (c *countedStation) accept() {
	c.t.Helper()
	c.stop()
	now, err := keys.ReadCounter(c.box, c.access())
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := OpenState(c.t.Context(), c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := errors.Join(s.AcceptCount(c.t.Context(), Counted(now), "uid:1"), s.Close()); err != nil {
		c.t.Fatal(err)
	}
}

func TestT16_TheCounterGoesWithTheLog(t *testing.T) {
	c := newCountedStation(t)
	c.well()
	c.stepsAre(1)
	for range 2 { // the first is a step, and the next not before its time
		if err := c.issue(); err != nil {
			t.Fatal(err)
		}
	}
	c.stepsAre(1, 2)
	if err := c.s.Recount(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.stepsAre(1, 2)
	c.s.counting.moved = time.Now().Add(-countTime)
	if err := c.s.Recount(t.Context()); err != nil { // covers what was issued
		t.Fatal(err)
	}
	c.stepsAre(1, 2, 3)
	c.s.counting.moved = time.Now().Add(-countTime)
	if err := c.s.Recount(t.Context()); err != nil { // and nothing was
		t.Fatal(err)
	}
	c.stepsAre(1, 2, 3)
	if err := c.issue(); err != nil {
		t.Fatal(err)
	}
	if err := c.s.LastCount(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.stepsAre(1, 2, 3, 4, 5)
	c.well()
	c.stepsAre(1, 2, 3, 4, 5, 6)
	if res, err := c.verified(); err != nil || res.Steps != 6 || res.Counter == 0 {
		t.Errorf("%+v %v", res, err)
	}
}

// Everything goes back to an older day: the log, its keys, the tokens. Only the TPM does not.
func TestT16_AStateThatIsPutBackAsAWholeIsSeenByTheCounter(t *testing.T) {
	for name, back := range map[string]func(c *countedStation, old string){
		"the whole state": (*countedStation).back,
		"the database": func(c *countedStation, old string) {
			c.stop()
			for _, suffix := range []string{"", "-wal", "-shm"} {
				os.Remove(filepath.Join(c.dir, audit.FileName+suffix))
			}
			data, err := os.ReadFile(filepath.Join(old, audit.FileName))
			if err == nil {
				err = os.WriteFile(filepath.Join(c.dir, audit.FileName), data, 0o600)
			}
			// The tokens that would show it too are gone with those who took them.
			if err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, "clearances"))); err != nil {
				c.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCountedStation(t)
			c.well()
			old := c.copyOf()
			c.well()
			if err := c.issue(); err != nil {
				t.Fatal(err)
			}
			back(c, old)
			if _, err := c.verified(); !errors.Is(err, ErrCounter) || !strings.Contains(err.Error(), "put back to an older state") {
				t.Errorf("the log is verified: %v", err)
			}
			for range 2 { // a restart heals nothing, and counts nothing
				if err := c.start(); !errors.Is(err, ErrCounter) {
					t.Fatalf("it starts: %v", err)
				}
				c.refuses("put back to an older state")
				if err := c.s.Recount(t.Context()); !errors.Is(err, ErrCounter) {
					t.Fatalf("it got well by itself: %v", err)
				}
				c.stepsAre(1)
			}
			c.accept()
			c.well()
			if err := c.issue(); err != nil {
				t.Fatal(err)
			}
			c.stepsAre(1, -3, 4, 5)
			if _, err := c.verified(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A log that goes back by one step only is seen as well: a crash leaves a log that is ahead, never one that is behind.
func TestT16_ALogThatIsBehindByOneStepIsNoCrash(t *testing.T) {
	c := newCountedStation(t)
	empty := c.copyOf()
	c.well()
	old := c.copyOf()
	c.well()
	for _, from := range []string{old, empty} {
		c.back(from)
		if err := c.start(); !errors.Is(err, ErrCounter) {
			t.Fatalf("%v", err)
		}
		c.refuses("put back to an older state")
	}
}

func TestT23_ACrashBesideTheCounterIsMadeGood(t *testing.T) {
	for step, want := range map[string][]int{"count entered": {1, 2, 3, 4}, "counted": {1, 2, 3, 4}} {
		c := newCountedStation(t)
		c.well()
		c.s.fault = func(at string) error {
			if at == step {
				return errCrash
			}
			return nil
		}
		if err := c.issue(); !errors.Is(err, errCrash) {
			t.Fatalf("%s: %v", step, err)
		}
		if _, err := c.verified(); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		c.well()
		if err := c.issue(); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		c.stepsAre(want...)
		if _, err := c.verified(); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
}

func TestT16_AStationWhoseCounterCannotBeReadIssuesNothing(t *testing.T) {
	c := newCountedStation(t)
	c.well()
	c.tpm.Stop()
	if err := c.s.Recount(t.Context()); !errors.Is(err, ErrCounter) {
		t.Errorf("%v", err)
	}
	c.refuses("cannot be read")
	c.stepsAre(1)
}

// So a station looks whose key was made anew in a place that counts nothing.
func TestT16_ALogThatWasCountedIsNotTakenWithoutItsCounter(t *testing.T) {
	c := newCountedStation(t)
	c.well()
	if err := c.s.UseCounter(t.Context(), nil); !errors.Is(err, ErrCounter) {
		t.Fatal(err)
	}
	c.refuses("has no counter")
	if err := c.s.AcceptCount(t.Context(), Counted{}, ""); !errors.Is(err, ErrCounter) {
		t.Errorf("nobody accepted it: %v", err)
	}
	if err := c.s.AcceptCount(t.Context(), Counted{}, "uid:1"); err != nil {
		t.Fatal(err)
	}
	if err := c.s.Recount(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.issue(); err != nil {
		t.Error(err)
	}
}

// A TPM that was replaced opens nothing of the old one's. With a key of its own, which the site lists, the station goes on.
func TestT16_AReplacedTPMGoesOnWithAKeyOfItsOwn(t *testing.T) {
	c := newCountedStation(t)
	c.well()
	c.stop()
	c.tpm.Stop()
	c.tpm = swtpm.Start(t)
	if _, err := keys.Open(t.Context(), c.box, c.access(), nil); !errors.Is(err, keys.ErrClosed) {
		t.Fatalf("the old key opens: %v", err)
	}
	if _, err := keys.ReadCounter(c.box, c.access()); !errors.Is(err, keys.ErrClosed) {
		t.Fatalf("the old counter is read: %v", err)
	}
	s := openState(t, c.dir)
	c.enrol(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.well()
	if err := c.issue(); err != nil {
		t.Fatal(err)
	}
	old := c.copyOf()
	c.well()
	c.back(old)
	if err := c.start(); !errors.Is(err, ErrCounter) {
		t.Errorf("%v", err)
	}
}

// A counter of another TPM with the same name would be behind: it is told apart from a log that was put back.
func TestT16_ACounterThatIsBehindTheLogIsAnother(t *testing.T) {
	id := audit.Digest{1}
	for _, row := range []struct {
		last audit.Administered
		now  Counted
		why  string
	}{
		{audit.Administered{}, Counted{id, 7, 7}, ""},
		{audit.Administered{}, Counted{id, 8, 7}, "older state"},
		{audit.Administered{}, Counted{id, 6, 7}, "not the same"},
		{audit.Administered{Number: 9, Digest: id}, Counted{id, 9, 7}, ""},
		{audit.Administered{Number: 9, Digest: id}, Counted{id, 8, 7}, ""},
		{audit.Administered{Number: 9, Digest: id}, Counted{id, 7, 7}, "not the same"},
		{audit.Administered{Number: 9, Digest: id}, Counted{id, 10, 7}, "older state"},
		{audit.Administered{Number: 9, Digest: audit.Digest{2}}, Counted{id, 7, 7}, ""},
		{audit.Administered{Number: 9, Digest: audit.Digest{2}}, Counted{id, 9, 7}, "older state"},
		{audit.Administered{Number: 9, Digest: id}, Counted{id, ^uint64(0), 7}, "older state"},
	} {
		_, err := heldAgainst(row.last, row.now)
		if (err == nil) != (row.why == "") || err != nil && !strings.Contains(err.Error(), row.why) {
			t.Errorf("%+v: %v, want %q", row, err, row.why)
		}
	}
}

// A token that left the station shows a database that was swapped, on any machine and without a TPM.
func TestT16_ATokenShowsASwappedDatabase(t *testing.T) {
	c := newCountedStation(t)
	c.well()
	old := c.copyOf()
	c.well()
	if err := c.issue(); err != nil {
		t.Fatal(err)
	}
	tokens, err := filepath.Glob(filepath.Join(c.dir, "clearances", "*", tokenName))
	if err != nil || len(tokens) != 1 {
		t.Fatal(tokens, err)
	}
	token, err := os.ReadFile(tokens[0])
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	if res, err := Verify(context.Background(), Evidence{State: c.dir, Tokens: [][]byte{token}}); err != nil || !res.Sound {
		t.Errorf("%+v %v", res.Bad, err)
	}
	res, err := Verify(context.Background(), Evidence{State: old, Tokens: [][]byte{token}})
	if err != nil || res.Sound || !strings.Contains(res.Bad.What, "a token names entry") {
		t.Errorf("%+v %v", res.Bad, err)
	}
}
