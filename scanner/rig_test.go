package scanner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pratique/rules/blocklist"
	"pratique/scanner/frame"
	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/volume"
	"pratique/testdata/stick"
)

// rig is a supervisor with yaraworkers in one process: real pipes, the real protocol, and matchers that do what the names
// of the files that they are given say. "die", "hang", "fail", "garbage", "stranger", "need", "twice" and "half" at the
// start of a name are faults; content that holds a line "match SEVERITY" matches a rule.
type rig struct {
	t         testing.TB
	job       report.Job
	slots     []*Slot
	workers   []*fakeWorker
	lists     []*blocklist.List
	collector *report.Collector
	said      [][]byte // messages other than Progress and Slot, encoded, in order
	items     []report.Item
	kills     atomic.Int64
	starts    atomic.Int64
	busy      atomic.Int64
	progress  atomic.Int64
	blocks    func(r *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done // for streams; nil means walkBlocks
}

// fakeWorker is the place of one yaraworker: its ends of the pipes, and the life in it.
type fakeWorker struct {
	rig              *rig
	id               int
	buffer           []byte
	requestR, answer *os.File // its ends
	requestW, theirs *os.File // the scanner's
	stopped          chan struct{}
	quit             chan struct{}
	cause            report.Cause
	mu               sync.Mutex
	killed           bool
	dead             bool
}

func newRig(t testing.TB, slots int, slotBytes, size int64) *rig {
	r := &rig{t: t, job: report.Job{Size: size, SectorSize: 512, Slots: slots, SlotBytes: slotBytes, FileTimeout: 20_000}}
	for id := range slots {
		w := &fakeWorker{rig: r, id: id, buffer: make([]byte, slotBytes), cause: report.FirstTime}
		var err, err2 error
		w.requestR, w.requestW, err = os.Pipe()
		w.theirs, w.answer, err2 = os.Pipe()
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		s, err := NewSlot(id, w.buffer, w.requestW, w.theirs)
		if err != nil {
			t.Fatal(err)
		}
		r.slots, r.workers = append(r.slots, s), append(r.workers, w)
		t.Cleanup(func() {
			for _, f := range []*os.File{w.requestR, w.requestW, w.theirs, w.answer} {
				f.Close()
			}
		})
	}
	return r
}

// block adds a blocklist.
func (r *rig) block(text string) {
	var out bytes.Buffer
	if _, err := blocklist.Compile(&out, strings.NewReader(text)); err != nil {
		r.t.Fatal(err)
	}
	l, err := blocklist.Open(out.Bytes())
	if err != nil {
		r.t.Fatal(err)
	}
	r.lists = append(r.lists, l)
	r.job.Lists++
}

// scan runs Scan and returns the report.
func (r *rig) scan(ctx context.Context, src volume.Source) (report.Report, error) {
	r.t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Close()
	r.collector = report.NewCollector(r.job, func(it report.Item) error { r.items = append(r.items, it); return nil })
	var supervisor sync.WaitGroup
	supervisor.Go(func() { r.supervise(in) })
	for _, w := range r.workers {
		w.start()
	}
	sender := NewSender(out)
	if err := sender.Send(report.Message{Ready: &report.Ready{Layers: []string{"none"}}}); err != nil {
		r.t.Fatal(err)
	}
	err = Scan(ctx, src, r.job, r.slots, r.lists, sender)
	out.Close()
	supervisor.Wait()
	for _, w := range r.workers {
		w.mu.Lock()
		w.killed = true // no more lives
		w.mu.Unlock()
		w.stop()
	}
	return r.collector.Report(), err
}

func (r *rig) supervise(in io.Reader) {
	frames := frame.NewReader(in)
	for {
		var m report.Message
		if err := frames.Next(&m); err != nil {
			if err != io.EOF {
				r.t.Errorf("the report pipe: %v", err)
			}
			return
		}
		if err := r.collector.Add(m); err != nil {
			r.t.Errorf("the collector refuses %+v: %v", m, err)
			_, _ = io.Copy(io.Discard, in)
			return
		}
		switch {
		case m.Progress != nil:
			r.progress.Add(1)
		case m.Slot != nil && m.Slot.Kill:
			r.kills.Add(1)
			w := r.workers[m.Slot.Slot]
			w.mu.Lock()
			w.cause = report.Deadline
			w.mu.Unlock()
			w.stop()
		case m.Slot != nil:
			if m.Slot.Busy {
				r.busy.Add(1)
			}
		default:
			if m.Done != nil {
				done := *m.Done
				done.BytesRead, done.Again.Bytes = 0, 0 // what was read twice for its surroundings may depend on time
				m.Done = &done
			}
			data, err := m.Encode()
			if err != nil {
				r.t.Error(err)
			}
			r.said = append(r.said, data)
		}
	}
}

// start begins a life. When it ends by itself, the next one begins as the supervisor would have it: pipes drained, the slot
// told, then started.
func (w *fakeWorker) start() {
	w.mu.Lock()
	w.quit, w.stopped, w.dead = make(chan struct{}), make(chan struct{}), false
	cause := w.cause
	w.cause = report.Died
	w.mu.Unlock()
	w.rig.starts.Add(1)
	_ = w.requestR.SetReadDeadline(time.Time{})
	_ = w.answer.SetWriteDeadline(time.Time{})
	if err := w.rig.slots[w.id].Restarted(cause); err != nil {
		w.rig.t.Error(err)
	}
	quit, stopped := w.quit, w.stopped
	go func() {
		w.live(quit)
		w.mu.Lock()
		again := !w.killed
		w.mu.Unlock()
		drain(w.requestR)
		drain(w.theirs)
		close(stopped)
		if again {
			w.start()
		}
	}()
}

// drain empties a pipe without waiting. The scanner's end shares its deadline with the slot, so the pipe is opened anew.
func drain(f *os.File) {
	fresh, err := os.OpenFile("/proc/self/fd/"+fdName(f), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer fresh.Close()
	raw, err := fresh.SyscallConn()
	if err != nil {
		return
	}
	drainRaw(raw)
}

// fdName is a descriptor's number without making it blocking, as File.Fd would.
func fdName(f *os.File) string {
	name := ""
	raw, err := f.SyscallConn()
	if err != nil {
		return name
	}
	_ = raw.Control(func(fd uintptr) { name = strconv.Itoa(int(fd)) })
	return name
}

func drainRaw(raw syscall.RawConn) {
	buf := make([]byte, 64<<10)
	for more := true; more; {
		_ = raw.Control(func(fd uintptr) {
			n, err := syscall.Read(int(fd), buf)
			more = n > 0 || err == syscall.EINTR
		})
	}
}

// stop ends a life from outside.
func (w *fakeWorker) stop() {
	w.mu.Lock()
	if !w.dead {
		w.dead = true
		close(w.quit)
	}
	stopped := w.stopped
	w.mu.Unlock()
	_ = w.requestR.SetReadDeadline(time.Unix(1, 0))
	_ = w.answer.SetWriteDeadline(time.Unix(1, 0))
	<-stopped
}

var errDie = errors.New("died")

func (w *fakeWorker) live(quit chan struct{}) {
	in, out := frame.NewReader(w.requestR), frame.NewWriter(w.answer)
	say := func(a slot.Answer) error { return errors.Join(out.Write(a), out.Flush()) }
	if say(slot.Answer{Ready: &slot.Ready{Rules: 1}}) != nil {
		return
	}
	for {
		var r slot.Request
		if in.Next(&r) != nil {
			return
		}
		for _, p := range r.Batch {
			if w.piece(p, quit, say) != nil {
				return
			}
		}
		if r.Stream != nil && w.stream(r.Stream, in, quit, say) != nil {
			return
		}
	}
}

func (w *fakeWorker) piece(p slot.Piece, quit chan struct{}, say func(slot.Answer) error) error {
	content := w.buffer[p.Offset : p.Offset+p.Bytes]
	done := slot.Done{ID: p.ID, Scanned: true, Matches: matches(content)}
	fault, _, _ := strings.Cut(string(p.Name), "-")
	switch fault {
	case "die":
		return errDie
	case "hang":
		<-quit
		return errDie
	case "slow":
		time.Sleep(2 * busyAfter)
	case "fail":
		done.Scanned = false
	case "garbage":
		_, _ = w.answer.Write(binary.BigEndian.AppendUint32(nil, 0xFFFFFFFF))
		<-quit
		return errDie
	case "half":
		_, _ = w.answer.Write([]byte{0, 0, 0, 9, 1, 2})
		return errDie
	case "stranger":
		done.ID += 1000
	case "need":
		return say(slot.Answer{Need: &slot.Need{Bytes: 1}})
	case "nothing":
		return say(slot.Answer{})
	case "flood":
		for i := range uint64(10_000) {
			if err := say(slot.Answer{Done: &slot.Done{ID: i % p.ID, Scanned: true}}); err != nil {
				return err
			}
		}
	}
	return say(slot.Answer{Done: &done})
}

// matches finds lines "match SEVERITY".
func matches(content []byte) []slot.Match {
	var out []slot.Match
	for s := report.Block; s <= report.Inform; s++ {
		if at := bytes.Index(content, []byte("match "+s.String()+"\n")); at >= 0 {
			out = append(out, slot.Match{Rule: "fake_" + s.String(), Severity: s, Offset: int64(at)})
		}
	}
	return out
}

func (w *fakeWorker) stream(s *slot.Stream, in *frame.Reader, quit chan struct{}, say func(slot.Answer) error) error {
	lost := false
	need := func(off, n int64) []byte {
		var r slot.Request
		if lost || say(slot.Answer{Need: &slot.Need{Offset: off, Bytes: n}}) != nil || in.Next(&r) != nil || r.Filled == nil || r.Filled.Offset != off {
			lost = true
			return nil
		}
		return w.buffer[r.Filled.At:][:r.Filled.Bytes]
	}
	walk := w.rig.blocks
	if walk == nil {
		walk = walkBlocks
	}
	done := walk(w.rig, s, need)
	if lost {
		return errDie
	}
	done.ID = s.ID
	return say(slot.Answer{Done: &done})
}

// testBlock is the size of a block in tests with small buffers.
const testBlock = 12 * cellBytes

// walkBlocks asks for every block in order, and matches in each.
func walkBlocks(_ *rig, s *slot.Stream, need func(off, n int64) []byte) slot.Done {
	d := slot.Done{Scanned: true}
	for at := int64(0); ; at += testBlock - cellBytes {
		n := min(testBlock, s.Bytes-at)
		b := need(at, n)
		if int64(len(b)) != n {
			return slot.Done{}
		}
		d.Matches = append(d.Matches, matches(b)...)
		if at+n == s.Bytes {
			return d
		}
	}
}

// image is a medium in a sparse file.
type image struct {
	*os.File
	size int64
}

func newImage(t testing.TB, size int64) *image {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return &image{f, size}
}

func (i *image) Size() int64     { return i.size }
func (i *image) SectorSize() int { return 512 }

func (i *image) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(i.File, 0, i.size).ReadAt(p, off)
}

// fatImage is a medium that is one FAT volume.
func fatImage(t testing.TB, bits int, size, cluster int64, files []stick.File) (*image, *stick.Volume) {
	t.Helper()
	img := newImage(t, size)
	v, err := stick.WriteFAT(img.File, stick.FAT{Bits: bits, Bytes: size, ClusterBytes: cluster}, files)
	if err != nil {
		t.Fatal(err)
	}
	return img, v
}

// member returns the member of a file.
func (r *rig) member(path, member string) report.Item {
	r.t.Helper()
	for _, it := range r.items {
		if it.Path == path && it.Member == member {
			return it
		}
	}
	r.t.Errorf("no member %q in %q", member, path)
	return report.Item{}
}

// find returns the item with a path.
func (r *rig) find(path string) report.Item {
	r.t.Helper()
	for _, it := range r.items {
		if it.Path == path && it.Member == "" {
			return it
		}
	}
	r.t.Errorf("no item %q", path)
	return report.Item{}
}

// expect checks every file's outcome, and the hash of what was seen.
func (r *rig) expect(files []stick.File, outcome func(stick.File) report.Outcome) {
	r.t.Helper()
	for _, f := range files {
		if f.Dir {
			continue
		}
		it, want := r.find(f.Path), outcome(f)
		if it.Outcome != want {
			r.t.Errorf("%s: %v, want %v", f.Path, it.Outcome, want)
		}
		if it.Outcome.Seen() {
			h := sha256.New()
			if _, err := io.Copy(h, f.Content()); err != nil {
				r.t.Fatal(err)
			}
			if !bytes.Equal(h.Sum(nil), it.SHA256[:]) {
				r.t.Errorf("%s: another hash", f.Path)
			}
		}
	}
}

func has(findings []report.Finding, check report.Check, severity report.Severity) bool {
	for _, f := range findings {
		if f.Check == check && f.Severity == severity {
			return true
		}
	}
	return false
}
