package usb

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/usb/usbtest"
)

// step is one thing that Ports is told, and what it must answer.
type step struct {
	after   time.Duration // since the step before
	scan    []Device
	removed string // a port instead of a scan
	address int
	want    string // "kind port code", with commas between
}

func words(events []Event) string {
	var all []string
	for _, e := range events {
		code := e.Decision.Code
		if e.Kind == Removed { // that of before
			code = ""
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%v %s %s", e.Kind, e.Port, code)))
	}
	return strings.Join(all, ", ")
}

func TestT02_PortsRememberWhatWasThere(t *testing.T) {
	stick, other, keyboard, both, hub := usbtest.Stick(1), usbtest.Stick(2), usbtest.Keyboard(), usbtest.StickAndKeyboard(), usbtest.Hub()
	policy := Policy{
		Media: map[string]string{"1-2": "front", "2-2": "front", "1-3": "side"},
		Own:   []Own{{"1-4", sha256.Sum256(keyboard), "badge reader"}},
	}
	none := []Device{}
	gone := func(d Device) Device {
		return Device{Port: d.Port, Instance: d.Instance, Fault: FaultUnreadable}
	}
	s5, s6, o6, k6, k7 := on("1-2", 5, stick), on("1-2", 6, stick), on("1-2", 6, other), on("1-2", 6, keyboard), on("1-2", 7, keyboard)
	serial := s6
	serial.Serial = "another"
	sameAddress := on("1-2", 5, keyboard)
	replugged := s5
	replugged.Instance = 99
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"plugged in and pulled out", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: []Device{s5}}, {removed: "1-2", address: 5, want: "removed 1-2"}, {scan: none},
		}},
		{"pulled out, and the event was lost", []step{{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"}}},
		{"events twice", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: []Device{s5}},
			{removed: "1-2", address: 5, want: "removed 1-2"}, {removed: "1-2", address: 5}, {scan: none}, {scan: none},
		}},
		{"removal before the tree shows it", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {removed: "1-2", address: 5, want: "removed 1-2"},
			{scan: []Device{s5}}, {scan: []Device{gone(s5)}}, {scan: none}, {after: time.Minute, scan: []Device{s6}, want: "attached 1-2"},
		}},
		{"removal of nothing", []step{{removed: "1-2", address: 5}, {scan: none}, {removed: "1-3", address: 9}, {removed: "", address: 0}}},
		{"late removal of the stick before", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: time.Minute, scan: []Device{s6}, want: "attached 1-2"}, {removed: "1-2", address: 5}, {scan: []Device{s6}},
		}},
		{"there at the start", []step{
			{scan: []Device{s5}, want: "refused 1-2 present-at-start"}, {scan: []Device{s5}}, {scan: none, want: "removed 1-2"},
			{scan: []Device{s6}, want: "attached 1-2"},
		}},
		{"keyboard there at the start", []step{{scan: []Device{k6}, want: "refused 1-2 input-device"}}},
		{"hub and stick there at the start", []step{
			{scan: []Device{on("1-2", 5, hub), on("1-2.1", 6, stick)}, want: "refused 1-2 present-at-start, refused 1-2.1 present-at-start"},
		}},
		{"badge reader there at the start", []step{{scan: []Device{on("1-4", 3, keyboard)}, want: "admitted 1-4"}}},
		{"badge reader exchanged", []step{
			{scan: []Device{on("1-4", 3, keyboard)}, want: "admitted 1-4"},
			{scan: []Device{on("1-4", 4, both)}, want: "removed 1-4, refused 1-4 own-device-changed"},
		}},
		{"stick comes back as a keyboard, seen at once", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: []Device{k6}, want: "changed 1-2 returned-changed"},
			{scan: []Device{k6}}, {scan: none, want: "removed 1-2"}, {scan: []Device{s6}, want: "attached 1-2"},
		}},
		{"stick comes back as a keyboard, after its removal", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {removed: "1-2", address: 5, want: "removed 1-2"},
			{after: 600 * time.Millisecond, scan: []Device{k6}, want: "refused 1-2 input-device"},
		}},
		{"stick becomes a keyboard without leaving", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: []Device{sameAddress}, want: "changed 1-2 returned-changed"},
		}},
		{"stick comes back as itself with the same address", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: []Device{replugged}, want: "changed 1-2 returned-changed"},
		}},
		{"stick comes back as another stick faster than a person", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: 600 * time.Millisecond, scan: []Device{o6}, want: "refused 1-2 returned-changed"}, {after: time.Minute, scan: []Device{o6}},
		}},
		{"stick comes back with another serial number faster than a person", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: 600 * time.Millisecond, scan: []Device{serial}, want: "refused 1-2 returned-changed"},
		}},
		{"stick comes back as another stick on the socket's other half", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: 600 * time.Millisecond, scan: []Device{on("2-2", 2, other)}, want: "refused 2-2 returned-changed"},
		}},
		{"stick that lost contact comes back as itself", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: 300 * time.Millisecond, scan: []Device{s6}, want: "attached 1-2"},
		}},
		{"a person changes sticks", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: 2 * time.Second, scan: []Device{o6}, want: "attached 1-2"},
		}},
		{"a clock set back does not open the way, nor close it for ever", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: none, want: "removed 1-2"},
			{after: -time.Hour, scan: []Device{o6}, want: "attached 1-2"},
		}},
		{"two ports at once", []step{{scan: none}, {scan: []Device{on("1-3", 6, other), s5}, want: "attached 1-2, attached 1-3"}}},
		{"a keyboard on the other half of a socket in use", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"},
			{scan: []Device{s5, on("2-2", 2, keyboard)}, want: "changed 1-2 two-in-one-socket, refused 2-2 two-in-one-socket"},
			{scan: []Device{s5}, want: "removed 2-2"}, {scan: none, want: "removed 1-2"}, {after: time.Minute, scan: []Device{s6}, want: "attached 1-2"},
		}},
		{"two sticks in one socket at once", []step{
			{scan: none}, {scan: []Device{on("2-2", 2, other), s5}, want: "attached 1-2, changed 1-2 two-in-one-socket, refused 2-2 two-in-one-socket"},
		}},
		{"a hub for USB 3 is two hubs", []step{
			{scan: none}, {scan: []Device{on("1-2", 5, hub), on("2-2", 2, hub)}, want: "admitted 1-2, admitted 2-2"},
			{scan: []Device{on("1-2", 5, hub), on("2-2", 2, hub), on("1-2.1", 6, stick)}, want: "attached 1-2.1"},
			{scan: []Device{on("1-2", 5, hub), on("2-2", 2, hub), on("1-2.1", 6, stick), on("2-2.1", 3, keyboard)},
				want: "changed 1-2.1 two-in-one-socket, refused 2-2.1 two-in-one-socket"},
		}},
		{"hub with three sticks and a keyboard is pulled", []step{
			{scan: none}, {scan: []Device{on("1-2", 5, hub)}, want: "admitted 1-2"},
			{scan: []Device{on("1-2", 5, hub), on("1-2.1", 6, stick), on("1-2.2", 7, other), on("1-2.3", 8, keyboard)},
				want: "attached 1-2.1, attached 1-2.2, refused 1-2.3 input-device"},
			{scan: none, want: "removed 1-2, removed 1-2.1, removed 1-2.2, removed 1-2.3"},
		}},
		{"keyboard is pulled, and a stick comes at once", []step{
			{scan: none}, {scan: []Device{k7}, want: "refused 1-2 input-device"}, {scan: []Device{s5}, want: "removed 1-2, attached 1-2"},
		}},
		{"half of a device, which then goes", []step{{scan: none}, {scan: []Device{gone(s5)}}, {after: 100 * time.Millisecond, scan: none}}},
		{"half of a device, which then is whole", []step{
			{scan: none}, {scan: []Device{gone(s5)}}, {after: 100 * time.Millisecond, scan: []Device{s5}, want: "attached 1-2"},
		}},
		{"half of a device, which stays so", []step{
			{scan: none}, {scan: []Device{gone(s5)}}, {after: 100 * time.Millisecond, scan: []Device{gone(s5)}},
			{after: 500 * time.Millisecond, scan: []Device{gone(s5)}, want: "refused 1-2 unreadable-device"}, {after: time.Minute, scan: []Device{gone(s5)}},
		}},
		{"a medium that cannot be looked at any more", []step{
			{scan: none}, {scan: []Device{s5}, want: "attached 1-2"}, {scan: []Device{gone(s5)}, want: "removed 1-2"},
			{after: time.Second, scan: []Device{gone(s5)}, want: "refused 1-2 unreadable-device"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ports, now := NewPorts(policy), time.Unix(1_700_000_000, 0)
			for n, s := range tt.steps {
				now = now.Add(s.after)
				var got []Event
				if s.scan != nil {
					got = ports.Scan(now, s.scan)
				} else {
					got = ports.Removed(now, s.removed, s.address)
				}
				if words(got) != s.want {
					t.Errorf("step %d: %q, expected %q", n+1, words(got), s.want)
				}
			}
		})
	}
}

