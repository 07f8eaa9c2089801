//go:build linux

// Program usbspeed reads a stick in the test guest from its beginning, as fast as it comes, and prints rates in MB/s. It reads it
// either through the kernel's block device, first so that the controller writes into the program's own memory (O_DIRECT), which
// costs the processor nothing, and then as programs usually do, by copies from the kernel's memory; or as a station does,
// through usbreader and its channel, and then prints the most memory that usbreader had as well.
//
//	usbspeed -bytes N DEVICE
//	usbspeed -bytes N -dir PROGRAMS PORT
//
// DEVICE is a block device, PORT a port as the kernel names it, whose device is authorised and has no driver. It trusts whoever
// starts it, runs as root and is never installed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/worker"
	"pratique/scanner/blocks"
)

// step is what a scan asks for at once.
const step = 4 << 20

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "usbspeed: error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("usbspeed", flag.ContinueOnError)
	bytes := flags.Int64("bytes", 0, "how many `BYTES` are read")
	dir := flags.String("dir", "", "read through usbreader, which is in this `FOLDER`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || *bytes <= 0 {
		return errors.New("usage: usbspeed -bytes N [-dir PROGRAMS] DEVICE|PORT")
	}
	if *dir != "" {
		return throughReader(*dir, flags.Arg(0), *bytes)
	}
	return throughKernel(flags.Arg(0), *bytes)
}

func throughKernel(device string, bytes int64) error {
	buffer, err := unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // aligned, as O_DIRECT wants it
	if err != nil {
		return err
	}
	for _, flags := range []int{unix.O_DIRECT, 0} { // the first leaves nothing in the kernel's memory for the second
		fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "disk")
		rate, err := read(f, buffer, bytes)
		f.Close()
		if err != nil {
			return err
		}
		fmt.Printf("%.1f ", rate)
	}
	fmt.Println()
	return nil
}

// read reads from the beginning and returns the rate in MB/s.
func read(r io.ReaderAt, buffer []byte, bytes int64) (rate float64, err error) {
	begin := time.Now()
	for off := int64(0); off < bytes; off += int64(len(buffer)) {
		part := buffer[:min(int64(len(buffer)), bytes-off)]
		if n, err := r.ReadAt(part, off); n < len(part) {
			return 0, fmt.Errorf("%d bytes at %d: %w", n, off, err)
		}
	}
	return float64(bytes) / 1e6 / time.Since(begin).Seconds(), nil
}

func throughReader(dir, port string, bytes int64) error {
	number := func(name string, base int) int {
		text, _ := os.ReadFile(filepath.Join("/sys/bus/usb/devices", port, name))
		n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), base, 32) // what is missing is refused by the reader
		return int(n)
	}
	r, err := worker.StartReader(context.Background(), worker.ReaderConfig{Dir: dir, Bus: number("busnum", 10), Address: number("devnum", 10),
		Configuration: number("bConfigurationValue", 10), Vendor: uint16(number("idVendor", 16)), Product: uint16(number("idProduct", 16)), Stderr: os.Stderr})
	if err != nil {
		return err
	}
	defer r.Close()
	unit := r.Units[0]
	if unit.Blocks == nil {
		return fmt.Errorf("the first unit is %v", unit.Trouble)
	}
	c, err := blocks.NewClient(unit.Blocks, unit.Bytes, unit.SectorSize)
	if err != nil {
		return err
	}
	rate, err := read(c, make([]byte, step), bytes)
	if err != nil {
		return err
	}
	memory, err := mostMemory()
	if err != nil {
		return err
	}
	fmt.Printf("%.1f %d\n", rate, memory)
	return r.Finish(context.Background())
}

// mostMemory is the most that usbreader had in memory, in KiB.
func mostMemory() (kib int, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if comm, err := os.ReadFile(name); err != nil || strings.TrimSpace(string(comm)) != "usbreader" {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(name), "status"))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			}
		}
	}
	return 0, errors.New("there is no usbreader")
}
