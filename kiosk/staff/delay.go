package staff

import (
	"encoding/json"
	"slices"
	"time"
)

// Wrong PINs slow a person down and never lock anybody out: a lock-out would let anybody who knows a colleague's number keep them
// from their work. Two mistakes are free, then each doubles the wait, up to a minute: whoever tries without end gets through 1,440
// of a million PINs of one person in a day. All tries together slow the station down too, by a quarter of a minute at most, so that
// everybody can still sign in: 5,760 PINs in a day, whomever they are tried for.
const (
	freeTries    = 2
	maxWait      = time.Minute
	freeTogether = 10 // mistakes of everybody together
	maxTogether  = 15 * time.Second
	// Mistakes are forgotten after a while: those of one person when a night has passed, everybody's after a quarter of an hour.
	forgetPerson   = 12 * time.Hour
	forgetTogether = 15 * time.Minute
	// maxTracked bounds the people and unknown badges whose mistakes are counted. Where there is no room, the one with the fewest
	// makes way: who floods the list with unknown badges does not push out the person whom they are guessing at.
	maxTracked = 256
	maxDelays  = 64 << 10 // bytes of what is kept across starts
)

// mistakes counts wrong PINs.
type mistakes struct {
	Count  int       `json:"count"`
	Latest time.Time `json:"latest"`
}

// until is when the next try is looked at.
func (m mistakes) until(free int, most time.Duration) time.Time {
	if m.Count <= free {
		return time.Time{}
	}
	wait := most
	if n := m.Count - free; n < 16 { // 2^15 s is more than most
		wait = min(most, time.Second<<n)
	}
	return m.Latest.Add(wait)
}

// delays is what is known of wrong PINs. It is kept across starts: else who pulls the plug would begin anew.
type delays struct {
	Together mistakes            `json:"together"`
	People   map[string]mistakes `json:"people"` // by keyed digests
}

// parseDelays reads what was kept. What cannot be read counts as a mistake too many: somebody may have damaged the file to be
// free of it.
func parseDelays(data []byte, now time.Time) delays {
	d := delays{People: map[string]mistakes{}}
	if data == nil {
		return d
	}
	if len(data) > maxDelays || json.Unmarshal(data, &d) != nil || len(d.People) > maxTracked {
		return delays{Together: mistakes{freeTogether + 4, now}, People: map[string]mistakes{}}
	}
	if d.People == nil {
		d.People = map[string]mistakes{}
	}
	return d
}

func (d *delays) bytes() []byte {
	data, err := json.Marshal(d)
	if err != nil { // numbers, times and digests: cannot be
		return nil
	}
	return append(data, '\n')
}

// wait is when the next try of a person is looked at, as far as their own mistakes go and everybody's. A clock that was set back
// does not make it longer than the longest.
func (d *delays) wait(who string, now time.Time) time.Time {
	until := d.together(now)
	if m, ok := d.People[who]; ok && now.Sub(m.Latest) < forgetPerson {
		if t := m.until(freeTries, maxWait); t.After(until) {
			until = t
		}
	}
	if latest := now.Add(maxWait); until.After(latest) {
		return latest
	}
	return until
}

func (d *delays) together(now time.Time) time.Time {
	if now.Sub(d.Together.Latest) >= forgetTogether {
		return time.Time{}
	}
	return d.Together.until(freeTogether, maxTogether)
}

// wrong counts a mistake, and returns how many there are now.
func (d *delays) wrong(who string, now time.Time) int {
	if now.Sub(d.Together.Latest) >= forgetTogether {
		d.Together.Count = 0
	}
	d.Together = mistakes{d.Together.Count + 1, now}
	m := d.People[who]
	if now.Sub(m.Latest) >= forgetPerson {
		m.Count = 0
	}
	if _, known := d.People[who]; !known && len(d.People) >= maxTracked {
		delete(d.People, d.least())
	}
	m = mistakes{m.Count + 1, now}
	d.People[who] = m
	return m.Count
}

// right forgets a person's mistakes.
func (d *delays) right(who string) { delete(d.People, who) }

// least is who made the fewest mistakes, and of those the one who made them longest ago.
func (d *delays) least() string {
	var names []string
	for who := range d.People {
		names = append(names, who)
	}
	return slices.MinFunc(names, func(a, b string) int {
		x, y := d.People[a], d.People[b]
		if x.Count != y.Count {
			return x.Count - y.Count
		}
		return x.Latest.Compare(y.Latest)
	})
}
