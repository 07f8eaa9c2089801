package export

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/audit/export/pdf"
)

// pages is the form for people: a PDF on A4 (package pdf). Its first page says whose log it is, which period, how many
// sessions with which verdicts, and shows them over time; then come findings, reasons, classes, ports and the age of the rule
// packs, tables of what went wrong and of what people did with the station, and at the end what proves it all.
//
// It counts and does not list: every entry is in the other forms. Dates are UTC. The file says that it was made at the time of
// its last entry, since an export has no time of its own.
type pages struct {
	x *Export
	w *bufio.Writer
	s *stats
}

func newPages(x *Export, w *bufio.Writer) form { return &pages{x: x, w: w} }

// margin and the lines of a page, in points.
const (
	margin    = 48.0
	textWidth = pdf.Width - 2*margin
	bottom    = pdf.Height - 56
	topY      = 64.0
)

// period is what the report is about: as it was asked for, else as far as there are entries.
func (r *pages) period() (from, to time.Time) {
	from, to = r.x.Since, r.x.Until
	if from.IsZero() {
		from = r.x.First
	}
	if to.IsZero() {
		to = r.x.Last
	} else {
		to = to.Add(-time.Nanosecond) // a period ends before its end
	}
	if to.Before(from) {
		to = from
	}
	return from, to
}

// begin looks for the rule pack that was in force when the period began.
func (r *pages) begin(ctx context.Context) error {
	r.s = newStats(r.period())
	if r.x.From == 0 {
		return nil
	}
	found := errors.New("found")
	err := r.x.log.List(ctx, audit.ListOptions{To: r.x.From, Kinds: []audit.Kind{audit.KindPack}, Newest: true}, func(e audit.Entry) error {
		if d, ok := e.Data.(audit.Pack); ok && d.Refuse == "" {
			r.s.packs = append(r.s.packs, packChange{e.Time, Rules{Name: string(d.Rules.Name), Version: d.Rules.Version}.String()})
			return found
		}
		return nil
	})
	if errors.Is(err, found) {
		err = nil
	}
	return err
}

func (r *pages) entry(rec *Record) error {
	r.s.entry(rec)
	return nil
}

func (r *pages) item(_ *Record, it *Item) error {
	r.s.item(it)
	return nil
}

// sheet lays out one thing below the other.
type sheet struct {
	doc  *pdf.Document
	page *pdf.Page
	y    float64
}

// room makes sure that there is so much of it left on the page.
func (s *sheet) room(height float64) {
	if s.page == nil || s.y+height > bottom {
		s.page, s.y = s.doc.Add(), topY
	}
}

func (s *sheet) heading(text string, below float64) {
	s.y += 14
	s.room(22 + below)
	s.page.Text(margin, s.y+12, pdf.Bold, 12, ink, text)
	s.y += 22
}

// say writes sentences, broken at spaces.
func (s *sheet) say(size float64, color pdf.Color, text string) {
	for text != "" {
		s.room(size * 1.45)
		n := len(text)
		for n > 0 && pdf.Sans.Length(size, text[:n]) > textWidth {
			if n = strings.LastIndexByte(text[:n], ' '); n < 0 {
				n = 0
			}
		}
		if n == 0 {
			s.page.Text(margin, s.y+size, pdf.Sans, size, color, pdf.Sans.Cut(size, textWidth, text))
			s.y += size * 1.45
			return
		}
		s.page.Text(margin, s.y+size, pdf.Sans, size, color, text[:n])
		s.y += size * 1.45
		text = strings.TrimLeft(text[n:], " ")
	}
}

func (r *pages) end() error {
	from, to := r.period()
	doc := pdf.New("Media screening report, "+r.x.Origin, "What the log of a media screening station holds", r.x.Last)
	s := &sheet{doc: doc}
	s.room(0)
	r.title(s, from, to)
	r.overTime(s)
	r.twoLists(s)
	r.classes(s)
	r.ages(s, from, to)
	table(s, "Media that were not cleared, and what was refused", r.s.trouble)
	table(s, "What people did with the station and its log", r.s.acts)
	r.proof(s)
	r.foot(doc, from, to)
	_, err := doc.WriteTo(r.w)
	return err
}

