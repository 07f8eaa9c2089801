package sandbox

import "golang.org/x/sys/unix"

const (
	// gateMemory is many times what usbgate needs: it keeps a list of ports.
	gateMemory = 64 * mib
	// gateDescriptors are its socket, two directories, three for the standard streams, what the runtime has, and the few that
	// it opens for one request.
	gateDescriptors = 32
	// gateFile: the files that it writes are switches in sysfs, of which it writes a letter, or an interface's name.
	gateFile = 4096
)

// gatePolicy is the jail of usbgate, the one process here that is root and may open files. It never sees a byte of a medium,
// so this jail is not for what it parses but for what it is: it cannot connect, execute, fork, trace, mount, change rights, or
// open anything but by openat2, which it does below two directories. Landlock and the check of descriptors are
// for processes that open nothing.
func gatePolicy(pid int) Policy {
	return Policy{
		Role:   USBGate,
		Layers: []Layer{DumpableOff, NoNewPrivs, Rlimits, Seccomp},
		Limits: []Limit{
			{unix.RLIMIT_AS, "address space", addressSpace},
			{unix.RLIMIT_DATA, "private memory", gateMemory},
			{unix.RLIMIT_CORE, "core dump", 0},
			{unix.RLIMIT_FSIZE, "file size", gateFile},
			{unix.RLIMIT_MEMLOCK, "locked memory", 0},
			{unix.RLIMIT_NOFILE, "descriptors", gateDescriptors},
		},
		Calls: append(goCalls(pid),
			Call{Name: "epoll_pwait", Then: Allow},
			Call{Name: "epoll_ctl", Then: Allow},
			Call{Name: "openat2", Then: Allow},
			Call{Name: "fchownat", Then: Allow},
		),
	}
}
