// Package probe attacks the jail of a worker from inside, to show on this machine, with the programs that are installed on
// it, that the jail holds.
//
// "scanworker probe NAME", "yaraworker probe ROLE NAME" and "usbreader usb BUS ADDRESS probe NAME" enter the very jail that they work in, tell what they are held by
// (Ready), and then try one thing that a hostile file would want them to do. What the filter answers by killing cannot be
// told by the process itself, so each attempt has a process of its own, and the supervisor looks at how that one ends. An
// attempt that succeeds is told (Tried) and does no harm: it is made on descriptors and memory that are there for this.
//
//	3  a source, open for reading only    4  the pipe for the frames of this package    5  a sealed slot's buffer
//
// The package trusts the supervisor's descriptors and nothing else. It is no part of a scan.
package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
)

// The descriptors.
const (
	sourceFD = 3
	reportFD = 4
	bufferFD = 5
)

// BufferBytes is the size that a probe's buffer must have at least.
const BufferBytes = 4096

// Attempt is one thing that a worker must not be able to do.
type Attempt struct {
	Name string
	What string       // for people
	Want []unix.Errno // the answers that show that the jail holds; none where it kills
	try  func(peer int) error
}

// Attempts returns what is tried, each in a process of its own. They make no call but the one that is tried, as far as the
// jail kills: the supervisor cannot see for which call it did.
func Attempts() []Attempt {
	return []Attempt{
		{"open", "open a file by its name", []unix.Errno{unix.EPERM}, func(int) error {
			fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}},
		{"socket", "open a network socket", nil, raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM)},
		{"send-descriptor", "give a descriptor to another process", nil, raw(unix.SYS_SENDMSG, sourceFD, 0, 0)},
		// An order that every descriptor obeys. A device would get orders the same way.
		{"order", "give a device orders", nil, raw(unix.SYS_IOCTL, sourceFD, fioclex)},
		{"exec", "execute another program", nil, func(int) error {
			program := []byte("/proc/self/exe\x00") // itself, without a mode, which ends at once
			return raw(unix.SYS_EXECVE, uintptr(unsafe.Pointer(&program[0])), 0, 0)(0)
		}},
		{"fork", "start another process", []unix.Errno{unix.EPERM}, fork},
		{"namespace", "make a namespace in which it has rights", nil, raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
		{"ptrace", "trace a process", nil, raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0)},
		{"kill", "send a signal to another process", nil, func(peer int) error { return unix.Kill(peer, 0) }},
		{"thread-kill", "send a signal to another process's thread", []unix.Errno{unix.EPERM}, func(peer int) error {
			return unix.Tgkill(peer, peer, 0)
		}},
		{"write-source", "write to the medium", []unix.Errno{unix.EBADF}, func(int) error {
			_, err := unix.Write(sourceFD, []byte{0})
			return err
		}},
		{"map-source", "map the medium for writing", []unix.Errno{unix.EACCES}, func(int) error {
			_, err := unix.Mmap(sourceFD, 0, BufferBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		}},
		{"new-code", "map memory that is executable", []unix.Errno{unix.EPERM}, func(int) error {
			_, err := unix.Mmap(-1, 0, BufferBytes, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			return err
		}},
		{"turn-to-code", "make memory that it wrote executable", []unix.Errno{unix.EPERM}, func(int) error {
			memory, err := unix.Mmap(-1, 0, BufferBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return errNothing
			}
			return unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC)
		}},
		// The limit on file sizes answers before the seal does, where there is one.
		{"write-buffer", "write to the sealed buffer", []unix.Errno{unix.EPERM, unix.EFBIG}, func(int) error {
			_, err := unix.Write(bufferFD, []byte{0})
			return err
		}},
		{"map-buffer", "map the sealed buffer for writing", []unix.Errno{unix.EPERM}, func(int) error {
			_, err := unix.Mmap(bufferFD, 0, BufferBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		}},
		{"thaw-buffer", "make its view of the sealed buffer writable", []unix.Errno{unix.EACCES}, func(int) error {
			memory, err := unix.Mmap(bufferFD, 0, BufferBytes, unix.PROT_READ, unix.MAP_SHARED)
			if err != nil {
				return errNothing
			}
			return unix.Mprotect(memory, unix.PROT_READ|unix.PROT_WRITE)
		}},
	}
}

// fioclex closes a descriptor when a program is executed (asm-generic/ioctls.h), which none is.
const fioclex = 0x5451

// errNothing says that an attempt could not even be made, and so shows nothing.
var errNothing = errors.New("probe: the attempt could not be made")

// raw makes one call and nothing around it.
func raw(nr uintptr, args ...uintptr) func(int) error {
	var a [3]uintptr
	copy(a[:], args)
	return func(int) error {
		if _, _, e := unix.RawSyscall(nr, a[0], a[1], a[2]); e != 0 {
			return e
		}
		return nil
	}
}

// fork starts a process that does nothing but end.
func fork(int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	switch {
	case e != 0:
		return e
	case pid == 0:
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

// Message is what a probe sends, one field set: Ready, then Tried if it is still alive.
type Message struct {
	Ready *Ready `cbor:"1,keyasint,omitempty"`
	Tried *Tried `cbor:"2,keyasint,omitempty"`
}

// Ready says what holds the process.
type Ready struct {
	Layers       []string `cbor:"1,keyasint"`
	LandlockABI  int      `cbor:"2,keyasint"`
	UID          int      `cbor:"3,keyasint"` // as the process sees itself
	Capabilities uint64   `cbor:"4,keyasint"` // in force or within reach
	Namespaces   []string `cbor:"5,keyasint"` // as the kernel names them, in the order of Namespaces
	Library      string   `cbor:"6,keyasint,omitempty"`
}

// Tried is the answer to the attempt.
type Tried struct {
	Errno int `cbor:"1,keyasint"` // 0: it succeeded
}

// Namespaces are the kinds of namespaces that a worker should have for itself, by their names under /proc/PID/ns.
var Namespaces = []string{"user", "mnt", "pid", "net", "ipc", "uts"}

// Run is the probe's whole life: it enters the jail, says so, and tries. library is the version of libyara, if there is
// one in the program.
func Run(name string, role sandbox.Role, library string) error {
	attempt, err := find(name)
	if err != nil {
		return err
	}
	ready := Ready{UID: os.Getuid(), Library: library}
	if ready.LandlockABI, err = sandbox.LandlockABI(); err != nil {
		return err
	}
	if ready.Capabilities, err = capabilities(); err != nil {
		return err
	}
	for _, kind := range Namespaces {
		// For their owner to see, under Landlock too, which has no say over links.
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return err
		}
		ready.Namespaces = append(ready.Namespaces, link)
	}
	// Whoever started this; in a process-id namespace of its own it sees nobody, and takes a number that is not its own.
	peer := max(os.Getppid(), 2)
	if ready.Layers, err = sandbox.Enter(role); err != nil {
		return err
	}
	out := frame.NewWriter(os.NewFile(reportFD, "report"))
	send := func(m Message) error {
		if err := out.Write(m); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := send(Message{Ready: &ready}); err != nil {
		return err
	}
	var tried Tried
	if err := attempt.try(peer); err != nil {
		var e unix.Errno
		if !errors.As(err, &e) {
			return err
		}
		tried.Errno = int(e)
	}
	return send(Message{Tried: &tried})
}

func find(name string) (Attempt, error) {
	for _, a := range Attempts() {
		if a.Name == name {
			return a, nil
		}
	}
	return Attempt{}, fmt.Errorf("probe: there is no attempt %q", name)
}

// capabilities returns those that the process has, permitted or in force, or could inherit.
func capabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if _, _, e := unix.Syscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return 0, e
	}
	word := func(d unix.CapUserData) uint64 { return uint64(d.Effective | d.Permitted | d.Inheritable) }
	return word(data[0]) | word(data[1])<<32, nil
}
