package volume

import (
	"fmt"
	"slices"

	"pratique/scanner/report"
)

const (
	mbrTable  = 440 // where the disk's signature and the table begin; what comes before is a program
	mbrEntry  = 446
	mbrMark   = 510
	mbrBytes  = 512
	maxEBR    = 128     // extended boot records in all: Linux stops at 60 partitions, Windows earlier
	maxSector = 1 << 50 // times 4,096 it is still a number of bytes that can be added to
)

// The types that say where other tables are.
func extended(kind byte) bool {
	switch kind {
	case 0x05, 0x0F, 0x85, 0x15, 0x1F: // the last two are hidden ones, which some tools make
		return true
	}
	return false
}

// hiddenKind reports whether a type is that of a volume that systems do not show.
func hiddenKind(kind byte) bool {
	switch kind {
	case 0x11, 0x14, 0x16, 0x17, 0x1B, 0x1C, 0x1E, 0x27:
		return true
	}
	return false
}

// sectorSizes are those that devices have.
var sectorSizes = []int64{512, 1024, 2048, 4096}

// protective is the type of the partition that keeps old programs away from a GUID table.
const protective = 0xEE

// minix is the type of a partition whose first sector Linux takes for a table of its own.
const minix = 0x81

// nested reports whether a table stands at the start of a partition of that type.
func (m *mapper) nested(off int64) bool {
	b, _ := m.read(off, mbrBytes)
	if !marked(b) {
		return false
	}
	entries := mbrParts(b)
	return slices.ContainsFunc(entries[:], func(e mbrPart) bool { return e.kind == minix })
}

// mbrPart is one entry of a master or extended boot record.
type mbrPart struct {
	status, kind  byte
	start, length int64 // sectors
}

func (e mbrPart) used() bool { return e.kind != 0 || e.length != 0 }

func mbrParts(sector []byte) (parts [4]mbrPart) {
	for i := range parts {
		b := sector[mbrEntry+16*i:]
		parts[i] = mbrPart{b[0], b[4], int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))}
	}
	return parts
}

func marked(sector []byte) bool {
	return len(sector) >= mbrBytes && sector[mbrMark] == 0x55 && sector[mbrMark+1] == 0xAA
}

// readTables reads every table there is, and says what the medium as a whole may be.
func (m *mapper) readTables() (whole []hit) {
	b, failed := m.read(0, probeBytes)
	if failed {
		m.find("medium-unreadable", report.Warn, int64(len(b)), "The beginning of the medium could not be read in full.")
		m.claim(int64(len(b)), int64(len(b))+int64(m.layout.SectorSize), report.RegionUnreadable, "beginning of the medium")
		m.blind = true
	}
	whole = identify(b)
	var sector []byte
	var entries [4]mbrPart
	if marked(b) {
		sector = b[:mbrBytes]
		entries = mbrParts(sector)
	}
	guarded := slices.ContainsFunc(entries[:], func(e mbrPart) bool { return e.kind == protective })
	gptSector := m.readGPTs(guarded)
	if gptSector != 0 && gptSector != m.layout.SectorSize {
		m.find("sector-size", report.Warn, -1, "The partition table counts in other sectors than the medium has.")
	}
	if sector != nil && m.isTable(sector, entries, whole) {
		m.readMBR(entries, gptSector)
	}
	if slices.ContainsFunc(whole, isAppleMap) && m.readApple() {
		whole = slices.DeleteFunc(whole, isAppleMap)
	}
	if gptSector != 0 && !guarded {
		m.find("gpt-unguarded", report.Warn, 0, "There is a GUID partition table that the master boot record does not announce.")
	}
	return whole
}

// isTable says whether the first sector is a partition table. That of a volume without a table ends in the same mark and
// has text or code where the table would be; Linux tells them apart by the status bytes, and so do we, but not alone.
func (m *mapper) isTable(sector []byte, entries [4]mbrPart, whole []hit) bool {
	if !slices.ContainsFunc(entries[:], mbrPart.used) {
		return len(whole) == 0
	}
	if !bootSector(whole) {
		return true
	}
	plausible, known := true, false
	for _, e := range entries {
		if !e.used() {
			continue
		}
		plausible = plausible && e.status&0x7F == 0 && e.kind != 0 && e.length > 0 && e.start > 0
		for _, size := range sectorSizes {
			if e.start > 0 && len(m.look(e.start*size)) > 0 {
				known = true
			}
		}
	}
	return plausible || known
}

// bootSector reports whether one of the hits is a volume that begins with a boot sector.
func bootSector(hits []hit) bool {
	return slices.ContainsFunc(hits, func(h hit) bool {
		switch h.name {
		case "fat12", "fat16", "fat32", "exfat", "ntfs", "refs", "bitlocker", "bitlocker-to-go":
			return true
		}
		return false
	})
}

// look says what a volume that started at off would be.
func (m *mapper) look(off int64) []hit {
	b, _ := m.read(off, probeBytes)
	return identify(b)
}

