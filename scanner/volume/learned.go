package volume

import "pratique/scanner/report"

// Learned gathers what a reader learns of a volume as a whole. The zero value is ready, and has nothing against the volume:
// only the end of a walk makes that a Summary.
type Learned struct {
	barred   bool
	outcome  report.Outcome // why, if barred
	reason   string
	findings []report.Finding
}

// Wrong says that something bars the volume, with any outcome: one that was never set refuses too. The first to say so
// gives the reason.
func (l *Learned) Wrong(outcome report.Outcome, reason string) {
	if !l.barred {
		l.barred, l.outcome, l.reason = true, outcome, reason
	}
}

// Note adds a finding, once for each rule: the first place is enough to look.
func (l *Learned) Note(rule string, severity report.Severity, at int64, text string) {
	for i := range l.findings {
		if l.findings[i].Rule == rule {
			return
		}
	}
	l.findings = append(l.findings,
		report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: at, Text: text})
}

// Merge adds what was learned elsewhere: a volume can be walked more than once, and opened only once.
func (l *Learned) Merge(other *Learned) {
	if other.barred {
		l.Wrong(other.outcome, other.reason)
	}
	for _, f := range other.findings {
		l.Note(f.Rule, f.Severity, f.Offset, f.Text)
	}
}

// Summary is for a walk that came to its end, or halted and said with Wrong why: what nothing bars is Clean.
func (l *Learned) Summary(label string) Summary {
	s := Summary{Outcome: l.outcome, Reason: l.reason, Findings: l.findings, Label: label}
	if !l.barred {
		s.Outcome = report.Clean
	}
	return s
}
