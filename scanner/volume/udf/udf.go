// Package udf reads UDF volumes of revisions 1.02 to 2.60: ECMA-167 3rd edition
// (https://ecma-international.org/publications-and-standards/standards/ecma-167/, sections by its parts, "4/14.4") as OSTA
// narrows it down (http://www.osta.org/specs/pdf/udf260.pdf, sections as "UDF 2.2.4").
//
// Discs are written once, a piece at a time, or like sticks, and Windows formats large sticks so; hence blocks of 512 to
// 4096 bytes, and four kinds of partition: plain ones, virtual ones (a table at the end of what was written says where a
// block is now), sparable ones (worn packets lie elsewhere) and such whose directories lie in a file of their own, with a
// mirror.
//
// It trusts nothing on the volume. Every descriptor carries a checksum, a CRC and its place; one that is wrong makes what
// it describes malformed. The anchors must lead to the same descriptors, the main sequence must say what the reserve says,
// and the metadata file what its mirror says. Each block has one owner. The blocks that the walk reached are held against
// the table of free space, where there is one: a block in use that nobody owns is handed out as an area to be scanned, one
// that is owned and free makes the volume malformed. Where there is no table, everything that nobody owns is read, and what
// is not zero is such an area: earlier states of a disc among it, whose names are not listed.
//
// Names are OSTA compressed Unicode, and leave as WTF-8. Named streams are streams, of directories too; deleted entries are
// counted. Links are not followed.
//
// Refused in words: partitions, allocation strategies and allocation descriptors of other kinds, volumes over more than one
// disc, and more than one set of files. Limits are below; memory is a bit for each block seen, the directories still to be
// entered, one directory, one file's pieces and a cache: below 192 MB on the most hostile volume.
package udf

import (
	"context"
	"encoding/binary"
	"errors"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

var le, be = binary.LittleEndian, binary.BigEndian

// Limits on what a volume may make this package do.
const (
	maxBlocks     = 1 << 29   // a bit each: 64 MiB; 256 GB in blocks of 512 bytes, a terabyte in such of 2048
	maxSequence   = 256       // blocks of one sequence of descriptors; formatters make 16 to 64
	maxPointers   = 8         // places in which a sequence goes on
	maxMaps       = 8         // partitions of a volume; two are usual, three the most that make sense
	maxEntries    = 4_000_000 // names of files and directories
	maxPieces     = 1 << 19   // of one file: 8 MiB
	maxContinued  = 1 << 16   // blocks in which one file's list of pieces goes on
	maxDirBytes   = 32 << 20  // some 300,000 names; one directory is held in memory
	maxTable      = 8 << 20   // a virtual allocation table: two million blocks that moved; a disc in use has thousands
	maxIndirect   = 128       // states of one entry, each leading to the next (strategy 4096)
	maxDepth      = 255       // directories inside directories; Windows cannot open a path of more
	maxPending    = 16 << 20  // bytes kept for directories that wait
	pendingBytes  = 160       // what one takes beside its path and findings
	findingBytes  = 96        // what a finding takes; its texts are constants
	maxSiblings   = 1 << 18   // names of one directory that are compared with each other
	maxLinks      = 1 << 20   // directories and files of more than one name, which are remembered
	maxBroken     = 1_000     // entries that contradict themselves
	contentFactor = 8         // sizes of the volume that its files may have together: holes cost nothing to make
	spareContent  = 1 << 30   // and so much more, for small volumes
)

// FS is a UDF volume.
type FS struct {
	src    volume.Source
	meta   *volume.Cache
	block  int64 // bytes
	blocks int64 // of the range that the volume lies in
	parts  []partition
	root   address // of the root directory's entry
	system address // of the directory of the volume's own streams; zero length if there is none
	label  string
	used   int64
	known  volume.Learned
	steps  int64           // blocks to which entries and lists led on
	head   []volume.Extent // what Open read, in bytes
}

// Open reads what the volume says of itself. An error wraps volume.ErrMalformed or volume.ErrUnreadable, or says what kind of
// volume there is no reader for. Whatever can be told in spite of damage is told by Walk.
func Open(src volume.Source) (volume.FileSystem, error) {
	fs := &FS{src: src, meta: volume.NewCache(src)}
	anchors, err := fs.anchors()
	if err != nil {
		return nil, err
	}
	if fs.blocks > maxBlocks {
		fs.known.Wrong(report.TooLarge, "The volume has more blocks than this program follows.")
		return fs, nil
	}
	seq, err := fs.sequences(anchors)
	if err != nil {
		return nil, err
	}
	if err := fs.describe(seq); err != nil {
		return nil, err
	}
	return fs, nil
}

// Used is the number of bytes of the volume's partitions.
func (fs *FS) Used() int64 { return min(fs.used, fs.src.Size()) }

// Walk implements volume.FileSystem. Directories come after the files in them.
func (fs *FS) Walk(ctx context.Context, opts volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	w := &walker{fs: fs, ctx: ctx, emit: emit, deep: opts.Deep, owned: newBlockSet(fs.blocks), linked: map[int64]bool{}}
	fs.steps = 0
	w.Merge(&fs.known)
	w.attributes = volume.NewArea("entries with extended attributes", fs.src.Size(), emit)
	if len(fs.parts) > 0 {
		if err := w.walk(); err != nil && !errors.Is(err, errHalt) {
			return volume.Summary{}, err
		}
	}
	return w.Summary(fs.label), nil
}

// errHalt ends a walk that has learned enough to refuse the volume.
var errHalt = errors.New("the walk was halted")

// readFull reads metadata.
func (fs *FS) readFull(p []byte, at int64) error {
	if at < 0 || at > fs.src.Size()-int64(len(p)) {
		return volume.Malformed("it lies behind the end of the medium.")
	}
	if n, _ := fs.meta.ReadAt(p, at); n < len(p) {
		return &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}
	}
	return nil
}

// faultText is the end of a sentence that says what of the volume it is about.
func faultText(err error) string {
	var f *volume.Fault
	if errors.As(err, &f) {
		return f.Text
	}
	return "the medium returned an error."
}
