package blocks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"
)

// patient is a server that takes requests as they come and answers when it is told to.
type patient struct {
	t        *testing.T
	requests chan request
	answers  chan []byte
}

func newPatient(t *testing.T, size int64) (*patient, *Client) {
	t.Helper()
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{t, make(chan request, 64), make(chan []byte, 64)}
	var both sync.WaitGroup
	both.Go(func() {
		defer close(p.requests)
		for tag := uint64(1); ; tag++ {
			var head [headBytes]byte
			if _, err := io.ReadFull(there, head[:]); err != nil {
				return
			}
			r, err := decodeRequest(head, tag)
			if err != nil {
				t.Error(err)
				return
			}
			p.requests <- r
		}
	})
	both.Go(func() {
		for a := range p.answers {
			if a == nil {
				there.Close()
				continue
			}
			there.Write(a) // a client that has ended does not listen
		}
	})
	c, err := NewClient(here, size, 512)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		close(p.answers)
		there.Close()
		both.Wait()
	})
	return p, c
}

// next is the request that comes next.
func (p *patient) next() request {
	p.t.Helper()
	select {
	case r := <-p.requests:
		return r
	case <-time.After(10 * time.Second):
		p.t.Fatal("nothing is asked for")
		return request{}
	}
}

// done answers a request with bytes that say where they are from.
func (p *patient) done(r request) { p.say(r, reply{bytes: r.bytes}) }

func (p *patient) say(r request, what reply) {
	out := make([]byte, headBytes, headBytes+what.bytes)
	what.encode(out, r)
	p.answers <- append(out, place(r.offset, what.bytes)...)
}

func place(off int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((off + int64(i)) / 512)
	}
	return b
}

// got is what a read came to.
type got struct {
	n    int
	err  error
	data []byte
}

func read(c *Client, off int64, n int) <-chan got {
	out := make(chan got, 1)
	go func() {
		p := make([]byte, n)
		k, err := c.ReadAt(p, off)
		out <- got{k, err, p}
	}()
	return out
}

// TestSeveralRequestsAreOnTheirWay: no more than maxFlight, and each answer goes to whoever asked for it.
func TestSeveralRequestsAreOnTheirWay(t *testing.T) {
	p, c := newPatient(t, 64<<20)
	const late = 2
	var reads []<-chan got
	var asked []request
	for i := range maxFlight + late {
		reads = append(reads, read(c, int64(i)<<20, 4096))
		if i < maxFlight {
			asked = append(asked, p.next()) // before any answer
		}
	}
	select {
	case r := <-p.requests:
		t.Fatalf("%+v is one too many", r)
	case <-time.After(50 * time.Millisecond):
	}
	for range late { // each answer makes room for one
		p.done(asked[0])
		asked = append(asked[1:], p.next())
	}
	for _, r := range asked {
		p.done(r)
	}
	for i, r := range reads {
		if g := <-r; g.err != nil || !bytes.Equal(g.data, place(int64(i)<<20, 4096)) {
			t.Errorf("read %d: %d, %v", i, g.n, g.err)
		}
	}
}

// TestOneBadAnswerCostsOneRead: those on their way behind it come through.
func TestOneBadAnswerCostsOneRead(t *testing.T) {
	p, c := newPatient(t, 64<<20)
	first := read(c, 0, 4096)
	a := p.next()
	second := read(c, 8192, 4096)
	b := p.next()
	p.say(a, reply{status: Unreadable, sense: Sense{3, 0x11, 0}, bytes: 512})
	p.done(b)
	if g := <-first; g.n != 512 || statusOf(g.err) != Unreadable || !bytes.Equal(g.data[:512], place(0, 512)) {
		t.Errorf("%d, %v", g.n, g.err)
	}
	if g := <-second; g.n != 4096 || g.err != nil || !bytes.Equal(g.data, place(8192, 4096)) {
		t.Errorf("%d, %v", g.n, g.err)
	}
}

// TestT02_WhatIsOnItsWayEndsWithTheDevice: the device goes, or the server, while several wait.
func TestT02_WhatIsOnItsWayEndsWithTheDevice(t *testing.T) {
	for name, c := range map[string]struct {
		how  func(p *patient, first request)
		want Status
	}{
		"pulled out":  {func(p *patient, r request) { p.say(r, reply{status: Gone}) }, Gone},
		"changed":     {func(p *patient, r request) { p.say(r, reply{status: Changed}) }, Changed},
		"server died": {func(p *patient, _ request) { p.answers <- nil }, Gone},
		"in mid-answer": {func(p *patient, r request) {
			out := make([]byte, headBytes+100)
			reply{bytes: r.bytes}.encode(out, r)
			p.answers <- out
			p.answers <- nil
		}, Gone},
	} {
		p, client := newPatient(t, 64<<20)
		reads := []<-chan got{read(client, 0, 4096)}
		first := p.next()
		for i := range 2 {
			reads = append(reads, read(client, int64(i+1)<<20, 4096))
			p.next()
		}
		c.how(p, first)
		for _, r := range reads {
			if g := <-r; g.n == 4096 || statusOf(g.err) != c.want {
				t.Errorf("%s: %d, %v", name, g.n, g.err)
			}
		}
		if n, err := client.ReadAt(make([]byte, 512), 0); n != 0 || statusOf(err) != c.want {
			t.Errorf("%s, later: %d, %v", name, n, err)
		}
	}
}

