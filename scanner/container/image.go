package container

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
)

// Images of disks go through the readers that media go through: every partition, every gap, every file, and what is damaged
// or has no reader is told. Content that begins with a partition table, a file system or a disc is an image; so are the
// formats of virtual disks, which say where each block of the disk lies (disk.go).
const (
	imageSector = 512
	// imageLeast is less than any volume with a file takes.
	imageLeast = 16 << 10
	// A disc says what it is in the sectors from the sixteenth on, one byte into each (ECMA-167 2/8). A blank one among the
	// first stops some systems and not others.
	recognition = 16*2048 + 1
	recognized  = 16 // sectors that are looked at
	// imagePieces bounds the pieces that one file lies in.
	imagePieces = 1 << 20
)

// disk is an image as the readers want it. Reads of it are looked at for the context and the clock.
type disk struct {
	io.ReaderAt
	walk *walk
	size int64
	from func(off int64) int64 // the next byte that is not known to be zero; nil if nothing is known
}

func (d *disk) Size() int64     { return d.size }
func (d *disk) SectorSize() int { return imageSector }

// DataFrom implements volume.Sparse.
func (d *disk) DataFrom(off int64) int64 {
	if d.from == nil {
		return off
	}
	return d.from(off)
}

// ReadAt counts what is read: a table that points in circles costs as much as one that does not.
func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.walk.spend(int64(len(p))); err != nil {
		return 0, err
	}
	return d.ReaderAt.ReadAt(p, off)
}

// isImage: a file system that is known by its first sectors, or a partition table with a partition that begins inside.
func isImage(c *Content) bool {
	if c.Size < imageLeast || c.has(c.Size-512, vhdFooter) {
		return false // the footer makes it a virtual disk
	}
	for at := int64(recognition); at < recognition+recognized*2048; at += 2048 {
		if c.has(at, "CD001") || c.has(at, "BEA01") || c.has(at, "NSR0") {
			return true
		}
	}
	if c.has(512, "EFI PART") || c.has(3, "NTFS    ") || c.has(3, "EXFAT   ") || c.has(3, "-FVE-FS-") || c.has(0, "LUKS\xBA\xBE") {
		return true
	}
	if b := c.piece(1024, 128); b != nil && le.Uint16(b[56:]) == 0xEF53 && le.Uint32(b) > 0 && le.Uint32(b[4:]) > 0 && le.Uint32(b[24:]) <= 6 && le.Uint32(b[76:]) <= 1 {
		return true // ext
	}
	if c.has(1024, "H+\x00\x04") || c.has(1024, "HX\x00\x05") || c.has(32, "NXSB") || c.has(0x10040, "_BHRfS_M") {
		return true
	}
	b := c.piece(0, imageSector)
	if b == nil || b[510] != 0x55 || b[511] != 0xAA {
		return false
	}
	sector := le.Uint16(b[11:])
	jump := b[0] == 0xEB || b[0] == 0xE9
	if jump && (sector == 512 || sector == 1024 || sector == 2048 || sector == 4096) && b[13] != 0 && b[13]&(b[13]-1) == 0 && le.Uint16(b[14:]) > 0 &&
		b[16] >= 1 && b[16] <= 4 && (b[21] == 0xF0 || b[21] >= 0xF8) {
		return true // FAT
	}
	used := 0
	for i := range 4 {
		e := b[446+16*i:][:16]
		start, length := int64(le.Uint32(e[8:])), int64(le.Uint32(e[12:]))
		switch {
		case e[0]&0x7F != 0, e[4] != 0 && (start == 0 || start*imageSector >= c.Size || length == 0):
			return false
		case e[4] != 0:
			used++
		}
	}
	return used > 0
}

func openImage(c *Content, l *layer) error {
	return l.disk(&disk{ReaderAt: c, walk: l.walk, size: c.Size}, c)
}

// disk opens the image of a disk. Members have the volume's number before their path if there are several.
func (l *layer) disk(d *disk, c *Content) error {
	layout, err := volume.Map(l.ctx, d)
	if err != nil {
		return &fault{err}
	}
	if l.stopped != nil {
		return l.stopped
	}
	for _, f := range layout.Found {
		if f.Rule != "empty-medium" {
			l.result.Findings = append(l.result.Findings, f)
		}
	}
	for i := range layout.Regions {
		switch r := &layout.Regions[i]; r.Class {
		case report.NotUnderstood, report.RegionUnreadable, report.RegionMissing:
			l.damaged()
		}
	}
	for _, e := range layout.Areas {
		if err := l.entry(d, 0, d.size, "", e); err != nil {
			return err
		}
	}
	for i, v := range layout.Volumes {
		prefix := ""
		if len(layout.Volumes) > 1 {
			prefix = "volume " + string(rune('0'+min(i, 9))) + "/"
		}
		if err := l.volume(d, v, prefix); err != nil {
			return err
		}
		if l.stopped != nil {
			return l.stopped
		}
	}
	return nil
}

