package ui

import (
	"strconv"
	"strings"

	"pratique/kiosk/localapi"
)

// maxKinds bounds the kinds of findings on the page of a verdict. The details have all that the station tells.
const maxKinds = 6

// asked is the page of a scan that is over, while a person may ask for a clearance.
func (v *view) asked() Page {
	if v.look.Class != "" && v.look.Error == nil && v.port.Class != v.look.Class {
		return Page{Name: "issuing", Icon: IconEye, Title: v.say("issuing.title"), Lead: v.say("issuing.lead"), Body: []Block{{Kind: Bar, Share: 1, Lines: []string{v.say("issuing.bar")}}}}
	}
	staff := v.staff()
	refused := v.port.Verdict != "cleared" && v.port.Class != "" && (v.look.Class != "" || staff.Name == "" && v.look.Place == Here && !v.firstClass())
	if refused { // for that class; another may be cleared
		p := v.decided()
		p.Buttons = append([]Button{{Text: v.say("class.other"), Icon: IconDevice, Do: Action{ActOpen, string(Equipment)}}}, p.Buttons...)
		return p
	}
	p := Page{Name: "ready", Icon: IconPerson, Title: v.say("ready.title"), Lead: v.say("ready.lead")}
	v.who(&p)
	return p
}

// firstClass reports whether the verdict is the one that is taken before anybody said what the medium is for.
func (v *view) firstClass() bool { return v.look.Class == "" }

func (v *view) cleared() Page {
	c := v.port.Clearance
	if c == nil {
		return v.fault()
	}
	p := Page{Name: "cleared", Tone: Good, Icon: IconCheck, Title: v.say("cleared.title"), Lead: v.say("cleared.lead", "class", v.className(c.Class))}
	steps := v.steps("cleared.step1", "cleared.step2")
	if c.Override != "" {
		p.Name, p.Tone, p.Icon = "override", Alarm, IconWarning
		p.Title, p.Lead = v.say("red.title"), v.say("red.lead", "class", v.className(c.Class), "reason", v.say("override."+c.Override))
		steps = v.steps("red.step1", "red.step2", "red.step3")
	}
	p.Body = []Block{{Kind: Facts, Lines: []string{v.say("for.class"), v.className(c.Class), v.say("for.until"), v.clock(c.Expires), v.say("for.code"), grouped(c.Code)}}, steps}
	p.Side = []Block{{Kind: Code, Digits: c.QR, Lines: []string{grouped(c.Code)}}}
	if v.look.Printer {
		p.Buttons = append(p.Buttons, Button{Text: v.say("print"), Icon: IconPrinter, Primary: true, Do: Action{ActPrint, ""}})
	}
	p.Buttons = append(p.Buttons, v.speak()...)
	p.Buttons = append(p.Buttons, v.more()...)
	return p
}

// grouped is a code in two halves, for people who read it to each other.
func grouped(code string) string {
	code = Shown(code)
	if len(code) == 8 {
		return code[:4] + " " + code[4:]
	}
	return code
}

// decided is the page of a medium that gets no clearance.
func (v *view) decided() Page {
	if r := v.port.Refusal; r != nil && r.Code == "too-late" {
		p := Page{Name: "too-late", Tone: Unsure, Icon: IconQuestion, Title: v.say("late.title"), Lead: v.say("reason.late"), Body: []Block{v.steps("late.step1")}}
		return p
	}
	if v.port.Verdict == "not cleared" {
		return v.notCleared()
	}
	return v.couldNotCheck()
}

func (v *view) notCleared() Page {
	p := Page{Name: "not-cleared", Tone: Stop, Icon: IconStop, Title: v.say("not-cleared.title"), Lead: v.say("not-cleared.lead"),
		Body: []Block{v.steps("not-cleared.step1", "not-cleared.step2", "not-cleared.step3")}}
	p.Body = append(p.Body, v.call()...)
	p.Side = v.found()
	p.Buttons = append(p.Buttons, v.speak()...)
	p.Buttons = append(p.Buttons, v.more()...)
	if v.mayOverride() {
		p.Buttons = append(p.Buttons, Button{Text: v.say("override.button"), Icon: IconWarning, Quiet: true, Do: Action{ActOpen, string(Overrule)}})
	}
	return p
}

func (v *view) couldNotCheck() Page {
	p := Page{Name: "could-not-check", Tone: Unsure, Icon: IconQuestion, Title: v.say("unsure.title"), Lead: v.say("unsure.lead"),
		Body: []Block{v.steps("unsure.step1", "unsure.step2", "unsure.step3")}}
	p.Body = append(p.Body, v.call()...)
	p.Side = append([]Block{{Kind: Heading, Lines: []string{v.say("unsure.why")}}}, v.why())
	p.Buttons = append(p.Buttons, v.speak()...)
	p.Buttons = append(p.Buttons, v.more()...)
	return p
}

