package exfat

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// bench is a small volume on which a crafted case is tried.
type bench struct {
	t *testing.T
	m *stick.Memory
	v *stick.Volume
}

func (b bench) write(at int64, data ...byte) {
	b.t.Helper()
	if _, err := b.m.WriteAt(data, at); err != nil {
		b.t.Fatal(err)
	}
}

func (b bench) read(at int64, n int) []byte {
	b.t.Helper()
	p := make([]byte, n)
	if _, err := b.m.ReadAt(p, at); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b bench) uint64(at int64, n uint64) { b.write(at, le.AppendUint64(nil, n)...) }
func (b bench) uint32(at int64, n uint32) { b.write(at, le.AppendUint32(nil, n)...) }

// set changes a field of an entry set and makes its checksum right again, as somebody does who means it.
func (b bench) set(path string, change func(at int64)) {
	b.t.Helper()
	at, ok := b.v.Record[path]
	if !ok {
		b.t.Fatalf("no record of %q", path)
	}
	change(at)
	if err := stick.Reseal(b.m, at); err != nil {
		b.t.Fatal(err)
	}
}

// size and first change what a stream entry says.
func (b bench) size(path string, valid, length uint64) {
	b.set(path, func(at int64) { b.uint64(at+32+8, valid); b.uint64(at+32+24, length) })
}

func (b bench) first(path string, cluster uint32) {
	b.set(path, func(at int64) { b.uint32(at+32+20, cluster) })
}

func (b bench) link(cluster, to uint32) {
	b.t.Helper()
	if err := b.v.Link(b.m, cluster, to); err != nil {
		b.t.Fatal(err)
	}
}

// allocate sets or clears a bit of the bitmap.
func (b bench) allocate(cluster uint32, used bool) {
	at := b.v.Bitmap + int64(cluster-2)/8
	old := b.read(at, 1)[0]
	bit := byte(1) << ((cluster - 2) % 8)
	if used {
		b.write(at, old|bit)
	} else {
		b.write(at, old&^bit)
	}
}

// sealBoot makes the checksum of a boot region right again.
func (b bench) sealBoot(at int64) {
	region := b.read(at, 12*512)
	var sum uint32
	for i, c := range region[:11*512] {
		if i != 106 && i != 107 && i != 112 {
			sum = (sum>>1 | sum<<31) + uint32(c)
		}
	}
	for i := int64(0); i < 512; i += 4 {
		b.uint32(at+11*512+i, sum)
	}
}

// swap replaces an entry of a directory by another.
func (b bench) entry(at int64, kind byte, rest ...byte) {
	b.write(at, append(append([]byte{kind}, rest...), make([]byte, 31-len(rest))...)...)
}

var craftedFiles = []stick.File{
	{Path: "plain.bin", Data: make([]byte, 30_000)},
	{Path: "chained.bin", Data: []byte(strings.Repeat("chained", 6_000)), Chained: true},
	{Path: "pieces.bin", Data: []byte(strings.Repeat("pieces!", 6_000)), Scatter: true},
	{Path: "dir/inner.txt", Data: []byte("inner")},
	{Path: "dir/sub/deep.txt", Data: []byte("deep")},
	{Path: "chained dir", Dir: true, Chained: true},
	{Path: "chained dir/a.txt", Data: []byte("a")},
	{Path: "empty.txt"},
	{Path: "last.txt", Data: []byte("last")},
}

