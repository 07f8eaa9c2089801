package scanner

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

var liars = flag.Int("liars", 300, "media that lie about one block in ten thousand, each read under another seed; 3,000 at night")

// hospital is a stick with something of everything, and where the parts of it are.
type hospital struct {
	*image
	files    []stick.File
	program  volume.Extent
	stream   volume.Extent // a program larger than a slot
	evil     volume.Extent
	metadata volume.Extent
}

func newHospital(t *testing.T) *hospital {
	files := []stick.File{{Path: "setup.exe", Data: append(program(), marked(300_000, 1)...)}, {Path: "evil", Data: append(marked(9_000, 2), "match warn\n"...)},
		{Path: "large.exe", Data: append(program(), marked(5*mib, 3)...)}, {Path: "words.txt", Data: marked(2*mib, 4)}, noise("folder/a", 900_000, 5)}
	img, v := fatImage(t, 16, 64*mib, 4096, files)
	whole, err := io.ReadAll(io.NewSectionReader(img, 0, img.size))
	if err != nil {
		t.Fatal(err)
	}
	find := func(content []byte) volume.Extent {
		at := bytes.Index(whole, content[:512])
		if at < 0 {
			t.Fatal("a file is not where it should be")
		}
		return volume.Extent{Start: int64(at), Bytes: int64(len(content))}
	}
	return &hospital{img, files, find(files[0].Data), find(files[2].Data), find(files[1].Data), volume.Extent{Bytes: v.RootDir + 16<<10}}
}

// marked is content in which every place is another.
func marked(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' ' + byte(i)%64
	}
	for i := 0; i+8 <= n; i += 512 {
		copy(b[i:], fmt.Sprintf("%c%07d", 'a'+seed, i/512))
	}
	return b
}

func in(x volume.Extent, at int64) bool {
	return x.Start < at+volumetest.LieBlock && at < x.Start+x.Bytes
}

