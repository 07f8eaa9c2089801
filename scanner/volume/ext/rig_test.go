package ext

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

const mega = 1 << 20

// kept is a folder for what several tests use and what takes long to make, by what it is.
var kept struct {
	dir  string
	mu   sync.Mutex
	made map[string]string
}

func TestMain(m *testing.M) {
	var err error
	if kept.dir, err = os.MkdirTemp("", "ext"); err != nil {
		panic(err)
	}
	kept.made = map[string]string{}
	code := m.Run()
	os.RemoveAll(kept.dir)
	os.Exit(code)
}

// once returns what was made under a name before, or makes it at a new path.
func once(t testing.TB, name string, make func(path string)) string {
	t.Helper()
	kept.mu.Lock()
	defer kept.mu.Unlock()
	path, ok := kept.made[name]
	if !ok {
		path = filepath.Join(kept.dir, strconv.Itoa(len(kept.made)))
		make(path)
		if t.Failed() {
			t.FailNow()
		}
		kept.made[name] = path
	}
	return path
}

// tool runs a program that must succeed.
func tool(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		name = "/usr/sbin/" + name // where Debian keeps them, and only root's path leads
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %.500s", filepath.Base(name), strings.Join(args, " "), err, words.String())
	}
	return out
}

// debugfs runs commands on an image, and fails the test if one of them says something is wrong.
func debugfs(t testing.TB, image string, commands ...string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/debugfs", "-w", "-f", script, image)
	var words strings.Builder
	cmd.Stderr = &words
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	for line := range strings.Lines(words.String()) {
		if !strings.HasPrefix(line, "debugfs 1.") && strings.TrimSpace(line) != "" {
			t.Fatalf("debugfs: %s", line)
		}
	}
}

// tree writes files below a new folder.
func tree(t testing.TB, files []stick.File) string {
	t.Helper()
	dir := t.TempDir()
	if err := stick.WriteTree(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// corpus is a folder with so many files.
func corpus(t testing.TB, files int) string {
	return once(t, fmt.Sprintf("%d files", files), func(dir string) {
		if err := stick.WriteTree(dir, corpusFiles(files)); err != nil {
			t.Error(err)
		}
	})
}

// corpusFiles are files whose names Linux can hold, in folders that need an index, and one of every size that needs another
// level of a map in blocks of 1 KiB.
func corpusFiles(n int) []stick.File {
	var files []stick.File
	for _, f := range stick.Corpus(n+n/4, 11) {
		fits := !slices.ContainsFunc(strings.Split(f.Path, "/"), func(name string) bool { return len(name) > 255 })
		if fits && len(files) < n+2 { // two are folders
			files = append(files, f)
		}
	}
	return files
}

// format makes a volume of a tree and returns the image's name.
func format(t testing.TB, dir string, bytes int64, args ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	formatTo(t, image, dir, bytes, args...)
	return image
}

func formatTo(t testing.TB, image, dir string, bytes int64, args ...string) {
	t.Helper()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	f.Close()
	tool(t, "mke2fs", append(append([]string{"-q", "-F", "-d", dir}, args...), image)...)
}

func opened(t testing.TB, image string) volume.Source {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return volumetest.Opened(f, info.Size(), 512)
}

// list opens and reads a volume, which must be possible.
func list(t testing.TB, src volume.Source, opts volume.Options) volumetest.Listing {
	t.Helper()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(context.Background(), src, fs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// healthy fails the test unless the listing is that of a healthy volume.
func healthy(t testing.TB, l volumetest.Listing, allowed ...string) {
	t.Helper()
	if l.Bars() {
		t.Errorf("a healthy volume is %v: %s", l.Summary.Outcome, l.Summary.Reason)
		for s := range l.Signals() {
			t.Log(s)
		}
	}
	for _, f := range l.Summary.Findings {
		if !slices.Contains(allowed, f.Rule) {
			t.Errorf("finding on a healthy volume: %+v", f)
		}
	}
}

func areas(l volumetest.Listing, prefix string) (n int) {
	for _, e := range l.Entries {
		if e.Kind == report.Area && strings.HasPrefix(e.Path, prefix) {
			n++
		}
	}
	return n
}

// debugfsTruth is what debugfs reads: every file by rdump, and what a symbolic link holds.
func debugfsTruth(t testing.TB, image string) volumetest.Truth {
	t.Helper()
	out := t.TempDir()
	tool(t, "debugfs", "-R", "rdump / "+out, image)
	truth := volumetest.Truth{}
	err := filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(out, path)
		if d.Type()&os.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			truth[rel] = volumetest.FileOf([]byte(to))
			return err
		}
		data, err := os.ReadFile(path)
		truth[rel] = volumetest.FileOf(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return truth
}
