package usbdevice

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Sizes of Bulk-Only Transport 1.0, 5.1 and 5.2.
const (
	wrapperBytes = 31
	statusBytes  = 13
	maxTransfer  = 64 << 20 // no stick is asked for more at once; a larger length is a mistake of ours
)

// The commands that are answered. All of them read.
const (
	testUnitReady   = 0x00
	requestSense    = 0x03
	read6           = 0x08
	inquiry         = 0x12
	modeSense6      = 0x1A
	startStop       = 0x1B
	preventRemoval  = 0x1E
	formatCapacity  = 0x23
	readCapacity10  = 0x25
	read10          = 0x28
	readTOC         = 0x43
	getEvents       = 0x4A
	discInformation = 0x51
	modeSense10     = 0x5A
	read16          = 0x88
	serviceIn16     = 0x9E
	reportLUNs      = 0xA0
	read12          = 0xA8
)

// harmless is a closed list: what is not on it counts as an attempt to change the stick, whether this model knows it or not.
var harmless = []byte{testUnitReady, requestSense, read6, inquiry, modeSense6, formatCapacity, readCapacity10, read10, readTOC, getEvents,
	discInformation, modeSense10, read16, serviceIn16, reportLUNs, read12}

// Command is one SCSI command that the device was sent.
type Command struct {
	LUN    byte
	Block  [16]byte
	Length uint32 // of the data that the host expects
	In     bool   // from the device to the host
	N      int    // which read of blocks it is, from 1; 0 for all else
	LBA    uint64 // of a read
	Blocks uint32 // of a read
	At     time.Time
}

// Opcode returns the command's first byte.
func (c Command) Opcode() byte { return c.Block[0] }

func (c Command) String() string {
	return fmt.Sprintf("SCSI command %02x to LUN %d (% x, %d bytes)", c.Opcode(), c.LUN, c.Block, c.Length)
}

// changes reports whether a command could change the stick. One that sends data out to it always could.
func (c Command) changes() bool {
	return !slices.Contains(harmless, c.Opcode()) || !c.In && c.Length > 0 || c.Opcode() == serviceIn16 && c.Block[1]&0x1F != 0x10
}

// LUN is one logical unit.
type LUN struct {
	Kind       byte   // peripheral type: 0 a disk, 5 a CD
	Blocks     uint64 // how many there are
	BlockBytes uint32 // 512 if zero
	NoMedium   bool

	// Capacity says what READ CAPACITY claims at its n-th call, from 1, if it is not the truth: the last block, and the bytes of
	// one.
	Capacity func(n int) (last uint64, blockBytes uint32)
	// Content fills p with what the n-th read, from 1, shows at a byte offset. The zero content is zeros.
	Content func(n int, p []byte, off int64)

	asked int // calls of READ CAPACITY
}

// blockBytes returns the bytes of a block.
func (l *LUN) blockBytes() uint32 {
	if l.BlockBytes == 0 {
		return 512
	}
	return l.BlockBytes
}

func (l *LUN) capacity() (uint64, uint32) {
	l.asked++
	if l.Capacity != nil {
		return l.Capacity(l.asked)
	}
	return l.Blocks - 1, l.blockBytes()
}

// Fault is what a device does instead of answering a command.
type Fault byte

// The faults.
const (
	None           Fault = iota
	Silent               // neither data nor status, ever
	WrongTag             // the status carries another command's tag
	WrongSignature       // the status is none
	StallAlways          // the endpoint is halted, and again after each recovery
	StallOnce            // the endpoint is halted; after recovery the status says that the command failed
	PhaseError           // the status says that the device lost track
	MediumError          // the status says failed, and the sense data that the block cannot be read
	Short                // half of the data, and a status that says all is well with no residue
	HugeResidue          // a residue that is larger than what was asked for
	Garbage              // 4096 random bytes for everything
)

// Storage is a mass storage device that speaks Bulk-Only Transport.
type Storage struct {
	LUNs []LUN
	// MaxLUN is what GET MAX LUN answers, if it is not the truth.
	MaxLUN func() []byte
	// Fault says how a command goes wrong; nil is an honest device. It is called with the storage locked.
	Fault func(Command) Fault
	// Latency and Rate (bytes in a second) make a slow stick; zero is as fast as the host.
	Latency time.Duration
	Rate    int64
	// MayEject allows START STOP UNIT to eject the medium, which only `pratique eject` asks for.
	MayEject bool
	// OnCommand is told of each command before it is answered, without any lock held.
	OnCommand func(Command)

	mu       sync.Mutex
	wake     chan struct{} // closed and replaced when the queue grows
	queue    []packet
	halted   bool
	endless  bool // the halt comes back after each recovery
	sense    [3]byte
	fresh    bool // the first command was seen
	reads    int
	commands []Command
}

// packet is what one or more transfers to the host are answered with; a transfer never gets bytes of two of them.
type packet struct {
	data   []byte
	status Status
	at     time.Time // not before
}

