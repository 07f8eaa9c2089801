package volume

import (
	"fmt"

	"pratique/scanner/report"
)

// areaExtents is how many pieces one area has at most, so that none takes much memory.
const areaExtents = 4096

// Area gathers pieces of a volume that belong to no file, and hands them out as entries. One of many pieces becomes several
// entries, told apart by a number.
type Area struct {
	// Numbered gives the first entry a number, too; else only those behind it have one.
	Numbered bool

	what string
	end  int64
	emit func(Entry) error
	next Entry
	part int
}

// NewArea returns an empty area. end is where the medium ends: what a volume claims behind it cannot be read.
func NewArea(what string, end int64, emit func(Entry) error) *Area {
	return &Area{what: what, end: end, emit: emit}
}

// Add puts a range into the area. An empty or negative one is none.
func (a *Area) Add(start, length int64) error {
	if length = min(length, a.end-start); length <= 0 {
		return nil
	}
	x := a.next.Extents
	if k := len(x) - 1; k >= 0 && x[k].Start+x[k].Bytes == start {
		x[k].Bytes += length
	} else {
		a.next.Extents = append(x, Extent{Start: start, Bytes: length})
	}
	if a.next.Size += length; len(a.next.Extents) < areaExtents {
		return nil
	}
	return a.Flush()
}

// Empty reports whether nothing was ever put into the area.
func (a *Area) Empty() bool { return a.part == 0 && len(a.next.Extents) == 0 }

// Flush hands out what was gathered.
func (a *Area) Flush() error {
	if len(a.next.Extents) == 0 {
		return nil
	}
	a.part++
	e := a.next
	a.next = Entry{}
	e.Path, e.Kind, e.Valid = a.what, report.Area, e.Size
	if a.part > 1 || a.Numbered {
		e.Path = fmt.Sprintf("%s, part %d", a.what, a.part)
	}
	return a.emit(e)
}
