package udf

import (
	"math/bits"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// pageBits is how many blocks one page of a blockSet has.
const pageBits = 1 << 15

// blockSet is a set of blocks, with pages for those parts that have any.
type blockSet struct{ pages []*[pageBits / 64]uint64 }

func newBlockSet(blocks int64) *blockSet {
	return &blockSet{make([]*[pageBits / 64]uint64, (blocks+pageBits-1)/pageBits)}
}

// add puts blocks in and reports whether all were new. What the set has no room for is not new.
func (s *blockSet) add(first, count int64) bool {
	fresh := first >= 0
	for b := max(first, 0); b < first+count; {
		if b/pageBits >= int64(len(s.pages)) {
			return false
		}
		page := s.pages[b/pageBits]
		if page == nil {
			page = new([pageBits / 64]uint64)
			s.pages[b/pageBits] = page
		}
		n := min(64-b%64, first+count-b)
		mask := (^uint64(0) >> (64 - n)) << (b % 64)
		word := &page[b%pageBits/64]
		fresh = fresh && *word&mask == 0
		*word |= mask
		b += n
	}
	return fresh
}

func (s *blockSet) has(b int64) bool {
	if b < 0 || b/pageBits >= int64(len(s.pages)) || s.pages[b/pageBits] == nil {
		return false
	}
	return s.pages[b/pageBits][b%pageBits/64]>>(b%64)&1 != 0
}

// runs calls visit for each run of blocks that are in the set, in order.
func (s *blockSet) runs(visit func(first, count int64)) {
	start, end := int64(0), int64(0) // of the run at hand
	for n, page := range s.pages {
		if page == nil {
			continue
		}
		for i, word := range page {
			for base := int64(n)*pageBits + int64(i)*64; word != 0; {
				from := bits.TrailingZeros64(word)
				length := bits.TrailingZeros64(^(word >> from))
				if base+int64(from) != end {
					if end > start {
						visit(start, end-start)
					}
					start = base + int64(from)
				}
				end = base + int64(from) + int64(length)
				if from+length >= 64 {
					break
				}
				word &^= (1<<length - 1) << from
			}
		}
	}
	if end > start {
		visit(start, end-start)
	}
}

// account holds the blocks that were reached against the tables of free space, and hands out what nobody owns.
func (w *walker) account() error {
	b := w.fs.block
	free := newBlockSet(w.fs.blocks)
	for i := range w.fs.parts {
		if p := &w.fs.parts[i]; p.kind == physical || p.kind == sparable {
			if err := w.freeSpace(i, p, free); err != nil {
				return err
			}
		}
	}
	var owned, empty volume.Ranges
	w.owned.runs(func(first, count int64) { owned.Add(first*b, count*b) })
	free.runs(func(first, count int64) { empty.Add(first*b, count*b) })
	if len(volume.Common(owned.All(), empty.All())) > 0 {
		w.Wrong(report.Malformed, "A file lies in blocks that the volume says are free.")
	}
	for _, x := range owned.All() {
		empty.Add(x.Start, x.Bytes)
	}
	end := w.fs.src.Size()
	lost := volume.NewArea("space that no file has", end, w.emit)
	found := false
	unread, err := volume.EachData(w.ctx, w.fs.src, empty.Gaps(0, end), func(at int64, piece []byte) error {
		found = found || at >= 257*b // before that a volume recognises itself, and may start a machine
		return lost.Add(at, int64(len(piece)))
	})
	if err != nil {
		return err
	}
	if unread {
		w.Wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
	}
	if found {
		w.Note("spare-bytes", report.Inform, -1, "Bytes of the volume that no file can have are not empty.")
	}
	heads := volume.NewArea("volume descriptors", end, w.emit)
	for _, x := range w.fs.head {
		if err := heads.Add(x.Start, x.Bytes); err != nil {
			return err
		}
	}
	areas := []*volume.Area{lost, heads, w.attributes}
	if w.deep {
		unused, slack := volume.NewArea("free blocks", end, w.emit), volume.NewArea("slack and entries", end, w.emit)
		for _, x := range volume.Common(empty.All(), owned.Gaps(0, end)) {
			if err := unused.Add(x.Start, x.Bytes); err != nil {
				return err
			}
		}
		for _, x := range w.slack.All() {
			if err := slack.Add(x.Start, x.Bytes); err != nil {
				return err
			}
		}
		areas = append(areas, unused, slack)
	}
	for _, a := range areas {
		if err := a.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// freeSpace reads the bitmap of a partition's free blocks (4/14.12), where a one means free. A table in another form is
// not asked: everything that nobody owns is read then.
func (w *walker) freeSpace(n int, p *partition, free *blockSet) error {
	length := le.Uint32(p.header[8:])
	if length&(1<<30-1) == 0 || w.seen(n) {
		return nil
	}
	at := address{bytes: int64(length & (1<<30 - 1)), block: int64(le.Uint32(p.header[12:])), part: n}
	bad := func(err error) error {
		w.blame("The table of free space: ", err)
		return nil
	}
	blocks := (at.bytes + w.fs.block - 1) / w.fs.block
	x, err := w.fs.locate(at.part, at.block, blocks)
	if err == nil && x.Bytes != blocks*w.fs.block {
		err = volume.Malformed("it lies in worn packets.")
	}
	if err != nil {
		return bad(err)
	}
	head := make([]byte, w.fs.block)
	if err := w.fs.readFull(head, x.Start); err != nil {
		return bad(err)
	}
	// The CRC need not cover the bits (UDF 2.3.8.1), and does not in practice.
	if tagOf(head) != tagSpaceBitmap || int64(le.Uint32(head[12:])) != at.block || checkTag(head) != nil && le.Uint16(head[10:]) <= 8 {
		return bad(volume.Malformed("it is none."))
	}
	count, size := int64(le.Uint32(head[16:])), int64(le.Uint32(head[20:]))
	if count != p.length || size*8 < count || 24+size > blocks*w.fs.block {
		return bad(volume.Malformed("it is not as long as its partition."))
	}
	if !w.owned.add(x.Start/w.fs.block, blocks) {
		w.Wrong(report.Malformed, "A file lies where the table of free space does.")
	}
	if w.deep {
		w.slack.Add(x.Start, x.Bytes)
	}
	var runStart, runEnd int64 // of free blocks, in the partition
	flush := func() {
		for k := runStart; k < runEnd; {
			y, err := w.fs.locate(n, k, runEnd-k)
			if err != nil {
				return
			}
			free.add(y.Start/w.fs.block, y.Bytes/w.fs.block)
			k += y.Bytes / w.fs.block
		}
	}
	const chunk = 64 << 10
	buf := make([]byte, chunk)
	for done := int64(0); done*8 < count; done += chunk {
		part := buf[:min(chunk, size-done)]
		if err := w.fs.readFull(part, x.Start+24+done); err != nil {
			return bad(err)
		}
		if w.ctx.Err() != nil {
			return w.ctx.Err()
		}
		for i, c := range part {
			base := (done + int64(i)) * 8
			if c == 0xFF && base+8 <= count { // most of a free volume
				if base != runEnd {
					flush()
					runStart = base
				}
				runEnd = base + 8
				continue
			}
			for ; c != 0; c &= c - 1 {
				k := base + int64(bits.TrailingZeros8(c))
				if k >= count {
					break
				}
				if k != runEnd {
					flush()
					runStart = k
				}
				runEnd = k + 1
			}
		}
	}
	flush()
	return nil
}

// seen reports whether an earlier map is of the same partition.
func (w *walker) seen(n int) bool {
	for i := range n {
		if o := &w.fs.parts[i]; (o.kind == physical || o.kind == sparable) && o.start == w.fs.parts[n].start {
			return true
		}
	}
	return false
}
