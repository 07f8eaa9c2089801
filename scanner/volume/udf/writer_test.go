package udf

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"pratique/scanner/volume/volumetest"
)

// spec is a volume that the writer below makes: small, whole, and of a kind that no tool here fills with files.
type spec struct {
	block    int
	kind     partitionKind
	form     int  // of allocation descriptors: 0 short, 1 long, 3 in the entry where it fits
	extended bool // entries
	strategy int  // 4 or 4096
	blocks   int  // of the partition
}

// node is a file or a directory to be written. A name with ":" in it is a stream of what comes before.
type node struct {
	name    string
	data    []byte
	dir     bool
	kids    []*node
	streams []*node
	pieces  int  // of its content, each apart from the others
	same    int  // the number of a node whose entry it shares: a hard link
	id      int  // number for same
	deleted bool // its name is, at least
	hidden  bool
	holes   bool // zeros are not stored
	icb     []byte
}

// writer makes one volume.
type writer struct {
	spec
	data     []byte
	start    int // of the partition, in blocks
	next     int // free block of the partition
	metaAt   int // where metadata lies in the partition, and how much of it is taken
	metaNext int
	virtual  []uint32
	seen     map[int]*node
	unique   uint64
	spots    map[string]int64 // where things lie that tests change, in bytes
}

const metaBlocks = 900

func (w *writer) put(at int, b []byte) { copy(w.data[at*w.block:], b) }

// seal makes the tag of a descriptor.
func seal(b []byte, tag, location int) {
	le.PutUint16(b, uint16(tag))
	le.PutUint16(b[2:], 3)
	le.PutUint16(b[10:], uint16(len(b)-tagBytes))
	le.PutUint16(b[8:], crc(b[tagBytes:]))
	le.PutUint32(b[12:], uint32(location))
	b[4] = 0
	var sum byte
	for _, c := range b[:tagBytes] {
		sum += c
	}
	b[4] = sum
}

func cs0(s string) []byte {
	wide := []byte{16}
	narrow := []byte{8}
	for _, u := range utf16.Encode([]rune(s)) {
		wide = be.AppendUint16(wide, u)
		if u > 255 {
			narrow = nil
		}
		if narrow != nil {
			narrow = append(narrow, byte(u))
		}
	}
	if narrow != nil {
		return narrow
	}
	return wide
}

func putDstring(b []byte, s string) {
	n := copy(b[:len(b)-1], cs0(s))
	b[len(b)-1] = byte(n)
}

func putRegid(b []byte, s string) { copy(b[1:24], s) }

func putLong(b []byte, bytes, block, part int) {
	le.PutUint32(b, uint32(bytes))
	le.PutUint32(b[4:], uint32(block))
	le.PutUint16(b[8:], uint16(part))
}

// take returns the next blocks of the partition for content.
func (w *writer) take(n int) int {
	at := w.next
	w.next += n
	if w.next > w.blocks {
		panic("udf: the volume is full")
	}
	return at
}

// entryBlock returns a block for an entry: its number, the partition that it is in, and where it lies.
func (w *writer) entryBlock() (block, part, place int) {
	switch w.kind {
	case metadata:
		b := w.metaNext
		if w.metaNext++; b >= metaBlocks {
			panic("udf: no room for more entries")
		}
		return b, 1, w.start + w.metaAt + b
	case virtual:
		at := w.take(1)
		w.virtual = append(w.virtual, uint32(at))
		return len(w.virtual) - 1, 1, w.start + at
	}
	at := w.take(1)
	return at, 0, w.start + at
}

// write writes a node and what is in it, and returns its address.
func (w *writer) write(n *node, parent []byte) []byte {
	if n.same > 0 {
		n.icb = w.seen[n.same].icb
		return n.icb
	}
	span := 1
	if w.strategy == 4096 && w.kind == physical {
		span = 2 // room for where the next state is
	}
	block, part, place := w.entryBlock()
	if span == 2 {
		w.take(1)
	}
	n.icb = make([]byte, 16)
	putLong(n.icb, span*w.block, block, part)
	w.spots["entry "+n.name] = int64(place) * int64(w.block)
	if n.id > 0 {
		w.seen[n.id] = n
	}
	if parent == nil {
		parent = n.icb
	}
	kind := byte(typeRegular)
	content := n.data
	if n.dir {
		kind = typeDirectory
		content = w.directory(n, parent, block)
	}
	w.entry(n, kind, content, block, place)
	return n.icb
}

