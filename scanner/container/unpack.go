package container

import (
	"errors"
	"io"
	"slices"

	"pratique/scanner/report"
)

// unpack brings the content of a member into memory, or learns its size. What is wrong with it becomes its outcome.
func (l *layer) unpack(m *Member, it *Item) (*Content, error) {
	if m.At != nil && m.At.Size() > l.opener.inline {
		return l.inPlace(m, it)
	}
	var data, tail []byte
	var size int64
	err := guard(func() error {
		r, err := m.Open()
		if err != nil {
			return err
		}
		data, tail, size, err = l.drain(r, m.Size)
		return err
	})
	var own *fault
	if errors.As(err, &own) {
		return nil, err
	}
	if l.stopped != nil { // a decoder may have wrapped it in words of its own
		err = l.stopped
		if errors.As(err, &own) {
			return nil, err
		}
	}
	var hit *limit
	switch {
	case errors.As(err, &hit):
		it.refuse(hit.outcome, archiveLimit(hit.text))
	case err == nil && m.Size >= 0 && size != m.Size && !m.Unknown:
		it.refuse(report.Malformed, archiveDamaged())
	case err == nil:
	case errors.Is(err, errEncrypted):
		it.refuse(report.Encrypted)
	case errors.Is(err, ErrUnread):
		it.refuse(report.Unreadable)
	default:
		it.refuse(report.Malformed, archiveDamaged())
	}
	it.Size = size
	if size <= int64(len(data)) {
		it.Data = data
		return whole(data), nil
	}
	// More than is kept. What could not be unpacked to its end is not opened: its beginning has been looked at.
	it.Head, it.Tail = data[:min(int64(len(data)), headBytes):headBytes], tail
	if err != nil {
		it.Data, it.Size = data, int64(len(data))
		return nil, nil
	}
	open := m.Open
	it.Stream = func() io.ReaderAt { return l.forward(open, size) }
	it.Head = slices.Clone(it.Head)
	return &Content{Size: size, Head: it.Head, Tail: tail, At: l.forward(open, size)}, nil
}

// inPlace is a large member that lies in the container as it is.
func (l *layer) inPlace(m *Member, it *Item) (*Content, error) {
	it.Size = m.At.Size()
	if err := l.grow(it.Size); err != nil {
		it.refuse(report.TooLarge, archiveLimit(err.Error()))
		return nil, err
	}
	c := &Content{Size: it.Size, Head: make([]byte, min(headBytes, it.Size)), Tail: make([]byte, min(tailBytes, it.Size)), At: m.At}
	for _, end := range []struct {
		b   []byte
		off int64
	}{{c.Head, 0}, {c.Tail, it.Size - int64(len(c.Tail))}} {
		if n, err := m.At.ReadAt(end.b, end.off); n < len(end.b) {
			it.refuse(report.Unreadable)
			return nil, nil
		} else if err != nil && err != io.EOF {
			it.refuse(report.Unreadable)
			return nil, nil
		}
	}
	it.Head, it.Tail = c.Head, c.Tail
	it.Stream = func() io.ReaderAt { return m.At }
	if m.Size >= 0 && m.Size != it.Size {
		it.refuse(report.Malformed, archiveDamaged())
	}
	return c, nil
}

func (it *Item) refuse(o report.Outcome, f ...report.Finding) {
	r := Result{it.Outcome, it.Findings}
	r.refuse(o, f...)
	it.Outcome, it.Findings = r.Outcome, r.Findings
}

// drain reads a stream to its end. data holds the beginning, all if size is no more than its length; tail the end of more.
func (l *layer) drain(r io.Reader, said int64) (data, tail []byte, size int64, err error) {
	const first = 32 << 10
	if data, l.scratch = l.scratch[:0], nil; cap(data) == 0 {
		data = make([]byte, 0, min(max(said+1, 512), first, l.opener.inline))
	}
	last := &lastBytes{}
	chunk := data[:0]
	for empty := 0; ; {
		if size < l.opener.inline {
			if len(data) == cap(data) {
				data = slices.Grow(data, int(min(max(int64(cap(data)), 512), l.opener.inline-int64(len(data)))))
			}
			chunk = data[len(data):min(int64(cap(data)), l.opener.inline)]
		} else {
			if last.buf == nil {
				last.write(data)
				last.room = make([]byte, first)
			}
			chunk = last.room
		}
		n, err := r.Read(chunk)
		if n < 0 || n > len(chunk) {
			return data, nil, size, ErrMalformed
		}
		if size < l.opener.inline {
			data = data[:len(data)+n]
		} else if n > 0 {
			last.write(chunk[:n])
		}
		size += int64(n)
		if spent := errors.Join(l.spend(int64(n)), l.grow(int64(n))); spent != nil {
			return data, nil, size, spent
		}
		if err == io.EOF {
			return data, last.bytes(), size, nil
		}
		if err != nil {
			return data, nil, size, err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty > 100 {
			return data, nil, size, io.ErrNoProgress
		}
	}
}

// ends are the parts of content that are kept of a stream.
func ends(b []byte) (head, tail []byte) {
	return slices.Clone(b[:min(len(b), headBytes)]), slices.Clone(b[max(0, len(b)-tailBytes):])
}

// lastBytes keeps the end of a stream.
type lastBytes struct{ buf, room []byte }

func (l *lastBytes) write(p []byte) {
	if l.buf == nil {
		l.buf = make([]byte, 0, 2*tailBytes)
	}
	p = p[max(0, len(p)-tailBytes):]
	if len(l.buf)+len(p) > cap(l.buf) {
		keep := tailBytes - len(p)
		l.buf = l.buf[:copy(l.buf, l.buf[len(l.buf)-min(keep, len(l.buf)):])]
	}
	l.buf = append(l.buf, p...)
}

func (l *lastBytes) bytes() []byte { return l.buf[max(0, len(l.buf)-tailBytes):] }
