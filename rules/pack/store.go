package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"pratique/rules"
)

// Store holds the pack in force. Several may be open on one folder, also in several processes: one of them imports at a
// time, and all of them see what is in force.
type Store struct {
	dir  string
	root []byte
}

// record is what a generation knows beside the evidence.
type record struct {
	Meta    Meta      `json:"meta"`
	Seen    time.Time `json:"seen"` // floors
	Firm    time.Time `json:"firm"`
	First   int64     `json:"first_root"`
	Roots   int       `json:"roots"`
	History []Meta    `json:"history"` // what was in force before, newest first
}

const (
	currentName   = "current"
	lockName      = "lock"
	recordName    = "record.json"
	packName      = "pack"
	stagingPrefix = "staging-"
	genPrefix     = "gen-"
	// A record holds maxHistory entries with their notes.
	maxRecord = 64 << 20
)

// Open opens the store in a folder, which it makes, and removes what a crash left there. trustedRoot is the root file that
// the station was enrolled with.
func Open(dir string, trustedRoot []byte) (*Store, error) {
	if len(trustedRoot) == 0 {
		return nil, ErrNoRoot
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store of rule packs: %w", err)
	}
	s := &Store{dir, bytes.Clone(trustedRoot)}
	unlock, err := s.lock()
	if errors.Is(err, ErrBusy) {
		return s, nil // what looks like leftovers is another process at work
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	return s, s.repair()
}

// lock keeps other imports out, in this process and in others.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store of rule packs: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("store of rule packs: %w", err)
	}
	return func() { f.Close() }, nil
}

// repair removes generations that are not in force and what was never finished.
func (s *Store) repair() error {
	gen, err := s.current()
	if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("store of rule packs: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == currentName || name == lockName || name == gen:
			continue
		case gen == "" && strings.HasPrefix(name, genPrefix) && name != genName(1):
			// Only the first generation can be there before current is. Without it nobody knows what was in force, and to
			// start again from nothing would be the step back that this store exists to prevent.
			return fmt.Errorf("%w: %s is missing", ErrDamaged, currentName)
		case strings.HasPrefix(name, stagingPrefix), strings.HasPrefix(name, genPrefix), name == currentName+".new":
			if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
				return fmt.Errorf("store of rule packs: %w", err)
			}
		}
	}
	return nil
}

// current is the name of the generation in force, else ErrNone.
func (s *Store) current() (string, error) {
	text, err := readLimited(filepath.Join(s.dir, currentName), 64)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNone
	}
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if name := strings.TrimSuffix(string(text), "\n"); genNumber(name) > 0 && string(text) == name+"\n" {
		return name, nil
	}
	return "", fmt.Errorf("%w: %s", ErrDamaged, currentName)
}

func genName(n uint64) string { return fmt.Sprintf("%s%016d", genPrefix, n) }

// genNumber is 0 for what is no generation.
func genNumber(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, genPrefix), 10, 63)
	if err != nil || genName(n) != name {
		return 0
	}
	return n
}

// generation is an installed pack, verified.
type generation struct {
	number   uint64
	evidence evidence
	record   record
	verdict  *verdict
}

