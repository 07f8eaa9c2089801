package container

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"pratique/scanner/report"
)

// XML, as far as it makes a document do something: entities that grow (a bomb for whoever opens the document), what a document
// loads from elsewhere when it is opened, the mark of encryption of OpenDocument, and the source of its macros. A file of XML
// without one of these is none that is opened.
//
// Office Open XML keeps what belongs to a document in relationships (ECMA-376 part 2, 9.3), OpenDocument in attributes
// xlink:href and in META-INF/manifest.xml (https://docs.oasis-open.org/office/OpenDocument/v1.3/). Office reads both in UTF-16
// as well.
const (
	// maxXML bounds how much of a file is read. Relationships and manifests have some kilobytes.
	maxXML = maxPiece
	// maxEntities bounds declarations; a document type has hundreds.
	maxEntities = 10_000
	// maxExpansion is how much the entities of a file may stand for: as much as may be packed in any small file.
	maxExpansion = FreeBytes
	// maxXMLTokens bounds the elements and texts that are looked at.
	maxXMLTokens = 1 << 20
)

var tooManyEntities = &limit{report.TooLarge, fmt.Sprintf("The entities of the text stand for more than %d MiB, or for themselves.", maxExpansion>>20)}

// xmlWords are what makes a file of XML worth reading.
var xmlWords = []string{"<!ENTITY", "/package/2006/relationships", "/package/relationships", "encryption-data", "script:module", "xlink:href",
	"office:binary-data", "binData", "binaryData"}

func isXML(c *Content) bool {
	head := c.piece(0, min(c.Size, 256))
	text := bytes.TrimLeft(narrowed(head), " \t\r\n")
	if len(text) < 2 || text[0] != '<' || text[1] != '?' && text[1] != '!' && text[1] != 'R' && !bytes.Contains(text, []byte(":")) {
		return false
	}
	all := narrowed(c.piece(0, min(c.Size, headBytes)))
	for _, w := range xmlWords {
		if bytes.Contains(all, []byte(w)) {
			return true
		}
	}
	return false
}

// narrowed is text in UTF-16 as UTF-8; other text is as it was.
func narrowed(b []byte) []byte {
	order := 0
	switch {
	case bytes.HasPrefix(b, []byte("\xFF\xFE")), len(b) > 3 && b[0] == '<' && b[1] == 0:
	case bytes.HasPrefix(b, []byte("\xFE\xFF")), len(b) > 3 && b[0] == 0 && b[1] == '<':
		order = 1
	default:
		return bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))
	}
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) > 1; b = b[2:] {
		u = append(u, uint16(b[order])|uint16(b[1-order])<<8)
	}
	return bytes.TrimPrefix([]byte(string(utf16.Decode(u))), []byte("\uFEFF"))
}

// binaryXML reports whether files stand in a text.
func binaryXML(text []byte) bool {
	return bytes.Contains(text, []byte("binary-data")) || bytes.Contains(text, []byte("binData")) || bytes.Contains(text, []byte("binaryData"))
}

