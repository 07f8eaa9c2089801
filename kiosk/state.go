package kiosk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// What a caller can branch on when the kiosk itself fails.
var (
	ErrState     = errors.New("the state folder cannot be used")
	ErrNewer     = errors.New("the state was written by a newer version of this program")
	ErrBrokenLog = errors.New("the log's chain is broken")
	ErrLogGone   = fmt.Errorf("%w: the log is lost", ErrBrokenLog)
)

// stateVersion is the layout of the state folder. A folder with a higher one is left alone.
// Version 2 seals manifests; those of version 1 are sealed by the next start.
const stateVersion, plainVersion = "2", "1"

// The state folder:
//
//	version             the layout's number
//	log.db              the log (package audit)
//	names.db            names that the log does not say, encrypted
//	key/station         token signing keys, owner only
//	key/log             the log's checkpoint key, owner only
//	key/names           the key of the log's pseudonyms, owner only
//	key/rules           the key that vouches for rules/, owner only
//	key/months/         the keys of names.db, one for each month; destroyed by an erasure
//	key/log.pub         what an auditor verifies the log with
//	key/enrolled        the box of the key that the site enrolled (package keys); key/next the one to come
//	demo.trust          the trust file for the demonstration key
//	key/staff           the key of badges and PINs, owner only
//	trust.cbr           the site's trust file
//	roster.cbr          the site's people, signed
//	sign-in             how many wrong PINs there were
//	incident            there while an incident lasts: nothing is issued
//	forwarded           the checkpoint of what a collector of events has taken
//	clearances/ID/      token.cose and manifest, which is sealed with a key of names.db
//	rules/*.yarc        compiled rules, made here (compiled.go); may be deleted
//	rules/*.list        compiled hash lists, likewise (lists.go)
//	rules/store/        the installed rule pack and what vouches for it (package rules/pack)
//	clock               there while an administrator must look at the clock: nothing is issued
//	lost/               what a restored log has replaced, for an auditor
//	disclosure          what the first of two persons asked to be shown
//	sessions/ID         one locked file for each session under way
//	sessions/ID.pack    a rule pack from its medium, while it is tried
type State struct {
	dir      string
	log      *audit.Log
	station  *clearance.Keys      // the demonstration key
	site     atomic.Pointer[site] // who signs in its place; nil where the demonstration key signs
	names    []byte
	agreed   agreed   // exceptions
	refused  refusals // rule packs
	lists    heldLists
	counting counting
	now      func() time.Time
	// lastSeen is the time of the newest entry that the log had when it was opened; zero if it had none.
	lastSeen time.Time

	fault func(step string) error // tests only: what happens after the named step
}

// keyNames is how many bytes a pseudonym key has.
const keyNames = 32

