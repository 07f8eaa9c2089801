package rules

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pratique/scanner/report"
)

const strictText = `
class = "imaging"
token_hours = 8
allow_types = ["application/dicom", "image/*", "application/vnd.openxmlformats-officedocument.*"]
deny_types = ["image/x-icon"]
executables = "warn"
macros = "allow"
encrypted = "could not check"
archives = "allow"
[severity]
"volume/lost-clusters" = "warn"
"structure/type-mismatch" = "inform"
"medium/*" = "block"
`

func tightenable(t *testing.T) Pack {
	t.Helper()
	p, err := LoadFS(packFS(func(m fstest.MapFS) { m["policy/imaging.toml"] = &fstest.MapFile{Data: []byte(strictText)} }))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func n(hours int64) *int64 { return &hours }

func TestTightenTakesAway(t *testing.T) {
	pack := tightenable(t)
	tight, err := pack.Tighten(map[string]Tightening{
		"imaging": {Hours: n(6), Allow: []string{"application/dicom", "image/png"}, Deny: []string{"application/zip"},
			Stances: Stances{Executables: "refuse", Encrypted: "refuse"}, Severity: map[string]string{"volume/lost-clusters": "block", "volume/*": "warn"}},
		"my-ct": {Base: "imaging", Stances: Stances{Macros: "warn"}},
	}, 4)
	if err != nil {
		t.Fatal(err)
	}
	for class, macro := range map[string]report.Severity{"imaging": report.Inform, "my-ct": report.Warn} {
		p := tight.Policies[class]
		if p.Class != class || p.Life != 4*time.Hour {
			t.Errorf("%s: %q for %v", class, p.Class, p.Life)
		}
		for kind, want := range map[string]bool{"application/dicom": true, "image/png": true, "image/jpeg": false, "application/zip": false,
			"application/gzip": true, "application/x-elf": false} {
			if p.Allows(kind) != want {
				t.Errorf("%s: %s allowed %v", class, kind, !want)
			}
		}
		for _, c := range []struct {
			f    report.Finding
			want report.Severity
		}{
			{report.Finding{Check: report.CheckStructure, Rule: "executable", Severity: report.Warn}, report.Block},
			{report.Finding{Check: report.CheckStructure, Rule: "macro", Severity: report.Warn}, macro},
			{report.Finding{Check: report.CheckVolume, Rule: "lost-clusters", Severity: report.Inform}, report.Block},
			{report.Finding{Check: report.CheckVolume, Rule: "volume-dirty", Severity: report.Inform}, report.Warn},
			{report.Finding{Check: report.CheckMedium, Rule: "boot-code", Severity: report.Inform}, report.Block},
		} {
			if got := p.Severity(c.f); got != c.want {
				t.Errorf("%s: %s is %v", class, c.f.Rule, got)
			}
		}
	}
	if tight.Policies["general"].Life != 4*time.Hour || pack.Policies["imaging"].Life != 8*time.Hour || len(pack.Policies) != 2 {
		t.Error("the bound on all clearances is not on all, or the pack itself changed")
	}
}

func TestTightenTakesOverridesAway(t *testing.T) {
	pack := tightenable(t)
	loose := pack.Policies["imaging"]
	loose.Override = true
	pack.Policies["imaging"] = loose
	for word, want := range map[string]bool{"": true, "allow": true, "refuse": false} {
		tight, err := pack.Tighten(map[string]Tightening{"imaging": {Override: word}, "my-ct": {Base: "imaging"}}, 0)
		if err != nil || tight.Policies["imaging"].Override != want || tight.Policies["my-ct"].Override != want {
			t.Errorf("%q: %v", word, err)
		}
		if word == "refuse" && tight.InForce() == pack.InForce() {
			t.Error("the digest does not say so")
		}
	}
}

func TestTightenRefusesWhatLoosens(t *testing.T) {
	for name, c := range map[string]struct {
		class string
		t     Tightening
		want  string
	}{
		"longer":                   {"imaging", Tightening{Hours: n(9)}, "longer than the 8"},
		"no hours":                 {"imaging", Tightening{Hours: n(0)}, "1 to 72"},
		"further type":             {"imaging", Tightening{Allow: []string{"image/png", "text/plain"}}, `does not allow "text/plain"`},
		"all types":                {"imaging", Tightening{Allow: []string{"*"}}, `does not allow "*"`},
		"wider pattern":            {"imaging", Tightening{Allow: []string{"i*/png"}}, "does not allow"},
		"no type":                  {"imaging", Tightening{Allow: []string{}}, "nothing is allowed"},
		"type of a setting":        {"imaging", Tightening{Allow: []string{"application/zip"}}, `setting "archives"`},
		"bad type":                 {"imaging", Tightening{Deny: []string{"zip"}}, "KIND/NAME"},
		"looser setting":           {"imaging", Tightening{Stances: Stances{Executables: "allow"}}, `it says "warn"`},
		"setting left out":         {"imaging", Tightening{Stances: Stances{Scripts: "warn"}}, `it says "refuse"`},
		"unknown stance":           {"imaging", Tightening{Stances: Stances{Scripts: "never"}}, "want"},
		"lower than the proposal":  {"imaging", Tightening{Severity: map[string]string{"structure/polyglot": "warn"}}, `it says "block"`},
		"lower than the override":  {"imaging", Tightening{Severity: map[string]string{"volume/lost-clusters": "inform"}}, `it says "warn"`},
		"lower than the setting":   {"imaging", Tightening{Severity: map[string]string{"structure/script": "warn"}}, `it says "block"`},
		"lower for all of a check": {"imaging", Tightening{Severity: map[string]string{"medium/*": "warn"}}, `it says "block"`},
		"severity for nothing":     {"imaging", Tightening{Severity: map[string]string{"volume/*": "inform"}}, "asks for nothing"},
		"unknown finding":          {"imaging", Tightening{Severity: map[string]string{"volume/lost": "block"}}, "no such finding"},
		"unknown severity":         {"imaging", Tightening{Severity: map[string]string{"volume/*": "refuse"}}, "unknown severity"},
		"base of a known class":    {"imaging", Tightening{Base: "general"}, "no base"},
		"no base":                  {"my-ct", Tightening{}, "needs a base"},
		"unknown base":             {"my-ct", Tightening{Base: "ct"}, `no class "ct"`},
		"itself":                   {"my-ct", Tightening{Base: "my-ct"}, `no class "my-ct"`},
		"override":                 {"imaging", Tightening{Override: "allow"}, `it says "refuse"`},
		"unknown override":         {"imaging", Tightening{Override: "never"}, `want "refuse"`},
		"bad name":                 {"My CT", Tightening{Base: "imaging"}, "its name"},
		"looser than the base":     {"my-ct", Tightening{Base: "imaging", Hours: n(72)}, "longer"},
	} {
		_, err := tightenable(t).Tighten(map[string]Tightening{c.class: c.t}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.class) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := tightenable(t).Tighten(nil, 73); err == nil {
		t.Error("clearances for 73 hours")
	}
	// One site class is no base for another: in which order they were tightened would not be clear.
	if _, err := tightenable(t).Tighten(map[string]Tightening{"a": {Base: "imaging"}, "b": {Base: "a"}}, 0); err == nil {
		t.Error("a site's class began with another")
	}
}

// Two stations that look for different things never say the same, and one that asks for nothing says what the pack says.
func TestDigestCoversTheStation(t *testing.T) {
	pack := tightenable(t)
	if same, err := pack.Tighten(nil, 0); err != nil || same.InForce() != pack.InForce() || same.Name != pack.Name {
		t.Errorf("asking for nothing changed the pack: %v", err)
	}
	seen := map[[32]byte]string{pack.InForce(): "the pack"}
	for name, ask := range map[string]func(Pack) (Pack, error){
		"hours for all":     func(p Pack) (Pack, error) { return p.Tighten(nil, 4) },
		"other hours":       func(p Pack) (Pack, error) { return p.Tighten(nil, 5) },
		"hours of one":      func(p Pack) (Pack, error) { return p.Tighten(map[string]Tightening{"imaging": {Hours: n(4)}}, 0) },
		"hours of another":  func(p Pack) (Pack, error) { return p.Tighten(map[string]Tightening{"general": {Hours: n(4)}}, 0) },
		"a class":           func(p Pack) (Pack, error) { return p.Tighten(map[string]Tightening{"ct": {Base: "imaging"}}, 0) },
		"the same by other": func(p Pack) (Pack, error) { return p.Tighten(map[string]Tightening{"ct": {Base: "general"}}, 0) },
		"types": func(p Pack) (Pack, error) {
			return p.Tighten(map[string]Tightening{"imaging": {Allow: []string{"image/png"}}}, 0)
		},
		"types taken": func(p Pack) (Pack, error) {
			return p.Tighten(map[string]Tightening{"imaging": {Deny: []string{"image/png"}}}, 0)
		},
		"a setting": func(p Pack) (Pack, error) {
			return p.Tighten(map[string]Tightening{"imaging": {Stances: Stances{Macros: "refuse"}}}, 0)
		},
		"a severity": func(p Pack) (Pack, error) {
			return p.Tighten(map[string]Tightening{"imaging": {Severity: map[string]string{"yara/x": "block"}}}, 0)
		},
		"a list": func(p Pack) (Pack, error) { return p.With(nil, strings.NewReader("# list\n")) },
		"a list and hours": func(p Pack) (Pack, error) {
			p, err := p.Tighten(nil, 4)
			if err != nil {
				return p, err
			}
			return p.With(nil, strings.NewReader("# list\n"))
		},
	} {
		p, err := ask(pack)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, _ := ask(pack)
		if p.InForce() != again.InForce() || p.Digest != pack.Digest || p.Name == pack.Name {
			t.Errorf("%s: does not say so, or says something else each time", name)
		}
		if other, ok := seen[p.InForce()]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[p.InForce()] = name
	}
}
