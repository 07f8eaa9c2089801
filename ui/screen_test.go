package ui_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pratique/kiosk/localapi"
	"pratique/ui"
	"pratique/ui/samples"
)

func TestEachSituationLeadsToItsPage(t *testing.T) {
	for _, s := range samples.All() {
		p := ui.Screen(s.State, s.Look, samples.Now)
		if p.Name != s.Page() {
			t.Errorf("%s leads to the page %s", s.Name, p.Name)
		}
		if p.Title == "" || p.Icon == ui.IconNone {
			t.Errorf("%s has no title or no icon", s.Name)
		}
		if again := ui.Screen(s.State, s.Look, samples.Now); !reflect.DeepEqual(p, again) {
			t.Errorf("%s is another page the second time", s.Name)
		}
	}
}

// A colour is never the only thing that tells two answers apart.
func TestEachToneHasItsOwnIconAndWord(t *testing.T) {
	icons, words := map[ui.Icon]ui.Tone{}, map[string]ui.Tone{}
	for _, s := range samples.All() {
		p := ui.Screen(s.State, s.Look, samples.Now)
		if tone, there := icons[p.Icon]; there && tone != p.Tone && p.Icon != ui.IconWrench {
			t.Errorf("%s: the icon %s stands for two tones", s.Name, p.Icon)
		}
		if tone, there := words[p.Title]; there && tone != p.Tone {
			t.Errorf("%s: the title %q stands for two tones", s.Name, p.Title)
		}
		icons[p.Icon], words[p.Title] = p.Tone, p.Tone
	}
}

// Only a port that the daemon says has a clearance shows one, whatever else the state says.
func TestNothingButAnIssuedClearanceLooksCleared(t *testing.T) {
	states := []string{localapi.Idle, localapi.Attached, localapi.Scanning, localapi.Waiting, localapi.Decided, localapi.Issuing, localapi.Leaving, localapi.Removed,
		localapi.Refused, localapi.Fault, "", "cleared", "something new"}
	for _, state := range states {
		for _, verdict := range []string{"", "cleared", "not cleared", "could not check", "CLEARED"} {
			for _, class := range []string{"", "imaging"} {
				st := &localapi.State{Ready: true, Classes: []string{"imaging"}, Ports: []localapi.Port{{ID: "1", State: state, Verdict: verdict, Class: class,
					Clearance: &localapi.Clearance{QR: samples.Digits, Class: "imaging"}}}}
				for _, place := range []ui.Place{ui.Here, ui.Details, ui.Equipment, ui.SignIn, ui.Office} {
					p := ui.Screen(st, ui.Look{Place: place, Class: class}, samples.Now)
					if p.Tone == ui.Good || slices.ContainsFunc(p.Side, func(b ui.Block) bool { return b.Kind == ui.Code }) {
						t.Errorf("a port that is %q with the verdict %q looks cleared", state, verdict)
					}
				}
			}
		}
	}
	st := &localapi.State{Ready: true, Ports: []localapi.Port{{ID: "1", State: localapi.Issued, Verdict: "cleared"}}}
	if p := ui.Screen(st, ui.Look{}, samples.Now); p.Tone != ui.Broken {
		t.Errorf("an issued port without a clearance is shown as %s", p.Name)
	}
}

// An override is red, with words of its own: nobody takes it for a clearance.
func TestAnOverrideNeverLooksLikeAClearance(t *testing.T) {
	for _, s := range samples.All() {
		if s.Name != "override" {
			continue
		}
		for _, l := range ui.Languages() {
			s.Look.Language = l
			p := ui.Screen(s.State, s.Look, samples.Now)
			good := l.Say("cleared.title")
			if p.Tone != ui.Alarm || p.Title == good || p.Icon == ui.IconCheck {
				t.Errorf("%s: the page of an override looks like that of a clearance: %q", l.Code(), p.Title)
			}
		}
	}
}

