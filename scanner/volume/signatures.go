package volume

import (
	"encoding/binary"
	"math"
	"slices"
)

const (
	// probeBytes is what is read at the start of a range: the deepest signature looked for there is ZFS's, at 132 KiB.
	probeBytes = 136 << 10
	// randomBytes is how much is measured before data without a signature is called random.
	randomBytes = 64 << 10
	// randomEntropy in bits per byte: text has 4 to 5, programs 6 to 7, what is encrypted or well compressed has more.
	randomEntropy = 7.9
)

// signature says by which bytes a thing is known. The magic lies within one sector of 512 bytes, and so does all that
// check looks at: it gets the sector.
type signature struct {
	name  string
	at    int64 // from the start of the volume
	magic string
	check func(sector []byte) bool
}

var be = binary.BigEndian

// signatures: from the formats' own documents; where the magic is short, a second fact must hold. A wrong hit refuses a
// stick that is good, a missing one leaves it "unknown", which refuses too.
var signatures = []signature{
	{"bitlocker", 3, "-FVE-FS-", nil},
	{"exfat", 3, "EXFAT   ", nil},
	{"ntfs", 3, "NTFS    ", nil},
	{"refs", 3, "ReFS\x00\x00\x00\x00", nil},
	{"luks1", 0, "LUKS\xba\xbe\x00\x01", nil},
	{"luks2", 0, "LUKS\xba\xbe\x00\x02", nil},
	{"luks2", 0x4000, "SKUL\xba\xbe\x00\x02", nil}, // its second header, if the first was wiped
	{"apfs", 32, "NXSB", func(s []byte) bool { return powerOfTwo(le.Uint32(s[36:]), 4096, 65536) }},
	{"hfsplus", 1024, "H+\x00\x04", func(s []byte) bool { return powerOfTwo(be.Uint32(s[40:]), 512, 1<<24) }},
	{"hfsplus", 1024, "HX\x00\x05", func(s []byte) bool { return powerOfTwo(be.Uint32(s[40:]), 512, 1<<24) }},
	{"hfs", 1024, "BD", func(s []byte) bool {
		size := be.Uint32(s[20:])
		return be.Uint16(s[18:]) > 0 && size > 0 && size%512 == 0 && size < 1<<24
	}},
	{"corestorage", 88, "CS", func(s []byte) bool { return le.Uint16(s[8:]) == 1 && le.Uint16(s[10:]) == 0x10 }},
	{"apple-map", 512, "PM\x00\x00", nil},
	{"ext2", 1080, "\x53\xef", func(s []byte) bool {
		inodes := le.Uint32(s) > 0 || le.Uint32(s[96:])&extJournal != 0 // a journal by itself has none
		return inodes && le.Uint32(s[4:]) > 0 && le.Uint32(s[24:]) <= 6 && le.Uint32(s[76:]) <= 1
	}},
	{"btrfs", 0x10040, "_BHRfS_M", nil},
	{"xfs", 0, "XFSB", func(s []byte) bool { return powerOfTwo(be.Uint32(s[4:]), 512, 65536) }},
	{"f2fs", 1024, "\x10\x20\xf5\xf2", func(s []byte) bool { return le.Uint16(s[4:]) == 1 }},
	{"f2fs", 4096 + 1024, "\x10\x20\xf5\xf2", func(s []byte) bool { return le.Uint16(s[4:]) == 1 }}, // its second superblock
	{"jfs", 0x8000, "JFS1", func(s []byte) bool { return le.Uint32(s[4:]) <= 2 }},
	{"reiserfs", 0x10034, "ReIsEr", nil}, {"reiserfs", 0x2034, "ReIsEr", nil},
	{"squashfs", 0, "hsqs", func(s []byte) bool { return le.Uint16(s[28:]) == 4 }},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0", func(s []byte) bool { return s[12] >= 9 && s[12] <= 16 }},
	{"ufs", 0x255C, "\x54\x19\x01\x00", nil}, {"ufs", 0x255C, "\x00\x01\x19\x54", nil}, // the second version may lie in either place
	{"ufs", 0x255C, "\x19\x01\x54\x19", nil}, {"ufs", 0x1055C, "\x19\x01\x54\x19", nil},
	{"iso9660", 0x8001, "CD001", nil},
	// Drivers take any of these for the first descriptor, and go on to the one that counts, wherever it is.
	{"udf", 0x8001, "NSR0", nil}, {"udf", 0x8001, "BOOT2", nil}, {"udf", 0x8001, "TEA01", nil}, {"udf", 0x8001, "CDW02", nil},
	{"udf", 0x8001, "BEA01", nil}, {"udf", 0x8801, "BEA01", nil}, {"udf", 0x9001, "BEA01", nil},
	{"udf", 0x8801, "NSR0", nil}, {"udf", 0x9001, "NSR0", nil}, {"udf", 0x9801, "NSR0", nil}, {"udf", 0xA001, "NSR0", nil},
	// Behind the descriptors of ISO 9660, of which a disc that starts computers and has every tree has five and more.
	{"udf", 0xA801, "NSR0", nil}, {"udf", 0xB001, "NSR0", nil}, {"udf", 0xB801, "NSR0", nil}, {"udf", 0xC001, "NSR0", nil},
	{"udf", 0xC801, "NSR0", nil}, {"udf", 0xD001, "NSR0", nil}, {"udf", 0xD801, "NSR0", nil}, {"udf", 0xE001, "NSR0", nil},
	{"lvm2", 0, "LABELONE", nil}, {"lvm2", 512, "LABELONE", nil}, {"lvm2", 1024, "LABELONE", nil}, {"lvm2", 1536, "LABELONE", nil},
	{"md", 0, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00", func(s []byte) bool { return le.Uint32(s[8:]) == 90 || le.Uint32(s[8:]) == 91 }},
	{"md", 0, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", nil}, {"md", 4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", nil},
	{"ldm", 0xC00, "PRIVHEAD", nil},
	{"zfs", 0x20000, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil}, {"zfs", 0x20400, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil},
	{"zfs", 0x20800, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil}, {"zfs", 0x21000, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil},
	{"swap", 0xFF6, "SWAPSPACE2", nil}, {"swap", 0x1FF6, "SWAPSPACE2", nil}, {"swap", 0x3FF6, "SWAPSPACE2", nil},
	{"swap", 0xFFF6, "SWAPSPACE2", nil}, {"swap", 0xFF6, "SWAP-SPACE", nil},
	{"qcow2", 0, "QFI\xfb", func(s []byte) bool { return be.Uint32(s[4:]) >= 2 && be.Uint32(s[4:]) <= 3 }},
	{"vhd", 0, "conectix", nil},
	{"vhdx", 0, "vhdxfile", nil},
	{"vmdk", 0, "KDMV", func(s []byte) bool { return le.Uint32(s[4:]) >= 1 && le.Uint32(s[4:]) <= 3 }},
	{"vdi", 64, "\x7f\x10\xda\xbe", nil},
	{"ewf", 0, "EVF\x09\x0d\x0a\xff\x00", nil},
	// Of these nobody makes a stick, but Linux reads them, and a FAT volume has room for them in its reserved sectors.
	{"romfs", 0, "-rom1fs-", nil},
	{"cramfs", 0, "\x45\x3d\xcd\x28", nil}, {"cramfs", 512, "\x45\x3d\xcd\x28", nil},
	{"gfs2", 0x10000, "\x01\x16\x19\x70\x00\x00\x00\x01", nil},
	{"ocfs2", 0x400, "OCFSV2", nil}, {"ocfs2", 0x800, "OCFSV2", nil}, {"ocfs2", 0x1000, "OCFSV2", nil}, {"ocfs2", 0x2000, "OCFSV2", nil},
	{"hpfs", 0x2000, "\x49\xe8\x95\xf9", nil},
	{"nilfs2", 1030, "\x34\x34", func(s []byte) bool { return le.Uint32(s) == 2 }},
	{"minix", 1040, "\x7f\x13", minixZones}, {"minix", 1040, "\x8f\x13", minixZones},
	{"minix", 1040, "\x68\x24", minixZones}, {"minix", 1040, "\x78\x24", minixZones},
	{"minix", 1048, "\x5a\x4d", minixBlocks},
	// Tables of partitions that Linux follows (block/partitions in its source), some before it looks for a master boot
	// record and some inside a partition, and that leave room for a volume around them: what they point to can lie in the
	// free clusters of a volume that was read.
	{"sgi-label", 0, "\x0b\xe5\xa9\x41", nil},
	{"sun-label", 508, "\xda\xbe", sunSum},
	{"bsd-label", 512, "\x57\x45\x56\x82", nil}, {"bsd-label", 64, "\x57\x45\x56\x82", nil},
	{"solaris-label", 512 + 12, "\xee\xde\x0d\x60", nil},
	{"unixware-label", 29*512 + 4, "\x0d\x60\x5e\xca", nil},
	{"ultrix-label", 16384 - 72, "\x57\x29\x03\x00", nil},
	{"sysv68-label", 0xF8, "MOTOROLA", nil},
	{"amiga-label", 0, "RDSK", nil}, {"amiga-label", 1 * 512, "RDSK", nil}, {"amiga-label", 2 * 512, "RDSK", nil},
	{"amiga-label", 3 * 512, "RDSK", nil}, {"amiga-label", 4 * 512, "RDSK", nil}, {"amiga-label", 5 * 512, "RDSK", nil},
	{"amiga-label", 6 * 512, "RDSK", nil}, {"amiga-label", 7 * 512, "RDSK", nil}, {"amiga-label", 8 * 512, "RDSK", nil},
	{"amiga-label", 9 * 512, "RDSK", nil}, {"amiga-label", 10 * 512, "RDSK", nil}, {"amiga-label", 11 * 512, "RDSK", nil},
	{"amiga-label", 12 * 512, "RDSK", nil}, {"amiga-label", 13 * 512, "RDSK", nil}, {"amiga-label", 14 * 512, "RDSK", nil},
	{"amiga-label", 15 * 512, "RDSK", nil},
}

// minixZones are facts of a Minix superblock beside its magic, which alone is in every 30 MB of random data: there are
// inodes, bitmaps of a believable size, and zones of one block. minixBlocks is the same for the third version.
func minixZones(s []byte) bool {
	return le.Uint16(s) > 0 && le.Uint16(s[4:])-1 < 1<<10 && le.Uint16(s[6:])-1 < 1<<10 && le.Uint16(s[10:]) == 0
}

func minixBlocks(s []byte) bool {
	return le.Uint32(s) > 0 && le.Uint16(s[6:])-1 < 1<<10 && le.Uint16(s[8:])-1 < 1<<10 && le.Uint16(s[12:]) == 0 &&
		powerOfTwo(uint32(le.Uint16(s[28:])), 1024, 4096)
}

// sunSum is the checksum of a Sun disk label, whose magic alone is too short: all 16-bit words together are zero.
func sunSum(sector []byte) bool {
	var sum uint16
	for i := 0; i < 512; i += 2 {
		sum ^= be.Uint16(sector[i:])
	}
	return sum == 0
}

// in reports whether sector, which starts at bytes before the magic, has it.
func (g *signature) in(sector []byte) bool {
	at := g.at % 512
	return string(sector[at:][:len(g.magic)]) == g.magic && (g.check == nil || g.check(sector))
}

// bitlockerToGo is the GUID that BitLocker To Go keeps at byte 424 of what looks like a FAT32 boot sector. The files that
// such a volume shows hold the encrypted volume.
const bitlockerToGo = "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01"

// hit is one thing that a range may be.
type hit struct {
	name  string
	bytes int64 // its size by its own words; 0 if it does not say
}

// identify names everything that the first bytes of a range may be. More than one is a polyglot.
func identify(b []byte) []hit {
	var hits []hit
	add := func(h hit) {
		if !slices.ContainsFunc(hits, func(other hit) bool { return other.name == h.name }) {
			hits = append(hits, h)
		}
	}
	if h, ok := identifyFAT(b); ok {
		add(h)
	}
	for i := range signatures {
		g := &signatures[i]
		base := g.at - g.at%512
		if int64(len(b)) < base+512 || !g.in(b[base:]) {
			continue
		}
		add(g.hit(b[base:]))
	}
	return hits
}

// identifyFAT is for the one format without a magic: a boot sector is FAT if a FAT driver would take it. One that only a
// careless driver takes is FAT too, of unknown length, and its reader refuses it.
func identifyFAT(b []byte) (hit, bool) {
	h := hit{}
	if p, err := ParseBPB(b); err == nil {
		h = hit{p.Type(), p.Total}
	} else if name, ok := likeFAT(b); ok {
		h.name = name
	} else {
		return hit{}, false
	}
	if string(b[424:440]) == bitlockerToGo {
		h = hit{name: "bitlocker-to-go"}
	}
	return h, true
}

// hit names what was found, given the sector of the magic.
func (g *signature) hit(sector []byte) hit {
	switch g.name {
	case "exfat":
		// The spec's section 3.1: volume length in sectors, and the sector size as a power of two.
		if shift, sectors := sector[108], le.Uint64(sector[72:]); shift >= 9 && shift <= 12 && sectors > 0 && sectors < 1<<40 {
			return hit{g.name, int64(sectors) << shift}
		}
	case "ntfs":
		// The number of sectors leaves out the last, which holds the copy of this one.
		size, sectors := int64(le.Uint16(sector[11:])), le.Uint64(sector[40:])
		if powerOfTwo(uint32(size), 512, 4096) && sectors > 0 && sectors < 1<<40 {
			return hit{g.name, int64(sectors+1) * size}
		}
	case "iso9660":
		// Only a primary descriptor says how long a volume is; of a disc in sessions it is that of one.
		if block := int64(le.Uint16(sector[128:])); sector[0] == 1 && powerOfTwo(uint32(block), 512, 2048) {
			return hit{g.name, int64(le.Uint32(sector[80:])) * block}
		}
	case "ext2":
		return hitExt(sector)
	}
	return hit{name: g.name}
}

// extJournal marks an ext superblock that stands before a journal, and no volume.
const extJournal = 0x8

// hitExt names an ext volume as blkid does: by its journal, and by the features that came after ext3.
func hitExt(super []byte) hit {
	const (
		journal, wide          = 0x4, 0x80
		incompatExt3           = 0x2 | 0x4 | extJournal | 0x10 // types in directories, recovery, meta_bg
		roExt3                 = 0x1 | 0x2 | 0x4               // sparse superblocks, large files, B-trees
		largestShift, mostSize = 6, 1 << 62
	)
	incompat := le.Uint32(super[96:])
	h := hit{name: "ext2"}
	switch {
	case incompat&extJournal != 0:
		h.name = "ext-journal"
	case incompat&^uint32(incompatExt3) != 0 || le.Uint32(super[100:])&^uint32(roExt3) != 0:
		h.name = "ext4"
	case le.Uint32(super[92:])&journal != 0:
		h.name = "ext3"
	}
	blocks := uint64(le.Uint32(super[4:]))
	if incompat&wide != 0 {
		blocks |= uint64(le.Uint32(super[336:])) << 32
	}
	if shift := le.Uint32(super[24:]); shift <= largestShift && blocks < mostSize>>(10+shift) {
		h.bytes = int64(blocks) << (10 + shift)
	}
	return h
}

// unknownName is for data that no signature fits.
func unknownName(b []byte) string {
	if len(b) >= randomBytes && entropy(b[:randomBytes]) > randomEntropy {
		return "random"
	}
	return "unknown"
}

// entropy in bits per byte.
func entropy(b []byte) (h float64) {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(b))
			h -= p * math.Log2(p)
		}
	}
	return h
}

func powerOfTwo(n, least, most uint32) bool { return n >= least && n <= most && n&(n-1) == 0 }

// Names lists every name that a Candidate can have, for those who need words for each.
func Names() []string {
	names := []string{"fat12", "fat16", "fat32", "bitlocker-to-go", "ext-journal", "ext3", "ext4", "random", "unknown"}
	for _, g := range signatures {
		names = append(names, g.name)
	}
	for _, name := range gptKinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
