package ntfs

import (
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// checkLog says whether $LogFile has anything to do. If so, Windows changes the volume when it is plugged in, before anybody
// sees a file of it: what it finishes there was written by whoever made the medium. The log is scanned like everything else,
// and a clearance that is checked on the device sees what came of it.
func (fs *FS) checkLog() {
	const page = 4096 // the two restart pages lie at multiples of the system's page
	f := fs.system(recordLog, "the log")
	s := f.stream(typeData, "")
	if s == nil || s.resident || s.err != nil || s.size < 2*page {
		fs.known.Wrong(report.Malformed, "The volume's log cannot be found.")
		return
	}
	newest, idle := uint64(0), false
	for n := range int64(2) {
		raw := make([]byte, page)
		if err := fs.readStream(s, raw, n*page); err != nil {
			fs.known.Wrong(volume.OutcomeOf(err), "The volume's log could not be read.")
			return
		}
		if lsn, quiet := restart(raw); lsn >= newest {
			idle = quiet && (lsn > newest || n == 0 || idle)
			newest = lsn
		}
	}
	if !idle {
		fs.known.Note("log-not-empty", report.Warn, s.extents[0].Start,
			"The volume's log holds changes that Windows would still make when the medium is plugged in.")
	}
}

// restart reads one restart page: how new it is, and whether it says that nothing is left to do. A page that was emptied is
// all ones.
func restart(raw []byte) (lsn uint64, idle bool) {
	if string(raw[:4]) != "RSTR" {
		for _, b := range raw {
			if b != 0xFF {
				return 0, volume.Zero(raw)
			}
		}
		return 0, true
	}
	at := int(le.Uint16(raw[24:]))
	if mend(raw) != nil || at < 30 || at > len(raw)-16 {
		return 0, false
	}
	// Clients in use, where 0xFFFF is none, and the flag that the volume was closed.
	return le.Uint64(raw[at:]), le.Uint16(raw[at+12:]) == 0xFFFF || le.Uint16(raw[at+14:])&2 != 0
}
