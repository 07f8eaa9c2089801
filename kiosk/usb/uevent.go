package usb

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/gate"
)

const (
	// maxUevent is the kernel's own bound on a message (UEVENT_BUFFER_SIZE, 2048 bytes of variables), with its header.
	maxUevent = 8 << 10
	// ueventBuffer holds some ten thousand events: a full bus that comes and goes while the machine is busy.
	ueventBuffer = 16 << 20
	// kernelGroup is the multicast group of the kernel's own events; what udev sends on is another.
	kernelGroup = 1
)

// uevent is what is of interest in a kernel event about a USB device. The rest is read from sysfs, which is the truth.
type uevent struct {
	action  string
	port    string
	address int // of the device; 0 if the event does not say
}

// parseUevent reads one kernel event: "ACTION@DEVPATH", then variables, each closed by a zero
// (https://docs.kernel.org/core-api/kobject.html, lib/kobject_uevent.c). It answers false for what is not about a USB device.
func parseUevent(b []byte) (e uevent, ok bool) {
	if len(b) == 0 || len(b) > maxUevent || b[len(b)-1] != 0 {
		return uevent{}, false
	}
	head, rest, _ := bytes.Cut(b, []byte{0})
	action, devpath, found := bytes.Cut(head, []byte("@"))
	if !found || len(devpath) == 0 || devpath[0] != '/' {
		return uevent{}, false
	}
	e.action = string(action)
	usb, device := false, false
	for len(rest) > 0 {
		var v []byte
		v, rest, _ = bytes.Cut(rest, []byte{0})
		key, value, _ := bytes.Cut(v, []byte("="))
		switch string(key) {
		case "ACTION":
			if string(value) != e.action {
				return uevent{}, false
			}
		case "DEVPATH":
			if !bytes.Equal(value, devpath) {
				return uevent{}, false
			}
		case "SUBSYSTEM":
			usb = string(value) == "usb"
		case "DEVTYPE":
			device = string(value) == "usb_device"
		case "DEVNUM":
			n, err := strconv.Atoi(string(value))
			if err != nil || n < 1 || n > 127 {
				return uevent{}, false
			}
			e.address = n
		}
	}
	name := string(devpath[bytes.LastIndexByte(devpath, '/')+1:])
	if _, err := gate.ParsePort(name); err != nil || !usb || !device {
		return uevent{}, false
	}
	e.port = name
	return e, true
}

// listener is a socket for the kernel's events.
type listener struct{ fd int }

// listen opens it. Anybody may send to a netlink group's members on some kernels, so the sender is looked at each time.
func listen() (listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return listener{}, fmt.Errorf("usb: kernel events: %w", err)
	}
	// A larger buffer than the machine's limit needs a right. Without it the next larger one is had, and loss is noticed.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ueventBuffer); err != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, ueventBuffer)
		if err != nil {
			unix.Close(fd)
			return listener{}, fmt.Errorf("usb: kernel events: %w", err)
		}
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup})
	}
	if err != nil {
		unix.Close(fd)
		return listener{}, fmt.Errorf("usb: kernel events: %w", err)
	}
	return listener{fd}, nil
}

func (l listener) close() { unix.Close(l.fd) }

// next waits for an event, at most so long. lost says that the kernel had to drop some, or that what came was not a
// whole message: then sysfs has to be read, whatever the events say.
func (l listener) next(wait time.Duration) (e uevent, ok, lost bool, err error) {
	polled := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(polled, int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
		return uevent{}, false, false, nil
	}
	if err != nil {
		return uevent{}, false, true, err
	}
	buf, oob := make([]byte, maxUevent), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	size, oobSize, flags, from, err := unix.Recvmsg(l.fd, buf, oob, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return uevent{}, false, false, nil
	case errors.Is(err, unix.ENOBUFS):
		return uevent{}, false, true, nil
	case err != nil:
		return uevent{}, false, true, err
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return uevent{}, false, true, nil
	case !fromKernel(from, oob[:oobSize]):
		return uevent{}, false, false, nil
	}
	e, ok = parseUevent(buf[:size])
	return e, ok, false, nil
}

// fromKernel reports that the kernel sent a message, and no process: netlink's own sender is 0, and so is the process in the
// credentials, which the kernel fills in.
func fromKernel(from unix.Sockaddr, oob []byte) bool {
	nl, ok := from.(*unix.SockaddrNetlink)
	if !ok || nl.Pid != 0 || nl.Groups != kernelGroup {
		return false
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return false
	}
	cred, err := unix.ParseUnixCredentials(&messages[0])
	return err == nil && cred.Pid == 0 && cred.Uid == 0
}
