package clearance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// MaxLife is the longest that a clearance may hold, whatever the station's policy says.
	MaxLife = 72 * time.Hour
	// MaxOverride is the longest that an override may hold: until there is time for a proper answer.
	MaxOverride = 4 * time.Hour
	// MaxAudience bounds the equipment classes in one clearance, so that its QR stays small.
	MaxAudience = 8
	// maxClass, maxIssuer, maxPack and maxCanary bound words that go into the QR.
	maxClass  = 32
	maxIssuer = 64
	maxPack   = 64
	maxCanary = 32
	maxReason = 32
	// maxTime is the last second of the year 9999: RFC 3339 has no later one, and no sum of times overflows.
	maxTime = 253_402_300_799
)

// Verdict is what the scan said. Without an override only Cleared is ever signed; the zero value refuses.
type Verdict uint8

// The verdicts. A verifier that looks at nothing but this one word refuses every override.
const (
	Cleared       Verdict = 1
	NotCleared    Verdict = 2
	CouldNotCheck Verdict = 3
)

// Coverage says how much of the medium was scanned.
type Coverage string

// The coverages.
const (
	Used Coverage = "used" // every file, stream, gap and boot sector
	Deep Coverage = "deep" // unallocated clusters and slack too
)

// Source says how the station saw the medium.
type Source string

// The sources, weakest first.
const (
	FromImage Source = "image" // a file that holds a medium's bytes
	FromBlock Source = "block" // a block device of the kernel
	FromUSB   Source = "usb"   // the station's own USB reader
)

// Claims is the statement that a token signs.
type Claims struct {
	Issuer   string    // the station's name
	Audience []string  // equipment classes that the medium may be used on, in any order, each once
	IssuedAt time.Time // whole seconds
	Expires  time.Time // whole seconds, at most MaxLife after IssuedAt
	ID       [16]byte  // drawn at random when the session starts; also the key of the manifest's names
	Verdict  Verdict
	Medium   Medium
	Content  Content
	Rules    Rules
	Canary   string // result of the self-test; "none" until there is one
	Coverage Coverage
	Source   Source
	Operator [8]byte // pseudonym of the person who asked for it
	// LogIndex is the place of this clearance's leaf in the station's log. It is nil until the leaf is durable, and Sign
	// refuses without it: no token without a log entry.
	LogIndex     *uint64
	PQKeyID      [8]byte // names the key of the post-quantum signature, so that taking that signature away is seen
	TrustVersion uint64  // version of the trust file that the station had
	// Override is nil for what the scan cleared. Else two people let it through, and verifiers refuse it unless asked.
	Override *Override
	Excepted uint64 // findings that would have barred the medium but for exceptions that two people agreed on
}

// Override says why a medium was let through that was not cleared.
type Override struct {
	Reason string  // a word of a-z, 0-9 and '-'
	Second [8]byte // pseudonym of who confirmed it, somebody else than the Operator who asked
}

// Overrule makes the claims those of an override: the verdict is the scan's, and they hold no longer than an override may.
func (c *Claims) Overrule(verdict Verdict, o Override) {
	c.Verdict, c.Override = verdict, &o
	if latest := c.IssuedAt.Add(MaxOverride); c.Expires.After(latest) {
		c.Expires = latest
	}
}

// Medium is what is known of the device.
type Medium struct {
	VID, PID uint16   // USB vendor and product, 0 for an image
	Serial   [16]byte // SerialDigest of the device's serial number, zero when unknown
	Sectors  uint64   // size in whole units of 512 bytes
}

// Content is what was cleared, as Manifest.Seal returns it.
type Content struct {
	Root    [32]byte
	Volumes uint64
	Files   uint64
	Streams uint64
	Bytes   uint64 // of files and streams together
}

// Rules names the rule pack that the medium was scanned with.
type Rules struct {
	Name    string
	Version uint64
	Digest  [8]byte // the first bytes of the pack's SHA-256
}

// SerialDigest hides a device's serial number in a token: equal serials of two clearances cannot be linked, and who has
// the device can check it.
func SerialDigest(id [16]byte, serial string) [16]byte {
	h := sha256.New()
	h.Write([]byte("pratique serial v1\x00"))
	h.Write(id[:])
	h.Write([]byte(serial))
	return [16]byte(h.Sum(nil)[:16])
}

// wireClaims is Claims as CBOR (RFC 8392). The package comment is the specification.
type wireClaims struct {
	Issuer   string   `cbor:"1,keyasint"`
	Audience []string `cbor:"3,keyasint"`
	Expires  int64    `cbor:"4,keyasint"`
	IssuedAt int64    `cbor:"6,keyasint"`
	ID       [16]byte `cbor:"7,keyasint"`
	Body     wireBody `cbor:"-70001,keyasint"`
}

