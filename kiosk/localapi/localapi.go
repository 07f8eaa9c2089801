// Package localapi is how programs on the station talk to its daemon: the screen, the command line and nothing else.
//
// # The channel
//
// The daemon listens on one Unix stream socket. Both sides send messages of package frame: a 4-byte big-endian length, then
// one map of deterministic CBOR with integer keys, as the field tags below give them. A client sends a Request, which has at
// most 2,048 bytes:
//
//	{1: id, 2: verb, 3: port, 4: class, 5: max, 6: path, 7: number, 8: pin, 9: company, 10: order, 11: reason, 12: disclose,
//	 13: since, 14: search, 20: exception, 21: except}
//
// where id is the client's own number and what a verb does not need is left out. The daemon answers each request in order
// with one Reply that carries its id, and one field that says what came of it:
//
//	status     the State
//	subscribe  the State at once, and again whenever it has changed, ten times a second at most, until the client hangs up
//	sessions   the latest sessions of the log, newest first, max of them
//	export     an Export's bytes in order, as the Data of as many replies as it takes, and a last one with Exported. There is one
//	           export at a time
//	issue      an Answer: the verdict on the medium in port for class and, if it is cleared, the clearance. It comes once
//	           the scan is over. A person who may not clear media for the class gets an error, and the log an entry
//	eject      an empty Reply, once the medium's session is over
//	install    the rule pack of the repository in the folder path, or on the medium in port, is in force, and a Pack says which
//	           it is; else an error says at which gate it was refused. A medium is screened first, and its session ends
//	exceptions, except, confirm-exception, remove-exception  Exceptions (exception.go)
//	end-incident  Over: whether the incident has ended, which takes two people who ask for it
//	begin-incident  an empty Reply, once the station issues nothing more; clearances from since on are in doubt
//	override   an Answer: two people let a medium through in port for class although it was not cleared, for a reason of
//	           OverrideReasons. The first of them gets an Answer that is Pending, the second one the clearance
//	sign-in    a SignIn: who has this number, or the badge that was held to the reader, and this pin, is signed in
//	sign-out   an empty Reply: nobody is signed in
//	stay       an empty Reply: whoever is signed in is still there
//	search     Found: what the log has of a Search, newest first, as JSON; what does not fit into a Reply is left out, and More
//	           says so
//	disclose   an empty Reply when the first of two persons has asked for the names of a session, and Names, as JSON, for the
//	           second; more names than fit into a Reply are left out, and it says how many
//	accept-clock  an empty Reply: an administrator says that the station's clock is right
//	guest      a SignIn: the sponsor who is signed in answers for a guest of company, who is here for work order
//
// A person is signed in on the screen as long as the connection lasts that signed them in, until a medium is removed or
// nothing was touched for a while. What the screen asks for then, on whatever connection, it asks for on that person's
// behalf. The screen sends "stay" when somebody touches it and nothing else comes of that.
//
// A Reply with an Error says in a fixed word and a sentence what did not work. A client that breaks these rules gets one
// last error, if it listens, and is cut off. A complete request, "status" with the id 1:
//
//	00 00 00 0b                       11 bytes
//	a2 01 01  02 66 73 74 61 74 75 73 {1: 1, 2: "status"}
//
// # Who may do what
//
// The kernel says who the client is (SO_PEERCRED, SO_PEERGROUPS: the credentials at the time of connect); nothing that the
// client says of itself counts. From the user and the groups follow Roles, and from the roles the verbs (see allowed); who
// has no role is cut off before its first request is read.
//
// # Trust and limits
//
// A client may be an attacker with a user's rights. Nothing about a verdict is ever taken from one: there is no field for
// it. No message holds a file's name, a label or anything else that is stored on a medium. Memory for a client is bounded
// by the size of a request and one State; connections are bounded in all and for each user; requests are bounded by the
// second. A client that does not read is cut off after five seconds and never holds up the daemon, which hands out the
// latest State and keeps no queue.
package localapi

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits on what the two sides send.
const (
	maxRequest = 2 << 10 // bytes; a request is a few words, at most a few names of rules
	maxWord    = 64      // a verb, a port's id, a class
	maxPath    = 768     // a folder's; the rest of a request is a few words
	// MaxPorts bounds the ports of a station, those of hubs and of other sources too, so that a State fits into one message.
	// It is the one number for that: the configuration allows no more (package config), and a station shows no more.
	MaxPorts = 32
	// MaxReasons bounds the reasons of a port that are shown. They come worst first.
	MaxReasons = 16
	// MaxSessions bounds the sessions of one reply.
	MaxSessions = 200
	// MaxFound bounds the kinds of findings of a port that are told. They come worst first.
	MaxFound = 64
	// MaxPIN bounds a PIN, in digits.
	MaxPIN = 12
)