// directory makes the names of a directory, and writes what they lead to.
func (w *writer) directory(n *node, parent []byte, location int) []byte {
	var out []byte
	out = append(out, fid(nil, nameParent|nameDirectory, parent, location)...)
	for _, k := range n.kids {
		icb := w.write(k, n.icb)
		is := byte(0)
		if k.dir {
			is |= nameDirectory
		}
		if k.deleted {
			is |= nameDeleted
		}
		if k.hidden {
			is |= nameHidden
		}
		out = append(out, fid(cs0(k.name), is, icb, location)...)
	}
	return out
}

func fid(name []byte, is byte, icb []byte, location int) []byte {
	b := make([]byte, (nameFixed+len(name)+3)&^3)
	le.PutUint16(b[16:], 1)
	b[18], b[19] = is, byte(len(name))
	copy(b[20:], icb)
	copy(b[nameFixed:], name)
	seal(b, tagName, location)
	return b
}

// entry writes a file entry with its content.
func (w *writer) entry(n *node, kind byte, content []byte, block, place int) {
	fixed, lengths, tag := 176, 168, tagFile
	if w.extended {
		fixed, lengths, tag = 216, 208, tagExtendedFile
	}
	b := make([]byte, w.block)
	le.PutUint16(b[20:], uint16(w.strategy))
	if w.kind != physical {
		le.PutUint16(b[20:], 4)
	}
	le.PutUint16(b[24:], 1)
	b[27] = kind
	le.PutUint16(b[48:], 1)
	if n.id > 0 {
		le.PutUint16(b[48:], 2)
	}
	le.PutUint32(b[44:], 0x14A5)
	le.PutUint64(b[56:], uint64(len(content)))
	w.unique++
	if w.extended {
		le.PutUint64(b[64:], uint64(len(content)))
		le.PutUint64(b[200:], w.unique)
		if len(n.streams) > 0 {
			copy(b[152:], w.streamDir(n))
		}
	} else {
		le.PutUint64(b[160:], w.unique)
	}
	form := w.form
	var ads []byte
	if form == 3 && len(content) <= w.block-fixed {
		copy(b[fixed:], content)
		le.PutUint32(b[lengths+4:], uint32(len(content)))
	} else {
		if form == 3 {
			form = 0
			if w.kind == metadata || w.kind == virtual {
				form = 1
			}
		}
		if kind != typeDirectory && form == 0 && (w.kind == metadata || w.kind == virtual) {
			form = 1 // content lies in another partition than the entry
		}
		ads = w.content(n, content, form)
		room := (w.block - fixed) / 16 * 16
		if len(ads) > room {
			ads = w.chain(ads, room, form, block)
		}
		copy(b[fixed:], ads)
		le.PutUint32(b[lengths+4:], uint32(len(ads)))
	}
	le.PutUint16(b[34:], uint16(form))
	seal(b, tag, block)
	w.put(place, b)
}

// content writes data into blocks, and returns where it lies.
func (w *writer) content(n *node, data []byte, form int) (ads []byte) {
	pieces := max(n.pieces, 1)
	each := max((len(data)/pieces+w.block-1)/w.block, 1) * w.block
	for at := 0; at < len(data); at += each {
		part := data[at:min(at+each, len(data))]
		blocks := (len(part) + w.block - 1) / w.block
		length, where, ref := uint32(len(part)), 0, 0
		switch {
		case n.holes && bytes.Count(part, []byte{0}) == len(part):
			length |= hole << 30
		case form == 0 && w.kind == metadata:
			where, ref = w.metaNext, 1 // directories
			w.metaNext += blocks
			w.put(w.start+w.metaAt+where, part)
		case form == 0 && w.kind == virtual:
			panic("udf: short descriptors lead into the entry's own partition")
		default:
			where = w.take(blocks)
			w.put(w.start+where, part)
			if pieces > 1 {
				w.take(1) // apart
			}
		}
		w.spots["content "+n.name] = int64(w.start+where) * int64(w.block)
		b := make([]byte, 8+form*8)
		le.PutUint32(b, length)
		le.PutUint32(b[4:], uint32(where))
		if form == 1 {
			le.PutUint16(b[8:], uint16(ref))
		}
		ads = append(ads, b...)
	}
	return ads
}

