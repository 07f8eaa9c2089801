package audit

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"
)

// step is a step of exception n by person p, about one content.
func step(what Word, n, p byte) Exception {
	return Exception{What: what, ID: ID{0xe, n}, Person: Pseudonym{p}, SHA256: Digest{7, n}, Findings: []FindingName{"blocklist/blocklist", "yara/Packed_Program"},
		Reason: "vendor-tool", Until: time.Now().Add(7 * 24 * time.Hour).Truncate(24 * time.Hour).Unix(), Rules: Rules{Name: "core", Version: 3, Digest: Digest{9}}}
}

// asIs enters events as nobody's log would take them, and signs them.
func (l *Log) asIs(t testing.TB, events ...Event) {
	t.Helper()
	tx, err := l.w.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	head, _, err := l.tail(t.Context(), tx)
	for _, ev := range events {
		at := time.Now().UTC()
		var leaf []byte
		if err == nil {
			leaf, err = encodeLeaf(ev, at, 0)
		}
		if err == nil {
			head, err = l.add(t.Context(), tx, head, ev.Data.Kind(), at, leaf)
		}
	}
	if err == nil {
		err = errors.Join(addCheckpoint(t.Context(), tx, l.opts, head), tx.Commit())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func agreements(t testing.TB, r *Reader) *Agreements {
	t.Helper()
	var x Agreements
	if _, err := r.Exceptions(t.Context(), 0, &x); err != nil {
		t.Fatal(err)
	}
	return &x
}

func TestExceptionsAreWhatTheEntriesSay(t *testing.T) {
	l, _ := newLog(t)
	l.must(t, ID{}, step(Proposed, 1, 1))
	l.must(t, ID{}, Read{0, 1})
	var x Agreements
	next, err := l.Exceptions(t.Context(), 0, &x)
	if a := x.Get(ID{0xe, 1}); err != nil || next != 2 || a == nil || a.Holds(time.Now()) || !a.Waits(time.Now()) || a.Waits(time.Now().Add(25*time.Hour)) {
		t.Fatalf("%+v %v", a, err)
	}
	l.must(t, ID{}, step(Proposed, 2, 1))
	l.must(t, ID{}, step(Confirmed, 1, 2))
	if next, err = l.Exceptions(t.Context(), next, &x); err != nil || next != 4 {
		t.Fatal(next, err)
	}
	now, a := time.Now(), x.Get(ID{0xe, 1})
	for at, want := range map[time.Time]bool{now: true, now.Add(-time.Minute): true, a.Ends().Add(-time.Second): true, a.Ends(): false, a.Ends().Add(time.Hour): false,
		now.Add(-time.Hour): false /* confirmed by a clock that was ahead */} {
		if a.Holds(at) != want {
			t.Errorf("in force %v from now: %v", at.Sub(now), !want)
		}
	}
	if all := x.All(); len(all) != 2 || all[0] != a || x.Get(ID{0xe, 2}).Holds(now) || a.With != (Pseudonym{2}) {
		t.Fatalf("%+v", all)
	}
	l.must(t, ID{}, step(Withdrawn, 1, 3))
	if next, err = l.Exceptions(t.Context(), next, &x); err != nil || x.Get(ID{0xe, 1}).Holds(now) {
		t.Fatal("a removed exception is in force", err)
	}
	if again := agreements(t, l.Reader); len(again.All()) != 2 || again.Get(ID{0xe, 1}).Holds(now) {
		t.Fatal("a removed exception is in force once more")
	}
	long := *a
	long.Until = a.ConfirmedAt.Add(ExceptionLife + time.Hour).Unix()
	if long.RemovedAt = (time.Time{}); long.Holds(now) {
		t.Error("an exception for longer than there can be one is in force")
	}
	if !mustVerify(t, l.Reader).Sound {
		t.Error("the log is not sound")
	}
}

// What no station writes: steps of one person, of nobody, of another content than the proposal's, twice, or after the end.
func TestT19_StepsThatDoNotFollowAreNamed(t *testing.T) {
	other := func(f func(*Exception)) Exception {
		x := step(Confirmed, 1, 2)
		f(&x)
		return x
	}
	for name, c := range map[string]struct {
		steps []Exception
		want  string
	}{
		"one person twice":           {[]Exception{step(Proposed, 1, 1), step(Confirmed, 1, 1)}, "entry 1: its exception was proposed and confirmed by one person"},
		"confirmed only":             {[]Exception{step(Confirmed, 1, 2)}, "entry 0: its exception was never proposed"},
		"removed only":               {[]Exception{step(Withdrawn, 1, 2)}, "entry 0: its exception was never proposed"},
		"proposed twice":             {[]Exception{step(Proposed, 1, 1), step(Proposed, 1, 2)}, "entry 1: its exception was proposed before"},
		"confirmed twice":            {[]Exception{step(Proposed, 1, 1), step(Confirmed, 1, 2), step(Confirmed, 1, 3)}, "entry 2: its exception was confirmed before"},
		"confirmed after it was out": {[]Exception{step(Proposed, 1, 1), step(Withdrawn, 1, 1), step(Confirmed, 1, 2)}, "entry 2: its exception was removed before"},
		"removed twice":              {[]Exception{step(Proposed, 1, 1), step(Withdrawn, 1, 1), step(Withdrawn, 1, 2)}, "entry 2: its exception was removed before"},
		"of another content":         {[]Exception{step(Proposed, 1, 1), other(func(x *Exception) { x.SHA256[0]++ })}, "entry 1: it says something else"},
		"of more findings":           {[]Exception{step(Proposed, 1, 1), other(func(x *Exception) { x.Findings = append(x.Findings, "yara/Z") })}, "entry 1: it says something else"},
		"for longer":                 {[]Exception{step(Proposed, 1, 1), other(func(x *Exception) { x.Until++ })}, "entry 1: it says something else"},
	} {
		l, _ := newLog(t)
		last := len(c.steps) - 1
		for _, x := range c.steps[:last] {
			l.must(t, ID{}, x)
		}
		if _, err := l.Append(t.Context(), Event{ID{}, c.steps[last]}); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: entered: %v", name, err)
		}
		l.asIs(t, Event{ID{}, c.steps[last]})
		res, err := l.Verify(t.Context(), VerifyOptions{})
		if err != nil || res.Sound || !strings.HasPrefix(res.Bad.Error(), c.want) {
			t.Errorf("%s: %v %v", name, res.Bad, err)
		}
		var x Agreements
		if _, err := l.Exceptions(t.Context(), 0, &x); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: read as %v", name, err)
		}
	}
}

