package pdf

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, 11, 22, 3, 40, 0, 0, time.UTC)

// file is a document of one page with a text.
func file(t testing.TB, text string) []byte {
	t.Helper()
	d := New("title "+text, "subject", made)
	p := d.Add()
	p.Box(10, 10, 100, 50, Color{1, 2, 3})
	p.Text(40, 60, Sans, 12, Color{}, text)
	p.Line(1, Color{255, 0, 0}, [2]float64{0, 0}, [2]float64{100, 100})
	p.Line(1, Color{}, [2]float64{0, 0}) // one point is no line
	var out bytes.Buffer
	if _, err := d.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// checkStructure follows the cross-reference table to every object, as a reader does.
func checkStructure(t testing.TB, pdf []byte) {
	t.Helper()
	tail := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(pdf)
	if tail == nil {
		t.Fatal("the file has no end")
	}
	at, _ := strconv.Atoi(string(tail[1]))
	table := regexp.MustCompile(`^xref\n0 (\d+)\n0000000000 65535 f \n((?:\d{10} 00000 n \n)*)trailer\n`).FindSubmatch(pdf[at:])
	if table == nil {
		t.Fatal("there is no cross-reference table where the file says")
	}
	offsets := strings.Fields(strings.ReplaceAll(string(table[2]), " 00000 n", ""))
	if n, _ := strconv.Atoi(string(table[1])); n != len(offsets)+1 {
		t.Fatalf("a table of %d objects says %d", len(offsets), n)
	}
	for i, o := range offsets {
		offset, _ := strconv.Atoi(o)
		if want := fmt.Sprintf("%d 0 obj\n", i+1); !bytes.HasPrefix(pdf[offset:], []byte(want)) {
			t.Fatalf("object %d is not at %d", i+1, offset)
		}
	}
	for _, stream := range regexp.MustCompile(`(?s)<< /Length (\d+) >>\nstream\n(.*?)endstream\n`).FindAllSubmatch(pdf, -1) {
		if n, _ := strconv.Atoi(string(stream[1])); n != len(stream[2]) {
			t.Errorf("a stream of %d bytes says %d", len(stream[2]), n)
		}
	}
}

func TestFilesAreSoundAndTheSameEachTime(t *testing.T) {
	a, b := file(t, "a line"), file(t, "a line")
	if !bytes.Equal(a, b) {
		t.Error("two files of the same calls differ")
	}
	checkStructure(t, a)
	if _, err := New("", "", made).WriteTo(&bytes.Buffer{}); err == nil {
		t.Error("a document without pages was written")
	}
}

// What a text is made of changes nothing around it: it is one string in one operator, and poppler reads it back.
func TestTextIsNeverAnOperator(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                    "plain",
		`(a) \ )Tj ET q (`:         `(a) \ )Tj ET q (`,
		"Süd – Łódź — ok":          "Süd – U+0141ódU+017A — ok",
		"a\u202eb\x00c\nendstream": "aU+202EbU+0000cU+000Aendstream",
		"\xff\xfe":                 "U+FFFDU+FFFD",
	} {
		data := file(t, text)
		checkStructure(t, data)
		if n := bytes.Count(data, []byte(" Tj ET\n")); n != 1 && !strings.Contains(text, "Tj") {
			t.Errorf("%q: %d texts", text, n)
		}
		cmd := exec.Command("pdftotext", "-enc", "UTF-8", "-", "-")
		cmd.Stdin = bytes.NewReader(data)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Fatalf("%q: %v %s", text, err, errs.String())
		}
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}

func TestLengths(t *testing.T) {
	if got := Sans.Length(10, "WWW"); got != 28.32 {
		t.Error(got)
	}
	if a, b := Bold.Length(9, "ü–—"), Mono.Length(10, "ü—"); a != 9*(611+556+1000)/1000.0 || b != 12 {
		t.Error(a, b)
	}
	if got := Sans.Cut(10, 40, "abcdefghijklmnop"); got != "abcdef..." || Sans.Length(10, got) > 40 {
		t.Errorf("%q", got)
	}
	if got := Sans.Cut(10, 0, "abc"); got != "..." {
		t.Errorf("%q", got)
	}
	for f := range Mono {
		if len(widths[f]) != 95+96 {
			t.Errorf("font %d has %d widths", f, len(widths[f]))
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", `\(`, "é\u202e", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkStructure(t, file(t, text))
		if Sans.Length(10, Sans.Cut(10, 90, text)) > 90 {
			t.Errorf("%q is not cut", text)
		}
	})
}

// A page is drawn without a word from poppler.
func TestPagesAreDrawn(t *testing.T) {
	out := filepath.Join(t.TempDir(), "page")
	cmd := exec.Command("pdftoppm", "-r", "20", "-png", "-", out)
	cmd.Stdin = bytes.NewReader(file(t, "text"))
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v: %s", err, said)
	}
}
