package ntfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// large is a volume of a terabyte that is made up while it is read: the corpus' own files in front, and a table with many
// records behind, whose files lie in as many folders.
type large struct {
	small   []byte
	old     int64 // records of the corpus
	records int64
	table   int64 // where the made-up part of the table lies
	marks   int64 // the table's bitmap
	bitmap  int64
	first   int64 // cluster of the first made-up file
	size    int64
	special map[int64][]byte // records that are something else, by their number behind the corpus' own
}

const (
	largeBytes  = 1 << 40
	largeFolder = 1000 // files of one folder
)

// newLarge changes the boot sector, $MFT, its copy and $Bitmap so that they cover the made-up part.
func newLarge(t testing.TB, records int64) *large {
	t.Helper()
	b := newBench(t)
	fs := b.open()
	old := (fs.records() + 3) &^ 3 // whole clusters
	v := &large{records: records, size: largeBytes}
	cluster := int64(64 * mega / 4096)
	take := func(bytes int64) int64 {
		at := cluster
		cluster += (bytes + 4095) / 4096
		return at * 4096
	}
	v.table = take(records * 1024)
	v.marks = take((old+records)/8 + 8)
	v.bitmap = take(largeBytes / 4096 / 8)
	v.first = cluster
	b.write(40, le.AppendUint64(nil, largeBytes/512-1)...)
	runs := func(raw []byte, kind uint32, size int64, extents ...volume.Extent) []byte {
		at := b.attribute(raw, kind, "")
		var list []byte
		var clusters, last int64
		for _, x := range extents {
			n := (x.Bytes + 4095) / 4096
			wide, far := compact(n), compact(x.Start/4096-last)
			list = append(append(append(list, byte(len(far)<<4|len(wide))), wide...), far...)
			clusters, last = clusters+n, x.Start/4096
		}
		list = append(list, 0)
		end := at + int(le.Uint32(raw[at+4:]))
		tail := append([]byte(nil), raw[end:le.Uint32(raw[24:])]...)
		le.PutUint16(raw[at+32:], 64)
		n := (64 + len(list) + 7) &^ 7
		copy(raw[at+64:], list)
		copy(raw[at+n:], tail)
		le.PutUint32(raw[at+4:], uint32(n))
		le.PutUint32(raw[24:], uint32(at+n+len(tail)))
		le.PutUint64(raw[at+24:], uint64(clusters-1))
		for field, value := range map[int]int64{40: clusters * 4096, 48: size, 56: size} {
			le.PutUint64(raw[at+field:], uint64(value))
		}
		return raw
	}
	b.record(recordTable, func(raw []byte) []byte {
		pieces := append([]volume.Extent(nil), fs.table.extents...)
		for i := range pieces {
			pieces[i].Bytes = min(pieces[i].Bytes, fs.table.size-(fs.table.ends[i]-pieces[i].Bytes))
		}
		raw = runs(raw, typeBitmap, (old+records)/8+8, volume.Extent{Start: v.marks, Bytes: (old+records)/8 + 8})
		return runs(raw, typeData, (old+records)*1024, append(pieces, volume.Extent{Start: v.table, Bytes: records * 1024})...)
	})
	b.write(fs.geo.mirror, b.read(b.place(0), 1024)...)
	b.record(recordBitmap, func(raw []byte) []byte {
		return runs(raw, typeData, largeBytes/4096/8, volume.Extent{Start: v.bitmap, Bytes: largeBytes / 4096 / 8})
	})
	v.small = b.read(0, 64*mega)
	v.old = old
	return v
}

// compact is a number in as few bytes as keep its sign.
func compact(n int64) []byte {
	var b []byte
	for {
		last := byte(n)
		b, n = append(b, last), n>>8
		if n == int64(int8(last))>>7 {
			return b
		}
	}
}

func (v *large) Size() int64     { return v.size }
func (v *large) SectorSize() int { return 512 }

