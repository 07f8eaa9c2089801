package exception

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/scanner/report"
)

var (
	now  = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	core = audit.Rules{Name: "core", Version: 3, Digest: audit.Digest{9}}
	anna = audit.Pseudonym{1}
	bert = audit.Pseudonym{2}
)

// book is what a log says of exceptions.
type book struct{ audit.Agreements }

func (b *book) enter(t testing.TB, x audit.Exception, at time.Time) {
	t.Helper()
	if err := b.Enter(x, at); err != nil {
		t.Fatal(err)
	}
}

func content(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// wish is one that can be granted; each case spoils one thing in it.
func wish() Wish {
	return Wish{SHA256: content("a vendor's tool"), Findings: []string{"yara/Packed_Program"}, Reason: "vendor-tool", Days: 7}
}

// held is what would be in force if two people agreed on wishes, one after the other.
func held(t testing.TB, in audit.Rules, wishes ...Wish) *audit.Agreements {
	t.Helper()
	var l book
	for i, w := range wishes {
		x, err := Propose(&l.Agreements, w, audit.ID{1, byte(i)}, anna, in, now)
		if err != nil {
			t.Fatal(err)
		}
		l.enter(t, x, now)
		if x, err = Confirm(&l.Agreements, x.ID.String(), bert, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		l.enter(t, x, now.Add(time.Minute))
	}
	return &l.Agreements
}

func TestT19_WhatCannotBeExceptedIsRefusedInWords(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Wish)
		code  string
	}{
		"nothing":                      {func(w *Wish) { *w = Wish{} }, "hash"},
		"a path":                       {func(w *Wish) { w.SHA256 = "/media/stick/SETUP.EXE" }, "hash"},
		"a pattern":                    {func(w *Wish) { w.SHA256 = "*" }, "hash"},
		"an MD5":                       {func(w *Wish) { w.SHA256 = "d41d8cd98f00b204e9800998ecf8427e" }, "hash"},
		"a part of a hash":             {func(w *Wish) { w.SHA256 = w.SHA256[:63] }, "hash"},
		"two hashes":                   {func(w *Wish) { w.SHA256 += w.SHA256 }, "hash"},
		"the empty file":               {func(w *Wish) { w.SHA256 = content("") }, "hash"},
		"the empty file, in capitals":  {func(w *Wish) { w.SHA256 = strings.ToUpper(content("")) }, "hash"},
		"a tiny file":                  {func(w *Wish) { w.SHA256 = content("ok") }, "hash"},
		"a file of zeros":              {func(w *Wish) { w.SHA256 = content(string(make([]byte, 4096))) }, "hash"},
		"no finding":                   {func(w *Wish) { w.Findings = nil }, "finding"},
		"nine findings":                {func(w *Wish) { w.Findings = strings.Fields(strings.Repeat("yara/x ", 9)) }, "finding"},
		"all of YARA":                  {func(w *Wish) { w.Findings = []string{"yara/*"} }, "finding"},
		"everything":                   {func(w *Wish) { w.Findings = []string{"*"} }, "finding"},
		"a disguise":                   {func(w *Wish) { w.Findings = []string{"structure/disguised-program"} }, "finding"},
		"what a policy refuses":        {func(w *Wish) { w.Findings = []string{"structure/executable"} }, "finding"},
		"encrypted content":            {func(w *Wish) { w.Findings = []string{"structure/encrypted-content"} }, "finding"},
		"a medium that lies":           {func(w *Wish) { w.Findings = []string{"medium/medium-changes"} }, "finding"},
		"an outcome":                   {func(w *Wish) { w.Findings = []string{"unscanned"} }, "finding"},
		"one good and one bad":         {func(w *Wish) { w.Findings = append(w.Findings, "structure/check-failed") }, "finding"},
		"no reason":                    {func(w *Wish) { w.Reason = "" }, "reason"},
		"a sentence":                   {func(w *Wish) { w.Reason = "we know it" }, "reason"},
		"a file's name":                {func(w *Wish) { w.Reason = "Doe-John.dcm" }, "reason"},
		"a name in another script":     {func(w *Wish) { w.Reason = "Мюллер" }, "reason"},
		"a reason that runs backwards": {func(w *Wish) { w.Reason = "\u202evendor" }, "reason"},
		"a novel":                      {func(w *Wish) { w.Reason = strings.Repeat("x", 41) }, "reason"},
		"a line end":                   {func(w *Wish) { w.Reason = "a\nb" }, "reason"},
		"for ever":                     {func(w *Wish) { w.Days = 31 }, "life"},
		"for a million years":          {func(w *Wish) { w.Days = 1 << 40 }, "life"},
		"until yesterday":              {func(w *Wish) { w.Days = -1 }, "life"},
	} {
		w := wish()
		c.spoil(&w)
		_, err := Propose(&audit.Agreements{}, w, audit.ID{1}, anna, core, now)
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Code != c.code || refused.Text == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := wish()
	w.Days, w.Findings = 0, []string{"yara/B", "blocklist/blocklist", "yara/B", "yara/A"}
	x, err := Propose(&audit.Agreements{}, w, audit.ID{1}, anna, core, now)
	if err != nil || len(x.Findings) != 3 || x.Findings[0] != "blocklist/blocklist" || x.Until != now.Add(DefaultDays*24*time.Hour).Unix() {
		t.Errorf("%+v %v", x, err)
	}
}

func TestT19_ItTakesTwoPeople(t *testing.T) {
	var l book
	x, err := Propose(&l.Agreements, wish(), audit.ID{1, 2, 3, 4}, anna, core, now)
	if err != nil {
		t.Fatal(err)
	}
	l.enter(t, x, now)
	set := func(at time.Time) bool {
		return InForce(&l.Agreements, core.Digest, at).Covers(item("a vendor's tool", "yara/Packed_Program")) != nil
	}
	if set(now) {
		t.Fatal("one person's proposal is in force")
	}
	code := func(err error) string {
		var r *Refusal
		errors.As(err, &r)
		if r == nil {
			return ""
		}
		return r.Code
	}
	name := x.ID.String()
	for what, got := range map[string]string{
		"by the same person":    code(second(Confirm(&l.Agreements, name, anna, now))),
		"of another name":       code(second(Confirm(&l.Agreements, strings.Repeat("0", 32), bert, now))),
		"of no name":            code(second(Confirm(&l.Agreements, "", bert, now))),
		"by too short a name":   code(second(Confirm(&l.Agreements, name[:7], bert, now))),
		"after a day":           code(second(Confirm(&l.Agreements, name, bert, now.Add(25*time.Hour)))),
		"by a clock far behind": code(second(Confirm(&l.Agreements, name, bert, now.Add(-25*time.Hour)))),
	} {
		if got == "" {
			t.Errorf("confirmed %s", what)
		}
	}
	if x, err = Confirm(&l.Agreements, strings.ToUpper(name[:8]), bert, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	l.enter(t, x, now.Add(time.Hour))
	if !set(now.Add(time.Hour)) || set(now.Add(8*24*time.Hour)) {
		t.Fatal("what two people agreed on is not in force, or for ever")
	}
	if code(second(Confirm(&l.Agreements, name, bert, now.Add(2*time.Hour)))) != "done" {
		t.Error("confirmed once more")
	}
	if x, err = Remove(&l.Agreements, name, anna); err != nil {
		t.Fatal(err)
	}
	l.enter(t, x, now.Add(3*time.Hour))
	if set(now.Add(3 * time.Hour)) {
		t.Error("a removed exception is in force")
	}
	if code(second(Confirm(&l.Agreements, name, bert, now.Add(4*time.Hour)))) == "" || code(second(Remove(&l.Agreements, name, bert))) != "done" {
		t.Error("a removed exception comes back")
	}
}

func TestT19_ExceptionsAreFew(t *testing.T) {
	var l book
	propose := func(n int, at time.Time) error {
		w := wish()
		w.SHA256 = content(fmt.Sprint("tool ", n))
		x, err := Propose(&l.Agreements, w, audit.ID{1, byte(n >> 8), byte(n)}, anna, core, at)
		if err == nil {
			l.enter(t, x, at)
		}
		return err
	}
	n := 0
	for ; n < 1000; n++ {
		if propose(n, now) != nil {
			break
		}
	}
	if n != maxOpen {
		t.Fatalf("%d wait at once", n)
	}
	// Those that were removed or have waited too long make room, but not for more than so many in a day.
	for _, a := range l.All() {
		x, err := Remove(&l.Agreements, a.ID.String(), bert)
		if err != nil {
			t.Fatal(err)
		}
		l.enter(t, x, now)
	}
	for ; n < 1000; n++ {
		if propose(n, now.Add(time.Hour)) != nil {
			break
		}
	}
	if n != maxDay {
		t.Fatalf("%d in a day", n)
	}
	if err := propose(n, now.Add(26*time.Hour)); err != nil {
		t.Fatal(err)
	}
	// The same again is one too many.
	if err := propose(n, now.Add(26*time.Hour)); err == nil {
		t.Error("proposed twice")
	}
}

func TestT19_AnExceptionCoversItsFindingsOnItsContentAndNothingElse(t *testing.T) {
	w := wish()
	w.Findings = []string{"yara/Packed_Program", "blocklist/blocklist"}
	all := held(t, core, w)
	at := now.Add(time.Hour)
	set := InForce(all, core.Digest, at)
	for name, c := range map[string]struct {
		change func(*report.Item, *report.Finding)
		want   bool
	}{
		"as agreed":               {func(*report.Item, *report.Finding) {}, true},
		"under another name":      {func(it *report.Item, _ *report.Finding) { it.Path = "elsewhere" }, true},
		"in an archive":           {func(it *report.Item, _ *report.Finding) { it.Kind, it.Member = report.Member, "a/b" }, true},
		"in a stream":             {func(it *report.Item, _ *report.Finding) { it.Kind = report.Stream }, true},
		"by a list":               {func(_ *report.Item, f *report.Finding) { f.Check, f.Rule = report.CheckBlocklist, "blocklist" }, true},
		"other content":           {func(it *report.Item, _ *report.Finding) { it.SHA256[31]++ }, false},
		"another rule":            {func(_ *report.Item, f *report.Finding) { f.Rule = "Ransom_Note" }, false},
		"a rule of another check": {func(_ *report.Item, f *report.Finding) { f.Check = report.CheckStructure }, false},
		"a check of no kind":      {func(_ *report.Item, f *report.Finding) { f.Check = report.NoCheck }, false},
		"a disguise":              {func(_ *report.Item, f *report.Finding) { f.Check, f.Rule = report.CheckStructure, "disguised-program" }, false},
		"a region":                {func(it *report.Item, _ *report.Finding) { it.Kind = report.Area }, false},
		"a folder":                {func(it *report.Item, _ *report.Finding) { it.Kind = report.Directory }, false},
		"of no kind":              {func(it *report.Item, _ *report.Finding) { it.Kind = report.NoKind }, false},
		"unscanned":               {func(it *report.Item, _ *report.Finding) { it.Outcome = report.Unscanned }, false},
		"encrypted":               {func(it *report.Item, _ *report.Finding) { it.Outcome = report.Encrypted }, false},
		"unreadable":              {func(it *report.Item, _ *report.Finding) { it.Outcome = report.Unreadable }, false},
		"with findings unseen":    {func(it *report.Item, _ *report.Finding) { it.Findings = make([]report.Finding, report.MaxPerItem) }, false},
	} {
		it, f := item("a vendor's tool", "yara/Packed_Program")
		c.change(it, &f)
		if got := set.Covers(it, f) != nil; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// A later pack's lists know better; its rules go by their names.
	later := InForce(all, audit.Digest{10}, at)
	it, f := item("a vendor's tool", "yara/Packed_Program")
	if later.Covers(it, f) == nil {
		t.Error("the rule's finding is not excepted under a new pack")
	}
	f.Check, f.Rule = report.CheckBlocklist, "blocklist"
	if later.Covers(it, f) != nil || later.Listed(it.SHA256[:]) || !set.Listed(it.SHA256[:]) || set.Listed(nil) {
		t.Error("an exception covers a later hash list")
	}
	// One that was made under a tightened pack is for that pack.
	tight := core
	tight.Added = audit.Digest{11}
	if all := held(t, tight, w); InForce(all, core.Digest, at).Listed(it.SHA256[:]) || !InForce(all, tight.Added, at).Listed(it.SHA256[:]) {
		t.Error("an exception for a list is not for its pack")
	}
	if (Set{}).Covers(it, f) != nil || !(Set{}).Holds(nil) || (Set{}).Holds([]audit.Excepted{{Exception: audit.ID{1}, Findings: 1}}) {
		t.Error("no exceptions cover something")
	}
	if !set.Holds([]audit.Excepted{{Exception: audit.ID{1, 0}, Findings: 1}}) {
		t.Error("what is in force does not hold")
	}
	// What is agreed on later does not change a set that was taken before.
	all.Get(audit.ID{1, 0}).RemovedAt = at
	if it, f := item("a vendor's tool", "yara/Packed_Program"); set.Covers(it, f) == nil || InForce(all, core.Digest, at).Covers(it, f) != nil {
		t.Error("a set changes after it was taken, or keeps what was removed")
	}
}

// item is a file with a finding.
func item(text, finding string) (*report.Item, report.Finding) {
	_, rule, _ := strings.Cut(finding, "/")
	f := report.Finding{Check: report.CheckYARA, Rule: rule, Severity: report.Block, Offset: -1}
	return &report.Item{Path: "SETUP.EXE", Kind: report.File, SHA256: sha256.Sum256([]byte(text)), Outcome: report.Flagged, Findings: []report.Finding{f}}, f
}

func second(_ audit.Exception, err error) error { return err }

func TestHashesAreTakenInEitherCase(t *testing.T) {
	w := wish()
	w.SHA256 = strings.ToUpper(w.SHA256)
	x, err := Propose(&audit.Agreements{}, w, audit.ID{1}, anna, core, now)
	if want, _ := hex.DecodeString(wish().SHA256); err != nil || x.SHA256 != audit.Digest(want) {
		t.Fatalf("%v %v", x.SHA256, err)
	}
}
