package container

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pratique/scanner/report"
)

// chm has Free Pascal's compiler of help files make one.
func chm(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	dir := tree(t, files)
	var b bytes.Buffer
	b.WriteString("[OPTIONS]\nCompiled file=out.chm\nDefault topic=page.html\nTitle=x\n\n[FILES]\n")
	for name := range files {
		fmt.Fprintln(&b, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.hhp"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "chmcmd", "--no-html-scan", "x.hhp")
	out, err := os.ReadFile(filepath.Join(dir, "out.chm"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCompiledHelpIsOpened(t *testing.T) {
	files := map[string][]byte{"page.html": []byte("<html><body>a page</body></html>"), "large.html": payload(700 * kib), "tool.bin": machineCode(), "zeros.bin": make([]byte, 100*kib)}
	k, res := takeBytes(t, chm(t, files), "out.chm")
	if res.Outcome != report.Unscanned {
		t.Errorf("%v %+v", res.Outcome, res.Findings)
	}
	for name, it := range k.items {
		if it.Outcome != report.Unscanned {
			t.Errorf("%s: %v %+v", name, it.Outcome, it.Findings)
		}
	}
	for name, want := range files {
		if it := k.items[name]; !bytes.Equal(k.content[name], want) || it.Outcome != report.Unscanned {
			t.Errorf("%s: %d of %d bytes, %v %+v", name, len(k.content[name]), len(want), it.Outcome, it.Findings)
		}
	}
}
