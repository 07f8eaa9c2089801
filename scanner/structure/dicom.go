package structure

import (
	"bytes"
	"path"
	"strings"
)

const (
	// maxMeta bounds the elements of a file's own header. PS3.10 table 7.1-1 names 18.
	maxMeta = 64
	// maxReferences bounds the files that a DICOMDIR names: ten times a full CD of small images.
	maxReferences = 1 << 18
	// maxDepth and maxComponent are PS3.10's rules for the identifiers of files (section 8.2).
	maxDepth     = 8
	maxComponent = 8
)

// The SOP classes of objects that carry a document. https://dicom.nema.org/medical/dicom/current/output/chtml/part06/chapter_A.html
var carriers = map[string]rule{
	"1.2.840.10008.5.1.4.1.1.104.1": dicomPDF,
	"1.2.840.10008.5.1.4.1.1.104.2": dicomCDA,
	"1.2.840.10008.5.1.4.1.1.104.3": dicomModel, // STL
	"1.2.840.10008.5.1.4.1.1.104.4": dicomModel, // OBJ
	"1.2.840.10008.5.1.4.1.1.104.5": dicomModel, // MTL
}

// study judges a DICOM object: what lies in front of it, its header, what it carries.
// https://dicom.nema.org/medical/dicom/current/output/chtml/part10/chapter_7.html
func (in *inspection) study() {
	if !in.is.forms.has(dicom) {
		return
	}
	from := int64(0)
	if in.has(128, "DICM") {
		from = 132
	}
	meta, ok := in.meta(from)
	if from > 0 && !ok {
		in.found.add(dicomDamaged)
	}
	carried, carries := carriers[meta.class]
	if carries {
		in.found.add(carried)
	}
	if from > 0 {
		in.preamble(carried == dicomPDF && carries)
	}
	if in.name.base == "dicomdir" {
		in.set = in.directory(from, meta.syntax)
	}
}

// preamble judges the first 128 bytes, which PS3.10 leaves to anybody. Only zeros and the head of a TIFF have a use there.
func (in *inspection) preamble(carriesPDF bool) {
	front := in.at(0, 128)
	forms := in.is.forms
	document := bytes.Index(in.head[:min(len(in.head), pdfBytes)], []byte("%PDF-"))
	switch {
	case forms.any(natives | (atFront &^ setOf(tiff))):
		in.found.addAt(dicomPreamble, 0)
	case document >= 0 && document < len(front), opens(front):
		in.found.addAt(dicomPreamble, 0)
	case forms.has(tiff):
		in.found.add(dicomTIFF)
	case bytes.Trim(front, "\x00") != nil && len(bytes.Trim(front, "\x00")) > 0:
		in.found.addAt(dicomPreambleData, 0)
	}
	if document >= len(front) && !carriesPDF {
		in.found.addAt(polyglot, int64(document))
	}
}

// opens reports whether text begins as a script or page does.
func opens(front []byte) bool {
	text := bytes.TrimLeft(lower(front), " \t\r\n")
	for _, word := range []string{"#!", "<", "@echo", "rem ", "/*", "//", "cmd", "powershell", `{\rt`} {
		if bytes.HasPrefix(text, []byte(word)) {
			return true
		}
	}
	return bytes.Contains(text, []byte("<script")) || bytes.Contains(text, []byte("<html"))
}

// bareStudy recognises an object without the 132 bytes in front, as old programs write it: the first element is of group 2
// or 8, with a length that fits it.
func (v *view) bareStudy() bool {
	b := v.at(0, 12)
	if b == nil || b[1] != 0 || b[3] != 0 || b[0] != 2 && b[0] != 8 {
		return false
	}
	switch b[2] {
	case 0: // the group's length: four bytes
		return string(b[4:8]) == "UL\x04\x00" || string(b[4:8]) == "\x04\x00\x00\x00"
	case 1:
		return string(b[4:6]) == "OB" || b[0] == 8 && le.Uint32(b[4:]) == 4
	case 5, 8, 0x16, 0x18:
		vr := string(b[4:6])
		return b[0] == 8 && (vr == "CS" && le.Uint16(b[6:]) <= 256 || vr == "UI" && le.Uint16(b[6:]) <= 64 ||
			le.Uint32(b[4:]) <= 64 && (printable(b[8:12])))
	}
	return false
}

// fileMeta is what is wanted of a file's own header.
type fileMeta struct{ class, syntax string }

