//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pratique/testdata/e2e/wire"
)

const (
	kernelGroup  = 1       // the kernel's own messages; group 2 is udev's, which the guest does not have
	ueventBuffer = 8 << 20 // a hub with many devices says much at once
	ueventBytes  = 64 << 10
	inputEvent   = 24 // struct input_event on a 64-bit machine
)

// listenUevents reports what the kernel says about USB and all that a USB device can become.
func (a *agent) listenUevents() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ueventBuffer); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		return err
	}
	go func() {
		buf := make([]byte, ueventBytes)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				fmt.Println("agent: error: uevents:", err)
				continue
			}
			event := map[string]string{}
			for _, field := range bytes.Split(buf[:n], []byte{0}) {
				if key, value, ok := strings.Cut(string(field), "="); ok {
					event[key] = value
				}
			}
			switch event["SUBSYSTEM"] {
			case "usb", "block", "scsi", "hid", "hidraw", "input", "net", "tty", "sound":
				a.send(wire.Message{Kind: wire.Uevent, Uevent: event})
			}
			// The node is there before the event is.
			if name := event["DEVNAME"]; event["ACTION"] == "add" && strings.HasPrefix(name, "input/event") && strings.Contains(event["DEVPATH"], "/usb") {
				go a.listenInput("/dev/" + name)
			}
		}
	}()
	return nil
}

// listenInput counts what arrives at an input device until it is gone.
func (a *agent) listenInput(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	buf := make([]byte, 64*inputEvent)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		a.mu.Lock()
		a.keys += n / inputEvent
		a.mu.Unlock()
		a.send(wire.Message{Kind: wire.Input, Path: path})
	}
}
