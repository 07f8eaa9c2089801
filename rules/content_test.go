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
