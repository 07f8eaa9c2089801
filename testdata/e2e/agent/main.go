//go:build linux

// Program agent is the first process of the test guest: it mounts the kernel's file systems, loads the listed modules, and
// then does what the host asks it over a virtio serial port (package wire). It reports the kernel's uevents, and listens on
// every input device, so that a key that a stick types is seen.
//
// It trusts the host, runs as root and ends with the machine. It is for tests and is never installed.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pratique/testdata/e2e/wire"
)

// The guest's kernel has a disk driver or two to find; more than this means that it is stuck.
const portWait = 20 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Println("agent: error:", err) // the console, which the host keeps
	}
	// A first process that returns is a kernel panic; this ends the machine in order.
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, m := range []struct{ device, path, system, data string }{
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"devtmpfs", "/dev", "devtmpfs", ""},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777"},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
		{"tmpfs", "/var", "tmpfs", "mode=755"},
		{"devpts", "/dev/pts", "devpts", ""},
		{"tmpfs", "/dev/shm", "tmpfs", "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
	} {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.device, m.path, m.system, unix.MS_NOSUID, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	if err := loopback(); err != nil {
		return err
	}
	list, err := os.ReadFile("/modules/list")
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(list)) {
		if err := insertModule("/modules/"+strings.TrimSpace(name), ""); err != nil {
			return err
		}
	}
	path, err := findPort()
	if err != nil {
		return err
	}
	port, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	a := &agent{port: port}
	if err := a.listenUevents(); err != nil {
		return err
	}
	a.send(wire.Message{Kind: wire.Ready})
	return a.serve()
}

// insertModule loads one module. What it depends on was loaded before it.
func insertModule(path, parameters string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), parameters, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", path, err)
	}
	return nil
}

// loopback brings the loopback interface up: no other network is wanted in the guest, and a stick that brings one is seen.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

func findPort() (string, error) {
	for end := time.Now().Add(portWait); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == wire.PortName {
				return "/dev/" + filepath.Base(filepath.Dir(name)), nil
			}
		}
	}
	return "", errors.New("no port to the host")
}

// agent is the one connection to the host.
type agent struct {
	sending sync.Mutex
	port    *os.File

	mu   sync.Mutex
	keys int // input events seen
}

// send gives one message to the host. A port that does not take it any more means that the machine ends.
func (a *agent) send(m wire.Message) {
	m.Up = uptime()
	text, err := json.Marshal(m)
	if err != nil {
		text = fmt.Appendf(nil, `{"id":%d,"kind":"done","error":"the reply cannot be written as JSON"}`, m.ID)
	}
	a.sending.Lock()
	defer a.sending.Unlock()
	a.port.Write(append(text, '\n'))
}

func uptime() float64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return float64(now.Sec) + float64(now.Nsec)/1e9
}

func (a *agent) serve() error {
	// The port says end of file while no host is connected, as after a snapshot was restored.
	lines := bufio.NewReaderSize(portReader{a.port}, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var req wire.Request
		if err := json.Unmarshal(line, &req); err != nil {
			fmt.Println("agent: error: request:", err)
			continue
		}
		go func() {
			reply := a.do(req)
			reply.ID, reply.Kind = req.ID, wire.Done
			a.send(reply)
		}()
	}
}

// portReader waits where a virtio port without a host says that it has ended.
type portReader struct{ port *os.File }

func (r portReader) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(r.port.Fd()), p)
		if n > 0 {
			return n, nil
		}
		if err != nil && !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EAGAIN) {
			return 0, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
