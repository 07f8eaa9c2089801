package fat

import (
	"context"
	"fmt"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// walker is one walk over a volume.
type walker struct {
	v       *Volume
	opts    volume.Options
	emit    func(volume.Entry) error
	table   *table
	seen    *clusters // every cluster that has an owner
	pending []*directory
	waiting int // bytes that pending takes
	entries int
	slack   areas
	buf     []byte // one directory
	notes   []note
	known   volume.Learned // why the volume was not read in full; the notes are added in the end
	label   string         // of the volume
}

// directory is one that is known and waits to be read.
type directory struct {
	parent *directory // nil for the root
	name   string
	depth  int
	first  uint32 // 0 for the root
	entry  volume.Entry
}

// cost is roughly what a waiting directory takes in memory.
func (d *directory) cost() int {
	const itself, finding = 256, 96
	return itself + len(d.name) + finding*len(d.entry.Findings)
}

type note struct {
	rule, text string
	severity   report.Severity
	times      int
}

// note records what was learned about the volume as a whole. The text is a sentence without its full stop.
func (w *walker) note(rule string, severity report.Severity, text string) {
	for i := range w.notes {
		if w.notes[i].rule == rule {
			w.notes[i].times++
			return
		}
	}
	w.notes = append(w.notes, note{rule, text, severity, 1})
}

func (w *walker) summary() volume.Summary {
	for _, n := range w.notes {
		text := n.text + "."
		if n.times > 1 {
			text = fmt.Sprintf("%s (%d times).", n.text, n.times)
		}
		w.known.Note(n.rule, n.severity, -1, text)
	}
	return w.known.Summary(w.label)
}

// Walk lists the volume. See volume.FileSystem.
func (v *Volume) Walk(ctx context.Context, opts volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	w := &walker{v: v, opts: opts, emit: emit, table: newTable(v), seen: newClusters(v, allPages)}
	for _, step := range []func(context.Context) error{w.reserved, w.compareTables, w.tree, w.account, w.leftOver} {
		if err := step(ctx); err != nil {
			return volume.Summary{}, err
		}
	}
	return w.summary(), nil
}

// tree reads the root and every directory below it.
func (w *walker) tree(ctx context.Context) error {
	root := &directory{first: w.v.bpb.RootCluster}
	w.pending, w.waiting = []*directory{root}, root.cost()
	for len(w.pending) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d := w.pending[len(w.pending)-1]
		w.pending = w.pending[:len(w.pending)-1]
		w.waiting -= d.cost()
		if err := w.directory(ctx, d); err != nil {
			return err
		}
		if w.entries > maxEntries {
			w.known.Wrong(report.TooLarge, "The volume has more entries than this kiosk reads.")
			w.pending = nil
		}
	}
	return nil
}

// directory reads one directory, emits it and its files, and lets its directories wait.
func (w *walker) directory(ctx context.Context, d *directory) error {
	extents, problem, err := w.directoryExtents(ctx, d)
	if err != nil {
		return err
	}
	b, trouble := w.load(extents)
	if problem.outcome == report.Clean {
		problem = trouble
	}
	l := w.v.decode(b, d.parent == nil)
	if l.junk() {
		problem = trouble.or(report.Malformed, "A directory holds data that is no directory.")
		l = listing{}
	}
	path := d.path()
	d.entry.Empty = len(l.records) == 0 && problem.outcome == report.Clean
	d.entry.Extents = extents
	if d.parent != nil {
		w.checkDots(d, &l, &problem)
	}
	d.entry.Outcome = problem.outcome
	if problem.outcome != report.Clean {
		w.known.Wrong(problem.outcome, problem.reason)
	} else if len(d.entry.Findings) > 0 {
		d.entry.Outcome = report.Flagged
	}
	if d.parent != nil {
		d.entry.Path = path
		if err := w.emit(d.entry); err != nil {
			return err
		}
	}
	if w.opts.Deep && len(extents) > 0 {
		if err := w.area("directory as stored", extents, nil); err != nil {
			return err
		}
	}
	w.count("long-name-orphan", report.Warn, "A long name stands without an entry that it belongs to", l.orphans)
	w.count("deleted-entries", report.Inform, "Directories still hold entries of deleted files", l.deleted)
	return w.records(ctx, d, path, l.records)
}

