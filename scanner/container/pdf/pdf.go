// Package pdf reads the objects of a PDF file (ISO 32000-1, https://opensource.adobe.com/dc-acrobat-sdk-docs/pdfstandards/PDF32000_2008.pdf)
// without believing where it says they are.
//
// A file is a heap of objects, each "NUMBER GENERATION obj VALUE endobj", and tables that say where they begin. Readers follow
// the tables, and look for the objects themselves if these are wrong; so an object that no table names may be what one reader
// shows. Scan finds every place at which an object can begin, in the bytes of streams too, which is more than any table can name.
//
// A value (7.3) is a number, a text in parentheses or in hexadecimal digits, a name, a list, a dictionary, or a reference to an
// object. A dictionary with the word "stream" behind it is followed by bytes, which end where its Length says, or at the word
// "endstream". Filters (7.4) say how the bytes are packed, one over the other; streams of the type ObjStm (7.5.7) hold objects.
//
// It trusts nothing: numbers decide no allocation, values nest maxNesting deep, filters maxFilters, and a value ends after
// MaxValue bytes. What a filter cannot unpack ends there, as it does for every reader, and Decode says so. Encrypted files are
// opened if they can be opened without a password, as anybody's reader does.
package pdf

import (
	"bytes"
	"errors"
	"strconv"
)

const (
	// MaxValue bounds a value in memory: lists of a hundred thousand pages take one megabyte.
	MaxValue = 4 << 20
	// maxNesting bounds lists in lists; writers use ten.
	maxNesting = 64
	// maxNumber bounds the digits of a number.
	maxNumber = 32
)

// Values beside int64, float64, bool and nil.
type (
	Name string
	Text []byte
	List []any
	Dict map[Name]any
	Ref  struct{ Number, Generation int64 }
	Word string // a word that is no value, such as endobj
)

var (
	// ErrShort: the bytes end within the value.
	ErrShort = errors.New("pdf: a value ends early")
	// ErrMalformed: the bytes are no value.
	ErrMalformed = errors.New("pdf: damaged")
	// ErrEncrypted: the file cannot be opened without a password.
	ErrEncrypted = errors.New("pdf: encrypted")
	// ErrUnknown: a filter that this package does not know.
	ErrUnknown = errors.New("pdf: packed in an unknown way")
)

// Parser reads values one after the other.
type Parser struct {
	B  []byte
	At int
}

func space(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func delimiter(c byte) bool {
	switch c {
	case '(', ')', '<', '>', '[', ']', '{', '}', '/', '%':
		return true
	}
	return false
}

// Skip goes over blanks and comments.
func (p *Parser) Skip() {
	for p.At < len(p.B) {
		switch c := p.B[p.At]; {
		case space(c):
			p.At++
		case c == '%':
			for p.At < len(p.B) && p.B[p.At] != '\n' && p.B[p.At] != '\r' {
				p.At++
			}
		default:
			return
		}
	}
}

// Value reads the next value. At the end of the bytes it is ErrShort.
func (p *Parser) Value() (any, error) { return p.value(0) }

func (p *Parser) value(depth int) (any, error) {
	p.Skip()
	if depth > maxNesting {
		return nil, ErrMalformed
	}
	if p.At >= len(p.B) {
		return nil, ErrShort
	}
	switch c := p.B[p.At]; {
	case c == '/':
		return p.name(), nil
	case c == '(':
		return p.text()
	case c == '<':
		if p.At+1 < len(p.B) && p.B[p.At+1] == '<' {
			p.At += 2
			return p.dict(depth)
		}
		return p.hex()
	case c == '[':
		p.At++
		return p.list(depth)
	case c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.':
		return p.number()
	case delimiter(c):
		p.At++
		return Word(c), nil
	}
	from := p.At
	for p.At < len(p.B) && !space(p.B[p.At]) && !delimiter(p.B[p.At]) {
		p.At++
	}
	switch w := string(p.B[from:p.At]); w {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	default:
		return Word(w[:min(len(w), maxNumber)]), nil
	}
}

func (p *Parser) name() Name {
	p.At++
	var out []byte
	for p.At < len(p.B) && !space(p.B[p.At]) && !delimiter(p.B[p.At]) {
		c := p.B[p.At]
		if c == '#' && p.At+2 < len(p.B) {
			if v, err := strconv.ParseUint(string(p.B[p.At+1:p.At+3]), 16, 8); err == nil {
				c = byte(v)
				p.At += 2
			}
		}
		out = append(out, c)
		p.At++
	}
	return Name(out)
}

// number reads a number, or a reference: two whole numbers and the letter R.
func (p *Parser) number() (any, error) {
	n, whole := p.digits()
	if !whole {
		return n, nil
	}
	number := n.(int64)
	back := p.At
	p.Skip()
	if p.At < len(p.B) && p.B[p.At] >= '0' && p.B[p.At] <= '9' {
		if g, whole := p.digits(); whole {
			p.Skip()
			if p.At < len(p.B) && p.B[p.At] == 'R' && (p.At+1 == len(p.B) || space(p.B[p.At+1]) || delimiter(p.B[p.At+1])) {
				p.At++
				return Ref{number, g.(int64)}, nil
			}
		}
	}
	p.At = back
	return number, nil
}

func (p *Parser) digits() (v any, whole bool) {
	from := p.At
	for p.At < len(p.B) && (p.B[p.At] >= '0' && p.B[p.At] <= '9' || p.B[p.At] == '.' || p.B[p.At] == '-' || p.B[p.At] == '+') {
		p.At++
	}
	s := string(p.B[from:min(p.At, from+maxNumber)])
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		f = 0 // as readers take it
	}
	return f, false
}