// found are the findings that count, in plain words: one line for each sentence, worst first.
func (v *view) found() []Block {
	type line struct {
		key  string
		mark Mark
		n    uint64
	}
	var lines []line
	for _, f := range v.port.Found {
		if f.Severity == "inform" {
			continue
		}
		key, mark := findingKey(f), Careful
		if f.Severity != "warn" {
			mark = Bad
		}
		known := false
		for i := range lines {
			if lines[i].key == key {
				lines[i].n, known = lines[i].n+f.Count, true
			}
		}
		if !known {
			lines = append(lines, line{key, mark, f.Count})
		}
	}
	if len(lines) == 0 {
		return []Block{{Kind: Heading, Lines: []string{v.say("found.why")}}, v.why()}
	}
	b := Block{Kind: Points}
	for i, l := range lines {
		if i == maxKinds {
			b.Lines, b.Marks = append(b.Lines, v.lang().count("found.kinds", uint64(len(lines)-maxKinds))), append(b.Marks, Dot)
			break
		}
		text := v.say(l.key)
		if l.n > 1 {
			text += " (" + strconv.FormatUint(l.n, 10) + "×)"
		}
		b.Lines, b.Marks = append(b.Lines, text), append(b.Marks, l.mark)
	}
	return []Block{{Kind: Heading, Lines: []string{v.say("found.title")}}, b}
}

// why are the reasons of the verdict, each sentence once.
func (v *view) why() Block {
	b := Block{Kind: Points}
	seen := map[string]bool{}
	for _, r := range v.port.Reasons {
		if line := v.lang().reason(r.Code, r.Text); !seen[line] {
			seen[line] = true
			b.Lines, b.Marks = append(b.Lines, line), append(b.Marks, Careful)
		}
	}
	if len(b.Lines) == 0 {
		return Block{Kind: Text, Lines: []string{v.say("reason.unfinished")}}
	}
	return b
}

// details are for whoever is called: the scanner's own words, and its own sentences, which are English.
func (v *view) details() Page {
	p := Page{Name: "details", Icon: IconBook, Title: v.say("details.title"), Lead: v.say("details.lead"), Dense: true, Buttons: []Button{v.back()}}
	facts := []string{v.say("details.session"), Shown(v.port.Session), v.say("for.class"), v.className(v.port.Class), v.say("details.verdict"), v.say("verdict." + strings.ReplaceAll(v.port.Verdict, " ", "-")),
		v.say("details.rules"), Shown(v.st.Rules.Name) + " " + strconv.FormatUint(v.st.Rules.Version, 10)}
	if m := v.port.Medium; m != nil {
		facts = append(facts, v.say("details.medium"), v.size(m.Bytes))
	}
	if c := v.port.Clearance; c != nil {
		facts = append(facts, v.say("details.entry"), strconv.FormatUint(c.LogIndex, 10))
	}
	p.Body = []Block{{Kind: Facts, Lines: facts}}
	b := Block{Kind: Points}
	for _, r := range v.port.Reasons {
		b.Lines, b.Marks = append(b.Lines, Shown(r.Code)+": "+v.lang().reason(r.Code, r.Text)), append(b.Marks, Careful)
	}
	for _, f := range v.port.Found {
		mark := map[string]Mark{"warn": Careful, "inform": Dot}[f.Severity]
		if f.Severity != "warn" && f.Severity != "inform" {
			mark = Bad
		}
		b.Lines = append(b.Lines, v.say(findingKey(f))+" ["+Shown(f.Check+"/"+f.Rule)+", "+strconv.FormatUint(f.Count, 10)+"×]")
		b.Marks = append(b.Marks, mark)
	}
	if len(b.Lines) > 0 {
		p.Side = []Block{{Kind: Heading, Lines: []string{v.say("found.title")}}, b}
	}
	return p
}

func (v *view) more() []Button {
	return []Button{{Text: v.say("details.button"), Icon: IconBook, Quiet: true, Do: Action{ActOpen, string(Details)}}}
}

func (v *view) speak() []Button {
	if !v.look.Voice {
		return nil
	}
	return []Button{{Text: v.say("speak"), Icon: IconSpeaker, Quiet: true, Do: Action{ActSpeak, ""}}}
}

// mayOverride reports whether the person at the screen can begin or confirm an override of this medium. The daemon decides.
func (v *view) mayOverride() bool {
	p := v.port
	if p.Verdict != "not cleared" || p.State != localapi.Waiting && p.State != localapi.Decided {
		return false
	}
	for _, may := range v.staff().May {
		if may == "override" {
			return true
		}
	}
	return false
}

// overrule asks why, and then for a second person.
func (v *view) overrule() Page {
	if o := v.port.Override; o != nil {
		return Page{Name: "override-confirm", Tone: Alarm, Icon: IconWarning, Title: v.say("override.second"),
			Lead: v.say("override.confirm", "class", v.className(o.Class), "reason", v.say("override."+o.Reason)), Body: []Block{v.steps("override.step1", "override.step2")},
			Buttons: []Button{{Text: v.say("override.yes"), Icon: IconWarning, Primary: true, Do: Action{ActOverride, o.Reason}}, v.back()}}
	}
	b := Block{Kind: Choices, Rows: [][]Button{{}}}
	for _, r := range localapi.OverrideReasons {
		b.Rows[0] = append(b.Rows[0], Button{Text: v.say("override." + r), Icon: IconWarning, Do: Action{ActOverride, r}})
	}
	return Page{Name: "override-reason", Tone: Alarm, Icon: IconWarning, Title: v.say("override.title"), Lead: v.say("override.lead"), Side: []Block{b}, Buttons: []Button{v.back()}}
}
