package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"
	"time"

	"filippo.io/mldsa"
	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

func TestASignedTokenIsValidInBothForms(t *testing.T) {
	r := newRig(t, false)
	token := r.token(t, nil)
	if got := Verify(r.question(token)); got.Reason != Valid {
		t.Fatalf("file form: %v: %s", got.Reason, got.Text)
	}
	digits, err := QR(token)
	if err != nil {
		t.Fatal(err)
	}
	short, err := ParseQR(digits)
	if err != nil {
		t.Fatal(err)
	}
	v := r.question(short)
	v.FromQR = true
	if got := Verify(v); got.Reason != Valid {
		t.Fatalf("QR form: %v: %s", got.Reason, got.Text)
	}
	t.Logf("token %d bytes, QR form %d bytes, %d digits", len(token), len(short), len(digits))
}

func TestClaimsComeBackAsTheyWereSigned(t *testing.T) {
	r := newRig(t, false)
	index := uint64(1 << 40)
	token := r.token(t, func(c *Claims) {
		c.Audience = []string{"infusion", "ct-3", "laboratory"}
		c.Medium = Medium{0x0781, 0x5567, [16]byte{1, 2}, 60062500}
		c.Content = Content{[32]byte{9}, 3, 1342, 2, 14223111222}
		c.Rules = Rules{"hospital-core", 412, [8]byte{7}}
		c.Operator, c.LogIndex, c.TrustVersion, c.Canary, c.Coverage, c.Source = [8]byte{5}, &index, 17, "ok:12", Deep, FromUSB
	})
	c, err := ParseClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	if c.Audience[0] != "ct-3" || c.Audience[2] != "laboratory" {
		t.Errorf("audience %q is not sorted", c.Audience)
	}
	if c.Medium.VID != 0x0781 || c.Medium.Serial[1] != 2 || c.Content.Bytes != 14223111222 || c.Content.Streams != 2 || c.Rules.Version != 412 ||
		*c.LogIndex != index || c.Coverage != Deep || c.Source != FromUSB || c.Canary != "ok:12" || c.Operator != [8]byte{5} || !c.Expires.Equal(exampleTime.Add(8*time.Hour)) {
		t.Errorf("claims came back as %+v", c)
	}
}

func TestSignRefusesWhatIsNotAClearance(t *testing.T) {
	r := newRig(t, false)
	for name, change := range map[string]func(*Claims){
		"the zero verdict":          func(c *Claims) { c.Verdict = 0 },
		"another verdict":           func(c *Claims) { c.Verdict = 2 },
		"no log entry":              func(c *Claims) { c.LogIndex = nil },
		"nobody's equipment":        func(c *Claims) { c.Audience = nil },
		"a class twice":             func(c *Claims) { c.Audience = []string{"imaging", "imaging"} },
		"a class with a space":      func(c *Claims) { c.Audience = []string{"ct 3"} },
		"too many classes":          func(c *Claims) { c.Audience = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} },
		"a life of 73 hours":        func(c *Claims) { c.Expires = c.IssuedAt.Add(73 * time.Hour) },
		"a life of 72 h and 1 s":    func(c *Claims) { c.Expires = c.IssuedAt.Add(72*time.Hour + time.Second) },
		"an end before the start":   func(c *Claims) { c.Expires = c.IssuedAt.Add(-time.Second) },
		"an end at the start":       func(c *Claims) { c.Expires = c.IssuedAt },
		"no times":                  func(c *Claims) { c.IssuedAt, c.Expires = time.Time{}, time.Time{} },
		"half a second":             func(c *Claims) { c.IssuedAt = c.IssuedAt.Add(time.Second / 2) },
		"another issuer":            func(c *Claims) { c.Issuer = "kiosk-2" },
		"no issuer":                 func(c *Claims) { c.Issuer = "" },
		"an issuer with an escape":  func(c *Claims) { c.Issuer = "kiosk\x1b[2J" },
		"no id":                     func(c *Claims) { c.ID = [16]byte{} },
		"no post-quantum key":       func(c *Claims) { c.PQKeyID = [8]byte{} },
		"another post-quantum key":  func(c *Claims) { c.PQKeyID[0] ^= 1 },
		"no coverage":               func(c *Claims) { c.Coverage = "" },
		"an unknown coverage":       func(c *Claims) { c.Coverage = "some" },
		"no source":                 func(c *Claims) { c.Source = "" },
		"no rule pack":              func(c *Claims) { c.Rules = Rules{} },
		"no canary":                 func(c *Claims) { c.Canary = "" },
		"a time before the key":     func(c *Claims) { c.IssuedAt = c.IssuedAt.Add(-2 * time.Hour) },
		"a time after the key":      func(c *Claims) { c.IssuedAt, c.Expires = c.IssuedAt.Add(KeyLife), c.Expires.Add(KeyLife) },
		"more volumes than a stick": func(c *Claims) { c.Content.Volumes = MaxVolumes + 1 },
	} {
		c := r.claims(t)
		change(&c)
		if token, err := Sign(c, r.keys); err == nil || token != nil {
			t.Errorf("%s was signed", name)
		}
	}
	if token, err := Sign(r.claims(t), nil); err == nil || token != nil {
		t.Error("signed without a key")
	}
	if token, err := Sign(Claims{}, r.keys); err == nil || token != nil {
		t.Error("the zero claims were signed")
	}
}

