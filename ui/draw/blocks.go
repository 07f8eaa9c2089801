package draw

import (
	"image/color"
	"strconv"

	"pratique/ui"
)

// flow turns blocks into atoms for a column of width w. h is the height of the column, for what fills it.
func (s *sheet) flow(blocks []ui.Block, w, h float32) (out []atom) {
	for _, b := range blocks {
		atoms := s.block(b, w, h)
		if len(atoms) > 0 {
			atoms[0].gap = max(atoms[0].gap, 16*s.u)
		}
		out = append(out, atoms...)
	}
	return out
}

func (s *sheet) block(b ui.Block, w, h float32) []atom {
	switch b.Kind {
	case ui.Text:
		return s.paragraphs(b.Lines, w)
	case ui.Heading:
		atoms := s.lines(b.Lines[0], s.text(25), true, w, 0, s.colours.Page.Ink, nil)
		for i := range atoms {
			atoms[i].keep = true
		}
		return atoms
	case ui.Scene:
		return s.scene(b, w)
	case ui.Steps, ui.Points:
		return s.list(b, w)
	case ui.Bar:
		return s.progress(b, w)
	case ui.Code:
		return s.code(b, w, h)
	case ui.Keys:
		return s.keys(b, w, h)
	case ui.Choices:
		return s.choices(b, w)
	case ui.Facts:
		return s.facts(b, w)
	case ui.Field:
		return s.field(b, w)
	case ui.Mono:
		return s.mono(b, w)
	}
	return nil
}

// scene is icons in a row, which say the way from the stick to the answer without a word.
func (s *sheet) scene(b ui.Block, w float32) []atom {
	n := float32(len(b.Icons)*2 - 1)
	side := min(w/n, 150*s.u)
	return []atom{{h: side * 1.2, paint: func(x, y float32) {
		for i, icon := range b.Icons {
			if i > 0 {
				x += side
				s.add(Box{Kind: Picture, X: x + side*0.2, Y: y + side*0.3, W: side * 0.6, H: side * 0.6, Icon: "next", Ink: s.colours.Muted, Fill: s.colours.Page.Fill})
				x += side
			}
			s.add(Box{Kind: Picture, X: x, Y: y + side*0.1, W: side, H: side, Icon: icon, Ink: s.colours.Page.Ink, Fill: s.colours.Page.Fill})
		}
	}}}
}

func (s *sheet) paragraphs(lines []string, w float32) (out []atom) {
	for _, line := range lines {
		atoms := s.lines(line, s.text(22), false, w, 0, s.colours.Page.Ink, nil)
		atoms[0].gap = 8 * s.u
		out = append(out, atoms...)
	}
	return out
}

// lines is a text, a line an atom, moved in by indent; first is painted beside the first of them.
func (s *sheet) lines(text string, size float32, bold bool, w, indent float32, ink color.NRGBA, first func(x, y, h float32)) (out []atom) {
	_, lh := s.measure("X", size, bold, false)
	for i, line := range s.wrap(text, size, bold, w-indent) {
		out = append(out, atom{h: lh, paint: func(x, y float32) {
			if i == 0 && first != nil {
				first(x, y, lh)
			}
			s.words(line, size, bold, x+indent, y, ink, s.colours.Page.Fill)
		}})
	}
	return out
}

// list is numbered or marked. A mark has a shape of its own for each meaning.
func (s *sheet) list(b ui.Block, w float32) (out []atom) {
	size := s.text(22)
	indent := size * 1.7
	for i, line := range b.Lines {
		atoms := s.lines(line, size, false, w, indent, s.colours.Page.Ink, func(x, y, h float32) {
			if b.Kind == ui.Steps {
				s.words(strconv.Itoa(i+1)+".", size, true, x, y, s.colours.Page.Ink, s.colours.Page.Fill)
				return
			}
			mark := ui.Dot
			if i < len(b.Marks) {
				mark = b.Marks[i]
			}
			icon, ink := ui.Icon("dot"), s.colours.Page.Ink
			switch mark {
			case ui.Bad:
				icon, ink = ui.IconStop, s.colours.Bad
			case ui.Careful:
				icon, ink = ui.IconWarning, s.colours.Careful
			case ui.Fine:
				icon, ink = ui.IconCheck, s.colours.Fine
			}
			side := size * 1.15
			s.add(Box{Kind: Picture, X: x, Y: y + (h-side)/2, W: side, H: side, Icon: icon, Ink: ink, Fill: s.colours.Page.Fill})
		})
		if i > 0 {
			atoms[0].gap = 7 * s.u
		}
		out = append(out, atoms...)
	}
	return out
}

func (s *sheet) progress(b ui.Block, w float32) []atom {
	h := 34 * s.u
	bar := atom{h: h, paint: func(x, y float32) {
		s.add(Box{Kind: Plate, X: x, Y: y, W: w, H: h, Fill: s.colours.Normal.Fill, Line: s.colours.Border, Radius: h / 2})
		if full := w * float32(min(1, max(0, b.Share))); full >= h {
			s.add(Box{Kind: Plate, X: x, Y: y, W: full, H: h, Fill: s.colours.Primary.Fill, Radius: h / 2})
		}
	}}
	var out []atom
	for _, line := range b.Lines {
		out = append(out, s.lines(line, s.text(24), true, w, 0, s.colours.Page.Ink, nil)...)
	}
	bar.gap = 8 * s.u
	return append(out, bar)
}

