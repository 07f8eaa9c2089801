//go:build linux

package blocklist

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxFileBytes bounds what is mapped: a full section of each algorithm with its table.
const maxFileBytes = maxHashes*(16+20+32) + 3*(4<<maxFanBits+64) + 4096

// OpenFile maps a compiled list for reading and opens it. The file is not closed, and the mapping lasts as long as the
// process: a process holds the same few lists from its start to its end. A file that shrinks later ends the process with
// SIGBUS, so a list that others can write is to be copied first.
func OpenFile(f *os.File) (*List, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open a blocklist: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes || info.Size() < int64(headBytes) {
		return nil, fmt.Errorf("%w: it is no file of a list's size", ErrDamaged)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a blocklist: %w", err)
	}
	list, err := Open(data)
	if err != nil {
		_ = unix.Munmap(data)
		return nil, err
	}
	// Open read every page. A scan needs few of them, so the rest need not count as this process's memory.
	if err := unix.Madvise(data, unix.MADV_DONTNEED); err != nil {
		return nil, fmt.Errorf("map a blocklist: %w", err)
	}
	_ = unix.Madvise(data, unix.MADV_RANDOM) // advice only: without it the kernel reads ahead for nothing
	return list, nil
}
