package kiosk

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"pratique/kiosk/audit"
	"pratique/kiosk/exception"
	"pratique/rules"
	"pratique/scanner/report"
)

// Verdict is the answer of one session.
type Verdict uint8

// The verdicts. The zero value refuses.
const (
	CouldNotCheck Verdict = iota
	NotCleared
	Cleared
)

// String returns the words that people and integrators see. Anything that is not a verdict reads as a refusal.
func (v Verdict) String() string {
	switch v {
	case Cleared:
		return "cleared"
	case NotCleared:
		return "not cleared"
	}
	return "could not check"
}

// Code is a reason's fixed word: a closed list, so that integrators can branch on it.
type Code string

// The codes of a medium that is not cleared.
const (
	YARAMatch        Code = "yara-match"        // content matches a rule
	BlocklistHit     Code = "blocklist-hit"     // a file's hash is on a blocklist
	StructureFinding Code = "structure-finding" // content is disguised or shaped to confuse
	VolumeFinding    Code = "volume-finding"    // a file system is built to confuse
	MediumFinding    Code = "medium-finding"    // the device is laid out to confuse, or changes what it shows
	TooManyFindings  Code = "too-many-findings" // more items with findings than a report can hold
	TypeNotAllowed   Code = "type-not-allowed"  // the equipment class does not take files of this type
	ContentRefused   Code = "content-refused"   // a setting of the class's policy refuses: programs, scripts, macros and the like
)

// The codes of a medium that could not be checked.
const (
	EmptyMedium      Code = "empty"                 // there is not one byte on it
	NoVolume         Code = "no-volume"             // there is no file system on it, so there is nothing to clear
	Truncated        Code = "truncated"             // a partition table points past the end, or the end is inside a sector
	Encrypted        Code = "encrypted"             // a volume or file cannot be seen into; where the policy refuses that, not cleared
	Unsupported      Code = "unsupported-volume"    // a file system that this station does not read
	Damaged          Code = "malformed"             // structures contradict themselves
	Unreadable       Code = "unreadable"            // the medium returned errors
	TooLarge         Code = "too-large"             // a limit on size, depth or number was reached
	TimedOut         Code = "timed-out"             // a limit on time was reached
	Unscanned        Code = "unscanned"             // nobody looked at an item
	NotUnderstood    Code = "region-not-understood" // bytes that belong to nothing known
	WorkerDied       Code = "worker-died"           // the process that read the medium died
	WorkerStalled    Code = "worker-stalled"        // it stopped answering
	WorkerProtocol   Code = "worker-protocol"       // it said what it cannot have seen
	TooManyRestarts  Code = "too-many-restarts"     // content kills the matching process again and again
	ScanHalted       Code = "scan-halted"           // the scan stopped short
	MediumChanged    Code = "medium-changed"        // the image or device changed while it was read
	Interrupted      Code = "interrupted"           // somebody stopped the scan, or pulled the medium
	Incomplete       Code = "incomplete"            // the scan did not say that it ended
	NothingLookedFor Code = "nothing-looked-for"    // no policy, no rules: a scan that proves nothing
)

// FindingsExcepted is the one code that can stand beside every verdict: findings that would have barred the medium were
// excepted, for a time, by two people.
const FindingsExcepted Code = "excepted"

// Reason is one thing that stood in the way, for a person and for a program. Text never holds a name from the medium.
type Reason struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

// Decision is a verdict with its reasons, worst first. A cleared medium has none, or FindingsExcepted alone.
type Decision struct {
	Verdict  Verdict
	Reasons  []Reason
	Excepted []audit.Excepted // what would have barred it but for exceptions, in the order of their names
}

// sectorUnit is the smallest sector that a medium can have.
const sectorUnit = 512

