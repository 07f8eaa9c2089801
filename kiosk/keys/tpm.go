package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"sync"

	"filippo.io/mldsa"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// tpmBlobs are objects below the TPM's storage root key, which only the TPM that made them loads again (TPM 2.0 Library
// specification part 1, 27).
type tpmBlobs struct {
	Public      []byte `cbor:"1,keyasint"`
	Private     []byte `cbor:"2,keyasint"`
	SeedPublic  []byte `cbor:"3,keyasint,omitempty"`
	SeedPrivate []byte `cbor:"4,keyasint,omitempty"`
	PIN         bool   `cbor:"5,keyasint,omitempty"`

	Counter *tpmCounter `cbor:"6,keyasint,omitempty"` // a station's; keys of before have none
}

// tpmAuth is a PIN as an object's authorisation value, which has at most the 32 bytes of its name algorithm. Wrong ones count
// towards the TPM's own lockout.
func tpmAuth(secret []byte) []byte {
	if len(secret) == 0 {
		return nil
	}
	sum := sha256.Sum256(append([]byte("pratique tpm pin v1\x00"), secret...))
	return withoutZeros(sum[:])
}

// withoutZeros makes an authorisation value that everybody reads alike. A TPM takes zeros at its end away (TPM 2.0 Library
// specification part 1, 19.6.5), and go-tpm v0.9.8 cuts it at the first zero wherever that is: one value in nine would be refused,
// and count towards the lockout. The values lose a hundredth of a bit for each byte.
func withoutZeros(auth []byte) []byte {
	for i, b := range auth {
		if b == 0 {
			auth[i] = 1
		}
	}
	return auth
}

// tpm is an open TPM with its storage root key loaded.
type tpm struct {
	mu   sync.Mutex // one command at a time
	conn transport.TPMCloser
	srk  tpm2.NamedHandle
	pub  tpm2.TPMTPublic
}

func dialTPM(device string) (*tpm, error) {
	if device == "" {
		device = DefaultTPM
	}
	info, err := os.Stat(device)
	if err != nil {
		return nil, fmt.Errorf("%w: TPM: %w", ErrClosed, err)
	}
	open := linuxtpm.Open
	if info.Mode()&os.ModeSocket != 0 {
		open = linuxudstpm.Open
	}
	conn, err := open(device)
	if err != nil {
		return nil, fmt.Errorf("%w: TPM: %w", ErrClosed, err)
	}
	t := &tpm{conn: conn}
	// The same template and the same seed give the same key each time, so nothing has to be kept in the TPM.
	srk, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: TPM: storage root key: %w", ErrClosed, err), conn.Close())
	}
	t.srk = tpm2.NamedHandle{Handle: srk.ObjectHandle, Name: srk.Name}
	pub, err := srk.OutPublic.Contents()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: TPM: storage root key: %w", ErrClosed, err), t.close())
	}
	t.pub = *pub
	return t, nil
}

// session authorises one command and hides its first parameter, in a direction that has one to hide, from who listens on the
// TPM's bus.
func (t *tpm) session(auth []byte, hide tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(auth), hide, tpm2.Salted(t.srk.Handle, t.pub))
}

// What a session hides: what goes into the TPM, what comes out, or both. Not every command has something of each.
var (
	hideIn   = tpm2.AESEncryption(128, tpm2.EncryptIn)
	hideOut  = tpm2.AESEncryption(128, tpm2.EncryptOut)
	hideBoth = tpm2.AESEncryption(128, tpm2.EncryptInOut)
)

func (t *tpm) parent() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: t.srk.Handle, Name: t.srk.Name, Auth: t.session(nil, hideBoth)}
}

func (t *tpm) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t.conn) // closing the connection to a resource manager does it too
}

func (t *tpm) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(t.srk.Handle)
	return t.conn.Close()
}

// create makes an object below the storage root key.
func (t *tpm) create(public tpm2.TPMTPublic, auth, data []byte) (pub, priv []byte, err error) {
	sensitive := &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: auth}}
	if data != nil {
		sensitive.Data = tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data})
	}
	rsp, err := tpm2.Create{ParentHandle: t.parent(), InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: sensitive}, InPublic: tpm2.New2B(public)}.Execute(t.conn)
	if err != nil {
		return nil, nil, fmt.Errorf("TPM: %w", err)
	}
	return rsp.OutPublic.Bytes(), rsp.OutPrivate.Buffer, nil
}

func (t *tpm) load(public, priv []byte) (tpm2.NamedHandle, error) {
	rsp, err := tpm2.Load{ParentHandle: t.parent(), InPrivate: tpm2.TPM2BPrivate{Buffer: priv}, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](public)}.Execute(t.conn)
	if err != nil {
		return tpm2.NamedHandle{}, fmt.Errorf("%w: TPM: it was not made by this TPM: %w", ErrClosed, err)
	}
	return tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, nil
}

