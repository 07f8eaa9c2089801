package yara

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pratique/rules/split"
	"pratique/scanner/slot"
)

var splitShare = flag.Int("share", 10, "one in so many rules and files is tried; 1 is all")

// craftedRules are conditions that a careless splitter gets wrong.
const craftedRules = `
import "pe" import "elf" import "dotnet" import "math" import "hash"
private rule mz { condition: uint16(0) == 0x5A4D }
private rule not_mz { condition: not mz }
rule needs_private { strings: $a = "needle" condition: mz and $a }
rule denies_private { strings: $a = "needle" condition: not_mz and $a }
rule set_of_rules { condition: none of (mz*) }
rule either { strings: $a = "needle" condition: uint16(0) == 0x5A4D and $a or filesize > 1000 }
rule precedence { strings: $a = "needle" condition: not uint16(0) == 0x5A4D and $a }
rule undefined_is_not { strings: $a = "needle" condition: not defined pe.imphash() and $a }
rule negated { strings: $a = "needle" condition: not (pe.is_pe or elf.type == elf.ET_EXEC) and $a }
rule module_or { strings: $a = "needle" condition: $a or pe.number_of_sections > 2 or dotnet.guids[0] == "x" }
rule nested { strings: $a = "needle" condition: ($a and (pe.imphash() == "x" or #a > 0)) }
rule loop { strings: $a = "needle" condition: for any i in (1..#a) : (@a[i] > 0 or pe.is_pe) }
rule tables { condition: pe.number_of_sections == 3 and hash.md5(0, 2) != "" }
rule slash { strings: $a = /need[l]e\/? or / $b = "needle" // and uint16(0) == 0x5A4D
  condition: any of them /* and uint16(0) == 0x5A4D */ }
rule hexes { strings: $a = { 6E 65 /* } condition: */ 65 64 ?? [0-2] 65 } condition: $a }
rule both { condition: uint16(0) == 0x5A4D or uint32(0) == 0x464C457F }
rule zip { condition: uint32(0) == 0x04034B50 }
rule never { condition: uint32(0) == 0x5A4D }
rule small { strings: $a = "needle" condition: filesize < 4MB and $a }
rule small_or_equal { strings: $a = "needle" condition: filesize <= 4MB and $a }
rule below { strings: $a = "needle" condition: filesize < 4194305 and $a }
rule not_small { strings: $a = "needle" condition: not filesize < 4MB and $a }
rule compound { strings: $a = "needle" condition: uint32(0) == 0xE011CFD0 and $a }
rule picture { strings: $a = "needle" condition: uint16be(0) == 0xFFD8 and $a }
rule no_picture { strings: $a = "needle" condition: not uint32be(0) == 0xFFD8FFE0 and $a }
rule no_zeros { strings: $a = "needle" condition: uint32(0) != 0 and $a }
rule zeros { strings: $a = "needle" condition: uint16be(0) == 0 and $a }
rule not_other { strings: $a = "needle" condition: not uint32(0) != 0 and $a }
rule letter { strings: $a = "needle" condition: 0x6E65 != uint16be(0) and $a and 0 != uint16(0) }
`

// hiding names a loop's variable after a module, which libyara allows.
const hiding = `import "dex" rule hiding { condition: for any elf in dex.map_list.map_item : (elf.type == 0x1000) }
private rule stays { condition: true }`

// dexWithMap is enough of a dex for libyara's module to read its list of parts.
// https://source.android.com/docs/core/runtime/dex-format#map-list
func dexWithMap() []byte {
	b := append([]byte("dex\n035\x00"), make([]byte, 0x70-8+4+24)...)
	for at, n := range map[int]uint32{32: uint32(len(b)), 36: 0x70, 40: 0x12345678, 52: 0x70, 0x70: 2, 0x78: 1, 0x80: 0x1000, 0x84: 1, 0x88: 0x70} {
		binary.LittleEndian.PutUint32(b[at:], n)
	}
	return b
}

func TestVariableThatHidesAModuleMatchesTheSame(t *testing.T) {
	s := mustScanner(t, mustCompile(t, hiding))
	if m, err := s.ScanMem(dexWithMap(), Vars{}); err != nil || names(m) != "hiding" {
		t.Errorf("%v, %v", names(m), err)
	}
}

