package ui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pratique/kiosk/localapi"
)

// Screen is the page for what the station says, and the person chose. st is nil while no station answers. now is asked only for how
// long something takes yet.
func Screen(st *localapi.State, look Look, now time.Time) Page {
	v := view{st: st, look: look, now: now, say: look.Language.say}
	if st != nil {
		v.st = bounded(st)
		v.port = look.port(v.st)
	}
	p := v.page()
	p.Bar = v.bar(p)
	if st != nil {
		p.Station = Shown(st.Station)
		if st.Demo {
			p.Note = v.say("note.demo")
		}
	}
	if e := look.Error; e != nil {
		p.Body = append([]Block{{Kind: Points, Lines: []string{v.lang().reason(e.Code, e.Text)}, Marks: []Mark{Bad}}}, p.Body...)
	}
	if look.Told != "" {
		mark := Fine
		if look.Told == NotPrinted {
			mark = Careful
		}
		p.Body = append([]Block{{Kind: Points, Lines: []string{v.say(look.Told)}, Marks: []Mark{mark}}}, p.Body...)
	}
	p.Speech = speech(p)
	return p
}

// bounded is a state with no longer lists than the protocol has: a page is laid out within milliseconds, whatever is sent.
func bounded(st *localapi.State) *localapi.State {
	out := *st
	out.Problems = out.Problems[:min(len(out.Problems), maxProblems)]
	out.Classes = out.Classes[:min(len(out.Classes), maxClasses)]
	out.Ports = slices.Clone(out.Ports[:min(len(out.Ports), localapi.MaxPorts)])
	for i := range out.Ports {
		p := &out.Ports[i]
		p.Found, p.Reasons = p.Found[:min(len(p.Found), localapi.MaxFound)], p.Reasons[:min(len(p.Reasons), localapi.MaxReasons)]
	}
	return &out
}

// Limits on what a page lists besides: more than a station has.
const (
	maxProblems = 32
	maxClasses  = 32
)

// view is what the functions of this package look at while they make one page.
type view struct {
	st   *localapi.State
	port *localapi.Port
	look Look
	now  time.Time
	say  func(key string, pairs ...string) string
}

func (v *view) lang() Language { return v.look.Language }

// staff is who is signed in; nobody if there is no name.
func (v *view) staff() localapi.SignIn {
	if v.st == nil || v.st.Staff == nil {
		return localapi.SignIn{}
	}
	return *v.st.Staff
}

func (v *view) page() Page {
	if v.look.Place == Settings {
		return v.settings()
	}
	if v.st == nil {
		return Page{Name: "no-station", Tone: Broken, Icon: IconWrench, Title: v.say("gone.title"), Lead: v.say("gone.lead"),
			Body: []Block{v.steps("gone.step1", "gone.step2")}}
	}
	switch v.look.Place {
	case SignIn:
		if v.staff().Name == "" {
			return v.signIn()
		}
	case Guest:
		return v.guest()
	case Office:
		return v.office()
	case Pack:
		return v.pack()
	case Sessions:
		return v.sessions()
	case Session:
		return v.session()
	case Doctor:
		return v.doctor()
	}
	if v.port == nil {
		return v.waiting()
	}
	switch v.look.Place {
	case Details:
		if v.port.Verdict != "" {
			return v.details()
		}
	case Equipment:
		if v.port.State != localapi.Idle {
			return v.equipment()
		}
	case Overrule:
		if v.mayOverride() {
			return v.overrule()
		}
	}
	return v.follow()
}

// follow is the page that belongs to the state of the port.
func (v *view) follow() Page {
	switch v.port.State {
	case localapi.Refused:
		return v.refused()
	case localapi.Attached, localapi.Scanning:
		return v.scanning()
	case localapi.Waiting:
		return v.asked()
	case localapi.Issuing:
		return Page{Name: "issuing", Icon: IconEye, Title: v.say("issuing.title"), Lead: v.say("issuing.lead"), Body: []Block{{Kind: Bar, Share: 1, Lines: []string{v.say("issuing.bar")}}}}
	case localapi.Issued:
		return v.cleared()
	case localapi.Decided:
		return v.decided()
	case localapi.Leaving, localapi.Removed, localapi.Installing:
		if v.port.State == localapi.Installing || v.port.Pack != nil || v.port.Refusal != nil {
			return v.brought()
		}
		return Page{Name: "pull", Icon: IconPull, Title: v.say("pull.title"), Lead: v.say("pull.lead")}
	case localapi.Fault:
		return v.fault()
	}
	return v.waiting()
}

