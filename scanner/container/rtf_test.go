package container

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// ole1 is an object as a text holds it.
func ole1(class string, data []byte) []byte {
	b := []byte{1, 5, 0, 0, 2, 0, 0, 0}
	b = le.AppendUint32(b, uint32(len(class)+1))
	b = append(append(b, class...), 0)
	b = append(b, make([]byte, 8)...)
	return append(le.AppendUint32(b, uint32(len(data))), data...)
}

func rtfOf(digits string) []byte {
	return []byte(`{\rtf1\ansi A letter{\object\objemb\objw1{\*\objdata ` + digits + `}{\result x}}\par}`)
}

// spaced writes digits with a separator behind every n.
func spaced(s string, n int, by string) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + by)
		s = s[n:]
	}
	return b.String() + s
}

// texts are documents of RTF that hold a payload.
func texts() map[string][]byte {
	want := payload(3 * kib)
	native := ole10("letter.txt", want)
	pack := hex.EncodeToString(ole1("Package", native[4:]))
	compound := wordObject()
	return map[string][]byte{
		"package.rtf":  rtfOf(pack),
		"compound.rtf": rtfOf(strings.ToUpper(compound)),
		"lines.rtf":    rtfOf(spaced(compound, 7, "\r\n\t ")),
		"words.rtf":    rtfOf(spaced(compound, 101, `\unknown12 `)),
		"nested.rtf":   rtfOf("{" + spaced(compound, 301, `}{`) + "}"),
		"escapes.rtf":  rtfOf(spaced(compound, 301, `\'41`)),
		"open.rtf":     []byte(`{\rt{\object\objdata ` + pack),
		"binary.rtf":   []byte(fmt.Sprintf(`{\rtf1{\object{\*\objdata \bin%d %s}}}`, len(pack)/2, ole1("Package", native[4:]))),
		"version.rtf":  rtfOf("ffffffff" + pack[8:]),
	}
}

// wordObject is an object of Word in hexadecimal digits.
func wordObject() string {
	return hex.EncodeToString(ole1("Word.Document.8", cfb(map[string][]byte{"\x01Ole10Native": ole10("letter.txt", payload(3*kib))})))
}

func TestT07_ObjectsOfTextsComeOut(t *testing.T) {
	want := payload(3 * kib)
	all := texts()
	all["groups.rtf"] = rtfOf(spaced(wordObject(), 301, `{\*\unknown 41424}`)) // the other way to read it gives nothing whole
	for name, b := range all {
		k, res := takeBytes(t, b, name)
		found := false
		for path, data := range k.content {
			found = found || strings.HasSuffix(path, "letter.txt") && bytes.Equal(data, want)
		}
		if !found || name != "groups.rtf" && res.Outcome != 0 {
			t.Errorf("%s: letter.txt is not among %q, %v %+v", name, k.order, res.Outcome, res.Findings)
		}
	}
}

func TestWhatATextLoadsFromElsewhereIsTold(t *testing.T) {
	for text, want := range map[string]bool{
		`{\rtf1{\*\template http://x.example/a.dotm}x}`:                 true,
		`{\rtf1{\*\template C:\\Normal.dot}x}`:                          false,
		`{\rtf1{\field{\*\fldinst DDEAUTO c:\\x}}}`:                     true,
		`{\rtf1{\field{\*\fldinst HYPERLINK "http://x.example/"}}}`:     false,
		`{\rtf1{\object\objautlink{\*\objdata 0105000001000000}}xxxxx}`: true,
	} {
		_, res := takeBytes(t, []byte(text), "x.rtf")
		if (len(res.Findings) == 1 && res.Findings[0].Rule == "document-external") != want {
			t.Errorf("%s: %+v", text, res.Findings)
		}
	}
}
