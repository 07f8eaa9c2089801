package structure

import (
	"hash/fnv"
	"strings"

	"pratique/scanner/report"
)

// What a Tree keeps, in hashes of 64 bits: about 20 MiB in all. An attacker who makes two names collide gains a finding,
// never loses one.
const (
	maxTop      = 1 << 16 // hidden entries, folders and launchers of the top folder: what FAT's largest directory holds
	maxFolders  = 1 << 18
	maxPrograms = 1 << 16
	maxImages   = 1 << 18
	// maxNames and maxNameBytes bound the paths that are kept to be shown. Past them a finding has no path, and is the same
	// otherwise.
	maxNames     = 1 << 15
	maxNameBytes = 2 << 20
)

// Tree judges how the items of one volume lie together. The zero value is ready. It is not safe for concurrent use.
//
// What it says depends on which items were added and not on their order, unless there are more than its limits.
type Tree struct {
	found     findings
	top       map[uint64]trait      // names in the top folder
	launchers map[uint64]launchName // what can be started from the top folder, by its name without extension
	folders   map[uint64]trait      // by path
	programs  map[uint64]struct{}   // programs and shortcuts, by path without extension
	images    map[uint64]struct{}   // DICOM objects, by path
	others    map[uint64]struct{}   // top folders with other content
	set       *fileSet              // of the DICOMDIR in the top folder
	runs      bool                  // there is a program or script somewhere
	names     map[uint64]string     // paths of what may be shown, by the keys of top, launchers and programs
	text      int                   // bytes of them
	where     map[rule]string       // what a finding is about: of all such paths the first in order
}

// trait is what is known of a name.
type trait uint8

const (
	isFolder trait = 1 << iota
	isHidden
	isBlank
	isSystem // a folder that operating systems hide by themselves
	holds    // a file lies below it
)

// launchName is what else a launcher's name says.
type launchName struct {
	short   uint64 // the name without a size in brackets: "STICK (8GB)"
	generic bool   // what Windows calls a medium without a label, or nothing at all
}

// systemFolders are hidden on media by the systems that use them.
var systemFolders = map[string]bool{
	"system volume information": true, "$recycle.bin": true, "found.000": true, "lost.dir": true,
	".trash": true, ".trashes": true, ".spotlight-v100": true, ".fseventsd": true, ".temporaryitems": true, ".documentrevisions-v100": true,
}

// genericNames are what Explorer shows for a stick without a label, and what worms call themselves.
var genericNames = []string{
	"removable disk", "usb drive", "usb disk", "usb device", "usb stick", "flash disk", "flash drive", "local disk", "my drive",
	"wechseldatenträger", "usb-laufwerk", "usb-stick", "disque amovible", "lecteur usb", "clé usb", "disco rimovibile", "unità usb",
	"disco extraíble", "unidad usb", "disco removível",
	"съемный диск", "可移动磁盘", "usb 驱动器", "リムーバブル ディスク",
}

// Add takes one file or directory, with what Inspect said of it. hidden is the file system's attribute, false where there
// is none.
func (t *Tree) Add(path string, kind report.Kind, hidden bool, r Result) {
	if kind != report.File && kind != report.Directory {
		return
	}
	n := newName(path)
	full := strings.Join(append(n.dirs, n.base), "/")
	if n.depth > 0 {
		t.below(n, path, kind, r)
	}
	if kind == report.Directory {
		t.addFolder(n, path, full, hidden)
		return
	}
	if n.depth == 0 {
		t.addTop(n, path, hidden, r)
	}
	if r.role == aProgram || r.role == aScript {
		t.runs = true
		t.at(viewer, path)
	}
	switch {
	case r.role == aProgram || r.role == aShortcut:
		key := hash(strings.TrimSuffix(full, n.base) + n.stem)
		t.keep(&t.programs, key, maxPrograms)
		t.name(key, path)
	case n.base == "dicomdir" && n.depth == 0 && r.set != nil:
		t.set = r.set
		for about := dicomdirDamaged; about <= dicomdirForeign; about++ {
			t.at(about, path)
		}
	case r.role == aStudy && n.base != "dicomdir":
		t.keep(&t.images, hash(full), maxImages)
	}
}

// below notes in the top folder that something lies below it.
func (t *Tree) below(n name, path string, kind report.Kind, r Result) {
	top := n.dirs[0]
	if kind == report.File {
		if traits(top)&isBlank != 0 {
			first, _, _ := strings.Cut(path, "/")
			t.name(hash(top), first)
		}
		t.mark(&t.top, hash(top), traits(top)|isFolder|holds, maxTop, rootLimit)
		if r.role != aStudy {
			t.keep(&t.others, hash(top), maxTop)
		}
	}
}

func (t *Tree) addFolder(n name, path, full string, hidden bool) {
	is := traits(n.base) | isFolder
	if hidden {
		is |= isHidden
	}
	t.mark(&t.folders, hash(full), is, maxFolders, treeLimit)
	if n.depth == 0 {
		t.mark(&t.top, hash(n.base), is, maxTop, rootLimit)
		if is&(isHidden|isBlank) != 0 {
			t.name(hash(n.base), path)
		}
	}
}

