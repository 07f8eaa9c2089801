package container

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// TAR: POSIX.1-1988 (ustar) and -2001 (pax, https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html), GNU's long
// names and sparse files (https://www.gnu.org/software/tar/manual/html_node/Standard.html), and the seventh Unix's, which
// has no signature but its checksum. Headers behind the end mark count: half of the unpackers go on there.
const (
	tarBlock = 512
	// maxTarMeta bounds a long name or a set of pax records.
	maxTarMeta = 1 << 20
	// maxTarPieces bounds the pieces of a sparse file.
	maxTarPieces = 100_000
)

// tarHeader is one header.
type tarHeader struct {
	name, link string
	size       int64
	kind       byte
	gnu, ustar bool
	block      []byte
}

// tarNumber is a number in octal digits, or in binary with the highest bit set.
func tarNumber(b []byte) (int64, bool) {
	if b[0]&0x80 != 0 {
		v := int64(b[0] & 0x3F)
		if b[0]&0x40 != 0 {
			return 0, false
		}
		for _, c := range b[1:] {
			if v >= 1<<54 {
				return 0, false
			}
			v = v<<8 | int64(c)
		}
		return v, true
	}
	text := strings.Trim(string(b), " \x00")
	if text == "" {
		return 0, true
	}
	text, _, _ = strings.Cut(text, "\x00")
	v, err := strconv.ParseInt(strings.TrimRight(text, " "), 8, 63)
	return v, err == nil
}

// parseTar reads a block as a header; its checksum must hold.
func parseTar(b []byte) (h tarHeader, ok bool) {
	want, good := tarNumber(b[148:156])
	if !good || want <= 0 {
		return h, false
	}
	unsigned, signed := int64(0), int64(0)
	for i, c := range b[:tarBlock] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned, signed = unsigned+int64(c), signed+int64(int8(c))
	}
	if want != unsigned && want != signed {
		return h, false
	}
	h = tarHeader{kind: b[156], block: b, ustar: string(b[257:262]) == "ustar"}
	h.gnu = string(b[257:265]) == "ustar  \x00"
	h.name, h.link = cString(b[:100]), cString(b[157:257])
	if prefix := cString(b[345:500]); h.ustar && !h.gnu && prefix != "" {
		h.name = prefix + "/" + h.name
	}
	if h.size, good = tarNumber(b[124:136]); !good || h.size < 0 {
		return h, false
	}
	return h, true
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func isTar(c *Content) bool {
	b := c.piece(0, tarBlock)
	if b == nil {
		return false
	}
	h, ok := parseTar(b)
	return ok && (h.name != "" || h.kind == 'x' || h.kind == 'g')
}

// tarWalk is what the headers before a member say of it.
type tarWalk struct {
	name, link string
	size       int64
	sized      bool
	sparse     []tarPiece
	real       int64
	version1   bool
}

// tarPiece is a piece of a sparse file that is stored.
type tarPiece struct{ at, bytes int64 }