// Decide takes the verdict from a report under the policy of one equipment class and the exceptions in force. It is pure: the
// same report, policy and exceptions give the same decision, byte for byte.
//
// Precedence: a blocking finding wins over everything; then anything that was not seen in full; only what is left is
// cleared.
func Decide(rep *report.Report, policy rules.Policy, except exception.Set) Decision {
	blocks, excepted := blocking(rep, policy, except)
	d := Decision{CouldNotCheck, append(blocks, unseen(rep, policy)...), excepted}
	switch {
	case len(blocks) > 0:
		d.Verdict = NotCleared
	case len(d.Reasons) == 0:
		d.Verdict = Cleared
	}
	var n uint64
	for _, x := range excepted {
		n += x.Findings
	}
	if n > 0 {
		d.Reasons = append(d.Reasons, Reason{FindingsExcepted, plural(int(min(n, 1<<30)), "1 finding is excepted: two people agreed that a rule is wrong about this content.",
			"%d findings are excepted: two people agreed that rules are wrong about this content.")})
	}
	return d
}

// blockReasons are the sentences about findings of a check, or of one rule of it, which comes before the check's own.
var blockReasons = []struct {
	check     report.Check
	rules     []string // none for all
	code      Code
	one, many string
}{
	{report.CheckYARA, nil, YARAMatch, "1 item matches a rule for harmful content.", "%d items match rules for harmful content."},
	{report.CheckBlocklist, nil, BlocklistHit, "1 file is on the blocklist.", "%d files are on the blocklist."},
	{report.CheckStructure, nil, StructureFinding, "1 item is disguised or built to do harm.", "%d items are disguised or built to do harm."},
	{report.CheckVolume, nil, VolumeFinding, "A file system is built in a way that hides content.", "File systems are built in ways that hide content (%d findings)."},
	{report.CheckMedium, []string{"medium-changes"}, MediumFinding, "The medium changes what it shows.", "The medium changes what it shows (%d findings)."},
	{report.CheckMedium, []string{"medium-ends", "medium-wraps"}, MediumFinding, "The medium has less memory than it says.",
		"The medium has less memory than it says (%d findings)."},
	{report.CheckMedium, nil, MediumFinding, "The medium is laid out in a way that hides content.", "The medium is laid out in ways that hide content (%d findings)."},
}

// blocking lists what keeps a medium from being cleared whatever else was seen, and what would but for exceptions.
func blocking(rep *report.Report, policy rules.Policy, except exception.Set) (out []Reason, excepted []audit.Excepted) {
	counts := make([]int, len(blockReasons))
	unknown := 0
	refused := refusedTypes(rep, policy)
	used := map[audit.ID]uint64{}
	count := func(it *report.Item) {
		seen := map[int]bool{} // an item counts once for each reason
		for _, f := range it.Findings {
			s, by := severity(policy, except, it, f)
			if by != nil {
				used[by.ID]++
			}
			if s != report.Block {
				continue
			}
			if s := rules.SettingOf(f); s != rules.NoSetting && policy.Stance(s) == rules.Refuse {
				refused[s] = true
				continue
			}
			reason := reasonOf(f)
			switch {
			case seen[reason]:
			case reason < 0: // a check that the table does not know still blocks
				unknown++
			default:
				counts[reason]++
			}
			seen[reason] = true
		}
	}
	for i := range rep.NotClean {
		count(&rep.NotClean[i])
	}
	for i := range rep.Found {
		count(&report.Item{Findings: []report.Finding{rep.Found[i].Finding}}) // of no kind: no exception is about it
	}

	for i, r := range blockReasons {
		if n := counts[i]; n > 0 {
			out = append(out, Reason{r.code, plural(n, r.one, r.many)})
		}
	}
	if unknown > 0 {
		out = append(out, Reason{StructureFinding, plural(unknown, "1 item has a finding of an unknown kind.", "%d items have findings of an unknown kind.")})
	}
	if rep.TooMany {
		out = append(out, Reason{TooManyFindings, fmt.Sprintf("More than %d items have findings.", report.MaxNotClean)})
	}
	for _, s := range rules.Settings() {
		switch {
		case !refused[s]:
		case s == rules.Encrypted:
			out = append(out, Reason{Encrypted, s.Refusal(policy.Class)})
		default:
			out = append(out, Reason{ContentRefused, s.Refusal(policy.Class)})
		}
	}
	for id, n := range used {
		excepted = append(excepted, audit.Excepted{Exception: id, Findings: n})
	}
	slices.SortFunc(excepted, func(a, b audit.Excepted) int { return bytes.Compare(a.Exception[:], b.Exception[:]) })
	return append(out, disallowed(rep, policy)...), excepted
}

