package iso9660

import (
	"bytes"
	"fmt"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Types of volume descriptors (8.1), and where the first of them lies.
const (
	typeBoot          = 0
	typePrimary       = 1
	typeSupplementary = 2
	typePartition     = 3
	typeTerminator    = 255

	firstDescriptor = 16 // sector (6.2.1)
)

// naming is how the names of a tree are stored.
type naming uint8

const (
	plain naming = iota
	joliet
	enhanced  // the names of 1999: longer, and without version
	foreign   // a supplementary descriptor with characters of another kind
	rockRidge // of a plain tree
)

// descriptor is a primary, supplementary or enhanced volume descriptor.
type descriptor struct {
	naming   naming
	block    int64 // bytes of a logical block
	bytes    int64 // of the volume, by its own words
	root     record
	label    string
	table    [4]int64 // bytes from the start of the volume: type L, its copy, type M, its copy; 0 for none
	tableLen int64
	number   uint16 // of the disc in its set
	set      uint16 // discs in the set
}

// tree is a directory tree under one way of naming.
type tree struct {
	descriptor
	session int64 // the sector of its session's first descriptor
	skip    int   // bytes of each system use field that are not Rock Ridge's
}

func isDescriptor(raw []byte) bool { return string(raw[1:6]) == "CD001" }

// what is the name of a tree for people.
func (t *tree) what() string {
	name := [...]string{"ISO 9660", "Joliet", "enhanced ISO 9660", "supplementary ISO 9660", "Rock Ridge"}[t.naming]
	if t.session != firstDescriptor {
		return fmt.Sprintf("%s, session at block %d", name, t.session)
	}
	return name
}

// parseDescriptor reads a descriptor that has a root directory (8.4, 8.5).
func parseDescriptor(raw []byte) (descriptor, error) {
	d := descriptor{block: int64(le.Uint16(raw[128:])), tableLen: int64(le.Uint32(raw[132:])),
		number: le.Uint16(raw[124:]), set: le.Uint16(raw[120:])}
	if d.block != 512 && d.block != 1024 && d.block != sector {
		return d, volume.Malformed("it has blocks of an impossible size.")
	}
	d.bytes = int64(le.Uint32(raw[80:])) * d.block
	if !twice32(raw[80:]) || !twice16(raw[120:]) || !twice16(raw[124:]) || !twice16(raw[128:]) || !twice32(raw[132:]) {
		return d, volume.Malformed("a number in it is not the same in both orders of bytes.")
	}
	if raw[6] != 1 && raw[6] != 2 || raw[881] != 1 && raw[881] != 2 {
		return d, volume.Malformed("it is of a version that is not known.")
	}
	for i, order := range []func([]byte) uint32{le.Uint32, le.Uint32, be.Uint32, be.Uint32} {
		d.table[i] = int64(order(raw[140+4*i:])) * d.block
	}
	escape := string(raw[88:91])
	switch {
	case raw[0] == typePrimary:
	case raw[6] == 2:
		d.naming = enhanced
	case escape == "%/@" || escape == "%/C" || escape == "%/E":
		d.naming = joliet
	default:
		d.naming = foreign
	}
	d.label = strings.TrimRight(d.text(raw[40:72]), " \x00")
	var err error
	if d.root, err = parseRecord(raw[156:190], d.block); err != nil {
		return d, err
	}
	if d.root.flags&flagDirectory == 0 || len(d.root.id) != 1 {
		return d, volume.Malformed("its root directory is none.")
	}
	return d, nil
}

// text decodes characters of a descriptor or a name.
func (d *descriptor) text(raw []byte) string {
	if d.naming != joliet {
		return string(raw)
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = be.Uint16(raw[2*i:])
	}
	return volume.WTF8(units)
}

// same reports whether two descriptors lead to the same names.
func (d *descriptor) same(o *descriptor) bool {
	alike := d.naming == o.naming || d.naming == plain && o.naming == enhanced || d.naming == enhanced && o.naming == plain
	return alike && d.root.start == o.root.start && d.root.bytes == o.root.bytes && d.block == o.block && d.table == o.table
}

// session reads the descriptors that begin at a sector, and adds their trees.
func (s *survey) session(first int64) error {
	raw := make([]byte, sector)
	for at := first; ; at++ {
		if at-first >= maxDescriptors {
			s.Wrong(report.TooLarge, "The volume has more descriptors than this program follows.")
			return nil
		}
		if err := s.fs.readFull(raw, at*sector); err != nil {
			s.Wrong(report.Unreadable, "The volume's descriptors could not be read in full.")
			return nil
		}
		if !isDescriptor(raw) {
			s.Wrong(report.Malformed, "The list of the volume's descriptors has no end.")
			return nil
		}
		s.understood(at*sector, sector)
		s.descriptors.Add(at*sector, sector)
		switch raw[0] {
		case typeBoot:
			s.catalogue(raw, at*sector)
		case typePrimary, typeSupplementary:
			d, err := parseDescriptor(raw)
			if err != nil {
				s.blame("A descriptor of the volume: ", err)
				if d.root.bytes == 0 {
					continue
				}
			}
			if err := s.addTree(d, first, at*sector); err != nil {
				return err
			}
		case typeTerminator:
			if !volume.Zero(raw[7:]) {
				s.Note("terminator-odd", report.Inform, at*sector, "The end of the list of descriptors holds data; it was scanned.")
			}
			return nil
		case typePartition:
			s.Note("volume-partition", report.Warn, at*sector, "The volume has a part of a kind that no system shows; it was scanned as it is.")
		default:
			s.Wrong(report.Malformed, "The volume has a descriptor of a kind that is not known.")
		}
	}
}

// addTree adds the tree of a descriptor, and with it that of Rock Ridge if there is one.
func (s *survey) addTree(d descriptor, session, at int64) error {
	if d.bytes > s.fs.src.Size() {
		s.Note("volume-cut", report.Warn, at, "The volume says that it is longer than the space it lies in.")
	}
	if d.naming == foreign {
		s.Note("descriptor-foreign", report.Warn, at, "The volume has a tree of names in characters of a kind that is not known.")
	}
	for i := range s.trees {
		if s.trees[i].same(&d) {
			return nil
		}
	}
	if len(s.trees)+2 > maxTrees {
		s.Wrong(report.TooLarge, "The volume has more trees of names than this program follows.")
		return errHalt
	}
	t := tree{descriptor: d, session: session}
	s.trees = append(s.trees, t)
	if d.naming == plain || d.naming == enhanced {
		if skip, found := s.findRockRidge(&t); found {
			t.naming, t.skip = rockRidge, skip
			s.trees = append(s.trees, t)
		}
	}
	return nil
}

// findRockRidge looks at the root's record of itself, where SUSP announces itself (SUSP 5.3) and says how many bytes of each
// record belong to somebody else. Names that nobody announced count too: systems differ in what they ask for.
func (s *survey) findRockRidge(t *tree) (skip int, found bool) {
	raw := make([]byte, sector)
	if s.fs.readFull(raw, t.root.start) != nil {
		return 0, false // said when the directory is read
	}
	for at, n := 0, 0; at < sector && n < 4; n++ {
		length := int(raw[at])
		if length < recordBytes || at+length > sector {
			break
		}
		use := systemUse(raw[at : at+length])
		if n == 0 && len(use) >= 7 && bytes.HasPrefix(use, []byte("SP")) && use[4] == 0xBE && use[5] == 0xEF {
			return int(use[6]), true
		}
		for _, tag := range []string{"NM", "PX", "RR"} {
			if len(use) >= 5 && bytes.HasPrefix(use, []byte(tag)) && use[3] == 1 {
				s.Note("rock-ridge-unannounced", report.Warn, t.root.start, "The volume has names of Rock Ridge and does not announce them.")
				return 0, true
			}
		}
		at += length
	}
	return 0, false
}

// twice32 and twice16 compare the two forms of a number (7.2.3, 7.3.3).
func twice32(b []byte) bool { return le.Uint32(b) == be.Uint32(b[4:]) }
func twice16(b []byte) bool { return le.Uint16(b) == be.Uint16(b[2:]) }
