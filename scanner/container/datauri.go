package container

import (
	"bytes"
	"io"
	"net/url"
	"strconv"
)

// Pages, styles and pictures of text that carry files in data: addresses (RFC 2397), and pages that carry them as long texts in
// base64, out of which a script makes a file on the computer of whoever looks at it ("HTML smuggling"). Only base64 is undone:
// content in plain letters is seen as it is.
const (
	dataMark = ";base64,"
	// dataReach bounds how much of a text is searched for them.
	dataReach = 8 << 20
	// longText is how many letters of base64 in one piece are taken for a file: more than any key or signature has.
	longText = 4096
	// maxData bounds the files of one text.
	maxData = 4096
)

// dataText is the text that is searched, or nil if content is none or has no file in it.
func dataText(c *Content) []byte {
	head := c.piece(0, min(c.Size, 512))
	if bytes.IndexByte(head, 0) >= 0 || bytes.IndexByte(head, '<') < 0 && !bytes.Contains(head, []byte("{")) {
		return nil
	}
	return c.Head[:min(c.Size, dataReach, int64(len(c.Head)))]
}

func isData(c *Content) bool {
	text := dataText(c)
	return bytes.Contains(text, []byte(dataMark)) || bytes.Contains(text, []byte("<script")) && longAt(text, 0) >= 0
}

// longAt finds a long run of the letters of base64 between quotes, from an offset on.
func longAt(text []byte, from int) int {
	for i := from + longText; i < len(text); i += longText / 2 {
		if base64Values[text[i]] < 0 {
			continue
		}
		start := i
		for start > from && base64Values[text[start-1]] >= 0 {
			start--
		}
		end := runEnd(text, i)
		if end-start >= longText && start > 0 && (text[start-1] == '"' || text[start-1] == '\'' || text[start-1] == '`') {
			return start
		}
		i = max(i, end)
	}
	return -1
}

func runEnd(text []byte, i int) int {
	for i < len(text) && base64Values[text[i]] >= 0 {
		i++
	}
	return i
}

func openData(c *Content, l *layer) error {
	text := dataText(c)
	if err := l.spend(int64(len(text))); err != nil {
		return err
	}
	count := 0
	hand := func(at, end int) error {
		if count++; count > maxData {
			return tooMany
		}
		body := text[at:end]
		if plain, err := url.PathUnescape(string(body)); err == nil {
			body = []byte(plain)
		}
		l.part = false
		return l.member(Member{Name: "data " + strconv.Itoa(count), Size: -1, Open: func() (io.Reader, error) { return newBase64(bytes.NewReader(body)), nil }})
	}
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(dataMark))
		if i < 0 {
			break
		}
		at += i + len(dataMark)
		end := at
		for end < len(text) && (base64Values[text[end]] >= 0 || bytes.IndexByte([]byte(" \t\r\n%=\\&#;"), text[end]) >= 0) {
			end++
		}
		if end > at {
			if err := hand(at, end); err != nil {
				return err
			}
		}
		at = end
	}
	if !bytes.Contains(text, []byte("<script")) {
		return nil
	}
	for at := longAt(text, 0); at >= 0; {
		end := runEnd(text, at)
		if err := hand(at, end); err != nil {
			return err
		}
		at = longAt(text, end)
	}
	return nil
}
