package blocks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// serveBytes is the buffer that a server starts with: what a client of this package asks for at once, and the rest of
	// the sectors at both ends.
	serveBytes = headBytes + askBytes + 2*maxSector
	// serveBuffers is one that the medium is read into, and one that its client takes what was read before from.
	serveBuffers = 2
	// maxSector is the largest sector that a medium may have.
	maxSector = 4096
)

// Medium is what Serve reads. An error that is an *Error goes to the client as it is, any other as Failed. ReadAt is only
// asked for whole sectors, one call at a time for each channel.
type Medium interface {
	io.ReaderAt
	Size() int64     // bytes, whole sectors
	SectorSize() int // at most 4096
}

// Serve answers the requests on conn until the client closes it, which is no error, or breaks a rule (ErrProtocol), or ctx
// ends, or until it had to answer that nothing more can be had from the medium, and then returns that as an *Error. While the
// client takes one answer, the medium is read for the next. It does not close conn.
func Serve(ctx context.Context, conn *os.File, m Medium) error {
	if s := m.SectorSize(); s < 1 || s > maxSector || m.Size() < 0 || m.Size()%int64(s) != 0 {
		return fmt.Errorf("blocks: a medium of %d bytes in sectors of %d cannot be served", m.Size(), s)
	}
	stop := context.AfterFunc(ctx, func() { expire(conn) })
	defer stop()
	s := server{conn: conn, medium: m, free: make(chan []byte, serveBuffers), answers: make(chan answered)}
	for range serveBuffers {
		s.free <- nil
	}
	written := make(chan error, 1)
	go func() { written <- s.write() }()
	err := s.read()
	close(s.answers)
	unwritten := <-written
	var said *Error
	switch {
	case errors.As(err, &said): // whether or not the client still heard it
		return err
	case errors.Is(err, ErrProtocol):
		return err
	case unwritten != nil: // which ended the reading, too
		return because(ctx, unwritten)
	case err != nil:
		return because(ctx, err)
	}
	return nil
}

// server is one call of Serve: a reader, which takes requests and reads the medium, and a writer, which sends what was read.
type server struct {
	conn    *os.File
	medium  Medium
	free    chan []byte // buffers that nobody has; nil is one that was not needed so far
	answers chan answered
}

// answered is a reply with its data, and the buffer that they lie in.
type answered struct{ all, buffer []byte }

// read returns nil when the client has closed the channel.
func (s *server) read() error {
	for tag := uint64(1); ; tag++ {
		var head [headBytes]byte
		if _, err := io.ReadFull(s.conn, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		r, err := decodeRequest(head, tag)
		if err != nil {
			return err
		}
		buffer := <-s.free
		if need := headBytes + r.bytes + 2*maxSector; need > max(len(buffer), serveBytes) {
			buffer = make([]byte, headBytes+MaxRead+2*maxSector)
		} else if buffer == nil {
			buffer = make([]byte, serveBytes)
		}
		p, all := answer(s.medium, r, buffer)
		s.answers <- answered{all, buffer}
		if p.status.final() {
			return &Error{Status: p.status}
		}
	}
}

// write sends the answers until there are no more. After one that could not be sent it ends the reading, and sends no other.
func (s *server) write() (failed error) {
	for a := range s.answers {
		if failed == nil {
			if _, failed = s.conn.Write(a.all); failed != nil {
				expire(s.conn)
			}
		}
		s.free <- a.buffer
	}
	return failed
}

// expire ends whatever waits on a channel.
func expire(conn *os.File) { _ = conn.SetDeadline(time.Unix(1, 0)) }

// because prefers why a channel was stopped to how that showed.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("blocks: %w", err)
}

// answer reads the sectors that a request touches and returns the reply, and all of it with its data in buffer.
func answer(m Medium, r request, buffer []byte) (p reply, all []byte) {
	skip := 0
	if size := m.Size(); r.offset < 0 || r.offset > size || int64(r.bytes) > size-r.offset {
		p.status = OutOfRange
	} else {
		sector := int64(m.SectorSize())
		skip = int(r.offset % sector)
		start := r.offset - int64(skip)
		length := (skip + r.bytes + int(sector) - 1) / int(sector) * int(sector)
		n, err := m.ReadAt(buffer[headBytes:headBytes+length], start)
		p.bytes = min(max(min(n, length)-skip, 0), r.bytes)
		var e *Error
		switch {
		case p.bytes == r.bytes:
			// What failed, if anything, is not part of what was asked for.
		case errors.As(err, &e) && e.Status != Done && e.Status <= Failed:
			p.status, p.sense = e.Status, e.Sense
			if e.Status != Unreadable {
				p.sense = Sense{}
			}
		default:
			p.status = Failed
		}
	}
	// The head comes right before the data. What it overwrites are bytes of the first sector that nobody asked for.
	p.encode(buffer[skip:], r)
	return p, buffer[skip : skip+headBytes+p.bytes]
}
