// Package trial examines a rule pack by a scan whose result is known beforehand.
//
// It makes a medium in memory that goes through the same processes as any stick (package kiosk/worker), and judges what
// they say about it. On the medium are, as far as an Exam asks for them:
//
//	canaries   harmless content that must be found, one on each way through the scanner: as a plain file, packed in a ZIP
//	           archive, inside a DICOM file, by a hash list, and by shape alone
//	samples    what the pack's author says must be found (rules.Sample), and near misses
//	goodware   files of the kinds that hospitals carry, which nothing may be found in, the pack's own clean files, and
//	           content on which a badly made rule runs for ever
//
// So a pack that finds nothing, finds everything or never ends does not get into force, and a scanner that lost one of its
// ways is noticed before it clears anything. What the exam does not see: a rule that finds too little beyond its sample, or
// harmless files of a kind that is not among the goodware.
//
// The canary for the hash list is a file of the station's own. Its hash (CanaryHash) belongs into every list that the
// station compiles: then the list in use is what is tried, whatever a pack brings. The content canary is the EICAR test
// file, so every pack needs a rule that blocks it anywhere in a file.
//
// The package trusts the pack as far as memory goes: package rules bounds samples and clean files. It writes nothing and
// starts nothing.
package trial

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pratique/rules"
	"pratique/scanner/report"
)

// Gate is one thing that a pack must pass.
type Gate string

// The gates. The list is closed.
const (
	Scan     Gate = "scan"     // the trial medium was not read to its end
	Canary   Gate = "canary"   // a canary was not found
	Samples  Gate = "samples"  // a sample matched other rules than its author says
	Goodware Gate = "goodware" // something was found in harmless content
	Budget   Gate = "budget"   // rules that take too long
)

// Failure is a gate that was not passed.
type Failure struct {
	Gate Gate
	Way  string // of a canary; empty for other gates
	Text string // a sentence for the security team. It may name rules and files of the pack.
}

// Exam is a medium and what must be said about it. The zero value has nothing on it and fails.
type Exam struct {
	files    []file
	items    map[string]report.Item
	packed   map[string][]report.Item // the members of each file
	canaries int
}

type file struct {
	path    string
	member  string // that is judged instead of the file
	inside  bool   // its members are judged like the file
	content []byte
	judge   func(it report.Item) *Failure
}

// Add puts a file on the medium.
func (e *Exam) add(path string, content []byte, judge func(report.Item) *Failure) {
	e.addMember(path, "", content, judge)
}

// addClean puts a file on the medium in which nothing may be found, nor in what is packed in it.
func (e *Exam) addClean(path string, content []byte, judge func(report.Item) *Failure) {
	e.files = append(e.files, file{path: path, inside: true, content: content, judge: judge})
}

// addMember puts a file on the medium of which a member is judged; none is the file itself.
func (e *Exam) addMember(path, member string, content []byte, judge func(report.Item) *Failure) {
	e.files = append(e.files, file{path: path, member: member, content: content, judge: judge})
}

// Canaries returns an exam with the canaries alone.
func Canaries() *Exam {
	e := &Exam{}
	for _, c := range canaries() {
		e.canaries++
		e.addMember(c.path, c.member, c.content, func(it report.Item) *Failure {
			if c.found(it) {
				return nil
			}
			return &Failure{Canary, c.way, fmt.Sprintf("The canary %s was not found.", c.text)}
		})
	}
	return e
}

// Full returns an exam with everything that a pack must pass.
func Full(pack rules.Pack) *Exam {
	e := Canaries()
	for _, f := range goodware() {
		e.addClean("goodware/"+f.path, f.content, func(it report.Item) *Failure { return judgeClean(f.path, it) })
	}
	for i, s := range pack.Samples {
		e.add(fmt.Sprintf("samples/%02x/%02x/%s", i>>8, i&0xFF, s.Name), s.Content(), func(it report.Item) *Failure { return judgeSample(s, it) })
	}
	for i, f := range pack.Clean {
		name := f.Name[strings.LastIndexByte(f.Name, '/')+1:]
		e.addClean(fmt.Sprintf("clean/%02x/%02x/%s", i>>8, i&0xFF, name), f.Content, func(it report.Item) *Failure { return judgeClean(f.Name, it) })
	}
	return e
}

// Ways is how many canaries are on the medium.
func (e *Exam) Ways() int { return e.canaries }

// WriteTo writes the medium to a file that holds zeros, and returns its size.
func (e *Exam) WriteTo(w io.WriterAt) (int64, error) { return writeFAT(w, e.files) }

