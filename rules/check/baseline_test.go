package check

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/rules/baseline"
)

var corpusShare = flag.Int("share", 3, "one in so many files of this machine is tried; 1 is all")

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

const (
	corpusMinimum  = 5_000
	corpusPerKind  = 1_500   // of one extension, so that changelogs do not crowd out the rest
	corpusFileSize = 4 << 20 // larger ones cost time and teach nothing new
	leastRules     = 80      // that the baseline has; it does not lose any
)

// The pack that ships is itself the example: it has no problem, each rule matches its own sample and no other's.
func TestBaselineHoldsWhatItPromises(t *testing.T) {
	problems, err := Lint(context.Background(), baseline.Files(), compiler(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	res, err := Test(context.Background(), pack, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range res.Problems {
		t.Error(p)
	}
	if res.Rules < leastRules || res.Samples < res.Rules {
		t.Errorf("%d rules, %d samples", res.Rules, res.Samples)
	}
}

// Nothing in the sources may look like malware to a scanner that passes by: samples are made from pieces, and no rule of the
// pack finds anything in the files of recipes themselves.
func TestRecipesMatchNoRule(t *testing.T) {
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	pack.Samples, pack.Clean = nil, nil
	res, err := Test(context.Background(), pack, []string{filepath.Join("..", "baseline", "samples")})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range res.Problems {
		if strings.Contains(p.Text, "clean file") {
			t.Error(p)
		}
	}
}

// The files of installed packages are harmless, so no rule may match one. There are no exceptions.
func TestBaselineSparesRealFiles(t *testing.T) {
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	trial, err := newTrial(pack)
	if err != nil {
		t.Fatal(err)
	}
	defer trial.scanner.Close()
	files := realFiles(t)
	for i, file := range files {
		if i%*corpusShare != 0 {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			continue // not for us
		}
		if err := trial.clean(file, content); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range trial.res.Problems {
		t.Error(p)
	}
	t.Logf("%d of %d files, %d MB", trial.res.Clean, len(files), trial.res.Bytes/1e6)
	if trial.res.Clean < corpusMinimum {
		t.Errorf("%d files are too few to say anything", trial.res.Clean)
	}
}

// realFiles are files of this machine in the order of their paths.
func realFiles(t testing.TB) (out []string) {
	t.Helper()
	kinds := map[string]int{}
	for _, top := range []string{"/usr/share", "/usr/lib", "/usr/bin"} {
		err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if info, err := d.Info(); err != nil || info.Size() > corpusFileSize {
				return nil
			}
			out = append(out, name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(out, func(name string) bool {
		kind := strings.ToLower(filepath.Ext(name))
		kinds[kind]++
		return kinds[kind] > corpusPerKind
	})
}
