package container

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/flate"
	"github.com/pierrec/lz4/v4"

	"pratique/scanner/container/lz"
	"pratique/scanner/container/lzma"
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// 7z, after 7zFormat.txt and Methods.txt of the LZMA SDK (https://www.7-zip.org/sdk.html). The header lies at the end and is
// usually packed itself. Members lie in folders, each the output of some coders that are bound to each other. Why not a
// library: the one that resolves sizes its tables by numbers in the header, and a header of a kilobyte asks for gigabytes.
const (
	sevenMagic = "7z\xBC\xAF\x27\x1C"
	// sevenMaxHeader bounds the header, packed or not: 100,000 members take some megabytes.
	sevenMaxHeader = 16 << 20
	sevenMaxCoders = 32
	sevenMaxLayers = 4 // how often a header may be packed in another
)

func isSeven(c *Content) bool { return c.has(0, sevenMagic) }

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

func openSeven(c *Content, l *layer) error {
	start := c.piece(0, 32)
	if start == nil {
		return ErrMalformed
	}
	next, size := le.Uint64(start[12:]), le.Uint64(start[20:])
	if crc32.ChecksumIEEE(start[12:32]) != le.Uint32(start[8:]) {
		l.damaged()
	}
	if size == 0 {
		return nil // it is empty
	}
	if size > sevenMaxHeader || next > uint64(c.Size)-32 || size > uint64(c.Size)-32-next {
		return ErrMalformed
	}
	head := make([]byte, size)
	if !c.read(head, 32+int64(next)) {
		return ErrUnread
	}
	if crc32.ChecksumIEEE(head) != le.Uint32(start[28:]) {
		return ErrMalformed
	}
	for range sevenMaxLayers {
		h := &sevenHeader{fields: fields{b: head}, l: l}
		switch h.number() {
		case sevenHead:
			return l.seven(c, h)
		case sevenEncoded:
			s := h.streams()
			if h.bad || len(s.folders) != 1 {
				return ErrMalformed
			}
			r, err := s.unpack(c, s.folders[0])
			if err != nil {
				return err
			}
			if s.folders[0].sizes[s.folders[0].main] > sevenMaxHeader {
				return ErrMalformed
			}
			if head, err = io.ReadAll(io.LimitReader(r, int64(s.folders[0].sizes[s.folders[0].main]))); err != nil {
				return err
			}
			if err := l.spend(int64(len(head))); err != nil {
				return err
			}
		default:
			return ErrMalformed
		}
	}
	return ErrMalformed
}

// seven hands on the members that a header names.
func (l *layer) seven(c *Content, h *sevenHeader) error {
	var s sevenStreams
	var names []string
	var empty, emptyFile []bool
	files := 0
	for done := false; !done && !h.bad; {
		switch h.number() {
		case sevenEnd:
			done = true
		case sevenArchive:
			for !h.bad && h.number() != sevenEnd {
				h.take(h.number())
			}
		case sevenAdditional:
			h.streams()
		case sevenMain:
			s = h.streams()
		case sevenFiles:
			n := h.number()
			if n > MaxMembers {
				return l.stop(tooMany)
			}
			files = int(n)
			for !h.bad {
				id := h.number()
				if id == sevenEnd {
					break
				}
				p := sevenHeader{fields: fields{b: h.take(h.number())}, l: l}
				switch id {
				case sevenEmptyStream:
					empty = p.bitset(files, false)
				case sevenEmptyFile:
					count := 0
					for _, e := range empty {
						if e {
							count++
						}
					}
					emptyFile = p.bitset(count, false)
				case sevenNames:
					if p.u8() != 0 {
						h.bad = true
						break
					}
					names = sevenNamesOf(p.b, files)
				}
			}
		default:
			h.bad = true
		}
	}
	if l.stopped != nil {
		return l.stopped
	}
	if h.bad {
		l.damaged()
	}
	return l.sevenMembers(c, &s, files, names, empty, emptyFile)
}

