package container

import (
	"bytes"
	"encoding/ascii85"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
)

// pdfOf is a file of objects without tables, which readers open too.
func pdfOf(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	for i, o := range objects {
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	fmt.Fprintf(&b, "trailer\n<</Root 1 0 R/Size %d>>\n%%%%EOF\n", len(objects)+1)
	return b.Bytes()
}

func pdfStream(dict string, data []byte) string {
	return fmt.Sprintf("<<%s /Length %d>>\nstream\n%s\nendstream", dict, len(data), data)
}

// runLength packs as RunLengthDecode does, without runs.
func runLength(b []byte) (out []byte) {
	for len(b) > 0 {
		n := min(len(b), 128)
		out = append(append(out, byte(n-1)), b[:n]...)
		b = b[n:]
	}
	return append(out, 128)
}

// lzwClears packs as LZWDecode does, with codes of nine bits that never grow.
func lzwClears(b []byte) (out []byte) {
	var bits, have uint
	put := func(code uint) {
		bits, have = bits<<9|code, have+9
		for have >= 8 {
			out = append(out, byte(bits>>(have-8)))
			have -= 8
		}
	}
	for i, c := range b {
		if i%200 == 0 {
			put(256)
		}
		put(uint(c))
	}
	put(257)
	return append(out, byte(bits<<(8-have)))
}

func a85(b []byte) []byte {
	out := make([]byte, ascii85.MaxEncodedLen(len(b)))
	return append(out[:ascii85.Encode(out, b)], "~>"...)
}

// pngRows puts the kind of its differences, "up", in front of each row of ten bytes.
func pngRows(b []byte) (out []byte) {
	last := make([]byte, 10)
	for ; len(b) >= 10; b = b[10:] {
		out = append(out, 2)
		for i := range 10 {
			out = append(out, b[i]-last[i])
		}
		last = b[:10]
	}
	return out
}

// pdfs are files, by hand, that hold a payload.
func pdfs() map[string][]byte {
	want := payload(3 * kib)
	flate := zlibbed(want)
	rows := payload(3000)
	return map[string][]byte{
		"plain.pdf":        pdfOf("<</Type/Catalog>>", pdfStream("", want)),
		"flate.pdf":        pdfOf(pdfStream("/Filter/FlateDecode", flate)),
		"hexname.pdf":      pdfOf(pdfStream("/#46ilter [/Fl#61teDecode]", flate)),
		"chain.pdf":        pdfOf(pdfStream("/Filter[/ASCIIHexDecode/ASCII85Decode/RunLengthDecode/FlateDecode]", []byte(hex.EncodeToString(a85(runLength(flate)))+">"))),
		"lzw.pdf":          pdfOf(pdfStream("/Filter/LZWDecode", lzwClears(want))),
		"predictor.pdf":    pdfOf(pdfStream("/Filter/FlateDecode/DecodeParms<</Predictor 12/Columns 10>>", zlibbed(pngRows(rows)))),
		"length.pdf":       pdfOf(fmt.Sprintf("<</Filter/FlateDecode/Length 3>>stream\r\n%s\r\nendstream", flate)),
		"indirect.pdf":     pdfOf(fmt.Sprintf("<</Filter 2 0 R/Length 3 0 R>>stream\n%s\nendstream", flate), "[/FlateDecode]", fmt.Sprint(len(flate))),
		"incremental.pdf":  append(pdfOf(pdfStream("/Filter/FlateDecode", flate)), "1 0 obj\n<</Type/Catalog>>\nendobj\n%%EOF\n"...),
		"attachment.pdf":   pdfOf("<</Type/Filespec/F(x)/UF(letter.txt)/EF<</F 2 0 R>>>>", pdfStream("/Type/EmbeddedFile/Filter/FlateDecode", flate)),
		"objectstream.pdf": pdfOf(pdfStream("/Type/ObjStm/N 1/First 4/Filter/FlateDecode", zlibbed([]byte("9 0 <</S/JavaScript/JS("+strings.NewReplacer("(", `\(`, ")", `\)`).Replace(string(want))+")>>")))),
	}
}

func TestT07_EveryStreamOfAPDFComesOut(t *testing.T) {
	for name, b := range pdfs() {
		k, res := takeBytes(t, b, name)
		want := payload(3 * kib)
		if name == "predictor.pdf" {
			want = payload(3000)
		}
		path := holds(k, want)
		if path == "" || !silent(k, res) {
			t.Errorf("%s: the payload is not among %q, %v %+v", name, k.order, res.Outcome, res.Findings)
		}
		if name == "attachment.pdf" && (path != "letter.txt" || k.items[path].Part) {
			t.Errorf("an attached file is %q", path)
		}
	}
}

// TestT07_PDFsOfRealProgramsAreOpened has qpdf attach a file to a document, pack its objects, and encrypt it so that anybody can
// read it.
func TestT07_PDFsOfRealProgramsAreOpened(t *testing.T) {
	want := payload(9 * kib)
	dir := tree(t, map[string][]byte{"in.pdf": pdfOf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>", "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
		pdfStream("", []byte("0 0 m\n"))), "letter.txt": want})
	tool(t, dir, "sh", "-c", "qpdf --warning-exit-0 in.pdf --add-attachment letter.txt -- plain.pdf; qpdf --object-streams=generate plain.pdf packed.pdf; test -e packed.pdf")
	for name, args := range map[string]string{"rc4-40.pdf": "40", "rc4-128.pdf": "128", "aes-128.pdf": "128 --use-aes=y", "aes-256.pdf": "256", "revision5.pdf": "256 --force-R5"} {
		tool(t, dir, append([]string{"qpdf", "--allow-weak-crypto", "packed.pdf", name, "--encrypt", "", "owner"}, append(strings.Fields(args), "--")...)...)
	}
	tool(t, dir, "qpdf", "packed.pdf", "locked.pdf", "--encrypt", "user", "owner", "256", "--")
	all, err := filepath.Glob(filepath.Join(dir, "*.pdf"))
	if err != nil || len(all) != 9 {
		t.Fatalf("%q %v", all, err)
	}
	for _, path := range all {
		name := filepath.Base(path)
		b, err := os.ReadFile(path)
		if err != nil || name == "in.pdf" {
			continue
		}
		k, res := takeBytes(t, b, name)
		switch {
		case name == "locked.pdf":
			if res.Outcome != report.Encrypted {
				t.Errorf("%s: %v", name, res.Outcome)
			}
		case !bytes.Equal(k.content["letter.txt"], want) || !silent(k, res):
			t.Errorf("%s: the attached file is not among %q, %v %+v", name, k.order, res.Outcome, res.Findings)
		}
	}
}

