package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Args are the arguments of a QMP command.
type Args map[string]any

// monitor is a connection to QEMU's own protocol (QMP): one JSON object a line, one command at a time.
type monitor struct {
	conn net.Conn

	one     sync.Mutex // held for a command and its reply
	replies chan qmpReply

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when something arrives
	deleted map[string]bool
	ended   bool
}

type qmpReply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Device string `json:"device"`
	} `json:"data"`
	QMP json.RawMessage `json:"QMP"`
}

func openMonitor(ctx context.Context, path string) (*monitor, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, replies: make(chan qmpReply, 1), changed: make(chan struct{}), deleted: map[string]bool{}}
	go m.read()
	return m, m.do(ctx, "qmp_capabilities", nil, nil)
}

// dial waits for a socket that a process which was just started makes.
func dial(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (m *monitor) read() {
	lines := json.NewDecoder(bufio.NewReader(m.conn))
	for {
		var r qmpReply
		if err := lines.Decode(&r); err != nil {
			close(m.replies)
			m.mu.Lock()
			m.ended = true
			close(m.changed)
			m.changed = make(chan struct{})
			m.mu.Unlock()
			return
		}
		switch {
		case r.QMP != nil:
		case r.Event == "DEVICE_DELETED":
			m.mu.Lock()
			m.deleted[r.Data.Device] = true
			close(m.changed)
			m.changed = make(chan struct{})
			m.mu.Unlock()
		case r.Event != "":
		default:
			m.replies <- r
		}
	}
}

// do runs a command and decodes what it returns into result, if that is not nil.
func (m *monitor) do(ctx context.Context, command string, args Args, result any) error {
	m.one.Lock()
	defer m.one.Unlock()
	line := map[string]any{"execute": command}
	if args != nil {
		line["arguments"] = args
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if _, err := m.conn.Write(append(text, '\n')); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		m.conn.Close() // its reply would be taken for the next command's
		return fmt.Errorf("%s: %w", command, context.Cause(ctx))
	case r, ok := <-m.replies:
		switch {
		case !ok:
			return fmt.Errorf("%s: QEMU has ended", command)
		case r.Error != nil:
			return fmt.Errorf("%s: %s", command, r.Error.Desc)
		case result != nil:
			return json.Unmarshal(r.Return, result)
		}
		return nil
	}
}

// remove takes a device away and waits until it is gone: an id may then be used again.
func (m *monitor) remove(ctx context.Context, id string) error {
	m.mu.Lock()
	delete(m.deleted, id)
	m.mu.Unlock()
	if err := m.do(ctx, "device_del", Args{"id": id}, nil); err != nil {
		return err
	}
	for {
		m.mu.Lock()
		gone, ended, changed := m.deleted[id], m.ended, m.changed
		m.mu.Unlock()
		if gone {
			return nil
		}
		if ended {
			return errors.New("device_del: QEMU has ended")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("device_del: %w", context.Cause(ctx))
		case <-changed:
		}
	}
}
