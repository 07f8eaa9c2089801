package draw

import (
	"fmt"
	"image/color"
	"strings"

	"fyne.io/fyne/v2"

	"pratique/ui"
)

// icons are the insides of pictures of 24 by 24, drawn with lines: a shape can be told from the others without its colour.
var icons = map[ui.Icon]string{
	ui.IconStick:    `<path d="M8 10V3h8v7"/><path d="M6 10h12v9a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2z"/><path d="M10.5 5.5v1.5M13.5 5.5v1.5"/>`,
	ui.IconCheck:    `<path d="M12 2a10 10 0 1 0 0.001 0z"/><path d="M7 12.5l3.5 3.5L17 8.5"/>`,
	ui.IconStop:     `<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8z"/><path d="M8.5 8.5l7 7M15.5 8.5l-7 7"/>`,
	ui.IconQuestion: `<path d="M12 2L22 12L12 22L2 12z"/><path d="M9.5 9.5a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.1.9-1.1 1.7"/><path d="M12 16.3v.4"/>`,
	ui.IconWrench:   `<path d="M14.5 6.5a4.5 4.5 0 0 1 6-3l-3 3 .5 2.5 2.5.5 3-3a4.5 4.5 0 0 1-6 6L8.5 21a2 2 0 0 1-3-3z"/>`,
	ui.IconWarning:  `<path d="M12 3L22.5 21H1.5z"/><path d="M12 10v5M12 17.6v.4"/>`,
	ui.IconEye:      `<path d="M10.5 3a7.5 7.5 0 1 0 0.001 0z"/><path d="M16 16l6 6"/>`,
	ui.IconPerson:   `<path d="M12 3a4.5 4.5 0 1 0 0.001 0z"/><path d="M3.5 21.5c0-5 3.5-8 8.5-8s8.5 3 8.5 8"/>`,
	ui.IconDevice:   `<path d="M2.5 3.5h19v13h-19z"/><path d="M5 10h3.5l2-4 3 7 2-3H19"/><path d="M12 16.5v4M7 20.5h10"/>`,
	ui.IconPull:     `<path d="M6 13h12v8H6z"/><path d="M12 10V2M8 6l4-4 4 4"/>`,
	ui.IconPause:    `<path d="M12 2a10 10 0 1 0 0.001 0z"/><path d="M9.5 8v8M14.5 8v8"/>`,
	ui.IconBook:     `<path d="M5 2.5h14v19H5z"/><path d="M8.5 7.5h7M8.5 12h7M8.5 16.5h4"/>`,
	ui.IconGear:     `<path d="M12 8.5a3.5 3.5 0 1 0 0.001 0z"/><path d="M12 2v3.5M12 18.5V22M2 12h3.5M18.5 12H22M4.900 4.900l2.5 2.5M16.600 16.600l2.5 2.5M19.100 4.900l-2.5 2.5M7.400 16.600l-2.5 2.5"/>`,
	ui.IconPrinter:  `<path d="M7 8V2.5h10V8"/><path d="M3 8h18v9h-4v4.5H7V17H3z"/><path d="M7 14h10"/>`,
	ui.IconSpeaker:  `<path d="M3 9v6h4l6 5V4L7 9z"/><path d="M16.5 8.5a5 5 0 0 1 0 7M19.5 5.5a9 9 0 0 1 0 13"/>`,
	"next":          `<path d="M3 12h17M14 6l6 6-6 6"/>`,
	"dot":           `<path d="M12 9.5a2.5 2.5 0 1 0 0.001 0z"/>`,
}

// picture is an icon in one colour, for a side of so many units: the toolkit scales shapes and not the width of their lines. Pictures
// of the same icon, colour and size have the same name, so that the toolkit keeps them.
func picture(icon ui.Icon, ink color.NRGBA, side float32) fyne.Resource {
	inside := icons[icon]
	if inside == "" {
		inside = icons["dot"]
	}
	hex := fmt.Sprintf("#%02x%02x%02x", ink.R, ink.G, ink.B)
	line := fmt.Sprintf("%.1f", max(1.5, side/24*1.8))
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">` +
		strings.ReplaceAll(inside, "<path ", `<path fill="none" stroke="`+hex+`" stroke-width="`+line+`" stroke-linecap="round" stroke-linejoin="round" `) + `</svg>`
	return fyne.NewStaticResource(string(icon)+hex+"-"+line+".svg", []byte(svg))
}
