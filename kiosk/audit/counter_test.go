package audit

import (
	"strings"
	"testing"
)

// Steps that do not rise were taken out of another history of the same station.
func TestT16_ACounterThatDoesNotRiseIsNamed(t *testing.T) {
	step := func(n uint64, id byte) Event {
		return Event{Data: Administered{What: WhatCounted, Person: Pseudonym{1}, Number: n, Digest: Digest{id}}}
	}
	accepted := func(n uint64, id byte) Event {
		return Event{Data: Administered{What: WhatCountAccepted, Person: Pseudonym{2}, Number: n, Digest: Digest{id}}}
	}
	for name, c := range map[string]struct {
		events []Event
		bad    string
		steps  int64
		at     uint64
	}{
		"rises":                 {[]Event{step(7, 1), step(8, 1), step(11, 1)}, "", 3, 11},
		"falls":                 {[]Event{step(7, 1), step(8, 1), step(7, 1)}, "entry 2: the station's counter was at 8 before and is at 7", 2, 8},
		"stands":                {[]Event{step(7, 1), step(7, 1)}, "entry 1: the station's counter was at 7 before and is at 7", 1, 7},
		"another counter":       {[]Event{step(7, 1), step(3, 2)}, "", 2, 3},
		"accepted":              {[]Event{step(7, 1), accepted(20, 1), step(21, 1)}, "", 2, 21},
		"below what was agreed": {[]Event{step(7, 1), accepted(20, 1), step(8, 1)}, "entry 2: the station's counter was at 20 before and is at 8", 1, 20},
	} {
		l, _ := newLog(t)
		for _, ev := range c.events {
			if _, err := l.Append(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		}
		res, err := l.Verify(t.Context(), VerifyOptions{})
		if err != nil || res.Sound != (c.bad == "") || !res.Sound && !strings.Contains(res.Bad.Error(), c.bad) {
			t.Errorf("%s: %+v %v", name, res.Bad, err)
		}
		if res.Steps != c.steps || res.Counter != c.at {
			t.Errorf("%s: %d steps to %d, want %d to %d", name, res.Steps, res.Counter, c.steps, c.at)
		}
	}
}
