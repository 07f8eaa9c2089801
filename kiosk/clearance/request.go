package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/veraison/go-cose"
)

// Request is what a station asks the site's root holders to put into the trust file: that its keys are its keys. Nothing but
// the six words, compared by two people, says that the request came from the station.
type Request struct {
	Key    StationKey
	LogKey string // the verifier key of the station's log

	payload []byte
}

// wireRequest is the payload of a request. The package comment is the specification.
type wireRequest struct {
	Version uint64      `cbor:"v"`
	Key     wireStation `cbor:"key"`
	LogKey  string      `cbor:"log"`
}

const (
	requestVersion = 1
	// requestAAD is the external_aad of a request: what a station signs here is good for nothing else.
	requestAAD = "pratique enrolment v1"
	// MaxRequest bounds a request in bytes; a real one has about 2,500.
	MaxRequest = 16 << 10
	// qrRequestMagic opens the digits of a request's fingerprint.
	qrRequestMagic = "7782"
)

// Request returns the enrolment request for these keys, signed with them: who sends it holds the key.
func (k *Keys) Request(logKey string) ([]byte, error) {
	if k.demo {
		return nil, fmt.Errorf("clearance: a demonstration key cannot be enrolled")
	}
	if !isWord(logKey, maxNoteKey) {
		return nil, fmt.Errorf("clearance: the log's key is not one word")
	}
	payload, err := encoder.Marshal(wireRequest{requestVersion, k.public.wire(), logKey})
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(k.sign)
	if err != nil {
		return nil, err
	}
	m := cose.NewSign1Message()
	kid := k.public.KeyID()
	m.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
	m.Headers.Protected[cose.HeaderLabelKeyID] = kid[:]
	m.Payload = payload
	if err := m.Sign(rand.Reader, []byte(requestAAD), signer); err != nil {
		return nil, fmt.Errorf("clearance: sign the request: %w", err)
	}
	data, err := m.MarshalCBOR()
	if err != nil {
		return nil, err
	}
	if _, err := ParseRequest(data); err != nil {
		return nil, fmt.Errorf("clearance: the new request does not verify: %w", err)
	}
	return data, nil
}

// ParseRequest reads a request and checks that its own key signed it.
func ParseRequest(data []byte) (*Request, error) {
	bad := func(what string) error { return fmt.Errorf("enrolment request: %w: %s", ErrMalformed, what) }
	if len(data) == 0 || len(data) > MaxRequest || data[0] != tagSign1 {
		return nil, bad("not a request")
	}
	var e struct {
		_           struct{} `cbor:",toarray"`
		Protected   []byte
		Unprotected struct{}
		Payload     []byte
		Signature   []byte
	}
	if err := decodeStrict(data[1:], &e); err != nil {
		return nil, fmt.Errorf("enrolment request: %w", err)
	}
	var h pqHeader
	var w wireRequest
	if err := decodeStrict(e.Protected, &h); err != nil {
		return nil, fmt.Errorf("enrolment request: header: %w", err)
	}
	if err := decodeStrict(e.Payload, &w); err != nil {
		return nil, fmt.Errorf("enrolment request: %w", err)
	}
	key, err := w.Key.station()
	if err != nil {
		return nil, fmt.Errorf("enrolment request: %w", err)
	}
	switch {
	case h.Alg != algES256 || h.Kid != key.KeyID():
		return nil, bad("header")
	case w.Version != requestVersion:
		return nil, bad("version")
	case key.check() != nil || key.RevokedFromLog != nil || key.NotAfter.Sub(key.NotBefore) > KeyLife:
		return nil, bad("the key's name or life")
	case !isWord(w.LogKey, maxNoteKey):
		return nil, bad("the log's key")
	}
	verifier, err := newVerifier(key.Sign)
	if err != nil {
		return nil, err
	}
	var m cose.Sign1Message
	if m.UnmarshalCBOR(data) != nil || m.Verify([]byte(requestAAD), verifier) != nil {
		return nil, bad("signature")
	}
	return &Request{Key: key, LogKey: w.LogKey, payload: e.Payload}, nil
}

