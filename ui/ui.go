// Package ui says what the kiosk's screen shows. It draws nothing: Screen is a pure function from what the station says and what
// the person in front of it chose to a Page, which package ui/draw lays out and paints, and Look.Do is one from a touch to the
// next Look and to what the station is asked.
//
// # What a person meets
//
// Each page has one icon, one word and one tone, so that nobody needs to see colours, read a sentence or hear a sound to know the
// answer. Then one sentence says what it means, and steps say what to do next and whom to call. What is technical comes last, on a
// page of its own. The check starts by itself; signing in and choosing the equipment happen while it runs.
//
// # What it trusts
//
// The daemon, for every fact: there is nothing on a page about a medium that is not in its State, and nothing in a Look that the
// daemon takes for a fact. The window may be killed at any moment; the next one shows the same page, less what somebody was typing.
// Names in a State come from the configuration, the roster and rule packs. They are shown as Shown makes them: control and
// direction characters, emoji and scripts that the screen cannot draw are escapes, and no name is longer than maxShown.
// No State holds a name from a medium, so no page does.
//
// # Languages
//
// The texts are in catalogue/, one file for each language, with the same keys in each (a test holds them against each other, and
// against the findings and reasons of the scanner). The toolkit lays text out from left to right only, so there is no language that
// is written the other way yet.
package ui

// Tone is what kind of answer a page is. Each has a colour of its own, an icon and a sound, and never a colour alone.
type Tone uint8

// The tones. The zero value is no answer.
const (
	Calm   Tone = iota // nothing to decide
	Good               // cleared
	Stop               // not cleared, or a device that was refused
	Unsure             // could not check
	Broken             // the kiosk itself failed, or is not ready
	Alarm              // let through although it was not cleared
	toneEnd
)

// Icon is the picture of a page or a button.
type Icon string

// The icons.
const (
	IconStick    Icon = "stick"
	IconCheck    Icon = "check"
	IconStop     Icon = "stop"
	IconQuestion Icon = "question"
	IconWrench   Icon = "wrench"
	IconWarning  Icon = "warning"
	IconEye      Icon = "eye"
	IconPerson   Icon = "person"
	IconDevice   Icon = "device"
	IconPull     Icon = "pull"
	IconPause    Icon = "pause"
	IconBook     Icon = "book"
	IconGear     Icon = "gear"
	IconPrinter  Icon = "printer"
	IconSpeaker  Icon = "speaker"
	IconNone     Icon = ""
)

// Page is everything that is on the screen at one moment.
type Page struct {
	Name    string // a fixed word, for tests, sounds and measurements
	Tone    Tone
	Icon    Icon
	Title   string
	Lead    string
	Body    []Block  // beside or below the title
	Side    []Block  // the other column
	Buttons []Button // at the bottom; the first is what most people want
	Bar     []Button // at the top
	Station string   // its name, at the top
	Note    string   // one line under everything, such as that this is a demonstration
	Speech  string   // what is read aloud on request
	Dense   bool     // the pages with keys: the title is a line, the rest is for the keys
}

// Kind is what a Block is.
type Kind uint8

// The kinds of blocks.
const (
	Text    Kind = iota // Lines are paragraphs
	Heading             // Lines[0] is one
	Steps               // Lines are numbered
	Points              // Lines are a list; Marks, if there are any, say how bad each is
	Bar                 // Share of it is full; Lines[0] says so in words
	Code                // a QR code of Digits, and Lines below it
	Keys                // rows of keys
	Choices             // large buttons, one below the other or in columns
	Facts               // Lines are pairs: what, and how it is
	Field               // Lines are what is asked for, and what was typed
	Mono                // Lines in a fixed width, for people who compare characters
	Scene               // Icons in a row
)

// Block is one part of a page.
type Block struct {
	Kind   Kind
	Lines  []string
	Marks  []Mark
	Share  float64
	Digits string
	Rows   [][]Button // of Keys; Choices use the first
	Icons  []Icon

	Optional bool // it is left out where there is too little room
}

// Mark says how bad a point is, as a shape and not by colour alone.
type Mark uint8

// The marks.
const (
	Dot Mark = iota
	Bad
	Careful
	Fine
)

// Button is something that can be touched. Two buttons of a page never have the same action.
type Button struct {
	Text    string
	Icon    Icon
	Do      Action
	Primary bool // what most people want
	Chosen  bool // it is what holds now
	Quiet   bool // less important than the others
}

// Name tells a button apart from the others, from one page to the next: a finger that is down when the page is drawn anew
// touches the same button.
func (b Button) Name() string { return string(b.Do.Kind) + " " + b.Do.Arg }
