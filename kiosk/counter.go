package kiosk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pratique/kiosk/audit"
)

// A log that is put back to an older state as a whole, with its keys and tokens, is sound in itself. What did not go back with
// it is the counter in the station's TPM (keys.Counter): the log says to which value it was moved, and the two must agree.
//
// The log is told first, and then the counter is moved. So a crash between the two leaves a log that is one ahead, which the
// next start makes good; and a log that is behind, by as little as one, was put back: a crash never looks like that, and nobody
// can make it look like one.
//
// What this does not see: a log that was put back by less than one step, and one that somebody continues who has the log's key
// and writes into it what the counter shows. Against who owns the running machine stand the witnesses' signatures and the
// tokens that left it.

// countTime is how often the counter is moved at most while clearances are issued, beside once for each start. Ten minutes make
// 144 steps on a day without a pause and half a million in ten years, most kiosks a tenth of it; a TPM stands some hundred
// thousand writes for each of the cells that it moves a counter about in, and may refuse more than a few at once
// (TPM_RC_NV_RATE). It is also how much of the log can be taken back without the counter's notice.
const countTime = 10 * time.Minute

// ErrCounter says that the log and the station's counter do not agree, or cannot be compared: nothing is issued.
var ErrCounter = errors.New("the log is not as long as the station's counter says")

// Counter is a number that only rises (keys.Counter).
type Counter interface {
	ID() [32]byte  // of this one and no other
	Start() uint64 // its first value
	Read() (uint64, error)
	Advance() (uint64, error) // by one; the value after it
}

// counting is what a process knows of its counter. The zero value counts nothing.
type counting struct {
	mu      sync.Mutex
	counter Counter // nil if the station has none
	wanted  bool    // the log is held against the counter, or against there being none
	err     error   // why nothing is issued
	value   uint64  // in the newest step in the log
	moved   time.Time
	waits   bool // something was issued since
}

// UseCounter holds the log against the counter of the station's key, nil if it has none, and moves it: each start is a step. Only
// pratiqued calls it, with the key (UseSite). What it returns keeps the station from issuing until Recount finds it right.
func (s *State) UseCounter(ctx context.Context, c Counter) error {
	n := &s.counting
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counter, n.wanted, n.waits = c, true, false
	return s.recount(ctx)
}

// Recount looks at the counter again. It moves it when something was issued that no step covers.
func (s *State) Recount(ctx context.Context) error {
	n := &s.counting
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.wanted:
		return nil
	case n.err != nil:
		return s.recount(ctx)
	case n.counter == nil:
		return nil
	}
	if now, err := n.counter.Read(); err != nil {
		n.err = fmt.Errorf("%w: it cannot be read: %w", ErrCounter, err)
	} else if now != n.value {
		n.err = fmt.Errorf("%w: it was at %d and is at %d", ErrCounter, n.value, now)
	} else if n.waits && time.Since(n.moved) >= countTime {
		n.err = s.count(ctx)
	}
	return n.err
}

// LastCount covers what was issued last. It is called before the counter is closed.
func (s *State) LastCount(ctx context.Context) error {
	n := &s.counting
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.counter == nil || n.err != nil || !n.waits {
		return nil
	}
	n.err = s.count(ctx)
	return n.err
}

// refuses says why nothing may be issued on the counter's account.
func (n *counting) refuses() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// countIssue is called before a clearance is entered. The first one of a while is a step.
func (s *State) countIssue(ctx context.Context) error {
	n := &s.counting
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.err != nil || n.counter == nil:
		return n.err
	case n.waits && time.Since(n.moved) < countTime:
		return nil
	}
	if n.err = s.count(ctx); n.err == nil {
		n.waits = true // for the step that covers this one
	}
	return n.err
}

// recount compares, makes good what a crash left, and makes a step. The lock is held.
func (s *State) recount(ctx context.Context) error {
	n := &s.counting
	if n.err = s.compareCount(ctx); n.err == nil && n.counter != nil {
		n.err = s.count(ctx)
	}
	return n.err
}

