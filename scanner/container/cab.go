package container

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"slices"

	"github.com/klauspost/compress/flate"

	"pratique/scanner/container/lz"
)

// Cabinets, after [MS-CAB] (https://learn.microsoft.com/en-us/openspecs/exchange_server_protocols/ms-cab/). A folder is one
// stream in blocks; files are ranges of it. The parts of a file that lie in other cabinets cannot be seen from here.
const (
	cabMagic    = "MSCF\x00\x00\x00\x00"
	cabHeader   = 36
	cabPrev     = 1
	cabNext     = 2
	cabReserve  = 4
	cabUTF      = 0x80
	cabMaxBlock = 32768 + 6144 // of packed bytes
)

func isCab(c *Content) bool {
	h := c.piece(0, cabHeader)
	return h != nil && string(h[:8]) == cabMagic && h[25] == 1 && le.Uint32(h[16:]) < 1<<31
}

// cabFolder is one stream.
type cabFolder struct {
	at     int64 // of the first block
	blocks int
	method uint16
	spare  int64 // bytes behind the header of each block
	solid  *solid
	files  []cabFile
}

type cabFile struct {
	name     string
	at, size int64
}

func openCab(c *Content, l *layer) error {
	h := c.piece(0, cabHeader)
	folders, files, flags := int(le.Uint16(h[26:])), int(le.Uint16(h[28:])), le.Uint16(h[30:])
	at := int64(cabHeader)
	var spareFolder, spareBlock int64
	if flags&cabReserve != 0 {
		r := c.piece(at, 4)
		if r == nil {
			return ErrMalformed
		}
		spareFolder, spareBlock = int64(r[2]), int64(r[3])
		at += 4 + int64(le.Uint16(r))
	}
	for _, flag := range []uint16{cabPrev, cabNext} {
		for range 2 * int(flags&flag/flag) { // names of a cabinet and of a disk
			text, err := terminated(bufio.NewReaderSize(c.section(at, maxText), 512))
			if err != nil {
				return ErrMalformed
			}
			at += int64(len(text)) + 1
		}
	}
	all := make([]*cabFolder, 0, min(folders, 1024))
	for range folders {
		f := c.piece(at, 8)
		if f == nil {
			return ErrMalformed
		}
		folder := &cabFolder{at: int64(le.Uint32(f)), blocks: int(le.Uint16(f[4:])), method: le.Uint16(f[6:]), spare: spareBlock}
		folder.solid = &solid{walk: l.walk, open: func() (io.Reader, error) { return folder.unpack(c) }}
		all = append(all, folder)
		at += 8 + spareFolder
	}
	at = int64(le.Uint32(h[16:]))
	for range files {
		f := c.piece(at, 16)
		if f == nil {
			l.damaged()
			break
		}
		name, err := terminated(bufio.NewReaderSize(c.section(at+16, maxText), 512))
		if err != nil {
			l.damaged()
			break
		}
		at += 16 + int64(len(name)) + 1
		file := cabFile{zipName([]byte(name), 0), int64(le.Uint32(f[4:])), int64(le.Uint32(f))}
		switch i := int(le.Uint16(f[8:])); {
		case i < len(all):
			all[i].files = append(all[i].files, file)
		case i >= 0xFFFD: // it goes on in, or comes from, another cabinet
			if err := l.member(Member{Name: file.name, Size: -1, Unknown: true, Open: func() (io.Reader, error) { return bytes.NewReader(nil), nil }}); err != nil {
				return err
			}
		default:
			l.damaged()
		}
	}
	for _, folder := range all {
		slices.SortStableFunc(folder.files, func(a, b cabFile) int { return cmp.Compare(a.at, b.at) })
		if folder.method&0xF == 2 || folder.method&0xF > 3 { // Quantum, and what does not exist
			data := c.section(folder.at, c.Size-folder.at)
			if err := l.member(Member{Name: "packed files", Size: -1, Unknown: true, At: data, Open: func() (io.Reader, error) {
				return io.NewSectionReader(data, 0, data.Size()), nil
			}}); err != nil {
				return err
			}
			continue
		}
		for _, file := range folder.files {
			if err := l.member(Member{Name: file.name, Size: file.size, Open: folder.solid.member(file.at, file.size)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack begins the stream.
func (f *cabFolder) unpack(c *Content) (io.Reader, error) {
	blocks := &cabBlocks{c: c, at: f.at, left: f.blocks, spare: f.spare}
	switch f.method & 0xF {
	case 0:
		return &joined{blocks: blocks}, nil
	case 1:
		return newMSZIP(blocks), nil
	case 3:
		size, walk := int64(0), *blocks
		for {
			_, n, err := walk.header()
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
			size += int64(n)
		}
		return lz.NewLZX(bufio.NewReaderSize(&joined{blocks: blocks}, 64<<10), uint(f.method>>8&0x1F), size, 0)
	}
	return nil, errUnknown
}

// cabBlocks are the blocks of a folder.
type cabBlocks struct {
	c     *Content
	at    int64
	left  int
	spare int64
}

// header goes to the next block and returns where its packed bytes lie and how large it is unpacked.
func (b *cabBlocks) header() (data []int64, size int, err error) {
	if b.left == 0 {
		return nil, 0, io.EOF
	}
	b.left--
	h := b.c.piece(b.at, 8)
	if h == nil {
		return nil, 0, io.ErrUnexpectedEOF
	}
	packed, size := int64(le.Uint16(h[4:])), int(le.Uint16(h[6:]))
	if packed > cabMaxBlock {
		return nil, 0, ErrMalformed
	}
	at := b.at + 8 + b.spare
	b.at = at + packed
	return []int64{at, packed}, size, nil
}

func (b *cabBlocks) next() ([]byte, int, error) {
	data, size, err := b.header()
	if err != nil {
		return nil, 0, err
	}
	p := b.c.piece(data[0], data[1])
	if p == nil {
		return nil, 0, io.ErrUnexpectedEOF
	}
	return p, size, nil
}

// packedBlocks hands out packed blocks with their unpacked size, -1 where nothing says it.
type packedBlocks interface {
	next() (packed []byte, size int, err error)
}

// joined is the packed bytes of all blocks.
type joined struct {
	blocks packedBlocks
	rest   []byte
}

func (j *joined) Read(p []byte) (int, error) {
	for len(j.rest) == 0 {
		var err error
		if j.rest, _, err = j.blocks.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, j.rest)
	j.rest = j.rest[n:]
	return n, nil
}

// mszip unpacks blocks of "CK" and a deflate stream each, whose matches reach back into the block before ([MS-MCI]).
type mszip struct {
	blocks packedBlocks
	flate  io.ReadCloser
	last   []byte
	out    []byte
	err    error
}

const mszipBlock = 32768

func newMSZIP(blocks packedBlocks) *mszip { return &mszip{blocks: blocks} }

func (m *mszip) Read(p []byte) (int, error) {
	for len(m.out) == 0 {
		if m.err != nil {
			return 0, m.err
		}
		m.err = m.block()
	}
	n := copy(p, m.out)
	m.out = m.out[n:]
	return n, nil
}

func (m *mszip) block() error {
	b, size, err := m.blocks.next()
	if err != nil {
		return err
	}
	if len(b) < 2 || string(b[:2]) != "CK" {
		return ErrMalformed
	}
	src := bytes.NewReader(b[2:])
	if m.flate == nil {
		m.flate = flate.NewReaderDict(src, m.last)
	} else if err := m.flate.(flate.Resetter).Reset(src, m.last); err != nil {
		return err
	}
	out := make([]byte, mszipBlock+1)
	n, err := io.ReadFull(m.flate, out)
	m.out = out[:n]
	m.last = m.out
	switch {
	case n > mszipBlock || size >= 0 && n != size:
		return ErrMalformed
	case err == nil, err == io.EOF, err == io.ErrUnexpectedEOF: // the block may end with its last byte
		return nil
	}
	return err
}
