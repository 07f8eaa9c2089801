package kiosk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// checkpointName is the file of a backup with the signed head of its log, for who keeps nothing else of it.
const checkpointName = "checkpoint"

// Backup copies the log and the encrypted names into a new folder, laid out as a state, while the station works. It holds no
// key but the log's public one: a stolen backup discloses nothing, and what is erased on the station cannot be read in any
// backup either. So a station that loses its keys loses its names with them.
//
// The folder appears when it is whole: a crash leaves one beside it whose name begins with a dot.
func (s *State) Backup(ctx context.Context, dir, person string) (audit.Head, error) {
	fail := func(err error) (audit.Head, error) { return audit.Head{}, fmt.Errorf("%w: %w", ErrOut, err) }
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fail(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("%s is there already", dir))
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-backup-*")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(tmp) // in vain once it is renamed
	log := filepath.Join(tmp, audit.FileName)
	// Names last: those of an entry are written before it, so none that the copy of the log commits to is missing.
	if err := s.log.Copy(ctx, log); err != nil {
		return audit.Head{}, logError(err)
	}
	if err := s.step("log copied"); err != nil {
		return audit.Head{}, err
	}
	if err := s.log.CopyNames(ctx, filepath.Join(tmp, audit.NamesFile)); err != nil {
		return audit.Head{}, logError(err)
	}
	public, err := s.LogKey()
	if err != nil {
		return audit.Head{}, err
	}
	if err := os.Mkdir(filepath.Join(tmp, "key"), 0o700); err != nil {
		return fail(err)
	}
	if err := writeFile(filepath.Join(tmp, "key", "log.pub"), []byte(public+"\n"), 0o644); err != nil {
		return fail(err)
	}
	head, signed, err := headOf(ctx, log, public)
	if err != nil {
		return audit.Head{}, err
	}
	for _, suffix := range []string{"-wal", "-shm"} { // SQLite's, of the reader just now; the copy is whole without them
		os.Remove(log + suffix)
	}
	if err := writeFile(filepath.Join(tmp, checkpointName), []byte(signed), 0o644); err != nil {
		return fail(err)
	}
	digest, err := fileDigest(log)
	if err != nil {
		return fail(err)
	}
	if err := s.step("backup made"); err != nil {
		return audit.Head{}, err
	}
	ev := audit.Event{Data: audit.Exported{Format: "backup", To: head.Size, SHA256: digest}}
	if _, err := s.log.AppendNamed(ctx, ev, audit.Named{Person: person}); err != nil {
		return audit.Head{}, logError(err)
	}
	if err := s.step("backup entered"); err != nil {
		return audit.Head{}, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fail(err)
	}
	return head, syncDir(filepath.Dir(dir))
}

// headOf reads the head of a copy.
func headOf(ctx context.Context, log, public string) (head audit.Head, signed string, err error) {
	verifiers, err := LogVerifiers([]string{public})
	if err != nil {
		return head, "", err
	}
	keys := noteList(verifiers)
	r, err := audit.OpenReader(ctx, log, verifiers[0].Name(), keys)
	if err != nil {
		return head, "", logError(err)
	}
	defer r.Close()
	if signed, err = r.Checkpoint(ctx); err == nil {
		head, err = audit.ParseCheckpoint(signed, verifiers[0].Name(), keys)
	}
	if err != nil {
		return head, "", logError(err)
	}
	return head, signed, nil
}

func fileDigest(name string) (sum audit.Digest, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return audit.Digest(h.Sum(nil)), nil
}

// Restored is what became of a log that was put back.
type Restored struct {
	Head     audit.Head // of the backup; zero for a log that begins anew
	Aside    string     // the folder with what was there before
	Recalled []string   // codes of clearances whose entries are lost
}

