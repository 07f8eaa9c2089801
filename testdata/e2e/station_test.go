//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/testdata/e2e/usbdevice"
	"pratique/testdata/e2e/wire"
	"pratique/testdata/stick"
)

// runStation runs cases with a station that was started before anything was plugged in, and holds after each what it leaves.
func runStation(t *testing.T, cases []Case) {
	for i := range cases {
		cases[i].Before = append([]Step{StartStation()}, cases[i].Before...)
		cases[i].Steps = append(cases[i].Steps, Accounted())
	}
	runCases(t, cases)
}

// What a medium may be at the end: it may have been read, and no driver ever had it. unread is what a device may be that was
// refused: it was asked for its descriptors and for nothing else.
var (
	wasRead = Expect{Devices: Any, Commands: true}
	unread  = Expect{Devices: Any}
)

// image is a stick that shows an image file that is made for it.
func image(name string, write func(path string) error) func(*Rig) ([]Thing, error) {
	return func(r *Rig) ([]Thing, error) {
		path := filepath.Join(r.dir, name+".img")
		if err := write(path); err != nil {
			return nil, err
		}
		return []Thing{{Drives: []Drive{{File: path}}}}, r.Watch(path)
	}
}

// plainExFAT is a volume without a partition table.
func plainExFAT(path string) error { return writeExFAT(path, 32<<20, stick.CleanFiles()) }

func writeExFAT(path string, size int64, files []stick.File) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	_, err = stick.WriteExFAT(f, stick.ExFAT{Bytes: size, Label: "TEST"}, files)
	return err
}

// plainNTFS is a volume as Linux makes it, with a few files.
func plainNTFS(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(path, 32<<20); err != nil {
		return err
	}
	if err := output(exec.Command("mkntfs", "-F", "-Q", "-q", path), "", nil); err != nil {
		return err
	}
	for i, f := range stick.CleanFiles() {
		if f.Dir || strings.Contains(f.Path, "/") {
			continue
		}
		part := filepath.Join(filepath.Dir(path), fmt.Sprintf("part-%d", i))
		if err := os.WriteFile(part, f.Data, 0o600); err != nil {
			return err
		}
		if err := output(exec.Command("ntfscp", "-q", "-f", path, part, f.Path), "", nil); err != nil {
			return err
		}
	}
	return nil
}

