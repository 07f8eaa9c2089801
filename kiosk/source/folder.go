package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// WatchFolder tells what is plugged into a folder's ports until ctx ends, and then returns. tell is called on its goroutine.
func WatchFolder(ctx context.Context, dir string, tell func(Event)) error {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("watched folder: %w", err)
	}
	d.Close()
	hints, stop := hintsOf(dir)
	defer stop()
	f := folder{dir: dir, seen: map[string]candidate{}, tell: tell}
	every(ctx, hints, f.look)
	return nil
}

// hintsOf says when to look at some folders. Without inotify the clock has to do.
func hintsOf(dirs ...string) (<-chan struct{}, func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, func() {}
	}
	watched := 0
	for _, dir := range dirs {
		if w.Add(dir) == nil {
			watched++
		}
	}
	if watched == 0 {
		w.Close()
		return nil, func() {}
	}
	hints, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case _, open := <-w.Events:
				if !open {
					return
				}
			case _, open := <-w.Errors: // an overflow: something happened
				if !open {
					return
				}
			}
			select {
			case hints <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return hints, func() { w.Close(); <-done }
}

// mark is what shows that a file is another one, or was changed.
type mark struct {
	dev, ino uint64
	size     int64
	modified unix.Timespec
}

func markOf(st *unix.Stat_t) mark { return mark{uint64(st.Dev), st.Ino, st.Size, st.Mtim} }

// candidate is a file that is not plugged in yet.
type candidate struct {
	mark
	since time.Time // it looks like this
}

// slot is one port of the folder, and what is plugged into it.
type slot struct {
	name string // empty if nothing is
	mark
}

// folder is what a watched folder held when it was looked at last.
type folder struct {
	dir     string
	tell    func(Event)
	seen    map[string]candidate
	slots   [Slots]slot
	problem string
}

// look holds the folder against what is plugged in, and plugs in what has settled.
func (f *folder) look() {
	dir, files, err := list(f.dir)
	if err != nil { // whatever was in it is gone, as far as anybody can say
		f.say("The watched folder cannot be read.")
	} else {
		defer dir.Close()
	}
	for i := range f.slots {
		s := &f.slots[i]
		if s.name != "" && files[s.name] != s.mark { // no file has the zero mark
			*s = slot{}
			f.tell(Event{Port: FolderPort(i)})
		}
	}
	now := time.Now()
	var ready []string
	for name, m := range files {
		c, known := f.seen[name]
		switch {
		case !known || c.mark != m:
			f.seen[name] = candidate{m, now}
		case now.Sub(c.since) >= settle && !f.plugged(name):
			ready = append(ready, name)
		}
	}
	for name := range f.seen {
		if _, there := files[name]; !there {
			delete(f.seen, name)
		}
	}
	sort.Slice(ready, func(i, j int) bool {
		a, b := f.seen[ready[i]], f.seen[ready[j]]
		return a.since.Before(b.since) || a.since.Equal(b.since) && ready[i] < ready[j]
	})
	problem := ""
	for _, name := range ready {
		free := f.free()
		if free < 0 {
			break
		}
		file, err := unwritten(dir, name, f.seen[name].mark)
		switch {
		case errors.Is(err, errBusy):
		case err != nil:
			problem = "A file in the watched folder cannot be used: it must belong to the station's user, on a file system that knows leases."
		default:
			f.slots[free] = slot{name, f.seen[name].mark}
			f.tell(Event{Port: FolderPort(free), File: file})
		}
	}
	if err == nil {
		f.say(problem)
	}
}

func (f *folder) say(problem string) {
	if problem != f.problem {
		f.problem = problem
		f.tell(Event{Port: FolderPort(0), Problem: problem, Told: true})
	}
}

func (f *folder) plugged(name string) bool {
	for i := range f.slots {
		if f.slots[i].name == name {
			return true
		}
	}
	return false
}

func (f *folder) free() int {
	for i := range f.slots {
		if f.slots[i].name == "" {
			return i
		}
	}
	return -1
}

// list returns the folder and the regular files in it that are no link.
func list(name string) (*os.File, map[string]mark, error) {
	dir, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, nil, err
	}
	names, err := dir.Readdirnames(maxEntries)
	if err != nil && err != io.EOF { // an empty folder
		dir.Close()
		return nil, nil, err
	}
	files := map[string]mark{}
	for _, n := range names {
		var st unix.Stat_t
		if strings.HasPrefix(n, ".") || unix.Fstatat(int(dir.Fd()), n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		files[n] = markOf(&st)
	}
	return dir, files, nil
}

// errBusy says that somebody writes to a file, or that it is not the one that was looked at.
var errBusy = errors.New("the file is in use")

// unwritten opens a file that nobody has open for writing.
func unwritten(dir *os.File, name string, want mark) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ELOOP): // it was taken away, or replaced
		return nil, errBusy
	case err != nil:
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "image")
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (markOf(&st) != want || st.Mode&unix.S_IFMT != unix.S_IFREG) {
		err = errBusy
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
		if errors.Is(err, unix.EAGAIN) {
			err = errBusy
		}
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
