package exfat

import (
	"context"
	"flag"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

var mutants = flag.Int("mutants", 300, "mutated volumes to try; the nightly run takes 3,000")

// sleuthkit lists and reads a volume with the Sleuth Kit's fls and icat.
func sleuthkit(t *testing.T, image string) volumetest.Truth {
	t.Helper()
	listing, err := exec.Command("fls", "-r", "-p", "-u", "-F", "-f", "exfat", image).Output()
	if err != nil {
		t.Fatalf("fls: %v", err)
	}
	type row struct{ inode, path string }
	rows := make(chan row)
	found, mu, done := volumetest.Truth{}, sync.Mutex{}, sync.WaitGroup{}
	for range 2 {
		done.Go(func() {
			for r := range rows {
				data, err := exec.Command("icat", "-f", "exfat", image, r.inode).Output()
				if err != nil {
					t.Errorf("icat of %q: %v", r.path, err)
				}
				mu.Lock()
				found[r.path] = volumetest.FileOf(data)
				mu.Unlock()
			}
		})
	}
	for line := range strings.Lines(string(listing)) {
		head, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		_, inode, _ := strings.Cut(head, " ")
		if !ok || !strings.HasPrefix(head, "r/r ") || strings.HasPrefix(path, "$") && !strings.Contains(path, ".") ||
			strings.HasSuffix(path, "(Volume Label Entry)") {
			continue // fls makes these up: the label, the bitmap, the table
		}
		rows <- row{inode, path}
	}
	close(rows)
	done.Wait()
	return found
}

func TestReadsTheSameAsTheSleuthKit(t *testing.T) {
	files := stick.Corpus(2000, 21)
	m, _ := build(t, stick.ExFAT{Bytes: 96 * mega, Label: "ORACLE"}, files)
	image := filepath.Join(t.TempDir(), "image")
	if err := m.Save(image); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/fsck.exfat", "-n", image).CombinedOutput(); err != nil {
		t.Fatalf("fsck.exfat: %v\n%s", err, out)
	}
	l := list(t, m, volume.Options{})
	clean(t, l)
	known := sleuthkit(t, image)
	for _, line := range known.Diff(l) {
		t.Errorf("against the Sleuth Kit: %s", line)
	}
	for _, line := range truth(t, files).Diff(l) {
		t.Errorf("against what was written: %s", line)
	}
	t.Logf("%d files equal in name, size and SHA-256", len(known))
}

// TestSleuthKitReadsJunkBehindTheStoredBytes keeps an eye on the one place where the two readers are known to differ:
// behind ValidDataLength the Sleuth Kit gives what lies on the medium, where the specification wants zeros.
func TestSleuthKitReadsJunkBehindTheStoredBytes(t *testing.T) {
	const size, unsaid = 20_000, 12_000
	files := []stick.File{{Path: "half.bin", Data: []byte(strings.Repeat("stored ", 1000)), Size: size, Unsaid: unsaid}}
	m, _ := build(t, stick.ExFAT{Bytes: 8 * mega}, files)
	image := filepath.Join(t.TempDir(), "image")
	if err := m.Save(image); err != nil {
		t.Fatal(err)
	}
	theirs, ours := sleuthkit(t, image)["half.bin"], list(t, m, volume.Options{}).Files["half.bin"]
	if theirs.Size != ours.Size || theirs == ours || ours != truth(t, files)["half.bin"] {
		t.Errorf("theirs %+v, ours %+v", theirs, ours)
	}
}

// campaign is the volume on which mutants and bad sectors are tried.
func campaign(t *testing.T, spec stick.ExFAT) volumetest.Campaign {
	t.Helper()
	files := stick.Corpus(150, 31)
	m, v := build(t, spec, files)
	var metadata []volume.Extent
	for _, r := range v.Meta {
		metadata = append(metadata, volume.Extent{Start: r[0], Bytes: r[1]})
	}
	return volumetest.Campaign{Source: m, Metadata: metadata, Truth: truth(t, files), Open: Open}
}

func TestT03_MutatedVolumesLoseNothingQuietly(t *testing.T) {
	for i, spec := range []stick.ExFAT{{Bytes: 16 * mega}, {Bytes: 16 * mega, ClusterBytes: 512, Chained: true, Vendor: true}} {
		r := campaign(t, spec).Run(t, 1+i*1_000_000, *mutants/2)
		t.Logf("%s, %d mutants: %v", []string{"exFAT", "exFAT with chains, in small clusters"}[i], *mutants/2, r)
	}
}

