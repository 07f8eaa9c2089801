package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/localapi"
	"pratique/testdata/stick"
)

var kills = flag.Int("kills", 50, "how many times a process of the station is killed at a random moment; the nightly run does 500")

// built is where the real programs and the sample sticks are.
var built struct{ bin, sticks string }

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "pratiqued-test-")
	if err == nil {
		err = build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	built.bin, built.sticks = filepath.Join(dir, "bin"), dir
	if err := os.Chmod(dir, 0o755); err != nil { // a worker that root starts is another user
		return err
	}
	for name, pkg := range map[string]string{"scanworker": "pratique/scanner/scanworker", "yaraworker": "pratique/scanner/yaraworker", "pratiqued": "."} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.bin, name), pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	for _, s := range stick.Sticks() {
		if err := s.Create(filepath.Join(dir, s.Name+".img")); err != nil {
			return err
		}
	}
	return nil
}

// desk is a station's folders, and its daemon while one runs.
type desk struct {
	t                  testing.TB
	dir, state, folder string
	config             string
	cmd                *exec.Cmd
	stderr             bytes.Buffer
	more               []string // flags
}

func newDesk(t testing.TB, classes string) *desk {
	t.Helper()
	dir := t.TempDir()
	d := &desk{t: t, dir: dir, state: filepath.Join(dir, "state"), folder: filepath.Join(dir, "in"), config: filepath.Join(dir, "station.toml")}
	if err := os.Mkdir(d.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	d.write("station.toml", fmt.Sprintf("[scan]\nrequire_namespaces = false\n[sources]\nwatch = %q\n[staff]\nroster = %q\n", d.folder, filepath.Join(dir, "roster.toml")))
	d.roster(classes)
	t.Cleanup(func() { d.kill(syscall.SIGKILL) })
	return d
}

func (d *desk) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// roster lets the user of this test clear media for some classes.
func (d *desk) roster(classes string) {
	d.write("roster.toml", fmt.Sprintf("[[person]]\nid = \"p-1\"\nuid = %d\nclasses = [%s]\n", os.Getuid(), classes))
}

// start starts the daemon and waits until it answers.
func (d *desk) start() {
	d.t.Helper()
	d.stderr.Reset()
	d.cmd = exec.Command(filepath.Join(built.bin, "pratiqued"), append([]string{"--config", d.config, "--state", d.state}, d.more...)...)
	d.cmd.Env, d.cmd.Stderr = []string{}, &d.stderr
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := localapi.Dial(d.t.Context(), d.socket()); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			d.kill(syscall.SIGKILL)
			d.t.Fatalf("the daemon does not answer: %s", d.stderr.String())
		}
	}
}

func (d *desk) socket() string { return localapi.SocketOf(d.state) }

// kill ends the daemon by a signal and waits for it.
func (d *desk) kill(sig syscall.Signal) (err error) {
	if d.cmd != nil {
		d.cmd.Process.Signal(sig)
		err = d.cmd.Wait()
		d.cmd = nil
	}
	return err
}

func (d *desk) client() *localapi.Client {
	d.t.Helper()
	c, err := localapi.Dial(d.t.Context(), d.socket())
	if err != nil {
		d.t.Fatalf("%v\n%s", err, d.stderr.String())
	}
	return c
}

// plug puts a stick's image into the folder, in one step as a person's program does it or under its own name at once.
func (d *desk) plug(stick, name string) {
	d.t.Helper()
	tmp := filepath.Join(d.dir, "copy-"+name)
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(built.sticks, stick+".img"), tmp).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	if err := os.Rename(tmp, filepath.Join(d.folder, name)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) unplug(name string) {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.folder, name)); err != nil {
		d.t.Fatal(err)
	}
}

// until watches until some port satisfies f.
func (d *desk) until(what string, f func(localapi.Port) bool) localapi.Port {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	c := d.client()
	defer c.Close()
	found := errors.New("found")
	var port localapi.Port
	var last *localapi.State
	err := c.Watch(ctx, func(st *localapi.State) error {
		last = st
		for _, p := range st.Ports {
			if f(p) {
				port = p
				return found
			}
		}
		return nil
	})
	if !errors.Is(err, found) {
		d.t.Fatalf("never %s: %v %+v\n%s", what, err, last, d.stderr.String())
	}
	return port
}

func in(port string, states ...string) func(localapi.Port) bool {
	return func(p localapi.Port) bool {
		return (port == "" || p.ID == port) && strings.Contains(" "+strings.Join(states, " ")+" ", " "+p.State+" ")
	}
}

// children are the processes that the daemon started, by their name.
func (d *desk) children(name string) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(word)
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if strings.TrimSpace(string(comm)) == name {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