// What a station looks with misses nothing that all rules would find: on generated content that holds each rule's strings,
// behind the first bytes of a program and of others, and on files of this machine.
func TestSplitRulesMatchTheSame(t *testing.T) {
	sets := map[string][]Source{"crafted": {{Name: "a", Text: []byte(craftedRules)}, {Name: "b", Text: []byte("global rule g { condition: uint16(0) == 0x5A4D }\nrule under { condition: filesize > 0 }")}}}
	for name, dir := range map[string]string{"baseline": "../baseline/yara", "public": "../../../shared/rulesets"} {
		sets[name] = readSources(t, dir)
	}
	for name, sources := range sets {
		if len(sources) == 0 {
			t.Logf("%s: there is no such rule set on this machine; it is not tried", name)
			continue
		}
		rules, problems, err := Compile(sources)
		if err != nil {
			t.Fatal(err, problems)
		}
		if rules.plain == nil || rules.zeros == nil || rules.large == nil {
			t.Errorf("%s: the rules are not split", name)
			continue
		}
		one, all := mustScanner(t, rules), mustScanner(t, &Rules{all: rules.all, count: rules.count})
		share := *splitShare
		if name != "public" {
			share = 1
		}
		contents, matched, plain := 0, 0, 0
		try := func(content []byte, what string) {
			contents++
			got, err := one.ScanMem(content, Vars{Name: "a.exe"})
			want, wantErr := all.ScanMem(content, Vars{Name: "a.exe"})
			if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s, %.8q: %q, %v; all rules: %q, %v", name, what, content, names(got), err, names(want), wantErr)
			}
			if len(want) > 0 {
				matched++
				if !split.Program(content) {
					plain++
				}
			}
		}
		for _, s := range sources {
			for i, body := range strings.Split(string(s.Text), "\nrule ") {
				if i%share != 0 {
					continue
				}
				strs := literals(body)
				for _, head := range heads {
					try(slotted(head, strs), body[:min(len(body), 40)])
				}
			}
		}
		rng := rand.New(rand.NewPCG(1, 7))
		for i, file := range someFiles(t, 2000) {
			if i%*splitShare != 0 {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			try(data, file)
			for _, head := range heads[:2] {
				m := append([]byte(head), data...)
				for range 8 {
					m[len(head)+rng.IntN(len(m)-len(head))] ^= byte(1 << rng.IntN(8))
				}
				try(m, file)
			}
		}
		t.Logf("%s: %d rules; %d contents, of which %d match a rule, %d of these no programs", name, rules.Count(), contents, matched, plain)
		if matched == 0 || plain == 0 {
			t.Errorf("%s: nothing matches: the test has no power", name)
		}
	}
}

// Large content is judged by its first block in the same way.
func TestSplitRulesMatchTheSameInBlocks(t *testing.T) {
	rules := mustCompile(t, craftedRules)
	one, all := mustScanner(t, rules), mustScanner(t, &Rules{all: rules.all, count: rules.count})
	for _, head := range heads {
		fetch := func(buf []byte, offset int64) error {
			clear(buf)
			if offset == 0 {
				copy(buf, head+"needle")
			}
			return nil
		}
		got, count, err := one.ScanBlocks(slot.BlockBytes+9, fetch, Vars{})
		want, _, wantErr := all.ScanBlocks(slot.BlockBytes+9, fetch, Vars{})
		for _, size := range []int{split.LargeBytes - 1, split.LargeBytes, split.LargeBytes + 1} { // in one piece
			content := make([]byte, size)
			copy(content, head+"needle")
			got, err := one.ScanMem(content, Vars{})
			want, wantErr := all.ScanMem(content, Vars{})
			if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) || len(want) == 0 {
				t.Errorf("%q, %d bytes: %q, %v; all rules: %q, %v", head, size, names(got), err, names(want), wantErr)
			}
		}
		if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) || len(want) == 0 || count.First != 2 {
			t.Errorf("%q: %q, %v; all rules: %q, %v; %d blocks", head, names(got), err, names(want), wantErr, count.First)
		}
	}
}

// heads are what content begins with; the first two are other programs' answers to the same question.
var heads = []string{"MZ", "", "\x7fELF\x02\x01\x01", "{\\rtf1 ", "\xff\xd8\xff\xe0", "%PDF-1.4\n", "PK\x03\x04", "L\x00\x00\x00\x01\x14\x02\x00", strings.Repeat("\x00", 128) + "DICM", "\x00\x00\x00\x00", "\x00\x00\x00", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "M", "ZM"}

var (
	quotedText = regexp.MustCompile(`\$\w*\s*=\s*"((?:[^"\\\n]|\\.)*)"`)
	hexText    = regexp.MustCompile(`\$\w*\s*=\s*\{([^}]*)\}`)
	jump       = regexp.MustCompile(`\[\s*(\d+)[^\]]*\]`)
	choice     = regexp.MustCompile(`\(([^|)]*)\|[^)]*\)`)
)

// literals are contents that a rule's strings match, as far as they are simple.
func literals(rule string) (out [][]byte) {
	for _, m := range quotedText.FindAllStringSubmatch(rule, -1) {
		text := []byte(strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\t`, "\t").Replace(m[1]))
		wide := make([]byte, 0, 2*len(text))
		for _, c := range text {
			wide = append(wide, c, 0)
		}
		out = append(out, text, wide)
	}
	for _, m := range hexText.FindAllStringSubmatch(rule, -1) {
		text := choice.ReplaceAllString(m[1], "$1")
		text = jump.ReplaceAllStringFunc(text, func(j string) string {
			n := 0
			for _, c := range jump.FindStringSubmatch(j)[1] {
				n = n*10 + int(c-'0')
			}
			return strings.Repeat("00", min(n, 1000))
		})
		text = strings.ReplaceAll(strings.Join(strings.Fields(text), ""), "?", "0")
		if b, err := hex.DecodeString(text); err == nil {
			out = append(out, b)
		}
	}
	return out
}

func slotted(head string, parts [][]byte) []byte {
	b := bytes.NewBufferString(head)
	for _, p := range parts {
		b.Write(p)
		b.WriteString(" . ")
	}
	return b.Bytes()
}

func readSources(t testing.TB, dir string) (out []Source) {
	t.Helper()
	filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if ext := filepath.Ext(name); err == nil && (ext == ".yar" || ext == ".yara") {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, Source{Name: name, Text: text})
		}
		return nil
	})
	return out
}

// someFiles are small files of this machine: programs, documents, scripts.
func someFiles(t testing.TB, most int) (out []string) {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/share/doc", "/usr/lib/python3", "../../scanner"} {
		n := 0
		filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || n == most/4 {
				return fs.SkipAll
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() && info.Size() > 0 && info.Size() < 1<<20 {
				out = append(out, name)
				n++
			}
			return nil
		})
	}
	return out
}
