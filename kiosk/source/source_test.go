package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watched is a folder that is watched, and what was told of it.
type watched struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex
	told []string
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, dir: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- WatchFolder(ctx, w.dir, w.tell) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watched) tell(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Told:
		w.told = append(w.told, "problem "+e.Problem)
	case e.File == nil:
		w.told = append(w.told, e.Port+" gone")
	default:
		text := make([]byte, 8)
		n, _ := e.File.Read(text)
		if flags, err := unix.FcntlInt(e.File.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
			w.t.Errorf("opened with %x, %v", flags, err)
		}
		if lease, err := unix.FcntlInt(e.File.Fd(), unix.F_GETLEASE, 0); err != nil || lease != unix.F_UNLCK {
			w.t.Errorf("a lease is held: %d %v", lease, err)
		}
		e.File.Close()
		w.told = append(w.told, e.Port+" "+string(text[:n]))
	}
}

// expect waits until all that was told so far is this.
func (w *watched) expect(want ...string) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		got := strings.Join(w.told, ", ")
		w.mu.Unlock()
		if got == strings.Join(want, ", ") {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("told %q, want %q", got, want)
		}
	}
}

func (w *watched) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestAFileIsPluggedInOnceItHasSettledAndUntilItIsTouched(t *testing.T) {
	w := watch(t)
	begin := time.Now()
	w.write("a", "one")
	w.expect("folder-1 one")
	if d := time.Since(begin); d < settle {
		t.Errorf("after %v", d)
	}
	if err := os.Rename(filepath.Join(w.dir, "a"), filepath.Join(w.dir, "b")); err != nil {
		t.Fatal(err)
	}
	w.expect("folder-1 one", "folder-1 gone", "folder-1 one") // a renamed file is another medium
	w.write("b", "two")
	w.expect("folder-1 one", "folder-1 gone", "folder-1 one", "folder-1 gone", "folder-1 two")
	if err := os.Remove(filepath.Join(w.dir, "b")); err != nil {
		t.Fatal(err)
	}
	w.expect("folder-1 one", "folder-1 gone", "folder-1 one", "folder-1 gone", "folder-1 two", "folder-1 gone")
}

func TestFilesBeyondTheSlotsWait(t *testing.T) {
	w := watch(t)
	want := []string{}
	for i := range Slots {
		w.write(fmt.Sprintf("%d", i), fmt.Sprintf("f%d", i))
		want = append(want, fmt.Sprintf("folder-%d f%d", i+1, i))
		time.Sleep(100 * time.Millisecond) // in this order
	}
	w.expect(want...)
	w.write("further", "more")
	time.Sleep(settle + lookTime)
	w.expect(want...)
	if err := os.Remove(filepath.Join(w.dir, "1")); err != nil {
		t.Fatal(err)
	}
	w.expect(append(want, "folder-2 gone", "folder-2 more")...)
}

// A file that somebody has open for writing stays out, however long nothing is written; so does a file that changes.
func TestAFileThatIsWrittenIsNotPluggedIn(t *testing.T) {
	w := watch(t)
	f, err := os.Create(filepath.Join(w.dir, "slow"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 5 {
		if _, err := f.WriteString("x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	time.Sleep(settle + lookTime)
	w.expect()
	f.Close()
	w.expect("folder-1 xxxxx")
}

func TestAFolderThatGoesTakesItsFilesWithIt(t *testing.T) {
	w := watch(t)
	w.write("a", "one")
	w.expect("folder-1 one")
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w.mu.Lock()
		text := strings.Join(w.told, ", ")
		w.mu.Unlock()
		if strings.Contains(text, "folder-1 gone") && strings.Contains(text, "problem The watched folder") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("told %q", text)
		}
	}
}

func TestAFolderThatIsNotThereIsAnError(t *testing.T) {
	if err := WatchFolder(t.Context(), filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("no error")
	}
}

// What is no block device is a problem in words, and nothing is plugged in.
func TestOnlyBlockDevicesAreBlockDevices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var told []string
	WatchBlock(ctx, []string{file, "/dev/null", filepath.Join(t.TempDir(), "none")}, func(e Event) {
		told = append(told, fmt.Sprint(e.Port, " ", e.Problem != "", " ", e.File != nil))
	})
	if got := strings.Join(told, ", "); got != "block-1 true false, block-2 true false" {
		t.Errorf("told %q", got)
	}
}
