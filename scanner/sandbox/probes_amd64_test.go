package sandbox

import "golang.org/x/sys/unix"

// archProbes are the calls that only this architecture still has.
var archProbes = []probe{
	{"open", raw(unix.SYS_OPEN, pathAddr, 0), 0},
	{"creat", raw(unix.SYS_CREAT, pathAddr, 0), 0},
	{"fork", raw(unix.SYS_FORK), 0},
	{"vfork", raw(unix.SYS_VFORK), 0},
	{"unlink", raw(unix.SYS_UNLINK, pathAddr), 0},
	{"rename", raw(unix.SYS_RENAME, pathAddr, pathAddr), 0},
}
