// Package structure finds what is disguised, or shaped to confuse a person or a program, without a rule that knows it:
// the types that content has whatever its name says (Identify), what is odd about one item (Inspect), and what is odd
// about how the items of a volume lie together (Tree).
//
// It trusts nothing but its own memory. Every byte, name, label and attribute is an attacker's; every offset and length in
// them is held against the bytes that are there. Content that breaks a check in a way that nobody foresaw gets a finding
// that blocks. Nothing is unpacked: of an archive the table of contents is read, of a document its outer shape.
//
// Tricks of names alone (reading direction, invisible characters, devices) are found by package volume. What bytes outside
// of files hold (gaps, boot code, unallocated space) is identified, but has no name and no place to judge.
//
// # Findings
//
// All have the check "structure". The word is what a policy's severities are keyed by; the severity is the proposal.
//
//	executable             warn    the content is a program, under any name
//	executable-name        warn    the name is a program's, the content is none that is known
//	disguised-program      block   the content is a program, the name says document, picture, text or archive
//	stream-program         block   a program, script or shortcut in an alternate data stream
//	script                 warn    the content or the name is a script's
//	disguised-script       block   a script, an active page or a shortcut, and the name says document or picture
//	double-extension       block   a program's or script's extension behind that of a document or picture, or behind
//	                               characters that reverse the reading direction
//	double-extension-text  warn    the same with a script behind the extension of a text
//	type-mismatch          warn    the content contradicts the extension
//	polyglot               block   the content can be read as two things that do not belong together
//	embedded-archive       warn    an archive lies at the end of something that is none, but not as its last byte
//	embedded-document      warn    a PDF can be read from the beginning of an archive
//	self-extracting        warn    a program or script with an archive at its end
//	disk-image             warn    a disk image, which a double click mounts
//	macro                  warn    a document with macros
//	encrypted-content      warn    content, or a part of it, is encrypted
//	svg-script             warn    a picture with a script
//	autorun                block   autorun.inf in the top folder names a program or command
//	autorun-elsewhere      warn    the same in another folder, where a copied disc may have left it, or under another name
//	autorun-icon           inform  autorun.inf names an icon or label only
//	shortcut               warn    a shortcut to a document, folder, library or search
//	shortcut-command       block   a shortcut to a command interpreter, or with a command among its arguments
//	shortcut-program       block   a shortcut to another program or script
//	shortcut-control-panel block   a shortcut that loads a control panel item, which showing its icon may run (CVE-2010-2568)
//	shortcut-hidden        block   a shortcut into a hidden or blank folder
//	shortcut-overlay       warn    a shortcut with content behind its end
//	shortcut-damaged       block   a shortcut that contradicts itself
//	network-path           block   a shortcut, icon or library on another computer: looking at it gives passwords away
//	folder-class           block   desktop.ini makes a folder look and act like something else
//	folder-recycle         inform  the same, as the recycle bin has it
//	web-link               inform  a link to a page on the Internet
//	dicom-preamble         block   a program, script, page, document or archive in front of a DICOM object (CVE-2019-11687)
//	dicom-preamble-data    warn    bytes in front of a DICOM object that are neither zero nor TIFF
//	dicom-tiff             inform  a DICOM object that is a TIFF picture too, as PS3.10 allows
//	dicom-damaged          warn    the header of a DICOM object contradicts itself
//	dicom-pdf              inform  a DICOM object that carries a PDF document
//	dicom-cda              inform  a DICOM object that carries a CDA document
//	dicom-model            inform  a DICOM object that carries a model for three-dimensional printing
//	check-failed           block   the content broke a check
//
// Of a volume:
//
//	launcher               block   a program or shortcut named like hidden content, the volume, or a removable disk, beside hidden content
//	blank-folder           block   a folder with a name of blanks holds files
//	hidden-tree            warn    a hidden folder holds files
//	root-program           warn    a program in the top folder
//	root-script            warn    a script in the top folder
//	root-shortcut          warn    a shortcut in the top folder
//	folder-program         warn    a program or shortcut beside a folder of the same name
//	viewer                 warn    a program or script on a medium with a DICOMDIR
//	dicomdir-damaged       warn    DICOMDIR cannot be read in full
//	dicomdir-missing       warn    DICOMDIR names files that are not there, or are no DICOM objects
//	dicomdir-extra         inform  DICOM objects that DICOMDIR does not name
//	dicomdir-names         inform  DICOMDIR names files in a way that PS3.10 does not allow
//	dicomdir-foreign       inform  other content in the folders of the file-set
//	tree-limit             warn    more folders, programs or images than can be compared
//	root-limit             block   more entries in the top folder than can be compared
//	volume-limit           block   more findings of volumes than a report can hold
//
// # Limits
//
// textBytes, searchBytes, maxINI, maxMembers, maxShortcutBytes, maxMeta here, those of Tree there. Content above the size of a
// scanner's buffer is judged by its beginning and its end.
package structure

import (
	"bytes"
	"path"
	"strings"

	"pratique/scanner/report"
)

// TailBytes is how much of the end of content a caller should keep whose beginning is all it has: a ZIP's end record, which
// lies in the last 64 KiB + 22, and what its table of contents usually takes.
const TailBytes = 256 << 10

// Content is one item, as far as it is in memory.
type Content struct {
	Path string      // in the volume, as stored; behind it that of a member
	Kind report.Kind // File, Stream or Member
	Head []byte      // the first bytes; all of them if there are Size
	Tail []byte      // the last bytes, if Head is not all
	Size int64
	// Identity is what Identify said of the same bytes. The zero value has it asked again.
	Identity Identity
}

