// Package exception is for the false positive at three in the morning: two people of the security role agree that a rule is
// wrong about one content, and until a better pack comes the station goes by that.
//
// An exception names a content by its SHA-256, the findings that are wrong about it, a reason and an end. It turns those
// findings on that content from "block" into "inform", and nothing else: they stay in every report, with the exception's name.
// It never speaks of
//
//   - an outcome: what is encrypted, damaged, too large or was not scanned stays what it is;
//   - a name or a place: a harmless program that is disguised as a picture is disguised (rules.OfContent says which findings
//     are about content alone);
//   - what a class takes: types and settings are the policy's, and no content is wrong about those;
//   - a finding that it does not name: one that a later rule makes, or a hash list that came later. For lists, whose findings
//     all have one name, this means that an exception ends with the pack in force.
//
// Who asks is known to the caller, by the kernel's word; two people are two users. What they agreed on is in the log and nowhere
// else (audit.Agreements), so there is no file to edit; and the log takes a confirmation only from another person than the
// proposal.
//
// The package is pure: it reads no clock, no file and no log. Against an insider (T19) it bounds how many exceptions there are,
// how long they hold and how many can be proposed in a day, and refuses hashes that stand for nothing or for everything.
package exception

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pratique/kiosk/audit"
	"pratique/rules"
	"pratique/rules/feed"
	"pratique/scanner/report"
)

// Limits on what can be agreed on.
const (
	// MaxDays is the longest that an exception may hold, and DefaultDays what it holds for unless somebody says otherwise.
	MaxDays     = int(audit.ExceptionLife / day)
	DefaultDays = 7
	day         = 24 * time.Hour
	// maxOpen is how many may hold or wait at once. Who needs more needs a corrected rule pack, and each is in every verdict.
	maxOpen = 32
	// maxDay is how many can be proposed in a day, so that nobody fills the log with them.
	maxDay = 50
	// maxReason keeps a reason a word; a ticket's number fits in. It has no dot, so that no file's name does.
	maxReason = 40
	// minName is how much of an exception's name tells it apart from 32 others.
	minName = 8
)

// Refusal says why something cannot be agreed on.
type Refusal struct {
	Code string // a fixed word
	Text string // a sentence for the person who asked
}

// Error returns the sentence.
func (r *Refusal) Error() string { return r.Text }

