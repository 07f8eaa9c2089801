package scanner

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"pratique/scanner/container"
	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/structure"
)

const (
	// cellBytes is the grid on which the first reading of a large item is remembered. Blocks begin and end on it.
	cellBytes = slot.BlockOverlap
	// A rule may look at any part of an item again, and each block that YARA no longer has is read once more. What is
	// read for one item in all is bounded by this many times its size and some blocks.
	maxReadings = 16
	spareBlocks = 64
	// shapeBytes of the beginning are kept for judging the shape: more than any header, and a small part of a buffer.
	shapeBytes = 1 << 20
)

// stream is one item that is larger than the buffer, on its way through it.
type stream struct {
	task   *task
	buffer []byte
	gather *gatherer
	opener *container.Opener

	at, bytes int64 // the range of the content that the buffer holds
	chain     chain // what was hashed, in order, when it was first in the buffer
	hasher    *hasher
	shown     int64 // YARA was given the content up to here, without a hole
	handed    int64 // bytes given to YARA in all
	changed   bool

	head, tail []byte // the beginning and the end of what was hashed
}

// matchStreams has a large item matched, and what shares its content. Rules may ask for a name, so only what has the same
// one takes over what they said; other names cost another reading.
func (s *scan) matchStreams(ctx context.Context, l *lane, tasks []*task) error {
	for i, t := range tasks {
		of := slices.IndexFunc(tasks[:i], func(o *task) bool { return o.scanned && bytes.Equal(o.name(), t.name()) })
		if of >= 0 {
			t.follow(tasks[of])
			continue
		}
		if err := s.matchStream(ctx, l, t, l.slot.buffer, 0); err != nil || s.reason() != "" {
			return err
		}
	}
	return nil
}

// follow takes over what was learned of the same content under the same name.
func (t *task) follow(o *task) {
	t.item.Type, t.item.SHA256, t.identity, t.chain, t.ends = o.item.Type, o.item.SHA256, o.identity, o.chain, o.ends
	for _, f := range o.item.Findings {
		if f.Check == report.CheckYARA || f.Check == report.CheckBlocklist {
			t.item.Findings = append(t.item.Findings, f)
		}
	}
	t.inspect(o.ends[0], o.ends[1])
	t.packed = o.packed
	if executable(o.ends[0]) {
		t.refuse(report.TooLarge)
		return
	}
	t.scanned = true
}

// matchStream has one large item matched block by block. Every byte is hashed from the buffer when it is there for the
// first time. What is read again is compared with that, so that the medium cannot show one thing to the hash and another
// to YARA.
//
// buffer is the part of the slot's buffer that it goes through, and at its beginning.
func (s *scan) matchStream(ctx context.Context, l *lane, t *task, buffer []byte, at int64) error {
	if l.gather.src == nil {
		l.gather.src = s.src
	}
	st := &stream{task: t, opener: s.opener, buffer: buffer, gather: &l.gather, hasher: s.lists.hasher()}
	ok := st.load(0, min(slot.BlockBytes, int64(len(buffer)), t.content.bytes))
	if !s.identify(t, st.buffer[:st.bytes]) || !ok {
		return nil
	}
	if executable(st.buffer[:st.bytes]) {
		t.refuse(report.TooLarge) // still hashed and matched, for its findings
	}
	id := l.slot.number(1)
	lost := l.slot.request(slot.Request{Stream: &slot.Stream{ID: id, Bytes: t.content.bytes, Name: t.name(), Type: t.item.Type}}, s.timeout(0))
	for lost == nil {
		st.hash()
		var a slot.Answer
		if a, lost = l.slot.await(s.timeout(slot.BlockBytes)); lost != nil {
			break
		}
		switch {
		case a.Done != nil && a.Done.ID == id:
			t.take(a.Done)
			st.finish()
			return nil
		case a.Need == nil || !st.allowed(a.Need):
			lost = errNonsense
		case st.handed > maxReadings*t.content.bytes+spareBlocks*slot.BlockBytes:
			lost = errTooOften
		default:
			filled := slot.Filled{Offset: a.Need.Offset, At: at}
			if st.load(a.Need.Offset, a.Need.Bytes) && st.same() {
				filled.Bytes = a.Need.Bytes
				st.shown = max(st.shown, a.Need.Offset+a.Need.Bytes)
			}
			lost = l.slot.request(slot.Request{Filled: &filled}, s.timeout(0))
		}
	}
	outcome, err := l.slot.lose(ctx, lost)
	if errors.Is(lost, errTooOften) {
		outcome = report.TooLarge
	}
	st.finish()
	t.refuse(outcome)
	if err == nil {
		_ = s.died(1) // the next unit sees that the scan is halted
	}
	return err
}

