package split

import (
	"slices"
	"strconv"
	"strings"
)

// Outline is what stands in a file of rules, for people who look after rules. Whether it means anything is libyara's to say.
type Outline struct {
	Imports  []string
	Includes []int // lines
	Rules    []Rule
}

// Rule is one rule of an Outline.
type Rule struct {
	Name      string
	Line      int
	Private   bool
	Global    bool
	Meta      []Meta
	Strings   []String
	Condition string   // as it stands there
	Words     []string // of the condition, each once: modules, variables, other rules
	Text      string   // all of it
}

// Meta is one line of a rule's metadata. Text is empty for numbers and for true and false.
type Meta struct{ Name, Text string }

// String is one string of a rule.
type String struct {
	Name string // with its sign
	Line int
	Text string // with its quotes, slashes or braces
}

// Read outlines a file. It is not ok if the file holds anything that the lexer does not know for certain; then only Includes
// may be of use.
func Read(source []byte) (out Outline, ok bool) {
	f := &file{source: source}
	if !f.lex() {
		return Outline{}, false
	}
	for i := range f.tokens { // include is a keyword, so it names nothing
		if f.is(i, "include") {
			out.Includes = append(out.Includes, f.line(i))
		}
	}
	if len(out.Includes) > 0 {
		return out, false
	}
	if f, ok = parse(source); !ok {
		return out, false
	}
	out.Imports = f.imports
	for _, r := range f.rules {
		out.Rules = append(out.Rules, f.outline(r))
	}
	return out, true
}

// line is where a token stands, from 1.
func (f *file) line(i int) int {
	if f.lines == nil {
		f.lines = []int{0}
		for at, c := range f.source {
			if c == '\n' {
				f.lines = append(f.lines, at+1)
			}
		}
	}
	at, exact := slices.BinarySearch(f.lines, f.tokens[i].from)
	if exact {
		at++
	}
	return at
}

func (f *file) between(s span) string {
	return string(f.source[f.tokens[s.from].from:f.tokens[s.to-1].to])
}

func (f *file) outline(r rule) Rule {
	out := Rule{Name: r.name, Global: r.global, Condition: f.between(r.condition), Text: f.between(r.all)}
	at := r.all.from
	for ; !f.is(at, "rule"); at++ {
		out.Private = out.Private || f.is(at, "private")
	}
	out.Line = f.line(at)
	section := ""
	for ; at < r.condition.from; at++ {
		switch {
		case f.is(at+1, ":") && (f.is(at, "meta") || f.is(at, "strings")):
			section = f.text(at)
		case section == "meta" && f.tokens[at].kind == word && f.is(at+1, "="):
			m := Meta{Name: f.text(at)}
			if value := f.text(at + 2); value[0] == '"' {
				m.Text = unquote(value)
			}
			out.Meta = append(out.Meta, m)
			at += 2
		case section == "strings" && f.tokens[at].kind == name && f.is(at+1, "="):
			out.Strings = append(out.Strings, String{f.text(at), f.line(at), f.text(at + 2)})
			at += 2
		}
	}
	for at := r.condition.from; at < r.condition.to; at++ {
		if f.tokens[at].kind == word && !slices.Contains(out.Words, f.text(at)) {
			out.Words = append(out.Words, f.text(at))
		}
	}
	return out
}

// unquote is what a text of the language says: its escapes are \", \\, \n, \t, \r and \xHH.
func unquote(quoted string) string {
	inner := quoted[1 : len(quoted)-1]
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] != '\\' || i+1 == len(inner) {
			b.WriteByte(inner[i])
			continue
		}
		i++
		switch c := inner[i]; c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'x':
			if n, err := strconv.ParseUint(inner[i+1:min(len(inner), i+3)], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
