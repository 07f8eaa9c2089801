package kiosk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
)

// stateVersion is the layout of the state folder. A folder with a higher one is left alone.
const stateVersion = "1"

// The state folder:
//
//	version             the layout's number
//	log.db              the log (package audit)
//	key/station         token signing keys, owner only
//	key/log             the log's checkpoint key, owner only
//	key/names           the key of the log's pseudonyms, owner only
//	key/log.pub         what an auditor verifies the log with
//	demo.trust          the trust file for the demonstration key
//	clearances/ID/      token.cose and manifest
//	sessions/ID         one locked file for each session under way
type State struct {
	dir     string
	log     *audit.Log
	station *clearance.Keys
	names   []byte
	now     func() time.Time
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
	for _, d := range []string{"", "key", "clearances", "sessions"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	// Two programs that start at once must not both make the keys; whoever comes second waits for the first.
	unlock, err := s.lock("lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.checkVersion(); err != nil {
		return err
	}
	if err := s.loadKeys(ctx); err != nil {
		return err
	}
	return s.repair(ctx)
}

// Close releases the state.
func (s *State) Close() error {
	if s.log == nil {
		return nil
	}
	return s.log.Close()
}

func (s *State) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *State) checkVersion() error {
	text, err := os.ReadFile(s.path("version"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.write("version", []byte(stateVersion+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	switch got := strings.TrimSpace(string(text)); {
	case got == stateVersion:
		return nil
	case len(got) > 0 && strings.Trim(got, "0123456789") == "":
		return fmt.Errorf("%w (state version %s, this program knows %s)", ErrNewer, got, stateVersion)
	default:
		return fmt.Errorf("%w: the file version holds no number", ErrState)
	}
}

// loadKeys reads the keys, and makes those that are not there yet.
func (s *State) loadKeys(ctx context.Context) error {
	name, err := stationName()
	if err != nil {
		return err
	}
	keys, err := s.secret("key/station", func() ([]byte, error) {
		k, err := clearance.GenerateKeys(name, true, s.now())
		if err != nil {
			return nil, err
		}
		return k.Marshal()
	})
	if err != nil {
		return err
	}
	if s.station, err = clearance.ParseKeys(keys); err != nil {
		return fmt.Errorf("%w: key/station: %w", ErrState, err)
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
	private, err := s.secret("key/log", func() ([]byte, error) {
		private, _, err := audit.GenerateKey(s.station.Issuer() + "/log")
		return []byte(private), err
	})
	if err != nil {
		return err
	}
	signer, public, err := audit.ParseKey(string(private))
	if err != nil {
		return fmt.Errorf("%w: key/log: %w", ErrState, err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return fmt.Errorf("%w: key/log: %w", ErrState, err)
	}
	if old, err := os.ReadFile(s.path("key/log.pub")); err != nil || string(old) != public+"\n" {
		if err := s.write("key/log.pub", []byte(public+"\n"), 0o644); err != nil {
			return err
		}
	}
	s.log, err = audit.Open(ctx, s.dir, audit.Options{Origin: signer.Name(), Signer: signer, Verifiers: note.VerifierList(verifier), Now: s.now})
	if err != nil {
		return logError(err)
	}
	return s.refreshTrust()
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
	if _, err := tmp.Write(data); err != nil {
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

// lock takes the exclusive lock of a file in the state and waits for it. The lock dies with the process.
func (s *State) lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(s.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return func() { f.Close() }, nil
}
