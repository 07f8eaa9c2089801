package udf

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// folder writes a corpus for genisoimage.
func folder(t testing.TB, files int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range files {
		name := fmt.Sprintf("Study %d/IM%05d.dcm", i/300, i)
		switch i % 4 {
		case 1:
			name = fmt.Sprintf("Berichte/Befund für Öztürk %05d.txt", i)
		case 2:
			name = fmt.Sprintf("報告/%d/画像 %05d", i%7, i)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, i%9*700)
		copy(data, fmt.Sprintf("file %d", i))
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadsABridgeDiscAsOthersDo(t *testing.T) {
	from := folder(t, 2_100)
	name := filepath.Join(t.TempDir(), "bridge.iso")
	tool(t, from, "genisoimage", "-quiet", "-udf", "-J", "-joliet-long", "-R", "-V", "PATIENT CD", "-o", name, from)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	l := list(t, volumetest.Bytes(data, 2048), volume.Options{})
	healthy(t, l)
	same(t, "source", volumetest.Tree(t, from), l)
	same(t, "7z", seven(t, name), l)
	t.Log(l.Summary.Label, rules(l))
}
