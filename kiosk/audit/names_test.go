package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
)

// named is a log that keeps names, with a clock that a test sets.
type named struct {
	*Log
	t   testing.TB
	k   key
	dir string
	at  time.Time
}

func newNamed(t testing.TB) *named {
	t.Helper()
	n := &named{t: t, k: newKey(t), dir: t.TempDir(), at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	n.reopen()
	return n
}

func (n *named) monthKeys() string { return filepath.Join(n.dir, "key", "months") }

// reopen is the next start of the program.
func (n *named) reopen() {
	n.t.Helper()
	if n.Log != nil {
		n.Close()
	}
	opts := n.k.options()
	opts.Now, opts.MonthKeys = func() time.Time { return n.at }, n.monthKeys()
	l, err := Open(context.Background(), n.dir, opts)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Log = l
	n.t.Cleanup(func() { l.Close() })
}

func nameOf(n, i int) string { return fmt.Sprintf("Doe^Jane-%d-%d", n, i) }

// session screens a medium with some items that are not clean, and a person who asks.
func (n *named) session(no, items int) ID {
	n.t.Helper()
	id := sessionID(no)
	if _, err := n.AppendNamed(n.t.Context(), Event{id, Attached{Source: USB}}, Named{Serial: "SERIAL-" + nameOf(no, 0)}); err != nil {
		n.t.Fatal(err)
	}
	list := n.NewItems(id, testKey)
	for i := range items {
		it := testItem(i)
		it.Path, it.Outcome, it.Findings = "PATIENT/"+nameOf(no, i)+"\xff.dcm", report.Clean, nil
		if i%3 == 0 {
			it.Outcome = report.Malformed
		}
		if err := list.Add(n.t.Context(), it); err != nil {
			n.t.Fatal(err)
		}
	}
	digest, count, err := list.Close(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	n.must(n.t, id, decided(NotCleared, digest, count))
	if _, err := n.AppendNamed(n.t.Context(), Event{id, Denied{Class: "imaging", Person: Pseudonym{1}, Cause: "class"}}, Named{Person: "person:p-" + nameOf(no, 1)}); err != nil {
		n.t.Fatal(err)
	}
	n.must(n.t, id, Removed{})
	return id
}

var twoPersons = Disclosed{Asked: Pseudonym{1}, Agreed: Pseudonym{2}, Reason: "incident"}

func (n *named) disclose(id ID) (*Disclosure, error) {
	return n.Disclose(context.Background(), id, 0, twoPersons, testKey)
}

func TestNamesAreKeptAndDisclosedToTwoPersonsWithProof(t *testing.T) {
	n := newNamed(t)
	id := n.session(1, 1500)
	n.session(2, 3)
	admin, err := n.AppendNamed(t.Context(), Event{Data: Administered{What: "key-made", Person: Pseudonym{3}}}, Named{Person: "uid:1001"})
	if err != nil {
		t.Fatal(err)
	}
	n.reopen() // what is disclosed comes from the disk
	d, err := n.disclose(id)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Entries) != 2 || d.Entries[0].Serial != "SERIAL-"+nameOf(1, 0) || d.Entries[1].Person != "person:p-"+nameOf(1, 1) {
		t.Errorf("%+v", d.Entries)
	}
	if len(d.Items) != 500 || d.Items[499].Row != 1497 || d.Items[499].Item.Path != "PATIENT/"+nameOf(1, 1497)+"\xff.dcm" {
		t.Errorf("%d items, the last %+v", len(d.Items), d.Items[len(d.Items)-1])
	}
	text, err := json.Marshal(d) // as it is handed over
	if err != nil {
		t.Fatal(err)
	}
	var given Disclosure
	if err := json.Unmarshal(text, &given); err != nil {
		t.Fatal(err)
	}
	if err := given.Check(t.Context(), n.Reader); err != nil {
		t.Error(err)
	}
	changed := *d
	changed.Entries = []NamedEntry{{d.Entries[0].Index, Named{Serial: "another"}}}
	if err := changed.Check(t.Context(), n.Reader); !errors.Is(err, ErrBroken) {
		t.Errorf("another serial number: %v", err)
	}
	changed = *d
	changed.Items = []DisclosedItem{{Row: 3, Item: NamedItem{Path: "PATIENT/Smith^John"}}}
	if err := changed.Check(t.Context(), n.Reader); !errors.Is(err, ErrBroken) {
		t.Errorf("another path: %v", err)
	}
	one, err := n.Disclose(t.Context(), ID{}, admin, twoPersons, testKey)
	if err != nil || len(one.Entries) != 1 || one.Entries[0].Person != "uid:1001" || one.ItemKey != "" {
		t.Errorf("%+v %v", one, err)
	}
	if err := one.Check(t.Context(), n.Reader); err != nil {
		t.Error(err)
	}
	// The log knows, and who asks alone or for nothing gets nothing.
	found, err := n.Search(t.Context(), Query{Kinds: []Kind{KindDisclosed}})
	if err != nil || len(found) != 2 {
		t.Errorf("%d disclosures in the log, %v", len(found), err)
	}
	alone := twoPersons
	alone.Agreed = alone.Asked
	if d, err := n.Disclose(t.Context(), id, 0, alone, testKey); err == nil || d != nil {
		t.Error("one person is two")
	}
	if _, err := n.disclose(sessionID(77)); !errors.Is(err, ErrErased) {
		t.Errorf("a session that never was: %v", err)
	}
	if _, err := n.Disclose(t.Context(), ID{}, 1, twoPersons, testKey); !errors.Is(err, ErrNotNamed) {
		t.Errorf("an entry without names: %v", err)
	}
	mustVerify(t, n.Reader)
}

func TestDisclosureLeavesOutWhatTheLogDidNotCommitTo(t *testing.T) {
	n := newNamed(t)
	id := n.session(1, 3)
	n.names.putItems(t.Context(), id, []sealedItem{{77, []byte("x")}})
	s, err := n.names.secretOf(t.Context(), n.names.db, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.disclose(id); !errors.Is(err, ErrForeign) {
		t.Errorf("a text that was never sealed: %v", err)
	}
	run(t, n.names.db, "DELETE FROM item WHERE seq = 77")
	planted, _, err := s.sealText("item", id, 1, NamedItem{Path: "planted"})
	if err != nil {
		t.Fatal(err)
	}
	n.names.putItems(t.Context(), id, []sealedItem{{1, planted}})
	if _, err := n.names.putEntry(t.Context(), 2, id, n.at, Named{Person: "planted"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.names.putEntry(t.Context(), 99, id, n.at, Named{Person: "never entered"}); err != nil {
		t.Fatal(err)
	}
	d, err := n.disclose(id)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(d); bytes.Contains(text, []byte("planted")) || bytes.Contains(text, []byte("never")) || len(d.Items) != 1 {
		t.Errorf("%s", text)
	}
	// A sealed name that is moved to another place does not open there.
	run(t, n.names.db, "UPDATE item SET seq = 2 WHERE seq = 0")
	if _, err := n.disclose(id); !errors.Is(err, ErrForeign) {
		t.Errorf("a name that was moved: %v", err)
	}
}

// onDisk returns the bytes of every file below a folder.
func onDisk(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[name], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// holders names the files that hold some bytes, in any of the ways in which programs write bytes.
func holders(files map[string][]byte, secret []byte) (out []string) {
	forms := [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret))),
		[]byte(base64.StdEncoding.EncodeToString(secret)), []byte(base64.RawURLEncoding.EncodeToString(secret))}
	for name, data := range files {
		for _, form := range forms {
			if bytes.Contains(data, form) {
				out = append(out, filepath.Base(name))
				break
			}
		}
	}
	return out
}

func TestT10_NamesOnTheDiskAreSealed(t *testing.T) {
	n := newNamed(t)
	n.session(1, 40)
	files := onDisk(t, n.dir)
	for i := range 40 {
		for _, name := range []string{nameOf(1, i), "SERIAL-", "person:"} {
			if at := holders(files, []byte(name)); len(at) > 0 {
				t.Fatalf("%s is in %v", name, at)
			}
		}
	}
}

func TestT35_ErasedNamesCannotBeOpenedWithAnythingThatIsLeft(t *testing.T) {
	n := newNamed(t)
	erased, kept := n.session(1, 30), n.session(2, 30)
	root, err := n.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	oldKey, err := monthKeys(n.monthKeys()).read("2026-11", 1)
	if err != nil {
		t.Fatal(err)
	}
	var wrapped []byte
	if err := n.names.db.QueryRow("SELECT wrapped FROM secret WHERE subject = ?", erased[:]).Scan(&wrapped); err != nil {
		t.Fatal(err)
	}
	before, err := n.disclose(erased)
	if err != nil {
		t.Fatal(err)
	}
	itemKey, _ := hex.DecodeString(before.ItemKey)

	ev, err := n.Erase(t.Context(), Erasure{Session: erased}, Pseudonym{9})
	if err != nil || ev.Scope != "session" || ev.Secrets != 1 {
		t.Fatalf("%+v %v", ev, err)
	}
	if _, err := n.disclose(erased); !errors.Is(err, ErrErased) {
		t.Errorf("disclosed after the erasure: %v", err)
	}
	if d, err := n.disclose(kept); err != nil || len(d.Items) != 10 {
		t.Errorf("the other session: %+v %v", d, err)
	}
	n.Close() // what is in memory counts no more
	files := onDisk(t, n.dir)
	for what, secret := range map[string][]byte{"the month's old key": oldKey, "the wrapped secret": wrapped, "the key of the pseudonyms": itemKey} {
		if at := holders(files, secret); len(at) > 0 {
			t.Errorf("%s is still in %v", what, at)
		}
	}
	n.Log = nil
	n.reopen()
	if res := mustVerify(t, n.Reader); res.Items != 60 {
		t.Errorf("%+v", res)
	}
	span, err := n.Span(t.Context(), 0, root.Size)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ParseCheckpoint(span.Checkpoint, testOrigin, n.k.options().Verifiers); err != nil || h != root {
		t.Errorf("the tree changed: %v, was %v", h, root)
	}
	if d, err := n.disclose(kept); err != nil || len(d.Items) != 10 || d.Check(t.Context(), n.Reader) != nil {
		t.Errorf("the other session after a start: %+v %v", d, err)
	}
	if _, err := n.Erase(t.Context(), Erasure{Session: erased}, Pseudonym{9}); !errors.Is(err, ErrErased) {
		t.Errorf("erased twice: %v", err)
	}
	// The month's new key wraps what comes now.
	if d, err := n.disclose(n.session(3, 3)); err != nil || len(d.Items) != 1 {
		t.Errorf("a session after the erasure: %+v %v", d, err)
	}
}

func TestMonthsOfNamesAreErasedTogether(t *testing.T) {
	n := newNamed(t)
	var ids []ID
	for i := range 4 {
		n.at = time.Date(2026, time.Month(8+i), 5, 0, 0, 0, 0, time.UTC)
		ids = append(ids, n.session(i, 3))
	}
	readable := func(want ...bool) {
		t.Helper()
		for i, id := range ids {
			if _, err := n.disclose(id); (err == nil) != want[i] || err != nil && !errors.Is(err, ErrErased) {
				t.Errorf("session %d: %v", i, err)
			}
		}
	}
	readable(true, true, true, true)
	if kept, err := n.KeptNames(t.Context()); err != nil || len(kept) != 4 || kept[0] != (MonthOfNames{"2026-08", 1}) {
		t.Errorf("%+v %v", kept, err)
	}
	if ev, err := n.Erase(t.Context(), Erasure{Month: "2026-10"}, Pseudonym{9}); err != nil || ev.Secrets != 1 {
		t.Fatalf("%+v %v", ev, err)
	}
	readable(true, true, false, true)
	if ev, err := n.Erase(t.Context(), Erasure{Before: "2026-10"}, Pseudonym{9}); err != nil || ev.Secrets != 2 {
		t.Fatalf("%+v %v", ev, err)
	}
	readable(false, false, false, true)
	if files, err := os.ReadDir(n.monthKeys()); err != nil || len(files) != 1 || files[0].Name() != "2026-11.1" {
		t.Errorf("%v %v", files, err)
	}
	for _, e := range []Erasure{{}, {Month: "2026-13"}, {Month: "../../x"}, {Before: "2026"}, {Session: ids[3], Month: "2026-11"}, {Month: "2026-01"}} {
		if _, err := n.Erase(t.Context(), e, Pseudonym{9}); err == nil {
			t.Errorf("%+v was erased", e)
		}
	}
	if _, err := n.Erase(t.Context(), Erasure{Month: "2026-11"}, Pseudonym{}); err == nil {
		t.Error("nobody erases")
	}
	run(t, n.names.db, "INSERT INTO erasure(event) VALUES(x'ff')") // a damaged row must not stop the next start
	n.reopen()
	mustVerify(t, n.Reader)
	n.at = time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC) // a clock set back into a month that was erased
	if d, err := n.disclose(n.session(9, 3)); err != nil || len(d.Items) != 1 {
		t.Errorf("%+v %v", d, err)
	}
}

// A crash at any step of an erasure leaves the names as they were, or gone for good and told.
func TestT23_AnErasureThatStopsAtAnyStepIsFinished(t *testing.T) {
	stop := errors.New("stopped")
	for _, step := range []string{"names erased", "keys destroyed", "erasure entered"} {
		n := newNamed(t)
		id, kept := n.session(1, 3), n.session(2, 3)
		n.fault = func(s string) error {
			if s == step {
				return stop
			}
			return nil
		}
		if _, err := n.Erase(t.Context(), Erasure{Session: id}, Pseudonym{9}); !errors.Is(err, stop) {
			t.Fatalf("%s: %v", step, err)
		}
		n.reopen()
		if _, err := n.disclose(id); !errors.Is(err, ErrErased) {
			t.Errorf("%s: %v", step, err)
		}
		if d, err := n.disclose(kept); err != nil || len(d.Items) != 1 {
			t.Errorf("%s: the other session: %+v %v", step, d, err)
		}
		if files, err := os.ReadDir(n.monthKeys()); err != nil || len(files) != 1 || files[0].Name() != "2026-11.2" {
			t.Errorf("%s: %v %v", step, files, err)
		}
		if found, err := n.Search(t.Context(), Query{Kinds: []Kind{KindErased}}); err != nil || len(found) == 0 {
			t.Errorf("%s: the log does not tell: %v", step, err)
		}
		mustVerify(t, n.Reader)
	}
}

// An entry whose writer stopped between the side table and the log leaves no name that the log did not commit to.
func TestT23_AnEntryThatStopsBehindItsNamesLeavesNone(t *testing.T) {
	n := newNamed(t)
	stop := errors.New("stopped")
	for _, step := range []string{"named", "entry", "checkpoint"} {
		n.fault = func(s string) error {
			if s == step {
				return stop
			}
			return nil
		}
		if _, err := n.AppendNamed(t.Context(), Event{Data: Administered{What: "x", Person: Pseudonym{1}}}, Named{Person: "never"}); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		n.fault = nil
	}
	idx, err := n.AppendNamed(t.Context(), Event{Data: Administered{What: "y", Person: Pseudonym{2}}}, Named{Person: "uid:7"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Disclose(t.Context(), ID{}, idx, twoPersons, testKey)
	if err != nil || len(d.Entries) != 1 || d.Entries[0].Person != "uid:7" {
		t.Errorf("%+v %v", d, err)
	}
	mustVerify(t, n.Reader)
}

func TestADamagedOrLostSideTableDoesNotStopTheStation(t *testing.T) {
	for name, damage := range map[string]func(n *named){
		"gone":      func(n *named) { os.Remove(filepath.Join(n.dir, NamesFile)) },
		"garbage":   func(n *named) { os.WriteFile(filepath.Join(n.dir, NamesFile), bytes.Repeat([]byte("x"), 9000), 0o600) },
		"cut":       func(n *named) { os.Truncate(filepath.Join(n.dir, NamesFile), 5000) },
		"no schema": func(n *named) { sqlDo(n.t, filepath.Join(n.dir, NamesFile), "DROP TABLE secret") },
		"a table":   func(n *named) { sqlDo(n.t, filepath.Join(n.dir, NamesFile), "CREATE TABLE x(a)") },
	} {
		n := newNamed(t)
		id := n.session(1, 3)
		n.Close()
		n.Log = nil
		damage(n)
		n.reopen()
		if found, err := n.Search(t.Context(), Query{Kinds: []Kind{KindFailed}}); err != nil || len(found) != 1 || found[0].Entries[0].Data != (Failed{"names-lost"}) {
			t.Errorf("%s: the log does not say that names were lost: %+v %v", name, found, err)
		}
		if _, err := n.disclose(id); !errors.Is(err, ErrErased) {
			t.Errorf("%s: %v", name, err)
		}
		if d, err := n.disclose(n.session(2, 3)); err != nil || len(d.Items) != 1 {
			t.Errorf("%s: the next session: %+v %v", name, d, err)
		}
		mustVerify(t, n.Reader)
		n.reopen()
		if found, err := n.Search(t.Context(), Query{Kinds: []Kind{KindFailed}}); err != nil || len(found) != 1 {
			t.Errorf("%s: told again at the next start: %d %v", name, len(found), err)
		}
		aside, _ := filepath.Glob(filepath.Join(n.dir, NamesFile+".lost-*"))
		if (name == "gone") != (len(aside) == 0) {
			t.Errorf("%s: set aside: %v", name, aside)
		}
	}
	n := newNamed(t)
	n.Close()
	n.Log = nil
	sqlDo(t, filepath.Join(n.dir, NamesFile), "PRAGMA user_version = 9")
	opts := n.k.options()
	opts.MonthKeys = n.monthKeys()
	if _, err := Open(t.Context(), n.dir, opts); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer side table: %v", err)
	}
}

// A side table that was set aside can still be opened with the keys that are left. To erase a month ends that too.
func TestKeysThatOutliveTheirTableAreErasedWithTheirMonth(t *testing.T) {
	n := newNamed(t)
	n.session(1, 3)
	n.Close()
	n.Log = nil
	key, err := monthKeys(n.monthKeys()).read("2026-11", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(n.dir, NamesFile), 100); err != nil {
		t.Fatal(err)
	}
	n.at = n.at.AddDate(0, 1, 0)
	n.reopen()
	id := n.session(2, 3)
	if _, err := n.Erase(t.Context(), Erasure{Before: "2026-12"}, Pseudonym{9}); err != nil {
		t.Fatal(err)
	}
	if at := holders(onDisk(t, n.dir), key); len(at) > 0 {
		t.Errorf("the key is still in %v", at)
	}
	if ev, err := n.Erase(t.Context(), Erasure{Before: "2026-12"}, Pseudonym{9}); !errors.Is(err, ErrErased) {
		files, _ := os.ReadDir(n.monthKeys())
		t.Errorf("erased twice: %+v %v %v", ev, err, files)
	}
	if d, err := n.disclose(id); err != nil || len(d.Items) != 1 {
		t.Errorf("%+v %v", d, err)
	}
	n.reopen()
	mustVerify(t, n.Reader)
}

func sqlDo(t testing.TB, path string, list ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range list {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestALostMonthKeyLosesItsNamesAndNothingElse(t *testing.T) {
	n := newNamed(t)
	lost := n.session(1, 3)
	key := filepath.Join(n.monthKeys(), "2026-11.1")
	for _, damage := range []func(){func() { os.Remove(key) }, func() { os.WriteFile(key, []byte("short"), 0o600) }} {
		damage()
		n.reopen()
		if _, err := n.disclose(lost); !errors.Is(err, ErrErased) {
			t.Error(err)
		}
	}
	if d, err := n.disclose(n.session(2, 3)); err != nil || len(d.Items) != 1 {
		t.Errorf("the next session: %+v %v", d, err)
	}
	os.Chmod(filepath.Join(n.monthKeys(), "2026-11.2"), 0o644)
	n.reopen()
	if _, err := n.Append(t.Context(), Event{sessionID(5), Attached{Source: Image}}); !errors.Is(err, ErrUnusable) {
		t.Errorf("a key that others can read: %v", err)
	}
	mustVerify(t, n.Reader)
}

func TestT35_PseudonymsCannotBeTriedWithTheStationsKeyAlone(t *testing.T) {
	n := newNamed(t)
	id := n.session(1, 10)
	guess := Name(testKey, id, "PATIENT/"+nameOf(1, 0)+"\xff.dcm", "")
	err := n.ListItems(t.Context(), id, func(it Item) error {
		if it.Name == guess {
			t.Error("a name that was guessed is found with the station's key and without the session's secret")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamesHaveBounds(t *testing.T) {
	n := newNamed(t)
	if _, err := n.AppendNamed(t.Context(), Event{Data: Failed{"x"}}, Named{Person: strings.Repeat("x", maxName+1)}); err == nil {
		t.Error("an endless name was kept")
	}
	id := sessionID(1)
	n.must(t, id, Attached{Source: Image})
	items := n.NewItems(id, testKey)
	for range 2 * maxSessionBytes / report.MaxPathBytes {
		it := testItem(0)
		it.Outcome, it.Path = report.Malformed, strings.Repeat("p", report.MaxPathBytes)
		if err := items.Add(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := items.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if items.bytes > maxSessionBytes+report.MaxPathBytes+1024 {
		t.Errorf("%d bytes of names", items.bytes)
	}
	// A ciphertext says little of the length of a name.
	s := n.names.of(id)
	lengths := map[int]bool{}
	for i := range 60 {
		sealed, _, err := s.sealText("item", id, 0, NamedItem{Path: strings.Repeat("x", i)})
		if err != nil {
			t.Fatal(err)
		}
		lengths[len(sealed)] = true
	}
	if len(lengths) != 1 {
		t.Errorf("names of up to 59 bytes have %d lengths", len(lengths))
	}
}

// Whatever is changed in the side table's file, the log opens and its proofs hold.
func TestT16_ChangedBytesInTheSideTableNeverReachTheLog(t *testing.T) {
	n := newNamed(t)
	id := n.session(1, 40)
	n.Close()
	path := filepath.Join(n.dir, NamesFile)
	honest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened, set := 0, 0
	for range 60 {
		changed := bytes.Clone(honest)
		changed[rand.IntN(len(changed))] ^= byte(1 + rand.IntN(255))
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(path + suffix)
		}
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		n.Log = nil
		n.at = n.at.Add(time.Minute)
		opts := n.k.options()
		opts.Now, opts.MonthKeys = func() time.Time { return n.at }, n.monthKeys()
		l, err := Open(t.Context(), n.dir, opts)
		if errors.Is(err, ErrNewer) { // its version was changed: refused in words
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n.Log = l
		if d, err := n.disclose(id); err == nil {
			if err := d.Check(t.Context(), n.Reader); err != nil {
				t.Errorf("a name was disclosed that the log does not prove: %v", err)
			}
			opened++
		} else {
			set++
		}
		mustVerify(t, n.Reader)
		l.Close()
	}
	t.Logf("60 changed bytes: %d disclosures that hold, %d refused", opened, set)
}
