// Package localapi is how programs on the station talk to its daemon: the screen, the command line and nothing else.
//
// # The channel
//
// The daemon listens on one Unix stream socket. Both sides send messages of package frame: a 4-byte big-endian length, then
// one map of deterministic CBOR with integer keys, as the field tags below give them. A client sends a Request, which has at
// most 1,024 bytes:
//
//	{1: id, 2: verb, 3: port, 4: class, 5: max, 6: path}
//
// where id is the client's own number and what a verb does not need is left out. The daemon answers each request in order
// with one Reply that carries its id, and one field that says what came of it:
//
//	status     the State
//	subscribe  the State at once, and again whenever it has changed, ten times a second at most, until the client hangs up
//	sessions   the latest sessions of the log, newest first, max of them
//	issue      an Answer: the verdict on the medium in port for class and, if it is cleared, the clearance. It comes once
//	           the scan is over. A person who may not clear media for the class gets an error, and the log an entry
//	eject      an empty Reply, once the medium's session is over
//	install    the rule pack of the repository in the folder path is in force, and a Pack says which it is; else an error says
//	           at which gate it was refused
//	end-incident  Over: whether the incident has ended, which takes two people who ask for it
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
	"time"
)

// Limits on what the two sides send.
const (
	maxRequest = 1 << 10 // bytes; a request is a few words
	maxWord    = 64      // a verb, a port's id, a class
	maxPath    = 768     // a folder's; the rest of a request is a few words
	// MaxPorts bounds the ports of a station, so that a State fits into one message.
	MaxPorts = 16
	// MaxReasons bounds the reasons of a port that are shown. They come worst first.
	MaxReasons = 16
	// MaxSessions bounds the sessions of one reply.
	MaxSessions = 200
)

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
	Leaving  = "leaving"  // the session is being closed
	Removed  = "removed"  // the session is over; take the medium out
	Refused  = "refused"  // the device was not let in
	Fault    = "fault"    // the kiosk failed
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
	Refusal   *Reason    `cbor:"13,keyasint,omitempty" json:"refusal,omitempty"` // of a device that was refused, or why the kiosk failed
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
}

// Clearance is an issued clearance.
type Clearance struct {
	ID       string `cbor:"1,keyasint" json:"id"`
	Code     string `cbor:"2,keyasint" json:"code"` // to look it up by
	Class    string `cbor:"3,keyasint" json:"class"`
	QR       string `cbor:"4,keyasint" json:"qr"` // digits
	Expires  string `cbor:"5,keyasint" json:"expires"`
	LogIndex uint64 `cbor:"6,keyasint" json:"log_index"`
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
	VerbIssue     Verb = "issue"
	VerbEject     Verb = "eject"
	VerbInstall   Verb = "install"
	VerbEnd       Verb = "end-incident"
)

// Request is one message of a client.
type Request struct {
	ID    uint64 `cbor:"1,keyasint"`
	Verb  Verb   `cbor:"2,keyasint"`
	Port  string `cbor:"3,keyasint,omitempty"`
	Class string `cbor:"4,keyasint,omitempty"`
	Max   int    `cbor:"5,keyasint,omitempty"`
	Path  string `cbor:"6,keyasint,omitempty"`
}

// check holds a request against the protocol: what a verb does not take must not be there.
func (r *Request) check() error {
	needs, known := map[Verb]struct{ port, class, max, path bool }{
		VerbStatus: {}, VerbSubscribe: {}, VerbSessions: {max: true}, VerbIssue: {port: true, class: true}, VerbEject: {port: true},
		VerbInstall: {path: true}, VerbEnd: {},
	}[r.Verb]
	switch {
	case !known:
		return fmt.Errorf("unknown verb")
	case needs.port != (r.Port != "") || needs.class != (r.Class != "") || needs.path != (r.Path != ""):
		return fmt.Errorf("%s: a field too many or too few", r.Verb)
	case len(r.Port) > maxWord || len(r.Class) > maxWord:
		return fmt.Errorf("%s: a word of more than %d bytes", r.Verb, maxWord)
	case len(r.Path) > maxPath || needs.path && !filepath.IsAbs(r.Path):
		return fmt.Errorf("%s: want a path from the root, of at most %d bytes", r.Verb, maxPath)
	case r.Max < 0 || r.Max > MaxSessions || !needs.max && r.Max != 0:
		return fmt.Errorf("%s: max of %d", r.Verb, r.Max)
	}
	return nil
}

// Reply is one message of the daemon.
type Reply struct {
	ID       uint64    `cbor:"1,keyasint"` // of the request; 0 before the first one was understood
	Error    *Error    `cbor:"2,keyasint,omitempty"`
	State    *State    `cbor:"3,keyasint,omitempty"`
	Sessions []Session `cbor:"4,keyasint,omitempty"`
	Answer   *Answer   `cbor:"5,keyasint,omitempty"`
	Over     bool      `cbor:"6,keyasint,omitempty"`
	Pack     *Pack     `cbor:"7,keyasint,omitempty"`
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
