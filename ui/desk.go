package ui

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"pratique/kiosk/localapi"
)

// settings are what a person can change about the screen, at any time and without signing in.
func (v *view) settings() Page {
	p := Page{Name: "settings", Icon: IconGear, Title: v.say("settings.title"), Dense: true, Buttons: []Button{v.back()}}
	row := func(key string, buttons ...Button) {
		p.Body = append(p.Body, Block{Kind: Heading, Lines: []string{v.say(key)}}, Block{Kind: Keys, Rows: [][]Button{buttons}})
	}
	var sizes, themes, sounds []Button
	for _, n := range Sizes {
		sizes = append(sizes, Button{Text: strconv.Itoa(n) + " %", Do: Action{ActText, strconv.Itoa(n)}, Chosen: n == max(v.look.Percent, 100)})
	}
	for i, key := range []string{"settings.light", "settings.dark", "settings.contrast"} {
		themes = append(themes, Button{Text: v.say(key), Do: Action{ActTheme, strconv.Itoa(i)}, Chosen: Theme(i) == v.look.Theme})
	}
	for i, key := range []string{"settings.tones", "settings.speech", "settings.silent"} {
		if Loudness(i) == Spoken && !v.look.Voice {
			continue
		}
		sounds = append(sounds, Button{Text: v.say(key), Do: Action{ActLoud, strconv.Itoa(i)}, Chosen: Loudness(i) == v.look.Loud})
	}
	row("settings.text", sizes...)
	row("settings.colours", themes...)
	row("settings.sound", sounds...)
	return p
}

// signIn is the keypad. A badge that was held to the reader needs its PIN only.
func (v *view) signIn() Page {
	s := v.staff()
	p := Page{Name: "sign-in", Icon: IconPerson, Title: v.say("sign-in.title"), Dense: true}
	pin := v.look.InPIN || s.Badge
	typed := strings.Repeat("•", len(v.look.PIN))
	switch {
	case s.Sponsor && !pin:
		p.Lead = v.say("guest.sponsor")
	case s.Badge:
		p.Lead = v.say("sign-in.badge")
	case pin:
		p.Lead = v.say("sign-in.pin-lead")
	default:
		p.Lead = v.say("sign-in.lead")
	}
	field := Block{Kind: Field, Lines: []string{v.say("sign-in.pin"), typed}}
	if !pin {
		field = Block{Kind: Field, Lines: []string{v.say("sign-in.number"), v.look.Number}}
	}
	p.Body = append(p.Body, field)
	if wait := v.wait(s.Wait); wait > 0 {
		p.Body = append(p.Body, Block{Kind: Points, Lines: []string{v.say("sign-in.wait", "n", strconv.Itoa(wait))}, Marks: []Mark{Careful}})
	}
	if v.look.Waiting {
		p.Body = append(p.Body, Block{Kind: Text, Lines: []string{v.say("sign-in.checking")}})
	}
	p.Side = []Block{{Kind: Keys, Rows: v.digits()}}
	ok := Button{Text: v.say("sign-in.next"), Primary: true, Do: Action{ActSignIn, ""}}
	if pin {
		ok.Text = v.say("sign-in.ok")
	}
	p.Buttons = []Button{ok, v.back()}
	return p
}

// wait is how many seconds no PIN is looked at, rounded up.
func (v *view) wait(until string) int {
	t, err := time.Parse(localapi.TimeFormat, until)
	if err != nil || !t.After(v.now) {
		return 0
	}
	return int(t.Sub(v.now)/time.Second) + 1
}

// digits are the keys of a keypad, in the order that the person asked for.
func (v *view) digits() [][]Button {
	order := v.look.Order
	if len(order) != 10 {
		order = "1234567890"
	}
	var rows [][]Button
	for i := 0; i < 9; i += 3 {
		var row []Button
		for _, d := range order[i : i+3] {
			row = append(row, Button{Text: string(d), Do: Action{ActType, string(d)}})
		}
		rows = append(rows, row)
	}
	return append(rows, []Button{{Text: v.say("keys.shuffle"), Quiet: true, Do: Action{ActShuffle, ""}}, {Text: order[9:], Do: Action{ActType, order[9:]}},
		{Text: v.say("keys.erase"), Quiet: true, Do: Action{ActErase, ""}}})
}

