package clearance

import (
	"crypto/rand"
	_ "crypto/sha256" // go-cose finds the hash of ES256 only if it is linked in
	"errors"
	"fmt"
	"slices"

	"github.com/veraison/go-cose"
)

const (
	// tokenAAD is the external_aad of both signatures: a signature of this format is good for nothing else.
	tokenAAD = "pratique clearance v1"
	// tagSign1 is the one byte of CBOR tag 18, which every token begins with.
	tagSign1 = 0xD2
	// labelDemo is the protected header that marks a demonstration key. Private use: below -65536.
	labelDemo = -70002
)

// envelope is COSE_Sign1 (RFC 9052 section 4.2) with what this format allows in it, and nothing else.
type envelope struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte   // protectedHeader
	Unprotected unprotectedHeader
	Payload     []byte // wireClaims
	Signature   []byte
}

type protectedHeader struct {
	Alg  int64   `cbor:"1,keyasint"`
	Kid  [8]byte `cbor:"4,keyasint"`
	Demo bool    `cbor:"-70002,keyasint,omitempty"`
}

type unprotectedHeader struct {
	PQ *countersignature `cbor:"11,keyasint,omitempty"`
}

// countersignature is COSE_Countersignature in its full form (RFC 9338 section 3.1).
type countersignature struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte   // pqHeader
	Unprotected struct{}
	Signature   []byte
}

type pqHeader struct {
	Alg int64   `cbor:"1,keyasint"`
	Kid [8]byte `cbor:"4,keyasint"`
}

// parsed is a token whose structure is right. Nothing about it is proved yet.
type parsed struct {
	raw      []byte
	envelope envelope
	header   protectedHeader
	claims   Claims
}

// parseToken takes a token apart. It decodes into closed types first and lets go-cose see only what came through, so that
// there is no header, label or spelling that one of the two knows and the other does not.
func parseToken(token []byte) (*parsed, error) {
	if len(token) > MaxToken || len(token) == 0 || token[0] != tagSign1 {
		return nil, fmt.Errorf("token: %w", ErrMalformed)
	}
	p := &parsed{raw: token}
	if err := decodeStrict(token[1:], &p.envelope); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if err := decodeStrict(p.envelope.Protected, &p.header); err != nil {
		return nil, fmt.Errorf("token: header: %w", err)
	}
	if p.header.Alg != algES256 || len(p.envelope.Signature) != 64 {
		return nil, fmt.Errorf("token: %w: algorithm", ErrMalformed)
	}
	var w wireClaims
	if err := decodeStrict(p.envelope.Payload, &w); err != nil {
		return nil, fmt.Errorf("token: claims: %w", err)
	}
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if w.Body.LogIndex == nil {
		return nil, fmt.Errorf("token: %w: no log index", ErrMalformed)
	}
	p.claims = w.claims()
	if pq := p.envelope.Unprotected.PQ; pq != nil {
		var h pqHeader
		if err := decodeStrict(pq.Protected, &h); err != nil {
			return nil, fmt.Errorf("token: post-quantum header: %w", err)
		}
		if h.Alg != algMLDSA65 || h.Kid != p.claims.PQKeyID {
			return nil, fmt.Errorf("token: %w: post-quantum header", ErrMalformed)
		}
	}
	return p, nil
}

// verify checks the signatures with the keys of a station. pqRequired says whether the post-quantum signature must be
// there; one that is there must be good in any case.
func (p *parsed) verify(key StationKey, pqRequired bool) error {
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(p.raw); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	verifier, err := newVerifier(key.Sign)
	if err != nil {
		return err
	}
	if err := m.Verify([]byte(tokenAAD), verifier); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if p.envelope.Unprotected.PQ == nil {
		if pqRequired {
			return errors.New("token: the post-quantum signature is missing")
		}
		return nil
	}
	counter, ok := m.Headers.Unprotected[cose.HeaderLabelCounterSignatureV2].(*cose.Countersignature)
	if !ok || pqKeyID(key.PQ) != p.claims.PQKeyID {
		return errors.New("token: the post-quantum signature is not by this station's key")
	}
	if err := counter.Verify(pqVerifier{key.PQ}, m, []byte(tokenAAD)); err != nil {
		return fmt.Errorf("token: post-quantum signature: %w", err)
	}
	return nil
}

// ParseClaims returns what a token says, in either form, and proves nothing. A log may show it; a decision may not be
// taken from it.
func ParseClaims(token []byte) (Claims, error) {
	p, err := parseToken(token)
	if err != nil {
		return Claims{}, err
	}
	return p.claims, nil
}

// Sign returns the token in its file form, with both signatures. It refuses everything that a verifier would refuse:
// claims that are not cleared, without a log index, for nobody, for another issuer, valid for too long. The token is
// checked before it is returned, so a signing device that fails gives an error and not a bad token.
func Sign(c Claims, k *Keys) ([]byte, error) {
	if k == nil {
		return nil, errors.New("clearance: no key")
	}
	w, err := c.wire()
	if err != nil {
		return nil, err
	}
	switch {
	case c.LogIndex == nil:
		return nil, errors.New("clearance: no token without a log entry")
	case c.Issuer != k.public.Issuer:
		return nil, fmt.Errorf("clearance: the claims name issuer %q, the key is of %q", c.Issuer, k.public.Issuer)
	case c.PQKeyID != k.PQKeyID():
		return nil, errors.New("clearance: the claims name another post-quantum key")
	case c.IssuedAt.Before(k.public.NotBefore) || c.IssuedAt.After(k.public.NotAfter):
		return nil, errors.New("clearance: the station's key is not valid at this time")
	}
	m := cose.NewSign1Message()
	m.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
	kid := k.public.KeyID()
	m.Headers.Protected[cose.HeaderLabelKeyID] = kid[:]
	if k.demo {
		m.Headers.Protected[int64(labelDemo)] = true
	}
	if m.Payload, err = encoder.Marshal(w); err != nil {
		return nil, err
	}
	signer, err := newSigner(k.sign)
	if err != nil {
		return nil, err
	}
	if err := m.Sign(rand.Reader, []byte(tokenAAD), signer); err != nil {
		return nil, fmt.Errorf("clearance: sign: %w", err)
	}
	counter := cose.NewCountersignature()
	counter.Headers.Protected.SetAlgorithm(algMLDSA65)
	counter.Headers.Protected[cose.HeaderLabelKeyID] = slices.Clone(c.PQKeyID[:])
	if err := counter.Sign(rand.Reader, pqSigner{k.pq}, m, []byte(tokenAAD)); err != nil {
		return nil, fmt.Errorf("clearance: sign: %w", err)
	}
	m.Headers.Unprotected[cose.HeaderLabelCounterSignatureV2] = counter
	token, err := m.MarshalCBOR()
	if err != nil {
		return nil, fmt.Errorf("clearance: encode token: %w", err)
	}
	p, err := parseToken(token)
	if err == nil {
		err = p.verify(k.public, true)
	}
	if err != nil {
		return nil, fmt.Errorf("clearance: the new token does not verify: %w", err)
	}
	return token, nil
}

// withoutPQ returns the same token without its post-quantum signature: the form that fits into a QR code.
func withoutPQ(token []byte) ([]byte, error) {
	p, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	p.envelope.Unprotected.PQ = nil
	data, err := encoder.Marshal(p.envelope)
	if err != nil {
		return nil, err
	}
	return append([]byte{tagSign1}, data...), nil
}
