package exfat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// directory is one that waits to be walked. Its path is "" for the root.
type directory struct {
	path       string
	depth      int
	content    allocation
	contiguous bool
	hidden     bool
	outcome    report.Outcome // zero until something is wrong
	findings   []report.Finding

	names    volume.Siblings
	children int
}

// weight is roughly what a waiting directory takes in memory.
func (d *directory) weight() int { return pendingBytes + len(d.path) + len(d.findings)*findingBytes }

// walker is the state of one walk.
type walker struct {
	volume.Learned
	fs      *FS
	ctx     context.Context
	emit    func(volume.Entry) error
	deep    bool
	owned   clusterSet
	piece   [tablePiece]byte // of the allocation table
	pieceAt int64            // -1: none

	pending []directory
	waiting int // bytes that pending takes
	entries int
	broken  int
	deleted int // entries of files that somebody deleted
	slack   *volume.Area
	odd     *volume.Area // clusters of directories that hold more than entries
}

func newWalker(fs *FS) *walker {
	return &walker{fs: fs, ctx: context.Background(), owned: newClusterSet(fs.geo.clusters), pieceAt: -1}
}

// errHalt ends a walk that has learned enough to refuse the volume.
var errHalt = errors.New("the walk was halted")

// Walk implements volume.FileSystem. Directories come after the files in them.
func (fs *FS) Walk(ctx context.Context, opts volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	if fs.geo.clusters > maxClusters {
		return volume.Summary{Outcome: report.TooLarge, Reason: "The volume has more clusters than this program follows."}, nil
	}
	w := newWalker(fs)
	w.ctx, w.emit, w.deep = ctx, emit, opts.Deep
	w.Merge(&fs.known)
	w.slack, w.odd = w.area("slack behind files"), w.area("directory clusters")
	err := w.walk()
	if err != nil && err != errHalt {
		return volume.Summary{}, err
	}
	if w.deleted > 0 {
		w.Note("deleted-entries", report.Inform, -1, fmt.Sprintf("Directories still hold entries of deleted files: %d.", w.deleted))
	}
	return w.Summary(fs.label), nil
}

func (w *walker) walk() error {
	if err := w.system(); err != nil {
		return err
	}
	w.pending, w.waiting = []directory{{}}, pendingBytes
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
	if err := w.slack.Flush(); err != nil {
		return err
	}
	if err := w.odd.Flush(); err != nil {
		return err
	}
	return w.account()
}

// system takes the clusters of the bitmap and the up-case table into possession, and hands out the boot regions: code lies
// there that starts a machine.
func (w *walker) system() error {
	g := &w.fs.geo
	for _, own := range []struct {
		allocation
		what string
	}{{w.fs.bitmap, "The allocation bitmap: "}, {w.fs.table, "The up-case table: "}} {
		if !own.present {
			continue
		}
		extents, _, err := w.chain(own.first, g.clustersFor(own.bytes), false)
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if err != nil {
			w.blame(own.what, err)
		}
		if err := w.addSlack(extents, own.bytes); err != nil {
			return err
		}
	}
	bootEnd, tableEnd, heapEnd := 2*regionParts*g.sector, g.fat+(int64(g.clusters)+2)*4, g.heap+int64(g.clusters)*g.cluster
	if err := w.whole("boot regions", 0, bootEnd); err != nil {
		return err
	}
	for _, spare := range []struct {
		what     string
		from, to int64
	}{
		{"space before the allocation table", bootEnd, g.fat},
		{"space behind the allocation table", tableEnd, g.heap},
		{"space behind the last cluster", heapEnd, g.length},
	} {
		if err := w.spare(spare.what, spare.from, spare.to); err != nil {
			return err
		}
	}
	if !w.deep {
		return nil
	}
	// Nobody looks at the table's entries for clusters that lie side by side.
	return w.whole("allocation table", g.fat, tableEnd)
}

// directory walks one directory and then hands it out.
func (w *walker) directory(d *directory) error {
	root := d.path == ""
	extents, err := w.dirExtents(d)
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if err != nil {
		d.worse(volume.OutcomeOf(err))
		if root {
			w.blame("The root directory: ", err)
		} else {
			w.blame("A directory cannot be followed: ", err)
		}
	}
	// A directory's own clusters are hiding places too: behind its end mark, and in entries that are deleted.
	if err := w.addSlack(extents, 0); err != nil {
		return err
	}
	s := &sets{w: w, dir: d}
	unread, err := w.records(extents, s.add)
	if err == nil {
		err = s.end()
	}
	if err != nil && err != errHalt {
		return err
	}
	if s.odd && !w.deep {
		for _, x := range extents {
			if err := w.odd.Add(x.Start, x.Bytes); err != nil {
				return err
			}
		}
	}
	if unread {
		d.worse(report.Unreadable)
		w.Wrong(report.Unreadable, "A directory could not be read in full.")
	}
	if err == errHalt {
		d.worse(report.Malformed)
	}
	if root {
		return err
	}
	if d.outcome == report.Unscanned {
		d.outcome = report.Clean
	}
	e := volume.Entry{Path: d.path, Kind: report.Directory, Extents: extents, Outcome: d.outcome, Findings: d.findings,
		Empty: d.children == 0, Hidden: d.hidden}
	if err := w.emit(e); err != nil {
		return err
	}
	return err // nil or errHalt
}

// worse sets the outcome unless there is one already.
func (d *directory) worse(o report.Outcome) {
	if d.outcome == report.Unscanned {
		d.outcome = o
	}
}

