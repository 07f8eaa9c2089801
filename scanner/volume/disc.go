package volume

import "pratique/scanner/report"

// optical reports whether a file system is that of discs.
func optical(name string) bool { return name == "iso9660" || name == "udf" }

// session takes what looks like a volume of ISO 9660 at start for a later session of the one before it, which then goes on
// to the end of the gap: sessions count from the beginning of the disc, so that only its reader can make sense of them.
func (m *mapper) session(g gap, start int64) bool {
	for i := range m.layout.Volumes {
		v := &m.layout.Volumes[i]
		if v.FileSystem != "iso9660" || v.Start >= start || v.Start+v.Bytes > start {
			continue
		}
		if m.crosses(v.Start, g.end) {
			continue
		}
		m.claim(v.Start+v.Bytes, g.end, report.RegionVolume, v.What)
		v.Bytes = g.end - v.Start
		return true
	}
	return false
}

// crosses reports whether a partition begins or ends within a range, so that no volume can fill it.
func (m *mapper) crosses(start, end int64) bool {
	for _, p := range m.parts {
		if !p.weak && (start < p.start && p.start < end || start < p.end() && p.end() < end && p.start <= start) {
			return true
		}
	}
	return false
}
