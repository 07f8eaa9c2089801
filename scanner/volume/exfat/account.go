package exfat

import (
	"context"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// areaExtents is how many pieces one area has at most, so that none takes much memory.
const areaExtents = 4096

// area gathers pieces of the volume that belong to no file and hands them out as items.
type area struct {
	w    *walker
	what string
	next volume.Entry
	part int
}

func (w *walker) area(what string) *area { return &area{w: w, what: what} }

// add puts a range into the area. An empty or negative one is none; what lies behind the medium's end cannot be read.
func (a *area) add(start, length int64) error {
	length = min(length, a.w.fs.src.Size()-start)
	if length <= 0 {
		return nil
	}
	x := a.next.Extents
	if k := len(x) - 1; k >= 0 && x[k].Start+x[k].Bytes == start {
		x[k].Bytes += length
	} else {
		a.next.Extents = append(x, volume.Extent{Start: start, Bytes: length})
	}
	a.next.Size += length
	if len(a.next.Extents) >= areaExtents {
		return a.flush()
	}
	return nil
}

// flush hands out what was gathered.
func (a *area) flush() error {
	if len(a.next.Extents) == 0 {
		return nil
	}
	a.part++
	e := a.next
	a.next = volume.Entry{}
	e.Path, e.Kind, e.Valid = fmt.Sprintf("%s, part %d", a.what, a.part), report.Area, e.Size
	return a.w.emit(e)
}

// whole hands out one range as an area.
func (w *walker) whole(what string, from, to int64) error {
	a := w.area(what)
	if err := a.add(from, to-from); err != nil {
		return err
	}
	return a.flush()
}

// spare reads a range that should be empty, and hands it out if it is not. Quick formatting leaves there what was on the
// stick before, so it is no warning.
func (w *walker) spare(what string, from, to int64) error {
	buf := make([]byte, chunk)
	for at := from; at < min(to, w.fs.src.Size()); at += chunk {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		piece := buf[:min(chunk, to-at, w.fs.src.Size()-at)]
		if w.readSectors(piece, at) {
			w.wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
		}
		if !volume.Zero(piece) {
			w.note("spare-bytes", report.Inform, at, "Bytes of the volume that no file can have are not empty.")
			return w.whole(what, from, to)
		}
	}
	return nil
}

// account holds the bitmap against what the walk reached.
func (w *walker) account() error {
	g, bitmap := &w.fs.geo, w.fs.bitmap
	if !bitmap.present {
		return nil // described already
	}
	switch need := g.bitmapBytes(); {
	case bitmap.bytes < need:
		w.wrong(report.Malformed, "The allocation bitmap is too short for the volume.")
		return nil
	case bitmap.bytes > need:
		w.note("bitmap-length", report.Warn, -1, "The allocation bitmap is longer than the volume needs.")
	}
	// A walker of its own follows the chain: the clusters have their owner already.
	again := newWalker(w.fs)
	again.ctx = w.ctx
	extents, _, err := again.chain(bitmap.first, g.clustersFor(bitmap.bytes), false)
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if err != nil {
		w.blame("The allocation bitmap: ", err)
		return nil
	}
	lost, free := w.area("lost clusters"), w.area("free clusters")
	c, end := uint32(2), g.clusters+2
	buf := make([]byte, chunk)
	for _, x := range extents {
		for done := int64(0); done < x.Bytes && c < end; {
			part := buf[:min(chunk, x.Bytes-done)]
			if w.readSectors(part, x.Start+done) {
				w.wrong(report.Unreadable, "The allocation bitmap could not be read in full.")
				return nil
			}
			if c, err = w.compare(c, part, lost, free); err != nil {
				return err
			}
			done += int64(len(part))
			if w.ctx.Err() != nil {
				return context.Cause(w.ctx)
			}
		}
	}
	if len(lost.next.Extents) > 0 || lost.part > 0 {
		w.note("lost-clusters", report.Inform, -1, "Some clusters are marked as used and belong to no file.")
	}
	if err := lost.flush(); err != nil {
		return err
	}
	return free.flush()
}

// compare takes one piece of the bitmap, whose first bit is that of cluster c, and returns the first cluster of the next.
func (w *walker) compare(c uint32, piece []byte, lost, free *area) (uint32, error) {
	g := &w.fs.geo
	for _, b := range piece {
		for bit := 0; bit < 8 && g.valid(c); bit, c = bit+1, c+1 {
			owned := w.owned.has(c)
			var err error
			switch allocated := b>>bit&1 != 0; {
			case allocated && !owned:
				err = lost.add(g.at(c), g.cluster)
			case !allocated && owned:
				w.wrong(report.Malformed, "A file lies in clusters that the volume says are free.")
			case !allocated && w.deep:
				err = free.add(g.at(c), g.cluster)
			}
			if err != nil {
				return c, err
			}
		}
	}
	return c, nil
}
