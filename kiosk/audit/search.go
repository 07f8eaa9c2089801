package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Query says what to search for. What is set must all hold of one session, or of one entry that belongs to none. The zero
// value finds all.
type Query struct {
	Since, Until time.Time // when the session began, or the entry was made: [Since, Until)
	Verdicts     []Verdict // one of these, for any class
	Class        Word      // equipment class that somebody asked for
	Operator     Pseudonym
	Rule         string // "check:rule", as in Item.Findings
	Pack         string // "name@version"
	SHA256       *Digest
	Kinds        []Kind // has an entry of one of these
	Limit        int    // 0 is DefaultMatches
}

// DefaultMatches is how many matches a search returns unless it asks for more.
const DefaultMatches = 100

// maxHashHits bounds the items that one search for a hash looks at: one file on a thousand media a day for a year is less.
const maxHashHits = 1_000_000

// Match is a session that a search found, or an entry that belongs to none.
type Match struct {
	Session ID      `json:"session,omitzero"` // zero for an entry of none
	Entries []Entry `json:"entries"`          // of the session, in order; or the one
	Items   []Row   `json:"items,omitempty"`  // with the hash or the rule that was searched for, at most maxMatchItems of them
}

// maxMatchItems is how many items of a session are shown; "audit show" has all.
const maxMatchItems = 20

// maxSessionEntries bounds the entries of a session that are read at once: a person can ask for a clearance again and again.
const maxSessionEntries = 10_000

// Row is an item with its place in the session.
type Row struct {
	Seq int64 `json:"row"`
	Item
}

// ErrNoIndex says that a copy of an older log cannot be searched.
var ErrNoIndex = errors.New("the copy is of an older version and has no index: open it once as a station's log, or list it")

