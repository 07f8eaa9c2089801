package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/clearance"
	"pratique/testdata/swtpm"
)

// built is the real keyhelper.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keys-test-")
	if err == nil {
		built = filepath.Join(dir, "keyhelper")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", built, "pratique/kiosk/keyhelper").CombinedOutput(); err != nil {
			err = fmt.Errorf("build keyhelper: %w\n%s", err, out)
		}
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

var (
	secret = []byte("correct horse battery")
	made   = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
)

// newTPMDevice starts a software TPM with an empty state, and returns its socket.
func newTPMDevice(t testing.TB) string {
	t.Helper()
	return swtpm.Start(t).Socket
}

// softHSM is where Debian has the module.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// newToken makes an empty token, and returns how to reach it.
func newToken(t testing.TB) Access {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700),
		os.WriteFile(config, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nlog.level = ERROR\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "pratique", "--pin", string(secret), "--so-pin", "12345678").CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util (apt-get install softhsm2): %v: %s", err, out)
	}
	return Access{Helper: built, Module: softHSM, Token: "pratique"}
}

// accesses is every place, ready to be used.
func accesses(t testing.TB) map[Place]Access {
	return map[Place]Access{File: {}, TPM: {Device: newTPMDevice(t)}, PKCS11: newToken(t)}
}

