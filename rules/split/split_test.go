package split

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pratique/scanner/slot"
)

// left is what is left of a rule with a condition, "" if the rule is left out.
func left(t *testing.T, condition string) string {
	t.Helper()
	text := fmt.Sprintf("import \"pe\"\nimport \"math\"\nrule other { condition: filesize > 1 }\nrule r { strings: $a = \"x\" $b = { 4D 5A // }\n } condition: %s }", condition)
	out := Plain([]slot.Source{{Name: "a", Text: []byte(text)}})
	if len(out) != 1 {
		t.Fatalf("%s: %d sources", condition, len(out))
	}
	_, rest, _ := strings.Cut(string(out[0].Text), "rule r ")
	_, rest, _ = strings.Cut(rest, "condition: ")
	return strings.TrimSuffix(strings.TrimSuffix(rest, "\n"), " }") // there is no newline if the file is as it was
}

func TestConditions(t *testing.T) {
	for _, c := range []string{ // never true of content that is no program
		"uint16(0) == 0x5A4D", "uint16(0)==0x5a4d and any of them", "any of them and uint16(0) == 23117", "0x5A4D == uint16(0x0)",
		"uint16be(0) == 0x4D5A and #a > 1", "uint32(0) == 0x464C457F", "uint32be(0x00) == 0x7F454C46 and $a", "int16(0) == 0x5A4D",
		"uint32(0) == 0x00905A4D and all of them", "(uint16(0) == 0x5A4D) and $a", "((uint16(0) == 0x5A4D and ($a or $b)))",
		"uint16(0) == 0x5A4D and ($a or not $b)", "(uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and any of them",
		"uint16(0) == 0x5A4D and $a or uint16(0) == 0x5A4D and $b", "pe.imphash() == \"a\"", "pe.number_of_sections > 3 and $a",
		"$a and pe.exports(\"x\")", "pe.sections[pe.number_of_sections - 1].name == \".text\" and any of them", "pe.is_pe and $a",
		"for any i in (0..pe.number_of_sections - 1) : (pe.sections[i].name == \"x\" or uint16(0) == 0x5A4D) and $a",
		"for any of them : (uint16(0) == 0x5A4D and $)", "pe.machine == pe.MACHINE_I386 and $a", "pe.version_info[\"a\"] contains \"b\"",
		"pe.imphash() != \"a\" and $a", "uint16(0) == 0x5A4D and // or\n $a", "$a and /* or */ uint16(0) == 0x5A4D",
		"filename matches /or \\/ or/i and uint16(0) == 0x5A4D", "false", "filename == \"or\" and pe.is_pe",
	} {
		if got := left(t, c); got != "" {
			t.Errorf("%s: stays as %s", c, got)
		}
	}
	for _, c := range []string{ // possibly true, or not understood
		"any of them", "uint16(0) != 0x5A4D and $a", "not uint16(0) == 0x5A4D and $a",
		"uint16(0) == 0x5A4D and $a or $b", "$b or uint16(0) == 0x5A4D and $a", "uint16(1) == 0x5A4D", "uint16(filesize) == 0x5A4D",
		"uint16(0) == 0x4B50 and $a", "uint8(0) == 0x4D and $a", "uint16(0) == 0x5A4D + 1", "uint16(0) == 0x5A4DKB", "uint16(0) == 0x15A4D",
		"1 + uint16(0) == 0x5A4D", "uint16(0) & 0x5A4D == 0x5A4D", "uint16(0) == 0x5A4D == 0", "uint16(0) >= 0x5A4D",
		"not (uint16(0) == 0x5A4D)", "not (uint16(0) == 0x5A4D and $a) and $b", "(uint16(0) == 0x5A4D) == false", "defined pe.imphash()",
		"not defined pe.imphash() and $a", "pe.is_pe == 0", "pe.is_pe == 0 and $a", "pe.MACHINE_I386 == 0x14c", "pe.calculate_checksum() == 0",
		"not pe.exports(\"a\")", "for all i in (1..2) : (pe.number_of_sections == i)", "for none of them : (uint16(0) == 0x5A4D)",
		"for 0 of them : (uint16(0) == 0x5A4D)", "none of them", "math.entropy(0, filesize) > 7 and $a", "other and $a", "true",
		"pe.number_of_sections == 1 | 2", "filename matches /x/ or pe.is_pe and $a", "$a and filename == \"uint16(0) == 0x5A4D\"",
		"#a > 1and uint16(0) == 0x5A4D", "$a or or $b", "or", "uint16(0) == 0x5A4D and #a==1or $b",
	} {
		want := c
		if got := left(t, c); got != want {
			t.Errorf("%s: left is %q", c, got)
		}
	}
	for c, want := range map[string]string{ // less is left
		"$a or pe.imphash() == \"x\"":                                "$a or false",
		"any of them or (pe.exports(\"a\") and pe.is_pe)":            "any of them or false",
		"$b and ($a or dotnet.guids[0] == \"x\" or pe.is_pe)":        "$b and ($a or false or false)",
		"any of them or for any s in pe.sections : (pe.is_pe)":       "any of them or false",
		"$a or $b or uint16(0) == 0x5A4D":                            "$a or $b or false",
		"$a or (uint16(0) == 0x5A4D and $b)":                         "$a or (uint16(0) == 0x5A4D and $b)", // $b must be named
		"uint16(0) == 0x5A4D or $a":                                  "false or $a",
		"for any of them : ($ at 0) and (uint16(0) == 0x5A4D or $a)": "for any of them : ($ at 0) and (false or $a)",
		"not ($a or pe.is_pe) or pe.is_pe":                           "not ($a or pe.is_pe) or false",
	} {
		if got := left(t, c); got != want {
			t.Errorf("%s: left is %q, want %q", c, got, want)
		}
	}
}

