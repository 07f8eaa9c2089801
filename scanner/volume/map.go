package volume

import (
	"cmp"
	"context"
	"slices"

	"pratique/scanner/report"
)

const (
	// mapRead is one read of what lies outside every volume.
	mapRead = 1 << 20
	// maxSameFinding: a medium that has the same fault more often gains no more sentences.
	maxSameFinding = 16
	// maxPartitions bounds what the tables may name together. Beyond it the medium is blocked.
	maxPartitions = report.MaxVolumes
)

// mapper builds one Layout.
type mapper struct {
	src     Source
	size    int64
	layout  Layout
	parts   []part
	claims  []claim
	missing int64 // bytes behind the end of the medium that a table counts on
	told    map[string]int
	tooMany bool
	given   claim // what was given up for that
	blind   bool  // a table could not be read, so whether there is one is not known
	tables  int   // partition tables that were found, with or without partitions
	zeros   claim // what was read for a partition and is zero, so that hundreds in one place do not read it hundreds of times
}

// part is a partition as one table has it.
type part struct {
	start, bytes int64
	what         string
	fallback     string // what it is by the table's word, where its content has no signature
	weak         bool   // counts only if its content has a signature: the table itself is in doubt
}

func (p part) end() int64 { return p.start + p.bytes }

// claim is a range that is understood. Where claims meet, the higher class counts.
type claim struct {
	start, end int64
	class      report.RegionClass
	what       string
}

// Map divides a medium. It returns an error only if ctx ended; whatever is learned about the medium is in the Layout.
//
// Of a Sparse source the inside of a hole is not read.
//
// Tables are read in every way they can be: master boot record with logical partitions, both copies of the GUID table,
// sectors of 512 bytes and larger ones. So is the whole medium, as one volume. Everything outside volumes and tables is
// read to its last byte, and every sector of it is held against the signatures, so that a volume that no table names is
// found too.
func Map(ctx context.Context, src Source) (Layout, error) {
	m := &mapper{src: src, size: src.Size(), told: map[string]int{}}
	m.layout.SectorSize = src.SectorSize()
	if !powerOfTwo(uint32(src.SectorSize()), 512, 4096) {
		m.layout.SectorSize = 512
	}
	if m.size <= 0 {
		m.find("empty-medium", report.Warn, -1, "The medium is empty: it has not a single byte.")
		return m.layout, nil
	}
	whole := m.readTables()
	if err := m.volumes(ctx, whole); err != nil {
		return Layout{}, err
	}
	if err := m.gaps(ctx); err != nil {
		return Layout{}, err
	}
	m.finish()
	return m.layout, nil
}

func (m *mapper) find(rule string, severity report.Severity, offset int64, text string) {
	if m.told[rule]++; m.told[rule] <= maxSameFinding {
		m.layout.Found = append(m.layout.Found, report.Finding{Check: report.CheckMedium, Rule: rule, Severity: severity, Offset: offset, Text: text})
	}
}

// read returns n bytes from off, or as many as there are before the end of the medium or the first bad sector. failed says
// that it was a bad sector.
func (m *mapper) read(off, n int64) (b []byte, failed bool) {
	if off < 0 || off >= m.size {
		return nil, false
	}
	b = make([]byte, min(n, m.size-off))
	if got, _ := m.src.ReadAt(b, off); got == len(b) {
		return b, false
	}
	// A device may refuse a whole transfer for one sector of it.
	step, good := m.layout.SectorSize, 0
	for good < len(b) {
		piece := b[good:min(good+step, len(b))]
		if got, _ := m.src.ReadAt(piece, off+int64(good)); got < len(piece) {
			break
		}
		good += len(piece)
	}
	return b[:good], good < len(b)
}

func (m *mapper) claim(start, end int64, class report.RegionClass, what string) {
	if start, end = max(start, 0), min(end, m.size); start < end {
		m.claims = append(m.claims, claim{start, end, class, what})
	}
}

// add takes a partition from a table, as far as the medium goes.
func (m *mapper) add(p part) {
	switch {
	case p.end() > m.size && !p.weak:
		m.beyond(p.end())
		fallthrough
	case p.end() > m.size:
		p.bytes = m.size - p.start
	}
	if p.bytes <= 0 {
		return
	}
	if slices.ContainsFunc(m.parts, func(q part) bool { return q.start == p.start && q.bytes == p.bytes && (p.weak || !q.weak) }) {
		return // the same in both copies of a table
	}
	if len(m.parts) >= maxPartitions {
		m.overflow(p.start, p.end())
		return
	}
	m.parts = append(m.parts, p)
}

