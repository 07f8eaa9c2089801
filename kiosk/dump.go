package kiosk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// NoDump keeps the memory of this process, and of those that it starts, from ever being written to a disk by a crash: patients'
// names pass through it, and keys. The limit is hard, so that nothing takes it back but root.
func NoDump() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid dumps of memory: %w", err)
	}
	return nil
}