func TestWhatAPDFMakesAReaderDoIsTold(t *testing.T) {
	for _, c := range []struct {
		object, want string
		severity     report.Severity
	}{
		{"<</Type/Catalog/OpenAction[3 0 R/Fit]>>", "", 0},
		{"<</S/URI/URI(http://x.example/)>>", "document-link", report.Inform},
		{"<</OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>", "document-script", report.Warn},
		{"<</S/J#61vaScript/#4aS 2 0 R>>", "document-script", report.Warn},
		{"<</AA<</O<</S/Launch/F(letter.doc)>>>>>>", "document-opens", report.Warn},
		{"<</S/Launch/F(setup.exe)>>", "document-launch", report.Block},
		{"<</S/Launch/Win<</F(letter.doc)/P(/x)>>>>", "document-launch", report.Block},
		{"<</S/URI/S/Launch/F(setup.exe)>>", "document-link", report.Inform},
	} {
		k, res := takeBytes(t, pdfOf(c.object, "(app.alert\\(2\\))"), "x.pdf")
		if len(res.Findings) == 0 && c.want == "" {
			continue
		}
		if len(res.Findings) != 1 || res.Findings[0].Rule != c.want || res.Findings[0].Severity != c.severity {
			t.Errorf("%s: %+v", c.object, res.Findings)
		}
		if c.want == "document-script" && !slices.ContainsFunc(k.order, func(p string) bool { return bytes.HasPrefix(k.content[p], []byte("app.alert(")) }) {
			t.Errorf("%s: the script is not among %q", c.object, k.order)
		}
	}
}

func TestT07_FiltersNobodyKnowsAreTold(t *testing.T) {
	k, res := takeBytes(t, pdfOf(pdfStream("/Filter/Secret", payload(100))), "x.pdf")
	if silent(k, res) || k.items["object 1"].Findings[0].Rule != "packed-content" {
		t.Errorf("%+v", k.items)
	}
}

// pdfLoop are objects that name each other in every place where one is looked up.
func pdfLoop() []byte {
	var objects []string
	for i := range 2000 {
		objects = append(objects, fmt.Sprintf("<</Length %d 0 R/Filter %d 0 R/First 1 0 R/Type/ObjStm/Kids[1 0 R]/EF %d 0 R/JS %d 0 R>>\nstream\nx\nendstream", i+2, i, i+1, i+1))
	}
	objects = append(objects, "2001 0 R", strings.Repeat("[", 5000), strings.Repeat("<</A", 5000), "("+strings.Repeat("(", 5000))
	return pdfOf(objects...)
}

// pdfDense is streams packed again and again, which hold nothing but zeros.
func pdfDense() []byte {
	b := make([]byte, 32*mib)
	filter := "/Filter["
	for range 2 {
		b, filter = zlibbed(b), filter+"/FlateDecode"
	}
	var objects []string
	for range 200 {
		objects = append(objects, pdfStream(filter+"]", b))
	}
	return pdfOf(objects...)
}
