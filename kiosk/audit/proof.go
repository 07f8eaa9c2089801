package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Span is a run of entries with what proves it to somebody who has nothing else of the log: the roots of the subtrees before
// it, from which the tree is built on, and signed checkpoints at both of its ends. An export that begins where the one before
// ended proves that nothing was changed or cut in between: Left gives the root that the earlier checkpoint signed, or it does
// not.
type Span struct {
	Version    int         `json:"pratique_log"` // 1
	Origin     string      `json:"origin"`
	From       int64       `json:"from"`       // first entry
	To         int64       `json:"to"`         // one after the last
	Left       []tlog.Hash `json:"left"`       // roots of the complete subtrees over the entries before From, largest first
	Before     string      `json:"before"`     // checkpoint of From entries
	Checkpoint string      `json:"checkpoint"` // of To entries
}

const spanVersion = 1

// Signed is an entry with the checkpoint that was signed when it was entered, so that a changed entry is named and not only
// its export refused. In JSON it is one line of an export (VerifyExport).
type Signed struct {
	Entry
	Leaf       []byte `json:"leaf"`       // base64
	Checkpoint string `json:"checkpoint"` // of Index + 1 entries
}

// Period returns the entries [from, to) between which all lie that were made in [since, until); zero means open. Where the
// clock was set back, some that lie among them are of another time: what is proved has no gaps. An empty period is at the end
// of the log.
func (r *Reader) Period(ctx context.Context, since, until time.Time) (from, to int64, err error) {
	err = r.snapshot(ctx, func(q querier) error {
		query, args := "SELECT min(idx), max(idx) + 1, (SELECT coalesce(max(idx) + 1, 0) FROM entry) FROM entry WHERE time IS NOT NULL", []any{}
		if !since.IsZero() {
			query, args = query+" AND time >= ?", append(args, since.UTC().Format(timeLayout))
		}
		if !until.IsZero() {
			query, args = query+" AND time < ?", append(args, until.UTC().Format(timeLayout))
		}
		var first, end sql.NullInt64
		var size int64
		if err := q.QueryRowContext(ctx, query, args...).Scan(&first, &end, &size); err != nil {
			return classify(err)
		}
		if from, to = first.Int64, end.Int64; !first.Valid {
			from, to = size, size
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("period: %w", err)
	}
	return from, to, nil
}

// Span returns the proof for the entries [from, to); to 0 means the end. The log is held together at its end first, so that
// nothing is proved of a log that somebody has changed there; Verify checks all of it.
func (r *Reader) Span(ctx context.Context, from, to int64) (Span, error) {
	s := Span{Version: spanVersion, Origin: r.origin, From: from, To: to, Left: []tlog.Hash{}}
	err := r.snapshot(ctx, func(q querier) error {
		head, _, err := r.tail(ctx, q)
		if err != nil {
			return err
		}
		if s.To == 0 {
			s.To = head.Size
		}
		if from < 0 || from > s.To || s.To > head.Size {
			return fmt.Errorf("entries %d to %d of a log of %d", from, s.To, head.Size)
		}
		if s.Left, err = leftOf(storedHashes(ctx, q), from); err != nil {
			return err
		}
		if s.Before, err = r.checkpointOf(ctx, q, from, rootOf(s.Left)); err != nil {
			return err
		}
		left, err := leftOf(storedHashes(ctx, q), s.To)
		if err != nil {
			return err
		}
		s.Checkpoint, err = r.checkpointOf(ctx, q, s.To, rootOf(left))
		return err
	})
	if err != nil {
		return Span{}, fmt.Errorf("prove entries: %w", err)
	}
	return s, nil
}

// leftOf reads the roots of the complete subtrees over the first n entries, largest first: at most 63.
func leftOf(hashes tlog.HashReader, n int64) ([]tlog.Hash, error) {
	var indexes []int64
	for level, at := 62, int64(0); level >= 0; level-- {
		if n&(1<<level) != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, at>>level))
			at += 1 << level
		}
	}
	if len(indexes) == 0 {
		return []tlog.Hash{}, nil
	}
	return hashes.ReadHashes(indexes)
}

// rootOf joins complete subtrees, from the right (RFC 6962 section 2.1).
func rootOf(subtrees []tlog.Hash) tlog.Hash {
	if len(subtrees) == 0 {
		return emptyRoot
	}
	h := subtrees[len(subtrees)-1]
	for i := len(subtrees) - 2; i >= 0; i-- {
		h = tlog.NodeHash(subtrees[i], h)
	}
	return h
}

// checkpointOf returns the stored checkpoint of a size. Each entry came with one.
func (r *Reader) checkpointOf(ctx context.Context, q querier, size int64, root tlog.Hash) (string, error) {
	var signed string
	switch err := q.QueryRowContext(ctx, "SELECT note FROM checkpoint WHERE size = ?", size).Scan(&signed); {
	case errors.Is(err, sql.ErrNoRows):
		return "", &Broken{size - 1, fmt.Sprintf("there is no checkpoint of %d entries", size)}
	case err != nil:
		return "", classify(err)
	}
	h, err := ParseCheckpoint(signed, r.origin, r.keys)
	switch {
	case err != nil:
		return "", &Broken{size - 1, fmt.Sprintf("the checkpoint of %d entries: %v", size, err)}
	case h.Size != size || h.Root != root:
		return "", &Broken{size - 1, fmt.Sprintf("the stored hashes do not match the checkpoint of %d entries", size)}
	}
	return signed, nil
}

