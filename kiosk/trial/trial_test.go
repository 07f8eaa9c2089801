package trial

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/rules"
	"pratique/scanner/report"
)

// answers is a scan that finds exactly what the exam wants found, but for what change does to an item.
func answers(e *Exam, change func(*report.Item)) []Failure {
	for _, f := range e.files {
		it := report.Item{Path: f.path, Kind: report.File, Outcome: report.Clean}
		if f.member != "" {
			it.Kind, it.Member = report.Member, f.member
		}
		for _, c := range canaries() {
			if c.path == f.path {
				it.Type, it.Outcome = c.kind, report.Flagged
				it.Findings = []report.Finding{{Check: c.check, Rule: "rule", Severity: report.Block}}
			}
		}
		for _, s := range e.samples(f.path) {
			it.Findings = append(it.Findings, report.Finding{Check: report.CheckYARA, Rule: s})
		}
		if change != nil {
			change(&it)
		}
		e.Item(it)
	}
	return e.Judge(&report.Report{Complete: true})
}

// samples are the rules that a sample's file must match.
func (e *Exam) samples(path string) []string {
	if strings.HasPrefix(path, "samples/") {
		return []string{"found"}
	}
	return nil
}

func somePack(t *testing.T) rules.Pack {
	t.Helper()
	samples, err := rules.ParseSamples([]byte("[[sample]]\nname = \"a.txt\"\nrules = [\"found\"]\nparts = [{ text = \"x\" }]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return rules.Pack{Samples: samples, Clean: []rules.File{{Name: "deep/er/b.txt", Content: []byte("y")}}}
}

func TestEachThingThatIsAmissFailsItsGate(t *testing.T) {
	if failed := answers(Full(somePack(t)), nil); len(failed) != 0 {
		t.Fatalf("%+v", failed)
	}
	at := func(path string, f func(*report.Item)) func(*report.Item) {
		return func(it *report.Item) {
			if it.Path == path {
				f(it)
			}
		}
	}
	match := func(it *report.Item) {
		it.Outcome, it.Findings = report.Flagged, append(it.Findings, report.Finding{Check: report.CheckYARA, Rule: "other", Severity: report.Inform})
	}
	for name, test := range map[string]struct {
		gate   Gate
		change func(*report.Item)
	}{
		"a canary that is not found": {Canary, at("EICAR.COM", func(it *report.Item) { it.Findings = nil })},
		"a rule that matches inside a clean file": {Goodware, func(it *report.Item) {
			if it.Path == "clean/00/00/b.txt" {
				it.Kind, it.Member = report.Member, "inside"
				it.Findings = []report.Finding{{Check: report.CheckYARA, Rule: "noisy"}}
			}
		}},
		"a canary that is seen in the archive's own bytes": {Canary, at("EICAR.ZIP", func(it *report.Item) { it.Kind, it.Member = report.File, "" })},
		"a canary that only warns":                         {Canary, at("EICAR.ZIP", func(it *report.Item) { it.Findings[0].Severity = report.Warn })},
		"a canary on another way":                          {Canary, at("EICAR.DCM", func(it *report.Item) { it.Type = "text/plain" })},
		"a canary by another check":                        {Canary, at("HASH.TXT", func(it *report.Item) { it.Findings[0].Check = report.CheckYARA })},
		"a canary that was not scanned":                    {Canary, at("AUTORUN.INF", func(it *report.Item) { it.Outcome = report.Unscanned })},
		"an item that was not told":                        {Canary, at("EICAR.COM", func(it *report.Item) { it.Path = "ELSEWHERE" })},
		"a sample that is missed":                          {Samples, at("samples/00/00/a.txt", func(it *report.Item) { it.Findings = nil })},
		"a sample with a match too many":                   {Samples, at("samples/00/00/a.txt", match)},
		"a match in goodware":                              {Goodware, at("goodware/REPORT.PDF", match)},
		"a match in a clean file":                          {Goodware, at("clean/00/00/b.txt", match)},
		"a hash of goodware": {Goodware, at("goodware/EMPTY.TXT", func(it *report.Item) {
			it.Findings = []report.Finding{{Check: report.CheckBlocklist}}
		})},
		"goodware that was not scanned": {Goodware, at("goodware/LETTER.TXT", func(it *report.Item) { it.Outcome = report.Unreadable })},
		"content that took too long":    {Budget, at("goodware/ZEROS.BIN", func(it *report.Item) { it.Outcome = report.TimedOut })},
	} {
		failed := answers(Full(somePack(t)), test.change)
		if len(failed) != 1 || failed[0].Gate != test.gate || failed[0].Text == "" {
			t.Errorf("%s: %+v", name, failed)
		}
	}
}

func TestNothingAndHalfAScanFail(t *testing.T) {
	var none Exam
	if failed := none.Judge(&report.Report{Complete: true}); len(failed) != 1 || failed[0].Gate != Scan {
		t.Errorf("%+v", failed)
	}
	e := Canaries()
	answers(e, nil)
	if failed := e.Judge(&report.Report{}); len(failed) != 1 || failed[0].Gate != Scan {
		t.Errorf("%+v", failed)
	}
	if failed := Full(somePack(t)).Judge(&report.Report{Complete: true}); len(failed) == 0 || len(failed) > maxFailures {
		t.Errorf("%d failures", len(failed))
	}
}

func TestTheMediumIsTheSameEachTime(t *testing.T) {
	write := func(name string) []byte {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		size, err := Full(somePack(t)).WriteTo(f)
		if err != nil || size%sector != 0 {
			t.Fatal(size, err)
		}
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(write("a"), write("b")) {
		t.Error("two media differ")
	}
}

func TestFilesThatDoNotFitAreAnErrorAndNotAMediumWithoutThem(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "medium"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	many := &Exam{}
	for i := range 70_000 {
		many.add(fmt.Sprintf("d%02x/f%05d", i>>10, i), []byte{1}, nil)
	}
	top := &Exam{}
	for i := range 600 {
		top.add(fmt.Sprintf("f%05d", i), nil, nil)
	}
	name := &Exam{}
	name.add(strings.Repeat("n", 256), nil, nil)
	for _, e := range []*Exam{many, top, name} {
		if _, err := e.WriteTo(f); !errors.Is(err, errMedium) {
			t.Errorf("%v", err)
		}
	}
}
