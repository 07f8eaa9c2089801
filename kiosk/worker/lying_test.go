package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pratique/scanner/report"
	sticks "pratique/testdata/stick"
)

// TestT04_MediumThatIsRewrittenWhileItIsScannedIsFoundOut changes a script after its item arrived, and puts the time of the
// image back, so that only a second reading can tell. The sink holds the scan up until that is done: there are more items
// behind than fit into the pipe.
func TestT04_MediumThatIsRewrittenWhileItIsScannedIsFoundOut(t *testing.T) {
	script := append([]byte("#!/bin/sh\n"), bytes.Repeat([]byte("echo hello\n"), 2000)...)
	files := []sticks.File{{Path: "run.sh", Data: script}}
	for i := range 5000 {
		files = append(files, sticks.File{Path: fmt.Sprintf("%03d/a file with a name that takes its place in the pipe %d.txt", i/100, i), Data: []byte("words\n")})
	}
	image := filepath.Join(t.TempDir(), "stick.img")
	out, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	const size = 64 << 20
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := sticks.WriteFAT(out, sticks.FAT{Bits: 16, Bytes: size, ClusterBytes: 2048}, files); err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(io.NewSectionReader(out, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	at := int64(bytes.Index(whole, script))
	before, err := out.Stat()
	if err != nil || at < 0 {
		t.Fatal(at, err)
	}
	for _, rewrite := range []bool{false, true} {
		src, _ := medium(t, image)
		items := 0
		r, err := Scan(context.Background(), src, size, 0, Config{Dir: programs, Slots: 1, Rules: compiled(t, exploding), Seed: [32]byte{4}}, Sink{Item: func(it report.Item) error {
			items++
			if it.Path != "run.sh" || !rewrite {
				return nil
			}
			if _, err := out.WriteAt([]byte("E"), at+5000); err != nil {
				return err
			}
			return os.Chtimes(image, before.ModTime(), before.ModTime())
		}})
		if err != nil {
			t.Fatal(err)
		}
		accused := slices.ContainsFunc(r.Found, func(f report.VolumeFinding) bool {
			return f.Finding.Rule == "medium-changes" && f.Finding.Severity == report.Block
		})
		if !r.Complete || accused != rewrite || items < len(files) {
			t.Errorf("rewritten %v: complete %v %v, findings %+v, %d items", rewrite, r.Complete, r.Shortfalls, r.Found, items)
		}
		if r.Again.Items != 1 && !rewrite {
			t.Errorf("read again: %+v", r.Again)
		}
	}
}