// beyond notes that a table counts on bytes up to end, which the medium does not have.
func (m *mapper) beyond(end int64) {
	m.missing = max(m.missing, end-m.size)
	m.find("partition-beyond-end", report.Warn, -1,
		"A partition goes on behind the end of the medium: the medium is cut short, or its table is wrong.")
}

// overflow gives up on a range: there are more volumes than a report can hold. All such ranges, and what is between them,
// become one, so that a table of thousands of partitions does not cost time for each.
func (m *mapper) overflow(start, end int64) {
	start, end = max(start, 0), min(end, m.size)
	if m.given.end > m.given.start {
		start, end = min(start, m.given.start), max(end, m.given.end)
	}
	m.tooMany, m.given = true, claim{start, end, report.NotUnderstood, "beyond the limit on volumes"}
}

// volumes finds what is in each partition and on the medium as a whole.
func (m *mapper) volumes(ctx context.Context, whole []hit) error {
	if whole = m.withRAID(part{bytes: m.size}, whole); len(whole) > 0 {
		m.candidates(0, m.size, whole, "whole device")
		if len(m.parts) > 0 {
			m.find("volume-and-table", report.Warn, 0,
				"The medium is a volume and divided into partitions at once, so that computers may see different files. Both were read.")
		}
	}
	slices.SortStableFunc(m.parts, func(a, b part) int { return cmp.Compare(a.start, b.start) })
	var end int64
	for _, p := range m.parts {
		if p.start < end && !p.weak {
			m.find("partitions-overlap", report.Warn, p.start, "Two partitions share a part of the medium. Both were read.")
		}
		if err := m.partition(ctx, p); err != nil {
			return err
		}
		if !p.weak {
			end = max(end, p.end())
		}
	}
	if len(m.parts) == 0 && m.tables == 0 && len(whole) == 0 && !m.blind {
		return m.partition(ctx, part{bytes: m.size, what: "whole device"})
	}
	return nil
}

// partition finds the volumes of one partition. One without a signature is empty if every byte of it is zero, and refused
// otherwise.
func (m *mapper) partition(ctx context.Context, p part) error {
	b, failed := m.read(p.start, min(p.bytes, probeBytes))
	hits := m.withRAID(p, identify(b))
	switch {
	case len(hits) > 0:
		m.candidates(p.start, p.bytes, hits, p.what)
		return nil
	case p.weak:
		return nil
	case failed:
		m.claim(p.start+int64(len(b)), p.start+min(p.bytes, probeBytes), report.RegionUnreadable, p.what)
		m.candidate(p.start, p.bytes, hit{name: "unknown"}, p.what)
		return nil
	}
	zero, err := m.zero(ctx, p)
	if err != nil {
		return err
	}
	if zero {
		m.claim(p.start, p.end(), report.RegionZero, p.what)
		return nil
	}
	name := p.fallback
	if name == "" {
		name = unknownName(b)
	}
	if name == "unknown" {
		name = m.raidName(p)
	}
	m.candidate(p.start, p.bytes, hit{name: name}, p.what)
	return nil
}

// zero reads a partition until a byte is not zero or cannot be read. Partitions come in the order of their start.
func (m *mapper) zero(ctx context.Context, p part) (bool, error) {
	if p.start < m.zeros.start || p.start > m.zeros.end {
		m.zeros = claim{start: p.start, end: p.start}
	}
	buf := make([]byte, mapRead)
	for at := m.zeros.end; at < p.end(); at = m.zeros.end {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		piece := buf[:min(mapRead, p.end()-at)]
		if n, _ := m.src.ReadAt(piece, at); n < len(piece) {
			m.claim(at, at+int64(len(piece)), report.RegionUnreadable, p.what)
			return false, nil
		}
		if !Zero(piece) {
			return false, nil
		}
		m.zeros.end = m.behindHole(at+int64(len(piece)), p.end())
	}
	return true, nil
}

// behindHole returns where to read on at off, after a zero, up to end. Only what a hole has between its first and its last
// read is not read, so a source that is wrong about its holes has to be wrong about all of that.
func (m *mapper) behindHole(off, end int64) int64 {
	sparse, ok := m.src.(Sparse)
	if !ok || off >= end {
		return off
	}
	data := min(sparse.DataFrom(off), end)
	return max(off, (data-mapRead)/mapRead*mapRead)
}

