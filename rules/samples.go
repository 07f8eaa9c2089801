package rules

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// Sample is content that is made, not kept: a file in a pack that matched a rule would be found by every other scanner that
// passes by, the one on the authors' own machine first. The zero value is no sample.
type Sample struct {
	Name  string   // as rules see it in the variables filename and extension
	Type  string   // as rules see it in filetype; empty is what the scanner makes of the content
	Rules []string // exactly these match, in the order of their names; none for a near miss
	Why   string   // for people

	content []byte
}

// Content is what the sample is made of. The caller does not change it.
func (s Sample) Content() []byte { return s.content }

// Limits on recipes. A sample shows one rule at work, it is no archive of malware.
const (
	maxSamples      = 10_000   // of a pack; public sets have 6,000 rules
	maxSampleBytes  = 4 << 20  // of one sample as made: rules look at the first megabyte or two
	maxSamplesBytes = 64 << 20 // of all samples of one file as made: a recipe of a few letters can ask for megabytes
	maxParts        = 1_000
	maxWraps        = 4
)

// part is one step of a recipe. Exactly one of its kinds is given.
type part struct {
	Text  string `toml:"text"`
	Wide  string `toml:"wide"`
	Hex   string `toml:"hex"`
	Zeros int64  `toml:"zeros"`
	At    int64  `toml:"at"`
	Times int64  `toml:"times"`
	Drop  string `toml:"drop"`
}

// ParseSamples decodes one file of recipes.
//
//	[[sample]]
//	name = "order.hta"                     # the file's name, without a path
//	rules = ["Script_Starts_Program"]      # exactly these match; [] is a near miss
//	why = "What the rule is there for."    # optional
//	type = "application/hta"               # optional: as the scanner finds out, if it is left out
//	parts = [                              # joined with nothing between them
//	  { text = "<sc~ript>", drop = "~" },  # UTF-8; drop is taken out of text or wide: no other scanner knows the word
//	  { wide = "abc" },                    # UTF-16, least significant byte first
//	  { hex = "4d 5a", times = 3 },        # bytes; blanks do not count; times repeats text, wide or hex
//	  { at = 128 },                        # zeros up to this offset
//	  { zeros = 512 },                     # so many zeros
//	]
//	wrap = ["lnk", "zip:order.lnk"]        # what is put around it, the innermost first
//
// The wraps are in wraps. An unknown key is an error.
func ParseSamples(text []byte) ([]Sample, error) {
	var file struct {
		Sample []struct {
			Name  string   `toml:"name"`
			Type  string   `toml:"type"`
			Why   string   `toml:"why"`
			Rules []string `toml:"rules"`
			Parts []part   `toml:"parts"`
			Wrap  []string `toml:"wrap"`
		} `toml:"sample"`
	}
	if err := decodeStrict(text, &file); err != nil {
		return nil, err
	}
	if len(file.Sample) > maxSamples {
		return nil, fmt.Errorf("more than %d samples", maxSamples)
	}
	var out []Sample
	total := 0
	for i, f := range file.Sample {
		s := Sample{Name: f.Name, Type: f.Type, Why: f.Why, Rules: slices.Sorted(slices.Values(f.Rules))}
		fail := func(err error) ([]Sample, error) { return nil, fmt.Errorf("sample %d (%q): %w", i+1, f.Name, err) }
		switch {
		case f.Name == "" || len(f.Name) > 255 || strings.ContainsAny(f.Name, "/\x00"):
			return fail(errors.New("name: want the name of a file, without a path"))
		case f.Rules == nil:
			return fail(errors.New("rules: want the names of the rules that match, [] for a near miss"))
		case len(slices.Compact(slices.Clone(s.Rules))) != len(s.Rules):
			return fail(errors.New("rules: a name stands there twice"))
		case len(f.Wrap) > maxWraps:
			return fail(fmt.Errorf("wrap: more than %d", maxWraps))
		}
		content, err := mix(f.Parts)
		if err != nil {
			return fail(err)
		}
		for _, word := range f.Wrap {
			kind, arg, _ := strings.Cut(word, ":")
			wrap, ok := wraps[kind]
			if !ok {
				return fail(fmt.Errorf("wrap: there is no %q", kind))
			}
			if content, err = wrap(content, arg); err != nil {
				return fail(fmt.Errorf("wrap %q: %w", word, err))
			}
			if len(content) > maxSampleBytes {
				return fail(fmt.Errorf("wrap %q: more than %d bytes", word, maxSampleBytes))
			}
		}
		if total += len(content); total > maxSamplesBytes {
			return fail(fmt.Errorf("all samples together have more than %d bytes", maxSamplesBytes))
		}
		s.content = content
		out = append(out, s)
	}
	return out, nil
}

// mix puts parts together.
func mix(parts []part) ([]byte, error) {
	if len(parts) == 0 || len(parts) > maxParts {
		return nil, fmt.Errorf("parts: want 1 to %d", maxParts)
	}
	var out []byte
	for i, p := range parts {
		fail := func(format string, args ...any) ([]byte, error) {
			return nil, fmt.Errorf("part %d: "+format, append([]any{i + 1}, args...)...)
		}
		kinds := 0
		for _, given := range []bool{p.Text != "", p.Wide != "", p.Hex != "", p.Zeros != 0, p.At != 0} {
			if given {
				kinds++
			}
		}
		if kinds != 1 {
			return fail("want one of text, wide, hex, zeros and at")
		}
		if p.Times != 0 && (p.Zeros != 0 || p.At != 0 || p.Times < 1 || p.Times > maxSampleBytes) {
			return fail("times = %d: want 1 to %d, beside text, wide or hex", p.Times, maxSampleBytes)
		}
		if p.Drop != "" {
			if p.Text == "" && p.Wide == "" {
				return fail("drop: want it beside text or wide")
			}
			p.Text, p.Wide = strings.ReplaceAll(p.Text, p.Drop, ""), strings.ReplaceAll(p.Wide, p.Drop, "")
		}
		room := int64(maxSampleBytes - len(out))
		var add []byte
		switch {
		case p.Text == "" && p.Wide == "" && p.Drop != "":
			return fail("drop: nothing is left")
		case p.Text != "":
			add = []byte(p.Text)
		case p.Wide != "":
			add = wide(p.Wide)
		case p.Hex != "":
			var err error
			if add, err = hex.DecodeString(strings.Join(strings.Fields(p.Hex), "")); err != nil {
				return fail("hex: %v", err)
			}
		case p.At != 0 && p.At < int64(len(out)):
			return fail("at = %d: %d bytes are there already", p.At, len(out))
		case p.At != 0:
			p.Zeros = p.At - int64(len(out))
			fallthrough
		default:
			if p.Zeros < 0 || p.Zeros > room {
				return fail("the sample has more than %d bytes", maxSampleBytes)
			}
			add = make([]byte, p.Zeros)
		}
		times := max(p.Times, 1)
		if len(add) > 0 && times > room/int64(len(add)) {
			return fail("the sample has more than %d bytes", maxSampleBytes)
		}
		for range times {
			out = append(out, add...)
		}
	}
	return out, nil
}

// wide is text in UTF-16 as Windows writes it.
func wide(text string) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}
