package container

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/flate"

	"pratique/scanner/report"
)

// Cabinets of InstallShield 5 and later, as https://github.com/twogood/unshield has found them out. A set is a header with a
// table of all files (data1.hdr) and volumes with their data (data1.cab and so on); the first volume can have the table itself.
// Each file is a row of chunks, two bytes of length and deflate without a frame each, and may be obfuscated.
//
// One file of the medium is opened at a time: a table opens what lies in the same file, and what it places in another volume
// is told as packed; so is a volume without a table.
const (
	shieldMagic  = "ISc("
	shieldHeader = 20
	shieldVolume = 64 // the header behind that, of which only the place of the data is needed here
	shieldTable  = 0x30
	shieldOld    = 0x3A // a file in the tables of version 5
	shieldNew    = 0x57 // and of later ones
	// The flags of a file.
	shieldSplit      = 1
	shieldObfuscated = 2
	shieldCompressed = 4
	shieldInvalid    = 8
)

func isShield(c *Content) bool { return c.has(0, shieldMagic) && c.Size >= shieldHeader+shieldVolume }

// shieldFile is what the table says of a file.
type shieldFile struct {
	name         string
	flags        uint16
	size, packed uint64
	at           uint64
	volume       uint16
}

func openShield(c *Content, l *layer) error {
	h := c.piece(0, shieldHeader+8)
	if h == nil {
		return ErrMalformed
	}
	at, size := int64(le.Uint32(h[12:])), int64(le.Uint32(h[16:]))
	version, major := le.Uint32(h[4:]), uint32(0)
	switch version >> 24 {
	case 1:
		major = version >> 12 & 15
	case 2, 4:
		major = version & 0xFFFF / 100
	}
	d := c.piece(at, shieldTable)
	if at < shieldHeader || size < shieldTable || d == nil {
		return errUnknown // the table is in another file
	}
	list := at + int64(le.Uint32(d[12:]))
	folders, files := int64(le.Uint32(d[28:])), int64(le.Uint32(d[40:]))
	if files > MaxMembers {
		return l.stop(tooMany)
	}
	for i := range files {
		f, ok := shieldOldFile(c, list, folders+i)
		if major > 5 {
			f, ok = shieldNewFile(c, list, list+int64(le.Uint32(d[44:]))+i*shieldNew)
		}
		if !ok {
			l.damaged()
			if err := l.count(); err != nil {
				return err
			}
			continue
		}
		if f.at < uint64(at+size) && f.at+min(f.size, f.packed) > uint64(at) {
			f.volume = 0xFFFF // this is the file with the table alone
		}
		if err := l.shield(c, &f); err != nil {
			return err
		}
	}
	return nil
}

// shieldText is a name in the table.
func shieldText(c *Content, at int64) (string, bool) {
	text, err := terminated(bufio.NewReaderSize(c.section(at, maxText), 512))
	return zipName([]byte(text), 0), err == nil
}

func shieldOldFile(c *Content, list, i int64) (f shieldFile, ok bool) {
	place := c.piece(list+4*i, 4)
	if place == nil {
		return f, false
	}
	b := c.piece(list+int64(le.Uint32(place)), shieldOld)
	if b == nil {
		return f, false
	}
	f = shieldFile{flags: le.Uint16(b[8:]), size: uint64(le.Uint32(b[10:])), packed: uint64(le.Uint32(b[14:])), at: uint64(le.Uint32(b[38:])), volume: 1}
	f.name, ok = shieldText(c, list+int64(le.Uint32(b)))
	return f, ok
}

func shieldNewFile(c *Content, list, at int64) (f shieldFile, ok bool) {
	b := c.piece(at, shieldNew)
	if b == nil {
		return f, false
	}
	f = shieldFile{flags: le.Uint16(b), size: le.Uint64(b[2:]), packed: le.Uint64(b[10:]), at: le.Uint64(b[18:]), volume: le.Uint16(b[85:])}
	f.name, ok = shieldText(c, list+int64(le.Uint32(b[58:])))
	return f, ok
}

// shield hands one file on.
func (l *layer) shield(c *Content, f *shieldFile) error {
	if f.flags&shieldInvalid != 0 || f.name == "" && f.size == 0 {
		return l.count() // an empty place
	}
	n := f.size
	if f.flags&shieldCompressed != 0 {
		n = f.packed
	}
	if f.at < shieldHeader || f.at > uint64(c.Size) || n > uint64(c.Size)-f.at || f.flags&shieldSplit != 0 || f.volume > 1 {
		return l.member(Member{Name: f.name, Size: -1, Unknown: true, Open: func() (io.Reader, error) {
			return c.section(int64(min(f.at, uint64(c.Size))), int64(min(n, uint64(c.Size)))), nil
		}})
	}
	m := Member{Name: f.name, Size: int64(f.size)}
	if m.Size < 0 {
		m.Size, m.Outcome = -1, report.Malformed
	}
	m.Open = func() (io.Reader, error) {
		var r io.Reader = bufio.NewReaderSize(c.section(int64(f.at), int64(n)), 16<<10)
		if f.flags&shieldObfuscated != 0 {
			r = &shieldPlain{r: r}
		}
		if f.flags&shieldCompressed != 0 {
			r = &shieldChunks{r: bufio.NewReaderSize(r, 16<<10)}
		}
		return r, nil
	}
	return l.member(m)
}

// shieldPlain undoes what hides a file from a look at it: each byte is turned by two bits, and the place added to it.
type shieldPlain struct {
	r    io.Reader
	seed byte // the place in rounds of 0x47
}

func (s *shieldPlain) Read(p []byte) (int, error) {
	const round = 0x47
	n, err := s.r.Read(p)
	for i := range p[:max(0, min(n, len(p)))] {
		b := p[i] ^ 0xD5
		p[i] = (b>>2 | b<<6) - s.seed
		if s.seed++; s.seed == round {
			s.seed = 0
		}
	}
	return n, err
}

// shieldChunks unpacks chunk by chunk.
type shieldChunks struct {
	r     *bufio.Reader
	chunk io.LimitedReader
	out   io.ReadCloser
	begun bool
}

func (s *shieldChunks) Read(p []byte) (int, error) {
	for {
		if s.begun {
			n, err := s.out.Read(p)
			if n > 0 || err == nil {
				return n, nil // an end is told by the next call
			}
			if !ended(err) {
				return 0, err
			}
			// A chunk may end with its bytes and without the mark of deflate.
			if _, err := io.Copy(io.Discard, &s.chunk); err != nil {
				return 0, err
			}
			s.begun = false
		}
		var h [2]byte
		if _, err := io.ReadFull(s.r, h[:]); err != nil {
			return 0, err
		}
		s.chunk = io.LimitedReader{R: s.r, N: int64(le.Uint16(h[:]))}
		if s.chunk.N == 0 {
			return 0, ErrMalformed
		}
		src := bufio.NewReaderSize(&s.chunk, 4<<10)
		if s.out == nil {
			s.out = flate.NewReader(src)
		} else if err := s.out.(flate.Resetter).Reset(src, nil); err != nil {
			return 0, err
		}
		s.begun = true
	}
}
