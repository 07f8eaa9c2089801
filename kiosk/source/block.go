package source

import (
	"context"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel says of a drive (linux/cdrom.h, linux/fs.h).
const (
	cdromDriveStatus = 0x5326
	discOK           = 4
	getDiskSeq       = 0x80081280 // BLKGETDISKSEQ
)

// errNoMedium says that there is nothing in a drive.
var errNoMedium = errors.New("no medium")

// WatchBlock tells what is in block devices until ctx ends, and then returns. tell is called on its goroutine.
func WatchBlock(ctx context.Context, devices []string, tell func(Event)) {
	there := make([]disc, len(devices))
	broken := make([]bool, len(devices))
	every(ctx, nil, func() {
		for i, name := range devices {
			file, now, err := openDisc(name)
			switch {
			case err != nil && there[i] != (disc{}), err == nil && there[i] != (disc{}) && there[i] != now:
				tell(Event{Port: BlockPort(i)})
				there[i] = disc{}
			}
			if bad := err != nil && !errors.Is(err, errNoMedium); bad != broken[i] {
				broken[i] = bad
				problem := Event{Port: BlockPort(i), Told: true}
				if bad {
					problem.Problem = "A block device of the configuration cannot be opened."
				}
				tell(problem)
			}
			switch {
			case err != nil:
			case there[i] == now:
				file.Close()
			default:
				there[i] = now
				tell(Event{Port: BlockPort(i), File: file})
			}
		}
	})
}

// disc tells one medium in a drive from the next.
type disc struct {
	device uint64
	count  uint64 // of the kernel; 0 where it does not count
	size   int64
}

// openDisc opens a block device with a medium in it. O_NONBLOCK keeps the kernel from closing the tray of a drive.
func openDisc(name string) (*os.File, disc, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.ENOMEDIUM), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOENT): // a card reader that was pulled
		return nil, disc{}, errNoMedium
	case err != nil:
		return nil, disc{}, err
	}
	file := os.NewFile(uintptr(fd), "device")
	d, err := describe(fd)
	if err != nil {
		file.Close()
		return nil, disc{}, err
	}
	return file, d, nil
}

func describe(fd int) (disc, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return disc{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return disc{}, errors.New("not a block device")
	}
	if status, err := unix.IoctlRetInt(fd, cdromDriveStatus); err == nil && status != discOK {
		return disc{}, errNoMedium
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return disc{}, err
	}
	if size == 0 {
		return disc{}, errNoMedium
	}
	d := disc{device: uint64(st.Rdev), size: size}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getDiskSeq, uintptr(unsafe.Pointer(&d.count))); errno != 0 {
		d.count = 0
	}
	return d, nil
}
