package structure

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/testdata/stick"
)

// example is a file, and every word that is found in it. None means that the check stays quiet.
type example struct {
	path, content string
	want          string // words in the order of the table
}

func inspect(path, content string) Result {
	return Inspect(Content{Path: path, Kind: report.File, Head: []byte(content), Size: int64(len(content))})
}

func found(findings []report.Finding) string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Rule)
	}
	return strings.Join(out, " ")
}

func check(t *testing.T, examples []example) {
	t.Helper()
	for _, e := range examples {
		res := inspect(e.path, e.content)
		if got := found(res.Findings); got != e.want {
			t.Errorf("%q (%s): %q, want %q", e.path, Identify([]byte(e.content), nil, int64(len(e.content))).Type, got, e.want)
		}
	}
}

const (
	vbsText   = "On Error Resume Next\r\nDim s\r\nSet s = CreateObject(\"WScript.Shell\")\r\ns.Run \"calc\"\r\n"
	batchText = "@echo off\r\nstart \"\" calc.exe\r\n"
	psText    = "param([string]$x)\r\n$c = New-Object System.Net.WebClient\r\nInvoke-Expression $c\r\n"
	jsText    = "var s = new ActiveXObject('WScript.Shell');\ns.Run('calc');\n"
	htaText   = "<html><head><hta:application id=x></head><script>1</script></html>"
	pageText  = "<!DOCTYPE html><html><body><p>hello</p></body></html>"
	prose     = "The patient was seen today. Function was normal; set a date to start therapy, if exist any doubts ask.\n"
	svgText   = `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="1"/></svg>`
)

func TestProgramsAndScriptsAreFoundUnderAnyName(t *testing.T) {
	check(t, []example{
		{"setup.exe", aPE(), "executable"},
		{"SETUP.EXE", aPE(), "executable"},
		{"noextension", aPE(), "executable"},
		{"firmware.bin", anELF(), "executable"},
		{"tool", aMachO(), "executable"},
		{"tool", aFat(), "executable"},
		{"Main.class", aClass(), "executable"},
		{"classes.dex", "dex\n035\x00" + zeros(100), "executable"},
		{"x.wasm", "\x00asm\x01\x00\x00\x00" + zeros(20), "executable"},
		{"help.chm", "ITSF\x03\x00\x00\x00" + zeros(100), "executable"},
		{"setup.msi", anOLE() + "\x84\x10\x0C\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46", "executable"},
		{"viewer.jar", aZIP("META-INF/MANIFEST.MF", "A.class"), "executable"},
		{"app.apk", aZIP("AndroidManifest.xml", "classes.dex"), "executable"},
		{"old.com", "\xB8\x00\x4C\xCD\x21", "executable-name"},
		{"run", "#!/bin/sh\necho\n", "script"},
		{"go.bat", batchText, "script"},
		{"go", batchText, "script"},
		{"go.vbs", vbsText, "script"},
		{"go.dat", vbsText, "script"},
		{"go.ps1", psText, "script"},
		{"go.js", jsText, "script"},
		{"page.js", "let x = 1;\n", "script"},
		{"a.hta", htaText, "script"},
		{"enc.vbe", "#@~^aAAAAA==", "script"},
		{"wide.ps1", "\xFF\xFE" + wide(psText), "script"},
		{"wide.dat", "\xFF\xFE" + wide(psText), "script"},
		// quiet
		{"empty.exe", "", ""},
		{"MZ.txt", "MZ is how Mozambique is written in lists of two letters, and here it stands at the beginning of a text.\n", "type-mismatch"},
		{"notes.txt", prose, ""},
		{"lib.rs", "#![allow(unused)]\nfn main() {}\n", ""},
		{"data.bin", "\x01\x02\x03\x04" + zeros(50), ""},
		{"letter.md", "# Heading\n\nSet the table. Dim the light.\n", ""},
		{"table.csv", "a,b\n1,2\n", ""},
		{"p.html", pageText, ""},
	})
}

