package draw

import (
	"strings"

	"pratique/ui"
)

// atom is the smallest part of a page that is not divided between two of its parts: a line of text, a button, a QR code.
type atom struct {
	h, gap float32 // height, and the space above it unless it comes first
	keep   bool    // it stays with the next
	paint  func(x, y float32)
}

func height(atoms []atom) (h float32) {
	for i, a := range atoms {
		if i > 0 {
			h += a.gap
		}
		h += a.h
	}
	return h
}

// body lays out everything between the two rows of buttons, and returns how many parts the page has. Three ways are tried, in this
// order: the title over both columns; the title over the left column, so that the other has the whole height; and one column, in as
// many parts as it takes.
func (s *sheet) body(part int, x, y, w, h float32) int {
	if len(s.page.Side) == 0 {
		return s.column(part, x, y, w, h)
	}
	gap := 28 * s.u
	left := (w - gap) * 0.52
	right := w - gap - left
	fixed := s.fixed()
	if wide := w/s.u/s.k >= 720; wide && !fixed {
		for _, f := range []float32{1, 0.9, 0.8} {
			head, hh := s.hero(w, f, true)
			body, side := s.flow(s.page.Body, left, h), s.flow(s.page.Side, right, h)
			room := h - hh - 18*s.u
			if height(body) <= room && height(side) <= room {
				head(x, y)
				stack(body, x, y+hh+18*s.u)
				stack(side, x+left+gap, y+hh+18*s.u)
				return 1
			}
		}
	}
	if w/s.u/s.k >= 720 || fixed {
		for _, f := range []float32{1, 0.9, 0.8, 0.7} {
			head, hh := s.hero(left, f, true)
			body, side := s.flow(s.page.Body, left, h), s.flow(s.page.Side, right, h)
			if height(side) > h {
				continue
			}
			if hh+18*s.u+height(body) <= h {
				head(x, y)
				stack(body, x, y+hh+18*s.u)
				stack(side, x+left+gap, y)
				return 1
			}
		}
	}
	if fixed { // a code or keys stay where they are while the rest is turned
		side := s.flow(s.page.Side, right, h)
		stack(side, x+left+gap, y)
		return s.column(part, x, y, left, h)
	}
	page := s.page
	defer func() { s.page = page }()
	s.page.Body, s.page.Side = append(append([]ui.Block(nil), page.Body...), page.Side...), nil
	return s.column(part, x, y, w, h)
}

// fixed reports whether the side is one thing that is not divided.
func (s *sheet) fixed() bool {
	for _, b := range s.page.Side {
		if b.Kind == ui.Code || b.Kind == ui.Keys {
			return true
		}
	}
	return false
}

// column lays out title and body below each other, in parts if it must be.
func (s *sheet) column(part int, x, y, w, h float32) int {
	gap := 16 * s.u
	factors := []float32{1, 0.9, 0.8, 0.7}
	if s.page.Dense {
		factors = append(factors, 0.6, 0)
	}
	body := s.flow(s.page.Body, w, h)
	for _, f := range factors {
		head, hh := s.hero(w, f, true)
		if hh > 0 && len(body) > 0 {
			hh += gap
		}
		if hh+height(body) <= h {
			head(x, y)
			stack(body, x, y+hh)
			return 1
		}
	}
	// The first part has the whole title, the others a line of it.
	f := float32(1)
	head, hh := s.hero(w, f, true)
	for hh > h*0.6 && f > 0.55 {
		f -= 0.1
		head, hh = s.hero(w, f, true)
	}
	small, sh := s.hero(w, 0.6, false)
	var parts [][]atom
	room := h - hh - gap
	var now []atom
	for i, a := range body {
		need := a.gap + a.h
		for j := i; body[j].keep && j+1 < len(body); j++ {
			need += body[j+1].gap + body[j+1].h
		}
		if len(now) > 0 && height(now)+need > room || len(now) == 0 && len(parts) == 0 && need > room {
			parts, now = append(parts, now), nil
			room = h - sh - gap
		}
		now = append(now, a)
	}
	parts = append(parts, now)
	part = min(part, len(parts)-1)
	if part > 0 {
		head, hh = small, sh
	}
	head(x, y)
	stack(parts[part], x, y+hh+gap)
	return len(parts)
}

func stack(atoms []atom, x, y float32) {
	for i, a := range atoms {
		if i > 0 {
			y += a.gap
		}
		a.paint(x, y)
		y += a.h
	}
}

// hero is the icon, the word and the sentence, in the tone of the page. f makes all of it smaller; with 0 there is none.
func (s *sheet) hero(w, f float32, whole bool) (paint func(x, y float32), h float32) {
	if f == 0 {
		return func(float32, float32) {}, 0
	}
	p := s.page
	tone := s.colours.Tones[min(int(p.Tone), len(s.colours.Tones)-1)]
	titleSize, leadSize, pad := s.text(44)*f, s.text(25)*max(f, 0.8), 22*s.u*f
	if p.Dense || !whole {
		titleSize, leadSize, pad = s.text(28)*max(f, 0.75), s.text(20)*max(f, 0.8), 12*s.u*f
	}
	icon := titleSize * 1.9
	if p.Dense || !whole {
		icon = titleSize * 1.3
	}
	tx := pad + icon + pad*0.8
	room := w - tx - pad
	if longest := s.longestWord(p.Title, titleSize); longest > room { // the word counts most: it is never broken
		icon, tx = 0, pad
		room = w - 2*pad
		for s.longestWord(p.Title, titleSize) > room && titleSize > s.text(20) {
			titleSize *= 0.95
		}
	}
	title := s.wrap(p.Title, titleSize, true, room)
	var lead []string
	if p.Lead != "" && whole && (f >= 0.7 || !p.Dense) {
		lead = s.wrap(p.Lead, leadSize, false, room)
	}
	_, th := s.measure("X", titleSize, true, false)
	_, lh := s.measure("X", leadSize, false, false)
	texts := th*float32(len(title)) + lh*float32(len(lead))
	h = max(texts, icon) + 2*pad
	return func(x, y float32) {
		plate := Box{Kind: Plate, X: x, Y: y, W: w, H: h, Fill: tone.Fill, Radius: 14 * s.u}
		if p.Tone == ui.Alarm || tone.Fill == s.colours.Page.Fill {
			plate.Line = s.colours.Page.Ink
		}
		s.add(plate)
		if icon > 0 {
			s.add(Box{Kind: Picture, X: x + pad, Y: y + (h-icon)/2, W: icon, H: icon, Icon: p.Icon, Ink: tone.Ink, Fill: tone.Fill})
		}
		ty := y + (h-texts)/2
		for _, line := range title {
			s.words(line, titleSize, true, x+tx, ty, tone.Ink, tone.Fill)
			ty += th
		}
		for _, line := range lead {
			s.words(line, leadSize, false, x+tx, ty, tone.Ink, tone.Fill)
			ty += lh
		}
	}, h
}

// longestWord is how wide the widest word of a text is.
func (s *sheet) longestWord(text string, size float32) (w float32) {
	for _, word := range strings.Fields(text) {
		tw, _ := s.measure(word, size, true, false)
		w = max(w, tw)
	}
	return w
}
