package udf

import (
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// address is an extent of blocks within a partition, as allocation descriptors have it (4/7.1, 4/14.14).
type address struct {
	bytes int64
	kind  byte  // of a piece: recorded, allocated, a hole, or more descriptors
	block int64 // in the partition
	part  int   // the number of its map
}

// longAD reads a long_ad.
func longAD(b []byte) address {
	n := le.Uint32(b)
	return address{int64(n & (1<<30 - 1)), byte(n >> 30), int64(le.Uint32(b[4:])), int(le.Uint16(b[8:]))}
}

// partition is one map of the logical volume (3/10.7): how its blocks are found.
type partition struct {
	kind   partitionKind
	start  int64   // of the physical partition, in blocks
	length int64   // likewise
	header []byte  // of the physical partition: where its tables of space are
	table  []int64 // virtual: where each block is, in the physical partition

	packet int64           // sparable: blocks
	spared map[int64]int64 // sparable: packets that lie elsewhere, and where

	pieces []volume.Extent // metadata: where the file is
	ends   []int64
}

type partitionKind uint8

const (
	physical partitionKind = iota
	virtual
	sparable
	metadata
)

// maps reads the partition maps.
func (fs *FS) maps(seq *sequence) error {
	l := seq.logical
	n, size := int(le.Uint32(l[268:])), int(le.Uint32(l[264:]))
	if n == 0 || n > maxMaps || size > len(l)-440 {
		return volume.Malformed("its list of partitions cannot be read")
	}
	raw := l[440 : 440+size]
	for range n {
		if len(raw) < 6 || int(raw[1]) < 6 || int(raw[1]) > len(raw) {
			return volume.Malformed("its list of partitions cannot be read")
		}
		m := raw[:raw[1]]
		raw = raw[raw[1]:]
		id := 0
		switch {
		case m[0] == 1 && len(m) == 6:
			id = int(le.Uint16(m[4:]))
		case m[0] == 2 && len(m) == 64:
			id = int(le.Uint16(m[38:]))
		default:
			return volume.Malformed("it has a partition of a kind that is not known")
		}
		i := slices.IndexFunc(seq.partitions, func(p []byte) bool { return int(le.Uint16(p[22:])) == id })
		if i < 0 {
			return volume.Malformed("a partition of it is missing")
		}
		d := seq.partitions[i]
		p := partition{start: int64(le.Uint32(d[188:])), length: int64(le.Uint32(d[192:])), header: d[56:184]}
		if p.start+p.length > fs.blocks {
			fs.known.Wrong(report.Malformed, "A partition of the volume goes on behind the end of the medium.")
			p.length = max(fs.blocks-p.start, 0)
		}
		if m[0] == 2 {
			if err := fs.special(&p, m); err != nil {
				return err
			}
		}
		if p.kind == physical || p.kind == sparable {
			fs.used += p.length * fs.block
		}
		fs.parts = append(fs.parts, p)
	}
	// Tables that lie in another partition can be read only now.
	for i := range fs.parts {
		if fs.parts[i].kind == virtual {
			if err := fs.readVirtual(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// special reads a map of one of UDF's own kinds (UDF 2.2.8 to 2.2.10).
func (fs *FS) special(p *partition, m []byte) error {
	switch regid(m[4:36]) {
	case "*UDF Virtual Partition":
		p.kind = virtual
	case "*UDF Sparable Partition":
		p.kind, p.packet = sparable, int64(le.Uint16(m[40:]))
		if p.packet == 0 || p.packet&(p.packet-1) != 0 || m[42] == 0 || m[42] > 4 {
			return volume.Malformed("its table of worn packets cannot be read")
		}
		return fs.readSpared(p, m)
	case "*UDF Metadata Partition":
		p.kind = metadata
		return fs.readMetadata(p, m)
	default:
		return volume.Malformed("it has a partition of a kind that is not known")
	}
	return nil
}

// readSpared reads the tables of worn packets (UDF 2.2.12), which are copies of each other. The one with the highest number
// counts.
func (fs *FS) readSpared(p *partition, m []byte) error {
	size := min(int64(le.Uint32(m[44:])), 1<<20)
	var best []byte
	for i := range int(m[42]) {
		at := int64(le.Uint32(m[48+4*i:])) * fs.block
		raw := make([]byte, max(size, 56))
		if err := fs.readFull(raw, at); err != nil {
			fs.known.Wrong(volume.OutcomeOf(err), "A table of worn packets could not be read.")
			continue
		}
		if checkTag(raw) != nil || tagOf(raw) != 0 || regid(raw[16:48]) != "*UDF Sparing Table" || 56+8*int(le.Uint16(raw[48:])) > len(raw) {
			fs.known.Wrong(report.Malformed, "A table of worn packets is damaged.")
			continue
		}
		fs.head = append(fs.head, volume.Extent{Start: at, Bytes: (size + fs.block - 1) / fs.block * fs.block})
		entries := func(b []byte) []byte { return b[56 : 56+8*int(le.Uint16(b[48:]))] }
		if best != nil && !slices.Equal(entries(best), entries(raw)) {
			fs.known.Wrong(report.Malformed, "The tables of worn packets differ.")
		}
		if best == nil || le.Uint32(raw[52:]) > le.Uint32(best[52:]) {
			best = raw
		}
	}
	if best == nil {
		return volume.Malformed("its table of worn packets cannot be read")
	}
	p.spared = map[int64]int64{}
	for i := range int(le.Uint16(best[48:])) {
		e := best[56+8*i:]
		if original := le.Uint32(e); original < 0xFFFFFFF0 { // else the packet is spare, or broken itself
			p.spared[int64(original)] = int64(le.Uint32(e[4:]))
		}
	}
	return nil
}

// readMetadata finds the metadata file and holds it against its mirror (UDF 2.2.13).
func (fs *FS) readMetadata(p *partition, m []byte) error {
	plain := *p
	plain.kind = physical
	at := len(fs.parts)
	fs.parts = append(fs.parts, plain) // its number, while it is read
	defer func() { fs.parts = fs.parts[:at] }()
	var files [2]*file
	for i, kind := range []byte{typeMetadata, typeMirror} {
		place := int64(le.Uint32(m[40+4*i:]))
		f, err := fs.file(address{bytes: fs.block, block: place, part: at}, nil)
		if err == nil && f.kind != kind {
			err = volume.Malformed("it is something else.")
		}
		if err == nil {
			err = f.err
		}
		if err != nil {
			fs.known.Wrong(volume.OutcomeOf(err), "The file of the volume's directories, or its mirror, cannot be read: "+faultText(err))
			continue
		}
		fs.head = append(fs.head, f.taken...)
		files[i] = f
	}
	f := files[0]
	if f == nil {
		f = files[1]
	}
	if f == nil {
		return volume.Malformed("the file of its directories cannot be read")
	}
	if bitmap := int64(le.Uint32(m[48:])); bitmap != 0xFFFFFFFF {
		// Which of its blocks are free is not asked: all are read that no directory needs. The table itself belongs to it.
		if b, err := fs.file(address{bytes: fs.block, block: bitmap, part: at}, nil); err == nil {
			fs.head = append(fs.head, b.taken...)
			for _, x := range b.extents {
				if x.Start >= 0 {
					fs.head = append(fs.head, x)
				}
			}
		} else {
			fs.known.Wrong(volume.OutcomeOf(err), "The table of free space among the volume's directories cannot be read.")
		}
	}
	p.pieces = f.extents
	var end int64
	for _, x := range p.pieces {
		end += x.Bytes
		p.ends = append(p.ends, end)
	}
	if files[0] != nil && files[1] != nil && !slices.Equal(files[0].extents, files[1].extents) {
		fs.compareMirror(files[0], files[1])
	}
	return nil
}

// compareMirror reads both files of directories.
func (fs *FS) compareMirror(a, b *file) {
	const piece = 64 << 10
	one, two := make([]byte, piece), make([]byte, piece)
	size := min(a.size, b.size)
	for at := int64(0); at < size; at += piece {
		n := min(piece, size-at)
		if err := fs.readContent(a.extents, one[:n], at); err != nil {
			fs.known.Wrong(volume.OutcomeOf(err), "The volume's directories could not be read in full.")
			return
		}
		if err := fs.readContent(b.extents, two[:n], at); err != nil {
			fs.known.Wrong(volume.OutcomeOf(err), "The mirror of the volume's directories could not be read in full.")
			return
		}
		// Free blocks of the two differ; a descriptor's place is counted from the file's beginning, so used ones do not.
		for i := int64(0); i+fs.block <= n; i += fs.block {
			x, y := one[i:i+fs.block], two[i:i+fs.block]
			if !slices.Equal(x, y) && (checkTag(x) == nil || checkTag(y) == nil) {
				fs.known.Wrong(report.Malformed, "The volume's directories and their mirror are not the same.")
				return
			}
		}
	}
	for _, x := range b.extents {
		if x.Start >= 0 {
			fs.head = append(fs.head, x)
		}
	}
}

// readVirtual finds the virtual allocation table (UDF 2.2.11): its entry is the last thing that was written.
func (fs *FS) readVirtual(n int) error {
	p := &fs.parts[n]
	i := slices.IndexFunc(fs.parts, func(o partition) bool { return o.kind == physical && o.start == p.start })
	if i < 0 {
		plain := *p
		plain.kind = physical
		i = len(fs.parts)
		fs.parts = append(fs.parts, plain)
		defer func() { fs.parts = fs.parts[:i] }()
		p = &fs.parts[n]
	}
	last, err := fs.lastWritten(p.start)
	if err != nil {
		return err
	}
	// Behind it a recorder may leave blocks that were only run through, and an anchor.
	const runOut = 512
	for b, tries := last, 0; b >= p.start && tries < runOut; b, tries = b-1, tries+1 {
		f, err := fs.file(address{bytes: fs.block, block: b - p.start, part: i}, nil)
		if err != nil || f.err != nil || f.kind != typeVAT && f.kind != 0 || f.size < 36 || f.size > maxTable {
			continue
		}
		raw := make([]byte, f.size)
		if fs.readContent(f.extents, raw, 0) != nil {
			continue
		}
		if f.kind == typeVAT {
			head := int(le.Uint16(raw))
			if head < 152 || head > len(raw) {
				continue
			}
			if label := dstring(raw[4:132]); label != "" { // a disc that is written once cannot change its descriptor
				fs.label = label
			}
			raw = raw[head:]
		} else {
			tail := raw[len(raw)-36:]
			if regid(tail) != "*UDF Virtual Alloc Tbl" {
				continue
			}
			raw = raw[:len(raw)-36]
		}
		for ; len(raw) >= 4; raw = raw[4:] {
			p.table = append(p.table, int64(le.Uint32(raw)))
		}
		fs.head = append(fs.head, f.taken...)
		for _, x := range f.extents {
			if x.Start >= 0 {
				fs.head = append(fs.head, x)
			}
		}
		return nil
	}
	return volume.Malformed("its table of blocks that moved cannot be found")
}

// lastWritten is the last block that is not all zero: an image can be longer than what was written.
func (fs *FS) lastWritten(first int64) (int64, error) {
	const chunk, most = 1 << 20, 1 << 30
	size := fs.blocks * fs.block
	buf := make([]byte, chunk)
	for end := size; end > first*fs.block && size-end < most; {
		n := min(chunk, end-first*fs.block)
		if got, _ := fs.src.ReadAt(buf[:n], end-n); got < int(n) {
			return 0, &volume.Fault{Outcome: report.Unreadable, Text: "the end of what was written could not be read"}
		}
		for ; n > 0; n, end = n-fs.block, end-fs.block {
			if !volume.Zero(buf[n-fs.block : n]) {
				return end/fs.block - 1, nil
			}
		}
	}
	return 0, volume.Malformed("nothing was written near its end")
}

// locate finds where the first blocks of an address lie, in bytes: as many as lie side by side.
func (fs *FS) locate(part int, block, count int64) (volume.Extent, error) {
	outside := volume.Malformed("it lies outside its partition.")
	if part >= len(fs.parts) || block < 0 || count <= 0 {
		return volume.Extent{}, outside
	}
	p := &fs.parts[part]
	switch p.kind {
	case virtual:
		if block >= int64(len(p.table)) || p.table[block] == 0xFFFFFFFF {
			return volume.Extent{}, outside
		}
		block, count = p.table[block], 1
	case metadata:
		at := block * fs.block
		i, _ := slices.BinarySearchFunc(p.ends, at, func(end, at int64) int {
			if end <= at {
				return -1
			}
			return 1
		})
		if i == len(p.ends) || p.pieces[i].Start < 0 {
			return volume.Extent{}, outside
		}
		return volume.Extent{Start: p.pieces[i].Start + p.pieces[i].Bytes - (p.ends[i] - at), Bytes: min(count*fs.block, p.ends[i]-at)}, nil
	}
	if block >= p.length || count > p.length-block {
		return volume.Extent{}, outside
	}
	if p.kind == sparable {
		first, within := block&^(p.packet-1), block&(p.packet-1)
		count = min(count, p.packet-within)
		if to, moved := p.spared[first]; moved {
			if to+within+count > fs.blocks {
				return volume.Extent{}, outside
			}
			return volume.Extent{Start: (to + within) * fs.block, Bytes: count * fs.block}, nil
		}
	}
	return volume.Extent{Start: (p.start + block) * fs.block, Bytes: count * fs.block}, nil
}

// readBlock reads the first block of an address, which must be a descriptor of that place.
func (fs *FS) readBlock(raw []byte, at address) (volume.Extent, error) {
	if at.bytes == 0 || at.kind != 0 {
		return volume.Extent{}, volume.Malformed("it was never written.")
	}
	x, err := fs.locate(at.part, at.block, 1)
	if err != nil {
		return x, err
	}
	if err := fs.readFull(raw, x.Start); err != nil {
		return x, err
	}
	if err := checkTag(raw); err != nil {
		return x, err
	}
	if int64(le.Uint32(raw[12:])) != at.block {
		return x, volume.Malformed("it says that it is from another place.")
	}
	return x, nil
}
