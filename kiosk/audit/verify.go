package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// VerifyOptions hold what left the station and came back as a witness. Without any, a log that was put back to an older
// state as a whole looks sound.
type VerifyOptions struct {
	Heads  []string // checkpoints from exports or receipts
	Leaves []Known  // from tokens: clearance.LeafOfToken gives both
	// Witnesses are trusted to have signed the cosigned checkpoints in the log that bear their names.
	Witnesses []*Witness
}

// Known is a leaf that somebody has seen in the log.
type Known struct {
	Index int64
	Leaf  []byte
}

// Result is what Verify found out. The zero value is a log that is not sound.
type Result struct {
	Sound       bool      `json:"sound"`
	Bad         *Broken   `json:"bad,omitempty"` // the first thing that is wrong, if it is not sound
	Entries     int64     `json:"entries"`       // that were checked
	Checkpoints int64     `json:"checkpoints"`
	Items       uint64    `json:"items"`          // rows bound by the verdict of their session
	Unbound     int       `json:"unbound"`        // sessions without a verdict whose items nothing binds
	ClockBack   int64     `json:"clock_back"`     // entries made while the clock was behind
	First       time.Time `json:"first,omitzero"` // time of the first entry
	Last        time.Time `json:"last,omitzero"`  // and of the last
	Root        tlog.Hash `json:"root"`           // of all entries that were checked
	Steps       int64     `json:"counter_steps"`  // of the station's counter, as the log has them
	Counter     uint64    `json:"counter"`        // its value at the newest step, or as it was accepted after it
	CounterID   Digest    `json:"counter_id"`     // names it; zero if there is none
	Witnesses   int       `json:"witnesses"`      // heads and leaves of VerifyOptions, and cosigned checkpoints, that agree
	Cosigned    int       `json:"cosigned"`       // checkpoints with the signature of a trusted witness
	CosignedTo  int64     `json:"cosigned_to"`    // entries that the newest of them covers
}

// Verify goes through the whole log, as it stood when Verify began: each leaf against the columns and the tree, each
// stored hash, each checkpoint's signature and root, the order within each session, each session's items, and the
// witnesses. It stops at the first record that is wrong, and the result names it. An error means that the log could not be
// read to its end; it is then not known to be sound. Memory grows with the number of sessions, by about 200 bytes each.
func (r *Reader) Verify(ctx context.Context, opts VerifyOptions) (Result, error) {
	var res Result
	err := r.snapshot(ctx, func(q querier) error {
		v := &verifier{q: q, r: r, res: &res, sessions: map[ID]*replay{}}
		return v.run(ctx, opts)
	})
	var bad *Broken
	switch {
	case errors.As(err, &bad):
		res.Bad = bad
		return res, nil
	case err != nil:
		return res, fmt.Errorf("verify: %w", err)
	}
	res.Sound = true
	return res, nil
}

// verifier walks the tables side by side. Everything it remembers is computed from the leaves, never read.
type verifier struct {
	q        querier
	r        *Reader
	version  int     // of the schema
	unfound  *Broken // the first record that a search would miss: told if nothing worse is
	res      *Result
	subtrees []tlog.Hash // roots of the complete subtrees so far, largest first
	sessions map[ID]*replay
	agreed   Agreements // exceptions so far
	counts   counts
	latest   string // the latest time so far
	hashes   *sql.Rows
	notes    *sql.Rows
	next     *stored // the next checkpoint in the table; nil at its end
	heads    []Head  // witnesses
	leaves   []Known
	known    map[int64][][]byte // leaves by their index: a station may hold a token for every third entry
}

// stored is a row of the table checkpoint.
type stored struct {
	size int64
	note string
}

// replay is a session as the entries so far tell it.
type replay struct {
	verdicts        verdicts
	settled, closed bool
	attached        int64
	issuing         int64 // -1 if none
}

