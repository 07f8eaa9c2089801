package ntfs

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

var folderFiles = flag.Int("folder-files", 2_000, "files of the large directory; the nightly run takes 20,000")

// folderRecord is a directory in which one thing lies.
func folderRecord(number int64, use uint16, parent reference, name string, child reference, childName string) []byte {
	raw := make([]byte, 1024)
	header(raw, number)
	le.PutUint16(raw[16:], use)
	raw[22] = 3
	at := 56 + resident(raw[56:], typeName, "", nameValue(parent, name))
	key := nameValue(refer(number, use), childName)
	entry := make([]byte, (16+len(key)+7)&^7)
	le.PutUint64(entry, uint64(child))
	le.PutUint16(entry[8:], uint16(len(entry)))
	le.PutUint16(entry[10:], uint16(len(key)))
	copy(entry[16:], key)
	entry = append(entry, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0) // the end
	index := make([]byte, 32)
	le.PutUint32(index, typeName)
	le.PutUint32(index[4:], byName)
	le.PutUint32(index[8:], 4096)
	le.PutUint32(index[16:], 16)
	le.PutUint32(index[20:], uint32(16+len(entry)))
	le.PutUint32(index[24:], uint32(16+len(entry)))
	at += resident(raw[at:], typeIndexRoot, indexName, append(index, entry...))
	finish(raw, at)
	return raw
}

// nest puts levels of directories into each other, the first of which lies in the root, and a file into the last. They have
// the records of files that were deleted. It returns the path of the file.
func nest(b bench, levels int, numbers []int64) string {
	b.t.Helper()
	const top, leaf = "empty folder", "leaf.txt"
	place := b.placer()
	number, self, parent, name := b.number(top), b.own(top), refer(recordRoot, 5), top
	var path strings.Builder
	for level := range levels {
		next, childName := numbers[level], fmt.Sprintf("%03d", level+2)
		if level == levels-1 {
			childName = leaf
		}
		child := refer(next, 0x5555)
		b.write(place(number), folderRecord(number, self.use(), parent, name, child, childName)...)
		path.WriteString(name + "/")
		number, self, parent, name = next, child, self, childName
	}
	raw := make([]byte, 1024)
	header(raw, number)
	le.PutUint16(raw[16:], self.use())
	at := 56 + resident(raw[56:], typeName, "", nameValue(parent, name))
	at += resident(raw[at:], typeData, "", []byte("at the bottom"))
	finish(raw, at)
	b.write(place(number), raw...)
	return path.String() + name
}

// Whatever order the records have, the first 255 levels are read as they are. What lies deeper has no path that a system
// could open: it is scanned, and the volume is refused.
func TestT03_DirectoriesAreReadDownToLevel255AndRefusedBelow(t *testing.T) {
	b := newBench(t)
	var up []int64
	for i := range 700 {
		up = append(up, b.number(fmt.Sprintf("a file with a longer name, number %04d.txt", i)))
	}
	slices.Sort(up)
	down := slices.Clone(up)
	slices.Reverse(down)
	for _, numbers := range [][]int64{up, down} {
		for _, levels := range []int{2, 254, 255, 256, 257, 300, 700} {
			b := newBench(t)
			path := nest(b, levels, numbers)
			l := b.list()
			listed, scanned := false, false
			for _, e := range l.Entries {
				if string(e.Inline) != "at the bottom" {
					continue
				}
				listed = listed || e.Kind == report.File && e.Path == path
				scanned = scanned || e.Kind == report.Area && strings.HasPrefix(e.Path, "$Orphan/")
			}
			fits := levels <= maxDepth
			if !fits && l.Summary.Outcome != report.TooLarge {
				t.Errorf("%d levels: %v %s", levels, l.Summary.Outcome, l.Summary.Reason)
			}
			if listed != fits || scanned == fits || (l.Summary.Outcome == report.Clean) != fits || fits && l.Has("orphan") {
				t.Errorf("%d levels: listed %v, scanned as an area %v, %v %s %q", levels, listed, scanned, l.Summary.Outcome, l.Summary.Reason, l.Rules())
			}
		}
	}
}

// The index of a large directory has levels of its own. ntfs-3g writes this one.
func TestReadsALargeDirectory(t *testing.T) {
	files, dir := *folderFiles, t.TempDir()
	image, part := filepath.Join(dir, "image"), filepath.Join(dir, "part")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64*mega)); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkntfs", "-F", "-Q", "-q", image)
	want := volumetest.Truth{}
	for i := range files {
		// Not in the order of the names, so that blocks of the index are split in all places.
		name := fmt.Sprintf("Image %05d of a series.dcm", i*7919%files) // prime, so that each number comes once
		data := []byte("the content of " + name)
		if err := os.WriteFile(part, data, 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "ntfscp", "-q", "-f", image, part, name)
		want[name] = volumetest.FileOf(data)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src := volumetest.Opened(f, 64*mega, 512)
	start := time.Now()
	l := list(t, src, volume.Options{})
	took := time.Since(start)
	healthy(t, l)
	diff := want.Diff(l)
	if len(diff) > 0 {
		t.Errorf("%d differences, such as %s", len(diff), diff[0])
	}
	listed := 0
	for line := range strings.Lines(string(tool(t, "fls", "-f", "ntfs", "-u", image))) {
		if _, name, _ := strings.Cut(strings.TrimSpace(line), ":\t"); strings.HasPrefix(name, "Image ") {
			listed++
		}
	}
	if listed != files {
		t.Errorf("the Sleuth Kit lists %d of %d files", listed, files)
	}
	t.Logf("%d files in one directory, read in %v", files, took.Round(time.Millisecond))
}

// A tree that is too deep is too large, one that leads into itself is malformed, and telling them apart costs one way up.
func TestT24_ADeepTreeAndACircleAreTwoThings(t *testing.T) {
	const folderCount = 100_000
	for name, c := range map[string]struct {
		top     uint32 // parent of the first
		circles bool
	}{"deep": {recordRoot, false}, "circle": {1000 + folderCount/2, true}, "no way up": {77, false}} {
		w := &walker{folders: folders{places: map[uint32]place{}}, uses: make([]uint16, 2*folderCount)}
		w.folders.add(folder{number: recordRoot, use: 5, parent: recordRoot, parentUse: 5, indexed: true}, ".")
		for i := range uint32(folderCount) {
			d := folder{number: 1000 + i, use: 1, parent: 999 + i, parentUse: 1, indexed: true}
			if i == 0 {
				d.parent, d.parentUse = c.top, map[bool]uint16{true: 1, false: 5}[c.circles]
			}
			w.folders.add(d, "d")
		}
		start := time.Now()
		for i := range int64(folderCount) {
			w.place(refer(1000+folderCount-1-i, 1))
		}
		want := report.TooLarge
		if c.circles {
			want = report.Malformed
		}
		if s := w.Summary(""); s.Outcome != want || time.Since(start) > 10*time.Second {
			t.Errorf("%s: %v %q after %v", name, s.Outcome, s.Reason, time.Since(start))
		}
	}
}
