package fat

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

func TestEveryFileIsListedWithItsContent(t *testing.T) {
	for bits, spec := range specs {
		for _, cluster := range []int64{512, 2048} {
			if bits == 32 {
				spec.Bytes = 34 << 20 * cluster / 512
			}
			spec.ClusterBytes = cluster
			if bits == 16 {
				spec.Bytes = 8 << 20 * cluster / 512
			}
			img := build(t, spec, someFiles())
			l := img.list(t, volume.Options{})
			if diff := img.truth(t).Diff(l); len(diff) > 0 {
				t.Errorf("FAT%d, clusters of %d: %q", bits, cluster, diff)
			}
			if said := l.Signals(); len(said) > 0 {
				t.Errorf("FAT%d, clusters of %d: a healthy volume gives %v", bits, cluster, said)
			}
			for path, empty := range map[string]bool{"Folder": false, "Folder/Empty one": true} {
				if e := find(l, path); e == nil || e.Empty != empty || e.Outcome != report.Clean {
					t.Errorf("FAT%d: directory %q is %+v, want empty %v and clean", bits, path, e, empty)
				}
			}
			v, err := Open(img)
			if err != nil || v.Type() != fmt.Sprintf("fat%d", bits) {
				t.Errorf("type %q, %v", v.Type(), err)
			}
			if used := v.Used(); used < 27_000 || used > 200_000 {
				t.Errorf("FAT%d: %d bytes in use", bits, used)
			}
		}
	}
}

// In a deep walk every byte of the volume's clusters is in exactly one place: file, directory, slack or free.
func TestDeepWalkAccountsForEveryByteOfTheClusters(t *testing.T) {
	for bits, spec := range specs {
		img := build(t, spec, someFiles())
		l := img.list(t, volume.Options{Deep: true})
		var pieces []volume.Extent
		for _, e := range l.Entries {
			left := e.Valid
			for _, x := range e.Extents {
				if e.Kind != report.Directory && x.Start >= img.made.Heap {
					pieces = append(pieces, volume.Extent{Start: x.Start, Bytes: min(x.Bytes, left)})
				}
				left -= min(x.Bytes, left)
			}
		}
		slices.SortFunc(pieces, func(a, b volume.Extent) int { return int(a.Start - b.Start) })
		at := img.made.Heap
		for _, p := range pieces {
			if p.Start != at {
				t.Fatalf("FAT%d: the next piece starts at %d, want %d", bits, p.Start, at)
			}
			at += p.Bytes
		}
		if want := img.made.Heap + int64(img.made.Clusters)*512; at != want {
			t.Errorf("FAT%d: pieces end at %d, want %d", bits, at, want)
		}
	}
}

func TestShortNamesFollowCaseBitsAndCodePage(t *testing.T) {
	for _, c := range []struct {
		raw  string
		bits byte
		want string
		oem  bool
	}{
		{"README  TXT", 0, "README.TXT", false},
		{"README  TXT", 0x08, "readme.TXT", false},
		{"README  TXT", 0x10, "README.txt", false},
		{"README  TXT", 0x18, "readme.txt", false},
		{"NOEXT      ", 0, "NOEXT", false},
		{"A B     C D", 0, "A B.C D", false},
		{"\x05BC     TXT", 0, "σBC.TXT", true}, // 0x05 stands for 0xE5
		{"\x9AN      TXT", 0x08, "ün.TXT", true},
		{"        TXT", 0, ".TXT", false},
		{"           ", 0, "", false},
	} {
		slot := make([]byte, slotBytes)
		copy(slot, c.raw)
		slot[12] = c.bits
		if got, oem := shortName(slot); got != c.want || oem != c.oem {
			t.Errorf("%q with bits %#x: %q, %v; want %q, %v", c.raw, c.bits, got, oem, c.want, c.oem)
		}
	}
}

func TestNamesKeepEveryUnit(t *testing.T) {
	names := []string{
		strings.Repeat("x", 255), strings.Repeat("я", 255), strings.Repeat("長", 200), "😀🚀.txt", "half \xED\xA0\x80 of one", "\xED\xB0\x80",
		"exactly13unit", strings.Repeat("u", 26), ".hidden", "two.dots.tar.gz", "semi;comma,plus+eq=[br].txt",
	}
	var files []stick.File
	for i, n := range names {
		files = append(files, stick.File{Path: n, Data: []byte{byte(i)}})
	}
	img := build(t, specs[16], files)
	l := img.list(t, volume.Options{})
	if diff := img.truth(t).Diff(l); len(diff) > 0 {
		t.Error(diff)
	}
	for _, n := range names {
		if e := find(l, n); strings.Contains(n, "\xED") != (e != nil && hasRule(e.Findings, "name-surrogate")) {
			t.Errorf("%q: findings %v", n, e)
		}
	}
}

