package container

import (
	"io"
)

// solid is a stream in which several members lie one behind the other, packed as one. Members are opened in the order in
// which they lie, so that it is unpacked once; whoever looks back has it unpacked anew, and what is passed over is counted.
type solid struct {
	walk *walk
	open func() (io.Reader, error)
	r    io.Reader
	at   int64
}

// member returns what opens the member at a place.
func (s *solid) member(at, size int64) func() (io.Reader, error) {
	return func() (io.Reader, error) { return &solidPart{s, at, at + size}, nil }
}

type solidPart struct {
	s       *solid
	at, end int64
}

func (p *solidPart) Read(b []byte) (int, error) {
	s := p.s
	if p.at >= p.end {
		return 0, io.EOF
	}
	if s.r == nil || s.at > p.at {
		s.r, s.at = nil, 0
		r, err := s.open()
		if err != nil {
			return 0, err
		}
		s.r = r
	}
	var room []byte
	for s.at < p.at { // over what lies before
		if room == nil {
			room = make([]byte, 32<<10)
		}
		n, err := s.r.Read(room[:min(int64(len(room)), p.at-s.at)])
		s.at += int64(n)
		if spent := s.walk.spend(int64(n)); spent != nil {
			return 0, spent
		}
		if err != nil {
			s.r = nil
			return 0, early(err)
		}
	}
	n, err := s.r.Read(b[:min(int64(len(b)), p.end-p.at)])
	s.at += int64(n)
	p.at += int64(n)
	if err != nil {
		s.r = nil
		if err != io.EOF || p.at < p.end {
			return n, early(err)
		}
	}
	return n, nil
}

// early is the error of a stream that ends before it should.
func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
