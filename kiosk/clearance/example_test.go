package clearance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"pratique/scanner/report"
)

// exampleKeys are the keys of the package comment's example.
func exampleKeys(t testing.TB) *Keys {
	t.Helper()
	w := wireKeys{Format: keysFormat, Issuer: "kiosk-1", Created: exampleTime.Unix()}
	for i := range w.P256 {
		w.P256[i], w.MLDSA65[i] = 1, 2
	}
	data, err := encoder.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var (
	exampleTime = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	exampleID   = [16]byte{0x0F, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
)

func exampleManifest(t testing.TB) *Manifest {
	t.Helper()
	m := NewManifest(exampleID)
	if err := m.Add(0, report.File, "a.txt", 5, sha256.Sum256([]byte("hello"))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Seal(); err != nil {
		t.Fatal(err)
	}
	return m
}

func exampleClaims(t testing.TB) Claims {
	content, _ := exampleManifest(t).Content()
	index := uint64(3)
	return Claims{
		Issuer: "kiosk-1", Audience: []string{"imaging"}, IssuedAt: exampleTime, Expires: exampleTime.Add(8 * time.Hour), ID: exampleID,
		Verdict: Cleared, Medium: Medium{Sectors: 8}, Content: content, Rules: Rules{Name: "baseline", Version: 1},
		Canary: "none", Coverage: Used, Source: FromImage, LogIndex: &index, PQKeyID: exampleKeys(t).PQKeyID(), TrustVersion: 1,
	}
}

// TestTheExampleInThePackageCommentIsTrue parses the comment, so that the specification cannot drift from the code.
func TestTheExampleInThePackageCommentIsTrue(t *testing.T) {
	manifest, token, digits := exampleBytes(t, "The manifest:"), exampleBytes(t, "The token in its QR form:"), exampleText(t, "and its digits:")

	var want bytes.Buffer
	if _, err := exampleManifest(t).WriteTo(&want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(manifest, want.Bytes()) {
		t.Errorf("the manifest in the comment is\n%x, this package writes\n%x", manifest, want.Bytes())
	}
	p, err := parseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.verify(exampleKeys(t).Public(), false); err != nil {
		t.Errorf("the token in the comment does not verify: %v", err)
	}
	wantClaims, err := exampleClaims(t).wire()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := encoder.Marshal(wantClaims)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.envelope.Payload, payload) {
		t.Errorf("the claims in the comment are\n%x, this package writes\n%x", p.envelope.Payload, payload)
	}
	if got, err := ParseQR(digits); err != nil || !bytes.Equal(got, token) {
		t.Errorf("the digits in the comment are not the token's: %v", err)
	}
	leaf, index, err := LeafOfToken(token)
	if err != nil || index != 3 {
		t.Errorf("index %d, %v", index, err)
	}
	if hash := tlog.RecordHash(leaf); exampleText(t, "in the log (RFC 6962) is") != hex.EncodeToString(hash[:]) {
		t.Errorf("the hash of the leaf is %x", hash[:])
	}
	if text, _ := os.ReadFile("clearance.go"); !strings.Contains(string(text), "Its short code is "+Code(exampleID)+",") {
		t.Errorf("the short code is %s", Code(exampleID))
	}
}

// exampleText returns the indented lines that follow title in the package comment.
func exampleText(t testing.TB, title string) string {
	t.Helper()
	text, err := os.ReadFile("clearance.go")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(regexp.QuoteMeta(title) + `\n//\n((//\t[0-9a-f]+\n)+)`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("the package comment has no example after %q", title)
	}
	return strings.NewReplacer("//\t", "", "\n", "").Replace(string(m[1]))
}

func exampleBytes(t testing.TB, title string) []byte {
	t.Helper()
	data, err := hex.DecodeString(exampleText(t, title))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
