package draw

import (
	"image/color"
	"strconv"

	"pratique/ui"
)

// BoxKind is what a Box is.
type BoxKind uint8

// The kinds of boxes.
const (
	Plate   BoxKind = iota // a rectangle
	Words                  // one line of text
	Picture                // an icon
	Symbol                 // a QR code
	Target                 // where a finger can touch; drawn by the boxes before it
)

// Box is one thing on the screen, in units.
type Box struct {
	Kind       BoxKind
	X, Y, W, H float32
	Fill       color.NRGBA // of a Plate; of whatever else, what it stands on
	Line       color.NRGBA // border of a Plate, if it is not transparent
	Ink        color.NRGBA // of Words and Pictures
	Radius     float32
	Text       string
	Size       float32
	Bold, Mono bool
	Icon       ui.Icon
	Digits     string
	Button     *ui.Button
	Key        bool // a Target of a keypad, which is one of many
}

// Plan is a page, laid out.
type Plan struct {
	Boxes []Box
	Parts int // that the page has; Look.Part says which one this is
	Back  color.NRGBA
}

// Measure is how wide and how high a line of text is.
type Measure func(text string, size float32, bold, mono bool) (w, h float32)

// The smallest targets, in units (EN 301 549 asks for less; people here wear gloves), and the largest text at which a small screen
// still shows a page in few parts.
const (
	minTarget   = 60
	minPrimary  = 96
	smallScreen = 0.99 // of the screen that the pages are made for
	smallMost   = 1.3  // times the size of text
	largest     = 2    // times the size of text that the room makes it
	smallest    = 13   // units of the design: no text is smaller
	leastW      = 320  // a window that is not yet as large as it will be is laid out as if it were this large
	leastH      = 240
	baseW       = 1280
	baseH       = 800
)

// sheet is what the functions of this package need while they lay one page out.
type sheet struct {
	page    ui.Page
	colours *palette
	measure Measure
	u       float32 // units of the screen for one of the design
	k       float32 // size of text
	boxes   []Box
}

// Arrange lays a page out on a screen of w by h units. Nothing stands outside the screen or on something else; what does not fit
// goes onto further parts, which a button turns to.
func Arrange(p ui.Page, look ui.Look, w, h float32, measure Measure) Plan {
	w, h = max(w, leastW), max(h, leastH)
	s := &sheet{page: p, colours: paletteOf(look.Theme), measure: measure}
	s.u = min(max(min(w/baseW, h/baseH), 0.8), 3.2)
	s.k = float32(min(max(look.Percent, 100), 200)) / 100
	if min(w/baseW, h/baseH) < smallScreen {
		s.k = min(s.k, smallMost)
	}
	m := 14 * s.u
	top := s.bar(m, m, w-2*m)
	bottom := h - m
	if p.Note != "" {
		bottom = s.note(p.Note, m, bottom, w-2*m)
	}
	foot, gap := s.footHeight(), 10*s.u
	room := bottom - top - 2*gap - foot
	if foot == 0 {
		room += gap
	}
	parts := s.grown(look.Part, m, top+gap, w-2*m, room)
	if parts > 1 && foot == 0 { // room for the button that turns the page
		foot = s.target(minTarget)
		parts = s.body(look.Part, m, top+gap, w-2*m, room-foot-gap)
	}
	s.foot(look, parts, m, bottom-foot, w-2*m, foot)
	return Plan{Boxes: s.boxes, Parts: parts, Back: s.colours.Page.Fill}
}

// grown lays out the body as large as it fits into one part, and as large as it was asked for if that takes more. What is there for
// those who have the room is left out before anything else gives way.
func (s *sheet) grown(part int, x, y, w, h float32) int {
	page, k, before := s.page, s.k, len(s.boxes)
	plain := page
	plain.Body, plain.Side = necessary(page.Body), necessary(page.Side)
	optional := len(plain.Body)+len(plain.Side) < len(page.Body)+len(page.Side)
	for _, try := range []struct {
		page  ui.Page
		grown float32
		only  bool // if there is something to leave out
	}{{page, 1.4, false}, {page, 1.25, false}, {page, 1.12, false}, {page, 1, false}, {plain, 1.25, true}, {plain, 1, true}} {
		if try.only && !optional || try.grown > 1 && k*try.grown > largest {
			continue
		}
		s.page, s.k, s.boxes = try.page, k*try.grown, s.boxes[:before]
		if s.body(0, x, y, w, h) == 1 {
			s.page, s.k = page, k
			return 1
		}
	}
	s.page, s.k, s.boxes = plain, k, s.boxes[:before]
	parts := s.body(part, x, y, w, h)
	if s.page, s.k = page, k; len(page.Buttons) == 0 {
		s.boxes = s.boxes[:before]
	}
	return parts
}

