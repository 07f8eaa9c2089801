package sandbox

import (
	"slices"
	"testing"
)

// What usbgate may do beyond the other roles is these two calls, and what it may do less than they is seen here too.
func TestT03_USBGateOpensAndChangesOwnersAndNothingElse(t *testing.T) {
	gate, err := Rules(USBGate, 1)
	if err != nil {
		t.Fatal(err)
	}
	scan, err := Rules(ScanWorker, 1)
	if err != nil {
		t.Fatal(err)
	}
	names := func(p Policy) (all []string) {
		for _, c := range p.Calls {
			if c.Then == Allow || c.Otherwise == Allow {
				all = append(all, c.Name)
			}
		}
		return all
	}
	more := slices.DeleteFunc(names(gate), func(name string) bool { return slices.Contains(names(scan), name) })
	slices.Sort(more)
	if !slices.Equal(more, []string{"fchownat", "openat2"}) {
		t.Errorf("usbgate may also %v", more)
	}
	for _, layer := range []Layer{DumpableOff, NoNewPrivs, Rlimits, Seccomp} {
		if !slices.Contains(gate.Layers, layer) {
			t.Errorf("usbgate has no %s", layer)
		}
	}
}
