package localapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"pratique/scanner/frame"
)

// ErrNoDaemon says that no daemon answers on the socket.
var ErrNoDaemon = errors.New("no daemon answers")

// Client asks the daemon. It is not safe for concurrent use.
type Client struct {
	conn net.Conn
	w    *frame.Writer
	r    *frame.Reader
	id   uint64
}

// Dial connects to the daemon's socket.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrNoDaemon, path, err)
	}
	return &Client{conn: conn, w: frame.NewWriter(conn), r: frame.NewReader(conn)}, nil
}

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }

// Status returns the state.
func (c *Client) Status(ctx context.Context) (*State, error) {
	reply, err := c.ask(ctx, Request{Verb: VerbStatus})
	return reply.State, err
}

// Watch calls f with the state, and with each newer one, until f returns an error or ctx ends.
func (c *Client) Watch(ctx context.Context, f func(*State) error) error {
	defer c.until(ctx)()
	reply, err := c.ask(ctx, Request{Verb: VerbSubscribe})
	for {
		if err == nil && reply.State == nil {
			err = errors.New("the daemon sent no state")
		}
		if err != nil {
			return err
		}
		if err := f(reply.State); err != nil {
			return err
		}
		reply, err = c.next(ctx)
	}
}

// Sessions returns the latest sessions, newest first.
func (c *Client) Sessions(ctx context.Context, max int) ([]Session, error) {
	reply, err := c.ask(ctx, Request{Verb: VerbSessions, Max: max})
	return reply.Sessions, err
}

// Issue asks for a clearance, and waits for the end of the scan.
func (c *Client) Issue(ctx context.Context, port, class string) (Answer, error) {
	reply, err := c.ask(ctx, Request{Verb: VerbIssue, Port: port, Class: class})
	if err != nil {
		return Answer{}, err
	}
	if reply.Answer == nil {
		return Answer{}, errors.New("the daemon sent no answer")
	}
	return *reply.Answer, nil
}

// Override asks for the clearance of a medium that was not cleared, or confirms that another person did.
func (c *Client) Override(ctx context.Context, port, class, reason string) (Answer, error) {
	reply, err := c.ask(ctx, Request{Verb: VerbOverride, Port: port, Class: class, Reason: reason})
	if err != nil {
		return Answer{}, err
	}
	if reply.Answer == nil {
		return Answer{}, errors.New("the daemon sent no answer")
	}
	return *reply.Answer, nil
}

// SignIn signs a person in for as long as this connection lasts. Without a number the badge counts that was held to the reader.
func (c *Client) SignIn(ctx context.Context, number string, pin PIN) (SignIn, error) {
	return c.signIn(ctx, Request{Verb: VerbSignIn, Number: number, PIN: pin})
}

// Guest lets the sponsor who is signed in answer for a guest.
func (c *Client) Guest(ctx context.Context, company, order string) (SignIn, error) {
	return c.signIn(ctx, Request{Verb: VerbGuest, Company: company, Order: order})
}

func (c *Client) signIn(ctx context.Context, r Request) (SignIn, error) {
	reply, err := c.ask(ctx, r)
	if err != nil {
		return SignIn{}, err
	}
	if reply.Staff == nil {
		return SignIn{}, errors.New("the daemon does not say who is signed in")
	}
	return *reply.Staff, nil
}

// SignOut signs out whoever is signed in on the screen.
func (c *Client) SignOut(ctx context.Context) error {
	_, err := c.ask(ctx, Request{Verb: VerbSignOut})
	return err
}

// Stay says that whoever is signed in is still there.
func (c *Client) Stay(ctx context.Context) error {
	_, err := c.ask(ctx, Request{Verb: VerbStay})
	return err
}

// Eject ends the session of the medium in a port.
func (c *Client) Eject(ctx context.Context, port string) error {
	_, err := c.ask(ctx, Request{Verb: VerbEject, Port: port})
	return err
}

// Install puts the rule pack of a repository's folder in force, or that of a medium's image. The daemon reads what path names,
// which is one from the root.
func (c *Client) Install(ctx context.Context, path string) (Pack, error) {
	return c.install(ctx, Request{Verb: VerbInstall, Path: path})
}

// InstallFrom puts the rule pack in force that is on the medium in a port, and waits for the end of its scan.
func (c *Client) InstallFrom(ctx context.Context, port string) (Pack, error) {
	return c.install(ctx, Request{Verb: VerbInstall, Port: port})
}

func (c *Client) install(ctx context.Context, r Request) (Pack, error) {
	reply, err := c.ask(ctx, r)
	if err != nil {
		return Pack{}, err
	}
	if reply.Pack == nil {
		return Pack{}, errors.New("the daemon does not say which pack is in force")
	}
	return *reply.Pack, nil
}

// BeginIncident stops the station: it issues nothing more, and what it issued from a time on is in doubt.
func (c *Client) BeginIncident(ctx context.Context, reason string, since time.Time) error {
	_, err := c.ask(ctx, Request{Verb: VerbBegin, Reason: reason, Since: Time(since)})
	return err
}

// EndIncident asks for the end of an incident, and reports whether it is over.
func (c *Client) EndIncident(ctx context.Context) (over bool, err error) {
	reply, err := c.ask(ctx, Request{Verb: VerbEnd})
	return reply.Over, err
}

// AcceptClock says that the station's clock is right.
func (c *Client) AcceptClock(ctx context.Context) error {
	_, err := c.ask(ctx, Request{Verb: VerbClock})
	return err
}

// Search looks in the log. more says that there was more than fits into a message.
func (c *Client) Search(ctx context.Context, what Search) (found []byte, more bool, err error) {
	reply, err := c.ask(ctx, Request{Verb: VerbSearch, Search: &what})
	return reply.Found, reply.More, err
}

// Disclose asks for names. It returns nil when this is the first of two persons, and JSON for the second.
func (c *Client) Disclose(ctx context.Context, what Disclose) (names []byte, err error) {
	reply, err := c.ask(ctx, Request{Verb: VerbDisclose, Disclose: &what})
	return reply.Names, err
}

func (c *Client) ask(ctx context.Context, r Request) (Reply, error) {
	defer c.until(ctx)()
	c.id++
	r.ID = c.id
	// A daemon that refuses says so and hangs up, perhaps before it took the request: what it said counts for more.
	sent := errors.Join(c.w.Write(r), c.w.Flush())
	reply, err := c.next(ctx)
	if err != nil && sent != nil && reply.Error == nil {
		return Reply{}, fmt.Errorf("ask the daemon: %w", sent)
	}
	if err == nil && r.Verb == VerbStatus && reply.State == nil {
		return Reply{}, errors.New("the daemon sent no state")
	}
	return reply, err
}

// next returns the next reply. The daemon is trusted as far as the limits of package frame go.
func (c *Client) next(ctx context.Context) (Reply, error) {
	var reply Reply
	switch err := c.r.Next(&reply); {
	case ctx.Err() != nil:
		return Reply{}, ctx.Err()
	case err != nil:
		return Reply{}, fmt.Errorf("the daemon hung up: %w", err)
	case reply.Error != nil:
		return reply, reply.Error
	case reply.ID != c.id:
		return Reply{}, fmt.Errorf("the daemon answers request %d, not %d", reply.ID, c.id)
	}
	return reply, nil
}

// until closes the connection when ctx ends, which ends what waits on it.
func (c *Client) until(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.conn.Close() })
}
