package export

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pratique/kiosk/audit"
)

// This file is the one place that knows how the log tells its entries; the forms know Record and Item alone.

// Record is one entry in plain words. A field that the entry says nothing of is empty.
type Record struct {
	Index   int64
	Time    time.Time
	Kind    string
	Session string // hex
	Behind  uint64 // seconds that the clock was behind

	Person  string   // pseudonym, hex
	Second  string   // pseudonym of the other one, of what takes two
	Port    string   // of the station
	Class   string   // equipment class; several with spaces between
	Verdict string   // of "decided"
	Codes   []string // why: reasons of a verdict, or a cause
	Medium  *Medium  // of "attached" and "refused"
	Rules   Rules    // rule pack in force
	Counts  *Counts  // of "decided"
	First   bool     // the first verdict of its session here: further ones are for other classes, over the same scan
	Content string   // content root, hex
	About   int64    // the entry that this one is about; -1 if none
	Digest  string   // of what the entry is about, hex: a token, an export, a trust file
	What    string   // what was done, of "administered" and the like
	Number  uint64
	From    int64 // entries that were read or taken out
	To      int64
	Sound   bool // of "verified"

	Text string          // all of it in one sentence
	Data json.RawMessage // all of it, as "audit list --json" prints it

	entry  audit.Signed
	passed uint64
	failed []string
}

// Medium is what the station knew of a medium before it read it.
type Medium struct {
	Source   string // image, block or usb
	Bytes    int64
	VID, PID uint16
}

// Rules is a rule pack.
type Rules struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Digest  string `json:"digest"`
}

// String names the pack and its version.
func (r Rules) String() string {
	if r.Name == "" {
		return ""
	}
	return fmt.Sprintf("%s %d", r.Name, r.Version)
}

// Counts is what a scan saw.
type Counts struct {
	Files       uint64            `json:"files"`
	Directories uint64            `json:"directories"`
	Streams     uint64            `json:"streams"`
	Members     uint64            `json:"members"`
	Regions     uint64            `json:"regions"`
	Bytes       uint64            `json:"bytes"`
	Findings    uint64            `json:"findings"`
	Outcomes    map[string]uint64 `json:"outcomes"`
}

// Item is one item of a medium that a form shows.
type Item struct {
	Seq      int64
	Volume   int64
	Kind     string
	Name     string // pseudonym, hex
	Size     int64
	SHA256   string // hex; empty if it was not read in full
	Type     string
	Outcome  string
	Findings []Finding

	row audit.Numbered
}

// Finding is what one check said.
type Finding struct{ Check, Rule string }

// String is how the log writes it.
func (f Finding) String() string { return f.Check + ":" + f.Rule }

// said is every field that an entry can have, under the name that the log's JSON has for it. Kinds that are added later are
// read as far as they use the same names for the same things.
type said struct {
	Source    string   `json:"source"`
	Bytes     int64    `json:"bytes"`
	VID       uint16   `json:"vid"`
	PID       uint16   `json:"pid"`
	Port      string   `json:"port"`
	Verdict   string   `json:"verdict"`
	Reasons   []string `json:"reasons"`
	Reason    string   `json:"reason"`
	Cause     string   `json:"cause"`
	Refuse    string   `json:"refuse"`
	Gate      string   `json:"gate"`
	Class     string   `json:"class"`
	Classes   []string `json:"classes"`
	Content   string   `json:"content"`
	Rules     Rules    `json:"rules"`
	Before    Rules    `json:"before"`
	Counts    *Counts  `json:"counts"`
	Issuing   *int64   `json:"issuing"`
	Token     string   `json:"token"`
	SHA256    string   `json:"sha256"`
	Digest    string   `json:"digest"`
	What      string   `json:"what"`
	Format    string   `json:"format"`
	Person    string   `json:"person"`
	Operator  string   `json:"operator"`
	Number    uint64   `json:"number"`
	Items     uint64   `json:"items"`
	From      int64    `json:"from"`
	To        int64    `json:"to"`
	Entries   int64    `json:"entries"`
	Sound     bool     `json:"sound"`
	Passed    uint64   `json:"passed"`
	Failed    []string `json:"failed"`
	Clearance string   `json:"clearance"`
	Asked     string   `json:"asked"`
	Agreed    string   `json:"agreed"`
	Sponsor   string   `json:"sponsor"`
	Confirmed bool     `json:"confirmed"`
	Override  string   `json:"override"`
	Scope     string   `json:"scope"`
	Month     string   `json:"month"`
	Secrets   uint64   `json:"secrets"`
	NamesOf   string   `json:"names_of"`
}

func newRecord(s audit.Signed) (*Record, error) {
	data, err := json.Marshal(s.Data)
	if err != nil {
		return nil, err
	}
	r := &Record{Index: s.Index, Time: s.Time.UTC(), Kind: s.Kind.String(), Behind: s.ClockBack, entry: s}
	if s.Session != (audit.ID{}) {
		r.Session = s.Session.String()
	}
	r.read(data)
	return r, nil
}

