package clearance

import (
	"crypto/ecdsa"
	"crypto/rand"
	"flag"
	"testing"
	"time"

	"github.com/veraison/go-cose"
)

// mutants is how many bit patterns each byte of a token, manifest or trust file is changed by; the nightly run takes all 255.
var mutants = flag.Int("mutants", 3, "bit patterns per byte in mutation tests, up to 255")

// changes are the bytes that b is replaced by: always the empty and null values of CBOR, which are second spellings of
// one another, and then so many patterns as were asked for.
func changes(b byte) []byte {
	list := []byte{}
	for _, empty := range []byte{0x40, 0x60, 0x80, 0xA0, 0xF4, 0xF6, 0xF7} {
		if empty != b {
			list = append(list, empty)
		}
	}
	for _, p := range patterns() {
		list = append(list, b^p)
	}
	return list
}

// patterns are the changes to a byte: each of the first few touches another part of CBOR's first byte.
func patterns() []byte {
	list := []byte{0x01, 0x80, 0xFF, 0x20, 0x40, 0x10}
	for b := 2; len(list) < 255; b++ {
		switch byte(b) {
		case 0x80, 0xFF, 0x20, 0x40, 0x10:
		default:
			list = append(list, byte(b))
		}
	}
	return list[:min(max(*mutants, 1), 255)]
}

// rig is a station, its trust file, and a verifier at an hour after the issue.
type rig struct {
	keys  *Keys
	roots []*ecdsa.PrivateKey
	trust *Trust
	now   time.Time
}

func newRig(t testing.TB, demo bool) *rig {
	t.Helper()
	keys, err := GenerateKeys("kiosk-1", demo, exampleTime.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{keys: keys, now: exampleTime.Add(time.Hour)}
	for range 3 {
		root, err := GenerateRoot()
		if err != nil {
			t.Fatal(err)
		}
		r.roots = append(r.roots, root)
	}
	r.setTrust(t, func(trust *Trust) { trust.Demo = demo })
	return r
}

// contents is the trust file's contents before signing.
func (r *rig) contents() *Trust {
	t := &Trust{Version: 7, Issued: exampleTime.Add(-time.Minute), QRWithout: true, Stations: []StationKey{r.keys.Public()}, Threshold: 2}
	for _, root := range r.roots {
		t.Roots = append(t.Roots, &root.PublicKey)
	}
	return t
}

// setTrust signs a trust file with two of three roots and reads it back.
func (r *rig) setTrust(t testing.TB, change func(*Trust)) []byte {
	t.Helper()
	contents := r.contents()
	change(contents)
	data, err := SignTrust(contents, r.roots[0], r.roots[2])
	if err != nil {
		t.Fatal(err)
	}
	if r.trust, err = ParseTrust(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func (r *rig) claims(t testing.TB) Claims {
	c := exampleClaims(t)
	c.PQKeyID = r.keys.PQKeyID()
	return c
}

func (r *rig) token(t testing.TB, change func(*Claims)) []byte {
	t.Helper()
	c := r.claims(t)
	if change != nil {
		change(&c)
	}
	token, err := Sign(c, r.keys)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// question is a verification that is Valid.
func (r *rig) question(token []byte) Verification {
	return Verification{Token: token, Trust: r.trust, Class: "imaging", Now: r.now, Medium: &Medium{Sectors: 8}, Comparison: &Comparison{Equal: true}}
}

// forge signs any claims and headers with the station's keys, past every check of Sign: what a stolen or broken station
// could write.
func (r *rig) forge(t testing.TB, change func(w *wireClaims, m *cose.Sign1Message)) []byte {
	t.Helper()
	c := r.claims(t)
	w, err := c.wire()
	if err != nil {
		t.Fatal(err)
	}
	m := cose.NewSign1Message()
	kid := r.keys.public.KeyID()
	m.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
	m.Headers.Protected[cose.HeaderLabelKeyID] = kid[:]
	if r.keys.demo {
		m.Headers.Protected[int64(labelDemo)] = true
	}
	change(&w, m)
	if m.Payload == nil {
		if m.Payload, err = encoder.Marshal(w); err != nil {
			t.Fatal(err)
		}
	}
	return r.seal(t, m, tokenAAD)
}

// seal puts both signatures on a message.
func (r *rig) seal(t testing.TB, m *cose.Sign1Message, aad string) []byte {
	t.Helper()
	signer, err := newSigner(r.keys.sign)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Sign(rand.Reader, []byte(aad), signer); err != nil {
		t.Fatal(err)
	}
	pqid := r.keys.PQKeyID()
	counter := cose.NewCountersignature()
	counter.Headers.Protected.SetAlgorithm(algMLDSA65)
	counter.Headers.Protected[cose.HeaderLabelKeyID] = pqid[:]
	if err := counter.Sign(rand.Reader, pqSigner{r.keys.pq}, m, []byte(aad)); err != nil {
		t.Fatal(err)
	}
	m.Headers.Unprotected[cose.HeaderLabelCounterSignatureV2] = counter
	token, err := m.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
