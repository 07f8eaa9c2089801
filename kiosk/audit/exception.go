package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"pratique/scanner/report"
)

// An exception says that named findings about one content are wrong. It takes two people: one proposes it, another confirms
// it, and each step is an entry that says all of it. There is no other record: what these entries say is what is in force.

// Limits on exceptions. The times are the station's clock's.
const (
	// MaxExceptionFindings is how many findings one exception can name. A false positive has one or two.
	MaxExceptionFindings = 8
	// ExceptionLife is the longest that one may hold: the rule that is wrong is corrected by a new pack long before.
	ExceptionLife = 30 * 24 * time.Hour
	// ConfirmTime is how long a proposal waits. Who confirms it should remember why it was made.
	ConfirmTime = 24 * time.Hour
	// lapse is how much later an entry may be than what it was decided from: writers wait for each other.
	lapse = 2 * time.Minute
)

// The steps of an exception.
const (
	Proposed  Word = "proposed"  // by one person
	Confirmed Word = "confirmed" // by another: it is in force
	Withdrawn Word = "removed"   // by anybody who may propose one
)

// Exception is one step of an exception. Every step says the whole of it.
type Exception struct {
	What     Word          `cbor:"1,keyasint" json:"what"`
	ID       ID            `cbor:"2,keyasint" json:"id"`
	Person   Pseudonym     `cbor:"3,keyasint" json:"person"` // who took this step
	SHA256   Digest        `cbor:"4,keyasint" json:"sha256"` // of the content
	Findings []FindingName `cbor:"5,keyasint" json:"findings"`
	Reason   Word          `cbor:"6,keyasint" json:"reason"`
	Until    int64         `cbor:"7,keyasint" json:"until"` // seconds since 1970
	Rules    Rules         `cbor:"8,keyasint" json:"rules"` // in force when it was proposed
}

// FindingName names what a check can find, as "yara/EICAR_Test_File".
type FindingName string

// NameOf names a finding.
func NameOf(f report.Finding) FindingName { return FindingName(f.Check.String() + "/" + f.Rule) }

func (n FindingName) check() error {
	check, rule, _ := strings.Cut(string(n), "/")
	if err := Word(check).check(); err != nil {
		return err
	}
	if wordOr(rule, maxRule, "") != rule || rule == invalidWord {
		return errors.New("a finding without a name that is a word")
	}
	return nil
}

// Excepted says how many findings of a verdict an exception kept from barring it.
type Excepted struct {
	_         struct{} `cbor:",toarray"`
	Exception ID       `json:"exception"`
	Findings  uint64   `json:"findings"`
}

// Kind of the data.
func (Exception) Kind() Kind { return KindException }

func (x Exception) check() error {
	switch {
	case x.What != Proposed && x.What != Confirmed && x.What != Withdrawn:
		return errors.New("an exception that is neither proposed, confirmed nor removed")
	case x.ID == (ID{}) || x.Person == (Pseudonym{}) || x.SHA256 == (Digest{}) || x.Until <= 0:
		return errors.New("an exception without a name, a person, a content or an end")
	case len(x.Findings) == 0 || len(x.Findings) > MaxExceptionFindings || !slices.IsSorted(x.Findings):
		return fmt.Errorf("an exception for %d findings, or not in order", len(x.Findings))
	}
	for i, n := range x.Findings {
		if err := n.check(); err != nil {
			return err
		}
		if i > 0 && x.Findings[i-1] == n {
			return errors.New("an exception that names a finding twice")
		}
	}
	return errors.Join(x.Reason.check(), x.Rules.check())
}

// same reports whether two steps speak of the same exception, whoever took them.
func (x Exception) same(o Exception) bool {
	return x.ID == o.ID && x.SHA256 == o.SHA256 && slices.Equal(x.Findings, o.Findings) && x.Reason == o.Reason && x.Until == o.Until && x.Rules == o.Rules
}

