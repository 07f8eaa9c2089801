package kiosk

import (
	"sync"
	"time"
)

// A folder that somebody fills for ever offers a bad pack each second, and each refusal would be an entry that is kept for years.
// So the same refusal of the same pack is entered once in refusalTime, and all of them together maxRefusals times: an honest
// team has one or two bad packs on a bad day, and a repository has some twenty ways of being refused without a signature.
// What has no entry is counted, and the next entry says how many there were. The count of a program that ends is lost; its
// journal has them all.
const (
	refusalTime = time.Hour
	maxRefusals = 24
)

// refusal is what makes two refusals the same to an auditor.
type refusal struct {
	gate, code, source string
	pack               [32]byte // zero while nobody knows whose it is
}

// refusals are those that were entered within refusalTime. The zero value is none.
type refusals struct {
	mu     sync.Mutex
	said   map[refusal]time.Time
	untold uint64
}

// enter reports whether a refusal is to be entered, and how many there were since the entry before that were not.
func (r *refusals) enter(what refusal, now time.Time) (untold uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for old, at := range r.said {
		if now.Sub(at).Abs() >= refusalTime { // on either side: a clock that is set back must not silence it for long
			delete(r.said, old)
		}
	}
	if _, known := r.said[what]; known || len(r.said) >= maxRefusals {
		r.untold++
		return 0, false
	}
	if r.said == nil {
		r.said = map[refusal]time.Time{}
	}
	r.said[what] = now
	untold, r.untold = r.untold, 0
	return untold, true
}
