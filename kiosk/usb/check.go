package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"pratique/kiosk/usb/gate"
)

// Layer is one thing that keeps the kernel away from what is plugged in, as found on this machine.
type Layer struct {
	Name     string
	Holds    bool
	Required bool   // without it the station must not clear
	Text     string // what is the case
	Hint     string // how to get it, if it does not hold
}

// Ready reports whether every layer holds that must, and that there are any.
func Ready(layers []Layer) bool {
	return len(layers) > 0 && !slices.ContainsFunc(layers, func(l Layer) bool { return l.Required && !l.Holds })
}

// holders are what may hold an interface on a media port. usbfs is no driver: it is the kernel's word for a program that has
// claimed the interface through the device's node, as usbreader does. That is open to nobody else but root, and as long as one
// program has it no other one can.
var holders = []string{"hub", "usbfs"}

// Check looks whether the kernel stays away from media. root is where sysfs is, /sys. What cannot be looked at does not hold.
// That nothing detaches a driver and gives it back later is not to be seen here: usbreader never asks for it.
func Check(root string, p Policy) []Layer {
	if err := p.Check(); err != nil {
		return []Layer{{"usb-ports", false, true, err.Error(), "correct the ports in the station's configuration"}}
	}
	t, err := openTree(root)
	if err == nil {
		defer t.close()
	}
	var buses, names []string
	if err == nil {
		names, err = t.names()
	}
	if err == nil {
		buses, err = t.buses()
	}
	if err == nil && len(buses) == 0 {
		err = fmt.Errorf("%w: there is no bus", ErrSysfs)
	}
	if err != nil {
		return []Layer{{"usb-bus", false, true, err.Error(), "the machine needs a USB controller, and the kernel its driver"}}
	}
	return []Layer{
		{"usb-bus", true, true, fmt.Sprintf("%d buses", len(buses)), ""},
		t.switchedOff(buses, "usb-devices", "authorized_default", "no device lives before it is authorised"),
		t.switchedOff(buses, "usb-interfaces", "interface_authorized_default", "no interface lives before it is authorised"),
		t.checkDrivers(names, p),
		t.checkAutoprobe(),
		t.checkPorts(p),
		t.checkHalves(p),
		t.checkBoot(),
	}
}

func (t tree) line(name string) (string, error) {
	dir, file := path.Split(name)
	d, err := t.root.OpenRoot(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return "", err
	}
	defer d.Close()
	b, err := read(d, file, maxNumber)
	return strings.TrimSpace(string(b)), err
}

func (t tree) switchedOff(buses []string, name, attribute, what string) Layer {
	l := Layer{Name: name, Holds: true, Required: true, Text: what}
	for _, bus := range buses {
		if value, err := t.line(path.Join(devicesDir, bus, attribute)); err != nil || value != "0" {
			l.Holds = false
			l.Text = fmt.Sprintf("on %s the kernel authorises by itself (%s is %q)", bus, attribute, value)
			l.Hint = "usbgate sets it: is it running, and as root?"
		}
	}
	return l
}

func (t tree) checkDrivers(names []string, p Policy) Layer {
	l := Layer{Name: "usb-no-driver", Holds: true, Required: true, Text: "no driver holds anything on a media port"}
	for _, name := range names {
		port, _, isInterface := strings.Cut(name, ":")
		if _, media := p.Socket(port); !isInterface || !media {
			continue
		}
		target, err := t.root.Readlink(path.Join(devicesDir, name, "driver"))
		if errors.Is(err, fs.ErrNotExist) || err == nil && slices.Contains(holders, path.Base(target)) {
			continue
		}
		l.Holds = false
		l.Text = fmt.Sprintf("the driver %s holds what is on port %s", path.Base(target), port)
		if err != nil {
			l.Text = err.Error()
		}
		l.Hint = "pull it out; nothing else on this machine may use the media ports"
	}
	return l
}

