package audit

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"pratique/scanner/report"
)

// Limits on what one entry holds.
const (
	maxWord     = 64 // a code, a class, a pack's name
	maxReasons  = 64 // more than the closed list of codes holds
	maxOutcomes = 32 // more than there are outcomes
	maxClasses  = 64 // verdicts of one session: more than any pack has equipment classes
	maxLeaf     = 16 << 10
	// maxOverrides bounds what people may ask to let through in one session: it takes two entries, and a few changes of mind.
	maxOverrides = 32
)

// Kind is what an entry records.
type Kind uint8

// The kinds, in the order of a session, then what people do with the log.
const (
	NoKind           Kind = iota
	KindAttached          // a medium is there; nothing of it was read
	KindDecided           // the verdict
	KindIssuing           // a clearance is about to be signed; the leaf is the clearance
	KindIssued            // its token is written
	KindAbandoned         // its token was never written, and will not be
	KindRemoved           // the medium is gone
	KindAborted           // the session ended without a verdict
	KindFailed            // the kiosk itself failed
	KindDenied            // somebody asked for a clearance who may not have it
	KindExported          // somebody took entries out
	KindVerified          // somebody checked the log
	KindRead              // somebody read entries
	KindRefused           // a device was refused before anything was read from it
	KindAdministered      // somebody changed what the station is trusted with, or stopped it
	KindPack              // a rule pack was put in force, or refused
	KindCanary            // the station tried whether it finds what it must find
	KindRecalled          // a clearance was recalled: what it cleared is known to be harmful now
	KindGuest             // somebody answers for a guest
	KindOverride          // somebody lets a medium through that was not cleared, or confirms it
	KindErased            // names were destroyed
	KindDisclosed         // names were shown to two persons
	KindException         // a step of an exception: two people agree that findings about one content are wrong
	kindEnd
)

var kindWords = [kindEnd]string{"none", "attached", "decided", "issuing", "issued", "abandoned", "removed", "aborted",
	"failed", "denied", "exported", "verified", "read", "refused", "administered",
	"pack", "canary", "recalled", "guest", "override", "erased", "disclosed", "exception"}

// String returns the word in the column.
func (k Kind) String() string {
	if k < kindEnd {
		return kindWords[k]
	}
	return kindWords[NoKind]
}

// MarshalText gives the word.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// ParseKind is the reverse of Kind.String.
func ParseKind(word string) (Kind, error) {
	for k := NoKind + 1; k < kindEnd; k++ {
		if kindWords[k] == word {
			return k, nil
		}
	}
	return NoKind, fmt.Errorf("unknown kind of entry %q", word)
}

// ofSession reports whether an entry of this kind belongs to a session.
func (k Kind) ofSession() bool { return k > NoKind && k < KindExported || k == KindOverride }

// scan names the scan that a verdict was taken from: two verdicts with the same one differ in nothing but the class.
func (d Decided) scan() Digest {
	d.Verdict, d.Reasons, d.Class, d.Excepted = CouldNotCheck, nil, "", nil
	data, err := encoder.Marshal(d)
	if err != nil { // a struct of numbers and words: cannot be
		return Digest{}
	}
	return sha256.Sum256(data)
}

// Verdict is the answer of a session, numbered as package kiosk numbers it.
type Verdict uint8

// The verdicts. The zero value refuses.
const (
	CouldNotCheck Verdict = iota
	NotCleared
	Cleared
	verdictEnd
)

// MarshalText gives the word of the JSON that "screen" prints.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// String returns the word.
func (v Verdict) String() string {
	switch v {
	case Cleared:
		return "cleared"
	case NotCleared:
		return "not cleared"
	}
	return "could not check"
}

// Source is how the station saw the medium.
type Source uint8

// The sources.
const (
	NoSource Source = iota
	Image           // a file that holds a medium's bytes
	Block           // a block device of the kernel
	USB             // the station's own USB reader
	sourceEnd
)

var sourceWords = [sourceEnd]string{"unknown", "image", "block", "usb"}

// String returns the word.
func (s Source) String() string {
	if s < sourceEnd {
		return sourceWords[s]
	}
	return sourceWords[NoSource]
}

// MarshalText gives the word.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Event is what Append records. The log itself adds the time.
type Event struct {
	Session ID // zero for what belongs to no session
	Data    Data
}

// Data is the content of an event: one of the types below, by value. There are no others.
type Data interface {
	Kind() Kind
	check() error // refuses what no entry may hold
}

