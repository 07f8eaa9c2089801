package ui

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pratique/kiosk/localapi"
	"pratique/rules"
)

func TestNoTextIsMissingInAnyLanguage(t *testing.T) {
	places := regexp.MustCompile(`\{[a-z]+\}`)
	for _, l := range Languages() {
		text, err := files.ReadFile("catalogue/" + l.Code() + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		said, err := parseCatalogue(string(text))
		if err != nil {
			t.Errorf("%s: %v", l.Code(), err)
		}
		for key, english := range catalogues[English] {
			text, ok := said[key]
			if !ok {
				t.Errorf("%s does not say %s", l.Code(), key)
				continue
			}
			want, got := places.FindAllString(english, -1), places.FindAllString(text, -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("%s: %s names the places %v, English %v", l.Code(), key, got, want)
			}
			if shownText(text) != text {
				t.Errorf("%s: %s has a character that the screen cannot draw: %q", l.Code(), key, text)
			}
			if ends := strings.HasSuffix(english, "."); key != "decimal" && ends != strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") && !strings.HasSuffix(english, "?") {
				t.Errorf("%s: %s is a sentence in one language only: %q", l.Code(), key, text)
			}
			same := l != English && text == english
			if same && strings.Contains(english, " ") && !strings.Contains(english, "{") {
				t.Errorf("%s: %s is still English: %q", l.Code(), key, text)
			}
		}
		for key := range said {
			if !has(key) {
				t.Errorf("%s says %s, which English does not", l.Code(), key)
			}
		}
	}
}

// shownText is a text of the catalogue as it would be if it was a name.
func shownText(text string) string {
	var out strings.Builder
	for _, word := range strings.SplitAfter(text, " ") {
		out.WriteString(Shown(word))
	}
	return out.String()
}

// Each key of the catalogue is used, and each key that the code uses is there.
func TestTheCatalogueHasWhatThePagesSay(t *testing.T) {
	var source strings.Builder
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(sources, "draw/arrange.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	code := source.String()
	made := []string{"class.", "verdict.", "override.", "left.minutes.", "found.kinds."} // with a word put behind
	for key := range catalogues[English] {
		used := strings.Contains(code, `"`+key+`"`)
		for _, prefix := range made {
			used = used || strings.HasPrefix(key, prefix)
		}
		if !used {
			t.Errorf("nothing says %s", key)
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:say|steps|row)\("([a-z][a-z0-9.-]*[a-z0-9])"`).FindAllStringSubmatch(code, -1) {
		if !has(m[1]) && !has(m[1]+".one") {
			t.Errorf("the catalogue has no %s", m[1])
		}
	}
	for _, table := range []map[string]string{findings, reasons} {
		for key := range table {
			if !has(key) {
				t.Errorf("the catalogue has no %s", key)
			}
		}
	}
	for _, reason := range localapi.OverrideReasons {
		if !has("override." + reason) {
			t.Errorf("the catalogue has no override.%s", reason)
		}
	}
}

func TestEachFindingHasItsSentence(t *testing.T) {
	known := rules.Findings()
	for _, word := range known {
		check, rule, _ := strings.Cut(word, "/")
		if key := findingKey(localapi.Found{Check: check, Rule: rule}); key == "finding.other" {
			t.Errorf("%s has no sentence", word)
		}
	}
	for word := range findingKeys {
		if word != "yara/*" && !slices.Contains(known, word) {
			t.Errorf("%s is no finding of the scanner", word)
		}
	}
}

// The codes are read from the sources, so that a new one cannot be forgotten.
func TestEachCodeHasItsSentence(t *testing.T) {
	codes := map[string]string{}
	for _, at := range []struct{ dir, prefix string }{{"../kiosk", ""}, {"../kiosk/usb", ""}, {"../kiosk/worker", "Code"}, {"../kiosk/localapi", "Code"}} {
		for name, value := range stringConstants(t, at.dir) {
			if at.prefix == "Code" && strings.HasPrefix(name, "Code") || at.prefix == "" && strings.HasSuffix(name, "\x00Code") {
				codes[value] = at.dir
			}
		}
	}
	if len(codes) < 60 {
		t.Fatalf("only %d codes were found: the test looks in the wrong place", len(codes))
	}
	set := regexp.MustCompile(`health\.set\("([a-z-]+)"`)
	sources, err := filepath.Glob("../kiosk/pratiqued/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range set.FindAllStringSubmatch(string(text), -1) {
			codes[m[1]] = name
		}
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if reasonKey(code) == "" {
			t.Errorf("%s of %s has no sentence", code, codes[code])
		}
	}
}

// stringConstants are the constants of a package that are strings, by name; those of the type Code have that behind their names.
func stringConstants(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 {
				return true
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(lit.Value)
			if err != nil {
				return true
			}
			key := spec.Names[0].Name
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
				key += "\x00Code"
			}
			out[key] = value
			return true
		})
	}
	return out
}

func TestCataloguesWithMistakesAreFound(t *testing.T) {
	for _, bad := range []string{"no sign", "a = 1\na = 2", "a=1", "a =  b"} {
		if _, err := parseCatalogue(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if got := German.say("no.such.key"); got != "no.such.key" {
		t.Errorf("a missing text is said as %q", got)
	}
}
