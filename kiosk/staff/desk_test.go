package staff

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crew is a roster whose people all have PINs, which take a while to make.
func crew(t *testing.T) Roster {
	t.Helper()
	r, err := makeCrew()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var makeCrew = sync.OnceValues(func() (Roster, error) {
	r := Roster{KeyID: testKey.ID()}
	for _, p := range []struct {
		person Person
		pin    string
	}{
		{Person{ID: "p-1", Name: "Jane Doe", Number: "4711", Classes: []string{"general", "imaging"}, Sponsor: true}, "482915"},
		{Person{ID: "p-2", Name: "Sam Sure", Number: "4712", Roles: []Role{Security}}, "730162"},
		{Person{ID: "p-3", Name: "Guy Guest", Number: "4713", Classes: []string{"general", "infusion"}, Until: "2199-01-01", Guest: &Guest{"Acme", "WO-1", "p-1"}}, "915037"},
		{Person{ID: "p-4", Name: "Al Ago", Number: "4714", Classes: []string{"general"}, Until: "1999-12-30"}, "564738"},
	} {
		var err error
		if p.person.PIN, err = testKey.PIN(p.person, p.pin); err != nil {
			return r, err
		}
		badge, err := testKey.Badge("card " + p.person.ID)
		if err != nil {
			return r, err
		}
		p.person.Badges = []string{badge}
		if r, err = r.With(p.person); err != nil {
			return r, err
		}
	}
	return r, nil
})

// place is a desk with what it saved.
type place struct {
	*Desk
	roster Roster
	key    Key
	mu     sync.Mutex
	saved  []byte
	broken error
	slowed []int
}

func newPlace(t *testing.T, kept []byte) *place {
	t.Helper()
	p := &place{roster: crew(t), key: testKey}
	p.Desk = NewDesk(DeskConfig{Roster: func() (Roster, Key) { return p.roster, p.key }, Delays: kept, Changed: func() {},
		Save: func(data []byte) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.saved = data
			return p.broken
		},
		Slowed: func(_ [16]byte, n int) { p.slowed = append(p.slowed, n) }})
	return p
}

func (p *place) who() string {
	if w, ok := p.Who(); ok {
		return w.ID
	}
	return ""
}

func TestABadgeAndItsPINSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		if _, err := p.SignIn("", "482915"); !errors.Is(err, ErrWrong) {
			t.Errorf("without a badge: %v", err)
		}
		p.Badge("card p-1")
		if v := p.View(); !v.Badge || v.Name != "" || p.who() != "" {
			t.Errorf("a badge alone: %+v", v)
		}
		if _, err := p.SignIn("", "482915"); err != nil || p.who() != "p-1" {
			t.Errorf("%v", err)
		}
		if v := p.View(); v.Badge || v.Name != "Jane Doe" || fmt.Sprint(v.Classes, v.May) != "[general imaging] [override sponsor]" {
			t.Errorf("%+v", v)
		}
		p.SignOut()
		if _, err := p.SignIn("", "482915"); !errors.Is(err, ErrWrong) { // the badge was used up
			t.Errorf("the same badge again: %v", err)
		}
		p.Badge("card p-1")
		time.Sleep(badgeTime + time.Second)
		if _, err := p.SignIn("", "482915"); !errors.Is(err, ErrWrong) || p.View().Badge {
			t.Errorf("a badge of a while ago: %v", err)
		}
	})
}

func TestAPersonIsSignedOutAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		if _, err := p.SignIn("4711", "482915"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultIdle - time.Second)
		p.Stay()
		time.Sleep(DefaultIdle - time.Second)
		if p.who() != "p-1" {
			t.Error("signed out who was there")
		}
		time.Sleep(2 * time.Second)
		if p.who() != "" || p.View().Name != "" {
			t.Error("signed in who is gone")
		}
		p.Stay() // comes too late
		if p.who() != "" {
			t.Error("back without a PIN")
		}
		// The end of one visit is not the end of the next.
		first, err := p.SignIn("4711", "482915")
		if err != nil {
			t.Fatal(err)
		}
		second, err := p.SignIn("4712", "730162")
		if err != nil || p.who() != "p-2" {
			t.Fatal(err)
		}
		if first(); p.who() != "p-2" {
			t.Error("the connection of one signed out another")
		}
		if second(); p.who() != "" {
			t.Error("still signed in")
		}
	})
}

