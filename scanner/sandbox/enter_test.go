package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe is something that a process tries in its jail. It reports what the kernel said.
type probe struct {
	name string
	try  func() error
	// want is EPERM where the rules refuse, and 0 where they kill.
	want syscall.Errno
}

func raw(nr uintptr, args ...uintptr) func() error {
	var a [6]uintptr
	copy(a[:], args)
	return func() error {
		if _, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
			return e
		}
		return nil
	}
}

var (
	path      = []byte("/etc/passwd\x00")
	pathAddr  = uintptr(unsafe.Pointer(&path[0]))
	futexWord uint32
)

var probes = []probe{
	{"openat", raw(unix.SYS_OPENAT, ^uintptr(99), pathAddr, unix.O_RDONLY), unix.EPERM},
	{"openat2", raw(unix.SYS_OPENAT2, ^uintptr(99), pathAddr, 0, 0), 0},
	{"socket", raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0), 0},
	{"unix socket", raw(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0), 0},
	{"netlink socket", raw(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, 0), 0},
	{"connect", raw(unix.SYS_CONNECT, 0, 0, 0), 0},
	{"accept", raw(unix.SYS_ACCEPT4, 0, 0, 0, 0), 0},
	{"send a descriptor", raw(unix.SYS_SENDMSG, 0, 0, 0), 0},
	{"send", raw(unix.SYS_SENDTO, 0, 0, 0, 0, 0, 0), 0},
	{"receive", raw(unix.SYS_RECVFROM, 0, 0, 0, 0, 0, 0), 0},
	{"listen", raw(unix.SYS_LISTEN, 0, 1), 0},
	{"execve", raw(unix.SYS_EXECVE, pathAddr, 0, 0), 0},
	{"execveat", raw(unix.SYS_EXECVEAT, 0, pathAddr, 0, 0, 0), 0},
	{"fork by clone", raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)), unix.EPERM},
	{"new user namespace by clone", raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)), unix.EPERM},
	{"unshare", raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER), 0},
	{"ptrace", raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())), 0},
	{"read another's memory", raw(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0, 0, 0, 0), 0},
	{"kill the parent", raw(unix.SYS_KILL, uintptr(os.Getppid()), 0), 0},
	{"tgkill the parent", raw(unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()), 0), unix.EPERM},
	{"pidfd_open", raw(unix.SYS_PIDFD_OPEN, uintptr(os.Getppid()), 0), 0},
	{"executable mmap", raw(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON, ^uintptr(0), 0), unix.EPERM},
	{"executable mprotect", raw(unix.SYS_MPROTECT, uintptr(unsafe.Pointer(&path[0]))&^4095, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC), unix.EPERM},
	{"memfd_create", raw(unix.SYS_MEMFD_CREATE, pathAddr, 0), 0},
	{"unlinkat", raw(unix.SYS_UNLINKAT, ^uintptr(99), pathAddr, 0), 0},
	{"ioctl", raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, pathAddr), 0},
	{"detach a driver", raw(unix.SYS_IOCTL, 0, 0x5516, 0), 0},     // USBDEVFS_DISCONNECT
	{"reset a device", raw(unix.SYS_IOCTL, 0, 0x5514, 0), 0},      // USBDEVFS_RESET
	{"claim an interface", raw(unix.SYS_IOCTL, 0, 0x8004550F), 0}, // USBDEVFS_CLAIMINTERFACE
	{"mount", raw(unix.SYS_MOUNT, 0, 0, 0, 0, 0), 0},
	{"bpf", raw(unix.SYS_BPF, 0, 0, 0), 0},
	{"io_uring", raw(unix.SYS_IO_URING_SETUP, 1, 0), 0},
	{"userfaultfd", raw(unix.SYS_USERFAULTFD, 0), 0},
	{"dup", raw(unix.SYS_DUP, 0), 0},
	{"pipe", raw(unix.SYS_PIPE2, pathAddr, 0), 0},
	{"raise a limit", raw(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 0, 0), 0},
	{"another filter", raw(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0), 0},
	{"dumpable again", raw(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0), unix.EPERM},
	{"flags of a shared descriptor", raw(unix.SYS_FCNTL, 0, unix.F_SETFL, unix.O_NONBLOCK), unix.EPERM},
	{"futex with priority inheritance", raw(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&futexWord)), 6, 0, 0, 0, 0), unix.EPERM},
	{"grow a file", raw(unix.SYS_FTRUNCATE, 0, 1), 0},
	{"x32 call", raw(x32Bit|0, 0, pathAddr, 0), 0},
}

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "jailed" {
		os.Exit(jailed(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 5 && os.Args[1] == "confined" {
		os.Exit(confined(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "without" {
		os.Exit(without(os.Args[2]))
	}
	code := m.Run()
	removeBinary()
	os.Exit(code)
}

// jailed is the other half of the tests: the test binary, started again, in a jail.
func jailed(role, task string) int {
	n, _ := strconv.Atoi(role)
	threads := startThreads(3)
	layers, err := Enter(Role(n))
	if err != nil {
		fmt.Println("error:", err)
		return ExitSandbox
	}
	if len(layers) != 6 {
		fmt.Println("layers:", layers)
		return 1
	}
	for _, p := range append(probes, archProbes...) {
		if p.name == task {
			fmt.Println("result:", p.try())
			return 0
		}
	}
	switch task {
	case "work":
		return work()
	case "other thread":
		threads <- func() { fmt.Println("result:", raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)()) }
		time.Sleep(10 * time.Second)
	case "wait":
		time.Sleep(time.Minute)
	case "memory":
		for size := 1 << 20; ; size *= 2 {
			b := make([]byte, size)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			fmt.Println("result: got", size)
		}
	}
	return 1
}

// startThreads makes threads that exist before the jail. Each runs what comes through the channel.
func startThreads(n int) chan<- func() {
	tasks := make(chan func())
	var ready sync.WaitGroup
	for range n {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			for task := range tasks {
				task()
			}
		}()
	}
	ready.Wait()
	return tasks
}

// work is what the runtime of a worker does: threads, timers, preemption, garbage collection, pipes with deadlines.
func work() int {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			keep := map[int][]byte{}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				default:
				}
				keep[i%50] = bytes.Repeat([]byte{byte(i)}, 1+i%200_000)
			}
		}()
	}
	spin := 0
	go func() {
		for { // never yields: has to be interrupted by a signal
			spin++
		}
	}()
	until := time.Now().Add(time.Second)
	for time.Now().Before(until) {
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	in := os.NewFile(3, "pipe")
	if err := in.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		fmt.Println("deadline:", err)
		return 1
	}
	if _, err := in.Read(make([]byte, 1)); !os.IsTimeout(err) {
		fmt.Println("read:", err)
		return 1
	}
	fmt.Println("result: done")
	return 0
}