// checkPorts looks for the switch of each media port. Linux has it since 6.0. Ports behind a hub have theirs when it is there.
func (t tree) checkPorts(p Policy) Layer {
	l := Layer{Name: "usb-ports", Holds: true, Required: true, Text: fmt.Sprintf("%d media ports, each with its switch", len(p.Media))}
	if len(p.Media) == 0 {
		l.Holds, l.Text, l.Hint = false, "no media port is named", "name the media ports in the station's configuration"
		return l
	}
	for _, port := range slices.Sorted(maps.Keys(p.Media)) {
		if _, err := t.root.Lstat(path.Join(devicesDir, portDir(port), "disable")); err != nil {
			l.Holds, l.Text = false, fmt.Sprintf("port %s is not there, or cannot be switched off", port)
			l.Hint = "it needs Linux 6.0 or newer, and the name of a port that exists"
		}
	}
	return l
}

// Off names the media ports that are switched off. A port that is not there is not one of them.
func Off(root string, p Policy) (ports []string) {
	t, err := openTree(root)
	if err != nil {
		return nil
	}
	defer t.close()
	for _, port := range slices.Sorted(maps.Keys(p.Media)) {
		if value, err := t.line(path.Join(devicesDir, portDir(port), "disable")); err == nil && value == "1" {
			ports = append(ports, port)
		}
	}
	return ports
}

// portDir is where sysfs has what belongs to a port, whether something is on it or not.
func portDir(name string) string {
	port, err := gate.ParsePort(name)
	if err != nil {
		return ""
	}
	iface, dir := port.Switch()
	return path.Join(iface, dir)
}

// checkHalves looks whether the other half of each socket, as the firmware tells it, is the same socket in the policy: else
// a stick for USB 3 would be on a port that nobody reads, or on two sockets.
func (t tree) checkHalves(p Policy) Layer {
	l := Layer{Name: "usb-socket-halves", Holds: true, Text: "the two halves of each USB 3 socket belong together"}
	for _, port := range slices.Sorted(maps.Keys(p.Media)) {
		target, err := t.root.Readlink(path.Join(devicesDir, portDir(port), "peer"))
		if err != nil {
			continue // the port has no other half, or the firmware does not say
		}
		peer := peerPort(path.Base(target))
		if name, _ := p.Socket(peer); name != p.Media[port] {
			l.Holds = false
			l.Text = fmt.Sprintf("port %s is the other half of port %s (%s) and does not have its name", peer, port, p.Media[port])
			l.Hint = "give both ports the same name in the station's configuration"
		}
	}
	return l
}

// peerPort makes the port's name from that of its directory: usb2-port1 is 2-1, 1-1-port4 is 1-1.4.
func peerPort(dir string) string {
	hub, number, ok := strings.Cut(dir, "-port")
	if !ok {
		return ""
	}
	name := hub + "." + number
	if bus, root := strings.CutPrefix(hub, "usb"); root {
		name = bus + "-" + number
	}
	if _, err := gate.ParsePort(name); err != nil {
		return ""
	}
	return name
}

// checkBoot looks whether the kernel was told at its start. Without that, what is plugged in while the machine boots lives until
// the station is up. It is refused then, but a driver may have spoken to it.
func (t tree) checkBoot() Layer {
	value, err := t.line("module/usbcore/parameters/authorized_default")
	if err == nil && value == "0" {
		return Layer{Name: "usb-from-boot", Holds: true, Text: "from the kernel's start no device lives before it is authorised"}
	}
	return Layer{Name: "usb-from-boot", Text: "what is plugged in while the machine starts may live until the station is up",
		Hint: "boot with usbcore.authorized_default=0"}
}

// checkAutoprobe looks whether drivers come by themselves. An interface that is authorised for reading is one that a driver can
// have, and udev loads drivers when it hears of a device.
func (t tree) checkAutoprobe() Layer {
	if value, err := t.line("bus/usb/drivers_autoprobe"); err != nil || value != "0" {
		return Layer{Name: "usb-no-autoprobe", Required: true, Text: "the kernel offers what is plugged in to its drivers by itself",
			Hint: "usbgate sets it: is it running, and as root?"}
	}
	return Layer{Name: "usb-no-autoprobe", Holds: true, Required: true, Text: "the kernel offers nothing on the bus to its drivers by itself"}
}
