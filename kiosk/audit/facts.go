package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The log is searched by facts: words such as "verdict=cleared" or "operator=0123456789abcdef", each with the places where it
// holds. The place of what belongs to a session is the index of the session's "attached" entry, so that facts of several
// entries of one session meet; the place of every other entry is its own index. "entry=" and a session's id is the exception:
// its places are the entries of that session.
//
// A session's items are found by the first four bytes of their SHA-256, a thousand behind each other in one row of the table
// prefix, in the order of the items: forty megabytes for ten million, which are read through in less time than an index over
// whole hashes would cost to write.
//
// All of this follows from leaves and rows and proves nothing. Verify finds a fact or a prefix that is missing or changed,
// since with it a record could be hidden from a search.

// prefixBytes is how much of an item's SHA-256 the table prefix keeps: of ten million items one in four hundred searches
// meets a wrong one, and the item's row tells.
const prefixBytes = 4

// maxRuleFacts bounds the rules of one session that are facts. Items with findings are bounded by their report, and no rule
// pack has as many rules. A session with more has the fact manyRules instead, and is looked into when a rule is searched for.
const (
	maxRuleFacts = 10_000
	manyRules    = "rule=*"
)

// namedFact is the fact of entries that commit to names.
const namedFact = "names=kept"

// factsOf returns the facts that an entry's leaf tells, less "entry=". Other words for a kind that there is already are another
// version of the schema: logs of before lack them.
func factsOf(e Entry) []string {
	words := []string{"kind=" + e.Kind.String()}
	if e.Names != nil {
		words = append(words, namedFact)
	}
	operator := func(p Pseudonym) {
		if p != (Pseudonym{}) {
			words = append(words, operatorFact(p))
		}
	}
	switch d := e.Data.(type) {
	case Decided:
		words = append(words, "verdict="+d.Verdict.String(), "class="+string(d.Class))
		if d.Rules.Name != "" {
			words = append(words, rulesFact(d.Rules))
		}
	case Issuing:
		operator(d.Operator)
	case Denied:
		operator(d.Person)
		words = append(words, "class="+string(d.Class))
	case Administered:
		operator(d.Person)
	case Guest:
		operator(d.Person)
		operator(d.Sponsor)
	case Override:
		operator(d.Person)
		operator(d.Asked)
		words = append(words, "class="+string(d.Class))
	case Pack:
		if d.Rules.Name != "" {
			words = append(words, rulesFact(d.Rules))
		}
	case Erased:
		operator(d.Person)
	case Disclosed:
		operator(d.Asked)
		operator(d.Agreed)
	case Recalled:
		words = append(words, "recalled="+d.Clearance.String())
	}
	return words
}

func operatorFact(p Pseudonym) string { return "operator=" + hex.EncodeToString(p[:]) }

func rulesFact(r Rules) string {
	return "pack=" + string(r.Name) + "@" + strconv.FormatUint(r.Version, 10)
}

func entryFact(session ID) string { return "entry=" + session.String() }

// place finds where the facts of an entry belong.
func place(ctx context.Context, q querier, e Entry) (int64, error) {
	if e.Session == (ID{}) || e.Kind == KindAttached {
		return e.Index, nil
	}
	var first int64
	err := q.QueryRowContext(ctx, "SELECT place FROM fact WHERE word = ? ORDER BY place LIMIT 1", entryFact(e.Session)).Scan(&first)
	if errors.Is(err, sql.ErrNoRows) { // the write of "attached" may be what failed
		return e.Index, nil
	}
	return first, classify(err)
}

// addFacts enters the facts of a new entry, and more that belong to its session.
func addFacts(ctx context.Context, tx *sql.Tx, e Entry, more []string) error {
	at, err := place(ctx, tx, e)
	if err != nil {
		return err
	}
	if e.Session != (ID{}) {
		if err := addFact(ctx, tx, entryFact(e.Session), e.Index); err != nil {
			return err
		}
	}
	for _, word := range append(factsOf(e), more...) {
		if err := addFact(ctx, tx, word, at); err != nil {
			return err
		}
	}
	return nil
}

func addFact(ctx context.Context, tx *sql.Tx, word string, place int64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO fact(word, place) VALUES(?, ?) ON CONFLICT DO NOTHING", word, place)
	return classify(err)
}

// ruleFacts gathers the rules that a session's items were found by.
type ruleFacts map[string]struct{}

func (r ruleFacts) add(findings string) {
	for word := range strings.FieldsSeq(findings) {
		if len(r) < maxRuleFacts {
			r["rule="+word] = struct{}{}
		} else if _, known := r["rule="+word]; !known {
			r[manyRules] = struct{}{}
		}
	}
}

func (r ruleFacts) words() []string { return slices.Sorted(maps.Keys(r)) }

// appendPrefix adds an item's prefix to a row; zeros stand for an item that was not seen in full.
func appendPrefix(sums []byte, sum *Digest) []byte {
	var none Digest
	if sum == nil {
		sum = &none
	}
	return append(sums, sum[:prefixBytes]...)
}