// text reads a text in parentheses (7.3.4.2).
func (p *Parser) text() (any, error) {
	p.At++
	out := Text{}
	for open := 1; p.At < len(p.B); p.At++ {
		c := p.B[p.At]
		switch c {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				p.At++
				return out, nil
			}
		case '\\':
			if p.At++; p.At >= len(p.B) {
				return nil, ErrShort
			}
			switch c = p.B[p.At]; {
			case c >= '0' && c <= '7':
				v := 0
				for i := 0; i < 3 && p.At < len(p.B) && p.B[p.At] >= '0' && p.B[p.At] <= '7'; i++ {
					v = v<<3 | int(p.B[p.At]-'0')
					p.At++
				}
				p.At--
				c = byte(v)
			case c == '\r':
				if p.At+1 < len(p.B) && p.B[p.At+1] == '\n' {
					p.At++
				}
				continue
			case c == '\n':
				continue
			default:
				if i := bytes.IndexByte([]byte("nrtbf"), c); i >= 0 {
					c = "\n\r\t\b\f"[i]
				}
			}
		}
		out = append(out, c)
	}
	return nil, ErrShort
}

func (p *Parser) hex() (any, error) {
	p.At++
	out, half := Text{}, -1
	for ; p.At < len(p.B); p.At++ {
		c := p.B[p.At]
		if c == '>' {
			p.At++
			if half >= 0 {
				out = append(out, byte(half<<4))
			}
			return out, nil
		}
		v := unhex(c)
		switch {
		case v < 0:
		case half < 0:
			half = v
		default:
			out, half = append(out, byte(half<<4|v)), -1
		}
	}
	return nil, ErrShort
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func (p *Parser) list(depth int) (any, error) {
	out := List{}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		switch v {
		case Word("]"):
			return out, nil
		case Word(">"), Word("endobj"), Word("stream"):
			return nil, ErrMalformed
		}
		if _, ok := v.(Word); !ok {
			out = append(out, v)
		}
	}
}

// dict reads a dictionary. Of two entries with one key both are kept, the second under a name that nobody asks for, so that
// who looks at every value sees what any reader does.
func (p *Parser) dict(depth int) (any, error) {
	out := Dict{}
	for {
		key, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		switch key {
		case Word(">"):
			if p.At < len(p.B) && p.B[p.At] == '>' {
				p.At++
			}
			return out, nil
		case Word("endobj"), Word("stream"):
			return nil, ErrMalformed
		}
		name, ok := key.(Name)
		if !ok {
			continue
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if v == Word(">") { // a key without a value
			if p.At < len(p.B) && p.B[p.At] == '>' {
				p.At++
			}
			return out, nil
		}
		for i := 0; ; i++ {
			k := name
			if i > 0 {
				k = Name(strconv.Itoa(i)) + " " + name
			}
			if _, twice := out[k]; !twice || i == maxNesting {
				out[k] = v
				break
			}
		}
	}
}
