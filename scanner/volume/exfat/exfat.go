// Package exfat reads exFAT volumes, after Microsoft's specification:
// https://learn.microsoft.com/windows/win32/fileio/exfat-specification (section numbers below are its own).
//
// It trusts nothing on the volume. Every checksum is verified, every cluster is given to at most one owner, and in the end
// the clusters that the walk reached are held against the volume's own bitmap: what is allocated and was not reached is
// handed out as areas to be scanned, what was reached and is not allocated makes the volume malformed. An entry that
// contradicts itself is listed with the outcome malformed, never left out, because drivers disagree on what they make of it.
//
// Limits: TexFAT (two allocation tables) is refused by Open. A volume of more than 268 million clusters, with more than
// four million entries or with too many folders waiting is too large. Memory is one bit for each cluster seen, one file's
// extents, the folders still to be walked and a cache: below 64 MB for a terabyte, and below 128 MB on the most hostile
// volume. Content of vendors' own allocations is not told apart from lost clusters: it is scanned as an area.
package exfat

import (
	"errors"
	"io"
	"math/bits"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Limits on what a volume may make this package do.
const (
	maxClusters  = 1 << 28   // one bit each: 32 MiB; a terabyte in clusters of 4 KiB
	maxEntries   = 4_000_000 // files and directories of one volume; more than any real stick has
	maxExtents   = 1 << 19   // pieces of one file: 8 MiB; a file of 2 GiB with no two clusters of 4 KiB side by side
	maxDirBytes  = 256 << 20 // the specification's own limit on a directory (7.6.7)
	maxUpcase    = 256 << 10 // the table is 128 KiB in full; a longer one says something twice
	maxDepth     = 255       // folders inside folders; Windows cannot open a path of more
	maxPending   = 16 << 20  // bytes kept for folders not yet walked, some 70,000 of them
	maxSiblings  = 1 << 18   // names of one folder that are compared with each other: some 8 MiB
	maxBroken    = 1_000     // records that contradict themselves; a folder with more is something else
	pendingBytes = 160       // what one waiting folder takes beside its path and findings
	findingBytes = 96        // what a finding takes; its texts are constants
)

// ErrTexFAT is what Open returns for a volume with two allocation tables. Only phones of a past age wrote them.
var ErrTexFAT = errors.New("the volume keeps two allocation tables (TexFAT), for which there is no reader")

// FS is an exFAT volume.
type FS struct {
	src    volume.Source
	meta   *volume.Cache // the allocation table is read in small pieces
	geo    geometry
	upcase []uint16       // nil if the volume has none that can be read
	bitmap allocation     // where the bitmap lies
	table  allocation     // where the up-case table lies
	used   int64          // bytes in allocated clusters
	label  string         // of the volume
	known  volume.Learned // what Open learned
}

// allocation is a chain of clusters as a record states it.
type allocation struct {
	first   uint32
	bytes   int64
	present bool
}

// Open reads the boot region and what the root directory says of the volume itself. An error wraps volume.ErrMalformed or
// volume.ErrUnreadable, or is ErrTexFAT. Whatever can be told in spite of damage is told by Walk.
func Open(src volume.Source) (volume.FileSystem, error) {
	fs := &FS{src: src, meta: volume.NewCache(src)}
	if err := fs.boot(); err != nil {
		return nil, err
	}
	if fs.geo.clusters > maxClusters {
		return fs, nil // Walk says so
	}
	// A walker of its own: what Open visits says nothing of what Walk will.
	w := newWalker(fs)
	fs.describe(w)
	fs.known.Merge(&w.Learned)
	return fs, nil
}

// Used is the number of bytes in allocated clusters, as the bitmap has it.
func (fs *FS) Used() int64 { return fs.used }

// describe finds the bitmap and the up-case table in the root directory, wherever in it they stand, and reads both.
func (fs *FS) describe(w *walker) {
	root, _, err := w.chain(fs.geo.root, -1, false)
	if err != nil {
		w.blame("The root directory: ", err)
	}
	labels := 0
	unread, err := w.records(root, func(at int64, e []byte) error {
		switch e[0] {
		case typeBitmap:
			if e[1]&1 != 0 || fs.bitmap.present {
				w.Wrong(report.Malformed, "The volume has more than one allocation bitmap.")
				return nil
			}
			fs.bitmap = allocation{le.Uint32(e[20:]), clampSize(le.Uint64(e[24:])), true}
		case typeUpcase:
			if fs.table.present {
				w.Wrong(report.Malformed, "The volume has more than one up-case table.")
				return nil
			}
			fs.table = allocation{le.Uint32(e[20:]), clampSize(le.Uint64(e[24:])), true}
			fs.readUpcase(w, le.Uint32(e[4:]))
		case typeLabel:
			if labels++; labels > 1 || e[1] > 11 {
				w.Note("label-odd", report.Warn, at, "The volume's label is stored in a way that no formatter uses.")
			}
			if labels == 1 {
				fs.label = labelOf(e)
			}
		}
		return nil
	})
	if unread || err != nil {
		w.Wrong(report.Unreadable, "The root directory could not be read in full.")
	}
	if !fs.table.present {
		w.Wrong(report.Malformed, "The volume has no up-case table.")
	}
	if !fs.bitmap.present {
		w.Wrong(report.Malformed, "The volume has no allocation bitmap.")
		return
	}
	fs.used = fs.countUsed(w)
}

// labelOf reads the volume's label: a number of characters, and at most 11 of them (7.3).
func labelOf(e []byte) string {
	units := make([]uint16, min(e[1], 11))
	for i := range units {
		units[i] = le.Uint16(e[2+2*i:])
	}
	return volume.WTF8(units)
}

// countUsed adds up the bitmap. It is for progress; Walk finds what is wrong with it.
func (fs *FS) countUsed(w *walker) int64 {
	var used int64
	extents, _, err := w.chain(fs.bitmap.first, fs.geo.clustersFor(fs.bitmap.bytes), false)
	if err != nil {
		return 0
	}
	left := min(fs.bitmap.bytes, fs.geo.bitmapBytes())
	buf := make([]byte, chunk)
	for _, x := range extents {
		for at := int64(0); at < x.Bytes && left > 0; {
			part := buf[:min(chunk, x.Bytes-at, left)]
			if _, err := fs.src.ReadAt(part, x.Start+at); err != nil && err != io.EOF {
				return used
			}
			for _, b := range part {
				used += int64(bits.OnesCount8(b)) * fs.geo.cluster
			}
			at, left = at+int64(len(part)), left-int64(len(part))
		}
	}
	return used
}

// clampSize keeps a size from the volume away from the sign. What is clamped is larger than any volume.
func clampSize(n uint64) int64 { return int64(min(n, 1<<62)) }

// blame says that an error of this package bars the volume.
func (w *walker) blame(what string, err error) {
	w.Wrong(volume.OutcomeOf(err), what+sentence(err))
}

// sentence is the end of a sentence that says what of the volume it is about.
func sentence(err error) string {
	var f *volume.Fault
	if errors.As(err, &f) {
		return f.Text
	}
	return "the medium returned an error."
}