func TestT08_DisguisedContentIsFound(t *testing.T) {
	check(t, []example{
		{"photo.jpg", aPE(), "executable disguised-program type-mismatch"},
		{"report.pdf", anELF(), "executable disguised-program type-mismatch"},
		{"IM0001.dcm", aMachO(), "executable disguised-program type-mismatch"},
		{"readme.txt", aPE(), "executable disguised-program type-mismatch"},
		{"letter.docx", aZIP("META-INF/MANIFEST.MF", "A.class"), "executable disguised-program type-mismatch"},
		{"data.rar", aPE(), "executable disguised-program type-mismatch"},
		{"photo.jpg", vbsText, "script disguised-script type-mismatch"},
		{"scan.pdf", batchText, "script disguised-script type-mismatch"},
		{"letter.doc", htaText, "script disguised-script type-mismatch"},
		{"list.xls", `<html><script>x()</script></html>`, "disguised-script type-mismatch"},
		{"photo.png", lnkSpec{base: `C:\Users\a\note.txt`}.make(), "disguised-script type-mismatch shortcut"},
		// less, or nothing
		{"list.xls", pageText, "type-mismatch"},
		{"photo.png", aJPEG(), "type-mismatch"},
		{"photo.jpg", prose, "type-mismatch"},
		{"example.txt", "#!/bin/sh\necho\n", "script"},
		{"source.zip", aZIP("META-INF/MANIFEST.MF"), "executable"},
		{"photo.jpg", aJPEG(), ""},
		{"photo.PNG", aPNG(), ""},
		{"x.bmp", aBMP(), ""},
		{"letter.docx", string(stick.DOCX("text")), ""},
		{"letter.pdf", string(stick.PDF("text")), ""},
		{"photo.jpg", string(stick.JPEG(20, 20, 1)), ""},
		{"letter.doc", anOLE("WordDocument"), ""},
		{"letter.doc", `{\rtf1 x}`, ""},
		{"empty.pdf", "", ""},
		{"._photo.jpg", "\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + zeros(100), ""},
		{"~$letter.docx", "\x05Owner" + zeros(156), ""},
		{"results.txt", "\x02RESULT\r\n1.5\x03\r\n", ""},
		{"results.txt", "\x02RESULT\x00\x01\x02\r\n", "type-mismatch"},
		{"._photo.jpg", aPE(), "executable disguised-program type-mismatch"},
	})
}

func TestT08_PolyglotsAreFound(t *testing.T) {
	archive := aZIP("A.class")
	iso := anISO()
	early := "x" + zeros(200) + "%PDF-1.4\n"
	check(t, []example{
		{"a.gif", aGIF() + archive, "polyglot"},
		{"a.jpg", aJPEG() + archive, "polyglot"},
		{"a.png", aPNG() + archive, "polyglot"},
		{"a.pdf", aPDF() + archive, "polyglot"},
		{"a.dcm", anImage() + archive, "polyglot"},
		{"a.html", pageText + archive, "polyglot"},
		{"a.rtf", `{\rtf1 x}` + archive, "polyglot"},
		{"a.jpg", aJPEG() + aPDF(), "type-mismatch polyglot"},
		{"a.jpg", aJPEG() + "Rar!\x1A\x07\x00" + zeros(20), "polyglot"},
		{"a.pdf", aPDF() + "7z\xBC\xAF\x27\x1C\x00\x04" + zeros(20), "polyglot"},
		{"a.pdf", "%PDF-1.4\nstream\n7z\xBC\xAF\x27\x1C\x00\x04" + zeros(20) + aPDF()[9:], "embedded-archive"},
		{"a.gif", "GIF89a/*" + aGIF()[8:] + "*/=1;alert(1)", "polyglot"},
		{"a.bmp", "BM/*" + aBMP()[4:], "polyglot"},
		{"a.gif", aGIF() + "<script>alert(1)</script>", "polyglot"},
		{"a.png", aPNG() + "tEXt<html>", "polyglot"},
		{"a.pdf", aPDF() + iso[len(aPDF()):], "polyglot disk-image"},
		{"setup.exe", aPE() + archive, "executable self-extracting"},
		{"app", "#!/usr/bin/python3\n" + archive, "script self-extracting"},
		{"a.dat", "no form at all\x00\x01" + archive, "embedded-archive"},
		{"a.pdf", aPDF() + archive + "\n%%EOF\n", "embedded-archive"},
		{"a.zip", aZIP("first.txt", "%PDF-1.7 is a name"), "embedded-document"},
		{"x.iso", iso, "disk-image"},
		{"x.vhdx", "vhdxfile" + zeros(600), "disk-image"},
		{"x.vmdk", "KDMV\x01\x00\x00\x00" + zeros(600), "disk-image"},
		{"x.vhd", zeros(2048) + "conectix" + zeros(504), "disk-image"},
		// legitimate pairs
		{"a.zip", aZIP("notes.txt"), ""},
		{"b.zip", aZIPOf("report.pdf", aPDF()), ""},
		{"a.epub", aZIP("mimetype", "META-INF/container.xml"), ""},
		{"a.jpg", aJPEG() + "PK\x05\x06" + zeros(18), ""},
		{"a.jpg", aJPEG() + "PK\x05\x06 is what an archive ends with", ""},
		{"a.pdf", early, ""},
		{"a.tar", aTAR("member.zip", archive), ""},
	})
}

func TestT08_DICOMPreamblesAreJudged(t *testing.T) {
	tags := anElement(8, 5, "CS", "ISO_IR 100")
	front := func(s string) string { return aStudyOf(s[:min(len(s), 128)], ctImage, tags) }
	pe := aStudyOf("MZ"+zeros(58)+u32(400), ctImage, tags)
	check(t, []example{
		{"a.dcm", padded(pe, 400) + "PE\x00\x00" + zeros(50), "executable disguised-program type-mismatch dicom-preamble"},
		{"a", front("MZ" + zeros(100)), "executable dicom-preamble"},
		{"a", front(anELF()), "executable dicom-preamble"},
		{"a", front(aMachO()), "executable dicom-preamble"},
		{"a.dcm", front("#!/bin/sh\nexit\n"), "script dicom-preamble"},
		{"a.dcm", front("<html><script>1</script>"), "dicom-preamble"},
		{"a.dcm", front("%PDF-1.4\n"), "dicom-preamble"},
		{"a.dcm", front(aGIF()), "dicom-preamble"},
		{"a.dcm", front("PK\x03\x04"), "dicom-preamble"},
		{"a.dcm", front("made by a scanner"), "dicom-preamble-data"},
		{"a.dcm", front(aTIFF()), "dicom-tiff"},
		{"a.dcm", aStudyOf("", "1.2.840.10008.5.1.4.1.1.104.1", tags+anElement(0x42, 0x11, "OB", aPDF())), "dicom-pdf"},
		{"a.dcm", aStudyOf("", "1.2.840.10008.5.1.4.1.1.104.2", tags), "dicom-cda"},
		{"a.dcm", aStudyOf("", "1.2.840.10008.5.1.4.1.1.104.3", tags), "dicom-model"},
		{"a.dcm", aStudyOf("", ctImage, tags+anElement(9, 0x11, "OB", aPDF())), "polyglot"},
		{"a.dcm", zeros(128) + "DICM" + zeros(40), "dicom-damaged"},
		{"a.dcm", zeros(128) + "DICM", "dicom-damaged"},
		{"a.dcm", anImage(), ""},
		{"IM000001", anImage(), ""},
		{"old", anElement(8, 0, "UL", u32(20)) + anElement(8, 5, "CS", "ISO_IR 100"), ""},
	})
}

func TestT09_DoubleExtensionsAreFound(t *testing.T) {
	check(t, []example{
		{"invoice.pdf.exe", aPE(), "executable double-extension"},
		{"photo.jpg                    .scr", aPE(), "executable double-extension"},
		{"photo.JPG.Scr", aPE(), "executable double-extension"},
		{"report.docx.vbs", vbsText, "script double-extension"},
		{"notes.txt.bat", batchText, "script double-extension"},
		{"invoice.pdf.exe. ", aPE(), "executable double-extension"},
		{"invoice\u202Efdp.exe", aPE(), "executable double-extension"},
		{"invoice\u202Efdp.txt", prose, ""},
		{"page.html.js", "let x = 1;\n", "script double-extension-text"},
		{"jquery.min.js", "let x = 1;\n", "script"},
		{"setup-1.2.exe", aPE(), "executable"},
		{"setup.x64.exe", aPE(), "executable"},
		{"archive.tar.gz", "\x1f\x8b\x08" + zeros(20), ""},
		{"report.2024.pdf", aPDF(), ""},
		{"photo.jpg.png", aPNG(), ""},
	})
}

func TestT30_AutorunAndTheLikeAreRead(t *testing.T) {
	check(t, []example{
		{"autorun.inf", "[autorun]\r\nopen=virus.exe\r\n", "autorun"},
		{"AUTORUN.INF", "[AutoRun]\r\n  ShellExecute = x.vbs\r\n", "autorun"},
		{"autorun.inf", "[autorun]\nshell\\open\\command=x.exe\n", "autorun"},
		{"autorun.inf", "\x01\x02[a]garbage=\x80\xff\x00\r[autorun]\rOPEN=x\r", "autorun"},
		{"autorun.inf", "\xFF\xFE" + wide("[autorun]\r\nopen=x.exe\r\n"), "autorun"},
		{"autorun.inf", "[autorun]\n" + strings.Repeat(" \t", 9000) + "open=" + strings.Repeat(" ", 9000) + "x\n", "autorun"},
		{"autorun.inf", wide("[autorun]\r\nopen=x.exe\r\n"), "autorun"},
		{"copy of disc/autorun.inf", "[autorun]\nopen=viewer.exe\n", "autorun-elsewhere"},
		{"autorun.inf", "[autorun]\r\nicon=stick.ico\r\nlabel=Ward 7\r\n;open nothing\r\n", "autorun-icon"},
		{"autorun.inf", "[autorun]\r\nicon=\\\\10.0.0.1\\x\\a.ico\r\n", "autorun-icon network-path"},
		{"f/desktop.ini", "[.ShellClassInfo]\r\nCLSID={645FF040-5081-101B-9F08-00AA002F954E}\r\n", "folder-class"},
		{"$RECYCLE.BIN/S-1-5/desktop.ini", "[.ShellClassInfo]\r\nCLSID={645FF040-5081-101B-9F08-00AA002F954E}\r\n", "folder-recycle"},
		{"$RECYCLE.BIN/S-1-5/desktop.ini", "[.ShellClassInfo]\r\nCLSID={20D04FE0-3AEA-1069-A2D8-08002B30309D}\r\n", "folder-class"},
		{"f/desktop.ini", "[.ShellClassInfo]\r\nIconResource=\\\\evil\\s\\i.ico,0\r\n", "network-path"},
		{"f/desktop.ini", "[.ShellClassInfo]\r\nIconResource=C:\\Windows\\system32\\imageres.dll,3\r\n", ""},
		{"a.url", "[InternetShortcut]\r\nURL=https://example.org/\r\n", "web-link"},
		{"a.url", "[InternetShortcut]\r\nURL=file://evil/share/x\r\n", "shortcut network-path"},
		{"a.url", "[InternetShortcut]\r\nURL=https://example.org/\r\nIconFile=\\\\evil\\x.ico\r\n", "network-path web-link"},
		{"a.url", "[InternetShortcut]\r\nURL=file:///D:/tools/x.exe\r\n", "shortcut-program"},
		{"a.url", "[InternetShortcut]\r\nURL=file:///D:/notes.txt\r\n", "shortcut"},
		{"a.url", "[InternetShortcut]\r\nURL=search-ms:query=x&crumb=location:%5C%5Cevil%5Cs\r\n", "shortcut network-path"},
		{"x.scf", "[Shell]\r\nCommand=2\r\nIconFile=\\\\evil\\share\\i.ico\r\n", "shortcut network-path"},
		{"x.scf", "[Shell]\r\nCommand=2\r\nIconFile=explorer.exe,3\r\n", "shortcut"},
		{"x.library-ms", "<libraryDescription><simpleLocation><url>\\\\evil\\share</url></simpleLocation></libraryDescription>", "shortcut network-path"},
		{"x.library-ms", "<libraryDescription><simpleLocation><url>C:\\data</url></simpleLocation></libraryDescription>", "shortcut"},
		{"x.searchConnector-ms", "<searchConnectorDescription><simpleLocation><url>https://evil/dav</url></simpleLocation></searchConnectorDescription>", "shortcut network-path"},
		{"reading.txt", "[autorun]\nopen=x.exe\n", "autorun-elsewhere"},
		{"reading.txt", "[autorun]\nicon=x.ico\n", ""},
		{"reading.txt", "how to write an [autorun] with open=x.exe\n", ""},
	})
}

func TestT30_ShortcutsAreRead(t *testing.T) {
	root := "\x1F\x50\xE0\x4F\xD0\x20\xEA\x3A\x69\x10\xA2\xD8\x08\x00\x2B\x30\x30\x9D" // My Computer
	panel := "\x2E\x1E" + controlPanels[0]
	check(t, []example{
		{"a.lnk", lnkSpec{base: `E:\notes\letter.docx`, relative: `notes\letter.docx`}.make(), "shortcut"},
		{"a.lnk", lnkSpec{items: []string{root, fileItem("NOTE.TXT")}}.make(), "shortcut"},
		{"drive.lnk", lnkSpec{base: `D:\`, attributes: 0x16}.make(), "shortcut"},
		{"a.lnk", lnkSpec{items: []string{root, panel, "\x00\x00\x00\x6A\x00\x00\x00\x00\x00\x00" + wide(`E:\x.dll`)}}.make(), "shortcut shortcut-program shortcut-control-panel"},
		{"a.lnk", lnkSpec{blocks: block(0xA0000005, u32(3)+u32(4))}.make(), "shortcut shortcut-control-panel"},
		{"a.lnk", lnkSpec{base: `E:\x.txt`, icon: `E:\evil.cpl`}.make(), "shortcut shortcut-control-panel"},
		{"a.lnk", lnkSpec{base: `E:\evil.cpl`}.make(), "shortcut shortcut-control-panel"},
		{"a.lnk", lnkSpec{base: `C:\Windows\System32\cmd.exe`, arguments: `/c start x`}.make(), "shortcut shortcut-command"},
		{"a.lnk", lnkSpec{items: []string{root, fileItem("mshta.exe")}}.make(), "shortcut shortcut-command"},
		{"a.lnk", lnkSpec{blocks: block(0xA0000001, padded(`%ComSpec%`, 260)+padded(wide(`%ComSpec%`), 520))}.make(), "shortcut shortcut-command"},
		{"a.lnk", lnkSpec{blocks: block(0xA0000001, zeros(260)+padded(wide(`%windir%\system32\WindowsPowerShell\v1.0\powershell.exe`), 520))}.make(), "shortcut shortcut-command"},
		{"a.lnk", lnkSpec{relative: `..\..\x.txt`, arguments: `/q "POWERSHELL.EXE -w hidden"`}.make(), "shortcut shortcut-command"},
		{"a.lnk", lnkSpec{base: `C:\Windows\System32\rundll32.exe`, arguments: "x.dat,#1"}.make(), "shortcut shortcut-command"},
		{"a.lnk", lnkSpec{relative: `.\payload.exe`}.make(), "shortcut shortcut-program"},
		{"a.lnk", lnkSpec{relative: `.\run.vbs`}.make(), "shortcut shortcut-program"},
		{"a.lnk", lnkSpec{relative: ".\\\u00A0\\letter.docx"}.make(), "shortcut shortcut-hidden"},
		{"a.lnk", lnkSpec{relative: `RECYCLER\x.dat`}.make(), "shortcut shortcut-hidden"},
		{"a.lnk", lnkSpec{base: `E:\stuff\x.dat`, attributes: 0x22}.make(), "shortcut shortcut-hidden"},
		{"a.lnk", lnkSpec{net: `\\evil\share`}.make(), "shortcut network-path"},
		{"a.lnk", lnkSpec{base: `E:\x.txt`, icon: `\\evil\s\i.ico`}.make(), "shortcut network-path"},
		{"a.lnk", lnkSpec{base: `E:\x.txt`, behind: "payload"}.make(), "shortcut shortcut-overlay"},
		{"a.lnk", lnkSpec{base: `E:\x.txt`}.make()[:90], "shortcut shortcut-damaged"},
		{"a.lnk", "not a shortcut", "type-mismatch shortcut shortcut-damaged"},
		{"commands and cmd.lnk", lnkSpec{base: `E:\cmd\my command.txt`, arguments: "commander"}.make(), "shortcut"},
	})
}

func TestMacrosAndEncryptionAreFound(t *testing.T) {
	locked := []example{
		{"a.zip", lockedZIP(), "encrypted-content"},
		{"a.pdf", strings.Replace(aPDF(), "/Size", "/Encrypt 5 0 R /Size", 1), "encrypted-content"},
		{"a.pdf", strings.Replace(aPDF(), "/Size", "/#45ncr#79pt<</V 1>> /Size", 1), "encrypted-content"},
		{"a.docx", anOLE("EncryptionInfo", "EncryptedPackage"), "encrypted-content"},
		{"a.rar", "Rar!\x1A\x07\x01\x00" + zeros(4) + "\x21\x04" + zeros(30), "encrypted-content"},
		{"a.rar", "Rar!\x1A\x07\x00\x00\x00\x73\x80\x00\x0D\x00" + zeros(30), "encrypted-content"},
		{"a.7z", "7z\xBC\xAF\x27\x1C\x00\x04" + zeros(100) + "\x06\xF1\x07\x01\x12" + zeros(20), "encrypted-content"},
	}
	check(t, locked)
	for _, e := range locked {
		if !inspect(e.path, e.content).Encrypted {
			t.Errorf("%s: not said to be encrypted", e.path)
		}
	}
	open := []example{
		{"a.docm", aZIP("[Content_Types].xml", "word/document.xml", "word/vbaProject.bin"), "macro"},
		{"a.xlsx", aZIP("[Content_Types].xml", "xl/workbook.xml", "xl/macrosheets/sheet1.xml"), "macro"},
		{"a.doc", anOLE("WordDocument", "VBA", "_VBA_PROJECT"), "macro"},
		{"a.docx", aZIP("[Content_Types].xml", "word/document.xml"), ""},
		{"a.pdf", strings.Replace(aPDF(), "/Size", "/EncryptMetadata true /Size", 1), ""},
		{"a.pdf", aPDF() + "% /Encrypt is a word\n", ""},
		{"a.rar", "Rar!\x1A\x07\x01\x00" + zeros(4) + "\x0A\x01" + zeros(30), ""},
		{"a.svg", strings.Replace(svgText, "<rect", "<script>1</script><rect", 1), "svg-script"},
		{"a.svg", strings.Replace(svgText, "<rect", "<rect onload='x'", 1), "svg-script"},
		{"a.svg", svgText, ""},
	}
	check(t, open)
	for _, e := range open {
		if inspect(e.path, e.content).Encrypted {
			t.Errorf("%s: said to be encrypted", e.path)
		}
	}
}

func TestT09_ProgramsInAlternateStreamsAreFound(t *testing.T) {
	for content, want := range map[string]string{
		aPE():                            "executable stream-program",
		vbsText:                          "stream-program script",
		lnkSpec{base: `E:\x.txt`}.make(): "stream-program",
		"[ZoneTransfer]\r\nZoneId=3\r\n": "",
	} {
		res := Inspect(Content{Path: "letter.txt:hidden", Kind: report.Stream, Head: []byte(content), Size: int64(len(content))})
		if got := found(res.Findings); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTypesAreTold(t *testing.T) {
	tests := []struct{ content, kind, also string }{
		{"", EmptyType, ""},
		{aPE(), peType, ""},
		{anImage(), dicomType, ""},
		{aStudyOf("MZ", ctImage, ""), peType, dicomType},
		{aStudyOf(aTIFF(), ctImage, ""), dicomType, "image/tiff"},
		{anElement(8, 0, "UL", u32(20)) + anElement(8, 5, "CS", "ISO_IR 100"), dicomType, ""},
		{aGIF() + aZIP("a"), "image/gif", zipType},
		{aPDF() + aZIP("a"), "application/pdf", zipType},
		{aZIP("a"), zipType, ""},
		{aZIP("other.xml", "[Content_Types].xml", "xl/workbook.xml"), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ""},
		{anISO(), "application/x-iso9660-image", ""},
		{"vhdxfile" + zeros(100), "application/x-vhdx", ""},
		{vbsText, "text/vbscript", ""},
		{psText, "text/x-powershell", ""},
		{batchText, "text/x-msdos-batch", ""},
		{jsText, "text/javascript", ""},
		{prose, "text/plain", ""},
		{pageText, "text/html", ""},
		{"\x01\x02\x03", anyType, ""},
	}
	for _, tt := range tests {
		id := Identify([]byte(tt.content), nil, int64(len(tt.content)))
		if also := strings.Join(id.Also, " "); id.Type != tt.kind || also != tt.also {
			t.Errorf("%.20q: %q and %q, want %q and %q", tt.content, id.Type, also, tt.kind, tt.also)
		}
	}
}

// Content larger than a buffer is known by its beginning and its end.
func TestLargeContentIsJudgedByBothEnds(t *testing.T) {
	content := []byte(aJPEG() + zeros(1<<20) + aZIP("A.class"))
	head, tail := content[:4096], content[len(content)-TailBytes:]
	id := Identify(head, tail, int64(len(content)))
	if id.Type != "image/jpeg" || !slices.Equal(id.Also, []string{zipType}) {
		t.Errorf("%+v", id)
	}
	res := Inspect(Content{Path: "a.jpg", Kind: report.File, Head: head, Tail: tail, Size: int64(len(content)), Identity: id})
	if found(res.Findings) != "polyglot" {
		t.Errorf("%q", found(res.Findings))
	}
	// A part of a program's header may be out of reach. It is a program for that.
	far := []byte("MZ" + zeros(58) + u32(1<<20) + zeros(4096))
	if id := Identify(far, nil, 2<<20); id.Type != peType || !id.forms.has(pe) {
		t.Errorf("%+v", id)
	}
	// An autorun.inf or shortcut that does not fit is not believed to be harmless.
	ini := append([]byte("[autorun]\r\nicon=x\r\n"), make([]byte, 4096)...)
	if res := Inspect(Content{Path: "autorun.inf", Kind: report.File, Head: ini, Size: 1 << 30}); found(res.Findings) != "autorun-icon check-failed" {
		t.Errorf("%q", found(res.Findings))
	}
}

func TestAreasAndWrongSizesAreQuiet(t *testing.T) {
	for _, c := range []Content{
		{Kind: report.Area, Head: []byte(aPE()), Size: 10},
		{Kind: report.Directory},
		{},
		{Kind: report.File, Size: -1, Head: []byte("MZ")},
		{Kind: report.File, Size: 0, Head: []byte("MZ"), Tail: []byte("x")},
	} {
		if res := Inspect(c); len(res.Findings) != 0 {
			t.Errorf("%+v: %v", c, res.Findings)
		}
	}
}

// The package comment is the specification: its table and the code's agree, and each text is a sentence.
func TestTableOfFindings(t *testing.T) {
	source, err := os.ReadFile("structure.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^//\t([a-z-]+) +(block|warn|inform) +\S`).FindAllStringSubmatch(string(source), -1)
	if len(rows) != int(noRule) {
		t.Fatalf("%d rows for %d rules", len(rows), noRule)
	}
	for r := range noRule {
		b := book[r]
		if rows[r][1] != b.word || rows[r][2] != b.severity.String() {
			t.Errorf("%s %v: the comment says %s", b.word, b.severity, rows[r][0])
		}
		if !strings.HasSuffix(b.text, ".") || len(b.text) > report.MaxText || len(b.text) < 20 {
			t.Errorf("%s: %q", b.word, b.text)
		}
	}
}

func TestWordsOfScriptsFitTheSearch(t *testing.T) {
	if n := len(scriptWords.words); n > maxWords || len(scriptWords.lists) > 255 {
		t.Errorf("%d words, %d beginnings", n, len(scriptWords.lists))
	}
	for _, w := range scriptWords.words {
		for _, text := range []string{w, "x\n" + w + "y", strings.TrimPrefix(w, "\n")} {
			if seen := scriptWords.find([]byte(text)); !seen[slices.Index(scriptWords.words, w)] {
				t.Errorf("%q is not found in %q", w, text)
			}
		}
	}
}
