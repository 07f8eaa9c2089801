package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// clockSlack is how far times may be out of order without a word: an issuing leaf is stamped before it waits its turn,
// which takes up to busyTimeout, and holds whole seconds. A clock that is being slewed stays within it too.
const clockSlack = busyTimeout + 5*time.Second

// session is what this process knows of a session that it runs itself. Only the process that wrote "attached" can bring
// a session to a clearance: after a crash nothing is issued late.
type session struct {
	attached int64
	at       time.Time // when the latest verdict was entered; zero until then
	verdicts verdicts
	rules    []string // facts of its items, for its first verdict
	issuing  bool
	over     bool // its medium is gone, or it failed
	doubtful bool // a write failed; what it left is not known, so the session gets no clearance
}

// verdicts is what a session was decided to be, for each class that was asked for. All are about one scan.
type verdicts struct {
	scan    Digest // of the first one, less what differs between classes
	content Digest
	classes []judged
	// overrides are what people asked for and confirmed; few, since it takes a session with a verdict to ask at all.
	overrides []Override
}

type judged struct {
	class   Word
	cleared bool
}

// admits reports whether a verdict fits those before it: about the same scan, for a class that had none yet.
func (v *verdicts) admits(d Decided) bool {
	for _, j := range v.classes {
		if j.class == d.Class {
			return false
		}
	}
	return len(v.classes) == 0 || len(v.classes) < maxClasses && v.scan == d.scan()
}

func (v *verdicts) add(d Decided) {
	if len(v.classes) == 0 {
		v.scan, v.content = d.scan(), d.Content
	}
	v.classes = append(v.classes, judged{d.Class, d.Verdict == Cleared})
}

// takes reports whether an override fits: for a class that was refused, and confirmed only if somebody else asked for just that.
func (v *verdicts) takes(o Override) bool {
	if len(v.overrides) >= maxOverrides || !slices.Contains(v.classes, judged{o.Class, false}) {
		return false
	}
	return !o.Confirmed || slices.Contains(v.overrides, Override{Class: o.Class, Reason: o.Reason, Person: o.Asked})
}

// clears reports whether a clearance says no more than the verdicts do: this content, for these classes. An override says no
// more than two people did: for one class that was refused, with their reason and under their names.
func (v *verdicts) clears(d Issuing) bool {
	if d.Override != "" {
		return len(d.Classes) == 1 && slices.Contains(v.classes, judged{d.Classes[0], false}) && v.content == d.Content && d.Content != Digest{} &&
			slices.Contains(v.overrides, Override{Class: d.Classes[0], Reason: d.Override, Person: d.second, Asked: d.Operator, Confirmed: true})
	}
	for _, class := range d.Classes {
		if !slices.Contains(v.classes, judged{class, true}) {
			return false
		}
	}
	return len(d.Classes) > 0 && len(v.classes) > 0 && v.content == d.Content
}

// Append records an event and returns its index. When it returns no error, the entry and a checkpoint over it are on the
// disk. When it returns an error, the entry may or may not be there, and the session gets no clearance any more.
//
// The time is the log's own, taken once it is this entry's turn, so that entries of several processes are in order. If
// the clock is more than 15 seconds behind the latest entry, the real time is kept and the entry says how far behind it
// is; so does every entry until the clock has caught up.
func (l *Log) Append(ctx context.Context, ev Event) (int64, error) {
	return l.AppendNamed(ctx, ev, Named{})
}

// AppendNamed is Append for an event that is about somebody or something with a name. The name goes, encrypted, into the side
// table, and the leaf commits to it. A Log without a side table does not keep it.
func (l *Log) AppendNamed(ctx context.Context, ev Event, named Named) (int64, error) {
	switch {
	case ev.Data == nil || reflect.TypeOf(ev.Data).Kind() == reflect.Pointer: // the rules of a session go by the type
		return -1, errors.New("append: an event without data, or with a pointer to it")
	case ev.Data.Kind() == KindIssuing:
		return -1, errors.New("append: a clearance is recorded by its leaf")
	}
	return l.write(ctx, ev, nil, named)
}

// AppendLeaf records that a clearance is about to be signed, and returns the index that goes into it. The kind is always
// KindIssuing; leaf is what clearance.Leaf made, and session and time are its id and the time of issue, which must be now.
//
// It returns ErrOrder unless this Log recorded a cleared verdict for the session over the same content root and for each
// class of the clearance, the medium is not gone, and there was no clearance before; and ErrClock if the clock jumped in
// between.
func (l *Log) AppendLeaf(ctx context.Context, kind Kind, session ID, at time.Time, leaf []byte) (int64, error) {
	if kind != KindIssuing {
		return -1, fmt.Errorf("append: an entry of kind %v is no leaf of its own", kind)
	}
	e, err := decodeLeaf(leaf)
	switch {
	case err != nil:
		return -1, fmt.Errorf("append issuing: %w", err)
	case e.Kind != KindIssuing || e.Session != session || !e.Time.Equal(at.Truncate(time.Second)):
		return -1, errors.New("append issuing: the leaf is of another kind, session or time")
	}
	return l.write(ctx, Event{session, e.Data}, &e, Named{})
}

