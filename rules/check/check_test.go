package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pratique/rules"
	"pratique/rules/split"
)

const childVerb = "compile-in-child"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childVerb {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func compiler(t testing.TB) Compiler {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return InChild(self, childVerb)
}

const goodRule = `rule Good
{
    meta:
        description = "A file that holds a word."
        author = "Test"
        reference = "https://example.org/"
        severity = "block"
    strings:
        $a = "a word of the test"
    condition:
        filesize < 1MB and $a
}
`

const goodSamples = `[[sample]]
name = "a.txt"
rules = ["Good"]
parts = [{ text = "This is a word of the test." }]
`

// folder is a pack without problems, changed. A text of "-" removes the file.
func folder(changes map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for _, files := range []map[string]string{{
		"pack.toml":           "name = \"test\"\nversion = 1\nauthor = \"Test\"\nseverities = [\"warn\", \"block\"]\nchanges = [\"New.\"]\n",
		"yara/good.yar":       goodRule,
		"samples/good.toml":   goodSamples,
		"hashes/own.txt":      "# none\n",
		"policy/general.toml": "class = \"general\"\nallow_types = [\"*\"]\n",
		"clean/a.txt":         "an ordinary text\n",
	}, changes} {
		for name, text := range files {
			out[name] = &fstest.MapFile{Data: []byte(text)}
			if text == "-" {
				delete(out, name)
			}
		}
	}
	return out
}

func lint(t *testing.T, fsys fstest.MapFS, foreign ...string) string {
	t.Helper()
	problems, err := Lint(context.Background(), fsys, compiler(t), foreign...)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// more is a file with one more rule: strings and a condition in good company.
func more(strs, condition string) string {
	rule := strings.Replace(goodRule, "Good", "More", 1)
	rule = strings.Replace(rule, `$a = "a word of the test"`, strs, 1)
	return strings.Replace(rule, "filesize < 1MB and $a", condition, 1)
}

func TestLintNamesEachProblem(t *testing.T) {
	if got := lint(t, folder(nil)); got != "" {
		t.Fatalf("a good pack has problems:\n%s", got)
	}
	changed := func(from, to string) string { return strings.Replace(goodRule, from, to, 1) }
	for _, tt := range []struct {
		name    string
		changes map[string]string
		want    string
	}{
		{"no pack.toml", map[string]string{"pack.toml": "-"}, "pack.toml: it cannot be read"},
		{"a pack.toml that does not decode", map[string]string{"pack.toml": "name = \"x\"\nversion = \n"}, "pack.toml:2: "},
		{"an unknown key", map[string]string{"pack.toml": "name = \"x\"\nversion = 1\ncolour = 1\n"}, `unknown key "colour"`},
		{"no author", map[string]string{"pack.toml": "name = \"x\"\nversion = 1\nseverities = [\"block\"]\nchanges = [\"x\"]\n"}, "pack.toml: author is missing: say who"},
		{"no changes", map[string]string{"pack.toml": "name = \"x\"\nversion = 1\nauthor = \"x\"\nseverities = [\"block\"]\n"}, "changes is missing"},
		{"no severities", map[string]string{"pack.toml": "name = \"x\"\nversion = 1\nauthor = \"x\"\nchanges = [\"x\"]\n"}, "severities is missing"},
		{"a severity that does not exist", map[string]string{"pack.toml": "name = \"x\"\nversion = 1\nauthor = \"x\"\nseverities = [\"high\"]\nchanges = [\"x\"]\n"}, `there is no severity "high"`},
		{"a policy that does not decode", map[string]string{"policy/general.toml": "class = \"general\"\nallow_types = [\"*\"]\n\nmacros = maybe\n"}, "policy/general.toml:4: "},
		{"a policy of another class", map[string]string{"policy/general.toml": "class = \"imaging\"\nallow_types = [\"*\"]\n"}, "is for class"},
		{"a policy with an unknown stance", map[string]string{"policy/general.toml": "class = \"general\"\nallow_types = [\"*\"]\nmacros = \"maybe\"\n"}, "policy/general.toml: macros"},
		{"no policy", map[string]string{"policy/general.toml": "-"}, "policy: no equipment class has a policy"},
		{"settings that do not decode", map[string]string{"settings.toml": "class = \"x\"\n"}, "settings.toml: unknown key"},
		{"a sample that does not decode", map[string]string{"samples/good.toml": "[[sample]]\nname = \"a\"\n"}, "samples/good.toml: sample 1"},
		{"a sample of no rule", map[string]string{"samples/good.toml": strings.Replace(goodSamples, "Good", "Goof", 1)}, "names the rule Goof, which does not exist"},
		{"a list with a word", map[string]string{"hashes/own.txt": "# x\nmalware\n"}, "hashes/own.txt:2: neither an MD5"},
		{"a list with the empty file", map[string]string{"hashes.txt": "d41d8cd98f00b204e9800998ecf8427e\n"}, "hashes.txt:1: the MD5 of the empty file"},
		{"a compiler's error", map[string]string{"yara/good.yar": changed("and $a", "and $a and nosuch")}, "yara/good.yar:11: undefined identifier"},
		{"a syntax error", map[string]string{"yara/x.yar": "rule x {\n condition: }\n"}, "yara/x.yar:2: "},
		{"a compiler's warning", map[string]string{"yara/x.yar": more(`$a = /[a-z]{1,8}t/`, "$a")}, "a pack compiles without warnings"},
		{"an include", map[string]string{"yara/x.yar": "// x\ninclude \"good.yar\"\n"}, "yara/x.yar:2: include names a file"},
		{"a NUL byte", map[string]string{"yara/x.yar": more(`$a = "abcdef"`, "$a") + "\x00"}, "NUL byte"},
		{"a file without a rule", map[string]string{"yara/x.yar": "// nothing\n"}, "yara/x.yar: the file holds no rule"},
		{"no description", map[string]string{"yara/good.yar": changed("        description = \"A file that holds a word.\"\n", "")}, "yara/good.yar:1: Good has no description"},
		{"a description that is none", map[string]string{"yara/good.yar": changed("A file that holds a word.", "Trojan/Win32")}, "is no sentence"},
		{"a description without an end", map[string]string{"yara/good.yar": changed("A file that", "A file "+strings.Repeat("long ", 50)+"that")}, "is no sentence"},
		{"no author of a rule", map[string]string{"yara/good.yar": changed("        author = \"Test\"\n", "")}, "Good has no author"},
		{"no reference", map[string]string{"yara/good.yar": changed("        reference = \"https://example.org/\"\n", "")}, "Good has no reference"},
		{"a reference that is none", map[string]string{"yara/good.yar": changed("https://example.org/", "a book")}, "the reference of Good is no address"},
		{"no severity", map[string]string{"yara/good.yar": changed("        severity = \"block\"\n", "")}, "Good has no severity"},
		{"a severity that is a number", map[string]string{"yara/good.yar": changed("\"block\"", "3")}, "Good has no severity"},
		{"a severity of another scheme", map[string]string{"yara/good.yar": changed("\"block\"", "\"high\"")}, `severity "high", which does not exist`},
		{"a severity that the pack does not use", map[string]string{"yara/good.yar": changed("\"block\"", "\"inform\"")}, `severity "inform", which is none of the pack's`},
		{"a severity twice", map[string]string{"yara/good.yar": changed("severity = \"block\"", "severity = \"block\" severity = \"warn\"")}, "says its severity twice"},
		{"a name twice", map[string]string{"yara/other.yar": goodRule}, "yara/other.yar:1: there is another rule Good in yara/good.yar"},
		{"an import that nobody uses", map[string]string{"yara/x.yar": "import \"math\"\n" + more(`$a = "abcdef"`, "$a")}, `no rule uses the module "math"`},
		{"an import that costs every file", map[string]string{"yara/x.yar": "import \"pe\"\n" + more(`$a = "abcdef"`, "$a and not pe.is_pe")}, `the module "pe" costs every file`},
		{"a dead module", map[string]string{"yara/x.yar": "import \"magic\"\n" + more(`$a = "abcdef"`, "$a and magic.type() == \"x\"")}, "does not work in the scanner's jail"},
		{"a repeat without an end", map[string]string{"yara/x.yar": more(`$a = /abcdef.*ghijkl/`, "$a")}, "yara/x.yar:9: $a of More: the regular expression repeats something without an end"},
		{"a jump without an end", map[string]string{"yara/x.yar": more(`$a = { 61 62 63 64 [4-] 65 66 67 68 }`, "$a")}, "jump without an end"},
		{"an explosion", map[string]string{"yara/x.yar": more(`$a = /abcdef.{1,1000}b.{1,1000}c/`, "$a")}, "explodes"},
		{"jumps that explode", map[string]string{"yara/x.yar": more(`$a = { 61 62 63 64 [4-400] 65 [4-400] 66 67 68 }`, "$a")}, "explode"},
	} {
		if got := lint(t, folder(tt.changes)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.name, tt.want, got)
		}
	}
	// A module costs nothing where the rule looks at programs only.
	if got := lint(t, folder(map[string]string{"yara/x.yar": "import \"pe\"\n" + more(`$a = "abcdef"`, "uint16(0) == 0x5A4D and pe.is_pe and $a")})); got != "" {
		t.Errorf("a rule for programs: %s", got)
	}
}

func TestLintForgivesOthersTheirMannersButNoHarm(t *testing.T) {
	bad := "rule Theirs { strings: $a = /abcdef.*ghijkl/ condition: $a }\n"
	if got := lint(t, folder(map[string]string{"yara/public/a.yar": bad}), "yara/public"); got != "" {
		t.Errorf("manners: %s", got)
	}
	if got := lint(t, folder(map[string]string{"yara/publican.yar": bad}), "yara/public"); got == "" {
		t.Error("a file beside the folder is forgiven, too")
	}
	bad = "rule Theirs { strings: $a = /abcdef.{1,999}b.{1,999}c/ condition: $a }\n"
	if got := lint(t, folder(map[string]string{"yara/public/a.yar": bad}), "yara/public"); !strings.Contains(got, "explodes") {
		t.Errorf("harm: %s", got)
	}
}

func TestT15_ExplodingExpressionsAreRefused(t *testing.T) {
	for expression, want := range map[string]string{
		"/a.{1,1000}b.{1,1000}c.{1,1000}d/s": "explodes", "/ab(.{1,300}c){1,2}/": "explodes", "/(x{0,50}y{0,50}){3}abcd/": "explodes", "/(a|b.{0,400}c.{0,400}d)e/": "explodes",
		"/((((abcd){1,40}){1,40}){1,40}){1,40}/i": "explodes", "/abc[^\\]]*d/": "without an end", "/abcd.+/": "without an end", "/abcd(ef){3,}g/": "without an end",
		"/(((a{15}){15}){15}){15}/": "written out", "/ab(c/": "not understood", "/*a/": "not understood", "/ab{3,1}/": "not understood", "/[ab/": "not understood",
		"/" + strings.Repeat("(", 40) + "a" + strings.Repeat(")", 40) + "/": "not understood",
		"/abc.{0,200}def/": "", "/abc.{0,200}?def[^\\r\\n]{0,200}/i": "", "/a\\/b\\*c\\+/": "", "/[]*+a]{1,4}abc/": "", "/abcd{x}/": "", "/^(?:ab|cd)?$/is": "", "/[\\]+*]ab/": "", "/a\\{1,}b/": "",
	} {
		text, fix := judgeRegexp(expression)
		if want == "" && text != "" || !strings.Contains(text, want) || (fix == "") != (text == "") {
			t.Errorf("%s: %q, want %q", expression, text, want)
		}
	}
}

func TestTheCompilerIsStoppedByTheClock(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), time.Nanosecond)
	defer stop()
	if _, err := Lint(ctx, folder(nil), compiler(t)); err == nil {
		t.Error("no error from a compiler that was stopped")
	}
	problems, err := InChild("/bin/false")(context.Background(), nil)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Text, "libyara broke") {
		t.Errorf("a compiler that died: %v, %v", problems, err)
	}
	if _, err := InChild("/bin/true")(context.Background(), nil); err == nil {
		t.Error("a compiler that said nothing is believed")
	}
}

