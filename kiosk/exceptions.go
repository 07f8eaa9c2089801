package kiosk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/exception"
	"pratique/kiosk/localapi"
	"pratique/rules"
)

// Exceptions are what the log says of them: the state keeps what it has read of it, so that a decision costs the entries since
// the one before. A clock that was set back would prolong an exception; an enrolled station whose clock is behind the log issues
// nothing at all (JudgeAge).

// ErrExcepted says that an exception ended between a verdict and the clearance that was asked for.
var ErrExcepted = errors.New("an exception that the verdict rests on has ended")

// ErrTwoPeople says that an enrolled station's exceptions are asked for over its socket, where the kernel says who asks.
var ErrTwoPeople = errors.New("only the station's daemon can tell two people apart")

// agreed is what was read of the log's exceptions.
type agreed struct {
	mu   sync.Mutex
	all  audit.Agreements
	next int64 // entry
}

// withExceptions runs f on all exceptions as the log has them now.
func (s *State) withExceptions(ctx context.Context, f func(*audit.Agreements) error) error {
	s.agreed.mu.Lock()
	defer s.agreed.mu.Unlock()
	next, err := s.log.Exceptions(ctx, s.agreed.next, &s.agreed.all)
	if err != nil {
		s.agreed.all, s.agreed.next = audit.Agreements{}, 0 // what was read in part is read again
		return logError(err)
	}
	s.agreed.next = next
	return f(&s.agreed.all)
}

// excepted is what is excepted now for media that are scanned with a pack.
func (s *State) excepted(ctx context.Context, pack rules.Pack) (set exception.Set, err error) {
	err = s.withExceptions(ctx, func(all *audit.Agreements) error {
		set = exception.InForce(all, pack.InForce(), s.now())
		return nil
	})
	return set, err
}

// Exceptions lists the latest, newest first, at most max of them.
func (s *State) Exceptions(ctx context.Context, max int) ([]localapi.Exception, error) {
	out := []localapi.Exception{}
	err := s.withExceptions(ctx, func(all *audit.Agreements) error {
		for _, a := range slices.Backward(all.All()) {
			if len(out) < max {
				out = append(out, exceptionView(a, s.now()))
			}
		}
		return nil
	})
	return out, err
}

func exceptionView(a *audit.Agreement, now time.Time) localapi.Exception {
	v := localapi.Exception{ID: a.ID.String(), SHA256: a.SHA256.String(), Reason: string(a.Reason), State: localapi.ExceptionEnded, Until: localapi.Time(a.Ends()),
		Rules: localapi.Rules{Name: string(a.Rules.Name), Version: a.Rules.Version}, Proposer: hex.EncodeToString(a.Person[:]), Proposed: localapi.Time(a.ProposedAt)}
	for _, f := range a.Findings {
		v.Findings = append(v.Findings, string(f))
	}
	if !a.ConfirmedAt.IsZero() {
		v.Confirmer, v.Confirmed = hex.EncodeToString(a.With[:]), localapi.Time(a.ConfirmedAt)
	}
	switch {
	case !a.RemovedAt.IsZero():
		v.State, v.Removed = localapi.ExceptionRemoved, localapi.Time(a.RemovedAt)
	case a.Holds(now):
		v.State = localapi.ExceptionHolds
	case a.Waits(now):
		v.State = localapi.ExceptionWaits
	}
	return v
}

// ProposeException enters a person's proposal. It changes no verdict until another person has confirmed it. An error of what was
// asked for is an *exception.Refusal.
func (s *State) ProposeException(ctx context.Context, w exception.Wish, in rules.Pack, person string) (localapi.Exception, error) {
	var id audit.ID
	if _, err := rand.Read(id[:]); err != nil {
		return localapi.Exception{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	return s.agree(ctx, person, func(all *audit.Agreements, who audit.Pseudonym) (audit.Exception, error) {
		return exception.Propose(all, w, id, who, auditRules(in), s.now())
	})
}

// ConfirmException puts a proposal in force. person must be another than the one who proposed it.
func (s *State) ConfirmException(ctx context.Context, name, person string) (localapi.Exception, error) {
	return s.agree(ctx, person, func(all *audit.Agreements, who audit.Pseudonym) (audit.Exception, error) {
		return exception.Confirm(all, name, who, s.now())
	})
}

// RemoveException ends an exception or a proposal.
func (s *State) RemoveException(ctx context.Context, name, person string) (localapi.Exception, error) {
	return s.agree(ctx, person, func(all *audit.Agreements, who audit.Pseudonym) (audit.Exception, error) {
		return exception.Remove(all, name, who)
	})
}

// agree enters one step. The state's lock keeps two steps of one exception apart; a crash leaves the step or nothing.
func (s *State) agree(ctx context.Context, person string,
	step func(*audit.Agreements, audit.Pseudonym) (audit.Exception, error)) (out localapi.Exception, err error) {
	if person == "" {
		return out, &exception.Refusal{Code: "nobody", Text: "Nobody is known to have asked for this."}
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return out, err
	}
	defer unlock()
	var x audit.Exception
	err = s.withExceptions(ctx, func(all *audit.Agreements) (err error) {
		x, err = step(all, s.pseudonym(person))
		return err
	})
	if err != nil {
		return out, err
	}
	if _, err := s.log.Append(ctx, audit.Event{Data: x}); err != nil {
		return out, logError(err)
	}
	err = s.withExceptions(ctx, func(all *audit.Agreements) error {
		a := all.Get(x.ID)
		if a == nil {
			return fmt.Errorf("%w: the log does not say what was entered", ErrBrokenLog)
		}
		out = exceptionView(a, s.now())
		return nil
	})
	return out, err
}

// stillExcepted is nil if every exception that a class's verdict rests on is in force now.
func (se *session) stillExcepted(ctx context.Context, class string) error {
	used := se.decisions[class].Excepted
	if len(used) == 0 {
		return nil
	}
	set, err := se.state.excepted(ctx, se.want.Pack)
	if err == nil && !set.Holds(used) {
		err = ErrExcepted
	}
	return err
}
