package container

import (
	"bytes"
	"math"
)

// Programs: what their own headers say belongs to them, so that what does not is seen.
//
//	PE            https://learn.microsoft.com/en-us/windows/win32/debug/pe-format
//	MZ            the sizes at 2 and 4 of its header; what the newer headers of NE, LE and LX name is not followed
//	ELF           https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html, chapters 4 and 5
//	Mach-O, fat   https://developer.apple.com/documentation/kernel/mach_header and <mach-o/fat.h>
//	DEX           https://source.android.com/docs/core/runtime/dex-format
const (
	// maxSections bounds section and segment tables. Windows loads at most 96 sections, a kernel module has some hundreds.
	maxSections = 4096
	// maxSlices is more than any fat file has; a class file of Java, with the same first bytes, says 45 or more there.
	maxSlices  = 32
	maxCommand = 1 << 20 // bytes of load commands of a Mach-O file: a large one has 20 KB
	peAlign    = 512     // to which the loader cuts where a section begins
)

// span is a range of the content.
type span struct{ at, end int64 }

func (s span) size() int64 { return s.end - s.at }

// section is a section of a PE file: where it lies in the file, and where in memory.
type section struct {
	name     string
	raw      span
	va, size uint32
}

// program is what the headers of a program say.
type program struct {
	end      int64     // behind everything that the headers name
	signed   span      // the table of certificates of a PE file, which lies behind the rest
	entry    int64     // where the program begins to run, -1 if that is nowhere in the file
	sections []section // of a PE file
	tree     uint32    // where its resources lie in memory, 0 if it has none
	slices   []span    // of a fat file
}

// readProgram returns nil for what is no program.
func readProgram(c *Content) *program {
	h := c.piece(0, 4)
	if h == nil {
		return nil
	}
	switch {
	case string(h[:2]) == "MZ" || string(h[:2]) == "ZM":
		return readMZ(c)
	case string(h) == "\x7FELF":
		return readELF(c)
	case le.Uint32(h) == 0xFEEDFACE || le.Uint32(h) == 0xFEEDFACF:
		return readMachO(c)
	case be.Uint32(h) == 0xCAFEBABE || be.Uint32(h) == 0xCAFEBABF:
		return readFat(c)
	case string(h) == "dex\n":
		if n := c.piece(32, 4); n != nil && c.has(7, "\x00") {
			return &program{end: int64(le.Uint32(n)), entry: -1}
		}
	}
	return nil
}

// reach moves the end behind a range, if that lies in the content: a range that does not is a lie, or not in the file.
func (p *program) reach(c *Content, at, n uint64) {
	if n > 0 && at <= uint64(c.Size) {
		p.end = max(p.end, int64(at+min(n, uint64(c.Size)-at)))
	}
}

func readMZ(c *Content) *program {
	h := c.piece(0, 64)
	if h == nil {
		return nil
	}
	at := int64(le.Uint32(h[60:]))
	if sign := c.piece(at, 4); sign != nil {
		switch string(sign[:2]) {
		case "PE":
			return readPE(c, at)
		case "NE", "LE", "LX", "LZ", "W3", "W4":
			return &program{end: c.Size, entry: -1}
		}
	} else if at < c.Size && at >= int64(len(c.Head)) && c.At == nil && int64(len(c.Head)) < c.Size {
		return &program{entry: -1} // not in memory to be asked
	}
	last, pages := int64(le.Uint16(h[2:])), int64(le.Uint16(h[4:]))
	if pages == 0 || last >= 512 {
		return nil
	}
	end := pages * 512
	if last > 0 {
		end += last - 512
	}
	return &program{end: end, entry: 16*(int64(le.Uint16(h[8:]))+int64(int16(le.Uint16(h[22:])))) + int64(le.Uint16(h[20:]))}
}

func readPE(c *Content, at int64) *program {
	const header, sectionSize = 24, 40
	h := c.piece(at, header)
	if h == nil || string(h[:4]) != "PE\x00\x00" {
		return nil
	}
	n, size := int64(le.Uint16(h[6:])), int64(le.Uint16(h[20:]))
	opt, table := c.piece(at+header, size), c.piece(at+header+size, min(n, maxSections)*sectionSize)
	if opt == nil || table == nil || len(opt) < 64 {
		return &program{end: c.Size, entry: -1} // Windows does not load it
	}
	p := &program{entry: -1}
	p.reach(c, 0, uint64(le.Uint32(opt[60:])))
	for ; len(table) > 0; table = table[sectionSize:] {
		s := section{name: string(bytes.TrimRight(table[:8], "\x00")), size: le.Uint32(table[8:]), va: le.Uint32(table[12:])}
		raw, from := int64(le.Uint32(table[16:])), int64(le.Uint32(table[20:]))&^(peAlign-1)
		if from > 0 && from < c.Size {
			s.raw = span{from, min(from+raw, c.Size)}
			p.reach(c, uint64(from), uint64(raw))
		}
		p.sections = append(p.sections, s)
	}
	p.entry = p.place(le.Uint32(opt[16:]))
	directories := 96
	if le.Uint16(opt) == 0x20B {
		directories = 112
	}
	directory := func(i int) (at, n uint32) {
		if d := directories + 8*i; d+8 <= len(opt) && uint32(i) < le.Uint32(opt[directories-4:]) {
			return le.Uint32(opt[d:]), le.Uint32(opt[d+4:])
		}
		return 0, 0
	}
	p.tree, _ = directory(2)
	if from, n := directory(4); n > 0 && int64(from) >= p.end && int64(from) < c.Size {
		p.signed = span{int64(from), min(int64(from)+int64(n), c.Size)}
	}
	// Symbols of the kind that MinGW and Go write lie behind the sections, and their names behind them. A table of symbols that
	// is not followed by a table of names that fits is none.
	if from, n := int64(le.Uint32(h[8:])), int64(le.Uint32(h[12:])); from >= p.end && from > 0 && n > 0 {
		if names := c.piece(from+18*n, 4); names != nil && int64(le.Uint32(names)) <= c.Size-from-18*n {
			p.end = from + 18*n + max(4, int64(le.Uint32(names)))
		}
	}
	return p
}