func TestT03_CraftedVolumes(t *testing.T) {
	const (
		ok         = report.Unscanned // still to be read: nothing is wrong with it
		clean      = report.Clean
		malformed  = report.Malformed
		unreadable = report.Unreadable
	)
	for _, test := range []struct {
		name  string
		craft func(b bench)
		want  report.Outcome // of the volume
		path  string         // an entry that must be listed
		entry report.Outcome // and its outcome
		rule  string         // a finding that there must be
	}{
		{"size beyond the volume", func(b bench) { b.size("plain.bin", 1<<50, 1<<50) }, malformed, "plain.bin", malformed, "content-damaged"},
		{"size of 2^64", func(b bench) { b.size("plain.bin", 1<<64-1, 1<<64-1) }, malformed, "plain.bin", malformed, "content-damaged"},
		{"size of 2^63", func(b bench) { b.size("chained.bin", 0, 1<<63) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"first cluster out of range", func(b bench) { b.first("plain.bin", 0x00FFFFFF) }, malformed, "plain.bin", malformed, "content-damaged"},
		{"first cluster 0", func(b bench) { b.first("plain.bin", 0) }, malformed, "plain.bin", malformed, "content-damaged"},
		{"first cluster 1", func(b bench) { b.first("chained.bin", 1) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"run behind the last cluster", func(b bench) { b.first("plain.bin", b.v.Clusters) }, malformed, "plain.bin", malformed, "content-damaged"},
		{"stored more than long", func(b bench) { b.size("plain.bin", 30_001, 30_000) }, malformed, "plain.bin", malformed, "entry-damaged"},
		{"stored 2^64", func(b bench) { b.size("plain.bin", 1<<64-1, 30_000) }, malformed, "plain.bin", malformed, "entry-damaged"},
		{"file chain loops", func(b bench) { c := b.v.Chain["chained.bin"]; b.link(c[5], c[1]) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"file chain loops on itself", func(b bench) { c := b.v.Chain["pieces.bin"]; b.link(c[3], c[3]) }, malformed, "pieces.bin", malformed, "content-damaged"},
		{"chain ends early", func(b bench) { b.link(b.v.Chain["chained.bin"][4], 0xFFFFFFFF) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"chain into a free cluster", func(b bench) { b.link(b.v.Chain["chained.bin"][4], 0) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"chain into a bad cluster", func(b bench) { b.link(b.v.Chain["chained.bin"][4], 0xFFFFFFF7) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"chain out of range", func(b bench) { b.link(b.v.Chain["chained.bin"][4], 0xFFFFFFF0) }, malformed, "chained.bin", malformed, "content-damaged"},
		{"chain into another file", func(b bench) { b.link(b.v.Chain["pieces.bin"][4], b.v.Chain["plain.bin"][2]) }, malformed, "pieces.bin", malformed, "content-damaged"},
		{"two files in the same clusters", func(b bench) { b.first("last.txt", b.v.Chain["plain.bin"][0]) }, malformed, "last.txt", malformed, "content-damaged"},
		{"chain longer than the file", func(b bench) { b.size("chained.bin", 4096, 4096) }, clean, "chained.bin", ok, "chain-longer"},
		{"empty file with a cluster", func(b bench) { b.first("empty.txt", b.v.Clusters) }, clean, "empty.txt", ok, "empty-with-cluster"},
		{"file in the bitmap's clusters", func(b bench) { b.first("plain.bin", 2) }, malformed, "plain.bin", malformed, "content-damaged"},
		{"no allocation possible", func(b bench) { b.set("plain.bin", func(at int64) { b.write(at+33, 0) }) }, malformed, "plain.bin", malformed, "entry-damaged"},

		{"directory is the root", func(b bench) {
			b.set("dir", func(at int64) { b.uint32(at+32+20, b.v.Chain[""][0]) })
		}, malformed, "dir", malformed, ""},
		{"directory is its own parent", func(b bench) {
			b.set("dir/sub", func(at int64) { b.uint32(at+32+20, b.v.Chain["dir"][0]) })
		}, malformed, "dir/sub", malformed, ""},
		{"directory chain loops", func(b bench) { c := b.v.Chain["chained dir"]; b.link(c[0], c[0]) }, malformed, "chained dir/a.txt", ok, ""},
		{"root chain loops", func(b bench) { c := b.v.Chain[""]; b.link(c[0], c[0]) }, malformed, "plain.bin", ok, ""},
		{"directory chain longer than its length", func(b bench) {
			c := b.v.Chain["chained dir"]
			b.link(c[0], b.v.Clusters)
			b.link(b.v.Clusters, 0xFFFFFFFF)
		}, malformed, "chained dir", malformed, ""},
		{"directory of 4 GiB", func(b bench) { b.size("dir", 4<<30, 4<<30) }, report.TooLarge, "dir", report.TooLarge, ""},
		{"directory's lengths differ", func(b bench) { b.size("dir", 32, 4096) }, clean, "dir/inner.txt", ok, "directory-size"},
		{"directory of no length", func(b bench) { b.size("dir", 0, 0) }, clean, "dir", clean, "lost-clusters"},
		{"file becomes a directory", func(b bench) {
			b.size("chained.bin", 45_056, 45_056)
			b.set("chained.bin", func(at int64) { b.write(at+4, 0x10) })
		}, clean, "directory clusters, part 1", ok, "directory-junk"}, // all of its bytes look like deleted entries

		{"end mark in mid-directory", func(b bench) {
			at := b.v.Record["chained.bin"]
			for i := range int64(3) {
				b.write(at+32*i, 0)
			}
		}, clean, "last.txt", ok, "after-end-mark"},
		{"set that is deleted", func(b bench) {
			at := b.v.Record["plain.bin"]
			b.write(at, 0x05)
			b.write(at+32, 0x40)
			b.write(at+64, 0x41)
		}, clean, "lost clusters, part 1", ok, "deleted-entries"},
		{"set whose beginning is deleted", func(b bench) { b.write(b.v.Record["plain.bin"], 0x05) }, malformed, "last.txt", ok, ""},
		{"set whose beginning is an end mark", func(b bench) { b.write(b.v.Record["plain.bin"], 0x00) }, malformed, "last.txt", ok, "after-end-mark"},
		{"set whose stream is deleted", func(b bench) { b.write(b.v.Record["plain.bin"]+32, 0x40) }, malformed, "last.txt", ok, "entry-damaged"},
		{"set whose name is deleted", func(b bench) { b.write(b.v.Record["plain.bin"]+64, 0x41) }, malformed, "last.txt", ok, "entry-damaged"},
		{"wrong checksum", func(b bench) { b.write(b.v.Record["plain.bin"]+2, 1, 2) }, malformed, "plain.bin", malformed, "entry-damaged"},
		{"no secondary entries", func(b bench) { b.write(b.v.Record["plain.bin"]+1, 0) }, malformed, "last.txt", ok, "entry-damaged"},
		{"255 secondary entries", func(b bench) { b.write(b.v.Record["plain.bin"]+1, 255) }, malformed, "last.txt", ok, "entry-damaged"},
		{"one secondary too many", func(b bench) { b.set("plain.bin", func(at int64) { b.write(at+1, 3) }) }, malformed, "plain.bin", malformed, "entry-damaged"},
		{"name shorter than its parts", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+32, 0xC0, 1, 0, 0) })
		}, malformed, "empty.txt", ok, "entry-damaged"},
		{"name longer than its parts", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+35, 200) })
		}, malformed, "empty.txt", ok, "entry-damaged"},
		{"name with a separator", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+66, '/') })
		}, malformed, "empty.txt", ok, "entry-damaged"},
		{"name that is the parent", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+35, 2); b.write(at+66, '.', 0, '.', 0) })
		}, malformed, "empty.txt", ok, "entry-damaged"},
		{"wrong name hash", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+36, 0x12, 0x34) })
		}, clean, "last.txt", ok, "name-hash"},
		{"unknown critical part", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+1, 3); b.entry(at+96, 0xC5) })
		}, malformed, "last.txt", malformed, "entry-damaged"},
		{"vendor's part", func(b bench) {
			b.set("last.txt", func(at int64) { b.write(at+1, 3); b.entry(at+96, 0xE0) })
		}, clean, "last.txt", ok, "vendor-entry"},
		{"unknown benign entry", func(b bench) { b.entry(b.v.Record["last.txt"]+96, 0xA5) }, clean, "last.txt", ok, "unknown-entry"},
		{"unknown critical entry", func(b bench) { b.entry(b.v.Record["last.txt"]+96, 0x87) }, malformed, "last.txt", ok, ""},
		{"bitmap entry in a directory", func(b bench) { b.entry(b.v.Record["dir/sub"]+96, 0x81) }, malformed, "dir/sub/deep.txt", ok, ""},

		{"cluster in use that nobody has", func(b bench) { b.allocate(b.v.Clusters, true) }, clean, "lost clusters, part 1", ok, "lost-clusters"},
		{"file in a free cluster", func(b bench) { b.allocate(b.v.Chain["plain.bin"][2], false) }, malformed, "plain.bin", ok, ""},
		{"no bitmap", func(b bench) { b.write(b.v.Cluster(b.v.Chain[""][0]), 0x01) }, malformed, "last.txt", ok, ""},
		{"two bitmaps", func(b bench) { b.entry(b.v.Record["last.txt"]+96, 0x81) }, malformed, "last.txt", ok, ""},
		{"bitmap too short", func(b bench) { b.uint64(b.v.Cluster(b.v.Chain[""][0])+24, 1) }, malformed, "last.txt", ok, ""},
		{"bitmap too long", func(b bench) { b.uint64(b.v.Cluster(b.v.Chain[""][0])+24, 4096) }, clean, "last.txt", ok, "bitmap-length"},
		{"bitmap of 2^63", func(b bench) { b.uint64(b.v.Cluster(b.v.Chain[""][0])+24, 1<<63) }, malformed, "last.txt", ok, ""},
		{"bitmap outside the volume", func(b bench) { b.uint32(b.v.Cluster(b.v.Chain[""][0])+20, 0xFFFFFFFF) }, malformed, "last.txt", ok, ""},
		{"no up-case table", func(b bench) { b.write(b.v.Cluster(b.v.Chain[""][0])+32, 0x02) }, malformed, "last.txt", ok, ""},
		{"damaged up-case table", func(b bench) { b.write(b.v.Upcase+200, 1) }, malformed, "last.txt", ok, ""},
		{"up-case table of 2^63", func(b bench) { b.uint64(b.v.Cluster(b.v.Chain[""][0])+32+24, 1<<63) }, malformed, "last.txt", ok, ""},
		{"up-case table of its own", func(b bench) {
			b.write(b.v.Upcase, 'A', 0)
			table := b.read(b.v.Upcase, 5836)
			var sum uint32
			for _, c := range table {
				sum = (sum>>1 | sum<<31) + uint32(c)
			}
			b.uint32(b.v.Cluster(b.v.Chain[""][0])+32+4, sum)
		}, clean, "last.txt", ok, "upcase-table"},

		{"boot checksum wrong", func(b bench) { b.write(200, 1) }, malformed, "last.txt", ok, ""},
		{"backup boot checksum wrong", func(b bench) { b.write(12*512+200, 1) }, clean, "last.txt", ok, "boot-copies-differ"},
		{"backup with other boot code", func(b bench) { b.write(12*512+200, 1); b.sealBoot(12 * 512) }, clean, "last.txt", ok, "boot-copies-differ"},
		{"backup of another volume", func(b bench) { b.uint32(12*512+96, 9); b.sealBoot(12 * 512) }, malformed, "last.txt", ok, "boot-copies-differ"},
		{"second table is active", func(b bench) { b.write(106, 1) }, malformed, "last.txt", ok, ""},
		{"not closed properly", func(b bench) { b.write(106, 2) }, clean, "last.txt", ok, "volume-dirty"},
		{"volume longer than its space", func(b bench) {
			b.uint64(72, 1<<20)
			b.uint64(12*512+72, 1<<20)
			b.sealBoot(0)
			b.sealBoot(12 * 512)
		}, malformed, "last.txt", ok, ""},
		{"bytes behind the boot regions", func(b bench) { b.write(24*512, 1) }, clean, "space before the allocation table, part 1", ok, "spare-bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, v := build(t, stick.ExFAT{Bytes: 4 * mega}, craftedFiles)
			test.craft(bench{t, m, v})
			l := list(t, m, volume.Options{})
			if l.Summary.Outcome != test.want {
				t.Errorf("the volume is %v (%s), want %v", l.Summary.Outcome, l.Summary.Reason, test.want)
			}
			if (l.Summary.Outcome == clean) != (l.Summary.Reason == "") {
				t.Errorf("outcome %v with reason %q", l.Summary.Outcome, l.Summary.Reason)
			}
			found := false
			for _, e := range l.Entries {
				if e.Path == test.path {
					found = true
					if e.Outcome != test.entry && !(test.entry == ok && e.Outcome == clean) {
						t.Errorf("%q is %v, want %v", e.Path, e.Outcome, test.entry)
					}
				}
			}
			if !found {
				t.Errorf("%q is not listed", test.path)
			}
			if test.rule != "" && !strings.Contains(rules(l), test.rule) {
				t.Errorf("findings: %s; want %s", rules(l), test.rule)
			}
			if lost := truth(t, craftedFiles).Lost(l); len(lost) > 0 && !l.Bars() && test.rule == "" {
				t.Errorf("%q is lost without a word", lost)
			}
		})
	}
}

