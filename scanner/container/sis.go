package container

import (
	"bufio"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// SIS, the installation files of Symbian OS 9: nested fields of a type, a length and a value, in which files lie in the order of
// the controller that names them ("Symbian OS v9.x SIS File Format Specification"). Names are left out: what matters is what a
// file holds. Those of earlier versions are known by their number, and told as packed content.
const (
	sisMagic      = "\x7A\x1A\x20\x10"
	sisOld        = "\x19\x04\x00\x10"
	sisArray      = 2
	sisCompressed = 3
	sisMaxDepth   = 16
)

// sisHolds are the types that hold other fields.
var sisHolds = map[uint32]bool{12: true, 30: true, 31: true, 32: true}

func isSis(c *Content) bool { return c.has(0, sisMagic) || c.has(8, sisOld) }

func openSis(c *Content, l *layer) error {
	if !c.has(0, sisMagic) {
		return errUnknown
	}
	n := 0
	return l.sis(c, 16, c.Size, 0, &n)
}

// sis walks over the fields in a range.
func (l *layer) sis(c *Content, at, end int64, depth int, n *int) error {
	if depth > sisMaxDepth {
		return ErrMalformed
	}
	for at+8 <= end {
		h := c.piece(at, 8)
		if h == nil {
			return ErrUnread
		}
		kind := le.Uint32(h)
		size, data := sisLength(c, at+4)
		if size < 0 || size > end-data {
			return ErrMalformed
		}
		if err := l.sisField(c, kind, data, size, depth, n); err != nil {
			return err
		}
		at = (data + size + 3) &^ 3
	}
	return nil
}

// sisLength reads a length, of which the highest bit says that it has 63 bits.
func sisLength(c *Content, at int64) (size, data int64) {
	h := c.piece(at, 4)
	if h == nil {
		return -1, at
	}
	if size = int64(le.Uint32(h)); size < 1<<31 {
		return size, at + 4
	}
	if h = c.piece(at, 8); h == nil {
		return -1, at
	}
	return int64(le.Uint64(h) >> 32), at + 8
}

func (l *layer) sisField(c *Content, kind uint32, data, size int64, depth int, n *int) error {
	switch {
	case sisHolds[kind]:
		return l.sis(c, data, data+size, depth+1, n)
	case kind == sisArray:
		t := c.piece(data, 4)
		if t == nil {
			return ErrMalformed
		}
		of := le.Uint32(t)
		for at, end := data+4, data+size; at+4 <= end; {
			length, inner := sisLength(c, at)
			if length < 0 || length > end-inner {
				return ErrMalformed
			}
			if err := l.sisField(c, of, inner, length, depth+1, n); err != nil {
				return err
			}
			at = (inner + length + 3) &^ 3
		}
		return nil
	case kind != sisCompressed:
		return l.count()
	}
	h := c.piece(data, 12)
	if h == nil {
		return ErrMalformed
	}
	*n++
	packed := c.section(data+12, size-12)
	m := Member{Name: fmt.Sprintf("file %d", *n), Size: int64(le.Uint64(h[4:]) & (1<<62 - 1))}
	open := func() *bufio.Reader {
		return bufio.NewReaderSize(io.NewSectionReader(packed, 0, packed.Size()), 16<<10)
	}
	switch le.Uint32(h) {
	case 0:
		m.Open = func() (io.Reader, error) { return open(), nil }
	case 1:
		m.Open = func() (io.Reader, error) { return zlib.NewReader(open()) }
	default:
		m.Unknown, m.Open = true, func() (io.Reader, error) { return open(), nil }
	}
	return l.member(m)
}
