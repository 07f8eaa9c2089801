package ext

import (
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Inodes that have a fixed meaning (https://docs.kernel.org/filesystems/ext4/special_inodes.html).
const (
	inodeBad    = 1
	inodeResize = 7
)

var reservedNames = map[int64]string{inodeBad: "blocks marked as bad", 3: "quotas of users", 4: "quotas of groups", 5: "boot loader",
	6: "undelete directory", inodeResize: "blocks kept for growing", 8: "journal", 9: "exclude inode", 10: "replica inode"}

// tableBytes is how much of a table of inodes is read at once.
const tableBytes = 256 << 10

// area is for what belongs to no file.
func (w *walker) area(what string) *volume.Area {
	return volume.NewArea(what, w.fs.src.Size(), w.emit)
}

// reserved hands out what the volume's own inodes hold, and what lies before the superblock and behind it in its block.
func (w *walker) reserved() error {
	g := &w.fs.geo
	for _, x := range [][2]int64{{0, superAt}, {superAt + superBytes, g.block()}} {
		if err := w.spare(x[0], x[1]); err != nil {
			return err
		}
	}
	numbers := []int64{}
	for n := int64(1); n < g.firstFile && n <= g.inodes; n++ {
		if n != rootInode {
			numbers = append(numbers, n)
		}
	}
	for _, n := range []int64{g.quotaInode, g.orphanInode, g.journalInode} {
		if n >= g.firstFile && n <= g.inodes {
			numbers = append(numbers, n)
		}
	}
	for _, n := range numbers {
		if err := w.ownFile(n); err != nil {
			return err
		}
	}
	return nil
}

// spare hands out a piece of the volume that should be empty, if it is not.
func (w *walker) spare(from, to int64) error {
	if from >= to {
		return nil
	}
	b := make([]byte, to-from)
	if w.fs.readFull(b, from) != nil {
		w.Wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
		return nil
	}
	if volume.Zero(b) {
		return nil
	}
	a := w.area(fmt.Sprintf("space beside the superblock, from byte %d", from))
	if err := a.Add(from, to-from); err != nil {
		return err
	}
	return a.Flush()
}

// ownFile hands out a file of the volume itself.
func (w *walker) ownFile(number int64) error {
	what, ok := reservedNames[number]
	if !ok {
		what = fmt.Sprintf("file of the volume, inode %d", number)
	}
	in, err := w.fs.inode(number)
	if err != nil {
		w.Wrong(volume.OutcomeOf(err), "A file of the volume itself: "+sentence(err))
		return nil
	}
	if !w.seen.Add(number, 1) {
		return nil // two fields of the superblock name it
	}
	// One that was never used is blank. The list of bad blocks has blocks and nothing else.
	if in.blank() && volume.Zero(in.body()) {
		return nil
	}
	if !in.sealed {
		w.Wrong(report.Malformed, "The checksum of a file of the volume itself is wrong.")
	}
	if in.has(flagInline | flagEncrypted) {
		w.Wrong(report.Malformed, "A file of the volume itself contradicts itself.")
		return nil
	}
	c := w.content(in, true)
	if c.err != nil {
		w.Wrong(volume.OutcomeOf(c.err), "A file of the volume itself cannot be followed: "+sentence(c.err))
	}
	// Whatever its length, all blocks are handed out, without the holes.
	a := w.area(what)
	lists := [][]volume.Extent{c.extents, c.kept}
	if number == inodeResize {
		lists = append(lists, c.maps) // its map lies in the blocks that are kept for descriptors
	} else if err := w.maps(c.maps); err != nil {
		return err
	}
	for _, list := range lists {
		for _, x := range list {
			if x.Start < 0 {
				continue
			}
			if number == inodeBad {
				w.Note("bad-blocks", report.Warn, x.Start, "Blocks are marked as bad, where data can be hidden; they were read.")
			}
			if err := a.Add(x.Start, x.Bytes); err != nil {
				return err
			}
		}
	}
	return a.Flush()
}

// maps notes the blocks of a map.
func (w *walker) maps(list []volume.Extent) error {
	for _, x := range list {
		if err := w.structure(x.Start, x.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// written notes that blocks of a group are in use. Where the group says that only structures lie in it, that is damage.
func (w *walker) written(first, n int64) {
	g := &w.fs.geo
	for i := (first - g.first) / g.perGroup; i <= (first+n-1-g.first)/g.perGroup; i++ {
		if w.fs.groups[i].flags&groupNoBlocks != 0 {
			w.Wrong(report.Malformed, "A file lies in blocks that the volume says are free.")
		}
	}
}

// orphans reads every table of inodes as far as it was ever used, and hands out what is in use and has no name.
func (w *walker) orphans() error {
	for _, left := range w.linked {
		if left != 0 {
			w.differ()
		}
	}
	var folders, files []uint32
	for n := range w.fs.groups {
		err := w.inodes(int64(n), func(in *inode, marked bool) {
			seen := w.seen.Has(in.number)
			switch {
			case seen && !marked:
				w.Wrong(report.Malformed, "A file has an inode that the volume says is free.")
			case !seen && !marked && in.blank():
			case !seen && !marked && in.links == 0:
				w.deleted++
			case !seen && in.blank():
				w.Note("inodes-differ", report.Warn, -1, "An inode is marked as used and holds nothing.")
			case !seen && in.folder():
				folders = append(folders, uint32(in.number))
			case !seen:
				files = append(files, uint32(in.number))
			}
		})
		if err != nil {
			return err
		}
		if len(folders)+len(files) > maxEntries {
			w.Wrong(report.TooLarge, "The volume has more files without a name than this program follows.")
			return errHalt
		}
	}
	for _, list := range [][]uint32{folders, files} {
		for _, n := range list {
			if err := w.orphan(int64(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// orphan hands out an inode without a name, unless a directory without one led to it meanwhile.
func (w *walker) orphan(number int64) error {
	if w.ctx.Err() != nil {
		return w.ended()
	}
	if w.seen.Has(number) {
		return nil
	}
	in, err := w.fs.inode(number)
	if err != nil {
		w.Wrong(volume.OutcomeOf(err), "An inode could not be read a second time.")
		return nil
	}
	it := item{path: fmt.Sprintf("$Orphan/inode %d", number), orphan: true,
		findings: []report.Finding{finding("orphan", report.Warn, "No directory leads to this file. It was read all the same.")}}
	if !in.sealed {
		it.faults = append(it.faults, "its checksum is wrong")
	}
	if !in.folder() {
		return w.file(&it, in)
	}
	if err := w.enter(&folder{orphan: true}, &it, in); err != nil {
		return err
	}
	if len(w.pending) == 0 {
		return nil // it was refused
	}
	return w.below(w.pending[0])
}

// inodes reads the inodes of a group that were ever used, and those that its bitmap says are.
func (w *walker) inodes(n int64, visit func(in *inode, marked bool)) error {
	g, r := &w.fs.geo, &w.fs.groups[n]
	bitmap := make([]byte, g.block())
	used := int64(r.used)
	if r.flags&groupNoInodes == 0 && r.inodes != 0 {
		if w.fs.readBlock(bitmap, int64(r.inodes)) != nil {
			w.Wrong(report.Unreadable, "A bitmap of inodes could not be read.")
			return nil
		}
		if !g.bitmapSealed(bitmap, g.inodesPerGroup, r.inodeSum) {
			w.Wrong(report.Malformed, "The checksum of a bitmap of inodes is wrong.")
		}
		for i := g.inodesPerGroup - 1; i >= used; i-- {
			if bitmap[i/8]>>(i%8)&1 != 0 {
				w.Wrong(report.Malformed, "An inode is in use in a part of its table that the volume says was never used.")
				used = i + 1
			}
		}
	} else {
		// No inode of such a group can be in use; one that a directory names is.
		for i := range g.inodesPerGroup {
			if w.seen.Has(n*g.inodesPerGroup + i + 1) {
				w.Wrong(report.Malformed, "A file has an inode that the volume says is free.")
				break
			}
		}
		return nil
	}
	if r.table == 0 {
		return nil // said already
	}
	buf := make([]byte, tableBytes)
	for i := int64(0); i < used; {
		if w.ctx.Err() != nil {
			return w.ended()
		}
		b := buf[:min(tableBytes, (used-i)*g.inode)]
		at := int64(r.table)<<g.shift + i*g.inode
		bad := w.fs.readFull(b, at) != nil
		for ; len(b) > 0; b, i = b[g.inode:], i+1 {
			number := n*g.inodesPerGroup + i + 1
			if bad && w.fs.readFull(b[:g.inode], at) != nil {
				w.Wrong(report.Unreadable, "A part of a table of inodes could not be read.")
			} else if number >= g.firstFile {
				visit(g.parseInode(number, b[:g.inode]), bitmap[i/8]>>(i%8)&1 != 0)
			}
			at += g.inode
		}
	}
	return nil
}

// account holds the bitmaps of the groups against the blocks that were found to have an owner.
func (w *walker) account() error {
	for n := int64(0); w.deep && n < w.fs.geo.blocks; n++ {
		if n%64 == 0 && w.shares.Word(n) == 0 {
			n += 63
		} else if w.shares.Has(n) {
			if err := w.structure(n<<w.fs.geo.shift, w.fs.geo.block()); err != nil {
				return err
			}
		}
	}
	for _, a := range []*volume.Area{w.slack, w.odd, w.shape} {
		if err := a.Flush(); err != nil {
			return err
		}
	}
	g := &w.fs.geo
	lost, free := w.area("lost blocks"), w.area("free blocks")
	b := make([]byte, g.block())
	for n := range g.groups {
		if w.ctx.Err() != nil {
			return w.ended()
		}
		r := &w.fs.groups[n]
		clear(b)
		switch {
		case r.blocks == 0:
			continue // said already
		case r.flags&groupNoBlocks != 0:
			if err := w.unmarked(n, free); err != nil {
				return err
			}
			continue
		case w.fs.readBlock(b, int64(r.blocks)) != nil:
			w.Wrong(report.Unreadable, "A bitmap of blocks could not be read.")
			continue
		}
		if !g.bitmapSealed(b, g.perGroup/g.cluster, r.blockSum) {
			w.Wrong(report.Malformed, "The checksum of a bitmap of blocks is wrong.")
		}
		if err := w.compare(n, b, lost, free); err != nil {
			return err
		}
	}
	if !lost.Empty() {
		w.Note("lost-blocks", report.Inform, -1, "Some blocks are marked as used and belong to no file.")
	}
	if err := lost.Flush(); err != nil {
		return err
	}
	return free.Flush()
}

// unmarked hands out, for a deep walk, the blocks of a group that has no bitmap.
func (w *walker) unmarked(n int64, free *volume.Area) error {
	g := &w.fs.geo
	for i := int64(0); w.deep && i < g.groupBlocks(n); i++ {
		if block := g.groupStart(n) + i; !w.owned.Has(block) {
			if err := free.Add(block<<g.shift, g.block()); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare takes the bitmap of a group, one bit for each cluster.
func (w *walker) compare(n int64, bitmap []byte, lost, free *volume.Area) error {
	g := &w.fs.geo
	start, blocks := g.groupStart(n), g.groupBlocks(n)
	for i := int64(0); i < blocks; {
		if g.cluster == 1 && i+64 <= blocks && w.owned.Words(start+i) == le.Uint64(bitmap[i/8:]) && !w.deep {
			i += 64 // nearly always
			continue
		}
		c := i / g.cluster
		marked, owned := bitmap[c/8]>>(c%8)&1 != 0, false
		end := min(i+g.cluster, blocks)
		for k := i; k < end && !owned; k++ {
			owned = w.owned.Has(start + k)
		}
		if owned && !marked {
			w.Wrong(report.Malformed, "A file lies in blocks that the volume says are free.")
		}
		for k := i; k < end; k++ {
			if w.owned.Has(start + k) {
				continue
			}
			var err error
			switch at := (start + k) << g.shift; {
			case marked && !owned:
				err = lost.Add(at, g.block())
			case w.deep: // free, or the rest of a cluster
				err = free.Add(at, g.block())
			}
			if err != nil {
				return err
			}
		}
		i = end
	}
	return nil
}
