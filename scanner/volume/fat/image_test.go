package fat

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// image is a volume made by package stick, and what is done to it afterwards.
type image struct {
	*volumetest.Mutant
	made  *stick.Volume
	files []stick.File
}

func build(t testing.TB, spec stick.FAT, files []stick.File) *image {
	t.Helper()
	m := stick.NewMemory(spec.Bytes)
	made, err := stick.WriteFAT(m, spec, files)
	if err != nil {
		t.Fatal(err)
	}
	return &image{&volumetest.Mutant{Source: m}, made, files}
}

func (i *image) patch(at int64, b ...byte) {
	i.Edits = append(i.Edits, volumetest.Edit{Offset: at, New: b})
}

func (i *image) bytes(at int64, n int) []byte {
	b := make([]byte, n)
	if got, err := i.ReadAt(b, at); got < n {
		panic(err)
	}
	return b
}

// link sets an entry of every copy of the allocation table.
func (i *image) link(c, to uint32) {
	for k := range i.made.FATs {
		i.linkIn(k, c, to)
	}
}

func (i *image) linkIn(table int, c, to uint32) {
	at := i.made.FAT + int64(table)*i.made.FATBytes + int64(c)*int64(i.made.Bits)/8
	switch i.made.Bits {
	case 12:
		old := le.Uint16(i.bytes(at, 2))
		if c&1 == 1 {
			i.patch(at, le.AppendUint16(nil, old&0xF|uint16(to)<<4)...)
		} else {
			i.patch(at, le.AppendUint16(nil, old&0xF000|uint16(to)&0xFFF)...)
		}
	case 16:
		i.patch(at, le.AppendUint16(nil, uint16(to))...)
	default:
		i.patch(at, le.AppendUint32(nil, to)...)
	}
}

// The marks, cut to the width of the table by link.
const (
	markBad = 0x0FFFFFF7
	markEnd = 0x0FFFFFFF
)

// mark cuts a mark to the width of the table.
func (i *image) mark(m uint32) uint32 { return m & (1<<min(i.made.Bits, 28) - 1) }

// root is the number by which an entry may name the root directory.
func (i *image) root() uint32 {
	if i.made.Bits == 32 {
		return i.made.Chain[""][0]
	}
	return 0
}

func (i *image) setSize(path string, size uint32) {
	i.patch(i.made.Record[path]+28, le.AppendUint32(nil, size)...)
}

func (i *image) setFirst(path string, c uint32) { i.setFirstAt(i.made.Record[path], c) }

func (i *image) setFirstAt(at int64, c uint32) {
	i.patch(at+26, byte(c), byte(c>>8))
	i.patch(at+20, byte(c>>16), byte(c>>24))
}

func (i *image) setAttr(path string, attr byte) { i.patch(i.made.Record[path]+11, attr) }

// list reads the whole image. The reader must keep its agreements, whatever the image is.
func (i *image) list(t testing.TB, opts volume.Options) volumetest.Listing {
	t.Helper()
	v, err := Open(i)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(context.Background(), i, v, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (i *image) truth(t testing.TB) volumetest.Truth {
	t.Helper()
	truth := volumetest.Truth{}
	for k := range i.files {
		if f := &i.files[k]; !f.Dir {
			data, err := io.ReadAll(f.Content())
			if err != nil {
				t.Fatal(err)
			}
			truth[f.Path] = volumetest.FileOf(data)
		}
	}
	return truth
}

func (i *image) metadata() []volume.Extent {
	var out []volume.Extent
	for _, m := range i.made.Meta {
		out = append(out, volume.Extent{Start: m[0], Bytes: m[1]})
	}
	return out
}

func find(l volumetest.Listing, path string) *volume.Entry {
	for k := range l.Entries {
		if l.Entries[k].Path == path {
			return &l.Entries[k]
		}
	}
	return nil
}

func hasRule(findings []report.Finding, rule string) bool {
	return slices.ContainsFunc(findings, func(f report.Finding) bool { return f.Rule == rule })
}

// area returns the content of the first area whose description begins so.
func (i *image) area(t testing.TB, l volumetest.Listing, prefix string) []byte {
	t.Helper()
	for _, e := range l.Entries {
		if e.Kind == report.Area && strings.HasPrefix(e.Path, prefix) {
			var all []byte
			for _, x := range e.Extents {
				all = append(all, i.bytes(x.Start, int(x.Bytes))...)
			}
			return all
		}
	}
	t.Fatalf("there is no area %q", prefix)
	return nil
}

var specs = map[int]stick.FAT{
	12: {Bits: 12, Bytes: 2 << 20, Label: "TWELVE"},
	16: {Bits: 16, Bytes: 8 << 20, Label: "SIXTEEN"},
	32: {Bits: 32, Bytes: 36 << 20, Label: "THIRTYTWO"},
}

// some files that the crafted cases damage. Every content is different.
func someFiles() []stick.File {
	fill := func(c byte, n int) []byte {
		b := bytes.Repeat([]byte{c}, n)
		for i := 0; i < n; i += 100 {
			b[i] = byte(i / 100)
		}
		return b
	}
	return []stick.File{
		{Path: "BIG.BIN", Data: fill('b', 40*512)},
		{Path: "SHORT.TXT", Data: fill('s', 700)},
		{Path: "EMPTY.TXT"},
		{Path: "A long name with ünïcode 🏥.docx", Data: fill('l', 3000)},
		{Path: "Scattered file.bin", Data: fill('x', 6*512), Scatter: true},
		{Path: "Folder/Inner folder/Deep file.txt", Data: fill('d', 1000)},
		{Path: "Folder/ONE.TXT", Data: fill('1', 512)},
		{Path: "Folder/TWO.TXT", Data: fill('2', 513)},
		{Path: "Folder/Empty one", Dir: true},
		{Path: "LAST.TXT", Data: fill('z', 1)},
	}
}
