package audit

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
)

// oldLog puts the log of version 1 that testdata keeps into a folder.
func oldLog(t testing.TB) (dir string, k key) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "v1.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	private, err := os.ReadFile(filepath.Join("testdata", "v1.key"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, key{private: strings.TrimSpace(string(private))}
}

func TestALogOfVersion1IsReadAsItIsAndUpgradedWhenOpened(t *testing.T) {
	dir, k := oldLog(t)
	path := filepath.Join(dir, FileName)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := verifyCopy(t, path, k, VerifyOptions{})
	if !old.Sound || old.Entries != 35 || old.Items != 2478 || old.Unbound != 1 {
		t.Fatalf("as it is: %+v %v", old, old.Bad)
	}
	r, err := OpenReader(t.Context(), path, testOrigin, k.options().Verifiers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Search(t.Context(), Query{}); !errors.Is(err, ErrNoIndex) {
		t.Errorf("a search in a copy without an index: %v", err)
	}
	r.Close()
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Error("an auditor's copy was changed")
	}

	l := open(t, dir, k)
	res := mustVerify(t, l.Reader)
	if res.Root != old.Root || res.Items != old.Items {
		t.Errorf("after the upgrade %+v, was %+v", res, old)
	}
	found, err := l.Search(t.Context(), Query{Verdicts: []Verdict{NotCleared}})
	if err != nil || len(found) != 1 || found[0].Session != sessionID(4) || len(found[0].Entries) != 4 {
		t.Errorf("%+v %v", found, err)
	}
	sum := Digest(testItem(1100).SHA256)
	if found, err = l.Search(t.Context(), Query{SHA256: &sum}); err != nil || len(found) != 2 || found[0].Session != sessionID(3) || found[0].Items[0].Seq != 1100 {
		t.Errorf("%+v %v", found, err)
	}
	runSession(t, l, sessionID(9), 5)
	mustVerify(t, l.Reader)
}