func openTar(c *Content, l *layer) error {
	var next tarWalk
	hidden, empty := false, 0
	for at := int64(0); at < c.Size; {
		b := c.piece(at, tarBlock)
		if b == nil {
			if c.unread {
				return ErrUnread
			}
			if empty == 0 { // no end mark, and half a block
				l.damaged()
			}
			return nil
		}
		at += tarBlock
		if len(bytes.TrimLeft(b, "\x00")) == 0 {
			empty++
			hidden = hidden || empty > 1
			continue
		}
		h, ok := parseTar(b)
		switch {
		case !ok && empty > 0:
			return nil // something behind the end that is no archive
		case !ok:
			return ErrMalformed
		}
		empty = 0
		size := h.size
		if next.sized && h.kind != 'x' && h.kind != 'g' {
			size = next.size
		}
		if size > c.Size-at {
			l.damaged() // it ends early
		}
		data := c.section(at, size)
		at += min((size+tarBlock-1)/tarBlock*tarBlock, c.Size-at+tarBlock)
		switch h.kind {
		case 'x', 'g', 'X':
			if !next.records(data, l) {
				l.damaged()
			}
			if err := l.count(); err != nil {
				return err
			}
			continue
		case 'L', 'K':
			text := make([]byte, min(size, maxTarMeta))
			n, _ := io.ReadFull(data, text)
			if h.kind == 'L' {
				next.name = cString(text[:n])
			}
			if err := l.count(); err != nil {
				return err
			}
			continue
		}
		m := Member{Name: h.name, Size: size, Hidden: hidden}
		if next.name != "" {
			m.Name = next.name
		}
		extra := int64(0)
		if h.kind == 'S' {
			if next.sparse, next.real, extra, ok = tarSparse(c, &h, at-(size+tarBlock-1)/tarBlock*tarBlock); !ok {
				l.damaged()
			}
			start := at - (size+tarBlock-1)/tarBlock*tarBlock + extra
			data = c.section(start, size)
			at += extra
		}
		if err := l.tarMember(m, &h, &next, data); err != nil {
			return err
		}
		next = tarWalk{}
	}
	return nil
}

// tarMember hands on a member by its kind. A kind that nobody knows is a file, as POSIX asks for.
func (l *layer) tarMember(m Member, h *tarHeader, next *tarWalk, data *io.SectionReader) error {
	switch h.kind {
	case '1', '2': // links
		if data.Size() == 0 || h.kind == '2' {
			return l.member(Member{Name: m.Name, Hidden: m.Hidden})
		}
	case '3', '4', '5', '6', 'D', 'V':
		if data.Size() == 0 {
			return l.member(Member{Name: m.Name, Hidden: m.Hidden})
		}
	}
	if next.version1 {
		var ok bool
		if next.sparse, data, ok = tarMap(data); !ok {
			l.damaged()
		}
	}
	if next.sparse != nil || h.kind == 'S' || next.version1 {
		pieces, real := next.sparse, next.real
		m.Size = real
		m.Open = func() (io.Reader, error) {
			if _, err := data.Seek(0, io.SeekStart); err != nil {
				return nil, err
			}
			return &sparse{src: data, pieces: pieces, size: real}, nil
		}
		return l.member(m)
	}
	m.At = data
	m.Open = func() (io.Reader, error) { return io.NewSectionReader(data, 0, data.Size()), nil }
	return l.member(m)
}

// records takes what matters of pax records: "LENGTH KEY=VALUE\n".
func (w *tarWalk) records(data *io.SectionReader, l *layer) bool {
	if data.Size() > maxTarMeta {
		return false
	}
	b := make([]byte, data.Size())
	if n, _ := io.ReadFull(data, b); n < len(b) {
		return false
	}
	var offset int64 = -1
	for len(b) > 0 {
		digits, _, ok := bytes.Cut(b, []byte(" "))
		n, err := strconv.Atoi(string(digits))
		if !ok || err != nil || n <= len(digits)+1 || n > len(b) {
			return false
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(string(b[len(digits)+1:n]), "\n"), "=")
		b = b[n:]
		v, numeric := int64(0), false
		if p, err := strconv.ParseInt(value, 10, 64); err == nil && p >= 0 {
			v, numeric = p, true
		}
		switch key {
		case "path", "GNU.sparse.name":
			w.name = value
		case "size":
			w.size, w.sized = v, numeric
		case "GNU.sparse.realsize", "GNU.sparse.size":
			w.real = v
		case "GNU.sparse.major":
			w.version1 = v == 1
		case "GNU.sparse.offset":
			offset = v
		case "GNU.sparse.numbytes":
			if offset >= 0 && len(w.sparse) < maxTarPieces {
				w.sparse, offset = append(w.sparse, tarPiece{offset, v}), -1
			}
		case "GNU.sparse.map":
			numbers := strings.Split(value, ",")
			for i := 0; i+1 < len(numbers) && len(w.sparse) < maxTarPieces; i += 2 {
				from, err := strconv.ParseInt(numbers[i], 10, 64)
				n, err2 := strconv.ParseInt(numbers[i+1], 10, 64)
				if err != nil || err2 != nil || from < 0 || n < 0 {
					return false
				}
				w.sparse = append(w.sparse, tarPiece{from, n})
			}
		}
	}
	return true
}

