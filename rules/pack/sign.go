package pack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Key is the public half of what a person or a publisher signs with.
type Key struct {
	Name   string // who holds it
	Public ed25519.PublicKey
}

// Signer signs with the private half of a key, wherever that is kept: Ed25519 (RFC 8032), 64 bytes over the message itself.
type Signer interface {
	Sign(message []byte) ([]byte, error)
}

// Check says what is wrong with a key, if something is.
func (k Key) Check() error {
	_, _, err := k.tuf()
	return err
}

// tuf is the key as repositories list it, with its id.
func (k Key) tuf() (*metadata.Key, string, error) {
	if len(k.Public) != ed25519.PublicKeySize || !isKeyName(k.Name) {
		return nil, "", fmt.Errorf("a key has a name of 1 to %d printable characters and %d bytes", maxName, ed25519.PublicKeySize)
	}
	key := &metadata.Key{
		Type: metadata.KeyTypeEd25519, Scheme: metadata.KeySchemeEd25519,
		Value:              metadata.KeyVal{PublicKey: hex.EncodeToString(k.Public)},
		UnrecognizedFields: map[string]any{nameField: k.Name},
	}
	id, err := key.ID()
	return key, id, err
}

// addSignature signs what m says, and checks the signature: a token that is broken, or holds another key, is seen here and
// not at the kiosk. A signature that is there already is made anew.
func addSignature[T metadata.Roles](m *metadata.Metadata[T], key Key, signer Signer) error {
	_, id, err := key.tuf()
	if err != nil {
		return err
	}
	message, err := cjson.EncodeCanonical(m.Signed)
	if err != nil {
		return err
	}
	sig, err := signer.Sign(message)
	if err != nil {
		return fmt.Errorf("sign as %s: %w", key.Name, err)
	}
	if !ed25519.Verify(key.Public, message, sig) {
		return fmt.Errorf("what was signed as %s does not fit the public key", key.Name)
	}
	m.Signatures = slices.DeleteFunc(m.Signatures, func(s metadata.Signature) bool { return s.KeyID == id })
	m.Signatures = append(m.Signatures, metadata.Signature{KeyID: id, Signature: sig})
	return nil
}

// Signed is a pack file and what was signed of it.
type Signed struct {
	Meta Meta
	m    *metadata.Metadata[metadata.TargetsType]
}

// newRules is rules.json of a pack, without signatures.
func newRules(a *Archive, sum [32]byte, size int64, when time.Time) (*metadata.Metadata[metadata.TargetsType], error) {
	about := custom{MinVersion: a.Manifest.MinVersion, Name: a.Manifest.Name, Product: a.Manifest.Product, Version: a.Manifest.Version}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	m := metadata.Targets(a.Manifest.NotAfter.UTC())
	m.Signed.Version = int64(a.Manifest.Version)
	m.Signed.UnrecognizedFields = issuedAt(when)
	m.Signed.Targets[about.path()] = &metadata.TargetFiles{
		Length: size, Hashes: metadata.Hashes{"sha256": sum[:]}, Custom: (*json.RawMessage)(&text),
	}
	return m, nil
}