func TestTheLeafIsRebuiltFromEitherFormOfTheToken(t *testing.T) {
	r := newRig(t, false)
	c := r.claims(t)
	before := c
	before.LogIndex = nil
	want, err := Leaf(before)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Sign(c, r.keys)
	if err != nil {
		t.Fatal(err)
	}
	short, err := withoutPQ(token)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range [][]byte{token, short} {
		leaf, index, err := LeafOfToken(form)
		if err != nil || index != 3 || !bytes.Equal(leaf, want) {
			t.Errorf("leaf differs, or index %d is not 3: %v", index, err)
		}
	}
	issued, id, err := LeafTime(want)
	if err != nil || !issued.Equal(exampleTime) || id != exampleID {
		t.Errorf("leaf says %v, %x, %v", issued, id, err)
	}
	for i := range want {
		changed := bytes.Clone(want)
		changed[i] ^= 0x20
		if _, _, err := LeafTime(changed[:i]); err == nil {
			t.Fatalf("a leaf cut to %d bytes was read", i)
		}
		_, _, _ = LeafTime(changed) // must not panic; many changes are other good claims
	}
	if _, err := Leaf(Claims{}); err == nil {
		t.Error("the zero claims have a leaf")
	}
}

// TestT12_ForgedTokensAreRejected holds everything that an attacker can build without, and some of what he can build with,
// the station's keys.
func TestT12_ForgedTokensAreRejected(t *testing.T) {
	r := newRig(t, false)
	good := r.token(t, nil)
	other := newRig(t, false) // another station of the same name
	plain := func(*wireClaims, *cose.Sign1Message) {}

	// rewrap changes the envelope and keeps its signatures.
	rewrap := func(change func(*envelope)) []byte {
		p, err := parseToken(good)
		if err != nil {
			t.Fatal(err)
		}
		change(&p.envelope)
		data, err := encoder.Marshal(p.envelope)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte{tagSign1}, data...)
	}
	// raw signs a payload that is no wireClaims.
	raw := func(payload []byte) []byte {
		return r.forge(t, func(_ *wireClaims, m *cose.Sign1Message) { m.Payload = payload })
	}
	generic := func(change func(outer, inner map[int64]any)) []byte {
		p, err := parseToken(good)
		if err != nil {
			t.Fatal(err)
		}
		var outer map[int64]any
		if err := cbor.Unmarshal(p.envelope.Payload, &outer); err != nil {
			t.Fatal(err)
		}
		inner := map[int64]any{}
		for k, v := range outer[-70001].(map[any]any) {
			switch k := k.(type) {
			case uint64:
				inner[int64(k)] = v
			}
		}
		outer[-70001] = inner
		change(outer, inner)
		data, err := encoder.Marshal(outer)
		if err != nil {
			t.Fatal(err)
		}
		return raw(data)
	}
	payload := func() []byte {
		p, err := parseToken(good)
		if err != nil {
			t.Fatal(err)
		}
		return p.envelope.Payload
	}()

	for name, token := range map[string][]byte{
		"nothing":               {},
		"one byte":              {tagSign1},
		"untagged":              good[1:],
		"tagged twice":          append([]byte{tagSign1}, good...),
		"a tag of two bytes":    append([]byte{0xD8, 18}, good[1:]...),
		"trailing byte":         append(bytes.Clone(good), 0),
		"trailing token":        append(bytes.Clone(good), good...),
		"post-quantum stripped": rewrap(func(e *envelope) { e.Unprotected.PQ = nil }),
		"post-quantum of another token": rewrap(func(e *envelope) {
			p, _ := parseToken(r.token(t, func(c *Claims) { c.TrustVersion++ }))
			e.Unprotected.PQ = p.envelope.Unprotected.PQ
		}),
		"post-quantum cut":     rewrap(func(e *envelope) { e.Unprotected.PQ.Signature = e.Unprotected.PQ.Signature[:100] }),
		"no signature":         rewrap(func(e *envelope) { e.Signature = []byte{} }),
		"signature of zeros":   rewrap(func(e *envelope) { e.Signature = make([]byte, 64) }),
		"signature with big s": rewrap(func(e *envelope) { flipS(e.Signature) }),
		"key of another station, same name and key id": func() []byte {
			p, _ := parseToken(good)
			public := other.keys.public
			public.Issuer = "kiosk-1"
			forger := &rig{keys: &Keys{public: public, sign: other.keys.sign, pq: other.keys.pq}}
			m := cose.NewSign1Message()
			m.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
			m.Headers.Protected[cose.HeaderLabelKeyID] = bytes.Clone(p.header.Kid[:])
			m.Payload = p.envelope.Payload
			return forger.seal(t, m, tokenAAD)
		}(),
		"wrong external data": func() []byte {
			p, _ := parseToken(good)
			m := cose.NewSign1Message()
			m.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
			m.Headers.Protected[cose.HeaderLabelKeyID] = bytes.Clone(p.header.Kid[:])
			m.Payload = p.envelope.Payload
			return r.seal(t, m, trustAAD)
		}(),
		"algorithm swapped for EdDSA": rewrap(func(e *envelope) { e.Protected[2] = 0x27 }),
		"algorithm swapped for HMAC":  rewrap(func(e *envelope) { e.Protected[2] = 0x05 }),
		"unknown protected header":    r.forge(t, func(_ *wireClaims, m *cose.Sign1Message) { m.Headers.Protected[int64(99)] = true }),
		"critical header":             r.forge(t, func(_ *wireClaims, m *cose.Sign1Message) { m.Headers.Protected[int64(2)] = []any{int64(4)} }),
		"demonstration header false":  r.forge(t, func(_ *wireClaims, m *cose.Sign1Message) { m.Headers.Protected[int64(labelDemo)] = false }),
		"key id of 7 bytes": r.forge(t, func(_ *wireClaims, m *cose.Sign1Message) {
			m.Headers.Protected[cose.HeaderLabelKeyID] = make([]byte, 7)
		}),
		"unknown unprotected header":  r.forge(t, func(_ *wireClaims, m *cose.Sign1Message) { m.Headers.Unprotected[int64(99)] = true }),
		"unknown claim":               generic(func(outer, _ map[int64]any) { outer[5] = uint64(1) }),
		"unknown private claim":       generic(func(_, inner map[int64]any) { inner[99] = uint64(1) }),
		"missing claim":               generic(func(_, inner map[int64]any) { delete(inner, 10) }),
		"override false":              generic(func(_, inner map[int64]any) { inner[13] = false }),
		"missing log index":           generic(func(_, inner map[int64]any) { delete(inner, 7) }),
		"verdict as text":             generic(func(_, inner map[int64]any) { inner[2] = "cleared" }),
		"verdict not cleared":         generic(func(_, inner map[int64]any) { inner[2] = uint64(2) }),
		"verdict zero":                generic(func(_, inner map[int64]any) { inner[2] = uint64(0) }),
		"later version":               generic(func(_, inner map[int64]any) { inner[1] = uint64(2) }),
		"id of 15 bytes":              generic(func(outer, _ map[int64]any) { outer[7] = make([]byte, 15) }),
		"id of 17 bytes":              generic(func(outer, _ map[int64]any) { outer[7] = make([]byte, 17) }),
		"audience as one text":        generic(func(outer, _ map[int64]any) { outer[3] = "imaging" }),
		"audience empty":              generic(func(outer, _ map[int64]any) { outer[3] = []string{} }),
		"audience unsorted":           generic(func(outer, _ map[int64]any) { outer[3] = []string{"laboratory", "imaging"} }),
		"audience null":               generic(func(outer, _ map[int64]any) { outer[3] = nil }),
		"expiry as a float":           generic(func(outer, _ map[int64]any) { outer[4] = float64(exampleTime.Add(time.Hour).Unix()) }),
		"over-long life":              generic(func(outer, _ map[int64]any) { outer[4] = exampleTime.Add(73 * time.Hour).Unix() }),
		"negative time":               generic(func(outer, _ map[int64]any) { outer[6] = int64(-5) }),
		"a bomb of nesting":           raw(append(bytes.Repeat([]byte{0x81}, 4000), 0)),
		"claims with a long integer":  raw(bytes.Replace(payload, []byte{0x01, 0x01, 0x02, 0x01}, []byte{0x01, 0x18, 0x01, 0x02, 0x01}, 1)),
		"claims twice":                raw(append(bytes.Clone(payload), payload...)),
		"claims with a repeated key":  raw(append([]byte{payload[0] + 1, 0x01, 0x67, 'k', 'i', 'o', 's', 'k', '-', '1'}, payload[1:]...)),
		"claims of indefinite length": raw(append(append([]byte{0xBF}, payload[1:]...), 0xFF)),
		"tagged claims":               raw(append([]byte{0xD8, 61}, payload...)),
		"too long":                    append(bytes.Clone(good), make([]byte, MaxToken)...),
	} {
		if got := Verify(r.question(token)); got.Reason != Forged {
			t.Errorf("%s: %v: %s", name, got.Reason, got.Text)
		}
	}
	if got := Verify(r.question(r.forge(t, plain))); got.Reason != Valid {
		t.Errorf("the rig's own forgery without a change is %v: the table above proves nothing", got.Reason)
	}
	if got := Verify(r.question(other.token(t, nil))); got.Reason != UnknownIssuer {
		t.Errorf("a station that is not in the trust file: %v", got.Reason)
	}
	if got := Verify(r.question(r.forge(t, func(w *wireClaims, _ *cose.Sign1Message) { w.Issuer = "kiosk-2" }))); got.Reason != UnknownIssuer {
		t.Errorf("a known key under another station's name: %v", got.Reason)
	}
}