// guest asks a sponsor for whom they answer, and why that person is here.
func (v *view) guest() Page {
	p := Page{Name: "guest", Icon: IconPerson, Title: v.say("guest.title"), Lead: v.say("guest.lead"), Dense: true}
	p.Body = []Block{{Kind: Field, Lines: []string{v.say("guest.company"), Shown(v.look.Company)}}}
	if v.look.InWork {
		p.Body = []Block{{Kind: Field, Lines: []string{v.say("guest.order"), Shown(v.look.Work)}}}
	}
	letters := []string{"QWERTYUIOP", "ASDFGHJKL-", "ZXCVBNM ."}
	if v.look.Figures {
		letters = []string{"1234567890", "-/+.:,&()#", "_ @*'"}
	}
	var rows [][]Button
	for i, line := range letters {
		var row []Button
		if i == 2 {
			text := "123"
			if v.look.Figures {
				text = "ABC"
			}
			row = append(row, Button{Text: text, Quiet: true, Do: Action{ActFigures, ""}})
		}
		for _, c := range line {
			b := Button{Text: string(c), Do: Action{ActType, string(c)}}
			if c == ' ' {
				b.Text = "␣"
			}
			row = append(row, b)
		}
		if i == 2 {
			row = append(row, Button{Text: "⌫", Quiet: true, Do: Action{ActErase, ""}})
		}
		rows = append(rows, row)
	}
	p.Body = append(p.Body, Block{Kind: Keys, Rows: rows})
	p.Buttons = []Button{{Text: v.say("sign-in.next"), Primary: true, Do: Action{ActGuest, ""}}, v.back()}
	if v.look.InWork {
		p.Buttons = []Button{{Text: v.say("sign-in.ok"), Primary: true, Do: Action{ActGuest, ""}}, {Text: v.say("guest.company"), Do: Action{ActField, "company"}}, v.back()}
	}
	return p
}

// office is what the person who is signed in may do besides clearing media.
func (v *view) office() Page {
	s := v.staff()
	if s.Name == "" {
		return v.waiting()
	}
	p := Page{Name: "office", Icon: IconPerson, Title: v.say("office.title", "name", v.whoName()), Lead: v.say("office.lead"), Buttons: []Button{v.back()}}
	b := Block{Kind: Choices, Rows: [][]Button{{}}}
	for _, o := range []struct {
		may   string
		icon  Icon
		place Place
		key   string
	}{{"sponsor", IconPerson, Guest, "office.guest"}, {"install", IconBook, Pack, "office.pack"}, {"read-log", IconBook, Sessions, "office.log"}, {"administer", IconWrench, Doctor, "office.doctor"}} {
		if slices.Contains(s.May, o.may) {
			b.Rows[0] = append(b.Rows[0], Button{Text: v.say(o.key), Icon: o.icon, Do: Action{ActOpen, string(o.place)}})
		}
	}
	if len(b.Rows[0]) > 0 {
		p.Side = []Block{b}
	}
	if len(s.Classes) > 0 {
		var names []string
		for _, c := range s.Classes {
			names = append(names, v.className(c))
		}
		p.Body = append(p.Body, Block{Kind: Facts, Lines: []string{v.say("office.classes"), strings.Join(names, ", ")}})
	}
	return p
}

// pack is the rule pack in force, and what is wrong with it.
func (v *view) pack() Page {
	p := Page{Name: "pack", Icon: IconBook, Title: v.say("pack.title"), Lead: v.say("pack.lead"), Buttons: []Button{v.back()}}
	p.Body = []Block{{Kind: Facts, Lines: []string{v.say("pack.name"), Shown(v.st.Rules.Name), v.say("pack.version"), strconv.FormatUint(v.st.Rules.Version, 10)}}}
	fine := true
	b := Block{Kind: Points}
	for _, problem := range v.st.Problems {
		if key := reasonKey(problem.Code); key == "problem.pack" || key == "problem.canary" {
			fine = false
			b.Lines, b.Marks = append(b.Lines, Shown(problem.Text)), append(b.Marks, Careful)
		}
	}
	if fine {
		b.Lines, b.Marks = []string{v.say("pack.fine")}, []Mark{Fine}
	}
	p.Body = append(p.Body, b, v.steps("pack.step1", "pack.step2"))
	if v.look.Waiting {
		p.Body = append(p.Body, Block{Kind: Text, Lines: []string{v.say("pack.trying")}})
	} else if v.port != nil && slices.Contains([]string{localapi.Attached, localapi.Scanning, localapi.Waiting, localapi.Decided}, v.port.State) && slices.Contains(v.staff().May, "install") {
		p.Buttons = []Button{{Text: v.say("pack.install"), Icon: IconBook, Primary: true, Do: Action{ActInstall, ""}}, v.back()}
	}
	return p
}

