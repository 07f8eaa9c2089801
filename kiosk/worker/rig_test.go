package worker

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
)

// programs is the folder of the real workers; fakes[HOW] that of a fake one.
var (
	programs string
	fakes    string
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(supervise(os.Args[2], os.Args[3]))
		case "tell":
			os.Exit(tell(os.Args[2]))
		}
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "workers")
	if err != nil {
		panic(err)
	}
	programs, fakes = filepath.Join(dir, "bin"), dir
	for out, pkg := range map[string]string{"bin/scanworker": "pratique/scanner/scanworker", "bin/yaraworker": "pratique/scanner/yaraworker", "bin/usbreader": "pratique/kiosk/usbreader", "fake": "./testdata/fake"} {
		if text, err := exec.Command("go", "build", "-o", filepath.Join(dir, out), pkg).CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%s: %v\n%s", pkg, err, text))
		}
	}
	descriptors := open()
	code := m.Run()
	// Whatever happened, nothing may be left behind.
	if left := children(os.Getpid(), ""); len(left) > 0 {
		fmt.Println("processes are left:", left)
		code = 1
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > 2 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > 2 {
		buf := make([]byte, 1<<20)
		fmt.Printf("%d goroutines are left:\n%s\n", n, buf[:runtime.Stack(buf, true)])
		code = 1
	}
	runtime.GC()
	allowed := descriptors + 3 // the runtime's own poller
	if !spacious() {
		allowed += 64 // see noSpaces: what asks for namespaces again and again, as a few tests do, is refused at that price
	}
	if now := open(); now > allowed {
		fmt.Printf("%d descriptors are open, where there were %d\n", now, descriptors)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func open() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(names)
}

// children are the processes that a process started, of a name if one is given.
func children(parent int, name string) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pid, comm, fields := stat(string(text))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) && fields[0] != "Z" && (name == "" || comm == name) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func stat(text string) (pid int, comm string, fields []string) {
	from, to := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return 0, "", nil
	}
	pid, _ = strconv.Atoi(strings.TrimSpace(text[:from]))
	return pid, text[from+1 : to], strings.Fields(text[to+1:])
}

// busy waits for a worker of a name that has been computing for longer than it needs to start, and returns it.
func busy(t *testing.T, name string) int {
	t.Helper()
	pid := busyUntil(name, 0, time.After(time.Minute))
	if pid == 0 {
		t.Error("no worker is busy")
	}
	return pid
}

// busyUntil is busy for another worker than one, or 0 if a channel says before that it is over.
func busyUntil[T any](name string, other int, over <-chan T) int {
	for {
		select {
		case <-over:
			return 0
		case <-time.After(5 * time.Millisecond):
		}
		for _, pid := range children(os.Getpid(), name) {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, _, fields := stat(string(text))
			if len(fields) < 12 || pid == other {
				continue
			}
			if ticks, _ := strconv.Atoi(fields[11]); ticks >= 30 { // 0.3 s in user mode
				return pid
			}
		}
	}
}

// fake returns a folder whose workers misbehave. Those that are given by name are the real ones.
func fake(t *testing.T, how string, really ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), how)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{scanWorker, yaraWorker, usbReader} {
		from := filepath.Join(fakes, "fake")
		for _, real := range really {
			if name == real {
				from = filepath.Join(programs, name)
			}
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// exploding keeps libyara busy for a long time on the 4 KiB of slow, and no time-out of its own would stop it.
const exploding = `rule exploding { strings: $a = /a.{1,1000}b.{1,1000}c.{1,1000}d/s condition: $a }
	rule needle { meta: description = "A needle." strings: $a = "NEEDLE" condition: $a }`

var slow = append(bytes.Repeat([]byte("ab c"), 256), make([]byte, 3<<10)...)

func compiled(t *testing.T, text string) *os.File {
	t.Helper()
	f, _, err := Compile(context.Background(), Config{Dir: programs}, []Source{{Name: "test.yar", Text: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

type file struct {
	name    string
	content []byte
}

// stick returns a FAT16 image that holds the files.
func stick(t *testing.T, files ...file) string {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "stick.img")
	run := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	size := int64(16 << 20)
	for _, f := range files {
		size += int64(len(f.content))
	}
	run("truncate", "-s", strconv.FormatInt((size+1<<20)&^(1<<20-1), 10), image)
	run("mkfs.vfat", "-F", "16", image)
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, f.content, 0o600); err != nil {
			t.Fatal(err)
		}
		run("mcopy", "-i", image, path, "::"+f.name)
	}
	return image
}

// some files of 8 KiB that nobody minds, and among them the one that is given.
func among(f file) []file {
	files := []file{f}
	for i := range 20 {
		files = append(files, file{fmt.Sprintf("f%02d.txt", i), bytes.Repeat([]byte{byte('A' + i)}, 8<<10)})
	}
	files[0], files[10] = files[10], files[0]
	return files
}

// medium opens an image the way that Scan wants it.
func medium(t *testing.T, image string) (*os.File, int64) {
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
	return f, info.Size()
}

// outcomes scans an image and returns what became of each file, by name.
func outcomes(t *testing.T, ctx context.Context, image string, cfg Config) (report.Report, map[string]report.Outcome) {
	t.Helper()
	src, size := medium(t, image)
	got := map[string]report.Outcome{}
	if cfg.Dir == "" {
		cfg.Dir = programs
	}
	r, err := Scan(ctx, src, size, 0, cfg, Sink{Item: func(it report.Item) error {
		if it.Kind == report.File {
			got[it.Path] = it.Outcome
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r, got
}

func codes(r report.Report) string {
	var out []string
	for _, s := range r.Shortfalls {
		out = append(out, s.Code)
	}
	return strings.Join(out, " ")
}

// only checks that one file has an outcome of its own and that all the others are clean.
func only(t *testing.T, got map[string]report.Outcome, files []file, name string, want report.Outcome) {
	t.Helper()
	if len(got) != len(files) {
		t.Errorf("%d files of %d", len(got), len(files))
	}
	for path, outcome := range got {
		expected := report.Clean
		if strings.EqualFold(path, name) {
			expected = want
		}
		if outcome != expected {
			t.Errorf("%s is %v, want %v", path, outcome, expected)
		}
	}
}