func TestConditionsOnContentThatBeginsWithZeros(t *testing.T) {
	for condition, want := range map[string]bool{ // whether the rule is left out
		"uint32(0) != 0 and $a": true, "0 != uint32be(0) and $a": true, "uint16(0) == 0x4B50 and $a": true, "uint16(0) == 0x5A4D": true,
		"uint32(0) != 0 and ($a or $b)": true, "(uint32(0) == 1 or uint32(0) == 2) and $a": true, "int32(0) != 0": true,
		"uint32(0) == 0 and $a": false, "uint32(0) != 1 and $a": false, "uint32(4) != 0 and $a": false, "uint32(0) > 0 and $a": false,
		"not uint32(0) == 1 and $a": false, "uint32(0) != 0 or $a": false, "uint8(0) != 0 and $a": false, "$a": false,
		"uint32(0) == 0x0 and $a": false, "uint32(0) != 0 == false": false, "uint32(0) != 0KB and $a": false,
	} {
		text := fmt.Sprintf("rule other { condition: filesize > 1 }\nrule r { strings: $a = \"x\" $b = \"y\" condition: %s }", condition)
		out := Zeros([]slot.Source{{Name: "a", Text: []byte(text)}})
		if got := len(out) == 1 && !bytes.Contains(out[0].Text, []byte("rule r ")); got != want {
			t.Errorf("%s: left out: %v", condition, got)
		}
	}
	for content, want := range map[string]bool{"": false, "\x00\x00\x00": false, "\x00\x00\x00\x00": true, "\x00\x00\x00\x01": false} {
		if Zero([]byte(content)) != want {
			t.Errorf("%q begins with zeros: %v", content, !want)
		}
	}
}