// chain moves descriptors that do not fit into blocks of their own (4/14.5), and returns what stays.
func (w *writer) chain(ads []byte, room, form, _ int) []byte {
	width := 8 + form*8
	keep := (room/width - 1) * width
	rest := ads[keep:]
	head := slices.Clone(ads[:keep])
	link := func(at, part int) []byte {
		b := make([]byte, width)
		le.PutUint32(b, uint32(w.block)|goesOn<<30)
		le.PutUint32(b[4:], uint32(at))
		if form == 1 {
			le.PutUint16(b[8:], uint16(part))
		}
		return b
	}
	blockRoom := (w.block - 24) / width * width
	var after []byte // written from the last to the first
	for len(rest) > 0 || after == nil {
		n := len(rest) % (blockRoom - width)
		if n == 0 {
			n = min(blockRoom-width, len(rest))
		}
		part := rest[len(rest)-n:]
		rest = rest[:len(rest)-n]
		at, ref, place := w.entryBlock()
		b := make([]byte, w.block)
		le.PutUint32(b[20:], uint32(len(part)+len(after)))
		copy(b[24:], part)
		copy(b[24+len(part):], after)
		seal(b, tagContinued, at)
		w.put(place, b)
		w.spots["list"] = int64(place) * int64(w.block)
		after = link(at, ref)
	}
	return append(head, after...)
}

// streamDir writes the directory of a node's streams.
func (w *writer) streamDir(n *node) []byte {
	block, part, place := w.entryBlock()
	icb := make([]byte, 16)
	putLong(icb, w.block, block, part)
	dir := &node{name: n.name + ":", icb: icb}
	var out []byte
	out = append(out, fid(nil, nameParent|nameDirectory, n.icb, block)...)
	for _, s := range n.streams {
		out = append(out, fid(cs0(s.name), 0, w.write(s, icb), block)...)
	}
	w.entry(dir, typeStreams, out, block, place)
	return icb
}

