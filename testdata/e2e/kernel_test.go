//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"pratique/testdata/e2e/usbdevice"
)

// model makes the thing of a software device that needs no image.
func model(d func() *usbdevice.Device) func(*Rig) ([]Thing, error) {
	return func(*Rig) ([]Thing, error) { return []Thing{{Model: d()}}, nil }
}

// sampleStick is a software stick that shows a sample, changed by the test.
func sampleStick(name string, change func(*usbdevice.Device)) func(*Rig) ([]Thing, error) {
	return func(r *Rig) ([]Thing, error) {
		path, err := r.Image(name)
		if err != nil {
			return nil, err
		}
		blocks, content, err := r.Content(path)
		if err != nil {
			return nil, err
		}
		d := usbdevice.Stick(blocks, content)
		if change != nil {
			change(d)
		}
		return []Thing{{Model: d}}, nil
	}
}

// drives are QEMU's own sticks, one for each sample.
func drives(change func(*Thing), names ...string) func(*Rig) ([]Thing, error) {
	return func(r *Rig) ([]Thing, error) {
		var things []Thing
		for _, name := range names {
			path, err := r.Image(name)
			if err != nil {
				return nil, err
			}
			t := Thing{Drives: []Drive{{File: path}}}
			if change != nil {
				change(&t)
			}
			things = append(things, t)
		}
		return things, nil
	}
}

// twoUnits is one device with a disk and a CD.
func twoUnits(r *Rig) ([]Thing, error) {
	disk, err := r.Image("clean")
	if err != nil {
		return nil, err
	}
	cd, err := r.Image("infected")
	return []Thing{{Drives: []Drive{{File: disk}, {File: cd, ReadOnly: true, CD: true}}}}, err
}

// hub is a hub with three sticks in it, of different ports.
func hub(r *Rig) ([]Thing, error) {
	sticks, err := drives(nil, "clean", "infected", "hidden")(r)
	if err != nil {
		return nil, err
	}
	things := []Thing{{QEMU: Args{"driver": "usb-hub"}, Port: "1"}}
	for i, s := range sticks {
		s.Port = fmt.Sprintf("1.%d", i+1)
		things = append(things, s)
	}
	return things, nil
}

func qemu(args Args) func(*Rig) ([]Thing, error) {
	return func(*Rig) ([]Thing, error) { return []Thing{{QEMU: args}}, nil }
}

func uasAlone(t *Thing)             { t.UAS = true }
func uasBeside(d *usbdevice.Device) { d.Interfaces = append(d.Interfaces, usbdevice.UAS(0, 1)) }

// vendorClass is a device of no class that anybody knows.
func vendorClass() *usbdevice.Device {
	return &usbdevice.Device{Vendor: 0x1209, Product: 4, Strings: []string{"Model"}, Interfaces: []usbdevice.Interface{{Class: usbdevice.ClassVendor}}}
}

// malformed is a stick with a configuration descriptor that contradicts itself. Duplicate numbers make gousb panic.
func malformed(change func(config []byte) []byte) func() *usbdevice.Device {
	return func() *usbdevice.Device {
		d := usbdevice.Stick(2048, nil)
		d.RawConfig = change(usbdevice.Configuration(d.Interfaces))
		return d
	}
}

func duplicated() *usbdevice.Device {
	d := usbdevice.Stick(2048, nil)
	again := usbdevice.HIDKeyboard(0)
	again.Alternate = 0
	d.Interfaces = append(d.Interfaces, usbdevice.Interface{Number: 1, Class: usbdevice.ClassVendor}, again)
	d.RawConfig = usbdevice.Configuration(d.Interfaces)
	d.RawConfig[4] = 3
	return d
}

func truncated(c []byte) []byte { return c[:len(c)-5] }
func endless(c []byte) []byte {
	binary.LittleEndian.PutUint16(c[2:], 4000) // QEMU's controller takes no more than 4,096 bytes
	return c
}
func zeroLength(c []byte) []byte {
	c[9] = 0
	return c
}

