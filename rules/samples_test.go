package rules

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"pratique/scanner/report"
)

func TestSamplesAreMadeAsTheyAreDescribed(t *testing.T) {
	for _, tt := range []struct{ parts, wrap, want string }{
		{`{ text = "ab" }, { text = "cd" }`, ``, "abcd"},
		{`{ text = "po~wer", drop = "~" }`, ``, "power"},
		{`{ wide = "a~b", drop = "~" }`, ``, "a\x00b\x00"},
		{`{ hex = "4d 5a", times = 2 }`, ``, "MZMZ"},
		{`{ text = "a" }, { at = 4 }, { text = "b" }`, ``, "a\x00\x00\x00b"},
		{`{ zeros = 3 }`, ``, "\x00\x00\x00"},
		{`{ text = "ab" }`, `"base64"`, "YWI="},
		{`{ text = "ab" }`, `"hex"`, "6162"},
		{`{ text = "ab" }`, `"hex", "base64"`, "NjE2Mg=="},
	} {
		got, err := ParseSamples([]byte("[[sample]]\nname = \"a\"\nrules = []\nparts = [" + tt.parts + "]\nwrap = [" + tt.wrap + "]\n"))
		if err != nil || len(got) != 1 || string(got[0].Content()) != tt.want {
			t.Errorf("%s %s: %v, %v", tt.parts, tt.wrap, got, err)
		}
	}
}

