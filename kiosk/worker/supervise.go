package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"pratique/scanner/frame"
	"pratique/scanner/report"
	"pratique/scanner/sandbox"
	"pratique/scanner/slot"
)

// scan is one run of the supervisor. Everything in it belongs to the goroutine of Scan.
type scan struct {
	cfg        Config
	job        report.Job
	src        *os.File
	sink       Sink
	collector  *report.Collector
	nursery    *nursery
	worker     *process // scanworker
	commands   *os.File
	slots      []*slotLife
	restarts   int
	shortfalls []report.Shortfall
}

// errEnded ends the scan: what is to be said is in shortfalls.
var errEnded = errors.New("the scan is over")

// fail notes why the scan is not complete and ends it.
func (s *scan) fail(code, format string, args ...any) error {
	s.shortfalls = append(s.shortfalls, report.Shortfall{Code: code, Text: fmt.Sprintf(format, args...)})
	return errEnded
}

// run makes the descriptors, starts scanworker and watches until it has ended. When it returns, every process is reaped and
// every descriptor that it made is closed.
func (s *scan) run(ctx context.Context) (err error) {
	for range s.cfg.Slots {
		sl, err := newSlot()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStart, err)
		}
		defer sl.close()
		s.slots = append(s.slots, sl)
	}
	reports, theirReports, err := pipe(true, false)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer reports.Close()
	defer theirReports.Close()
	theirCommands, commands, err := pipe(false, true)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer theirCommands.Close()
	defer commands.Close()
	s.commands = commands

	files := append([]*os.File{s.src, theirReports, theirCommands}, s.cfg.Lists...)
	for _, sl := range s.slots {
		files = append(files, sl.forScanWorker()...)
	}
	args := []string{"-slots", strconv.Itoa(s.cfg.Slots), "-lists", strconv.Itoa(len(s.cfg.Lists))}
	if s.nursery, err = newNursery(s.cfg); err != nil {
		return err
	}
	defer s.nursery.close() // before the descriptors are closed, so that no worker sees a pipe end that has not ended
	if s.worker, err = s.nursery.start(scanWorker, args, files); err != nil {
		return err
	}
	// From here on the workers' ends are theirs alone, so that a pipe ends when they do.
	theirReports.Close()
	theirCommands.Close()
	// A worker that is gone already does not take its job. How it ended says more than the pipe does.
	if err := s.command(report.Command{Job: &s.job}); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}

	messages, stop := receive[report.Message](reports)
	defer stop()
	if err := s.watch(ctx, messages); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// command sends one command. The pipe holds every command that there can be, so a worker that does not read them cannot
// make the supervisor wait for long.
func (s *scan) command(c report.Command) error {
	if err := s.commands.SetWriteDeadline(time.Now().Add(s.cfg.StallTimeout)); err != nil {
		return err
	}
	w := frame.NewWriter(s.commands)
	if err := w.Write(c); err != nil {
		return err
	}
	return w.Flush()
}

// received is one message, or how the stream ended.
type received[M any] struct {
	message M
	err     error // io.EOF if the stream ended between two messages
}

