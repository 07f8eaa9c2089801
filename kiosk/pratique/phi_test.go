package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// patients are synthetic family names, each once, of at least nine letters: long enough that none is found by chance, in any
// of the ways in which bytes are written as text.
func patients(n int) (names []string) {
	random, known := rand.New(rand.NewPCG(20, 26)), map[string]bool{}
	first := []string{"Quor", "Zel", "Vrim", "Threl", "Oxw", "Jhub", "Kwes", "Pyth", "Yrsk", "Blav"}
	middle := []string{"vathe", "miora", "untek", "asquo", "ibrun", "elwop", "ozhar", "ymfel"}
	last := []string{"linden", "kowsky", "dottir", "mannos", "ovitch", "bergen", "ssoneq", "hjalmar"}
	for len(names) < n {
		letters := string([]byte{'a' + byte(random.IntN(26)), 'a' + byte(random.IntN(26)), 'a' + byte(random.IntN(26))})
		name := first[random.IntN(len(first))] + middle[random.IntN(len(middle))] + letters + last[random.IntN(len(last))]
		if !known[name] {
			known[name] = true
			names = append(names, name)
		}
	}
	return names
}

// window is how many bytes a place is looked up by. No pattern is shorter.
const window = 8

// searcher finds names in bytes, however they are written there.
type searcher struct {
	exact  map[uint64][]pattern // hex and base64, which have a case of their own
	folded map[uint64][]pattern // text, looked for in lower case
	seen   [2][1 << 16]bool     // of the first two bytes of exact and folded patterns: most places need no look-up
}

type pattern struct{ bytes, name, form string }

func newSearcher(names []string) *searcher {
	s := &searcher{exact: map[uint64][]pattern{}, folded: map[uint64][]pattern{}}
	add := func(kind int, into map[uint64][]pattern, bytes, name, form string) {
		if len(bytes) < window {
			panic("a pattern that is too short: " + bytes)
		}
		at := binary.LittleEndian.Uint64([]byte(bytes))
		into[at] = append(into[at], pattern{bytes, name, form})
		s.seen[kind][binary.LittleEndian.Uint16([]byte(bytes))] = true
	}
	for _, name := range names {
		low := strings.ToLower(name)
		add(1, s.folded, low, name, "UTF-8")
		var le, be []byte
		for _, u := range utf16.Encode([]rune(low)) {
			le, be = binary.LittleEndian.AppendUint16(le, u), binary.BigEndian.AppendUint16(be, u)
		}
		add(1, s.folded, string(le), name, "UTF-16LE")
		add(1, s.folded, string(be), name, "UTF-16BE")
		for _, form := range []string{name, low, strings.ToUpper(name)} {
			add(0, s.exact, hex.EncodeToString([]byte(form)), name, "hex")
			add(0, s.exact, strings.ToUpper(hex.EncodeToString([]byte(form))), name, "HEX")
			for _, p := range base64Forms(form) {
				add(0, s.exact, p, name, "base64")
			}
		}
	}
	return s
}

// base64Forms are what a text looks like inside of base64, at each of the three places where it can begin: the digits that hang
// on nothing but the text.
func base64Forms(text string) (out []string) {
	for before := range 3 {
		digits := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), text...))
		out = append(out, digits[(before*8+5)/6:(before+len(text))*8/6])
	}
	return out
}

// find calls f with each name in the bytes.
func (s *searcher) find(data []byte, f func(pattern)) {
	s.pass(0, s.exact, string(data), f)
	s.pass(1, s.folded, strings.ToLower(latin(data)), f)
}

// latin keeps every byte as it is under strings.ToLower, which would make three of one that is no UTF-8.
func latin(data []byte) string {
	low := make([]byte, len(data))
	for i, b := range data {
		if b > '~' {
			b = 0x7F
		}
		low[i] = b
	}
	return string(low)
}

func (s *searcher) pass(kind int, patterns map[uint64][]pattern, text string, f func(pattern)) {
	for i := 0; i+window <= len(text); i++ {
		if !s.seen[kind][uint16(text[i])|uint16(text[i+1])<<8] {
			continue
		}
		for _, p := range patterns[binary.LittleEndian.Uint64([]byte(text[i:i+window]))] {
			if strings.HasPrefix(text[i:], p.bytes) {
				f(p)
			}
		}
	}
}

// none fails the test if a name is in what is called so.
func (s *searcher) none(t *testing.T, what string, data []byte) {
	t.Helper()
	said := 0
	s.find(data, func(p pattern) {
		if said++; said <= 3 {
			t.Errorf("%s holds the name %q in %s", what, p.name, p.form)
		}
	})
}

// noneBelow searches every file of a folder, and what PDFs say besides, and returns how many there were and their bytes.
func (s *searcher) noneBelow(t *testing.T, dir string) (files int, size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s.none(t, "the name of a file", []byte(d.Name()))
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, size = files+1, size+int64(len(data))
		name, _ := filepath.Rel(dir, path)
		s.none(t, name, data)
		if strings.HasSuffix(path, ".pdf") {
			s.none(t, "the text of "+name, []byte(output(t, exec.Command("pdftotext", "-layout", path, "-"))))
		}
		if strings.Contains(d.Name(), "core") {
			t.Errorf("%s may be a dump of a process", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}

// The search finds what it has to find: each name, in each form, wherever it begins.
func TestTheSearchForNamesFindsThem(t *testing.T) {
	names := patients(200)
	s := newSearcher(names)
	for i, name := range names {
		pad := strings.Repeat("\xfe", i%7)
		wide := func(order binary.AppendByteOrder) string {
			out := []byte(pad)
			for _, u := range utf16.Encode([]rune(name)) {
				out = order.AppendUint16(out, u)
			}
			return string(out)
		}
		for form, text := range map[string]string{
			"UTF-8": pad + strings.ToUpper(name) + "^JANE", "UTF-16LE": wide(binary.LittleEndian), "UTF-16BE": wide(binary.BigEndian),
			"hex": fmt.Sprintf("%x", pad+name+"x"), "HEX": fmt.Sprintf("%X", pad+name+"x"),
			"base64": base64.URLEncoding.EncodeToString([]byte(pad + strings.ToUpper(name) + "~")),
		} {
			found := map[string]bool{}
			s.find([]byte("\x00\xff"+text+"\x80"), func(p pattern) { found[p.name+p.form] = true })
			if !found[name+form] || len(found) != 1 {
				t.Errorf("%s in %s: found %v", name, form, found)
			}
		}
	}
	random := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(random)
	s.none(t, "noise", random)
}