// build makes a volume with everything below root.
func build(s spec, root *node) ([]byte, map[string]int64) {
	if s.blocks == 0 {
		s.blocks = 4000
	}
	if s.strategy == 0 {
		s.strategy = 4
	}
	w := &writer{spec: s, start: 300, seen: map[int]*node{}, spots: map[string]int64{}, unique: 16}
	if s.kind == sparable {
		w.start = 320 // a packet's multiple
	}
	total := w.start + s.blocks + 300
	w.data = make([]byte, total*s.block)
	step := max(2048, s.block)
	for i, id := range []string{"BEA01", "NSR03", "TEA01"} {
		w.data[32768+i*step+6] = 1
		copy(w.data[32768+i*step+1:], id)
	}
	bitmapBlocks := (24 + (s.blocks+7)/8 + s.block - 1) / s.block
	w.next = bitmapBlocks
	if s.kind == sparable {
		w.next = 32 // the table of free space stays where it is
	}
	if s.kind == metadata {
		w.metaAt = w.take(metaBlocks)
		w.take(1)
	}
	var meta, mirror, mirrorAt int
	if s.kind == metadata {
		meta, mirror = w.take(1), w.take(1)
		mirrorAt = w.take(metaBlocks)
	}
	// The set of files comes first among the entries.
	fsdBlock, fsdPart, fsdPlace := w.entryBlock()
	if s.kind == sparable {
		w.next = 64 // and so does the set of files
	}
	root.dir = true
	rootICB := w.write(root, nil)
	fsd := make([]byte, 512)
	putLong(fsd[400:], int(le.Uint32(rootICB)), int(le.Uint32(rootICB[4:])), int(le.Uint16(rootICB[8:])))
	putRegid(fsd[416:], "*OSTA UDF Compliant")
	seal(fsd, tagFileSet, fsdBlock)
	w.put(fsdPlace, fsd)
	w.spots["file set"] = int64(fsdPlace) * int64(s.block)

	var extra []byte // partition map of the second kind
	maps := []byte{1, 6, 1, 0, 0, 0}
	if s.kind != physical {
		extra = make([]byte, 64)
		extra[0], extra[1] = 2, 64
		le.PutUint16(extra[36:], 1)
	}
	switch s.kind {
	case virtual:
		putRegid(extra[4:], "*UDF Virtual Partition")
		maps = append(maps, extra...)
		// The table is the last thing written: at the end of the volume, behind the partition's other content.
		head := make([]byte, 152)
		le.PutUint16(head, 152)
		putDstring(head[4:132], "Träger")
		for _, v := range w.virtual {
			head = le.AppendUint32(head, v)
		}
		plain := *w
		plain.kind, plain.form, plain.extended, plain.strategy = physical, 0, false, 4
		last := s.blocks - 1
		plain.entry(&node{name: "VAT"}, typeVAT, head, last, w.start+last)
		w.next = plain.next
		w.data = w.data[:(w.start+s.blocks)*s.block]
		total = w.start + s.blocks
		w.spots["table"] = int64(w.start+last) * int64(s.block)
	case sparable:
		putRegid(extra[4:], "*UDF Sparable Partition")
		le.PutUint16(extra[40:], 32)
		extra[42] = 2
		le.PutUint32(extra[44:], uint32(s.block))
		le.PutUint32(extra[48:], 180)
		le.PutUint32(extra[52:], 190)
		maps = extra
		// The packet of the root directory wore out.
		packet := int(le.Uint32(rootICB[4:])) &^ 31
		spare := w.start + s.blocks + 96 // behind an anchor
		for _, at := range []int{180, 190} {
			b := make([]byte, s.block)
			putRegid(b[16:], "*UDF Sparing Table")
			le.PutUint16(b[48:], 2)
			le.PutUint32(b[56:], uint32(packet))
			le.PutUint32(b[60:], uint32(spare))
			le.PutUint32(b[64:], 0xFFFFFFFF)
			le.PutUint32(b[68:], uint32(spare+32))
			seal(b, 0, at)
			w.put(at, b)
		}
		from := w.data[(w.start+packet)*s.block:][:32*s.block]
		w.put(spare, from)
		for i := range from {
			from[i] = byte(i * 7)
		}
		w.spots["table"] = 180 * int64(s.block)
	case metadata:
		putRegid(extra[4:], "*UDF Metadata Partition")
		le.PutUint32(extra[40:], uint32(meta))
		le.PutUint32(extra[44:], uint32(mirror))
		le.PutUint32(extra[48:], 0xFFFFFFFF)
		maps = append(maps, extra...)
		copy(w.data[(w.start+mirrorAt)*s.block:], w.data[(w.start+w.metaAt)*s.block:][:metaBlocks*s.block])
		for i, f := range []struct{ entry, at int }{{meta, w.metaAt}, {mirror, mirrorAt}} {
			b := make([]byte, s.block)
			le.PutUint16(b[20:], 4)
			b[27] = typeMetadata + byte(i)
			le.PutUint64(b[56:], uint64(metaBlocks*s.block))
			le.PutUint64(b[64:], uint64(metaBlocks*s.block))
			le.PutUint32(b[212:], 8)
			le.PutUint32(b[216:], uint32(metaBlocks*s.block))
			le.PutUint32(b[220:], uint32(f.at))
			seal(b, tagExtendedFile, f.entry)
			w.put(w.start+f.entry, b)
		}
		w.spots["table"] = int64(w.start+meta) * int64(s.block)
	}
	partition := make([]byte, 512)
	le.PutUint16(partition[20:], 1)
	putRegid(partition[24:], "+NSR03")
	if s.kind != virtual {
		bitmap := make([]byte, 24+(s.blocks+7)/8)
		le.PutUint32(bitmap[16:], uint32(s.blocks))
		le.PutUint32(bitmap[20:], uint32((s.blocks+7)/8))
		for b := w.next; b < s.blocks; b++ {
			bitmap[24+b/8] |= 1 << (b % 8)
		}
		seal(bitmap[:24], tagSpaceBitmap, 0)
		w.put(w.start, bitmap)
		le.PutUint32(partition[56+8:], uint32(bitmapBlocks*s.block))
		w.spots["bitmap"] = int64(w.start) * int64(s.block)
	}
	le.PutUint32(partition[184:], 4)
	le.PutUint32(partition[188:], uint32(w.start))
	le.PutUint32(partition[192:], uint32(s.blocks))
	logical := make([]byte, 440+len(maps))
	copy(logical[21:], "OSTA Compressed Unicode")
	if s.kind != virtual { // whose table has the name that counts
		putDstring(logical[84:212], "Träger")
	}
	le.PutUint32(logical[212:], uint32(s.block))
	putRegid(logical[216:], "*OSTA UDF Compliant")
	le.PutUint16(logical[240:], 0x0250)
	putLong(logical[248:], s.block, fsdBlock, fsdPart)
	le.PutUint32(logical[264:], uint32(len(maps)))
	le.PutUint32(logical[268:], 1)
	if len(maps) > 64 {
		le.PutUint32(logical[268:], 2)
	}
	copy(logical[440:], maps)
	le.PutUint32(logical[432:], uint32(s.block))
	le.PutUint32(logical[436:], 170)
	for i, first := range []int{100, 130} {
		primary := make([]byte, 512)
		putDstring(primary[24:56], "Träger")
		le.PutUint16(primary[56:], 1)
		le.PutUint16(primary[58:], 1)
		end := make([]byte, 512)
		for k, d := range []struct {
			tag int
			b   []byte
		}{{tagPrimary, primary}, {tagPartition, partition}, {tagLogicalVolume, logical}, {tagTerminator, end}} {
			seal(d.b, d.tag, first+k)
			w.put(first+k, d.b)
		}
		w.spots[fmt.Sprintf("sequence %d", i)] = int64(first * s.block)
	}
	integrity := make([]byte, 88+8*2)
	le.PutUint32(integrity[28:], 1)
	seal(integrity, tagIntegrity, 170)
	w.put(170, integrity)
	for _, at := range []int{256, total - 257, total - 1} {
		if s.kind == virtual && at != 256 {
			continue // a disc that was not closed
		}
		b := make([]byte, 512)
		le.PutUint32(b[16:], uint32(16*s.block))
		le.PutUint32(b[20:], 100)
		le.PutUint32(b[24:], uint32(16*s.block))
		le.PutUint32(b[28:], 130)
		seal(b, tagAnchor, at)
		w.put(at, b)
	}
	return w.data, w.spots
}