func TestNamesEqualInCapitalsAreBothReadAndTold(t *testing.T) {
	img := build(t, specs[16], []stick.File{{Path: "Report Übung.txt", Data: []byte("1")}, {Path: "REPORT ÜBUNG.TXT", Data: []byte("2")},
		{Path: "in/ONE.TXT", Data: []byte("3")}, {Path: "in/TWO.TXT", Data: []byte("4")}})
	img.patch(img.made.Record["in/TWO.TXT"], []byte("ONE     TXT")...)
	l := img.list(t, volume.Options{})
	told := map[string]int{}
	for _, e := range l.Entries {
		if hasRule(e.Findings, "name-twice") {
			told[e.Path]++
		}
	}
	if len(told) != 2 || told["REPORT ÜBUNG.TXT"] != 1 || told["in/ONE.TXT"] != 1 || l.Bars() {
		t.Errorf("told %v, volume %v", told, l.Summary)
	}
}

func TestT24_DeepTreeEndsInALimitAndItsFilesAreStillScanned(t *testing.T) {
	var path []string
	for range maxDepth + 5 {
		path = append(path, "d")
	}
	secret := bytes.Repeat([]byte("secret! "), 64)
	img := build(t, specs[16], []stick.File{{Path: strings.Join(path, "/") + "/F.TXT", Data: secret}})
	l := img.list(t, volume.Options{})
	if l.Summary.Outcome != report.TooLarge || l.Summary.Reason == "" {
		t.Errorf("the volume is %v: %q", l.Summary.Outcome, l.Summary.Reason)
	}
	if e := find(l, strings.Join(path[:maxDepth+1], "/")); e == nil || e.Outcome != report.TooLarge {
		t.Errorf("the directory at the limit is %+v", e)
	}
	found := false
	for _, e := range l.Entries {
		for _, x := range e.Extents {
			found = found || e.Kind == report.Area && bytes.Contains(img.bytes(x.Start, int(x.Bytes)), secret)
		}
	}
	if !found {
		t.Error("what lies below the limit is in no area")
	}
}

func TestFragmentsBeyondTheLimitAreTooLarge(t *testing.T) {
	c := chain{verdict: good}
	for i := range int64(maxExtents + 1) {
		c.add(volume.Extent{Start: i * 1024, Bytes: 512})
	}
	if c.outcome != report.TooLarge || len(c.extents) != maxExtents {
		t.Errorf("%v with %d extents", c.outcome, len(c.extents))
	}
}

