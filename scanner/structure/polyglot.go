package structure

import (
	"bytes"
	"strings"
)

// polyglots finds content with two signatures that do not belong together. What is a ZIP by nature (OOXML, JAR, APK, EPUB)
// has one at its beginning and is none; nor is a DICOM object with a TIFF in front, which PS3.10 7.1 allows.
func (in *inspection) polyglots() {
	forms := in.is.forms
	if forms.has(zipBack) {
		in.archiveBehind()
	}
	if forms.has(pdf) {
		in.documentInside()
	}
	if forms.any(images) && forms.any(atFront&^setOf(vhdx, vmdk, qcow)) || forms.any(images) && forms.any(setOf(pdf, html, dicom)) {
		in.found.add(polyglot)
	}
	if forms.any(pictures) {
		in.pictureAndPage()
	}
	if forms.any(pictures|setOf(pdf, rtf)) && !forms.has(dicom) {
		// Unpackers look for these behind other content, because that is how self-extracting programs are made.
		for _, word := range []string{"Rar!\x1A\x07\x00", "Rar!\x1A\x07\x01\x00", "7z\xBC\xAF\x27\x1C\x00"} {
			i := bytes.Index(in.head, []byte(word))
			switch {
			case i <= 0:
			case forms.has(pdf) && bytes.Contains(in.head[i:], []byte("%%EOF")):
				in.found.addAt(embeddedArchive, int64(i)) // a file that is attached to the document, and not packed
			default:
				in.found.addAt(polyglot, int64(i))
			}
		}
	}
}

// archiveBehind judges a ZIP at the end of something else.
func (in *inspection) archiveBehind() {
	d, _ := in.zipDirectory()
	forms, kind := in.is.forms, in.is.Type
	known := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(kind, p) {
				return true
			}
		}
		return false
	}
	switch {
	case forms.any(natives|scripts|setOf(msi, chm)) && !forms.any(setOf(dicom, pdf)):
		in.found.addAt(selfExtracting, d.start)
	case forms.any(archives|setOf(ole)) || known("application/x-tar", "application/vnd.debian", "application/x-archive", "application/x-cpio",
		"application/x-chrome-extension", "application/x-rpm", "application/vnd.sqlite3", "message/", "application/x-xz", "application/zstd"):
		// Archives and documents of parts hold others as they are. Only an end in common is odd.
		if d.exact && kind != "application/x-chrome-extension" {
			in.found.addAt(embeddedArchive, d.start)
		}
	case !d.exact, known(anyType, "text/plain", "application/zip"):
		in.found.addAt(embeddedArchive, d.start)
	default:
		in.found.addAt(polyglot, d.start)
	}
}

// documentInside judges a PDF that begins behind the first byte.
func (in *inspection) documentInside() {
	forms := in.is.forms
	at := int64(bytes.Index(in.head[:min(len(in.head), pdfBytes)], []byte("%PDF-")))
	switch {
	case at <= 0:
	case forms.has(dicom): // study judges it: a document in front of an object, or one that the object carries
	case forms.has(zipFront):
		// A member that is stored, not packed, begins like that; only the first member can lie there by nature.
		if h := in.at(0, 30); h == nil || at != 30+int64(le.Uint16(h[26:]))+int64(le.Uint16(h[28:])) {
			in.found.addAt(embeddedDocument, at)
		}
	case forms.any(natives | scripts | pictures | setOf(lnk, rtf, html, chm)):
		in.found.addAt(polyglot, at)
	}
}

// pictureAndPage finds pictures that a browser or script host reads as well: markup in the first bytes, or the first bytes
// arranged so that they are a comment or an assignment in JavaScript.
func (in *inspection) pictureAndPage() {
	head := in.head[:min(len(in.head), 4096)]
	for _, word := range []string{"<script", "<html", "<hta:", "<?php", "<iframe"} {
		if containsFold(head, word) {
			in.found.add(polyglot)
			return
		}
	}
	letters := int64(2) // BM
	if in.is.forms.has(gif) {
		letters = 6
	} else if !in.is.forms.has(bmp) {
		return
	}
	if in.has(letters, "/*") || in.has(letters, "=") && printable(in.at(letters, min(16, in.size-letters))) {
		in.found.add(polyglot)
	}
}
