package kiosk

import (
	"slices"
	"testing"

	"pratique/kiosk/exception"
	"pratique/rules"
	"pratique/rules/baseline"
	"pratique/scanner/report"
)

func policy(t *testing.T, class string) rules.Policy {
	t.Helper()
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	p, ok := pack.Policies[class]
	if !ok {
		t.Fatalf("no policy for %q", class)
	}
	return p
}

// clean is a report that may be cleared; each case below spoils one thing in it.
func clean() report.Report {
	rep := report.Report{
		Complete: true, Bytes: 1 << 20, SectorSize: 512,
		Volumes: []report.Volume{{ID: 0, Bytes: 1 << 20, FileSystem: "fat32", Outcome: report.Clean}},
		Regions: []report.Region{{Bytes: 1 << 20, Class: report.RegionVolume}},
		Types:   map[string]uint64{"text/plain; charset=utf-8": 1},
	}
	rep.Tally.Count(&report.Item{Kind: report.File, Size: 3, Outcome: report.Clean})
	return rep
}

// spoil adds an item that is not clean.
func spoil(rep *report.Report, outcome report.Outcome, findings ...report.Finding) {
	it := report.Item{Kind: report.File, Path: "x", Outcome: outcome, Findings: findings}
	rep.Tally.Count(&it)
	rep.NotClean = append(rep.NotClean, it)
}

func TestDecide(t *testing.T) {
	block := report.Finding{Check: report.CheckYARA, Rule: "r", Severity: report.Block}
	warn := report.Finding{Check: report.CheckVolume, Rule: "v", Severity: report.Warn}
	cases := []struct {
		name  string
		class string
		spoil func(*report.Report)
		want  Verdict
		codes []Code
	}{
		{"clean", "general", func(*report.Report) {}, Cleared, nil},
		{"zero report", "general", func(r *report.Report) { *r = report.Report{} }, CouldNotCheck, []Code{EmptyMedium, Incomplete}},
		{"size unknown", "general", func(r *report.Report) { r.Bytes = -1 }, CouldNotCheck, []Code{Unreadable}},
		{"a unit that cannot be read", "general", func(r *report.Report) {
			unread := report.Report{Bytes: -1, Shortfalls: []report.Shortfall{{Code: string(Unreadable), Text: "Part 2 of the device cannot be read: impossible size."}}}
			*r = report.Merge(*r, unread)
		}, CouldNotCheck, []Code{Unreadable}},
		{"end inside a sector", "general", func(r *report.Report) { r.Bytes++ }, CouldNotCheck, []Code{Truncated}},
		{"no file system", "general", func(r *report.Report) {
			r.Volumes, r.Regions[0].Class = nil, report.RegionZero
		}, CouldNotCheck, []Code{NoVolume}},
		{"not complete", "general", func(r *report.Report) { r.Complete = false }, CouldNotCheck, []Code{Incomplete}},
		{"shortfall though complete", "general", func(r *report.Report) {
			r.Shortfalls = []report.Shortfall{{Code: string(MediumChanged), Text: "x"}}
		}, CouldNotCheck, []Code{MediumChanged}},
		{"block finding", "general", func(r *report.Report) { spoil(r, report.Flagged, block) }, NotCleared, []Code{YARAMatch}},
		{"block finding on the medium", "general", func(r *report.Report) {
			r.Found = []report.VolumeFinding{{Volume: -1, Finding: report.Finding{Check: report.CheckMedium, Severity: report.Block}}}
		}, NotCleared, []Code{MediumFinding}},
		{"finding of no known check", "general", func(r *report.Report) { spoil(r, report.Flagged, report.Finding{}) }, NotCleared, []Code{StructureFinding}},
		{"warning only", "general", func(r *report.Report) { spoil(r, report.Flagged, warn) }, Cleared, nil},
		{"block wins over unread", "general", func(r *report.Report) {
			spoil(r, report.Unreadable)
			spoil(r, report.Flagged, block)
			r.Complete = false
		}, NotCleared, []Code{YARAMatch, Unreadable, Incomplete}},
		{"block finding on an item that was not seen", "general", func(r *report.Report) { spoil(r, report.TimedOut, block) }, NotCleared, []Code{YARAMatch, TimedOut}},
		{"unscanned", "general", func(r *report.Report) { spoil(r, report.Unscanned) }, CouldNotCheck, []Code{Unscanned}},
		{"encrypted", "general", func(r *report.Report) { spoil(r, report.Encrypted) }, CouldNotCheck, []Code{Encrypted}},
		{"too large", "general", func(r *report.Report) { spoil(r, report.TooLarge) }, CouldNotCheck, []Code{TooLarge}},
		{"timed out", "general", func(r *report.Report) { spoil(r, report.TimedOut) }, CouldNotCheck, []Code{TimedOut}},
		{"malformed", "general", func(r *report.Report) { spoil(r, report.Malformed) }, CouldNotCheck, []Code{Damaged}},
		{"unreadable", "general", func(r *report.Report) { spoil(r, report.Unreadable) }, CouldNotCheck, []Code{Unreadable}},
		{"outcome of no known kind", "general", func(r *report.Report) { spoil(r, report.Outcome(200)) }, CouldNotCheck, []Code{Unscanned}},
		{"kept item that the tally forgot", "general", func(r *report.Report) {
			r.NotClean = []report.Item{{Kind: report.File, Outcome: report.Unscanned}}
		}, CouldNotCheck, []Code{Unscanned}},
		{"encrypted volume", "general", func(r *report.Report) {
			r.Volumes[0] = report.Volume{FileSystem: "bitlocker", Outcome: report.Encrypted, Reason: "x"}
		}, CouldNotCheck, []Code{Encrypted}},
		{"volume that nobody read", "general", func(r *report.Report) { r.Volumes[0].Outcome = report.Unscanned }, CouldNotCheck, []Code{Unsupported}},
		{"damaged volume", "general", func(r *report.Report) { r.Volumes[0].Outcome = report.Malformed }, CouldNotCheck, []Code{Damaged}},
		{"region of no known class", "general", func(r *report.Report) { r.Regions[0].Class = 0 }, CouldNotCheck, []Code{NotUnderstood}},
		{"region unread", "general", func(r *report.Report) { r.Regions[0].Class = report.RegionUnreadable }, CouldNotCheck, []Code{Unreadable}},
		{"table past the end", "general", func(r *report.Report) {
			r.Regions = append(r.Regions, report.Region{Start: 1 << 20, Bytes: 1, Class: report.RegionMissing})
		}, CouldNotCheck, []Code{Truncated}},
		{"too many findings", "general", func(r *report.Report) { r.TooMany = true }, NotCleared, []Code{TooManyFindings}},
		{"type not for this class", "infusion", func(r *report.Report) { r.Types["application/pdf"] = 2 }, NotCleared, []Code{TypeNotAllowed}},
		{"type for this class", "imaging", func(r *report.Report) { r.Types["application/dicom"] = 2 }, Cleared, nil},
		{"unknown type for a device", "imaging", func(r *report.Report) { r.Types[""] = 1 }, NotCleared, []Code{TypeNotAllowed}},
		{"no policy", "", func(*report.Report) {}, NotCleared, []Code{TypeNotAllowed, NothingLookedFor}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var p rules.Policy
			if c.class != "" {
				p = policy(t, c.class)
			}
			rep := clean()
			c.spoil(&rep)
			got := Decide(&rep, p, exception.Set{})
			var codes []Code
			for _, r := range got.Reasons {
				codes = append(codes, r.Code)
				if r.Text == "" {
					t.Errorf("%s has no words", r.Code)
				}
			}
			if got.Verdict != c.want || !slices.Equal(codes, c.codes) {
				t.Errorf("got %v %q, want %v %q", got.Verdict, codes, c.want, c.codes)
			}
			if again := Decide(&rep, p, exception.Set{}); again.Verdict != got.Verdict || !slices.Equal(again.Reasons, got.Reasons) {
				t.Error("the same report gave two decisions")
			}
		})
	}
}

