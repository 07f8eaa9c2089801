package export

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"pratique/kiosk/audit/export/pdf"
)

// The colors are of Okabe and Ito's palette, which people who see fewer colors tell apart; they differ in brightness too, for
// paper. Every chart has its numbers as text beside it.
var (
	ink       = pdf.Color{28, 32, 36}
	faint     = pdf.Color{104, 112, 120}
	rule      = pdf.Color{214, 219, 224}
	shade     = pdf.Color{244, 246, 248}
	accent    = pdf.Color{0, 90, 140}
	verdictOk = [3]pdf.Color{{0, 158, 115}, {200, 72, 0}, {240, 190, 60}}
)

// area is where a chart is drawn: its upper left corner and its size.
type area struct{ x, y, width, height float64 }

// columns draws the verdicts of each bucket on top of each other, and a mark for its sessions.
func columns(p *pdf.Page, a area, s *stats) {
	top := uint64(1)
	for _, b := range s.buckets {
		top = max(top, b.sessions, b.verdicts[0]+b.verdicts[1]+b.verdicts[2])
	}
	step, ticks := scale(top)
	limit := float64(step * uint64(ticks))
	for i := range ticks + 1 {
		y := a.y + a.height - a.height*float64(i)/float64(ticks)
		p.Line(0.5, rule, [2]float64{a.x, y}, [2]float64{a.x + a.width, y})
		label := utoa(step * uint64(i))
		p.Text(a.x-6-pdf.Sans.Length(7.5, label), y+2.5, pdf.Sans, 7.5, faint, label)
	}
	if len(s.buckets) == 0 {
		return
	}
	slot := a.width / float64(len(s.buckets))
	width := min(slot*0.72, 26)
	every := int(math.Ceil(42 / slot)) // a label needs so much room
	for i, b := range s.buckets {
		x, y := a.x+slot*(float64(i)+0.5)-width/2, a.y+a.height
		for v, n := range b.verdicts {
			h := a.height * float64(n) / limit
			if n > 0 {
				p.Box(x, y-h, width, h, verdictOk[v])
			}
			y -= h
		}
		if b.sessions > 0 {
			at := a.y + a.height - a.height*float64(b.sessions)/limit
			p.Line(1.6, ink, [2]float64{x - 2, at}, [2]float64{x + width + 2, at})
		}
		if i%every == 0 {
			label := b.start.Format(s.unit.layout)
			p.Text(a.x+slot*(float64(i)+0.5)-pdf.Sans.Length(7.5, label)/2, a.y+a.height+11, pdf.Sans, 7.5, faint, label)
		}
	}
}

// legend names the colors of columns, with their sums.
func legend(p *pdf.Page, x, y float64, s *stats) {
	for v, name := range verdictNames {
		p.Box(x, y-7, 8, 8, verdictOk[v])
		text := name + " " + utoa(s.verdicts[v])
		p.Text(x+12, y, pdf.Sans, 8.5, ink, text)
		x += 12 + pdf.Sans.Length(8.5, text) + 18
	}
	p.Line(1.6, ink, [2]float64{x, y - 3}, [2]float64{x + 10, y - 3})
	p.Text(x+14, y, pdf.Sans, 8.5, ink, "sessions "+utoa(s.sessions))
}

// barHeight is the height of one bar with its room.
const barHeight = 15.0

// bars draws one bar for each word, the longest as long as the area allows, and returns the height that it took.
func bars(p *pdf.Page, a area, top []one, color pdf.Color) float64 {
	const label = 0.56 // part of the width that the words have
	longest := uint64(1)
	for _, o := range top {
		longest = max(longest, o.count)
	}
	y := a.y
	for _, o := range top {
		p.Text(a.x, y+9, pdf.Sans, 8, ink, pdf.Sans.Cut(8, a.width*label-8, o.word))
		room := a.width*(1-label) - 34
		p.Box(a.x+a.width*label, y+2, max(room*float64(o.count)/float64(longest), 0.8), barHeight-6, color)
		p.Text(a.x+a.width*label+room*float64(o.count)/float64(longest)+5, y+9, pdf.Sans, 8, ink, utoa(o.count))
		y += barHeight
	}
	return y - a.y
}

// split draws for each class how its verdicts are divided, and their numbers.
func split(p *pdf.Page, a area, classes []string, s *stats) float64 {
	const labels, numbers = 72.0, 84.0 // what the words take
	y := a.y
	for _, name := range classes {
		n := s.classes[name]
		total := n[0] + n[1] + n[2]
		p.Text(a.x, y+9, pdf.Sans, 8, ink, pdf.Sans.Cut(8, labels-4, name))
		x, width := a.x+labels, a.width-labels-numbers
		for v := range n {
			w := width * float64(n[v]) / float64(max(total, 1))
			if n[v] > 0 {
				p.Box(x, y+2, w, barHeight-6, verdictOk[v])
			}
			x += w
		}
		p.Text(a.x+a.width-numbers+6, y+9, pdf.Sans, 8, ink, fmt.Sprintf("%d / %d / %d", n[0], n[1], n[2]))
		y += barHeight
	}
	return y - a.y
}

// ages draws how many days ago the rule pack in force had been put in force, over the period as far as it is known: a saw whose
// teeth are new packs.
func ages(p *pdf.Page, a area, packs []packChange, from, to, known time.Time) {
	length := to.Sub(from).Hours() / 24
	oldest := 1.0
	for i, c := range packs {
		end := known
		if i+1 < len(packs) {
			end = packs[i+1].at
		}
		oldest = max(oldest, end.Sub(c.at).Hours()/24)
	}
	step, ticks := scale(uint64(math.Ceil(oldest)))
	limit := float64(step * uint64(ticks))
	for i := range ticks + 1 {
		y := a.y + a.height - a.height*float64(i)/float64(ticks)
		p.Line(0.5, rule, [2]float64{a.x, y}, [2]float64{a.x + a.width, y})
		label := utoa(step * uint64(i))
		p.Text(a.x-6-pdf.Sans.Length(7.5, label), y+2.5, pdf.Sans, 7.5, faint, label)
	}
	at := func(t time.Time, days float64) [2]float64 {
		x := 0.0
		if length > 0 {
			x = min(max(t.Sub(from).Hours()/24/length, 0), 1)
		}
		return [2]float64{a.x + a.width*x, a.y + a.height - a.height*min(max(days, 0), limit)/limit}
	}
	var points [][2]float64
	for i, c := range packs {
		begin, end := c.at, known
		if begin.Before(from) {
			begin = from
		}
		if i+1 < len(packs) {
			end = packs[i+1].at
		}
		points = append(points, at(begin, begin.Sub(c.at).Hours()/24), at(end, end.Sub(c.at).Hours()/24))
	}
	p.Line(1.4, accent, points...)
	for _, t := range []time.Time{from, to} {
		label := t.Format("2 Jan 2006")
		x := a.x
		if t.Equal(to) {
			x = a.x + a.width - pdf.Sans.Length(7.5, label)
		}
		p.Text(x, a.y+a.height+11, pdf.Sans, 7.5, faint, label)
		if from.Equal(to) {
			break
		}
	}
}

// scale chooses the lines of an axis up to at least top: at most five steps of 1, 2 or 5 and zeros.
func scale(top uint64) (step uint64, ticks int) {
	top = min(top, 1<<60) // beyond what is counted here; the arithmetic below holds
	for base := uint64(1); ; base *= 10 {
		for _, step := range []uint64{base, 2 * base, 5 * base} {
			if n := (top + step - 1) / step; n <= 5 {
				return step, int(max(n, 1))
			}
		}
	}
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