func TestAnUpgradeThatIsCutOffLeavesTheOldLog(t *testing.T) {
	dir, k := oldLog(t)
	db := connections(filepath.Join(dir, FileName), 1, map[string]string{"mode": "rw"}, nil)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range schemaV2 {
		if _, err := tx.Exec(o.sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := upgrade(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	db.Close()
	if res := verifyCopy(t, filepath.Join(dir, FileName), k, VerifyOptions{}); !res.Sound {
		t.Fatal(res.Bad)
	}
	mustVerify(t, open(t, dir, k).Reader)
}

func TestSearchFindsWhatWasAskedForAndNothingElse(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	opts := k.options()
	opts.Now = func() time.Time { return at }
	l, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := at
	for n := range 6 { // a session an hour; odd ones are not cleared
		id := sessionID(n)
		if n%2 == 0 {
			runSession(t, l, id, 1+n*700)
		} else {
			l.must(t, id, Attached{Source: USB})
			digest, count := addItems(t, l, id, 10)
			d := decided(NotCleared, digest, count)
			d.Class = Word(fmt.Sprint("class-", n))
			l.must(t, id, d)
			l.must(t, id, Denied{Class: "infusion", Person: Pseudonym{byte(n)}, Cause: "class"})
			l.must(t, id, Removed{})
		}
		at = at.Add(time.Hour)
	}
	l.must(t, ID{}, Administered{What: "x", Person: Pseudonym{1}, Digest: Digest{1}})
	l.must(t, ID{}, Refused{Port: "1-1", Cause: "keyboard"})
	mustVerify(t, l.Reader)
	hash := func(n int) *Digest { d := Digest(testItem(n).SHA256); return &d }
	hour := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		query Query
		want  string // sessions by number, or "-" for an entry of none, newest first
	}{
		"all":                    {Query{}, "- - 5 4 3 2 1 0"},
		"a limit":                {Query{Limit: 3}, "- - 5"},
		"since":                  {Query{Since: hour(4)}, "- - 5 4"},
		"until":                  {Query{Until: hour(2)}, "1 0"},
		"a day":                  {Query{Since: hour(2), Until: hour(4)}, "3 2"},
		"a verdict":              {Query{Verdicts: []Verdict{Cleared}}, "4 2 0"},
		"two verdicts":           {Query{Verdicts: []Verdict{Cleared, NotCleared}}, "5 4 3 2 1 0"},
		"no such verdict":        {Query{Verdicts: []Verdict{CouldNotCheck}}, ""},
		"a class":                {Query{Class: "class-3"}, "3"},
		"a class that was asked": {Query{Class: "infusion"}, "5 3 1"},
		"an operator":            {Query{Operator: testOperator}, "4 2 0"},
		"an operator anywhere":   {Query{Operator: Pseudonym{1}}, "- 1"},
		"a rule":                 {Query{Rule: "yara:EICAR_Test"}, "5 4 3 2 1"},
		"half a rule":            {Query{Rule: "yara:EICAR"}, ""},
		"a hash":                 {Query{SHA256: hash(0)}, "5 4 3 2 1 0"},
		"a hash of two":          {Query{SHA256: hash(1400)}, "4 2"},
		"a hash of one":          {Query{SHA256: hash(2800)}, "4"},
		"a hash of none":         {Query{SHA256: hash(2801)}, ""},
		"a hash without an item": {Query{SHA256: new(Digest)}, ""},
		"a pack":                 {Query{Pack: "baseline@3"}, "5 4 3 2 1 0"},
		"another pack":           {Query{Pack: "baseline@4"}, ""},
		"a kind":                 {Query{Kinds: []Kind{KindRefused}}, "-"},
		"kinds":                  {Query{Kinds: []Kind{KindIssued, KindAdministered}}, "- 4 2 0"},
		"much at once":           {Query{Since: hour(1), Until: hour(5), Verdicts: []Verdict{NotCleared}, Class: "infusion", Rule: "yara:EICAR_Test", SHA256: hash(4)}, "3 1"},
		"what does not meet":     {Query{Verdicts: []Verdict{Cleared}, Class: "infusion"}, ""},
	} {
		found, err := l.Search(t.Context(), c.query)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, m := range found {
			if m.Session == (ID{}) {
				got = append(got, "-")
			} else {
				got = append(got, fmt.Sprint(m.Session[15]))
			}
			if (c.query.SHA256 != nil || c.query.Rule != "") != (len(m.Items) > 0) || len(m.Items) > maxMatchItems {
				t.Errorf("%s: %d items", name, len(m.Items))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
	if entries, err := l.Show(t.Context(), sessionID(3)); err != nil || len(entries) != 4 || entries[1].Kind != KindDecided {
		t.Errorf("%+v %v", entries, err)
	}
	for digits, want := range map[string]int{"": 0, "5e": 2, sessionID(3).String(): 1, "5f": 0, "zz": 0, "5e%": 0} {
		if ids, err := l.Sessions(t.Context(), digits); err != nil || len(ids) != want {
			t.Errorf("%q: %v %v", digits, ids, err)
		}
	}
}

func TestASessionWithMoreRulesThanFactsIsStillFound(t *testing.T) {
	l, _ := newLog(t)
	id := sessionID(1)
	l.must(t, id, Attached{Source: Image})
	items := l.NewItems(id, testKey)
	for i := range maxRuleFacts/50 + 2 {
		it := testItem(i)
		it.Outcome, it.Findings = report.Flagged, nil
		for j := range 50 {
			it.Findings = append(it.Findings, report.Finding{Check: report.CheckYARA, Rule: fmt.Sprint("r", i*50+j)})
		}
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
	for rule, want := range map[string]int{"yara:r3": 1, fmt.Sprint("yara:r", maxRuleFacts+60): 1, "yara:other": 0} {
		if found, err := l.Search(t.Context(), Query{Rule: rule}); err != nil || len(found) != want {
			t.Errorf("%s: %d found, %v", rule, len(found), err)
		}
	}
}

var searchItems = flag.Int("search-items", 50_000, "rows of the log that searches are timed in")

// searchGoal is how long a search may take, whatever it is for.
const searchGoal = time.Second

// TestSearchesOfManyItemsAreQuick has a goal at the full count only: a loaded machine says nothing about a small one.
func TestSearchesOfManyItemsAreQuick(t *testing.T) {
	const perSession = 1_000
	l, _ := newLog(t)
	began := time.Now()
	sessions := *searchItems / perSession
	file := func() int64 {
		size := int64(0)
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(filepath.Join(l.dir, FileName+suffix)); err == nil {
				size += info.Size()
			}
		}
		return size
	}
	empty := file()
	for n := range sessions {
		id := sessionID(n)
		l.must(t, id, Attached{Source: USB})
		items := l.NewItems(id, testKey)
		for i := range perSession {
			it := testItem(i)
			it.SHA256 = sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n*perSession+i)))
			if i%100 == 99 {
				it.Outcome, it.Findings = report.Flagged, []report.Finding{{Check: report.CheckYARA, Rule: fmt.Sprint("Rule_", (n+i)%500)}}
			}
			if err := items.Add(t.Context(), it); err != nil {
				t.Fatal(err)
			}
		}
		digest, count, err := items.Close(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := decided(NotCleared, digest, count)
		d.Class = Word(fmt.Sprint("class-", n%5))
		l.must(t, id, d)
		l.must(t, id, Denied{Class: d.Class, Person: Pseudonym{1, byte(n % 40)}, Cause: "class"})
		l.must(t, id, Removed{})
	}
	grew := file() - empty
	t.Logf("%d items of %d sessions written in %.0f s; the file has %d MB, %d bytes for each item, %d KB for a session of %d",
		sessions*perSession, sessions, time.Since(began).Seconds(), file()>>20, grew/int64(max(sessions*perSession, 1)), grew/int64(max(sessions, 1))>>10, perSession)
	hash := Digest(sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(sessions*perSession/3))))
	none := Digest{1}
	for _, c := range []struct {
		name  string
		query Query
		some  bool
	}{
		{"date", Query{Since: began.Add(time.Since(began) / 2)}, true},
		{"verdict", Query{Verdicts: []Verdict{NotCleared}}, true},
		{"verdict that never was", Query{Verdicts: []Verdict{Cleared}}, false},
		{"operator", Query{Operator: Pseudonym{1, 37}}, true},
		{"equipment", Query{Class: "class-3"}, true},
		{"rule", Query{Rule: "yara:Rule_123"}, true},
		{"hash", Query{SHA256: &hash}, true},
		{"hash that never was", Query{SHA256: &none}, false},
		{"operator, equipment, verdict and date", Query{Operator: Pseudonym{1, 37}, Class: "class-2", Verdicts: []Verdict{NotCleared}, Since: began}, true},
	} {
		took := time.Duration(1 << 62)
		for range 3 {
			start := time.Now()
			found, err := l.Search(t.Context(), c.query)
			if err != nil || (len(found) > 0) != c.some {
				t.Fatalf("%s: %d found, %v", c.name, len(found), err)
			}
			took = min(took, time.Since(start))
		}
		t.Logf("search by %s: %.0f ms", c.name, took.Seconds()*1000)
		if took > searchGoal {
			t.Errorf("search by %s takes %v", c.name, took)
		}
	}
}