// found are the rules of the findings about the medium that block.
func found(rep report.Report) (rules []string) {
	for _, f := range rep.Found {
		if f.Finding.Check == report.CheckMedium && f.Finding.Severity == report.Block {
			rules = append(rules, f.Finding.Rule)
		}
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

func TestT04_MediaThatChangeWhatTheyShowAreFound(t *testing.T) {
	h := newHospital(t)
	honest := &volumetest.Liar{Source: h.image, Lies: func(volumetest.Read) bool { return false }}
	var first atomic.Int64 // reads before the second reading
	r := newRig(t, 2, 4*mib, h.size)
	r.job.Seed = [32]byte{1}
	if rep := mustScan(t, r, forgetting{honest, func() { first.CompareAndSwap(0, int64(honest.Reads())) }}); !rep.Complete || len(found(rep)) > 0 || rep.Again.Items != 3 || rep.Again.Blocks != leastBlocks {
		t.Fatalf("an honest medium: complete %v, %v, %+v", rep.Complete, found(rep), rep.Again)
	}
	reads := int(first.Load())
	data := volume.Extent{Start: h.metadata.Bytes, Bytes: h.size}
	late := volume.Extent{Start: h.stream.Start + 3*mib, Bytes: 1}
	one, folder := volume.Extent{Start: h.program.Start + 64<<10, Bytes: 1}, volume.Extent{Start: h.metadata.Bytes - 16<<10, Bytes: 1}
	for name, lies := range map[string]func(volumetest.Read) bool{
		"every second reading":             func(r volumetest.Read) bool { return r.Nth%2 == 0 },
		"from the second reading on":       func(r volumetest.Read) bool { return r.Nth > 1 },
		"the first reading only":           func(r volumetest.Read) bool { return r.Nth == 1 && in(data, r.At) },
		"after half of the reads":          func(r volumetest.Read) bool { return r.Reads > reads/2 },
		"after the scan":                   func(r volumetest.Read) bool { return r.Reads > reads },
		"by time":                          func(r volumetest.Read) bool { return r.After > 20*time.Millisecond },
		"reads that go back":               func(r volumetest.Read) bool { return !r.Forward && in(data, r.At) },
		"reads that go forward":            func(r volumetest.Read) bool { return r.Forward && in(data, r.At) },
		"of a program":                     func(r volumetest.Read) bool { return r.Nth > 1 && in(h.program, r.At) },
		"one block of a program":           func(r volumetest.Read) bool { return r.Nth > 1 && in(one, r.At) },
		"a program larger than a slot":     func(r volumetest.Read) bool { return r.Reads > reads && in(late, r.At) },
		"flagged content":                  func(r volumetest.Read) bool { return r.Nth > 1 && in(h.evil, r.At) },
		"what describes the volume":        func(r volumetest.Read) bool { return r.Nth > 1 && in(h.metadata, r.At) },
		"one block of what describes it":   func(r volumetest.Read) bool { return r.Nth > 1 && in(folder, r.At) },
		"the partition table, or its like": func(r volumetest.Read) bool { return r.Nth > 3 && r.At == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			l := &volumetest.Liar{Source: h.image, Lies: lies}
			if name == "by time" {
				l.Delay = time.Millisecond
			}
			r := newRig(t, 2, 4*mib, h.size)
			rep := mustScan(t, r, l)
			if l.Told() == 0 {
				t.Fatal("it did not lie")
			}
			stream := slices.ContainsFunc(r.items, func(it report.Item) bool { return has(it.Findings, report.CheckMedium, report.Block) })
			if got := found(rep); !slices.Contains(got, "medium-changes") && !stream {
				t.Errorf("it lied %d times in %d reads: %v, complete %v %v", l.Told(), l.Reads(), got, rep.Complete, rep.Shortfalls)
			}
		})
	}
}

// forgetting is a medium behind a memory.
type forgetting struct {
	volume.Source
	forget func()
}

func (f forgetting) Forget(int64, int64) error { f.forget(); return nil }

type stubborn struct{ volume.Source }

func (stubborn) Forget(int64, int64) error { return io.ErrClosedPipe }

// stale is a medium of which the computer remembers all that it has seen, until it is told to forget it.
type stale struct {
	volume.Source
	fresh volume.Source
	asked *atomic.Bool
}

func (s stale) Forget(int64, int64) error { s.asked.Store(true); return nil }
func (s stale) ReadAt(p []byte, off int64) (int, error) {
	if s.asked.Load() {
		return s.fresh.ReadAt(p, off)
	}
	return s.Source.ReadAt(p, off)
}

func TestT04_TheSecondReadingAsksTheMediumAndNotTheKernel(t *testing.T) {
	h := newHospital(t)
	other := &volumetest.Liar{Source: h.image, Lies: func(r volumetest.Read) bool { return in(h.program, r.At) }}
	if rep := mustScan(t, newRig(t, 1, 4*mib, h.size), stale{h.image, other, new(atomic.Bool)}); !slices.Equal(found(rep), []string{"medium-changes"}) {
		t.Errorf("found %v", found(rep))
	}
	if rep := mustScan(t, newRig(t, 1, 4*mib, h.size), stubborn{h.image}); rep.Complete {
		t.Error("complete, although the kernel gave its own memory a second time")
	}
}

func TestT04_PlacesThatCannotBeReadASecondTimeAreNotComplete(t *testing.T) {
	h := newHospital(t)
	for name, x := range map[string]volume.Extent{"a program": h.program, "flagged content": h.evil, "the table of the volume": {Start: 0, Bytes: 512}} {
		var again atomic.Bool
		bad := volumetest.FailAt(h.image, []volume.Extent{x})
		src := stale{h.image, bad, &again}
		if rep := mustScan(t, newRig(t, 2, 4*mib, h.size), src); rep.Complete || len(rep.Shortfalls) == 0 || bad.Hits() == 0 {
			t.Errorf("%s: complete %v, %v, %d failed reads", name, rep.Complete, rep.Shortfalls, bad.Hits())
		}
	}
}

// TestSeedDoesNotChangeWhatIsSaidOfAnHonestMedium is invariant I9.
func TestSeedDoesNotChangeWhatIsSaidOfAnHonestMedium(t *testing.T) {
	h := newHospital(t)
	var first [][]byte
	for seed := range byte(5) {
		r := newRig(t, 2, 4*mib, h.size)
		r.job.Seed[0] = seed
		if rep := mustScan(t, r, h.image); !rep.Complete || len(found(rep)) > 0 {
			t.Fatalf("seed %d: complete %v, %v, %v", seed, rep.Complete, rep.Shortfalls, found(rep))
		}
		if first == nil {
			first = r.said
		} else if !slices.EqualFunc(first, r.said, bytes.Equal) {
			t.Errorf("seed %d: other messages", seed)
		}
	}
}

// blank is a medium of zeros in which some blocks hold something else from some moment on.
type blank struct {
	size    int64
	changed map[int64]bool // by number, of contentBlock
	lying   bool
}

func (b *blank) Size() int64     { return b.size }
func (b *blank) SectorSize() int { return 512 }
func (b *blank) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at := off - off%contentBlock; b.lying && at < off+int64(len(p)); at += contentBlock {
		if b.changed[at/contentBlock] && at >= off {
			p[at-off] = 1
		}
	}
	return len(p), nil
}

