package container

import (
	"bufio"
	"io"
	"strings"

	"pratique/scanner/container/lz"
)

// CHM, Microsoft's compiled help: a directory in chunks, files as they are, and files in one stream of LZX that begins anew
// at intervals. https://www.nongnu.org/chmspec/latest/
const (
	chmMagic      = "ITSF"
	chmMaxChunk   = 64 << 10
	chmStorage    = "::DataSpace/Storage/MSCompressed/"
	chmReset      = chmStorage + "Transform/{7FC28940-9D31-11D0-9B27-00A0C91E9C7C}/InstanceData/ResetTable"
	chmFrame      = 32 << 10
	chmCompressed = 1 // the section of the stream
)

func isChm(c *Content) bool {
	h := c.piece(0, 0x60)
	return h != nil && string(h[:4]) == chmMagic && le.Uint32(h[4:]) >= 2 && le.Uint32(h[4:]) <= 4
}

// chmFile is an entry of the directory.
type chmFile struct {
	name             string
	section, at, len int64
}

func openChm(c *Content, l *layer) error {
	h := c.piece(0, 0x60)
	base := int64(le.Uint64(h[0x58:]))
	if le.Uint32(h[4:]) < 3 {
		base = int64(le.Uint64(h[0x48:])) + int64(le.Uint64(h[0x50:]))
	}
	files, err := chmFiles(c, int64(le.Uint64(h[0x48:])), l)
	if err != nil {
		return err
	}
	var stream *solid
	for _, f := range files {
		if f.name == chmStorage+"Content" {
			if stream, err = chmStream(c, l, base, files, f); err != nil {
				l.damaged()
			}
		}
	}
	for _, f := range files {
		if strings.HasSuffix(f.name, "/") || f.name == chmStorage+"Content" {
			continue
		}
		m := Member{Name: strings.TrimLeft(strings.TrimPrefix(f.name, "::"), "/"), Size: f.len}
		switch {
		case f.section == 0:
			data := c.section(base+f.at, f.len)
			m.At, m.Open = data, func() (io.Reader, error) { return io.NewSectionReader(data, 0, data.Size()), nil }
		case f.section == chmCompressed && stream != nil:
			m.Open = stream.member(f.at, f.len)
		default:
			l.damaged()
			continue
		}
		if err := l.member(m); err != nil {
			return err
		}
	}
	return nil
}

// chmFiles reads the directory, chunk by chunk, whatever they say of their order.
func chmFiles(c *Content, at int64, l *layer) (files []chmFile, err error) {
	h := c.piece(at, 0x54)
	if h == nil || string(h[:4]) != "ITSP" {
		return nil, ErrMalformed
	}
	size, chunks := int64(le.Uint32(h[0x10:])), int64(le.Uint32(h[0x2C:]))
	if size < 0x20 || size > chmMaxChunk {
		return nil, ErrMalformed
	}
	at += int64(le.Uint32(h[8:]))
	for range min(chunks, c.Size/size+1) {
		b := c.piece(at, size)
		if b == nil {
			l.damaged()
			break
		}
		at += size
		if string(b[:4]) != "PMGL" {
			continue // an index of the others
		}
		free := int64(le.Uint32(b[4:]))
		if free > size-0x14 {
			return nil, ErrMalformed
		}
		for f := (fields{b: b[0x14 : size-free]}); len(f.b) > 0; {
			name := f.take(f.encint())
			e := chmFile{string(name), int64(f.encint()), int64(f.encint()), int64(f.encint())}
			if f.bad {
				l.damaged()
				break
			}
			if files = append(files, e); len(files) > MaxMembers {
				return nil, l.stop(tooMany)
			}
		}
	}
	return files, nil
}

// encint is a number of seven bits a byte, the highest first.
func (f *fields) encint() (v uint64) {
	for range 9 {
		b := f.u8()
		v = v<<7 | uint64(b&0x7F)
		if b&0x80 == 0 {
			return v
		}
	}
	f.bad = true
	return 0
}

// chmStream finds what the LZX stream is read with.
func chmStream(c *Content, l *layer, base int64, files []chmFile, content chmFile) (*solid, error) {
	var control, reset []byte
	for _, f := range files {
		switch f.name {
		case chmStorage + "ControlData":
			control = c.piece(base+f.at, min(f.len, 0x1C))
		case chmReset:
			reset = c.piece(base+f.at, min(f.len, 0x28))
		}
	}
	if len(control) < 0x18 || len(reset) < 0x28 || string(control[4:8]) != "LZXC" {
		return nil, ErrMalformed
	}
	interval, window := int64(le.Uint32(control[12:])), int64(le.Uint32(control[16:]))
	if le.Uint32(control[8:]) == 2 {
		interval, window = interval*chmFrame, window*chmFrame
	}
	size, bits := int64(le.Uint64(reset[0x10:])), uint(0)
	for window > 1<<bits && bits < 32 {
		bits++
	}
	if window != 1<<bits || size < 0 {
		return nil, ErrMalformed
	}
	return &solid{walk: l.walk, open: func() (io.Reader, error) {
		return lz.NewLZX(bufio.NewReaderSize(c.section(base+content.at, content.len), 64<<10), bits, size, interval)
	}}, nil
}
