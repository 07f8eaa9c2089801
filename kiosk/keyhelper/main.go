// Command keyhelper signs with a key in a PKCS#11 token, for pratiqued, pratique and rulepack, which start it.
//
// It holds the vendor's library, which is C of unknown quality and may talk to a card reader or a network: so it is a process
// of its own, and holds nothing else. What it is asked and answers is in package rules/p11. It trusts who started it and
// the library; it writes no file, and ends when its standard input does.
//
// Keys are made in the token and cannot be taken out of it (CKA_EXTRACTABLE is false). The seed of a station's post-quantum
// key is a private data object beside them, which the token shows after login only: no common token signs with ML-DSA yet.
//
// Exit codes: 0 its input ended; 1 a request broke the rules.
package main

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/miekg/pkcs11"

	"pratique/rules/p11"
	"pratique/scanner/frame"
)

func main() {
	if len(os.Args) != 1 {
		fmt.Fprintln(os.Stderr, "keyhelper: error: it takes no arguments; pratique, pratiqued and rulepack start it")
		os.Exit(2)
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "keyhelper: error: %v\n", err)
		os.Exit(1)
	}
}

// serve answers requests until they end. It returns an error for what breaks the rules; what a token refuses is a reply.
func serve(in io.Reader, out io.Writer) error {
	r, w := frame.NewSmallReader(in, p11.MaxMessage), frame.NewWriter(out)
	var t *token
	defer func() {
		if t != nil {
			t.close()
		}
	}()
	for {
		var q p11.Request
		if err := r.Next(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := q.Check(); err != nil {
			return err
		}
		if (t == nil) != (q.Verb == p11.Open) {
			return fmt.Errorf("%s: open comes once, and first", q.Verb)
		}
		var reply p11.Reply
		var err error
		if q.Verb == p11.Open {
			t, err = open(q.Module, q.Token, string(q.PIN))
		} else {
			reply, err = t.answer(&q)
		}
		if err != nil {
			reply = p11.Failure(err)
		}
		if err := errors.Join(w.Write(reply), w.Flush()); err != nil {
			return err
		}
		if t == nil {
			return nil // it could not be opened, and there is nothing else to ask
		}
	}
}

// token is a session with a token, logged in.
type token struct {
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
}

func open(module, label, pin string) (*token, error) {
	ctx := pkcs11.New(module)
	if ctx == nil {
		return nil, errors.New("the module cannot be loaded")
	}
	if err := ctx.Initialize(); err != nil {
		ctx.Destroy()
		return nil, fmt.Errorf("initialise the module: %w", err)
	}
	t := &token{ctx: ctx}
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		t.end()
		return nil, fmt.Errorf("list the slots: %w", err)
	}
	found := []uint{}
	for _, slot := range slots {
		if info, err := ctx.GetTokenInfo(slot); err == nil && info.Label == label {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		t.end()
		return nil, fmt.Errorf("%d tokens have that label", len(found))
	}
	if t.session, err = ctx.OpenSession(found[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); err != nil {
		t.end()
		return nil, fmt.Errorf("open a session: %w", err)
	}
	if err := ctx.Login(t.session, pkcs11.CKU_USER, pin); err != nil {
		t.end()
		return nil, fmt.Errorf("log in: %w", err)
	}
	return t, nil
}

func (t *token) close() {
	_ = t.ctx.Logout(t.session)
	_ = t.ctx.CloseSession(t.session)
	t.end()
}

func (t *token) end() {
	_ = t.ctx.Finalize()
	t.ctx.Destroy()
}

func (t *token) answer(q *p11.Request) (p11.Reply, error) {
	switch q.Verb {
	case p11.Make:
		return t.make(q.Object, q.Seed)
	case p11.Find:
		return t.find(q.Object)
	case p11.MakeEd:
		return t.makeEd(q.Object)
	case p11.FindEd:
		point, err := t.point(q.Object)
		return onEdwards(point, err)
	case p11.SignEd:
		return t.use(q.Object, mechanismEdDSA, q.Text)
	}
	return t.use(q.Object, pkcs11.CKM_ECDSA, q.Digest)
}

// p256 is the curve's name as CKA_EC_PARAMS wants it: the DER of its object identifier (SEC 2, 1.2.840.10045.3.1.7).
var p256 = []byte{0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}

// label is what an administrator sees in the token's list, and what the seed is found by: data objects have no id.
func label(object []byte) string { return "pratique " + hex.EncodeToString(object) }

// Ed25519 in PKCS#11 3.0, sections 2.3.5, 2.3.6 and 2.3.14, which the library does not name yet:
// https://docs.oasis-open.org/pkcs11/pkcs11-curr/v3.0/os/pkcs11-curr-v3.0-os.html
const (
	keyTypeEdwards     = 0x40   // CKK_EC_EDWARDS
	mechanismEdwardsKP = 0x1055 // CKM_EC_EDWARDS_KEY_PAIR_GEN
	mechanismEdDSA     = 0x1057 // CKM_EDDSA, over the message itself
)

// ed25519Names are the two ways to name the curve: its name as a PrintableString, its object identifier 1.3.101.112 (RFC 8410).
// Tokens take one of them or both.
var ed25519Names = [][]byte{append([]byte{0x13, 12}, "edwards25519"...), {0x06, 0x03, 0x2B, 0x65, 0x70}}

// pair makes a key pair in the token, of which the private half never leaves it.
func (t *token) pair(mechanism uint, keyType int, curve, object []byte) error {
	public := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curve),
		pkcs11.NewAttribute(pkcs11.CKA_ID, object), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)),
	}
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, object), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)),
	}
	if _, _, err := t.ctx.GenerateKeyPair(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, public, private); err != nil {
		return fmt.Errorf("make a key pair: %w", err)
	}
	return nil
}

