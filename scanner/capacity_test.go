package scanner

import (
	"cmp"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

const gib = 1 << 30

// claimed is a medium formatted for all the bytes that it claims, with everything on it before the true end.
func claimed(t *testing.T, size, start int64, files []stick.File) *image {
	t.Helper()
	img := newImage(t, size)
	if start > 0 {
		if err := stick.WriteMBR(img.File, []stick.Partition{{Start: start, Bytes: size - start, Type: 0x0C}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	spec := stick.FAT{Bits: 32, Bytes: size - start, Start: start, ClusterBytes: 32 << 10}
	if _, err := stick.WriteFAT(io.NewOffsetWriter(img.File, start), spec, files); err != nil {
		t.Fatal(err)
	}
	return img
}

// shifting gives bytes that are never the same.
func shifting(_ *volumetest.Fake, p []byte, _ int64) (int, error) {
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return len(p), nil
}

func TestT05_MediaOfFalseCapacityAreFound(t *testing.T) {
	some := []stick.File{noise("a", 3*mib, 1), text("b", "words"), {Path: "setup.exe", Data: program()}}
	formatted := map[string]*image{
		"with a table": claimed(t, 64*gib, mib, some), "without a table": claimed(t, 64*gib, 0, some), "with nothing on it": claimed(t, 64*gib, mib, nil),
	}
	scan := func(t *testing.T, img *image, truth int64, behind func(*volumetest.Fake, []byte, int64) (int, error)) report.Report {
		t.Helper()
		return mustScan(t, newRig(t, 1, 4*mib, img.size), &volumetest.Fake{Source: img, False: img.size, True: truth, Behind: behind})
	}
	for name, img := range formatted {
		for _, truth := range []int64{2 * gib, 3 * gib / 2, 5 * gib, 14 * gib, 32 * gib} {
			if got := found(scan(t, img, truth, volumetest.Wrapped)); !slices.Equal(got, []string{"medium-wraps"}) {
				t.Errorf("%s, begins again after %d MiB: %v", name, truth/mib, got)
			}
		}
		if got := found(scan(t, img, 2*gib, volumetest.Failed)); !slices.Equal(got, []string{"medium-ends"}) {
			t.Errorf("%s, fails after 2 GiB: %v", name, got)
		}
		if got := found(scan(t, img, 2*gib, shifting)); !slices.Equal(got, []string{"medium-changes"}) {
			t.Errorf("%s, is made up after 2 GiB: %v", name, got)
		}
		rep := mustScan(t, newRig(t, 1, 4*mib, img.size), img)
		if !rep.Complete || len(found(rep)) > 0 {
			t.Errorf("%s, honest: complete %v %v, %v", name, rep.Complete, rep.Shortfalls, found(rep))
		}
		// Without writing to it nobody can tell this from a part that was never used. What was read is what is there.
		if rep := scan(t, img, 2*gib, volumetest.Zeroed); !rep.Complete || len(found(rep)) > 0 {
			t.Errorf("%s, is zero after 2 GiB: complete %v, %v", name, rep.Complete, found(rep))
		}
		rep = mustScan(t, newRig(t, 1, 4*mib, img.size), volumetest.FailAt(img, []volume.Extent{{Start: img.size - 512, Bytes: 512}}))
		if rep.Complete || len(found(rep)) > 0 {
			t.Errorf("%s, without its last sector: complete %v, %v", name, rep.Complete, found(rep))
		}
	}
}

// gone is a medium that is pulled out after some reads.
type gone struct {
	volume.Source
	reads int
}

func (g *gone) ReadAt(p []byte, off int64) (int, error) {
	if g.reads--; g.reads < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return g.Source.ReadAt(p, off)
}

// A medium that is gone is not one that claims more than it has.
func TestT05_MediaThatArePulledOutAreNotAccused(t *testing.T) {
	img := claimed(t, 4*gib, mib, []stick.File{noise("a", 3*mib, 1), text("b", "words"), {Path: "setup.exe", Data: program()}})
	whole := &gone{img, 1 << 30}
	if rep := mustScan(t, newRig(t, 1, 4*mib, img.size), whole); !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	for reads := range 1<<30 - whole.reads {
		rep := mustScan(t, newRig(t, 1, 4*mib, img.size), &gone{img, reads})
		if slices.Contains(found(rep), "medium-ends") {
			t.Errorf("gone after %d reads: %v", reads, found(rep))
		}
	}
}

func TestT05_HonestMediaThatHoldThingsTwiceAreNotAccused(t *testing.T) {
	files := []stick.File{noise("a", 3*mib, 1), text("b", "words"), {Path: "setup.exe", Data: program()}}
	twice := newImage(t, 64*mib) // two equal partitions, a power of two apart, and equal to what lies before them where they can
	parts := []stick.Partition{{Start: 16 * mib, Bytes: 16 * mib, Type: 0x06}, {Start: 32 * mib, Bytes: 16 * mib, Type: 0x06}, {Start: 48 * mib, Bytes: 16 * mib, Type: 0x06}}
	if err := stick.WriteMBR(twice.File, parts, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if _, err := stick.WriteFAT(io.NewOffsetWriter(twice.File, p.Start), stick.FAT{Bits: 16, Bytes: p.Bytes, ClusterBytes: 2048}, files); err != nil {
			t.Fatal(err)
		}
	}
	// A file that is an image of the first half of its own medium, as it was before the file was there, just where a medium
	// that begins again would show it.
	before, _ := fatImage(t, 16, 32*mib, 2048, files)
	backup, _ := fatImage(t, 16, 32*mib, 2048, append(slices.Clone(files), noise("backup.img", 28*mib, 3)))
	if _, err := io.Copy(io.NewOffsetWriter(backup.File, 16*mib), io.NewSectionReader(before, 0, 15*mib)); err != nil {
		t.Fatal(err)
	}
	equal, _ := fatImage(t, 16, 64*mib, 4096, []stick.File{noise("1", 8*mib, 7), noise("2", 8*mib, 7), noise("3", 8*mib, 7), noise("4", 8*mib, 7)})
	for name, img := range map[string]*image{"equal partitions": twice, "an image of itself": backup, "equal files": equal} {
		for seed := range byte(8) {
			r := newRig(t, 2, 4*mib, img.size)
			r.job.Seed[0] = seed
			if rep := mustScan(t, r, img); len(found(rep)) > 0 || rep.Again.Bytes == 0 {
				t.Errorf("%s: %v, %v", name, found(rep), rep.Shortfalls)
			}
		}
	}
}

// priced is a medium that counts what reading it would take: a USB 2 stick of 35 MB/s that needs a millisecond for a request.
type priced struct {
	volume.Source
	took, first time.Duration
}

func (p *priced) ReadAt(b []byte, off int64) (int, error) {
	p.took += time.Millisecond + time.Duration(len(b))*1000/35
	return p.Source.ReadAt(b, off)
}

func (p *priced) Forget(int64, int64) error { p.first = cmp.Or(p.first, p.took); return nil }

func TestSecondReadingCostsThreePercentOfAGigabyte(t *testing.T) {
	var files []stick.File
	for _, f := range stick.BenchFiles(200*mib, 5) {
		head := make([]byte, 2)
		if _, _ = io.ReadFull(f.Content(), head); string(head) != "MZ" { // what is executable is read again in full, whatever it costs
			files = append(files, f)
		}
	}
	img, _ := fatImage(t, 32, gib, 4096, files)
	src := &priced{Source: img}
	rep := mustScan(t, newRig(t, 1, 64*mib, img.size), src)
	if !rep.Complete || rep.Again.Items > 0 || rep.Again.Blocks != leastBlocks {
		t.Fatalf("complete %v, %+v", rep.Complete, rep.Again)
	}
	again, gigabyte := src.took-src.first, time.Duration(gib*1000/35)
	if again > src.first/10 {
		t.Errorf("%v, where the first reading takes %v", again, src.first)
	}
	// Of a gigabyte more blocks are read again than of this.
	again += (contentBlocks - leastBlocks) * (time.Millisecond + contentBlock*1000/35)
	share := 100 * again.Seconds() / gigabyte.Seconds()
	t.Logf("%d bytes the first time in %v; %+v in %v, which is %.2f %% of the %v for a gigabyte", rep.BytesRead, src.first, rep.Again, again, share, gigabyte)
	if share > 3 {
		t.Errorf("%.2f %%", share)
	}
}
