package container

import (
	"bufio"
	"bytes"
	"io"
	"strings"
)

// Files written as text, in a mail or beside one: uuencode (POSIX), yEnc (http://www.yenc.org/yenc-draft.1.3.txt) and BinHex 4
// (RFC 1741).
const (
	uuBegin     = "begin "
	yencBegin   = "=ybegin "
	binhexBegin = "(This file must be converted with BinHex"
	// encodedReach is how far from the beginning of a text the first of these is looked for, as far as all is in memory.
	encodedReach = 1 << 20
)

// encodedAt finds the next line that begins a file, from an offset on.
func encodedAt(text []byte, from int) (at int, word string) {
	at = -1
	for _, w := range []string{uuBegin, yencBegin, binhexBegin} {
		for i := from; i < len(text); {
			k := bytes.Index(text[i:], []byte(w))
			if k < 0 || at >= 0 && i+k > at {
				break
			}
			i += k
			if (i == 0 || text[i-1] == '\n' || text[i-1] == '\r') && (w != uuBegin || uuLine(text[i:])) {
				at, word = i, w
				break
			}
			i += len(w)
		}
	}
	return at, word
}

// uuLine reports whether a text begins as uuencode does: the mode, the name, and a line as long as its first letter says.
func uuLine(text []byte) bool {
	line, rest, ok := bytes.Cut(text[:min(len(text), 2048)], []byte("\n"))
	words := strings.Fields(string(line))
	if !ok || len(words) < 3 || len(words[1]) < 3 || len(words[1]) > 4 || strings.Trim(words[1], "01234567") != "" {
		return false
	}
	if len(rest) == 0 || rest[0] < ' ' || rest[0] > '`' {
		return false
	}
	row, _, _ := bytes.Cut(rest, []byte("\n"))
	n := int(rest[0]-' ') & 0x3F
	return n > 0 && len(bytes.TrimRight(row, "\r"))-1 >= (n*8+5)/6
}

func isEncoded(c *Content) bool {
	at, _ := encodedAt(c.piece(0, min(c.Size, encodedReach, int64(len(c.Head)))), 0)
	return at >= 0
}

func openEncoded(c *Content, l *layer) error {
	b := c.piece(0, min(c.Size, encodedReach, int64(len(c.Head))))
	at, word := encodedAt(b, 0)
	for at >= 0 {
		if err := l.spend(int64(len(b) - at)); err != nil { // the search for the next
			return err
		}
		line, _, _ := bytes.Cut(b[at:min(len(b), at+maxText)], []byte("\n"))
		text := strings.TrimRight(string(line), "\r")
		body := c.section(int64(at), c.Size-int64(at))
		src := func() io.Reader { return io.NewSectionReader(body, 0, body.Size()) }
		m := Member{Name: "file", Size: -1}
		switch word {
		case uuBegin:
			if f := strings.SplitN(text, " ", 3); len(f) == 3 {
				m.Name = f[2]
			}
			m.Open = func() (io.Reader, error) { return newUU(src()), nil }
		case yencBegin:
			if _, name, ok := strings.Cut(text, " name="); ok {
				m.Name = name
			}
			m.Open = func() (io.Reader, error) { return &yenc{src: bufio.NewReader(src())}, nil }
		default:
			if err := l.binhex(src); err != nil {
				return err
			}
		}
		if m.Open != nil {
			if err := l.member(m); err != nil {
				return err
			}
		}
		at, word = encodedAt(b, at+len(line)+1)
	}
	return nil
}

// newUU decodes uuencode from its first line, or without one, to its end.
func newUU(r io.Reader) io.Reader { return &uu{src: bufio.NewReaderSize(r, 16<<10)} }

type uu struct {
	src  *bufio.Reader
	out  []byte
	done bool
}