// title is the head of the first page.
func (r *pages) title(s *sheet, from, to time.Time) {
	p := s.page
	p.Box(0, 0, pdf.Width, 8, accent)
	p.Text(margin, s.y+8, pdf.Bold, 22, ink, "Media screening report")
	s.y += 34
	line := func(name, text string) {
		p.Text(margin, s.y, pdf.Sans, 9, faint, name)
		p.Text(margin+76, s.y, pdf.Sans, 9.5, ink, pdf.Sans.Cut(9.5, textWidth-76, text))
		s.y += 14.5
	}
	line("Station's log", r.x.Origin)
	if r.x.First.IsZero() && r.x.Since.IsZero() {
		line("Period", "nothing has happened yet")
	} else {
		line("Period", from.Format("Monday, 2 January 2006, 15:04:05")+"  to  "+to.Format("Monday, 2 January 2006, 15:04:05")+"  (UTC)")
	}
	text := spanText(r.x)
	if r.x.After {
		text += ", behind a checkpoint that left the station before: nothing was changed or cut in between"
	}
	line("Entries", text)
	line("Signed by", fmt.Sprintf("key %s, checkpoint of %d entries on the last page", keyID(r.x.Checkpoint), r.x.To))

	s.y += 8
	tiles := []struct {
		n    uint64
		text string
	}{{r.s.sessions, "sessions"}, {r.s.verdicts[cleared], "cleared"}, {r.s.verdicts[notCleared], "not cleared"},
		{r.s.verdicts[couldNotCheck], "could not check"}, {r.s.issued, "clearances issued"}, {r.s.refused, "devices refused"}}
	const gap = 7.0
	width := (textWidth - gap*float64(len(tiles)-1)) / float64(len(tiles))
	for i, t := range tiles {
		x := margin + float64(i)*(width+gap)
		p.Box(x, s.y, width, 46, shade)
		if i >= 1 && i <= 3 {
			p.Box(x, s.y, width, 3, verdictOk[i-1])
		}
		p.Text(x+9, s.y+25, pdf.Bold, 17, ink, utoa(t.n))
		p.Text(x+9, s.y+38, pdf.Sans, 8, faint, t.text)
	}
	s.y += 56
	s.say(8.5, faint, fmt.Sprintf("A verdict is for one class of equipment; a session has one for each class that was asked for. %s files and %s were read. "+
		"People and files are pseudonyms: no name from a medium is in the log's entries or in this report. Tables have the first eight "+
		"digits of sessions and people.", utoa(r.s.files), size(int64(r.s.bytes))))
	if r.s.overrides > 0 {
		s.say(9, verdictOk[notCleared], fmt.Sprintf("%d of the clearances are OVERRIDES: two people let through what was not cleared.", r.s.overrides))
	}
	if r.s.behind > 0 {
		s.say(8.5, ink, fmt.Sprintf("The clock was behind in %d entries; they are marked in the log.", r.s.behind))
	}
}

func (r *pages) overTime(s *sheet) {
	s.heading("Sessions and verdicts, by "+r.s.unit.name, 210)
	legend(s.page, margin, s.y+8, r.s)
	columns(s.page, area{margin + 30, s.y + 22, textWidth - 30, 150}, r.s)
	s.y += 22 + 150 + 18
}

// twoLists are the findings and the reasons, side by side.
func (r *pages) twoLists(s *sheet) {
	const rows = 12
	half := (textWidth - 26) / 2
	findings, others := r.s.findings.most(rows)
	reasons, more := r.s.reasons.most(rows)
	height := barHeight*float64(max(len(findings), len(reasons), 1)) + 16
	s.heading("Findings by kind, and reasons of verdicts", height)
	x := margin + half + 26
	down := max(list(s.page, area{margin, s.y, half, 0}, "Findings, by the items that have them", findings, others),
		list(s.page, area{x, s.y, half, 0}, "Reasons, by verdicts", reasons, more))
	s.y += down
}

// list is a chart of bars under a small title, with a line for what it leaves out.
func list(p *pdf.Page, a area, title string, top []one, others uint64) float64 {
	p.Text(a.x, a.y+8, pdf.Bold, 8.5, faint, title)
	if len(top) == 0 {
		p.Text(a.x, a.y+24, pdf.Sans, 8.5, faint, "none")
		return 30
	}
	down := 15 + bars(p, area{a.x, a.y + 15, a.width, 0}, top, accent)
	if others > 0 {
		p.Text(a.x, a.y+down+8, pdf.Sans, 8, faint, fmt.Sprintf("and %d more of other kinds", others))
		down += 12
	}
	return down + 4
}

func (r *pages) classes(s *sheet) {
	const rows = 10
	names := r.s.classNames()
	left := len(names) - min(rows, len(names))
	names = names[:min(rows, len(names))]
	ports, others := r.s.ports.most(rows)
	height := barHeight*float64(max(len(names), len(ports), 1)) + 30
	s.heading("Classes of equipment, stations and ports", height)
	half := (textWidth - 26) / 2
	s.page.Text(margin, s.y+8, pdf.Bold, 8.5, faint, "Verdicts: cleared / not cleared / could not check")
	down := 15.0
	if len(names) == 0 {
		s.page.Text(margin, s.y+24, pdf.Sans, 8.5, faint, "none")
	}
	down += split(s.page, area{margin, s.y + 15, half, 0}, names, r.s)
	if left > 0 {
		s.page.Text(margin, s.y+down+8, pdf.Sans, 8, faint, fmt.Sprintf("and %d more classes", left))
		down += 12
	}
	title := pdf.Bold.Cut(8.5, half, "Media by port of "+r.x.Origin)
	s.y += max(down, list(s.page, area{margin + half + 26, s.y, half, 0}, title, ports, others))
}

