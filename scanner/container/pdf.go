package container

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"pratique/scanner/container/pdf"
	"pratique/scanner/report"
)

// PDF: every stream is a member, unpacked, and with the name of the file if it was attached as one; every script that stands
// in a value is one, too. What the values make a reader do is told. Objects are found where they are, not where the tables say
// (package pdf), and no object is followed to another, so that no loop is walked.
const (
	// pdfHead is where readers look for the head of a file (ISO 32000-1 Annex H.3, implementation note 13).
	pdfHead = 1024
	// pdfHeld bounds an object stream in memory; writers put a hundred objects into one.
	pdfHeld = 16 << 20
	// pdfScripts bounds the scripts that are remembered until their texts are found.
	pdfScripts = 1 << 16
	// pdfDepth bounds references that name references.
	pdfDepth = 4
)

func isPDF(c *Content) bool {
	head := c.piece(0, min(c.Size, pdfHead))
	return bytes.Contains(head, []byte("%PDF-"))
}

// document is a PDF while it is opened.
type document struct {
	c       *Content
	l       *layer
	layout  *pdf.Layout
	last    map[int64]int64 // where the last object of a number begins
	key     *pdf.Key
	names   map[int64]string // of attached files, by the number of their streams
	scripts map[int64]bool   // objects that are scripts
	texts   []script
}

// script is a script that stands in a value.
type script struct {
	name string
	text pdf.Text
}

func openPDF(c *Content, l *layer) error {
	layout, err := pdf.Scan(c, c.Size, l.spend)
	if err != nil {
		return err
	}
	if len(layout.Objects) == 0 {
		return errNot // the words of the head alone, in something else
	}
	d := &document{c: c, l: l, layout: layout, last: make(map[int64]int64, len(layout.Objects)), names: map[int64]string{}, scripts: map[int64]bool{}}
	for _, o := range layout.Objects {
		d.last[o.Number] = o.At
	}
	if layout.Many {
		return tooMany
	}
	if err := d.unlock(); err != nil {
		return err
	}
	for _, o := range layout.Objects {
		if err := d.look(o); err != nil {
			return err
		}
	}
	for _, at := range layout.Trailers {
		if v, _, err := d.value(at); err == nil {
			d.walk(v, "trailer", 0)
		} else if errors.Is(err, errStopped) {
			return err
		}
	}
	for _, o := range layout.Objects {
		if err := d.hand(o); err != nil {
			return err
		}
	}
	l.part = true
	for _, s := range d.texts {
		text := plainText(s.text)
		if err := l.member(Member{Name: s.name, Size: int64(len(text)), Open: func() (io.Reader, error) { return bytes.NewReader(text), nil }}); err != nil {
			return err
		}
	}
	return nil
}

// errStopped says that a limit or fault of the file was hit, which the walk keeps.
var errStopped = errors.New("container: stopped")

// value reads the value at a place, and returns where it ends. A value takes as many bytes as it needs.
func (d *document) value(at int64) (any, int64, error) {
	for n := int64(4 << 10); ; n *= 8 {
		n = min(n, pdf.MaxValue, d.c.Size-at)
		b := d.c.piece(at, n)
		if b == nil {
			return nil, at, pdf.ErrMalformed
		}
		p := pdf.Parser{B: b}
		v, err := p.Value()
		if d.l.spend(int64(p.At)+64) != nil {
			return nil, at, errStopped
		}
		// A value that ends with the bytes may go on behind them.
		if (errors.Is(err, pdf.ErrShort) || err == nil && p.At == len(b)) && n < pdf.MaxValue && at+n < d.c.Size {
			continue
		}
		return v, at + int64(p.At), err
	}
}

// resolve gives what a reference names, if that is a value of its own.
func (d *document) resolve(v any) any {
	for range pdfDepth {
		r, ok := v.(pdf.Ref)
		if !ok {
			return v
		}
		at, ok := d.last[r.Number]
		if !ok {
			return nil
		}
		v, _, _ = d.value(at)
	}
	d.l.damaged() // references that name each other
	return nil
}

// unlock finds out whether the file is encrypted: a trailer says so, or the dictionary of a stream that is a table (7.5.8).
func (d *document) unlock() error {
	try := func(v any) error {
		t, ok := v.(pdf.Dict)
		if !ok || t["Encrypt"] == nil || d.key != nil {
			return nil
		}
		if _, isTable := t["Root"]; !isTable && t["Size"] == nil {
			return nil
		}
		e, ok := d.resolve(t["Encrypt"]).(pdf.Dict)
		if !ok {
			return nil
		}
		var id pdf.Text
		if ids, ok := d.resolve(t["ID"]).(pdf.List); ok && len(ids) > 0 {
			id, _ = d.resolve(ids[0]).(pdf.Text)
		}
		key, err := pdf.NewKey(e, id, d.resolve)
		if err != nil {
			return errEncrypted
		}
		d.key = key
		return nil
	}
	places := d.layout.Trailers
	for _, o := range d.layout.Objects {
		places = append(places, o.At)
	}
	for _, at := range places {
		v, _, err := d.value(at)
		if errors.Is(err, errStopped) {
			return err
		}
		if err := try(v); err != nil {
			return err
		}
	}
	return nil
}