var errTooOften = errors.New("the content was asked for too often")

// allowed reports whether a block may be asked for: on the grid, within the item and the buffer, and not ahead of what was
// asked for before, because a byte is hashed when it is read first, and every byte is to be matched.
func (st *stream) allowed(n *slot.Need) bool {
	size := st.task.content.bytes
	if n.Offset < 0 || n.Bytes <= 0 || n.Bytes > min(slot.BlockBytes, int64(len(st.buffer))) || n.Offset > size-n.Bytes {
		return false
	}
	end := n.Offset + n.Bytes
	return n.Offset%cellBytes == 0 && (end%cellBytes == 0 || end == size) && n.Offset <= st.shown
}

// load brings a range of the content to the beginning of the buffer. What the buffer holds of it is moved, not read.
func (st *stream) load(off, n int64) bool {
	if st.task.content.failed || st.changed {
		return false
	}
	st.handed += n
	keep := int64(0)
	if st.at <= off && off < st.at+st.bytes {
		keep = min(st.at+st.bytes-off, n)
		copy(st.buffer[:keep], st.buffer[off-st.at:])
	}
	st.gather.read(st.task.content.pieces(nil, st.buffer[keep:n], off+keep))
	st.at, st.bytes = off, n
	return !st.task.content.failed
}

// same compares what the buffer holds with what was hashed of it before.
func (st *stream) same() bool {
	for at := st.at; at < min(st.at+st.bytes, st.chain.bytes); at += cellBytes {
		if st.chain.holds(at/cellBytes, st.buffer[at-st.at:min(at-st.at+cellBytes, st.bytes)]) {
			continue
		}
		st.changed = true
		st.task.item.Findings = append(st.task.item.Findings, changes(at))
		return false
	}
	return true
}

// hash hashes what the buffer holds and was not hashed before. Blocks begin and end on the grid, so cells are whole.
func (st *stream) hash() {
	if st.task.content.failed || st.changed || st.chain.bytes >= st.at+st.bytes {
		return
	}
	fresh := st.buffer[st.chain.bytes-st.at : st.bytes]
	st.chain.write(st.hasher, fresh)
	st.keep(fresh)
}

// keep remembers the two ends of what passes through the buffer, for judging the shape of it all.
func (st *stream) keep(fresh []byte) {
	st.head = append(st.head, fresh[:min(len(fresh), shapeBytes-len(st.head))]...)
	if len(fresh) >= structure.TailBytes {
		st.tail = st.tail[:0]
	} else if over := len(st.tail) + len(fresh) - structure.TailBytes; over > 0 {
		st.tail = append(st.tail[:0], st.tail[over:]...)
	}
	st.tail = append(st.tail, fresh[max(0, len(fresh)-structure.TailBytes):]...)
}

// finish settles what became of the item: it was seen only if every byte passed through the buffer and none changed.
func (st *stream) finish() {
	t := st.task
	if t.content.failed {
		t.refuse(t.content.why)
	}
	if st.chain.bytes == t.content.bytes && !st.changed {
		t.identity = structure.Identify(st.head, st.tail, st.chain.bytes)
		t.item.Type = t.identity.Type
		t.inspect(st.head, st.tail)
		kept := st.chain // and not the ends and the buffer beside it
		t.chain = &kept
		t.ends = [2][]byte{st.head, st.tail}
		t.packed = t.item.Kind != report.Member && st.opener.Packed(&container.Content{Size: t.content.bytes, Head: st.head, Tail: st.tail})
	}
	if st.changed || st.shown != t.content.bytes || st.chain.bytes != t.content.bytes {
		t.scanned = false
		return
	}
	st.hasher.finish(&t.item)
}