// OpenState opens the state folder, makes it on first use, and repairs what a crash left.
func OpenState(ctx context.Context, dir string) (*State, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	s := &State{dir: abs, now: time.Now}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *State) open(ctx context.Context) error {
	for _, d := range []string{"", "key", "clearances", "rules", "sessions"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	// Two programs that start at once must not both make the keys; whoever comes second waits for the first.
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	plain, err := s.checkVersion()
	if err != nil {
		return err
	}
	if err := s.loadKeys(); err != nil {
		return err
	}
	if err := s.openLog(ctx); err != nil {
		return err
	}
	if err := s.setAsideLost(ctx); err != nil {
		return err
	}
	if plain {
		if err := s.sealManifests(ctx); err != nil {
			return err
		}
	}
	if err := s.publishTrust(ctx, false); err != nil {
		return err
	}
	return s.repair(ctx)
}

// Close releases the state.
func (s *State) Close() error {
	s.lists.close()
	if s.log == nil {
		return nil
	}
	return s.log.Close()
}

// step is where a test lets the power go.
func (s *State) step(name string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(name)
}

func (s *State) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// checkVersion reports whether the folder is of the version whose manifests are plain.
func (s *State) checkVersion() (plain bool, err error) {
	text, err := os.ReadFile(s.path("version"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, s.writeVersion()
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrState, err)
	}
	switch got := strings.TrimSpace(string(text)); {
	case got == stateVersion, got == plainVersion:
		return got == plainVersion, nil
	case len(got) > 0 && strings.Trim(got, "0123456789") == "":
		return false, fmt.Errorf("%w (state version %s, this program knows %s)", ErrNewer, got, stateVersion)
	default:
		return false, fmt.Errorf("%w: the file version holds no number", ErrState)
	}
}

func (s *State) writeVersion() error {
	return s.write("version", []byte(stateVersion+"\n"), 0o600)
}

// loadKeys reads the keys, and makes those that are not there yet.
func (s *State) loadKeys() error {
	keys, err := s.secret("key/station", s.stationKeys)
	if err != nil {
		return err
	}
	if s.station, err = clearance.ParseKeys(keys); err != nil {
		return fmt.Errorf("%w: key/station: %w", ErrState, err)
	}
	// A demonstration key that nears its end is replaced: nobody enrolled it, and what it signed has expired by then.
	if s.station.Demo() && s.now().After(s.station.Public().NotAfter.Add(-keyReserve)) {
		if keys, err = s.stationKeys(); err != nil {
			return fmt.Errorf("%w: key/station: %w", ErrState, err)
		}
		if err := s.write("key/station", keys, 0o600); err != nil {
			return err
		}
		if s.station, err = clearance.ParseKeys(keys); err != nil {
			return fmt.Errorf("%w: key/station: %w", ErrState, err)
		}
	}
	if s.names, err = s.secret("key/names", func() ([]byte, error) {
		key := make([]byte, keyNames)
		_, err := rand.Read(key)
		return key, err
	}); err != nil {
		return err
	}
	if len(s.names) != keyNames {
		return fmt.Errorf("%w: key/names has %d bytes", ErrState, len(s.names))
	}
	return nil
}

// openLog opens the log, and makes it on first use.
func (s *State) openLog(ctx context.Context) error {
	opts, public, err := s.logOptions()
	if err != nil {
		return err
	}
	// The public key is written once the log exists, so a state with the one and not the other has lost its log: to begin
	// a new one would hide that.
	old, err := os.ReadFile(s.path("key/log.pub"))
	if err == nil {
		if _, err := os.Lstat(s.path(audit.FileName)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is gone", ErrLogGone, audit.FileName)
		}
	}
	s.log, err = audit.Open(ctx, s.dir, opts)
	if err != nil {
		return logError(err)
	}
	if s.lastSeen, err = s.lastEntry(ctx); err != nil {
		return err
	}
	if string(old) != public+"\n" {
		if err := s.write("key/log.pub", []byte(public+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// logOptions reads the log's key, or makes it, and returns the public one.
func (s *State) logOptions() (opts audit.Options, public string, err error) {
	private, err := s.secret("key/log", func() ([]byte, error) {
		private, _, err := audit.GenerateKey(s.station.Issuer() + "/log") // stays, whatever key the station signs with later
		return []byte(private), err
	})
	if err != nil {
		return opts, "", err
	}
	signer, public, err := audit.ParseKey(string(private))
	if err != nil {
		return opts, "", fmt.Errorf("%w: key/log: %w", ErrState, err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return opts, "", fmt.Errorf("%w: key/log: %w", ErrState, err)
	}
	return audit.Options{Origin: signer.Name(), Signer: signer, Verifiers: note.VerifierList(verifier), Now: s.now,
		MonthKeys: s.path("key", "months")}, public, nil
}

// keyReserve is more than a clearance lives.
const keyReserve = 7 * 24 * time.Hour

// stationKeys makes the private key file of a demonstration station.
func (s *State) stationKeys() ([]byte, error) {
	name, err := stationName()
	if err != nil {
		return nil, err
	}
	k, err := clearance.GenerateKeys(name, true, s.now())
	if err != nil {
		return nil, err
	}
	return k.Marshal()
}

// logError turns the log's errors into the state's.
func logError(err error) error {
	switch {
	case errors.Is(err, audit.ErrNewer):
		return fmt.Errorf("%w: %w", ErrNewer, err)
	case errors.Is(err, audit.ErrBroken):
		return fmt.Errorf("%w: %w", ErrBrokenLog, err)
	}
	return fmt.Errorf("%w: %w", ErrState, err)
}

// stationName names a demonstration station by eight random letters: the host's name would travel in every token.
func stationName() (string, error) {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("%w: %w", ErrState, err)
	}
	return "demo-" + hex.EncodeToString(id[:]), nil
}

// secret reads an owner-only file, or makes it with fresh content.
func (s *State) secret(name string, fresh func() ([]byte, error)) ([]byte, error) {
	const maxSecret = 1 << 12
	f, err := os.OpenFile(s.path(name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		data, err := fresh()
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrState, name, err)
		}
		return data, s.write(name, data, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	// A key that others could read or replace is no key.
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || info.Size() > maxSecret {
		return nil, fmt.Errorf("%w: %s must be a file that only its owner can read (mode 0600)", ErrState, name)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, name, err)
	}
	return data, nil
}

// write puts a file into the state so that a crash leaves the old content or the new, never a part.
func (s *State) write(name string, data []byte, mode fs.FileMode) error {
	if err := writeFile(s.path(name), data, mode); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}

func writeFile(name string, data []byte, mode fs.FileMode) error {
	return writeFrom(name, bytes.NewReader(data), mode)
}

// writeFrom is writeFile for what should not lie in memory as a whole.
func writeFrom(name string, from io.WriterTo, mode fs.FileMode) error {
	dir := filepath.Dir(name)
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // in vain once it is renamed
	defer tmp.Close()
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if _, err := from.WriteTo(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// What is done under the state's lock takes milliseconds; who waits longer than lockWait waits for something that hangs.
const (
	lockWait  = 30 * time.Second
	lockRetry = 20 * time.Millisecond
)

// lock takes the state's exclusive lock, which dies with the process.
func (s *State) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, errors.New("another process holds its lock"))
	defer cancel()
	for {
		// Not the waiting form of flock: nothing could interrupt it.
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("%w: %w", ErrState, context.Cause(ctx))
		case <-time.After(lockRetry):
		}
	}
}
