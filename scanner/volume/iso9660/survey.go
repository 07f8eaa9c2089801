package iso9660

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// survey is the first pass over a volume: it finds the sessions, trees and directories and where everything lies. The
// second hands out entries.
type survey struct {
	volume.Learned
	fs  *FS
	ctx context.Context

	trees []tree
	dirs  []directory
	files []ref

	own         volume.Ranges // bytes that belong to something
	structure   volume.Ranges // those of directories and tables
	descriptors volume.Ranges
	junk        volume.Ranges // directories that hold more than records
	images      volume.Ranges // what a computer may start from
	boot        volume.Ranges // of those what no file has
	data        volume.Ranges // bytes of nobody, and not zero
	spare       []volume.Extent
	entered     map[place]bool
	claiming    bool

	nameBytes int
	broken    int
}

// place is a directory of a tree: how it is known that one is entered twice.
type place struct {
	tree  int
	start int64
}

// directory is one of a tree. Its path is made of those above it.
type directory struct {
	tree         int
	parent       int // in survey.dirs; -1 for a root
	depth        int
	name         string // a component of a path
	start, bytes int64
	extended     int64 // bytes before the start
	path         int   // bytes of its path
	hidden, full bool
	relocated    bool // it lies in another directory than the one that shows it
	outcome      report.Outcome
	findings     []report.Finding
}

// ref is an entry with content, or without a directory's: where its record is, and what to sort it by.
type ref struct {
	start int64 // of its content; -1 if it has none
	dir   uint32
	at    uint32 // of the record in the directory
	same  bool   // another entry has the same name but for capital letters
	twice bool   // another entry has the same name
}

// understood notes bytes that this package reads itself.
func (s *survey) understood(start, bytes int64) {
	bytes = min(bytes, s.fs.src.Size()-start)
	s.own.Add(start, bytes)
	s.structure.Add(start, bytes)
}

// run finds everything.
func (s *survey) run() error {
	s.entered, s.claiming = map[place]bool{}, true
	if err := s.session(firstDescriptor); err != nil {
		return err
	}
	if !slices.ContainsFunc(s.trees, func(t tree) bool { return t.naming == plain }) {
		s.Wrong(report.Malformed, "The volume has no primary descriptor that can be read.")
	}
	if err := s.walkTrees(0); err != nil {
		return err
	}
	for _, x := range s.images.All() {
		for _, g := range s.own.Gaps(x.Start, x.Start+x.Bytes) {
			s.boot.Add(g.Start, g.Bytes)
		}
		s.own.Add(x.Start, x.Bytes)
	}
	older, err := s.look()
	if err != nil {
		return err
	}
	for _, at := range older {
		if s.descriptors.Meets(at*sector, sector) {
			continue // it follows another
		}
		if s.inside(at) {
			s.Note("volume-inside", report.Warn, at*sector, "Another volume begins within this one, as a partition would; it was scanned as it lies.")
			continue
		}
		s.Note("session", report.Warn, at*sector, "The disc has more than one session, of which a device may show any. All were read.")
		known := len(s.trees)
		if err := s.session(at); err != nil {
			return err
		}
		if err := s.walkTrees(known); err != nil {
			return err
		}
	}
	s.entered, s.claiming = nil, false
	slices.SortFunc(s.files, func(a, b ref) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.dir, b.dir), cmp.Compare(a.at, b.at))
	})
	s.spare = volume.Common(s.data.All(), s.own.Gaps(0, s.fs.src.Size()))
	return nil
}

// inside reports whether descriptors count from their own place and not from the beginning of the disc: then they are no
// session but what a computer sees that takes a part of the disc for a whole. Discs that are disks too have such.
func (s *survey) inside(at int64) bool {
	raw := make([]byte, sector)
	if s.fs.readFull(raw, at*sector) != nil {
		return false
	}
	d, err := parseDescriptor(raw)
	if err != nil {
		return false
	}
	leads := func(from int64) bool {
		root := make([]byte, recordBytes+1)
		if s.fs.readFull(root, from+d.root.start) != nil {
			return false
		}
		r, err := parseRecord(root, d.block)
		return err == nil && r.self() && r.start == d.root.start
	}
	return !leads(0) && leads((at-firstDescriptor)*sector)
}

