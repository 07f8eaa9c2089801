package volume

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"

	"pratique/scanner/report"
)

const (
	gptHeader     = 92 // bytes of the header that the specification defines
	gptEntry      = 128
	maxGPTBytes   = 128 << 10 // of one table: eight times what systems make
	maxGPTEntry   = 4096
	gptHiddenBits = 1<<62 | 1<<60 // hidden, read-only shadow; Microsoft's attributes of basic data partitions
)

// gpt is one copy of a GUID partition table (UEFI specification 2.10, section 5.3).
type gpt struct {
	at, size    int64 // of the header, and the sector size by which it was found
	backup      bool
	sound       bool // both checksums hold and it is where it says
	alternate   int64
	first, last int64 // usable sectors
	disk        [16]byte
	table       int64
	entryBytes  int64
	entries     []byte
}

// readGPTs reads every copy there is and returns the sector size of the table, 0 if there is none. guarded says that the
// master boot record announces it; if not, and there are other partitions, systems ignore it.
func (m *mapper) readGPTs(guarded bool) (sector int) {
	own := int64(m.layout.SectorSize)
	others := slices.DeleteFunc(slices.Clone(sectorSizes), func(size int64) bool { return size == own })
	for _, size := range append([]int64{own}, others...) {
		copies := m.copies(size)
		if len(copies) == 0 {
			continue
		}
		if sector != 0 {
			m.find("gpt-twice", report.Warn, copies[0].at, "There are GUID partition tables for two sizes of sector. All were read.")
		} else {
			sector = int(size)
		}
		m.tables++
		m.compareCopies(copies)
		for _, g := range copies {
			m.addGPT(g, guarded)
		}
	}
	return sector
}

// copies finds the table at the second sector, and its copies at the last sector and where each says the other is.
func (m *mapper) copies(size int64) []*gpt {
	var found []*gpt
	try := func(sector int64, backup bool) {
		at := sector * size
		if sector < 1 || sector > maxSector || at >= m.size || slices.ContainsFunc(found, func(g *gpt) bool { return g.at == at }) {
			return
		}
		if g := m.readGPT(at, size, backup); g != nil {
			found = append(found, g)
		}
	}
	try(1, false)
	try(m.size/size-1, true)
	for _, g := range slices.Clone(found) {
		try(g.alternate, !g.backup)
	}
	return found
}

// readGPT reads one copy, or returns nil if there is none at this place.
func (m *mapper) readGPT(at, size int64, backup bool) *gpt {
	name := "GUID partition table"
	if backup {
		name = "copy of the GUID partition table"
	}
	h, failed := m.read(at, size)
	if failed {
		m.find("gpt-unreadable", report.Warn, at, "A place where a partition table may be could not be read.")
		m.claim(at, at+size, report.RegionUnreadable, name)
		m.blind = true
		return nil
	}
	if len(h) < gptHeader || string(h[:8]) != "EFI PART" {
		return nil
	}
	g := &gpt{at: at, size: size, backup: backup, alternate: sectorNumber(h[32:]), first: sectorNumber(h[40:]), last: sectorNumber(h[48:]),
		disk: [16]byte(h[56:72]), table: sectorNumber(h[72:]), entryBytes: int64(le.Uint32(h[84:]))}
	m.claim(at, at+gptHeader, report.RegionTable, name)
	g.sound = headerSum(h) && sectorNumber(h[24:]) == at/size
	count := int64(le.Uint32(h[80:]))
	if g.entryBytes < gptEntry || g.entryBytes > maxGPTEntry || g.entryBytes%8 != 0 || count*g.entryBytes > maxGPTBytes || g.table < 1 {
		m.find("gpt-absurd", report.Warn, at, "A copy of the GUID partition table describes a table that cannot be.")
		m.claim(at, at+gptHeader, report.NotUnderstood, name)
		g.sound, g.entryBytes = false, gptEntry
		return g
	}
	g.entries, failed = m.read(g.table*size, count*g.entryBytes)
	if failed {
		m.find("gpt-unreadable", report.Warn, at, "A place where a partition table may be could not be read.")
		m.claim(g.table*size, g.table*size+count*g.entryBytes, report.RegionUnreadable, name)
	}
	g.sound = g.sound && int64(len(g.entries)) == count*g.entryBytes && crc32.ChecksumIEEE(g.entries) == le.Uint32(h[88:])
	if !g.sound {
		m.find("gpt-checksum", report.Warn, at,
			"A copy of the GUID partition table is damaged: its checksum or its place is wrong. It was read all the same.")
	}
	for i := int64(0); (i+1)*g.entryBytes <= int64(len(g.entries)); i++ {
		if e := g.entries[i*g.entryBytes:]; !Zero(e[:16]) { // an entry not in use is no table: whatever is in it gets scanned
			start := g.table*size + i*g.entryBytes
			m.claim(start, start+gptEntry, report.RegionTable, name)
		}
	}
	return g
}