// flipS turns the smaller s of a signature into the larger one, which makes the same signature good again in plain ECDSA.
func flipS(sig []byte) {
	n := elliptic.P256().Params().N
	new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:])).FillBytes(sig[32:])
}

// TestT12_EveryChangedByteOfATokenIsRejected changes every byte and cuts at every place.
func TestT12_EveryChangedByteOfATokenIsRejected(t *testing.T) {
	r := newRig(t, false)
	token := r.token(t, nil)
	short, err := withoutPQ(token)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, form := range []struct {
		token  []byte
		fromQR bool
	}{{token, false}, {short, true}} {
		try := func(what string, i int, changed []byte) {
			tried++
			v := r.question(changed)
			v.FromQR = form.fromQR
			if got := Verify(v); got.Reason == Valid || got.Claims != nil {
				t.Fatalf("%s at %d of %d: %v", what, i, len(form.token), got.Reason)
			}
		}
		for i := range form.token {
			changed := bytes.Clone(form.token)
			for _, c := range changes(form.token[i]) {
				changed[i] = c
				try("change", i, changed)
			}
			try("cut", i, form.token[:i])
			try("byte left out", i, append(bytes.Clone(form.token[:i]), form.token[i+1:]...))
		}
	}
	t.Logf("%d changed tokens rejected", tried)
}

