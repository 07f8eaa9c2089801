package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk/clearance"
	"pratique/scanner/report"
)

const testOrigin = "kiosk-3.stmary.example/log"

var testKey = bytes.Repeat([]byte{7}, 32)

// A child process of a test is this binary with one of these flags; see child_test.go.
var (
	childRole = flag.String("child", "", "what this process is to do for another test process")
	childDir  = flag.String("child-dir", "", "where")
	childKey  = flag.String("child-key", "", "with which private key")
	kills     = flag.Int("kills", 20, "how often TestT23 kills a writer")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *childRole != "" {
		os.Exit(child(*childRole, *childDir, *childKey))
	}
	os.Exit(m.Run())
}

// key is a log's key in its text forms.
type key struct{ private, public string }

func newKey(t testing.TB) key {
	t.Helper()
	private, public, err := GenerateKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	return key{private, public}
}

func (k key) options() Options {
	signer, public, err := ParseKey(k.private)
	if err != nil {
		panic(err)
	}
	if k.public != "" && public != k.public {
		panic("ParseKey returns another public key than GenerateKey")
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		panic(err)
	}
	return Options{Origin: testOrigin, Signer: signer, Verifiers: note.VerifierList(verifier)}
}

func open(t testing.TB, dir string, k key) *Log {
	t.Helper()
	l, err := Open(t.Context(), dir, k.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newLog(t testing.TB) (*Log, key) {
	t.Helper()
	k := newKey(t)
	return open(t, t.TempDir(), k), k
}

func (l *Log) must(t testing.TB, session ID, d Data) int64 {
	t.Helper()
	idx, err := l.Append(t.Context(), Event{session, d})
	if err != nil {
		t.Fatalf("append %v: %v", d.Kind(), err)
	}
	return idx
}

func sessionID(n int) ID { return ID{0: 0x5e, 14: byte(n >> 8), 15: byte(n)} }

func testItem(n int) report.Item {
	it := report.Item{Volume: 0, Path: fmt.Sprintf("PATIENT/DOE^JOHN/IMG%05d.DCM", n), Kind: report.File, Size: int64(1000 + n),
		SHA256: [32]byte{1, byte(n), byte(n >> 8)}, Type: "application/dicom", Outcome: report.Clean}
	if n%5 == 4 {
		it.Outcome, it.Findings = report.Flagged, []report.Finding{{Check: report.CheckYARA, Rule: "EICAR_Test", Offset: -1}}
	}
	return it
}

func decided(v Verdict, digest Digest, items uint64) Decided {
	d := Decided{Verdict: v, Class: "imaging", Rules: Rules{Name: "baseline", Version: 3, Digest: Digest{9}},
		Counts: Counts{Files: items, Outcomes: Outcomes{0, items}}, Items: items, ItemsDigest: digest}
	if v == Cleared {
		d.Content = Digest{0xc0}
	} else {
		d.Reasons = []Word{"yara-match"}
	}
	return d
}

var testOperator = [8]byte{0xab}

func testClaims(session ID, at time.Time) clearance.Claims {
	return clearance.Claims{Issuer: "kiosk-3", Audience: []string{"imaging"}, IssuedAt: at, Expires: at.Add(8 * time.Hour), ID: session,
		Verdict: clearance.Cleared, Content: clearance.Content{Root: [32]byte{0xc0}, Volumes: 1, Files: 3, Bytes: 99},
		Rules: clearance.Rules{Name: "baseline", Version: 3}, Canary: "none", Coverage: clearance.Used, Source: clearance.FromImage,
		Operator: testOperator, PQKeyID: [8]byte{1}}
}

func claimsLeaf(t testing.TB, session ID, at time.Time) []byte {
	t.Helper()
	leaf, err := clearance.Leaf(testClaims(session, at))
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// addItems records n items of a session.
func addItems(t testing.TB, l *Log, session ID, n int) (Digest, uint64) {
	t.Helper()
	items := l.NewItems(session, testKey)
	for i := range n {
		if err := items.Add(t.Context(), testItem(i)); err != nil {
			t.Fatal(err)
		}
	}
	digest, count, err := items.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return digest, count
}

// runSession is a whole cleared session: six entries.
func runSession(t testing.TB, l *Log, session ID, items int) (issuing int64) {
	t.Helper()
	l.must(t, session, Attached{Source: Image, Bytes: 64 << 20, SectorSize: 512})
	digest, n := addItems(t, l, session, items)
	l.must(t, session, decided(Cleared, digest, n))
	at := l.opts.Now().Truncate(time.Second)
	issuing, err := l.AppendLeaf(t.Context(), KindIssuing, session, at, claimsLeaf(t, session, at))
	if err != nil {
		t.Fatal(err)
	}
	l.must(t, session, Issued{Issuing: issuing, Token: Digest{0x70}})
	l.must(t, session, Removed{})
	return issuing
}

func mustVerify(t testing.TB, r *Reader) Result {
	t.Helper()
	res, err := r.Verify(t.Context(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Sound {
		t.Fatalf("the log is not sound: %v", res.Bad)
	}
	return res
}

func TestWholeSessionReadsBackAndVerifies(t *testing.T) {
	l, k := newLog(t)
	issuing := runSession(t, l, sessionID(1), 2500)
	if issuing != 2 {
		t.Errorf("issuing has index %d, want 2", issuing)
	}
	l.must(t, ID{}, Verified{Entries: 5, Sound: true, Bad: -1})
	l.must(t, ID{}, Failed{Cause: "no-workers"})

	res := mustVerify(t, l.Reader)
	if res.Entries != 7 || res.Items != 2500 || res.Checkpoints != 8 || res.ClockBack != 0 || res.Unbound != 0 {
		t.Errorf("result %+v", res)
	}
	head, err := l.Head(t.Context())
	if err != nil || head.Size != 7 || head.Root != res.Root {
		t.Errorf("head %v %v, want root %v", head, err, res.Root)
	}
	signed, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ParseCheckpoint(signed, testOrigin, k.options().Verifiers); err != nil || h != head {
		t.Errorf("checkpoint %v %v", h, err)
	}

	var kinds []string
	err = l.List(t.Context(), ListOptions{}, func(e Entry) error {
		kinds = append(kinds, e.Kind.String())
		_, err := json.Marshal(e)
		return err
	})
	if got := strings.Join(kinds, " "); err != nil || got != "attached decided issuing issued removed verified failed" {
		t.Errorf("list: %q %v", got, err)
	}
	n := 0
	err = l.ListItems(t.Context(), sessionID(1), func(it Item) error {
		if want := rowOf(testItem(n), Name(testKey, sessionID(1), testItem(n).Path, "")); it.Name != want.Name || it.Size != want.Size ||
			*it.SHA256 != *want.SHA256 || it.Findings != want.Findings {
			return fmt.Errorf("item %d is %+v", n, it)
		}
		n++
		return nil
	})
	if err != nil || n != 2500 {
		t.Errorf("%d items, %v", n, err)
	}
}

func TestListChooses(t *testing.T) {
	l, _ := newLog(t)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	l.opts.Now = func() time.Time { now = now.Add(time.Second); return now }
	for i := range 4 {
		runSession(t, l, sessionID(i), 1)
	}
	third := time.Time{}
	if err := l.List(t.Context(), ListOptions{From: 10, To: 11}, func(e Entry) error { third = e.Time; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		opts ListOptions
		want string
	}{
		{"range", ListOptions{From: 3, To: 6}, "[3 4 5]"},
		{"newest", ListOptions{Newest: true, Limit: 2}, "[19 18]"},
		{"kinds", ListOptions{Kinds: []Kind{KindIssuing, KindRemoved}, Limit: 3}, "[2 4 7]"},
		{"session", ListOptions{Session: sessionID(2)}, "[10 11 12 13 14]"},
		{"session and limit", ListOptions{Session: sessionID(2), Limit: 2, Newest: true}, "[14 13]"},
		{"until", ListOptions{Until: third, From: 8}, "[8 9]"},
		{"since", ListOptions{Since: third, To: 12}, "[10 11]"},
	} {
		got := []int64{}
		if err := l.List(t.Context(), c.opts, func(e Entry) error { got = append(got, e.Index); return nil }); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	stop := errors.New("enough")
	if err := l.List(t.Context(), ListOptions{}, func(Entry) error { return stop }); err != stop {
		t.Errorf("an error of the caller's comes back as %v", err)
	}
}

func TestUnfinishedSessionsAreFound(t *testing.T) {
	l, _ := newLog(t)
	attach := func(n int) ID { l.must(t, sessionID(n), Attached{Source: Image}); return sessionID(n) }
	issue := func(n int) int64 {
		l.must(t, attach(n), decided(Cleared, Digest{}, 0))
		at := time.Now().Truncate(time.Second)
		idx, err := l.AppendLeaf(t.Context(), KindIssuing, sessionID(n), at, claimsLeaf(t, sessionID(n), at))
		if err != nil {
			t.Fatal(err)
		}
		return idx
	}
	attach(1)                                                            // running, or killed
	l.must(t, attach(2), decided(NotCleared, Digest{}, 0))               // has its verdict
	open := issue(3)                                                     // killed before the token
	l.must(t, sessionID(4), Abandoned{Issuing: issue(4)})                // repaired
	l.must(t, sessionID(5), Issued{Issuing: issue(5), Token: Digest{1}}) // done
	l.must(t, attach(6), Aborted{Cause: "interrupted"})
	l.must(t, attach(7), Removed{})
	pulled := issue(8) // pulled between issuing and the token
	l.must(t, sessionID(8), Removed{})

	got, err := l.Unfinished(t.Context())
	want := []Session{{sessionID(1), 0, -1}, {sessionID(3), -1, open}, {sessionID(8), -1, pulled}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("unfinished: %v %v, want %v", got, err, want)
	}

	// The next start settles them, through another Log.
	l.must(t, sessionID(1), Aborted{Cause: "killed"})
	l.must(t, sessionID(3), Issued{Issuing: open, Token: Digest{2}})
	l.must(t, sessionID(8), Abandoned{Issuing: pulled})
	if got, err := l.Unfinished(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("after repair: %v %v", got, err)
	}
	mustVerify(t, l.Reader)
}

// The class is chosen after the scan: each one that is asked for has a verdict of its own over the same scan, and a
// clearance is for those that were cleared.
func TestT18_EachClassHasItsOwnVerdict(t *testing.T) {
	l, _ := newLog(t)
	id := sessionID(1)
	verdict := func(class Word, v Verdict) Decided {
		d := decided(v, Digest{}, 0)
		d.Class, d.Content = class, Digest{0xc0}
		return d
	}
	issue := func() error {
		at := time.Now().Truncate(time.Second)
		_, err := l.AppendLeaf(t.Context(), KindIssuing, id, at, claimsLeaf(t, id, at)) // for imaging
		return err
	}
	l.must(t, id, Attached{Source: Image})
	l.must(t, id, Denied{Class: "imaging", Cause: "class"})
	if open, err := l.Unfinished(t.Context()); err != nil || len(open) != 1 {
		t.Errorf("after a denial %v, %v: the session is not over", open, err)
	}
	l.must(t, id, verdict("general", Cleared))
	if err := issue(); !errors.Is(err, ErrOrder) {
		t.Errorf("cleared for general, issued for imaging: %v", err)
	}
	l.must(t, id, verdict("infusion", NotCleared))
	other := verdict("laboratory", Cleared)
	other.Content = Digest{1}
	for name, d := range map[string]Decided{"a class twice": verdict("general", Cleared), "another scan": other} {
		if _, err := l.Append(t.Context(), Event{id, d}); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.must(t, id, verdict("imaging", Cleared))
	if err := issue(); err != nil {
		t.Error(err)
	}
	if err := issue(); !errors.Is(err, ErrOrder) {
		t.Errorf("a second clearance: %v", err)
	}
	mustVerify(t, l.Reader)
}

func TestNoClearanceWithoutAClearedSession(t *testing.T) {
	prepare := map[string]func(l *Log, id ID){
		"nothing":  func(l *Log, id ID) {},
		"attached": func(l *Log, id ID) { l.must(t, id, Attached{Source: Image}) },
		"could not check": func(l *Log, id ID) {
			l.must(t, id, Attached{Source: Image})
			l.must(t, id, decided(CouldNotCheck, Digest{}, 0))
		},
		"not cleared": func(l *Log, id ID) {
			l.must(t, id, Attached{Source: Image})
			l.must(t, id, decided(NotCleared, Digest{}, 0))
		},
		"other content": func(l *Log, id ID) {
			l.must(t, id, Attached{Source: Image})
			d := decided(Cleared, Digest{}, 0)
			d.Content = Digest{1}
			l.must(t, id, d)
		},
		"removed": func(l *Log, id ID) {
			l.must(t, id, Attached{Source: Image})
			l.must(t, id, decided(Cleared, Digest{}, 0))
			l.must(t, id, Removed{})
		},
		"had one before": func(l *Log, id ID) { runSessionUntilIssuing(t, l, id) },
	}
	for name, f := range prepare {
		l, _ := newLog(t)
		f(l, sessionID(1))
		before, _ := l.Size(t.Context())
		at := time.Now().Truncate(time.Second)
		idx, err := l.AppendLeaf(t.Context(), KindIssuing, sessionID(1), at, claimsLeaf(t, sessionID(1), at))
		if !errors.Is(err, ErrOrder) || idx != -1 {
			t.Errorf("%s: index %d, %v", name, idx, err)
		}
		if after, _ := l.Size(t.Context()); after != before {
			t.Errorf("%s: the log grew", name)
		}
	}
}

func runSessionUntilIssuing(t testing.TB, l *Log, id ID) int64 {
	t.Helper()
	l.must(t, id, Attached{Source: Image})
	l.must(t, id, decided(Cleared, Digest{}, 0))
	at := time.Now().Truncate(time.Second)
	idx, err := l.AppendLeaf(t.Context(), KindIssuing, id, at, claimsLeaf(t, id, at))
	if err != nil {
		t.Fatal(err)
	}
	return idx
}

func TestAnotherProcessCanEndASession(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l, other := open(t, dir, k), open(t, dir, k)
	id := sessionID(1)
	l.must(t, id, Attached{Source: Image})
	l.must(t, id, decided(Cleared, Digest{}, 0))
	other.must(t, id, Aborted{Cause: "killed"})
	at := time.Now().Truncate(time.Second)
	if _, err := l.AppendLeaf(t.Context(), KindIssuing, id, at, claimsLeaf(t, id, at)); !errors.Is(err, ErrOrder) {
		t.Errorf("a clearance in an aborted session: %v", err)
	}
	mustVerify(t, l.Reader)
}

func TestALeafMustBeTheClearanceOfItsSessionNow(t *testing.T) {
	l, _ := newLog(t)
	id, at := sessionID(1), time.Now().Truncate(time.Second)
	l.must(t, id, Attached{Source: Image})
	l.must(t, id, decided(Cleared, Digest{}, 0))
	leaf := claimsLeaf(t, id, at)
	event, err := encodeLeaf(Event{id, Removed{}}, at, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (int64, error){
		"another kind":    func() (int64, error) { return l.AppendLeaf(t.Context(), KindIssued, id, at, leaf) },
		"another session": func() (int64, error) { return l.AppendLeaf(t.Context(), KindIssuing, sessionID(2), at, leaf) },
		"another time":    func() (int64, error) { return l.AppendLeaf(t.Context(), KindIssuing, id, at.Add(time.Second), leaf) },
		"an event":        func() (int64, error) { return l.AppendLeaf(t.Context(), KindIssuing, id, at, event) },
		"garbage":         func() (int64, error) { return l.AppendLeaf(t.Context(), KindIssuing, id, at, leaf[1:]) },
		"nothing":         func() (int64, error) { return l.AppendLeaf(t.Context(), KindIssuing, id, at, nil) },
		"as an event":     func() (int64, error) { return l.Append(t.Context(), Event{id, Issuing{Content: Digest{0xc0}}}) },
	} {
		if idx, err := try(); err == nil || idx != -1 {
			t.Errorf("%s: %d %v", name, idx, err)
		}
	}
	if idx, err := l.AppendLeaf(t.Context(), KindIssuing, id, at, leaf); err != nil || idx != 2 {
		t.Errorf("the right one after all that: %d %v", idx, err)
	}
}

func TestAClearanceIsSettledOnce(t *testing.T) {
	l, _ := newLog(t)
	idx := runSessionUntilIssuing(t, l, sessionID(1))
	for _, c := range []struct {
		session ID
		d       Data
	}{
		{sessionID(2), Issued{idx, Digest{1}}},     // another session's
		{sessionID(1), Issued{idx - 1, Digest{1}}}, // no issuing entry
		{sessionID(1), Issued{99, Digest{1}}},      // no entry
		{sessionID(1), Abandoned{idx - 1}},
	} {
		if _, err := l.Append(t.Context(), Event{c.session, c.d}); !errors.Is(err, ErrOrder) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	l.must(t, sessionID(1), Issued{idx, Digest{1}})
	for _, d := range []Data{Issued{idx, Digest{1}}, Abandoned{idx}} {
		if _, err := l.Append(t.Context(), Event{sessionID(1), d}); !errors.Is(err, ErrOrder) {
			t.Errorf("settled again with %v: %v", d.Kind(), err)
		}
	}
}

func TestEventsThatNoEntryMayHoldAreRefused(t *testing.T) {
	l, _ := newLog(t)
	id := sessionID(1)
	l.must(t, id, Attached{Source: Image})
	good := decided(Cleared, Digest{}, 0)
	for name, ev := range map[string]Event{
		"zero":                     {},
		"no session":               {ID{}, Attached{Source: Image}},
		"a session it has not":     {id, Verified{Bad: -1}},
		"no source":                {sessionID(2), Attached{}},
		"a name as cause":          {id, Aborted{Cause: "DOE^JOHN was here"}},
		"no cause":                 {id, Failed{}},
		"issuing as an event":      {id, Issuing{}},
		"class with a slash":       {id, func() Decided { d := good; d.Class = "a/b"; return d }()},
		"cleared without content":  {id, func() Decided { d := good; d.Content = Digest{}; return d }()},
		"cleared with a reason":    {id, func() Decided { d := good; d.Reasons = []Word{"x"}; return d }()},
		"cleared without rules":    {id, func() Decided { d := good; d.Rules = Rules{}; return d }()},
		"items without digest":     {id, func() Decided { d := good; d.Items = 3; return d }()},
		"a verdict there is not":   {id, func() Decided { d := good; d.Verdict = 3; return d }()},
		"too many reasons":         {id, func() Decided { d := decided(NotCleared, Digest{}, 0); d.Reasons = make([]Word, 65); return d }()},
		"export to before from":    {ID{}, Exported{Format: "csv", From: 3, To: 2}},
		"sound with a bad entry":   {ID{}, Verified{Sound: true, Bad: 4}},
		"a pointer":                {sessionID(2), &Attached{Source: Image}},
		"a token without a digest": {id, Issued{Issuing: 0}},
	} {
		if idx, err := l.Append(t.Context(), ev); err == nil || idx != -1 {
			t.Errorf("%s: index %d, %v", name, idx, err)
		}
	}
	if n, err := l.Size(t.Context()); n != 1 || err != nil {
		t.Errorf("the log has %d entries, %v", n, err)
	}
}

func TestT27_ClockThatJumpsIsMarkedAndStopsTheClearance(t *testing.T) {
	l, _ := newLog(t)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	l.opts.Now = func() time.Time { return now }
	id := sessionID(1)
	l.must(t, id, Attached{Source: Image})
	now = now.Add(time.Minute)
	l.must(t, id, decided(Cleared, Digest{}, 0))

	for _, jump := range []time.Duration{-365 * 24 * time.Hour, -time.Minute, 365 * 24 * time.Hour} {
		before := now
		now = now.Add(jump)
		issue := before // stamped, then the clock jumps; and the other way round
		if jump < 0 {
			issue = now
		}
		if _, err := l.AppendLeaf(t.Context(), KindIssuing, id, issue, claimsLeaf(t, id, issue)); !errors.Is(err, ErrClock) {
			t.Errorf("jump of %v: %v", jump, err)
		}
		l.live[id].doubtful = false // look at the clock alone
		now = before
	}

	now = now.Add(-365 * 24 * time.Hour)
	runSession(t, l, sessionID(2), 1)
	now = now.Add(366 * 24 * time.Hour)
	l.must(t, id, Removed{})

	var marks []uint64
	times := []time.Time{}
	err := l.List(t.Context(), ListOptions{}, func(e Entry) error {
		marks, times = append(marks, e.ClockBack), append(times, e.Time)
		return nil
	})
	const year = 365 * 24 * 3600
	if want := fmt.Sprint([]uint64{0, 0, year, year, 0, year, year, 0}); err != nil || fmt.Sprint(marks) != want {
		t.Errorf("marks %v %v, want %v (an issuing leaf has none)", marks, err, want)
	}
	if !times[2].Equal(times[1].Add(-year * time.Second)) {
		t.Errorf("the real time is not kept: %v after %v", times[2], times[1])
	}
	if res := mustVerify(t, l.Reader); res.ClockBack != 5 {
		t.Errorf("%d entries behind, want 5", res.ClockBack)
	}
}

func TestFileIsOnlyItsOwners(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	runSession(t, l, sessionID(1), 3)
	check := func() {
		t.Helper()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(filepath.Join(dir, FileName+suffix))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", FileName+suffix, info.Mode(), err)
			}
		}
	}
	check()
	l.Close()
	if err := os.Chmod(filepath.Join(dir, FileName), 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, dir, k).must(t, ID{}, Read{0, 1})
	check()
}

func TestEachConnectionIsDurableAndAppendOnly(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	runSession(t, l, sessionID(1), 3)
	for _, statement := range []string{
		"UPDATE entry SET kind = 'read'", "DELETE FROM entry", "DELETE FROM item", "UPDATE hash SET hash = zeroblob(32)", "DELETE FROM checkpoint",
		"DROP TABLE entry", "DROP TRIGGER entry_no_update", "ALTER TABLE entry ADD COLUMN x", "CREATE TABLE x(a)", "CREATE TEMP TABLE x(a)",
		"ATTACH ':memory:' AS x", "PRAGMA writable_schema = 1", "PRAGMA recursive_triggers = 0", "PRAGMA user_version = 7", "PRAGMA synchronous = 0",
		"INSERT INTO sqlite_schema VALUES('table','x','x',1,'')",
		"INSERT OR REPLACE INTO entry VALUES(1, 'z', 'read', x'00')", "REPLACE INTO hash VALUES(1, zeroblob(32))",
		"INSERT INTO entry VALUES(1, 'z', 'read', x'00') ON CONFLICT(idx) DO UPDATE SET kind = 'read'",
		"INSERT INTO entry(leaf) VALUES(x'00')", "INSERT INTO entry VALUES(99, 'z', 'read', x'00')", "INSERT INTO entry VALUES(-1, 'z', 'read', x'00')",
		"INSERT OR REPLACE INTO checkpoint VALUES(3, 'x')", "INSERT INTO checkpoint VALUES(1, 'x')", "VACUUM", "VACUUM INTO 'x'", "REINDEX",
	} {
		if _, err := l.w.Exec(statement); err == nil {
			t.Errorf("the writer may %s", statement)
		}
		if _, err := l.Reader.db.Exec(statement); err == nil {
			t.Errorf("a reader may %s", statement)
		}
	}
	mustVerify(t, l.Reader)

	// The authorizer refuses to answer these, so ask through the same connections without it.
	db := connections(filepath.Join(dir, FileName), 1, map[string]string{"mode": "rw"}, nil)
	defer db.Close()
	for pragma, want := range map[string]int{"synchronous": 2, "recursive_triggers": 1, "foreign_keys": 1, "secure_delete": 1, "trusted_schema": 0,
		"cell_size_check": 1} {
		var got int
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("PRAGMA %s is %d, %v, want %d", pragma, got, err, want)
		}
	}
}

func plain(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestT10_NoNameReachesTheFiles(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	id := sessionID(1)
	l.must(t, id, Attached{Source: Image})
	items := l.NewItems(id, testKey)
	var names []string
	for i := range 1000 {
		name := fmt.Sprintf("Qz%04dxWv", i)
		names = append(names, name)
		it := testItem(i)
		it.Path, it.Member = "p/"+name+".dcm", "m/"+name+"."+name
		it.Type = []string{"text/" + name + " x", "text/plain; name=" + name, "a/b/" + name, "image/png"}[i%4]
		it.Findings = []report.Finding{{Check: report.CheckStructure, Rule: "double extension " + name, Text: "about " + name}}
		it.Outcome = report.Flagged
		if err := items.Add(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	digest, n, err := items.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.must(t, id, decided(NotCleared, digest, n))
	mustVerify(t, l.Reader)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		data, err := os.ReadFile(filepath.Join(dir, FileName+suffix))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if bytes.Contains(data, []byte(name)) {
				t.Fatalf("%s holds %s", FileName+suffix, name)
			}
		}
	}
}

func TestNamesDifferBetweenSessionsKeysAndParts(t *testing.T) {
	seen := map[[16]byte]bool{}
	for _, c := range []struct {
		key          []byte
		session      ID
		path, member string
	}{{testKey, sessionID(1), "ab", ""}, {testKey, sessionID(2), "ab", ""}, {testKey[:16], sessionID(1), "ab", ""}, {testKey, sessionID(1), "a", "b"},
		{testKey, sessionID(1), "", "ab"}} {
		seen[Name(c.key, c.session, c.path, c.member)] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d different names, want 5", len(seen))
	}
	l, _ := newLog(t)
	for _, items := range []*Items{l.NewItems(sessionID(1), testKey[:15]), l.NewItems(ID{}, testKey)} {
		if err := items.Add(context.Background(), testItem(1)); err == nil {
			t.Error("items without a session or a key are taken")
		}
		if _, _, err := items.Close(context.Background()); err == nil {
			t.Error("and close without an error")
		}
	}
}

// The package comment promises this leaf.
func TestLeafOfThePackageComment(t *testing.T) {
	want, err := hex.DecodeString("707261746971756520" + "6c6f6720763100" + "a5" + "0101" + "02" + "6772656d6f766564" +
		"03" + "1b18ea0da41e9d8000" + "04" + "50" + "0102030405060708090a0b0c0d0e0f10" + "06" + "a0")
	if err != nil {
		t.Fatal(err)
	}
	id := ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	got, err := encodeLeaf(Event{id, Removed{}}, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), 0)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("leaf %x %v, want %x", got, err, want)
	}
}