// start starts the test binary in the jail of a role. Its descriptor 3 is the read end of an empty pipe that does not wait.
func start(t *testing.T, role Role, task string, more ...*os.File) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { r.Close(); w.Close() })
	self := jailedBinary(t)
	var out bytes.Buffer
	cmd := exec.Command(self, "jailed", strconv.Itoa(int(role)), task)
	cmd.Env = []string{"GODEBUG=updatemaxprocs=0"}
	cmd.ExtraFiles = append([]*os.File{r}, more...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, &out
}

func killedByFilter(cmd *exec.Cmd) bool {
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGSYS
}

func TestT03_JailedProcessCannotReachOut(t *testing.T) {
	for _, role := range roles {
		for _, p := range append(probes, archProbes...) {
			t.Run(role.String()+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				cmd, out := start(t, role, p.name)
				err := cmd.Wait()
				if p.want == 0 {
					if !killedByFilter(cmd) {
						t.Errorf("was not killed: %v, %s", err, out)
					}
					return
				}
				if want := "result: " + p.want.Error() + "\n"; err != nil || out.String() != want {
					t.Errorf("%v, %q, want %q", err, out, want)
				}
			})
		}
	}
}

func TestT03_ThreadsFromBeforeAreJailedToo(t *testing.T) {
	for _, role := range roles {
		cmd, out := start(t, role, "other thread")
		if cmd.Wait(); !killedByFilter(cmd) {
			t.Errorf("%v: %v, %s", role, cmd.ProcessState, out)
		}
	}
	cmd, _ := start(t, ScanWorker, "wait")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)); err == nil && strings.Contains(string(text), "Seccomp:\t2\n") {
			break
		}
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d threads, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "Seccomp:\t2\n") || !strings.Contains(string(text), "NoNewPrivs:\t1\n") {
			t.Errorf("%s is not jailed:\n%s", file, text)
		}
	}
}