// severity is what a finding does to the verdict, and the exception without which it would bar the medium, if any.
func severity(policy rules.Policy, except exception.Set, it *report.Item, f report.Finding) (report.Severity, *audit.Agreement) {
	s := policy.Severity(f)
	if s != report.Block {
		return s, nil
	}
	if by := except.Covers(it, f); by != nil {
		return report.Inform, by
	}
	return s, nil
}

// reasonOf is the place of a finding's reason in blockReasons, or -1.
func reasonOf(f report.Finding) int {
	for i, r := range blockReasons {
		if r.check == f.Check && (r.rules == nil || slices.Contains(r.rules, f.Rule)) {
			return i
		}
	}
	return -1
}

// refusedTypes are the settings that refuse because of what lies on the medium, whatever was found about it.
func refusedTypes(rep *report.Report, policy rules.Policy) map[rules.Setting]bool {
	refused := map[rules.Setting]bool{}
	for t, n := range rep.Types {
		if s := rules.SettingOfType(t); n > 0 && s != rules.NoSetting && policy.Stance(s) == rules.Refuse {
			refused[s] = true
		}
	}
	locked := rep.Tally.Outcomes[report.Encrypted] > 0 ||
		slices.ContainsFunc(rep.Volumes, func(v report.Volume) bool { return v.Outcome == report.Encrypted })
	if locked && policy.Stance(rules.Encrypted) == rules.Refuse {
		refused[rules.Encrypted] = true
	}
	return refused
}

