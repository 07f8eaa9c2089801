package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/rules/yara"
	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
	"pratique/scanner/slot"
)

const bufferBytes = slot.BlockBytes + 4096

func TestMain(m *testing.M) {
	// The test binary, started again, is yaraworker.
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case "scan":
			os.Exit(scan())
		case "compile":
			os.Exit(compile())
		case "load":
			os.Exit(load())
		}
	}
	os.Exit(m.Run())
}

// rig is a yaraworker and the other ends of what it was given.
type rig struct {
	t       *testing.T
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	buffer  []byte
	in      *os.File
	request *frame.Writer
	answer  *frame.Reader
}

const testRules = `import "pe" import "math" import "hash"
	rule needle { meta: severity = "warn" strings: $a = "NEEDLE" condition: $a }
	rule named { condition: filename == "autorun.inf" and extension == ".inf" }
	rule large { condition: filesize > 30MB }
	rule exe { condition: pe.is_pe }
	rule random { condition: math.entropy(0, filesize) > 7.99 }`

func compiledRules(t testing.TB) *os.File {
	t.Helper()
	rules, problems, err := yara.Compile([]yara.Source{{Name: "test.yar", Text: []byte(testRules)}})
	if err != nil {
		t.Fatal(err, problems)
	}
	f := memfd(t, 0)
	if err := rules.Save(f); err != nil {
		t.Fatal(err)
	}
	seal(t, f, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
	return f
}

func memfd(t testing.TB, size int64) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func seal(t testing.TB, f *os.File, seals int) {
	t.Helper()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, rules, buffer *os.File) *rig {
	t.Helper()
	r := &rig{t: t}
	requests, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); out.Close() })
	r.in, r.request, r.answer = in, frame.NewWriter(in), frame.NewReader(out)
	r.run("scan", rules, buffer, requests, answers)
	requests.Close()
	answers.Close()
	return r
}

func (r *rig) run(mode string, files ...*os.File) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(self, mode)
	r.cmd.Env = []string{"GODEBUG=updatemaxprocs=0"}
	r.cmd.ExtraFiles = files
	r.cmd.Stderr = &r.stderr
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
}

// ready is a rig whose yaraworker is jailed and waits, and whose buffer is mapped and sealed.
func ready(t *testing.T) *rig {
	t.Helper()
	f := memfd(t, bufferBytes)
	buffer, err := unix.Mmap(int(f.Fd()), 0, bufferBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(buffer) })
	seal(t, f, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
	r := start(t, compiledRules(t), f)
	r.buffer = buffer
	if a := r.next(); a.Ready == nil || a.Ready.Rules != 5 {
		t.Fatalf("%+v", a)
	}
	return r
}

func (r *rig) send(request slot.Request) {
	r.t.Helper()
	if err := r.request.Write(request); err != nil {
		r.t.Fatal(err)
	}
	if err := r.request.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) next() (a slot.Answer) {
	r.t.Helper()
	if err := r.answer.Next(&a); err != nil {
		r.t.Fatalf("%v; %s", err, &r.stderr)
	}
	return a
}

func (r *rig) ends(code int) {
	r.t.Helper()
	r.in.Close()
	err := r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		r.t.Errorf("%v, want exit code %d; %s", err, code, &r.stderr)
	}
}

func rules(d *slot.Done) string {
	if d == nil || !d.Scanned {
		return "not scanned"
	}
	var out []string
	for _, m := range d.Matches {
		out = append(out, m.Rule)
	}
	return strings.Join(out, " ")
}

func TestBatchIsAnsweredInOrder(t *testing.T) {
	r := ready(t)
	copy(r.buffer[100:], "a NEEDLE")
	for range 3 { // the second is like the first
		r.send(slot.Request{Batch: []slot.Piece{
			{ID: 7, Offset: 100, Bytes: 8}, {ID: 3, Offset: 0, Bytes: 0, Name: []byte("autorun.inf")}, {ID: 9, Offset: 100, Bytes: 7}, {ID: math.MaxUint64, Offset: bufferBytes, Bytes: 0},
		}})
		for _, want := range []struct {
			id    uint64
			rules string
		}{{7, "needle"}, {3, "named"}, {9, ""}, {math.MaxUint64, ""}} {
			if a := r.next(); a.Done == nil || a.Done.ID != want.id || rules(a.Done) != want.rules {
				t.Errorf("%+v, want %v", a.Done, want)
			}
		}
	}
	r.ends(0)
	if r.stderr.Len() > 0 {
		t.Errorf("it says %s", &r.stderr)
	}
}

