//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

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
		p, err := r.Guest.Start(ctx, auditor, Programs+"/pest", stationSocket, how)
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
