// Package export writes the log in the forms that other people's programs read.
//
// # What is exported
//
// An export is a run of entries without a gap, proved by two signed checkpoints: that of the entries before it and that of
// its own end (audit.Span). A period of time chooses the run; entries of another time that lie in it, because the clock was
// set back, are exported too, since what can be left out unseen proves nothing. An export that begins where the one before
// ended (Options.After) shows that nothing was changed or cut in between.
//
// The same entries give the same bytes, whoever exports them and whenever: there is no time of making in an export, and no
// random number. Sum is the digest of these bytes; the log keeps it.
//
// # The forms
//
// Each has its file here, and the standard that it follows is named at the head of that file:
//
//	csv      RFC 4180; opens in a spreadsheet and runs nothing there
//	jsonl    every leaf with its checkpoint; what audit.VerifyExport checks on another machine
//	pdf      a report for people, with charts
//	atna     DICOM PS3.15 section A.5, audit messages in XML
//	fhir     HL7 FHIR R4 AuditEvent, one a line
//	ocsf     Open Cybersecurity Schema Framework 1.3.0, one event a line
//	syslog   RFC 5424, with the message in Common Event Format; "atna-syslog" with the messages of atna
//
// # Trust and limits
//
// Entries hold pseudonyms, fixed words, counts and digests, so that is all that an export can hold: there is no clear text
// to leave out. A leaf is checked against the tree before the first byte leaves (Sum is asked for first), and so a log that
// somebody changed is not passed on as evidence. The rows of items are bound by a digest in their verdict, which
// audit.VerifyExport and "audit verify" check, and this package does not.
//
// Memory does not grow with the log: entries and items are read some at a time, and the report counts instead of collecting.
// Only the sessions that have had a verdict are remembered, some 100 bytes each until they end.
package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"pratique/kiosk/audit"
)

// Format names a form.
type Format string

// The forms.
const (
	CSV    Format = "csv"
	JSONL  Format = "jsonl"
	PDF    Format = "pdf"
	ATNA   Format = "atna"
	FHIR   Format = "fhir"
	OCSF   Format = "ocsf"
	Syslog Format = "syslog"
	// ATNASyslog is the messages of ATNA in those of Syslog, for a repository of IHE.
	ATNASyslog Format = "atna-syslog"
)

// form writes one export. The entries come in order, and behind the first verdict of a session its items. An error ends the
// export.
type form interface {
	begin(context.Context) error
	entry(*Record) error
	item(*Record, *Item) error
	end() error
}

// forms say of each form how it is made and which items it takes.
var forms = map[Format]struct {
	make  func(*Export, *bufio.Writer) form
	items items
}{
	CSV:    {newCSV, oddItems | allItems},
	JSONL:  {newJSONL, allItems},
	PDF:    {newPages, oddItems},
	ATNA:   {newATNA, oddItems},
	FHIR:   {newFHIR, oddItems},
	OCSF:   {newOCSF, oddItems},
	Syslog: {newSyslog, oddItems},

	ATNASyslog: {newATNASyslog, oddItems},
}

// items says which items a form has a place for.
type items uint8

const (
	oddItems items = 1 << iota // those that are not clean, or that a check said something of: the default
	allItems                   // all, if they are asked for
)

// Formats lists the names of all forms.
func Formats() []string {
	var out []string
	for f := range forms {
		out = append(out, string(f))
	}
	slices.Sort(out)
	return out
}

// What a caller can branch on.
var (
	ErrFormat = errors.New("there is no such form of an export")
	ErrItems  = errors.New("this form of an export has no place for all items")
	ErrBoth   = errors.New("an export begins either at a time or behind a checkpoint")
	// ErrRewritten says that a checkpoint that left the station is not of this log's history.
	ErrRewritten = errors.New("the log is not the one that the checkpoint was signed for")
	// ErrCheckpoint says that what should be a checkpoint of this log is none.
	ErrCheckpoint = errors.New("it is no checkpoint of this log")
	errChanged    = errors.New("the log gave two answers to one question")
)

// Options choose the entries. The zero value is the whole log.
type Options struct {
	Since, Until time.Time // [Since, Until); zero means open
	After        string    // the checkpoint at the end of the export before: this one begins behind it. Not with Since
	AllItems     bool      // every item, and not only the odd ones
}

// Export is a run of entries that is about to be written.
type Export struct {
	audit.Span
	Since, Until time.Time // as they were asked for
	First, Last  time.Time // of the first entry and the last; zero if there is none
	After        bool      // it continues a checkpoint that left the station

	log  *audit.Reader
	all  bool
	sums map[Format]Sum
}

// Sum is what is known of an export once it was written.
type Sum struct {
	SHA256  audit.Digest `json:"sha256"`
	Bytes   int64        `json:"bytes"`
	Entries int64        `json:"entries"`
	Items   uint64       `json:"items"`
}