// sectorNumber reads a sector number; one that no medium can have becomes -1.
func sectorNumber(b []byte) int64 {
	if n := le.Uint64(b); n <= maxSector {
		return int64(n)
	}
	return -1
}

func headerSum(h []byte) bool {
	n := le.Uint32(h[12:])
	if n < gptHeader || int(n) > len(h) {
		return false
	}
	c := slices.Clone(h[:n])
	clear(c[16:20])
	return crc32.ChecksumIEEE(c) == le.Uint32(h[16:])
}

// compareCopies says what is wrong between the copies. Whatever it is, the partitions of each are read.
func (m *mapper) compareCopies(copies []*gpt) {
	if len(copies) == 1 {
		m.find("gpt-one-copy", report.Warn, copies[0].at, "Only one of the two copies of the GUID partition table is there.")
	}
	for _, g := range copies {
		if g.sound && !g.backup && (g.alternate+1)*g.size != m.size/g.size*g.size {
			if (g.alternate+1)*g.size > m.size {
				m.find("medium-short", report.Warn, -1,
					"The medium ends before its partition table says: it is cut short, or its table is wrong.")
				m.missing = max(m.missing, (g.alternate+1)*g.size-m.size)
			} else {
				m.find("gpt-copy-place", report.Inform, g.at, "The copy of the GUID partition table is not at the end of the medium.")
			}
		}
	}
	for _, g := range copies[1:] {
		if g.disk != copies[0].disk || g.first != copies[0].first || g.last != copies[0].last || !bytes.Equal(g.entries, copies[0].entries) {
			m.find("gpt-copies-differ", report.Warn, g.at, "The copies of the GUID partition table differ. The partitions of both were read.")
		}
	}
}

// addGPT takes the partitions of one copy.
func (m *mapper) addGPT(g *gpt, guarded bool) {
	for i := int64(0); (i+1)*g.entryBytes <= int64(len(g.entries)); i++ {
		e := g.entries[i*g.entryBytes:]
		if Zero(e[:16]) {
			continue
		}
		first, last := sectorNumber(e[32:]), sectorNumber(e[40:])
		if first < 0 || last < first {
			m.find("partition-odd", report.Warn, g.at, "The partition table has an entry that ends before it begins.")
			m.claim(g.table*g.size+i*g.entryBytes, g.table*g.size+i*g.entryBytes+gptEntry, report.NotUnderstood, "GUID partition table")
			continue
		}
		if le.Uint64(e[48:])&gptHiddenBits != 0 {
			m.find("hidden-partition", report.Inform, g.at, "A partition is marked as hidden. It was read.")
		}
		m.add(part{start: first * g.size, bytes: (last - first + 1) * g.size, what: fmt.Sprintf("GPT partition %d", i+1),
			fallback: gptKinds[[16]byte(e[:16])], weak: !guarded && m.otherTable()})
	}
}

// otherTable reports whether the first sector has partitions, so that a GUID table that it does not announce may be a
// leftover of the time before.
func (m *mapper) otherTable() bool {
	b, _ := m.read(0, mbrBytes)
	if !marked(b) {
		return false
	}
	entries := mbrParts(b)
	return slices.ContainsFunc(entries[:], mbrPart.used)
}

// gptKinds are the types whose content may have no signature at its start.
var gptKinds = map[[16]byte]string{
	guid(0x5808C8AA, 0x7E8F, 0x42E0, "\x85\xD2\xE1\xE9\x04\x34\xCF\xB3"): "ldm",
	guid(0xAF9B60A0, 0x1431, 0x4F62, "\xBC\x68\x33\x11\x71\x4A\x69\xAD"): "ldm",
	guid(0xE75CAF8F, 0xF680, 0x4CEE, "\xAF\xA3\xB0\x01\xE5\x6E\xFC\x2D"): "storage-space",
	guid(0x53746F72, 0x6167, 0x11AA, "\xAA\x11\x00\x30\x65\x43\xEC\xAC"): "corestorage",
	guid(0x7C3457EF, 0x0000, 0x11AA, "\xAA\x11\x00\x30\x65\x43\xEC\xAC"): "apfs",
}

// guid writes a GUID as it is stored: the first three parts little-endian.
func guid(a uint32, b, c uint16, rest string) (g [16]byte) {
	le.PutUint32(g[:], a)
	le.PutUint16(g[4:], b)
	le.PutUint16(g[6:], c)
	copy(g[8:], rest)
	return g
}
