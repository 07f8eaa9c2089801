package ntfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// walker is the state of one walk. A walk reads the table twice: first for what is a directory and which records are in
// use, then, with the indexes read in between, for the files.
type walker struct {
	volume.Learned
	fs   *FS
	ctx  context.Context
	emit func(volume.Entry) error
	deep bool

	uses       []uint16 // of each record that is the first of something in use, how often it was used; else 0
	extensions bitset   // the records that continue others
	claimed    bitset   // those that others were found to be continued by
	folders    folders
	names      names
	indexed    int64 // bytes of all indexes so far
	owned      volume.BlockSet

	entries int
	judged  bool // it is known whether what lies too deep lies in a circle
	content int64
	broken  int
	deleted int // records of files that somebody deleted

	slack, odd, bad *volume.Area
}

// errHalt ends a walk that has learned enough to refuse the volume.
var errHalt = errors.New("the walk was halted")

// Walk implements volume.FileSystem. Entries come in the order of their records.
func (fs *FS) Walk(ctx context.Context, opts volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	switch {
	case fs.geo.clusters > maxClusters:
		return volume.Summary{Outcome: report.TooLarge, Reason: "The volume has more clusters than this program follows."}, nil
	case fs.records() > maxRecords:
		return volume.Summary{Outcome: report.TooLarge, Reason: "The volume has more records of files than this program follows."}, nil
	}
	n := fs.records()
	w := &walker{fs: fs, ctx: ctx, emit: emit, deep: opts.Deep, uses: make([]uint16, n), extensions: newBitset(n), claimed: newBitset(n),
		folders: folders{places: map[uint32]place{}}, names: names{twice: map[uint64]bool{}}, owned: volume.NewBlockSet(fs.geo.clusters)}
	w.Merge(&fs.known)
	w.slack, w.odd, w.bad = w.area("slack behind files"), w.area("directory clusters"), w.area("clusters marked as bad")
	if err := w.walk(); err != nil && err != errHalt {
		return volume.Summary{}, err
	}
	if w.deleted > 0 {
		w.Note("deleted-entries", report.Inform, -1, fmt.Sprintf("The file table still holds records of deleted files: %d.", w.deleted))
	}
	return w.Summary(fs.label), nil
}

