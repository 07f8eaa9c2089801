// Package volume finds every file system on a medium and says how each byte of the medium is accounted for.
//
// It trusts nothing on the medium. Partition tables are read in every way in which they can be read; each region that a
// table, a gap or the whole device gives is probed for every file system; all that match are read. The readers below this
// package (fat, exfat, ntfs, ext, iso9660, udf) turn one volume into entries. They hand out where content lies and never read it: the scanner
// does, in the order of the medium, so that each block leaves it once.
//
// What is learned about a medium is never an error here: it is a finding, an outcome, or a class. An error means that the
// caller's own function failed or the context ended.
package volume

import (
	"context"
	"errors"
	"io"

	"pratique/scanner/report"
)

// Source is the medium, or a range of it. ReadAt follows io.ReaderAt. Any error but io.EOF at the end is a read error of
// the medium. Implementations are safe for concurrent use.
type Source interface {
	io.ReaderAt
	Size() int64     // bytes
	SectorSize() int // 512, 1024, 2048 or 4096; what the device said, or 512
}

// Sparse is a Source that knows where it has holes: an image, by the word of the system that keeps it. Zeros that are
// there by its word are only ever classified as zeros, which spares reading terabytes of nothing; what is content is read,
// hashed and matched whether or not there are holes in it.
type Sparse interface {
	Source
	// DataFrom returns the first byte at or behind off that may be other than zero, or Size.
	DataFrom(off int64) int64
}

// ErrUnreadable marks what a reader returns when the medium did not give the bytes it needs.
var ErrUnreadable = errors.New("the medium could not be read")

// ErrMalformed marks what a reader returns when the structures contradict themselves.
var ErrMalformed = errors.New("the structure is damaged")

// Extent is a range of a volume. A negative Start is a hole, which reads as zeros.
type Extent struct {
	Start int64 // bytes from the volume's start
	Bytes int64
}

// Entry is a file, an empty or full directory, a stream, or an area (unallocated space, a lost chain).
type Entry struct {
	// Tree says in which of a Forest's trees the path is; 0 elsewhere.
	Tree int
	Path string // WTF-8 as stored, components joined with '/', no leading slash; for an area a description
	Kind report.Kind
	Size int64 // bytes of content
	// Valid is how many of those bytes are stored; the rest reads as zeros (exFAT's ValidDataLength). Readers set it to
	// Size where the format has no such thing.
	Valid int64
	// Extents cover the allocated clusters in order of content, so their sum is at least Valid unless Outcome says why not.
	// Neighbours are merged.
	Extents []Extent
	// Inline is content that the volume keeps among its structures and not in clusters (NTFS): Valid bytes, at most one
	// record of 4 KiB. There are no Extents then.
	Inline []byte
	// Decode, if it is set, says that the content is not what lies in the Extents but what it makes of it (NTFS compression):
	// it takes the volume and returns Size bytes, for one goroutine. An error of theirs but io.EOF wraps ErrMalformed or
	// ErrUnreadable. The Extents are those of the raw bytes, for the order of reading.
	Decode func(volume io.ReaderAt) io.ReaderAt
	// Opaque says that the content is kept in a form that no reader here knows, so that nobody can scan it: an entry whose
	// Outcome is Unscanned stays so.
	Opaque bool
	// Outcome is Unscanned for what is still to be read and scanned. A reader that knows better sets it: Clean for a
	// directory it walked in full, Malformed or Unreadable for an entry whose content cannot be located in full.
	Outcome  report.Outcome
	Findings []report.Finding
	// Empty is true for a directory with no entry at all.
	Empty bool
	// Hidden is the attribute that keeps systems from showing the entry; false where the format has none.
	Hidden bool
}

// Options say what a walk includes.
type Options struct {
	Deep bool // also emit unallocated clusters and the slack behind files, as areas
}

// Summary is what a walk learned about the volume as a whole.
type Summary struct {
	// Outcome is Clean if every entry was reached and the accounting of clusters agrees; else Malformed, Unreadable,
	// TooLarge. The zero value refuses.
	Outcome  report.Outcome
	Reason   string // one sentence if the outcome is not Clean
	Findings []report.Finding
	// Label is the volume's own name, as WTF-8; empty if it has none. It identifies people: it stays in the process.
	Label string
}

// FileSystem reads one volume. The readers implement it.
type FileSystem interface {
	// Used is the number of bytes in allocated clusters, as far as the volume's own tables say; for progress only.
	Used() int64
	// Walk calls emit once for each entry, in an order of its choice, with paths that are never empty. It returns an error
	// only if emit returned one or ctx ended, and then that error. An Entry and its slices belong to emit's callee.
	Walk(ctx context.Context, opts Options, emit func(Entry) error) (Summary, error)
}

// Forest is a FileSystem that names its content in more than one way: a disc has the short names of ISO 9660, those of
// Rock Ridge for Unix and those of Joliet for Windows, and a device shows one of the three. So each tree is a volume of its
// own to those who list entries, numbered one after the other, and the content they share is read once.
type Forest interface {
	FileSystem
	// Trees finds the trees, of which there is at least one. Walk finds the same. An error means that ctx ended.
	Trees(ctx context.Context) ([]Tree, error)
}

// Tree is one way of naming what a Forest holds.
type Tree struct {
	What  string // "Joliet"; empty if there is only one
	Label string // the volume's name in it, as Summary has it; of a single tree that of the Summary counts
}

// Trees finds the trees of any file system.
func Trees(ctx context.Context, fs FileSystem) ([]Tree, error) {
	if f, ok := fs.(Forest); ok {
		return f.Trees(ctx)
	}
	return []Tree{{}}, nil
}

// Section is the range [start, start+bytes) of src as a Source of its own. Reading past its end is io.EOF, even where src
// goes on: a volume never sees its neighbour's bytes.
func Section(src Source, start, bytes int64) Source {
	return &section{io.NewSectionReader(src, start, bytes), src}
}

type section struct {
	*io.SectionReader
	src Source
}

func (s *section) SectorSize() int { return s.src.SectorSize() }

// ReadExact lets a cache below know that no more is wanted.
func (s *section) ReadExact(p []byte, off int64) (int, error) {
	_, start, _ := s.Outer()
	if off < 0 || off+int64(len(p)) > s.Size() {
		return s.ReadAt(p, off) // cuts off what is not part of it
	}
	return ReadExact(s.src, p, start+off)
}
