// Package container opens what is packed: archives, compressed files, images of disks, installers, packed programs, documents.
// It finds the members of a file, the members of these, and so on, unpacks each in memory, and hands it to whoever checks
// content.
//
// It trusts nothing but its own memory. Every size, offset, name and count was chosen by an enemy: none of them sizes an
// allocation, none is believed without a look at the bytes. What a container is, its bytes say, whatever its name is; what
// can be read as two containers is opened as both. A library that panics on crafted input ends the container that it was
// at, as malformed, and nothing else.
//
// Of a program, what its headers do not name is opened, and resources and archives in it; see carve.go. A program in which
// nothing is packed is no container.
//
// Silence is no answer here. What lies in a container and was not opened is told, in one of these ways:
//
//	outcome encrypted   of a member that nobody can see without a key
//	outcome too large   of a container at which a limit of this package was hit; the finding archive-limit says which
//	outcome timed out   the same for the clock, which is the last resort
//	outcome malformed   of a container or member that contradicts itself or ends early; what could be unpacked is checked
//	packed-content      a finding on content that is packed in a way that this package does not know; a policy decides
//
// # Findings
//
// All have the check "structure".
//
//	packed-content   block  packed in a way that cannot be opened here; the packed bytes are the content that was checked
//	archive-limit    warn   a limit was hit, so the container was not opened in full
//	archive-damaged  warn   the container is damaged, or its parts contradict each other
//	archive-hidden   warn   a member that the table of contents does not name, or with another content than it says
//	member-path      warn   a member whose name leads out of the folder into which it is unpacked
//	macro            warn   macros that package structure does not see: a sheet of them, or a call of one
//	document-external warn  a document that loads a template, an object or a page from elsewhere when it is opened
//	document-launch  block  a document that starts a program
//	document-opens   warn   a document that opens another one
//	document-script  warn   a PDF with scripts
//	document-link    inform a document that refers to pictures, values or pages elsewhere
//
// # Limits
//
// The constants below and those beside each format. All are counts but one, so that the same bytes end the same way on a
// slow machine and on a fast one. Unpacked content is kept in memory up to the size that New is given, and read as a stream
// above; a container that is read as a stream is unpacked anew for each look at it, and each of these looks is counted.
// One Opener opens one file at a time and is not safe for concurrent use.
package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"pratique/scanner/report"
)

// The limits of requirement R6, for one file of the medium unless they say otherwise.
const (
	// MaxDepth is how many layers may lie one in another. Nobody packs more than five times on purpose; ClamAV gives up at
	// 17 and says "OK".
	MaxDepth = 24
	// MaxMembers bounds the members of one file in all its layers, directories and links too: a source tree has 80,000.
	MaxMembers = 100_000
	// maxSessionMembers bounds them for a whole medium: at a tenth of a millisecond each, two minutes.
	maxSessionMembers = 1_000_000
	// MaxRatio is how much more than the file itself its layers may hold together, once they hold more than FreeBytes. Text
	// shrinks to a tenth, logs of machines to a hundredth; a bomb to a thousandth and less.
	MaxRatio  = 200
	FreeBytes = 16 << 20
	// MaxBytes is what one file may hold in all its layers, and maxSessionBytes what all files of a medium may.
	MaxBytes        = 16 << 30
	maxSessionBytes = 64 << 30
	// maxWork is how many bytes decoders may put out for each byte that a file may hold: a layer that does not fit into
	// memory is decoded once to learn its size, once for the rules, and once or more to be opened.
	maxWork = 6
	// heldBytes bounds the layers that are kept in memory while what lies in them is opened. A layer that does not fit is
	// read as a stream.
	heldBytes = 64 << 20
	// windowBytes bounds the windows of decoders that are at work at the same time, one below the other.
	windowBytes = 128 << 20
	// The clock: baseTime, and a second for each bytesPerSecond of the file. It runs while members wait for the rules, too.
	baseTime       = 60 * time.Second
	bytesPerSecond = 20_000_000
	// headBytes and tailBytes of a layer are in memory for whoever asks what it is: more than the deepest signature (a disc's,
	// at 34 KiB), and where the end record of a ZIP file may be.
	headBytes = 64 << 10
	tailBytes = 128 << 10
)

// Errors that end the opening of a container. What is said of it then follows from them.
var (
	// ErrMalformed: the container contradicts itself, or ends early.
	ErrMalformed = errors.New("container: damaged")
	// ErrUnread: the medium did not give the bytes, or other ones than before.
	ErrUnread = errors.New("container: the bytes could not be read")

	errEncrypted = errors.New("container: encrypted")
	errUnknown   = errors.New("container: packed in an unknown way")
	errNot       = errors.New("container: none after all")
)

// limit is an error that says which limit was hit, as a sentence for a person.
type limit struct {
	outcome report.Outcome
	text    string
}

func (l *limit) Error() string { return "container: " + l.text }

