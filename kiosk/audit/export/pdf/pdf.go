// Package pdf writes PDF files of text, lines and boxes on A4 pages: what a printed report needs, and no more.
//
// # The file
//
// PDF 1.4 (ISO 32000-1 describes it too): a header, the objects in the order of their numbers, the cross-reference table
// (7.5.4) and a trailer. Text is in three of the fonts that every reader has (9.6.2.2, "standard 14 fonts"): Helvetica,
// Helvetica-Bold and Courier, with WinAnsiEncoding. Nothing is compressed, so that the same calls give the same bytes with
// every version of Go, and an auditor can read the file with a text editor. The file's identifier is a digest of its
// content, and its dates are the caller's.
//
// # Trust and limits
//
// Text is data and cannot become an operator: every byte that means something in a string is escaped. Characters that Latin-1
// lacks, and control characters, are written as their number, such as U+202E. A file has no scripts, links, forms or
// attachments: there are no calls for them. A document is held in memory until it is written; the caller bounds its pages.
package pdf

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The size of a page, A4, in points of 1/72 inch. The origin of all coordinates is the upper left corner.
const (
	Width  = 595.28
	Height = 841.89
)

// Color is red, green and blue, each 0 to 255.
type Color [3]uint8

// Document is a file under construction. Use New.
type Document struct {
	title, subject string
	at             time.Time
	pages          []*Page
}

// New begins a document. The time is what the file says of its making; a caller that wants the same bytes again takes it
// from the data.
func New(title, subject string, at time.Time) *Document {
	return &Document{title: title, subject: subject, at: at.UTC()}
}

// Page is one page. What is drawn later covers what was drawn before.
type Page struct {
	content bytes.Buffer
}

// Add adds a page.
func (d *Document) Add() *Page {
	p := &Page{}
	d.pages = append(d.pages, p)
	return p
}

// Pages returns the pages, for what is only known at the end, such as their number.
func (d *Document) Pages() []*Page { return d.pages }

// Text writes a line of text whose baseline begins at x, y.
func (p *Page) Text(x, y float64, font Font, size float64, color Color, text string) {
	fmt.Fprintf(&p.content, "BT %s rg /F%d %s Tf %s %s Td (", fill(color), font, num(size), num(x), num(Height-y))
	for _, b := range encode(text) {
		switch {
		case b == '(' || b == ')' || b == '\\':
			p.content.Write([]byte{'\\', b})
		case b < ' ' || b > '~':
			fmt.Fprintf(&p.content, "\\%03o", b)
		default:
			p.content.WriteByte(b)
		}
	}
	p.content.WriteString(") Tj ET\n")
}

// Box fills a rectangle whose upper left corner is at x, y.
func (p *Page) Box(x, y, width, height float64, color Color) {
	fmt.Fprintf(&p.content, "%s rg %s %s %s %s re f\n", fill(color), num(x), num(Height-y-height), num(width), num(height))
}

// Line draws a line through points, each a pair of coordinates.
func (p *Page) Line(width float64, color Color, points ...[2]float64) {
	if len(points) < 2 {
		return
	}
	fmt.Fprintf(&p.content, "%s RG %s w 1 j", fill(color), num(width))
	for i, at := range points {
		verb := "l"
		if i == 0 {
			verb = "m"
		}
		fmt.Fprintf(&p.content, " %s %s %s", num(at[0]), num(Height-at[1]), verb)
	}
	p.content.WriteString(" S\n")
}

func fill(c Color) string {
	return num(float64(c[0])/255) + " " + num(float64(c[1])/255) + " " + num(float64(c[2])/255)
}

// num writes a number as PDF wants it (7.3.3): no exponent, and here at most two digits, a hundredth of a point.
func num(v float64) string {
	s := strconv.FormatFloat(v, 'f', 2, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

// The numbers of the objects that each file has; behind them come two for each page.
const (
	objCatalog = 1 + iota
	objPages
	objInfo
	objFonts // one for each font
	objFirst = objFonts + int(fontEnd)
)

// WriteTo writes the file. A document without a page is an error, since no reader opens one.
func (d *Document) WriteTo(to io.Writer) (int64, error) {
	if len(d.pages) == 0 {
		return 0, fmt.Errorf("pdf: a document without pages")
	}
	var out bytes.Buffer
	offsets := []int{}
	object := func(format string, args ...any) {
		offsets = append(offsets, out.Len())
		fmt.Fprintf(&out, "%d 0 obj\n", len(offsets))
		fmt.Fprintf(&out, format, args...)
		out.WriteString("\nendobj\n")
	}
	out.WriteString("%PDF-1.4\n%\xE2\xE3\xCF\xD3\n") // the second line says that the file is not text (7.5.2)
	object("<< /Type /Catalog /Pages %d 0 R /Lang (en) /ViewerPreferences << /DisplayDocTitle true >> >>", objPages)
	var kids strings.Builder
	for i := range d.pages {
		fmt.Fprintf(&kids, " %d 0 R", objFirst+2*i)
	}
	object("<< /Type /Pages /Kids [%s ] /Count %d >>", kids.String(), len(d.pages))
	date := d.at.Format("D:20060102150405Z")
	object("<< /Title %s /Subject %s /Producer (Pratique) /CreationDate (%s) /ModDate (%s) >>", str(d.title), str(d.subject), date, date)
	var fonts strings.Builder
	for f := range fontEnd {
		object("<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>", fontNames[f])
		fmt.Fprintf(&fonts, " /F%d %d 0 R", f, objFonts+int(f))
	}
	for i, p := range d.pages {
		object("<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %s %s] /Contents %d 0 R /Resources << /Font <<%s >> >> >>",
			objPages, num(Width), num(Height), objFirst+2*i+1, fonts.String())
		object("<< /Length %d >>\nstream\n%sendstream", p.content.Len(), p.content.String())
	}
	xref, id := out.Len(), sha256.Sum256(out.Bytes())
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, at := range offsets {
		fmt.Fprintf(&out, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R /ID [<%x> <%x>] >>\nstartxref\n%d\n%%%%EOF\n",
		len(offsets)+1, objCatalog, objInfo, id[:16], id[:16], xref)
	return out.WriteTo(to)
}

// str is a string of the file's description. Those may be in Latin-1 only as far as it is ASCII, so the rest becomes numbers.
func str(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || r > '~' {
			fmt.Fprintf(&b, "U+%04X", r)
			continue
		}
		b.WriteRune(r)
	}
	return "(" + strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(b.String()) + ")"
}
