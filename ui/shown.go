package ui

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown bounds a name on the screen, in characters: a name of a line or two tells as much as one of a page.
const maxShown = 80

// Shown is a name as the screen shows it. The fonts that the screen has draw Latin, Greek and Cyrillic; what is beyond them, what
// changes the direction or the place of other characters, and what cannot be seen is written as its number, so that nobody takes
// one name for another.
func Shown(name string) string {
	var out strings.Builder
	n := 0
	for len(name) > 0 {
		r, size := utf8.DecodeRuneInString(name)
		var add string
		switch {
		case r == utf8.RuneError && size == 1:
			add = fmt.Sprintf(`\x%02x`, name[0])
		case r == '\\':
			add = `\\`
		case drawn(r):
			add = string(r)
		default:
			add = fmt.Sprintf(`\u{%x}`, r)
		}
		if n += len([]rune(add)); n > maxShown {
			return out.String() + "…"
		}
		out.WriteString(add)
		name = name[size:]
	}
	return out.String()
}

// drawn reports whether the screen can draw a character so that it can be told from others. Marks that combine with the character
// before are not, since any number of them fits on one.
func drawn(r rune) bool {
	switch {
	case r == ' ':
		return true
	case r < 0x20, r == 0x7F, !unicode.IsGraphic(r), unicode.IsSpace(r):
		return false
	case r < 0x250:
		return r != 0xAD
	case unicode.IsMark(r):
		return false
	case r >= 0x370 && r < 0x530:
		return unicode.In(r, unicode.Greek, unicode.Cyrillic)
	}
	return strings.ContainsRune("–—‘’“”„…€№", r)
}
