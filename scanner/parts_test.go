package scanner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/scanner/frame"
	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// testWindow is a window on a volume of 1 MiB at 1 MiB of a medium of 4 MiB.
func testWindow() *window {
	s := &scan{job: report.Job{Size: 4 * mib, SlotBytes: 4 * mib}}
	return s.window(0, mib, mib)
}

func TestEntriesBecomeTasksOrRefusals(t *testing.T) {
	at := func(start, n int64) []volume.Extent { return []volume.Extent{{Start: start, Bytes: n}} }
	tests := []struct {
		name    string
		entry   volume.Entry
		read    bool
		bytes   int64
		outcome report.Outcome // if it is not read: the end; else what stays whatever is found
	}{
		{"a file", volume.Entry{Kind: report.File, Size: 100, Valid: 100, Extents: at(0, 512)}, true, 100, 0},
		{"an empty file", volume.Entry{Kind: report.File}, true, 0, 0},
		{"a stream", volume.Entry{Kind: report.Stream, Size: 1, Valid: 1, Extents: at(0, 512)}, true, 1, 0},
		{"an area", volume.Entry{Kind: report.Area, Size: mib, Valid: mib, Extents: at(0, mib)}, true, mib, 0},
		{"a file that a reader calls clean", volume.Entry{Kind: report.File, Size: 1, Valid: 1, Extents: at(0, 512), Outcome: report.Clean}, true, 1, 0},
		{"zeros behind what is stored", volume.Entry{Kind: report.File, Size: 1000, Valid: 10, Extents: at(0, 1024)}, true, 1000, 0},
		{"more valid than size", volume.Entry{Kind: report.File, Size: 10, Valid: 1000, Extents: at(0, 1024)}, true, 10, 0},
		{"a hole", volume.Entry{Kind: report.File, Size: 1000, Valid: 1000, Extents: at(-1, 1024)}, true, 1000, 0},
		{"extents too short", volume.Entry{Kind: report.File, Size: 1000, Valid: 1000, Extents: at(0, 512)}, true, 512, report.Malformed},
		{"no extents", volume.Entry{Kind: report.File, Size: 1000, Valid: 1000}, false, 0, report.Malformed},
		{"a chain that loops", volume.Entry{Kind: report.File, Size: 1000, Valid: 1000, Extents: at(0, 512), Outcome: report.Malformed}, true, 512, report.Malformed},
		{"malformed without content", volume.Entry{Kind: report.File, Size: 1000, Valid: 1000, Outcome: report.Malformed}, false, 0, report.Malformed},
		{"unreadable without content", volume.Entry{Kind: report.File, Size: 1000, Outcome: report.Unreadable}, false, 0, report.Unreadable},
		{"encrypted", volume.Entry{Kind: report.File, Size: 10, Valid: 10, Extents: at(0, 512), Outcome: report.Encrypted}, true, 10, report.Encrypted},
		{"negative size", volume.Entry{Kind: report.File, Size: -1}, false, 0, report.Malformed},
		{"negative valid", volume.Entry{Kind: report.File, Size: 10, Valid: -1, Extents: at(0, 512)}, true, 10, 0},
		{"negative extent", volume.Entry{Kind: report.File, Size: 10, Valid: 10, Extents: at(0, -1)}, false, 0, report.Malformed},
		{"past the volume", volume.Entry{Kind: report.File, Size: 10, Valid: 10, Extents: at(mib-511, 512)}, false, 0, report.Unreadable},
		{"far past the volume", volume.Entry{Kind: report.File, Size: 10, Valid: 10, Extents: at(math.MaxInt64, 512)}, false, 0, report.Unreadable},
		{"longer than the volume", volume.Entry{Kind: report.File, Size: 10, Valid: 10, Extents: at(0, math.MaxInt64)}, false, 0, report.Unreadable},
		{"extents that overflow", volume.Entry{Kind: report.File, Size: 10, Valid: 10, Extents: append(at(-1, math.MaxInt64), at(-1, math.MaxInt64)...)}, false, 0, report.Malformed},
		{"holes larger than the medium", volume.Entry{Kind: report.File, Size: 1 << 50, Valid: 1 << 50, Extents: at(-1, 1<<50)}, false, 0, report.TooLarge},
		{"zeros larger than the medium", volume.Entry{Kind: report.File, Size: math.MaxInt64}, false, 0, report.TooLarge},
		{"a directory", volume.Entry{Kind: report.Directory, Size: 512, Outcome: report.Clean}, false, 0, report.Clean},
		{"a directory nobody walked", volume.Entry{Kind: report.Directory}, false, 0, report.Unscanned},
		{"a damaged directory", volume.Entry{Kind: report.Directory, Outcome: report.Malformed}, false, 0, report.Malformed},
		{"a directory with a finding", volume.Entry{Kind: report.Directory, Outcome: report.Clean, Findings: []report.Finding{{Check: report.CheckVolume}}}, false, 0, report.Flagged},
		{"a member, which no volume has", volume.Entry{Kind: report.Member, Size: 1}, false, 0, report.Malformed},
		{"an entry of no kind", volume.Entry{}, false, 0, report.Malformed},
		{"no path", volume.Entry{Kind: report.Directory, Outcome: report.Clean, Path: "-"}, false, 0, report.Malformed},
		{"a path too long", volume.Entry{Kind: report.Directory, Outcome: report.Clean, Path: strings.Repeat("x", report.MaxPathBytes+1)}, false, 0, report.Malformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			switch test.entry.Path {
			case "":
				test.entry.Path = "p"
			case "-":
				test.entry.Path = ""
			}
			got := testWindow().task(test.entry)
			if got.read != test.read || got.item.Outcome != test.outcome || got.read && got.content.bytes != test.bytes {
				t.Errorf("read %v, %d bytes, %v", got.read, got.content.bytes, got.item.Outcome)
			}
			if !got.read && got.item.Outcome.Seen() && got.item.Kind != report.Directory {
				t.Error("seen without being read")
			}
			m := report.ItemMessage(&got.item)
			if _, err := m.Item.Decode(); err != nil && !got.read {
				t.Errorf("cannot be sent: %v", err)
			}
			for _, x := range got.content.extents {
				if x.Start >= 0 && (x.Start < mib || x.Start+x.Bytes > 2*mib) {
					t.Errorf("reads the neighbour at %+v", x)
				}
			}
		})
	}
}

