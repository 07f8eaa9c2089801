package audit

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var tamperEntries = flag.Int("tamper-entries", 2_000, "entries of the large log that is tampered with")

// TestT16_AttacksOnALargeLogNameTheRecord is the table of attacks on a log of many entries. The attacker may write the file and
// make every stored hash anew; in the last four also sign, as somebody with the station's key does: then only what has left
// the station shows it.
func TestT16_AttacksOnALargeLogNameTheRecord(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	bulk(t, l, *tamperEntries)
	n := int64(*tamperEntries)
	mid := n / 3 &^ 1 // the first entry of a session
	checkpoint := func(l *Log) string {
		signed, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	early := checkpoint(l)
	token := runSession(t, l, sessionID(1), 1) // what has left the station: a token, a receipt and an export
	late := checkpoint(l)
	var known []Known
	if err := l.List(t.Context(), ListOptions{From: token, To: token + 1}, func(e Entry) error {
		known = append(known, Known{e.Index, e.Leaf})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	other := func(db *sql.DB, at int64) { setLeaf(t, db, at, Event{ID{}, Failed{Cause: "x"}}) }
	for _, a := range []struct {
		name string
		do   func(db *sql.DB)
		opts VerifyOptions
		want string
	}{
		{"edit", func(db *sql.DB) { other(db, mid) }, VerifyOptions{}, fmt.Sprintf("entry %d: leaf does not match the tree", mid)},
		{"edit and make the hashes anew", func(db *sql.DB) { other(db, mid); rebuild(t, db) }, VerifyOptions{},
			fmt.Sprintf("entry %d: the checkpoint of %d entries has another root", mid, mid+1)},
		{"delete", func(db *sql.DB) { run(t, db, fmt.Sprintf("DELETE FROM entry WHERE idx = %d", mid)) }, VerifyOptions{}, fmt.Sprintf("entry %d: it is missing", mid)},
		{"delete and close the gap", func(db *sql.DB) {
			run(t, db, fmt.Sprintf("DELETE FROM entry WHERE idx = %d", mid), fmt.Sprintf("UPDATE entry SET idx = -idx WHERE idx > %d", mid), "UPDATE entry SET idx = -idx - 1 WHERE idx < 0")
		}, VerifyOptions{}, fmt.Sprintf("entry %d: leaf does not match the tree", mid)},
		{"reorder", func(db *sql.DB) {
			run(t, db, fmt.Sprintf("UPDATE entry SET idx = -1 WHERE idx = %d", mid), fmt.Sprintf("UPDATE entry SET idx = %d WHERE idx = %d", mid, mid+1),
				fmt.Sprintf("UPDATE entry SET idx = %d WHERE idx = -1", mid+1))
		}, VerifyOptions{}, fmt.Sprintf("entry %d: leaf does not match the tree", mid)},
		{"insert", func(db *sql.DB) {
			run(t, db, fmt.Sprintf("UPDATE entry SET idx = -idx WHERE idx >= %d", mid), "UPDATE entry SET idx = 1 - idx WHERE idx < 0",
				fmt.Sprintf("INSERT INTO entry SELECT %d, time, kind, leaf FROM entry WHERE idx = 0", mid))
		}, VerifyOptions{}, fmt.Sprintf("entry %d: leaf does not match the tree", mid)},
		{"cut the tail", func(db *sql.DB) {
			run(t, db, fmt.Sprintf("DELETE FROM entry WHERE idx >= %d", n))
			rebuild(t, db)
		}, VerifyOptions{}, fmt.Sprintf("entry %d: it is missing: there is a checkpoint of %d entries", n, n+1)},
		{"edit a row of items", func(db *sql.DB) { run(t, db, "UPDATE item SET outcome = 'malformed'") }, VerifyOptions{},
			fmt.Sprintf("entry %d: its items do not match their digest: a row was changed", n+1)},
		{"cut the tail with its checkpoints", func(db *sql.DB) {
			run(t, db, fmt.Sprintf("DELETE FROM entry WHERE idx >= %d", n), fmt.Sprintf("DELETE FROM checkpoint WHERE size > %d", n), "DELETE FROM item", "DELETE FROM prefix")
			rebuild(t, db)
		}, VerifyOptions{Leaves: known}, fmt.Sprintf("entry %d: it is missing: a token names entry %d", n, token)},
		{"put back an older file", func(db *sql.DB) {
			run(t, db, fmt.Sprintf("DELETE FROM entry WHERE idx >= %d", n), fmt.Sprintf("DELETE FROM checkpoint WHERE size > %d", n), "DELETE FROM item", "DELETE FROM prefix")
			rebuild(t, db)
		}, VerifyOptions{Heads: []string{early, late}}, fmt.Sprintf("entry %d: it is missing: a checkpoint from elsewhere has %d entries", n, n+5)},
		{"rewrite and sign anew", func(db *sql.DB) {
			setLeaf(t, db, mid, Event{bulkSession(int(mid)), Attached{Source: USB}})
			resign(t, db, k)
		}, VerifyOptions{Heads: []string{late}},
			fmt.Sprintf("entry %d: a checkpoint from elsewhere, of %d entries, has another root: history was rewritten", n+4, n+5)},
		{"swap the clearance and sign anew", func(db *sql.DB) {
			leaf := claimsLeaf(t, sessionID(1), time.Now().Add(-time.Minute).Truncate(time.Second))
			e, err := decodeLeaf(leaf)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec("UPDATE entry SET leaf = ?, time = ? WHERE idx = ?", leaf, e.Time.Format(timeLayout), token); err != nil {
				t.Fatal(err)
			}
			resign(t, db, k)
		}, VerifyOptions{Leaves: known}, fmt.Sprintf("entry %d: a token says that another clearance was here: history was rewritten", token)},
	} {
		begin := time.Now()
		path := filepath.Join(t.TempDir(), FileName)
		data, err := os.ReadFile(filepath.Join(dir, FileName))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		db := plain(t, path)
		run(t, db, "PRAGMA synchronous = OFF")
		dropTriggers(t, db)
		a.do(db)
		for _, o := range schema {
			if o.kind == "trigger" {
				run(t, db, o.sql)
			}
		}
		db.Close()
		res := verifyCopy(t, path, k, a.opts)
		if res.Sound || res.Bad == nil || res.Bad.Error() != a.want {
			t.Errorf("%s: sound %v, bad %v, want %q", a.name, res.Sound, res.Bad, a.want)
			continue
		}
		t.Logf("%d entries, %s: %v (%.1f s)", n+5, a.name, res.Bad, time.Since(begin).Seconds())
		os.Remove(path)
	}
}

// resign signs every checkpoint anew over the entries that are there, as the holder of the key can.
func resign(t *testing.T, db *sql.DB, k key) {
	t.Helper()
	rebuild(t, db)
	rows, err := db.Query("SELECT leaf FROM entry ORDER BY idx")
	if err != nil {
		t.Fatal(err)
	}
	v := &verifier{}
	heads := []Head{{0, emptyRoot}}
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			t.Fatal(err)
		}
		c := chain{size: int64(len(heads) - 1), subtrees: v.subtrees, span: Span{To: 1 << 62}}
		if err := c.add(c.size, leaf, ""); err != nil {
			t.Fatal(err)
		}
		v.subtrees = c.subtrees
		heads = append(heads, Head{c.size, rootOf(c.subtrees)})
	}
	rows.Close()
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("DELETE FROM checkpoint"); err != nil {
		t.Fatal(err)
	}
	opts := k.options()
	for _, h := range heads {
		signed, err := signHead(opts, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("INSERT INTO checkpoint VALUES(?, ?)", h.Size, signed); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}