func TestConditionsOnLargeContent(t *testing.T) {
	for condition, want := range map[string]bool{ // whether the rule is left out
		"filesize < 4MB and $a": true, "filesize < 4096KB and $a": true, "filesize < 4194304 and $a": true, "filesize <= 4194303 and $a": true,
		"filesize < 1MB and ($a or $b)": true, "uint16(0) == 0x5A4D": true,
		"uint32(0) == 0xE011CFD0 and $a": true, "uint32be(0) == 0x7B5C7274 and $a": true, "uint32(0) == 0x4C and $a": true, "uint32be(0) == 0xFFD8FFE0 and $a": true,
		"uint16be(0) == 0xFFD8 and $a": false, "uint32(0) == 0x04034B50 and $a": false, "uint16(0) == 0x4C and $a": false,
		"filesize <= 4MB and $a": false, "filesize < 4194305 and $a": false, "filesize < 5MB and $a": false, "filesize > 1MB and $a": false,
		"filesize < 1MB or $a": false, "not filesize < 1MB and $a": false, "filesize < 0x100 and $a": false, "uint32(0) != 0 and $a": false,
		"filesize < 1 + 5000000 and $a": false, "filesize < 99999999999999999999 and $a": false, "filesize < 4294967296MB and $a": false,
	} {
		text := fmt.Sprintf("rule other { condition: filesize > 1 }\nrule r { strings: $a = \"x\" $b = \"y\" condition: %s }", condition)
		out := Large([]slot.Source{{Name: "a", Text: []byte(text)}})
		if got := len(out) == 1 && !bytes.Contains(out[0].Text, []byte("rule r ")); got != want {
			t.Errorf("%s: left out: %v", condition, got)
		}
	}
}

func TestWhatOthersNeedStays(t *testing.T) {
	const mz = "uint16(0) == 0x5A4D"
	for _, tt := range []struct{ text, want, never string }{
		{"rule a { condition: " + mz + " } rule b { condition: a or filesize > 1 }", "rule a,rule b", ""},
		{"rule a { condition: " + mz + " } rule b { condition: not a }", "rule a,rule b", ""},
		{"rule a { condition: " + mz + " } rule b { condition: a and " + mz + " }", "", "rule"},
		{"rule a1 { condition: " + mz + " } rule b { condition: " + mz + " } rule c { condition: none of (a*) }", "rule a1,rule c", "rule b"},
		{"global rule a { condition: " + mz + " } rule b { condition: true }", "global rule a,rule b", ""},
		{"private global rule a : tag { condition: " + mz + " } rule b { condition: true }", "private global rule a : tag,rule b", ""},
		{"private rule a { condition: true } rule b { condition: a and " + mz + " }", "rule a", "rule b"},
		{"import \"pe\" rule a { condition: pe.is_pe } rule b { condition: true }", "rule b", "pe"},
		{"import \"pe\" rule a { condition: true or pe.is_pe }", "rule a", "pe"},
		{"import \"pe\" rule a { condition: true or pe.is_pe == 0 }", "import \"pe\",rule a", ""},
		{"import \"pe\" rule a { condition: filesize > 1 } rule b { condition: not pe.is_pe }", "import \"pe\",rule a,rule b", ""},
		{"import \"dex\" rule a { condition: for any elf in dex.map_list.map_item : (elf.type == 0) }", "import \"dex\",rule a", ""},
		{"import \"dex\" rule a { condition: for any i, pe in dex.x : (pe.machine == 0) }", "import \"dex\",rule a", ""},
		// what the lexer does not know stays whole
		{"include \"x\" rule a { condition: " + mz + " }", "include,rule a", ""},
		{"rule a { condition: " + mz + " } }", "rule a", ""},
		{"rule a { strings: $a = \"x\n\" condition: " + mz + " }", "rule a", ""},
		{"\xef\xbb\xbfrule a { condition: " + mz + " }", "rule a", ""},
		{"rule a { condition: " + mz + " } /* no end", "rule a", ""},
		{"rule a { condition: " + mz + " } rule a { condition: " + mz + " }", "rule a", ""},
		{"rule a { condition: " + strings.Repeat("(", 65) + mz + strings.Repeat(")", 65) + " }", "rule a", ""},
		{"rule a { strings: $a = /[/]/ condition: " + mz + " }", "rule a", ""},
	} {
		var text []byte
		if out := Plain([]slot.Source{{Name: "a", Text: []byte(tt.text)}}); len(out) == 1 {
			text = out[0].Text
		}
		for part := range strings.SplitSeq(tt.want, ",") {
			if !bytes.Contains(text, []byte(part)) {
				t.Errorf("%s: no %q in %q", tt.text, part, text)
			}
		}
		if tt.never != "" && bytes.Contains(text, []byte(tt.never)) {
			t.Errorf("%s: %q in %q", tt.text, tt.never, text)
		}
	}
}

