// Package usbtest makes a tree of files that looks like sysfs with USB devices in it, for tests. It has the shape of the
// kernel's: the lists of devices are links to where the devices are. The kernel's part is played as far as files go:
// what a switch would cause does not happen by itself.
package usbtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tree is a sysfs below Dir.
type Tree struct {
	t   testing.TB
	Dir string
}

// New makes a tree with buses 1 … n, on which everything lives by itself, as after the kernel's start.
func New(t testing.TB, buses int) *Tree {
	t.Helper()
	s := &Tree{t, t.TempDir()}
	s.mkdir("bus/usb/devices")
	s.write("bus/usb/drivers/hub/bind", "")
	s.write("bus/usb/drivers/usb/bind", "")
	s.write("bus/usb/drivers_probe", "")
	s.write("bus/usb/drivers_autoprobe", "1\n")
	s.write("module/usbcore/parameters/authorized_default", "-1\n")
	for bus := 1; bus <= buses; bus++ {
		hub := fmt.Sprintf("devices/pci/usb%d", bus)
		for name, value := range map[string]string{"authorized_default": "1\n", "interface_authorized_default": "1\n", "busnum": fmt.Sprintln(bus)} {
			s.write(hub+"/"+name, value)
		}
		s.link(hub)
		s.hub(hub, fmt.Sprintf("%d-0:1.0", bus), fmt.Sprintf("usb%d-port", bus))
	}
	return s
}

// hub makes a hub's interface, with four ports.
func (s *Tree) hub(dir, iface, port string) {
	for n := 1; n <= 4; n++ {
		s.write(fmt.Sprintf("%s/%s/%s%d/disable", dir, iface, port, n), "0\n")
	}
	s.link(dir + "/" + iface)
}

// Path is the path of a file in the tree.
func (s *Tree) Path(name string) string { return filepath.Join(s.Dir, name) }

func (s *Tree) mkdir(name string) {
	s.t.Helper()
	if err := os.MkdirAll(s.Path(name), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Tree) write(name, value string) {
	s.t.Helper()
	s.mkdir(filepath.Dir(name))
	if err := os.WriteFile(s.Path(name), []byte(value), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// link puts a device or an interface on the bus's list.
func (s *Tree) link(dir string) {
	s.t.Helper()
	if err := os.Symlink("../../../"+dir, s.Path("bus/usb/devices/"+filepath.Base(dir))); err != nil {
		s.t.Fatal(err)
	}
}

// dir is where a port's device is: below its hub.
func dir(port string) string {
	bus, path, _ := strings.Cut(port, "-")
	at := "devices/pci/usb" + bus
	for i := range path {
		if path[i] == '.' {
			at += "/" + bus + "-" + path[:i]
		}
	}
	return at + "/" + port
}

// Plug puts a device on a port: its files, and of its first configuration the directories of the interfaces named, which the
// kernel makes when it is authorised. The strings are its serial number, maker and name.
func (s *Tree) Plug(port string, address int, descriptors []byte, interfaces []string, texts ...string) {
	s.t.Helper()
	at := dir(port)
	var bus int
	fmt.Sscanf(port, "%d-", &bus)
	for name, value := range map[string]string{
		"authorized": "0\n", "speed": "480\n", "busnum": fmt.Sprintln(bus), "devnum": fmt.Sprintln(address),
		"dev": fmt.Sprintf("189:%d\n", (bus-1)*128+address-1), "descriptors": string(descriptors),
	} {
		s.write(at+"/"+name, value)
	}
	for i, name := range []string{"serial", "manufacturer", "product"} {
		if i < len(texts) {
			s.write(at+"/"+name, texts[i]+"\n")
		}
	}
	for _, i := range interfaces {
		s.write(at+"/"+port+":"+i+"/authorized", "0\n")
		s.link(at + "/" + port + ":" + i)
	}
	s.link(at)
}

// Bind makes a driver hold an interface ("1-2:1.0").
func (s *Tree) Bind(iface, driver string) {
	s.t.Helper()
	s.mkdir("bus/usb/drivers/" + driver)
	port, _, _ := strings.Cut(iface, ":")
	if err := os.Symlink(s.Path("bus/usb/drivers/"+driver), s.Path(dir(port)+"/"+iface+"/driver")); err != nil {
		s.t.Fatal(err)
	}
}

// Remove takes a file of a device away, as happens while it goes.
func (s *Tree) Remove(port, name string) {
	s.t.Helper()
	if err := os.Remove(s.Path(dir(port) + "/" + name)); err != nil {
		s.t.Fatal(err)
	}
}

// Unplug takes a port's device away, and what is behind it.
func (s *Tree) Unplug(port string) {
	s.t.Helper()
	links, err := filepath.Glob(s.Path("bus/usb/devices/*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, link := range links {
		if name := filepath.Base(link); name == port || strings.HasPrefix(name, port+".") || strings.HasPrefix(name, port+":") {
			if err := os.Remove(link); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(s.Path(dir(port))); err != nil {
		s.t.Fatal(err)
	}
}

// Value is what a file in the tree says, without the end of its line.
func (s *Tree) Value(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(s.Path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Attribute is what a device's or interface's file says.
func (s *Tree) Attribute(device, name string) string {
	s.t.Helper()
	return s.Value("bus/usb/devices/" + device + "/" + name)
}

// Set writes a file in the tree, as another program of root's would.
func (s *Tree) Set(name, value string) { s.t.Helper(); s.write(name, value+"\n") }

// Interface is an interface descriptor with its endpoints' descriptors.
func Interface(number, class, subclass, protocol byte, endpoints ...[]byte) []byte {
	b := []byte{9, 4, number, 0, byte(len(endpoints)), class, subclass, protocol, 0}
	for _, e := range endpoints {
		b = append(b, e...)
	}
	return b
}

// Bulk is a bulk endpoint's descriptor, Interrupt an interrupt endpoint's.
func Bulk(address byte) []byte      { return []byte{7, 5, address, 2, 0, 2, 0} }
func Interrupt(address byte) []byte { return []byte{7, 5, address, 3, 8, 0, 10} }

// Descriptors are a device's, with one configuration of these interfaces.
func Descriptors(vendor, product uint16, class byte, interfaces ...[]byte) []byte {
	b := []byte{18, 1, 0, 2, class, 0, 0, 64, 0, 0, 0, 0, 0, 1, 1, 2, 3, 1}
	binary.LittleEndian.PutUint16(b[8:], vendor)
	binary.LittleEndian.PutUint16(b[10:], product)
	config := []byte{9, 2, 0, 0, byte(len(interfaces)), 1, 0, 0x80, 50}
	for _, i := range interfaces {
		config = append(config, i...)
	}
	binary.LittleEndian.PutUint16(config[2:], uint16(len(config)))
	return append(b, config...)
}

// Stick, Keyboard, StickAndKeyboard and Hub are what they are called.
func Stick(product uint16) []byte { return Descriptors(0x0951, product, 0, storage(0)) }

func storage(number byte) []byte {
	return Interface(number, 8, 6, 0x50, Bulk(0x81), Bulk(0x02))
}

func Keyboard() []byte { return Descriptors(0x046D, 0xC31C, 0, Interface(0, 3, 1, 1, Interrupt(0x81))) }

func StickAndKeyboard() []byte {
	return Descriptors(0x0951, 0x1666, 0, storage(0), Interface(1, 3, 1, 1, Interrupt(0x83)))
}

func Hub() []byte { return Descriptors(0x0409, 0x55AA, 9, Interface(0, 9, 0, 0, Interrupt(0x81))) }
