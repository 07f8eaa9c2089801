package ext

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// walker is the state of one walk.
type walker struct {
	volume.Learned
	fs   *FS
	ctx  context.Context
	emit func(volume.Entry) error
	deep bool

	owned  volume.BlockSet       // blocks
	shares volume.BlockSet       // those of them that hold extended attributes, which files may share
	seen   volume.BlockSet       // inodes that were reached
	linked map[uint32]uint16     // of files with more than one name, how many are still to come
	values map[[32]byte]struct{} // of the system's attributes

	pending []folder
	waiting int // bytes that pending takes
	entries int
	held    int64 // bytes of content so far
	steps   int64 // of maps that were followed
	broken  int
	deleted int // inodes of files that somebody deleted

	slack, odd, shape *volume.Area
}

// folder is a directory that waits to be walked. Its path is "" for the root.
type folder struct {
	path           string
	number, parent int64 // parent: 0 if nobody knows
	depth          int
	orphan         bool // no name leads there
	encrypted      bool
	outcome        report.Outcome // zero until something is wrong
	findings       []report.Finding

	names    volume.Siblings
	children int
}

// weight is roughly what a waiting directory takes in memory.
func (d *folder) weight() int {
	const fixed, each = 160, 96
	return fixed + len(d.path) + each*len(d.findings)
}

// errHalt ends a walk that has learned enough to refuse the volume.
var errHalt = errors.New("the walk was halted")

// Walk implements volume.FileSystem. Directories come after the files in them.
func (fs *FS) Walk(ctx context.Context, opts volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	g := &fs.geo
	if no := g.refusal(); no != nil {
		return *no, nil
	}
	w := &walker{fs: fs, ctx: ctx, emit: emit, deep: opts.Deep, owned: volume.NewBlockSet(g.blocks + 1), shares: volume.NewBlockSet(g.blocks + 1),
		seen: volume.NewBlockSet(g.inodes + 1), linked: map[uint32]uint16{}, values: map[[32]byte]struct{}{}}
	w.Merge(&fs.known)
	w.slack, w.odd, w.shape = w.area("slack behind files"), w.area("blocks behind the ends of files"), w.area("structures of the volume")
	if err := w.walk(); err != nil && err != errHalt {
		return volume.Summary{}, err
	}
	if w.deleted > 0 {
		w.Note("deleted-entries", report.Inform, -1, fmt.Sprintf("The tables of inodes still hold those of deleted files: %d.", w.deleted))
	}
	return w.Summary(g.label), nil
}

func (w *walker) walk() error {
	for _, step := range []func() error{w.structures, w.reserved, w.tree, w.orphans, w.account} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) ended() error { return context.Cause(w.ctx) }

// tree walks from the root.
func (w *walker) tree() error {
	w.seen.Add(rootInode, 1)
	root, err := w.fs.inode(rootInode)
	if err == nil && (!root.folder() || len(root.faults()) > 0) {
		err = volume.Malformed("it contradicts itself.")
	}
	if err != nil {
		w.Wrong(volume.OutcomeOf(err), "The root directory: "+sentence(err))
	}
	if root == nil || !root.folder() {
		return nil // the files have no names that lead to them, and are found without
	}
	return w.below(folder{number: rootInode, parent: rootInode})
}

// below walks a directory and all that lie in it.
func (w *walker) below(top folder) error {
	w.pending, w.waiting = append(w.pending[:0], top), top.weight()
	for len(w.pending) > 0 {
		last := len(w.pending) - 1
		d := w.pending[last]
		w.pending[last] = folder{}
		w.pending = w.pending[:last]
		w.waiting -= d.weight()
		if err := w.folder(&d); err != nil {
			return err
		}
	}
	return nil
}

