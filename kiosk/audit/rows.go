package audit

import (
	"context"
	"fmt"

	"pratique/scanner/report"
)

// Numbered is an item with its place among those of its session.
type Numbered struct {
	Seq  int64
	Item Item
}

// Rows returns the items of a session from a place on, in order, at most max of them. With odd set, those are left out that
// are clean and that no check said anything of. When it returns, nothing of the log is being read any more, so that a caller
// may take its time with each row (see List).
func (r *Reader) Rows(ctx context.Context, session ID, from int64, max int, odd bool) ([]Numbered, error) {
	where, args := " AND seq >= ?", []any{session[:], from}
	if odd {
		where, args = where+" AND (outcome <> ? OR findings <> '')", append(args, report.Clean.String())
	}
	var out []Numbered
	err := eachItemWhere(ctx, r.db, where+" ORDER BY seq LIMIT ?", append(args, max), func(seq int64, it Item) error {
		out = append(out, Numbered{seq, it})
		return nil
	})
	return out, err
}

// Accept checks a checkpoint of this log that comes back from elsewhere, such as from an earlier export, and returns the tree
// head that it signs.
func (r *Reader) Accept(signed string) (Head, error) {
	h, err := ParseCheckpoint(signed, r.origin, r.keys)
	if err != nil {
		return Head{}, fmt.Errorf("a checkpoint from elsewhere: %w", err)
	}
	return h, nil
}

// Origin is the log's name.
func (r *Reader) Origin() string { return r.origin }

// Follower builds the tree over the entries of a span as they are read, so that what is made of them is of the log that the
// checkpoint signs, and of no other.
type Follower struct{ chain *chain }

// Follow begins at the span's first entry.
func (r *Reader) Follow(s Span) (*Follower, error) {
	c, err := newChain(s, r.origin, r.keys, nil)
	if err != nil {
		return nil, err
	}
	return &Follower{c}, nil
}

// Add takes the next entry. A gap is a *Broken.
func (f *Follower) Add(e Entry) error { return f.chain.add(e.Index, e.Leaf, "") }

// End returns a *Broken unless the entries were all there and are those of the span's checkpoint.
func (f *Follower) End() error {
	_, err := f.chain.end()
	return err
}