// ReadSigned reads a pack file, and its signatures if there are any: sigs are the contents of signature files, each with one
// signature or more.
func ReadSigned(ctx context.Context, packFile string, sigs ...[]byte) (*Signed, error) {
	f, err := os.Open(packFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, io.LimitReader(&contextReader{ctx, f}, maxPack+1))
	if err != nil {
		return nil, err
	}
	a, err := OpenArchive(f, size)
	if err != nil {
		return nil, err
	}
	s := &Signed{}
	for i, data := range sigs {
		m, err := decode[metadata.TargetsType](rulesRole, data)
		if err != nil {
			return nil, err
		}
		when, err := issued(m.Signed.UnrecognizedFields)
		if err != nil {
			return nil, refuse(Malformed, "%s: %v", roleNames[rulesRole], err)
		}
		if i == 0 {
			if s.m, err = newRules(a, [32]byte(sum.Sum(nil)), size, when); err != nil {
				return nil, err
			}
		}
		same, err := sameSigned(s.m, m)
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, refuse(Changed, "the signatures are not of this pack, or two persons began to sign it apart: "+
				"one signs first and sends pack and signature file on, so that all sign the same text")
		}
		for _, sig := range m.Signatures {
			if !slices.ContainsFunc(s.m.Signatures, func(o metadata.Signature) bool { return o.KeyID == sig.KeyID }) {
				s.m.Signatures = append(s.m.Signatures, sig)
			}
		}
	}
	if s.m == nil {
		if s.m, err = newRules(a, [32]byte(sum.Sum(nil)), size, time.Time{}); err != nil {
			return nil, err
		}
	}
	s.Meta = newMeta(a, sum.Sum(nil), size)
	return s, nil
}

func sameSigned(x, y *metadata.Metadata[metadata.TargetsType]) (bool, error) {
	a, err := cjson.EncodeCanonical(x.Signed)
	if err != nil {
		return false, err
	}
	b, err := cjson.EncodeCanonical(y.Signed)
	return bytes.Equal(a, b), err
}

// Sign adds one person's signature. now is when the pack was issued, if this is the first one.
func (s *Signed) Sign(key Key, signer Signer, now time.Time) error {
	if len(s.m.Signatures) == 0 {
		s.m.Signed.UnrecognizedFields = issuedAt(now)
	}
	when, err := issued(s.m.Signed.UnrecognizedFields)
	if err != nil {
		return err
	}
	// A first signer whose clock is ahead would push the time of every kiosk.
	if when.After(now.Add(time.Hour)) {
		return fmt.Errorf("the first person signed on %s, which is in the future: one of the two clocks is wrong", when.Format(time.RFC3339))
	}
	if err := checkLife(s.m.Signed.Expires, when); err != nil {
		return err
	}
	if !now.Before(s.m.Signed.Expires) {
		return refuse(Expired, "the pack is good until %s only", day(s.m.Signed.Expires))
	}
	return addSignature(s.m, key, signer)
}

// Encode is the content of the signature file.
func (s *Signed) Encode() ([]byte, error) { return encode(s.m) }

// Signatures is how many persons have signed.
func (s *Signed) Signatures() int { return len(s.m.Signatures) }

// draftDir is where files wait for signatures.
const draftDir = "draft"

// SignDrafts adds a person's signature to the drafts of a repository that the key may sign, and returns the names of the
// files. A new root file is signed by the keys of the old one too.
func SignDrafts(dir string, key Key, signer Signer) ([]string, error) {
	_, id, err := key.tuf()
	if err != nil {
		return nil, err
	}
	r, err := readRepository(dir)
	if err != nil {
		return nil, err
	}
	if r.draftRoot == nil {
		return nil, errors.New("nothing in the repository waits for signatures")
	}
	var done []string
	ids := slices.Clone(r.draftRoot.Signed.Roles[metadata.ROOT].KeyIDs)
	if len(r.roots) > 0 {
		ids = append(ids, r.root().Signed.Roles[metadata.ROOT].KeyIDs...)
	}
	if slices.Contains(ids, id) {
		if err := addSignature(r.draftRoot, key, signer); err != nil {
			return nil, err
		}
		if err := writeMetadata(filepath.Join(dir, draftDir, "root.json"), r.draftRoot); err != nil {
			return nil, err
		}
		done = append(done, "root.json")
	}
	if slices.Contains(r.draftRoot.Signed.Roles[metadata.TARGETS].KeyIDs, id) {
		if err := addSignature(r.draftTargets, key, signer); err != nil {
			return done, err
		}
		if err := writeMetadata(filepath.Join(dir, draftDir, "targets.json"), r.draftTargets); err != nil {
			return done, err
		}
		done = append(done, "targets.json")
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("the key of %s may sign nothing that waits in this repository", key.Name)
	}
	return done, nil
}
