package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"fmt"
	"slices"
	"time"

	"filippo.io/mldsa"
	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// wireTrust is the payload of a trust file. The package comment is the specification.
type wireTrust struct {
	Version   uint64            `cbor:"v"`
	Issued    int64             `cbor:"issued"`
	Demo      bool              `cbor:"demo,omitempty"`
	QRWithout bool              `cbor:"qr_without_pq,omitempty"`
	Stations  []wireStation     `cbor:"keys"`
	Revoked   [][16]byte        `cbor:"revoked_cti"`
	MinRules  map[string]uint64 `cbor:"min_rules"`
	LogKeys   []string          `cbor:"log_keys"`
	Witnesses []string          `cbor:"witnesses"`
	Roots     []wireRoot        `cbor:"roots"`
	Threshold int               `cbor:"threshold"`
	Roster    *wireRosterRule   `cbor:"roster,omitempty"`
}

// wireStation is a COSE_Key (RFC 9052 section 7) with what a station adds to it.
type wireStation struct {
	Type           int64    `cbor:"1,keyasint"`
	Alg            int64    `cbor:"3,keyasint"`
	Curve          int64    `cbor:"-1,keyasint"`
	X              [32]byte `cbor:"-2,keyasint"`
	Y              [32]byte `cbor:"-3,keyasint"`
	Issuer         string   `cbor:"iss"`
	NotBefore      int64    `cbor:"nbf"`
	NotAfter       int64    `cbor:"naf"`
	Usage          string   `cbor:"usage"`
	PQ             wirePQ   `cbor:"pq"`
	RevokedFromLog *uint64  `cbor:"revoked_from_log,omitempty"`
}

// wirePQ is a COSE_Key of type AKP (RFC 9964).
type wirePQ struct {
	Type int64  `cbor:"1,keyasint"`
	Alg  int64  `cbor:"3,keyasint"`
	Pub  []byte `cbor:"-1,keyasint"`
}

type wireRoot struct {
	Type  int64    `cbor:"1,keyasint"`
	Alg   int64    `cbor:"3,keyasint"`
	Curve int64    `cbor:"-1,keyasint"`
	X     [32]byte `cbor:"-2,keyasint"`
	Y     [32]byte `cbor:"-3,keyasint"`
}

// usageClearance is the one usage of a station's key.
const usageClearance = "clearance"

// trustEnvelope is COSE_Sign (RFC 9052 section 4.1) with what this format allows in it.
type trustEnvelope struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte   // empty
	Unprotected struct{}
	Payload     []byte
	Signatures  []wireSignature
}

type wireSignature struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte   // pqHeader's shape, with ES256
	Unprotected struct{}
	Signature   []byte
}

// rootSignature is one signature of a trust file, not yet checked.
type rootSignature struct {
	kid       [8]byte
	signature *cose.Signature
}

// signedFile is a file of this form, of which nothing is proved.
type signedFile struct {
	payload    []byte
	signatures []rootSignature // in order of their key ids
}

// maxSignatures leaves room for all roots of two files while roots change.
const maxSignatures = 2 * MaxRoots

var (
	tagSign        = []byte{0xD8, 0x62}    // CBOR tag 98
	emptyProtected = cbor.RawMessage{0x40} // a byte string of no bytes
)

// wire gives the contents the one form that is signed.
func (t *Trust) wire() (wireTrust, error) {
	if err := t.check(); err != nil {
		return wireTrust{}, err
	}
	w := wireTrust{
		Version: t.Version, Issued: t.Issued.Unix(), Demo: t.Demo, QRWithout: t.QRWithout, Threshold: t.Threshold,
		Stations: []wireStation{}, Revoked: [][16]byte{}, MinRules: map[string]uint64{}, LogKeys: []string{}, Witnesses: []string{},
	}
	stations := slices.Clone(t.Stations)
	slices.SortFunc(stations, func(a, b StationKey) int { return compareKeys(a.Sign, b.Sign) })
	for i := range stations {
		w.Stations = append(w.Stations, stations[i].wire())
	}
	w.Roots, w.Roster = wireRoots(t.Roots), t.Roster.wire()
	w.Revoked = append(w.Revoked, t.Revoked...)
	slices.SortFunc(w.Revoked, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for name, version := range t.MinRules {
		w.MinRules[name] = version
	}
	w.LogKeys = append(w.LogKeys, t.LogKeys...)
	slices.Sort(w.LogKeys)
	w.Witnesses = append(w.Witnesses, t.Witnesses...)
	slices.Sort(w.Witnesses)
	return w, nil
}

// wireRoots are keys of people as COSE_Keys, in order.
func wireRoots(keys []*ecdsa.PublicKey) (out []wireRoot) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		x, y := coordinates(k)
		out = append(out, wireRoot{keyTypeEC2, algES256, curveP256, x, y})
	}
	return out
}

// parseRoots is the reverse. Whoever asks has bounded the number of keys.
func parseRoots(keys []wireRoot) (out []*ecdsa.PublicKey, err error) {
	for _, r := range keys {
		if r.Type != keyTypeEC2 || r.Alg != algES256 || r.Curve != curveP256 {
			return nil, fmt.Errorf("%w: type of a root key", ErrMalformed)
		}
		root, err := publicKey(r.X, r.Y)
		if err != nil {
			return nil, fmt.Errorf("%w: a root key", ErrMalformed)
		}
		out = append(out, root)
	}
	return out, nil
}

