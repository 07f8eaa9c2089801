package check

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pratique/rules"
	"pratique/rules/blocklist"
	"pratique/rules/split"
	"pratique/rules/yara"
	"pratique/scanner/structure"
)

const (
	// ScanTime is how long one content may take. libyara cannot be interrupted, so when it takes longer the program ends.
	ScanTime = 60 * time.Second
	// MaxCleanFile is the largest file of a clean corpus that is read: one that a station, too, scans in one piece.
	MaxCleanFile = 16 << 20
)

// Result is what Test tried.
type Result struct {
	Rules    int
	Samples  int
	Clean    int // files
	Bytes    int64
	Skipped  int // files of a corpus that are larger than MaxCleanFile, or cannot be read
	Problems []Problem
}

// Test tries the rules and lists of a pack on its samples, its clean files and the files below more folders. Every rule that
// is not private must match a sample, every sample exactly the rules that it names, and nothing that is clean anything.
func Test(ctx context.Context, pack rules.Pack, clean []string) (Result, error) {
	t, err := newTrial(pack)
	if err != nil {
		return Result{}, err
	}
	if t.scanner == nil {
		return t.res, nil
	}
	defer t.scanner.Close()
	if err := t.samples(pack); err != nil {
		return t.res, err
	}
	for _, f := range pack.Clean {
		if err := t.clean("clean/"+f.Name, f.Content); err != nil {
			return t.res, err
		}
	}
	for _, dir := range clean {
		if err := t.folder(ctx, dir); err != nil {
			return t.res, err
		}
	}
	t.res.Problems = order(t.res.Problems)
	return t.res, nil
}

// listOf compiles the hash lists of a pack as a station does.
func listOf(pack rules.Pack) (*blocklist.List, error) {
	var texts []io.Reader
	for _, l := range pack.Lists {
		texts = append(texts, bytes.NewReader(l))
	}
	var out bytes.Buffer
	if _, err := blocklist.Compile(&out, texts...); err != nil {
		return nil, err
	}
	return blocklist.Open(out.Bytes())
}

// trial is a pack at work.
type trial struct {
	scanner *yara.Scanner // nil if the pack cannot work; the problems say why
	list    *blocklist.List
	res     Result
}

func newTrial(pack rules.Pack) (*trial, error) {
	t := &trial{}
	compiled, problems, err := yara.Compile(compilable(pack))
	if errors.Is(err, yara.ErrRejected) {
		for _, p := range problems {
			t.res.Problems = append(t.res.Problems, Problem{File: p.File, Line: p.Line, Text: p.Text, Fix: "correct it", Harm: true})
		}
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.res.Rules = compiled.Count()
	if t.list, err = listOf(pack); err != nil {
		t.res.Problems = append(t.res.Problems, Problem{File: "hashes", Text: err.Error(), Fix: "rulepack lint names the line", Harm: true})
		return t, nil
	}
	t.scanner, err = yara.NewScanner(compiled)
	return t, err
}

func (t *trial) problem(file, text, fix string) {
	t.res.Problems = append(t.res.Problems, Problem{File: file, Text: text, Fix: fix})
}

func (t *trial) samples(pack rules.Pack) error {
	shown := map[string]bool{}
	for _, s := range pack.Samples {
		got, err := t.match(s.Name, s.Type, s.Content())
		if err != nil {
			return fmt.Errorf("the sample %q: %w", s.Name, err)
		}
		t.res.Samples++
		for _, name := range s.Rules {
			shown[name] = true
			if !slices.Contains(got, name) {
				t.problem("samples", fmt.Sprintf("%s does not match its sample %q", name, s.Name), "correct the rule or the sample")
			}
		}
		for _, name := range got {
			if !slices.Contains(s.Rules, name) {
				t.problem("samples", fmt.Sprintf("%s matches %q, which does not name it", name, s.Name), "make the rule narrower, or name it there if that is right")
			}
		}
	}
	for _, src := range pack.YARA {
		outline, _ := split.Read(src.Text)
		for _, r := range outline.Rules {
			if !r.Private && !shown[r.Name] {
				t.res.Problems = append(t.res.Problems, Problem{File: "yara/" + strings.TrimPrefix(src.Name, "yara/"), Line: r.Line,
					Text: r.Name + " has no sample", Fix: "add one to samples: a rule that nobody saw match may match nothing"})
			}
		}
	}
	return nil
}

// match returns the names of the rules that match, in order.
func (t *trial) match(name, kind string, content []byte) ([]string, error) {
	if kind == "" {
		kind = structure.Identify(content, nil, int64(len(content))).Type
	}
	defer watch(name)()
	found, err := t.scanner.ScanMem(content, yara.Vars{Name: base(name), Type: kind})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range found {
		out = append(out, m.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// watch ends the program if what follows does not end: no other way leads out of libyara.
func watch(name string) (stop func() bool) {
	return time.AfterFunc(ScanTime, func() {
		fmt.Fprintf(os.Stderr, "rulepack: error: the rules take more than %v on %q; rulepack bench names the slow ones\n", ScanTime, name)
		os.Exit(1)
	}).Stop
}

func (t *trial) clean(name string, content []byte) error {
	got, err := t.match(name, "", content)
	if err != nil {
		t.problem(name, "the file cannot be scanned: "+err.Error(), "one of its strings matches everywhere: give it more fixed letters")
		return nil
	}
	t.res.Clean++
	t.res.Bytes += int64(len(content))
	for _, rule := range got {
		t.problem(name, rule+" matches a clean file", "make the rule narrower")
	}
	s256, s1, s5 := sha256.Sum256(content), sha1.Sum(content), md5.Sum(content)
	if t.list.Has(blocklist.SHA256, s256[:]) || t.list.Has(blocklist.SHA1, s1[:]) || t.list.Has(blocklist.MD5, s5[:]) {
		t.problem(name, "a hash list names a clean file", "remove its hash; rulepack import --clean refuses such hashes")
	}
	return nil
}

// folder tries every file below a folder.
func (t *trial) folder(ctx context.Context, dir string) error {
	return Walk(ctx, dir, func(name string, content []byte, err error) error {
		if err != nil {
			t.res.Skipped++
			return nil
		}
		return t.clean(name, content)
	})
}

var errTooLarge = errors.New("larger than what is read")

// Walk reads the regular files below a folder, in the order of their names. f gets the error of a file that cannot be read
// or is larger than MaxCleanFile.
func Walk(ctx context.Context, dir string, f func(name string, content []byte, err error) error) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name == dir {
				return err
			}
			return f(name, nil, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > MaxCleanFile {
			return f(name, nil, errTooLarge)
		}
		content, err := os.ReadFile(name)
		return f(name, content, err)
	})
}