func addPrefixes(ctx context.Context, tx *sql.Tx, session ID, seq int64, sums []byte) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO prefix(session, seq, sums) VALUES(?, ?, ?)", session[:], seq, sums)
	return classify(err)
}

// upgrade fills the tables of version 2 from a log of version 1. Ten million items take about a minute.
func upgrade(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT idx, time, kind, leaf FROM entry ORDER BY idx")
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	bound := map[ID]bool{}
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return err
		}
		var more []string
		if e.Kind == KindDecided && !bound[e.Session] {
			bound[e.Session] = true
			rules := ruleFacts{}
			if err := eachItem(ctx, tx, e.Session, func(_ int64, it Item) error { rules.add(it.Findings); return nil }); err != nil {
				return err
			}
			more = rules.words()
		}
		if err := addFacts(ctx, tx, e, more); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return classify(err)
	}
	return upgradeItems(ctx, tx)
}

func upgradeItems(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT session, seq, sha256 FROM item ORDER BY session, seq")
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	var at ID
	var first int64
	var sums []byte
	flush := func() error {
		if len(sums) == 0 {
			return nil
		}
		return addPrefixes(ctx, tx, at, first, sums)
	}
	for rows.Next() {
		var session, sum sql.RawBytes
		var seq int64
		if err := rows.Scan(&session, &seq, &sum); err != nil {
			return classify(err)
		}
		if id := ID(session); id != at || len(sums) == itemBatch*prefixBytes {
			if err := flush(); err != nil {
				return err
			}
			at, first, sums = id, seq, sums[:0]
		}
		if sum == nil {
			sums = appendPrefix(sums, nil)
		} else {
			sums = append(sums, sum[:prefixBytes]...)
		}
	}
	if err := rows.Err(); err != nil {
		return classify(err)
	}
	return flush()
}

// checkFacts holds the facts of an entry, and the rules of its session's items if it binds them, against the table.
func (v *verifier) checkFacts(ctx context.Context, e Entry, at int64, rules ruleFacts) error {
	if v.version < 2 {
		return nil
	}
	if e.Session != (ID{}) {
		if err := v.hasFacts(ctx, e.Index, e.Index, entryFact(e.Session)); err != nil {
			return err
		}
	}
	for words := range slices.Chunk(append(factsOf(e), rules.words()...), 16) {
		if err := v.hasFacts(ctx, e.Index, at, words...); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) hasFacts(ctx context.Context, index, place int64, words ...string) error {
	args := []any{place}
	for _, w := range words {
		args = append(args, w)
	}
	rows, err := v.q.QueryContext(ctx, "SELECT word FROM fact WHERE place = ? AND word IN (?"+strings.Repeat(", ?", len(words)-1)+")", args...)
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		var word string
		if err := rows.Scan(&word); err != nil {
			return classify(err)
		}
		words = slices.DeleteFunc(words, func(w string) bool { return w == word })
	}
	if err := rows.Err(); err != nil {
		return classify(err)
	}
	if len(words) > 0 {
		v.hide(index, words[0])
	}
	return nil
}

// hide notes what a search would not find.
func (v *verifier) hide(index int64, what string) {
	if v.unfound == nil {
		v.unfound = &Broken{index, fmt.Sprintf("a search for %s would not find it", what)}
	}
}

// prefixes walks the rows of a session in the table prefix beside its items.
type prefixes struct {
	rows *sql.Rows // nil in a log of version 1
	seq  int64
	sums []byte
}

func (v *verifier) openPrefixes(ctx context.Context, session ID) (p prefixes, err error) {
	if v.version < 2 {
		return p, nil
	}
	p.rows, err = v.q.QueryContext(ctx, "SELECT seq, sums FROM prefix WHERE session = ? ORDER BY seq", session[:])
	return p, classify(err)
}

func (p *prefixes) close() {
	if p.rows != nil {
		p.rows.Close()
	}
}

// next compares the prefix of the next item; what it returns false for would not be found.
func (p *prefixes) next(seq int64, sum *Digest) (bool, error) {
	if p.rows == nil {
		return true, nil
	}
	if len(p.sums) == 0 {
		if !p.rows.Next() {
			return false, classify(p.rows.Err())
		}
		if err := p.rows.Scan(&p.seq, &p.sums); err != nil {
			return false, classify(err)
		}
		if p.seq != seq || len(p.sums) < prefixBytes {
			return false, nil
		}
	}
	same := bytes.Equal(appendPrefix(nil, sum), p.sums[:prefixBytes])
	p.sums = p.sums[prefixBytes:]
	return same, nil
}

// over reports whether there is nothing left.
func (p *prefixes) over() (bool, error) {
	if p.rows == nil {
		return true, nil
	}
	return len(p.sums) == 0 && !p.rows.Next(), classify(p.rows.Err())
}