var (
	tooDeep    = &limit{report.TooLarge, fmt.Sprintf("The content is packed more than %d times, one in another.", MaxDepth)}
	tooMany    = &limit{report.TooLarge, fmt.Sprintf("More than %d members are packed in one file.", MaxMembers)}
	tooManyAll = &limit{report.TooLarge, fmt.Sprintf("More than %d members are packed in the files of the medium.", maxSessionMembers)}
	tooDense   = &limit{report.TooLarge, fmt.Sprintf("What is packed is more than %d times as large as the file.", MaxRatio)}
	tooBig     = &limit{report.TooLarge, fmt.Sprintf("More than %d GiB are packed in one file.", MaxBytes>>30)}
	tooBigAll  = &limit{report.TooLarge, fmt.Sprintf("More than %d GiB are packed in the files of the medium.", maxSessionBytes>>30)}
	tooOften   = &limit{report.TooLarge, "The content is packed so that it would have to be unpacked again and again."}
	tooHungry  = &limit{report.TooLarge, "Unpacking the content takes more memory than this station gives."}
	tooSlow    = &limit{report.TimedOut, "Unpacking the content takes too long."}
)

// Item is one member on its way to whoever checks content.
type Item struct {
	Path string // of the member inside the file, outermost first, joined with "//"
	Size int64
	// Data is the whole content, if it is in memory: only until Sink.Member returns.
	Data []byte
	// Stream is the content if it is not: it is read from the beginning to the end, or again from the beginning.
	Stream func() io.ReaderAt
	// Head and Tail are the ends of a Stream.
	Head, Tail []byte
	// Part says that the member is a part of a document, and nothing that a person opens by itself.
	Part bool
	// Outcome is Unscanned unless something keeps the content from being seen in full; it is final in Sink.Done.
	Outcome  report.Outcome
	Findings []report.Finding
}

// Sink takes the members, in an order that depends on nothing but the file. An error ends Open, which returns it.
type Sink interface {
	// Member is called when a member is unpacked, before what lies in it is. An item that is encrypted has no content.
	Member(*Item) error
	// Done is called when all that lies in the member was handed on, for the last that is open: members end like brackets.
	Done(*Item) error
}

// Result is what became of a container itself.
type Result struct {
	Outcome  report.Outcome // Unscanned if nothing stood in the way
	Findings []report.Finding
}

// Opener opens the files of one medium, one after the other.
type Opener struct {
	inline  int64
	formats []format
	members int
	bytes   int64
}

// New returns an Opener that keeps members of up to inline bytes in memory.
func New(inline int64) *Opener { return &Opener{inline: inline, formats: table()} }

// Open hands the members of a file to sink, those of its members too. name is the last part of the file's path, for members
// that have no name of their own. Content that is no container has none. An error is the sink's, or that of ctx.
func (o *Opener) Open(ctx context.Context, c *Content, name string, sink Sink) (Result, error) {
	formats := o.recognise(c)
	if len(formats) == 0 {
		return Result{}, nil
	}
	w := &walk{opener: o, ctx: ctx, sink: sink, allowed: min(MaxBytes, FreeBytes+MaxRatio*c.Size),
		deadline: time.Now().Add(baseTime + time.Duration(c.Size/bytesPerSecond)*time.Second)}
	layer := &layer{walk: w, name: name}
	err := w.open(layer, c, formats)
	return layer.result, err
}

// Packed reports whether content is a container, or something packed that is known by name. It may be asked at any time.
func (o *Opener) Packed(c *Content) bool { return len(o.recognise(c)) > 0 }

// Content is what a container is opened from.
type Content struct {
	Size int64
	Head []byte      // the beginning; all of it if it has Size bytes
	Tail []byte      // the end, where Head is not all
	At   io.ReaderAt // the whole; nil if Head is all

	unread bool
}

// maxPiece bounds what a format reads at once of its own structures.
const maxPiece = 4 << 20

// piece returns n bytes from an offset, or nil if there are none: behind the end, or more than a format may ask for. What it
// returns is not to be changed.
func (c *Content) piece(off, n int64) []byte {
	switch {
	case off < 0 || n < 0 || n > maxPiece || off > c.Size-n:
		return nil
	case off+n <= int64(len(c.Head)):
		return c.Head[off : off+n : off+n]
	case off >= c.Size-int64(len(c.Tail)):
		at := off - (c.Size - int64(len(c.Tail)))
		return c.Tail[at : at+n : at+n]
	}
	b := make([]byte, n)
	if !c.read(b, off) {
		return nil
	}
	return b
}

// has reports whether the content holds a word at an offset.
func (c *Content) has(off int64, word string) bool {
	return string(c.piece(off, int64(len(word)))) == word
}

// read fills b.
func (c *Content) read(b []byte, off int64) bool {
	n, err := c.ReadAt(b, off)
	return n == len(b) && (err == nil || err == io.EOF)
}

// ReadAt follows io.ReaderAt.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= c.Size {
		return 0, io.EOF
	}
	if off+int64(len(p)) <= int64(len(c.Head)) || c.At == nil {
		n := copy(p, c.Head[min(off, int64(len(c.Head))):])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	n, err := c.At.ReadAt(p[:min(int64(len(p)), c.Size-off)], off)
	if err != nil && err != io.EOF {
		c.unread = true
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// section is a range of the content as a stream, cut at its end.
func (c *Content) section(off, n int64) *io.SectionReader {
	off = min(max(off, 0), c.Size)
	return io.NewSectionReader(c, off, min(max(n, 0), c.Size-off))
}

// whole is content in memory.
func whole(b []byte) *Content { return &Content{Size: int64(len(b)), Head: b} }