// place is where an address of memory lies in the file, -1 if nowhere.
func (p *program) place(va uint32) int64 {
	for _, s := range p.sections {
		if off := int64(va) - int64(s.va); off >= 0 && off < s.raw.size() {
			return s.raw.at + off
		}
	}
	return -1
}

func readELF(c *Content) *program {
	h := c.piece(0, 64)
	if h == nil || h[4] != 1 && h[4] != 2 || h[5] != 1 && h[5] != 2 {
		return nil
	}
	u16, u32, u64 := le.Uint16, le.Uint32, le.Uint64
	if h[5] == 2 {
		u16, u32, u64 = be.Uint16, be.Uint32, be.Uint64
	}
	// Two kinds of tables, in two widths: where the offset and the size of what an entry names stand in it.
	type kind struct {
		at       uint64
		count    uint16
		size     uint16
		off, len int
		nothing  uint32 // the type that names nothing of the file
		typeAt   int
	}
	word, kinds := func(b []byte) uint64 { return u64(b) }, []kind{
		{u64(h[32:]), u16(h[56:]), u16(h[54:]), 8, 32, math.MaxUint32, 0}, {u64(h[40:]), u16(h[60:]), u16(h[58:]), 24, 32, 8, 4}}
	if h[4] == 1 {
		word, kinds = func(b []byte) uint64 { return uint64(u32(b)) }, []kind{
			{uint64(u32(h[28:])), u16(h[44:]), u16(h[42:]), 4, 16, math.MaxUint32, 0}, {uint64(u32(h[32:])), u16(h[48:]), u16(h[46:]), 16, 20, 8, 4}}
	}
	p := &program{entry: -1}
	p.reach(c, 0, 52)
	for _, k := range kinds {
		n := int64(min(k.count, maxSections)) * int64(k.size)
		if k.at == 0 || k.at > uint64(c.Size) || int(k.size) < k.len+8 {
			continue
		}
		p.reach(c, k.at, uint64(n))
		for t := c.piece(int64(k.at), n); len(t) >= int(k.size); t = t[k.size:] {
			if u32(t[k.typeAt:]) != k.nothing {
				p.reach(c, word(t[k.off:]), word(t[k.len:]))
			}
		}
	}
	return p
}

func readMachO(c *Content) *program {
	h := c.piece(0, 28)
	if h == nil {
		return nil
	}
	at := int64(28)
	if le.Uint32(h) == 0xFEEDFACF {
		at = 32
	}
	commands := c.piece(at, min(int64(le.Uint32(h[20:])), maxCommand))
	p := &program{entry: -1}
	p.reach(c, 0, uint64(at)+uint64(le.Uint32(h[20:])))
	for len(commands) >= 8 {
		kind, n := le.Uint32(commands), int(le.Uint32(commands[4:]))
		if n < 8 || n > len(commands) {
			break
		}
		switch b := commands[:n]; {
		case kind == 1 && n >= 40: // LC_SEGMENT
			p.reach(c, uint64(le.Uint32(b[32:])), uint64(le.Uint32(b[36:])))
		case kind == 0x19 && n >= 56: // LC_SEGMENT_64
			p.reach(c, le.Uint64(b[40:]), le.Uint64(b[48:]))
		case kind == 2 && n >= 24: // LC_SYMTAB: its strings are last
			p.reach(c, uint64(le.Uint32(b[16:])), uint64(le.Uint32(b[20:])))
		case kind == 0x1D && n >= 16: // LC_CODE_SIGNATURE
			p.reach(c, uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:])))
		}
		commands = commands[n:]
	}
	return p
}

func readFat(c *Content) *program {
	h := c.piece(0, 8)
	if h == nil || be.Uint32(h[4:]) == 0 || be.Uint32(h[4:]) > maxSlices {
		return nil
	}
	wide := be.Uint32(h) == 0xCAFEBABF
	size, p := int64(20), &program{entry: -1}
	if wide {
		size = 32
	}
	for i := range int64(be.Uint32(h[4:])) {
		b := c.piece(8+i*size, size)
		if b == nil {
			break
		}
		at, n := uint64(be.Uint32(b[8:])), uint64(be.Uint32(b[12:]))
		if wide {
			at, n = be.Uint64(b[8:]), be.Uint64(b[16:])
		}
		if at == 0 || at >= uint64(c.Size) || n == 0 {
			continue
		}
		p.reach(c, at, n)
		p.slices = append(p.slices, span{int64(at), int64(at + min(n, uint64(c.Size)-at))})
	}
	if len(p.slices) == 0 {
		return nil
	}
	return p
}