// Attached opens a session.
type Attached struct {
	Source     Source `cbor:"1,keyasint" json:"source"`
	Bytes      int64  `cbor:"2,keyasint" json:"bytes"`
	SectorSize int    `cbor:"3,keyasint" json:"sector_size"`
	VID        uint16 `cbor:"4,keyasint,omitempty" json:"vid,omitempty"`
	PID        uint16 `cbor:"5,keyasint,omitempty" json:"pid,omitempty"`
	Port       Word   `cbor:"6,keyasint,omitempty" json:"port,omitempty"`   // of the station; none for the command line
	Units      uint8  `cbor:"7,keyasint,omitempty" json:"units,omitempty"`  // logical units, if there is more than one
	Vacant     uint8  `cbor:"8,keyasint,omitempty" json:"vacant,omitempty"` // of them without a medium
}

// Decided holds the verdict for one equipment class and what it was taken from. A session can have one for each class that
// somebody asked for; all speak of the same scan, so they differ in Verdict, Reasons, Class and Excepted alone.
type Decided struct {
	Verdict     Verdict `cbor:"1,keyasint" json:"verdict"`
	Reasons     []Word  `cbor:"2,keyasint,omitempty" json:"reasons,omitempty"` // codes
	Class       Word    `cbor:"3,keyasint" json:"class"`                       // equipment class
	Content     Digest  `cbor:"4,keyasint" json:"content"`                     // content root; zero if there is none
	Rules       Rules   `cbor:"5,keyasint" json:"rules"`
	Deep        bool    `cbor:"6,keyasint" json:"deep"`
	Counts      Counts  `cbor:"7,keyasint" json:"counts"`
	Items       uint64  `cbor:"8,keyasint" json:"items"`        // rows in the table item, as Items.Close returned
	ItemsDigest Digest  `cbor:"9,keyasint" json:"items_digest"` // zero only if Items is
	// Excepted says what would have barred the medium but for exceptions, in the order of their names.
	Excepted []Excepted `cbor:"10,keyasint,omitempty" json:"excepted,omitempty"`
}

// Rules is the rule pack that was in force.
type Rules struct {
	Name    Word   `cbor:"1,keyasint" json:"name"`
	Version uint64 `cbor:"2,keyasint" json:"version"`
	Digest  Digest `cbor:"3,keyasint" json:"digest"`
	Added   Digest `cbor:"4,keyasint" json:"added"` // over rules and lists added on the command line and the station's own policies; zero if none
}

// Counts is what a scan saw.
type Counts struct {
	Files       uint64   `cbor:"1,keyasint" json:"files"`
	Directories uint64   `cbor:"2,keyasint" json:"directories"`
	Streams     uint64   `cbor:"3,keyasint" json:"streams"`
	Members     uint64   `cbor:"4,keyasint" json:"members"`
	Areas       uint64   `cbor:"5,keyasint" json:"areas"`
	Regions     uint64   `cbor:"6,keyasint" json:"regions"`
	Bytes       uint64   `cbor:"7,keyasint" json:"bytes"`
	Findings    uint64   `cbor:"8,keyasint" json:"findings"`
	Outcomes    Outcomes `cbor:"9,keyasint" json:"outcomes"`
}

// CountsOf takes the counts from a report's tally.
func CountsOf(t report.Tally) Counts {
	return Counts{Files: t.Files, Directories: t.Directories, Streams: t.Streams, Members: t.Members, Areas: t.Areas,
		Regions: t.Regions, Bytes: t.Bytes, Findings: t.Findings, Outcomes: append(Outcomes{}, t.Outcomes[:]...)}
}

// Outcomes counts items by report.Outcome.
type Outcomes []uint64

// MarshalJSON gives the words with their counts, without the zeros.
func (o Outcomes) MarshalJSON() ([]byte, error) {
	words := map[string]uint64{}
	for i, n := range o {
		if n > 0 {
			words[report.Outcome(i).String()] += n
		}
	}
	return json.Marshal(words)
}

// Issuing stands for a clearance's own leaf. It is never appended: AppendLeaf is the way.
type Issuing struct {
	Leaf     Digest    `cbor:"-" json:"leaf"`     // SHA-256 of the leaf, to look it up by
	Content  Digest    `cbor:"-" json:"content"`  // the content root that it clears
	Classes  []Word    `cbor:"-" json:"classes"`  // what it is for
	Expires  int64     `cbor:"-" json:"expires"`  // seconds since 1970
	Operator Pseudonym `cbor:"-" json:"operator"` // who asked for it
	// Override is the reason why two people let through what was not cleared; empty for a clearance.
	Override Word `cbor:"-" json:"override,omitempty"`

	second Pseudonym // the other of the two people of an override
}