func TestT09_NamesOnTheScreenCannotDeceive(t *testing.T) {
	texts := func(p ui.Page) (out []string) {
		out = append(out, p.Title, p.Lead, p.Station, p.Note, p.Speech)
		for _, b := range append(slices.Clone(p.Body), p.Side...) {
			out = append(out, b.Lines...)
			for _, row := range b.Rows {
				for _, button := range row {
					out = append(out, button.Text)
				}
			}
		}
		for _, b := range append(slices.Clone(p.Buttons), p.Bar...) {
			out = append(out, b.Text)
		}
		return out
	}
	for _, s := range samples.Bad() {
		for _, text := range texts(ui.Screen(s.State, s.Look, samples.Now)) {
			if !utf8.ValidString(text) {
				t.Errorf("%s shows bytes that are no text: %q", s.Name, text)
			}
			for _, r := range text {
				if unicode.Is(unicode.Bidi_Control, r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsMark(r) || unicode.In(r, unicode.Arabic, unicode.Han, unicode.So) && r != '␣' && r != '⌫' {
					t.Errorf("%s shows %U: %q", s.Name, r, text)
				}
			}
		}
	}
	for name, want := range map[string]string{"photo\u202Egpj.exe": `photo\u{202e}gpj.exe`, "a\nb": `a\u{a}b`, "<b>": "<b>", `a\u{202e}`: `a\\u{202e}`, "\xff": `\xff`, "Müller–Łódź": "Müller–Łódź", "é": "é", "e\u0301": `e\u{301}`} {
		if got := ui.Shown(name); got != want {
			t.Errorf("%q is shown as %s, want %s", name, got, want)
		}
	}
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"", "a", "\u202E", "\xff", strings.Repeat("W", 300), `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := ui.Shown(name)
		if n := utf8.RuneCountInString(got); n > 81 || !utf8.ValidString(got) {
			t.Errorf("%q is shown with %d characters", name, n)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Errorf("%q is shown with %U", name, r)
			}
		}
	})
}

// follow plays a screen: it touches what the page has, and nothing else.
type follow struct {
	t    *testing.T
	look ui.Look
	st   *localapi.State
	now  time.Time
	did  []ui.Effect
}

func (f *follow) touch(a ui.Action) ui.Effect {
	f.t.Helper()
	p := ui.Screen(f.st, f.look, f.now)
	if !slices.ContainsFunc(buttons(p), func(b ui.Button) bool { return b.Do == a }) {
		f.t.Fatalf("the page %s has nothing that does %v", p.Name, a)
	}
	look, effect := f.look.Do(a, f.st, f.now)
	f.look = look
	if effect.Verb != "" {
		f.did = append(f.did, effect)
	}
	return effect
}

func (f *follow) says(change func(*localapi.State, *localapi.Port)) ui.Page {
	next := *f.st
	next.Ports = slices.Clone(f.st.Ports)
	change(&next, &next.Ports[0])
	f.look = f.look.Follow(f.st, &next)
	f.st = &next
	return ui.Screen(f.st, f.look, f.now)
}

func buttons(p ui.Page) (out []ui.Button) {
	out = append(append(out, p.Buttons...), p.Bar...)
	for _, b := range append(slices.Clone(p.Body), p.Side...) {
		for _, row := range b.Rows {
			out = append(out, row...)
		}
	}
	return out
}

func start(t *testing.T) *follow {
	return &follow{t: t, now: samples.Now, st: &localapi.State{Version: 1, Ready: true, Classes: []string{"general", "imaging"}, Staff: &localapi.SignIn{},
		Ports: []localapi.Port{{ID: "1-2", State: localapi.Idle}}}}
}

// With a badge there are three kinds of touches from the stick to the answer: the PIN's, OK, and the equipment.
func TestFromTheStickToTheAnswerThereAreFewTouches(t *testing.T) {
	f := start(t)
	f.says(func(_ *localapi.State, p *localapi.Port) { p.State, p.Session = localapi.Scanning, "s1" })
	if p := f.says(func(st *localapi.State, _ *localapi.Port) { st.Staff = &localapi.SignIn{Badge: true} }); p.Name != "sign-in" {
		t.Fatalf("a badge leads to %s", p.Name)
	}
	for _, d := range "1234" {
		f.touch(ui.Action{Kind: ui.ActType, Arg: string(d)})
	}
	if e := f.touch(ui.Action{Kind: ui.ActSignIn}); e.Verb != localapi.VerbSignIn || e.PIN != "1234" || e.Number != "" {
		t.Fatalf("OK asks for %+v", e)
	}
	f.look = f.look.Answered(ui.Effect{Verb: localapi.VerbSignIn}, nil)
	p := f.says(func(st *localapi.State, _ *localapi.Port) {
		st.Staff = &localapi.SignIn{Name: "Jane Doe", Classes: []string{"imaging"}}
	})
	if p.Name != "scanning" {
		t.Fatalf("who is signed in sees %s", p.Name)
	}
	if e := f.touch(ui.Action{Kind: ui.ActClass, Arg: "imaging"}); e.Verb != localapi.VerbIssue || e.Port != "1-2" || e.Class != "imaging" {
		t.Fatalf("the choice of equipment asks for %+v", e)
	}
	p = f.says(func(_ *localapi.State, p *localapi.Port) {
		p.State, p.Clearance, p.Class = localapi.Issued, &localapi.Clearance{QR: samples.Digits, Class: "imaging"}, "imaging"
	})
	if p.Name != "cleared" || len(f.did) != 2 {
		t.Errorf("the answer is %s after %d requests", p.Name, len(f.did))
	}
}

// What one person typed and chose is gone when the medium is, or the person.
func TestT18_NothingOfAPersonStaysOnTheScreen(t *testing.T) {
	for name, end := range map[string]func(*localapi.State, *localapi.Port){
		"the medium is pulled": func(_ *localapi.State, p *localapi.Port) { p.State, p.Session = localapi.Idle, "" },
		"another medium":       func(_ *localapi.State, p *localapi.Port) { p.Session = "s2" },
		"signed out":           func(st *localapi.State, _ *localapi.Port) { st.Staff = &localapi.SignIn{} },
		"somebody else":        func(st *localapi.State, _ *localapi.Port) { st.Staff = &localapi.SignIn{} },
	} {
		f := start(t)
		f.says(func(_ *localapi.State, p *localapi.Port) { p.State, p.Session = localapi.Scanning, "s1" })
		f.says(func(st *localapi.State, _ *localapi.Port) {
			st.Staff = &localapi.SignIn{Name: "Jane Doe", Classes: []string{"imaging"}, May: []string{"sponsor"}}
		})
		f.touch(ui.Action{Kind: ui.ActClass, Arg: "imaging"})
		f.look.Place, f.look.Company, f.look.Work = ui.Guest, "EXAMPLE", "1"
		f.says(end)
		if l := f.look; l.Class != "" || l.Company != "" || l.Work != "" || l.PIN != "" || l.Number != "" || l.Place != ui.Here {
			t.Errorf("after %q the screen still has %+v", name, l)
		}
	}
	f := start(t)
	f.look = ui.Look{Place: ui.SignIn, InPIN: true, PIN: "1234", Number: "7", Language: ui.German}
	f.look = f.look.Follow(f.st, nil)
	if f.look.PIN != "" || f.look.Number != "" || f.look.Language != ui.German {
		t.Errorf("with the daemon gone the screen still has %+v", f.look)
	}
}

func TestKeysTypeIntoTheirFieldAndNoFurther(t *testing.T) {
	f := start(t)
	f.touch(ui.Action{Kind: ui.ActOpen, Arg: string(ui.SignIn)})
	f.touch(ui.Action{Kind: ui.ActSignIn}) // without a number: nothing
	for range 60 {
		f.touch(ui.Action{Kind: ui.ActType, Arg: "7"})
	}
	if len(f.look.Number) > 64 || len(f.look.Number) < 8 {
		t.Errorf("a number of %d digits is taken", len(f.look.Number))
	}
	f.touch(ui.Action{Kind: ui.ActErase})
	f.touch(ui.Action{Kind: ui.ActSignIn})
	for range 60 {
		f.touch(ui.Action{Kind: ui.ActType, Arg: "1"})
	}
	if len(f.look.PIN) != localapi.MaxPIN {
		t.Errorf("a PIN of %d digits is taken", len(f.look.PIN))
	}
	order := f.look.Order
	for range 5 {
		f.touch(ui.Action{Kind: ui.ActShuffle})
		digits := []byte(f.look.Order)
		slices.Sort(digits)
		if string(digits) != "0123456789" || f.look.Order == order {
			t.Errorf("the keys are %q after %q", f.look.Order, order)
		}
		order = f.look.Order
	}
	for _, page := range []ui.Page{ui.Screen(f.st, f.look, f.now)} {
		for _, b := range page.Body {
			if slices.ContainsFunc(b.Lines, func(l string) bool { return strings.Contains(l, "111") }) {
				t.Error("the PIN can be read")
			}
		}
	}
	for _, bad := range []ui.Action{{Kind: ui.ActType, Arg: "\u202E"}, {Kind: ui.ActType, Arg: "12"}, {Kind: ui.ActType}, {Kind: "?"}, {Kind: ui.ActTheme, Arg: "-1"}, {Kind: ui.ActText, Arg: "9999"},
		{Kind: ui.ActLanguage, Arg: "xx"}, {Kind: ui.ActPart, Arg: "x"}, {Kind: ui.ActOverride, Arg: "because"}} {
		if look, e := f.look.Do(bad, f.st, f.now); !reflect.DeepEqual(look, f.look) || e != (ui.Effect{}) {
			t.Errorf("%v changes something", bad)
		}
	}
}

func TestTheLanguageIsOneTouchAway(t *testing.T) {
	for _, l := range ui.Languages() {
		f := start(t)
		f.touch(ui.Action{Kind: ui.ActLanguage, Arg: l.Code()})
		if got := ui.Screen(f.st, f.look, f.now).Title; got != l.Say("waiting.title") {
			t.Errorf("%s: the first page says %q", l.Code(), got)
		}
	}
}

// No page has two buttons that do the same: a finger that is down while the page changes touches what it meant.
func TestButtonsOfAPageAreDifferent(t *testing.T) {
	for _, s := range samples.All() {
		seen := map[string]bool{}
		for _, b := range buttons(ui.Screen(s.State, s.Look, samples.Now)) {
			if seen[b.Name()] {
				t.Errorf("%s has two buttons for %s", s.Name, b.Name())
			}
			seen[b.Name()] = true
		}
	}
}

// A person may leave every page that they opened.
func TestEveryPageThatIsOpenedCanBeLeft(t *testing.T) {
	for _, s := range samples.All() {
		if s.Look.Place == ui.Here {
			continue
		}
		look := s.Look
		for range 4 {
			p := ui.Screen(s.State, look, samples.Now)
			if p.Name == "waiting" || look.Place == ui.Here {
				break
			}
			look, _ = look.Do(ui.Action{Kind: ui.ActBack}, s.State, samples.Now)
		}
		if look.Place != ui.Here {
			t.Errorf("%s cannot be left", s.Name)
		}
	}
}
