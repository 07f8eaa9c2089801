package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pratique/rules/yara"
	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
	"pratique/scanner/slot"
)

// maxBuffer bounds a slot's buffer, whose size comes from the supervisor.
const maxBuffer = 1 << 30

// errProtocol says that scanworker broke the agreement. Nothing that follows can be believed.
var errProtocol = errors.New("a request breaks its rules")

func scan() int {
	compiled, err := mapRules(donated(3, "rules"))
	if err != nil {
		return fail(slot.ExitDonation, "%v", err)
	}
	buffer, err := mapBuffer(donated(4, "buffer"))
	if err != nil {
		return fail(slot.ExitDonation, "%v", err)
	}
	if !enter(sandbox.YARAWorker) {
		return sandbox.ExitSandbox
	}
	rules, err := yara.Load(compiled)
	if err != nil {
		return fail(slot.ExitDonation, "%v", err)
	}
	if err := unix.Munmap(compiled); err != nil {
		return fail(exitFailed, "%v", err)
	}
	scanner, err := yara.NewScanner(rules)
	if err != nil {
		return fail(exitFailed, "%v", err)
	}
	m := matcher{
		buffer: buffer, scanner: scanner,
		requests: frame.NewReader(donated(5, "requests")), answers: frame.NewWriter(donated(6, "answers")),
	}
	if err := m.answer(slot.Answer{Ready: &slot.Ready{Rules: rules.Count()}}); err != nil {
		return fail(slot.ExitProtocol, "%v", err)
	}
	for {
		var request slot.Request
		if err := m.requests.Next(&request); err != nil {
			return ended(err)
		}
		if err := m.serve(request); err != nil {
			return fail(slot.ExitProtocol, "%v", err)
		}
	}
}

// maxRules bounds what compiled rules may be; the largest public set has 16 MB.
const maxRules = 1 << 30

// mapRules maps compiled rules, which libyara then loads in the jail: it does not check what it loads. Rules that could
// still be changed are refused.
func mapRules(f *os.File) ([]byte, error) {
	defer f.Close()
	if err := wantSeals(f, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		return nil, fmt.Errorf("compiled rules: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("compiled rules: %w", err)
	}
	size := info.Size()
	if size <= 0 || size > maxRules {
		return nil, fmt.Errorf("compiled rules: there are %d bytes", size)
	}
	compiled, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("compiled rules: %w", err)
	}
	return compiled, nil
}

// mapBuffer maps the slot's buffer for reading, once it is sure that nobody here could map it for writing.
func mapBuffer(f *os.File) ([]byte, error) {
	defer f.Close()
	if err := wantSeals(f, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		return nil, fmt.Errorf("buffer: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("buffer: %w", err)
	}
	size := info.Size()
	if size < slot.BlockBytes || size > maxBuffer {
		return nil, fmt.Errorf("buffer: has %d bytes", size)
	}
	if _, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		return nil, errors.New("buffer: it could be mapped for writing")
	}
	buffer, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("buffer: %w", err)
	}
	return buffer, nil
}

func wantSeals(f *os.File, want int) error {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return err
	}
	if seals&want != want {
		return errors.New("it is not sealed")
	}
	return nil
}

// matcher serves the requests of one slot, in order.
type matcher struct {
	buffer   []byte
	scanner  *yara.Scanner
	requests *frame.Reader
	answers  *frame.Writer
}

func (m *matcher) answer(a slot.Answer) error {
	if err := m.answers.Write(a); err != nil {
		return err
	}
	return m.answers.Flush()
}

// serve answers one request. An error ends the process: what is not answered is unscanned.
func (m *matcher) serve(r slot.Request) error {
	switch {
	case r.Filled != nil, r.Stream != nil && len(r.Batch) > 0, r.Stream == nil && len(r.Batch) == 0:
		return errProtocol
	case r.Stream != nil:
		return m.stream(r.Stream)
	}
	if len(r.Batch) > slot.MaxPieces {
		return errProtocol
	}
	for _, p := range r.Batch {
		size := int64(len(m.buffer))
		if p.Offset < 0 || p.Bytes < 0 || p.Offset > size || p.Bytes > size-p.Offset || len(p.Name) > slot.MaxName {
			return errProtocol
		}
	}
	for _, p := range r.Batch {
		matches, err := m.scanner.ScanMem(m.buffer[p.Offset:p.Offset+p.Bytes], yara.Vars{Name: string(p.Name), Type: p.Type})
		// One by one, so that a death at the next item leaves this one answered.
		if err := m.done(p.ID, matches, err); err != nil {
			return err
		}
	}
	return nil
}

// stream matches one item that comes through the buffer block by block.
func (m *matcher) stream(s *slot.Stream) error {
	if s.Bytes < 0 || len(s.Name) > slot.MaxName {
		return errProtocol
	}
	matches, _, err := m.scanner.ScanBlocks(s.Bytes, m.fetch, yara.Vars{Name: string(s.Name), Type: s.Type})
	if errors.Is(err, errProtocol) {
		return err
	}
	return m.done(s.ID, matches, err)
}

// errUnread says that scanworker could not read a block.
var errUnread = errors.New("a block could not be read")

// fetch asks scanworker for a block and copies it to libyara's memory.
func (m *matcher) fetch(buf []byte, offset int64) error {
	if err := m.answer(slot.Answer{Need: &slot.Need{Offset: offset, Bytes: int64(len(buf))}}); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	var r slot.Request
	if err := m.requests.Next(&r); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	switch f := r.Filled; {
	case f == nil, r.Stream != nil, len(r.Batch) > 0, f.Offset != offset:
		return errProtocol
	case f.Bytes == 0:
		return errUnread
	case f.Bytes != int64(len(buf)), f.At < 0, f.At > int64(len(m.buffer))-f.Bytes:
		return errProtocol
	}
	copy(buf, m.buffer[r.Filled.At:])
	return nil
}

func (m *matcher) done(id uint64, matches []slot.Match, err error) error {
	d := slot.Done{ID: id, Scanned: err == nil}
	if err == nil {
		d.Matches = matches
	}
	return m.answer(slot.Answer{Done: &d})
}
