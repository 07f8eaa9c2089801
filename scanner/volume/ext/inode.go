package ext

import (
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Types of file, in the upper bits of an inode's mode.
const (
	typeMask    = 0xF000
	typeFIFO    = 0x1000
	typeChar    = 0x2000
	typeFolder  = 0x4000
	typeBlock   = 0x6000
	typeFile    = 0x8000
	typeLink    = 0xA000
	typeSocket  = 0xC000
	inlineBytes = 60 // of an inode, for what says where the content lies, or for the content
)

// Flags of an inode.
const (
	flagEncrypted = 0x800
	flagIndex     = 0x1000
	flagHuge      = 0x40000
	flagExtents   = 0x80000
	flagVerity    = 0x100000
	flagEA        = 0x200000
	flagInline    = 0x10000000
)

// inode is one inode. Its bytes belong to it.
type inode struct {
	number     int64
	raw        []byte
	mode       uint16
	links      uint16
	flags      uint32
	size       int64
	sectors    int64 // that its blocks take, in units of 512 bytes
	attributes int64 // block of its extended attributes; 0 if there is none
	seed       uint32
	sealed     bool // its checksum is right
}

func (in *inode) kind() uint16      { return in.mode & typeMask }
func (in *inode) folder() bool      { return in.kind() == typeFolder }
func (in *inode) has(f uint32) bool { return in.flags&f != 0 }

// body is what says where the content lies, or the content.
func (in *inode) body() []byte { return in.raw[40 : 40+inlineBytes] }

// blank reports whether nothing was ever kept in an inode, or nothing is left of it.
func (in *inode) blank() bool { return in.mode == 0 && in.links == 0 }

// inodeAt is the place of an inode in the volume, or 0 if its group has no table.
func (fs *FS) inodeAt(number int64) int64 {
	g := &fs.geo
	table := int64(fs.groups[(number-1)/g.inodesPerGroup].table)
	if table == 0 {
		return 0
	}
	return table<<g.shift + (number-1)%g.inodesPerGroup*g.inode
}

// inode reads one inode, whose number is one of the volume's.
func (fs *FS) inode(number int64) (*inode, error) {
	at := fs.inodeAt(number)
	if at == 0 {
		return nil, volume.Malformed("its group has no table of inodes.")
	}
	raw := make([]byte, fs.geo.inode)
	if err := fs.readFull(raw, at); err != nil {
		return nil, &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error where its inode lies."}
	}
	return fs.geo.parseInode(number, raw), nil
}

// parseInode reads an inode and keeps its bytes.
func (g *geometry) parseInode(number int64, raw []byte) *inode {
	in := &inode{number: number, raw: raw, mode: le.Uint16(raw), links: le.Uint16(raw[26:]), flags: le.Uint32(raw[32:])}
	size := uint64(le.Uint32(raw[4:]))
	if in.kind() == typeFile || in.folder() && g.incompat&incompatLargeDir != 0 {
		size |= uint64(le.Uint32(raw[108:])) << 32
	}
	in.size = int64(min(size, 1<<62)) // what is clamped is larger than any volume
	in.sectors = int64(le.Uint32(raw[28:]))
	if g.ro&roHuge != 0 {
		in.sectors |= int64(le.Uint16(raw[116:])) << 32
		if in.has(flagHuge) {
			in.sectors <<= g.shift - 9
		}
	}
	in.attributes = int64(le.Uint32(raw[104:]))
	if g.incompat&incompat64 != 0 {
		in.attributes |= int64(le.Uint16(raw[118:])) << 32
	}
	if g.summed() {
		in.seed = g.inodeSeed(number, le.Uint32(raw[100:]))
	}
	in.sealed = g.inodeSealed(number, raw)
	return in
}

// faults are what contradicts itself in an inode that a directory names, as the ends of sentences.
func (in *inode) faults() []string {
	var out []string
	if !in.sealed {
		out = append(out, "its checksum is wrong")
	}
	if in.links == 0 {
		out = append(out, "it is deleted")
	}
	switch in.kind() {
	case typeFIFO, typeChar, typeBlock, typeSocket:
		if in.size != 0 || in.has(flagExtents|flagInline) {
			out = append(out, "it is no file and has content")
		}
	case typeFolder, typeFile, typeLink:
	default:
		out = append(out, "it is of a kind that is not known")
	}
	if in.has(flagEA) {
		out = append(out, "it is the attribute of another file")
	}
	return out
}
