// Package sandbox takes every right away from a process before it reads the first foreign byte.
//
// Rules is the policy, a pure table per role. Enter is the effect: it applies the table of one role to the running process,
// for all its threads and for good, or returns an error, and then the process exits with ExitSandbox. There is no weaker
// mode. The layers, in the order in which they are applied:
//
//   - descriptors: whatever is open must be a pipe, a memfd, a medium or file opened for reading, the null device, the
//     Go runtime's own epoll, or what the role has on top: a connected Unix stream socket, a USB device, a timer. A
//     directory, any other socket, a terminal or a file open for writing is refused.
//   - dumpable-off: no core dump, and no other process of the same user may attach or read this one's memory.
//   - no-new-privs
//   - landlock: every right that the kernel's Landlock knows is taken and none is given back: files, TCP, signals and
//     abstract sockets, as far as its version goes. A kernel without Landlock is refused. A program with C in it gets this
//     layer earlier, from package early, and one that opens a USB device gets it with exceptions for that.
//   - rlimits: no new descriptor at all, no core, no file growth, bounded memory.
//   - seccomp: only the calls in the table. Everything else kills the process, but for the few calls that the C library
//     makes and survives without, which are refused.
//
// What is left to code that falls to a hostile file: computing, reading and writing the donated descriptors, and threads.
// It cannot open, connect, accept, fork, execute, trace, signal another process, or map memory that is executable. A socket
// can only be read and written: a descriptor cannot be sent or received. Whoever holds a USB device can send it anything. One
// role is another matter, usbgate's: it sees no foreign byte, and may open files (see gatePolicy).
//
// Seccomp and Landlock overlap by design: a hole in one is covered by the other, and neither needs a right to be applied.
//
// The package trusts the parent to donate only what the role needs, and the kernel. The user id and the namespaces of the
// process are the parent's to choose (package kiosk/worker): by the time that Enter runs it is too late for them.
package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// ExitSandbox is the exit code of a process whose jail could not be built (sysexits' EX_SOFTWARE).
const ExitSandbox = 70

// Role says which process is to be jailed.
type Role uint8

// The roles. The zero value has no rules and cannot be entered.
const (
	NoRole     Role = iota
	ScanWorker      // pure Go; parses the medium
	YARAWorker      // cgo; libyara matches content
	Compiler        // cgo; libyara compiles rules
	USBGate         // pure Go; root; switches USB ports, and sees no byte of a medium
	USBReader       // cgo; libusb, with one open USB device
)

var roleWords = [...]string{"no role", "scanworker", "yaraworker", "compiler", "usbgate", "usbreader"}

// String returns the role's name.
func (r Role) String() string {
	if int(r) < len(roleWords) {
		return roleWords[r]
	}
	return roleWords[NoRole]
}

// Layer is one layer of the jail, by its name in a scan's report.
type Layer string

// The layers.
const (
	Descriptors Layer = "descriptors"
	DumpableOff Layer = "dumpable-off"
	NoNewPrivs  Layer = "no-new-privs"
	Landlock    Layer = "landlock"
	Rlimits     Layer = "rlimits"
	Seccomp     Layer = "seccomp"
)

// Limit is one resource limit, soft and hard.
type Limit struct {
	Resource int // unix.RLIMIT_…
	Name     string
	Max      uint64
}

// Action is what the kernel does with a call. The zero value kills the process.
type Action uint32

// The actions, beside Refuse.
const (
	Kill  Action = 0
	Allow Action = 1
)

const refuse Action = 1 << 16

// Refuse makes the call return an error without doing anything.
func Refuse(errno unix.Errno) Action { return refuse | Action(errno) }

// Call is what happens to one system call. Without Values that is Then. With Values it is Then if the argument Arg, its
// low 32 bits masked with Mask, is one of them, and Otherwise if not. The low half is enough for every call in the tables:
// the kernel itself looks at no more of these arguments.
type Call struct {
	Name      string
	Then      Action
	Arg       int
	Mask      uint32
	Values    []uint32
	Otherwise Action
}

// Kind is a kind of descriptor that not every role may hold.
type Kind uint8

// The kinds.
const (
	StreamSocket Kind = iota + 1 // a connected Unix stream socket, such as one end of package blocks' channel
	USBDevice                    // a device node of the kernel's USB file system, open for reading and writing
	Timer                        // a timerfd
)

// Policy is the jail of one role. Calls that it does not name kill the process.
type Policy struct {
	Role   Role
	Layers []Layer
	Open   []Kind // descriptors beside those that every role may hold
	Limits []Limit
	Calls  []Call
}

