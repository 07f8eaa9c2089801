package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
)

const usbReader = "usbreader"

// The codes of a DeviceError. Each is an outcome of the session, as the code of a shortfall is.
const (
	CodeGone          = "device-gone"     // pulled out
	CodeRefused       = "device-refused"  // not the device that was authorised, or none that can be read
	CodeNoStorage     = "device-protocol" // does not speak Bulk-Only Transport as it must
	CodeSilent        = "device-silent"   // does not answer
	CodeDeviceChanged = "device-changed"  // another medium, or another size, than when it was opened
	CodeReaderDied    = "reader-died"     // the process that read it died
)

// finishTimeout is longer than usbreader asks a device that is slow to say that it is what it was: its own limit, and that of
// the command that it may be in.
const finishTimeout = 45 * time.Second

// DefaultOpenTimeout is for StartReader as a whole: usbreader's own limit on a device that is slow to be ready, and some.
const DefaultOpenTimeout = 45 * time.Second

// DeviceError is what was learned of a device that cannot be read. It is no failure of the kiosk.
type DeviceError struct{ Code, Text string }

func (e *DeviceError) Error() string { return e.Text }

// ReaderConfig says which device is read. All but the last four are required.
type ReaderConfig struct {
	Dir             string // the folder of the programs
	Bus, Address    int    // of the device, as in its node /dev/bus/usb/BUS/ADDRESS, which the reader must be allowed to open
	Configuration   int    // bConfigurationValue of the active configuration
	Interface       int    // bInterfaceNumber of the interface that was authorised
	Vendor, Product uint16 // what the device said that it is; zero is a number as any other

	// RequireNamespaces is as in Config.
	RequireNamespaces bool

	OpenTimeout time.Duration // for StartReader as a whole; 0 is DefaultOpenTimeout
	Stderr      io.Writer     // as in Config
}

// Unit is one logical unit of a device. Its Blocks, if it is lun.Good, is what Scan takes, for one scan; else it is nil.
type Unit struct {
	lun.Unit
	Blocks *os.File
}

// Reader is a usbreader at work: one process that holds one device. Close it after the scans of its units.
type Reader struct {
	Units  []Unit   // by number, also those that cannot be read: a device is read in full or was not checked
	Layers []string // what holds the process

	nursery *nursery
	process *process
	stop    func() bool // of the context
	close   sync.Once
}

