package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Team is who may sign what in a repository.
type Team struct {
	Root       []Key // who may change this list
	RootNeeds  int   // how many of them it takes, at least two
	Rules      []Key // who may sign packs
	RulesNeeds int
	Publisher  []Key // who may say what is newest; one is enough, and alone can name no pack
}

// Lives of what is signed. A kiosk takes nothing that has run out.
const (
	rootLife = 365 * 24 * time.Hour
	// MaxPublishedLife bounds how long a publication may be good for, and kiosks hold publishers to it. Whoever keeps newer
	// sticks back from a kiosk can do so for that long before it knows.
	MaxPublishedLife = 90 * 24 * time.Hour
)

// repository is what a repository's folder holds, as its own makers read it.
type repository struct {
	dir          string
	roots        []*metadata.Metadata[metadata.RootType]
	draftRoot    *metadata.Metadata[metadata.RootType]
	draftTargets *metadata.Metadata[metadata.TargetsType]
	timestamp    *metadata.Metadata[metadata.TimestampType] // nil before the first publication
	snapshot     *metadata.Metadata[metadata.SnapshotType]
}

func (r *repository) root() *metadata.Metadata[metadata.RootType] { return r.roots[len(r.roots)-1] }

// readRepository reads a repository that may have nothing published yet, or nothing at all.
func readRepository(dir string) (*repository, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &repository{dir: dir}
	for n := int64(1); n <= maxRoots; n++ {
		root, err := readMetadata[metadata.RootType](f, "metadata/"+rootFile(n), metadata.ROOT)
		if err != nil {
			return nil, err
		}
		if root == nil {
			break
		}
		r.roots = append(r.roots, root)
	}
	if r.draftRoot, err = readMetadata[metadata.RootType](f, draftDir+"/root.json", metadata.ROOT); err != nil {
		return nil, err
	}
	if r.draftTargets, err = readMetadata[metadata.TargetsType](f, draftDir+"/targets.json", metadata.TARGETS); err != nil {
		return nil, err
	}
	if (r.draftRoot == nil) != (r.draftTargets == nil) {
		return nil, fmt.Errorf("the folder %s holds one file of two: make the draft again", draftDir)
	}
	r.timestamp, err = readMetadata[metadata.TimestampType](f, "metadata/timestamp.json", metadata.TIMESTAMP)
	if err != nil || r.timestamp == nil {
		return r, err
	}
	name := fmt.Sprintf("metadata/%d.snapshot.json", r.timestamp.Signed.Meta["snapshot.json"].Version)
	if r.snapshot, err = readMetadata[metadata.SnapshotType](f, name, metadata.SNAPSHOT); err == nil && r.snapshot == nil {
		err = refuse(NoRepository, "%s is missing (%s)", roleNames[metadata.SNAPSHOT], name)
	}
	return r, err
}

// readMetadata is nil for a file that is not there.
func readMetadata[T metadata.Roles](f *folder, name, role string) (*metadata.Metadata[T], error) {
	data, err := f.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode[T](role, data)
}

// Draft writes who may sign what, for the first time or anew, into the repository's draft folder. It is in force once it
// was signed (SignDrafts) and published.
func Draft(dir string, team Team, now time.Time) error {
	if err := os.MkdirAll(filepath.Join(dir, draftDir), 0o755); err != nil {
		return err
	}
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	expires := now.Add(rootLife).UTC().Truncate(time.Second)
	root, targets := metadata.Root(expires), metadata.Targets(expires)
	if len(r.roots) > 0 {
		root.Signed.Version = r.root().Signed.Version + 1
		targets.Signed.Version = root.Signed.Version
	}
	role := func(name string, keys []Key, needs int) error {
		ids, err := addKeys(root.Signed.Keys, keys)
		root.Signed.Roles[name] = &metadata.Role{KeyIDs: ids, Threshold: needs}
		return err
	}
	delegated := &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	ids, err := addKeys(delegated.Keys, team.Rules)
	if err != nil {
		return err
	}
	delegated.Roles = []metadata.DelegatedRole{{
		Name: rulesRole, KeyIDs: ids, Threshold: team.RulesNeeds, Terminating: true, Paths: []string{rulesRole + "/*"},
	}}
	targets.Signed.Delegations = delegated
	err = errors.Join(role(metadata.ROOT, team.Root, team.RootNeeds), role(metadata.TARGETS, team.Root, team.RootNeeds),
		role(metadata.SNAPSHOT, team.Publisher, 1), role(metadata.TIMESTAMP, team.Publisher, 1))
	if err != nil {
		return err
	}
	if err := checkRoot(&root.Signed); err != nil {
		return err
	}
	if _, err := delegation(targets); err != nil {
		return err
	}
	if err := writeMetadata(filepath.Join(dir, draftDir, "root.json"), root); err != nil {
		return err
	}
	return writeMetadata(filepath.Join(dir, draftDir, "targets.json"), targets)
}

func addKeys(to map[string]*metadata.Key, keys []Key) (ids []string, err error) {
	for _, k := range keys {
		key, id, err := k.tuf()
		if err != nil {
			return nil, err
		}
		to[id] = key
		ids = append(ids, id)
	}
	return ids, nil
}

func metaFile(data []byte, version int64) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{Version: version, Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

func writeMetadata[T metadata.Roles](name string, m *metadata.Metadata[T]) error {
	data, err := encode(m)
	if err != nil {
		return err
	}
	return replaceBytes(name, data)
}

// replaceBytes writes a file in one step.
func replaceBytes(name string, data []byte) error {
	if err := writeSynced(name+".new", data); err != nil {
		return err
	}
	if err := os.Chmod(name+".new", 0o644); err != nil { // others carry it to the kiosks
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// replace copies a pack into place in one step, if it is the one that was signed.
func replace(name string, r io.Reader, t target) (err error) {
	out, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreClosed(out.Close())) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(r, t.size+1))
	if err != nil {
		return err
	}
	if n != t.size || [32]byte(sum.Sum(nil)) != t.sha256 {
		return refuse(Changed, "the pack is not the one that was signed")
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
