package split_test

import (
	"fmt"
	"strings"
	"testing"

	"pratique/rules/split"
	"pratique/rules/yara"
)

// libyara's own answer for every field that counts as undefined or zero without a header.
func TestFieldsAreUndefinedWithoutAHeader(t *testing.T) {
	// How each field is written that is not a plain value.
	full := map[string]string{
		"pe.sections": "pe.sections[0].name", "pe.resources": "pe.resources[0].type", "pe.signatures": "pe.signatures[0].serial",
		"pe.version_info": `pe.version_info["CompanyName"]`, "pe.imphash": "pe.imphash()", "pe.exports": `pe.exports("a")`,
		"pe.imports": `pe.imports("a")`, "dotnet.streams": "dotnet.streams[0].name", "dotnet.guids": "dotnet.guids[0]",
		"dotnet.resources": "dotnet.resources[0].name", "elf.sections": "elf.sections[0].type", "elf.segments": "elf.segments[0].type",
	}
	contents := []string{"", "M", "\x7fEL", "a letter", " MZ", "ZM\x00\x00", "%PDF-1.7\nMZ", "PK\x03\x04MZ\x90\x00", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
		strings.Repeat("\x00", 4096), strings.Repeat("\x00", 128) + "DICM\x02\x00", "mz" + strings.Repeat("PE\x00\x00", 500), "\xcf\xfa\xed\xfe"}
	for module, fields := range split.Headers() {
		for i, names := range []string{fields.Undefined, fields.Zero} {
			for name := range strings.FieldsSeq(names) {
				expression := module + "." + name
				if f := full[expression]; f != "" {
					expression = f
				}
				want := "not defined " + expression
				if i == 1 {
					want = expression + " == 0"
				}
				text := fmt.Sprintf("import %q\nrule holds { condition: %s }\nrule itself { condition: %s }", module, want, expression)
				if strings.HasSuffix(expression, "name") || strings.Contains(expression, "version") {
					text += fmt.Sprintf("\nrule compared { condition: %s != \"x\" }", expression)
				}
				rules, problems, err := yara.Compile([]yara.Source{{Name: "a", Text: []byte(text)}})
				if err != nil {
					t.Errorf("%s: %v", expression, problems)
					continue
				}
				s, err := yara.NewScanner(rules)
				if err != nil {
					t.Fatal(err)
				}
				for _, content := range contents {
					if split.Program([]byte(content)) {
						t.Fatalf("%.10q is a program", content)
					}
					m, err := s.ScanMem([]byte(content), yara.Vars{})
					if err != nil || len(m) != 1 || m[0].Rule != "holds" {
						t.Errorf("%s on %.10q: %v, %v", want, content, m, err)
					}
				}
				s.Close()
			}
		}
	}
}
