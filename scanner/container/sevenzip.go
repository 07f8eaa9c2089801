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
