package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"testing"
	"time"
)

// A fuzzer holds no key, so nothing new that it makes must verify, and whatever is read must be what was written: one
// value, one spelling.

// fixedRig has the same keys in each of the fuzzer's processes.
func fixedRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{keys: exampleKeys(t), now: exampleTime.Add(time.Hour)}
	for i := range byte(3) {
		root, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{i + 10}, 32))
		if err != nil {
			t.Fatal(err)
		}
		r.roots = append(r.roots, root)
	}
	r.setTrust(t, func(*Trust) {})
	return r
}

func FuzzToken(f *testing.F) {
	r := fixedRig(f)
	token := r.token(f, nil)
	short, err := withoutPQ(token)
	if err != nil {
		f.Fatal(err)
	}
	p, err := parseToken(token)
	if err != nil {
		f.Fatal(err)
	}
	signed := p.envelope.Payload
	f.Add(token)
	f.Add(short)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseToken(data)
		if err != nil {
			return
		}
		again, err := encoder.Marshal(p.envelope)
		if err != nil || !bytes.Equal(append([]byte{tagSign1}, again...), data) {
			t.Fatalf("another spelling was read: %x", data)
		}
		w, err := p.claims.wire()
		if err != nil {
			t.Fatal(err)
		}
		if payload, err := encoder.Marshal(w); err != nil || !bytes.Equal(payload, p.envelope.Payload) {
			t.Fatal("the claims have two spellings")
		}
		if _, _, err := LeafOfToken(data); err != nil {
			t.Fatalf("a token without a leaf: %v", err)
		}
		for _, fromQR := range []bool{false, true} {
			v := r.question(data)
			v.FromQR = fromQR
			if got := Verify(v); got.Claims != nil && !bytes.Equal(p.envelope.Payload, signed) {
				t.Fatalf("a forgery: %v", got.Reason)
			}
		}
	})
}

func FuzzQR(f *testing.F) {
	r := fixedRig(f)
	digits, err := QR(r.token(f, nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(digits)
	f.Add(digits[:40])
	f.Add("7781 000-000")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseQR(text)
		if err != nil {
			return
		}
		if _, err := QR(token); err != nil {
			t.Fatalf("digits that cannot be written again: %v", err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := NewManifest(exampleID)
	fill(f, m, 0, "a.txt", "b/c.txt", "a.txt:s", "empty/")
	fill(f, m, 1, "second.txt")
	if _, err := m.Seal(); err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := m.WriteTo(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte(ManifestMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadManifest(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if _, err := m.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), data) {
			t.Fatalf("another spelling was read (%v)", err)
		}
	})
}

func FuzzTrust(f *testing.F) {
	r := fixedRig(f)
	data := r.setTrust(f, func(trust *Trust) {
		trust.Revoked, trust.MinRules, trust.LogKeys = [][16]byte{{1}}, map[string]uint64{"baseline": 1}, []string{"log+1+AA"}
	})
	f.Add(data)
	f.Add(data[:200])
	f.Fuzz(func(t *testing.T, changed []byte) {
		trust, err := ParseTrust(changed)
		if err != nil {
			return
		}
		// A fuzzer can make a file with a root of its own only by finding that root's key.
		if !bytes.Equal(trust.payload, r.trust.payload) {
			t.Fatal("a forgery")
		}
	})
}
