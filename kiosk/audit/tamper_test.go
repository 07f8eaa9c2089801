package audit

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tampering is one change to a copy of a sound log of 4 sessions (20 entries; session n has entries 5n to 5n+4 and n+3
// items), through a plain connection from which the triggers were dropped.
type tampering struct {
	name string
	do   func(t *testing.T, db *sql.DB, k key)
	want string // Broken.Error
}

func statements(list ...string) func(*testing.T, *sql.DB, key) {
	return func(t *testing.T, db *sql.DB, _ key) { run(t, db, list...) }
}

func run(t *testing.T, db *sql.DB, list ...string) {
	t.Helper()
	for _, s := range list {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// rebuild makes every stored hash anew over the entries that are there, as an attacker without the key would.
func rebuild(t *testing.T, db *sql.DB) Head {
	t.Helper()
	var leaves [][]byte
	rows, err := db.Query("SELECT leaf FROM entry ORDER BY idx")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	rows.Close()
	run(t, db, "DELETE FROM hash")
	var all []tlog.Hash
	reader := tlog.HashReaderFunc(func(idx []int64) (out []tlog.Hash, err error) {
		for _, i := range idx {
			out = append(out, all[i])
		}
		return out, nil
	})
	for i, leaf := range leaves {
		hashes, err := tlog.StoredHashes(int64(i), leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, hashes...)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range all {
		if _, err := tx.Exec("INSERT INTO hash VALUES(?, ?)", i, h[:]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	root, err := tlog.TreeHash(int64(len(leaves)), reader)
	if err != nil {
		t.Fatal(err)
	}
	return Head{int64(len(leaves)), root}
}

// setLeaf replaces an entry by another one that is well-formed, columns included.
func setLeaf(t *testing.T, db *sql.DB, idx int64, ev Event) {
	t.Helper()
	var at string
	if err := db.QueryRow("SELECT time FROM entry WHERE idx = ?", idx).Scan(&at); err != nil {
		t.Fatal(err)
	}
	when, err := time.Parse(timeLayout, at)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := encodeLeaf(ev, when, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE entry SET leaf = ?, kind = ? WHERE idx = ?", leaf, ev.Data.Kind().String(), idx); err != nil {
		t.Fatal(err)
	}
}

// forge signs a checkpoint with a key and puts it in place of the last one.
func forge(t *testing.T, db *sql.DB, h Head, opts Options) {
	t.Helper()
	signed, err := signHead(opts, h)
	if err != nil {
		t.Fatal(err)
	}
	run(t, db, fmt.Sprintf("DELETE FROM checkpoint WHERE size >= %d", h.Size))
	if _, err := db.Exec("INSERT INTO checkpoint VALUES(?, ?)", h.Size, signed); err != nil {
		t.Fatal(err)
	}
}

var tamperings = []tampering{
	{"edit a leaf's byte", statements("UPDATE entry SET leaf = CAST(leaf || x'00' AS BLOB) WHERE idx = 17"), "entry 17: leaf does not match the tree"},
	{"replace a leaf by a good one", func(t *testing.T, db *sql.DB, _ key) { setLeaf(t, db, 9, Event{sessionID(1), Failed{"x"}}) },
		"entry 9: leaf does not match the tree"},
	{"empty a leaf", statements("UPDATE entry SET leaf = x'' WHERE idx = 0"), "entry 0: leaf does not match the tree"},
	{"edit the kind column", statements("UPDATE entry SET kind = 'removed' WHERE idx = 6"), "entry 6: its kind is not the leaf's"},
	{"clear the kind column", statements("UPDATE entry SET kind = NULL WHERE idx = 6"), "entry 6: its kind is not the leaf's"},
	{"edit the time column", statements("UPDATE entry SET time = '2020-01-01T00:00:00.000000000Z' WHERE idx = 3"), "entry 3: its time is not the leaf's"},
	{"clear the time column", statements("UPDATE entry SET time = NULL WHERE idx = 19"), "entry 19: its time is not the leaf's"},
	{"delete in the middle", statements("DELETE FROM entry WHERE idx = 11"), "entry 11: it is missing"},
	{"delete in the middle and close the gap", statements("DELETE FROM entry WHERE idx = 11", "UPDATE entry SET idx = idx - 1 WHERE idx > 11"),
		"entry 11: leaf does not match the tree"},
	{"delete the first", statements("DELETE FROM entry WHERE idx = 0"), "entry 0: it is missing"},
	{"delete the tail", statements("DELETE FROM entry WHERE idx > 16"), "entry 17: it is missing: there is a checkpoint of 18 entries"},
	{"delete the tail and rebuild", func(t *testing.T, db *sql.DB, _ key) { run(t, db, "DELETE FROM entry WHERE idx > 16"); rebuild(t, db) },
		"entry 17: it is missing: there is a checkpoint of 18 entries"},
	{"delete the tail and its checkpoints", statements("DELETE FROM entry WHERE idx > 16", "DELETE FROM checkpoint WHERE size > 17"),
		"entry 17: it is missing: there is a stored hash for it"},
	{"delete all", statements("DELETE FROM entry"), "entry 0: it is missing: there is a checkpoint of 1 entries"},
	{"reorder", statements("UPDATE entry SET idx = -5 WHERE idx = 4", "UPDATE entry SET idx = 4 WHERE idx = 5", "UPDATE entry SET idx = 5 WHERE idx = -5"),
		"entry 4: leaf does not match the tree"},
	{"insert in the middle", statements("UPDATE entry SET idx = -idx - 1 WHERE idx >= 8", "UPDATE entry SET idx = -idx WHERE idx < 0",
		"INSERT INTO entry SELECT 8, time, kind, leaf FROM entry WHERE idx = 7"), "entry 8: leaf does not match the tree"},
	{"insert before the start", statements("INSERT INTO entry SELECT -1, time, kind, leaf FROM entry WHERE idx = 7"), "there is an entry numbered -1"},
	{"insert at the end", statements("INSERT INTO entry SELECT 20, time, kind, leaf FROM entry WHERE idx = 7"), "entry 20: its stored hash is missing"},
	{"insert at the end and rebuild", func(t *testing.T, db *sql.DB, _ key) {
		run(t, db, "INSERT INTO entry SELECT 20, time, kind, leaf FROM entry WHERE idx = 19")
		rebuild(t, db)
	}, "entry 20: no checkpoint covers it"},
	{"insert after a gap", statements("INSERT INTO entry SELECT 25, time, kind, leaf FROM entry WHERE idx = 7"), "entry 20: it is missing"},
	{"INSERT OR REPLACE", statements("INSERT OR REPLACE INTO entry SELECT 12, time, kind, leaf FROM entry WHERE idx = 7"),
		"entry 12: leaf does not match the tree"},
	{"rewrite an entry and the tree", func(t *testing.T, db *sql.DB, _ key) {
		setLeaf(t, db, 6, Event{sessionID(1), Failed{"x"}})
		rebuild(t, db)
	}, "entry 6: the checkpoint of 7 entries has another root"},
	{"rewrite an entry, the tree, and drop the checkpoints after it", func(t *testing.T, db *sql.DB, _ key) {
		setLeaf(t, db, 19, Event{sessionID(3), Failed{"x"}})
		rebuild(t, db)
		run(t, db, "DELETE FROM checkpoint WHERE size > 19")
	}, "entry 19: no checkpoint covers it"},
	{"rewrite an entry, the tree and the last checkpoint with another key", func(t *testing.T, db *sql.DB, _ key) {
		setLeaf(t, db, 19, Event{sessionID(3), Failed{"x"}})
		forge(t, db, rebuild(t, db), newKey(t).options())
	}, "entry 19: the checkpoint of 20 entries: its signature is by no key that is trusted for this log"},
	{"edit a stored leaf hash", statements("UPDATE hash SET hash = randomblob(32) WHERE idx = " + fmt.Sprint(tlog.StoredHashIndex(0, 13))),
		"entry 13: leaf does not match the tree"},
	{"edit a stored inner hash", statements("UPDATE hash SET hash = randomblob(32) WHERE idx = " + fmt.Sprint(tlog.StoredHashIndex(2, 1))),
		"entry 7: the stored hash of level 2 above it does not match the entries"},
	{"drop a stored hash", statements("DELETE FROM hash WHERE idx = " + fmt.Sprint(tlog.StoredHashIndex(1, 2))), "entry 5: its stored hash is missing"},
	{"drop the last stored hash", statements("DELETE FROM hash WHERE idx = (SELECT max(idx) FROM hash)"), "entry 19: its stored hash is missing"},
	{"add a stored hash", statements("INSERT INTO hash SELECT max(idx) + 1, randomblob(32) FROM hash"), "entry 20: it is missing: there is a stored hash for it"},
	{"edit a checkpoint's root", statements("UPDATE checkpoint SET note = replace(note, '\n10\n', '\n11\n') WHERE size = 10"),
		"entry 9: the checkpoint of 10 entries: its signature does not hold"},
	{"move a checkpoint", statements("DELETE FROM checkpoint WHERE size = 10", "UPDATE checkpoint SET size = 10 WHERE size = 11"),
		"entry 9: the checkpoint of 10 entries says 11"},
	{"empty a checkpoint", statements("UPDATE checkpoint SET note = '' WHERE size = 4"), "entry 3: the checkpoint of 4 entries: its signature does not hold"},
	{"a checkpoint of a negative size", statements("INSERT INTO checkpoint SELECT -3, note FROM checkpoint WHERE size = 4"), "there is a checkpoint of -3 entries"},
	{"a checkpoint of another log with the same key", func(t *testing.T, db *sql.DB, k key) {
		signed, err := note.Sign(&note.Note{Text: "kiosk-4.stmary.example/log\n20\n" + strings.Repeat("A", 43) + "=\n"}, k.options().Signer)
		if err != nil {
			t.Fatal(err)
		}
		run(t, db, "UPDATE checkpoint SET note = '"+string(signed)+"' WHERE size = 20")
	}, "entry 19: the checkpoint of 20 entries: it belongs to another log"},
	{"drop the last checkpoint", statements("DELETE FROM checkpoint WHERE size = 20"), "entry 19: no checkpoint covers it"},
	{"drop all checkpoints", statements("DELETE FROM checkpoint"), "the log has no checkpoint"},
	{"edit an item", statements("UPDATE item SET outcome = 'clean' WHERE session = "+hexLiteral(sessionID(1))+" AND seq = 0 AND outcome = 'clean'",
		"UPDATE item SET size = size + 1 WHERE session = "+hexLiteral(sessionID(1))+" AND seq = 2"),
		"entry 6: its items do not match their digest: a row was changed"},
	{"swap an item's hash for NULL", statements("UPDATE item SET sha256 = NULL WHERE session = " + hexLiteral(sessionID(3)) + " AND seq = 1"),
		"entry 16: its items do not match their digest: a row was changed"},
	{"drop an item in the middle", statements("DELETE FROM item WHERE session = " + hexLiteral(sessionID(2)) + " AND seq = 1"),
		"entry 11: row 1 of its items is missing"},
	{"drop the last item", statements("DELETE FROM item WHERE session = " + hexLiteral(sessionID(2)) + " AND seq = 4"),
		"entry 11: row 4 of its items is missing"},
	{"drop all items", statements("DELETE FROM item"), "entry 1: row 0 of its items is missing"},
	{"add an item", statements("INSERT INTO item SELECT session, 3, volume, kind, name, size, sha256, type, outcome, findings FROM item WHERE session = " +
		hexLiteral(sessionID(0)) + " AND seq = 0"), "entry 1: its items have a row 3 too many"},
	{"items of a session that never was", statements("INSERT INTO item SELECT " + hexLiteral(sessionID(77)) +
		", 0, volume, kind, name, size, sha256, type, outcome, findings FROM item WHERE seq = 0 LIMIT 1"),
		"there are items of session 5e00000000000000000000000000004d, which was never attached"},
	{"hide a verdict from searches", statements("DELETE FROM fact WHERE word = 'verdict=cleared' AND place = 5"), "entry 6: a search for verdict=cleared would not find it"},
	{"hide an operator from searches", statements("UPDATE fact SET word = 'operator=ab00000000000001' WHERE word = 'operator=ab00000000000000' AND place = 10"),
		"entry 12: a search for operator=ab00000000000000 would not find it"},
	{"hide an entry of a session", statements("DELETE FROM fact WHERE word = 'entry=" + sessionID(2).String() + "' AND place = 13"),
		"entry 13: a search for entry=5e000000000000000000000000000002 would not find it"},
	{"hide an item's hash from searches", statements("UPDATE prefix SET sums = zeroblob(length(sums)) WHERE session = " + hexLiteral(sessionID(3))),
		"entry 16: a search for a hash of its items would not find it"},
	{"hide all hashes from searches", statements("DELETE FROM prefix"), "entry 1: a search for a hash of its items would not find it"},
	{"drop a trigger", statements("DROP TRIGGER item_dense"), "the database lacks its trigger item_dense"},
	{"drop the index", statements("DROP INDEX entry_time"), "the database lacks its index entry_time"},
}

func hexLiteral(id ID) string { return "x'" + id.String() + "'" }

// soundLog makes the log that is tampered with and closes it.
func soundLog(t *testing.T, k key) string {
	t.Helper()
	dir := t.TempDir()
	l, err := Open(t.Context(), dir, k.options())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		runSession(t, l, sessionID(n), n+3)
	}
	mustVerify(t, l.Reader)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyLog(t *testing.T, dir string) (copied, path string) {
	t.Helper()
	copied = copyOpenLog(t, dir)
	return copied, filepath.Join(copied, FileName)
}

func verifyCopy(t *testing.T, path string, k key, opts VerifyOptions) Result {
	t.Helper()
	r, err := OpenReader(t.Context(), path, testOrigin, k.options().Verifiers)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	res, err := r.Verify(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// dropTriggers is what everybody who may write the file can do.
func dropTriggers(t *testing.T, db *sql.DB) {
	for _, o := range schema {
		if o.kind == "trigger" {
			run(t, db, "DROP TRIGGER "+o.name)
		}
	}
}

func TestT16_TamperingIsFoundAndTheFirstBadRecordNamed(t *testing.T) {
	k := newKey(t)
	original := soundLog(t, k)
	for _, tamper := range tamperings {
		t.Run(tamper.name, func(t *testing.T) {
			dir, path := copyLog(t, original)
			db := plain(t, path)
			if !strings.HasPrefix(tamper.name, "drop a trigger") {
				dropTriggers(t, db)
			}
			tamper.do(t, db, k)
			if !strings.HasPrefix(tamper.name, "drop a trigger") {
				for _, o := range schema { // as an attacker would, so that nothing but the records shows it
					if o.kind == "trigger" {
						run(t, db, o.sql)
					}
				}
			}
			db.Close()
			res := verifyCopy(t, path, k, VerifyOptions{})
			if res.Sound || res.Bad == nil || res.Bad.Error() != tamper.want {
				t.Errorf("sound %v, bad %v, want %q", res.Sound, res.Bad, tamper.want)
			}
			// A station with such a log either refuses to open it, or goes on without making it look sound again.
			l, err := Open(t.Context(), dir, k.options())
			if err != nil {
				if !errors.Is(err, ErrBroken) {
					t.Errorf("open: %v", err)
				}
				return
			}
			defer l.Close()
			l.must(t, ID{}, Failed{Cause: "x"})
			if res, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || res.Sound {
				t.Errorf("after one more entry the log looks sound: %+v %v", res, err)
			}
		})
	}
}

func TestT16_WitnessesShowACutTailAndAnotherHistory(t *testing.T) {
	k := newKey(t)
	dir := t.TempDir()
	l := open(t, dir, k)
	at := runSession(t, l, sessionID(0), 3)
	oldHead, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	old, oldPath := copyLog(t, dir)

	l = open(t, dir, k)
	issuing := runSession(t, l, sessionID(1), 3)
	head, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var known []Known
	err = l.List(t.Context(), ListOptions{Kinds: []Kind{KindIssuing}}, func(e Entry) error {
		known = append(known, Known{e.Index, e.Leaf})
		return nil
	})
	if err != nil || len(known) != 2 || known[0].Index != at || known[1].Index != issuing {
		t.Fatalf("known %v %v", known, err)
	}
	all := VerifyOptions{Heads: []string{oldHead, head}, Leaves: known}
	if res, err := l.Verify(t.Context(), all); err != nil || !res.Sound || res.Witnesses != 4 {
		t.Errorf("the honest log: %+v %v", res, err)
	}

	// The database is put back to an older state: by itself it is sound.
	if res := verifyCopy(t, oldPath, k, VerifyOptions{}); !res.Sound {
		t.Errorf("an older state: %v", res.Bad)
	}
	for name, c := range map[string]struct {
		opts VerifyOptions
		want string
	}{
		"receipt": {VerifyOptions{Heads: []string{head}}, "entry 5: it is missing: a checkpoint from elsewhere has 10 entries"},
		"token":   {VerifyOptions{Leaves: known[1:]}, "entry 5: it is missing: a token names entry 7"},
	} {
		if res := verifyCopy(t, oldPath, k, c.opts); res.Sound || res.Bad.Error() != c.want {
			t.Errorf("%s: %+v, want %q", name, res.Bad, c.want)
		}
	}

	// The one who has the key goes on from there with another history: only what left the station shows it.
	fork := open(t, old, k)
	runSession(t, fork, sessionID(9), 2)
	mustVerify(t, fork.Reader)
	for name, c := range map[string]struct {
		opts VerifyOptions
		want string
	}{
		"receipt": {VerifyOptions{Heads: []string{head}}, "entry 9: a checkpoint from elsewhere, of 10 entries, has another root: history was rewritten"},
		"token":   {VerifyOptions{Leaves: known}, "entry 7: a token says that another clearance was here: history was rewritten"},
	} {
		if res, err := fork.Verify(t.Context(), c.opts); err != nil || res.Sound || res.Bad.Error() != c.want {
			t.Errorf("fork, %s: %+v %v, want %q", name, res.Bad, err, c.want)
		}
	}
	if _, err := fork.Verify(t.Context(), VerifyOptions{Heads: []string{"nonsense"}}); err == nil {
		t.Error("a witness that cannot be read is passed over")
	}
}

func TestT16_AnotherStationsLogIsRefused(t *testing.T) {
	mine, theirs := newKey(t), newKey(t)
	dir := soundLog(t, theirs)
	if _, err := Open(t.Context(), dir, mine.options()); !errors.Is(err, ErrBroken) {
		t.Errorf("open: %v", err)
	}
	res := verifyCopy(t, filepath.Join(dir, FileName), mine, VerifyOptions{})
	if want := "the checkpoint of 0 entries: its signature is by no key that is trusted for this log"; res.Sound || res.Bad.Error() != want {
		t.Errorf("verify: %+v, want %q", res.Bad, want)
	}
}

// A station that is running when somebody changes the file must not sign on top of the change.
func TestT16_ARunningLogNeverVouchesForAChangedHistory(t *testing.T) {
	for _, tamper := range tamperings {
		switch {
		case strings.HasPrefix(tamper.name, "rewrite"), strings.HasPrefix(tamper.name, "delete the tail"), strings.HasPrefix(tamper.name, "insert at the end"):
		default:
			continue
		}
		t.Run(tamper.name, func(t *testing.T) {
			k := newKey(t)
			dir := soundLog(t, k)
			l := open(t, dir, k)
			db := plain(t, filepath.Join(dir, FileName))
			dropTriggers(t, db)
			tamper.do(t, db, k)
			if idx, err := l.Append(t.Context(), Event{ID{}, Read{0, 1}}); !errors.Is(err, ErrBroken) || idx != -1 {
				t.Errorf("append: %d %v", idx, err)
			}
		})
	}
}

func TestT16_AForeignSchemaIsNotRun(t *testing.T) {
	k := newKey(t)
	original := soundLog(t, k)
	for name, list := range map[string][]string{
		"a view in place of a table": {"ALTER TABLE entry RENAME TO e2", "CREATE VIEW entry AS SELECT * FROM e2"},
		"a trigger of its own":       {"CREATE TRIGGER x AFTER INSERT ON entry BEGIN DELETE FROM item; END"},
		"a table without its checks": {"DROP TABLE item", "CREATE TABLE item(session, seq, volume, kind, name, size, sha256, type, outcome, findings)"},
		"no table at all":            {"DROP TABLE hash"},
	} {
		dir, path := copyLog(t, original)
		db := plain(t, path)
		run(t, db, list...)
		db.Close()
		if _, err := OpenReader(t.Context(), path, testOrigin, k.options().Verifiers); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: open reader: %v", name, err)
		}
		if _, err := Open(t.Context(), dir, k.options()); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: open: %v", name, err)
		}
	}
}

// Who has the key can sign any entries, but not make a session that no station writes look like one.
func TestT16_EntriesThatNoStationWritesAreNamed(t *testing.T) {
	id, other := sessionID(1), sessionID(2)
	at := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	attached, cleared := Event{id, Attached{Source: Image}}, Event{id, decided(Cleared, Digest{}, 0)}
	removed, issuing := Event{id, Removed{}}, Event{id, Issuing{}}
	otherContent := decided(Cleared, Digest{}, 0)
	otherContent.Content = Digest{1}
	otherClass, otherScan := decided(Cleared, Digest{}, 0), decided(Cleared, Digest{}, 1)
	otherClass.Class, otherScan.Class = "infusion", "infusion"
	otherScan.ItemsDigest = Digest{1}
	const noClearance = "its session was not cleared with this content for this class, was over, or had a clearance before"
	for name, c := range map[string]struct {
		events []Event
		want   string
	}{
		"a verdict without a medium":           {[]Event{cleared}, "entry 0: its session was never attached"},
		"a medium twice":                       {[]Event{attached, attached}, "entry 1: its session was attached before"},
		"two verdicts":                         {[]Event{attached, {id, decided(NotCleared, Digest{}, 0)}, cleared}, "entry 2: its session had a verdict before, for this class or over another scan"},
		"two verdicts, other scans":            {[]Event{attached, cleared, {id, otherScan}}, "entry 2: its session had a verdict before, for this class or over another scan"},
		"a clearance for a class that was not": {[]Event{attached, {id, otherClass}, issuing}, "entry 2: " + noClearance},
		"a clearance and no verdict":           {[]Event{attached, issuing}, "entry 1: " + noClearance},
		"a clearance of what was not":          {[]Event{attached, {id, decided(NotCleared, Digest{}, 0)}, issuing}, "entry 2: " + noClearance},
		"a clearance of other content":         {[]Event{attached, {id, otherContent}, issuing}, "entry 2: " + noClearance},
		"a clearance after the end":            {[]Event{attached, cleared, removed, issuing}, "entry 3: " + noClearance},
		"two clearances":                       {[]Event{attached, cleared, issuing, issuing}, "entry 3: " + noClearance},
		"a token that nobody began":            {[]Event{attached, cleared, {id, Issued{1, Digest{1}}}}, "entry 2: entry 1 did not begin a clearance of its session, or was settled before"},
		"a token of another session": {[]Event{attached, cleared, issuing, {other, Attached{Source: Image}}, {other, Issued{2, Digest{1}}}},
			"entry 4: entry 2 did not begin a clearance of its session, or was settled before"},
		"an override of what was cleared": {[]Event{attached, cleared, {id, Override{Class: "imaging", Reason: "drill", Person: Pseudonym{1}}}},
			"entry 2: it lets through what was not refused, or confirms what nobody else asked for"},
		"an override that nobody asked for": {[]Event{attached, {id, decided(NotCleared, Digest{}, 0)}, {id, Override{"imaging", "drill", Pseudonym{2}, Pseudonym{1}, true}}},
			"entry 2: it lets through what was not refused, or confirms what nobody else asked for"},
		"settled twice": {[]Event{attached, cleared, issuing, {id, Issued{2, Digest{1}}}, {id, Abandoned{2}}},
			"entry 4: entry 2 did not begin a clearance of its session, or was settled before"},
	} {
		l, _ := newLog(t)
		tx, err := l.w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		head := Head{Root: emptyRoot}
		for _, ev := range c.events {
			leaf := claimsLeaf(t, id, at)
			if ev.Data.Kind() != KindIssuing {
				if leaf, err = encodeLeaf(ev, at, 0); err != nil {
					t.Fatal(err)
				}
			}
			if head, err = l.add(t.Context(), tx, head, ev.Data.Kind(), at, leaf); err != nil {
				t.Fatal(err)
			}
		}
		if err := addCheckpoint(t.Context(), tx, l.opts, head); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if res, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || res.Sound || res.Bad.Error() != c.want {
			t.Errorf("%s: %v %v, want %q", name, res.Bad, err, c.want)
		}
	}
}

// About a thousand bytes, spread over the whole file, are changed one at a time: the log is never sound with other content.
func TestT16_FlippedBytesInTheFile(t *testing.T) {
	k := newKey(t)
	_, path := copyLog(t, soundLog(t, k))
	honest := verifyCopy(t, path, k, VerifyOptions{})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flips, sound, refused := 0, 0, 0
	step := max(1, len(data)/1000)
	for at := 0; at < len(data); at += step {
		changed := bytes.Clone(data)
		changed[at] ^= byte(1 + at%255)
		flips++
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReader(t.Context(), path, testOrigin, k.options().Verifiers)
		if err != nil {
			refused++
			continue
		}
		res, err := r.Verify(t.Context(), VerifyOptions{})
		r.Close()
		switch {
		case err != nil:
			refused++
		case res.Sound:
			sound++ // an unused part of a page
			if res.Root != honest.Root || res.Entries != honest.Entries || res.Items != honest.Items {
				t.Errorf("byte %d: sound, but another log: %+v", at, res)
			}
		}
	}
	t.Logf("%d flipped bytes: %d in unused space, %d files refused, %d records named", flips, sound, refused, flips-sound-refused)
}