// RestoreLog puts a backup in the place of a log that is lost or damaged; from is its folder, empty to begin a new log. It is for
// a station that cannot start, so nothing may run on the state. What was there before is set aside, for an auditor. The new log
// says that it was put back; clearances whose entries it does not have are recalled in it, since nothing vouches for them any
// more, and set aside too. A log that is sound is not replaced by a backup with fewer entries.
//
// What a crash leaves after each step:
//
//	the new log is made   a temporary folder
//	the old one is aside  a state without a log, which does not start; the same call again
//	the names are there   the same
//	the log is there      a restored state; its next start sets the recalled clearances aside
func RestoreLog(ctx context.Context, dir, from, person string) (*Restored, error) {
	res, err := restoreLog(ctx, dir, from, person, nil)
	if err != nil {
		return nil, err
	}
	s, err := OpenState(ctx, dir)
	if err != nil {
		return nil, err
	}
	return res, errors.Join(s.publishTrust(ctx, len(res.Recalled) > 0), s.Close())
}

// restoreLog is RestoreLog up to the next start.
func restoreLog(ctx context.Context, dir, from, person string, fault func(string) error) (*Restored, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	s := &State{dir: abs, now: time.Now, fault: fault}
	if _, err := os.Lstat(s.path("key", "log")); err != nil {
		return nil, fmt.Errorf("%w: without key/log no log of this station can go on: %w", ErrState, err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := s.checkVersion(); err != nil {
		return nil, err
	}
	if err := s.noneAlive(); err != nil {
		return nil, err
	}
	if err := s.loadKeys(); err != nil {
		return nil, err
	}
	opts, public, err := s.logOptions()
	if err != nil {
		return nil, err
	}
	res := &Restored{}
	if from != "" {
		if res.Head, err = s.checkBackup(ctx, from, public); err != nil {
			return nil, err
		}
	}
	if err := s.mayReplace(ctx, res.Head, public, from == ""); err != nil {
		return nil, err
	}
	if old, err := filepath.Glob(s.path(newLogPrefix + "*")); err == nil { // of a call that a crash cut off
		for _, name := range old {
			os.RemoveAll(name)
		}
	}
	tmp, err := os.MkdirTemp(s.dir, newLogPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer os.RemoveAll(tmp)
	if err := s.newLog(ctx, tmp, from, opts, person, res); err != nil {
		return nil, err
	}
	if err := s.step("new log"); err != nil {
		return nil, err
	}
	if err := s.exchange(tmp, from, res); err != nil {
		return nil, err
	}
	return res, s.write("key/log.pub", []byte(public+"\n"), 0o644)
}

// newLogPrefix begins the name of the folder in which a new log is made.
const newLogPrefix = ".new-log-"

// noneAlive refuses while a session runs on the state.
func (s *State) noneAlive() error {
	entries, err := os.ReadDir(s.path("sessions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	dead, err := s.dead()
	if err == nil && len(dead) < len(entries) {
		err = fmt.Errorf("%w: a session is under way on it", ErrState)
	}
	return err
}

// checkBackup verifies a backup as an auditor would, with this station's key.
func (s *State) checkBackup(ctx context.Context, from, public string) (audit.Head, error) {
	log := filepath.Join(from, audit.FileName)
	res, err := Verify(ctx, Evidence{Log: log, Keys: []string{public}})
	if err != nil {
		return audit.Head{}, err
	}
	if !res.Sound {
		return audit.Head{}, fmt.Errorf("%w: the backup: %w", ErrBrokenLog, res.Bad)
	}
	head, _, err := headOf(ctx, log, public)
	return head, err
}

// mayReplace refuses to replace a log that works by one that knows less.
func (s *State) mayReplace(ctx context.Context, by audit.Head, public string, anew bool) error {
	res, err := Verify(ctx, Evidence{Log: s.path(audit.FileName), Keys: []string{public}})
	if err != nil || !res.Sound {
		return nil // lost or damaged: that is what this is for
	}
	if anew || res.Entries >= by.Size {
		return fmt.Errorf("%w: the log in it is sound and has %d entries: there is nothing to restore", ErrState, res.Entries)
	}
	return nil
}

// newLog makes the log that is to be in force, with the entry that says so, in a folder of its own.
func (s *State) newLog(ctx context.Context, tmp, from string, opts audit.Options, person string, res *Restored) error {
	what := audit.Administered{What: "log-begun-anew"}
	if from != "" {
		what = audit.Administered{What: "log-restored", Number: uint64(res.Head.Size), Digest: audit.Digest(res.Head.Root)}
		f, err := os.Open(filepath.Join(from, audit.FileName))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		err = writeFrom(filepath.Join(tmp, audit.FileName), f, 0o600)
		f.Close()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	opts.MonthKeys = "" // the side table stays where it is
	log, err := audit.Open(ctx, tmp, opts)
	if err != nil {
		return logError(err)
	}
	defer log.Close()
	s.log = log
	defer func() { s.log = nil }()
	if err := s.administered(ctx, what, person); err != nil {
		return err
	}
	if err := s.recallLost(ctx, log, res); err != nil {
		return err
	}
	if err := log.Close(); err != nil { // the last connection puts everything into the database itself
		return logError(err)
	}
	if _, err := os.Lstat(filepath.Join(tmp, audit.FileName+"-wal")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the new log is still in use", ErrState)
	}
	return nil
}

// causeLost is why a clearance is recalled whose entry is not in the log any more.
const causeLost = "log-lost"

// recallLost takes back the clearances that the new log does not know.
func (s *State) recallLost(ctx context.Context, log *audit.Log, res *Restored) error {
	list, err := s.Issued(time.Time{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range list {
		known, err := log.Show(ctx, c.ID)
		if err != nil {
			return logError(err)
		}
		if hasIssued(known, c) {
			continue
		}
		ev := audit.Recalled{Clearance: c.ID, Expires: c.Expires.Unix(), Cause: causeLost}
		for _, class := range c.Claims.Audience {
			ev.Classes = append(ev.Classes, audit.Word(class))
		}
		if _, err := log.Append(ctx, audit.Event{Data: ev}); err != nil {
			return logError(err)
		}
		res.Recalled = append(res.Recalled, c.Code)
	}
	return nil
}

// hasIssued reports whether a session's entries are those of a clearance.
func hasIssued(entries []audit.Entry, c *Clearance) bool {
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return false
	}
	leaf, index, err := clearance.LeafOfToken(token)
	for _, e := range entries {
		if err == nil && e.Kind == audit.KindIssuing && e.Index == int64(index) && string(e.Leaf) == string(leaf) {
			return true
		}
	}
	return false
}

// exchange sets aside what is there and puts the new log in its place, with the backup's names if the station has none.
func (s *State) exchange(tmp, from string, res *Restored) error {
	fail := func(err error) error { return fmt.Errorf("%w: %w", ErrState, err) }
	res.Aside = s.path("lost", s.now().UTC().Format("20060102T150405.000Z"))
	if err := os.MkdirAll(res.Aside, 0o700); err != nil {
		return fail(err)
	}
	// The database first: without its newest pages it would be an older log that looks sound, and without it nothing starts.
	for _, name := range []string{audit.FileName, audit.FileName + "-wal", audit.FileName + "-shm"} {
		if err := os.Rename(s.path(name), filepath.Join(res.Aside, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail(err)
		}
	}
	if err := errors.Join(syncDir(res.Aside), syncDir(s.dir)); err != nil {
		return fail(err)
	}
	if err := s.step("aside"); err != nil {
		return err
	}
	if _, err := os.Lstat(s.path(audit.NamesFile)); from != "" && errors.Is(err, fs.ErrNotExist) {
		f, err := os.Open(filepath.Join(from, audit.NamesFile))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fail(err)
		default:
			err = writeFrom(s.path(audit.NamesFile), f, 0o600)
			f.Close()
			if err != nil {
				return fail(err)
			}
		}
	}
	if err := s.step("names"); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tmp, audit.FileName), s.path(audit.FileName)); err != nil {
		return fail(err)
	}
	if err := syncDir(s.dir); err != nil {
		return fail(err)
	}
	return s.step("restored")
}

// setAsideLost moves away the clearances that a restored log has recalled because it does not know them: their tokens name
// entries that it does not have, and would make it look cut for ever.
func (s *State) setAsideLost(ctx context.Context) error {
	if _, err := os.Lstat(s.path("lost")); errors.Is(err, fs.ErrNotExist) { // no log was ever restored here
		return nil
	}
	list, err := s.Recalled(ctx)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Cause != causeLost {
			continue
		}
		if err := os.MkdirAll(s.path("lost", "clearances"), 0o700); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		err := os.Rename(s.path("clearances", r.ID.String()), s.path("lost", "clearances", r.ID.String()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	return nil
}
