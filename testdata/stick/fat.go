package stick

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

var le = binary.LittleEndian

// Fixed stamps, so that the same call gives the same bytes: 2 January 2024, 03:04:06.
const (
	stampDate = (2024-1980)<<9 | 1<<5 | 2
	stampTime = 3<<11 | 4<<5 | 6/2
)

// FAT describes a FAT12, FAT16 or FAT32 volume to be written.
// https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc
type FAT struct {
	Bits         int   // 12, 16 or 32
	Bytes        int64 // of the volume
	Start        int64 // where the partition starts on the medium: only a field of the boot sector
	SectorSize   int64 // 0 means 512
	ClusterBytes int64 // 0 means one sector
	RootEntries  int64 // of a FAT12 or FAT16; 0 means 512
	Label        string
	Serial       uint32 // 0 means a fixed one
}

type fatWriter struct {
	FAT
	w     io.WriterAt
	v     *Volume
	table []uint32
	free  clusters
	root  *node
}

// WriteFAT writes the volume at the start of w. Zeros are not written: w must hold zeros before.
func WriteFAT(w io.WriterAt, spec FAT, files []File) (*Volume, error) {
	root, err := tree(files)
	if err != nil {
		return nil, err
	}
	f := &fatWriter{FAT: spec, w: w, root: root}
	if err := f.geometry(); err != nil {
		return nil, err
	}
	f.free = clusters{next: 2, end: f.v.Clusters + 2}
	f.table = []uint32{f.mark()&^0xFF&0x0FFFFFFF | 0xF8, f.mark()}
	if err := root.each(f.place); err != nil {
		return nil, err
	}
	if err := root.each(f.fill); err != nil {
		return nil, err
	}
	if err := f.boot(); err != nil {
		return nil, err
	}
	for n := range f.v.FATs {
		if _, err := w.WriteAt(f.packed(), f.v.FAT+int64(n)*f.v.FATBytes); err != nil {
			return nil, err
		}
	}
	return f.v, nil
}

// mark is the entry that ends a chain.
func (f *fatWriter) mark() uint32 { return 1<<min(f.Bits, 28) - 1 }

