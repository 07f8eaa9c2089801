package usb

import (
	"context"
	"time"
)

const (
	// rescanTime is how old the news can be if every event is lost.
	rescanTime = time.Second
	// pollTime is how long Watch takes to notice that it is to end, and the grain of settleTime.
	pollTime = 100 * time.Millisecond
)

// Watch tells what is plugged in, pulled out and changed, until the context ends, and then closes the channel. The first
// events are of what is there at the start, and Watching ends them. It waits for its reader: whoever reads must not stop. root is where sysfs is, /sys.
func Watch(ctx context.Context, root string, p Policy) (<-chan Event, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	t, err := openTree(root)
	if err != nil {
		return nil, err
	}
	// The events come first: what is plugged in after the scan and before the first wait is then not missed.
	l, err := listen()
	if err != nil {
		t.close()
		return nil, err
	}
	out := make(chan Event)
	go func() {
		defer close(out)
		defer t.close()
		defer l.close()
		w := watcher{t: t, ports: NewPorts(p), out: out}
		w.run(ctx, l.next)
	}()
	return out, nil
}

// watcher joins the two sources: sysfs for what is there, and events for when to look.
type watcher struct {
	t     tree
	ports *Ports
	out   chan<- Event
	last  Kind // Watching or Problem, whichever was told last
}

func (w *watcher) run(ctx context.Context, next func(time.Duration) (uevent, bool, bool, error)) {
	due := time.Now()
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(due) {
			if !w.scan(ctx, now) {
				return
			}
			due = now.Add(rescanTime)
			if len(w.ports.doubt) > 0 {
				due = now.Add(pollTime)
			}
		}
		e, ok, lost, err := next(min(pollTime, max(0, time.Until(due))))
		now := time.Now()
		if err != nil || lost {
			due = now
		}
		if err != nil { // polling alone still sees everything, a second late; not faster than this, if it goes on
			select {
			case <-ctx.Done():
				return
			case <-time.After(pollTime):
			}
		}
		if !ok {
			continue
		}
		due = now
		if e.action == "remove" && !w.tell(ctx, w.ports.Removed(now, e.port, e.address)) {
			return
		}
	}
}

// scan looks at everything. It answers false when the watch is over.
func (w *watcher) scan(ctx context.Context, now time.Time) bool {
	devices, err := w.t.devices()
	var events []Event
	switch {
	case err == nil:
		events = w.ports.Scan(now, devices)
		if w.last != Watching {
			events = append(events, Event{Kind: Watching})
		}
		w.last = Watching
	case w.last != Problem:
		events = []Event{{Kind: Problem, Err: err}}
		w.last = Problem
	}
	return w.tell(ctx, events)
}

func (w *watcher) tell(ctx context.Context, events []Event) bool {
	for _, e := range events {
		select {
		case w.out <- e:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
