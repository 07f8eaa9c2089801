package stick

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// ExFAT describes an exFAT volume to be written. https://learn.microsoft.com/windows/win32/fileio/exfat-specification
type ExFAT struct {
	Bytes        int64 // of the volume
	Start        int64 // where the partition starts on the medium: only a field of the boot sector
	SectorSize   int64 // 0 means 512
	ClusterBytes int64 // 0 means 4 KiB
	Label        string
	Serial       uint32   // 0 means a fixed one
	GUID         [16]byte // a volume GUID entry, unless all zero
	PlainUpcase  bool     // store the up-case table in full
	Chained      bool     // use FAT chains for everything
	Vendor       bool     // a vendor extension entry in each file's set
}

type exfatWriter struct {
	ExFAT
	w      io.WriterAt
	v      *Volume
	table  []uint32
	free   clusters
	root   *node
	up     []uint16
	fixed  []byte // the root directory's own entries
	bitmap []uint32
	upcase []uint32
}

// WriteExFAT writes the volume at the start of w. Zeros are not written: w must hold zeros before.
func WriteExFAT(w io.WriterAt, spec ExFAT, files []File) (*Volume, error) {
	root, err := tree(files)
	if err != nil {
		return nil, err
	}
	e := &exfatWriter{ExFAT: spec, w: w, root: root, up: upcaseTable()}
	if err := e.geometry(); err != nil {
		return nil, err
	}
	e.free = clusters{next: 2, end: e.v.Clusters + 2}
	e.table = []uint32{0xFFFFFFF8, 0xFFFFFFFF}
	upcase := upcaseBytes(e.PlainUpcase)
	bitmapBytes := (int64(e.v.Clusters) + 7) / 8
	if e.bitmap, err = e.take(bitmapBytes, true, false); err != nil {
		return nil, err
	}
	if e.upcase, err = e.take(int64(len(upcase)), true, false); err != nil {
		return nil, err
	}
	e.v.Bitmap, e.v.Upcase = e.v.Cluster(e.bitmap[0]), e.v.Cluster(e.upcase[0])
	e.head(upcase, bitmapBytes)
	if err := root.each(e.place); err != nil {
		return nil, err
	}
	if err := root.each(e.fill); err != nil {
		return nil, err
	}
	if err := e.v.put(w, e.upcase, bytes.NewReader(upcase)); err != nil {
		return nil, err
	}
	used := make([]byte, 0, 4096)
	for _, c := range e.free.used {
		for int(c-2)/8 >= len(used) {
			used = append(used, 0)
		}
		used[(c-2)/8] |= 1 << ((c - 2) % 8)
	}
	if err := e.v.put(w, e.bitmap, bytes.NewReader(used)); err != nil {
		return nil, err
	}
	var table []byte
	for _, c := range e.table {
		table = le.AppendUint32(table, c)
	}
	if _, err := w.WriteAt(table, e.v.FAT); err != nil {
		return nil, err
	}
	return e.v, e.boot()
}

func (e *exfatWriter) geometry() error {
	if e.SectorSize == 0 {
		e.SectorSize = 512
	}
	if e.ClusterBytes == 0 {
		e.ClusterBytes = 4096
	}
	if e.Serial == 0 {
		e.Serial = 0x50524154
	}
	const align = 64 << 10 // good for flash, small enough for little volumes
	fat := roundUp(24*e.SectorSize, align)
	fatBytes := roundUp((e.Bytes/e.ClusterBytes+2)*4, e.SectorSize)
	heap := roundUp(fat+fatBytes, max(align, e.ClusterBytes))
	count := (e.Bytes - heap) / e.ClusterBytes
	if count < 8 || count > 0xFFFFFFF5 || e.Bytes < 1<<20 || e.Bytes%e.SectorSize != 0 {
		return fmt.Errorf("exFAT of %d bytes with %d clusters", e.Bytes, count)
	}
	e.v = &Volume{Bytes: e.Bytes, SectorSize: e.SectorSize, ClusterBytes: e.ClusterBytes, Clusters: uint32(count), FAT: fat,
		FATBytes: fatBytes, FATs: 1, Bits: 32, Heap: heap, Chain: map[string][]uint32{}, Record: map[string]int64{}}
	e.v.meta(0, 24*e.SectorSize)
	return nil
}