func (f *fatWriter) geometry() error {
	if f.SectorSize == 0 {
		f.SectorSize = 512
	}
	if f.ClusterBytes == 0 {
		f.ClusterBytes = f.SectorSize
	}
	if f.RootEntries == 0 {
		f.RootEntries = 512
	}
	if f.Serial == 0 {
		f.Serial = 0x50524154
	}
	reserved := f.SectorSize
	if f.Bits == 32 {
		f.RootEntries, reserved = 0, 32*f.SectorSize
	}
	rootBytes := f.RootEntries * 32
	// The table's size follows from the number of clusters, and that from the table's size: take it from above.
	most := (f.Bytes-reserved-rootBytes)/f.ClusterBytes + 2
	fatBytes := roundUp(roundUp(most*int64(f.Bits), 8)/8, f.SectorSize)
	heap := reserved + 2*fatBytes + rootBytes
	count := (f.Bytes - heap) / f.ClusterBytes
	low := map[int]int64{12: 1, 16: 4085, 32: 65525}[f.Bits]
	high := map[int]int64{12: 4084, 16: 65524, 32: 0x0FFFFFF4}[f.Bits]
	if low == 0 || count < low || count > high {
		return fmt.Errorf("FAT%d with %d clusters", f.Bits, count)
	}
	f.v = &Volume{Bytes: f.Bytes, SectorSize: f.SectorSize, ClusterBytes: f.ClusterBytes, Clusters: uint32(count), FAT: reserved,
		FATBytes: fatBytes, FATs: 2, Bits: f.Bits, Heap: heap, RootDir: reserved + 2*fatBytes,
		Chain: map[string][]uint32{}, Record: map[string]int64{}}
	f.v.meta(0, heap)
	return nil
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// place gives a node its clusters. A directory's size must be known for that, so its entries are counted first.
func (f *fatWriter) place(n *node) error {
	if n.dir {
		n.bytes = 0
		if n != f.root {
			n.bytes = 64 // "." and ".."
		} else if f.Label != "" {
			n.bytes = 32
		}
		aliases := map[[11]byte]bool{}
		for _, c := range n.children {
			_, long, err := alias(c.name, aliases)
			if err != nil {
				return fmt.Errorf("%q: %w", c.path, err)
			}
			n.bytes += int64(1+long) * 32
		}
		if n == f.root && f.Bits != 32 {
			if n.bytes > f.RootEntries*32 {
				return errors.New("the root directory is full")
			}
			return nil
		}
		n.bytes = max(n.bytes, 32)
	}
	var err error
	if n.clusters, err = f.free.take(roundUp(n.bytes, f.ClusterBytes)/f.ClusterBytes, n.file != nil && n.file.Scatter); err != nil {
		return err
	}
	for i, c := range n.clusters {
		for int(c) >= len(f.table) {
			f.table = append(f.table, 0)
		}
		f.table[c] = f.mark()
		if i+1 < len(n.clusters) {
			f.table[c] = n.clusters[i+1]
		}
	}
	f.v.Chain[n.path] = n.clusters
	return nil
}

// fill writes a node's content.
func (f *fatWriter) fill(n *node) error {
	if !n.dir {
		return f.v.put(f.w, n.clusters, n.file.stored())
	}
	var entries []byte
	if n == f.root && f.Label != "" {
		entries = append(entries, f.record([11]byte([]byte(fmt.Sprintf("%-11.11s", f.Label))), 0x08, 0, 0)...)
	}
	if n != f.root {
		up := uint32(0) // the root is written as 0, whatever its cluster
		if n.parent != f.root {
			up = n.parent.clusters[0]
		}
		entries = append(entries, f.record([11]byte([]byte(".          ")), 0x10, n.clusters[0], 0)...)
		entries = append(entries, f.record([11]byte([]byte("..         ")), 0x10, up, 0)...)
	}
	aliases := map[[11]byte]bool{}
	for _, c := range n.children {
		short, long, err := alias(c.name, aliases)
		if err != nil {
			return err
		}
		entries = append(entries, longName(c.name, short, long)...)
		f.v.Record[c.path] = f.at(n, int64(len(entries)))
		first, attr, size := uint32(0), c.attr(), uint32(0)
		if len(c.clusters) > 0 {
			first = c.clusters[0]
		}
		if c.dir {
			attr |= 0x10
		} else {
			if c.bytes > 0xFFFFFFFF {
				return fmt.Errorf("%q has %d bytes", c.path, c.bytes)
			}
			attr, size = attr|0x20, uint32(c.bytes)
		}
		entries = append(entries, f.record(short, attr, first, size)...)
	}
	if n == f.root && f.Bits != 32 {
		_, err := f.w.WriteAt(entries, f.v.RootDir)
		return err
	}
	if n == f.root {
		f.v.RootDir = f.v.Cluster(n.clusters[0])
	}
	for _, c := range n.clusters {
		f.v.meta(f.v.Cluster(c), f.v.ClusterBytes)
	}
	return f.v.put(f.w, n.clusters, bytes.NewReader(entries))
}

// at is the place in the volume of a byte of a directory.
func (f *fatWriter) at(dir *node, off int64) int64 {
	if len(dir.clusters) == 0 {
		return f.v.RootDir + off
	}
	return f.v.Cluster(dir.clusters[off/f.ClusterBytes]) + off%f.ClusterBytes
}

func (f *fatWriter) record(short [11]byte, attr byte, first, size uint32) []byte {
	e := make([]byte, 32)
	copy(e, short[:])
	e[11] = attr
	le.PutUint16(e[14:], stampTime)
	le.PutUint16(e[16:], stampDate)
	le.PutUint16(e[18:], stampDate)
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[22:], stampTime)
	le.PutUint16(e[24:], stampDate)
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], size)
	return e
}

// shortChars are the characters beside letters and digits that an 8.3 name may have.
const shortChars = "$%'-_@~`!(){}^#&"

// alias makes a name's 8.3 form, unique in its directory, and says how many long-name entries go before it: none where
// the name is an 8.3 name in capitals.
func alias(name []uint16, taken map[[11]byte]bool) (short [11]byte, long int, err error) {
	for i := range short {
		short[i] = ' '
	}
	dot := -1
	for i, u := range name {
		if u == '.' && i > 0 {
			dot = i
		}
		if u < 0x20 || u < 0x80 && strings.ContainsRune(`"*/:<>?\|`, rune(u)) {
			return short, 0, fmt.Errorf("FAT names have no character %#x", u)
		}
	}
	exact := true
	part := func(units []uint16, room int) []byte {
		var out []byte
		for _, u := range units {
			c := byte('_')
			switch {
			case u >= 'a' && u <= 'z':
				c, exact = byte(u)-32, false
			case u >= 'A' && u <= 'Z', u >= '0' && u <= '9', u < 0x80 && strings.IndexByte(shortChars, byte(u)) >= 0:
				c = byte(u)
			case u == ' ' || u == '.':
				exact = false
				continue
			default:
				exact = false
			}
			if len(out) == room {
				exact = false
				break
			}
			out = append(out, c)
		}
		return out
	}
	base, ext := name, []uint16(nil)
	if dot >= 0 {
		base, ext = name[:dot], name[dot+1:]
		exact = len(ext) > 0
	}
	b, x := part(base, 8), part(ext, 3)
	copy(short[8:], x)
	if exact && len(b) > 0 {
		copy(short[:8], b)
		if !taken[short] {
			taken[short] = true
			return short, 0, nil
		}
	}
	// A tail ~N makes it unique. Beyond ~4 a hash of the name stands before it, so that a directory of thousands stays quick.
	hash := uint32(2166136261)
	for _, u := range name {
		hash = (hash ^ uint32(u)) * 16777619
	}
	for n := 1; ; n++ {
		tail := fmt.Sprintf("~%d", n)
		head := b
		if n > 4 {
			head = fmt.Appendf(nil, "%.2s%04X", b, uint16(hash+uint32(n)/9))
			tail = fmt.Sprintf("~%d", n%9+1)
		}
		copy(short[:8], "        ")
		copy(short[:8], append(head[:min(len(head), 8-len(tail)):min(len(head), 8-len(tail))], tail...))
		if !taken[short] {
			taken[short] = true
			return short, (len(name) + 12) / 13, nil
		}
	}
}