func TestStreamAsksForItsBlocks(t *testing.T) {
	r := ready(t)
	const size = 40 << 20
	content := make([]byte, size)
	copy(content[slot.BlockBytes-3:], "NEEDLE")
	r.send(slot.Request{Stream: &slot.Stream{ID: 5, Bytes: size, Name: []byte("big.bin")}})
	needs := 0
	for {
		a := r.next()
		if a.Done != nil {
			if rules(a.Done) != "needle large" || a.Done.ID != 5 || a.Done.Matches[0].Offset != slot.BlockBytes-3 {
				t.Errorf("%+v", a.Done)
			}
			break
		}
		if needs++; a.Need == nil || a.Need.Bytes > slot.BlockBytes || a.Need.Offset+a.Need.Bytes > size || needs > 10 {
			t.Fatalf("%+v", a)
		}
		copy(r.buffer, content[a.Need.Offset:a.Need.Offset+a.Need.Bytes])
		r.send(slot.Request{Filled: &slot.Filled{Offset: a.Need.Offset, Bytes: a.Need.Bytes}})
	}
	// A block that cannot be read voids this item and no other.
	r.send(slot.Request{Stream: &slot.Stream{ID: 6, Bytes: size}})
	a := r.next()
	r.send(slot.Request{Filled: &slot.Filled{Offset: a.Need.Offset}})
	if a := r.next(); a.Done == nil || a.Done.Scanned || len(a.Done.Matches) > 0 || a.Done.ID != 6 {
		t.Errorf("%+v", a.Done)
	}
	r.send(slot.Request{Batch: []slot.Piece{{ID: 8, Bytes: 3, Name: []byte("autorun.inf")}}})
	if a := r.next(); rules(a.Done) != "named" {
		t.Errorf("%+v", a.Done)
	}
	r.ends(0)
}

func TestT03_RequestThatBreaksTheRulesEndsTheProcess(t *testing.T) {
	long := make([]byte, slot.MaxName+1)
	for name, request := range map[string]slot.Request{
		"nothing":           {},
		"two things":        {Batch: []slot.Piece{{}}, Stream: &slot.Stream{}},
		"filled unasked":    {Filled: &slot.Filled{}},
		"too many pieces":   {Batch: make([]slot.Piece, slot.MaxPieces+1)},
		"behind the buffer": {Batch: []slot.Piece{{Bytes: bufferBytes + 1}}},
		"far behind":        {Batch: []slot.Piece{{Offset: math.MaxInt64, Bytes: 1}}},
		"overflow":          {Batch: []slot.Piece{{Offset: 2, Bytes: math.MaxInt64}}},
		"negative offset":   {Batch: []slot.Piece{{Offset: -1, Bytes: 1}}},
		"negative size":     {Batch: []slot.Piece{{Offset: 1, Bytes: -1}}},
		"a good one first":  {Batch: []slot.Piece{{}, {Bytes: -1}}},
		"long name":         {Batch: []slot.Piece{{Name: long}}},
		"negative stream":   {Stream: &slot.Stream{Bytes: -1}},
		"stream, long name": {Stream: &slot.Stream{Bytes: 1, Name: long}},
	} {
		t.Run(name, func(t *testing.T) {
			r := ready(t)
			r.send(request)
			var a slot.Answer
			if err := r.answer.Next(&a); err != io.EOF {
				t.Errorf("%+v, %v", a, err)
			}
			r.ends(slot.ExitProtocol)
		})
	}
	for name, filled := range map[string]slot.Request{
		"another offset": {Filled: &slot.Filled{Offset: 1, Bytes: slot.BlockBytes}},
		"too few bytes":  {Filled: &slot.Filled{Bytes: 1}},
		"too many bytes": {Filled: &slot.Filled{Bytes: slot.BlockBytes + 1}},
		"another batch":  {Batch: []slot.Piece{{}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := ready(t)
			r.send(slot.Request{Stream: &slot.Stream{Bytes: 40 << 20}})
			r.next()
			r.send(filled)
			var a slot.Answer
			if err := r.answer.Next(&a); err != io.EOF {
				t.Errorf("%+v, %v", a, err)
			}
			r.ends(slot.ExitProtocol)
		})
	}
	t.Run("garbage", func(t *testing.T) {
		r := ready(t)
		r.in.Write([]byte{0, 0, 0, 1, 0xFF})
		r.cmd.Wait()
		r.ends(slot.ExitProtocol)
	})
}

