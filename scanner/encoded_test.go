package scanner

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/ntfs"
	"pratique/scanner/volume/volumetest"
)

// decodes is a Decode that gives data, whatever the volume is.
func decodes(data []byte) func(io.ReaderAt) io.ReaderAt {
	return func(io.ReaderAt) io.ReaderAt { return bytes.NewReader(data) }
}

// fails is a decoder that fails.
type fails struct{ err error }

func (f fails) ReadAt([]byte, int64) (int, error) {
	if f.err == nil {
		panic("a decoder that was not built for this")
	}
	return 0, f.err
}

func TestContentThatIsNotInExtentsBecomesATaskOrARefusal(t *testing.T) {
	at := []volume.Extent{{Start: 0, Bytes: 512}}
	decode := decodes([]byte("0123456789"))
	for _, test := range []struct {
		name    string
		entry   volume.Entry
		read    bool
		outcome report.Outcome
		content string
	}{
		{"held by the entry", volume.Entry{Size: 4, Valid: 4, Inline: []byte("held")}, true, 0, "held"},
		{"held, with zeros behind", volume.Entry{Size: 6, Valid: 4, Inline: []byte("held")}, true, 0, "held\x00\x00"},
		{"held, more than is valid", volume.Entry{Size: 6, Valid: 2, Inline: []byte("held")}, true, 0, "he\x00\x00\x00\x00"},
		{"held, less than is valid", volume.Entry{Size: 6, Valid: 6, Inline: []byte("held")}, true, report.Malformed, "held"},
		{"held and stored", volume.Entry{Size: 4, Valid: 4, Inline: []byte("held"), Extents: at}, false, report.Malformed, ""},
		{"held and decoded", volume.Entry{Size: 4, Valid: 4, Inline: []byte("held"), Decode: decode}, false, report.Malformed, ""},
		{"decoded", volume.Entry{Size: 10, Valid: 10, Extents: at, Decode: decode}, true, 0, "0123456789"},
		{"decoded, of a damaged entry", volume.Entry{Size: 10, Valid: 10, Extents: at, Decode: decode, Outcome: report.Malformed}, false, report.Malformed, ""},
		{"decoded, without clusters", volume.Entry{Size: 10, Valid: 10, Decode: decode}, false, report.Malformed, ""},
		{"decoded, larger than the medium", volume.Entry{Size: 1 << 50, Valid: 1 << 50, Extents: []volume.Extent{{Start: -1, Bytes: 1 << 50}}, Decode: decode}, false, report.TooLarge, ""},
		{"opaque", volume.Entry{Size: 10, Valid: 10, Extents: at, Opaque: true}, false, report.Unscanned, ""},
		{"opaque and empty", volume.Entry{Opaque: true}, false, report.Unscanned, ""},
		{"opaque, and called clean", volume.Entry{Opaque: true, Outcome: report.Clean}, false, report.Unscanned, ""},
		{"opaque and encrypted", volume.Entry{Opaque: true, Outcome: report.Encrypted}, false, report.Encrypted, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.entry.Path, test.entry.Kind = "p", report.File
			w := testWindow()
			w.scan.src = &counted{Source: volumetest.Bytes(make([]byte, 4*mib), 512)}
			got := w.task(test.entry)
			if got.read != test.read || got.item.Outcome != test.outcome {
				t.Fatalf("read %v, %v", got.read, got.item.Outcome)
			}
			if !got.read {
				return
			}
			got.content.open()
			for off := range len(test.content) + 1 { // a large item is read from any place
				p := bytes.Repeat([]byte{0xEE}, len(test.content)-off)
				if list := got.content.pieces(nil, p, int64(off)); len(list) > 0 || string(p) != test.content[off:] || got.content.failed {
					t.Errorf("from %d: %q, %d pieces", off, p, len(list))
				}
			}
		})
	}
}

func TestT03_DecodersThatFailCostTheirItem(t *testing.T) {
	for name, test := range map[string]struct {
		decoder io.ReaderAt
		want    report.Outcome
	}{
		"damage":       {fails{fmt.Errorf("%w: in a chunk", volume.ErrMalformed)}, report.Malformed},
		"bad sector":   {fails{fmt.Errorf("%w: at 7", volume.ErrUnreadable)}, report.Unreadable},
		"other errors": {fails{errors.New("something")}, report.Malformed},
		"a panic":      {fails{}, report.Malformed},
		"an early end": {bytes.NewReader([]byte("short")), report.Malformed},
	} {
		c := content{decode: func() io.ReaderAt { return test.decoder }, bytes: 10}
		c.open()
		p := bytes.Repeat([]byte{0xEE}, 10)
		tk := &task{content: c}
		if list := tk.content.pieces(nil, p, 0); len(list) > 0 || !volume.Zero(p) {
			t.Errorf("%s: %d pieces, %q", name, len(list), p)
		}
		s := &scan{}
		if s.identify(tk, p) || tk.item.Outcome != test.want {
			t.Errorf("%s: %v, want %v", name, tk.item.Outcome, test.want)
		}
	}
}

// ntfsImage is a medium that is one NTFS volume, the one on which its reader is tested.
func ntfsImage(t testing.TB) *image {
	t.Helper()
	f, err := os.Open(filepath.Join("volume", "ntfs", "testdata", "corpus.img.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	img := newImage(t, 64*mib)
	if n, err := io.Copy(img.File, z); err != nil || n != img.size {
		t.Fatal(n, err)
	}
	return img
}

func TestScanReadsAnNTFSVolume(t *testing.T) {
	img := ntfsImage(t)
	fs, err := ntfs.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	want, err := volumetest.ReadAll(context.Background(), img, fs, volume.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// A buffer smaller than some files, so that those are streamed; one large enough for all.
	for _, slotBytes := range []int64{4 * mib, 16 * mib} {
		r := newRig(t, 2, slotBytes, img.size)
		rep := mustScan(t, r, img)
		if !rep.Complete || len(rep.Volumes) != 1 || rep.Volumes[0].Outcome != report.Clean || rep.Volumes[0].FileSystem != "ntfs" {
			t.Fatalf("complete %v, shortfalls %v, volumes %+v", rep.Complete, rep.Shortfalls, rep.Volumes)
		}
		got := map[string]report.Item{}
		for _, it := range r.items {
			got[it.Path] = it
			if !it.Outcome.Seen() {
				t.Errorf("%q is %v", it.Path, it.Outcome)
			}
		}
		for path, f := range want.Files {
			if it := got[path]; it.SHA256 != f.SHA256 || it.Size != f.Size {
				t.Errorf("%q: %v, %d bytes, want %d", path, it.Outcome, it.Size, f.Size)
			}
		}
		if int(rep.Tally.Files+rep.Tally.Streams) != len(want.Files) {
			t.Errorf("%d files and %d streams of %d", rep.Tally.Files, rep.Tally.Streams, len(want.Files))
		}
		t.Logf("%d files, %d streams, %d areas", rep.Tally.Files, rep.Tally.Streams, rep.Tally.Areas)
	}
}