func try(t *testing.T, changes map[string]string, clean ...string) string {
	t.Helper()
	pack, err := rules.LoadFS(folder(changes))
	if err != nil {
		t.Fatal(err)
	}
	res, err := Test(context.Background(), pack, clean)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range res.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func TestTestNamesWhatDoesNotHold(t *testing.T) {
	if got := try(t, nil); got != "" {
		t.Fatalf("a good pack: %s", got)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("Here is a word of the test."), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		changes map[string]string
		clean   []string
		want    string
	}{
		{"a rule that misses its sample", map[string]string{"samples/good.toml": strings.Replace(goodSamples, "word", "wort", 1)}, nil, `Good does not match its sample "a.txt"`},
		{"a rule that matches a near miss", map[string]string{"samples/x.toml": strings.Replace(goodSamples, `["Good"]`, "[]", 1)}, nil, `Good matches "a.txt", which does not name it`},
		{"a rule without a sample", map[string]string{"yara/x.yar": more(`$a = "abcdef"`, "$a")}, nil, "yara/x.yar:1: More has no sample"},
		{"a rule that matches a clean file", map[string]string{"clean/b.txt": "a word of the test"}, nil, "clean/b.txt: Good matches a clean file"},
		{"a rule that matches everything", map[string]string{"yara/x.yar": strings.Replace(more(`$a = "abcdef"`, "$a or true"), "rule", "rule", 1)}, nil, "clean/a.txt: More matches a clean file"},
		{"a rule that matches a file of a corpus", nil, []string{dir}, "a.txt: Good matches a clean file"},
		{"a list with a clean file", map[string]string{"hashes/own.txt": "7d9a2bd5b63cb8b4a8a3b7b4a2bc1b6f\n" + sha("an ordinary text\n") + "\n"}, nil, "a hash list names a clean file"},
		{"rules that do not compile", map[string]string{"yara/x.yar": "rule x { condition: nosuch }"}, nil, "undefined identifier"},
		{"a list that is none", map[string]string{"hashes/own.txt": "x\n"}, nil, "hashes: "},
	} {
		if got := try(t, tt.changes, tt.clean...); !strings.Contains(got, tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.name, tt.want, got)
		}
	}
	if got := try(t, map[string]string{"yara/x.yar": "private " + more(`$a = "abcdef"`, "$a")}); got != "" {
		t.Errorf("a private rule needs no sample: %s", got)
	}
}

