package scanner

import (
	"bytes"
	"crypto/sha256"
	"io"
	"sync/atomic"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/volume"
	"pratique/testdata/stick"
)

// large is a file of several blocks for a small buffer.
func large(name string, n int64) stick.File { return noise(name, n, 42) }

func scanLarge(t *testing.T, f stick.File, blocks func(r *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done) (*rig, report.Item, report.Report) {
	t.Helper()
	img, _ := fatImage(t, 16, 64*mib, 4096, []stick.File{f, text("other", "x")})
	r := newRig(t, 1, 4*mib, img.size)
	r.blocks = blocks
	r.job.FileTimeout = 2_000
	rep := mustScan(t, r, img)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	if it := r.find("other"); it.Outcome != report.Clean {
		t.Errorf("the file beside it: %v", it.Outcome)
	}
	return r, r.find(f.Path), rep
}

func TestLargeContentIsHashedAndMatchedFromTheSameBlocks(t *testing.T) {
	for _, n := range []int64{4*mib + 1, 5 * mib, 13*mib + 777} {
		f := large("large", n)
		f.Scatter = n == 5*mib
		seen := sha256.New()
		r, it, rep := scanLarge(t, f, func(_ *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done {
			if s.Bytes != n || string(s.Name) != "large" || s.Type == "" {
				t.Errorf("asked for %+v", s)
			}
			end := int64(0)
			for at := int64(0); end < n; at += testBlock - cellBytes {
				b := need(at, min(testBlock, n-at))
				seen.Write(b[end-at:])
				end = at + int64(len(b))
			}
			return slot.Done{Scanned: true}
		})
		r.expect([]stick.File{f}, clean)
		if !bytes.Equal(seen.Sum(nil), it.SHA256[:]) {
			t.Errorf("%d bytes: other bytes were matched than hashed", n)
		}
		// Where no two clusters are neighbours, what lies between them is read with them.
		if limit := n + 2*mib; rep.BytesRead > limit && (!f.Scatter || rep.BytesRead > limit+2*n) {
			t.Errorf("%d bytes: %d read", n, rep.BytesRead)
		}
	}
}

func TestMatchesOnTheBordersOfBlocksAreFound(t *testing.T) {
	const n = 9 * mib
	mark := []byte("match block\n")
	for _, at := range []int64{0, testBlock - 5, testBlock - cellBytes - 5, 2*(testBlock-cellBytes) - 1, n - int64(len(mark))} {
		data := make([]byte, n)
		copy(data[at:], mark)
		_, it, _ := scanLarge(t, stick.File{Path: "large", Data: data}, nil)
		if it.Outcome != report.Flagged {
			t.Errorf("a match at %d: %v", at, it.Outcome)
		}
	}
}

func TestBlocksMayBeAskedForAgain(t *testing.T) {
	const n = 9 * mib
	f := large("large", n)
	want, _ := io.ReadAll(f.Content())
	r, _, _ := scanLarge(t, f, func(r *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done {
		d := walkBlocks(r, s, need)
		for _, at := range []int64{0, 4 * mib, n - mib, 0, mib, 2 * mib, mib} {
			if b := need(at, min(testBlock, n-at)); !bytes.Equal(b, want[at:min(at+testBlock, n)]) {
				t.Errorf("block at %d: %d bytes, other content", at, len(b))
			}
		}
		return d
	})
	r.expect([]stick.File{f}, clean)
}

func TestYARAWorkerCannotReadOutsideItsItemOrAhead(t *testing.T) {
	const n = 9*mib + 5
	first := func(off, n int64) func(*rig, *slot.Stream, func(off, n int64) []byte) slot.Done {
		return func(_ *rig, _ *slot.Stream, need func(off, n int64) []byte) slot.Done {
			if b := need(off, n); b != nil {
				t.Errorf("got %d bytes for %d at %d", len(b), n, off)
			}
			return slot.Done{Scanned: true}
		}
	}
	for name, blocks := range map[string]func(*rig, *slot.Stream, func(off, n int64) []byte) slot.Done{
		"negative":           first(-mib, mib),
		"nothing":            first(0, 0),
		"negative length":    first(0, -1),
		"longer than buffer": first(0, 5*mib),
		"ahead":              first(4*mib, mib),
		"off the grid":       first(1, mib),
		"end off the grid":   first(0, mib+1),
		"past the end":       first(0, 1<<62),
		"overflow":           first(1<<62, 1<<62),
		"not all of it": func(_ *rig, _ *slot.Stream, need func(off, n int64) []byte) slot.Done {
			need(0, testBlock)
			return slot.Done{Scanned: true}
		},
		"not even one": func(*rig, *slot.Stream, func(off, n int64) []byte) slot.Done { return slot.Done{Scanned: true} },
		"gives up":     func(*rig, *slot.Stream, func(off, n int64) []byte) slot.Done { return slot.Done{} },
	} {
		t.Run(name, func(t *testing.T) {
			if _, it, _ := scanLarge(t, large("large", n), blocks); it.Outcome != report.Unscanned {
				t.Errorf("%v", it.Outcome)
			}
		})
	}
}

func TestContentAskedForWithoutEndIsTooLarge(t *testing.T) {
	_, it, _ := scanLarge(t, large("large", 5*mib), func(r *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done {
		d := walkBlocks(r, s, need)
		for need(0, testBlock) != nil {
		}
		return d
	})
	if it.Outcome != report.TooLarge {
		t.Errorf("%v", it.Outcome)
	}
}

func TestYARAWorkerThatDiesOnAStreamCostsThatStream(t *testing.T) {
	r, it, _ := scanLarge(t, large("large", 9*mib), func(_ *rig, _ *slot.Stream, need func(off, n int64) []byte) slot.Done {
		need(0, testBlock)
		need(-1, -1) // nonsense: the scanner has it killed
		return slot.Done{}
	})
	if it.Outcome != report.Unscanned || r.starts.Load() != 2 {
		t.Errorf("%v, %d starts", it.Outcome, r.starts.Load())
	}
}

func TestLargeProgramsAreTooLarge(t *testing.T) {
	for name, magic := range map[string]string{"PE": "MZ\x90\x00", "ELF": "\x7fELF\x02", "DEX": "dex\n035\x00", "Mach-O": "\xcf\xfa\xed\xfe", "fat Mach-O": "\xca\xfe\xba\xbe"} {
		data := append([]byte(magic), make([]byte, 5*mib)...)
		copy(data[4*mib:], "match block\n")
		_, it, _ := scanLarge(t, stick.File{Path: "program", Data: data}, nil)
		if it.Outcome != report.TooLarge || !has(it.Findings, report.CheckYARA, report.Block) {
			t.Errorf("%s: %v, findings %v", name, it.Outcome, it.Findings)
		}
	}
}

// lying is a medium that shows other bytes in one place from the n-th reading on.
type lying struct {
	volume.Source
	at    int64
	after int64
	reads atomic.Int64
}

func (l *lying) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.Source.ReadAt(p, off)
	if off <= l.at && l.at < off+int64(n) && l.reads.Add(1) > l.after {
		p[l.at-off] ^= 1
	}
	return n, err
}

func TestT04_MediumThatShowsOtherBytesOnASecondReadIsCaught(t *testing.T) {
	f := large("large", 9*mib)
	img, _ := fatImage(t, 16, 64*mib, 4096, []stick.File{f})
	whole, err := io.ReadAll(io.NewSectionReader(img, 0, img.size))
	if err != nil {
		t.Fatal(err)
	}
	content, _ := io.ReadAll(f.Content())
	at := int64(bytes.Index(whole, content[:4096])) + 5*mib + 123
	again := func(r *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done {
		d := walkBlocks(r, s, need)
		if b := need(4*mib, testBlock); len(b) != 0 {
			t.Error("changed bytes were handed to YARA")
		}
		return d
	}
	r := newRig(t, 1, 4*mib, img.size)
	r.blocks = again
	mustScan(t, r, &lying{Source: img, at: at, after: 1})
	it := r.find("large")
	if it.Outcome.Seen() || !has(it.Findings, report.CheckMedium, report.Block) {
		t.Errorf("%+v", it)
	}
	if len(it.Findings) != 1 || it.Findings[0].Offset != 5*mib {
		t.Errorf("%+v", it.Findings)
	}
}

func TestStreamThatCannotBeReadIsUnreadable(t *testing.T) {
	img, _ := fatImage(t, 16, 64*mib, 4096, []stick.File{large("large", 30*mib)})
	for _, end := range []int64{mib, 3 * mib, 20 * mib} {
		if err := img.Truncate(end); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, 1, 4*mib, img.size)
		mustScan(t, r, img)
		if it := r.find("large"); it.Outcome != report.Unreadable {
			t.Errorf("cut at %d: %v", end, it.Outcome)
		}
		if err := img.Truncate(img.size); err != nil {
			t.Fatal(err)
		}
	}
}
