package structure

import (
	"path"
	"strings"
)

// group is what a person expects of an extension.
type group uint8

const (
	activeName   group = iota // runs or leads somewhere
	documentName              // a document, a picture, sound, film or a study
	textName                  // words
	archiveName
)

// extension says which types belong to an extension. One '*' in a pattern stands for anything.
type extension struct {
	group group
	types []string
}

func (e extension) accepts(kind string) bool {
	for _, t := range e.types {
		front, back, any := strings.Cut(t, "*")
		if t == kind || any && strings.HasPrefix(kind, front) && strings.HasSuffix(kind, back) {
			return true
		}
	}
	return false
}

var (
	anyText = []string{"text/*", "application/json", "application/x-ndjson", "application/*+xml", "application/*+json",
		"message/rfc822", "application/x-subrip", "application/vnd.apple.mpegurl", "application/pkcs7-signature",
		"image/svg+xml", "image/x-portable-bitmap", "image/x-xpixmap"}
	oldWord  = []string{"application/msword", "application/x-ole-storage", "application/vnd.ms-*"}
	openZIP  = []string{zipType, "application/x-ole-storage"} // the second: encrypted, [MS-OFFCRYPTO] 1.3.2
	anyVideo = []string{"video/*", "audio/*", "application/ogg", anyType}
)

func join(lists ...[]string) []string {
	var out []string
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// extensions are the names whose promise is held against the content. A name that is not here promises nothing.
var extensions = map[string]extension{
	"pdf":  {documentName, []string{"application/pdf"}},
	"png":  {documentName, []string{"image/png", "image/apng", "image/vnd.mozilla.apng"}},
	"jpg":  {documentName, []string{"image/jpeg"}},
	"jpeg": {documentName, []string{"image/jpeg"}},
	"gif":  {documentName, []string{"image/gif"}},
	"bmp":  {documentName, []string{"image/bmp"}},
	"tif":  {documentName, []string{"image/tiff"}},
	"tiff": {documentName, []string{"image/tiff"}},
	"webp": {documentName, []string{"image/webp"}},
	"ico":  {documentName, []string{"image/*"}},
	"heic": {documentName, []string{"image/heic*", "image/heif*"}},
	"jp2":  {documentName, []string{"image/jp*"}},
	"svg":  {textName, []string{"image/svg+xml", "text/xml", "text/plain", "text/html"}},
	"dcm":  {documentName, []string{dicomType}},
	"dic":  {documentName, []string{dicomType, "text/*"}}, // also a spelling dictionary
	"doc":  {documentName, join(oldWord, []string{"text/rtf"}, openZIP)},
	"dot":  {documentName, join(oldWord, []string{"text/rtf", "text/plain"})}, // also a graph
	"xls":  {documentName, oldWord},
	"ppt":  {documentName, oldWord},
	"rtf":  {documentName, []string{"text/rtf"}},
	"docx": {documentName, join(openZIP, []string{"application/vnd.openxmlformats-officedocument.wordprocessingml*"})},
	"docm": {documentName, join(openZIP, []string{"application/vnd.openxmlformats-officedocument.wordprocessingml*"})},
	"xlsx": {documentName, join(openZIP, []string{"application/vnd.openxmlformats-officedocument.spreadsheetml*"})},
	"xlsm": {documentName, join(openZIP, []string{"application/vnd.openxmlformats-officedocument.spreadsheetml*"})},
	"pptx": {documentName, join(openZIP, []string{"application/vnd.openxmlformats-officedocument.presentationml*"})},
	"pptm": {documentName, join(openZIP, []string{"application/vnd.openxmlformats-officedocument.presentationml*"})},
	"odt":  {documentName, []string{zipType, "application/vnd.oasis.opendocument*"}},
	"ods":  {documentName, []string{zipType, "application/vnd.oasis.opendocument*"}},
	"odp":  {documentName, []string{zipType, "application/vnd.oasis.opendocument*"}},
	"epub": {documentName, []string{"application/epub+zip", zipType}},

	"mp3": {documentName, anyVideo}, "wav": {documentName, anyVideo}, "ogg": {documentName, anyVideo},
	"mp4": {documentName, anyVideo}, "avi": {documentName, anyVideo}, "mov": {documentName, anyVideo},
	"mkv": {documentName, anyVideo}, "wmv": {documentName, anyVideo}, "mpg": {documentName, anyVideo},
	"mpeg": {documentName, anyVideo},

	"txt": {textName, anyText}, "csv": {textName, anyText}, "tsv": {textName, anyText}, "md": {textName, anyText},
	"xml": {textName, anyText}, "json": {textName, anyText}, "htm": {textName, anyText}, "html": {textName, anyText},
	"log": {textName, anyText}, "ini": {textName, anyText}, "hl7": {textName, anyText}, "css": {textName, anyText},

	"zip": {archiveName, []string{zipType, "application/*"}}, // many formats are ZIP; what runs is judged by its form
	"rar": {archiveName, []string{"application/vnd.rar"}},
	"7z":  {archiveName, []string{"application/x-7z-compressed"}},
	"gz":  {archiveName, []string{"application/gzip"}},
	"tgz": {archiveName, []string{"application/gzip"}},
	"tar": {archiveName, []string{"application/x-tar", anyType}},
	"xz":  {archiveName, []string{"application/x-xz"}},
	"bz2": {archiveName, []string{"application/x-bzip2"}},
	"iso": {archiveName, []string{"application/x-iso9660-image", anyType}},
	"lnk": {activeName, []string{"application/x-ms-shortcut"}},
}

func set(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// programExtensions are what Windows runs as a program, or loads as a part of one, whatever is in it.
var programExtensions = set("exe scr com pif cpl msi msp msu dll ocx sys drv efi appx msix appref-ms application gadget jar xll wll")

// scriptExtensions are what a computer hands to an interpreter.
var scriptExtensions = set("bat cmd vbs vbe js jse wsf wsh wsc sct hta ps1 ps1xml ps2 psm1 psd1 psc1 msh reg msc " +
	"sh bash command tool workflow scpt action py pyw pyz pl rb vb ws hlp ade adp mde settingcontent-ms diagcab")

// launching are the extensions behind which a document's is a trap: a double click runs them.
var launching = set("exe scr com pif cpl msi msp bat cmd vbs vbe jse wsf wsh hta ps1 jar msc chm js")

// reversing are characters after which a name is shown from right to left: "invoice" U+202E "fdp.exe" ends in "exe.pdf".
const reversing = "\u061C\u200E\u200F\u202A\u202B\u202C\u202D\u202E\u2066\u2067\u2068\u2069"

// double says whether a name shows one extension and means another. Blanks between the two push the second out of sight.
func (n *name) double() rule {
	if !launching[n.ext] {
		return noRule
	}
	if strings.ContainsAny(n.base, reversing) {
		return doubleExtension
	}
	inner := strings.TrimPrefix(path.Ext(strings.TrimRight(n.stem, "."+blanks)), ".")
	shown, ok := extensions[inner]
	switch {
	case !ok || shown.group == activeName:
		return noRule
	case shown.group == textName && n.ext == "js": // page.html.js is how authors of web pages name things
		return doubleExtensionText
	case shown.group == archiveName && n.ext == "js":
		return noRule
	}
	return doubleExtension
}
