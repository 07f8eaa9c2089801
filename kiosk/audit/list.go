package audit

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ListOptions choose entries. The zero value chooses all, oldest first.
type ListOptions struct {
	From, To     int64     // indexes [From, To); To 0 means the end
	Since, Until time.Time // [Since, Until); zero means open
	Kinds        []Kind    // none means all
	Session      ID        // zero means all
	Newest       bool      // newest first
	Limit        int       // 0 means all
}

// List calls f with each chosen entry, as the log stood when List began. An entry that does not decode is a *Broken, not
// a gap in the list. It does not check the tree: Verify does. f must not take long, since a log that is being read
// cannot tidy up its WAL.
func (r *Reader) List(ctx context.Context, opts ListOptions, f func(Entry) error) error {
	query := "SELECT idx, time, kind, leaf FROM entry WHERE idx >= ?"
	args := []any{opts.From}
	if opts.To > 0 {
		query, args = query+" AND idx < ?", append(args, opts.To)
	}
	if !opts.Since.IsZero() {
		query, args = query+" AND time >= ?", append(args, opts.Since.UTC().Format(timeLayout))
	}
	if !opts.Until.IsZero() {
		query, args = query+" AND time < ?", append(args, opts.Until.UTC().Format(timeLayout))
	}
	if len(opts.Kinds) > 0 {
		query += " AND kind IN (?" + strings.Repeat(", ?", len(opts.Kinds)-1) + ")"
		for _, k := range opts.Kinds {
			args = append(args, k.String())
		}
	}
	query += " ORDER BY idx"
	if opts.Newest {
		query += " DESC"
	}
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("list: %w", classify(err))
	}
	defer rows.Close()
	for n := 0; (opts.Limit == 0 || n < opts.Limit) && rows.Next(); {
		e, err := scanEntry(rows)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if opts.Session != (ID{}) && e.Session != opts.Session {
			continue
		}
		n++
		if err := f(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list: %w", classify(err))
	}
	return nil
}

// scanEntry decodes the row (idx, time, kind, leaf, more...) and holds the columns against the leaf.
func scanEntry(rows *sql.Rows, more ...any) (Entry, error) {
	var idx int64
	var at, kind sql.NullString
	var leaf []byte
	if err := rows.Scan(append([]any{&idx, &at, &kind, &leaf}, more...)...); err != nil {
		return Entry{}, classify(err)
	}
	e, err := decodeLeaf(leaf)
	switch {
	case err != nil:
		return Entry{Index: idx, Leaf: leaf}, &Broken{idx, fmt.Sprintf("leaf cannot be read: %v", err)}
	case kind.String != e.Kind.String():
		return Entry{Index: idx, Leaf: leaf}, &Broken{idx, "its kind is not the leaf's"}
	case at.String != e.Time.Format(timeLayout):
		return Entry{Index: idx, Leaf: leaf}, &Broken{idx, "its time is not the leaf's"}
	}
	e.Index = idx
	return e, nil
}

// ListItems calls f with each item of a session, in order.
func (r *Reader) ListItems(ctx context.Context, session ID, f func(Item) error) error {
	return eachItem(ctx, r.db, session, func(_ int64, it Item) error { return f(it) })
}

func eachItem(ctx context.Context, q querier, session ID, f func(seq int64, it Item) error) error {
	return eachItemWhere(ctx, q, " ORDER BY seq", []any{session[:]}, f)
}

// eachItemWhere is eachItem with more conditions behind the session, which is the first of args.
func eachItemWhere(ctx context.Context, q querier, where string, args []any, f func(seq int64, it Item) error) error {
	rows, err := q.QueryContext(ctx, "SELECT seq, volume, kind, name, size, sha256, type, outcome, findings FROM item "+
		"WHERE session = ?"+where, args...)
	if err != nil {
		return fmt.Errorf("list items: %w", classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var it Item
		var name, sum []byte
		err := rows.Scan(&seq, &it.Volume, &it.Kind, &name, &it.Size, &sum, &it.Type, &it.Outcome, &it.Findings)
		if err != nil {
			return fmt.Errorf("list items: %w", classify(err))
		}
		copy(it.Name[:], name)
		if sum != nil {
			it.SHA256 = new(Digest)
			copy(it.SHA256[:], sum)
		}
		if err := f(seq, it); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list items: %w", classify(err))
	}
	return nil
}

// Session is a session that the log has not seen the end of.
type Session struct {
	ID       ID
	Attached int64 // index of "attached" if there is no verdict, else -1
	Issuing  int64 // index of "issuing" if the clearance was neither issued nor abandoned, else -1
}

// Unfinished lists the sessions that have no verdict and no other end, and those with a clearance that was begun and
// neither issued nor abandoned, oldest first. Some of them may be running in another process at this moment: the caller
// must know which are not, before it appends Aborted, Issued (the token is there) or Abandoned (it is not).
func (r *Reader) Unfinished(ctx context.Context) ([]Session, error) {
	open := map[ID]*Session{}
	rows, err := r.db.QueryContext(ctx, "SELECT idx, leaf FROM entry ORDER BY idx")
	if err != nil {
		return nil, fmt.Errorf("unfinished sessions: %w", classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var idx int64
		var leaf sql.RawBytes
		if err := rows.Scan(&idx, &leaf); err != nil {
			return nil, fmt.Errorf("unfinished sessions: %w", classify(err))
		}
		kind, id, err := leafHead(leaf)
		if err != nil {
			return nil, fmt.Errorf("unfinished sessions: %w", &Broken{idx, fmt.Sprintf("leaf cannot be read: %v", err)})
		}
		switch kind {
		case KindAttached:
			open[id] = &Session{id, idx, -1}
		case KindIssuing:
			open[id] = &Session{id, -1, idx}
		case KindIssued, KindAbandoned:
			delete(open, id)
		case KindDenied: // neither
		default: // a verdict or an end; but a clearance that was begun must still be settled
			if s := open[id]; s != nil && s.Issuing < 0 {
				delete(open, id)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("unfinished sessions: %w", classify(err))
	}
	out := make([]Session, 0, len(open))
	for _, s := range open {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Session) int { return int(max(a.Attached, a.Issuing) - max(b.Attached, b.Issuing)) })
	return out, nil
}

// snapshot runs f in one read transaction.
func (r *Reader) snapshot(ctx context.Context, f func(querier) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	return f(tx)
}
