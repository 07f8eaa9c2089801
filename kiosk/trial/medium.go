package trial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf16"
)

// The trial medium is one FAT16 volume without a partition table
// (https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc).
const (
	sector      = 512
	clusterSize = 4096
	rootEntries = 512
	// What makes a volume a FAT16, and not a FAT12 or FAT32, is its number of clusters alone.
	minClusters, maxClusters = 4_085, 65_524
	entrySize                = 32
	maxLongName              = 255 // UTF-16 units
)

// errMedium says that the files do not fit on a trial medium.
var errMedium = errors.New("the samples and clean files of the pack do not fit on a trial medium")

// folder is one directory in the making.
type folder struct {
	first   uint16 // cluster; 0 for the root
	entries []byte
	count   int // names given
	below   map[string]*folder
	names   []string // of below, in the order in which they came
}

// layout hands out clusters and writes what goes into them.
type layout struct {
	w    io.WriterAt
	data int64 // where cluster 2 starts
	fat  []uint16
}

// writeFAT writes a volume with the files, in their order, and returns its size.
func writeFAT(w io.WriterAt, files []file) (int64, error) {
	clusters := minClusters + 64
	folders := map[string]bool{}
	for _, f := range files {
		clusters += (len(f.content) + clusterSize - 1) / clusterSize
		for dir := path.Dir(f.path); dir != "." && !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
			clusters += 3 // most have one name in them; some have 256 short ones
		}
	}
	if clusters > maxClusters {
		return 0, errMedium
	}
	fatSectors := (int64(clusters)+2)*2/sector + 1
	const reserved, fats = 8, 2
	root := int64(reserved+fats*fatSectors) * sector
	l := &layout{w: w, data: root + rootEntries*entrySize, fat: []uint16{0xFFF8, 0xFFFF}}
	top := &folder{below: map[string]*folder{}}
	for _, f := range files {
		dir, err := top.reach(l, path.Dir(f.path))
		if err != nil {
			return 0, err
		}
		first, err := l.put(f.content)
		if err != nil {
			return 0, err
		}
		if err := dir.name(path.Base(f.path), 0x20, first, uint32(len(f.content))); err != nil {
			return 0, err
		}
	}
	if len(top.entries) > rootEntries*entrySize {
		return 0, errMedium
	}
	if err := top.finish(l); err != nil {
		return 0, err
	}
	if len(l.fat) > clusters+2 {
		return 0, errMedium
	}
	size := l.data + int64(clusters)*clusterSize
	writes := []struct {
		at   int64
		data []byte
	}{{0, bootSector(size, reserved, fatSectors)}, {root, top.entries}}
	table := make([]byte, 2*len(l.fat))
	for i, next := range l.fat {
		binary.LittleEndian.PutUint16(table[2*i:], next)
	}
	for i := range int64(fats) {
		writes = append(writes, struct {
			at   int64
			data []byte
		}{(reserved + i*fatSectors) * sector, table})
	}
	for _, p := range writes {
		if _, err := w.WriteAt(p.data, p.at); err != nil {
			return 0, err
		}
	}
	return size, nil
}

func bootSector(size, reserved, fatSectors int64) []byte {
	b := make([]byte, sector)
	copy(b, "\xEB\x3C\x90PRATIQUE")
	le := binary.LittleEndian
	le.PutUint16(b[11:], sector)
	b[13] = clusterSize / sector
	le.PutUint16(b[14:], uint16(reserved))
	b[16] = 2
	le.PutUint16(b[17:], rootEntries)
	b[21] = 0xF8
	le.PutUint16(b[22:], uint16(fatSectors))
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[32:], uint32(size/sector))
	b[36], b[38] = 0x80, 0x29
	copy(b[43:], "NO NAME    FAT16   ")
	b[510], b[511] = 0x55, 0xAA
	return b
}