func TestT02_ADeviceThatWasSeenBesideAnotherIsNeverAttached(t *testing.T) {
	// Whatever order the ports are in, a medium's session is over at the end of the same scan.
	for _, ports := range [][2]string{{"1-2", "2-2"}, {"2-2", "1-2"}} {
		p := NewPorts(Policy{Media: map[string]string{"1-2": "front", "2-2": "front"}})
		now := time.Now()
		p.Scan(now, nil)
		live := map[string]bool{}
		for _, e := range p.Scan(now, []Device{on(ports[0], 5, usbtest.Stick(1)), on(ports[1], 6, usbtest.Stick(1))}) {
			live[e.Port] = e.Kind == Attached
		}
		if live["1-2"] || live["2-2"] {
			t.Errorf("%v: %v", ports, live)
		}
	}
}

func TestABusFullOfDevicesIsDecidedOneByOne(t *testing.T) {
	p, now := NewPorts(front), time.Now()
	p.Scan(now, nil)
	all := []Device{on("1-2", 1, usbtest.Hub())}
	for n := 2; n <= 127; n++ {
		port := fmt.Sprintf("1-2.%d.%d", 1+n/16, 1+n%16)
		blob := usbtest.Stick(uint16(n))
		if n%2 == 0 {
			blob = usbtest.StickAndKeyboard()
		}
		all = append(all, on(port, n, blob))
	}
	start := time.Now()
	events := p.Scan(now, all)
	count := map[Kind]int{}
	for _, e := range events {
		count[e.Kind]++
	}
	if count[Admitted] != 1 || count[Attached] != 63 || count[Refused] != 63 || len(events) != 127 {
		t.Errorf("%v", count)
	}
	if events = p.Scan(now, nil); len(events) != 127 || len(p.seats) != 0 {
		t.Errorf("%d removals, %d left", len(events), len(p.seats))
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// TestT02_AnyOrderOfEventsKeepsItsPromises plays at random and holds what a reader of the events relies on: on each port attached
// and refused and removed alternate as they must, a medium is only ever announced when it is really there, and in the end what
// is told is what there is.
func TestT02_AnyOrderOfEventsKeepsItsPromises(t *testing.T) {
	policy := Policy{Media: map[string]string{"1-2": "front", "2-2": "front", "1-3": "side"}}
	blobs := [][]byte{usbtest.Stick(1), usbtest.Stick(2), usbtest.Keyboard(), usbtest.StickAndKeyboard(), usbtest.Hub()}
	names := []string{"1-2", "2-2", "1-3", "1-9"}
	for seed := range uint64(*mutants) {
		r := rand.New(rand.NewPCG(seed, 2))
		p, now, there, told, address := NewPorts(policy), time.Unix(1_700_000_000, 0), map[string]Device{}, map[string]Kind{}, 0
		listen := func(events []Event) {
			t.Helper()
			for _, e := range events {
				before, known := told[e.Port]
				switch e.Kind {
				case Attached, Admitted, Refused:
					if known {
						t.Fatalf("seed %d: %v on %s after %v", seed, e.Kind, e.Port, before)
					}
					if d, ok := there[e.Port]; !ok || !d.same(e.Device) {
						t.Fatalf("seed %d: %v of what is not on %s", seed, e.Kind, e.Port)
					}
				case Changed:
					if before != Attached {
						t.Fatalf("seed %d: changed on %s after %v", seed, e.Port, before)
					}
				case Removed:
					if !known {
						t.Fatalf("seed %d: removed from %s, where nothing was", seed, e.Port)
					}
					delete(told, e.Port)
					continue
				}
				if (e.Decision.Action == Refuse) != (e.Kind == Refused || e.Kind == Changed) {
					t.Fatalf("seed %d: %v with %v", seed, e.Kind, e.Decision)
				}
				told[e.Port] = e.Kind
			}
			media := map[string]string{}
			for port, kind := range told {
				socket, _ := policy.Socket(port)
				if other := media[socket]; kind == Attached && other != "" {
					t.Fatalf("seed %d: media on %s and %s", seed, port, other)
				} else if kind == Attached {
					media[socket] = port
				}
			}
		}
		for range 60 {
			now = now.Add(time.Duration(r.IntN(1500)) * time.Millisecond)
			port := names[r.IntN(len(names))]
			switch r.IntN(5) {
			case 0, 1:
				address++
				there[port] = on(port, address, blobs[r.IntN(len(blobs))])
			case 2:
				if d, ok := there[port]; ok {
					delete(there, port)
					if r.IntN(2) == 0 {
						listen(p.Removed(now, port, d.Address))
					}
				}
			case 3:
				listen(p.Removed(now, port, r.IntN(address+2)+1000))
			case 4:
				var all []Device
				for _, d := range there {
					all = append(all, d)
				}
				listen(p.Scan(now, all))
			}
		}
		var all []Device
		for _, d := range there {
			all = append(all, d)
		}
		listen(p.Scan(now, all))
		slices.Reverse(all)
		if events := p.Scan(now, all); len(events) > 0 || len(told) != len(there) {
			t.Fatalf("seed %d: %d told of %d there, and again %s", seed, len(told), len(there), words(events))
		}
	}
	t.Logf("%d plays of 60 events, each told rightly", *mutants)
}
