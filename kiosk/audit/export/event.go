package export

import (
	"fmt"
	"slices"
	"strings"
)

// code is a coded value of DICOM PS3.16, as both audit messages and FHIR use it.
type code struct {
	value, system, text string
}

// The codes of PS3.16 annex D (https://dicom.nema.org/medical/dicom/current/output/chtml/part16/chapter_D.html).
var (
	auditLogUsed    = code{"110101", "DCM", "Audit Log Used"}
	securityAlert   = code{"110113", "DCM", "Security Alert"}
	overrideStarted = code{"110127", "DCM", "Emergency Override Started"}
	securityConfig  = code{"110129", "DCM", "Security Configuration"}
	softwareConfig  = code{"110131", "DCM", "Software Configuration"}
	usbDisk         = code{"110030", "DCM", "USB Disk Emulation"}
	application     = code{"110150", "DCM", "Application"}
	sourceMedia     = code{"110155", "DCM", "Source Media"}
	asURI           = code{"12", "RFC-3881", "URI"} // of a participant object's id: PS3.15 A.5.1.2.4
)

// ownSystem is this program's own coding scheme; DICOM lets private ones begin with 99 (PS3.16 section 8.2).
const ownSystem = "99PRATIQUE"

func own(word string) code { return code{word, ownSystem, word} }

// The indicators of PS3.15 A.5.1: what became of the event.
const (
	success = "0"
	minor   = "4" // what was asked for was refused
	serious = "8" // the station, or somebody, failed
)

// event says how an entry is told as an audit message.
//
// PS3.15 A.5.3 has no message for a medium that is screened: Import (A.5.3.5) names the patients and studies that come in,
// which nobody here knows or may know. What the log records are security alerts (A.5.3.11) with an event type of this
// program's own for each kind of entry, and the standard's type beside it where one says the same. Reading the log is Audit
// Log Used (A.5.3.2).
type event struct {
	id      code
	types   []code
	action  string // C, R, U, D, E
	outcome string
}

func eventOf(r *Record) event {
	e := event{securityAlert, []code{own(r.Kind)}, "E", success}
	why := len(r.Codes) > 0
	switch r.Kind {
	case "read", "exported", "verified", "disclosed":
		e.id, e.action = auditLogUsed, "R"
		if r.Kind == "verified" && !r.Sound {
			e.outcome = serious
		}
	case "decided":
		if r.Verdict != "cleared" {
			e.outcome = minor
		}
	case "abandoned", "aborted", "denied", "refused", "recalled":
		e.outcome = minor
	case "failed":
		e.outcome = serious
	case "canary":
		if len(r.failed) > 0 {
			e.outcome = serious
		}
	case "pack":
		e.types = append(e.types, softwareConfig)
		if why { // only a pack that was refused says why
			e.outcome = minor
		}
	case "administered", "exception", "erased":
		e.types = append(e.types, securityConfig)
	case "override":
		e.types = append(e.types, overrideStarted)
	case "issuing":
		if why { // only an override has a reason
			e.types = append(e.types, overrideStarted)
		}
	}
	return e
}

// detail is one more thing that is said of an entry.
type detail struct{ name, value string }

// details are what an entry says, in a fixed order, as name and value. What is empty is left out.
func details(r *Record) []detail {
	all := []detail{{"log-index", fmt.Sprint(r.Index)}, {"port", r.Port}, {"class", r.Class}, {"verdict", r.Verdict}, {"reasons", strings.Join(r.Codes, " ")}}
	if m := r.Medium; m != nil {
		all = append(all, detail{"source", m.Source}, detail{"bytes", fmt.Sprint(m.Bytes)})
		if m.VID != 0 || m.PID != 0 {
			all = append(all, detail{"usb", fmt.Sprintf("%04x:%04x", m.VID, m.PID)})
		}
	}
	all = append(all, detail{"rules", r.Rules.String()}, detail{"rules-digest", r.Rules.Digest}, detail{"content-root", r.Content})
	if n := r.Counts; n != nil {
		all = append(all, detail{"files", fmt.Sprint(n.Files)}, detail{"findings", fmt.Sprint(n.Findings)})
	}
	all = append(all, detail{"what", r.What}, detail{"digest", r.Digest})
	if r.About >= 0 {
		all = append(all, detail{"about", fmt.Sprint(r.About)})
	}
	if r.Number > 0 {
		all = append(all, detail{"number", fmt.Sprint(r.Number)})
	}
	if r.To > r.From {
		all = append(all, detail{"entries", fmt.Sprintf("%d-%d", r.From, r.To-1)})
	}
	if r.Behind > 0 {
		all = append(all, detail{"clock-behind-seconds", fmt.Sprint(r.Behind)})
	}
	return slices.DeleteFunc(all, func(d detail) bool { return d.value == "" })
}

// maxTallies bounds the different findings of one session that a message names; more are counted as "other".
const maxTallies = 64

// tally counts what was found on the items of one session. Audit messages have no place for items.
type tally struct {
	counts map[string]int
	order  []string
}

func (t *tally) add(it *Item) {
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	names := []string{}
	for _, f := range it.Findings {
		names = append(names, f.String())
	}
	if it.Outcome != "clean" && it.Outcome != "flagged" {
		names = append(names, "outcome:"+it.Outcome)
	}
	for _, name := range names {
		if t.counts[name] == 0 {
			if len(t.order) == maxTallies {
				name = "other"
			}
			if t.counts[name] == 0 {
				t.order = append(t.order, name)
			}
		}
		t.counts[name]++
	}
}

// details are the tallies as name and value.
func (t *tally) details() []detail {
	var out []detail
	for _, name := range t.order {
		out = append(out, detail{"found", fmt.Sprintf("%s (%d)", name, t.counts[name])})
	}
	return out
}

// held keeps back the last entry of a form that tells it together with what was found on its items.
type held struct {
	record *Record
	found  tally
}

// next puts an entry into the place of the one before, which is returned; nil if there was none.
func (h *held) next(r *Record) (before *held) {
	if h.record != nil {
		before = &held{h.record, h.found}
	}
	*h = held{record: r}
	return before
}

// logURI names a log.
func logURI(origin string) string { return "urn:pratique:log:" + origin }

// uuid writes a session's 16 bytes, given in hex, as RFC 9562 writes such a number. It says nothing of how it was drawn.
func uuid(session string) string {
	if len(session) != 32 {
		return ""
	}
	return strings.Join([]string{session[:8], session[8:12], session[12:16], session[16:20], session[20:]}, "-")
}
