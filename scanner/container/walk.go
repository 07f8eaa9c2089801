package container

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// walk is the opening of one file, with what it has cost so far.
type walk struct {
	opener   *Opener
	ctx      context.Context
	sink     Sink
	allowed  int64 // bytes that the file may hold
	members  int
	bytes    int64 // of members
	work     int64 // that decoders put out, these and others
	held     int64 // of layers in memory
	windows  int64 // of decoders that are at work
	checked  int64 // work at the last look at the clock
	calls    int   // of spend
	deadline time.Time
	scratch  []byte // for a member in which nothing lies
	stopped  error  // a limit or fault that ends the file
}

// layer is one container while it is opened.
type layer struct {
	*walk
	name   string // for a member without one
	path   string // of the container inside the file, with what goes behind it
	depth  int
	part   bool // what lies in it are parts of a document
	result Result
}

// Member is one thing inside a container, as a format finds it.
type Member struct {
	Name string // as stored; components joined with '/'
	// Size is what the container says, -1 if it says nothing. It sizes nothing, and is compared with what comes out.
	Size int64
	// Open begins to unpack. It may be called again until the format goes on to its next member. Nil is a member without
	// content: a directory, a link.
	Open func() (io.Reader, error)
	// At is the content where it lies as it is in the container: then it need not be unpacked to be read.
	At *io.SectionReader
	// Window is the memory that unpacking takes while it lasts, if that is much.
	Window int64
	// Outcome is Encrypted or Malformed if the format knows so much already.
	Outcome report.Outcome
	// Unknown says that Open gives the bytes as they are packed, because nobody here can unpack them.
	Unknown bool
	// Area says that the bytes are in no file, so that nobody opens what they look like.
	Area bool
	// Hidden says that the table of contents does not name the member.
	Hidden bool
}

// The findings of this package.
func packedContent() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "packed-content", Severity: report.Block, Offset: -1,
		Text: "The content is packed in a way that this station cannot open, so nobody can see what is in it."}
}

func archiveLimit(text string) report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "archive-limit", Severity: report.Warn, Offset: -1, Text: text}
}

func archiveDamaged() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "archive-damaged", Severity: report.Warn, Offset: -1,
		Text: "What is packed is damaged or contradicts itself, so it could not be opened in full."}
}

func archiveHidden() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "archive-hidden", Severity: report.Warn, Offset: -1,
		Text: "The archive holds this, but does not show it in its table of contents."}
}

func memberPath() report.Finding {
	return report.Finding{Check: report.CheckStructure, Rule: "member-path", Severity: report.Warn, Offset: -1,
		Text: "The name would have it unpacked outside of the folder that a person chooses."}
}

// refuse makes an outcome of a container or member worse, the first one stays.
func (r *Result) refuse(o report.Outcome, f ...report.Finding) {
	if r.Outcome == report.Unscanned {
		r.Outcome = o
	}
	for _, f := range f {
		if !slices.ContainsFunc(r.Findings, func(g report.Finding) bool { return g.Rule == f.Rule && g.Text == f.Text }) {
			r.Findings = append(r.Findings, f)
		}
	}
}

// open opens content in every way in which it can be read. An error is the sink's, or that of the context.
func (w *walk) open(l *layer, c *Content, formats []*format) error {
	for _, f := range formats {
		if w.stopped != nil {
			break
		}
		before := w.members
		err := guard(func() error { return f.open(c, l) })
		if w.stopped != nil {
			err = w.stopped
		}
		var own *fault
		var hit *limit
		switch {
		case err == nil:
		case errors.As(err, &own):
			return own.err
		case errors.As(err, &hit):
			l.result.refuse(hit.outcome, archiveLimit(hit.text))
		case c.unread || errors.Is(err, ErrUnread):
			l.result.refuse(report.Unreadable)
		case errors.Is(err, errNot) && w.members == before:
		case errors.Is(err, errEncrypted):
			l.result.refuse(report.Encrypted)
		case errors.Is(err, errUnknown):
			l.result.Findings = append(l.result.Findings, packedContent())
		default: // whatever a library says is about what it read
			l.result.refuse(report.Malformed, archiveDamaged())
		}
	}
	return nil
}

// fault is an error that is no matter of the file: it passes through every format.
type fault struct{ err error }

func (f *fault) Error() string { return f.err.Error() }

// guard ends a panic in a decoder where it belongs.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if testOnlyPanic != nil {
				testOnlyPanic(p)
			}
			err = ErrMalformed
		}
	}()
	return f()
}

// testOnlyPanic hears of panics, which a library may have and this package must not.
var testOnlyPanic func(any)

// spend counts bytes that a decoder put out.
func (w *walk) spend(n int64) error {
	w.work += n
	if w.work/maxWork > w.allowed {
		return w.stop(tooOften)
	}
	const bytes, calls = 1 << 20, 16 // a decoder that puts out little may have worked hard for it
	if w.calls++; w.calls%calls == 0 || w.work-w.checked >= bytes {
		return w.look()
	}
	return nil
}

// look asks the clock and the context.
func (w *walk) look() error {
	w.checked = w.work
	if w.ctx.Err() != nil {
		w.stopped = &fault{context.Cause(w.ctx)}
		return w.stopped
	}
	if time.Now().After(w.deadline) {
		return w.stop(tooSlow)
	}
	return nil
}

// stop ends the file, because of a limit that is the file's.
func (w *walk) stop(l *limit) error {
	if w.stopped == nil {
		w.stopped = l
	}
	return w.stopped
}