func TestConcludeKeepsTheWorstFindings(t *testing.T) {
	it := report.Item{Path: "p", Kind: report.File}
	for i := range 3 * report.MaxPerItem {
		it.Findings = append(it.Findings, report.Finding{Check: report.CheckYARA, Severity: report.Inform, Offset: int64(i)})
	}
	it.Findings = append(it.Findings, report.Finding{Check: report.CheckYARA, Severity: report.Block})
	conclude(&it, true)
	if len(it.Findings) != report.MaxPerItem || it.Findings[0].Severity != report.Block || it.Findings[1].Offset != 0 || it.Outcome != report.Flagged {
		t.Errorf("%d findings, first %+v, %v", len(it.Findings), it.Findings[0], it.Outcome)
	}
}

func TestConcludeNeverTurnsAnOutcomeIntoClean(t *testing.T) {
	for o := report.Unscanned; o <= report.Unreadable; o++ {
		for _, scanned := range []bool{false, true} {
			it := report.Item{Path: "p", Kind: report.File, Outcome: o}
			conclude(&it, scanned)
			want := o
			if o == report.Unscanned && scanned {
				want = report.Clean
			}
			if it.Outcome != want {
				t.Errorf("%v, scanned %v: %v", o, scanned, it.Outcome)
			}
		}
	}
}

