package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNamespaces says that the workers could not get namespaces of their own, where Config.RequireNamespaces asks for them.
var ErrNamespaces = errors.New("the workers cannot have namespaces of their own on this machine")

// nobody is the user and group that a worker is, in its own eyes always, and in the machine's if root starts it.
const nobody = 65534

// The layers that the start of a worker adds to those that it closes around itself.
const (
	layerUser = "unprivileged-user"
	layerCaps = "no-capabilities"
)

// namespaces are what a worker gets for itself, with their layers' names. There is no /proc mounted in them: a worker reaches
// its donated rules by the machine's own, and after that opens nothing. The user namespace comes first: it is what allows
// an unprivileged supervisor to make the others.
var namespaces = []struct {
	flag  uintptr
	kind  string // by its name under /proc/PID/ns
	layer string
}{
	{unix.CLONE_NEWUSER, "user", "user-namespace"},
	{unix.CLONE_NEWNS, "mnt", "mount-namespace"},
	{unix.CLONE_NEWPID, "pid", "pid-namespace"},
	{unix.CLONE_NEWNET, "net", "net-namespace"},
	{unix.CLONE_NEWIPC, "ipc", "ipc-namespace"},
	{unix.CLONE_NEWUTS, "uts", "uts-namespace"},
}

// isolation is how far a worker is set apart from the machine by the way that it is started.
type isolation struct {
	spaces bool // namespaces of its own
	drop   bool // another user than root, if it is root who starts it
}

// noSpaces remembers that this machine grants no namespaces, which does not change while the program runs. It is here and not
// in a scan because each attempt in vain costs two descriptors: Go does not close the pipe for the user mappings when the
// kernel refuses the new process (syscall.forkAndExecInChild).
var noSpaces atomic.Bool

// isolations returns what to try, the strongest first. A container, or a kernel with user namespaces turned off, allows
// less; a program that only root may execute cannot be executed by nobody.
func isolations(uid int, required bool) []isolation {
	all := []isolation{{true, true}, {true, false}, {false, true}, {false, false}}
	if uid != 0 { // there is nothing to drop
		all = []isolation{{true, false}, {false, false}}
	}
	if required {
		return slices.DeleteFunc(all, func(i isolation) bool { return !i.spaces })
	}
	if noSpaces.Load() {
		return slices.DeleteFunc(all, func(i isolation) bool { return i.spaces })
	}
	return all
}

// readerIsolations returns what to try for usbreader, which must be able to open a device's node. That belongs to root, so
// under a root supervisor it stays root in a namespace, where that gives no right but to what root owns; without one it is
// nobody, for whom the node must have been opened. It is never root with rights.
func readerIsolations(uid int, required bool) []isolation {
	return slices.DeleteFunc(isolations(uid, required), func(i isolation) bool { return uid == 0 && i.spaces == i.drop })
}

// weaker reports whether an error of a start says that this much isolation is not to be had here.
func weaker(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// attr is what the kernel is asked for. A process in a process-id namespace of its own is that namespace's first, which
// still gets the signal of its supervisor's death.
func (i isolation) attr() *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	uid, gid := os.Geteuid(), os.Getegid()
	if i.drop {
		uid, gid = nobody, nobody
		sys.Credential = &syscall.Credential{Uid: nobody, Gid: nobody} // and no other groups
	}
	if i.spaces {
		for _, n := range namespaces {
			sys.Cloneflags |= n.flag
		}
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: uid, Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: gid, Size: 1}}
		sys.GidMappingsEnableSetgroups = i.drop
	}
	return sys
}

// layers are the names of what this isolation adds to a worker's jail.
func (i isolation) layers() (names []string) {
	if i.spaces {
		for _, n := range namespaces {
			names = append(names, n.layer)
		}
	}
	if i.drop || os.Geteuid() != 0 {
		names = append(names, layerUser)
	}
	if i.spaces || i.drop { // the kernel takes them away when a user who is not root executes a program
		names = append(names, layerCaps)
	}
	return names
}

// layers are what the workers that have started were given.
func (n *nursery) layers() []string {
	if len(n.ladder) != 1 {
		return nil
	}
	return n.ladder[0].layers()
}

// launch starts a program of the folder, as far set apart as this machine allows. What was possible once is what every
// later start must have too. It runs on the nursery's thread.
func (n *nursery) launch(name string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	// The folder is named by a descriptor, since nobody need not have the right to walk there, as in a home folder. It is
	// above every number that the start itself moves descriptors to.
	least := len(attr.Files)
	for _, f := range attr.Files {
		least = max(least, int(f.Fd()))
	}
	dir, err := unix.FcntlInt(n.dir.Fd(), unix.F_DUPFD_CLOEXEC, least+len(attr.Files)+2)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	program := filepath.Join("/proc/self/fd", strconv.Itoa(dir), name)
	var refused []error
	for {
		attr.Sys = n.ladder[0].attr()
		p, err := os.StartProcess(program, argv, attr)
		if err == nil {
			n.ladder = n.ladder[:1]
			if len(refused) > 0 && !n.ladder[0].spaces {
				noSpaces.Store(true)
			}
			return p, nil
		}
		refused = append(refused, fmt.Errorf("%s with %v: %w", name, n.ladder[0].layers(), errors.Unwrap(err)))
		if len(n.ladder) == 1 || !weaker(err) {
			return nil, errors.Join(refused...)
		}
		n.ladder = n.ladder[1:]
	}
}
