// Package yara compiles YARA rules and matches them against content, with libyara.
//
// libyara is C and is given an attacker's bytes, so this package is linked into yaraworker, which is jailed, and into the
// rule authors' own tool; never into what holds a key. What the rules say is trusted no more than needed: texts from a
// rule's meta are cut, an unknown severity blocks, includes are off, so that a rule cannot name a file of the machine.
//
// What a rule may ask for beside the content: the external variables filename, filepath, extension, filetype and owner,
// all strings. filepath and owner are empty: neither ever reaches this process. A rule's meta gives what a report says:
// severity ("inform", "warn" or "block"; anything else, or nothing, blocks), description and author. Private rules are
// never reported.
//
// Limits. libyara's own time-out does not hold, so there is none here: whoever runs a scan kills the process by the clock.
// Content in which one string matches more than a million times is not scanned, which is an error. In block scans the modules pe, elf, macho,
// dotnet and dex see the first block only. Rules that ask for the modules magic or cuckoo are rejected, because neither
// can work in a jail and a rule that never matches is worse than none; time, because a verdict must not depend on the clock.
//
// Rules are compiled twice, all of them and those that content needs that is no program (package split); what content begins
// with decides which set it meets. The matches are the same, and most content is spared nine tenths of the work. In memory each
// set has an automaton that does as libyara's does in half the time (rows.go).
//
// Compiled rules are only ever loaded on the machine and by the version that wrote them: libyara does not check them.
package yara

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	libyara "github.com/hillu/go-yara/v4"

	"pratique/rules/split"
	"pratique/scanner/slot"
)

// ErrRejected says that the sources hold errors, which the problems name.
var ErrRejected = errors.New("yara: the rules have errors")

// externals are the variables that every rule may use.
var externals = []string{"filename", "filepath", "extension", "filetype", "owner"}

// barredModules are those whose answers are worth nothing here: magic opens a file of its own, cuckoo needs a report that
// nobody has, and with time the same medium would be cleared on one day and not on another.
var barredModules = []struct{ name, why string }{
	{"magic", "does not work in the scanner's jail"},
	{"cuckoo", "does not work in the scanner's jail"},
	{"time", "makes a verdict depend on the clock"},
}

// Source is one file of rules.
type Source = slot.Source

// Problem is what the compiler says about one line of one file.
type Problem = slot.Problem

// Rules are compiled rules. They are safe for concurrent use by any number of Scanners.
type Rules struct {
	all   *libyara.Rules
	plain *libyara.Rules // what is enough for content that is no program; nil if all are needed
	zeros *libyara.Rules // the same for content that begins with zeros
	large *libyara.Rules // the same for large content that is no program
	count int            // of all
}

// Compile compiles the sources, each in a namespace of its own, so that files cannot disturb one another. Warnings come
// with the rules. With an error in any file, and with sources that hold no rule at all, it returns ErrRejected and the
// problems of all files. Any other error is libyara's own.
func Compile(sources []Source) (*Rules, []Problem, error) {
	problems := checkSources(sources)
	if len(problems) > 0 {
		return nil, problems, ErrRejected
	}
	c, err := newCompiler()
	if err != nil {
		return nil, nil, err
	}
	defer func() { c.Destroy() }()
	rejected := false
	for _, s := range sources {
		found, err := c.add(s)
		problems = append(problems, found...)
		if err != nil {
			rejected = true
			// A compiler is unusable after an error. The other files deserve their own messages, so they get a new one.
			c.Destroy()
			if c, err = newCompiler(); err != nil {
				return nil, problems, err
			}
		}
		if len(problems) >= slot.MaxProblems {
			problems = problems[:slot.MaxProblems]
			if rejected {
				break
			}
		}
	}
	if rejected {
		return nil, errorsFirst(problems), ErrRejected
	}
	lib, err := c.GetRules()
	if err != nil {
		return nil, problems, fmt.Errorf("yara: take compiled rules: %w", err)
	}
	r := &Rules{all: lib, count: len(lib.GetRules())}
	if r.count == 0 {
		return nil, append(problems, Problem{File: "rules", Text: "there is no rule in the rule set"}), ErrRejected
	}
	modules, err := r.modules()
	if err != nil {
		return nil, problems, err
	}
	for _, m := range barredModules {
		if slices.Contains(modules, m.name) {
			problems = append(problems, Problem{File: importer(sources, m.name), Text: fmt.Sprintf("the module %q %s", m.name, m.why)})
			rejected = true
		}
	}
	if rejected {
		return nil, errorsFirst(problems), ErrRejected
	}
	r.plain, r.zeros, r.large = compileLess(split.Plain(sources)), compileLess(split.Zeros(sources)), compileLess(split.Large(sources))
	r.quicken()
	return r, problems, nil
}

