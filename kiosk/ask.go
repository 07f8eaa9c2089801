package kiosk

import (
	"context"
	"slices"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
)

// What a person who asks can be told.
var (
	errPort     = &localapi.Error{Code: localapi.CodePort, Text: "The station has no such port."}
	errGone     = &localapi.Error{Code: localapi.CodeRemoved, Text: "The medium was removed, or its session ended."}
	errDenied   = &localapi.Error{Code: localapi.CodeDenied, Text: "This person may not clear media for this equipment class."}
	errBusy     = &localapi.Error{Code: localapi.CodeBusy, Text: "Somebody else asks for this medium at the moment."}
	errEmpty    = &localapi.Error{Code: localapi.CodeNoMedium, Text: "There is no medium in this port that could be cleared."}
	errUnready  = &localapi.Error{Code: localapi.CodeNotReady, Text: "The station issues no clearances at the moment; its status says why."}
	errLate     = &localapi.Error{Code: localapi.CodeRemoved, Text: "Nobody asked in time. Take the medium out and plug it in again."}
	errSecond   = &localapi.Error{Code: localapi.CodeBusy, Text: "The medium has a clearance already. For another class, take it out and plug it in again."}
	errRules    = &localapi.Error{Code: localapi.CodeRemoved, Text: "The rules have changed since the scan. Take the medium out and plug it in again."}
	errExcepted = &localapi.Error{Code: localapi.CodeRemoved, Text: "An exception that the verdict rested on has ended. Take the medium out and plug it in again."}
	errClass    = &localapi.Error{Code: localapi.CodeClass, Text: "The station knows no such equipment class."}
)

// Issue asks for a clearance of the medium in a port, for one class and on behalf of one person, and waits for the end of
// the scan. The answer holds the verdict for the class; a clearance is in it only if that is cleared. It returns a
// *localapi.Error for what a person can be told.
func (st *Station) Issue(ctx context.Context, id, class string, person Person) (localapi.Answer, error) {
	if !st.knows(class) {
		return localapi.Answer{}, errClass
	}
	var a *ask
	var answer *localapi.Answer
	err := st.await(ctx, id, func(p *port) (done <-chan struct{}, settled bool, err error) {
		if !slices.Contains(person.Classes, class) {
			st.deny(p, class, person, "class")
			return nil, false, errDenied
		}
		a, answer, err = st.ask(p, class, person)
		if a != nil {
			done = a.done
		}
		return done, answer != nil, err
	})
	switch {
	case err != nil:
		return localapi.Answer{}, err
	case answer != nil:
		return *answer, nil
	}
	return a.answer, a.err
}

// await calls begin until it has settled what somebody wants of the medium in a port, has begun a job, whose end is then waited
// for, or fails; in between it waits for a change of the port. The lock is held while begin runs. It fails if the medium is not the
// one any more that was in the port at first. A job goes on without ctx, and is shown to whoever looks.
func (st *Station) await(ctx context.Context, id string, begin func(*port) (done <-chan struct{}, settled bool, err error)) error {
	var turn uint64
	for first := true; ; first = false {
		st.mu.Lock()
		p := st.port(id)
		if p == nil {
			st.mu.Unlock()
			return errPort
		}
		if first {
			turn = p.turn
		}
		if p.turn != turn || st.stopping {
			st.mu.Unlock()
			return errGone
		}
		done, settled, err := begin(p)
		changed := p.changed
		st.mu.Unlock()
		if err != nil || settled {
			return err
		}
		if done != nil {
			changed = nil // the job's own end is what counts from here on
		}
		select {
		case <-done:
			return nil
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ask begins to answer a person, or says what there is to say at once. If it returns nothing, the scan is not over yet. The
// lock is held.
func (st *Station) ask(p *port, class string, person Person) (*ask, *localapi.Answer, error) {
	switch p.at.phase {
	case attached, scanning:
		return nil, nil, nil
	case waiting:
		if !st.ready {
			return nil, nil, errUnready
		}
		if _, ok := p.session.want.Pack.Policies[class]; !ok {
			return nil, nil, errRules
		}
		p.ask = &ask{class: class, person: person.ID, done: make(chan struct{})}
		st.deliver(p, asked)
		return p.ask, nil, nil
	case issuing:
		return nil, nil, errBusy
	case decided: // nothing comes of it any more, so this verdict is for the person and not for the log
		policy, ok := p.session.want.Pack.Policies[class]
		if !ok {
			return nil, nil, errRules
		}
		d := Decide(&p.session.report, policy, p.session.excepted)
		if d.Verdict == Cleared {
			return nil, nil, errLate
		}
		answer := p.session.answer(p.ID, class, d)
		return nil, &answer, nil
	case issued:
		if p.ask == nil || p.ask.class != class || p.ask.red != nil { // who asks for a clearance is not given an override
			return nil, nil, errSecond
		}
		return p.ask, nil, nil // the same answer again
	case installing:
		return nil, nil, errInstalling
	case leaving:
		return nil, nil, errGone
	}
	return nil, nil, errEmpty
}

// deny enters that somebody asked who may not, once for each session, class and person: a client that asks without end
// does not fill the log. The lock is held.
func (st *Station) deny(p *port, class string, person Person, cause audit.Word) {
	if p.session == nil || p.at.phase == leaving || p.at.phase == attached {
		return
	}
	key := denial{class, person.ID, cause}
	if p.session.denied == nil {
		p.session.denied = map[denial]bool{}
	}
	if p.session.denied[key] || len(p.session.denied) >= maxDenials {
		return
	}
	p.session.denied[key] = true
	ev := audit.Event{Session: p.session.id, Data: audit.Denied{Class: audit.Word(class), Cause: cause}}
	var named audit.Named
	if person.ID != "" {
		named.Person = personOf(person.ID)
		ev.Data = audit.Denied{Class: audit.Word(class), Cause: cause, Person: st.cfg.State.pseudonym(named.Person)}
	}
	st.cfg.Log.Warn("a request for a clearance was denied", "port", p.ID, "class", class)
	st.jobs.Go(func() { st.recordNamed(ev, named) })
}

// denial is who was denied what, and why.
type denial struct {
	class, person string
	cause         audit.Word
}

// maxDenials bounds the entries about denials in one session: more than a station has people in ten minutes.
const maxDenials = 32
