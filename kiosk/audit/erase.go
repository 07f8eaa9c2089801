package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Erased says whose names were destroyed. The log itself holds none.
type Erased struct {
	Scope   Word      `cbor:"1,keyasint" json:"scope"`                     // "session", "month", "before"
	Session ID        `cbor:"2,keyasint" json:"names_of"`                  // zero unless it is one session
	Month   Word      `cbor:"3,keyasint,omitempty" json:"month,omitempty"` // the month, or the first that was kept
	Secrets uint64    `cbor:"4,keyasint" json:"secrets"`                   // of sessions and single entries
	Person  Pseudonym `cbor:"5,keyasint" json:"person"`
}

func (e Erased) check() error {
	session, month := e.Session != (ID{}), e.Month != "" && validMonth(string(e.Month))
	switch {
	case e.Scope == "session" && session && e.Month == "":
	case (e.Scope == "month" || e.Scope == "before") && month && !session:
	default:
		return fmt.Errorf("an erasure of %q that does not say whose", e.Scope)
	}
	if e.Scope == "session" && e.Secrets == 0 || e.Person == (Pseudonym{}) {
		return errors.New("nothing was erased, or nobody did it")
	}
	return nil
}

// Erasure says whose names are to be destroyed. One of the three is set.
type Erasure struct {
	Session ID     // those of one session
	Month   string // those of a month, such as "2026-11"
	Before  string // those of all months before this one
}

// check returns the entry that tells of an erasure.
func (e Erasure) check(person Pseudonym) (Erased, error) {
	ev := Erased{Session: e.Session, Person: person}
	set := 0
	for scope, is := range map[Word]bool{"session": e.Session != (ID{}), "month": e.Month != "", "before": e.Before != ""} {
		if is {
			set++
			ev.Scope = scope
		}
	}
	ev.Month = Word(e.Month + e.Before)
	if set != 1 || ev.Month != "" && !validMonth(string(ev.Month)) {
		return Erased{}, errors.New("erase: want one session, one month or one first month to keep, such as 2026-11")
	}
	complete := ev
	complete.Secrets = 1
	return ev, complete.check() // what the log would not take is not begun
}

// Erase destroys the keys of names, and the names; the log itself does not change, and its tree still verifies. What is left
// of the month gets a new key, so that remains of what was deleted, in free space or in a backup, cannot be opened with any
// key that is still there. It returns ErrErased if there is nothing to erase.
//
// What a crash leaves after each step:
//
//	the table's transaction   old key files, which nothing refers to; destroyed by the next Open
//	the keys                  an erasure that the log does not tell of; entered by the next Open
//	the entry                 the same once more, if the table has not noted it: a second entry says so
func (l *Log) Erase(ctx context.Context, e Erasure, person Pseudonym) (Erased, error) {
	ev, err := e.check(person)
	if err != nil {
		return Erased{}, err
	}
	if l.names == nil {
		return Erased{}, fmt.Errorf("erase: %w: no names are kept here", ErrErased)
	}
	if err := l.names.erase(ctx, &ev); err != nil {
		return Erased{}, fmt.Errorf("erase: %w", err)
	}
	if err := l.step("names erased"); err != nil {
		return Erased{}, err
	}
	if err := l.names.destroy(ctx); err != nil {
		return Erased{}, fmt.Errorf("erase: %w", err)
	}
	if err := l.step("keys destroyed"); err != nil {
		return Erased{}, err
	}
	if err := l.tellErasures(ctx); err != nil {
		return Erased{}, fmt.Errorf("erase: %w", err)
	}
	return ev, nil
}

// erase takes secrets and names out of the table, and wraps with a new key what is left of their month.
func (n *names) erase(ctx context.Context, ev *Erased) error {
	return n.update(ctx, func(tx *sql.Tx) error {
		var months []string
		where, arg := "subject = ?", any(ev.Session[:])
		switch ev.Scope {
		case "month":
			where, arg = "month = ?", string(ev.Month)
		case "before":
			where, arg = "month < ?", string(ev.Month)
		}
		rows, err := tx.QueryContext(ctx, "SELECT month, count(*) FROM secret WHERE "+where+" GROUP BY month", arg)
		if err != nil {
			return classify(err)
		}
		defer rows.Close()
		for rows.Next() {
			var month string
			var count uint64
			if err := rows.Scan(&month, &count); err != nil {
				return classify(err)
			}
			months, ev.Secrets = append(months, month), ev.Secrets+count
		}
		if err := rows.Err(); err != nil {
			return classify(err)
		}
		if ev.Scope != "session" { // a key may have outlived the table that it was for
			months, err = n.keys.add(months, func(m string) bool {
				if ev.Scope == "before" {
					return m < string(ev.Month)
				}
				return m == string(ev.Month)
			})
			if err != nil {
				return err
			}
		}
		if len(months) == 0 {
			return ErrErased
		}
		for _, table := range []string{"item", "entry"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE subject IN (SELECT subject FROM secret WHERE "+where+")", arg); err != nil {
				return classify(err)
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM secret WHERE "+where, arg); err != nil {
			return classify(err)
		}
		for _, month := range months {
			if err := n.rekey(ctx, tx, month); err != nil {
				return err
			}
		}
		event, err := encoder.Marshal(ev)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO erasure(event) VALUES(?)", event)
		return classify(err)
	})
}

