package main

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/gate"
)

const (
	// maxHeld bounds what is given at once, so that it can all be taken back: many hubs full of sticks.
	maxHeld = 256
	// maxBus is the highest number of a bus that Defaults looks for.
	maxBus = 255
	// usbMajor is the device number of /dev/bus/usb (Documentation/admin-guide/devices.txt).
	usbMajor = 189
	// maxAttribute is more than the numbers in sysfs have letters.
	maxAttribute = 32

	devices   = "bus/usb/devices/"
	autoprobe = "bus/usb/drivers_autoprobe"
)

// server is what usbgate knows: where it may reach, and what it gave.
type server struct {
	sys, dev   int // directories, as paths only
	media, own []gate.Port
	reader     int

	alive map[gate.Port]bool   // media ports whose device was authorised
	given map[string]gate.Port // nodes that the reader owns, with their ports
}

// serve answers requests one after another until the socket ends. Then it takes everything back.
func (s *server) serve(fd int) {
	s.alive, s.given = map[gate.Port]bool{}, map[string]gate.Port{}
	defer s.takeAll()
	for {
		b := make([]byte, gate.RequestSize+1) // one more, so that a longer message is seen to be one
		n, err := unix.Read(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 { // an empty message is an end too
			return
		}
		answer := s.answer(b[:n])
		for {
			if _, err = unix.Write(fd, answer); err != unix.EINTR {
				break
			}
		}
		if err != nil {
			return
		}
	}
}

// answer does one request. Whatever it is made of, the answer is eight bytes.
func (s *server) answer(message []byte) []byte {
	r, port, err := gate.DecodeRequest(message)
	if err != nil {
		return gate.EncodeAnswer(gate.NoVerb, false, unix.EINVAL)
	}
	if err = s.allowed(r, port); err == nil {
		err = s.do(r, port)
	}
	var errno syscall.Errno
	switch {
	case err == nil:
		return gate.EncodeAnswer(r.Verb, true, 0)
	case errors.As(err, &errno) && errno != 0:
		return gate.EncodeAnswer(r.Verb, false, errno)
	}
	return gate.EncodeAnswer(r.Verb, false, unix.EIO)
}

// allowed holds a request against the ports of the command line. A port behind a hub in a media port is a media port; one
// behind a device of the station's own is nothing unless it was named.
func (s *server) allowed(r gate.Request, port gate.Port) error {
	media, own := false, false
	for _, p := range s.media {
		media = media || port.Within(p)
	}
	for _, p := range s.own {
		own = own || port == p
	}
	switch r.Verb {
	case gate.Defaults:
		return nil
	case gate.AdmitOwn:
		if own {
			return nil
		}
	case gate.Deauthorise:
		return nil // takes only
	default:
		if media && !own {
			return nil
		}
	}
	return unix.EPERM
}

func (s *server) do(r gate.Request, port gate.Port) error {
	switch r.Verb {
	case gate.Defaults:
		return s.defaults()
	case gate.Authorise, gate.AdmitHub, gate.AdmitOwn:
		if len(s.alive) >= maxHeld {
			return unix.ENOSPC
		}
		if r.Verb != gate.AdmitOwn {
			s.alive[port] = true
		}
		err := s.admit(r, port)
		if err != nil && r.Verb != gate.AdmitOwn {
			_ = s.deauthorise(port) // the error is already one; the port stays in the list for the end
		}
		return err
	case gate.Deauthorise:
		return s.deauthorise(port)
	case gate.Disable:
		return s.power(port, "1")
	case gate.Enable:
		return s.power(port, "0")
	case gate.HandOver:
		return s.chown(r, port, s.reader)
	case gate.TakeBack:
		return s.chown(r, port, 0)
	}
	return unix.EINVAL
}

// defaults sets on every root hub that neither devices nor interfaces live by themselves, and on the bus that nothing is
// offered to drivers by itself, and reads that it is so. The last is for a driver that is loaded late: udev loads usb-storage
// when it hears of a stick, and a driver that comes looks at whatever lives by then. A machine without a bus has nothing
// to be guarded: that is an error, since somebody thinks otherwise.
func (s *server) defaults() error {
	if err := s.off(s.sys, autoprobe); err != nil {
		return err
	}
	found := false
	for bus := 1; bus <= maxBus; bus++ {
		hub, err := s.open(s.sys, devices+"usb"+strconv.Itoa(bus), unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return err
		}
		err = s.closed(hub)
		unix.Close(hub)
		if err != nil {
			return err
		}
		found = true
	}
	if !found {
		return unix.ENODEV
	}
	return nil
}

func (s *server) closed(hub int) error {
	return errors.Join(s.off(hub, "authorized_default"), s.off(hub, "interface_authorized_default"))
}

// off sets a switch to 0.
func (s *server) off(dir int, name string) error {
	if err := s.write(dir, name, "0"); err != nil {
		return err
	}
	return s.isOff(dir, name)
}

func (s *server) isOff(dir int, name string) error {
	if value, err := s.read(dir, name); err != nil || value != "0" {
		return errors.Join(err, unix.EPERM)
	}
	return nil
}

// admit authorises a device and one interface of it. That nothing lives or is probed by itself is looked up first: with the
// defaults of the kernel, authorising the device would bring all its interfaces to life, with their drivers.
//
// The device itself, as opposed to its interfaces, gets the kernel's generic driver, by name: since nothing is probed by itself
// it has none, and later kernels choose no configuration for a device without. There are others for whole devices, which
// a device could ask for by the numbers that it gives itself.
func (s *server) admit(r gate.Request, port gate.Port) error {
	bus, _, _ := strings.Cut(port.String(), "-")
	hub, err := s.open(s.sys, devices+"usb"+bus, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return err
	}
	defer unix.Close(hub)
	if err := errors.Join(s.isOff(hub, "interface_authorized_default"), s.isOff(s.sys, autoprobe)); err != nil {
		return err
	}
	dir, err := s.device(port)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := s.bind("bus/usb/drivers/usb/bind", port.String()); err != nil {
		return err
	}
	if err := s.write(dir, "authorized", "1"); err != nil {
		return err
	}
	name := port.String() + ":" + strconv.Itoa(int(r.Config)) + "." + strconv.Itoa(int(r.Interface))
	iface, err := s.open(dir, name, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err // the kernel chose another configuration, or the device lied
	}
	defer unix.Close(iface)
	if r.Verb == gate.Authorise {
		if err := s.unbound(iface); err != nil {
			return err
		}
	}
	if err := s.write(iface, "authorized", "1"); err != nil {
		return err
	}
	switch r.Verb {
	case gate.Authorise:
		return s.unbound(iface)
	case gate.AdmitHub:
		return s.bind("bus/usb/drivers/hub/bind", name)
	case gate.AdmitOwn:
		if err := s.bind("bus/usb/drivers_probe", name); err != nil {
			return err
		}
		switch err := s.unbound(iface); err {
		case nil:
			return unix.EAGAIN // it lives, but udev may still be loading its driver, which will not come by itself
		case unix.EBUSY:
			return nil
		default:
			return err
		}
	}
	return nil
}

// bind asks for a driver. One that is there already is no error.
func (s *server) bind(through, name string) error {
	err := s.write(s.sys, through, name)
	if err == unix.EBUSY {
		return nil
	}
	return err
}

// unbound answers EBUSY if a driver holds an interface.
func (s *server) unbound(iface int) error {
	link, err := s.open(iface, "driver", unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	switch {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return err
	}
	unix.Close(link)
	return unix.EBUSY
}

// deauthorise takes a device's life. One that is gone has none.
func (s *server) deauthorise(port gate.Port) error {
	dir, err := s.device(port)
	if err == nil {
		defer unix.Close(dir)
		err = s.write(dir, "authorized", "0")
	}
	if err == unix.ENOENT || err == unix.ENODEV {
		err = nil
	}
	if err == nil {
		delete(s.alive, port)
	}
	return err
}

// power switches a port. The switch is its hub's.
func (s *server) power(port gate.Port, disable string) error {
	iface, name := port.Switch()
	dir, err := s.open(s.sys, devices+iface, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return s.write(dir, name+"/disable", disable)
}

// chown gives a device's node to a user, or takes it back.
func (s *server) chown(r gate.Request, port gate.Port, uid int) error {
	name := number3(int(r.Bus)) + "/" + number3(int(r.Address))
	if uid == 0 && s.given[name] != port {
		return unix.EPERM
	}
	if uid != 0 && len(s.given) >= maxHeld {
		return unix.ENOSPC
	}
	node, err := s.open(s.dev, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	if err == unix.ENOENT && uid == 0 { // it went with its device, and a new one is root's
		delete(s.given, name)
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(node)
	if uid != 0 {
		if err := s.belongs(node, port); err != nil {
			return err
		}
		s.given[name] = port
	}
	if err := unix.Fchownat(node, "", uid, -1, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if uid == 0 {
		delete(s.given, name)
	}
	return nil
}

// belongs asks sysfs, while the node is held, whether it is that of the device on a port, and whether that device lives because
// it was authorised here.
func (s *server) belongs(node int, port gate.Port) error {
	var st unix.Stat_t
	if err := unix.Fstat(node, &st); err != nil {
		return err
	}
	dir, err := s.device(port)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	number, err := s.read(dir, "dev")
	if err != nil {
		return err
	}
	if alive, err := s.read(dir, "authorized"); err != nil || alive != "1" || !s.alive[port] {
		return errors.Join(err, unix.EPERM)
	}
	isNode := st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) == usbMajor
	if !isNode || number != strconv.Itoa(usbMajor)+":"+strconv.Itoa(int(unix.Minor(st.Rdev))) {
		return unix.ENXIO
	}
	return nil
}

func number3(n int) string {
	text := strconv.Itoa(n)
	return strings.Repeat("0", max(0, 3-len(text))) + text
}

// takeAll is the end: what was given is taken, as far as it is still there.
func (s *server) takeAll() {
	for name := range s.given {
		if node, err := s.open(s.dev, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV); err == nil {
			_ = unix.Fchownat(node, "", 0, -1, unix.AT_EMPTY_PATH)
			unix.Close(node)
		}
	}
	for port := range s.alive {
		_ = s.deauthorise(port)
	}
}

func (s *server) device(port gate.Port) (int, error) {
	return s.open(s.sys, devices+port.String(), unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
}

// open opens below a directory and nowhere else: the kernel refuses a name or a link that leads out. Sysfs's lists of devices
// are links, so those are followed where more does not say otherwise.
func (s *server) open(dir int, name string, flags, more uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | more,
		})
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: something was renamed meanwhile
			return fd, err
		}
	}
}

func (s *server) write(dir int, name, value string) error {
	fd, err := s.open(dir, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unix.Write(fd, []byte(value))
	if err == nil && n != len(value) {
		err = unix.EIO
	}
	return err
}

// read reads one of the kernel's short answers, without the end of its line.
func (s *server) read(dir int, name string) (string, error) {
	fd, err := s.open(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, maxAttribute)
	n, err := unix.Read(fd, b)
	if err != nil || n < 1 {
		return "", errors.Join(err, unix.EIO)
	}
	return strings.TrimSuffix(string(b[:n]), "\n"), nil
}
