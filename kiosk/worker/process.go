package worker

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxStderr bounds what a worker can make a test print.
const maxStderr = 1 << 20

// nursery starts processes, all from one thread that lives as long as they do: the kernel's parent-death signal is sent
// when the thread that started a process ends, not when the whole program does.
type nursery struct {
	dir      *os.File    // of the programs
	ladder   []isolation // what is still to be tried, the strongest first; one element once a process has started
	required bool        // nothing weaker than namespaces will do
	requests chan func()
	done     chan struct{}
	null     *os.File
	stderr   *os.File // what the processes get as standard error
	copied   chan struct{}
	exits    chan *process // each process once, after it is reaped
	alive    sync.WaitGroup

	mu      sync.Mutex
	started []*process
}

func newNursery(cfg Config) (*nursery, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	dir, err := os.OpenFile(cfg.Dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		null.Close()
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	n := &nursery{
		dir: dir, ladder: isolations(os.Geteuid(), cfg.RequireNamespaces), required: cfg.RequireNamespaces,
		requests: make(chan func()), done: make(chan struct{}), null: null, stderr: null, copied: make(chan struct{}),
		exits: make(chan *process, MaxSlots+MaxRestarts+2), // every process that there can be, so that no sender waits
	}
	if cfg.Stderr == nil {
		close(n.copied)
	} else {
		r, w, err := pipe(true, false)
		if err != nil {
			null.Close()
			dir.Close()
			return nil, fmt.Errorf("%w: %w", ErrStart, err)
		}
		n.stderr = w
		go func() {
			defer close(n.copied)
			defer r.Close()
			io.Copy(cfg.Stderr, io.LimitReader(r, maxStderr))
			io.Copy(io.Discard, r)
		}()
	}
	go func() {
		defer close(n.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for request := range n.requests {
			request()
		}
	}()
	return n, nil
}

// close kills and reaps whatever is left and ends the nursery's goroutines.
func (n *nursery) close() {
	n.mu.Lock()
	for _, p := range n.started {
		p.kill()
	}
	n.mu.Unlock()
	n.alive.Wait()
	close(n.requests)
	<-n.done
	if n.stderr != n.null {
		n.stderr.Close()
	}
	n.null.Close()
	n.dir.Close()
	<-n.copied
}

// process is a worker that was started. It is reaped as soon as it ends.
type process struct {
	name   string
	os     *os.Process
	exited chan struct{} // closed once it is reaped
	state  *os.ProcessState
	err    error
}

// start runs a program of the nursery's folder with the files as its descriptors 3, 4, …, and nothing else: no environment,
// no working directory that holds a mount, no terminal, and no more of the machine than isolation leaves. It is in a
// process group of its own, so that a key pressed at a terminal reaches the supervisor alone, who then ends the scan in
// order. It cannot start others: its jail has no fork.
func (n *nursery) start(name string, args []string, files []*os.File) (*process, error) {
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   []string{}, // nil would be the supervisor's own
		Files: append([]*os.File{n.null, n.null, n.stderr}, files...),
	}
	p := &process{name: name, exited: make(chan struct{})}
	var err error
	started := make(chan struct{})
	n.requests <- func() {
		defer close(started)
		// What the supervisor itself inherited, from a shell or a service manager, is not for the workers.
		if err = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err == nil {
			p.os, err = n.launch(name, append([]string{name}, args...), attr)
		}
	}
	<-started
	if err != nil {
		if n.required && weaker(err) {
			err = fmt.Errorf("%w: %w", ErrNamespaces, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	n.mu.Lock()
	n.started = append(n.started, p)
	n.mu.Unlock()
	n.alive.Add(1)
	go func() {
		defer n.alive.Done()
		p.state, p.err = p.os.Wait()
		close(p.exited)
		n.exits <- p
	}()
	return p, nil
}

// kill ends the process. It may be called at any time: os.Process holds the process itself, not its number.
func (p *process) kill() { _ = p.os.Kill() }

// within reports whether the process ends within a time.
func (p *process) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-timer.C:
		return false
	}
}

// code is the exit code of a process that is reaped, -1 if a signal ended it.
func (p *process) code() int {
	if p.state == nil {
		return -1
	}
	return p.state.ExitCode()
}

// end says how a process that is reaped ended.
func (p *process) end() string {
	switch {
	case p.err != nil:
		return p.err.Error()
	case p.state == nil:
		return "ended"
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return p.state.String()
	case status.Signaled() && status.Signal() == syscall.SIGSYS:
		return "was killed by its sandbox"
	case status.Signaled():
		return fmt.Sprintf("was killed by signal %d (%v)", int(status.Signal()), status.Signal())
	}
	return fmt.Sprintf("ended with exit code %d", status.ExitStatus())
}

// pipe returns a pipe. An end of the supervisor's own is pollable, so that it can be given deadlines and closed under a
// reader. An end for a worker blocks, and stays as it is when it is handed over.
func pipe(ownRead, ownWrite bool) (r, w *os.File, err error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("worker: pipe: %w", err)
	}
	for i, own := range []bool{ownRead, ownWrite} {
		if own {
			err = errors.Join(err, syscall.SetNonblock(fds[i], true))
		}
	}
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	if err != nil {
		r.Close()
		w.Close()
		return nil, nil, fmt.Errorf("worker: pipe: %w", err)
	}
	return r, w, nil
}
