package ext

import (
	"context"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Flags of a group, which count only where descriptors have checksums.
const (
	groupNoInodes = 0x1 // neither its bitmap nor its table was ever written
	groupNoBlocks = 0x2 // its bitmap of blocks was never written: only structures lie in it
)

// group says where the structures of a group lie, as blocks.
type group struct {
	blocks, inodes, table uint32 // its bitmaps, and its table of inodes; 0 if that cannot be
	blockSum, inodeSum    uint32
	used                  uint32 // inodes at the beginning of the table that were ever used
	flags                 uint16
}

// readGroups reads the descriptors.
func (fs *FS) readGroups() error {
	g := &fs.geo
	fs.groups = make([]group, 0, g.groups)
	b := make([]byte, g.block())
	for n := range g.descriptorBlocks() {
		at := g.descriptors(n)
		if at >= g.blocks {
			return volume.Malformed("its descriptors lie outside it.")
		}
		if err := fs.readBlock(b, at); err != nil {
			return err
		}
		for i := int64(0); i < g.perDescriptors() && int64(len(fs.groups)) < g.groups; i++ {
			d := b[i*g.descriptor:][:g.descriptor]
			if !g.descriptorSealed(int64(len(fs.groups)), d) {
				fs.known.Wrong(report.Malformed, "The checksum of a group's description is wrong.")
			}
			fs.groups = append(fs.groups, g.parseGroup(d))
		}
	}
	fs.tables()
	return nil
}

// tables gives up those tables of inodes that lie over another one or behind the end of the medium. A small medium could
// else have a table of a few inodes read for each of a quarter of a million groups.
func (fs *FS) tables() {
	g := &fs.geo
	owned := volume.NewBlockSet(g.blocks)
	for i := range fs.groups {
		r := &fs.groups[i]
		if r.table == 0 {
			continue // said by the walk
		}
		if int64(r.table)<<g.shift >= fs.src.Size() || !owned.Add(int64(r.table), g.tableBlocks()) {
			fs.known.Wrong(report.Malformed, "A table of inodes lies over another one, or behind the end of the medium.")
			r.table = 0
		}
	}
}

// parseGroup reads a descriptor. A place outside the volume becomes 0, where no structure can be.
func (g *geometry) parseGroup(d []byte) group {
	wide := len(d) >= 64
	place := func(at int, length int64) uint32 {
		n := int64(le.Uint32(d[at:]))
		if wide {
			n |= int64(le.Uint32(d[at+32:])&0xFFFF) << 32
		}
		if n <= g.first || n+length > g.blocks {
			return 0
		}
		return uint32(n)
	}
	r := group{blocks: place(0, 1), inodes: place(4, 1), table: place(8, g.tableBlocks()), used: uint32(g.inodesPerGroup),
		blockSum: uint32(le.Uint16(d[24:])), inodeSum: uint32(le.Uint16(d[26:]))}
	unused := int64(le.Uint16(d[28:]))
	if wide {
		r.blockSum |= uint32(le.Uint16(d[56:])) << 16
		r.inodeSum |= uint32(le.Uint16(d[58:])) << 16
		unused |= int64(le.Uint16(d[50:])) << 16
	}
	if g.ro&(roGroupSums|roSums) != 0 {
		r.flags = le.Uint16(d[18:])
		r.used = uint32(g.inodesPerGroup - min(unused, g.inodesPerGroup))
		if r.flags&groupNoInodes != 0 {
			r.used = 0
		}
	}
	return r
}

// structures takes the blocks of the volume's structures into possession. Structures that lie over each other are damage.
func (w *walker) structures() error {
	g := &w.fs.geo
	own := func(first, n int64, what *volume.Area) error {
		if !w.owned.Add(first, n) {
			w.Wrong(report.Malformed, "Two structures of the volume lie in the same place.")
		}
		if what != nil {
			return what.Add(first<<g.shift, n<<g.shift)
		}
		return nil
	}
	copies, deep := w.area("copies of the superblock"), w.shape
	if !w.deep {
		deep = nil
	}
	for n := range g.groups {
		if n%1024 == 0 && w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		used, kept := g.head(n)
		if g.compat&compatResize != 0 {
			kept = 0 // the inode for resizing has them
		}
		used = min(used+kept, g.groupBlocks(n))
		what := copies
		if n == 0 {
			what = deep
		}
		if used > 0 {
			if err := own(g.groupStart(n), used, what); err != nil {
				return err
			}
		}
		r := &w.fs.groups[n]
		for _, s := range []struct {
			at uint32
			n  int64
		}{{r.blocks, 1}, {r.inodes, 1}, {r.table, g.tableBlocks()}} {
			if s.at == 0 {
				w.Wrong(report.Malformed, "A group says that its structures lie outside the volume.")
				continue
			}
			if err := own(int64(s.at), s.n, deep); err != nil {
				return err
			}
		}
	}
	if g.incompat&incompatMMP != 0 {
		if g.mmp <= g.first || g.mmp >= g.blocks {
			w.Wrong(report.Malformed, "The block against mounting twice lies outside the volume.")
		} else if err := own(g.mmp, 1, copies); err != nil {
			return err
		}
	}
	if err := w.compareCopies(); err != nil {
		return err
	}
	return copies.Flush()
}

// compareCopies holds the copies of the superblock and the descriptors against the first. Linux looks at one only if it is
// told to, so that a copy which is damaged or old is a finding; one that moves things gives the medium two contents.
func (w *walker) compareCopies() error {
	g := &w.fs.geo
	const word = "superblocks-differ"
	raw, b, copies := make([]byte, superBytes), make([]byte, g.block()), 0
	for n := int64(1); n < g.groups; n++ {
		if !g.hasSuper(n) {
			continue
		}
		copies++
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		at := g.groupStart(n) << g.shift
		if at+superBytes > w.fs.src.Size() {
			continue // said already
		}
		if w.fs.readFull(raw, at) != nil {
			w.Wrong(report.Unreadable, "A copy of the superblock could not be read.")
			continue
		}
		other, err := parseSuper(raw)
		if err != nil || other.start != n&0xFFFF {
			w.Note(word, report.Warn, at, "A copy of the superblock is damaged.")
			continue
		}
		if other.layout() != g.layout() {
			w.Note(word, report.Warn, at, "A copy of the superblock is not the same.")
			w.Wrong(report.Malformed, "The superblock and a copy describe two different volumes.")
			continue
		}
		if g.incompat&incompatMetaBG != 0 || copies > maxCopies {
			continue // it is scanned; with meta_bg each block of descriptors has copies of its own
		}
		for i := range g.descriptorBlocks() {
			if err := w.fs.readBlock(b, g.groupStart(n)+1+i); err != nil {
				w.Wrong(report.Unreadable, "A copy of the descriptors could not be read.")
				break
			}
			if !w.sameGroups(b, i) {
				w.Note(word, report.Warn, at, "A copy of the descriptors is not the same.")
				w.Wrong(report.Malformed, "The descriptors of the groups and a copy put things in different places.")
				break
			}
		}
	}
	return nil
}

// sameGroups holds one block of a copy of the descriptors against the first.
func (w *walker) sameGroups(b []byte, n int64) bool {
	g := &w.fs.geo
	first := n * g.perDescriptors()
	for i := first; i < min(first+g.perDescriptors(), g.groups); i++ {
		a, c := w.fs.groups[i], g.parseGroup(b[(i-first)*g.descriptor:][:g.descriptor])
		if a.blocks != c.blocks || a.inodes != c.inodes || a.table != c.table {
			return false
		}
	}
	return true
}

// layout is what of a superblock moves things. Systems set other features in the first superblock alone.
func (g *geometry) layout() geometry {
	return geometry{shift: g.shift, first: g.first, blocks: g.blocks, cluster: g.cluster, perGroup: g.perGroup, inodes: g.inodes,
		inodesPerGroup: g.inodesPerGroup, inode: g.inode, descriptor: g.descriptor, incompat: g.incompat & (incompatMetaBG | incompat64),
		ro: g.ro & roBigAlloc}
}
