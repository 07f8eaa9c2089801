package ui

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"pratique/kiosk/localapi"
)

// Theme is a set of colours.
type Theme uint8

// The themes.
const (
	Light Theme = iota
	Dark
	Contrast // black, white and yellow
	ThemeEnd
)

// Loudness is what is heard.
type Loudness uint8

// What is heard: nothing is the last, since a kiosk that says nothing is a choice.
const (
	Tones  Loudness = iota // a short tone for each answer
	Spoken                 // the tone, and the answer is read aloud
	Silent
	loudnessEnd
)

// Place is what a person opened on top of what the station shows.
type Place string

// The places. The zero value is none: the page follows the medium.
const (
	Here      Place = ""
	Details   Place = "details"
	Settings  Place = "settings"
	SignIn    Place = "sign-in"
	Equipment Place = "equipment"
	Guest     Place = "guest"
	Overrule  Place = "override"
	Office    Place = "office"   // what a person may do besides
	Pack      Place = "pack"     // of the security team
	Sessions  Place = "sessions" // of the auditor
	Session   Place = "session"
	Doctor    Place = "doctor" // of the administrator
)

// The sizes of text, in percent.
var Sizes = []int{100, 130, 160, 200}

// Limits on what is typed: as many characters as the daemon takes.
const (
	maxPIN  = localapi.MaxPIN
	maxWord = 40
)

// Look is what the person in front of the screen chose and typed. None of it is a fact about a medium or a person. The zero value
// is English, light, at 100 percent.
type Look struct {
	Language Language
	Theme    Theme
	Percent  int
	Loud     Loudness
	Place    Place
	Part     int    // of a long page
	Port     string // that is looked at; the liveliest if it is empty
	Turn     string // session that Place, Class and the rest belong to
	Class    string // of the equipment that was chosen
	Number   string // of a person without a badge
	PIN      localapi.PIN
	InPIN    bool   // the keypad types the PIN, and not the number
	Order    string // of the digits on the keypad; in turn if it is empty
	Company  string
	Work     string // order
	InWork   bool
	Figures  bool // the keyboard shows digits
	Waiting  bool // for an answer
	Error    *localapi.Error
	History  []localapi.Session // that the auditor asked for
	Open     string             // the session that is looked at
	Told     string             // what the last request came to, as a key of the catalogue
	Printer  bool               // there is one
	Voice    bool               // something can speak
}

// What a Look can tell besides.
const (
	Printed    = "printed"
	NotPrinted = "not-printed"
)

// Act is what a touch does.
type Act string

// The acts. Those of the first group concern the window alone.
const (
	ActLanguage Act = "language"
	ActTheme    Act = "theme"
	ActText     Act = "text"
	ActLoud     Act = "loud"
	ActOpen     Act = "open"
	ActBack     Act = "back"
	ActPart     Act = "part"
	ActPort     Act = "port"
	ActType     Act = "type"
	ActErase    Act = "erase"
	ActShuffle  Act = "shuffle"
	ActFigures  Act = "figures"
	ActField    Act = "field"
	ActShow     Act = "show" // a session

	ActSpeak Act = "speak"
	ActPrint Act = "print"

	ActSignIn   Act = "sign-in"
	ActSignOut  Act = "sign-out"
	ActClass    Act = "class"
	ActEject    Act = "eject"
	ActGuest    Act = "guest"
	ActOverride Act = "override"
	ActInstall  Act = "install"
)

// Action is what a button does, as data.
type Action struct {
	Kind Act
	Arg  string
}

// Effect is what the program has to do after a touch: ask the station, or print, or speak. The zero value is nothing.
type Effect struct {
	Verb    localapi.Verb
	Port    string
	Class   string
	Number  string
	PIN     localapi.PIN
	Company string
	Order   string
	Reason  string
	Print   bool
	Speak   bool
}

