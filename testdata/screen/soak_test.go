//go:build screen

package screen

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/localapi"
)

// escapes are ways out of kiosks that have worked somewhere: shortcuts of desktops, browsers, toolkits, terminals and input methods,
// of X itself, and of accessibility. The keys of Linux's console (Ctrl+Alt+F1, Alt+SysRq) and of the X server (Ctrl+Alt+Backspace) are
// the session's to shut off, see packaging/kiosk; here they must at least do nothing in the window.
var escapes = strings.Fields(`alt+F4 alt+F1 alt+F2 alt+F3 alt+F5 alt+F6 alt+F7 alt+F8 alt+F9 alt+F10 alt+Tab alt+shift+Tab alt+Escape alt+space alt+Left alt+Home
	ctrl+q ctrl+w ctrl+shift+w ctrl+n ctrl+shift+n ctrl+t ctrl+o ctrl+s ctrl+p ctrl+f ctrl+h ctrl+j ctrl+l ctrl+u ctrl+r ctrl+a ctrl+c ctrl+v ctrl+x ctrl+z
	ctrl+Escape ctrl+alt+t ctrl+alt+Delete ctrl+alt+BackSpace ctrl+alt+F1 ctrl+alt+F2 ctrl+alt+F7 ctrl+alt+l ctrl+alt+d ctrl+shift+Escape ctrl+shift+i ctrl+shift+t
	super super+d super+e super+l super+r super+Tab Menu shift+F10 F1 F5 F10 F11 F12 Print alt+Print XF86HomePage XF86Mail XF86Calculator XF86Explorer XF86PowerOff
	ctrl+plus ctrl+minus ctrl+Tab ctrl+Page_Down shift+Tab Escape Multi_key ctrl+shift+u`)

// alive fails if there is anything on the display but the one window, over the whole of it, of a process that lives and has started
// nothing.
func (r *rig) alive(after string) {
	r.t.Helper()
	if err := r.ui.Process.Signal(syscall.Signal(0)); err != nil {
		r.t.Fatalf("after %s the screen is gone: %v", after, err)
	}
	windows := r.windows()
	if len(windows) != 1 {
		r.t.Fatalf("after %s there are %d windows", after, len(windows))
	}
	out, err := r.command("xdotool", "getwindowgeometry", "--shell", windows[0]).Output()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("X=0\nY=0\nWIDTH=%d\nHEIGHT=%d\n", width, height)) {
		r.t.Fatalf("after %s the window is not the whole screen: %s %v", after, out, err)
	}
	if children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.ui.Process.Pid, r.ui.Process.Pid)); err == nil && len(strings.TrimSpace(string(children))) > 0 {
		r.t.Fatalf("after %s the screen has started something: %s", after, children)
	}
}

func TestT20_KnownEscapesLeadNowhere(t *testing.T) {
	if len(escapes) < 60 {
		t.Fatalf("only %d escapes", len(escapes))
	}
	f := newFake(t)
	r := newRig(t, f.socket)
	time.Sleep(time.Second)
	r.alive("the start")
	for i, key := range escapes {
		if i%20 == 0 { // on different pages
			f.says(station([]string{localapi.Idle, localapi.Scanning, localapi.Issued, localapi.Fault}[i/20%4], i))
		}
		if err := r.run("xdotool", "key", "--clearmodifiers", key); err != nil {
			t.Fatalf("%s cannot be pressed: %v", key, err)
		}
		r.alive(key)
	}
	for _, keys := range [][]string{{"click", "2"}, {"click", "3"}, {"click", "4"}, {"click", "5"}, {"click", "8"}, {"click", "9"}, {"click", "--repeat", "3", "1"},
		{"mousedown", "1", "mousemove", "100", "100", "mousemove", "1200", "700", "mouseup", "1"}, {"mousedown", "1", "sleep", "3", "mouseup", "1"},
		{"mousemove", "0", "0", "click", "1"}, {"mousemove", "1279", "799", "click", "1", "click", "3"}, {"type", "$(reboot); `id`; <script>"}} {
		if err := r.run("xdotool", keys...); err != nil {
			t.Fatal(err)
		}
		r.alive(strings.Join(keys, " "))
	}
}

