// Package receipt makes the slip of paper that goes with a medium: for receipt printers that take ESC/POS, and as PDF.
//
// # What is on it
//
// The verdict in words, the equipment class, until when it holds, the short code, the QR code of the token, the station, and the entry
// of the log that the token is in. There is no file's name, no label and no person on it: a slip gets lost. The QR code is the
// clearance; everything else is for people, proves nothing, and says so by pointing at the code.
//
// # The format for printers
//
// ESC/POS as Epson documents it (https://download4.epson.biz/sec_pubs/pos/reference_en/escpos/), of which four commands are used that
// every such printer knows: ESC @ (initialise), GS v 0 (raster image), LF, and GS V 66 (feed and cut; a printer without a knife ignores
// it). Everything is one raster image, text too: what a printer makes of characters depends on its code page, what it makes of dots
// does not, so the slip looks the same everywhere, in each language. A line of dots is 384 wide on paper of 58 mm and 576 on 80 mm, at
// 203 dots an inch.
//
// # The format for files
//
// PDF 1.4 with one page of the size of the slip, which holds the same picture, losslessly (FlateDecode), and nothing else: no script,
// no link, no font, no date, no author. The same receipt gives the same file.
//
// # Trust and limits
//
// The texts are of package ui and the daemon; names among them are shown as ui.Shown makes them. A slip is at most maxLines long.
package receipt

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"image"
	"image/color"

	qrcode "github.com/skip2/go-qrcode"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"pratique/ui"
)

// Paper is a width of paper, in millimetres.
type Paper int

// The widths that receipt printers have.
const (
	Narrow Paper = 58
	Wide   Paper = 80
)

// dots is how wide the printed part is.
func (p Paper) dots() int {
	if p == Narrow {
		return 384
	}
	return 576
}

const (
	maxLines  = 4096 // of dots: half a metre of paper
	perInch   = 203
	bandLines = 255 // of one raster command: what the oldest printers buffer
)

// Image draws the slip, black on white.
func Image(s ui.Slip, paper Paper) (*image.Gray, error) {
	w := paper.dots()
	d := &drawing{img: image.NewGray(image.Rect(0, 0, w, maxLines)), w: w}
	for i := range d.img.Pix {
		d.img.Pix[i] = 0xFF
	}
	small, err := face(goregular.TTF, 22)
	if err != nil {
		return nil, err
	}
	bold, err := face(gobold.TTF, 26)
	if err != nil {
		return nil, err
	}
	large, err := face(gobold.TTF, 44)
	if err != nil {
		return nil, err
	}
	d.y = 16
	d.text(small, s.Station)
	d.text(large, s.Verdict)
	if s.Red {
		d.rule(10)
	}
	for _, f := range s.Facts {
		d.text(small, f[0])
		d.text(bold, f[1])
	}
	d.y += 8
	if s.Digits != "" {
		if err := d.symbol(s.Digits); err != nil {
			return nil, err
		}
	}
	for _, line := range s.Notes {
		d.text(small, line)
	}
	d.rule(3)
	if d.y+16 > maxLines {
		return nil, errors.New("receipt: too long for a slip")
	}
	return d.img.SubImage(image.Rect(0, 0, w, d.y+16)).(*image.Gray), nil
}

func face(ttf []byte, size float64) (font.Face, error) {
	f, err := opentype.Parse(ttf)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
}

// drawing is a slip that grows downwards. What does not fit onto it is cut off, and Image refuses it.
type drawing struct {
	img  *image.Gray
	w, y int
}

const margin = 8

// text writes a text, on as many lines as it takes.
func (d *drawing) text(f font.Face, text string) {
	high := f.Metrics().Height.Ceil()
	line := ""
	flush := func() {
		if line == "" || d.y+high > maxLines {
			return
		}
		w := font.Drawer{Dst: d.img, Src: image.NewUniform(color.Black), Face: f, Dot: fixed.P(margin, d.y+f.Metrics().Ascent.Ceil())}
		w.DrawString(line)
		d.y += high
		line = ""
	}
	fits := func(s string) bool { return font.MeasureString(f, s).Ceil() <= d.w-2*margin }
	word := ""
	for _, r := range text + " " {
		if r != ' ' {
			if !fits(word + string(r)) { // a word as long as the paper is wide
				flush()
				line = word
				flush()
				word = ""
			}
			word += string(r)
			continue
		}
		if joined := line + " " + word; line != "" && !fits(joined) {
			flush()
			line = word
		} else if line != "" {
			line = joined
		} else {
			line = word
		}
		word = ""
	}
	flush()
}

