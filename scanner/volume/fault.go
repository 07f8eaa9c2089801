package volume

import (
	"errors"

	"pratique/scanner/report"
)

// Fault is an error of a reader that says why a structure cannot be used: an outcome and the end of a sentence.
type Fault struct {
	Outcome report.Outcome
	Text    string // "it ends too early."
}

// Malformed is the fault of a structure that contradicts itself.
func Malformed(text string) error { return &Fault{Outcome: report.Malformed, Text: text} }

func (f *Fault) Error() string { return f.Text }

// Unwrap lets callers ask for ErrUnreadable and ErrMalformed. A fault of another outcome is neither.
func (f *Fault) Unwrap() error {
	switch f.Outcome {
	case report.Unreadable:
		return ErrUnreadable
	case report.Malformed:
		return ErrMalformed
	}
	return nil
}

// OutcomeOf is what an error of a reader means; one that is no Fault can only come from the medium.
func OutcomeOf(err error) report.Outcome {
	var f *Fault
	if errors.As(err, &f) {
		return f.Outcome
	}
	return report.Unreadable
}
