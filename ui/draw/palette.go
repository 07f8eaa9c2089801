package draw

import (
	"image/color"

	"pratique/ui"
)

// pair is a colour and what is written on it.
type pair struct{ Fill, Ink color.NRGBA }

// palette is the colours of a theme. Each ink stands 4.5 to 1 against its fill, or more (WCAG 2.2, 1.4.3); a test measures it on
// every page.
type palette struct {
	Page    pair // the background
	Muted   color.NRGBA
	Tones   [6]pair // by ui.Tone
	Primary pair
	Normal  pair
	Chosen  pair
	Border  color.NRGBA
	Focus   color.NRGBA
	Bad     color.NRGBA // marks, on Page
	Careful color.NRGBA
	Fine    color.NRGBA
}

func rgb(v uint32) color.NRGBA {
	return color.NRGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 0xFF}
}

var (
	white = rgb(0xFFFFFF)
	black = rgb(0x000000)
)

var palettes = [ui.ThemeEnd]palette{
	ui.Light: {
		Page: pair{rgb(0xF4F6F8), rgb(0x14212B)}, Muted: rgb(0x44515C),
		Tones:   [6]pair{{rgb(0x1F4E79), white}, {rgb(0x0B6B3A), white}, {rgb(0xA61B1B), white}, {rgb(0x855600), white}, {rgb(0x474D55), white}, {rgb(0xB00020), white}},
		Primary: pair{rgb(0x1F4E79), white}, Normal: pair{rgb(0xDCE4EB), rgb(0x14212B)}, Chosen: pair{rgb(0x14212B), white},
		Border: rgb(0x6B7883), Focus: rgb(0xE07B00), Bad: rgb(0xA61B1B), Careful: rgb(0x7A4F00), Fine: rgb(0x0B6B3A),
	},
	ui.Dark: {
		Page: pair{rgb(0x10161C), rgb(0xF1F4F6)}, Muted: rgb(0xB4BFC8),
		Tones:   [6]pair{{rgb(0x245888), white}, {rgb(0x126B3A), white}, {rgb(0xAE2323), white}, {rgb(0x855600), white}, {rgb(0x50565F), white}, {rgb(0xB00020), white}},
		Primary: pair{rgb(0x8EC5F5), rgb(0x0A1420)}, Normal: pair{rgb(0x2B3742), rgb(0xF1F4F6)}, Chosen: pair{rgb(0xF1F4F6), rgb(0x10161C)},
		Border: rgb(0x8A97A3), Focus: rgb(0xFFB347), Bad: rgb(0xFF8A80), Careful: rgb(0xFFC766), Fine: rgb(0x7BD8A4),
	},
	ui.Contrast: {
		Page: pair{black, white}, Muted: white,
		Tones:   [6]pair{{white, black}, {rgb(0x00E676), black}, {rgb(0xFF6E6E), black}, {rgb(0xFFD600), black}, {rgb(0xCFCFCF), black}, {rgb(0xFF9100), black}},
		Primary: pair{rgb(0xFFFF00), black}, Normal: pair{black, white}, Chosen: pair{white, black},
		Border: white, Focus: rgb(0x00E5FF), Bad: rgb(0xFF6E6E), Careful: rgb(0xFFD600), Fine: rgb(0x00E676),
	},
}

func paletteOf(t ui.Theme) *palette {
	if t < ui.ThemeEnd {
		return &palettes[t]
	}
	return &palettes[ui.Light]
}
