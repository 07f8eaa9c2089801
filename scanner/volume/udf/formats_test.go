package udf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// What mkudffs makes of every kind of medium, with every revision, size of block and table of space that it can.
func TestReadsWhatMkudffsFormats(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	made := 0
	for media, variants := range map[string][]string{
		"hd": {"", "--blocksize=512", "--blocksize=1024", "--blocksize=4096", "--space=freedbitmap", "--space=freedtable",
			"--space=unalloctable", "--ad=short", "--ad=long", "--strategy=4096"},
		"dvdram": {"", "--ad=long"}, "dvdrw": {"", "--space=unalloctable"}, "cdrw": {"", "--packetlen=16"},
		"dvdr": {""}, "cdr": {"", "--closed"}, "bdr": {""},
	} {
		for _, rev := range []string{"1.02", "1.50", "2.01", "2.60"} {
			for _, more := range variants {
				args := []string{"--utf8", "--label=Träger", "--media-type=" + media, "--udfrev=" + rev, "--blocksize=2048", name}
				if more != "" {
					args = slices.Insert(args, 4, more)
				}
				if strings.HasPrefix(more, "--blocksize") {
					args = slices.Delete(args, 5, 6)
				}
				if err := os.WriteFile(name, make([]byte, 24<<20), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := tryTool("mkudffs", args...); err != nil {
					if rev == "2.01" && media != "bdr" {
						t.Errorf("%s %s: %s", media, more, out)
					}
					continue // a revision that does not know the medium, or that mkudffs does not write on it
				}
				made++
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				src := volumetest.Bytes(data, 512)
				fs, err := Open(src)
				if err != nil {
					t.Errorf("%v: %v", args[2:], err)
					continue
				}
				l, err := volumetest.ReadAll(t.Context(), src, fs, volume.Options{})
				if err != nil {
					t.Fatal(err)
				}
				for path := range l.Files {
					if strings.HasSuffix(path, "Non-Allocatable Space") { // what is worn, as a file or a stream (UDF 3.3.7.2)
						delete(l.Files, path)
					}
				}
				if l.Bars() || l.Summary.Label != "Träger" || len(l.Files) > 0 {
					t.Errorf("%v: %v %s %q, %d files", args[2:], l.Summary.Outcome, l.Summary.Reason, l.Summary.Label, len(l.Files))
				}
			}
		}
	}
	t.Logf("%d volumes", made)
}
