package localapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pratique/scanner/frame"
)

// Limits on clients. They are variables of a Server only for tests, which cannot wait a minute.
const (
	maxClients    = 64               // in all; a station has one screen and a few terminals
	maxClientsUID = 8                // of one user
	maxRate       = 20               // requests a second of one client, on average
	maxBurst      = 40               // and at once
	idleTimeout   = 60 * time.Second // without a request, unless subscribed
	writeTimeout  = 5 * time.Second  // for a client that does not read
	pushInterval  = 100 * time.Millisecond
)

// Handler is what the daemon does for clients. Each function may be called for several clients at once; ctx ends when the
// client hangs up. An *Error goes to the client as it is, any other error as "the kiosk failed".
type Handler struct {
	Roles    func(Peer) Roles
	Sessions func(ctx context.Context, max int) ([]Session, error)
	Issue    func(ctx context.Context, peer Peer, port, class string) (Answer, error)
	Eject    func(ctx context.Context, peer Peer, port string) error
	Install  func(ctx context.Context, port, path string) (Pack, error)  // one of the two is empty
	End      func(ctx context.Context, peer Peer) (over bool, err error) // of an incident
	Begin    func(ctx context.Context, peer Peer, reason string, since time.Time) error
	Override func(ctx context.Context, peer Peer, port, class, reason string) (Answer, error)
	// SignIn signs a person in for as long as ctx lasts, at most. It never keeps the PIN.
	SignIn  func(ctx context.Context, number string, pin PIN) (SignIn, error)
	SignOut func()
	// OnBehalf reports whether the person who is signed in may ask for a verb that the screen may not by itself; nil: nobody may.
	OnBehalf func(Verb) bool
	Stay     func()
	Guest    func(company, order string) (SignIn, error)
	Clock    func(ctx context.Context, peer Peer) error
	Search   func(ctx context.Context, what Search) (found []byte, more bool, err error)
	Disclose func(ctx context.Context, peer Peer, roles Roles, what Disclose) (names []byte, err error)
	Export   func(ctx context.Context, peer Peer, what Export, to io.Writer) (Exported, error)
	Failed   func(error) // told of errors that clients do not see; may be nil

	Exceptions func(ctx context.Context, max int) ([]Exception, error)
	Except     func(ctx context.Context, peer Peer, x Except) (Exception, error)
	Confirm    func(ctx context.Context, peer Peer, name string) (Exception, error)
	Remove     func(ctx context.Context, peer Peer, name string) (Exception, error)
}

// Server answers clients. Use NewServer.
type Server struct {
	handler Handler
	idle    time.Duration
	write   time.Duration

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed when state is replaced
	clients map[uint32]int
	total   int
}

// NewServer returns a server that shows a state that is not ready until Publish is called.
func NewServer(h Handler) *Server {
	return &Server{handler: h, idle: idleTimeout, write: writeTimeout, state: State{Version: 1}, changed: make(chan struct{}), clients: map[uint32]int{}}
}

// Publish replaces the state that clients see. It never waits for one. The state must not be changed afterwards.
func (s *Server) Publish(st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	close(s.changed)
	s.changed = make(chan struct{})
}

// current returns the state and what is closed when there is a newer one.
func (s *Server) current() (*State, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	return &st, s.changed
}

// Listen makes the socket. Whoever may write to it may connect; what they may do is decided from their credentials, so the
// mode is open to all users. A socket of a daemon that is gone is replaced, one that answers is not.
func Listen(path string) (*net.UnixListener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another daemon answers on %s", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Clean(path), Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Serve answers clients until ctx ends, and returns when the last one is gone. The listener is closed.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			s.failed(err) // no descriptors left, for a moment
			select {
			case <-ctx.Done():
			case <-time.After(pushInterval):
			}
			continue
		}
		clients.Go(func() { s.client(ctx, conn) })
	}
}

func (s *Server) failed(err error) {
	if s.handler.Failed != nil {
		s.handler.Failed(err)
	}
}

// client serves one connection from its first byte to its last.
func (s *Server) client(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	peer, err := peerOf(conn)
	if err != nil {
		s.failed(err)
		return
	}
	c := &client{server: s, conn: conn, w: frame.NewWriter(conn), peer: peer}
	if !s.enter(peer.UID) {
		c.refuse(&Error{CodeBusy, "There are too many connections to the station."})
		return
	}
	defer s.leave(peer.UID)
	if c.roles = s.handler.Roles(peer); c.roles == 0 {
		c.refuse(&Error{CodeDenied, "This user has no role on the station."})
		return
	}
	c.run(ctx)
}

func (s *Server) enter(uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxClients || s.clients[uid] >= maxClientsUID {
		return false
	}
	s.total++
	s.clients[uid]++
	return true
}

func (s *Server) leave(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.clients[uid]--; s.clients[uid] == 0 {
		delete(s.clients, uid)
	}
}

// client is one connection.
type client struct {
	server *Server
	conn   *net.UnixConn
	w      *frame.Writer
	peer   Peer
	roles  Roles
	signed bool // a person in: the connection is theirs until they are signed out, however long they wait
}

// current is the state that this client may see: who is at the screen concerns nobody else.
func (c *client) current() (*State, <-chan struct{}) {
	st, changed := c.server.current()
	if c.roles&RoleScreen == 0 {
		st.Staff = nil
	}
	return st, changed
}

