// Package blocks carries the bytes of a medium from the process that holds the device to the process that reads them.
//
// A channel is one connected Unix stream socket for one medium (Pair). The Client is at one end, in scanworker; Serve is at
// the other, in usbreader. The client asks, the server answers in the order in which it was asked. There is one operation,
// to read: nothing that can be said on a channel changes a medium. All numbers are little-endian. A request has 32 bytes:
//
//	 0  4  "PQrq"
//	 4  4  the operation: 1 is read
//	 8  8  a tag, which is one more than that of the request before; the first is 1
//	16  8  the offset on the medium in bytes
//	24  4  how many bytes: 1 to MaxRead
//	28  4  zero
//
// A reply has 32 bytes and then its data:
//
//	 0  4  "PQrp"
//	 4  1  the status: 0 done, 1 unreadable, 2 out of range, 3 timed out, 4 gone, 5 changed, 6 failed
//	 5  3  with status 1 the sense key, the additional sense code and its qualifier (SPC-4, 4.5), else zero
//	 8  8  the request's tag
//	16  8  the request's offset
//	24  4  how many bytes follow: all that were asked for with status 0, fewer with any other
//	28  4  zero
//
// What follows is the beginning of what was asked for, with any status. So "PQrq 1 1 4096 512 0" is answered by
// "PQrp 0 1 4096 512 0" and 512 bytes. After statuses 3 to 6 nothing more can be had, and the server ends the channel: the
// device hangs, was pulled out, is not what it was when the channel was made, or does not work as it must.
//
// Neither side trusts the other. The server's bytes are the medium's, which are hostile anyway; a reply that is not exactly
// as above ends the channel at the client, and every later read fails. A request that is not exactly as above ends it at the
// server. A socket is read and written and nothing else: no descriptor can be passed, since neither side calls recvmsg.
//
// A client may ask for more before it has its answer, and a server reads the medium for the next request while it sends what
// it read for the one before: a medium that is slow never waits for either.
//
// Limits: MaxRead for one request, maxFlight for those of a client on the way, serveBuffers at the server, answerTimeout for
// each answer. A channel serves one client for its life: one that stopped in the middle of an answer leaves the channel
// useless for the next.
package blocks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// MaxRead bounds the buffer that a request can make the server use.
	MaxRead = 4 << 20
	// headBytes is the size of a request, and of a reply without its data.
	headBytes = 32
	// opRead is the one operation.
	opRead = 1
)

var (
	requestMagic = [4]byte{'P', 'Q', 'r', 'q'}
	replyMagic   = [4]byte{'P', 'Q', 'r', 'p'}
)

// Status is how a read ended.
type Status uint8

// The statuses.
const (
	Done       Status = 0 // everything was read
	Unreadable Status = 1 // a place on the medium gives an error; others may be readable
	OutOfRange Status = 2 // not on the medium
	TimedOut   Status = 3 // the device did not answer
	Gone       Status = 4 // the device was pulled out, or the channel ended
	Changed    Status = 5 // the device says that its medium is another, or its size
	Failed     Status = 6 // the device, or whoever reads it, does not work as it must
)

var statusWords = [...]string{"done", "unreadable", "out of range", "timed out", "gone", "changed", "failed"}

// String returns the word for a status.
func (s Status) String() string {
	if int(s) < len(statusWords) {
		return statusWords[s]
	}
	return "unknown"
}

// Sense is why a place cannot be read, in the words of SCSI (SPC-4, 4.5).
type Sense struct{ Key, Code, Qualifier uint8 }

// Error is a read that did not end as Done. It says what was learned of the medium, in the terms of a reply.
type Error struct {
	Status Status
	Sense  Sense // only with Unreadable
}

func (e *Error) Error() string {
	if e.Status == Unreadable {
		return fmt.Sprintf("the medium is unreadable here (sense %x/%02x/%02x)", e.Sense.Key, e.Sense.Code, e.Sense.Qualifier)
	}
	return "the medium could not be read: " + e.Status.String()
}

// final reports whether no later read can do better.
func (e *Error) final() bool { return e.Status.final() }

func (s Status) final() bool { return s > OutOfRange }

// ErrProtocol says that the other side broke the rules of the channel.
var ErrProtocol = errors.New("blocks: the other side broke the rules of the channel")

type request struct {
	tag    uint64
	offset int64
	bytes  int
}

func (r request) encode() (head [headBytes]byte) {
	copy(head[:], requestMagic[:])
	le := binary.LittleEndian
	le.PutUint32(head[4:], opRead)
	le.PutUint64(head[8:], r.tag)
	le.PutUint64(head[16:], uint64(r.offset))
	le.PutUint32(head[24:], uint32(r.bytes))
	return head
}

// decodeRequest takes a request with the tag that is next. Whether it lies on the medium is for a status to say.
func decodeRequest(head [headBytes]byte, tag uint64) (request, error) {
	le := binary.LittleEndian
	r := request{tag: le.Uint64(head[8:]), offset: int64(le.Uint64(head[16:]))}
	n := le.Uint32(head[24:])
	if !bytes.Equal(head[:4], requestMagic[:]) || le.Uint32(head[4:]) != opRead || r.tag != tag || n == 0 || n > MaxRead || le.Uint32(head[28:]) != 0 {
		return request{}, ErrProtocol
	}
	r.bytes = int(n)
	return r, nil
}

type reply struct {
	status Status
	sense  Sense
	bytes  int
}

func (p reply) encode(head []byte, to request) {
	clear(head[:headBytes])
	copy(head, replyMagic[:])
	head[4], head[5], head[6], head[7] = byte(p.status), p.sense.Key, p.sense.Code, p.sense.Qualifier
	le := binary.LittleEndian
	le.PutUint64(head[8:], to.tag)
	le.PutUint64(head[16:], uint64(to.offset))
	le.PutUint32(head[24:], uint32(p.bytes))
}

// decodeReply takes the reply to a request, and no other.
func decodeReply(head [headBytes]byte, to request) (reply, error) {
	le := binary.LittleEndian
	p := reply{status: Status(head[4]), sense: Sense{head[5], head[6], head[7]}}
	n := le.Uint32(head[24:])
	switch {
	case !bytes.Equal(head[:4], replyMagic[:]), le.Uint64(head[8:]) != to.tag, le.Uint64(head[16:]) != uint64(to.offset), le.Uint32(head[28:]) != 0,
		p.status > Failed, p.status != Unreadable && p.sense != Sense{},
		n > uint32(to.bytes), (p.status == Done) != (n == uint32(to.bytes)):
		return reply{}, ErrProtocol
	}
	p.bytes = int(n)
	return p, nil
}

// Pair makes a channel. Both ends can be given deadlines as long as they stay in this process; the one that is handed to
// another is set up there (Open).
func Pair() (client, server *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("blocks: make a channel: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "blocks"), os.NewFile(uintptr(fds[1]), "blocks"), nil
}

// Open takes over a donated descriptor that is one end of a channel. It makes a call that a jail forbids, so it comes before;
// that the socket is of the right kind and connected is the jail's to check (package sandbox).
func Open(fd int) (*os.File, error) {
	// Before os.NewFile looks: only then does the runtime's poller wait for it, and reads have deadlines.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("blocks: descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(fd), "blocks"), nil
}

// ended is what the end of a stream means in the middle of something.
func ended(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