// wire is a station's key as a COSE_Key.
func (k *StationKey) wire() wireStation {
	x, y := coordinates(k.Sign)
	return wireStation{
		Type: keyTypeEC2, Alg: algES256, Curve: curveP256, X: x, Y: y, Issuer: k.Issuer, NotBefore: k.NotBefore.Unix(), NotAfter: k.NotAfter.Unix(),
		Usage: usageClearance, PQ: wirePQ{keyTypeAKP, algMLDSA65, k.PQ.Bytes()}, RevokedFromLog: k.RevokedFromLog,
	}
}

// station is the reverse of StationKey.wire.
func (s *wireStation) station() (StationKey, error) {
	if s.Type != keyTypeEC2 || s.Alg != algES256 || s.Curve != curveP256 || s.Usage != usageClearance || s.PQ.Type != keyTypeAKP || s.PQ.Alg != algMLDSA65 {
		return StationKey{}, fmt.Errorf("%w: type of a station's key", ErrMalformed)
	}
	sign, err := publicKey(s.X, s.Y)
	if err != nil {
		return StationKey{}, fmt.Errorf("%w: a station's key", ErrMalformed)
	}
	pq, err := mldsa.NewPublicKey(mldsa.MLDSA65(), s.PQ.Pub)
	if err != nil {
		return StationKey{}, fmt.Errorf("%w: a station's post-quantum key", ErrMalformed)
	}
	return StationKey{
		Issuer: s.Issuer, NotBefore: time.Unix(s.NotBefore, 0).UTC(), NotAfter: time.Unix(s.NotAfter, 0).UTC(),
		Sign: sign, PQ: pq, RevokedFromLog: s.RevokedFromLog,
	}, nil
}

// encodeTrust is the reverse of the first half of decodeTrust.
func encodeTrust(e trustEnvelope) ([]byte, error) {
	e.Protected = []byte{}
	if e.Signatures == nil {
		e.Signatures = []wireSignature{}
	}
	data, err := encoder.Marshal(e)
	if err != nil {
		return nil, err
	}
	return append(bytes.Clone(tagSign), data...), nil
}

// decodeSigned takes such a file apart without checking a signature, or looking at the payload.
func decodeSigned(data []byte, limit int) (*signedFile, error) {
	if len(data) > limit || !bytes.HasPrefix(data, tagSign) {
		return nil, ErrMalformed
	}
	var e trustEnvelope
	if err := decodeStrict(data[len(tagSign):], &e); err != nil {
		return nil, err
	}
	if len(e.Protected) != 0 || len(e.Signatures) > maxSignatures {
		return nil, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	f := &signedFile{payload: e.Payload}
	for i, s := range e.Signatures {
		var h pqHeader
		if err := decodeStrict(s.Protected, &h); err != nil {
			return nil, err
		}
		if h.Alg != algES256 || len(s.Signature) != 64 || i > 0 && bytes.Compare(f.signatures[i-1].kid[:], h.Kid[:]) >= 0 {
			return nil, fmt.Errorf("%w: root signatures", ErrMalformed)
		}
		sig := cose.NewSignature()
		sig.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
		sig.Headers.Protected[cose.HeaderLabelKeyID] = slices.Clone(h.Kid[:])
		sig.Signature = s.Signature
		f.signatures = append(f.signatures, rootSignature{h.Kid, sig})
	}
	return f, nil
}

// decodeTrust takes a trust file apart without checking a signature.
func decodeTrust(data []byte) (*Trust, error) {
	f, err := decodeSigned(data, MaxTrust)
	if err != nil {
		return nil, err
	}
	var w wireTrust
	if err := decodeStrict(f.payload, &w); err != nil {
		return nil, err
	}
	t, err := w.trust()
	if err != nil {
		return nil, err
	}
	t.payload, t.signatures = f.payload, f.signatures
	return t, nil
}

// trust checks the payload and gives it the form that callers use.
func (w *wireTrust) trust() (*Trust, error) {
	t := &Trust{
		Version: w.Version, Issued: time.Unix(w.Issued, 0).UTC(), Demo: w.Demo, QRWithout: w.QRWithout,
		Revoked: w.Revoked, MinRules: w.MinRules, LogKeys: w.LogKeys, Witnesses: w.Witnesses, Threshold: w.Threshold,
	}
	if len(w.Stations) > MaxStations || len(w.Roots) > MaxRoots {
		return nil, fmt.Errorf("%w: too many keys", ErrMalformed)
	}
	for i := range w.Stations {
		k, err := w.Stations[i].station()
		if err != nil {
			return nil, err
		}
		t.Stations = append(t.Stations, k)
	}
	var err error
	if t.Roots, err = parseRoots(w.Roots); err != nil {
		return nil, err
	}
	if t.Roster, err = w.Roster.rule(); err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if !ascending(t.Stations, func(a, b StationKey) int { return compareKeys(a.Sign, b.Sign) }) ||
		!ascending(t.Roots, compareKeys) ||
		!ascending(t.Roster.Keys, compareKeys) ||
		!ascending(t.Revoked, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) ||
		!ascending(t.LogKeys, func(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) }) ||
		!ascending(t.Witnesses, func(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) }) {
		return nil, fmt.Errorf("%w: a list is not in order, or names something twice", ErrMalformed)
	}
	return t, nil
}

// ascending reports whether each element is greater than the one before: sorted, and none twice.
func ascending[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}
