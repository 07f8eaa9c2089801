package blocks

import "time"

const (
	// aheadBytes is how much may be read before it is asked for: one block of a large file (package slot), so that the
	// stick works while the block before is hashed and matched.
	aheadBytes = 16 << 20
	// aheadAfter is how much must have been read in order before more is guessed.
	aheadAfter = 2 << 20
	// aheadIdle is how long nobody must have asked for anything. Whoever reads without a pause is never made to wait for a
	// guess; whoever is slower than the medium loses one request to a wrong one, and after a guess that was right two.
	aheadIdle = time.Millisecond
	// aheadFlight is how many guesses are on the way after one that was right, so that the medium does not wait for the next.
	aheadFlight = 2
)

// guess is what is read before anybody asks: what comes next, in the order in which the last reads were.
type guess struct {
	run   int64   // how many bytes were read in order
	next  int64   // where the order goes on
	calls []*call // one after the other on the medium
	used  bool    // the last one was right
	spare [][]byte
	timer *time.Timer
	going bool   // nobody has come since the timer said that nobody does
	turn  uint64 // counts reads, so that a timer knows that it came too late
	since uint64 // counts calls of Forget
}

// note remembers where a read was, and sets the timer if it goes on in order.
func (c *Client) note(off int64, n int) {
	g := &c.guess
	if off != g.next {
		g.run = 0
	}
	g.run += int64(n)
	g.next = off + int64(n)
	if g.run < aheadAfter || c.broken != nil {
		return
	}
	turn := g.turn
	g.timer = time.AfterFunc(aheadIdle, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if g.turn == turn {
			g.going = true
			c.goAhead(nil)
		}
	})
}

// stopGuessing is the beginning of whatever somebody asks for.
func (c *Client) stopGuessing() {
	g := &c.guess
	g.turn++
	g.going = false
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
}

// goAhead asks for what comes next, as long as nobody comes. It is told of each answer.
func (c *Client) goAhead(answered *call) {
	g := &c.guess
	if answered != nil && answered.unwanted {
		c.putBuffer(answered)
	}
	if !g.going || answered != nil && answered.err != nil { // whoever needs that place is told
		return
	}
	end, held := g.next, int64(0)
	for _, k := range g.calls {
		held += int64(k.bytes)
	}
	if len(g.calls) > 0 {
		start := g.calls[0].offset
		if end = start + held; g.next < start || g.next >= end { // nothing that goes on from here
			c.dropAhead(len(g.calls))
			end, held = g.next, 0
		}
	}
	most := 1
	if g.used {
		most = aheadFlight
	}
	for c.room(most) {
		n := min(askBytes, c.size-end, aheadBytes-held)
		if n <= 0 {
			return
		}
		k := c.ask(c.buffer()[:n], end)
		if k == nil {
			return
		}
		k.ahead, k.since = true, g.since
		g.calls = append(g.calls, k)
		end, held = end+n, held+n
	}
}

// adopt hands what was asked for ahead of a read to that read: the calls that hold its beginning, and for how many of its bytes
// they stand, or more.
func (c *Client) adopt(bytes int, off int64) (calls []*call, stands int) {
	g := &c.guess
	for i, k := range g.calls {
		if off < k.offset || off >= k.offset+int64(k.bytes) {
			continue
		}
		c.dropAhead(i)
		n := 0
		for n < len(g.calls) && stands < bytes {
			stands = int(g.calls[n].offset + int64(g.calls[n].bytes) - off)
			n++
		}
		calls, g.calls, g.used = g.calls[:n:n], g.calls[n:], true
		return calls, stands
	}
	return nil, 0
}

// giveBack takes the calls of a read that is over. What is left of the last one that was asked for ahead is for the next read,
// which begins at next.
func (c *Client) giveBack(calls []*call, next int64) {
	g := &c.guess
	for _, k := range calls {
		switch end := k.offset + int64(k.bytes); {
		case !k.ahead:
		case k.err == nil && end > next && k.since == g.since && (len(g.calls) == 0 || g.calls[0].offset == end):
			g.calls = append([]*call{k}, g.calls...)
		default:
			c.putBuffer(k)
		}
	}
}

// dropAhead forgets the first n guesses. The buffer of one that is on its way is the receiver's until it has come.
func (c *Client) dropAhead(n int) {
	g := &c.guess
	for _, k := range g.calls[:n] {
		if k.done {
			c.putBuffer(k)
		}
		k.unwanted, g.used = true, false
	}
	g.calls = g.calls[n:]
}

func (c *Client) buffer() []byte {
	g := &c.guess
	if n := len(g.spare); n > 0 {
		b := g.spare[n-1]
		g.spare = g.spare[:n-1]
		return b
	}
	return make([]byte, askBytes)
}

// putBuffer keeps the buffer of a guess for the next.
func (c *Client) putBuffer(k *call) {
	c.guess.spare = append(c.guess.spare, k.into[:askBytes])
	k.into = nil
}

// Forget drops what was read ahead, so that whoever reads again asks the medium and not this process. The server keeps
// nothing. It implements scanner.Forgetter.
func (c *Client) Forget(int64, int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopGuessing()
	c.dropAhead(len(c.guess.calls))
	c.guess.run = 0
	c.guess.since++
	return nil
}
