package clearance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"filippo.io/mldsa"
	"github.com/veraison/go-cose"
)

// Limits on what a trust file holds.
const (
	MaxStations = 1_000  // a large group of hospitals
	MaxRevoked  = 65_536 // clearances live for three days at most, so the list never grows old
	MaxRoots    = 16     // people who hold a root key
	maxPacks    = 64     // rule packs with a least version
	maxNoteKeys = 64     // keys of logs, and of witnesses
	maxNoteKey  = 4 << 10
)

// Trust is what a verifier believes: which stations may clear, and what has been taken back.
type Trust struct {
	Version    uint64    // grows with every issue of the file
	Issued     time.Time // whole seconds; time is never earlier than this for who reads the file
	Demo       bool      // the stations are demonstrations, and the root key was thrown away
	QRWithout  bool      // the QR form, without its post-quantum signature, is enough
	Stations   []StationKey
	Revoked    [][16]byte        // ids of clearances
	MinRules   map[string]uint64 // least version of each rule pack that is still good enough
	LogKeys    []string          // keys of the stations' logs, as note verifier keys
	Witnesses  []string          // keys of who countersigns the logs' checkpoints
	Roots      []*ecdsa.PublicKey
	Threshold  int        // how many roots must sign
	Roster     RosterRule // who signs the roster of the site's people
	signatures []rootSignature
	payload    []byte
}

// StationKey is one station's pair of keys.
type StationKey struct {
	Issuer    string
	NotBefore time.Time // whole seconds: the key signs tokens that were issued from here …
	NotAfter  time.Time // … to here
	Sign      *ecdsa.PublicKey
	PQ        *mldsa.PublicKey
	// RevokedFromLog, if not nil, takes back every token from this place in the station's log on. 0 takes back all.
	RevokedFromLog *uint64
}

// KeyID is what a token names the key by.
func (k StationKey) KeyID() [8]byte { return keyID(k.Sign) }

// station finds the key that a token names.
func (t *Trust) station(kid [8]byte) (StationKey, bool) {
	for _, k := range t.Stations {
		if k.KeyID() == kid {
			return k, true
		}
	}
	return StationKey{}, false
}

// GenerateRoot makes a root key.
func GenerateRoot() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// DemoTrust returns a trust file for one demonstration station, which takes back the clearances revoked. Its root key exists
// only inside this call, so there can be no second file by the same root.
func DemoTrust(k *Keys, version uint64, now time.Time, revoked ...[16]byte) ([]byte, error) {
	if !k.demo {
		return nil, errors.New("clearance: a demonstration trust file lists demonstration keys only")
	}
	root, err := GenerateRoot()
	if err != nil {
		return nil, err
	}
	t := &Trust{
		Version: version, Issued: now.UTC().Truncate(time.Second), Demo: true, QRWithout: true,
		Stations: []StationKey{k.Public()}, Roots: []*ecdsa.PublicKey{&root.PublicKey}, Threshold: 1, Revoked: revoked,
	}
	return SignTrust(t, root)
}

// trustAAD is the external_aad of the root signatures.
const trustAAD = "pratique trust v1"

// SignTrust encodes the file and signs it with roots, which must be at least Threshold of the file's own. While roots
// change, roots of the file before may sign too, so that it Succeeds that file. Roots on several machines use DraftTrust and
// Countersign.
func SignTrust(t *Trust, roots ...*ecdsa.PrivateKey) ([]byte, error) {
	data, err := DraftTrust(t)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		if data, err = Countersign(data, root); err != nil {
			return nil, err
		}
	}
	if _, err := ParseTrust(data); err != nil {
		return nil, fmt.Errorf("clearance: the new trust file does not verify: %w", err)
	}
	return data, nil
}

// DraftTrust encodes a trust file that nobody signed yet.
func DraftTrust(t *Trust) ([]byte, error) {
	w, err := t.wire()
	if err != nil {
		return nil, err
	}
	payload, err := encoder.Marshal(w)
	if err != nil {
		return nil, err
	}
	return encodeTrust(trustEnvelope{Payload: payload})
}

// ParseDraft reads a trust file that not enough roots may have signed. Nothing may be believed on its word.
func ParseDraft(data []byte) (*Trust, error) {
	t, err := decodeTrust(data)
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	return t, nil
}

// Countersign adds the signature of one root to a trust file, or takes the place of the one that this root gave before.
func Countersign(data []byte, root crypto.Signer) ([]byte, error) {
	if _, err := ParseDraft(data); err != nil {
		return nil, err
	}
	f, err := decodeSigned(data, MaxTrust)
	if err != nil {
		return nil, err
	}
	return f.sign(root, trustAAD)
}

// sign adds one signature.
func (f *signedFile) sign(key crypto.Signer, aad string) ([]byte, error) {
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("clearance: a root key is a key on P-256")
	}
	signer, err := newSigner(key)
	if err != nil {
		return nil, err
	}
	kid := keyID(public)
	s := cose.NewSignature()
	s.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
	s.Headers.Protected[cose.HeaderLabelKeyID] = kid[:]
	if err := s.Sign(rand.Reader, signer, emptyProtected, f.payload, []byte(aad)); err != nil {
		return nil, fmt.Errorf("clearance: sign: %w", err)
	}
	if err := f.verify(rootSignature{kid, s}, public, aad); err != nil { // a device can fail
		return nil, fmt.Errorf("clearance: the new signature does not verify: %w", err)
	}
	signatures := []rootSignature{{kid, s}}
	for _, old := range f.signatures {
		if old.kid != kid {
			signatures = append(signatures, old)
		}
	}
	slices.SortFunc(signatures, func(a, b rootSignature) int { return bytes.Compare(a.kid[:], b.kid[:]) })
	e := trustEnvelope{Payload: f.payload}
	for _, s := range signatures {
		protected, err := encoder.Marshal(pqHeader{algES256, s.kid})
		if err != nil {
			return nil, err
		}
		e.Signatures = append(e.Signatures, wireSignature{Protected: protected, Signature: s.signature.Signature})
	}
	return encodeTrust(e)
}

