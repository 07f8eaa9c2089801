package kiosk

import (
	"context"
	"errors"
	"slices"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
	"pratique/scanner/report"
)

// An override lets a medium through that the scan did not clear: at three in the night an image that a surgeon waits for can be
// worth the risk, and the risk is then two people's and nobody's alone. One asks, another confirms, and one of them belongs to
// the security team. The token is red: it says what the scan said, holds for four hours at most, and devices refuse it unless they
// were told otherwise. A class whose rules do not say so has no overrides.

// confirmTime is how long the first person's word waits for the second.
const confirmTime = 10 * time.Minute

// What a person who asks for an override can be told.
var (
	errOverrideDenied = &localapi.Error{Code: localapi.CodeDenied, Text: "This person may not let media through for this equipment class."}
	errOverrideClass  = &localapi.Error{Code: localapi.CodeOverride, Text: "The rules for this equipment class do not let anybody override them."}
	errOverrideClean  = &localapi.Error{Code: localapi.CodeOverride, Text: "The medium is cleared for this equipment class: there is nothing to override."}
	errOverrideScan   = &localapi.Error{Code: localapi.CodeOverride, Text: "The scan is not over yet."}
	errOverrideUnread = &localapi.Error{Code: localapi.CodeOverride, Text: "Part of the medium could not be read in full, so nothing can be said to hold for it: there is no override."}
	errOverrideTeam   = &localapi.Error{Code: localapi.CodeOverride, Text: "One of the two must belong to the security team."}
)

// pending is an override that one person asked for.
type pending struct {
	class, reason string
	person        Person
	until         time.Time
}

// red is one step of an override: the first person's, or with first the second's.
type red struct {
	reason string
	person Person
	first  *pending
	from   phase // that the port was in
}

// back is the event that ends a job which issued nothing: the port is again what it was.
func (a *ask) back() event {
	if a.red != nil && a.red.from == decided {
		return kept
	}
	return declined
}

// Override asks to let the medium in a port through for a class, or confirms that somebody else asked for just that. The first
// person's answer is pending, the second one's holds the clearance. It returns a *localapi.Error for what a person can be told.
func (st *Station) Override(ctx context.Context, id, class, reason string, person Person) (localapi.Answer, error) {
	if !st.knows(class) {
		return localapi.Answer{}, errClass
	}
	st.mu.Lock()
	a, answer, err := st.overrideStep(id, class, reason, person)
	st.mu.Unlock()
	switch {
	case err != nil:
		return localapi.Answer{}, err
	case answer != nil:
		return *answer, nil
	}
	select {
	case <-a.done:
		return a.answer, a.err
	case <-ctx.Done(): // it goes on, and is shown to whoever looks
		return localapi.Answer{}, context.Cause(ctx)
	}
}

// overrideStep begins one step, or says what there is to say at once. The lock is held.
func (st *Station) overrideStep(id, class, reason string, person Person) (*ask, *localapi.Answer, error) {
	p := st.port(id)
	switch {
	case p == nil:
		return nil, nil, errPort
	case st.stopping:
		return nil, nil, errGone
	case person.ID == "" || person.Guest || !person.Security && !slices.Contains(person.Classes, class):
		st.deny(p, class, person, "override")
		return nil, nil, errOverrideDenied
	}
	switch p.at.phase {
	case attached, scanning:
		return nil, nil, errOverrideScan
	case waiting, decided:
	case issuing:
		return nil, nil, errBusy
	case issued:
		return nil, nil, errSecond
	case leaving:
		return nil, nil, errGone
	default:
		return nil, nil, errEmpty
	}
	se := p.session
	policy, ok := se.want.Pack.Policies[class]
	d := Decide(&se.report, policy, se.excepted)
	switch {
	case !ok:
		return nil, nil, errRules
	case d.Verdict == Cleared:
		return nil, nil, errOverrideClean
	case !policy.Override:
		st.deny(p, class, person, "override-class")
		return nil, nil, errOverrideClass
	case !se.whole():
		return nil, nil, errOverrideUnread
	case !st.ready:
		return nil, nil, errUnready
	case !slices.Contains(localapi.OverrideReasons, reason):
		return nil, nil, &localapi.Error{Code: localapi.CodeRequest, Text: "This is no reason for an override."}
	}
	first := p.pending
	if first != nil && (first.class != class || first.reason != reason || !time.Now().Before(first.until)) {
		first = nil // another wish, or one that was forgotten: this person begins anew
	}
	switch {
	case first == nil:
	case first.person.ID == person.ID: // the same person asks twice
		answer := se.answer(p.ID, class, d)
		answer.Pending = true
		return nil, &answer, nil
	case !first.person.Security && !person.Security:
		return nil, nil, errOverrideTeam
	}
	asker := person.ID
	if first != nil {
		asker = first.person.ID
	}
	p.ask = &ask{class: class, person: asker, red: &red{reason, person, first, p.at.phase}, done: make(chan struct{})}
	st.deliver(p, overruled)
	return p.ask, nil, nil
}

