package kiosk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

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

// ForwardedName is the file of the state with the checkpoint of what a collector has taken.
const ForwardedName = "forwarded"

// Delivery is a way out of the station. Close returns nil only if everything that was written has been taken.
type Delivery interface {
	io.WriteCloser
	Abandon() // instead of Close, when not everything was written
}

// Forward exports what has happened since the last time, and remembers that it was taken. It returns nil if nothing has happened
// but that the log was forwarded. After a crash, and after a delivery that failed, the same entries leave once more: a collector
// knows them by their index.
func (s *State) Forward(ctx context.Context, form export.Format, person string, dial func(context.Context) (Delivery, error)) (*export.Export, error) {
	unlock, err := s.lockForward()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var opts export.Options
	if text, err := readSmall(s.path(ForwardedName), maxForwarded); err == nil {
		opts.After = string(text)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if news, err := s.hasNews(ctx, form, opts); err != nil || !news {
		return nil, err
	}
	to, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	x, _, err := s.Export(ctx, form, opts, person, to)
	if err != nil {
		to.Abandon()
		return nil, err
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	return x, s.write(ForwardedName, []byte(x.Checkpoint), 0o600)
}

// maxForwarded is more than any signed checkpoint.
const maxForwarded = 64 << 10

// lockForward keeps a second forwarder away: each would send what the other does.
func (s *State) lockForward() (unlock func(), err error) {
	f, err := os.OpenFile(s.path(ForwardedName+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: the log is being forwarded already: %w", ErrState, err)
	}
	return func() { f.Close() }, nil
}

// errNews ends the reading of a log.
var errNews = errors.New("news")

// hasNews reports whether there is an entry to forward but those that say that the log was forwarded. Each delivery makes one of
// them, and would be followed by another for ever.
func (s *State) hasNews(ctx context.Context, form export.Format, opts export.Options) (bool, error) {
	x, err := export.Plan(ctx, s.log.Reader, opts)
	if err != nil {
		return false, exportError(err)
	}
	if x.From == x.To {
		return false, nil
	}
	err = s.log.List(ctx, audit.ListOptions{From: x.From, To: x.To}, func(e audit.Entry) error {
		if d, own := e.Data.(audit.Exported); own && d.Format == audit.Word(form) {
			return nil
		}
		return errNews
	})
	if errors.Is(err, errNews) {
		return true, nil
	}
	if err != nil {
		return false, logError(err)
	}
	return false, nil
}

// exportError tells what is wrong with the log apart from what the caller asked for.
func exportError(err error) error {
	if errors.Is(err, audit.ErrUnusable) {
		return logError(err)
	}
	return err
}
