package iso9660

import (
	"context"
	"errors"
	"slices"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// walker is the second pass: it hands out what the survey found.
type walker struct {
	*survey
	emit    func(volume.Entry) error
	deep    bool
	content []int64 // of each tree, so far
	group   int64   // where the files at hand begin
	behind  int64   // the furthest that files before them reach
	reach   int64   // the furthest that any file reaches
	slack   volume.Ranges
}

// roomBehind is kept in a path for a name behind it.
const roomBehind = 2 << 10

// walk hands out everything.
func (w *walker) walk() error {
	w.content = make([]int64, len(w.trees))
	for n := range w.dirs {
		if d := &w.dirs[n]; d.parent >= 0 {
			if err := w.directory(n, d); err != nil {
				return err
			}
		}
	}
	for i := range w.files {
		if err := w.file(&w.files[i]); err != nil {
			return err
		}
	}
	return w.areas()
}

// path is that of a directory, or of a name in one.
func (s *survey) path(dir int, name string) string {
	parts := []string{name}
	for n := dir; s.dirs[n].parent >= 0; n = s.dirs[n].parent {
		parts = append(parts, s.dirs[n].name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

func (w *walker) directory(n int, d *directory) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	e := volume.Entry{Tree: d.tree, Path: w.path(d.parent, d.name), Kind: report.Directory, Outcome: d.outcome, Findings: d.findings,
		Empty: !d.full, Hidden: d.hidden}
	if d.start >= 0 && d.bytes > 0 && d.start+d.bytes <= w.fs.src.Size() {
		e.Extents = []volume.Extent{{Start: d.start, Bytes: d.bytes}}
	}
	if e.Outcome == report.Unscanned {
		e.Outcome = report.Clean
	}
	return w.emit(e)
}

// file reads a record again and hands out what it says.
func (w *walker) file(f *ref) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	t := &w.trees[w.dirs[f.dir].tree]
	n, pieces, err := w.again(f, t)
	if err != nil {
		return err
	}
	name, sound := volume.Component(n.shown)
	e := volume.Entry{Tree: w.dirs[f.dir].tree, Path: w.path(int(f.dir), name), Kind: report.File,
		Hidden: n.flags&flagHidden != 0, Findings: volume.NameFindings(n.shown)}
	if n.flags&flagAssociated != 0 {
		e.Path, e.Kind = e.Path+":associated", report.Stream
	}
	if f.same {
		e.Findings = append(e.Findings, volume.SameName)
	}
	if n.fault == nil && (!sound || f.twice) {
		n.fault = volume.Malformed("its name cannot be part of a path, or is in its directory twice.")
	}
	if len(e.Path) > report.MaxPathBytes-roomBehind/2 {
		e.Path = strings.ToValidUTF8(e.Path[:report.MaxPathBytes/3], "\uFFFD")
		n.fault = volume.Malformed("its path is too long.")
	}
	if n.fault == nil {
		n.fault = w.locate(&e, pieces, t)
	}
	switch {
	case n.fault != nil:
		e.Outcome = volume.OutcomeOf(n.fault)
		e.Findings = append(e.Findings, finding("entry-damaged", report.Warn, "The entry is damaged: "+faultText(n.fault)))
		w.Wrong(e.Outcome, "An entry of the volume is damaged.")
	case n.interleaved:
		w.opaque(&e, "interleaved", "The content lies in pieces among that of another file (interleaved), which this kiosk cannot read.")
	case n.disc != t.number && t.set > 1:
		w.opaque(&e, "other-disc", "The content lies on another disc of a set.")
	case n.opaque != "":
		w.opaque(&e, n.opaque, n.text)
	case n.link || n.mode&modeType == modeLink:
		e.Findings = append(e.Findings, finding("link", report.Warn, "The entry is a link to another place. It was not followed."))
	case n.mode != 0 && n.mode&modeType != modeRegular:
		e.Findings = append(e.Findings, finding("special-file", report.Warn, "The entry is a device or the like, which no medium needs."))
	}
	if len(e.Findings) > report.MaxPerItem {
		e.Findings = e.Findings[:report.MaxPerItem]
	}
	if e.Outcome == report.Unscanned {
		if w.content[e.Tree] += min(e.Size, 1<<60); w.content[e.Tree] > contentFactor*w.fs.src.Size()+spareContent {
			w.Wrong(report.TooLarge, "The files of the volume hold much more than it has room for.")
			e.Outcome = report.TooLarge
			w.content[e.Tree] = 1 << 60
		}
	}
	return w.emit(e)
}

// opaque says that nobody here can read an entry.
func (w *walker) opaque(e *volume.Entry, rule, text string) {
	e.Opaque = true
	e.Findings = append(e.Findings, finding(rule, report.Warn, text))
}

func faultText(err error) string {
	var f *volume.Fault
	if errors.As(err, &f) {
		return f.Text
	}
	return "the medium returned an error."
}

// piece is one of a file's.
type piece struct{ start, bytes int64 }

// again reads the record of a file once more, and those that continue it. A record that became another one shows a medium
// that lies.
func (w *walker) again(f *ref, t *tree) (n named, pieces []piece, err error) {
	d := &w.dirs[f.dir]
	head := int64(f.at) / sector * sector
	unread, _, err := w.eachRecord(d.start+head, d.bytes-head, func(at int64, raw []byte) error {
		if at+head < int64(f.at) {
			return nil
		}
		if len(pieces) == 0 {
			n = w.read(t, raw)
		}
		r, err := parseRecord(raw, t.block)
		if err != nil || len(pieces) >= maxPieces || string(r.id) != string(n.id) {
			if n.fault == nil {
				n.fault = volume.Malformed("it has no last piece.")
			}
			return errFound
		}
		pieces = append(pieces, piece{r.start, r.bytes})
		if r.flags&flagMore == 0 {
			return errFound
		}
		return nil
	})
	switch {
	case err != nil && !errors.Is(err, errFound):
		return n, nil, err
	case unread:
		n.fault = &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}
	case err == nil && n.fault == nil:
		n.fault = volume.Malformed("it has no last piece, or changed while it was read.")
	}
	if n.fault == nil && (f.start >= 0) != (pieces[0].bytes > 0) || f.start >= 0 && pieces != nil && pieces[0].start != f.start {
		n.fault = volume.Malformed("it changed while it was read.")
	}
	if n.shown == "" {
		n.shown = "\uFFFD"
	}
	return n, pieces, nil
}

var errFound = errors.New("the record was found")

// locate says of an entry where its pieces lie.
func (w *walker) locate(e *volume.Entry, pieces []piece, t *tree) error {
	for i, p := range pieces {
		switch {
		case p.bytes == 0:
			continue
		case p.start+p.bytes > w.fs.src.Size():
			return volume.Malformed("it reaches behind the end of the medium.")
		case i+1 < len(pieces) && p.bytes%t.block != 0:
			return volume.Malformed("a piece of it ends within a block.")
		}
		if w.structure.Meets(p.start, p.bytes) {
			w.Note("content-over-structure", report.Warn, p.start, "A file lies where directories and tables do. Both were read.")
		}
		if k := len(e.Extents) - 1; k >= 0 && e.Extents[k].Start+e.Extents[k].Bytes == p.start {
			e.Extents[k].Bytes += p.bytes
		} else {
			e.Extents = append(e.Extents, volume.Extent{Start: p.start, Bytes: p.bytes})
		}
		e.Size += p.bytes
		if w.deep {
			end := p.start + p.bytes
			w.slack.Add(end, min((p.bytes+t.block-1)/t.block*t.block-p.bytes, w.fs.src.Size()-end))
		}
	}
	e.Valid = e.Size
	if len(e.Extents) == 0 {
		return nil
	}
	// Files of the same content share it; those that share a part of it show a table that somebody made.
	first := e.Extents[0]
	if first.Start != w.group {
		w.group, w.behind = first.Start, w.reach
	}
	if first.Start < w.behind {
		w.Note("content-overlaps", report.Warn, first.Start, "Two files share a part of their content. Both were read.")
	}
	for _, x := range e.Extents {
		w.reach = max(w.reach, x.Start+x.Bytes)
	}
	return nil
}

// areas hands out what belongs to no file.
func (w *walker) areas() error {
	end := w.fs.src.Size()
	system := []volume.Extent{{Bytes: min(firstDescriptor*sector, end)}}
	rest := []volume.Extent{{Start: firstDescriptor * sector, Bytes: end - firstDescriptor*sector}}
	loose := volume.Common(w.spare, rest)
	if len(loose) > 0 {
		w.Note("spare-bytes", report.Inform, loose[0].Start, "Bytes of the volume that no file can have are not empty.")
	}
	kinds := []struct {
		what string
		list []volume.Extent
	}{
		{"system area", volume.Common(w.spare, system)},
		{"volume descriptors", w.descriptors.All()},
		{"boot images", w.boot.All()},
		{"directories with other bytes", w.junk.All()},
		{"space between files", loose},
	}
	if w.deep {
		kinds = append(kinds, struct {
			what string
			list []volume.Extent
		}{"directories and tables", w.structure.All()}, struct {
			what string
			list []volume.Extent
		}{"slack behind files", w.slack.All()})
	}
	for _, k := range kinds {
		a := volume.NewArea(k.what, end, w.emit)
		for _, x := range k.list {
			if err := a.Add(x.Start, x.Bytes); err != nil {
				return err
			}
		}
		if err := a.Flush(); err != nil {
			return err
		}
	}
	return nil
}
