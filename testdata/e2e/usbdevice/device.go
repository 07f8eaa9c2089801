// Package usbdevice models USB devices that do what a test tells them, honest or not: sticks that lie about their size, show
// other bytes on a second read, answer with the wrong tag or not at all, have a keyboard beside the storage, or come back as
// one. Package usbredir puts them on a bus.
//
// A model keeps a record of everything that it was asked to do that could change it: each SCSI command, and each control
// transfer that is not part of setting a device up. Violations returns what a program that only reads has no reason to send.
//
// The model trusts whoever builds it. What it is sent comes from the system under test and is bounds-checked, because a
// test must fail and not crash. It speaks the USB 2.0 requests of chapter 9 (https://www.usb.org/document-library/usb-20-specification),
// Bulk-Only Transport 1.0 and as much of SPC and SBC as sticks do; it has no isochronous endpoints and no streams, so its
// UAS alternates are descriptors only.
package usbdevice

import (
	"encoding/binary"
	"fmt"
	"sync"
	"unicode/utf16"
)

// Status is how a transfer ends, in the words of usbredir.
type Status byte

// The ends of a transfer.
const (
	Success Status = 0
	IOError Status = 3
	Stall   Status = 4
)

// Endpoint is an endpoint descriptor. Type is 2 for bulk, 3 for interrupt.
type Endpoint struct {
	Address  byte
	Type     byte
	Packet   uint16
	Interval byte
	Extra    []byte // descriptors that follow it
}

// Interface is one alternate setting of an interface.
type Interface struct {
	Number, Alternate         byte
	Class, SubClass, Protocol byte
	Extra                     []byte // class descriptors between it and its endpoints
	Endpoints                 []Endpoint
}

// Device is a USB device of high speed with one configuration. The zero value has no interface.
type Device struct {
	Vendor, Product uint16
	Class           byte
	Strings         []string // manufacturer, product, serial number
	Interfaces      []Interface
	Storage         *Storage  // behind the bulk endpoints
	Keyboard        *Keyboard // behind the interrupt endpoint

	// What the device says instead of its own descriptors, if set.
	RawDevice, RawConfig []byte

	mu       sync.Mutex
	config   byte
	controls []string
}

// Config returns the configuration that the host has chosen.
func (d *Device) Config() byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// SetConfig is the host's choice of a configuration.
func (d *Device) SetConfig(n byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config = n
}

// DeviceDescriptor returns the 18 bytes of USB 2.0 9.6.1, or what a test put in their place.
func (d *Device) DeviceDescriptor() []byte {
	if d.RawDevice != nil {
		return d.RawDevice
	}
	b := []byte{18, 1, 0x00, 0x02, d.Class, 0, 0, 64}
	b = binary.LittleEndian.AppendUint16(b, d.Vendor)
	b = binary.LittleEndian.AppendUint16(b, d.Product)
	b = append(b, 0x00, 0x01, 0, 0, 0, 1)
	for i := range min(len(d.Strings), 3) {
		b[14+i] = byte(i + 1)
	}
	return b
}

// ConfigDescriptor returns the configuration with all that belongs to it (9.6.3), or what a test put in its place.
func (d *Device) ConfigDescriptor() []byte {
	if d.RawConfig != nil {
		return d.RawConfig
	}
	return Configuration(d.Interfaces)
}

// Configuration builds a well-formed configuration descriptor, for a test to use or to damage.
func Configuration(interfaces []Interface) []byte {
	var body []byte
	numbers := map[byte]bool{}
	for _, i := range interfaces {
		numbers[i.Number] = true
		body = append(body, 9, 4, i.Number, i.Alternate, byte(len(i.Endpoints)), i.Class, i.SubClass, i.Protocol, 0)
		body = append(body, i.Extra...)
		for _, e := range i.Endpoints {
			body = append(body, 7, 5, e.Address, e.Type, byte(e.Packet), byte(e.Packet>>8), e.Interval)
			body = append(body, e.Extra...)
		}
	}
	head := []byte{9, 2, 0, 0, byte(len(numbers)), 1, 0, 0x80, 50}
	binary.LittleEndian.PutUint16(head[2:], uint16(len(head)+len(body)))
	return append(head, body...)
}

