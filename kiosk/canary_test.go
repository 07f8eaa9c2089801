package kiosk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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

// child waits for a process of this program that this one has started.
func child(t *testing.T, name string) (pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, list := range lists {
			text, _ := os.ReadFile(list) // of a thread that has ended since: nothing
			for _, word := range strings.Fields(string(text)) {
				if comm, err := os.ReadFile("/proc/" + word + "/comm"); err == nil && strings.TrimSpace(string(comm)) == name {
					pid, _ := strconv.Atoi(word)
					return pid
				}
			}
		}
	}
	t.Error("there is no " + name)
	return 0
}

// TestAScreeningThatIsStoppedInItsCanaryEndsAtOnce: a canary may take ten seconds and more, which nobody waits for who has had
// enough. The scanner is held still, so that it cannot end by itself.
func TestAScreeningThatIsStoppedInItsCanaryEndsAtOnce(t *testing.T) {
	s := openState(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stopped time.Time
	go func() {
		if pid := child(t, "scanworker"); pid > 0 {
			syscall.Kill(pid, syscall.SIGSTOP)
		}
		stopped = time.Now()
		stop()
	}()
	res, err := s.Screen(ctx, Screening{Target: filepath.Join(built.sticks, "clean.img"), Class: "general", Pack: pack(t), Workers: built.bin, TryCanary: true})
	if took := time.Since(stopped); err != nil || took > trial.Canaries().Limit()/2 {
		t.Fatalf("it took %v: %v", took, err)
	}
	if res.Verdict != CouldNotCheck || res.Clearance != nil || !slices.ContainsFunc(res.Reasons, func(r Reason) bool { return r.Code == Interrupted }) {
		t.Errorf("%+v", res.Decision)
	}
}