func (t *Tree) addTop(n name, path string, hidden bool, r Result) {
	if hidden {
		// Worms hide a file and put a shortcut of its name beside it, with or without the extension.
		t.mark(&t.top, hash(n.base), isHidden, maxTop, rootLimit)
		t.mark(&t.top, hash(n.stem), isHidden, maxTop, rootLimit)
	}
	switch r.role {
	case aProgram:
		t.found.add(rootProgram)
		t.at(rootProgram, path)
	case aScript:
		t.found.add(rootScript)
		t.at(rootScript, path)
		return
	case aShortcut:
		t.found.add(rootShortcut)
		t.at(rootShortcut, path)
	default:
		return
	}
	if len(t.launchers) >= maxTop {
		t.found.add(rootLimit)
		return
	}
	if t.launchers == nil {
		t.launchers = map[uint64]launchName{}
	}
	short, _, _ := strings.Cut(n.stem, "(")
	short = strings.Trim(short, blanks)
	l := launchName{short: hash(short), generic: short == ""}
	for _, g := range genericNames {
		l.generic = l.generic || strings.HasPrefix(short, g)
	}
	// A hidden launcher is not what a person clicks on, and cannot stand for itself.
	if !hidden {
		t.launchers[hash(n.stem)] = l
		t.name(hash(n.stem), path)
	}
}

// name keeps the path of what a finding may turn out to be about. Of two with one key it keeps the first in order.
func (t *Tree) name(key uint64, path string) {
	old, known := t.names[key]
	if known && old <= path || len(path) > report.MaxFindingPath || t.text+len(path)-len(old) > maxNameBytes || !known && len(t.names) >= maxNames {
		return
	}
	if t.names == nil {
		t.names = map[uint64]string{}
	}
	t.names[key] = strings.Clone(path) // not the whole of which it is a part
	t.text += len(path) - len(old)
}

// at notes that a finding is about this path, among others.
func (t *Tree) at(about rule, path string) {
	if old, known := t.where[about]; path == "" || known && old <= path || len(path) > report.MaxFindingPath {
		return
	}
	if t.where == nil {
		t.where = map[rule]string{}
	}
	t.where[about] = strings.Clone(path)
}

// Where is the path of an entry that one of the findings of Finish is about, "" if there is none or it is not known.
func (t *Tree) Where(f report.Finding) string {
	for about, path := range t.where {
		if book[about].word == f.Rule {
			return path
		}
	}
	return ""
}

func traits(base string) trait {
	switch {
	case strings.Trim(base, blanks) == "":
		return isBlank
	case systemFolders[base] || strings.HasPrefix(base, ".trash-"):
		return isSystem
	}
	return 0
}

func (t *Tree) mark(m *map[uint64]trait, key uint64, is trait, limit int, full rule) {
	if *m == nil {
		*m = map[uint64]trait{}
	}
	if _, known := (*m)[key]; !known && len(*m) >= limit {
		t.found.add(full)
		return
	}
	(*m)[key] |= is
}

func (t *Tree) keep(m *map[uint64]struct{}, key uint64, limit int) {
	if *m == nil {
		*m = map[uint64]struct{}{}
	}
	if _, known := (*m)[key]; !known && len(*m) >= limit {
		t.found.add(treeLimit)
		return
	}
	(*m)[key] = struct{}{}
}

// Finish says what is odd about the volume as a whole: each word once, in the order of the package's table. label is the
// volume's. Nothing may be added after it.
func (t *Tree) Finish(label string) []report.Finding {
	hiddenContent := false
	for key, is := range t.top {
		switch {
		case is&isBlank != 0 && is&holds != 0:
			hiddenContent = true
			t.found.add(blankFolder)
			t.at(blankFolder, t.names[key])
		case is&isHidden != 0 && is&isSystem == 0 && is&holds != 0:
			hiddenContent = true
			t.found.add(hiddenTree)
			t.at(hiddenTree, t.names[key])
		}
	}
	label = strings.Trim(strings.ToLower(label), blanks)
	for stem, l := range t.launchers {
		named := l.generic || label != "" && (stem == hash(label) || l.short == hash(label))
		if hiddenContent && named || t.top[stem]&isHidden != 0 || t.top[l.short]&isHidden != 0 {
			t.found.add(launcher)
			t.at(launcher, t.names[stem])
		}
	}
	for p := range t.programs {
		switch is := t.folders[p]; {
		case is&isHidden != 0:
			t.found.add(launcher)
			t.at(launcher, t.names[p])
		case is&isFolder != 0:
			t.found.add(folderProgram)
			t.at(folderProgram, t.names[p])
		}
	}
	if t.set != nil {
		t.fileSet()
	}
	return t.found.list()
}

// fileSet holds the DICOMDIR against the files. https://dicom.nema.org/medical/dicom/current/output/chtml/part10/chapter_8.html
func (t *Tree) fileSet() {
	if t.runs {
		t.found.add(viewer)
	}
	if t.set.odd {
		t.found.add(dicomdirNames)
	}
	for top := range t.set.folders {
		if _, foreign := t.others[top]; foreign {
			t.found.add(dicomdirForeign)
		}
	}
	switch {
	case t.set.more || t.found.has(treeLimit):
		t.found.add(treeLimit)
		return // what was not kept cannot be compared
	case t.set.damaged:
		t.found.add(dicomdirDamaged)
		return
	}
	for f := range t.set.files {
		if _, there := t.images[f]; !there {
			t.found.add(dicomdirMissing)
		}
	}
	for f := range t.images {
		if _, named := t.set.files[f]; !named {
			t.found.add(dicomdirExtra)
		}
	}
}

// hash is FNV-1a of a path in small letters.
func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