const (
	gib = 1 << 30
	mib = 1 << 20

	// addressSpace is what the Go runtime and the C library's per-thread arenas reserve without using it (1 to 2 GiB), the
	// slots' buffers and the mapped blocklists.
	addressSpace = 4 * gib
	// scanMemory is twice what scanworker keeps in memory at its own limit.
	scanMemory = 512 * mib
	// yaraMemory holds 50,000 rules (100 MiB), three blocks of a large file, and libyara's matches.
	yaraMemory = 1 * gib
	// compileMemory: libyara takes about ten times the size of the rules' text while it compiles.
	compileMemory = 2 * gib
	// readerMemory is twice what usbreader keeps in memory: a buffer for each unit that is being read, and libusb's.
	readerMemory = 256 * mib
	// polled is how many descriptors libusb waits for at once, its own two and the device. The kernel refuses a poll of more
	// than the process may open (poll(2), EINVAL), so their limit cannot be zero.
	polled = 4
	// maxCompiled bounds the compiled rules; the largest public set has 16 MiB.
	maxCompiled = 512 * mib
)

// ErrRole says that there are no rules for a role.
var ErrRole = errors.New("sandbox: no rules for this role")

// Rules returns the jail of a role for a process with the given id, which is the only one that it may send signals to:
// the Go runtime interrupts its own threads so.
func Rules(role Role, pid int) (Policy, error) {
	p := Policy{Role: role, Layers: []Layer{Descriptors, DumpableOff, NoNewPrivs, Landlock, Rlimits, Seccomp}}
	memory, fileSize, descriptors := uint64(0), uint64(0), uint64(0)
	switch role {
	case ScanWorker:
		memory = scanMemory
		p.Open = []Kind{StreamSocket}
		p.Calls = slices.Concat(goCalls(pid), pollCalls, forgetCalls)
	case YARAWorker:
		memory = yaraMemory
		p.Calls = append(goCalls(pid), cCalls...)
	case Compiler:
		memory, fileSize = compileMemory, maxCompiled
		p.Calls = append(goCalls(pid), cCalls...)
	case USBGate:
		return gatePolicy(pid), nil
	case USBReader:
		memory, descriptors = readerMemory, polled
		p.Open = []Kind{StreamSocket, USBDevice, Timer}
		p.Calls = slices.Concat(goCalls(pid), cCalls, usbCalls)
	default:
		return Policy{}, fmt.Errorf("%w: %d", ErrRole, role)
	}
	p.Limits = []Limit{
		{unix.RLIMIT_AS, "address space", addressSpace + memory},
		{unix.RLIMIT_DATA, "private memory", memory},
		{unix.RLIMIT_CORE, "core dump", 0},
		{unix.RLIMIT_FSIZE, "file size", fileSize},
		{unix.RLIMIT_MEMLOCK, "locked memory", 0},
		{unix.RLIMIT_NOFILE, "descriptors", descriptors}, // what is open stays open; nothing new can be
	}
	return p, nil
}

