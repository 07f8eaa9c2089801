package structure

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/scanner/report"
)

// corpusFolders hold what Debian packages install for people and programs to read.
var corpusFolders = []string{"/usr/share", "/usr/lib"}

const (
	corpusFiles    = 12_000
	corpusFileSize = 8 << 20 // larger ones cost time and teach nothing new
	corpusPerKind  = 1_500   // of one extension, so that 20,000 changelogs do not crowd out the rest
	corpusMinimum  = 5_000
)

// corpus chooses files in the order of their paths.
func corpus(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, folder := range corpusFolders {
		err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				all = append(all, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	var chosen []string
	kinds := map[string]int{}
	for _, path := range all {
		kind := strings.ToLower(filepath.Ext(path))
		if kinds[kind]++; kinds[kind] <= corpusPerKind && len(chosen) < corpusFiles {
			chosen = append(chosen, path)
		}
	}
	return chosen
}

// The files of installed packages are harmless, so nothing among them may block. There are no exceptions.
func TestRealFilesAreNotBlocked(t *testing.T) {
	words, types := map[string]int{}, map[string]int{}
	var n, warned int
	var bytes int64
	var spent time.Duration
	for _, path := range corpus(t) {
		f, err := os.Open(path)
		if err != nil {
			continue // not for us
		}
		content, err := io.ReadAll(io.LimitReader(f, corpusFileSize+1))
		f.Close()
		if err != nil || len(content) > corpusFileSize {
			continue
		}
		n++
		bytes += int64(len(content))
		start := time.Now()
		id := Identify(content, nil, int64(len(content)))
		res := Inspect(Content{Path: path, Kind: report.File, Head: content, Size: int64(len(content)), Identity: id})
		spent += time.Since(start)
		types[id.Type]++
		if slices.ContainsFunc(res.Findings, func(f report.Finding) bool { return f.Severity == report.Warn }) {
			warned++
		}
		for _, f := range res.Findings {
			words[f.Rule]++
			if f.Severity == report.Block {
				t.Errorf("%s: %s (%s)", path, f.Rule, id.Type)
			}
		}
	}
	t.Logf("%d files, %d MB, %d with warnings, %d types, %v each; findings %v", n, bytes>>20, warned, len(types), spent/time.Duration(max(n, 1)), words)
	if n < corpusMinimum {
		t.Errorf("%d files are too few to say anything", n)
	}
}
