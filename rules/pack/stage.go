package pack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pratique/rules"
)

// Staged is a pack that was verified and is not in force. The caller runs its gates and then calls Commit or Discard, and
// Discard after Commit does nothing, so that it can be deferred. It is for one goroutine.
type Staged struct {
	store  *Store
	dir    string // the staging folder
	number uint64 // of the generation that it will be
	file   *File
	pack   rules.Pack
	record record
	same   bool
	unlock func()
}

// testOnlyStep is called after each step of an import with the step's name; an error stops there, as if the power had gone.
var testOnlyStep = func(string) error { return nil }

// Stage verifies the repository in a folder into a copy of the store's state. A *Refusal says why the repository is not
// taken; every other error is the kiosk's own. Nothing of either changes what is in force. now is the kiosk's clock. Until
// Commit or Discard no other import can begin.
func (s *Store) Stage(ctx context.Context, repository string, now time.Time) (*Staged, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	st := &Staged{store: s, unlock: unlock}
	if err := st.stage(ctx, repository, now); err != nil {
		if errors.Is(err, errPowerGone) {
			unlock()
			return nil, err
		}
		return nil, errors.Join(err, st.Discard())
	}
	return st, nil
}

// errPowerGone is what tests let a step return.
var errPowerGone = errors.New("the power is gone")

func (st *Staged) stage(ctx context.Context, repository string, now time.Time) error {
	s := st.store
	if err := s.repair(); err != nil { // what another process left
		return err
	}
	old, err := s.load()
	if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	repo, err := openFolder(repository)
	if err != nil {
		return err
	}
	defer repo.Close()

	var before *evidence
	var times floors
	st.number = 1
	if old != nil {
		before, times, st.number = &old.evidence, floors{old.record.Seen, old.record.Firm}, old.number+1
	}
	v, err := verify(repo.metadata, s.root, before, times, now)
	if err != nil {
		return err
	}
	if st.same, err = acceptable(v, old); err != nil {
		return err
	}
	if st.dir, err = os.MkdirTemp(s.dir, stagingPrefix); err != nil {
		return fmt.Errorf("store of rule packs: %w", err)
	}
	if err := testOnlyStep("folder made"); err != nil {
		return err
	}
	if err := st.copyPack(ctx, repo, v.target); err != nil {
		return err
	}
	if err := testOnlyStep("pack copied"); err != nil {
		return err
	}
	if st.file, err = openPack(ctx, filepath.Join(st.dir, packName), v.target); err != nil {
		return err
	}
	if !st.file.Manifest.NotAfter.Equal(v.notAfter) {
		return refuse(Malformed, "pack.toml has another not_after than what was signed")
	}
	if st.pack, err = Load(st.file.Archive); err != nil {
		return err
	}
	st.record = newRecord(v, st.file.Archive, old, now)
	return st.writeEvidence(v)
}

// acceptable judges what only the station knows: its program, and the version in force. same says that the pack is the one
// in force, with new dates.
func acceptable(v *verdict, old *generation) (same bool, err error) {
	need, err := parseVersion(v.MinVersion)
	if err != nil {
		return false, refuse(Malformed, "min_version: %v", err)
	}
	have, err := parseVersion(Program)
	if err != nil {
		return false, err
	}
	for i := range need {
		if need[i] != have[i] {
			if need[i] > have[i] {
				return false, refuse(NewerProgram, "the pack needs version %s of the program, and this is %s: update the station first",
					v.MinVersion, Program)
			}
			break
		}
	}
	if old == nil {
		return false, nil
	}
	switch in := old.record.Meta; {
	case v.Version < in.Version:
		return false, refuse(Older, "version %d is older than version %d, which is in force; "+
			"whoever wants it back builds it with a new, higher version", v.Version, in.Version)
	case v.Version > in.Version:
		return false, nil
	case v.sha256 != old.verdict.sha256:
		return false, refuse(TwoVersions, "there are two packs with the version %d", v.Version)
	}
	return true, nil
}