// bar is the row at the top: other ports that something is in, the languages, and the settings.
func (v *view) bar(p Page) []Button {
	var out []Button
	busy := 0
	if v.st != nil {
		for i := range v.st.Ports {
			if v.st.Ports[i].State != localapi.Idle {
				busy++
			}
		}
	}
	if busy > 1 {
		shown := 0
		for i := range v.st.Ports {
			port := &v.st.Ports[i]
			if port.State == localapi.Idle || shown == maxTabs {
				continue
			}
			shown++
			name := Shown(port.Name)
			if name == "" {
				name = Shown(port.ID)
			}
			out = append(out, Button{Text: name, Icon: iconOf(port), Do: Action{ActPort, port.ID}, Chosen: v.port != nil && port.ID == v.port.ID})
		}
	}
	if p.Name == "waiting" || p.Name == "settings" || p.Name == "not-ready" || p.Name == "no-station" {
		for _, l := range Languages() {
			out = append(out, Button{Text: l.say("language"), Do: Action{ActLanguage, l.Code()}, Chosen: l == v.lang()})
		}
	}
	if name := v.staff().Name; name != "" {
		out = append(out, Button{Text: v.say("sign-out"), Icon: IconPerson, Do: Action{ActSignOut, ""}})
	}
	if v.look.Place != Settings {
		out = append(out, Button{Icon: IconGear, Do: Action{ActOpen, string(Settings)}})
	}
	return out
}

// maxTabs bounds the ports that have a button of their own. The others are shown once one of these is empty.
const maxTabs = 4

func iconOf(p *localapi.Port) Icon {
	switch {
	case p.State == localapi.Issued && p.Clearance != nil && p.Clearance.Override != "":
		return IconWarning
	case p.State == localapi.Issued:
		return IconCheck
	case p.State == localapi.Refused, p.State == localapi.Decided && p.Verdict == "not cleared":
		return IconStop
	case p.State == localapi.Fault:
		return IconWrench
	case p.State == localapi.Decided:
		return IconQuestion
	}
	return IconStick
}

func (v *view) waiting() Page {
	if !v.st.Ready {
		p := Page{Name: "not-ready", Tone: Broken, Icon: IconPause, Title: v.say("not-ready.title"), Lead: v.say("not-ready.lead"),
			Body: []Block{v.problems(), v.steps("not-ready.step1")}, Buttons: v.deskButton()}
		p.Body = append(p.Body, v.call()...)
		return p
	}
	p := Page{Name: "waiting", Icon: IconStick, Title: v.say("waiting.title"), Lead: v.say("waiting.lead"),
		Body: []Block{v.steps("waiting.step1", "waiting.step2", "waiting.step3"), {Kind: Scene, Icons: []Icon{IconStick, IconEye, IconCheck}, Optional: true}}, Buttons: v.deskButton()}
	if len(v.st.Problems) > 0 {
		p.Body = append(p.Body, v.problems())
	}
	return p
}

// deskButton leads to the sign-in of people who have no stick, or to what they may do.
func (v *view) deskButton() []Button {
	if v.staff().Name != "" {
		return []Button{{Text: v.say("office.button"), Icon: IconPerson, Do: Action{ActOpen, string(Office)}}}
	}
	return []Button{{Text: v.say("sign-in.button"), Icon: IconPerson, Do: Action{ActOpen, string(SignIn)}}}
}

func (v *view) problems() Block {
	b := Block{Kind: Points}
	for _, p := range v.st.Problems {
		line := v.lang().reason(p.Code, p.Text)
		if len(b.Lines) > 0 && b.Lines[len(b.Lines)-1] == line {
			continue
		}
		b.Lines, b.Marks = append(b.Lines, line), append(b.Marks, Careful)
	}
	if len(b.Lines) == 0 {
		b.Lines, b.Marks = []string{v.say("problem.unknown")}, []Mark{Careful}
	}
	return b
}

func (v *view) steps(keys ...string) Block {
	b := Block{Kind: Steps}
	for _, key := range keys {
		b.Lines = append(b.Lines, v.say(key))
	}
	return b
}

