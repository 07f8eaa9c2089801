package ext

import (
	"bytes"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Where the superblock lies, whatever the size of a block, and how long it is.
const (
	superAt    = 1024
	superBytes = 1024
	superMagic = 0xEF53
	oldInode   = 128 // bytes of an inode of the first revision
	rootInode  = 2
	// mostReserved inodes may be the volume's own, each of which is looked at. All formatters take 11 for the first file's.
	mostReserved = 1 << 10
)

// Features (s_feature_compat, s_feature_incompat, s_feature_ro_compat).
const (
	compatJournal = 0x4
	compatResize  = 0x10
	compatSparse2 = 0x200

	incompatFileType = 0x2
	incompatRecover  = 0x4
	incompatMetaBG   = 0x10
	incompat64       = 0x80
	incompatMMP      = 0x100
	incompatSeed     = 0x2000
	incompatLargeDir = 0x4000
	// File types, recovery, meta_bg, extents, 64 bits, MMP, flex_bg, ea_inode, seed, large_dir, inline data, encryption of
	// files (those are refused one by one), casefold.
	incompatKnown = incompatFileType | incompatRecover | incompatMetaBG | 0x40 | incompat64 | incompatMMP | 0x200 | 0x400 |
		incompatSeed | incompatLargeDir | 0x8000 | 0x10000 | 0x20000

	roSparse    = 0x1
	roHuge      = 0x8
	roGroupSums = 0x10
	roBigAlloc  = 0x200
	roSums      = 0x400
	roShared    = 0x4000
	roVerity    = 0x8000
	roOrphans   = 0x10000
	// Also: large files, B-tree directories, dir_nlink, extra_isize, snapshots, quota, replica, read-only, project.
	roKnown = roSparse | roHuge | roGroupSums | roBigAlloc | roSums | roVerity | roOrphans |
		0x2 | 0x4 | 0x20 | 0x40 | 0x80 | 0x100 | 0x800 | 0x1000 | 0x2000
)

// refusals are features that change what the blocks mean, in the order in which they are told.
var refusals = []struct {
	incompat, ro uint32
	text         string
}{
	{0x8, 0, "The volume is the journal of another one."},
	{0x1, 0, "The volume uses a compression that Linux never got."},
	{0x1000, 0, "The volume is part of a Lustre cluster."},
	{0, roShared, "The files of the volume share blocks, as only Android's do, which this kiosk cannot read."},
}

// geometry is where things lie. Blocks and inodes are numbers, all else is bytes unless it says otherwise.
type geometry struct {
	revision                 uint32
	compat, incompat, ro     uint32
	creator                  uint32
	shift                    uint  // of a block: it has 1<<shift bytes
	first                    int64 // block in which the first group begins
	blocks, free             int64
	cluster                  int64 // blocks that have one bit of a bitmap together
	perGroup                 int64 // blocks
	groups                   int64
	inodes, inodesPerGroup   int64
	inode, descriptor        int64
	firstFile                int64 // the first inode that is not the volume's own
	spareDescriptors         int64 // blocks kept for more descriptors
	firstMeta                int64 // with meta_bg: the first block of descriptors that does not lie behind the superblock
	backups                  [2]int64
	seed                     uint32
	uuid                     [16]byte
	label                    string
	quotaInode, orphanInode  int64
	journalInode, mmp, start int64 // start: of this superblock's group
}

func (g *geometry) block() int64             { return 1 << g.shift }
func (g *geometry) summed() bool             { return g.ro&roSums != 0 }
func (g *geometry) groupStart(n int64) int64 { return g.first + n*g.perGroup }
func (g *geometry) perDescriptors() int64    { return g.block() / g.descriptor }
func (g *geometry) descriptorBlocks() int64 {
	return (g.groups + g.perDescriptors() - 1) / g.perDescriptors()
}

// tableBlocks is how many blocks a group's inodes take.
func (g *geometry) tableBlocks() int64 { return (g.inodesPerGroup*g.inode + g.block() - 1) >> g.shift }

// groupBlocks is how many blocks a group has: the last may have less.
func (g *geometry) groupBlocks(n int64) int64 { return min(g.perGroup, g.blocks-g.groupStart(n)) }

// parseSuper takes the geometry from a superblock, and refuses one that contradicts itself.
func parseSuper(b []byte) (geometry, error) {
	no := func(what string) (geometry, error) {
		return geometry{}, fmt.Errorf("%w: the superblock has %s", volume.ErrMalformed, what)
	}
	if le.Uint16(b[56:]) != superMagic {
		return no("no signature")
	}
	g := geometry{
		revision: le.Uint32(b[76:]), creator: le.Uint32(b[72:]), compat: le.Uint32(b[92:]), incompat: le.Uint32(b[96:]), ro: le.Uint32(b[100:]),
		inodes: int64(le.Uint32(b)), first: int64(le.Uint32(b[20:])), perGroup: int64(le.Uint32(b[32:])),
		inodesPerGroup: int64(le.Uint32(b[40:])), inode: oldInode, descriptor: 32, firstFile: 11,
		spareDescriptors: int64(le.Uint16(b[206:])), firstMeta: int64(le.Uint32(b[260:])), cluster: 1,
		backups: [2]int64{int64(le.Uint32(b[588:])), int64(le.Uint32(b[592:]))}, uuid: [16]byte(b[104:]),
		quotaInode: int64(le.Uint32(b[620:])), orphanInode: int64(le.Uint32(b[640:])), journalInode: int64(le.Uint32(b[224:])),
		mmp: int64(le.Uint64(b[360:])), start: int64(le.Uint16(b[90:])), label: label(b[120:136]),
	}
	blockShift, clusterShift := le.Uint32(b[24:]), le.Uint32(b[28:])
	if blockShift > 6 {
		return no("an impossible size of blocks")
	}
	g.shift = uint(10 + blockShift)
	if g.revision > 1 {
		return no("a revision that is not known")
	}
	if g.revision == 1 {
		g.inode, g.firstFile = int64(le.Uint16(b[88:])), int64(le.Uint32(b[84:]))
	}
	blocks, free := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[12:]))
	if g.incompat&incompat64 != 0 {
		g.descriptor = int64(le.Uint16(b[254:]))
		blocks |= uint64(le.Uint32(b[336:])) << 32
		free |= uint64(le.Uint32(b[344:])) << 32
		if g.descriptor < 64 || g.descriptor > 1024 || g.descriptor&(g.descriptor-1) != 0 {
			return no("an impossible size of descriptors")
		}
	}
	if blocks == 0 || blocks > 1<<46 { // in blocks of 64 KiB that is the end of 63 bits
		return no("an impossible number of blocks")
	}
	g.blocks, g.free = int64(blocks), int64(min(free, blocks))
	switch {
	case g.ro&roBigAlloc == 0 && clusterShift != blockShift, clusterShift < blockShift, clusterShift > blockShift+16:
		return no("an impossible size of clusters")
	}
	g.cluster = 1 << (clusterShift - blockShift)
	g.seed = crcRaw(^uint32(0), g.uuid[:])
	if g.incompat&incompatSeed != 0 {
		g.seed = le.Uint32(b[624:])
	}
	return g, g.check()
}

