package clearance

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"github.com/fxamacker/cbor/v2"

	"pratique/scanner/report"
)

// vectors is the file that other implementations are held against. Every byte string is hex.
type vectors struct {
	Comment   string                       `json:"comment"`
	Trusts    map[string]string            `json:"trust_files"`
	Manifests map[string]string            `json:"manifests"`
	Contents  map[string]map[string]string `json:"contents"` // files of one volume: path to text
	Cases     []vectorCase                 `json:"cases"`
}

// vectorCase is one question, and the exit code that every verifier must answer it with.
type vectorCase struct {
	Name      string        `json:"name"`
	What      string        `json:"what"`
	Token     string        `json:"token,omitempty"`  // hex, as a file
	Digits    string        `json:"digits,omitempty"` // or as a QR code reads
	Trust     string        `json:"trust"`
	Manifest  string        `json:"manifest,omitempty"`
	Content   string        `json:"content"`
	Class     string        `json:"class,omitempty"`
	Now       int64         `json:"now"`
	NotBefore int64         `json:"not_before,omitempty"`
	Demo      bool          `json:"allow_demo,omitempty"`
	Override  bool          `json:"allow_override,omitempty"`
	Medium    *vectorMedium `json:"medium,omitempty"`
	Exit      int           `json:"exit"`
}

// vectorMedium is what the verifier sees of the device; zero and empty fields are unknown.
type vectorMedium struct {
	VID     uint16 `json:"vid,omitempty"`
	PID     uint16 `json:"pid,omitempty"`
	Serial  string `json:"serial,omitempty"`
	Sectors uint64 `json:"sectors,omitempty"`
}

// repeatable is a P-256 key that gives the same signature each time (RFC 6979).
type repeatable struct{ *ecdsa.PrivateKey }

func (k repeatable) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, crypto.SHA256)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the test fails with it
	}
	return v
}

func vectorKey(b byte) *ecdsa.PrivateKey {
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{b}, 32)))
}

// vectorStation is a station whose P-256 key is b repeated, and whose ML-DSA-65 seed b+1.
type vectorStation struct {
	public StationKey
	sign   *ecdsa.PrivateKey
	pq     *mldsa.PrivateKey
	demo   bool
}

func newVectorStation(name string, b byte, demo bool) *vectorStation {
	s := &vectorStation{sign: vectorKey(b), pq: must(mldsa.NewPrivateKey(mldsa.MLDSA65(), bytes.Repeat([]byte{b + 1}, 32))), demo: demo}
	s.public = NewStationKey(name, exampleTime.Add(-24*time.Hour), &s.sign.PublicKey, s.pq.PublicKey())
	return s
}

// draft is a token before it is signed, in parts that a case can spoil.
type draftToken struct {
	by        *vectorStation
	protected any // what is encoded as the protected header
	claims    wireClaims
	payload   []byte // in place of the claims
	aad       string
	pq        bool // with the countersignature
	pqKid     []byte
	spoil     func(e *envelope)
}

func (d draftToken) bytes() []byte {
	e := envelope{Protected: must(encoder.Marshal(d.protected)), Payload: d.payload}
	if e.Payload == nil {
		e.Payload = must(encoder.Marshal(d.claims))
	}
	digest := sha256.Sum256(must(cbor.Marshal([]any{"Signature1", e.Protected, []byte(d.aad), e.Payload})))
	e.Signature = es256(d.by.sign, digest)
	if d.pq {
		c := &countersignature{Protected: must(encoder.Marshal(map[int]any{1: algMLDSA65, 4: d.pqKid}))}
		signed := must(cbor.Marshal([]any{"CounterSignatureV2", e.Protected, c.Protected, []byte(d.aad), e.Payload, []any{e.Signature}}))
		c.Signature = must(d.by.pq.SignDeterministic(signed, nil))
		e.Unprotected.PQ = c
	}
	if d.spoil != nil {
		d.spoil(&e)
	}
	return append([]byte{tagSign1}, must(encoder.Marshal(e))...)
}