// Words is the request's fingerprint for people: over the station's name, both keys, their life and the log's key.
func (r *Request) Words() string { return Words(sha256.Sum256(r.payload)) }

// Digits is the whole fingerprint for a QR code in numeric mode.
func (r *Request) Digits() string {
	sum := sha256.Sum256(r.payload)
	return qrRequestMagic + toDigits(sum[:])
}

// Words writes the first 96 bits of a hash as six words that can be read out in any language: each stands for 16 bits, as
// consonant, vowel, consonant, vowel, consonant of 4, 2, 4, 2 and 4 bits. Nobody finds a second key with the same words by
// trying: that takes 2^96 tries.
func Words(sum [32]byte) string {
	const consonants, vowels = "bdfghjklmnprstvz", "aiou"
	words := make([]string, 6)
	for i := range words {
		n := uint(sum[2*i])<<8 | uint(sum[2*i+1])
		words[i] = string([]byte{consonants[n>>12], vowels[n>>10&3], consonants[n>>6&15], vowels[n>>4&3], consonants[n&15]})
	}
	return strings.Join(words, " ")
}

// SameWords reports whether two people read the same six words: case and what stands between words do not matter.
func SameWords(a, b string) bool {
	split := func(s string) []string {
		return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ' ' || r == '-' || r == ',' || r == '\n' || r == '\t' })
	}
	x, y := split(a), split(b)
	return len(x) == 6 && strings.Join(x, " ") == strings.Join(y, " ")
}

// rootPrefix opens a root's public key as one word of text.
const rootPrefix = "pratique-root-"

// RootText writes a root's public key as one word, for people to send to one another.
func RootText(root *ecdsa.PublicKey) string {
	x, y := coordinates(root)
	return rootPrefix + base64.RawURLEncoding.EncodeToString(append([]byte{2 + y[31]&1}, x[:]...))
}

// ParseRoot is the reverse of RootText.
func ParseRoot(text string) (*ecdsa.PublicKey, error) {
	rest, found := strings.CutPrefix(text, rootPrefix)
	point, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !found || err != nil || len(point) != 33 {
		return nil, fmt.Errorf("root key: %w", ErrMalformed)
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), point)
	if x == nil {
		return nil, fmt.Errorf("root key: %w", ErrMalformed)
	}
	return publicKey([32]byte(x.FillBytes(make([]byte, 32))), [32]byte(y.FillBytes(make([]byte, 32))))
}

// RootWords is the fingerprint of one root's key.
func RootWords(root *ecdsa.PublicKey) string {
	x, y := coordinates(root)
	return wordsOf(wireRoot{keyTypeEC2, algES256, curveP256, x, y})
}

// RootsWords is the fingerprint of the roots as a whole and of how many must sign: what an administrator compares before a
// station, or a device, takes its first trust file.
func (t *Trust) RootsWords() string {
	var w struct {
		Roots     []wireRoot `cbor:"roots"`
		Threshold int        `cbor:"threshold"`
	}
	for _, root := range t.Roots {
		x, y := coordinates(root)
		w.Roots = append(w.Roots, wireRoot{keyTypeEC2, algES256, curveP256, x, y})
	}
	w.Threshold = t.Threshold
	return wordsOf(w)
}

func wordsOf(v any) string {
	data, err := encoder.Marshal(v)
	if err != nil {
		panic(err) // structs of fixed fields
	}
	return Words(sha256.Sum256(data))
}

// Same reports whether two trust files have the same content, whoever signed them.
func (t *Trust) Same(other *Trust) bool {
	return t.payload != nil && bytes.Equal(t.payload, other.payload)
}

// Digest is the SHA-256 of what the roots sign.
func (t *Trust) Digest() [32]byte { return sha256.Sum256(t.payload) }

// ContentWords is the fingerprint of what the roots sign: each root holder compares it with the others before signing.
func (t *Trust) ContentWords() string { return Words(t.Digest()) }
