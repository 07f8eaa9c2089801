package kiosk

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTarget marks what is no medium at all: nothing was screened, and no session began.
var ErrTarget = errors.New("nothing that can be screened")

// medium is an opened target. The file is open for reading only, and that is the whole of invariant I1 for an image or a
// block device.
type medium struct {
	file   *os.File
	kind   string // "image" or "block"
	bytes  int64
	sector int // 0 where the source does not say
	// refused is why a medium that is there could not be opened: the session is recorded and ends in could not check.
	refused error
}

// openMedium opens a disk image or a block device. What is on it is not looked at.
//
// O_NONBLOCK keeps a FIFO or a tape from holding the program before it can be refused; it means nothing for the rest.
func openMedium(name string) (*medium, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EIO), errors.Is(err, unix.ENOMEDIUM), errors.Is(err, unix.EBUSY):
		return &medium{kind: "image", refused: err}, nil
	case err != nil:
		return nil, fmt.Errorf("%w: cannot open the target: %w", ErrTarget, err)
	}
	m := &medium{file: os.NewFile(uintptr(fd), "medium")}
	if err := m.describe(); err != nil {
		m.file.Close()
		return nil, err
	}
	return m, nil
}

func (m *medium) describe() error {
	var st unix.Stat_t
	fd := int(m.file.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		m.kind, m.bytes = "image", st.Size
		return nil
	case unix.S_IFBLK:
		sector, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
		if err != nil {
			return fmt.Errorf("%w: the block device does not say its sector size: %w", ErrTarget, err)
		}
		end, err := m.file.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("%w: the block device does not say its size: %w", ErrTarget, err)
		}
		m.kind, m.bytes, m.sector = "block", end, sector
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

func (m *medium) close() {
	if m.file != nil {
		m.file.Close()
	}
}

// CheckTarget reports whether a target could be screened at all, so that a mistake in the call is said before anything
// is written.
func CheckTarget(name string) error {
	m, err := openMedium(name)
	if err != nil {
		return err
	}
	m.close()
	return nil
}
