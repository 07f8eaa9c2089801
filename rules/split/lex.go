package split

import (
	"bytes"
	"strings"
)

// lex cuts the source into tokens, as libyara's lexer does where both understand it. It gives up where it is not certain:
// one "or" that is taken for a part of something else would leave out a rule that can match.
func (f *file) lex() bool {
	for at := 0; at < len(f.source); {
		from, rest := at, f.source[at:]
		switch c := rest[0]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			at++
			continue
		case bytes.HasPrefix(rest, []byte("//")), bytes.HasPrefix(rest, []byte("/*")):
			n := comment(rest)
			if n == 0 {
				return false
			}
			at += n
			continue
		case letter(c):
			at += run(rest, wordByte)
			f.add(word, from, at)
		case digit(c):
			n := numeral(rest)
			if n == 0 {
				return false
			}
			at += n
			f.add(number, from, at)
		case c == '"' || c == '/':
			n := quoted(rest)
			if n == 0 {
				return false
			}
			at += n
			f.add(text, from, at)
		case c == '{' && len(f.tokens) > 0 && f.is(len(f.tokens)-1, "="):
			n := hexadecimal(rest)
			if n == 0 {
				return false
			}
			at += n
			f.add(text, from, at)
		case c == '$' || c == '#' || c == '@' || c == '!' && !bytes.HasPrefix(rest, []byte("!=")):
			at += 1 + run(rest[1:], wordByte)
			if c == '$' && at < len(f.source) && f.source[at] == '*' {
				at++
			}
			f.add(name, from, at)
		default:
			n := operator(rest)
			if n == 0 {
				return false
			}
			at += n
			f.add(mark, from, at)
		}
	}
	return true
}

func (f *file) add(k kind, from, to int) { f.tokens = append(f.tokens, token{k, from, to}) }

func letter(c byte) bool   { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool    { return '0' <= c && c <= '9' }
func wordByte(c byte) bool { return letter(c) || digit(c) }

// run is how many of the first bytes are of a kind.
func run(b []byte, of func(byte) bool) int {
	n := 0
	for n < len(b) && of(b[n]) {
		n++
	}
	return n
}

// comment is the length of the comment that b begins with, or 0 if it has no end.
func comment(b []byte) int {
	if b[1] == '/' {
		if n := bytes.IndexByte(b, '\n'); n >= 0 {
			return n
		}
		return len(b)
	}
	n := bytes.Index(b[2:], []byte("*/"))
	if n < 0 {
		return 0
	}
	return n + 4
}

// numeral is the length of a number, or 0. A letter straight behind it ("1or") is somebody's riddle.
func numeral(b []byte) int {
	n := run(b, digit)
	switch rest := b[n:]; {
	case n == 1 && b[0] == '0' && len(rest) > 0 && (rest[0] == 'x' || rest[0] == 'o'):
		n = run(b, wordByte)
		if n == 2 || strings.Trim(string(b[2:n]), "0123456789abcdefABCDEF") != "" {
			return 0
		}
		return n
	case bytes.HasPrefix(rest, []byte("KB")), bytes.HasPrefix(rest, []byte("MB")):
		n += 2
	case len(rest) > 1 && rest[0] == '.' && digit(rest[1]):
		n += 1 + run(rest[1:], digit)
	}
	if n < len(b) && wordByte(b[n]) {
		return 0
	}
	return n
}

// quoted is the length of a text or a regular expression, or 0. Both end at their sign, wherever that is not escaped; a
// regular expression may have the letters i and s behind it.
func quoted(b []byte) int {
	for n := 1; n < len(b) && b[n] != '\n'; n++ {
		switch b[n] {
		case '\\':
			if n++; n < len(b) && b[n] == '\n' {
				return 0
			}
		case b[0]:
			n++
			if b[0] == '"' {
				return n
			}
			for _, flag := range []byte("is") {
				if n < len(b) && b[n] == flag {
					n++
				}
			}
			if n < len(b) && wordByte(b[n]) {
				return 0
			}
			return n
		}
	}
	return 0
}

// hexadecimal is the length of a string of hexadecimal bytes in braces, which may hold comments, or 0.
func hexadecimal(b []byte) int {
	for n := 1; n < len(b); n++ {
		switch b[n] {
		case '}':
			return n + 1
		case '/':
			if n+1 == len(b) || b[n+1] != '/' && b[n+1] != '*' {
				return 0
			}
			length := comment(b[n:])
			if length == 0 {
				return 0
			}
			n += length - 1
		case '{', '"':
			return 0
		}
	}
	return 0
}

// operator is the length of the operator or bracket, or 0 for what is none.
func operator(b []byte) int {
	for _, two := range []string{"==", "!=", "<=", ">=", "<<", ">>", ".."} {
		if bytes.HasPrefix(b, []byte(two)) {
			return 2
		}
	}
	if strings.IndexByte("(){}[]:=<>+-*\\%&|^~.,", b[0]) >= 0 {
		return 1
	}
	return 0
}