// es256 signs and gives the smaller s.
func es256(key *ecdsa.PrivateKey, digest [32]byte) []byte {
	var sig struct{ R, S []byte }
	der := must(key.Sign(nil, digest[:], crypto.SHA256))
	sig.R, sig.S = derInts(der)
	raw := append(leftPad(sig.R), leftPad(sig.S)...)
	if !isLowS(raw) {
		flipS(raw)
	}
	return raw
}

// derInts takes a DER SEQUENCE of two INTEGERs apart; both are short.
func derInts(der []byte) (r, s []byte) {
	n := int(der[3])
	return bytes.TrimLeft(der[4:4+n], "\x00"), bytes.TrimLeft(der[6+n:], "\x00")
}

func leftPad(b []byte) []byte { return append(make([]byte, 32-len(b)), b...) }

// makeVectors builds the whole file from constants.
func makeVectors(t testing.TB) *vectors {
	one, two, stranger, demo := newVectorStation("kiosk-1", 1, false), newVectorStation("kiosk-2", 3, false), newVectorStation("kiosk-3", 5, false), newVectorStation("demo-1", 7, true)
	roots := []*ecdsa.PrivateKey{vectorKey(0x11), vectorKey(0x12), vectorKey(0x13)}
	v := &vectors{Comment: "Questions to a verifier of clearances and the exit code that is the right answer; package kiosk/clearance is the specification. " +
		"Made by go test ./kiosk/clearance -run TestT12_Vectors -write-vectors. The keys are test keys, known to everybody.",
		Trusts: map[string]string{}, Manifests: map[string]string{}, Contents: map[string]map[string]string{}}

	// Contents and their manifests.
	v.Contents["cleared"] = map[string]string{"a.txt": "hello", "DICOM/IM1": "image 1", "DICOM/IM2": "", "Bericht für Öztürk.pdf": "%PDF-"}
	for name, change := range map[string]func(map[string]string){
		"one byte changed": func(m map[string]string) { m["DICOM/IM1"] = "image 2" },
		"a file added":     func(m map[string]string) { m["DICOM/IM3"] = "" },
		"a file removed":   func(m map[string]string) { delete(m, "DICOM/IM2") },
		"a file renamed":   func(m map[string]string) { m["A.TXT"] = m["a.txt"]; delete(m, "a.txt") },
		"another stick":    func(m map[string]string) { clear(m); m["other.txt"] = "other" },
	} {
		m := map[string]string{}
		for path, text := range v.Contents["cleared"] {
			m[path] = text
		}
		change(m)
		v.Contents[name] = m
	}
	manifest := vectorManifest(t, exampleID, v.Contents["cleared"])
	content, _ := manifest.Content()
	file := manifestBytes(t, manifest)
	last := bytes.Clone(file)
	last[len(last)-1] ^= 1
	cut := bytes.Clone(file[:len(file)-leafBytes])
	cut[len(ManifestMagic)+16+4+7]-- // and the number of leaves with it
	for name, data := range map[string][]byte{
		"good": file, "cut": file[:len(file)-10], "one leaf less": cut, "one bit changed": last, "a byte more": append(bytes.Clone(file), 0),
		"of another clearance": manifestBytes(t, vectorManifest(t, [16]byte{9}, v.Contents["cleared"])),
		"one file more":        manifestBytes(t, vectorManifest(t, exampleID, v.Contents["a file added"])),
		"empty":                {},
	} {
		v.Manifests[name] = hex.EncodeToString(data)
	}

	claims := func(by *vectorStation, change func(*wireClaims)) wireClaims {
		c := exampleClaims(t)
		c.Issuer, c.PQKeyID, c.Content, c.TrustVersion = by.public.Issuer, pqKeyID(by.pq.PublicKey()), content, 7
		c.Medium = Medium{VID: 0x0951, PID: 0x1666, Serial: SerialDigest(c.ID, "SN-1"), Sectors: 8}
		c.Source = FromUSB
		w := must(c.wire())
		if change != nil {
			change(&w)
		}
		return w
	}
	header := func(by *vectorStation) any {
		kid := by.public.KeyID()
		return protectedHeader{Alg: algES256, Kid: kid, Demo: by.demo}
	}
	token := func(by *vectorStation, pq bool, change func(*draftToken)) []byte {
		pqid := pqKeyID(by.pq.PublicKey())
		d := draftToken{by: by, protected: header(by), claims: claims(by, nil), aad: tokenAAD, pq: pq, pqKid: pqid[:]}
		if change != nil {
			change(&d)
		}
		return d.bytes()
	}
	with := func(change func(*wireClaims)) func(*draftToken) {
		return func(d *draftToken) { d.claims = claims(d.by, change) }
	}
	spelt := func(change func([]byte) []byte) func(*draftToken) { // the payload in another spelling, rightly signed
		return func(d *draftToken) { d.payload = change(must(encoder.Marshal(d.claims))) }
	}

	// Trust files.
	base := func() *Trust {
		f := &Trust{Version: 7, Issued: exampleTime.Add(-time.Minute), QRWithout: true, Stations: []StationKey{one.public, two.public}, Threshold: 2}
		for _, root := range roots {
			f.Roots = append(f.Roots, &root.PublicKey)
		}
		return f
	}
	sign := func(f *Trust, by ...int) []byte {
		data := must(DraftTrust(f))
		for _, i := range by {
			data = must(Countersign(data, repeatable{roots[i]}))
		}
		return data
	}
	place := func(n uint64) *uint64 { return &n }
	trust := func(name string, change func(*Trust)) {
		f := base()
		if change != nil {
			change(f)
		}
		v.Trusts[name] = hex.EncodeToString(sign(f, 0, 2))
	}
	revoke := func(n uint64) func(*Trust) { return func(f *Trust) { f.Stations[0].RevokedFromLog = place(n) } }
	trust("good", nil)
	trust("no QR without post-quantum", func(f *Trust) { f.QRWithout = false })
	trust("this clearance taken back", func(f *Trust) { f.Revoked = [][16]byte{{1}, exampleID} })
	trust("the key taken back", revoke(0))
	trust("the key taken back from here on", revoke(3))
	trust("the key taken back later", revoke(4))
	trust("newer rules asked for", func(f *Trust) { f.MinRules = map[string]uint64{"baseline": 2} })
	trust("older rules asked for", func(f *Trust) { f.MinRules = map[string]uint64{"baseline": 1, "other": 9} })
	trust("40 days old", func(f *Trust) { f.Issued = f.Issued.Add(-40 * 24 * time.Hour) })
	trust("issued after the clearance's end", func(f *Trust) { f.Issued = exampleTime.Add(9 * time.Hour) })
	trust("the key begins later", func(f *Trust) { f.Stations[0].NotBefore = exampleTime.Add(time.Second) })
	trust("the key ended before", func(f *Trust) { f.Stations[0].NotAfter = exampleTime.Add(-time.Second) })
	people := []*ecdsa.PublicKey{&vectorKey(0x21).PublicKey, &vectorKey(0x22).PublicKey}
	trust("naming who signs the roster", func(f *Trust) { f.Roster = RosterRule{people, 2, 5} })
	trust("a demonstration's", func(f *Trust) { f.Demo, f.Stations = true, []StationKey{demo.public} })
	good := sign(base(), 0, 2)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, data := range map[string][]byte{
		"signed by one of two": sign(base(), 1), "signed by nobody": sign(base()), "a changed signature": flipped, "a changed key": bytes.Replace(good, []byte("kiosk-1"), []byte("kiosk-9"), 1),
		"a byte behind its end": append(bytes.Clone(good), 0), "cut": good[:len(good)-1],
	} {
		v.Trusts[name] = hex.EncodeToString(data)
	}

	add := func(exit int, name, what string, tok []byte, change func(*vectorCase)) {
		c := vectorCase{Name: name, What: what, Token: hex.EncodeToString(tok), Trust: "good", Content: "cleared", Class: "imaging", Now: exampleTime.Add(time.Hour).Unix(), Exit: exit}
		if change != nil {
			change(&c)
		}
		v.Cases = append(v.Cases, c)
	}
	full, short := token(one, true, nil), token(one, false, nil)
	// qr asks about the short form, as digits.
	qr := func(exit int, name, what string, tok []byte, change func(*vectorCase)) {
		add(exit, name, what, nil, func(c *vectorCase) {
			c.Token, c.Digits = "", qrMagic+toDigits(tok)
			if change != nil {
				change(c)
			}
		})
	}

	add(0, "good", "a clearance in its file form", full, nil)
	qr(0, "good QR", "the same as a QR code", short, nil)
	add(0, "good with manifest", "with the list of what was cleared", full, func(c *vectorCase) { c.Manifest = "good" })
	add(0, "no class asked", "a verifier that does not say what it is", full, func(c *vectorCase) { c.Class = "" })
	add(0, "the whole medium", "everything that can be known of the device is right", full, func(c *vectorCase) { c.Medium = &vectorMedium{0x0951, 0x1666, "SN-1", 8} })
	qr(0, "spaces in the digits", "as people type them", short, func(c *vectorCase) { c.Digits = c.Digits[:10] + " -\r\n" + c.Digits[10:] })

	// Structure.
	add(9, "empty", "no byte", []byte{}, nil)
	add(9, "cut", "the last byte is missing", full[:len(full)-1], nil)
	add(9, "a byte behind its end", "", append(bytes.Clone(full), 0), nil)
	add(9, "untagged", "without CBOR tag 18", full[1:], nil)
	add(9, "tagged twice", "", append([]byte{tagSign1}, full...), nil)
	for name, p := range map[string]any{
		"algorithm ES384": map[int]any{1: -35, 4: one.kid()}, "algorithm EdDSA": map[int]any{1: -8, 4: one.kid()}, "algorithm HMAC": map[int]any{1: 5, 4: one.kid()},
		"no algorithm": map[int]any{4: one.kid()}, "no key id": map[int]any{1: -7}, "a header more": map[int]any{1: -7, 4: one.kid(), 3: 0},
		"demonstration said to be false": map[int]any{1: -7, 4: one.kid(), labelDemo: false}, "a key id of 7 bytes": map[int]any{1: -7, 4: one.kid()[:7]},
		"a critical header": map[int]any{1: -7, 2: []int{-70009}, 4: one.kid(), -70009: 1},
	} {
		qr(9, name, "rightly signed", token(one, false, func(d *draftToken) { d.protected = p }), nil)
	}
	pqOnly := map[int]any{1: algMLDSA65, 4: one.kid()}
	qr(9, "algorithm ML-DSA-65", "in place of ES256", token(one, false, func(d *draftToken) { d.protected = pqOnly }), nil)
	for name, change := range map[string]func([]byte) []byte{
		"a key twice":           func(p []byte) []byte { return append([]byte{p[0] + 1}, append(bytes.Clone(p[1:10]), p[1:]...)...) },
		"another key twice":     func(p []byte) []byte { return append(append([]byte{p[0] + 1}, p[1:]...), 1, 0x61, 'x') },
		"a claim more":          func(p []byte) []byte { return append(append([]byte{p[0] + 1}, p[1:]...), 0x3A, 0, 1, 0x11, 0x7F, 0) },
		"a long integer":        func(p []byte) []byte { return append([]byte{0xB8, p[0] & 31}, p[1:]...) },
		"an indefinite length":  func(p []byte) []byte { return append(append([]byte{0xBF}, p[1:]...), 0xFF) },
		"keys out of order":     func(p []byte) []byte { return append(append([]byte{p[0]}, p[10:]...), p[1:10]...) },
		"a tag":                 func(p []byte) []byte { return append([]byte{0xD8, 0x3D}, p...) },
		"a byte after the last": func(p []byte) []byte { return append(bytes.Clone(p), 0) },
		"a cut payload":         func(p []byte) []byte { return p[:len(p)-1] },
		"no payload":            func([]byte) []byte { return []byte{} },
		"a float for a time":    func(p []byte) []byte { return bytes.Replace(p, []byte{0x06, 0x1A}, []byte{0x06, 0xFA}, 1) },
	} {
		qr(9, "claims: "+name, "rightly signed, in a spelling that no station writes", token(one, false, spelt(change)), nil)
	}
	for name, change := range map[string]func(*wireClaims){
		"not cleared": func(w *wireClaims) { w.Body.Verdict = 2 }, "verdict 0": func(w *wireClaims) { w.Body.Verdict = 0 }, "version 2": func(w *wireClaims) { w.Body.Version = 2 },
		"valid for 72 hours and a second": func(w *wireClaims) { w.Expires = w.IssuedAt + 72*3600 + 1 }, "ends before it begins": func(w *wireClaims) { w.Expires = w.IssuedAt },
		"no class": func(w *wireClaims) { w.Audience = []string{} }, "classes out of order": func(w *wireClaims) { w.Audience = []string{"imaging", "general"} },
		"a class twice": func(w *wireClaims) { w.Audience = []string{"imaging", "imaging"} }, "nine classes": func(w *wireClaims) { w.Audience = strings.Split("a b c d e f g h i", " ") },
		"a class in capitals": func(w *wireClaims) { w.Audience = []string{"Imaging"} }, "no log index": func(w *wireClaims) { w.Body.LogIndex = nil },
		"an id of zeros": func(w *wireClaims) { w.ID = [16]byte{} }, "an issuer of two words": func(w *wireClaims) { w.Issuer = "kiosk 1" },
		"an escape in the pack's name": func(w *wireClaims) { w.Body.Rules.Name = "base\x1bline" }, "an unknown source": func(w *wireClaims) { w.Body.Source = "cloud" },
		"an unknown coverage": func(w *wireClaims) { w.Body.Coverage = "some" }, "an unknown hash": func(w *wireClaims) { w.Body.Content.Hash = 2 },
		"could not check": func(w *wireClaims) { w.Body.Verdict = 3 }, "no post-quantum key": func(w *wireClaims) { w.Body.PQKeyID = [8]byte{} }, "257 volumes": func(w *wireClaims) { w.Body.Content.Volumes = 257 },
		"more bytes than there are": func(w *wireClaims) { w.Body.Content.Bytes = 1 << 63 },
	} {
		qr(9, "claims: "+name, "rightly signed", token(one, false, with(change)), nil)
	}

	// Signatures.
	qr(9, "the larger s", "(r, n-s) of a good signature", token(one, false, func(d *draftToken) { d.spoil = func(e *envelope) { flipS(e.Signature) } }), nil)
	qr(9, "signature of zeros", "", token(one, false, func(d *draftToken) { d.spoil = func(e *envelope) { clear(e.Signature) } }), nil)
	qr(9, "signature of 63 bytes", "", token(one, false, func(d *draftToken) { d.spoil = func(e *envelope) { e.Signature = e.Signature[:63] } }), nil)
	qr(9, "wrong external data", "a signature that was made for something else", token(one, false, func(d *draftToken) { d.aad = trustAAD }), nil)
	qr(9, "key of another station", "under this station's name and key id", token(two, false, func(d *draftToken) { d.protected, d.claims = header(one), claims(one, nil) }), nil)
	qr(9, "claims changed after signing", "", token(one, false, func(d *draftToken) {
		d.spoil = func(e *envelope) { e.Payload = must(encoder.Marshal(claims(one, func(w *wireClaims) { w.Expires++ }))) }
	}), nil)
	add(9, "post-quantum signature stripped", "the QR form handed over as a file", short, nil)
	add(9, "post-quantum signature of another token", "", token(one, true, func(d *draftToken) {
		other := must(parseToken(token(one, true, with(func(w *wireClaims) { w.Body.TrustVersion++ }))))
		d.spoil = func(e *envelope) { e.Unprotected.PQ = other.envelope.Unprotected.PQ }
	}), nil)
	add(9, "post-quantum signature by another key", "under this key's id", token(one, true, func(d *draftToken) {
		d.spoil = func(e *envelope) {
			signed := must(cbor.Marshal([]any{"CounterSignatureV2", e.Protected, e.Unprotected.PQ.Protected, []byte(tokenAAD), e.Payload, []any{e.Signature}}))
			e.Unprotected.PQ.Signature = must(two.pq.SignDeterministic(signed, nil))
		}
	}), nil)
	add(9, "post-quantum signature with one bit changed", "", token(one, true, func(d *draftToken) { d.spoil = func(e *envelope) { e.Unprotected.PQ.Signature[100] ^= 1 } }), nil)
	add(9, "post-quantum key id of another key", "", token(one, true, func(d *draftToken) { id := pqKeyID(two.pq.PublicKey()); d.pqKid = id[:] }), nil)
	qr(9, "QR not enough", "the trust file wants the post-quantum signature", short, func(c *vectorCase) { c.Trust = "no QR without post-quantum" })
	add(0, "file enough", "where the QR form is not", full, func(c *vectorCase) { c.Trust = "no QR without post-quantum" })
	qr(9, "QR with a post-quantum signature", "more than a QR code may hold", full, nil)
	qr(9, "one digit changed", "", short, func(c *vectorCase) {
		d := []byte(c.Digits)
		d[300] = '0' + (d[300]-'0'+1)%10
		c.Digits = string(d)
	})
	qr(9, "a number too large for its bytes", "", short, func(c *vectorCase) { c.Digits = qrMagic + strings.Repeat("9", 17) + c.Digits[21:] })
	qr(9, "other digits", "a parcel's number", short, func(c *vectorCase) { c.Digits = "4006381333931" })

	// Who.
	add(8, "demonstration", "refused before anything else is looked at", token(demo, true, nil), nil)
	add(8, "demonstration, in its own trust file", "", token(demo, true, nil), func(c *vectorCase) { c.Trust = "a demonstration's" })
	add(0, "demonstration, allowed", "", token(demo, true, nil), func(c *vectorCase) { c.Trust, c.Demo = "a demonstration's", true })
	add(7, "demonstration, allowed, in a real trust file", "", token(demo, true, nil), func(c *vectorCase) { c.Demo = true })
	qr(7, "unknown station", "", token(stranger, false, nil), nil)
	qr(7, "another station's key under this name", "a station that speaks for its neighbour", token(two, false, with(func(w *wireClaims) { w.Issuer = "kiosk-1" })), nil)
	add(0, "the other station", "", token(two, true, nil), nil)

	// What was taken back, and time.
	for trust, exit := range map[string]int{
		"this clearance taken back": 6, "the key taken back": 6, "the key taken back from here on": 6, "the key taken back later": 0, "newer rules asked for": 6, "older rules asked for": 0, "naming who signs the roster": 0,
		"the key begins later": 5, "the key ended before": 5, "issued after the clearance's end": 5, "40 days old": 12,
		"signed by one of two": 1, "signed by nobody": 1, "a changed signature": 1, "a changed key": 1, "a byte behind its end": 1, "cut": 1,
	} {
		qr(exit, "trust file: "+trust, "", short, func(c *vectorCase) { c.Trust = trust })
	}
	at := func(d time.Duration) func(*vectorCase) {
		return func(c *vectorCase) { c.Now = exampleTime.Add(d).Unix() }
	}
	qr(0, "in its last second", "", short, at(8*time.Hour-time.Second))
	qr(5, "expired", "", short, at(8*time.Hour))
	qr(5, "long expired", "", short, at(300*24*time.Hour))
	qr(0, "the station's clock five minutes ahead", "", short, at(-5*time.Minute))
	qr(5, "not yet valid", "the station's clock, or a forger's, is far ahead", token(one, false, with(func(w *wireClaims) { w.IssuedAt += 3600; w.Expires += 3600 })), at(0))
	qr(5, "from the far future", "", token(one, false, with(func(w *wireClaims) { w.IssuedAt += 5e8; w.Expires += 5e8 })), nil)
	qr(5, "a clock that was set back", "the verifier knows that it is later", short, func(c *vectorCase) { c.NotBefore = exampleTime.Add(9 * time.Hour).Unix() })
	// Two people agreed that a rule is wrong about a content: the token says of how many findings.
	qr(0, "with findings excepted", "", token(one, false, with(func(w *wireClaims) { w.Body.Excepted = 3 })), nil)
	for name, n := range map[string]any{"none": 0, "a text": "3", "less than none": -1} {
		qr(9, "findings excepted: "+name, "rightly signed", token(one, false, func(d *draftToken) {
			body := bytes.Replace(must(encoder.Marshal(d.claims.Body)), []byte{0xAC}, []byte{0xAD}, 1)
			body = append(append(body, 14), must(encoder.Marshal(n))...)
			d.payload = bytes.Replace(must(encoder.Marshal(d.claims)), must(encoder.Marshal(d.claims.Body)), body, 1)
		}), nil)
	}

	// red is an override that another person confirmed, less what a case spoils.
	red := func(change func(*wireClaims)) func(*draftToken) {
		return with(func(w *wireClaims) {
			w.Body.Verdict, w.Body.Operator, w.Body.Override = NotCleared, [8]byte{1}, &wireOver{Reason: "patient-emergency", Second: [8]byte{2}}
			w.Expires = w.IssuedAt + 4*3600
			if change != nil {
				change(w)
			}
		})
	}
	allowed := func(c *vectorCase) { c.Override = true }
	add(11, "override", "two people let it through", token(one, true, red(nil)), nil)
	add(0, "override, allowed", "", token(one, true, red(nil)), allowed)
	qr(11, "override QR", "", token(one, false, red(nil)), nil)
	qr(0, "override QR, allowed", "of a medium that could not be checked", token(one, false, red(func(w *wireClaims) { w.Body.Verdict = CouldNotCheck })), allowed)
	for name, change := range map[string]func(*wireClaims){
		"of what is cleared": func(w *wireClaims) { w.Body.Verdict = Cleared }, "of verdict 4": func(w *wireClaims) { w.Body.Verdict = 4 },
		"taken away": func(w *wireClaims) { w.Body.Override = nil }, "without a reason": func(w *wireClaims) { w.Body.Override.Reason = "" },
		"with words for a reason": func(w *wireClaims) { w.Body.Override.Reason = "it was late" }, "by one person": func(w *wireClaims) { w.Body.Override.Second = w.Body.Operator },
		"confirmed by nobody": func(w *wireClaims) { w.Body.Override.Second = [8]byte{} }, "asked for by nobody": func(w *wireClaims) { w.Body.Operator = [8]byte{} },
		"for 4 hours and a second": func(w *wireClaims) { w.Expires++ },
	} {
		qr(9, "override "+name, "rightly signed", token(one, false, red(change)), allowed)
	}
	for name, spelling := range map[string]any{"true": true, "one item": []any{"drill"}, "three items": []any{"drill", make([]byte, 8), 1}, "a pseudonym of 7 bytes": []any{"drill", make([]byte, 7)}} {
		qr(9, "override spelt as "+name, "rightly signed", token(one, false, func(d *draftToken) {
			var w map[any]any
			red(nil)(d)
			if err := cbor.Unmarshal(must(encoder.Marshal(d.claims)), &w); err != nil {
				t.Fatal(err)
			}
			w[int64(-70001)].(map[any]any)[uint64(13)] = spelling
			d.payload = must(encoder.Marshal(w))
		}), allowed)
	}
	qr(9, "override by another station's key", "", token(two, false, func(d *draftToken) {
		d.by = one
		red(nil)(d)
		d.by, d.protected = two, header(one)
	}), allowed)
	add(9, "override with its post-quantum signature stripped", "", token(one, false, red(nil)), allowed)
	qr(5, "override after 4 hours", "", token(one, false, red(nil)), func(c *vectorCase) { c.Override, c.Now = true, exampleTime.Add(4*time.Hour).Unix() })
	qr(6, "override that was taken back", "", token(one, false, red(nil)), func(c *vectorCase) { c.Override, c.Trust = true, "this clearance taken back" })
	qr(5, "override, expired", "the time comes first", token(one, false, red(nil)), func(c *vectorCase) { c.Now = exampleTime.Add(9 * time.Hour).Unix() })
	qr(11, "override and another class", "", token(one, false, red(nil)), func(c *vectorCase) { c.Class = "infusion" })
	qr(4, "override for another class, allowed", "", token(one, false, red(nil)), func(c *vectorCase) { c.Class, c.Override = "infusion", true })
	qr(3, "override replayed on another stick", "", token(one, false, red(nil)), func(c *vectorCase) { c.Override, c.Content = true, "another stick" })
	qr(4, "another class", "", short, func(c *vectorCase) { c.Class = "infusion" })

	// The medium and its content.
	medium := func(m vectorMedium) func(*vectorCase) { return func(c *vectorCase) { c.Medium = &m } }
	qr(10, "another serial number", "", short, medium(vectorMedium{Serial: "SN-2"}))
	qr(10, "another product", "", short, medium(vectorMedium{VID: 0x0951, PID: 0x1667}))
	qr(10, "another size", "", short, medium(vectorMedium{Sectors: 16}))
	qr(0, "only the size is known", "", short, medium(vectorMedium{Sectors: 8}))
	qr(3, "replay on another stick", "of the same product", short, func(c *vectorCase) { c.Content, c.Medium = "another stick", &vectorMedium{VID: 0x0951, PID: 0x1666} })
	qr(3, "cloned serial", "vendor, product, serial number and size are the same, one byte is not", short, func(c *vectorCase) {
		c.Content, c.Medium = "one byte changed", &vectorMedium{0x0951, 0x1666, "SN-1", 8}
	})
	for _, name := range []string{"one byte changed", "a file added", "a file removed", "a file renamed"} {
		qr(3, name, "", short, func(c *vectorCase) { c.Content = name })
	}
	for _, name := range []string{"cut", "one leaf less", "one bit changed", "a byte more", "of another clearance", "one file more", "empty"} {
		qr(9, "manifest: "+name, "", short, func(c *vectorCase) { c.Manifest = name })
	}

	// The order of the checks: what comes first decides.
	add(8, "demonstration and expired", "", token(demo, true, nil), at(100*24*time.Hour))
	qr(6, "taken back and expired", "", short, func(c *vectorCase) { c.Trust, c.Now = "the key taken back", exampleTime.Add(9*time.Hour).Unix() })
	qr(5, "expired and another class", "", short, func(c *vectorCase) { c.Class, c.Now = "infusion", exampleTime.Add(9*time.Hour).Unix() })
	qr(4, "another class and another medium", "", short, func(c *vectorCase) { c.Class, c.Medium = "infusion", &vectorMedium{Sectors: 9} })
	qr(10, "another medium and altered", "", short, func(c *vectorCase) { c.Content, c.Medium = "a file added", &vectorMedium{Sectors: 9} })
	qr(3, "altered, and an old trust file", "", short, func(c *vectorCase) { c.Content, c.Trust = "a file added", "40 days old" })
	slices.SortStableFunc(v.Cases, func(a, b vectorCase) int { return cmp.Or(cmp.Compare(a.Exit, b.Exit), cmp.Compare(a.Name, b.Name)) })
	return v
}

func (s *vectorStation) kid() []byte {
	id := s.public.KeyID()
	return id[:]
}

func vectorManifest(t testing.TB, id [16]byte, files map[string]string) *Manifest {
	t.Helper()
	m := NewManifest(id)
	for path, text := range files {
		if err := m.Add(0, report.File, path, int64(len(text)), sha256.Sum256([]byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	must(m.Seal())
	return m
}

func manifestBytes(t testing.TB, m *Manifest) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