// TestT04_RareChangesAreSeenAsOftenAsStated reads media of 10,000 blocks, some of which change, each under another seed. How
// many are found out must be what report.Again.Seen says, within four standard deviations.
func TestT04_RareChangesAreSeenAsOftenAsStated(t *testing.T) {
	const blocks = 10_000
	var all []string
	for _, changed := range []int{1, 10, 100} {
		share := float64(changed) / blocks
		want := report.Again{Blocks: leastBlocks}.Seen(share)
		runs := *liars
		if changed > 1 {
			runs /= 10 // their odds need fewer
		}
		rng, caught := rand.New(rand.NewPCG(uint64(changed), 4)), 0
		for range runs {
			src := &blank{size: blocks * contentBlock, changed: map[int64]bool{}}
			for len(src.changed) < changed {
				src.changed[rng.Int64N(blocks)] = true
			}
			var seed [32]byte
			binary.LittleEndian.PutUint64(seed[:], rng.Uint64())
			s, told := lone(t, src, seed), report.Again{}
			for at := int64(0); at < src.size; at += contentBlock {
				if _, err := s.src.ReadAt(s.pool.lanes[0].slot.buffer[:contentBlock], at); err != nil {
					t.Fatal(err)
				}
			}
			src.lying = true
			if _, err := s.readAgain(t.Context(), &told); err != nil {
				t.Fatal(err)
			}
			if _, seen := s.src.witness.change(); seen {
				caught++
			} else if told.Blocks != leastBlocks {
				t.Fatalf("%d blocks were read again", told.Blocks)
			}
		}
		n := float64(runs)
		all = append(all, fmt.Sprintf("%.2f %% of %d media that change %d in %d of their blocks, stated %.2f %%", 100*float64(caught)/n, runs, changed, blocks, 100*want))
		if slack := 4*math.Sqrt(n*want*(1-want)) + 1; math.Abs(float64(caught)-n*want) > slack+n*0.01 {
			t.Errorf("%d of %d found out, stated %.1f", caught, runs, n*want)
		}
	}
	t.Logf("found out: %s", strings.Join(all, "; "))
}

// lone is a scan that reads and does nothing else.
func lone(t *testing.T, src volume.Source, seed [32]byte) *scan {
	t.Helper()
	w, err := newWitness(seed)
	if err != nil {
		t.Fatal(err)
	}
	s := &scan{job: report.Job{Size: src.Size(), Seed: seed}, sector: 512, src: &counted{Source: src, witness: w},
		pool: &pool{lanes: []*lane{{slot: &Slot{buffer: make([]byte, mib)}}}}}
	s.gather.src = s.src
	return s
}

func TestT04_ItemsAreReadAgainHoweverTheyLie(t *testing.T) {
	data := marked(4*mib, 9)
	unpacked := bytes.Repeat([]byte("unpacked"), mib/4)
	scattered := []volume.Extent{{Start: 2 * mib, Bytes: mib}, {Start: -1, Bytes: 4096}, {Start: 512, Bytes: mib - 512}}
	whole := slices.Concat(data[2*mib:3*mib], make([]byte, 4096), data[512:mib])
	gives := func(b []byte) func() io.ReaderAt { return func() io.ReaderAt { return bytes.NewReader(b) } }
	chained := func(b []byte) *chain {
		var c chain
		c.write((&lists{}).hasher(), b)
		return &c
	}
	for name, it := range map[string]item{
		"in pieces":          {extents: scattered, bytes: int64(len(whole)), sum: sha256.Sum256(whole)},
		"larger than a slot": {extents: scattered, bytes: int64(len(whole)), chain: chained(whole)},
		"with zeros behind":  {extents: scattered[:1], bytes: mib + 100, sum: sha256.Sum256(append(slices.Clone(data[2*mib:3*mib]), make([]byte, 100)...))},
		"decoded":            {extents: scattered[:1], decode: gives(unpacked), bytes: int64(len(unpacked)), sum: sha256.Sum256(unpacked)},
	} {
		for _, lies := range []bool{false, true} {
			src := volumetest.Bytes(slices.Clone(data), 512)
			if lies {
				src = volumetest.Bytes(append(slices.Clone(data[:mib-1]), slices.Concat([]byte{1}, data[mib:3*mib-1], []byte{1}, data[3*mib:])...), 512)
				if it.decode != nil {
					it.decode = gives(append(slices.Clone(unpacked[:len(unpacked)-1]), 0))
				}
			}
			s := lone(t, src, [32]byte{})
			s.pool.lanes[0].slot.buffer = make([]byte, 4*mib)
			if !s.itemAgain(t.Context(), &it, rand.New(rand.NewPCG(1, 1))) {
				t.Errorf("%s: not read", name)
			}
			if at, changed := s.src.witness.change(); changed != lies || changed && at != it.extents[0].Start {
				t.Errorf("%s, lies %v: changed %v at %d", name, lies, changed, at)
			}
		}
	}
	for name, c := range map[string]struct {
		fault        error
		read, change bool
	}{"unreadable": {volume.ErrUnreadable, false, false}, "malformed": {volume.ErrMalformed, true, true}, "a panic": {nil, true, true}} {
		s := lone(t, volumetest.Bytes(data, 512), [32]byte{})
		it := item{extents: scattered, decode: func() io.ReaderAt { return fails{c.fault} }, bytes: 5000, sum: [32]byte{1}}
		read := s.itemAgain(t.Context(), &it, rand.New(rand.NewPCG(1, 1)))
		if _, changed := s.src.witness.change(); read != c.read || changed != c.change {
			t.Errorf("%s the second time: read %v, changed %v", name, read, changed)
		}
	}
}

