package clearance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"filippo.io/mldsa"
	"github.com/veraison/go-cose"
)

// KeyLife is how long a station's key may issue, from the day it was made: 13 months, so that a yearly change has room.
const KeyLife = 400 * 24 * time.Hour

// Keys is what a station signs tokens with. Nothing that reads a medium ever holds it.
type Keys struct {
	public StationKey
	demo   bool
	sign   crypto.Signer // of public.Sign; it may be in a device
	pq     *mldsa.PrivateKey
	file   []byte // what Marshal returns; nil for keys that Assemble made
}

// wireKeys is the content of the station's private key file.
type wireKeys struct {
	Format  string   `cbor:"1,keyasint"`
	Issuer  string   `cbor:"2,keyasint"`
	Demo    bool     `cbor:"3,keyasint"`
	Created int64    `cbor:"4,keyasint"`
	P256    [32]byte `cbor:"5,keyasint"` // the private scalar
	MLDSA65 [32]byte `cbor:"6,keyasint"` // the seed
}

const keysFormat = "pratique station key v1"

// maxKeys bounds the private key file; a real one has 172 bytes and the issuer's name.
const maxKeys = 1 << 10

// GenerateKeys makes new keys. A demonstration key is marked in every token that it signs.
func GenerateKeys(issuer string, demo bool, now time.Time) (*Keys, error) {
	if !isWord(issuer, maxIssuer) {
		return nil, fmt.Errorf("clearance: an issuer's name is one word of at most %d ASCII characters", maxIssuer)
	}
	if now.Unix() <= 0 {
		return nil, errors.New("clearance: the clock is not set")
	}
	sign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("clearance: make key: %w", err)
	}
	pq, err := mldsa.GenerateKey(mldsa.MLDSA65())
	if err != nil {
		return nil, fmt.Errorf("clearance: make key: %w", err)
	}
	d, err := sign.Bytes()
	if err != nil {
		return nil, err
	}
	return newKeys(wireKeys{keysFormat, issuer, demo, now.Unix(), [32]byte(d), [32]byte(pq.Bytes())})
}

// newKeys makes keys of the content of a file.
func newKeys(w wireKeys) (*Keys, error) {
	file, err := encoder.Marshal(w)
	if err != nil {
		return nil, err
	}
	sign, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), w.P256[:])
	if err != nil {
		return nil, fmt.Errorf("station key: %w", ErrMalformed)
	}
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA65(), w.MLDSA65[:])
	if err != nil {
		return nil, fmt.Errorf("station key: %w", ErrMalformed)
	}
	return &Keys{NewStationKey(w.Issuer, time.Unix(w.Created, 0), &sign.PublicKey, pq.PublicKey()), w.Demo, sign, pq, file}, nil
}

// NewStationKey is the public side of keys that a station made at a time.
func NewStationKey(issuer string, created time.Time, sign *ecdsa.PublicKey, pq *mldsa.PublicKey) StationKey {
	created = created.UTC().Truncate(time.Second)
	return StationKey{Issuer: issuer, NotBefore: created, NotAfter: created.Add(KeyLife), Sign: sign, PQ: pq}
}

// Assemble returns keys whose private sides are kept elsewhere: sign may be a device's. They are never a demonstration's, and
// they must be those of the public side.
func Assemble(public StationKey, sign crypto.Signer, pq *mldsa.PrivateKey) (*Keys, error) {
	if err := public.check(); err != nil {
		return nil, err
	}
	if sign == nil || pq == nil || !public.Sign.Equal(sign.Public()) || !public.PQ.Equal(pq.PublicKey()) {
		return nil, errors.New("clearance: the private keys are not those of the public ones")
	}
	return &Keys{public: public, sign: sign, pq: pq}, nil
}

// Marshal returns the content of the private key file. The file's mode and place are the caller's matter. Keys that are kept
// elsewhere have none.
func (k *Keys) Marshal() ([]byte, error) {
	if k.file == nil {
		return nil, errors.New("clearance: these keys are not kept in a plain file")
	}
	return slices.Clone(k.file), nil
}

// ParseKeys reads what Marshal returned. Its errors never quote the file's content.
func ParseKeys(data []byte) (*Keys, error) {
	var w wireKeys
	if len(data) > maxKeys || decodeStrict(data, &w) != nil {
		return nil, fmt.Errorf("station key: %w", ErrMalformed)
	}
	if w.Format != keysFormat || !isWord(w.Issuer, maxIssuer) || w.Created <= 0 {
		return nil, fmt.Errorf("station key: %w", ErrMalformed)
	}
	return newKeys(w)
}

// Issuer is the station's name, for Claims.Issuer.
func (k *Keys) Issuer() string { return k.public.Issuer }

