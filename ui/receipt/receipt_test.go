package receipt

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pratique/ui"
	"pratique/ui/samples"
)

func slips(t *testing.T) map[string]ui.Slip {
	t.Helper()
	out := map[string]ui.Slip{}
	for _, s := range samples.All() {
		for _, l := range ui.Languages() {
			s.Look.Language = l
			if slip, ok := ui.SlipOf(s.State, s.Look, samples.Now); ok {
				out[s.Name+" "+l.Code()] = slip
			}
		}
	}
	if len(out) != 10 {
		t.Fatalf("%d receipts", len(out))
	}
	return out
}

// scan reads the QR code of a picture as a device's reader does.
func scan(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", file).Output()
	if err != nil {
		t.Fatalf("no code is read from %s: %v", filepath.Base(file), err)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, img image.Image) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "slip.png")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// printed is what a printer makes of ESC/POS: it knows the four commands of the package comment and no other.
func printed(t *testing.T, data []byte) (img *image.Gray, cut bool) {
	t.Helper()
	rest, found := bytes.CutPrefix(data, []byte("\x1b@"))
	if !found {
		t.Fatal("the printer is not initialised")
	}
	var rows [][]byte
	wide := 0
	for len(rest) > 0 {
		switch {
		case rest[0] == '\n':
			rest = rest[1:]
		case bytes.HasPrefix(rest, []byte("\x1dVB")):
			cut, rest = true, rest[4:]
		case bytes.HasPrefix(rest, []byte("\x1dv0\x00")):
			row, lines := int(rest[4])|int(rest[5])<<8, int(rest[6])|int(rest[7])<<8
			rest = rest[8:]
			if wide == 0 {
				wide = row
			}
			if row != wide || len(rest) < row*lines {
				t.Fatalf("a band of %d bytes and %d lines", row, lines)
			}
			for range lines {
				rows, rest = append(rows, rest[:row]), rest[row:]
			}
		default:
			t.Fatalf("a command that not every printer knows: %x", rest[:min(4, len(rest))])
		}
	}
	img = image.NewGray(image.Rect(0, 0, wide*8, len(rows)))
	for y, row := range rows {
		for x := range wide * 8 {
			if row[x/8]&(0x80>>(x%8)) == 0 {
				img.SetGray(x, y, color.Gray{0xFF})
			}
		}
	}
	return img, cut
}

func TestAPrintedReceiptCarriesTheToken(t *testing.T) {
	for name, slip := range slips(t) {
		for _, paper := range []Paper{Narrow, Wide} {
			data, err := ESCPOS(slip, paper)
			if err != nil {
				t.Fatal(err)
			}
			img, cut := printed(t, data)
			if img.Rect.Dx() != paper.dots() || !cut || img.Rect.Dy() > maxLines/2 {
				t.Errorf("%s on %d mm: %v, cut %t", name, paper, img.Rect, cut)
			}
			if got := scan(t, write(t, img)); got != samples.Digits {
				t.Errorf("%s on %d mm: the code says %.40s", name, paper, got)
			}
		}
	}
}

func TestAReceiptAsPDFCarriesTheTokenAndNothingElse(t *testing.T) {
	for name, slip := range slips(t) {
		if !strings.HasSuffix(name, " en") && !strings.HasSuffix(name, " de") {
			continue
		}
		data, err := PDF(slip, Wide)
		if err != nil {
			t.Fatal(err)
		}
		again, err := PDF(slip, Wide)
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("%s: the same receipt is another file", name)
		}
		for _, word := range []string{"/JavaScript", "/JS", "/URI", "/OpenAction", "/Author", "/CreationDate", "/Font"} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s: the file holds %s", name, word)
			}
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "slip.pdf")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("pdftoppm", "-png", "-r", "203", "-singlefile", file, filepath.Join(dir, "page")).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("pdftoppm: %v: %s", err, out)
		}
		if got := scan(t, filepath.Join(dir, "page.png")); got != samples.Digits {
			t.Errorf("%s: the code says %.40s", name, got)
		}
	}
}

// Whoever keeps a slip can hold the log against it later.
func TestAReceiptSaysWhereTheLogEnded(t *testing.T) {
	for name, slip := range slips(t) {
		last := slip.Facts[len(slip.Facts)-1][1]
		if last != "4713 9b1f0c55d2a94e0b8f6d7c3a21e4f598" {
			t.Errorf("%s says %q", name, last)
		}
	}
}

// A slip gets lost: whoever finds it learns no name from it.
func TestT10_NoPersonIsOnAReceipt(t *testing.T) {
	for name, slip := range slips(t) {
		text := slip.Station + slip.Verdict + strings.Join(slip.Notes, "")
		for _, f := range slip.Facts {
			text += f[0] + f[1]
		}
		if strings.Contains(text, "Jane") || strings.Contains(text, "Doe") {
			t.Errorf("%s names a person: %s", name, text)
		}
	}
}

func TestSlipsOfAnyTextEndInPaperOrAnError(t *testing.T) {
	for _, long := range []string{strings.Repeat("W", 3000), strings.Repeat("word ", 600), "\u202E\x00\n", ""} {
		slip := ui.Slip{Station: long, Verdict: long, Facts: [][2]string{{long, long}}, Notes: []string{long}, Digits: samples.Digits}
		if data, err := ESCPOS(slip, Narrow); err == nil {
			if img, _ := printed(t, data); img.Rect.Dy() > maxLines {
				t.Errorf("%d lines of paper", img.Rect.Dy())
			}
		}
	}
	if _, err := PDF(ui.Slip{Digits: strings.Repeat("9", 9000)}, Narrow); err == nil {
		t.Error("a code that no paper holds is printed")
	}
}