// disallowed names the types that the class does not take, in a fixed order, less those that a setting refused.
func disallowed(rep *report.Report, policy rules.Policy) []Reason {
	var types []string
	for t, n := range rep.Types {
		if s := rules.SettingOfType(t); n > 0 && !policy.Allows(t) && (s == rules.NoSetting || policy.Stance(s) != rules.Refuse) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	var out []Reason
	const shown = 8
	for _, t := range types[:min(len(types), shown)] {
		name := t
		if name == "" {
			name = "an unknown type"
		}
		out = append(out, Reason{TypeNotAllowed,
			plural(int(min(rep.Types[t], 1<<30)), "1 file", "%d files") + fmt.Sprintf(" of type %s: not allowed for class %q.", name, policy.Class)})
	}
	if len(types) > shown {
		out = append(out, Reason{TypeNotAllowed, fmt.Sprintf("Files of %d more types are not allowed for class %q.", len(types)-shown, policy.Class)})
	}
	return out
}

var outcomeReasons = map[report.Outcome]struct {
	code      Code
	one, many string
}{
	report.Unscanned:  {Unscanned, "1 item was not scanned.", "%d items were not scanned."},
	report.Encrypted:  {Encrypted, "1 item is encrypted, so nobody can see what is in it.", "%d items are encrypted, so nobody can see what is in them."},
	report.TooLarge:   {TooLarge, "1 item is larger or deeper than this station scans.", "%d items are larger or deeper than this station scans."},
	report.TimedOut:   {TimedOut, "1 item took too long to scan.", "%d items took too long to scan."},
	report.Malformed:  {Damaged, "1 item is damaged or contradicts itself.", "%d items are damaged or contradict themselves."},
	report.Unreadable: {Unreadable, "1 item could not be read from the medium.", "%d items could not be read from the medium."},
}

// unseen lists everything that was not seen in full. It takes counts from the tally and not from the kept items alone, so
// that nothing is lost where the list was cut.
func unseen(rep *report.Report, policy rules.Policy) []Reason {
	var out []Reason
	switch {
	case rep.Bytes < 0:
		if len(rep.Shortfalls) == 0 { // which say why
			out = append(out, Reason{Unreadable, "How large the medium is could not be found out."})
		}
	case rep.Bytes == 0:
		out = append(out, Reason{EmptyMedium, "The medium is empty: there is nothing to read."})
	case rep.Bytes%sectorUnit != 0:
		out = append(out, Reason{Truncated, "The medium ends inside a sector: it is cut short."})
	case rep.Complete && len(rep.Volumes) == 0:
		out = append(out, Reason{NoVolume, "There is no file system on the medium, so there is nothing to clear."})
	}
	if policy.Class == "" {
		out = append(out, Reason{NothingLookedFor, "No policy was in force."})
	}
	for i := range rep.Volumes {
		if v := &rep.Volumes[i]; v.Outcome != report.Clean {
			out = append(out, volumeReason(v))
		}
	}
	regions := map[report.RegionClass]int{}
	for _, r := range rep.Regions {
		regions[r.Class]++
	}
	for _, class := range slices.Sorted(maps.Keys(regions)) {
		n := regions[class]
		switch {
		case class.Accounted():
		case class == report.RegionMissing:
			out = append(out, Reason{Truncated, "A partition table points past the end of the medium: it is cut short, or claims a size that it does not have."})
		case class == report.RegionUnreadable:
			out = append(out, Reason{Unreadable, plural(n, "1 region of the medium could not be read.", "%d regions of the medium could not be read.")})
		default:
			out = append(out, Reason{NotUnderstood, plural(n, "1 region of the medium holds something that this station does not know.", "%d regions of the medium hold something that this station does not know.")})
		}
	}
	for outcome, n := range rep.Tally.Outcomes {
		if o := report.Outcome(outcome); n > 0 && !o.Seen() {
			r, ok := outcomeReasons[o]
			if !ok {
				r = outcomeReasons[report.Unscanned]
			}
			out = append(out, Reason{r.code, plural(int(min(n, 1<<30)), r.one, r.many)})
		}
	}
	if len(out) == 0 { // belt and braces: the kept items must agree with the tally, and with their own findings
		for i := range rep.NotClean {
			it := &rep.NotClean[i]
			if !it.Outcome.Seen() {
				r := outcomeReasons[report.Unscanned]
				out = append(out, Reason{r.code, r.one})
				break
			}
			if slices.ContainsFunc(it.Findings, func(f report.Finding) bool { return rules.SettingOf(f) == rules.Encrypted }) {
				r := outcomeReasons[report.Encrypted]
				out = append(out, Reason{r.code, r.one})
				break
			}
		}
	}
	for _, s := range rep.Shortfalls {
		out = append(out, Reason{Code(s.Code), s.Text})
	}
	if !rep.Complete && len(rep.Shortfalls) == 0 {
		out = append(out, Reason{Incomplete, "The scan did not reach its end."})
	}
	slices.SortStableFunc(out, func(a, b Reason) int { return cmp.Compare(rank(a.Code), rank(b.Code)) })
	return slices.Compact(out)
}

// rank puts what a person can act on first.
func rank(c Code) int {
	for i, code := range []Code{EmptyMedium, NoVolume, Truncated, MediumChanged, Encrypted, Unsupported, Unreadable, Damaged, TooLarge, TimedOut} {
		if c == code {
			return i
		}
	}
	return 100
}

func volumeReason(v *report.Volume) Reason {
	code := Unsupported
	switch v.Outcome {
	case report.Encrypted:
		code = Encrypted
	case report.Malformed:
		code = Damaged
	case report.Unreadable:
		code = Unreadable
	case report.TooLarge:
		code = TooLarge
	case report.TimedOut:
		code = TimedOut
	}
	text := v.Reason
	if text == "" {
		text = "A volume was not read in full."
	}
	return Reason{code, fmt.Sprintf("Volume %d (%s): %s", v.ID, v.FileSystem, text)}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return fmt.Sprintf(many, n)
}