func (w *walker) count(rule string, severity report.Severity, text string, times int) {
	if times > 0 {
		w.note(rule, severity, text)
		w.notes[slices.IndexFunc(w.notes, func(n note) bool { return n.rule == rule })].times += times - 1
	}
}

// verdict is what went wrong with one chain or directory; Clean if nothing did.
type verdict struct {
	outcome report.Outcome
	reason  string
}

var good = verdict{outcome: report.Clean}

func (p verdict) or(outcome report.Outcome, reason string) verdict {
	if p.outcome != report.Clean {
		return p
	}
	return verdict{outcome, reason}
}

func (w *walker) directoryExtents(ctx context.Context, d *directory) ([]volume.Extent, verdict, error) {
	bpb := w.v.bpb
	if d.parent == nil && bpb.Bits != 32 {
		return []volume.Extent{{Start: bpb.Heap - bpb.RootBytes(), Bytes: bpb.RootBytes()}}, good, nil
	}
	c, err := w.follow(ctx, d.first)
	return c.extents, c.verdict, err
}

// load reads a directory, or its first 2 MiB. What the medium does not give stays zero.
func (w *walker) load(extents []volume.Extent) ([]byte, verdict) {
	w.buf = w.buf[:0]
	problem := good
	for _, x := range extents {
		n := min(x.Bytes, maxDirectory-int64(len(w.buf)))
		from := len(w.buf)
		w.buf = append(w.buf, make([]byte, n)...)
		if n < x.Bytes {
			problem = problem.or(report.Malformed, "A directory is larger than any system allows.")
		}
		if _, err := w.v.src.ReadAt(w.buf[from:], x.Start); err == nil {
			continue
		}
		problem = problem.or(report.Unreadable, "A directory could not be read in full.")
		for at := int64(0); at < n; at += w.v.bpb.SectorSize {
			sector := w.buf[from+int(at):][:min(w.v.bpb.SectorSize, n-at)]
			if _, err := w.v.src.ReadAt(sector, x.Start+at); err != nil {
				clear(sector)
			}
		}
	}
	return w.buf, problem
}

// checkDots holds the first two entries of a directory against where it is. A system that follows one that lies shows
// another tree than the one that was screened.
func (w *walker) checkDots(d *directory, l *listing, problem *verdict) {
	if problem.outcome != report.Clean {
		return
	}
	above := d.parent.first
	switch self, up := l.dots[0], l.dots[1]; {
	case self == nil || up == nil:
		d.entry.Findings = append(d.entry.Findings, report.Finding{Check: report.CheckVolume, Rule: "dots-missing", Severity: report.Warn,
			Offset: -1, Text: "The directory lacks the two entries that every directory begins with."})
	case *self != d.first:
		*problem = problem.or(report.Malformed, "A directory says that it is another one.")
	case *up != above && !(d.parent.parent == nil && *up == 0):
		*problem = problem.or(report.Malformed, "A directory says that it lies in another one.")
	}
}

func (d *directory) path() string {
	if d.parent == nil {
		return ""
	}
	n := 0
	for x := d; x.parent != nil; x = x.parent {
		n += len(x.name) + 1
	}
	b := make([]byte, n)
	for x := d; x.parent != nil; x = x.parent {
		n -= len(x.name)
		copy(b[n:], x.name)
		n--
		b[n] = '/'
	}
	return string(b[1:])
}