func TestTruncatedVolumeIsNeverClean(t *testing.T) {
	m, v := build(t, stick.ExFAT{Bytes: 4 * mega}, craftedFiles)
	for _, cut := range []int64{512, v.FAT + 10, v.Heap + 100, v.Cluster(v.Chain["plain.bin"][3]), 4*mega - 512} {
		src := volumetest.Opened(m, cut, 512)
		fs, err := Open(src)
		if err != nil {
			continue
		}
		l, err := volumetest.ReadAll(context.Background(), src, fs, volume.Options{})
		if err != nil || l.Summary.Outcome == report.Clean {
			t.Errorf("cut to %d bytes: %v, %+v", cut, err, l.Summary)
		}
	}
}

func TestT24_JunkDirectoryIsGivenUp(t *testing.T) {
	junk := make([]byte, 8*mega)
	for i := range junk {
		junk[i] = byte(i*7919>>3) | 0x85 // most of it looks like the beginning of an entry set
	}
	files := []stick.File{{Path: "junk", Data: junk}, {Path: "last.txt", Data: []byte("last")}}
	m, v := build(t, stick.ExFAT{Bytes: 16 * mega}, files)
	b := bench{t, m, v}
	b.set("junk", func(at int64) { b.write(at+4, 0x10) })
	l := list(t, m, volume.Options{})
	if l.Summary.Outcome != report.Malformed || len(l.Entries) > maxBroken+10 {
		t.Errorf("%d entries, %+v", len(l.Entries), l.Summary)
	}
}

