//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/testdata/e2e/wire"
)

var kills = flag.Int("kills", 10, "how many times a process of the station in the guest is killed at a random moment; the nightly run does 500")

// There before the station watched: nobody knows what it did until then. Plugged in again, it is as any other.
var presentCases = []Case{
	{Name: "station: a stick that is there at the start", Before: []Step{PlugSample("clean"), Appear(1), StartStation()},
		Steps: []Step{RefusedWith("2-1", "present-at-start"), NoClearance("refused"), Accounted()}, Expect: unread},
	{Name: "station: the reader is killed", Before: []Step{StartStation()}, Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), KillDaemon("usbreader"), NotCleared("1-1", "reader-died"), NoClearance(), Accounted()}, Expect: wasRead},
	{Name: "station: the scanner is killed", Full: true, Before: []Step{StartStation()}, Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), KillDaemon("scanworker"), NotCleared("1-1", ""), NoClearance(), Accounted()}, Expect: wasRead},
	{Name: "station: the daemon is killed, and starts again", Before: []Step{StartStation()}, Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), KillDaemon("pratiqued"), StartAgain(), RefusedWith("1-1", "present-at-start"), NoClearance("aborted"),
			Pull(0), InState("1-1", "idle"), PlugAgain(), Verdict("1-1", "cleared"), Accounted()}, Expect: wasRead},
	{Name: "station: the gate is killed, and both start again", Before: []Step{StartStation()}, Things: sampleStick("clean", nil),
		Steps: []Step{InState("1-1", "waiting"), KillDaemon("usbgate"), StartAgain(), RefusedWith("1-1", "present-at-start"), NoClearance("refused"), Accounted()}, Expect: wasRead},
	{Name: "station: killed while a port is switched off", Full: true, Before: []Step{StartStation()}, Things: qemu(Args{"driver": "usb-kbd"}),
		Steps: []Step{RefusedWith("1-1", "input-device"), Appear(0), KillDaemon("pratiqued"), StartAgain(), Appear(1), RefusedWith("1-1", "input-device"), Accounted()}, Expect: unread},
}

func TestT23_AStationThatIsKilledIsSafeAgain(t *testing.T) { runCases(t, presentCases) }

// TestT23_KilledStations kills a process of the station in the guest at a random moment, from just before a stick is plugged in
// until its clearance is out. It counts as TestT23_KilledSessions does, but with a stick, its reader and the gate.
func TestT23_KilledStations(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), caseTime+time.Duration(*kills)*30*time.Second, fmt.Errorf("the kills take too long"))
	defer cancel()
	m, err := setup.Restore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}
	things, err := sampleStick("clean", slow)(r)
	if err != nil {
		t.Fatal(err)
	}
	step := func(s Step) {
		t.Helper()
		if err := s.Do(ctx, r); err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, m.Console())
		}
	}
	step(StartStation())
	// One session without a kill says how long one takes here, and leaves a token.
	begin := time.Now()
	p, err := r.Plug(ctx, things[0])
	if err != nil {
		t.Fatal(err)
	}
	r.Plugged = []*Plugged{p}
	step(Verdict("1-1", "cleared"))
	long := time.Since(begin) * 5 / 4
	step(Pull(0))
	step(InState("1-1", "idle"))
	programs := []string{"pratiqued", "usbreader", "scanworker", "yaraworker", "usbgate"}
	random := rand.New(rand.NewPCG(5, 23))
	killed := map[string]int{}
	for i := range *kills {
		step(PlugAgain())
		// A person insists meanwhile, so that a kill can hit the signing.
		asks, err := r.Guest.Start(ctx, staffUser, Programs+"/pratique", "issue", "--for", "general", "--state", stateDir, "1-1")
		if err != nil {
			t.Fatal(err)
		}
		if err := sleep(ctx, time.Duration(random.Int64N(int64(long)))); err != nil {
			t.Fatal(err)
		}
		what := programs[i%len(programs)]
		pids, err := r.Guest.Processes(ctx, what)
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == 0 { // it does not run at the moment
			what = "pratiqued"
			pids = []int{r.Station.daemon.PID}
		}
		if err := r.Guest.Kill(ctx, pids[random.IntN(len(pids))], 9); err == nil { // else it has just ended
			killed[what]++
		}
		if what == "pratiqued" || what == "usbgate" {
			step(StartAgain())
		}
		if _, err := asks.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		step(Pull(0))
		step(Appear(0))
		step(InState("1-1", "idle"))
	}
	step(Accounted())
	sum, err := r.account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, name := range programs {
		words = append(words, fmt.Sprintf("%d of %s", killed[name], name))
	}
	t.Logf("kills: %s; %d sessions, each with an end, %d tokens, each with its entry", strings.Join(words, ", "), sum.sessions, sum.tokens)
	if sum.sessions < 2 {
		t.Error("nothing was killed in the midst of anything")
	}
	if wrong := r.judge(wasRead, must(t)(r.seen(ctx))); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
}