// OverrideReasons are the words for why two people let a medium through that was not cleared.
var OverrideReasons = []string{"patient-emergency", "equipment-down", "false-positive", "drill"}

// TimeFormat is how times are written: RFC 3339 in whole seconds, UTC.
const TimeFormat = "2006-01-02T15:04:05Z"

// Time writes a time as messages do.
func Time(t time.Time) string { return t.UTC().Format(TimeFormat) }

// State is everything that a screen shows.
type State struct {
	Version  int       `cbor:"1,keyasint" json:"version"` // 1
	Station  string    `cbor:"2,keyasint" json:"station"`
	Ready    bool      `cbor:"3,keyasint" json:"ready"` // false: nothing is cleared, and Problems says why
	Problems []Problem `cbor:"4,keyasint" json:"problems"`
	Rules    Rules     `cbor:"5,keyasint" json:"rules"`
	Classes  []string  `cbor:"6,keyasint" json:"classes"` // equipment classes that a clearance can be for
	Demo     bool      `cbor:"7,keyasint" json:"demo"`    // clearances are signed with a demonstration key
	Ports    []Port    `cbor:"8,keyasint" json:"ports"`
	Staff    *SignIn   `cbor:"9,keyasint,omitempty" json:"staff,omitempty"`    // who is at the screen, which alone is told
	Contact  string    `cbor:"10,keyasint,omitempty" json:"contact,omitempty"` // whom to call, as the configuration has it
}

// SignIn is who is signed in on the screen. Without a Name nobody is.
type SignIn struct {
	Badge   bool     `cbor:"1,keyasint,omitempty" json:"badge,omitempty"` // one was held to the reader: its PIN comes next
	Name    string   `cbor:"2,keyasint,omitempty" json:"name,omitempty"`
	Sponsor bool     `cbor:"3,keyasint,omitempty" json:"sponsor,omitempty"` // a guest, who may do nothing before the sponsor signs in too
	Guest   string   `cbor:"4,keyasint,omitempty" json:"guest,omitempty"`   // the company of a guest
	Classes []string `cbor:"5,keyasint,omitempty" json:"classes,omitempty"` // of equipment, that media may be cleared for
	May     []string `cbor:"6,keyasint,omitempty" json:"may,omitempty"`     // whatever else, in words of the roster
	Until   string   `cbor:"7,keyasint,omitempty" json:"until,omitempty"`   // signed out then, unless something is touched
	Wait    string   `cbor:"8,keyasint,omitempty" json:"wait,omitempty"`    // no PIN is looked at before this time
}

// Problem is something that a person should see to. It does not always keep the station from working.
type Problem struct {
	Code string `cbor:"1,keyasint" json:"code"`
	Text string `cbor:"2,keyasint" json:"text"`
}

// Rules is the rule pack in force.
type Rules struct {
	Name    string `cbor:"1,keyasint" json:"name"`
	Version uint64 `cbor:"2,keyasint" json:"version"`
}

// The states of a port. The zero value is none of them.
const (
	Idle     = "idle"     // nothing is plugged in
	Attached = "attached" // a medium is being opened
	Scanning = "scanning" // it is being read
	Waiting  = "waiting"  // the scan is over; a person may ask for a clearance
	Decided  = "decided"  // the medium gets no clearance in this session
	Issuing  = "issuing"  // a clearance is being signed
	Issued   = "issued"   // it has one
	// Installing: a rule pack is being read from the medium and tried.
	Installing = "installing"
	Leaving    = "leaving" // the session is being closed
	Removed    = "removed" // the session is over; take the medium out
	Refused    = "refused" // the device was not let in
	Fault      = "fault"   // the kiosk failed
)

