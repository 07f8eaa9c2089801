package container

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/klauspost/compress/flate"

	"pratique/scanner/container/ole"
	"pratique/scanner/report"
)

// Compound files: documents of Office up to 2003, packages of Windows Installer, messages of Outlook, projects of macros. Every
// stream is a member as it is stored; what some of them hold in a form of their own comes as members beside them: the source of
// macros, a file that was inserted, the objects of a presentation, the text of a message.
const (
	// maxModule bounds a stream in which sources are looked for; Office writes none above 64 KiB of source.
	maxModule = maxPiece
	// maxRecords bounds the records that are looked at for the marks of encryption and of macros in a workbook; they are among
	// the first hundred.
	maxRecords = 4096
	// maxProperty bounds the name of an attachment.
	maxProperty = 4096
)

func isOle(c *Content) bool { return ole.Is(c.piece(0, 512)) }

func openOle(c *Content, l *layer) error {
	f, err := ole.Open(c, c.Size)
	switch {
	case errors.Is(err, ole.ErrTooLarge):
		return tooHungry
	case errors.Is(err, ole.ErrMalformed):
		return ErrMalformed
	case err != nil:
		return err
	}
	if f.Damaged {
		l.damaged()
	}
	d := &compound{f: f, l: l, projects: map[int]map[string]int64{}, named: map[property]int{}}
	for i := range f.Entries {
		if e := &f.Entries[i]; strings.HasPrefix(e.Name, "__substg1.0_370") {
			d.named[property{e.Parent, strings.ToUpper(e.Name)}] = i
		}
		if e := &f.Entries[i]; strings.EqualFold(e.Name, "dir") || strings.EqualFold(e.Name, "_VBA_PROJECT") {
			if err := d.project(e); err != nil {
				return err
			}
		}
	}
	for i := range f.Entries {
		if err := d.stream(&f.Entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// compound is a compound file while it is opened.
type compound struct {
	f        *ole.File
	l        *layer
	projects map[int]map[string]int64 // by storage: where the sources of its modules begin
	named    map[property]int         // what can name an attachment
}

// property is a stream of a storage.
type property struct {
	storage int
	name    string
}

// project reads what a project says of its modules. Without that, or against it, the sources are searched for.
func (d *compound) project(e *ole.Entry) error {
	known := d.projects[e.Parent]
	if known == nil {
		known = map[string]int64{}
		d.projects[e.Parent] = known
	}
	if !strings.EqualFold(e.Name, "dir") {
		return nil
	}
	s := d.f.Stream(e)
	dir, _ := io.ReadAll(io.LimitReader(ole.NewVBA(io.NewSectionReader(s, 0, s.Size())), maxPiece))
	for _, m := range ole.Modules(dir) {
		known[strings.ToLower(m.Stream)] = m.Offset
	}
	return d.l.spend(int64(len(dir)))
}

// stream hands on a stream, and what it holds.
func (d *compound) stream(e *ole.Entry) error {
	s := d.f.Stream(e)
	section := io.NewSectionReader(s, 0, s.Size())
	m := Member{Name: e.Path, Size: e.Size, At: section, Hidden: e.Orphan, Open: asItLies(section)}
	attachment := strings.HasPrefix(e.Name, "__substg1.0_3701")
	if attachment {
		if name := d.attachmentName(e); name != "" {
			m.Name = strings.TrimSuffix(e.Path, e.Name) + name
		}
	}
	if err := d.hand(m, !attachment); err != nil {
		return err
	}
	if sources, ok := d.projects[e.Parent]; ok && !strings.EqualFold(e.Name, "dir") {
		if err := d.sources(e, s, sources); err != nil {
			return err
		}
	}
	head := make([]byte, min(s.Size(), 16<<10))
	if n, err := s.ReadAt(head, 0); n < len(head) {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		head = head[:n]
	}
	switch name := strings.ToLower(e.Name); {
	case name == "[1]ole10native":
		if n, ok := ole.ParseNative(head, s.Size(), true); ok {
			return d.part(e.Path+" (file)", n, s)
		}
	case name == "worddocument":
		// FibBase: the identifier, and fEncrypted among the flags ([MS-DOC] 2.5.2).
		if len(head) > 12 && le.Uint16(head) == 0xA5EC && head[11]&1 != 0 {
			d.l.result.refuse(report.Encrypted)
		}
	case name == "workbook", name == "book":
		d.workbook(head)
	case name == "powerpoint document":
		return d.slides(e, s)
	case name == "encryptedpackage":
		d.l.result.refuse(report.Encrypted)
	case name == "__substg1.0_10090102":
		return d.hand(Member{Name: e.Path + " (text)", Size: -1, Open: func() (io.Reader, error) { return newLZFu(io.NewSectionReader(s, 0, s.Size())) }}, true)
	}
	return nil
}

// hand hands on a member, as a part of the document or as something that a person opens.
func (d *compound) hand(m Member, part bool) error {
	d.l.part = part
	err := d.l.member(m)
	d.l.part = false
	return err
}

// part hands on the file in a stream.
func (d *compound) part(name string, n ole.Native, r io.ReaderAt) error {
	if n.Name != "" {
		name = name[:strings.LastIndexByte(name, '/')+1] + lastPart(n.Name, "file")
	}
	section := io.NewSectionReader(r, n.At, n.Size)
	return d.hand(Member{Name: name, Size: -1, At: section, Open: asItLies(section)}, false)
}

// asItLies is how a member begins that lies as it is in its container.
func asItLies(s *io.SectionReader) func() (io.Reader, error) {
	return func() (io.Reader, error) { return io.NewSectionReader(s, 0, s.Size()), nil }
}

// sources hands on the sources in a module.
func (d *compound) sources(e *ole.Entry, s *ole.Stream, known map[string]int64) error {
	b := make([]byte, min(s.Size(), maxModule))
	n, err := s.ReadAt(b, 0)
	if n < len(b) && err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if err := d.l.spend(int64(n)); err != nil {
		return err
	}
	at := ole.Sources(b[:n])
	if offset, ok := known[strings.ToLower(e.Name)]; ok && offset < int64(n) && b[offset] == 1 {
		seen := false
		for _, a := range at {
			seen = seen || a == offset
		}
		if !seen {
			at = append(at, offset)
		}
	}
	for _, a := range at {
		if err := d.hand(Member{Name: e.Path + " (source)", Size: -1, Open: func() (io.Reader, error) {
			return ole.NewVBA(bytes.NewReader(b[a:n])), nil
		}}, true); err != nil {
			return err
		}
	}
	return nil
}

// workbook looks for the marks of encryption and of sheets with macros ([MS-XLS] 2.4.117 and 2.4.28).
func (d *compound) workbook(b []byte) {
	const boundSheet, filePass = 0x85, 0x2F
	for range maxRecords {
		if len(b) < 4 {
			return
		}
		id, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if b = b[4:]; n > len(b) {
			return
		}
		switch {
		case id == filePass:
			d.l.result.refuse(report.Encrypted)
			return
		case id == boundSheet && n > 6 && b[5] == 1:
			d.l.note(macroSheet())
		case id == 0x0A: // the end of what concerns the whole workbook
			return
		}
		b = b[n:]
	}
}

func macroSheet() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "macro", Severity: report.Warn, Offset: -1,
		Text: "The document has a sheet of macros of the old kind, which run without Visual Basic."}
}

// slides hands on the objects in a presentation ([MS-PPT] 2.10.34), compressed by zlib or not.
func (d *compound) slides(e *ole.Entry, s *ole.Stream) error {
	const object, crypt = 0x1011, 0x2F14
	h := make([]byte, 8)
	for at := int64(0); at+8 <= s.Size(); {
		if n, _ := s.ReadAt(h, at); n < 8 {
			return nil
		}
		if err := d.l.spend(64); err != nil { // what reading a record costs
			return err
		}
		instance, id, size := le.Uint16(h)>>4, le.Uint16(h[2:]), int64(le.Uint32(h[4:]))
		switch {
		case id == crypt:
			d.l.result.refuse(report.Encrypted)
		case id == object:
			body := io.NewSectionReader(s, at+8, min(size, s.Size()-at-8))
			m := Member{Name: e.Path + " (object)", Size: -1, At: body, Open: asItLies(body)}
			if instance == 1 {
				m.At, m.Open = nil, func() (io.Reader, error) { // the size, and two bytes of zlib (RFC 1950)
					return flate.NewReader(io.NewSectionReader(body, 6, max(0, body.Size()-6))), nil
				}
			}
			if err := d.hand(m, false); err != nil {
				return err
			}
		}
		at += 8 + size
	}
	return nil
}

// attachmentName is the name of an attachment of Outlook, from the streams beside its content ([MS-OXMSG] 2.2.2): the long one,
// the short one, in UTF-16 or in a code page.
func (d *compound) attachmentName(e *ole.Entry) string {
	for _, want := range []string{"__substg1.0_3707001F", "__substg1.0_3707001E", "__substg1.0_3704001F", "__substg1.0_3704001E"} {
		i, ok := d.named[property{e.Parent, strings.ToUpper(want)}]
		if !ok || d.f.Entries[i].Size > maxProperty {
			continue
		}
		s := d.f.Stream(&d.f.Entries[i])
		b := make([]byte, s.Size())
		if k, _ := s.ReadAt(b, 0); k < len(b) {
			continue
		}
		name := string(b)
		if strings.HasSuffix(want, "F") {
			name = wideText(b)
		}
		if name = strings.TrimRight(name, "\x00"); name != "" {
			return lastPart(name, "attachment")
		}
	}
	return ""
}

// wideText is UTF-16 in little endian.
func wideText(b []byte) string {
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) > 1; b = b[2:] {
		u = append(u, le.Uint16(b))
	}
	return string(utf16.Decode(u))
}