func (b *Box) newTPM(a Access, secret []byte, pq *mldsa.PrivateKey) (err error) {
	t, err := dialTPM(a.Device)
	if err != nil {
		return err
	}
	defer t.close()
	auth := tpmAuth(secret)
	blobs := &tpmBlobs{PIN: len(auth) > 0}
	signing := tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256, Scheme: tpm2.TPMTECCScheme{
			Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})}})}
	if blobs.Public, blobs.Private, err = t.create(signing, auth, nil); err != nil {
		return err
	}
	if pq != nil {
		data := tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true}}
		var counter []byte
		if blobs.Counter, counter, err = t.newCounter(); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				t.dropCounter(blobs.Counter.Index)
			}
		}()
		if blobs.SeedPublic, blobs.SeedPrivate, err = t.create(data, auth, append(seed(pq), counter...)); err != nil {
			return err
		}
	}
	public, err := tpmPoint(blobs.Public)
	if err != nil {
		return err
	}
	b.TPM = blobs
	b.Point, err = public.Bytes()
	return err
}

func (b *Box) openTPM(a Access, secret []byte) (private, error) {
	t, err := dialTPM(a.Device)
	if err != nil {
		return private{}, err
	}
	p, err := b.loadTPM(t, tpmAuth(secret))
	if err != nil {
		return private{}, errors.Join(err, t.close())
	}
	return p, nil
}

func (b *Box) loadTPM(t *tpm, auth []byte) (private, error) {
	public, err := tpmPoint(b.TPM.Public)
	if err != nil {
		return private{}, err
	}
	var pq *mldsa.PrivateKey
	var counter *Counter
	if b.Use == Station {
		h, err := t.load(b.TPM.SeedPublic, b.TPM.SeedPrivate)
		if err != nil {
			return private{}, err
		}
		rsp, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: h.Handle, Name: h.Name, Auth: t.session(auth, hideOut)}}.Execute(t.conn)
		t.flush(h.Handle)
		if err != nil {
			return private{}, fmt.Errorf("%w: TPM: %w", ErrClosed, err)
		}
		seed, counts, err := b.splitSeed(rsp.OutData.Buffer)
		if err != nil {
			return private{}, err
		}
		if pq, err = b.fromSeed(seed); err != nil {
			return private{}, err
		}
		if b.HasCounter() {
			counter = &Counter{t, *b.TPM.Counter, counts, b.Point}
		}
	}
	h, err := t.load(b.TPM.Public, b.TPM.Private)
	if err != nil {
		return private{}, err
	}
	return private{sign: &tpmSigner{t, h, auth, public}, pq: pq, counter: counter, close: func() error {
		t.mu.Lock()
		t.flush(h.Handle)
		t.mu.Unlock()
		return t.close()
	}}, nil
}

// tpmPoint is the public key of a signing object.
func tpmPoint(public []byte) (*ecdsa.PublicKey, error) {
	bad := func(err error) error { return fmt.Errorf("%w: TPM object: %w", ErrBox, err) }
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		return nil, bad(err)
	}
	params, err := area.Parameters.ECCDetail()
	if err != nil {
		return nil, bad(err)
	}
	point, err := area.Unique.ECC()
	if err != nil {
		return nil, bad(err)
	}
	key, err := tpm2.ECDSAPub(params, point)
	if err != nil {
		return nil, bad(err)
	}
	return key, nil
}

// tpmSigner is a key inside a TPM.
type tpmSigner struct {
	t      *tpm
	key    tpm2.NamedHandle
	auth   []byte
	public *ecdsa.PublicKey
}

// Public returns the public key.
func (s *tpmSigner) Public() crypto.PublicKey { return s.public }

// Sign signs a SHA-256.
func (s *tpmSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if len(digest) != sha256.Size || !signsSHA256(opts) {
		return nil, errors.New("TPM: only SHA-256 is signed")
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	rsp, err := tpm2.Sign{
		KeyHandle:  tpm2.AuthHandle{Handle: s.key.Handle, Name: s.key.Name, Auth: s.t.session(s.auth, hideIn)},
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
	}.Execute(s.t.conn)
	if err != nil {
		return nil, fmt.Errorf("TPM: %w", err)
	}
	sig, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return nil, fmt.Errorf("TPM: %w", err)
	}
	return ecdsaDER(sig.SignatureR.Buffer, sig.SignatureS.Buffer)
}

// signsSHA256 reports whether a caller of crypto.Signer speaks of SHA-256, or of nothing, which leaves the digest's length.
func signsSHA256(opts crypto.SignerOpts) bool { return opts == nil || opts.HashFunc() == crypto.SHA256 }

// ecdsaDER writes a signature as crypto.Signer wants it.
func ecdsaDER(r, s []byte) ([]byte, error) {
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
}
