package blocks

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// medium is in memory. Its fields that are set make it slow or bad.
type medium struct {
	content []byte
	sector  int
	fail    func(p []byte, off int64) (int, error) // asked first; nil error goes on
	rate    int64                                  // bytes in a second
	latency time.Duration                          // of each request

	mu    sync.Mutex
	reads int
	bytes int64
}

func (m *medium) Size() int64     { return int64(len(m.content)) }
func (m *medium) SectorSize() int { return m.sector }
func (m *medium) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	m.bytes += int64(len(p))
	if off%int64(m.sector) != 0 || len(p)%m.sector != 0 {
		panic("not whole sectors")
	}
	if m.fail != nil {
		if n, err := m.fail(p, off); err != nil {
			copy(p[:max(n, 0)], m.content[off:])
			return n, err
		}
	}
	if m.rate > 0 {
		time.Sleep(m.latency + time.Duration(int64(len(p))*int64(time.Second)/m.rate))
	}
	return copy(p, m.content[off:]), nil
}

func (m *medium) count() (reads int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads, m.bytes
}

func filled(n, sector int) *medium {
	m := &medium{content: make([]byte, n), sector: sector}
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(m.content[i:], uint64(i)*0x9E3779B97F4A7C15)
	}
	return m
}

// channel serves a medium and returns its client.
func channel(t testing.TB, m Medium) *Client {
	t.Helper()
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- Serve(context.Background(), there, m)
		there.Close()
	}()
	c, err := NewClient(here, m.Size(), m.SectorSize())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

func statusOf(err error) Status {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 255
}

func TestReadsAreThoseOfTheMedium(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		m := filled(24<<20, sector)
		c := channel(t, m)
		if c.Size() != m.Size() || c.SectorSize() != sector {
			t.Error(c.Size(), c.SectorSize())
		}
		random := rand.New(rand.NewPCG(1, uint64(sector)))
		p := make([]byte, 9<<20)
		for i := range 300 {
			off, n := random.Int64N(m.Size()), 1+random.IntN(64<<10)
			switch {
			case i%50 == 0:
				n = 1 + random.IntN(len(p))
			case i%3 == 0:
				off, n = off&^511, 512
			}
			got, err := c.ReadAt(p[:n], off)
			want := min(int64(n), m.Size()-off)
			if int64(got) != want || (err == io.EOF) != (int64(n) > want) || err != nil && err != io.EOF {
				t.Fatalf("%d at %d: %d, %v", n, off, got, err)
			}
			if !bytes.Equal(p[:got], m.content[off:off+want]) {
				t.Fatalf("%d at %d: other bytes", n, off)
			}
		}
		if n, err := c.ReadAt(p, m.Size()); n != 0 || err != io.EOF {
			t.Error(n, err)
		}
		if n, err := c.ReadAt(p, -1); n != 0 || statusOf(err) != OutOfRange {
			t.Error(n, err)
		}
		if n, err := c.ReadAt(nil, 5); n != 0 || err != nil {
			t.Error(n, err)
		}
	}
}

func TestManyReadersShareAChannel(t *testing.T) {
	m := filled(32<<20, 512)
	c := channel(t, m)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			p := make([]byte, 700_001)
			for off := int64(i) << 20; off < m.Size(); off += int64(len(p)) {
				n, err := c.ReadAt(p, off)
				if err != nil && err != io.EOF || !bytes.Equal(p[:n], m.content[off:off+int64(n)]) {
					t.Errorf("at %d: %d, %v", off, n, err)
					return
				}
				if off%3 == 0 {
					time.Sleep(2 * time.Millisecond) // leaves room for a guess
				}
			}
		})
	}
	all.Wait()
}