// Limit is how long a scan of the medium may take. The rules of this program's own pack need a hundredth of it, a set of
// 3,000 rules a tenth; a machine with four scans under way is some ten times slower.
func (e *Exam) Limit() time.Duration {
	limit := baseTime
	for _, f := range e.files {
		limit += time.Duration(len(f.content)) * (time.Second / bytesPerSecond)
	}
	return limit
}

const (
	baseTime       = 10 * time.Second
	bytesPerSecond = 1_000_000
)

// Item takes what the scan says of one item.
func (e *Exam) Item(it report.Item) error {
	if e.items == nil {
		e.items, e.packed = map[string]report.Item{}, map[string][]report.Item{}
	}
	switch it.Kind {
	case report.File:
		e.items[it.Path] = it
	case report.Member:
		if len(e.packed[it.Path]) < maxMembers {
			e.packed[it.Path] = append(e.packed[it.Path], it)
		}
	}
	return nil
}

// maxMembers of a file are kept: who makes a clean file of more does not learn of a match in the last of them.
const maxMembers = 10_000

// item is what is judged of a file.
func (e *Exam) item(f file) (report.Item, bool) {
	if f.member == "" {
		it, ok := e.items[f.path]
		return it, ok
	}
	for _, it := range e.packed[f.path] {
		if it.Member == f.member {
			return it, true
		}
	}
	return report.Item{}, false
}

// maxFailures bounds what is told: who made a pack that fails a thousand times needs the first few.
const maxFailures = 20

// Judge says which gates were not passed. The report is the scan's, whose items went to Item.
func (e *Exam) Judge(rep *report.Report) []Failure {
	var out []Failure
	if len(e.files) == 0 {
		return []Failure{{Gate: Scan, Text: "There was nothing on the trial medium."}}
	}
	if !rep.Complete {
		text := "The scan of the trial medium did not reach its end."
		if len(rep.Shortfalls) > 0 {
			text += " " + rep.Shortfalls[0].Text
		}
		out = append(out, Failure{Gate: Scan, Text: text})
	}
	for _, f := range e.files {
		if it := e.items[f.path]; it.Outcome == report.TimedOut {
			return []Failure{{Gate: Budget, Text: fmt.Sprintf("The rules took too long on %s.", f.path)}}
		}
	}
	for _, f := range e.files {
		it, seen := e.item(f)
		if !seen { // the zero item is unscanned, and no judge lets that pass
			it = report.Item{Path: f.path}
		}
		judged := []report.Item{it}
		if f.inside {
			judged = append(judged, e.packed[f.path]...)
		}
		for _, it := range judged {
			if fail := f.judge(it); fail != nil {
				out = append(out, *fail)
				break
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Failure) int { return rank(a.Gate) - rank(b.Gate) })
	return out[:min(len(out), maxFailures)]
}

// rank puts what explains the rest first.
func rank(g Gate) int { return slices.Index([]Gate{Scan, Canary, Samples, Goodware}, g) }

func judgeSample(s rules.Sample, it report.Item) *Failure {
	fail := func(format string, args ...any) *Failure {
		return &Failure{Gate: Samples, Text: fmt.Sprintf("Sample %q %s.", s.Name, fmt.Sprintf(format, args...))}
	}
	// A sample is often a piece of the real thing, and so a damaged container. It was scanned all the same.
	if !it.Outcome.Seen() && it.Outcome != report.Malformed {
		return fail("was not scanned (%s)", it.Outcome)
	}
	var got []string
	for _, f := range it.Findings {
		if f.Check == report.CheckYARA {
			got = append(got, f.Rule)
		}
	}
	slices.Sort(got)
	got = slices.Compact(got)
	for _, want := range s.Rules {
		if !slices.Contains(got, want) {
			return fail("does not match the rule %s", want)
		}
	}
	for _, rule := range got {
		if !slices.Contains(s.Rules, rule) {
			return fail("matches the rule %s, which its author does not say", rule)
		}
	}
	return nil
}

// judgeClean lets no rule and no list have a word about harmless content, not even one that only informs: people who read
// such a word on every stick soon read none.
func judgeClean(name string, it report.Item) *Failure {
	if !it.Outcome.Seen() {
		return &Failure{Gate: Goodware, Text: fmt.Sprintf("The harmless file %s was not scanned (%s).", name, it.Outcome)}
	}
	for _, f := range it.Findings {
		switch f.Check {
		case report.CheckYARA:
			return &Failure{Gate: Goodware, Text: fmt.Sprintf("The rule %s matches the harmless file %s.", f.Rule, name)}
		case report.CheckBlocklist:
			return &Failure{Gate: Goodware, Text: fmt.Sprintf("A hash list holds the harmless file %s.", name)}
		}
	}
	return nil
}
