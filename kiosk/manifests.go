package kiosk

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/sealed"
)

// A manifest holds no name, but who has the session's id, which stands in log and token, can try names against its leaves. So it
// lies in the state sealed with a key that comes from the session's secret in names.db (package sealed): a disk that is carried
// away without key/months says nothing, and what an erasure closes stays closed in every copy. It is written in the clear only
// where a person wants it (Save), which for who screens at a terminal and names no folder is the state itself (Screening.LayOut):
// that is a demonstration's state, never a station's.

// ErrNoManifest says that a clearance has no manifest any more. Devices do without: they compute the root again.
var ErrNoManifest = errors.New("its manifest was erased with the names of its session, or their key is lost: it cannot be opened any more")

// manifestLabel binds a sealed manifest to its session: that of another does not open in its place.
func manifestLabel(id audit.ID) string { return "manifest " + id.String() }

// writerTo is an io.WriterTo.
type writerTo func(io.Writer) (int64, error)

func (f writerTo) WriteTo(w io.Writer) (int64, error) { return f(w) }

// keepManifest seals a manifest into a clearance's folder, or lays it out there: whole, or not at all. If the names of its session
// were erased meanwhile, none is kept.
func (s *State) keepManifest(ctx context.Context, id audit.ID, dir string, from io.WriterTo, layOut bool) error {
	if layOut {
		if err := writeFrom(filepath.Join(dir, manifestName), from, 0o600); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		return nil
	}
	key, err := s.log.FileKey(ctx, id)
	if errors.Is(err, audit.ErrErased) {
		return nil
	}
	if err != nil {
		return logError(err)
	}
	err = writeFrom(filepath.Join(dir, manifestName), writerTo(func(w io.Writer) (int64, error) {
		to, err := sealed.NewWriter(w, key, manifestLabel(id))
		if err != nil {
			return 0, err
		}
		n, err := from.WriteTo(to)
		if err != nil {
			return n, err
		}
		return n, to.Close()
	}), 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}

// CopyManifest opens the sealed manifest of a clearance and writes it to w. It is ErrNoManifest if none can be opened any more.
// With an error, what was written is to be thrown away: only the end proves that nothing is missing.
func (s *State) CopyManifest(ctx context.Context, c *Clearance, w io.Writer) error {
	if c.ManifestFile == "" {
		return ErrNoManifest
	}
	f, err := os.OpenFile(s.path("clearances", hex.EncodeToString(c.ID[:]), manifestName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) { // erased since the clearance was looked up
		return ErrNoManifest
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	defer f.Close()
	key, err := s.log.FileKey(ctx, c.ID)
	if errors.Is(err, audit.ErrErased) {
		return ErrNoManifest
	}
	if err != nil {
		return logError(err)
	}
	laidOut, err := s.laidOut(f, c)
	if err == nil && laidOut {
		_, err = io.Copy(w, f)
	} else if err == nil {
		var r *sealed.Reader
		if r, err = sealed.NewReader(f, key, manifestLabel(c.ID)); err == nil {
			_, err = io.Copy(w, r)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: the manifest of %s: %w", ErrState, c.Code, err)
	}
	return nil
}

// laidOut reports whether a manifest lies in the clear and may: in a demonstration's state, for a clearance of its own. Devices hold
// it against the token.
func (s *State) laidOut(f io.ReaderAt, c *Clearance) (bool, error) {
	head := make([]byte, len(clearance.ManifestMagic))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	key := s.Key()
	return string(head) == clearance.ManifestMagic && key.Demo && c.Claims.Issuer == key.Issuer, nil
}

// Save writes token and manifest into a folder, which is made if it is not there, and points the clearance at them. A manifest
// that was erased is left out; one that was tampered with is an error, and nothing is saved.
func (s *State) Save(ctx context.Context, c *Clearance, dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("save the clearance: %w", err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return fmt.Errorf("save the clearance: %w", err)
	}
	// The manifest first: a token without its manifest still checks, a manifest without a token is nothing.
	manifest := filepath.Join(abs, manifestName)
	err = writeFrom(manifest, writerTo(func(w io.Writer) (int64, error) { return 0, s.CopyManifest(ctx, c, w) }), 0o644)
	if errors.Is(err, ErrNoManifest) {
		manifest, err = "", nil
	}
	if err != nil {
		return fmt.Errorf("save the clearance: %w", err)
	}
	from, err := os.Open(c.TokenFile)
	if err != nil {
		return fmt.Errorf("save the clearance: %w", err)
	}
	defer from.Close()
	token := filepath.Join(abs, tokenName)
	if err := writeFrom(token, from, 0o644); err != nil {
		return fmt.Errorf("save the clearance: %w", err)
	}
	c.TokenFile, c.ManifestFile = token, manifest
	return nil
}

// sealManifests seals the manifests of a state of version 1, also those of clearances that a restored log did not know. One whose
// key is gone is removed, as an erasure would have done. A crash leaves the version as it was, and the next start goes on.
func (s *State) sealManifests(ctx context.Context) error {
	for _, root := range []string{s.path("clearances"), s.path("lost", "clearances")} {
		folders, err := os.ReadDir(root)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		for _, folder := range folders {
			id, err := hex.DecodeString(folder.Name())
			if err != nil || len(id) != len(audit.ID{}) {
				continue
			}
			if err := s.sealPlain(ctx, audit.ID(id), filepath.Join(root, folder.Name())); err != nil {
				return err
			}
			if err := s.step("manifest sealed"); err != nil {
				return err
			}
		}
	}
	return s.writeVersion()
}

// sealPlain seals the manifest in a folder unless it is.
func (s *State) sealPlain(ctx context.Context, id audit.ID, dir string) error {
	name := filepath.Join(dir, manifestName)
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	defer f.Close()
	head := make([]byte, sealed.MagicSize)
	if n, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", ErrState, err)
	} else if sealed.Is(head[:n]) {
		return nil
	}
	switch _, err := s.log.FileKey(ctx, id); {
	case err == nil:
		return s.keepManifest(ctx, id, dir, f, false)
	case !errors.Is(err, audit.ErrErased):
		return logError(err)
	}
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}
