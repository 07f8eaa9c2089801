// Package p11 is what the keyhelper program and its users agree on: messages of package frame over the helper's standard
// input and output, one reply to each request, in order; and Helper, the users' half. A station keeps its key in a token so, and a
// person of the security team the key that signs rule packs.
//
// The helper loads the library of a token's vendor: C code of unknown quality that must never be in the process that decides.
// So it is a process of its own, which gets a PIN, something to sign or a new seed, and gives a public key, a signature or the
// seed back. It keeps nothing, and ends when its input does.
//
//	open  {module, token, pin}   loads the library and logs in to the token with that label; once, and first
//	make  {object, seed?}        makes a P-256 key pair and, if there is a seed, a private data object; replies its point
//	find  {object}               replies the point and the seed
//	sign  {object, digest}       replies r and s of ES256, 64 bytes
//
//	make-ed25519  {object}           makes an Ed25519 key pair, for rule packs; replies the public key, 32 bytes
//	find-ed25519  {object}           replies it
//	sign-ed25519  {object, message}  replies the signature of the message itself (RFC 8032), 64 bytes
//
// Neither side trusts the other with a length: a message has at most MaxMessage bytes, and each field its own size, which
// Check holds it to. A request that breaks the rules ends the helper.
package p11

import (
	"fmt"
	"unicode/utf8"
)

// MaxText bounds what is signed: package pack reads no metadata that is longer.
const MaxText = 64 << 10

// MaxMessage bounds a message in bytes: what is signed, or a path, a label and a PIN, at their longest.
const MaxMessage = MaxText + 8<<10

// Limits on fields.
const (
	maxPath  = 4 << 10
	maxLabel = 32 // of a token (PKCS#11 2.40 section 3.2)
	maxPIN   = 1 << 10
	maxError = 256
)

// Verb is what is asked for.
type Verb string

// The verbs.
const (
	Open Verb = "open"
	Make Verb = "make"
	Find Verb = "find"
	Sign Verb = "sign"

	MakeEd Verb = "make-ed25519"
	FindEd Verb = "find-ed25519"
	SignEd Verb = "sign-ed25519"
)

// Request is one message to the helper.
type Request struct {
	Verb   Verb   `cbor:"1,keyasint"`
	Module string `cbor:"2,keyasint,omitempty"`
	Token  string `cbor:"3,keyasint,omitempty"`
	PIN    []byte `cbor:"4,keyasint,omitempty"`
	Object []byte `cbor:"5,keyasint,omitempty"` // 16 bytes
	Seed   []byte `cbor:"6,keyasint,omitempty"` // 32 bytes
	Digest []byte `cbor:"7,keyasint,omitempty"` // 32 bytes
	Text   []byte `cbor:"8,keyasint,omitempty"` // 1 to MaxText bytes
}

// Check holds a request against the rules: what a verb does not take must not be there.
func (r *Request) Check() error {
	open, object := r.Verb == Open, r.Verb == Make || r.Verb == Find || r.Verb == Sign || r.Verb == MakeEd || r.Verb == FindEd || r.Verb == SignEd
	switch {
	case !open && !object:
		return fmt.Errorf("unknown verb")
	case open != (r.Module != "") || open != (r.Token != "") || open != (len(r.PIN) > 0):
		return fmt.Errorf("%s: module, token and pin", r.Verb)
	case len(r.Module) > maxPath || len(r.Token) > maxLabel || len(r.PIN) > maxPIN:
		return fmt.Errorf("%s: too long", r.Verb)
	case open && r.Module[0] != '/':
		return fmt.Errorf("%s: a module is named by its whole path", r.Verb)
	case object != (len(r.Object) == 16) || !object && len(r.Object) > 0:
		return fmt.Errorf("%s: object", r.Verb)
	case len(r.Seed) != 0 && (r.Verb != Make || len(r.Seed) != 32):
		return fmt.Errorf("%s: seed", r.Verb)
	case (r.Verb == Sign) != (len(r.Digest) == 32) || r.Verb != Sign && len(r.Digest) > 0:
		return fmt.Errorf("%s: digest", r.Verb)
	case (r.Verb == SignEd) != (len(r.Text) > 0) || len(r.Text) > MaxText:
		return fmt.Errorf("%s: text of %d bytes", r.Verb, len(r.Text))
	}
	return nil
}

// Reply is one message of the helper.
type Reply struct {
	Error     string `cbor:"1,keyasint,omitempty"`
	Point     []byte `cbor:"2,keyasint,omitempty"` // 65 bytes; 32 of an Ed25519 key
	Seed      []byte `cbor:"3,keyasint,omitempty"` // 32 bytes
	Signature []byte `cbor:"4,keyasint,omitempty"` // 64 bytes
}

// Failure is the reply that says what went wrong, as far as it fits.
func Failure(err error) Reply {
	text := err.Error()
	if len(text) > maxError {
		text = text[:maxError]
	}
	if !utf8.ValidString(text) || text == "" {
		text = "the token failed"
	}
	return Reply{Error: text}
}

// Check holds a reply against the request that it answers.
func (r *Reply) Check(verb Verb) error {
	if r.Error != "" {
		if len(r.Error) > maxError || len(r.Point)+len(r.Seed)+len(r.Signature) > 0 {
			return fmt.Errorf("%s: a failure with an answer", verb)
		}
		return nil
	}
	point := map[Verb]int{Make: 65, Find: 65, MakeEd: 32, FindEd: 32}[verb]
	signs := verb == Sign || verb == SignEd
	switch {
	case len(r.Point) != point:
		return fmt.Errorf("%s: point", verb)
	case len(r.Seed) != 0 && (verb != Find || len(r.Seed) != 32):
		return fmt.Errorf("%s: seed", verb)
	case signs != (len(r.Signature) == 64) || !signs && len(r.Signature) > 0:
		return fmt.Errorf("%s: signature", verb)
	}
	return nil
}