func checkExcepted(all []Excepted) error {
	if len(all) > maxReasons {
		return fmt.Errorf("%d exceptions", len(all))
	}
	for i, x := range all {
		if x.Exception == (ID{}) || x.Findings == 0 || i > 0 && string(all[i-1].Exception[:]) >= string(x.Exception[:]) {
			return errors.New("an exception without a name or findings, or not in order")
		}
	}
	return nil
}

// Agreement is an exception as the entries tell it. The zero value is in force at no time.
type Agreement struct {
	Exception             // as it was proposed
	With        Pseudonym // who confirmed it
	ProposedAt  time.Time
	ConfirmedAt time.Time // zero while nobody has
	RemovedAt   time.Time // zero if nobody has
}

// Ends is when it stops by itself.
func (a *Agreement) Ends() time.Time { return time.Unix(a.Until, 0).UTC() }

// Holds reports whether it is in force at a time. One that was confirmed later than that was confirmed by a clock that was
// ahead, and one that would hold for longer than ExceptionLife by one that was behind: neither is in force.
func (a *Agreement) Holds(at time.Time) bool {
	return !a.ConfirmedAt.IsZero() && a.RemovedAt.IsZero() && !a.ConfirmedAt.After(at.Add(lapse)) && at.Before(a.Ends()) &&
		a.Ends().Sub(a.ConfirmedAt) <= ExceptionLife+lapse
}

// Waits reports whether it can be confirmed at a time.
func (a *Agreement) Waits(at time.Time) bool {
	return a.ConfirmedAt.IsZero() && a.RemovedAt.IsZero() && at.Sub(a.ProposedAt).Abs() < ConfirmTime && at.Before(a.Ends())
}

// Agreements are the exceptions of a log. The zero value is none.
type Agreements struct{ byID map[ID]*Agreement }

// All returns them in the order in which they were proposed.
func (x *Agreements) All() []*Agreement {
	out := slices.Collect(maps.Values(x.byID))
	slices.SortFunc(out, func(a, b *Agreement) int {
		if c := a.ProposedAt.Compare(b.ProposedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID[:]), string(b.ID[:]))
	})
	return out
}

// Get returns one by its name, nil if there is none.
func (x *Agreements) Get(id ID) *Agreement { return x.byID[id] }

// admits says what is wrong with a step, if anything is: who writes and who verifies ask the same.
func (x *Agreements) admits(step Exception) string {
	a := x.byID[step.ID]
	switch {
	case step.What == Proposed && a != nil:
		return "its exception was proposed before"
	case step.What == Proposed:
		return ""
	case a == nil:
		return "its exception was never proposed"
	case !a.same(step):
		return "it says something else of its exception than the proposal"
	case !a.RemovedAt.IsZero():
		return "its exception was removed before"
	case step.What == Confirmed && !a.ConfirmedAt.IsZero():
		return "its exception was confirmed before"
	case step.What == Confirmed && step.Person == a.Person:
		return "its exception was proposed and confirmed by one person"
	}
	return ""
}

// Enter replays a step that was entered at a time. One that does not follow from those before is refused.
func (x *Agreements) Enter(step Exception, at time.Time) error {
	if what := x.admits(step); what != "" {
		return errors.New(what)
	}
	x.add(step, at)
	return nil
}

func (x *Agreements) add(step Exception, at time.Time) {
	if step.What == Proposed {
		if x.byID == nil {
			x.byID = map[ID]*Agreement{}
		}
		x.byID[step.ID] = &Agreement{Exception: step, ProposedAt: at}
		return
	}
	switch a := x.byID[step.ID]; step.What {
	case Confirmed:
		a.With, a.ConfirmedAt = step.Person, at
	case Withdrawn:
		a.RemovedAt = at
	}
}

