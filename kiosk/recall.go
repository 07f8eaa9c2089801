package kiosk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/rules"
	"pratique/rules/blocklist"
)

// A new pack can know that something harmful was cleared. The log keeps SHA-256, type and size of every item, so hash lists
// and what a policy says of types are run against all clearances that were ever issued. What YARA rules would say today
// nobody can know without the content: for those there is the list by window (Cleared).
//
// What is recalled is in the log, and while the clearance would still hold, on the revocation list of the trust file.

// The causes of a recall.
const (
	causeHash = "hash-list" // an item is on a hash list
	causeType = "type"      // an item has a type that the class took then and does not take now
)

// Recall is a clearance that was taken back, or one that a window lists.
type Recall struct {
	ID      audit.ID
	Code    string
	Station string // that issued it
	Classes []string
	Issued  time.Time
	Expires time.Time
	Rules   audit.Rules // that it was cleared with; of a recall, that know better
	Cause   string      // empty for one that was not recalled
	Items   uint64      // that were recalled
}

// cleared is a clearance as the log has it.
type cleared struct {
	id      audit.ID
	station string
	classes []string
	issued  time.Time
	expires time.Time
	rules   audit.Rules
	token   bool // it was written
	again   bool // it was recalled already
}

// clearances reads what was issued, oldest first.
func (s *State) clearances(ctx context.Context) ([]*cleared, error) {
	byID := map[audit.ID]*cleared{}
	var out []*cleared
	opts := audit.ListOptions{Kinds: []audit.Kind{audit.KindIssuing, audit.KindIssued, audit.KindRecalled}}
	err := s.log.List(ctx, opts, func(e audit.Entry) error {
		switch d := e.Data.(type) {
		case audit.Issuing:
			claims, err := clearance.LeafClaims(e.Leaf)
			if err != nil {
				return err
			}
			c := &cleared{id: e.Session, station: claims.Issuer, classes: claims.Audience, issued: claims.IssuedAt, expires: claims.Expires,
				rules: audit.Rules{Name: audit.Word(claims.Rules.Name), Version: claims.Rules.Version}}
			byID[c.id] = c
			out = append(out, c)
		case audit.Issued:
			if c := byID[e.Session]; c != nil {
				c.token = true
			}
		case audit.Recalled:
			if c := byID[d.Clearance]; c != nil {
				c.again = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, logError(err)
	}
	return slices.DeleteFunc(out, func(c *cleared) bool { return !c.token }), nil
}

// recall holds what was cleared against a pack, and takes back what it knows to be harmful. before is the pack that was in
// force; only what its policies took can be newly refused. What was recalled before is not recalled again.
func (s *State) recall(ctx context.Context, now, before rules.Pack) ([]Recall, error) {
	past, err := s.clearances(ctx)
	if err != nil {
		return nil, err
	}
	past = slices.DeleteFunc(past, func(c *cleared) bool { return c.again })
	if len(past) == 0 {
		return nil, nil
	}
	known, shut, err := s.knownHashes(ctx, now)
	if err != nil {
		return nil, err
	}
	defer shut()
	found, err := s.judgePast(ctx, past, func(ctx context.Context, c *cleared) (string, uint64, error) {
		return s.judgeCleared(ctx, c.id, c.classes, known, now, before)
	})
	if err != nil {
		return nil, err
	}
	for i := range found {
		r := &found[i]
		r.Rules = auditRules(now)
		ev := audit.Recalled{Clearance: r.ID, Expires: r.Expires.Unix(), Cause: audit.Word(r.Cause), Items: r.Items, Rules: r.Rules}
		if station := audit.Word(r.Station); station.Valid() {
			ev.Station = station
		}
		for _, class := range r.Classes {
			ev.Classes = append(ev.Classes, audit.Word(class))
		}
		if _, err := s.log.Append(ctx, audit.Event{Data: ev}); err != nil {
			return nil, logError(err)
		}
	}
	if len(found) > 0 {
		err = s.publishTrust(ctx, true)
	}
	return found, err
}

// judgePast judges clearances side by side: each takes reads of its own.
func (s *State) judgePast(ctx context.Context, past []*cleared, judge func(context.Context, *cleared) (string, uint64, error)) ([]Recall, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]Recall, len(past))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.NumCPU(), 4) { // the log has four connections for readers
		workers.Go(func() {
			for i := range next {
				c := past[i]
				cause, items, err := judge(ctx, c)
				if err != nil {
					cancel(err)
					return
				}
				if cause != "" {
					out[i] = Recall{ID: c.id, Code: clearance.Code(c.id), Station: c.station, Classes: c.classes, Issued: c.issued, Expires: c.expires, Cause: cause, Items: items}
				}
			}
		})
	}
feed:
	for i := range past {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return nil, logError(context.Cause(ctx))
	}
	return slices.DeleteFunc(out, func(r Recall) bool { return r.Cause == "" }), nil
}

