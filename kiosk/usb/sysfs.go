package usb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pratique/kiosk/usb/gate"
)

const (
	// devicesDir is below sysfs's root. Its entries are links to where the devices are in the tree.
	devicesDir = "bus/usb/devices"
	// maxEntries is far more than a machine can have: 127 devices on a bus, each with up to 32 interfaces, on a few buses.
	maxEntries = 16 << 10
	// maxDevices is eight full buses.
	maxDevices = 8 * 127
	// maxString is over the longest string descriptor, 126 letters of UTF-16, in the kernel's UTF-8. The rest is cut.
	maxString = 512
	// maxNumber is more than any number in sysfs has letters.
	maxNumber = 32
)

// tree is sysfs below an open directory: no name and no link in it leads out.
type tree struct{ root *os.Root }

func openTree(dir string) (tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return tree{}, fmt.Errorf("%w: %w", ErrSysfs, err)
	}
	return tree{root}, nil
}

func (t tree) close() { t.root.Close() }

// names lists a directory of devices, in order.
func (t tree) names() ([]string, error) {
	dir, err := t.root.Open(devicesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: this machine has no USB", ErrSysfs)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSysfs, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", ErrSysfs, err)
	}
	if len(names) == maxEntries {
		return nil, fmt.Errorf("%w: more than %d entries", ErrSysfs, maxEntries)
	}
	slices.Sort(names)
	return names, nil
}

// buses are the root hubs' names, usb1 and so on.
func (t tree) buses() (buses []string, err error) {
	names, err := t.names()
	for _, name := range names {
		if n, ok := strings.CutPrefix(name, "usb"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			buses = append(buses, name)
		}
	}
	return buses, err
}

// devices looks at every device but the root hubs. A device whose files cannot be read is in it, with FaultUnreadable.
func (t tree) devices() (devices []Device, err error) {
	names, err := t.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := gate.ParsePort(name); err != nil {
			continue // a root hub, or an interface
		}
		d, there := t.device(name)
		if !there {
			continue
		}
		if devices = append(devices, d); len(devices) > maxDevices {
			return nil, fmt.Errorf("%w: more than %d devices", ErrSysfs, maxDevices)
		}
	}
	return devices, nil
}

// device looks at one port. It is not there if its directory is gone by the end: it was pulled meanwhile.
func (t tree) device(port string) (_ Device, there bool) {
	dir, err := t.root.OpenRoot(path.Join(devicesDir, port))
	if errors.Is(err, fs.ErrNotExist) {
		return Device{}, false
	}
	d := Device{Port: port, Fault: FaultUnreadable}
	if err != nil {
		return d, true
	}
	defer dir.Close()
	if info, err := dir.Stat("."); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			d.Instance = st.Ino
		}
	}
	at := func() (bus, address int, err error) {
		bus, err1 := number(dir, "busnum")
		address, err2 := number(dir, "devnum")
		return bus, address, errors.Join(err1, err2)
	}
	bus, address, err := at()
	var blob []byte
	if err == nil {
		blob, err = read(dir, "descriptors", maxDescriptors+1)
	}
	speed := text(dir, "speed", maxNumber)
	serial, manufacturer, name := text(dir, "serial", maxString), text(dir, "manufacturer", maxString), text(dir, "product", maxString)
	bus2, address2, err2 := at()
	if err != nil || err2 != nil || bus != bus2 || address != address2 { // it went, or another came, while it was looked at
		if _, err := t.root.Lstat(path.Join(devicesDir, port)); errors.Is(err, fs.ErrNotExist) {
			return Device{}, false
		}
		return d, true
	}
	parsed, fault := Parse(blob)
	parsed.Port, parsed.Bus, parsed.Address, parsed.Instance, parsed.Speed = port, bus, address, d.Instance, speed
	parsed.Digest, parsed.Fault = sha256.Sum256(blob), fault
	parsed.Serial, parsed.Manufacturer, parsed.Name = serial, manufacturer, name
	return parsed, true
}

// read reads a file of at most limit bytes; what is longer is cut there. It does not wait: sysfs has no pipes.
func read(dir *os.Root, name string, limit int64) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// text reads a line. A file that is not there is an empty one: most devices have not all strings.
func text(dir *os.Root, name string, limit int64) string {
	b, _ := read(dir, name, limit)
	return strings.TrimSuffix(string(b), "\n")
}

func number(dir *os.Root, name string) (int, error) {
	b, err := read(dir, name, maxNumber)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is not a number", name)
	}
	return n, nil
}

// Untouched reports whether a device is there as it was when it was seen, the same insertion of it, and neither a driver nor a
// program has an interface of it. It is asked when a medium was read and before anything is signed. What cannot be looked at
// is not untouched.
func Untouched(root string, d Device) bool {
	t, err := openTree(root)
	if err != nil {
		return false
	}
	defer t.close()
	drivers, err := t.drivers(d.Port)
	if err != nil || len(drivers) > 0 {
		return false
	}
	now, there := t.device(d.Port)
	return there && now.Fault == "" && now.same(d)
}

// Drivers names the kernel's drivers that hold an interface of a port's device. A port with nothing on it has none.
func Drivers(root, port string) (drivers []string, err error) {
	t, err := openTree(root)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return t.drivers(port)
}

func (t tree) drivers(port string) (drivers []string, err error) {
	if _, err := gate.ParsePort(port); err != nil {
		return nil, err
	}
	names, err := t.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, port+":") {
			continue
		}
		target, err := t.root.Readlink(path.Join(devicesDir, name, "driver"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrSysfs, err)
		default:
			drivers = append(drivers, path.Base(target))
		}
	}
	return drivers, nil
}
