package structure

import (
	"bytes"
	"slices"
	"strings"
)

const (
	// maxMembers bounds how many entries of a table of contents are read: R6's limit on members.
	maxMembers = 100_000
	zipEndSize = 22
	// zipEndRange is where an end record can be: its own size and the longest comment behind it. APPNOTE.TXT 4.3.16.
	zipEndRange = 1<<16 - 1 + zipEndSize
)

// zipDirectory is what a ZIP's table of contents says. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
type zipDirectory struct {
	start     int64 // of the archive's first member, as far as it can be told
	entries   int64
	exact     bool // the archive ends where the content ends
	encrypted bool
	macro     bool
	jar, apk  bool
	office    string // the media type of an Office document
}

// zipDirectory looks for an end record from the end backwards, as unpackers do, and believes one whose table is where it
// says. Content in front of the archive is allowed, as in every self-extracting program.
func (v *view) zipDirectory() (zipDirectory, bool) {
	end, base := v.end(zipEndRange)
	// Every record is found from the front, because Go searches much faster forwards, and then tried from the back.
	var places []int
	for at := 0; ; at += 4 {
		i := bytes.Index(end[at:], []byte("PK\x05\x06"))
		if i < 0 {
			break
		}
		at += i
		places = append(places, at)
	}
	for _, at := range slices.Backward(places) {
		if d, ok := v.endRecord(base + int64(at)); ok {
			return d, true
		}
	}
	return zipDirectory{}, false
}

func (v *view) endRecord(at int64) (zipDirectory, bool) {
	r := v.at(at, zipEndSize)
	if r == nil {
		return zipDirectory{}, false
	}
	d := zipDirectory{entries: int64(le.Uint16(r[10:])), exact: at+zipEndSize+int64(le.Uint16(r[20:])) == v.size}
	length, offset, end := int64(le.Uint32(r[12:])), int64(le.Uint32(r[16:])), at
	if z := v.at(at-20-56, 56); z != nil && v.has(at-20, "PK\x06\x07") && string(z[:4]) == "PK\x06\x06" {
		end = at - 20 - 56
		d.entries, length, offset = int64(le.Uint64(z[32:])), int64(le.Uint64(z[40:])), int64(le.Uint64(z[48:]))
	}
	if length < 0 || length > end || d.entries < 0 || offset < 0 {
		return zipDirectory{}, false
	}
	table := end - length
	d.start = max(table-offset, 0)
	if d.entries == 0 {
		return d, length == 0
	}
	if first := v.at(table, 4); first != nil && string(first) != "PK\x01\x02" || length < 46 {
		return zipDirectory{}, false
	}
	v.members(&d, table, end)
	return d, true
}

