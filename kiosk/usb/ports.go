package usb

import (
	"maps"
	"slices"
	"time"
)

// Kind is what happened on a port.
type Kind uint8

// The kinds. The zero value is nothing that happens.
const (
	NoEvent  Kind = iota
	Attached      // a medium: Decision says which interface to authorise
	Admitted      // a hub, or a device of the station's own: Decision says which
	Refused       // Decision says why
	Changed       // a medium that was Attached is something else now: its session is over, and what is there is refused
	Removed       // what was there is gone; Device and Decision are those of before
	Problem       // the station cannot see its ports; Err says why. Nothing may be cleared until it is Watching
	Watching      // it sees them, for the first time or again after a Problem
)

var kindWords = [...]string{"nothing", "attached", "admitted", "refused", "changed", "removed", "problem", "watching"}

// String returns the kind's word in the log.
func (k Kind) String() string {
	if int(k) < len(kindWords) {
		return kindWords[k]
	}
	return kindWords[NoEvent]
}

// Event is what happened on one port.
type Event struct {
	Kind     Kind
	Port     string
	Device   Device
	Decision Decision
	Err      error // of a Problem
}

// swapTime is less than a person takes to pull one stick and plug in another. What comes back faster and different on a
// port that a medium has just left was not changed by a person.
const swapTime = time.Second

// settleTime is how long a device that sysfs cannot be asked about may be on its way out: that takes the kernel milliseconds.
const settleTime = 500 * time.Millisecond

// Ports is what is plugged where, and what was made of it: a pure machine that is told what is seen and answers what happened.
// It keeps for each port the device that it spoke of last, so that however often and in whatever order it is told, each
// insertion is decided once. It is not for several goroutines.
type Ports struct {
	policy  Policy
	started bool
	seats   map[string]seat
	left    map[string]departure // media that have gone, until swapTime is over
	dead    map[string]Device    // said to be gone by the kernel, and perhaps still in the tree for a moment
	doubt   map[string]departure // not readable, since when: most are about to vanish
}

type seat struct {
	device   Device
	decision Decision
}

type departure struct {
	device Device
	at     time.Time
}

// NewPorts returns a machine that has seen nothing yet.
func NewPorts(p Policy) *Ports {
	return &Ports{
		policy: p, seats: map[string]seat{}, left: map[string]departure{}, dead: map[string]Device{}, doubt: map[string]departure{},
	}
}

// Scan is told all devices that there are now. The first time it is told what was there at the start. Departures come
// first in its answer, then each new device in the order of ports.
func (s *Ports) Scan(now time.Time, devices []Device) (events []Event) {
	seen := map[string]Device{}
	for _, d := range devices {
		seen[d.Port] = d
	}
	maps.DeleteFunc(s.dead, func(port string, d Device) bool {
		now, there := seen[port]
		return !there || now.Instance != d.Instance || now.Address != d.Address && now.Fault != FaultUnreadable
	})
	maps.DeleteFunc(s.left, func(_ string, l departure) bool { return now.Sub(l.at) >= swapTime || now.Before(l.at) })
	for port := range s.dead {
		delete(seen, port)
	}
	before := s.doubt
	s.doubt = map[string]departure{}
	for port, d := range seen {
		// Half of a directory is what a device leaves while it goes. It is believed when it stays so.
		if d.Fault != FaultUnreadable || s.seats[port].device.same(d) {
			continue
		}
		was, doubted := before[port]
		if !doubted || !was.device.same(d) || now.Before(was.at) {
			was = departure{d, now}
		}
		if now.Sub(was.at) < settleTime {
			s.doubt[port] = was
			delete(seen, port)
		}
	}

	changed := map[string]bool{} // media that are something else now
	for _, port := range slices.Sorted(maps.Keys(s.seats)) {
		was := s.seats[port]
		d, there := seen[port]
		if there && d.same(was.device) {
			continue
		}
		delete(s.seats, port)
		if there && was.decision.Action == Attach {
			changed[port] = true // told below, with what is there now
			continue
		}
		events = append(events, s.depart(now, was))
	}
	for _, port := range slices.Sorted(maps.Keys(seen)) {
		if _, known := s.seats[port]; known {
			continue
		}
		d := seen[port]
		kind, decision := Refused, s.decide(d)
		if changed[port] {
			kind, decision = Changed, refusal(ReturnedAs)
		}
		switch decision.Action {
		case Attach:
			kind = Attached
		case Hub, Admit:
			kind = Admitted
		}
		if other, ok := s.otherHalf(d); ok && (decision.Action != Hub || other.decision.Action != Hub) && decision.Action != Admit {
			if kind != Changed {
				kind = Refused
			}
			decision = refusal(TwoInOneSocket)
			if other.decision.Action == Attach { // its session is over as well: it is the same plug
				other.decision = decision
				s.seats[other.device.Port] = other
				events = append(events, Event{Kind: Changed, Port: other.device.Port, Device: other.device, Decision: decision})
			}
		}
		s.seats[port] = seat{d, decision}
		events = append(events, Event{Kind: kind, Port: port, Device: d, Decision: decision})
	}
	s.started = true
	return events
}

// decide adds what time says to what the device says.
func (s *Ports) decide(d Device) Decision {
	decision := Decide(d, s.policy)
	foreign := decision.Action == Attach || decision.Action == Hub
	if foreign && !s.started {
		return refusal(PresentAtStart)
	}
	if foreign {
		socket, _ := s.policy.Socket(d.Port)
		for port, l := range s.left {
			// A stick that fell off the bus and came back as itself is plugged in anew, and read anew.
			if name, _ := s.policy.Socket(port); name == socket && (l.device.Digest != d.Digest || l.device.Serial != d.Serial) {
				return refusal(ReturnedAs)
			}
		}
	}
	return decision
}

// otherHalf is another device in the socket of this one.
func (s *Ports) otherHalf(d Device) (seat, bool) {
	socket, ok := s.policy.Socket(d.Port)
	if !ok {
		return seat{}, false
	}
	for _, port := range slices.Sorted(maps.Keys(s.seats)) {
		if name, ok := s.policy.Socket(port); ok && name == socket && port != d.Port {
			return s.seats[port], true
		}
	}
	return seat{}, false
}

// Removed is told that the kernel says that a device is gone, which it says a moment before the tree shows it. An address
// that is not that of the device spoken of is late news, and changes nothing.
func (s *Ports) Removed(now time.Time, port string, address int) (events []Event) {
	was, ok := s.seats[port]
	if !ok || was.device.Address != address {
		return nil
	}
	delete(s.seats, port)
	s.dead[port] = was.device
	return []Event{s.depart(now, was)}
}

func (s *Ports) depart(now time.Time, was seat) Event {
	if was.decision.Action == Attach {
		s.left[was.device.Port] = departure{was.device, now}
	}
	return Event{Kind: Removed, Port: was.device.Port, Device: was.device, Decision: was.decision}
}
