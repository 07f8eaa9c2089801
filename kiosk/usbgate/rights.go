package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropRights leaves CAP_CHOWN, if there is one, on every thread, and takes the rest out of reach for good: out of the bounding
// set, so that not even a program that gives rights could, and out of the ambient one. Root without capabilities still
// owns root's files, and that is what the switches in sysfs are.
func dropRights() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP+8; c++ { // a newer kernel has a few more; those that it has not are EINVAL
		_, _, e := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
		if e == unix.EPERM { // it has no right to drop rights, so it may have none that matter: the next step says
			break
		}
		if e != 0 && e != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, e)
		}
	}
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("drop ambient capabilities: %w", e)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	if err := unix.Capget(&head, &now[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	chown := now[0].Permitted & (1 << unix.CAP_CHOWN)
	only := [2]unix.CapUserData{{Effective: chown, Permitted: chown}}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&only[0])), 0); e != 0 {
		return fmt.Errorf("drop capabilities: %w", e)
	}
	return nil
}
