package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// firstRights are the file-system rights of the first Landlock (Linux 5.13): a kernel that knows fewer knows none.
const firstRights = 1<<13 - 1

// witnesses is how many threads at once try what Landlock must refuse: more than the runtime keeps idle at a start.
const witnesses = 4

// LandlockABI asks the kernel which version of Landlock it has. A file could say something else than what is in force.
func LandlockABI() (int, error) {
	abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case e == unix.ENOSYS:
		return 0, errors.New("this kernel has no Landlock (it came with Linux 5.13)")
	case e == unix.EOPNOTSUPP:
		return 0, errors.New("this kernel has Landlock, but it was not enabled at boot (lsm=)")
	case e != 0:
		return 0, e
	}
	return int(abi), nil
}

// landlock takes from every thread every right that Landlock knows: files, TCP, signals and abstract sockets, as far as the
// kernel's version goes, with no rule that allows any. What is open already stays usable, and so do a process's own memfds
// and pipes by their names under /proc, since Landlock has no say over file systems that cannot be mounted.
//
// The call restricts one thread and those that it starts. The Go runtime can make the others call it too, but not in a
// program with C in it, which may have threads that the runtime does not know. Such a program imports package early,
// which was here before the first of them. Either way the proof is in the trying.
func landlock() error {
	abi, err := LandlockABI()
	if err != nil {
		return err
	}
	ruleset, err := denyAll()
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	var flags uintptr
	if abi >= 7 {
		// The refused open below would otherwise stand in the machine's audit log at each start of a worker.
		flags = unix.LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF
	}
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), flags, 0)
	if e != 0 && e != unix.ENOTSUP {
		return e
	}
	return proveLandlock()
}

// denyAll makes a ruleset of every right that this kernel knows. The kernel refuses rights that it does not know, so it can
// be asked, and no table here can grow old.
func denyAll() (int, error) {
	var all unix.LandlockRulesetAttr
	for _, set := range []func(*unix.LandlockRulesetAttr, uint64){
		func(a *unix.LandlockRulesetAttr, rights uint64) { a.Handled_access_fs = rights },
		func(a *unix.LandlockRulesetAttr, rights uint64) { a.Handled_access_net = rights },
		func(a *unix.LandlockRulesetAttr, rights uint64) { a.Scoped = rights },
	} {
		// Rights are numbered without gaps, so the widest mask that is taken is all of them.
		for rights := ^uint64(0); rights != 0; rights >>= 1 {
			var only unix.LandlockRulesetAttr
			set(&only, rights)
			fd, err := newRuleset(&only)
			if err == nil {
				unix.Close(fd)
				set(&all, rights)
				break
			}
			if err != unix.EINVAL && err != unix.E2BIG { // a right, or a kind of rights, that is not known
				return -1, err
			}
		}
	}
	if all.Handled_access_fs&firstRights != firstRights {
		return -1, fmt.Errorf("it handles no more than %#x", all.Handled_access_fs)
	}
	return newRuleset(&all)
}

func newRuleset(attr *unix.LandlockRulesetAttr) (int, error) {
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr), 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

// proveLandlock tries, from several threads at once, to open what the file modes allow to be opened.
func proveLandlock() error {
	if err := unix.Faccessat(unix.AT_FDCWD, "/", unix.R_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("it cannot be proved on a root folder that is not readable: %w", err)
	}
	var here, done sync.WaitGroup
	here.Add(witnesses)
	answers := make([]error, witnesses)
	for i := range answers {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			here.Done()
			here.Wait() // so that each has a thread of its own
			fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			answers[i] = err
		})
	}
	done.Wait()
	for _, err := range answers {
		if err != unix.EACCES {
			return fmt.Errorf("a thread is not under it (%v)", err)
		}
	}
	return nil
}
