// Package ole reads compound files, in which Office up to 2003, Windows Installer, Outlook and the macros of every Office keep
// streams as a file system keeps files ([MS-CFB], https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-cfb/).
//
// A header of 512 bytes says how large a sector is (512 or 4096 bytes) and where the tables are. The FAT has a number for each
// sector: the next one of its chain. A list (DIFAT) of 109 numbers in the header, continued in sectors of its own, says which
// sectors the FAT is in. The directory is a chain of entries of 128 bytes, a tree within each storage; an entry has a name in
// UTF-16, its kind, its first sector and its size. Streams below 4096 bytes lie in a stream of their own, the root entry's, in
// units of 64 bytes that a second FAT chains.
//
// It trusts nothing of that. Every number is held against the size of the file, every chain ends after as many sectors as the
// file has, and the directory is read entry by entry: a stream that no storage names is found as well, as an orphan. Several
// streams may share their sectors; who reads them has to count what comes out.
//
// Beside that, two forms in which streams hold something else: the source of macros (VBA, Modules) and a file that was
// inserted as a package (Native).
package ole

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"
	"strings"
	"unicode/utf16"
)

var le = binary.LittleEndian

const (
	// Magic begins every compound file.
	Magic = "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"

	headerBytes = 512
	entryBytes  = 128
	miniSector  = 64
	// maxSectors bounds the FAT in memory, to 32 MiB: 4 GiB of the small sectors that everybody writes.
	maxSectors = 8 << 20
	// maxEntries bounds the directory: more than a container may have members.
	maxEntries = 1 << 17
	// maxDepth bounds storages in storages; messages in messages of Outlook come to three a level.
	maxDepth = 128
	// maxPath bounds the path of an entry, as long as those of a medium may be.
	maxPath = 4096

	noStream  = 0xFFFFFFFF
	lastValid = 0xFFFFFFFA // above are the marks for free sectors, the end of a chain, and the tables' own sectors
)

// The kinds of entries.
const (
	storage    = 1
	stream     = 2
	rootStream = 5
)

var (
	// ErrMalformed: the file contradicts itself, or ends early.
	ErrMalformed = errors.New("ole: damaged")
	// ErrTooLarge: its tables are larger than this package reads.
	ErrTooLarge = errors.New("ole: too many sectors or entries")
)

// File is a compound file.
type File struct {
	Entries []Entry // the streams, in the order of the directory
	Damaged bool    // a part of the tables could not be read, or storages contradict each other

	r        io.ReaderAt
	size     int64
	sector   int64
	cutoff   int64
	fat      []uint32
	mini     []uint32
	miniHeap *Stream
}

// Entry is a stream.
type Entry struct {
	Path   string // with that of its storages; control characters of names as [1], as other programs show them
	Name   string // the last part
	Parent int    // a number for the storage that it is in, the same for the streams beside it
	Size   int64
	Orphan bool // no storage names it

	start uint32
}

// Is reports whether content begins as a compound file does.
func Is(head []byte) bool {
	return len(head) >= headerBytes && string(head[:8]) == Magic && le.Uint16(head[28:]) == 0xFFFE
}

// Open reads the tables.
func Open(r io.ReaderAt, size int64) (*File, error) {
	h := make([]byte, headerBytes)
	if n, err := r.ReadAt(h, 0); n < len(h) {
		return nil, readError(err)
	}
	if !Is(h) {
		return nil, ErrMalformed
	}
	f := &File{r: r, size: size, cutoff: int64(le.Uint32(h[56:]))}
	switch shift := le.Uint16(h[30:]); shift {
	case 9, 12:
		f.sector = 1 << shift
	default:
		return nil, ErrMalformed
	}
	if f.sectors() > maxSectors {
		return nil, ErrTooLarge
	}
	if f.cutoff > 1<<20 || le.Uint16(h[32:]) != 6 { // the standard has one value for both
		return nil, ErrMalformed
	}
	if err := f.readFAT(h); err != nil {
		return nil, err
	}
	return f, f.readDirectory(le.Uint32(h[48:]), le.Uint32(h[60:]))
}

func readError(err error) error {
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrMalformed
	}
	return err
}

// sectors is how many there are; the last may be cut off.
func (f *File) sectors() int64 { return max(0, (f.size-f.sector+f.sector-1)/f.sector) }