// write adds one entry: an event, or the clearance if issuing is set.
func (l *Log) write(ctx context.Context, ev Event, issuing *Entry, named Named) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind := ev.Data.Kind()
	if err := l.admit(ev); err != nil {
		return -1, fmt.Errorf("append %v: %w", kind, err)
	}
	var index int64
	var at time.Time
	var err error
	if kind == KindAttached {
		err = l.names.begin(ctx, ev.Session, l.opts.Now())
	}
	if err == nil {
		index, at, err = l.commit(ctx, ev, issuing, named)
	}
	if err != nil {
		if s := l.live[ev.Session]; s != nil {
			s.doubtful = true
		} else if kind == KindAttached {
			l.live[ev.Session] = &session{doubtful: true}
		}
		return -1, fmt.Errorf("append %v: %w", kind, err)
	}
	l.follow(ev, index, at)
	return index, nil
}

// commit puts entry, stored hashes, facts and checkpoint into the database in one transaction. What has a name is in the side
// table before: a crash between leaves a name there that no leaf commits to, which the next writer of that index replaces.
//
// A crash before the commit is durable leaves nothing of it; a crash after leaves all of it, and a caller who was never
// told the index: start-up repair finds the session with Unfinished.
func (l *Log) commit(ctx context.Context, ev Event, issuing *Entry, named Named) (index int64, at time.Time, err error) {
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return -1, at, classify(err)
	}
	defer tx.Rollback()
	head, _, err := l.tail(ctx, tx)
	if err != nil {
		return -1, at, err
	}
	if err := l.admitHere(ctx, tx, ev); err != nil {
		return -1, at, err
	}
	at = l.opts.Now().UTC() // only now: what waited for its turn before this is not out of order
	var leaf []byte
	var names *Digest
	if issuing != nil {
		err = l.checkClock(issuing, at)
		leaf, at = issuing.Leaf, issuing.Time
	} else {
		if named != (Named{}) && l.names != nil {
			digest, err := l.names.putEntry(ctx, head.Size, ev.Session, at, named)
			if err != nil {
				return -1, at, err
			}
			names = &digest
			if err := l.step("named"); err != nil {
				return -1, at, err
			}
		}
		leaf, err = stamp(ctx, tx, ev, at, names)
	}
	if err != nil {
		return -1, at, err
	}
	if head, err = l.add(ctx, tx, head, ev.Data.Kind(), at, leaf); err != nil {
		return -1, at, err
	}
	if err := l.index(ctx, tx, Entry{Index: head.Size - 1, Kind: ev.Data.Kind(), Session: ev.Session, Data: ev.Data, Names: names}); err != nil {
		return -1, at, err
	}
	if err := addCheckpoint(ctx, tx, l.opts, head); err != nil {
		return -1, at, err
	}
	if err := l.step("checkpoint"); err != nil {
		return -1, at, err
	}
	return head.Size - 1, at, classify(tx.Commit())
}

// add puts one leaf into the table and the tree, and returns the new head.
func (l *Log) add(ctx context.Context, tx *sql.Tx, head Head, kind Kind, at time.Time, leaf []byte) (Head, error) {
	n := head.Size
	_, err := tx.ExecContext(ctx, "INSERT INTO entry(idx, time, kind, leaf) VALUES(?, ?, ?, ?)",
		n, at.Format(timeLayout), kind.String(), leaf)
	if err != nil {
		return Head{}, classify(err)
	}
	if err := l.step("entry"); err != nil {
		return Head{}, err
	}
	hashes, err := tlog.StoredHashes(n, leaf, storedHashes(ctx, tx))
	if err != nil {
		return Head{}, err
	}
	for i, h := range hashes {
		_, err := tx.ExecContext(ctx, "INSERT INTO hash(idx, hash) VALUES(?, ?)", tlog.StoredHashIndex(0, n)+int64(i), h[:])
		if err != nil {
			return Head{}, classify(err)
		}
	}
	if err := l.step("hash"); err != nil {
		return Head{}, err
	}
	root, err := tlog.TreeHash(n+1, storedHashes(ctx, tx))
	return Head{n + 1, root}, err
}

// index makes a new entry one that is found.
func (l *Log) index(ctx context.Context, tx *sql.Tx, e Entry) error {
	var rules []string
	if s := l.live[e.Session]; e.Kind == KindDecided && s != nil && len(s.verdicts.classes) == 0 {
		rules = s.rules
	}
	if err := addFacts(ctx, tx, e, rules); err != nil {
		return err
	}
	return l.step("facts")
}

func (l *Log) step(name string) error {
	if l.fault == nil {
		return nil
	}
	return l.fault(name)
}

