package container

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// installed are files that NSIS packs in the tests: one does not shrink.
func installed() map[string][]byte {
	noise := make([]byte, 9*kib)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	return map[string][]byte{"letter.txt": payload(3 * kib), "noise.bin": noise, "zeros.bin": make([]byte, 3*kib), "tool.bin": machineCode()[:8*kib]}
}

// installers are made by NSIS in each way in which it packs.
func installers(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	dir := tree(t, installed())
	for _, how := range []string{"zlib", "bzip2", "lzma", "/SOLID zlib", "/SOLID bzip2", "/SOLID lzma"} {
		for _, unicode := range []string{"true", "false"} {
			name := strings.NewReplacer("/", "", " ", "-").Replace("nsis-"+strings.ToLower(how)) + map[string]string{"true": "", "false": "-ansi"}[unicode] + ".exe"
			script := fmt.Sprintf("Unicode %s\nSetCompressor %s\nName a\nOutFile %s\nSection\nSetOutPath $TEMP\n", unicode, how, name)
			for file := range installed() {
				script += "File " + file + "\n"
			}
			write(t, dir, "a.nsi", []byte(script+"SectionEnd\n"))
			tool(t, dir, "makensis", "-V1", "a.nsi")
			out[name] = read(t, dir, name)
		}
	}
	return out
}

func TestT07_WhatNSISPacksComesOutAsItWas(t *testing.T) {
	for name, b := range installers(t) {
		for _, where := range []string{"overlay//", "installer.nsis//"} {
			if where != "overlay//" {
				at := bytes.Index(b, []byte(nsisMagic)) - 4
				b = bytes.Join([][]byte{b[:at], []byte("something before it"), b[at:]}, nil)
			}
			k, res := takeBytes(t, b, name)
			if !silent(k, res) {
				t.Errorf("%s: %v %+v", name, res.Outcome, res.Findings)
			}
			for file, want := range installed() {
				if !bytes.Equal(k.content[where+file], want) {
					t.Errorf("%s: %s%s has %d bytes: %q", name, where, file, len(k.content[where+file]), k.order)
				}
			}
		}
	}
}

func TestT07_NSISThatLiesIsTold(t *testing.T) {
	for name, b := range installers(t) {
		at := bytes.Index(b, []byte(nsisMagic)) - 4
		for what, edit := range map[string]func(b []byte) []byte{
			"cut":         func(b []byte) []byte { return b[:len(b)-200] },
			"less of it":  func(b []byte) []byte { le.PutUint32(b[24:], 500); return b },
			"more of it":  func(b []byte) []byte { le.PutUint32(b[24:], 1<<30); return b },
			"nothing":     func(b []byte) []byte { return b[:40] },
			"random data": func(b []byte) []byte { copy(b[34:], bytes.Repeat([]byte{0xA7}, 60)); return b },
		} {
			edited := edit(bytes.Clone(b[at:]))
			k, res := takeBytes(t, edited, name)
			letter := false
			for path, data := range k.content {
				letter = letter || strings.HasSuffix(path, "letter.txt") && bytes.Equal(data, installed()["letter.txt"])
			}
			if silent(k, res) && !letter {
				t.Errorf("%s, %s: silence, %q", name, what, k.order)
			}
		}
	}
}