// Commands returns what the device was sent so far.
func (s *Storage) Commands() []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// maxLUN answers GET MAX LUN.
func (s *Storage) maxLUN() []byte {
	if s.MaxLUN != nil {
		return s.MaxLUN()
	}
	return []byte{byte(len(s.LUNs) - 1)}
}

// reset is the recovery of BOT 5.3.4: what was under way is forgotten.
func (s *Storage) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
}

func (s *Storage) clearHalt(endpoint byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halted = s.endless
	s.notify()
}

func (s *Storage) notify() {
	if s.wake != nil {
		close(s.wake)
	}
	s.wake = make(chan struct{})
}

func (s *Storage) push(p packet) {
	s.queue = append(s.queue, p)
	s.notify()
}

// out takes a command wrapper.
func (s *Storage) out(data []byte) Status {
	if len(data) != wrapperBytes || string(data[:4]) != "USBC" {
		// Data to the device: only a command that writes is followed by some, and it is on record.
		return Stall
	}
	c := Command{LUN: data[13] & 0x0F, Length: binary.LittleEndian.Uint32(data[8:]), In: data[12]&0x80 != 0, At: time.Now()}
	copy(c.Block[:], data[15:])
	s.mu.Lock()
	switch c.Opcode() {
	case read6:
		c.LBA, c.Blocks = uint64(binary.BigEndian.Uint32(c.Block[0:])&0x1FFFFF), uint32(c.Block[4])
	case read10:
		c.LBA, c.Blocks = uint64(binary.BigEndian.Uint32(c.Block[2:])), uint32(binary.BigEndian.Uint16(c.Block[7:]))
	case read12:
		c.LBA, c.Blocks = uint64(binary.BigEndian.Uint32(c.Block[2:])), binary.BigEndian.Uint32(c.Block[6:])
	case read16:
		c.LBA, c.Blocks = binary.BigEndian.Uint64(c.Block[2:]), binary.BigEndian.Uint32(c.Block[10:])
	}
	if slices.Contains([]byte{read6, read10, read12, read16}, c.Opcode()) {
		s.reads++
		c.N = s.reads
	}
	s.commands = append(s.commands, c)
	s.mu.Unlock()
	if s.OnCommand != nil {
		s.OnCommand(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil // a new command ends the one before it
	s.answer(c, data[4:8])
	return Success
}

// answer queues data and status of a command.
func (s *Storage) answer(c Command, tag []byte) {
	fault := None
	if s.Fault != nil {
		fault = s.Fault(c)
	}
	if fault == MediumError {
		s.sense = [3]byte{0x03, 0x11, 0x00}
	}
	var data []byte
	failed := fault == MediumError
	if !failed {
		data, failed = s.reply(c)
	}
	if fault == Garbage {
		data = make([]byte, 4096)
		random := rand.NewChaCha8([32]byte{c.Opcode()})
		random.Read(data)
	}
	data = data[:min(len(data), int(min(c.Length, maxTransfer)))]
	residue := c.Length - uint32(len(data))
	status := make([]byte, statusBytes)
	copy(status, "USBS")
	copy(status[4:], tag)
	if failed {
		status[12] = 1
	}
	switch fault {
	case Silent:
		return
	case StallAlways, StallOnce:
		s.halted, s.endless = true, fault == StallAlways
		data, residue, status[12] = nil, c.Length, 1
	case WrongTag:
		status[4] ^= 0xFF
	case WrongSignature:
		copy(status, "USBX")
	case PhaseError:
		status[12] = 2
	case Short:
		data = data[:len(data)/2]
	case HugeResidue:
		residue = c.Length + 1<<20
	}
	binary.LittleEndian.PutUint32(status[8:], residue)
	at := time.Time{}
	if s.Latency > 0 || s.Rate > 0 {
		at = time.Now().Add(s.Latency)
		if s.Rate > 0 {
			at = at.Add(time.Duration(len(data)) * time.Second / time.Duration(s.Rate))
		}
	}
	switch {
	case len(data) > 0:
		s.push(packet{data, Success, at})
	case c.In && c.Length > 0 && !s.halted:
		s.push(packet{nil, Success, at}) // a packet of no bytes ends the data phase
	}
	s.push(packet{status, Success, at})
}

// in returns the next bytes to the host.
func (s *Storage) in(n int, stop <-chan struct{}) ([]byte, Status) {
	for {
		s.mu.Lock()
		if s.halted {
			s.mu.Unlock()
			return nil, Stall
		}
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wake := s.wake
		var pause <-chan time.Time
		if len(s.queue) > 0 {
			p := s.queue[0]
			if wait := time.Until(p.at); !p.at.IsZero() && wait > 0 {
				pause = time.After(wait)
			} else {
				if len(p.data) > n {
					s.queue[0].data = p.data[n:]
				} else {
					s.queue = s.queue[1:]
				}
				s.mu.Unlock()
				return p.data[:min(len(p.data), n)], p.status
			}
		}
		s.mu.Unlock()
		select {
		case <-stop:
			return nil, IOError
		case <-wake:
		case <-pause:
		}
	}
}
