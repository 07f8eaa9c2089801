package structure

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"pratique/scanner/report"
)

const (
	// labelBytes is how much of the content its label is taken from. The library reads no more by default either.
	labelBytes = 3072
	// EmptyType is the type of content of no bytes: the library would call it text.
	EmptyType = "inode/x-empty"
	dicomType = "application/dicom"
	peType    = "application/vnd.microsoft.portable-executable"
	zipType   = "application/zip"
	anyType   = "application/octet-stream"
	// maxTypeBytes is longer than every type that is known.
	maxTypeBytes = 255
	// pdfBytes is where readers look for the head of a PDF. ISO 32000-1 Annex H.3, implementation note 13.
	pdfBytes = 1024
	// isoOffset is the first volume descriptor. ECMA-119 section 6.2.1.
	isoOffset = 16 * 2048
)

// Identity says what content is.
type Identity struct {
	Type string   // one media type, for policies: what a computer would most dangerously take it for
	Also []string // further types that the same bytes can be read as

	forms formSet
}

// Runs reports whether a computer could run the content: a program, a script, or a shortcut to one, whatever else it is too.
func (id Identity) Runs() bool { return id.forms.any(programs | scripts | setOf(lnk)) }

// PartType is the type of what Passive says yes to inside a document. A policy's list of types is about what people and
// devices open, and is not asked about it.
const PartType = report.PartType

// Passive reports whether content does nothing by itself and holds nothing: texts, pictures and data, as documents are made of.
func (id Identity) Passive() bool {
	return id.Type != "" && !id.forms.any(programs|scripts|archives|images|setOf(lnk, html, pdf, rtf, ole, zipBack, dicom))
}

// form is one signature, tested by itself whatever others say.
type form uint8

const (
	pe form = iota
	dos
	elf
	macho
	dex
	class
	wasm
	msi
	jar
	apk
	chm
	hashbang
	batch
	vbs
	jscript
	wsf
	hta
	powershell
	otherScript
	lnk
	html
	pdf
	rtf
	ole
	ooxml
	zipFront
	zipBack
	rar
	sevenZip
	cab
	gz
	dicom
	tiff
	png
	jpeg
	gif
	bmp
	iso
	vhd
	vhdx
	vmdk
	qcow
	formEnd
)

type formSet uint64

func setOf(forms ...form) formSet {
	var s formSet
	for _, f := range forms {
		s |= 1 << f
	}
	return s
}

func (s formSet) has(f form) bool        { return s&(1<<f) != 0 }
func (s formSet) any(other formSet) bool { return s&other != 0 }

// The families of forms.
var (
	natives  = setOf(pe, dos, elf, macho, dex, class, wasm)
	programs = natives | setOf(msi, jar, apk, chm)
	scripts  = setOf(hashbang, batch, vbs, jscript, wsf, hta, powershell, otherScript)
	pictures = setOf(tiff, png, jpeg, gif, bmp)
	images   = setOf(iso, vhd, vhdx, vmdk, qcow)
	archives = setOf(zipFront, rar, sevenZip, cab, gz)
	// atFront are forms that begin with the first byte, so that no content has two of them.
	atFront = natives | setOf(msi, jar, apk, chm, lnk, rtf, ole, zipFront, rar, sevenZip, cab, gz, vhdx, vmdk, qcow) | pictures
)