func TestWalkEndsWithItsCaller(t *testing.T) {
	img := build(t, specs[16], someFiles())
	v, err := Open(img)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if s, err := v.Walk(context.Background(), volume.Options{}, func(volume.Entry) error { return stop }); err != stop || s.Outcome != report.Unscanned {
		t.Errorf("%v, %v", s.Outcome, err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if s, err := v.Walk(ctx, volume.Options{}, func(volume.Entry) error { return nil }); err != stop || s.Outcome != report.Unscanned {
		t.Errorf("%v, %v", s.Outcome, err)
	}
}

func TestTwoWalksGiveTheSame(t *testing.T) {
	img := build(t, specs[12], someFiles())
	img.link(img.made.Chain["BIG.BIN"][7], 0)
	one, two := img.list(t, volume.Options{Deep: true}), img.list(t, volume.Options{Deep: true})
	if fmt.Sprint(one) != fmt.Sprint(two) {
		t.Error("two walks differ")
	}
}

var hugeClusters = flag.Int64("clusters", 1<<24, "clusters of the huge volume; the nightly run says 268435444, which is a terabyte")

// huge is a FAT32 volume whose clusters are all in use, each a chain of its own without an owner: the most that accounting
// has to keep. Everything but the boot sector is made up as it is read.
type huge struct {
	boot       [512]byte
	size       int64
	from, to   int64 // both tables
	tablePiece []byte
}

func newHuge(clusters int64) *huge {
	h := &huge{from: 32 * 512, tablePiece: bytes.Repeat([]byte{0xFF, 0xFF, 0xFF, 0x0F}, 1<<18)}
	perFAT := ((clusters+2)*4 + 511) / 512
	h.to = h.from + 2*perFAT*512
	sectors := 32 + 2*perFAT + clusters*8
	h.size = sectors * 512
	for h.size > 0xFFFFFFFF*512 { // a boot sector cannot say more sectors than that
		sectors--
		h.size = sectors * 512
	}
	b := h.boot[:]
	le.PutUint16(b[11:], 512)
	b[13], b[14], b[16], b[21] = 8, 32, 2, 0xF8
	le.PutUint32(b[32:], uint32(sectors))
	le.PutUint32(b[36:], uint32(perFAT))
	le.PutUint32(b[44:], 2)
	return h
}

func (h *huge) Size() int64     { return h.size }
func (h *huge) SectorSize() int { return 512 }
func (h *huge) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < 512 {
		copy(p, h.boot[off:])
	}
	for at := max(h.from, off); at < min(h.to, off+int64(len(p))); {
		n := copy(p[at-off:min(h.to-off, int64(len(p)))], h.tablePiece[(at-h.from)%4:])
		at += int64(n)
	}
	return len(p), nil
}

func TestT24_HugeVolumeTakesLittleMemory(t *testing.T) {
	h := newHuge(*hugeClusters)
	v, err := Open(h)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	base, peak := stats.HeapAlloc, uint64(0)
	start, areas, total := time.Now(), 0, int64(0)
	s, err := v.Walk(t.Context(), volume.Options{}, func(e volume.Entry) error {
		if areas++; areas%500 == 1 || e.Path == "lost clusters" {
			runtime.GC() // what is garbage is no memory that the volume takes
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapAlloc-min(base, stats.HeapAlloc))
		}
		if strings.HasPrefix(e.Path, "lost") {
			total += e.Size
		}
		return nil
	})
	if err != nil || s.Outcome != report.Clean {
		t.Errorf("%v, %v: %s", err, s.Outcome, s.Reason)
	}
	if want := int64(v.bpb.Clusters-1) * 4096; total != want { // all but the root
		t.Errorf("areas of %d bytes, want %d", total, want)
	}
	t.Logf("%d clusters: %v, heap of %d MiB, %d areas", v.bpb.Clusters, time.Since(start).Round(time.Millisecond), peak>>20, areas)
	if peak > 64<<20 {
		t.Errorf("heap of %d MiB", peak>>20)
	}
}

func TestMemoryOfTheSetsIsBounded(t *testing.T) {
	v := &Volume{bpb: volume.BPB{Clusters: 0x0FFFFFF4}}
	seen, lost := newClusters(v, allPages), newClusters(v, maxLostPages)
	pages := 0
	for c := uint32(2); v.valid(c); c += pageWords * 64 {
		if !seen.add(c) {
			t.Fatalf("cluster %d does not fit", c)
		}
		if lost.add(c) {
			pages++
		}
	}
	if !seen.add(v.bpb.Clusters+1) || !seen.has(v.bpb.Clusters+1) || seen.has(3) {
		t.Error("the last cluster does not fit")
	}
	if pages != maxLostPages {
		t.Errorf("%d pages of lost clusters, want %d", pages, maxLostPages)
	}
	if lost.has(v.bpb.Clusters + 1) {
		t.Error("a cluster is in a page that was never made")
	}
}

func TestOpenRefusesWhatIsNoFAT(t *testing.T) {
	good := build(t, specs[16], someFiles())
	if _, err := Open(volumetest.Bytes(nil, 512)); !errors.Is(err, volume.ErrMalformed) {
		t.Errorf("no bytes: %v", err)
	}
	if _, err := Open(volumetest.FailAt(good, []volume.Extent{{Start: 0, Bytes: 1}})); !errors.Is(err, volume.ErrUnreadable) {
		t.Errorf("bad sector: %v", err)
	}
	if _, err := Open(volume.Section(good, 0, good.Size()/2)); !errors.Is(err, volume.ErrMalformed) {
		t.Errorf("half a volume: %v", err)
	}
	for i, what := range map[int]string{11: "sector size", 13: "cluster size", 14: "reserved sectors", 16: "tables", 17: "root entries", 22: "table size"} {
		img := build(t, specs[16], nil)
		img.patch(int64(i), 0, 0)
		if _, err := Open(img); !errors.Is(err, volume.ErrMalformed) {
			t.Errorf("no %s: %v", what, err)
		}
	}
}