// raidName looks for the two versions of Linux RAID that keep their superblock at the end.
func (m *mapper) raidName(p part) string {
	for _, at := range []int64{(p.bytes/512 - 16) &^ 7 * 512, p.bytes&^0xFFFF - 0x10000} {
		if at <= 0 {
			continue
		}
		if b, _ := m.read(p.start+at, 8); len(b) == 8 && string(b[:4]) == "\xfc\x4e\x2b\xa9" && le.Uint32(b[4:]) <= 1 {
			return "md"
		}
	}
	return "unknown"
}

// withRAID adds to what a part may be that it is one of an array: Linux then shows what the superblock says, which may lie
// anywhere in the part, and not the volume at its start.
func (m *mapper) withRAID(p part, hits []hit) []hit {
	if len(hits) > 0 && m.raidName(p) == "md" {
		return append(hits, hit{name: "md"})
	}
	return hits
}

// candidates notes everything that one range may be. Each is read.
func (m *mapper) candidates(start, bytes int64, hits []hit, what string) {
	for _, h := range hits {
		m.candidate(start, bytes, h, what)
	}
	if len(hits) > 1 {
		m.find("polyglot", report.Warn, start, "A part of the medium is more than one kind of volume at once.")
	}
}

// candidate notes a volume. If it says how long it is, what lies behind it is not part of it.
func (m *mapper) candidate(start, bytes int64, h hit, what string) {
	if h.bytes > 0 {
		bytes = min(bytes, h.bytes)
	}
	for _, c := range m.layout.Volumes {
		// Found before, through another table. A disc may be shorter as a partition of itself, and is the same disc.
		if c.Start == start && c.FileSystem == h.name && (c.Bytes == bytes || optical(h.name) && c.Bytes > bytes) {
			return
		}
	}
	if len(m.layout.Volumes) >= report.MaxVolumes {
		m.overflow(start, start+bytes)
		return
	}
	m.layout.Volumes = append(m.layout.Volumes, Candidate{Start: start, Bytes: bytes, FileSystem: h.name, What: what})
	m.claim(start, start+bytes, report.RegionVolume, what)
}

// finish orders what was found, and makes regions of the claims.
func (m *mapper) finish() {
	slices.SortStableFunc(m.layout.Volumes, func(a, b Candidate) int { return cmp.Compare(a.Start, b.Start) })
	for i := range m.layout.Volumes {
		m.layout.Volumes[i].ID = i
	}
	m.claim(m.given.start, m.given.end, m.given.class, m.given.what)
	regions := tile(m.claims, m.size)
	if most := report.MaxRegions - 1; len(regions) > most { // one is kept for what is missing
		start := regions[most-1].Start
		regions = append(regions[:most-1], report.Region{Start: start, Bytes: m.size - start, What: "beyond the limit on regions"})
		m.tooMany = true
	}
	if m.missing > 0 {
		regions = append(regions, report.Region{Start: m.size, Bytes: m.missing, Class: report.RegionMissing, What: "behind the end of the medium"})
	}
	if m.tooMany {
		m.find("too-many-partitions", report.Block, -1, "The medium is divided into more parts than this kiosk reads.")
	}
	m.layout.Regions = regions
}

// rank orders classes where claims meet: what bars a clearance wins.
var rank = [...]int{report.RegionZero: 1, report.RegionData: 2, report.RegionTable: 3, report.RegionVolume: 4,
	report.NotUnderstood: 5, report.RegionUnreadable: 6}

// tile makes disjoint regions that cover [0, size) out of claims that may overlap. What nobody claimed is NotUnderstood.
func tile(claims []claim, size int64) []report.Region {
	cuts := []int64{0, size}
	for _, c := range claims {
		cuts = append(cuts, c.start, c.end)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(a.start, b.start) })
	var regions []report.Region
	var active []claim
	for i, next := 0, 0; i+1 < len(cuts); i++ {
		start, end := cuts[i], cuts[i+1]
		active = slices.DeleteFunc(active, func(c claim) bool { return c.end <= start })
		for ; next < len(claims) && claims[next].start <= start; next++ {
			active = append(active, claims[next])
		}
		r, best := report.Region{Start: start, Bytes: end - start, What: "unclaimed"}, 0
		for _, c := range active {
			if rank[c.class] > best {
				r.Class, r.What, best = c.class, c.what, rank[c.class]
			}
		}
		if k := len(regions) - 1; k >= 0 && regions[k].Class == r.Class && regions[k].What == r.What {
			regions[k].Bytes += r.Bytes
			continue
		}
		regions = append(regions, r)
	}
	return regions
}
