package scanner

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"pratique/scanner/container"
	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/structure"
	"pratique/scanner/volume"
)

// What is packed in a file goes through the same line as the file: its hash against the lists, its bytes through YARA, its
// shape through package structure. One file is opened at a time, the one whose turn it is to be sent: so the limits of package
// container hold for the medium as a whole, the order of members depends on nothing but the medium, and the memory for
// unpacking is needed once, however many slots there are. While a yaraworker matches some members, the next are unpacked.
// Members are sent before the file that they are in, each behind the ones that it holds itself.

const (
	// memberBanks are the parts of a unit's place in the slot's buffer that members take by turns.
	memberBanks = 2
	// lookedAt is how much of a large item is kept in memory when it is read again to be opened.
	lookedAt = 16
)

// packed reports whether a task is to be opened. Nobody opens what is in no file.
func (s *scan) packed(t *task) bool {
	return t.read && t.item.Kind != report.Area && t.item.Type != "" && !t.content.failed && t.packed
}

// contentOf is a task's content as package container wants it: what lies in the buffer, or the ends of a stream.
func (t *task) contentOf(buffer []byte) *container.Content {
	if t.chain != nil {
		return &container.Content{Size: t.content.bytes, Head: t.ends[0], Tail: t.ends[1]}
	}
	return &container.Content{Size: t.content.bytes, Head: buffer[t.offset : t.offset+t.content.bytes]}
}

// openPacked opens what is packed among the tasks of a unit, when it is the unit's turn to be sent. It returns an error only
// if the scan has to end.
func (s *scan) openPacked(ctx context.Context, l *lane, u *unit) error {
	var files []*task
	for _, t := range u.tasks {
		switch of := len(files) - 1; {
		case !s.packed(t):
		case of >= 0 && files[of].shares(t): // the same content under another name is opened once
			files[of].names = append(files[of].names, t)
		default:
			files = append(files, t)
		}
	}
	if len(files) == 0 {
		return nil
	}
	select {
	case <-u.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.gather.src == nil {
		l.gather.src = s.src
	}
	// The members need the place in the buffer, where the files lie.
	contents := make([]*container.Content, len(files))
	for i, t := range files {
		if c := t.contentOf(l.slot.buffer); t.chain != nil {
			c.At = &reread{task: t, gather: &l.gather}
			contents[i] = c
		} else {
			contents[i] = &container.Content{Size: c.Size, Head: bytes.Clone(c.Head)}
		}
	}
	return s.openFiles(ctx, l, u, files, contents)
}

// openFiles opens files one after the other: this goroutine matches, another unpacks.
func (s *scan) openFiles(ctx context.Context, l *lane, u *unit, files []*task, contents []*container.Content) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &unpacking{scan: s, ctx: ctx, buffer: l.slot.buffer, at: u.start(s.job.SlotBytes), size: u.room(s.job.SlotBytes),
		full: make(chan *bank), free: make(chan *bank, memberBanks)}
	for i := range int64(memberBanks) {
		size := m.size / memberBanks / pieceAlign * pieceAlign
		m.free <- &bank{at: m.at + i*size, size: size}
	}
	results := make([]container.Result, len(files))
	var failed error
	var unpacker sync.WaitGroup
	unpacker.Go(func() {
		defer close(m.full)
		for i, c := range contents {
			m.file, contents[i] = files[i], nil
			if results[i], failed = s.opener.Open(ctx, c, string(files[i].name()), m); failed != nil {
				return
			}
			if r, ok := c.At.(*reread); ok && r.changed {
				results[i].Findings = append(results[i].Findings, changes(r.at))
			}
		}
		failed = m.flush()
	})
	var err error
	for b := range m.full {
		if err == nil {
			if err = s.matchMembers(ctx, l, u, b); err != nil {
				cancel(err)
			}
		}
		if s.reason() != "" {
			cancel(errHalted)
		}
		m.release(b)
	}
	unpacker.Wait()
	switch {
	case err != nil:
		return err
	case errors.Is(failed, errHalted):
		return nil
	case failed != nil:
		return failed
	}
	for i, file := range files {
		for _, t := range append([]*task{file}, file.names...) {
			t.item.Findings = append(t.item.Findings, results[i].Findings...)
			if results[i].Outcome != report.Unscanned {
				t.refuse(results[i].Outcome)
			}
			t.notable = file.notable
		}
		file.names = nil
	}
	return nil
}

