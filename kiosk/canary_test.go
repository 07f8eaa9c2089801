package kiosk

import (
	"context"
	"testing"

	"pratique/kiosk/trial"
)

func TestCanaryIsFoundOnEveryWay(t *testing.T) {
	s := openState(t, t.TempDir())
	res, err := s.Canary(context.Background(), Screening{Pack: pack(t), Workers: built.bin})
	if err != nil || !res.Passed() || res.Ways != 5 {
		t.Fatalf("%+v %v", res, err)
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
