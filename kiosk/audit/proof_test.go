package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// exported is an export of [from, to) with all items, as lines.
func exported(t testing.TB, r *Reader, from, to int64) []string {
	t.Helper()
	span, err := r.Span(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	line := func(v any) error {
		data, err := json.Marshal(v)
		lines = append(lines, string(data))
		return err
	}
	if err := line(span); err != nil {
		t.Fatal(err)
	}
	bound := map[ID]bool{}
	err = r.ListSigned(t.Context(), span.From, span.To, func(s Signed) error {
		if err := line(s); err != nil {
			return err
		}
		if s.Kind != KindDecided || bound[s.Session] {
			return nil
		}
		bound[s.Session] = true
		row := uint64(0)
		return r.ListItems(t.Context(), s.Session, func(it Item) error {
			row++
			return line(ItemLine{s.Session, row - 1, it})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func (k key) check(t testing.TB, lines []string, accepted ...string) ExportResult {
	t.Helper()
	res, err := VerifyExport(strings.NewReader(strings.Join(lines, "\n")+"\n"), testOrigin, k.options().Verifiers, accepted...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestT16_ExportsProveThemselvesAndContinueEachOther(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	for n := range 5 {
		runSession(t, l, sessionID(n), 3)
	}
	first, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole := exported(t, l.Reader, 0, 0)
	if res := k.check(t, whole); !res.Sound || res.Entries != 25 || res.Items != 15 || res.Head.Size != 25 {
		t.Errorf("%+v", res)
	}
	for n := range 3 {
		runSession(t, l, sessionID(10+n), 3)
	}
	for from := int64(0); from <= 40; from++ {
		for _, to := range []int64{from, min(from+7, 40), 40} {
			lines := exported(t, l.Reader, from, max(to, 1))
			if res := k.check(t, lines); !res.Sound || res.From != from {
				t.Fatalf("[%d, %d): %+v %v", from, to, res, res.Bad)
			}
		}
	}
	next := exported(t, l.Reader, 25, 0)
	if res := k.check(t, next, first); !res.Sound || res.Entries != 15 || res.Witnesses != 1 {
		t.Errorf("the next export: %+v %v", res, res.Bad)
	}
	if _, err := VerifyExport(strings.NewReader(strings.Join(exported(t, l.Reader, 30, 0), "\n")), testOrigin, k.options().Verifiers, first); err == nil ||
		!strings.Contains(err.Error(), "entries 25 to 29 are missing") {
		t.Errorf("a gap between exports: %v", err)
	}
	if _, err := l.Span(t.Context(), 5, 41); err == nil {
		t.Error("a proof of what is not there")
	}

	// The key's holder goes another way after the first three sessions: two auditors who compare see it.
	fork := open(t, t.TempDir(), k)
	for n := range 3 {
		runSession(t, fork, sessionID(n), 3)
	}
	for n := range 5 {
		runSession(t, fork, sessionID(20+n), 3)
	}
	if res := k.check(t, exported(t, fork.Reader, 0, 0), first); res.Sound || !strings.Contains(res.Bad.Error(), "history was rewritten") {
		t.Errorf("a fork: %+v", res.Bad)
	}
	if res := k.check(t, exported(t, fork.Reader, 25, 0), first); res.Sound {
		t.Error("a fork that begins where the first export ended is not seen")
	}
	if res := k.check(t, exported(t, fork.Reader, 0, 20), first); res.Sound || res.Bad.Error() != "entry 20: it is missing: a checkpoint from elsewhere has 25 entries" {
		t.Errorf("a log that was put back: %+v", res.Bad)
	}
}

func TestT16_ChangedExportsAreRefusedAndTheFirstBadRecordNamed(t *testing.T) {
	l, k := newLog(t)
	for n := range 4 {
		runSession(t, l, sessionID(n), 3)
	}
	honest := exported(t, l.Reader, 5, 0) // line 0 is the span, 1 entry 5, 2 entry 6 with rows 3 to 5, 6 entry 7, ...
	other := exported(t, l.Reader, 6, 0)
	edit := func(n int, old, new string) func([]string) []string {
		return func(lines []string) []string {
			if !strings.Contains(lines[n], old) {
				t.Fatalf("line %d has no %q: %s", n, old, lines[n])
			}
			lines[n] = strings.Replace(lines[n], old, new, 1)
			return lines
		}
	}
	for name, c := range map[string]struct {
		do   func([]string) []string
		want string
	}{
		"a word":                  {edit(2, `"cleared"`, `"not cleared"`), "entry 6: its line says something else than its leaf"},
		"a time":                  {edit(1, `"time":"2`, `"time":"3`), "entry 5: its line says something else than its leaf"},
		"a leaf":                  {edit(6, `"leaf":"c`, `"leaf":"d`), "entry 7: it is not what its checkpoint signs"},
		"an index":                {edit(6, `"index":7`, `"index":8`), "entry 7: it is missing"},
		"a checkpoint":            {edit(6, `\n8\n`, `\n9\n`), "entry 7: its checkpoint: its signature does not hold"},
		"a space":                 {edit(6, `"index":7`, `"index": 7`), "entry 7: its line says something else than its leaf"},
		"a deleted entry":         {func(l []string) []string { return append(l[:6], l[7:]...) }, "entry 7: it is missing"},
		"a deleted tail":          {func(l []string) []string { return l[:len(l)-1] }, "entry 19: it is missing: the export was cut, its checkpoint has 20 entries"},
		"a doubled entry":         {func(l []string) []string { return append(l[:7], append([]string{l[6]}, l[7:]...)...) }, "entry 7: it is there twice, or out of order"},
		"two entries that swap":   {func(l []string) []string { l[6], l[7] = l[7], l[6]; return l }, "entry 7: it is missing"},
		"an entry too many":       {func(l []string) []string { return append(l, strings.Replace(l[6], `"index":7`, `"index":20`, 1)) }, "entry 20: the export says that it ends with entry 19"},
		"a row":                   {edit(4, `"size":1001`, `"size":1002`), "entry 6: its items do not match their digest: a row was changed"},
		"a deleted row":           {func(l []string) []string { return append(l[:5], l[6:]...) }, "entry 6: row 2 of its items is missing"},
		"rows that swap":          {func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }, "entry 6: row 0 of its items is not the one that belongs there"},
		"a row elsewhere":         {func(l []string) []string { return append(l, l[3]) }, "entry 19: rows of items follow an entry that binds none"},
		"what was before":         {edit(0, `"left":["`, `"left":["A`), "its first line does not say what it is"},
		"another beginning":       {func(l []string) []string { l[0] = other[0]; return l }, "entry 5: it is there twice, or out of order"},
		"no entries before":       {edit(0, `"from":5`, `"from":0`), "what it says of its entries contradicts itself"},
		"a hash before":           {func(l []string) []string { return swapLeft(t, l) }, "entry 4: what it says of the entries before it is not what their checkpoint signs"},
		"words in front":          {edit(0, `{`, `{"note":"approved",`), "its first line says more than what it is"},
		"another log":             {edit(0, testOrigin, "kiosk-4"), "it is of another log"},
		"nothing":                 {func([]string) []string { return nil }, "its first line does not say what it is"},
		"a line that is none":     {func(l []string) []string { l[6] = "{"; return l }, "entry 7: its line cannot be read"},
		"a line without an end":   {func(l []string) []string { l[6] = strings.Repeat("x", maxLine+1); return l }, "entry 7: its line is longer than any entry's"},
		"a checkpoint left out":   {edit(6, `"checkpoint":"`, `"checkpoint":"","x":"`), "entry 7: its line says something else than its leaf"},
		"a leaf, and no evidence": {func(l []string) []string { return forgeLeaf(t, l) }, "its entries are not those of its checkpoint"},
	} {
		res := k.check(t, c.do(strings.Split(strings.Join(honest, "\n"), "\n")))
		if res.Sound || res.Bad.Error() != c.want {
			t.Errorf("%s: %v, want %q", name, res.Bad, c.want)
		}
	}
	if res, err := VerifyExport(strings.NewReader(""), testOrigin, k.options().Verifiers); err != nil || res.Sound {
		t.Errorf("an empty file: %+v %v", res, err)
	}
	if res := newKey(t).check(t, honest); res.Sound {
		t.Error("an export that another key signed is taken")
	}
}

// swapLeft changes a hash of the subtrees before.
func swapLeft(t *testing.T, lines []string) []string {
	var s Span
	if err := json.Unmarshal([]byte(lines[0]), &s); err != nil {
		t.Fatal(err)
	}
	s.Left[0][3] ^= 1
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	lines[0] = string(data)
	return lines
}

// forgeLeaf puts a whole other entry in place of one, without checkpoints on the way.
func forgeLeaf(t *testing.T, lines []string) []string {
	for i, line := range lines[1:] {
		var s Signed
		var raw struct {
			Index int64  `json:"index"`
			Leaf  []byte `json:"leaf"`
		}
		if strings.HasPrefix(line, `{"session":`) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &raw); err != nil {
			t.Fatal(err)
		}
		leaf := raw.Leaf
		if raw.Index == 9 {
			var err error
			if leaf, err = encodeLeaf(Event{sessionID(1), Failed{"x"}}, time.Now(), 0); err != nil {
				t.Fatal(err)
			}
		}
		e, err := decodeLeaf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		e.Index = raw.Index
		s = Signed{e, leaf, ""}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		lines[i+1] = string(data)
	}
	return lines
}

func TestPeriodFindsTheEntriesOfATime(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	opts := k.options()
	opts.Now = func() time.Time { return at }
	l, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := at
	for range 10 {
		l.must(t, ID{}, Read{0, 1})
		at = at.Add(time.Hour)
	}
	for _, c := range []struct{ since, until, from, to int64 }{{-1, -1, 0, 10}, {0, 10, 0, 10}, {3, -1, 3, 10}, {-1, 3, 0, 3}, {3, 7, 3, 7}, {20, 30, 10, 10}} {
		var since, until time.Time
		if c.since >= 0 {
			since = start.Add(time.Duration(c.since) * time.Hour)
		}
		if c.until >= 0 {
			until = start.Add(time.Duration(c.until) * time.Hour)
		}
		from, to, err := l.Period(t.Context(), since, until)
		if err != nil || from != c.from || to != c.to {
			t.Errorf("%+v: %d %d %v", c, from, to, err)
		}
	}
}

// FuzzVerifyExport looks for an export that breaks the reader, or one that is sound with other entries.
func FuzzVerifyExport(f *testing.F) {
	k := newKey(f)
	l := open(f, f.TempDir(), k)
	runSession(f, l, sessionID(1), 2)
	honest := []byte(strings.Join(exported(f, l.Reader, 0, 0), "\n") + "\n")
	f.Add(honest)
	f.Add([]byte(strings.Join(exported(f, l.Reader, 3, 0), "\n")))
	f.Add([]byte(`{"pratique_log":1,"from":-1,"to":9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := VerifyExport(bytes.NewReader(data), testOrigin, k.options().Verifiers)
		switch {
		case err != nil && errors.Is(err, ErrBroken):
			t.Errorf("what is wrong with an export is no error: %v", err)
		case err == nil && res.Sound && res.From == 0 && res.Entries == 5 && !bytes.Equal(bytes.TrimRight(data, "\r\n"), bytes.TrimRight(honest, "\n")):
			if res.Items == 2 {
				t.Errorf("sound, and other bytes:\n%s", data)
			}
		}
	})
}

// Every changed byte of an export is found.
func TestT16_EveryChangedByteOfAnExportIsFound(t *testing.T) {
	l, k := newLog(t)
	runSession(t, l, sessionID(1), 2)
	honest := []byte(strings.Join(exported(t, l.Reader, 2, 0), "\n"))
	verifiers := k.options().Verifiers
	for at := range honest {
		changed := bytes.Clone(honest)
		changed[at] ^= byte(1 + at%127)
		res, err := VerifyExport(bytes.NewReader(changed), testOrigin, verifiers)
		if err == nil && res.Sound && at > bytes.IndexByte(honest, '\n') {
			t.Errorf("byte %d (%q to %q): sound", at, honest[at], changed[at])
		}
		if err == nil && res.Sound && fmt.Sprint(res.Entries, res.Head.Size) != "3 5" {
			t.Errorf("byte %d: another export is sound", at)
		}
	}
}
