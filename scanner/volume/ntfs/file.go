package ntfs

import (
	"cmp"
	"slices"
	"sort"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

var errPieces = &volume.Fault{Outcome: report.TooLarge, Text: "it lies in more pieces than this program follows."}

// file is a record with all that continues it in other records: a file, a directory, or nothing that has a name.
type file struct {
	number     int64
	use        uint16
	inUse, dir bool
	base       reference
	streams    []stream
	extensions []int64 // the other records
	err        error   // why it is not all that the volume has of it
}

// stream is one attribute in full.
type stream struct {
	kind     uint32
	name     string
	flags    uint16
	resident bool
	value    []byte // of a resident one

	extents                []volume.Extent // of the others
	ends                   []int64         // of each extent, in the stream
	allocated, size, valid int64
	unit                   int64 // bytes of a compression unit; 0 if it has none
	err                    error // why it cannot be followed
}

// link is one name of a file.
type link struct {
	parent reference
	name   string
	space  byte
	alias  bool // the 8.3 form of another name
}

// Namespaces of names. A DOS name stands beside a Windows name and is no name of its own.
const (
	spacePOSIX = iota
	spaceWindows
	spaceDOS
	spaceBoth
)

// stream returns the first stream of a kind and name, or nil.
func (f *file) stream(kind uint32, name string) *stream {
	for i := range f.streams {
		if s := &f.streams[i]; s.kind == kind && s.name == name {
			return s
		}
	}
	return nil
}

// hidden reports whether the file has the attribute that keeps Windows from showing it.
func (f *file) hidden() bool {
	const attributes, hidden = 32, 2
	s := f.stream(typeStandard, "")
	return s != nil && s.resident && len(s.value) > attributes && s.value[attributes]&hidden != 0
}

// links returns the names of the file.
func (f *file) links() ([]link, error) {
	var all []link
	for i := range f.streams {
		s := &f.streams[i]
		if s.kind != typeName {
			continue
		}
		l, ok := parseName(s.value)
		if !s.resident || !ok {
			return all, volume.Malformed("one of its names contradicts itself.")
		}
		all = append(all, l)
	}
	long := make(map[reference]bool, 1) // directories in which the file has a Windows name
	for _, l := range all {
		if l.space == spaceWindows {
			long[l.parent] = true
		}
	}
	for i := range all {
		all[i].alias = all[i].space == spaceDOS && long[all[i].parent]
	}
	return all, nil
}

// parseName reads a name as files and indexes hold it.
func parseName(b []byte) (link, bool) {
	if len(b) < 66 || len(b) < 66+2*int(b[64]) || b[64] == 0 || b[65] > spaceBoth {
		return link{}, false
	}
	return link{parent: reference(le.Uint64(b)), name: volume.WTF8(units16(b[66 : 66+2*int(b[64])])), space: b[65]}, true
}

// file reads a record and what continues it, out of order.
func (fs *FS) file(number int64) (*file, error) {
	raw := make([]byte, fs.geo.record)
	if number < 0 || number >= fs.records() {
		return nil, volume.Malformed("it lies outside the file table.")
	}
	if err := fs.readStream(&fs.table, raw, number*fs.geo.record); err != nil {
		return nil, err
	}
	r, err := parseRecord(raw, number)
	if err != nil {
		return nil, err
	}
	return fs.gather(r), nil
}

// gather puts a file together from its record and those that its attribute list names.
func (fs *FS) gather(r *record) *file {
	f := &file{number: r.number, use: r.use, inUse: r.inUse, dir: r.dir, base: r.base}
	attributes := r.attributes
	if i := slices.IndexFunc(attributes, func(a attribute) bool { return a.kind == typeList }); i >= 0 && r.base == 0 {
		own := attributes[i]
		attributes = slices.Delete(slices.Clone(attributes), i, i+1)
		list, err := fs.list(&own)
		if err == nil {
			attributes, err = fs.extend(f, attributes, list)
		}
		f.err = err
		if !own.resident {
			f.streams = append(f.streams, fs.assemble([]attribute{own})...)
		}
	}
	f.streams = append(f.streams, fs.assemble(attributes)...)
	return f
}

// listed is one entry of an attribute list.
type listed struct {
	kind     uint32
	first    int64
	record   reference
	instance uint16
}

// list reads an attribute list.
func (fs *FS) list(a *attribute) ([]listed, error) {
	raw := a.value
	if !a.resident {
		s := &fs.assemble([]attribute{*a})[0]
		if s.err != nil {
			return nil, s.err
		}
		if s.size > maxList {
			return nil, &volume.Fault{Outcome: report.TooLarge, Text: "its list of attributes is longer than any system makes it."}
		}
		raw = make([]byte, s.size)
		if err := fs.readStream(s, raw, 0); err != nil {
			return nil, err
		}
	}
	var list []listed
	for len(raw) > 0 {
		if len(raw) < 26 {
			return nil, volume.Malformed("its list of attributes ends too early.")
		}
		n := int(le.Uint16(raw[4:]))
		if n < 26 || n > len(raw) {
			return nil, volume.Malformed("its list of attributes contradicts itself.")
		}
		list = append(list, listed{le.Uint32(raw), int64(le.Uint64(raw[8:])), reference(le.Uint64(raw[16:])), le.Uint16(raw[24:])})
		raw = raw[n:]
	}
	return list, nil
}

// extend reads the records that a list names and adds their attributes. List and records must agree: a system that goes by
// the list sees what it names, one that goes by the records sees what they have.
func (fs *FS) extend(f *file, attributes []attribute, list []listed) ([]attribute, error) {
	var failed error
	asked := map[int64]bool{f.number: true}
	for _, l := range list {
		n := l.record.number()
		if asked[n] {
			continue
		}
		asked[n] = true
		r, err := fs.extension(l.record, refer(f.number, f.use))
		if err != nil {
			failed = err
			continue
		}
		f.extensions = append(f.extensions, n)
		attributes = append(attributes, r.attributes...)
	}
	if failed != nil {
		return attributes, failed
	}
	known := make(map[listed]bool, len(list))
	for _, l := range list {
		l.record = reference(l.record.number())
		known[l] = true
	}
	for i := range attributes {
		a := &attributes[i]
		if !known[listed{a.kind, a.first, reference(a.record), a.instance}] {
			return attributes, volume.Malformed("it has an attribute that its list does not name.")
		}
	}
	if len(known) > len(attributes) {
		return attributes, volume.Malformed("its list names an attribute that it does not have.")
	}
	return attributes, nil
}

// extension reads a record that continues another one.
func (fs *FS) extension(ref, base reference) (*record, error) {
	lost := volume.Malformed("a record that continues it is not there.")
	if ref.number() >= fs.records() {
		return nil, lost
	}
	raw := make([]byte, fs.geo.record)
	if err := fs.readStream(&fs.table, raw, ref.number()*fs.geo.record); err != nil {
		return nil, err
	}
	r, err := parseRecord(raw, ref.number())
	if err != nil {
		return nil, err
	}
	if !r.inUse || r.use != ref.use() || r.base != base {
		return nil, lost
	}
	return r, nil
}

// assemble makes streams of attributes: pieces of one stream are put behind each other.
func (fs *FS) assemble(attributes []attribute) []stream {
	slices.SortStableFunc(attributes, func(a, b attribute) int { return cmp.Compare(a.first, b.first) })
	streams := make([]stream, 0, len(attributes))
	type id struct {
		kind uint32
		name string
	}
	var index map[id]int // made where a search from the start would be slow
	if len(attributes) > 16 {
		index = make(map[id]int, len(attributes))
	}
	find := func(a *attribute) *stream {
		if index != nil {
			if i, ok := index[id{a.kind, a.name}]; ok {
				return &streams[i]
			}
			return nil
		}
		i := slices.IndexFunc(streams, func(s stream) bool { return s.kind == a.kind && s.name == a.name })
		if i < 0 {
			return nil
		}
		return &streams[i]
	}
	for i := range attributes {
		a := &attributes[i]
		s := find(a)
		if s == nil || a.kind == typeName {
			streams = append(streams, stream{kind: a.kind, name: a.name, flags: a.flags, resident: a.resident, value: a.value,
				allocated: a.allocated, size: a.size, valid: a.valid})
			s = &streams[len(streams)-1]
			if index != nil {
				index[id{a.kind, a.name}] = len(streams) - 1
			}
			if a.resident {
				continue
			}
			if a.first != 0 {
				s.err = volume.Malformed("its beginning is missing.")
			} else if a.flags&maskCompressed != 0 && a.unit > 0 {
				s.unit = fs.geo.cluster << min(a.unit, 31)
			}
		} else if s.err == nil && (s.resident || a.resident) {
			s.err = volume.Malformed("it is there twice.")
		}
		s.add(a, &fs.geo)
	}
	for i := range streams {
		streams[i].settle()
	}
	return streams
}

// add puts one more piece behind what is there.
func (s *stream) add(a *attribute, g *geometry) {
	if s.err != nil {
		return
	}
	var have int64
	if k := len(s.ends); k > 0 {
		have = s.ends[k-1]
	}
	if a.first >= mostBytes/g.cluster || a.first*g.cluster != have {
		s.err = volume.Malformed("its pieces do not follow each other.")
		return
	}
	// The last extent may have grown, and those behind it are new.
	from := max(len(s.ends)-1, 0)
	s.ends = s.ends[:from]
	s.extents, s.err = decodeRuns(s.extents, a, g)
	end := int64(0)
	if from > 0 {
		end = s.ends[from-1]
	}
	for _, x := range s.extents[from:] {
		end += x.Bytes
		s.ends = append(s.ends, end)
	}
}

// settle holds the lengths of a stream against its clusters.
func (s *stream) settle() {
	if s.resident {
		s.size = int64(len(s.value))
		s.valid = s.size
		return
	}
	var have int64
	if k := len(s.ends); k > 0 {
		have = s.ends[k-1]
	}
	if s.err == nil && (have != s.allocated || s.size > s.allocated || s.valid > s.size) {
		s.err = volume.Malformed("its lengths and its clusters do not agree.")
	}
}

// readStream reads a stream at a place, as its clusters have it. Holes and what was never written are read as zeros.
func (fs *FS) readStream(s *stream, p []byte, off int64) error {
	if s.err != nil {
		return s.err
	}
	if s.resident {
		if off+int64(len(p)) > s.size {
			return volume.Malformed("it ends too early.")
		}
		copy(p, s.value[off:])
		return nil
	}
	return readExtents(fs.meta, s.extents, s.ends, p, off)
}

// reader is the part of io.ReaderAt that a section of the volume and the cache have.
type reader interface {
	ReadAt(p []byte, off int64) (int, error)
}

// readExtents reads what lies in extents, whose ends in the content are known, from a place of the content on.
func readExtents(r reader, extents []volume.Extent, ends []int64, p []byte, off int64) error {
	i := sort.Search(len(ends), func(i int) bool { return ends[i] > off })
	for ; len(p) > 0; i++ {
		if i >= len(extents) {
			return volume.Malformed("it ends too early.")
		}
		x := extents[i]
		within := off - (ends[i] - x.Bytes)
		n := min(x.Bytes-within, int64(len(p)))
		if x.Start < 0 {
			clear(p[:n])
		} else if got, _ := r.ReadAt(p[:n], x.Start+within); int64(got) < n {
			return errMedium
		}
		p, off = p[n:], off+n
	}
	return nil
}