func (d *drawing) rule(high int) {
	d.y += 6
	for y := d.y; y < min(d.y+high, maxLines); y++ {
		for x := margin; x < d.w-margin; x++ {
			d.img.SetGray(x, y, color.Gray{0})
		}
	}
	d.y += high + 6
}

// symbol draws the QR code in modules of whole dots, as large as the paper is wide.
func (d *drawing) symbol(digits string) error {
	q, err := qrcode.New(digits, qrcode.Medium)
	if err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	modules := q.Bitmap()
	module := d.w / len(modules)
	if module < 2 {
		return fmt.Errorf("receipt: a QR code of %d modules does not fit onto %d dots", len(modules), d.w)
	}
	module = min(module, 6)
	from := (d.w - module*len(modules)) / 2
	for y := range module * len(modules) {
		for x := range module * len(modules) {
			if modules[y/module][x/module] && d.y+y < maxLines {
				d.img.SetGray(from+x, d.y+y, color.Gray{0})
			}
		}
	}
	d.y += module * len(modules)
	return nil
}

// black reports whether a dot is printed.
func black(img *image.Gray, x, y int) bool { return img.GrayAt(x, y).Y < 0x80 }

// ESCPOS is the slip as a receipt printer takes it.
func ESCPOS(s ui.Slip, paper Paper) ([]byte, error) {
	img, err := Image(s, paper)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("\x1b@")
	w, h := img.Rect.Dx(), img.Rect.Dy()
	row := w / 8 // both widths are whole bytes
	for from := 0; from < h; from += bandLines {
		lines := min(bandLines, h-from)
		out.Write([]byte{0x1d, 'v', '0', 0, byte(row), byte(row >> 8), byte(lines), byte(lines >> 8)})
		for y := from; y < from+lines; y++ {
			for x := 0; x < w; x += 8 {
				var b byte
				for bit := range 8 {
					if black(img, x+bit, y) {
						b |= 0x80 >> bit
					}
				}
				out.WriteByte(b)
			}
		}
	}
	out.WriteString("\n\x1dVB\x50")
	return out.Bytes(), nil
}

// PDF is the slip as a file.
func PDF(s ui.Slip, paper Paper) ([]byte, error) {
	img, err := Image(s, paper)
	if err != nil {
		return nil, err
	}
	w, h := img.Rect.Dx(), img.Rect.Dy()
	var raw bytes.Buffer
	z := zlib.NewWriter(&raw)
	line := make([]byte, w/8)
	for y := range h {
		for i := range line {
			line[i] = 0
			for bit := range 8 {
				if !black(img, i*8+bit, y) { // in a PDF 1 is white
					line[i] |= 0x80 >> bit
				}
			}
		}
		z.Write(line) // into memory
	}
	z.Close()
	wide, high := float64(w)*72/perInch, float64(h)*72/perInch
	content := fmt.Sprintf("q %.2f 0 0 %.2f 0 0 cm /I Do Q", wide, high)
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.2f %.2f] /Contents 4 0 R /Resources << /XObject << /I 5 0 R >> >> >>", wide, high),
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(content), content),
		fmt.Sprintf("<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream", w, h, raw.Len(), raw.String()),
	}
	var out bytes.Buffer
	out.WriteString("%PDF-1.4\n%\xE2\xE3\xCF\xD3\n")
	var at []int
	for i, o := range objects {
		at = append(at, out.Len())
		fmt.Fprintf(&out, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	table := out.Len()
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, offset := range at {
		fmt.Fprintf(&out, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, table)
	return out.Bytes(), nil
}