// matchMembers has the members in a bank matched, and sends those that are done with.
func (s *scan) matchMembers(ctx context.Context, l *lane, u *unit, b *bank) error {
	var err error
	switch {
	case b.stream != nil:
		b.stream.content.open()
		err = s.matchStream(ctx, l, b.stream, l.slot.buffer[b.at:b.at+b.size], b.at)
		b.stream.content.close()
	case len(b.tasks) > 0:
		err = s.matchPieces(ctx, l, b.tasks, func() { s.judge(l.slot.buffer, b.tasks) })
	}
	if err != nil || s.reason() != "" {
		return err
	}
	for _, t := range b.done {
		t.item.Findings = append(t.item.Findings, t.opened.Findings...)
		if t.opened.Outcome != report.Unscanned {
			t.refuse(t.opened.Outcome)
		}
		t.passive()
		conclude(&t.item, t.scanned)
		t.file.notable = t.file.notable || len(t.item.Findings) > 0 || t.identity.Runs()
	}
	var out []*task
	for _, t := range b.done {
		out = append(out, t)
		for _, name := range t.file.names {
			again := *t
			again.item.Volume, again.item.Path, again.item.Findings = name.item.Volume, name.item.Path, slices.Clone(t.item.Findings)
			again.file = nil
			out = append(out, &again)
		}
		t.file = nil
	}
	if len(out) == 0 {
		return nil
	}
	select {
	case u.members <- out:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bank is a part of the buffer with the members in it, and the members whose own members have all been seen since.
type bank struct {
	at, size int64
	used     int64
	text     int
	tasks    []*task
	stream   *task
	done     []*task
}

// unpacking takes the members of a unit's files from package container and puts them into banks. It belongs to the goroutine that
// unpacks.
type unpacking struct {
	scan       *scan
	ctx        context.Context // of this unit: the unpacker calls back without one
	file       *task           // that is open
	buffer     []byte
	at, size   int64 // of the unit's place in the buffer
	full, free chan *bank
	bank       *bank
	open       []*task // members that are not done, outermost first
}

// take waits for an empty bank.
func (m *unpacking) take() (*bank, error) {
	if m.bank != nil {
		return m.bank, nil
	}
	select {
	case m.bank = <-m.free:
		return m.bank, nil
	case <-m.ctx.Done():
		return nil, context.Cause(m.ctx)
	}
}

// flush hands the bank over to be matched.
func (m *unpacking) flush() error {
	b := m.bank
	if b == nil {
		return nil
	}
	m.bank = nil
	select {
	case m.full <- b:
		return nil
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	}
}

// release takes a bank back, empty. A bank that had the place of all of them is as many again.
func (m *unpacking) release(b *bank) {
	parts := int64(1)
	if b.size == m.size {
		parts = memberBanks
	}
	for i := range parts {
		size := m.size / memberBanks / pieceAlign * pieceAlign
		at := b.at
		if parts > 1 {
			at = m.at + i*size
		}
		m.free <- &bank{at: at, size: size} // there is room: no more banks exist than that
	}
}

// takeAll waits until all banks are empty and returns one with the place of all.
func (m *unpacking) takeAll() (*bank, error) {
	if err := m.flush(); err != nil {
		return nil, err
	}
	for range memberBanks {
		select {
		case <-m.free:
		case <-m.ctx.Done():
			return nil, context.Cause(m.ctx)
		}
	}
	m.bank = &bank{at: m.at, size: m.size}
	return m.bank, nil
}

// Member implements container.Sink.
func (m *unpacking) Member(it *container.Item) error {
	t := &task{file: m.file, item: report.Item{Volume: m.file.item.Volume, Path: m.file.item.Path, Member: it.Path, Kind: report.Member, Size: it.Size}}
	for part := range strings.SplitSeq(it.Path[strings.LastIndex(it.Path, "//")+1:], "/") {
		t.item.Findings = append(t.item.Findings, volume.NameFindings(part)...)
	}
	m.open = append(m.open, t)
	need := int64(len(it.Data))
	switch {
	case it.Stream != nil:
		b, err := m.takeAll()
		if err != nil {
			return err
		}
		t.read, t.part = true, it.Part
		t.content.bytes, t.content.decode = it.Size, it.Stream
		b.stream = t
		if err := m.flush(); err != nil {
			return err
		}
		_, err = m.takeAll() // when it was matched: it is read by way of what the unpacker reads, too
		return err
	case it.Data == nil && it.Outcome != report.Unscanned:
		return nil // nobody can see it
	}
	b, err := m.take()
	if err == nil && (b.used > 0 && b.used+need > b.size || len(b.tasks) == slot.MaxPieces) {
		if err = m.flush(); err == nil {
			b, err = m.take()
		}
	}
	if err == nil && need > b.size {
		b, err = m.takeAll()
	}
	if err != nil {
		return err
	}
	t.read, t.part = true, it.Part
	t.offset, t.content.bytes = b.at+b.used, need
	copy(m.buffer[t.offset:t.offset+need], it.Data)
	if !m.scan.identify(t, m.buffer[t.offset:t.offset+need]) {
		return nil
	}
	b.used += (need + pieceAlign - 1) / pieceAlign * pieceAlign
	b.tasks = append(b.tasks, t)
	return nil
}

// Done implements container.Sink.
func (m *unpacking) Done(it *container.Item) error {
	t := m.open[len(m.open)-1]
	m.open = m.open[:len(m.open)-1]
	t.opened = container.Result{Outcome: it.Outcome, Findings: it.Findings}
	b, err := m.take()
	if err != nil {
		return err
	}
	b.done = append(b.done, t)
	const findings = 1 << 10 // a guess: they are being added by the one who matches
	if b.text += len(t.item.Path) + len(it.Path) + findings; b.text > unitText || len(b.done) >= orderUnits {
		return m.flush()
	}
	return nil
}

// start and room are a unit's place in the slot's buffer.
func (u *unit) start(slotBytes int64) int64 {
	if u.halves[0] {
		return 0
	}
	return slotBytes / 2
}

func (u *unit) room(slotBytes int64) int64 {
	if u.halves[0] && u.halves[1] {
		return slotBytes
	}
	return slotBytes / 2
}

// reread reads a large item from the medium once more, to open it. Each cell is held against what was hashed, so that the
// medium cannot show the unpacker other bytes than the rules.
type reread struct {
	task   *task
	gather *gatherer
	cells  [lookedAt]struct {
		number int64
		data   []byte
	}
	changed bool
	at      int64 // where the medium changed
	content *content
}

// ReadAt follows io.ReaderAt.
func (r *reread) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off >= r.task.content.bytes {
			return n, io.EOF
		}
		cell, err := r.cell(off / cellBytes)
		if err != nil {
			return n, err
		}
		k := copy(p[n:], cell[off%cellBytes:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

func (r *reread) cell(number int64) ([]byte, error) {
	slot := &r.cells[number%lookedAt]
	if slot.data != nil && slot.number == number {
		return slot.data, nil
	}
	if r.content == nil {
		c := r.task.content
		r.content = &c
		r.content.open()
	}
	if cap(slot.data) == 0 {
		slot.data = make([]byte, cellBytes)
	}
	at := number * cellBytes
	cell := slot.data[:min(cellBytes, r.task.content.bytes-at)]
	slot.data = nil
	r.gather.read(r.content.pieces(nil, cell, at))
	if r.content.failed {
		return nil, container.ErrUnread
	}
	if !r.task.chain.holds(number, cell) {
		r.changed, r.at = true, at
		return nil, container.ErrUnread
	}
	slot.number, slot.data = number, cell
	return cell, nil
}

// passive gives a part of a document that does nothing by itself the type of such parts: no equipment class lists the types
// of what documents are made of.
func (t *task) passive() bool {
	if t.part && t.identity.Passive() {
		t.item.Type = structure.PartType
		return true
	}
	return false
}
