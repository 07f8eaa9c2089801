package volume_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

func TestT09_NamesThatDeceiveAreFound(t *testing.T) {
	for name, want := range map[string]string{
		"invoice\u202Efdp.exe": "name-direction",
		"a\u200Fb":             "name-direction",
		"zero\u200Bwidth.txt":  "name-invisible",
		"tag\U000E0041.txt":    "name-invisible",
		"bell\a.txt":           "name-control",
		"line\nbreak":          "name-control",
		"c1\u0085.txt":         "name-control",
		"what?.txt":            "name-illegal",
		`a\b`:                  "name-illegal",
		"a:stream":             "name-illegal",
		"dot.":                 "name-trailing",
		"space ":               "name-trailing",
		" lead":                "name-leading-space",
		"CON":                  "name-device",
		"nul.txt":              "name-device",
		"Com1 .tar.gz":         "name-device",
		"LPT\u00B2":            "name-device",
		"CONIN$":               "name-device",
		"half\xED\xA0\x80":     "name-surrogate",
		"README.TXT":           "",
		"console.txt":          "",
		"COM10.txt":            "",
		"COM.txt":              "",
		"auxiliary":            "",
		"Schädel MRT 日本 😀.dcm": "",
		"family 👩‍👩‍👧.jpg":     "",
		".hidden":              "",
		"caf\u0065\u0301.txt":  "",
	} {
		got := volume.NameFindings(name)
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0].Rule != want) {
			t.Errorf("%q: %v, want %q", name, got, want)
		}
		for _, f := range got {
			if f.Severity != report.Warn || f.Check != report.CheckVolume || f.Text == "" || strings.Contains(f.Text, name) {
				t.Errorf("%q: finding %+v", name, f)
			}
		}
	}
}

func TestWTF8KeepsEveryUnitApart(t *testing.T) {
	for want, units := range map[string][]uint16{
		"aé日😀":                     {'a', 0xE9, 0x65E5, 0xD83D, 0xDE00},
		"\xED\xA0\xBD":             {0xD83D},
		"\xED\xB8\x80":             {0xDE00},
		"\xED\xB8\x80a":            {0xDE00, 'a'},
		"\xED\xB8\x80\xED\xA0\xBD": {0xDE00, 0xD83D},
		"\xED\xA0\xBD😀":            {0xD83D, 0xD83D, 0xDE00},
		"\x00\uFFFF":               {0, 0xFFFF},
		"":                         nil,
	} {
		if got := volume.WTF8(units); got != want {
			t.Errorf("%x: %x, want %x", units, got, want)
		}
	}
	seen := map[string]uint16{}
	for u := range 0x10000 {
		s := volume.WTF8([]uint16{uint16(u)})
		if other, ok := seen[s]; ok {
			t.Fatalf("%#x and %#x are both %x", u, other, s)
		}
		seen[s] = uint16(u)
		if surrogate := u >= 0xD800 && u < 0xE000; surrogate == utf8.ValidString(s) {
			t.Fatalf("%#x: %x", u, s)
		}
	}
}

func TestComponentNeverMovesThePath(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "...": true, "..": false, ".": false, "": false, "a/b": false, "/": false, "a\x00b": false, "\xED\xA0\xBD": true, "\xED\xA0\xBD/": false} {
		got, sound := volume.Component(name)
		if sound != want || strings.ContainsAny(got, "/\x00") || got == "" || got == "." || got == ".." || sound && got != name {
			t.Errorf("%q: %q, %v", name, got, sound)
		}
	}
}

func TestSiblingsAreEqualWithoutRegardToCase(t *testing.T) {
	var s volume.Siblings
	for i, c := range []struct {
		name  string
		twice bool
	}{
		{"Report.txt", false}, {"REPORT.TXT", true}, {"report.tx", false}, {"Übung", false}, {"üBUNG", true}, {"σ", false}, {"Σ", true},
		{"straße", false}, {"STRASSE", false}, {"\xED\xA0\xBD", false}, {"\xED\xA0\xBE", false}, {"\xED\xA0\xBD", true}, {"😀", false}, {"𐐨", false}, {"𐐀", false},
	} {
		if got := s.Add(c.name); got != c.twice {
			t.Errorf("%d: %q: %v", i, c.name, got)
		}
	}
	for i := range 70_000 {
		if s.Add(fmt.Sprint("file number ", i)) {
			t.Fatalf("number %d is there twice", i)
		}
	}
}
