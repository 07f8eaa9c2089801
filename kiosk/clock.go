package kiosk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
)

// Nobody on a station without a network tells it what time it is. What is known is what has passed: the times that the security
// team and the root holders signed, and those of the log. A clock that is behind them stops the station. One that jumps while
// the station runs is seen against the kernel's own count of seconds; one that jumped while it was off, only if it is by
// weeks. Then an administrator says which time it is, and the log keeps who said so.

// How far a clock may move. A correction by hand or by a time server is smaller.
const (
	maxJump = maxBack
	// maxOff is how long a station may have been off before somebody has to look at its clock. A pack that is older stops it anyway.
	maxOff = StopAge
)

// clockName is the file whose presence stops the station until an administrator has looked at the clock.
const clockName = "clock"

// clockAccepted is what an administrator did who says that the clock is right.
const clockAccepted = "clock-accepted"

// ErrClock says that the time that an administrator takes for the right one cannot be.
var ErrClock = errors.New("the clock cannot be right")

// clockJump is what was noticed.
type clockJump struct {
	Code audit.Word `json:"code"` // "clock-ahead" or "clock-back"
	Was  time.Time  `json:"was"`  // the time that it should have been, as far as that is known
	Is   time.Time  `json:"is"`   // what the clock showed
}

// ClockWatch looks after the clock of a station that runs.
type ClockWatch struct {
	state *State
	boot  func() (time.Duration, error) // since the machine was started, asleep or not
	wall  time.Time                     // at the last check; zero before the first
	since time.Duration
}

// WatchClock begins to look after the clock.
func (s *State) WatchClock() *ClockWatch { return &ClockWatch{state: s, boot: sinceBoot} }

// sinceBoot asks the kernel; nobody can set this clock (clock_gettime(2), CLOCK_BOOTTIME).
func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
}

// Check says what is wrong with the clock. A jump is entered in the log once, and stays until AcceptClock.
func (w *ClockWatch) Check(ctx context.Context, cfg PackConfig) (Freshness, error) {
	s := w.state
	boot, err := w.boot()
	if err != nil {
		return Freshness{}, fmt.Errorf("%w: the machine's uptime: %w", ErrState, err)
	}
	now := s.now().Round(0)
	if f, err := s.clockFile(); err != nil || f.Stops {
		w.wall, w.since = now, boot // while it stops, the clock may be set
		return f, err
	}
	jump := clockJump{Is: now.UTC()}
	if w.wall.IsZero() {
		if jump.Was = s.lastSeen; !jump.Was.IsZero() && now.Sub(jump.Was) > maxOff {
			jump.Code = "clock-ahead"
		}
	} else {
		jump.Was = w.wall.Add(boot - w.since).UTC()
		switch moved := now.Sub(jump.Was); {
		case moved > maxJump:
			jump.Code = "clock-ahead"
		case moved < -maxJump:
			jump.Code = "clock-back"
		}
	}
	w.wall, w.since = now, boot
	if jump.Code != "" {
		return s.markClock(ctx, jump)
	}
	floor, err := s.floor(ctx, cfg)
	if err != nil {
		return Freshness{}, err
	}
	if floor.Sub(now) > maxBack {
		return Freshness{clockName, behindText(now, floor), true}, nil
	}
	return Freshness{}, nil
}

func behindText(now, floor time.Time) string {
	return fmt.Sprintf("The clock shows %s, but it is later than %s: set the clock right.", date(now), date(floor))
}

// markClock stops the station, and then tells the log.
func (s *State) markClock(ctx context.Context, jump clockJump) (Freshness, error) {
	data, err := json.Marshal(jump)
	if err != nil {
		return Freshness{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := s.write(clockName, append(data, '\n'), 0o644); err != nil {
		return Freshness{}, err
	}
	if _, err := s.log.Append(ctx, audit.Event{Data: audit.Failed{Cause: jump.Code}}); err != nil {
		return Freshness{}, logError(err)
	}
	return s.clockFile()
}

// clockFile says what was noticed and not accepted yet.
func (s *State) clockFile() (Freshness, error) {
	data, err := readSmall(s.path(clockName), 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return Freshness{}, nil
	}
	if err != nil {
		return Freshness{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	var jump clockJump
	text := "The clock was wrong"
	if json.Unmarshal(data, &jump) == nil && !jump.Was.IsZero() {
		text = fmt.Sprintf("The clock jumped from %s to %s", date(jump.Was), date(jump.Is))
	}
	return Freshness{clockName, text + ": an administrator must set it right and say so with pratique clock accept.", true}, nil
}

// lastEntry is the time of the newest entry; zero if there is none.
func (s *State) lastEntry(ctx context.Context) (at time.Time, err error) {
	err = s.log.List(ctx, audit.ListOptions{Newest: true, Limit: 1}, func(e audit.Entry) error {
		at = e.Time
		return nil
	})
	if err != nil {
		return at, logError(err)
	}
	return at, nil
}

// AcceptClock takes an administrator's word that the clock is right now. Times that were signed outweigh it: a clock that is
// behind them is wrong. Entries of a clock that was ahead count no more.
func (s *State) AcceptClock(ctx context.Context, cfg PackConfig, person string) error {
	if person == "" {
		return fmt.Errorf("%w: who says so must be known", ErrClock)
	}
	signed, err := s.signedFloor(cfg)
	if err != nil {
		return err
	}
	now := s.now()
	if signed.Sub(now) > maxBack {
		return fmt.Errorf("%w: %s", ErrClock, behindText(now, signed))
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.administered(ctx, audit.Administered{What: clockAccepted, Number: uint64(max(now.Unix(), 0))}, person); err != nil {
		return err
	}
	if err := os.Remove(s.path(clockName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return syncDir(s.dir)
}