// Port is one place where a medium can be plugged in, and what is in it.
type Port struct {
	ID        string     `cbor:"1,keyasint" json:"id"`
	Name      string     `cbor:"2,keyasint" json:"name"` // as the configuration calls it
	State     string     `cbor:"3,keyasint" json:"state"`
	Since     string     `cbor:"4,keyasint,omitempty" json:"since,omitempty"` // when it came into this state
	Session   string     `cbor:"5,keyasint,omitempty" json:"session,omitempty"`
	Medium    *Medium    `cbor:"6,keyasint,omitempty" json:"medium,omitempty"`
	Progress  *Progress  `cbor:"7,keyasint,omitempty" json:"progress,omitempty"`
	Class     string     `cbor:"8,keyasint,omitempty" json:"class,omitempty"` // that the verdict is for
	Verdict   string     `cbor:"9,keyasint,omitempty" json:"verdict,omitempty"`
	Reasons   []Reason   `cbor:"10,keyasint,omitempty" json:"reasons,omitempty"`
	Findings  *Findings  `cbor:"11,keyasint,omitempty" json:"findings,omitempty"`
	Clearance *Clearance `cbor:"12,keyasint,omitempty" json:"clearance,omitempty"`
	Refusal   *Reason    `cbor:"13,keyasint,omitempty" json:"refusal,omitempty"` // of a device or a rule pack that was refused, or why the kiosk failed
	Override  *Override  `cbor:"14,keyasint,omitempty" json:"override,omitempty"`
	Pack      *Pack      `cbor:"15,keyasint,omitempty" json:"pack,omitempty"`  // that came from the medium and is in force
	Found     []Found    `cbor:"16,keyasint,omitempty" json:"found,omitempty"` // what Findings counts, by kind, worst first
}

// Override is asked for by one person, and waits for another to confirm it.
type Override struct {
	Class  string `cbor:"1,keyasint" json:"class"`
	Reason string `cbor:"2,keyasint" json:"reason"` // of OverrideReasons
	Until  string `cbor:"3,keyasint" json:"until"`  // forgotten then
}

// Medium is what is known of a medium without reading it.
type Medium struct {
	Kind   string `cbor:"1,keyasint" json:"kind"` // image, block or usb
	Bytes  int64  `cbor:"2,keyasint" json:"bytes"`
	Units  int    `cbor:"3,keyasint" json:"units"`
	Vacant int    `cbor:"4,keyasint" json:"vacant"` // units without a medium
	VID    uint16 `cbor:"5,keyasint,omitempty" json:"vid,omitempty"`
	PID    uint16 `cbor:"6,keyasint,omitempty" json:"pid,omitempty"`
}

// Progress is how far a scan is. Total is a guess that may grow, and so is Left.
type Progress struct {
	Read    int64  `cbor:"1,keyasint" json:"read"`
	Total   int64  `cbor:"2,keyasint" json:"total"`
	Files   uint64 `cbor:"3,keyasint" json:"files"`
	Seconds int64  `cbor:"4,keyasint" json:"seconds"` // since the scan began
	Left    int64  `cbor:"5,keyasint" json:"left"`    // seconds to go, -1 while nobody can know
}

// Reason is one thing that stood in the way: a fixed word and a sentence. It holds no name from a medium.
type Reason struct {
	Code string `cbor:"1,keyasint" json:"code"`
	Text string `cbor:"2,keyasint" json:"text"`
}

// Findings counts findings by severity, under the policy of the verdict's class.
type Findings struct {
	Block  uint64 `cbor:"1,keyasint" json:"block"`
	Warn   uint64 `cbor:"2,keyasint" json:"warn"`
	Inform uint64 `cbor:"3,keyasint" json:"inform"`
	// Excepted are those of Inform that would block but for an exception.
	Excepted uint64 `cbor:"4,keyasint,omitempty" json:"excepted,omitempty"`
}

// Found is one kind of finding, and how often there is one. A rule's name is the pack's, never the medium's.
type Found struct {
	Check    string `cbor:"1,keyasint" json:"check"`
	Rule     string `cbor:"2,keyasint" json:"rule"`
	Severity string `cbor:"3,keyasint" json:"severity"` // under the policy of the verdict's class
	Count    uint64 `cbor:"4,keyasint" json:"count"`
}

