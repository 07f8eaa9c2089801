package probe

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"pratique/scanner/sandbox"
)

// executed is the exit code of this program after it was executed by an attempt, without a name for itself.
const executed = 77

func TestMain(m *testing.M) {
	if len(os.Args) == 0 || os.Args[0] == "" {
		os.Exit(executed)
	}
	if len(os.Args) == 3 && os.Args[1] == "free" {
		os.Exit(free(os.Args[2]))
	}
	os.Exit(m.Run())
}

// free makes an attempt without any jail. Its exit code is the answer, noAnswer if there is none.
func free(name string) int {
	const noAnswer = 200
	a, err := find(name)
	if err != nil {
		return noAnswer
	}
	err = a.try(max(os.Getppid(), 2))
	var e unix.Errno
	if err != nil && !errors.As(err, &e) {
		return noAnswer
	}
	return int(e)
}

func memfd(t *testing.T, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(BufferBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAttemptsSucceedWithoutTheJail is the control for every test of the jail: what is refused there is possible here, with
// a source that is open for writing and a buffer without the seal against it. So it is the jail that refuses.
func TestAttemptsSucceedWithoutTheJail(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, a := range Attempts() {
		if names[a.Name] || a.Name == "" || a.What == "" {
			t.Errorf("%+v", a)
		}
		names[a.Name] = true
		source, buffer := memfd(t, 0), memfd(t, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
		cmd := exec.Command(self, "free", a.Name)
		cmd.ExtraFiles = []*os.File{source, nil, buffer}
		_ = cmd.Run() // the exit code says it
		code := cmd.ProcessState.ExitCode()
		switch a.Name {
		case "exec":
			if code != executed {
				t.Errorf("%s: exit code %d", a.Name, code)
			}
		case "namespace": // threads cannot leave for another user namespace one by one
			if code != int(unix.EINVAL) {
				t.Errorf("%s: %v", a.Name, unix.Errno(code))
			}
		case "send-descriptor": // what is given to it here is no socket
			if code != int(unix.ENOTSOCK) {
				t.Errorf("%s: %v", a.Name, unix.Errno(code))
			}
		case "thaw-buffer": // a view of what is open for writing
			if code != 0 {
				t.Errorf("%s: %v", a.Name, unix.Errno(code))
			}
		default:
			if code != 0 {
				t.Errorf("%s: exit code %d, %v", a.Name, code, unix.Errno(max(code, 0)))
			}
		}
		if slices.Contains(a.Want, unix.Errno(max(code, 0))) {
			t.Errorf("%s has the same answer without the jail: %v", a.Name, unix.Errno(code))
		}
	}
	if len(names) < 12 {
		t.Errorf("%d attempts", len(names))
	}
}

func TestRunRefusesWhatIsNoAttempt(t *testing.T) {
	for _, name := range []string{"", "Open", "open "} {
		if err := Run(name, sandbox.ScanWorker, ""); err == nil {
			t.Errorf("%q is an attempt", name)
		}
	}
}