// Demo reports whether this is a demonstration key.
func (k *Keys) Demo() bool { return k.demo }

// PQKeyID names the post-quantum key, for Claims.PQKeyID.
func (k *Keys) PQKeyID() [8]byte { return pqKeyID(k.pq.PublicKey()) }

// Public returns what a trust file says about these keys.
func (k *Keys) Public() StationKey { return k.public }

// thumbEC2 and thumbAKP are what a key's thumbprint is taken over (RFC 9679 section 4, RFC 9964 section 3).
type thumbEC2 struct {
	Type  int64    `cbor:"1,keyasint"`
	Curve int64    `cbor:"-1,keyasint"`
	X     [32]byte `cbor:"-2,keyasint"`
	Y     [32]byte `cbor:"-3,keyasint"`
}

type thumbAKP struct {
	Type int64  `cbor:"1,keyasint"`
	Alg  int64  `cbor:"3,keyasint"`
	Pub  []byte `cbor:"-1,keyasint"`
}

// Values of COSE's registries.
const (
	keyTypeEC2 = 2
	keyTypeAKP = 7
	curveP256  = 1
	algES256   = int64(cose.AlgorithmES256) // -7
	algMLDSA65 = -49
)

// keyID is the first 8 bytes of the key's RFC 9679 thumbprint.
func keyID(key *ecdsa.PublicKey) [8]byte {
	x, y := coordinates(key)
	return thumbprint(thumbEC2{keyTypeEC2, curveP256, x, y})
}

func pqKeyID(key *mldsa.PublicKey) [8]byte {
	return thumbprint(thumbAKP{keyTypeAKP, algMLDSA65, key.Bytes()})
}

func thumbprint(key any) [8]byte {
	data, err := encoder.Marshal(key)
	if err != nil {
		panic(err) // both types are structs of fixed fields
	}
	sum := sha256.Sum256(data)
	return [8]byte(sum[:8])
}

// coordinates returns the public point. Every key in this package is on P-256: it was made or parsed here.
func coordinates(key *ecdsa.PublicKey) (x, y [32]byte) {
	point, err := key.Bytes()
	if err != nil || len(point) != 65 {
		panic("clearance: a key that is not on P-256")
	}
	return [32]byte(point[1:33]), [32]byte(point[33:])
}

// publicKey makes a key of a point that a file states. A point that is not on the curve is refused.
func publicKey(x, y [32]byte) (*ecdsa.PublicKey, error) {
	point := append(append([]byte{4}, x[:]...), y[:]...)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// lowS signs with ES256 and gives the smaller of the two values of s, since (r, n-s) verifies as well as (r, s) does.
// Verifiers here take only that one, so that nobody can make a second token of one without the key.
type lowS struct{ cose.Signer }

func newSigner(key crypto.Signer) (cose.Signer, error) {
	signer, err := cose.NewSigner(cose.AlgorithmES256, key)
	return lowS{signer}, err
}

func (l lowS) Sign(random io.Reader, content []byte) ([]byte, error) {
	sig, err := l.Signer.Sign(random, content)
	if err != nil || isLowS(sig) {
		return sig, err
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	return sig, nil
}

// verifyLowS is a cose.Verifier for ES256 that refuses the larger s.
type verifyLowS struct{ cose.Verifier }

func newVerifier(key *ecdsa.PublicKey) (cose.Verifier, error) {
	verifier, err := cose.NewVerifier(cose.AlgorithmES256, key)
	return verifyLowS{verifier}, err
}

func (v verifyLowS) Verify(content, sig []byte) error {
	if !isLowS(sig) {
		return cose.ErrVerification
	}
	return v.Verifier.Verify(content, sig)
}

func isLowS(sig []byte) bool {
	half := new(big.Int).Rsh(elliptic.P256().Params().N, 1)
	return len(sig) == 64 && bytes.Compare(sig[32:], half.FillBytes(make([]byte, 32))) <= 0
}

// pqSigner and pqVerifier let go-cose use ML-DSA-65, which it does not know by itself.
type pqSigner struct{ key *mldsa.PrivateKey }

func (pqSigner) Algorithm() cose.Algorithm { return algMLDSA65 }

func (s pqSigner) Sign(random io.Reader, content []byte) ([]byte, error) {
	return s.key.Sign(random, content, &mldsa.Options{})
}

type pqVerifier struct{ key *mldsa.PublicKey }

func (pqVerifier) Algorithm() cose.Algorithm { return algMLDSA65 }

func (v pqVerifier) Verify(content, sig []byte) error {
	return mldsa.Verify(v.key, content, sig, &mldsa.Options{})
}