// meta reads group 2, which is always explicit VR, little endian. ok is false if it breaks off or names no transfer syntax.
func (v *view) meta(at int64) (m fileMeta, ok bool) {
	for range maxMeta {
		e, n := v.element(at, true)
		if n == 0 {
			return m, false
		}
		if e.group != 2 {
			break
		}
		value := v.at(at+n, e.bytes)
		if value == nil {
			return m, false
		}
		switch e.element {
		case 0x0002:
			m.class = uid(value)
		case 0x0010:
			m.syntax = uid(value)
		}
		if at += n + e.bytes; at == v.size {
			break
		}
	}
	return m, m.syntax != "" && strings.Trim(m.syntax, "0123456789.") == ""
}

// uid is a value of VR UI without its padding; no valid one is longer than 64 bytes.
func uid(value []byte) string {
	return string(bytes.TrimRight(value[:min(len(value), 65)], "\x00 "))
}

// dataElement is the head of one. bytes is -1 for an undefined length.
type dataElement struct {
	group, element uint16
	vr             string
	bytes          int64
}

const undefinedLength = 1<<32 - 1

// element reads the head of an element and says how long that is; 0 if there is none. PS3.5 section 7.1.
func (v *view) element(at int64, explicit bool) (e dataElement, n int64) {
	b := v.at(at, 8)
	if b == nil {
		return e, 0
	}
	e.group, e.element = le.Uint16(b), le.Uint16(b[2:])
	length, n := int64(le.Uint32(b[4:])), int64(8)
	if explicit && e.group != 0xFFFE {
		e.vr = string(b[4:6])
		switch e.vr {
		case "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV":
			long := v.at(at+8, 4)
			if long == nil {
				return e, 0
			}
			length, n = int64(le.Uint32(long)), 12
		case "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US":
			length = int64(le.Uint16(b[6:]))
		default:
			return e, 0
		}
	}
	if length == undefinedLength {
		length = -1
	}
	e.bytes = length
	return e, n
}

// fileSet is what a DICOMDIR says of its files.
type fileSet struct {
	files   map[uint64]struct{} // hashes of their paths
	folders map[uint64]struct{} // hashes of the first components of those that lie in folders
	odd     bool                // an identifier breaks the rules for names
	damaged bool                // it could not be read in full
	more    bool                // it names more than maxReferences
}

// directory reads a DICOMDIR. Its records are items of one sequence (PS3.3 section F.3), and only which files they name is
// wanted, so sequences and items are stepped into, everything else is stepped over, and no nesting is kept.
func (v *view) directory(at int64, syntax string) *fileSet {
	set := &fileSet{files: map[uint64]struct{}{}, folders: map[uint64]struct{}{}}
	explicit := syntax != "1.2.840.10008.1.2"
	if !v.whole() || syntax != "1.2.840.10008.1.2.1" && explicit {
		set.damaged = true // PS3.10 8.6 wants explicit VR, little endian; implicit VR is read too
		if !v.whole() {
			return set
		}
	}
	meta := true
	for at < v.size {
		e, n := v.element(at, explicit || meta)
		if meta && n > 0 && e.group != 2 {
			meta = false
			e, n = v.element(at, explicit)
		}
		if n == 0 {
			set.damaged = true
			return set
		}
		at += n
		sequence := e.vr == "SQ" || e.group == 4 && e.element == 0x1220
		if e.group == 0xFFFE || sequence {
			continue // items, their ends, and what they are in: step inside
		}
		value := v.at(at, e.bytes) // nil for an undefined length too
		if value == nil {
			set.damaged = true
			return set
		}
		if e.group == 4 && e.element == 0x1500 {
			set.add(value)
		}
		at += e.bytes
	}
	return set
}

// add notes one referenced file: components of capitals, digits and '_' between backslashes.
func (s *fileSet) add(value []byte) {
	id := strings.TrimRight(string(value[:min(len(value), 1024)]), " \x00")
	if id == "" {
		return
	}
	parts := strings.Split(id, `\`)
	s.odd = s.odd || len(parts) > maxDepth
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
		s.odd = s.odd || p == "" || len(p) > maxComponent || strings.Trim(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != ""
	}
	if len(s.files) >= maxReferences {
		s.more = true
		return
	}
	full := strings.ToLower(path.Join(parts...))
	s.files[hash(full)] = struct{}{}
	if top, _, inside := strings.Cut(full, "/"); inside {
		s.folders[hash(top)] = struct{}{}
	}
}
