package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"

	"filippo.io/mldsa"
	"golang.org/x/crypto/argon2"

	"pratique/scanner/frame"
)

// sealed is AES-256-GCM under argon2id of the secret and the salt (RFC 9106). The salt is drawn for each box, so each key
// seals one message.
type sealed struct {
	Salt   []byte `cbor:"1,keyasint"`
	Time   uint32 `cbor:"2,keyasint"` // passes
	Memory uint32 `cbor:"3,keyasint"` // KiB
	Text   []byte `cbor:"4,keyasint"`
}

// What argon2id costs: the second recommended choice of RFC 9106 section 4, for machines with little memory. A file may ask
// for other values within the bounds, so that they can grow one day.
const (
	sealTime, maxSealTime     = 3, 16
	sealMemory, maxSealMemory = 64 << 10, 1 << 20 // KiB
	sealThreads               = 1
	saltSize                  = 16
)

func (b *Box) newFile(secret []byte, pq *mldsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	scalar, err := key.Bytes()
	if err != nil {
		return err
	}
	if b.Point, err = key.PublicKey.Bytes(); err != nil {
		return err
	}
	b.Sealed = &sealed{Salt: make([]byte, saltSize), Time: sealTime, Memory: sealMemory}
	if _, err := rand.Read(b.Sealed.Salt); err != nil {
		return err
	}
	aead, label, err := b.sealer(secret)
	if err != nil {
		return err
	}
	b.Sealed.Text = aead.Seal(nil, make([]byte, aead.NonceSize()), append(scalar, seed(pq)...), label)
	return nil
}

func (b *Box) openFile(secret []byte) (private, error) {
	aead, label, err := b.sealer(secret)
	if err != nil {
		return private{}, err
	}
	text, err := aead.Open(nil, make([]byte, aead.NonceSize()), b.Sealed.Text, label)
	if err != nil || len(text) < 32 {
		return private{}, fmt.Errorf("%w: the secret is wrong, or the file was changed", ErrClosed)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), text[:32])
	if err != nil {
		return private{}, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	pq, err := b.fromSeed(text[32:])
	if err != nil {
		return private{}, err
	}
	return private{sign: key, pq: pq}, nil
}

// sealer returns the cipher, and what the text is bound to: all of the box but the text itself.
func (b *Box) sealer(secret []byte) (cipher.AEAD, []byte, error) {
	s := *b.Sealed
	if len(s.Salt) != saltSize || s.Time == 0 || s.Time > maxSealTime || s.Memory < 8 || s.Memory > maxSealMemory {
		return nil, nil, fmt.Errorf("%w: seal", ErrBox)
	}
	s.Text = nil
	bound := *b
	bound.Sealed = &s
	label, err := frame.Marshal(&bound)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(argon2.IDKey(secret, s.Salt, s.Time, s.Memory, sealThreads, 32))
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, label, err
}
