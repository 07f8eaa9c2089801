package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// What waits for the verdict waits outside memory, and nobody who reads the disk finds a name.
func TestT10_ItemsWaitWithoutANameOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	l, err := newItemList(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v in the folder, %v", left, err)
	}
	var want []string
	for i := range 50_000 {
		want = append(want, fmt.Sprintf("MEIER %d", i))
		l.add(",", []byte(want[i]))
	}
	var got bytes.Buffer
	if err := l.printTo(&got); err != nil || got.String() != strings.Join(want, ",") {
		t.Errorf("%v, %d bytes came back", err, got.Len())
	}
	raw, err := io.ReadAll(io.NewSectionReader(l.file, 0, 1<<30))
	if err != nil || len(raw) != got.Len() || bytes.Contains(raw, []byte("MEIER")) {
		t.Errorf("%d bytes on the disk, %v", len(raw), err)
	}
	l.file.Close()
	l.err = nil
	l.add(",", bytes.Repeat([]byte("x"), 1<<20))
	if err := l.printTo(io.Discard); err == nil {
		t.Error("a list that could not be kept was printed")
	}
	if _, err := newItemList(dir + "/gone"); err == nil {
		t.Error("a list without a folder")
	}
}