func sevenNamesOf(b []byte, most int) (names []string) {
	var units []uint16
	for ; len(b) >= 2 && len(names) < most; b = b[2:] {
		if u := le.Uint16(b); u != 0 {
			units = append(units, u)
			continue
		}
		names = append(names, volume.WTF8(units))
		units = units[:0]
	}
	return names
}

func (l *layer) sevenMembers(c *Content, s *sevenStreams, files int, names []string, empty, emptyFile []bool) error {
	name := func(i int) string {
		if i < len(names) {
			return names[i]
		}
		return ""
	}
	// Streams belong to the files that are not empty, in their order. Those without a file are content all the same.
	window := uint64(0)
	for _, f := range s.folders {
		window = max(window, min(f.sizes[f.main], lzma.MaxWindow))
	}
	if err := l.reserve(int64(window)); err != nil {
		return err
	}
	defer func() { l.windows -= int64(window) }()
	file, nothing := 0, 0
	skip := func() error {
		for file < files && file < len(empty) && empty[file] {
			m := Member{Name: name(file)}
			if nothing < len(emptyFile) && emptyFile[nothing] {
				m.Open = func() (io.Reader, error) { return bytes.NewReader(nil), nil }
			}
			nothing++
			file++
			if err := l.member(m); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range s.folders {
		at, stream := int64(0), &solid{walk: l.walk, open: func() (io.Reader, error) { return s.unpack(c, f) }}
		unknown, locked := f.unknown()
		if f.subs == nil {
			f.subs, f.sums, f.hasSums = []uint64{f.sizes[f.main]}, []uint32{f.crc}, []bool{f.checked}
		}
		if unknown && !locked {
			if err := l.member(Member{Name: "packed files", Size: -1, Unknown: true, Open: func() (io.Reader, error) { return s.raw(c, f.first) }}); err != nil {
				return err
			}
		}
		for i, size := range f.subs {
			if err := skip(); err != nil {
				return err
			}
			m := Member{Name: name(file), Hidden: file >= files, Size: int64(min(size, 1<<62))}
			file++
			switch open := stream.member(at, m.Size); {
			case locked:
				m.Outcome = report.Encrypted
			case unknown:
			case f.hasSums[i]:
				m.Open = func() (io.Reader, error) {
					r, err := open()
					return &checked{r: r, sum: crc32.NewIEEE(), want: f.sums[i]}, err
				}
			default:
				m.Open = open
			}
			at += m.Size
			if err := l.member(m); err != nil {
				return err
			}
		}
	}
	if err := skip(); err != nil {
		return err
	}
	if file < files {
		l.damaged() // it names files that are in no stream
	}
	return nil
}

// The methods of coders.
const (
	sevenCopy    = 0x00
	sevenDelta   = 0x03
	sevenX86     = 0x04
	sevenPPC     = 0x05
	sevenARM     = 0x07
	sevenARMT    = 0x08
	sevenSPARC   = 0x09
	sevenARM64   = 0x0A
	sevenLZMA2   = 0x21
	sevenLZMA    = 0x030101
	sevenBCJ     = 0x03030103
	sevenBCJ2    = 0x0303011B
	sevenBCJPPC  = 0x03030205
	sevenBCJARM  = 0x03030501
	sevenBCJARMT = 0x03030701
	sevenBCJSPRC = 0x03030805
	sevenDeflate = 0x040108
	sevenDefl64  = 0x040109
	sevenBZip2   = 0x040202
	sevenZstd    = 0x04F71101
	sevenLz4     = 0x04F71104
	sevenAES     = 0x06F10701
)

var sevenFilters = map[uint64]uint64{sevenDelta: 3, sevenX86: 4, sevenBCJ: 4, sevenPPC: 5, sevenBCJPPC: 5, sevenARM: 7, sevenBCJARM: 7,
	sevenARMT: 8, sevenBCJARMT: 8, sevenSPARC: 9, sevenBCJSPRC: 9, sevenARM64: 10}

// unknown reports whether a folder has a coder that is not known here, or one that needs a key.
func (f *sevenFolder) unknown() (unknown, locked bool) {
	for _, c := range f.coders {
		switch c.method {
		case sevenAES:
			locked = true
		case sevenCopy, sevenLZMA, sevenLZMA2, sevenDeflate, sevenDefl64, sevenBZip2, sevenZstd, sevenLz4, sevenBCJ2:
		default:
			if _, filter := sevenFilters[c.method]; !filter {
				unknown = true
			}
		}
	}
	return unknown, locked
}

// raw is a packed stream as it lies in the archive.
func (s *sevenStreams) raw(c *Content, i int) (io.Reader, error) {
	at := 32 + s.at
	if i >= len(s.sizes) {
		return nil, ErrMalformed
	}
	for _, n := range s.sizes[:i] {
		if n > uint64(c.Size) {
			return nil, ErrMalformed
		}
		at += int64(n)
	}
	if at < 32 || at > c.Size || s.sizes[i] > uint64(c.Size-at) {
		return nil, ErrMalformed
	}
	return c.section(at, int64(s.sizes[i])), nil
}

// unpack begins the last output of a folder.
func (s *sevenStreams) unpack(c *Content, f *sevenFolder) (io.Reader, error) {
	r, err := s.output(c, f, f.main, 0)
	if err != nil {
		return nil, err
	}
	return io.LimitReader(r, int64(min(f.sizes[f.main], 1<<62))), nil
}

// output begins an output stream, and what it is made of.
func (s *sevenStreams) output(c *Content, f *sevenFolder, out, depth int) (io.Reader, error) {
	if depth > sevenMaxCoders {
		return nil, ErrMalformed // coders in a circle
	}
	i := slices.IndexFunc(f.coders, func(c sevenCoder) bool { return c.firstO <= out && out < c.firstO+c.outs })
	if i < 0 || f.coders[i].outs != 1 {
		return nil, errUnknown
	}
	coder := &f.coders[i]
	var ins []io.Reader
	for in := coder.firstIn; in < coder.firstIn+coder.ins; in++ {
		if b := slices.IndexFunc(f.bonds, func(b [2]int) bool { return b[0] == in }); b >= 0 {
			r, err := s.output(c, f, f.bonds[b][1], depth+1)
			if err != nil {
				return nil, err
			}
			ins = append(ins, r)
			continue
		}
		p := slices.Index(f.packed, in)
		if p < 0 {
			return nil, ErrMalformed
		}
		r, err := s.raw(c, f.first+p)
		if err != nil {
			return nil, err
		}
		ins = append(ins, bufio.NewReaderSize(r, 32<<10))
	}
	return coder.begin(ins, int64(min(f.sizes[out], 1<<62)))
}

// begin begins a coder.
func (c *sevenCoder) begin(ins []io.Reader, size int64) (io.Reader, error) {
	if c.method == sevenBCJ2 {
		if len(ins) != 4 {
			return nil, ErrMalformed
		}
		return newBCJ2(ins), nil
	}
	if len(ins) != 1 {
		return nil, ErrMalformed
	}
	src := bufio.NewReaderSize(ins[0], 4<<10)
	switch c.method {
	case sevenCopy:
		return ins[0], nil
	case sevenLZMA:
		if len(c.props) != 5 {
			return nil, ErrMalformed
		}
		return lzma.NewReader(ins[0], c.props[0], le.Uint32(c.props[1:]), size)
	case sevenLZMA2:
		if len(c.props) != 1 || c.props[0] > 40 {
			return nil, ErrMalformed
		}
		return lzma.NewReader2(src, dictSize2(c.props[0])), nil
	case sevenDeflate:
		return flate.NewReader(src), nil
	case sevenDefl64:
		return lz.NewDeflate64(src), nil
	case sevenBZip2:
		return bzip2.NewReader(src), nil
	case sevenZstd:
		return unzstd(src)
	case sevenLz4:
		return lz4.NewReader(src), nil
	case sevenAES:
		return nil, errEncrypted
	}
	if id, ok := sevenFilters[c.method]; ok {
		return xzFilter(coderSpec{id, c.props}, ins[0])
	}
	return nil, errUnknown
}
