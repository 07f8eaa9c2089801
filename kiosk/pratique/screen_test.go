package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk"
	"pratique/testdata/stick"
)

// run runs a built program and returns its exit code and output.
func run(t *testing.T, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runCmd(t, exec.Command(filepath.Join(built.bin, name), args...))
}

func runCmd(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), words.String()
}

func sample(name string) string { return filepath.Join(built.sticks, name+".img") }

// screenJSON screens and decodes the JSON strictly: a field that the contract does not name fails.
func screenJSON(t *testing.T, args ...string) (int, jsonResult) {
	t.Helper()
	code, stdout, stderr := run(t, "pratique", append([]string{"screen", "--json"}, args...)...)
	var res jsonResult
	dec := json.NewDecoder(strings.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&res); err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	return code, res
}

func TestJSON(t *testing.T) {
	state := t.TempDir()
	code, res := screenJSON(t, "--items", "--state", state, sample("clean"))
	if code != 0 || res.Version != 1 || res.Verdict != "cleared" || len(res.Reasons) != 0 || res.Clearance == nil {
		t.Fatalf("exit code %d, %+v", code, res)
	}
	if res.Medium.Kind != "image" || res.Medium.Bytes != 66<<20 || res.Medium.SectorSize != 512 {
		t.Errorf("medium %+v", res.Medium)
	}
	if len(res.Volumes) != 1 || res.Volumes[0] != (jsonVolume{0, 1 << 20, 64 << 20, "fat32"}) {
		t.Errorf("volumes %+v", res.Volumes)
	}
	files := map[string]jsonItem{}
	for _, raw := range res.Items {
		var it jsonItem
		if err := json.Unmarshal(raw, &it); err != nil {
			t.Fatal(err)
		}
		files[it.Path] = it
	}
	for _, f := range stick.CleanFiles() {
		it, ok := files[f.Path]
		if !ok {
			t.Errorf("%s is not among the items", f.Path)
		} else if !f.Dir && (it.Size != f.Length() || it.Outcome != "clean" || it.Kind != "file") {
			t.Errorf("%s: %+v", f.Path, it)
		}
	}
	c := res.Clearance
	for _, name := range []string{c.TokenFile, c.ManifestFile} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}

	// The clearance is found by its code and by its id, and saved as the same bytes.
	for _, name := range []string{c.Code, strings.ToLower(c.Code), c.ID, c.ID[:12]} {
		out := t.TempDir()
		if code, _, stderr := run(t, "pratique", "clearance", "save", "--state", state, "--out", out, name); code != 0 {
			t.Fatalf("save %s: exit code %d: %s", name, code, stderr)
		}
		want, _ := os.ReadFile(c.TokenFile)
		if got, _ := os.ReadFile(filepath.Join(out, "token.cose")); !bytes.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: the saved token is not the token", name)
		}
	}
	if code, stdout, _ := run(t, "pratique", "clearance", "show", "--state", state, c.Code); code != 0 || !strings.Contains(stdout, c.QR) {
		t.Errorf("show: exit code %d\n%s", code, stdout)
	}
	// What is saved is a manifest that a device reads, and so is what this demonstration laid out in its state.
	saved := t.TempDir()
	if code, _, stderr := run(t, "pratique", "clearance", "save", "--state", state, "--out", saved, c.Code); code != 0 {
		t.Fatal(stderr)
	}
	for manifest, want := range map[string]int{filepath.Join(saved, "manifest"): 0, c.ManifestFile: 0} {
		code, stdout, stderr := run(t, "clearcheck", "--demo", "--trust", filepath.Join(state, "demo.trust"), "--for", "general",
			"--token", c.TokenFile, "--manifest", manifest, sample("clean"))
		if code != want {
			t.Errorf("%s: exit code %d\n%s%s", manifest, code, stdout, stderr)
		}
	}
	// Once its session is erased there is none, and that is said in words.
	if code, _, stderr := run(t, "pratique", "audit", "erase", "--state", state, "--session", c.ID); code != 0 {
		t.Fatal(stderr)
	}
	if code, _, stderr := run(t, "pratique", "clearance", "save", "--state", state, "--out", t.TempDir(), c.Code); code != 0 || !strings.Contains(stderr, "erased") {
		t.Errorf("save: exit code %d: %s", code, stderr)
	}
	if code, stdout, _ := run(t, "pratique", "clearance", "show", "--state", state, c.Code); code != 0 || !strings.Contains(stdout, "manifest  none") {
		t.Errorf("show: exit code %d\n%s", code, stdout)
	}
	// The digits of the QR alone are enough for a device.
	if code, stdout, stderr := run(t, "clearcheck", "--demo", "--trust", filepath.Join(state, "demo.trust"), "--for", "general", "--qr", c.QR, sample("clean")); code != 0 {
		t.Errorf("clearcheck --qr: exit code %d\n%s%s", code, stdout, stderr)
	}

	code, res = screenJSON(t, "--state", state, sample("infected"))
	if code != 3 || res.Clearance != nil || res.Items != nil {
		t.Errorf("infected: exit code %d, %+v", code, res)
	}
	found := map[string]bool{}
	for _, f := range res.Findings {
		if f.Severity == "block" {
			found[f.Check+" "+f.Path] = f.SHA256 != ""
		}
	}
	for _, want := range []string{"yara Setup/eicar.com", "blocklist Setup/blocked sample.txt", "yara Отчёты/rule sample 🧪.txt"} {
		if !found[want] {
			t.Errorf("no finding with a hash for %q among %v", want, found)
		}
	}
}