// code is the QR code, as large as there is room for, and always black on white: many scanners do not read it the other way round.
func (s *sheet) code(b ui.Block, w, h float32) []atom {
	size := s.text(30)
	_, lh := s.measure("X", size, true, false)
	side := min(w, h-lh*float32(len(b.Lines))-4*s.u)
	lines := b.Lines
	if side < 300*s.u { // the code in letters stands among the facts as well
		lines, side = nil, min(w, h)
	}
	out := []atom{{h: side, paint: func(x, y float32) {
		s.add(Box{Kind: Symbol, X: x + (w-side)/2, Y: y, W: side, H: side, Digits: b.Digits, Fill: white, Ink: black})
	}}}
	for _, line := range lines {
		out = append(out, atom{h: lh, paint: func(x, y float32) {
			lw, _ := s.measure(line, size, true, false)
			s.words(line, size, true, x+(w-lw)/2, y, s.colours.Page.Ink, s.colours.Page.Fill)
		}})
	}
	return out
}

// keys are rows of keys of the same size.
func (s *sheet) keys(b ui.Block, w, h float32) (out []atom) {
	gap := 6 * s.u
	most := 0
	for _, row := range b.Rows {
		most = max(most, len(row))
	}
	if most == 0 {
		return nil
	}
	kw := (w - gap*float32(most-1)) / float32(most)
	kh := s.target(minTarget)
	if len(s.page.Side) > 0 { // a keypad takes what there is
		kh = min(max(kh, (h-gap*float32(len(b.Rows)-1))/float32(len(b.Rows))), 110*s.u)
	}
	for _, row := range b.Rows {
		out = append(out, atom{h: kh, gap: gap, paint: func(x, y float32) {
			from := x
			if most > 5 {
				from += (w - (kw+gap)*float32(len(row)) + gap) / 2
			}
			for i := range row {
				size := s.text(30)
				if len(row[i].Text) > 1 {
					size = s.text(21)
				}
				s.button(&row[i], from, y, kw, kh, size, true)
				from += kw + gap
			}
		}})
	}
	return out
}

// choices are large buttons, in two columns where there is room.
func (s *sheet) choices(b ui.Block, w float32) (out []atom) {
	buttons := b.Rows[0]
	columns := 1
	if len(buttons) > 4 && w/s.u/s.k > 640 {
		columns = 2
	}
	gap := 10 * s.u
	bw := (w - gap*float32(columns-1)) / float32(columns)
	bh := s.target(76)
	for _, b := range buttons {
		if b.Primary {
			bh = s.target(minPrimary)
		}
	}
	if len(buttons) > 6 {
		bh = max(s.target(minTarget), s.text(24)*1.7)
	}
	for i := 0; i < len(buttons); i += columns {
		row := buttons[i:min(len(buttons), i+columns)]
		out = append(out, atom{h: bh, gap: gap, paint: func(x, y float32) {
			for j := range row {
				s.button(&row[j], x+(bw+gap)*float32(j), y, bw, bh, s.text(24), false)
			}
		}})
	}
	return out
}

// facts are pairs: what, in small letters, and how it is, in large ones.
func (s *sheet) facts(b ui.Block, w float32) (out []atom) {
	small, large := s.text(18), s.text(24)
	label := float32(0)
	for i := 0; i < len(b.Lines); i += 2 {
		lw, _ := s.measure(b.Lines[i], small, false, false)
		label = max(label, lw)
	}
	label += 16 * s.u
	_, sh := s.measure("X", small, false, false)
	_, lh := s.measure("X", large, true, false)
	for i := 0; i+1 < len(b.Lines); i += 2 {
		what, how := b.Lines[i], b.Lines[i+1]
		if label > w*0.45 { // below each other
			atoms := s.lines(what, small, false, w, 0, s.colours.Muted, nil)
			atoms[0].gap = 8 * s.u
			out = append(append(out, atoms...), s.lines(how, large, true, w, 0, s.colours.Page.Ink, nil)...)
			continue
		}
		atoms := s.lines(how, large, true, w, label, s.colours.Page.Ink, func(x, y, _ float32) {
			s.words(what, small, false, x, y+(lh-sh)*0.7, s.colours.Muted, s.colours.Page.Fill)
		})
		atoms[0].gap = 5 * s.u
		out = append(out, atoms...)
	}
	return out
}

// field is what is being typed, with a line where the next character comes.
func (s *sheet) field(b ui.Block, w float32) []atom {
	small, large := s.text(18), s.text(28)
	_, lh := s.measure("X", large, true, false)
	h := lh + 10*s.u
	out := s.lines(b.Lines[0], small, false, w, 0, s.colours.Muted, nil)
	return append(out, atom{h: h, gap: 2 * s.u, paint: func(x, y float32) {
		s.add(Box{Kind: Plate, X: x, Y: y, W: w, H: h, Fill: s.colours.Page.Fill, Line: s.colours.Border, Radius: 8 * s.u})
		text := b.Lines[1] + "|"
		for tw, _ := s.measure(text, large, true, false); tw > w-20*s.u && len(text) > 1; tw, _ = s.measure(text, large, true, false) {
			for i := range text { // what was typed last is what counts
				if i > 0 {
					text = text[i:]
					break
				}
			}
		}
		s.words(text, large, true, x+10*s.u, y+5*s.u, s.colours.Page.Ink, s.colours.Page.Fill)
	}})
}

func (s *sheet) mono(b ui.Block, w float32) (out []atom) {
	size := s.text(20)
	_, lh := s.measure("X", size, false, true)
	for _, line := range b.Lines {
		out = append(out, atom{h: lh, gap: 4 * s.u, paint: func(x, y float32) {
			tw, th := s.measure(line, size, false, true)
			s.add(Box{Kind: Words, X: x, Y: y, W: min(tw, w), H: th, Text: line, Size: size, Mono: true, Ink: s.colours.Page.Ink, Fill: s.colours.Page.Fill})
		}})
	}
	return out
}
