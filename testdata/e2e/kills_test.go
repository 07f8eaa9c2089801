//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pratique/testdata/e2e/usbdevice"
	"pratique/testdata/stick"
)

var (
	kills = flag.Int("kills", 50, "how many times a process of a station in the guest is killed at a random moment; the nightly run does 500")
	seed  = flag.Uint64("seed", 0, "what the moments are drawn from; 0 is another one in each run")
)

// killStations are side by side, each in a machine of its own: a guest has one processor.
const killStations = 2

// killed are the station's programs, and how many of ten kills each gets. After those of the first and the last the daemon has to
// start again, which takes as long as several sessions here.
var killed = []struct {
	name  string
	tenth int
}{{"pratiqued", 2}, {"usbreader", 2}, {"scanworker", 3}, {"yaraworker", 2}, {"usbgate", 1}}

// TestT23_KilledStations kills a process of a station in the guest at a random moment, again and again, from just before a stick
// is plugged in until its clearance is out, and sometimes the daemon again while it starts. At the end, every session has an
// end, every token its entry, and every entry its token. It counts as TestT23_KilledSessions does, but with a stick, its reader
// and the gate.
func TestT23_KilledStations(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	var mu sync.Mutex
	var all sums
	done := map[string]int{}
	t.Run("stations", func(t *testing.T) {
		for n := range killStations {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				count := (*kills + killStations - 1 - n) / killStations
				ctx, cancel := context.WithTimeoutCause(t.Context(), caseTime+time.Duration(count)*20*time.Second, fmt.Errorf("the kills take too long"))
				defer cancel()
				k := newKiller(ctx, t, rand.New(rand.NewPCG(*seed, uint64(n))))
				defer k.Close()
				for i := range count {
					if err := k.round(ctx); err != nil {
						t.Fatalf("kill %d of seed %d: %v\n%s\n%s", i, *seed, err, k.journal(), k.Console())
					}
				}
				sum := k.account(ctx, t)
				mu.Lock()
				defer mu.Unlock()
				all.sessions, all.tokens = all.sessions+sum.sessions, all.tokens+sum.tokens
				for name, n := range k.done {
					done[name] += n
				}
			})
		}
	})
	var words []string
	for _, p := range killed {
		words = append(words, fmt.Sprintf("%d of %s", done[p.name], p.name))
	}
	t.Logf("kills: %s; %d sessions, each with an end, %d tokens, each with its entry (seed %d)", strings.Join(words, ", "), all.sessions, all.tokens, *seed)
	if all.sessions < 2*killStations || all.tokens < killStations {
		t.Error("nothing was killed in the midst of anything")
	}
}

// killer is a station, and who kills its processes.
type killer struct {
	*Rig
	random *rand.Rand
	long   time.Duration  // from the plug to the clearance, and some more
	start  time.Duration  // of the daemon
	done   map[string]int // kills, by program
}

// tiny is a stick that is screened in a moment: a volume of 2 MiB with a few files.
func tiny(r *Rig) (*usbdevice.Device, error) {
	path := filepath.Join(r.dir, "tiny.img")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(2 << 20); err != nil {
		return nil, err
	}
	files := []stick.File{{Path: "REPORT.PDF", Data: stick.PDF("Synthetic report: no finding.")}, {Path: "Pictures/Ultrasound.png", Data: stick.PNG(320, 240, 1)},
		{Path: "Notes.txt", Data: []byte("Test data.\n")}}
	if _, err := stick.WriteFAT(f, stick.FAT{Bits: 12, Bytes: 2 << 20, ClusterBytes: 2048, Label: "TEST"}, files); err != nil {
		return nil, err
	}
	if err := r.Watch(path); err != nil {
		return nil, err
	}
	blocks, content, err := r.Content(path)
	if err != nil {
		return nil, err
	}
	d := usbdevice.Stick(blocks, content)
	slow(d)
	return d, nil
}