// Do is the next look after a touch. A touch that makes no sense changes nothing.
func (l Look) Do(a Action, st *localapi.State, now time.Time) (Look, Effect) {
	l.Error, l.Told = nil, ""
	if a.Kind != ActPart {
		l.Part = 0
	}
	p := l.port(st)
	switch a.Kind {
	case ActLanguage:
		if lang, ok := ParseLanguage(a.Arg); ok {
			l.Language = lang
		}
	case ActTheme:
		if n, err := strconv.Atoi(a.Arg); err == nil && n >= 0 && n < int(ThemeEnd) {
			l.Theme = Theme(n)
		}
	case ActText:
		if n, err := strconv.Atoi(a.Arg); err == nil && slices.Contains(Sizes, n) {
			l.Percent = n
		}
	case ActLoud:
		if n, err := strconv.Atoi(a.Arg); err == nil && n >= 0 && n < int(loudnessEnd) {
			l.Loud = Loudness(n)
		}
	case ActPort:
		l = l.home()
		l.Port = a.Arg
	case ActPart:
		n, err := strconv.Atoi(a.Arg)
		l.Part = max(0, n)
		if err != nil {
			l.Part = 0
		}
	case ActBack:
		back := map[Place]Place{Session: Sessions, Sessions: Office, Pack: Office, Doctor: Office}[l.Place]
		l = l.home()
		l.Place = back
	case ActOpen:
		l.Place = Place(a.Arg)
		switch l.Place {
		case SignIn:
			l.Number, l.PIN, l.InPIN = "", "", false
		case Sessions:
			l.Waiting = true
			return l, Effect{Verb: localapi.VerbSessions}
		}
	case ActShow:
		l.Place, l.Open = Session, a.Arg
	case ActType, ActErase, ActField, ActFigures:
		l = l.typed(a)
	case ActShuffle:
		l.Order = shuffled(l.Order, now)
	case ActSpeak:
		return l, Effect{Speak: true}
	case ActPrint:
		return l, Effect{Print: true}
	default:
		return l.ask(a, st, p)
	}
	return l, Effect{}
}

// ask turns a touch into a request to the station.
func (l Look) ask(a Action, st *localapi.State, p *localapi.Port) (Look, Effect) {
	e := Effect{}
	if p != nil {
		e.Port = p.ID
	}
	switch a.Kind {
	case ActSignIn:
		badge := st != nil && st.Staff != nil && st.Staff.Badge
		if !l.InPIN && !badge {
			l.InPIN = l.Number != ""
			return l, Effect{}
		}
		if l.PIN == "" || l.Waiting {
			return l, Effect{}
		}
		e = Effect{Verb: localapi.VerbSignIn, Number: l.Number, PIN: l.PIN}
		l.PIN, l.Waiting = "", true
	case ActSignOut:
		l = l.home()
		l.Class = ""
		e = Effect{Verb: localapi.VerbSignOut}
	case ActClass:
		l.Class, l.Place = a.Arg, Here
		if p == nil {
			return l, Effect{}
		}
		e.Verb, e.Class = localapi.VerbIssue, a.Arg
	case ActEject:
		e.Verb = localapi.VerbEject
	case ActGuest:
		if l.Company == "" || l.Work == "" {
			l.InWork = l.Company != ""
			return l, Effect{}
		}
		e = Effect{Verb: localapi.VerbGuest, Company: l.Company, Order: l.Work}
		l.Waiting = true
	case ActOverride:
		if p == nil || !slices.Contains(localapi.OverrideReasons, a.Arg) {
			return l, Effect{}
		}
		e.Verb, e.Class, e.Reason = localapi.VerbOverride, p.Class, a.Arg
		if p.Override != nil {
			e.Class = p.Override.Class
		}
		l.Place = Here
	case ActInstall:
		e.Verb, l.Waiting = localapi.VerbInstall, true
	default:
		return l, Effect{}
	}
	if e.Verb == "" || (e.Port == "" && slices.Contains([]localapi.Verb{localapi.VerbIssue, localapi.VerbEject, localapi.VerbOverride, localapi.VerbInstall}, e.Verb)) {
		return l, Effect{}
	}
	return l, e
}

