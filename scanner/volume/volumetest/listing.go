package volumetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// File is the content of one file.
type File struct {
	Size   int64
	SHA256 [32]byte
}

// FileOf is the File that holds data.
func FileOf(data []byte) File { return File{int64(len(data)), sha256.Sum256(data)} }

// Truth is what is known to be on an image, by path.
type Truth map[string]File

// Listing is what a reader gave.
type Listing struct {
	Files   Truth // those that could be read in full, streams too
	Entries []volume.Entry
	Summary volume.Summary
}

// contentFactor bounds how much content is read for one listing, in sizes of the volume: a mutated volume may claim that
// every file covers all of it.
const contentFactor = 4

// ReadAll walks fs, which was opened on src, and reads every file through its extents. It returns an error if the walk
// does, or if the reader broke the agreements of volume.Entry, and then what it had so far.
func ReadAll(ctx context.Context, src volume.Source, fs volume.FileSystem, opts volume.Options) (Listing, error) {
	l := Listing{Files: Truth{}}
	budget := contentFactor * src.Size()
	var err error
	l.Summary, err = fs.Walk(ctx, opts, func(e volume.Entry) error {
		if err := check(src, &e); err != nil {
			return fmt.Errorf("entry %q: %w", e.Path, err)
		}
		l.Entries = append(l.Entries, e)
		if e.Kind != report.File && e.Kind != report.Stream || e.Outcome != report.Unscanned || e.Opaque {
			return nil
		}
		path := InTree(e.Tree, e.Path)
		if _, twice := l.Files[path]; twice {
			return nil // two entries of one name: the reader's finding says so
		}
		if budget -= e.Size; budget < 0 {
			l.Entries[len(l.Entries)-1].Outcome = report.TooLarge
			return nil
		}
		f, err := Hash(src, &e)
		switch {
		case errors.Is(err, volume.ErrUnreadable):
			l.Entries[len(l.Entries)-1].Outcome = report.Unreadable
		case errors.Is(err, volume.ErrMalformed):
			l.Entries[len(l.Entries)-1].Outcome = report.Malformed
		case err != nil:
			return err
		default:
			l.Files[path] = f
		}
		return nil
	})
	return l, err
}

// InTree is the path under which a Listing has a file of a tree. That of the first is as it is.
func InTree(tree int, path string) string {
	if tree == 0 {
		return path
	}
	return fmt.Sprintf("tree %d: %s", tree, path)
}

// check holds an entry against what volume.Entry promises.
func check(src volume.Source, e *volume.Entry) error {
	if e.Path == "" || len(e.Path) > report.MaxPathBytes || e.Path[0] == '/' {
		return errors.New("the path is empty, absolute or too long")
	}
	if e.Kind == report.NoKind || e.Size < 0 || e.Valid < 0 || e.Valid > e.Size || len(e.Findings) > report.MaxPerItem {
		return fmt.Errorf("kind %v, size %d, valid %d, %d findings", e.Kind, e.Size, e.Valid, len(e.Findings))
	}
	var sum int64
	for _, x := range e.Extents {
		if x.Bytes <= 0 || x.Start >= 0 && x.Start+x.Bytes > src.Size() {
			return fmt.Errorf("extent %+v lies outside the volume", x)
		}
		sum += x.Bytes
	}
	if e.Inline != nil && (len(e.Extents) > 0 || e.Decode != nil || int64(len(e.Inline)) != e.Valid || e.Valid > maxInline) {
		return fmt.Errorf("%d bytes held by an entry of %d", len(e.Inline), e.Valid)
	}
	if e.Outcome == report.Unscanned && !e.Opaque && e.Inline == nil && sum < e.Valid {
		return fmt.Errorf("extents hold %d of %d bytes", sum, e.Valid)
	}
	return nil
}

// maxInline is what an entry may hold itself.
const maxInline = 4 << 10

