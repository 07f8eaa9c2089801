// Package iso9660 reads ISO 9660 volumes: ECMA-119 with its enhanced descriptor of 1999
// (https://ecma-international.org/publications-and-standards/standards/ecma-119/, section numbers below are its own), the
// Joliet names of Windows, the names and links of Rock Ridge for Unix (SUSP and RRIP, IEEE P1281 and P1282, drafts 1.12),
// the boot catalogue of El Torito, and the older sessions of a disc that was written more than once.
//
// The same files have names in up to three ways, and each computer shows one of them; nothing makes the trees agree. So
// every tree is read and is a volume of its own (volume.Forest), in the order: the descriptors as they stand, of each first
// the plain names and then those of Rock Ridge; then older sessions. Paths are what a device shows. A plain name is stored
// as "NAME.EXT;1": systems leave out the version, and the dot if nothing stands behind it, and so does this package; any
// version but 1 stays in the name. (Linux also shows plain names in small letters unless it is told "map=off".) Two records
// of one name make the volume malformed.
//
// It trusts nothing on the volume. Numbers are stored twice, in both orders of bytes, and must agree. A directory must begin
// with a record of itself, is entered once in each tree, and must be named by the path tables, which must name no other. The
// format has no table of what is in use, so everything that no directory, table or file covers is read: what is not zero is
// handed out as an area to be scanned, and what begins there as a descriptor is a session. Entries leave in the order of
// their content on the medium, those of all trees mixed, so that content with three names is read once.
//
// Refused in words: files that are interleaved or lie on another disc of a set, and in the Rock Ridge tree zisofs and sparse
// files. Links are not followed. An associated file is a stream of its file. Blocks of 512, 1024 and 2048 bytes are read.
//
// Limits are below. Memory is 32 bytes for each entry, the directories' names, 16 bytes for each piece that lies apart from
// the others, and a cache: below 128 MB on the most hostile volume.
package iso9660

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

var le, be = binary.LittleEndian, binary.BigEndian

// Limits on what a volume may make this package do.
const (
	sector         = 2048      // in which descriptors and directories count (6.1), whatever the size of a block
	maxTrees       = 32        // a disc of three ways has three for each session
	maxDescriptors = 64        // of one session; three or four are usual
	maxEntries     = 2_000_000 // of all trees together
	maxDirs        = 1 << 18   // of all trees together
	maxNameBytes   = 16 << 20  // of the directories' names
	maxDirBytes    = 64 << 20  // some 500,000 records; Windows has no more in a directory
	maxDepth       = 255       // directories inside directories; Windows cannot open a path of more
	maxTable       = 32 << 20  // a path table: 65,535 directories with the longest names fill half of it
	maxPieces      = 1 << 16   // of one file: 256 TB in pieces of 4 GiB
	maxContinued   = 32        // areas in which the system use field of one record goes on
	maxUse         = 8 << 10   // bytes of all of them; the longest name with a link of many parts has two thousand
	maxSiblings    = 1 << 18   // names of one folder that are compared with each other: some 16 MiB
	maxBroken      = 1_000     // records that contradict themselves; a volume with more is something else
	contentFactor  = 8         // sizes of the volume that its files may have together in each tree: copies share content
	spareContent   = 1 << 30   // and so much more, for small volumes
)

// FS is an ISO 9660 volume.
type FS struct {
	src  volume.Source
	meta *volume.Cache
	head descriptor // the first primary descriptor
	seen *survey    // once Trees was asked
}

// Open reads the first descriptor. An error wraps volume.ErrMalformed or volume.ErrUnreadable. Whatever can be told in spite
// of damage is told by Walk.
func Open(src volume.Source) (volume.FileSystem, error) {
	fs := &FS{src: src, meta: volume.NewCache(src)}
	raw := make([]byte, sector)
	if err := fs.readFull(raw, firstDescriptor*sector); err != nil {
		return nil, err
	}
	if !isDescriptor(raw) {
		return nil, fmt.Errorf("%w: there is no ISO 9660 descriptor", volume.ErrMalformed)
	}
	// The primary descriptor comes first nearly always, and is looked for properly by Trees.
	if d, err := parseDescriptor(raw); err == nil && raw[0] == typePrimary {
		fs.head = d
	}
	return fs, nil
}

// Used is the size that the volume says it has.
func (fs *FS) Used() int64 { return min(fs.head.bytes, fs.src.Size()) }

// Trees implements volume.Forest. It reads all directories.
func (fs *FS) Trees(ctx context.Context) ([]volume.Tree, error) {
	if fs.seen == nil {
		s := &survey{fs: fs, ctx: ctx}
		if err := s.run(); err != nil && !errors.Is(err, errHalt) {
			return nil, err
		}
		fs.seen = s
	}
	if len(fs.seen.trees) < 2 {
		return []volume.Tree{{}}, nil
	}
	var trees []volume.Tree
	for _, t := range fs.seen.trees {
		trees = append(trees, volume.Tree{What: t.what(), Label: t.label})
	}
	return trees, nil
}

// Walk implements volume.FileSystem. Directories come first, then what has content in the order of the medium.
func (fs *FS) Walk(ctx context.Context, opts volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	if _, err := fs.Trees(ctx); err != nil {
		return volume.Summary{}, err
	}
	s := fs.seen
	fs.seen = nil // a second walk looks again, and what this one learns is not told twice
	w := &walker{survey: s, emit: emit, deep: opts.Deep}
	w.ctx = ctx
	if err := w.walk(); err != nil && !errors.Is(err, errHalt) {
		return volume.Summary{}, err
	}
	label := ""
	if len(s.trees) > 0 {
		label = s.trees[0].label
	}
	return w.Summary(label), nil
}

// errHalt ends a survey or walk that has learned enough to refuse the volume.
var errHalt = errors.New("the walk was halted")

// readFull reads metadata. What lies behind the end is an error of the medium too: the volume promised more.
func (fs *FS) readFull(p []byte, at int64) error {
	if n, _ := fs.meta.ReadAt(p, at); n < len(p) {
		return &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}
	}
	return nil
}
