package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Times, all far above what is usual (a boot takes 5 s, a restored machine answers in half a second), because the machine
// that runs the tests may be busy with others. Nothing waits for them but what fails.
const (
	bootTime    = 3 * time.Minute
	restoreTime = time.Minute
	saveTime    = time.Minute
	commandTime = 30 * time.Second
	endTime     = 10 * time.Second
)

// guestMemory is in MiB: programs and libraries 60, a scan about 300, the disk of a few sticks.
const guestMemory = 768

// Machine is one running guest.
type Machine struct {
	Guest *Guest

	dir     string
	monitor *monitor
	process *exec.Cmd
	ended   chan struct{} // closed when QEMU has ended
	serial  int           // numbers of what was plugged
	nodes   map[string][]string
}

// Setup is what all machines of a run have in common.
type Setup struct {
	Dir       string // for all files; sockets are below it, so its path must be short
	Kernel    *Kernel
	Initramfs string // path
	snapshot  string
}

// arguments are the same at the boot and at each restore, or the saved state would not fit.
func (s *Setup) arguments(dir string) []string {
	// Programs and the kernel copy and clear memory by "rep movsb" and by AVX where the processor says that these are fast.
	// On a real one they are; here each byte, and each AVX instruction, is a call of the emulator, and copying is the larger part of what
	// usbreader does. So this processor does not have them, which makes the guest two to three times faster there.
	accel := []string{"-accel", "tcg,thread=multi", "-cpu", "max,-erms,-avx,-avx2"}
	if a := os.Getenv("PRATIQUE_E2E_ACCEL"); a != "" { // never tried by itself: a KVM that is there but cannot run a stock kernel hangs
		accel = []string{"-accel", a, "-cpu", "host"}
	}
	return append(accel, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", fmt.Sprint(guestMemory), "-smp", "1", "-machine", "q35",
		"-kernel", s.Kernel.Image, "-initrd", s.Initramfs,
		// The guest calibrates its clock against a processor that it shares with others, and gets it wrong by any factor.
		"-append", "console=ttyS0 panic=-1 quiet loglevel=4 tsc=unstable clocksource=hpet",
		"-serial", "file:"+filepath.Join(dir, "console"),
		"-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path="+filepath.Join(dir, "agent")+",server=on,wait=off",
		"-device", "virtserialport,chardev=agent,name=pratique.agent",
		// One controller of QEMU's has places for 64 devices. The second and the third are for a case with more than that.
		"-device", "qemu-xhci,id=xhci,p2=8,p3=8", "-device", "qemu-xhci,id=xhci2,p2=1,p3=1", "-device", "qemu-xhci,id=xhci3,p2=1,p3=1",
		"-device", "pcie-root-port,id=disk,chassis=1")
}

// start starts QEMU and connects to it.
func (s *Setup) start(ctx context.Context, more ...string) (_ *Machine, err error) {
	dir, err := os.MkdirTemp(s.Dir, "vm-")
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: dir, ended: make(chan struct{}), nodes: map[string][]string{}}
	m.process = exec.Command("qemu-system-x86_64", append(s.arguments(dir), more...)...)
	words, err := os.Create(filepath.Join(dir, "qemu"))
	if err != nil {
		return nil, err
	}
	defer words.Close()
	m.process.Stdout, m.process.Stderr = words, words
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.process.Start(); err != nil {
		return nil, fmt.Errorf("QEMU (packaging/apt-install qemu-system-x86): %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		m.process.Wait()
		stop(errors.New("QEMU has ended"))
		close(m.ended)
	}()
	defer func() {
		if err != nil {
			said, _ := os.ReadFile(filepath.Join(dir, "qemu"))
			err = fmt.Errorf("%w: %s", err, said)
			m.Close()
		}
	}()
	if m.monitor, err = openMonitor(ctx, filepath.Join(dir, "qmp")); err != nil {
		return nil, err
	}
	if m.Guest, err = openGuest(ctx, filepath.Join(dir, "agent")); err != nil {
		return nil, err
	}
	return m, nil
}

// Boot boots the guest and keeps its state for Restore.
func (s *Setup) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTime, errors.New("the guest does not boot"))
	defer cancel()
	m, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Guest.ready(ctx); err != nil {
		return fmt.Errorf("%w; the console's last words:\n%s", err, m.Console())
	}
	if err := m.monitor.do(ctx, "stop", nil, nil); err != nil {
		return err
	}
	s.snapshot = filepath.Join(s.Dir, "snapshot")
	if err := m.monitor.do(ctx, "migrate", Args{"uri": "exec:cat > '" + s.snapshot + "'"}, nil); err != nil {
		return err
	}
	ctx, cancel = context.WithTimeoutCause(ctx, saveTime, errors.New("the guest's state is not saved"))
	defer cancel()
	for {
		var state struct {
			Status string `json:"status"`
		}
		if err := m.monitor.do(ctx, "query-migrate", nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("the guest's state is not saved: %s", state.Status)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// Restore starts a machine from the state that Boot kept, and sets its clock, which has stood still.
func (s *Setup) Restore(ctx context.Context) (*Machine, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTime, errors.New("the guest's state is not restored"))
	defer cancel()
	m, err := s.start(ctx, "-incoming", "exec:cat '"+s.snapshot+"'")
	if err != nil {
		return nil, err
	}
	for {
		var state struct {
			Status string `json:"status"`
		}
		if err = m.monitor.do(ctx, "query-status", nil, &state); err != nil {
			break
		}
		if state.Status != "inmigrate" {
			err = m.monitor.do(ctx, "cont", nil, nil)
			break
		}
		if err = sleep(ctx, 10*time.Millisecond); err != nil {
			break
		}
	}
	if err == nil {
		err = m.Guest.setClock(ctx, time.Now())
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Console returns what the guest's kernel said last.
func (m *Machine) Console() string {
	const last = 4 << 10
	text, err := os.ReadFile(filepath.Join(m.dir, "console"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-last):]))
}

// PowerOff ends the machine at once, as a pulled plug does: nothing that the guest has not flushed is written.
func (m *Machine) PowerOff() {
	m.process.Process.Kill()
	select {
	case <-m.ended:
	case <-time.After(endTime): // killed, but not gone: the kernel's matter
	}
}

// Close ends the machine and removes its files.
func (m *Machine) Close() {
	m.PowerOff()
	if m.monitor != nil {
		m.monitor.conn.Close()
	}
	if m.Guest != nil {
		m.Guest.conn.Close()
	}
	os.RemoveAll(m.dir)
}
