package scanner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"pratique/scanner/frame"
	"pratique/scanner/report"
	"pratique/scanner/slot"
)

const (
	// busyAfter is how long an answer may take before the supervisor hears of it and starts its own clock. Most take less,
	// and the pipe stays quiet.
	busyAfter = 250 * time.Millisecond
	// bytesPerSecond is the rate that the time for one item grows with: a tenth of what libyara does with 3,000 rules on
	// content built to slow it down.
	bytesPerSecond = 2 << 20
	// maxPending bounds restarts that the supervisor announced and nobody looked at yet. It announces fewer in a session.
	maxPending = 1024
)

// Slot is one yaraworker as the scanner sees it: a buffer to fill, a pipe for requests, a pipe for answers. The process
// behind it may die and be replaced at any time, which Restarted announces.
type Slot struct {
	id       int
	buffer   []byte
	requests *os.File
	answers  *os.File

	mu      sync.Mutex // guards the read deadline together with restarts
	closed  bool
	pending chan report.Cause

	// What follows belongs to the goroutine that runs the slot.
	send     func(report.Message) error
	in       *frame.Reader
	deadline time.Time
	busy     bool
	next     uint64 // the number of the next item to be sent; never used twice
	base     uint64 // the first number of the request under way
	stale    int    // answers to older requests since then
}

// NewSlot returns a slot over a buffer that is mapped for writing here and can be mapped only for reading elsewhere. Both
// pipes must be in non-blocking mode, since a read must end when the process on the other side does not answer.
func NewSlot(id int, buffer []byte, requests, answers *os.File) (*Slot, error) {
	for _, set := range []func(time.Time) error{requests.SetWriteDeadline, answers.SetReadDeadline} {
		if err := set(time.Time{}); err != nil {
			return nil, fmt.Errorf("slot %d: a pipe has no deadlines: %w", id, err)
		}
	}
	return &Slot{id: id, buffer: buffer, requests: requests, answers: answers, pending: make(chan report.Cause, maxPending), next: 1}, nil
}

// Restarted tells the slot that a new yaraworker is behind it, and why. It returns at once and may be called at any time,
// by another goroutine than Scan's.
func (s *Slot) Restarted(cause report.Cause) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.pending <- cause:
	default:
		return errors.New("scanner: more restarts than a session can have")
	}
	return s.answers.SetReadDeadline(time.Unix(1, 0)) // wakes a reader; armed reads look at pending first
}

// close wakes the slot for good: the scan has ended.
func (s *Slot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.answers.SetReadDeadline(time.Unix(1, 0))
	_ = s.requests.SetWriteDeadline(time.Unix(1, 0))
}

// first waits for the first yaraworker.
func (s *Slot) first(ctx context.Context) error {
	select {
	case <-s.pending:
		s.in = frame.NewReader(answers{s})
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// idle forgets the yaraworkers that died while they had nothing to do, and reports how many did.
func (s *Slot) idle() (deaths int) {
	for {
		select {
		case <-s.pending:
			deaths++
			s.in = frame.NewReader(answers{s})
		default:
			return deaths
		}
	}
}

var (
	errRestarted = errors.New("the yaraworker was replaced")
	errNonsense  = errors.New("the yaraworker answered what was not asked")
)

// answers is the answer pipe as an io.Reader that knows the slot's deadline, tells the supervisor when a read takes long,
// and ends when the process on the other side was replaced.
type answers struct{ *Slot }

func (a answers) Read(p []byte) (int, error) {
	soon := time.Now().Add(busyAfter)
	if a.deadline.Before(soon) || a.busy {
		soon = a.deadline
	}
	n, err := a.readUntil(p, soon)
	if errors.Is(err, os.ErrDeadlineExceeded) && soon.Before(a.deadline) {
		if err := a.tell(true); err != nil {
			return 0, err
		}
		n, err = a.readUntil(p, a.deadline)
	}
	return n, err
}

func (s *Slot) readUntil(p []byte, t time.Time) (int, error) {
	if err := s.arm(t); err != nil {
		return 0, err
	}
	n, err := s.answers.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		if err := s.arm(t); err != nil { // it was not the clock that woke us
			return 0, err
		}
	}
	return n, err
}

// arm sets the read deadline unless a restart or the end of the scan has come first. Both set one in the past under the
// same lock, so neither can be overwritten unseen.
func (s *Slot) arm(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return os.ErrClosed
	case len(s.pending) > 0:
		return errRestarted
	}
	return s.answers.SetReadDeadline(t)
}

