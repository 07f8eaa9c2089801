package container

import (
	"io"
	"strconv"
	"strings"
)

// Archives of Unix: ar, which Debian's packages are, cpio, and rpm, which is a cpio with headers before it.

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

func isAr(c *Content) bool { return c.has(0, arMagic) || c.has(0, "!<thin>\n") }

// openAr follows ar(5), with the long names of System V (a table in the member "//") and of BSD (before the content).
func openAr(c *Content, l *layer) error {
	if c.has(0, "!<thin>\n") {
		return nil // it names files and holds none
	}
	var names []byte
	for at := int64(len(arMagic)); at < c.Size; {
		h := c.piece(at, arHeader)
		if h == nil || string(h[58:]) != "`\n" {
			if c.Size-at == 1 {
				return nil
			}
			return ErrMalformed
		}
		size, err := strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 48)
		if err != nil || size < 0 {
			return ErrMalformed
		}
		at += arHeader
		if size > c.Size-at {
			l.damaged()
		}
		name := strings.TrimRight(string(h[:16]), " ")
		data := c.section(at, size)
		at += size + size&1
		switch {
		case name == "//":
			if names = c.piece(at-size-size&1, size); names == nil {
				l.damaged()
			}
			continue
		case name == "/" || name == "/SYM64/" || strings.HasPrefix(name, "__.SYMDEF"):
		case strings.HasPrefix(name, "#1/"):
			n, err := strconv.ParseInt(name[3:], 10, 32)
			if err != nil || n < 0 || n > data.Size() || n > maxText {
				return ErrMalformed
			}
			b := make([]byte, n)
			if _, err := io.ReadFull(data, b); err != nil {
				return ErrUnread
			}
			name, data = cString(b), io.NewSectionReader(data, n, data.Size()-n)
			size -= n
		case strings.HasPrefix(name, "/"):
			n, err := strconv.Atoi(name[1:])
			if err != nil || n < 0 || n >= len(names) {
				l.damaged()
				break
			}
			name, _, _ = strings.Cut(string(names[n:]), "\n")
			name = strings.TrimSuffix(name, "/")
		default:
			name = strings.TrimSuffix(name, "/")
		}
		if strings.HasPrefix(name, "/") {
			name = "index" // of symbols: content all the same
		}
		if err := l.member(Member{Name: name, Size: size, At: data, Open: func() (io.Reader, error) {
			return io.NewSectionReader(data, 0, data.Size()), nil
		}}); err != nil {
			return err
		}
	}
	return nil
}

// cpio, after cpio(5): the portable formats in octal and in hexadecimal digits, and the old binary one in both byte orders.
type cpioHeader struct {
	name       string
	size       int64
	data, next int64
	link       bool
}

const (
	cpioTrailer = "TRAILER!!!"
	cpioMaxName = 32 << 10
)

func isCpio(c *Content) bool {
	if c.has(0, "070701") || c.has(0, "070702") || c.has(0, "070707") {
		_, ok := cpioAt(c, 0)
		return ok
	}
	if c.has(0, "\xC7\x71") || c.has(0, "\x71\xC7") {
		h, ok := cpioAt(c, 0)
		return ok && h.name != ""
	}
	return false
}

// cpioAt reads the header at a place.
func cpioAt(c *Content, at int64) (h cpioHeader, ok bool) {
	var names, mode int64
	align, head := int64(1), int64(0)
	number := func(b []byte, base int) int64 {
		v, err := strconv.ParseInt(strings.TrimSpace(string(b)), base, 63)
		if err != nil {
			ok = false
		}
		return v
	}
	ok = true
	b := c.piece(at, 26)
	switch {
	case b == nil:
		return h, false
	case string(b[:6]) == "070701" || string(b[:6]) == "070702":
		if b = c.piece(at, 110); b == nil {
			return h, false
		}
		mode, h.size, names = number(b[14:22], 16), number(b[54:62], 16), number(b[94:102], 16)
		align, head = 4, 110
	case string(b[:6]) == "070707":
		if b = c.piece(at, 76); b == nil {
			return h, false
		}
		mode, names, h.size = number(b[18:24], 8), number(b[59:65], 8), number(b[65:76], 8)
		head = 76
	case be.Uint16(b) == 0o070707 || le.Uint16(b) == 0o070707:
		order := be.Uint16
		if le.Uint16(b) == 0o070707 {
			order = le.Uint16
		}
		mode, names = int64(order(b[6:])), int64(order(b[20:]))
		h.size = int64(order(b[22:]))<<16 | int64(order(b[24:]))
		align, head = 2, 26
	default:
		return h, false
	}
	if !ok || names < 1 || names > cpioMaxName || h.size < 0 {
		return h, false
	}
	name := c.piece(at+head, names)
	if name == nil || name[names-1] != 0 {
		return h, false
	}
	up := func(v int64) int64 { return (v + align - 1) / align * align }
	h.name = cString(name)
	h.data = at + up(head+names)
	if align == 2 {
		h.data = at + head + up(names)
	}
	h.next = h.data + up(h.size)
	h.link = mode&0o170000 == 0o120000
	return h, true
}

func openCpio(c *Content, l *layer) error {
	for at := int64(0); ; {
		h, ok := cpioAt(c, at)
		if !ok {
			return ErrMalformed
		}
		if h.name == cpioTrailer && h.size == 0 {
			// Behind the end of one archive the next may begin, as in an initial ramdisk.
			at = h.next
			for ; at < c.Size; at++ {
				if b := c.piece(at, min(4096, c.Size-at)); b == nil {
					return ErrUnread
				} else if i := strings.IndexFunc(string(b), func(r rune) bool { return r != 0 }); i < 0 {
					at += int64(len(b)) - 1
				} else {
					at += int64(i)
					break
				}
			}
			if at >= c.Size {
				return nil
			}
			if _, ok := cpioAt(c, at); ok {
				continue
			}
			rest := c.section(at, c.Size-at)
			return l.member(Member{Name: "behind the archive", Size: rest.Size(), Hidden: true, At: rest, Open: func() (io.Reader, error) {
				return io.NewSectionReader(rest, 0, rest.Size()), nil
			}})
		}
		if h.size > c.Size-h.data {
			l.damaged()
		}
		data := c.section(h.data, h.size)
		m := Member{Name: h.name, Size: h.size}
		if h.size > 0 && !h.link {
			m.At = data
		}
		if h.size > 0 || !h.link {
			m.Open = func() (io.Reader, error) { return io.NewSectionReader(data, 0, data.Size()), nil }
		}
		if h.link {
			m.Open, m.At = nil, nil
		}
		if err := l.member(m); err != nil {
			return err
		}
		at = h.next
	}
}

// rpm: a lead of 96 bytes, two headers of tags, and the archive, packed by itself.
// https://rpm-software-management.github.io/rpm/manual/format_v4.html
func isRpm(c *Content) bool { return c.has(0, "\xED\xAB\xEE\xDB") }

func openRpm(c *Content, l *layer) error {
	at := int64(96)
	for i := range 2 {
		h := c.piece(at, 16)
		if h == nil || string(h[:3]) != "\x8E\xAD\xE8" {
			return ErrMalformed
		}
		at += 16 + 16*int64(be.Uint32(h[8:])) + int64(be.Uint32(h[12:]))
		if i == 0 {
			at = (at + 7) &^ 7
		}
	}
	if at >= c.Size {
		return ErrMalformed
	}
	data := c.section(at, c.Size-at)
	return l.member(Member{Name: "payload", Size: data.Size(), At: data, Open: func() (io.Reader, error) {
		return io.NewSectionReader(data, 0, data.Size()), nil
	}})
}