func TestRegionsThatNothingBacksAreNotUnderstood(t *testing.T) {
	layout := &volume.Layout{
		Areas:   []volume.Entry{{Extents: []volume.Extent{{Start: 0, Bytes: 100}, {Start: 100, Bytes: 50}}}, {Extents: []volume.Extent{{Start: 300, Bytes: 10}}}},
		Volumes: []volume.Candidate{{Start: 1000, Bytes: 500}, {Start: 1400, Bytes: 600}},
	}
	for _, test := range []struct {
		start, bytes int64
		class, want  report.RegionClass
	}{
		{0, 150, report.RegionData, report.RegionData},
		{10, 140, report.RegionData, report.RegionData},
		{0, 151, report.RegionData, report.NotUnderstood},
		{200, 10, report.RegionData, report.NotUnderstood},
		{299, 5, report.RegionData, report.NotUnderstood},
		{1000, 1000, report.RegionVolume, report.RegionVolume},
		{1000, 1001, report.RegionVolume, report.NotUnderstood},
		{0, 10, report.RegionVolume, report.NotUnderstood},
		{500, 10, report.RegionZero, report.RegionZero},
		{500, 10, report.NotUnderstood, report.NotUnderstood},
		{2000, 10, report.RegionMissing, report.RegionMissing},
	} {
		if got := accounted(report.Region{Start: test.start, Bytes: test.bytes, Class: test.class}, layout); got != test.want {
			t.Errorf("%v at %d: %v", test.class, test.start, got)
		}
	}
}

func TestGathererReadsEachByteOnceAndRight(t *testing.T) {
	medium := make([]byte, 16*mib)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(medium)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		src := &counted{Source: volumetest.Bytes(medium, 512)}
		g := gatherer{src: src}
		var pieces []piece
		var want int64
		for at := int64(0); at < int64(len(medium)); {
			n := 1 + rng.Int64N(1<<rng.IntN(20))
			n = min(n, int64(len(medium))-at)
			pieces = append(pieces, piece{at, make([]byte, n), &content{}})
			want += n
			at += n + rng.Int64N(1<<rng.IntN(17))
		}
		rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		kept := slices.Clone(pieces)
		g.read(pieces)
		for _, p := range kept {
			if p.owner.failed || !bytes.Equal(p.into, medium[p.start:p.start+int64(len(p.into))]) {
				t.Fatalf("piece of %d at %d: failed %v", len(p.into), p.start, p.owner.failed)
			}
		}
		if waste := src.bytes.Load() - want; waste < 0 || waste > int64(len(kept))*gapBytes {
			t.Fatalf("%d bytes wanted, %d read", want, src.bytes.Load())
		}
	}
}

func TestGathererBlamesOnlyThePieceThatFailed(t *testing.T) {
	medium := make([]byte, mib)
	for bad := int64(0); bad < mib; bad += 40_000 {
		src := &counted{Source: volumetest.FailAt(volumetest.Bytes(medium, 512), []volume.Extent{{Start: bad, Bytes: 1}})}
		var pieces []piece
		for at := int64(0); at < mib; at += 10_000 {
			pieces = append(pieces, piece{at, make([]byte, 5_000), &content{}})
		}
		g := gatherer{src: src}
		g.read(pieces)
		for _, p := range pieces {
			if want := p.start <= bad && bad < p.start+5_000; p.owner.failed != want {
				t.Fatalf("bad byte %d: piece at %d failed %v", bad, p.start, p.owner.failed)
			}
		}
	}
}

// brokenSource is a source that returns counts that no reader may return.
type brokenSource struct{ volume.Source }

func (brokenSource) ReadAt(p []byte, _ int64) (int, error) { return len(p) + 10, nil }

func TestSourceThatCountsWrongIsUnreadable(t *testing.T) {
	src := &counted{Source: brokenSource{}}
	p := []piece{{0, make([]byte, 10), &content{}}}
	(&gatherer{src: src}).read(p)
	if !p[0].owner.failed || src.bytes.Load() != 0 {
		t.Errorf("failed %v, %d bytes", p[0].owner.failed, src.bytes.Load())
	}
}

