package udf

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// linuxVolume is one that the driver of Linux wrote, and the hashes that it gave for its files (testdata/linux.sh).
func linuxVolume(t testing.TB, block int) (data []byte, sums map[string]string) {
	t.Helper()
	base := filepath.Join("testdata", fmt.Sprintf("linux-%d", block))
	f, err := os.Open(base + ".img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err == nil {
		data, err = io.ReadAll(z)
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.Open(base + ".sha256")
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	sums = map[string]string{}
	for lines := bufio.NewScanner(list); lines.Scan(); {
		sum, path, _ := strings.Cut(lines.Text(), "  ")
		sums[path] = sum
	}
	return data, sums
}

// Name by name and hash by hash, with what a driver leaves behind: deleted files, a hole, a hard link, files in pieces.
func TestReadsTheSameAsLinux(t *testing.T) {
	for _, block := range []int{512, 2048, 4096} {
		t.Run(fmt.Sprint(block), func(t *testing.T) {
			data, sums := linuxVolume(t, block)
			src := volumetest.Bytes(data, 512)
			l := list(t, src, volume.Options{})
			healthy(t, l)
			if short := slices.Contains(rules(l), "piece-short"); short != (block == 512) {
				t.Errorf("pieces that are too short: %v", short)
			}
			if len(sums) < 200 || len(l.Files) != len(sums) || l.Summary.Label != "Kern" {
				t.Errorf("%d files, want %d; label %q", len(l.Files), len(sums), l.Summary.Label)
			}
			for path, sum := range sums {
				if got := hex.EncodeToString(sum32(l.Files[path])); got != sum {
					t.Errorf("%q: %s, want %s", path, got, sum)
				}
			}
			covers(t, src)
			t.Log(rules(l))
		})
	}
}

func sum32(f volumetest.File) []byte { return f.SHA256[:] }
