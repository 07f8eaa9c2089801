package draw

import (
	"fmt"
	"image/color"
	"math"
	"strings"
	"testing"

	"fyne.io/fyne/v2/test"

	"pratique/ui"
	"pratique/ui/samples"
)

// screen is a size of the window and of the text.
type screen struct {
	w, h    float32
	percent int
}

var screens = []screen{{800, 480, 100}, {800, 480, 130}, {1280, 800, 100}, {1280, 800, 160}, {1280, 800, 200}, {1920, 1080, 100}, {3840, 2160, 100}}

// measured asks the toolkit once for each text and size.
func measured(t *testing.T) Measure {
	test.NewTempApp(t)
	type key struct {
		text       string
		size       float32
		bold, mono bool
	}
	known := map[key][2]float32{}
	return func(text string, size float32, bold, mono bool) (float32, float32) {
		k := key{text, size, bold, mono}
		got, ok := known[k]
		if !ok {
			w, h := measure(text, size, bold, mono)
			got = [2]float32{w, h}
			known[k] = got
		}
		return got[0], got[1]
	}
}

// luminance and contrast are those of WCAG 2.2. https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
func luminance(c color.NRGBA) float64 {
	part := func(v uint8) float64 {
		s := float64(v) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*part(c.R) + 0.7152*part(c.G) + 0.0722*part(c.B)
}

func contrast(a, b color.NRGBA) float64 {
	l, m := luminance(a), luminance(b)
	return (max(l, m) + 0.05) / (min(l, m) + 0.05)
}

func overlap(a, b *Box) bool {
	const slack = 1.5 // of rounding, and of lines that touch
	return a.X+slack < b.X+b.W && b.X+slack < a.X+a.W && a.Y+slack < b.Y+b.H && b.Y+slack < a.Y+a.H
}

// check holds a plan against everything that a page must be.
func check(t *testing.T, name string, plan Plan, sc screen, page ui.Page, cut bool) {
	t.Helper()
	small := min(max(min(sc.w/baseW, sc.h/baseH), 0.8), 3.2)
	for i := range plan.Boxes {
		b := &plan.Boxes[i]
		if b.X < -0.5 || b.Y < -0.5 || b.X+b.W > sc.w+0.5 || b.Y+b.H > sc.h+0.5 {
			t.Errorf("%s: %q stands outside the screen: %.0f,%.0f %.0fx%.0f", name, b.Text, b.X, b.Y, b.W, b.H)
		}
		switch b.Kind {
		case Words, Picture:
			on := plan.Back
			for j := range plan.Boxes[:i] { // what was painted last lies on top
				p := &plan.Boxes[j]
				if p.Kind == Plate && b.X+b.W/2 >= p.X && b.X+b.W/2 <= p.X+p.W && b.Y+b.H/2 >= p.Y && b.Y+b.H/2 <= p.Y+p.H {
					on = p.Fill
				}
			}
			if on != b.Fill {
				t.Errorf("%s: %q %s does not stand on what it says", name, b.Text, b.Icon)
			}
			if got := contrast(b.Ink, on); got < 4.5 {
				t.Errorf("%s: %q %s has a contrast of %.1f to 1", name, b.Text, b.Icon, got)
			}
			if b.Kind == Words && b.Size < 12.5*small {
				t.Errorf("%s: %q is %.1f units small", name, b.Text, b.Size)
			}
			if b.Kind == Words && !cut && strings.HasSuffix(b.Text, "…") {
				t.Errorf("%s: %q is cut off", name, b.Text)
			}
		case Target:
			least := float32(minTarget)
			if b.Button.Primary && !b.Key {
				least = minPrimary
			}
			if b.H < least-0.5 || b.W < minTarget-0.5 {
				t.Errorf("%s: the button %q is only %.0f by %.0f", name, b.Button.Text, b.W, b.H)
			}
			if plan.Boxes[i].Button.Text == "" && b.Button.Icon == ui.IconNone {
				t.Errorf("%s: a button says nothing", name)
			}
		}
		for j := range plan.Boxes[:i] {
			o := &plan.Boxes[j]
			if b.Kind == o.Kind && b.Kind != Plate && b.Kind != Picture && overlap(b, o) || b.Kind == Symbol && o.Kind == Words && overlap(b, o) {
				t.Errorf("%s: %q and %q stand on each other", name, b.Text, o.Text)
			}
			if t2, w := b, o; t2.Kind == Target && w.Kind == Words && overlap(t2, w) && (w.X < t2.X-1 || w.X+w.W > t2.X+t2.W+1 || w.Y < t2.Y-1 || w.Y+w.H > t2.Y+t2.H+1) {
				t.Errorf("%s: %q leaves its button", name, w.Text)
			}
		}
	}
}

// said is everything that plans say on the background, with the spaces taken out: lines are broken in other places.
func said(plans []Plan, titles bool) string {
	var out strings.Builder
	for _, p := range plans {
		for _, b := range p.Boxes {
			if b.Kind == Words && (titles || b.Fill == p.Back) {
				out.WriteString(strings.ReplaceAll(b.Text, " ", ""))
			}
		}
	}
	return out.String()
}

func parts(p ui.Page, look ui.Look, sc screen, m Measure) (out []Plan) {
	for {
		look.Part = len(out)
		plan := Arrange(p, look, sc.w, sc.h, m)
		out = append(out, plan)
		if len(out) >= plan.Parts || len(out) > 200 {
			return out
		}
	}
}

// Every page, in every language, in every theme, in every size: nothing is outside the screen or on something else, nothing is cut,
// every text can be read against what it is on, every button is large enough, and all that the page says is on one of its parts.
func TestEveryPageFitsEveryScreen(t *testing.T) {
	m := measured(t)
	pages, most := 0, 0
	for _, s := range samples.All() {
		for _, lang := range ui.Languages() {
			s.Look.Language = lang
			page := ui.Screen(s.State, s.Look, samples.Now)
			page.Station = "" // it stands on each part, and would come between the lines that are held together below
			for _, sc := range screens {
				for theme := range ui.ThemeEnd {
					s.Look.Theme, s.Look.Percent = theme, sc.percent
					name := fmt.Sprintf("%s %s %.0fx%.0f %d%% theme %d", s.Name, lang.Code(), sc.w, sc.h, sc.percent, theme)
					plans := parts(page, s.Look, sc, m)
					pages++
					most = max(most, len(plans))
					for i, plan := range plans {
						check(t, fmt.Sprintf("%s part %d", name, i+1), plan, sc, page, false)
					}
					if theme > 0 {
						continue
					}
					all := said(plans, false)
					for _, block := range append(append([]ui.Block(nil), page.Body...), page.Side...) {
						if block.Kind == ui.Field {
							continue
						}
						for _, line := range block.Lines {
							if block.Kind == ui.Code { // it stands among the facts as well
								continue
							}
							// The code below the QR code is on each part, and comes between lines that are parted there.
							want := strings.ReplaceAll(line, " ", "")
							if !strings.Contains(all, want) && !strings.Contains(strings.ReplaceAll(all, "64Z1P3ZA", ""), want) {
								t.Errorf("%s does not say %q", name, line)
							}
						}
					}
					if !strings.Contains(said(plans, true), strings.ReplaceAll(page.Title, " ", "")) && !page.Dense {
						t.Errorf("%s has no title", name)
					}
					if limit := 6; len(plans) > limit {
						t.Errorf("%s has %d parts", name, len(plans))
					}
				}
			}
		}
	}
	t.Logf("%d pages; the longest has %d parts", pages, most)
}

// What people must see is on the first part: the word, the code and what most people want.
func TestTheAnswerIsOnTheFirstPart(t *testing.T) {
	m := measured(t)
	for _, s := range samples.All() {
		for _, lang := range ui.Languages() {
			s.Look.Language = lang
			page := ui.Screen(s.State, s.Look, samples.Now)
			for _, sc := range screens {
				s.Look.Percent = sc.percent
				first := Arrange(page, s.Look, sc.w, sc.h, m)
				name := fmt.Sprintf("%s %s %.0fx%.0f %d%%", s.Name, lang.Code(), sc.w, sc.h, sc.percent)
				texts := said([]Plan{first}, true)
				if page.Tone != ui.Calm && !strings.Contains(texts, strings.ReplaceAll(page.Title+page.Lead, " ", "")) {
					t.Errorf("%s: the first part does not say %q", name, page.Title)
				}
				symbols, primary := 0, 0
				for _, b := range first.Boxes {
					if b.Kind == Symbol {
						symbols++
						if b.W < 200 || math.Abs(float64(b.W-b.H)) > 1 {
							t.Errorf("%s: the QR code is %.0f by %.0f", name, b.W, b.H)
						}
					}
					if b.Kind == Target && b.Button.Primary {
						primary++
					}
				}
				if page.Tone == ui.Good && symbols != 1 {
					t.Errorf("%s: the first part has no QR code", name)
				}
				if len(page.Buttons) > 0 && page.Buttons[0].Primary && primary == 0 {
					t.Errorf("%s: the first part does not have what most people want", name)
				}
			}
		}
	}
}

// Names as bad as can be, a thousand findings, and windows of any size break nothing.
func TestT09_BadNamesBreakNoPage(t *testing.T) {
	m := measured(t)
	for _, s := range samples.Bad() {
		for _, sc := range []screen{{800, 480, 130}, {1280, 800, 100}, {1280, 800, 200}} {
			s.Look.Percent, s.Look.Language = sc.percent, ui.German
			page := ui.Screen(s.State, s.Look, samples.Now)
			for i, plan := range parts(page, s.Look, sc, m) {
				check(t, fmt.Sprintf("%s %.0fx%.0f %d%% part %d", s.Name, sc.w, sc.h, sc.percent, i+1), plan, sc, page, true)
			}
		}
	}
	for _, s := range samples.All() {
		for _, sc := range []screen{{0, 0, 100}, {1, 5000, 200}, {5000, 1, 200}, {320, 240, 200}, {640, 480, 100}, {480, 800, 130}} {
			s.Look.Percent = sc.percent
			page := ui.Screen(s.State, s.Look, samples.Now)
			parts(page, s.Look, sc, m)
		}
	}
}

func TestPagesOfAThousandFindingsAreShort(t *testing.T) {
	m := measured(t)
	for _, s := range samples.Bad() {
		if !strings.HasSuffix(s.Name, "/thousand") || s.Page() == "details" || s.Page() == "doctor" {
			continue
		}
		page := ui.Screen(s.State, s.Look, samples.Now)
		if plans := parts(page, s.Look, screen{1280, 800, 100}, m); len(plans) > 2 {
			t.Errorf("%s has %d parts", s.Name, len(plans))
		}
	}
}
