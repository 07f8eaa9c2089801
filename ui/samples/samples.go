// Package samples has one situation for each page of the screen, for tests and for the pictures in the README. Names in it are as
// bad as names can be where a test wants that; nothing in it comes from a real station.
package samples

import (
	"fmt"
	"strings"
	"time"

	"pratique/kiosk/localapi"
	"pratique/ui"
)

// Now is the time at which all of it happens.
var Now = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

// Situation is what the station says, and what the person chose.
type Situation struct {
	Name  string // of the page that it leads to; what stands behind a slash tells two of the same page apart
	State *localapi.State
	Look  ui.Look
}

// Page is the name of the page.
func (s Situation) Page() string { name, _, _ := strings.Cut(s.Name, "/"); return name }

// Digits are as many digits as a clearance has. They are no clearance.
var Digits = "7781" + strings.Repeat("12345678901234567", 58)

func station(change ...func(*localapi.State, *localapi.Port)) *localapi.State {
	st := &localapi.State{Version: 1, Station: "Radiology 2", Ready: true, Contact: "IT security, extension 4711", Classes: []string{"general", "imaging", "infusion", "laboratory"},
		Staff: &localapi.SignIn{}, Rules: localapi.Rules{Name: "pratique-baseline", Version: 12}, Ports: []localapi.Port{{ID: "1-2", Name: "left", State: localapi.Idle, Since: "2026-11-22T03:50:00Z"}}}
	for _, f := range change {
		f(st, &st.Ports[0])
	}
	return st
}

func jane(st *localapi.State, _ *localapi.Port) {
	st.Staff = &localapi.SignIn{Name: "Jane Doe", Classes: []string{"general", "imaging", "laboratory"}, May: []string{"override", "sponsor", "install", "read-log", "administer"},
		Until: "2026-11-22T04:01:00Z"}
}

func in(state string) func(*localapi.State, *localapi.Port) {
	return func(_ *localapi.State, p *localapi.Port) {
		p.State, p.Session = state, "311e1b0faae1748f9e9459b59d911f09"
		p.Medium = &localapi.Medium{Kind: "usb", Bytes: 8_000_000_000, Units: 1}
		if state == localapi.Scanning {
			p.Progress = &localapi.Progress{Read: 3_000_000_000, Total: 8_000_000_000, Files: 12_345, Seconds: 50, Left: 84}
		}
	}
}

// found are findings of every kind that a nurse may meet.
var found = []localapi.Found{
	{Check: "yara", Rule: "EICAR_Test_File", Severity: "block", Count: 1}, {Check: "structure", Rule: "launcher", Severity: "block", Count: 1},
	{Check: "structure", Rule: "autorun", Severity: "block", Count: 1}, {Check: "structure", Rule: "macro", Severity: "warn", Count: 3},
	{Check: "volume", Rule: "name-direction", Severity: "warn", Count: 2}, {Check: "volume", Rule: "volume-dirty", Severity: "inform", Count: 1},
}

func verdict(word string, codes ...string) func(*localapi.State, *localapi.Port) {
	return func(_ *localapi.State, p *localapi.Port) {
		p.Class, p.Verdict = "imaging", word
		for _, code := range codes {
			p.Reasons = append(p.Reasons, localapi.Reason{Code: code, Text: "The station's own sentence about " + code + "."})
		}
		if word == "not cleared" {
			p.Found, p.Findings = found, &localapi.Findings{Block: 3, Warn: 5, Inform: 1}
		}
	}
}

func clearance(override string) func(*localapi.State, *localapi.Port) {
	return func(_ *localapi.State, p *localapi.Port) {
		p.Class, p.Verdict = "imaging", "cleared"
		p.Clearance = &localapi.Clearance{ID: "311e1b0faae1748f9e9459b59d911f09", Code: "64Z1P3ZA", Class: "imaging", QR: Digits, Expires: "2026-11-22T12:00:00Z", LogIndex: 4711, LogHead: "4713 9b1f0c55d2a94e0b8f6d7c3a21e4f598", Override: override}
	}
}

func refusal(code string) func(*localapi.State, *localapi.Port) {
	return func(_ *localapi.State, p *localapi.Port) {
		p.Refusal = &localapi.Reason{Code: code, Text: "The station's own sentence about " + code + "."}
	}
}

// history is what an auditor reads.
var history = []localapi.Session{
	{ID: "311e1b0faae1748f9e9459b59d911f09", Attached: "2026-11-22T03:40:00Z", Ended: "2026-11-22T03:42:00Z", End: "removed", Code: "64Z1P3ZA", Medium: localapi.Medium{Bytes: 8_000_000_000},
		Verdicts: []localapi.Verdict{{Class: "general", Verdict: "cleared"}, {Class: "imaging", Verdict: "cleared"}}},
	{ID: "9f1e1b0faae1748f9e9459b59d911f10", Attached: "2026-11-22T03:20:00Z", Ended: "2026-11-22T03:21:00Z", End: "removed", Medium: localapi.Medium{Bytes: 16_000_000_000},
		Verdicts: []localapi.Verdict{{Class: "imaging", Verdict: "not cleared", Reasons: []string{"yara-match", "encrypted"}}}},
	{ID: "aa1e1b0faae1748f9e9459b59d911f11", Attached: "2026-11-22T03:10:00Z", Ended: "2026-11-22T03:11:00Z", End: "aborted", Medium: localapi.Medium{Bytes: 4_000_000_000}},
}

