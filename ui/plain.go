package ui

import (
	"strings"

	"pratique/kiosk/localapi"
)

// findings says which sentence of the catalogue belongs to which findings of the scanner. Many findings are one thing to the person
// in front of the screen: the page with the details has the scanner's own word beside the sentence. A test holds this table against
// the closed list of package rules.
var findings = map[string]string{
	"finding.blocklist": "blocklist/blocklist",
	"finding.yara":      "yara/*",

	"finding.disguised": "structure/disguised-program structure/disguised-script structure/double-extension structure/double-extension-text",
	"finding.stream":    "structure/stream-program",
	"finding.two-in-one": "structure/polyglot structure/embedded-archive structure/embedded-document structure/self-extracting " +
		"structure/disk-image",
	"finding.autorun": "structure/autorun structure/autorun-elsewhere structure/autorun-icon",
	"finding.shortcut": "structure/shortcut structure/shortcut-command structure/shortcut-program structure/shortcut-control-panel " +
		"structure/shortcut-hidden structure/shortcut-damaged structure/shortcut-overlay structure/root-shortcut structure/web-link",
	"finding.network":     "structure/network-path",
	"finding.folder":      "structure/folder-class structure/folder-program structure/folder-recycle",
	"finding.launcher":    "structure/launcher structure/blank-folder structure/hidden-tree",
	"finding.program":     "structure/executable structure/executable-name structure/root-program",
	"finding.script":      "structure/script structure/root-script structure/svg-script",
	"finding.macro":       "structure/macro",
	"finding.doc-launch":  "structure/document-launch",
	"finding.doc-outside": "structure/document-external structure/document-opens structure/document-link",
	"finding.doc-script":  "structure/document-script",
	"finding.viewer":      "structure/viewer",
	"finding.type":        "structure/type-mismatch",
	"finding.encrypted":   "structure/encrypted-content volume/encrypted",
	"finding.image-extra": "structure/dicom-preamble structure/dicom-preamble-data",
	"finding.image-other": "structure/dicom-tiff structure/dicom-pdf structure/dicom-cda structure/dicom-model",
	"finding.image-damaged": "structure/dicom-damaged structure/dicomdir-damaged structure/dicomdir-missing structure/dicomdir-extra " +
		"structure/dicomdir-names structure/dicomdir-foreign",
	"finding.check-failed": "structure/check-failed",
	"finding.limit": "structure/archive-limit structure/root-limit structure/volume-limit structure/tree-limit medium/too-many-partitions volume/content-large " +
		"volume/many-links volume/many-names",

	"finding.name": "structure/member-path volume/name-bytes volume/name-code-page volume/name-control volume/name-device volume/name-direction volume/name-hash " +
		"volume/name-illegal volume/name-invisible volume/name-leading-space volume/name-surrogate volume/name-trailing volume/name-tree " +
		"volume/name-twice volume/name-version volume/names-differ volume/label-odd volume/long-name-broken volume/long-name-odd " +
		"volume/long-name-orphan volume/short-name-illegal",
	"finding.stored": "structure/packed-content volume/cloud-file volume/compressed-by-windows volume/compression-unknown volume/deduplicated volume/journal-elsewhere " +
		"volume/reparse-damaged volume/reparse-unknown volume/special-file volume/link volume/symbolic-link volume/unknown-entry " +
		"volume/features-odd volume/features-unknown volume/use-unknown volume/vendor-entry",
	"finding.hidden-data": "structure/archive-hidden volume/after-end-mark volume/bad-blocks volume/bad-clusters volume/boot-images volume/boot-catalogue volume/boot-record " +
		"volume/content-over-structure volume/content-overlaps volume/descriptor-foreign volume/directory-content volume/directory-junk " +
		"volume/empty-with-cluster volume/label-with-content volume/record-junk volume/session volume/spare-bytes volume/volume-inside " +
		"volume/volume-partition medium/boot-code medium/data-outside-volumes medium/volume-outside-partitions medium/hidden-partition",
	"finding.damaged": "structure/archive-damaged volume/attribute-reserved volume/bitmap-length volume/block-count volume/boot-copies-differ volume/boot-copy-missing " +
		"volume/boot-missing volume/chain-longer volume/content-damaged volume/directory-parent volume/directory-size volume/dots-missing " +
		"volume/entry-damaged volume/fat-marks-differ volume/fat-not-mirrored volume/fat-type-odd volume/index-differs volume/inodes-differ " +
		"volume/link-count volume/lost-blocks volume/lost-clusters volume/not-indexed volume/orphan volume/parent-differs volume/piece-short " +
		"volume/records-differ volume/rock-ridge-unannounced volume/superblocks-differ volume/table-copies-differ volume/terminator-odd " +
		"volume/upcase-table volume/volume-cut volume/volume-errors",
	"finding.leftover": "volume/deleted-entries volume/deletion-pending volume/journal-pending volume/log-not-empty volume/stale-names " +
		"volume/volume-dirty",

	"finding.changes":    "medium/medium-changes",
	"finding.capacity":   "medium/medium-ends medium/medium-wraps medium/medium-short",
	"finding.unreadable": "medium/medium-unreadable medium/gpt-unreadable",
	"finding.empty":      "medium/empty-medium",
	"finding.layout": "medium/extended-branches medium/extended-broken medium/extended-loop medium/gpt-absurd medium/gpt-checksum " +
		"medium/gpt-copies-differ medium/gpt-copy-place medium/gpt-one-copy medium/gpt-twice medium/gpt-unguarded medium/hybrid-table " +
		"medium/partition-beyond-end medium/partition-odd medium/partitions-overlap medium/polyglot medium/sector-size medium/volume-and-table",
}

