package volumetest

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pratique/scanner/volume"
)

const (
	slowest    = 10 * time.Second // for one mutant; more is a hang
	mostMemory = 256 << 20        // live heap at any moment of a campaign, above what the image itself takes
)

// Campaign is one mutation test, or one test with bad sectors.
type Campaign struct {
	Source   volume.Source
	Metadata []volume.Extent // where edits and bad sectors go
	Truth    Truth
	Open     func(volume.Source) (volume.FileSystem, error)
	// Deleted says whether the edits took path away as its owner would have: by deleting, shortening or emptying it. Nil
	// means never.
	Deleted func(m *Mutant, path string, l Listing) bool
}

// Result counts mutants by what became of them. Every mutant is in exactly one of the first five.
type Result struct {
	Refused  int // the volume could not be opened, or the listing bars a clearance
	Noted    int // something went missing, and a finding says so
	Complete int // nothing went missing
	Deleted  int // something went missing without a word, as if its owner had deleted it
	Quiet    int // something went missing without a word
	Files    int // how many files went missing quietly
	Slowest  time.Duration
	Heap     uint64
}

func (r Result) String() string {
	return fmt.Sprintf("%d refused, %d with a finding, %d complete, %d deleted as by an owner, %d quiet (%d files); slowest %v, heap %d MiB",
		r.Refused, r.Noted, r.Complete, r.Deleted, r.Quiet, r.Files, r.Slowest.Round(time.Millisecond), r.Heap>>20)
}

// Run opens and walks mutants, numbered from first, and fails the test on a panic, a hang, too much memory, a broken
// agreement or a quiet loss.
func (c Campaign) Run(t *testing.T, first, mutants int) Result {
	t.Helper()
	return c.run(t, func(baseline Listing, r *Result) {
		for seed := uint64(first); seed < uint64(first+mutants); seed++ {
			m := Mutate(c.Source, c.Metadata, seed)
			l, refused, err := c.walk(m, r)
			switch {
			case err != nil:
				t.Errorf("mutant %d: %v\n%v", seed, err, m.Edits)
				continue
			case refused || l.Bars():
				r.Refused++
				continue
			}
			lost := c.Truth.Lost(l)
			switch {
			case len(lost) == 0:
				r.Complete++
			case saysMore(baseline, l):
				r.Noted++
			default:
				var quiet []string
				for _, path := range lost {
					if c.Deleted == nil || !c.Deleted(m, path, l) {
						quiet = append(quiet, path)
					}
				}
				if len(quiet) == 0 {
					r.Deleted++
					continue
				}
				r.Quiet++
				r.Files += len(quiet)
				t.Errorf("mutant %d: %d files lost without a word, such as %q\n%v", seed, len(quiet), quiet[0], m.Edits)
			}
		}
	})
}

// RunFailing makes count sectors of the metadata unreadable, one at a time, and fails the test if a file goes missing and
// the listing would not bar a clearance.
func (c Campaign) RunFailing(t *testing.T, count int) Result {
	t.Helper()
	return c.run(t, func(_ Listing, r *Result) {
		var total int64
		for _, x := range c.Metadata {
			total += x.Bytes
		}
		for i := range int64(count) {
			at := total * i / int64(count)
			for _, x := range c.Metadata {
				if at < x.Bytes {
					at = x.Start + at - at%editSector
					break
				}
				at -= x.Bytes
			}
			f := FailAt(c.Source, []volume.Extent{{Start: at, Bytes: editSector}})
			l, refused, err := c.walk(f, r)
			lost := c.Truth.Lost(l)
			switch {
			case err != nil:
				t.Errorf("bad sector at %d: %v", at, err)
			case refused || l.Bars():
				r.Refused++
			case len(lost) == 0:
				r.Complete++
			default:
				r.Quiet++
				r.Files += len(lost)
				t.Errorf("bad sector at %d, %d failed reads: %d files lost, such as %q, and nothing bars a clearance", at, f.Hits(), len(lost), lost[0])
			}
		}
	})
}

func (c Campaign) run(t *testing.T, body func(Listing, *Result)) Result {
	t.Helper()
	var r Result
	baseline, refused, err := c.walk(c.Source, &r)
	if err != nil || refused {
		t.Fatalf("the image without a change: refused %v, %v", refused, err)
	}
	if diff := c.Truth.Diff(baseline); len(diff) > 0 {
		t.Fatalf("the image without a change: %d differences, such as %s", len(diff), diff[0])
	}
	// Garbage counts as memory here, so the collector is told to keep it low; what is in use it cannot collect.
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(stats.HeapAlloc) + mostMemory/2))
	watch := watchHeap()
	body(baseline, &r)
	r.Heap = watch()
	if r.Heap > mostMemory {
		t.Errorf("heap of %d MiB, want at most %d", r.Heap>>20, mostMemory>>20)
	}
	if r.Slowest > slowest {
		t.Errorf("one walk took %v, want at most %v", r.Slowest, slowest)
	}
	return r
}

// walk opens and reads one medium. refused says that it could not be opened, which is an answer; err is a fault of the
// reader.
func (c Campaign) walk(src volume.Source, r *Result) (l Listing, refused bool, err error) {
	start := time.Now()
	defer func() {
		r.Slowest = max(r.Slowest, time.Since(start))
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	fs, err := c.Open(src)
	if err != nil {
		return Listing{}, true, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*slowest)
	defer cancel()
	l, err = ReadAll(ctx, src, fs, volume.Options{})
	return l, false, err
}

func saysMore(baseline, l Listing) bool {
	before := baseline.Signals()
	for s := range l.Signals() {
		if !before[s] {
			return true
		}
	}
	return false
}

// watchHeap samples the heap until the returned function is called, which gives the highest growth seen.
func watchHeap() func() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	base, peak := stats.HeapAlloc, atomic.Uint64{}
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				if s.HeapAlloc > base {
					peak.Store(max(peak.Load(), s.HeapAlloc-base))
				}
			}
		}
	})
	return func() uint64 {
		close(stop)
		done.Wait()
		return peak.Load()
	}
}
