package trial

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
)

// budgetBytes is the size of content on which badly made rules run for ever. A rule that looks at each byte once is done
// with it in a hundredth of a second.
const budgetBytes = 1 << 20

// goodware is harmless content, the same at each call. None of it is anybody's: patients, words and pictures are made up.
func goodware() []file {
	noise := rand.New(rand.NewChaCha8([32]byte{1}))
	random := make([]byte, budgetBytes)
	for i := range random {
		random[i] = byte(noise.Uint32())
	}
	text := prose(noise, 64<<10)
	out := []file{
		// What a badly made rule runs on for ever.
		{path: "ZEROS.BIN", content: make([]byte, budgetBytes)},
		{path: "LETTERS.BIN", content: bytes.Repeat([]byte("a"), budgetBytes)},
		{path: "NOISE.BIN", content: random},
		{path: "BASE64.TXT", content: []byte(base64.StdEncoding.EncodeToString(random[:budgetBytes*3/4]))},
		{path: "BLANKS.TXT", content: bytes.Repeat([]byte(" \r\n\t"), budgetBytes/4)},
		{path: "DIGITS.TXT", content: []byte(strings.Repeat("0123456789abcdef", budgetBytes/16))},
		{path: "EMPTY.TXT"},
		{path: "LETTER.TXT", content: text},
		{path: "WIDE.TXT", content: wide(string(text[:8<<10]))},
		{path: "TABLE.CSV", content: table(noise)},
		{path: "NOTES.JSON", content: []byte("{\"station\": \"Radiology\", \"entries\": [{\"id\": 1, \"text\": \"calibrated\"}, {\"id\": 2, \"text\": \"cleaned\"}]}\n")},
		{path: "SETTINGS.XML", content: []byte("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<settings><unit name=\"CT 3\" mode=\"service\"/></settings>\n")},
		{path: "INDEX.HTM", content: []byte("<!DOCTYPE html><html><head><title>Study</title></head><body><h1>Study</h1><p>" + string(text[:2000]) + "</p></body></html>\n")},
		{path: "REPORT.PDF", content: pdf(string(text[:1500]))},
		{path: "REPORT.DOCX", content: office("word/document.xml", "wordprocessingml.document.main+xml", text[:4000])},
		{path: "TABLE.XLSX", content: office("xl/workbook.xml", "spreadsheetml.sheet.main+xml", text[:2000])},
		{path: "TALK.PPTX", content: office("ppt/presentation.xml", "presentationml.presentation.main+xml", text[:2000])},
		{path: "LETTER.RTF", content: []byte("{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0 Arial;}}\\f0\\fs24 " + string(text[:3000]) + "}")},
		{path: "MAIL.EML", content: []byte("From: a@example.org\r\nTo: b@example.org\r\nSubject: Study\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + string(text[:1000]))},
		{path: "PICTURE.PNG", content: picture(noise, func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) })},
		{path: "PICTURE.JPG", content: picture(noise, func(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) })},
		{path: "PICTURE.BMP", content: bmp(noise)},
		{path: "SOUND.WAV", content: wav(noise)},
		{path: "PROGRAM.EXE", content: program(0x10B, 0x014C, text[:6000])},
		{path: "LIBRARY.DLL", content: program(0x20B, 0x8664, text[6000:12000])},
		{path: "FILES.ZIP", content: zipped("LETTER.TXT", text[:5000])},
	}
	for i := range 4 { // slices of an image, as every second stick carries them
		pixels := make([]byte, 64<<10)
		for j := range pixels {
			pixels[j] = byte(j/256 + i + int(noise.Uint32()%8))
		}
		out = append(out, file{path: fmt.Sprintf("DICOM/IM%06d", i), content: dicom(pixels)})
	}
	return out
}

// words are those of ordinary reports.
var words = strings.Fields(`the patient was seen on the ward and the study shows no finding of note left right upper lower image series
	contrast without with normal heart lung bone joint follow up in weeks pump rate volume dose report signed by consultant on duty
	system start user computer file open service update network print copy page table`)

func prose(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for line := 0; b.Len() < n; {
		word := words[r.IntN(len(words))]
		b.WriteString(word)
		if line += len(word) + 1; line > 90 {
			b.WriteString(".\r\n")
			line = 0
		} else {
			b.WriteByte(' ')
		}
	}
	return b.Bytes()[:n]
}

func wide(text string) []byte {
	out := []byte{0xFF, 0xFE}
	for _, c := range []byte(text) {
		out = append(out, c, 0)
	}
	return out
}

func table(r *rand.Rand) []byte {
	var b bytes.Buffer
	b.WriteString("time;rate;volume\r\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "%02d:%02d;%d.%d;%d\r\n", i/60%24, i%60, r.IntN(100), r.IntN(10), r.IntN(1000))
	}
	return b.Bytes()
}