// readMBR reads the four entries. gptSector is the sector size of the GUID table, 0 if there is none.
func (m *mapper) readMBR(entries [4]mbrPart, gptSector int) {
	m.tables++
	m.claim(mbrTable, mbrBytes, report.RegionTable, "partition table")
	var counted []mbrPart
	for i, e := range entries {
		if !e.used() || e.kind == protective && gptSector != 0 {
			entries[i] = mbrPart{}
			continue
		}
		counted = append(counted, e)
		if e.status&0x7F != 0 || e.kind == 0 || e.length == 0 {
			m.find("partition-odd", report.Warn, 0, "The partition table has an entry that not all computers take for one. It was read.")
		}
		if gptSector != 0 {
			m.find("hybrid-table", report.Warn, 0,
				"The medium has two kinds of partition table, and computers may see different files. Both were read.")
		}
		if hiddenKind(e.kind) {
			m.find("hidden-partition", report.Inform, 0, "A partition is marked as hidden. It was read.")
		}
	}
	size := m.sectorSize(counted, gptSector)
	budget, number := maxEBR, 4
	for i, e := range entries {
		switch {
		case !e.used():
		case extended(e.kind):
			m.readExtended(e, size, &number, &budget)
		case e.kind == minix && m.nested(e.start*size):
			m.candidate(e.start*size, min(e.length*size, max(m.size-e.start*size, 0)), hit{name: "unknown"}, "table inside a partition")
			fallthrough
		default:
			m.add(part{start: e.start * size, bytes: e.length * size, what: fmt.Sprintf("MBR partition %d", i+1)})
		}
	}
	m.otherSizes(counted, size)
}

// sectorSize says in which sectors a table counts. That is what the device says, or the GUID table; unless by that no
// entry leads to anything but zeros, and by another size one leads to a volume.
func (m *mapper) sectorSize(entries []mbrPart, gptSector int) int64 {
	size := int64(m.layout.SectorSize)
	if gptSector != 0 {
		size = int64(gptSector)
	}
	for _, e := range entries {
		if b, failed := m.read(e.start*size, 4096); failed || !Zero(b) {
			return size
		}
	}
	for _, other := range append([]int64{size}, sectorSizes...) {
		if slices.ContainsFunc(entries, func(e mbrPart) bool { return e.start > 0 && m.leads(e, other) }) {
			if other != size {
				m.find("sector-size", report.Warn, -1, "The partition table counts in other sectors than the medium has.")
			}
			return other
		}
	}
	return size
}

// otherSizes looks where the entries would lead if sectors had another size. A volume that starts there, and where no
// partition does, is read too.
func (m *mapper) otherSizes(entries []mbrPart, size int64) {
	for _, other := range sectorSizes {
		for _, e := range entries {
			start := e.start * other
			if other == size || e.start == 0 || extended(e.kind) || len(m.look(start)) == 0 ||
				slices.ContainsFunc(m.parts, func(p part) bool { return p.start == start }) {
				continue
			}
			m.find("sector-size", report.Warn, -1, "The partition table leads to volumes for more than one size of sector. All were read.")
			m.add(part{start: start, bytes: e.length * other, what: fmt.Sprintf("partition in sectors of %d", other), weak: true})
		}
	}
}

// leads reports whether an entry, counted in sectors of size, leads to a volume, or to another table that does.
func (m *mapper) leads(e mbrPart, size int64) bool {
	if !extended(e.kind) {
		return len(m.look(e.start*size)) > 0
	}
	b, _ := m.read(e.start*size, mbrBytes)
	if !marked(b) {
		return false
	}
	first := mbrParts(b)[0]
	return first.length > 0 && len(m.look((e.start+first.start)*size)) > 0
}

// readExtended follows the chain of extended boot records that begins at e. Each has its logical partition, counted from
// itself, and the place of the next, counted from the first. All four entries are read, as Linux does.
func (m *mapper) readExtended(e mbrPart, size int64, number, budget *int) {
	base := e.start
	seen := map[int64]bool{}
	for queue := []int64{base}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		off := at * size
		switch {
		case seen[at]:
			m.find("extended-loop", report.Warn, off, "The chain of logical partitions loops.")
			m.claim(off, off+mbrBytes, report.NotUnderstood, "extended partition table")
			continue
		case off >= m.size:
			m.beyond(off + mbrBytes)
			continue
		case *budget == 0:
			m.overflow(off, off+mbrBytes)
			return
		}
		seen[at] = true
		*budget--
		b, failed := m.read(off, mbrBytes)
		if failed {
			m.claim(off, off+mbrBytes, report.RegionUnreadable, "extended partition table")
			continue
		}
		if !marked(b) {
			m.find("extended-broken", report.Warn, off, "The chain of logical partitions is broken.")
			m.claim(off, off+mbrBytes, report.NotUnderstood, "extended partition table")
			continue
		}
		m.claim(off+mbrEntry, off+mbrBytes, report.RegionTable, "extended partition table")
		links := 0
		for _, entry := range mbrParts(b) {
			switch {
			case entry.length == 0:
			case extended(entry.kind):
				if links++; links > 1 {
					m.find("extended-branches", report.Warn, off, "The chain of logical partitions has branches. All were read.")
				}
				queue = append(queue, base+entry.start)
			default:
				*number++
				if hiddenKind(entry.kind) {
					m.find("hidden-partition", report.Inform, off, "A partition is marked as hidden. It was read.")
				}
				m.add(part{start: (at + entry.start) * size, bytes: entry.length * size, what: fmt.Sprintf("MBR partition %d (logical)", *number)})
			}
		}
	}
	// What the extended partition promises and the medium does not have is missing too.
	if end := (e.start + e.length) * size; end > m.size {
		m.beyond(end)
	}
}