func (st *Staged) copyPack(ctx context.Context, repo *folder, t target) (err error) {
	f, err := os.OpenFile(filepath.Join(st.dir, packName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("store of rule packs: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := repo.copyTarget(ctx, f, t); err != nil {
		return err
	}
	return f.Sync()
}

func newRecord(v *verdict, a *Archive, old *generation, now time.Time) record {
	m := newMeta(a, v.sha256[:], v.size)
	m.Issued, m.Published, m.Expires, m.Installed = v.issued, v.published, v.expires, now.UTC().Truncate(time.Second)
	m.Signers, m.Needed, m.Root = v.signers, v.needed, v.root
	r := record{Meta: m, Seen: v.floors.seen, Firm: v.floors.firm, First: v.firstRoot, Roots: len(v.roots)}
	if old != nil {
		was := old.record.Meta
		was.Samples, was.Clean = nil, nil // of no use without the pack
		r.History = append([]Meta{was}, old.record.History...)
		r.History = r.History[:min(len(r.History), maxHistory)]
		for i := maxNotes; i < len(r.History); i++ {
			r.History[i].Changes = nil
		}
	}
	return r
}

// newMeta is what a pack file says of itself.
func newMeta(a *Archive, sum []byte, size int64) Meta {
	m := a.Manifest
	return Meta{
		Name: m.Name, Version: m.Version, Author: m.Author, MinVersion: m.MinVersion, Severities: m.Severities, Changes: m.Changes,
		NotAfter: m.NotAfter.UTC(), SHA256: fmt.Sprintf("%x", sum), Size: size,
		Samples: a.Names("samples"), Clean: a.Names("clean"),
	}
}

// writeEvidence writes what vouches for the pack. A crash leaves a staging folder, which Open removes.
func (st *Staged) writeEvidence(v *verdict) error {
	for i, root := range v.roots {
		if err := writeSynced(filepath.Join(st.dir, rootFile(v.firstRoot+int64(i))), root); err != nil {
			return err
		}
	}
	for name, data := range v.files() {
		if err := writeSynced(filepath.Join(st.dir, name), *data); err != nil {
			return err
		}
	}
	return testOnlyStep("evidence written")
}

// Pack is the pack's content.
func (st *Staged) Pack() rules.Pack { return st.pack }

// Meta is what is known of the pack.
func (st *Staged) Meta() Meta { return st.record.Meta }

// Same reports whether the pack is the one in force already, and only what vouches for it is newer.
func (st *Staged) Same() bool { return st.same }

// Files is the pack as a file system, for its samples and clean files, until Commit or Discard.
func (st *Staged) Files() *Archive { return st.file.Archive }

// Commit puts the pack in force and ends the import. A crash on the way leaves either the old pack in force or the new one,
// and Open removes the rest. After an error the old pack is in force, unless it is ErrLeftovers.
func (st *Staged) Commit() error {
	if st.unlock == nil {
		return errors.New("rule pack: this import has ended")
	}
	defer st.end()
	s := st.store
	text, err := json.Marshal(st.record)
	if err != nil {
		return err
	}
	gen := genName(st.number)
	steps := []struct {
		name string // what is done then
		do   func() error
	}{
		{"record written", func() error { return writeSynced(filepath.Join(st.dir, recordName), text) }},
		{"staging folder durable", func() error { return syncDir(st.dir) }},
		// A crash from here on leaves a generation that nobody names.
		{"generation renamed", func() error { return os.Rename(st.dir, filepath.Join(s.dir, gen)) }},
		{"rename durable", func() error { return syncDir(s.dir) }},
		{"new current written", func() error { return writeSynced(filepath.Join(s.dir, currentName+".new"), []byte(gen+"\n")) }},
		// This is the one step: before it the old pack is in force, after it the new one.
		{"current replaced", func() error {
			return os.Rename(filepath.Join(s.dir, currentName+".new"), filepath.Join(s.dir, currentName))
		}},
	}
	for i, step := range steps {
		if err := step.do(); err != nil {
			if i > 2 { // the folder has its new name
				st.dir = filepath.Join(s.dir, gen)
			}
			return errors.Join(fmt.Errorf("store of rule packs: %w", err), os.RemoveAll(st.dir))
		}
		if err := testOnlyStep(step.name); err != nil {
			return err
		}
	}
	st.dir = "" // it is the store's now
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("%w: %w", ErrLeftovers, err)
	}
	if err := testOnlyStep("current durable"); err != nil {
		return err
	}
	if err := s.repair(); err != nil { // takes the old generation away
		return fmt.Errorf("%w: %w", ErrLeftovers, err)
	}
	return testOnlyStep("old generation removed")
}

// ErrLeftovers says that the new pack is in force, but what it replaced could not be tidied up.
var ErrLeftovers = errors.New("the new rule pack is in force, but the store could not be tidied up")

// Discard ends the import without a trace.
func (st *Staged) Discard() error {
	if st.unlock == nil {
		return nil
	}
	defer st.end()
	if st.dir == "" {
		return nil
	}
	return os.RemoveAll(st.dir)
}

func (st *Staged) end() {
	if st.file != nil {
		st.file.Close()
	}
	st.unlock()
	st.unlock = nil
}

// writeSynced writes a new file and makes its content durable.
func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// syncDir makes the names in a folder durable.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
