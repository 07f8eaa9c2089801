// Package source says what is plugged in besides USB: disk images in a watched folder, and media in block devices.
//
// Each is a port, or several: a folder has Slots of them, and the images in it take the first that is free, in the order in
// which they came. A further image waits until one of those before it is taken away.
//
// # The folder
//
// A file is plugged in when its size and time have held for a second and nobody has it open for writing, which the kernel
// answers with a read lease (fcntl(2), F_SETLEASE): so a copy that is still running, or stands still, is not a medium.
// The lease is given back at once, because a held one would let the station stop the writers of others. Deleting, renaming,
// replacing or changing the file unplugs it. Links, pipes, devices, folders and names that begin with a dot are never
// plugged in. The kernel gives leases to the file's owner and to who has CAP_LEASE: files of other users are reported as a
// problem, not plugged.
//
// The folder is looked at once a second, and sooner when the kernel says that something changed there (inotify): events are
// a hint and can be lost, the look is the truth.
//
// # Block devices
//
// A device is looked at once a second too. The kernel counts the media that were in it (BLKGETDISKSEQ, Linux 5.15): with
// another count or size, the medium before is gone. Where the kernel does not count, a medium that was swapped within a
// second for one of the same size is not noticed; the clearance binds the content, not the moment.
//
// # Trust
//
// This package looks at names, sizes and times, and opens files for reading. It reads not one byte of them. Whoever may
// write to the folder decides what is in a port; they cannot decide what is found there. Names of files are not handed on.
package source

import (
	"context"
	"os"
	"strconv"
	"time"
)

const (
	// Slots is how many images of a folder are plugged in at the same time.
	Slots = 4
	// settle is how long a file must not change before it is plugged in (contracts: 1 s).
	settle = time.Second
	// lookTime is how old the news can be if every hint is lost.
	lookTime = time.Second
	// hintTime gathers hints: a copy makes thousands.
	hintTime = 50 * time.Millisecond
	// maxEntries bounds what is looked at in a folder; further files wait.
	maxEntries = 1000
)

// Event is something that happened in a port.
type Event struct {
	Port string
	// File is what was plugged in, open for reading; the receiver closes it. nil: what was there is gone.
	File *os.File
	// Problem is a sentence about a port that cannot work, without a name from the folder; empty if it works again. An event
	// with Told set is about that and nothing else.
	Problem string
	Told    bool
}

// FolderPort names a folder's ports, from 0.
func FolderPort(slot int) string { return "folder-" + strconv.Itoa(slot+1) }

// BlockPort names the port of a block device, by its place in the configuration.
func BlockPort(n int) string { return "block-" + strconv.Itoa(n+1) }

// every calls look at once, then on each hint and each second, until ctx ends. hints may be nil.
func every(ctx context.Context, hints <-chan struct{}, look func()) {
	for {
		look()
		wait := time.NewTimer(lookTime)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
			continue
		case _, open := <-hints:
			if !open {
				hints = nil
			}
		}
		wait.Stop()
		select {
		case <-ctx.Done():
			return
		case <-time.After(hintTime):
		}
	}
}
