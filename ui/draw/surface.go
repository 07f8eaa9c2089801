// Package draw lays the pages of package ui out and paints them with Fyne.
//
// Arrange is pure: from a page, a look and a size it makes boxes, and says which page is too long for one screen and how many parts
// it has. So tests can measure every page in every language, theme and size: what overflows, what covers what, how a text stands out
// against what it is on, how large what can be touched is. Surface puts the boxes onto a Fyne canvas.
//
// # What it trusts
//
// Package ui, that no text is endless. Whatever a text holds, it is text here: no markup, no link. Nothing opens a window, a menu,
// a dialog or a file, and no key does anything but move the focus, press what has it and type what a keypad could.
//
// # Limits
//
// Text runs from left to right. A screen is at least 800 by 480 units; on a smaller one the buttons stay as large as they must be
// and the rest is turned in more parts.
package draw

import (
	"image"
	"image/color"
	"reflect"
	"strconv"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/widget"
	qrcode "github.com/skip2/go-qrcode"

	"pratique/ui"
)

// Surface is the whole content of the kiosk's window.
type Surface struct {
	widget.BaseWidget
	touched func(ui.Action)
	page    ui.Page
	look    ui.Look
	plan    Plan
	size    fyne.Size
	objects []fyne.CanvasObject
	kept    kept
}

// NewSurface returns an empty surface. touched is called for what a person touches or presses.
func NewSurface(touched func(ui.Action)) *Surface {
	s := &Surface{touched: touched}
	s.ExtendBaseWidget(s)
	return s
}

// Display shows a page. It does nothing if that changes nothing on the screen.
func (s *Surface) Display(p ui.Page, look ui.Look) {
	s.page, s.look = p, look
	s.arrange(false)
}

// Plan is what is on the screen.
func (s *Surface) Plan() Plan { return s.plan }

func (s *Surface) arrange(always bool) {
	if s.size.Width < 1 || s.size.Height < 1 {
		return
	}
	plan := Arrange(s.page, s.look, s.size.Width, s.size.Height, measure)
	if !always && reflect.DeepEqual(plan, s.plan) {
		return
	}
	s.plan = plan
	s.objects = s.paint()
	s.Refresh()
}

// measure asks the toolkit.
func measure(text string, size float32, bold, mono bool) (w, h float32) {
	got := fyne.MeasureText(text, size, fyne.TextStyle{Bold: bold, Monospace: mono})
	return got.Width, got.Height
}

// kept are objects that were painted before. The toolkit holds what it made of an object's picture for a minute after the object was
// last seen: a screen that made new ones for each state would hold those of all.
type kept struct {
	plates  []*canvas.Rectangle
	words   []*canvas.Text
	images  []*canvas.Image
	shows   []string // what each image is of
	targets map[string]*target
}

// nth is the object that was the nth before, or a new one.
func nth[T any](list *[]*T, n int, make func() *T) *T {
	if n == len(*list) {
		*list = append(*list, make())
	}
	return (*list)[n]
}

// paint makes the objects of the plan. What can be touched stays the same object from one page to the next.
func (s *Surface) paint() []fyne.CanvasObject {
	k := &s.kept
	plates, words, images := 0, 0, 0
	plate := func() *canvas.Rectangle {
		plates++
		return nth(&k.plates, plates-1, func() *canvas.Rectangle { return canvas.NewRectangle(color.Transparent) })
	}
	back := plate()
	back.FillColor, back.CornerRadius, back.StrokeColor, back.StrokeWidth = s.plan.Back, 0, nil, 0
	back.Move(fyne.NewPos(0, 0))
	back.Resize(s.size)
	out := []fyne.CanvasObject{back}
	targets := map[string]*target{}
	var over []fyne.CanvasObject
	for i := range s.plan.Boxes {
		b := &s.plan.Boxes[i]
		at, size := fyne.NewPos(b.X, b.Y), fyne.NewSize(b.W, b.H)
		var o fyne.CanvasObject
		switch b.Kind {
		case Plate:
			r := plate()
			r.FillColor, r.CornerRadius, r.StrokeColor, r.StrokeWidth = b.Fill, b.Radius, nil, 0
			if b.Line.A > 0 {
				r.StrokeColor, r.StrokeWidth = b.Line, 2
			}
			o = r
		case Words:
			t := nth(&k.words, words, func() *canvas.Text { return canvas.NewText("", black) })
			words++
			t.Text, t.Color, t.TextSize, t.TextStyle = b.Text, b.Ink, b.Size, fyne.TextStyle{Bold: b.Bold, Monospace: b.Mono}
			o = t
		case Picture, Symbol:
			o = s.image(images, b)
			images++
		case Target:
			name := b.Button.Name()
			t := k.targets[name]
			if t == nil {
				t = newTarget(s)
			}
			t.action, t.focus, t.radius = b.Button.Do, paletteOf(s.look.Theme).Focus, 10
			targets[name] = t
			t.Move(at)
			t.Resize(size)
			over = append(over, t)
			continue
		}
		o.Move(at)
		o.Resize(size)
		out = append(out, o)
	}
	k.targets = targets
	return append(out, over...)
}

// image is the nth picture of the page: an icon or a QR code. It is drawn only if it is another than before.
func (s *Surface) image(n int, b *Box) *canvas.Image {
	k := &s.kept
	if n == len(k.shows) {
		k.shows = append(k.shows, "")
	}
	p := nth(&k.images, n, func() *canvas.Image { return &canvas.Image{FillMode: canvas.ImageFillContain} })
	shows := b.Digits + strconv.Itoa(int(b.W))
	var icon fyne.Resource
	if b.Kind == Picture {
		icon = picture(b.Icon, b.Ink, b.W)
		shows = icon.Name()
	}
	if k.shows[n] == shows {
		return p
	}
	k.shows[n] = shows
	p.Resource, p.Image, p.ScaleMode = icon, nil, canvas.ImageScaleSmooth
	if b.Kind == Symbol {
		p.Image, p.ScaleMode = symbol(b.Digits, int(b.W)), canvas.ImageScalePixels
	}
	p.Resize(fyne.NewSize(b.W, b.H))
	p.Refresh()
	return p
}