// take allocates clusters, and writes their chain into the table where one is wanted or needed.
func (e *exfatWriter) take(n int64, chained, scatter bool) ([]uint32, error) {
	got, err := e.free.take(roundUp(n, e.ClusterBytes)/e.ClusterBytes, scatter)
	if err != nil || !chained && contiguous(got) {
		return got, err
	}
	for i, c := range got {
		for int(c) >= len(e.table) {
			e.table = append(e.table, 0)
		}
		e.table[c] = 0xFFFFFFFF
		if i+1 < len(got) {
			e.table[c] = got[i+1]
		}
	}
	return got, nil
}

// head makes the root directory's own entries: label, GUID, bitmap, up-case table.
func (e *exfatWriter) head(upcase []byte, bitmapBytes int64) {
	if e.Label != "" {
		label := make([]byte, 32)
		units := Units(e.Label)
		units = units[:min(len(units), 11)]
		label[0], label[1] = 0x83, byte(len(units))
		for i, u := range units {
			le.PutUint16(label[2+2*i:], u)
		}
		e.fixed = append(e.fixed, label...)
	}
	if e.GUID != [16]byte{} {
		guid := make([]byte, 32)
		guid[0] = 0xA0
		copy(guid[6:], e.GUID[:])
		le.PutUint16(guid[2:], setChecksum(guid))
		e.fixed = append(e.fixed, guid...)
	}
	b, u := make([]byte, 32), make([]byte, 32)
	b[0], u[0] = 0x81, 0x82
	le.PutUint32(b[20:], e.bitmap[0])
	le.PutUint64(b[24:], uint64(bitmapBytes))
	le.PutUint32(u[4:], checksum32(0, upcase, nil))
	le.PutUint32(u[20:], e.upcase[0])
	le.PutUint64(u[24:], uint64(len(upcase)))
	e.fixed = append(append(e.fixed, b...), u...)
}

func (e *exfatWriter) place(n *node) error {
	chained, scatter := e.Chained, false
	if n.file != nil {
		chained, scatter = chained || n.file.Chained, n.file.Scatter
	}
	if n.dir {
		n.bytes = 0
		for _, c := range n.children {
			n.bytes += int64(len(e.set(c)))
		}
		if n == e.root {
			chained = true
			n.bytes += int64(len(e.fixed))
		}
		n.bytes = max(roundUp(n.bytes, e.ClusterBytes), e.ClusterBytes)
	}
	var err error
	n.clusters, err = e.take(n.bytes, chained, scatter)
	e.v.Chain[n.path] = n.clusters
	return err
}

func (e *exfatWriter) fill(n *node) error {
	if !n.dir {
		content := n.file.stored()
		if n.file.Unsaid > 0 {
			junk := bytes.Repeat([]byte("left from another file "), 64)
			content = io.MultiReader(io.LimitReader(io.MultiReader(content, zeros{}), n.bytes-n.file.Unsaid), bytes.NewReader(junk))
		}
		return e.v.put(e.w, n.clusters, io.LimitReader(content, n.bytes))
	}
	var entries []byte
	if n == e.root {
		entries = append(entries, e.fixed...)
		e.v.RootDir = e.v.Cluster(n.clusters[0])
	}
	for _, c := range n.children {
		at := int64(len(entries))
		e.v.Record[c.path] = e.v.Cluster(n.clusters[at/e.ClusterBytes]) + at%e.ClusterBytes
		entries = append(entries, e.set(c)...)
	}
	for _, c := range n.clusters {
		e.v.meta(e.v.Cluster(c), e.ClusterBytes)
	}
	return e.v.put(e.w, n.clusters, bytes.NewReader(entries))
}

// set is the entry set of a file or directory: file, stream, names, and perhaps a vendor's.
func (e *exfatWriter) set(n *node) []byte {
	attr, valid := uint16(n.attr()), n.bytes
	if n.dir {
		attr |= 0x10
	} else {
		attr |= 0x20
		if n.file != nil {
			valid -= n.file.Unsaid
		}
	}
	const stamp = stampDate<<16 | stampTime
	file, stream := make([]byte, 32), make([]byte, 32)
	file[0] = 0x85
	le.PutUint16(file[4:], attr)
	for _, at := range []int{8, 12, 16} {
		le.PutUint32(file[at:], stamp)
	}
	file[22], file[23], file[24] = 0x80, 0x80, 0x80 // UTC
	stream[0], stream[1], stream[3] = 0xC0, 0x01, byte(len(n.name))
	chained := e.Chained || n.file != nil && n.file.Chained
	if len(n.clusters) > 0 {
		if !chained && contiguous(n.clusters) {
			stream[1] |= 0x02
		}
		le.PutUint32(stream[20:], n.clusters[0])
	}
	le.PutUint16(stream[4:], e.nameHash(n.name))
	le.PutUint64(stream[8:], uint64(valid))
	le.PutUint64(stream[24:], uint64(n.bytes))
	set := append(file, stream...)
	for i := 0; i < len(n.name); i += 15 {
		name := make([]byte, 32)
		name[0] = 0xC1
		for k, u := range n.name[i:min(i+15, len(n.name))] {
			le.PutUint16(name[2+2*k:], u)
		}
		set = append(set, name...)
	}
	if e.Vendor {
		vendor := make([]byte, 32)
		vendor[0] = 0xE0
		copy(vendor[2:], "PRATIQUE-VENDOR")
		set = append(set, vendor...)
	}
	set[1] = byte(len(set)/32 - 1)
	le.PutUint16(set[2:], setChecksum(set))
	return set
}