func TestTheSampleGrowsWithWhatWasRead(t *testing.T) {
	// The last block is read in any case, by the trial of the capacity.
	for read, want := range map[int64]uint64{0: 1, 100 << 10: 13, leastBlocks * contentBlock: leastBlocks, 100 * blockShare: leastBlocks,
		300 * blockShare: 300, 600 * blockShare: contentBlocks} {
		s, told := lone(t, &blank{size: max(read, contentBlock)}, [32]byte{7}), report.Again{}
		for at := int64(0); at+contentBlock <= read; at += contentBlock {
			if _, err := s.src.ReadAt(s.pool.lanes[0].slot.buffer[:contentBlock], at); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.readAgain(t.Context(), &told); err != nil || told.Blocks != want {
			t.Errorf("%d bytes: %d blocks are read again, want %d; %v", read, told.Blocks, want, err)
		}
		highest, left := uint64(0), uint64(math.MaxUint64)
		again := s.src.witness.again(read)
		for _, k := range s.src.witness.content.heap {
			if slices.Contains(again, k) {
				highest = max(highest, k.rank)
			} else {
				left = min(left, k.rank)
			}
		}
		if highest >= left {
			t.Errorf("%d bytes: a block is left out for one of a higher rank", read)
		}
	}
}

func TestTheSampleDoesNotDependOnTheOrderOfReading(t *testing.T) {
	const blocks = 4_000
	src := &blank{size: blocks * contentBlock}
	var first []int64
	for try := range 4 {
		s := lone(t, src, [32]byte{9})
		order, chunk := rand.New(rand.NewPCG(uint64(try), 1)).Perm(blocks), int64(1)
		if try == 0 {
			slices.Sort(order)
		} else if try == 1 { // large reads see the same blocks
			order, chunk = order[:0], 16
			for i := 0; i < blocks; i += 16 {
				order = append(order, i)
			}
		}
		for _, i := range order {
			if _, err := s.src.ReadAt(s.pool.lanes[0].slot.buffer[:chunk*contentBlock], int64(i)*contentBlock); err != nil {
				t.Fatal(err)
			}
		}
		var got []int64
		for _, k := range s.src.witness.freeze() {
			got = append(got, k.number)
		}
		slices.Sort(got)
		if first == nil {
			first = got
		}
		if len(got) != contentBlocks || !slices.Equal(got, first) {
			t.Errorf("try %d: %d blocks, or others", try, len(got))
		}
	}
}

// TestT24_WhatIsRememberedIsBounded reads more of everything than is kept.
func TestT24_WhatIsRememberedIsBounded(t *testing.T) {
	s := lone(t, &blank{size: 1 << 40}, [32]byte{})
	buf := make([]byte, structureBlock)
	for i := range int64(20_000) {
		for _, sm := range s.src.witness.samples() {
			s.src.witness.note(sm, buf, i*structureBlock)
		}
	}
	sums := 0
	for _, sm := range s.src.witness.samples() {
		if len(sm.heap) != sm.most || len(sm.kept) != sm.most {
			t.Errorf("sample %d: %d and %d blocks, want %d", sm.kind, len(sm.heap), len(sm.kept), sm.most)
		}
		for _, k := range sm.heap {
			sums += 9 * len(k.sums)
		}
	}
	if sums > 2*mib {
		t.Errorf("%d bytes are remembered", sums)
	}
	for range maxAgain + 1 {
		s.remember(&task{item: report.Item{SHA256: [32]byte{1}, Findings: []report.Finding{{}}}, content: content{extents: []volume.Extent{{Bytes: 1}}}})
	}
	if len(s.again.items) != maxAgain || s.reason() == "" {
		t.Errorf("%d items, %q", len(s.again.items), s.reason())
	}
}