func TestT03_DonationsThatCouldChangeAreRefused(t *testing.T) {
	good := compiledRules(t)
	all := unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK
	sealedBuffer := func(size int64, seals int) *os.File {
		f := memfd(t, size)
		seal(t, f, seals)
		return f
	}
	plain := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(plain, []byte("rule a { condition: true }"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tt := range map[string]struct{ rules, buffer *os.File }{
		"rules in a file":        {file, sealedBuffer(bufferBytes, all)},
		"rules that are no such": {sealedBuffer(10, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK), sealedBuffer(bufferBytes, all)},
		"rules without seals":    {sealedBuffer(10, unix.F_SEAL_GROW), sealedBuffer(bufferBytes, all)},
		"buffer not sealed":      {good, sealedBuffer(bufferBytes, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)},
		"buffer that can shrink": {good, sealedBuffer(bufferBytes, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_GROW)},
		"buffer in a file":       {good, file},
		"buffer too small":       {good, sealedBuffer(slot.BlockBytes-1, all)},
		"buffer too large":       {good, sealedBuffer(maxBuffer+1, all)},
	} {
		r := start(t, tt.rules, tt.buffer)
		var a slot.Answer
		if err := r.answer.Next(&a); err != io.EOF {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		r.cmd.Wait()
		if code := r.cmd.ProcessState.ExitCode(); code != slot.ExitDonation {
			t.Errorf("%s: exit code %d", name, code)
		}
	}
}

func TestT03_NoWorkWithoutASandbox(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r := &rig{t: t}
	r.run("compile", memfd(t, 0), memfd(t, 0), memfd(t, 0), dir)
	r.cmd.Wait()
	if code := r.cmd.ProcessState.ExitCode(); code != sandbox.ExitSandbox {
		t.Errorf("exit code %d; %s", code, &r.stderr)
	}
}

// load is libyara at work in its jail on several threads, started after the jail was closed, while the Go runtime collects.
func load() int {
	compiled, problems, err := yara.Compile([]yara.Source{{Name: "test.yar", Text: []byte(testRules)}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err, problems)
		return 1
	}
	program, err := io.ReadAll(io.LimitReader(donated(3, "content"), 4<<20))
	if err != nil || len(program) == 0 {
		return 1
	}
	if !enter(sandbox.YARAWorker) {
		return sandbox.ExitSandbox
	}
	var wg sync.WaitGroup
	failed := make(chan string, 8)
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			s, err := yara.NewScanner(compiled)
			if err != nil {
				failed <- err.Error()
				return
			}
			defer s.Close()
			for until := time.Now().Add(2 * time.Second); time.Now().Before(until); {
				m, err := s.ScanMem(program, yara.Vars{Name: "autorun.inf"})
				if err != nil || len(m) == 0 {
					failed <- fmt.Sprint(m, err)
					return
				}
				_, _, err = s.ScanBlocks(slot.BlockBytes+1, func(buf []byte, _ int64) error { clear(buf); return nil }, yara.Vars{})
				if err != nil {
					failed <- err.Error()
					return
				}
				runtime.GC()
			}
		}()
	}
	wg.Wait()
	select {
	case text := <-failed:
		fmt.Fprintln(os.Stderr, text)
		return 1
	default:
		return 0
	}
}

func TestLibyaraWorksInTheJailOnManyThreads(t *testing.T) {
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	r := &rig{t: t}
	r.run("load", program)
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("%v; %s", err, &r.stderr)
	}
}

func TestSourcesAreReadWithinLimits(t *testing.T) {
	part := func(name, text string, last bool) slot.SourcePart {
		return slot.SourcePart{Name: name, Text: []byte(text), Last: last}
	}
	many := make([]slot.SourcePart, slot.MaxSources+1)
	for i := range many {
		many[i] = part(fmt.Sprint(i), "", true)
	}
	var big []slot.SourcePart
	for range slot.MaxSourceBytes/slot.PartBytes + 1 {
		big = append(big, part("a", strings.Repeat("x", slot.PartBytes), false))
	}
	for name, tt := range map[string]struct {
		parts []slot.SourcePart
		want  string
	}{
		"nothing":            {nil, ""},
		"one":                {[]slot.SourcePart{part("a", "x", true)}, "a=x "},
		"two in parts":       {[]slot.SourcePart{part("a", "x", false), part("a", "", false), part("a", "y", true), part("b", "", true)}, "a=xy b= "},
		"an open end":        {[]slot.SourcePart{part("a", "x", false)}, "error"},
		"mixed":              {[]slot.SourcePart{part("a", "x", false), part("b", "y", true)}, "error"},
		"too many":           {many, "error"},
		"too much":           {big, "error"},
		"a name too long":    {[]slot.SourcePart{part(strings.Repeat("x", slot.MaxSourceName+1), "", true)}, "error"},
		"an unexpected form": {[]slot.SourcePart{{}}, "error"},
	} {
		var b bytes.Buffer
		w := frame.NewWriter(&b)
		for _, p := range tt.parts {
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		sources, err := readSources(&b)
		got := ""
		for _, s := range sources {
			got += s.Name + "=" + string(s.Text) + " "
		}
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s: %.60q, %v, want %q", name, got, err, tt.want)
		}
	}
}

func FuzzSources(f *testing.F) {
	var b bytes.Buffer
	w := frame.NewWriter(&b)
	_ = w.Write(slot.SourcePart{Name: "a", Text: []byte("x")})
	_ = w.Write(slot.SourcePart{Name: "a", Text: []byte("y"), Last: true})
	_ = w.Flush()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		sources, err := readSources(bytes.NewReader(data))
		if err != nil {
			return
		}
		total := 0
		for _, s := range sources {
			total += len(s.Text)
		}
		if total > len(data) {
			t.Error("more text than was sent")
		}
	})
}