// tell says whether an answer is overdue.
func (s *Slot) tell(busy bool) error {
	if s.busy == busy {
		return nil
	}
	s.busy = busy
	return s.send(report.Message{Slot: &report.SlotState{Slot: s.id, Busy: busy}})
}

// request sends one request. It fails only if the other side does not take it within the time for an answer.
func (s *Slot) request(r slot.Request, timeout time.Duration) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return os.ErrClosed
	}
	err := s.requests.SetWriteDeadline(time.Now().Add(timeout))
	s.mu.Unlock()
	if err != nil {
		return err
	}
	w := frame.NewWriter(s.requests)
	if err := w.Write(r); err != nil {
		return err
	}
	return w.Flush()
}

// number takes n numbers for the items of one request and returns the first. An item that is sent again gets a new one, so
// that no late answer is taken for the answer to the second request.
func (s *Slot) number(n int) uint64 {
	s.base, s.stale = s.next, 0
	s.next += uint64(n)
	return s.base
}

// await returns the next answer to the request under way, Need or Done. An error means that the yaraworker is lost, and
// lose says what that means.
func (s *Slot) await(timeout time.Duration) (slot.Answer, error) {
	s.deadline = time.Now().Add(timeout)
	for {
		var a slot.Answer
		err := s.in.Next(&a)
		if err == nil && s.passOver(&a) {
			continue
		}
		if told := s.tell(false); told != nil {
			return slot.Answer{}, told
		}
		if err == nil && (a.Ready != nil || (a.Need == nil) == (a.Done == nil)) {
			err = errNonsense
		}
		return a, err
	}
}

// passOver reports whether an answer is none to the request under way and does no harm. Ready says that a new yaraworker
// has loaded its rules, and nothing depends on when. A new yaraworker may also find a request in the pipe that was meant
// for the one before, and answer that first.
func (s *Slot) passOver(a *slot.Answer) bool {
	if a.Need != nil || (a.Ready == nil) == (a.Done == nil) {
		return false
	}
	if a.Done != nil && a.Done.ID >= s.base {
		return false
	}
	s.stale++
	return s.stale <= 2*slot.MaxPieces
}

// lose deals with a yaraworker that is lost because of err: it has the supervisor kill it if it was not replaced already,
// and waits for the next one. It returns the outcome of what the lost one was working on.
//
// The clock here and the supervisor's, or a death and a clock, can strike at once. Then the next yaraworker may be killed
// for its predecessor's fault, and one more item is not seen: the safe side.
func (s *Slot) lose(ctx context.Context, err error) (report.Outcome, error) {
	outcome := report.Unscanned
	if ctx.Err() != nil {
		return outcome, context.Cause(ctx)
	}
	// A frame that the lost one left half said, and that its successor's first words seem to end, is no fault of the
	// successor: once a restart is pending, every error is the lost one's.
	restarted := errors.Is(err, errRestarted) || len(s.pending) > 0
	if !restarted {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			outcome = report.TimedOut
		}
		if err := s.send(report.Message{Slot: &report.SlotState{Slot: s.id, Kill: true}}); err != nil {
			return outcome, err
		}
	}
	select {
	case cause := <-s.pending:
		if restarted && cause == report.Deadline { // the supervisor's own clock was first
			outcome = report.TimedOut
		}
	case <-ctx.Done():
		return outcome, context.Cause(ctx)
	}
	s.in = frame.NewReader(answers{s})
	return outcome, nil
}

// timeout is how long YARA may take for an item of so many bytes.
func timeout(job *report.Job, bytes int64) time.Duration {
	return time.Duration(job.FileTimeout)*time.Millisecond + time.Duration(bytes/bytesPerSecond)*time.Second
}

var _ io.Reader = answers{}