func (v *verifier) run(ctx context.Context, opts VerifyOptions) error {
	var err error
	if v.version, err = identify(ctx, v.q); err != nil {
		return err
	}
	missing, err := checkSchema(ctx, v.q, v.version)
	if err != nil {
		return err
	}
	for _, signed := range opts.Heads {
		h, err := ParseCheckpoint(signed, v.r.origin, v.r.keys)
		if err != nil {
			return fmt.Errorf("a checkpoint from elsewhere: %w", err) // says nothing about the log
		}
		v.heads = append(v.heads, h)
	}
	if err := v.loadCosigned(ctx, opts.Witnesses); err != nil {
		return err
	}
	v.leaves, v.known = opts.Leaves, map[int64][][]byte{}
	for _, k := range opts.Leaves {
		v.known[k.Index] = append(v.known[k.Index], k.Leaf)
	}

	if v.hashes, err = v.q.QueryContext(ctx, "SELECT idx, hash FROM hash ORDER BY idx"); err != nil {
		return classify(err)
	}
	defer v.hashes.Close()
	if v.notes, err = v.q.QueryContext(ctx, "SELECT size, note FROM checkpoint ORDER BY size"); err != nil {
		return classify(err)
	}
	defer v.notes.Close()
	if err := v.nextNote(); err != nil {
		return err
	}
	if err := v.compareHeads(); err != nil { // of the empty tree
		return err
	}
	if err := v.entries(ctx); err != nil {
		return err
	}
	if err := v.end(ctx); err != nil {
		return err
	}
	if err := v.strayItems(ctx); err != nil {
		return err
	}
	if v.unfound != nil {
		return v.unfound
	}
	if missing != "" {
		return lacks(missing)
	}
	return v.integrity(ctx)
}

func (v *verifier) entries(ctx context.Context) error {
	rows, err := v.q.QueryContext(ctx, "SELECT idx, time, kind, leaf FROM entry ORDER BY idx")
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		e, decodeErr := scanEntry(rows)
		n := v.res.Entries
		switch {
		case decodeErr != nil && e.Leaf == nil:
			return decodeErr
		case e.Index < n:
			return &Broken{-1, fmt.Sprintf("there is an entry numbered %d", e.Index)}
		case e.Index > n:
			return &Broken{n, "it is missing"}
		}
		// The tree comes first: that a changed leaf cannot be read any more is only a consequence.
		if err := v.addLeaf(n, e.Leaf); err != nil {
			return err
		}
		if decodeErr != nil {
			return decodeErr
		}
		if err := v.follow(ctx, e); err != nil {
			return err
		}
		v.res.Entries++
		if err := v.compareHeads(); err != nil {
			return err
		}
		if err := v.compareLeaves(e); err != nil {
			return err
		}
	}
	return classify(rows.Err())
}

// addLeaf computes the hashes that entry n adds to the tree, in the order of tlog.StoredHashes, and compares each with
// the table.
func (v *verifier) addLeaf(n int64, leaf []byte) error {
	h := tlog.RecordHash(leaf)
	if err := v.compareHash(n, 0, h); err != nil {
		return err
	}
	for level := 1; n>>(level-1)&1 == 1; level++ {
		last := len(v.subtrees) - 1
		h = tlog.NodeHash(v.subtrees[last], h)
		v.subtrees = v.subtrees[:last]
		if err := v.compareHash(n, level, h); err != nil {
			return err
		}
	}
	v.subtrees = append(v.subtrees, h)
	return nil
}

func (v *verifier) compareHash(n int64, level int, want tlog.Hash) error {
	if !v.hashes.Next() {
		if err := v.hashes.Err(); err != nil {
			return classify(err)
		}
		return &Broken{n, "its stored hash is missing"}
	}
	var idx int64
	var got []byte
	if err := v.hashes.Scan(&idx, &got); err != nil {
		return classify(err)
	}
	switch {
	case idx != tlog.StoredHashIndex(level, n>>level):
		return &Broken{n, "its stored hash is missing"}
	case bytes.Equal(got, want[:]):
		return nil
	case level == 0:
		return &Broken{n, "leaf does not match the tree"}
	}
	return &Broken{n, fmt.Sprintf("the stored hash of level %d above it does not match the entries", level)}
}

// compareHeads checks the stored checkpoint of the size reached, if there is one, and the witnesses of that size. That all
// checkpoints are roots over the same leaves is what makes them consistent with each other.
func (v *verifier) compareHeads() error {
	size := v.res.Entries
	v.res.Root = rootOf(v.subtrees)
	if v.next != nil && v.next.size < size {
		return &Broken{v.next.size - 1, fmt.Sprintf("there is a checkpoint of %d entries", v.next.size)}
	}
	if v.next != nil && v.next.size == size {
		h, err := ParseCheckpoint(v.next.note, v.r.origin, v.r.keys)
		switch {
		case err != nil:
			return &Broken{size - 1, fmt.Sprintf("the checkpoint of %d entries: %v", size, err)}
		case h.Size != size:
			return &Broken{size - 1, fmt.Sprintf("the checkpoint of %d entries says %d", size, h.Size)}
		case h.Root != v.res.Root:
			return &Broken{size - 1, fmt.Sprintf("the checkpoint of %d entries has another root", size)}
		}
		v.res.Checkpoints++
		if err := v.nextNote(); err != nil {
			return err
		}
	}
	for _, h := range v.heads {
		if h.Size != size {
			continue
		}
		if h.Root != v.res.Root {
			what := fmt.Sprintf("a checkpoint from elsewhere, of %d entries, has another root: history was rewritten", size)
			return &Broken{size - 1, what}
		}
		v.res.Witnesses++
	}
	return nil
}

