// Package feed turns lists of hashes that others publish into lists for a rule pack: ClamAV's .hdb and .hsb, MalwareBazaar's
// CSV, STIX 2.1 and MISP in JSON, and plain lists.
//
// A feed is trusted with nothing but to name hashes. Whoever can write into one would like to name a file that every hospital
// has, so that each kiosk refuses each stick: the hash of the empty file has been in public feeds by mistake. Refused are
// therefore the hashes of empty, tiny and common content and of every file of the clean corpora (Poison), hashes that are
// none, entries that are dated in the future, withdrawn or not meant for detection. What is refused is counted and reported,
// never taken over in silence; a refused entry does not stop the rest.
//
//	format   one entry
//	hdb,hsb  HASH:SIZE:NAME[:LEVEL[:LEVEL]]; SIZE may be *   https://docs.clamav.net/manual/Signatures/HashSignatures.html
//	csv      "first_seen","sha256","md5","sha1","reporter","file_name",…   https://bazaar.abuse.ch/export/
//	stix     an indicator with a pattern [file:hashes.'SHA-256' = '…']
//	         https://docs.oasis-open.org/cti/stix/v2.1/stix-v2.1.html
//	misp     an attribute of type sha256, sha1, md5, filename|sha256 and so on, or malware-sample
//	         https://www.misp-standard.org/rfc/misp-standard-core.html
//	plain    HASH, and anything behind a blank, comma or #
//
// Limits. A feed is read once, from start to end, in memory that does not grow with it: a line, a JSON string and the nesting
// of JSON are bounded, and longer ones end the import, since what follows could be anything. Hashes of parts of files
// (.mdb, .msb), fuzzy hashes and allow lists (.fp, .sfp) are not taken. Two entries for one hash are both written; compiling
// the list counts them once.
package feed

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Format is how a feed is written.
type Format string

// The formats.
const (
	HDB   Format = "hdb" // and .hsb
	CSV   Format = "csv"
	STIX  Format = "stix"
	MISP  Format = "misp"
	Plain Format = "plain"
)

// ErrFormat says that a feed is not what it is said to be. Nothing of it is to be used.
var ErrFormat = errors.New("not a feed of this format")

const (
	maxLine     = 64 << 10 // MalwareBazaar's lines have half a kilobyte
	maxEntries  = 20_000_000
	maxExamples = 20 // of refused entries in a report
	maxNote     = 64 // of a name that is written beside a hash
	// tinyBytes is the size below which a file is no malware but a marker, a flag or somebody's joke. EICAR has 68.
	tinyBytes = 64
	// slack is how far ahead another organisation's clock may be.
	slack = 24 * time.Hour
)

// Options say how a feed is read.
type Options struct {
	Format Format
	Now    time.Time
	Poison *Poison // nil refuses nothing but what has no clean content behind it
}

// Refusal is an entry that was not taken. It does not quote the entry: a feed's text is a stranger's.
type Refusal struct {
	Entry int // line, or number of the JSON object, from 1
	Why   string
}

// Report says what became of a feed.
type Report struct {
	Taken    int
	Ignored  int            // entries that name no hash of a whole file: addresses, domains, events
	Refused  map[string]int // by reason
	Examples []Refusal      // the first of them
}

// String is the report in lines for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d hashes taken, %d entries without one\n", r.Taken, r.Ignored)
	for _, why := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(&b, "%d refused: %s\n", r.Refused[why], why)
	}
	for _, e := range r.Examples {
		fmt.Fprintf(&b, "  entry %d: %s\n", e.Entry, e.Why)
	}
	return b.String()
}

// FormatOf guesses a format by the name of a file, Plain if nothing speaks for another.
func FormatOf(name string) Format {
	switch strings.ToLower(path.Ext(name)) {
	case ".hdb", ".hsb", ".hdu", ".hsu":
		return HDB
	case ".csv":
		return CSV
	case ".json":
		if strings.Contains(strings.ToLower(name), "misp") {
			return MISP
		}
		return STIX
	}
	return Plain
}

// Import reads a feed and writes the hashes that are taken, one a line. After an error what was written is not to be used.
func Import(ctx context.Context, in io.Reader, out io.Writer, opt Options) (Report, error) {
	w := &writer{out: bufio.NewWriter(out), opt: opt, report: Report{Refused: map[string]int{}}}
	var err error
	switch opt.Format {
	case HDB:
		err = w.lines(ctx, in, w.hdb)
	case CSV:
		err = w.lines(ctx, in, w.csv)
	case Plain:
		err = w.lines(ctx, in, w.plain)
	case STIX:
		err = w.objects(ctx, in, w.stix)
	case MISP:
		err = w.objects(ctx, in, w.misp)
	default:
		return Report{}, fmt.Errorf("%w: there is no format %q", ErrFormat, opt.Format)
	}
	if err == nil {
		err = w.out.Flush()
	}
	if err == nil && w.report.Taken == 0 && len(w.report.Refused) == 0 {
		err = fmt.Errorf("%w: it holds no entry", ErrFormat)
	}
	return w.report, err
}

// writer judges entries and writes them.
type writer struct {
	out    *bufio.Writer
	opt    Options
	report Report
	entry  int
}

func (w *writer) refuse(why string) {
	w.report.Refused[why]++
	if len(w.report.Examples) < maxExamples {
		w.report.Examples = append(w.report.Examples, Refusal{w.entry, why})
	}
}

// take judges one hash with what is known about it. date may be zero.
func (w *writer) take(hash, note string, date time.Time) error {
	hash = strings.ToLower(strings.TrimSpace(hash))
	sum, err := hex.DecodeString(hash)
	switch {
	case err != nil || len(sum) != 16 && len(sum) != 20 && len(sum) != 32:
		w.refuse("no MD5, SHA-1 or SHA-256 in hex")
	case strings.Trim(hash, hash[:1]) == "":
		w.refuse("a placeholder: one digit again and again")
	case date.After(w.opt.Now.Add(slack)):
		w.refuse("dated in the future")
	case w.opt.Poison.Why(sum) != "":
		w.refuse(w.opt.Poison.Why(sum))
	case w.report.Taken == maxEntries:
		return fmt.Errorf("%w: more than %d hashes", ErrFormat, maxEntries)
	default:
		w.report.Taken++
		if note = clean(note); note != "" {
			note = " # " + note
		}
		_, err := w.out.WriteString(hash + note + "\n")
		return err
	}
	return nil
}

// clean makes a stranger's name fit for a list that people read: a line is one hash, whatever it is called.
func clean(note string) string {
	note = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, note[:min(len(note), maxNote)])
	return strings.Trim(note, "_")
}

// lines reads a feed of lines.
func (w *writer) lines(ctx context.Context, in io.Reader, each func(line string) error) error {
	b := bufio.NewReaderSize(in, maxLine)
	for {
		line, err := b.ReadSlice('\n')
		w.entry++
		switch {
		case err == bufio.ErrBufferFull:
			return fmt.Errorf("%w: line %d has more than %d bytes", ErrFormat, w.entry, maxLine)
		case err == io.EOF && len(line) == 0:
			return nil
		case err != nil && err != io.EOF:
			return fmt.Errorf("read the feed: %w", err)
		}
		if w.entry%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		text := strings.TrimSpace(strings.TrimPrefix(string(line), "\uFEFF"))
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("%w: line %d holds a NUL byte; it must be UTF-8", ErrFormat, w.entry)
		}
		if text == "" || text[0] == '#' {
			continue
		}
		if err := each(text); err != nil {
			return err
		}
	}
}