// read returns a sector, filled up with zeros if the file ends within it, or nil.
func (f *File) read(number uint32, into []byte) []byte {
	if int64(number) >= f.sectors() {
		return nil
	}
	n, err := f.r.ReadAt(into[:f.sector], (int64(number)+1)*f.sector)
	if n == 0 || err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil
	}
	clear(into[n:f.sector])
	return into[:f.sector]
}

// readFAT follows the DIFAT. What cannot be read is missing, and whatever lies behind it as well.
func (f *File) readFAT(h []byte) error {
	var parts []uint32
	list := func(b []byte) {
		for ; len(b) >= 4; b = b[4:] {
			if n := le.Uint32(b); n <= lastValid {
				parts = append(parts, n)
			}
		}
	}
	list(h[76:])
	need := int((f.sectors()*4 + f.sector - 1) / f.sector) // more sectors of the FAT than that say nothing
	b := make([]byte, f.sector)
	next := le.Uint32(h[68:])
	for range need {
		if next > lastValid || len(parts) > need {
			break
		}
		if f.read(next, b) == nil {
			f.Damaged = true
			break
		}
		list(b[:f.sector-4])
		next = le.Uint32(b[f.sector-4:])
	}
	parts = parts[:min(len(parts), need)]
	f.fat = make([]uint32, 0, int64(len(parts))*f.sector/4)
	for _, p := range parts {
		if f.read(p, b) == nil {
			f.Damaged = true
			break
		}
		for i := int64(0); i < f.sector; i += 4 {
			f.fat = append(f.fat, le.Uint32(b[i:]))
		}
	}
	if len(f.fat) == 0 {
		return ErrMalformed
	}
	return nil
}

// run is sectors of a chain that lie one behind the other.
type run struct {
	at, sector int64 // of its first, in the stream and in the file
}

// chain follows a chain for as many units as there can be, want at most. A chain that ends early gives fewer.
func chain(fat []uint32, start uint32, want int64) (runs []run, units int64) {
	want = min(want, int64(len(fat)))
	for n := start; units < want && int64(n) < int64(len(fat)); units++ {
		if k := len(runs); k == 0 || runs[k-1].sector+units-runs[k-1].at != int64(n) {
			runs = append(runs, run{units, int64(n)})
		}
		n = fat[n]
	}
	return runs, units
}

// Stream reads a stream anywhere.
type Stream struct {
	f     *File
	runs  []run
	unit  int64
	size  int64 // up to which the chain goes
	under io.ReaderAt
	base  int64 // of the first unit
}

// Stream opens an entry. What its chain lacks is missing at the end.
func (f *File) Stream(e *Entry) *Stream {
	if e.Size < f.cutoff && f.miniHeap != nil {
		runs, units := chain(f.mini, e.start, (e.Size+miniSector-1)/miniSector)
		return &Stream{f, runs, miniSector, min(e.Size, units*miniSector), f.miniHeap, 0}
	}
	return f.stream(e.start, e.Size)
}

func (f *File) stream(start uint32, size int64) *Stream {
	runs, units := chain(f.fat, start, (size+f.sector-1)/f.sector)
	return &Stream{f, runs, f.sector, min(size, units*f.sector), f.r, f.sector}
}

// Size is how many bytes there are, which may be fewer than the entry says.
func (s *Stream) Size() int64 { return s.size }

// ReadAt follows io.ReaderAt.
func (s *Stream) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off < 0 || off >= s.size {
			return n, io.EOF
		}
		i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].at*s.unit > off }) - 1
		end := s.size
		if i+1 < len(s.runs) {
			end = min(end, s.runs[i+1].at*s.unit)
		}
		want := int(min(int64(len(p)-n), end-off))
		at := s.base + s.runs[i].sector*s.unit + off - s.runs[i].at*s.unit
		k, err := s.under.ReadAt(p[n:n+want], at)
		n, off = n+k, off+int64(k)
		if k < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// raw is an entry of the directory as it is stored.
type raw struct {
	name               string
	kind               byte
	left, right, child uint32
	start              uint32
	size               int64
}