// members reads the entries that are in memory. A table that breaks off is what an unpacker would report; here it ends.
func (v *view) members(d *zipDirectory, at, end int64) {
	var types, word, sheet, slide, java, android, dalvik bool
	for range maxMembers {
		h := v.at(at, 46)
		if h == nil || at+46 > end || string(h[:4]) != "PK\x01\x02" {
			break
		}
		n := v.at(at+46, int64(le.Uint16(h[28:])))
		d.encrypted = d.encrypted || le.Uint16(h[8:])&1 != 0 || le.Uint16(h[10:]) == 99 // 99: AES
		at += 46 + int64(le.Uint16(h[28:])) + int64(le.Uint16(h[30:])) + int64(le.Uint16(h[32:]))
		member := strings.ReplaceAll(string(lower(n)), `\`, "/")
		types = types || member == "[content_types].xml"
		word = word || strings.HasPrefix(member, "word/")
		sheet = sheet || strings.HasPrefix(member, "xl/")
		slide = slide || strings.HasPrefix(member, "ppt/")
		java = java || member == "meta-inf/manifest.mf" || strings.HasSuffix(member, ".class")
		android = android || member == "androidmanifest.xml"
		dalvik = dalvik || member == "classes.dex"
		d.macro = d.macro || strings.HasSuffix(member, "vbaproject.bin") || strings.HasPrefix(member, "xl/macrosheets/") ||
			strings.HasPrefix(member, "basic/") && strings.HasSuffix(member, "/script-lb.xml")
	}
	const office = "application/vnd.openxmlformats-officedocument."
	switch {
	case types && word:
		d.office = office + "wordprocessingml.document"
	case types && sheet:
		d.office = office + "spreadsheetml.sheet"
	case types && slide:
		d.office = office + "presentationml.presentation"
	}
	d.apk, d.jar = android && dalvik, java
}

// containers looks at what holds other things: macros, encryption, disk images.
func (in *inspection) containers() {
	forms := in.is.forms
	if forms.any(images) {
		in.found.add(diskImage)
	}
	if forms.any(setOf(zipFront, zipBack)) {
		if d, ok := in.zipDirectory(); ok {
			if d.macro {
				in.found.add(macro)
			}
			in.encrypted = in.encrypted || d.encrypted
		}
		if h := in.at(0, 30); h != nil && string(h[:4]) == "PK\x03\x04" && le.Uint16(h[6:])&1 != 0 {
			in.encrypted = true
		}
	}
	if forms.has(ole) {
		// The names of storages and streams stand in the file as they are, each in one sector ([MS-CFB] 2.6.1), so a search
		// finds them in a damaged file too.
		if in.contains(wide("_VBA_PROJECT")) || in.contains(wide("VBA")+"\x00\x00") || in.contains(wide("_VBA_PROJECT_CUR")) {
			in.found.add(macro)
		}
		if in.contains(wide("EncryptedPackage")) || in.contains(wide("EncryptionInfo")) {
			in.encrypted = true
		}
	}
	if forms.has(pdf) && in.lockedPDF() || forms.has(rar) && in.lockedRAR() || forms.has(sevenZip) && in.lockedSevenZip() {
		in.encrypted = true
	}
	if in.encrypted {
		in.found.add(encryptedContent)
	}
}

// lockedPDF looks for the Encrypt entry of a trailer. ISO 32000-1 section 7.5.5. Any letter of a name may be written as
// '#' and two digits (7.3.5), so each name is compared in that form too.
func (in *inspection) lockedPDF() bool {
	for _, part := range [][]byte{in.head, in.tail} {
		for {
			i := bytes.IndexByte(part, '/')
			if i < 0 {
				break
			}
			part = part[i+1:]
			if rest, ok := cutName(part, "Encrypt"); ok {
				rest = bytes.TrimLeft(rest, " \t\r\n\f\x00")
				if len(rest) > 0 && (rest[0] == '<' || rest[0] >= '0' && rest[0] <= '9') {
					return true
				}
			}
		}
	}
	return false
}

// cutName cuts a PDF name off the beginning of b.
func cutName(b []byte, name string) ([]byte, bool) {
	for i := range len(name) {
		switch {
		case len(b) > 0 && b[0] == name[i]:
			b = b[1:]
		case len(b) > 2 && b[0] == '#' && unhex(b[1])<<4|unhex(b[2]) == int(name[i]):
			b = b[3:]
		default:
			return nil, false
		}
	}
	return b, len(b) > 0 && strings.IndexByte(" \t\r\n\f\x00<", b[0]) >= 0
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
	return 1 << 8
}

// lockedRAR reads the first headers: an archive whose headers are encrypted, or whose first file is.
// https://www.rarlab.com/technote.htm
func (in *inspection) lockedRAR() bool {
	if in.has(0, "Rar!\x1A\x07\x01\x00") {
		b := in.at(12, 4) // behind the header's checksum: its size, a number of one to three bytes, then its type
		for i := 0; i < len(b)-1; i++ {
			if b[i]&0x80 == 0 {
				return b[i+1] == 4
			}
		}
		return false
	}
	h := in.at(7, 13)
	if h == nil || h[2] != 0x73 {
		return false
	}
	if le.Uint16(h[3:])&0x80 != 0 {
		return true
	}
	f := in.at(7+int64(le.Uint16(h[5:])), 7)
	return f != nil && f[2] == 0x74 && le.Uint16(f[3:])&4 != 0
}

// lockedSevenZip looks for the number of the AES method in the header at the end. What a packed header hides is left to
// whoever unpacks it.
func (in *inspection) lockedSevenZip() bool {
	end, _ := in.end(1 << 16)
	return bytes.Contains(end, []byte("\x06\xF1\x07\x01"))
}
