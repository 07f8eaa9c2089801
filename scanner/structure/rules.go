package structure

import "pratique/scanner/report"

// rule is one kind of finding. The order is that of the package's table and of the findings on an item.
type rule uint8

const (
	executable rule = iota
	executableName
	disguisedProgram
	streamProgram
	scriptContent
	disguisedScript
	doubleExtension
	doubleExtensionText
	typeMismatch
	polyglot
	embeddedArchive
	embeddedDocument
	selfExtracting
	diskImage
	macro
	encryptedContent
	svgScript
	autorun
	autorunElsewhere
	autorunIcon
	shortcut
	shortcutCommand
	shortcutProgram
	shortcutControlPanel
	shortcutHidden
	shortcutOverlay
	shortcutDamaged
	networkPath
	folderClass
	folderRecycle
	webLink
	dicomPreamble
	dicomPreambleData
	dicomTIFF
	dicomDamaged
	dicomPDF
	dicomCDA
	dicomModel
	checkFailed

	launcher
	blankFolder
	hiddenTree
	rootProgram
	rootScript
	rootShortcut
	folderProgram
	viewer
	dicomdirDamaged
	dicomdirMissing
	dicomdirExtra
	dicomdirNames
	dicomdirForeign
	treeLimit
	rootLimit
	volumeLimit
	noRule
)

// VolumeRules is how many different findings Tree.Finish can return: each word once.
const VolumeRules = int(volumeLimit - launcher)

// TooManyFindings is for a caller that has no room for what Finish returned of another volume.
func TooManyFindings() report.Finding {
	var f findings
	f.add(volumeLimit)
	return f.list()[0]
}

