package blocks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// askBytes is what is asked for at once. Sticks reach their rate with 1 MiB; more would only make whoever comes next
	// wait longer.
	askBytes = 1 << 20
	// maxFlight is how many requests are on the way, so that the server always has the next one when it is done with one. Each
	// more is one more that whoever comes next waits for.
	maxFlight = 4
	// answerTimeout is for one answer, from the one before it on. The server's own limits on a device that does not answer
	// end long before.
	answerTimeout = 2 * time.Minute
)

// Client reads a medium over a channel. It implements volume.Source and is safe for concurrent use: the requests of several
// reads are on the way at once, and the medium sees them one after the other.
type Client struct {
	conn   *os.File
	size   int64
	sector int
	ended  chan struct{} // closed when nothing more is received

	mu     sync.Mutex
	moved  *sync.Cond // a request was answered, or the channel is over
	tag    uint64     // of the last request
	flight []*call    // asked and not answered, in the order of their tags
	broken error      // why the channel is of no use any more
	deaf   bool       // the server takes no more requests; what it said last is still to be heard
	guess  guess
}

// call is one request on its way. Until it is done, into belongs to the receiver.
type call struct {
	request
	into []byte
	n    int   // that came, from the beginning of into
	err  error // if not all came
	done bool

	ahead    bool   // nobody has asked for it yet
	unwanted bool   // and nobody will
	since    uint64 // counts calls of Forget
}

// NewClient returns a client for a channel to a medium whose size and sector the caller knows from somewhere else: a server
// is not asked. conn is an end from Pair or Open.
func NewClient(conn *os.File, size int64, sector int) (*Client, error) {
	if size < 0 || sector < 1 || sector > maxSector {
		return nil, fmt.Errorf("blocks: a medium of %d bytes in sectors of %d", size, sector)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("blocks: the channel has no deadlines: %w", err)
	}
	c := &Client{conn: conn, size: size, sector: sector, ended: make(chan struct{})}
	c.moved = sync.NewCond(&c.mu)
	go c.receive()
	return c, nil
}

// Size returns the size that the client was made with.
func (c *Client) Size() int64 { return c.size }

// SectorSize returns the sector size that the client was made with.
func (c *Client) SectorSize() int { return c.sector }

// Close ends the channel. Reads that are waiting for answers end, and nothing is written to their buffers after it.
func (c *Client) Close() error {
	c.mu.Lock()
	c.stopGuessing()
	if c.broken == nil {
		c.broken = &Error{Status: Gone}
	}
	err := c.conn.Close()
	c.mu.Unlock()
	<-c.ended // which ends the reads
	return err
}

// ReadAt reads as io.ReaderAt says. Its errors but io.EOF are *Error or wrap ErrProtocol.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &Error{Status: OutOfRange}
	}
	if off >= c.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), c.size-off)]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopGuessing()
	n, err := c.read(want, off)
	c.note(off, n)
	switch {
	case err != nil:
		return n, err
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// read takes what was asked for ahead, asks for the rest of p, and waits for all of it, whatever the answers say: until then p
// is the receiver's. The lock is held, but for the waiting.
func (c *Client) read(p []byte, off int64) (n int, err error) {
	calls, asked := c.adopt(len(p), off)
	for next := 0; ; {
		for asked < len(p) && err == nil && c.room(maxFlight) {
			part := p[asked:min(asked+askBytes, len(p))]
			if k := c.ask(part, off+int64(asked)); k != nil {
				calls = append(calls, k)
				asked += len(part)
			}
		}
		switch {
		case next < len(calls) && calls[next].done:
			k := calls[next]
			next++
			if err != nil {
				break // what came after a place that failed is of no use
			}
			skip := int(off + int64(n) - k.offset) // of what was asked for ahead, the beginning may be used up
			came := k.n - skip
			if k.ahead {
				came = copy(p[n:], k.into[min(skip, k.n):k.n])
			}
			if came < min(len(p)-n, k.bytes-skip) {
				err = k.err
			}
			n += max(came, 0)
		case next < len(calls), asked < len(p) && err == nil && c.broken == nil:
			c.moved.Wait()
		default:
			c.giveBack(calls, off+int64(n))
			if n < len(p) && err == nil {
				err = c.broken
			}
			return n, err
		}
	}
}

// room reports whether another request may be made while no more than most are on the way.
func (c *Client) room(most int) bool {
	return len(c.flight) < most && c.broken == nil && !c.deaf
}

// ask sends a request whose answer goes into a buffer. It returns nil if the server takes none: the receiver finds out why. A
// socket holds far more than maxFlight requests, so this does not wait.
func (c *Client) ask(into []byte, off int64) *call {
	c.tag++
	k := &call{request: request{tag: c.tag, offset: off, bytes: len(into)}, into: into}
	head := k.encode()
	err := c.conn.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err == nil && len(c.flight) == 0 {
		err = c.conn.SetReadDeadline(time.Now().Add(answerTimeout))
	}
	if err == nil {
		_, err = c.conn.Write(head[:])
	}
	if err != nil {
		c.deaf = true
		_ = c.conn.SetReadDeadline(time.Now().Add(answerTimeout)) // a channel without deadlines has ended
		return nil
	}
	c.flight = append(c.flight, k)
	return k
}

// receive takes in the answers, in the order of the requests, until the channel is over.
func (c *Client) receive() {
	defer close(c.ended)
	for {
		err := c.receiveOne()
		if err == nil {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end(err)
		return
	}
}

// receiveOne takes in one answer. An error ends the channel: ErrProtocol, an *Error that the server sent, or the socket's.
func (c *Client) receiveOne() error {
	var head [headBytes]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.flight) == 0 { // nobody has asked
		return ErrProtocol
	}
	k := c.flight[0]
	answer, err := decodeReply(head, k.request)
	if err != nil {
		return err
	}
	c.mu.Unlock()
	n, err := io.ReadFull(c.conn, k.into[:answer.bytes])
	c.mu.Lock()
	k.n = n
	switch {
	case err != nil:
		return ended(err)
	case c.broken != nil: // it was closed meanwhile
		return c.broken
	}
	if answer.status != Done {
		k.err = &Error{answer.status, answer.sense}
	}
	k.done = true
	c.flight = c.flight[1:]
	deadline := time.Time{} // whoever asks for nothing waits for nothing
	if len(c.flight) > 0 {
		deadline = time.Now().Add(answerTimeout)
	}
	err = c.conn.SetReadDeadline(deadline)
	c.moved.Broadcast()
	if answer.status.final() {
		return k.err
	}
	c.goAhead(k)
	return err
}

// end notes that the channel is over: the server said so or broke a rule, or whoever held the device has died, hangs or was
// stopped. The first reason stays, and all that is on the way ends with it. The lock is held.
func (c *Client) end(err error) {
	if c.broken == nil {
		var said *Error
		switch {
		case errors.As(err, &said), errors.Is(err, ErrProtocol):
			c.broken = err
		case os.IsTimeout(err):
			c.broken = &Error{Status: TimedOut}
		default:
			c.broken = &Error{Status: Gone}
		}
	}
	for _, k := range c.flight {
		k.done, k.err = true, c.broken
	}
	c.flight = nil
	c.moved.Broadcast()
}
