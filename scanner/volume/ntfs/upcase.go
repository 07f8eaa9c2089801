package ntfs

import (
	"crypto/sha256"
	"encoding/hex"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

const upcaseBytes = 128 << 10 // a unit for each of 65,536

// standardUpcase is the SHA-256 of the table that mkntfs writes, which is that of Windows since version 6.1. Older ones
// know fewer letters.
const standardUpcase = "41c26bc7a12bdaeb26025c93118697c7e3ef81ee048b00fe5cce2a472e0e0742"

// checkUpcase reads the table that says which letters are capitals of which, and so which names a system takes for one. It
// decides what a name opens, not what is on the volume, so a strange one is a finding.
func (fs *FS) checkUpcase() {
	f := fs.system(recordUpcase, "the table of capital letters")
	s := f.stream(typeData, "")
	if s == nil || s.resident || s.size != upcaseBytes || s.err != nil {
		fs.known.Wrong(report.Malformed, "The volume has no table of capital letters.")
		return
	}
	table := make([]byte, upcaseBytes)
	if err := fs.readStream(s, table, 0); err != nil {
		fs.known.Wrong(volume.OutcomeOf(err), "The table of capital letters could not be read.")
		return
	}
	if sum := sha256.Sum256(table); hex.EncodeToString(sum[:]) == standardUpcase {
		return
	}
	severity := report.Inform // another version's, as far as plain letters tell
	for u := range uint16(128) {
		want := u
		if u >= 'a' && u <= 'z' {
			want -= 'a' - 'A'
		}
		if le.Uint16(table[2*u:]) != want {
			severity = report.Warn
		}
	}
	fs.known.Note("upcase-table", severity, s.extents[0].Start,
		"The volume has a table of its own for which letters are capitals of which.")
}
