package container

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"archive/zip"
)

// openDocument is a text with a macro and a file that was inserted, as LibreOffice reads it.
func openDocument(t testing.TB, text, inserted []byte) []byte {
	t.Helper()
	names := ""
	for short, long := range map[string]string{"office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0", "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
		"draw": "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0", "xlink": "http://www.w3.org/1999/xlink", "svg": "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0",
		"script": "http://openoffice.org/2000/script", "library": "http://openoffice.org/2000/library", "manifest": "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"} {
		names += fmt.Sprintf(" xmlns:%s=%q", short, long)
	}
	const head = `<?xml version="1.0" encoding="UTF-8"?>`
	manifest := ""
	files := []struct{ name, data string }{
		{"mimetype", "application/vnd.oasis.opendocument.text"},
		{"content.xml", head + `<office:document-content` + names + ` office:version="1.2"><office:body><office:text><text:p>` +
			strings.ReplaceAll(string(text), "\n", "</text:p><text:p>") + `</text:p><text:p><draw:frame text:anchor-type="paragraph" svg:width="5cm" svg:height="5cm">` +
			`<draw:object-ole xlink:href="./Object 1" xlink:type="simple" xlink:show="embed" xlink:actuate="onLoad"/></draw:frame></text:p></office:text></office:body></office:document-content>`},
		{"Object 1", string(inserted)},
		{"Basic/script-lc.xml", head + `<library:libraries` + names + `><library:library library:name="Standard" library:link="false"/></library:libraries>`},
		{"Basic/Standard/script-lb.xml", head + `<library:library` + names + ` library:name="Standard"><library:element library:name="Module1"/></library:library>`},
		{"Basic/Standard/Module1.xml", head + `<script:module` + names + ` script:name="Module1" script:language="StarBasic">Sub Main
' a harmless macro
End Sub</script:module>`},
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name, data string) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write([]byte(data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		put(f.name, f.data)
		kind := map[string]string{"mimetype": "application/vnd.oasis.opendocument.text", "Object 1": "application/vnd.sun.star.oleobject"}[f.name]
		if kind == "" {
			kind = "text/xml"
		}
		manifest += fmt.Sprintf(`<manifest:file-entry manifest:full-path="%s" manifest:media-type="%s"/>`, strings.Replace(f.name, "mimetype", "/", 1), kind)
	}
	put("META-INF/manifest.xml", head+`<manifest:manifest`+names+` manifest:version="1.2">`+manifest+`</manifest:manifest>`)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var office struct {
	once sync.Once
	made map[string][]byte
}

// offices are documents that LibreOffice has written, and a package of msitools. They are made once: an office takes its time.
func offices(t testing.TB) map[string][]byte {
	t.Helper()
	office.once.Do(func() {
		want := payload(3 * kib)
		dir := tree(t, map[string][]byte{"table.csv": want, "letter.txt": want})
		inserted := cfb(map[string][]byte{"\x01Ole10Native": ole10("letter.txt", want), "\x01CompObj": append([]byte("\x01\x00\xFE\xFF\x03\x0A\x00\x00\xFF\xFF\xFF\xFF\x0C\x00\x03\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00F\x0C\x00\x00\x00OLE Package\x00\x00\x00\x00\x00\x08\x00\x00\x00Package\x00\xF4\x39\xB2\x71"), make([]byte, 12)...)})
		write(t, dir, "office.odt", openDocument(t, want, inserted))
		for to, from := range map[string]string{"doc": "office.odt", "fodt": "office.odt", "docx": "office.odt", "pdf": "office.odt", "xls": "table.csv", "xlsx": "table.csv", "ods": "table.csv"} {
			tool(t, dir, "soffice", "-env:UserInstallation=file://"+dir+"/profile", "--headless", "--convert-to", to, from)
		}
		tool(t, dir, "qpdf", "--object-streams=generate", "office.pdf", "--add-attachment", "letter.txt", "--", "attached.pdf")
		tool(t, dir, "sh", "-c", "gcab -cz x.cab letter.txt && msibuild office.msi -a x.cab x.cab")
		office.made = map[string][]byte{}
		for _, name := range []string{"office.odt", "office.fodt", "office.doc", "office.docx", "attached.pdf", "table.xls", "table.xlsx", "table.ods", "office.msi"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			office.made[name] = b
		}
	})
	return office.made
}

func TestT07_WhatOfficesWriteIsOpened(t *testing.T) {
	want := payload(3 * kib)
	for name, b := range offices(t) {
		k, res := takeBytes(t, b, name)
		if !silent(k, res) || holds(k, want[:500]) == "" && holds(k, []byte("line 1 of a harmless text that a test looks for")) == "" {
			t.Errorf("%s: %q, %v %+v", name, k.order, res.Outcome, res.Findings)
		}
		if strings.HasPrefix(name, "office") || name == "attached.pdf" {
			found := false
			for path, data := range k.content {
				found = found || strings.HasSuffix(path, "letter.txt") && bytes.Equal(data, want)
			}
			if !found {
				t.Errorf("%s: letter.txt is not among %q", name, k.order)
			}
		}
	}
	if k, _ := takeBytes(t, offices(t)["office.msi"], "office.msi"); k.content["x.cab//letter.txt"] == nil {
		t.Errorf("a package of Windows Installer: %q", k.order)
	}
}