// Clearance is an issued clearance.
type Clearance struct {
	ID       string `cbor:"1,keyasint" json:"id"`
	Code     string `cbor:"2,keyasint" json:"code"` // to look it up by
	Class    string `cbor:"3,keyasint" json:"class"`
	QR       string `cbor:"4,keyasint" json:"qr"` // digits
	Expires  string `cbor:"5,keyasint" json:"expires"`
	LogIndex uint64 `cbor:"6,keyasint" json:"log_index"`
	Override string `cbor:"7,keyasint,omitempty" json:"override,omitempty"` // RED: two people let it through, for this reason
	LogHead  string `cbor:"8,keyasint,omitempty" json:"log_head,omitempty"` // its size, and the first half of its root in hex
}

// Answer is what became of a request for a clearance.
type Answer struct {
	Port      string     `cbor:"1,keyasint" json:"port"`
	Session   string     `cbor:"2,keyasint" json:"session"`
	Class     string     `cbor:"3,keyasint" json:"class"`
	Verdict   string     `cbor:"4,keyasint" json:"verdict"`
	Reasons   []Reason   `cbor:"5,keyasint" json:"reasons"`
	Findings  Findings   `cbor:"6,keyasint" json:"findings"`
	Clearance *Clearance `cbor:"7,keyasint,omitempty" json:"clearance"`
	Pending   bool       `cbor:"8,keyasint,omitempty" json:"pending,omitempty"` // an override that a second person must confirm
}

// Session is a session as the log tells it.
type Session struct {
	ID       string    `cbor:"1,keyasint" json:"id"`
	Port     string    `cbor:"2,keyasint,omitempty" json:"port,omitempty"`
	Medium   Medium    `cbor:"3,keyasint" json:"medium"`
	Attached string    `cbor:"4,keyasint" json:"attached"`
	Verdicts []Verdict `cbor:"5,keyasint" json:"verdicts"` // one for each class that was asked for
	Code     string    `cbor:"6,keyasint,omitempty" json:"code,omitempty"`
	End      string    `cbor:"7,keyasint" json:"end"` // the kind of its last entry
	Ended    string    `cbor:"8,keyasint" json:"ended"`
}

// Verdict is one decision.
type Verdict struct {
	Class   string   `cbor:"1,keyasint" json:"class"`
	Verdict string   `cbor:"2,keyasint" json:"verdict"`
	Reasons []string `cbor:"3,keyasint,omitempty" json:"reasons,omitempty"` // codes
}

// Verb is what a client asks for.
type Verb string

// The verbs.
const (
	VerbStatus    Verb = "status"
	VerbSubscribe Verb = "subscribe"
	VerbSessions  Verb = "sessions"
	VerbExport    Verb = "export"
	VerbIssue     Verb = "issue"
	VerbEject     Verb = "eject"
	VerbInstall   Verb = "install"
	VerbBegin     Verb = "begin-incident"
	VerbEnd       Verb = "end-incident"
	VerbOverride  Verb = "override"
	VerbSignIn    Verb = "sign-in"
	VerbSignOut   Verb = "sign-out"
	VerbStay      Verb = "stay"
	VerbGuest     Verb = "guest"
	VerbDisclose  Verb = "disclose"
	VerbClock     Verb = "accept-clock"
	VerbSearch    Verb = "search"
)

// PIN is one in transit. Nothing prints it.
type PIN string

// String keeps it out of journals, whatever verb it is formatted with.
func (PIN) String() string { return "(a PIN)" }

// GoString is String for %#v.
func (p PIN) GoString() string { return p.String() }

