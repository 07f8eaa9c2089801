package kiosk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/trial"
	"pratique/kiosk/worker"
	"pratique/rules"
)

// The words for a canary in a token.
const (
	canaryNone   = "none"   // nobody tried
	canaryPassed = "passed" // the last try found it on every way, with the rules in the token
)

// CanaryResult is what became of one try. The zero value failed.
type CanaryResult struct {
	At     time.Time
	Ways   int
	Failed []trial.Failure
}

// Passed reports whether every canary was found.
func (c CanaryResult) Passed() bool { return c.Ways > 0 && len(c.Failed) == 0 }

// Word is the canary's word in a token.
func (c CanaryResult) Word() string {
	if c.Passed() {
		return canaryPassed
	}
	return canaryNone
}

// Canary has a medium scanned that is made at this moment, with the rules and lists that media are scanned with. What is not
// found is in the result, and in the log; that all was found is entered if record says so, else only the tokens say it. An
// error means that the kiosk failed; nothing is to be cleared then either.
func (s *State) Canary(ctx context.Context, want Screening, record bool) (CanaryResult, error) {
	tools, err := s.prepare(ctx, want)
	if err != nil {
		return CanaryResult{}, err
	}
	defer tools.close()
	return s.tryCanary(ctx, tools, want, record)
}

// tryCanary is Canary with rules and lists that are at hand.
func (s *State) tryCanary(ctx context.Context, tools tools, want Screening, record bool) (res CanaryResult, err error) {
	exam := trial.Canaries()
	res = CanaryResult{At: s.now(), Ways: exam.Ways()}
	if res.Failed, err = s.examine(ctx, exam, tools.config(want)); err != nil {
		return CanaryResult{}, err
	}
	if res.Passed() && !record {
		return res, nil
	}
	ev := audit.Canary{Rules: auditRules(want.Pack), Passed: uint8(res.Ways - len(res.failedWays())), Failed: res.failedWays()}
	if _, err := s.log.Append(ctx, audit.Event{Data: ev}); err != nil {
		return CanaryResult{}, logError(err)
	}
	return res, nil
}

// tryFirst tries the canary with a session's own rules and lists before its medium is read. It takes a tenth of a second.
func (se *session) tryFirst(ctx context.Context) (err error) {
	se.want.Canary, err = se.state.tryCanary(ctx, se.tools, se.want, false)
	if ctx.Err() != nil {
		return nil // somebody stopped it: the scan, which now ends at once, records that
	}
	if err == nil && !se.want.Canary.Passed() {
		err = fmt.Errorf("%w: %s", ErrCanary, se.want.Canary.Failed[0].Text)
	}
	return err
}

// failedWays names the ways that failed, each once; all of them if the scan itself failed.
func (c CanaryResult) failedWays() []audit.Word {
	var out []audit.Word
	for _, f := range c.Failed {
		way := audit.Word(f.Way)
		if way == "" {
			way = audit.Word(f.Gate)
		}
		if !slices.Contains(out, way) && len(out) < c.Ways {
			out = append(out, way)
		}
	}
	return out
}

// examine scans an exam's medium, which lies in memory.
func (s *State) examine(ctx context.Context, exam *trial.Exam, cfg worker.Config) ([]trial.Failure, error) {
	fd, err := unix.MemfdCreate("trial medium", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	rw := os.NewFile(uintptr(fd), "trial medium")
	defer rw.Close()
	size, err := exam.WriteTo(rw)
	if err != nil {
		return []trial.Failure{{Gate: trial.Scan, Text: "The trial medium cannot be made: " + err.Error() + "."}}, nil
	}
	if err := rw.Truncate(size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	medium, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // for reading only, as any medium
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer medium.Close()
	late := errors.New("the trial took too long")
	ctx, cancel := context.WithTimeoutCause(ctx, exam.Limit(), late)
	defer cancel()
	rep, err := worker.Scan(ctx, medium, size, sectorUnit, cfg, worker.Sink{Item: exam.Item})
	switch {
	case errors.Is(context.Cause(ctx), late):
		return []trial.Failure{{Gate: trial.Budget, Text: fmt.Sprintf("The rules took too long: the trial medium was not scanned within %v.", exam.Limit().Round(time.Second))}}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, workerError(err)
	}
	return exam.Judge(&rep), nil
}

func auditRules(p rules.Pack) audit.Rules {
	return audit.Rules{Name: audit.Word(p.Name), Version: p.Version, Digest: p.Digest, Added: p.Added}
}
