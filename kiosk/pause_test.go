package kiosk

import (
	"context"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/testdata/stick"
)

var packRules = flag.String("pack-rules", "", "folder of YARA rules for the pack in the test of installing a large one; make bench takes RULES")

// pauses gathers how long a scan was silent at a time.
type pauses struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	items   int
}

// heard is called for each item.
func (p *pauses) heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.last.IsZero() {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last = now
	p.items++
}

// begin begins a scan: the time since the one before is no pause of it.
func (p *pauses) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Time{}
}

// A pack is tried and put in force while people stand at the kiosk: a scan that is under way must not notice.
func TestScansGoOnWhileALargePackIsInstalled(t *testing.T) {
	x := newTeam(t)
	x.install()
	more := map[string]string{"hashes.txt": string(hashes(0, *listHashes))}
	rules := 0
	if *packRules != "" {
		err := filepath.WalkDir(*packRules, func(name string, d os.DirEntry, err error) error {
			if err != nil || filepath.Ext(name) != ".yar" {
				return err
			}
			text, err := os.ReadFile(name)
			more["yara/public/"+d.Name()] = string(text)
			rules += len(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	x.publish(2, more)
	publishing := time.Since(began)

	image := filepath.Join(t.TempDir(), "many.img")
	manyFiles(t, image)
	old := x.inForce().Pack
	screen := func(p *pauses) {
		p.begin()
		_, err := x.s.Screen(context.Background(), Screening{Target: image, Class: "general", Pack: old, Workers: built.bin, Item: func(*report.Item) { p.heard() }})
		if err != nil {
			t.Error(err)
		}
	}
	var alone, beside pauses
	for range 2 {
		screen(&alone)
	}
	done := make(chan struct{})
	var installing sync.WaitGroup
	began = time.Now()
	var took time.Duration
	installing.Go(func() {
		defer close(done)
		if _, _, err := x.s.Install(context.Background(), x.Dir, "path", x.cfg); err != nil {
			t.Error(err)
		}
		took = time.Since(began)
	})
	for running := true; running; {
		screen(&beside)
		select {
		case <-done:
			running = false
		default:
		}
	}
	installing.Wait()
	if in := x.inForce(); in.Version != 2 {
		t.Fatalf("version %d is in force", in.Version)
	}
	t.Logf("%d bytes of rules, %d hashes: built in %v, installed in %v beside %d items; silent for %v at most, %v without", rules, *listHashes, publishing, took,
		beside.items, beside.longest, alone.longest)
	// On a machine that others use too a scan can be silent for a while by itself; one that waits for the install is for most of it.
	if beside.longest > max(time.Second, 4*alone.longest) && beside.longest > took/2 {
		t.Errorf("a scan was silent for %v while a pack was installed", beside.longest)
	}
	if *listHashes >= 1_000_000 {
		fmt.Printf("bench pack-build-seconds %.2f\nbench pack-install-seconds %.2f\n", publishing.Seconds(), took.Seconds())
		fmt.Printf("bench scan-pause-ms-while-installing %d\nbench scan-pause-ms-alone %d\n", beside.longest.Milliseconds(), alone.longest.Milliseconds())
	}
	x.sound()
}

// manyFiles writes a stick of small files, so that a scan says something all the time.
func manyFiles(t testing.TB, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := mathrand.NewChaCha8([32]byte{7})
	var files []stick.File
	for i := range 2000 {
		data := make([]byte, 16<<10)
		random.Read(data)
		files = append(files, stick.File{Path: fmt.Sprintf("D%02d/FILE%04d.BIN", i/100, i), Data: data})
	}
	const mega = 1 << 20
	part := stick.Partition{Start: mega, Bytes: 64 * mega, Type: 0x0C, Active: true}
	if err := f.Truncate(66 * mega); err != nil {
		t.Fatal(err)
	}
	if err := stick.WriteMBR(f, []stick.Partition{part}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := stick.WriteFAT(io.NewOffsetWriter(f, part.Start), stick.FAT{Bits: 32, Bytes: part.Bytes, Start: part.Start, Label: "MANY"}, files); err != nil {
		t.Fatal(err)
	}
}
