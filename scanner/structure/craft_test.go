package structure

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"strings"
	"unicode/utf16"
)

// The parts from which the tests' files are made: each only as real as a signature needs.

func zeros(n int) string { return strings.Repeat("\x00", n) }

func u16(v int) string { return string(le.AppendUint16(nil, uint16(v))) }
func u32(v int) string { return string(le.AppendUint32(nil, uint32(v))) }

// aPE is a program for Windows with its header at 128.
func aPE() string { return "MZ" + zeros(58) + u32(128) + zeros(64) + "PE\x00\x00\x64\x86" + zeros(300) }

func anELF() string  { return "\x7fELF\x02\x01\x01" + zeros(200) }
func aMachO() string { return "\xCF\xFA\xED\xFE\x07\x00\x00\x01" + zeros(200) }
func aClass() string { return "\xCA\xFE\xBA\xBE\x00\x00\x00\x41" + zeros(200) }
func aFat() string   { return "\xCA\xFE\xBA\xBE\x00\x00\x00\x02" + zeros(200) }
func aPNG() string   { return "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + zeros(60) }
func aJPEG() string  { return "\xFF\xD8\xFF\xE0\x00\x10JFIF\x00\x01\x01" + zeros(100) }
func aGIF() string   { return "GIF89a\x10\x00\x10\x00\x80\x00\x00" + zeros(60) }
func aTIFF() string  { return "II*\x00\x08\x00\x00\x00" + zeros(60) }
func aBMP() string   { return "BM" + u32(200) + zeros(4) + u32(54) + u32(40) + zeros(150) }
func aPDF() string {
	return "%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Size 1 >>\n%%EOF\n"
}
func anOLE(names ...string) string {
	s := "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1" + zeros(504)
	for _, n := range names {
		s += wide(n) + zeros(128-2*len(n))
	}
	return s + zeros(512)
}

// aZIP has a member of each name, stored, not packed.
func aZIP(names ...string) string {
	var members []string
	for _, n := range names {
		members = append(members, n, "content of "+n)
	}
	return aZIPOf(members...)
}

// aZIPOf has members by name and content.
func aZIPOf(members ...string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, _ := z.CreateHeader(&zip.FileHeader{Name: members[i], Method: zip.Store}) // memory takes every write
		w.Write([]byte(members[i+1]))
	}
	z.Close()
	return b.String()
}

// aTAR has one member.
func aTAR(name, content string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644})
	w.Write([]byte(content))
	w.Close()
	return b.String()
}

// lockedZIP has the flag of encryption in both headers of its member.
func lockedZIP() string {
	b := []byte(aZIP("secret.txt"))
	b[6] |= 1
	b[bytes.Index(b, []byte("PK\x01\x02"))+8] |= 1
	return string(b)
}

// anElement is one of DICOM, in explicit VR, little endian.
func anElement(group, element int, vr, value string) string {
	if len(value)%2 == 1 {
		value += "\x00"
	}
	if vr == "OB" || vr == "SQ" {
		return u16(group) + u16(element) + vr + "\x00\x00" + u32(len(value)) + value
	}
	return u16(group) + u16(element) + vr + u16(len(value)) + value
}

const (
	ctImage  = "1.2.840.10008.5.1.4.1.1.2"
	explicit = "1.2.840.10008.1.2.1"
)

// aStudyOf is a DICOM object of a class behind any preamble.
func aStudyOf(preamble, class, body string) string {
	meta := anElement(2, 1, "OB", "\x00\x01") + anElement(2, 2, "UI", class) + anElement(2, 3, "UI", "1.2.3") + anElement(2, 16, "UI", explicit)
	return preamble + zeros(128-len(preamble)) + "DICM" + anElement(2, 0, "UL", u32(len(meta))) + meta + body
}

func anImage() string { return aStudyOf("", ctImage, anElement(8, 5, "CS", "ISO_IR 100")) }

// aDICOMDIR names files, each with '\' between its components.
func aDICOMDIR(files ...string) string {
	items := ""
	for _, f := range files {
		record := anElement(4, 0x1400, "UL", u32(0)) + anElement(4, 0x1430, "CS", "IMAGE ") + anElement(4, 0x1500, "CS", f)
		items += "\xFE\xFF\x00\xE0" + u32(len(record)) + record
	}
	return aStudyOf("", "1.2.840.10008.1.3.10", anElement(4, 0x1130, "CS", "TEST")+anElement(4, 0x1220, "SQ", items))
}

// lnkSpec is a shortcut to be made.
type lnkSpec struct {
	items      []string // of the list of identifiers, as they are
	base, net  string   // of LinkInfo
	relative   string
	arguments  string
	icon       string
	attributes int
	blocks     string
	behind     string
}

func (s lnkSpec) make() string {
	flags := isUnicode
	body := ""
	if s.items != nil {
		flags |= hasIDList
		list := ""
		for _, it := range s.items {
			list += u16(len(it)+2) + it
		}
		list += "\x00\x00"
		body += u16(len(list)) + list
	}
	if s.base != "" || s.net != "" {
		flags |= hasLinkInfo
		data, base, net := "", 0, 0
		if s.base != "" {
			base = 28
			data = s.base + "\x00"
		}
		if s.net != "" {
			net = 28 + len(data)
			data += u32(20+len(s.net)+1) + u32(2) + u32(20) + u32(0) + u32(0x20000) + s.net + "\x00"
		}
		suffix := 28 + len(data)
		data += "\x00"
		body += u32(28+len(data)) + u32(28) + u32(1) + u32(0) + u32(base) + u32(net) + u32(suffix) + data
	}
	for _, p := range []struct {
		flag int
		text string
	}{{hasRelative, s.relative}, {hasArguments, s.arguments}, {hasIcon, s.icon}} {
		if p.text != "" {
			flags |= p.flag
			body += u16(len(utf16.Encode([]rune(p.text)))) + wide(p.text)
		}
	}
	return u32(76) + shortcutClass + u32(flags) + u32(s.attributes) + zeros(24) + u32(0) + u32(0) + u32(1) + zeros(12) + body + s.blocks + u32(0) + s.behind
}

// fileItem is an identifier of the shell for a file.
func fileItem(name string) string { return "\x32\x00" + zeros(10) + name + "\x00" }

// block is an extra block of a shortcut.
func block(signature int, body string) string { return u32(8+len(body)) + u32(signature) + body }

func padded(s string, n int) string { return s + zeros(n-len(s)) }

// anISO is a disc's image with one volume descriptor.
func anISO() string { return zeros(isoOffset) + "\x01CD001\x01" + zeros(2041) }