func necessary(blocks []ui.Block) (out []ui.Block) {
	for _, b := range blocks {
		if !b.Optional {
			out = append(out, b)
		}
	}
	return out
}

// text is the size of text that is so high in the design.
func (s *sheet) text(size float32) float32 { return size * s.u * s.k }

// target is the size of something that is touched: it grows with the screen and not with the text, and never falls below least.
func (s *sheet) target(least float32) float32 { return max(least, least*s.u) }

func (s *sheet) add(b Box) { s.boxes = append(s.boxes, b) }

// bar lays out the row at the top and returns where it ends.
func (s *sheet) bar(x, y, w float32) float32 {
	h := s.target(minTarget)
	gap := 8 * s.u
	buttons := s.page.Bar
	size := s.text(21)
	var widths []float32
	for ; ; size *= 0.92 {
		total := float32(0)
		widths = widths[:0]
		for _, b := range buttons {
			bw := h
			if b.Text != "" {
				tw, _ := s.measure(b.Text, size, true, false)
				bw = max(h, tw+24*s.u)
				if b.Icon != ui.IconNone {
					bw += size*1.3 + 6*s.u
				}
				if b.Do.Kind == ui.ActPort { // named by people
					bw = min(bw, w/8)
				}
			}
			widths = append(widths, bw)
			total += bw + gap
		}
		if total <= w || size*0.92 < smallest*s.u {
			break
		}
	}
	total := float32(0)
	for _, bw := range widths {
		total += bw + gap
	}
	left := x + w - total + gap
	if len(buttons) == 0 {
		left = x + w
	}
	s.name(x, y, left-x-16*s.u, h)
	if left < x { // too many: those with texts give way
		left = x
		least := (w - gap*float32(len(buttons)-1)) / float32(max(1, len(buttons)))
		for i := range widths {
			widths[i] = min(widths[i], max(minTarget, least))
		}
	}
	for i := range buttons {
		s.button(&buttons[i], left, y, widths[i], h, size, false)
		left += widths[i] + gap
	}
	return y + h
}

// name is the station's, where the row at the top has room for it.
func (s *sheet) name(x, y, w, h float32) {
	if s.page.Station == "" || w < 120*s.u {
		return
	}
	size := s.text(20)
	for ; size*0.93 > smallest*s.u; size *= 0.93 {
		if tw, th := s.measure(s.page.Station, size, true, false); tw <= w && th <= h {
			break
		}
	}
	name := s.cut(s.page.Station, size, true, w)
	_, lh := s.measure(name, size, true, false)
	s.words(name, size, true, x, y+(h-lh)/2, s.colours.Page.Ink, s.colours.Page.Fill)
}

// note lays out the line at the bottom, and returns where what is above it ends.
func (s *sheet) note(text string, x, bottom, w float32) float32 {
	size := min(s.text(16), 24*s.u)
	lines := s.wrap(text, size, false, w)
	_, lh := s.measure("X", size, false, false)
	y := bottom - float32(len(lines))*lh
	for i, line := range lines {
		s.words(line, size, false, x, y+float32(i)*lh, s.colours.Muted, s.colours.Page.Fill)
	}
	return y - 6*s.u
}

func (s *sheet) footHeight() float32 {
	if len(s.page.Buttons) == 0 {
		return 0
	}
	for _, b := range s.page.Buttons {
		if b.Primary {
			return s.target(minPrimary)
		}
	}
	return max(s.target(minTarget), s.text(28)*2)
}

