// Package split makes, of the sources of YARA rules, those that are enough for content that is no program, for content that
// begins with zeros, and for large content.
//
// Nine in ten public rules begin with uint16(0) == 0x5A4D: they look for Windows programs and nothing else. libyara searches
// all content for the strings of all of them, and builds the modules that they import (pe costs a quarter of a millisecond)
// for every letter and image. So the rules are compiled twice. The first set is the sources as they are, for content that
// begins as a program does (Program). The second is what Plain returns, for all other content: without the rules that cannot
// match there, and without the modules that only they need. Zeros and Large are the same for less content: what begins with
// four zeros, as do medical images, which are most of what a hospital's stick holds, and no script; and what has 4 MiB or
// more and begins as none of the known formats does, where rules that look for scripts and documents do not apply either.
//
// What is left out must be proven, so the proof is kept small. Only the condition's outermost and/or tree is looked at.
// An operand is "never" if it cannot be true of content that is no program:
//
//   - an integer of the first bytes equals a number that only a program begins with: uint16(0) == 0x5A4D;
//   - a field or function of the modules pe, dotnet and elf that is undefined without a header, by itself or compared:
//     pe.imphash() == "…". libyara calls neither undefined nor zero true, in any comparison;
//   - the word false, and a for any … whose body is never.
//
// Of content that begins with zeros one more is: an integer of the first bytes equals another number than 0, or differs from
// 0. With uint32(0) != 0 a rule says of itself that it looks for no such content. Of large content it is filesize < N with N
// of 4 MiB or less, and an integer of the first bytes that equals what a known format begins with.
//
// "a and b" is never if one of them is, "a or b" if both are. A rule whose condition is never is left out. Of the others, an
// operand of "or" that is never and names no string is written as false, so that it needs no module any more.
// Everything else ("not", arithmetic, other rules, a quantifier other than any) counts as possibly true. A rule that is global
// stays, and one that a rule that stays names, by itself or as name*. A file with anything that the lexer does not know for
// certain stays as it is, and so does one in which a loop's variable has the name of a module, which it hides.
//
// It trusts nothing in the sources: it runs in the compiler's jail, needs time in proportion to their size, and what it
// returns is compiled like any other source. Whether libyara agrees is what the tests of package yara ask it, rule set by
// rule set. See "Writing YARA rules" (https://yara.readthedocs.io/en/v4.2.3/writingrules.html) and libyara/lexer.l and
// libyara/grammar.y of version 4.2.3 for the language.
package split

import (
	"bytes"
	"slices"
	"strings"

	"pratique/scanner/slot"
)

// Program reports whether content begins as a program of Windows or Linux does: what the modules pe, dotnet and elf of
// libyara ask for before anything else.
func Program(content []byte) bool {
	return bytes.HasPrefix(content, []byte("MZ")) || bytes.HasPrefix(content, []byte("\x7fELF"))
}

// zeroBytes is how many zeros content begins with for which Zeros is made: as many as the widest integer that is understood.
const zeroBytes = 4

// Zero reports whether content begins with four zeros.
func Zero(content []byte) bool { return bytes.HasPrefix(content, make([]byte, zeroBytes)) }

// Plain returns the sources that give, on content that is no program, the same matches as all of them. Files in which
// nothing is left are left out.
func Plain(sources []slot.Source) []slot.Source { return reduce(sources, anyOther) }

// Zeros is the same for content that begins with four zeros.
func Zeros(sources []slot.Source) []slot.Source { return reduce(sources, zeros) }

// Large is the same for content of LargeBytes or more that is no program and begins as no known format.
func Large(sources []slot.Source) []slot.Source { return reduce(sources, large) }

// LargeBytes is where large content begins. What people write by hand is shorter.
const LargeBytes = 4 << 20

// formats are what content begins with that rules look into whatever its size: compound files, RTF, OneNote, shortcuts, PDF,
// JPEG, PNG and GIF.
var formats = []string{"\xD0\xCF\x11\xE0", "{\\rt", "\xE4\x52\x5C\x7B", "L\x00\x00\x00", "%PDF", "\xFF\xD8\xFF", "\x89PNG", "GIF8"}

