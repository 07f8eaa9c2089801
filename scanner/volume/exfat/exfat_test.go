package exfat

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

const mega = 1 << 20

// build writes a volume into memory.
func build(t testing.TB, spec stick.ExFAT, files []stick.File) (*stick.Memory, *stick.Volume) {
	t.Helper()
	m := stick.NewMemory(spec.Bytes)
	v, err := stick.WriteExFAT(m, spec, files)
	if err != nil {
		t.Fatal(err)
	}
	return m, v
}

// truth is what the files of a volume are.
func truth(t testing.TB, files []stick.File) volumetest.Truth {
	t.Helper()
	known := volumetest.Truth{}
	for _, f := range files {
		if f.Dir {
			continue
		}
		h := sha256.New()
		n, err := io.Copy(h, f.Content())
		if err != nil {
			t.Fatal(err)
		}
		known[f.Path] = volumetest.File{Size: n, SHA256: [32]byte(h.Sum(nil))}
	}
	return known
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

// clean fails the test unless the listing is that of a healthy volume.
func clean(t testing.TB, l volumetest.Listing) {
	t.Helper()
	if l.Bars() {
		t.Errorf("a healthy volume is %v: %s", l.Summary.Outcome, l.Summary.Reason)
	}
	for _, f := range l.Summary.Findings {
		t.Errorf("finding on a healthy volume: %+v", f)
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	for name, spec := range map[string]stick.ExFAT{
		"usual":          {Bytes: 64 * mega, Label: "Übung"},
		"all chained":    {Bytes: 64 * mega, Chained: true, GUID: [16]byte{1}},
		"full table":     {Bytes: 64 * mega, PlainUpcase: true},
		"large clusters": {Bytes: 512 * mega, ClusterBytes: 128 << 10},
		"tiny clusters":  {Bytes: 64 * mega, ClusterBytes: 512},
		"large sectors":  {Bytes: 96 * mega, SectorSize: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			files := stick.Corpus(400, 11)
			m, _ := build(t, spec, files)
			l := list(t, m, volume.Options{})
			clean(t, l)
			for _, line := range truth(t, files).Diff(l) {
				t.Error(line)
			}
			var empty []string
			for _, e := range l.Entries {
				if e.Kind == report.Directory && e.Empty {
					empty = append(empty, e.Path)
				}
			}
			if slices.Sort(empty); !slices.Equal(empty, []string{"Empty folder", "Flat/also empty"}) {
				t.Errorf("empty directories: %q", empty)
			}
		})
	}
}

func TestUsedIsWhatTheBitmapSays(t *testing.T) {
	m, v := build(t, stick.ExFAT{Bytes: 16 * mega}, []stick.File{{Path: "a", Size: 3 * mega}})
	fs, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	// The file, the root, the bitmap and the table of 5,836 bytes.
	if want := 3*mega + 4*v.ClusterBytes; fs.Used() != want {
		t.Errorf("used %d, want %d", fs.Used(), want)
	}
}

func TestBytesBehindTheStoredOnesReadAsZeros(t *testing.T) {
	files := []stick.File{{Path: "half.bin", Data: []byte(strings.Repeat("stored ", 1000)), Size: 20_000, Unsaid: 12_000},
		{Path: "none.bin", Size: 9_000, Unsaid: 9_000}}
	m, _ := build(t, stick.ExFAT{Bytes: 8 * mega}, files)
	l := list(t, m, volume.Options{})
	clean(t, l)
	for _, line := range truth(t, files).Diff(l) {
		t.Error(line)
	}
	for _, e := range l.Entries {
		if e.Path == "half.bin" && (e.Size != 20_000 || e.Valid != 8_000) {
			t.Errorf("size %d, stored %d", e.Size, e.Valid)
		}
	}
}

func TestFileLargerThan4GiB(t *testing.T) {
	m, _ := build(t, stick.ExFAT{Bytes: 8 << 30, ClusterBytes: 32 << 10}, []stick.File{{Path: "huge.bin", Data: []byte("head"), Size: 5<<30 + 17}})
	fs, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	var got volume.Entry
	s, err := fs.Walk(context.Background(), volume.Options{}, func(e volume.Entry) error {
		if e.Kind == report.File {
			got = e
		}
		return nil
	})
	if err != nil || s.Outcome != report.Clean || got.Size != 5<<30+17 || len(got.Extents) != 1 || got.Outcome != report.Unscanned {
		t.Errorf("%v %+v %+v", err, s, got)
	}
}

func TestT09_NamesAreKeptExactlyAndOddOnesAreTold(t *testing.T) {
	files := []stick.File{
		{Path: "invoice\u202Efdp.exe"}, {Path: "half \xED\xA0\xBD character.txt"}, {Path: "NUL.txt"}, {Path: "ends in a dot."},
		{Path: "Same.TXT", Data: []byte("1")}, {Path: "same.txt", Data: []byte("2")}, {Path: "normal.txt"}, {Path: strings.Repeat("長", 255)},
		{Path: "line\nbreak.csv"},
	}
	m, _ := build(t, stick.ExFAT{Bytes: 8 * mega}, files)
	l := list(t, m, volume.Options{})
	clean(t, l)
	want := map[string]string{"invoice\u202Efdp.exe": "name-direction", "half \xED\xA0\xBD character.txt": "name-surrogate", "NUL.txt": "name-device",
		"ends in a dot.": "name-trailing", "Same.TXT": "", "same.txt": "name-twice", "normal.txt": "", strings.Repeat("長", 255): "",
		"line\nbreak.csv": "name-control"}
	for _, e := range l.Entries {
		if e.Kind != report.File {
			continue
		}
		rule, known := want[e.Path]
		if delete(want, e.Path); !known {
			t.Errorf("unexpected %q", e.Path)
		}
		if rule == "" && len(e.Findings) > 0 || rule != "" && !slices.ContainsFunc(e.Findings, func(f report.Finding) bool { return f.Rule == rule }) {
			t.Errorf("%q: findings %+v, want %q", e.Path, e.Findings, rule)
		}
	}
	for path := range want {
		t.Errorf("%q is missing", path)
	}
}

func TestT06_DeepCoversEveryByteOfTheVolume(t *testing.T) {
	files := append(stick.Corpus(200, 5), stick.File{Path: "half.bin", Data: make([]byte, 9_000), Size: 40_000, Unsaid: 31_000})
	m, v := build(t, stick.ExFAT{Bytes: 32*mega + 512, ClusterBytes: 8192}, files)
	// Something in each place where nothing belongs.
	for _, at := range []int64{24*512 + 5, v.Heap - 7, 32*mega + 500} {
		if _, err := m.WriteAt([]byte("x"), at); err != nil {
			t.Fatal(err)
		}
	}
	l := list(t, m, volume.Options{Deep: true})
	if l.Bars() {
		t.Fatalf("%+v", l.Summary)
	}
	covered := make([]bool, m.Size())
	cover := func(start, n int64) {
		for i := start; i < start+n; i++ {
			covered[i] = true
		}
	}
	for _, e := range l.Entries {
		left := e.Valid
		for _, x := range e.Extents {
			n := min(left, x.Bytes)
			if e.Kind == report.Directory {
				n = 0 // its bytes have to be in an area: nobody scans a directory
			}
			cover(x.Start, n)
			left -= n
		}
	}
	for _, known := range []struct{ start, bytes int64 }{{v.Bitmap, (int64(v.Clusters) + 7) / 8}, {v.Upcase, 5836}} {
		cover(known.start, known.bytes)
	}
	missing := 0
	for at, ok := range covered {
		if !ok {
			if missing++; missing < 5 {
				t.Errorf("byte %d belongs to no item", at)
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d bytes belong to no item", missing)
	}
}

func TestWalkEndsWithTheErrorThatEmitReturned(t *testing.T) {
	m, _ := build(t, stick.ExFAT{Bytes: 16 * mega}, stick.Corpus(50, 1))
	fs, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	for after := range 60 {
		n := 0
		_, err := fs.Walk(context.Background(), volume.Options{Deep: true}, func(volume.Entry) error {
			if n++; n > after {
				return stop
			}
			return nil
		})
		if err != stop {
			t.Fatalf("after %d entries: %v", after, err)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if _, err := fs.Walk(ctx, volume.Options{}, func(volume.Entry) error { return nil }); err != stop {
		t.Errorf("with a context that ended: %v", err)
	}
}

func TestOpenRefusesWhatIsNoVolume(t *testing.T) {
	for name, test := range map[string]struct {
		at    int64
		bytes string
		want  error
	}{
		"signature":                  {3, "NTFS    ", volume.ErrMalformed},
		"boot mark":                  {511, "\x00", volume.ErrMalformed},
		"FAT description":            {20, "\x01", volume.ErrMalformed},
		"sectors of 256 bytes":       {108, "\x08", volume.ErrMalformed},
		"sectors of 8192 bytes":      {108, "\x0D", volume.ErrMalformed},
		"clusters above 32 MiB":      {109, "\x11", volume.ErrMalformed},
		"revision 2":                 {105, "\x02", volume.ErrMalformed},
		"no allocation table":        {110, "\x00", volume.ErrMalformed},
		"TexFAT":                     {110, "\x02", ErrTexFAT},
		"no length":                  {72, "\x00\x00\x00\x00\x00\x00\x00\x00", volume.ErrMalformed},
		"length of 2^64":             {72, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", volume.ErrMalformed},
		"table in the boot region":   {80, "\x17\x00\x00\x00", volume.ErrMalformed},
		"table too short":            {84, "\x01\x00\x00\x00", volume.ErrMalformed},
		"table among the clusters":   {84, "\xFF\xFF\x00\x00", volume.ErrMalformed},
		"clusters behind the end":    {92, "\xFF\xFF\xFF\x00", volume.ErrMalformed},
		"no clusters":                {92, "\x00\x00\x00\x00", volume.ErrMalformed},
		"root that does not exist":   {96, "\xFF\xFF\xFF\x00", volume.ErrMalformed},
		"root in the table's header": {96, "\x01\x00\x00\x00", volume.ErrMalformed},
	} {
		m, _ := build(t, stick.ExFAT{Bytes: 4 * mega}, nil)
		if _, err := m.WriteAt([]byte(test.bytes), test.at); err != nil {
			t.Fatal(err)
		}
		fs, err := Open(m)
		if fs != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	for _, n := range []int{0, 1, 511, 512, 6000, 12_288 - 1} {
		m, _ := build(t, stick.ExFAT{Bytes: 4 * mega}, nil)
		head := make([]byte, n)
		m.ReadAt(head, 0)
		if fs, err := Open(volumetest.Bytes(head, 512)); err == nil && !list(t, volumetest.Bytes(head, 512), volume.Options{}).Bars() {
			t.Errorf("a volume cut to %d bytes is opened: %v", n, fs)
		}
	}
}

func TestTooManyClustersAreTooLarge(t *testing.T) {
	m, _ := build(t, stick.ExFAT{Bytes: 1<<40 + 1<<32, ClusterBytes: 4096}, nil)
	l := list(t, m, volume.Options{})
	if l.Summary.Outcome != report.TooLarge || l.Summary.Reason == "" {
		t.Errorf("%+v", l.Summary)
	}
}

// rules names what a listing found, for messages.
func rules(l volumetest.Listing) string {
	var out []string
	for _, f := range l.Summary.Findings {
		out = append(out, f.Rule)
	}
	for _, e := range l.Entries {
		for _, f := range e.Findings {
			out = append(out, fmt.Sprintf("%s (%q)", f.Rule, e.Path))
		}
	}
	return strings.Join(out, ", ")
}
