package fat

import (
	"context"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// areaExtents is how many pieces one area of scattered bytes has at most, so that an area of many gigabytes in crumbs does
// not take more memory than a file.
const areaExtents = 1 << 16

// areas collects pieces into areas of one kind.
type areas struct {
	what    string
	extents []volume.Extent
	finding []report.Finding
}

// area emits bytes that belong to no file.
func (w *walker) area(what string, extents []volume.Extent, findings []report.Finding) error {
	var size int64
	for _, x := range extents {
		size += x.Bytes
	}
	return w.emit(volume.Entry{Path: what, Kind: report.Area, Size: size, Valid: size, Extents: extents, Findings: findings})
}

// put adds a piece, and emits the area once it has many.
func (w *walker) put(a *areas, x volume.Extent) error {
	if k := len(a.extents) - 1; k >= 0 && a.extents[k].Start+a.extents[k].Bytes == x.Start {
		a.extents[k].Bytes += x.Bytes
		return nil
	}
	if len(a.extents) >= areaExtents {
		if err := w.flush(a); err != nil {
			return err
		}
	}
	a.extents = append(a.extents, x)
	return nil
}

func (w *walker) flush(a *areas) error {
	if len(a.extents) == 0 {
		return nil
	}
	extents := a.extents
	a.extents = nil
	return w.area(a.what, extents, a.finding)
}

func (w *walker) addSlack(x volume.Extent) error {
	w.slack.what = "bytes behind the end of files"
	return w.put(&w.slack, x)
}

// reserved emits what stands before the allocation tables: boot code, and up to 256 MiB that no system looks at.
func (w *walker) reserved(context.Context) error {
	bpb := w.v.bpb
	if bpb.Odd {
		w.note("fat-type-odd", report.Inform, "The volume has fewer clusters than its type of FAT asks for")
	}
	if bpb.Backup > 0 {
		w.compareBoot()
	}
	return w.area("boot sector and reserved sectors", []volume.Extent{{Start: 0, Bytes: bpb.Reserved}}, nil)
}

// compareBoot holds the boot sector against its copy, which some systems fall back to.
func (w *walker) compareBoot() {
	const from, to = 11, 52 // the geometry; code, label and marks behind it may differ
	var one, two [512]byte
	if _, err := w.v.src.ReadAt(one[:], 0); err != nil {
		w.known.Wrong(report.Unreadable, "The boot sector could not be read a second time.")
		return
	}
	if _, err := w.v.src.ReadAt(two[:], w.v.bpb.Backup); err != nil {
		w.known.Wrong(report.Unreadable, "The copy of the boot sector could not be read.")
		return
	}
	if [to - from]byte(one[from:to]) != [to - from]byte(two[from:to]) {
		w.note("boot-copies-differ", report.Warn, "The boot sector and its copy differ: a system that uses the copy may see other files")
	}
}

// spareRange reads bytes that should be empty, and emits them as an area if they are not.
func (w *walker) spareRange(ctx context.Context, what string, severity report.Severity, start, n int64) error {
	buf := make([]byte, min(n, compareBytes))
	for at := int64(0); at < n; at += int64(len(buf)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece := buf[:min(int64(len(buf)), n-at)]
		if _, err := w.v.raw.ReadAt(piece, start+at); err != nil {
			w.known.Wrong(report.Unreadable, "A part of the volume beside its files could not be read.")
			return nil
		}
		if !volume.Zero(piece) {
			w.note("spare-bytes", severity, "Bytes of the volume that no file can have are not empty")
			return w.area(what, []volume.Extent{{Start: start, Bytes: n}}, nil)
		}
	}
	return nil
}

// leftOver is what is too short for a cluster at the end of the volume. Nobody ever writes there, so what it holds is
// mostly older than the volume.
func (w *walker) leftOver(ctx context.Context) error {
	end := w.v.at(w.v.bpb.Clusters + 1)
	end += w.v.bpb.ClusterBytes
	return w.spareRange(ctx, "end of the volume behind the last cluster", report.Inform, end, w.v.bpb.Total-end)
}

// account reads the whole table once more and asks of each cluster: in use, and by whom? A cluster in use that no file
// owns is part of a file that somebody deleted or hid halfway; it is scanned like a file.
func (w *walker) account(ctx context.Context) error {
	v := w.v
	badOnes := areas{what: "clusters marked as bad"}
	freeOnes := areas{what: "free clusters"}
	heads := newClusters(v, maxLostPages) // in the end: lost clusters that another lost cluster leads to
	ordered, lost := true, 0
	for c := uint32(2); v.valid(c); c++ {
		if c%(1<<16) == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l, err := w.table.link(c)
		if err != nil {
			w.known.Wrong(report.Unreadable, "The allocation table could not be read in full.")
			c = w.table.skip(c)
			continue
		}
		switch {
		case w.seen.has(c):
			continue
		case l.kind == free:
			if w.opts.Deep {
				if err := w.put(&freeOnes, w.cluster(c)); err != nil {
					return err
				}
			}
			continue
		case l.kind == bad:
			w.note("bad-clusters", report.Warn, "Clusters are marked as bad, where data can be hidden; they were read")
			if err := w.put(&badOnes, w.cluster(c)); err != nil {
				return err
			}
			continue
		case l.kind == follows:
			ordered = heads.add(l.next) && ordered
		}
		lost++
	}
	for _, a := range []*areas{&badOnes, &freeOnes, &w.slack} {
		if err := w.flush(a); err != nil {
			return err
		}
	}
	if lost == 0 {
		return nil
	}
	w.count("lost-clusters", report.Inform, "Clusters are in use and belong to no file; they were read", lost)
	if ordered {
		if err := w.lostChains(ctx, heads); err != nil {
			return err
		}
	}
	return w.lostRest(ctx)
}

// maxLostPages bounds the set of lost clusters that others lead to; see the package's comment.
const maxLostPages = 256

func (w *walker) cluster(c uint32) volume.Extent {
	return volume.Extent{Start: w.v.at(c), Bytes: w.v.bpb.ClusterBytes}
}

// skip returns the last cluster that the unreadable part of the table around c describes, if that part is to be given up.
func (t *table) skip(c uint32) uint32 {
	if t.failures < maxTableFailures {
		return c
	}
	return t.v.bpb.Clusters + 1
}

// lostChains emits lost clusters in the order in which their chains have them, so that what is scanned is the file as it
// was.
func (w *walker) lostChains(ctx context.Context, led *clusters) error {
	emitted := 0
	for c := uint32(2); w.v.valid(c) && emitted < maxLostChains; c++ {
		if c%(1<<16) == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if w.seen.has(c) || led.has(c) {
			continue
		}
		if l, err := w.table.link(c); err != nil || l.kind == free || l.kind == bad {
			continue // an error was told already
		}
		chain, err := w.follow(ctx, c)
		if err != nil {
			return err
		}
		if chain.outcome == report.TooLarge {
			w.known.Wrong(chain.outcome, chain.reason)
		}
		emitted++
		if err := w.area(fmt.Sprintf("lost chain from cluster %d", c), chain.extents, nil); err != nil {
			return err
		}
	}
	return nil
}

// lostRest emits the lost clusters that have no beginning (loops) or are too many, in the order of the volume.
func (w *walker) lostRest(ctx context.Context) error {
	rest := areas{what: "lost clusters"}
	for c := uint32(2); w.v.valid(c); c++ {
		if c%(1<<16) == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if w.seen.has(c) {
			continue
		}
		l, err := w.table.link(c)
		if err != nil {
			c = w.table.skip(c)
			continue
		}
		if l.kind == free || l.kind == bad {
			continue
		}
		w.seen.add(c)
		if err := w.put(&rest, w.cluster(c)); err != nil {
			return err
		}
	}
	return w.flush(&rest)
}
