package main

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pratique/kiosk/audit/export"
	"pratique/testdata/stick"
)

var dictionary = flag.Int("dictionary", 100_000, "names that are tried on the pseudonyms of exports; the nightly run tries a million")

// pseudonyms are all runs of sixteen and more hexadecimal digits in an export, each by its first eight bytes: sessions,
// persons, items, digests.
func pseudonyms(text []byte) map[uint64]bool {
	out := map[uint64]bool{}
	for _, digits := range regexp.MustCompile(`[0-9a-f]{16,}`).FindAll(text, -1) {
		raw, err := hex.DecodeString(string(digits[:16]))
		if err == nil {
			out[binary.BigEndian.Uint64(raw)] = true
		}
	}
	return out
}

// attempts calls f with what somebody would compare with a pseudonym who has the exports, this source, and a name: digests of it,
// and keyed ones under everything that an export tells.
func attempts(text []byte, keys [][]byte, f func([]byte)) {
	sha := sha256.Sum256(text)
	f(sha[:])
	one := sha1.Sum(text)
	f(one[:])
	five := md5.Sum(text)
	f(five[:])
	long := sha512.Sum512(text)
	f(long[:])
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(text)
		f(mac.Sum(nil))
	}
}

// Whoever has every export and a dictionary with the very paths and persons in it finds none of them: no pseudonym is a digest
// of a name under anything that leaves the station.
func TestT35_PseudonymsWithstandADictionary(t *testing.T) {
	dir := t.TempDir()
	state, image := filepath.Join(dir, "state"), filepath.Join(dir, "names.img")
	const folder = "visits/"
	names := patients(*dictionary)
	var files []stick.File
	for _, name := range names[:300] {
		files = append(files, stick.File{Path: folder + name + ".com", Data: stick.RuleSample()})
	}
	if err := smallStick(image, files); err != nil {
		t.Fatal(err)
	}
	if code, _, words := run(t, "pratique", "screen", "--state", state, image); code != 3 {
		t.Fatalf("exit code %d: %s", code, words)
	}
	known := map[uint64]bool{}
	var session string
	for _, form := range export.Formats() {
		out := filepath.Join(dir, "log."+form)
		if code, _, words := run(t, "pratique", "audit", "export", "--state", state, "--format", form, "--out", out); code != 0 {
			t.Fatalf("%s: exit code %d: %s", form, code, words)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for p := range pseudonyms(text) {
			known[p] = true
		}
		if m := regexp.MustCompile(`"session":"([0-9a-f]{32})"`).FindSubmatch(text); m != nil {
			session = string(m[1])
		}
	}
	id, err := hex.DecodeString(session)
	if err != nil || len(id) != 16 || len(known) < 300 {
		t.Fatalf("session %q, %d pseudonyms", session, len(known))
	}
	public, err := os.ReadFile(filepath.Join(state, "key", "log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	keys := [][]byte{nil, make([]byte, 32), id, []byte(session), []byte(strings.TrimSpace(string(public)))}
	tried := 0
	try := func(text []byte) {
		attempts(text, keys, func(sum []byte) {
			tried++
			if known[binary.BigEndian.Uint64(sum)] {
				t.Errorf("%q is behind a pseudonym", text)
			}
		})
	}
	for _, name := range names {
		path := folder + name + ".com"
		try([]byte(name))
		try([]byte(path))
		// As audit.Name puts it together: the path's length, the session, the path.
		try(append(append(binary.BigEndian.AppendUint32(nil, uint32(len(path))), id...), path...))
	}
	for _, person := range []string{"uid:0", "p-1", "root"} {
		try([]byte(person))
		try([]byte("operator\x00" + person))
	}
	t.Logf("%d names in a dictionary, %d digests of them, %d pseudonyms: none was found", len(names), tried, len(known))

	// The control: a pseudonym that is a digest is found.
	found, sum := false, sha256.Sum256([]byte(names[7]))
	weak := pseudonyms([]byte(`"name":"` + hex.EncodeToString(sum[:16]) + `"`))
	attempts([]byte(names[7]), keys, func(sum []byte) { found = found || weak[binary.BigEndian.Uint64(sum)] })
	if !found {
		t.Error("not even a plain digest is found")
	}
}
