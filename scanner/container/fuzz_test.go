package container

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pratique/scanner/report"
)

var mutants = flag.Int("mutants", 10_000, "mutated containers over all formats; 1,000,000 at night")

// slowest is how long a mutant may take: more is a hang.
const slowest = 10 * time.Second

// seeds are small containers of every format that a program of this machine makes.
func seeds(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"letter.txt": payload(3 * kib), "empty.txt": {}, "folder/deep/a.bin": append(machineCode()[:6*kib:6*kib], payload(kib)...), "folder/large.dat": payload(9 * kib),
		"zeros.bin": make([]byte, 2*kib), "tool.bin": append(machineCode()[20*kib:][:8*kib:8*kib], payload(kib)...)}
	dir := tree(t, files)
	out := map[string][]byte{}
	for _, p := range producers {
		out[p.name] = p.make(t, dir, files)
	}
	for _, i := range images {
		switch i.name {
		case "a.iso", "udf.iso":
			out[i.name] = makeImage(t, i.name, i.script, files)
		}
	}
	out["out.chm"] = chm(t, map[string][]byte{"page.html": payload(4 * kib), "tool.bin": append(machineCode()[:4*kib:4*kib], payload(kib)...)})
	out["lzx.cab"] = lzxCabinet(t)
	out["small.img"] = makeImage(t, "fat.img", "mkfs.fat -C fat.img 64 >/dev/null && mcopy -i fat.img TREE/letter.txt ::", files)
	out["szdd"], out["kwaj"], out["sis"], out["rar4"], out["rar5"] = szddOf(payload(500)), kwajOf(payload(500)), sisOf(t), rar4Of(payload(300)), rar5Of(payload(300))
	maps.Copy(out, upxPrograms(t))
	out["installshield5"], out["installshield6"] = shieldCabinet(t, 5, false), shieldCabinet(t, 6, false)
	for name, b := range installers(t) {
		out[name] = b[bytes.Index(b, []byte(nsisMagic))-4:] // without the program before it, so that more of what is changed matters
	}
	for name, b := range programs(t) {
		if strings.HasSuffix(name, "-cab.exe") || strings.HasSuffix(name, "-7z") || strings.HasSuffix(name, "-zip.com") {
			out[name] = b
		}
	}
	maps.Copy(out, compounds())
	maps.Copy(out, pdfs())
	maps.Copy(out, mails())
	maps.Copy(out, texts())
	maps.Copy(out, carriers())
	maps.Copy(out, offices(t))
	return out
}

// mutate changes some bytes, most of them where formats keep their structures, and sometimes the length.
func mutate(b []byte, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b = bytes.Clone(b)
	for range 1 + rng.IntN(8) {
		at := rng.IntN(len(b))
		switch rng.IntN(4) {
		case 0:
			at = rng.IntN(min(len(b), 512))
		case 1:
			at = len(b) - 1 - rng.IntN(min(len(b), 512))
		}
		switch rng.IntN(6) {
		case 0:
			b[at] = 0xFF
		case 1:
			b[at] = 0
		case 2:
			b[at] ^= 1 << rng.IntN(8)
		case 3:
			n := min(4, len(b)-at)
			for i := range n {
				b[at+i] = byte(rng.Uint32())
			}
		case 4:
			n := min(8, len(b)-at)
			copy(b[at:at+n], []byte{0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0})
		default:
			b[at] = byte(rng.Uint32())
		}
	}
	if rng.IntN(10) == 0 {
		b = b[:rng.IntN(len(b))+1]
	}
	return b
}

// TestT07_MutatedContainersNeverBreakTheUnpacker changes containers of every format. A panic in code of this program fails the
// test; so does what takes too long, too much memory, or gives more than the limits.
func TestT07_MutatedContainersNeverBreakTheUnpacker(t *testing.T) {
	all := seeds(t)
	names := slices.Sorted(maps.Keys(all))
	var mu sync.Mutex
	longest, told, opened := time.Duration(0), 0, 0
	foreign := hearPanics(t)
	stop := watchHeap()
	var workers sync.WaitGroup
	for w := range runtime.NumCPU() {
		workers.Go(func() {
			for i := w; i < *mutants; i += runtime.NumCPU() {
				name := names[i%len(names)]
				b := mutate(all[name], uint64(i))
				k := &counting{words: map[string]bool{}}
				begin := time.Now()
				res, err := New(mib).Open(context.Background(), whole(b), "x", k)
				took := time.Since(begin)
				mu.Lock()
				longest = max(longest, took)
				opened += min(k.members, 1)
				if k.barred || res.Outcome != report.Unscanned || len(res.Findings) > 0 {
					told++
				}
				mu.Unlock()
				if err != nil {
					t.Errorf("%s, mutant %d: %v", name, i, err)
				}
				if took > slowest {
					t.Errorf("%s, mutant %d: %v", name, i, took)
				}
				if k.bytes > FreeBytes+(MaxRatio+1)*int64(len(b))+64*mib {
					t.Errorf("%s, mutant %d: %d bytes of %d came out", name, i, k.bytes, len(b))
				}
			}
		})
	}
	workers.Wait()
	if heap := stop(); heap > bombMemory*uint64(runtime.NumCPU()) { // each of the workers opens by itself
		t.Errorf("heap of %d MiB", heap>>20)
	}
	t.Logf("%d mutants of %d containers: %d gave members, %d told that something is wrong; slowest %v; 0 crashes, 0 hangs, %d panics in libraries were caught", *mutants, len(names), opened, told, longest.Round(time.Millisecond), foreign.Load())
}

// hearPanics counts panics that come from a library, and fails the test for one of this program's own.
func hearPanics(t testing.TB) *atomic.Int64 {
	var foreign atomic.Int64
	testOnlyPanic = func(p any) {
		stack := string(debug.Stack())
		_, from, _ := strings.Cut(stack, "panic.go")
		from, _, _ = strings.Cut(from, "container.(*")
		if strings.Contains(from, "rardecode") || strings.Contains(from, "klauspost") || strings.Contains(from, "pierrec") || strings.Contains(from, "compress/bzip2") {
			foreign.Add(1)
			return
		}
		t.Errorf("panic: %v\n%s", p, stack)
	}
	t.Cleanup(func() { testOnlyPanic = nil })
	return &foreign
}

func FuzzOpen(f *testing.F) {
	for _, b := range seeds(f) {
		if len(b) < 64*kib {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		hearPanics(t)
		k := &counting{words: map[string]bool{}}
		if _, err := New(mib).Open(context.Background(), whole(b), "x", k); err != nil {
			t.Error(err)
		}
	})
}
