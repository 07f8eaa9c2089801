package pdf

import (
	"fmt"
	"unicode/utf8"
)

// Font is one of the fonts that every reader of PDF has.
type Font int

// The fonts.
const (
	Sans Font = iota
	Bold
	Mono
	fontEnd
)

var fontNames = [fontEnd]string{"Helvetica", "Helvetica-Bold", "Courier"}

// The widths of characters in thousandths of the size, from ' ' to '~' and then from U+00A0 to U+00FF: Adobe's metrics of the
// standard fonts (https://github.com/adobe-type-tools/font-tech-notes, Technical Note 5004). Courier's are all 600.
var widths = [fontEnd][]uint16{
	Sans: {
		278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
		556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
		1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
		667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
		333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
		556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,

		278, 333, 556, 556, 556, 556, 260, 556, 333, 737, 370, 556, 584, 333, 737, 333,
		400, 584, 333, 333, 333, 556, 537, 278, 333, 333, 365, 556, 834, 834, 834, 611,
		667, 667, 667, 667, 667, 667, 1000, 722, 667, 667, 667, 667, 278, 278, 278, 278,
		722, 722, 778, 778, 778, 778, 778, 584, 778, 722, 722, 722, 722, 667, 667, 611,
		556, 556, 556, 556, 556, 556, 889, 500, 556, 556, 556, 556, 278, 278, 278, 278,
		556, 556, 556, 556, 556, 556, 556, 584, 611, 556, 556, 556, 556, 500, 556, 500,
	},
	Bold: {
		278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278,
		556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611,
		975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778,
		667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556,
		333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611,
		611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,

		278, 333, 556, 556, 556, 556, 280, 556, 333, 737, 370, 556, 584, 333, 737, 333,
		400, 584, 333, 333, 333, 611, 556, 278, 333, 333, 365, 556, 834, 834, 834, 611,
		722, 722, 722, 722, 722, 722, 1000, 722, 667, 667, 667, 667, 278, 278, 278, 278,
		722, 722, 778, 778, 778, 778, 778, 584, 778, 722, 722, 722, 722, 667, 667, 611,
		556, 556, 556, 556, 556, 556, 889, 556, 556, 556, 556, 556, 278, 278, 278, 278,
		611, 611, 611, 611, 611, 611, 611, 584, 611, 611, 611, 611, 611, 556, 611, 556,
	},
}

// courierWidth is the width of every character of Courier.
const courierWidth = 600

// The two dashes of WinAnsiEncoding, which are not where Latin-1 has its control characters: a signed note needs the long one.
const (
	enDash, enDashWidth = 0x96, 556
	emDash, emDashWidth = 0x97, 1000
)

// Length is how long a line of text is, in points.
func (f Font) Length(size float64, text string) float64 {
	total := 0
	for _, b := range encode(text) {
		switch {
		case f == Mono:
			total += courierWidth
		case b == enDash:
			total += enDashWidth
		case b == emDash:
			total += emDashWidth
		case b >= 0xA0:
			total += int(widths[f]['~'-' '+1+int(b-0xA0)])
		default:
			total += int(widths[f][b-' '])
		}
	}
	return float64(total) * size / 1000
}

// Cut shortens a text to a length in points. What is left ends in "..." if anything was cut.
func (f Font) Cut(size, length float64, text string) string {
	if f.Length(size, text) <= length {
		return text
	}
	for text != "" && f.Length(size, text+"...") > length {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	return text + "..."
}

// encode turns text into WinAnsiEncoding, as far as that is Latin-1 or a dash. Every other character becomes its number: what
// cannot be seen or turns the reading direction round is seen so.
func encode(text string) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		switch {
		case r >= ' ' && r <= '~' || r >= 0xA0 && r <= 0xFF && r != 0xAD: // a soft hyphen is not seen
			out = append(out, byte(r))
		case r == '\u2013':
			out = append(out, enDash)
		case r == '\u2014':
			out = append(out, emDash)
		default:
			out = fmt.Appendf(out, "U+%04X", r)
		}
	}
	return out
}