// check holds the numbers of a superblock against each other, as Linux does before it mounts.
func (g *geometry) check() error {
	no := func(what string) error { return fmt.Errorf("%w: the superblock has %s", volume.ErrMalformed, what) }
	wantFirst := int64(0)
	if g.shift == 10 && g.ro&roBigAlloc == 0 {
		wantFirst = 1 // the superblock is a block of its own, and what is in front of it belongs to no group
	}
	switch {
	case g.inode < oldInode || g.inode > g.block() || g.inode&(g.inode-1) != 0:
		return no("an impossible size of inodes")
	case g.first != wantFirst:
		return no("an impossible first block")
	case g.blocks <= g.first:
		return no("an impossible number of blocks")
	case g.perGroup < 8 || g.perGroup%(8*g.cluster) != 0 || g.perGroup/g.cluster > 8*g.block():
		return no("an impossible number of blocks in a group")
	case g.inodesPerGroup < g.block()/g.inode || g.inodesPerGroup%8 != 0 || g.inodesPerGroup > 8*g.block():
		return no("an impossible number of inodes in a group")
	case g.firstFile < 11 || g.firstFile > mostReserved || g.firstFile > g.inodes:
		return no("an impossible first inode")
	case g.tableBlocks() >= g.perGroup:
		return no("more inodes than a group has room for")
	}
	g.groups = (g.blocks - g.first + g.perGroup - 1) / g.perGroup
	if g.inodes != g.groups*g.inodesPerGroup {
		return no("a number of inodes that is not that of its groups")
	}
	if g.incompat&incompatMetaBG != 0 && g.firstMeta > g.descriptorBlocks() {
		return no("descriptors that begin behind their end")
	}
	return nil
}