// look reads an object for what it makes a reader do.
func (d *document) look(o pdf.Place) error {
	v, end, err := d.value(o.At)
	if errors.Is(err, errStopped) {
		return err
	}
	if err != nil {
		return nil // no reader takes it for an object; its bytes are checked with the file
	}
	d.decrypt(v, o, 0)
	d.walk(v, fmt.Sprintf("object %d", o.Number), 0)
	if t, ok := v.(pdf.Text); ok && d.scripts[o.Number] {
		d.script(fmt.Sprintf("object %d", o.Number), t)
	}
	stream, ok := v.(pdf.Dict)
	if !ok || d.resolve(stream["Type"]) != pdf.Name("ObjStm") {
		return nil
	}
	data := d.data(stream, end)
	if data == nil {
		return nil
	}
	r, err := d.open(stream, data, o)
	if err != nil {
		return nil // told when it is handed on
	}
	b, err := io.ReadAll(io.LimitReader(r, pdfHeld))
	if d.l.spend(int64(len(b))) != nil {
		return errStopped
	}
	if err != nil || len(b) == pdfHeld {
		d.l.note(archiveDamaged())
	}
	// Pairs of a number and a place, then the objects. They are read one after the other, whatever the places are.
	p := pdf.Parser{B: b}
	if first, ok := d.resolve(stream["First"]).(int64); ok && first > 0 && first < int64(len(b)) {
		p.At = int(first)
	}
	for {
		v, err := p.Value()
		if err != nil {
			return nil
		}
		d.walk(v, fmt.Sprintf("object stream %d", o.Number), 0)
	}
}

// decrypt opens the texts in a value.
func (d *document) decrypt(v any, o pdf.Place, depth int) {
	if d.key == nil {
		return
	}
	open := func(v any) any {
		if t, ok := v.(pdf.Text); ok {
			return d.key.Text(t, o.Number, o.Generation)
		}
		d.decrypt(v, o, depth+1)
		return v
	}
	switch v := v.(type) {
	case pdf.List:
		for i := range v {
			v[i] = open(v[i])
		}
	case pdf.Dict:
		for k := range v {
			v[k] = open(v[k])
		}
	}
}

// walk looks for actions (12.6) and attached files (7.11) in a value, however they are reached.
func (d *document) walk(v any, where string, depth int) {
	switch v := v.(type) {
	case pdf.List:
		for _, e := range v {
			d.walk(e, where, depth+1)
		}
	case pdf.Dict:
		d.action(v, where)
		for _, e := range v {
			d.walk(e, where, depth+1)
		}
	}
}

func (d *document) action(v pdf.Dict, where string) {
	for k, e := range v {
		if !strings.HasSuffix(string(k), "JS") || k != "JS" && !strings.HasSuffix(string(k), " JS") {
			continue
		}
		d.l.note(documentScript())
		switch e := e.(type) {
		case pdf.Text:
			d.script(where, e)
		case pdf.Ref:
			if text, ok := d.resolve(e).(pdf.Text); ok {
				if d.key != nil {
					text = d.key.Text(text, e.Number, e.Generation)
				}
				d.script(fmt.Sprintf("object %d", e.Number), text)
			}
		}
	}
	switch v["S"] {
	case pdf.Name("JavaScript"):
		d.l.note(documentScript())
	case pdf.Name("Launch"):
		if d.launches(v) {
			d.l.note(documentLaunch())
		} else {
			d.l.note(documentOpens())
		}
	case pdf.Name("URI"), pdf.Name("GoToR"), pdf.Name("GoToE"), pdf.Name("SubmitForm"), pdf.Name("ImportData"):
		d.l.note(documentLink())
	}
	if files, ok := d.resolve(v["EF"]).(pdf.Dict); ok {
		name := d.fileName(v)
		for _, f := range files {
			if r, ok := f.(pdf.Ref); ok && len(d.names) < pdfScripts {
				d.names[r.Number] = name
			}
		}
	}
}

// script remembers a script, once.
func (d *document) script(where string, text pdf.Text) {
	for _, s := range d.texts[max(0, len(d.texts)-64):] {
		if bytes.Equal(s.text, text) {
			return
		}
	}
	if len(d.texts) < pdfScripts && d.l.spend(int64(len(text))) == nil {
		d.texts = append(d.texts, script{where + " (script)", text})
	}
}

// fileName is the name of a file specification.
func (d *document) fileName(v pdf.Dict) string {
	for _, key := range []pdf.Name{"UF", "F", "DOS", "Unix", "Mac"} {
		if t, ok := d.resolve(v[key]).(pdf.Text); ok && len(t) > 0 {
			return string(plainText(t[:min(len(t), maxProperty)]))
		}
	}
	return "attached file"
}

