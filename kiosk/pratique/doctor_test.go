package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// doctorSays is the answer of doctor --json.
type doctorSays struct {
	Version   int     `json:"version"`
	CanScreen bool    `json:"can_screen"`
	Checks    []check `json:"checks"`
}

func (d doctorSays) find(name, state string) (texts []string) {
	for _, c := range d.Checks {
		if c.Name == name && c.State == state {
			texts = append(texts, c.Text)
		}
	}
	return texts
}

func decodeDoctor(t *testing.T, code int, stdout, stderr string) doctorSays {
	t.Helper()
	var said doctorSays
	dec := json.NewDecoder(strings.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&said); err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if said.Version != 1 || said.CanScreen != (code == 0) || code > 1 || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	return said
}

// TestT03_ReleaseProgramsHoldUnderAttack is the probe of the programs that are shipped, by the verb that an administrator
// runs, as root and as somebody without rights.
func TestT03_ReleaseProgramsHoldUnderAttack(t *testing.T) {
	for name, cmd := range map[string]*exec.Cmd{
		"as this user": exec.Command(filepath.Join(built.bin, "pratique"), "doctor", "--json", "--state", t.TempDir()),
		"as nobody":    asNobody(exec.Command(filepath.Join(built.bin, "pratique"), "doctor", "--json", "--state", filepath.Join(openTemp(t, 0o777), "state"))),
	} {
		code, stdout, stderr := runCmd(t, cmd)
		said := decodeDoctor(t, code, stdout, stderr)
		if attacks := said.find("attack", stateOK); code != 0 || len(attacks) != 3 || len(said.find("attack", stateFailed)) > 0 {
			t.Errorf("%s: exit code %d\n%s", name, code, stdout)
		}
		for _, layer := range []string{"descriptors", "dumpable-off", "no-new-privs", "landlock", "rlimits", "seccomp"} {
			if len(said.find(layer, stateOK)) != 1 {
				t.Errorf("%s: %s is not in force\n%s", name, layer, stdout)
			}
		}
	}
}

func TestDoctorSaysWhatTheStateHolds(t *testing.T) {
	state := filepath.Join(t.TempDir(), "not", "yet")
	code, stdout, stderr := run(t, "pratique", "doctor", "--json", "--state", state)
	said := decodeDoctor(t, code, stdout, stderr)
	if code != 0 || len(said.find("state", stateOK)) != 1 || len(said.find("log", stateOK)) > 0 {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("doctor made a state that nobody asked for")
	}
	run(t, "pratique", "screen", "--state", state, sample("clean"))
	code, stdout, stderr = run(t, "pratique", "doctor", "--json", "--state", state)
	said = decodeDoctor(t, code, stdout, stderr)
	if code != 0 || len(said.find("log", stateOK)) != 1 || len(said.find("key", stateMissing)) != 1 {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	// A log that lost its database is not sound, whatever else is well.
	if err := os.Remove(filepath.Join(state, "log.db")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = run(t, "pratique", "doctor", "--json", "--state", state)
	if decodeDoctor(t, code, stdout, stderr); code != 1 {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if code, stdout, _ = run(t, "pratique", "doctor", "--state", state); code != 1 || !strings.HasSuffix(stdout, "media can NOT be screened here\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// A station whose ports are not guarded, or not there, can screen nothing, and doctor says which.
func TestT01_DoctorLooksAtThePortsForMedia(t *testing.T) {
	config := filepath.Join(t.TempDir(), "station.toml")
	if err := os.WriteFile(config, []byte("[scan]\nrequire_namespaces = false\n[[port]]\npath = \"99-1\"\nname = \"left\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "pratique", "doctor", "--json", "--state", t.TempDir(), "--config", config)
	said := decodeDoctor(t, code, stdout, stderr)
	if code != 1 || len(said.find("usb-bus", stateFailed))+len(said.find("usb-ports", stateFailed)) == 0 {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestDoctorMissesWhatIsNotThere(t *testing.T) {
	copied := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(built.bin, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	noWorker := copied("pratique", "scanworker")
	// A program of the right name that jails nothing: it copies its input to its output and is content.
	impostor := copied("pratique", "scanworker")
	data, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(impostor, "yaraworker"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, name := range map[string]string{noWorker: "programs", impostor: "jail"} {
		code, stdout, stderr := runCmd(t, exec.Command(filepath.Join(dir, "pratique"), "doctor", "--json", "--state", t.TempDir()))
		if said := decodeDoctor(t, code, stdout, stderr); code != 1 || len(said.find(name, stateFailed)) != 1 {
			t.Errorf("%s: exit code %d\n%s", name, code, stdout)
		}
	}
	code, stdout, stderr := runCmd(t, asNobody(exec.Command(filepath.Join(built.bin, "pratique"), "doctor", "--json", "--state", "/state")))
	if said := decodeDoctor(t, code, stdout, stderr); os.Getuid() == 0 && (code != 1 || len(said.find("state", stateFailed)) != 1) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// TestT03_NothingIsScreenedWithoutLandlock runs the programs where the kernel says that it has none.
func TestT03_NothingIsScreenedWithoutLandlock(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	code, stdout, stderr := runCmd(t, exec.Command(self, "without-landlock", filepath.Join(built.bin, "pratique"), "screen", "--state", state, sample("clean")))
	if code != 1 || stdout != "" || !strings.Contains(stderr, "pratique doctor") {
		t.Errorf("screen: exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = runCmd(t, exec.Command(self, "without-landlock", filepath.Join(built.bin, "pratique"), "doctor", "--json", "--state", state))
	said := decodeDoctor(t, code, stdout, stderr)
	if texts := said.find("jail", stateFailed); code != 1 || !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, "Landlock") }) {
		t.Errorf("doctor: exit code %d\n%s", code, stdout)
	}
}

// withoutLandlock executes a program whose calls of Landlock are answered as by a kernel before 5.13.
func withoutLandlock(argv []string) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_LANDLOCK_CREATE_RULESET},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
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
	return fmt.Errorf("exec: %w", unix.Exec(argv[0], argv, os.Environ()))
}