// Whatever single outcome or class a report holds besides the two that were seen in full, it is never cleared.
func TestDecideClearsOnlyWhatWasSeen(t *testing.T) {
	p := policy(t, "general")
	for o := range 256 {
		rep := clean()
		spoil(&rep, report.Outcome(o))
		want := report.Outcome(o).Seen()
		if got := Decide(&rep, p, exception.Set{}).Verdict == Cleared; got != want {
			t.Errorf("outcome %d: cleared %v", o, got)
		}
		rep = clean()
		rep.Volumes[0].Outcome = report.Outcome(o)
		if got := Decide(&rep, p, exception.Set{}).Verdict == Cleared; got != (report.Outcome(o) == report.Clean) {
			t.Errorf("volume outcome %d: cleared %v", o, got)
		}
		rep = clean()
		rep.Regions[0].Class = report.RegionClass(o)
		if got := Decide(&rep, p, exception.Set{}).Verdict == Cleared; got != report.RegionClass(o).Accounted() {
			t.Errorf("region class %d: cleared %v", o, got)
		}
	}
}

func TestZeroVerdictRefuses(t *testing.T) {
	var v Verdict
	if v.String() != "could not check" || Verdict(99).String() != "could not check" {
		t.Error("a verdict that nobody set reads as something else than a refusal")
	}
}

func TestReasonsSayWhatTheMediumDoes(t *testing.T) {
	for _, tt := range []struct {
		rules []string
		want  []string
	}{
		{[]string{"medium-changes"}, []string{"The medium changes what it shows."}},
		{[]string{"medium-ends"}, []string{"The medium has less memory than it says."}},
		{[]string{"medium-wraps", "medium-changes", "gpt-twice", "medium-ends", "gpt-loop"}, []string{"The medium changes what it shows.",
			"The medium has less memory than it says (2 findings).", "The medium is laid out in ways that hide content (2 findings)."}},
	} {
		rep := clean()
		for _, rule := range tt.rules {
			rep.Found = append(rep.Found, report.VolumeFinding{Volume: -1, Finding: report.Finding{Check: report.CheckMedium, Rule: rule, Severity: report.Block}})
		}
		d, words := Decide(&rep, policy(t, "general"), exception.Set{}), []string(nil)
		for _, r := range d.Reasons {
			words = append(words, r.Text)
			if r.Code != MediumFinding {
				t.Errorf("%s: %s", r.Text, r.Code)
			}
		}
		if d.Verdict != NotCleared || !slices.Equal(words, tt.want) {
			t.Errorf("%v: %v, %q", tt.rules, d.Verdict, words)
		}
	}
}
