package slot

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pratique/scanner/frame"
	"pratique/scanner/report"
)

func TestT03_MatchBecomesAFindingWithinLimits(t *testing.T) {
	long := strings.Repeat("ä", 5_000)
	for _, m := range []Match{
		{},
		{Rule: "r", Severity: report.Warn, Offset: 7, Text: "Says so.", Author: "me"},
		{Rule: long, Severity: 200, Offset: math.MinInt64, Text: long, Author: long},
		{Rule: "a" + long, Text: "", Author: "b" + long},
		{Rule: "\xFF\xFE", Text: strings.Repeat("\x80", 1000)},
	} {
		f := m.Finding()
		if f.Check != report.CheckYARA || f.Severity > report.Inform || f.Offset < -1 || f.Text == "" || len(f.Text) > report.MaxText || len(f.Rule) > report.MaxText {
			t.Errorf("%.40v becomes %+v", m, f)
		}
		if m.Severity > report.Inform && f.Severity != report.Block {
			t.Errorf("severity %d becomes %v", m.Severity, f.Severity)
		}
		if utf8.ValidString(m.Text) && !utf8.ValidString(f.Text) {
			t.Errorf("%.40v is cut within a character: %q", m, f.Text[len(f.Text)-4:])
		}
	}
	if f := (Match{Rule: "r", Severity: report.Warn, Offset: 7, Text: "Says so.", Author: "me"}).Finding(); f.Text != "Says so. (rule by me)" || f.Offset != 7 || f.Severity != report.Warn {
		t.Errorf("%+v", f)
	}
	if (Match{}).Finding().Severity != report.Block {
		t.Error("a match that says nothing does not block")
	}
}

func TestTheLargestMessagesFitIntoAFrame(t *testing.T) {
	text := strings.Repeat("x", 512)
	var batch []Piece
	for range MaxPieces {
		batch = append(batch, Piece{ID: math.MaxUint64, Offset: math.MaxInt64, Bytes: math.MaxInt64, Name: make([]byte, MaxName), Type: text})
	}
	var matches []Match
	for range MaxMatches {
		matches = append(matches, Match{Rule: text, Offset: math.MaxInt64, Text: text, Author: text})
	}
	for name, v := range map[string]any{
		"batch":   Request{Batch: batch},
		"done":    Answer{Done: &Done{ID: math.MaxUint64, Scanned: true, Matches: matches}},
		"part":    SourcePart{Name: strings.Repeat("x", MaxSourceName), Text: make([]byte, PartBytes)},
		"problem": CompileAnswer{Problem: &Problem{File: strings.Repeat("x", MaxSourceName), Text: text}},
	} {
		data, err := frame.Marshal(v)
		if err != nil || len(data) > frame.MaxBytes {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

func TestProblemReadsAsCompilersWrite(t *testing.T) {
	for want, p := range map[string]Problem{
		"a.yar:3: error: bad": {File: "a.yar", Line: 3, Text: "bad"},
		"a.yar: error: bad":   {File: "a.yar", Text: "bad"},
		"a:1: warning: slow":  {File: "a", Line: 1, Text: "slow", Warning: true},
	} {
		if got := p.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzAnswer: an answer comes from the process that held hostile bytes.
func FuzzAnswer(f *testing.F) {
	for _, a := range []Answer{
		{Ready: &Ready{Rules: 3}}, {Need: &Need{Offset: 1, Bytes: BlockBytes}},
		{Done: &Done{ID: 1, Scanned: true, Matches: []Match{{Rule: "r", Severity: report.Warn, Offset: 3, Text: "t", Author: "a"}}}},
	} {
		data, err := frame.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a Answer
		if frame.Unmarshal(data, &a) != nil || a.Done == nil {
			return
		}
		for _, m := range a.Done.Matches {
			if finding := m.Finding(); len(finding.Text) > report.MaxText || len(finding.Rule) > report.MaxText || finding.Offset < -1 || finding.Severity > report.Inform {
				t.Errorf("%+v", finding)
			}
		}
	})
}

// FuzzRequest: a request comes from the process that parsed the medium.
func FuzzRequest(f *testing.F) {
	for _, r := range []Request{{Batch: []Piece{{ID: 1, Bytes: 2, Name: []byte("n"), Type: "t"}}}, {Stream: &Stream{ID: 2, Bytes: 1 << 40}}, {Filled: &Filled{Offset: 3, Bytes: 4}}} {
		data, err := frame.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Request
		if frame.Unmarshal(data, &r) == nil {
			if _, err := frame.Marshal(r); err != nil {
				t.Error(err)
			}
		}
	})
}
