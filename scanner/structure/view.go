package structure

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

var le = binary.LittleEndian

const (
	// textBytes is how much of a text is searched for the words of a script. Windows runs scripts by their extension, which
	// is looked at too, so padding in front of them gains little.
	textBytes = 16 << 10
	// searchBytes bounds what is searched of content where a word anywhere counts and Go's fast search does not serve.
	searchBytes = 4 << 20
	// blanks are what a person does not see in a name.
	blanks = " \t\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u200B\u202F\u205F\u2800\u3000\u3164\uFEFF"
)

// view is content of which the beginning and perhaps the end are in memory.
type view struct {
	head, tail []byte
	size       int64
}

// newView bounds what a caller gives by what it says of the size.
func newView(head, tail []byte, size int64) view {
	size = max(size, 0)
	if int64(len(head)) >= size {
		return view{head: head[:size], size: size}
	}
	return view{head: head, tail: tail[max(0, int64(len(tail))-size):], size: size}
}

// whole reports whether all content is in memory.
func (v *view) whole() bool { return int64(len(v.head)) == v.size }

// at returns n bytes from an offset, or nil if they are not in memory.
func (v *view) at(off, n int64) []byte {
	if off < 0 || n < 0 || off > v.size-n {
		return nil
	}
	if off+n <= int64(len(v.head)) {
		return v.head[off : off+n]
	}
	if start := v.size - int64(len(v.tail)); off >= start {
		return v.tail[off-start : off-start+n]
	}
	return nil
}

// has reports whether the content holds a word at an offset.
func (v *view) has(off int64, word string) bool { return string(v.at(off, int64(len(word)))) == word }

// end returns up to n of the last bytes, and where they begin.
func (v *view) end(n int64) ([]byte, int64) {
	from := v.tail
	if v.whole() {
		from = v.head
	}
	from = from[max(0, int64(len(from))-n):]
	return from, v.size - int64(len(from))
}

// contains reports whether a word is anywhere in what is in memory.
func (v *view) contains(word string) bool {
	return bytes.Contains(v.head, []byte(word)) || bytes.Contains(v.tail, []byte(word))
}

// wide is a word as UTF-16 in little endian, as Windows' formats store it.
func wide(word string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(word)) {
		b = le.AppendUint16(b, u)
	}
	return string(b)
}

// words returns the beginning of a text in small letters, up to the first zero. UTF-16 with a byte order mark becomes its
// low bytes: the words that are looked for are ASCII.
func words(head []byte) []byte {
	switch {
	case bytes.HasPrefix(head, []byte("\xFF\xFE")):
		head = narrow(head[2:], 0)
	case bytes.HasPrefix(head, []byte("\xFE\xFF")):
		head = narrow(head[2:], 1)
	default:
		head = bytes.TrimPrefix(head[:min(len(head), textBytes)], []byte("\xEF\xBB\xBF"))
		head, _, _ = bytes.Cut(head, []byte{0})
	}
	return lower(head)
}

// narrow keeps one byte of each pair: the one at low, or a question mark if the other is not zero.
func narrow(b []byte, low int) []byte {
	out := make([]byte, 0, min(len(b)/2, textBytes))
	for i := 0; i+1 < len(b) && len(out) < textBytes; i += 2 {
		c := b[i+low]
		if b[i+1-low] != 0 {
			c = '?'
		}
		out = append(out, c)
	}
	return out
}

// lower returns a copy with ASCII capitals made small. Other bytes stay, so that offsets do too.
func lower(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// containsFold reports whether text holds word, which is in small ASCII letters, whatever its capitals.
func containsFold(text []byte, word string) bool {
	return bytes.Contains(text, []byte(word)) || bytes.Contains(lower(text), []byte(word))
}