// call says whom to call, if the configuration says so.
func (v *view) call() []Block {
	if v.st == nil || v.st.Contact == "" {
		return nil
	}
	return []Block{{Kind: Facts, Lines: []string{v.say("call"), Shown(v.st.Contact)}}}
}

func (v *view) refused() Page {
	p := Page{Name: "refused", Tone: Stop, Icon: IconStop, Title: v.say("refused.title"), Lead: v.say("refused.lead")}
	if r := v.port.Refusal; r != nil {
		p.Lead = v.lang().reason(r.Code, r.Text)
	}
	steps := []string{"refused.step1", "refused.step2"}
	if r := v.port.Refusal; r != nil && (r.Code == "present-at-start" || r.Code == "unreadable-device") {
		steps = []string{"refused.again", "refused.step2"}
	}
	p.Body = append([]Block{v.steps(steps...)}, v.call()...)
	return p
}

func (v *view) fault() Page {
	p := Page{Name: "fault", Tone: Broken, Icon: IconWrench, Title: v.say("fault.title"), Lead: v.say("fault.lead"), Body: []Block{v.steps("fault.step1", "fault.step2", "fault.step3")}}
	if r := v.port.Refusal; r != nil {
		p.Body = append(p.Body, Block{Kind: Facts, Lines: []string{v.say("details.code"), Shown(r.Code)}})
	}
	p.Body = append(p.Body, v.call()...)
	return p
}

// scanning shows how far the scan is, and meanwhile asks who is there and what for.
func (v *view) scanning() Page {
	p := Page{Name: "scanning", Icon: IconEye, Title: v.say("scanning.title"), Lead: v.say("scanning.lead")}
	bar := Block{Kind: Bar, Lines: []string{v.say("scanning.opening")}}
	if pr := v.port.Progress; pr != nil {
		if pr.Total > 0 {
			bar.Share = min(1, max(0, float64(pr.Read)/float64(pr.Total)))
		}
		bar.Lines = []string{v.say("scanning.bar", "percent", strconv.Itoa(int(bar.Share*100)), "left", v.left(pr.Left))}
		p.Body = append(p.Body, bar, Block{Kind: Facts, Lines: []string{v.say("scanning.read"), v.size(pr.Read) + " / " + v.size(pr.Total),
			v.say("scanning.files"), strconv.FormatUint(pr.Files, 10)}})
	} else {
		p.Body = append(p.Body, bar)
	}
	if f := v.port.Findings; f != nil && f.Block+f.Warn > 0 {
		p.Body = append(p.Body, Block{Kind: Facts, Lines: []string{v.say("scanning.findings"), strconv.FormatUint(f.Block+f.Warn, 10)}})
	}
	v.who(&p)
	return p
}

// who puts onto the page of a running scan what is to be done meanwhile: sign in, then say what for.
func (v *view) who(p *Page) {
	staff := v.staff()
	switch {
	case staff.Sponsor:
		p.Side = append(p.Side, Block{Kind: Heading, Lines: []string{v.say("guest.sponsor")}})
		p.Buttons = []Button{{Text: v.say("sign-in.button"), Icon: IconPerson, Primary: true, Do: Action{ActOpen, string(SignIn)}}}
	case staff.Name == "" && !v.mayAskWithout():
		p.Side = append(p.Side, Block{Kind: Heading, Lines: []string{v.say("who.title")}}, v.steps("who.step1", "who.step2"))
		p.Buttons = []Button{{Text: v.say("sign-in.button"), Icon: IconPerson, Primary: true, Do: Action{ActOpen, string(SignIn)}}}
	case v.look.Class != "":
		p.Side = append(p.Side, Block{Kind: Facts, Lines: []string{v.say("for.who"), v.whoName(), v.say("for.class"), v.className(v.look.Class)}})
		p.Buttons = []Button{{Text: v.say("class.other"), Icon: IconDevice, Do: Action{ActOpen, string(Equipment)}}}
	default:
		p.Side = append(p.Side, Block{Kind: Heading, Lines: []string{v.say("class.title")}}, v.choices())
		if staff.Name == "" {
			p.Buttons = []Button{{Text: v.say("sign-in.button"), Icon: IconPerson, Do: Action{ActOpen, string(SignIn)}}}
		}
	}
	if len(staff.May) > 0 {
		p.Buttons = append(p.Buttons, Button{Text: v.say("office.button"), Icon: IconPerson, Quiet: true, Do: Action{ActOpen, string(Office)}})
	}
	if len(p.Body) == 0 {
		p.Body, p.Side = p.Side, nil
	}
}