func TestT24_DeepTreeEndsInWords(t *testing.T) {
	var files []stick.File
	path := "d"
	for range 300 {
		path += "/d"
	}
	files = append(files, stick.File{Path: path + "/bottom.txt", Data: []byte("bottom")})
	m, _ := build(t, stick.ExFAT{Bytes: 8 * mega}, files)
	l := list(t, m, volume.Options{})
	if l.Summary.Outcome != report.TooLarge || !strings.Contains(l.Summary.Reason, "within directories") {
		t.Errorf("%+v", l.Summary)
	}
	long := strings.Repeat("x", 250)
	path = long
	for range 200 {
		path += "/" + long
	}
	m, _ = build(t, stick.ExFAT{Bytes: 8 * mega}, []stick.File{{Path: path}})
	if l := list(t, m, volume.Options{}); l.Summary.Outcome != report.Malformed {
		t.Errorf("%+v", l.Summary)
	}
}

func TestT24_TooManyDirectoriesAreTooLarge(t *testing.T) {
	var files []stick.File
	for i := range 80_000 {
		files = append(files, stick.File{Path: fmt.Sprintf("a directory with a name of some length, number %d", i), Dir: true})
	}
	m, _ := build(t, stick.ExFAT{Bytes: 96 * mega, ClusterBytes: 512}, files)
	l := list(t, m, volume.Options{})
	if l.Summary.Outcome != report.TooLarge || l.Summary.Reason == "" {
		t.Errorf("%+v", l.Summary)
	}
}

func TestUpcaseTableInShortAndInFull(t *testing.T) {
	table, ok := expandUpcase([]byte{0xFF, 0xFF, 'a', 0, 'A', 0})
	if !ok || table['a'] != 'A' || table['b'] != 'b' || table[0] != 0 {
		t.Errorf("%v: a becomes %#x", ok, table['a'])
	}
	if _, ok := expandUpcase([]byte{0xFF, 0xFF, 0xFF, 0xFF, 'x', 0, 'y', 0}); ok {
		t.Error("a table of more than 65,536 letters is taken")
	}
	if _, ok := expandUpcase([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0}); ok {
		t.Error("a run behind the last letter is taken")
	}
}
