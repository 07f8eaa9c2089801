// Package check says whether a rule pack is fit to be signed: Lint reads it, Test tries it on its samples and on clean files,
// Bench measures each rule. It works for the people who write rules, on their own machine; a kiosk has gates of its own and
// believes none of this.
//
// It trusts the authors' intentions and not their rules. A rule can keep libyara busy for minutes, so Lint compiles in a child
// process that is killed by the clock (Child is what that process runs), and Test and Bench stop the program when one content
// takes longer than ScanTime. Clean corpora are folders of this machine: they are read, never written, and links in them are
// not followed.
//
// Limits. Lint judges regular expressions by their shape, so it refuses some that are harmless and cannot know what content
// an enemy finds for others. What Bench measures holds for this machine and this corpus; rules are compared with one another
// and with a budget, which is why both are generous.
package check

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"pratique/rules"
	"pratique/scanner/slot"
)

// Problem is what is wrong with one line of one file of a pack, and what to do about it.
type Problem struct {
	File string // path in the pack
	Line int    // from 1; 0 is the whole file
	Text string // a sentence without its full stop
	Fix  string // what to do
	Harm bool   // it could harm a kiosk; the others are the house's manners
}

// String is FILE:LINE: TEXT: FIX.
func (p Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Fix == "" {
		return fmt.Sprintf("%s: %s", at, p.Text)
	}
	return fmt.Sprintf("%s: %s: %s", at, p.Text, p.Fix)
}

// order sorts problems by file and line and drops what is said twice.
func order(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(problems)
}

// sources are the rules of a pack's folder, read whatever else is wrong with it.
func sources(fsys fs.FS) ([]slot.Source, error) {
	if _, err := fs.Stat(fsys, "yara"); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	sub, err := fs.Sub(fsys, "yara")
	if err != nil {
		return nil, err
	}
	pack, err := rules.Pack{}.With(sub, nil)
	if err != nil {
		return nil, err
	}
	return compilable(pack), nil
}

// compilable are the rules of a pack as the compiler takes them, with their paths in the pack.
func compilable(pack rules.Pack) []slot.Source {
	var out []slot.Source
	for _, s := range pack.YARA {
		name := s.Name
		if !strings.HasPrefix(name, "yara/") {
			name = "yara/" + name
		}
		out = append(out, slot.Source{Name: name, Text: s.Text})
	}
	return out
}