// records emits the files of a directory and queues its directories.
func (w *walker) records(ctx context.Context, d *directory, path string, records []record) error {
	var names volume.Siblings
	labelled := false
	for i := range records {
		r := &records[i]
		if w.entries++; w.entries > maxEntries {
			return nil
		}
		if r.attr&attrLabel != 0 {
			if d.parent == nil && !labelled && r.attr&attrDirectory == 0 && r.first == 0 && r.size == 0 {
				labelled = true // the volume's own name
				w.label = r.label
				continue
			}
			r.find("label-with-content", report.Warn, "The entry is marked as the name of the volume, so that most systems hide it.")
		}
		twice := names.Add(r.name)
		if volume.Fold(r.alias) != volume.Fold(r.name) {
			twice = names.Add(r.alias) || twice
		}
		if twice {
			r.findings = append(r.findings, volume.SameName)
		}
		e := volume.Entry{Kind: report.File, Hidden: r.attr&attrHidden != 0, Findings: append(r.findings, volume.NameFindings(r.name)...)}
		if r.attr&attrDirectory != 0 {
			e.Kind = report.Directory
		}
		name, sound := volume.Component(r.name)
		e.Path = name
		if path != "" {
			e.Path = path + "/" + name
		}
		var bad verdict
		switch {
		case !sound:
			bad = verdict{report.Malformed, "A name stands for another place."}
		case len(e.Path) > report.MaxPathBytes:
			e.Path = cutPath(e.Path)
			bad = verdict{report.Malformed, "A path is longer than any system allows."}
		case e.Kind == report.Directory && d.depth >= maxDepth:
			bad = verdict{report.TooLarge, "Directories lie within directories more often than this kiosk follows."}
		default:
			bad = good
		}
		var err error
		if e.Kind == report.Directory {
			err = w.subdirectory(d, r, name, e, bad)
		} else {
			err = w.file(ctx, r, e, bad)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cutPath shortens a path to what a report carries. Its entry is malformed, so nobody takes it for the real one.
func cutPath(path string) string {
	n := report.MaxPathBytes
	for n > 0 && path[n]&0xC0 == 0x80 {
		n--
	}
	return path[:n]
}

// subdirectory lets a directory wait, or emits it if it will not be read.
func (w *walker) subdirectory(d *directory, r *record, name string, e volume.Entry, bad verdict) error {
	if r.size != 0 {
		e.Findings = append(e.Findings, report.Finding{Check: report.CheckVolume, Rule: "directory-size", Severity: report.Inform, Offset: -1,
			Text: "The directory states a size, as only files do."})
	}
	sub := &directory{parent: d, name: name, depth: d.depth + 1, first: r.first, entry: e}
	if bad.outcome == report.Clean && w.waiting+sub.cost() > maxPending {
		bad = verdict{report.TooLarge, "The volume has more directories than this kiosk keeps in mind."}
	}
	if bad.outcome != report.Clean {
		// Its clusters stay without an owner, so what is in them is still scanned, as a lost chain.
		w.known.Wrong(bad.outcome, bad.reason)
		e.Outcome = bad.outcome
		return w.emit(e)
	}
	sub.entry.Path = "" // made again from the names when its turn comes: ten thousand long paths would take too much memory
	w.waiting += sub.cost()
	w.pending = append(w.pending, sub)
	return nil
}

// file emits one file, whatever is wrong with it.
func (w *walker) file(ctx context.Context, r *record, e volume.Entry, bad verdict) error {
	size := w.v.bpb.ClusterBytes
	e.Size, e.Valid, e.Outcome = r.size, r.size, report.Unscanned
	need := (r.size + size - 1) / size
	var c chain
	if r.first != 0 || need > 0 {
		var err error
		if c, err = w.follow(ctx, r.first); err != nil {
			return err
		}
		if need > int64(w.v.bpb.Clusters) {
			c.verdict = c.or(report.Malformed, "A file is larger than the volume.")
		}
		if c.length < need {
			c.verdict = c.or(report.Malformed, "A file has less content than its size says.")
		}
		if bad.outcome == report.Clean {
			bad = c.verdict
		}
	}
	var surplus []volume.Extent
	e.Extents, surplus = split(c.extents, need*size)
	if len(surplus) > 0 {
		e.Findings = append(e.Findings, report.Finding{Check: report.CheckVolume, Rule: "chain-longer", Severity: report.Warn, Offset: -1,
			Text: "More of the volume is set aside for the file than its size says."})
	}
	if bad.outcome != report.Clean {
		w.known.Wrong(bad.outcome, bad.reason)
		e.Outcome = bad.outcome
	} else if rest := need*size - r.size; w.opts.Deep && rest > 0 {
		end := e.Extents[len(e.Extents)-1]
		if err := w.addSlack(volume.Extent{Start: end.Start + end.Bytes - rest, Bytes: rest}); err != nil {
			return err
		}
	}
	if err := w.emit(e); err != nil {
		return err
	}
	if len(surplus) > 0 {
		return w.area("clusters behind the end of a file", surplus, nil)
	}
	return nil
}

// split divides extents after n bytes.
func split(extents []volume.Extent, n int64) (head, tail []volume.Extent) {
	for i, x := range extents {
		if x.Bytes <= n {
			n -= x.Bytes
			continue
		}
		if n == 0 {
			return slices.Clip(extents[:i]), extents[i:]
		}
		head = append(slices.Clone(extents[:i]), volume.Extent{Start: x.Start, Bytes: n})
		return head, append([]volume.Extent{{Start: x.Start + n, Bytes: x.Bytes - n}}, extents[i+1:]...)
	}
	return extents, nil
}

// chain is what follows from a first cluster.
type chain struct {
	extents []volume.Extent
	length  int64 // clusters
	verdict       // Clean if it ended as a chain ends
}

// follow walks a chain to its end and takes every cluster into possession. It stops at a cluster that has an owner: that
// is a loop or two files in one place, and so each cluster of the volume is walked once, whatever the entries say.
func (w *walker) follow(ctx context.Context, first uint32) (chain, error) {
	c := chain{verdict: good}
	for at := first; ; {
		switch {
		case !w.v.valid(at):
			c.verdict = verdict{report.Malformed, "An entry points outside the volume."}
			return c, nil
		case w.seen.has(at):
			c.verdict = verdict{report.Malformed, "Two entries share one place, or a chain of clusters loops."}
			return c, nil
		case c.length%(1<<16) == 0 && ctx.Err() != nil:
			return c, context.Cause(ctx)
		}
		l, err := w.table.link(at)
		switch {
		case err != nil:
			c.verdict = verdict{report.Unreadable, "The allocation table could not be read in full."}
			return c, nil
		case l.kind == free:
			c.verdict = verdict{report.Malformed, "A file lies in clusters that the allocation table calls free."}
			return c, nil
		case l.kind == bad:
			c.verdict = verdict{report.Malformed, "A file lies in a cluster that is marked as bad."}
			return c, nil
		}
		w.seen.add(at)
		c.length++
		c.add(volume.Extent{Start: w.v.at(at), Bytes: w.v.bpb.ClusterBytes})
		switch l.kind {
		case last:
			return c, nil
		case broken:
			c.verdict = c.or(report.Malformed, "A chain of clusters leaves the volume.")
			return c, nil
		}
		at = l.next
	}
}

func (c *chain) add(x volume.Extent) {
	if k := len(c.extents) - 1; k >= 0 && c.extents[k].Start+c.extents[k].Bytes == x.Start {
		c.extents[k].Bytes += x.Bytes
		return
	}
	if len(c.extents) >= maxExtents {
		c.verdict = c.or(report.TooLarge, "A file lies in more pieces than this kiosk follows.")
		return
	}
	c.extents = append(c.extents, x)
}