var honestCases = []Case{
	{Name: "station: FAT32 stick", Things: drives(nil, "clean"), Steps: []Step{Shown("2-1"), Verdict("2-1", "cleared"), Logged("attached", "decided", "issued")}, Expect: wasRead},
	{Name: "station: exFAT stick", Things: image("exfat", plainExFAT), Steps: []Step{Verdict("2-1", "cleared")}, Expect: wasRead},
	{Name: "station: NTFS stick", Things: image("ntfs", plainNTFS), Steps: []Step{Verdict("2-1", "cleared")}, Expect: wasRead},
	{Name: "station: infected exFAT stick", Things: drives(nil, "infected"), Steps: []Step{Verdict("2-1", "not cleared"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: hidden partition", Full: true, Things: drives(nil, "hidden"), Steps: []Step{Verdict("2-1", "not cleared"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: BitLocker", Full: true, Things: drives(nil, "locked"), Steps: []Step{Verdict("2-1", "could not check"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: write-protected stick", Full: true, Things: drives(func(t *Thing) { t.Drives[0].ReadOnly = true }, "clean"),
		Steps: []Step{Verdict("2-1", "cleared")}, Expect: wasRead},
	{Name: "station: slow stick of QEMU's", Full: true, Things: drives(func(t *Thing) { t.Drives[0].Rate = 8 << 20 }, "clean"), Steps: []Step{Verdict("2-1", "cleared")}, Expect: wasRead},
	{Name: "station: a hub with three sticks", Things: hub,
		Steps: []Step{Verdict("1-1.1", "cleared"), Verdict("1-1.2", "not cleared"), Verdict("1-1.3", "not cleared")}, Expect: Expect{Devices: Any, Drivers: []string{"hub"}}},
	{Name: "station: two sticks one after the other", Full: true, Things: drives(nil, "clean", "infected"),
		Steps: []Step{Verdict("2-1", "cleared"), Verdict("2-2", "not cleared")}, Expect: wasRead},
	{Name: "station: a block that cannot be read", Things: drives(func(t *Thing) { t.Drives[0].BadAt = 4096 }, "clean"),
		Steps: []Step{Verdict("2-1", "could not check"), NoClearance()}, Expect: wasRead},
	{Name: "station: software stick", Things: sampleStick("clean", nil), Steps: []Step{Verdict("1-1", "cleared")}, Expect: wasRead},
	{Name: "station: software stick of 35 MB/s and 1 ms", Things: sampleStick("clean", slow),
		Steps: []Step{Shown("1-1"), InState("1-1", "scanning"), nodeIsRoots("1-1"), Verdict("1-1", "cleared")}, Expect: wasRead},
	{Name: "station: BOT beside UAS", Things: sampleStick("clean", uasBeside), Steps: []Step{Verdict("1-1", "cleared")}, Expect: wasRead},
	{Name: "station: pulled and plugged in again", Things: sampleStick("clean", nil),
		Steps: []Step{Verdict("1-1", "cleared"), Pull(0), InState("1-1", "idle"), PlugAgain(), Verdict("1-1", "cleared"), Logged("removed")}, Expect: wasRead},
	{Name: "station: doctor", Steps: []Step{doctor()}},
}

func TestTheStationScreensSticks(t *testing.T) { runStation(t, honestCases) }

// nodeIsRoots holds that nobody but root may open the device that is being read.
func nodeIsRoots(port string) Step {
	return Step{"the node of " + port, func(ctx context.Context, r *Rig) error {
		bus, err := r.Guest.Bus(ctx)
		if err != nil {
			return err
		}
		for _, d := range bus.Devices {
			if d.Path == port && d.Authorized && d.Owner == 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", bus.Devices)
	}}
}

// doctor holds that everything about USB that a station must have is there, as an administrator sees it.
func doctor() Step {
	return Step{"doctor", func(ctx context.Context, r *Rig) error {
		end, err := r.Guest.Run(ctx, stationUser, Programs+"/pratique", "doctor", "--json", "--state", stateDir, "--config", configFile)
		if err != nil {
			return err
		}
		var said struct {
			CanScreen bool `json:"can_screen"`
			Checks    []struct{ Name, State, Text string }
		}
		if err := json.Unmarshal([]byte(end.Stdout), &said); err != nil {
			return fmt.Errorf("%w: %s%s", err, end.Stdout, end.Stderr)
		}
		holds := 0
		for _, c := range said.Checks {
			switch {
			case c.State == "failed":
				return fmt.Errorf("%s: %s", c.Name, c.Text)
			case strings.HasPrefix(c.Name, "usb-") && c.State == "ok":
				holds++
			}
		}
		r.Note("%d checks, %d of USB in force", len(said.Checks), holds)
		// What does not hold here is of this guest: it boots as any machine does, and one of its sockets is two halves of two.
		if !said.CanScreen || holds != 6 {
			return fmt.Errorf("%s", end.Stdout)
		}
		return nil
	}}
}

var refusedCases = []Case{
	{Name: "station: UAS alone", Full: true, Things: drives(uasAlone, "clean"), Steps: []Step{RefusedWith("2-1", "uas-only"), NoClearance("refused")}, Expect: unread},
	{Name: "station: a keyboard", Full: true, Things: qemu(Args{"driver": "usb-kbd"}), Steps: []Step{RefusedWith("1-1", "input-device"), NoClearance("refused")}, Expect: unread},
	{Name: "station: a stick with a keyboard in it", Things: sampleStick("clean", func(d *usbdevice.Device) { usbdevice.WithKeyboard(d) }),
		Steps: []Step{RefusedWith("1-1", "input-device"), NoClearance("refused"), Settle()}, Expect: unread},
	{Name: "station: a stick with a network adapter in it", Full: true, Things: sampleStick("clean", withNetwork),
		Steps: []Step{RefusedWith("1-1", "network-device"), NoClearance("refused"), Settle()}, Expect: unread},
	{Name: "station: a network adapter", Full: true, Things: qemu(Args{"driver": "usb-net"}), Steps: []Step{RefusedWith("1-1", "network-device"), NoClearance("refused"), Settle()}, Expect: unread},
	{Name: "station: a software network adapter", Full: true, Things: model(usbdevice.NetworkAdapter), Steps: []Step{RefusedWith("1-1", "network-device"), NoClearance("refused"), Settle()}, Expect: unread},
	{Name: "station: a device of a vendor's class", Full: true, Things: model(vendorClass), Steps: []Step{RefusedWith("1-1", "vendor-device"), NoClearance("refused")}, Expect: unread},
	{Name: "station: interface numbers twice", Things: model(duplicated), Steps: []Step{RefusedWith("1-1", "malformed-device"), NoClearance("refused")}, Expect: unread},
	{Name: "station: a descriptor that ends early", Full: true, Things: model(malformed(truncated)), Steps: []Step{RefusedWith("1-1", "malformed-device"), NoClearance("refused")}, Expect: unread},
	{Name: "station: a descriptor that claims 4,000 bytes", Full: true, Things: model(malformed(endless)), Steps: []Step{RefusedWith("1-1", "malformed-device"), NoClearance("refused")}, Expect: unread},
	{Name: "station: a descriptor of length zero", Full: true, Things: model(malformed(zeroLength)), Steps: []Step{RefusedWith("1-1", "malformed-device"), NoClearance("refused")}, Expect: unread},
	{Name: "station: refused, and again when its port is switched on", Full: true, Things: qemu(Args{"driver": "usb-kbd"}),
		Steps: []Step{RefusedWith("1-1", "input-device"), Appear(0), Appear(1), InState("1-1", "refused"), Appear(0), NoClearance("refused")}, Expect: unread},
	{Name: "station: a stick beside a keyboard", Full: true,
		Things: func(r *Rig) ([]Thing, error) {
			things, err := drives(nil, "clean")(r)
			return append([]Thing{{QEMU: Args{"driver": "usb-kbd"}, Port: "2"}}, things...), err
		},
		Steps: []Step{RefusedWith("1-2", "input-device"), Verdict("2-1", "cleared")}, Expect: wasRead},
	{Name: "station: a keyboard in the other half of a stick's socket", Full: true, Things: drives(func(t *Thing) { t.Port = "6" }, "clean"),
		Steps: []Step{InState("2-6", "scanning", "waiting"), plug("a keyboard", Thing{QEMU: Args{"driver": "usb-kbd"}, Port: "5"}),
			RefusedWith("2-6", "two-in-one-socket"), RefusedWith("1-5", "two-in-one-socket"), NoClearance("refused"), Settle()}, Expect: wasRead},
	{Name: "station: 139 devices at once", Full: true, Things: crowd, Steps: []Step{Verdict("2-2", "cleared"), everyDevice(139), Settle()},
		Expect: Expect{Devices: Any, Drivers: []string{"hub"}, Commands: true}},
}

// withNetwork adds a network adapter to a stick.
func withNetwork(d *usbdevice.Device) {
	for _, i := range usbdevice.NetworkAdapter().Interfaces {
		i.Number++
		for e := range i.Endpoints {
			i.Endpoints[e].Address += 4 // the stick has those below
		}
		d.Interfaces = append(d.Interfaces, i)
	}
}

// plug plugs in something more.
func plug(what string, t Thing) Step {
	return Step{"plug in " + what, func(ctx context.Context, r *Rig) error {
		p, err := r.Plug(ctx, t)
		r.Plugged = append(r.Plugged, p)
		return err
	}}
}

// everyDevice waits until the kernel has found so many devices, one after the other or all at once.
func everyDevice(n int) Step {
	return Step{fmt.Sprintf("%d devices", n), func(ctx context.Context, r *Rig) error {
		found := map[string]bool{}
		begin, last := time.Now(), 0.0
		ctx, cancel := context.WithTimeoutCause(ctx, 2*stationTime, fmt.Errorf("the kernel does not find them all"))
		defer cancel()
		_, err := r.Guest.Event(ctx, 0, func(m wire.Message) bool {
			if m.Uevent["ACTION"] == "add" && m.Uevent["DEVTYPE"] == "usb_device" {
				found[m.Uevent["DEVPATH"]], last = true, m.Up
			}
			return len(found) == n
		})
		if err != nil {
			return fmt.Errorf("%w: %d, the last at %.1f s", err, len(found), last)
		}
		bus, err := r.Guest.Bus(ctx)
		if err != nil {
			return err
		}
		r.Note("%d devices were found, the last %.1f s after the stick was done; %d are there now", n, time.Since(begin).Seconds(), len(bus.Devices))
		return nil
	}}
}

// crowd is a tree of hubs full of keyboards on each of three controllers, and one stick: 139 devices. One of QEMU's controllers has
// places for 64, and one bus of any machine has addresses for 127.
func crowd(r *Rig) ([]Thing, error) {
	var things []Thing
	for _, bus := range []string{"xhci", "xhci2", "xhci3"} {
		things = append(things, Thing{QEMU: Args{"driver": "usb-hub"}, Bus: bus, Port: "1"})
		for h := 1; h <= 5; h++ {
			things = append(things, Thing{QEMU: Args{"driver": "usb-hub"}, Bus: bus, Port: fmt.Sprintf("1.%d", h)})
			for k := 1; k <= 8; k++ {
				things = append(things, Thing{QEMU: Args{"driver": "usb-kbd"}, Bus: bus, Port: fmt.Sprintf("1.%d.%d", h, k)})
			}
		}
	}
	stick, err := drives(func(t *Thing) { t.Port = "2" }, "clean")(r)
	return append(things, stick...), err
}

func TestT01_TheStationRefusesWhatIsNoStick(t *testing.T) { runStation(t, refusedCases) }