func TestBadPlacesCostNoMoreThanThemselves(t *testing.T) {
	m := filled(8<<20, 512)
	const bad = 3<<20 + 5*512
	sense := Sense{3, 0x11, 4}
	m.fail = func(p []byte, off int64) (int, error) {
		if off <= bad && bad < off+int64(len(p)) {
			return int(bad - off), &Error{Unreadable, sense}
		}
		return 0, nil
	}
	c := channel(t, m)
	p := make([]byte, 8<<20)
	n, err := c.ReadAt(p, 100)
	if e, ok := err.(*Error); n != bad-100 || !ok || e.Sense != sense || !bytes.Equal(p[:n], m.content[100:bad]) {
		t.Fatal(n, err)
	}
	if n, err := c.ReadAt(p[:1000], bad-700); n != 700 || statusOf(err) != Unreadable {
		t.Error(n, err)
	}
	if n, err := c.ReadAt(p[:100], bad+7); n != 0 || statusOf(err) != Unreadable {
		t.Error(n, err)
	}
	if n, err := c.ReadAt(p[:1<<20], bad+512); n != 1<<20 || err != nil || !bytes.Equal(p[:n], m.content[bad+512:][:n]) {
		t.Error(n, err)
	}
	m.fail = func(p []byte, off int64) (int, error) { return -5, errors.New("not a status") }
	if n, err := c.ReadAt(p[:10], 7<<20); n != 0 || statusOf(err) != Failed {
		t.Error(n, err)
	}
}

// TestT02_NothingIsReadAfterTheDeviceIsGone: what comes back at the same place is not the medium that was read before.
func TestT02_NothingIsReadAfterTheDeviceIsGone(t *testing.T) {
	for _, status := range []Status{Gone, Changed, TimedOut, Failed} {
		m := filled(8<<20, 512)
		once := true
		m.fail = func(p []byte, off int64) (int, error) {
			if once && off >= 4<<20 {
				once = false
				return 0, &Error{Status: status}
			}
			return 0, nil
		}
		c := channel(t, m)
		p := make([]byte, 8<<20)
		if n, err := c.ReadAt(p, 0); n != 4<<20 || statusOf(err) != status {
			t.Fatal(n, err)
		}
		if n, err := c.ReadAt(p[:512], 0); n != 0 || statusOf(err) != status {
			t.Errorf("after %v: %d, %v", status, n, err)
		}
	}
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	there.Close()
	c, err := NewClient(here, 4096, 512)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if n, err := c.ReadAt(make([]byte, 512), 0); n != 0 || statusOf(err) != Gone {
			t.Error(n, err)
		}
	}
}

// liar answers requests as it likes.
func liar(t *testing.T, answers func(r request, head []byte) (data []byte)) *Client {
	t.Helper()
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
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
			out := make([]byte, headBytes)
			reply{bytes: r.bytes}.encode(out, r)
			data := answers(r, out)
			if _, err := there.Write(append(out, data...)); err != nil {
				return
			}
		}
	}()
	c, err := NewClient(here, 8<<20, 512)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-done })
	return c
}

