//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pratique/testdata/e2e/wire"
)

// do answers one request. What goes wrong is said to the host, which fails its test.
func (a *agent) do(req wire.Request) wire.Message {
	var reply wire.Message
	var err error
	switch req.Verb {
	case wire.Run:
		reply, err = a.run(req)
	case wire.Kill:
		err = unix.Kill(req.PID, unix.Signal(req.Signal))
	case wire.Read:
		reply.Data, err = read(req.Path, wire.MaxFile)
	case wire.Write:
		err = write(req)
	case wire.List:
		reply.Names, err = names(req.Path)
	case wire.MakeDir:
		if err = os.MkdirAll(req.Path, os.FileMode(req.Mode)); err == nil {
			err = give(req.Path, req.User)
		}
	case wire.Mount:
		err = mount(req)
	case wire.Unmount:
		err = unix.Unmount(req.Path, 0)
	case wire.Module:
		err = insertModule(req.Path, strings.Join(req.Args, " "))
	case wire.Listen:
		err = listen(req)
	case wire.USB:
		reply.Bus, err = a.bus()
	case wire.SetClock:
		var now time.Time
		if now, err = time.Parse(time.RFC3339Nano, string(req.Data)); err == nil {
			tv := unix.NsecToTimeval(now.UnixNano())
			err = unix.Settimeofday(&tv)
		}
	case wire.Processes:
		reply.PIDs, err = processes(req.Path)
	default:
		err = fmt.Errorf("no verb %q", req.Verb)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	return reply
}

// run starts a program and gives each line of its output to the host as it comes.
func (a *agent) run(req wire.Request) (wire.Message, error) {
	if len(req.Args) == 0 {
		return wire.Message{}, errors.New("no program")
	}
	cmd := exec.Command(req.Args[0], req.Args[1:]...)
	cmd.Dir, cmd.Env = req.Dir, req.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if u := req.User; u != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return wire.Message{}, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return wire.Message{}, err
	}
	if err := cmd.Start(); err != nil {
		return wire.Message{}, err
	}
	a.send(wire.Message{ID: req.ID, Kind: wire.Started, PID: cmd.Process.Pid})
	var streams sync.WaitGroup
	for i, stream := range []io.Reader{stdout, stderr} {
		streams.Go(func() {
			lines := bufio.NewReader(stream)
			for {
				line, err := lines.ReadString('\n')
				if line != "" {
					a.send(wire.Message{ID: req.ID, Kind: wire.Line, Stream: i + 1, Text: strings.TrimSuffix(line, "\n")})
				}
				if err != nil {
					return
				}
			}
		})
	}
	streams.Wait()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return wire.Message{}, err
	}
	code := cmd.ProcessState.ExitCode()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = -int(status.Signal())
	}
	return wire.Message{Code: code}, nil
}

// listen does for a program what a service manager does for one behind a socket that accepts: it starts it for each
// connection. The socket is the user's alone.
func listen(req wire.Request) error {
	if len(req.Args) == 0 {
		return errors.New("no program")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: req.Path}), os.Chmod(req.Path, 0o600), give(req.Path, req.User), unix.Listen(fd, 4)); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	go func() {
		for {
			conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				fmt.Println("agent: error: accept:", err)
				return
			}
			f := os.NewFile(uintptr(conn), "connection")
			cmd := exec.Command(req.Args[0], req.Args[1:]...)
			cmd.ExtraFiles, cmd.Env, cmd.Stderr = []*os.File{f}, []string{}, os.Stdout // the console
			if err := cmd.Start(); err != nil {
				fmt.Println("agent: error:", err)
			} else {
				go cmd.Wait()
			}
			f.Close()
		}
	}()
	return nil
}

func read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, err
}

// write writes a file in place, because sysfs takes nothing else.
func write(req wire.Request) error {
	f, err := os.OpenFile(req.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(req.Mode))
	if err != nil {
		return err
	}
	_, err = f.Write(req.Data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return give(req.Path, req.User)
}

func give(path string, to *wire.User) error {
	if to == nil {
		return nil
	}
	return os.Chown(path, int(to.UID), int(to.GID))
}

func names(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, err
}

func mount(req wire.Request) error {
	if err := os.MkdirAll(req.Path, 0o755); err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if req.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount(req.Device, req.Path, req.System, flags, "")
}

// processes returns those that run a program of this name.
func processes(program string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that ended since has no name, which is no error.
		if name, err := os.ReadFile("/proc/" + e.Name() + "/comm"); err == nil && strings.TrimSpace(string(name)) == program {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// bus reads what the kernel made of what is plugged.
func (a *agent) bus() (*wire.Bus, error) {
	const root = "/sys/bus/usb/devices/"
	entries, err := names(root)
	if err != nil {
		return nil, err
	}
	var bus wire.Bus
	for _, name := range entries {
		if strings.HasPrefix(name, "usb") || strings.Contains(name, ":") {
			continue
		}
		text := func(attribute string) string {
			data, _ := read(root+name+"/"+attribute, 1<<16) // gone since: the host sees what is left
			return strings.TrimSpace(string(data))
		}
		number := func(attribute string) int {
			n, _ := strconv.Atoi(text(attribute))
			return n
		}
		d := wire.Device{Path: name, Bus: number("busnum"), Address: number("devnum"), Vendor: text("idVendor"), Product: text("idProduct"),
			Authorized: text("authorized") == "1", Config: text("bConfigurationValue"), Drivers: map[string]string{}}
		d.Descriptors, _ = read(root+name+"/descriptors", 1<<20)
		d.Owner = -1
		var node unix.Stat_t
		if unix.Stat(fmt.Sprintf("/dev/bus/usb/%03d/%03d", d.Bus, d.Address), &node) == nil {
			d.Owner = int(node.Uid)
		}
		for _, other := range entries {
			if !strings.HasPrefix(other, name+":") {
				continue
			}
			d.Interfaces++
			if driver, err := os.Readlink(root + other + "/driver"); err == nil {
				d.Drivers[strings.TrimPrefix(other, name+":")] = filepath.Base(driver)
			}
		}
		bus.Devices = append(bus.Devices, d)
	}
	for _, class := range []struct {
		path string
		to   *[]string
	}{{"/sys/class/input", &bus.Inputs}, {"/sys/class/net", &bus.Nets}, {"/sys/class/block", &bus.Disks}} {
		entries, err := names(class.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, name := range entries {
			if _, err := os.Stat(class.path + "/" + name + "/partition"); err == nil {
				continue
			}
			target, err := os.Readlink(class.path + "/" + name)
			if err == nil && (strings.Contains(target, "/usb") || class.path == "/sys/class/net" && name != "lo") {
				*class.to = append(*class.to, name)
			}
		}
		slices.Sort(*class.to)
	}
	a.mu.Lock()
	bus.Keys = a.keys
	a.mu.Unlock()
	return &bus, nil
}
