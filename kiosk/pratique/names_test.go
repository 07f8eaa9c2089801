package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"pratique/testdata/stick"
)

// hostileNames are as long as a file system lets a name be, and made of what terminals, logs and lists trip over. PHI in
// them must not reach the log either.
var hostileNames = map[string]string{
	"emoji":          strings.Repeat("🏥", 127),
	"combining":      "a" + strings.Repeat("\u0301", 254),
	"right-to-left":  "MEIER " + strings.Repeat("\u202E", 200) + "fdp.exe",
	"newlines":       "MEIER\n" + strings.Repeat("\n", 200) + "cleared",
	"ansi":           "MEIER \x1b[2J\x1b[1;1H\x1b[32mcleared\x1b]0;title\x07",
	"half character": "MEIER \xed\xa0\xbd lone",
	"zero width":     "MEIER" + strings.Repeat("\u200B", 200),
	"carriage":       "MEIER\r" + strings.Repeat("\b", 100),
}

// hostileStick has each name as a file that a rule matches, and as the launcher of a hidden folder at that.
func hostileStick(t *testing.T, exfat bool, names []string) string {
	t.Helper()
	var files []stick.File
	for i, name := range names {
		if n := len(stick.Units(name)); n > 255 {
			t.Fatalf("a name of %d characters", n)
		}
		files = append(files, stick.File{Path: fmt.Sprintf("d%d/%s", i, name), Data: stick.RuleSample()})
	}
	image := filepath.Join(t.TempDir(), "names.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const bytes = 40 * mega
	if err := f.Truncate(bytes + mega); err != nil {
		t.Fatal(err)
	}
	if err := stick.WriteMBR(f, []stick.Partition{{Start: mega, Bytes: bytes, Type: 0x0C}}, nil); err != nil {
		t.Fatal(err)
	}
	w := io.NewOffsetWriter(f, mega)
	if exfat {
		_, err = stick.WriteExFAT(w, stick.ExFAT{Bytes: bytes, Start: mega}, files)
	} else {
		_, err = stick.WriteFAT(w, stick.FAT{Bits: 32, Bytes: bytes, Start: mega}, files)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Whatever a name is made of, the screen has as many lines as with plain names and nothing in them that a terminal acts
// on, the JSON is JSON and gives the name back, and the log has nothing of it.
func TestT09_NamesCannotChangeWhatIsSaidAroundThem(t *testing.T) {
	for _, exfat := range []bool{false, true} {
		var kinds, names, plain []string
		for kind, name := range hostileNames {
			if !exfat && strings.ContainsFunc(name, unicode.IsControl) {
				continue // the writer of FAT has no such names
			}
			kinds, names, plain = append(kinds, kind), append(names, name), append(plain, "name "+fmt.Sprint(len(plain)))
		}
		image, state := hostileStick(t, exfat, names), t.TempDir()
		_, want, _ := run(t, "pratique", "screen", "--items", "--state", t.TempDir(), hostileStick(t, exfat, plain))
		code, text, words := run(t, "pratique", "screen", "--items", "--state", state, image)
		if code != 3 {
			t.Errorf("exit code %d\n%s%s", code, text, words)
		}
		// Some names are odd enough for findings of their own, which are lines of their own. The list of items is the same.
		count := func(s string) (lines, items, verdicts int) {
			for line := range strings.Lines(s) {
				lines++
				if strings.Contains(line, " file ") && strings.Contains(line, `"d`) {
					items++
				}
				if strings.HasSuffix(strings.TrimSpace(line), ": not cleared") || strings.HasSuffix(strings.TrimSpace(line), "cleared") {
					verdicts++
				}
			}
			return lines, items, verdicts
		}
		_, wantItems, wantVerdicts := count(want)
		if _, items, verdicts := count(text); items != wantItems || items != len(names) || verdicts != wantVerdicts || verdicts != 1 {
			t.Errorf("exfat %v: %d items and %d verdicts, want %d and %d\n%s", exfat, items, verdicts, wantItems, wantVerdicts, text)
		}
		for i, r := range text + words {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("exfat %v: %U reaches the terminal at %d", exfat, r, i)
			}
		}
		code, stdout, _ := run(t, "pratique", "screen", "--items", "--json", "--state", state, image)
		var res jsonResult
		if err := json.Unmarshal([]byte(stdout), &res); err != nil || code != 3 || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("exfat %v: exit code %d, %v, %d lines", exfat, code, err, strings.Count(stdout, "\n"))
		}
		said := map[string]bool{}
		for _, raw := range res.Items {
			var it jsonItem
			if err := json.Unmarshal(raw, &it); err != nil {
				t.Fatal(err)
			}
			said[it.Path] = true
		}
		for i, name := range names {
			if !said[fmt.Sprintf("d%d/%s", i, jsonPath(name))] {
				t.Errorf("exfat %v: the JSON does not have the name of kind %s", exfat, kinds[i])
			}
		}
		noNames(t, state, names)
	}
}

// noNames fails if a file of the state holds one of the names, or a part of it.
func noNames(t *testing.T, state string, names []string) {
	t.Helper()
	err := filepath.WalkDir(state, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, name := range names {
			part := []byte(name[:min(len(name), 24)])
			var wide []byte
			for _, u := range utf16.Encode([]rune(string(part))) {
				wide = append(wide, byte(u), byte(u>>8))
			}
			if bytes.Contains(data, part) || bytes.Contains(data, wide) || bytes.Contains(data, []byte("MEIER")) {
				t.Errorf("%s holds a name", filepath.Base(path))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A finding about a volume says which of its entries is meant: to the person who asked, and not to the log.
func TestT10_TheLauncherIsNamedOnTheScreenAndNotInTheLog(t *testing.T) {
	const launcher = "MEIER Röntgen\x1b[2J.exe"
	image := filepath.Join(t.TempDir(), "worm.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const bytes = 16 * mega
	if err := f.Truncate(bytes + mega); err != nil {
		t.Fatal(err)
	}
	program := make([]byte, 512)
	copy(program, "MZ")
	program[0x3C] = 128
	copy(program[128:], "PE\x00\x00")
	files := []stick.File{{Path: "\u00A0", Dir: true, Attr: 0x02}, {Path: "\u00A0/letter.pdf", Data: stick.PDF("letter")}, {Path: launcher, Data: program}}
	if err := stick.WriteMBR(f, []stick.Partition{{Start: mega, Bytes: bytes, Type: 0x07}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := stick.WriteExFAT(io.NewOffsetWriter(f, mega), stick.ExFAT{Bytes: bytes, Start: mega, Label: "MEIER Rönt"}, files); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	code, res := screenJSON(t, "--state", state, image)
	paths := map[string]string{}
	for _, f := range res.Findings {
		if f.SHA256 == "" {
			paths[f.Rule] = f.Path
		}
	}
	if code != 3 || paths["root-program"] != launcher || paths["blank-folder"] != "\u00A0" {
		t.Errorf("exit code %d, %q", code, paths)
	}
	_, text, _ := run(t, "pratique", "screen", "--state", state, image)
	if want := `volume 0, "MEIER Röntgen\u001B[2J.exe": `; !strings.Contains(text, want) {
		t.Errorf("nothing says %s\n%s", want, text)
	}
	noNames(t, state, []string{launcher})
}
