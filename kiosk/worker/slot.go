package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pratique/scanner/report"
)

// slotLife is one slot: the descriptors, which last as long as the scan, and the yaraworker on them, which may be replaced.
type slotLife struct {
	memory        *os.File
	requestR      *os.File // yaraworker's end
	requestW      *os.File // scanworker's end
	answerR       *os.File // scanworker's end
	answerW       *os.File // yaraworker's end
	requestDrain  *os.File // the supervisor's own view of requestR
	answerDrain   *os.File // and of answerR
	process       *process
	cause         report.Cause // what the next SlotReady says
	deadline      time.Time    // zero while no request is outstanding
	beingReplaced bool         // a kill is under way
}

// newSlot makes a slot's descriptors. The buffer's size is sealed at once; scanworker adds the seal against writing after
// it has mapped the buffer for itself.
func newSlot() (s *slotLife, err error) {
	s = &slotLife{cause: report.FirstTime}
	defer func() {
		if err != nil {
			s.close()
			s = nil
		}
	}()
	if s.memory, err = newMemfd("slot", SlotBytes); err != nil {
		return s, err
	}
	if err = addSeals(s.memory, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		return s, fmt.Errorf("worker: seal a buffer: %w", err)
	}
	if s.requestR, s.requestW, err = pipe(false, true); err != nil {
		return s, err
	}
	if s.answerR, s.answerW, err = pipe(true, false); err != nil {
		return s, err
	}
	if s.requestDrain, err = view(s.requestR); err != nil {
		return s, err
	}
	s.answerDrain, err = view(s.answerR)
	return s, err
}

// view opens a pipe's read end once more, as a description of its own: whether reading waits is a property of the
// description, and the one that a worker holds is the worker's to set.
func view(r *os.File) (*os.File, error) {
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(r.Fd())), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("worker: open a pipe again: %w", err)
	}
	return os.NewFile(uintptr(fd), "pipe"), nil
}

func (s *slotLife) close() {
	for _, f := range []*os.File{s.memory, s.requestR, s.requestW, s.answerR, s.answerW, s.requestDrain, s.answerDrain} {
		if f != nil {
			f.Close()
		}
	}
}

// forScanWorker and forYARAWorker are the descriptors that each side gets, in order.
func (s *slotLife) forScanWorker() []*os.File { return []*os.File{s.memory, s.requestW, s.answerR} }

func (s *slotLife) forYARAWorker(rules *os.File) []*os.File {
	return []*os.File{rules, s.memory, s.requestR, s.answerW}
}

// kill ends the yaraworker; what was in the slot gets the outcome of the cause.
func (s *slotLife) kill(cause report.Cause) {
	if s.process == nil || s.beingReplaced {
		return
	}
	s.cause, s.beingReplaced, s.deadline = cause, true, time.Time{}
	s.process.kill()
}

// drain empties both pipes of what belonged to the yaraworker that died.
func (s *slotLife) drain() error {
	return errors.Join(drain(s.requestDrain), drain(s.answerDrain))
}

// maxDrain is more than a pipe holds (64 KiB). A scanworker that fills the pipe as fast as it is emptied has broken the
// agreement, and is not waited for.
const maxDrain = 1 << 20

func drain(f *os.File) error {
	buf := make([]byte, 64<<10)
	for total := 0; total < maxDrain; {
		var n int
		var err error
		raw, rawErr := f.SyscallConn()
		if rawErr != nil {
			return rawErr
		}
		rawErr = raw.Read(func(fd uintptr) bool { // always done: it must not wait for more
			n, err = unix.Read(int(fd), buf)
			return true
		})
		switch {
		case rawErr != nil:
			return rawErr
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("worker: drain a pipe: %w", err)
		case n == 0:
			return fmt.Errorf("worker: drain a pipe: %w", io.ErrUnexpectedEOF)
		}
		total += n
	}
	return errors.New("worker: drain a pipe: it does not end")
}

// newMemfd makes a memfd of a size. Where the kernel can (6.3), it is never executable.
func newMemfd(name string, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("worker: memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, fmt.Errorf("worker: memfd: %w", err)
	}
	return f, nil
}

func addSeals(f *os.File, seals int) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	return err
}

// sealed reports whether scanworker has sealed the buffer against every later mapping for writing.
func (s *slotLife) sealed() bool {
	seals, err := unix.FcntlInt(s.memory.Fd(), unix.F_GET_SEALS, 0)
	const want = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	return err == nil && seals&want == want
}