func TestRuntimeWorksInTheJail(t *testing.T) {
	for _, role := range roles {
		t.Run(role.String(), func(t *testing.T) {
			t.Parallel()
			cmd, out := start(t, role, "work")
			if err := cmd.Wait(); err != nil || out.String() != "result: done\n" {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}

func TestT24_MemoryIsBounded(t *testing.T) {
	cmd, out := start(t, ScanWorker, "memory")
	if err := cmd.Wait(); err == nil || strings.Contains(out.String(), fmt.Sprintf("got %d\n", scanMemory)) {
		t.Errorf("%v, %s", err, out)
	}
}

func TestT03_EnterRefusesDescriptorsThatReachFurther(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(path string, flags int) *os.File {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		t.Cleanup(func() { f.Close() })
		return f
	}
	socket := func(domain, kind int) *os.File {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "socket")
		t.Cleanup(func() { f.Close() })
		return f
	}
	pair := func(kind int) *os.File {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		other, f := os.NewFile(uintptr(fds[1]), "other"), os.NewFile(uintptr(fds[0]), "socket")
		t.Cleanup(func() { f.Close(); other.Close() })
		return f
	}
	listening := socket(unix.AF_UNIX, unix.SOCK_STREAM)
	if err := errors.Join(unix.Bind(int(listening.Fd()), &unix.SockaddrUnix{Name: filepath.Join(dir, "s")}), unix.Listen(int(listening.Fd()), 1)); err != nil {
		t.Fatal(err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memfd, err := unix.MemfdCreate("m", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		file *os.File
		ok   bool
		also []Role // may hold it, beside scanworker if ok
	}{
		{"directory", open(dir, unix.O_RDONLY), false, nil},
		{"path", open(file, unix.O_PATH), false, nil},
		{"file for writing", open(file, unix.O_WRONLY), false, nil},
		{"file for reading and writing", open(file, unix.O_RDWR), false, nil},
		{"file for appending", open(file, unix.O_WRONLY|unix.O_APPEND), false, nil},
		{"terminal", open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY), false, nil},
		{"zeros", open("/dev/zero", unix.O_RDONLY), false, nil},
		{"unconnected socket", socket(unix.AF_UNIX, unix.SOCK_STREAM), false, nil},
		{"listening socket", listening, false, nil},
		{"network socket", socket(unix.AF_INET, unix.SOCK_STREAM), false, nil},
		{"netlink socket", socket(unix.AF_NETLINK, unix.SOCK_RAW), false, nil},
		{"datagram socket", pair(unix.SOCK_DGRAM), false, nil},
		{"packet socket", pair(unix.SOCK_SEQPACKET), false, nil},
		{"timer", os.NewFile(uintptr(timer), "timer"), false, []Role{USBReader}},
		{"stream socket", pair(unix.SOCK_STREAM), true, []Role{USBReader}},
		{"file for reading", open(file, unix.O_RDONLY), true, []Role{YARAWorker, Compiler, USBReader}},
		{"null device", open("/dev/null", unix.O_RDWR), true, []Role{YARAWorker, Compiler, USBReader}},
		{"memfd", os.NewFile(uintptr(memfd), "memfd"), true, []Role{YARAWorker, Compiler, USBReader}},
	} {
		for _, role := range roles {
			cmd, out := start(t, role, "openat", tt.file)
			cmd.Wait()
			want := ExitSandbox
			if role == ScanWorker && tt.ok || slices.Contains(tt.also, role) {
				want = 0
			}
			if code := cmd.ProcessState.ExitCode(); code != want {
				t.Errorf("%v, %s: exit code %d, want %d: %s", role, tt.name, code, want, out)
			}
		}
	}
}
