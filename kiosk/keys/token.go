package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"filippo.io/mldsa"

	"pratique/rules/p11"
)

// startHelper starts keyhelper and lets it log in.
func startHelper(path, module, token string, pin []byte) (*p11.Helper, error) {
	h, err := p11.Start(path, module, token, pin)
	if err != nil {
		return nil, closed(err)
	}
	return h, nil
}

// closed is what a token that cannot be used means for a key in it.
func closed(err error) error { return fmt.Errorf("%w: %w", ErrClosed, err) }

func (b *Box) newToken(_ context.Context, a Access, pin []byte, pq *mldsa.PrivateKey) error {
	h, err := startHelper(a.Helper, a.Module, a.Token, pin)
	if err != nil {
		return err
	}
	defer h.Close()
	object := make([]byte, 16)
	if _, err := rand.Read(object); err != nil {
		return err
	}
	reply, err := h.Ask(p11.Request{Verb: p11.Make, Object: object, Seed: seed(pq)})
	if err != nil {
		return closed(err)
	}
	b.Point, b.Token = reply.Point, &tokenName{Module: a.Module, Token: a.Token, Object: object}
	return nil
}

func (b *Box) openToken(ctx context.Context, a Access, pin []byte) (private, error) {
	if err := ctx.Err(); err != nil {
		return private{}, err
	}
	h, err := startHelper(a.Helper, b.Token.Module, b.Token.Token, pin)
	if err != nil {
		return private{}, err
	}
	p, err := b.findToken(h)
	if err != nil {
		h.Close()
		return private{}, err
	}
	return p, nil
}

func (b *Box) findToken(h *p11.Helper) (private, error) {
	reply, err := h.Ask(p11.Request{Verb: p11.Find, Object: b.Token.Object})
	if err != nil {
		return private{}, closed(err)
	}
	public, err := b.sign()
	if err != nil {
		return private{}, err
	}
	if string(reply.Point) != string(b.Point) {
		return private{}, fmt.Errorf("%w: the token holds another key", ErrClosed)
	}
	pq, err := b.fromSeed(reply.Seed)
	if err != nil {
		return private{}, err
	}
	return private{sign: &tokenSigner{h, b.Token.Object, public}, pq: pq, close: func() error { h.Close(); return nil }}, nil
}

// tokenSigner is a key inside a token.
type tokenSigner struct {
	h      *p11.Helper
	object []byte
	public *ecdsa.PublicKey
}

// Public returns the public key.
func (s *tokenSigner) Public() crypto.PublicKey { return s.public }

// Sign signs a SHA-256.
func (s *tokenSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if len(digest) != sha256.Size || !signsSHA256(opts) {
		return nil, errors.New("token: only SHA-256 is signed")
	}
	reply, err := s.h.Ask(p11.Request{Verb: p11.Sign, Object: s.object, Digest: digest})
	if err != nil {
		return nil, closed(err)
	}
	return ecdsaDER(reply.Signature[:32], reply.Signature[32:])
}
