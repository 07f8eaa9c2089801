// Package ntfs reads NTFS volumes. There is no public specification; the layout is taken from the documents of libfsntfs
// (https://github.com/libyal/libfsntfs/blob/main/documentation/) and of Linux
// (https://docs.kernel.org/filesystems/ntfs3.html), and held against what ntfs-3g writes.
//
// It trusts nothing on the volume. Files are found by reading every record of the file table ($MFT), not by following
// directories: the table has all that a directory can show, and also what it hides. The directories' indexes are read to
// learn which of those records a person can see. What none of them names is handed out as an area, so that it is scanned
// and yet no file of a mounted volume; a name that an index has and no record has is stale, and no file at all. In the end
// the clusters that the records own are held against the volume's bitmap, as in the other readers. A record that contradicts
// itself makes the volume malformed, never shorter.
//
// The volume's own files ($LogFile, $Secure, what lies in $Extend) are areas too: no system shows them as files. What this
// package read and understood itself (the table, the bitmaps, indexes, lists) is not handed out, except to a deep walk.
// Streams are entries with the path "file:stream". Every hard link is an entry; 8.3 aliases are none.
//
// Limits: what Windows keeps in forms of its own (EFS, WOF, deduplication, cloud files, unknown reparse tags) is named and
// refused. $LogFile is scanned but not replayed: if it is not empty, a finding says that Windows may still change the volume.
// More than 8 million records, 268 million clusters, four million names or a million directories are too large. Memory is
// one bit for each cluster seen, two bytes for each record, eight for each name, some 24 and its name for each directory,
// and a cache: below 64 MB for a terabyte with a million files.
package ntfs

import (
	"encoding/binary"
	"math/bits"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Limits on what a volume may make this package do.
const (
	maxClusters   = 1 << 28   // one bit each: 32 MiB; a terabyte in clusters of 4 KiB
	maxRecords    = 1 << 23   // two bytes and some bits each; a full table of 8 GiB
	maxNames      = 4_000_000 // names in all indexes, eight bytes each; more than any real stick has
	maxFolders    = 1 << 20   // directories, 24 bytes each
	maxFolderText = 16 << 20  // bytes of their names
	maxEntries    = 8_000_000 // what is handed out, hard links and streams counted each
	maxExtents    = 1 << 19   // pieces of one stream: 8 MiB
	maxList       = 256 << 10 // bytes of an attribute list; Windows' own limit
	maxReparse    = 16 << 10  // bytes of a reparse point; Windows' own limit
	maxDepth      = 255       // folders inside folders; Windows cannot open a path of more
	maxSiblings   = 1 << 18   // names of one folder that are compared with each other: some 8 MiB
	maxBroken     = 1_000     // records that contradict themselves; a table with more is something else
	// contentFactor: holes and hard links let a volume claim more content than it has room for. So many times its size is
	// read of it, and no more.
	contentFactor = 4
	// spareContent is added to that, so that a small stick may have one file of zeros.
	spareContent = 64 << 20
)

var le = binary.LittleEndian

// FS is an NTFS volume.
type FS struct {
	src    volume.Source
	meta   *volume.Cache // for records, lists and index blocks that are read out of order
	geo    geometry
	table  stream // the file table's own content
	marks  []byte // the table's bitmap: one bit for each record in use
	bitmap stream // the volume's bitmap
	used   int64  // bytes in allocated clusters
	label  string
	known  volume.Learned
}

// Open reads the boot sector, the place of the file table, and what the volume says of itself. An error wraps
// volume.ErrMalformed or volume.ErrUnreadable. Whatever can be told in spite of damage is told by Walk.
func Open(src volume.Source) (volume.FileSystem, error) {
	fs := &FS{src: src, meta: volume.NewCache(src)}
	if err := fs.boot(); err != nil {
		return nil, err
	}
	if fs.geo.clusters > maxClusters {
		return fs, nil // Walk says so
	}
	if err := fs.findTable(); err != nil {
		return nil, err
	}
	if fs.records() > maxRecords {
		return fs, nil
	}
	fs.describe()
	return fs, nil
}

// Used is the number of bytes in allocated clusters, as the bitmap has it.
func (fs *FS) Used() int64 { return fs.used }

// records is how many records the file table has.
func (fs *FS) records() int64 { return fs.table.size / fs.geo.record }

// describe reads the volume's own files that decide how the rest is read.
func (fs *FS) describe() {
	fs.compareMirror()
	fs.describeVolume()
	fs.checkUpcase()
	fs.checkLog()
	f := fs.system(recordBitmap, "the volume's bitmap")
	if s := f.stream(typeData, ""); s == nil || s.err != nil || s.resident {
		fs.known.Wrong(report.Malformed, "The volume's bitmap cannot be found.")
	} else {
		fs.bitmap = *s
		fs.countUsed()
	}
}

// describeVolume reads $Volume: its label, its version and the flag that it was not closed.
func (fs *FS) describeVolume() {
	f := fs.system(recordVolume, "the volume's description")
	if s := f.stream(typeVolumeName, ""); s != nil && s.resident {
		fs.label = volume.WTF8(units16(s.value))
	}
	s := f.stream(typeVolumeInfo, "")
	if s == nil || !s.resident || len(s.value) < 12 {
		fs.known.Wrong(report.Malformed, "The volume does not say which version of NTFS it is.")
		return
	}
	if major, minor := s.value[8], s.value[9]; !(major == 3 && minor <= 1 || major == 1 && minor == 2) {
		fs.known.Wrong(report.Malformed, "The volume is of a version of NTFS that is not known.")
	}
	if le.Uint16(s.value[10:])&1 != 0 {
		fs.known.Note("volume-dirty", report.Inform, -1, "The volume was not closed properly.")
	}
}

// countUsed adds up the bitmap. It is for progress; Walk finds what is wrong with it.
func (fs *FS) countUsed() {
	buf := make([]byte, chunk)
	for at := int64(0); at < fs.bitmap.size; at += chunk {
		part := buf[:min(chunk, fs.bitmap.size-at)]
		if fs.readStream(&fs.bitmap, part, at) != nil {
			return
		}
		for _, b := range part {
			fs.used += int64(bits.OnesCount8(b)) * fs.geo.cluster
		}
	}
	fs.used = min(fs.used, fs.geo.clusters*fs.geo.cluster)
}

// system reads one of the volume's own files. It always returns one, which may be empty.
func (fs *FS) system(number int64, what string) *file {
	f, err := fs.file(number)
	if err != nil {
		fs.known.Wrong(volume.OutcomeOf(err), "A file of the volume itself, "+what+": "+err.Error())
		return &file{}
	}
	if !f.inUse || f.base != 0 {
		fs.known.Wrong(report.Malformed, "A file of the volume itself, "+what+", is not in use.")
	}
	return f
}

func finding(rule string, severity report.Severity, at int64, text string) report.Finding {
	return report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: at, Text: text}
}

var errMedium = &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}
