package kiosk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/exception"
	"pratique/kiosk/localapi"
	"pratique/rules"
	"pratique/scanner/report"
	"pratique/testdata/stick"
)

// wrong is the baseline with a rule and a hash that are wrong about files of the stick "infected".
func wrong(t testing.TB) rules.Pack {
	t.Helper()
	p, err := pack(t).With(fstest.MapFS{"wrong.yar": {Data: []byte("rule Wrong_Rule { strings: $a = \"" + stick.RuleMarker + "\" condition: $a }\n")}},
		strings.NewReader(fmt.Sprintf("%x\n", sha256.Sum256(stick.BlockedSample()))))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// screenedAs screens a stick, which must not fail.
func screenedAs(t testing.TB, s *State, p rules.Pack, name string) Result {
	t.Helper()
	res, err := s.Screen(t.Context(), Screening{Target: filepath.Join(built.sticks, name+".img"), Class: "general", Pack: p, Workers: built.bin})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// wishes are for everything that blocks a medium.
func wishes(res *Result) (out []exception.Wish) {
	for i := range res.Report.NotClean {
		it := &res.Report.NotClean[i]
		w := exception.Wish{SHA256: audit.Digest(it.SHA256).String(), Reason: "drill"}
		for _, f := range it.Findings {
			if s, _ := res.Severity(it, f); s == report.Block {
				w.Findings = append(w.Findings, string(audit.NameOf(f)))
			}
		}
		if len(w.Findings) > 0 {
			out = append(out, w)
		}
	}
	return out
}

// agree has two people agree on wishes.
func agree(t testing.TB, s *State, p rules.Pack, all []exception.Wish) (names []string) {
	t.Helper()
	for _, w := range all {
		x, err := s.ProposeException(t.Context(), w, p, "uid:1")
		if err == nil {
			x, err = s.ConfirmException(t.Context(), x.ID, "uid:2")
		}
		if err != nil || x.State != "in force" {
			t.Fatalf("%+v: %+v %v", w, x, err)
		}
		names = append(names, x.ID)
	}
	return names
}

func TestT19_WhatTwoPeopleExceptedIsClearedAndSaid(t *testing.T) {
	dir := t.TempDir()
	s, p := openState(t, dir), wrong(t)
	before := screenedAs(t, s, p, "infected")
	all := wishes(&before)
	if before.Verdict != NotCleared || len(all) != 3 {
		t.Fatalf("%v %+v", before.Verdict, all)
	}
	// One person alone changes nothing, however often.
	var names []string
	for _, w := range all {
		x, err := s.ProposeException(t.Context(), w, p, "uid:1")
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, x.ID)
		var refused *exception.Refusal
		for range 2 {
			if _, err := s.ConfirmException(t.Context(), x.ID, "uid:1"); !errors.As(err, &refused) || refused.Code != "alone" {
				t.Fatalf("one person confirmed it: %v", err)
			}
		}
		if _, err := s.ConfirmException(t.Context(), x.ID, ""); !errors.As(err, &refused) {
			t.Fatalf("nobody confirmed it: %v", err)
		}
	}
	if res := screenedAs(t, s, p, "infected"); res.Verdict != NotCleared || !slices.Equal(res.Reasons, before.Reasons) {
		t.Fatalf("with proposals: %+v", res.Decision)
	}
	for i, name := range names {
		if _, err := s.ConfirmException(t.Context(), name, "uid:2"); err != nil {
			t.Fatal(err)
		}
		if res := screenedAs(t, s, p, "infected"); (res.Verdict == Cleared) != (i == len(names)-1) {
			t.Fatalf("with %d of %d exceptions: %+v", i+1, len(names), res.Decision)
		}
	}
	res := screenedAs(t, s, p, "infected")
	if res.Clearance == nil || len(res.Reasons) != 1 || res.Reasons[0].Code != FindingsExcepted || len(res.Excepted) != 3 || len(wishes(&res)) != 0 {
		t.Fatalf("%+v", res.Decision)
	}
	if n := res.Clearance.Claims.Excepted; n < 3 {
		t.Errorf("the token says of %d findings", n)
	}
	if n := countFindings(&res.Report, res.Policy, res.Except); n.Excepted < 3 || n.Block != 0 || n.Inform < 3 {
		t.Errorf("%+v", n)
	}
	// Its verdict says so in the log, which holds it against what was agreed on.
	var logged []audit.Excepted
	err := s.Log(t.Context(), func(e audit.Entry) error {
		if d, ok := e.Data.(audit.Decided); ok {
			logged = d.Excepted
			if d.Verdict == audit.Cleared && (len(d.Reasons) != 0 || len(d.Excepted) != 3) {
				t.Errorf("%+v", d)
			}
		}
		return nil
	})
	if err != nil || !slices.Equal(logged, res.Excepted) {
		t.Fatalf("the log has %+v, %v", logged, err)
	}
	// Each ends by itself, and when one person wants it to.
	real := s.now
	s.now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	if res := screenedAs(t, s, p, "infected"); res.Verdict != NotCleared || len(res.Excepted) != 0 {
		t.Errorf("after a week: %+v", res.Decision)
	}
	s.now = func() time.Time { return time.Now().Add(-24 * time.Hour) }
	if res := screenedAs(t, s, p, "infected"); res.Verdict != NotCleared {
		t.Errorf("by a clock that was set back before it was agreed on: %+v", res.Decision)
	}
	s.now = real
	if _, err := s.RemoveException(t.Context(), names[0][:8], "uid:3"); err != nil {
		t.Fatal(err)
	}
	if res := screenedAs(t, s, p, "infected"); res.Verdict != NotCleared || len(res.Excepted) != 2 {
		t.Errorf("after a removal: %+v", res.Decision)
	}
	if _, err := s.ConfirmException(t.Context(), names[0], "uid:2"); err == nil {
		t.Error("a removed exception comes back")
	}
	list, err := s.Exceptions(t.Context(), localapi.MaxExceptions)
	if err != nil || len(list) != 3 || list[2].State != "removed" || list[0].State != "in force" || list[0].Proposer == list[0].Confirmer {
		t.Errorf("%+v %v", list, err)
	}
	// Another process, or the next start, goes by the same.
	s.Close()
	again := openState(t, dir)
	if res := screenedAs(t, again, p, "infected"); res.Verdict != NotCleared || len(res.Excepted) != 2 {
		t.Errorf("after a restart: %+v", res.Decision)
	}
	again.Close()
	kinds(t, dir) // the log is sound
}

func TestT19_LaterListsKnowBetterThanAnException(t *testing.T) {
	s, p := openState(t, t.TempDir()), wrong(t)
	before := screenedAs(t, s, p, "infected")
	agree(t, s, p, wishes(&before))
	res := screenedAs(t, s, p, "infected")
	if res.Clearance == nil {
		t.Fatalf("%+v", res.Decision)
	}
	// The pack that the exception was made for does not recall what it let through.
	if found, err := s.recall(t.Context(), p, p); err != nil || len(found) != 0 {
		t.Fatalf("%+v %v", found, err)
	}
	later := p
	later.Version, later.Added = p.Version+1, [32]byte{1}
	if res := screenedAs(t, s, later, "infected"); res.Verdict != NotCleared || res.Reasons[0].Code != BlocklistHit || len(res.Excepted) != 2 {
		t.Errorf("under a later pack: %+v", res.Decision)
	}
	if found, err := s.recall(t.Context(), later, p); err != nil || len(found) != 1 || found[0].ID != res.ID || found[0].Items != 1 {
		t.Errorf("%+v %v", found, err)
	}
}

func TestT19_AnExceptionThatEndsBeforeTheClearanceEndsIt(t *testing.T) {
	p := wrong(t)
	d := newDesk(t, func(cfg *StationConfig) { cfg.Want.Pack = p })
	s := d.cfg.State
	before := screenedAs(t, s, p, "infected")
	names := agree(t, s, p, wishes(&before))
	d.plug("left", image("infected"))
	port := d.untilState("left", localapi.Waiting)
	if port.Verdict != "cleared" || port.Findings.Excepted < 3 || port.Reasons[0].Code != string(FindingsExcepted) {
		t.Fatalf("%+v", port)
	}
	if _, err := s.RemoveException(t.Context(), names[1], "uid:2"); err != nil {
		t.Fatal(err)
	}
	a, err := d.Issue(t.Context(), "left", "general", anybody)
	if code(err) != localapi.CodeRemoved || a.Clearance != nil || !strings.Contains(err.Error(), "exception") {
		t.Fatalf("%+v %v", a, err)
	}
	// Another class is decided by what is in force now.
	if a, err = d.Issue(t.Context(), "left", "laboratory", anybody); err != nil || a.Clearance != nil || a.Verdict != "not cleared" {
		t.Errorf("for another class: %+v %v", a, err)
	}
	if d.unplug("left"); d.untilState("left", localapi.Idle).Verdict != "" {
		t.Error("the port still shows a verdict")
	}
	// What nothing was taken away from is issued.
	again := wishes(&before)
	x, err := s.ProposeException(t.Context(), again[1], p, "uid:2")
	if err == nil {
		_, err = s.ConfirmException(t.Context(), x.ID, "uid:1")
	}
	if err != nil {
		t.Fatal(err)
	}
	d.plug("left", image("infected"))
	d.untilState("left", localapi.Waiting)
	if a, err := d.Issue(t.Context(), "left", "general", anybody); err != nil || a.Clearance == nil || a.Findings.Excepted < 3 {
		t.Fatalf("%+v %v", a, err)
	}
	d.Stop()
	kinds(t, d.dir)
}

// An exception never makes up for what was not seen, for what the class does not take, or for the medium itself.
func TestT19_AnExceptionMovesNothingButItsFindings(t *testing.T) {
	sum := sha256.Sum256([]byte("a vendor's tool"))
	var all audit.Agreements
	for i, step := range []audit.Word{audit.Proposed, audit.Confirmed} {
		err := all.Enter(audit.Exception{What: step, ID: audit.ID{1}, Person: audit.Pseudonym{byte(i + 1)}, SHA256: sum, Reason: "drill",
			Findings: []audit.FindingName{"structure/executable", "structure/polyglot", "volume/name-twice", "yara/r"}, Until: time.Now().Add(time.Hour).Unix()}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
	set := exception.InForce(&all, [32]byte{}, time.Now())
	found := func(check report.Check, rule string) report.Finding {
		return report.Finding{Check: check, Rule: rule, Severity: report.Block}
	}
	yara, polyglot, program := found(report.CheckYARA, "r"), found(report.CheckStructure, "polyglot"), found(report.CheckStructure, "executable")
	for name, c := range map[string]struct {
		class    string
		outcome  report.Outcome
		findings []report.Finding
		more     func(*report.Report)
		want     Verdict
		excepted uint64
	}{
		"both findings":          {"general", report.Flagged, []report.Finding{yara, polyglot}, nil, Cleared, 2},
		"another rule beside":    {"general", report.Flagged, []report.Finding{yara, found(report.CheckYARA, "s")}, nil, NotCleared, 1},
		"a program, for imaging": {"imaging", report.Flagged, []report.Finding{yara, program}, nil, NotCleared, 1},
		"a type, for imaging":    {"imaging", report.Flagged, []report.Finding{yara}, func(r *report.Report) { r.Types["application/x-elf"] = 1 }, NotCleared, 1},
		"encrypted":              {"general", report.Encrypted, []report.Finding{yara}, nil, NotCleared, 0},
		"unscanned":              {"general", report.Unscanned, []report.Finding{yara}, nil, NotCleared, 0},
		"unreadable":             {"general", report.Unreadable, nil, nil, CouldNotCheck, 0},
		"the scan incomplete":    {"general", report.Flagged, []report.Finding{yara}, func(r *report.Report) { r.Complete = false }, CouldNotCheck, 1},
		"too many findings":      {"general", report.Flagged, []report.Finding{yara}, func(r *report.Report) { r.TooMany = true }, NotCleared, 1},
		"the medium lies": {"general", report.Flagged, []report.Finding{yara}, func(r *report.Report) {
			r.Found = append(r.Found, report.VolumeFinding{Volume: -1, Finding: found(report.CheckMedium, "medium-changes")})
		}, NotCleared, 1},
		"a volume's own":           {"general", report.Flagged, []report.Finding{yara, found(report.CheckVolume, "name-twice")}, nil, NotCleared, 1},
		"a finding of no severity": {"general", report.Flagged, []report.Finding{{Check: report.CheckYARA, Rule: "r", Severity: 99}}, nil, Cleared, 1},
		"warnings stay":            {"general", report.Flagged, []report.Finding{{Check: report.CheckYARA, Rule: "r", Severity: report.Warn}}, nil, Cleared, 0},
	} {
		rep := clean()
		it := report.Item{Kind: report.File, Path: "x", SHA256: sum, Outcome: c.outcome, Findings: c.findings}
		rep.Tally.Count(&it)
		rep.NotClean = append(rep.NotClean, it)
		if c.more != nil {
			c.more(&rep)
		}
		p := policy(t, c.class)
		if c.class == "imaging" {
			rep.Types = map[string]uint64{"application/dicom": 1}
			if c.more != nil {
				c.more(&rep)
			}
		}
		d := Decide(&rep, p, set)
		var n uint64
		for _, x := range d.Excepted {
			n += x.Findings
		}
		said := slices.ContainsFunc(d.Reasons, func(r Reason) bool { return r.Code == FindingsExcepted })
		if d.Verdict != c.want || n != c.excepted || said != (n > 0) {
			t.Errorf("%s: %+v", name, d)
		}
		if bare := Decide(&rep, p, exception.Set{}); bare.Verdict == Cleared && n > 0 {
			t.Errorf("%s: cleared without an exception", name)
		}
	}
}