// TestT04_AnswersOutOfOrderEndTheChannel: a server cannot hand one read's bytes to another, nor answer what nobody asked for.
func TestT04_AnswersOutOfOrderEndTheChannel(t *testing.T) {
	p, c := newPatient(t, 64<<20)
	first := read(c, 0, 4096)
	p.next()
	second := read(c, 1<<20, 4096)
	p.done(p.next())
	for _, r := range []<-chan got{first, second} {
		if g := <-r; g.n != 0 || !errors.Is(g.err, ErrProtocol) {
			t.Errorf("%d, %v", g.n, g.err)
		}
	}
	p, c = newPatient(t, 64<<20)
	p.done(request{tag: 1, offset: 0, bytes: 512})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		over := c.broken != nil
		c.mu.Unlock()
		if over {
			break
		}
	}
	if n, err := c.ReadAt(make([]byte, 512), 0); n != 0 || !errors.Is(err, ErrProtocol) {
		t.Errorf("an answer before the question: %d, %v", n, err)
	}
}

func TestCloseEndsReadsThatWait(t *testing.T) {
	p, c := newPatient(t, 64<<20)
	r := read(c, 0, 8<<20)
	for range maxFlight {
		p.next()
	}
	c.Close()
	if g := <-r; g.n != 0 || statusOf(g.err) != Gone {
		t.Errorf("%d, %v", g.n, g.err)
	}
}

// TestT04_AReadThatIsOnItsWayDoesNotOutliveForget: what was guessed before is not handed to a read that comes after.
func TestT04_AReadThatIsOnItsWayDoesNotOutliveForget(t *testing.T) {
	p, c := newPatient(t, 64<<20)
	r := read(c, 0, 4<<20)
	for range 4 {
		p.done(p.next())
	}
	if g := <-r; g.err != nil {
		t.Fatal(g.err)
	}
	guessed := p.next()
	if guessed.offset != 4<<20 {
		t.Fatalf("%+v", guessed)
	}
	// A read takes the guess, and part of it is left over when it ends; meanwhile somebody forgets.
	r = read(c, 4<<20, 4096)
	for { // until it has
		c.mu.Lock()
		adopted := len(c.guess.calls) == 0
		c.mu.Unlock()
		if adopted {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c.Forget(0, 0)
	p.done(guessed)
	if g := <-r; g.err != nil || !bytes.Equal(g.data, place(4<<20, 4096)) {
		t.Fatal(g.err)
	}
	r = read(c, 4<<20+4096, 4096)
	again := p.next()
	if again.offset != 4<<20+4096 {
		t.Errorf("%+v", again)
	}
	p.done(again)
	<-r
}

// TestMediumIsReadWhileItsClientTakesAnAnswer: one is read, and one waits to be taken; no more.
func TestMediumIsReadWhileItsClientTakesAnAnswer(t *testing.T) {
	m := filled(16<<20, 512)
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(context.Background(), there, m); there.Close() }()
	for i := range 8 {
		head := request{tag: uint64(i + 1), offset: int64(i) << 20, bytes: 1 << 20}.encode()
		here.Write(head[:])
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if reads, _ := m.count(); reads >= serveBuffers {
			break
		}
	}
	time.Sleep(20 * time.Millisecond)
	if reads, _ := m.count(); reads != serveBuffers {
		t.Errorf("%d reads for a client that takes nothing", reads)
	}
	here.Close() // which never takes any
	if err := <-served; err == nil || errors.Is(err, ErrProtocol) {
		t.Errorf("%v", err)
	}
}

// FuzzClientSurvivesAnyServer: whatever a server says to four reads at once, the client ends, and hands out no byte that a right
// answer did not carry.
func FuzzClientSurvivesAnyServer(f *testing.F) {
	good := func(tag uint64, off int64, status Status) []byte {
		r := request{tag: tag, offset: off, bytes: 512}
		p := reply{status: status}
		if status == Done {
			p.bytes = 512
		}
		out := make([]byte, headBytes)
		p.encode(out, r)
		return append(out, place(off, p.bytes)...)
	}
	f.Add(bytes.Join([][]byte{good(1, 0, Done), good(2, 0, Done), good(3, 0, Unreadable), good(4, 0, Gone)}, nil))
	f.Add(good(1, 0, Changed))
	f.Add([]byte("PQrp"))
	f.Fuzz(func(t *testing.T, said []byte) {
		here, there, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewClient(here, 1<<20, 512)
		if err != nil {
			t.Fatal(err)
		}
		var reads []<-chan got
		for range maxFlight {
			reads = append(reads, read(c, 0, 512))
		}
		there.SetDeadline(time.Now().Add(10 * time.Second))
		io.ReadFull(there, make([]byte, headBytes)) // somebody has asked
		there.Write(said)
		there.Close()
		for _, r := range reads {
			if g := <-r; (g.err == nil) != (g.n == 512) || g.n > 0 && !bytes.Contains(said, g.data[:g.n]) {
				t.Errorf("%d, %v", g.n, g.err)
			}
		}
		c.Close()
	})
}