func (s *State) compareCount(ctx context.Context) error {
	n := &s.counting
	last, err := s.lastCount(ctx)
	if err != nil {
		return err
	}
	if n.counter == nil {
		if last.Digest != (audit.Digest{}) {
			return fmt.Errorf("%w: the log has counted to %d, and the station's key has no counter", ErrCounter, last.Number)
		}
		return nil
	}
	now, err := n.counter.Read()
	if err != nil {
		return fmt.Errorf("%w: it cannot be read: %w", ErrCounter, err)
	}
	n.value, err = heldAgainst(last, Counted{n.counter.ID(), now, n.counter.Start()})
	if err != nil || n.value == now {
		return err
	}
	return n.advance() // the step that a crash cut off
}

// heldAgainst compares the newest step in the log with a counter, and returns what that must show. It is one behind where a
// crash came between the entry and the step.
func heldAgainst(last audit.Administered, now Counted) (want uint64, err error) {
	want = last.Number
	known := last.Digest == now.ID
	if !known {
		want = now.Start // a new key's, which the log has not counted with yet
	}
	switch {
	case now.Value == want, known && now.Value+1 == want:
		return want, nil
	case now.Value > want:
		return want, fmt.Errorf("%w: the log ends at %d and the counter is at %d, so the log was put back to an older state", ErrCounter, want, now.Value)
	}
	return want, fmt.Errorf("%w: the log ends at %d and the counter is only at %d, so it is not the same counter", ErrCounter, want, now.Value)
}

// count makes a step: the entry first. The lock is held.
func (s *State) count(ctx context.Context) error {
	n := &s.counting
	next := n.value + 1
	if err := s.administered(ctx, audit.Administered{What: audit.WhatCounted, Number: next, Digest: n.counter.ID()}, stationItself); err != nil {
		return err
	}
	if err := s.step("count entered"); err != nil {
		return err
	}
	n.value = next
	if err := n.advance(); err != nil {
		return err
	}
	n.moved, n.waits = time.Now(), false
	return s.step("counted")
}

// advance moves the counter to where the log has it.
func (n *counting) advance() error {
	now, err := n.counter.Advance()
	if err != nil {
		return fmt.Errorf("%w: it cannot be moved: %w", ErrCounter, err)
	}
	if now != n.value {
		return fmt.Errorf("%w: it was moved to %d and is at %d", ErrCounter, n.value, now)
	}
	return nil
}

// stationItself does what nobody asked for.
const stationItself = "station"

// lastCount is the newest step in the log, or what an administrator accepted after it; zero if there is none.
func (s *State) lastCount(ctx context.Context) (last audit.Administered, err error) {
	err = s.log.List(ctx, audit.ListOptions{Kinds: []audit.Kind{audit.KindAdministered}, Newest: true}, func(e audit.Entry) error {
		if d, ok := e.Data.(audit.Administered); ok && (d.What == audit.WhatCounted || d.What == audit.WhatCountAccepted) {
			last = d
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return last, logError(err)
	}
	return last, nil
}

// Counted is a counter as somebody reads it who does not open the key. The zero value is that of a key without one.
type Counted struct {
	ID           [32]byte
	Value, Start uint64
}

// CompareCount holds a log that was verified on the station against what its counter shows.
func CompareCount(res audit.Result, now Counted) error {
	_, err := heldAgainst(audit.Administered{Number: res.Counter, Digest: res.CounterID}, now)
	return err
}

// AcceptCount takes an administrator's word that the log is the right one although the counter says otherwise: it was restored
// from a backup, or the counter is lost. The log keeps who said so, and goes on from what the counter shows.
func (s *State) AcceptCount(ctx context.Context, now Counted, person string) error {
	if person == "" {
		return fmt.Errorf("%w: who accepts it must be known", ErrCounter)
	}
	return s.administered(ctx, audit.Administered{What: audit.WhatCountAccepted, Number: now.Value, Digest: now.ID}, person)
}
