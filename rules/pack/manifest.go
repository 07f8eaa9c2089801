package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pratique/rules"
	"pratique/scanner/report"
)

// checkManifest holds a manifest against what a signed pack must say. Its error is a Refusal.
func checkManifest(m rules.Manifest) error {
	if m.Product != Product {
		return refuse(WrongProduct, "the pack is for the product %q, not for %q", short(m.Product), Product)
	}
	if err := manifestError(m); err != nil {
		return refuse(Malformed, "pack.toml: %v", err)
	}
	return nil
}

func manifestError(m rules.Manifest) error {
	switch {
	case !isPackName(m.Name):
		return fmt.Errorf("name: want 1 to 32 of a-z, 0-9 and -")
	case m.Version == 0 || m.Version > 1<<53: // a number in JSON holds no more
		return errors.New("version: want 1 to 2^53")
	case m.Author == "" || !isText(m.Author, maxName):
		return fmt.Errorf("author: want 1 to %d printable characters", maxName)
	case m.NotAfter.IsZero():
		return errors.New("not_after is missing: a pack that never ends could never be taken back")
	case m.NotAfter.Nanosecond() != 0 || m.NotAfter.Year() > 9999:
		return errors.New("not_after: want a time with whole seconds, such as 2027-01-31T00:00:00Z")
	case len(m.Severities) == 0:
		return errors.New("severities: name the classes that the rules use, of \"inform\", \"warn\", \"block\"")
	case len(m.Changes) == 0 || len(m.Changes) > maxChanges:
		return fmt.Errorf("changes: want 1 to %d notes on what is new", maxChanges)
	}
	if _, err := parseVersion(m.MinVersion); err != nil {
		return fmt.Errorf("min_version: %w", err)
	}
	seen := map[string]bool{}
	for _, s := range m.Severities {
		if _, err := report.ParseSeverity(s); err != nil || seen[s] {
			return fmt.Errorf("severities: %q is none, or stands there twice", short(s))
		}
		seen[s] = true
	}
	for _, c := range m.Changes {
		if c == "" || !isText(c, maxNote) {
			return fmt.Errorf("changes: each note is 1 to %d printable characters", maxNote)
		}
	}
	return nil
}

// checkLife refuses packs that would be good for longer than anybody should promise.
func checkLife(notAfter, issued time.Time) error {
	if notAfter.Sub(issued) > maxPackLife {
		return refuse(Malformed, "the pack would be good until %s, more than %d days from when it was signed",
			day(notAfter), int(maxPackLife.Hours()/24))
	}
	return nil
}

func isPackName(s string) bool {
	return len(s) >= 1 && len(s) <= 32 && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isText reports whether a person can read s on one line, and reads what it says: no control or bidirectional characters.
func isText(s string, limit int) bool {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > limit {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) }) < 0
}

// short cuts what an unsigned file said, for a message.
func short(s string) string { return s[:min(len(s), maxName)] }

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

// parseVersion reads a version of the program: three numbers.
func parseVersion(s string) ([3]uint64, error) {
	var v [3]uint64
	parts := strings.Split(s, ".")
	if len(parts) != len(v) {
		return v, errors.New("want three numbers, such as \"0.1.0\"")
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return v, errors.New("want three numbers, such as \"0.1.0\"")
		}
		v[i] = n
	}
	return v, nil
}

func when(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 UTC") }

// list joins names for a sentence.
func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// fingerprint is a digest that two persons can read to each other.
func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	text := fmt.Sprintf("%x", sum[:16])
	var parts []string
	for i := 0; i < len(text); i += 4 {
		parts = append(parts, text[i:i+4])
	}
	return strings.Join(parts, "-")
}