// findingKeys is findings the other way round.
var findingKeys = func() map[string]string {
	out := map[string]string{}
	for key, words := range findings {
		for _, word := range strings.Fields(words) {
			out[word] = key
		}
	}
	return out
}()

// findingKey is the key of the sentence for a finding. One that the table does not know has a sentence too.
func findingKey(f localapi.Found) string {
	if f.Check == "yara" {
		return "finding.yara"
	}
	if key, ok := findingKeys[f.Check+"/"+f.Rule]; ok {
		return key
	}
	return "finding.other"
}

// reasons says which sentence belongs to which codes: of a verdict, of a device that was refused, of a failure of the kiosk, of a
// problem of the station and of an answer to a request.
var reasons = map[string]string{
	"reason.harmful":    "yara-match blocklist-hit",
	"reason.disguised":  "structure-finding volume-finding",
	"reason.medium":     "medium-finding",
	"reason.many":       "too-many-findings",
	"reason.not-taken":  "type-not-allowed content-refused",
	"reason.empty":      "empty no-volume",
	"reason.cut":        "truncated",
	"reason.encrypted":  "encrypted",
	"reason.foreign":    "unsupported-volume region-not-understood",
	"reason.damaged":    "malformed",
	"reason.unreadable": "unreadable device-silent device-protocol device-refused",
	"reason.large":      "too-large",
	"reason.slow":       "timed-out",
	"reason.unscanned":  "unscanned",
	"reason.unfinished": "worker-died worker-stalled worker-protocol too-many-restarts scan-halted incomplete nothing-looked-for reader-died",
	"reason.changed":    "medium-changed device-changed",
	"reason.pulled":     "interrupted device-gone removed",
	"reason.late":       "too-late",
	"reason.excepted":   "excepted",

	"refused.socket":   "not-a-media-port",
	"refused.station":  "own-device-changed",
	"refused.invalid":  "malformed-device storage-shape",
	"refused.unknown":  "unreadable-device",
	"refused.input":    "input-device",
	"refused.network":  "network-device wireless-device",
	"refused.no-stick": "printer audio-video-device camera-or-phone smart-card-reader vendor-device other-device",
	"refused.hub":      "hub-and-more",
	"refused.old":      "uas-only storage-protocol",
	"refused.several":  "several-in-one",
	"refused.early":    "present-at-start",
	"refused.changed":  "returned-changed two-in-one-socket",

	"problem.canary":  "canary workers",
	"problem.pack":    "pack pack-folder rules",
	"problem.disk":    "disk state",
	"problem.roster":  "roster",
	"problem.key":     "key",
	"problem.trust":   "trust",
	"problem.clock":   "clock",
	"problem.review":  "override exceptions recall",
	"problem.ports":   "ports usb usb-guard folder",
	"problem.no-pack": "no-daemon",

	"error.denied":   "denied",
	"error.busy":     "busy",
	"error.class":    "unknown-class",
	"error.medium":   "no-medium unknown-port",
	"error.ready":    "not-ready",
	"error.pack":     "pack-refused",
	"error.sign-in":  "sign-in",
	"error.slow":     "slow-down",
	"error.override": "no-override",
	"error.refused":  "exception-refused export-refused log-rewritten",
	"error.failed":   "failed bad-request",
}

var reasonKeys = func() map[string]string {
	out := map[string]string{}
	for key, codes := range reasons {
		for _, code := range strings.Fields(codes) {
			out[code] = key
		}
	}
	return out
}()

// reasonKey is the key of the sentence for a code. A folder's or a drive's own problem has its port in the code.
func reasonKey(code string) string {
	if key, ok := reasonKeys[code]; ok {
		return key
	}
	if strings.HasPrefix(code, "source-") {
		return "problem.ports"
	}
	return ""
}

// reason is the sentence for a code. What the station says of a code that nobody wrote a sentence for is shown as it is: it is
// English, and better than nothing.
func (l Language) reason(code, text string) string {
	if key := reasonKey(code); key != "" {
		return l.say(key)
	}
	return Shown(text)
}
