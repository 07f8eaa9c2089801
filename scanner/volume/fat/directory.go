package fat

import (
	"strings"
	"unicode"

	"golang.org/x/text/encoding/charmap"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// The layout of a directory's slot.
const (
	slotBytes = 32

	attrHidden    = 0x02
	attrLabel     = 0x08
	attrDirectory = 0x10
	attrLong      = 0x0F // with attrLongMask: the slot is part of a long name
	attrLongMask  = 0x3F
	attrReserved  = 0xC0

	endMark = 0x00
	deleted = 0xE5
)

// record is one live entry of a directory, with the long name that belongs to it.
type record struct {
	name     string // the long name, else the short one
	alias    string // the short name
	label    string // the same bytes as the name of a volume, if the entry says that it is one
	attr     byte
	first    uint32
	size     int64
	findings []report.Finding
}

func (r *record) find(rule string, severity report.Severity, text string) {
	r.findings = append(r.findings, report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: -1, Text: text})
}

// listing is a decoded directory.
type listing struct {
	records []record
	dots    [2]*uint32 // where "." and ".." of the first two slots lead
	orphans int        // long names without an entry
	deleted int
	odd     int // live entries that no system would have written
}

// junk reports whether this is no directory at all, but data that an entry calls one.
func (l *listing) junk() bool {
	const few = 16 // so many odd entries a damaged directory may have, and is still worth reading
	return l.odd >= few && l.odd*2 > len(l.records)
}

// decode reads the slots of a directory to its very end. The end mark is not believed: Linux lists what comes after it.
func (v *Volume) decode(b []byte, root bool) listing {
	var l listing
	var long longName
	ended := false
	for i := 0; i+slotBytes <= len(b); i += slotBytes {
		s := b[i : i+slotBytes]
		switch {
		case s[0] == endMark || s[0] == deleted:
			l.orphans += long.drop()
			if s[0] == endMark {
				ended = true
			} else {
				l.deleted++
			}
			continue
		case s[11]&attrLongMask == attrLong:
			l.orphans += long.add(s)
			continue
		}
		if !root && i < 2*slotBytes && isDot(s[:11], i/slotBytes+1) && s[11]&(attrDirectory|attrLabel) == attrDirectory {
			first := v.first(s)
			l.dots[i/slotBytes] = &first
			l.orphans += long.drop()
			continue
		}
		r := v.record(s, &long)
		if ended {
			r.find("after-end-mark", report.Warn, "The entry stands behind the end mark of its directory: some systems show it, others do not.")
		}
		if v.odd(s) {
			l.odd++
		}
		l.records = append(l.records, r)
	}
	l.orphans += long.drop()
	return l
}

// isDot reports whether a short name is as many dots as given, and nothing else.
func isDot(name []byte, dots int) bool {
	return string(name) == strings.Repeat(".", dots)+strings.Repeat(" ", 11-dots)
}

// odd reports whether an entry is one that no system writes. One is damage; many are a directory that is none.
func (v *Volume) odd(s []byte) bool {
	first := v.first(s)
	return illegal(s[:11]) || s[11]&attrReserved != 0 || first != 0 && !v.valid(first) ||
		int64(le.Uint32(s[28:])) > int64(v.bpb.Clusters)*v.bpb.ClusterBytes
}

// first is the number of the first cluster; 0 if there is none. FAT12 and FAT16 have other things in the upper half.
func (v *Volume) first(s []byte) uint32 {
	first := uint32(le.Uint16(s[26:]))
	if v.bpb.Bits == 32 {
		first |= uint32(le.Uint16(s[20:])) << 16
	}
	return first
}

func (v *Volume) record(s []byte, long *longName) record {
	alias, oem := shortName(s)
	r := record{name: alias, alias: alias, attr: s[11], first: v.first(s), size: int64(le.Uint32(s[28:]))}
	if r.attr&attrLabel != 0 {
		r.label = label(s)
	}
	name, state := long.take(s)
	if state == longWhole || state == longOdd {
		r.name = name
	} else if oem {
		r.find("name-code-page", report.Inform, "The name has letters that look different on computers of other countries.")
	}
	switch state {
	case longBroken:
		r.find("long-name-broken", report.Warn, "The long name does not belong to the entry: some systems show it, others show the short name.")
	case longOdd:
		r.find("long-name-odd", report.Warn, "The long name holds more than a name.")
	}
	if illegal(s[:11]) {
		r.find("short-name-illegal", report.Warn, "The short name holds characters that are not allowed there.")
	}
	if s[11]&attrReserved != 0 {
		r.find("attribute-reserved", report.Warn, "The entry has attributes that nobody defined.")
	}
	return r
}