// What signs nobody in has one answer.
func TestT18_WrongSignInsCannotBeToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, row := range map[string]struct {
			number, pin string
			change      func(*place)
		}{
			"a wrong PIN": {"4711", "482916", nil}, "an unknown number": {"9999", "482915", nil}, "no PIN": {"4711", "", nil}, "another's PIN": {"4711", "730162", nil},
			"a person whose last day is over": {"4714", "564738", nil}, "another staff key": {"4711", "482915", func(p *place) { p.key = Key{9} }},
			"no staff key": {"4711", "482915", func(p *place) { p.key = Key{} }}, "an empty roster": {"4711", "482915", func(p *place) { p.roster = Roster{} }},
		} {
			p := newPlace(t, nil)
			if row.change != nil {
				row.change(p)
			}
			_, err := p.SignIn(row.number, row.pin)
			if err == nil || err.Error() != ErrWrong.Error() || p.who() != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestWhoeverTheRosterDropsIsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		if _, err := p.SignIn("4711", "482915"); err != nil {
			t.Fatal(err)
		}
		before := p.roster
		for name, change := range map[string]func() (Roster, error){
			"dropped":         func() (Roster, error) { return before.Without("p-3") },
			"another class":   func() (Roster, error) { q, _ := before.ByID("p-2"); q.Name = "Sam"; return before.With(q) },
			"nobody any more": func() (Roster, error) { return Roster{}, nil },
		} {
			r, err := change()
			if err != nil {
				t.Fatal(err)
			}
			p.roster = r
			if p.who() != "" {
				t.Errorf("%s: still signed in under another roster", name)
			}
		}
		p.roster = before
		if p.who() != "p-1" {
			t.Error("the same roster again")
		}
	})
}

func TestT18_AGuestNeedsTheNamedSponsor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		in := func(number, pin string) {
			t.Helper()
			if _, err := p.SignIn(number, pin); err != nil {
				t.Fatal(err)
			}
		}
		in("4713", "915037")
		if v := p.View(); p.who() != "" || !v.NeedSponsor || v.Name != "" {
			t.Errorf("a guest alone: %+v", v)
		}
		time.Sleep(DefaultIdle + time.Second)
		in("4711", "482915") // comes too late for the guest
		if p.who() != "p-1" {
			t.Error("the guest waits for ever")
		}
		in("4713", "915037")
		in("4712", "730162")
		if p.who() != "p-2" || p.View().Company != "" {
			t.Error("somebody else than the sponsor")
		}
		in("4713", "915037")
		in("4711", "482915")
		w, ok := p.Who()
		if !ok || w.ID != "p-3" || w.Sponsor != "p-1" || fmt.Sprint(w.Person.Classes) != "[general]" {
			t.Errorf("%+v", w)
		}
		if v := p.View(); v.Company != "Acme" || len(v.May) != 0 {
			t.Errorf("%+v", v)
		}
		if err := p.Guest("Beta", "WO-2"); !errors.Is(err, ErrNone) {
			t.Errorf("a guest answers for a guest: %v", err)
		}
	})
}