// ReadAt makes up what is asked for, in steps of a sector.
func (v *large) ReadAt(p []byte, off int64) (int, error) {
	if off < int64(len(v.small)) {
		n := copy(p, v.small[off:])
		p, off = p[n:], off+int64(n)
		if len(p) == 0 {
			return n, nil
		}
		m, err := v.ReadAt(p, off)
		return n + m, err
	}
	done := 0
	record := make([]byte, 1024)
	for done < len(p) {
		at := off + int64(done)
		switch {
		case at < v.table+v.records*1024:
			n := (at - v.table) / 1024
			v.record(record, n)
			done += copy(p[done:], record[(at-v.table)%1024:])
		case at >= v.marks && at < v.bitmap:
			p[done] = 0xFF
			done++
		default:
			n := min(int64(len(p)-done), 4096-at%4096)
			clear(p[done : done+int(n)])
			if at%4096 == 0 && at/4096 >= v.first && n >= 8 {
				le.PutUint64(p[done:], uint64(at)) // so that no two clusters of files are the same
			}
			done += int(n)
		}
	}
	return done, nil
}

// record makes up the n-th record behind the corpus' own: a folder for each thousand, files in it.
func (v *large) record(raw []byte, n int64) {
	if special, ok := v.special[n]; ok {
		copy(raw, special)
		return
	}
	number := v.old + n
	header(raw, number)
	parent, name := refer(number-n%largeFolder, 1), fmt.Sprintf("file number %09d.dcm", n)
	if n%largeFolder == 0 {
		parent, name = refer(recordRoot, 5), fmt.Sprintf("folder %09d", n)
		raw[22] = 3
	}
	at := 56 + resident(raw[56:], typeName, "", nameValue(parent, name))
	if n%largeFolder == 0 {
		index := make([]byte, 48)
		le.PutUint32(index, typeName)
		le.PutUint32(index[4:], byName)
		le.PutUint32(index[8:], 4096)
		le.PutUint32(index[16:], 16)
		le.PutUint32(index[20:], 32)
		le.PutUint16(index[40:], 16)
		index[44] = 2
		at += resident(raw[at:], typeIndexRoot, indexName, index)
	} else {
		list := append([]byte{0x81, 1}, le.AppendUint64(nil, uint64(v.first+n))...)
		at += stored(raw[at:], typeData, 0, 1, 3000, append(list, 0))
	}
	finish(raw, at)
}

// header begins a record, whose attributes begin at 56.
func header(raw []byte, number int64) {
	clear(raw)
	copy(raw, "FILE")
	le.PutUint16(raw[4:], 48)
	le.PutUint16(raw[6:], 3)
	le.PutUint16(raw[16:], 1)
	le.PutUint16(raw[20:], 56)
	le.PutUint16(raw[22:], 1)
	le.PutUint32(raw[28:], 1024)
	le.PutUint32(raw[44:], uint32(number))
	le.PutUint16(raw[48:], 1)
}

func finish(raw []byte, at int) {
	le.PutUint32(raw[at:], typeEnd)
	le.PutUint32(raw[24:], uint32(at+8))
	seal(raw)
}

func nameValue(parent reference, name string) []byte {
	value := le.AppendUint64(nil, uint64(parent))
	value = append(value, make([]byte, 58)...)
	value[64] = byte(len(name))
	for _, u := range units(name) {
		value = le.AppendUint16(value, u)
	}
	return value
}

// stored is an attribute, or a piece of one, in clusters of 4096 bytes.
func stored(a []byte, kind uint32, first, clusters, size int64, list []byte) int {
	n := (64 + len(list) + 7) &^ 7
	le.PutUint32(a, kind)
	le.PutUint32(a[4:], uint32(n))
	a[8] = 1
	le.PutUint64(a[16:], uint64(first))
	le.PutUint64(a[24:], uint64(first+clusters-1))
	le.PutUint16(a[32:], 64)
	if first == 0 {
		le.PutUint64(a[40:], uint64((size+4095)&^4095))
		le.PutUint64(a[48:], uint64(size))
		le.PutUint64(a[56:], uint64(size))
	}
	copy(a[64:], list)
	return n
}

func resident(a []byte, kind uint32, name string, value []byte) int {
	at := 24
	le.PutUint16(a[10:], 24)
	for _, u := range units(name) {
		le.PutUint16(a[at:], u)
		at += 2
	}
	at = (at + 7) &^ 7
	a[9] = byte(len(name))
	le.PutUint16(a[20:], uint16(at))
	le.PutUint32(a[16:], uint32(len(value)))
	copy(a[at:], value)
	n := (at + len(value) + 7) &^ 7
	le.PutUint32(a, kind)
	le.PutUint32(a[4:], uint32(n))
	return n
}

