package ntfs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// chunk is how much of the table, of an index or of a bitmap is read at once.
const chunk = 64 << 10

// findTable reads the table's own record, the first in it, and learns where the rest lies.
func (fs *FS) findTable() error {
	fail := func(err error) error { return fmt.Errorf("the first record of the file table: %w", err) }
	raw := make([]byte, fs.geo.record)
	if err := fs.readAt(raw, fs.geo.table); err != nil {
		return fail(err)
	}
	r, err := parseRecord(raw, recordTable)
	if err != nil {
		return fail(err)
	}
	if !r.inUse || r.base != 0 {
		return fail(volume.Malformed("it is not in use."))
	}
	if err := fs.mapTable(r); err != nil {
		return fail(err)
	}
	if x := fs.table.extents[0]; x.Start != fs.geo.table {
		return fail(volume.Malformed("it is not where the boot sector says."))
	}
	if fs.records() < systemRecords {
		return fail(volume.Malformed("the table is too short."))
	}
	if fs.records() > maxRecords {
		return nil // Walk says so
	}
	f := fs.gather(r)
	marks := f.stream(typeBitmap, "")
	if f.err != nil || marks == nil || marks.err != nil {
		fs.known.Wrong(report.Malformed, "The file table does not say which of its records are in use.")
		return nil
	}
	need := (fs.records() + 7) / 8
	if marks.size < need {
		fs.known.Wrong(report.Malformed, "The file table's list of records in use is too short.")
		return nil
	}
	fs.marks = make([]byte, need)
	if err := fs.readStream(marks, fs.marks, 0); err != nil {
		fs.marks = nil
		fs.known.Wrong(volume.OutcomeOf(err), "The file table's list of records in use could not be read.")
	}
	return nil
}

// mapTable follows the table's content. If it lies in many pieces, records in its first pieces say where the others are.
func (fs *FS) mapTable(r *record) error {
	missing := volume.Malformed("it does not say where the table lies.")
	i := slices.IndexFunc(r.attributes, func(a attribute) bool { return a.kind == typeData && a.name == "" })
	if i < 0 || r.attributes[i].resident || r.attributes[i].first != 0 {
		return missing
	}
	s := &fs.table
	*s = fs.assemble(r.attributes[i : i+1 : i+1])[0]
	whole := s.size
	// What is mapped so far can be read; whether it is all is asked in the end.
	mapped := func() error {
		if len(s.extents) == 0 || slices.ContainsFunc(s.extents, func(x volume.Extent) bool { return x.Start < 0 }) {
			return missing
		}
		s.size, s.err = min(whole, s.ends[len(s.ends)-1]), nil
		return nil
	}
	if err := mapped(); err != nil {
		return err
	}
	if i := slices.IndexFunc(r.attributes, func(a attribute) bool { return a.kind == typeList }); i >= 0 {
		list, err := fs.list(&r.attributes[i])
		if err != nil {
			return err
		}
		slices.SortStableFunc(list, func(a, b listed) int { return cmp.Compare(a.first, b.first) })
		for _, l := range list {
			if l.kind != typeData || l.first == 0 {
				continue
			}
			from := r
			if l.record.number() != recordTable {
				if from, err = fs.extension(l.record, refer(recordTable, r.use)); err != nil {
					return err
				}
			}
			for _, a := range from.attributes {
				if a.kind == typeData && a.name == "" && !a.resident && a.first == l.first {
					s.add(&a, &fs.geo)
				}
			}
			if s.err != nil {
				return s.err
			}
			if err := mapped(); err != nil {
				return err
			}
		}
	}
	s.size = whole
	s.settle()
	if s.err == nil && whole == 0 {
		return missing
	}
	return s.err
}

// compareMirror holds the copy of the first records against them. Windows and Linux look at the copy where the table's own
// first record is damaged, so a copy that leads to another table makes two volumes of one.
func (fs *FS) compareMirror() {
	f := fs.system(recordMirror, "the copy of the file table's first records")
	s := f.stream(typeData, "")
	if s == nil || s.resident || s.err != nil || len(s.extents) == 0 || s.extents[0].Start != fs.geo.mirror {
		fs.known.Wrong(report.Malformed, "The copy of the file table's first records is not where the boot sector says.")
		return
	}
	const copies = 4 // so many are kept alike on every volume; with large clusters more may be there, and old
	for n := int64(0); n < copies; n++ {
		one, two := make([]byte, fs.geo.record), make([]byte, fs.geo.record)
		err := fs.readStream(&fs.table, one, n*fs.geo.record)
		if err == nil {
			err = fs.readStream(s, two, n*fs.geo.record)
		}
		if err != nil {
			fs.known.Wrong(volume.OutcomeOf(err), "The copy of the file table's first records could not be read.")
			return
		}
		if bytes.Equal(one, two) {
			continue
		}
		fs.known.Note("table-copies-differ", report.Warn, s.extents[0].Start+n*fs.geo.record,
			"The first records of the file table and their copy are not the same.")
		if n > recordTable {
			continue
		}
		r, err := parseRecord(two, recordTable)
		if err != nil {
			continue // no system takes it for a table
		}
		if other := fs.gather(r).stream(typeData, ""); other == nil || other.size != fs.table.size || !slices.Equal(other.extents, fs.table.extents) {
			fs.known.Wrong(report.Malformed, "The file table and its copy describe two different tables.")
		}
	}
}

// eachRecord reads the whole table in order. A record that cannot be read is handed out as nil. The bytes belong to visit
// until it returns.
func (fs *FS) eachRecord(ctx context.Context, visit func(number int64, raw []byte) error) error {
	buf := make([]byte, chunk)
	size, table := fs.geo.record, &fs.table
	for at := int64(0); at < fs.records()*size; at += chunk {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := buf[:min(chunk, fs.records()*size-at)]
		// Past the cache: each record is read once, and what lies around the table need not come with it.
		failed := readExtents(fs.src, table.extents, table.ends, part, at) != nil
		for i := int64(0); i < int64(len(part)); i += size {
			raw := part[i : i+size]
			if failed && readExtents(fs.src, table.extents, table.ends, raw, at+i) != nil {
				raw = nil
			}
			if err := visit((at+i)/size, raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// marked reports whether the table's bitmap says that a record is in use. Without a bitmap nobody says so.
func (fs *FS) marked(number int64) bool {
	return int(number/8) < len(fs.marks) && fs.marks[number/8]>>(number%8)&1 != 0
}
