package exfat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

var le = binary.LittleEndian

// Fields of the boot sector (3.1) that this package needs by place.
const (
	bootFlags   = 106 // VolumeFlags, two bytes; changes in use, so the checksum leaves it out
	bootPercent = 112 // PercentInUse; likewise
	regionParts = 12  // sectors of a boot region; the backup follows it
)

// geometry is where things lie, in bytes from the volume's start.
type geometry struct {
	sector   int64
	cluster  int64
	fat      int64
	fatEnd   int64
	heap     int64  // where cluster 2 lies
	clusters uint32 // valid numbers are 2 to clusters+1
	root     uint32
	length   int64
}

func (g *geometry) at(cluster uint32) int64 { return g.heap + int64(cluster-2)*g.cluster }

func (g *geometry) valid(cluster uint32) bool { return cluster >= 2 && cluster-2 < g.clusters }

// clustersFor is how many clusters hold so many bytes. The size comes from the volume and may be close to 2^62.
func (g *geometry) clustersFor(size int64) int64 {
	n := size / g.cluster
	if size%g.cluster != 0 {
		n++
	}
	return n
}

func (g *geometry) bitmapBytes() int64 { return (int64(g.clusters) + 7) / 8 }

// boot reads both boot regions and decides by the first, as every driver does. An error means that nothing can be read.
func (fs *FS) boot() error {
	head := make([]byte, 512)
	if err := fs.readFull(head, 0); err != nil {
		return err
	}
	g, err := parseBoot(head)
	if err != nil {
		return err
	}
	fs.geo = g
	region, backup := make([]byte, regionParts*g.sector), make([]byte, regionParts*g.sector)
	if err := fs.readFull(region, 0); err != nil {
		return err
	}
	if !sealed(region, g.sector) {
		fs.known.Wrong(report.Malformed, "The checksum of the boot region is wrong.")
	}
	fs.compareBackup(region, backup)
	if g.length > fs.src.Size() {
		fs.known.Wrong(report.Malformed, "The volume says that it is longer than the space it lies in.")
	}
	flags := le.Uint16(head[bootFlags:])
	if flags&1 != 0 {
		fs.known.Wrong(report.Malformed, "The volume says that its second allocation table counts, and has only one.")
	}
	if flags&2 != 0 {
		fs.known.Note("volume-dirty", report.Inform, bootFlags, "The volume was not closed properly.")
	}
	if flags&4 != 0 {
		fs.known.Note("volume-errors", report.Inform, bootFlags, "A system met a media failure on this volume.")
	}
	return nil
}

// compareBackup holds the backup region against the first. A driver looks at it only where the first is damaged, so a
// difference that moves nothing is a finding; one that moves things gives the medium two contents.
func (fs *FS) compareBackup(region, backup []byte) {
	g := &fs.geo
	const word = "boot-copies-differ"
	start := int64(len(region))
	if err := fs.readFull(backup, start); err != nil {
		fs.known.Wrong(report.Unreadable, "The backup of the boot region could not be read.")
		return
	}
	if !sealed(backup, g.sector) {
		fs.known.Note(word, report.Warn, start, "The backup of the boot region is damaged.")
		return
	}
	for _, r := range [][]byte{region, backup} {
		clear(r[bootFlags : bootFlags+2])
		r[bootPercent] = 0
	}
	if bytes.Equal(region, backup) {
		return
	}
	fs.known.Note(word, report.Warn, start, "The boot region and its backup are not the same.")
	if other, err := parseBoot(backup[:512]); err != nil || other != *g {
		fs.known.Wrong(report.Malformed, "The boot region and its backup describe two different volumes.")
	}
}

// parseBoot takes the geometry from a boot sector, and refuses one whose parts lie over each other or outside the volume.
func parseBoot(b []byte) (geometry, error) {
	no := func(what string) (geometry, error) {
		return geometry{}, fmt.Errorf("%w: the exFAT boot sector has %s", volume.ErrMalformed, what)
	}
	if string(b[3:11]) != "EXFAT   " || b[510] != 0x55 || b[511] != 0xAA {
		return no("no signature")
	}
	if !volume.Zero(b[11:64]) {
		return no("a FAT description, which must be blank") // the place that FAT drivers would read (3.1.3)
	}
	sectorShift, clusterShift := b[108], b[109]
	if sectorShift < 9 || sectorShift > 12 || clusterShift > 25-sectorShift {
		return no("impossible sizes of sectors or clusters")
	}
	if b[105] != 1 {
		return no("a revision that is not known")
	}
	switch b[110] {
	case 1:
	case 2:
		return geometry{}, ErrTexFAT
	default:
		return no("an impossible number of allocation tables")
	}
	length := le.Uint64(b[72:])
	if length > 1<<62>>sectorShift || length < 1<<20>>sectorShift {
		return no("an impossible length")
	}
	fat, fatLength, heap := int64(le.Uint32(b[80:])), int64(le.Uint32(b[84:])), int64(le.Uint32(b[88:]))
	g := geometry{
		sector: 1 << sectorShift, cluster: 1 << (sectorShift + clusterShift), length: int64(length) << sectorShift,
		fat: fat << sectorShift, fatEnd: (fat + fatLength) << sectorShift,
		heap: heap << sectorShift, clusters: le.Uint32(b[92:]), root: le.Uint32(b[96:]),
	}
	switch {
	case fat < 2*regionParts:
		return no("an allocation table inside the boot region")
	case g.clusters == 0 || g.clusters > 0xFFFFFFF5:
		return no("an impossible number of clusters")
	case (int64(g.clusters)+2)*4 > fatLength<<sectorShift:
		return no("an allocation table too short for its clusters")
	case g.heap < g.fatEnd:
		return no("an allocation table that reaches into the clusters")
	case g.heap+int64(g.clusters)*g.cluster > g.length:
		return no("clusters behind the end of the volume")
	case !g.valid(g.root):
		return no("a root directory outside the volume")
	}
	return g, nil
}

// sealed verifies the checksum sector (3.4) of a boot region.
func sealed(region []byte, sector int64) bool {
	var sum uint32
	for i, b := range region[:11*sector] {
		if i != bootFlags && i != bootFlags+1 && i != bootPercent {
			sum = bits.RotateLeft32(sum, -1) + uint32(b)
		}
	}
	for at := 11 * sector; at < regionParts*sector; at += 4 {
		if le.Uint32(region[at:]) != sum {
			return false
		}
	}
	return true
}

// readFull reads metadata. A short read is an error of the medium: the volume promised more.
func (fs *FS) readFull(p []byte, at int64) error {
	if n, _ := fs.meta.ReadAt(p, at); n < len(p) {
		return &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}
	}
	return nil
}