// Search returns what a query finds, newest first.
//
// A word at a time is looked up, the rarest first, and the others only where that one holds: so it costs what the rarest word
// costs, up to half a second for a word that holds in a million sessions. Each match is read from its leaves and held against
// the query again. That nothing is missing is what Verify shows.
func (r *Reader) Search(ctx context.Context, query Query) ([]Match, error) {
	var out []Match
	err := r.snapshot(ctx, func(q querier) error {
		if version, err := identify(ctx, q); err != nil {
			return err
		} else if version < 2 {
			return ErrNoIndex
		}
		s := &search{q: q, query: query, limit: query.Limit}
		if s.limit <= 0 {
			s.limit = DefaultMatches
		}
		var err error
		out, err = s.run(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return out, nil
}

// search is one search on its way.
type search struct {
	q     querier
	query Query
	limit int
	words [][]string // one of each must hold
	out   []Match
}

// words are the facts that a query asks for.
func (q *Query) words() (all [][]string) {
	var verdicts, kinds []string
	for _, v := range q.Verdicts {
		verdicts = append(verdicts, "verdict="+v.String())
	}
	for _, k := range q.Kinds {
		kinds = append(kinds, "kind="+k.String())
	}
	for _, words := range [][]string{verdicts, kinds} {
		if len(words) > 0 {
			all = append(all, words)
		}
	}
	if q.Class != "" {
		all = append(all, []string{"class=" + string(q.Class)})
	}
	if q.Operator != (Pseudonym{}) {
		all = append(all, []string{operatorFact(q.Operator)})
	}
	if q.Pack != "" {
		all = append(all, []string{"pack=" + q.Pack})
	}
	if q.Rule != "" {
		all = append(all, []string{"rule=" + q.Rule, manyRules})
	}
	return all
}

func (s *search) run(ctx context.Context) ([]Match, error) {
	s.words = s.query.words()
	if s.query.SHA256 != nil {
		places, err := s.places(ctx, *s.query.SHA256)
		if err != nil {
			return nil, err
		}
		for _, at := range places {
			if err := s.take(ctx, at); err != nil || len(s.out) >= s.limit {
				return s.out, err
			}
		}
		return s.out, nil
	}
	from, where, args, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.QueryContext(ctx, "SELECT DISTINCT place FROM "+from+" f WHERE "+where+" ORDER BY place DESC", args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	for len(s.out) < s.limit && rows.Next() {
		var at int64
		if err := rows.Scan(&at); err != nil {
			return nil, classify(err)
		}
		if err := s.take(ctx, at); err != nil {
			return nil, err
		}
	}
	return s.out, classify(rows.Err())
}

// maxCount is how far the places of a word are counted to find the rarest.
const maxCount = 50_000

// plan says which places to look at: those of the rarest words, less those that lack the others or are of another time.
func (s *search) plan(ctx context.Context) (from, where string, args []any, err error) {
	rarest, least := -1, maxCount+1
	for i, words := range s.words {
		var n int
		query, args := "SELECT count(*) FROM (SELECT 1 FROM fact WHERE word IN (?"+strings.Repeat(", ?", len(words)-1)+") LIMIT ?)", anys(words)
		if err := s.q.QueryRowContext(ctx, query, append(args, maxCount)...).Scan(&n); err != nil {
			return "", "", nil, classify(err)
		}
		if n < least {
			rarest, least = i, n
		}
	}
	if rarest < 0 { // of all sessions, and all entries that belong to none
		from, where = "(SELECT idx AS place FROM entry WHERE kind NOT IN ("+laterKinds()+"))", "1"
	} else {
		from = "fact"
		where = "f.word IN (?" + strings.Repeat(", ?", len(s.words[rarest])-1) + ")"
		args = anys(s.words[rarest])
	}
	for i, words := range s.words {
		if i != rarest {
			where += " AND EXISTS(SELECT 1 FROM fact WHERE place = f.place AND word IN (?" + strings.Repeat(", ?", len(words)-1) + "))"
			args = append(args, anys(words)...)
		}
	}
	if !s.query.Since.IsZero() || !s.query.Until.IsZero() {
		where += " AND EXISTS(SELECT 1 FROM entry WHERE idx = f.place"
		if !s.query.Since.IsZero() {
			where, args = where+" AND time >= ?", append(args, s.query.Since.UTC().Format(timeLayout))
		}
		if !s.query.Until.IsZero() {
			where, args = where+" AND time < ?", append(args, s.query.Until.UTC().Format(timeLayout))
		}
		where += ")"
	}
	return from, where, args, nil
}

// laterKinds are those of entries that only ever follow "attached", for SQL. One of a kind that need not is looked at.
func laterKinds() string {
	var out []string
	for k := NoKind + 1; k < kindEnd; k++ {
		if k.ofSession() && k != KindAttached && k != KindFailed {
			out = append(out, "'"+k.String()+"'")
		}
	}
	return strings.Join(out, ", ")
}

func anys(words []string) (out []any) {
	for _, w := range words {
		out = append(out, w)
	}
	return out
}

// places finds the sessions with an item of this hash, newest first.
func (s *search) places(ctx context.Context, sum Digest) ([]int64, error) {
	rows, err := s.q.QueryContext(context.WithoutCancel(ctx), "SELECT session, seq, sums FROM prefix ORDER BY id")
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	found := map[ID]bool{}
	hits := 0
	for rows.Next() {
		var session, sums sql.RawBytes
		var first int64
		if err := rows.Scan(&session, &first, &sums); err != nil {
			return nil, classify(err)
		}
		for rest, at := []byte(sums), first; len(rest) >= prefixBytes; {
			i := bytes.Index(rest, sum[:prefixBytes])
			if i < 0 {
				break
			}
			if i%prefixBytes != 0 { // across two of them
				i += prefixBytes - i%prefixBytes
				rest, at = rest[i:], at+int64(i/prefixBytes)
				continue
			}
			at += int64(i / prefixBytes)
			if hits++; hits > maxHashHits {
				return nil, fmt.Errorf("more than %d items begin with this hash", maxHashHits)
			}
			if id := ID(session); !found[id] {
				same, err := s.has(ctx, id, at, sum)
				if err != nil {
					return nil, err
				}
				found[id] = found[id] || same
			}
			rest, at = rest[i+prefixBytes:], at+1
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	var out []int64
	for id, is := range found {
		if !is {
			continue
		}
		at, err := place(ctx, s.q, Entry{Index: -1, Session: id})
		if err != nil {
			return nil, err
		}
		if at >= 0 {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

func (s *search) has(ctx context.Context, session ID, seq int64, sum Digest) (same bool, err error) {
	row := s.q.QueryRowContext(ctx, "SELECT count(*) FROM item WHERE session = ? AND seq = ? AND sha256 = ?", session[:], seq, sum[:])
	return same, classify(row.Scan(&same))
}

// take reads what is at a place and adds it to the matches if it is what was searched for.
func (s *search) take(ctx context.Context, at int64) error {
	m, err := readMatch(ctx, s.q, at)
	if err != nil || !s.fits(m) {
		return err
	}
	if s.query.SHA256 != nil || s.query.Rule != "" {
		if m.Items, err = s.items(ctx, m.Session); err != nil || len(m.Items) == 0 {
			return err
		}
	}
	s.out = append(s.out, m)
	return nil
}

// fits holds a match against the query, by its leaves. Rules and hashes are items', which have no leaves.
func (s *search) fits(m Match) bool {
	if len(m.Entries) == 0 {
		return false
	}
	began := m.Entries[0].Time
	if !s.query.Since.IsZero() && began.Before(s.query.Since) || !s.query.Until.IsZero() && !began.Before(s.query.Until) {
		return false
	}
	have := map[string]bool{}
	for _, e := range m.Entries {
		for _, word := range factsOf(e) {
			have[word] = true
		}
	}
	for _, words := range s.words {
		if !slices.ContainsFunc(words, func(w string) bool { return have[w] || strings.HasPrefix(w, "rule=") }) {
			return false
		}
	}
	return true
}

// items are those of a session that the query is about.
func (s *search) items(ctx context.Context, session ID) (out []Row, err error) {
	where, args := "", []any{session[:]}
	if s.query.SHA256 != nil {
		where, args = where+" AND sha256 = ?", append(args, s.query.SHA256[:])
	}
	if s.query.Rule != "" {
		where, args = where+" AND instr(' ' || findings || ' ', ?) > 0", append(args, " "+s.query.Rule+" ")
	}
	args = append(args, maxMatchItems)
	err = eachItemWhere(ctx, s.q, where+" ORDER BY seq LIMIT ?", args, func(seq int64, it Item) error {
		out = append(out, Row{seq, it})
		return nil
	})
	return out, err
}

// readMatch reads the session whose first entry is at a place, or the entry.
func readMatch(ctx context.Context, q querier, at int64) (m Match, err error) {
	first, err := readEntry(ctx, q, at)
	if err != nil {
		return m, err
	}
	m = Match{Session: first.Session, Entries: []Entry{first}}
	if first.Session == (ID{}) {
		return m, nil
	}
	if first.Kind != KindAttached {
		begin, err := place(ctx, q, first)
		if err != nil || begin == at { // its "attached" may be what failed
			return m, err
		}
		return Match{}, nil // found where its session begins
	}
	m.Entries, err = sessionEntries(ctx, q, first.Session)
	return m, err
}

// readEntry reads one entry.
func readEntry(ctx context.Context, q querier, at int64) (Entry, error) {
	rows, err := q.QueryContext(ctx, "SELECT idx, time, kind, leaf FROM entry WHERE idx = ?", at)
	if err != nil {
		return Entry{}, classify(err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return Entry{}, classify(err)
		}
		return Entry{}, &Broken{at, "it is missing: a search leads to it"}
	}
	return scanEntry(rows)
}

func sessionEntries(ctx context.Context, q querier, session ID) (out []Entry, err error) {
	rows, err := q.QueryContext(ctx, "SELECT idx, time, kind, leaf FROM fact JOIN entry ON idx = place WHERE word = ? ORDER BY place LIMIT ?",
		entryFact(session), maxSessionEntries)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		if e.Session == session {
			out = append(out, e)
		}
	}
	return out, classify(rows.Err())
}

// Show returns a session's entries, by its id.
func (r *Reader) Show(ctx context.Context, session ID) (out []Entry, err error) {
	err = r.snapshot(ctx, func(q querier) error {
		if version, err := identify(ctx, q); err != nil {
			return err
		} else if version < 2 {
			return ErrNoIndex
		}
		out, err = sessionEntries(ctx, q, session)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("show session %v: %w", session, err)
	}
	return out, nil
}

// Sessions returns the ids of sessions that begin with some hexadecimal digits, at most two of them: one is the session that a
// person means by the first digits of its id.
func (r *Reader) Sessions(ctx context.Context, digits string) (out []ID, err error) {
	if digits == "" || strings.Trim(digits, "0123456789abcdef") != "" {
		return nil, nil
	}
	word := "entry=" + digits
	rows, err := r.db.QueryContext(ctx, "SELECT DISTINCT word FROM fact WHERE word >= ? AND word < ? LIMIT 2", word, word+"g")
	if err != nil {
		return nil, fmt.Errorf("find a session: %w", classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var word string
		var id ID
		if err := rows.Scan(&word); err != nil {
			return nil, classify(err)
		}
		if id.UnmarshalText([]byte(strings.TrimPrefix(word, "entry="))) == nil {
			out = append(out, id)
		}
	}
	return out, classify(rows.Err())
}