func (r *pages) ages(s *sheet, from, to time.Time) {
	s.heading("Age of the rule pack: days since it was put in force here", 120)
	if len(r.s.packs) == 0 {
		s.say(8.5, faint, "No rule pack was put in force on this station, so the one that ships with the program was.")
		return
	}
	known := to
	if r.x.Last.Before(to) { // a period may end in days to come
		known = r.x.Last
	}
	ages(s.page, area{margin + 30, s.y + 6, textWidth - 30, 80}, r.s.packs, from, to, known)
	s.y += 6 + 80 + 20
	last := r.s.packs[len(r.s.packs)-1]
	s.say(8.5, faint, fmt.Sprintf("In force at the end: %s, since %s.", last.name, last.at.Format("2 January 2006, 15:04")))
}

// tableColumns are those of both tables: where they begin and how wide they are.
var tableColumns = []struct {
	name  string
	x     float64
	width float64
	font  pdf.Font
}{{"Time (UTC)", 0, 88, pdf.Sans}, {"Entry", 88, 40, pdf.Sans}, {"Session", 128, 50, pdf.Mono}, {"What", 178, 232, pdf.Sans}, {"People", 410, 90, pdf.Mono}}

// table lists the latest of something.
func table(s *sheet, title string, l latest) {
	const lineHeight = 12.5
	s.heading(title, 3*lineHeight)
	if l.total == 0 {
		s.say(8.5, faint, "Nothing in this period.")
		return
	}
	if n := l.total - uint64(len(l.rows)); n > 0 {
		s.say(8.5, faint, fmt.Sprintf("The latest %d of %d; the other forms of this export have all.", len(l.rows), l.total))
	}
	head := func() {
		for _, c := range tableColumns {
			s.page.Text(margin+c.x, s.y+9, pdf.Bold, 8, faint, c.name)
		}
		s.y += lineHeight
		s.page.Line(0.7, ink, [2]float64{margin, s.y}, [2]float64{margin + textWidth, s.y})
		s.y += 2
	}
	s.room(2 * lineHeight)
	head()
	for i, cells := range l.rows {
		if s.y+lineHeight > bottom {
			s.room(bottom)
			head()
		}
		if i%2 == 1 {
			s.page.Box(margin, s.y, textWidth, lineHeight, shade)
		}
		for j, c := range tableColumns {
			s.page.Text(margin+c.x, s.y+9, c.font, 7.8, ink, c.font.Cut(7.8, c.width-5, cells[j]))
		}
		s.y += lineHeight
	}
}

// proof is the checkpoint, and how to use it.
func (r *pages) proof(s *sheet) {
	s.heading("What proves this", 150)
	s.say(9, ink, fmt.Sprintf("The log is a tree of hashes (RFC 6962). The station has signed its head, and this report was counted from "+
		"exactly the entries under it: %s. Keep the checkpoint. An export that is made later proves against it that nothing was changed or cut:", spanText(r.x)))
	s.y += 4
	s.mono("pratique audit export --from-checkpoint CHECKPOINT --format jsonl --out next.jsonl")
	s.y += 4
	s.say(9, ink, "The form jsonl has every entry with its leaf, and can be checked on another machine with the station's public key alone. "+
		"The digest of this file is in the station's log, in an entry \"exported\" that was made before the file left.")
	s.y += 6
	s.say(9, faint, "Checkpoint (signed note; a long line goes on in the next one, indented):")
	for text := range strings.Lines(r.x.Checkpoint) {
		s.mono(strings.TrimSuffix(text, "\n"))
	}
}

// mono writes one line of fixed width, cut where it is too long, and all of it.
func (s *sheet) mono(text string) {
	const size, perLine = 7.8, 102
	for indent := ""; ; indent = "    " {
		left := []rune(text)
		n := min(len(left), perLine-len(indent))
		s.room(size * 1.5)
		s.page.Text(margin, s.y+size, pdf.Mono, size, ink, indent+string(left[:n]))
		s.y += size * 1.5
		if text = string(left[n:]); text == "" {
			return
		}
	}
}

// foot writes what every page has, once their number is known.
func (r *pages) foot(doc *pdf.Document, from, to time.Time) {
	pages := doc.Pages()
	for i, p := range pages {
		y := pdf.Height - 30
		p.Line(0.5, rule, [2]float64{margin, y - 12}, [2]float64{margin + textWidth, y - 12})
		number := fmt.Sprintf("page %d of %d", i+1, len(pages))
		left := r.x.Origin
		if !from.IsZero() {
			left += "  ·  " + from.Format("2006-01-02") + " to " + to.Format("2006-01-02") + "  ·  entries " + itoa(r.x.From) + " to " + itoa(max(r.x.To-1, r.x.From))
		}
		p.Text(margin, y, pdf.Sans, 8, faint, pdf.Sans.Cut(8, textWidth-70, left))
		p.Text(margin+textWidth-pdf.Sans.Length(8, number), y, pdf.Sans, 8, faint, number)
	}
}

// keyID is the hash of the key that signed a checkpoint, as its signature begins with it (https://c2sp.org/signed-note).
func keyID(signed string) string {
	lines := strings.Split(strings.TrimSuffix(signed, "\n"), "\n")
	line := lines[len(lines)-1]
	sig, err := base64.StdEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
	if err != nil || len(sig) < 4 {
		return "unknown"
	}
	return fmt.Sprintf("%x", sig[:4])
}