// The first rows show that this harness sees what a station must prevent: on a machine as it comes, every device gets its
// driver. The others show that the kernel's own switch (authorized_default) keeps all of them away, before any program of
// ours is there: this is what the station builds on.
var kernelCases = []Case{
	{Name: "control: a stick becomes a disk", Open: true, Things: drives(nil, "clean"), Steps: []Step{DisksAppear(1)},
		Expect: Expect{Devices: 1, Drivers: []string{"usb-storage"}, Disks: 1}},
	{Name: "control: a disk and a CD in one device become two", Full: true, Open: true, Things: twoUnits, Steps: []Step{DisksAppear(2)},
		Expect: Expect{Devices: 1, Drivers: []string{"usb-storage"}, Disks: 2}},
	{Name: "control: a hub with three sticks becomes three disks", Open: true, Things: hub, Steps: []Step{DisksAppear(3)},
		Expect: Expect{Devices: 4, Drivers: []string{"hub", "usb-storage"}, Disks: 3}},
	{Name: "control: a stick that speaks UAS alone becomes a disk", Full: true, Open: true, Things: drives(uasAlone, "clean"), Steps: []Step{DisksAppear(1)},
		Expect: Expect{Devices: 1, Drivers: []string{"uas"}, Disks: 1}},
	{Name: "control: a network adapter becomes an interface", Open: true, Things: qemu(Args{"driver": "usb-net"}), Steps: []Step{NetAppears()},
		Expect: Expect{Devices: 1, Drivers: []string{"cdc_ether"}, Nets: true}},
	{Name: "control: a software stick becomes a disk", Open: true, Things: sampleStick("clean", nil), Steps: []Step{DisksAppear(1), Settle()},
		Expect: Expect{Devices: 1, Drivers: []string{"usb-storage"}, Disks: 1, Commands: true, Allowed: doorLock}},
	{Name: "control: a stick with a keyboard in it types", Open: true, Things: sampleStick("clean", func(d *usbdevice.Device) { usbdevice.WithKeyboard(d) }),
		Steps:  []Step{DisksAppear(1), KeysArrive()},
		Expect: Expect{Devices: 1, Drivers: []string{"usb-storage", "usbhid"}, Disks: 1, Inputs: true, Keys: true, Commands: true, Allowed: doorLock}},
	{Name: "control: a stick that comes back as a keyboard types", Open: true, Things: sampleStick("clean", nil),
		Steps:  []Step{DisksAppear(1), ComeBackAs(0, usbdevice.KeyboardAlone), KeysArrive()},
		Expect: Expect{Devices: 1, Drivers: []string{"usb-storage", "usbhid"}, Disks: 1, Inputs: true, Keys: true, Commands: true, Allowed: doorLock}},
	{Name: "control: a software network adapter becomes an interface", Full: true, Open: true, Things: model(usbdevice.NetworkAdapter), Steps: []Step{NetAppears()},
		Expect: Expect{Devices: 1, Drivers: []string{"cdc_ether"}, Nets: true, Allowed: packetFilter}},

	{Name: "locked: a stick", Things: drives(nil, "clean"), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a disk and a CD in one device", Full: true, Things: twoUnits, Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a hub with three sticks", Things: hub, Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: UAS alone", Full: true, Things: drives(uasAlone, "clean"), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a keyboard", Full: true, Things: qemu(Args{"driver": "usb-kbd"}), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a network adapter", Full: true, Things: qemu(Args{"driver": "usb-net"}), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a stick with a UAS alternate", Full: true, Things: sampleStick("clean", uasBeside), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a stick with a keyboard in it", Things: sampleStick("clean", func(d *usbdevice.Device) { usbdevice.WithKeyboard(d) }),
		Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a stick that comes back as a keyboard", Things: sampleStick("clean", nil),
		Steps: []Step{Appear(1), ComeBackAs(0, usbdevice.KeyboardAlone), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a stick that comes back as a network adapter", Full: true, Things: sampleStick("clean", nil),
		Steps: []Step{Appear(1), ComeBackAs(0, usbdevice.NetworkAdapter), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a device of a vendor's class", Full: true, Things: model(vendorClass), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: interface numbers twice", Things: model(duplicated), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a descriptor that ends early", Things: model(malformed(truncated)), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a descriptor that claims 4,000 bytes", Full: true, Things: model(malformed(endless)), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: a descriptor of length zero", Full: true, Things: model(malformed(zeroLength)), Steps: []Step{Appear(1), Settle()}, Expect: Expect{Devices: 1}},
	{Name: "locked: pulled at once", Things: sampleStick("clean", nil), Steps: []Step{Appear(1), Pull(0), Appear(0)}, Expect: Expect{}},
}

// What drivers of the kernel send that changes nothing on a stick: sd locks and unlocks the door of a removable medium, and
// cdc_ether sets the filter of an adapter.
var (
	doorLock     = []string{"SCSI command 1e "}
	packetFilter = []string{"control transfer 21 43 "}
)

func TestT01_TheKernelBindsNothingOnALockedBus(t *testing.T) { runCases(t, kernelCases) }

// runCases runs a table and prints a line for each row. Two at a time: a machine waits more than it works.
func runCases(t *testing.T, cases []Case) {
	for _, c := range cases {
		if c.Full && !*full {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			runCase(t, c)
		})
	}
}

func runCase(t *testing.T, c Case) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), caseTime, fmt.Errorf("the case takes longer than %v", caseTime))
	defer cancel()
	wrong, notes, err := setup.Run(ctx, c)
	for _, note := range notes {
		t.Log(note)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}
