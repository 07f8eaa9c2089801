//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0

// Scanworker is the process that reads a medium. It is started by the supervisor (kiosk/worker) for one session, takes
// everything that it works with as open descriptors, closes the jail of package sandbox around itself, and only then reads
// the first foreign byte. It opens nothing by name, starts nothing, and keeps nothing. Nobody starts it by hand.
//
// Arguments: -slots N -lists N. Descriptors, in this order:
//
//	3              the medium, open for reading, or a channel to the process that holds it (package blocks)
//	4              the report pipe: report.Message frames go out
//	5              the command pipe: report.Command frames come in, Job first
//	then           one descriptor for each blocklist, compiled by package blocklist
//	then, by slot  the buffer (a memfd, sealed against growing and shrinking), the request pipe for writing, the answer pipe
//	               for reading
//
// "scanworker carry" carries one folder off a medium and scans nothing: descriptors 3, 4 and 5 as above, but what goes over the
// pipes is a carry.Job and carry.Message frames (package carry).
//
// Each buffer is mapped for writing and then sealed with F_SEAL_FUTURE_WRITE (Linux 5.1): whoever maps it later, as
// yaraworker does, can only read it. The supervisor starts yaraworker after Ready has said so.
//
// "scanworker probe NAME" attacks the same jail instead; package probe says how.
//
// The exit code is 0 once the last message is sent, whatever it says; 2 for arguments or descriptors that are not as above;
// 70 if the jail could not be closed; 1 for anything else, such as a supervisor that is gone. Only 0 with report.Done on
// the pipe is a scan.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"pratique/rules/blocklist"
	"pratique/scanner"
	"pratique/scanner/blocks"
	"pratique/scanner/carry"
	"pratique/scanner/frame"
	"pratique/scanner/probe"
	"pratique/scanner/report"
	"pratique/scanner/sandbox"
	"pratique/scanner/volume"
)

const (
	sourceFD  = 3
	reportFD  = 4
	commandFD = 5
	firstFD   = 6 // of the lists

	maxSlots = 64 // more cores than a kiosk has
	maxLists = 16 // the pack's, the station's, and those given on a command line

	// maxSlotBytes bounds what one buffer may map: four times what the supervisor gives.
	maxSlotBytes = 256 << 20
	// memoryLimit is where the garbage collector starts to work for its living. One window of entries is 60 MiB; a file that
	// is opened with what it holds takes up to 200 MiB while it is (package container).
	memoryLimit = 288 << 20
	// gcPercent keeps the heap close to what is alive; most of the time goes into hashing, which makes no garbage.
	gcPercent = 50

	exitFailed = 1
	exitUsage  = 2
)

func main() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(gcPercent)
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "scanworker: error:", err) // no error here holds a name or content from the medium
	var exit *exitError
	if errors.As(err, &exit) {
		os.Exit(exit.code)
	}
	os.Exit(exitFailed)
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "carry" {
		return carryOff()
	}
	if len(args) == 2 && args[0] == "probe" {
		if err := probe.Run(args[1], sandbox.ScanWorker, ""); err != nil {
			return &exitError{sandbox.ExitSandbox, err}
		}
		return nil
	}
	flags := flag.NewFlagSet("scanworker", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	slotCount := flags.Int("slots", 0, "number of slots")
	listCount := flags.Int("lists", 0, "number of blocklists")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return usage("usage: scanworker -slots N -lists N, started by the supervisor with its descriptors")
	}
	if *slotCount < 1 || *slotCount > maxSlots || *listCount < 0 || *listCount > maxLists {
		return usage("%d slots and %d lists: out of range", *slotCount, *listCount)
	}
	d, err := openDonations()
	if err != nil {
		return err
	}
	lists, err := openLists(firstFD, *listCount)
	if err != nil {
		return err
	}
	slots, err := openSlots(firstFD+*listCount, *slotCount)
	if err != nil {
		return err
	}

	layers, err := sandbox.Enter(sandbox.ScanWorker)
	if err != nil {
		return &exitError{sandbox.ExitSandbox, err}
	}
	sender := scanner.NewSender(d.out)
	if err := sender.Send(report.Message{Ready: &report.Ready{Layers: layers}}); err != nil {
		return err
	}
	commands := frame.NewReader(d.in)
	var first report.Command
	if err := commands.Next(&first); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	if first.Job == nil || first.SlotReady != nil {
		return errors.New("the first command is no job")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { cancel(obey(commands, slots)) }() // ends with the process: a read of a pipe cannot be called off
	src, err := d.source(first.Job.Size, first.Job.SectorSize)
	if err != nil {
		return err
	}
	return scanner.Scan(ctx, src, *first.Job, slots, lists, sender)
}

// carryOff carries a folder off the medium. It ends with the process: who started it and wants no more kills it.
func carryOff() error {
	d, err := openDonations()
	if err != nil {
		return err
	}
	layers, err := sandbox.Enter(sandbox.ScanWorker)
	if err != nil {
		return &exitError{sandbox.ExitSandbox, err}
	}
	w := frame.NewWriter(d.out)
	emit := func(m carry.Message) error {
		if err := w.Write(m); err != nil || m.File != nil || m.Data != nil { // those wait for more
			return err
		}
		return w.Flush()
	}
	if err := emit(carry.Message{Ready: &carry.Ready{Layers: layers}}); err != nil {
		return err
	}
	var job carry.Job
	if err := frame.NewReader(d.in).Next(&job); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	src, err := d.source(job.Size, job.SectorSize)
	if err != nil {
		return err
	}
	return scanner.Carry(context.Background(), src, job, emit)
}

// donations are the descriptors that every run has.
type donations struct {
	medium  *os.File
	channel bool // the medium is one to the process that holds it
	out, in *os.File
}