func (v *verifier) compareLeaves(e Entry) error {
	for _, leaf := range v.known[e.Index] {
		if !bytes.Equal(leaf, e.Leaf) {
			return &Broken{e.Index, "a token says that another clearance was here: history was rewritten"}
		}
		v.res.Witnesses++
	}
	return nil
}

func (v *verifier) nextNote() error {
	v.next = nil
	if !v.notes.Next() {
		return classify(v.notes.Err())
	}
	v.next = &stored{}
	return classify(v.notes.Scan(&v.next.size, &v.next.note))
}

// end is what must hold after the last entry.
func (v *verifier) end(ctx context.Context) error {
	n := v.res.Entries
	for _, h := range v.heads {
		if h.Size > n {
			return &Broken{n, fmt.Sprintf("it is missing: a checkpoint from elsewhere has %d entries", h.Size)}
		}
	}
	for _, k := range v.leaves {
		if k.Index < 0 || k.Index >= n {
			return &Broken{n, fmt.Sprintf("it is missing: a token names entry %d", k.Index)}
		}
	}
	switch {
	case v.next != nil:
		return &Broken{n, fmt.Sprintf("it is missing: there is a checkpoint of %d entries", v.next.size)}
	case v.hashes.Next():
		return &Broken{n, "it is missing: there is a stored hash for it"}
	case v.hashes.Err() != nil:
		return classify(v.hashes.Err())
	}
	// Each append stores a checkpoint, so the last one covers everything, or entries were added by somebody else.
	h, _, err := v.r.tail(ctx, v.q)
	if err == nil && (h.Size != n || h.Root != v.res.Root) {
		err = &Broken{n, "the last checkpoint is not that of the entries"}
	}
	return err
}

// follow holds an entry against those before it.
func (v *verifier) follow(ctx context.Context, e Entry) error {
	if v.res.First.IsZero() {
		v.res.First = e.Time
	}
	v.res.Last = e.Time
	behind, err := secondsBehind(v.latest, e.Time)
	if err != nil {
		return err
	}
	if e.Kind != KindIssuing && behind != e.ClockBack { // an issuing leaf has no place for the mark
		return &Broken{e.Index, "what it says of the clock is not what the entries before it say"}
	}
	if behind > 0 {
		v.res.ClockBack++
	}
	v.latest = max(v.latest, e.Time.Format(timeLayout))
	if err := v.followExceptions(e); err != nil {
		return err
	}
	if err := v.counts.follow(e); err != nil {
		return err
	}
	v.res.Steps, v.res.Counter, v.res.CounterID = v.counts.steps, v.counts.value, v.counts.id
	at, rules := e.Index, ruleFacts{}
	if e.Session != (ID{}) {
		if err := v.followSession(ctx, e, rules); err != nil {
			return err
		}
		if s := v.sessions[e.Session]; s != nil {
			at = s.attached
		}
	}
	return v.checkFacts(ctx, e, at, rules)
}

// counts is the station's counter as the entries so far tell it.
type counts struct {
	id    Digest
	value uint64
	steps int64
}

// follow holds a step against the one before. One that does not rise was taken out of another history of the same station.
func (c *counts) follow(e Entry) error {
	d, ok := e.Data.(Administered)
	switch {
	case !ok || d.What != WhatCounted && d.What != WhatCountAccepted:
		return nil
	case d.What == WhatCounted && d.Digest == c.id && d.Number <= c.value:
		return &Broken{e.Index, fmt.Sprintf("the station's counter was at %d before and is at %d: it only rises", c.value, d.Number)}
	case d.What == WhatCounted:
		c.steps++
	}
	c.id, c.value = d.Digest, d.Number
	return nil
}

// followExceptions holds the steps of exceptions, and the verdicts that rest on them, against those before.
func (v *verifier) followExceptions(e Entry) error {
	wrong := ""
	switch d := e.Data.(type) {
	case Exception:
		if err := v.agreed.Enter(d, e.Time); err != nil {
			wrong = err.Error()
		}
	case Decided:
		wrong = v.agreed.supports(d, e.Time)
	}
	if wrong != "" {
		return &Broken{e.Index, wrong}
	}
	return nil
}

