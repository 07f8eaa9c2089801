// Command keyhelper signs with a key in a PKCS#11 token, for pratiqued and pratique, which start it.
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
		fmt.Fprintln(os.Stderr, "keyhelper: error: it takes no arguments; pratique and pratiqued start it")
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
	}
	return t.sign(q.Object, q.Digest)
}

// p256 is the curve's name as CKA_EC_PARAMS wants it: the DER of its object identifier (SEC 2, 1.2.840.10045.3.1.7).
var p256 = []byte{0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}

// label is what an administrator sees in the token's list, and what the seed is found by: data objects have no id.
func label(object []byte) string { return "pratique " + hex.EncodeToString(object) }

func (t *token) make(object, seed []byte) (p11.Reply, error) {
	public := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256),
		pkcs11.NewAttribute(pkcs11.CKA_ID, object), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)),
	}
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, object), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)),
	}
	if _, _, err := t.ctx.GenerateKeyPair(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}, public, private); err != nil {
		return p11.Reply{}, fmt.Errorf("make a key pair: %w", err)
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
	return p11.Reply{Point: point}, err
}

func (t *token) find(object []byte) (p11.Reply, error) {
	point, err := t.point(object)
	if err != nil {
		return p11.Reply{}, err
	}
	seeds, err := t.objects(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label(object)))
	if err != nil || len(seeds) > 1 {
		return p11.Reply{}, fmt.Errorf("find the seed: %d objects: %w", len(seeds), err)
	}
	if len(seeds) == 0 {
		return p11.Reply{Point: point}, nil
	}
	values, err := t.ctx.GetAttributeValue(t.session, seeds[0], []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	if err != nil || len(values) != 1 || len(values[0].Value) != 32 {
		return p11.Reply{}, fmt.Errorf("read the seed: %w", err)
	}
	return p11.Reply{Point: point, Seed: values[0].Value}, nil
}

func (t *token) sign(object, digest []byte) (p11.Reply, error) {
	key, err := t.one(pkcs11.CKO_PRIVATE_KEY, object)
	if err != nil {
		return p11.Reply{}, err
	}
	if err := t.ctx.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, key); err != nil {
		return p11.Reply{}, fmt.Errorf("sign: %w", err)
	}
	sig, err := t.ctx.Sign(t.session, digest)
	if err != nil {
		return p11.Reply{}, fmt.Errorf("sign: %w", err)
	}
	if len(sig) != 64 {
		return p11.Reply{}, fmt.Errorf("sign: a signature of %d bytes", len(sig))
	}
	return p11.Reply{Signature: sig}, nil
}

// point returns the public key with an id, as 65 bytes. CKA_EC_POINT is an OCTET STRING around them, which some tokens
// leave out.
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
	if rest, err := asn1.Unmarshal(value, &inner); err == nil && len(rest) == 0 {
		value = inner
	}
	if len(value) != 65 || !bytes.HasPrefix(value, []byte{4}) {
		return nil, errors.New("the public key is not on P-256")
	}
	return value, nil
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
