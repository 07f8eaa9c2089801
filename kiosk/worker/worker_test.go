package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/scanner/report"
)

func TestScanSaysWhatIsOnTheMedium(t *testing.T) {
	files := among(file{"BAD.TXT", []byte("a NEEDLE here")})
	var errs bytes.Buffer
	for _, slots := range []int{1, 2, 4} {
		r, got := outcomes(t, context.Background(), stick(t, files...), Config{Slots: slots, Rules: compiled(t, exploding), Stderr: &errs})
		if !r.Complete || len(r.Shortfalls) > 0 {
			t.Errorf("%d slots: not complete: %v", slots, r.Shortfalls)
		}
		only(t, got, files, "BAD.TXT", report.Flagged)
		if len(r.NotClean) != 1 || r.NotClean[0].Findings[0].Text != "A needle." || r.NotClean[0].Findings[0].Offset != 2 {
			t.Errorf("%d slots: %+v", slots, r.NotClean)
		}
	}
	if errs.Len() > 0 {
		t.Errorf("the workers say: %s", &errs)
	}
}

func TestT24_FileThatTakesTooLongIsTimedOutAndTheScanGoesOn(t *testing.T) {
	files := among(file{"SLOW.TXT", slow})
	begin := time.Now()
	r, got := outcomes(t, context.Background(), stick(t, files...), Config{Slots: 1, Rules: compiled(t, exploding), FileTimeout: 2 * time.Second})
	if !r.Complete {
		t.Errorf("not complete: %v", r.Shortfalls)
	}
	only(t, got, files, "SLOW.TXT", report.TimedOut)
	if took := time.Since(begin); took > 12*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestT24_FileOfDecoysIsUnscanned(t *testing.T) {
	// More matches than libyara keeps. The real yaraworker must know, however it was linked.
	files := among(file{"DECOYS.TXT", append(bytes.Repeat([]byte("EVIL "), 1_100_000), "xxEVIL"...)})
	rules := compiled(t, `rule end { strings: $a = "EVIL" condition: $a at filesize - 4 }`)
	_, got := outcomes(t, context.Background(), stick(t, files...), Config{Slots: 1, Rules: rules})
	only(t, got, files, "DECOYS.TXT", report.Unscanned)
}

func TestT24_SupervisorsOwnDeadlineHoldsIfTheScannersDoesNot(t *testing.T) {
	files := among(file{"SLOW.TXT", slow})
	r, got := outcomes(t, context.Background(), stick(t, files...), Config{Slots: 1, Rules: compiled(t, exploding), FileTimeout: time.Hour, SlotTimeout: time.Second})
	if !r.Complete {
		t.Errorf("not complete: %v", r.Shortfalls)
	}
	only(t, got, files, "SLOW.TXT", report.TimedOut)

	var errs bytes.Buffer
	src, _ := medium(t, write(t, make([]byte, 4096)))
	r, err := Scan(context.Background(), src, 4096, 0, Config{Dir: fake(t, "busy-for-ever"), Slots: 1, Rules: compiled(t, exploding), SlotTimeout: 100 * time.Millisecond, Stderr: &errs}, Sink{})
	if err != nil || !r.Complete || errs.String() != fmt.Sprintf("cause %d\ncause %d\n", report.FirstTime, report.Deadline) {
		t.Errorf("%v, %v, %s", r.Shortfalls, err, &errs)
	}
}

func TestT03_KilledYaraworkerCostsOneFile(t *testing.T) {
	files := among(file{"SLOW.TXT", slow})
	image, rules := stick(t, files...), compiled(t, exploding)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGSYS} {
		over, killed := make(chan struct{}), make(chan int)
		go func() {
			n := 0 // scanworker gives each file of a batch a second chance, alone
			for pid := busyUntil(yaraWorker, 0, over); pid > 0; pid = busyUntil(yaraWorker, pid, over) {
				syscall.Kill(pid, signal)
				n++
			}
			killed <- n
		}()
		r, got := outcomes(t, context.Background(), image, Config{Slots: 1, Rules: rules, FileTimeout: 5 * time.Minute})
		close(over)
		if n := <-killed; !r.Complete || n != 2 {
			t.Errorf("%v: %d killed; complete %v: %v", signal, n, r.Complete, r.Shortfalls)
		}
		only(t, got, files, "SLOW.TXT", report.Unscanned)
	}
}

