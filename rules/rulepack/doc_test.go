package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Everything that the instruction for a first rule says to type or to write is run by the script.
func TestTheInstructionIsWhatTheScriptRuns(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "baseline", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := txtar.ParseFile(filepath.Join("testdata", "script", "first-rule.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(string(archive.Comment), " --passphrase-file pass", "")
	kiosk, err := os.ReadFile(filepath.Join("..", "..", "testdata", "script", "first-rule.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	script += strings.ReplaceAll(string(kiosk), "exits 0 pratique rules install --config station.toml --state $STATE ", "pratique rules install ")
	commands := 0
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			continue
		}
		commands++
		_, rest, found := strings.Cut(script, "\n"+command+"\n")
		if !found {
			t.Errorf("the script does not run %q, or not in this order", command)
			continue
		}
		script = "\n" + rest
	}
	if commands < 10 {
		t.Errorf("%d commands are in the text", commands)
	}
	for _, f := range archive.Files {
		if f.Name == "prices.yar" || f.Name == "prices.toml" {
			if !strings.Contains(string(text), "\n"+string(f.Data)+"```") {
				t.Errorf("the text has another %s", f.Name)
			}
		}
	}
}
