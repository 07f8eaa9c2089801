package rules

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// wraps are what a recipe can put around content. What comes out is as much of the format as rules look at, and nothing
// that a computer would run.
var wraps = map[string]func(content []byte, arg string) ([]byte, error){
	"base64": func(content []byte, _ string) ([]byte, error) {
		return []byte(base64.StdEncoding.EncodeToString(content)), nil
	},
	"hex": func(content []byte, _ string) ([]byte, error) { return []byte(hex.EncodeToString(content)), nil },
	// A Windows program: the content is its last section, where it also starts. "pe:NAME,NAME" names the sections; a name with
	// a plus sign before it is one that can be both written and run.
	"pe": wrapPE,
	// A 64-bit Linux program.
	"elf": func(content []byte, _ string) ([]byte, error) { return append(elfHead(len(content)), content...), nil },
	// A shortcut: the content stands where its arguments do. It is not made wide by this.
	"lnk": func(content []byte, _ string) ([]byte, error) { return append(lnkHead(), content...), nil },
	// A compound file (Word, Excel and PowerPoint before 2007, installers): its first sector, then the content.
	"ole": func(content []byte, _ string) ([]byte, error) { return append(oleHead(), content...), nil },
	// An archive with one member, stored. "zip:NAME" names it.
	"zip": wrapZIP,
	// A DICOM object with a private element that holds the content.
	"dicom": wrapDICOM,
	// A PDF document: the content stands among its objects.
	"pdf": func(content []byte, _ string) ([]byte, error) {
		return fmt.Appendf(nil, "%%PDF-1.7\n%s\ntrailer\n<< /Root 1 0 R >>\n%%%%EOF\n", content), nil
	},
}

// wrapPE follows https://learn.microsoft.com/en-us/windows/win32/debug/pe-format. All sections but the last are empty.
func wrapPE(content []byte, arg string) ([]byte, error) {
	if arg == "" {
		arg = ".text"
	}
	names := strings.Split(arg, ",")
	if len(names) > 16 {
		return nil, errors.New("more than 16 sections")
	}
	const header, optional, raw, page = 0x80, 0xE0, 0x600, 0x1000
	out := make([]byte, raw, raw+len(content))
	copy(out, "MZ")
	le := binary.LittleEndian
	le.PutUint32(out[0x3C:], header)
	copy(out[header:], "PE\x00\x00")
	le.PutUint16(out[header+4:], 0x14C) // i386
	le.PutUint16(out[header+6:], uint16(len(names)))
	le.PutUint16(out[header+20:], optional)
	le.PutUint16(out[header+22:], 0x102) // executable, 32 bits
	opt := header + 24
	le.PutUint16(out[opt:], 0x10B)
	le.PutUint32(out[opt+16:], uint32(len(names)*page)) // where it starts: the last section
	le.PutUint32(out[opt+28:], 0x400000)
	le.PutUint32(out[opt+32:], page)
	le.PutUint32(out[opt+36:], 0x200)
	le.PutUint32(out[opt+56:], uint32((len(names)+1)*page+len(content)))
	le.PutUint32(out[opt+60:], raw)
	le.PutUint16(out[opt+68:], 2)  // a window
	le.PutUint32(out[opt+92:], 16) // directories
	for i, name := range names {
		name, both := strings.CutPrefix(name, "+")
		if len(name) > 8 {
			return nil, fmt.Errorf("section %q: more than 8 bytes", name)
		}
		at := opt + optional + 40*i
		copy(out[at:], name)
		le.PutUint32(out[at+8:], page)
		le.PutUint32(out[at+12:], uint32((i+1)*page))
		le.PutUint32(out[at+36:], 0x60000020) // code
		if both {
			le.PutUint32(out[at+36:], 0xE0000020) // and it can be written to, as packers have it
		}
		if i == len(names)-1 {
			le.PutUint32(out[at+16:], uint32(len(content)))
			le.PutUint32(out[at+20:], raw)
		}
	}
	return append(out, content...), nil
}

// elfHead follows https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html: one segment that is loaded whole.
func elfHead(size int) []byte {
	out := make([]byte, 120)
	copy(out, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(out[16:], 2)
	le.PutUint16(out[18:], 62)
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[24:], 0x400078)
	le.PutUint64(out[32:], 64)
	le.PutUint16(out[52:], 64)
	le.PutUint16(out[54:], 56)
	le.PutUint16(out[56:], 1)
	le.PutUint32(out[64:], 1)
	le.PutUint32(out[68:], 5)
	le.PutUint64(out[80:], 0x400000)
	le.PutUint64(out[88:], 0x400000)
	le.PutUint64(out[96:], uint64(120+size))
	le.PutUint64(out[104:], uint64(120+size))
	le.PutUint64(out[112:], 0x1000)
	return out
}

// lnkHead follows [MS-SHLLINK] 2.1, with arguments and wide strings.
// https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-shllink/
func lnkHead() []byte {
	out := make([]byte, 76)
	copy(out, "\x4C\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46")
	binary.LittleEndian.PutUint32(out[20:], 0x20|0x80)
	return out
}

// oleHead follows [MS-CFB] 2.2. https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-cfb/
func oleHead() []byte {
	out := make([]byte, 512)
	copy(out, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")
	copy(out[24:], "\x3E\x00\x03\x00\xFE\xFF\x09\x00\x06\x00")
	return out
}

func wrapZIP(content []byte, arg string) ([]byte, error) {
	if arg == "" {
		arg = "content"
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.CreateHeader(&zip.FileHeader{Name: arg, Method: zip.Store}) // no time: the same bytes each day
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// wrapDICOM follows https://dicom.nema.org/medical/dicom/current/output/html/part10.html#chapter_7.
func wrapDICOM(content []byte, _ string) ([]byte, error) {
	out := make([]byte, 128, 512+len(content))
	out = append(out, "DICM"...)
	short := func(group, element uint16, vr, value string) {
		out = binary.LittleEndian.AppendUint16(out, group)
		out = binary.LittleEndian.AppendUint16(out, element)
		out = append(out, vr...)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(value)))
		out = append(out, value...)
	}
	const secondaryCapture, explicitLittle = "1.2.840.10008.5.1.4.1.1.7\x00", "1.2.840.10008.1.2.1\x00"
	meta := 8 + len(secondaryCapture) + 8 + len("2.25.1\x00\x00") + 8 + len(explicitLittle)
	short(2, 0, "UL", string(binary.LittleEndian.AppendUint32(nil, uint32(meta))))
	short(2, 2, "UI", secondaryCapture)
	short(2, 3, "UI", "2.25.1\x00\x00")
	short(2, 0x10, "UI", explicitLittle)
	short(8, 0x16, "UI", secondaryCapture)
	short(9, 0x10, "LO", "PRATIQUE")
	if len(content)%2 == 1 {
		content = append(bytes.Clone(content), 0)
	}
	out = append(out, "\x09\x00\x01\x10OB\x00\x00"...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(content)))
	return append(out, content...), nil
}
