package report

import (
	"crypto/sha256"
	"slices"
)

// sectorUnit is the smallest sector that a medium can have.
const sectorUnit = 512

// Merge joins the reports of one medium's logical units, in their order, into the report of the medium. The volumes of
// each unit are numbered on from those of the unit before: who passes a unit's items on adds the same number to theirs.
// Regions keep their place within their unit.
//
// The whole is only as good as its worst part: it is complete if every unit is, has every shortfall once, and no layer of
// a jail that one of the scans did without. No report at all gives the zero Report, which refuses.
func Merge(units ...Report) Report {
	if len(units) == 0 {
		return Report{}
	}
	out := units[0]
	if len(units) == 1 {
		return out
	}
	out.Shortfalls, out.Types = nil, map[string]uint64{}
	out.Volumes, out.Regions, out.Found, out.NotClean, out.Tally = nil, nil, nil, nil, Tally{}
	out.Bytes, out.BytesRead, out.Again = 0, 0, Again{Blocks: units[0].Again.Blocks}
	digest := sha256.New()
	for i := range units {
		out.add(&units[i])
		digest.Write(units[i].Digest[:])
	}
	out.Digest = [32]byte(digest.Sum(nil))
	if len(out.Shortfalls) > 0 {
		out.Complete = false
	}
	return out
}

func (r *Report) add(unit *Report) {
	r.Complete = r.Complete && unit.Complete
	r.Deep = r.Deep && unit.Deep
	r.TooMany = r.TooMany || unit.TooMany
	r.short(unit.Shortfalls...)
	switch {
	case r.Bytes < 0 || unit.Bytes < 0:
		r.Bytes = -1 // the size of one is not known, so that of the whole is not
	case unit.Bytes%sectorUnit != 0: // which the sum may hide
		r.short(Shortfall{Code: "truncated", Text: "A part of the medium ends inside a sector: it is cut short."})
		r.Bytes += unit.Bytes
	default:
		r.Bytes += unit.Bytes
	}
	r.BytesRead += unit.BytesRead
	r.Again.Blocks = min(r.Again.Blocks, unit.Again.Blocks) // what Again.Seen says then holds for each unit
	r.Again.Items += unit.Again.Items
	r.Again.Bytes += unit.Again.Bytes
	r.Layers = slices.DeleteFunc(slices.Clone(r.Layers), func(layer string) bool { return !slices.Contains(unit.Layers, layer) })

	base := len(r.Volumes)
	if base+len(unit.Volumes) > MaxVolumes {
		r.short(Shortfall{Code: "too-large", Text: "The medium has more volumes than this station reads."})
	}
	for _, v := range unit.Volumes {
		v.ID += base
		r.Volumes = append(r.Volumes, v)
	}
	r.Regions = append(r.Regions, unit.Regions...)
	for _, f := range unit.Found {
		if f.Volume >= 0 {
			f.Volume += base
		}
		r.Found = append(r.Found, f)
	}
	for _, it := range unit.NotClean {
		if it.Volume >= 0 {
			it.Volume += base
		}
		if len(r.NotClean) >= MaxNotClean {
			r.TooMany = true
			break
		}
		r.NotClean = append(r.NotClean, it)
	}
	for t, n := range unit.Types {
		r.Types[t] += n
	}
	r.Tally.add(&unit.Tally)
}

// short adds shortfalls, each once.
func (r *Report) short(more ...Shortfall) {
	for _, s := range more {
		if !slices.Contains(r.Shortfalls, s) {
			r.Shortfalls = append(r.Shortfalls, s)
		}
	}
}

func (t *Tally) add(o *Tally) {
	t.Files += o.Files
	t.Directories += o.Directories
	t.Streams += o.Streams
	t.Members += o.Members
	t.Areas += o.Areas
	t.Regions += o.Regions
	t.Bytes += o.Bytes
	t.Findings += o.Findings
	for i, n := range o.Outcomes {
		t.Outcomes[i] += n
	}
}
