package usb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/gate"
)

// ErrGate says that usbgate does not answer, or is not there. It is for good: another has to be started, and every device
// be plugged in anew.
var ErrGate = errors.New("the process that guards the USB ports does not answer")

// ErrNoDriver says that a device of the station's own lives, but that no driver has an interface of it. Where one is still being
// loaded it takes asking again; an interface that a program speaks to by itself never gets one.
var ErrNoDriver = errors.New("no driver has taken it yet")

// answerTime is longer than the kernel waits for a device that does not answer to being configured (5 s for each request of
// a few).
const answerTime = 20 * time.Second

// GateConfig is how usbgate is started.
type GateConfig struct {
	Path   string   // of the program
	Media  []string // ports on which it may authorise media and hubs
	Own    []string // ports on which it may authorise the station's own devices
	Reader int      // the user that usbreader runs as, who gets the device nodes
	Sys    string   // where sysfs is; empty for /sys
	Dev    string   // where the device nodes are; empty for /dev/bus/usb
}

// Gate is the connection to usbgate. It is safe for several goroutines; one request is answered before the next is sent.
type Gate struct {
	mu      sync.Mutex // held from a request to its answer
	conn    *net.UnixConn
	answers chan []byte
	lost    chan struct{} // closed when usbgate says nothing more
	why     error         // once lost is closed
	broken  error
	cmd     *exec.Cmd // nil if another started it
}

// StartGate starts usbgate at the other end of a socket pair. That works for root only; a station's service manager starts
// it behind a socket instead, for DialGate. It ends when the socket is closed, by Close or by this process's death.
func StartGate(ctx context.Context, cfg GateConfig) (*Gate, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGate, err)
	}
	own, its := os.NewFile(uintptr(fds[0]), "gate"), os.NewFile(uintptr(fds[1]), "gate")
	defer own.Close()
	defer its.Close()
	args := []string{"-reader", strconv.Itoa(cfg.Reader)}
	for _, o := range []struct{ flag, value string }{{"-sys", cfg.Sys}, {"-dev", cfg.Dev}} {
		if o.value != "" {
			args = append(args, o.flag, o.value)
		}
	}
	for _, port := range cfg.Own {
		args = append(args, "-own", port)
	}
	cmd := exec.CommandContext(ctx, cfg.Path, append(append(args, "--"), cfg.Media...)...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{its}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a key at a terminal is for this process, which then closes the socket
	conn, err := packetConn(own)
	if err != nil {
		return nil, err
	}
	cmd.Cancel = conn.Close // an end by the context is an end by the socket: usbgate takes back what it gave
	cmd.WaitDelay = answerTime
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrGate, err)
	}
	return newGate(conn, cmd), nil
}

// DialGate connects to an usbgate that the service manager starts behind a socket.
func DialGate(path string) (*Gate, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGate, err)
	}
	return newGate(conn, nil), nil
}

func newGate(conn *net.UnixConn, cmd *exec.Cmd) *Gate {
	g := &Gate{conn: conn, answers: make(chan []byte, 1), lost: make(chan struct{}), cmd: cmd}
	go g.listen()
	return g
}

// listen takes in answers until the socket ends: that usbgate died is then known at once, and not at the next request.
func (g *Gate) listen() {
	defer close(g.lost)
	for {
		answer := make([]byte, gate.AnswerSize+1)
		n, err := g.conn.Read(answer)
		if err != nil {
			g.why = err
			return
		}
		select {
		case g.answers <- answer[:n]:
		default:
			g.why = errors.New("it answers what nobody asked")
			return
		}
	}
}

// Lost is closed when usbgate is gone, or after Close. Every request after it is ErrGate.
func (g *Gate) Lost() <-chan struct{} { return g.lost }

func packetConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGate, err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%w: not a Unix socket", ErrGate)
	}
	return conn, nil
}

// Close ends the conversation, and waits for an usbgate that StartGate started: it de-authorises every medium first.
func (g *Gate) Close() error {
	err := g.conn.Close()
	<-g.lost
	if g.cmd != nil {
		err = errors.Join(err, g.cmd.Wait())
	}
	return err
}

// Defaults sets that no device and no interface on any bus lives before it is authorised, and that no driver comes by itself.
// It may be asked for at any time, and proves by its answer that usbgate is there.
func (g *Gate) Defaults() error { return g.ask(gate.Request{Verb: gate.Defaults}) }