// Issued says that the token of an issuing entry is written.
type Issued struct {
	Issuing int64  `cbor:"1,keyasint" json:"issuing"` // index of the issuing entry
	Token   Digest `cbor:"2,keyasint" json:"token"`   // SHA-256 of the token file
}

// Abandoned says that the token of an issuing entry was never written.
type Abandoned struct {
	Issuing int64 `cbor:"1,keyasint" json:"issuing"`
}

// Removed says that the medium is gone. A session gets no token after it.
type Removed struct{}

// Aborted says that a session ended without a verdict.
type Aborted struct {
	Cause Word `cbor:"1,keyasint" json:"cause"` // a code
}

// Failed says that the kiosk itself failed.
type Failed struct {
	Cause Word `cbor:"1,keyasint" json:"cause"` // a code
}

// Denied says that somebody asked for a clearance who may not have it.
type Denied struct {
	Class  Word      `cbor:"1,keyasint" json:"class"`
	Person Pseudonym `cbor:"2,keyasint" json:"person"` // zero if nobody is known by what was shown
	Cause  Word      `cbor:"3,keyasint" json:"cause"`
}

// Refused says that a device was refused before anything was read from it.
type Refused struct {
	Port   Word   `cbor:"1,keyasint" json:"port"`
	Cause  Word   `cbor:"2,keyasint" json:"cause"` // a code
	VID    uint16 `cbor:"3,keyasint,omitempty" json:"vid,omitempty"`
	PID    uint16 `cbor:"4,keyasint,omitempty" json:"pid,omitempty"`
	Digest Digest `cbor:"5,keyasint" json:"digest"` // of what it said of itself; zero if it could not be read
}

// Administered says that somebody changed what the station is trusted with: its keys, its trust file, whether it may issue.
type Administered struct {
	What   Word      `cbor:"1,keyasint" json:"what"`
	Person Pseudonym `cbor:"2,keyasint" json:"person"`
	Reason Word      `cbor:"3,keyasint,omitempty" json:"reason,omitempty"`
	Number uint64    `cbor:"4,keyasint,omitempty" json:"number,omitempty"` // of a trust file's version, or of clearances
	Digest Digest    `cbor:"5,keyasint" json:"digest"`                     // of the trust file or the key; zero if there is none
}

// What a station says of the counter in its TPM: Number is its value and Digest names it. Between two steps of one counter the
// value rises, unless an administrator accepted another.
const (
	WhatCounted       Word = "log-counted"          // the counter is moved to this value next
	WhatCountAccepted Word = "log-counter-accepted" // the log is taken to be right where the counter shows this; without a digest there is none
)

// Pack says that a rule pack was put in force, or why it was not.
type Pack struct {
	Rules  Rules `cbor:"1,keyasint" json:"rules"`                      // without a name if what was offered could not be read
	Before Rules `cbor:"2,keyasint" json:"before"`                     // in force until then
	Refuse Word  `cbor:"3,keyasint,omitempty" json:"refuse,omitempty"` // a code; absent if it was put in force
	Gate   Word  `cbor:"4,keyasint,omitempty" json:"gate,omitempty"`   // where it was refused
	Source Word  `cbor:"5,keyasint" json:"source"`                     // how it came: "path", "folder", "medium"
	Medium ID    `cbor:"6,keyasint,omitzero" json:"medium,omitzero"`   // the session of the medium that it came on; zero for none
	// Untold is how many packs were refused since the entry before without one of their own: the same again, or too many.
	Untold uint64 `cbor:"7,keyasint,omitempty" json:"untold,omitempty"`
}

// Canary says whether the station finds what it must find.
type Canary struct {
	Rules  Rules  `cbor:"1,keyasint" json:"rules"`
	Passed uint8  `cbor:"2,keyasint" json:"passed"`                     // ways through the scanner on which the canary was found
	Failed []Word `cbor:"3,keyasint,omitempty" json:"failed,omitempty"` // the others
}

// Recalled takes a clearance back.
type Recalled struct {
	Clearance ID     `cbor:"1,keyasint" json:"clearance"`
	Classes   []Word `cbor:"2,keyasint" json:"classes"`
	Expires   int64  `cbor:"3,keyasint" json:"expires"`                     // of the clearance, seconds since 1970
	Cause     Word   `cbor:"4,keyasint" json:"cause"`                       // a code
	Items     uint64 `cbor:"5,keyasint" json:"items"`                       // that are known to be harmful
	Rules     Rules  `cbor:"6,keyasint" json:"rules"`                       // that know it
	Station   Word   `cbor:"7,keyasint,omitempty" json:"station,omitempty"` // that issued it, if its name is a word
}