// longName is the run of entries that carries a long name, last part first.
func longName(name []uint16, short [11]byte, parts int) []byte {
	var sum byte
	for _, c := range short {
		sum = sum<<7 | sum>>1
		sum += c
	}
	var out []byte
	for part := parts; part >= 1; part-- {
		e := make([]byte, 32)
		e[0], e[11], e[13] = byte(part), 0x0F, sum
		if part == parts {
			e[0] |= 0x40
		}
		for i, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			u := uint16(0xFFFF)
			if k := (part-1)*13 + i; k < len(name) {
				u = name[k]
			} else if k == len(name) {
				u = 0
			}
			le.PutUint16(e[at:], u)
		}
		out = append(out, e...)
	}
	return out
}

// boot writes the boot sector and, for FAT32, the information sector and the backups.
func (f *fatWriter) boot() error {
	b := make([]byte, f.SectorSize)
	copy(b, "\xEB\x58\x90PRATIQUE")
	le.PutUint16(b[11:], uint16(f.SectorSize))
	b[13] = byte(f.ClusterBytes / f.SectorSize)
	le.PutUint16(b[14:], uint16(f.v.FAT/f.SectorSize))
	b[16], b[21] = 2, 0xF8
	le.PutUint16(b[17:], uint16(f.RootEntries))
	sectors := f.Bytes / f.SectorSize
	if sectors < 1<<16 && f.Bits != 32 {
		le.PutUint16(b[19:], uint16(sectors))
	} else {
		le.PutUint32(b[32:], uint32(sectors))
	}
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(f.Start/f.SectorSize))
	tail := 36
	if f.Bits == 32 {
		le.PutUint32(b[36:], uint32(f.v.FATBytes/f.SectorSize))
		le.PutUint32(b[44:], f.root.clusters[0])
		le.PutUint16(b[48:], 1)
		le.PutUint16(b[50:], 6)
		tail = 64
	} else {
		le.PutUint16(b[22:], uint16(f.v.FATBytes/f.SectorSize))
		b[1] = 0x3C
	}
	b[tail], b[tail+2] = 0x80, 0x29
	le.PutUint32(b[tail+3:], f.Serial)
	label := f.Label
	if label == "" {
		label = "NO NAME"
	}
	copy(b[tail+7:], fmt.Sprintf("%-11.11sFAT%d   ", label, f.Bits))
	b[510], b[511] = 0x55, 0xAA
	places := []int64{0}
	if f.Bits == 32 {
		info := make([]byte, f.SectorSize)
		copy(info, "RRaA")
		copy(info[484:], "rrAa")
		le.PutUint32(info[488:], f.v.Clusters-uint32(len(f.free.used)))
		le.PutUint32(info[492:], f.free.next)
		info[510], info[511] = 0x55, 0xAA
		b = append(b, info...)
		places = []int64{0, 6 * f.SectorSize}
	}
	for _, at := range places {
		if _, err := f.w.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

// packed is the used part of the table as stored.
func (f *fatWriter) packed() []byte {
	var out []byte
	switch f.Bits {
	case 12:
		out = make([]byte, (len(f.table)+1)/2*3)
		for i, c := range f.table {
			pack12(out[i/2*3:], i%2, c)
		}
	case 16:
		for _, c := range f.table {
			out = le.AppendUint16(out, uint16(c))
		}
	default:
		for _, c := range f.table {
			out = le.AppendUint32(out, c)
		}
	}
	return out
}

// pack12 puts one of the two 12-bit entries into three bytes.
func pack12(b []byte, odd int, c uint32) {
	if odd == 0 {
		b[0], b[1] = byte(c), b[1]&0xF0|byte(c>>8)&0xF
	} else {
		b[1], b[2] = b[1]&0xF|byte(c)<<4, byte(c>>4)
	}
}

// Link sets the entry of a cluster in every copy of the file allocation table.
func (v *Volume) Link(image interface {
	io.ReaderAt
	io.WriterAt
}, cluster, to uint32) error {
	for n := range v.FATs {
		start := v.FAT + int64(n)*v.FATBytes
		b := make([]byte, 4)
		at := start + int64(cluster)*int64(v.Bits)/8
		switch v.Bits {
		case 12:
			b, at = b[:3], start+int64(cluster/2)*3
			if _, err := image.ReadAt(b, at); err != nil {
				return err
			}
			pack12(b, int(cluster%2), to)
		case 16:
			b = b[:2]
			le.PutUint16(b, uint16(to))
		default:
			le.PutUint32(b, to)
		}
		if _, err := image.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}