func (u *uu) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.done {
			return 0, io.EOF
		}
		line, err := u.src.ReadSlice('\n')
		if err != nil && (err != io.EOF || len(line) == 0) && err != bufio.ErrBufferFull {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case string(line) == "end":
			u.done = true
			continue
		case bytes.HasPrefix(line, []byte(uuBegin)), len(line) == 0, line[0] < ' ' || line[0] > '`':
			continue
		}
		n := int(line[0]-' ') & 0x3F
		line = line[1:]
		u.out = u.out[:0]
		for i := 0; len(u.out) < n; i += 4 {
			v := uint32(0)
			for j := range 4 {
				c := byte(' ') // editors cut blanks at the end
				if i+j < len(line) {
					c = line[i+j]
				}
				v = v<<6 | uint32(c-' ')&0x3F
			}
			u.out = append(u.out, byte(v>>16), byte(v>>8), byte(v))
		}
		u.out = u.out[:n]
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// yenc adds 42 to every byte, and 64 more behind a '='.
type yenc struct {
	src   *bufio.Reader
	begun bool
}

func (y *yenc) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c, err := y.src.ReadByte()
		if err != nil {
			return n, err
		}
		switch c {
		case '\r', '\n':
			continue
		case '=':
			if next, _ := y.src.Peek(1); len(next) == 1 && next[0] == 'y' { // a line of its own
				line, _ := y.src.ReadSlice('\n')
				if bytes.HasPrefix(line, []byte("yend")) {
					return n, io.EOF
				}
				continue
			}
			if c, err = y.src.ReadByte(); err != nil {
				return n, err
			}
			c -= 64
		}
		p[n] = c - 42
		n++
	}
	return n, nil
}

// binhexLetters are the 64 letters of BinHex.
const binhexLetters = "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"

// binhexReader decodes letters of six bits, and undoes runs: 0x90 and a count repeat the byte before.
type binhexReader struct {
	src    *bufio.Reader
	begun  bool
	bits   uint32
	have   uint
	last   byte
	repeat int
}

func (b *binhexReader) raw() (byte, error) {
	for {
		c, err := b.src.ReadByte()
		if err != nil {
			return 0, err
		}
		if !b.begun { // the colon before the letters stands on a line of its own
			b.begun = c == ':'
			continue
		}
		if c == ':' {
			return 0, io.EOF
		}
		v := strings.IndexByte(binhexLetters, c)
		if v < 0 {
			continue
		}
		b.bits, b.have = b.bits<<6|uint32(v), b.have+6
		if b.have >= 8 {
			b.have -= 8
			return byte(b.bits >> b.have), nil
		}
	}
}

func (b *binhexReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if b.repeat > 0 {
			p[n] = b.last
			n++
			b.repeat--
			continue
		}
		c, err := b.raw()
		if err != nil {
			return n, err
		}
		if c == 0x90 {
			count, err := b.raw()
			if err != nil {
				return n, err
			}
			if count != 0 {
				b.repeat = int(count) - 1
				continue
			}
		}
		b.last = c
		p[n] = c
		n++
	}
	return n, nil
}

// binhex hands on the two forks of a file: its name, type, and their sizes stand in front, a checksum behind each part.
func (l *layer) binhex(src func() io.Reader) error {
	begin := func() io.Reader { return &binhexReader{src: bufio.NewReader(src())} }
	h := make([]byte, 256)
	n, err := io.ReadFull(begin(), h)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	h = h[:n]
	if n < 1 || n < 1+int(h[0])+1+4+4+2+4+4+2 {
		l.damaged()
		return nil
	}
	name := string(h[1 : 1+h[0]])
	at := int64(1 + int(h[0]) + 1 + 4 + 4 + 2)
	data, resource := int64(be.Uint32(h[at:])), int64(be.Uint32(h[at+4:]))
	at += 10
	for _, fork := range []struct {
		name     string
		at, size int64
	}{{name, at, data}, {name + " (resource fork)", at + data + 2, resource}} {
		if fork.size == 0 {
			continue
		}
		s := &solid{walk: l.walk, open: func() (io.Reader, error) { return begin(), nil }}
		if err := l.member(Member{Name: fork.name, Size: fork.size, Open: s.member(fork.at, fork.size)}); err != nil {
			return err
		}
	}
	return nil
}
