package ntfs

import (
	"bytes"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// geometry is where things lie, in bytes from the volume's start.
type geometry struct {
	sector   int64
	cluster  int64
	record   int64 // size of a record of the file table
	clusters int64
	table    int64 // where the file table begins
	mirror   int64 // where the copy of its first records lies
	length   int64 // of the volume without the copy of the boot sector, which follows it
}

const (
	minRecord = 512
	maxRecord = 4 << 10
	// maxCluster: Windows formats with up to 2 MiB since 2017.
	maxCluster = 2 << 20
)

// at is the place of a cluster.
func (g *geometry) at(cluster int64) int64 { return cluster * g.cluster }

// boot reads the boot sector. Its copy is for later.
func (fs *FS) boot() error {
	head := make([]byte, 512)
	if err := fs.readAt(head, 0); err != nil {
		return err
	}
	g, err := parseBoot(head)
	if err != nil {
		return err
	}
	fs.geo = g
	if g.length > fs.src.Size() {
		fs.known.Wrong(report.Malformed, "The volume says that it is longer than the space it lies in.")
	}
	return nil
}

// compareBackup holds the copy of the boot sector against it. It reports whether there is one that is the same. A driver
// looks at the copy only where the first is damaged, so a difference that moves nothing is a finding; one that moves things
// gives the medium two contents.
func (w *walker) compareBackup() (same bool) {
	g := &w.fs.geo
	if g.length+g.sector > w.fs.src.Size() {
		w.Note("boot-copy-missing", report.Inform, g.length, "There is no room for the copy of the boot sector behind the volume.")
		return false
	}
	head, backup := make([]byte, 512), make([]byte, 512)
	if w.fs.readAt(head, 0) != nil || w.fs.readAt(backup, g.length) != nil {
		w.Wrong(report.Unreadable, "The boot sector's copy could not be read.")
		return false
	}
	if bytes.Equal(head, backup) {
		return true
	}
	other, err := parseBoot(backup)
	switch {
	case err != nil:
		w.Note("boot-copies-differ", report.Warn, g.length, "The copy of the boot sector is damaged.")
	case other != *g:
		w.Wrong(report.Malformed, "The boot sector and its copy describe two different volumes.")
	default:
		w.Note("boot-copies-differ", report.Warn, g.length, "The boot sector and its copy are not the same.")
	}
	return false
}

// parseBoot takes the geometry from a boot sector.
func parseBoot(b []byte) (geometry, error) {
	no := func(what string) (geometry, error) {
		return geometry{}, fmt.Errorf("%w: the NTFS boot sector has %s", volume.ErrMalformed, what)
	}
	if string(b[3:11]) != "NTFS    " || b[510] != 0x55 || b[511] != 0xAA {
		return no("no signature")
	}
	g := geometry{sector: int64(le.Uint16(b[11:]))}
	if g.sector < 512 || g.sector > 4096 || g.sector&(g.sector-1) != 0 {
		return no("an impossible size of sectors")
	}
	perCluster := int64(b[13])
	if b[13] > 0x80 { // a negative power of two, for clusters of more than 128 sectors
		perCluster = 1 << min(-int(int8(b[13])), 31)
	}
	g.cluster = perCluster * g.sector
	if perCluster == 0 || perCluster&(perCluster-1) != 0 || g.cluster > maxCluster {
		return no("an impossible size of clusters")
	}
	// What FAT drivers would read here must be blank, so that no system takes the volume for two things.
	if !volume.Zero(b[14:21]) || le.Uint16(b[22:]) != 0 || le.Uint32(b[32:]) != 0 {
		return no("a FAT description, which must be blank")
	}
	g.record = sized(b[64], g.cluster)
	if g.record < minRecord || g.record > maxRecord || g.record%512 != 0 || g.record&(g.record-1) != 0 {
		return no("an impossible size of records")
	}
	sectors, table, mirror := le.Uint64(b[40:]), le.Uint64(b[48:]), le.Uint64(b[56:])
	if sectors == 0 || sectors > 1<<50 {
		return no("an impossible length")
	}
	g.length = int64(sectors) * g.sector
	g.clusters = g.length / g.cluster
	if table == 0 || mirror == 0 || table >= uint64(g.clusters) || mirror >= uint64(g.clusters) || table == mirror {
		return no("a file table outside the volume")
	}
	g.table, g.mirror = g.at(int64(table)), g.at(int64(mirror))
	return g, nil
}

// sized decodes a size that is a number of clusters, or if negative the power of two of a number of bytes.
func sized(b byte, cluster int64) int64 {
	if n := int(int8(b)); n < 0 {
		return 1 << min(-n, 31)
	}
	return int64(b) * cluster
}

// readAt reads metadata through the cache. A short read is an error of the medium: the volume promised more.
func (fs *FS) readAt(p []byte, at int64) error {
	if n, _ := fs.meta.ReadAt(p, at); n < len(p) {
		return errMedium
	}
	return nil
}
