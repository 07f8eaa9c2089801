package clearance

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var writeVectors = flag.Bool("write-vectors", false, "write testdata/vectors/clearance.json anew")

// answer is what this package says.
func (v *vectors) answer(t testing.TB, c *vectorCase) int {
	t.Helper()
	unhex := func(s string) []byte { return must(hex.DecodeString(s)) }
	q := Verification{Class: c.Class, AllowDemo: c.Demo, AllowOverride: c.Override, Now: time.Unix(c.Now, 0)}
	if c.NotBefore > 0 {
		q.NotBefore = time.Unix(c.NotBefore, 0)
	}
	var err error
	if q.Trust, err = ParseTrust(unhex(v.Trusts[c.Trust])); err != nil {
		return NotVerified.Exit()
	}
	if c.Digits != "" {
		q.FromQR = true
		if q.Token, err = ParseQR(c.Digits); err != nil {
			return Forged.Exit()
		}
	} else {
		q.Token = unhex(c.Token)
	}
	if c.Manifest != "" {
		if q.Manifest, err = ReadManifest(bytes.NewReader(unhex(v.Manifests[c.Manifest]))); err != nil {
			return Forged.Exit()
		}
	}
	res := Verify(q)
	if res.Claims == nil {
		return res.Reason.Exit()
	}
	if c.Medium != nil {
		q.Medium = &Medium{VID: c.Medium.VID, PID: c.Medium.PID, Sectors: c.Medium.Sectors}
		if c.Medium.Serial != "" {
			q.Medium.Serial = SerialDigest(res.Claims.ID, c.Medium.Serial)
		}
	}
	content, _ := vectorManifest(t, res.Claims.ID, v.Contents[c.Content]).Content()
	q.Comparison = &Comparison{Equal: content == res.Claims.Content}
	return Verify(q).Reason.Exit()
}

func TestT12_VectorsAreAnsweredRight(t *testing.T) {
	path := filepath.Join("..", "..", "testdata", "vectors", "clearance.json")
	made := must(json.MarshalIndent(makeVectors(t), "", " "))
	made = append(made, '\n')
	if *writeVectors {
		if err := os.WriteFile(path, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, made) {
		t.Error("the vectors are not what their program makes: the format changed, or the file did")
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for i := range v.Cases {
		c := &v.Cases[i]
		if names[c.Name] {
			t.Errorf("%q is there twice", c.Name)
		}
		names[c.Name] = true
		if got := v.answer(t, c); got != c.Exit {
			t.Errorf("%s: exit code %d, want %d", c.Name, got, c.Exit)
		}
	}
	t.Logf("%d cases", len(v.Cases))
}

// TestT12_AVerifierInAnotherLanguageAgrees runs the second verifier: Python with nothing but its own library, and none of this
// package's code. It reads CBOR, checks both signature schemes and builds the manifest's tree by itself.
func TestT12_AVerifierInAnotherLanguageAgrees(t *testing.T) {
	path := filepath.Join("..", "..", "testdata", "vectors", "clearance.json")
	var v vectors
	if err := json.Unmarshal(must(os.ReadFile(path)), &v); err != nil {
		t.Fatal(err)
	}
	secondVerifier(t, path, len(v.Cases))
}

// TestT12_BothVerifiersAnswerMutantsAlike changes bytes of tokens and of a trust file all over, and asks both; the nightly run
// changes every byte.
func TestT12_BothVerifiersAnswerMutantsAlike(t *testing.T) {
	all := makeVectors(t)
	v := &vectors{Trusts: map[string]string{}, Manifests: all.Manifests, Contents: all.Contents}
	for _, c := range all.Cases {
		if c.Name != "good QR" && c.Name != "good" && c.Name != "demonstration, allowed" {
			continue
		}
		token, err := hex.DecodeString(c.Token)
		if c.Digits != "" {
			token, err = ParseQR(c.Digits)
		}
		if err != nil {
			t.Fatal(err)
		}
		trust := all.Trusts[c.Trust]
		v.Trusts[c.Trust] = trust
		step := max(1, len(token)/min(24**mutants, 288)) // the post-quantum signature is long, and each part is like the next
		for i := 0; i < len(token); i += step {
			mutant := bytes.Clone(token)
			mutant[i] ^= patterns()[i%len(patterns())]
			m := c
			m.Name, m.Token, m.Digits = c.Name+", byte "+strconv.Itoa(i), hex.EncodeToString(mutant), ""
			if c.Digits != "" {
				m.Token, m.Digits = "", qrMagic+toDigits(mutant)
			}
			m.Exit = all.answer(t, &m)
			v.Cases = append(v.Cases, m)
		}
	}
	good := must(hex.DecodeString(all.Trusts["good"]))
	for i := 0; i < len(good); i += max(1, 290 / *mutants) {
		mutant := bytes.Clone(good)
		mutant[i] ^= patterns()[i%len(patterns())]
		name := "byte " + strconv.Itoa(i)
		v.Trusts[name], all.Trusts[name] = hex.EncodeToString(mutant), hex.EncodeToString(mutant)
		m := vectorCase{Name: "trust file, " + name, Trust: name, Content: "cleared", Now: exampleTime.Unix()}
		m.Exit = all.answer(t, &m)
		v.Cases = append(v.Cases, m)
	}
	path := filepath.Join(t.TempDir(), "mutants.json")
	if err := os.WriteFile(path, must(json.Marshal(v)), 0o600); err != nil {
		t.Fatal(err)
	}
	secondVerifier(t, path, len(v.Cases))
}

// secondVerifier lets Python answer a file of so many cases, and those about checkpoints.
func secondVerifier(t *testing.T, path string, cases int) {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "vectors")
	out, err := exec.Command("python3", "-I", filepath.Join(dir, "verify.py"), path, filepath.Join(dir, "checkpoint.json")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	t.Log(last)
	if n, _, _ := strings.Cut(last, " "); n != strconv.Itoa(cases) {
		t.Errorf("it answered %q, and there are %d cases", last, cases)
	}
}
