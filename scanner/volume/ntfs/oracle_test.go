package ntfs

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

var mutants = flag.Int("mutants", 300, "mutated volumes to try; the nightly run takes 3,000")

// sleuthkit lists and reads a volume with the Sleuth Kit's fls and icat, streams included.
func sleuthkit(t *testing.T, image string, ours volumetest.Truth) volumetest.Truth {
	t.Helper()
	listing := tool(t, "fls", "-r", "-p", "-u", "-f", "ntfs", image)
	type row struct{ inode, path string }
	rows := make(chan row)
	found, mu, done := volumetest.Truth{}, sync.Mutex{}, sync.WaitGroup{}
	for range 2 {
		done.Go(func() {
			for r := range rows {
				data := tool(t, "icat", "-f", "ntfs", image, r.inode)
				mu.Lock()
				found[r.path] = volumetest.FileOf(data)
				mu.Unlock()
			}
		})
	}
	for line := range strings.Lines(string(listing)) {
		head, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		kind, inode, _ := strings.Cut(head, " ")
		if !ok || kind != "r/r" && kind != "d/r" || strings.HasPrefix(path, "$") || strings.Contains(path, "/.:") || strings.Contains(path, "/..:") {
			continue // the volume's own files, and streams of directories by their second names
		}
		if _, known := ours[path]; !known {
			number, _, _ := strings.Cut(inode, "-")
			if strings.Contains(string(tool(t, "istat", "-f", "ntfs", image, number)), "Not Allocated File") {
				continue // an index still has the name of a file that is gone, which the Sleuth Kit takes for a file
			}
		}
		rows <- row{inode, path}
	}
	close(rows)
	done.Wait()
	return found
}

// save writes a volume to a file for the tools.
func save(t testing.TB) string {
	t.Helper()
	data, err := corpusBytes()
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return image
}

func TestReadsTheSameAsTheSleuthKit(t *testing.T) {
	l := list(t, corpus(t), volume.Options{})
	healthy(t, l)
	known := sleuthkit(t, save(t), l.Files)
	for _, line := range known.Diff(l) {
		t.Errorf("against the Sleuth Kit: %s", line)
	}
	if len(known) < 2000 {
		t.Errorf("only %d files", len(known))
	}
	t.Logf("%d files and streams equal in name, size and SHA-256", len(known))
}

// What needs more than extents is compared with the second reader, too.
func TestReadsTheSameAsNTFS3G(t *testing.T) {
	image := save(t)
	l := list(t, corpus(t), volume.Options{})
	for _, path := range []string{"compressed/text 0.txt", "compressed/text 2.txt", "compressed/mixed.bin", "compressed/small.txt",
		"compressed/zeros.bin", "sparse.bin", "pieces.bin", "links/two.txt", "Flat/three.txt", "streams/many.txt",
		"streams/many.txt:stream 077", "streams/host 3.txt:большой поток", "compressed/host.txt:compressed stream", "streams/in a folder:stream",
		"many/a file with a longer name, number 0666.txt"} {
		file, stream, _ := strings.Cut(path, ":")
		args := []string{image, file}
		if stream != "" {
			args = []string{"-n", stream, image, file}
		}
		if want, got := volumetest.FileOf(tool(t, "ntfscat", args...)), l.Files[path]; got != want {
			t.Errorf("%q: %d bytes, want %d", path, got.Size, want.Size)
		}
	}
	// ntfsls lists the volume's own files only if it is told to.
	var names []string
	for line := range strings.Lines(string(tool(t, "ntfsls", "-R", image))) {
		if name := strings.TrimSuffix(line, "\n"); name != "" && !strings.HasPrefix(name, "/") && name != "." && name != ".." {
			names = append(names, name)
		}
	}
	ours := 0
	for _, e := range l.Entries {
		if e.Kind == report.File || e.Kind == report.Directory {
			ours++
		}
	}
	if len(names) != ours {
		t.Errorf("ntfsls has %d names, this reader %d", len(names), ours)
	}
}

