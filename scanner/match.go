package scanner

import (
	"context"
	"errors"
	"time"

	"pratique/scanner/container"
	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/structure"
)

// match has a unit matched by the slot's yaraworker, and hashes and inspects the same buffer meanwhile. It returns an error only if the
// scan has to end.
func (s *scan) match(ctx context.Context, l *lane, u *unit) error {
	if err := s.died(l.slot.idle()); err != nil {
		return nil // halted: what is in the unit stays unscanned
	}
	if u.stream {
		return s.matchStreams(ctx, l, u.tasks)
	}
	var pending []*task
	for _, t := range u.tasks {
		if t.read && s.identify(t, l.slot.buffer[t.offset:t.offset+t.content.bytes]) {
			pending = append(pending, t)
		}
	}
	return s.matchPieces(ctx, l, pending, func() { s.judge(l.slot.buffer, pending) })
}

// matchPieces has tasks matched that lie in the slot's buffer. meanwhile is called once, when the yaraworker is at work.
func (s *scan) matchPieces(ctx context.Context, l *lane, pending []*task, meanwhile func()) error {
	judged, alone := false, false
	for len(pending) > 0 {
		now := pending
		if alone {
			now = pending[:1]
		}
		base := l.slot.number(len(now))
		lost := l.slot.request(batch(now, base), s.timeout(batchBytes))
		if !judged {
			meanwhile()
			judged = true
		}
		var done int
		if lost == nil {
			done, lost = s.answers(l, now, base)
			pending = pending[done:]
		}
		if lost == nil {
			continue
		}
		outcome, err := l.slot.lose(ctx, lost)
		if err != nil {
			return err
		}
		if errors.Is(lost, errRestarted) && len(now)-done > 1 {
			// It died, and answers that it had given may have gone with the pipe. So nobody knows which item it was, and
			// each gets another chance by itself.
			alone = true
		} else {
			pending[0].refuse(outcome)
			pending = pending[1:]
		}
		if s.died(1) != nil {
			return nil
		}
	}
	return nil
}

// batch is the request for some tasks, numbered from base.
func batch(tasks []*task, base uint64) slot.Request {
	var r slot.Request
	for i, t := range tasks {
		r.Batch = append(r.Batch, slot.Piece{ID: base + uint64(i), Offset: t.offset, Bytes: t.content.bytes, Name: t.name(), Type: t.item.Type})
	}
	return r
}

// answers takes the answers for pending, which must come in order. It returns how many tasks were answered; less than all
// only with an error.
func (s *scan) answers(l *lane, pending []*task, base uint64) (int, error) {
	for i, t := range pending {
		a, err := l.slot.await(s.timeout(t.content.bytes))
		if err != nil {
			return i, err
		}
		if a.Done == nil || a.Done.ID != base+uint64(i) {
			return i, errNonsense
		}
		t.take(a.Done)
	}
	return len(pending), nil
}

// take notes what YARA says of a task.
func (t *task) take(d *slot.Done) {
	t.scanned = d.Scanned
	for _, m := range d.Matches {
		t.item.Findings = append(t.item.Findings, m.Finding())
	}
}

// refuse sets the outcome of a task, unless something has set one before.
func (t *task) refuse(o report.Outcome) {
	t.scanned = false
	if t.item.Outcome == report.Unscanned {
		t.item.Outcome = o
	}
}

// identify says what content is, and whether it is to be matched. head is the beginning of the content or all of it.
func (s *scan) identify(t *task, head []byte) bool {
	if t.content.failed {
		t.refuse(t.content.why)
		return false
	}
	t.identity = structure.Identify(head, nil, t.content.bytes)
	t.item.Type = t.identity.Type
	return t.item.Type != "" // else the content broke the check, and the item is unscanned
}

// inspect notes what is odd about the shape of content, whatever the rules say. An area is no item that anybody can open.
func (t *task) inspect(head, tail []byte) {
	if t.item.Kind == report.Area || t.part && t.identity.Passive() {
		return
	}
	t.shape = structure.Inspect(structure.Content{Path: t.path(), Kind: t.item.Kind, Head: head, Tail: tail,
		Size: t.content.bytes, Identity: t.identity})
	t.item.Findings = append(t.item.Findings, t.shape.Findings...)
	if t.shape.Encrypted { // what is in it was matched as noise
		t.refuse(report.Encrypted)
	}
}

// judge hashes and inspects tasks that lie in the buffer.
func (s *scan) judge(buffer []byte, tasks []*task) {
	h := s.lists.hasher()
	for i, t := range tasks {
		bytes := buffer[t.offset : t.offset+t.content.bytes]
		if i == 0 || t.twin != tasks[i-1] || t.twin == nil {
			h.reset()
			h.write(bytes)
		}
		h.finish(&t.item)
		t.inspect(bytes, nil)
		t.packed = t.item.Kind != report.Member && s.opener.Packed(&container.Content{Size: t.content.bytes, Head: bytes})
	}
}

// path is where an item lies, for checks that mind names.
func (t *task) path() string {
	if t.item.Member != "" {
		return t.item.Path + "//" + t.item.Member
	}
	return t.item.Path
}

// died counts dead yaraworkers and halts the scan when there are too many.
func (s *scan) died(n int) error {
	if n > 0 && s.deaths.Add(int64(n)) > maxDeaths {
		return s.halt("Content on the medium ended the matching process more than %d times.", maxDeaths)
	}
	return nil
}

func (s *scan) timeout(bytes int64) time.Duration { return timeout(&s.job, bytes) }
