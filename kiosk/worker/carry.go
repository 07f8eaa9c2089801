package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"pratique/scanner/carry"
	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
)

// Carry has the folder of a name that lies at the root of one volume of the medium src carried into a folder here, which
// must be empty. It is read by a scanworker in its jail, as a scan reads it: of cfg Dir, RequireNamespaces, StallTimeout and
// Stderr count. progress may be nil.
//
// A *carry.Refusal says why nothing of the medium is to be used, whatever was written until then. Any other error is the
// kiosk's own, or ctx has ended. Like Scan it returns after the process that it started is reaped.
func Carry(ctx context.Context, src *os.File, size int64, sector int, folder string, cfg Config, into *os.Root, progress func(carry.Progress)) error {
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = DefaultStallTimeout
	}
	if cfg.Dir == "" {
		return errors.New("worker: the folder of the workers is not given")
	}
	if err := checkProgram(cfg.Dir, scanWorker); err != nil {
		return err
	}
	before, err := look(src)
	if err != nil {
		return fmt.Errorf("worker: look at the medium: %w", err)
	}
	c := &carrying{cfg: cfg, folder: folder, receiver: carry.NewReceiver(into), progress: progress}
	defer c.receiver.Close()
	if err := c.run(ctx, src, carry.Job{Size: size, SectorSize: sector, Folder: folder}); err != nil {
		return err
	}
	if after, err := look(src); err != nil || after != before || !before.channel && before.size != size {
		return &carry.Refusal{Code: CodeChanged, Text: "The medium changed its size or was written to while it was read."}
	}
	return nil
}

// carrying is one run of Carry.
type carrying struct {
	cfg      Config
	folder   string
	receiver *carry.Receiver
	progress func(carry.Progress)
	worker   *process
}

func (c *carrying) run(ctx context.Context, src *os.File, job carry.Job) error {
	if err := job.Check(); err != nil {
		return err
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
	n, err := newNursery(c.cfg)
	if err != nil {
		return err
	}
	defer n.close() // before the descriptors are closed
	if c.worker, err = n.start(scanWorker, []string{"carry"}, []*os.File{src, theirReports, theirCommands}); err != nil {
		return err
	}
	theirReports.Close()
	theirCommands.Close()
	// The pipe holds a job, so this does not wait. How a worker ended that is gone already says more than the pipe does.
	w := frame.NewWriter(commands)
	if err := errors.Join(w.Write(job), w.Flush()); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	messages, stop := receive[carry.Message](reports)
	defer stop()
	return c.watch(ctx, messages)
}

// watch takes messages until the last. It returns nil if everything arrived.
func (c *carrying) watch(ctx context.Context, messages <-chan received[carry.Message]) error {
	stall := time.NewTimer(c.cfg.StallTimeout)
	defer stall.Stop()
	for {
		select {
		case next := <-messages:
			switch {
			case next.err == io.EOF, next.err == io.ErrUnexpectedEOF:
				return c.finish()
			case next.err != nil:
				return &carry.Refusal{Code: CodeProtocol, Text: "The scanner sent something that is not a message."}
			}
			if err := c.take(next.message); err != nil {
				return err
			}
			stall.Reset(c.cfg.StallTimeout)
		case <-stall.C:
			return &carry.Refusal{Code: CodeStalled, Text: fmt.Sprintf("The scanner said nothing for %v and was stopped.", c.cfg.StallTimeout)}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *carrying) take(m carry.Message) error {
	err := c.receiver.Add(m)
	switch {
	case errors.Is(err, carry.ErrProtocol):
		return &carry.Refusal{Code: CodeProtocol, Text: "The scanner broke the rules of its messages."}
	case err != nil:
		return err // the folder's
	case m.Progress != nil && c.progress != nil:
		c.progress(*m.Progress)
	}
	return nil
}

// finish says how a run ended whose message stream has ended.
func (c *carrying) finish() error {
	if !c.worker.within(exitGrace) {
		return &carry.Refusal{Code: CodeStalled, Text: "The scanner did not end after its last message."}
	}
	done := c.receiver.Done()
	switch {
	case c.worker.code() == sandbox.ExitSandbox:
		return ErrSandbox
	case !c.receiver.Ready():
		return fmt.Errorf("%w: scanworker %s before it was ready", ErrStart, c.worker.end())
	case c.worker.code() != 0:
		return &carry.Refusal{Code: CodeDied, Text: "The scanner " + c.worker.end() + "."}
	case done == nil:
		return &carry.Refusal{Code: CodeDied, Text: "The scanner ended before its last message."}
	case done.Refused != "":
		return done.Refused.Refuse(c.folder)
	}
	return nil
}
