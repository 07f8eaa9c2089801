package pack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Publication is what Publish needs.
type Publication struct {
	Pack    string  // pack file; "" publishes what is published already, with new dates
	Signed  *Signed // of Pack
	Key     Key     // the publisher's
	Signer  Signer
	Now     time.Time
	GoodFor time.Duration // at most MaxPublishedLife
}

// Publish puts a signed pack into a repository and says that it is the newest. A draft of who may sign comes into force with
// it once enough persons have signed the draft; until then it waits, and waiting tells why. Before the first byte is written, the
// outcome is verified as a kiosk would that trusts the repository's first root file. The timestamp is written last, so that
// a publication that breaks off leaves the one before in force.
func Publish(ctx context.Context, dir string, p Publication) (waiting, err error) {
	if p.GoodFor <= 0 || p.GoodFor > MaxPublishedLife {
		return nil, fmt.Errorf("a publication is good for 1 to %d days", int(MaxPublishedLife.Hours()/24))
	}
	r, err := readRepository(dir)
	if err != nil {
		return nil, err
	}
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if r.draftRoot != nil {
		if waiting = r.draftReady(); waiting != nil {
			r.draftRoot, r.draftTargets = nil, nil
		}
	}
	if len(r.roots) == 0 {
		switch {
		case waiting != nil:
			return nil, waiting
		case r.draftRoot == nil:
			return nil, refuse(NoRepository, "there is no repository, and no draft of one")
		case p.Signed == nil:
			return nil, errors.New("a first publication needs a pack")
		}
	}
	plan := plan{meta: map[string]*metadata.MetaFiles{}, issued: p.Now}
	if r.snapshot != nil {
		maps.Copy(plan.meta, r.snapshot.Signed.Meta)
	}
	if err := errors.Join(plan.addPack(p.Signed), plan.addDraft(r)); err != nil {
		return nil, err
	}
	if err := plan.vouch(r, p); err != nil {
		return nil, err
	}
	v, err := rehearse(f, plan.files, p.Now)
	if err != nil {
		return nil, err
	}
	return waiting, write(ctx, dir, v, plan.files, p, r.draftRoot != nil)
}

// plan is what a publication is going to write.
type plan struct {
	files  []newFile                      // in the order in which they are written
	meta   map[string]*metadata.MetaFiles // of the snapshot
	issued time.Time
}

type newFile struct {
	name string
	data []byte
}

// addPack plans the signatures of a pack, if there is one.
func (p *plan) addPack(s *Signed) error {
	if s == nil {
		return nil
	}
	version := int64(s.Meta.Version)
	if is := p.meta["rules.json"]; is != nil && version < is.Version {
		return refuse(Older, "version %d is older than the published version %d; build it with a new, higher version", version, is.Version)
	}
	data, err := s.Encode()
	if err != nil {
		return err
	}
	when, err := issued(s.m.Signed.UnrecognizedFields)
	if err != nil {
		return refuse(NotSigned, "nobody has signed the pack")
	}
	p.issued = later(p.issued, when) // a signer's clock may be a little ahead
	p.meta["rules.json"] = metaFile(data, version)
	p.files = append(p.files, newFile{fmt.Sprintf("metadata/%d.rules.json", version), data})
	return nil
}

// addDraft plans what was drafted and signed.
func (p *plan) addDraft(r *repository) error {
	if r.draftRoot == nil {
		return nil
	}
	targets, err := encode(r.draftTargets)
	if err != nil {
		return err
	}
	root, err := encode(r.draftRoot)
	if err != nil {
		return err
	}
	version := r.draftTargets.Signed.Version
	p.meta["targets.json"] = metaFile(targets, version)
	p.files = append(p.files, newFile{fmt.Sprintf("metadata/%d.targets.json", version), targets},
		newFile{"metadata/" + rootFile(r.draftRoot.Signed.Version), root})
	return nil
}

// vouch plans the publisher's own two files.
func (p *plan) vouch(r *repository, by Publication) error {
	expires := by.Now.Add(by.GoodFor).UTC().Truncate(time.Second)
	snapshot, timestamp := metadata.Snapshot(expires), metadata.Timestamp(expires)
	if r.timestamp != nil {
		snapshot.Signed.Version, timestamp.Signed.Version = r.snapshot.Signed.Version+1, r.timestamp.Signed.Version+1
	}
	snapshot.Signed.Meta = p.meta
	if err := addSignature(snapshot, by.Key, by.Signer); err != nil {
		return err
	}
	data, err := encode(snapshot)
	if err != nil {
		return err
	}
	p.files = append(p.files, newFile{fmt.Sprintf("metadata/%d.snapshot.json", snapshot.Signed.Version), data})
	timestamp.Signed.Meta = map[string]*metadata.MetaFiles{"snapshot.json": metaFile(data, snapshot.Signed.Version)}
	timestamp.Signed.UnrecognizedFields = issuedAt(p.issued)
	if err := addSignature(timestamp, by.Key, by.Signer); err != nil {
		return err
	}
	if data, err = encode(timestamp); err != nil {
		return err
	}
	p.files = append(p.files, newFile{"metadata/timestamp.json", data})
	return nil
}

// draftReady says whose signatures a draft still waits for.
func (r *repository) draftReady() error {
	is := r.draftRoot.Signed.Roles[metadata.ROOT]
	if err := enough(metadata.ROOT, r.draftRoot, is.KeyIDs, is.Threshold); err != nil {
		return err
	}
	if len(r.roots) > 0 {
		was := r.root().Signed.Roles[metadata.ROOT]
		if err := enough(metadata.ROOT, r.draftRoot, was.KeyIDs, was.Threshold); err != nil {
			return err
		}
	}
	role := r.draftRoot.Signed.Roles[metadata.TARGETS]
	return enough(metadata.TARGETS, r.draftTargets, role.KeyIDs, role.Threshold)
}

// rehearse verifies what the repository will be, as a kiosk sees it that trusts the first root file.
func rehearse(f *folder, files []newFile, now time.Time) (*verdict, error) {
	read := func(name string) ([]byte, error) {
		for _, n := range files {
			if n.name == "metadata/"+name {
				return n.data, nil
			}
		}
		return f.metadata(name)
	}
	first, err := firstRoot(read)
	if err != nil {
		return nil, err
	}
	return verify(read, first, nil, floors{}, now)
}

// write puts the files in place: the pack first, the timestamp last.
func write(ctx context.Context, dir string, v *verdict, files []newFile, p Publication, drafted bool) error {
	for _, sub := range []string{"metadata", "targets/rules"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(sub)), 0o755); err != nil {
			return err
		}
	}
	if p.Signed != nil {
		in, err := os.Open(p.Pack)
		if err != nil {
			return err
		}
		defer in.Close()
		if err := replace(filepath.Join(dir, "targets", filepath.FromSlash(v.target.stored())), &contextReader{ctx, in}, v.target); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := replaceBytes(filepath.Join(dir, filepath.FromSlash(f.name)), f.data); err != nil {
			return err
		}
	}
	if drafted {
		return os.RemoveAll(filepath.Join(dir, draftDir)) // what was there is in force
	}
	return nil
}
