package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"pratique/testdata/e2e/wire"
)

// Guest is the agent in the guest.
type Guest struct {
	conn net.Conn

	sending sync.Mutex

	mu      sync.Mutex
	id      int
	events  []wire.Message // all, in the order of their arrival
	replies map[int][]wire.Message
	ended   error
	changed chan struct{} // closed and replaced when something arrives
}

func openGuest(ctx context.Context, path string) (*Guest, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	g := &Guest{conn: conn, replies: map[int][]wire.Message{}, changed: make(chan struct{})}
	go g.read()
	return g, nil
}

func (g *Guest) read() {
	lines := bufio.NewScanner(g.conn)
	lines.Buffer(make([]byte, 1<<16), wire.MaxLine)
	for lines.Scan() {
		var m wire.Message
		err := json.Unmarshal(lines.Bytes(), &m)
		g.mu.Lock()
		switch {
		case err != nil:
			g.ended = fmt.Errorf("the agent says %.100q: %w", lines.Bytes(), err)
		case m.ID == 0:
			g.events = append(g.events, m)
		default:
			g.replies[m.ID] = append(g.replies[m.ID], m)
		}
		close(g.changed)
		g.changed = make(chan struct{})
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended = errors.Join(g.ended, lines.Err()); g.ended == nil {
		g.ended = errors.New("the guest has ended")
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait calls found, which looks at what has arrived, until it says yes.
func (g *Guest) wait(ctx context.Context, found func() bool) error {
	for {
		g.mu.Lock()
		ok, ended, changed := found(), g.ended, g.changed
		g.mu.Unlock()
		if ok {
			return nil
		}
		if ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func (g *Guest) ready(ctx context.Context) error {
	_, err := g.Event(ctx, 0, func(m wire.Message) bool { return m.Kind == wire.Ready })
	return err
}

// Mark returns the number of events so far, for Event to begin at.
func (g *Guest) Mark() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.events)
}

// Event waits for an event that match says yes to, the first from number from on.
func (g *Guest) Event(ctx context.Context, from int, match func(wire.Message) bool) (event wire.Message, err error) {
	err = g.wait(ctx, func() bool {
		for ; from < len(g.events); from++ {
			if match(g.events[from]) {
				event = g.events[from]
				return true
			}
		}
		return false
	})
	return event, err
}

// Uevent waits for the kernel's own message with these fields.
func (g *Guest) Uevent(ctx context.Context, from int, action, subsystem, devtype string) (wire.Message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("no uevent %s %s %s", action, subsystem, devtype))
	defer cancel()
	return g.Event(ctx, from, func(m wire.Message) bool {
		return m.Kind == wire.Uevent && m.Uevent["ACTION"] == action && m.Uevent["SUBSYSTEM"] == subsystem && (devtype == "" || m.Uevent["DEVTYPE"] == devtype)
	})
}

func (g *Guest) send(req wire.Request) (int, error) {
	g.mu.Lock()
	g.id++
	req.ID = g.id
	g.mu.Unlock()
	text, err := json.Marshal(req)
	if err != nil {
		return 0, err
	}
	g.sending.Lock()
	defer g.sending.Unlock()
	_, err = g.conn.Write(append(text, '\n'))
	return req.ID, err
}

// last waits for the last reply to a request.
func (g *Guest) last(ctx context.Context, id int) (m wire.Message, err error) {
	err = g.wait(ctx, func() bool {
		if all := g.replies[id]; len(all) > 0 && all[len(all)-1].Kind == wire.Done {
			m = all[len(all)-1]
			return true
		}
		return false
	})
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	return m, err
}

// do asks for one thing and waits until it is done.
func (g *Guest) do(ctx context.Context, req wire.Request) (wire.Message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("the guest does not answer to %s %s", req.Verb, req.Path))
	defer cancel()
	id, err := g.send(req)
	if err != nil {
		return wire.Message{}, err
	}
	m, err := g.last(ctx, id)
	if err != nil {
		return wire.Message{}, fmt.Errorf("guest: %s %s: %w", req.Verb, req.Path, err)
	}
	return m, nil
}

// Bus returns what the kernel made of what is plugged.
func (g *Guest) Bus(ctx context.Context) (*wire.Bus, error) {
	m, err := g.do(ctx, wire.Request{Verb: wire.USB})
	if err == nil && m.Bus == nil {
		err = errors.New("guest: no answer about USB")
	}
	return m.Bus, err
}

// ReadFile reads a file in the guest.
func (g *Guest) ReadFile(ctx context.Context, path string) ([]byte, error) {
	m, err := g.do(ctx, wire.Request{Verb: wire.Read, Path: path})
	return m.Data, err
}

// WriteFile writes a file in the guest; owner nil is root.
func (g *Guest) WriteFile(ctx context.Context, path string, data []byte, mode uint32, owner *wire.User) error {
	_, err := g.do(ctx, wire.Request{Verb: wire.Write, Path: path, Data: data, Mode: mode, User: owner})
	return err
}

// ReadDir returns the names in a folder of the guest.
func (g *Guest) ReadDir(ctx context.Context, path string) ([]string, error) {
	m, err := g.do(ctx, wire.Request{Verb: wire.List, Path: path})
	return m.Names, err
}

// MakeDir makes a folder, with those above it.
func (g *Guest) MakeDir(ctx context.Context, path string, mode uint32, owner *wire.User) error {
	_, err := g.do(ctx, wire.Request{Verb: wire.MakeDir, Path: path, Mode: mode, User: owner})
	return err
}

// Mount mounts a device of the guest, for the station's own disk. No medium is ever mounted.
func (g *Guest) Mount(ctx context.Context, device, path, system string) error {
	_, err := g.do(ctx, wire.Request{Verb: wire.Mount, Device: device, Path: path, System: system})
	return err
}

// Unmount unmounts it.
func (g *Guest) Unmount(ctx context.Context, path string) error {
	_, err := g.do(ctx, wire.Request{Verb: wire.Unmount, Path: path})
	return err
}

// Kill sends a signal to a process of the guest.
func (g *Guest) Kill(ctx context.Context, pid int, signal syscall.Signal) error {
	_, err := g.do(ctx, wire.Request{Verb: wire.Kill, PID: pid, Signal: int(signal)})
	return err
}

// Processes returns those that run a program of this name.
func (g *Guest) Processes(ctx context.Context, program string) ([]int, error) {
	m, err := g.do(ctx, wire.Request{Verb: wire.Processes, Path: program})
	return m.PIDs, err
}

func (g *Guest) setClock(ctx context.Context, now time.Time) error {
	_, err := g.do(ctx, wire.Request{Verb: wire.SetClock, Data: []byte(now.UTC().Format(time.RFC3339Nano))})
	return err
}

// LockUSB makes the kernel refuse every device and every interface that comes from now on, as a station does at its start.
func (g *Guest) LockUSB(ctx context.Context) error {
	names, err := g.ReadDir(ctx, "/sys/bus/usb/devices")
	if err != nil {
		return err
	}
	for _, name := range names {
		if len(name) < 4 || name[:3] != "usb" {
			continue
		}
		for _, attribute := range []string{"authorized_default", "interface_authorized_default"} {
			if err := g.WriteFile(ctx, "/sys/bus/usb/devices/"+name+"/"+attribute, []byte("0"), 0o644, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Process is a program that runs in the guest.
type Process struct {
	PID int
	Up  float64 // when it was started, in the guest's seconds since boot

	guest *Guest
	id    int
}

// Ended is how a program ended.
type Ended struct {
	Code           int // minus the signal that killed it
	Stdout, Stderr string
}

// Start starts a program and returns as soon as it runs.
func (g *Guest) Start(ctx context.Context, user *wire.User, args ...string) (*Process, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("%s does not start", args[0]))
	defer cancel()
	id, err := g.send(wire.Request{Verb: wire.Run, Args: args, User: user, Env: []string{"PATH=" + Programs, "HOME=/"}})
	if err != nil {
		return nil, err
	}
	p := &Process{guest: g, id: id}
	var failed string
	err = g.wait(ctx, func() bool {
		if all := g.replies[id]; len(all) > 0 {
			p.PID, p.Up, failed = all[0].PID, all[0].Up, all[0].Error
			return true
		}
		return false
	})
	if err == nil && failed != "" {
		err = errors.New(failed)
	}
	return p, err
}

// Line waits for a line of output that match says yes to, from number from on of all lines, and returns it with the number
// after it.
func (p *Process) Line(ctx context.Context, from int, match func(stream int, text string) bool) (line wire.Message, next int, err error) {
	next = from
	ended := false
	err = p.guest.wait(ctx, func() bool {
		all := p.guest.replies[p.id]
		for ; next < len(all); next++ {
			if all[next].Kind == wire.Line && match(all[next].Stream, all[next].Text) {
				line = all[next]
				next++
				return true
			}
		}
		ended = len(all) > 0 && all[len(all)-1].Kind == wire.Done
		return ended
	})
	if err == nil && ended {
		err = errors.New("the program has ended")
	}
	return line, next, err
}

// Mark returns the number of lines so far, for Line to begin at.
func (p *Process) Mark() int {
	p.guest.mu.Lock()
	defer p.guest.mu.Unlock()
	return len(p.guest.replies[p.id])
}

// Wait waits for the end of the program.
func (p *Process) Wait(ctx context.Context) (Ended, error) {
	m, err := p.guest.last(ctx, p.id)
	if err != nil {
		return Ended{}, err
	}
	e := Ended{Code: m.Code}
	p.guest.mu.Lock()
	defer p.guest.mu.Unlock()
	for _, m := range p.guest.replies[p.id] {
		switch {
		case m.Kind != wire.Line:
		case m.Stream == 1:
			e.Stdout += m.Text + "\n"
		default:
			e.Stderr += m.Text + "\n"
		}
	}
	return e, nil
}

// Run runs a program to its end.
func (g *Guest) Run(ctx context.Context, user *wire.User, args ...string) (Ended, error) {
	p, err := g.Start(ctx, user, args...)
	if err != nil {
		return Ended{}, err
	}
	return p.Wait(ctx)
}