// name takes one entry of a directory: it hands out the file, or lets the directory wait.
func (w *walker) name(d *folder, number int64, kind byte, raw []byte) error {
	if w.ctx.Err() != nil {
		return w.ended()
	}
	if w.entries++; w.entries > maxEntries {
		w.Wrong(report.TooLarge, "The volume has more entries than this program follows.")
		return errHalt
	}
	d.children++
	name := string(raw)
	if d.encrypted {
		name = encryptedName(raw)
	}
	it := item{orphan: d.orphan, findings: nameFindings(name)}
	component, sound := volume.Component(name)
	if !sound {
		it.faults = append(it.faults, "its name cannot be part of a path")
	}
	it.path = component
	if d.path != "" {
		it.path = d.path + "/" + component
	}
	if len(it.path) > report.MaxPathBytes-roomBehind {
		it.path = strings.ToValidUTF8(it.path[:report.MaxPathBytes/3], "\uFFFD")
		it.faults = append(it.faults, "its path is too long")
	}
	switch {
	case d.children > maxSiblings:
		w.Note("many-names", report.Warn, -1, "A directory has so many names that not all were compared with each other.")
	case d.names.Add(name):
		it.findings = append(it.findings, volume.SameName)
	}
	g := &w.fs.geo
	if number > g.inodes || number < g.firstFile {
		it.faults = append(it.faults, "it leads to no inode that a file can have")
		return w.lost(&it, report.Malformed)
	}
	in, err := w.fs.inode(number)
	if err != nil {
		w.Wrong(volume.OutcomeOf(err), "An entry of a directory cannot be followed: "+sentence(err))
		it.faults = append(it.faults, strings.TrimSuffix(sentence(err), "."))
		return w.lost(&it, volume.OutcomeOf(err))
	}
	it.faults = append(it.faults, in.faults()...)
	if g.incompat&incompatFileType != 0 && kind != 0 && (int(kind) >= len(kinds) || kinds[kind] != in.kind()) {
		it.faults = append(it.faults, "its directory says that it is of another kind")
	}
	if in.folder() {
		return w.enter(d, &it, in)
	}
	return w.file(&it, in)
}

// enter lets a directory wait until it is walked, and handed out then.
func (w *walker) enter(parent *folder, it *item, in *inode) error {
	if !w.seen.Add(in.number, 1) {
		if parent.orphan {
			return nil // it was handed out by itself, before the one in which it lies
		}
		it.faults = append(it.faults, "it is a directory that has another name, too, or lies in itself")
		return w.lost(it, report.Malformed)
	}
	d := folder{path: it.path, number: in.number, parent: parent.number, depth: parent.depth + 1, orphan: parent.orphan}
	if d.depth > maxDepth {
		w.Wrong(report.TooLarge, "Directories lie deeper inside each other than this program follows.")
		it.faults = append(it.faults, "it lies too deep")
		return w.lost(it, report.TooLarge)
	}
	if err := w.judge(it, report.Malformed); err != nil {
		return err
	}
	d.outcome, d.findings = it.outcome, it.findings
	if w.waiting += d.weight(); w.waiting > maxPending {
		w.Wrong(report.TooLarge, "The volume has more directories than this program follows.")
		return errHalt
	}
	w.pending = append(w.pending, d)
	return nil
}

// damaged counts what contradicts itself, and gives up a volume with too much of it.
func (w *walker) damaged() error {
	if w.broken++; w.broken > maxBroken {
		return errHalt
	}
	return nil
}

// judge makes of an item's faults its outcome and a finding.
func (w *walker) judge(it *item, o report.Outcome) error {
	if len(it.faults) == 0 {
		return nil
	}
	if it.outcome == report.Unscanned {
		it.outcome = o
	}
	w.Wrong(o, "An entry of the volume is damaged.")
	it.findings = append(it.findings,
		finding("entry-damaged", report.Warn, "The entry is damaged: "+strings.Join(slices.Compact(it.faults), "; ")+"."))
	it.faults = nil
	return w.damaged()
}

// nameFindings says what is odd about a name. Linux takes any bytes, most systems UTF-8.
func nameFindings(name string) []report.Finding {
	if utf8.ValidString(name) {
		return volume.NameFindings(name)
	}
	return append(volume.NameFindings(strings.ToValidUTF8(name, "\uFFFD")),
		finding("name-bytes", report.Warn, "The name is not UTF-8, so that systems show it in different ways."))
}
