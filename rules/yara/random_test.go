package yara

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// Conditions that nobody would write, as libyara itself answers them with all rules and with those that are left.
func TestRandomConditionsMatchTheSameWhenSplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	const perSet = 40
	sets := 400 / *splitShare
	dropped, tried, matched := 0, 0, 0
	for range sets {
		var text strings.Builder
		text.WriteString("import \"pe\" import \"elf\" import \"dotnet\"\n")
		for i := range perSet {
			condition := randomCondition(rng, 4, i)
			switch n := rng.IntN(100); { // one false global rule silences a whole set, so they are rare
			case n == 0:
				text.WriteString("global ")
			case n < 15:
				text.WriteString("private ")
			}
			fmt.Fprintf(&text, "rule %s { ", ruleName(i))
			if declared := []string{"", "$a = \"needle\" ", "$b = { 4D 5A } "}; strings.ContainsAny(condition, "$#") || strings.Contains(condition, "them") {
				text.WriteString("strings: ")
				for j, s := range []string{"a", "b"} {
					if strings.Contains(condition, "them") || strings.Contains(condition, "$"+s) || strings.Contains(condition, "#"+s) {
						text.WriteString(declared[j+1])
					}
				}
			}
			fmt.Fprintf(&text, "condition: %s }\n", condition)
		}
		rules, problems, err := Compile([]Source{{Name: "a", Text: []byte(text.String())}})
		if err != nil {
			t.Fatalf("%v\n%s", problems, text.String())
		}
		if rules.plain == nil {
			t.Fatalf("not split:\n%s", text.String())
		}
		dropped += rules.count - len(rules.plain.GetRules())
		one, all := mustScanner(t, rules), mustScanner(t, &Rules{all: rules.all, count: rules.count})
		for _, head := range heads {
			for _, tail := range []string{"", " needle", " needle MZ needle"} {
				tried++
				got, err := one.ScanMem([]byte(head+tail), Vars{})
				want, wantErr := all.ScanMem([]byte(head+tail), Vars{})
				matched += len(want)
				if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%q: %s, %v; all rules: %s, %v\n%s", head+tail, names(got), err, names(want), wantErr, text.String())
				}
			}
		}
	}
	t.Logf("%d rules, %d of them left out; %d scans with %d matches", sets*perSet, dropped, tried, matched)
	if dropped == 0 || matched == 0 {
		t.Error("nothing is left out, or nothing matches: the test has no power")
	}
}

// early rules can be named as a set: after that, none of their names may be defined any more.
const early = 3

func ruleName(i int) string {
	if i < early {
		return fmt.Sprintf("early%d", i)
	}
	return fmt.Sprintf("r%d", i)
}

// randomCondition is the condition of rule number n, which may name rules before it.
func randomCondition(rng *rand.Rand, depth, n int) string {
	deeper := func() string { return randomCondition(rng, depth-1, n) }
	if depth > 0 {
		switch rng.IntN(9) {
		case 0, 1:
			return deeper() + " and " + deeper()
		case 2, 3:
			return deeper() + " or " + deeper()
		case 4:
			return "(" + deeper() + ")"
		case 5:
			return "not " + deeper()
		case 6:
			return fmt.Sprintf("for %s i%d in (0..%d) : (i%[2]d == 1 or %[4]s)", []string{"any", "all", "1"}[rng.IntN(3)], depth, rng.IntN(3), deeper())
		case 7:
			return fmt.Sprintf("for any i%d in (0..%s) : (%s)", depth, []string{"2", "pe.number_of_sections", "#a"}[rng.IntN(3)], deeper())
		}
	}
	operands := []string{
		"uint16(0) == 0x5A4D", "uint16(0) == 0x5A4D", "uint16(0) == 0x5A4D", "0x5A4D == int16(0)", "uint16be(0) == 0x4D5A", "uint32(0) == 0x464C457F",
		"uint16(0) != 0x5A4D", "uint16(0) == 0x4B50", "uint8(0) == 0x4D", "$a", "$a", "#b > 1", "$b at 0", "any of them",
		"all of them", "none of them", "filesize > 5", "true", "false", "pe.is_pe", "pe.is_pe == 0", "pe.imphash() == \"x\"", "pe.imphash() != \"x\"",
		"pe.number_of_sections < 7", "defined pe.number_of_sections", "pe.exports(\"a\")", "not pe.exports(\"a\")", "pe.machine == pe.MACHINE_I386",
		"dotnet.is_dotnet", "dotnet.guids[0] == \"x\"", "elf.type == elf.ET_EXEC", "elf.number_of_segments != 1", "pe.sections[0].name contains \"t\"",
		"dotnet.is_dotnet == 0", "pe.MACHINE_I386 == 0x14c", "not defined pe.imphash()",
	}
	if n > 0 {
		r := ruleName(rng.IntN(n))
		operands = append(operands, r, r, "not "+r)
		if n > early {
			operands = append(operands, "none of (early*)", "any of (early*)")
		}
	}
	return operands[rng.IntN(len(operands))]
}