func openXML(c *Content, l *layer) error {
	text := narrowed(c.piece(0, min(c.Size, maxXML)))
	if err := l.spend(int64(len(text))); err != nil {
		return err
	}
	if err := l.entities(string(text)); err != nil {
		return err
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // the words that count are ASCII
	var source strings.Builder
	module := ""
	var inserted bytes.Buffer // a file that stands in the text, as flat OpenDocument and the XML of Word have it
	in, count := "", 0
	for range maxXMLTokens {
		t, err := d.RawToken()
		if err != nil {
			break // a program that is stricter refuses it
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := l.element(t); err != nil {
				return err
			}
			switch t.Name.Local {
			case "binary-data", "binData", "binaryData":
				in = t.Name.Local
				inserted.Reset()
			}
			if t.Name.Space == "script" && t.Name.Local == "module" {
				module = "macro"
				if name := attribute(t, "name"); name != "" {
					module = name
				}
			}
		case xml.CharData:
			if module != "" {
				source.Write(t)
			}
			if in != "" {
				inserted.Write(t)
			}
		case xml.EndElement:
			if in == "" || t.Name.Local != in {
				continue
			}
			in = ""
			count++
			body := bytes.Clone(inserted.Bytes())
			if err := l.member(Member{Name: fmt.Sprintf("data %d", count), Size: -1, Open: func() (io.Reader, error) { return newBase64(bytes.NewReader(body)), nil }}); err != nil {
				return err
			}
		}
	}
	if c.Size > maxXML && (binaryXML(text) || bytes.Contains(text, []byte("/relationships"))) { // more of the same may be behind
		l.result.refuse(tooHungry.outcome, archiveLimit(tooHungry.text))
	}
	if module == "" {
		return nil
	}
	body := source.String()
	l.part = true
	return l.member(Member{Name: module + " (source)", Size: -1, Open: func() (io.Reader, error) { return strings.NewReader(body), nil }})
}

func attribute(t xml.StartElement, local string) string {
	for _, a := range t.Attr {
		if strings.EqualFold(a.Name.Local, local) {
			return a.Value
		}
	}
	return ""
}

// element looks at what an element loads.
func (l *layer) element(t xml.StartElement) error {
	name := strings.ToLower(t.Name.Local)
	switch {
	case name == "relationship" && strings.EqualFold(attribute(t, "TargetMode"), "External"):
		kind := attribute(t, "Type")
		l.outside(kind[strings.LastIndexByte(kind, '/')+1:], attribute(t, "Target"))
	case name == "encryption-data":
		return errEncrypted
	case name == "object", name == "object-ole", name == "plugin", name == "floating-frame", name == "template", name == "section-source", name == "applet":
		if target := attribute(t, "href"); strings.Contains(target, ":") || strings.HasPrefix(target, "//") || strings.HasPrefix(target, `\\`) {
			l.outside("oleObject", target)
		}
	case name == "event-listener":
		if target := attribute(t, "href"); target != "" {
			l.note(report.Finding{Check: report.CheckStructure, Rule: "macro", Severity: report.Warn, Offset: -1,
				Text: "The document runs a macro when something happens to it, such as that it is opened."})
		}
	}
	return nil
}

// outside tells what a document takes from somewhere else. A link that a person has to follow is nothing to tell; a picture or
// the values of another workbook are loaded and run nothing.
func (l *layer) outside(kind, target string) {
	switch strings.ToLower(kind) {
	case "hyperlink":
		// CVE-2022-30190: a link that a protocol handler of Windows runs.
		if scheme, _, ok := strings.Cut(strings.ToLower(strings.TrimSpace(target)), ":"); ok && (strings.HasPrefix(scheme, "ms-") || scheme == "search-ms") {
			l.note(documentExternal())
		}
	case "image", "externallinkpath", "externallink", "video", "audio", "media", "printersettings", "xlpathmissing", "xlexternallinkpath/xlpathmissing", "customxml":
		l.note(documentLink())
	default: // attachedTemplate, oleObject, frame, subDocument, package, and whatever a later version adds
		l.note(documentExternal())
	}
}

func documentExternal() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "document-external", Severity: report.Warn, Offset: -1,
		Text: "The document loads a template, an object or a page from somewhere else when it is opened."}
}

func documentLink() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "document-link", Severity: report.Inform, Offset: -1,
		Text: "The document refers to pictures, values or pages that are somewhere else."}
}

// entities reads the declarations of a document type, wherever they stand, and adds up what they stand for.
func (l *layer) entities(text string) error {
	values := map[string]string{}
	for n := 0; ; n++ {
		_, after, ok := strings.Cut(text, "<!ENTITY")
		if !ok {
			break
		}
		if n == maxEntities {
			return tooManyEntities
		}
		text = after
		rest := strings.TrimLeft(after, " \t\r\n%")
		end := strings.IndexAny(rest[:min(len(rest), maxControl)], " \t\r\n")
		if end < 0 {
			continue
		}
		name, rest := rest[:end], strings.TrimLeft(rest[end:], " \t\r\n")
		if strings.HasPrefix(rest, "SYSTEM") || strings.HasPrefix(rest, "PUBLIC") {
			l.note(documentExternal())
			continue
		}
		if rest == "" || rest[0] != '"' && rest[0] != '\'' {
			continue
		}
		if value, _, ok := strings.Cut(rest[1:], rest[:1]); ok && values[name] == "" { // the first counts
			values[name] = value
		}
	}
	sizes := map[string]int64{}
	for name := range values {
		if expansion(name, values, sizes, 0) > maxExpansion {
			return tooManyEntities
		}
	}
	return nil
}

// expansion is the size of what an entity stands for, or more than the limit if it stands for itself.
func expansion(name string, values map[string]string, sizes map[string]int64, depth int) int64 {
	const under = -1
	if size, ok := sizes[name]; ok {
		if size == under {
			return maxExpansion + 1
		}
		return size
	}
	value, ok := values[name]
	if !ok {
		return 1
	}
	if depth > MaxDepth {
		return maxExpansion + 1
	}
	sizes[name] = under
	total := int64(0)
	for value != "" && total <= maxExpansion {
		i := strings.IndexAny(value, "&%")
		if i < 0 {
			total += int64(len(value))
			break
		}
		total += int64(i)
		other, rest, ok := strings.Cut(value[i+1:], ";")
		if !ok {
			total += int64(len(value) - i)
			break
		}
		total += expansion(other, values, sizes, depth+1)
		value = rest
	}
	sizes[name] = min(total, maxExpansion+1)
	return sizes[name]
}
