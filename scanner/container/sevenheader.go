package container

import (
	"slices"
)

// The header of a 7z archive: sevenzip.go says what it is for.

// sevenFolder is one stream of members.
type sevenFolder struct {
	coders   []sevenCoder
	bonds    [][2]int // in stream, out stream
	packed   []int    // in streams that come from the archive
	sizes    []uint64 // of each out stream
	crc      uint32
	checked  bool
	first    int // of its packed streams
	subs     []uint64
	sums     []uint32
	hasSums  []bool
	main     int // the out stream that nothing takes
	lockedBy bool
}

type sevenCoder struct {
	method  uint64
	ins     int
	outs    int
	props   []byte
	firstIn int
	firstO  int
}

// sevenStreams is what a header says of streams.
type sevenStreams struct {
	at      int64
	sizes   []uint64
	folders []*sevenFolder
}

// sevenHeader reads the structures of a header.
type sevenHeader struct {
	fields
	l *layer
}

// number is a number as 7z has it: the first byte says how many follow.
func (h *sevenHeader) number() uint64 {
	first := h.u8()
	v := uint64(0)
	for i, mask := 0, byte(0x80); i < 8; i, mask = i+1, mask>>1 {
		if first&mask == 0 {
			return v | uint64(first&(mask-1))<<(8*i)
		}
		v |= uint64(h.u8()) << (8 * i)
	}
	return v
}

// count is a number of things of which each takes a byte or more of the header, or a bit, or nothing but a member's count.
func (h *sevenHeader) count(most uint64) int {
	n := h.number()
	if n > most {
		h.bad = true
		return 0
	}
	return int(n)
}

// bitset reads n bits, the highest first. all is a byte before them that says that all are set.
func (h *sevenHeader) bitset(n int, all bool) []bool {
	out := make([]bool, n)
	if all && h.u8() != 0 {
		for i := range out {
			out[i] = true
		}
		return out
	}
	b := h.take(uint64(n+7) / 8)
	for i := range out {
		out[i] = b != nil && b[i/8]>>(7-i%8)&1 != 0
	}
	return out
}

// digests reads checksums: which of n are there, and each.
func (h *sevenHeader) digests(n int) (sums []uint32, has []bool) {
	has = h.bitset(n, true)
	sums = make([]uint32, n)
	for i := range sums {
		if has[i] {
			sums[i] = h.u32()
		}
	}
	return sums, has
}

// The properties of a header.
const (
	sevenEnd = iota
	sevenHead
	sevenArchive
	sevenAdditional
	sevenMain
	sevenFiles
	sevenPack
	sevenUnpack
	sevenSubs
	sevenSize
	sevenCRC
	sevenFolders
	sevenUnpackSize
	sevenSubCount
	sevenEmptyStream
	sevenEmptyFile
	sevenAnti
	sevenNames
	sevenEncoded = 0x17
)

func (h *sevenHeader) streams() (s sevenStreams) {
	for !h.bad {
		switch h.number() {
		case sevenEnd:
			return s
		case sevenPack:
			s.at = int64(h.number())
			n := h.count(MaxMembers)
			for !h.bad {
				id := h.number()
				if id == sevenEnd {
					break
				}
				switch id {
				case sevenSize:
					for range n {
						s.sizes = append(s.sizes, h.number())
					}
				case sevenCRC:
					h.digests(n)
				default:
					h.bad = true
				}
			}
		case sevenUnpack:
			h.folders(&s)
		case sevenSubs:
			h.subStreams(&s)
		default:
			h.bad = true
		}
	}
	return s
}

