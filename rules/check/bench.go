package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pratique/rules"
	"pratique/rules/split"
	"pratique/rules/yara"
	"pratique/scanner/slot"
)

// Budget is what one rule may cost beyond a rule that looks for nothing. The default pack of a station screens 300 MB in a
// second; a rule that costs 20 ms for each MB by itself would make that 40.
type Budget struct {
	PerMB   time.Duration // of ordinary content
	PerFile time.Duration // of a small file
	Worst   time.Duration // of a megabyte made of nothing but the rule's own sample: a station gives up after 60 seconds
}

// DefaultBudget is generous: what it refuses is ten times as slow as the slowest of 1,338 public rules.
var DefaultBudget = Budget{PerMB: 20 * time.Millisecond, PerFile: 2 * time.Millisecond, Worst: 10 * time.Second}

// Cost is what one rule was measured to cost.
type Cost struct {
	File    string
	Rule    string
	PerMB   time.Duration
	PerFile time.Duration
	Worst   time.Duration
	Over    []string // which of the budget's lines it breaks, in words
}

const (
	benchLarge  = 8 << 20   // of ordinary content; long enough that a clock tick does not count
	benchSmall  = 200       // files
	benchRounds = 3         // the fastest counts: whatever else the machine does only adds
	worstBytes  = 1_000_000 // less than the 1MB up to which rules look for scripts
)

// Bench measures each rule of a pack by itself, with the rules and modules that it needs, and returns the slowest first.
// corpus are files to use as ordinary content, empty for a mixture that is made here.
func Bench(ctx context.Context, pack rules.Pack, corpus []byte, budget Budget) ([]Cost, error) {
	if len(corpus) == 0 {
		corpus = mixture()
	}
	runtime.LockOSThread() // CPU time is counted for the thread
	defer runtime.UnlockOSThread()
	nothing, err := measure([]slot.Source{{Name: "nothing", Text: []byte(`rule nothing { strings: $a = "\x01nothing\x02" condition: $a }`)}}, corpus, nil)
	if err != nil {
		return nil, err
	}
	samples := map[string][]byte{}
	for _, s := range pack.Samples {
		for _, name := range s.Rules {
			if samples[name] == nil {
				samples[name] = s.Content()
			}
		}
	}
	var out []Cost
	for _, src := range compilable(pack) {
		outline, ok := split.Read(src.Text)
		if !ok {
			return nil, fmt.Errorf("%s is not understood: rulepack lint says why", src.Name)
		}
		for i, r := range outline.Rules {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if r.Private {
				continue // measured with those that use it
			}
			c, err := measure([]slot.Source{{Name: src.Name, Text: alone(outline, i)}}, corpus, samples[r.Name])
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", src.Name, r.Name, err)
			}
			c.File, c.Rule = src.Name, r.Name
			c.PerMB, c.PerFile = max(0, c.PerMB-nothing.PerMB), max(0, c.PerFile-nothing.PerFile)
			c.judge(budget)
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Cost) int {
		return cmp.Or(cmp.Compare(len(b.Over), len(a.Over)), cmp.Compare(b.PerMB, a.PerMB))
	})
	return out, nil
}

func (c *Cost) judge(b Budget) {
	for _, line := range []struct {
		got, most time.Duration
		text      string
	}{{c.PerMB, b.PerMB, "a megabyte"}, {c.PerFile, b.PerFile, "a small file"}, {c.Worst, b.Worst, "a megabyte made of its sample"}} {
		if line.got > line.most {
			c.Over = append(c.Over, fmt.Sprintf("%v for %s, and %v are allowed", line.got.Round(time.Microsecond), line.text, line.most))
		}
	}
}