// compileLess compiles the rules that some content needs. If libyara does not take what package split makes of the sources,
// or there is no rule left, that content needs all rules: slower, and as complete.
func compileLess(sources []Source) *libyara.Rules {
	c, err := newCompiler()
	if err != nil {
		return nil
	}
	defer c.Destroy()
	for _, s := range sources {
		if _, err := c.add(s); err != nil {
			return nil
		}
	}
	lib, err := c.GetRules()
	if err != nil || len(lib.GetRules()) == 0 {
		return nil
	}
	return lib
}

// quicken makes each set of rules ready for the first scan.
func (r *Rules) quicken() {
	for _, lib := range []*libyara.Rules{r.all, r.plain, r.zeros, r.large} {
		quicken(lib)
	}
}

// Count is the number of rules, private ones included.
func (r *Rules) Count() int { return r.count }

// modules asks libyara which modules the rules import: it says so at the start of a scan.
func (r *Rules) modules() ([]string, error) {
	s, err := NewScanner(r)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.ScanMem(nil, Vars{}); err != nil {
		return nil, err
	}
	return s.hits.modules, nil
}

// compiler is libyara's, set up for this program.
type compiler struct{ *libyara.Compiler }

func newCompiler() (compiler, error) {
	c, err := libyara.NewCompiler()
	if err != nil {
		return compiler{}, fmt.Errorf("yara: start a compiler: %w", err)
	}
	c.DisableIncludes()
	for _, name := range externals {
		if err := c.DefineVariable(name, ""); err != nil {
			c.Destroy()
			return compiler{}, fmt.Errorf("yara: declare %s: %w", name, err)
		}
	}
	return compiler{c}, nil
}

// add compiles one file and returns what libyara had to say about it.
func (c compiler) add(s Source) ([]Problem, error) {
	errs, warnings := len(c.Errors), len(c.Warnings)
	err := c.AddString(string(s.Text), s.Name)
	var problems []Problem
	for _, m := range c.Errors[errs:] {
		problems = append(problems, Problem{File: s.Name, Line: m.Line, Text: cut(m.Text)})
	}
	for _, m := range c.Warnings[warnings:] {
		problems = append(problems, Problem{File: s.Name, Line: m.Line, Text: cut(m.Text), Warning: true})
	}
	if err != nil && len(c.Errors) == errs {
		problems = append(problems, Problem{File: s.Name, Text: cut(err.Error())})
	}
	return problems, err
}

// checkSources finds what libyara would not see. A NUL byte ends the text for C: the rules behind it would silently be
// missing, and a file in UTF-16 would hold no rule at all.
func checkSources(sources []Source) []Problem {
	var problems []Problem
	if len(sources) > slot.MaxSources {
		return []Problem{{File: "rules", Text: fmt.Sprintf("there are more than %d files", slot.MaxSources)}}
	}
	seen := make(map[string]bool, len(sources))
	total := 0
	for _, s := range sources {
		total += len(s.Text)
		name := cut(s.Name)
		switch i := bytes.IndexByte(s.Text, 0); {
		case s.Name == "" || len(s.Name) > slot.MaxSourceName || strings.ContainsRune(s.Name, 0):
			problems = append(problems, Problem{File: name, Text: "the file's name cannot be used"})
		case seen[s.Name]:
			problems = append(problems, Problem{File: name, Text: "there are two files of this name"})
		case i >= 0:
			problems = append(problems, Problem{File: name, Line: 1 + bytes.Count(s.Text[:i], []byte("\n")), Text: "the text holds a NUL byte; it must be UTF-8"})
		}
		seen[s.Name] = true
		if len(problems) == slot.MaxProblems {
			break
		}
	}
	if total > slot.MaxSourceBytes {
		problems = append(problems, Problem{File: "rules", Text: fmt.Sprintf("the files hold more than %d MiB", slot.MaxSourceBytes>>20)})
	}
	return problems
}

// importer names a file that may import the module, for the message only.
func importer(sources []Source, module string) string {
	for _, s := range sources {
		if bytes.Contains(s.Text, []byte(`"`+module+`"`)) {
			return s.Name
		}
	}
	return "rules"
}

// errorsFirst puts the errors before the warnings, so that what is cut off is what matters least.
func errorsFirst(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		switch {
		case a.Warning == b.Warning:
			return 0
		case b.Warning:
			return -1
		}
		return 1
	})
	return problems
}