// brought is the page of a medium that has a rule pack, and of what became of it.
func (v *view) brought() Page {
	p := Page{Name: "pack-trying", Icon: IconBook, Title: v.say("pack.title"), Lead: v.say("pack.trying")}
	switch r := v.port.Refusal; {
	case v.port.Pack != nil:
		p.Name, p.Lead = "pack-installed", v.say("pack.installed")
		p.Body = []Block{{Kind: Facts, Lines: []string{v.say("pack.name"), Shown(v.port.Pack.Name), v.say("pack.version"), strconv.FormatUint(v.port.Pack.Version, 10)}}}
	case r != nil && v.port.State != localapi.Installing:
		p.Name, p.Tone, p.Icon, p.Title, p.Lead = "pack-refused", Stop, IconStop, v.say("pack.refused"), v.lang().reason(r.Code, r.Text)
		p.Body = []Block{{Kind: Text, Lines: []string{Shown(r.Text)}}}
	}
	if v.port.State == localapi.Removed {
		p.Body = append(p.Body, Block{Kind: Text, Lines: []string{v.say("pull.title") + "."}})
	}
	return p
}

// mayAskWithout: on a desk, where a demonstration runs, the user of the window may ask without signing in. Whether that is so
// decides the daemon.
func (v *view) mayAskWithout() bool { return v.st.Demo }

func (v *view) whoName() string {
	s := v.staff()
	switch {
	case s.Guest != "":
		return v.say("guest.of", "company", Shown(s.Guest))
	case s.Name == "":
		return v.say("who.desk")
	}
	return Shown(s.Name)
}

// className is how a class of equipment is called: by the catalogue, or as the site calls it.
func (v *view) className(class string) string {
	if has("class." + class) {
		return v.say("class." + class)
	}
	return Shown(class)
}

// classes are those that may be asked for.
func (v *view) classes() []string {
	if v.staff().Name != "" {
		return v.staff().Classes
	}
	return v.st.Classes
}

func (v *view) choices() Block {
	b := Block{Kind: Choices, Rows: [][]Button{{}}}
	for i, class := range v.classes() {
		b.Rows[0] = append(b.Rows[0], Button{Text: v.className(class), Icon: IconDevice, Primary: i == 0, Do: Action{ActClass, class}, Chosen: class == v.look.Class})
	}
	if len(b.Rows[0]) == 0 {
		return Block{Kind: Text, Lines: []string{v.say("class.none")}}
	}
	return b
}

func (v *view) equipment() Page {
	return Page{Name: "equipment", Icon: IconDevice, Title: v.say("class.title"), Lead: v.say("class.lead"), Side: []Block{v.choices()}, Buttons: []Button{v.back()}}
}

func (v *view) back() Button { return Button{Text: v.say("back"), Do: Action{ActBack, ""}} }

// left says how long something takes yet, in words that promise no more than they can.
func (v *view) left(seconds int64) string {
	switch {
	case seconds < 0:
		return v.say("left.unknown")
	case seconds < 60:
		return v.say("left.soon")
	}
	return v.lang().count("left.minutes", uint64(seconds+59)/60)
}

// size is a number of bytes as sticks are sold: in powers of ten.
func (v *view) size(bytes int64) string {
	value, unit := float64(max(0, bytes)), 0
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	text := fmt.Sprintf("%.1f", value)
	if unit == 0 || value >= 100 {
		text = fmt.Sprintf("%.0f", value)
	}
	return strings.Replace(text, ".", v.say("decimal"), 1) + " " + units[unit]
}

// clock is a time of a State as people read it here.
func (v *view) clock(at string) string {
	t, err := time.Parse(localapi.TimeFormat, at)
	if err != nil {
		return Shown(at)
	}
	return t.In(v.now.Location()).Format("02.01.2006 15:04")
}

// speech is what is read aloud: the word, what it means and what to do.
func speech(p Page) string {
	said := []string{p.Title + ".", p.Lead}
	for _, b := range p.Body {
		if b.Kind == Steps {
			said = append(said, b.Lines...)
		}
	}
	return strings.Join(said, " ")
}
