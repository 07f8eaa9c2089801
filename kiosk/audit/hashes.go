package audit

import (
	"context"
	"fmt"
)

// hashRows is how many rows one query joins: their hashes stay below maxValue, and what a query costs by itself is lost
// among them.
const hashRows = 16_384

// Hashes calls f with the SHA-256 of a session's items, some thousand at a time, one behind the other and in no order.
// Those of items that were not seen in full are left out. sums is f's until it returns.
//
// A row each would cost ten times as much as the hash: SQLite joins them, byte for byte, since to it a blob that becomes
// text keeps its bytes (https://www.sqlite.org/lang_expr.html#castexpr), zeros too.
func (r *Reader) Hashes(ctx context.Context, session ID, f func(sums []byte) error) error {
	var rows int64
	if err := r.db.QueryRowContext(ctx, "SELECT coalesce(max(seq) + 1, 0) FROM item WHERE session = ?", session[:]).Scan(&rows); err != nil {
		return fmt.Errorf("hashes of items: %w", classify(err))
	}
	for from := int64(0); from < rows; from += hashRows {
		var sums []byte
		err := r.db.QueryRowContext(ctx, "SELECT coalesce(group_concat(sha256, ''), '') FROM item WHERE session = ? AND seq >= ? AND seq < ?",
			session[:], from, from+hashRows).Scan(&sums)
		if err != nil {
			return fmt.Errorf("hashes of items: %w", classify(err))
		}
		if len(sums)%len(Digest{}) != 0 {
			return fmt.Errorf("hashes of items: %w", ErrForeign)
		}
		if err := f(sums); err != nil {
			return err
		}
	}
	return nil
}

// Types returns the media types of a session's files, streams and members, each once, with how many items have it.
func (r *Reader) Types(ctx context.Context, session ID) (map[string]uint64, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT type, count(*) FROM item WHERE session = ? AND kind IN ('file', 'stream', 'member') "+
		"AND type <> '' GROUP BY type", session[:])
	if err != nil {
		return nil, fmt.Errorf("types of items: %w", classify(err))
	}
	defer rows.Close()
	out := map[string]uint64{}
	for rows.Next() {
		var kind string
		var n uint64
		if err := rows.Scan(&kind, &n); err != nil {
			return nil, fmt.Errorf("types of items: %w", classify(err))
		}
		out[kind] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("types of items: %w", classify(err))
	}
	return out, nil
}
