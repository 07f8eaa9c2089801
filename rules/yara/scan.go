package yara

// matches.c belongs to this package.

// #cgo pkg-config: yara
import "C"

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	libyara "github.com/hillu/go-yara/v4"

	"pratique/rules/split"
	"pratique/scanner/report"
	"pratique/scanner/slot"
)

// noTryCatch keeps libyara from installing its own handlers for SIGSEGV and SIGBUS around each scan, which races with the
// Go runtime's and can hang the process. It is SCAN_FLAGS_NO_TRYCATCH; go-yara v4.2.4 has no name for it.
const noTryCatch libyara.ScanFlags = 4

// fastMode keeps one match of a string where the rule asks for no more: content made of nothing but matches stays cheap.
const fastMode = libyara.ScanFlagsFastMode

const (
	maxText   = 512  // of a description, an author or a problem; libyara bounds none of them
	maxMetas  = 256  // meta values looked at in one rule
	maxString = 1024 // strings of one rule looked at for its first match
)

// Vars are what rules may ask for beside the content.
type Vars struct {
	Name string // last component of the path
	Type string // media type by content
}

// Scanner matches one content at a time. It is for one goroutine; each has its own.
type Scanner struct {
	all   *libyara.Scanner
	plain *libyara.Scanner // for content that is no program
	zeros *libyara.Scanner // for content that begins with zeros
	large *libyara.Scanner // for large content that is no program
	lib   *libyara.Scanner // the one of them that is at work
	rules *Rules           // libyara's scanners point into them
	hits  hits
	cache blockCache
}

// NewScanner returns a Scanner. Close it.
func NewScanner(rules *Rules) (*Scanner, error) {
	s := &Scanner{rules: rules}
	for _, set := range []struct {
		rules   *libyara.Rules
		scanner **libyara.Scanner
	}{{rules.all, &s.all}, {rules.plain, &s.plain}, {rules.zeros, &s.zeros}, {rules.large, &s.large}} {
		if set.rules == nil {
			*set.scanner = s.all
			continue
		}
		var err error
		if *set.scanner, err = s.start(set.rules); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Scanner) start(rules *libyara.Rules) (*libyara.Scanner, error) {
	lib, err := libyara.NewScanner(rules)
	if err != nil {
		return nil, fmt.Errorf("yara: start a scanner: %w", err)
	}
	return lib.SetFlags(noTryCatch | fastMode).SetCallback(&s.hits), nil
}

// Close frees libyara's memory.
func (s *Scanner) Close() {
	for _, lib := range []*libyara.Scanner{s.plain, s.zeros, s.large} {
		if lib != nil && lib != s.all {
			lib.Destroy()
		}
	}
	if s.all != nil {
		s.all.Destroy()
	}
}

// ScanMem matches the rules against content that lies wholly in memory. It returns the rules that matched, at most
// slot.MaxMatches, the worst severities kept. An error means that the content was not scanned, and nothing else.
func (s *Scanner) ScanMem(content []byte, vars Vars) ([]slot.Match, error) {
	if err := s.begin(content, int64(len(content)), vars); err != nil {
		return nil, err
	}
	return s.end(s.lib.ScanMem(content))
}

// begin chooses the rules by the first bytes and the size of the next content, and sets the variables for it: all of them, since what is
// not set keeps the value of the last one.
func (s *Scanner) begin(head []byte, size int64, vars Vars) error {
	s.hits = hits{}
	switch {
	case split.Program(head):
		s.lib = s.all
	case split.Zero(head):
		s.lib = s.zeros
	case size >= split.LargeBytes && !split.Known(head):
		s.lib = s.large
	default:
		s.lib = s.plain
	}
	name := printable(vars.Name)
	values := map[string]string{
		"filename": name, "filepath": "", "extension": strings.ToLower(path.Ext(name)), "filetype": printable(vars.Type), "owner": "",
	}
	for _, variable := range externals {
		if err := s.lib.DefineVariable(variable, values[variable]); err != nil {
			return fmt.Errorf("yara: define %s: %w", variable, err)
		}
	}
	return nil
}

func (s *Scanner) end(err error) ([]slot.Match, error) {
	if err := errors.Join(err, s.hits.err); err != nil {
		return nil, fmt.Errorf("yara: scan: %w", err)
	}
	return s.hits.matches, nil
}

// printable makes a name that C can hold: a NUL would hide the rest of it, the extension for one.
func printable(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

// hits is what libyara calls for each rule that matches. A panic must not unwind through C, so each method recovers, and
// then the scan is void.
type hits struct {
	matches []slot.Match
	modules []string
	loading bool // a module is looking at the content
	err     error
}

// RuleMatching implements libyara's callback. Returning true ends the scan.
func (h *hits) RuleMatching(ctx *libyara.ScanContext, rule *libyara.Rule) (stop bool, _ error) {
	defer h.recover(&stop)
	if rule.IsPrivate() {
		return false, nil
	}
	m := slot.Match{Rule: cut(rule.Identifier()), Severity: report.Block, Offset: -1}
	readMeta(&m, rule)
	at := len(h.matches)
	if at == slot.MaxMatches {
		// Full. A rule that only informs must not hide one that blocks.
		at = 0
		for i, kept := range h.matches {
			if kept.Severity >= h.matches[at].Severity {
				at = i
			}
		}
		if m.Severity >= h.matches[at].Severity {
			return false, nil
		}
		h.matches = slices.Delete(h.matches, at, at+1)
	}
	m.Offset = firstMatch(ctx, rule)
	h.matches = append(h.matches, m)
	return false, nil
}

// ImportModule implements libyara's callback. It gives a module no data.
func (h *hits) ImportModule(_ *libyara.ScanContext, name string) (_ []byte, stop bool, _ error) {
	defer h.recover(&stop)
	h.modules = append(h.modules, cut(name))
	h.loading = true
	return nil, false, nil
}

// ModuleImported implements libyara's callback.
func (h *hits) ModuleImported(*libyara.ScanContext, *libyara.Object) (stop bool, _ error) {
	h.loading = false
	return false, nil
}

func (h *hits) recover(stop *bool) {
	if p := recover(); p != nil {
		h.err = fmt.Errorf("panic in a callback: %v", p)
		*stop = true
	}
}

func readMeta(m *slot.Match, rule *libyara.Rule) {
	metas := rule.Metas()
	for _, meta := range metas[:min(len(metas), maxMetas)] {
		text, ok := meta.Value.(string)
		if !ok {
			continue // a severity that is a number is some other scheme's: it blocks
		}
		switch meta.Identifier {
		case "severity":
			m.Severity, _ = report.ParseSeverity(text) // Block with the error
		case "description":
			m.Text = cut(text)
		case "author":
			m.Author = cut(text)
		}
	}
}

// firstMatch is where the first of the rule's strings that matched did so first, or -1.
func firstMatch(ctx *libyara.ScanContext, rule *libyara.Rule) int64 {
	strs := rule.Strings()
	for i := range strs[:min(len(strs), maxString)] {
		if found := strs[i].Matches(ctx); len(found) > 0 {
			return found[0].Base() + found[0].Offset()
		}
	}
	return -1
}

// cut makes text from a rule fit for a message: valid UTF-8, bounded.
func cut(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxText)], "")
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
