package container

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"strconv"
	"strings"
)

// Mail: messages (RFC 5322) and mailboxes of them (RFC 4155), with the parts of MIME (RFC 2045 to 2047, 2183, 2231). Every part is
// a member with its encoding undone; a part that is a message is opened as one. Readers of mail forgive much, so this one does:
// a line that begins like a boundary of any multipart that is open is one, headers may lack, and letters that base64 does not
// have are passed over. Nothing in a mail contradicts itself so that it could not be read; what no encoding fits stays as it is.
const (
	// mailHead is how far the headers are read that make a file a mail.
	mailHead = 8 << 10
	// maxHeaderBytes bounds the headers of one part; transports refuse more than some ten thousand.
	maxHeaderBytes = 256 << 10
	// maxLine bounds a line; RFC 5322 allows 998 bytes, and what is longer is read in pieces.
	maxLine = 64 << 10
	// maxParts bounds multiparts in multiparts; mail programs use four.
	maxParts = 32
)

// mailFields are headers of which a mail has some.
var mailFields = map[string]bool{"from": true, "to": true, "subject": true, "date": true, "received": true, "return-path": true, "message-id": true,
	"mime-version": true, "content-type": true, "content-transfer-encoding": true, "delivered-to": true, "reply-to": true, "sender": true, "cc": true,
	"content-disposition": true, "x-mailer": true, "dkim-signature": true, "arc-seal": true, "x-unsent": true, "content-location": true, "x-received": true}

// isMail wants two headers that mails have, and nothing but headers up to the second.
func isMail(c *Content) bool {
	text := bytes.TrimLeft(c.piece(0, min(c.Size, mailHead)), "\r\n")
	text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF"))
	known := map[string]bool{}
	for i := 0; len(text) > 0; i++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		line = bytes.TrimRight(line, "\r")
		if i == 0 && bytes.HasPrefix(line, []byte("From ")) || i > 0 && len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsFunc(bytes.TrimRight(name, " \t"), func(r rune) bool { return r <= ' ' || r > '~' }) {
			return false
		}
		if field := strings.ToLower(string(bytes.TrimRight(name, " \t"))); mailFields[field] {
			known[field] = true
		}
		if len(known) == 2 {
			return true
		}
	}
	return false
}

// mailPart is a part while its lines are read.
type mailPart struct {
	header   map[string]string
	at       int64 // of its content
	boundary string
}

// mailReader reads a mailbox line by line.
type mailReader struct {
	c     *Content
	l     *layer
	r     *bufio.Reader
	at    int64 // of the next line
	open  []string
	part  mailPart
	count int
}

func openMail(c *Content, l *layer) error {
	m := &mailReader{c: c, l: l, r: bufio.NewReaderSize(c.section(0, c.Size), maxLine)}
	if err := m.headers(); err != nil {
		return err
	}
	blank := false
	for {
		begin := m.at
		line, whole, err := m.line()
		if err == io.EOF {
			return m.end(m.at)
		}
		if err != nil {
			return err
		}
		text := bytes.TrimRight(line, " \t\r\n")
		switch {
		case whole && len(text) > 2 && text[0] == '-' && text[1] == '-' && m.boundary(string(text[2:])):
			if err := m.end(begin); err != nil {
				return err
			}
			if err := m.headers(); err != nil {
				return err
			}
		case whole && blank && bytes.HasPrefix(text, []byte("From ")) && m.begins():
			if err := m.end(begin); err != nil {
				return err
			}
			m.open = nil
			if err := m.headers(); err != nil {
				return err
			}
		}
		blank = len(text) == 0
	}
}

