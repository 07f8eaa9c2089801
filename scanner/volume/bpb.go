package volume

import (
	"encoding/binary"
	"fmt"
)

// BPB is what the first sector of a FAT volume says about its geometry, after it was checked. The rules are those of
// Microsoft's "FAT: General Overview of On-Disk Format" 1.03 where systems agree with it, and of what Linux and Windows do
// where they do not.
type BPB struct {
	SectorSize   int64 // 512, 1024, 2048 or 4096
	ClusterBytes int64
	Reserved     int64 // bytes before the first FAT
	FATs         int   // 1 to 4
	FATBytes     int64 // of one copy
	RootEntries  int   // FAT12 and FAT16 only
	Total        int64 // bytes of the volume
	Heap         int64 // where cluster 2 starts
	Clusters     uint32
	RootCluster  uint32 // FAT32 only
	ActiveFAT    int    // the copy in use; -1 if all are kept alike
	FSInfo       int64  // byte offset of the FSInfo sector; 0 if there is none
	Backup       int64  // byte offset of the copy of the boot sector; 0 if there is none
	Bits         int    // 12, 16 or 32
	Odd          bool   // the number of clusters is that of another type of FAT
}

const (
	// fat12Clusters and fat16Clusters are where the types change: a volume with fewer clusters is FAT12, FAT16.
	fat12Clusters = 4085
	fat16Clusters = 65525
	// windowsFAT12 is where Windows has the first of them (FatIndexBitSize in fat.h of its FAT driver). What lies between
	// is FAT12 to the one and FAT16 to the other, with other content in its files, and no formatter makes it.
	windowsFAT12 = 4087
	// fat32Clusters is the number at which a cluster number would look like a mark.
	fat32Clusters = 0x0FFFFFF5
	// mostFATs: two are usual; Linux and Windows accept one, more than four nobody has seen.
	mostFATs = 4
)

var le = binary.LittleEndian

// ParseBPB reads the first 512 bytes of a volume. An error, which wraps ErrMalformed, says why it is not FAT. What Linux
// would mount is FAT here, even without the jump at its start and the signature at its end.
func ParseBPB(b []byte) (BPB, error) {
	if len(b) < 512 {
		return BPB{}, fmt.Errorf("%w: no boot sector", ErrMalformed)
	}
	p := BPB{SectorSize: int64(le.Uint16(b[11:])), FATs: int(b[16]), RootEntries: int(le.Uint16(b[17:])), ActiveFAT: -1}
	perCluster, reserved, media := int64(b[13]), int64(le.Uint16(b[14:])), b[21]
	total, perFAT := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	switch {
	case p.SectorSize < 512 || p.SectorSize > 4096 || p.SectorSize&(p.SectorSize-1) != 0,
		perCluster == 0 || perCluster&(perCluster-1) != 0, reserved == 0, p.FATs == 0 || p.FATs > mostFATs,
		media != 0xF0 && media < 0xF8:
		return BPB{}, fmt.Errorf("%w: the boot sector describes no FAT volume", ErrMalformed)
	}
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	// Linux and Windows take a volume for FAT32 if the 16-bit size of its FAT is zero, whatever its number of clusters.
	wide := perFAT == 0
	if wide {
		perFAT = int64(le.Uint32(b[36:]))
		p.RootCluster = le.Uint32(b[44:]) & 0x0FFFFFFF
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 {
			p.ActiveFAT = int(flags & 0x0F)
		}
		if at := int64(le.Uint16(b[48:])); at > 0 && at < reserved {
			p.FSInfo = at * p.SectorSize
		}
		if at := int64(le.Uint16(b[50:])); at > 0 && at < reserved {
			p.Backup = at * p.SectorSize
		}
	}
	p.ClusterBytes, p.Reserved, p.FATBytes = perCluster*p.SectorSize, reserved*p.SectorSize, perFAT*p.SectorSize
	p.Total = total * p.SectorSize
	p.Heap = p.Reserved + int64(p.FATs)*p.FATBytes + p.RootBytes()
	clusters := (p.Total - p.Heap) / p.ClusterBytes
	switch {
	case perFAT == 0 || clusters <= 0 || p.ActiveFAT >= p.FATs:
		return BPB{}, fmt.Errorf("%w: the boot sector leaves no room for files", ErrMalformed)
	case wide && (p.RootEntries != 0 || clusters >= fat32Clusters), !wide && clusters >= fat12Clusters && clusters < windowsFAT12,
		!wide && (p.RootEntries == 0 || clusters >= fat16Clusters), p.RootBytes()%p.SectorSize != 0:
		return BPB{}, fmt.Errorf("%w: the boot sector contradicts itself", ErrMalformed)
	case wide:
		p.Bits, p.Odd = 32, clusters < fat16Clusters
	case clusters < fat12Clusters:
		p.Bits = 12
	default:
		p.Bits = 16
	}
	if ((clusters+2)*int64(p.Bits)+7)/8 > p.FATBytes {
		// Systems use as many clusters as the FAT has room for, or refuse; which is not ours to guess.
		return BPB{}, fmt.Errorf("%w: the allocation table is too short for the volume", ErrMalformed)
	}
	p.Clusters = uint32(clusters)
	return p, nil
}

// likeFAT names the FAT volume that a boot sector passes for with a driver that looks less closely than ParseBPB. Linux
// and Windows mount sectors that contradict themselves (five tables, a table that is too short, a root directory of FAT16
// on FAT32), and Windows takes a stick whose first sector passes for a boot sector to be one volume, whatever partition
// table is in it. There is no reading such a volume, and no passing over it.
func likeFAT(b []byte) (name string, ok bool) {
	if len(b) < 512 {
		return "", false
	}
	sector, perCluster, media := le.Uint16(b[11:]), b[13], b[21]
	switch {
	case sector < 128 || sector > 4096 || sector&(sector-1) != 0, perCluster == 0 || perCluster&(perCluster-1) != 0,
		le.Uint16(b[14:]) == 0, b[16] == 0, media != 0xF0 && media < 0xF8, le.Uint16(b[19:]) == 0 && le.Uint32(b[32:]) == 0:
		return "", false
	case le.Uint16(b[22:]) != 0:
		return "fat16", true
	}
	return "fat32", le.Uint32(b[36:]) != 0
}

// RootBytes is the size of the root directory of FAT12 and FAT16, which has a place of its own.
func (p BPB) RootBytes() int64 { return int64(p.RootEntries) * 32 }

// Type is "fat12", "fat16" or "fat32".
func (p BPB) Type() string { return fmt.Sprintf("fat%d", p.Bits) }
