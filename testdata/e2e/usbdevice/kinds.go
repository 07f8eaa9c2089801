package usbdevice

import "time"

// Classes of interfaces (https://www.usb.org/defined-class-codes).
const (
	ClassCDC     = 0x02
	ClassHID     = 0x03
	ClassPrinter = 0x07
	ClassStorage = 0x08
	ClassHub     = 0x09
	ClassData    = 0x0A
	ClassVendor  = 0xFF

	subSCSI  = 0x06
	protoBOT = 0x50
	protoUAS = 0x62
)

// keyboardReport is the report descriptor of a boot keyboard (HID 1.11, appendix B.1), without its lamps.
var keyboardReport = []byte{
	0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, // generic desktop, keyboard, application
	0x05, 0x07, 0x19, 0xE0, 0x29, 0xE7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02, // eight modifiers
	0x95, 0x01, 0x75, 0x08, 0x81, 0x01, // one byte of nothing
	0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65, 0x81, 0x00, // six keys
	0xC0,
}

// Keyboard types as long as somebody listens to it.
type Keyboard struct {
	Endpoint byte
	Keys     []byte        // HID usages, from the first again after the last
	Pause    time.Duration // between two reports
}

// Type sends reports until stop is closed: each key, and its release.
func (k *Keyboard) Type(stop <-chan struct{}, send func(report []byte)) {
	for {
		for _, key := range k.Keys {
			for _, report := range [][]byte{{0, 0, key, 0, 0, 0, 0, 0}, make([]byte, 8)} {
				select {
				case <-stop:
					return
				case <-time.After(k.Pause):
					send(report)
				}
			}
		}
		if len(k.Keys) == 0 {
			return
		}
	}
}

func bulk(address byte) Endpoint { return Endpoint{Address: address, Type: 2, Packet: 512} }

// BOT returns an interface for Bulk-Only Transport.
func BOT(number byte) Interface {
	return Interface{Number: number, Class: ClassStorage, SubClass: subSCSI, Protocol: protoBOT, Endpoints: []Endpoint{bulk(0x81), bulk(0x02)}}
}

// UAS returns an interface, or an alternate of one, for USB Attached SCSI: four pipes, each with a descriptor that says what for.
func UAS(number, alternate byte) Interface {
	i := Interface{Number: number, Alternate: alternate, Class: ClassStorage, SubClass: subSCSI, Protocol: protoUAS}
	for use, address := range []byte{0x04, 0x85, 0x86, 0x07} {
		e := bulk(address)
		e.Extra = []byte{4, 0x24, byte(use + 1), 0}
		i.Endpoints = append(i.Endpoints, e)
	}
	return i
}

// HIDKeyboard returns the interface of a boot keyboard.
func HIDKeyboard(number byte) Interface {
	return Interface{Number: number, Class: ClassHID, SubClass: 1, Protocol: 1,
		Extra:     []byte{9, 0x21, 0x11, 0x01, 0, 1, descReport, byte(len(keyboardReport)), 0},
		Endpoints: []Endpoint{{Address: 0x83, Type: 3, Packet: 8, Interval: 4}}}
}

// Stick returns a stick of one LUN with the given content, honest in every way. A test changes what it wants.
func Stick(blocks uint64, content func(n int, p []byte, off int64)) *Device {
	return &Device{Vendor: 0x1209, Product: 0x0001, Strings: []string{"Model", "Stick", "0123456789AB"}, Interfaces: []Interface{BOT(0)},
		Storage: &Storage{LUNs: []LUN{{Blocks: blocks, Content: content}}}}
}

// WithKeyboard adds a keyboard that types to a device.
func WithKeyboard(d *Device) *Device {
	d.Interfaces = append(d.Interfaces, HIDKeyboard(byte(len(d.Interfaces))))
	d.Keyboard = &Keyboard{Endpoint: 0x83, Keys: []byte{0x04, 0x05, 0x06, 0x28}, Pause: 20 * time.Millisecond}
	return d
}

// KeyboardAlone returns a keyboard that types.
func KeyboardAlone() *Device {
	return WithKeyboard(&Device{Vendor: 0x1209, Product: 0x0002, Strings: []string{"Model", "Keyboard", "1"}})
}

// NetworkAdapter returns a CDC-ECM adapter, as far as a driver looks before it makes an interface of it (CDC ECM 1.2, 5).
func NetworkAdapter() *Device {
	return &Device{Vendor: 0x1209, Product: 0x0003, Class: ClassCDC, Strings: []string{"Model", "Network", "020000000001"},
		Interfaces: []Interface{
			{Number: 0, Class: ClassCDC, SubClass: 6,
				Extra: []byte{5, 0x24, 0, 0x10, 0x01, 5, 0x24, 6, 0, 1,
					13, 0x24, 0x0F, 3, 0, 0, 0, 0, 0xEA, 0x05, 0, 0, 0},
				Endpoints: []Endpoint{{Address: 0x83, Type: 3, Packet: 16, Interval: 9}}},
			{Number: 1, Class: ClassData},
			{Number: 1, Alternate: 1, Class: ClassData, Endpoints: []Endpoint{bulk(0x81), bulk(0x02)}},
		}}
}
