package structure

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
)

var mutants = flag.Int("mutants", 3_000, "mutants of each sample")

// samples are one of each kind that has a parser.
func samples() map[string]string {
	return map[string]string{
		"a.exe": aPE(), "a.zip": aZIP("[Content_Types].xml", "word/a.xml", "word/vbaProject.bin"), "a.gif": aGIF() + aZIP("A.class"),
		"b.zip": lockedZIP(), "a.pdf": strings.Replace(aPDF(), "/Size", "/#45ncrypt 5 0 R /Size", 1), "a.doc": anOLE("VBA", "EncryptedPackage"),
		"a.rar": "Rar!\x1A\x07\x00\x00\x00\x73\x00\x00\x0D\x00" + zeros(6) + "\x00\x00\x74\x04\x00" + zeros(30), "a.dcm": anImage(),
		"DICOMDIR": aDICOMDIR(`DICOM\IM1`, `DICOM\IM2`), "autorun.inf": "[autorun]\r\nopen=x\r\n", "a.url": "[InternetShortcut]\r\nURL=file://a/b\r\n",
		"desktop.ini": "[.ShellClassInfo]\r\nCLSID={x}\r\nIconResource=\\\\a\\b\r\n", "a.library-ms": "<url>\\\\a\\b</url>", "a.vbs": vbsText,
		"a.lnk": lnkSpec{items: []string{fileItem("cmd.exe")}, base: `E:\x`, net: `\\a\b`, relative: `.\x`, arguments: "cmd", icon: "a.cpl",
			blocks: block(0xA0000001, zeros(780)) + block(0xA0000009, wide(`C:\x\y.exe`))}.make(),
	}
}

// agrees holds what is promised of every answer, whatever the content.
func agrees(t *testing.T, path string, content []byte) {
	t.Helper()
	for _, cut := range []int{len(content), len(content) / 2} {
		head, tail := content[:cut], content[cut:]
		if cut == len(content) {
			tail = nil
		}
		id := Identify(head, tail, int64(len(content)))
		if id.Type == "" || strings.ContainsAny(id.Type, "; \n") || len(id.Type) > report.MaxText || slices.Contains(id.Also, id.Type) {
			t.Fatalf("type %q, also %q", id.Type, id.Also)
		}
		c := Content{Path: path, Kind: report.File, Head: head, Tail: tail, Size: int64(len(content)), Identity: id}
		res := Inspect(c)
		if again := Inspect(c); !slices.Equal(res.Findings, again.Findings) || res.Encrypted != again.Encrypted {
			t.Fatal("the same content is judged differently")
		}
		if len(res.Findings) > report.MaxPerItem {
			t.Fatalf("%d findings", len(res.Findings))
		}
		for _, f := range res.Findings {
			if f.Rule == book[checkFailed].word {
				t.Fatalf("%s: a check broke", path)
			}
			if f.Offset < -1 || f.Offset > int64(len(content)) || f.Check != report.CheckStructure {
				t.Fatalf("%+v in %d bytes", f, len(content))
			}
		}
		// A first byte that makes a program makes one under every name.
		if id.forms.any(natives) && !strings.Contains(found(res.Findings), "executable") {
			t.Fatal("a program without a word about it")
		}
	}
}

func TestT08_MutatedContentNeverBreaksACheck(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 30))
	n := 0
	for path, content := range samples() {
		for range *mutants {
			b := []byte(content)
			for range 1 + rng.IntN(8) {
				switch rng.IntN(5) {
				case 0:
					b = b[:rng.IntN(len(b)+1)]
				case 1:
					i := rng.IntN(len(b) + 1)
					b = slices.Insert(b, i, []byte{0xFF, 0xFF, 0xFF, 0xFF}[:1+rng.IntN(4)]...)
				default:
					if len(b) > 0 {
						b[rng.IntN(len(b))] = byte(rng.Uint32())
					}
				}
			}
			agrees(t, path, b)
			n++
		}
	}
	t.Logf("%d mutants", n)
}

func FuzzInspect(f *testing.F) {
	for path, content := range samples() {
		f.Add(path, []byte(content))
	}
	f.Fuzz(func(t *testing.T, path string, content []byte) { agrees(t, path, content) })
}

func FuzzLNK(f *testing.F) {
	f.Add([]byte(samples()["a.lnk"]))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := parseLink(content, int64(len(content)))
		if l.overlay < 0 || l.overlay > int64(len(content)) {
			t.Fatalf("an overlay at %d of %d", l.overlay, len(content))
		}
		if res := inspect("a.lnk", string(content)); len(content) > 0 && !strings.Contains(found(res.Findings), "shortcut") {
			t.Fatal("a shortcut without a word about it")
		}
	})
}

func FuzzDICOM(f *testing.F) {
	f.Add([]byte(samples()["DICOMDIR"]))
	f.Add([]byte(anImage()))
	f.Fuzz(func(t *testing.T, content []byte) {
		v := newView(content, nil, int64(len(content)))
		for _, syntax := range []string{explicit, "1.2.840.10008.1.2", ""} {
			if set := v.directory(132, syntax); len(set.files) > len(content)/8 {
				t.Fatalf("%d files from %d bytes", len(set.files), len(content))
			}
		}
		agrees(t, "DICOMDIR", content)
	})
}

// FuzzTree takes a list of paths, one a line, with the marks of placed.
func FuzzTree(f *testing.F) {
	f.Add("!\u00A0/\n!\u00A0/a.pdf\nX.exe\n", "X")
	f.Add("DICOMDIR\nDICOM/IM1\n", "")
	f.Add("a//b\n/\n!\n!/\n..\n", "\xFF")
	f.Fuzz(func(t *testing.T, list, label string) {
		var items []placed
		for i, line := range strings.Split(list, "\n") {
			items = append(items, placed{line, []string{aPE(), aDICOMDIR(`A\B`), anImage(), ""}[i%4]})
		}
		var first []report.Finding
		for turn := range 2 {
			var tree Tree
			addAll(&tree, items)
			got := tree.Finish(label)
			if len(got) > VolumeRules {
				t.Fatalf("%d findings", len(got))
			}
			if turn == 0 {
				first = got
				// The order does not matter, except that of two files of one name one is the DICOMDIR.
				if strings.Count(strings.ToLower(list), "dicomdir") < 2 {
					slices.Reverse(items)
				}
			} else if !slices.Equal(first, got) {
				t.Fatal(fmt.Sprint(found(first), " or ", found(got), ", by the order"))
			}
		}
	})
}
