//go:build unix

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/clearance"
	"pratique/scanner/report"
)

// program is the real binary, built once as it ships: without cgo.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "clearcheck")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "clearcheck")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// answer is what a run of the program said.
type answer struct {
	code           int
	stdout, stderr string
}

func ask(t testing.TB, args ...string) answer {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = []string{} // it needs nothing from the environment
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return answer{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// site is a station, a trust file, and a stick that it cleared.
type site struct {
	dir   string
	keys  *clearance.Keys
	root  *ecdsa.PrivateKey
	id    [16]byte
	stick string
	files map[string]string
}

// stickFiles is the content of the stick. A name with '/' at its end is an empty directory.
var stickFiles = map[string]string{
	"DICOMDIR":                      "index",
	"DICOM/P1/IM1":                  strings.Repeat("image ", 400_000), // more than one read
	"DICOM/P1/IM2":                  "image 2",
	"Bericht für Frau Öztürk.pdf":   "%PDF-",
	"報告/🙂.txt":                      "smile",
	"empty.bin":                     "",
	"leer/":                         "",
	"DICOM/IM\x80 not UTF-8":        "byte name",
	"line\nbreak\x1b[2J\u202Etxt.a": "tricky name",
}

func newSite(t testing.TB, demo bool) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), id: [16]byte{1, 2, 3}, files: map[string]string{}}
	var err error
	if s.keys, err = clearance.GenerateKeys("kiosk-1", demo, time.Now().Add(-100*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s.root, err = clearance.GenerateRoot(); err != nil {
		t.Fatal(err)
	}
	s.stick = filepath.Join(s.dir, "stick")
	for path, text := range stickFiles {
		s.files[path] = text
		write(t, s.stick+"/"+path, text)
	}
	s.trust(t, func(trust *clearance.Trust) { trust.Demo = demo })
	return s
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if strings.HasSuffix(path, "/") {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// trust writes the trust file.
func (s *site) trust(t testing.TB, change func(*clearance.Trust)) {
	t.Helper()
	trust := &clearance.Trust{Version: 1, Issued: time.Now().Add(-time.Hour).Truncate(time.Second), QRWithout: true,
		Stations: []clearance.StationKey{s.keys.Public()}, Roots: []*ecdsa.PublicKey{&s.root.PublicKey}, Threshold: 1}
	change(trust)
	data, err := clearance.SignTrust(trust, s.root)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.path("trust"), string(data))
}

// manifest lists s.files as volume 0, and more volumes after it. It writes the file, too.
func (s *site) manifest(t testing.TB, more ...map[string]string) clearance.Content {
	t.Helper()
	m := clearance.NewManifest(s.id)
	for volume, files := range append([]map[string]string{s.files}, more...) {
		if err := m.AddVolume(volume); err != nil {
			t.Fatal(err)
		}
		for path, text := range files {
			kind := report.File
			if strings.HasSuffix(path, "/") {
				kind = report.Directory
			} else if strings.Contains(path, ":") {
				kind = report.Stream
			}
			if err := m.Add(volume, kind, strings.TrimSuffix(path, "/"), int64(len(text)), sha256.Sum256([]byte(text))); err != nil {
				t.Fatal(err)
			}
		}
	}
	content, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := m.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("manifest"), file.String())
	return content
}

// issue writes a token for the stick.
func (s *site) issue(t testing.TB, content clearance.Content, change func(*clearance.Claims)) []byte {
	t.Helper()
	index := uint64(5)
	now := time.Now().Truncate(time.Second)
	c := clearance.Claims{
		Issuer: s.keys.Issuer(), Audience: []string{"imaging", "general"}, IssuedAt: now.Add(-time.Minute), Expires: now.Add(8 * time.Hour), ID: s.id,
		Verdict: clearance.Cleared, Content: content, Rules: clearance.Rules{Name: "baseline", Version: 3}, Canary: "none",
		Coverage: clearance.Used, Source: clearance.FromImage, LogIndex: &index, PQKeyID: s.keys.PQKeyID(), TrustVersion: 1,
	}
	if change != nil {
		change(&c)
	}
	token, err := clearance.Sign(c, s.keys)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.path("token"), string(token))
	return token
}

