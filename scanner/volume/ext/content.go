package ext

import (
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// An extent tree: a header and records of 12 bytes each, in the inode and in blocks.
const (
	extentMagic  = 0xF30A
	extentHeader = 12
	extentRecord = 12
	extentDepth  = 5       // Linux' own limit
	longestRun   = 1 << 15 // blocks of one extent; what says more is an extent of so many less that reads as zeros
)

// content says where the content of an inode lies.
type content struct {
	extents []volume.Extent // in the order of the content, holes too, up to the last block that there is
	bytes   int64           // that they hold, holes too
	kept    []volume.Extent // allocated, and read as zeros
	maps    []volume.Extent // blocks that say where the content lies, for a deep walk
	blocks  int64           // how many of the volume it takes, maps too
	stored  int64           // bytes up to the last that is not in a hole
	err     error           // why that is not all
}

// mapping follows the map of one inode.
type mapping struct {
	w     *walker
	in    *inode
	claim bool  // take the blocks into possession: for the first name of a file
	next  int64 // the block of the content behind the last that was found
	c     content
}

var (
	errOutside = volume.Malformed("it leads to blocks that the volume does not have.")
	errOrder   = volume.Malformed("the list of its blocks is out of order.")
	errTree    = volume.Malformed("the list of its blocks contradicts itself.")
	errOwned   = volume.Malformed("it lies in blocks that belong to something else.")
	errPieces  = &volume.Fault{Outcome: report.TooLarge, Text: "it lies in more pieces than this program follows."}
	errSteps   = &volume.Fault{Outcome: report.TooLarge, Text: "the volume has too many names for files in many pieces."}
)

// content follows the map of an inode that has one. It returns what it found even if that is not all.
func (w *walker) content(in *inode, claim bool) content {
	m := mapping{w: w, in: in, claim: claim}
	if in.has(flagExtents) {
		m.c.err = m.tree(in.body(), -1, 0, 1<<32)
	} else {
		m.c.err = m.table()
	}
	return m.c
}

// own takes blocks into possession, or reports that they have an owner or are none.
func (m *mapping) own(first, n int64) error {
	g := &m.w.fs.geo
	if m.w.steps++; m.w.steps > stepsPerBlock*g.blocks+spareSteps {
		m.w.Wrong(report.TooLarge, "The volume has too many names for files in many pieces.")
		return errSteps
	}
	if first <= g.first || n > g.blocks || first > g.blocks-n {
		return errOutside
	}
	if (first+n)<<g.shift > m.w.fs.src.Size() {
		return volume.Malformed("it reaches behind the end of the medium.")
	}
	m.c.blocks += n
	if m.claim {
		if !m.w.owned.Add(first, n) {
			return errOwned
		}
		if m.in.number != inodeResize {
			m.w.written(first, n)
		}
	}
	return nil
}

// add appends n blocks of content. Those that were allocated and never written read as zeros.
func (m *mapping) add(at, first, n int64, written bool) error {
	if at < m.next {
		return errOrder
	}
	if err := m.own(first, n); err != nil {
		return err
	}
	shift := m.w.fs.geo.shift
	var err error
	if at > m.next {
		err = m.append(-1, (at-m.next)<<shift)
	}
	m.next = at + n
	switch {
	case err != nil:
	case written:
		err = m.append(first<<shift, n<<shift)
		m.c.stored = m.c.bytes
	case len(m.c.kept) >= maxExtents:
		err = errPieces
	default:
		if err = m.append(-1, n<<shift); err == nil {
			m.c.kept = append(m.c.kept, volume.Extent{Start: first << shift, Bytes: n << shift})
		}
	}
	return err
}

func (m *mapping) append(start, bytes int64) error {
	x := m.c.extents
	k := len(x) - 1
	switch {
	case k >= 0 && (start < 0 && x[k].Start < 0 || start >= 0 && x[k].Start >= 0 && x[k].Start+x[k].Bytes == start):
		x[k].Bytes += bytes
	case len(x) >= maxExtents:
		return errPieces
	default:
		m.c.extents = append(x, volume.Extent{Start: start, Bytes: bytes})
	}
	m.c.bytes += bytes
	return nil
}

// node reads a block of a map and takes it into possession.
func (m *mapping) node(number int64) ([]byte, error) {
	if err := m.own(number, 1); err != nil {
		return nil, err
	}
	shift := m.w.fs.geo.shift
	if m.w.deep || m.in.number == inodeResize {
		if len(m.c.maps) >= maxExtents {
			return nil, errPieces
		}
		m.c.maps = append(m.c.maps, volume.Extent{Start: number << shift, Bytes: 1 << shift})
	}
	b := make([]byte, 1<<shift)
	if m.w.fs.readAlone(b, number) != nil {
		return nil, &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error where the list of its blocks lies."}
	}
	return b, nil
}

// table follows the map of ext2 and ext3: twelve blocks, and three that hold the numbers of further ones in one, two and
// three levels.
func (m *mapping) table() error {
	const direct = 12
	b := m.in.body()
	for i := range int64(direct) {
		if p := le.Uint32(b[4*i:]); p != 0 {
			if err := m.add(i, int64(p), 1, true); err != nil {
				return err
			}
		}
	}
	at, per := int64(direct), m.w.fs.geo.block()/4
	for level, span := 1, per; level <= 3; level, span = level+1, span*per {
		if err := m.indirect(le.Uint32(b[4*(direct+level-1):]), level, at); err != nil {
			return err
		}
		at += span
	}
	return nil
}

// indirect follows a block of numbers, the first of which is that of the block number at of the content.
func (m *mapping) indirect(number uint32, level int, at int64) error {
	if number == 0 {
		return nil
	}
	b, err := m.node(int64(number))
	if err != nil {
		return err
	}
	span := int64(1)
	for range level - 1 {
		span *= int64(len(b)) / 4
	}
	for i := 0; i < len(b); i, at = i+4, at+span {
		p := le.Uint32(b[i:])
		switch {
		case p == 0:
		case level == 1:
			err = m.add(at, int64(p), 1, true)
		default:
			err = m.indirect(p, level-1, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tree follows a node of an extent tree, which must hold what belongs between two blocks of the content: Linux finds
// nothing that lies elsewhere. The depth is that of the node, or -1 for the one in the inode, which says it itself.
func (m *mapping) tree(b []byte, depth int, from, to int64) error {
	entries, most, own := int(le.Uint16(b[2:])), int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if depth < 0 {
		depth = own
	}
	if le.Uint16(b) != extentMagic || own != depth || depth > extentDepth || entries > most ||
		extentHeader+most*extentRecord > len(b) || entries == 0 && depth > 0 {
		return errTree
	}
	record := func(i int) []byte { return b[extentHeader+i*extentRecord:][:extentRecord] }
	for i := range entries {
		r := record(i)
		at := int64(le.Uint32(r))
		if at < from || at >= to {
			return errOrder
		}
		if depth == 0 {
			n, first := int64(le.Uint16(r[4:])), int64(le.Uint32(r[8:]))|int64(le.Uint16(r[6:]))<<32
			written := n <= longestRun
			if !written {
				n -= longestRun
			}
			if n == 0 || n > to-at {
				return errOrder
			}
			if err := m.add(at, first, n, written); err != nil {
				return err
			}
			from = at + n
			continue
		}
		end := to
		if i+1 < entries {
			end = int64(le.Uint32(record(i + 1)))
		}
		if end <= at || end > to {
			return errOrder
		}
		child, err := m.node(int64(le.Uint32(r[4:])) | int64(le.Uint16(r[8:]))<<32)
		if err != nil {
			return err
		}
		if !m.w.fs.geo.extentsSealed(m.in.seed, child) {
			return volume.Malformed("the checksum of a list of its blocks is wrong.")
		}
		if err := m.tree(child, depth-1, at, end); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// cut divides content at so many bytes, which the caller rounded up to whole blocks: what is behind was written and is not
// shown. Holes there are nothing.
func (c *content) cut(at int64) (behind []volume.Extent) {
	var done int64
	for i, x := range c.extents {
		if done+x.Bytes > at {
			keep := at - done
			rest := c.extents[i:]
			if keep > 0 {
				rest = append([]volume.Extent{{Start: x.Start, Bytes: x.Bytes - keep}}, c.extents[i+1:]...)
				if x.Start >= 0 {
					rest[0].Start += keep
				}
				c.extents[i].Bytes = keep
				i++
			}
			c.extents, c.bytes = c.extents[:i:i], at
			for _, r := range rest {
				if r.Start >= 0 {
					behind = append(behind, r)
				}
			}
			c.stored = min(c.stored, at)
			return behind
		}
		done += x.Bytes
	}
	return nil
}
