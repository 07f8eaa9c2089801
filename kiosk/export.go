package kiosk

import (
	"context"
	"errors"
	"io"

	"pratique/kiosk/audit"
	"pratique/kiosk/audit/export"
)

// Export writes entries of the log in one of the forms of package export, and says which entries they were and what the
// bytes sum up to. The log is told first, by whom and with the digest, and durably: nothing leaves that it does not know of. A
// crash in between, or a receiver that does not take all of it, leaves an entry for bytes that nobody has.
func (s *State) Export(ctx context.Context, form export.Format, opts export.Options, person string, to io.Writer) (*export.Export, export.Sum, error) {
	x, err := export.Plan(ctx, s.log.Reader, opts)
	if err != nil {
		return nil, export.Sum{}, exportError(err)
	}
	sum, err := x.Sum(ctx, form)
	if err != nil {
		return nil, export.Sum{}, exportError(err)
	}
	told := audit.Exported{Format: audit.Word(form), From: x.From, To: x.To, SHA256: sum.SHA256, Items: sum.Items, Person: s.pseudonym(person)}
	if _, err := s.log.AppendNamed(ctx, audit.Event{Data: told}, audit.Named{Person: person}); err != nil {
		return nil, export.Sum{}, logError(err)
	}
	if _, err := x.Write(ctx, form, to); err != nil {
		return nil, export.Sum{}, exportError(err)
	}
	return x, sum, nil
}

// exportError tells what is wrong with the log apart from what the caller asked for.
func exportError(err error) error {
	if errors.Is(err, audit.ErrUnusable) {
		return logError(err)
	}
	return err
}