// All are the situations of every page, and of each page in more than one way where that matters.
func All() []Situation {
	full := ui.Look{Printer: true, Voice: true}
	with := func(change func(*ui.Look)) ui.Look { l := full; change(&l); return l }
	at := func(p ui.Place) ui.Look { return with(func(l *ui.Look) { l.Place = p }) }
	sponsor := func(st *localapi.State, _ *localapi.Port) {
		st.Staff = &localapi.SignIn{Sponsor: true, Until: "2026-11-22T04:01:00Z"}
	}
	return []Situation{
		{"no-station", nil, full},
		{"waiting", station(), full},
		{"waiting/problems", station(func(st *localapi.State, _ *localapi.Port) {
			st.Demo, st.Problems = true, []localapi.Problem{{Code: "disk", Text: "The disk is almost full."}}
		}), full},
		{"waiting/in", station(jane), full},
		{"not-ready", station(func(st *localapi.State, _ *localapi.Port) {
			st.Ready, st.Problems = false, []localapi.Problem{{Code: "canary", Text: "x"}, {Code: "clock", Text: "y"}, {Code: "disk", Text: "z"}}
		}), full},
		{"refused", station(in(localapi.Refused), refusal("input-device")), full},
		{"refused/again", station(in(localapi.Refused), refusal("present-at-start")), full},
		{"scanning/opening", station(in(localapi.Attached)), full},
		{"scanning", station(in(localapi.Scanning)), full},
		{"scanning/in", station(jane, in(localapi.Scanning)), full},
		{"scanning/chosen", station(jane, in(localapi.Scanning)), with(func(l *ui.Look) { l.Class = "imaging" })},
		{"scanning/sponsor", station(sponsor, in(localapi.Scanning)), full},
		{"equipment", station(jane, in(localapi.Scanning)), at(ui.Equipment)},
		{"ready", station(in(localapi.Waiting), verdict("cleared")), full},
		{"ready/in", station(jane, in(localapi.Waiting), verdict("cleared")), full},
		{"issuing", station(jane, in(localapi.Issuing)), full},
		{"cleared", station(jane, in(localapi.Issued), clearance("")), full},
		{"override", station(jane, in(localapi.Issued), clearance("patient-emergency")), full},
		{"not-cleared", station(jane, in(localapi.Decided), verdict("not cleared", "yara-match", "structure-finding")), full},
		{"not-cleared/reasons", station(in(localapi.Decided), func(_ *localapi.State, p *localapi.Port) {
			p.Class, p.Verdict, p.Reasons = "imaging", "not cleared", []localapi.Reason{{Code: "type-not-allowed", Text: "x"}}
		}), full},
		{"not-cleared/class", station(jane, in(localapi.Waiting), verdict("not cleared", "content-refused")), with(func(l *ui.Look) { l.Class = "imaging" })},
		{"could-not-check", station(in(localapi.Decided), verdict("could not check", "encrypted", "unreadable", "malformed")), full},
		{"too-late", station(in(localapi.Decided), verdict("cleared"), refusal("too-late")), full},
		{"pull", station(in(localapi.Removed)), full},
		{"fault", station(in(localapi.Fault), refusal("workers")), full},
		{"details", station(jane, in(localapi.Decided), verdict("not cleared", "yara-match", "encrypted")), at(ui.Details)},
		{"sign-in", station(in(localapi.Scanning)), with(func(l *ui.Look) { l.Place, l.Number = ui.SignIn, "20417" })},
		{"sign-in/pin", station(in(localapi.Scanning)), with(func(l *ui.Look) { l.Place, l.InPIN, l.PIN, l.Order = ui.SignIn, true, "1234", "8305712964" })},
		{"sign-in/slow", station(in(localapi.Scanning), func(st *localapi.State, _ *localapi.Port) {
			st.Staff.Badge, st.Staff.Wait = true, "2026-11-22T04:00:30Z"
		}),
			with(func(l *ui.Look) {
				l.Place, l.InPIN, l.Error = ui.SignIn, true, &localapi.Error{Code: localapi.CodeSignIn, Text: "x"}
			})},
		{"guest", station(jane), with(func(l *ui.Look) { l.Place, l.Company = ui.Guest, "EXAMPLE MEDICAL SYSTEMS" })},
		{"guest/order", station(jane), with(func(l *ui.Look) {
			l.Place, l.Company, l.InWork, l.Work, l.Figures = ui.Guest, "EXAMPLE", true, "2026/00417", true
		})},
		{"office", station(jane), at(ui.Office)},
		{"pack", station(jane), at(ui.Pack)},
		{"pack/stick", station(jane, in(localapi.Waiting), verdict("cleared")), at(ui.Pack)},
		{"pack-trying", station(jane, in(localapi.Installing)), full},
		{"pack-installed", station(in(localapi.Removed), func(_ *localapi.State, p *localapi.Port) {
			p.Pack = &localapi.Pack{Name: "hospital", Version: 13}
		}), full},
		{"pack-refused", station(in(localapi.Removed), refusal("pack-refused")), full},
		{"sessions", station(jane), with(func(l *ui.Look) { l.Place, l.History = ui.Sessions, history })},
		{"session", station(jane), with(func(l *ui.Look) { l.Place, l.History, l.Open = ui.Session, history, history[1].ID })},
		{"doctor", station(jane), at(ui.Doctor)},
		{"override-reason", station(jane, in(localapi.Decided), verdict("not cleared", "yara-match")), at(ui.Overrule)},
		{"override-confirm", station(jane, in(localapi.Decided), verdict("not cleared", "yara-match"), func(_ *localapi.State, p *localapi.Port) {
			p.Override = &localapi.Override{Class: "imaging", Reason: "equipment-down", Until: "2026-11-22T04:05:00Z"}
		}), at(ui.Overrule)},
		{"settings", station(), at(ui.Settings)},
	}
}