// goCalls is what the Go runtime and a program of donated descriptors need, the frequent ones first.
func goCalls(pid int) []Call {
	return []Call{
		// The plain operations only: the priority-inheriting ones have given more than one way into the kernel.
		{Name: "futex", Then: Allow, Arg: 1, Mask: 0x7F, Values: []uint32{futexWait, futexWake, futexWaitBitset, futexWakeBitset}, Otherwise: Refuse(unix.EPERM)},
		{Name: "read", Then: Allow},
		{Name: "write", Then: Allow},
		{Name: "pread64", Then: Allow},
		{Name: "nanosleep", Then: Allow},
		{Name: "clock_gettime", Then: Allow}, // a call of its own where the clock is not readable from user space
		{Name: "sched_yield", Then: Allow},
		{Name: "madvise", Then: Allow},
		{Name: "mmap", Then: Allow, Arg: 2, Mask: unix.PROT_EXEC, Values: []uint32{0}, Otherwise: Refuse(unix.EPERM)},
		{Name: "mprotect", Then: Allow, Arg: 2, Mask: unix.PROT_EXEC, Values: []uint32{0}, Otherwise: Refuse(unix.EPERM)},
		{Name: "munmap", Then: Allow},
		{Name: "rt_sigreturn", Then: Allow},
		{Name: "rt_sigprocmask", Then: Allow},
		{Name: "rt_sigaction", Then: Allow},
		{Name: "sigaltstack", Then: Allow},
		{Name: "getpid", Then: Allow},
		{Name: "gettid", Then: Allow},
		{Name: "tgkill", Then: Allow, Arg: 0, Mask: ^uint32(0), Values: []uint32{uint32(pid)}, Otherwise: Refuse(unix.EPERM)},
		// A new thread, never a new process or a new namespace.
		{Name: "clone", Then: Allow, Arg: 0, Mask: cloneMask, Values: []uint32{unix.CLONE_THREAD}, Otherwise: Refuse(unix.EPERM)},
		// The runtime names its mappings with prctl(PR_SET_VMA) and lives without.
		{Name: "prctl", Then: Allow, Arg: 0, Mask: ^uint32(0), Values: []uint32{unix.PR_SET_VMA}, Otherwise: Refuse(unix.EPERM)},
		{Name: "fcntl", Then: Allow, Arg: 1, Mask: ^uint32(0), Values: []uint32{unix.F_GETFD, unix.F_GETFL, unix.F_GET_SEALS}, Otherwise: Refuse(unix.EPERM)},
		{Name: "fstat", Then: Allow},
		{Name: "lseek", Then: Allow},
		{Name: "close", Then: Allow},
		{Name: "getrandom", Then: Allow},
		{Name: "restart_syscall", Then: Allow},
		{Name: "sched_getaffinity", Then: Allow},
		{Name: "openat", Then: Refuse(unix.EPERM)}, // see cCalls; also what Enter proves the jail with
		{Name: "exit", Then: Allow},
		{Name: "exit_group", Then: Allow},
	}
}

// forgetCalls let the process that reads a medium have the kernel forget what it keeps of it, so that a second reading asks
// the medium and not the kernel. Of what the call can do that is all.
var forgetCalls = []Call{
	{Name: "fadvise64", Then: Allow, Arg: 3, Mask: ^uint32(0), Values: []uint32{unix.FADV_DONTNEED}, Otherwise: Refuse(unix.EPERM)},
}

// pollCalls let the Go runtime wait for several pipes with deadlines. Enter has made it create its epoll before.
var pollCalls = []Call{
	{Name: "epoll_pwait", Then: Allow},
	{Name: "epoll_ctl", Then: Allow},
}

// cCalls is what the C library needs on top: memory, and threads that it starts itself. It survives openat refused: malloc
// asks /sys for the number of processors when a second thread makes an arena. It tries clone3 first, and falls back to
// clone, whose flags a filter can see, only if clone3 is said not to exist.
var cCalls = []Call{
	{Name: "brk", Then: Allow},
	{Name: "mremap", Then: Allow},
	{Name: "clone3", Then: Refuse(unix.ENOSYS)},
	{Name: "set_robust_list", Then: Allow},
	{Name: "rseq", Then: Allow},
	{Name: "clock_nanosleep", Then: Allow},
	{Name: "epoll_pwait", Then: Allow},
	{Name: "epoll_ctl", Then: Allow},
}

// usbCalls is what libusb needs to talk to a device that is open and whose interface is claimed: to submit a transfer, to
// collect it, to call it off, and to wait for that. It cannot claim, detach, reset or configure. Its hotplug thread, which
// usbreader has left with nothing to hear, is told no if it tries to receive.
var usbCalls = []Call{
	{Name: "ioctl", Then: Allow, Arg: 1, Mask: ^uint32(0), Values: []uint32{usbSubmit, usbReap, usbDiscard}, Otherwise: Kill},
	{Name: "poll", Then: Allow},
	{Name: "ppoll", Then: Allow},
	{Name: "timerfd_settime", Then: Allow},
	{Name: "recvmsg", Then: Refuse(unix.EPERM)},
}

// The orders to a USB device that are allowed (linux/usbdevice_fs.h, for 64-bit processors).
const (
	usbSubmit  = 0x8038550A // USBDEVFS_SUBMITURB
	usbReap    = 0x4008550D // USBDEVFS_REAPURBNDELAY
	usbDiscard = 0x0000550B // USBDEVFS_DISCARDURB
)

// The futex operations of linux/futex.h that are allowed; x/sys does not name them.
const (
	futexWait       = 0
	futexWake       = 1
	futexWaitBitset = 9
	futexWakeBitset = 10
)

// cloneMask are the flags of clone that are looked at: CLONE_THREAD must be set, the rest must not.
const cloneMask = unix.CLONE_THREAD | unix.CLONE_VFORK | unix.CLONE_PTRACE | unix.CLONE_PIDFD | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
