//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	"pratique/testdata/e2e/usbdevice"
)

// fault makes a stick do this at every read from its n-th on.
func fault(f usbdevice.Fault, n int) func(*usbdevice.Device) {
	return func(d *usbdevice.Device) {
		d.Storage.Fault = func(c usbdevice.Command) usbdevice.Fault {
			if c.N >= n {
				return f
			}
			return usbdevice.None
		}
	}
}

// capacity makes a stick say that it has this size.
func capacity(last uint64, bytes uint32) func(*usbdevice.Device) {
	return func(d *usbdevice.Device) {
		d.Storage.LUNs[0].Capacity = func(int) (uint64, uint32) { return last, bytes }
	}
}

// changes shows another content from the n-th read of its life on: clean until it was looked at, infected when it is used.
func changes(n int) func(r *Rig) ([]Thing, error) {
	return func(r *Rig) ([]Thing, error) {
		things, err := sampleStick("clean", nil)(r)
		if err != nil {
			return nil, err
		}
		other, err := r.Image("infected")
		if err != nil {
			return nil, err
		}
		blocks, evil, err := r.Content(other)
		if err != nil {
			return nil, err
		}
		unit := &things[0].Model.Storage.LUNs[0]
		clean := unit.Content
		unit.Content = func(read int, p []byte, off int64) {
			if read >= n && uint64(off)/512 < blocks {
				evil(read, p, off)
				return
			}
			clean(read, p, off)
		}
		return things, nil
	}
}

// read is what a stick may be at the end of a session: claimed by the reader, never by a driver of the kernel's.
var (
	read     = Expect{Devices: 1, Drivers: []string{"usbfs"}, Commands: true}
	readGone = Expect{Drivers: []string{"usbfs"}, Commands: true}
)

var stationCases = []Case{
	{Name: "station: clean stick", Things: drives(nil, "clean"), Steps: []Step{Verdict("2-1", "cleared"), Logged("attached", "decided", "issued")}, Expect: read},
	{Name: "station: infected stick", Things: drives(nil, "infected"), Steps: []Step{Verdict("2-1", "not cleared"), NoClearance("decided")}, Expect: read},
	{Name: "station: hidden partition", Full: true, Things: drives(nil, "hidden"), Steps: []Step{Verdict("2-1", "not cleared"), NoClearance("decided")}, Expect: read},
	{Name: "station: write-protected stick", Full: true, Things: drives(func(t *Thing) { t.Drives[0].ReadOnly = true }, "clean"), Steps: []Step{Verdict("2-1", "cleared")}, Expect: read},
	{Name: "station: a disk and a CD in one device", Things: twoUnits, Steps: []Step{Verdict("2-1", "not cleared"), NoClearance()}, Expect: read},
	{Name: "station: a hub with three sticks", Things: hub,
		Steps:  []Step{Verdict("1-1.1", "cleared"), Verdict("1-1.2", "not cleared"), Verdict("1-1.3", "not cleared")},
		Expect: Expect{Devices: 4, Drivers: []string{"hub", "usbfs"}}},
	{Name: "station: a block that cannot be read", Things: drives(func(t *Thing) { t.Drives[0].BadAt = 4096 }, "clean"),
		Steps: []Step{Verdict("2-1", "could not check"), NoClearance()}, Expect: read},
	{Name: "station: software stick", Things: sampleStick("clean", nil), Steps: []Step{Verdict("1-1", "cleared")}, Expect: read},
	{Name: "station: software stick of 35 MB/s and 1 ms", Things: sampleStick("clean", slow), Steps: []Step{Verdict("1-1", "cleared")}, Expect: read},
	{Name: "station: BOT beside UAS", Things: sampleStick("clean", uasBeside), Steps: []Step{Verdict("1-1", "cleared")}, Expect: read},
	{Name: "station: UAS alone", Full: true, Things: drives(uasAlone, "clean"), Steps: []Step{RefusedWith("2-1", "uas-only"), NoClearance("refused")}},
	{Name: "station: a stick with a keyboard in it", Things: sampleStick("clean", func(d *usbdevice.Device) { usbdevice.WithKeyboard(d) }),
		Steps: []Step{RefusedWith("1-1", "input-device"), NoClearance("refused")}},
	{Name: "station: a network adapter", Full: true, Things: qemu(Args{"driver": "usb-net"}), Steps: []Step{RefusedWith("1-1", "network-device"), NoClearance("refused")}},
	{Name: "station: interface numbers twice", Things: model(duplicated), Steps: []Step{RefusedWith("1-1", "malformed-device"), NoClearance("refused")}},
	{Name: "station: pulled while it is read", Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), pull(), InState("1-1", "removed", "idle"), NoClearance("removed")}, Expect: readGone},
	{Name: "station: comes back as a keyboard while it is read", Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), ComeBackAs(0, usbdevice.KeyboardAlone), InState("1-1", "refused"), NoClearance("refused")}, Expect: readGone},
	{Name: "station: other content from the 20th read on", Things: changes(20), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: wrong tags", Things: sampleStick("clean", fault(usbdevice.WrongTag, 5)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: wrong signatures", Full: true, Things: sampleStick("clean", fault(usbdevice.WrongSignature, 5)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: phase errors", Full: true, Things: sampleStick("clean", fault(usbdevice.PhaseError, 5)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: data that ends early", Full: true, Things: sampleStick("clean", fault(usbdevice.Short, 5)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: silent from the 5th read on", Things: sampleStick("clean", fault(usbdevice.Silent, 5)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: halted for ever", Full: true, Things: sampleStick("clean", fault(usbdevice.StallAlways, 5)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: claims more than it has", Full: true, Things: sampleStick("clean", wraps), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: no blocks", Full: true, Things: sampleStick("clean", capacity(0, 0)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: 2^64 blocks", Full: true, Things: sampleStick("clean", capacity(1<<64-1, 512)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: blocks of 3 bytes", Full: true, Things: sampleStick("clean", capacity(2047, 3)), Steps: []Step{notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: the reader is killed", Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), KillDaemon("usbreader"), notCleared("1-1"), NoClearance()}, Expect: read},
	{Name: "station: the daemon is killed, and starts again", Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), KillDaemon("pratiqued"), StartAgain(), RefusedWith("1-1", "present-at-start"), NoClearance("aborted")}, Expect: readGone},
}

func pull() Step { return Pull(0) }

// notCleared waits until the station is done with a medium, one way or the other, and has a person ask for it in vain.
func notCleared(port string) Step {
	return Step{"nothing for " + port, func(ctx context.Context, r *Rig) error {
		p, up, err := r.port(ctx, port, "done", func(p portState) bool {
			return p.State == "decided" || p.State == "waiting" || p.State == "fault" || p.State == "refused" || p.State == "removed"
		})
		if err != nil {
			return err
		}
		r.Note("%v, %.1f s after the kernel's uevent", p, up-r.lastUevent(up, "add"))
		end, err := r.Guest.Run(ctx, staffUser, Programs+"/pratique", "issue", "--for", "general", "--state", stateDir, port)
		if err == nil && end.Code == 0 {
			return fmt.Errorf("it was cleared: %s", end.Stdout)
		}
		return err
	}}
}

func TestT02_NothingThatIsPluggedGetsPastTheStation(t *testing.T) {
	for i := range stationCases {
		stationCases[i].Before = []Step{StartStation()}
	}
	runCases(t, stationCases)
}