// rekey wraps the secrets of a month with a new key. One that cannot be opened any more is deleted: it would keep an old key.
func (n *names) rekey(ctx context.Context, tx *sql.Tx, month string) error {
	generation, err := n.keys.last(month)
	if err != nil {
		return err
	}
	var known int64
	err = tx.QueryRowContext(ctx, "SELECT generation FROM month WHERE month = ?", month).Scan(&known)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return classify(err)
	}
	generation = max(generation, known) + 1
	if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO month(month, generation) VALUES(?, ?)", month, generation); err != nil {
		return classify(err)
	}
	type row struct {
		subject    ID
		generation int64
		wrapped    []byte
	}
	var left []row
	rows, err := tx.QueryContext(ctx, "SELECT subject, generation, wrapped FROM secret WHERE month = ?", month)
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		var subject []byte
		if err := rows.Scan(&subject, &r.generation, &r.wrapped); err != nil {
			return classify(err)
		}
		copy(r.subject[:], subject)
		left = append(left, r)
	}
	if err := rows.Err(); err != nil || len(left) == 0 {
		return classify(err)
	}
	key, err := n.keys.make(month, generation)
	if err != nil {
		return err
	}
	old := map[int64][]byte{}
	for _, r := range left {
		if _, read := old[r.generation]; !read {
			if old[r.generation], err = n.keys.read(month, r.generation); err != nil && !errors.Is(err, ErrErased) {
				return err
			}
		}
		raw, err := []byte(nil), ErrErased
		if k := old[r.generation]; k != nil {
			raw, err = unwrap(k, r.wrapped, r.subject, month, r.generation)
		}
		if errors.Is(err, ErrErased) {
			if _, err := tx.ExecContext(ctx, "DELETE FROM secret WHERE subject = ?", r.subject[:]); err != nil {
				return classify(err)
			}
			continue
		}
		wrapped, err := wrap(key, raw, r.subject, month, generation)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE secret SET generation = ?, wrapped = ? WHERE subject = ?", generation, wrapped, r.subject[:]); err != nil {
			return classify(err)
		}
	}
	return nil
}

// destroy removes what an erasure has left: the pages of the WAL, then the keys that nothing refers to.
func (n *names) destroy(ctx context.Context) error {
	var busy, pages, moved int64
	if err := n.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return namesError(classify(err))
	}
	return namesError(n.sweep(ctx))
}

// tellErasures enters the erasures that the log does not tell of yet.
func (l *Log) tellErasures(ctx context.Context) error {
	rows, err := l.names.db.QueryContext(ctx, "SELECT id, event FROM erasure ORDER BY id LIMIT 100")
	if err != nil {
		return namesError(classify(err))
	}
	defer rows.Close()
	type row struct {
		id int64
		ev Data
	}
	var todo []row
	for rows.Next() {
		var r row
		var erased Erased
		var event []byte
		if err := rows.Scan(&r.id, &event); err != nil {
			return namesError(classify(err))
		}
		// A row that was damaged does not keep the station from starting: that something happened is told.
		if r.ev = (Failed{"names-damaged"}); decoder.Unmarshal(event, &erased) == nil && erased.check() == nil {
			r.ev = erased
		}
		todo = append(todo, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return namesError(classify(err))
	}
	for _, r := range todo {
		if _, err := l.Append(ctx, Event{Data: r.ev}); err != nil {
			return err
		}
		if err := l.step("erasure entered"); err != nil {
			return err
		}
		err := l.names.update(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM erasure WHERE id = ?", r.id)
			return classify(err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// KeptNames says of how many sessions and single entries names are kept, by month, oldest first.
func (l *Log) KeptNames(ctx context.Context) ([]MonthOfNames, error) {
	if l.names == nil {
		return nil, nil
	}
	rows, err := l.names.db.QueryContext(ctx, "SELECT month, count(*) FROM secret GROUP BY month ORDER BY month")
	if err != nil {
		return nil, namesError(classify(err))
	}
	defer rows.Close()
	var out []MonthOfNames
	for rows.Next() {
		var m MonthOfNames
		if err := rows.Scan(&m.Month, &m.Secrets); err != nil {
			return nil, namesError(classify(err))
		}
		out = append(out, m)
	}
	return out, namesError(classify(rows.Err()))
}

// MonthOfNames is what is kept of one month.
type MonthOfNames struct {
	Month   string `json:"month"`
	Secrets uint64 `json:"secrets"` // of sessions and single entries
}
