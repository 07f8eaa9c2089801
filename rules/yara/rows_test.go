package yara

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	libyara "github.com/hillu/go-yara/v4"
)

// automata are rule sets whose automata differ in kind.
func automata(t testing.TB) map[string][]Source {
	rng := rand.New(rand.NewPCG(4, 23))
	var random, bytewise strings.Builder
	for i := range 2000 {
		b := make([]byte, 4+rng.IntN(4))
		for j := range b {
			b[j] = byte(rng.IntN(1 + rng.IntN(256)))
		}
		fmt.Fprintf(&random, "rule r%d { strings: $a = { % X } condition: $a }\n", i, b)
	}
	for i := range 256 {
		fmt.Fprintf(&bytewise, "rule b%d { strings: $a = { %02X } condition: $a }\n", i, i)
	}
	return map[string][]Source{
		"baseline":          readSources(t, "../baseline/yara"),
		"public":            readSources(t, "../../../shared/rulesets"), // where they are
		"crafted":           {file("a", craftedRules)},
		"no string":         {file("a", "rule a { condition: filesize > 3 }")},
		"one string":        {file("a", `rule a { strings: $a = "needle" condition: $a }`)},
		"strings in others": {file("a", `rule a { strings: $a = "abcd" $b = "bcd" $c = "cd" $d = "d" $e = "dabc" $f = /[a-d]x[a-c]y/ condition: any of them }`)},
		"every form":        {file("a", `rule a { strings: $a = "Needle" nocase wide ascii $b = "xor" xor $c = "base64 text" base64 $d = /ne+dle|st[a-z]w/i condition: any of them }`)},
		"every byte":        {file("a", bytewise.String())},
		"random":            {file("a", random.String())},
		"random and short":  {file("a", random.String()), file("b", bytewise.String())},
	}
}

// inForce is the automaton that libyara scans with; n is how long its tables are.
func inForce(lib *libyara.Rules, n int) automaton {
	c := cRules(lib)
	return automaton{unsafe.Slice((*uint32)(c.ac_transition_table), n), unsafe.Slice((*uint32)(c.ac_match_table), n)}
}

// follow is what libyara does with one byte: the state that it comes to, and how many failure links it takes.
func (a automaton) follow(state, code uint32) (next uint32, links int) {
	for ; links <= len(a.next); links++ {
		if slot := a.next[state+code]; slot&slotMask == code {
			return slot >> slotBits, links
		}
		if state == 0 {
			return 0, links
		}
		state = a.next[state] >> slotBits
	}
	return 0, -1 // without end
}

// differs walks through every state that an automaton can come to, with every byte, in step with another automaton. It
// returns how many states there are, and in what the other is not the same, if in anything.
func (a automaton) differs(other automaton) (states int, what string) {
	twin := map[uint32]uint32{0: 0}
	for todo := []uint32{0}; len(todo) > 0; todo = todo[1:] {
		state := todo[0]
		if x, y := a.matches[state], other.matches[twin[state]]; x != y {
			return len(twin), fmt.Sprintf("state %d has matches %d, its twin %d", state, x, y)
		}
		for code := uint32(1); code < rowSlots; code++ {
			next, links := a.follow(state, code)
			if links < 0 {
				continue
			}
			got, links := other.follow(twin[state], code)
			if want, ok := twin[next]; links < 0 || ok && want != got {
				return len(twin), fmt.Sprintf("from state %d byte %02X leads to %d, from its twin to %d and not to %d", state, code-1, next, got, want)
			} else if !ok {
				twin[next] = got
				todo = append(todo, next)
			}
		}
	}
	return len(twin), ""
}

func TestAutomatonWithRowsDoesAsLibyarasDoes(t *testing.T) {
	for name, sources := range automata(t) {
		if len(sources) == 0 {
			continue // TestSplitRulesMatchTheSame says so
		}
		compiled, problems, err := Compile(sources)
		if err != nil {
			t.Fatal(name, err, problems)
		}
		loaded, err := Load(save(t, compiled))
		if err != nil {
			t.Fatal(name, err)
		}
		for _, rules := range []*Rules{compiled, loaded} {
			for i, lib := range []*libyara.Rules{rules.all, rules.plain, rules.zeros, rules.large} {
				if lib == nil {
					continue
				}
				old := automatonOf(lib)
				near, aside, ok := old.choose()
				if !ok {
					t.Errorf("%s: set %d keeps libyara's automaton", name, i)
					continue
				}
				now := inForce(lib, len(old.next)+rowSlots*(len(near)+len(aside)))
				states, what := old.differs(now)
				if what != "" {
					t.Errorf("%s: set %d: %s", name, i, what)
				}
				if len(near) < min(states-1, maxRows) {
					t.Errorf("%s: set %d: %d of %d states have complete rows", name, i, len(near), states)
				}
				for first := uint32(1); first < rowSlots; first++ { // two bytes from the root no failure link is needed
					next, links := now.follow(0, first)
					for second := uint32(1); second < rowSlots; second++ {
						_, more := now.follow(next, second)
						links += more
					}
					if links != 0 {
						t.Fatalf("%s: set %d: behind byte %02X there are %d failure links", name, i, first-1, links)
					}
				}
				if rules == compiled && i == 0 {
					t.Logf("%s: %d states, %d with complete rows, %d in other places", name, states, len(near), len(aside))
				}
			}
		}
	}
}

