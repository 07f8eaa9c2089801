package split

import (
	"strconv"
	"strings"
)

// headers are the fields and functions of libyara's modules that need a header. Without one the undefined cannot be true in
// any comparison; the zero are 0, so that only by themselves they are never true. What is not listed counts as possibly true:
// constants, and functions that answer without a header too. A test asks libyara about each of them.
var headers = map[string]struct{ undefined, zero string }{
	"pe": {
		undefined: "machine number_of_sections timestamp characteristics entry_point image_base number_of_resources " +
			"number_of_imports number_of_exports number_of_signatures sections resources version_info " +
			"signatures checksum subsystem imphash dll_name pdb_path exports imports",
		zero: "is_pe",
	},
	"dotnet": {
		undefined: "version module_name number_of_streams streams number_of_guids guids number_of_resources resources typelib is_dotnet",
	},
	"elf": {undefined: "type machine entry_point number_of_sections number_of_segments sections segments"},
}

// integers are the functions that read an integer of the content, by their width.
var integers = map[string]int{
	"uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint16be": -2, "int16be": -2, "uint32be": -4, "int32be": -4, // less than 0: the first byte is the highest
}

// judge reports whether a condition is never true of the content that is left, and which of its operands can be written
// as false.
func (f *file) judge(c span) (never bool, cuts []span) {
	if c.from >= c.to {
		return false, nil // "a or or b": libyara says so better
	}
	operands := f.divide(c, "or")
	if len(operands) > 1 {
		never = true
		for _, o := range operands {
			is, inner := f.judge(o)
			if is && !f.namesString(o) {
				inner = []span{o}
			}
			never = never && is
			cuts = append(cuts, inner...)
		}
		return never, cuts
	}
	operands = f.divide(c, "and")
	if len(operands) > 1 {
		for _, o := range operands {
			is, inner := f.judge(o)
			never = never || is
			cuts = append(cuts, inner...)
		}
		return never, cuts
	}
	if f.is(c.from, "(") && f.pair[c.from] == c.to-1 {
		return f.judge(span{c.from + 1, c.to - 1})
	}
	return f.single(c), nil
}

// divide cuts a range at the words "or" or "and" outside brackets. Both bind weaker than everything else, "or" weaker than
// "and".
func (f *file) divide(c span, at string) (parts []span) {
	from := c.from
	for i := c.from; i < c.to; i++ {
		switch {
		case f.pair[i] > 0:
			i = f.pair[i]
		case f.is(i, at):
			parts = append(parts, span{from, i})
			from = i + 1
		}
	}
	return append(parts, span{from, c.to})
}

// namesString reports whether a range names a string. A string that no condition names is an error.
func (f *file) namesString(c span) bool {
	for i := c.from; i < c.to; i++ {
		if f.tokens[i].kind == name || f.is(i, "them") {
			return true
		}
	}
	return false
}

// single judges an operand that is not made of others.
func (f *file) single(c span) bool {
	switch {
	case c.to-c.from == 1 && f.is(c.from, "false"):
		return true
	case f.is(c.from, "for") && f.is(c.from+1, "any"):
		for i := c.from + 2; i < c.to; i++ {
			switch {
			case f.is(i, ":"):
				if !f.is(i+1, "(") || f.pair[i+1] != c.to-1 {
					return false
				}
				never, _ := f.judge(span{i + 2, c.to - 1})
				return never
			case f.pair[i] > 0:
				i = f.pair[i]
			}
		}
		return false
	}
	left, zero := f.header(c)
	if left == c.to {
		return true
	}
	if left > c.from {
		return !zero && left < c.to-1 && f.compares(left) && f.plainValue(span{left + 1, c.to})
	}
	return f.begins(c) || f.content == large && f.bounds(c)
}

// bounds judges filesize < N and filesize <= N of large content.
func (f *file) bounds(c span) bool {
	if c.to-c.from != 3 || !f.is(c.from, "filesize") || f.tokens[c.from+2].kind != number {
		return false
	}
	text, unit := f.text(c.from+2), int64(1)
	if t, ok := strings.CutSuffix(text, "KB"); ok {
		text, unit = t, 1<<10
	} else if t, ok := strings.CutSuffix(text, "MB"); ok {
		text, unit = t, 1<<20
	}
	n, err := strconv.ParseInt(text, 10, 32) // hexadecimal digits are none of these, and count as possibly true
	return err == nil && (f.is(c.from+1, "<") && n*unit <= LargeBytes || f.is(c.from+1, "<=") && n*unit < LargeBytes)
}

// header returns the end of the field or function of a module that c begins with, or c.from, and whether it is 0 and not
// undefined without a header.
func (f *file) header(c span) (end int, zero bool) {
	module, ok := headers[f.text(c.from)]
	if !ok || c.to-c.from < 3 || !f.is(c.from+1, ".") {
		return c.from, false
	}
	field := f.text(c.from + 2)
	zero = listed(module.zero, field)
	if !zero && !listed(module.undefined, field) {
		return c.from, false
	}
	end = c.from + 3
	for end < c.to {
		switch {
		case f.is(end, "(") || f.is(end, "["):
			end = f.pair[end] + 1
		case f.is(end, ".") && end+1 < c.to && f.tokens[end+1].kind == word:
			end += 2
		default:
			return end, zero
		}
	}
	return end, zero
}

func listed(names, name string) bool {
	for n := range strings.FieldsSeq(names) {
		if n == name {
			return true
		}
	}
	return false
}

func (f *file) compares(i int) bool {
	switch f.text(i) {
	case "==", "!=", "<", ">", "<=", ">=", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "iequals", "matches":
		return true
	}
	return false
}

// plainValue reports whether a range is one literal, or one constant of a module.
func (f *file) plainValue(c span) bool {
	switch c.to - c.from {
	case 1:
		return f.tokens[c.from].kind == number || f.tokens[c.from].kind == text
	case 3:
		return f.tokens[c.from].kind == word && f.is(c.from+1, ".") && f.tokens[c.from+2].kind == word
	}
	return false
}

// begins judges uint16(0) == 0x5A4D and its like, either way around, and uint32(0) != 0 of content that begins with zeros.
func (f *file) begins(c span) bool {
	if c.to-c.from != 6 {
		return false
	}
	call, value, sign := c.from, c.from+5, c.from+4
	if f.is(c.from+1, "==") || f.is(c.from+1, "!=") {
		call, value, sign = c.from+2, c.from, c.from+1
	}
	differs := f.is(sign, "!=")
	if !differs && !f.is(sign, "==") {
		return false
	}
	width := integers[f.text(call)]
	at, ok := f.number(call + 2)
	if width == 0 || !f.is(call+1, "(") || !ok || at != 0 || !f.is(call+3, ")") {
		return false
	}
	want, ok := f.number(value)
	if !ok {
		return false
	}
	if f.content == zeros {
		return (want == 0) == differs // content that is shorter than that is not judged by these rules
	}
	if differs {
		return false
	}
	var head []byte
	for i := range max(width, -width) {
		if width > 0 {
			head = append(head, byte(want>>(8*i)))
		} else {
			head = append(head, byte(want>>(8*(-width-1-i))))
		}
	}
	return want>>(8*len(head)) == 0 && (Program(head) || f.content == large && Known(head))
}

// number is the value of a token, if it is a whole number without a unit.
func (f *file) number(i int) (uint64, bool) {
	if i >= len(f.tokens) || f.tokens[i].kind != number {
		return 0, false
	}
	text, base := f.text(i), 10
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		text, base = hex, 16
	}
	n, err := strconv.ParseUint(text, base, 64)
	return n, err == nil
}