// whole reports whether all that is on the medium is in the manifest: a token can say what holds for that and for nothing else.
func (se *session) whole() bool {
	rep := &se.report
	if !rep.Complete || len(rep.Volumes) == 0 || se.content.Root == [32]byte{} {
		return false
	}
	for i := range rep.Volumes {
		if rep.Volumes[i].Outcome != report.Clean {
			return false
		}
	}
	for outcome, n := range rep.Tally.Outcomes {
		if n > 0 && !report.Outcome(outcome).Seen() {
			return false
		}
	}
	return true
}

// overrule is the job of one step of an override. The verdict comes first into the log, then who asks or confirms, then what is
// signed: without each of them there is no next one.
func (st *Station) overrule(ctx context.Context, p *port, a *ask) event {
	se, r, state := p.session, a.red, st.cfg.State
	logging, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	d, err := se.decide(logging, a.class)
	if err != nil {
		a.err = err
		return st.broken(ctx, p, se, err)
	}
	a.answer = se.answer(p.ID, a.class, d)
	st.change(p, func(v *localapi.Port) { se.show(v, a.class, d) })
	// As for every clearance: neither the rules nor what the station may do change until the log has what is issued.
	st.issuing.RLock()
	defer st.issuing.RUnlock()
	st.mu.Lock()
	ready := st.ready
	st.mu.Unlock()
	if now := st.wanted(); now.Pack.InForce() != se.want.Pack.InForce() {
		a.err = errRules
		return a.back()
	} else if err := state.MayIssue(); err != nil || !ready {
		a.err = errUnready
		return a.back()
	} else {
		se.want.Canary = now.Canary
	}
	entry := audit.Override{Class: audit.Word(a.class), Reason: audit.Word(r.reason), Person: state.pseudonym(personOf(r.person.ID))}
	if r.first != nil {
		entry.Asked, entry.Confirmed = state.pseudonym(personOf(r.first.person.ID)), true
	}
	if err := se.appendNamed(logging, entry, audit.Named{Person: personOf(r.person.ID)}); err != nil {
		a.err = err
		return st.broken(ctx, p, se, err)
	}
	if r.first == nil {
		st.cfg.Log.Warn("an override was asked for", "port", p.ID, "class", a.class, "reason", r.reason)
		st.propose(p, &pending{a.class, r.reason, r.person, time.Now().Add(confirmTime)})
		a.answer.Pending = true
		return a.back()
	}
	st.propose(p, nil)
	st.cfg.Log.Warn("an override was confirmed", "port", p.ID, "class", a.class, "reason", r.reason)
	return st.sign(ctx, p, a, &overruling{d.Verdict, r.reason, personOf(r.person.ID)})
}

// propose shows an override that waits for its second person; nil for none.
func (st *Station) propose(p *port, o *pending) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p.pending, p.view.Override = o, nil
	if o != nil {
		p.view.Override = &localapi.Override{Class: o.class, Reason: o.reason, Until: localapi.Time(o.until)}
	}
	st.touch(p)
}

// Overrides counts what two people let through since a time.
func (s *State) Overrides(ctx context.Context, since time.Time) (n int, err error) {
	err = s.log.List(ctx, audit.ListOptions{Kinds: []audit.Kind{audit.KindOverride}, Newest: true}, func(e audit.Entry) error {
		if e.Time.Before(since) {
			return errEnough
		}
		if o, ok := e.Data.(audit.Override); ok && o.Confirmed {
			n++
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, logError(err)
	}
	return n, nil
}
