package audit

import (
	"encoding/hex"
	"fmt"
)

// ID names a session; it is the id of the clearance that the session may end with.
type ID [16]byte

// Digest is a SHA-256.
type Digest [32]byte

// Pseudonym stands for a person, as the operator of a clearance does.
type Pseudonym [8]byte

// MarshalText gives hex.
func (p Pseudonym) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// MarshalText gives hex.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// MarshalText gives hex.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads hex.
func (id *ID) UnmarshalText(text []byte) error { return unhex(id[:], text) }

// UnmarshalText reads hex.
func (d *Digest) UnmarshalText(text []byte) error { return unhex(d[:], text) }

// unhex reads exactly as many bytes as there is room for.
func unhex(to, text []byte) error {
	if hex.DecodedLen(len(text)) != len(to) || len(text)%2 != 0 {
		return fmt.Errorf("%d digits where %d belong", len(text), hex.EncodedLen(len(to)))
	}
	_, err := hex.Decode(to, text)
	return err
}

// String returns hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// String returns hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Word is a fixed word of the program or its configuration: letters, digits, '.', '_', '-', '+', at most 64 of them. There
// is no other text in an entry, so that no name from a medium can get into one by carelessness.
type Word string

// Valid reports whether an entry takes the word.
func (w Word) Valid() bool { return w.check() == nil }

func (w Word) check() error {
	if w == "" || len(w) > maxWord {
		return fmt.Errorf("a word of %d bytes", len(w))
	}
	for _, c := range []byte(w) {
		if !wordByte(c) {
			return fmt.Errorf("a word with byte %#02x", c)
		}
	}
	return nil
}

// WordOf makes a word of what a person typed: what cannot stand in one becomes a hyphen.
func WordOf(text string) Word {
	out := []byte(text)
	for i, c := range out {
		if !wordByte(c) {
			out[i] = '-'
		}
	}
	if len(out) == 0 {
		return "unspecified"
	}
	return Word(out[:min(len(out), maxWord)])
}

func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '-' || c == '+'
}