// Hash reads the content of one entry. An error of the medium wraps volume.ErrUnreadable, one of what is decoded
// volume.ErrMalformed.
func Hash(src volume.Source, e *volume.Entry) (File, error) {
	h := sha256.New()
	if e.Decode != nil {
		n, err := io.Copy(h, io.NewSectionReader(e.Decode(src), 0, e.Size+1))
		if err == nil && n != e.Size {
			err = fmt.Errorf("decoding gave %d of %d bytes", n, e.Size)
		}
		return File{e.Size, [32]byte(h.Sum(nil))}, err
	}
	if e.Inline != nil {
		h.Write(e.Inline)
		_, err := io.CopyN(h, zeros{}, e.Size-e.Valid)
		return File{e.Size, [32]byte(h.Sum(nil))}, err
	}
	left := e.Valid
	for _, x := range e.Extents {
		n := min(x.Bytes, left)
		var r io.Reader = io.NewSectionReader(src, x.Start, n)
		if x.Start < 0 {
			r = io.LimitReader(zeros{}, n)
		}
		got, err := io.Copy(h, r)
		if err != nil || got != n {
			return File{}, fmt.Errorf("%w: %d of %d bytes: %v", volume.ErrUnreadable, got, n, err)
		}
		left -= n
	}
	if _, err := io.CopyN(h, zeros{}, e.Size-e.Valid); err != nil {
		return File{}, err
	}
	return File{e.Size, [32]byte(h.Sum(nil))}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Signals is all that the reader said which was not "clean": what a mutation adds to it was not quiet.
func (l Listing) Signals() map[string]bool {
	said := map[string]bool{}
	if l.Summary.Outcome != report.Clean {
		said["volume "+l.Summary.Outcome.String()+": "+l.Summary.Reason] = true
	}
	for _, f := range l.Summary.Findings {
		said["volume finding "+f.Rule+": "+f.Text] = true
	}
	for _, e := range l.Entries {
		if bars(e) {
			said["entry "+e.Path+" "+e.Outcome.String()] = true
		}
		for _, f := range e.Findings {
			said["entry "+e.Path+" finding "+f.Rule] = true
		}
	}
	return said
}

// Rules are the findings of the listing, those of entries with their paths.
func (l Listing) Rules() []string {
	var out []string
	for _, f := range l.Summary.Findings {
		out = append(out, f.Rule)
	}
	for _, e := range l.Entries {
		for _, f := range e.Findings {
			out = append(out, f.Rule+" "+e.Path)
		}
	}
	return out
}

// Has reports whether the volume or an entry has a finding.
func (l Listing) Has(rule string) bool {
	return slices.ContainsFunc(l.Rules(), func(r string) bool { return r == rule || strings.HasPrefix(r, rule+" ") })
}

// Entry returns the entry with a path, which must be there.
func (l Listing) Entry(t testing.TB, path string) volume.Entry {
	t.Helper()
	i := slices.IndexFunc(l.Entries, func(e volume.Entry) bool { return e.Path == path })
	if i < 0 {
		t.Fatalf("%q is not listed", path)
	}
	return l.Entries[i]
}

// Bars reports whether the listing alone keeps the medium from being cleared.
func (l Listing) Bars() bool {
	if l.Summary.Outcome != report.Clean {
		return true
	}
	return slices.ContainsFunc(l.Entries, bars)
}

func bars(e volume.Entry) bool {
	return e.Outcome != report.Unscanned && e.Outcome != report.Clean && e.Outcome != report.Flagged || e.Opaque
}

// Lost returns the paths of t whose content the listing gives under no path at all. A file that was only renamed is not
// lost: its content is scanned.
func (t Truth) Lost(l Listing) []string {
	contents := map[File]bool{}
	for _, f := range l.Files {
		contents[f] = true
	}
	var lost []string
	for _, path := range slices.Sorted(maps.Keys(t)) {
		if !contents[t[path]] {
			lost = append(lost, path)
		}
	}
	return lost
}

// Diff returns one line for each difference between t and the listing; none if they are equal.
func (t Truth) Diff(l Listing) []string {
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(t)) {
		switch got, ok := l.Files[path]; {
		case !ok:
			lines = append(lines, fmt.Sprintf("missing: %q", path))
		case got != t[path]:
			lines = append(lines, fmt.Sprintf("differs: %q: %d bytes, want %d", path, got.Size, t[path].Size))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.Files)) {
		if _, ok := t[path]; !ok {
			lines = append(lines, fmt.Sprintf("unexpected: %q", path))
		}
	}
	return lines
}