func openDonations() (d donations, err error) {
	if d.medium, d.channel, err = openMedium(); err != nil {
		return d, err
	}
	if d.out, err = donated(reportFD, "report pipe", unix.S_IFIFO); err != nil {
		return d, err
	}
	d.in, err = donated(commandFD, "command pipe", unix.S_IFIFO)
	return d, err
}

// source is the medium as the scanner reads it.
func (d donations) source(size int64, sector int) (volume.Source, error) {
	if d.channel {
		return blocks.NewClient(d.medium, size, cmp.Or(sector, defaultSector))
	}
	return newSource(d.medium, size, sector), nil
}

// obey passes on what the supervisor says about the slots until the pipe ends.
func obey(commands *frame.Reader, slots []*scanner.Slot) error {
	for {
		var c report.Command
		if err := commands.Next(&c); err != nil {
			return fmt.Errorf("the supervisor is gone: %w", err)
		}
		if c.Job != nil || c.SlotReady == nil || c.SlotReady.Slot < 0 || c.SlotReady.Slot >= len(slots) {
			return errors.New("the supervisor sent a command that makes no sense")
		}
		if err := slots[c.SlotReady.Slot].Restarted(c.SlotReady.Cause); err != nil {
			return err
		}
	}
}

// donated returns a descriptor that the supervisor has opened, if it is what it should be.
func donated(fd int, what string, formats ...uint32) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, usage("descriptor %d (%s): %w", fd, what, err)
	}
	for _, f := range formats {
		if st.Mode&unix.S_IFMT == f {
			return os.NewFile(uintptr(fd), what), nil
		}
	}
	return nil, usage("descriptor %d is no %s", fd, what)
}

func openLists(fd, n int) ([]*blocklist.List, error) {
	var lists []*blocklist.List
	for ; n > 0; n-- {
		f, err := donated(fd, "blocklist", unix.S_IFREG)
		if err != nil {
			return nil, err
		}
		list, err := blocklist.OpenFile(f)
		if err != nil {
			return nil, usage("blocklist on descriptor %d: %w", fd, err)
		}
		lists = append(lists, list)
		fd++
	}
	return lists, nil
}

func openSlots(fd, n int) ([]*scanner.Slot, error) {
	var slots []*scanner.Slot
	for i := range n {
		buffer, err := mapBuffer(fd)
		if err != nil {
			return nil, usage("buffer of slot %d: %w", i, err)
		}
		var pipes [2]*os.File
		for j, what := range []string{"request pipe", "answer pipe"} {
			// Before os.NewFile looks: only then does the runtime's poller wait for the pipe, and reads have deadlines.
			if err := unix.SetNonblock(fd+1+j, true); err != nil {
				return nil, usage("%s of slot %d: %w", what, i, err)
			}
			if pipes[j], err = donated(fd+1+j, what, unix.S_IFIFO); err != nil {
				return nil, err
			}
		}
		s, err := scanner.NewSlot(i, buffer, pipes[0], pipes[1])
		if err != nil {
			return nil, err
		}
		slots = append(slots, s)
		fd += 3
	}
	return slots, nil
}

// mapBuffer maps a slot's memfd for writing and seals it, so that no other process can. The size must be sealed already:
// a buffer that shrinks would end this process with SIGBUS.
func mapBuffer(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size <= 0 || st.Size > maxSlotBytes {
		return nil, fmt.Errorf("%d bytes", st.Size)
	}
	buffer, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_FUTURE_WRITE
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&want != want {
		return nil, fmt.Errorf("seals %#x (%v)", seals, err)
	}
	return buffer, nil
}

// openMedium takes over the medium. A channel must be made ready for the runtime's poller before the jail is closed, which
// looks at what kind of socket it is.
func openMedium() (f *os.File, channel bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(sourceFD, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		if f, err = blocks.Open(sourceFD); err != nil {
			return nil, false, usage("medium: %w", err)
		}
		return f, true, nil
	}
	f, err = donated(sourceFD, "medium", unix.S_IFREG, unix.S_IFBLK)
	return f, false, err
}

// source is a file as package volume wants it. A file that ends before the job's size ends reads early, which is an
// unreadable place and not the end of the medium.
type source struct {
	*io.SectionReader
	file   *os.File
	sector int
}

// defaultSector is what an image without a word about it is read with; package volume tries the others by itself.
const defaultSector = 512

func newSource(f *os.File, size int64, sector int) source {
	return source{io.NewSectionReader(f, 0, size), f, cmp.Or(sector, defaultSector)}
}

func (s source) SectorSize() int { return s.sector }

// forgetBytes is what is given up at once: the kernel gives up whole pages only, whatever their size is.
const forgetBytes = 64 << 10

// Forget has the kernel give up what it keeps of a range of the medium, so that a block device is asked again. Pages that
// another program has in use stay: those of a volume that somebody mounted, say, which nobody does on a station. An image
// is read from its disk again, as far as it was written there.
// https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
func (s source) Forget(off, n int64) error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	start := off - off%forgetBytes
	end := (off + n + forgetBytes - 1) / forgetBytes * forgetBytes
	if ctl := raw.Control(func(fd uintptr) { err = unix.Fadvise(int(fd), start, end-start, unix.FADV_DONTNEED) }); ctl != nil {
		return ctl
	}
	return err
}

// DataFrom implements volume.Sparse. A device has no holes, and an image has those that its file system tells of. The
// descriptor's own offset moves, which nobody uses.
func (s source) DataFrom(off int64) int64 {
	at, err := s.file.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but a hole is left
		return s.Size()
	case err != nil || at < off:
		return off
	}
	return at
}