// A verdict that rests on an exception is held against what two people agreed on.
func TestT19_VerdictsRestOnWhatTwoPeopleAgreedOn(t *testing.T) {
	uses := func(n byte) Decided {
		d := decided(Cleared, Digest{}, 0)
		d.Excepted = []Excepted{{Exception: ID{0xe, n}, Findings: 1}}
		return d
	}
	for name, c := range map[string]struct {
		steps []Data
		sound bool
	}{
		"agreed on":             {[]Data{step(Proposed, 1, 1), step(Confirmed, 1, 2)}, true},
		"removed a moment ago":  {[]Data{step(Proposed, 1, 1), step(Confirmed, 1, 2), step(Withdrawn, 1, 2)}, true},
		"proposed only":         {[]Data{step(Proposed, 1, 1)}, false},
		"proposed and removed":  {[]Data{step(Proposed, 1, 1), step(Withdrawn, 1, 2)}, false},
		"another one agreed on": {[]Data{step(Proposed, 2, 1), step(Confirmed, 2, 2)}, false},
		"none":                  {nil, false},
	} {
		l, _ := newLog(t)
		for _, d := range c.steps {
			l.must(t, ID{}, d)
		}
		l.must(t, sessionID(1), Attached{Source: Image})
		if _, err := l.Append(t.Context(), Event{sessionID(1), uses(1)}); (err == nil) != c.sound || err != nil && !errors.Is(err, ErrOrder) {
			t.Errorf("%s: entered: %v", name, err)
		} else if err != nil {
			l.asIs(t, Event{sessionID(1), uses(1)})
		}
		if res, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || res.Sound != c.sound {
			t.Errorf("%s: sound %v, %v %v", name, res.Sound, res.Bad, err)
		}
	}
	// One that had ended long before.
	var x Agreements
	x.add(step(Proposed, 1, 1), time.Now())
	x.add(step(Confirmed, 1, 2), time.Now())
	ends := x.Get(ID{0xe, 1}).Ends()
	if x.supports(uses(1), ends.Add(time.Minute)) != "" || x.supports(uses(1), ends.Add(time.Hour)) == "" {
		t.Error("the end of an exception does not count")
	}
	x.add(step(Withdrawn, 1, 2), time.Now().Add(-time.Hour))
	if x.supports(uses(1), time.Now()) == "" {
		t.Error("the removal of an exception does not count")
	}
}