// look reads what belongs to nobody, and finds in it where sessions begin: with descriptors in sectors of their own.
func (s *survey) look() (sessions []int64, err error) {
	last := int64(-2)
	unread, err := volume.EachData(s.ctx, s.fs.src, s.own.Gaps(0, s.fs.src.Size()), func(at int64, buf []byte) error {
		s.data.Add(at, int64(len(buf)))
		for i := (sector - at%sector) % sector; i+sector <= int64(len(buf)); i += sector {
			if raw := buf[i : i+sector]; !isDescriptor(raw) || raw[0] != typePrimary && raw[0] != typeSupplementary {
				continue
			}
			n := (at + i) / sector
			if n < firstDescriptor {
				continue // of the disc that this one is a partition of
			}
			if n != last+1 {
				if sessions = append(sessions, n); len(sessions) > maxTrees {
					s.Wrong(report.TooLarge, "The volume has more sessions than this program follows.")
					return errHalt
				}
			}
			last = n
		}
		return nil
	})
	if unread {
		s.Wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
	}
	return sessions, err
}

// walkTrees enters the directories of trees from the first on.
func (s *survey) walkTrees(first int) error {
	for n := first; n < len(s.trees); n++ {
		t := &s.trees[n]
		from := len(s.dirs)
		s.dirs = append(s.dirs, directory{tree: n, parent: -1, start: t.root.start, bytes: t.root.bytes, extended: t.root.extended})
		for i := from; i < len(s.dirs); i++ {
			if err := s.directory(i); err != nil {
				return err
			}
		}
		if t.naming != rockRidge {
			if err := s.tables(t, s.dirs[from:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// blame says that an error of this package bars the volume.
func (s *survey) blame(what string, err error) {
	text := "the medium returned an error."
	var f *volume.Fault
	if errors.As(err, &f) {
		text = f.Text
	}
	s.Wrong(volume.OutcomeOf(err), what+text)
}

// damaged counts records that contradict themselves, and gives up a volume with too many.
func (s *survey) damaged(reason string) error {
	s.Wrong(report.Malformed, reason)
	if s.broken++; s.broken > maxBroken {
		return errHalt
	}
	return nil
}

// spoil makes a directory malformed, or what else it is.
func (s *survey) spoil(n int, o report.Outcome, reason string) error {
	if s.dirs[n].outcome == report.Unscanned {
		s.dirs[n].outcome = o
	}
	s.Wrong(o, reason)
	if s.broken++; s.broken > maxBroken {
		return errHalt
	}
	return nil
}

// directory enters one directory of a tree.
func (s *survey) directory(n int) error {
	d := &s.dirs[n]
	if d.outcome != report.Unscanned {
		return nil // it was given up when it was found
	}
	t := &s.trees[d.tree]
	key := place{d.tree, d.start}
	switch {
	case s.entered[key]:
		return s.spoil(n, report.Malformed, "A directory lies within itself, or has two names.")
	case d.bytes > maxDirBytes:
		return s.spoil(n, report.TooLarge, "A directory is larger than this program follows.")
	case d.start+d.bytes > s.fs.src.Size():
		return s.spoil(n, report.Malformed, "A directory reaches behind the end of the medium.")
	case d.bytes == 0:
		return s.spoil(n, report.Malformed, "A directory has not even a record of itself.")
	}
	s.entered[key] = true
	start, length := d.start, d.bytes
	s.understood(start, length)
	v := &visitor{s: s, t: t, dir: n, exact: map[uint64]struct{}{}}
	unread, junk, err := s.eachRecord(start, length, v.visit)
	if err != nil {
		return err
	}
	if v.goesOn != nil {
		if err := s.spoil(n, report.Malformed, "A file of several pieces has no last one."); err != nil {
			return err
		}
	}
	if v.count < 2 {
		if err := s.spoil(n, report.Malformed, "A directory does not begin with records of itself and the one above."); err != nil {
			return err
		}
	}
	if junk {
		s.Note("directory-junk", report.Warn, start, "A directory holds bytes that belong to no record; they were scanned.")
		s.junk.Add(start, length)
	}
	if unread {
		return s.spoil(n, report.Unreadable, "A directory could not be read in full.")
	}
	return nil
}

// visitor takes in the records of one directory.
type visitor struct {
	s      *survey
	t      *tree
	dir    int
	count  int
	goesOn []byte // the name of a file whose pieces go on in the next record
	names  volume.Siblings
	exact  map[uint64]struct{}
}

// visit takes in one record.
func (v *visitor) visit(at int64, raw []byte) error {
	s := v.s
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	v.count++
	r, err := parseRecord(raw, v.t.block)
	if v.count <= 2 {
		return v.dots(&r, err)
	}
	if err == nil && (r.self() || r.parent()) {
		return s.spoil(v.dir, report.Malformed, "A directory holds more than one record of itself.")
	}
	if len(s.files)+len(s.dirs) >= maxEntries {
		s.Wrong(report.TooLarge, "The volume has more entries than this program follows.")
		return errHalt
	}
	s.dirs[v.dir].full = true
	if err == nil && r.flags&flagDirectory == 0 {
		s.content(&r, v.t.block)
	}
	if v.goesOn != nil && err == nil {
		if string(v.goesOn) == string(r.id) && r.flags&flagDirectory == 0 {
			if r.flags&flagMore == 0 {
				v.goesOn = nil
			}
			return nil // a piece of the file before it
		}
		if err := s.spoil(v.dir, report.Malformed, "A file of several pieces has no last one."); err != nil {
			return err
		}
	}
	v.goesOn = nil
	if err == nil && r.flags&flagMore != 0 {
		v.goesOn = r.id
	}
	return v.entry(at, raw)
}

// dots holds the first two records against where the directory lies: numbers that lead elsewhere are found out here.
func (v *visitor) dots(r *record, err error) error {
	s, d := v.s, &v.s.dirs[v.dir]
	if v.count == 1 {
		if err != nil || !r.self() || r.start != d.start || r.bytes != d.bytes {
			return s.spoil(v.dir, report.Malformed, "A directory does not begin with a record of itself.")
		}
		if v.t.naming == rockRidge {
			if _, err := s.rockRidge(v.t, r.use); err != nil {
				return s.spoil(v.dir, volume.OutcomeOf(err), "A directory's record of itself cannot be read.")
			}
		}
		return nil
	}
	if err != nil || !r.parent() {
		return s.spoil(v.dir, report.Malformed, "A directory does not go on with a record of the one above.")
	}
	above := d
	if d.parent >= 0 {
		above = &s.dirs[d.parent]
	}
	if r.start != above.start && !d.relocated {
		s.Note("directory-parent", report.Inform, d.start, "A directory says that another one is above it than the one that names it.")
	}
	return nil
}

// content notes that bytes belong to a file, up to the end of their last block.
func (s *survey) content(r *record, block int64) {
	if r.start < s.fs.src.Size() {
		s.own.Add(r.start, min((r.bytes+block-1)/block*block, s.fs.src.Size()-r.start))
	}
}

// named is a record with all that its system use field says.
type named struct {
	record
	rock
	shown string // its name as a device shows it
	fault error  // what is wrong with it
}

// read takes a record apart.
func (s *survey) read(t *tree, raw []byte) named {
	n := named{rock: rock{child: -1}}
	n.record, n.fault = parseRecord(raw, t.block)
	if n.fault == nil && t.naming == rockRidge {
		n.rock, n.fault = s.rockRidge(t, n.use)
	}
	if n.rock.named {
		n.shown = n.rock.name
	} else {
		var err error
		if n.shown, err = t.name(n.id); n.fault == nil {
			n.fault = err
		}
	}
	isDir := n.flags&flagDirectory != 0 || n.child >= 0
	if n.fault == nil && n.mode != 0 && (n.mode&modeType == modeDir) != isDir {
		n.fault = volume.Malformed("one part of it says that it is a directory, and another that it is not.")
	}
	return n
}

// entry takes in a file or a directory.
func (v *visitor) entry(at int64, raw []byte) error {
	s := v.s
	n := s.read(v.t, raw)
	if n.fault == nil && n.relocated && n.child < 0 {
		return nil // shown elsewhere; the plain tree has it here
	}
	if v.t.versioned(n.id) {
		s.Note("name-version", report.Warn, -1, "Files have versions, of which a device may show only one. All were read.")
	}
	if n.fault != nil {
		s.Wrong(volume.OutcomeOf(n.fault), "A record of a directory is damaged.")
		if s.broken++; s.broken > maxBroken {
			return errHalt
		}
	}
	e := ref{start: -1, dir: uint32(v.dir), at: uint32(at)}
	associated := n.flags&flagAssociated != 0
	if len(v.exact) >= maxSiblings {
		s.Note("many-names", report.Warn, -1, "A directory has so many names that not all were compared with each other.")
	} else {
		e.same = !associated && v.names.Add(n.shown)
		key := hashName(n.shown, associated)
		if _, e.twice = v.exact[key]; e.twice {
			if err := s.damaged("A directory holds a name twice."); err != nil {
				return err
			}
		}
		v.exact[key] = struct{}{}
	}
	if n.fault == nil && (n.flags&flagDirectory != 0 || n.child >= 0) {
		return v.subdirectory(&n, e)
	}
	if n.fault == nil && n.bytes > 0 {
		e.start = n.start
	}
	s.files = append(s.files, e)
	return nil
}

// hashName is what is kept of a name to find it again.
func hashName(name string, associated bool) uint64 {
	sum := sha256.Sum256([]byte(name))
	if associated {
		sum[0] ^= 1
	}
	return le.Uint64(sum[:])
}

// subdirectory puts a directory on the list of those to be entered.
func (v *visitor) subdirectory(r *named, e ref) error {
	s, parent := v.s, &v.s.dirs[v.dir]
	component, sound := volume.Component(r.shown)
	d := directory{tree: parent.tree, parent: v.dir, depth: parent.depth + 1, name: component, start: r.start, bytes: r.bytes,
		extended: r.extended, hidden: r.flags&flagHidden != 0, findings: volume.NameFindings(r.shown)}
	if d.path = parent.path + len(component); parent.parent >= 0 {
		d.path++
	}
	if e.same {
		d.findings = append(d.findings, volume.SameName)
	}
	if r.child >= 0 {
		d.relocated, d.start, d.extended = true, r.child, 0
		raw := make([]byte, recordBytes+1)
		if d.start > s.fs.src.Size()-sector {
			return s.lost(d, report.Malformed, "A directory that lies elsewhere lies behind the end of the medium.")
		}
		if err := s.fs.readFull(raw, d.start); err != nil {
			return s.lost(d, volume.OutcomeOf(err), "A directory that lies elsewhere could not be read.")
		}
		d.bytes = int64(le.Uint32(raw[10:])) // what it says of itself is compared when it is entered
	}
	s.nameBytes += len(component)
	switch {
	case len(s.dirs) >= maxDirs || s.nameBytes > maxNameBytes:
		s.Wrong(report.TooLarge, "The volume has more directories than this program follows.")
		return errHalt
	case !sound, e.twice, r.flags&flagMore != 0, r.interleaved:
		return s.lost(d, report.Malformed, "A directory has a record that contradicts itself.")
	case d.path > report.MaxPathBytes-roomBehind:
		d.name = "\uFFFD"
		return s.lost(d, report.Malformed, "A path is too long.")
	case d.depth > maxDepth:
		return s.lost(d, report.TooLarge, "Directories lie within directories more often than this program follows.")
	}
	s.dirs = append(s.dirs, d)
	return nil
}

// lost notes a directory that is listed and not entered.
func (s *survey) lost(d directory, o report.Outcome, reason string) error {
	d.start, d.bytes = -1, 0
	s.dirs = append(s.dirs, d)
	return s.spoil(len(s.dirs)-1, o, reason)
}