// Who tries without end gets slower and slower, and nobody is locked out.
func TestT18_WrongPINsSlowDownAndLockNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		begin, tries := time.Now(), 0
		for time.Since(begin) < 8*time.Minute {
			if _, err := p.SignIn("4711", "999998"); errors.Is(err, ErrWrong) {
				tries++
			} else if !errors.Is(err, ErrSlow) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		t.Logf("%d PINs looked at in 8 minutes", tries)
		if tries > 18 {
			t.Errorf("%d PINs looked at in 8 minutes", tries)
		}
		if got := fmt.Sprint(p.slowed); got != "[4 8]" {
			t.Errorf("the log was told %s", got)
		}
		time.Sleep(maxWait)
		if _, err := p.SignIn("4711", "482915"); err != nil {
			t.Errorf("locked out: %v", err)
		}
		if _, err := p.SignIn("4711", "999998"); !errors.Is(err, ErrWrong) {
			t.Errorf("one mistake after the right PIN: %v", err)
		}
	})
}

// Many numbers with one PIN are slowed down as one number with many is.
func TestT18_TryingManyPeopleIsSlowedDownTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		begin, tries := time.Now(), 0
		for i := 0; time.Since(begin) < 3*time.Minute; i++ {
			if _, err := p.SignIn(fmt.Sprint(10000+i), "482915"); errors.Is(err, ErrWrong) {
				tries++
			}
			time.Sleep(500 * time.Millisecond)
		}
		t.Logf("%d people tried in 3 minutes", tries)
		if tries > 30 {
			t.Errorf("%d people tried in 3 minutes", tries)
		}
		time.Sleep(maxTogether)
		if _, err := p.SignIn("4711", "482915"); err != nil {
			t.Errorf("somebody else is locked out: %v", err)
		}
	})
}

func TestDelaysOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		for range 5 {
			_, _ = p.SignIn("4711", "999998") // wrong, or too soon
			time.Sleep(10 * time.Second)
		}
		_, _ = p.SignIn("4711", "999998")
		if strings.Contains(string(p.saved), "4711") || strings.Contains(string(p.saved), "p-1") {
			t.Errorf("what is kept says who it was: %s", p.saved)
		}
		again := newPlace(t, p.saved)
		if _, err := again.SignIn("4711", "482915"); !errors.Is(err, ErrSlow) {
			t.Errorf("after a restart: %v", err)
		}
		for name, kept := range map[string][]byte{"emptied": {}, "garbage": []byte("{"), "too long": make([]byte, maxDelays+1)} {
			q := newPlace(t, kept)
			if _, err := q.SignIn("4711", "482915"); !errors.Is(err, ErrSlow) {
				t.Errorf("%s: %v", name, err)
			}
			time.Sleep(maxTogether)
			if _, err := q.SignIn("4711", "482915"); err != nil {
				t.Errorf("%s: locked out: %v", name, err)
			}
		}
		// A clock that was set back makes nobody wait for longer than the longest.
		time.Sleep(time.Hour)
		future := parseDelays(nil, time.Now())
		for range 9 {
			future.wrong("x", time.Now().Add(1000*time.Hour))
		}
		if wait := future.wait("x", time.Now()); wait.After(time.Now().Add(maxWait)) {
			t.Errorf("wait until %v", wait)
		}
	})
}

// What cannot be kept signs nobody in: else a full disk would be a way to try without end.
func TestWhatCannotBeKeptSignsNobodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		p.broken = errors.New("the disk is full")
		if _, err := p.SignIn("4711", "482915"); err == nil || p.who() != "" {
			t.Errorf("%v", err)
		}
		if _, err := p.SignIn("4711", "999998"); !errors.Is(err, ErrWrong) {
			t.Errorf("%v", err)
		}
	})
}

func TestThePeopleWhoseMistakesCountAreBounded(t *testing.T) {
	d := parseDelays(nil, time.Now())
	now := time.Now()
	for range 5 {
		d.wrong("victim", now)
	}
	for i := range 10 * maxTracked {
		d.wrong(fmt.Sprint(i), now.Add(time.Duration(i)*time.Second))
	}
	if len(d.People) > maxTracked || d.People["victim"].Count != 5 {
		t.Errorf("%d tracked, the victim with %d", len(d.People), d.People["victim"].Count)
	}
	if len(d.bytes()) > maxDelays {
		t.Errorf("%d bytes", len(d.bytes()))
	}
}