// pdf is a document of one page (ISO 32000-1 section 7.5).
func pdf(text string) []byte {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	fmt.Fprintf(z, "BT /F1 11 Tf 50 780 Td (%s) Tj ET", strings.NewReplacer("\r\n", ") Tj T* (").Replace(text))
	_ = z.Close() // a buffer takes everything
	var b bytes.Buffer
	var at []int
	object := func(body string) {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", len(at), body)
	}
	b.WriteString("%PDF-1.4\n%\xE2\xE3\xCF\xD3\n")
	object("<< /Type /Catalog /Pages 2 0 R >>")
	object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
	object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>")
	object(fmt.Sprintf("<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream", packed.Len(), packed.String()))
	object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(at)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(at)+1, start)
	return b.Bytes()
}

// office is an Open Packaging archive with one part (ECMA-376 part 2).
func office(part, kind string, text []byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range []struct{ name, content string }{
		{"[Content_Types].xml", `<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/` + part + `" ContentType="application/vnd.openxmlformats-officedocument.` + kind + `"/></Types>`},
		{"_rels/.rels", `<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="` + part + `"/></Relationships>`},
		{part, `<?xml version="1.0" encoding="UTF-8"?><document><body>` + string(text) + `</body></document>`},
	} {
		if part, err := w.Create(f.name); err == nil {
			_, _ = part.Write([]byte(f.content))
		}
	}
	_ = w.Close()
	return b.Bytes()
}

func picture(r *rand.Rand, encode func(*bytes.Buffer, image.Image) error) []byte {
	m := image.NewGray(image.Rect(0, 0, 128, 128))
	for i := range m.Pix {
		m.SetGray(i%128, i/128, color.Gray{uint8(i/128 + r.IntN(16))})
	}
	var b bytes.Buffer
	_ = encode(&b, m) // into a buffer, a picture of a fixed size: cannot fail
	return b.Bytes()
}

// bmp is a picture without compression, of 24 bits.
func bmp(r *rand.Rand) []byte {
	const side = 64
	b := append([]byte("BM"), make([]byte, 52)...)
	le := binary.LittleEndian
	le.PutUint32(b[2:], 54+side*side*3)
	le.PutUint32(b[10:], 54)
	le.PutUint32(b[14:], 40)
	le.PutUint32(b[18:], side)
	le.PutUint32(b[22:], side)
	le.PutUint16(b[26:], 1)
	le.PutUint16(b[28:], 24)
	for range side * side * 3 {
		b = append(b, byte(r.IntN(64)))
	}
	return b
}

// wav is half a second of sound.
func wav(r *rand.Rand) []byte {
	const rate = 8000
	le := binary.LittleEndian
	b := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	b = le.AppendUint32(le.AppendUint32(b, rate), rate)
	b = le.AppendUint32(append(b, 1, 0, 8, 0, 'd', 'a', 't', 'a'), rate/2)
	for range rate / 2 {
		b = append(b, byte(120+r.IntN(16)))
	}
	le.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

// program is a Windows program of one section that does nothing, with words in it
// (https://learn.microsoft.com/windows/win32/debug/pe-format). It runs nowhere.
func program(magic, machine uint16, text []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 1024)
	copy(b, "MZ\x90\x00")
	le.PutUint32(b[0x3C:], 0x80)
	copy(b[0x4E:], "This program cannot be run in DOS mode.\r\r\n$")
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint16(b[0x84:], machine)
	le.PutUint16(b[0x86:], 1) // sections
	optional := 0xE0
	if magic == 0x20B {
		optional = 0xF0
	}
	le.PutUint16(b[0x94:], uint16(optional))
	le.PutUint16(b[0x96:], 0x0002) // executable
	le.PutUint16(b[0x98:], magic)
	le.PutUint32(b[0x98+16:], 0x1000) // entry point
	le.PutUint32(b[0x98+32:], 0x1000) // alignment in memory
	le.PutUint32(b[0x98+36:], 0x200)  // and in the file
	le.PutUint32(b[0x98+56:], 0x3000)
	le.PutUint32(b[0x98+60:], 0x400)
	le.PutUint16(b[0x98+68:], 3) // console
	section := b[0x98+optional:]
	raw := (len(text) + 1 + 0x1FF) &^ 0x1FF
	copy(section, ".text")
	le.PutUint32(section[8:], uint32(len(text)+1))
	le.PutUint32(section[12:], 0x1000)
	le.PutUint32(section[16:], uint32(raw))
	le.PutUint32(section[20:], 0x400)
	le.PutUint32(section[36:], 0x60000020)
	code := make([]byte, raw)
	code[0] = 0xC3 // return
	copy(code[1:], text)
	le.PutUint32(b[0x98+64:], crc32.ChecksumIEEE(code)) // some number
	return append(b, code...)
}
