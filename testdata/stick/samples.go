package stick

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"time"
)

// RuleMarker is what only a YARA rule finds: the rule of the baseline pack looks for this text.
const RuleMarker = "PRATIQUE-HARMLESS-YARA-SAMPLE-7f3a"

// EICAR is the file with which every virus scanner is tried. It is put together here so that no scanner finds it in this
// source or in a program built from it. https://www.eicar.org/download-anti-malware-testfile/
func EICAR() []byte {
	halves := [2]string{`X5O!P%@AP[4\PZX54(P^)7CC)7}$EIC`, `AR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`}
	return []byte(halves[0] + halves[1])
}

// BlockedSample is a harmless text. Its SHA-256 is on the blocklist of the baseline pack.
func BlockedSample() []byte {
	return []byte("This file is a harmless sample of Pratique.\n" +
		"It does nothing. It stands for a file whose hash is on a blocklist.\n")
}

// RuleSample is a harmless text in which only a YARA rule finds something.
func RuleSample() []byte {
	return []byte("This file is a harmless sample of Pratique.\n" +
		"It does nothing. A rule looks for the next line.\n" + RuleMarker + "\n")
}

// PDF is a small valid document of one page with a line of text.
func PDF(text string) []byte {
	stream := fmt.Sprintf("BT /F1 18 Tf 72 720 Td (%s) Tj ET", text)
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(stream), stream),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n%\xE2\xE3\xCF\xD3\n")
	places := make([]int, len(objects))
	for i, o := range objects {
		places[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, at := range places {
		fmt.Fprintf(&b, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, xref)
	return b.Bytes()
}

// DOCX is a small valid document with one paragraph.
func DOCX(text string) []byte {
	const head = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	const office = "http://schemas.openxmlformats.org/"
	parts := []struct{ name, body string }{
		{"[Content_Types].xml", `<Types xmlns="` + office + `package/2006/content-types">` +
			`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType=` +
			`"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + office + `package/2006/relationships"><Relationship Id="rId1" Type="` +
			office + `officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>`},
		{"word/document.xml", `<w:document xmlns:w="` + office + `wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>` +
			text + `</w:t></w:r></w:p></w:body></w:document>`},
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, p := range parts {
		// Writing to memory does not fail, and the names are fixed.
		w, _ := z.CreateHeader(&zip.FileHeader{Name: p.name, Method: zip.Deflate, Modified: time.Date(2024, 1, 2, 3, 4, 6, 0, time.UTC)})
		w.Write([]byte(head + p.body))
	}
	z.Close()
	return b.Bytes()
}

// picture is a soft gradient with rings, different for each seed.
func picture(width, height int, seed byte) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			d := (x-width/2)*(x-width/2) + (y-height/2)*(y-height/2)
			m.Set(x, y, color.RGBA{uint8(x*255/width) ^ seed, uint8(y * 255 / height), uint8(d / 16), 255})
		}
	}
	return m
}

// PNG is a picture.
func PNG(width, height int, seed byte) []byte {
	var b bytes.Buffer
	png.Encode(&b, picture(width, height, seed)) // memory takes every write
	return b.Bytes()
}

// JPEG is the same as a photograph.
func JPEG(width, height int, seed byte) []byte {
	var b bytes.Buffer
	jpeg.Encode(&b, picture(width, height, seed), nil) // memory takes every write
	return b.Bytes()
}
