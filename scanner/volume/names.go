package volume

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"pratique/scanner/report"
)

// WTF8 turns UTF-16 as a volume stores it into the form in which paths travel: UTF-8, with each surrogate that has no
// partner kept as three bytes (https://simonsapin.github.io/wtf-8/). Two different names never become the same.
func WTF8(units []uint16) string {
	var b []byte
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 < len(units) {
				if pair := utf16.DecodeRune(r, rune(units[i+1])); pair != unicode.ReplacementChar {
					b = utf8.AppendRune(b, pair)
					i++
					continue
				}
			}
			b = append(b, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0xBF, 0x80|byte(r)&0xBF)
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

// Component says whether name can be one component of a path, and if not returns one that can stand for it. A name that
// holds the separator, or that means "here" or "above", would make the path of one entry look like that of another; its
// entry is malformed, whatever else it is.
func Component(name string) (string, bool) {
	switch name {
	case "", ".", "..":
		return "\uFFFD" + name, false
	}
	if strings.ContainsAny(name, "/\x00") {
		return strings.Map(func(r rune) rune {
			if r == '/' || r == 0 {
				return unicode.ReplacementChar
			}
			return r
		}, strings.ToValidUTF8(name, "\uFFFD")), false
	}
	return name, true
}

// nameTricks are what a name may do to deceive a person or a program. Each is shown to the person; none bars a clearance
// by itself, because each also occurs by accident.
var nameTricks = []struct {
	rule, text string
	found      func(name string) bool
}{
	{"name-direction", "The name holds characters that reverse the reading direction, so that it looks like another name.",
		func(s string) bool {
			return strings.ContainsAny(s, "\u061C\u200E\u200F\u202A\u202B\u202C\u202D\u202E\u2066\u2067\u2068\u2069")
		}},
	{"name-invisible", "The name holds characters that cannot be seen.",
		func(s string) bool { return strings.ContainsFunc(s, invisible) }},
	{"name-control", "The name holds control characters.",
		func(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }},
	{"name-illegal", "The name holds characters that Windows does not allow.",
		func(s string) bool { return strings.ContainsAny(s, `"*:<>?|\`) }},
	{"name-trailing", "The name ends in a dot or a space, so that Windows opens another file.",
		func(s string) bool { return strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") }},
	{"name-leading-space", "The name begins with a space.",
		func(s string) bool { return strings.HasPrefix(s, " ") }},
	{"name-device", "The name is reserved for a device on Windows.", reserved},
	{"name-surrogate", "The name holds half a character.",
		func(s string) bool { return !utf8.ValidString(s) }},
}

// NameFindings says what is odd about the name of one entry. The name is one component, as WTF-8.
func NameFindings(name string) []report.Finding {
	var out []report.Finding
	for _, trick := range nameTricks {
		if trick.found(name) {
			out = append(out, report.Finding{Check: report.CheckVolume, Rule: trick.rule, Severity: report.Warn, Offset: -1, Text: trick.text})
		}
	}
	return out
}

// invisible: zero width, fillers that render as nothing, the byte order mark, soft hyphen, tags, interlinear marks. The
// zero-width joiner is left out: families and flags among emoji need it, and it joins only what can be seen.
func invisible(r rune) bool {
	switch {
	case r == 0x00AD, r == 0x034F, r == 0x115F, r == 0x1160, r == 0x17B4, r == 0x17B5, r == 0x180E, r == 0x3164, r == 0xFEFF, r == 0xFFA0:
		return true
	case r >= 0x200B && r <= 0x200C, r >= 0x2028 && r <= 0x2029, r >= 0x2060 && r <= 0x2064, r >= 0xFFF9 && r <= 0xFFFB:
		return true
	}
	return r >= 0xE0000 && r <= 0xE007F
}

// reserved follows Microsoft's "Naming Files, Paths, and Namespaces": the part before the first dot decides, trailing
// spaces do not count, and the superscript digits of Latin-1 are digits here.
func reserved(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if digit, ok := strings.CutPrefix(stem, port); ok {
			return len(digit) == 1 && digit[0] >= '0' && digit[0] <= '9' || digit == "\u00B9" || digit == "\u00B2" || digit == "\u00B3"
		}
	}
	return false
}

// SameName is the finding for a name that a directory holds twice: which of the two a program opens depends on the system.
var SameName = report.Finding{Check: report.CheckVolume, Rule: "name-twice", Severity: report.Warn, Offset: -1,
	Text: "Another entry of the same directory has the same name but for capital letters."}

// Siblings finds names of one directory that a system without regard to case takes for the same. The zero value is ready.
type Siblings struct{ seen map[uint64]struct{} }

// Add notes a name and reports whether an equal one was added before. It keeps 64 bits of a hash instead of the name, so
// that a directory of a million names costs little; somebody who makes two names collide gains one needless warning.
func (s *Siblings) Add(name string) bool {
	sum := sha256.Sum256([]byte(Fold(name)))
	key := binary.LittleEndian.Uint64(sum[:])
	if _, twice := s.seen[key]; twice {
		return true
	}
	if s.seen == nil {
		s.seen = make(map[uint64]struct{})
	}
	s.seen[key] = struct{}{}
	return false
}

// Fold maps a name to the form in which two names are compared: simple capitals, one to one, and only in the basic plane,
// as FAT and exFAT drivers do. What is not valid UTF-8 stays as it is.
func Fold(name string) string {
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 || r > 0xFFFF {
			b = append(b, name[i:i+n]...)
		} else {
			b = utf8.AppendRune(b, unicode.ToUpper(r))
		}
		i += n
	}
	return string(b)
}
