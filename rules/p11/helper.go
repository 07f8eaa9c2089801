package p11

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"pratique/scanner/frame"
)

// ErrToken says that a key in a token cannot be used: there is no helper, no such token, the PIN is wrong, or one of them failed.
var ErrToken = errors.New("the token cannot be used")

// tokenTime is how long a token may take for one request. A network HSM behind a slow line needs seconds; making a key on a
// smart card up to half a minute. It is a variable only for tests.
var tokenTime = 60 * time.Second

// Helper is a running keyhelper that has logged in to a token. It is safe for several goroutines.
type Helper struct {
	mu  sync.Mutex // one request at a time
	cmd *exec.Cmd
	in  io.WriteCloser
	w   *frame.Writer
	r   *frame.Reader
	err error // the first; nothing is asked after it
}

// Start starts the keyhelper program at path and lets it log in. The helper keeps the environment: vendors' libraries find
// their configuration by it.
func Start(path, module, token string, pin []byte) (*Helper, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: the keyhelper program is not installed", ErrToken)
	}
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: keyhelper: %w", ErrToken, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: keyhelper: %w", ErrToken, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: keyhelper: %w", ErrToken, err)
	}
	h := &Helper{cmd: cmd, in: in, w: frame.NewWriter(in), r: frame.NewSmallReader(out, MaxMessage)}
	if _, err := h.Ask(Request{Verb: Open, Module: module, Token: token, PIN: pin}); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Ask sends a request and waits for its reply. A helper that hangs is killed. Every error wraps ErrToken.
func (h *Helper) Ask(r Request) (Reply, error) {
	if err := r.Check(); err != nil {
		return Reply{}, fmt.Errorf("%w: keyhelper: %w", ErrToken, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return Reply{}, h.err
	}
	timer := time.AfterFunc(tokenTime, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	var reply Reply
	err := errors.Join(h.w.Write(r), h.w.Flush())
	if err == nil {
		err = h.r.Next(&reply)
	}
	if err == nil {
		err = reply.Check(r.Verb)
	}
	if err != nil {
		h.err = fmt.Errorf("%w: keyhelper: %w", ErrToken, err)
		return Reply{}, h.err
	}
	if reply.Error != "" {
		return Reply{}, fmt.Errorf("%w: token: %q", ErrToken, reply.Error)
	}
	return reply, nil
}

// Close ends the helper and waits for it.
func (h *Helper) Close() {
	h.in.Close()
	timer := time.AfterFunc(tokenTime, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	_ = h.cmd.Wait() // its answers were checked; how it ends says nothing
}
