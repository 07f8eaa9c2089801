package clearance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
)

// RosterRule is what a trust file says of the roster of the site's people (package kiosk/staff): who signs it, and which one is too
// old. People come and go more often than root holders meet, so those name whoever keeps the roster. The zero rule takes none.
type RosterRule struct {
	Keys      []*ecdsa.PublicKey
	Threshold int    // how many of them must sign
	Least     uint64 // version of the oldest roster that is still good enough
}

// wireRosterRule is the rule as CBOR.
type wireRosterRule struct {
	Keys      []wireRoot `cbor:"keys"`
	Threshold int        `cbor:"threshold"`
	Least     uint64     `cbor:"least"`
}

// MaxRoster bounds a signed roster in bytes: its text, which has 4 MiB at most, and the signatures.
const MaxRoster = 4<<20 + 8<<10

// rosterAAD is the external_aad of a roster's signatures: what is signed here is good for nothing else.
const rosterAAD = "pratique roster v1"

func (r RosterRule) check() error {
	switch {
	case len(r.Keys) > MaxRoots:
		return fmt.Errorf("%w: too many keys for the roster", ErrMalformed)
	case len(r.Keys) == 0 && (r.Threshold != 0 || r.Least != 0), len(r.Keys) > 0 && r.Threshold < 1, r.Threshold > len(r.Keys):
		return fmt.Errorf("%w: threshold of the roster", ErrMalformed)
	}
	return nil
}

func (r RosterRule) wire() *wireRosterRule {
	if len(r.Keys) == 0 {
		return nil
	}
	return &wireRosterRule{wireRoots(r.Keys), r.Threshold, r.Least}
}

// rule is the reverse of RosterRule.wire. A rule without a key has another spelling, which is none at all.
func (w *wireRosterRule) rule() (RosterRule, error) {
	if w == nil {
		return RosterRule{}, nil
	}
	if len(w.Keys) == 0 || len(w.Keys) > MaxRoots {
		return RosterRule{}, fmt.Errorf("%w: keys for the roster", ErrMalformed)
	}
	keys, err := parseRoots(w.Keys)
	return RosterRule{keys, w.Threshold, w.Least}, err
}

// DraftRoster puts a roster's text into a file that nobody signed yet.
func DraftRoster(text []byte) ([]byte, error) {
	data, err := encodeTrust(trustEnvelope{Payload: text})
	if err == nil && len(data) > MaxRoster {
		err = errors.New("clearance: the roster is too long")
	}
	return data, err
}

// CountersignRoster adds a signature to a roster, or takes the place of the one that this key gave before.
func CountersignRoster(data []byte, key crypto.Signer) ([]byte, error) {
	f, err := decodeSigned(data, MaxRoster)
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return f.sign(key, rosterAAD)
}

// RosterText returns what is in a signed roster, and proves nothing.
func RosterText(data []byte) ([]byte, error) {
	f, err := decodeSigned(data, MaxRoster)
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return f.payload, nil
}

// RosterWords is the fingerprint of a roster's text: those who sign compare it.
func RosterWords(text []byte) string { return Words(sha256.Sum256(text)) }

// OpenRoster returns the text of a roster that enough of those signed whom the rule names. Its version is the caller's to
// compare: with Least, and with what it had before.
func (r RosterRule) OpenRoster(data []byte) ([]byte, error) {
	if len(r.Keys) == 0 || r.Threshold < 1 {
		return nil, errors.New("the trust file does not say who signs the roster")
	}
	f, err := decodeSigned(data, MaxRoster)
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	good := 0
	for _, s := range f.signatures {
		for _, key := range r.Keys {
			if keyID(key) != s.kid {
				continue
			}
			if err := f.verify(s, key, rosterAAD); err != nil {
				return nil, fmt.Errorf("roster: %w: a signature", ErrMalformed)
			}
			good++
		}
	}
	if good < r.Threshold {
		return nil, fmt.Errorf("roster: %d of the %d signatures that the trust file asks for are there", good, r.Threshold)
	}
	return f.payload, nil
}
