package kiosk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pratique/scanner/report"
)

// ErrTarget marks what is no medium at all: nothing was screened, and no session began.
var ErrTarget = errors.New("nothing that can be screened")

// Medium is an opened medium. Its files are open for reading only, and that is the whole of invariant I1 for an image or
// a block device.
type Medium struct {
	Kind     string // "image", "block" or "usb"
	VID, PID uint16 // of a USB device
	Serial   string // what a USB device says its serial number is; it leaves the station as a digest only
	Units    []Unit
	Shut     func() // called once the files are closed: ends what serves them; may be nil
	// Once says that its files serve one reading: for another it is closed and opened again.
	Once bool
	// Finish is called once when the last unit was read, and says whether the medium is still what it was when it was opened:
	// a *worker.DeviceError if not, another error if the kiosk failed. nil if the source cannot tell.
	Finish func(context.Context) error
	// Untouched is asked before a clearance is signed, and says whether the medium is there and nobody has had it since; nil if
	// the source cannot tell.
	Untouched func() bool
	// Refused is why a medium that is there could not be opened: the session is recorded and ends in could not check.
	Refused error
}

// Unit is one logical unit of a medium. A card reader has one for each slot, and a stick that poses as a CD-ROM has two.
type Unit struct {
	File   *os.File // an image, a block device or a block channel; nil if the unit has no medium in it
	Bytes  int64
	Sector int // 0 where the source does not say
	// Unread is why a unit that has a medium in it cannot be read, which bars a clearance; nil for every other unit.
	Unread *report.Shortfall
}

// maxUnits is what the bus can address (Bulk-Only Transport 1.0, section 3.2: GET MAX LUN returns at most 15).
const maxUnits = 16

// size is what the token says of the medium's size: the sum of its units.
func (m *Medium) size() (bytes int64) {
	for _, u := range m.Units {
		bytes += u.Bytes
	}
	return bytes
}

// sector is the sector size of the first unit that says it.
func (m *Medium) sector() int {
	for _, u := range m.Units {
		if u.Sector > 0 {
			return u.Sector
		}
	}
	return 0
}

// vacant counts the units without a medium.
func (m *Medium) vacant() (n int) {
	for _, u := range m.Units {
		if u.File == nil && u.Unread == nil {
			n++
		}
	}
	return n
}

// Close closes the medium's files.
func (m *Medium) Close() {
	for _, u := range m.Units {
		if u.File != nil {
			u.File.Close()
		}
	}
	if m.Shut != nil {
		m.Shut()
	}
}

// OpenMedium opens a disk image or a block device. What is on it is not looked at.
//
// O_NONBLOCK keeps a FIFO or a tape from holding the program before it can be refused; it means nothing for the rest.
func OpenMedium(name string) (*Medium, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EIO), errors.Is(err, unix.ENOMEDIUM), errors.Is(err, unix.EBUSY):
		return &Medium{Kind: "image", Refused: err}, nil
	case err != nil:
		return nil, fmt.Errorf("%w: cannot open the target: %w", ErrTarget, err)
	}
	return MediumOf(os.NewFile(uintptr(fd), "medium"))
}

// MediumOf makes a medium of an open image or block device, which is closed if it is neither.
func MediumOf(file *os.File) (*Medium, error) {
	m := &Medium{Units: []Unit{{File: file}}}
	if err := m.describe(&m.Units[0]); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Medium) describe(u *Unit) error {
	var st unix.Stat_t
	fd := int(u.File.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		m.Kind, u.Bytes = "image", st.Size
		return nil
	case unix.S_IFBLK:
		sector, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
		if err != nil {
			return fmt.Errorf("%w: the block device does not say its sector size: %w", ErrTarget, err)
		}
		end, err := u.File.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("%w: the block device does not say its size: %w", ErrTarget, err)
		}
		m.Kind, u.Bytes, u.Sector = "block", end, sector
		return nil
	case unix.S_IFDIR:
		return fmt.Errorf("%w: the target is a directory", ErrTarget)
	case unix.S_IFIFO:
		return fmt.Errorf("%w: the target is a FIFO", ErrTarget)
	case unix.S_IFCHR:
		return fmt.Errorf("%w: the target is a character device", ErrTarget)
	default:
		return fmt.Errorf("%w: the target is neither a file nor a block device", ErrTarget)
	}
}

// CheckTarget reports whether a target could be screened at all, so that a mistake in the call is said before anything
// is written.
func CheckTarget(name string) error {
	m, err := OpenMedium(name)
	if err != nil {
		return err
	}
	m.Close()
	return nil
}
