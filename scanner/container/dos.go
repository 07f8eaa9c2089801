package container

import (
	"bufio"
	"hash/crc32"
	"io"
	"strings"

	"pratique/scanner/container/lz"
	"pratique/scanner/report"
)

// Archives of the time of DOS: ARJ and LHA.

const (
	arjMagic     = "\x60\xEA"
	arjMaxHeader = 2600
	arjGarbled   = 1
	arjVolume    = 4
	arjExtended  = 8
)

// arjHeader reads the header at a place: https://github.com/FarGroup/FarManager/blob/master/plugins/multiarc/arc.doc/arj.txt is
// the copy of its TECHNOTE that is left.
func arjHeader(c *Content, at int64) (h []byte, next int64, ok bool) {
	b := c.piece(at, 4)
	if b == nil || string(b[:2]) != arjMagic {
		return nil, 0, false
	}
	n := int64(le.Uint16(b[2:]))
	if n == 0 {
		return nil, at + 4, true // the end
	}
	if n < 30 || n > arjMaxHeader {
		return nil, 0, false
	}
	h, sum := c.piece(at+4, n), c.piece(at+4+n, 4)
	if h == nil || sum == nil || crc32.ChecksumIEEE(h) != le.Uint32(sum) || int(h[0]) > len(h) {
		return nil, 0, false
	}
	for next = at + 4 + n + 4; ; {
		e := c.piece(next, 2)
		if e == nil {
			return nil, 0, false
		}
		next += 2
		if size := int64(le.Uint16(e)); size == 0 {
			return h, next, true
		} else {
			next += size + 4
		}
	}
}

func isArj(c *Content) bool {
	h, _, ok := arjHeader(c, 0)
	return ok && h != nil
}

func openArj(c *Content, l *layer) error {
	_, at, _ := arjHeader(c, 0)
	for {
		h, next, ok := arjHeader(c, at)
		if !ok {
			return ErrMalformed
		}
		if h == nil {
			return nil
		}
		packed, size, flags, method, kind := int64(le.Uint32(h[12:])), int64(le.Uint32(h[16:])), h[4], h[5], h[6]
		name := zipName([]byte(cString(h[h[0]:])), 0)
		if packed > c.Size-next {
			l.damaged()
		}
		data := c.section(next, packed)
		at = next + packed
		m := Member{Name: name, Size: size}
		src := func() *bufio.Reader { return bufio.NewReaderSize(io.NewSectionReader(data, 0, data.Size()), 16<<10) }
		switch {
		case flags&arjGarbled != 0:
			m.Outcome = report.Encrypted
		case kind == 3 && packed == 0:
		case method == 0:
			m.At, m.Open = data, func() (io.Reader, error) { return io.NewSectionReader(data, 0, data.Size()), nil }
		case method <= 3:
			m.Open = func() (io.Reader, error) { return lz.NewLZH(src(), lz.ARJ, size), nil }
		case method == 4:
			m.Open = func() (io.Reader, error) { return lz.NewLZH(src(), lz.ARJ4, size), nil }
		default:
			m.Unknown, m.Open = true, func() (io.Reader, error) { return src(), nil }
		}
		if flags&(arjVolume|arjExtended) != 0 {
			l.damaged() // a part of it is in another volume
		}
		if err := l.member(m); err != nil {
			return err
		}
	}
}

// lhaHeader is one header of LHA, of any of its four levels.
type lhaHeader struct {
	method, name string
	packed, size int64
	data         int64
}

var lhaMethods = map[string]lz.Method{"-lh1-": lz.LH1, "-lh4-": lz.LH4, "-lh5-": lz.LH5, "-lh6-": lz.LH6, "-lh7-": lz.LH7}

func lhaAt(c *Content, at int64) (h lhaHeader, ok bool) {
	b := c.piece(at, 26)
	if b == nil {
		b = append(append([]byte(nil), c.piece(at, min(24, c.Size-at))...), make([]byte, 26)...)[:26]
	}
	h = lhaHeader{method: string(b[2:7]), packed: int64(le.Uint32(b[7:])), size: int64(le.Uint32(b[11:]))}
	if b[2] != '-' || b[6] != '-' || b[3] != 'l' && b[3] != 'p' {
		return h, false
	}
	var dir, file string
	wide := int64(2)
	next := int64(0) // size of the next extension
	switch b[20] {
	case 0, 1:
		base := c.piece(at+2, int64(b[0]))
		if len(base) < 20 || int(base[19]) > len(base)-20 {
			return h, false
		}
		sum := byte(0)
		for _, v := range base {
			sum += v
		}
		if sum != b[1] {
			return h, false
		}
		file = string(base[20 : 20+int(base[19])])
		at += 2 + int64(b[0])
		if b[20] == 1 {
			next = int64(le.Uint16(base[len(base)-2:]))
		}
	case 2:
		next = int64(le.Uint16(b[24:]))
		h.data = at + int64(le.Uint16(b))
		at += 26
	case 3:
		size := c.piece(at+24, 8)
		if size == nil || le.Uint16(b) != 4 {
			return h, false
		}
		h.data, next, wide = at+int64(le.Uint32(size)), int64(le.Uint32(size[4:])), 4
		at += 32
	default:
		return h, false
	}
	for range 256 {
		if next < wide+1 {
			break
		}
		e := c.piece(at, next)
		if e == nil {
			return h, false
		}
		body := e[1 : next-wide]
		switch e[0] {
		case 1:
			file = string(body)
		case 2:
			dir = strings.ReplaceAll(string(body), "\xFF", "/")
		}
		at += next
		if b[20] == 1 {
			h.packed -= next
		}
		if next = int64(le.Uint16(e[next-wide:])); wide == 4 {
			next = int64(le.Uint32(e[len(e)-4:]))
		}
	}
	if h.data == 0 {
		h.data = at
	}
	if dir != "" && !strings.HasSuffix(dir, "/") {
		dir += "/"
	}
	h.name = zipName([]byte(dir+strings.ReplaceAll(file, "\xFF", "/")), 0)
	return h, h.packed >= 0
}

func isLha(c *Content) bool {
	_, ok := lhaAt(c, 0)
	return ok
}

func openLha(c *Content, l *layer) error {
	for at := int64(0); at < c.Size; {
		if b := c.piece(at, 1); b != nil && b[0] == 0 {
			return nil
		}
		h, ok := lhaAt(c, at)
		if !ok {
			return ErrMalformed
		}
		if h.packed > c.Size-h.data {
			l.damaged()
		}
		data := c.section(h.data, h.packed)
		at = h.data + h.packed
		m := Member{Name: h.name, Size: h.size}
		method, known := lhaMethods[h.method]
		switch {
		case h.method == "-lhd-":
		case h.method == "-lh0-" || h.method == "-lz4-" || h.method == "-pm0-":
			m.At, m.Open = data, func() (io.Reader, error) { return io.NewSectionReader(data, 0, data.Size()), nil }
		case known:
			m.Open = func() (io.Reader, error) {
				return lz.NewLZH(bufio.NewReaderSize(io.NewSectionReader(data, 0, data.Size()), 16<<10), method, h.size), nil
			}
		default:
			m.Unknown, m.Open = true, func() (io.Reader, error) { return io.NewSectionReader(data, 0, data.Size()), nil }
		}
		if err := l.member(m); err != nil {
			return err
		}
	}
	return nil
}