func (t *token) makeEd(object []byte) (p11.Reply, error) {
	var err error
	for _, curve := range ed25519Names {
		if err = t.pair(mechanismEdwardsKP, keyTypeEdwards, curve, object); err == nil {
			point, err := t.point(object)
			return onEdwards(point, err)
		}
	}
	return p11.Reply{}, fmt.Errorf("the token may know no Ed25519: %w", err)
}

func (t *token) make(object, seed []byte) (p11.Reply, error) {
	if err := t.pair(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_EC, p256, object); err != nil {
		return p11.Reply{}, err
	}
	if len(seed) > 0 {
		if _, err := t.ctx.CreateObject(t.session, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
			pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false), pkcs11.NewAttribute(pkcs11.CKA_APPLICATION, "pratique"),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)), pkcs11.NewAttribute(pkcs11.CKA_VALUE, seed),
		}); err != nil {
			return p11.Reply{}, fmt.Errorf("store the seed: %w", err)
		}
	}
	point, err := t.point(object)
	return onP256(point, err)
}

func (t *token) find(object []byte) (p11.Reply, error) {
	point, err := t.point(object)
	reply, err := onP256(point, err)
	if err != nil {
		return p11.Reply{}, err
	}
	seeds, err := t.objects(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)))
	if err != nil || len(seeds) > 1 {
		return p11.Reply{}, fmt.Errorf("find the seed: %d objects: %w", len(seeds), err)
	}
	if len(seeds) == 0 {
		return reply, nil
	}
	values, err := t.ctx.GetAttributeValue(t.session, seeds[0], []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	if err != nil || len(values) != 1 || len(values[0].Value) != 32 {
		return p11.Reply{}, fmt.Errorf("read the seed: %w", err)
	}
	return p11.Reply{Point: point, Seed: values[0].Value}, nil
}

// use signs with a private key.
func (t *token) use(object []byte, mechanism uint, message []byte) (p11.Reply, error) {
	key, err := t.one(pkcs11.CKO_PRIVATE_KEY, object)
	if err != nil {
		return p11.Reply{}, err
	}
	if err := t.ctx.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, key); err != nil {
		return p11.Reply{}, fmt.Errorf("sign: %w", err)
	}
	sig, err := t.ctx.Sign(t.session, message)
	if err != nil {
		return p11.Reply{}, fmt.Errorf("sign: %w", err)
	}
	if len(sig) != 64 {
		return p11.Reply{}, fmt.Errorf("sign: a signature of %d bytes", len(sig))
	}
	return p11.Reply{Signature: sig}, nil
}

// point returns the public key with an id. CKA_EC_POINT is an OCTET STRING around it, which some tokens leave out.
func (t *token) point(object []byte) ([]byte, error) {
	key, err := t.one(pkcs11.CKO_PUBLIC_KEY, object)
	if err != nil {
		return nil, err
	}
	values, err := t.ctx.GetAttributeValue(t.session, key, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil || len(values) != 1 {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	value := values[0].Value
	var inner []byte
	if rest, err := asn1.Unmarshal(value, &inner); err == nil && len(rest) == 0 && (len(inner) == 65 || len(inner) == 32) {
		value = inner
	}
	return value, nil
}

// onP256 is the reply with a point of 65 bytes.
func onP256(point []byte, err error) (p11.Reply, error) {
	if err == nil && (len(point) != 65 || !bytes.HasPrefix(point, []byte{4})) {
		err = errors.New("the public key is not on P-256")
	}
	return p11.Reply{Point: point}, err
}

// onEdwards is the reply with an Ed25519 key. A BIT STRING is what PKCS#11 3.0 had around it at first.
func onEdwards(point []byte, err error) (p11.Reply, error) {
	var bits asn1.BitString
	if rest, bad := asn1.Unmarshal(point, &bits); len(point) != 32 && bad == nil && len(rest) == 0 {
		point = bits.Bytes
	}
	if err == nil && len(point) != 32 {
		err = errors.New("the public key is not of Ed25519")
	}
	return p11.Reply{Point: point}, err
}

// one finds the one key of a class with an id.
func (t *token) one(class uint, object []byte) (pkcs11.ObjectHandle, error) {
	found, err := t.objects(pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_ID, object))
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("the token has %d such keys", len(found))
	}
	return found[0], nil
}

func (t *token) objects(like ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := t.ctx.FindObjectsInit(t.session, like); err != nil {
		return nil, fmt.Errorf("look for objects: %w", err)
	}
	found, _, err := t.ctx.FindObjects(t.session, 2)
	if err := errors.Join(err, t.ctx.FindObjectsFinal(t.session)); err != nil {
		return nil, fmt.Errorf("look for objects: %w", err)
	}
	return found, nil
}