// The made-up volume has a bitmap of zeros and no names in indexes: it is refused in the end. What counts is what it costs.
func TestT24_AMillionFilesOnATerabyteStayBelow64MB(t *testing.T) {
	const most = 64 << 20
	records := int64(1_000_000)
	if testing.Short() {
		records = 100_000
	}
	v := newLarge(t, records)
	var before, during runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one found unreachable is freed now
	runtime.ReadMemStats(&before)
	start := time.Now()
	fs, err := Open(v)
	if err != nil {
		t.Fatal(err)
	}
	var peak uint64
	files := 0
	summary, err := fs.Walk(context.Background(), volume.Options{}, func(e volume.Entry) error {
		if files++; files%(int(records)/8) == 1 {
			runtime.GC()
			runtime.ReadMemStats(&during)
			peak = max(peak, during.HeapAlloc-min(before.HeapAlloc, during.HeapAlloc))
		}
		return nil
	})
	if err != nil || int64(files) < records || peak > most || summary.Outcome != report.Malformed {
		t.Errorf("%v: %d entries, %d MiB of heap, %+v", err, files, peak>>20, summary)
	}
	t.Logf("%d entries in %v, %d MiB of heap", files, time.Since(start).Round(time.Millisecond), peak>>20)
	runtime.KeepAlive(v)
}

// A file whose clusters never lie side by side: its pieces fill many records, and the list of those has clusters of its own.
func TestReadsAFileInTenThousandPieces(t *testing.T) {
	const pieces, inRecord = 10_000, 160
	v := newLarge(t, 128)
	v.special = map[int64][]byte{}
	h := sha256.New()
	var list []byte
	listed := func(kind uint32, first, number int64) {
		entry := make([]byte, 32)
		le.PutUint32(entry, kind)
		le.PutUint16(entry[4:], 32)
		entry[7] = 26
		le.PutUint64(entry[8:], uint64(first))
		le.PutUint64(entry[16:], uint64(refer(number, 1)))
		list = append(list, entry...)
	}
	base := v.old + 1
	listed(typeName, 0, base)
	block := make([]byte, 4096)
	for first := int64(0); first < pieces; first += inRecord {
		n := 2 + first/inRecord
		raw := make([]byte, 1024)
		header(raw, v.old+n)
		le.PutUint64(raw[32:], uint64(refer(base, 1)))
		var list []byte
		last, count := int64(0), min(inRecord, pieces-first)
		for i := range count {
			at := v.first + 5000 + 2*(first+i)
			far := compact(at - last)
			list = append(append(list, byte(len(far)<<4|1), 1), far...)
			last = at
			le.PutUint64(block, uint64(at*4096))
			h.Write(block)
		}
		finish(raw, 56+stored(raw[56:], typeData, first, count, pieces*4096, append(list, 0)))
		v.special[n] = raw
		listed(typeData, first, v.old+n)
	}
	raw := make([]byte, 1024)
	header(raw, base)
	place := v.bitmap/4096 - 1 // the last cluster of the table's bitmap, of which nothing is used
	at := 56 + resident(raw[56:], typeName, "", nameValue(refer(v.old, 1), "pieces"))
	far := compact(place)
	at += stored(raw[at:], typeList, 0, 1, int64(len(list)), append(append([]byte{byte(len(far)<<4 | 1), 1}, far...), 0))
	finish(raw, at)
	v.special[1] = raw
	src := &volumetest.Mutant{Source: v, Edits: []volumetest.Edit{{Offset: place * 4096, New: list}}}
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	if _, err := fs.Walk(t.Context(), volume.Options{}, func(e volume.Entry) error {
		if !strings.HasSuffix(e.Path, "/pieces") {
			return nil
		}
		found = true
		f, err := volumetest.Hash(src, &e)
		if err != nil || e.Outcome != report.Unscanned || len(e.Extents) != pieces || f.Size != pieces*4096 || !bytes.Equal(f.SHA256[:], h.Sum(nil)) {
			t.Errorf("%v: %d pieces, %+v, %v %+v", err, len(e.Extents), f, e.Outcome, e.Findings)
		}
		return nil
	}); err != nil || !found {
		t.Fatal(found, err)
	}
}