func (e *exfatWriter) nameHash(name []uint16) uint16 {
	var h uint16
	for _, u := range name {
		c := e.up[u]
		h = bits.RotateLeft16(h, -1) + c&0xFF
		h = bits.RotateLeft16(h, -1) + c>>8
	}
	return h
}

// setChecksum runs over an entry set, less its own field.
func setChecksum(set []byte) uint16 {
	var sum uint16
	for i, b := range set {
		if i != 2 && i != 3 {
			sum = bits.RotateLeft16(sum, -1) + uint16(b)
		}
	}
	return sum
}

// checksum32 runs over the up-case table, and over the boot region less the bytes that change in use.
func checksum32(sum uint32, data []byte, skip map[int]bool) uint32 {
	for i, b := range data {
		if !skip[i] {
			sum = bits.RotateLeft32(sum, -1) + uint32(b)
		}
	}
	return sum
}

// Reseal puts the checksum right of the entry set at an offset of the volume, after a test changed a field of it.
func Reseal(image interface {
	io.ReaderAt
	io.WriterAt
}, at int64) error {
	head := make([]byte, 2)
	if _, err := image.ReadAt(head, at); err != nil {
		return err
	}
	set := make([]byte, 32*(int(head[1])+1))
	if _, err := image.ReadAt(set, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	le.PutUint16(set[2:], setChecksum(set))
	_, err := image.WriteAt(set[:4], at)
	return err
}

// boot writes the boot region and its backup.
func (e *exfatWriter) boot() error {
	region := make([]byte, 12*e.SectorSize)
	b := region
	copy(b, "\xEB\x76\x90EXFAT   ")
	shift := bits.TrailingZeros64(uint64(e.SectorSize))
	le.PutUint64(b[64:], uint64(e.Start>>shift))
	le.PutUint64(b[72:], uint64(e.Bytes>>shift))
	le.PutUint32(b[80:], uint32(e.v.FAT>>shift))
	le.PutUint32(b[84:], uint32(e.v.FATBytes>>shift))
	le.PutUint32(b[88:], uint32(e.v.Heap>>shift))
	le.PutUint32(b[92:], e.v.Clusters)
	le.PutUint32(b[96:], e.root.clusters[0])
	le.PutUint32(b[100:], e.Serial)
	b[105], b[108], b[110], b[111] = 1, byte(shift), 1, 0x80
	b[109] = byte(bits.TrailingZeros64(uint64(e.ClusterBytes / e.SectorSize)))
	b[112] = byte(int64(len(e.free.used)) * 100 / int64(e.v.Clusters))
	for i := 120; i < 510; i++ {
		b[i] = 0xF4 // halts a machine that boots from it
	}
	b[510], b[511] = 0x55, 0xAA
	for s := int64(1); s <= 8; s++ {
		copy(region[(s+1)*e.SectorSize-4:], "\x00\x00\x55\xAA")
	}
	sum := checksum32(0, region[:11*e.SectorSize], map[int]bool{106: true, 107: true, 112: true})
	for at := 11 * e.SectorSize; at < 12*e.SectorSize; at += 4 {
		le.PutUint32(region[at:], sum)
	}
	for _, at := range []int64{0, 12 * e.SectorSize} {
		if _, err := e.w.WriteAt(region, at); err != nil {
			return err
		}
	}
	fatUsed := int64(len(e.table)) * 4
	e.v.meta(e.v.FAT, min(roundUp(fatUsed, e.SectorSize), e.v.FATBytes))
	e.v.meta(e.v.Bitmap, int64(len(e.bitmap))*e.ClusterBytes)
	e.v.meta(e.v.Upcase, int64(len(e.upcase))*e.ClusterBytes)
	return nil
}
