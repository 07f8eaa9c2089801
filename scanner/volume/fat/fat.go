// Package fat reads FAT12, FAT16 and FAT32 volumes with long names. It lists every file, says where its content lies, and
// accounts for every cluster.
//
// It trusts nothing on the volume. What can be read in two ways is told, and what cannot be settled makes the volume
// malformed: copies of the allocation table that differ, loops, clusters with two owners, chains that leave the volume. A
// damaged entry is still listed, as malformed: other systems may show it, and a file that is not listed is a file that
// nobody scanned. Clusters that the table calls in use and that no file owns are handed out as areas, and so is whatever
// else a volume has beside its files: reserved sectors, clusters marked as bad, the rest of a table.
//
// The format is Microsoft's "FAT: General Overview of On-Disk Format" 1.03. Where Linux and Windows go on although the
// document says stop (a directory's end mark, a missing signature), this reader goes on too.
//
// Limits: the constants below. Memory stays under 64 MiB whatever the volume claims: at most 34 MiB for the map of
// 2^28 clusters, 16 MiB of cache, 8 MiB for lost chains, 2 MiB for a directory. Time is linear in the size of the table
// and of the directories. Bytes of free clusters and behind the end of files are read only with Options.Deep.
package fat

import (
	"fmt"
	"io"

	"pratique/scanner/volume"
)

const (
	// maxEntries bounds the work on one volume. A 2 TB stick of real files has fewer.
	maxEntries = 4 << 20
	// maxDirectory is the format's own limit on a directory: 65,536 slots of 32 bytes.
	maxDirectory = 2 << 20
	// maxDepth: Windows and Linux stop at the length of the path long before.
	maxDepth = 255
	// maxExtents bounds one file to 8 MiB of extents: a 4 GiB file in pieces of 8 KiB.
	maxExtents = 1 << 19
	// maxPending bounds the memory for directories that are known and not yet read.
	maxPending = 16 << 20
	// maxLostChains bounds how many lost chains become areas of their own; the clusters of further ones are joined.
	maxLostChains = 10_000
	// maxTableFailures bounds how often a bad allocation table is asked: each time may cost a stick many seconds.
	maxTableFailures = 64
)

// Volume is an open FAT volume. It is safe for concurrent use.
type Volume struct {
	src volume.Source // through a cache: the table in use, directories
	raw volume.Source // what is read once
	bpb volume.BPB
}

// Open checks the boot sector. Errors wrap volume.ErrMalformed or volume.ErrUnreadable.
func Open(src volume.Source) (*Volume, error) {
	var boot [512]byte
	if n, err := src.ReadAt(boot[:], 0); n < len(boot) {
		if err == nil || err == io.EOF {
			return nil, fmt.Errorf("%w: it ends within its boot sector", volume.ErrMalformed)
		}
		return nil, fmt.Errorf("%w: %v", volume.ErrUnreadable, err)
	}
	bpb, err := volume.ParseBPB(boot[:])
	if err != nil {
		return nil, err
	}
	if bpb.Total > src.Size() {
		return nil, fmt.Errorf("%w: it is larger than the place it is in", volume.ErrMalformed)
	}
	return &Volume{src: volume.NewCache(src), raw: src, bpb: bpb}, nil
}

// Type is "fat12", "fat16" or "fat32".
func (v *Volume) Type() string { return v.bpb.Type() }

// Used is the number of bytes in allocated clusters: for FAT12 and FAT16 by the table, for FAT32, whose table may be a
// gigabyte, by the free count that it keeps beside. If that is missing or absurd, it is the size of the volume.
func (v *Volume) Used() int64 {
	all := int64(v.bpb.Clusters)
	if v.bpb.Bits == 32 {
		if free, ok := v.freeCount(); ok {
			return (all - free) * v.bpb.ClusterBytes
		}
		return all * v.bpb.ClusterBytes
	}
	t := newTable(v)
	var used int64
	for c := uint32(2); c < v.bpb.Clusters+2; c++ {
		if l, err := t.link(c); err != nil || l.kind != free {
			used++
		}
	}
	return used * v.bpb.ClusterBytes
}

func (v *Volume) freeCount() (int64, bool) {
	var b [512]byte
	if v.bpb.FSInfo == 0 {
		return 0, false
	}
	if _, err := v.src.ReadAt(b[:], v.bpb.FSInfo); err != nil {
		return 0, false
	}
	n := le.Uint32(b[488:])
	return int64(n), string(b[:4]) == "RRaA" && string(b[484:488]) == "rrAa" && n <= v.bpb.Clusters
}

// at is the byte offset of cluster c, which must be in range.
func (v *Volume) at(c uint32) int64 { return v.bpb.Heap + int64(c-2)*v.bpb.ClusterBytes }

// valid reports whether c is the number of a cluster.
func (v *Volume) valid(c uint32) bool { return c >= 2 && c-2 < v.bpb.Clusters }