func reload(t testing.TB, b *Box) *Box {
	t.Helper()
	data, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func claims(k *clearance.Keys, at time.Time) clearance.Claims {
	index := uint64(3)
	return clearance.Claims{Issuer: k.Issuer(), Audience: []string{"imaging"}, IssuedAt: at, Expires: at.Add(8 * time.Hour), ID: [16]byte{1},
		Verdict: clearance.Cleared, Medium: clearance.Medium{Sectors: 8}, Content: clearance.Content{Root: [32]byte{1}}, Rules: clearance.Rules{Name: "baseline", Version: 1},
		Canary: "none", Coverage: clearance.Used, Source: clearance.FromImage, LogIndex: &index, PQKeyID: k.PQKeyID()}
}

func TestAVerifierCannotTellWhereAKeyLives(t *testing.T) {
	for place, a := range accesses(t) {
		t.Run(string(place), func(t *testing.T) {
			b, err := New(t.Context(), place, Station, "kiosk-1", a, secret, made)
			if err != nil {
				t.Fatal(err)
			}
			b = reload(t, b)
			begin := time.Now()
			o, err := Open(t.Context(), b, a, secret)
			if err != nil {
				t.Fatal(err)
			}
			opened := time.Since(begin)
			defer o.Close()
			k, err := o.Keys()
			if err != nil {
				t.Fatal(err)
			}
			public, err := b.Public()
			if err != nil || public.KeyID() != k.Public().KeyID() || !public.PQ.Equal(k.Public().PQ) || k.Issuer() != "kiosk-1" || k.Demo() {
				t.Fatalf("%+v %v", public, err)
			}
			if _, err := k.Marshal(); err == nil {
				t.Error("keys that are kept elsewhere were written into a plain file")
			}
			begin = time.Now()
			token, err := clearance.Sign(claims(k, made.Add(time.Hour)), k)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: opened in %v, a token signed in %v", place, opened.Round(time.Millisecond), time.Since(begin).Round(100*time.Microsecond))

			root, err := clearance.GenerateRoot()
			if err != nil {
				t.Fatal(err)
			}
			file := &clearance.Trust{Version: 1, Issued: made, Stations: []clearance.StationKey{public}, Roots: nil, Threshold: 1}
			file.Roots = append(file.Roots, &root.PublicKey)
			data, err := clearance.SignTrust(file, root)
			if err != nil {
				t.Fatal(err)
			}
			trust, err := clearance.ParseTrust(data)
			if err != nil {
				t.Fatal(err)
			}
			res := clearance.Verify(clearance.Verification{Token: token, Trust: trust, Now: made.Add(2 * time.Hour), Comparison: &clearance.Comparison{Equal: true}})
			if res.Reason != clearance.Valid {
				t.Errorf("%v: %s", res.Reason, res.Text)
			}
			if request, err := k.Request("kiosk-1/log+1+AA"); err != nil {
				t.Error(err)
			} else if _, err := clearance.ParseRequest(request); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRootHoldersSignFromEveryPlace(t *testing.T) {
	for place, a := range accesses(t) {
		b, err := New(t.Context(), place, Root, "anna", a, secret, made)
		if err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		o, err := Open(t.Context(), reload(t, b), a, secret)
		if err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		root, err := b.RootKey()
		if err != nil {
			t.Fatal(err)
		}
		draft := &clearance.Trust{Version: 1, Issued: made, Threshold: 1}
		draft.Roots = append(draft.Roots, root)
		data, err := clearance.DraftTrust(draft)
		if err != nil {
			t.Fatal(err)
		}
		if data, err = clearance.Countersign(data, o.Signer); err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		if _, err := clearance.ParseTrust(data); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		if _, err := o.Keys(); err == nil {
			t.Errorf("%s: a root's key signs clearances", place)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Who carries the disk away has the box, and neither the secret, the TPM nor the token.
func TestT17_AStolenDiskSignsNothing(t *testing.T) {
	elsewhere := accesses(t) // before the owner's: the token's configuration is the environment's
	here := accesses(t)
	for place, a := range here {
		t.Run(string(place), func(t *testing.T) {
			b, err := New(t.Context(), place, Station, "kiosk-1", a, secret, made)
			if err != nil {
				t.Fatal(err)
			}
			data, err := b.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			refused := func(what string, a Access, secret []byte) {
				t.Helper()
				o, err := Open(t.Context(), reload(t, b), a, secret)
				if err == nil {
					o.Close()
					t.Fatalf("%s: the key was opened", what)
				}
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s: %v", what, err)
				}
			}
			refused("no secret", a, nil)
			refused("a wrong secret", a, []byte("correct horse batterz"))
			if bytes.Contains(data, secret) {
				t.Error("the secret is in the box")
			}
			o, err := Open(t.Context(), b, a, secret)
			if err != nil {
				t.Fatalf("after wrong secrets the right one is refused: %v", err)
			}
			if bytes.Contains(data, o.p.pq.Bytes()) {
				t.Error("the seed is in the box")
			}
			o.Close()
			switch place {
			case TPM:
				refused("another TPM", elsewhere[TPM], secret)
				refused("no TPM", Access{Device: filepath.Join(t.TempDir(), "tpm0")}, secret)
			case PKCS11:
				refused("no helper", Access{}, secret)
				t.Setenv("SOFTHSM2_CONF", filepath.Join(t.TempDir(), "none.conf"))
				refused("no token", a, secret)
			}
		})
	}
}

func TestATPMWithoutAPINOpensOnItsOwnMachineOnly(t *testing.T) {
	here, there := Access{Device: newTPMDevice(t)}, Access{Device: newTPMDevice(t)}
	b, err := New(t.Context(), TPM, Station, "kiosk-1", here, nil, made)
	if err != nil {
		t.Fatal(err)
	}
	if b.NeedsSecret() {
		t.Error("it asks for a secret")
	}
	if o, err := Open(t.Context(), b, here, nil); err != nil {
		t.Error(err)
	} else {
		o.Close()
	}
	if _, err := Open(t.Context(), b, there, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("on another machine: %v", err)
	}
}

func TestASecretThatProtectsNothingIsRefused(t *testing.T) {
	for place, s := range map[Place]string{File: "short", PKCS11: ""} {
		if _, err := New(t.Context(), place, Station, "kiosk-1", Access{}, []byte(s), made); !errors.Is(err, ErrClosed) {
			t.Errorf("%s with %q: %v", place, s, err)
		}
	}
	if _, err := New(t.Context(), "", Station, "kiosk-1", Access{}, secret, made); err == nil {
		t.Error("a key was made nowhere")
	}
	for _, name := range []string{"", "two words", strings.Repeat("x", 65), "tür"} {
		if _, err := New(t.Context(), File, Root, name, Access{}, secret, made); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

// A changed byte of a box never gives a key that signs as another: either it does not open, or nothing of it was used.
func TestT17_EveryChangedByteOfASealedFileIsRefused(t *testing.T) {
	b, err := New(t.Context(), File, Root, "anna", Access{}, secret, made)
	if err != nil {
		t.Fatal(err)
	}
	b.Sealed.Memory = 64 // KiB, so that this takes no minutes; sealed anew
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if b.Point, err = key.PublicKey.Bytes(); err != nil {
		t.Fatal(err)
	}
	aead, label, err := b.sealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	b.Sealed.Text = aead.Seal(nil, make([]byte, aead.NonceSize()), scalar, label)
	data, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if o, err := Open(t.Context(), reload(t, b), Access{}, secret); err != nil {
		t.Fatal(err)
	} else if sig, err := o.Signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil || len(sig) == 0 {
		t.Fatal(err)
	}
	for i := range data {
		for _, x := range []byte{0x01, 0x80, 0xFF} {
			bad := bytes.Clone(data)
			bad[i] ^= x
			changed, err := Parse(bad)
			if err != nil || changed.Sealed.Memory > 1<<10 { // a quarter of a second each
				continue
			}
			if _, err := Open(t.Context(), changed, Access{}, secret); err == nil {
				t.Fatalf("byte %d changed by %#02x: it opened", i, x)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	b, err := New(f.Context(), File, Station, "kiosk-1", Access{}, secret, made)
	if err != nil {
		f.Fatal(err)
	}
	data, err := b.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			return
		}
		if b.Use == Station {
			if _, err := b.Public(); err != nil {
				t.Errorf("a box without a public key: %v", err)
			}
		}
		if b.Place == TPM {
			_, _ = tpmPoint(b.TPM.Public)
		}
	})
}