// dirExtents follows a directory. Where its chain and its stated length do not agree, systems differ in what they list, so
// all of the chain is read and the directory is malformed.
func (w *walker) dirExtents(d *directory) ([]volume.Extent, error) {
	g := &w.fs.geo
	if d.path == "" {
		extents, _, err := w.chain(g.root, -1, false)
		return extents, err
	}
	c := d.content
	switch {
	case !c.present || c.bytes == 0:
		return nil, nil
	case c.bytes > maxDirBytes:
		return nil, &volume.Fault{Outcome: report.TooLarge, Text: "it is larger than a directory may be."}
	case d.contiguous:
		extents, _, err := w.chain(c.first, g.clustersFor(c.bytes), true)
		return extents, err
	}
	extents, _, err := w.chain(c.first, -1, false)
	var got int64
	for _, x := range extents {
		got += x.Bytes
	}
	if err == nil && got != g.clustersFor(c.bytes)*g.cluster {
		err = volume.Malformed("its chain of clusters and its length do not agree.")
	}
	return extents, err
}

// item hands out one file, or puts one directory on the list of those to be walked.
func (w *walker) item(d *directory, r *record) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if w.entries++; w.entries > maxEntries {
		w.Wrong(report.TooLarge, "The volume has more entries than this program follows.")
		return errHalt
	}
	d.children++
	path, name, ok := r.path(d.path)
	if !ok {
		r.broken("its name cannot be part of a path")
	}
	if len(path) > report.MaxPathBytes {
		path = strings.ToValidUTF8(path[:report.MaxPathBytes-3], "\uFFFD")
		path = path[:min(len(path), report.MaxPathBytes)]
		r.broken("its path is too long")
	}
	r.findings = append(volume.NameFindings(name), r.findings...)
	switch {
	case d.children > maxSiblings:
		w.Note("many-names", report.Warn, r.at, "A directory has so many names that not all were compared with each other.")
	case d.names.Add(name):
		r.findings = append(r.findings, volume.SameName)
	}
	e := volume.Entry{Path: path, Kind: report.File, Hidden: r.hidden}
	if r.dir {
		e.Kind = report.Directory
	} else if err := w.locate(r, &e); err != nil {
		return err
	}
	return w.judge(d, r, e)
}

// judge gives a record that contradicts itself its outcome, hands out a file, and lets a directory wait. It gives up a
// volume with too many such records.
func (w *walker) judge(parent *directory, r *record, e volume.Entry) error {
	if len(r.faults) > 0 {
		if e.Outcome == report.Unscanned {
			e.Outcome = report.Malformed
		}
		w.Wrong(report.Malformed, "An entry of the volume is damaged.")
		w.broken++
		r.note("entry-damaged", report.Warn, "The entry is damaged: "+strings.Join(slices.Compact(r.faults), "; ")+".")
	}
	e.Findings = r.findings
	if e.Kind == report.Directory && w.broken <= maxBroken {
		return w.queue(parent, r, e)
	}
	if err := w.emit(e); err != nil {
		return err
	}
	if w.broken > maxBroken {
		return errHalt
	}
	return nil
}

// locate finds a file's clusters.
func (w *walker) locate(r *record, e *volume.Entry) error {
	c := r.content
	e.Size, e.Valid = c.bytes, min(r.valid, c.bytes)
	if c.bytes == 0 && c.first != 0 {
		r.note("empty-with-cluster", report.Inform, "The file is empty and yet names a cluster.")
	}
	extents, longer, err := w.chain(c.first, w.fs.geo.clustersFor(c.bytes), r.contiguous)
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	e.Extents = extents
	if longer {
		// What follows is not part of the file, and is found with the lost clusters.
		r.note("chain-longer", report.Warn, "The file has more clusters than its length says.")
	}
	if err != nil {
		e.Outcome = volume.OutcomeOf(err)
		w.Wrong(e.Outcome, "The content of a file cannot be found in full.")
		r.note("content-damaged", report.Warn, "Where the content lies cannot be followed: "+sentence(err))
		return nil
	}
	return w.addSlack(extents, e.Valid)
}

// addSlack notes, for a deep walk, what is allocated behind so many bytes of stored content.
func (w *walker) addSlack(extents []volume.Extent, stored int64) error {
	if !w.deep {
		return nil
	}
	skip := stored
	for _, x := range extents {
		if skip < x.Bytes {
			if err := w.slack.Add(x.Start+skip, x.Bytes-skip); err != nil {
				return err
			}
		}
		skip = max(skip-x.Bytes, 0)
	}
	return nil
}

// queue lets a directory wait until it is walked, and handed out then.
func (w *walker) queue(parent *directory, r *record, e volume.Entry) error {
	if r.content.present && r.valid != r.content.bytes {
		r.note("directory-size", report.Warn, "The directory's two lengths do not agree.")
		e.Findings = r.findings
	}
	refuse := func(o report.Outcome, reason string) error {
		w.Wrong(o, reason)
		if e.Outcome == report.Unscanned {
			e.Outcome = o
		}
		return w.emit(e)
	}
	switch {
	case parent.depth >= maxDepth:
		return refuse(report.TooLarge, "Directories lie within directories more often than this program follows.")
	case len(e.Path) >= report.MaxPathBytes-4:
		return refuse(report.Malformed, "A path is longer than any system allows.")
	}
	d := directory{path: e.Path, depth: parent.depth + 1, content: r.content, contiguous: r.contiguous, hidden: r.hidden,
		outcome: e.Outcome, findings: e.Findings}
	if w.waiting += d.weight(); w.waiting > maxPending {
		w.Wrong(report.TooLarge, "The volume has more directories than this program follows.")
		return errHalt
	}
	w.pending = append(w.pending, d)
	return nil
}
