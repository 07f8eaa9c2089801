package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pratique/testdata/e2e/wire"
)

// This file alone knows the daemon's words: its flags, its configuration, its states, and what the command line prints.

// The users of the guest, as its list has them.
var (
	stationUser = &wire.User{UID: 900, GID: 900, Groups: []uint32{900}}
	staffUser   = &wire.User{UID: 1000, GID: 1000, Groups: []uint32{1000}} // on the roster, for general and imaging
	auditor     = &wire.User{UID: 1001, GID: 911, Groups: []uint32{911}}   // who may ask for the state
	security    = &wire.User{UID: 1002, GID: 910, Groups: []uint32{910}}   // who may bring rule packs
)

const (
	gateSocket    = "/run/usbgate.sock"
	stationSocket = "/run/pratique/station.sock"
	configFile    = "/etc/pratique/station.toml"
	rosterFile    = "/etc/pratique/roster.toml"
	rootFile      = "/etc/pratique/root.json"
	sockets       = 4 // sockets for media in the guest: 1-N and 2-N are the halves of one
	stationTime   = time.Minute
)

// Station is the daemon in the guest, started as its service manager does it: as a user without rights, with usbgate behind a
// socket of root's.
type Station struct {
	daemon *Process
	person *Process       // program person, in whose place there is a `pratique watch` for each daemon
	watch  *Process       // either
	ready  int            // the line of watch that said so
	heard  map[string]int // by port: lines of watch that were waited for
	said   []string       // states that were passed on the way, for the words of a failure
	sums   sums           // once it was accounted for
}

// portState is a port as `pratique watch --json` shows it.
type portState struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Session  string `json:"session"`
	Verdict  string `json:"verdict"`
	Progress *struct {
		Read int64 `json:"read"`
	} `json:"progress"`
	Reasons []struct {
		Code string `json:"code"`
	} `json:"reasons"`
	Refusal *struct {
		Code string `json:"code"`
	} `json:"refusal"`
	Clearance *struct {
		ID string `json:"id"`
	} `json:"clearance"`
}

// String is one line for people.
func (p portState) String() string {
	words := []string{p.ID, p.State}
	if p.Verdict != "" {
		words = append(words, p.Verdict)
	}
	for _, r := range p.Reasons {
		words = append(words, r.Code)
	}
	if p.Refusal != nil {
		words = append(words, p.Refusal.Code)
	}
	return strings.Join(words, " ")
}

// StartStation starts usbgate's socket, the daemon, and a screen that watches it.
func StartStation() Step { return startStation(nil) }

// StartStationOf starts a station that takes the rule packs of a security team, whose root file this is.
func StartStationOf(root []byte) Step { return startStation(root) }

func startStation(root []byte) Step {
	return Step{"start the station", func(ctx context.Context, r *Rig) error {
		r.Station = &Station{}
		g := r.Guest
		config := "[station]\nname = \"Test\"\n[staff]\nroster = \"" + rosterFile + "\"\n"
		gate := []string{Programs + "/usbgate", "-reader", fmt.Sprint(stationUser.UID), "--"}
		port := func(path string, socket int) {
			config += fmt.Sprintf("[[port]]\npath = %q\nname = \"socket %d\"\n", path, socket)
			gate = append(gate, path)
		}
		for n := 1; n <= sockets; n++ {
			port(fmt.Sprintf("1-%d", n), n)
			port(fmt.Sprintf("2-%d", n), n)
		}
		// QEMU lets nothing into the other half of a port that is in use, so one socket is made of the halves of two.
		port("1-5", sockets+1)
		port("2-6", sockets+1)
		// The second and the third controller have one socket each: 3-1 and 5-1, and their faster halves.
		for bus := 3; bus <= 6; bus++ {
			port(fmt.Sprintf("%d-1", bus), sockets+2+(bus-3)/2)
		}
		if root != nil {
			config += fmt.Sprintf("[rules]\nroot = %q\n", rootFile)
		}
		roster := fmt.Sprintf("[[person]]\nid = \"p-1\"\nname = \"Test\"\nuid = %d\nclasses = [\"general\", \"imaging\"]\n", staffUser.UID)
		for _, dir := range []string{"/etc/pratique", stateDir, "/run/pratique"} {
			if err := g.MakeDir(ctx, dir, 0o755, stationUser); err != nil {
				return err
			}
		}
		err := errors.Join(g.WriteFile(ctx, configFile, []byte(config), 0o644, nil), g.WriteFile(ctx, rosterFile, []byte(roster), 0o644, nil))
		if root != nil {
			err = errors.Join(err, g.WriteFile(ctx, rootFile, root, 0o644, nil))
		}
		if err != nil {
			return err
		}
		if _, err := g.do(ctx, wire.Request{Verb: wire.Listen, Path: gateSocket, User: stationUser, Args: gate}); err != nil {
			return err
		}
		return r.startDaemon(ctx)
	}}
}

