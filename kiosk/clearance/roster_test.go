package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"strings"
	"testing"
)

// keepers are three people who keep a roster; two must sign.
func keepers(t *testing.T) (keys []*ecdsa.PrivateKey, rule RosterRule) {
	t.Helper()
	rule.Threshold = 2
	for range 3 {
		k := must(GenerateRoot())
		keys = append(keys, k)
		rule.Keys = append(rule.Keys, &k.PublicKey)
	}
	return keys, rule
}

func signedRoster(text string, keys ...*ecdsa.PrivateKey) []byte {
	data := must(DraftRoster([]byte(text)))
	for _, k := range keys {
		data = must(CountersignRoster(data, k))
	}
	return data
}

func TestT18_ARosterTakesTheSignaturesThatTheTrustFileAsksFor(t *testing.T) {
	keys, rule := keepers(t)
	stranger := must(GenerateRoot())
	const text = "version = 1\n"
	good := signedRoster(text, keys[0], keys[2])
	if got, err := rule.OpenRoster(good); err != nil || string(got) != text {
		t.Fatalf("%q %v", got, err)
	}
	if got, err := RosterText(good); err != nil || string(got) != text || !SameWords(RosterWords(got), RosterWords([]byte(text))) {
		t.Errorf("%q %v", got, err)
	}
	// A trust file is signed for something else, and so is everything that is not a roster.
	foreign := must((&signedFile{payload: []byte(text)}).sign(keys[0], trustAAD))
	foreign = must(must(decodeSigned(foreign, MaxRoster)).sign(keys[1], trustAAD))
	for name, data := range map[string][]byte{
		"nothing": nil, "nobody": signedRoster(text), "one of two": signedRoster(text, keys[0]), "the same one twice": signedRoster(text, keys[0], keys[0]),
		"one and a stranger": signedRoster(text, keys[0], stranger), "other text": bytes.Replace(good, []byte("= 1"), []byte("= 2"), 1), "cut": good[:len(good)-1],
		"a byte more": append(bytes.Clone(good), 0), "signed as a trust file": foreign,
	} {
		if got, err := rule.OpenRoster(data); err == nil || got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, none := range map[string]RosterRule{"a trust file that names nobody": {}, "no threshold": {Keys: rule.Keys}} {
		if _, err := none.OpenRoster(good); err == nil {
			t.Error(name)
		}
	}
	if _, err := DraftRoster(make([]byte, MaxRoster)); err == nil {
		t.Error("a roster larger than every reader takes")
	}
}

func TestT18_EveryChangedByteOfASignedRosterIsRefused(t *testing.T) {
	keys, rule := keepers(t)
	good := signedRoster("version = 1\n[[person]]\nid = \"p-1\"\n", keys[:2]...)
	for i := range good {
		for _, flip := range patterns() {
			mutant := bytes.Clone(good)
			mutant[i] ^= flip
			if _, err := rule.OpenRoster(mutant); err == nil {
				t.Fatalf("byte %d changed by %#02x is taken", i, flip)
			}
		}
	}
}

func TestATrustFileSaysWhoSignsTheRoster(t *testing.T) {
	_, rule := keepers(t)
	rule.Least = 7
	root := must(GenerateRoot())
	file := func(r RosterRule) (*Trust, error) {
		data, err := SignTrust(&Trust{Version: 1, Issued: exampleTime, Roots: []*ecdsa.PublicKey{&root.PublicKey}, Threshold: 1, Roster: r}, root)
		if err != nil {
			return nil, err
		}
		return ParseTrust(data)
	}
	for _, want := range []RosterRule{{}, rule} {
		got, err := file(want)
		if err != nil || len(got.Roster.Keys) != len(want.Keys) || got.Roster.Threshold != want.Threshold || got.Roster.Least != want.Least {
			t.Errorf("%+v %v", got, err)
		}
	}
	for name, bad := range map[string]RosterRule{
		"more signatures than keys": {rule.Keys, 4, 0}, "none": {rule.Keys, 0, 0}, "fewer than none": {rule.Keys, -1, 0}, "a threshold of nobody": {nil, 1, 0},
		"a version of nobody's": {nil, 0, 1}, "a key twice": {[]*ecdsa.PublicKey{rule.Keys[0], rule.Keys[0]}, 1, 0},
	} {
		if _, err := file(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRoster(f *testing.F) {
	key := vectorKey(0x31)
	f.Add(signedRoster("version = 1\n", key))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := RosterText(data)
		if err != nil {
			return
		}
		file := must(decodeSigned(data, MaxRoster))
		e := trustEnvelope{Payload: text}
		for _, s := range file.signatures {
			e.Signatures = append(e.Signatures, wireSignature{Protected: must(encoder.Marshal(pqHeader{algES256, s.kid})), Signature: s.signature.Signature})
		}
		if again := must(encodeTrust(e)); !bytes.Equal(again, data) {
			t.Errorf("a second spelling: %x", data)
		}
	})
}

// TestT12_TheTokenAttackTable holds the vectors against the attacks that they are there for: each is asked, and answered by both
// verifiers (TestT12_VectorsAreAnsweredRight, TestT12_AVerifierInAnotherLanguageAgrees), as it must be.
func TestT12_TheTokenAttackTable(t *testing.T) {
	exits := map[string]int{}
	for _, c := range makeVectors(t).Cases {
		exits[c.Name] = c.Exit
	}
	for _, row := range []struct {
		attack string
		exit   int
		cases  string
	}{
		{"algorithm swap", 9, "algorithm ES384|algorithm EdDSA|algorithm HMAC|algorithm ML-DSA-65|no algorithm"},
		{"duplicate keys", 9, "claims: a key twice|claims: another key twice"},
		{"non-canonical", 9, "claims: a long integer|claims: an indefinite length|claims: keys out of order|claims: a tag|the larger s"},
		{"extra claims", 9, "claims: a claim more|a header more|a critical header"},
		{"truncated manifest", 9, "manifest: cut|manifest: one leaf less|manifest: empty"},
		{"replay on another medium", 3, "replay on another stick|override replayed on another stick"},
		{"replay on a medium of another size or serial number", 10, "another size|another serial number|another product"},
		{"cloned serial", 3, "cloned serial"},
		{"stripped post-quantum signature", 9, "post-quantum signature stripped|QR not enough|claims: no post-quantum key|override with its post-quantum signature stripped"},
		{"key of another station", 9, "key of another station|override by another station's key"},
		{"name of another station", 7, "another station's key under this name|unknown station"},
		{"expired", 5, "expired|long expired|a clock that was set back|override after 4 hours"},
		{"far future", 5, "from the far future|not yet valid"},
		{"override", 11, "override|override QR"},
		{"override taken for a clearance", 9, "override taken away|override of what is cleared|claims: not cleared|claims: could not check"},
		{"override by one person", 9, "override by one person|override confirmed by nobody|override asked for by nobody"},
		{"override for ever", 9, "override for 4 hours and a second"},
		{"demonstration key", 8, "demonstration|demonstration, in its own trust file"},
	} {
		for name := range strings.SplitSeq(row.cases, "|") {
			if exit, there := exits[name]; !there || exit != row.exit {
				t.Errorf("%s: case %q there %v, exit code %d, want %d", row.attack, name, there, exit, row.exit)
			}
		}
	}
}
