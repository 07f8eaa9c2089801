package early

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		fmt.Println("check:", Check())
		for range 4 { // on this thread and on others
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				_, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				done <- err
			}()
			fmt.Println("open:", <-done)
		}
		os.Exit(0)
	}
	if len(os.Args) >= 2 && os.Args[1] == "usb" {
		fmt.Println("check:", Check())
		for _, path := range []string{"/", "/etc/passwd", "/proc/self/maps", "/dev/null", "/dev", "/sys", "/sys/kernel/mm"} {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			fmt.Println(path, err)
		}
		fd, err := unix.Open("/sys/kernel/uevent_seqnum", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		fmt.Println("write:", fd, err)
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "-without" {
		fmt.Println(without(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestT03_LandlockHoldsBeforeTheFirstGoInstruction(t *testing.T) {
	if got, want := run(t, "worker"), "check: <nil>\n"+strings.Repeat("open: permission denied\n", 4); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestT03_ReaderOfADeviceSeesTheTreeOfDevicesAndNothingElse(t *testing.T) {
	const refused = " permission denied\n"
	want := "check: <nil>\n/" + refused + "/etc/passwd" + refused + "/proc/self/maps" + refused + "/dev/null" + refused + "/dev" + refused + "/sys <nil>\n/sys/kernel/mm <nil>\nwrite: -1" + refused
	if got := run(t, "usb", "1", "5"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, args := range [][]string{{"usb"}, {"usb", "1"}, {"usb", "0", "1"}, {"usb", "1", "128"}, {"usb", "1000", "1"}, {"usb", "1", "../../../etc/passwd"}, {"usb", "-1", "1"}, {"usb", "", "1"}, {"usb", "1x", "1"}} {
		if got := run(t, args...); !strings.HasPrefix(got, "check: early: landlock: invalid argument\n") {
			t.Errorf("%v: %s", args, got)
		}
	}
}

func TestProgramThatIsNoWorkerIsNotConfined(t *testing.T) {
	if err := Check(); err == nil {
		t.Error("the test says that it is confined")
	}
	if _, err := os.ReadDir("/"); err != nil {
		t.Error(err)
	}
}

func TestT03_KernelWithoutLandlockIsTold(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM, unix.ENOMEM} {
		got := run(t, "-without", strconv.Itoa(int(errno)))
		if !strings.HasPrefix(got, "check: early: landlock: "+errno.Error()+"\n") || strings.Contains(got, "<nil>\ncheck") {
			t.Errorf("%v: %s", errno, got)
		}
	}
}

// without executes this program as a worker on a kernel whose Landlock answers with an error.
func without(errno string) error {
	n, err := strconv.Atoi(errno)
	if err != nil {
		return err
	}
	const number = 0 // offset in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_LANDLOCK_CREATE_RULESET},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return e
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, []string{self, "worker"}, []string{})
}