// cleared is a site with a token and a manifest for its stick.
func cleared(t testing.TB) *site {
	s := newSite(t, false)
	s.issue(t, s.manifest(t), nil)
	return s
}

// check asks about the stick with the usual flags and more.
func (s *site) check(t testing.TB, flags ...string) answer {
	t.Helper()
	args := append([]string{"--trust", s.path("trust"), "--token", s.path("token")}, flags...)
	return ask(t, append(args, s.stick)...)
}

func (a answer) want(t testing.TB, name string, code int, words ...string) {
	t.Helper()
	if a.code != code {
		t.Errorf("%s: exit code %d, want %d\n%s%s", name, a.code, code, a.stdout, a.stderr)
	}
	for _, w := range words {
		if !strings.Contains(a.stdout+a.stderr, w) {
			t.Errorf("%s: nothing says %q:\n%s%s", name, w, a.stdout, a.stderr)
		}
	}
	if strings.ContainsFunc(a.stdout+a.stderr, func(r rune) bool { return r < ' ' && r != '\n' || r == '\u202E' }) {
		t.Errorf("%s: control characters reach the terminal: %q", name, a.stderr)
	}
	if valid := strings.HasPrefix(a.stdout, "clearcheck: valid until "); valid != (code == 0) && !strings.HasPrefix(a.stdout, "usage: ") {
		t.Errorf("%s: stdout is %q", name, a.stdout)
	}
}

func TestAClearedFolderIsValid(t *testing.T) {
	s := cleared(t)
	s.check(t, "--for", "imaging").want(t, "class given", 0, "alternate data streams")
	s.check(t).want(t, "no class", 0, "class was not checked", "general, imaging")
	s.check(t, "--manifest", s.path("manifest")).want(t, "with manifest", 0)
	link := s.path("link")
	if err := os.Symlink(s.stick, link); err != nil {
		t.Fatal(err)
	}
	ask(t, "--trust", s.path("trust"), "--token", s.path("token"), link).want(t, "a link that the person named", 0)
	ask(t, "--trust", s.path("trust"), "--token", s.path("token"), s.stick+"/").want(t, "a slash at the end", 0)

	token, err := os.ReadFile(s.path("token"))
	if err != nil {
		t.Fatal(err)
	}
	digits, err := clearance.QR(token)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, "--trust", s.path("trust"), "--qr", digits, "--for", "general", s.stick).want(t, "by QR", 0)
	ask(t, "--trust", s.path("trust"), "--qr", digits[:9]+" "+digits[9:]+"\n", s.stick).want(t, "by QR in groups", 0)
	ask(t, "--trust", s.path("trust"), "--qr", digits[:9]+digits[10:], s.stick).want(t, "by QR less a digit", 9)
	s.trust(t, func(trust *clearance.Trust) { trust.QRWithout = false })
	ask(t, "--trust", s.path("trust"), "--qr", digits, s.stick).want(t, "by QR where both signatures are asked for", 9)
}

// What somebody puts on a medium after it was cleared must not fill the memory of the device that checks it.
func TestT24_MoreFilesThanWereClearedEndTheCheck(t *testing.T) {
	s := cleared(t)
	dir := filepath.Join(s.stick, "more")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range surplusFiles + 100 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "")
	}
	s.check(t, "--manifest", s.path("manifest")).want(t, "many files", 3, "many more files than were cleared")
}

func TestNamesThatAreNotKeptAreCountedAmongTheChanges(t *testing.T) {
	var out strings.Builder
	s := &sight{stderr: &out, manifest: clearance.NewManifest([16]byte{1}), names: map[[32]byte]string{}, named: maxNameBytes}
	if err := s.add(0, report.File, "late.txt", 1, [32]byte{}); err != nil || len(s.names) > 0 {
		t.Fatalf("%v, %d names", err, len(s.names))
	}
	s.say(clearance.Comparison{Changes: []clearance.Change{{Kind: clearance.Added, Key: clearance.PathKey([16]byte{1}, "late.txt")}}})
	if !strings.Contains(out.String(), "added: one of the entries whose names were not kept") {
		t.Errorf("%q", out.String())
	}
}

func override(c *clearance.Claims) {
	c.Operator = [8]byte{1}
	c.Overrule(clearance.NotCleared, clearance.Override{Reason: "patient-emergency", Second: [8]byte{2}})
}