// tarMap reads the map of a sparse file of version 1.0, which stands before the data in lines of digits.
func tarMap(data *io.SectionReader) (pieces []tarPiece, rest *io.SectionReader, ok bool) {
	const most = 4 << 20
	b := make([]byte, min(data.Size(), most))
	n, _ := io.ReadFull(data, b)
	text, used := b[:n], int64(0)
	number := func() (int64, bool) {
		line, after, found := bytes.Cut(text, []byte("\n"))
		v, err := strconv.ParseInt(string(line), 10, 64)
		used += int64(len(line)) + 1
		text = after
		return v, found && err == nil && v >= 0
	}
	count, ok := number()
	if !ok || count > maxTarPieces {
		return nil, data, false
	}
	for range count {
		at, ok1 := number()
		n, ok2 := number()
		if !ok1 || !ok2 {
			return nil, data, false
		}
		pieces = append(pieces, tarPiece{at, n})
	}
	used = (used + tarBlock - 1) / tarBlock * tarBlock
	return pieces, io.NewSectionReader(data, min(used, data.Size()), max(0, data.Size()-used)), true
}

// tarSparse reads the pieces of GNU's old sparse files, whose list goes on in blocks of its own.
func tarSparse(c *Content, h *tarHeader, at int64) (pieces []tarPiece, real, extra int64, ok bool) {
	if real, ok = tarNumber(h.block[483:495]); !ok || real < 0 {
		return nil, 0, 0, false
	}
	list, more := h.block[386:482], h.block[482] != 0
	for {
		for i := 0; i+24 <= len(list); i += 24 {
			if list[i] == 0 {
				break
			}
			from, ok1 := tarNumber(list[i : i+12])
			n, ok2 := tarNumber(list[i+12 : i+24])
			if !ok1 || !ok2 || from < 0 || n < 0 || len(pieces) == maxTarPieces {
				return pieces, real, extra, false
			}
			pieces = append(pieces, tarPiece{from, n})
		}
		if !more {
			return pieces, real, extra, true
		}
		b := c.piece(at+extra, tarBlock)
		if b == nil {
			return pieces, real, extra, false
		}
		extra += tarBlock
		list, more = b[:504], b[504] != 0
	}
}

// sparse puts the holes between the pieces of a sparse file.
type sparse struct {
	src    io.Reader
	pieces []tarPiece
	size   int64
	at     int64
}

func (s *sparse) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 && s.at >= s.pieces[0].at+s.pieces[0].bytes {
		if s.pieces[0].at+s.pieces[0].bytes < s.at {
			return 0, ErrMalformed // pieces that overlap or go back
		}
		s.pieces = s.pieces[1:]
	}
	if s.at >= s.size && len(s.pieces) == 0 {
		return 0, io.EOF
	}
	if len(s.pieces) > 0 && s.pieces[0].at < s.at && s.pieces[0].bytes == 0 {
		return 0, ErrMalformed
	}
	if len(s.pieces) > 0 && s.at >= s.pieces[0].at {
		n, err := s.src.Read(p[:min(int64(len(p)), s.pieces[0].at+s.pieces[0].bytes-s.at)])
		s.at += int64(n)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	end := s.size
	if len(s.pieces) > 0 {
		end = min(end, s.pieces[0].at)
	}
	if end <= s.at {
		return 0, ErrMalformed
	}
	n := min(int64(len(p)), end-s.at)
	clear(p[:n])
	s.at += n
	return int(n), nil
}