func (w *walker) walk() error {
	for _, step := range []func() error{w.survey, w.indexes, w.files, w.account} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// survey reads the table for the first time.
func (w *walker) survey() error {
	return w.fs.eachRecord(w.ctx, func(number int64, raw []byte) error {
		marked := w.fs.marked(number)
		if raw == nil {
			w.Wrong(report.Unreadable, "A part of the file table could not be read.")
			return nil
		}
		kept := number >= systemRecords && number < firstUser
		if string(raw[:4]) != "FILE" && (!marked || kept) {
			// What was never used is blank; what was used and given up stays a record.
			if !volume.Zero(raw) {
				w.Note("record-junk", report.Warn, -1, "The file table holds bytes that never were a record.")
				if string(raw[:4]) == "BAAD" {
					w.Wrong(report.Malformed, "A record of the file table was found damaged before.")
				}
			}
			return nil
		}
		r, err := parseRecord(raw, number)
		if err != nil {
			return w.damaged("A record of the file table is damaged: " + err.Error())
		}
		if r.inUse != marked && w.fs.marks != nil && (r.inUse || !kept) {
			w.Note("records-differ", report.Warn, -1, "The file table and its list of records in use do not agree.")
		}
		switch {
		case !r.inUse: // deleted, or never used; every volume has such
			if r.base == 0 && stillNamed(raw) {
				w.deleted++
			}
		case r.base != 0:
			w.extensions.set(number)
		default:
			w.uses[number] = r.use
			if r.dir {
				return w.folder(r)
			}
		}
		return nil
	})
}

// damaged counts records that contradict themselves, and gives up a table with too many.
func (w *walker) damaged(reason string) error {
	w.Wrong(report.Malformed, reason)
	if w.broken++; w.broken > maxBroken {
		return errHalt
	}
	return nil
}

// folder keeps a directory for later. A directory has one name; with two it could lie inside itself.
func (w *walker) folder(r *record) error {
	f := w.fs.gather(r)
	links, err := f.links()
	links = slices.DeleteFunc(links, func(l link) bool { return l.alias })
	d := folder{number: uint32(r.number), use: r.use}
	var name string
	if err != nil || len(links) > 1 {
		if err := w.damaged("A directory has more than one name, or one that cannot be read."); err != nil {
			return err
		}
		d.outcome = report.Malformed
	}
	if len(links) > 0 && links[0].parent.number() < int64(len(w.uses)) {
		d.parent, d.parentUse, name = uint32(links[0].parent.number()), links[0].parent.use(), links[0].name
	}
	if !w.folders.add(d, name) {
		w.Wrong(report.TooLarge, "The volume has more directories than this program follows.")
		return errHalt
	}
	return nil
}

// files reads the table for the second time and hands out what its records hold.
func (w *walker) files() error {
	return w.fs.eachRecord(w.ctx, func(number int64, raw []byte) error {
		use := w.uses[number]
		if use == 0 {
			return nil // said in the survey, if anything was wrong
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		var r *record
		var err error = errMedium
		if raw != nil {
			r, err = parseRecord(raw, number)
		}
		if err != nil || !r.inUse || r.base != 0 || r.use != use {
			return w.damaged("The file table changed while it was read.")
		}
		return w.file(w.fs.gather(r))
	})
}

// file hands out what one record and those that continue it hold.
func (w *walker) file(f *file) error {
	for _, n := range f.extensions {
		w.claimed.set(n)
	}
	if f.err != nil {
		w.Wrong(volume.OutcomeOf(f.err), "A file's records do not fit together: "+f.err.Error())
		if err := w.damaged("A file's records do not fit together."); err != nil {
			return err
		}
	}
	for i := range f.streams {
		w.claim(&f.streams[i])
	}
	links, err := f.links()
	if err != nil {
		if err := w.damaged("A file has a name that contradicts itself."); err != nil {
			return err
		}
		f.err = err
	}
	e := emitter{w: w, f: f, problem: w.reparse(f)}
	switch {
	case f.number == recordRoot:
		return e.root(links)
	case f.number < systemRecords:
		return e.system(links)
	}
	return e.links(links)
}

// claim takes the clusters of a stream into possession. A cluster that has an owner already has two contents.
func (w *walker) claim(s *stream) {
	g := &w.fs.geo
	for i, x := range s.extents {
		if x.Start < 0 {
			continue
		}
		if x.Start+x.Bytes > w.fs.src.Size() {
			s.extents, s.ends = s.extents[:i], s.ends[:i]
			s.err = volume.Malformed("it reaches behind the end of the medium.")
			break
		}
		if !w.owned.Add(x.Start/g.cluster, x.Bytes/g.cluster) && s.err == nil {
			s.err = volume.Malformed("it lies in clusters that belong to something else.")
		}
	}
	if s.err != nil {
		w.Wrong(volume.OutcomeOf(s.err), "The content of a file cannot be found in full: "+s.err.Error())
	}
}

// Tags of reparse points: what a system that knows them makes of the file.
const (
	tagMount   = 0xA0000003
	tagSymlink = 0xA000000C
	tagLinux   = 0xA000001D // a symbolic link of the Windows subsystem for Linux
	tagWOF     = 0x80000017
	tagDedup   = 0x80000013
	tagCloud   = 0x9000001A // with a number in the fourth digit from the right
	maskCloud  = 0xFFFF0FFF
)

// reparse reads what else a file is. It returns a finding, and for one whose content nobody here can read an opaque one.
func (w *walker) reparse(f *file) problem {
	s := f.stream(typeReparse, "")
	if s == nil {
		return problem{}
	}
	raw := make([]byte, 8)
	if s.size < 8 || s.size > maxReparse || w.fs.readStream(s, raw, 0) != nil {
		w.Wrong(report.Malformed, "A link or the like cannot be read.")
		return problem{opaque: true, rule: "reparse-damaged", text: "The file is something else than it seems, but what cannot be read."}
	}
	switch tag := le.Uint32(raw); {
	case tag == tagMount, tag == tagSymlink, tag == tagLinux:
		return problem{rule: "link", text: "The entry is a link to another place. It was not followed."}
	case tag == tagWOF:
		return problem{opaque: true, rule: "compressed-by-windows",
			text: "The file is kept in a compressed form of Windows' own (WOF), which this kiosk cannot read."}
	case tag == tagDedup:
		return problem{opaque: true, rule: "deduplicated",
			text: "The file's content was moved away by Windows' deduplication, which this kiosk cannot read."}
	case tag&maskCloud == tagCloud:
		return problem{opaque: true, rule: "cloud-file", text: "The file's content may be in a cloud and not on the medium."}
	}
	return problem{opaque: true, rule: "reparse-unknown", text: "The file is of a kind that this kiosk does not know (reparse tag)."}
}

// problem is what a reparse point makes of a file; none if it has no rule.
type problem struct {
	opaque     bool
	rule, text string
}
