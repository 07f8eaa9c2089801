package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"pratique/rules"
	"pratique/rules/blocklist"
	"pratique/rules/split"
	"pratique/scanner/report"
	"pratique/scanner/slot"
)

// Compiler compiles sources somewhere where it does no harm and says what libyara says of them. An error means that it could
// not be done, ErrSlow that it took too long.
type Compiler func(ctx context.Context, sources []slot.Source) ([]slot.Problem, error)

const (
	maxDescription = 200      // it stands on a screen and on a receipt
	maxSourceLint  = 16 << 20 // of one file; all 1,204 rules of one public set in one have 3 MB
)

// Lint names everything in a pack's folder that keeps it from being built. foreign are folders below yara whose rules other
// people wrote, such as "yara/public": of those only what could harm a kiosk counts.
func Lint(ctx context.Context, fsys fs.FS, compile Compiler, foreign ...string) ([]Problem, error) {
	problems, manifest := lintHead(fsys)
	settings := lintTexts(fsys)
	problems = append(problems, settings...)
	lists, err := lintLists(fsys)
	if err != nil {
		return nil, err
	}
	problems = append(problems, lists...)

	srcs, err := sources(fsys)
	if err != nil {
		return order(append(problems, Problem{File: "yara", Text: err.Error(), Fix: "put right what it names", Harm: true})), nil
	}
	names := map[string]string{} // of rules, and where they stand
	bombs := false
	for _, s := range srcs {
		found := lintSource(s, manifest, names)
		for _, p := range found {
			bombs = bombs || p.Harm
		}
		problems = append(problems, found...)
	}
	if !bombs { // what is known to explode is not given to libyara
		said, err := compile(ctx, srcs)
		if errors.Is(err, ErrSlow) {
			said, err = []slot.Problem{{File: "yara", Text: err.Error()}}, nil
		}
		if err != nil {
			return nil, err
		}
		for _, p := range said {
			fix := "correct it"
			if p.Warning {
				fix = "a pack compiles without warnings; give the string more fixed letters, or drop it"
			}
			problems = append(problems, Problem{File: p.File, Line: p.Line, Text: p.Text, Fix: fix, Harm: !p.Warning})
		}
	}
	if pack, err := rules.LoadFS(fsys); err != nil {
		if len(problems) == 0 {
			problems = append(problems, Problem{File: "pack", Text: err.Error(), Fix: "correct it", Harm: true})
		}
	} else {
		for _, s := range pack.Samples {
			for _, name := range s.Rules {
				if _, ok := names[name]; !ok && !bombs {
					problems = append(problems, Problem{File: "samples", Text: fmt.Sprintf("the sample %q names the rule %s, which does not exist", s.Name, name), Fix: "correct the name"})
				}
			}
		}
	}
	problems = slices.DeleteFunc(problems, func(p Problem) bool {
		return !p.Harm && slices.ContainsFunc(foreign, func(dir string) bool { return strings.HasPrefix(p.File, strings.TrimSuffix(dir, "/")+"/") })
	})
	return order(problems), nil
}

// lintHead reads pack.toml.
func lintHead(fsys fs.FS) ([]Problem, rules.Manifest) {
	const file = "pack.toml"
	text, err := fs.ReadFile(fsys, file)
	if err != nil {
		return []Problem{{File: file, Text: "it cannot be read: " + cause(err), Fix: "rulepack new makes a pack that has one", Harm: true}}, rules.Manifest{}
	}
	m, err := rules.ParseManifest(text)
	if err != nil {
		return []Problem{decoding(file, err)}, m
	}
	var out []Problem
	for _, want := range []struct {
		missing   bool
		key, says string
	}{
		{m.Author == "", "author", "who answers for the pack"},
		{len(m.Severities) == 0, "severities", "which of inform, warn and block its rules use"},
		{len(m.Changes) == 0, "changes", "what is new, one sentence each, for whoever installs it"},
	} {
		if want.missing {
			out = append(out, Problem{File: file, Text: want.key + " is missing", Fix: "say " + want.says})
		}
	}
	for _, s := range m.Severities {
		if _, err := report.ParseSeverity(s); err != nil {
			out = append(out, Problem{File: file, Text: fmt.Sprintf("there is no severity %q", s), Fix: "use inform, warn and block", Harm: true})
		}
	}
	return out, m
}

// lintTexts reads policies and samples one by one, so that each gets its message.
func lintTexts(fsys fs.FS) (out []Problem) {
	for pattern, parse := range map[string]func([]byte) error{
		"policy/*.toml":  func(text []byte) error { _, err := rules.ParsePolicy(text); return err },
		"samples/*.toml": func(text []byte) error { _, err := rules.ParseSamples(text); return err },
	} {
		files, err := fs.Glob(fsys, pattern)
		if err != nil {
			return []Problem{{File: pattern, Text: err.Error(), Harm: true}}
		}
		if pattern == "policy/*.toml" && len(files) == 0 {
			out = append(out, Problem{File: "policy", Text: "no equipment class has a policy", Fix: "rulepack new shows what one looks like", Harm: true})
		}
		for _, file := range files {
			text, err := fs.ReadFile(fsys, file)
			if err == nil {
				err = parse(text)
			}
			if err != nil {
				out = append(out, decoding(file, err))
			}
		}
	}
	return out
}

// decoding is the problem of a file that does not decode, with its line where the library knows it.
func decoding(file string, err error) Problem {
	p := Problem{File: file, Text: cause(err), Fix: "correct it; package rules describes the keys", Harm: true}
	var at toml.ParseError
	if errors.As(err, &at) {
		p.Line, p.Text = at.Position.Line, at.Message
	}
	return p
}

