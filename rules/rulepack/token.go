package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pratique/rules/p11"
	"pratique/rules/pack"
)

// A key in a token has a third kind of file. It is no secret; the private half is made in the token and never leaves it:
//
//	pratique rule key v1 token
//	name Dora Smith
//	public HEX
//	token LABEL         as the token calls itself
//	object HEX          16 bytes, the key's CKA_ID in it
//
// It does not name the vendor's library, which is code: who can change the file could otherwise have its owner run theirs.
// What is signed is held against the public key, and so against the name, by whoever signs, publishes and installs.
const tokenHead = "pratique rule key v1 token"

// objectBytes is the size of a key's id in a token.
const objectBytes = 16

// tokenKey says which key of a token somebody signs with.
type tokenKey struct {
	pack.Key
	token  string
	object []byte
}

func (k *tokenKey) encode() []byte {
	return fmt.Appendf(nil, "%s\nname %s\npublic %x\ntoken %s\nobject %x\n", tokenHead, k.Name, k.Public, k.token, k.object)
}

func parseToken(data []byte) (*tokenKey, error) {
	v, err := fields(data, tokenHead, "name", "public", "token", "object")
	if err != nil {
		return nil, err
	}
	key, err := keyOf(v[0], v[1])
	if err != nil {
		return nil, err
	}
	object, err := unhex(v[3], objectBytes)
	if err != nil {
		return nil, err
	}
	return &tokenKey{key, v[2], object}, nil
}

// newToken makes a key in a token, and the two files of it.
func newToken(h *p11.Helper, name, label string) (public, private []byte, err error) {
	k := &tokenKey{Key: pack.Key{Name: name}, token: label, object: make([]byte, objectBytes)}
	if _, err := rand.Read(k.object); err != nil {
		return nil, nil, err
	}
	made, err := h.Ask(p11.Request{Verb: p11.MakeEd, Object: k.object})
	if err != nil {
		return nil, nil, err
	}
	k.Public = made.Point
	private = k.encode()
	if _, err := parseToken(private); err != nil {
		return nil, nil, fmt.Errorf("the name %q or the label %q cannot be written into a key: %w", name, label, err)
	}
	return publicFile(k.Key), private, nil
}

// tokenSigner is an open token. It is a pack.Signer.
type tokenSigner struct {
	h      *p11.Helper
	object []byte
}

// Sign has the token sign with Ed25519.
func (s *tokenSigner) Sign(message []byte) ([]byte, error) {
	reply, err := s.h.Ask(p11.Request{Verb: p11.SignEd, Object: s.object, Text: message})
	return reply.Signature, err
}

// openToken logs in to the token of a key, and holds what is in it against the file.
func openToken(helper, module string, k *tokenKey, pin []byte) (*signer, error) {
	h, err := p11.Start(helper, module, k.token, pin)
	if err != nil {
		return nil, err
	}
	found, err := h.Ask(p11.Request{Verb: p11.FindEd, Object: k.object})
	if err == nil && string(found.Point) != string(k.Public) {
		err = fmt.Errorf("%w: it holds another key than the file says", p11.ErrToken)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return &signer{k.Key, &tokenSigner{h, k.object}, h.Close}, nil
}

// helperBeside is where keyhelper is: beside this program.
func helperBeside() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(self), "keyhelper")
}

// errTokenFile says that the call and the key's file do not fit.
var errTokenFile = errors.New("the key is in a token, and --pkcs11 FILE names no library to reach it with")