// line reads a line, or a piece of one that is too long.
func (m *mailReader) line() (line []byte, whole bool, err error) {
	line, err = m.r.ReadSlice('\n')
	m.at += int64(len(line))
	if err == bufio.ErrBufferFull {
		err = nil
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	if err == nil {
		err = m.l.spend(int64(len(line)))
	}
	return line, len(line) > 0 && line[len(line)-1] == '\n', err
}

// boundary reports whether a line ends a part: it is the boundary of a multipart that is open. The ones within it are done.
func (m *mailReader) boundary(text string) bool {
	for i := len(m.open) - 1; i >= 0; i-- {
		switch text {
		case m.open[i]:
			m.open = m.open[:i+1]
			return true
		case m.open[i] + "--":
			m.open = m.open[:i]
			return true
		}
	}
	return false
}

// begins reports whether headers follow a line that begins as each message in a mailbox does.
func (m *mailReader) begins() bool {
	next, _ := m.r.Peek(256)
	name, _, ok := bytes.Cut(next, []byte(":"))
	return ok && !bytes.ContainsAny(name, " \t\r\n")
}

// headers reads those of a part, after which its content begins.
func (m *mailReader) headers() error {
	m.part = mailPart{header: map[string]string{}}
	last, total, first := "", 0, true
	for {
		begin := m.at
		line, _, err := m.line()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if total += len(line); total > maxHeaderBytes {
			break
		}
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(text) == "" {
			if first && begin == 0 {
				continue
			}
			break
		}
		if first = false; text[0] == ' ' || text[0] == '\t' {
			m.part.header[last] += " " + strings.TrimSpace(text)
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			if strings.HasPrefix(text, "--") { // a boundary right behind the headers
				m.unread(begin)
				break
			}
			continue
		}
		last = strings.ToLower(strings.TrimSpace(name))
		if _, twice := m.part.header[last]; !twice || last == "content-transfer-encoding" {
			m.part.header[last] = strings.TrimSpace(value)
		}
	}
	m.part.at = m.at
	kind, params := parameters(m.part.header["content-type"])
	if b := params["boundary"]; strings.HasPrefix(kind, "multipart/") && b != "" && len(m.open) < maxParts {
		m.open = append(m.open, strings.TrimRight(b, " \t"))
		m.part.boundary = b
	}
	return nil
}

// unread goes back to the beginning of a line.
func (m *mailReader) unread(at int64) {
	m.at = at
	m.r.Reset(m.c.section(at, m.c.Size-at))
}

// end hands on the part that ends at a place.
func (m *mailReader) end(at int64) error {
	p := m.part
	m.part = mailPart{at: at, header: map[string]string{}}
	if at <= p.at {
		return nil
	}
	body := m.c.section(p.at, at-p.at)
	kind, params := parameters(p.header["content-type"])
	_, place := parameters(p.header["content-disposition"])
	m.count++
	name := "part " + strconv.Itoa(m.count)
	m.l.part = true
	for _, given := range []string{place["filename"], params["name"]} {
		if given != "" {
			name, m.l.part = mailWords(given), false
			break
		}
	}
	if kind == "message/rfc822" {
		m.l.part = false
	}
	member := Member{Name: name, Size: -1}
	switch encoding := strings.ToLower(strings.Trim(strings.TrimSpace(p.header["content-transfer-encoding"]), `"`)); encoding {
	case "base64":
		member.Open = func() (io.Reader, error) { return newBase64(io.NewSectionReader(body, 0, body.Size())), nil }
	case "quoted-printable":
		member.Open = func() (io.Reader, error) { return newQuoted(io.NewSectionReader(body, 0, body.Size())), nil }
	case "x-uuencode", "uuencode", "x-uue", "uue":
		member.Open = func() (io.Reader, error) { return newUU(io.NewSectionReader(body, 0, body.Size())), nil }
	default:
		member.At, member.Open = body, asItLies(body)
	}
	return m.l.member(member)
}

// parameters splits a header with parameters, as tolerantly as mail programs do; those of RFC 2231 come in pieces.
func parameters(value string) (kind string, params map[string]string) {
	params = map[string]string{}
	kind, rest, _ := strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if k, p, err := mime.ParseMediaType(value); err == nil {
		return k, p
	}
	for rest != "" {
		var name, v string
		name, rest, _ = strings.Cut(rest, "=")
		name = strings.ToLower(strings.Trim(name, " \t;"))
		if rest = strings.TrimLeft(rest, " \t"); strings.HasPrefix(rest, `"`) {
			v, rest, _ = strings.Cut(rest[1:], `"`)
		} else {
			v, rest, _ = strings.Cut(rest, ";")
		}
		if _, twice := params[name]; !twice && name != "" && len(params) < maxParts {
			params[name] = strings.TrimSpace(v)
		}
	}
	return kind, params
}

// mailWords decodes the words of a name (RFC 2047).
func mailWords(name string) string {
	d := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	if text, err := d.DecodeHeader(name); err == nil {
		return text
	}
	return name
}

// newBase64 decodes what there is of base64, as mail programs and browsers do: other bytes are passed over, either alphabet is
// good, and padding ends a run, behind which another may follow.
func newBase64(r io.Reader) io.Reader { return &base64Reader{src: bufio.NewReaderSize(r, 16<<10)} }

type base64Reader struct {
	src  *bufio.Reader
	bits uint32
	have uint
	err  error
}

// base64Values are the values of letters, -1 for what is none.
var base64Values = func() (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	for i := range len(letters) {
		v[letters[i]] = int8(i)
	}
	v['+'], v['-'], v['/'], v['_'] = 62, 62, 63, 63
	return v
}()

func (b *base64Reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c, err := b.src.ReadByte()
		if err != nil {
			return n, err
		}
		if c == '=' {
			b.have = 0
			continue
		}
		v := base64Values[c]
		if v < 0 {
			continue
		}
		b.bits, b.have = b.bits<<6|uint32(v), b.have+6
		if b.have >= 8 {
			b.have -= 8
			p[n] = byte(b.bits >> b.have)
			n++
		}
	}
	return n, nil
}

// newQuoted decodes quoted-printable (RFC 2045 6.7). What is no code stays as it is.
func newQuoted(r io.Reader) io.Reader { return &quoted{src: bufio.NewReaderSize(r, 16<<10)} }

type quoted struct{ src *bufio.Reader }

func (q *quoted) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c, err := q.src.ReadByte()
		if err != nil {
			return n, err
		}
		if c == '=' {
			next, _ := q.src.Peek(2)
			switch {
			case len(next) == 2 && unhex(next[0]) >= 0 && unhex(next[1]) >= 0:
				c = byte(unhex(next[0])<<4 | unhex(next[1]))
				q.src.Discard(2)
			default:
				if soft, ok := q.softBreak(); ok {
					q.src.Discard(soft)
					continue
				}
			}
		}
		p[n] = c
		n++
	}
	return n, nil
}

// softBreak is how many bytes behind '=' are blanks and a line end.
func (q *quoted) softBreak() (int, bool) {
	next, _ := q.src.Peek(128)
	for i, c := range next {
		switch c {
		case ' ', '\t', '\r':
		case '\n':
			return i + 1, true
		default:
			return 0, false
		}
	}
	return len(next), len(next) < 128
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
