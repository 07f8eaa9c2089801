//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"pratique/testdata/e2e/usbdevice"
)

// What a station does about USB before it reads anything: the real parser on the real sysfs, and the real usbgate. A stick is
// configured and its one interface is free for the reader, with no driver; anything else loses its port.
var watchCases = []Case{
	{Name: "gate: a stick", Things: drives(nil, "clean"), Steps: []Step{Told("attached 2-1 attach", "gate 2-1 handed over"), Settle()},
		Expect: Expect{Devices: 1}, Check: handedOver},
	{Name: "gate: a disk and a CD in one device", Full: true, Things: twoUnits, Steps: []Step{Told("attached 2-1 attach", "gate 2-1 handed over"), Settle()},
		Expect: Expect{Devices: 1}, Check: handedOver},
	{Name: "gate: a stick with a UAS alternate", Things: sampleStick("clean", uasBeside), Steps: []Step{Told("attached 1-1 attach", "gate 1-1 handed over"), Settle()},
		Expect: Expect{Devices: 1}, Check: handedOver},
	{Name: "gate: a hub with three sticks", Things: hub,
		Steps:  []Step{Told("admitted 1-1 hub", "gate 1-1 hub", "gate 1-1.1 handed over", "gate 1-1.2 handed over", "gate 1-1.3 handed over"), Settle()},
		Expect: Expect{Devices: 4, Drivers: []string{"hub"}}},
	{Name: "gate: UAS alone", Things: drives(uasAlone, "clean"), Steps: []Step{Told("refused 2-1 uas-only", "gate 2-1 off"), Settle()}},
	{Name: "gate: a keyboard", Things: qemu(Args{"driver": "usb-kbd"}), Steps: []Step{Told("refused 1-1 input-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: a network adapter", Full: true, Things: qemu(Args{"driver": "usb-net"}), Steps: []Step{Told("refused 1-1 network-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: a stick with a keyboard in it", Things: sampleStick("clean", func(d *usbdevice.Device) { usbdevice.WithKeyboard(d) }),
		Steps: []Step{Told("refused 1-1 input-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: a stick that comes back as a keyboard", Things: sampleStick("clean", nil),
		Steps: []Step{Told("attached 1-1 attach", "gate 1-1 handed over"), ComeBackAs(0, usbdevice.KeyboardAlone), Told("gate 1-1 off"), Settle()}},
	{Name: "gate: a stick that comes back as a network adapter", Full: true, Things: sampleStick("clean", nil),
		Steps: []Step{Told("attached 1-1 attach", "gate 1-1 handed over"), ComeBackAs(0, usbdevice.NetworkAdapter), Told("gate 1-1 off"), Settle()}},
	{Name: "gate: a device of a vendor's class", Full: true, Things: model(vendorClass), Steps: []Step{Told("refused 1-1 vendor-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: interface numbers twice", Things: model(duplicated), Steps: []Step{Told("refused 1-1 malformed-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: a descriptor that ends early", Things: model(malformed(truncated)), Steps: []Step{Told("refused 1-1 malformed-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: a descriptor that claims 4,000 bytes", Full: true, Things: model(malformed(endless)), Steps: []Step{Told("refused 1-1 malformed-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: a descriptor of length zero", Full: true, Things: model(malformed(zeroLength)), Steps: []Step{Told("refused 1-1 malformed-device", "gate 1-1 off"), Settle()}},
	{Name: "gate: pulled at once, and another", Things: sampleStick("clean", nil),
		Steps:  []Step{Told("attached 1-1 attach", "gate 1-1 handed over"), Pull(0), Told("removed 1-1"), PlugAgain(), Told("gate 1-1 handed over")},
		Expect: Expect{Devices: 1}, Check: handedOver},
}

// handedOver holds what the station leaves for the reader: the configuration is chosen, and the node is the reader's.
func handedOver(_ *Rig, seen Seen) error {
	for _, d := range seen.Bus.Devices {
		if !d.Authorized || d.Config == "" || d.Interfaces == 0 {
			return fmt.Errorf("%s is not ready to be read: %v, configuration %q, %d interfaces", d.Path, d.Authorized, d.Config, d.Interfaces)
		}
		if d.Owner != 901 {
			return fmt.Errorf("the node of %s belongs to user %d", d.Path, d.Owner)
		}
	}
	return nil
}

// There before the station watched: nobody knows what it did until then.
var presentCase = Case{Name: "gate: a stick that is there at the start",
	Before: []Step{PlugSample("clean"), Appear(1), WatchUSB("refused 2-1 present-at-start", "gate 2-1 off", "watching")}, Steps: []Step{Settle()}}

func TestT01_TheStationLetsNothingButSticksIn(t *testing.T) {
	for i := range watchCases {
		watchCases[i].Before = []Step{WatchUSB("watching")}
	}
	runCases(t, append(watchCases, presentCase))
}