// sample is a tree with everything that the format has, and many files.
func sample(files int, extended bool) *node {
	root := &node{name: ""}
	many := &node{name: "Viele Dateien", dir: true}
	for i := range files {
		n := &node{name: fmt.Sprintf("Befund %05d.txt", i), data: bytes.Repeat(fmt.Appendf(nil, "content of file %d. ", i), 1+i%40)}
		if i%3 == 0 {
			n.name = fmt.Sprintf("画像 %05d 🙂", i)
		}
		if i%50 == 0 {
			n.data = bytes.Repeat(n.data, 20)
		}
		many.kids = append(many.kids, n)
	}
	sparse := append(make([]byte, 40<<10), bytes.Repeat([]byte("behind the hole "), 600)...)
	deep := &node{name: "1", dir: true}
	root.kids = []*node{many, deep, {name: "leer", dir: true},
		{name: "empty.bin"}, {name: "pieces.bin", data: bytes.Repeat([]byte("0123456789abcdef"), 20_000), pieces: 150},
		{name: "sparse.bin", data: sparse, pieces: 10, holes: true},
		{name: "one.bin", data: []byte("two names, one content"), id: 1}, {name: "two.bin", same: 1},
		{name: "versteckt.txt", data: []byte("hidden"), hidden: true}, {name: "gone.txt", data: []byte("deleted"), deleted: true}}
	for i := 2; i <= 30; i++ {
		d := &node{name: fmt.Sprint(i), dir: true, kids: []*node{{name: "on the way.txt", data: fmt.Appendf(nil, "level %d", i)}}}
		deep.kids = append(deep.kids, d)
		deep = d
	}
	if extended {
		root.kids = append(root.kids, &node{name: "host.txt", data: []byte("host"), streams: []*node{{name: "Zone", data: []byte("stream 1")},
			{name: "large", data: bytes.Repeat([]byte("stream 2 "), 900)}}},
			&node{name: "host folder", dir: true, streams: []*node{{name: "s", data: []byte("stream of a folder")}}})
	}
	return root
}

// truth is what a reader must list of a tree.
func (n *node) truth() volumetest.Truth {
	t, ids := volumetest.Truth{}, map[int][]byte{}
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for _, s := range n.streams {
			t[path+":"+s.name] = volumetest.FileOf(s.data)
		}
		for _, k := range n.kids {
			p := strings.TrimPrefix(path+"/"+k.name, "/")
			switch {
			case k.deleted:
			case k.dir:
				walk(k, p)
			case k.same > 0:
				t[p] = volumetest.FileOf(ids[k.same])
			default:
				ids[k.id] = k.data
				t[p] = volumetest.FileOf(k.data)
				for _, s := range k.streams {
					t[p+":"+s.name] = volumetest.FileOf(s.data)
				}
			}
		}
	}
	walk(n, "")
	return t
}
