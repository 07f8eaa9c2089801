package pack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// StickFolder is the folder on a stick in which kiosks look for a repository.
const StickFolder = "PRATIQUE-PACK"

// Carry copies what a kiosk needs of a repository to a stick or another folder, into StickFolder. It copies nothing that a
// kiosk would refuse. What was in that folder before is replaced in one step.
func Carry(ctx context.Context, dir, dest string, now time.Time) (err error) {
	f, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	first, err := firstRoot(f.metadata)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	read := func(name string) ([]byte, error) {
		data, err := f.metadata(name)
		if err == nil {
			files[name] = data
		}
		return data, err
	}
	v, err := verify(read, first, nil, floors{}, now)
	if err != nil {
		return err
	}
	to := filepath.Join(dest, StickFolder)
	work := to + ".new"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	packFile := filepath.Join(work, "targets", filepath.FromSlash(v.target.stored()))
	for _, sub := range []string{filepath.Join(work, "metadata"), filepath.Dir(packFile)} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := writeSynced(filepath.Join(work, "metadata", name), data); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(packFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(f.copyTarget(ctx, out, v.target), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(work, to); err != nil {
		return err
	}
	return syncDir(dest)
}

// firstRoot is the root file that a repository starts with. It is trusted by nobody until a person compares it.
func firstRoot(read source) ([]byte, error) {
	data, err := read(rootFile(1))
	if err != nil {
		return nil, refuse(NoRepository, "%s is missing (metadata/%s)", roleNames[metadata.ROOT], rootFile(1))
	}
	root, err := decode[metadata.RootType](metadata.ROOT, data)
	if err != nil {
		return nil, err
	}
	role := root.Signed.Roles[metadata.ROOT]
	_, err = signedBy(metadata.ROOT, root, root.Signed.Keys, role.KeyIDs, role.Threshold)
	return data, err
}

// FirstRoot returns the root file that a repository starts with, and its digest for a person to compare: who enrols a kiosk
// with it trusts everything that it vouches for.
func FirstRoot(dir string) (data []byte, digest string, err error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if data, err = firstRoot(f.metadata); err != nil {
		return nil, "", err
	}
	return data, fingerprint(data), nil
}

// Inspect says in words what a kiosk would do with a repository, and why. store is that kiosk's, or nil for a kiosk that
// has nothing installed and trusts the repository's own first root file. An error means that nobody could find out.
func Inspect(ctx context.Context, repository string, store *Store, now time.Time) (words []string, accepted bool, err error) {
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	refused := func(err error) ([]string, bool, error) {
		var r *Refusal
		if !errors.As(err, &r) {
			return words, false, err
		}
		say("A kiosk would refuse it (%s): %s.", r.Reason, r.Text)
		say("What is in force on the kiosk would stay in force.")
		return words, false, nil
	}
	if store == nil {
		root, digest, err := FirstRoot(repository)
		if err != nil {
			return refused(err)
		}
		say("This is for a kiosk that was enrolled with this repository's own first root file. Compare its sum with what you know: %s.",
			digest)
		dir, err := os.MkdirTemp("", "pratique-inspect-")
		if err != nil {
			return nil, false, err
		}
		defer os.RemoveAll(dir)
		if store, err = Open(dir, root); err != nil {
			return nil, false, err
		}
	}
	st, err := store.Stage(ctx, repository, now)
	if err != nil {
		return refused(err)
	}
	defer st.Discard()
	m := st.Meta()
	words = append(words, m.words()...)
	say("Signed on %s by %s; it takes %d.", when(m.Issued), list(m.Signers), m.Needed)
	say("Published on %s. A kiosk takes it until %s.", when(m.Published), when(m.Expires))
	switch in, err := store.Meta(); {
	case st.Same():
		say("A kiosk would take the new dates: the pack itself is in force already, since %s.", when(in.Installed))
	case errors.Is(err, ErrNone):
		say("A kiosk would install it once its own gates agree: it has no other pack, and every signature that it takes is there.")
	case err != nil:
		return words, false, err
	default:
		say("A kiosk would install it once its own gates agree, in place of version %d: it is newer, "+
			"and every signature that it takes is there.", in.Version)
	}
	return words, true, nil
}

// words says what a pack is.
func (m Meta) words() []string {
	w := []string{
		fmt.Sprintf("Rule pack %s version %d by %s, %d bytes, SHA-256 %s.", m.Name, m.Version, m.Author, m.Size, m.SHA256),
		fmt.Sprintf("It needs version %s of the program or newer, and is good until %s.", m.MinVersion, when(m.NotAfter)),
	}
	for _, c := range m.Changes {
		w = append(w, "New: "+c)
	}
	return w
}

// InspectFile says in words what a pack file is, and who signed it.
func InspectFile(s *Signed) []string {
	w := s.Meta.words()
	if s.Signatures() == 0 {
		return append(w, "Nobody has signed it.")
	}
	return append(w, fmt.Sprintf("%d signed it. Who that is, and whether it counts, shows against a repository.", s.Signatures()))
}
