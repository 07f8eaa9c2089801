package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pratique/rules/pack"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rulepack": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: func(env *testscript.Env) error {
		env.Setenv("SOON", time.Now().AddDate(0, 3, 0).Format(time.DateOnly)) // the programs read the real clock
		return nil
	}})
}

var passphrase = []byte("four words of a test")

func TestKeyFilesOpenWithTheirPassphraseOnly(t *testing.T) {
	public, private, err := newKey("Dora Smith", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := parsePublic(public)
	if err != nil || pub.Name != "Dora Smith" {
		t.Fatalf("%+v, %v", pub, err)
	}
	key, err := parsePrivate(private, passphrase)
	if err != nil || key.Name != "Dora Smith" || !key.Public.Equal(pub.Public) {
		t.Fatalf("%+v, %v", key, err)
	}
	sig, err := key.Sign([]byte("text"))
	if err != nil || !ed25519.Verify(pub.Public, []byte("text"), sig) {
		t.Errorf("signature: %v", err)
	}
	if bytes.Contains(private, []byte("seed")) || bytes.Contains(private, key.private.Seed()) {
		t.Error("the seed stands in the file")
	}
	if _, err := parsePrivate(private, []byte("four words of a tess")); !errors.Is(err, errPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	if _, err := parsePrivate(public, passphrase); !errors.Is(err, errKeyFile) {
		t.Errorf("the public file: %v", err)
	}
	for _, name := range []string{"", " a", "a\nb", "a\u202eb", string(make([]byte, 70))} {
		if _, _, err := newKey(name, passphrase); err == nil {
			t.Errorf("a key of %q", name)
		}
	}
}

// Whoever can write to the file of a private key cannot make its owner sign under another name or with another key.
func TestT14_EveryChangedByteOfAKeyFileIsRefused(t *testing.T) {
	_, private, err := newKey("d", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for at := range private {
		changed := bytes.Clone(private)
		changed[at] ^= 1
		// What breaks the file's form costs nothing to try; the others take the key derivation's time, so only some of them.
		if _, err := fields(changed, privateHead, "name", "public", "salt", "sealed"); err == nil {
			if opened++; opened%40 != 0 {
				continue
			}
		}
		if _, err := parsePrivate(changed, passphrase); err == nil {
			t.Fatalf("byte %d changed, and it opened", at)
		}
	}
	for n := range private {
		if _, err := fields(private[:n], privateHead, "name", "public", "salt", "sealed"); err == nil {
			t.Fatalf("cut at %d, and it is a key file", n)
		}
	}
}

func FuzzKeyFiles(f *testing.F) {
	public, private, err := newKey("Dora Smith", passphrase)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Add(private)
	f.Add((&tokenKey{pack.Key{Name: "Dora Smith", Public: make([]byte, ed25519.PublicKeySize)}, "label", make([]byte, objectBytes)}).encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := parsePublic(data); err == nil && key.Check() != nil {
			t.Error("taken, and no key")
		}
		_, _ = fields(data, privateHead, "name", "public", "salt", "sealed")
		if key, err := parseToken(data); err == nil && (key.Check() != nil || len(key.object) != objectBytes || !bytes.Equal(key.encode(), data)) {
			t.Error("taken, and no key in a token, or one in two spellings")
		}
	})
}

// The table of hints names reasons that exist, and the program says every refusal with exit code 3.
func TestRefusalsHaveTheirOwnExitCode(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, c := range []struct {
		err  error
		code int
		hint string
	}{
		{&pack.Refusal{Reason: pack.Older, Text: "x"}, exitRefused, "hint: rulepack build --version"},
		{&pack.Refusal{Reason: pack.TooLarge, Text: "x"}, exitRefused, "error: rule pack refused: x"},
		{usagef("x"), exitUsage, "hint: rulepack --help"},
		{errors.New("x"), exitFailed, "error: x"},
		{errPassphrase, exitFailed, "hint: the passphrase"},
		{errHelp, exitOK, ""},
	} {
		var words bytes.Buffer
		p := &program{stdin: null, stdout: &words, stderr: &words}
		if code := p.fail(c.err); code != c.code || !bytes.Contains(words.Bytes(), []byte(c.hint)) {
			t.Errorf("%v: exit code %d, %q", c.err, code, words.String())
		}
	}
	var words bytes.Buffer
	p := &program{stdin: null, stdout: &words, stderr: &words}
	if code := p.main(context.Background(), []string{"dance"}); code != exitUsage {
		t.Errorf("no such verb: %d", code)
	}
}
