package staff

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is something that a person may do or not.
type Action string

// The actions.
const (
	Clear      Action = "clear"      // have a clearance for an equipment class
	Override   Action = "override"   // be one of two who let a medium through that was not cleared
	Vouch      Action = "sponsor"    // answer for a guest
	Install    Action = "install"    // put a signed rule pack in force
	Approve    Action = "approve"    // be one of two who approve an exception, or sign a rule pack
	ReadLog    Action = "read-log"   // list, search and verify the log
	ExportLog  Action = "export-log" // take entries out, as pseudonyms
	Disclose   Action = "disclose"   // be one of two who see clear names
	EraseLog   Action = "erase-log"  // destroy what clear names are read with
	Incident   Action = "incident"   // begin an incident, and be one of two who end it
	Administer Action = "administer" // keys, trust file, roster, backup
)

// rule is who may do one thing.
type rule struct {
	action Action
	roles  []Role // any of them
	class  []Role // of those, the ones that may only for their classes of equipment
	guests bool   // with their sponsor beside them
}

// rules is the whole policy. What is not here nobody may do.
var rules = []rule{
	{Clear, []Role{Operator}, []Role{Operator}, true},
	{Override, []Role{Operator, Security}, []Role{Operator}, false},
	{Vouch, nil, nil, false}, // a right of its own, which the roster gives by name
	{Install, []Role{Security, Administrator}, nil, false},
	{Approve, []Role{Security}, nil, false},
	{ReadLog, []Role{Auditor}, nil, false},
	{ExportLog, []Role{Auditor}, nil, false},
	{Disclose, []Role{Auditor, Administrator}, nil, false},
	{EraseLog, []Role{Administrator}, nil, false},
	{Incident, []Role{Security, Administrator}, nil, false},
	{Administer, []Role{Administrator}, nil, false},
}

// Actions lists what can be asked for.
func Actions() (out []Action) {
	for _, r := range rules {
		out = append(out, r.action)
	}
	return out
}

// Answer says whether a person may. The zero value refuses.
type Answer uint8

// The answers.
const (
	No Answer = iota
	WithSponsor
	Yes
)

// String returns the word.
func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case WithSponsor:
		return "yes, with the sponsor"
	}
	return "no"
}

// NeedsClass reports whether an action is about one class of equipment.
func (a Action) NeedsClass() bool { return a == Clear || a == Override }

// Can says whether a person may do something at a time, for a class of equipment if the action is about one, and in one
// sentence which rule decides.
func (r *Roster) Can(id string, action Action, class string, now time.Time) (Answer, string) {
	p, found := r.ByID(id)
	at := slices.IndexFunc(rules, func(r rule) bool { return r.action == action })
	switch {
	case !found || id == "":
		return No, "The roster does not have this person."
	case at < 0:
		return No, fmt.Sprintf("There is no action %q, so nobody may do it.", action)
	case action.NeedsClass() != (class != ""):
		if class == "" {
			return No, fmt.Sprintf("%q is about a class of equipment, and none was named.", action)
		}
		return No, fmt.Sprintf("%q is not about a class of equipment.", action)
	case p.Expired(now):
		return No, fmt.Sprintf("The last day of %s was %s.", p.Label(), p.Until)
	case action == Vouch && p.Sponsor:
		return Yes, fmt.Sprintf("The roster lets %s answer for guests.", p.Label())
	case action == Vouch:
		return No, fmt.Sprintf("The roster does not let %s answer for guests.", p.Label())
	}
	return r.judge(p, rules[at], class, now)
}

// judge applies one rule to a person of the roster.
func (r *Roster) judge(p Person, rule rule, class string, now time.Time) (Answer, string) {
	why := fmt.Sprintf("%q takes the role %s; %s has %s.", rule.action, oneOf(rule.roles), p.Label(), oneOf(p.Roles))
	for _, role := range rule.roles {
		switch {
		case !p.Has(role):
			continue
		case class != "" && slices.Contains(rule.class, role) && !slices.Contains(p.Classes, class):
			why = fmt.Sprintf("%s is %s, and the class %q is not among theirs (%s).", p.Label(), role, class, orNone(p.Classes))
			continue
		case p.Guest == nil:
			return Yes, fmt.Sprintf("%s is %s%s.", p.Label(), role, forClass(rule, role, class))
		case !rule.guests:
			return No, fmt.Sprintf("%s is a guest, and no guest may do this.", p.Label())
		}
		sponsor, found := r.ByID(p.Guest.Sponsor)
		switch {
		case !found || !sponsor.Sponsor || sponsor.Expired(now):
			return No, fmt.Sprintf("%s is a guest, and nobody may answer for them any more.", p.Label())
		case class != "" && !slices.Contains(sponsor.Classes, class):
			return No, fmt.Sprintf("%s is a guest, and the class %q is not among those of their sponsor.", p.Label(), class)
		}
		return WithSponsor, fmt.Sprintf("%s is a guest of %s: their sponsor must sign in beside them.", p.Label(), p.Guest.Company)
	}
	return No, why
}

func forClass(rule rule, role Role, class string) string {
	if class != "" && slices.Contains(rule.class, role) {
		return fmt.Sprintf(", and the class %q is among theirs", class)
	}
	return ""
}

func oneOf(roles []Role) string {
	var out []string
	for _, r := range roles {
		out = append(out, string(r))
	}
	return orNone(out)
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// Remark is something about a roster that is allowed and should be seen to.
type Remark struct{ Person, Text string }

// Lint says what a careful person would change in a sound roster.
func (r *Roster) Lint(now time.Time) []Remark {
	var out []Remark
	count := map[Role]int{}
	sponsors := 0
	for _, p := range r.people {
		add := func(text string) { out = append(out, Remark{p.ID, text}) }
		if p.Expired(now) {
			add(fmt.Sprintf("The last day was %s: take the person out.", p.Until))
			continue
		}
		for _, role := range p.Roles {
			count[role]++
		}
		if p.Sponsor {
			sponsors++
		}
		reachable := p.UID != nil || p.PIN != "" && (p.Number != "" || len(p.Badges) > 0)
		switch {
		case !reachable:
			add("There is no user, and no PIN with a badge or a number: the person cannot sign in anywhere.")
		case p.PIN == "" && (p.Number != "" || len(p.Badges) > 0):
			add("A badge or a number without a PIN signs nobody in.")
		}
		if p.Has(Operator) && len(p.Classes) == 0 {
			add("An operator without a class of equipment can clear nothing.")
		}
		if len(p.Classes) > 0 && !p.Has(Operator) {
			add("Classes of equipment are for operators only.")
		}
		if p.Has(Auditor) && len(p.Roles) > 1 {
			add("An auditor who has another role audits their own doing.")
		}
	}
	house := func(text string) { out = append(out, Remark{"", text}) }
	if n := count[Security]; n < 2 {
		house("Fewer than two people have the role security: nobody can approve an exception.")
	}
	if count[Auditor] == 0 {
		house("Nobody is auditor.")
	}
	if sponsors == 0 {
		house("Nobody may answer for guests.")
	}
	return out
}
