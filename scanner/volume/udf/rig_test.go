package udf

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

func tool(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "PATH=/usr/bin:/bin:/usr/sbin:/sbin")
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.600s", name, err, words.String())
	}
	return out
}

// list opens and reads a volume, which must be possible.
func list(t testing.TB, src volume.Source, opts volume.Options) volumetest.Listing {
	t.Helper()
	fs, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volumetest.ReadAll(context.Background(), src, fs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// healthy fails the test unless the listing is that of a healthy volume.
func healthy(t testing.TB, l volumetest.Listing) {
	t.Helper()
	if l.Bars() {
		t.Errorf("a healthy volume is %v: %s", l.Summary.Outcome, l.Summary.Reason)
		for _, e := range l.Entries {
			if e.Outcome != report.Unscanned && e.Outcome != report.Clean || e.Opaque {
				t.Fatalf("%q %v %v", e.Path, e.Outcome, e.Findings)
			}
		}
	}
	for _, f := range l.Summary.Findings {
		if f.Severity < report.Inform {
			t.Errorf("finding on a healthy volume: %+v", f)
		}
	}
}

// rules are the findings of a listing.
func rules(l volumetest.Listing) []string {
	var out []string
	for _, f := range l.Summary.Findings {
		out = append(out, f.Rule)
	}
	for _, e := range l.Entries {
		for _, f := range e.Findings {
			out = append(out, f.Rule)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func same(t testing.TB, what string, truth volumetest.Truth, l volumetest.Listing) {
	t.Helper()
	diff := truth.Diff(l)
	for _, d := range diff[:min(len(diff), 5)] {
		t.Errorf("%s: %s", what, d)
	}
	t.Logf("%s: %d files, %d differences", what, len(truth), len(diff))
}

// seven is what 7-Zip reads of an image, as UDF.
func seven(t testing.TB, name string) volumetest.Truth {
	t.Helper()
	out := t.TempDir()
	tool(t, out, "7z", "x", "-y", "-bd", "-tudf", name)
	truth := volumetest.Tree(t, out)
	for path := range truth {
		if strings.HasPrefix(path, "[") {
			delete(truth, path)
		}
	}
	return truth
}

// tryTool runs a program that may say no.
func tryTool(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin:/usr/sbin:/sbin")
	return cmd.CombinedOutput()
}
