// Command fake stands in for scanworker, yaraworker or usbreader and misbehaves in the way that the name of its folder says. It is
// started by the tests of package worker only.
//
//go:debug containermaxprocs=0
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
	"pratique/scanner/carry"
	"pratique/scanner/frame"
	"pratique/scanner/probe"
	"pratique/scanner/report"
	"pratique/scanner/slot"
)

func main() {
	self, err := os.Executable()
	if err != nil {
		os.Exit(1)
	}
	how := filepath.Base(filepath.Dir(self))
	switch {
	case how == "lying-probe":
		lyingProbe()
	case os.Args[0] == "usbreader":
		usbreader(how)
	case os.Args[0] == "scanworker" && len(os.Args) == 2 && os.Args[1] == "carry":
		carrier(how)
	case os.Args[0] == "scanworker":
		scanworker(how)
	case len(os.Args) == 2 && os.Args[1] == "compile":
		compiler(how)
	default:
		yaraworker(how)
	}
}

// usbreader holds a device of two units: 8 MiB of a pattern, and nothing.
func usbreader(how string) {
	say := func(units ...lun.Unit) {
		out := frame.NewWriter(os.NewFile(lun.ReportFD, "report"))
		if out.Write(lun.Ready{Layers: []string{"none"}, Units: units}) != nil || out.Flush() != nil {
			os.Exit(1)
		}
	}
	disk := lun.Unit{Trouble: lun.Good, Bytes: 8 << 20, SectorSize: 512, Vendor: "ACME"}
	if n, err := strconv.Atoi(strings.TrimPrefix(how, "exit-")); err == nil {
		os.Exit(n)
	}
	switch how {
	case "silent":
		time.Sleep(time.Hour)
	case "garbage":
		syscall.Write(lun.ReportFD, bytes.Repeat([]byte{0, 0, 0, 3, 0xFF}, 100))
		time.Sleep(time.Hour)
	case "huge-message":
		syscall.Write(lun.ReportFD, []byte{0xFF, 0xFF, 0xFF, 0xFF})
		time.Sleep(time.Hour)
	case "half-message":
		syscall.Write(lun.ReportFD, []byte{0, 0, 1, 0, 1, 2, 3})
	case "no-units":
		say()
		time.Sleep(time.Hour)
	case "many-units":
		say(make([]lun.Unit, lun.MaxUnits+1)...)
		time.Sleep(time.Hour)
	case "odd-unit":
		disk.SectorSize = 3
		say(disk)
		time.Sleep(time.Hour)
	case "odd-name":
		disk.Vendor = "\x1b[2J"
		say(disk)
		time.Sleep(time.Hour)
	case "dies-later":
		say(disk)
		time.Sleep(100 * time.Millisecond)
		os.Exit(lun.ExitGone)
	case "serves", "gone", "lies":
		say(disk, lun.Unit{Trouble: lun.NoMedium})
		serve(how, disk)
	case "serves-changed":
		say(disk)
		serve(how, disk)
		os.Exit(lun.ExitChanged)
	case "serves-for-ever":
		say(disk)
		serve(how, disk)
		time.Sleep(time.Hour)
	}
	os.Exit(0)
}

// medium is what a usbreader of this program holds: zeros, and an error where it is to end.
type medium struct {
	lun.Unit
	how string
}

func (m medium) Size() int64     { return m.Bytes }
func (m medium) SectorSize() int { return m.Unit.SectorSize }
func (m medium) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if m.how == "gone" && off > 4<<20 {
		return 0, &blocks.Error{Status: blocks.Gone}
	}
	return len(p), nil
}

func serve(how string, unit lun.Unit) {
	channel, err := blocks.Open(lun.FirstUnitFD)
	if err != nil {
		os.Exit(1)
	}
	for i := 1; i < lun.MaxUnits; i++ {
		syscall.Close(lun.FirstUnitFD + i)
	}
	if how == "lies" {
		channel.Write(bytes.Repeat([]byte("PQrp"), 1000))
	}
	if blocks.Serve(context.Background(), channel, medium{unit, how}) != nil {
		os.Exit(lun.ExitGone)
	}
}