// judgeCleared says why a session's items must not have been cleared, if the pack knows a reason.
func (s *State) judgeCleared(ctx context.Context, id audit.ID, classes []string, known func([]byte) bool, now, before rules.Pack) (cause string, items uint64, err error) {
	err = s.log.Hashes(ctx, id, func(sums []byte) error {
		for sum := range slices.Chunk(sums, sha256.Size) {
			if known(sum) {
				items++
			}
		}
		return ctx.Err()
	})
	if err != nil || items > 0 {
		return causeHash, items, err
	}
	var changed []string
	for _, class := range classes {
		was, had := before.Policies[class]
		if is, has := now.Policies[class]; had && has && !is.SameTypes(was) { // most packs change no policy
			changed = append(changed, class)
		}
	}
	if len(changed) == 0 {
		return "", 0, nil
	}
	types, err := s.log.Types(ctx, id)
	if err != nil {
		return "", 0, err
	}
	for kind, n := range types {
		for _, class := range changed {
			if before.Policies[class].Allows(kind) && !now.Policies[class].Allows(kind) {
				items += n
				break
			}
		}
	}
	if items > 0 {
		return causeType, items, nil
	}
	return "", 0, nil
}

// knownHashes opens the SHA-256 of a pack's lists. Hashes of other kinds say nothing about items, of which the log keeps
// SHA-256 alone. What is excepted from this very pack's lists is not known: it would be recalled as soon as it was cleared.
func (s *State) knownHashes(ctx context.Context, p rules.Pack) (known func(sum []byte) bool, shut func(), err error) {
	except, err := s.excepted(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	f, err := s.list(p)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := mapFile(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	shut = func() { _ = unix.Munmap(data) } // nothing to be done about it
	list, err := blocklist.Open(data)
	if err != nil {
		shut()
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return func(sum []byte) bool { return list.Has(blocklist.SHA256, sum) && !except.Listed(sum) }, shut, nil
}

// mapFile maps a file of this station's own making, which nobody makes shorter.
func mapFile(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

// Window chooses clearances.
type Window struct {
	Since   time.Time // issued from here on; zero for all
	Until   time.Time // and before this; zero for all
	Pack    string    // cleared with this pack; empty for any
	Version uint64    // and with a version up to this one; 0 for any
}

// Cleared lists the clearances of a window, oldest first, recalled or not: what somebody has to look after who learns that a
// rule was missing.
func (s *State) Cleared(ctx context.Context, w Window) ([]Recall, error) {
	past, err := s.clearances(ctx)
	if err != nil {
		return nil, err
	}
	recalled, err := s.Recalled(ctx)
	if err != nil {
		return nil, err
	}
	causes := map[audit.ID]Recall{}
	for _, r := range recalled {
		causes[r.ID] = r
	}
	var out []Recall
	for _, c := range past {
		name, _, _ := strings.Cut(string(c.rules.Name), "+") // what the station adds is behind it
		switch {
		case !w.Since.IsZero() && c.issued.Before(w.Since), !w.Until.IsZero() && !c.issued.Before(w.Until):
		case w.Pack != "" && w.Pack != name, w.Version != 0 && c.rules.Version > w.Version:
		default:
			r := causes[c.id]
			out = append(out, Recall{ID: c.id, Code: clearance.Code(c.id), Station: c.station, Classes: c.classes, Issued: c.issued, Expires: c.expires,
				Rules: c.rules, Cause: r.Cause, Items: r.Items})
		}
	}
	return out, nil
}

// Recalled lists what was recalled, in the order in which that happened.
func (s *State) Recalled(ctx context.Context) ([]Recall, error) {
	var out []*Recall // newest first, so that what was recalled is known when its issue comes
	byID := map[audit.ID]*Recall{}
	opts := audit.ListOptions{Kinds: []audit.Kind{audit.KindIssuing, audit.KindRecalled}, Newest: true}
	err := s.log.List(ctx, opts, func(e audit.Entry) error {
		switch d := e.Data.(type) {
		case audit.Issuing:
			r := byID[e.Session]
			if r == nil {
				return nil
			}
			claims, err := clearance.LeafClaims(e.Leaf)
			r.Station, r.Issued = claims.Issuer, claims.IssuedAt
			return err
		case audit.Recalled:
			r := &Recall{ID: d.Clearance, Code: clearance.Code(d.Clearance), Expires: time.Unix(d.Expires, 0).UTC(), Cause: string(d.Cause),
				Items: d.Items, Rules: d.Rules}
			for _, class := range d.Classes {
				r.Classes = append(r.Classes, string(class))
			}
			out, byID[r.ID] = append(out, r), r
		}
		return nil
	})
	if err != nil {
		return nil, logError(err)
	}
	var list []Recall
	for _, r := range slices.Backward(out) {
		list = append(list, *r)
	}
	return list, nil
}

// revoked are the ids of recalled clearances that would still hold: what a trust file has to name. If they are more than it
// can name, the newest are taken; a station that issues so many within three days is to be taken out of the file as a whole.
func (s *State) revoked(ctx context.Context) ([][16]byte, error) {
	var out [][16]byte
	now := s.now()
	opts := audit.ListOptions{Kinds: []audit.Kind{audit.KindRecalled}, Newest: true}
	err := s.log.List(ctx, opts, func(e audit.Entry) error {
		d, ok := e.Data.(audit.Recalled)
		if ok && time.Unix(d.Expires, 0).After(now) && !slices.Contains(out, [16]byte(d.Clearance)) {
			if out = append(out, d.Clearance); len(out) == clearance.MaxRevoked {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, logError(err)
	}
	return out, nil
}