type wireBody struct {
	Version      uint64      `cbor:"1,keyasint"`
	Verdict      Verdict     `cbor:"2,keyasint"`
	Medium       wireMedium  `cbor:"3,keyasint"`
	Content      wireContent `cbor:"4,keyasint"`
	Rules        wireRules   `cbor:"5,keyasint"`
	Operator     [8]byte     `cbor:"6,keyasint"`
	LogIndex     *uint64     `cbor:"7,keyasint,omitempty"`
	PQKeyID      [8]byte     `cbor:"8,keyasint"`
	TrustVersion uint64      `cbor:"9,keyasint"`
	Canary       string      `cbor:"10,keyasint"`
	Coverage     Coverage    `cbor:"11,keyasint"`
	Source       Source      `cbor:"12,keyasint"`
	Override     *wireOver   `cbor:"13,keyasint,omitempty"`
	Excepted     uint64      `cbor:"14,keyasint,omitempty"`
}

type wireOver struct {
	_      struct{} `cbor:",toarray"`
	Reason string
	Second [8]byte
}

type wireMedium struct {
	_        struct{} `cbor:",toarray"`
	VID, PID uint16
	Serial   [16]byte
	Sectors  uint64
}

type wireContent struct {
	_       struct{} `cbor:",toarray"`
	Hash    uint64   // 1: the tree of this package's comment over SHA-256
	Root    [32]byte
	Volumes uint64
	Files   uint64
	Streams uint64
	Bytes   uint64
}

type wireRules struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Version uint64
	Digest  [8]byte
}

// claimsVersion and contentHash are the only values that this version of the format knows.
const (
	claimsVersion = 1
	contentHash   = 1
)

// wire checks the claims and gives them the one form that is signed.
func (c Claims) wire() (wireClaims, error) {
	if c.IssuedAt.Nanosecond() != 0 || c.Expires.Nanosecond() != 0 {
		return wireClaims{}, fmt.Errorf("clearance: times must be whole seconds")
	}
	audience := slices.Clone(c.Audience)
	slices.Sort(audience)
	w := wireClaims{
		Issuer: c.Issuer, Audience: audience, Expires: c.Expires.Unix(), IssuedAt: c.IssuedAt.Unix(), ID: c.ID,
		Body: wireBody{
			Version:  claimsVersion,
			Verdict:  c.Verdict,
			Medium:   wireMedium{VID: c.Medium.VID, PID: c.Medium.PID, Serial: c.Medium.Serial, Sectors: c.Medium.Sectors},
			Content:  wireContent{Hash: contentHash, Root: c.Content.Root, Volumes: c.Content.Volumes, Files: c.Content.Files, Streams: c.Content.Streams, Bytes: c.Content.Bytes},
			Rules:    wireRules{Name: c.Rules.Name, Version: c.Rules.Version, Digest: c.Rules.Digest},
			Operator: c.Operator, LogIndex: c.LogIndex, PQKeyID: c.PQKeyID, TrustVersion: c.TrustVersion,
			Canary: c.Canary, Coverage: c.Coverage, Source: c.Source, Excepted: c.Excepted,
		},
	}
	if o := c.Override; o != nil {
		w.Body.Override = &wireOver{Reason: o.Reason, Second: o.Second}
	}
	if err := w.check(); err != nil {
		return wireClaims{}, err
	}
	return w, nil
}

// check holds the claims against everything that does not depend on a key or a clock. It is the same for who signs and
// for who verifies, so a station cannot sign what nobody would accept.
func (w *wireClaims) check() error {
	b := &w.Body
	switch {
	case !isWord(w.Issuer, maxIssuer):
		return fmt.Errorf("claims: %w issuer", ErrMalformed)
	case len(w.Audience) == 0 || len(w.Audience) > MaxAudience:
		return fmt.Errorf("claims: %w: %d equipment classes", ErrMalformed, len(w.Audience))
	case w.IssuedAt <= 0 || w.Expires <= w.IssuedAt || w.Expires > maxTime:
		return fmt.Errorf("claims: %w: times", ErrMalformed)
	case w.Expires-w.IssuedAt > int64(MaxLife/time.Second):
		return fmt.Errorf("claims: %w: valid for longer than %v", ErrMalformed, MaxLife)
	case w.ID == [16]byte{}:
		return fmt.Errorf("claims: %w: no id", ErrMalformed)
	case b.Version != claimsVersion || b.Content.Hash != contentHash:
		return fmt.Errorf("claims: %w: version", ErrMalformed)
	case b.Override == nil && b.Verdict != Cleared:
		return fmt.Errorf("claims: %w: the verdict is not cleared", ErrMalformed)
	case b.Override != nil && (b.Verdict != NotCleared && b.Verdict != CouldNotCheck || !isCode(b.Override.Reason, maxReason)):
		return fmt.Errorf("claims: %w: an override of what, or without a reason", ErrMalformed)
	case b.Override != nil && (b.Override.Second == b.Operator || b.Override.Second == [8]byte{} || b.Operator == [8]byte{}):
		return fmt.Errorf("claims: %w: an override by one person", ErrMalformed)
	case b.Override != nil && w.Expires-w.IssuedAt > int64(MaxOverride/time.Second):
		return fmt.Errorf("claims: %w: an override for longer than %v", ErrMalformed, MaxOverride)
	case !isWord(b.Rules.Name, maxPack):
		return fmt.Errorf("claims: %w name of the rule pack", ErrMalformed)
	case !isWord(b.Canary, maxCanary):
		return fmt.Errorf("claims: %w canary", ErrMalformed)
	case b.Coverage != Used && b.Coverage != Deep:
		return fmt.Errorf("claims: %w coverage", ErrMalformed)
	case b.Source != FromImage && b.Source != FromBlock && b.Source != FromUSB:
		return fmt.Errorf("claims: %w source", ErrMalformed)
	case b.Content.Volumes > MaxVolumes || b.Content.Files > MaxLeaves || b.Content.Streams > MaxLeaves || b.Content.Bytes > math.MaxInt64:
		return fmt.Errorf("claims: %w: counts", ErrMalformed)
	case b.PQKeyID == [8]byte{}:
		return fmt.Errorf("claims: %w: no post-quantum key", ErrMalformed)
	}
	for i, class := range w.Audience {
		if !IsClass(class) || i > 0 && w.Audience[i-1] >= class {
			return fmt.Errorf("claims: %w: equipment classes", ErrMalformed)
		}
	}
	return nil
}

