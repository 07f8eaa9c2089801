package split

import "slices"

// kind of a token.
type kind byte

const (
	word   kind = iota + 1 // identifier or keyword
	number                 // without a decimal point, or with one
	text                   // "…", a regular expression, or hexadecimal bytes
	name                   // of a string: $a, #a, @a, !a, and $a*
	mark                   // operator or bracket
)

// token is a piece of a file.
type token struct {
	kind     kind
	from, to int // in the source
}

// span is a range of tokens.
type span struct{ from, to int }

// rule is where a rule lies.
type rule struct {
	name      string
	global    bool
	all       span
	condition span
	cuts      []span // of the condition, in order: what is written as false
}

// file is a file of rules, cut into tokens.
type file struct {
	source  []byte
	tokens  []token
	pair    []int // for an opening bracket in a condition, the closing one
	imports []string
	rules   []rule
	named   map[string]int
	content class // that is judged for
	lines   []int // where lines begin; nil until somebody asks
}

// maxBrackets is how deep the brackets of a condition may nest. libyara's own parser ends at 10,000 levels of anything.
const maxBrackets = 64

func (f *file) text(i int) string { return string(f.source[f.tokens[i].from:f.tokens[i].to]) }

// is reports whether token i is this word or mark. It cannot be fooled by a text: that has its quotes.
func (f *file) is(i int, want string) bool {
	return i < len(f.tokens) && string(f.source[f.tokens[i].from:f.tokens[i].to]) == want
}

// parse cuts a file into imports and rules. It is not ok if there is anything else in it.
func parse(source []byte) (*file, bool) {
	f := &file{source: source, named: map[string]int{}}
	if !f.lex() {
		return nil, false
	}
	f.pair = make([]int, len(f.tokens))
	for at := 0; at < len(f.tokens); {
		if f.is(at, "import") {
			if at+1 >= len(f.tokens) || f.tokens[at+1].kind != text {
				return nil, false
			}
			quoted := f.text(at + 1)
			if quoted[0] != '"' {
				return nil, false
			}
			if module := quoted[1 : len(quoted)-1]; !slices.Contains(f.imports, module) {
				f.imports = append(f.imports, module)
			}
			at += 2
			continue
		}
		r, ok := f.rule(at)
		if !ok {
			return nil, false
		}
		if _, twice := f.named[r.name]; twice {
			return nil, false // libyara says so better
		}
		f.named[r.name] = len(f.rules)
		f.rules = append(f.rules, r)
		at = r.all.to
	}
	return f, true
}

// hidesModule reports whether a token is the name of a module in a place where only a loop's variable can be. In that loop
// "elf.type" is a field of whatever is looped over, such as the parts of a dex.
func (f *file) hidesModule(at int) bool {
	_, module := headers[f.text(at)]
	return module && !f.is(at+1, ".")
}

// rule finds the rule that begins at a token.
func (f *file) rule(at int) (r rule, ok bool) {
	r.all.from = at
	for f.is(at, "global") || f.is(at, "private") {
		r.global = r.global || f.is(at, "global")
		at++
	}
	if !f.is(at, "rule") || at+1 >= len(f.tokens) || f.tokens[at+1].kind != word {
		return r, false
	}
	r.name = f.text(at + 1)
	for at += 2; !f.is(at, "{"); at++ { // tags
		if at >= len(f.tokens) || f.tokens[at].kind != word && !f.is(at, ":") {
			return r, false
		}
	}
	// condition is a keyword, so it names nothing else; what the sections before it hold is libyara's to judge.
	for at++; !f.is(at, "condition"); at++ {
		if at >= len(f.tokens) || f.is(at, "}") || f.is(at, "{") {
			return r, false
		}
	}
	if !f.is(at+1, ":") {
		return r, false
	}
	r.condition.from = at + 2
	var open []int
	for at += 2; !f.is(at, "}"); at++ { // a condition holds no braces
		switch {
		case at >= len(f.tokens), f.is(at, "{"), f.is(at, "rule"), f.is(at, "condition"), f.hidesModule(at):
			return r, false
		case f.is(at, "("), f.is(at, "["):
			if len(open) == maxBrackets {
				return r, false
			}
			open = append(open, at)
		case f.is(at, ")"), f.is(at, "]"):
			if len(open) == 0 {
				return r, false
			}
			f.pair[open[len(open)-1]] = at
			open = open[:len(open)-1]
		}
	}
	r.condition.to, r.all.to = at, at+1
	return r, len(open) == 0 && r.condition.to > r.condition.from
}
