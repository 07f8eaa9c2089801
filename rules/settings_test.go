package rules

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gabriel-vasile/mimetype"

	"pratique/scanner/report"
)

func TestSettingsTableIsSound(t *testing.T) {
	sources := ""
	names, err := filepath.Glob(filepath.Join("..", "scanner", "structure", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources += string(text)
	}
	keys := reflect.TypeFor[Stances]()
	if keys.NumField() != len(Settings()) {
		t.Fatalf("%d keys for %d settings", keys.NumField(), len(Settings()))
	}
	for i, s := range Settings() {
		row := settings[s]
		if tag := keys.Field(i).Tag.Get("toml"); tag != s.String() || row.key == "" {
			t.Errorf("%q is the key for %q", tag, s)
		}
		word := Stances{}
		reflect.ValueOf(&word).Elem().Field(i).SetString("x")
		if word.words()[s] != "x" {
			t.Errorf("the word for %s goes to another setting", s)
		}
		if len(row.stances) < 2 || row.stances[0] != Refuse {
			t.Errorf("%s cannot refuse, or nothing else", s)
		}
		if !strings.Contains(s.Refusal("imaging"), `not allowed for class "imaging"`) {
			t.Errorf("%s refuses with %q", s, s.Refusal("imaging"))
		}
		for _, rule := range row.rules {
			if _, _, known, err := findingOf(rule); err != nil || !known {
				t.Errorf("%s decides %q, which is no finding: %v", s, rule, err)
			}
			if settingOfRule(rule) != s || unlowered[rule] {
				t.Errorf("%s: %q is decided elsewhere", s, rule)
			}
		}
		for _, kind := range row.types {
			if SettingOfType(kind+"; x=y") != s {
				t.Errorf("%s: %q is decided elsewhere", s, kind)
			}
			if mimetype.Lookup(kind) == nil && !strings.Contains(sources, `"`+kind+`"`) {
				t.Errorf("%s decides about %q, a type that no content gets", s, kind)
			}
		}
	}
	if NoSetting.String() != "none" || settingEnd.Refusal("x") == "" || SettingOf(report.Finding{}) != NoSetting || SettingOfType("") != NoSetting {
		t.Error("what is no setting is one")
	}
}

// A type that a report has no room for can be any, so it passes only where any does.
func TestTypesThatNobodyNamesPassOnlyWithEverything(t *testing.T) {
	const all = "executables = \"warn\"\nscripts = \"warn\"\narchives = \"allow\"\ndisk_images = \"warn\"\nshortcuts = \"warn\"\n"
	for text, want := range map[string]bool{
		"allow_types = [\"*\"]\n" + all:                                        true,
		"allow_types = [\"*\"]\n" + strings.Replace(all, "allow", "refuse", 1): false,
		"allow_types = [\"*\"]\ndeny_types = [\"application/pdf\"]\n" + all:    false,
		"allow_types = [\"application/*\", \"text/*\", \"image/*\"]\n" + all:   false,
		"allow_types = [\"*\"]\n":                                              false,
	} {
		p, err := ParsePolicy([]byte("class = \"x\"\n" + text))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"other", "unknown", ""} {
			if p.Allows(kind) != want {
				t.Errorf("%q passes: %v under\n%s", kind, !want, text)
			}
		}
	}
}