func TestStoppedYaraworkerIsReplaced(t *testing.T) {
	files := among(file{"SLOW.TXT", slow})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if pid := busy(t, yaraWorker); pid > 0 {
			syscall.Kill(pid, syscall.SIGSTOP)
		}
	}()
	// Long enough that it is stopped, and nothing else timed out, on a machine that has much else to do.
	r, got := outcomes(t, context.Background(), stick(t, files...), Config{Slots: 1, Rules: compiled(t, exploding), FileTimeout: 8 * time.Second})
	<-done
	if !r.Complete {
		t.Errorf("not complete: %v", r.Shortfalls)
	}
	only(t, got, files, "SLOW.TXT", report.TimedOut)
}

// TestT03_ScanThatEndsEarlyIsNotComplete covers every way in which the real scanner can be stopped from outside.
func TestT03_ScanThatEndsEarlyIsNotComplete(t *testing.T) {
	image, rules := stick(t, among(file{"SLOW.TXT", slow})...), compiled(t, exploding)
	signal := func(s syscall.Signal) func(context.CancelCauseFunc) {
		return func(context.CancelCauseFunc) {
			for _, pid := range children(os.Getpid(), scanWorker) {
				syscall.Kill(pid, s)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		do    func(context.CancelCauseFunc)
		code  string
		limit time.Duration // for one file; a minute if 0
	}{
		{"killed", signal(syscall.SIGKILL), CodeDied, 0},
		{"crashed", signal(syscall.SIGSEGV), CodeDied, 0},
		{"killed by its jail", signal(syscall.SIGSYS), CodeDied, 0},
		{"stopped", signal(syscall.SIGSTOP), CodeStalled, 0},
		{"called off", func(cancel context.CancelCauseFunc) { cancel(errors.New("pulled")) }, CodeInterrupted, 0},
		{"the medium grows", func(cancel context.CancelCauseFunc) {
			f, err := os.OpenFile(image, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.Write(make([]byte, 512))
				f.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}, CodeChanged, 5 * time.Second},
	} {
		if tt.limit == 0 {
			tt.limit = time.Minute
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if busy(t, yaraWorker) > 0 {
				tt.do(cancel)
			}
		}()
		r, _ := outcomes(t, ctx, image, Config{Slots: 2, Rules: rules, FileTimeout: tt.limit, StallTimeout: 5 * time.Second})
		<-done
		cancel(nil)
		if r.Complete || codes(r) != tt.code || r.Shortfalls[0].Text == "" {
			t.Errorf("%s: complete %v, %v, want %s", tt.name, r.Complete, r.Shortfalls, tt.code)
		}
		if left := children(os.Getpid(), ""); len(left) > 0 {
			t.Errorf("%s: processes are left: %v", tt.name, left)
		}
	}
}

// write returns the path of a new file.
func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestT03_MisbehavingWorkersNeverCompleteAScan(t *testing.T) {
	rules := compiled(t, exploding)
	for _, tt := range []struct {
		how    string
		code   string // of the report's shortfall
		err    error  // if there is no report
		really []string
	}{
		{how: "silent", code: CodeStalled},
		{how: "exit-1", err: ErrStart},
		{how: "exit-70", err: ErrSandbox},
		{how: "looks", err: ErrStart}, // ends with 0 before it was ready
		{how: "garbage", code: CodeProtocol},
		{how: "huge-message", code: CodeProtocol},
		{how: "half-message", code: CodeDied},
		{how: "early-item", code: CodeProtocol},
		{how: "unsealed", code: CodeProtocol},
		{how: "ready-exit-0", code: CodeDied},
		{how: "ready-exit-1", code: CodeDied},
		{how: "ready-killed", code: CodeDied},
		{how: "lying-done", code: CodeProtocol},
		{how: "done-exit-1", code: CodeDied},
		{how: "done-hangs", code: CodeStalled},
		{how: "after-done", code: CodeProtocol},
		{how: "bad-slot", code: CodeProtocol},
		{how: "kill-storm", code: CodeRestarts},
		{how: "flood", code: CodeInterrupted},
		{how: "yara-exit-70", err: ErrSandbox},
		{how: "yara-exit-3", code: CodeDied},
		{how: "yara-dies", code: CodeRestarts},
	} {
		t.Run(tt.how, func(t *testing.T) {
			t.Parallel()
			src, size := medium(t, write(t, make([]byte, 4096)))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if tt.how == "flood" {
				time.AfterFunc(300*time.Millisecond, cancel)
			}
			r, err := Scan(ctx, src, size, 0, Config{Dir: fake(t, tt.how), Slots: 1, Rules: rules, StallTimeout: 1500 * time.Millisecond}, Sink{})
			if r.Complete || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || codes(r) != tt.code {
				t.Errorf("complete %v, %v, %v, want %q, %v", r.Complete, r.Shortfalls, err, tt.code, tt.err)
			}
		})
	}
}

func TestDoneFromAFakeIsComplete(t *testing.T) {
	// The control for the table above: the same fake, well-behaved to its end, does complete a scan.
	src, size := medium(t, write(t, make([]byte, 4096)))
	r, err := Scan(context.Background(), src, size, 0, Config{Dir: fake(t, "busy-for-ever"), Slots: 1, Rules: compiled(t, exploding), SlotTimeout: 50 * time.Millisecond}, Sink{})
	if err != nil || !r.Complete {
		t.Errorf("%+v, %v", r, err)
	}
}

// logged collects what workers write to standard error.
func logged(t *testing.T, how, end string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var text bytes.Buffer
	src, size := medium(t, write(t, make([]byte, 4096)))
	list, _ := medium(t, write(t, []byte("a list")))
	_, _ = Scan(ctx, src, size, 0, Config{Dir: fake(t, how), Slots: 1, Rules: compiled(t, exploding), Lists: []*os.File{list}, Stderr: writer(func(p []byte) {
		text.Write(p)
		if strings.Contains(text.String(), end) {
			cancel()
		}
	})}, Sink{})
	return text.String()
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestT03_YaraworkerCannotChangeWhatIsHashed(t *testing.T) {
	// The list takes descriptor 6 of scanworker, where the fake looks for the buffer, so this test has none.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var text bytes.Buffer
	src, size := medium(t, write(t, make([]byte, 4096)))
	_, err := Scan(ctx, src, size, 0, Config{Dir: fake(t, "yara-looks"), Slots: 1, Rules: compiled(t, exploding), Stderr: writer(func(p []byte) {
		text.Write(p)
		if strings.Contains(text.String(), "end of look") {
			cancel()
		}
	})}, Sink{})
	if err != nil {
		t.Fatal(err)
	}
	const refused = "operation not permitted"
	for what, want := range map[string]string{
		"map": refused, "write": refused, "shrink": refused, "grow": refused, "punch": refused, "map for reading": "<nil>", "make writable": "permission denied",
		"map again": refused, "write rules": refused,
	} {
		if !strings.Contains(text.String(), "\n"+what+": "+want+"\n") && !strings.HasPrefix(text.String(), what+": "+want+"\n") {
			t.Errorf("%s: not %q in\n%s", what, want, &text)
		}
	}
	if !strings.Contains(text.String(), "environment 0\narguments [yaraworker scan]\nfolder /\n") || strings.Contains(text.String(), "descriptor 7 ") {
		t.Errorf("yaraworker was given more than it should be:\n%s", &text)
	}
}

// TestT03_YaraworkerThatIsTakenOverHidesMatchesAndNothingElse scans with the real scanworker. What the content is, what it
// hashes to and what its shape says is the same whoever sits in yaraworker; where that dies, hangs or talks nonsense, or
// does not want to see all of a large file, what it had to match is not seen.
func TestT03_YaraworkerThatIsTakenOverHidesMatchesAndNothingElse(t *testing.T) {
	program, err := os.ReadFile(filepath.Join(programs, yaraWorker))
	if err != nil {
		t.Fatal(err)
	}
	image := stick(t, file{"needle.txt", []byte("a NEEDLE")}, file{"words.txt", []byte("words\n")}, file{"holiday.jpg", program[:40_000]},
		file{"run.bat", []byte("@echo off\n")}, file{"large.bin", bytes.Repeat([]byte("large \n"), 10<<20)})
	rules := compiled(t, `rule needle { strings: $a = "NEEDLE" condition: $a }`)
	scan := func(t *testing.T, dir string) (report.Report, map[string]report.Item) {
		items := map[string]report.Item{}
		src, size := medium(t, image)
		r, err := Scan(context.Background(), src, size, 0, Config{Dir: dir, Slots: 2, Rules: rules, FileTimeout: 2 * time.Second},
			Sink{Item: func(it report.Item) error {
				if it.Kind == report.File {
					items[it.Path] = it
				}
				return nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		return r, items
	}
	shape := func(it report.Item) string {
		return fmt.Sprint(slices.DeleteFunc(slices.Clone(it.Findings), func(f report.Finding) bool { return f.Check == report.CheckYARA }))
	}
	honest, want := scan(t, programs)
	if !honest.Complete || len(want) != 5 || want["needle.txt"].Outcome != report.Flagged || shape(want["holiday.jpg"]) == "[]" || shape(want["run.bat"]) == "[]" {
		t.Fatalf("complete %v, %v", honest.Complete, want)
	}
	for _, how := range []string{"taken-over", "taken-over-babbles", "taken-over-dies", "taken-over-hangs"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r, got := scan(t, fake(t, how, scanWorker))
			for path, w := range want {
				g := got[path]
				seen := how == "taken-over" && path != "large.bin"
				if g.Outcome.Seen() != seen || shape(g) != shape(w) || seen && g.Outcome == report.Clean && shape(w) != "[]" {
					t.Errorf("%s: %v, %s; want %v, %s", path, g.Outcome, shape(g), w.Outcome, shape(w))
				}
				if g.SHA256 != w.SHA256 && (seen || g.SHA256 != [32]byte{}) || g.Type != w.Type || g.Size != w.Size {
					t.Errorf("%s: another hash, type or size", path)
				}
			}
			if r.Complete && r.Tally.Outcomes[report.Unscanned]+r.Tally.Outcomes[report.TimedOut] == 0 {
				t.Error("all was seen")
			}
		})
	}
}

func TestT03_WorkersGetDonatedDescriptorsAndNothingElse(t *testing.T) {
	t.Setenv("PATIENT", "secret")
	text := logged(t, "looks", "end of look")
	if !strings.Contains(text, "environment 0\narguments [scanworker -slots 1 -lists 1]\nfolder /\n") {
		t.Error(text)
	}
	var kinds []string
	for _, line := range strings.Split(text, "\n") {
		if fields := strings.Fields(line); len(fields) >= 4 && fields[0] == "descriptor" {
			if strings.HasPrefix(fields[3], "anon_inode:") || strings.HasPrefix(fields[3], "/sys/fs/cgroup") { // the Go runtime's own
				continue
			}
			kinds = append(kinds, fields[2])
		}
	}
	const null, pipe, regular = "20000", "10000", "100000"
	want := []string{null, null, pipe, regular, pipe, pipe, regular, regular, pipe, pipe}
	if strings.Join(kinds, " ") != strings.Join(want, " ") {
		t.Errorf("descriptors %v, want %v\n%s", kinds, want, text)
	}
	if !strings.Contains(text, "own group true") {
		t.Error(text)
	}
}

func TestScanRefusesToBegin(t *testing.T) {
	src, size := medium(t, write(t, make([]byte, 4096)))
	rules := compiled(t, exploding)
	empty := t.TempDir()
	noProgram := t.TempDir()
	for _, name := range []string{scanWorker, yaraWorker} {
		if err := os.WriteFile(filepath.Join(noProgram, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	notBinary := fake(t, "not-binary")
	if err := os.WriteFile(filepath.Join(notBinary, scanWorker), []byte("text"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"nothing is set":     {},
		"no folder":          {Slots: 1, Rules: rules},
		"no slots":           {Dir: programs, Rules: rules},
		"too many slots":     {Dir: programs, Slots: MaxSlots + 1, Rules: rules},
		"no rules":           {Dir: programs, Slots: 1},
		"an empty folder":    {Dir: empty, Slots: 1, Rules: rules},
		"no program":         {Dir: noProgram, Slots: 1, Rules: rules},
		"not a binary":       {Dir: notBinary, Slots: 1, Rules: rules},
		"a negative limit":   {Dir: programs, Slots: 1, Rules: rules, FileTimeout: -1},
		"too many blocklist": {Dir: programs, Slots: 1, Rules: rules, Lists: make([]*os.File, MaxLists+1)},
	} {
		if r, err := Scan(context.Background(), src, size, 0, cfg, Sink{}); err == nil || r.Complete {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if r, err := Scan(context.Background(), nil, size, 0, Config{Dir: programs, Slots: 1, Rules: rules}, Sink{}); err == nil || r.Complete {
		t.Errorf("no medium: %+v, %v", r, err)
	}
}

func TestRulesThatAreNotSealedAreRefused(t *testing.T) {
	f, err := os.Open(write(t, []byte("rule a { condition: true }")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, _ := outcomes(t, context.Background(), stick(t, file{"A.TXT", []byte("a")}), Config{Slots: 1, Rules: f})
	if r.Complete || codes(r) != CodeDied {
		t.Errorf("complete %v, %v", r.Complete, r.Shortfalls)
	}
}

func TestSizeThatIsNotTheMediumsIsAChange(t *testing.T) {
	image := stick(t, file{"A.TXT", []byte("a")})
	src, size := medium(t, image)
	r, err := Scan(context.Background(), src, size-512, 0, Config{Dir: programs, Slots: 1, Rules: compiled(t, exploding)}, Sink{})
	if err != nil || r.Complete || !strings.Contains(codes(r), CodeChanged) {
		t.Errorf("%v, %v", r.Shortfalls, err)
	}
}

func TestErrorOfTheSinkEndsTheScan(t *testing.T) {
	full := errors.New("the disk is full")
	src, size := medium(t, stick(t, among(file{"A.TXT", []byte("a")})...))
	n := 0
	r, err := Scan(context.Background(), src, size, 0, Config{Dir: programs, Slots: 1, Rules: compiled(t, exploding)}, Sink{Item: func(report.Item) error {
		if n++; n == 3 {
			return full
		}
		return nil
	}})
	if !errors.Is(err, full) || r.Complete || n != 3 {
		t.Errorf("%+v, %v after %d items", r, err, n)
	}
}

// supervise is the other half of the next test: a supervisor that is killed.
func supervise(dir, image string) int {
	src, err := os.Open(image)
	if err != nil {
		return 1
	}
	info, err := src.Stat()
	if err != nil {
		return 1
	}
	rules, _, err := Compile(context.Background(), Config{Dir: dir}, []Source{{Name: "test.yar", Text: []byte(exploding)}})
	if err != nil {
		return 1
	}
	_, _ = Scan(context.Background(), src, info.Size(), 0, Config{Dir: dir, Slots: 2, Rules: rules}, Sink{})
	return 0
}

func TestT23_WorkersDieWithTheSupervisor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "supervise", programs, stick(t, among(file{"SLOW.TXT", slow})...))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var workers []int
	for end := time.Now().Add(20 * time.Second); len(workers) < 3 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		workers = append(children(cmd.Process.Pid, scanWorker), children(cmd.Process.Pid, yaraWorker)...)
	}
	time.Sleep(300 * time.Millisecond)
	cmd.Process.Kill()
	cmd.Wait()
	if len(workers) < 3 {
		t.Fatalf("%d workers", len(workers))
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for _, pid := range workers {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if _, comm, fields := stat(string(text)); err == nil && (comm == scanWorker || comm == yaraWorker) && fields[0] != "Z" {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d workers outlive their supervisor", left)
		}
	}
}