// The same rules with libyara's automaton and with this one, on content that is made of what they look for.
func TestMatchesAreTheSameWithRows(t *testing.T) {
	for name, sources := range automata(t) {
		if len(sources) == 0 {
			continue
		}
		rules, problems, err := Compile(sources)
		if err != nil {
			t.Fatal(name, err, problems)
		}
		saved := save(t, rules)
		lib, err := loadSet(saved[headerBytes : headerBytes+binary.BigEndian.Uint64(saved[8:])])
		if err != nil {
			t.Fatal(name, err)
		}
		if &automatonOf(lib).next[0] != &inForce(lib, 1).next[0] || &automatonOf(rules.all).next[0] == &inForce(rules.all, 1).next[0] {
			t.Fatalf("%s: the test has no power: both have the same automaton", name)
		}
		one, libyaras := mustScanner(t, &Rules{all: rules.all, count: rules.count}), mustScanner(t, &Rules{all: lib, count: rules.count})
		var parts [][]byte
		for _, s := range sources {
			parts = append(parts, literals(string(s.Text))...)
		}
		rng, matched := rand.New(rand.NewPCG(9, 1)), 0
		for range 3000 / *splitShare {
			var b bytes.Buffer
			for b.Len() < 8<<10 {
				if len(parts) > 0 && rng.IntN(3) > 0 {
					p := parts[rng.IntN(len(parts))]
					from := rng.IntN(len(p) + 1)
					b.Write(p[rng.IntN(from+1):])
				}
				for range rng.IntN(6) {
					b.WriteByte(byte(rng.IntN(256)))
				}
			}
			got, err := one.ScanMem(b.Bytes(), Vars{})
			want, wantErr := libyaras.ScanMem(b.Bytes(), Vars{})
			if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %s, %v; libyara's automaton: %s, %v", name, names(got), err, names(want), wantErr)
			}
			matched += len(want)
		}
		if matched == 0 {
			t.Errorf("%s: nothing matches: the test has no power", name)
		}
	}
}

// The compiled rules are this machine's own. All the same, tables that make no sense must end in libyara's automaton or in
// one that does the same, and not in a panic.
func FuzzAutomaton(f *testing.F) {
	rules := mustCompile(f, `rule a { strings: $a = "abcd" $b = "bcd" $c = "xy" condition: any of them }`)
	var seed []byte
	for _, slot := range automatonOf(rules.all).next {
		seed = binary.LittleEndian.AppendUint32(seed, slot)
	}
	f.Add(seed)
	f.Add(seed[:4*rowSlots])
	f.Add(make([]byte, 4*rowSlots))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, table []byte) {
		var a automaton
		for ; len(table) >= 4; table = table[4:] {
			a.next = append(a.next, binary.LittleEndian.Uint32(table))
			a.matches = append(a.matches, uint32(len(a.matches)))
		}
		near, aside, ok := a.choose()
		if !ok {
			return
		}
		n := len(a.next) + rowSlots*(len(near)+len(aside))
		into := automaton{make([]uint32, n), make([]uint32, n)}
		a.complete(near, aside, into)
		if _, what := a.differs(into); what != "" {
			t.Error(what)
		}
	})
}

func TestAutomatonThatMakesNoSenseIsLeft(t *testing.T) {
	valid := automatonOf(mustCompile(t, `rule a { strings: $a = "abcd" condition: $a }`).all)
	change := func(by func(next []uint32)) automaton {
		next := append([]uint32(nil), valid.next...)
		by(next)
		return automaton{next, valid.matches}
	}
	a := valid.next['a'+1] >> slotBits
	for name, bad := range map[string]automaton{
		"short":           {valid.next[:rowSlots-1], valid.matches},
		"a state outside": change(func(next []uint32) { next['a'+1] = uint32(len(next)-rowSlots+1)<<slotBits | 'a' + 1 }),
		"a link to deeper states": change(func(next []uint32) {
			next[a] = next[a+'b'+1] &^ slotMask
		}),
	} {
		if _, _, ok := bad.choose(); ok {
			t.Errorf("%s: taken", name)
		}
	}
	if _, _, ok := valid.choose(); !ok {
		t.Error("the valid one is left, too")
	}
}