// runDaemon starts the daemon.
func (r *Rig) runDaemon(ctx context.Context) (err error) {
	r.Station.daemon, err = r.Guest.Start(ctx, stationUser, Programs+"/pratiqued", "--config", configFile, "--state", stateDir, "--gate", gateSocket)
	return err
}

// startDaemon starts the daemon and watches it, at first or again after it was killed.
func (r *Rig) startDaemon(ctx context.Context) error {
	s := r.Station
	err := r.runDaemon(ctx)
	if err != nil {
		return err
	}
	if s.person != nil {
		return r.untilReady(ctx)
	}
	// The guest has one slow processor, which a screen that comes too early would take from the daemon.
	for end := time.Now().Add(stationTime); time.Now().Before(end); {
		if names, err := r.Guest.ReadDir(ctx, path.Dir(stationSocket)); err != nil || slices.Contains(names, path.Base(stationSocket)) || r.daemonEnded() {
			break
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	for end := time.Now().Add(stationTime); ; {
		// The screen says that there is no station until there is one.
		if s.watch, err = r.Guest.Start(ctx, staffUser, Programs+"/pratique", "watch", "--json", "--state", stateDir); err != nil {
			return err
		}
		if _, s.ready, err = s.watch.Line(ctx, 0, isReady); err == nil {
			s.heard = map[string]int{}
			return nil
		}
		if time.Now().After(end) || r.daemonEnded() {
			return fmt.Errorf("the station does not come up: %w: %s", err, r.journal())
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// StartPerson has a person in front of a station that is not started yet, who wants a clearance of whatever is in a port.
func StartPerson(port string) Step {
	return Step{"somebody in front of " + port, func(ctx context.Context, r *Rig) (err error) {
		r.Station.person, err = r.Guest.Start(ctx, staffUser, Programs+"/person", stationSocket, port, "general")
		r.Station.watch, r.Station.ready = r.Station.person, 0
		return err
	}}
}

// untilReady waits until the person sees that the station is ready, and it is this daemon that says so: the last words of the one
// before may still be on their way.
func (r *Rig) untilReady(ctx context.Context) (err error) {
	s := r.Station
	ctx, cancel := context.WithTimeoutCause(ctx, stationTime, errors.New("the station does not come up"))
	defer cancel()
	_, s.ready, err = s.watch.Line(ctx, s.ready, func(stream int, text string) bool {
		var person struct {
			Connected float64 `json:"connected"`
		}
		return isReady(stream, text) && json.Unmarshal([]byte(text), &person) == nil && person.Connected > s.daemon.Up
	})
	s.heard = map[string]int{}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, r.journal())
	}
	return err
}

// isReady reports whether a line says that the station may issue clearances: it sees its ports, and they are guarded.
func isReady(stream int, text string) bool {
	var state struct {
		Ready bool `json:"ready"`
	}
	return stream == 1 && json.Unmarshal([]byte(text), &state) == nil && state.Ready
}

// daemonEnded reports whether the daemon runs no more.
func (r *Rig) daemonEnded() bool {
	r.Guest.mu.Lock()
	defer r.Guest.mu.Unlock()
	all := r.Guest.replies[r.Station.daemon.id]
	return len(all) > 0 && all[len(all)-1].Kind == wire.Done
}

// untilEnded waits for the end of a daemon that was killed, or lost its gate.
func (r *Rig) untilEnded(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stationTime, errors.New("the daemon does not end"))
	defer cancel()
	_, err := r.Station.daemon.Wait(ctx)
	return err
}

// journal is what the daemon has said.
func (r *Rig) journal() string {
	r.Guest.mu.Lock()
	defer r.Guest.mu.Unlock()
	var out strings.Builder
	for _, m := range r.Guest.replies[r.Station.daemon.id] {
		if m.Text != "" || m.Kind == wire.Done {
			fmt.Fprintf(&out, "  %s%s (code %d)\n", m.Text, m.Error, m.Code)
		}
	}
	return out.String()
}

// port waits for a port to be as match wants it, in what the daemon pushes, and returns when it was said.
func (r *Rig) port(ctx context.Context, id, what string, match func(p portState) bool) (p portState, up float64, err error) {
	s := r.Station
	ctx, cancel := context.WithTimeoutCause(ctx, stationTime, fmt.Errorf("port %s is not %s", id, what))
	defer cancel()
	m, next, err := s.watch.Line(ctx, max(s.heard[id], s.ready-1), func(stream int, text string) bool {
		var state struct {
			Ports []portState `json:"ports"`
		}
		if stream != 1 || json.Unmarshal([]byte(text), &state) != nil {
			s.said = append(s.said, text)
			return false
		}
		at := slices.IndexFunc(state.Ports, func(p portState) bool { return p.ID == id })
		if at < 0 {
			return false
		}
		if line := state.Ports[at].String(); len(s.said) == 0 || s.said[len(s.said)-1] != line {
			s.said = append(s.said, line)
		}
		p = state.Ports[at]
		return match(p)
	})
	if err != nil {
		return p, 0, fmt.Errorf("%w; it was %q; the journal:\n%s", err, s.said, r.journal())
	}
	s.heard[id] = next - 1 // the same line may say what is waited for next
	return p, m.Up, nil
}

// decided are the states in which nothing more comes of a port by itself. In the last three of them there is no verdict, and
// whoever asks gets none.
var decided = []string{"waiting", "decided", "issued", "fault", "refused", "removed"}

// shownTime is how long after the kernel's own word a medium may take to be on a screen. The goal is a second, which this emulated
// processor needs a seventh of; the rest is for others on the machine that it runs on.
const shownTime = 3 * time.Second

// Verdict waits for the end of a scan, and holds the verdict to what it must be. A medium that could be cleared waits for a
// person, who asks for it.
func Verdict(port, verdict string) Step {
	return Step{verdict + " on " + port, func(ctx context.Context, r *Rig) error {
		_, attached, err := r.port(ctx, port, "attached", func(p portState) bool { return p.State != "" && p.State != "idle" })
		if err != nil {
			return err
		}
		from := r.lastUevent(attached, port, "add")
		_, progress, err := r.port(ctx, port, "scanning", func(p portState) bool {
			return p.Progress != nil && p.Progress.Read > 0 || slices.Contains(decided, p.State)
		})
		if err != nil {
			return err
		}
		p, end, err := r.port(ctx, port, "decided", func(p portState) bool { return slices.Contains(decided, p.State) })
		if err != nil {
			return err
		}
		r.Note("%s: shown %.2f s after the kernel's uevent, progress %.2f s, end %.1f s: %v", port, attached-from, progress-from, end-from, p)
		if p.Verdict != verdict {
			return fmt.Errorf("%v, not %s; the journal:\n%s", p, verdict, r.journal())
		}
		return r.issue(ctx, port, verdict)
	}}
}

// Shown holds that a medium is on the screen soon after the kernel's own word. It is the first step after the plug.
func Shown(port string) Step {
	return Step{port + " is shown", func(ctx context.Context, r *Rig) error {
		_, up, err := r.port(ctx, port, "shown", func(p portState) bool { return p.State != "" && p.State != "idle" })
		if took := time.Duration((up - r.lastUevent(up, port, "add")) * float64(time.Second)); err == nil && took > shownTime {
			err = fmt.Errorf("it took %v", took)
		}
		return err
	}}
}

// NotCleared waits until the station is done with a medium, in whatever way, and holds that it is not cleared, that code is among
// what it says of it (empty: whatever it says), and that a person who asks gets nothing.
func NotCleared(port, code string) Step {
	return Step{"nothing for " + port, func(ctx context.Context, r *Rig) error {
		p, up, err := r.port(ctx, port, "done", func(p portState) bool { return slices.Contains(decided, p.State) })
		if err != nil {
			return err
		}
		r.Note("%v, %.1f s after the kernel's uevent", p, up-r.lastUevent(up, port, "add"))
		if code != "" && !slices.Contains(strings.Fields(p.String()), code) {
			return fmt.Errorf("%v does not say %s; the journal:\n%s", p, code, r.journal())
		}
		return AskInVain(port).Do(ctx, r)
	}}
}

// AskInVain has a person of the roster ask for a clearance that they must not get.
func AskInVain(port string) Step {
	return Step{"ask for " + port, func(ctx context.Context, r *Rig) error {
		end, err := r.Guest.Run(ctx, staffUser, Programs+"/pratique", "issue", "--for", "general", "--state", stateDir, port)
		if err == nil && end.Code == 0 {
			return fmt.Errorf("it was cleared: %s", end.Stdout)
		}
		return err
	}}
}

// issue asks for a clearance as a person of the roster does.
func (r *Rig) issue(ctx context.Context, port, verdict string) error {
	end, err := r.Guest.Run(ctx, staffUser, Programs+"/pratique", "issue", "--for", "general", "--state", stateDir, port)
	if err != nil {
		return err
	}
	want := map[string]int{"cleared": 0, "not cleared": 3, "could not check": 4}[verdict]
	if end.Code != want {
		return fmt.Errorf("issue ends with %d, not %d: %s%s", end.Code, want, end.Stdout, end.Stderr)
	}
	return nil
}

// RefusedWith waits until the station refuses what is in a port, with this code.
func RefusedWith(port, code string) Step {
	return Step{code + " on " + port, func(ctx context.Context, r *Rig) error {
		_, up, err := r.port(ctx, port, "refused "+code, func(p portState) bool { return p.State == "refused" && p.Refusal != nil && p.Refusal.Code == code })
		if err == nil {
			r.Note("%s: refused %.2f s after the kernel's uevent", port, up-r.lastUevent(up, port, "add"))
		}
		return err
	}}
}

// InstallFrom has somebody ask for the rule pack on the medium in a port, and holds what the command line ends with and says.
func InstallFrom(port string, user *wire.User, code int, words string) Step {
	return Step{"install from " + port, func(ctx context.Context, r *Rig) error {
		end, err := r.Guest.Run(ctx, user, Programs+"/pratique", "rules", "install", "--port", port, "--state", stateDir)
		if err == nil && (end.Code != code || !strings.Contains(end.Stdout+end.Stderr, words)) {
			err = fmt.Errorf("it ends with %d, not %d with %q: %s%s; the journal:\n%s", end.Code, code, words, end.Stdout, end.Stderr, r.journal())
		}
		return err
	}}
}

// InState waits until a port is in a state.
func InState(port string, states ...string) Step {
	return Step{fmt.Sprintf("%s is %s", port, strings.Join(states, " or ")), func(ctx context.Context, r *Rig) error {
		_, _, err := r.port(ctx, port, strings.Join(states, " or "), func(p portState) bool { return slices.Contains(states, p.State) })
		return err
	}}
}

// KillDaemon kills the daemon or a program that it has started, by its name.
func KillDaemon(program string) Step {
	return Step{"kill " + program, func(ctx context.Context, r *Rig) error {
		pids, err := r.Guest.Processes(ctx, program)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return fmt.Errorf("there is no %s", program)
		}
		for _, pid := range pids {
			if err := r.Guest.Kill(ctx, pid, 9); err != nil {
				return err
			}
		}
		return nil
	}}
}

// StartAgain starts the daemon after it was killed.
func StartAgain() Step {
	return Step{"start again", func(ctx context.Context, r *Rig) error {
		if err := r.untilEnded(ctx); err != nil {
			return err
		}
		return r.startDaemon(ctx)
	}}
}

// lastUevent is when the kernel last said one of these of the device on a port, before a moment. Without a port it is any device.
func (r *Rig) lastUevent(before float64, port string, actions ...string) (up float64) {
	r.Guest.mu.Lock()
	defer r.Guest.mu.Unlock()
	for _, e := range r.Guest.events {
		if e.Uevent["DEVTYPE"] == "usb_device" && e.Up <= before && slices.Contains(actions, e.Uevent["ACTION"]) && (port == "" || path.Base(e.Uevent["DEVPATH"]) == port) {
			up = e.Up
		}
	}
	return up
}
