package ntfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// The file table's own content in two records, as on a volume that has grown for long.
func TestReadsATableWhosePiecesLieInTwoRecords(t *testing.T) {
	b := newBench(t)
	fs := b.open()
	const second, keep = 16, 10 // the record for the rest, which nothing uses, and how many pieces stay
	if len(fs.table.extents) < 2*keep {
		t.Fatalf("only %d pieces", len(fs.table.extents))
	}
	runs := func(extents []volume.Extent) (list []byte, clusters int64) {
		last := int64(0)
		for _, x := range extents {
			wide, far := compact(x.Bytes/4096), compact(x.Start/4096-last)
			list = append(append(append(list, byte(len(far)<<4|len(wide))), wide...), far...)
			last, clusters = x.Start/4096, clusters+x.Bytes/4096
		}
		return append(list, 0), clusters
	}
	front, clusters := runs(fs.table.extents[:keep])
	rest, more := runs(fs.table.extents[keep:])
	use := le.Uint16(b.read(b.place(second)+16, 2))
	if use == 0 {
		use = 1
	}
	raw := make([]byte, 1024)
	header(raw, second)
	le.PutUint16(raw[16:], use)
	le.PutUint64(raw[32:], uint64(refer(recordTable, 1)))
	at := 56 + stored(raw[56:], typeData, clusters, more, 0, rest)
	finish(raw, at)
	b.write(b.place(second), raw...)
	var list []byte
	add := func(kind uint32, first int64, ref reference, instance uint16) {
		entry := make([]byte, 32)
		le.PutUint32(entry, kind)
		le.PutUint16(entry[4:], 32)
		entry[7] = 26
		le.PutUint64(entry[8:], uint64(first))
		le.PutUint64(entry[16:], uint64(ref))
		le.PutUint16(entry[24:], instance)
		list = append(list, entry...)
	}
	b.record(recordTable, func(raw []byte) []byte {
		data := b.attribute(raw, typeData, "")
		le.PutUint64(raw[data+24:], uint64(clusters-1))
		copy(raw[data+int(le.Uint16(raw[data+32:])):], front)
		for at := int(le.Uint16(raw[20:])); le.Uint32(raw[at:]) != typeEnd; at += int(le.Uint32(raw[at+4:])) {
			add(le.Uint32(raw[at:]), 0, refer(recordTable, 1), le.Uint16(raw[at+14:]))
		}
		add(typeData, clusters, refer(second, use), 0)
		return b.inserted(raw, typeList, "", list)
	})
	b.write(fs.geo.mirror, b.read(fs.geo.table, 1024)...)
	marks := fs.system(recordTable, "").stream(typeBitmap, "")
	b.write(marks.extents[0].Start+second/8, b.read(marks.extents[0].Start+second/8, 1)[0]|1<<(second%8))
	l := b.list()
	healthy(t, l)
	if diff := truth(t).Diff(l); len(diff) > 0 {
		t.Errorf("%d differences, such as %s", len(diff), diff[0])
	}
	// Without the second record the table is not all there, and nothing may look whole.
	b.write(b.place(second), 0, 0, 0, 0)
	if fs, err := Open(b.m); err == nil {
		t.Errorf("opened: %+v", fs)
	}
}

// truth is the files of the corpus as it is.
func truth(t testing.TB) volumetest.Truth { return list(t, corpus(t), volume.Options{}).Files }

func TestOrphansAndStrangersAreScannedAsAreas(t *testing.T) {
	b := newBench(t)
	want := b.list().Entry(t, "many/"+fileName)
	b.parent(fileName, refer(1<<40, 1))
	l := b.list()
	for _, e := range l.Entries {
		if strings.HasPrefix(e.Path, "$Orphan/") {
			if e.Kind != report.Area || string(e.Inline) != string(want.Inline) || !strings.HasSuffix(e.Path, "/"+fileName) {
				t.Errorf("%+v", e)
			}
		}
	}
	if _, there := l.Files["many/"+fileName]; there {
		t.Error("it is still listed")
	}
}

