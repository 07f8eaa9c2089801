package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pratique/testdata/e2e/wire"
)

// told is a line of program usbwatch.
type told struct {
	Kind, Port, Action, Code, Done, Error string
}

// String returns an event as a case expects it.
func (l told) String() string {
	return strings.Join(slices.DeleteFunc([]string{l.Kind, l.Port, l.Action, l.Code, l.Done, l.Error}, func(s string) bool { return s == "" }), " ")
}

// WatchUSB starts program usbwatch, which does what a station does about USB before a medium is read: it sets the kernel's
// defaults, decides, and has usbgate authorise one interface or switch the port off. All ports of the machine are for media:
// 1-N and 2-N are the two halves of socket N. It waits until all of first is said, in this order.
func WatchUSB(first ...string) Step {
	return Step{"watch the bus", func(ctx context.Context, r *Rig) error {
		args := []string{Programs + "/usbwatch", "-gate", Programs + "/usbgate"}
		for n := 1; n <= 8; n++ {
			args = append(args, fmt.Sprintf("1-%d=socket %d", n, n), fmt.Sprintf("2-%d=socket %d", n, n))
		}
		var err error
		if r.watcher, err = r.Guest.Start(ctx, nil, args...); err != nil {
			return err
		}
		return r.untilTold(ctx, first...)
	}}
}

// Told waits until usbwatch has said all of this, in this order, whatever it says between.
func Told(lines ...string) Step {
	return Step{fmt.Sprintf("the station says %q", lines), func(ctx context.Context, r *Rig) error { return r.untilTold(ctx, lines...) }}
}

func (r *Rig) untilTold(ctx context.Context, lines ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("not all of %q is said", lines))
	defer cancel()
	for _, want := range lines {
		var said []string
		m, next, err := r.watcher.Line(ctx, r.heard, func(_ int, text string) bool {
			var l told
			if json.Unmarshal([]byte(text), &l) != nil {
				said = append(said, text)
				return false
			}
			said = append(said, l.String())
			return l.String() == want
		})
		if err != nil {
			return fmt.Errorf("%w: %q comes, and then %q", err, want, said)
		}
		r.heard = next
		r.noteDelay(want, m)
	}
	return nil
}

// noteDelay notes how long after the kernel's own word for the last device the station spoke.
func (r *Rig) noteDelay(what string, m wire.Message) {
	if last := r.lastUevent(m.Up, "", "add", "remove"); last > 0 {
		r.Note("%q %.3f s after the kernel's uevent, in the guest's time", what, m.Up-last)
	}
}