// grow counts bytes of members.
func (w *walk) grow(n int64) error {
	w.bytes += n
	w.opener.bytes += n
	switch {
	case w.bytes > MaxBytes:
		return w.stop(tooBig)
	case w.bytes > w.allowed:
		return w.stop(tooDense)
	case w.opener.bytes > maxSessionBytes:
		return w.stop(tooBigAll)
	}
	return nil
}

// reserve counts memory that a decoder takes for longer than a member, until the caller subtracts it again.
func (w *walk) reserve(n int64) error {
	if w.windows+n > windowBytes {
		return tooHungry
	}
	w.windows += n
	return nil
}

// count counts a member, or anything else that a format has to walk over.
func (w *walk) count() error {
	if w.stopped != nil {
		return w.stopped
	}
	w.members++
	w.opener.members++
	switch {
	case w.members > MaxMembers:
		return w.stop(tooMany)
	case w.opener.members > maxSessionMembers:
		return w.stop(tooManyAll)
	case w.members%256 == 0:
		return w.look()
	}
	return nil
}

// note adds a finding about the container.
func (l *layer) note(f report.Finding) {
	if !slices.ContainsFunc(l.result.Findings, func(g report.Finding) bool { return g.Rule == f.Rule }) {
		l.result.Findings = append(l.result.Findings, f)
	}
}

// damaged says that the container contradicts itself, and lets the format go on with what there is.
func (l *layer) damaged() { l.result.refuse(report.Malformed, archiveDamaged()) }

// member takes one member from a format: unpacks it, hands it on, and opens what lies in it. An error ends the format, which
// returns it as it is. What is wrong with one member is said of it alone.
func (l *layer) member(m Member) error {
	if err := l.count(); err != nil {
		return err
	}
	it := &Item{Outcome: m.Outcome, Part: l.part}
	it.Path, it.Findings = l.pathOf(m.Name)
	if m.Hidden {
		it.Findings = append(it.Findings, archiveHidden())
	}
	if m.Open == nil && m.Outcome == report.Unscanned {
		if slices.ContainsFunc(it.Findings, func(f report.Finding) bool { return f.Rule == "member-path" }) {
			l.note(memberPath()) // a link or a folder is no item
		}
		return nil
	}
	var c *Content
	if m.Open != nil && m.Outcome != report.Encrypted {
		var err error
		if c, err = l.unpack(&m, it); err != nil {
			return err
		}
	}
	var formats []*format
	if c != nil && !m.Unknown && !m.Area {
		formats = l.opener.recognise(c)
	}
	if m.Unknown {
		it.Findings = append(it.Findings, packedContent())
	}
	if err := l.sink.Member(it); err != nil {
		return &fault{err}
	}
	if len(formats) == 0 && int64(cap(it.Data)) <= l.opener.inline {
		l.scratch = it.Data
	}
	it.Data = nil
	if len(formats) > 0 {
		if err := l.below(it, c, formats, &m); err != nil {
			return err
		}
	}
	if err := l.sink.Done(it); err != nil {
		return &fault{err}
	}
	if l.stopped != nil {
		return l.stopped
	}
	return nil
}

// below opens a member that is a container itself.
func (l *layer) below(it *Item, c *Content, formats []*format, m *Member) error {
	inner := &layer{walk: l.walk, name: lastPart(m.Name, l.name), path: it.Path + "//", depth: l.depth + 1, result: Result{Outcome: it.Outcome, Findings: it.Findings}}
	if inner.depth >= MaxDepth {
		inner.result.refuse(tooDeep.outcome, archiveLimit(tooDeep.text))
	} else {
		if c.At == nil && l.held+c.Size > heldBytes { // the memory is wanted below
			head, tail := ends(c.Head)
			c = &Content{Size: c.Size, Head: head, Tail: tail, At: l.forward(m.Open, c.Size)}
		}
		held, window := int64(len(c.Head)+len(c.Tail)), int64(0)
		if c.At != nil {
			window = m.Window
		}
		if err := l.reserve(window); err != nil {
			inner.result.refuse(tooHungry.outcome, archiveLimit(tooHungry.text))
		} else {
			l.held += held
			err := l.open(inner, c, formats)
			l.held -= held
			l.windows -= window
			if err != nil {
				return &fault{err}
			}
		}
	}
	it.Outcome, it.Findings = inner.result.Outcome, inner.result.Findings
	return nil
}

// pathOf is the path of a member, and what is odd about its name. A name that leads elsewhere is shown as a name of its own.
func (l *layer) pathOf(name string) (string, []report.Finding) {
	var found []report.Finding
	if name == "" {
		name = l.name
	}
	name = name[:min(len(name), report.MaxPathBytes)]
	if strings.Contains(name, `\`) {
		name = strings.ReplaceAll(name, `\`, "/") // as Windows reads it
	}
	out := strings.HasPrefix(name, "/") || len(name) > 1 && name[1] == ':'
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." {
			continue
		}
		good, _ := volume.Component(part)
		out = out || part == ".."
		parts = append(parts, good)
	}
	if len(parts) == 0 {
		parts = []string{"?"}
	}
	if out {
		found = append(found, memberPath())
	}
	return l.path + strings.Join(parts, "/"), found
}

// lastPart is the last component of a name, or another one.
func lastPart(name, other string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if name == "" {
		return other
	}
	return name
}