func TestT09_NamesAreKeptExactlyAndOddOnesAreTold(t *testing.T) {
	// Each replaces some units in the middle of a name of 43.
	for part, rule := range map[string]string{
		"\u202Efdp": "name-direction",
		"\u200B":    "name-invisible",
		"\t":        "name-control",
		":":         "name-illegal",
		"":          "",
	} {
		b := renamed(t, func(name []uint16) { copy(name[10:], units(part)) })
		if l := b.list(); l.Bars() || rule != "" && !l.Has(rule) || rule == "" && !slices.Equal(l.Rules(), []string{"deleted-entries"}) {
			t.Errorf("%q: %v %q", part, l.Summary, l.Rules())
		}
	}
	for _, part := range []string{"/", "\x00"} {
		b := renamed(t, func(name []uint16) { copy(name[10:], units(part)) })
		if l := b.list(); l.Summary.Outcome != report.Malformed {
			t.Errorf("%q: %v", part, l.Summary)
		}
	}
	var lone string
	b := renamed(t, func(name []uint16) { name[10] = 0xD83D; lone = volume.WTF8(name) })
	if l := b.list(); l.Bars() || !l.Has("name-surrogate") || l.Entry(t, "many/"+lone).Size == 0 {
		t.Errorf("half a character: %v %q", l.Summary, l.Rules())
	}
	b = renamed(t, func(name []uint16) { copy(name, units("A FILE")); copy(name[34:], units("0777")) })
	if l := b.list(); l.Bars() || !l.Has("name-twice") {
		t.Errorf("two names: %v %q", l.Summary, l.Rules())
	}
}

func TestT09_StreamsAndHardLinksAreListedUnderEachName(t *testing.T) {
	l := list(t, corpus(t), volume.Options{})
	for _, path := range []string{"links/one.txt", "links/two.txt", "Flat/three.txt", "links/a name that is rather long so that it takes its room.txt"} {
		if l.Files[path] != l.Files["links/one.txt"] || l.Files[path].Size != 5000 {
			t.Errorf("%q: %+v", path, l.Files[path])
		}
		if e := l.Entry(t, path+":stream"); e.Kind != report.Stream || string(e.Inline) != "of all names" {
			t.Errorf("%+v", e)
		}
	}
	if e := l.Entry(t, "empty folder"); !e.Empty || e.Kind != report.Directory || e.Outcome != report.Clean {
		t.Errorf("%+v", e)
	}
	if e := l.Entry(t, "links"); e.Empty {
		t.Errorf("%+v", e)
	}
}