func TestEachReasonHasItsExitCode(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for _, row := range []struct {
		name   string
		claims func(*clearance.Claims)
		trust  func(*clearance.Trust)
		flags  []string
		want   int
	}{
		{"another class", nil, nil, []string{"--for", "infusion"}, 4},
		{"expired", func(c *clearance.Claims) { c.IssuedAt, c.Expires = now.Add(-9*time.Hour), now.Add(-time.Hour) }, nil, nil, 5},
		{"not yet valid", func(c *clearance.Claims) { c.IssuedAt, c.Expires = now.Add(time.Hour), now.Add(9*time.Hour) }, nil, nil, 5},
		{"known to be later", nil, nil, []string{"--not-before", now.Add(9 * time.Hour).Format(time.RFC3339)}, 5},
		{"clearance taken back", nil, func(t *clearance.Trust) { t.Revoked = [][16]byte{{1, 2, 3}} }, nil, 6},
		{"key taken back", nil, func(t *clearance.Trust) { t.Stations[0].RevokedFromLog = new(uint64) }, nil, 6},
		{"rules too old", nil, func(t *clearance.Trust) { t.MinRules = map[string]uint64{"baseline": 4} }, nil, 6},
		{"another station", nil, func(t *clearance.Trust) { t.Stations = nil }, nil, 7},
		{"a demonstration trust file", nil, func(t *clearance.Trust) { t.Demo = true }, nil, 8},
		{"override", override, nil, nil, 11},
		{"override, allowed", override, nil, []string{"--override"}, 0},
		{"old trust file", nil, func(t *clearance.Trust) { t.Issued = now.Add(-31 * 24 * time.Hour) }, nil, 12},
	} {
		s := newSite(t, false)
		s.issue(t, s.manifest(t), row.claims)
		if row.trust != nil {
			s.trust(t, row.trust)
		}
		s.check(t, row.flags...).want(t, row.name, row.want)
	}
}

func TestT34_ADemonstrationNeedsItsFlag(t *testing.T) {
	s := newSite(t, true)
	s.issue(t, s.manifest(t), nil)
	s.check(t).want(t, "without --demo", 8)
	s.check(t, "--demo").want(t, "with --demo", 0)
	s.trust(t, func(trust *clearance.Trust) { trust.Demo = false })
	s.check(t, "--demo").want(t, "with a real trust file", 7)
}

