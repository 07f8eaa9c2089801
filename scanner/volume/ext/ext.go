// Package ext reads ext2, ext3 and ext4 volumes, after the layout that Linux documents
// (https://docs.kernel.org/filesystems/ext4/) and, where that is silent, what e2fsprogs 1.47 writes.
//
// It trusts nothing on the volume. Files are found through directories, of which every block is read as a list: what an
// index of names (htree) leaves out is found too, and the index itself looks like an empty entry there. Afterwards every
// inode table is read as far as it was ever used, and what is in use without a name (a file that was deleted while it was
// open, or that somebody hid) is handed out as an area: it is scanned, and yet no file of a mounted volume. So are the
// volume's own files, such as the journal. Every block has one owner at most, and in the end the owned blocks are held
// against the volume's bitmap. Checksums are verified wherever the volume has them; a wrong one is damage, because Linux
// refuses what it covers and other systems do not look.
//
// A symbolic link is a file whose content is where it leads to; nobody follows it. Extended attributes are streams,
// "file:user.name"; those of the system (labels of SELinux, access lists) are areas, each value once.
//
// A journal that was not replayed is a finding: the volume is read as it lies, and the journal itself as an area.
//
// Limits: a volume with a feature that is not known, with compression, shared blocks, Lustre's names or of GNU Hurd is
// refused in words; what fscrypt encrypted is listed and encrypted. A volume of more than 268 million blocks or inodes, with
// more than 262,144 groups or four million names is too large. Memory is one bit for each block and inode in use, the place
// of each group's structures, the folders still to be walked and a cache: below 96 MB for a terabyte.
package ext

import (
	"encoding/binary"
	"errors"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Limits on what a volume may make this package do.
const (
	maxBlocks   = 1 << 28   // one bit each: 32 MiB; a terabyte in blocks of 4 KiB
	maxInodes   = 1 << 28   // one bit each, where there are any; a terabyte at the densest that mke2fs offers
	maxGroups   = 1 << 18   // 40 bytes each: 10 MiB; a terabyte in blocks of 1 KiB has half of that
	maxCopies   = 64        // copies of the descriptors that are compared; where not every group has one a terabyte has 20
	maxEntries  = 4_000_000 // names of one volume; more than any real stick has
	maxExtents  = 1 << 19   // pieces of one file: 8 MiB
	maxDepth    = 2_048     // folders inside folders; Linux opens no path of more than 4,096 bytes
	maxPending  = 32 << 20  // bytes kept for folders not yet walked, some 200,000 of them
	maxSiblings = 1 << 18   // names of one folder that are compared with each other: some 8 MiB
	maxLinked   = 1 << 18   // files with more than one name whose names are counted: some 8 MiB
	maxShared   = 1 << 12   // values of the system's attributes that are known, 32 bytes each
	maxBroken   = 1_000     // records that contradict themselves; a volume with more is something else
	maxDir      = 1 << 30   // bytes of one directory: 26 million short names
	// contentFactor: holes and hard links let a volume claim more content than it has room for. So many times its size is
	// read of it, and no more.
	contentFactor = 4
	// spareContent is added to that, so that a small stick may have one file of zeros.
	spareContent = 64 << 20
	// Every name of a file costs following its map again. So many steps for each block of the volume are enough for any
	// number of links that somebody needs.
	stepsPerBlock = 8
	spareSteps    = 1 << 20
)

var le = binary.LittleEndian

// FS is an ext2, ext3 or ext4 volume.
type FS struct {
	src    volume.Source
	meta   *volume.Cache // for what is read in small pieces
	geo    geometry
	groups []group
	known  volume.Learned
}

// Open reads the superblock and the descriptors of the groups. An error wraps volume.ErrMalformed or
// volume.ErrUnreadable. Whatever can be told in spite of damage, and what this package does not read, is told by Walk.
func Open(src volume.Source) (volume.FileSystem, error) {
	fs := &FS{src: src, meta: volume.NewCache(src)}
	raw := make([]byte, superBytes)
	if err := fs.readFull(raw, superAt); err != nil {
		return nil, err
	}
	g, err := parseSuper(raw)
	if err != nil {
		return nil, err
	}
	fs.geo = g
	if g.refusal() != nil {
		return fs, nil // Walk says so
	}
	fs.describe(raw)
	if err := fs.readGroups(); err != nil {
		return nil, err
	}
	return fs, nil
}

// Used is the number of bytes in allocated blocks, as the superblock has it.
func (fs *FS) Used() int64 {
	g := &fs.geo
	return max(g.blocks-min(g.free, g.blocks), 0) << g.shift
}

// describe notes what the superblock says of the state of the volume.
func (fs *FS) describe(raw []byte) {
	g, known := &fs.geo, &fs.known
	const stateClean, stateErrors = 1, 2
	if g.summed() && crcRaw(^uint32(0), raw[:1020]) != le.Uint32(raw[1020:]) {
		known.Wrong(report.Malformed, "The checksum of the superblock is wrong.")
	}
	if g.blocks<<g.shift > fs.src.Size() {
		known.Wrong(report.Malformed, "The volume says that it is longer than the space it lies in.")
	}
	state := le.Uint16(raw[58:])
	if state&stateClean == 0 && g.compat&compatJournal == 0 {
		known.Note("volume-dirty", report.Inform, superAt+58, "The volume was not closed properly.")
	}
	if state&stateErrors != 0 {
		known.Note("volume-errors", report.Inform, superAt+58, "A system met errors on this volume.")
	}
	if g.incompat&incompatRecover != 0 {
		known.Note("journal-pending", report.Warn, superAt+96,
			"The volume was not closed properly: its journal may still change it. It was read as it lies, and the journal too.")
	}
	if g.compat&compatJournal != 0 && le.Uint32(raw[224:]) == 0 {
		known.Note("journal-elsewhere", report.Warn, superAt+228, "The journal of the volume lies on another medium.")
		if g.incompat&incompatRecover != 0 {
			known.Wrong(report.Unscanned, "The volume has changes in a journal that lies on another medium.")
		}
	}
	if g.ro&roOrphans != 0 || le.Uint32(raw[232:]) != 0 {
		known.Note("deletion-pending", report.Inform, superAt+232, "The volume holds files that were deleted while they were open.")
	}
	if g.revision == 0 && (g.compat|g.incompat|g.ro) != 0 {
		known.Note("features-odd", report.Warn, superAt+76, "The volume is of the first revision and has features of later ones.")
	}
	if g.ro&^roKnown != 0 {
		known.Note("features-unknown", report.Inform, superAt+100,
			"The volume has features that are not known, but that reading may leave aside.")
	}
}

// readFull reads structures. A short read is an error of the medium: the volume promised more.
func (fs *FS) readFull(p []byte, at int64) error {
	if n, _ := fs.meta.ReadAt(p, at); n < len(p) {
		return errMedium
	}
	return nil
}

// readBlock reads one block of structures.
func (fs *FS) readBlock(p []byte, number int64) error { return fs.readFull(p, number<<fs.geo.shift) }

// readAlone reads one block of structures that lies among content: reading more would be reading that twice.
func (fs *FS) readAlone(p []byte, number int64) error {
	if n, _ := fs.meta.ReadExact(p, number<<fs.geo.shift); n < len(p) {
		return errMedium
	}
	return nil
}

func finding(rule string, severity report.Severity, text string) report.Finding {
	return report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: -1, Text: text}
}

var errMedium = &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}

// sentence is the end of a sentence that says what of the volume it is about.
func sentence(err error) string {
	var f *volume.Fault
	if errors.As(err, &f) {
		return f.Text
	}
	return errMedium.Text
}
