// Package usb says what is plugged into the station and whether it may live.
//
// # What it does
//
// The kernel's device tree (sysfs) is the truth about what is plugged. Watch reads all of it at each word of the kernel (a
// uevent over netlink) and once a second beside, so that an event that is lost, doubled or late changes nothing but the
// time. What a device says of itself comes from sysfs's copy of its descriptors through Parse, which is in this package,
// checks every bound and refuses whatever contradicts itself. No byte goes to a device from here, none is opened, and
// libusb is not involved: it drops malformed devices without a word, and the Go binding in use panics on some.
//
// Decide is the policy, pure: a device on a media port that is mass storage by Bulk-Only Transport, in every interface of
// every configuration, may be read. A hub that is nothing but a hub may be a hub. The station's own devices are known by port
// and by the digest of their descriptors. Everything else is refused, with a closed code and a sentence for staff. Ports
// adds time, and is pure too: what was there at the start, what changed while it was read, what shares a socket.
//
// Gate is the way to the one process that may change something, usbgate: authorise an interface, take that back, switch a
// port off and on, hand over a device node.
//
// # Ports and sockets
//
// A port is named as the kernel names it: 1-2 is the second port of bus 1, 1-2.4 the fourth port of a hub in it. One socket
// that a person sees is two ports if it can do USB 3: one on each bus. Policy.Media maps both to the socket's name, and a
// second device on the other half of a socket that is in use is an attack, not a second stick. What is plugged
// through a hub into a media port is on that port too, and each place of the hub is a socket.
//
// # A device that is refused
//
// It was never authorised, so there is no configuration, no interface and no driver. Before a usbreader may start, its port is
// to be switched off as well (Gate.Disable), because libusb looks at every device that there is. A port without power
// cannot see that a stick was pulled. So it is switched on again after HoldOff: whatever is still there comes back as a
// new device, and is refused again. Three refusals are not for what a device is but for how it came, PresentAtStart,
// ReturnedAs and TwoInOneSocket (Code.Arrival): switching the port off and on would look like plugging it in anew, so those
// ports are left as they are, unless what is there now would be refused in any case.
//
// # What it trusts
//
// The kernel: sysfs, and uevents whose sender is the kernel. The policy. Not the device: its descriptors and strings are
// bounded bytes, and its strings are handed on raw, never printed from here.
//
// # Limits
//
// Bus numbers are the kernel's, in the order in which it finds controllers; another controller in the machine can
// change them, and then no port is a media port. A device that was honest to this station may be something else for the
// next computer; nothing that looks at descriptors can know. That is what the clearance's digest of the content is for.
package usb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// HoldOff is how long the port of a refused device stays switched off: long enough for a person to read why and pull it,
// short enough that the next stick is not kept waiting.
const HoldOff = 5 * time.Second

// ErrSysfs says that the kernel's device tree could not be read. Nothing may be attached until it can.
var ErrSysfs = errors.New("the kernel's list of USB devices cannot be read")

// Device is one device as the kernel shows it. Everything in it but Port, Bus, Address, Instance and Speed was said by the
// device itself.
type Device struct {
	Port     string // as the kernel names it: 1-2.4
	Bus      int
	Address  int    // on the bus; a device that comes back has another
	Instance uint64 // the inode of its directory in sysfs: another one for each time that something is plugged
	Speed    string // in Mbit/s, in the kernel's words

	Digest          [32]byte // SHA-256 of all its descriptors
	Vendor, Product uint16
	Class           [3]byte  // class, subclass, protocol of the device descriptor
	Configs         []Config // nil if there is a Fault
	Fault           Fault    // why the descriptors were not taken; empty if they were

	Serial, Manufacturer, Name string // raw bytes, at most maxString of each; never for the journal or a screen
}

// Config is one configuration.
type Config struct {
	Value      int // bConfigurationValue, from 1
	Interfaces []Interface
}

// Interface is one interface with all its alternate settings. Its number is its place in the configuration.
type Interface struct {
	Number     int
	Alternates []Alternate
}

// Alternate is one alternate setting. Its number is its place in the interface.
type Alternate struct {
	Class, Subclass, Protocol byte
	Endpoints                 []Endpoint

	declared int // bNumEndpoints
}

// Endpoint is one endpoint beside endpoint zero.
type Endpoint struct {
	Address    byte // number, and 0x80 for towards the host
	Attributes byte
	MaxPacket  uint16
	Pipe       byte // UAS: which of the four pipes it is, 0 if it does not say
}

// Transfer types in an endpoint's attributes (USB 2.0, table 9-13).
const (
	transferBulk      = 2
	transferInterrupt = 3
)

func (e Endpoint) transfer() byte { return e.Attributes & 3 }
func (e Endpoint) in() bool       { return e.Address&0x80 != 0 }

// same reports whether two looks at a port saw one insertion of one device.
func (d Device) same(o Device) bool {
	return d.Port == o.Port && d.Bus == o.Bus && d.Address == o.Address && d.Instance == o.Instance &&
		d.Digest == o.Digest && d.Fault == o.Fault
}

// Classes are the classes of all interfaces in all settings, each once, as class/subclass/protocol in hexadecimal.
func (d Device) Classes() (classes []string) {
	for _, c := range d.Configs {
		for _, i := range c.Interfaces {
			for _, a := range i.Alternates {
				word := fmt.Sprintf("%02x/%02x/%02x", a.Class, a.Subclass, a.Protocol)
				if !slices.Contains(classes, word) && len(classes) < maxListed {
					classes = append(classes, word)
				}
			}
		}
	}
	return classes
}

// maxListed bounds the line that a device with thousands of settings can make Details write.
const maxListed = 16

// Details is one line for the log: what the device said it is, without any of its strings. The serial number is not in it:
// it can be a person's.
func (d Device) Details() string {
	words := fmt.Sprintf("port %s, %04x:%04x, class %02x/%02x/%02x", d.Port, d.Vendor, d.Product, d.Class[0], d.Class[1], d.Class[2])
	if list := d.Classes(); len(list) > 0 {
		words += ", interfaces " + strings.Join(list, " ")
	}
	if d.Fault != "" {
		words += ", " + d.Fault.Error()
	}
	return words + fmt.Sprintf(", descriptors %x", d.Digest[:8])
}