func TestProgramsByTheirFirstBytes(t *testing.T) {
	for content, want := range map[string]bool{"": false, "M": false, "MZ": true, "MZ\x90": true, "ZM": false, "mz": false, "\x7fELF": true,
		"\x7fEL": false, " MZ": false, "PK\x03\x04": false} {
		if Program([]byte(content)) != want {
			t.Errorf("%q is a program: %v", content, !want)
		}
	}
}

// A megabyte of what could be looked at again for every part of it takes no longer than a megabyte.
func TestTimeGrowsWithTheSources(t *testing.T) {
	var many, set strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&many, "rule a%d { condition: true }\n", i)
		fmt.Fprintf(&set, "a%d*, ", i)
	}
	for name, text := range map[string]string{
		"operands":  "import \"pe\" rule r { strings: $a = \"x\" condition: $a" + strings.Repeat(" or pe.is_pe", 100_000) + " }",
		"rule sets": many.String() + "rule r { condition: any of (" + set.String() + "a*) }",
		"one set":   many.String() + "rule r { condition: any of (" + strings.Repeat("a*, ", 100_000) + "a*) }",
		"brackets":  "import \"pe\" rule r { condition: " + strings.Repeat("("+strings.Repeat("(", 60)+"pe.is_pe"+strings.Repeat(")", 60)+") or ", 5_000) + "true }",
	} {
		begin := time.Now()
		out := Plain([]slot.Source{{Name: "a", Text: []byte(text)}})
		if took := time.Since(begin); len(out) != 1 || took > 3*time.Second {
			t.Errorf("%s: %d sources, %v", name, len(out), took)
		}
	}
}

// Whatever the sources are, the package ends, and what it returns is stable: nothing more can be left out of it.
func FuzzPlain(f *testing.F) {
	f.Add([]byte("import \"pe\" rule a { strings: $a = /x\\/y/i $b = { 4D /* } */ 5A } condition: uint16(0) == 0x5A4D and $a or pe.is_pe }"))
	f.Add([]byte("global private rule a : t { meta: a = -1 condition: for any i in (1..#a) : (@a[i] < 1.5) or none of (a*, b) }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		once := Plain([]slot.Source{{Name: "a", Text: text}})
		if twice := Plain(once); len(once) == 1 && len(twice) == 1 && len(twice[0].Text) > len(once[0].Text)+1 {
			t.Errorf("%q becomes %q", once[0].Text, twice[0].Text)
		}
	})
}

// A changed byte in a rule set never makes the parser panic or hang, and a file that is cut is kept or cut down like any other.
func TestMutatedSourcesAreHandled(t *testing.T) {
	text := []byte("import \"pe\"\nrule a : t { meta: s = \"block\" strings: $a = \"q\\\"uo\" nocase $b = { 4D ?? [2-4] ( 5A | 5B ) } $c = /a\\/b/is condition: uint16(0) == 0x5A4D and (2 of them or pe.imphash() == \"x\") }\nrule b { condition: a or filesize < 2MB }")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		m := bytes.Clone(text)
		for range 1 + rng.IntN(3) {
			switch i := rng.IntN(len(m)); rng.IntN(3) {
			case 0:
				m[i] = byte(rng.IntN(256))
			case 1:
				m = append(m[:i], m[min(len(m), i+1+rng.IntN(8)):]...)
			default:
				m = append(m[:i:i], append([]byte{text[rng.IntN(len(text))]}, m[i:]...)...)
			}
			if len(m) == 0 {
				m = []byte(" ")
			}
		}
		Plain([]slot.Source{{Name: "a", Text: m}})
	}
}
