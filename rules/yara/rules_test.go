package yara

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/slot"
)

func mustCompile(t testing.TB, text string) *Rules {
	t.Helper()
	rules, problems, err := Compile([]Source{{Name: "test.yar", Text: []byte(text)}})
	if err != nil {
		t.Fatal(err, problems)
	}
	return rules
}

func mustScanner(t testing.TB, rules *Rules) *Scanner {
	t.Helper()
	s, err := NewScanner(rules)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func file(name, text string) Source { return Source{Name: name, Text: []byte(text)} }

func names(matches []slot.Match) string {
	var out []string
	for _, m := range matches {
		out = append(out, m.Rule)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestCompileNamesFileAndLineOfEveryError(t *testing.T) {
	rules, problems, err := Compile([]Source{
		file("one.yar", "rule a {\n condition: nonsense\n}\n"),
		file("good.yar", "rule b { condition: true }"),
		file("two.yar", "\n\nrule c { condition: }\n"),
		file("slow.yar", "rule d {\n strings: $a = /.*a/\n condition: $a }"),
	})
	if rules != nil || !errors.Is(err, ErrRejected) {
		t.Fatalf("%v, %v", rules, err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"one.yar:2: error: undefined identifier", "two.yar:3: error: syntax error"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not among\n%s", want, text)
		}
	}
	if problems[len(problems)-1].File != "slow.yar" || !problems[len(problems)-1].Warning {
		t.Errorf("warnings do not come last:\n%s", text)
	}
}

func TestCompileRefuses(t *testing.T) {
	many := make([]Source, slot.MaxSources+1)
	for i := range many {
		many[i] = file(fmt.Sprint(i), "rule a { condition: true }")
	}
	outside := filepath.Join(t.TempDir(), "outside.yar")
	if err := os.WriteFile(outside, []byte("rule outside { condition: true }"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		sources []Source
		want    string
	}{
		{"nothing", nil, "no rule"},
		{"only a comment", []Source{file("a", "// nothing\n")}, "no rule"},
		{"two files of one name", []Source{file("a", "rule a { condition: true }"), file("a", "rule b { condition: true }")}, "two files"},
		{"a file without a name", []Source{file("", "rule a { condition: true }")}, "name"},
		{"rules behind a NUL byte", []Source{file("a", "rule a { condition: true }\n\x00\nrule b { condition: true }")}, "a:2: error: the text holds a NUL"},
		{"UTF-16", []Source{file("a", "\xFF\xFEr\x00u\x00l\x00e\x00")}, "NUL"},
		{"too many files", many, "more than"},
		{"too much text", []Source{file("a", strings.Repeat(" ", slot.MaxSourceBytes+1))}, "MiB"},
		{"a file of this machine", []Source{file("a", "include \""+outside+"\"\nrule a { condition: true }")}, "include"},
		{"a variable that does not exist", []Source{file("a", "rule a { condition: nosuch == \"x\" }")}, "undefined identifier"},
		{"the module magic", []Source{file("a", "import \"magic\" rule a { condition: magic.type() contains \"x\" }")}, "a: error: the module \"magic\""},
		{"the module time", []Source{file("a", "import \"time\" rule a { condition: time.now() > 1 }")}, "the module \"time\" makes"},
		{"the module cuckoo", []Source{file("a", "import \"cuckoo\" rule a { condition: cuckoo.network.http_request(/x/) }")}, "\"cuckoo\""},
	} {
		rules, problems, err := Compile(tt.sources)
		if rules != nil || !errors.Is(err, ErrRejected) || len(problems) == 0 || len(problems) > slot.MaxProblems {
			t.Errorf("%s: %v, %d problems, %v", tt.name, rules, len(problems), err)
			continue
		}
		if !strings.Contains(problems[0].String(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, problems[0], tt.want)
		}
	}
}

func TestEveryFileHasItsOwnNamespace(t *testing.T) {
	rules, problems, err := Compile([]Source{
		file("a.yar", "rule same { condition: true } global rule never { condition: false }"),
		file("b.yar", "rule same { condition: true }"),
	})
	if err != nil {
		t.Fatal(err, problems)
	}
	if rules.Count() != 3 {
		t.Errorf("%d rules", rules.Count())
	}
	matches, err := mustScanner(t, rules).ScanMem([]byte("x"), Vars{})
	if err != nil || names(matches) != "same" {
		t.Errorf("%v, %v: a global rule of one file reaches into another", names(matches), err)
	}
}

func TestSavedRulesAreTheSame(t *testing.T) {
	rules := mustCompile(t, `rule name { meta: severity = "warn" condition: filename == "autorun.inf" }
		rule text { strings: $a = "needle" condition: $a }`)
	saved := save(t, rules)
	loaded, err := Load(saved)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Count() != 2 {
		t.Errorf("%d rules", loaded.Count())
	}
	s := mustScanner(t, loaded)
	for _, tt := range []struct{ name, content, want string }{
		{"autorun.inf", "", "name"}, {"x", "a needle", "text"}, {"autorun.inf", "needle", "name text"}, {"AUTORUN.INF", "", ""},
	} {
		if m, err := s.ScanMem([]byte(tt.content), Vars{Name: tt.name}); err != nil || names(m) != tt.want {
			t.Errorf("%q %q: %q, %v, want %q", tt.name, tt.content, names(m), err, tt.want)
		}
	}
	swapped := slices.Clone(saved)
	swapped[15]++ // one set is a byte longer than it is, the other shorter
	swapped[23]--
	for name, data := range map[string][]byte{"nothing": nil, "text": []byte("rule a { condition: true }"), "garbage": bytes.Repeat([]byte("YARA"), 100),
		"half": saved[:len(saved)/2], "a byte less": saved[:len(saved)-1], "a byte more": append(slices.Clone(saved), 0),
		"a header": saved[:headerBytes], "no second set": saved[:len(saved)-int(saved[23])], "another border": swapped} {
		if r, err := Load(data); err == nil {
			t.Errorf("%s is loaded as %d rules", name, r.Count())
		}
	}
}

func save(t testing.TB, rules *Rules) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := rules.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRulesSeeNameExtensionAndType(t *testing.T) {
	s := mustScanner(t, mustCompile(t, `
		rule upper { condition: filename == "REPORT.PDF.EXE" }
		rule ext { condition: extension == ".exe" }
		rule type { condition: filetype == "application/pdf" }
		rule path { condition: filepath != "" or owner != "" }
		rule nul { condition: filename endswith ".scr" }`))
	for _, tt := range []struct {
		vars Vars
		want string
	}{
		{Vars{"REPORT.PDF.EXE", "application/pdf"}, "ext type upper"},
		{Vars{}, ""}, // nothing stays from the one before
		{Vars{Name: "a\x00b.scr"}, "nul"},
		{Vars{Name: "\xED\xA0\x80\xFF.scr"}, "nul"},
		{Vars{Name: strings.Repeat("x", slot.MaxName) + ".scr"}, "nul"},
	} {
		if m, err := s.ScanMem(nil, tt.vars); err != nil || names(m) != tt.want {
			t.Errorf("%q: %q, %v, want %q", tt.vars, names(m), err, tt.want)
		}
	}
}

func TestMatchesSayWhatTheRuleSays(t *testing.T) {
	long := strings.Repeat("ä", 3_000)
	rules := mustCompile(t, `
		rule block { meta: severity = "block" description = "says so" author = "me" strings: $a = "xyz" $b = "abc" condition: any of them }
		rule warn { meta: severity = "warn" condition: true }
		rule inform { meta: severity = "inform" condition: true }
		rule silent { condition: true }
		rule unknown { meta: severity = "harmless" condition: true }
		rule score { meta: severity = 10 condition: true }
		rule flag { meta: severity = false condition: true }
		rule wordy { meta: severity = "inform" description = "`+long+`" author = "`+long+`" condition: true }
		private rule hidden { condition: true }
		rule utf16 { meta: severity = "inform" strings: $w = "wide" wide condition: $w }`)
	matches, err := mustScanner(t, rules).ScanMem([]byte("....abc abc w\x00i\x00d\x00e\x00 xyz"), Vars{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]slot.Match{}
	for _, m := range matches {
		got[m.Rule] = m
	}
	for rule, want := range map[string]report.Severity{
		"block": report.Block, "warn": report.Warn, "inform": report.Inform, "silent": report.Block, "unknown": report.Block, "score": report.Block,
		"flag": report.Block, "wordy": report.Inform, "utf16": report.Inform,
	} {
		if m, ok := got[rule]; !ok || m.Severity != want {
			t.Errorf("%s: %v (%v), want %v", rule, m.Severity, ok, want)
		}
	}
	if _, ok := got["hidden"]; ok {
		t.Error("a private rule is reported")
	}
	if m := got["block"]; m.Offset != 21 || m.Text != "says so" || m.Author != "me" {
		t.Errorf("%+v", m)
	}
	if got["utf16"].Offset != 12 || got["warn"].Offset != -1 {
		t.Errorf("offsets %d and %d", got["utf16"].Offset, got["warn"].Offset)
	}
	if m := got["wordy"]; len(m.Text) > maxText || len(m.Author) > maxText || !strings.HasPrefix(long, m.Text) {
		t.Errorf("%d and %d bytes", len(m.Text), len(m.Author))
	}
}

func TestRulesThatInformCannotHideOneThatBlocks(t *testing.T) {
	var text strings.Builder
	for i := range 3 * slot.MaxMatches {
		fmt.Fprintf(&text, "rule r%d { meta: severity = \"%v\" condition: true }\n", i, report.Inform-report.Severity(i/slot.MaxMatches))
	}
	s := mustScanner(t, mustCompile(t, text.String()))
	for range 2 { // the same, whatever was scanned before
		matches, err := s.ScanMem(nil, Vars{})
		if err != nil || len(matches) != slot.MaxMatches {
			t.Fatalf("%d matches, %v", len(matches), err)
		}
		for i, m := range matches {
			if want := fmt.Sprintf("r%d", 2*slot.MaxMatches+i); m.Severity != report.Block || m.Rule != want {
				t.Errorf("%d: %s, %v, want %s", i, m.Rule, m.Severity, want)
			}
		}
	}
}

func TestScannersShareRules(t *testing.T) {
	rules := mustCompile(t, `import "pe" import "math"
		rule name { condition: filename == "yes" }
		rule needle { strings: $a = "needle" condition: $a }
		rule entropy { condition: math.entropy(0, filesize) > 7.9 }`)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, err := NewScanner(rules)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for i := range 200 {
				content, name, want := "hay", "no", ""
				if (g+i)%2 == 0 {
					content, name, want = "a needle", "yes", "name needle"
				}
				if m, err := s.ScanMem([]byte(content), Vars{Name: name}); err != nil || names(m) != want {
					t.Errorf("%q, %v, want %q", names(m), err, want)
					return
				}
				if i%50 == 0 {
					runtime.GC()
				}
			}
		}()
	}
	wg.Wait()
}

func TestT24_ContentMadeOfMatchesIsBounded(t *testing.T) {
	s := mustScanner(t, mustCompile(t, `
		rule once { strings: $a = "A" condition: $a }
		rule many { strings: $a = "A" condition: #a > 100 }`))
	matches, err := s.ScanMem(bytes.Repeat([]byte("A"), 900_000), Vars{})
	if err != nil || names(matches) != "many once" || matches[0].Offset != 0 {
		t.Errorf("%+v, %v", matches, err)
	}
	if matches, err := s.ScanMem(bytes.Repeat([]byte("A"), 64<<20), Vars{}); err == nil {
		t.Errorf("%+v", matches)
	}
}

// A million decoys make libyara forget the match that the rule is about. Then the content is not scanned: it is not clean.
func TestT24_DecoysCannotHideAMatch(t *testing.T) {
	s := mustScanner(t, mustCompile(t, `
		rule end { strings: $a = "EVIL" condition: $a at filesize - 4 }
		rule chain { strings: $a = { 45 56 49 4C [300-] 58 58 58 58 } condition: $a in (filesize - 10..filesize) }`))
	decoys := func(n int) []byte { return append(bytes.Repeat([]byte("EVIL "), n), "xxxxxxEVIL"...) }
	if m, err := s.ScanMem(decoys(900_000), Vars{}); err != nil || names(m) != "end" {
		t.Errorf("%v, %v", names(m), err)
	}
	if m, err := s.ScanMem(decoys(1_100_000), Vars{}); err == nil {
		t.Errorf("more decoys than libyara keeps: scanned, with %q", names(m))
	}
	c := sparse{size: 10 << 20}
	content := decoys(1_100_000)
	if m, _, err := s.ScanBlocks(c.size, func(buf []byte, offset int64) error {
		clear(buf)
		if offset < int64(len(content)) {
			copy(buf, content[offset:])
		}
		return nil
	}, Vars{}); err == nil {
		t.Errorf("in blocks: scanned, with %q", names(m))
	}
	if m, err := s.ScanMem([]byte("EVIL"), Vars{}); err != nil || names(m) != "end" {
		t.Errorf("afterwards: %v, %v", names(m), err)
	}
}

func TestPanicInACallbackVoidsTheScan(t *testing.T) {
	var h hits
	if stop, err := h.RuleMatching(nil, nil); !stop || err != nil || h.err == nil {
		t.Errorf("%v, %v, %v", stop, err, h.err)
	}
}

func BenchmarkScanMem(b *testing.B) {
	s := mustScanner(b, mustCompile(b, `rule needle { strings: $a = "needle" condition: $a }`))
	content := make([]byte, 8<<20)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := s.ScanMem(content, Vars{}); err != nil {
			b.Fatal(err)
		}
	}
}