// TestT04_ReplyThatLiesEndsTheChannel: each lie once; what comes after it cannot be trusted to be aligned.
func TestT04_ReplyThatLiesEndsTheChannel(t *testing.T) {
	le := binary.LittleEndian
	for name, lie := range map[string]func(head []byte){
		"magic":              func(h []byte) { h[0]++ },
		"a request":          func(h []byte) { copy(h, requestMagic[:]) },
		"unknown status":     func(h []byte) { h[4] = byte(Failed) + 1 },
		"sense without need": func(h []byte) { h[5] = 3 },
		"tag before":         func(h []byte) { le.PutUint64(h[8:], le.Uint64(h[8:])-1) },
		"tag after":          func(h []byte) { h[8]++ },
		"other offset":       func(h []byte) { h[17]++ },
		"too much":           func(h []byte) { le.PutUint32(h[24:], le.Uint32(h[24:])+1) },
		"4 GiB":              func(h []byte) { le.PutUint32(h[24:], 1<<32-1) },
		"too little":         func(h []byte) { le.PutUint32(h[24:], 1) },
		"all with an error":  func(h []byte) { h[4] = byte(Unreadable) },
		"reserved":           func(h []byte) { h[31] = 1 },
	} {
		lied := false
		c := liar(t, func(r request, head []byte) []byte {
			if r.tag == 2 {
				lied = true
				lie(head)
			}
			return make([]byte, r.bytes)
		})
		p := make([]byte, 4096)
		if n, err := c.ReadAt(p, 0); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		for range 3 {
			if n, err := c.ReadAt(p, 4096); n != 0 || !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		if !lied {
			t.Error(name, "was not said")
		}
	}
	for name, data := range map[string]int{"no data": 0, "half of the data": 2048} {
		var there *Client
		c := liar(t, func(r request, head []byte) []byte {
			defer func() { go there.conn.SetDeadline(time.Unix(1, 0)) }() // nothing more will come
			return make([]byte, data)
		})
		there = c
		if n, err := c.ReadAt(make([]byte, 4096), 0); n > data || statusOf(err) != TimedOut && statusOf(err) != Gone {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// TestT03_RequestThatBreaksTheRulesEndsTheServer: it reads nothing for a client that fell.
func TestT03_RequestThatBreaksTheRulesEndsTheServer(t *testing.T) {
	good := request{tag: 1, offset: 0, bytes: 512}.encode()
	le := binary.LittleEndian
	for name, change := range map[string]func(h []byte){
		"magic":        func(h []byte) { h[1]++ },
		"operation 0":  func(h []byte) { h[4] = 0 },
		"operation 2":  func(h []byte) { h[4] = 2 },
		"tag 0":        func(h []byte) { h[8] = 0 },
		"tag 2":        func(h []byte) { h[8] = 2 },
		"nothing":      func(h []byte) { le.PutUint32(h[24:], 0) },
		"over MaxRead": func(h []byte) { le.PutUint32(h[24:], MaxRead+1) },
		"4 GiB":        func(h []byte) { le.PutUint32(h[24:], 1<<32-1) },
		"reserved":     func(h []byte) { h[28] = 1 },
	} {
		m := filled(8192, 512)
		here, there, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		head := good
		change(head[:])
		here.Write(head[:])
		if err := Serve(context.Background(), there, m); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		if reads, _ := m.count(); reads > 0 {
			t.Errorf("%s: %d reads", name, reads)
		}
		here.Close()
		there.Close()
	}
}

func TestRequestsOffTheMediumAreAnswered(t *testing.T) {
	m := filled(8192, 512)
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	served := make(chan error, 1)
	go func() { served <- Serve(context.Background(), there, m); there.Close() }()
	for i, r := range []request{{offset: 8192, bytes: 1}, {offset: 8191, bytes: 2}, {offset: -1, bytes: 1}, {offset: -1 << 63, bytes: 1}, {offset: 1<<63 - 1, bytes: MaxRead}} {
		r.tag = uint64(i + 1)
		head := r.encode()
		here.Write(head[:])
		var back [headBytes]byte
		if _, err := io.ReadFull(here, back[:]); err != nil {
			t.Fatal(err)
		}
		if p, err := decodeReply(back, r); err != nil || p.status != OutOfRange || p.bytes != 0 {
			t.Errorf("%+v: %+v, %v", r, p, err)
		}
	}
	here.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if reads, _ := m.count(); reads > 0 {
		t.Error(reads)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	defer there.Close()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if err := Serve(ctx, there, filled(512, 512)); err != why {
		t.Error(err)
	}
	for _, m := range []*medium{{sector: 0}, {sector: 8192}, {sector: 512, content: make([]byte, 100)}} {
		if err := Serve(context.Background(), there, m); err == nil {
			t.Errorf("%d bytes in sectors of %d are served", m.Size(), m.sector)
		}
	}
}

func TestClientRefusesWhatIsNoChannel(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, err := NewClient(f, 512, 512); err == nil {
		t.Error(c)
	}
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	defer there.Close()
	for _, bad := range [][2]int64{{-1, 512}, {512, 0}, {512, 1 << 20}} {
		if c, err := NewClient(here, bad[0], int(bad[1])); err == nil {
			t.Error(c)
		}
	}
}

// TestMediumWorksWhileItsReaderDoes: a reader that needs as long for a block as the medium takes is hardly slower than the
// medium alone, and one that asks for other places than were guessed is not much slower than without a guess.
func TestMediumWorksWhileItsReaderDoes(t *testing.T) {
	const block = 8 << 20
	m := filled(4*block, 512)
	m.rate, m.latency = 35_000_000, time.Millisecond // a USB 2 stick
	c := channel(t, m)
	each := time.Duration(int64(block) * int64(time.Second) / m.rate)
	alone := time.Duration(len(m.content)/askBytes)*m.latency + 4*each
	start := time.Now()
	p := make([]byte, block)
	for off := int64(0); off < m.Size(); off += block {
		if n, err := c.ReadAt(p, off); n != block || err != nil {
			t.Fatal(n, err)
		}
		if !bytes.Equal(p, m.content[off:off+block]) {
			t.Fatal("other bytes")
		}
		if off+block < m.Size() {
			time.Sleep(each)
		}
	}
	took := time.Since(start)
	t.Logf("%v; the medium alone %v, one after the other %v", took, alone, alone+3*each)
	if took > alone+2*each { // of three pauses one is hidden in full, however busy this machine is
		t.Errorf("%v, where the medium alone takes %v", took, alone)
	}
	if _, bytes := m.count(); bytes != m.Size() {
		t.Errorf("%d bytes were read of %d", bytes, m.Size())
	}
	m.mu.Lock()
	m.bytes = 0
	m.mu.Unlock()
	for range 20 {
		off := rand.Int64N(m.Size()-askBytes) &^ 511
		if n, err := c.ReadAt(p[:4096], off); n != 4096 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(3 * time.Millisecond)
	}
	if _, bytes := m.count(); bytes > 20*4096+3*askBytes {
		t.Errorf("%d bytes were read for 20 small pieces", bytes)
	}
}

// TestT04_WhatWasReadAheadIsForgotten: a second reading is of the medium, also where a guess was never asked for.
func TestT04_WhatWasReadAheadIsForgotten(t *testing.T) {
	m := filled(16<<20, 512)
	c := channel(t, m)
	p := make([]byte, 4<<20)
	if _, err := c.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, bytes := m.count(); bytes > 8<<20 { // it has guessed
			break
		}
	}
	if err := c.Forget(4<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	clear(m.content[4<<20:])
	m.mu.Unlock()
	if n, err := c.ReadAt(p, 4<<20); n != len(p) || err != nil || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("%d, %v: what was there before", n, err)
	}
}

func TestChannelsLeaveNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("", func(t *testing.T) {
		for range 20 {
			c := channel(t, filled(8<<20, 512))
			if _, err := c.ReadAt(make([]byte, 4<<20), 0); err != nil {
				t.Error(err)
			}
		}
	})
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, where there were %d", n, before)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	good := request{tag: 7, offset: 1 << 40, bytes: 4096}.encode()
	f.Add(good[:], uint64(7))
	f.Fuzz(func(t *testing.T, data []byte, tag uint64) {
		var head [headBytes]byte
		copy(head[:], data)
		r, err := decodeRequest(head, tag)
		if err == nil && (r.encode() != head || r.bytes < 1 || r.bytes > MaxRead) {
			t.Errorf("%x is taken as %+v", head, r)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	to := request{tag: 7, offset: 1 << 40, bytes: 4096}
	for _, p := range []reply{{bytes: 4096}, {status: Unreadable, sense: Sense{3, 0x11, 0}, bytes: 512}, {status: Gone}} {
		head := make([]byte, headBytes)
		p.encode(head, to)
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var head, again [headBytes]byte
		copy(head[:], data)
		p, err := decodeReply(head, to)
		if err != nil {
			return
		}
		if p.encode(again[:], to); again != head || p.bytes > to.bytes || (p.status == Done) != (p.bytes == to.bytes) {
			t.Errorf("%x is taken as %+v", head, p)
		}
	})
}

// Every byte of a request and of a reply matters: flipped, it is refused or says something else.
func TestEveryByteOfAHeadMatters(t *testing.T) {
	r := request{tag: 7, offset: 1 << 40, bytes: 4096}
	good := r.encode()
	var back [headBytes]byte
	reply{status: Unreadable, sense: Sense{3, 0x11, 2}, bytes: 512}.encode(back[:], r)
	want, err := decodeReply(back, r)
	if err != nil {
		t.Fatal(err)
	}
	for i := range headBytes {
		for bit := range 8 {
			head := good
			head[i] ^= 1 << bit
			if got, err := decodeRequest(head, r.tag); err == nil && got == r {
				t.Errorf("bit %d of byte %d of a request does not matter", bit, i)
			}
			head = back
			head[i] ^= 1 << bit
			if got, err := decodeReply(head, r); err == nil && got == want {
				t.Errorf("bit %d of byte %d of a reply does not matter", bit, i)
			}
		}
	}
}

func TestPairIsWhatAJailAllows(t *testing.T) {
	here, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	defer there.Close()
	fd, err := unix.Dup(int(here.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetDeadline(time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := Open(1 << 20); err == nil {
		t.Error("a descriptor that is not there")
	}
}
