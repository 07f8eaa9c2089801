package scanner

import (
	"context"
	"sync"
)

// pool hands out the slots' buffers by halves, so that one half fills while the other is matched. Which slot a unit gets
// depends on which is free, and nothing else depends on that.
type pool struct {
	mu    sync.Mutex
	freed sync.Cond
	lanes []*lane
}

// lane is a slot with its queue. One goroutine works through it.
type lane struct {
	slot   *Slot
	work   chan *unit
	free   [2]bool
	gather gatherer // for streams, which are read by their lane
}

func newPool(ctx context.Context, slots []*Slot) *pool {
	p := &pool{}
	p.freed.L = &p.mu
	for _, s := range slots {
		p.lanes = append(p.lanes, &lane{slot: s, work: make(chan *unit, 2), free: [2]bool{true, true}})
	}
	context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.freed.Broadcast()
	})
	return p
}

// take waits for a free half, or for both halves of one slot, and marks them in u. A slot with nothing to do comes first.
func (p *pool) take(ctx context.Context, u *unit, whole bool) (*lane, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var best *lane
		for _, l := range p.lanes {
			idle, some := l.free[0] && l.free[1], l.free[0] || l.free[1]
			if idle {
				best = l
				break
			}
			if some && !whole && best == nil {
				best = l
			}
		}
		if best != nil {
			switch {
			case whole:
				u.halves = [2]bool{true, true}
			case best.free[0]:
				u.halves = [2]bool{true, false}
			default:
				u.halves = [2]bool{false, true}
			}
			for i, taken := range u.halves {
				best.free[i] = best.free[i] && !taken
			}
			return best, nil
		}
		p.freed.Wait()
	}
}

// give returns what a unit occupied.
func (p *pool) give(l *lane, u *unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, taken := range u.halves {
		l.free[i] = l.free[i] || taken
	}
	p.freed.Signal()
}

// close says that no unit comes any more.
func (p *pool) close() {
	for _, l := range p.lanes {
		close(l.work)
	}
}

// runLane works through the units of one slot. After an error the scan ends; what is left is closed as it is, unscanned.
func (s *scan) runLane(ctx context.Context, l *lane) error {
	err := l.slot.first(ctx)
	for u := range l.work {
		if err == nil && s.reason() == "" {
			s.active.Add(1)
			if err = s.match(ctx, l, u); err == nil && s.reason() == "" {
				err = s.openPacked(ctx, l, u)
			}
			s.active.Add(-1)
		}
		for _, t := range u.tasks {
			t.twin, t.ends = nil, [2][]byte{}
			if t.read {
				s.remember(t)
				conclude(&t.item, t.scanned)
			}
		}
		s.pool.give(l, u)
		close(u.done)
	}
	return err
}