// receive decodes messages on a goroutine of its own. The last thing on the channel is an error. stop ends the goroutine,
// and returns when it has ended.
func receive[M any](r *os.File) (_ <-chan received[M], stop func()) {
	out := make(chan received[M], 64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		frames := frame.NewReader(r)
		for {
			var next received[M]
			next.err = frames.Next(&next.message)
			select {
			case out <- next:
			case <-quit:
				return
			}
			if next.err != nil {
				return
			}
		}
	}()
	return out, func() {
		close(quit)
		_ = r.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}

// watch is the supervisor's loop. It returns nil after a scan that came to its end, errEnded after one that did not, and
// any other error if the kiosk failed. scanworker is reaped if it returns nil.
func (s *scan) watch(ctx context.Context, messages <-chan received[report.Message]) error {
	stall := time.NewTimer(s.cfg.StallTimeout)
	defer stall.Stop()
	overdue := time.NewTimer(0)
	defer overdue.Stop()
	for {
		if at, running := s.nextDeadline(); running {
			overdue.Reset(time.Until(at))
		} else {
			overdue.Stop()
		}
		var err error
		select {
		case next := <-messages:
			switch {
			case next.err == io.EOF, next.err == io.ErrUnexpectedEOF: // as they are: a message cut short by a death
				return s.finish()
			case next.err != nil:
				return s.fail(CodeProtocol, "The scanner sent something that is not a message.")
			}
			err = s.take(next.message)
			stall.Reset(s.cfg.StallTimeout) // after take: the time that the sink needs is not the scanner's
		case p := <-s.nursery.exits:
			err = s.replace(p)
		case now := <-overdue.C:
			for _, sl := range s.slots {
				if !sl.deadline.IsZero() && !now.Before(sl.deadline) {
					sl.kill(report.Deadline)
				}
			}
		case <-stall.C:
			return s.fail(CodeStalled, "The scanner said nothing for %v and was stopped.", s.cfg.StallTimeout)
		case <-ctx.Done():
			return s.fail(CodeInterrupted, "The scan was stopped before its end.")
		}
		if err != nil {
			return err
		}
	}
}

func (s *scan) nextDeadline() (at time.Time, running bool) {
	for _, sl := range s.slots {
		if !sl.deadline.IsZero() && (!running || sl.deadline.Before(at)) {
			at, running = sl.deadline, true
		}
	}
	return at, running
}

// take deals with one message.
func (s *scan) take(m report.Message) error {
	if err := s.collector.Add(m); err != nil {
		if errors.Is(err, report.ErrProtocol) {
			return s.fail(CodeProtocol, "The scanner broke the rules of its messages.")
		}
		return err // the sink's
	}
	switch {
	case m.Ready != nil:
		return s.open()
	case m.Progress != nil && s.sink.Progress != nil:
		s.sink.Progress(*m.Progress)
	case m.Slot != nil:
		sl := s.slots[m.Slot.Slot] // in range: the collector has looked
		switch {
		case m.Slot.Kill:
			sl.kill(report.Deadline)
		case m.Slot.Busy && !sl.beingReplaced:
			sl.deadline = time.Now().Add(s.cfg.SlotTimeout)
		default:
			sl.deadline = time.Time{}
		}
	}
	return nil
}

// open starts the yaraworkers once scanworker is ready. A buffer without its seals would let libyara's process change the
// bytes that are being hashed.
func (s *scan) open() error {
	for _, sl := range s.slots {
		if !sl.sealed() {
			return s.fail(CodeProtocol, "The scanner did not seal its buffers.")
		}
	}
	for id := range s.slots {
		if err := s.startSlot(id); err != nil {
			return err
		}
		if err := s.announce(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) startSlot(id int) (err error) {
	sl := s.slots[id]
	sl.process, err = s.nursery.start(yaraWorker, []string{"scan"}, sl.forYARAWorker(s.cfg.Rules))
	if err != nil {
		return s.fail(CodeDied, "A process that matches rules could not be started.")
	}
	return nil
}

func (s *scan) announce(id int) error {
	sl := s.slots[id]
	if err := s.command(report.Command{SlotReady: &report.SlotReady{Slot: id, Cause: sl.cause}}); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return s.fail(CodeStalled, "The scanner took no commands and was stopped.")
		}
		return nil // scanworker has ended; its report pipe says the rest
	}
	sl.cause, sl.beingReplaced, sl.deadline = report.Died, false, time.Time{}
	return nil
}

// replace deals with a process that was reaped. For a yaraworker it empties the slot's pipes, tells scanworker, and only
// then starts the next one, so that nothing of the new one can be taken for the old one's.
func (s *scan) replace(p *process) error {
	if p == s.worker {
		return nil // its report pipe ends too, after what it still holds
	}
	id := 0
	for id < len(s.slots) && s.slots[id].process != p {
		id++
	}
	if id == len(s.slots) {
		return fmt.Errorf("worker: %s ended, which was never started", p.name)
	}
	switch p.code() {
	case sandbox.ExitSandbox:
		return ErrSandbox
	case slot.ExitDonation:
		return s.fail(CodeDied, "The process that matches rules could not load them.")
	}
	if s.restarts++; s.restarts > MaxRestarts {
		return s.fail(CodeRestarts, "The process that matches rules died %d times.", s.restarts)
	}
	if err := s.slots[id].drain(); err != nil {
		return s.fail(CodeProtocol, "A pipe between the scanner and the process that matches rules could not be emptied.")
	}
	if err := s.announce(id); err != nil {
		return err
	}
	return s.startSlot(id)
}

// finish says how a scan ended whose message stream has ended.
func (s *scan) finish() error {
	if !s.worker.within(exitGrace) {
		return s.fail(CodeStalled, "The scanner did not end after its last message.")
	}
	switch {
	case s.worker.code() == sandbox.ExitSandbox:
		return ErrSandbox
	case !s.collector.Ready():
		return fmt.Errorf("%w: scanworker %s before it was ready", ErrStart, s.worker.end())
	case s.worker.code() != 0:
		return s.fail(CodeDied, "The scanner %s.", s.worker.end())
	case !s.collector.Done():
		return s.fail(CodeDied, "The scanner ended before its last message.")
	}
	return nil
}