func (d *Device) stringDescriptor(n byte) []byte {
	if n == 0 {
		return []byte{4, 3, 0x09, 0x04} // one language, English
	}
	if int(n) > len(d.Strings) {
		return nil
	}
	units := utf16.Encode([]rune(d.Strings[n-1]))
	units = units[:min(len(units), 126)] // what fits into the length
	b := []byte{byte(2 + 2*len(units)), 3}
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// Setup is the eight bytes that a control transfer begins with.
type Setup struct {
	Type, Request        byte
	Value, Index, Length uint16
}

// The types of request and the requests that are answered here.
const (
	toHost, classOut, classIn    = 0x80, 0x21, 0xA1
	getStatus, clearFeature      = 0, 1
	getDescriptor, getConfig     = 6, 8
	descDevice, descConfig       = 1, 2
	descString, descReport       = 3, 0x22
	botReset, botMaxLUN          = 0xFF, 0xFE
	hidGetReport, hidSetReport   = 1, 9
	hidSetIdle, hidSetProtocol   = 10, 11
	endpointFeature, deviceWrite = 0x02, 0x00
)

// Control answers one control transfer.
func (d *Device) Control(s Setup, data []byte) ([]byte, Status) {
	answer := func(b []byte) ([]byte, Status) {
		if b == nil {
			return nil, Stall
		}
		return b[:min(len(b), int(s.Length))], Success
	}
	switch {
	case s.Request == getDescriptor && s.Type&toHost != 0:
		switch byte(s.Value >> 8) {
		case descDevice:
			return answer(d.DeviceDescriptor())
		case descConfig:
			return answer(d.ConfigDescriptor())
		case descString:
			return answer(d.stringDescriptor(byte(s.Value)))
		case descReport:
			if d.Keyboard != nil {
				return answer(keyboardReport)
			}
		}
		return nil, Stall
	case s.Type == toHost && s.Request == getConfig:
		return answer([]byte{d.Config()})
	case s.Type&0xE0 == toHost && s.Request == getStatus:
		return answer([]byte{0, 0})
	case s.Type == endpointFeature && s.Request == clearFeature:
		if d.Storage != nil {
			d.Storage.clearHalt(byte(s.Index))
		}
		return nil, Success
	case s.Type == classIn && s.Request == botMaxLUN && d.Storage != nil:
		return answer(d.Storage.maxLUN())
	case s.Type == classOut && s.Request == botReset && d.Storage != nil:
		d.Storage.reset()
		return nil, Success
	case d.Keyboard != nil && s.Type == classIn && s.Request == hidGetReport:
		return answer(make([]byte, 8))
	case d.Keyboard != nil && s.Type == classOut && (s.Request == hidSetIdle || s.Request == hidSetProtocol || s.Request == hidSetReport):
		return nil, Success
	}
	if s.Type&toHost == 0 && (s.Type != deviceWrite || s.Request == 7) { // SET_DESCRIPTOR, and all that no standard knows
		d.mu.Lock()
		d.controls = append(d.controls, fmt.Sprintf("control transfer %02x %02x %04x %04x with %d bytes", s.Type, s.Request, s.Value, s.Index, len(data)))
		d.mu.Unlock()
	}
	if s.Type == deviceWrite {
		return nil, Success
	}
	return nil, Stall
}

// BulkOut takes what the host sends to a bulk endpoint.
func (d *Device) BulkOut(endpoint byte, data []byte) Status {
	if d.Storage == nil {
		return Stall
	}
	return d.Storage.out(data)
}

// BulkIn returns what the host asks for; it blocks as long as the device stays silent, and returns when stop is closed.
func (d *Device) BulkIn(endpoint byte, n int, stop <-chan struct{}) ([]byte, Status) {
	if d.Storage == nil {
		return nil, Stall
	}
	return d.Storage.in(n, stop)
}

// Violations returns what the device was asked to do that a program which only reads does not ask for.
func (d *Device) Violations() []string {
	d.mu.Lock()
	out := append([]string(nil), d.controls...)
	d.mu.Unlock()
	if d.Storage != nil {
		for _, c := range d.Storage.Commands() {
			if c.changes() && !(d.Storage.MayEject && c.Opcode() == startStop && c.Block[4]&3 == 2) {
				out = append(out, c.String())
			}
		}
	}
	return out
}