func TestT12_ForgedFilesAreRejected(t *testing.T) {
	s := cleared(t)
	good, err := os.ReadFile(s.path("token"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += len(good) / 25 {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		write(t, s.path("token"), string(changed))
		if a := s.check(t); a.code != 9 && a.code != 7 {
			t.Errorf("token changed at %d: exit code %d", i, a.code)
		}
	}
	for name, text := range map[string]string{"empty": "", "huge": strings.Repeat("\xd2", 1<<20), "text": "cleared", "trailing byte": string(good) + "\n"} {
		write(t, s.path("token"), text)
		s.check(t).want(t, name+" token", 9)
	}
	write(t, s.path("token"), string(good))

	manifest, err := os.ReadFile(s.path("manifest"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(manifest); i += len(manifest) / 25 {
		changed := bytes.Clone(manifest)
		changed[i] ^= 1
		write(t, s.path("manifest"), string(changed))
		s.check(t, "--manifest", s.path("manifest")).want(t, fmt.Sprintf("manifest changed at %d", i), 9)
	}
	write(t, s.path("manifest"), string(manifest[:len(manifest)-1]))
	s.check(t, "--manifest", s.path("manifest")).want(t, "manifest cut", 9)
	write(t, s.path("manifest"), "pratique sealed1"+strings.Repeat("\x00", 100))
	s.check(t, "--manifest", s.path("manifest")).want(t, "manifest as a station keeps it", exitFailed, "pratique clearance save")

	trust, err := os.ReadFile(s.path("trust"))
	if err != nil {
		t.Fatal(err)
	}
	trust[len(trust)/2] ^= 1
	write(t, s.path("trust"), string(trust))
	s.check(t).want(t, "trust file changed", 1)
}

// TestT13_WhatWasChangedIsNamed makes each change on a stick of its own.
func TestT13_WhatWasChangedIsNamed(t *testing.T) {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("image 2")))
	for _, row := range []struct {
		name   string
		change func(t *testing.T, stick string) error
		want   int
		words  []string
	}{
		{"file added", func(t *testing.T, p string) error { write(t, p+"/new.exe", "MZ"); return nil }, 3, []string{`added: "new.exe"`}},
		{"file changed, same size", func(t *testing.T, p string) error { write(t, p+"/DICOMDIR", "indeX"); return nil }, 3, []string{`changed: "DICOMDIR"`}},
		{"file made longer", func(t *testing.T, p string) error { write(t, p+"/DICOMDIR", "index and more"); return nil }, 3, []string{`changed: "DICOMDIR"`}},
		{"file emptied", func(t *testing.T, p string) error { write(t, p+"/DICOMDIR", ""); return nil }, 3, []string{`changed: "DICOMDIR"`}},
		{"file removed", func(t *testing.T, p string) error { return os.Remove(p + "/DICOM/P1/IM2") }, 3, []string{"removed: a file of 7 bytes", sum}},
		{"file renamed", func(t *testing.T, p string) error { return os.Rename(p+"/DICOMDIR", p+"/dicomdir") }, 3, []string{`added: "dicomdir"`, "removed: a file of 5 bytes"}},
		{"file moved", func(t *testing.T, p string) error { return os.Rename(p+"/DICOMDIR", p+"/DICOM/DICOMDIR") }, 3, []string{`added: "DICOM/DICOMDIR"`}},
		{"empty directory added", func(t *testing.T, p string) error { return os.Mkdir(p+"/neu", 0o755) }, 3, []string{`added: "neu"`}},
		{"empty directory removed", func(t *testing.T, p string) error { return os.Remove(p + "/leer") }, 3, []string{"removed: an empty directory"}},
		{"file put into the empty directory", func(t *testing.T, p string) error { write(t, p+"/leer/x", ""); return nil }, 3, []string{`added: "leer/x"`}},
		{"file become a directory", func(t *testing.T, p string) error {
			return errors.Join(os.Remove(p+"/empty.bin"), os.Mkdir(p+"/empty.bin", 0o755))
		}, 3, []string{`changed: "empty.bin"`}},
		{"name with tricks added", func(t *testing.T, p string) error { write(t, p+"/ev\u202Egpj.exe\x1b]0;x\a", "MZ"); return nil }, 3, []string{`\u202e`, `\x1b`}},
		{"name that is not UTF-8 changed", func(t *testing.T, p string) error { write(t, p+"/DICOM/IM\x80 not UTF-8", "other"); return nil }, 3, []string{`\x80`}},
		{"link added", func(t *testing.T, p string) error { return os.Symlink("DICOMDIR", p+"/link") }, 3, []string{`"link" is neither a file nor a directory`}},
		{"link to a folder added", func(t *testing.T, p string) error { return os.Symlink("..", p+"/up") }, 3, []string{`"up" is neither`}},
		{"file replaced by a link to the same content", func(t *testing.T, p string) error {
			return errors.Join(os.Rename(p+"/DICOMDIR", filepath.Dir(p)+"/away"), os.Symlink(filepath.Dir(p)+"/away", p+"/DICOMDIR"))
		}, 3, []string{`"DICOMDIR" is neither`}},
		{"pipe added", func(t *testing.T, p string) error { return mkfifo(p + "/pipe") }, 3, []string{`"pipe" is neither`}},
		{"terabyte of nothing added", func(t *testing.T, p string) error {
			write(t, p+"/sparse", "")
			return os.Truncate(p+"/sparse", 1<<40)
		}, 3, []string{`added: "sparse"`}},
		{"time of change only", func(t *testing.T, p string) error { return os.Chtimes(p+"/DICOMDIR", time.Now(), time.Now()) }, 0, nil},
		{"what Windows writes", func(t *testing.T, p string) error {
			write(t, p+"/System Volume Information/WPSettings.dat", strings.Repeat("x", 12))
			write(t, p+"/System Volume Information/IndexerVolumeGuid", strings.Repeat("x", 76))
			return nil
		}, 0, nil},
		{"what Windows does not write", func(t *testing.T, p string) error {
			write(t, p+"/System Volume Information/WPSettings.dat", strings.Repeat("x", 1<<20))
			return nil
		}, 3, []string{"WPSettings.dat"}},
		{"another file beside what Windows writes", func(t *testing.T, p string) error { write(t, p+"/System Volume Information/a.exe", "MZ"); return nil }, 3, []string{"a.exe"}},
		{"everything removed", func(t *testing.T, p string) error { return errors.Join(os.RemoveAll(p), os.Mkdir(p, 0o755)) }, 3, []string{sum}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := cleared(t)
			if err := row.change(t, s.stick); err != nil {
				t.Fatal(err)
			}
			s.check(t, "--manifest", s.path("manifest")).want(t, "with manifest", row.want, row.words...)
			s.check(t).want(t, "without manifest", row.want)
		})
	}
}

func TestAFolderOfAMediumWithMoreIsCheckedByTheManifest(t *testing.T) {
	s := newSite(t, false)
	s.issue(t, s.manifest(t, map[string]string{"second.txt": "2"}), nil)
	s.check(t).want(t, "two volumes without the manifest", 1, "--manifest")
	s.check(t, "--manifest", s.path("manifest")).want(t, "two volumes", 0)
	other := s.path("second")
	write(t, other+"/second.txt", "2")
	args := []string{"--trust", s.path("trust"), "--token", s.path("token"), "--manifest", s.path("manifest"), other}
	ask(t, args...).want(t, "the second volume", 0)
	write(t, other+"/second.txt", "3")
	ask(t, args...).want(t, "the second volume, changed", 3, `changed: "second.txt"`)

	s = newSite(t, false)
	s.files["DICOMDIR:zone"] = "stream"
	s.issue(t, s.manifest(t), nil)
	s.check(t).want(t, "streams without the manifest", 1, "--manifest")
	s.check(t, "--manifest", s.path("manifest")).want(t, "streams", 12)
}

func TestT11_ATokenIsNoGoodForAnotherStick(t *testing.T) {
	s := cleared(t)
	other := s.path("other")
	tool(t, "cp", "-a", s.stick, other)
	args := []string{"--trust", s.path("trust"), "--token", s.path("token"), other}
	ask(t, args...).want(t, "a copy with the same content", 0)
	write(t, other+"/DICOM/P1/IM2", "image 3")
	ask(t, args...).want(t, "a copy with one byte changed", 3)
}

func TestAnswerThatCannotBeSaidIsNotValid(t *testing.T) {
	s := cleared(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := exec.Command(program, "--trust", s.path("trust"), "--token", s.path("token"), s.stick)
	cmd.Stdout = full
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestUsageAndWhatCannotBeReadHaveTheirExitCodes(t *testing.T) {
	s := cleared(t)
	trust, token := s.path("trust"), s.path("token")
	pipe := s.path("pipe")
	if err := mkfifo(pipe); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		want int
		args []string
	}{
		{"nothing", 2, nil},
		{"help", 0, []string{"--help"}},
		{"no path", 2, []string{"--trust", trust, "--token", token}},
		{"two paths", 2, []string{"--trust", trust, "--token", token, s.stick, s.stick}},
		{"flag after the path", 2, []string{"--trust", trust, "--token", token, s.stick, "--demo"}},
		{"no clearance", 2, []string{"--trust", trust, s.stick}},
		{"two clearances", 2, []string{"--trust", trust, "--token", token, "--qr", "7781", s.stick}},
		{"unknown flag", 2, []string{"--force", s.stick}},
		{"no class", 2, []string{"--trust", trust, "--token", token, "--for", "", s.stick}},
		{"empty trust file name", 2, []string{"--trust", "", "--token", token, s.stick}},
		{"empty manifest name", 2, []string{"--trust", trust, "--token", token, "--manifest", "", s.stick}},
		{"class of two words", 2, []string{"--trust", trust, "--token", token, "--for", "CT 3", s.stick}},
		{"time in words", 2, []string{"--trust", trust, "--token", token, "--not-before", "yesterday", s.stick}},
		{"path that is not there", 2, []string{"--trust", trust, "--token", token, s.path("nothing")}},
		{"path that is a pipe", 2, []string{"--trust", trust, "--token", token, pipe}},
		{"path that is a terminal's kind", 2, []string{"--trust", trust, "--token", token, os.DevNull}},
		{"trust file that is not there", 1, []string{"--trust", s.path("nothing"), "--token", token, s.stick}},
		{"trust file that is a folder", 1, []string{"--trust", s.dir, "--token", token, s.stick}},
		{"trust file that is a pipe", 1, []string{"--trust", pipe, "--token", token, s.stick}},
		{"token that is not there", 1, []string{"--trust", trust, "--token", s.path("nothing"), s.stick}},
		{"token that is a pipe", 1, []string{"--trust", trust, "--token", pipe, s.stick}},
		{"manifest that is not there", 1, []string{"--trust", trust, "--token", token, "--manifest", s.path("nothing"), s.stick}},
		{"no trust file on this system", 1, []string{"--token", token, s.stick}},
	} {
		a := ask(t, row.args...)
		a.want(t, row.name, row.want)
		if row.want != 0 && (a.stdout != "" || !strings.Contains(a.stderr, "clearcheck: error: ")) {
			t.Errorf("%s: stdout %q, stderr %q", row.name, a.stdout, a.stderr)
		}
	}
}

func TestT13_AFileThatIsWrittenMeanwhileIsAltered(t *testing.T) {
	s := cleared(t)
	const size = 256 << 20
	big := s.stick + "/big"
	write(t, big, "")
	if err := os.Truncate(big, size); err != nil {
		t.Fatal(err)
	}
	s.files["big"] = strings.Repeat("\x00", size)
	s.issue(t, s.manifest(t), nil)
	s.check(t).want(t, "at rest", 0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := int64(1); ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = os.Chtimes(big, time.Time{}, time.Unix(i, 0)) // the content stays what was cleared
			}
		}
	}()
	a := s.check(t)
	close(stop)
	<-stopped
	a.want(t, "while it is written", 3, `"big" changed while it was read`)
}