// Request is one message of a client.
type Request struct {
	ID      uint64 `cbor:"1,keyasint"`
	Verb    Verb   `cbor:"2,keyasint"`
	Port    string `cbor:"3,keyasint,omitempty"`
	Class   string `cbor:"4,keyasint,omitempty"`
	Max     int    `cbor:"5,keyasint,omitempty"`
	Path    string `cbor:"6,keyasint,omitempty"`
	Number  string `cbor:"7,keyasint,omitempty"` // of a person; none for the badge that was held to the reader
	PIN     PIN    `cbor:"8,keyasint,omitempty"`
	Company string `cbor:"9,keyasint,omitempty"`
	Order   string `cbor:"10,keyasint,omitempty"`
	Reason  string `cbor:"11,keyasint,omitempty"` // of OverrideReasons, or a word for an incident

	Export    *Export   `cbor:"30,keyasint,omitempty"`
	Disclose  *Disclose `cbor:"12,keyasint,omitempty"`
	Since     string    `cbor:"13,keyasint,omitempty"` // a time
	Search    *Search   `cbor:"14,keyasint,omitempty"`
	Exception string    `cbor:"20,keyasint,omitempty"` // its name
	Except    *Except   `cbor:"21,keyasint,omitempty"`
}

// Search says what somebody looks for in the log, in the words of the command line. What is empty is not asked for.
type Search struct {
	Session  string `cbor:"1,keyasint,omitempty"` // this session alone; the rest is not used
	Since    string `cbor:"2,keyasint,omitempty"`
	Until    string `cbor:"3,keyasint,omitempty"`
	Verdict  string `cbor:"4,keyasint,omitempty"`
	Class    string `cbor:"5,keyasint,omitempty"`
	Operator string `cbor:"6,keyasint,omitempty"` // a person, or a pseudonym in hex
	Rule     string `cbor:"7,keyasint,omitempty"`
	Pack     string `cbor:"8,keyasint,omitempty"`
	SHA256   string `cbor:"9,keyasint,omitempty"` // hex
	Kind     string `cbor:"10,keyasint,omitempty"`
	Max      int    `cbor:"11,keyasint,omitempty"`
}

// Disclose says whose names somebody asks for.
type Disclose struct {
	Session string `cbor:"1,keyasint,omitempty"` // by its id, the first digits of it, or a short code
	Entry   int64  `cbor:"2,keyasint"`           // -1 if it is a session
	Reason  string `cbor:"3,keyasint"`           // a word
}

// MaxNames bounds the JSON of a disclosure and of a search, so that it fits into one message.
const MaxNames = 192 << 10

// fields are what a verb takes, a letter each: port, class, max, (f)older's path, number, (s)ecret, c(o)mpany, (w)ork order,
// reason, since (t). What is a capital may be left out.
var fields = map[Verb]string{
	VerbExport: "",

	VerbStatus: "", VerbSubscribe: "", VerbSessions: "M", VerbIssue: "pc", VerbEject: "p", VerbInstall: "FP", VerbEnd: "",
	VerbBegin: "rt", VerbOverride: "pcr", VerbSignIn: "Ns", VerbSignOut: "", VerbStay: "", VerbGuest: "ow", VerbDisclose: "", VerbClock: "", VerbSearch: "",
}

// check holds a request against the protocol: what a verb does not take must not be there.
func (r *Request) check() error {
	if (r.Verb == VerbExport) != (r.Export != nil) {
		return fmt.Errorf("%s: a field too many or too few", r.Verb)
	}
	if r.Export != nil {
		if err := r.Export.check(); err != nil {
			return err
		}
	}
	if about, err := r.checkException(); about {
		return err
	}
	takes, known := fields[r.Verb]
	if !known {
		return fmt.Errorf("unknown verb")
	}
	for letter, there := range map[string]bool{"p": r.Port != "", "c": r.Class != "", "m": r.Max != 0, "f": r.Path != "", "n": r.Number != "", "s": r.PIN != "",
		"o": r.Company != "", "w": r.Order != "", "r": r.Reason != "", "t": r.Since != ""} {
		if must, may := strings.Contains(takes, letter), strings.Contains(takes, strings.ToUpper(letter)); must && !there || there && !must && !may {
			return fmt.Errorf("%s: a field too many or too few", r.Verb)
		}
	}
	for _, word := range []string{r.Port, r.Class, r.Number, r.Company, r.Order, r.Reason, r.Since} {
		if len(word) > maxWord {
			return fmt.Errorf("%s: a word of more than %d bytes", r.Verb, maxWord)
		}
	}
	switch d := r.Disclose; {
	case (r.Verb == VerbDisclose) != (d != nil), (r.Verb == VerbSearch) != (r.Search != nil):
		return fmt.Errorf("%s: a field too many or too few", r.Verb)
	case d != nil && (len(d.Session) > maxWord || len(d.Reason) > maxWord):
		return fmt.Errorf("%s: a word of more than %d bytes", r.Verb, maxWord)
	case r.Verb == VerbInstall && (r.Port != "") == (r.Path != ""):
		return fmt.Errorf("%s: want a port or a path", r.Verb)
	case len(r.Path) > maxPath || r.Path != "" && !filepath.IsAbs(r.Path):
		return fmt.Errorf("%s: want a path from the root, of at most %d bytes", r.Verb, maxPath)
	case r.Max < 0 || r.Max > MaxSessions:
		return fmt.Errorf("%s: max of %d", r.Verb, r.Max)
	case len(r.PIN) > MaxPIN:
		return fmt.Errorf("%s: a PIN of more than %d digits", r.Verb, MaxPIN)
	case r.Verb == VerbOverride && !slices.Contains(OverrideReasons, r.Reason):
		return fmt.Errorf("%s: an unknown reason", r.Verb)
	}
	return nil
}