func (f *File) readDirectory(start, miniStart uint32) error {
	dir := f.stream(start, maxEntries*entryBytes+1)
	if dir.size > maxEntries*entryBytes {
		return ErrTooLarge
	}
	if dir.size < entryBytes {
		return ErrMalformed
	}
	all := make([]raw, 0, dir.size/entryBytes)
	r := io.NewSectionReader(dir, 0, dir.size)
	b := make([]byte, entryBytes)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			f.Damaged = f.Damaged || err != io.EOF
			break
		}
		e := raw{name: nameOf(b), kind: b[66], left: le.Uint32(b[68:]), right: le.Uint32(b[72:]), child: le.Uint32(b[76:]),
			start: le.Uint32(b[116:]), size: int64(le.Uint64(b[120:]))}
		if f.sector == 512 { // version 3 has sizes of 32 bits, and old programs leave rubbish behind them
			e.size = int64(le.Uint32(b[120:]))
		}
		if e.size < 0 {
			e.size, f.Damaged = 0, true
		}
		all = append(all, e)
	}
	if len(all) == 0 || all[0].kind != rootStream {
		return ErrMalformed
	}
	if all[0].size > 0 {
		f.miniHeap = f.stream(all[0].start, all[0].size)
		mini := f.stream(miniStart, (f.miniHeap.size+miniSector-1)/miniSector*4)
		f.mini = make([]uint32, 0, mini.size/4)
		r, b := io.NewSectionReader(mini, 0, mini.size), make([]byte, 4)
		for {
			if _, err := io.ReadFull(r, b); err != nil {
				break
			}
			f.mini = append(f.mini, le.Uint32(b))
		}
	}
	f.name(all)
	return nil
}

// name walks the trees, and takes what they do not name as orphans.
func (f *File) name(all []raw) {
	type place struct {
		entry  uint32
		parent int
		path   string
		depth  int
	}
	seen := make([]bool, len(all))
	seen[0] = true
	todo := []place{{all[0].child, 0, "", 1}}
	add := func(i, parent int, path string, orphan bool) {
		e := &all[i]
		f.Entries = append(f.Entries, Entry{Path: path, Name: e.name, Parent: parent, Size: e.size, Orphan: orphan, start: e.start})
	}
	var named []struct {
		at     int
		parent int
		path   string
	}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p.entry == noStream {
			continue
		}
		if int64(p.entry) >= int64(len(all)) || seen[p.entry] {
			f.Damaged = true
			continue
		}
		seen[p.entry] = true
		e := &all[p.entry]
		todo = append(todo, place{e.left, p.parent, p.path, p.depth}, place{e.right, p.parent, p.path, p.depth})
		path := p.path + e.name
		if len(path) > maxPath {
			path = path[:maxPath]
		}
		switch {
		case e.kind == stream:
			named = append(named, struct {
				at     int
				parent int
				path   string
			}{int(p.entry), p.parent, path})
		case e.kind == storage && p.depth < maxDepth && len(path) < maxPath:
			todo = append(todo, place{e.child, int(p.entry), path + "/", p.depth + 1})
		default:
			f.Damaged = true
		}
	}
	sort.Slice(named, func(i, j int) bool { return named[i].at < named[j].at })
	for _, n := range named {
		add(n.at, n.parent, n.path, false)
	}
	for i := range all {
		if !seen[i] && all[i].kind == stream {
			add(i, -1, all[i].name, true)
		}
	}
}

// nameOf reads the name of an entry.
func nameOf(b []byte) string {
	n := int(le.Uint16(b[64:]))
	if n < 2 || n > 64 {
		n = 64 // read up to the zero at its end
	}
	var u []uint16
	for i := 0; i+1 < n; i += 2 {
		c := le.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	var out strings.Builder
	for _, c := range utf16.Decode(u) {
		switch {
		case c < 0x20:
			out.WriteByte('[')
			if c >= 10 {
				out.WriteByte('0' + byte(c/10))
			}
			out.WriteByte('0' + byte(c%10))
			out.WriteByte(']')
		case c == '/' || c == '\\':
			out.WriteByte('_')
		case c >= 0x3800 && c < 0x4800: // Windows Installer puts two letters into one
			out.WriteByte(msiLetter(c - 0x3800))
			out.WriteByte(msiLetter((c - 0x3800) >> 6))
		case c >= 0x4800 && c < 0x4840:
			out.WriteByte(msiLetter(c - 0x4800))
		case c == 0x4840: // and marks its tables
			out.WriteByte('!')
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}

func msiLetter(c rune) byte {
	return "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"[c&0x3F]
}