// foot lays out the row at the bottom. A page with further parts has a button more.
func (s *sheet) foot(look ui.Look, parts int, x, y, w, h float32) {
	buttons := append([]ui.Button(nil), s.page.Buttons...)
	if parts > 1 {
		next := (min(look.Part, parts-1) + 1) % parts
		key := "next"
		if next == 0 {
			key = "previous"
		}
		text := look.Language.Say(key) + "  " + strconv.Itoa(min(look.Part, parts-1)+1) + "/" + strconv.Itoa(parts)
		buttons = append(buttons, ui.Button{Text: text, Do: ui.Action{Kind: ui.ActPart, Arg: strconv.Itoa(next)}})
	}
	if len(buttons) == 0 {
		return
	}
	weight := func(b ui.Button) float32 {
		switch {
		case b.Primary:
			return 1.8
		case b.Quiet:
			return 1
		}
		return 1.2
	}
	gap := 10 * s.u
	total := float32(0)
	for _, b := range buttons {
		total += weight(b)
	}
	room := w - gap*float32(len(buttons)-1)
	most := 460 * s.u * max(1, s.k*0.8)
	for i := range buttons {
		bw := min(room*weight(buttons[i])/total, most*weight(buttons[i]))
		s.button(&buttons[i], x, y, bw, h, s.text(28), false)
		x += bw + gap
	}
}

// button lays out one button. Its text shrinks until it fits, down to the size that the tests still take.
func (s *sheet) button(b *ui.Button, x, y, w, h, size float32, key bool) {
	c := s.colours.Normal
	switch {
	case b.Chosen:
		c = s.colours.Chosen
	case b.Primary:
		c = s.colours.Primary
	}
	plate := Box{Kind: Plate, X: x, Y: y, W: w, H: h, Fill: c.Fill, Radius: 10 * s.u}
	if !b.Primary && !b.Chosen {
		plate.Line = s.colours.Border
	}
	s.add(plate)
	pad := 10 * s.u
	room, left := w-2*pad, x+pad
	if b.Icon != ui.IconNone {
		side := min(h-2*pad, size*1.3)
		ix := left
		if b.Text == "" {
			side = min(w, h) * 0.5
			ix = x + (w-side)/2
		}
		if b.Text == "" || room-side-pad*0.6 > size*2 {
			s.add(Box{Kind: Picture, X: ix, Y: y + (h-side)/2, W: side, H: side, Icon: b.Icon, Ink: c.Ink, Fill: c.Fill})
			left += side + pad*0.6
			room -= side + pad*0.6
		}
	}
	if b.Text != "" {
		lines := s.fit(b.Text, &size, room, h-6*s.u)
		_, lh := s.measure("X", size, true, false)
		ty := y + (h-lh*float32(len(lines)))/2
		for _, line := range lines {
			lw, _ := s.measure(line, size, true, false)
			tx := left + (room-lw)/2
			if b.Icon != ui.IconNone {
				tx = left
			}
			s.words(line, size, true, tx, ty, c.Ink, c.Fill)
			ty += lh
		}
	}
	s.add(Box{Kind: Target, X: x, Y: y, W: w, H: h, Button: b, Fill: c.Fill, Key: key})
}

// fit wraps a button's text into the room that there is, and makes it smaller if it must.
func (s *sheet) fit(text string, size *float32, w, h float32) []string {
	for least := max(*size*0.5, smallest*s.u); ; *size *= 0.93 {
		lines := s.wrap(text, *size, true, w)
		_, lh := s.measure("X", *size, true, false)
		if lh*float32(len(lines)) <= h && !s.torn(text, lines) {
			return lines
		}
		if *size*0.93 < least { // a name
			most := max(1, int(h/lh))
			if len(lines) > most {
				lines = lines[:most]
				lines[most-1] = s.cut(lines[most-1]+"…", *size, true, w)
			}
			return lines
		}
	}
}

// words adds a line of text.
func (s *sheet) words(text string, size float32, bold bool, x, y float32, ink, on color.NRGBA) {
	w, h := s.measure(text, size, bold, false)
	s.add(Box{Kind: Words, X: x, Y: y, W: w, H: h, Text: text, Size: size, Bold: bold, Ink: ink, Fill: on})
}
