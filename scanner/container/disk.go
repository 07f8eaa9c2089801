package container

import (
	"io"
	"slices"
	"strings"
)

// Virtual disks: what lies where in a file. A disk that is a change to another one (differencing, linked clone) cannot be seen
// whole, and is told as packed content.
const (
	// diskMaxBytes is the largest disk: 64 TiB is what VHDX allows.
	diskMaxBytes = 64 << 40
	// diskMaxTable bounds a table of blocks: 64 MiB address 16 TiB in blocks of a megabyte.
	diskMaxTable = 64 << 20
	vhdFooter    = "conectix"
	vhdSparse    = "cxsparse"
)

// blockMap is a disk in blocks of one size, each somewhere in the file or nowhere.
type blockMap struct {
	c     *Content
	size  int64
	block int64
	at    []int64 // of each block; -1 is zeros
}

// ReadAt follows io.ReaderAt.
func (m *blockMap) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off >= m.size {
			return n, io.EOF
		}
		i, within := off/m.block, off%m.block
		part := p[n:min(int64(len(p)), int64(n)+min(m.block-within, m.size-off))]
		if i >= int64(len(m.at)) || m.at[i] < 0 {
			clear(part)
		} else if k, err := m.c.ReadAt(part, m.at[i]+within); k < len(part) {
			if err == nil || err == io.EOF {
				err = errNoBlock
			}
			return n + k, err
		}
		n, off = n+len(part), off+int64(len(part))
	}
	return n, nil
}

// from is the next byte that is stored.
func (m *blockMap) from(off int64) int64 {
	i := off / m.block
	if i < int64(len(m.at)) && m.at[i] >= 0 {
		return off
	}
	for ; i < int64(len(m.at)); i++ {
		if m.at[i] >= 0 {
			return i * m.block
		}
	}
	return m.size
}

// open opens the disk.
func (m *blockMap) open(c *Content, l *layer) error {
	if m.size <= 0 || m.size > diskMaxBytes || m.block < imageSector {
		return ErrMalformed
	}
	return l.disk(&disk{ReaderAt: m, walk: l.walk, size: m.size, from: m.from}, c)
}

// table reads a table of blocks.
func (c *Content) table(off, n int64) []byte {
	if n < 0 || n > diskMaxTable || off < 0 || off > c.Size-n {
		return nil
	}
	b := make([]byte, n)
	if !c.read(b, off) {
		return nil
	}
	return b
}

// VHD: https://learn.microsoft.com/en-us/windows/win32/vstor/about-vhd
func isVhd(c *Content) bool { return c.has(c.Size-512, vhdFooter) || c.has(0, vhdFooter) }

func openVhd(c *Content, l *layer) error {
	f := c.piece(c.Size-512, 512)
	if f == nil || string(f[:8]) != vhdFooter {
		f = c.piece(0, 512)
		l.damaged()
	}
	size := int64(be.Uint64(f[48:]))
	switch be.Uint32(f[60:]) {
	case 2: // fixed: the disk as it is, and the footer
		return l.disk(&disk{ReaderAt: c, walk: l.walk, size: c.Size - 512}, c)
	case 3:
	default:
		return errUnknown
	}
	h := c.piece(int64(be.Uint64(f[16:])), 1024)
	if h == nil || string(h[:8]) != vhdSparse {
		return ErrMalformed
	}
	block, entries := int64(be.Uint32(h[32:])), int64(be.Uint32(h[28:]))
	if block < 4096 || block&(block-1) != 0 || block > 1<<30 {
		return ErrMalformed
	}
	entries = min(entries, (size+block-1)/block)
	t := c.table(int64(be.Uint64(h[16:])), 4*entries)
	if t == nil || size < 0 {
		return ErrMalformed
	}
	bitmap := (block/512/8 + 511) / 512 * 512 // which sectors of the block are stored; the others are zero in it
	m := &blockMap{c: c, size: size, block: block, at: make([]int64, entries)}
	for i := range m.at {
		if v := be.Uint32(t[4*i:]); v == 0xFFFFFFFF {
			m.at[i] = -1
		} else {
			m.at[i] = int64(v)*512 + bitmap
		}
	}
	return m.open(c, l)
}

// VHDX: [MS-VHDX], https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/
const (
	vhdxMagic   = "vhdxfile"
	vhdxRegions = 192 << 10
)

var (
	vhdxBAT      = "\x66\x77\xC2\x2D\x23\xF6\x00\x42\x9D\x64\x11\x5E\x9B\xFD\x4A\x08"
	vhdxMetadata = "\x06\xA2\x7C\x8B\x90\x47\x9A\x4B\xB8\xFE\x57\x5F\x05\x0F\x88\x6E"
	vhdxParams   = "\x37\x67\xA1\xCA\x36\xFA\x43\x4D\xB3\xB6\x33\xF0\xAA\x44\xE7\x6B"
	vhdxSize     = "\x24\x42\xA5\x2F\x1B\xCD\x76\x48\xB2\x11\x5D\xBE\xD8\x3B\xF4\xB8"
	vhdxSector   = "\x1D\xBF\x41\x81\x6F\xA9\x09\x47\xBA\x47\xF2\x33\xA8\xFA\xAB\x5F"
)

func isVhdx(c *Content) bool { return c.has(0, vhdxMagic) }

