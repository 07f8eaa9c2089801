package rules

import (
	"strings"

	"pratique/scanner/report"
)

// ofContent are the findings that follow from the bytes of one file, whatever its name and place. The others say that a name or
// a place deceives, that nobody could look, or that a setting decides.
var ofContent = map[report.Check]string{
	report.CheckBlocklist: "blocklist",
	report.CheckStructure: "polyglot embedded-archive embedded-document shortcut-command shortcut-program shortcut-control-panel " +
		"shortcut-hidden shortcut-overlay shortcut-damaged network-path dicom-preamble dicom-preamble-data dicom-damaged",
}

// OfContent reports whether a finding, named CHECK/RULE, is about content alone. Only those can be wrong about a content, and so
// be excepted for its hash: whoever knows a harmless hash could else hide it behind any name, or bring it to equipment that
// does not take its type.
func OfContent(key string) bool {
	if settingOfRule(key) != NoSetting || unlowered[key] {
		return false
	}
	check, rule, _ := strings.Cut(key, "/")
	if check == report.CheckYARA.String() { // YARA looks at content, and at a name where its author wants it
		_, all, _, err := findingOf(key)
		return err == nil && !all
	}
	for c, list := range ofContent {
		if c.String() != check {
			continue
		}
		for _, word := range strings.Fields(list) {
			if word == rule {
				return true
			}
		}
	}
	return false
}