// cause is an error without the path of the machine.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// lintLists reads the hash lists as a kiosk does.
func lintLists(fsys fs.FS) ([]Problem, error) {
	files, err := fs.Glob(fsys, "hashes/*.txt")
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(fsys, "hashes.txt"); err == nil {
		files = append(files, "hashes.txt")
	}
	var out []Problem
	for _, file := range files {
		f, err := fsys.Open(file)
		if err != nil {
			return nil, err
		}
		var compiled bytes.Buffer
		_, err = blocklist.Compile(&compiled, f)
		f.Close()
		if line, ok := errors.AsType[*blocklist.LineError](err); ok {
			out = append(out, Problem{File: file, Line: line.Line, Text: line.Problem, Fix: "one hash in hex a line; rulepack import makes lists of feeds", Harm: true})
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// costly are the modules that libyara builds anew for every content, and what that costs.
var costly = map[string]string{"pe": "a quarter of a millisecond", "elf": "50 microseconds", "dotnet": "7 microseconds"}

// lintSource judges one file of rules. What it finds harmful is not to be compiled.
func lintSource(s slot.Source, manifest rules.Manifest, names map[string]string) (out []Problem) {
	add := func(line int, harm bool, text, fix string) {
		out = append(out, Problem{File: s.Name, Line: line, Text: text, Fix: fix, Harm: harm})
	}
	if len(s.Text) > maxSourceLint {
		add(0, true, fmt.Sprintf("the file has more than %d bytes", maxSourceLint), "divide it")
		return out
	}
	outline, ok := split.Read(s.Text)
	for _, line := range outline.Includes {
		add(line, true, "include names a file of some machine", "write the rules themselves")
	}
	if !ok {
		if len(outline.Includes) == 0 {
			add(0, false, "the file is not understood without doubt", "correct what the compiler names; else write plainer")
		}
		return out
	}
	if len(outline.Rules) == 0 {
		add(0, false, "the file holds no rule", "remove it")
	}
	plain := split.Plain([]slot.Source{s})
	var left split.Outline
	if len(plain) == 1 {
		left, _ = split.Read(plain[0].Text)
	}
	for _, module := range outline.Imports {
		used := slices.ContainsFunc(outline.Rules, func(r split.Rule) bool { return slices.Contains(r.Words, module) })
		switch {
		case !used:
			add(0, false, fmt.Sprintf("no rule uses the module %q", module), "remove the import")
		case costly[module] != "" && slices.Contains(left.Imports, module):
			add(0, false, fmt.Sprintf("the module %q costs every file that is screened %s", module, costly[module]),
				`begin conditions that use it with uint16(0) == 0x5A4D or uint32(0) == 0x464C457F and, or look without it`)
		}
	}
	for _, r := range outline.Rules {
		if where, twice := names[r.Name]; twice {
			add(r.Line, false, fmt.Sprintf("there is another rule %s in %s", r.Name, where), "give it a name of its own: policies, reports and exceptions name rules")
		}
		names[r.Name] = s.Name
		for _, str := range r.Strings {
			var text, fix string
			switch str.Text[0] {
			case '/':
				text, fix = judgeRegexp(str.Text)
			case '{':
				text, fix = judgeHex(str.Text)
			}
			if text != "" {
				add(str.Line, strings.Contains(text, "explodes") || strings.Contains(text, "explode:") || strings.Contains(text, "written out"),
					fmt.Sprintf("%s of %s: %s", str.Name, r.Name, text), fix)
			}
		}
		if !r.Private {
			lintMeta(r, manifest, add)
		}
	}
	return out
}

// lintMeta asks for what a report, a screen and a reviewer need of a rule.
func lintMeta(r split.Rule, manifest rules.Manifest, add func(line int, harm bool, text, fix string)) {
	meta := map[string]string{}
	for _, m := range r.Meta {
		if _, twice := meta[m.Name]; twice && slices.Contains([]string{"description", "author", "reference", "severity"}, m.Name) {
			add(r.Line, false, fmt.Sprintf("%s says its %s twice", r.Name, m.Name), "keep one")
		}
		meta[m.Name] = m.Text
	}
	for _, want := range [][2]string{
		{"description", "a plain sentence for the person at the kiosk"}, {"author", "who answers for it"},
		{"reference", "where to read about it, as an address that begins with https://"}, {"severity", "inform, warn or block"},
	} {
		if meta[want[0]] == "" {
			add(r.Line, false, fmt.Sprintf("%s has no %s", r.Name, want[0]), "add one: "+want[1])
		}
	}
	if d := meta["description"]; len(d) > maxDescription || d != "" && !strings.HasSuffix(d, ".") {
		add(r.Line, false, fmt.Sprintf("the description of %s is no sentence of at most %d bytes", r.Name, maxDescription), "a person who is no expert reads it: one sentence, with its full stop")
	}
	if ref := meta["reference"]; ref != "" && !strings.HasPrefix(ref, "https://") {
		add(r.Line, false, fmt.Sprintf("the reference of %s is no address", r.Name), "begin it with https://")
	}
	if s := meta["severity"]; s != "" {
		if _, err := report.ParseSeverity(s); err != nil {
			add(r.Line, false, fmt.Sprintf("%s has the severity %q, which does not exist", r.Name, s), "use inform, warn or block; anything else blocks")
		} else if len(manifest.Severities) > 0 && !slices.Contains(manifest.Severities, s) {
			add(r.Line, false, fmt.Sprintf("%s has the severity %q, which is none of the pack's", r.Name, s), "add it to severities in pack.toml, or change it")
		}
	}
}

// base is the last part of a path, as rules see a file's name.
func base(name string) string { return path.Base(name) }