func TestTheTrustFileOfTheSystemMustBeTheAdministrators(t *testing.T) {
	dir := t.TempDir()
	good, open, link := dir+"/good", dir+"/open", dir+"/link"
	write(t, good, "")
	write(t, open, "")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(good, 0o644), os.Chmod(open, 0o664), os.Symlink(good, link)); err != nil {
		t.Fatal(err)
	}
	// Only root can make a file that passes; for anybody else all are refused, and that is right.
	if err := administrators(good); (err == nil) != (os.Geteuid() == 0) {
		t.Errorf("an administrator's file: %v", err)
	}
	for _, path := range []string{open, link, dir + "/nothing"} {
		if administrators(path) == nil {
			t.Errorf("%s was taken", path)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if administrators(good) == nil {
		t.Error("a file in a folder that everybody can write was taken")
	}
}

// TestNothingIsWritten watches every system call of a run on a folder and on an image.
func TestNothingIsWritten(t *testing.T) {
	folder, image := cleared(t), newSite(t, false)
	for s, target := range map[*site]string{folder: folder.stick, image: newImage(t, image)} {
		trace := s.path("trace")
		cmd := exec.Command("strace", "-f", "-o", trace, "-e", "trace=%file,%network,ftruncate,fallocate,pwrite64,pwritev,fchmod,fchown,utimensat,ioctl",
			program, "--trust", s.path("trust"), "--token", s.path("token"), "--manifest", s.path("manifest"), target)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		calls, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		opened := 0
		for line := range strings.Lines(string(calls)) {
			for _, bad := range []string{"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "mkdir", "unlink", "rename", "chmod", "chown", "truncate", "utime", "socket", "connect", "pwrite", "fallocate", "ioctl", "link(", "setxattr"} {
				if strings.Contains(line, bad) && !strings.Contains(line, "readlink") {
					t.Errorf("a call that is not reading: %s", line)
				}
			}
			if strings.Contains(line, s.stick+"/") && strings.Contains(line, "openat(") {
				opened++
				if !strings.Contains(line, "O_NOATIME") {
					t.Errorf("the time of access is noted: %s", line)
				}
			}
		}
		if target == s.stick && opened < len(stickFiles) {
			t.Errorf("only %d files of the stick were opened: the trace proves nothing", opened)
		}
	}
}
