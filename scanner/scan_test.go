package scanner

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/structure"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

const mib = 1 << 20

func text(path, content string) stick.File { return stick.File{Path: path, Data: []byte(content)} }

func noise(path string, n int64, seed byte) stick.File {
	return stick.File{Path: path, Size: n, Open: func() io.Reader { return rand.NewChaCha8([32]byte{seed}) }}
}

func clean(stick.File) report.Outcome { return report.Clean }

func mustScan(t *testing.T, r *rig, src volume.Source) report.Report {
	t.Helper()
	rep, err := r.scan(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestScanSeesEveryFileOfAVolume(t *testing.T) {
	files := append(stick.Corpus(300, 7), text("evil", "x\nmatch block\n"), text("odd", "match inform\n"), stick.File{Path: "empty dir", Dir: true})
	img, _ := fatImage(t, 16, 64*mib, 2048, files)
	r := newRig(t, 2, 4*mib, img.size)
	rep := mustScan(t, r, img)
	if !rep.Complete || len(rep.Volumes) != 1 || rep.Volumes[0].Outcome != report.Clean {
		t.Fatalf("complete %v, shortfalls %v, volumes %+v", rep.Complete, rep.Shortfalls, rep.Volumes)
	}
	named := 0
	r.expect(files, func(f stick.File) report.Outcome {
		it := r.find(f.Path)
		if f.Path == "evil" || f.Path == "odd" {
			if len(it.Findings) != 1 || it.Findings[0].Check != report.CheckYARA {
				t.Errorf("%s: findings %+v", f.Path, it.Findings)
			}
			return report.Flagged
		}
		if len(it.Findings) > 0 { // the volume's reader has something to say of the name
			named++
			return report.Flagged
		}
		return report.Clean
	})
	if rep.Tally.Files != uint64(len(files)-dirs(files)) {
		t.Errorf("%d files of %d", rep.Tally.Files, len(files))
	}
	if it := r.find("empty dir"); it.Kind != report.Directory || it.Outcome != report.Clean || it.SHA256 != sha256.Sum256(nil) || it.Size != 0 {
		t.Errorf("the directory: %+v", it)
	}
	t.Logf("%d items, %d with findings on names", len(r.items), named)
}

func dirs(files []stick.File) (n int) {
	for _, f := range files {
		if f.Dir {
			n++
		}
	}
	return n
}

func TestSameMediumGivesTheSameMessagesForAnyNumberOfSlots(t *testing.T) {
	files := append(stick.Corpus(400, 3), text("evil", "match block\n"), text("fail-1", "x"), noise("large", 9*mib, 1), noise("middle", 3*mib, 2), noise("half", 2*mib, 3))
	img, _ := fatImage(t, 32, 128*mib, 1024, files)
	var first [][]byte
	for _, slots := range []int{1, 2, 4} {
		r := newRig(t, slots, 4*mib, img.size)
		if rep := mustScan(t, r, img); !rep.Complete {
			t.Fatalf("%d slots: %v", slots, rep.Shortfalls)
		}
		if first == nil {
			first = r.said
		}
		if !slices.EqualFunc(first, r.said, bytes.Equal) {
			t.Errorf("%d slots: other messages, or another order", slots)
		}
	}
}

func TestBatchesEndWhereTheyShould(t *testing.T) {
	// Sizes around every border: a piece's alignment, half a buffer, a whole one, a block, and the number of pieces.
	const buffer = 4 * mib
	var files []stick.File
	for i := range 150 {
		files = append(files, text(fmt.Sprintf("small/%03d", i), strings.Repeat("s", i)))
	}
	for i, n := range []int64{buffer/2 - 1, buffer / 2, buffer/2 + 1, 63, 64, 65, buffer - 1, buffer, buffer + 1, 1, testBlock, testBlock + 1, 2*testBlock - cellBytes, 2*testBlock - cellBytes + 1, 2 * buffer, 0, buffer/2 - 64, 64} {
		f := noise(fmt.Sprintf("border/%02d", i), n, byte(i))
		f.Scatter = i%2 == 1
		files = append(files, f)
	}
	img, _ := fatImage(t, 16, 96*mib, 4096, files)
	r := newRig(t, 2, buffer, img.size)
	if rep := mustScan(t, r, img); !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	r.expect(files, clean)
}

func TestT03_FaultsCostTheItemThatTheyHappenAt(t *testing.T) {
	tests := []struct {
		name  string
		want  report.Outcome
		kills int64
	}{
		{"die", report.Unscanned, 0},
		{"half", report.Unscanned, 0},
		{"fail", report.Unscanned, 0},
		{"hang", report.TimedOut, 1},
		{"garbage", report.Unscanned, 1},
		{"stranger", report.Unscanned, 1},
		{"need", report.Unscanned, 1},
		{"nothing", report.Unscanned, 1},
		{"flood", report.Unscanned, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var files []stick.File
			for i := range 90 {
				name := fmt.Sprintf("f%03d", i)
				if i == 40 {
					name = test.name + "-1"
				}
				files = append(files, text(name, "content of "+name))
			}
			img, _ := fatImage(t, 12, 2*mib, 2048, files)
			r := newRig(t, 1, 2*mib, img.size)
			r.job.FileTimeout = 400
			rep := mustScan(t, r, img)
			if !rep.Complete {
				t.Fatal(rep.Shortfalls)
			}
			r.expect(files, func(f stick.File) report.Outcome {
				if strings.HasPrefix(f.Path, test.name) {
					return test.want
				}
				return report.Clean
			})
			if got := r.kills.Load(); got != test.kills {
				t.Errorf("%d kills, want %d", got, test.kills)
			}
		})
	}
}

func TestManyFaultsAtOnceCostOnlyTheirItems(t *testing.T) {
	var files []stick.File
	for i := range 200 {
		name := fmt.Sprintf("f%03d", i)
		if i%10 == 3 {
			name = fmt.Sprintf("die-%03d", i)
		}
		files = append(files, text(name, name))
	}
	img, _ := fatImage(t, 12, 2*mib, 2048, files)
	r := newRig(t, 2, 2*mib, img.size)
	if rep := mustScan(t, r, img); !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	r.expect(files, func(f stick.File) report.Outcome {
		if strings.HasPrefix(f.Path, "die") {
			return report.Unscanned
		}
		return report.Clean
	})
}

func TestT24_MediumThatKeepsKillingHaltsTheScan(t *testing.T) {
	var files []stick.File
	for i := range maxDeaths + 20 {
		files = append(files, text(fmt.Sprintf("die-%03d", i), "x"))
	}
	img, _ := fatImage(t, 12, 2*mib, 2048, files)
	r := newRig(t, 2, 2*mib, img.size)
	rep := mustScan(t, r, img)
	if rep.Complete || len(rep.Shortfalls) != 1 || rep.Shortfalls[0].Code != "scan-halted" {
		t.Errorf("complete %v, %v", rep.Complete, rep.Shortfalls)
	}
	if n := r.starts.Load(); n > maxDeaths+6 {
		t.Errorf("%d starts", n)
	}
	for _, it := range r.items {
		if it.Kind == report.File && it.Outcome == report.Clean {
			t.Errorf("%s is clean", it.Path)
		}
	}
}

func TestTheSupervisorHearsWhenAnAnswerTakesLong(t *testing.T) {
	img, _ := fatImage(t, 12, 2*mib, 2048, []stick.File{text("slow-1", "x"), text("b", "y")})
	r := newRig(t, 1, 2*mib, img.size)
	rep := mustScan(t, r, img)
	if !rep.Complete || r.busy.Load() != 1 || r.find("slow-1").Outcome != report.Clean {
		t.Errorf("complete %v, busy %d times", rep.Complete, r.busy.Load())
	}
	if r.progress.Load() == 0 {
		t.Error("no progress was shown")
	}
}

func TestBlocklistsFindEachKindOfHash(t *testing.T) {
	one, two, three := []byte("first"), []byte("second"), []byte("third")
	files := []stick.File{{Path: "one", Data: one}, {Path: "two", Data: two}, {Path: "three", Data: three}, text("four", "fourth"), noise("large", 5*mib, 4)}
	large := sha1.New()
	_, _ = io.Copy(large, files[4].Content())
	img, _ := fatImage(t, 16, 32*mib, 2048, files)
	r := newRig(t, 1, 4*mib, img.size)
	r.block(fmt.Sprintf("%x\n%x", md5.Sum(one), sha256.Sum256(three)))
	r.block(fmt.Sprintf("%x\n%x", sha1.Sum(two), large.Sum(nil)))
	mustScan(t, r, img)
	for _, f := range files {
		it := r.find(f.Path)
		if f.Path == "four" {
			if it.Outcome != report.Clean {
				t.Errorf("%s: %+v", f.Path, it)
			}
		} else if it.Outcome != report.Flagged || !has(it.Findings, report.CheckBlocklist, report.Block) {
			t.Errorf("%s: %+v", f.Path, it)
		}
	}
}

func TestBadSectorsCostTheFilesThatLieInThem(t *testing.T) {
	var files []stick.File
	for i := range 100 {
		files = append(files, text(fmt.Sprintf("f%03d", i), strings.Repeat(fmt.Sprintf("<%05d>", i), 500)))
	}
	files = append(files, noise("large", 6*mib, 9), noise("other", 6*mib, 8))
	img, _ := fatImage(t, 16, 64*mib, 2048, files)
	bad := map[string]bool{"f010": true, "f050": true, "large": true}
	var ranges []volume.Extent
	whole, err := io.ReadAll(io.NewSectionReader(img, 0, img.size))
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if bad[files[i].Path] {
			content, _ := io.ReadAll(files[i].Content())
			at := bytes.Index(whole, content[:2048])
			if files[i].Path == "large" {
				at = bytes.Index(whole, content[5*mib:5*mib+2048])
			}
			ranges = append(ranges, volume.Extent{Start: int64(at), Bytes: 512})
		}
	}
	r := newRig(t, 2, 4*mib, img.size)
	rep := mustScan(t, r, volumetest.FailAt(img, ranges))
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	r.expect(files, func(f stick.File) report.Outcome {
		if bad[f.Path] {
			return report.Unreadable
		}
		return report.Clean
	})
}