func refuse(code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// Wish is what somebody asks for.
type Wish struct {
	SHA256   string   // of the content, in hex
	Findings []string // as a report has them: CHECK/RULE
	Reason   string   // a word
	Days     int      // 0 is DefaultDays
}

// Propose makes the first step of an exception. in is the pack in force, who asks and id its name, which the caller drew.
func Propose(all *audit.Agreements, w Wish, id audit.ID, who audit.Pseudonym, in audit.Rules, now time.Time) (audit.Exception, error) {
	x := audit.Exception{What: audit.Proposed, ID: id, Person: who, Reason: audit.Word(w.Reason), Rules: in}
	sum, err := hex.DecodeString(strings.ToLower(w.SHA256))
	if err != nil || len(sum) != sha256.Size {
		return x, refuse("hash", "An exception is for one content, named by its SHA-256: 64 digits in hex, as the report has them. It is never for a path.")
	}
	x.SHA256 = audit.Digest(sum)
	if why := poison().Why(sum); why != "" {
		return x, refuse("hash", "This is %s, which is on every other stick: nothing is excepted for it.", why)
	}
	if len(w.Findings) == 0 || len(w.Findings) > audit.MaxExceptionFindings {
		return x, refuse("finding", "Name the findings that are wrong, 1 to %d, as CHECK/RULE.", audit.MaxExceptionFindings)
	}
	for _, f := range w.Findings {
		if !rules.OfContent(f) {
			return x, refuse("finding", "The finding %.80q cannot be excepted: it is none, or it is not about the content alone.", f)
		}
		x.Findings = append(x.Findings, audit.FindingName(f))
	}
	slices.Sort(x.Findings)
	x.Findings = slices.Compact(x.Findings)
	if w.Reason == "" || len(w.Reason) > maxReason || strings.Trim(strings.ToLower(w.Reason), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return x, refuse("reason", "Give a reason of one word, such as vendor-tool or INC-4711: letters, digits and '-', at most %d, and no file's name.", maxReason)
	}
	if w.Days == 0 {
		w.Days = DefaultDays
	}
	if w.Days < 1 || w.Days > MaxDays {
		return x, refuse("life", "An exception holds for 1 to %d days.", MaxDays)
	}
	x.Until = now.Add(time.Duration(w.Days) * day).Unix()
	return x, room(all, x, now)
}

// room says whether there is room for one more.
func room(all *audit.Agreements, x audit.Exception, now time.Time) error {
	open, today := 0, 0
	for _, a := range all.All() {
		if now.Sub(a.ProposedAt) < day {
			today++
		}
		if !a.Holds(now) && !a.Waits(now) {
			continue
		}
		open++
		if a.SHA256 == x.SHA256 && slices.ContainsFunc(a.Findings, func(f audit.FindingName) bool { return slices.Contains(x.Findings, f) }) {
			return refuse("twice", "There is an exception for this content and finding already: %s.", a.ID)
		}
	}
	switch {
	case open >= maxOpen:
		return refuse("many", "There are %d exceptions already: remove one, or correct the rule pack.", open)
	case today >= maxDay:
		return refuse("many", "%d exceptions were proposed within a day: wait, or correct the rule pack.", today)
	}
	return nil
}

// Confirm makes the second step. Nobody confirms their own proposal.
func Confirm(all *audit.Agreements, name string, who audit.Pseudonym, now time.Time) (audit.Exception, error) {
	a, err := Find(all, name)
	if err != nil {
		return audit.Exception{}, err
	}
	x := a.Exception
	x.What, x.Person = audit.Confirmed, who
	switch {
	case a.Holds(now):
		return x, refuse("done", "This exception is in force already.")
	case !a.Waits(now):
		return x, refuse("late", "This exception was removed, has ended, or has waited for more than %d hours: propose it anew.", int(audit.ConfirmTime.Hours()))
	case a.Person == who:
		return x, refuse("alone", "You proposed this exception: a second person must confirm it.")
	}
	return x, nil
}

// Remove makes the last step, of a proposal too. One person is enough: nothing is let through by it.
func Remove(all *audit.Agreements, name string, who audit.Pseudonym) (audit.Exception, error) {
	a, err := Find(all, name)
	if err != nil {
		return audit.Exception{}, err
	}
	x := a.Exception
	x.What, x.Person = audit.Withdrawn, who
	if !a.RemovedAt.IsZero() {
		return x, refuse("done", "This exception was removed already.")
	}
	return x, nil
}

// Find finds an exception by its name, or by the beginning of it that fits only one.
func Find(all *audit.Agreements, name string) (*audit.Agreement, error) {
	var found []*audit.Agreement
	for _, a := range all.All() {
		if len(name) >= minName && strings.HasPrefix(a.ID.String(), strings.ToLower(name)) {
			found = append(found, a)
		}
	}
	if len(found) != 1 {
		return nil, refuse("unknown", "There is no exception of this name; give at least %d digits of it.", minName)
	}
	return found[0], nil
}

// poison takes a tenth of a second to make.
var poison = sync.OnceValue(feed.NewPoison)

// Set is what is excepted at one moment, under one rule pack. The zero value is nothing. It is not changed once made.
type Set struct {
	byContent map[audit.Digest][]*audit.Agreement
}

// InForce is what is excepted at a time, for media that are scanned with a pack, named by what rules.Pack.InForce returns.
func InForce(all *audit.Agreements, pack [32]byte, at time.Time) Set {
	s := Set{map[audit.Digest][]*audit.Agreement{}}
	for _, a := range all.All() {
		if !a.Holds(at) {
			continue
		}
		a := *a // what is agreed on later does not change a decision that is being taken
		if inForce(a.Rules) != pack {
			a.Findings = slices.DeleteFunc(slices.Clone(a.Findings), ofList)
		}
		s.byContent[a.SHA256] = append(s.byContent[a.SHA256], &a)
	}
	return s
}

// ofList reports whether a finding is a hash list's. All of them have one name: only the pack says which lists spoke.
func ofList(n audit.FindingName) bool {
	return strings.HasPrefix(string(n), report.CheckBlocklist.String()+"/")
}

func inForce(r audit.Rules) [32]byte {
	if r.Added != (audit.Digest{}) {
		return r.Added
	}
	return r.Digest
}

// Covers returns the exception for a finding on an item, nil if there is none.
func (s Set) Covers(it *report.Item, f report.Finding) *audit.Agreement {
	switch {
	case it.Kind != report.File && it.Kind != report.Stream && it.Kind != report.Member:
		return nil // bytes outside of files have no content that anybody could have looked at
	case !it.Outcome.Seen() || len(it.Findings) >= report.MaxPerItem:
		return nil // its hash is not that of all of it, or it has findings that nobody sees
	}
	name := audit.NameOf(f)
	for _, a := range s.byContent[it.SHA256] {
		if slices.Contains(a.Findings, name) && rules.OfContent(string(name)) {
			return a
		}
	}
	return nil
}

// Listed reports whether a content that is on a hash list is excepted from that.
func (s Set) Listed(sum []byte) bool {
	return len(sum) == sha256.Size && slices.ContainsFunc(s.byContent[audit.Digest(sum)], func(a *audit.Agreement) bool {
		return slices.ContainsFunc(a.Findings, ofList)
	})
}

// Get returns an exception of the set by its name, nil if it is not in force.
func (s Set) Get(id audit.ID) *audit.Agreement {
	for _, list := range s.byContent {
		for _, a := range list {
			if a.ID == id {
				return a
			}
		}
	}
	return nil
}

// Holds reports whether the exceptions that a decision rests on are still in force.
func (s Set) Holds(used []audit.Excepted) bool {
	return !slices.ContainsFunc(used, func(u audit.Excepted) bool { return s.Get(u.Exception) == nil })
}
