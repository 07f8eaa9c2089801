package container

import (
	"strings"
	"testing"

	"pratique/scanner/report"
)

func TestT07_PackersThatNobodyOpensAreTold(t *testing.T) {
	made := map[string][]byte{}
	for section, name := range packerSections {
		if len(section) <= 8 {
			made[name+" by the section "+section] = peSpec{code: payload(300), names: [2]string{".text", section}}.make()
		}
	}
	for _, s := range packerStarts {
		made[s.name+" by its start "+s.code] = peSpec{entry: []byte(strings.ReplaceAll(s.code, "?", "\x41")), code: payload(300)}.make()
	}
	for _, w := range packerWords {
		made[w.name+" by the word "+w.word] = peSpec{overlay: append([]byte("some bytes "+w.word), payload(300)...)}.make()
		made[w.name+" by the word, signed, "+w.word] = peSpec{overlay: append(payload(300), w.word...), signature: signed(nil)}.make()
	}
	for name, b := range made {
		_, res := takeBytes(t, b, "a.exe")
		who, _, _ := strings.Cut(name, " by ")
		told := false
		for _, f := range res.Findings {
			told = told || f.Rule == "packed-content" && f.Severity == report.Block && strings.Contains(f.Text, who)
		}
		if !told {
			t.Errorf("%q: %v %+v", name, res.Outcome, res.Findings)
		}
	}
	// A program that only names them is none.
	var all string
	for _, w := range packerWords {
		all += w.word + " "
	}
	if b := (peSpec{code: []byte(all)}).make(); New(mib).Packed(whole(b)) {
		t.Error("a program that names packers is taken for packed")
	}
}
