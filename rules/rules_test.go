package rules

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pratique/scanner/report"
)

func packFS(change func(fstest.MapFS)) fstest.MapFS {
	fsys := fstest.MapFS{
		"pack.toml":           {Data: []byte("name = \"test\"\nversion = 3\n")},
		"yara/a.yar":          {Data: []byte("rule a { condition: false }")},
		"yara/deep/b.yara":    {Data: []byte("rule b { condition: false }")},
		"yara/notes.md":       {Data: []byte("no rule")},
		"hashes.txt":          {Data: []byte("# none\n")},
		"policy/general.toml": {Data: []byte("class = \"general\"\nallow_types = [\"*\"]\n")},
	}
	if change != nil {
		change(fsys)
	}
	return fsys
}

func TestLoadPack(t *testing.T) {
	p, err := LoadFS(packFS(nil))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "test" || p.Version != 3 || len(p.YARA) != 2 || len(p.Lists) != 1 || len(p.Policies) != 1 {
		t.Errorf("got %+v", p)
	}
	if p.InForce() != p.Digest || p.Digest == ([32]byte{}) {
		t.Error("the digest of a pack alone is not what is in force")
	}
}

func TestLoadPackRefusesWhatItDoesNotKnow(t *testing.T) {
	set := func(name, text string) func(fstest.MapFS) {
		return func(m fstest.MapFS) { m[name] = &fstest.MapFile{Data: []byte(text)} }
	}
	for name, change := range map[string]func(fstest.MapFS){
		"no head":            func(m fstest.MapFS) { delete(m, "pack.toml") },
		"unknown key":        set("pack.toml", "name = \"x\"\nversion = 1\ncolour = \"y\"\n"),
		"no version":         set("pack.toml", "name = \"x\"\n"),
		"no policy":          func(m fstest.MapFS) { delete(m, "policy/general.toml") },
		"policy of another":  set("policy/imaging.toml", "class = \"general\"\nallow_types = [\"*\"]\n"),
		"policy key":         set("policy/general.toml", "class = \"general\"\nallow_types = [\"*\"]\nallow = []\n"),
		"empty policy":       set("policy/general.toml", "class = \"general\"\n"),
		"life of 0 hours":    set("policy/general.toml", "class = \"general\"\nallow_types = [\"*\"]\ntoken_hours = 0\n"),
		"life of 73 hours":   set("policy/general.toml", "class = \"general\"\nallow_types = [\"*\"]\ntoken_hours = 73\n"),
		"life that wraps":    set("policy/general.toml", "class = \"general\"\nallow_types = [\"*\"]\ntoken_hours = 5124095576030432\n"),
		"unknown severity":   set("policy/general.toml", "class = \"general\"\nallow_types = [\"*\"]\n[severity]\n\"yara/x\" = \"none\"\n"),
		"severity of no key": set("policy/general.toml", "class = \"general\"\nallow_types = [\"*\"]\n[severity]\nyara = \"warn\"\n"),
		"bad type":           set("policy/general.toml", "class = \"general\"\nallow_types = [\"pdf\"]\n"),
		"bad class":          set("policy/general.toml", "class = \"Ward 3\"\nallow_types = [\"*\"]\n"),
	} {
		if _, err := LoadFS(packFS(change)); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func TestDigestCoversEveryFile(t *testing.T) {
	base, err := LoadFS(packFS(nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"pack.toml": "name = \"test\"\nversion = 4\n", "yara/a.yar": "rule a { condition: true }", "yara/c.yar": "",
		"hashes.txt": "# some\n", "policy/general.toml": "class = \"general\"\nallow_types = [\"text/*\"]\n",
	} {
		p, err := LoadFS(packFS(func(m fstest.MapFS) { m[name] = &fstest.MapFile{Data: []byte(text)} }))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p.Digest == base.Digest {
			t.Errorf("%s can change without the digest", name)
		}
	}
}

func TestWithAddsAndSaysSo(t *testing.T) {
	base, err := LoadFS(packFS(nil))
	if err != nil {
		t.Fatal(err)
	}
	p, err := base.With(fstest.MapFS{"mine.yar": {Data: []byte("rule m { condition: false }")}}, strings.NewReader("# list\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.YARA) != 3 || len(p.Lists) != 2 || len(base.YARA) != 2 || len(base.Lists) != 1 {
		t.Errorf("%d and %d rules, %d and %d lists", len(p.YARA), len(base.YARA), len(p.Lists), len(base.Lists))
	}
	if p.InForce() == base.InForce() || p.Digest != base.Digest || p.Name == base.Name {
		t.Error("the addition does not show")
	}
	if same, err := base.With(nil, nil); err != nil || same.InForce() != base.InForce() {
		t.Errorf("adding nothing changed the pack: %v", err)
	}
	if _, err := base.With(fstest.MapFS{}, nil); err == nil {
		t.Error("a folder without rules was taken for rules")
	}
}

// Nobody may let a medium through for a class whose policy does not say so in so many words.
func TestOverridesAreForClassesThatAllowThem(t *testing.T) {
	for line, want := range map[string]bool{"": false, `override = "refuse"`: false, `override = "allow"`: true} {
		p, err := ParsePolicy([]byte("class = \"general\"\nallow_types = [\"*\"]\n" + line))
		if err != nil || p.Override != want {
			t.Errorf("%q: %v %v", line, p.Override, err)
		}
	}
	for _, line := range []string{`override = "warn"`, `override = "yes"`, `override = true`, `Override = "refuse"`} {
		if p, err := ParsePolicy([]byte("class = \"general\"\nallow_types = [\"*\"]\n" + line)); err == nil && p.Override {
			t.Errorf("%q is taken", line)
		}
	}
	if (Policy{}).Override {
		t.Error("the zero policy allows it")
	}
}

func TestPolicy(t *testing.T) {
	p, err := ParsePolicy([]byte(`
class = "imaging"
token_hours = 4
allow_types = ["application/dicom", "image/*"]
deny_types = ["image/svg+xml"]
[severity]
"volume/name-device" = "block"
"structure/*" = "warn"
`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Life != 4*time.Hour {
		t.Errorf("life %v", p.Life)
	}
	for mediaType, want := range map[string]bool{
		"application/dicom": true, "image/png": true, "image/svg+xml": false, "image/png; x=y": true, "text/plain": false, "": false, "image/": true,
	} {
		if p.Allows(mediaType) != want {
			t.Errorf("%q allowed: %v", mediaType, !want)
		}
	}
	for _, c := range []struct {
		f    report.Finding
		want report.Severity
	}{
		{report.Finding{Check: report.CheckVolume, Rule: "name-device", Severity: report.Warn}, report.Block},
		{report.Finding{Check: report.CheckVolume, Rule: "other", Severity: report.Warn}, report.Warn},
		{report.Finding{Check: report.CheckStructure, Rule: "any", Severity: report.Block}, report.Warn},
		{report.Finding{Check: report.CheckYARA, Rule: "any"}, report.Block},
	} {
		if got := p.Severity(c.f); got != c.want {
			t.Errorf("%v/%s: %v, want %v", c.f.Check, c.f.Rule, got, c.want)
		}
	}
	var zero Policy
	if zero.Allows("text/plain") || zero.Severity(report.Finding{}) != report.Block {
		t.Error("the zero policy does not refuse")
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("class = \"general\"\nallow_types = [\"*\"]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err == nil && (p.Class == "" || len(p.Allow) == 0 || p.Life <= 0 || p.Life > 72*time.Hour) {
			t.Errorf("accepted %+v", p)
		}
	})
}
