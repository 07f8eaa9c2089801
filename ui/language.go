package ui

import (
	"embed"
	"errors"
	"fmt"
	"strings"
)

// Language is one that the screen speaks.
type Language uint8

// The languages.
const (
	English Language = iota
	German
	French
	Spanish
	Italian
	languageEnd
)

var languageCodes = [languageEnd]string{"en", "de", "fr", "es", "it"}

// Code is the language's ISO 639-1 code.
func (l Language) Code() string {
	if l < languageEnd {
		return languageCodes[l]
	}
	return languageCodes[English]
}

// ParseLanguage is the reverse of Code.
func ParseLanguage(code string) (Language, bool) {
	for l, c := range languageCodes {
		if c == code {
			return Language(l), true
		}
	}
	return English, false
}

// Languages are those that the screen speaks, in the order of their buttons.
func Languages() []Language { return []Language{English, German, French, Spanish, Italian} }

//go:embed catalogue/*.txt
var files embed.FS

// catalogue is the texts of one language, by key.
type catalogue map[string]string

// catalogues are read when the program starts. A file with a mistake is one of this program, and a test finds it: the texts that
// it has are shown all the same.
var catalogues = func() (out [languageEnd]catalogue) {
	for l := range out {
		text, err := files.ReadFile("catalogue/" + Language(l).Code() + ".txt")
		if err == nil {
			out[l], _ = parseCatalogue(string(text))
		}
	}
	return out
}()

// parseCatalogue reads lines "key = text". Empty lines and lines that begin with # are for people. It returns what could be read
// besides an error.
func parseCatalogue(text string) (catalogue, error) {
	out := catalogue{}
	var bad error
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, said, found := strings.Cut(line, " = ")
		if !found || out[key] != "" || strings.TrimSpace(said) != said {
			bad = errors.Join(bad, fmt.Errorf("line %d: want one \"key = text\" of each key", i+1))
			continue
		}
		out[key] = said
	}
	return out, bad
}

// Say is the text of a key, for what stands around a page.
func (l Language) Say(key string) string { return l.say(key) }

// say is the text of a key. What is missing in a language is said in English, and what is missing there by its key: the screen
// never stays empty. The pairs are the names of places in the text, such as {n}, and what stands there.
func (l Language) say(key string, pairs ...string) string {
	said, ok := catalogues[min(l, languageEnd-1)][key]
	if !ok {
		said, ok = catalogues[English][key]
	}
	if !ok {
		return key
	}
	if len(pairs) == 0 {
		return said
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		said = strings.ReplaceAll(said, "{"+pairs[i]+"}", pairs[i+1])
	}
	return said
}

// has reports whether a key can be said.
func has(key string) bool { _, ok := catalogues[English][key]; return ok }

// count is the text of a key for a number: "key.one" for one, "key.many" for others.
func (l Language) count(key string, n uint64) string {
	if n == 1 {
		return l.say(key + ".one")
	}
	return l.say(key+".many", "n", fmt.Sprint(n))
}
