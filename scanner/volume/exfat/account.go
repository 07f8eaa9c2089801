package exfat

import (
	"context"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// area is for what belongs to no file.
func (w *walker) area(what string) *volume.Area {
	a := volume.NewArea(what, w.fs.src.Size(), w.emit)
	a.Numbered = true
	return a
}

// whole hands out one range as an area.
func (w *walker) whole(what string, from, to int64) error {
	a := w.area(what)
	if err := a.Add(from, to-from); err != nil {
		return err
	}
	return a.Flush()
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
			w.Wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
		}
		if !volume.Zero(piece) {
			w.Note("spare-bytes", report.Inform, at, "Bytes of the volume that no file can have are not empty.")
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
		w.Wrong(report.Malformed, "The allocation bitmap is too short for the volume.")
		return nil
	case bitmap.bytes > need:
		w.Note("bitmap-length", report.Warn, -1, "The allocation bitmap is longer than the volume needs.")
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
				w.Wrong(report.Unreadable, "The allocation bitmap could not be read in full.")
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
	if !lost.Empty() {
		w.Note("lost-clusters", report.Inform, -1, "Some clusters are marked as used and belong to no file.")
	}
	if err := lost.Flush(); err != nil {
		return err
	}
	return free.Flush()
}

// compare takes one piece of the bitmap, whose first bit is that of cluster c, and returns the first cluster of the next.
func (w *walker) compare(c uint32, piece []byte, lost, free *volume.Area) (uint32, error) {
	g := &w.fs.geo
	for _, b := range piece {
		for bit := 0; bit < 8 && g.valid(c); bit, c = bit+1, c+1 {
			owned := w.owned.has(c)
			var err error
			switch allocated := b>>bit&1 != 0; {
			case allocated && !owned:
				err = lost.Add(g.at(c), g.cluster)
			case !allocated && owned:
				w.Wrong(report.Malformed, "A file lies in clusters that the volume says are free.")
			case !allocated && w.deep:
				err = free.Add(g.at(c), g.cluster)
			}
			if err != nil {
				return c, err
			}
		}
	}
	return c, nil
}