// fronts are the signatures at the first byte that need no second look.
var fronts = []struct {
	form form
	word string
}{
	{elf, "\x7fELF"}, {dex, "dex\n"}, {wasm, "\x00asm"}, {chm, "ITSF"},
	{macho, "\xFE\xED\xFA\xCE"}, {macho, "\xFE\xED\xFA\xCF"}, {macho, "\xCE\xFA\xED\xFE"}, {macho, "\xCF\xFA\xED\xFE"},
	{macho, "\xCA\xFE\xBA\xBF"}, {macho, "\xBE\xBA\xFE\xCA"}, {macho, "\xBF\xBA\xFE\xCA"},
	{lnk, "\x4C\x00\x00\x00" + shortcutClass},
	{rtf, `{\rt`}, {ole, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"},
	{zipFront, "PK\x03\x04"}, {zipFront, "PK\x05\x06"}, {zipFront, "PK\x07\x08PK\x03\x04"},
	{rar, "Rar!\x1A\x07"}, {sevenZip, "7z\xBC\xAF\x27\x1C"}, {cab, "MSCF\x00\x00\x00\x00"}, {gz, "\x1F\x8B\x08"},
	{tiff, "II*\x00"}, {tiff, "MM\x00*"}, {tiff, "II+\x00"}, {tiff, "MM\x00+"},
	{png, "\x89PNG\r\n\x1A\n"}, {jpeg, "\xFF\xD8\xFF"}, {gif, "GIF87a"}, {gif, "GIF89a"},
	{vhdx, "vhdxfile"}, {vmdk, "KDMV"}, {vmdk, "COWD"}, {vmdk, "# Disk DescriptorFile"}, {qcow, "QFI\xFB"}, {vhd, "conectix"},
}

// media names the forms. An empty name is left to the library.
var media = [formEnd]string{
	pe: peType, dos: peType, elf: "application/x-elf", macho: "application/x-mach-binary", dex: "application/vnd.android.dex",
	class: "application/x-java-applet", wasm: "application/wasm", msi: "application/x-ms-installer",
	jar: "application/java-archive", apk: "application/vnd.android.package-archive", chm: "application/vnd.ms-htmlhelp",
	hashbang: "text/x-shellscript", batch: "text/x-msdos-batch", vbs: "text/vbscript", jscript: "text/javascript", wsf: "text/x-wsf",
	hta: "application/hta", powershell: "text/x-powershell",
	lnk: "application/x-ms-shortcut", html: "text/html", pdf: "application/pdf", rtf: "text/rtf", ole: "application/x-ole-storage",
	zipFront: zipType, zipBack: zipType, rar: "application/vnd.rar", sevenZip: "application/x-7z-compressed",
	cab: "application/vnd.ms-cab-compressed", gz: "application/gzip", dicom: dicomType, tiff: "image/tiff", png: "image/png",
	jpeg: "image/jpeg", gif: "image/gif", bmp: "image/bmp", iso: "application/x-iso9660-image", vhd: "application/x-vhd",
	vhdx: "application/x-vhdx", vmdk: "application/x-vmdk", qcow: "application/x-qemu-disk",
}

// Identify says what content is by its bytes alone. head is its beginning, all of it if there are size bytes; tail is its
// end if there are more. A zero Type means that the library broke on the content: then nobody knows what it is.
func Identify(head, tail []byte, size int64) (id Identity) {
	defer func() {
		if recover() != nil {
			id = Identity{}
		}
	}()
	v := newView(head, tail, size)
	if v.size == 0 {
		return Identity{Type: EmptyType}
	}
	label, _, _ := strings.Cut(mimetype.Detect(v.head[:min(len(v.head), labelBytes)]).String(), ";")
	if len(label) > maxTypeBytes {
		label = anyType
	}
	id.forms, id.Type = v.forms(label)
	for f := range formEnd {
		if m := media[f]; id.forms.has(f) && m != "" && m != id.Type && !sameKind(m, id.Type) && !slices.Contains(id.Also, m) {
			id.Also = append(id.Also, m)
		}
	}
	return id
}

// sameKind reports whether a form's name says no more than the type does already.
func sameKind(form, kind string) bool {
	switch form {
	case zipType:
		return strings.Contains(kind, "openxmlformats") || strings.Contains(kind, "opendocument") || strings.HasSuffix(kind, "+zip") ||
			kind == media[jar] || kind == media[apk] || strings.Contains(kind, "ms-package") || strings.Contains(kind, "kmz")
	case media[ole]:
		return kind == media[msi] || strings.HasPrefix(kind, "application/vnd.ms-") || kind == "application/msword"
	case media[elf]:
		return strings.HasPrefix(kind, "application/x-")
	case media[hashbang], media[jscript]:
		return strings.HasPrefix(kind, "text/x-")
	case media[html]:
		return kind == "application/xhtml+xml" || kind == media[hta]
	}
	return false
}

// forms tests every signature and picks the type. label is the library's opinion.
func (v *view) forms(label string) (formSet, string) {
	var s formSet
	for _, f := range fronts {
		if v.has(0, f.word) {
			s |= 1 << f.form
		}
	}
	if f, ok := v.mz(); ok {
		s |= 1 << f
	}
	if b := v.at(0, 8); b != nil && binary.BigEndian.Uint32(b) == 0xCAFEBABE {
		// The same four bytes begin a Java class, with its version behind them, and a Mach-O for several processors, with
		// their number. There is no class below version 45.
		if binary.BigEndian.Uint16(b[6:]) >= 45 {
			s |= 1 << class
		} else {
			s |= 1 << macho
		}
	}
	if v.bitmap() {
		s |= 1 << bmp
	}
	if v.has(128, "DICM") || s == 0 && v.bareStudy() {
		s |= 1 << dicom
	}
	if v.has(isoOffset, "\x01CD001") || v.has(isoOffset+2048, "\x01CD001") || v.has(isoOffset, "\x00BEA01") {
		s |= 1 << iso
	}
	if v.has(v.size-512, "conectix") { // a fixed disk has its only header at its end
		s |= 1 << vhd
	}
	if bytes.Contains(v.head[:min(len(v.head), pdfBytes)], []byte("%PDF-")) {
		s |= 1 << pdf
	}
	dir, ok := v.zipDirectory()
	if ok && !s.has(zipFront) && dir.entries > 0 {
		s |= 1 << zipBack
	}
	if s.has(zipFront) {
		switch {
		case !ok:
		case dir.apk:
			s |= 1 << apk
		case dir.jar:
			s |= 1 << jar
		case dir.office != "":
			s |= 1 << ooxml
		}
	}
	if s.has(ole) && v.installer() {
		s |= 1 << msi
	}
	if s&^setOf(pdf, zipBack) == 0 {
		s |= v.textForms(label)
	}
	if s&atFront == 0 && v.hashbang() {
		s |= 1 << hashbang // also with binary content behind the line, such as an archive
	}
	return s, v.pick(s, label, dir)
}

// pick chooses the one type that a policy sees: what a computer could run comes first, then what an imaging device would
// take it for, then the library's label where it is more than a guess.
func (v *view) pick(s formSet, label string, dir zipDirectory) string {
	first := func(from formSet) string {
		for f := range formEnd {
			if s.has(f) && from.has(f) && media[f] != "" {
				return media[f]
			}
		}
		return anyType
	}
	// The library finds the head of a PDF behind another format's, too.
	generic := label == anyType || label == "text/plain" || label == zipType || label == media[ole] || label == media[pdf] && s.any(atFront)
	switch {
	case s.any(natives):
		if own := first(natives); s.any(setOf(pe, dos, dex)) || generic || !strings.HasPrefix(label, "application/") {
			return own
		}
		return label
	case s.has(dicom):
		return dicomType
	case s.any(setOf(msi, jar, apk, chm)):
		return first(setOf(msi, jar, apk, chm))
	case s.has(ooxml) && generic:
		return dir.office
	case s.any(scripts):
		if generic || s.any(setOf(hta, wsf, jscript, vbs)) {
			return first(scripts &^ setOf(otherScript))
		}
		return label
	case generic && s.any(images):
		return first(images)
	case generic && s != 0:
		return first(^formSet(0))
	}
	return label
}

// mz tells Windows' programs from DOS's. A header that points behind what is in memory counts as Windows': a program must
// not become data because its header is far away.
// https://learn.microsoft.com/en-us/windows/win32/debug/pe-format#ms-dos-stub-image-only
func (v *view) mz() (form, bool) {
	if !v.has(0, "MZ") {
		return 0, false
	}
	if b := v.at(0x3C, 4); b != nil {
		at := int64(le.Uint32(b))
		if v.has(at, "PE\x00\x00") || at < v.size && v.at(at, 4) == nil && !v.whole() {
			return pe, true
		}
	}
	if printable(v.head[:min(len(v.head), 512)]) {
		return 0, false // a text about Mozambique
	}
	return dos, true
}

// hashbang reports whether the first line names an interpreter, as Unix reads it.
func (v *view) hashbang() bool {
	line, ok := bytes.CutPrefix(bytes.TrimPrefix(v.head[:min(len(v.head), 256)], []byte("\xEF\xBB\xBF")), []byte("#!"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("/"))
}

// printable reports whether bytes are ASCII text.
func printable(b []byte) bool {
	for _, c := range b {
		if c >= 0x7F || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// bitmap wants more than the two letters that also begin a text. https://learn.microsoft.com/en-us/windows/win32/gdi/bitmap-storage
func (v *view) bitmap() bool {
	b := v.at(0, 18)
	if b == nil || string(b[:2]) != "BM" {
		return false
	}
	switch le.Uint32(b[14:]) {
	case 12, 40, 52, 56, 64, 108, 124:
		return true
	}
	return false
}

// installer finds Windows Installer's classes in a compound file: package, transform, patch.
// https://learn.microsoft.com/en-us/windows/win32/msi/about-the-installer-database
func (v *view) installer() bool {
	const rest = "\x10\x0C\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46"
	return v.contains("\x84"+rest) || v.contains("\x82"+rest) || v.contains("\x86"+rest)
}