// TestT12_ASecondVerifierAgrees checks both signatures with nothing but the standards: CBOR by hand and the two signature
// schemes, no go-cose and none of this package's decoding.
func TestT12_ASecondVerifierAgrees(t *testing.T) {
	r := newRig(t, false)
	token := r.token(t, nil)
	check := func(token []byte) error {
		var e struct {
			_           struct{} `cbor:",toarray"`
			Protected   []byte
			Unprotected map[int64][]cbor.RawMessage
			Payload     []byte
			Signature   []byte
		}
		if err := cbor.Unmarshal(token[1:], &e); err != nil {
			return err
		}
		signed, err := cbor.Marshal([]any{"Signature1", e.Protected, []byte(tokenAAD), e.Payload})
		if err != nil {
			return err
		}
		digest := sha256.Sum256(signed)
		if len(e.Signature) != 64 || !ecdsa.Verify(r.keys.public.Sign, digest[:], new(big.Int).SetBytes(e.Signature[:32]), new(big.Int).SetBytes(e.Signature[32:])) {
			return errors.New("ES256")
		}
		var protected, signature []byte
		counter := e.Unprotected[11]
		if len(counter) != 3 || cbor.Unmarshal(counter[0], &protected) != nil || cbor.Unmarshal(counter[2], &signature) != nil {
			return errors.New("no countersignature")
		}
		signed, err = cbor.Marshal([]any{"CounterSignatureV2", e.Protected, protected, []byte(tokenAAD), e.Payload, []any{e.Signature}})
		if err != nil {
			return err
		}
		return mldsa.Verify(r.keys.pq.PublicKey(), signed, signature, nil)
	}
	if err := check(token); err != nil {
		t.Fatalf("the second verifier rejects a good token: %v", err)
	}
	token[len(token)-5] ^= 1
	if check(token) == nil {
		t.Error("the second verifier takes a changed token")
	}
}

func TestKeysComeBackFromTheirFileAndNothingElseDoes(t *testing.T) {
	r := newRig(t, true)
	data, err := r.keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	if again.Issuer() != "kiosk-1" || !again.Demo() || again.PQKeyID() != r.keys.PQKeyID() || again.Public().KeyID() != r.keys.Public().KeyID() {
		t.Error("the keys changed on their way through the file")
	}
	for i := range data {
		if _, err := ParseKeys(data[:i]); err == nil {
			t.Fatalf("a key file cut to %d bytes was read", i)
		}
	}
	if _, err := ParseKeys(append(data, 0)); err == nil {
		t.Error("a key file with a byte after its end was read")
	}
	if _, err := GenerateKeys("two words", false, exampleTime); err == nil {
		t.Error("an issuer of two words was taken")
	}
	if _, err := GenerateKeys("kiosk-1", false, time.Time{}); err == nil {
		t.Error("keys were made without a clock")
	}
}
