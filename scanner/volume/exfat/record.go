package exfat

import (
	"fmt"
	"math/bits"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Types of directory entries (6.2.1). The highest bit says that the entry is in use, the next that it continues another,
// the third that a system may pass over it if it does not know it.
const (
	typeEnd    = 0x00
	typeBitmap = 0x81
	typeUpcase = 0x82
	typeLabel  = 0x83
	typeFile   = 0x85
	typeGUID   = 0xA0
	typeStream = 0xC0
	typeName   = 0xC1
	typeVendor = 0xE0

	bitInUse     = 0x80
	bitSecondary = 0x40
	bitBenign    = 0x20
)

const (
	entryBytes   = 32
	nameUnits    = 15   // of a name in one entry
	attrHidden   = 0x02 // FileAttributes (7.4.4)
	attrDir      = 0x10
	flagPossible = 0x01 // GeneralSecondaryFlags (6.3.4): clusters may belong to it
	flagOneRun   = 0x02 // NoFatChain: they lie side by side
)

// record is one entry set: a file or directory as its parent states it.
type record struct {
	at         int64 // place in the volume
	name       []uint16
	dir        bool
	hidden     bool
	contiguous bool
	content    allocation
	valid      int64
	faults     []string // why it contradicts itself
	findings   []report.Finding
}

func (r *record) broken(why string) { r.faults = append(r.faults, why) }

func (r *record) note(rule string, severity report.Severity, text string) {
	r.findings = append(r.findings,
		report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: r.at, Text: text})
}

// decode reads an entry set. It always returns a record: what cannot be understood is a fault of it. complete is false if
// the directory held fewer entries than the first one announced.
func (fs *FS) decode(at int64, set []byte, complete bool) record {
	r := record{at: at, dir: le.Uint16(set[4:])&attrDir != 0, hidden: le.Uint16(set[4:])&attrHidden != 0}
	if !complete {
		r.broken("some of its parts are missing")
	} else if setChecksum(set) != le.Uint16(set[2:]) {
		r.broken("its checksum is wrong")
	}
	set = set[entryBytes:]
	if len(set) < entryBytes || set[0] != typeStream {
		r.broken("it does not say where its content lies")
		return r
	}
	stream := set[:entryBytes]
	r.content = allocation{le.Uint32(stream[20:]), clampSize(le.Uint64(stream[24:])), true}
	r.valid = clampSize(le.Uint64(stream[8:]))
	r.contiguous = stream[1]&flagOneRun != 0
	if stream[1]&flagPossible == 0 {
		r.broken("it says that it cannot have content")
	}
	if r.valid > r.content.bytes {
		r.broken("more of it is said to be stored than it is long")
	}
	r.readName(set[entryBytes:], int(stream[3]))
	if fs.upcase != nil && len(r.faults) == 0 && fs.nameHash(r.name) != le.Uint16(stream[4:]) {
		r.note("name-hash", report.Warn, "The name and its stored hash do not agree, so that some systems do not find the file.")
	}
	return r
}

// readName puts the name together, and looks at what else belongs to the set.
func (r *record) readName(set []byte, units int) {
	for ; len(set) >= entryBytes && set[0] == typeName; set = set[entryBytes:] {
		if len(r.name) >= units {
			r.broken("it has more parts of a name than the name is long")
			break
		}
		for i := 0; i < nameUnits && len(r.name) < units; i++ {
			r.name = append(r.name, le.Uint16(set[2+2*i:]))
		}
	}
	if len(r.name) < units || units == 0 {
		r.broken("its name is not complete")
	}
	for ; len(set) >= entryBytes; set = set[entryBytes:] {
		switch {
		case set[0]&bitBenign == 0:
			r.broken("it has a part that must be understood and is not known")
		case len(r.findings) == 0:
			r.note("vendor-entry", report.Inform, "A vendor has added something of its own to the entry.")
		}
	}
}

// path is the record's path below parent, and whether it can be one.
func (r *record) path(parent string) (path, name string, ok bool) {
	name = volume.WTF8(r.name)
	ok = true
	if name == "" {
		name = fmt.Sprintf("nameless entry at byte %d", r.at)
	} else {
		name, ok = volume.Component(name)
	}
	path = name
	if parent != "" {
		path = parent + "/" + name
	}
	return path, name, ok
}

// setChecksum runs over an entry set, less the field that holds it (6.3.3).
func setChecksum(set []byte) uint16 {
	var sum uint16
	for i, b := range set {
		if i != 2 && i != 3 {
			sum = bits.RotateLeft16(sum, -1) + uint16(b)
		}
	}
	return sum
}
