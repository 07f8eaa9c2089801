package kiosk

import (
	"context"
	"slices"
	"testing"

	"pratique/kiosk/audit"
	"pratique/kiosk/trial"
	"pratique/rules"
)

func TestCanaryIsFoundOnEveryWay(t *testing.T) {
	s := openState(t, t.TempDir())
	res, err := s.Canary(context.Background(), Screening{Pack: pack(t), Workers: built.bin}, true)
	if err != nil || !res.Passed() || res.Ways != 5 {
		t.Fatalf("%+v %v", res, err)
	}
}

// A pack that was signed by fools, or changed in memory: whatever the reason, the station must notice.
func TestT15_AScannerThatFindsNothingIsNoticedAndLogged(t *testing.T) {
	s := openState(t, t.TempDir())
	p := pack(t)
	p.YARA = []rules.Source{{Name: "nothing.yar", Text: []byte("rule nothing { strings: $a = \"no such words\" condition: $a }")}}
	res, err := s.Canary(t.Context(), Screening{Pack: p, Workers: built.bin}, false)
	if err != nil || res.Passed() || len(res.Failed) != 3 || res.Word() != "none" {
		t.Fatalf("%+v %v", res, err)
	}
	var got audit.Canary
	if err := s.Log(t.Context(), func(e audit.Entry) error { got, _ = e.Data.(audit.Canary); return nil }); err != nil {
		t.Fatal(err)
	}
	if got.Passed != 2 || !slices.Equal(got.Failed, []audit.Word{"plain", "container", "dicom"}) {
		t.Fatalf("%+v", got)
	}
}

func TestTheShippedPackPassesEveryGate(t *testing.T) {
	s := openState(t, t.TempDir())
	want := Screening{Pack: pack(t), Workers: built.bin}
	tools, err := s.prepare(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	defer tools.close()
	failed, err := s.examine(t.Context(), trial.Full(want.Pack), tools.config(want))
	if err != nil || len(failed) > 0 {
		t.Fatalf("%+v %v", failed, err)
	}
}
