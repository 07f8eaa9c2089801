package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pratique/rules/blocklist"
	"pratique/scanner/frame"
	"pratique/scanner/report"
	"pratique/scanner/sandbox"
	"pratique/scanner/slot"
	"pratique/testdata/stick"
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "scanworker")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "scanworker")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const slotBytes = slot.BlockBytes

// station is the parent's side of one real scanworker with one slot.
type station struct {
	t        *testing.T
	cmd      *exec.Cmd
	stderr   bytes.Buffer
	report   *os.File // what it says
	commands *os.File // what it is told
	requests *os.File // yaraworker's side
	answers  *os.File
	memory   *os.File
	extra    []*os.File // descriptors from 3 on
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func memfd(t *testing.T, size int64, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("slot", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "slot")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return f
}

// newStation prepares the descriptors for a medium; lists are texts.
func newStation(t *testing.T, medium *os.File, lists ...string) *station {
	t.Helper()
	s := &station{t: t}
	var theirReport, theirCommands, theirRequests, theirAnswers *os.File
	s.report, theirReport = pipe(t)
	theirCommands, s.commands = pipe(t)
	s.requests, theirRequests = pipe(t)
	theirAnswers, s.answers = pipe(t)
	s.memory = memfd(t, slotBytes, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	s.extra = []*os.File{medium, theirReport, theirCommands}
	for _, text := range lists {
		var out bytes.Buffer
		if _, err := blocklist.Compile(&out, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		s.extra = append(s.extra, readOnly(t, out.Bytes()))
	}
	s.extra = append(s.extra, s.memory, theirRequests, theirAnswers)
	return s
}

func readOnly(t *testing.T, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (s *station) start(args ...string) {
	s.t.Helper()
	s.cmd = exec.Command(program, args...)
	s.cmd.Env = []string{}
	s.cmd.ExtraFiles = s.extra
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	for _, f := range s.extra[1:3] {
		f.Close() // so that pipes end with the process
	}
}

func (s *station) code() int {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		} else if err != nil {
			s.t.Fatal(err)
		}
		return 0
	case <-time.After(20 * time.Second):
		s.t.Fatal("it does not end")
		return -1
	}
}

func (s *station) tell(c report.Command) {
	s.t.Helper()
	w := frame.NewWriter(s.commands)
	if err := errors.Join(w.Write(c), w.Flush()); err != nil {
		s.t.Fatal(err)
	}
}

// matcher answers every piece as clean until the pipe ends.
func (s *station) matcher() {
	in, out := frame.NewReader(s.requests), frame.NewWriter(s.answers)
	for {
		var r slot.Request
		if in.Next(&r) != nil {
			return
		}
		for _, p := range r.Batch {
			if errors.Join(out.Write(slot.Answer{Done: &slot.Done{ID: p.ID, Scanned: true}}), out.Flush()) != nil {
				return
			}
		}
	}
}

// fatImage is a small volume with one file that is on the blocklist.
func fatImage(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 2 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	files := []stick.File{{Path: "a.txt", Data: []byte("words")}, {Path: "b", Data: stick.BlockedSample()}}
	if _, err := stick.WriteFAT(f, stick.FAT{Bits: 12, Bytes: size}, files); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestScanworkerScansBehindItsJail(t *testing.T) {
	medium := fatImage(t)
	info, err := medium.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s := newStation(t, medium, fmt.Sprintf("%x", sha256.Sum256(stick.BlockedSample())), "# nothing\n")
	s.start("-slots", "1", "-lists", "2")
	go s.matcher()
	job := report.Job{Size: info.Size(), Slots: 1, SlotBytes: slotBytes, Lists: 2, FileTimeout: 10_000}
	items := map[string]report.Item{}
	collector := report.NewCollector(job, func(it report.Item) error { items[it.Path] = it; return nil })
	s.tell(report.Command{Job: &job})
	in := frame.NewReader(s.report)
	for {
		var m report.Message
		if err := in.Next(&m); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := collector.Add(m); err != nil {
			t.Fatal(err)
		}
		if m.Ready != nil {
			if len(m.Ready.Layers) == 0 {
				t.Error("no layer of the jail is named")
			}
			if m, err := unix.Mmap(int(s.memory.Fd()), 0, slotBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
				t.Error("the buffer can still be mapped for writing")
				_ = unix.Munmap(m)
			}
			s.tell(report.Command{SlotReady: &report.SlotReady{Slot: 0, Cause: report.FirstTime}})
		}
	}
	if code := s.code(); code != 0 {
		t.Fatalf("exit %d: %s", code, &s.stderr)
	}
	if r := collector.Report(); !r.Complete {
		t.Errorf("%+v", r.Shortfalls)
	}
	if items["a.txt"].Outcome != report.Clean || items["b"].Outcome != report.Flagged || items["b"].Findings[0].Check != report.CheckBlocklist {
		t.Errorf("%+v", items)
	}
}

func TestScanworkerRefusesArgumentsAndDescriptorsThatDoNotFit(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	good := []string{"-slots", "1", "-lists", "0"}
	for name, test := range map[string]struct {
		args   []string
		change func(*station)
	}{
		"no arguments":         {nil, nil},
		"unknown flag":         {[]string{"-slots", "1", "-deep"}, nil},
		"a path":               {append(good, "stick.img"), nil},
		"no slots":             {[]string{"-slots", "0", "-lists", "0"}, nil},
		"many slots":           {[]string{"-slots", "65", "-lists", "0"}, nil},
		"negative lists":       {[]string{"-slots", "1", "-lists", "-1"}, nil},
		"more slots than open": {[]string{"-slots", "2", "-lists", "0"}, nil},
		"a list that is none":  {[]string{"-slots", "1", "-lists", "1"}, func(s *station) { s.extra[3] = readOnly(t, []byte("not a list")) }},
		"medium is a pipe":     {good, func(s *station) { s.extra[0], _ = pipe(t) }},
		"medium is a device":   {good, func(s *station) { s.extra[0] = null }},
		"report is a file":     {good, func(s *station) { s.extra[1] = readOnly(t, nil) }},
		"buffer is a pipe":     {good, func(s *station) { s.extra[3], _ = pipe(t) }},
		"buffer can shrink":    {good, func(s *station) { s.extra[3] = memfd(t, slotBytes, unix.F_SEAL_GROW) }},
		"buffer has no bytes":  {good, func(s *station) { s.extra[3] = memfd(t, 0, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK) }},
		"buffer is sealed": {good, func(s *station) {
			s.extra[3] = memfd(t, slotBytes, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
		}},
		"answers are a file": {good, func(s *station) { s.extra[5] = readOnly(t, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStation(t, readOnly(t, make([]byte, 512)))
			if test.change != nil {
				test.change(s)
			}
			s.start(test.args...)
			if code := s.code(); code != exitUsage {
				t.Errorf("exit %d: %s", code, &s.stderr)
			}
			if s.stderr.Len() == 0 {
				t.Error("it says nothing")
			}
		})
	}
}

func TestScanworkerExitsIfItCannotBeJailed(t *testing.T) {
	s := newStation(t, readOnly(t, make([]byte, 512)))
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	s.extra = append(s.extra, dir) // a directory is a way out
	s.start("-slots", "1", "-lists", "0")
	if code := s.code(); code != sandbox.ExitSandbox {
		t.Errorf("exit %d: %s", code, &s.stderr)
	}
}

func TestScanworkerEndsWithoutItsSupervisor(t *testing.T) {
	job := report.Job{Size: 512, Slots: 1, SlotBytes: slotBytes, FileTimeout: 10_000}
	tests := map[string][]report.Command{
		"no job":                 nil,
		"a slot before the job":  {{SlotReady: &report.SlotReady{}}},
		"no slot is ever ready":  {{Job: &job}},
		"two jobs":               {{Job: &job}, {Job: &job}},
		"an unknown slot":        {{Job: &job}, {SlotReady: &report.SlotReady{Slot: 1}}},
		"a job for two slots":    {{Job: &report.Job{Size: 512, Slots: 2, SlotBytes: slotBytes, FileTimeout: 1}}},
		"a job for less memory":  {{Job: &report.Job{Size: 512, Slots: 1, SlotBytes: 4096, FileTimeout: 1}}},
		"a job for another list": {{Job: &report.Job{Size: 512, Slots: 1, SlotBytes: slotBytes, Lists: 1, FileTimeout: 1}}},
	}
	for name, commands := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStation(t, readOnly(t, bytes.Repeat([]byte{1}, 512)))
			s.start("-slots", "1", "-lists", "0")
			for _, c := range commands {
				s.tell(c)
			}
			s.commands.Close()
			if code := s.code(); code != exitFailed {
				t.Errorf("exit %d: %s", code, &s.stderr)
			}
			in := frame.NewReader(s.report)
			for {
				var m report.Message
				if in.Next(&m) != nil {
					break
				}
				if m.Done != nil {
					t.Error("it said that it was done")
				}
			}
		})
	}
}

// TestT04_ForgottenMediaAreReadFromTheirDiskAgain asks the kernel which pages of a file it holds.
func TestT04_ForgottenMediaAreReadFromTheirDiskAgain(t *testing.T) {
	const size = 8 << 20
	f, err := os.CreateTemp("/var/tmp", "medium") // on a disk, which /tmp need not be
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte("medium"), size/6+1)[:size]); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // what is not on the disk yet cannot be given up
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	held := func() (n int) {
		pages := make([]byte, size/os.Getpagesize())
		if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), size, uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
			t.Fatal(errno)
		}
		for _, p := range pages {
			n += int(p & 1)
		}
		return n
	}
	if before := held(); before == 0 {
		t.Fatal("the kernel holds nothing of what was just written")
	}
	src := newSource(f, size, 0)
	if err := src.Forget(size/2+5, size/2-5); err != nil {
		t.Fatal(err)
	}
	if after, want := held(), size/2/os.Getpagesize(); after > want {
		t.Errorf("the kernel still holds %d pages, want %d", after, want)
	}
	if err := src.Forget(0, size); err != nil {
		t.Fatal(err)
	}
	if after := held(); after > 0 {
		t.Errorf("the kernel still holds %d pages", after)
	}
}