// claims is the reverse of Claims.wire.
func (w *wireClaims) claims() Claims {
	b := &w.Body
	c := Claims{
		Issuer: w.Issuer, Audience: w.Audience, IssuedAt: time.Unix(w.IssuedAt, 0).UTC(), Expires: time.Unix(w.Expires, 0).UTC(), ID: w.ID,
		Verdict:  b.Verdict,
		Medium:   Medium{VID: b.Medium.VID, PID: b.Medium.PID, Serial: b.Medium.Serial, Sectors: b.Medium.Sectors},
		Content:  Content{Root: b.Content.Root, Volumes: b.Content.Volumes, Files: b.Content.Files, Streams: b.Content.Streams, Bytes: b.Content.Bytes},
		Rules:    Rules{Name: b.Rules.Name, Version: b.Rules.Version, Digest: b.Rules.Digest},
		Operator: b.Operator, LogIndex: b.LogIndex, PQKeyID: b.PQKeyID, TrustVersion: b.TrustVersion,
		Canary: b.Canary, Coverage: b.Coverage, Source: b.Source, Excepted: b.Excepted,
	}
	if b.Override != nil {
		c.Override = &Override{b.Override.Reason, b.Override.Second}
	}
	return c
}

// IsClass reports whether s can be the name of an equipment class: lower-case letters, digits and hyphens.
func IsClass(s string) bool { return isCode(s, maxClass) }

func isCode(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// isWord reports whether s is one printable ASCII word, so that no name in a token can trick a terminal or a log.
func isWord(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// leafPrefix keeps a leaf of the log apart from everything else that is hashed or signed.
const leafPrefix = "pratique clearance v1\x00"

// Leaf returns the bytes that go into the station's log before the token is signed: the claims less the log index. It
// refuses claims that Sign would refuse for their content.
func Leaf(c Claims) ([]byte, error) {
	c.LogIndex = nil
	w, err := c.wire()
	if err != nil {
		return nil, err
	}
	data, err := encoder.Marshal(w)
	if err != nil {
		return nil, err
	}
	return append([]byte(leafPrefix), data...), nil
}

// LeafOfToken rebuilds the leaf from a token alone, in either form, and says where in the log it must be. It does not
// check the signatures.
func LeafOfToken(token []byte) (leaf []byte, index uint64, err error) {
	c, err := ParseClaims(token)
	if err != nil {
		return nil, 0, err
	}
	index = *c.LogIndex
	leaf, err = Leaf(c)
	return leaf, index, err
}

// LeafClaims returns what a leaf says. The claims have no log index.
func LeafClaims(leaf []byte) (Claims, error) {
	data, found := bytes.CutPrefix(leaf, []byte(leafPrefix))
	if !found || len(leaf) > MaxToken {
		return Claims{}, fmt.Errorf("leaf: %w", ErrMalformed)
	}
	var w wireClaims
	if err := decodeStrict(data, &w); err != nil {
		return Claims{}, fmt.Errorf("leaf: %w", err)
	}
	if w.Body.LogIndex != nil {
		return Claims{}, fmt.Errorf("leaf: %w: it has a log index", ErrMalformed)
	}
	if err := w.check(); err != nil {
		return Claims{}, fmt.Errorf("leaf: %w", err)
	}
	return w.claims(), nil
}

// LeafTime returns when the clearance in a leaf was issued, and the id of its session.
func LeafTime(leaf []byte) (time.Time, [16]byte, error) {
	c, err := LeafClaims(leaf)
	return c.IssuedAt, c.ID, err
}