// shortName decodes the 8.3 name with the case bits of Windows NT. oem says that it has bytes above 0x7F: what they mean
// depends on the country of the computer that wrote them, and code page 437 is the reading agreed on.
func shortName(s []byte) (name string, oem bool) {
	const lowerBase, lowerExt = 0x08, 0x10
	raw := [11]byte(s[:11])
	if raw[0] == 0x05 { // stands for 0xE5, which would mean deleted
		raw[0] = deleted
	}
	part := func(b []byte, lower bool) string {
		var out strings.Builder
		for _, c := range b {
			r := charmap.CodePage437.DecodeByte(c)
			if c < 0x80 {
				r = rune(c) // that code page has pictures for control characters, and no name has pictures
			}
			oem = oem || c >= 0x80
			if lower {
				r = unicode.ToLower(r)
			}
			out.WriteRune(r)
		}
		return strings.TrimRight(out.String(), " ")
	}
	name = part(raw[:8], s[12]&lowerBase != 0)
	if ext := part(raw[8:], s[12]&lowerExt != 0); ext != "" {
		name += "." + ext
	}
	return name, oem
}

// label decodes the name of a volume, which takes the place of an 8.3 name and has no dot in it.
func label(s []byte) string {
	var out strings.Builder
	for _, c := range s[:11] {
		out.WriteRune(charmap.CodePage437.DecodeByte(c))
	}
	return strings.TrimRight(out.String(), " ")
}

// illegal reports whether an 8.3 name has a byte that the format forbids there.
func illegal(name []byte) bool {
	for i, c := range name {
		if c < 0x20 && (i > 0 || c != 0x05) || c == 0x7F || c >= 'a' && c <= 'z' || strings.IndexByte(`"*+,./:;<=>?[\]|`, c) >= 0 {
			return true
		}
	}
	return name[0] == ' '
}

// longName collects the slots of one long name, which stand before their entry, last piece first.
type longName struct {
	units  [maxLongSlots * unitsPerSlot]uint16
	slots  int // announced by the first; 0 if nothing is pending
	next   int // the number that must come next; 0 once all are here
	sum    byte
	odd    bool
	strays bool // slots were here that do not form a name
}

const (
	unitsPerSlot = 13
	maxLongSlots = 20
	maxLongUnits = 255
	lastSlot     = 0x40 // marks the slot that comes first and holds the end of the name
)

type longState uint8

const (
	longNone   longState = iota
	longWhole            // the name is good
	longOdd              // the name is good, but there are bytes behind it or in fields that should be empty
	longBroken           // there were slots, but they are not a name of this entry
)

// add takes one slot. It returns how many names that had begun are now known to have no entry.
func (n *longName) add(s []byte) (orphans int) {
	number := int(s[0] &^ lastSlot)
	if s[0]&lastSlot != 0 {
		orphans = n.drop()
		if number < 1 || number > maxLongSlots {
			n.strays = true
			return orphans
		}
		n.slots, n.next, n.sum = number, number, s[13]
	} else if n.next == 0 || number != n.next || s[13] != n.sum {
		orphans = n.drop()
		n.strays = true
		return orphans
	}
	n.odd = n.odd || s[12] != 0 || le.Uint16(s[26:]) != 0 || s[11] != attrLong
	n.next--
	piece := n.units[n.next*unitsPerSlot:]
	for i := range 5 {
		piece[i] = le.Uint16(s[1+2*i:])
	}
	for i := range 6 {
		piece[5+i] = le.Uint16(s[14+2*i:])
	}
	for i := range 2 {
		piece[11+i] = le.Uint16(s[28+2*i:])
	}
	return orphans
}

// drop forgets what is pending and returns how many names that were.
func (n *longName) drop() (orphans int) {
	if n.slots > 0 || n.strays {
		orphans = 1
	}
	*n = longName{}
	return orphans
}

// take ends a name at its short entry.
func (n *longName) take(short []byte) (string, longState) {
	defer n.drop()
	if n.slots == 0 && !n.strays {
		return "", longNone
	}
	var sum byte
	for _, c := range short[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if n.slots == 0 || n.next != 0 || sum != n.sum {
		return "", longBroken
	}
	units := n.units[:n.slots*unitsPerSlot]
	end := len(units)
	for i, u := range units {
		if u == 0 {
			end = i
			break
		}
	}
	for _, u := range units[min(end+1, len(units)):] {
		n.odd = n.odd || u != 0xFFFF
	}
	if end == 0 || end > maxLongUnits {
		return "", longBroken
	}
	if n.odd || n.strays || end <= (n.slots-1)*unitsPerSlot {
		return volume.WTF8(units[:end]), longOdd
	}
	return volume.WTF8(units[:end]), longWhole
}
