package volume

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"pratique/scanner/report"
)

// maxPieces bounds into how many pieces of zeros and data one gap is divided. Further ones are data.
const maxPieces = 32

// gap is a range that no volume and no table claims.
type gap struct {
	start, end int64
	what       string
}

// piece is a part of a gap that is all zero, data or unreadable.
type piece struct {
	start, end int64
	class      report.RegionClass
}

// gaps reads everything that is not claimed yet.
func (m *mapper) gaps(ctx context.Context) error {
	var hidden []piece
	for _, g := range m.unclaimed() {
		pieces, err := m.readGap(ctx, g)
		if err != nil {
			return err
		}
		hidden = append(hidden, m.settle(g, pieces)...)
	}
	// Data on a medium without any volume must be something. So must data that looks random, wherever it lies: an encrypted
	// volume that no table names has no other sign, and nobody can scan what is in it.
	none := len(m.layout.Volumes) == 0
	for _, p := range hidden {
		random, err := m.random(ctx, p)
		switch {
		case err != nil:
			return err
		case random:
			m.candidate(p.start, p.end-p.start, hit{name: "random"}, "data outside volumes")
		case none:
			m.candidate(p.start, p.end-p.start, hit{name: "unknown"}, "data on a medium without volumes")
		}
	}
	return nil
}

// random reports whether any megabyte of a piece begins as random data. What was there before may stand in front of it.
func (m *mapper) random(ctx context.Context, p piece) (bool, error) {
	for at := p.start; at+randomBytes <= p.end; at += mapRead - at%mapRead {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if b, _ := m.read(at, randomBytes); unknownName(b) == "random" {
			return true, nil
		}
	}
	return false, nil
}

// bootCode is where the master boot record holds a program, for a medium that is not divided otherwise.
const bootCode = 440

// unclaimed lists the gaps, each with a name that says where it is.
func (m *mapper) unclaimed() []gap {
	claims := slices.Clone(m.claims)
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(a.start, b.start) })
	var gaps []gap
	var at int64
	for _, c := range append(claims, claim{start: m.size, end: m.size}) {
		if c.start > at {
			gaps = append(gaps, gap{at, c.start, m.gapName(at, c)})
		}
		at = max(at, c.end)
	}
	return gaps
}

func (m *mapper) gapName(start int64, next claim) string {
	for _, p := range m.parts {
		if p.start <= start && start < p.end() && !p.weak {
			return "rest of " + p.what + " behind its volume"
		}
	}
	switch {
	case start == 0 && next.start == bootCode:
		return "boot code"
	case next.what == "":
		return "end of the medium"
	}
	return "gap before " + next.what
}

// readGap reads a gap to its end, and looks for a volume at each of its sectors. What is inside a volume that it finds is
// for that volume's reader, so the pieces leave it out.
func (m *mapper) readGap(ctx context.Context, g gap) ([]piece, error) {
	var pieces []piece
	buf := make([]byte, min(mapRead, g.end-g.start))
	for at := g.start; at < g.end; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if m.tooMany {
			// A gap full of tiny volumes would be read again and again, a megabyte for each sector. It is refused as it is.
			m.overflow(at, g.end)
			break
		}
		// Reads begin on multiples of their size, so that sectors are never divided between two.
		b := buf[:min(mapRead-at%mapRead, g.end-at, int64(len(buf)))]
		p := piece{at, at + int64(len(b)), report.RegionUnreadable}
		next := p.end
		if n, _ := m.src.ReadAt(b, at); n == len(b) {
			if start, end := m.hidden(g, at, b); end > 0 {
				p.end, next = max(start, at), max(end, at+512) // on in any case
			}
			p.class = report.RegionData
			if Zero(b[:p.end-at]) {
				p.class = report.RegionZero
				if p.end == next {
					next = m.behindHole(next, g.end)
					p.end = next
				}
			}
		}
		if p.end > p.start {
			pieces = join(pieces, p)
		}
		at = next
	}
	return pieces, nil
}

// join appends a piece, or makes the last one longer.
func join(pieces []piece, p piece) []piece {
	k := len(pieces) - 1
	switch {
	case k < 0 || pieces[k].end != p.start:
	case pieces[k].class == p.class:
		pieces[k].end = p.end
		return pieces
	case len(pieces) >= maxPieces && pieces[k].class != report.RegionUnreadable && p.class != report.RegionUnreadable:
		pieces[k].class, pieces[k].end = report.RegionData, p.end
		return pieces
	}
	return append(pieces, p)
}

// hidden looks for a volume in b, which was read at off, and returns the range of the first that is there.
func (m *mapper) hidden(g gap, off int64, b []byte) (start, end int64) {
	for i := (512 - off%512) % 512; i+512 <= int64(len(b)); i += 512 {
		sector := b[i : i+512]
		if Zero(sector) {
			continue
		}
		if h, ok := identifyFAT(sector); ok && (sector[510] == 0x55 && sector[511] == 0xAA || sector[0] == 0xEB || sector[0] == 0xE9) {
			return m.hiddenVolume(g, off+i, h)
		}
		for k := range signatures {
			if s := &signatures[k]; s.in(sector) {
				return m.hiddenVolume(g, max(off+i-(s.at-s.at%512), g.start), s.hit(sector))
			}
		}
	}
	return 0, 0
}

// hiddenVolume notes what begins at start, by the sign that was found there and any other.
func (m *mapper) hiddenVolume(g gap, start int64, sign hit) (from, to int64) {
	if sign.name == "iso9660" && m.session(g, start) {
		return start, g.end
	}
	m.find("volume-outside-partitions", report.Warn, start, "A volume lies where no partition is.")
	b, _ := m.read(start, min(probeBytes, g.end-start))
	hits := identify(b)
	if !slices.Contains(hits, sign) {
		hits = append(hits, sign)
	}
	m.candidates(start, g.end-start, hits, fmt.Sprintf("%s, at byte %d", g.what, start))
	to = start
	for _, h := range hits {
		if h.bytes <= 0 {
			return start, g.end // nobody knows how long it is
		}
		to = max(to, min(start+h.bytes, g.end))
	}
	return start, to
}

// settle makes regions of the pieces of one gap, and one area of its data. It returns the data that is not boot code.
func (m *mapper) settle(g gap, pieces []piece) []piece {
	area := Entry{Path: fmt.Sprintf("%s, from byte %d", g.what, g.start), Kind: report.Area}
	var data []piece
	for _, p := range pieces {
		m.claim(p.start, p.end, p.class, g.what)
		if p.class == report.RegionData {
			area.Extents = append(area.Extents, Extent{p.start, p.end - p.start})
			area.Size += p.end - p.start
			data = append(data, p)
		}
	}
	if area.Size == 0 {
		return nil
	}
	area.Valid = area.Size
	m.layout.Areas = append(m.layout.Areas, area)
	if g.what == "boot code" {
		m.find("boot-code", report.Inform, g.start, "The medium has a program that a computer may start from.")
		return nil
	}
	m.find("data-outside-volumes", report.Warn, data[0].start, "There is data outside every volume. It was read.")
	return data
}

// Zero reports whether every byte is zero.
func Zero(b []byte) bool {
	for len(b) >= 8 {
		if le.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