func TestBenchNamesTheSlowRule(t *testing.T) {
	pack, err := rules.LoadFS(folder(map[string]string{
		"yara/slow.yar": "import \"math\"\nprivate rule Part { condition: filesize > 3 }\n" + more(`$a = /e[a-z]{1,8}t/`, "Part and for any i in (1..#a) : (math.entropy(@a[i], 64) > 7.9)"),
	}))
	if err != nil {
		t.Fatal(err)
	}
	budget := DefaultBudget
	budget.PerMB = 5 * time.Millisecond
	costs, err := Bench(context.Background(), pack, nil, budget)
	if err != nil {
		t.Fatal(err)
	}
	if len(costs) != 2 || costs[0].Rule != "More" || len(costs[0].Over) == 0 || len(costs[1].Over) != 0 {
		t.Errorf("%+v", costs)
	}
}

// What is measured alone is what stands in the pack: a rule with all that it names, and no more.
func TestRulesAreMeasuredWithWhatTheyNeed(t *testing.T) {
	o, ok := split.Read([]byte(`import "pe" import "math"
private rule a { condition: true } rule b1 { condition: a } rule b2 { condition: math.abs(1) > 0 } global rule g { condition: true } rule c { condition: any of (b*) } rule d { condition: pe.is_pe }`))
	if !ok {
		t.Fatal("not understood")
	}
	for i, want := range []string{"a", "ab1", "b2", "g", "ab1b2gc", "gd"} {
		text := string(alone(o, i))
		got := ""
		for _, r := range o.Rules {
			if strings.Contains(text, "rule "+r.Name+" {") {
				got += r.Name
			}
		}
		if got != want || strings.Contains(text, `"pe"`) != (i == 5) || strings.Contains(text, `"math"`) != (i == 2 || i == 4) {
			t.Errorf("%s: with %s:\n%s", o.Rules[i].Name, got, text)
		}
	}
}

func FuzzRegexp(f *testing.F) {
	f.Add("/ab(c|[^d]{0,20})*e+?/is")
	f.Fuzz(func(_ *testing.T, text string) {
		judgeRegexp("/" + text + "/")
		judgeHex("{" + text + "}")
	})
}
