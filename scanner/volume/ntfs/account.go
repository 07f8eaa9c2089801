package ntfs

import (
	"bytes"
	"context"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// area is for what belongs to no file.
func (w *walker) area(what string) *volume.Area {
	return volume.NewArea(what, w.fs.src.Size(), w.emit)
}

// stored hands out the clusters of a stream as they lie on the medium.
func (w *walker) stored(what string, s *stream) error {
	a := w.area(what)
	for _, x := range s.extents {
		if x.Start >= 0 {
			if err := a.Add(x.Start, x.Bytes); err != nil {
				return err
			}
		}
	}
	return a.Flush()
}

// beside hands out what a file has besides its content: attributes that a program can put something into. What systems
// write there of themselves and this package understood is left out.
func (e *emitter) beside(path string) error {
	for i := range e.f.streams {
		s := &e.f.streams[i]
		what := fmt.Sprintf("%s, attribute %#x", path, s.kind)
		if s.name != "" {
			name, _ := volume.Component(s.name)
			what += ":" + name
		}
		if err := e.attribute(what, s); err != nil {
			return err
		}
	}
	return nil
}

// attribute hands out one attribute that is not content, and the slack of one that is.
func (e *emitter) attribute(what string, s *stream) error {
	w := e.w
	switch s.kind {
	case typeData:
		if s.name != "" || !e.f.dir {
			return w.addSlack(s)
		}
		if s.size > 0 {
			w.Note("directory-content", report.Warn, -1, "A directory has content like a file, which no system shows. It was read.")
		}
	case typeIndexBlock, typeBitmap:
		if s.name == indexName && e.f.dir && !w.deep {
			return nil // read with the directories
		}
	case typeList:
		if !w.deep {
			return nil // read with its file
		}
	case typeStandard, typeName, typeVolumeInfo, typeIndexRoot, typeEAInfo, typeObject, typeSecurity, typeVolumeName, typeReparse:
		if s.resident {
			return nil
		}
	}
	if !s.resident {
		return w.stored(what, s)
	}
	if s.size == 0 || s.kind == typeList || s.kind == typeBitmap {
		return nil
	}
	return w.hand(volume.Entry{Path: what, Kind: report.Area, Size: s.size, Valid: s.size, Inline: bytes.Clone(s.value)})
}

// hidden hands out all that a file of the volume itself has on the medium, less what this package read and understood.
func (e *emitter) hidden(path string) error {
	w := e.w
	if e.problem.opaque {
		why := finding(e.problem.rule, report.Warn, -1, e.problem.text)
		if err := w.hand(volume.Entry{Path: path, Kind: report.Area, Findings: []report.Finding{why}, Opaque: true}); err != nil {
			return err
		}
	}
	for i := range e.f.streams {
		s := &e.f.streams[i]
		what := path
		if s.name != "" {
			name, _ := volume.Component(s.name)
			what += ":" + name
		}
		var err error
		switch {
		case e.f.number == recordBad && s.name == "$Bad":
			err = w.badClusters(s)
		case e.f.number == recordTable && (s.kind == typeData && s.name == "" || s.kind == typeBitmap) && !w.deep,
			e.f.number == recordBitmap && s.kind == typeData && s.name == "" && !w.deep,
			e.f.number == recordUpcase && s.kind == typeData && s.name == "" && !w.deep:
		case s.kind == typeData && s.flags&(maskCompressed|flagEncrypted) != 0:
			entry := volume.Entry{Path: what, Kind: report.Area}
			e.fill(&entry, s)
			if err = w.hand(entry); err == nil {
				err = w.addSlack(s)
			}
		case s.kind == typeData && !s.resident:
			err = w.stored(what, s) // without the holes: a journal is nearly all hole
		case s.kind == typeData && s.size > 0:
			err = w.hand(volume.Entry{Path: what, Kind: report.Area, Size: s.size, Valid: s.size, Inline: bytes.Clone(s.value)})
		case s.kind != typeData:
			err = e.attribute(fmt.Sprintf("%s, attribute %#x", what, s.kind), s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// badClusters gathers what the volume says cannot be read. It is read all the same: data can be hidden there.
func (w *walker) badClusters(s *stream) error {
	for _, x := range s.extents {
		if x.Start < 0 {
			continue
		}
		w.Note("bad-clusters", report.Warn, x.Start, "Clusters are marked as bad, where data can be hidden; they were read.")
		if err := w.bad.Add(x.Start, x.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// addSlack notes, for a deep walk, what is allocated behind a stream's stored content. Of a compressed one all clusters are
// taken: each unit has slack of its own.
func (w *walker) addSlack(s *stream) error {
	if !w.deep || s.resident {
		return nil
	}
	skip := min(s.valid, s.size)
	if s.unit > 0 || s.err != nil {
		skip = 0
	}
	for _, x := range s.extents {
		if skip < x.Bytes && x.Start >= 0 {
			if err := w.slack.Add(x.Start+skip, x.Bytes-skip); err != nil {
				return err
			}
		}
		skip = max(skip-x.Bytes, 0)
	}
	return nil
}

// account holds everything against everything: records that continue nothing, names that lead to nothing, and the bitmap.
func (w *walker) account() error {
	if w.folders.find(recordRoot) == nil {
		w.Wrong(report.Malformed, "The volume has no root directory.")
	}
	for i, word := range w.extensions {
		if word&^w.claimed[i] != 0 {
			w.Wrong(report.Malformed, "A record of the file table continues a file that does not know of it.")
			break
		}
	}
	if w.names.unconfirmed() {
		w.Note("names-differ", report.Warn, -1, "A directory names a file by a name that the file itself does not have.")
	}
	for _, a := range []*volume.Area{w.slack, w.odd, w.bad} {
		if err := a.Flush(); err != nil {
			return err
		}
	}
	if err := w.behind(); err != nil {
		return err
	}
	return w.compareBitmap()
}

// behind looks at what lies behind the last cluster: the copy of the boot sector and otherwise nothing.
func (w *walker) behind() error {
	g := &w.fs.geo
	same := w.compareBackup()
	from, size := g.clusters*g.cluster, w.fs.src.Size()
	buf := make([]byte, chunk)
	rest := w.area("space behind the last cluster")
	for at := from; at < size; {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		end := min(at+chunk, size)
		if at < g.length {
			end = min(end, g.length)
		} else if at == g.length && same {
			at = min(at+g.sector, size)
			continue
		}
		piece := buf[:end-at]
		if n, _ := w.fs.src.ReadAt(piece, at); n < len(piece) {
			w.Wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
		} else if !volume.Zero(piece) {
			// Quick formatting leaves there what was on the stick before, so it is no warning.
			w.Note("spare-bytes", report.Inform, at, "Bytes of the volume that no file can have are not empty.")
			if err := rest.Add(at, end-at); err != nil {
				return err
			}
		}
		at = end
	}
	return rest.Flush()
}

// compareBitmap holds the bitmap against the clusters that were found to have an owner.
func (w *walker) compareBitmap() error {
	g, s := &w.fs.geo, &w.fs.bitmap
	if s.extents == nil {
		return nil // said already
	}
	if s.size < (g.clusters+7)/8 {
		w.Wrong(report.Malformed, "The volume's bitmap is too short for it.")
		return nil
	}
	lost, free := w.area("lost clusters"), w.area("free clusters")
	buf := make([]byte, chunk)
	for c := int64(0); c < g.clusters; {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		part := buf[:min(chunk, s.size-c/8)]
		if readExtents(w.fs.src, s.extents, s.ends, part, c/8) != nil {
			w.Wrong(report.Unreadable, "The volume's bitmap could not be read in full.")
			return nil
		}
		for len(part) > 0 && c < g.clusters {
			var eight [8]byte
			n := copy(eight[:], part)
			if err := w.compare(c, le.Uint64(eight[:]), lost, free); err != nil {
				return err
			}
			part, c = part[n:], c+64
		}
	}
	if !lost.Empty() {
		w.Note("lost-clusters", report.Inform, -1, "Some clusters are marked as used and belong to no file.")
	}
	if err := lost.Flush(); err != nil {
		return err
	}
	return free.Flush()
}

// compare takes 64 clusters. Bits behind the last one mean nothing.
func (w *walker) compare(c int64, marks uint64, lost, free *volume.Area) error {
	g := &w.fs.geo
	owned := w.owned.Word(c)
	if n := g.clusters - c; n < 64 {
		marks &= 1<<n - 1
	}
	if owned&^marks != 0 {
		w.Wrong(report.Malformed, "A file lies in clusters that the volume says are free.")
	}
	if marks == owned && !w.deep || marks&owned == ^uint64(0) {
		return nil
	}
	for bit := int64(0); bit < min(64, g.clusters-c); bit++ {
		var err error
		switch m := uint64(1) << bit; {
		case marks&m != 0 && owned&m == 0:
			err = lost.Add(g.at(c+bit), g.cluster)
		case marks&m == 0 && owned&m == 0 && w.deep:
			err = free.Add(g.at(c+bit), g.cluster)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
