//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pratique/testdata/e2e/usbdevice"
)

// The kernel's own disk drivers are the control for the station's: what they can screen, a station must be able to, and
// what they get wrong shows why a station does not use them.
var screenCases = []Case{
	{Name: "block device: clean stick", Open: true, Things: drives(nil, "clean"), Steps: []Step{DisksAppear(1), Screen("/dev/sda", "cleared")},
		Expect: disk},
	{Name: "block device: infected stick", Open: true, Things: drives(nil, "infected"), Steps: []Step{DisksAppear(1), Screen("/dev/sda", "not cleared")},
		Expect: disk},
	{Name: "block device: write-protected stick", Full: true, Open: true, Things: drives(func(t *Thing) { t.Drives[0].ReadOnly = true }, "hidden"),
		Steps: []Step{DisksAppear(1), Screen("/dev/sda", "not cleared")}, Expect: disk},
	{Name: "block device: a block that cannot be read", Open: true, Things: drives(func(t *Thing) { t.Drives[0].BadAt = 4096 }, "clean"),
		Steps: []Step{DisksAppear(1), Screen("/dev/sda", "could not check")}, Expect: disk},
	{Name: "block device: slow stick", Full: true, Open: true, Things: drives(func(t *Thing) { t.Drives[0].Rate = 8 << 20 }, "clean"),
		Steps: []Step{DisksAppear(1), Screen("/dev/sda", "cleared")}, Expect: disk},
	{Name: "block device: software stick", Open: true, Things: sampleStick("clean", nil), Steps: []Step{DisksAppear(1), Screen("/dev/sda", "cleared")},
		Expect: modelDisk},
	{Name: "block device: software stick of 35 MB/s and 1 ms", Full: true, Open: true, Things: sampleStick("clean", slow),
		Steps: []Step{DisksAppear(1), Screen("/dev/sda", "cleared")}, Expect: modelDisk},
	{Name: "block device: pulled while it is read", Open: true, Things: sampleStick("clean", slow), Steps: []Step{DisksAppear(1), ScreenAndPull("/dev/sda", pullAfterReads(20))},
		Expect: Expect{Drivers: []string{"usb-storage"}, Disks: 1, Commands: true, Allowed: doorLock}},
}

// A stick that claims to be larger than it is. What it shows behind its true end differs from maker to maker.
var fraudCases = []Case{
	{Name: "block device: claims 2 GB, errors behind 66 MB", Open: true, Things: sampleStick("clean", claims(func(c usbdevice.Command, end uint64) usbdevice.Fault {
		if c.LBA+uint64(c.Blocks) > end {
			return usbdevice.MediumError
		}
		return usbdevice.None
	})), Steps: []Step{DisksAppear(1), Screen("/dev/sda", "not cleared")}, Expect: modelDisk},
	{Name: "block device: claims 1 GB, begins again behind 66 MB", Open: true, Things: sampleStick("clean", wraps),
		Steps: []Step{DisksAppear(1), Screen("/dev/sda", "could not check")}, Expect: modelDisk},
}

var (
	disk      = Expect{Devices: 1, Drivers: []string{"usb-storage"}, Disks: 1}
	modelDisk = Expect{Devices: 1, Drivers: []string{"usb-storage"}, Disks: 1, Commands: true, Allowed: doorLock}
)

// slow is an ordinary stick: 35 MB/s, and a millisecond for each request.
func slow(d *usbdevice.Device) { d.Storage.Rate, d.Storage.Latency = 35e6, time.Millisecond }

// claims makes a stick say that it has 2 GB. fault is asked about each read, with the number of the stick's true blocks.
func claims(fault func(c usbdevice.Command, end uint64) usbdevice.Fault) func(*usbdevice.Device) {
	return func(d *usbdevice.Device) {
		end := d.Storage.LUNs[0].Blocks
		d.Storage.LUNs[0].Capacity = func(int) (uint64, uint32) { return 2<<30/512 - 1, 512 }
		d.Storage.Fault = func(c usbdevice.Command) usbdevice.Fault {
			if c.N == 0 {
				return usbdevice.None
			}
			return fault(c, end)
		}
	}
}

// wraps makes a stick say that it has 1 GB; what is behind its end is its beginning.
func wraps(d *usbdevice.Device) {
	unit := &d.Storage.LUNs[0]
	end, content := int64(unit.Blocks)*512, unit.Content
	unit.Capacity = func(int) (uint64, uint32) { return 1<<30/512 - 1, 512 }
	unit.Content = func(n int, p []byte, off int64) {
		for len(p) > 0 {
			at := off % end
			piece := p[:min(int64(len(p)), end-at)]
			content(n, piece, at)
			p, off = p[len(piece):], off+int64(len(piece))
		}
	}
}

// pullAfterReads waits until the stick has been read so often from now on, and pulls it.
func pullAfterReads(n int) func(ctx context.Context, r *Rig) error {
	return func(ctx context.Context, r *Rig) error {
		p := r.Plugged[0]
		count := func() int { return len(p.Thing.Model.Storage.Commands()) }
		for before := count(); count() < before+n; {
			if err := sleep(ctx, time.Millisecond); err != nil {
				return fmt.Errorf("%d commands: %w", count()-before, err)
			}
		}
		return p.Unplug(ctx)
	}
}

func TestT05_SticksThatClaimMoreThanTheyHaveAreNotCleared(t *testing.T) { runCases(t, fraudCases) }

func TestBlockDevicesGetTheirVerdict(t *testing.T) { runCases(t, screenCases) }