// maxHistory bounds the sessions that the screen lists; the command line searches all.
const maxHistory = 60

// sessions are the latest of the log, newest first.
func (v *view) sessions() Page {
	p := Page{Name: "sessions", Icon: IconBook, Title: v.say("log.title"), Dense: true, Buttons: []Button{v.back()}}
	if v.look.Waiting {
		p.Lead = v.say("log.reading")
		return p
	}
	b := Block{Kind: Choices, Rows: [][]Button{{}}}
	for _, s := range v.look.History[:min(len(v.look.History), maxHistory)] {
		verdict := v.say("verdict.none")
		if n := len(s.Verdicts); n > 0 {
			verdict = v.say("verdict."+strings.ReplaceAll(s.Verdicts[n-1].Verdict, " ", "-")) + ", " + v.className(s.Verdicts[n-1].Class)
		}
		icon := IconQuestion
		switch {
		case s.Code != "":
			icon = IconCheck
		case len(s.Verdicts) > 0 && s.Verdicts[len(s.Verdicts)-1].Verdict == "not cleared":
			icon = IconStop
		}
		b.Rows[0] = append(b.Rows[0], Button{Text: v.clock(s.Attached) + "  " + verdict, Icon: icon, Do: Action{ActShow, s.ID}})
	}
	if len(b.Rows[0]) == 0 {
		p.Body = []Block{{Kind: Text, Lines: []string{v.say("log.none")}}}
		return p
	}
	p.Body = []Block{b}
	return p
}

// session is one of them.
func (v *view) session() Page {
	p := Page{Name: "session", Icon: IconBook, Title: v.say("log.session"), Dense: true, Buttons: []Button{v.back()}}
	for _, s := range v.look.History {
		if s.ID != v.look.Open {
			continue
		}
		lines := []string{v.say("details.session"), Shown(s.ID), v.say("log.plugged"), v.clock(s.Attached), v.say("log.ended"), v.clock(s.Ended), v.say("details.medium"), v.size(s.Medium.Bytes)}
		if s.Code != "" {
			lines = append(lines, v.say("for.code"), grouped(s.Code))
		}
		p.Body = []Block{{Kind: Facts, Lines: lines}}
		b := Block{Kind: Points}
		for _, d := range s.Verdicts {
			said := v.className(d.Class) + ": " + v.say("verdict."+strings.ReplaceAll(d.Verdict, " ", "-"))
			mark := map[string]Mark{"cleared": Fine, "not cleared": Bad}[d.Verdict]
			if mark == Dot {
				mark = Careful
			}
			if len(d.Reasons) > 0 {
				said += " (" + Shown(strings.Join(d.Reasons, ", ")) + ")"
			}
			b.Lines, b.Marks = append(b.Lines, said), append(b.Marks, mark)
		}
		if len(b.Lines) > 0 {
			p.Body = append(p.Body, b)
		}
	}
	return p
}

// doctor is what the administrator should see to.
func (v *view) doctor() Page {
	p := Page{Name: "doctor", Icon: IconWrench, Title: v.say("doctor.title"), Buttons: []Button{v.back()}}
	b := Block{Kind: Points}
	for _, problem := range v.st.Problems {
		b.Lines, b.Marks = append(b.Lines, Shown(problem.Code)+": "+v.lang().reason(problem.Code, problem.Text)), append(b.Marks, Careful)
	}
	if len(b.Lines) == 0 {
		b.Lines, b.Marks = []string{v.say("doctor.fine")}, []Mark{Fine}
	}
	p.Lead = v.say("doctor.lead")
	p.Body = []Block{b, {Kind: Facts, Lines: []string{v.say("doctor.station"), Shown(v.st.Station), v.say("pack.name"), Shown(v.st.Rules.Name) + " " + strconv.FormatUint(v.st.Rules.Version, 10)}},
		{Kind: Mono, Lines: []string{"pratique doctor"}}}
	return p
}