// Reply is one message of the daemon.
type Reply struct {
	ID       uint64    `cbor:"1,keyasint"` // of the request; 0 before the first one was understood
	Error    *Error    `cbor:"2,keyasint,omitempty"`
	State    *State    `cbor:"3,keyasint,omitempty"`
	Sessions []Session `cbor:"4,keyasint,omitempty"`
	Data     []byte    `cbor:"30,keyasint,omitempty"` // of an export
	Exported *Exported `cbor:"31,keyasint,omitempty"`
	Answer   *Answer   `cbor:"5,keyasint,omitempty"`
	Over     bool      `cbor:"6,keyasint,omitempty"`
	Pack     *Pack     `cbor:"7,keyasint,omitempty"`
	Staff    *SignIn   `cbor:"8,keyasint,omitempty"`
	Names    []byte    `cbor:"9,keyasint,omitempty"`  // JSON of a disclosure
	Found    []byte    `cbor:"10,keyasint,omitempty"` // JSON of what a search found
	More     bool      `cbor:"11,keyasint,omitempty"`

	Exceptions []Exception `cbor:"20,keyasint,omitempty"`
}

// Pack is a rule pack that was put in force.
type Pack struct {
	Name     string `cbor:"1,keyasint" json:"name"`
	Version  uint64 `cbor:"2,keyasint" json:"version"`
	Recalled uint64 `cbor:"3,keyasint" json:"recalled"` // clearances that it takes back
}

// Error is what a client is told. It is the same for everybody: what failed inside is for the journal.
type Error struct {
	Code string `cbor:"1,keyasint" json:"code"`
	Text string `cbor:"2,keyasint" json:"text"`
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Text }

// The codes of an Error.
const (
	CodeDenied   = "denied"       // this user may not do that
	CodeRequest  = "bad-request"  // the request breaks the rules of the protocol
	CodeBusy     = "busy"         // too many requests or connections, or a request is under way
	CodePort     = "unknown-port" // the station has no such port
	CodeClass    = "unknown-class"
	CodeNoMedium = "no-medium" // there is nothing in the port that could be cleared
	CodeRemoved  = "removed"   // the medium was pulled, or the session ended
	CodeNotReady = "not-ready" // the station clears nothing at the moment
	CodePack     = "pack-refused"
	CodeExport   = "export-refused"
	CodeHistory  = "log-rewritten"
	CodeSignIn   = "sign-in"   // nobody has this number or badge and this PIN
	CodeSlow     = "slow-down" // too many wrong PINs: the State says when the next one is looked at
	CodeOverride = "no-override"
	CodeFailed   = "failed" // the kiosk failed
)

// Where an installed station has its state and its socket.
const (
	ServiceState  = "/var/lib/pratique"
	ServiceSocket = "/run/pratique/station.sock"
)

// SocketOf is where the daemon of a state folder listens, unless it is told otherwise.
func SocketOf(state string) string {
	if filepath.Clean(state) == ServiceState {
		return ServiceSocket
	}
	return filepath.Join(state, "station.sock")
}
