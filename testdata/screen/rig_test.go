//go:build screen

// Package screen drives the real window: kioskui under a virtual display, in front of the real daemon, with real input events.
//
// It knows where a button is because it lays the same page out itself (package ui/draw) and asks the daemon for the state that the page
// is made of. What it sees it sees as a camera does: as a picture of the whole display.
package screen

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"

	"pratique/kiosk/localapi"
	"pratique/ui"
	"pratique/ui/draw"
)

var (
	bin      = flag.String("bin", "", "`DIR` of the programs")
	soak     = flag.Duration("soak", 90*time.Second, "how long random input goes on")
	sessions = flag.Int("sessions", 60, "how many sessions the memory is measured after")
	pictures = flag.String("pictures", "", "`DIR` that the pictures for the README go to")
)

const width, height = 1280, 800

// rig is a display with the kiosk's screen on it.
type rig struct {
	t       *testing.T
	dir     string
	display string
	root    string // window of the display itself
	socket  string
	ui      *exec.Cmd
	look    ui.Look
	measure draw.Measure
}

// start starts a program that ends with the test. extra, if there is one, is its descriptor 3.
func start(t *testing.T, env []string, extra *os.File, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("%s said:\n%.4000s", filepath.Base(name), text)
		}
		out.Close()
	})
	return cmd
}

// newRig opens a display of its own and the screen on it, for a daemon on socket.
func newRig(t *testing.T, socket string, flags ...string) *rig {
	t.Helper()
	if *bin == "" {
		t.Fatal("-bin DIR: where are the programs? (make screen says it)")
	}
	test.NewTempApp(t)
	r := &rig{t: t, dir: t.TempDir(), socket: socket, measure: func(text string, size float32, bold, mono bool) (float32, float32) {
		s := fyne.MeasureText(text, size, fyne.TextStyle{Bold: bold, Monospace: mono})
		return s.Width, s.Height
	}}
	told, tell, err := os.Pipe() // the X server takes a display that nobody has, and says which
	if err != nil {
		t.Fatal(err)
	}
	x := start(t, nil, tell, "Xvfb", "-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", width, height), "-nolisten", "tcp", "-noreset")
	tell.Close()
	number, err := bufio.NewReader(told).ReadString('\n')
	told.Close()
	if err != nil {
		t.Fatalf("Xvfb does not say which display it has: %v", err)
	}
	r.display = ":" + strings.TrimSpace(number)
	r.until("the display is there", 10*time.Second, func() bool {
		return x.ProcessState == nil && r.run("xdotool", "getmouselocation") == nil
	})
	r.root = strings.Join(r.windows(), " ")
	r.open(flags...)
	return r
}

// open starts the screen.
func (r *rig) open(flags ...string) {
	r.t.Helper()
	r.ui = start(r.t, []string{"DISPLAY=" + r.display}, nil, filepath.Join(*bin, "kioskui"), append([]string{"--socket", r.socket, "--sound", "silent"}, flags...)...)
	r.until("the window is there", 20*time.Second, func() bool { return len(r.windows()) == 1 })
}

func (r *rig) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DISPLAY="+r.display)
	return cmd
}

func (r *rig) run(name string, args ...string) error { return r.command(name, args...).Run() }

// windows are those that can be seen, by their number.
func (r *rig) windows() []string {
	out, err := r.command("xdotool", "search", "--onlyvisible", "--name", ".*").Output()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(id string) bool { return id == r.root })
}

func (r *rig) until(what string, limit time.Duration, so func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if so() {
			return
		}
	}
	r.t.Fatalf("it does not happen that %s", what)
}

// picture takes one of the whole display.
func (r *rig) picture(name string) string {
	r.t.Helper()
	file := filepath.Join(r.dir, name+".png")
	if out, err := r.command("import", "-window", "root", file).CombinedOutput(); err != nil {
		r.t.Fatalf("import: %v: %s", err, out)
	}
	if *pictures != "" && name != "tone" && name != "ready" { // small: half the size, and few colours
		to := filepath.Join(*pictures, name+".png")
		if out, err := r.command("convert", file, "-resize", "50%", "-colors", "64", "-strip", "-define", "png:compression-level=9", to).CombinedOutput(); err != nil {
			r.t.Fatalf("convert: %v: %s", err, out)
		}
	}
	return file
}

func (r *rig) state() *localapi.State {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
	defer cancel()
	c, err := localapi.Dial(ctx, r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// touch touches the button of the page that is shown, and keeps in mind what that changes.
func (r *rig) touch(a ui.Action) {
	r.t.Helper()
	st := r.state()
	if st.Staff == nil { // only the screen is told
		st.Staff = &localapi.SignIn{}
	}
	page := ui.Screen(st, r.look, time.Now())
	for _, b := range draw.Arrange(page, r.look, width, height, r.measure).Boxes {
		if b.Kind == draw.Target && b.Button.Do == a {
			x, y := strconv.Itoa(int(b.X+b.W/2)), strconv.Itoa(int(b.Y+b.H/2))
			if err := r.run("xdotool", "mousemove", x, y, "click", "1"); err != nil {
				r.t.Fatal(err)
			}
			r.look, _ = r.look.Do(a, st, time.Now())
			return
		}
	}
	r.t.Fatalf("the page %s has nothing that does %v", page.Name, a)
}

// daemon starts the real one, with a folder as its port.
func daemon(t *testing.T) (folder, state, socket string) {
	t.Helper()
	dir := t.TempDir()
	folder, state = filepath.Join(dir, "incoming"), filepath.Join(dir, "state")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"station.toml": fmt.Sprintf("[station]\nname = \"Radiology 2\"\ncontact = \"IT security, 4711\"\n[scan]\nrequire_namespaces = false\n[sources]\nwatch = %q\n[staff]\nroster = %q\n", folder, filepath.Join(dir, "roster.toml")),
		"roster.toml":  fmt.Sprintf("[[person]]\nid = \"p-1\"\nname = \"Jane Doe\"\nuid = %d\nclasses = [\"general\", \"imaging\"]\n", os.Getuid()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	socket = filepath.Join(state, "station.sock")
	start(t, nil, nil, filepath.Join(*bin, "pratiqued"), "--config", filepath.Join(dir, "station.toml"), "--state", state)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if c, err := localapi.Dial(t.Context(), socket); err == nil {
			c.Close()
			return folder, state, socket
		}
		if time.Now().After(end) {
			t.Fatal("the daemon does not answer")
		}
	}
}
