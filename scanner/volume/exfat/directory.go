package exfat

import (
	"context"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// chunk is how much of a directory or of the bitmap is read at once.
const chunk = 64 << 10

// records hands out the 32-byte entries of a directory one by one. Sectors that cannot be read count as blank, and unread
// says that there were some: what they held is not known, but what follows them is.
func (w *walker) records(extents []volume.Extent, visit func(at int64, entry []byte) error) (unread bool, err error) {
	buf := make([]byte, chunk)
	for _, x := range extents {
		for done := int64(0); done < x.Bytes; {
			part := buf[:min(chunk, x.Bytes-done)]
			if w.readSectors(part, x.Start+done) {
				unread = true
			}
			for i := 0; i+entryBytes <= len(part); i += entryBytes {
				if err := visit(x.Start+done+int64(i), part[i:i+entryBytes]); err != nil {
					return unread, err
				}
			}
			done += int64(len(part))
			if w.ctx.Err() != nil {
				return unread, context.Cause(w.ctx)
			}
		}
	}
	return unread, nil
}

// readSectors fills p, and puts zeros where the medium returned an error. Directories are read past the cache: each is
// read once, and the files around it need not come with it.
func (w *walker) readSectors(p []byte, at int64) (unread bool) {
	if n, _ := w.fs.src.ReadAt(p, at); n == len(p) {
		return false
	}
	sector := int(w.fs.geo.sector)
	for i := 0; i < len(p); i += sector {
		part := p[i:min(i+sector, len(p))]
		if n, _ := w.fs.src.ReadAt(part, at+int64(i)); n < len(part) {
			clear(part)
			unread = true
		}
	}
	return unread
}

// sets puts entries together to entry sets. It is fed one entry after the other.
type sets struct {
	w       *walker
	dir     *directory
	set     []byte // the set in the making: the file entry and what follows
	at      int64  // where it began
	missing int    // entries that the set still needs
	skip    int    // entries that belong to something that is passed over
	ended   bool   // the end mark was seen
	odd     bool   // there are bytes that belong to no entry, live or deleted
}

// add takes the next entry of the directory.
func (s *sets) add(at int64, e []byte) error {
	kind := e[0]
	secondary := kind >= bitInUse|bitSecondary
	if s.missing > 0 {
		if secondary {
			s.set = append(s.set, e...)
			if s.missing--; s.missing == 0 {
				return s.close(true)
			}
			return nil
		}
		if err := s.close(false); err != nil {
			return err
		}
	}
	if kind < bitInUse {
		s.ended = s.ended || kind == typeEnd
		s.skip = 0
		s.unused(at, e)
		return nil
	}
	if s.ended {
		// The specification says that nothing follows an end mark, and drivers differ in whether they look.
		s.w.Note("after-end-mark", report.Warn, at,
			"A directory has entries behind its end, which some systems show and others do not.")
	}
	if secondary {
		if s.skip > 0 {
			s.skip--
		} else {
			s.w.Wrong(report.Malformed, "A directory holds parts of an entry whose beginning is gone.")
		}
		return nil
	}
	s.skip = 0
	return s.begin(at, e)
}

// unused looks at an entry that is not in use. A deleted one keeps its type, less one bit; behind the end there are zeros.
// Anything else is a place to hide content in, which is then scanned.
func (s *sets) unused(at int64, e []byte) {
	if e[0]|bitInUse == typeFile {
		s.w.deleted++
	}
	switch e[0] | bitInUse {
	case typeBitmap, typeUpcase, typeLabel, typeFile, typeGUID, typeGUID + 1, typeGUID + 2, // the last two: TexFAT, Windows CE
		typeStream, typeName, typeVendor, typeVendor + 1:
	default:
		if !volume.Zero(e) {
			s.odd = true
			s.w.Note("directory-junk", report.Warn, at, "A directory holds bytes that never were an entry; they were scanned.")
		}
	}
}

// begin takes an entry that stands at the beginning of a set.
func (s *sets) begin(at int64, e []byte) error {
	switch kind := e[0]; {
	case kind == typeFile:
		s.at, s.set, s.missing = at, append(s.set[:0], e...), int(e[1])
		if s.missing == 0 {
			return s.close(true)
		}
	case kind == typeBitmap, kind == typeUpcase, kind == typeLabel:
		if s.dir.path != "" {
			s.w.Wrong(report.Malformed, "A directory holds an entry that only the root directory may have.")
		}
	case kind == typeGUID && s.dir.path == "":
	case kind&bitBenign != 0:
		s.skip = int(e[1])
		s.w.Note("unknown-entry", report.Inform, at,
			"A directory holds an entry of a kind that is not known and may be passed over.")
	default:
		s.skip = int(e[1])
		s.w.Wrong(report.Malformed, "A directory holds an entry of a kind that must be understood and is not known.")
	}
	return nil
}

// end is called behind the last entry.
func (s *sets) end() error {
	if s.missing > 0 {
		return s.close(false)
	}
	return nil
}

func (s *sets) close(complete bool) error {
	s.missing = 0
	r := s.w.fs.decode(s.at, s.set, complete)
	return s.w.item(s.dir, &r)
}