// A volume where no partition is says how long it is, so that what lies behind it is looked at, too.
func TestT06_AVolumeInAGapEndsWhereItSays(t *testing.T) {
	m := stick.NewMemory(96 * mega)
	data, err := corpusBytes()
	if err != nil {
		t.Fatal(err)
	}
	table := make([]byte, 512) // one partition at the end, which is blank
	table[450], table[510], table[511] = 0x0C, 0x55, 0xAA
	le.PutUint32(table[454:], 90*mega/512)
	le.PutUint32(table[458:], 6*mega/512)
	for at, part := range map[int64][]byte{0: table, 3 * mega: data, 3*mega + 64*mega + 5000*512: []byte("LUKS\xba\xbe\x00\x02")} {
		if _, err := m.WriteAt(part, at); err != nil {
			t.Fatal(err)
		}
	}
	layout, err := volume.Map(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range layout.Volumes {
		got = append(got, fmt.Sprintf("%s@%d", c.FileSystem, c.Start))
		if c.FileSystem == "ntfs" {
			healthy(t, list(t, volume.Section(m, c.Start, c.Bytes), volume.Options{}))
		}
	}
	if want := []string{"ntfs@3145728", "luks2@72814592"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDeletedFilesAreCountedAndWhatWasNeverUsedIsNot(t *testing.T) {
	said := func(b bench) string {
		for _, f := range b.list().Summary.Findings {
			if f.Rule == "deleted-entries" {
				return fmt.Sprintf("%v %s", f.Severity, f.Text)
			}
		}
		return ""
	}
	want := func(n int) string {
		return fmt.Sprintf("%v The file table still holds records of deleted files: %d.", report.Inform, n)
	}
	free := func(raw []byte) []byte { raw[22] &^= 1; return raw }

	// ntfs-3g deleted 40 files of the corpus in such a way; its table also has 37 blank records and 8 without a name.
	const gone = 40
	b := newBench(t)
	if got := said(b); got != want(gone) {
		t.Errorf("the corpus: %q", got)
	}
	b.record(b.number(fileName), free)
	if got := said(b); got != want(gone+1) {
		t.Errorf("one more: %q", got)
	}
	b.record(b.number("many"), free)
	if got := said(b); got != want(gone+2) {
		t.Errorf("and a directory: %q", got)
	}
	f, err := b.open().file(b.number("pieces.bin"))
	if err != nil {
		t.Fatal(err)
	}
	b.record(f.extensions[0], func(raw []byte) []byte {
		le.PutUint32(raw[le.Uint16(raw[20:]):], typeName) // it would count, if it were not the rest of another
		return free(raw)
	})
	if got := said(b); got != want(gone+2) {
		t.Errorf("a record that continues another: %q", got)
	}
	// What is nobody's may say anything, and is no damage.
	for name, change := range map[string]func(raw []byte){
		"first attribute outside":   func(raw []byte) { le.PutUint16(raw[20:], 0xFFFF) },
		"first attribute at end":    func(raw []byte) { le.PutUint16(raw[20:], 1020) },
		"attribute of length 0":     func(raw []byte) { le.PutUint32(raw[int(le.Uint16(raw[20:]))+4:], 0) },
		"attribute of length 2^32":  func(raw []byte) { le.PutUint32(raw[int(le.Uint16(raw[20:]))+4:], 0xFFFFFFFF) },
		"end before the first name": func(raw []byte) { le.PutUint32(raw[le.Uint16(raw[20:]):], typeEnd) },
	} {
		b := newBench(t)
		b.record(b.number(fileName), func(raw []byte) []byte { change(raw); return free(raw) })
		if got := said(b); got != want(gone) || b.list().Bars() {
			t.Errorf("%s: %q", name, got)
		}
	}

	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 16*mega), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkntfs", "-F", "-Q", "-q", image)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	fresh := bench{t, &volumetest.Mutant{Source: volumetest.Bytes(data, 512)}}
	if got := said(fresh); got != "" {
		t.Errorf("a fresh volume: %q", got)
	}
}

func TestSaysTheLabelAndWhatIsHidden(t *testing.T) {
	b := newBench(t)
	b.record(b.number(hostName), func(raw []byte) []byte { raw[b.attribute(raw, typeStandard, "")+24+32] |= 2; return raw })
	l := b.list()
	if l.Summary.Label != "CORPUS" {
		t.Errorf("label %q", l.Summary.Label)
	}
	for _, e := range l.Entries {
		if e.Hidden != (e.Path == "streams/"+hostName) {
			t.Errorf("%q: hidden %v", e.Path, e.Hidden)
		}
	}
}

func TestT24_ContentThatHasNoRoomIsTooLarge(t *testing.T) {
	b := newBench(t)
	// A sparse file of a petabyte: one hole.
	b.record(b.number("sparse.bin"), func(raw []byte) []byte {
		at := b.attribute(raw, typeData, "")
		const clusters = 1 << 38
		le.PutUint64(raw[at+24:], clusters-1)
		for _, field := range []int{40, 48, 56} {
			le.PutUint64(raw[at+field:], clusters*4096)
		}
		copy(raw[at+int(le.Uint16(raw[at+32:])):], []byte{0x05, 0, 0, 0, 0, 0x40, 0})
		return raw
	})
	l := b.list()
	if e := l.Entry(t, "sparse.bin"); e.Outcome != report.TooLarge || l.Summary.Outcome == report.Clean {
		t.Errorf("%+v %+v", e, l.Summary)
	}
}

func TestOpenRefusesWhatIsNoVolume(t *testing.T) {
	for name, test := range map[string]struct {
		at    int64
		bytes string
	}{
		"signature":                 {3, "EXFAT   "},
		"boot mark":                 {511, "\x00"},
		"sectors of 256 bytes":      {11, "\x00\x01"},
		"sectors of 8192 bytes":     {11, "\x00\x20"},
		"no sectors in a cluster":   {13, "\x00"},
		"three sectors":             {13, "\x03"},
		"clusters of 4 MiB":         {13, "\xF3"},
		"clusters of 2^128":         {13, "\x81"},
		"FAT description":           {16, "\x02"},
		"FAT32 description":         {32, "\x01"},
		"records of 8 KiB":          {64, "\xF3"},
		"records of 2^128":          {64, "\x80"},
		"records of nothing":        {64, "\x00"},
		"no length":                 {40, "\x00\x00\x00\x00\x00\x00\x00\x00"},
		"length of 2^64":            {40, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"},
		"table behind the volume":   {48, "\xFF\xFF\xFF\x00"},
		"table that is nothing":     {48, "\x77\x03"},
		"table where its mirror is": {48, "\xFF\x1F"},
		"no mirror":                 {56, "\x00\x00\x00\x00"},
	} {
		b := newBench(t)
		b.write(test.at, []byte(test.bytes)...)
		if fs, err := Open(b.m); fs != nil || !errors.Is(err, volume.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	data, err := corpusBytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 511, 512, 20_000, 1 << 20, len(data) / 2, len(data) - 600} {
		cut := volumetest.Bytes(data[:n], 512)
		if fs, err := Open(cut); err == nil && !list(t, cut, volume.Options{}).Bars() {
			t.Errorf("a volume cut to %d bytes is opened: %v", n, fs)
		}
	}
}

func TestWalkEndsWithTheErrorThatEmitReturned(t *testing.T) {
	fs, err := Open(corpus(t))
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	for _, after := range []int{0, 1, 5, 7, 100, 2000, 2200} {
		n := 0
		if _, err := fs.Walk(t.Context(), volume.Options{Deep: true}, func(volume.Entry) error {
			if n++; n > after {
				return stop
			}
			return nil
		}); err != stop {
			t.Fatalf("after %d entries: %v", after, err)
		}
	}
}