func TestAMediumThatEndsEarlyIsUnreadable(t *testing.T) {
	img, _ := fatImage(t, 16, 64*mib, 2048, []stick.File{noise("early", mib, 1), noise("late", 40*mib, 2)})
	if err := img.Truncate(20 * mib); err != nil { // while it is scanned, as far as the scanner knows
		t.Fatal(err)
	}
	r := newRig(t, 1, 4*mib, img.size)
	mustScan(t, r, img)
	if r.find("early").Outcome != report.Clean || r.find("late").Outcome != report.Unreadable {
		t.Errorf("%v, %v", r.find("early").Outcome, r.find("late").Outcome)
	}
}

func TestEmptyMediumHalts(t *testing.T) {
	r := newRig(t, 1, 2*mib, 0)
	rep := mustScan(t, r, volumetest.Bytes(nil, 512))
	if rep.Complete || len(rep.Shortfalls) != 1 {
		t.Errorf("%+v", rep)
	}
}

func TestT06_DataOutsideVolumesIsScanned(t *testing.T) {
	img := newImage(t, 32*mib)
	part := stick.Partition{Start: 4 * mib, Bytes: 16 * mib, Type: 0x06}
	if err := stick.WriteMBR(img.File, []stick.Partition{part}, []byte("boot code\nmatch warn\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := stick.WriteFAT(io.NewOffsetWriter(img.File, part.Start), stick.FAT{Bits: 16, Bytes: part.Bytes, Start: part.Start}, []stick.File{text("a", "b")}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{mib, 31 * mib} {
		if _, err := img.WriteAt([]byte("in a gap\nmatch block\n"), at+100); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, 2, 4*mib, img.size)
	rep := mustScan(t, r, img)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	blocks, warns := 0, 0
	for _, it := range r.items {
		if it.Kind == report.Area && it.Volume == -1 {
			if has(it.Findings, report.CheckYARA, report.Block) {
				blocks++
			}
			if has(it.Findings, report.CheckYARA, report.Warn) {
				warns++
			}
		}
	}
	if blocks != 2 || warns != 1 {
		t.Errorf("%d blocking and %d warning areas: %+v", blocks, warns, r.items)
	}
}

func TestT06_DeepScanReadsWhatNoFileHolds(t *testing.T) {
	img, _ := fatImage(t, 16, 16*mib, 2048, []stick.File{text("a", "b")})
	if _, err := img.WriteAt([]byte("in a free cluster\nmatch block\n"), 10*mib+700); err != nil {
		t.Fatal(err)
	}
	for _, deep := range []bool{false, true} {
		r := newRig(t, 1, 4*mib, img.size)
		r.job.Deep = deep
		rep := mustScan(t, r, img)
		found := slices.ContainsFunc(rep.NotClean, func(it report.Item) bool { return has(it.Findings, report.CheckYARA, report.Block) })
		if !rep.Complete || found != deep || rep.Deep != deep {
			t.Errorf("deep %v: complete %v, found %v", deep, rep.Complete, found)
		}
	}
}

func TestT25_VolumeWithoutAReaderIsNamedAndRefused(t *testing.T) {
	img := newImage(t, 8*mib)
	if _, err := img.WriteAt([]byte("\xEB\x58\x90-FVE-FS-"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := img.WriteAt([]byte{0x55, 0xAA}, 510); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 1, 2*mib, img.size)
	rep := mustScan(t, r, img)
	if len(rep.Volumes) == 0 || rep.Volumes[0].Outcome == report.Clean || rep.Volumes[0].Reason == "" {
		t.Errorf("%+v", rep.Volumes)
	}
}

func TestT08_ProgramInFrontOfAnImageIsTypedAsProgram(t *testing.T) {
	study := append(append([]byte("MZ"), make([]byte, 126)...), "DICM"...)
	honest := append(make([]byte, 128), "DICM"...)
	img, _ := fatImage(t, 12, 2*mib, 2048, []stick.File{{Path: "a.dcm", Data: study}, {Path: "b.dcm", Data: honest}, {Path: "c", Data: nil}, text("d", "words\n")})
	r := newRig(t, 1, 2*mib, img.size)
	rep := mustScan(t, r, img)
	for path, want := range map[string]string{"a.dcm": "application/vnd.microsoft.portable-executable", "b.dcm": "application/dicom", "c": structure.EmptyType, "d": "text/plain"} {
		if it := r.find(path); it.Type != want || rep.Types[want] == 0 {
			t.Errorf("%s: %q", path, it.Type)
		}
	}
}

func TestScanReadsLittleMoreThanTheContent(t *testing.T) {
	files := stick.BenchFiles(60*mib, 5)
	var content int64
	for i := range files {
		content += files[i].Length()
	}
	img, _ := fatImage(t, 32, 192*mib, 2048, files)
	r := newRig(t, 2, 64*mib, img.size)
	rep := mustScan(t, r, img)
	ratio := float64(rep.BytesRead) / float64(content)
	t.Logf("%d files, %d bytes of content, %d read: %.3f", len(files), content, rep.BytesRead, ratio)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	// The whole image has to be looked at once where no file is; what counts is what the files cost.
	if ratio > 1.10 {
		t.Errorf("read %.3f times the content", ratio)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	img, _ := fatImage(t, 12, 2*mib, 2048, []stick.File{text("hang-1", "x")})
	r := newRig(t, 1, 2*mib, img.size)
	gone := errors.New("the supervisor is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for r.busy.Load() == 0 {
			select {
			case <-ctx.Done():
				return
			default:
			}
		}
		cancel(gone)
	}()
	rep, err := r.scan(ctx, img)
	if err != gone || rep.Complete {
		t.Errorf("error %v, complete %v", err, rep.Complete)
	}
}

func TestScanRefusesAJobThatDoesNotFit(t *testing.T) {
	img, _ := fatImage(t, 12, 2*mib, 2048, nil)
	for name, change := range map[string]func(*report.Job){
		"slots":   func(j *report.Job) { j.Slots++ },
		"size":    func(j *report.Job) { j.Size-- },
		"buffer":  func(j *report.Job) { j.SlotBytes++ },
		"lists":   func(j *report.Job) { j.Lists++ },
		"timeout": func(j *report.Job) { j.FileTimeout = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, 2*mib, img.size)
			change(&r.job)
			if rep, err := r.scan(t.Context(), img); err == nil || rep.Complete {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestBrokenReportPipeEndsTheScan(t *testing.T) {
	img, _ := fatImage(t, 16, 16*mib, 2048, stick.Corpus(50, 1))
	r := newRig(t, 1, 2*mib, img.size)
	for _, w := range r.workers {
		w.start()
		defer func() {
			w.mu.Lock()
			w.killed = true
			w.mu.Unlock()
			w.stop()
		}()
	}
	broken := errors.New("broken pipe")
	if err := Scan(t.Context(), img, r.job, r.slots, nil, NewSender(brokenWriter{broken})); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }
