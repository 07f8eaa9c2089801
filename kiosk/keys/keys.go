// Package keys keeps what a station, or a holder of a site's root key, signs with: in a sealed file, in a TPM 2.0, or in a
// device behind PKCS#11.
//
// A verifier cannot tell the places apart: in each of them a key is ES256 on P-256 and, for a station, ML-DSA-65 beside it.
// What tells them apart is what a thief of the disk gets:
//
//	place    the P-256 key                       the ML-DSA-65 seed             who copies the disk
//	file     sealed by the secret (argon2id)     sealed by the secret           must guess the secret
//	tpm      made in the TPM, never leaves it    sealed by the TPM              holds nothing that this TPM does not open
//	pkcs11   made in the token, not extractable  a private object in the token  holds nothing that this token does not open
//
// ML-DSA is signed by this process in all of them, because no TPM and hardly a token can; so its seed is in memory while a
// station runs, and only then.
//
// # The box
//
// What is stored is a Box: deterministic CBOR, with the public keys in the clear and the rest as above. It says nothing that
// its place does not protect, and it is bound: a sealed file opens only under the name, time and public keys that it was made
// with, and what comes out of every place is held against the public keys before it is used.
//
// A secret is the content of a file that somebody hands over at each start (a systemd credential), or what a person types.
// For file it is required and has at least MinSecret bytes. For tpm and pkcs11 it is the PIN: pkcs11 needs one, and a TPM
// without one signs for whoever boots this machine. The secret is never stored with the box: a secret that lies on the same
// disk protects nothing.
//
// # The counter
//
// A station's key in a TPM has a counter beside it: a number that only rises, which the station writes into its log (package
// kiosk). A log that is put back to an older state shows a smaller one. Counting takes a value that is sealed with the seed, so
// only who opens the key counts; to look takes the owner's authorisation, which is empty on most machines.
//
// # Trust and limits
//
// It trusts the process that calls it, the TPM, and the token with its vendor's module, which runs in a process of its own
// (keyhelper). The bus of a TPM is not trusted: seeds cross it encrypted for a session that only the TPM can open. A stolen
// station whose TPM has no PIN still signs, in the hands of who can start it: it is taken back in the trust file.
package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"filippo.io/mldsa"

	"pratique/kiosk/clearance"
	"pratique/scanner/frame"
)

// What a caller can branch on.
var (
	// ErrClosed says that a key is there and cannot be used: the wrong secret, another TPM, no token.
	ErrClosed = errors.New("the key cannot be opened")
	// ErrBox says that a file is no box of this program, or was changed.
	ErrBox = errors.New("the key file is damaged")
)

// Place is where private keys are.
type Place string

// The places. The zero value is none of them.
const (
	File   Place = "file"
	TPM    Place = "tpm"
	PKCS11 Place = "pkcs11"
)

// Use is what a key is for.
type Use string

// The uses.
const (
	Station Use = "station" // signs clearances, with both algorithms
	Root    Use = "root"    // signs trust files
)

// Limits.
const (
	MinSecret = 12      // bytes: argon2id makes a guess cost a tenth of a second and 64 MiB, and twelve letters take ages of guesses
	maxSecret = 1 << 10 // a credential; a person types less
	maxName   = 64
	maxBox    = 8 << 10 // a real one has about 3,000
)

// Access is how a place is reached. What a place does not need is not used.
type Access struct {
	Device string // TPM: the resource manager's node, or a simulator's socket
	Helper string // PKCS11: path of the keyhelper program
	Module string // PKCS11: path of the vendor's library; for New
	Token  string // PKCS11: label of the token; for New
}

// DefaultTPM is the kernel's resource manager.
const DefaultTPM = "/dev/tpmrm0"