// Guest says that somebody answers for a guest.
type Guest struct {
	Person  Pseudonym `cbor:"1,keyasint" json:"person"`
	Sponsor Pseudonym `cbor:"2,keyasint" json:"sponsor"`
	Company Word      `cbor:"3,keyasint" json:"company"`
	Order   Word      `cbor:"4,keyasint" json:"order"` // of the work
}

// Override says that somebody asks to let a medium through that was not cleared, or that another person confirms it. Only what two
// people agreed on, for a class that has a verdict, is issued.
type Override struct {
	Class     Word      `cbor:"1,keyasint" json:"class"`
	Reason    Word      `cbor:"2,keyasint" json:"reason"`
	Person    Pseudonym `cbor:"3,keyasint" json:"person"`
	Asked     Pseudonym `cbor:"4,keyasint" json:"asked"` // of a confirmation: by whom it was asked for; else zero
	Confirmed bool      `cbor:"5,keyasint" json:"confirmed"`
}

// Exported says that entries were taken out.
type Exported struct {
	Format Word   `cbor:"1,keyasint" json:"format"`
	From   int64  `cbor:"2,keyasint" json:"from"`   // first entry
	To     int64  `cbor:"3,keyasint" json:"to"`     // one after the last
	SHA256 Digest `cbor:"4,keyasint" json:"sha256"` // of the file that left
	// Items is how many rows of items it has, Person who took it. Entries of programs that came before these have neither.
	Items  uint64    `cbor:"5,keyasint,omitempty" json:"items,omitempty"`
	Person Pseudonym `cbor:"6,keyasint,omitzero" json:"person,omitzero"`
}

// Verified says that the log was checked.
type Verified struct {
	Entries int64 `cbor:"1,keyasint" json:"entries"`
	Sound   bool  `cbor:"2,keyasint" json:"sound"`
	Bad     int64 `cbor:"3,keyasint" json:"bad"` // first bad entry; -1 if there is none or it is not about one
}

// Read says that entries were shown to somebody.
type Read struct {
	From int64 `cbor:"1,keyasint" json:"from"`
	To   int64 `cbor:"2,keyasint" json:"to"` // one after the last
}

// Kind of each type of data.
func (Attached) Kind() Kind     { return KindAttached }
func (Decided) Kind() Kind      { return KindDecided }
func (Issuing) Kind() Kind      { return KindIssuing }
func (Issued) Kind() Kind       { return KindIssued }
func (Abandoned) Kind() Kind    { return KindAbandoned }
func (Removed) Kind() Kind      { return KindRemoved }
func (Aborted) Kind() Kind      { return KindAborted }
func (Failed) Kind() Kind       { return KindFailed }
func (Denied) Kind() Kind       { return KindDenied }
func (Refused) Kind() Kind      { return KindRefused }
func (Administered) Kind() Kind { return KindAdministered }
func (Exported) Kind() Kind     { return KindExported }
func (Verified) Kind() Kind     { return KindVerified }
func (Read) Kind() Kind         { return KindRead }
func (Pack) Kind() Kind         { return KindPack }
func (Canary) Kind() Kind       { return KindCanary }
func (Recalled) Kind() Kind     { return KindRecalled }
func (Guest) Kind() Kind        { return KindGuest }
func (Override) Kind() Kind     { return KindOverride }
func (Erased) Kind() Kind       { return KindErased }
func (Disclosed) Kind() Kind    { return KindDisclosed }

func (a Attached) check() error {
	if a.Source == NoSource || a.Source >= sourceEnd || a.Bytes < 0 || a.SectorSize < 0 {
		return fmt.Errorf("source %d, %d bytes, sectors of %d", a.Source, a.Bytes, a.SectorSize)
	}
	if a.Port != "" {
		return a.Port.check()
	}
	return nil
}