// Authorise lets a medium's device be configured and one of its interfaces be claimed. No driver is probed. It is an error
// if the kernel chose another configuration than the decided one, and if a driver holds the interface: then the device is
// de-authorised again.
func (g *Gate) Authorise(d Device, iface int) error {
	return g.one(gate.Authorise, d, 0, iface)
}

// AdmitHub lets a hub be one.
func (g *Gate) AdmitHub(d Device, iface int) error {
	return g.one(gate.AdmitHub, d, 0, iface)
}

// AdmitOwn lets the kernel have a device of the station's own, in the configuration that it chooses. It may be asked again.
func (g *Gate) AdmitOwn(d Device) error {
	for c := range d.Configs {
		err := g.admitConfig(d, c)
		if !errors.Is(err, unix.ENOENT) || c == len(d.Configs)-1 { // which is what a configuration is that was not chosen
			return err
		}
	}
	return fmt.Errorf("usb: admit the device on port %s: it has no interface", d.Port)
}

func (g *Gate) admitConfig(d Device, config int) error {
	idle := false
	for i := range d.Configs[config].Interfaces {
		err := g.one(gate.AdmitOwn, d, config, i)
		if errors.Is(err, unix.EAGAIN) {
			idle = true
		} else if err != nil {
			return err
		}
	}
	if idle {
		return fmt.Errorf("usb: admit the device on port %s: %w", d.Port, ErrNoDriver)
	}
	return nil
}

func (g *Gate) one(v gate.Verb, d Device, config, iface int) error {
	if d.Fault != "" || config >= len(d.Configs) || iface < 0 || iface >= len(d.Configs[config].Interfaces) {
		return fmt.Errorf("usb: %s: the device has no such interface", d.Port)
	}
	c := d.Configs[config]
	return g.ask(gate.Request{Verb: v, Port: d.Port, Config: uint8(c.Value), Interface: uint8(iface)})
}

// Deauthorise takes a device's configuration away. A device that is gone is none that lives: no error.
func (g *Gate) Deauthorise(port string) error {
	return g.ask(gate.Request{Verb: gate.Deauthorise, Port: port})
}

// Disable takes a media port's power: what is on it is gone for every program of this machine.
func (g *Gate) Disable(port string) error { return g.ask(gate.Request{Verb: gate.Disable, Port: port}) }

// Enable gives a media port its power back.
func (g *Gate) Enable(port string) error { return g.ask(gate.Request{Verb: gate.Enable, Port: port}) }

// HandOver gives the device's node, and no other, to the user that usbreader runs as.
func (g *Gate) HandOver(d Device) error { return g.node(gate.HandOver, d) }

// TakeBack gives it back to root. What usbreader has open stays open: end it first.
func (g *Gate) TakeBack(d Device) error { return g.node(gate.TakeBack, d) }

func (g *Gate) node(v gate.Verb, d Device) error {
	if d.Bus < 1 || d.Bus > math.MaxUint8 || d.Address < 1 || d.Address > 127 {
		return fmt.Errorf("usb: %s: there is no bus %d with an address %d", d.Port, d.Bus, d.Address)
	}
	return g.ask(gate.Request{Verb: v, Port: d.Port, Bus: uint16(d.Bus), Address: uint16(d.Address)})
}

// ask sends one request and waits for its answer. After anything but an answer nobody knows which answer belongs to which
// request, so there are no more requests.
func (g *Gate) ask(r gate.Request) error {
	b, err := r.Encode()
	if err != nil {
		return fmt.Errorf("usb: %w: %q", err, r.Port)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return g.broken
	}
	answer, err := g.exchange(b)
	if err == nil {
		err = gate.DecodeAnswer(answer, r.Verb)
	}
	var errno syscall.Errno
	if err == nil || errors.As(err, &errno) && len(answer) == gate.AnswerSize {
		if err != nil {
			return fmt.Errorf("usb: %s %s: %w", r.Verb, r.Port, err)
		}
		return nil
	}
	g.broken = fmt.Errorf("%w: %w", ErrGate, err)
	g.conn.Close()
	return g.broken
}

// exchange sends a request and returns what comes back.
func (g *Gate) exchange(request []byte) ([]byte, error) {
	if err := g.conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if _, err := g.conn.Write(request); err != nil {
		return nil, err
	}
	late := time.NewTimer(answerTime)
	defer late.Stop()
	select {
	case answer := <-g.answers:
		return answer, nil
	case <-g.lost:
		select {
		case answer := <-g.answers: // its last word
			return answer, nil
		default:
			return nil, g.why
		}
	case <-late.C:
		return nil, os.ErrDeadlineExceeded
	}
}