func TestWrapsLookLikeTheirFormat(t *testing.T) {
	for wrap, heads := range map[string]map[int]string{
		"pe": {0: "MZ", 0x80: "PE\x00\x00", 0x600: "content"}, "pe:UPX0,+UPX1": {0x178: "UPX0", 0x1A0: "UPX1"}, "elf": {0: "\x7fELF", 120: "content"},
		"lnk": {0: "L\x00\x00\x00\x01\x14\x02", 76: "content"}, "ole": {0: "\xD0\xCF\x11\xE0", 512: "content"}, "dicom": {0: "\x00\x00", 128: "DICM"},
		"zip:a.txt": {0: "PK\x03\x04", 30: "a.txtcontent"}, "pdf": {0: "%PDF-1.7\ncontent"},
	} {
		text := "[[sample]]\nname = \"a\"\nrules = []\nparts = [{ text = \"content\" }]\nwrap = [\"" + wrap + "\"]\n"
		got, err := ParseSamples([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", wrap, err)
			continue
		}
		for at, want := range heads {
			if c := got[0].Content(); len(c) < at || !bytes.HasPrefix(c[at:], []byte(want)) {
				t.Errorf("%s: no %q at %d", wrap, want, at)
			}
		}
		if again, _ := ParseSamples([]byte(text)); !bytes.Equal(again[0].Content(), got[0].Content()) {
			t.Errorf("%s: not the same bytes each time", wrap)
		}
	}
}

func TestSamplesThatAreNotUnderstoodAreRefused(t *testing.T) {
	const good = "[[sample]]\nname = \"a\"\nrules = [\"x\"]\nparts = [{ text = \"a\" }]\n"
	if _, err := ParseSamples([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"an unknown key": good + "colour = 1\n", "a key in capitals": strings.Replace(good, "name", "Name", 1),
		"no name": strings.Replace(good, "name = \"a\"\n", "", 1), "a path": strings.Replace(good, "\"a\"", "\"a/b\"", 1),
		"no rules": strings.Replace(good, "rules = [\"x\"]\n", "", 1), "a rule twice": strings.Replace(good, "[\"x\"]", "[\"x\", \"x\"]", 1),
		"no parts":      "[[sample]]\nname = \"a\"\nrules = []\n",
		"two kinds":     strings.Replace(good, "text = \"a\"", "text = \"a\", zeros = 1", 1),
		"no kind":       strings.Replace(good, "text = \"a\"", "times = 2", 1),
		"times zeros":   strings.Replace(good, "text = \"a\"", "zeros = 1, times = 2", 1),
		"no times":      strings.Replace(good, "text = \"a\"", "text = \"a\", times = -1", 1),
		"bad hex":       strings.Replace(good, "text = \"a\"", "hex = \"4\"", 1),
		"less than now": strings.Replace(good, "{ text = \"a\" }", "{ text = \"abc\" }, { at = 2 }", 1),
		"negative":      strings.Replace(good, "text = \"a\"", "zeros = -1", 1),
		"drop of hex":   strings.Replace(good, "text = \"a\"", "hex = \"00\", drop = \"0\"", 1),
		"all dropped":   strings.Replace(good, "text = \"a\"", "text = \"a\", drop = \"a\"", 1),
		"no such wrap":  good + "wrap = [\"rar\"]\n", "too many wraps": good + "wrap = [\"hex\", \"hex\", \"hex\", \"hex\", \"hex\"]\n",
		"a long section": good + "wrap = [\"pe:123456789\"]\n",
		"a bomb":         strings.Replace(good, "text = \"a\"", "text = \"aaaaaaaa\", times = 4194304", 1),
		"a far offset":   strings.Replace(good, "text = \"a\"", "at = 9223372036854775807", 1),
		"a wrapped bomb": strings.Replace(good, "text = \"a\"", "zeros = 4194304", 1) + "wrap = [\"hex\"]\n",
		"many bombs":     strings.Repeat(strings.Replace(good, "text = \"a\"", "zeros = 4194304", 1), 17),
	} {
		if _, err := ParseSamples([]byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestPackHoldsListsSamplesAndCleanFiles(t *testing.T) {
	fsys := packFS(func(m fstest.MapFS) {
		m["hashes/feed.txt"] = &fstest.MapFile{Data: []byte("# feed\n")}
		m["samples/a.toml"] = &fstest.MapFile{Data: []byte("[[sample]]\nname = \"a\"\nrules = [\"a\"]\nparts = [{ text = \"a\" }]\n")}
		m["clean/deep/b.txt"] = &fstest.MapFile{Data: []byte("b")}
		m["README.md"] = &fstest.MapFile{Data: []byte("no part of it")}
	})
	p, err := LoadFS(fsys)
	if err != nil || len(p.Lists) != 2 || len(p.Samples) != 1 || len(p.Clean) != 1 || p.Clean[0].Name != "deep/b.txt" {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, name := range []string{"hashes/feed.txt", "samples/a.toml", "clean/deep/b.txt", "README.md"} {
		old := fsys[name].Data
		fsys[name] = &fstest.MapFile{Data: append(bytes.Clone(old), '\n')}
		q, err := LoadFS(fsys)
		if err != nil || (q.Digest == p.Digest) != (name == "README.md") {
			t.Errorf("%s changed: %v", name, err)
		}
		fsys[name] = &fstest.MapFile{Data: old}
	}
	fsys["clean/huge"] = &fstest.MapFile{Data: make([]byte, maxCleanBytes)}
	if _, err := LoadFS(fsys); err == nil {
		t.Error("clean files without a bound")
	}
}

// settings.toml speaks where a class is silent, and nowhere else.
func TestSettingsHoldForClassesThatSayNothing(t *testing.T) {
	const class = "class = \"general\"\nallow_types = [\"*\"]\n"
	load := func(settings, policy string) (Policy, error) {
		p, err := LoadFS(packFS(func(m fstest.MapFS) {
			m["settings.toml"] = &fstest.MapFile{Data: []byte(settings)}
			m["policy/general.toml"] = &fstest.MapFile{Data: []byte(policy)}
		}))
		return p.Policies["general"], err
	}
	finding := func(rule string) report.Finding {
		return report.Finding{Check: report.CheckStructure, Rule: rule, Severity: report.Warn}
	}
	const settings = "archives = \"allow\"\nscripts = \"warn\"\n[severity]\n\"structure/dicom-damaged\" = \"block\"\n\"structure/type-mismatch\" = \"inform\"\n"
	p, err := load(settings, class+"scripts = \"refuse\"\n[severity]\n\"structure/dicom-damaged\" = \"warn\"\n")
	if err != nil || p.Stance(Archives) != Allow || p.Stance(Scripts) != Refuse || p.Stance(Macros) != Refuse {
		t.Errorf("%+v, %v", p, err)
	}
	if p.Severity(finding("dicom-damaged")) != report.Warn || p.Severity(finding("type-mismatch")) != report.Inform {
		t.Errorf("%+v", p)
	}
	p, err = load(settings, class+"[severity]\n\"structure/*\" = \"block\"\n")
	if err != nil || p.Severity(finding("type-mismatch")) != report.Block {
		t.Errorf("a default for one finding came before what the class says of all: %+v, %v", p, err)
	}
	for _, bad := range []string{"class = \"x\"\n", "allow_types = [\"*\"]\n", "scripts = \"maybe\"\n", "[severity]\n\"structure/nothing\" = \"warn\"\n", "[severity]\n\"structure/check-failed\" = \"inform\"\n"} {
		if _, err := load(bad, class); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzSamples(f *testing.F) {
	f.Add([]byte("[[sample]]\nname = \"a\"\nrules = [\"x\"]\nparts = [{ text = \"a~b\", drop = \"~\", times = 3 }, { at = 64 }, { hex = \"00\" }]\nwrap = [\"pe:.a,+.b\", \"zip:x\", \"dicom\"]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		samples, err := ParseSamples(text)
		if err != nil && samples != nil {
			t.Error("samples beside an error")
		}
		for _, s := range samples {
			if len(s.Content()) > maxSampleBytes || s.Name == "" {
				t.Errorf("%q has %d bytes", s.Name, len(s.Content()))
			}
		}
	})
}