// followSession replays the rules that Append keeps. It notes the rules of the items that the entry binds.
func (v *verifier) followSession(ctx context.Context, e Entry, rules ruleFacts) error {
	s := v.sessions[e.Session]
	if s == nil && e.Kind != KindAttached {
		switch e.Kind {
		case KindRemoved, KindAborted, KindFailed: // the write of "attached" may be what failed
			return nil
		}
		return &Broken{e.Index, "its session was never attached"}
	}
	switch d := e.Data.(type) {
	case Attached:
		if s != nil {
			return &Broken{e.Index, "its session was attached before"}
		}
		v.sessions[e.Session] = &replay{attached: e.Index, issuing: -1}
	case Decided:
		if !s.verdicts.admits(d) {
			return &Broken{e.Index, "its session had a verdict before, for this class or over another scan"}
		}
		first := len(s.verdicts.classes) == 0
		s.verdicts.add(d)
		if first { // the others bind the same rows
			return v.compareItems(ctx, e, d, rules)
		}
	case Override:
		if !s.verdicts.takes(d) || s.closed || s.issuing >= 0 {
			return &Broken{e.Index, "it lets through what was not refused, or confirms what nobody else asked for"}
		}
		s.verdicts.overrides = append(s.verdicts.overrides, d)
	case Issuing:
		if !s.verdicts.clears(d) || s.closed || s.issuing >= 0 {
			return &Broken{e.Index, "its session was not cleared with this content for this class, was over, or had a clearance before"}
		}
		s.issuing = e.Index
	case Issued:
		return s.settle(e.Index, d.Issuing)
	case Abandoned:
		return s.settle(e.Index, d.Issuing)
	case Denied:
	default:
		s.closed = true
	}
	return nil
}

func (s *replay) settle(index, issuing int64) error {
	if s.issuing != issuing || s.settled {
		return &Broken{index, fmt.Sprintf("entry %d did not begin a clearance of its session, or was settled before", issuing)}
	}
	s.settled = true
	return nil
}

// compareItems checks a session's item rows against what its verdict bound.
func (v *verifier) compareItems(ctx context.Context, e Entry, d Decided, rules ruleFacts) error {
	digest, n := newItemsDigest(e.Session), uint64(0)
	index, err := v.openPrefixes(ctx, e.Session)
	if err != nil {
		return err
	}
	defer index.close()
	found := true
	err = eachItem(ctx, v.q, e.Session, func(seq int64, it Item) error {
		if seq < 0 || uint64(seq) != n {
			return &Broken{e.Index, fmt.Sprintf("row %d of its items is missing", n)}
		}
		rules.add(it.Findings)
		if same, err := index.next(seq, it.SHA256); err != nil || !same {
			if err != nil {
				return err
			}
			found = false
		}
		n++
		return addItem(digest, it)
	})
	over := true
	if err == nil && found {
		over, err = index.over()
	}
	switch {
	case err != nil:
		return err
	case n < d.Items:
		return &Broken{e.Index, fmt.Sprintf("row %d of its items is missing", n)}
	case n > d.Items:
		return &Broken{e.Index, fmt.Sprintf("its items have a row %d too many", d.Items)}
	case (n > 0 || d.ItemsDigest != Digest{}) && Digest(digest.Sum(nil)) != d.ItemsDigest:
		return &Broken{e.Index, "its items do not match their digest: a row was changed"}
	}
	if !found || !over {
		v.hide(e.Index, "a hash of its items")
	}
	v.res.Items += n
	return nil
}

// strayItems looks for rows that no entry speaks of.
func (v *verifier) strayItems(ctx context.Context) error {
	for session := []byte{}; ; {
		err := v.q.QueryRowContext(ctx, "SELECT session FROM item WHERE session > ? ORDER BY session LIMIT 1", session).Scan(&session)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return nil
		case err != nil:
			return classify(err)
		case len(session) != len(ID{}):
			return &Broken{-1, "there are items of a session whose id is malformed"}
		}
		switch s := v.sessions[ID(session)]; {
		case s == nil:
			return &Broken{-1, fmt.Sprintf("there are items of session %x, which was never attached", session)}
		case len(s.verdicts.classes) == 0:
			v.res.Unbound++
		}
	}
}

// integrity has SQLite check what the tree does not cover: that the index over the times agrees with the table, and that
// the file's pages are in order.
func (v *verifier) integrity(ctx context.Context) error {
	var what string
	if err := v.q.QueryRowContext(ctx, "SELECT integrity_check FROM pragma_integrity_check LIMIT 1").Scan(&what); err != nil {
		return classify(err)
	}
	if what != "ok" {
		return &Broken{-1, "the database file is damaged: " + what}
	}
	return nil
}