// Bad are situations in which names and numbers are as bad as they can be.
func Bad() []Situation {
	names := map[string]string{
		"direction": "photo\u202Egpj.exe", "control": "a\x00b\x07c\x1B[31md", "lines": "first\nsecond\r\nthird", "html": `<b>Dr.</b><script>alert(1)</script>`,
		"long": strings.Repeat("W", 255), "words": strings.Repeat("Krankenhaus ", 60), "emoji": strings.Repeat("😀", 255), "marks": "Z" + strings.Repeat("\u0301", 100),
		"invalid": "\xff\xfe\xfa", "invisible": "a\u200Bb\uFEFFc\u00ADd", "arabic": "مستشفى", "chinese": "医院放射科",
	}
	var out []Situation
	for how, name := range names {
		st := station(in(localapi.Decided), verdict("not cleared", "yara-match"), func(st *localapi.State, p *localapi.Port) {
			st.Station, st.Contact, st.Rules.Name, p.Name, p.Class, p.ID = name, name, name, name, name, name
			st.Classes = []string{name}
			st.Staff = &localapi.SignIn{Name: name, Guest: name, Classes: []string{name, name + "2", name + "3"}, May: []string{"override", "sponsor", "install", "read-log", "administer"}}
			p.Found = []localapi.Found{{Check: "yara", Rule: name, Severity: "block", Count: 1}, {Check: name, Rule: name, Severity: name, Count: 1 << 63}}
			p.Reasons = []localapi.Reason{{Code: name, Text: name}}
			p.Refusal = &localapi.Reason{Code: name, Text: name}
			st.Ports = append(st.Ports, localapi.Port{ID: "1-3", Name: name + " ", State: localapi.Scanning}, localapi.Port{ID: "1-4", Name: name, State: localapi.Refused})
		})
		for page, place := range map[string]ui.Place{"not-cleared": ui.Here, "details": ui.Details, "office": ui.Office, "pack": ui.Pack, "doctor": ui.Doctor, "equipment": ui.Equipment} {
			out = append(out, Situation{page + "/" + how, st, ui.Look{Place: place, Voice: true, Port: name}})
		}
	}
	many := station(in(localapi.Decided), verdict("not cleared"), func(st *localapi.State, p *localapi.Port) {
		p.Found, p.Reasons = nil, nil
		for i := range 1000 { // more than a daemon tells
			p.Found = append(p.Found, localapi.Found{Check: "yara", Rule: fmt.Sprintf("Rule_%04d_%s", i, strings.Repeat("x", 100)), Severity: "block", Count: uint64(i)})
			p.Reasons = append(p.Reasons, localapi.Reason{Code: fmt.Sprintf("code-%d", i), Text: "Some sentence."})
		}
		for i := range 15 {
			st.Ports = append(st.Ports, localapi.Port{ID: fmt.Sprintf("2-%d", i), Name: fmt.Sprintf("socket %d", i), State: localapi.Scanning})
		}
		for i := range 40 {
			st.Problems = append(st.Problems, localapi.Problem{Code: fmt.Sprintf("source-%d", i), Text: "Some problem."}, localapi.Problem{Code: "?", Text: fmt.Sprintf("Problem %d.", i)})
		}
		jane(st, p)
	})
	out = append(out, Situation{"not-cleared/thousand", many, ui.Look{Port: "1-2"}}, Situation{"details/thousand", many, ui.Look{Place: ui.Details, Port: "1-2"}},
		Situation{"doctor/thousand", many, ui.Look{Place: ui.Doctor}})
	sessions := station(jane)
	look := ui.Look{Place: ui.Sessions}
	for i := range localapi.MaxSessions {
		s := history[i%len(history)]
		s.ID = fmt.Sprintf("%032x", i)
		look.History = append(look.History, s)
	}
	return append(out, Situation{"sessions/many", sessions, look})
}
