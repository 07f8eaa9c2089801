package check

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxWays bounds in how many ways the wide repeats of an expression can share out content. libyara tries all of them
	// wherever an expression's fixed part stands: 200 ways over a megabyte of nothing else are 1.7 seconds, 40,000 some
	// minutes, and there the kiosk's clock ends the scan.
	maxWays = 50_000
	// maxStates bounds the length of what libyara makes of an expression.
	maxStates = 20_000
	// wideSpan is from where a repeat counts as wide. \s{0,8} shares out nothing worth the time.
	wideSpan = 16
	// maxDepth is how deep brackets may nest.
	maxDepth = 32
)

// shape is what an expression can do to a scan.
type shape struct {
	ways      float64
	states    float64
	unbounded bool
}

// judgeRegexp returns what is wrong with an expression between slashes, and what to do.
func judgeRegexp(quoted string) (text, fix string) {
	inner := quoted[1:]
	inner = inner[:strings.LastIndexByte(inner, '/')]
	p := reader{text: inner}
	s, ok := p.either(0)
	switch {
	case !ok || p.at < len(p.text):
		return "the regular expression is not understood", "write it plainer"
	case s.unbounded:
		return "the regular expression repeats something without an end", "give each repeat an end, such as {0,80} for * and {1,80} for +"
	case s.ways > maxWays:
		return fmt.Sprintf("the regular expression explodes: its wide repeats can share out content in %.0f ways", s.ways),
			fmt.Sprintf("shorten or drop repeats until their product is below %d", maxWays)
	case s.states > maxStates:
		return fmt.Sprintf("the regular expression is as long as %.0f signs when its repeats are written out", s.states),
			fmt.Sprintf("shorten them until it is below %d", maxStates)
	}
	return "", ""
}

// judgeHex does the same for bytes in braces: jumps are their repeats.
func judgeHex(quoted string) (text, fix string) {
	ways := 1.0
	for rest := stripComments(quoted); ; {
		_, after, ok := strings.Cut(rest, "[")
		if !ok {
			break
		}
		jump, tail, ok := strings.Cut(after, "]")
		if !ok {
			return "the jump has no end", "write [4-16]"
		}
		rest = tail
		low, high, ranged := strings.Cut(strings.ReplaceAll(jump, " ", ""), "-")
		if !ranged {
			continue
		}
		n, err := strconv.Atoi(high)
		if err != nil {
			return "the bytes have a jump without an end", "give it one, such as [4-16]"
		}
		m, _ := strconv.Atoi(low)
		if n-m >= wideSpan {
			ways *= float64(n - m + 1)
		}
	}
	if ways > maxWays {
		return fmt.Sprintf("the bytes explode: their wide jumps can share out content in %.0f ways", ways),
			fmt.Sprintf("shorten or drop jumps until their product is below %d", maxWays)
	}
	return "", ""
}

func stripComments(s string) string {
	for _, pair := range [][2]string{{"/*", "*/"}, {"//", "\n"}} {
		for {
			before, after, ok := strings.Cut(s, pair[0])
			if !ok {
				break
			}
			_, rest, _ := strings.Cut(after, pair[1])
			s = before + " " + rest
		}
	}
	return s
}

// reader walks over an expression. See "Regular expressions" in
// https://yara.readthedocs.io/en/v4.2.3/writingrules.html for the language.
type reader struct {
	text string
	at   int
}

func (p *reader) next() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// either reads alternatives: the worst of them counts.
func (p *reader) either(depth int) (shape, bool) {
	all := shape{ways: 1}
	for {
		one, ok := p.sequence(depth)
		if !ok {
			return shape{}, false
		}
		all.ways, all.states = max(all.ways, one.ways), all.states+one.states
		all.unbounded = all.unbounded || one.unbounded
		if p.next() != '|' {
			return all, true
		}
		p.at++
	}
}

func (p *reader) sequence(depth int) (shape, bool) {
	all := shape{ways: 1}
	for p.at < len(p.text) && p.next() != '|' && p.next() != ')' {
		one, ok := p.item(depth)
		if !ok {
			return shape{}, false
		}
		if one, ok = p.repeat(one); !ok {
			return shape{}, false
		}
		all.ways, all.states = min(all.ways*one.ways, 1e15), min(all.states+one.states, 1e15)
		all.unbounded = all.unbounded || one.unbounded
	}
	return all, true
}

// item reads one sign, class or group.
func (p *reader) item(depth int) (shape, bool) {
	one := shape{ways: 1, states: 1}
	switch c := p.next(); c {
	case '(':
		if depth == maxDepth {
			return shape{}, false
		}
		p.at++
		p.at += len(p.text[p.at:]) - len(strings.TrimPrefix(p.text[p.at:], "?:"))
		inner, ok := p.either(depth + 1)
		if !ok || p.next() != ')' {
			return shape{}, false
		}
		p.at++
		return inner, true
	case '[':
		p.at++
		if p.next() == '^' {
			p.at++
		}
		if p.next() == ']' {
			p.at++
		}
		for p.at < len(p.text) && p.next() != ']' {
			if p.next() == '\\' {
				p.at++
			}
			p.at++
		}
		if p.next() != ']' {
			return shape{}, false
		}
		p.at++
	case '\\':
		p.at += 2
		if p.at > len(p.text) {
			return shape{}, false
		}
	case '*', '+', '?', '{':
		if c != '{' {
			return shape{}, false
		}
		p.at++ // a brace that follows nothing stands for itself
	default:
		p.at++
	}
	return one, true
}

// repeat reads what stands behind an item.
func (p *reader) repeat(one shape) (shape, bool) {
	low, high, end := 1, 1, false
	switch p.next() {
	case '*':
		low, high, end = 0, -1, true
	case '+':
		low, high, end = 1, -1, true
	case '?':
		low, high, end = 0, 1, true
	case '{':
		inner, _, ok := strings.Cut(p.text[p.at+1:], "}")
		m, n, ranged := strings.Cut(inner, ",")
		if !ok || strings.Trim(inner, "0123456789,") != "" || inner == "" {
			return one, true // a brace that stands for itself
		}
		low, _ = strconv.Atoi(m)
		switch {
		case !ranged:
			high = low
		case n == "":
			high = -1
		default:
			var err error
			if high, err = strconv.Atoi(n); err != nil || high < low {
				return shape{}, false
			}
		}
		p.at += len(inner) + 2
	default:
		return one, true
	}
	if end {
		p.at++
	}
	if p.next() == '?' {
		p.at++
	}
	if high < 0 {
		return shape{ways: one.ways, states: one.states, unbounded: true}, true
	}
	out := shape{ways: one.ways, states: min(one.states*float64(max(high, 1)), 1e15), unbounded: one.unbounded}
	for i := 1; i < high && one.ways > 1 && out.ways < 1e15; i++ {
		out.ways *= one.ways // each turn shares out anew
	}
	if high-low >= wideSpan {
		out.ways = min(out.ways*float64(high-low+1), 1e15)
	}
	return out, true
}