// Volumes of every geometry, formatted and filled by ntfs-3g's tools.
func TestReadsEveryGeometry(t *testing.T) {
	dir := t.TempDir()
	contents := map[string][]byte{
		"small.txt": []byte("resident"), "large.bin": bytes.Repeat([]byte("large "), 60_000), "one.bin": bytes.Repeat([]byte("1"), 4096),
		"large.bin:stream": bytes.Repeat([]byte("stream "), 9_000), "small.txt:s": []byte("s"),
	}
	for _, g := range []struct{ sector, cluster int }{
		{512, 512}, {512, 1024}, {512, 4096}, {512, 65536}, {512, 262144}, {512, 2097152}, {1024, 1024}, {2048, 4096}, {4096, 4096}, {4096, 65536},
	} {
		t.Run(fmt.Sprintf("sectors %d clusters %d", g.sector, g.cluster), func(t *testing.T) {
			size := max(16*mega, 40*int64(g.cluster))
			image := filepath.Join(dir, fmt.Sprint(g.sector, g.cluster))
			f, err := os.Create(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			tool(t, "mkntfs", "-F", "-Q", "-q", "-s", strconv.Itoa(g.sector), "-c", strconv.Itoa(g.cluster), image)
			want := volumetest.Truth{}
			for _, path := range []string{"small.txt", "large.bin", "one.bin", "large.bin:stream", "small.txt:s"} {
				part := filepath.Join(dir, "part")
				if err := os.WriteFile(part, contents[path], 0o600); err != nil {
					t.Fatal(err)
				}
				file, stream, named := strings.Cut(path, ":")
				args := []string{"-q", "-f", image, part, file}
				if named {
					args = append([]string{"-N", stream}, args...)
				}
				tool(t, "ntfscp", args...)
				want[path] = volumetest.FileOf(contents[path])
			}
			src := volumetest.Opened(f, size, g.sector)
			l := list(t, src, volume.Options{})
			healthy(t, l)
			for _, line := range want.Diff(l) {
				t.Error(line)
			}
			covers(t, src)
		})
	}
}

// covers fails the test if a deep walk leaves out a byte.
func covers(t *testing.T, src volume.Source) {
	t.Helper()
	l := list(t, src, volume.Options{Deep: true})
	if l.Bars() {
		t.Fatalf("%+v", l.Summary)
	}
	const grain = 512
	covered := make([]bool, src.Size()/grain+1)
	for _, e := range l.Entries {
		for _, x := range e.Extents {
			if x.Start >= 0 {
				for i := x.Start / grain; i < (x.Start+x.Bytes+grain-1)/grain; i++ {
					covered[i] = true
				}
			}
		}
	}
	buf := make([]byte, grain)
	for i := range covered {
		n, _ := src.ReadAt(buf, int64(i)*grain)
		if !covered[i] && !volume.Zero(buf[:n]) && int64(i)*grain != src.Size()-int64(src.SectorSize()) {
			t.Fatalf("sector %d belongs to no item", i)
		}
	}
}

func TestT06_DeepCoversEveryByteOfTheVolume(t *testing.T) {
	covers(t, corpus(t))
}

// campaign is the volume on which mutants and bad sectors are tried. Its truth is what the oracles agreed to.
func campaign(t *testing.T) volumetest.Campaign {
	t.Helper()
	src := corpus(t)
	whole := list(t, src, volume.Options{})
	inRecord := map[string]bool{}
	for _, e := range whole.Entries {
		inRecord[e.Path] = e.Inline != nil
	}
	return volumetest.Campaign{Source: src, Metadata: metadata(t, src), Truth: whole.Files, Open: Open,
		// Small files lie among the metadata. One that is still listed and has other content was changed, not lost.
		Deleted: func(_ *volumetest.Mutant, path string, l volumetest.Listing) bool {
			_, there := l.Files[path]
			return there && inRecord[path]
		}}
}

func TestT03_MutatedVolumesLoseNothingQuietly(t *testing.T) {
	r := campaign(t).Run(t, 1, *mutants)
	t.Logf("%d mutants: %v", *mutants, r)
}

func TestT03_BadSectorsLoseNothingQuietly(t *testing.T) {
	t.Logf("40 bad sectors: %v", campaign(t).RunFailing(t, 40))
}
