//go:build e2e

package e2e

import (
	"testing"

	"pratique/testdata/e2e/usbdevice"
)

// fault makes a stick do this at every read from its n-th on, or at every command if n is 0.
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

// grows makes a stick say that it is one block larger from the n-th question on.
func grows(n int) func(*usbdevice.Device) {
	return func(d *usbdevice.Device) {
		unit := &d.Storage.LUNs[0]
		blocks := unit.Blocks
		unit.Capacity = func(asked int) (uint64, uint32) {
			if asked >= n {
				return blocks, 512
			}
			return blocks - 1, 512
		}
	}
}

// atTheEnd makes a stick go wrong at the third question for its size, which comes after the last read.
func atTheEnd(f usbdevice.Fault) func(*usbdevice.Device) {
	return func(d *usbdevice.Device) {
		asked := 0
		d.Storage.Fault = func(c usbdevice.Command) usbdevice.Fault {
			if c.Opcode() == 0x25 { // READ CAPACITY(10)
				if asked++; asked > 2 {
					return f
				}
			}
			return usbdevice.None
		}
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

var liarCases = []Case{
	{Name: "station: other content from the 20th read on", Things: changes(20), Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: other content from the 40th read on", Full: true, Things: changes(40), Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: wrong tags", Things: sampleStick("clean", fault(usbdevice.WrongTag, 5)), Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: wrong signatures", Full: true, Things: sampleStick("clean", fault(usbdevice.WrongSignature, 5)),
		Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: phase errors", Full: true, Things: sampleStick("clean", fault(usbdevice.PhaseError, 5)),
		Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: data that ends early", Full: true, Things: sampleStick("clean", fault(usbdevice.Short, 5)),
		Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: a residue that is too large", Full: true, Things: sampleStick("clean", fault(usbdevice.HugeResidue, 5)),
		Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: garbage for everything", Full: true, Things: sampleStick("clean", fault(usbdevice.Garbage, 0)),
		Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: halted for ever", Full: true, Things: sampleStick("clean", fault(usbdevice.StallAlways, 5)),
		Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: NAKs everything for ever", Full: true, Things: sampleStick("clean", fault(usbdevice.Silent, 0)),
		Steps: []Step{NotCleared("1-1", "device-silent"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: silent from the 5th read on", Full: true, Things: sampleStick("clean", fault(usbdevice.Silent, 5)),
		Steps: []Step{NotCleared("1-1", "device-silent"), NoClearance("decided")}, Expect: wasRead},
}

func TestT04_SticksThatLieGetNoClearance(t *testing.T) { runStation(t, liarCases) }

var sizeCases = []Case{
	{Name: "station: claims 1 GB, begins again behind 66 MB", Full: true, Things: sampleStick("clean", wraps), Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: sectors of 0 bytes", Things: sampleStick("clean", capacity(2047, 0)), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: sectors of 3 bytes", Full: true, Things: sampleStick("clean", capacity(2047, 3)), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: no sectors", Full: true, Things: sampleStick("clean", capacity(1<<64-1, 512)), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: 2^64 - 1 sectors", Full: true, Things: sampleStick("clean", capacity(1<<64-2, 512)), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: one sector", Full: true, Things: sampleStick("clean", capacity(0, 512)), Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: 300 TB", Full: true, Things: sampleStick("clean", capacity(300e12/512, 512)), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: another size at the second question", Things: sampleStick("clean", grows(2)), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: another size at the end", Things: sampleStick("clean", grows(3)), Steps: []Step{NotCleared("1-1", "device-changed"), NoClearance("decided")}, Expect: wasRead},
}

func TestT05_SticksOfImpossibleSizeGetNoClearance(t *testing.T) { runStation(t, sizeCases) }

// sticksWith is a software stick with the sample and more units.
func sticksWith(more ...usbdevice.LUN) func(*Rig) ([]Thing, error) {
	return sampleStick("clean", func(d *usbdevice.Device) { d.Storage.LUNs = append(d.Storage.LUNs, more...) })
}

// two makes one device of QEMU's with a unit for each sample.
func two(names ...string) func(*Rig) ([]Thing, error) {
	return func(r *Rig) ([]Thing, error) {
		things, err := drives(nil, names...)(r)
		if err != nil {
			return nil, err
		}
		for _, t := range things[1:] {
			things[0].Drives = append(things[0].Drives, t.Drives...)
		}
		return things[:1], nil
	}
}

var unitCases = []Case{
	{Name: "station: two clean units", Things: two("clean", "clean"), Steps: []Step{Verdict("2-1", "cleared")}, Expect: wasRead},
	{Name: "station: the second unit is infected", Full: true, Things: two("clean", "infected"), Steps: []Step{Verdict("2-1", "not cleared"), NoClearance()}, Expect: wasRead},
	{Name: "station: a disk and a CD in one device", Things: twoUnits, Steps: []Step{Verdict("2-1", "not cleared"), NoClearance()}, Expect: wasRead},
	{Name: "station: an empty slot beside", Things: sticksWith(usbdevice.LUN{Blocks: 1, NoMedium: true}), Steps: []Step{Verdict("1-1", "cleared")}, Expect: wasRead},
	{Name: "station: a tape beside", Full: true, Things: sticksWith(usbdevice.LUN{Kind: 1, Blocks: 1 << 12}), Steps: []Step{Verdict("1-1", "could not check"), NoClearance()}, Expect: wasRead},
	{Name: "station: sixteen units", Full: true, Things: sticksWith(make([]usbdevice.LUN, 15)...), Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: no unit", Full: true, Things: sampleStick("clean", func(d *usbdevice.Device) {
		d.Storage.LUNs, d.Storage.MaxLUN = nil, func() []byte { return []byte{0} }
	}), Steps: []Step{NotCleared("1-1", "unreadable"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: 256 units", Full: true, Things: sampleStick("clean", func(d *usbdevice.Device) {
		d.Storage.MaxLUN = func() []byte { return []byte{255} }
	}), Steps: []Step{NotCleared("1-1", "device-protocol"), NoClearance("decided")}, Expect: wasRead},
}

func TestT06_EveryUnitOfAStickCounts(t *testing.T) { runStation(t, unitCases) }

var changedCases = []Case{
	{Name: "station: pulled while it is read", Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), Pull(0), InState("1-1", "idle"), NoClearance("removed")}, Expect: wasRead},
	{Name: "station: pulled while it is opened", Full: true, Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "attached"), Pull(0), InState("1-1", "idle"), NoClearance()}, Expect: wasRead},
	{Name: "station: pulled before anybody asks", Full: true, Things: sampleStick("clean", nil),
		Steps: []Step{InState("1-1", "waiting"), Pull(0), InState("1-1", "idle"), AskInVain("1-1"), NoClearance("removed")}, Expect: wasRead},
	{Name: "station: comes back as a keyboard while it is read", Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), ComeBackAs(0, usbdevice.KeyboardAlone), RefusedWith("1-1", "input-device"), Settle(), AskInVain("1-1"), NoClearance("removed", "refused")}, Expect: wasRead},
	{Name: "station: comes back as a network adapter while it is read", Full: true, Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), ComeBackAs(0, usbdevice.NetworkAdapter), RefusedWith("1-1", "network-device"), Settle(), AskInVain("1-1"), NoClearance("removed", "refused")}, Expect: wasRead},
	{Name: "station: comes back as another stick while it is read", Full: true, Things: sampleStick("clean", slow),
		Steps: []Step{InState("1-1", "scanning"), ComeBackAs(0, otherStick), RefusedWith("1-1", "returned-changed"), Settle(), AskInVain("1-1"), NoClearance("removed", "refused")}, Expect: wasRead},
	{Name: "station: comes back as a keyboard when it was read", Full: true, Things: sampleStick("clean", nil),
		Steps: []Step{InState("1-1", "waiting"), ComeBackAs(0, usbdevice.KeyboardAlone), RefusedWith("1-1", "input-device"), Settle(), AskInVain("1-1"), NoClearance("removed", "refused")}, Expect: wasRead},
	{Name: "station: silent at the end", Full: true, Things: sampleStick("clean", atTheEnd(usbdevice.Silent)), Steps: []Step{NotCleared("1-1", "device-silent"), NoClearance("decided")}, Expect: wasRead},
	{Name: "station: another size at the end, by another way", Full: true, Things: sampleStick("clean", atTheEnd(usbdevice.Garbage)), Steps: []Step{NotCleared("1-1", ""), NoClearance("decided")}, Expect: wasRead},
}

// otherStick is a stick of another maker.
func otherStick() *usbdevice.Device {
	d := usbdevice.Stick(1<<12, nil)
	d.Product++
	return d
}

func TestT02_NothingThatIsPluggedGetsPastTheStation(t *testing.T) { runStation(t, changedCases) }