// typed puts a key into the field that is being typed in.
func (l Look) typed(a Action) Look {
	field := &l.Number
	limit := maxWord
	switch {
	case l.Place == Guest && l.InWork:
		field = &l.Work
	case l.Place == Guest:
		field = &l.Company
	case l.InPIN:
		field, limit = (*string)(&l.PIN), maxPIN
	}
	switch a.Kind {
	case ActErase:
		*field = (*field)[:max(0, len(*field)-1)] // only ASCII is typed
	case ActType:
		if len(a.Arg) == 1 && a.Arg[0] >= ' ' && a.Arg[0] <= '~' && len(*field) < limit {
			*field += a.Arg
		}
	case ActField:
		l.InWork = a.Arg == "work"
		l.InPIN = a.Arg == "pin"
	case ActFigures:
		l.Figures = !l.Figures
	}
	return l
}

// home forgets what was opened and typed.
func (l Look) home() Look {
	return Look{Language: l.Language, Theme: l.Theme, Percent: l.Percent, Loud: l.Loud, Port: l.Port, Turn: l.Turn, Class: l.Class, Printer: l.Printer,
		Voice: l.Voice}
}

// Follow is the look after the station said something new: what was opened for a medium that is gone is closed, and what somebody
// chose belongs to them alone.
func (l Look) Follow(old, st *localapi.State) Look {
	if st == nil {
		return l.home()
	}
	if signedIn(old) != signedIn(st) {
		if signedIn(st) == "" { // left, by their own wish or not
			at := l.Place
			l = l.home()
			l.Class = ""
			if at == Settings {
				l.Place = at
			}
		} else if l.Place == SignIn || l.Place == Guest {
			at := l.Place
			l = l.home()
			if p := l.port(st); (p == nil || p.State == localapi.Idle) && at == SignIn {
				l.Place = Office
			}
		}
	}
	p := l.port(st)
	turn := ""
	if p != nil && p.State != localapi.Idle {
		turn = p.ID + " " + p.Session
	}
	if turn != l.Turn {
		// The session gets its name a moment after the medium is in: that is no reason to close what somebody opened meanwhile.
		if !(strings.HasSuffix(l.Turn, " ") && strings.HasPrefix(turn, l.Turn)) && l.Place != SignIn && l.Place != Settings {
			l = l.home()
			l.Class = ""
		}
		l.Turn = turn
	}
	if p != nil && p.State == localapi.Idle {
		l.Port = ""
	}
	if st.Staff != nil && st.Staff.Badge && (old == nil || old.Staff == nil || !old.Staff.Badge) && signedIn(st) == "" {
		l = l.home()
		l.Place, l.InPIN = SignIn, true
	}
	return l
}

// Answered is the look after an answer of the station.
func (l Look) Answered(e Effect, err *localapi.Error) Look {
	l.Waiting, l.Error = false, err
	if err == nil {
		l.Told = map[localapi.Verb]string{localapi.VerbInstall: "pack.installed"}[e.Verb]
	}
	if e.Verb == localapi.VerbIssue && err != nil {
		l.Class = ""
	}
	return l
}

func signedIn(st *localapi.State) string {
	if st == nil || st.Staff == nil {
		return ""
	}
	if st.Staff.Sponsor {
		return "\x00" // somebody is here, and waits for the sponsor
	}
	return st.Staff.Name
}

// port is the one whose page is shown: what a person chose, else where most happens.
func (l Look) port(st *localapi.State) *localapi.Port {
	if st == nil {
		return nil
	}
	var best *localapi.Port
	for i := range st.Ports {
		p := &st.Ports[i]
		if p.ID == l.Port && p.State != localapi.Idle {
			return p
		}
		if best == nil || best.State == localapi.Idle && p.State != localapi.Idle || p.State != localapi.Idle && p.Since > best.Since {
			best = p
		}
	}
	return best
}

// shuffled is a new order of the ten digits, so that fingerprints and onlookers learn nothing from where a finger goes. It needs
// to be another one each time, not a secret.
func shuffled(order string, now time.Time) string {
	digits := []byte("1234567890")
	seed := uint64(now.UnixNano())
	for _, c := range order {
		seed = seed*31 + uint64(c)
	}
	for i := len(digits) - 1; i > 0; i-- {
		seed = seed*6364136223846793005 + 1442695040888963407 // Knuth, MMIX
		j := int(seed >> 33 % uint64(i+1))
		digits[i], digits[j] = digits[j], digits[i]
	}
	return string(digits)
}
