package iso9660

import (
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// File types of POSIX in a PX entry (RRIP 4.1.1).
const (
	modeType    = 0o170000
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeLink    = 0o120000
)

// Flags of an NM entry (RRIP 4.1.4).
const (
	nameGoesOn = 1 << 0
	nameSelf   = 1 << 1
	nameParent = 1 << 2
)

// rock is what Rock Ridge says of a record.
type rock struct {
	name      string
	named     bool
	goesOn    bool // the name is not at its end
	mode      uint32
	link      bool
	child     int64 // where the directory lies that stands here; -1: none
	relocated bool  // a directory that is shown elsewhere
	opaque    string
	text      string // what makes it so
}

// knownUse are the entries that change nothing here: times, numbers of devices, and what other systems keep.
var knownUse = map[string]bool{"SP": true, "ER": true, "ES": true, "PD": true, "RR": true, "TF": true, "PN": true, "PL": true,
	"AA": true, "BA": true, "AS": true, "AL": true}

// rockRidge reads the system use field of a record, and the areas in which it goes on. An error is a fault of the record.
func (s *survey) rockRidge(t *tree, use []byte) (rock, error) {
	r := rock{child: -1}
	if len(use) < t.skip {
		return r, nil // it has none
	}
	use = use[t.skip:]
	total := 0
	for areas := 0; ; areas++ {
		next, err := s.useEntries(t, use, &r)
		if err != nil || next.Bytes == 0 {
			if err == nil && r.goesOn {
				err = volume.Malformed("its name has no end.")
			}
			return r, err
		}
		if total += int(min(next.Bytes, maxUse+1)); areas >= maxContinued || total > maxUse {
			return r, volume.Malformed("its system use field goes on without end.")
		}
		use = make([]byte, next.Bytes)
		if next.Start+next.Bytes > s.fs.src.Size() {
			return r, volume.Malformed("its system use field goes on behind the end of the medium.")
		}
		if err := s.fs.readFull(use, next.Start); err != nil {
			return r, err
		}
		if s.claiming {
			s.understood(next.Start, next.Bytes)
		}
	}
}

// useEntries reads the entries of one area and returns where the next one is.
func (s *survey) useEntries(t *tree, use []byte, r *rock) (next volume.Extent, err error) {
	for len(use) >= 4 {
		n := int(use[2])
		if n < 4 || n > len(use) {
			if volume.Zero(use) {
				break
			}
			return next, volume.Malformed("its system use field cannot be read.")
		}
		e := use[:n]
		use = use[n:]
		tag := string(e[:2])
		if need := map[string]int{"NM": 5, "PX": 12, "CL": 12, "CE": 28}[tag]; n < need {
			return next, volume.Malformed("its system use field cannot be read.")
		}
		switch tag {
		case "CE":
			if !twice32(e[4:]) || !twice32(e[12:]) || !twice32(e[20:]) {
				return next, volume.Malformed("a number in its system use field is not the same in both orders of bytes.")
			}
			next = volume.Extent{Start: int64(le.Uint32(e[4:]))*t.block + int64(le.Uint32(e[12:])), Bytes: int64(le.Uint32(e[20:]))}
		case "NM":
			if e[4]&(nameSelf|nameParent) == 0 {
				r.name, r.named = r.name+string(e[5:]), true
			}
			r.goesOn = e[4]&nameGoesOn != 0
		case "PX":
			if !twice32(e[4:]) {
				return next, volume.Malformed("a number in its system use field is not the same in both orders of bytes.")
			}
			r.mode = le.Uint32(e[4:])
		case "SL":
			r.link = true
		case "CL":
			if !twice32(e[4:]) {
				return next, volume.Malformed("a number in its system use field is not the same in both orders of bytes.")
			}
			r.child = int64(le.Uint32(e[4:])) * t.block
		case "RE":
			r.relocated = true
		case "ZF", "Z2":
			r.opaque, r.text = "zisofs", "The content is compressed for Linux (zisofs), which this kiosk cannot read here."
		case "SF":
			r.opaque, r.text = "sparse", "The content is stored in a sparse form of Rock Ridge, which this kiosk cannot read."
		case "ST":
			return next, nil
		default:
			if !knownUse[tag] {
				s.Note("use-unknown", report.Inform, -1, "A record holds an entry for a system that is not known.")
			}
		}
	}
	return next, nil
}