func TestContentIsItsExtentsItsHolesAndZeros(t *testing.T) {
	medium := make([]byte, 4096)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(medium)
	c := &content{extents: []volume.Extent{{Start: 1000, Bytes: 300}, {Start: -1, Bytes: 200}, {Start: 0, Bytes: 100}, {Start: 2000, Bytes: 50}}, bytes: 700}
	c.open()
	want := slices.Concat(medium[1000:1300], make([]byte, 200), medium[:100], medium[2000:2050], make([]byte, 50))
	g := gatherer{src: &counted{Source: volumetest.Bytes(medium, 512)}}
	for off := int64(0); off <= 700; off += 7 {
		for _, n := range []int64{0, 1, 250, 700 - off} {
			n = min(n, 700-off)
			into := bytes.Repeat([]byte{0xAA}, int(n))
			g.read(c.pieces(nil, into, off))
			if !bytes.Equal(into, want[off:off+n]) {
				t.Fatalf("%d bytes at %d are wrong", n, off)
			}
		}
	}
}

func TestSenderCountsAsTheCollectorDoes(t *testing.T) {
	var pipe bytes.Buffer
	s := NewSender(&pipe)
	send := func(m report.Message) {
		t.Helper()
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("ü", report.MaxText) + "\xff"
	send(report.Message{Ready: &report.Ready{}})
	send(report.Message{Region: &report.Region{Bytes: 512, Class: report.RegionVolume, What: long}})
	send(report.Message{Finding: &report.VolumeFinding{Volume: -1, Finding: report.Finding{Check: report.CheckMedium, Rule: long, Text: long}}})
	v := report.Volume{Bytes: 512, FileSystem: "fat12"}
	send(report.Message{Volume: &v})
	it := report.Item{Path: "\xff", Kind: report.File, Outcome: report.Flagged, Findings: []report.Finding{{Check: report.CheckYARA, Rule: long, Text: long}}}
	if err := s.item(&it); err != nil {
		t.Fatal(err)
	}
	v.Outcome, v.Reason = report.Malformed, long
	send(report.Message{Volume: &v})
	if err := s.finish(report.Done{BytesRead: 1, Sector: 512}); err != nil {
		t.Fatal(err)
	}
	c, in := report.NewCollector(report.Job{Size: 512, Slots: 1}, nil), frame.NewReader(&pipe)
	for {
		var m report.Message
		if err := in.Next(&m); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := c.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	if r := c.Report(); !r.Complete || r.Tally.Findings != 2 {
		t.Errorf("%+v", r)
	}
}

func TestWindowsAreDispatchedInTheOrderOfTheMedium(t *testing.T) {
	var tasks []*task
	for i := range 5000 {
		n := int64(i*7919%3000) * 512
		tasks = append(tasks, &task{content: content{bytes: n}, item: report.Item{Path: fmt.Sprint(i)}})
	}
	s := &scan{job: report.Job{SlotBytes: 4 * mib}}
	for rest := tasks; len(rest) > 0; {
		n := s.cut(rest)
		if n < 1 || n > 64 {
			t.Fatalf("a unit of %d", n)
		}
		end := int64(0)
		for _, u := range rest[:n] {
			if u.offset < end || u.offset%pieceAlign != 0 {
				t.Fatalf("pieces overlap at %d", u.offset)
			}
			end = u.offset + u.content.bytes
		}
		if n > 1 && end > 2*mib {
			t.Fatalf("%d pieces end at %d", n, end)
		}
		rest = rest[n:]
	}
}

// What waits is bounded by its words too: a path can be as long as a page of text, and cost nothing to store.
func TestT24_LongPathsDoNotFillMemory(t *testing.T) {
	s := &scan{job: report.Job{Size: 4 * mib, SlotBytes: 4 * mib}}
	w := s.window(0, 0, mib)
	path := strings.Repeat("p", report.MaxPathBytes)
	var tasks []*task
	for range 2 * windowText / len(path) {
		tasks = append(tasks, w.task(volume.Entry{Path: path, Kind: report.Directory, Outcome: report.Clean}))
	}
	for rest := tasks; len(rest) > 0; {
		n := s.cut(rest)
		if n < 1 || n*len(path) > unitText {
			t.Fatalf("%d paths in one unit", n)
		}
		rest = rest[n:]
	}
	s.order = make(chan outgoing, orderUnits)
	for i := range 2 * windowText / len(path) {
		if err := w.add(t.Context(), volume.Entry{Path: path, Kind: report.Directory, Outcome: report.Clean}); err != nil {
			t.Fatal(err)
		}
		if w.text > windowText || len(w.tasks) > windowText/len(path)+1 {
			t.Fatalf("%d tasks wait after %d", len(w.tasks), i)
		}
		for len(s.order) > 0 {
			<-s.order
		}
	}
}

// Zeros that nobody stored are scanned up to a limit, wherever they come from, and not counted for what is stored.
func TestT24_ContentThatNobodyStoredIsLimited(t *testing.T) {
	const size = 1 << 45
	entries := []volume.Entry{
		{Path: "hole", Kind: report.File, Size: maxUnbacked / 2, Valid: maxUnbacked / 2, Extents: []volume.Extent{{Start: -1, Bytes: maxUnbacked / 2}}},
		{Path: "stored", Kind: report.File, Size: size / 2, Valid: size / 2, Extents: []volume.Extent{{Start: 0, Bytes: size / 2}}},
		{Path: "zeros", Kind: report.File, Size: maxUnbacked/2 + 512, Valid: 512, Extents: []volume.Extent{{Start: 0, Bytes: maxUnbacked}}},
		{Path: "one too many", Kind: report.File, Size: 513, Valid: 512, Extents: []volume.Extent{{Start: 0, Bytes: 512}}},
		{Path: "packed", Kind: report.File, Size: 1024, Valid: 1024, Extents: []volume.Extent{{Start: 0, Bytes: 512}, {Start: -1, Bytes: 512}},
			Decode: func(io.ReaderAt) io.ReaderAt { return strings.NewReader("") }},
		{Path: "stored too", Kind: report.File, Size: 512, Valid: 512, Extents: []volume.Extent{{Start: 0, Bytes: 512}}},
	}
	s := &scan{job: report.Job{Size: size, SlotBytes: 4 * mib}}
	w := s.window(0, 0, size)
	for _, e := range entries {
		refused := e.Path == "one too many" || e.Path == "packed"
		if k := w.task(e); k.read == refused || (k.item.Outcome == report.TooLarge) != refused {
			t.Errorf("%s: read %v, %v", e.Path, k.read, k.item.Outcome)
		}
	}
}

func TestReadersThatPanicCostTheirVolume(t *testing.T) {
	sum, err := walk(t.Context(), panicking{}, volume.Options{}, func(volume.Entry) error { return nil })
	if err != nil || sum.Outcome != report.Malformed || sum.Reason == "" {
		t.Errorf("%+v, %v", sum, err)
	}
	stop := errors.New("stop")
	if _, err := walk(t.Context(), emitting{}, volume.Options{}, func(volume.Entry) error { return stop }); err != stop {
		t.Errorf("%v", err)
	}
}

func TestItemTimeGrowsWithItsSize(t *testing.T) {
	job := &report.Job{FileTimeout: 1500}
	if timeout(job, 0) != 1500*time.Millisecond || timeout(job, 64*mib) != 33500*time.Millisecond {
		t.Errorf("%v, %v", timeout(job, 0), timeout(job, 64*mib))
	}
}

func TestDirectoriesHaveTheHashOfNothing(t *testing.T) {
	if got := testWindow().task(volume.Entry{Path: "d", Kind: report.Directory, Outcome: report.Clean}); got.item.SHA256 != sha256.Sum256(nil) {
		t.Errorf("%x", got.item.SHA256)
	}
}

// panicking is a reader with a bug that a medium can reach.
type panicking struct{}

func (panicking) Used() int64 { return 0 }
func (panicking) Walk(context.Context, volume.Options, func(volume.Entry) error) (volume.Summary, error) {
	var none []byte
	_ = none[len(none)]
	return volume.Summary{}, nil
}

// emitting is a reader that passes on what emit says, as the agreement asks.
type emitting struct{}

func (emitting) Used() int64 { return 0 }
func (emitting) Walk(_ context.Context, _ volume.Options, emit func(volume.Entry) error) (volume.Summary, error) {
	return volume.Summary{}, emit(volume.Entry{})
}