// Box is a key as it is stored.
type Box struct {
	Format  string `cbor:"1,keyasint"`
	Use     Use    `cbor:"2,keyasint"`
	Place   Place  `cbor:"3,keyasint"`
	Name    string `cbor:"4,keyasint"` // the station's, or the holder's
	Created int64  `cbor:"5,keyasint"` // Unix seconds
	Point   []byte `cbor:"6,keyasint"` // public P-256 key, uncompressed
	PQ      []byte `cbor:"7,keyasint,omitempty"`

	Sealed *sealed    `cbor:"8,keyasint,omitempty"`
	TPM    *tpmBlobs  `cbor:"9,keyasint,omitempty"`
	Token  *tokenName `cbor:"10,keyasint,omitempty"`
}

const boxFormat = "pratique key box v1"

// tokenName is where in which token a key is.
type tokenName struct {
	Module string `cbor:"1,keyasint"`
	Token  string `cbor:"2,keyasint"`
	Object []byte `cbor:"3,keyasint"` // 16 bytes, drawn at random
}

// private is what a place protects.
type private struct {
	sign  crypto.Signer
	pq    *mldsa.PrivateKey // nil for a root
	close func() error

	counter *Counter // nil where there is none
}

// New makes a key in a place. It is opened once before it is returned, so that what cannot be used is not enrolled.
func New(ctx context.Context, place Place, use Use, name string, a Access, secret []byte, now time.Time) (*Box, error) {
	if use != Station && use != Root {
		return nil, fmt.Errorf("make a key: no use %q", use)
	}
	if err := checkSecret(place, secret); err != nil {
		return nil, err
	}
	b := &Box{Format: boxFormat, Use: use, Place: place, Name: name, Created: now.Unix()}
	var pq *mldsa.PrivateKey
	if use == Station {
		var err error
		if pq, err = mldsa.GenerateKey(mldsa.MLDSA65()); err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		b.PQ = pq.PublicKey().Bytes()
	}
	var err error
	switch place {
	case File:
		err = b.newFile(secret, pq)
	case TPM:
		err = b.newTPM(a, secret, pq)
	case PKCS11:
		err = b.newToken(ctx, a, secret, pq)
	default:
		err = fmt.Errorf("there is no place %q: want %s, %s or %s", place, File, TPM, PKCS11)
	}
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	o, err := Open(ctx, b, a, secret)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return b, o.Close()
}

// checkSecret refuses what would protect nothing.
func checkSecret(place Place, secret []byte) error {
	switch {
	case len(secret) > maxSecret:
		return fmt.Errorf("%w: a secret has at most %d bytes", ErrClosed, maxSecret)
	case place == File && len(secret) < MinSecret:
		return fmt.Errorf("%w: the secret of a sealed file has at least %d characters", ErrClosed, MinSecret)
	case place == PKCS11 && len(secret) == 0:
		return fmt.Errorf("%w: a token needs its PIN", ErrClosed)
	}
	return nil
}

// Marshal returns the box for a file, which only its owner should read.
func (b *Box) Marshal() ([]byte, error) { return frame.Marshal(b) }

// Parse reads what Marshal returned.
func Parse(data []byte) (*Box, error) {
	b := &Box{}
	if len(data) > maxBox || frame.Unmarshal(data, b) != nil {
		return nil, ErrBox
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return b, nil
}

// check holds a box against the format.
func (b *Box) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrBox, what) }
	if b.Format != boxFormat || b.Created <= 0 || (b.Use == Station) != (len(b.PQ) > 0) || b.Use != Station && b.Use != Root {
		return bad("format")
	}
	if !isName(b.Name) {
		return bad("a name is one word of at most 64 ASCII characters")
	}
	if (b.Place == File) != (b.Sealed != nil) || (b.Place == TPM) != (b.TPM != nil) || (b.Place == PKCS11) != (b.Token != nil) ||
		b.Sealed == nil && b.TPM == nil && b.Token == nil {
		return bad("place")
	}
	if _, err := b.sign(); err != nil {
		return err
	}
	if b.Use == Station {
		if _, err := b.pq(); err != nil {
			return err
		}
	}
	return nil
}