// launches reports whether a launch action starts a program, or gives something to a program.
func (d *document) launches(v pdf.Dict) bool {
	target := func(v any) string {
		switch v := d.resolve(v).(type) {
		case pdf.Text:
			return string(plainText(v))
		case pdf.Dict:
			return d.fileName(v)
		}
		return ""
	}
	names := []string{target(v["F"]), target(v["Unix"]), target(v["Mac"])}
	if win, ok := d.resolve(v["Win"]).(pdf.Dict); ok {
		if target(win["P"]) != "" {
			return true
		}
		names = append(names, target(win["F"]))
	}
	for _, n := range names {
		n = strings.ToLower(strings.TrimRight(n, " ."))
		if n == "" {
			continue
		}
		// A document of another kind is opened by its program, and by nothing else.
		switch n[strings.LastIndexByte(n, '.')+1:] {
		case "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "odp", "rtf", "txt", "csv", "jpg", "jpeg", "png", "tif", "tiff", "mp3", "mp4", "wav", "avi":
		default:
			return true
		}
	}
	return false
}

func documentScript() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "document-script", Severity: report.Warn, Offset: -1,
		Text: "The document holds scripts, which run when it is opened or used."}
}

func documentLaunch() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "document-launch", Severity: report.Block, Offset: -1,
		Text: "The document starts a program."}
}

func documentOpens() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "document-opens", Severity: report.Warn, Offset: -1,
		Text: "The document opens another document."}
}

// plainText is a text of a PDF as UTF-8, as far as it says that it is UTF-16 (7.9.2.2).
func plainText(t pdf.Text) []byte {
	if len(t) < 2 || t[0] != 0xFE || t[1] != 0xFF {
		return t
	}
	u := make([]uint16, 0, len(t)/2)
	for t = t[2:]; len(t) > 1; t = t[2:] {
		u = append(u, be.Uint16(t))
	}
	return []byte(string(utf16.Decode(u)))
}

// data finds the bytes of a stream behind its dictionary, or nil if it is none.
func (d *document) data(v pdf.Dict, at int64) *io.SectionReader {
	b := d.c.piece(at, min(64, d.c.Size-at))
	p := pdf.Parser{B: b}
	p.Skip()
	if !bytes.HasPrefix(b[p.At:], []byte("stream")) {
		return nil
	}
	at += int64(p.At) + 6
	rest := b[p.At+6:]
	switch {
	case bytes.HasPrefix(rest, []byte("\r\n")):
		at += 2
	case len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r'):
		at++
	}
	end := d.layout.End(at)
	if n, ok := d.resolve(v["Length"]).(int64); ok && n >= 0 && n <= d.c.Size-at {
		if marked := d.layout.End(at + n); marked >= 0 && marked-at-n <= 2 {
			return d.c.section(at, n)
		}
	}
	if end < 0 {
		d.l.note(archiveDamaged()) // readers take what there is
		end = d.c.Size
	}
	for range 2 { // the line end before the word
		if end > at && d.c.has(end-1, "\n") || end > at && d.c.has(end-1, "\r") {
			end--
		}
	}
	return d.c.section(at, end-at)
}

// open unpacks a stream.
func (d *document) open(v pdf.Dict, data *io.SectionReader, o pdf.Place) (io.Reader, error) {
	filters, err := pdf.Filters(v, d.resolve)
	if err != nil {
		return nil, errUnknown
	}
	var r io.Reader = io.NewSectionReader(data, 0, data.Size())
	if d.key != nil && d.resolve(v["Type"]) != pdf.Name("XRef") {
		if r, err = d.key.Stream(r, o.Number, o.Generation); err != nil {
			return nil, errEncrypted
		}
	}
	r, err = pdf.Decode(r, filters, d.resolve, func() { d.l.note(archiveDamaged()) })
	if errors.Is(err, pdf.ErrUnknown) {
		err = errUnknown
	}
	return r, err
}

// hand hands on the stream of an object, if it has one.
func (d *document) hand(o pdf.Place) error {
	v, end, err := d.value(o.At)
	if errors.Is(err, errStopped) {
		return err
	}
	stream, ok := v.(pdf.Dict)
	if !ok || err != nil {
		return nil
	}
	data := d.data(stream, end)
	if data == nil {
		return nil
	}
	name, attached := d.names[o.Number]
	d.l.part = !attached
	if !attached {
		name = fmt.Sprintf("object %d", o.Number)
	}
	m := Member{Name: name, Size: -1}
	if _, err := d.open(stream, data, o); errors.Is(err, errUnknown) {
		m.Unknown, m.At, m.Open = true, data, asItLies(data)
		return d.l.member(m)
	}
	m.Open = func() (io.Reader, error) { return d.open(stream, data, o) }
	if filters, err := pdf.Filters(stream, d.resolve); err == nil && d.key == nil && (len(filters) == 0 || filters[0].Picture()) {
		m.At, m.Open = data, asItLies(data)
	}
	return d.l.member(m)
}
