//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0

// Command usbgate is the one process of the station that may change something on the USB bus. It runs as root, holds a socket
// to pratiqued, and does what package gate lists, on the ports that it was started with and on no others.
//
//	usbgate -reader UID [-own PORT]... PORT...
//
// PORT is a port for media, as the kernel names it (1-2); -own names a port of a device that belongs to the station. The
// socket is descriptor 3, of kind SOCK_SEQPACKET: one end of a pair, or what systemd hands to a service behind a socket
// with Accept=yes. Whoever holds the other end is trusted no further than the verbs go.
//
// It parses nothing of a medium and nothing that a device says: requests are of one size with two numbers and a port's name
// in them, and of sysfs it reads four switches and a device number, all the kernel's. What it opens, it opens below two directories,
// through names that were checked letter by letter, and the kernel refuses to leave those directories (openat2).
//
// What is left to it: of root's rights CAP_CHOWN alone, for giving a device node to the reader; root's files, which the
// switches in sysfs are; and the calls of sandbox.USBGate. It cannot bind any driver to a medium's interface: authorising one
// probes none, and for a hub the kernel's hub driver alone is asked. On the whole bus the kernel is told to offer nothing to
// drivers by itself, so that one that is loaded late takes nothing either. Another program of root's could still bind one,
// so an interface that has a driver is refused.
//
// # The device node
//
// The Go binding of libusb takes no open descriptor, so usbreader must open the node by itself. Its owner is
// changed, not its group or mode: whatever the mode was, others gain nothing. Of all nodes on the machine that user owns
// this one, and only until it is taken back, which happens as soon as usbreader has it open. The node is held while
// sysfs is asked whether it is that of the device on the port, so it cannot be another one's.
//
// When the socket ends, pratiqued has ended or has been killed. Then every medium is de-authorised, every node taken back,
// and usbgate ends: exit code 0. It ends with 70 if its sandbox cannot be had, with 2 if its arguments are wrong, and
// with 1 if the directories or the socket are. A killed usbgate leaves what it authorised authorised; nothing probes drivers,
// so nothing happens to it, and the next start refuses what it finds until it is plugged in anew.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/gate"
	"pratique/scanner/sandbox"
)

// socket is the descriptor of the conversation.
const socket = 3

// maxPorts bounds the list of ports: a configuration has at most 32 for media and 64 of the station's own.
const maxPorts = 96

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, words io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(words, "usbgate: error: %v\n", err)
		return code
	}
	s, sys, dev, err := arguments(args, words)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return fail(2, err)
	}
	if kind, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return fail(1, errors.New("descriptor 3 is not a socket of packets"))
	}
	unix.CloseOnExec(socket)
	for _, dir := range []struct {
		name string
		fd   *int
	}{{sys, &s.sys}, {dev, &s.dev}} {
		if *dir.fd, err = unix.Open(dir.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return fail(1, fmt.Errorf("%s: %w", dir.name, err))
		}
	}
	if err := dropRights(); err != nil {
		return fail(sandbox.ExitSandbox, err)
	}
	if _, err := sandbox.Enter(sandbox.USBGate); err != nil {
		return fail(sandbox.ExitSandbox, err)
	}
	s.serve(socket)
	return 0
}

func arguments(args []string, words io.Writer) (s server, sys, dev string, err error) {
	set := flag.NewFlagSet("usbgate", flag.ContinueOnError)
	set.SetOutput(words)
	set.StringVar(&sys, "sys", "/sys", "`directory` of the kernel's tree")
	set.StringVar(&dev, "dev", "/dev/bus/usb", "`directory` of the device nodes")
	set.IntVar(&s.reader, "reader", -1, "`user id` that usbreader runs as")
	add := func(list *[]gate.Port, name string) error {
		port, err := gate.ParsePort(name)
		if err == nil && len(s.own)+len(s.media) >= maxPorts {
			err = errors.New("too many ports")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		*list = append(*list, port)
		return nil
	}
	set.Func("own", "`port` of a device that belongs to the station", func(name string) error { return add(&s.own, name) })
	if err := set.Parse(args); err != nil {
		return s, "", "", err
	}
	for _, name := range set.Args() {
		if err := add(&s.media, name); err != nil {
			return s, "", "", err
		}
	}
	for _, own := range s.own {
		for _, media := range s.media {
			if own.Within(media) {
				return s, "", "", fmt.Errorf("%v is a port for media and of the station's own", own)
			}
		}
	}
	if s.reader < 0 {
		return s, "", "", errors.New("-reader is missing")
	}
	return s, sys, dev, nil
}