func isName(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func (b *Box) sign() (*ecdsa.PublicKey, error) {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b.Point)
	if err != nil {
		return nil, fmt.Errorf("%w: public key", ErrBox)
	}
	return key, nil
}

func (b *Box) pq() (*mldsa.PublicKey, error) {
	key, err := mldsa.NewPublicKey(mldsa.MLDSA65(), b.PQ)
	if err != nil {
		return nil, fmt.Errorf("%w: public key", ErrBox)
	}
	return key, nil
}

// Public is the public side of a station's key, as Parse checked it.
func (b *Box) Public() (clearance.StationKey, error) {
	sign, err := b.sign()
	if err != nil {
		return clearance.StationKey{}, err
	}
	pq, err := b.pq()
	if err != nil {
		return clearance.StationKey{}, err
	}
	return clearance.NewStationKey(b.Name, time.Unix(b.Created, 0), sign, pq), nil
}

// RootKey is the public side of a root's key.
func (b *Box) RootKey() (*ecdsa.PublicKey, error) {
	if b.Use != Root {
		return nil, fmt.Errorf("%w: it is not a root's", ErrBox)
	}
	return b.sign()
}

// NeedsSecret reports whether a box cannot be opened without a secret.
func (b *Box) NeedsSecret() bool { return b.Place != TPM || b.TPM.PIN }

// Opened is a key that can sign. It is closed when no longer needed.
type Opened struct {
	Signer crypto.Signer
	box    *Box
	p      private
}

// Open opens a key. Its errors are ErrClosed for what the place refuses.
func Open(ctx context.Context, b *Box, a Access, secret []byte) (*Opened, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := checkSecret(b.Place, secret); err != nil {
		return nil, err
	}
	var p private
	var err error
	switch b.Place {
	case File:
		p, err = b.openFile(secret)
	case TPM:
		p, err = b.openTPM(a, secret)
	case PKCS11:
		p, err = b.openToken(ctx, a, secret)
	default:
		err = ErrBox
	}
	if err != nil {
		return nil, err
	}
	o := &Opened{Signer: p.sign, box: b, p: p}
	if err := o.match(); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// match holds what a place gave against the public side of the box, by a signature where the key itself is out of reach.
func (o *Opened) match() error {
	public, err := o.box.sign()
	if err != nil {
		return err
	}
	var digest [32]byte
	if _, err := rand.Read(digest[:]); err != nil {
		return err
	}
	sig, err := o.p.sign.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if !public.Equal(o.p.sign.Public()) || !ecdsa.VerifyASN1(public, digest[:], sig) {
		return fmt.Errorf("%w: its place holds another key", ErrClosed)
	}
	if o.box.Use != Station {
		return nil
	}
	pq, err := o.box.pq()
	if err != nil {
		return err
	}
	if o.p.pq == nil || !pq.Equal(o.p.pq.PublicKey()) {
		return fmt.Errorf("%w: its place holds another post-quantum key", ErrClosed)
	}
	return nil
}

// Keys returns a station's keys, to sign clearances with until Close.
func (o *Opened) Keys() (*clearance.Keys, error) {
	if o.box.Use != Station {
		return nil, fmt.Errorf("%w: it is not a station's", ErrBox)
	}
	public, err := o.box.Public()
	if err != nil {
		return nil, err
	}
	return clearance.Assemble(public, o.p.sign, o.p.pq)
}

// Close ends the use of the key's device.
func (o *Opened) Close() error {
	if o.p.close == nil {
		return nil
	}
	return o.p.close()
}

// seed returns the bytes that the post-quantum key is made from; none for a root.
func seed(pq *mldsa.PrivateKey) []byte {
	if pq == nil {
		return nil
	}
	return pq.Bytes()
}

// fromSeed is the reverse of seed, for what comes out of a place.
func (b *Box) fromSeed(data []byte) (*mldsa.PrivateKey, error) {
	if b.Use != Station {
		return nil, nil
	}
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA65(), data)
	if err != nil {
		return nil, fmt.Errorf("%w: post-quantum key", ErrClosed)
	}
	return pq, nil
}