// alone is a file with one rule, those before it that it names, and global ones: they decide whether it is looked at.
func alone(o split.Outline, i int) []byte {
	keep := make([]bool, len(o.Rules))
	keep[i] = true
	for j := i; j >= 0; j-- {
		keep[j] = keep[j] || o.Rules[j].Global
		for k := range j {
			keep[k] = keep[k] || keep[j] && named(o.Rules[j], o.Rules[k].Name)
		}
	}
	var b bytes.Buffer
	for _, m := range o.Imports {
		for j, r := range o.Rules {
			if keep[j] && slices.Contains(r.Words, m) {
				fmt.Fprintf(&b, "import %q\n", m)
				break
			}
		}
	}
	for j, r := range o.Rules {
		if keep[j] {
			b.WriteString(r.Text + "\n")
		}
	}
	return b.Bytes()
}

// named reports whether a rule's condition names another, by itself or as name*.
func named(r split.Rule, other string) bool {
	return slices.ContainsFunc(r.Words, func(w string) bool {
		return w == other || strings.HasPrefix(other, w) && strings.Contains(r.Condition, w+"*")
	})
}

// measure compiles sources and scans large content, small files and the worst that is known.
func measure(sources []slot.Source, corpus, sample []byte) (Cost, error) {
	compiled, problems, err := yara.Compile(sources)
	if errors.Is(err, yara.ErrRejected) && len(problems) > 0 {
		return Cost{}, errors.New(problems[0].String())
	}
	if err != nil {
		return Cost{}, err
	}
	s, err := yara.NewScanner(compiled)
	if err != nil {
		return Cost{}, err
	}
	defer s.Close()
	scan := func(content []byte) error {
		defer watch(sources[0].Name)()
		_, err := s.ScanMem(content, yara.Vars{Name: "corpus"})
		return err
	}
	best := Cost{PerMB: 1 << 62, PerFile: 1 << 62}
	for range benchRounds {
		large, err := spent(func() error { return scan(corpus) })
		if err != nil {
			return Cost{}, err
		}
		small, err := spent(func() error {
			for i := range benchSmall {
				if err := scan(corpus[i : i+25]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return Cost{}, err
		}
		best.PerMB = min(best.PerMB, time.Duration(float64(large)/float64(len(corpus))*1e6))
		best.PerFile = min(best.PerFile, small/benchSmall)
	}
	if len(sample) > 0 {
		decoys := bytes.Repeat(sample, worstBytes/len(sample)+1)[:worstBytes]
		// Too many matches are an error: a station calls such content unscanned. It counts as what it took until then.
		best.Worst, _ = spent(func() error { _ = scan(decoys); return nil })
	}
	return best, nil
}

// spent is the CPU time of this thread: a busy machine does not make a rule slow.
func spent(f func() error) (time.Duration, error) {
	before, err := cpu()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := cpu()
	return after - before, err
}

func cpu() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// mixture is content as sticks hold it: noise as in compressed pictures, words, and pixels.
func mixture() []byte {
	rng := rand.NewChaCha8([32]byte{6})
	out := make([]byte, benchLarge)
	_, _ = rng.Read(out[:benchLarge/2])
	const words = "the patient was seen on the ward and the study http://www.example.org/ report \r\nfunction open(path) { return file; } <p class=\"a\">"
	text := out[benchLarge/2 : benchLarge*3/4]
	for i := range text {
		text[i] = words[(i+i/97)%len(words)]
	}
	pixels := out[benchLarge*3/4:]
	_, _ = rng.Read(pixels)
	for i := 1; i < len(pixels); i += 2 {
		pixels[i] &= 0x0F
	}
	out[0] = 'a' // no program and no zeros, so that no rule is left out
	return out
}

// Corpus joins the files below a folder, up to a limit, for Bench.
func Corpus(ctx context.Context, dir string) ([]byte, error) {
	out := []byte("corpus\n")
	err := Walk(ctx, dir, func(_ string, content []byte, err error) error {
		if err != nil {
			return nil
		}
		if out = append(out, content[:min(len(content), benchLarge)]...); len(out) >= 8*benchLarge {
			return io.EOF
		}
		return nil
	})
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(out) < benchLarge/8 {
		return nil, fmt.Errorf("the files have %d bytes, too few to measure anything", len(out))
	}
	return out, nil
}
