package main

import (
	"fmt"
	"strings"
	"time"

	"pratique/kiosk/audit"
)

// entryLine is one log entry for a person. Everything in an entry is a fixed word, a count or a digest.
func entryLine(e audit.Entry) string {
	line := fmt.Sprintf("%6d  %s  %-9s", e.Index, e.Time.UTC().Format(timeFormat), e.Kind)
	if e.Session != (audit.ID{}) {
		line += "  session " + e.Session.String()[:8]
	}
	if text := dataText(e.Data); text != "" {
		line += "  " + text
	}
	if e.ClockBack > 0 {
		line += fmt.Sprintf("  (clock was %d seconds behind)", e.ClockBack)
	}
	return line
}

func dataText(data audit.Data) string {
	switch d := data.(type) {
	case audit.Attached:
		return fmt.Sprintf("%s of %s", d.Source, size(d.Bytes))
	case audit.Decided:
		text := fmt.Sprintf("%s for %s, %s, rules %s %d", d.Verdict, d.Class, count(d.Counts.Files, "file", "files"), d.Rules.Name, d.Rules.Version)
		if len(d.Reasons) > 0 {
			text += " (" + joinWords(d.Reasons) + ")"
		}
		for _, x := range d.Excepted {
			text += fmt.Sprintf(", %s excepted by %s", count(x.Findings, "finding", "findings"), x.Exception.String()[:8])
		}
		return text
	case audit.Issued:
		return fmt.Sprintf("token %s for entry %d", d.Token.String()[:16], d.Issuing)
	case audit.Abandoned:
		return fmt.Sprintf("no token for entry %d", d.Issuing)
	case audit.Aborted:
		return string(d.Cause)
	case audit.Failed:
		return string(d.Cause)
	case audit.Denied:
		return "a clearance for " + string(d.Class)
	case audit.Pack:
		text := fmt.Sprintf("%s %d is in force, was %s %d", d.Rules.Name, d.Rules.Version, d.Before.Name, d.Before.Version)
		if d.Refuse != "" {
			text = fmt.Sprintf("refused %s %d (%s: %s)", d.Rules.Name, d.Rules.Version, d.Gate, d.Refuse)
		}
		if d.Medium != (audit.ID{}) {
			text += ", from the medium of session " + d.Medium.String()[:8]
		}
		if d.Untold > 0 {
			text += fmt.Sprintf(", and %d more since the one before", d.Untold)
		}
		return text
	case audit.Canary:
		if len(d.Failed) == 0 {
			return fmt.Sprintf("found on all %d ways, rules %s %d", d.Passed, d.Rules.Name, d.Rules.Version)
		}
		return fmt.Sprintf("NOT found: %s", joinWords(d.Failed))
	case audit.Recalled:
		text := fmt.Sprintf("clearance %s for %s (%s), by rules %s %d", d.Clearance.String()[:8], joinWords(d.Classes), d.Cause, d.Rules.Name, d.Rules.Version)
		if d.Station != "" {
			text += ", of station " + string(d.Station)
		}
		return text
	case audit.Exception:
		return fmt.Sprintf("%s %s for content %s (%s), until %s", d.What, d.ID.String()[:8], d.SHA256.String()[:16], d.Reason, time.Unix(d.Until, 0).UTC().Format(timeFormat))
	case audit.Refused:
		return fmt.Sprintf("a device on port %s, %04x:%04x (%s)", d.Port, d.VID, d.PID, d.Cause)
	case audit.Erased:
		return fmt.Sprintf("names of %s: %s", eraseText(d), count(d.Secrets, "key", "keys"))
	case audit.Disclosed:
		if d.Entry >= 0 {
			return fmt.Sprintf("names of entry %d (%s)", d.Entry, d.Reason)
		}
		return fmt.Sprintf("names of session %s (%s)", d.Session.String()[:8], d.Reason)
	case audit.Read:
		return fmt.Sprintf("entries %d to %d", d.From, d.To)
	case audit.Exported:
		return fmt.Sprintf("entries %d to %d as %s", d.From, d.To, d.Format)
	case audit.Issuing:
		if d.Override != "" {
			return fmt.Sprintf("RED, by override (%s), for %s", d.Override, joinWords(d.Classes))
		}
	case audit.Override:
		if d.Confirmed {
			return fmt.Sprintf("confirmed for %s (%s)", d.Class, d.Reason)
		}
		return fmt.Sprintf("asked for %s (%s)", d.Class, d.Reason)
	case audit.Guest:
		return fmt.Sprintf("of %s for %s", d.Company, d.Order)
	case audit.Administered:
		text := string(d.What)
		if d.Reason != "" {
			text += ": " + string(d.Reason)
		}
		if d.Number > 0 {
			text += fmt.Sprintf(" (%d)", d.Number)
		}
		return text
	}
	return ""
}

func eraseText(d audit.Erased) string {
	switch d.Scope {
	case "session":
		return "session " + d.Session.String()[:8]
	case "before":
		return "all before " + string(d.Month)
	}
	return string(d.Month)
}

func joinWords(words []audit.Word) string {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

// verifyLine is the result of a verification.
func verifyLine(res audit.Result) string {
	if !res.Sound {
		return fmt.Sprintf("the log is NOT sound: %v", res.Bad)
	}
	text := fmt.Sprintf("the log is sound: %s, %s, %s", count(uint64(res.Entries), "entry", "entries"),
		count(uint64(res.Checkpoints), "signed checkpoint", "signed checkpoints"), count(res.Items, "item", "items"))
	if res.Unbound > 0 {
		text += fmt.Sprintf(" (%s without a verdict)", count(uint64(res.Unbound), "session", "sessions"))
	}
	if res.Steps > 0 {
		text += fmt.Sprintf("; %s of the station's counter, up to %d", count(uint64(res.Steps), "step", "steps"), res.Counter)
	}
	if res.Witnesses > 0 {
		text += fmt.Sprintf("; %s from elsewhere agree", count(uint64(res.Witnesses), "record", "records"))
	}
	if res.Cosigned > 0 {
		text += fmt.Sprintf("; cosigned up to entry %d", res.CosignedTo-1)
	}
	return text + fmt.Sprintf("; root %v", res.Root)
}