// newKiller starts a station. One session without a kill says how long one takes here, and leaves a token.
func newKiller(ctx context.Context, t *testing.T, random *rand.Rand) *killer {
	t.Helper()
	m, err := setup.Restore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{Rig: &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}, random: random, done: map[string]int{}}
	err = func() error {
		d, err := tiny(k.Rig)
		if err != nil {
			return err
		}
		if err := k.steps(ctx, []Step{StartStation()}); err != nil {
			return err
		}
		begin := time.Now()
		p, err := k.Plug(ctx, Thing{Model: d})
		if err != nil {
			return err
		}
		k.Plugged = []*Plugged{p}
		if err := k.steps(ctx, []Step{Verdict("1-1", "cleared")}); err != nil {
			return err
		}
		k.long = time.Since(begin) * 5 / 4
		// From here on a person insists, so that a kill can hit the signing.
		begin = time.Now()
		err = k.steps(ctx, []Step{Pull(0), Appear(0), InState("1-1", "idle"), StartPerson("1-1"), KillDaemon("pratiqued"), StartAgain()})
		k.start = time.Since(begin)
		return err
	}()
	if err != nil {
		m.Close()
		t.Fatalf("%v\n%s", err, m.Console())
	}
	return k
}

// round plugs the stick in, kills something at a random moment, and pulls it out.
func (k *killer) round(ctx context.Context) error {
	if err := k.steps(ctx, []Step{PlugAgain()}); err != nil {
		return err
	}
	k.Station.heard["1-1"] = k.Station.watch.Mark() // whatever was said of the sessions before
	what, err := k.kill(ctx)
	if err != nil {
		return err
	}
	var then []Step
	restart := what == "pratiqued" || what == "usbgate" // which the daemon does not outlive
	switch {
	case !restart && k.random.IntN(2) == 0: // what becomes of the session by itself
		then = append(then, InState("1-1", decided...), Pull(0), InState("1-1", "idle"))
	case restart && k.random.IntN(4) == 0: // the stick is there when the station starts
		then = append(then, StartAgain(), Pull(0))
	default: // and the next comes while this session is being closed
		then = append(then, Pull(0))
		if restart {
			then = append(then, StartAgain())
		}
	}
	return k.steps(ctx, append(then, Appear(0)))
}

// upTo is a random time.
func (k *killer) upTo(most time.Duration) time.Duration {
	return time.Duration(k.random.Int64N(int64(most)))
}

// kill kills a process of one of the programs: a moment after the plug, or one of those that a session starts a moment after that.
// One that has ended by then leaves the turn to the daemon.
func (k *killer) kill(ctx context.Context) (what string, err error) {
	n := k.random.IntN(10)
	for _, p := range killed {
		if n >= 0 && n < p.tenth {
			what = p.name
		}
		n -= p.tenth
	}
	moment := k.upTo(k.long)
	if what != "pratiqued" && what != "usbgate" {
		moment /= 3 // they end before the session does
		for end := time.Now().Add(k.long); time.Now().Before(end); {
			if pids, err := k.Guest.Processes(ctx, what); err != nil {
				return "", err
			} else if len(pids) > 0 {
				break
			}
			if err := sleep(ctx, 10*time.Millisecond); err != nil {
				return "", err
			}
		}
	}
	if err := sleep(ctx, moment); err != nil {
		return "", err
	}
	pids, err := k.Guest.Processes(ctx, what)
	if err != nil {
		return "", err
	}
	if what == "pratiqued" { // a process that it has just started has its name, too
		pids = []int{k.Station.daemon.PID}
	}
	if len(pids) == 0 || k.Guest.Kill(ctx, pids[k.random.IntN(len(pids))], 9) != nil {
		what = "pratiqued"
		if err := k.Guest.Kill(ctx, k.Station.daemon.PID, 9); err != nil {
			return "", err
		}
	}
	k.done[what]++
	if what != "pratiqued" || k.random.IntN(5) > 0 {
		return what, nil
	}
	// Once more, while it starts.
	if err := k.untilEnded(ctx); err != nil {
		return "", err
	}
	if err := k.runDaemon(ctx); err != nil {
		return "", err
	}
	if err := sleep(ctx, k.upTo(k.start)); err != nil {
		return "", err
	}
	k.done[what]++
	return what, k.Guest.Kill(ctx, k.Station.daemon.PID, 9)
}

// account ends the station, and holds what all the kills have left.
func (k *killer) account(ctx context.Context, t *testing.T) sums {
	t.Helper()
	if err := k.steps(ctx, []Step{Accounted()}); err != nil {
		t.Fatalf("seed %d: %v", *seed, err)
	}
	seen, err := k.seen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := k.judge(wasRead, seen); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
	return k.Station.sums
}