func (h *sevenHeader) folders(s *sevenStreams) {
	if h.number() != sevenFolders {
		h.bad = true
	}
	n := h.count(MaxMembers)
	if h.u8() != 0 || h.bad { // they stand elsewhere, which nobody writes
		h.bad = true
		return
	}
	first := 0
	for range n {
		f := h.folder()
		if h.bad {
			return
		}
		f.first = first
		first += len(f.packed)
		s.folders = append(s.folders, f)
	}
	for !h.bad {
		switch h.number() {
		case sevenEnd:
			return
		case sevenUnpackSize:
			for _, f := range s.folders {
				for i := range f.sizes {
					f.sizes[i] = h.number()
				}
			}
		case sevenCRC:
			sums, has := h.digests(n)
			for i, f := range s.folders {
				f.crc, f.checked = sums[i], has[i]
			}
		default:
			h.bad = true
		}
	}
}

func (h *sevenHeader) folder() *sevenFolder {
	f := &sevenFolder{}
	ins, outs := 0, 0
	for range h.count(sevenMaxCoders) {
		flags := h.u8()
		c := sevenCoder{ins: 1, outs: 1, firstIn: ins, firstO: outs}
		for _, b := range h.take(uint64(flags & 15)) {
			c.method = c.method<<8 | uint64(b)
		}
		if flags&0x10 != 0 {
			c.ins, c.outs = h.count(sevenMaxCoders), h.count(sevenMaxCoders)
		}
		if flags&0x20 != 0 {
			c.props = h.take(h.number())
		}
		ins, outs = ins+c.ins, outs+c.outs
		f.coders = append(f.coders, c)
	}
	if h.bad || outs == 0 || ins > sevenMaxCoders || outs > sevenMaxCoders || ins < outs-1 {
		h.bad = true
		return f
	}
	f.sizes = make([]uint64, outs)
	for range outs - 1 {
		f.bonds = append(f.bonds, [2]int{h.count(uint64(ins) - 1), h.count(uint64(outs) - 1)})
	}
	switch packed := ins - (outs - 1); {
	case packed > 1:
		for range packed {
			f.packed = append(f.packed, h.count(uint64(ins)-1))
		}
	case packed == 1:
		for i := range ins {
			if !slices.ContainsFunc(f.bonds, func(b [2]int) bool { return b[0] == i }) {
				f.packed = append(f.packed, i)
				break
			}
		}
	}
	for i := range outs {
		if !slices.ContainsFunc(f.bonds, func(b [2]int) bool { return b[1] == i }) {
			f.main = i
		}
	}
	return f
}

func (h *sevenHeader) subStreams(s *sevenStreams) {
	counts := make([]int, len(s.folders))
	for i := range counts {
		counts[i] = 1
	}
	id := h.number()
	total := len(counts)
	if id == sevenSubCount {
		total = 0
		for i := range counts {
			counts[i] = h.count(MaxMembers)
			if total += counts[i]; total > MaxMembers {
				_ = h.l.stop(tooMany)
				h.bad = true
				return
			}
		}
		id = h.number()
	}
	for i, f := range s.folders {
		left := f.sizes[f.main]
		f.sums, f.hasSums = make([]uint32, counts[i]), make([]bool, counts[i])
		for j := range counts[i] {
			size := left
			if j < counts[i]-1 {
				size = 0
				if id == sevenSize {
					size = h.number()
				}
			}
			if size > left {
				h.bad = true
				return
			}
			f.subs = append(f.subs, size)
			left -= size
		}
		if counts[i] == 1 && f.checked {
			f.sums[0], f.hasSums[0] = f.crc, true
		}
	}
	if id == sevenSize {
		id = h.number()
	}
	if id == sevenCRC {
		missing := 0
		for _, f := range s.folders {
			for _, has := range f.hasSums {
				if !has {
					missing++
				}
			}
		}
		sums, has := h.digests(missing)
		k := 0
		for _, f := range s.folders {
			for j := range f.hasSums {
				if !f.hasSums[j] {
					f.sums[j], f.hasSums[j] = sums[k], has[k]
					k++
				}
			}
		}
		id = h.number()
	}
	if id != sevenEnd {
		h.bad = true
	}
}