// stamp makes the leaf of an event now.
func stamp(ctx context.Context, tx *sql.Tx, ev Event, now time.Time, names *Digest) ([]byte, error) {
	var latest sql.NullString
	if err := tx.QueryRowContext(ctx, "SELECT max(time) FROM entry").Scan(&latest); err != nil {
		return nil, classify(err)
	}
	behind, err := secondsBehind(latest.String, now)
	if err != nil {
		return nil, err
	}
	return encodeNamed(ev, now, behind, names)
}

// secondsBehind says how many whole seconds now is behind the latest time in the log, if it is more than clockSlack.
func secondsBehind(latest string, now time.Time) (uint64, error) {
	if latest == "" {
		return 0, nil
	}
	t, err := time.Parse(timeLayout, latest)
	if err != nil {
		return 0, &Broken{-1, "the latest time in the log is malformed"}
	}
	if d := t.Sub(now); d > clockSlack {
		return uint64(d / time.Second), nil
	}
	return 0, nil
}

// checkClock refuses a clearance whose session saw the clock jump: the time of issue is one that the token will carry.
func (l *Log) checkClock(issuing *Entry, now time.Time) error {
	s := l.live[issuing.Session]
	if issuing.Time.Sub(now).Abs() > clockSlack || s.at.Sub(now) > clockSlack {
		return ErrClock
	}
	return nil
}

// admit holds an event against what this process did in its session.
func (l *Log) admit(ev Event) error {
	s := l.live[ev.Session]
	ok := true
	switch d := ev.Data.(type) {
	case Attached:
		ok = s == nil
	case Decided:
		ok = s != nil && s.verdicts.admits(d) && !s.over && !s.doubtful
	case Override:
		ok = s != nil && s.verdicts.takes(d) && !s.issuing && !s.over && !s.doubtful
	case Issuing:
		ok = s != nil && s.verdicts.clears(d) && !s.issuing && !s.over && !s.doubtful
	}
	if !ok {
		return ErrOrder
	}
	return nil
}

// admitHere holds an event against the log itself, since another process may have written about the session too.
func (l *Log) admitHere(ctx context.Context, tx *sql.Tx, ev Event) error {
	switch d := ev.Data.(type) {
	case Exception:
		return agreeHere(ctx, tx, d, l.opts.Now())
	case Decided:
		if len(d.Excepted) > 0 {
			return agreeHere(ctx, tx, d, l.opts.Now())
		}
	case Issuing:
		return unlessThere(ctx, tx, ev.Session, l.live[ev.Session].attached, KindRemoved, KindAborted, KindFailed)
	case Issued:
		return settles(ctx, tx, ev.Session, d.Issuing)
	case Abandoned:
		return settles(ctx, tx, ev.Session, d.Issuing)
	}
	return nil
}

// settles refuses an end for a clearance that was not begun, is another session's, or has an end already.
func settles(ctx context.Context, tx *sql.Tx, session ID, issuing int64) error {
	var leaf []byte
	switch err := tx.QueryRowContext(ctx, "SELECT leaf FROM entry WHERE idx = ?", issuing).Scan(&leaf); {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("there is no entry %d: %w", issuing, ErrOrder)
	case err != nil:
		return classify(err)
	}
	if e, err := decodeLeaf(leaf); err != nil || e.Kind != KindIssuing || e.Session != session {
		return fmt.Errorf("entry %d issues nothing in this session: %w", issuing, ErrOrder)
	}
	return unlessThere(ctx, tx, session, issuing, KindIssued, KindAbandoned)
}

// unlessThere returns ErrOrder if after an entry there is one of these kinds in the same session.
func unlessThere(ctx context.Context, tx *sql.Tx, session ID, after int64, kinds ...Kind) error {
	for _, kind := range kinds {
		rows, err := tx.QueryContext(ctx, "SELECT leaf FROM entry WHERE idx > ? AND kind = ?", after, kind.String())
		if err != nil {
			return classify(err)
		}
		defer rows.Close()
		for rows.Next() {
			var leaf sql.RawBytes
			if err := rows.Scan(&leaf); err != nil {
				return classify(err)
			}
			e, err := decodeLeaf(bytes.Clone(leaf))
			if err != nil || e.Session == session { // what cannot be read may be about this session
				return fmt.Errorf("the session is %v: %w", kind, ErrOrder)
			}
		}
		if err := rows.Err(); err != nil {
			return classify(err)
		}
	}
	return nil
}

// follow notes what was written. A session is kept when it is over, about 200 bytes of it, so that it cannot begin again.
func (l *Log) follow(ev Event, index int64, at time.Time) {
	s := l.live[ev.Session]
	switch d := ev.Data.(type) {
	case Attached:
		l.live[ev.Session] = &session{attached: index}
	case Decided:
		s.at = at
		s.verdicts.add(d)
	case Override:
		s.verdicts.overrides = append(s.verdicts.overrides, d)
	case Issuing:
		s.issuing = true
	case Removed, Aborted, Failed, Abandoned:
		if s != nil {
			s.over = true
		}
		l.names.end(ev.Session)
	}
}
