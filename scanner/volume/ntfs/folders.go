package ntfs

import (
	"cmp"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// folder is a directory, kept while the volume is walked.
type folder struct {
	number, parent uint32
	use, parentUse uint16
	name, length   uint32         // where its name lies in folders.text
	outcome        report.Outcome // zero until something is wrong
	indexed        bool           // the index of its parent names it
	empty          bool
}

// folders are all directories in order of their records.
type folders struct {
	list   []folder
	text   []byte
	places map[uint32]place // of those asked for last
}

// maxPlaces bounds how many paths are kept, each of at most 32 KiB but nearly always short.
const maxPlaces = 512

const tooDeep = "Directories lie within directories more often than this program follows."

// place is where something lies.
type place struct {
	path  string // of the directory, "" for the root
	depth int
	state state
}

// state says who can see what lies in a directory.
type state uint8

const (
	lost    state = iota // no path leads there
	hidden               // it belongs to the volume itself, and no system shows it
	visible              // it is a file
)

func (f *folders) find(number int64) *folder {
	i, ok := slices.BinarySearchFunc(f.list, number, func(d folder, n int64) int { return cmp.Compare(int64(d.number), n) })
	if !ok {
		return nil
	}
	return &f.list[i]
}

func (f *folders) nameOf(d *folder) string { return string(f.text[d.name : d.name+d.length]) }

// place follows a directory up to the root. Its own state is lost if a directory on the way is not there, is not named by
// the index of its parent, or lies in a circle.
func (w *walker) place(ref reference) place {
	var way []*folder
	at := place{state: lost}
	number, use := ref.number(), ref.use()
	for {
		d := w.folders.find(number)
		if d == nil || d.use != use {
			break
		}
		if number == recordRoot {
			at.state = visible
			break
		}
		if p, ok := w.folders.places[d.number]; ok {
			at = p
			break
		}
		way = append(way, d)
		if number < systemRecords {
			at.state = hidden
			break
		}
		if !d.indexed {
			break
		}
		if len(way) > maxDepth {
			if w.circles(d) {
				w.Wrong(report.Malformed, "Directories lie inside each other in a circle.")
			} else {
				w.Wrong(report.TooLarge, tooDeep)
			}
			break
		}
		number, use = int64(d.parent), d.parentUse
	}
	for _, d := range slices.Backward(way) {
		name, _ := volume.Component(w.folders.nameOf(d))
		at.path = join(at.path, name)
		switch at.depth++; {
		case at.depth > maxDepth:
			w.Wrong(report.TooLarge, tooDeep)
			at = place{state: lost}
		case len(at.path) > report.MaxPathBytes-4:
			w.Wrong(report.Malformed, "A path is longer than any system allows.")
			at = place{state: lost}
		}
		if len(w.folders.places) >= maxPlaces {
			clear(w.folders.places)
		}
		w.folders.places[d.number] = at
	}
	return at
}

// circles reports whether the way up from a directory never ends. All calls together take no more steps than there are
// directories: a volume is refused from the first one on, and what is said first stays.
func (w *walker) circles(d *folder) bool {
	if w.judged {
		return false
	}
	w.judged = true
	for range w.folders.list {
		up := w.folders.find(int64(d.parent))
		if up == nil || up.use != d.parentUse || d.number == recordRoot {
			return false
		}
		d = up
	}
	return true
}

// add keeps a directory. It reports false if there are more than can be kept.
func (f *folders) add(d folder, name string) bool {
	if len(f.list) >= maxFolders || len(f.text)+len(name) > maxFolderText {
		return false
	}
	d.name, d.length = uint32(len(f.text)), uint32(len(name))
	f.text = append(f.text, name...)
	f.list = append(f.list, d)
	return true
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}