// ListSigned calls f with each entry of [from, to) and its checkpoint, in order.
func (r *Reader) ListSigned(ctx context.Context, from, to int64, f func(Signed) error) error {
	rows, err := r.db.QueryContext(ctx, "SELECT e.idx, e.time, e.kind, e.leaf, coalesce(c.note, '') FROM entry e "+
		"LEFT JOIN checkpoint c ON c.size = e.idx + 1 WHERE e.idx >= ? AND e.idx < ? ORDER BY e.idx", from, to)
	if err != nil {
		return fmt.Errorf("list: %w", classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var s Signed
		if s.Entry, err = scanEntry(rows, &s.Checkpoint); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		s.Leaf = s.Entry.Leaf
		if err := f(s); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list: %w", classify(err))
	}
	return nil
}

// chain builds the tree on from a Span and holds it against every checkpoint on the way.
type chain struct {
	span     Span
	keys     note.Verifiers
	size     int64
	subtrees []tlog.Hash
	heads    []Head // that the reader has accepted before
	seen     int    // of them on the way
}

// newChain checks what a span says of its beginning and its end. accepted are checkpoints that the reader has from earlier
// exports, receipts or witnesses: one that this span cannot be held against is an error, for then nothing is known about what
// lies between.
func newChain(s Span, origin string, keys note.Verifiers, accepted []string) (*chain, error) {
	c := &chain{span: s, keys: keys, size: s.From, subtrees: slices.Clone(s.Left)}
	switch {
	case s.Version != spanVersion:
		return nil, fmt.Errorf("%w: an export of version %d", ErrNewer, s.Version)
	case s.Origin != origin:
		return nil, &Broken{-1, "it is of another log"}
	case s.From < 0 || s.To < s.From || len(s.Left) != bitsOf(s.From):
		return nil, &Broken{-1, "what it says of its entries contradicts itself"}
	}
	for _, end := range []struct {
		signed string
		size   int64
	}{{s.Before, s.From}, {s.Checkpoint, s.To}} {
		h, err := ParseCheckpoint(end.signed, origin, keys)
		switch {
		case err != nil:
			return nil, &Broken{end.size - 1, fmt.Sprintf("its checkpoint of %d entries: %v", end.size, err)}
		case h.Size != end.size:
			return nil, &Broken{-1, fmt.Sprintf("its checkpoint of %d entries says %d", end.size, h.Size)}
		case end.size == s.From && h.Root != rootOf(s.Left):
			return nil, &Broken{s.From - 1, "what it says of the entries before it is not what their checkpoint signs"}
		}
	}
	for _, signed := range accepted {
		h, err := ParseCheckpoint(signed, origin, keys)
		switch {
		case err != nil:
			return nil, fmt.Errorf("a checkpoint from elsewhere: %w", err)
		case h.Size < s.From:
			return nil, fmt.Errorf("entries %d to %d are missing between the checkpoint from elsewhere and this export", h.Size, s.From-1)
		}
		c.heads = append(c.heads, h)
	}
	return c, c.compare()
}

func bitsOf(n int64) (bits int) {
	for ; n > 0; n &= n - 1 {
		bits++
	}
	return bits
}

// add takes the next entry, with its own checkpoint if it has one.
func (c *chain) add(index int64, leaf []byte, signed string) error {
	switch {
	case index < c.size:
		return &Broken{index, "it is there twice, or out of order"}
	case index > c.size:
		return &Broken{c.size, "it is missing"}
	case index >= c.span.To:
		return &Broken{index, fmt.Sprintf("the export says that it ends with entry %d", c.span.To-1)}
	}
	h := tlog.RecordHash(leaf)
	for n := c.size; n&1 == 1; n >>= 1 {
		last := len(c.subtrees) - 1
		h = tlog.NodeHash(c.subtrees[last], h)
		c.subtrees = c.subtrees[:last]
	}
	c.subtrees = append(c.subtrees, h)
	c.size++
	if signed != "" {
		head, err := ParseCheckpoint(signed, c.span.Origin, c.keys)
		switch {
		case err != nil:
			return &Broken{index, fmt.Sprintf("its checkpoint: %v", err)}
		case head.Size != c.size:
			return &Broken{index, fmt.Sprintf("its checkpoint is that of %d entries", head.Size)}
		case head.Root != rootOf(c.subtrees):
			return &Broken{index, "it is not what its checkpoint signs"}
		}
	}
	return c.compare()
}

// compare holds the tree so far against what is known of this size.
func (c *chain) compare() error {
	for _, h := range c.heads {
		if h.Size != c.size {
			continue
		}
		if h.Root != rootOf(c.subtrees) {
			return &Broken{c.size - 1, fmt.Sprintf("a checkpoint from elsewhere, of %d entries, has another root: history was rewritten", c.size)}
		}
		c.seen++
	}
	return nil
}

// end checks that the last entry was there.
func (c *chain) end() (Head, error) {
	if c.size < c.span.To {
		return Head{}, &Broken{c.size, fmt.Sprintf("it is missing: the export was cut, its checkpoint has %d entries", c.span.To)}
	}
	head, err := ParseCheckpoint(c.span.Checkpoint, c.span.Origin, c.keys)
	switch {
	case err != nil:
		return Head{}, &Broken{c.size - 1, fmt.Sprintf("its checkpoint of %d entries: %v", c.size, err)}
	case head.Root != rootOf(c.subtrees):
		return Head{}, &Broken{-1, "its entries are not those of its checkpoint"}
	}
	for _, h := range c.heads {
		if h.Size > c.size {
			return Head{}, &Broken{c.size, fmt.Sprintf("it is missing: a checkpoint from elsewhere has %d entries", h.Size)}
		}
	}
	return head, nil
}