// Result is what Inspect learned.
type Result struct {
	Findings []report.Finding // each word once, in the order of the package's table
	// Encrypted says that some content cannot be seen: members of an archive, or the document itself.
	Encrypted bool

	role role
	set  *fileSet // of a DICOMDIR
}

// role is what an item is for Tree.
type role uint8

const (
	bystander role = iota
	aProgram
	aScript
	aShortcut
	aStudy // a DICOM object
)

// Inspect says what is odd about one item. It reads nothing but c and keeps nothing of it. A check that breaks on the
// content is a finding that blocks.
func Inspect(c Content) (res Result) {
	defer func() {
		if recover() != nil {
			var f findings
			f.add(checkFailed)
			res = Result{Findings: f.list()}
		}
	}()
	if c.Kind != report.File && c.Kind != report.Stream && c.Kind != report.Member {
		return Result{}
	}
	in := inspection{view: newView(c.Head, c.Tail, c.Size), kind: c.Kind, name: newName(c.Path)}
	in.is = c.Identity
	if in.is.Type == "" {
		in.is = Identify(c.Head, c.Tail, c.Size)
	}
	in.run()
	res.Encrypted, res.role, res.set = in.encrypted, in.role, in.set
	res.Findings = in.found.list()
	return res
}

// inspection is one item under inspection.
type inspection struct {
	view
	is        Identity
	kind      report.Kind
	name      name
	found     findings
	encrypted bool
	role      role
	set       *fileSet
}

func (in *inspection) run() {
	if in.size == 0 {
		return
	}
	if in.is.Type == "" { // the library broke on it, and the item is refused for that too
		in.found.add(checkFailed)
		return
	}
	in.polyglots()
	in.containers()
	in.study()
	in.named()
	in.active()
}

// active judges what a computer may run, and what only pretends to be what its name says.
func (in *inspection) active() {
	forms := in.is.forms
	program := forms.any(programs)
	script := forms.any(scripts)
	shortcut := forms.has(lnk)
	page := forms.has(html) && containsFold(in.head[:min(len(in.head), textBytes)], "<script")
	ext, known := extensions[in.name.ext]
	passive := known && ext.group != activeName
	contradicts := known && !ext.accepts(in.is.Type) && !in.excused(ext.group)

	switch {
	case program && forms.any(atFront):
		in.role = aProgram
	case shortcut || in.name.ext == "lnk":
		in.role = aShortcut
	case script:
		in.role = aScript
	}
	if program {
		in.found.add(executable)
		if passive && contradicts {
			in.found.add(disguisedProgram)
		}
	}
	if script {
		in.found.add(scriptContent)
	}
	if (script || shortcut || page) && passive && contradicts && ext.group != textName {
		in.found.add(disguisedScript)
	}
	if in.kind == report.Stream {
		if program || script || shortcut {
			in.found.add(streamProgram)
		}
		return // the name of a stream promises nothing
	}
	switch {
	case !program && programExtensions[in.name.ext]:
		in.found.add(executableName)
		if in.role == bystander {
			in.role = aProgram
		}
	case !script && scriptExtensions[in.name.ext] && !shortcut:
		in.found.add(scriptContent)
		if in.role == bystander {
			in.role = aScript
		}
	}
	if contradicts {
		in.found.add(typeMismatch)
	}
	if double := in.name.double(); double != noRule {
		in.found.add(double)
	}
	if (in.name.ext == "svg" || in.is.Type == "image/svg+xml") && in.scriptedPicture() {
		in.found.add(svgScript)
	}
	if in.role == bystander && forms.has(dicom) {
		in.role = aStudy
	}
}

// excused reports whether content without a form has a reason to be under a name of another type: the files that macOS puts
// beside others, what Word keeps while a document is open, and texts with the control characters of laboratory devices.
func (in *inspection) excused(named group) bool {
	switch {
	case in.is.forms != 0:
		return false
	case strings.HasPrefix(in.name.base, "._") && in.has(0, "\x00\x05\x16\x07"), // AppleDouble, RFC 1740
		strings.HasPrefix(in.name.base, "~$") && in.size <= 512:
		return true
	}
	return named == textName && in.is.Type == anyType && bytes.IndexByte(in.head[:min(len(in.head), textBytes)], 0) < 0
}

// scriptedPicture reports whether an SVG can run something. https://www.w3.org/TR/SVG11/script.html
func (in *inspection) scriptedPicture() bool {
	text := in.head[:min(len(in.head), searchBytes)]
	for _, word := range []string{"<script", ":script", "javascript:", "onload=", "onclick=", "onmouseover=", "onbegin=", "<foreignobject"} {
		if containsFold(text, word) {
			return true
		}
	}
	return false
}

// name is a path as the checks want it, in small letters.
type name struct {
	base  string // the last component
	stem  string // the same without the extension
	ext   string // without the dot; empty if there is none
	depth int    // folders above it
	dirs  []string
}

func newName(stored string) name {
	parts := strings.Split(strings.ToLower(stored), "/")
	n := name{base: parts[len(parts)-1], dirs: parts[:len(parts)-1], depth: len(parts) - 1}
	// Windows drops blanks and dots at the end of a name before it looks at the extension.
	n.stem = strings.TrimRight(n.base, ". ")
	if e := path.Ext(n.stem); e != "" {
		n.stem, n.ext = strings.TrimSuffix(n.stem, e), strings.Trim(e[1:], blanks)
	}
	return n
}