// read takes what an entry says from its data.
func (r *Record) read(data json.RawMessage) {
	var d said
	// A name that some later kind uses for something of another type is left out here. It stays in Data.
	_ = json.Unmarshal(data, &d)
	r.Port, r.Verdict, r.Counts, r.Content, r.Data = d.Port, d.Verdict, d.Counts, known(d.Content), data
	r.Number, r.From, r.To, r.Sound, r.passed, r.failed = d.Number, d.From, d.To, d.Sound, d.Passed, d.Failed
	r.Rules = Rules{d.Rules.Name, d.Rules.Version, known(d.Rules.Digest)}
	r.Class = first(d.Class, strings.Join(d.Classes, " "))
	r.Digest = first(known(d.Token), known(d.SHA256), known(d.Digest))
	r.What = first(d.What, d.Format, d.Scope)
	r.Codes = d.Reasons
	for _, code := range []string{d.Cause, d.Refuse, d.Reason, d.Override, d.Gate} {
		if code != "" {
			r.Codes = append(r.Codes, code)
		}
	}
	// The one who took the step comes first, the one who had asked for it second.
	people := slices.DeleteFunc([]string{known(d.Person), known(d.Operator), known(d.Agreed), known(d.Asked), known(d.Sponsor)}, func(p string) bool { return p == "" })
	if len(people) > 0 {
		r.Person = people[0]
	}
	if len(people) > 1 {
		r.Second = people[1]
	}
	r.About = -1
	if d.Issuing != nil {
		r.About = *d.Issuing
	}
	switch r.Kind {
	case "recalled":
		r.What, r.Number = d.Clearance, d.Items
	case "verified":
		r.To = d.Entries
	case "override":
		r.What = map[bool]string{false: "asked for", true: "confirmed"}[d.Confirmed]
	case "erased":
		r.What, r.Number = strings.TrimSpace(d.Scope+" "+first(d.Month, known(d.NamesOf))), d.Secrets
	case "disclosed":
		r.What = known(d.NamesOf)
	}
	if r.Kind == "attached" || d.VID != 0 || d.PID != 0 {
		r.Medium = &Medium{d.Source, d.Bytes, d.VID, d.PID}
	}
	r.Text = sentence(r)
}

// known returns a digest or pseudonym, and nothing for one that is all zeros: the log's way to say that there is none.
func known(digits string) string {
	if strings.Trim(digits, "0") == "" {
		return ""
	}
	return digits
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

func newItem(row audit.Numbered) *Item {
	it := row.Item
	out := &Item{Seq: row.Seq, Volume: it.Volume, Kind: it.Kind, Name: hex.EncodeToString(it.Name[:]), Size: it.Size, Type: it.Type, Outcome: it.Outcome, row: row}
	if it.SHA256 != nil {
		out.SHA256 = it.SHA256.String()
	}
	for word := range strings.FieldsSeq(it.Findings) {
		check, rule, _ := strings.Cut(word, ":")
		out.Findings = append(out.Findings, Finding{check, rule})
	}
	return out
}

// sentence says what an entry says, for people.
func sentence(r *Record) string {
	why := ""
	if len(r.Codes) > 0 {
		why = ": " + strings.Join(r.Codes, ", ")
	}
	switch r.Kind {
	case "attached":
		text := fmt.Sprintf("medium attached: %s of %s", r.Medium.Source, size(r.Medium.Bytes))
		if r.Port != "" {
			text += " on port " + r.Port
		}
		return text
	case "decided":
		return fmt.Sprintf("%s for %s%s", r.Verdict, r.Class, why)
	case "issuing":
		if why != "" { // only an override has a reason
			return "OVERRIDE for " + r.Class + " about to be signed" + why
		}
		return "clearance for " + r.Class + " about to be signed"
	case "issued":
		return fmt.Sprintf("clearance issued, begun in entry %d", r.About)
	case "abandoned":
		return fmt.Sprintf("clearance never issued, begun in entry %d", r.About)
	case "removed":
		return "medium removed"
	case "aborted":
		return "session ended without a verdict" + why
	case "failed":
		return "the kiosk failed" + why
	case "denied":
		return "clearance for " + r.Class + " denied" + why
	case "refused":
		return fmt.Sprintf("device %04x:%04x refused on port %s%s", vid(r), pid(r), r.Port, why)
	case "exported":
		return fmt.Sprintf("%s exported as %s", span(r), r.What)
	case "read":
		return span(r) + " shown"
	case "verified":
		if r.Sound {
			return fmt.Sprintf("log of %d entries verified: sound", r.To)
		}
		return fmt.Sprintf("log of %d entries verified: NOT SOUND", r.To)
	case "pack":
		if why != "" {
			return fmt.Sprintf("rule pack %v refused%s", r.Rules, why)
		}
		return fmt.Sprintf("rule pack %v in force", r.Rules)
	case "canary":
		if len(r.failed) > 0 {
			return "canary NOT found: " + strings.Join(r.failed, ", ")
		}
		return fmt.Sprintf("canary found on all %d ways", r.passed)
	case "recalled":
		return fmt.Sprintf("clearance for %s recalled%s", r.Class, why)
	case "override":
		return fmt.Sprintf("OVERRIDE for %s %s%s", r.Class, r.What, why)
	case "erased":
		return fmt.Sprintf("names erased: %s (%d secrets)", r.What, r.Number)
	case "disclosed":
		return "names disclosed to two people" + why
	case "guest":
		return "somebody answers for a guest"
	}
	text := strings.TrimSpace(r.Kind + " " + r.What)
	if r.Kind == "administered" {
		text = r.What
	}
	if r.Class != "" {
		text += ", for " + r.Class
	}
	return text + why
}

// vid and pid of a record that may have neither.
func vid(r *Record) uint16 {
	if r.Medium == nil {
		return 0
	}
	return r.Medium.VID
}

func pid(r *Record) uint16 {
	if r.Medium == nil {
		return 0
	}
	return r.Medium.PID
}

// span names the entries that a record is about.
func span(r *Record) string {
	if r.To <= r.From {
		return "no entries"
	}
	return fmt.Sprintf("entries %d to %d", r.From, r.To-1)
}

// size writes a number of bytes as people read it.
func size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < len("kMGTPE")-1 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTPE"[prefix])
}