// padded is a volume with room behind it.
type padded struct {
	volume.Source
	size int64
}

func (p padded) Size() int64 { return p.size }

func (p padded) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	if off < p.Source.Size() {
		n, _ = p.Source.ReadAt(b[:min(int64(len(b)), p.Source.Size()-off)], off)
	}
	clear(b[n:])
	return len(b), nil
}

func TestReadsASparseFileOfMoreThan4GiB(t *testing.T) {
	b := newBench(t)
	const size = 5<<30 + 4096
	b.record(b.number("sparse.bin"), func(raw []byte) []byte {
		at := b.attribute(raw, typeData, "")
		le.PutUint64(raw[at+24:], size/4096-1)
		for _, field := range []int{40, 48, 56} {
			le.PutUint64(raw[at+field:], size)
		}
		runs := raw[at+int(le.Uint16(raw[at+32:])):]
		one := 2 + int(runs[0]>>4) // the first run, of one cluster or a few
		have := int64(runs[1])
		hole := compact(size/4096 - have)
		copy(runs[one:], append(append([]byte{byte(len(hole))}, hole...), 0))
		return raw
	})
	src := padded{b.m, 2 << 30}
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Walk(t.Context(), volume.Options{}, func(e volume.Entry) error {
		if e.Path != "sparse.bin" {
			return nil
		}
		if e.Outcome != report.Unscanned || e.Size != size || e.Valid != size || len(e.Extents) != 2 || e.Extents[1].Start >= 0 ||
			e.Extents[0].Bytes+e.Extents[1].Bytes != size {
			t.Errorf("%+v", e)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestTooManyRecordsOrClustersAreTooLarge(t *testing.T) {
	b := newBench(t)
	b.write(40, le.AppendUint64(nil, 1<<36)...)
	b.write(13, 1)
	// The table is elsewhere now, so nothing else is right; that it is too large is said before.
	l := list(t, b.m, volume.Options{})
	if l.Summary.Outcome != report.TooLarge {
		t.Errorf("%+v", l.Summary)
	}
}

func FuzzNTFS(f *testing.F) {
	// A small volume, so that an input takes a millisecond.
	image, part := filepath.Join(f.TempDir(), "image"), filepath.Join(f.TempDir(), "part")
	if err := os.WriteFile(image, make([]byte, 2*mega), 0o600); err != nil {
		f.Fatal(err)
	}
	tool(f, "mkntfs", "-F", "-Q", "-q", "-c", "1024", image)
	for name, data := range map[string][]byte{"small.txt": []byte("small"), "large.bin": bytes.Repeat([]byte("large "), 9000)} {
		if err := os.WriteFile(part, data, 0o600); err != nil {
			f.Fatal(err)
		}
		tool(f, "ntfscp", "-q", "-f", image, part, name)
		tool(f, "ntfscp", "-q", "-f", "-N", "stream", image, part, name)
	}
	base, err := os.ReadFile(image)
	if err != nil {
		f.Fatal(err)
	}
	for i, x := range metadata(f, volumetest.Bytes(base, 512)) {
		for at := x.Start; at < x.Start+min(x.Bytes, 40<<10); at += 1024 {
			f.Add(uint32(at), base[at:min(at+1024, int64(len(base)))], i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, sealed bool) {
		// The input is laid over a good volume; if it is to be sealed, as a record whose sectors belong together.
		m := &volumetest.Mutant{Source: volumetest.Bytes(base, 512)}
		patch = patch[:min(len(patch), 4096)]
		if sealed && len(patch) >= 1024 {
			patch = append([]byte(nil), patch[:1024]...)
			at = at &^ 1023
			le.PutUint16(patch[4:], 48)
			le.PutUint16(patch[6:], 3)
			seal(patch)
		}
		m.Edits = []volumetest.Edit{{Offset: int64(at), New: patch}}
		fs, err := Open(m)
		if err != nil {
			return
		}
		l, err := volumetest.ReadAll(context.Background(), m, fs, volume.Options{Deep: len(patch)%2 == 1})
		if err != nil {
			t.Fatal(err)
		}
		if l.Summary.Outcome == report.Unscanned || (l.Summary.Outcome == report.Clean) != (l.Summary.Reason == "") {
			t.Fatalf("%+v", l.Summary)
		}
	})
}