// StartReader starts usbreader for a device that was authorised, and returns once the device is open, its units are known
// and the jail is closed. A *DeviceError says what was learned of the device; any other error is a failure of the kiosk, as
// Scan's are. The reader ends when it is closed, when ctx ends, or by itself; it does not outlive the supervisor.
//
// A root supervisor starts it as root's own user without a right, in namespaces, since the node of a device belongs to root.
// Where there are no namespaces it is nobody, whom the node must be opened to.
func StartReader(ctx context.Context, cfg ReaderConfig) (*Reader, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	n, err := newNursery(Config{Dir: cfg.Dir, RequireNamespaces: cfg.RequireNamespaces, Stderr: cfg.Stderr})
	if err != nil {
		return nil, err
	}
	n.ladder = readerIsolations(os.Geteuid(), cfg.RequireNamespaces)
	r := &Reader{nursery: n}
	report, err := r.start(cfg)
	if err != nil {
		r.Close()
		return nil, err
	}
	defer report.Close()
	r.stop = context.AfterFunc(ctx, r.process.kill)
	if err := r.ready(report, cfg.OpenTimeout); err != nil {
		r.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return r, nil
}

func (c *ReaderConfig) check() error {
	if c.OpenTimeout == 0 {
		c.OpenTimeout = DefaultOpenTimeout
	}
	switch {
	case c.Dir == "":
		return errors.New("worker: the folder of the workers is not given")
	case c.Bus < 1 || c.Bus > 999 || c.Address < 1 || c.Address > 127: // USB 2.0, 9.4.6; three digits in the node's name
		return fmt.Errorf("worker: no device has bus %d and address %d", c.Bus, c.Address)
	case c.Configuration < 1 || c.Configuration > 255 || c.Interface < 0 || c.Interface > 255:
		return fmt.Errorf("worker: configuration %d, interface %d", c.Configuration, c.Interface)
	case c.OpenTimeout < time.Millisecond:
		return fmt.Errorf("worker: a time limit of %v", c.OpenTimeout)
	}
	return checkProgram(c.Dir, usbReader)
}

// start makes the channels and the report pipe, whose own end it returns, and starts the process.
func (r *Reader) start(cfg ReaderConfig) (*os.File, error) {
	report, theirs, err := pipe(true, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	files := []*os.File{theirs}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for range lun.MaxUnits {
		client, server, err := blocks.Pair()
		if err != nil {
			report.Close()
			return nil, fmt.Errorf("%w: %w", ErrStart, err)
		}
		files = append(files, server)
		r.Units = append(r.Units, Unit{Blocks: client})
	}
	args := []string{"usb", strconv.Itoa(cfg.Bus), strconv.Itoa(cfg.Address), "-config", strconv.Itoa(cfg.Configuration),
		"-interface", strconv.Itoa(cfg.Interface), "-device", fmt.Sprintf("%04x:%04x", cfg.Vendor, cfg.Product)}
	if r.process, err = r.nursery.start(usbReader, args, files); err != nil {
		report.Close()
		return nil, err
	}
	return report, nil
}

// ready waits for what the process says, or for its end.
func (r *Reader) ready(report *os.File, limit time.Duration) error {
	if err := report.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	var said lun.Ready
	switch err := frame.NewReader(report).Next(&said); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &DeviceError{CodeSilent, "The device was not ready in time."}
	case err == io.EOF:
		if !r.process.within(exitGrace) {
			return fmt.Errorf("%w: usbreader said nothing and did not end", ErrStart)
		}
		return r.Err()
	case err != nil:
		return &DeviceError{CodeReaderDied, "The process that reads the device sent something that is not a message."}
	}
	if err := said.Check(); err != nil {
		return &DeviceError{CodeReaderDied, "The process that reads the device broke the rules of its messages."}
	}
	r.Layers = append(said.Layers, r.nursery.layers()...)
	for i := range r.Units {
		if i >= len(said.Units) || said.Units[i].Trouble != lun.Good {
			r.Units[i].Blocks.Close()
			r.Units[i].Blocks = nil
		}
		if i < len(said.Units) {
			r.Units[i].Unit = said.Units[i]
		}
	}
	r.Units = r.Units[:len(said.Units)]
	return nil
}

// Done is closed when the process has ended.
func (r *Reader) Done() <-chan struct{} { return r.process.exited }

// Err says how a process ended by itself: nil while it runs and after it did its work, a *DeviceError for what it learned of
// the device or if it was killed, another error if the kiosk failed.
func (r *Reader) Err() error {
	select {
	case <-r.process.exited:
	default:
		return nil
	}
	switch r.process.code() {
	case 0:
		if r.Layers == nil {
			return fmt.Errorf("%w: usbreader ended before it was ready", ErrStart)
		}
		return nil
	case lun.ExitGone:
		return &DeviceError{CodeGone, "The device was pulled out."}
	case lun.ExitRefused:
		return &DeviceError{CodeRefused, "The device is not what it said that it is."}
	case lun.ExitProtocol:
		return &DeviceError{CodeNoStorage, "The device does not answer as a stick must."}
	case lun.ExitSilent:
		return &DeviceError{CodeSilent, "The device does not answer."}
	case lun.ExitChanged:
		return &DeviceError{CodeDeviceChanged, "The device's medium was changed while it was read."}
	case sandbox.ExitSandbox:
		return ErrSandbox
	case lun.ExitUsage, lun.ExitAccess:
		return fmt.Errorf("%w: usbreader %s", ErrStart, r.process.end())
	}
	return &DeviceError{CodeReaderDied, "The process that reads the device " + r.process.end() + "."}
}

// Finish ends the reading: the channels say so to the process, which asks the device once more whether it is what it was when
// it was opened, and ends. It returns what Err returns then, or why ctx ended. Before it, nobody knows that the device
// that was read last is the one that was read first.
func (r *Reader) Finish(ctx context.Context) error {
	for _, u := range r.Units {
		if u.Blocks == nil {
			continue
		}
		// Closing is not enough while another process has the channel too. One that has ended already is at its end.
		if err := hangUp(u.Blocks); err != nil && !errors.Is(err, unix.ENOTCONN) {
			return fmt.Errorf("worker: end a channel: %w", err)
		}
	}
	timer := time.NewTimer(finishTimeout)
	defer timer.Stop()
	select {
	case <-r.process.exited:
		return r.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return &DeviceError{CodeSilent, "The device did not say in time that it is what it was."}
	}
}

// hangUp tells the other end of a channel that nothing more will be asked.
func hangUp(channel *os.File) error {
	conn, err := channel.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, failed)
}

// Close kills the process, waits until it is reaped, and closes the channels. It may be called again.
func (r *Reader) Close() {
	r.close.Do(func() {
		if r.stop != nil {
			r.stop()
		}
		r.nursery.close()
		for _, u := range r.Units {
			if u.Blocks != nil {
				u.Blocks.Close()
			}
		}
	})
}
