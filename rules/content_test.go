package rules

import (
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
)

// What can be excepted by a hash is a closed list, and each word of it is a finding of the scanner.
func TestT19_OnlyFindingsAboutContentCanBeExcepted(t *testing.T) {
	for check, list := range ofContent {
		lists := words[check]
		known := strings.Fields(strings.Join(lists[:], " "))
		for _, word := range strings.Fields(list) {
			key := check.String() + "/" + word
			if !slices.Contains(known, word) {
				t.Errorf("%s is none of the scanner's findings", key)
			}
			if !OfContent(key) {
				t.Errorf("%s cannot be excepted: a setting decides it", key)
			}
		}
	}
	for check, lists := range words {
		for _, word := range strings.Fields(strings.Join(lists[:], " ")) {
			listed := slices.Contains(strings.Fields(ofContent[check]), word)
			if key := check.String() + "/" + word; OfContent(key) != listed {
				t.Errorf("%s: %v", key, OfContent(key))
			}
		}
	}
	for key, want := range map[string]bool{
		"yara/EICAR_Test_File": true, "yara/*": false, "yara/": false, "yara/a b": false, "yara/../x": false, "blocklist/*": false, "structure/*": false,
		"structure/disguised-program": false, "structure/double-extension": false, "structure/executable": false, "structure/macro": false,
		"structure/encrypted-content": false, "structure/check-failed": false, "volume/name-twice": false, "medium/medium-changes": false,
		"": false, "yara": false, "unknown/x": false, report.CheckBlocklist.String() + "/blocklist": true,
	} {
		if OfContent(key) != want {
			t.Errorf("%q: %v", key, !want)
		}
	}
}

func TestPoliciesThatTakeTheSameTypesAreKnown(t *testing.T) {
	parse := func(text string) Policy {
		t.Helper()
		p, err := ParsePolicy([]byte("class = \"general\"\n" + text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	base := parse("allow_types = [\"*\"]\nscripts = \"warn\"\n")
	for text, same := range map[string]bool{
		"allow_types = [\"*\"]\nscripts = \"warn\"\n":                                      true,
		"allow_types = [\"*\"]\nscripts = \"warn\"\ntoken_hours = 2\n":                     true,
		"allow_types = [\"*\"]\n":                                                          false,
		"allow_types = [\"*\"]\nscripts = \"allow\"\n":                                     false,
		"allow_types = [\"image/*\"]\nscripts = \"warn\"\n":                                false,
		"allow_types = [\"*\"]\ndeny_types = [\"text/plain\"]\nscripts = \"warn\"\n":       false,
		"allow_types = [\"*\"]\nscripts = \"warn\"\n[severity]\n\"yara/x\" = \"inform\"\n": true,
	} {
		if got := parse(text).SameTypes(base); got != same {
			t.Errorf("%q: %v", text, got)
		}
	}
}
