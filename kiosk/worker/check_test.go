package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/probe"
	"pratique/scanner/sandbox"
)

// TestT03_EveryAttemptFromInsideTheJailIsRefused attacks the jail with the programs as they are built for a release.
func TestT03_EveryAttemptFromInsideTheJailIsRefused(t *testing.T) {
	j, err := Check(context.Background(), Config{Dir: programs, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range j.Attempts {
		if !a.Refused {
			t.Errorf("%s can %s: %s", a.Worker, a.What, a.Answer)
		}
	}
	if want := len(probed) * len(probe.Attempts()); len(j.Attempts) != want || !j.Holds() {
		t.Errorf("%d attempts of %d", len(j.Attempts), want)
	}
	policy, err := sandbox.Rules(sandbox.ScanWorker, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range policy.Layers {
		if !slices.Contains(j.Layers, string(layer)) {
			t.Errorf("%s is not in force", layer)
		}
	}
	if j.LandlockABI < 1 || j.Library == "" {
		t.Errorf("Landlock %d, libyara %q", j.LandlockABI, j.Library)
	}
	if spacious() && len(j.Missing) > 0 {
		t.Errorf("missing: %v", j.Missing)
	}
}

// spacious reports whether this machine lets its user make namespaces, as Debian 12 does. Then every layer is to be had.
func spacious() bool {
	return exec.Command("unshare", "-U", "-m", "-p", "-n", "-i", "-u", "-f", "true").Run() == nil
}

// tell is the other half of the next test: what Check, Compile and Scan say on a machine that grants less. It prints JSON.
func tell(dir string) int {
	var said struct {
		Layers, Missing, Scan []string
		Holds, Complete       bool
		Required              [3]bool // Check, Compile and Scan refuse if namespaces are required
	}
	ctx, cfg, sources := context.Background(), Config{Dir: dir, Slots: 1}, []Source{{Name: "a.yar", Text: []byte("rule a { condition: false }")}}
	j, err := Check(ctx, cfg)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	said.Layers, said.Missing, said.Holds = j.Layers, j.Missing, j.Holds()
	if cfg.Rules, _, err = Compile(ctx, cfg, sources); err != nil {
		fmt.Println(err)
		return 1
	}
	medium, err := newMemfd("medium", 4096)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	src, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", medium.Fd()))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r, err := Scan(ctx, src, 4096, 0, cfg, Sink{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	said.Scan, said.Complete = r.Layers, r.Complete

	cfg.RequireNamespaces = true
	_, err = Check(ctx, cfg)
	said.Required[0] = errors.Is(err, ErrNamespaces)
	_, _, err = Compile(ctx, cfg, sources)
	said.Required[1] = errors.Is(err, ErrNamespaces)
	_, err = Scan(ctx, src, 4096, 0, cfg, Sink{})
	said.Required[2] = errors.Is(err, ErrNamespaces)
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return 1
	}
	return 0
}

// TestT03_LayersThatAMachineDoesNotGrantAreNamed runs the supervisor where no namespace can be made any more.
func TestT03_LayersThatAMachineDoesNotGrantAreNamed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const without = `echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" tell "$1" x`
	type supervisor struct {
		cmd    *exec.Cmd
		spaces bool
	}
	supervisors := map[string]supervisor{"here": {exec.Command(self, "tell", programs, "x"), spacious()}}
	if spacious() { // elsewhere, here is without
		supervisors["without namespaces"] = supervisor{exec.Command("unshare", "-U", "-r", "sh", "-c", without, self, programs), false}
	}
	for name, tt := range supervisors {
		tt.cmd.Stderr = os.Stderr
		out, err := tt.cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		var said struct {
			Layers, Missing, Scan []string
			Holds, Complete       bool
			Required              [3]bool
		}
		if err := json.Unmarshal(out, &said); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		refused := [3]bool{!tt.spaces, !tt.spaces, !tt.spaces}
		if !said.Holds || !said.Complete || said.Required != refused {
			t.Errorf("%s: %s", name, out)
		}
		for _, space := range namespaces {
			if slices.Contains(said.Layers, space.layer) != tt.spaces || slices.Contains(said.Missing, space.layer) == tt.spaces ||
				slices.Contains(said.Scan, space.layer) != tt.spaces {
				t.Errorf("%s: %s: %s", name, space.layer, out)
			}
		}
		if !slices.Contains(said.Scan, "seccomp") || !slices.Contains(said.Scan, "landlock") {
			t.Errorf("%s: %v", name, said.Scan)
		}
	}
}

func TestIsolationIsTheStrongestFirst(t *testing.T) {
	defer noSpaces.Store(noSpaces.Load())
	for _, tt := range []struct {
		uid      int
		required bool
		none     bool // this machine has refused before
		want     string
	}{
		{0, false, false, "[{true true} {true false} {false true} {false false}]"},
		{0, true, false, "[{true true} {true false}]"},
		{1000, false, false, "[{true false} {false false}]"},
		{1000, true, false, "[{true false}]"},
		{0, false, true, "[{false true} {false false}]"},
		{0, true, true, "[{true true} {true false}]"},
		{1000, false, true, "[{false false}]"},
	} {
		noSpaces.Store(tt.none)
		if got := fmt.Sprint(isolations(tt.uid, tt.required)); got != tt.want {
			t.Errorf("uid %d, required %v: %s, want %s", tt.uid, tt.required, got, tt.want)
		}
	}
}

func TestT03_CheckRefusesWorkersThatDoNotHold(t *testing.T) {
	// A probe that is no probe has entered no jail, and one that says nothing has shown nothing.
	for how, want := range map[string]error{"exit-1": ErrStart, "exit-70": ErrSandbox, "garbage": nil, "looks": ErrStart, "lying-probe": nil} {
		j, err := Check(context.Background(), Config{Dir: fake(t, how)})
		if how == "lying-probe" {
			if err != nil || j.Holds() {
				t.Errorf("%s: %v, %v", how, j, err)
			}
			for _, a := range j.Attempts {
				if a.Refused || a.Answer != "succeeded" {
					t.Errorf("%s: %+v", how, a)
				}
			}
			for _, space := range namespaces {
				if slices.Contains(j.Layers, space.layer) {
					t.Errorf("%s is believed", space.layer)
				}
			}
			continue
		}
		if err == nil || j.Holds() || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", how, j, err)
		}
	}
	if (&Jail{}).Holds() {
		t.Error("no attempt at all holds")
	}
}

func TestWorkersAreNobodyAndAlone(t *testing.T) {
	if !spacious() {
		t.Log("this machine grants no namespaces: TestT03_LayersThatAMachineDoesNotGrantAreNamed says the rest")
		return
	}
	text := logged(t, "looks", "end of look")
	if !strings.Contains(text, "\nuser 65534\n") || !strings.Contains(text, "\nprocess 1\n") {
		t.Error(text)
	}
}