// Whoever edits the file makes no exception, prolongs none and brings none back.
func TestT19_ExceptionsEditedInTheFileAreRefused(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	l.must(t, ID{}, step(Proposed, 1, 1))
	l.must(t, ID{}, step(Confirmed, 1, 2))
	l.must(t, ID{}, step(Withdrawn, 1, 2))
	l.must(t, ID{}, step(Proposed, 2, 1))
	l.must(t, ID{}, Read{0, 1})
	l.Close()
	for name, edit := range map[string]func(*testing.T, *sql.DB){
		"a confirmation in place of another entry": func(t *testing.T, db *sql.DB) { setLeaf(t, db, 4, Event{ID{}, step(Confirmed, 2, 2)}) },
		"a longer life": func(t *testing.T, db *sql.DB) {
			x := step(Proposed, 2, 1)
			x.Until += 86400
			setLeaf(t, db, 3, Event{ID{}, x})
		},
		"a removal under another kind": func(t *testing.T, db *sql.DB) { run(t, db, "UPDATE entry SET kind = 'read' WHERE idx = 2") },
		"a removal that is gone":       func(t *testing.T, db *sql.DB) { run(t, db, "DELETE FROM entry WHERE idx = 2") },
		"an entry behind the last": func(t *testing.T, db *sql.DB) {
			run(t, db, "INSERT INTO entry SELECT 5, time, kind, leaf FROM entry WHERE idx = 1")
		},
	} {
		_, path := copyLog(t, dir)
		db := plain(t, path)
		dropTriggers(t, db)
		edit(t, db)
		db.Close()
		o := k.options()
		r, err := OpenReader(t.Context(), path, testOrigin, o.Verifiers)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var x Agreements
		if _, err := r.Exceptions(t.Context(), 0, &x); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
	}
}

func TestExceptionsThatNoEntryMayHoldAreRefused(t *testing.T) {
	for name, f := range map[string]func(*Exception){
		"no step":          func(x *Exception) { x.What = "agreed" },
		"no name":          func(x *Exception) { x.ID = ID{} },
		"nobody":           func(x *Exception) { x.Person = Pseudonym{} },
		"no content":       func(x *Exception) { x.SHA256 = Digest{} },
		"no end":           func(x *Exception) { x.Until = 0 },
		"no findings":      func(x *Exception) { x.Findings = nil },
		"too many":         func(x *Exception) { x.Findings = make([]FindingName, 9) },
		"not in order":     func(x *Exception) { x.Findings = []FindingName{"yara/b", "yara/a"} },
		"twice":            func(x *Exception) { x.Findings = []FindingName{"yara/a", "yara/a"} },
		"no rule":          func(x *Exception) { x.Findings = []FindingName{"yara/"} },
		"no check":         func(x *Exception) { x.Findings = []FindingName{"/a"} },
		"a path":           func(x *Exception) { x.Findings = []FindingName{"yara/a/b"} },
		"a file's name":    func(x *Exception) { x.Findings = []FindingName{"yara/Müller Hans.dcm"} },
		"no reason":        func(x *Exception) { x.Reason = "" },
		"a sentence":       func(x *Exception) { x.Reason = "it is fine" },
		"a reason of bidi": func(x *Exception) { x.Reason = "\u202efine" },
	} {
		x := step(Proposed, 1, 1)
		f(&x)
		if _, err := encodeLeaf(Event{ID{}, x}, leafTime, 0); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for name, list := range map[string][]Excepted{"no name": {{Findings: 1}}, "no findings": {{Exception: ID{1}}}, "twice": {{Exception: ID{1}, Findings: 1}, {Exception: ID{1}, Findings: 2}},
		"too many": make([]Excepted, 65)} {
		d := decided(NotCleared, Digest{}, 0)
		d.Excepted = list
		if d.check() == nil {
			t.Errorf("a verdict with exceptions: %s is taken", name)
		}
	}
}

// BenchmarkExceptions100000 is what the first decision after a start costs after years.
func BenchmarkExceptions100000(b *testing.B) {
	l, _ := newLog(b)
	bulk(b, l, 100_000)
	for b.Loop() {
		agreements(b, l.Reader)
	}
}