// refusal says why a sound volume is not read; nil if it is.
func (g *geometry) refusal() *volume.Summary {
	no := func(o report.Outcome, text string) *volume.Summary { return &volume.Summary{Outcome: o, Reason: text} }
	for _, r := range refusals {
		if g.incompat&r.incompat != 0 || g.ro&r.ro != 0 {
			return no(report.Unscanned, r.text)
		}
	}
	switch {
	case g.incompat&^incompatKnown != 0:
		return no(report.Unscanned, fmt.Sprintf("The volume has a feature that is not known (incompatible %#x).", g.incompat&^incompatKnown))
	case g.creator == 1:
		return no(report.Unscanned, "The volume was made for GNU Hurd, which this kiosk cannot read.")
	case g.blocks > maxBlocks || g.groups > maxGroups:
		return no(report.TooLarge, "The volume has more blocks than this program follows.")
	case g.inodes > maxInodes:
		return no(report.TooLarge, "The volume has more inodes than this program follows.")
	}
	return nil
}

// label is the volume's own name.
func label(b []byte) string {
	name, _, _ := bytes.Cut(b, []byte{0})
	return string(bytes.ToValidUTF8(name, []byte("\uFFFD")))
}

// hasSuper reports whether a group begins with a copy of the superblock.
func (g *geometry) hasSuper(n int64) bool {
	switch {
	case n == 0:
		return true
	case g.compat&compatSparse2 != 0:
		return n == g.backups[0] || n == g.backups[1]
	case n == 1 || g.ro&roSparse == 0:
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		for power := base; power <= n; power *= base {
			if power == n {
				return true
			}
		}
	}
	return false
}

// superBlock is the block in which the first superblock lies.
func (g *geometry) superBlock() int64 { return superAt >> g.shift }

// descriptors is the block where the nth block of descriptors lies.
func (g *geometry) descriptors(n int64) int64 {
	if g.incompat&incompatMetaBG == 0 || n < g.firstMeta {
		return g.superBlock() + 1 + n
	}
	group := n * g.perDescriptors()
	at := g.groupStart(group)
	if g.hasSuper(group) {
		at++
	}
	if group == 0 && g.shift == 10 && g.first == 0 {
		at++ // what is in front of the superblock is a block, too
	}
	return at
}

// head is how many blocks at the beginning of a group hold a superblock and descriptors, and how many behind them are kept
// for more descriptors.
func (g *geometry) head(n int64) (used, kept int64) {
	super := g.hasSuper(n)
	if super {
		used = 1
	}
	if n == 0 {
		used = g.superBlock() + 1 - g.first
	}
	per := g.perDescriptors()
	meta := g.incompat&incompatMetaBG != 0
	switch {
	case meta && n/per >= g.firstMeta:
		if at := n % per; at <= 1 || at == per-1 {
			used++ // the descriptors themselves, and two copies
		}
	case super && meta:
		return used + g.firstMeta, g.spareDescriptors
	case super:
		return used + g.descriptorBlocks(), g.spareDescriptors
	}
	return used, 0
}
