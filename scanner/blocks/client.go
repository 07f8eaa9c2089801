package blocks

import (
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
	// pipelined is how many requests of one read are on the way, so that the server has the next when it is done with one.
	pipelined = 3
	// answerTimeout is for one answer. The server's own limits on a device that does not answer end long before.
	answerTimeout = 2 * time.Minute

	// aheadBytes is how much may be read before it is asked for: one block of a large file (package slot), so that the
	// stick works while the block before is hashed and matched.
	aheadBytes = 16 << 20
	// aheadAfter is how much must have been read in order before more is guessed.
	aheadAfter = 2 << 20
	// aheadIdle is how long the medium must have been idle. Whoever reads without a pause is never made to wait for a
	// guess; whoever is slower than the medium loses one request to a wrong one.
	aheadIdle = time.Millisecond
)

// Client reads a medium over a channel. It implements volume.Source and is safe for concurrent use: reads wait for each
// other, since there is one medium.
type Client struct {
	conn   *os.File
	size   int64
	sector int

	mu     sync.Mutex
	tag    uint64 // of the last request
	broken error  // why the channel is of no use any more
	turn   uint64 // counts reads, so that a guess knows that it came too late
	closed bool

	run   int64 // how many bytes were read in order
	next  int64 // where the order goes on
	idle  *time.Timer
	ahead struct {
		start  int64  // on the medium
		bytes  []byte // what was read, a part of buffer
		buffer []byte // made when first needed
	}
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
	return &Client{conn: conn, size: size, sector: sector}, nil
}

// Size returns the size that the client was made with.
func (c *Client) Size() int64 { return c.size }

// SectorSize returns the sector size that the client was made with.
func (c *Client) SectorSize() int { return c.sector }

// Close ends the channel. A read that is waiting for an answer ends first.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.stopGuessing()
	if c.broken == nil {
		c.broken = &Error{Status: Gone}
	}
	return c.conn.Close()
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
	c.turn++
	c.stopGuessing()
	n := c.take(want, off)
	more, err := c.fetch(want[n:], off+int64(n))
	n += more
	if off != c.next {
		c.run = 0
	}
	c.run += int64(n)
	c.next = off + int64(n)
	if err != nil {
		return n, err
	}
	c.guess(aheadIdle)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Forget drops what was read ahead, so that whoever reads again asks the medium and not this process. The server keeps
// nothing. It implements scanner.Forgetter.
func (c *Client) Forget(int64, int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	c.stopGuessing()
	c.run, c.ahead.bytes = 0, nil
	return nil
}

// fetch reads p from the medium, several requests ahead of their answers. All answers are taken in, whatever they say, so
// that the channel stays in step, and so that a server's last words are heard even if it takes no more requests.
func (c *Client) fetch(p []byte, off int64) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.broken != nil {
		return 0, c.broken
	}
	var waiting []request
	var unsent error
	for asked := 0; ; {
		for len(waiting) < pipelined && asked < len(p) && err == nil && unsent == nil {
			r := request{bytes: min(askBytes, len(p)-asked), offset: off + int64(asked)}
			if unsent = c.send(&r); unsent == nil {
				waiting = append(waiting, r)
				asked += r.bytes
			}
		}
		if len(waiting) == 0 {
			if err == nil && unsent != nil {
				err = c.end(unsent)
			}
			return n, err
		}
		r := waiting[0]
		waiting = waiting[1:]
		at := int(r.offset - off)
		got, failure := c.receive(r, p[at:at+r.bytes])
		if err == nil {
			n, err = n+got, failure
		}
		if c.broken != nil {
			return n, err
		}
	}
}

// send gives a request its tag and sends it.
func (c *Client) send(r *request) error {
	c.tag++
	r.tag = c.tag
	head := r.encode()
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(head[:])
	return err
}

// receive takes the reply to a request and its data into p.
func (c *Client) receive(r request, p []byte) (int, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, c.end(err)
	}
	var head [headBytes]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return 0, c.end(err)
	}
	answer, err := decodeReply(head, r)
	if err != nil {
		c.broken = err
		return 0, err
	}
	n, err := io.ReadFull(c.conn, p[:answer.bytes])
	if err != nil {
		return n, c.end(ended(err))
	}
	if answer.status == Done {
		return n, nil
	}
	failure := &Error{answer.status, answer.sense}
	if failure.final() {
		c.broken = failure
	}
	return n, failure
}

// end notes that the channel is over: whoever held the device has died, hangs or was stopped.
func (c *Client) end(err error) error {
	if c.broken == nil {
		status := Gone
		if os.IsTimeout(err) {
			status = TimedOut
		}
		c.broken = &Error{Status: status}
	}
	return c.broken
}

// take copies what was read ahead of a read, from its beginning on.
func (c *Client) take(p []byte, off int64) int {
	a := &c.ahead
	if off < a.start || off >= a.start+int64(len(a.bytes)) {
		return 0
	}
	n := copy(p, a.bytes[off-a.start:])
	if off+int64(n) == a.start+int64(len(a.bytes)) { // used up
		a.bytes = nil
	}
	return n
}

// guess arranges for more to be read if nobody asks for anything for a while, in the order in which the last reads were.
func (c *Client) guess(after time.Duration) {
	if c.run < aheadAfter || c.broken != nil || c.closed {
		return
	}
	turn := c.turn
	c.idle = time.AfterFunc(after, func() { c.readAhead(turn) })
}

func (c *Client) stopGuessing() {
	if c.idle != nil {
		c.idle.Stop()
		c.idle = nil
	}
}

// readAhead makes one request, so that whoever comes meanwhile does not wait for more than that. An error is forgotten:
// whoever needs the place asks again and gets it.
func (c *Client) readAhead(turn uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn != turn || c.broken != nil || c.closed {
		return
	}
	a := &c.ahead
	if a.buffer == nil {
		a.buffer = make([]byte, aheadBytes)
	}
	if have := a.start + int64(len(a.bytes)); c.next < a.start || c.next >= have { // nothing that goes on from here
		a.start, a.bytes = c.next, a.buffer[:0]
	}
	end := a.start + int64(len(a.bytes))
	n := int(min(askBytes, c.size-end, int64(cap(a.bytes)-len(a.bytes))))
	if n <= 0 {
		return
	}
	r := request{offset: end, bytes: n}
	if err := c.send(&r); err != nil {
		c.end(err)
		return
	}
	got, err := c.receive(r, a.bytes[len(a.bytes):len(a.bytes)+n])
	a.bytes = a.bytes[:len(a.bytes)+got]
	if err == nil {
		c.guess(0)
	}
}