// Known reports whether content begins as a program or as one of the formats does.
func Known(content []byte) bool {
	return Program(content) || slices.ContainsFunc(formats, func(f string) bool { return bytes.HasPrefix(content, []byte(f)) })
}

// class of content that is no program.
type class uint8

const (
	anyOther class = iota
	zeros
	large
)

func reduce(sources []slot.Source, content class) []slot.Source {
	var out []slot.Source
	for _, s := range sources {
		text, rules := remains(s.Text, content)
		if rules {
			out = append(out, slot.Source{Name: s.Name, Text: text})
		}
	}
	return out
}

// remains returns what is left of one file, and whether there may be a rule in it.
func remains(text []byte, content class) ([]byte, bool) {
	f, ok := parse(text)
	if !ok {
		return text, true
	}
	f.content = content
	keep, prefixes := make([]bool, len(f.rules)), newPrefixes(f.rules)
	for i := len(f.rules) - 1; i >= 0; i-- { // a rule can name only rules before it
		r := &f.rules[i]
		never, cuts := f.judge(r.condition)
		r.cuts = cuts
		keep[i] = keep[i] || r.global || !never
		if keep[i] {
			f.mark(keep, i, prefixes)
		}
	}
	var b bytes.Buffer
	used := map[string]bool{}
	for i, r := range f.rules {
		if keep[i] {
			f.write(&b, r, used)
		}
	}
	var head bytes.Buffer
	for _, name := range f.imports {
		if used[name] {
			head.WriteString("import \"" + name + "\"\n")
		}
	}
	return append(head.Bytes(), b.Bytes()...), slices.Contains(keep, true)
}

// prefixes finds the rules that name* means: each such name once, however often it is written, since what it means for a
// rule it means for those before.
type prefixes struct {
	names []string // of all rules, in order of the alphabet
	done  map[string]bool
}

func newPrefixes(rules []rule) *prefixes {
	p := &prefixes{done: map[string]bool{}}
	for _, r := range rules {
		p.names = append(p.names, r.name)
	}
	slices.Sort(p.names)
	return p
}

// of are the names that begin so, nil if that was asked before.
func (p *prefixes) of(prefix string) []string {
	if p.done[prefix] {
		return nil
	}
	p.done[prefix] = true
	from, _ := slices.BinarySearch(p.names, prefix)
	to := from
	for to < len(p.names) && strings.HasPrefix(p.names[to], prefix) {
		to++
	}
	return p.names[from:to]
}

// mark keeps the rules that the condition of rule i names.
func (f *file) mark(keep []bool, i int, prefixes *prefixes) {
	c := f.rules[i].condition
	for at := c.from; at < c.to; at++ {
		if f.tokens[at].kind != word {
			continue
		}
		name := f.text(at)
		if at+1 < c.to && f.is(at+1, "*") { // name*, or a product: then no rule has that name
			for _, named := range prefixes.of(name) {
				if j := f.named[named]; j < i {
					keep[j] = true
				}
			}
		} else if j, ok := f.named[name]; ok && j < i {
			keep[j] = true
		}
	}
}

// write appends a rule with its cuts, and notes which modules it uses.
func (f *file) write(b *bytes.Buffer, r rule, used map[string]bool) {
	from := f.tokens[r.all.from].from
	for at := r.condition.from; at < r.condition.to; at++ {
		if len(r.cuts) > 0 && r.cuts[0].from == at {
			b.Write(f.source[from:f.tokens[at].from])
			b.WriteString("false")
			at = r.cuts[0].to - 1
			r.cuts = r.cuts[1:]
			from = f.tokens[at].to
			continue
		}
		if f.tokens[at].kind == word && at+1 < r.condition.to && f.is(at+1, ".") {
			used[f.text(at)] = true
		}
	}
	b.Write(f.source[from:f.tokens[r.all.to-1].to])
	b.WriteByte('\n')
}