// Whatever people, children and cleaning cloths do: one window, no crash, no shell. The seed is printed, and the pages change meanwhile.
func TestT20_RandomInputBreaksNothing(t *testing.T) {
	f := newFake(t)
	r := newRig(t, f.socket)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	states := []string{localapi.Idle, localapi.Scanning, localapi.Waiting, localapi.Issued, localapi.Decided, localapi.Refused, localapi.Fault, localapi.Removed}
	inputs := 0
	for end := time.Now().Add(*soak); time.Now().Before(end); {
		var args []string
		for range 40 {
			at := []string{"mousemove", strconv.Itoa(rnd.IntN(width)), strconv.Itoa(rnd.IntN(height))}
			switch rnd.IntN(8) {
			case 0, 1, 2:
				args = append(append(args, at...), "click", "1")
			case 3:
				args = append(append(append(args, "mousedown", "1"), at...), "mouseup", "1")
			case 4:
				args = append(args, "key", escapes[rnd.IntN(len(escapes))])
			case 5:
				args = append(args, "key", string(rune('a'+rnd.IntN(26))), "key", string(rune('0'+rnd.IntN(10))))
			case 6:
				args = append(args, "key", []string{"Tab", "Return", "space", "BackSpace", "Escape", "Up", "Down"}[rnd.IntN(7)])
			case 7:
				args = append(append(args, at...), "click", strconv.Itoa(2+rnd.IntN(8)))
			}
			inputs++
		}
		if err := r.run("xdotool", args...); err != nil {
			t.Fatalf("xdotool %v: %v", args, err)
		}
		if rnd.IntN(4) == 0 {
			f.says(station(states[rnd.IntN(len(states))], rnd.IntN(1000)))
		}
		r.alive(fmt.Sprintf("%d inputs of seed %d", inputs, seed))
	}
	reached := len(f.touch)
	t.Logf("bench ui/soak-inputs %d, of which %d became a request to the station", inputs, reached)
	if reached == 0 && *soak >= time.Minute {
		t.Error("no input reached a button that asks the station for something: the test pressed nothing")
	}
}

// cpu is the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory is what a process has in memory, in megabytes.
func memory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func TestMemoryAndProcessorAreLittle(t *testing.T) {
	f := newFake(t)
	r := newRig(t, f.socket)
	time.Sleep(3 * time.Second)
	pid := r.ui.Process.Pid
	before, began := cpu(t, pid), time.Now()
	time.Sleep(15 * time.Second)
	idle := float64(cpu(t, pid)-before) / float64(time.Since(began)) * 100
	t.Logf("bench ui/idle-cpu-percent %.2f", idle)
	if idle > 1 {
		t.Errorf("a screen that shows nothing new takes %.2f %% of a processor", idle)
	}

	// From the touch to another picture, as a camera would see it: the settings are opened and closed.
	var took []time.Duration
	for range 9 {
		took = append(took, r.reaction())
	}
	slices.Sort(took)
	t.Logf("bench ui/touch-to-picture-ms %d (the median of %d, the slowest %d; the two pictures of the display are most of it)", took[len(took)/2].Milliseconds(), len(took), took[len(took)-1].Milliseconds())

	first := memory(t, pid)
	for n := range *sessions {
		for _, state := range []string{localapi.Scanning, localapi.Issued, localapi.Idle} {
			f.says(station(state, n+1))
			time.Sleep(120 * time.Millisecond)
		}
	}
	last := memory(t, pid)
	t.Logf("bench ui/memory-mb %d after %d sessions, %d before", last, *sessions, first)
	if last > 250 {
		t.Errorf("after %d sessions the screen has %d MB", *sessions, last)
	}
}

// reaction is how long it takes from a touch until the display shows something else.
func (r *rig) reaction() time.Duration {
	r.t.Helper()
	shot := func() string {
		out, err := r.command("import", "-window", "root", "-crop", "300x60+20+90", "-depth", "8", "gray:-").Output()
		if err != nil {
			r.t.Fatal(err)
		}
		return string(out)
	}
	before := shot()
	began := time.Now()
	if err := r.run("xdotool", "mousemove", strconv.Itoa(width-44), "44", "click", "1"); err != nil {
		r.t.Fatal(err)
	}
	for shot() == before {
		if time.Since(began) > 5*time.Second {
			r.picture("no-reaction")
			r.t.Fatalf("nothing happens after a touch; see %s", filepath.Join(r.dir, "no-reaction.png"))
		}
	}
	took := time.Since(began)
	if err := r.run("xdotool", "key", "Escape"); err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	return took
}