// book says of each rule its word, what it proposes, and one sentence for a person.
var book = [noRule]struct {
	word     string
	severity report.Severity
	text     string
}{
	executable: {"executable", report.Warn, "The content is a program."},
	executableName: {"executable-name", report.Warn,
		"The name is that of a program, but the content is none that is known."},
	disguisedProgram: {"disguised-program", report.Block,
		"The content is a program, but the name says that it is something harmless."},
	streamProgram: {"stream-program", report.Block,
		"A program, script or shortcut is hidden in an alternate data stream."},
	scriptContent: {"script", report.Warn, "The content is a script that a computer may run."},
	disguisedScript: {"disguised-script", report.Block,
		"The content is a script or shortcut, but the name says that it is a document or picture."},
	doubleExtension: {"double-extension", report.Block,
		"The name looks like that of a document or picture, but it ends in a program's extension."},
	doubleExtensionText: {"double-extension-text", report.Warn,
		"The name shows the extension of a text, but a script's follows it."},
	typeMismatch: {"type-mismatch", report.Warn, "The content is of another type than the name says."},
	polyglot: {"polyglot", report.Block,
		"The content can be read as two different things, depending on the program that opens it."},
	embeddedArchive: {"embedded-archive", report.Warn, "An archive lies inside content that is something else."},
	embeddedDocument: {"embedded-document", report.Warn,
		"A PDF document lies at the beginning of an archive, where a reader may find it."},
	selfExtracting: {"self-extracting", report.Warn, "A program or script carries an archive at its end."},
	diskImage: {"disk-image", report.Warn,
		"The content is the image of a disk, which a double click opens as a drive."},
	macro:            {"macro", report.Warn, "The document holds macros."},
	encryptedContent: {"encrypted-content", report.Warn, "Content is encrypted, so nobody can see all of it."},
	svgScript:        {"svg-script", report.Warn, "The picture holds a script."},
	autorun: {"autorun", report.Block,
		"The medium asks computers to start a program as soon as it is plugged in."},
	autorunElsewhere: {"autorun-elsewhere", report.Warn,
		"The content is that of an autorun.inf that names a program, in another folder or under another name."},
	autorunIcon: {"autorun-icon", report.Inform,
		"The medium's autorun.inf gives it an icon or a name, and starts nothing."},
	shortcut: {"shortcut", report.Warn,
		"The content is a shortcut: it leads to something that was not looked at with it."},
	shortcutCommand: {"shortcut-command", report.Block, "The shortcut runs commands."},
	shortcutProgram: {"shortcut-program", report.Block, "The shortcut starts a program or script."},
	shortcutControlPanel: {"shortcut-control-panel", report.Block,
		"The shortcut loads a control panel item, which can run as soon as its icon is shown."},
	shortcutHidden:  {"shortcut-hidden", report.Block, "The shortcut leads into a hidden folder."},
	shortcutOverlay: {"shortcut-overlay", report.Warn, "The shortcut carries content behind its end."},
	shortcutDamaged: {"shortcut-damaged", report.Block, "The shortcut is built in a way that contradicts itself."},
	networkPath: {"network-path", report.Block,
		"Looking at this item makes Windows contact another computer and offer it the password."},
	folderClass:   {"folder-class", report.Block, "A desktop.ini makes its folder look and act like something else."},
	folderRecycle: {"folder-recycle", report.Inform, "A desktop.ini marks the recycle bin, as Windows does."},
	webLink:       {"web-link", report.Inform, "The content is a link to a page on the Internet."},
	dicomPreamble: {"dicom-preamble", report.Block,
		"Something that a computer may run or open lies in front of a DICOM object."},
	dicomPreambleData: {"dicom-preamble-data", report.Warn,
		"The first bytes of the DICOM object are neither empty nor those of a TIFF picture."},
	dicomTIFF: {"dicom-tiff", report.Inform,
		"The DICOM object can be read as a TIFF picture too, which the standard allows."},
	dicomDamaged: {"dicom-damaged", report.Warn, "The header of the DICOM object contradicts itself."},
	dicomPDF:     {"dicom-pdf", report.Inform, "The DICOM object carries a PDF document."},
	dicomCDA:     {"dicom-cda", report.Inform, "The DICOM object carries a CDA document."},
	dicomModel:   {"dicom-model", report.Inform, "The DICOM object carries a model for three-dimensional printing."},
	checkFailed:  {"check-failed", report.Block, "The content is built in a way that a check was not built for."},

	launcher: {"launcher", report.Block,
		"A program or shortcut stands in for hidden content: a person who looks for files would start it."},
	blankFolder:     {"blank-folder", report.Block, "A folder whose name is only blanks holds files."},
	hiddenTree:      {"hidden-tree", report.Warn, "A hidden folder holds files."},
	rootProgram:     {"root-program", report.Warn, "A program lies in the top folder."},
	rootScript:      {"root-script", report.Warn, "A script lies in the top folder."},
	rootShortcut:    {"root-shortcut", report.Warn, "A shortcut lies in the top folder."},
	folderProgram:   {"folder-program", report.Warn, "A program or shortcut has the name of a folder beside it."},
	viewer:          {"viewer", report.Warn, "The medium of images carries a program, such as a viewer."},
	dicomdirDamaged: {"dicomdir-damaged", report.Warn, "The directory of the images (DICOMDIR) could not be read in full."},
	dicomdirMissing: {"dicomdir-missing", report.Warn,
		"The directory of the images (DICOMDIR) names files that are not there, or that are no DICOM objects."},
	dicomdirExtra: {"dicomdir-extra", report.Inform,
		"There are DICOM objects that the directory of the images (DICOMDIR) does not name."},
	dicomdirNames: {"dicomdir-names", report.Inform,
		"The directory of the images (DICOMDIR) uses names that DICOM does not allow."},
	dicomdirForeign: {"dicomdir-foreign", report.Inform, "There is other content among the images of the DICOM file-set."},
	treeLimit: {"tree-limit", report.Warn,
		"There are more folders, programs or images than can be compared with each other."},
	rootLimit: {"root-limit", report.Block,
		"There are more entries in the top folder than can be compared with each other."},
	volumeLimit: {"volume-limit", report.Block,
		"There are more volumes with something odd about them than can be told."},
}

// findings is a set of rules that matched, each with a place.
type findings struct {
	set uint64
	at  [noRule]int64
}

func (f *findings) add(r rule) { f.addAt(r, -1) }

// addAt keeps the first place of a rule.
func (f *findings) addAt(r rule, offset int64) {
	if f.set&(1<<r) == 0 {
		f.set |= 1 << r
		f.at[r] = offset
	}
}

func (f *findings) has(r rule) bool { return f.set&(1<<r) != 0 }

func (f *findings) list() []report.Finding {
	var out []report.Finding
	for r := range noRule {
		if f.has(r) {
			b := &book[r]
			out = append(out, report.Finding{Check: report.CheckStructure, Rule: b.word, Severity: b.severity, Offset: f.at[r], Text: b.text})
		}
	}
	return out
}

// A set holds 64 rules; this fails to compile when there are more.
const _ = uint(64 - noRule)
