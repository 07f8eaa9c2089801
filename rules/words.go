package rules

import (
	"fmt"
	"slices"
	"strings"

	"pratique/scanner/report"
)

// words are the findings that a policy can name, for each check those that the scanner proposes to block, to warn of and to
// inform of (the worst, where it depends). The scanner is not imported for them: a policy is decoded where no medium is
// read. A test holds this table against the scanner's sources, both ways.
var words = map[report.Check][3]string{
	report.CheckBlocklist: {"blocklist", "", ""},
	report.CheckStructure: {
		"disguised-program stream-program disguised-script double-extension polyglot autorun shortcut-command shortcut-program " +
			"shortcut-control-panel shortcut-hidden shortcut-damaged network-path folder-class dicom-preamble check-failed launcher " +
			"blank-folder root-limit volume-limit packed-content document-launch",
		"executable executable-name script double-extension-text type-mismatch embedded-archive embedded-document self-extracting " +
			"disk-image macro encrypted-content svg-script autorun-elsewhere shortcut shortcut-overlay dicom-preamble-data " +
			"dicom-damaged hidden-tree root-program root-script root-shortcut folder-program viewer dicomdir-damaged " +
			"dicomdir-missing tree-limit archive-limit archive-damaged archive-hidden member-path " +
			"document-external document-opens document-script",
		"autorun-icon folder-recycle web-link dicom-tiff dicom-pdf dicom-cda dicom-model dicomdir-extra dicomdir-names " +
			"dicomdir-foreign document-link",
	},
	report.CheckVolume: {
		"",
		"after-end-mark attribute-reserved bad-blocks bad-clusters bitmap-length block-count boot-catalogue " +
			"boot-copies-differ boot-missing boot-record chain-longer cloud-file compressed-by-windows " +
			"compression-unknown content-damaged content-large content-over-structure content-overlaps deduplicated " +
			"descriptor-foreign directory-content directory-junk directory-parent directory-size dots-missing " +
			"encrypted entry-damaged fat-not-mirrored features-odd index-differs inodes-differ journal-elsewhere " +
			"journal-pending label-odd label-with-content link link-count log-not-empty long-name-broken " +
			"long-name-odd long-name-orphan many-names name-bytes name-control name-device name-direction name-hash " +
			"name-illegal name-invisible name-leading-space name-surrogate name-trailing name-twice name-version " +
			"names-differ not-indexed orphan parent-differs piece-short record-junk records-differ reparse-damaged " +
			"reparse-unknown rock-ridge-unannounced session short-name-illegal spare-bytes special-file " +
			"superblocks-differ table-copies-differ upcase-table volume-cut volume-inside volume-partition",
		"boot-copy-missing boot-images deleted-entries deletion-pending empty-with-cluster fat-marks-differ " +
			"fat-type-odd features-unknown lost-blocks lost-clusters many-links name-code-page name-tree stale-names " +
			"symbolic-link terminator-odd unknown-entry use-unknown vendor-entry volume-dirty volume-errors",
	},
	report.CheckMedium: {
		"medium-changes medium-ends medium-wraps too-many-partitions",
		"data-outside-volumes empty-medium extended-branches extended-broken extended-loop gpt-absurd gpt-checksum " +
			"gpt-copies-differ gpt-one-copy gpt-twice gpt-unguarded gpt-unreadable hybrid-table medium-short medium-unreadable " +
			"partition-beyond-end partition-odd partitions-overlap polyglot sector-size volume-and-table volume-outside-partitions",
		"boot-code gpt-copy-place hidden-partition",
	},
}

// unlowered are findings that say that nobody could look, or that the medium lies: no policy makes less of them.
var unlowered = map[string]bool{
	"structure/check-failed": true, "structure/root-limit": true, "structure/volume-limit": true,
	"medium/too-many-partitions": true, "medium/medium-changes": true, "medium/medium-ends": true, "medium/medium-wraps": true,
}

// Findings lists every finding that a policy can name as CHECK/RULE, in order: what the screen must have a sentence for.
func Findings() []string {
	var out []string
	for check, lists := range words {
		for _, list := range lists {
			for _, word := range strings.Fields(list) {
				out = append(out, check.String()+"/"+word)
			}
		}
	}
	slices.Sort(out)
	return out
}

// maxRuleName is YARA's limit on an identifier. https://yara.readthedocs.io/en/stable/writingrules.html
const maxRuleName = 128

func keyOf(f report.Finding) string { return f.Check.String() + "/" + f.Rule }

// findingOf splits a key of [severity]. all says that it is for every finding of a check, known that the worst that the
// scanner proposes for it is proposed: the names of YARA rules are the pack's, and their own metadata says it.
func findingOf(key string) (proposed report.Severity, all, known bool, err error) {
	check, rule, ok := strings.Cut(key, "/")
	if !ok {
		return 0, false, false, fmt.Errorf("severity key %q: want CHECK/RULE or CHECK/*", key)
	}
	if check == report.CheckYARA.String() {
		if rule == "*" {
			return 0, true, false, nil
		}
		if rule == "" || len(rule) > maxRuleName || strings.Trim(strings.ToLower(rule), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return 0, false, false, fmt.Errorf("severity key %q: no YARA rule can have this name", key)
		}
		return 0, false, false, nil
	}
	for c, lists := range words {
		if c.String() != check {
			continue
		}
		if rule == "*" {
			return 0, true, false, nil
		}
		for severity, list := range lists {
			for _, word := range strings.Fields(list) {
				if word == rule {
					return report.Severity(severity), false, true, nil
				}
			}
		}
		return 0, false, false, fmt.Errorf("severity key %q: the check %q has no such finding", key, check)
	}
	return 0, false, false, fmt.Errorf("severity key %q: there is no check %q", key, check)
}
