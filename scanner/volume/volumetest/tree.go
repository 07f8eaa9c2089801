package volumetest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Tree is what another program wrote below a folder of this machine.
func Tree(t testing.TB, dir string) Truth {
	t.Helper()
	truth := Truth{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		truth[rel] = FileOf(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return truth
}
