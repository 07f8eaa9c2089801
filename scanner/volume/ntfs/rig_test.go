package ntfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

const mega = 1 << 20

// corpusBytes is the volume that testdata/corpus.py made.
var corpusBytes = sync.OnceValues(func() ([]byte, error) {
	f, err := os.Open(filepath.Join("testdata", "corpus.img.gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
})

func corpus(t testing.TB) volume.Source {
	t.Helper()
	data, err := corpusBytes()
	if err != nil {
		t.Fatal(err)
	}
	return volumetest.Bytes(data, 512)
}

// list opens and reads a volume, which must be possible.
func list(t testing.TB, src volume.Source, opts volume.Options) volumetest.Listing {
	t.Helper()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(context.Background(), src, fs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// healthy fails the test unless the listing is that of a healthy volume, on which files may have been deleted.
func healthy(t testing.TB, l volumetest.Listing) {
	t.Helper()
	if l.Bars() {
		t.Errorf("a healthy volume is %v: %s", l.Summary.Outcome, l.Summary.Reason)
	}
	for _, f := range l.Summary.Findings {
		if f.Rule == "deleted-entries" && f.Severity == report.Inform {
			continue
		}
		t.Errorf("finding on a healthy volume: %+v", f)
	}
}

// bench is the corpus with changes, for crafted cases.
type bench struct {
	t testing.TB
	m *volumetest.Mutant
}

func newBench(t testing.TB) bench { return bench{t, &volumetest.Mutant{Source: corpus(t)}} }

func (b bench) write(at int64, data ...byte) {
	b.m.Edits = append(b.m.Edits, volumetest.Edit{Offset: at, New: bytes.Clone(data)})
}

func (b bench) read(at, n int64) []byte {
	b.t.Helper()
	p := make([]byte, n)
	if _, err := b.m.ReadAt(p, at); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b bench) open() *FS {
	b.t.Helper()
	fs, err := Open(b.m)
	if err != nil {
		b.t.Fatal(err)
	}
	return fs.(*FS)
}

func (b bench) list() volumetest.Listing {
	b.t.Helper()
	return list(b.t, b.m, volume.Options{})
}

// numbers has the record of each file by its name without the directory; the names of the corpus are each there once.
var numbers = sync.OnceValues(func() (map[string]int64, error) {
	data, err := corpusBytes()
	if err != nil {
		return nil, err
	}
	opened, err := Open(volumetest.Bytes(data, 512))
	if err != nil {
		return nil, err
	}
	fs, found := opened.(*FS), map[string]int64{}
	for n := range fs.records() {
		if f, err := fs.file(n); err == nil && f.inUse && f.base == 0 {
			links, _ := f.links()
			for _, l := range links {
				found[l.name] = n
			}
		}
	}
	return found, nil
})

func (b bench) number(name string) int64 {
	b.t.Helper()
	all, err := numbers()
	n, ok := all[name]
	if err != nil || !ok {
		b.t.Fatalf("no record of %q: %v", name, err)
	}
	return n
}

// place is where a record lies.
func (b bench) place(number int64) int64 {
	b.t.Helper()
	return b.placer()(number)
}

// placer is place for many records, as long as the table stays where it is.
func (b bench) placer() func(number int64) int64 {
	b.t.Helper()
	table := b.open().table
	return func(number int64) int64 {
		b.t.Helper()
		for i, x := range table.extents {
			if off := number * 1024; off < table.ends[i] {
				return x.Start + off - (table.ends[i] - x.Bytes)
			}
		}
		b.t.Fatalf("no record %d", number)
		return 0
	}
}

// record changes a record as somebody does who means it: its sectors belong together again.
func (b bench) record(number int64, change func(raw []byte) []byte) {
	b.t.Helper()
	raw := b.read(b.place(number), 1024)
	if err := mend(raw); err != nil {
		b.t.Fatal(err)
	}
	b.write(b.place(number), seal(change(raw))...)
}

// seal puts the numbers back that mend took out.
func seal(raw []byte) []byte {
	at, n := int(le.Uint16(raw[4:])), int(le.Uint16(raw[6:]))
	for i := 1; i < n; i++ {
		end := raw[i*stride-2 : i*stride]
		copy(raw[at+2*i:], end)
		copy(end, raw[at:at+2])
	}
	return raw
}

// attribute is the place of an attribute within a record that was mended.
func (b bench) attribute(raw []byte, kind uint32, name string) int {
	b.t.Helper()
	for at := int(le.Uint16(raw[20:])); le.Uint32(raw[at:]) != typeEnd; at += int(le.Uint32(raw[at+4:])) {
		own := raw[at+int(le.Uint16(raw[at+10:])):][:2*int(raw[at+9])]
		if le.Uint32(raw[at:]) == kind && volume.WTF8(units16(own)) == name {
			return at
		}
	}
	b.t.Fatalf("no attribute %#x %q", kind, name)
	return 0
}

// field changes eight bytes of an attribute.
func (b bench) field(name string, kind uint32, at int, value uint64) {
	b.t.Helper()
	b.record(b.number(name), func(raw []byte) []byte {
		le.PutUint64(raw[b.attribute(raw, kind, "")+at:], value)
		return raw
	})
}

// insert puts a resident attribute into a record, behind the others.
func (b bench) insert(number int64, kind uint32, name string, value []byte) {
	b.t.Helper()
	b.record(number, func(raw []byte) []byte { return b.inserted(raw, kind, name, value) })
}

func (b bench) inserted(raw []byte, kind uint32, name string, value []byte) []byte {
	b.t.Helper()
	body := make([]byte, 512)
	body = body[:resident(body, kind, name, value)]
	le.PutUint16(body[14:], 99)
	body = append(body, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
	end := int(le.Uint32(raw[24:])) - 8
	if end+len(body) > 1016 {
		b.t.Fatal("no room in the record")
	}
	copy(raw[end:], body)
	le.PutUint32(raw[24:], uint32(end+len(body)))
	return raw
}

// rename changes a name everywhere, in records and indexes, to one of the same length. It fails if a name lies across the
// end of a sector, where two of its bytes are elsewhere.
func rename(t testing.TB, from, to []uint16) (bench, bool) {
	t.Helper()
	b := newBench(t)
	text := func(units []uint16) (out []byte) {
		for _, u := range units {
			out = le.AppendUint16(out, u)
		}
		return out
	}
	old, fresh := text(from), text(to)
	data, err := corpusBytes()
	if err != nil || len(old) != len(fresh) {
		t.Fatalf("%v; %d and %d bytes", err, len(old), len(fresh))
	}
	for at := 0; ; at += len(old) {
		i := bytes.Index(data[at:], old)
		if i < 0 {
			break
		}
		at += i
		b.write(int64(at), fresh...)
	}
	return b, !b.list().Has("names-differ")
}

// renamed takes some file of the directory "many" and gives it the name that make returns for what it is called.
func renamed(t testing.TB, make func(name []uint16)) bench {
	t.Helper()
	for n := 400; n < 500; n++ {
		from := units(fmt.Sprintf("a file with a longer name, number %04d.txt", n))
		to := slices.Clone(from)
		make(to)
		if b, ok := rename(t, from, to); ok {
			return b
		}
	}
	t.Fatal("no name lies within one sector")
	return bench{}
}

func units(s string) []uint16 { return utf16.Encode([]rune(s)) }

// metadata is where the structures of a volume lie.
func metadata(t testing.TB, src volume.Source) []volume.Extent {
	t.Helper()
	opened, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	fs := opened.(*FS)
	ranges := []volume.Extent{{Start: 0, Bytes: 512}}
	ranges = append(ranges, fs.table.extents...)
	for n := range fs.records() {
		f, err := fs.file(n)
		if err != nil || !f.inUse || f.base != 0 {
			continue
		}
		for _, s := range f.streams {
			structure := s.kind == typeIndexBlock || s.kind == typeBitmap || s.kind == typeList ||
				s.kind == typeData && s.name == "" && (n == recordMirror || n == recordBitmap)
			if structure && !s.resident {
				ranges = append(ranges, s.extents...)
			}
		}
	}
	return append(ranges, volume.Extent{Start: fs.geo.length, Bytes: 512})
}

// tool runs a program that must succeed.
func tool(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		name = "/usr/sbin/" + name
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), err)
	}
	return out
}

func areas(l volumetest.Listing, prefix string) (n int) {
	for _, e := range l.Entries {
		if e.Kind == report.Area && strings.HasPrefix(e.Path, prefix) {
			n++
		}
	}
	return n
}
