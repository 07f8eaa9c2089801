package kiosk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// begin marks a session as under way: a file whose lock dies with the process. It exists before the session's first log
// entry, so that no other start can take a living session for a dead one.
//
// end takes the mark away if the log knows how the session ended.
func (s *State) begin(ctx context.Context, id [16]byte) (end func(logged bool), err error) {
	unlock, err := s.lock(ctx) // a start that repairs must not find the file before it is locked
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := s.path("sessions", hex.EncodeToString(id[:]))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := syncDir(s.path("sessions")); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return func(logged bool) {
		if logged {
			os.Remove(name)
		}
		f.Close()
	}, nil
}

// alive reports whether the session's process still runs.
func (s *State) alive(id [16]byte) (bool, error) {
	f, err := os.OpenFile(s.path("sessions", hex.EncodeToString(id[:])), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer f.Close()
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("%w: %w", ErrState, err)
	}
	return false, nil
}

// repair finishes in the log what a crash cut off, under the state's lock. It only ever closes: no token is written here.
// A session leaves its mark until the log knows its end, so without a dead mark there is nothing to look for.
func (s *State) repair(ctx context.Context) error {
	dead, err := s.dead()
	if err != nil || len(dead) == 0 {
		return err
	}
	open, err := s.log.Unfinished(ctx)
	if err != nil {
		return logError(err)
	}
	for _, u := range open {
		live, err := s.alive(u.ID)
		if err != nil {
			return err
		}
		if live {
			continue
		}
		if err := s.finish(ctx, u); err != nil {
			return err
		}
	}
	if err := s.sweep(dead); err != nil {
		return err
	}
	for _, id := range dead { // last, so that a crash in here is repaired by the next start
		if err := os.Remove(s.path("sessions", id.String())); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	return nil
}

// dead lists the sessions that left a mark and have no process any more.
func (s *State) dead() ([]audit.ID, error) {
	entries, err := os.ReadDir(s.path("sessions"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	var out []audit.ID
	for _, e := range entries {
		id, err := hex.DecodeString(e.Name())
		if err != nil || len(id) != 16 {
			continue
		}
		live, err := s.alive([16]byte(id))
		if err != nil {
			return nil, err
		}
		if !live {
			out = append(out, audit.ID(id))
		}
	}
	return out, nil
}

// finish closes one dead session.
func (s *State) finish(ctx context.Context, u audit.Session) error {
	event := audit.Event{Session: u.ID, Data: audit.Aborted{Cause: "crashed"}}
	if u.Issuing >= 0 {
		token, err := os.ReadFile(s.path("clearances", u.ID.String(), tokenName))
		switch {
		case err == nil && s.belongs(token, u.Issuing):
			// The token was whole and durable before the crash: only the note about it is missing.
			event.Data = audit.Issued{Issuing: u.Issuing, Token: sha256.Sum256(token)}
		case err == nil || errors.Is(err, fs.ErrNotExist):
			if err := os.RemoveAll(s.path("clearances", u.ID.String())); err != nil {
				return fmt.Errorf("%w: %w", ErrState, err)
			}
			event.Data = audit.Abandoned{Issuing: u.Issuing}
		default:
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	if _, err := s.log.Append(ctx, event); err != nil {
		return logError(err)
	}
	return nil
}

// belongs reports whether a token is the one that the issuing entry speaks of.
func (s *State) belongs(token []byte, issuing int64) bool {
	_, index, err := clearance.LeafOfToken(token)
	return err == nil && index == uint64(issuing)
}

// sweep removes what dead sessions left between their steps: folders without a token, packs that were being tried, and
// temporary files.
func (s *State) sweep(dead []audit.ID) error {
	for _, id := range dead {
		if err := os.RemoveAll(s.carryFolder(id)); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		dir := s.path("clearances", id.String())
		if _, err := os.Lstat(filepath.Join(dir, tokenName)); errors.Is(err, fs.ErrNotExist) {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("%w: %w", ErrState, err)
			}
		}
		removeTemporary(dir, ".new-")
	}
	removeTemporary(s.dir, ".new-")
	removeTemporary(s.path("key"), ".new-")
	removeTemporary(s.path("rules"), ".new-")
	return nil
}

// removeTemporary removes temporary files of a process that was killed. One that is in use elsewhere at this moment loses
// its name only: writeFile then fails with an error, and a list lives on by its descriptor.
func removeTemporary(dir, prefix string) {
	entries, _ := os.ReadDir(dir) // with an error, what could be read
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