func (d Decided) check() error {
	switch {
	case d.Verdict >= verdictEnd:
		return fmt.Errorf("verdict %d", d.Verdict)
	case len(d.Reasons) > maxReasons:
		return fmt.Errorf("%d reasons", len(d.Reasons))
	case len(d.Counts.Outcomes) > maxOutcomes:
		return fmt.Errorf("%d outcomes", len(d.Counts.Outcomes))
	case d.Items > 0 && d.ItemsDigest == Digest{}:
		return fmt.Errorf("%d items without a digest", d.Items)
	case d.Verdict == Cleared && (d.Content == Digest{} || len(d.Reasons) > 0):
		return fmt.Errorf("cleared without a content root, or with reasons against it")
	case d.Verdict == Cleared && d.Rules.Name == "":
		return fmt.Errorf("cleared without rules")
	}
	for _, r := range d.Reasons {
		if err := r.check(); err != nil {
			return err
		}
	}
	if d.Rules.Name != "" { // a session can fail before any rules are loaded
		if err := d.Rules.Name.check(); err != nil {
			return err
		}
	}
	return errors.Join(d.Class.check(), checkExcepted(d.Excepted))
}

func (Issuing) check() error { return fmt.Errorf("an issuing entry is appended by its leaf") }

func (i Issued) check() error {
	if i.Issuing < 0 || i.Token == (Digest{}) {
		return fmt.Errorf("issuing entry %d, or no token", i.Issuing)
	}
	return nil
}

func (a Abandoned) check() error {
	if a.Issuing < 0 {
		return fmt.Errorf("issuing entry %d", a.Issuing)
	}
	return nil
}

func (Removed) check() error   { return nil }
func (a Aborted) check() error { return a.Cause.check() }
func (f Failed) check() error  { return f.Cause.check() }
func (d Denied) check() error  { return errors.Join(d.Class.check(), d.Cause.check()) }
func (r Refused) check() error { return errors.Join(r.Port.check(), r.Cause.check()) }

func (a Administered) check() error {
	if a.Person == (Pseudonym{}) {
		return errors.New("nobody did it")
	}
	if a.Reason != "" {
		return errors.Join(a.What.check(), a.Reason.check())
	}
	return a.What.check()
}

func (e Exported) check() error {
	if err := checkRange(e.From, e.To); err != nil {
		return err
	}
	return e.Format.check()
}

func (v Verified) check() error {
	if v.Entries < 0 || v.Bad < -1 || v.Sound && v.Bad != -1 {
		return fmt.Errorf("%d entries, bad entry %d, sound %v", v.Entries, v.Bad, v.Sound)
	}
	return nil
}

func (r Read) check() error { return checkRange(r.From, r.To) }

func (r Rules) check() error {
	if r.Name == "" { // nothing is known of it
		return nil
	}
	return r.Name.check()
}

func (p Pack) check() error {
	if p.Refuse == "" && (p.Gate != "" || p.Rules.Name == "" || p.Untold != 0) {
		return errors.New("a pack in force without a name, or with a gate that it did not pass")
	}
	for _, w := range []Word{p.Refuse, p.Gate} {
		if w != "" && w.check() != nil {
			return w.check()
		}
	}
	return errors.Join(p.Rules.check(), p.Before.check(), p.Source.check())
}

func (c Canary) check() error {
	if len(c.Failed) > maxReasons || c.Passed == 0 && len(c.Failed) == 0 {
		return fmt.Errorf("a canary with %d ways that failed", len(c.Failed))
	}
	for _, w := range c.Failed {
		if err := w.check(); err != nil {
			return err
		}
	}
	return c.Rules.check()
}

func (r Recalled) check() error {
	if r.Clearance == (ID{}) || r.Expires <= 0 || len(r.Classes) == 0 || len(r.Classes) > maxClasses {
		return errors.New("no clearance to recall, without an end or for no class")
	}
	for _, w := range r.Classes {
		if err := w.check(); err != nil {
			return err
		}
	}
	if r.Station != "" && !r.Station.Valid() {
		return errors.New("a station's name that is no word")
	}
	return errors.Join(r.Cause.check(), r.Rules.check())
}

func (g Guest) check() error {
	if g.Person == (Pseudonym{}) || g.Sponsor == (Pseudonym{}) {
		return errors.New("a guest or a sponsor who is nobody")
	}
	return errors.Join(g.Company.check(), g.Order.check())
}

func (o Override) check() error {
	switch {
	case o.Person == (Pseudonym{}):
		return errors.New("nobody did it")
	case o.Confirmed != (o.Asked != (Pseudonym{})) || o.Asked == o.Person:
		return errors.New("an override by one person")
	}
	return errors.Join(o.Class.check(), o.Reason.check())
}

func checkRange(from, to int64) error {
	if from < 0 || to < from {
		return fmt.Errorf("entries %d to %d", from, to)
	}
	return nil
}