// carrier is a scanworker that is to carry a folder off.
func carrier(how string) {
	out := frame.NewWriter(os.NewFile(4, "reports"))
	send := func(messages ...carry.Message) {
		for _, m := range messages {
			if out.Write(m) != nil || out.Flush() != nil {
				os.Exit(1)
			}
		}
	}
	ready, file := carry.Message{Ready: &carry.Ready{}}, carry.Message{File: &carry.File{Name: "a", Size: 1}}
	data, done := carry.Message{Data: []byte("x")}, carry.Message{Done: &carry.Done{Files: 1, Bytes: 1}}
	switch how {
	case "silent":
		send(ready)
		time.Sleep(time.Hour)
	case "exit-70":
		os.Exit(70)
	case "exit-1":
		os.Exit(1)
	case "garbage":
		send(ready)
		syscall.Write(4, bytes.Repeat([]byte{0, 0, 0, 3, 0xFF}, 100))
		time.Sleep(time.Hour)
	case "way-up":
		send(ready, carry.Message{File: &carry.File{Name: "../a", Size: 1}})
		time.Sleep(time.Hour)
	case "half":
		send(ready, carry.Message{File: &carry.File{Name: "a", Size: 2}}, data)
	case "no-end":
		send(ready, file, data)
	case "killed":
		send(ready, file, data)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "done-exit-1":
		send(ready, file, data, done)
		os.Exit(1)
	case "after-done":
		send(ready, file, data, done, data)
		time.Sleep(time.Hour)
	case "done":
		send(ready, file, data, done)
	}
	os.Exit(0)
}

func scanworker(how string) {
	out := frame.NewWriter(os.NewFile(4, "reports"))
	send := func(m report.Message) {
		if out.Write(m) != nil || out.Flush() != nil {
			os.Exit(1)
		}
	}
	ready := report.Message{Ready: &report.Ready{}}
	switch how {
	case "silent":
		time.Sleep(time.Hour)
	case "exit-1":
		os.Exit(1)
	case "exit-70":
		os.Exit(70)
	case "garbage":
		syscall.Write(4, bytes.Repeat([]byte{0, 0, 0, 3, 0xFF}, 100))
		time.Sleep(time.Hour)
	case "huge-message":
		syscall.Write(4, []byte{0xFF, 0xFF, 0xFF, 0xFF})
		time.Sleep(time.Hour)
	case "half-message":
		seal()
		send(ready)
		syscall.Write(4, []byte{0, 0, 1, 0, 1, 2, 3})
		os.Exit(0)
	case "early-item":
		send(report.ItemMessage(&report.Item{Path: "x", Kind: report.File}))
	case "unsealed":
		send(ready)
		time.Sleep(time.Hour)
	case "ready-exit-0":
		seal()
		send(ready)
		os.Exit(0)
	case "ready-exit-1":
		seal()
		send(ready)
		os.Exit(1)
	case "ready-killed":
		seal()
		send(ready)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "lying-done":
		seal()
		send(ready)
		send(report.Message{Done: &report.Done{Tally: report.Tally{Files: 1}}})
	case "done-exit-1", "done-hangs", "after-done":
		seal()
		send(ready)
		whole(send)
		switch how {
		case "done-exit-1":
			os.Exit(1)
		case "after-done":
			send(report.Message{Progress: &report.Progress{}})
		}
		syscall.Close(4)
		time.Sleep(time.Hour)
	case "flood":
		seal()
		send(ready)
		for {
			send(report.Message{Progress: &report.Progress{}})
		}
	case "bad-slot":
		seal()
		send(ready)
		send(report.Message{Slot: &report.SlotState{Slot: 1 << 40, Kill: true}})
		time.Sleep(time.Hour)
	case "kill-storm":
		seal()
		send(ready)
		for {
			send(report.Message{Slot: &report.SlotState{Kill: true}})
			time.Sleep(time.Millisecond)
		}
	case "busy-for-ever":
		seal()
		send(ready)
		commands := frame.NewReader(os.NewFile(5, "commands"))
		for range 2 {
			for {
				var c report.Command
				if commands.Next(&c) != nil {
					os.Exit(1)
				}
				if c.SlotReady != nil {
					fmt.Fprintln(os.Stderr, "cause", c.SlotReady.Cause)
					break
				}
			}
			send(report.Message{Slot: &report.SlotState{Busy: true}})
		}
		whole(send)
	case "waits", "yara-looks", "yara-exit-70", "yara-exit-3", "yara-dies":
		seal()
		send(ready)
		for range 600 {
			send(report.Message{Progress: &report.Progress{}})
			time.Sleep(100 * time.Millisecond)
		}
	case "looks":
		look()
	}
	os.Exit(0)
}

