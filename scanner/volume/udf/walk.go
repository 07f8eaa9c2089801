package udf

import (
	"context"
	"fmt"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// walker is the state of one walk.
type walker struct {
	volume.Learned
	fs    *FS
	ctx   context.Context
	emit  func(volume.Entry) error
	deep  bool
	owned *blockSet

	pending    []directory
	waiting    int            // bytes that pending takes
	linked     map[int64]bool // entries with more than one name, by their place
	entries    int
	broken     int
	deleted    int
	content    int64
	attributes *volume.Area
	slack      volume.Ranges
}

// directory is one that waits. Its path is "" for the root, and its streams have that of their owner.
type directory struct {
	path     string
	depth    int
	file     *file
	parent   int64 // place of the entry of the directory that holds it
	streams  bool
	hidden   bool
	outcome  report.Outcome
	findings []report.Finding
}

func (d *directory) weight() int {
	return pendingBytes + len(d.path) + len(d.findings)*findingBytes + 16*(len(d.file.extents)+len(d.file.behind)+len(d.file.taken))
}

// Characteristics of a name (4/14.4.3).
const (
	nameHidden    = 1 << 0
	nameDirectory = 1 << 1
	nameDeleted   = 1 << 2
	nameParent    = 1 << 3

	nameFixed = 38 // bytes of a name without what has no fixed length
)

func (w *walker) walk() error {
	for _, x := range w.fs.head {
		w.owned.add(x.Start/w.fs.block, (x.Bytes+w.fs.block-1)/w.fs.block) // anchors can have a part of a sequence
	}
	if err := w.start(w.fs.root, "", false); err != nil {
		return err
	}
	if w.fs.system.bytes > 0 {
		if err := w.start(w.fs.system, "$system", true); err != nil {
			return err
		}
	}
	for len(w.pending) > 0 {
		last := len(w.pending) - 1
		d := w.pending[last]
		w.pending[last] = directory{}
		w.pending = w.pending[:last]
		w.waiting -= d.weight()
		if err := w.directory(&d); err != nil {
			return err
		}
	}
	if w.deleted > 0 {
		w.Note("deleted-entries", report.Inform, -1, fmt.Sprintf("Directories still hold entries of deleted files: %d.", w.deleted))
	}
	return w.account()
}

// start enters a directory that no name leads to.
func (w *walker) start(at address, path string, streams bool) error {
	f, err := w.open(at)
	if err != nil {
		w.blame("The root directory: ", err)
		return nil
	}
	if want := byte(typeDirectory); f.kind != want && !streams || streams && f.kind != typeStreams {
		w.Wrong(report.Malformed, "The root directory is none.")
		return nil
	}
	w.take(f)
	w.push(directory{path: path, file: f, parent: f.place, streams: streams})
	if !streams && f.streams.bytes > 0 {
		return w.streamsOf(f, path, 0)
	}
	return nil
}

func (w *walker) blame(what string, err error) { w.Wrong(volume.OutcomeOf(err), what+faultText(err)) }

func (w *walker) push(d directory) {
	w.pending = append(w.pending, d)
	w.waiting += d.weight()
}

// open reads an entry.
func (w *walker) open(at address) (*file, error) {
	return w.fs.file(at, func() error {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		return nil
	})
}

// take gives the blocks of a file to it. Blocks that have an owner have two contents.
func (w *walker) take(f *file) {
	b := w.fs.block
	ok := true
	for _, list := range [][]volume.Extent{f.taken, f.extents, f.behind} {
		for _, x := range list {
			if x.Start < 0 || f.embedded && x.Start/b == f.place/b {
				continue
			}
			if !w.owned.add(x.Start/b, (x.Bytes+b-1)/b) {
				ok = false
			}
		}
	}
	if !ok && f.err == nil {
		f.err = volume.Malformed("it lies in blocks that belong to something else.")
	}
	if f.embedded && !w.owned.has(f.place/b) {
		w.owned.add(f.place/b, 1)
	}
	if w.deep {
		for _, x := range f.taken {
			w.slack.Add(x.Start, x.Bytes)
		}
		for _, x := range f.behind {
			w.slack.Add(x.Start, x.Bytes)
		}
		if k := len(f.extents) - 1; k >= 0 && f.extents[k].Start >= 0 {
			end := f.extents[k].Start + f.extents[k].Bytes
			w.slack.Add(end, (b-end%b)%b)
		}
	}
}

// directory reads one directory and then hands it out.
func (w *walker) directory(d *directory) error {
	f := d.file
	if w.deep {
		for _, x := range f.extents {
			w.slack.Add(x.Start, x.Bytes)
		}
	}
	v := &visitor{w: w, dir: d, names: volume.Siblings{}}
	switch {
	case f.err != nil:
		w.spoil(d, volume.OutcomeOf(f.err), "A directory cannot be followed: "+faultText(f.err))
	case f.size > maxDirBytes:
		w.spoil(d, report.TooLarge, "A directory is larger than this program follows.")
	default:
		raw := make([]byte, f.size)
		if err := w.fs.readContent(f.extents, raw, 0); err != nil {
			w.spoil(d, volume.OutcomeOf(err), "A directory could not be read in full: "+faultText(err))
			w.salvage(f, raw)
		}
		if err := v.readNames(raw); err != nil {
			return err
		}
	}
	if d.path == "" || d.streams {
		return nil
	}
	e := volume.Entry{Path: d.path, Kind: report.Directory, Outcome: d.outcome, Findings: d.findings, Empty: v.count == 0, Hidden: d.hidden}
	if e.Outcome == report.Unscanned {
		e.Outcome = report.Clean
	}
	return w.emit(e)
}

// salvage reads what can be read of a directory, block by block; the rest is zeros.
func (w *walker) salvage(f *file, raw []byte) {
	for at := 0; at < len(raw); at += int(w.fs.block) {
		piece := raw[at:min(at+int(w.fs.block), len(raw))]
		if w.fs.readContent(f.extents, piece, int64(at)) != nil {
			clear(piece)
		}
	}
}

func (w *walker) spoil(d *directory, o report.Outcome, reason string) {
	if d.outcome == report.Unscanned {
		d.outcome = o
	}
	w.Wrong(o, reason)
}

// visitor takes in the names of one directory.
type visitor struct {
	w      *walker
	dir    *directory
	names  volume.Siblings
	exact  map[string]struct{}
	count  int
	parent bool
}

// readNames reads the names of a directory one after the other. Behind one that is damaged it looks for the next.
func (v *visitor) readNames(raw []byte) error {
	w := v.w
	for at := 0; at < len(raw); {
		rest := raw[at:]
		n, err := nameLength(rest)
		if err != nil {
			if volume.Zero(rest) && len(rest) < nameFixed {
				break
			}
			w.spoil(v.dir, report.Malformed, "A directory holds a name that is damaged: "+faultText(err))
			if w.broken++; w.broken > maxBroken {
				return errHalt
			}
			at += 4
			for at < len(raw) { // names begin on multiples of four
				if _, err := nameLength(raw[at:]); err == nil {
					break
				}
				at += 4
			}
			continue
		}
		if err := v.name(rest[:n]); err != nil {
			return err
		}
		at += (n + 3) &^ 3
	}
	if !v.parent && !v.dir.streams {
		w.spoil(v.dir, report.Malformed, "A directory does not say which one is above it.")
	}
	return nil
}

// nameLength is how long a name is, if it is one.
func nameLength(b []byte) (int, error) {
	if len(b) < nameFixed || tagOf(b) != tagName {
		return 0, volume.Malformed("there is none.")
	}
	n := nameFixed + int(b[19]) + int(le.Uint16(b[36:]))
	if n > len(b) {
		return 0, volume.Malformed("it is longer than the directory.")
	}
	return n, checkTag(b[:min((n+3)&^3, len(b))]) // the CRC may go on to where the next name begins
}

// name takes in one name.
func (v *visitor) name(b []byte) error {
	w, d := v.w, v.dir
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	is := b[18]
	icb := longAD(b[20:])
	switch {
	case is&nameParent != 0:
		if v.parent || is&nameDeleted != 0 {
			w.spoil(d, report.Malformed, "A directory says more than once which one is above it.")
		}
		v.parent = true
		if x, err := w.fs.locate(icb.part, icb.block, 1); err == nil && x.Start != d.parent && !d.streams {
			w.Note("directory-parent", report.Warn, x.Start, "A directory says that another one is above it than the one that names it.")
		}
		return nil
	case is&nameDeleted != 0:
		w.deleted++
		return nil
	}
	if w.entries++; w.entries > maxEntries {
		w.Wrong(report.TooLarge, "The volume has more entries than this program follows.")
		return errHalt
	}
	v.count++
	stored := b[nameFixed+int(le.Uint16(b[36:])):]
	name, good := unicode(stored)
	component, sound := volume.Component(name)
	e := volume.Entry{Path: component, Kind: report.File, Hidden: is&nameHidden != 0, Findings: volume.NameFindings(name)}
	switch {
	case d.streams:
		e.Path, e.Kind = d.path+":"+component, report.Stream
	case d.path != "":
		e.Path = d.path + "/" + component
	}
	var fault error
	if !good || !sound {
		fault = volume.Malformed("its name cannot be part of a path.")
	}
	if len(e.Path) > report.MaxPathBytes-2<<10 {
		e.Path = strings.ToValidUTF8(e.Path[:report.MaxPathBytes/3], "\uFFFD")
		fault = volume.Malformed("its path is too long.")
	}
	if v.count > maxSiblings {
		w.Note("many-names", report.Warn, -1, "A directory has so many names that not all were compared with each other.")
	} else {
		if v.names.Add(name) {
			e.Findings = append(e.Findings, volume.SameName)
		}
		if _, twice := v.exact[name]; twice {
			fault = volume.Malformed("its directory has the same name twice.")
		}
		if v.exact == nil {
			v.exact = map[string]struct{}{}
		}
		v.exact[name] = struct{}{}
	}
	f, err := w.open(icb)
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if fault == nil {
		fault = err
	}
	return v.entry(e, f, is&nameDirectory != 0, fault)
}

// entry hands out a file, or lets a directory wait.
func (v *visitor) entry(e volume.Entry, f *file, isDir bool, fault error) error {
	w, d := v.w, v.dir
	first := true // name of the entry
	if f != nil {
		first = !w.linked[f.place]
		if !first && isDir && fault == nil {
			fault = volume.Malformed("another name leads to the same entry.")
		}
		if first {
			w.take(f)
			if isDir || f.links > 1 { // a second name of any other finds its blocks taken
				w.linked[f.place] = true
			}
			if len(w.linked) > maxLinks {
				w.Wrong(report.TooLarge, "The volume has more directories, or files of several names, than this program follows.")
				return errHalt
			}
			if f.attributes {
				if err := w.attributes.Add(f.place, w.fs.block); err != nil {
					return err
				}
			}
		}
		if fault == nil && isDir != (f.kind == typeDirectory) {
			fault = volume.Malformed("one part of it says that it is a directory, and another that it is not.")
		}
		if fault == nil && f.extra.bytes > 0 {
			fault = w.more(f, e.Path)
		}
	}
	if fault != nil {
		e.Outcome = volume.OutcomeOf(fault)
		e.Findings = append(e.Findings, finding("entry-damaged", report.Warn, "The entry is damaged: "+faultText(fault)))
		w.Wrong(e.Outcome, "An entry of the volume is damaged.")
		if w.broken++; w.broken > maxBroken {
			return errHalt
		}
		if isDir {
			e.Kind = report.Directory
		}
		if err := w.hand(e); err != nil {
			return err
		}
		if f == nil || !first || isDir {
			return nil
		}
		// What the name does not lead to for certain is scanned all the same.
		e.Kind, e.Path, e.Outcome = report.Area, e.Path+" (content)", report.Unscanned
	}
	if isDir && fault == nil {
		sub := directory{path: e.Path, depth: d.depth + 1, file: f, parent: d.file.place, hidden: e.Hidden, findings: e.Findings}
		if sub.depth > maxDepth || w.waiting+sub.weight() > maxPending {
			w.Wrong(report.TooLarge, "Directories lie within directories more often than this program follows, or too many wait.")
			e.Kind, e.Outcome = report.Directory, report.TooLarge
			return w.hand(e)
		}
		w.push(sub)
		return w.streamsOf(f, e.Path, sub.depth)
	}
	w.fill(&e, f)
	if err := w.hand(e); err != nil {
		return err
	}
	if first {
		return w.streamsOf(f, e.Path, d.depth)
	}
	return nil
}

// fill says of an entry where its content lies.
func (w *walker) fill(e *volume.Entry, f *file) {
	e.Size, e.Valid, e.Extents = f.size, f.size, f.extents
	if f.err != nil {
		e.Outcome = volume.OutcomeOf(f.err)
		e.Findings = append(e.Findings, finding("content-damaged", report.Warn, "Where the content lies cannot be followed: "+faultText(f.err)))
		w.Wrong(e.Outcome, "The content of a file cannot be found in full.")
		return
	}
	if f.short {
		e.Findings = append(e.Findings, finding("piece-short", report.Warn,
			"The last piece of the content ends before the file does, so that a device may show less of it. All of it was read."))
	}
	switch f.kind {
	case typeRegular, typeRealTime, 0:
	case typeLink:
		e.Findings = append(e.Findings, finding("link", report.Warn, "The entry is a link to another place. It was not followed."))
	default:
		e.Findings = append(e.Findings, finding("special-file", report.Warn, "The entry is a device or the like, which no medium needs."))
	}
}

// more takes in a file of further attributes, which systems of the past wrote.
func (w *walker) more(f *file, path string) error {
	x, err := w.open(f.extra)
	if err != nil {
		return err
	}
	if w.linked[x.place] {
		return nil // another name of the same file
	}
	w.linked[x.place] = true
	w.take(x)
	e := volume.Entry{Path: path + " (attributes)", Kind: report.Area}
	w.fill(&e, x)
	return w.hand(e)
}

// streamsOf lets the directory of a file's streams wait.
func (w *walker) streamsOf(f *file, path string, depth int) error {
	if f.streams.bytes == 0 {
		return nil
	}
	s, err := w.open(f.streams)
	if err == nil && (s.kind != typeStreams || w.linked[s.place]) {
		err = volume.Malformed("they are none, or those of another file.")
	}
	if err != nil {
		w.blame("The streams of a file: ", err)
		return w.hand(volume.Entry{Path: path + ":\uFFFD", Kind: report.Stream, Outcome: volume.OutcomeOf(err)})
	}
	w.linked[s.place] = true
	w.take(s)
	w.push(directory{path: path, depth: depth, file: s, parent: f.place, streams: true})
	return nil
}

// hand hands out one entry, within the limit on how much all hold.
func (w *walker) hand(e volume.Entry) error {
	if len(e.Findings) > report.MaxPerItem {
		e.Findings = e.Findings[:report.MaxPerItem]
	}
	if e.Outcome == report.Unscanned {
		if w.content += min(e.Size, 1<<60); w.content > contentFactor*w.fs.src.Size()+spareContent {
			w.content = 1 << 60
			w.Wrong(report.TooLarge, "The files of the volume hold much more than it has room for.")
			e.Outcome = report.TooLarge
		}
	}
	return w.emit(e)
}

func finding(rule string, severity report.Severity, text string) report.Finding {
	return report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: -1, Text: text}
}
