package udf

import (
	"io"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Types of files in an ICB tag (4/14.6.6, UDF 2.3.5.2).
const (
	typeDirectory = 4
	typeRegular   = 5
	typeLink      = 12
	typeStreams   = 13
	typeVAT       = 248
	typeRealTime  = 249
	typeMetadata  = 250
	typeMirror    = 251
	typeBitmap    = 252
)

// Kinds of a piece (4/14.14.1.1).
const (
	recorded   = 0
	unrecorded = 1 // has blocks, and reads as zeros
	hole       = 2
	goesOn     = 3 // the list goes on there
)

// file is what a file entry says, plain or extended (4/14.9, 4/14.17).
type file struct {
	kind       byte
	size       int64
	links      int
	place      int64           // of the entry on the volume: what a file is known by
	taken      []volume.Extent // blocks of entries and lists
	extents    []volume.Extent // of the content, in order; a negative start is a hole
	behind     []volume.Extent // blocks that are kept for the content to grow
	embedded   bool            // the content is in the entry
	attributes bool            // the entry holds extended attributes
	short      bool            // the last piece ends before the content does, within a block
	extra      address         // of a file of more attributes
	streams    address         // of the directory of its streams
	err        error           // why the content cannot be found in full
}

// file reads the entry at an address. An error means that there is none; what is wrong with the content is in the file.
// pause is asked now and then whether to go on.
func (fs *FS) file(at address, pause func() error) (*file, error) {
	raw := make([]byte, fs.block)
	var taken []volume.Extent
	var current []byte
	var place volume.Extent
	where := at
	for n := 0; ; n++ {
		if n > maxIndirect {
			return nil, volume.Malformed("it leads from one state to the next without end.")
		}
		x, err := fs.readBlock(raw, at)
		if err != nil {
			if n > 0 && volume.Zero(raw) {
				break // the next state was never written
			}
			return nil, err
		}
		taken = append(taken, x)
		switch tagOf(raw) {
		case tagFile, tagExtendedFile:
			current, place, where = append(current[:0], raw...), x, at
		case tagIndirect:
			if err := fs.step(); err != nil {
				return nil, err
			}
			at = longAD(raw[36:])
			continue
		case tagTerminal:
			if current == nil {
				return nil, volume.Malformed("it ends before it begins.")
			}
		default:
			return nil, volume.Malformed("it is no entry of a file.")
		}
		// In the strategy of discs that are written once, the block behind an entry may say where the next state is.
		if tagOf(raw) == tagTerminal || le.Uint16(raw[20:]) != 4096 || at.bytes <= fs.block {
			break
		}
		at.block, at.bytes = at.block+1, at.bytes-fs.block
	}
	f, err := fs.parseFile(current, where, place.Start, pause)
	if err != nil {
		return nil, err
	}
	f.taken = append(f.taken, taken...)
	return f, nil
}

// step counts blocks that lead to others. Each has one owner, so there are no more steps than blocks on a volume that is
// whole, and on one that many entries share, or that leads in a circle, no more either.
func (fs *FS) step() error {
	if fs.steps++; fs.steps > fs.blocks {
		return &volume.Fault{Outcome: report.TooLarge, Text: "entries and lists lead on more often than the volume has blocks."}
	}
	return nil
}

// parseFile reads an entry.
func (fs *FS) parseFile(raw []byte, at address, place int64, pause func() error) (*file, error) {
	f := &file{kind: raw[27], links: int(le.Uint16(raw[48:])), size: int64(min(le.Uint64(raw[56:]), 1<<62)), place: place}
	fixed, lengths, extra := int64(176), int64(168), int64(112)
	if tagOf(raw) == tagExtendedFile {
		fixed, lengths, extra = 216, 208, 136
		f.streams = longAD(raw[152:])
	}
	f.extra = longAD(raw[extra:])
	if strategy := le.Uint16(raw[20:]); strategy != 4 && strategy != 4096 {
		return nil, volume.Malformed("it is kept by a strategy that is not known.")
	}
	attributes, list := int64(le.Uint32(raw[lengths:])), int64(le.Uint32(raw[lengths+4:]))
	if fixed+attributes+list > fs.block {
		return nil, volume.Malformed("it is longer than its block.")
	}
	f.attributes = attributes > 0
	ads := raw[fixed+attributes : fixed+attributes+list]
	switch le.Uint16(raw[34:]) & 7 {
	case 0:
		f.err = fs.pieces(f, ads, 8, at.part, pause)
	case 1:
		f.err = fs.pieces(f, ads, 16, at.part, pause)
	case 3:
		f.embedded = true
		if f.size != list {
			f.err = volume.Malformed("its length and its content do not agree.")
		} else if f.size > 0 {
			f.extents = []volume.Extent{{Start: place + fixed + attributes, Bytes: f.size}}
		}
	default:
		f.err = volume.Malformed("its pieces are listed in a form that is not known.")
	}
	return f, nil
}

// pieces follows a list of allocation descriptors of so many bytes each.
func (fs *FS) pieces(f *file, ads []byte, width int, part int, pause func() error) error {
	var have int64
	ended := false // a piece that does not fill its last block is the last
	for lists := 0; ; {
		var next address
		for ; len(ads) >= width; ads = ads[width:] {
			a := address{part: part}
			if width == 16 {
				a = longAD(ads)
			} else {
				n := le.Uint32(ads)
				a.bytes, a.kind, a.block = int64(n&(1<<30-1)), byte(n>>30), int64(le.Uint32(ads[4:]))
			}
			if a.bytes == 0 {
				break
			}
			if a.kind == goesOn {
				next = a
				break
			}
			if ended && have < f.size {
				return volume.Malformed("a piece of it ends within a block.")
			}
			ended = a.bytes%fs.block != 0
			if err := fs.piece(f, a, &have); err != nil {
				return err
			}
		}
		if next.bytes == 0 {
			break
		}
		if lists++; lists > maxContinued {
			return &volume.Fault{Outcome: report.TooLarge, Text: "its pieces are listed in more blocks than this program follows."}
		}
		if err := fs.step(); err != nil {
			return err
		}
		if pause != nil {
			if err := pause(); err != nil {
				return err
			}
		}
		raw := make([]byte, fs.block)
		x, err := fs.readBlock(raw, address{bytes: next.bytes, block: next.block, part: next.part})
		if err != nil {
			return err
		}
		f.taken = append(f.taken, x)
		n := int64(le.Uint32(raw[20:]))
		if tagOf(raw) != tagContinued || n > fs.block-24 {
			return volume.Malformed("the list of its pieces leads to something else.")
		}
		ads = raw[24 : 24+n]
	}
	// Linux (6.1, in blocks of 512 bytes) leaves the length of a last piece behind when a file grows within a block, and reads
	// the whole block all the same. So the block is taken; a system that goes by the length sees less.
	if rest := f.size - have; rest > 0 {
		k := len(f.extents) - 1
		if !ended || k < 0 || f.extents[k].Start < 0 || rest > fs.block-have%fs.block {
			return volume.Malformed("its pieces are shorter than it is.")
		}
		f.extents[k].Bytes += rest
		f.short = true
	}
	return nil
}

// piece adds one piece to the content, or behind it.
func (fs *FS) piece(f *file, a address, have *int64) error {
	if a.kind != recorded {
		if n := min(a.bytes, f.size-*have); n > 0 {
			f.extents = append(f.extents, volume.Extent{Start: -1, Bytes: n})
		}
		*have += a.bytes
		return fs.crowded(f)
	}
	blocks := (a.bytes + fs.block - 1) / fs.block
	for at := int64(0); at < blocks; {
		x, err := fs.locate(a.part, a.block+at, blocks-at)
		if err != nil {
			return err
		}
		if x.Start+x.Bytes > fs.src.Size() {
			return volume.Malformed("it reaches behind the end of the medium.")
		}
		at += x.Bytes / fs.block
		n := min(x.Bytes, a.bytes, max(f.size-*have, 0))
		if n > 0 {
			if k := len(f.extents) - 1; k >= 0 && f.extents[k].Start >= 0 && f.extents[k].Start+f.extents[k].Bytes == x.Start {
				f.extents[k].Bytes += n
			} else {
				f.extents = append(f.extents, volume.Extent{Start: x.Start, Bytes: n})
			}
		}
		if whole := (n + fs.block - 1) / fs.block * fs.block; whole < x.Bytes {
			f.behind = append(f.behind, volume.Extent{Start: x.Start + whole, Bytes: x.Bytes - whole})
		}
		*have += min(x.Bytes, a.bytes)
		a.bytes -= min(x.Bytes, a.bytes)
	}
	return fs.crowded(f)
}

func (fs *FS) crowded(f *file) error {
	if len(f.extents)+len(f.behind) > maxPieces {
		return &volume.Fault{Outcome: report.TooLarge, Text: "it lies in more pieces than this program follows."}
	}
	return nil
}

// readContent reads a part of a file for this package itself.
func (fs *FS) readContent(extents []volume.Extent, p []byte, off int64) error {
	for _, x := range extents {
		if len(p) == 0 {
			return nil
		}
		if off >= x.Bytes {
			off -= x.Bytes
			continue
		}
		n := min(x.Bytes-off, int64(len(p)))
		if x.Start < 0 {
			clear(p[:n])
		} else if got, err := fs.meta.ReadAt(p[:n], x.Start+off); got < int(n) {
			if err == io.EOF {
				return volume.Malformed("it reaches behind the end of the medium.")
			}
			return &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error."}
		}
		p, off = p[n:], 0
	}
	if len(p) > 0 {
		return volume.Malformed("its pieces are shorter than it is.")
	}
	return nil
}