// Whatever is not in a policy refuses, and so does what nobody can have written.
func TestSettingsThatAreLeftOutRefuse(t *testing.T) {
	p, err := ParsePolicy([]byte("class = \"general\"\nallow_types = [\"*\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Policy{{}, p} {
		for _, s := range Settings() {
			if p.Stance(s) != Refuse {
				t.Errorf("%s: %v", s, p.Stance(s))
			}
			p.stances[s] = stanceEnd
			if p.Stance(s) != Refuse {
				t.Errorf("%s: a stance of no known kind is %v", s, p.Stance(s))
			}
		}
		if p.Allows("application/x-elf") || p.Severity(report.Finding{Check: report.CheckStructure, Rule: "macro", Severity: report.Warn}) != report.Block {
			t.Error("programs or macros pass")
		}
		if p.Severity(report.Finding{Check: report.CheckYARA, Severity: 200}) != report.Block {
			t.Error("a severity of no known kind passes")
		}
	}
}

func TestStancesDecideTypesAndFindings(t *testing.T) {
	for stance, want := range map[string]struct {
		allowed  bool
		severity report.Severity
	}{"refuse": {false, report.Block}, "warn": {true, report.Warn}, "allow": {true, report.Inform}} {
		p, err := ParsePolicy([]byte("class = \"x\"\nallow_types = [\"text/plain\"]\nexecutables = \"" + stance + "\"\n[severity]\n\"structure/*\" = \"warn\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Allows("application/x-elf"); got != want.allowed {
			t.Errorf("%s: allowed %v", stance, got)
		}
		if got := p.Severity(report.Finding{Check: report.CheckStructure, Rule: "executable", Severity: report.Warn}); got != want.severity {
			t.Errorf("%s: severity %v", stance, got)
		}
		// What says that nobody could look is not lowered by a key for all findings of its check.
		if got := p.Severity(report.Finding{Check: report.CheckStructure, Rule: "check-failed", Severity: report.Block}); got != report.Block {
			t.Errorf("%s: a broken check is %v", stance, got)
		}
		p.Deny = []string{"application/x-elf"}
		if p.Allows("application/x-elf") {
			t.Errorf("%s: a denied type passes", stance)
		}
	}
}

func TestPolicyMistakesAreToldInWords(t *testing.T) {
	const head = "class = \"x\"\nallow_types = [\"text/plain\"]\n"
	for text, want := range map[string]string{
		head + "executable = \"refuse\"":                                "unknown key",
		head + "Executables = \"refuse\"":                               "small letters",
		head + "executables = \"warn\"\nEXECUTABLES = \"allow\"":        "small letters",
		head + "executables = true":                                     "incompatible types",
		head + "executables = \"never\"":                                `"refuse" or "warn" or "allow"`,
		head + "archives = \"warn\"":                                    `"refuse" or "allow"`,
		head + "encrypted = \"allow\"":                                  `"could not check"`,
		head + "encrypted = \"warn\"":                                   `"could not check"`,
		head + "macros = \"could not check\"":                           `"refuse" or "warn" or "allow"`,
		head + "macros = \"warn\"\nmacros = \"allow\"":                  "already",
		head + "[severity]\n\"structure/macro\" = \"warn\"":             `setting "macros"`,
		head + "[severity]\n\"structure/polyglott\" = \"block\"":        "no such finding",
		head + "[severity]\n\"shape/polyglot\" = \"block\"":             "no check",
		head + "[severity]\n\"polyglot\" = \"block\"":                   "CHECK/RULE",
		head + "[severity]\n\"yara/a b\" = \"block\"":                   "no YARA rule",
		head + "[severity]\n\"structure/check-failed\" = \"warn\"":      "nobody could look",
		head + "[severity]\n\"medium/medium-changes\" = \"inform\"":     "nobody could look",
		head + "[severity]\n\"structure/polyglot\" = \"refuse\"":        "unknown severity",
		"class = \"x\"\nallow_types = [\"application/zip\"]":            `setting "archives"`,
		"class = \"x\"\nallow_types = [\"text/plain\", \"text/plain\"]": "twice",
		"class = \"x\"\nallow_types = [\"Text/Plain\"]":                 "small letters",
		"class = \"x\"\nallow_types = [\"text/[a-z]\"]":                 "small letters",
		"class = \"x\"\nallow_types = []":                               "nothing is allowed",
		"class = \"x\"\nallow_types = \"*\"":                            "incompatible types",
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n\t%v, want %q", text, err, want)
		}
	}
}

// What ships says each setting in words, and the class for offices blocks nothing that the scanner itself does not: the
// corpus of real files that the scanner is held against is its corpus, too.
func TestShippedPoliciesSayEverySetting(t *testing.T) {
	for _, class := range []string{"general", "imaging", "infusion", "laboratory"} {
		text, err := os.ReadFile(filepath.Join("baseline", "policy", class+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePolicy(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range Settings() {
			if !strings.Contains(string(text), "\n"+s.String()+" = ") {
				t.Errorf("%s does not say %s", class, s)
			}
			if class != "general" && p.Stance(s) != Refuse {
				t.Errorf("%s: %s is %v on a device", class, s, p.Stance(s))
			}
		}
		for check, lists := range words {
			for severity, list := range lists {
				for _, word := range strings.Fields(list) {
					f := report.Finding{Check: check, Rule: word, Severity: report.Severity(severity)}
					switch got := p.Severity(f); {
					case class == "general" && got < f.Severity:
						t.Errorf("general makes %s %v, the scanner proposes %v", keyOf(f), got, f.Severity)
					case got > f.Severity:
						t.Errorf("%s makes less of %s", class, keyOf(f))
					}
				}
			}
		}
	}
}