func must(t *testing.T) func(Seen, error) Seen {
	return func(s Seen, err error) Seen {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// Pest starts a client that misbehaves.
func Pest(how string) Step {
	return Step{"a client: " + how, func(ctx context.Context, r *Rig) error {
		p, err := r.Guest.Start(ctx, auditor, Programs+"/pest", "/run/pratique/station.sock", how)
		r.pests = append(r.pests, p)
		return err
	}}
}

// Pests ends them, and says how often they have tried.
func Pests() Step {
	return Step{"the clients end", func(ctx context.Context, r *Rig) error {
		for _, p := range r.pests {
			if err := r.Guest.Kill(ctx, p.PID, 15); err != nil {
				return err
			}
			end, err := p.Wait(ctx)
			if err != nil || end.Code != 0 {
				return fmt.Errorf("%v, %+v", err, end)
			}
			r.Note("%s", strings.TrimSpace(end.Stdout))
		}
		return nil
	}}
}

var clientCases = []Case{
	{Name: "station: clients that say nothing, garbage, and too much", Before: []Step{Pest("silent"), Pest("garbage"), Pest("requests")}, Things: sampleStick("clean", slow),
		Steps: []Step{Verdict("1-1", "cleared"), Pests()}, Expect: wasRead},
}

func TestT24_ClientsThatMisbehaveHoldNothingUp(t *testing.T) { runStation(t, clientCases) }

// TestThroughputOfTheReader reads one stick of QEMU's in one guest, through the kernel's block device and through usbreader and its
// channel. The goal is half of the kernel's rate, and 64 MB of memory. The rate is held for a stick of 35 MB/s, as USB 2 has them:
// without a limit QEMU puts what the kernel reads into the guest's memory while the guest does nothing, which no stick does, and
// the emulated processor is what is measured.
func TestThroughputOfTheReader(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), caseTime, fmt.Errorf("it takes longer than %v", caseTime))
	defer cancel()
	for _, limit := range []int64{35e6, 0} {
		kernel, reader, memory := throughput(ctx, t, limit)
		name := "a stick without a limit"
		if limit > 0 {
			name = fmt.Sprintf("a stick of %d MB/s", limit/1e6)
		}
		t.Logf("%s: usbreader %.1f MB/s, the kernel's block device %.1f MB/s: %.2f; usbreader had at most %.1f MB", name, reader, kernel, reader/kernel, memory)
		if limit > 0 && reader/kernel < 0.5 || memory > 64 {
			t.Error("less than half of the kernel's rate, or more than 64 MB")
		}
	}
}

// throughput returns the rates in MB/s, and the most memory in MB.
func throughput(ctx context.Context, t *testing.T, limit int64) (kernel, reader, memory float64) {
	t.Helper()
	const bytes = 64 << 20
	m, err := setup.Restore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}
	path := filepath.Join(m.dir, "large.img")
	content := make([]byte, bytes)
	rand.NewChaCha8([32]byte{1}).Read(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plug(ctx, Thing{Drives: []Drive{{File: path, Rate: limit}}}); err != nil {
		t.Fatal(err)
	}
	if err := DisksAppear(1).Do(ctx, r); err != nil {
		t.Fatal(err)
	}
	speed := func(args ...string) (rate, kib float64) {
		t.Helper()
		end, err := m.Guest.Run(ctx, nil, append([]string{Programs + "/usbspeed", "-bytes", fmt.Sprint(bytes)}, args...)...)
		if n, _ := fmt.Sscan(end.Stdout, &rate, &kib); err != nil || end.Code != 0 || n == 0 {
			t.Fatalf("%v, %+v\n%s", err, end, m.Console())
		}
		return rate, kib
	}
	kernel, _ = speed("/dev/sda")
	if err := m.Guest.WriteFile(ctx, "/sys/bus/usb/drivers/usb-storage/unbind", []byte("2-1:1.0"), 0o200, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.until(ctx, "end of the disk", func(b *wire.Bus) bool { return len(b.Disks) == 0 }); err != nil {
		t.Fatal(err)
	}
	reader, kib := speed("-dir", Programs, "2-1")
	return kernel, reader, kib / 1024
}