// volume opens one volume of an image. The trees of a disc lead to the same files, which are opened once.
func (l *layer) volume(d *disk, v volume.Candidate, prefix string) error {
	fs, err := readers.Open(d, v)
	if err != nil {
		_, outcome := readers.OutcomeOf(v, err)
		switch outcome {
		case report.Encrypted:
			l.result.refuse(outcome)
		case report.Malformed, report.Unreadable:
			l.damaged()
		default:
			l.note(packedContent()) // a file system that nobody here reads
		}
		return nil
	}
	seen := map[string]bool{}
	sum, err := fs.Walk(l.ctx, volume.Options{}, func(e volume.Entry) error {
		if l.stopped != nil {
			return l.stopped
		}
		// What a tree says is packed, or cannot be read, is not what another says lies there as it is.
		if e.Kind == report.File && e.Decode == nil && !e.Opaque && (e.Outcome == report.Unscanned || e.Outcome.Seen()) {
			key := placeOf(&e)
			if e.Tree > 0 && seen[key] {
				return l.count()
			}
			seen[key] = true
		}
		return l.entry(d, v.Start, v.Bytes, prefix, e)
	})
	if l.stopped != nil {
		return l.stopped
	}
	if err != nil {
		return err
	}
	for _, f := range sum.Findings {
		l.result.Findings = append(l.result.Findings, f)
	}
	if sum.Outcome != report.Clean {
		l.damaged()
	}
	return nil
}

// placeOf tells the content of one entry from another's.
func placeOf(e *volume.Entry) string {
	b := le.AppendUint64(le.AppendUint64(nil, uint64(e.Size)), uint64(e.Valid))
	for _, x := range e.Extents {
		b = le.AppendUint64(le.AppendUint64(b, uint64(x.Start)), uint64(x.Bytes))
	}
	return string(append(b, e.Inline...))
}

// entry hands on a file, stream or area of a volume that begins at base.
func (l *layer) entry(d *disk, base, length int64, prefix string, e volume.Entry) error {
	m := Member{Name: prefix + e.Path, Size: e.Size, Area: e.Kind == report.Area}
	bad := func(o report.Outcome) error {
		m.Outcome = o
		return l.member(m)
	}
	switch {
	case e.Kind == report.Directory:
		if e.Outcome != report.Clean {
			l.damaged()
		}
		return l.member(m)
	case e.Opaque:
		m.Unknown, m.Open = true, func() (io.Reader, error) { return bytes.NewReader(nil), nil }
		return l.member(m)
	case e.Outcome != report.Unscanned && !e.Outcome.Seen():
		m.Outcome = e.Outcome
	case e.Size < 0 || len(e.Extents) > imagePieces:
		return bad(report.Malformed)
	}
	want := min(max(e.Valid, 0), e.Size)
	var pieces []volume.Extent
	have := min(int64(len(e.Inline)), want)
	for _, x := range e.Extents {
		if x.Bytes < 0 || x.Start >= 0 && (x.Start > length || x.Bytes > length-x.Start) {
			return bad(report.Malformed)
		}
		if x.Bytes = min(x.Bytes, want-have); x.Bytes == 0 {
			continue
		}
		have += x.Bytes
		if x.Start >= 0 {
			x.Start += base
		}
		pieces = append(pieces, x)
	}
	if have < want {
		l.damaged()
		m.Size = have
	}
	if e.Decode != nil {
		m.Open = func() (io.Reader, error) {
			return io.NewSectionReader(e.Decode(volume.Section(d, base, length)), 0, e.Size), nil
		}
		return l.member(m)
	}
	inline, size := slices.Clone(e.Inline[:min(int64(len(e.Inline)), want)]), m.Size
	if len(inline) == 0 && len(pieces) == 1 && pieces[0].Start >= 0 && pieces[0].Bytes == size {
		m.At = io.NewSectionReader(d, pieces[0].Start, size)
	}
	m.Open = func() (io.Reader, error) { return &extents{disk: d, inline: inline, pieces: pieces, left: size}, nil }
	return l.member(m)
}

// extents reads the pieces of a file one after the other, and zeros where there are none.
type extents struct {
	disk   *disk
	inline []byte
	pieces []volume.Extent
	at     int64 // in the first piece
	left   int64
}

func (x *extents) Read(p []byte) (int, error) {
	if x.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), x.left)]
	var n int
	var err error
	switch {
	case len(x.inline) > 0:
		n = copy(p, x.inline)
		x.inline = x.inline[n:]
	case len(x.pieces) == 0:
		clear(p)
		n = len(p)
	default:
		e := x.pieces[0]
		p = p[:min(int64(len(p)), e.Bytes-x.at)]
		if e.Start < 0 {
			clear(p)
			n = len(p)
		} else if n, err = x.disk.ReadAt(p, e.Start+x.at); n == len(p) {
			err = nil
		} else if err == io.EOF || err == nil {
			err = io.ErrUnexpectedEOF
		}
		if x.at += int64(n); x.at == e.Bytes {
			x.pieces, x.at = x.pieces[1:], 0
		}
	}
	x.left -= int64(n)
	return n, err
}

var errNoBlock = errors.New("container: a block of a virtual disk lies outside of the file")