func TestT03_BadSectorsLoseNothingQuietly(t *testing.T) {
	for i, spec := range []stick.ExFAT{{Bytes: 16 * mega}, {Bytes: 16 * mega, Chained: true}} {
		t.Logf("%s, 40 bad sectors: %v", []string{"exFAT", "exFAT with chains"}[i], campaign(t, spec).RunFailing(t, 40))
	}
}

func TestT24_MemoryStaysBelow64MBForATerabyte(t *testing.T) {
	const most = 64 << 20
	for name, test := range map[string]struct {
		spec  stick.ExFAT
		files []stick.File
	}{
		"as formatted": {stick.ExFAT{Bytes: 1 << 40, ClusterBytes: 128 << 10}, stick.Corpus(300, 1)},
		"small clusters, one file over all": {stick.ExFAT{Bytes: 1 << 40, ClusterBytes: 4096},
			[]stick.File{{Path: "all.bin"}}},
		"a file in half a million pieces": {stick.ExFAT{Bytes: 64 << 30, ClusterBytes: 4096},
			[]stick.File{{Path: "pieces.bin", Size: 400_000 * 4096, Scatter: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			m, v := build(t, test.spec, test.files)
			if _, ok := v.Record["all.bin"]; ok {
				b := bench{t, m, v}
				n := uint64(v.Clusters-20_000) * 4096
				b.set("all.bin", func(at int64) { b.write(at+33, 3); b.uint32(at+32+20, 15_000) })
				b.size("all.bin", n, n)
			}
			var before, during runtime.MemStats
			runtime.GC()
			runtime.GC() // what the first one found unreachable is freed now
			runtime.ReadMemStats(&before)
			fs, err := Open(m)
			if err != nil {
				t.Fatal(err)
			}
			var peak uint64
			entries := 0
			measure := func() {
				runtime.GC()
				runtime.ReadMemStats(&during)
				peak = max(peak, during.HeapAlloc-min(before.HeapAlloc, during.HeapAlloc))
			}
			_, err = fs.Walk(context.Background(), volume.Options{}, func(e volume.Entry) error {
				if entries++; entries%100 == 1 || e.Size > mega {
					measure()
				}
				if e.Kind == report.File && e.Outcome != report.Unscanned {
					t.Errorf("%q is %v", e.Path, e.Outcome)
				}
				return nil
			})
			if measure(); err != nil || peak > most {
				t.Errorf("%v; %d MiB of heap, want at most %d", err, peak>>20, most>>20)
			}
			t.Logf("%d entries, %d MiB of heap", entries, peak>>20)
			runtime.KeepAlive([]any{fs, m, v, test.files})
		})
	}
}

func FuzzExFAT(f *testing.F) {
	small := stick.ExFAT{Bytes: 1 * mega, Label: "FUZZ"}
	files := []stick.File{{Path: "a.txt", Data: []byte("a")}, {Path: "dir/b.bin", Data: make([]byte, 9000), Chained: true},
		{Path: "pieces", Size: 20_000, Scatter: true}, {Path: "half", Size: 9_000, Unsaid: 5_000}}
	for _, spec := range []stick.ExFAT{small, {Bytes: mega, Chained: true, Vendor: true, GUID: [16]byte{1}}} {
		m, v := build(f, spec, files)
		for _, r := range v.Meta { // a seed is one range of structure, so that an input stays small
			p := make([]byte, min(r[1], 16<<10))
			m.ReadAt(p, r[0])
			f.Add(uint32(r[0]), p)
		}
	}
	base, _ := build(f, small, files)
	image := make([]byte, base.Size())
	base.ReadAt(image, 0)
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		// The input is laid over a good volume, once as it is and once with the checksums of the boot region made right.
		for _, seal := range []bool{false, true} {
			data := append([]byte(nil), image...)
			if int64(at) < int64(len(data)) {
				copy(data[at:], patch)
			}
			if seal {
				m := stick.NewMemory(int64(len(data)))
				m.WriteAt(data, 0)
				bench{t: t, m: m}.sealBoot(0)
				m.ReadAt(data, 0)
			}
			src := volumetest.Bytes(data, 512)
			fs, err := Open(src)
			if err != nil {
				continue
			}
			l, err := volumetest.ReadAll(context.Background(), src, fs, volume.Options{Deep: len(patch)%2 == 1})
			if err != nil {
				t.Fatal(err)
			}
			if l.Summary.Outcome == report.Unscanned || (l.Summary.Outcome == report.Clean) != (l.Summary.Reason == "") {
				t.Fatalf("%+v", l.Summary)
			}
		}
	})
}