// The same bytes, pack and policy give the same record, less ids and times.
func TestI9_SameBytesSameVerdict(t *testing.T) {
	for _, s := range stick.Sticks() {
		var first string
		for range 3 {
			_, res := screenJSON(t, "--items", "--state", t.TempDir(), sample(s.Name))
			res.Clearance = nil
			data, err := json.Marshal(res)
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = string(data)
			} else if first != string(data) {
				t.Errorf("%s: two records of the same stick differ", s.Name)
			}
		}
	}
}

func TestI1_MediumIsNeverWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "stick.img")
	data, err := os.ReadFile(sample("infected"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o444); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(name)
	run(t, "pratique", "screen", "--state", t.TempDir(), name)
	after, _ := os.Stat(name)
	now, _ := os.ReadFile(name)
	if !bytes.Equal(now, data) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the medium was changed")
	}
}

// The files of a clearance have fixed names, and one of them may be the medium's.
func TestI1_MediumInTheFolderForTheClearanceIsNotReplaced(t *testing.T) {
	for _, name := range []string{"manifest", "token.cose"} {
		out, state := t.TempDir(), t.TempDir()
		image := filepath.Join(out, name)
		data, err := os.ReadFile(sample("clean"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(image, data, 0o644); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := run(t, "pratique", "screen", "--state", state, "--out", out, image)
		if code != 2 || !strings.Contains(stderr, "the medium itself") {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
		if now, _ := os.ReadFile(image); !bytes.Equal(now, data) {
			t.Errorf("%s: the medium was changed", name)
		}
	}
}

// Nothing is issued that cannot be handed over: the folder is tried before the medium is.
func TestFolderThatCannotTakeTheClearanceIsRefusedFirst(t *testing.T) {
	state := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{file, filepath.Join(file, "below"), "/proc/nowhere"} {
		code, stdout, stderr := run(t, "pratique", "screen", "--state", state, "--out", out, sample("clean"))
		if code != 2 || stdout != "" || !strings.Contains(stderr, "hint: --out") {
			t.Errorf("%s: exit code %d\n%s%s", out, code, stdout, stderr)
		}
	}
	if _, stdout, _ := run(t, "pratique", "audit", "list", "--state", state); stdout != "" {
		t.Errorf("sessions began:\n%s", stdout)
	}
}

func TestGrowingImageIsNotCleared(t *testing.T) {
	name := filepath.Join(t.TempDir(), "growing.img")
	data, err := os.ReadFile(sample("clean"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return
		}
		defer f.Close()
		for ctx.Err() == nil {
			f.Write(make([]byte, 512))
			time.Sleep(time.Millisecond)
		}
	}()
	code, stdout, _ := run(t, "pratique", "screen", "--state", t.TempDir(), name)
	stop()
	<-done
	if code != 4 || !strings.Contains(stdout, "changed") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// asNobody makes a command run without root's rights, which ignore modes.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}}
	}
	cmd.Env = []string{}
	return cmd
}

// openTemp is a folder that the unprivileged may enter.
func openTemp(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pratique-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStateThatCannotBeWrittenFails(t *testing.T) {
	dir := openTemp(t, 0o555)
	cmd := exec.Command(filepath.Join(built.bin, "pratique"), "screen", "--state", filepath.Join(dir, "state"), sample("clean"))
	code, stdout, stderr := runCmd(t, asNobody(cmd))
	if code != 1 || strings.Contains(stdout, "cleared") || !strings.Contains(stderr, "state folder") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestUnreadableImageCouldNotBeChecked(t *testing.T) {
	dir := openTemp(t, 0o777)
	name := filepath.Join(dir, "secret.img")
	if err := os.WriteFile(name, make([]byte, 4096), 0o000); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(built.bin, "pratique"), "screen", "--state", filepath.Join(dir, "state"), name)
	if os.Getuid() != 0 {
		t.Log("not root: the mode alone keeps this user out")
	}
	code, stdout, stderr := runCmd(t, asNobody(cmd))
	if code != 4 || !strings.Contains(stdout, "could not be opened") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// A disk that fills up at any point of a screening: never cleared, no token, and the log stays sound.
func TestFullDiskNeverClears(t *testing.T) {
	ends := map[string]int{}
	for room := 200; ; room += 8 {
		if room > 1024 {
			t.Fatal("no disk is large enough")
		}
		state := filepath.Join(t.TempDir(), "state")
		code, stdout, stderr := runInRoom(t, room, state, sample("clean"))
		if code == 0 {
			t.Logf("%d KiB: enough", room)
			break
		}
		if code != 1 || strings.Contains(stdout, ": cleared") || stderr == "" {
			t.Errorf("%d KiB: exit code %d\n%s%s", room, code, stdout, stderr)
		}
		if tokens, _ := filepath.Glob(filepath.Join(state, "clearances", "*", "token.cose")); len(tokens) > 0 {
			t.Errorf("%d KiB: the kiosk said that it failed, and there is a token", room)
		}
		// With room again, the state repairs itself and works.
		if code, stdout, stderr := run(t, "pratique", "screen", "--state", state, sample("clean")); code != 0 {
			t.Errorf("%d KiB: afterwards exit code %d\n%s%s", room, code, stdout, stderr)
		}
		if code, stdout, _ := run(t, "pratique", "audit", "verify", "--state", state); code != 0 {
			t.Errorf("%d KiB: %s", room, stdout)
		}
		_, stdout, _ = run(t, "pratique", "audit", "list", "--state", state)
		for _, kind := range []string{"aborted", "abandoned"} {
			ends[kind] += strings.Count(stdout, kind)
		}
	}
	if ends["aborted"] == 0 || ends["abandoned"] == 0 {
		t.Errorf("the disk was not full before the verdict and after it: %v", ends)
	}
}

// runInRoom screens with a state that lies on a disk of so many KiB, and leaves the state as it was then. The disk is in
// memory, in a mount namespace of its own that ends with the command. A limit on file sizes would not do: the buffers that
// the workers share are larger than any state.
func runInRoom(t *testing.T, room int, state, image string) (code int, stdout, stderr string) {
	t.Helper()
	const script = `mount --make-rprivate / 2>/dev/null # where mounts are shared, this one must not be
mount -t tmpfs -o size="$1"k none "$2" && mkdir "$2/state" || exit 99
"$3" screen --state "$2/state" "$4"; code=$?
cp -a "$2/state" "$5" && umount "$2" && exit $code; exit 99`
	cmd := exec.Command("sh", "-c", script, "sh", strconv.Itoa(room), t.TempDir(), filepath.Join(built.bin, "pratique"), image, state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if code, stdout, stderr = runCmd(t, cmd); code == 99 {
		t.Fatalf("no disk of %d KiB could be made:\n%s", room, stderr)
	}
	return code, stdout, stderr
}

// checkTokensAreLogged holds every token of a state against the log.
func checkTokensAreLogged(t *testing.T, state string) int {
	t.Helper()
	st, err := kiosk.OpenState(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := os.ReadDir(filepath.Join(state, "clearances"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		c, err := st.Clearance(d.Name())
		if err != nil {
			t.Errorf("half a clearance: %v", err)
			continue
		}
		if hex.EncodeToString(c.ID[:]) != d.Name() {
			t.Errorf("the token in %s is of another session", d.Name())
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	res, err := kiosk.VerifyLog(t.Context(), state)
	if err != nil || !res.Sound || res.Witnesses != len(dirs) {
		t.Errorf("%d of %d tokens are in the log as they say: %+v, %v", res.Witnesses, len(dirs), res.Bad, err)
	}
	return len(dirs)
}

// T23: the program is killed at a random moment. No half token, no token without a log entry, a sound log, and the next
// start accounts for every session.
func TestT23_KilledScreening(t *testing.T) {
	state := t.TempDir()
	begin := time.Now()
	if code, _, stderr := run(t, "pratique", "screen", "--state", state, sample("clean")); code != 0 {
		t.Fatal(stderr)
	}
	whole := time.Since(begin)
	killed, cleared := 0, 1
	for i := range *kills {
		cmd := exec.Command(filepath.Join(built.bin, "pratique"), "screen", "--state", state, sample("clean"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(whole + whole/4))))
		cmd.Process.Kill()
		switch err := cmd.Wait(); {
		case err == nil:
			cleared++
		case cmd.ProcessState.ExitCode() == -1:
			killed++
		default:
			t.Errorf("run %d: %v", i, err)
		}
		if code, stdout, stderr := run(t, "pratique", "audit", "verify", "--state", state); code != 0 {
			t.Fatalf("run %d: %s%s", i, stdout, stderr)
		}
	}
	tokens := checkTokensAreLogged(t, state) // opening the state repairs it
	if tokens < cleared {
		t.Errorf("%d tokens of %d cleared screenings", tokens, cleared)
	}
	code, stdout, _ := run(t, "pratique", "audit", "list", "--json", "--state", state)
	if code != 0 {
		t.Fatal(stdout)
	}
	open := map[string]string{}
	for line := range strings.Lines(stdout) {
		var e struct{ Kind, Session string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		open[e.Session] = e.Kind
	}
	for session, last := range open {
		if last == "attached" || last == "issuing" {
			t.Errorf("session %s ends with %q", session, last)
		}
	}
	t.Logf("%d runs killed, %d ended first; %d sessions on record, %d tokens", killed, cleared-1, len(open), tokens)
	// Nothing is left running.
	if out, err := exec.Command("pgrep", "-f", built.bin+"/(scan|yara)worker").Output(); err == nil && len(out) > 0 {
		time.Sleep(time.Second)
		if out, err := exec.Command("pgrep", "-f", built.bin+"/(scan|yara)worker").Output(); err == nil {
			t.Errorf("workers outlived their supervisor: %s", out)
		}
	}
}

func TestInterruptedScreeningIsRecorded(t *testing.T) {
	state := t.TempDir()
	image := filepath.Join(t.TempDir(), "large.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	size, err := stick.Bench(f, 200<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	cmd := exec.Command(filepath.Join(built.bin, "pratique"), "screen", "--state", state, image)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Stopped, it cannot end before the signal arrives.
	for end := time.Now().Add(time.Minute); exec.Command("pkill", "-STOP", "-P", strconv.Itoa(cmd.Process.Pid), "scanworker").Run() != nil; {
		if time.Now().After(end) {
			t.Error("the scan does not start")
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 4 || !strings.Contains(out.String(), "could not check") {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
	if code, stdout, _ := run(t, "pratique", "audit", "list", "--state", state); code != 0 || !strings.Contains(stdout, "interrupted") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestT09_NamesAreShownEscaped(t *testing.T) {
	for name, want := range map[string]string{
		"plain.txt":         `"plain.txt"`,
		"a\nb\x1b[31m":      `"a\u000Ab\u001B[31m"`,
		"gpj.\u202Eexe":     `"gpj.\u202Eexe"`,
		"zero\u200Bwidth":   `"zero\u200Bwidth"`,
		`quote"and\slash`:   `"quote\"and\\slash"`,
		"lone \xed\xa0\x80": `"lone \xED\xA0\x80"`,
		"Ward 7 🏥":          `"Ward 7 🏥"`,
		"tag\U000E0041":     `"tag\U000E0041"`,
		"=cmd|' /C calc'!A": `"=cmd|' /C calc'!A"`,
	} {
		if got := quote(name); got != want {
			t.Errorf("%q is shown as %s, want %s", name, got, want)
		}
	}
	if got := jsonPath("lone \xed\xa0\x80 and \u202e"); got != `lone \xED\xA0\x80 and `+"\u202e" {
		t.Errorf("JSON path %q", got)
	}
}