// load reads the generation in force and verifies what vouches for it, but not the pack.
func (s *Store) load() (*generation, error) {
	name, err := s.current()
	if err != nil {
		return nil, err
	}
	g := &generation{number: genNumber(name)}
	if err := g.read(filepath.Join(s.dir, name)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	// The clock stands still: what was good when it was taken stays in force after its expiry, and how long it may serve is
	// the caller's policy.
	g.verdict, err = verify(g.evidence.source, s.root, nil, floors{}, time.Time{})
	if err != nil && s.newerRoot(&g.evidence) {
		// The station got a newer root file by hand, which may know none of the keys of then.
		g.verdict, err = verify(g.evidence.source, g.evidence.roots[0], nil, floors{}, time.Time{})
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if m := &g.record.Meta; m.SHA256 != fmt.Sprintf("%x", g.verdict.sha256) || m.Version != g.verdict.Version || m.Name != g.verdict.Name {
		return nil, fmt.Errorf("%w: the record is another pack's", ErrDamaged)
	}
	return g, nil
}

// newerRoot reports whether the station's own root file is newer than those that were there when the pack was taken.
func (s *Store) newerRoot(e *evidence) bool {
	own, err := decode[metadata.RootType](metadata.ROOT, s.root)
	return err == nil && own.Signed.Version >= e.firstRoot+int64(len(e.roots))
}

// files are the evidence's files in a generation, but for the roots.
func (e *evidence) files() map[string]*[]byte {
	return map[string]*[]byte{
		"targets.json": &e.targets, "rules.json": &e.rules, "snapshot.json": &e.snapshot, "timestamp.json": &e.timestamp,
	}
}

// read reads a generation.
func (g *generation) read(dir string) error {
	text, err := readLimited(filepath.Join(dir, recordName), maxRecord)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&g.record); err != nil {
		return err
	}
	if g.record.Roots < 1 || g.record.Roots > maxRoots || g.record.First < 1 {
		return errors.New("the record names no root file")
	}
	g.evidence.firstRoot = g.record.First
	for i := range g.record.Roots {
		data, err := readLimited(filepath.Join(dir, rootFile(g.record.First+int64(i))), maxMetadata)
		if err != nil {
			return err
		}
		g.evidence.roots = append(g.evidence.roots, data)
	}
	for name, into := range g.evidence.files() {
		if *into, err = readLimited(filepath.Join(dir, name), maxMetadata); err != nil {
			return err
		}
	}
	return nil
}

// source lets verify read evidence as if it were a repository.
func (e *evidence) source(name string) ([]byte, error) {
	number, rest, numbered := strings.Cut(name, ".")
	if numbered && rest == "root.json" {
		n, err := strconv.ParseInt(number, 10, 64)
		if at := n - e.firstRoot; err == nil && at >= 0 && at < int64(len(e.roots)) {
			return e.roots[at], nil
		}
		return nil, fs.ErrNotExist
	}
	if name != "timestamp.json" {
		name = rest // whose number is in the content
	}
	if data := e.files()[name]; data != nil {
		return *data, nil
	}
	return nil, fs.ErrNotExist
}

// Current returns the pack in force, verified again. Without one the error is ErrNone; ErrDamaged means that the store is
// not what Commit wrote, and nothing must be cleared with it.
func (s *Store) Current() (rules.Pack, Meta, error) {
	a, meta, err := s.Files()
	if err != nil {
		return rules.Pack{}, Meta{}, err
	}
	defer a.Close()
	pack, err := Load(a.Archive)
	if err != nil {
		return rules.Pack{}, Meta{}, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return pack, meta, nil
}

// Files opens the pack in force, verified again, for its samples and clean files. The caller closes it.
func (s *Store) Files() (*File, Meta, error) {
	for {
		g, err := s.load()
		if err == nil {
			var f *File
			if f, err = openPack(context.Background(), filepath.Join(s.dir, genName(g.number), packName), g.verdict.target); err == nil {
				return f, g.record.Meta, nil
			}
			err = fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		// Another process may have put a newer pack in force meanwhile and removed this one.
		now, nowErr := s.current()
		if g == nil || nowErr != nil || now == genName(g.number) {
			return nil, Meta{}, err
		}
	}
}

// Meta returns what is known of the pack in force without reading the pack.
func (s *Store) Meta() (Meta, error) {
	g, err := s.load()
	if err != nil {
		return Meta{}, err
	}
	return g.record.Meta, nil
}

// History returns what was ever in force, newest first.
func (s *Store) History() ([]Meta, error) {
	g, err := s.load()
	if errors.Is(err, ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]Meta{g.record.Meta}, g.record.History...), nil
}

// Floor is the newest signed time that the store has accepted: it is later than that, unless the publisher's key was stolen
// and not yet replaced. Zero without a pack.
func (s *Store) Floor() (time.Time, error) {
	g, err := s.load()
	if errors.Is(err, ErrNone) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return g.record.Seen, nil
}

// File is an opened pack file.
type File struct {
	*Archive
	f *os.File
}

// Close closes the pack file.
func (f *File) Close() error { return f.f.Close() }

// openPack opens a pack file of the store and holds it against what was signed.
func openPack(ctx context.Context, name string, t target) (*File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	a, err := func() (*Archive, error) {
		sum := sha256.New()
		n, err := io.Copy(sum, io.LimitReader(&contextReader{ctx, f}, t.size+1))
		if err != nil {
			return nil, err
		}
		if n != t.size || [32]byte(sum.Sum(nil)) != t.sha256 {
			return nil, refuse(Changed, "the pack is not the one that was signed")
		}
		return openSigned(f, t)
	}()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{a, f}, nil
}

// contextReader ends a long copy.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// openSigned opens an archive and holds its manifest against what the signatures say of it.
func openSigned(r io.ReaderAt, t target) (*Archive, error) {
	a, err := OpenArchive(r, t.size)
	if err != nil {
		return nil, err
	}
	m := a.Manifest
	if want := (custom{MinVersion: m.MinVersion, Name: m.Name, Product: m.Product, Version: m.Version}); t.custom != want {
		return nil, refuse(Malformed, "pack.toml is not for the pack that was signed")
	}
	return a, nil
}

// readLimited reads a file of the store.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(name), limit)
	}
	return data, err
}