// supports says what is wrong with a verdict's exceptions, if anything is. A verdict may be entered a moment after one of
// them has ended, and not later.
func (x *Agreements) supports(d Decided, at time.Time) string {
	for _, e := range d.Excepted {
		a := x.byID[e.Exception]
		switch {
		case a == nil || a.ConfirmedAt.IsZero():
			return "its verdict rests on an exception that two people did not agree on"
		case !a.RemovedAt.IsZero() && at.Sub(a.RemovedAt) > lapse, at.Sub(a.Ends()) > lapse:
			return "its verdict rests on an exception that had ended"
		}
	}
	return ""
}

// exceptionMark is in the leaf of every exception, whatever the columns beside it say: the CBOR text "exception".
const exceptionMark = "\x69exception"

// Exceptions replays the steps from an entry on into x, and returns the entry to go on from. Each must be in the tree that the
// last checkpoint signs, and follow from those before it: steps that were added, changed, or taken out of sight by whoever can
// write the file are a *Broken, and nothing is excepted by them. A step whose row was replaced by another entry is found by
// Verify alone.
func (r *Reader) Exceptions(ctx context.Context, from int64, x *Agreements) (next int64, err error) {
	err = r.snapshot(ctx, func(q querier) error {
		head, _, err := r.tail(ctx, q)
		if err != nil {
			return err
		}
		if head.Size < from {
			return &Broken{head.Size, "it is missing: the exceptions of later ones were read before"}
		}
		if head.Size == from {
			next = from
			return nil
		}
		var rows int64
		if err := q.QueryRowContext(ctx, "SELECT count(*) FROM entry WHERE idx >= ?", from).Scan(&rows); err != nil {
			return classify(err)
		}
		if rows != head.Size-from {
			return &Broken{from, "it, or one behind it, is missing"}
		}
		steps, err := exceptionSteps(ctx, q, from)
		if err != nil {
			return err
		}
		for _, e := range steps {
			proof, err := tlog.ProveRecord(head.Size, e.Index, storedHashes(ctx, q))
			if err != nil || tlog.CheckRecord(proof, head.Size, head.Root, e.Index, tlog.RecordHash(e.Leaf)) != nil {
				return &Broken{e.Index, "leaf does not match the tree"}
			}
			if err := x.Enter(e.Data.(Exception), e.Time); err != nil {
				return &Broken{e.Index, err.Error()}
			}
		}
		next = head.Size
		return nil
	})
	if err != nil {
		return from, fmt.Errorf("exceptions: %w", err)
	}
	return next, nil
}

// agreeHere holds a step of an exception, or a verdict that rests on exceptions, against the log. It reads all of it, in some
// 40 ms for 100,000 entries: there are few of either.
func agreeHere(ctx context.Context, tx *sql.Tx, data Data, now time.Time) error {
	steps, err := exceptionSteps(ctx, tx, 0)
	if err != nil {
		return err
	}
	var x Agreements
	for _, e := range steps {
		if err := x.Enter(e.Data.(Exception), e.Time); err != nil {
			return &Broken{e.Index, err.Error()}
		}
	}
	wrong := ""
	switch d := data.(type) {
	case Exception:
		wrong = x.admits(d)
	case Decided:
		wrong = x.supports(d, now)
	}
	if wrong != "" {
		return fmt.Errorf("%s: %w", wrong, ErrOrder)
	}
	return nil
}

// exceptionSteps reads the entries from one on that are steps of exceptions, by their column or by their leaf.
func exceptionSteps(ctx context.Context, q querier, from int64) (out []Entry, err error) {
	found, err := q.QueryContext(ctx, "SELECT idx, time, kind, leaf FROM entry WHERE idx >= ? AND (kind = ? OR instr(leaf, ?) > 0) ORDER BY idx",
		from, KindException.String(), []byte(exceptionMark))
	if err != nil {
		return nil, classify(err)
	}
	defer found.Close()
	for found.Next() {
		e, err := scanEntry(found)
		if err != nil {
			return nil, err
		}
		if e.Kind == KindException { // the mark may be in other data by chance
			out = append(out, e)
		}
	}
	return out, classify(found.Err())
}