// run reads requests on a goroutine of its own, so that a client that hangs up while its request is under way is noticed,
// and answers them one at a time. The reader is at most one request ahead.
func (c *client) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	requests := make(chan Request)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer cancel()
		c.read(ctx, requests)
	})
	defer reader.Wait()
	defer c.conn.Close() // ends the reader
	defer cancel()

	var subscribed uint64 // id of the request; 0 if there is none
	var changed <-chan struct{}
	idle := time.NewTimer(c.server.idle)
	defer idle.Stop()
	for {
		select {
		case r := <-requests:
			reply := c.answer(ctx, r)
			if r.Verb == VerbSubscribe && reply.Error == nil {
				subscribed = r.ID
				reply.State, changed = c.current()
			}
			if c.send(reply) != nil {
				return
			}
			idle.Reset(c.server.idle)
		case <-changed:
			select { // what changes meanwhile goes into the same message
			case <-ctx.Done():
				return
			case <-time.After(pushInterval):
			}
			reply := Reply{ID: subscribed}
			reply.State, changed = c.current()
			if c.send(reply) != nil {
				return
			}
		case <-idle.C:
			if changed == nil && !c.signed {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// read passes requests on until one breaks the rules or the client hangs up.
func (c *client) read(ctx context.Context, requests chan<- Request) {
	frames := frame.NewSmallReader(c.conn, maxRequest)
	credit, last := float64(maxBurst), time.Now()
	for {
		var r Request
		if err := frames.Next(&r); err != nil {
			return
		}
		now := time.Now()
		credit = min(maxBurst, credit+now.Sub(last).Seconds()*maxRate)
		last = now
		if credit--; credit < 0 {
			return // a person or a screen does not do this: no word is lost on it
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return
		}
	}
}

// may reports whether the client may have what it asks for, by its own roles or on behalf of the person who is signed in. Whatever that
// person may do, the screen never makes the daemon open a path.
func (c *client) may(r Request) bool {
	own := c.roles
	if onBehalf[r.Verb] {
		own &^= RoleScreen
	}
	h := &c.server.handler
	return own.May(r.Verb) || c.roles.May(r.Verb) && r.Path == "" && h.OnBehalf != nil && h.OnBehalf(r.Verb)
}

// answer does what a request asks for.
func (c *client) answer(ctx context.Context, r Request) Reply {
	reply := Reply{ID: r.ID}
	h := &c.server.handler
	err := r.check()
	switch {
	case err != nil:
		err = &Error{CodeRequest, "The request breaks the rules: " + err.Error() + "."}
	case !c.may(r):
		err = &Error{CodeDenied, "This user may not do that."}
	default:
		switch r.Verb {
		case VerbStatus:
			reply.State, _ = c.current()
		case VerbSessions:
			reply.Sessions, err = h.Sessions(ctx, r.Max)
		case VerbIssue:
			var answer Answer
			if answer, err = h.Issue(ctx, c.peer, r.Port, r.Class); err == nil {
				reply.Answer = &answer
			}
		case VerbEject:
			err = h.Eject(ctx, c.peer, r.Port)
		case VerbInstall:
			var pack Pack
			if pack, err = h.Install(ctx, r.Port, r.Path); err == nil {
				reply.Pack = &pack
			}
		case VerbBegin:
			err = c.begin(ctx, r)
		case VerbEnd:
			reply.Over, err = h.End(ctx, c.peer)
		case VerbClock:
			err = h.Clock(ctx, c.peer)
		case VerbSearch:
			reply.Found, reply.More, err = h.Search(ctx, *r.Search)
		case VerbDisclose:
			reply.Names, err = h.Disclose(ctx, c.peer, c.roles, *r.Disclose)
		case VerbExport:
			var done Exported
			if done, err = h.Export(ctx, c.peer, *r.Export, &chunks{c, r.ID}); err == nil {
				reply.Exported = &done
			}
		case VerbOverride:
			var answer Answer
			if answer, err = h.Override(ctx, c.peer, r.Port, r.Class, r.Reason); err == nil {
				reply.Answer = &answer
			}
		case VerbSignIn, VerbGuest:
			var who SignIn
			if r.Verb == VerbGuest {
				who, err = h.Guest(r.Company, r.Order)
			} else {
				who, err = h.SignIn(ctx, r.Number, r.PIN)
			}
			if err == nil {
				reply.Staff, c.signed = &who, true
			}
		case VerbSignOut:
			h.SignOut()
			c.signed = false
		case VerbStay:
			h.Stay()
		case VerbExceptions, VerbExcept, VerbConfirmException, VerbRemoveException:
			reply.Exceptions, err = c.except(ctx, r)
		}
	}
	if err == nil {
		return reply
	}
	reply = Reply{ID: r.ID, Error: new(Error)}
	if !errors.As(err, &reply.Error) {
		c.server.failed(err)
		reply.Error = &Error{CodeFailed, "The kiosk failed. Its journal says more."}
	}
	return reply
}

func (c *client) begin(ctx context.Context, r Request) error {
	since, err := time.Parse(TimeFormat, r.Since)
	if err != nil {
		return &Error{CodeRequest, "The request breaks the rules: want a time in whole seconds, UTC."}
	}
	return c.server.handler.Begin(ctx, c.peer, r.Reason, since)
}

func (c *client) send(reply Reply) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.write)); err != nil {
		return err
	}
	if err := c.w.Write(reply); err != nil {
		c.server.failed(err) // it does not fit: a mistake of this program
		return err
	}
	return c.w.Flush()
}

// refuse says one thing to a client that is not served.
func (c *client) refuse(e *Error) {
	c.conn.SetWriteDeadline(time.Now().Add(pushInterval))
	if c.w.Write(Reply{Error: e}) == nil {
		_ = c.w.Flush() // it may have hung up already
	}
}