// Signed counts the good signatures of some roots.
func (t *Trust) Signed(roots []*ecdsa.PublicKey) (good int) {
	for _, s := range t.signatures {
		for _, root := range roots {
			if keyID(root) == s.kid && t.verifyRoot(s, root) == nil {
				good++
			}
		}
	}
	return good
}

// Station finds the key with an id.
func (t *Trust) Station(kid [8]byte) (StationKey, bool) { return t.station(kid) }

// ParseTrust reads a trust file and checks that enough of the roots listed inside signed it. That proves that it is whole
// and that nobody without those keys changed it. That these are the right roots is proved by Succeeds, or by where the
// file lies: a folder that only an administrator can write.
func ParseTrust(data []byte) (*Trust, error) {
	t, err := decodeTrust(data)
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	// Each signature by a root of this file must be good. Those by others are the file before's matter.
	good := 0
	for _, s := range t.signatures {
		for _, root := range t.Roots {
			if keyID(root) != s.kid {
				continue
			}
			if err := t.verifyRoot(s, root); err != nil {
				return nil, fmt.Errorf("trust file: %w: root signature", ErrMalformed)
			}
			good++
		}
	}
	if good < t.Threshold {
		return nil, fmt.Errorf("trust file: %w: %d of %d root signatures", ErrMalformed, good, t.Threshold)
	}
	return t, nil
}

// Succeeds reports whether t may take the place of old: it is newer, and enough of old's roots signed it. The error says
// in one sentence why not.
func (t *Trust) Succeeds(old *Trust) error {
	switch {
	case t == nil || old == nil || t.payload == nil || len(old.Roots) == 0 || old.Threshold < 1:
		return errors.New("there is no trust file to compare with")
	case t.Demo != old.Demo:
		return errors.New("a demonstration trust file and a real one cannot follow each other")
	case t.Version <= old.Version:
		return fmt.Errorf("version %d is not newer than version %d", t.Version, old.Version)
	case t.Issued.Before(old.Issued):
		return errors.New("it was issued before the trust file in force")
	}
	if good := t.Signed(old.Roots); good < old.Threshold {
		return fmt.Errorf("%d of the %d root signatures that the trust file in force asks for are there", good, old.Threshold)
	}
	return nil
}

func (t *Trust) verifyRoot(s rootSignature, root *ecdsa.PublicKey) error {
	return (&signedFile{payload: t.payload}).verify(s, root, trustAAD)
}

func (f *signedFile) verify(s rootSignature, key *ecdsa.PublicKey, aad string) error {
	verifier, err := newVerifier(key)
	if err != nil {
		return err
	}
	return s.signature.Verify(verifier, emptyProtected, f.payload, []byte(aad))
}

func compareKeys(a, b *ecdsa.PublicKey) int {
	x, y := keyID(a), keyID(b)
	return bytes.Compare(x[:], y[:])
}

// check holds a station's key against the limits.
func (k *StationKey) check() error {
	if !isWord(k.Issuer, maxIssuer) || k.Sign == nil || k.PQ == nil || k.PQ.Parameters() != mldsa.MLDSA65() {
		return fmt.Errorf("%w: station", ErrMalformed)
	}
	if k.NotBefore.Nanosecond() != 0 || k.NotAfter.Nanosecond() != 0 || k.NotBefore.Unix() <= 0 || k.NotAfter.Unix() > maxTime || !k.NotAfter.After(k.NotBefore) {
		return fmt.Errorf("%w: times of a station", ErrMalformed)
	}
	return nil
}

// check holds the contents against the limits, for who signs and for who reads.
func (t *Trust) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }
	switch {
	case t.Version == 0:
		return bad("version")
	case t.Issued.Unix() <= 0 || t.Issued.Unix() > maxTime || t.Issued.Nanosecond() != 0:
		return bad("time of issue")
	case len(t.Stations) > MaxStations:
		return bad("too many stations")
	case len(t.Revoked) > MaxRevoked:
		return bad("too many revoked clearances")
	case len(t.Roots) == 0 || len(t.Roots) > MaxRoots:
		return bad("number of roots")
	case t.Threshold < 1 || t.Threshold > len(t.Roots):
		return bad("threshold")
	case len(t.MinRules) > maxPacks:
		return bad("too many rule packs")
	case len(t.LogKeys) > maxNoteKeys || len(t.Witnesses) > maxNoteKeys:
		return bad("too many log keys")
	}
	if err := t.Roster.check(); err != nil {
		return err
	}
	for _, k := range t.Stations {
		if err := k.check(); err != nil {
			return err
		}
	}
	for name := range maps.Keys(t.MinRules) {
		if !isWord(name, maxPack) {
			return bad("name of a rule pack")
		}
	}
	for _, key := range slices.Concat(t.LogKeys, t.Witnesses) {
		if !isWord(key, maxNoteKey) {
			return bad("log key")
		}
	}
	return nil
}
