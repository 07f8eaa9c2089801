// Command usbreader holds one USB stick and gives its bytes to whoever reads them. It is started by the supervisor (package
// kiosk/worker) for one device that was authorised, with an empty environment and the descriptors that package lun names,
// and is never started by hand.
//
//	usbreader usb BUS ADDRESS -config N -interface N -device VID:PID
//	usbreader usb BUS ADDRESS probe NAME    attacks its own jail instead; package probe says how
//
// It opens the device through gousb, asks it what units it has, closes the jail of package sandbox, says so (lun.Ready), and
// serves each unit on its channel (package blocks) until the channels are closed or the device is of no use any more. When all
// are closed it asks the device once more whether it is what it was, and how it ends says so. Before
// the jail it parses a device's descriptors and its answers to a few commands, under Landlock, which holds since before its
// first Go instruction (package early). Everything else that a device sends passes through unread.
//
// It trusts that the supervisor looked at the descriptors before and authorised this interface alone, and the kernel. It
// holds no key and no file. What it could do, fallen, is to give the device other orders than to read, and to lie about what
// it read, as the device itself can.
//
// The exit codes are those of package lun, and 70 if the jail could not be closed.
//
// The two settings below keep the Go runtime from reading the number of processors again and again, from files that a
// jailed process cannot open.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/bot"
	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
	"pratique/scanner/frame"
	"pratique/scanner/probe"
	"pratique/scanner/sandbox"
	"pratique/scanner/sandbox/early"
)

const (
	// memoryLimit is where the garbage collector starts to work for its living. Everything is a buffer for each unit.
	memoryLimit = 24 << 20
	gcPercent   = 50
	// openTimeout is for the device to be open and its units known; the supervisor waits longer.
	openTimeout = 35 * time.Second
	// highestFD is more than this program and libusb have open at the start.
	highestFD = 128
)

func main() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(gcPercent)
	log.SetOutput(io.Discard) // gousb's words about devices
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "usbreader: error:", err) // no error here holds a word from the device
	os.Exit(code(err))
}

var errUsage = errors.New("is started by the supervisor, as package lun says")

// errJail says that the jail could not be closed.
var errJail = errors.New("no sandbox")

// code is the exit code for an error.
func code(err error) int {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errUsage, lun.ExitUsage}, {errJail, sandbox.ExitSandbox}, {bot.ErrGone, lun.ExitGone}, {bot.ErrRefused, lun.ExitRefused},
		{bot.ErrProtocol, lun.ExitProtocol}, {bot.ErrSilent, lun.ExitSilent}, {bot.ErrAccess, lun.ExitAccess},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	var e *blocks.Error
	if errors.As(err, &e) {
		switch e.Status {
		case blocks.Gone:
			return lun.ExitGone
		case blocks.TimedOut:
			return lun.ExitSilent
		case blocks.Changed:
			return lun.ExitChanged
		case blocks.Failed:
			return lun.ExitProtocol
		}
	}
	return lun.ExitFailed
}

func run(args []string) error {
	if len(args) < 4 || args[0] != "usb" {
		return errUsage
	}
	if err := early.Check(); err != nil {
		return fmt.Errorf("%w: %w", errJail, err)
	}
	if args[3] == "probe" && len(args) == 5 {
		if err := probe.Run(args[4], sandbox.USBReader, ""); err != nil {
			return fmt.Errorf("%w: %w", errJail, err)
		}
		return nil
	}
	address, err := parse(args[1:])
	if err != nil {
		return err
	}
	report, channels, err := donated()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	device, err := bot.Open(ctx, address)
	if err != nil {
		return err
	}
	if err := deafen(); err != nil {
		return fmt.Errorf("%w: hotplug: %w", errJail, err)
	}
	layers, err := sandbox.Enter(sandbox.USBReader)
	if err != nil {
		return fmt.Errorf("%w: %w", errJail, err)
	}
	if err := say(report, layers, device.Units); err != nil {
		return err
	}
	if err := serve(device.Units, channels); err != nil {
		return err
	}
	return device.Confirm(context.Background())
}

// parse reads the arguments behind the mode.
func parse(args []string) (a bot.Address, err error) {
	flags := flag.NewFlagSet("usbreader", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config := flags.Int("config", 0, "number of the configuration")
	face := flags.Int("interface", -1, "number of the interface")
	device := flags.String("device", "", "VID:PID")
	bus, busErr := strconv.Atoi(args[0])
	number, numberErr := strconv.Atoi(args[1])
	if busErr != nil || numberErr != nil || flags.Parse(args[2:]) != nil || flags.NArg() > 0 || *config < 1 || *config > 255 || *face < 0 || *face > 255 {
		return a, errUsage
	}
	if len(*device) != 9 || (*device)[4] != ':' {
		return a, errUsage
	}
	vendor, vendorErr := strconv.ParseUint((*device)[:4], 16, 16)
	product, productErr := strconv.ParseUint((*device)[5:], 16, 16)
	if vendorErr != nil || productErr != nil {
		return a, errUsage
	}
	return bot.Address{Bus: bus, Number: number, Vendor: uint16(vendor), Product: uint16(product), Configuration: *config, Interface: *face}, nil
}

// donated takes over the report pipe and the channels. What kinds they are the jail looks at; that they are there, this.
func donated() (report *os.File, channels []*os.File, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(lun.ReportFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, nil, fmt.Errorf("%w: no report pipe", errUsage)
	}
	for i := range lun.MaxUnits {
		fd := lun.FirstUnitFD + i
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			return nil, nil, fmt.Errorf("%w: no channel %d", errUsage, i)
		}
		f, err := blocks.Open(fd)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		channels = append(channels, f)
	}
	return os.NewFile(lun.ReportFD, "report"), channels, nil
}

// deafen takes from libusb's hotplug thread the netlink socket on which it hears of devices, and leaves it one on which
// nothing is ever said. gousb cannot be told to do without. That a device is gone shows on its own descriptor.
func deafen() error {
	for fd := lun.FirstUnitFD + lun.MaxUnits; fd < highestFD; fd++ {
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_NETLINK {
			continue // nothing is open here, or no socket; what else there is the jail refuses
		}
		mute, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Dup3(mute, fd, unix.O_CLOEXEC), unix.Close(mute)); err != nil {
			return err
		}
	}
	return nil
}

// say sends the one message, and closes the pipe.
func say(report *os.File, layers []string, units []*bot.Unit) error {
	ready := lun.Ready{Layers: layers}
	for _, u := range units {
		ready.Units = append(ready.Units, u.Info)
	}
	w := frame.NewWriter(report)
	return errors.Join(w.Write(ready), w.Flush(), report.Close())
}

// serve answers on the channels of the units that are good until all are closed, or one had to be told that the device is
// of no use any more: then none has anything left to hear. The channels of the other units are closed.
func serve(units []*bot.Unit, channels []*os.File) error {
	ended := make(chan error, len(channels))
	serving := 0
	for i, f := range channels {
		if i >= len(units) || units[i].Info.Trouble != lun.Good {
			f.Close()
			continue
		}
		serving++
		go func() {
			err := blocks.Serve(context.Background(), f, units[i])
			f.Close()
			ended <- err
		}()
	}
	for ; serving > 0; serving-- {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}
