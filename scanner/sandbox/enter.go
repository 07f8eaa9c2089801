package sandbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Enter applies the rules of a role to this process, all threads of it, for good. It returns the layers in force. After an
// error the process may be half jailed and must exit with ExitSandbox. Call it before the first foreign byte is read, and
// after everything that needs a path or a new descriptor is done.
func Enter(role Role) (layers []string, err error) {
	policy, err := Rules(role, os.Getpid())
	if err != nil {
		return nil, err
	}
	// Bound to one thread: where no-new-privs cannot be set for all at once, seccomp hands both to all the others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := startPoller(); err != nil {
		return nil, err
	}
	for _, layer := range policy.Layers {
		if err := apply(layer, policy); err != nil {
			return nil, fmt.Errorf("sandbox: %s: %w", layer, err)
		}
		layers = append(layers, string(layer))
	}
	// The proof that the filter answers. The call is one that the tables refuse rather than kill.
	if fd, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != unix.EPERM {
		return nil, fmt.Errorf("sandbox: the filter is set but a directory could be opened (%d, %v)", fd, err)
	}
	return layers, nil
}

func apply(layer Layer, policy Policy) error {
	switch layer {
	case Descriptors:
		return checkDescriptors(policy.Open)
	case DumpableOff:
		return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	case Rlimits:
		for _, l := range policy.Limits {
			// A hard limit that is already lower stays: it cannot be raised, and need not be.
			var old unix.Rlimit
			if err := unix.Getrlimit(l.Resource, &old); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
			limit := min(l.Max, old.Max)
			if err := unix.Setrlimit(l.Resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
		}
		return nil
	case NoNewPrivs:
		_, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
		if e == unix.ENOTSUP { // a program with C in it
			return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		}
		if e != 0 {
			return e
		}
		return nil
	case Landlock:
		return landlock()
	case Seccomp:
		return install(policy)
	}
	return errors.New("unknown layer")
}

// startPoller makes the Go runtime create its epoll now, since no descriptor can be created later.
func startPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("sandbox: poller: %w", err)
	}
	return errors.Join(r.Close(), w.Close())
}

func install(policy Policy) error {
	// Killing only the thread would leave the rest of the process running, so the kernel must know the other way (4.14).
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); e != 0 {
		return fmt.Errorf("kill-process: %w", e)
	}
	filter, err := policy.Filter(Arch(runtime.GOARCH))
	if err != nil {
		return err
	}
	return installFilter(filter)
}

// installFilter puts all threads of the process under a filter.
func installFilter(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return e
	}
	if thread != 0 {
		return fmt.Errorf("thread %d could not be brought under the filter", thread)
	}
	return nil
}

// maxDescriptor is more than the supervisor gives to any worker, with room for what the runtime opens for itself.
const maxDescriptor = 512

// checkDescriptors refuses to go on with anything open that would let the jailed process reach further than it should: a
// parent's mistake, or a library's. A filter cannot see this, because read and write must stay allowed. The numbers are
// tried one by one: Landlock may hold already, and then the list under /proc cannot be read.
func checkDescriptors(more []Kind) error {
	if err := unix.CloseRange(maxDescriptor, math.MaxUint32, 0); err != nil {
		return err
	}
	for fd := range maxDescriptor {
		if err := checkDescriptor(fd, more); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}

func checkDescriptor(fd int, more []Kind) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == unix.EBADF {
		return nil // nothing is open here
	} else if err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if flags&unix.O_PATH != 0 {
		return errors.New("is a path")
	}
	readOnly := flags&unix.O_ACCMODE == unix.O_RDONLY
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return nil
	case unix.S_IFREG:
		if readOnly {
			return nil
		}
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return err
		}
		if strings.HasPrefix(target, "/memfd:") {
			return nil
		}
		return errors.New("is a file open for writing")
	case unix.S_IFBLK:
		if readOnly {
			return nil
		}
		return errors.New("is a device open for writing")
	case unix.S_IFCHR:
		if st.Rdev == unix.Mkdev(1, 3) { // the null device
			return nil
		}
		if slices.Contains(more, USBDevice) && unix.Major(uint64(st.Rdev)) == usbMajor {
			return nil
		}
		return errors.New("is a character device")
	case 0: // an anonymous inode
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return err
		}
		if target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			return nil
		}
		if target == "anon_inode:[timerfd]" && slices.Contains(more, Timer) {
			return nil
		}
		return fmt.Errorf("is %s", target)
	case unix.S_IFDIR:
		return errors.New("is a directory")
	case unix.S_IFSOCK:
		if slices.Contains(more, StreamSocket) {
			return checkSocket(fd)
		}
		return errors.New("is a socket")
	}
	return errors.New("is of an unknown kind")
}

// usbMajor is the number of the kernel's USB file system (linux/usb.h, USB_DEVICE_MAJOR).
const usbMajor = 189

// checkSocket refuses every socket but one that is connected to a process of this machine: it can be read and written, and
// nobody else can come.
func checkSocket(fd int) error {
	for _, want := range []struct{ option, value int }{{unix.SO_DOMAIN, unix.AF_UNIX}, {unix.SO_TYPE, unix.SOCK_STREAM}, {unix.SO_ACCEPTCONN, 0}} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
		if err != nil {
			return err
		}
		if got != want.value {
			return errors.New("is another kind of socket")
		}
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return fmt.Errorf("is a socket that is not connected: %w", err)
	}
	return nil
}
