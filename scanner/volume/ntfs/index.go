package ntfs

import (
	"context"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

const (
	indexName = "$I30" // the index of a directory by name
	byName    = 1      // its collation
	maxBlock  = 64 << 10
	maxIndex  = 1 << 30 // bytes of one index; the names of a directory of a million files take a tenth
)

// names are what the indexes of all directories say: which name leads from which directory to which record. A name is
// kept as a hash of 64 bits. Somebody who makes two collide gains that one file nobody can open is listed as one.
type names struct {
	keys  []uint64
	seen  bitset          // the keys that a record confirmed
	twice map[uint64]bool // those that are equal to another of their directory but for capitals
}

// nameKey is FNV-1a over the record, its directory and the name.
func nameKey(record, parent int64, name string) uint64 {
	h := uint64(14695981039346656037)
	mix := func(b byte) { h = (h ^ uint64(b)) * 1099511628211 }
	for i := range 6 {
		mix(byte(record >> (8 * i)))
		mix(byte(parent >> (8 * i)))
	}
	for i := range len(name) {
		mix(name[i])
	}
	return h
}

// sort makes the names ready to be asked for.
func (n *names) sort() {
	slices.Sort(n.keys)
	n.keys = slices.Compact(n.keys)
	n.seen = newBitset(int64(len(n.keys)))
}

// confirm reports whether an index has a name, and notes that it is no invention of it.
func (n *names) confirm(key uint64) bool {
	i, ok := slices.BinarySearch(n.keys, key)
	if ok {
		n.seen.set(int64(i))
	}
	return ok
}

// unconfirmed reports whether an index has a name that no record confirmed.
func (n *names) unconfirmed() bool {
	for i := range n.keys {
		if !n.seen.has(int64(i)) {
			return true
		}
	}
	return false
}

// index is one directory's, on its way through.
type index struct {
	w        *walker
	d        *folder
	siblings volume.Siblings
	children int
	blocks   *stream
	size     int64 // of a block
	step     int64 // bytes that a block's number counts
	visited  bitset
	waiting  []int64
}

// indexes reads the index of every directory.
func (w *walker) indexes() error {
	for i := range w.folders.list {
		d := &w.folders.list[i]
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		f, err := w.fs.file(int64(d.number))
		if err == nil {
			err = w.index(d, f)
		}
		if err == errHalt || w.ctx.Err() != nil && err != nil {
			return err
		}
		if err != nil {
			d.outcome = volume.OutcomeOf(err)
			w.Wrong(d.outcome, "The index of a directory: "+err.Error())
		}
	}
	w.names.sort()
	for i := range w.folders.list {
		d := &w.folders.list[i]
		key := nameKey(int64(d.number), int64(d.parent), w.folders.nameOf(d))
		_, d.indexed = slices.BinarySearch(w.names.keys, key)
	}
	return nil
}

// index reads one index: first along its tree, as a system looks up a name, then whatever its bitmap has beside, as a
// system lists a directory.
func (w *walker) index(d *folder, f *file) error {
	root := f.stream(typeIndexRoot, indexName)
	if root == nil || root.err != nil || !root.resident || len(root.value) < 32 ||
		le.Uint32(root.value) != typeName || le.Uint32(root.value[4:]) != byName {
		return volume.Malformed("it is missing or not by name.")
	}
	x := &index{w: w, d: d, size: int64(le.Uint32(root.value[8:])), step: stride}
	if x.size < stride || x.size > maxBlock || x.size&(x.size-1) != 0 {
		return volume.Malformed("it has blocks of an impossible size.")
	}
	if w.fs.geo.cluster <= x.size {
		x.step = w.fs.geo.cluster
	}
	if err := x.open(f); err != nil {
		return err
	}
	if err := x.node(root.value[16:]); err != nil {
		return err
	}
	if err := x.tree(); err != nil {
		return err
	}
	if err := x.rest(f); err != nil {
		return err
	}
	d.empty = x.children == 0
	return nil
}

// open prepares to read blocks. All indexes of a volume together have no more bytes than the volume.
func (x *index) open(f *file) error {
	s := f.stream(typeIndexBlock, indexName)
	if s == nil {
		return nil
	}
	if s.err != nil {
		return s.err
	}
	if s.resident || slices.ContainsFunc(s.extents, func(e volume.Extent) bool { return e.Start < 0 }) {
		return volume.Malformed("its blocks are not all there.")
	}
	if x.w.indexed += s.size; s.size > maxIndex || x.w.indexed > x.w.fs.src.Size() {
		return &volume.Fault{Outcome: report.TooLarge, Text: "it is larger than an index may be."}
	}
	x.blocks = s
	x.visited = newBitset(s.size / x.size)
	return nil
}

// tree reads the blocks that the root leads to.
func (x *index) tree() error {
	for len(x.waiting) > 0 {
		k := len(x.waiting) - 1
		at := x.waiting[k]
		x.waiting = x.waiting[:k]
		if x.blocks == nil || at < 0 || at >= mostBytes/x.step || at*x.step%x.size != 0 || at*x.step/x.size >= x.blocks.size/x.size {
			return volume.Malformed("it leads to a block that is not there.")
		}
		n := at * x.step / x.size
		if x.visited.has(n) {
			return volume.Malformed("it leads to one block twice.")
		}
		x.visited.set(n)
		raw, err := x.block(n)
		if err == nil {
			err = x.parse(raw, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *index) block(n int64) ([]byte, error) {
	if n%256 == 0 && x.w.ctx.Err() != nil {
		return nil, context.Cause(x.w.ctx)
	}
	raw := make([]byte, x.size)
	return raw, x.w.fs.readStream(x.blocks, raw, n*x.size)
}

// parse reads one block of entries.
func (x *index) parse(raw []byte, number int64) error {
	if string(raw[:4]) != "INDX" {
		return volume.Malformed("one of its blocks is damaged.")
	}
	if err := mend(raw); err != nil {
		return volume.Malformed("one of its blocks is damaged.")
	}
	if int64(le.Uint64(raw[16:])) != number {
		return volume.Malformed("one of its blocks says that it is another.")
	}
	return x.node(raw[24:])
}

// node reads the entries of the root or of a block.
func (x *index) node(b []byte) error {
	broken := volume.Malformed("it contradicts itself.")
	at, end := le.Uint32(b), le.Uint32(b[4:])
	if end > uint32(len(b)) || at > end || at < 16 {
		return broken
	}
	for b = b[at:end]; ; {
		if len(b) < 16 {
			return broken
		}
		n, key, flags := int(le.Uint16(b[8:])), int(le.Uint16(b[10:])), le.Uint16(b[12:])
		if n < 16 || n > len(b) || n%8 != 0 || 16+key > n {
			return broken
		}
		if flags&1 != 0 {
			if n < 24+key {
				return broken
			}
			x.waiting = append(x.waiting, int64(le.Uint64(b[n-8:])))
		}
		if flags&2 != 0 {
			return nil
		}
		l, ok := parseName(b[16 : 16+key])
		if !ok {
			return broken
		}
		if err := x.named(reference(le.Uint64(b)), l); err != nil {
			return err
		}
		b = b[n:]
	}
}

// named takes one name. One that leads to a record that is gone, or serves another file since, is stale: no system opens it.
func (x *index) named(ref reference, l link) error {
	w := x.w
	number := ref.number()
	if number >= int64(len(w.uses)) || w.uses[number] == 0 || w.uses[number] != ref.use() {
		w.Note("stale-names", report.Inform, -1, "Directories still name files that are gone.")
		return nil
	}
	if len(w.names.keys) >= maxNames {
		w.Wrong(report.TooLarge, "The volume has more names than this program follows.")
		return errHalt
	}
	key := nameKey(number, int64(x.d.number), l.name)
	w.names.keys = append(w.names.keys, key)
	if number < systemRecords || l.space == spaceDOS {
		return nil
	}
	x.children++
	switch {
	case x.children > maxSiblings:
		w.Note("many-names", report.Warn, -1, "A directory has so many names that not all were compared with each other.")
	case x.siblings.Add(l.name):
		w.names.twice[key] = true
	}
	return nil
}

// rest holds the tree against the bitmap of the index, and reads what only the bitmap has. Blocks that neither has are free;
// what lies there and never was a block is scanned.
func (x *index) rest(f *file) error {
	if x.blocks == nil {
		return nil
	}
	w, count := x.w, x.blocks.size/x.size
	marks, s := make([]byte, (count+7)/8), f.stream(typeBitmap, indexName)
	if s == nil || s.size < int64(len(marks)) {
		return volume.Malformed("it does not say which of its blocks are in use.")
	}
	if err := w.fs.readStream(s, marks, 0); err != nil {
		return err
	}
	for n := range count {
		marked := marks[n/8]>>(n%8)&1 != 0
		if x.visited.has(n) {
			if !marked {
				w.Note("index-differs", report.Warn, -1, "A directory has names where it says that it has none.")
			}
			continue
		}
		raw, err := x.block(n)
		if err != nil {
			return err
		}
		switch {
		case marked:
			w.Note("index-differs", report.Warn, -1, "A directory has names to which its own index does not lead.")
			x.waiting = x.waiting[:0]
			if err := x.parse(raw, n*x.size/x.step); err != nil {
				return err
			}
		case string(raw[:4]) != "INDX" && !volume.Zero(raw):
			w.Note("directory-junk", report.Warn, -1, "A directory holds bytes that never were an entry; they were scanned.")
			for _, e := range x.blocks.extents {
				if err := w.odd.Add(e.Start, e.Bytes); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return nil
}