// put writes content into clusters and returns the first; none for no content.
func (l *layout) put(content []byte) (uint16, error) {
	if len(content) == 0 {
		return 0, nil
	}
	first := len(l.fat)
	n := (len(content) + clusterSize - 1) / clusterSize
	if first+n > maxClusters {
		return 0, errMedium
	}
	for i := range n {
		next := uint16(first + i + 1)
		if i == n-1 {
			next = 0xFFFF
		}
		l.fat = append(l.fat, next)
	}
	if _, err := l.w.WriteAt(content, l.data+int64(first-2)*clusterSize); err != nil {
		return 0, err
	}
	return uint16(first), nil
}

// reach returns the directory at a path, which it makes.
func (d *folder) reach(l *layout, dir string) (*folder, error) {
	if dir == "." {
		return d, nil
	}
	for name := range strings.SplitSeq(dir, "/") {
		below := d.below[name]
		if below == nil {
			below = &folder{below: map[string]*folder{}, entries: make([]byte, 2*entrySize)}
			d.below[name] = below
			d.names = append(d.names, name)
		}
		d = below
	}
	return d, nil
}

// finish writes the directories below d, whose clusters come after everything else, and enters them.
func (d *folder) finish(l *layout) error {
	for _, name := range d.names {
		below := d.below[name]
		// Its clusters must be known before what is in it is written: a directory's entry ".." names its parent.
		length := len(below.entries)
		for _, n := range below.names {
			length += (1 + parts(n)) * entrySize
		}
		first := len(l.fat)
		n := (length + clusterSize) / clusterSize // at least one empty entry ends it
		if _, err := l.put(make([]byte, n*clusterSize)); err != nil {
			return err
		}
		below.first = uint16(first)
		if err := d.name(name, 0x10, below.first, 0); err != nil {
			return err
		}
		if err := below.finish(l); err != nil {
			return err
		}
		copy(below.entries, short([11]byte{'.', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '}, 0x10, below.first, 0))
		copy(below.entries[entrySize:], short([11]byte{'.', '.', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '}, 0x10, d.first, 0))
		if len(below.entries) > n*clusterSize {
			return errMedium
		}
		if _, err := l.w.WriteAt(below.entries, l.data+int64(first-2)*clusterSize); err != nil {
			return err
		}
	}
	return nil
}

// name enters a name: its long form, then the short one, which only has to be unique.
func (d *folder) name(name string, attr byte, first uint16, size uint32) error {
	units := utf16.Encode([]rune(name))
	if len(units) == 0 || len(units) > maxLongName {
		return fmt.Errorf("%w: a name of %d units", errMedium, len(units))
	}
	var alias [11]byte
	copy(alias[:], fmt.Sprintf("T%07d   ", d.count))
	ext := strings.ToUpper(strings.TrimPrefix(path.Ext(name), "."))
	if len(ext) <= 3 && strings.Trim(ext, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "" {
		copy(alias[8:], ext)
	}
	d.count++
	sum := byte(0)
	for _, c := range alias {
		sum = sum>>1 | sum<<7
		sum += c
	}
	for i := parts(name); i > 0; i-- {
		e := make([]byte, entrySize)
		e[0], e[11], e[13] = byte(i), 0x0F, sum
		if i == parts(name) {
			e[0] |= 0x40
		}
		for j, at := range [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			unit := uint16(0xFFFF)
			switch k := (i-1)*13 + j; {
			case k < len(units):
				unit = units[k]
			case k == len(units):
				unit = 0
			}
			binary.LittleEndian.PutUint16(e[at:], unit)
		}
		d.entries = append(d.entries, e...)
	}
	d.entries = append(d.entries, short(alias, attr, first, size)...)
	return nil
}

// parts is how many entries a long name takes.
func parts(name string) int { return (len(utf16.Encode([]rune(name))) + 12) / 13 }

func short(name [11]byte, attr byte, first uint16, size uint32) []byte {
	e := make([]byte, entrySize)
	copy(e, name[:])
	e[11] = attr
	le := binary.LittleEndian
	const stamp = (2024-1980)<<9 | 1<<5 | 2 // 2 January 2024: the same medium each time
	le.PutUint16(e[16:], stamp)
	le.PutUint16(e[18:], stamp)
	le.PutUint16(e[24:], stamp)
	le.PutUint16(e[26:], first)
	le.PutUint32(e[28:], size)
	return e
}