// lyingProbe says that it is held by everything, and can do everything.
func lyingProbe() {
	out := frame.NewWriter(os.NewFile(4, "report"))
	for _, m := range []probe.Message{{Ready: &probe.Ready{Layers: []string{"seccomp", "user-namespace"}}}, {Tried: &probe.Tried{}}} {
		if out.Write(m) != nil || out.Flush() != nil {
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// whole sends what an empty medium of 4096 bytes gives.
func whole(send func(report.Message)) {
	send(report.Message{Region: &report.Region{Bytes: 4096, Class: report.RegionZero}})
	var t report.Tally
	t.CountRegion()
	send(report.Message{Done: &report.Done{Tally: t, Digest: report.NewDigester().Sum()}})
}

// seal seals the only slot's buffer, as scanworker does.
func seal() {
	if _, err := unix.FcntlInt(6, unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err != nil {
		os.Exit(1)
	}
}

func yaraworker(how string) {
	switch how {
	case "yara-exit-70":
		os.Exit(70)
	case "yara-exit-3":
		os.Exit(slot.ExitDonation)
	case "yara-dies":
		os.Exit(1)
	case "yara-looks":
		tryToWrite()
		look()
	case "taken-over", "taken-over-babbles", "taken-over-dies", "taken-over-hangs":
		takenOver(strings.TrimPrefix(how, "taken-over-"))
	}
	time.Sleep(time.Hour)
}

// takenOver is a yaraworker in which an attacker's code runs: it finds nothing in anything, or it talks nonsense, or it ends.
func takenOver(how string) {
	requests, out := frame.NewReader(os.NewFile(5, "requests")), os.NewFile(6, "answers")
	answers := frame.NewWriter(out)
	say := func(a slot.Answer) {
		if answers.Write(a) != nil || answers.Flush() != nil {
			os.Exit(1)
		}
	}
	say(slot.Answer{Ready: &slot.Ready{Rules: 1}})
	for {
		var r slot.Request
		if requests.Next(&r) != nil {
			os.Exit(1)
		}
		switch how {
		case "babbles":
			_, _ = out.Write(bytes.Repeat([]byte{0, 0, 0, 5, 0xFF}, 100))
			time.Sleep(time.Hour)
		case "dies":
			os.Exit(1)
		case "hangs":
			time.Sleep(time.Hour)
		}
		for _, p := range r.Batch {
			say(slot.Answer{Done: &slot.Done{ID: p.ID, Scanned: true}})
		}
		if r.Stream != nil { // it has the choice to leave blocks out
			say(slot.Answer{Done: &slot.Done{ID: r.Stream.ID, Scanned: true}})
		}
	}
}

// tryToWrite does what a libyara in an attacker's hands would do to the bytes that are being hashed.
func tryToWrite() {
	say := func(what string, err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", what, err) }
	_, err := unix.Mmap(4, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	say("map", err)
	_, err = unix.Pwrite(4, []byte("x"), 0)
	say("write", err)
	say("shrink", unix.Ftruncate(4, 1))
	say("grow", unix.Ftruncate(4, 1<<40))
	say("punch", unix.Fallocate(4, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	m, err := unix.Mmap(4, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	say("map for reading", err)
	say("make writable", unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE))
	f, err := os.OpenFile("/proc/self/fd/4", os.O_RDWR, 0)
	say("open again", err)
	if err == nil {
		_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		say("map again", err)
		f.Close()
	}
	_, err = unix.FcntlInt(3, unix.F_GET_SEALS, 0)
	say("rules seals", err)
	_, err = unix.Pwrite(3, []byte("x"), 0)
	say("write rules", err)
}

// look prints what a worker was given.
func look() {
	fmt.Fprintln(os.Stderr, "environment", len(os.Environ()))
	fmt.Fprintln(os.Stderr, "arguments", os.Args)
	dir, _ := os.Getwd()
	fmt.Fprintln(os.Stderr, "folder", dir)
	for fd := range 64 {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			var st unix.Stat_t
			_ = unix.Fstat(fd, &st)
			fmt.Fprintf(os.Stderr, "descriptor %d %o %s\n", fd, st.Mode&unix.S_IFMT, target)
		}
	}
	group, _ := unix.Getpgid(0)
	signal, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	fmt.Fprintln(os.Stderr, "own group", group == os.Getpid(), signal)
	fmt.Fprintf(os.Stderr, "user %d\nprocess %d\n", os.Getuid(), os.Getpid())
	fmt.Fprintln(os.Stderr, "end of look")
}

func compiler(how string) {
	answers := frame.NewWriter(os.NewFile(5, "answers"))
	send := func(a slot.CompileAnswer) {
		if answers.Write(a) != nil || answers.Flush() != nil {
			os.Exit(1)
		}
	}
	compiled := slot.CompileAnswer{Compiled: &slot.Compiled{Rules: 1, Bytes: 4}}
	switch how {
	case "compile-exit-70":
		os.Exit(70)
	case "compile-hangs":
		time.Sleep(time.Hour)
	case "compile-garbage":
		syscall.Write(5, []byte{0, 0, 0, 1, 0xFF})
		time.Sleep(time.Hour)
	case "compile-nothing":
		os.Exit(0)
	case "compile-empty":
		send(compiled)
	case "compile-exit-1":
		syscall.Write(4, []byte("YARA"))
		send(compiled)
		os.Exit(1)
	case "compile-both":
		send(slot.CompileAnswer{Compiled: compiled.Compiled, Problem: &slot.Problem{}})
	case "compile-endless":
		for {
			send(slot.CompileAnswer{Problem: &slot.Problem{Text: "x", Warning: true}})
		}
	}
	os.Exit(0)
}