// Plan chooses the entries and proves their place in the log. It is ErrRewritten if the log does not continue opts.After.
func Plan(ctx context.Context, log *audit.Reader, opts Options) (*Export, error) {
	x := &Export{Since: opts.Since.UTC(), Until: opts.Until.UTC(), log: log, all: opts.AllItems, sums: map[Format]Sum{}}
	from, to, err := log.Period(ctx, opts.Since, opts.Until)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	var after audit.Head
	if opts.After != "" {
		if !opts.Since.IsZero() {
			return nil, ErrBoth
		}
		if after, err = log.Accept(opts.After); err != nil {
			return nil, fmt.Errorf("export: %w: %w", ErrCheckpoint, err)
		}
		from, x.After = after.Size, true
		if size, err := log.Size(ctx); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		} else if size < from {
			return nil, fmt.Errorf("export: %w: it has %d entries, and the log has %d", ErrRewritten, from, size)
		}
		to = max(to, from)
	}
	// Of an empty log this is all that it has by then, since 0 means the end.
	if x.Span, err = log.Span(ctx, from, to); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if x.After {
		if before, err := log.Accept(x.Before); err != nil || before != after {
			return nil, fmt.Errorf("export: %w: another root for %d entries", ErrRewritten, from)
		}
	}
	return x, x.times(ctx)
}

// times reads when the first entry was made and the last.
func (x *Export) times(ctx context.Context) error {
	for _, end := range []struct {
		index int64
		into  *time.Time
	}{{x.From, &x.First}, {x.To - 1, &x.Last}} {
		if x.To == x.From {
			break
		}
		err := x.log.List(ctx, audit.ListOptions{From: end.index, To: end.index + 1}, func(e audit.Entry) error {
			*end.into = e.Time
			return nil
		})
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

// Sum writes the export to nowhere and returns what it would be. A log whose entries are not those of its checkpoint is an
// error here, before anything has left.
func (x *Export) Sum(ctx context.Context, f Format) (Sum, error) {
	if s, ok := x.sums[f]; ok {
		return s, nil
	}
	s, err := x.write(ctx, f, io.Discard)
	if err == nil {
		x.sums[f] = s
	}
	return s, err
}

// Write writes the export. The bytes are those of Sum, or it is an error at their end.
func (x *Export) Write(ctx context.Context, f Format, to io.Writer) (Sum, error) {
	want, err := x.Sum(ctx, f)
	if err != nil {
		return Sum{}, err
	}
	s, err := x.write(ctx, f, to)
	if err == nil && s != want {
		err = errChanged
	}
	return s, err
}

// counter takes the digest of what passes.
type counter struct {
	to  io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// What is read of the log at a time, so that it can tidy up between two reads however slow the receiver is.
const (
	entryBatch = 512
	itemBatch  = 2048
)

func (x *Export) write(ctx context.Context, name Format, to io.Writer) (Sum, error) {
	kind, ok := forms[name]
	switch {
	case !ok:
		return Sum{}, fmt.Errorf("%w: %q; there are %s", ErrFormat, string(name), strings.Join(Formats(), ", "))
	case x.all && kind.items&allItems == 0:
		return Sum{}, fmt.Errorf("%w: %s", ErrItems, name)
	}
	out := &counter{to: to, sum: sha256.New()}
	buffer := bufio.NewWriterSize(out, 64<<10)
	f := kind.make(x, buffer)
	tree, err := x.log.Follow(x.Span)
	if err != nil {
		return Sum{}, fmt.Errorf("export: %w", err)
	}
	w := &walk{x: x, form: f, tree: tree, items: x.all || kind.items&oddItems != 0, done: map[audit.ID]bool{}}
	err = f.begin(ctx)
	for at := x.From; err == nil && at < x.To; at += entryBatch {
		err = w.entries(ctx, at, min(at+entryBatch, x.To))
	}
	if err == nil {
		err = tree.End()
	}
	if err == nil {
		err = f.end()
	}
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		return Sum{}, fmt.Errorf("export: %w", err)
	}
	return Sum{SHA256: audit.Digest(out.sum.Sum(nil)), Bytes: out.n, Entries: x.To - x.From, Items: w.rows}, nil
}

// walk passes entries and items to a form.
type walk struct {
	x     *Export
	form  form
	tree  *audit.Follower
	items bool
	rows  uint64
	done  map[audit.ID]bool // sessions that had a verdict and have not ended
}

func (w *walk) entries(ctx context.Context, from, to int64) error {
	batch := make([]audit.Signed, 0, to-from)
	if err := w.x.log.ListSigned(ctx, from, to, func(s audit.Signed) error {
		batch = append(batch, s)
		return nil
	}); err != nil {
		return err
	}
	for _, s := range batch {
		if err := w.tree.Add(s.Entry); err != nil {
			return err
		}
		r, err := newRecord(s)
		if err != nil {
			return err
		}
		switch s.Kind {
		case audit.KindDecided: // the further verdicts of a session are about the same scan
			r.First = !w.done[s.Session]
			w.done[s.Session] = true
		case audit.KindRemoved, audit.KindAborted, audit.KindFailed:
			delete(w.done, s.Session)
		}
		if err := w.form.entry(r); err != nil {
			return err
		}
		if w.items && r.First {
			if err := w.sessionItems(ctx, r); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (w *walk) sessionItems(ctx context.Context, r *Record) error {
	for next := int64(0); ; {
		rows, err := w.x.log.Rows(ctx, r.entry.Session, next, itemBatch, !w.x.all)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := w.form.item(r, newItem(row)); err != nil {
				return err
			}
			w.rows++
			next = row.Seq + 1
		}
		if len(rows) < itemBatch {
			return nil
		}
	}
}
