package kiosk

import (
	"fmt"
	"strings"
	"testing"

	"pratique/kiosk/clearance"
	"pratique/kiosk/exception"
	"pratique/scanner/report"
)

// What the manifest cannot hold is no error, which would end the session as a fault of the kiosk; and it is never cleared.
func TestT24_WhatTheManifestCannotHoldIsNotCleared(t *testing.T) {
	file := func(volume int, path string) *report.Item {
		return &report.Item{Volume: volume, Path: path, Kind: report.File, Outcome: report.Clean}
	}
	for name, c := range map[string]struct {
		items []*report.Item
		code  Code
	}{
		"more than it holds":  {[]*report.Item{file(0, "a"), file(clearance.MaxVolumes, "b"), file(0, "c")}, TooLarge},
		"one path twice":      {[]*report.Item{file(0, "a"), file(0, "a")}, Incomplete},
		"a path of no length": {[]*report.Item{file(0, ""), file(0, "a")}, Incomplete},
	} {
		t.Run(name, func(t *testing.T) {
			se := &session{manifest: clearance.NewManifest([16]byte{1})}
			for _, it := range c.items {
				se.record(it)
			}
			rep := clean()
			content := se.seal(&rep)
			d := Decide(&rep, policy(t, "general"), exception.Set{})
			if d.Verdict != CouldNotCheck || len(d.Reasons) != 1 || d.Reasons[0].Code != c.code || content != (clearance.Content{}) {
				t.Errorf("%v %v, content %+v", d.Verdict, d.Reasons, content)
			}
			if text := fmt.Sprint(d.Reasons); !strings.Contains(text, "could not be made") {
				t.Errorf("reason %s", text)
			}
		})
	}
}
