package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/rules/p11"
	"pratique/rules/pack"
	"pratique/testdata/packs"
)

// softHSM is where Debian has the module.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// office is a folder with a token, a keyhelper and files with secrets, and somebody who types.
type office struct {
	t           testing.TB
	dir, helper string
}

func newOffice(t testing.TB) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	o.helper = o.path("keyhelper")
	if out, err := exec.Command("go", "build", "-o", o.helper, "pratique/kiosk/keyhelper").CombinedOutput(); err != nil {
		t.Fatalf("build keyhelper: %v\n%s", err, out)
	}
	o.write("softhsm2.conf", "directories.tokendir = "+o.path("tokens")+"\nlog.level = ERROR\n")
	o.write("pass", "four words of a test\n")
	o.write("pin", "123456\n")
	o.write("wrong", "654321\n")
	if err := os.Mkdir(o.path("tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", o.path("softhsm2.conf"))
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "dora's", "--pin", "123456", "--so-pin", "12345678").CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util (apt-get install softhsm2): %v: %s", err, out)
	}
	return o
}

func (o *office) path(name string) string { return filepath.Join(o.dir, name) }

func (o *office) write(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(o.path(name), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// types runs a verb, and wants its exit code and words. In an argument @ stands for the office's folder.
func (o *office) types(code int, words string, line ...string) {
	o.t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		o.t.Fatal(err)
	}
	defer null.Close()
	var args []string
	for _, arg := range line {
		args = append(args, strings.ReplaceAll(arg, "@", o.dir+"/"))
	}
	var said bytes.Buffer
	p := &program{null, &said, &said, o.helper}
	if got := p.main(o.t.Context(), args); got != code || !strings.Contains(said.String(), words) {
		o.t.Errorf("rulepack %s: exit code %d, want %d with %q:\n%s", strings.Join(line, " "), got, code, words, said.String())
	}
}

// Two of three sign: one with a file, one with a token, and a kiosk takes it.
func TestAPackIsSignedWithAFileAndAToken(t *testing.T) {
	o := newOffice(t)
	token := []string{"--pkcs11", softHSM, "--passphrase-file", "@pin"}
	for _, name := range []string{"anna", "bert", "desk"} {
		o.types(0, "stays with", "keys", "new", "--name", name, "-o", "@"+name, "--passphrase-file", "@pass")
	}
	o.types(0, "cannot be taken out of it", append([]string{"keys", "new", "--name", "Dora Smith", "--token", "dora's", "-o", "@dora"}, token...)...)
	o.types(0, "Drafted", "init", "--root", "@anna.pub", "--root", "@bert.pub", "--root", "@dora.pub", "--signer", "@anna.pub", "--signer", "@bert.pub", "--signer", "@dora.pub",
		"--publisher", "@desk.pub", "--to", "@repo")
	o.types(0, "Signed as Dora Smith: root.json, targets.json", append([]string{"sign", "--key", "@dora.key", "@repo"}, token...)...)
	o.types(0, "Signed as anna", "sign", "--key", "@anna.key", "--passphrase-file", "@pass", "@repo")

	if err := os.CopyFS(o.path("core"), packs.Source(1, time.Now().Add(90*24*time.Hour), nil)); err != nil {
		t.Fatal(err)
	}
	o.types(0, "Built core version 1", "build", "-o", "@core.pack", "@core")
	o.types(0, "Signed as Dora Smith", append([]string{"sign", "--key", "@dora.key", "@core.pack"}, token...)...)
	o.types(3, "signed by 1 of the 2 persons", "publish", "--key", "@desk.key", "--passphrase-file", "@pass", "--to", "@repo", "@core.pack")
	o.types(0, "Signed as Dora Smith", append([]string{"sign", "--key", "@dora.key", "@core.pack"}, token...)...) // again: it counts once
	o.types(3, "signed by 1 of the 2 persons", "publish", "--key", "@desk.key", "--passphrase-file", "@pass", "--to", "@repo", "@core.pack")
	o.types(0, "Signed as bert", "sign", "--key", "@bert.key", "--passphrase-file", "@pass", "@core.pack")
	o.types(0, "Published", "publish", "--key", "@desk.key", "--passphrase-file", "@pass", "--to", "@repo", "@core.pack")

	root, _, err := pack.FirstRoot(o.path("repo"))
	if err != nil {
		t.Fatal(err)
	}
	kiosk, err := pack.Open(o.path("kiosk"), root)
	if err != nil {
		t.Fatal(err)
	}
	staged, err := kiosk.Stage(t.Context(), o.path("repo"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer staged.Discard()
	if m := staged.Meta(); m.Needed != 2 || len(m.Signers) != 2 || m.Signers[0] != "Dora Smith" || m.Signers[1] != "bert" {
		t.Errorf("signed by %q, %d needed", m.Signers, m.Needed)
	}
}

func TestT19_ATokenThatIsNotThePersonsSignsNothing(t *testing.T) {
	o := newOffice(t)
	token := []string{"--pkcs11", softHSM, "--passphrase-file", "@pin"}
	o.types(0, "", append([]string{"keys", "new", "--name", "Dora Smith", "--token", "dora's", "-o", "@dora"}, token...)...)
	o.types(0, "", append([]string{"keys", "new", "--name", "Emil Berg", "--token", "dora's", "-o", "@emil"}, token...)...)
	o.types(0, "", "keys", "new", "--name", "anna", "-o", "@anna", "--passphrase-file", "@pass")
	o.types(0, "", "keys", "new", "--name", "desk", "-o", "@desk", "--passphrase-file", "@pass")
	if err := os.CopyFS(o.path("core"), packs.Source(1, time.Now().Add(90*24*time.Hour), nil)); err != nil {
		t.Fatal(err)
	}
	o.types(0, "", "build", "-o", "@core.pack", "@core")
	good, err := os.ReadFile(o.path("dora.key"))
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, now string) string { return strings.Replace(string(good), old, now, 1) }
	emil, err := os.ReadFile(o.path("emil.pub"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := parsePublic(emil)
	if err != nil {
		t.Fatal(err)
	}
	dora, err := parseToken(good)
	if err != nil {
		t.Fatal(err)
	}
	o.write("lost.key", replace("token dora's", "token another"))
	o.write("gone.key", replace("object ", "object 00")[:len(good)-1])
	o.write("stolen.key", string((&tokenKey{pack.Key{Name: "Dora Smith", Public: other.Public}, dora.token, dora.object}).encode()))
	o.write("absent.key", string((&tokenKey{dora.Key, dora.token, make([]byte, objectBytes)}).encode()))
	sign := func(key string, more ...string) []string {
		return append([]string{"sign", "--key", "@" + key, "@core.pack"}, more...)
	}

	o.types(1, "log in", sign("dora.key", "--pkcs11", softHSM, "--passphrase-file", "@wrong")...)
	o.types(2, "there is no PIN", sign("dora.key", "--pkcs11", softHSM, "--passphrase-file", os.DevNull)...)
	o.types(2, "no terminal", sign("dora.key", "--pkcs11", softHSM)...)
	o.types(1, "0 tokens have that label", sign("lost.key", token...)...)
	o.types(1, "not a key file", sign("gone.key", token...)...)
	o.types(1, "the token has 0 such keys", sign("absent.key", token...)...)
	o.types(1, "it holds another key than the file says", sign("stolen.key", token...)...)
	o.types(1, "--pkcs11 names the library", sign("dora.key", "--passphrase-file", "@pin")...)
	o.types(2, "is in no token", sign("anna.key", token...)...)
	o.types(1, "the module cannot be loaded", sign("dora.key", "--pkcs11", "@pin", "--passphrase-file", "@pin")...)
	o.types(1, "module is named by its whole path", sign("dora.key", "--pkcs11", "libsofthsm2.so", "--passphrase-file", "@pin")...)
	o.types(2, "go together", "keys", "new", "--name", "x", "-o", "@x", "--pkcs11", softHSM, "--passphrase-file", "@pin")
	o.types(1, "log in", "keys", "new", "--name", "x", "-o", "@x", "--pkcs11", softHSM, "--token", "dora's", "--passphrase-file", "@wrong")
	o.types(1, "printable", "keys", "new", "--name", "a\u202eb", "-o", "@x", "--pkcs11", softHSM, "--token", "dora's", "--passphrase-file", "@pin")
	o.types(1, "file exists", append([]string{"keys", "new", "--name", "x", "--token", "dora's", "-o", "@dora"}, token...)...)

	// A keyhelper that is not there, dies, hangs up in mid word, or answers what was not asked.
	for name, script := range map[string]string{"dies": "exit 0", "is killed": "kill -9 $$", "talks": "echo words words words words words words words", "breaks off": "printf '\\0\\0\\0\\377x'"} {
		o.write("helper", "#!/bin/sh\n"+script+"\n")
		if err := os.Chmod(o.path("helper"), 0o700); err != nil {
			t.Fatal(err)
		}
		bad := &office{t, o.dir, o.path("helper")}
		bad.types(1, "keyhelper", sign("dora.key", token...)...)
		t.Log(name)
	}
	(&office{t, o.dir, o.path("nothing")}).types(1, "hint: the token must be plugged in", sign("dora.key", token...)...)
	(&office{t, o.dir, ""}).types(1, "the keyhelper program is not installed", sign("dora.key", token...)...)
	if _, err := os.Stat(o.path("core.pack.sig")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was signed: %v", err)
	}
	for _, name := range []string{"x.key", "x.pub"} {
		if _, err := os.Stat(o.path(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was written", name)
		}
	}
	o.types(0, "Signed as Dora Smith", sign("dora.key", token...)...)
}

// A token that dies between log-in and signature, and one that signs something else, leave the pack as it was.
func TestATokenThatFailsInMidSignatureLeavesNothing(t *testing.T) {
	o := newOffice(t)
	h, err := p11.Start(o.helper, softHSM, "dora's", []byte("123456"))
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := newToken(h, "Dora Smith", "dora's")
	h.Close()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := parsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseToken(private)
	if err != nil || !bytes.Equal(k.Public, pub.Public) || k.Name != pub.Name {
		t.Fatalf("%+v %v", k, err)
	}
	s, err := openToken(o.helper, softHSM, k, []byte("123456"))
	if err != nil {
		t.Fatal(err)
	}
	s.close() // the token is pulled
	if sig, err := s.Sign([]byte("text")); !errors.Is(err, p11.ErrToken) || sig != nil {
		t.Errorf("%x %v", sig, err)
	}
	if _, err := openToken(o.helper, softHSM, &tokenKey{k.Key, k.token, make([]byte, objectBytes)}, []byte("123456")); !errors.Is(err, p11.ErrToken) {
		t.Errorf("another object: %v", err)
	}
	for n := range private {
		if _, err := parseToken(private[:n]); err == nil {
			t.Fatalf("cut at %d, and it is a key file", n)
		}
	}
}