func openVhdx(c *Content, l *layer) error {
	// A log that was not played back changes the tables: nobody can say what the disk holds.
	for _, at := range []int64{64 << 10, 128 << 10} {
		if h := c.piece(at, 80); h != nil && string(h[:4]) == "head" && string(h[48:64]) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" {
			l.damaged()
		}
	}
	regions := c.piece(vhdxRegions, 64<<10)
	if regions == nil || string(regions[:4]) != "regi" {
		return ErrMalformed
	}
	var bat, meta int64
	var batBytes int64
	for i := range min(int(le.Uint32(regions[8:])), 2047) {
		e := regions[16+32*i:][:32]
		switch string(e[:16]) {
		case vhdxBAT:
			bat, batBytes = int64(le.Uint64(e[16:])), int64(le.Uint32(e[24:]))
		case vhdxMetadata:
			meta = int64(le.Uint64(e[16:]))
		}
	}
	t := c.piece(meta, 64<<10)
	if t == nil || string(t[:8]) != "metadata" {
		return ErrMalformed
	}
	var block, size, sector int64
	parent := false
	for i := range min(int(le.Uint16(t[10:])), 2047) {
		e := t[32+32*i:][:32]
		v := c.piece(meta+int64(le.Uint32(e[16:])), 8)
		if v == nil {
			continue
		}
		switch string(e[:16]) {
		case vhdxParams:
			block, parent = int64(le.Uint32(v)), le.Uint32(v[4:])&2 != 0
		case vhdxSize:
			size = int64(le.Uint64(v))
		case vhdxSector:
			sector = int64(le.Uint32(v))
		}
	}
	if parent {
		return errUnknown
	}
	if block < 1<<20 || block > 256<<20 || block&(block-1) != 0 || sector != 512 && sector != 4096 || size <= 0 || size > diskMaxBytes {
		return ErrMalformed
	}
	ratio := (1 << 23) * sector / block // blocks between two bitmaps
	blocks := (size + block - 1) / block
	entries := blocks + (blocks-1)/ratio
	b := c.table(bat, min(batBytes, 8*entries))
	if int64(len(b)) < 8*entries {
		return ErrMalformed
	}
	m := &blockMap{c: c, size: size, block: block, at: make([]int64, blocks)}
	for i := range m.at {
		v := le.Uint64(b[8*(int64(i)+int64(i)/ratio):])
		m.at[i] = -1
		switch v & 7 {
		case 6, 7: // present, whole or in parts
			m.at[i] = int64(v >> 20 << 20)
		}
	}
	return m.open(c, l)
}

// VMDK: sparse extents in one file, https://www.vmware.com/app/vmdk/?src=vmdk ("Virtual Disk Format 5.0"). Streamed ones
// have packed grains, and are told as packed content with those of several files.
func isVmdk(c *Content) bool {
	h := c.piece(0, 8)
	return h != nil && (string(h[:4]) == "KDMV" && le.Uint32(h[4:]) >= 1 && le.Uint32(h[4:]) <= 3) || c.has(0, "# Disk DescriptorFile") || c.has(0, "COWD")
}

func openVmdk(c *Content, l *layer) error {
	h := c.piece(0, 512)
	if h == nil || string(h[:4]) != "KDMV" {
		return errUnknown
	}
	flags, capacity, grain := le.Uint32(h[8:]), int64(le.Uint64(h[12:])), int64(le.Uint64(h[20:]))
	perTable, directory := int64(le.Uint32(h[44:])), int64(le.Uint64(h[56:]))
	if flags&(1<<16|1<<17) != 0 || le.Uint16(h[77:]) != 0 {
		return errUnknown
	}
	if grain < 1 || grain > 1<<16 || grain&(grain-1) != 0 || perTable < 1 || perTable > 1<<16 || capacity <= 0 || capacity > diskMaxBytes/512 ||
		directory <= 0 || directory > diskMaxBytes/512 {
		return ErrMalformed
	}
	// A clone names its parent in the descriptor.
	if at, n := int64(le.Uint64(h[28:])), int64(le.Uint64(h[36:])); at > 0 && at < 1<<32 && n > 0 {
		text := string(c.piece(at*512, min(n*512, 64<<10, max(0, c.Size-at*512))))
		if strings.Contains(text, "parentFileNameHint") || strings.Contains(text, "parentCID=") && !strings.Contains(text, "parentCID=ffffffff") {
			return errUnknown
		}
	}
	grains := (capacity + grain - 1) / grain
	tables := (grains + perTable - 1) / perTable
	d := c.table(directory*512, 4*tables)
	if d == nil || grains > diskMaxTable/4 {
		return ErrMalformed
	}
	m := &blockMap{c: c, size: capacity * 512, block: grain * 512, at: slices.Repeat([]int64{-1}, int(grains))}
	for i := range tables {
		at := int64(le.Uint32(d[4*i:]))
		if at == 0 {
			continue
		}
		n := min(perTable, grains-i*perTable)
		t := c.piece(at*512, 4*n)
		if t == nil {
			l.damaged()
			continue
		}
		for j := range n {
			if v := int64(le.Uint32(t[4*j:])); v > 1 { // 1 is a grain of zeros
				m.at[i*perTable+j] = v * 512
			}
		}
	}
	return m.open(c, l)
}