// symbol is a QR code of a side of so many pixels, with its quiet zone: all modules are equally large if there is room for three
// pixels each, else as large as can be.
func symbol(digits string, side int) image.Image {
	q, err := qrcode.New(digits, qrcode.Medium)
	if err != nil || side < 1 {
		return image.NewUniform(color.White)
	}
	modules := q.Bitmap()
	n := len(modules)
	if side/n >= 3 {
		side = side / n * n
	}
	out := image.NewGray(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			if !modules[y*n/side][x*n/side] {
				out.SetGray(x, y, color.Gray{0xFF})
			}
		}
	}
	return out
}

// CreateRenderer is Fyne's.
func (s *Surface) CreateRenderer() fyne.WidgetRenderer { return &surfaceRenderer{s} }

type surfaceRenderer struct{ s *Surface }

func (r *surfaceRenderer) Layout(size fyne.Size) {
	if size != r.s.size {
		r.s.size = size
		r.s.arrange(true)
	}
}
func (r *surfaceRenderer) MinSize() fyne.Size           { return fyne.NewSize(1, 1) }
func (r *surfaceRenderer) Objects() []fyne.CanvasObject { return r.s.objects }
func (r *surfaceRenderer) Destroy()                     {}
func (r *surfaceRenderer) Refresh() {
	canvas.Refresh(r.s)
}

// target is where a finger can touch, or the focus can be. What it looks like is painted below it: it shows only that it is touched
// or has the focus.
type target struct {
	widget.BaseWidget
	surface *Surface
	action  ui.Action
	focus   color.NRGBA
	radius  float32
	focused bool
	down    bool
}

func newTarget(s *Surface) *target {
	t := &target{surface: s}
	t.ExtendBaseWidget(t)
	return t
}

// Tapped is the end of a touch.
func (t *target) Tapped(*fyne.PointEvent) { t.surface.touched(t.action) }

// MouseDown shows at once that a touch has arrived.
func (t *target) MouseDown(*desktop.MouseEvent) { t.down = true; t.Refresh() }

// MouseUp is its end.
func (t *target) MouseUp(*desktop.MouseEvent) { t.down = false; t.Refresh() }

// FocusGained is Fyne's.
func (t *target) FocusGained() { t.focused = true; t.Refresh() }

// FocusLost is Fyne's.
func (t *target) FocusLost() { t.focused = false; t.Refresh() }

// TypedRune passes on what a keyboard types: digits and letters go to the field of the page, whatever has the focus.
func (t *target) TypedRune(r rune) { t.surface.Typed(r) }

// TypedKey presses the button, or moves on.
func (t *target) TypedKey(k *fyne.KeyEvent) { t.surface.Key(k.Name, t) }

// Typed takes a character of a keyboard. It counts only where the page has a key for it.
func (s *Surface) Typed(r rune) {
	if r >= 'a' && r <= 'z' {
		r += 'A' - 'a'
	}
	if r == ' ' && s.page.Name != "guest" {
		return // presses what has the focus
	}
	s.press(ui.Action{Kind: ui.ActType, Arg: string(r)})
}

// Key takes a key that types nothing. at is what has the focus.
func (s *Surface) Key(name fyne.KeyName, at *target) {
	switch name {
	case fyne.KeyBackspace:
		s.press(ui.Action{Kind: ui.ActErase})
	case fyne.KeyReturn, fyne.KeyEnter:
		if at != nil {
			s.touched(at.action)
			return
		}
		for i := range s.page.Buttons {
			if s.page.Buttons[i].Primary {
				s.touched(s.page.Buttons[i].Do)
				return
			}
		}
	case fyne.KeySpace:
		if at != nil && s.page.Name != "guest" {
			s.touched(at.action)
		}
	case fyne.KeyEscape:
		s.press(ui.Action{Kind: ui.ActBack})
	}
}

// press does what the button with this action would do, if the page has one.
func (s *Surface) press(a ui.Action) {
	if _, there := s.kept.targets[ui.Button{Do: a}.Name()]; there {
		s.touched(a)
	}
}

// CreateRenderer is Fyne's.
func (t *target) CreateRenderer() fyne.WidgetRenderer {
	ring := canvas.NewRectangle(color.Transparent)
	return &targetRenderer{t, ring}
}

type targetRenderer struct {
	t    *target
	ring *canvas.Rectangle
}

func (r *targetRenderer) Layout(size fyne.Size)        { r.ring.Resize(size) }
func (r *targetRenderer) MinSize() fyne.Size           { return fyne.NewSize(1, 1) }
func (r *targetRenderer) Objects() []fyne.CanvasObject { return []fyne.CanvasObject{r.ring} }
func (r *targetRenderer) Destroy()                     {}
func (r *targetRenderer) Refresh() {
	r.ring.CornerRadius = r.t.radius
	r.ring.StrokeWidth, r.ring.StrokeColor, r.ring.FillColor = 0, color.Transparent, color.Transparent
	if r.t.focused {
		r.ring.StrokeWidth, r.ring.StrokeColor = 5, r.t.focus
	}
	if r.t.down {
		fill := r.t.focus
		fill.A = 0x90
		r.ring.FillColor = fill
	}
	r.ring.Refresh()
}
