package kiosk

import (
	"fmt"
	"strings"
	"testing"
)

// machineTable is the machine, written down a second time: for each phase what each event leads to. What is left out
// changes nothing. "leaving>idle" is leaving with idle to follow; effects stand after the colon.
const machineTable = `
idle      plugged attached:open      barred refused:           unplugged idle:forget
attached  plugged leaving>attached:cancel  barred leaving>refused:cancel  unplugged leaving>idle:cancel  eject leaving>removed:cancel  opened scanning:scan  failed fault:
scanning  plugged leaving>attached:cancel  barred leaving>refused:cancel  unplugged leaving>idle:cancel  eject leaving>removed:cancel  clearable waiting:wait  hopeless decided:  failed fault:
installing  plugged leaving>attached:cancel  barred leaving>refused:cancel  unplugged leaving>idle:cancel  eject leaving>removed:cancel  tried leaving>removed:close  failed fault:
issuing   plugged leaving>attached:cancel  barred leaving>refused:cancel  unplugged leaving>idle:cancel  eject leaving>removed:cancel  signed issued:  declined waiting:wait  kept decided:  failed fault:
waiting   plugged leaving>attached:close   barred leaving>refused:close   unplugged leaving>idle:close   eject leaving>removed:close   asked issuing:issue  overruled issuing:issue  late decided:  brought installing:install
decided   plugged leaving>attached:close   barred leaving>refused:close   unplugged leaving>idle:close   eject leaving>removed:close   overruled issuing:issue  brought installing:install
issued    plugged leaving>attached:close   barred leaving>refused:close   unplugged leaving>idle:close   eject leaving>removed:close   brought installing:install
removed   plugged attached:open      barred refused:           unplugged idle:forget
refused   plugged attached:open      barred refused:           unplugged idle:forget
fault     plugged attached:open      barred refused:           unplugged idle:forget
leaving>idle      plugged leaving>attached:  barred leaving>refused:  unplugged leaving>idle:  opened leaving>idle:close      clearable leaving>idle:close      hopeless leaving>idle:close      signed leaving>idle:close      declined leaving>idle:close      kept leaving>idle:close      tried leaving>idle:close      failed idle:forget    closed idle:forget
leaving>removed   plugged leaving>attached:  barred leaving>refused:  unplugged leaving>idle:  opened leaving>removed:close   clearable leaving>removed:close   hopeless leaving>removed:close   signed leaving>removed:close   declined leaving>removed:close      kept leaving>removed:close   tried leaving>removed:close   failed removed:       closed removed:
leaving>refused   plugged leaving>attached:  barred leaving>refused:  unplugged leaving>idle:  opened leaving>refused:close   clearable leaving>refused:close   hopeless leaving>refused:close   signed leaving>refused:close   declined leaving>refused:close      kept leaving>refused:close   tried leaving>refused:close   failed refused:       closed refused:
leaving>attached  plugged leaving>attached:  barred leaving>refused:  unplugged leaving>idle:  opened leaving>attached:close  clearable leaving>attached:close  hopeless leaving>attached:close  signed leaving>attached:close  declined leaving>attached:close      kept leaving>attached:close  tried leaving>attached:close  failed attached:open  closed attached:open
`

var effectWords = map[effect]string{doOpen: "open", doScan: "scan", doIssue: "issue", doInstall: "install", doClose: "close", doCancel: "cancel", doWait: "wait", doForget: "forget"}

func (at position) String() string {
	if at.phase == leaving {
		return "leaving>" + at.then.String()
	}
	return at.phase.String()
}

// positions are all that there are.
func positions() []position {
	var out []position
	for p := range phaseEnd {
		if p != leaving {
			out = append(out, position{phase: p})
		}
	}
	return append(out, position{leaving, idle}, position{leaving, removed}, position{leaving, refused}, position{leaving, attached})
}

func TestMachine(t *testing.T) {
	want := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(machineTable)) {
		words := strings.Fields(line)
		for i := 1; i < len(words); i += 2 {
			want[words[0]+" "+words[i]] = words[i+1]
		}
	}
	checked := 0
	for _, at := range positions() {
		for e := range eventEnd {
			to, effects := step(at, e)
			var did []string
			for _, f := range effects {
				did = append(did, effectWords[f])
			}
			got := fmt.Sprintf("%v:%s", to, strings.Join(did, ","))
			key := fmt.Sprintf("%v %v", at, e)
			if w, ok := want[key]; ok && got != w || !ok && got != at.String()+":" {
				t.Errorf("%s leads to %s, want %q", key, got, w)
			}
			delete(want, key)
			checked++
		}
	}
	for key := range want {
		t.Errorf("the table has %q, the machine has not", key)
	}
	t.Logf("%d pairs of position and event", checked)
}

// However events fall, a job starts only when none runs, a session is closed before the next one opens, and a clearance is
// signed only for a medium that was scanned and never left.
func TestT18_NoOrderOfEventsIssuesForAMediumThatWasNotScanned(t *testing.T) {
	type world struct {
		at            position
		job           effect // that runs, if running
		running       bool
		session       bool
		scanned, gone bool
	}
	seen := map[world]bool{}
	var explore func(w world)
	explore = func(w world) {
		if seen[w] {
			return
		}
		seen[w] = true
		for e := range eventEnd {
			if e >= opened && !(w.running && ends[w.job][e]) {
				continue
			}
			n := w
			if e >= opened {
				n.running = false
				switch e {
				case opened:
					n.session, n.scanned, n.gone = true, false, n.at.phase == leaving
				case clearable, hopeless:
					n.scanned = true
				case failed, closed:
					n.session = false
				}
			}
			if e == plugged || e == unplugged || e == barred {
				n.gone = true
			}
			to, effects := step(n.at, e)
			n.at = to
			for _, f := range effects {
				switch f {
				case doOpen, doScan, doIssue, doInstall, doClose:
					if n.running {
						t.Fatalf("%+v on %v starts a second job", w, e)
					}
					n.running, n.job = true, f
				case doCancel:
					if !n.running {
						t.Fatalf("%+v on %v cancels nothing", w, e)
					}
				}
				switch {
				case f == doOpen && n.session:
					t.Fatalf("%+v on %v opens beside a session", w, e)
				case f == doOpen:
					n.gone = false
				case f == doIssue && (!n.session || !n.scanned || n.gone):
					t.Fatalf("%+v on %v issues", w, e)
				case f == doInstall && (!n.session || !n.scanned || n.gone):
					t.Fatalf("%+v on %v reads a pack", w, e)
				case f == doClose && !n.session:
					t.Fatalf("%+v on %v closes nothing", w, e)
				}
			}
			if n.running != n.at.hasJob() {
				t.Fatalf("%+v on %v: in %v a job runs: %v", w, e, n.at, n.running)
			}
			explore(n)
		}
	}
	explore(world{})
	t.Logf("%d situations", len(seen))
}

// ends is the driver's promise to the machine: how each job can end.
var ends = map[effect]map[event]bool{
	doOpen:    {opened: true, failed: true},
	doScan:    {clearable: true, hopeless: true, failed: true},
	doIssue:   {signed: true, declined: true, kept: true, failed: true},
	doInstall: {tried: true, failed: true},
	doClose:   {closed: true},
}
