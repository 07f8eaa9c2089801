package bot

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
)

// reading is every command that may ever be sent, by opcode.
var reading = map[byte]bool{0x00: true, 0x03: true, 0x12: true, 0x25: true, 0x28: true, 0x88: true, 0x9E: true}

// stick is a device in software. The fields that are functions make it hostile; nil is honest.
type stick struct {
	units   []*disc
	maxLUN  byte
	noLUN   bool // GET MAX LUN stalls
	silent  bool // nothing is answered any more
	gone    bool
	forbids []string // what was sent that may never be

	data     func(c sent, data []byte) []byte             // what is sent instead
	status   func(c sent, s []byte) []byte                // the status wrapper
	before   func(c sent) error                           // instead of taking a wrapper
	stalls   func(c sent) (data, status int)              // how often each stage stalls
	requests func(r request) error                        // of the control endpoint
	answers  map[byte]func(c sent) (data []byte, ok bool) // of one command, by opcode

	queue    []stage
	commands int
	resets   int
}

type stage struct {
	bytes []byte
	err   error
}

// sent is a command as it arrived.
type sent struct {
	op     byte
	lun    byte
	tag    uint32
	wanted int
	first  uint64
	count  int
	nth    int // of all commands
}

type disc struct {
	content []byte
	sector  int
	none    bool // no medium
	sense   [3]byte
	next    [][3]byte // senses that come first, one for each command but INQUIRY
	bad     map[uint64]bool
	kind    byte
	failed  int
}

func newStick(discs ...*disc) *stick {
	return &stick{units: discs, maxLUN: byte(len(discs) - 1)}
}

func disk512(n int) *disc {
	d := &disc{content: make([]byte, n*512), sector: 512, bad: map[uint64]bool{}}
	for i := range d.content {
		d.content[i] = byte(i ^ i>>9 ^ i>>17)
	}
	return d
}

func (s *stick) link() link { return link{out: s.out, in: s.in, control: s.control} }

func (s *stick) wait(ctx context.Context) error {
	if s.gone {
		return errGone
	}
	if s.silent {
		<-ctx.Done()
		return errSilent
	}
	return ctx.Err()
}

func (s *stick) control(r request) (byte, error) {
	if s.gone {
		return 0, errGone
	}
	if s.silent {
		time.Sleep(controlTimeout)
		return 0, errSilent
	}
	if s.requests != nil {
		if err := s.requests(r); err != nil {
			return 0, err
		}
	}
	switch r {
	case getMaxLUN:
		if s.noLUN {
			return 0, errStall
		}
		return s.maxLUN, nil
	case resetBulk:
		s.resets++
		s.queue = nil
	}
	return 0, nil
}

func (s *stick) forbid(format string, args ...any) {
	s.forbids = append(s.forbids, fmt.Sprintf(format, args...))
}

func (s *stick) out(ctx context.Context, w *[wrapperBytes]byte) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	le, be := binary.LittleEndian, binary.BigEndian
	c := sent{op: w[15], lun: w[13], tag: le.Uint32(w[4:]), wanted: int(le.Uint32(w[8:])), nth: s.commands}
	s.commands++
	if le.Uint32(w[0:]) != wrapperSign || w[12] != toHost || !reading[c.op] || c.op == 0x9E && w[16]&0x1F != 0x10 {
		s.forbid("%x", *w)
	}
	if s.before != nil {
		if err := s.before(c); err != nil {
			return err
		}
	}
	switch c.op {
	case 0x28:
		c.first, c.count = uint64(be.Uint32(w[17:])), int(be.Uint16(w[22:]))
	case 0x88:
		c.first, c.count = be.Uint64(w[17:]), int(be.Uint32(w[25:]))
	}
	data, ok := s.carryOut(c)
	if f := s.answers[c.op]; f != nil {
		data, ok = f(c)
	}
	if s.data != nil {
		data = s.data(c, data)
	}
	status := make([]byte, statusBytes)
	le.PutUint32(status[0:], statusSign)
	le.PutUint32(status[4:], c.tag)
	le.PutUint32(status[8:], uint32(max(c.wanted-len(data), 0)))
	if !ok {
		status[12] = 1
	}
	if s.status != nil {
		status = s.status(c, status)
	}
	dataStalls, statusStalls := 0, 0
	if s.stalls != nil {
		dataStalls, statusStalls = s.stalls(c)
	}
	s.queue = nil
	for range dataStalls {
		s.queue = append(s.queue, stage{err: errStall})
	}
	if c.wanted > 0 && dataStalls == 0 {
		s.queue = append(s.queue, stage{bytes: data})
	}
	for range statusStalls {
		s.queue = append(s.queue, stage{err: errStall})
	}
	s.queue = append(s.queue, stage{bytes: status})
	return nil
}

func (s *stick) in(ctx context.Context, p []byte) (int, error) {
	if err := s.wait(ctx); err != nil {
		return 0, err
	}
	if len(s.queue) == 0 { // it has nothing to say: it NAKs
		<-ctx.Done()
		return 0, errSilent
	}
	next := s.queue[0]
	s.queue = s.queue[1:]
	if next.err == nil && len(next.bytes) > len(p) { // babble
		return copy(p, next.bytes), errLink
	}
	return copy(p, next.bytes), next.err
}

// carryOut is what an honest device answers.
func (s *stick) carryOut(c sent) (data []byte, ok bool) {
	be := binary.BigEndian
	if int(c.lun) >= len(s.units) {
		return nil, false
	}
	d := s.units[c.lun]
	switch c.op {
	case 0x12:
		data = make([]byte, inquiryBytes)
		data[0], data[1] = d.kind, 0x80
		copy(data[8:], "ACME    Flash Disk      1.00")
		return data, true
	case 0x03:
		data = make([]byte, senseBytes)
		data[0], data[2], data[12], data[13] = 0x70, d.sense[0], d.sense[1], d.sense[2]
		d.sense = [3]byte{}
		return data, true
	}
	if d.none {
		d.next = [][3]byte{{2, 0x3A, 0}}
	}
	if len(d.next) > 0 {
		d.sense, d.next = d.next[0], d.next[1:]
		return nil, false
	}
	last := uint64(len(d.content)/max(d.sector, 1)) - 1
	switch c.op {
	case 0x00:
		return nil, true
	case 0x25:
		data = make([]byte, capacity10Bytes)
		be.PutUint32(data, uint32(min(last, 1<<32-1)))
		be.PutUint32(data[4:], uint32(d.sector))
		return data, true
	case 0x9E:
		data = make([]byte, capacity16Bytes)
		be.PutUint64(data, last)
		be.PutUint32(data[8:], uint32(d.sector))
		return data, true
	case 0x28, 0x88:
		if c.first+uint64(c.count) > last+1 {
			d.sense = [3]byte{5, 0x21, 0}
			return nil, false
		}
		for i := range uint64(c.count) {
			if d.bad[c.first+i] {
				d.sense = [3]byte{3, 0x11, 0}
				d.failed++
				return nil, false
			}
		}
		return d.content[int(c.first)*d.sector:][:c.count*d.sector], true
	}
	return nil, false
}

// met returns the device after it was asked what it has.
func met(s *stick) (*Device, error) {
	d := &Device{link: s.link()}
	err := d.probe(context.Background())
	return d, err
}

// statusOf is the status of an error of a read.
func statusOf(err error) blocks.Status {
	if err == nil {
		return blocks.Done
	}
	e, ok := err.(*blocks.Error)
	if !ok {
		return 99
	}
	return e.Status
}

var _ blocks.Medium = (*Unit)(nil)

var good = lun.Good
