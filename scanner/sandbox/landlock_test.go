package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// reach is something outside that Landlock must keep from a process by itself, without the filter.
type reach struct {
	name string
	abi  int // the first that knows it
	want unix.Errno
	try  func(file string) error
}

func shut(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// tcp is a port on this machine that somebody listens on, from the arguments.
func tcp() *unix.SockaddrInet4 {
	port, _ := strconv.Atoi(os.Args[3])
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func withSocket(domain, kind int, f func(fd int) error) error {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

var reaches = []reach{
	{"read a file", 1, unix.EACCES, func(file string) error { return shut(unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)) }},
	{"write a file", 1, unix.EACCES, func(file string) error { return shut(unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)) }},
	{"list a folder", 1, unix.EACCES, func(file string) error {
		return shut(unix.Open(filepath.Dir(file), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
	}},
	{"read its own program", 1, unix.EACCES, func(string) error { return shut(unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)) }},
	{"list its descriptors", 1, unix.EACCES, func(string) error {
		return shut(unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
	}},
	{"execute", 1, unix.EACCES, func(string) error { return unix.Exec("/proc/self/exe", []string{"x"}, nil) }},
	{"make a file", 1, unix.EACCES, func(file string) error {
		return shut(unix.Open(file+".new", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600))
	}},
	{"make a folder", 1, unix.EACCES, func(file string) error { return unix.Mkdir(file+".dir", 0o700) }},
	{"make a link", 1, unix.EACCES, func(file string) error { return unix.Symlink("x", file+".link") }},
	{"make a pipe", 1, unix.EACCES, func(file string) error { return unix.Mkfifo(file+".pipe", 0o600) }},
	{"remove a file", 1, unix.EACCES, func(file string) error { return unix.Unlink(file) }},
	{"rename a file", 1, unix.EACCES, func(file string) error { return unix.Rename(file, file+".other") }},
	{"cut a file", 3, unix.EACCES, func(file string) error { return unix.Truncate(file, 0) }},
	{"connect", 4, unix.EACCES, func(string) error {
		return withSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error { return unix.Connect(fd, tcp()) })
	}},
	{"listen", 4, unix.EACCES, func(string) error {
		return withSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error { return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) })
	}},
	{"signal its parent", 6, unix.EPERM, func(string) error { return unix.Kill(os.Getppid(), 0) }},
	{"call an abstract socket", 6, unix.EPERM, func(string) error {
		return withSocket(unix.AF_UNIX, unix.SOCK_STREAM, func(fd int) error { return unix.Connect(fd, &unix.SockaddrUnix{Name: os.Args[4]}) })
	}},
}

// confined is the other half of the test: it is under Landlock alone, and says what it can reach, from every kind of thread.
func confined(file string) int {
	before := startThreads(3)
	abi, err := LandlockABI()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := apply(NoNewPrivs, Policy{}); err != nil {
		fmt.Println(err)
		return 1
	}
	memfd, err := unix.MemfdCreate("m", unix.MFD_CLOEXEC)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := landlock(); err != nil {
		fmt.Println(err)
		return 1
	}
	failed := false
	try := func(thread string) {
		for _, r := range reaches {
			if err := r.try(file); abi >= r.abi && err != r.want {
				fmt.Printf("%s: %s: %v\n", thread, r.name, err)
				failed = true
			}
		}
		// What a worker still needs: yaraworker loads its rules by such a name.
		if err := shut(unix.Open("/proc/self/fd/"+strconv.Itoa(memfd), unix.O_RDONLY|unix.O_CLOEXEC, 0)); err != nil {
			fmt.Printf("%s: its own memfd: %v\n", thread, err)
			failed = true
		}
	}
	try("main")
	done := make(chan struct{})
	for range 3 {
		before <- func() { try("from before"); done <- struct{}{} }
		<-done
		go func() { runtime.LockOSThread(); try("from after"); done <- struct{}{} }()
		<-done
	}
	if failed {
		return 1
	}
	return 0
}

func TestT03_LandlockAloneKeepsFilesNetworkAndProcessesAway(t *testing.T) {
	self := jailedBinary(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	// Not package net: it would bring C into the test binary, and with it the other way of applying Landlock.
	listen := func(domain int, at unix.Sockaddr) int {
		fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, at); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(fd, 64); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	bound, err := unix.Getsockname(listen(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	port := bound.(*unix.SockaddrInet4)
	abstract := &unix.SockaddrUnix{Name: fmt.Sprintf("@pratique-test-%d", os.Getpid())}
	listen(unix.AF_UNIX, abstract)
	// The control: all of it is there to be reached.
	for _, r := range reaches[:5] {
		if err := r.try(file); err != nil {
			t.Errorf("%s is refused without Landlock: %v", r.name, err)
		}
	}
	for domain, at := range map[int]unix.Sockaddr{unix.AF_INET: port, unix.AF_UNIX: abstract} {
		if err := withSocket(domain, unix.SOCK_STREAM, func(fd int) error { return unix.Connect(fd, at) }); err != nil {
			t.Errorf("connecting is refused without Landlock: %v", err)
		}
	}
	out, err := exec.Command(self, "confined", file, strconv.Itoa(port.Port), abstract.Name).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "secret" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestT03_NoWorkWithoutLandlock takes Landlock's calls away from a process before it enters its jail.
func TestT03_NoWorkWithoutLandlock(t *testing.T) {
	self := jailedBinary(t)
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM} {
		cmd := exec.Command(self, "without", strconv.Itoa(int(errno)))
		cmd.Env = []string{}
		out, _ := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != ExitSandbox || !strings.HasPrefix(string(out), "error: sandbox: landlock: ") {
			t.Errorf("%v: exit code %d: %s", errno, code, out)
		}
	}
}

// without enters the jail on a kernel that has no Landlock, as far as this process can tell.
func without(errno string) int {
	n, err := strconv.Atoi(errno)
	if err != nil {
		return 1
	}
	answer := Refuse(unix.Errno(n))
	filter := []unix.SockFilter{
		load(dataNumber),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_LANDLOCK_CREATE_RULESET},
		result(answer),
		result(Allow),
	}
	if err := errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), installFilter(filter)); err != nil {
		fmt.Println("filter:", err)
		return 1
	}
	if layers, err := Enter(ScanWorker); err != nil {
		fmt.Println("error:", err)
		return ExitSandbox
	} else {
		fmt.Println(layers)
	}
	return 0
}
