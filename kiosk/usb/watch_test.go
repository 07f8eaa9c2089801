package usb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/usbtest"
)

func scanTree(t *testing.T, s *usbtest.Tree) []Device {
	t.Helper()
	tree, err := openTree(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	devices, err := tree.devices()
	if err != nil {
		t.Fatal(err)
	}
	return devices
}

func TestScanSeesWhatTheTreeHas(t *testing.T) {
	s := usbtest.New(t, 2)
	s.Plug("1-2", 5, usbtest.Stick(0x1666), nil, "SN 1", "Maker", "Name")
	s.Plug("2-1", 3, usbtest.Hub(), []string{"1.0"})
	s.Plug("2-1.4", 4, usbtest.Keyboard(), nil)
	devices := scanTree(t, s)
	if len(devices) != 3 {
		t.Fatalf("%d devices", len(devices))
	}
	d := devices[0]
	if d.Port != "1-2" || d.Bus != 1 || d.Address != 5 || d.Vendor != 0x0951 || d.Product != 0x1666 || d.Serial != "SN 1" || d.Manufacturer != "Maker" ||
		d.Name != "Name" || d.Speed != "480" || d.Instance == 0 || d.Fault != "" || Decide(d, front).Action != Attach {
		t.Errorf("%+v", d)
	}
	if devices[1].Port != "2-1" || devices[2].Port != "2-1.4" || devices[2].Serial != "" {
		t.Errorf("%+v", devices[1:])
	}
}

func TestStringsOfADeviceAreBoundedAndStayAsTheyAre(t *testing.T) {
	s := usbtest.New(t, 1)
	s.Plug("1-2", 5, usbtest.Stick(1), nil, strings.Repeat("S", 10<<10), "a\x1b[2Jb\x00c\nd", "\xff\xfe\u202e")
	d := scanTree(t, s)[0]
	if len(d.Serial) != maxString || d.Manufacturer != "a\x1b[2Jb\x00c\nd" || d.Name != "\xff\xfe\u202e" || d.Fault != "" {
		t.Errorf("%q %q %q", d.Serial, d.Manufacturer, d.Name)
	}
}

func TestHalfADeviceIsNotReadable(t *testing.T) {
	for _, name := range []string{"descriptors", "busnum", "devnum"} {
		s := usbtest.New(t, 1)
		s.Plug("1-2", 5, usbtest.Stick(1), nil)
		s.Remove("1-2", name)
		if d := scanTree(t, s); len(d) != 1 || d[0].Fault != FaultUnreadable || Decide(d[0], front).Code != NotReadable {
			t.Errorf("without %s: %+v", name, d)
		}
	}
	for name, value := range map[string]string{"devnum": "five", "busnum": "-1"} {
		s := usbtest.New(t, 1)
		s.Plug("1-2", 5, usbtest.Stick(1), nil)
		s.Set("devices/pci/usb1/1-2/"+name, value)
		if d := scanTree(t, s); len(d) != 1 || d[0].Fault != FaultUnreadable {
			t.Errorf("%s is %q: %+v", name, value, d)
		}
	}
	s := usbtest.New(t, 1)
	s.Plug("1-2", 5, bytes.Repeat([]byte{1}, maxDescriptors+100), nil)
	if d := scanTree(t, s); len(d) != 1 || d[0].Fault != FaultTooLarge || Decide(d[0], front).Code != Malformed {
		t.Errorf("too large: %+v", d)
	}
}

func TestNothingOutsideOfTheTreeIsRead(t *testing.T) {
	outside := t.TempDir()
	for name, value := range map[string]string{"busnum": "1", "devnum": "5", "descriptors": string(usbtest.Stick(1))} {
		if err := os.WriteFile(outside+"/"+name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := usbtest.New(t, 1)
	if err := os.Symlink(outside, s.Path("bus/usb/devices/1-2")); err != nil {
		t.Fatal(err)
	}
	if d := scanTree(t, s); len(d) != 1 || d[0].Fault != FaultUnreadable {
		t.Errorf("%+v", d)
	}
}

// A tree that is pulled down while it is read never makes a device that may be read out of two halves.
func TestDevicesThatVanishWhileTheyAreReadAreNeverMixed(t *testing.T) {
	s := usbtest.New(t, 1)
	tree, err := openTree(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 150 {
			blob, serial := usbtest.Stick(uint16(n)), "stick"
			if n%2 == 1 {
				blob, serial = usbtest.Keyboard(), "keyboard"
			}
			s.Plug("1-2", 1+n%127, blob, nil, serial)
			s.Unplug("1-2")
		}
	}()
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		devices, err := tree.devices()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range devices {
			if d.Fault == "" && d.Serial != "" && (d.Serial == "stick") != (Decide(d, front).Action == Attach) {
				t.Fatalf("%+v", d)
			}
		}
	}
}

// A look at a full bus is what each event costs.
func BenchmarkScanOf127Devices(b *testing.B) {
	s := usbtest.New(b, 1)
	s.Plug("1-2", 1, usbtest.Hub(), nil)
	for n := 2; n <= 127; n++ {
		s.Plug(fmt.Sprintf("1-2.%d", n), n, usbtest.Stick(uint16(n)), nil, "serial", "maker", "name")
	}
	tree, err := openTree(s.Dir)
	if err != nil {
		b.Fatal(err)
	}
	defer tree.close()
	for b.Loop() {
		if devices, err := tree.devices(); err != nil || len(devices) != 127 {
			b.Fatal(len(devices), err)
		}
	}
}

// next waits for an event of Watch.
func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch is over")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened")
	}
	return Event{}
}

func TestWatchTellsWhatIsPluggedAndPulled(t *testing.T) {
	s := usbtest.New(t, 2)
	s.Plug("1-2", 5, usbtest.Stick(1), nil)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := Watch(ctx, s.Dir, Policy{Media: map[string]string{"1-2": "front", "2-2": "front", "1-3": "side"}})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(kind Kind, port string, code Code) Event {
		t.Helper()
		e := next(t, events)
		if e.Kind != kind || e.Port != port || kind != Removed && e.Decision.Code != code {
			t.Fatalf("%v %s %s, expected %v %s %s", e.Kind, e.Port, e.Decision.Code, kind, port, code)
		}
		return e
	}
	expect(Refused, "1-2", PresentAtStart)
	expect(Watching, "", "")
	s.Unplug("1-2")
	expect(Removed, "1-2", "")
	s.Plug("1-2", 6, usbtest.Stick(1), nil, "SN")
	if e := expect(Attached, "1-2", ""); e.Decision.Config != 1 || e.Device.Address != 6 || e.Device.Serial != "SN" {
		t.Errorf("%+v", e)
	}
	s.Plug("1-3", 7, usbtest.StickAndKeyboard(), nil)
	expect(Refused, "1-3", InputDevice)
	if err := os.Rename(s.Path("bus/usb/devices"), s.Path("bus/usb/away")); err != nil {
		t.Fatal(err)
	}
	if e := expect(Problem, "", ""); !errors.Is(e.Err, ErrSysfs) {
		t.Errorf("%v", e.Err)
	}
	if err := os.Rename(s.Path("bus/usb/away"), s.Path("bus/usb/devices")); err != nil {
		t.Fatal(err)
	}
	expect(Watching, "", "")
	cancel()
	for range events { // what was under way
	}
}

// The events only say when to look: with any of them, in any order, what is told is what is there.
func TestT02_EventsThatAreLostDoubledOrFalseChangeNothing(t *testing.T) {
	s := usbtest.New(t, 1)
	tree, err := openTree(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	type news struct {
		e        uevent
		ok, lost bool
		err      error
	}
	wire := make(chan news)
	out := make(chan Event, 100)
	ctx, cancel := context.WithCancel(t.Context())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		w := watcher{t: tree, ports: NewPorts(front), out: out}
		w.run(ctx, func(wait time.Duration) (uevent, bool, bool, error) {
			select {
			case n := <-wire:
				return n.e, n.ok, n.lost, n.err
			case <-time.After(wait):
				return uevent{}, false, false, nil
			}
		})
	}()
	if e := next(t, out); e.Kind != Watching {
		t.Fatalf("%+v", e)
	}
	send := func(n news) {
		t.Helper()
		select {
		case wire <- n:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody listens")
		}
	}
	removal := func(address int) news { return news{e: uevent{"remove", "1-2", address}, ok: true} }
	addition := news{e: uevent{"add", "1-2", 5}, ok: true}
	for range 5 { // of things that are not there
		send(removal(5))
		send(addition)
		send(news{lost: true})
		send(news{err: errors.New("netlink")})
	}
	s.Plug("1-2", 5, usbtest.Stick(1), nil)
	send(addition)
	send(addition)
	if e := next(t, out); e.Kind != Attached {
		t.Fatalf("%+v", e)
	}
	send(removal(4)) // of the one before
	send(addition)
	send(removal(5)) // before the tree shows it
	if e := next(t, out); e.Kind != Removed {
		t.Fatalf("%+v", e)
	}
	send(removal(5))
	s.Unplug("1-2")
	send(news{lost: true})
	s.Plug("1-2", 6, usbtest.Keyboard(), nil)
	send(news{lost: true})
	if e := next(t, out); e.Kind != Refused || e.Decision.Code != InputDevice {
		t.Fatalf("%+v", e)
	}
	cancel()
	<-finished
	if len(out) != 0 {
		t.Errorf("and then %+v", <-out)
	}
}

func uev(words ...string) []byte { return []byte(strings.Join(words, "\x00") + "\x00") }

func TestUeventsAreReadAndOthersPassedOver(t *testing.T) {
	path := "/devices/pci0000:00/0000:00:14.0/usb1/1-2"
	good := uev("add@"+path, "ACTION=add", "DEVPATH="+path, "SUBSYSTEM=usb", "MAJOR=189", "DEVNAME=bus/usb/001/005", "DEVTYPE=usb_device",
		"PRODUCT=951/1666/100", "TYPE=0/0/0", "BUSNUM=001", "DEVNUM=005", "SEQNUM=1234")
	if e, ok := parseUevent(good); !ok || e != (uevent{"add", "1-2", 5}) {
		t.Errorf("%+v %v", e, ok)
	}
	for name, b := range map[string][]byte{
		"empty":                 {},
		"not closed":            good[:len(good)-1],
		"too long":              append(bytes.Clone(good), make([]byte, maxUevent)...),
		"no path":               uev("add@", "SUBSYSTEM=usb", "DEVTYPE=usb_device"),
		"no at":                 uev("add"+path, "SUBSYSTEM=usb", "DEVTYPE=usb_device"),
		"interface":             uev("add@"+path+"/1-2:1.0", "SUBSYSTEM=usb", "DEVTYPE=usb_interface"),
		"interface as a device": uev("add@"+path+"/1-2:1.0", "SUBSYSTEM=usb", "DEVTYPE=usb_device"),
		"root hub":              uev("add@/devices/pci/usb1", "SUBSYSTEM=usb", "DEVTYPE=usb_device"),
		"another subsystem":     uev("add@"+path, "SUBSYSTEM=block", "DEVTYPE=usb_device"),
		"another action":        uev("add@"+path, "ACTION=remove", "SUBSYSTEM=usb", "DEVTYPE=usb_device"),
		"another path":          uev("add@"+path, "DEVPATH=/devices/other/1-3", "SUBSYSTEM=usb", "DEVTYPE=usb_device"),
		"address 0":             uev("add@"+path, "SUBSYSTEM=usb", "DEVTYPE=usb_device", "DEVNUM=000"),
		"address 128":           uev("add@"+path, "SUBSYSTEM=usb", "DEVTYPE=usb_device", "DEVNUM=128"),
		"address of letters":    uev("add@"+path, "SUBSYSTEM=usb", "DEVTYPE=usb_device", "DEVNUM=abc"),
		"udev's":                append([]byte("libudev\x00\xfe\xed\xca\xfe"), good...),
	} {
		if e, ok := parseUevent(b); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzUevent(f *testing.F) {
	f.Add(uev("add@/devices/usb1/1-2", "ACTION=add", "SUBSYSTEM=usb", "DEVTYPE=usb_device", "DEVNUM=005"))
	f.Add(uev("remove@/devices/usb1/1-2/1-2.4", "SUBSYSTEM=usb", "DEVTYPE=usb_device", "=", "==", ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseUevent(b)
		if ok && (e.port == "" || len(e.port) > 32 || e.address < 0 || e.address > 127 || strings.ContainsAny(e.port, "/:\x00")) {
			t.Errorf("%+v", e)
		}
	})
}

func TestOnlyTheKernelIsListenedTo(t *testing.T) {
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	address, err := unix.Getsockname(l.fd)
	if err != nil {
		t.Fatal(err)
	}
	// Another socket writes to this one what the kernel would: an event that a stick was pulled.
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	forged := uev("remove@/devices/usb1/1-2", "ACTION=remove", "SUBSYSTEM=usb", "DEVTYPE=usb_device", "DEVNUM=005")
	if err := unix.Sendto(fd, forged, 0, address); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if e, ok, _, err := l.next(50 * time.Millisecond); err != nil || ok && e.port == "1-2" {
			t.Fatalf("%+v %v", e, err)
		}
	}
	kernel := &unix.SockaddrNetlink{Groups: kernelGroup}
	cred := func(pid int32, uid uint32) []byte { return unix.UnixCredentials(&unix.Ucred{Pid: pid, Uid: uid}) }
	for name, tt := range map[string]struct {
		from unix.Sockaddr
		oob  []byte
		ok   bool
	}{
		"kernel":              {kernel, cred(0, 0), true},
		"process":             {&unix.SockaddrNetlink{Pid: 7, Groups: kernelGroup}, cred(0, 0), false},
		"udev's group":        {&unix.SockaddrNetlink{Groups: 2}, cred(0, 0), false},
		"no group":            {&unix.SockaddrNetlink{}, cred(0, 0), false},
		"process credentials": {kernel, cred(7, 0), false},
		"user credentials":    {kernel, cred(0, 1000), false},
		"no credentials":      {kernel, nil, false},
		"twice":               {kernel, slices.Concat(cred(0, 0), cred(0, 0)), false},
		"garbage":             {kernel, []byte{1, 2, 3}, false},
		"another family":      {&unix.SockaddrUnix{}, cred(0, 0), false},
	} {
		if fromKernel(tt.from, tt.oob) != tt.ok {
			t.Errorf("%s: %v", name, !tt.ok)
		}
	}
}

func TestCheckSeesEachLayer(t *testing.T) {
	p := Policy{Media: map[string]string{"1-2": "front", "2-2": "front"}}
	closed := func() *usbtest.Tree {
		s := usbtest.New(t, 2)
		for _, bus := range []string{"usb1", "usb2"} {
			s.Set("devices/pci/"+bus+"/authorized_default", "0")
			s.Set("devices/pci/"+bus+"/interface_authorized_default", "0")
		}
		s.Set("module/usbcore/parameters/authorized_default", "0")
		s.Set("bus/usb/drivers_autoprobe", "0")
		s.Plug("1-2", 5, usbtest.Stick(1), []string{"1.0"})
		return s
	}
	peer := func(s *usbtest.Tree, target string) {
		if err := os.Symlink("../../../"+target, s.Path("devices/pci/usb1/1-0:1.0/usb1-port2/peer")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(s *usbtest.Tree)
		layer string // that does not hold, if any
		ready bool
	}{
		{"nothing", func(*usbtest.Tree) {}, "", true},
		{"devices live on one bus", func(s *usbtest.Tree) { s.Set("devices/pci/usb2/authorized_default", "1") }, "usb-devices", false},
		{"internal ports only", func(s *usbtest.Tree) { s.Set("devices/pci/usb2/authorized_default", "2") }, "usb-devices", false},
		{"interfaces live on one bus", func(s *usbtest.Tree) { s.Set("devices/pci/usb2/interface_authorized_default", "1") }, "usb-interfaces", false},
		{"no such switch", func(s *usbtest.Tree) { os.Remove(s.Path("devices/pci/usb1/interface_authorized_default")) }, "usb-interfaces", false},
		{"a driver on a media port", func(s *usbtest.Tree) { s.Bind("1-2:1.0", "usb-storage") }, "usb-no-driver", false},
		{"the reader at work", func(s *usbtest.Tree) { s.Bind("1-2:1.0", "usbfs") }, "", true},
		{"what lends devices to others", func(s *usbtest.Tree) { s.Bind("1-2:1.0", "usbip-host") }, "usb-no-driver", false},
		{"the hub driver on a media port", func(s *usbtest.Tree) { s.Bind("1-2:1.0", "hub") }, "", true},
		{"a port without a switch", func(s *usbtest.Tree) { os.Remove(s.Path("devices/pci/usb2/2-0:1.0/usb2-port2/disable")) }, "usb-ports", false},
		{"a boot with everything alive", func(s *usbtest.Tree) { s.Set("module/usbcore/parameters/authorized_default", "-1") }, "usb-from-boot", true},
		{"drivers are offered what comes", func(s *usbtest.Tree) { s.Set("bus/usb/drivers_autoprobe", "1") }, "usb-no-autoprobe", false},
		{"halves of a socket", func(s *usbtest.Tree) { peer(s, "2-0:1.0/usb2-port2") }, "", true},
		{"halves of two sockets", func(s *usbtest.Tree) { peer(s, "2-0:1.0/usb2-port1") }, "usb-socket-halves", true},
	} {
		s := closed()
		tt.spoil(s)
		layers := Check(s.Dir, p)
		var failed []string
		for _, l := range layers {
			if !l.Holds {
				failed = append(failed, l.Name)
			}
			if l.Text == "" || l.Holds != (l.Hint == "") {
				t.Errorf("%s: %+v", tt.name, l)
			}
		}
		if strings.Join(failed, " ") != tt.layer || Ready(layers) != tt.ready {
			t.Errorf("%s: %v does not hold, ready %v", tt.name, failed, Ready(layers))
		}
	}
	for name, layers := range map[string][]Layer{
		"no tree":         Check("/nowhere", p),
		"no USB":          Check(t.TempDir(), p),
		"no bus":          Check(usbtest.New(t, 0).Dir, p),
		"no port":         Check(closed().Dir, Policy{}),
		"a bad policy":    Check(closed().Dir, Policy{Media: map[string]string{"x": "y"}}),
		"as after a boot": Check(usbtest.New(t, 2).Dir, p),
	} {
		if Ready(layers) || len(layers) == 0 {
			t.Errorf("%s: ready", name)
		}
	}
}

// Before a clearance is signed, sysfs is asked once more: what was read is still there, and nobody has it.
func TestT02_WhatIsNotWhatWasReadIsSeen(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(s *usbtest.Tree)
		want  bool
	}{
		{"nothing", func(*usbtest.Tree) {}, true},
		{"another device elsewhere", func(s *usbtest.Tree) { s.Plug("1-3", 6, usbtest.Keyboard(), []string{"1.0"}) }, true},
		{"pulled", func(s *usbtest.Tree) { s.Unplug("1-2") }, false},
		{"pulled and plugged in again", func(s *usbtest.Tree) { s.Unplug("1-2"); s.Plug("1-2", 6, usbtest.Stick(1), []string{"1.0"}) }, false},
		{"another one at its address", func(s *usbtest.Tree) { s.Unplug("1-2"); s.Plug("1-2", 5, usbtest.Stick(2), []string{"1.0"}) }, false},
		{"not readable", func(s *usbtest.Tree) { s.Remove("1-2", "descriptors") }, false},
		{"a driver has it", func(s *usbtest.Tree) { s.Bind("1-2:1.0", "usb-storage") }, false},
		{"a program has it", func(s *usbtest.Tree) { s.Bind("1-2:1.0", "usbfs") }, false},
		{"no tree", func(s *usbtest.Tree) { os.RemoveAll(s.Path("bus")) }, false},
	} {
		s := usbtest.New(t, 1)
		s.Plug("1-2", 5, usbtest.Stick(1), []string{"1.0"})
		d := scanTree(t, s)[0]
		tt.spoil(s)
		if got := Untouched(s.Dir, d); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if Untouched("/nowhere", Device{Port: "1-2"}) {
		t.Error("no tree")
	}
}

func TestPortsThatAreOffAreNamed(t *testing.T) {
	s := usbtest.New(t, 2)
	p := Policy{Media: map[string]string{"1-1": "left", "2-1": "left", "1-3": "right", "9-9": "nowhere"}}
	if got := Off(s.Dir, p); len(got) != 0 {
		t.Errorf("%q", got)
	}
	s.Set("devices/pci/usb2/2-0:1.0/usb2-port1/disable", "1")
	s.Set("devices/pci/usb1/1-0:1.0/usb1-port2/disable", "1") // none of the policy's
	if got := Off(s.Dir, p); !slices.Equal(got, []string{"2-1"}) {
		t.Errorf("%q", got)
	}
	if got := Off("/nowhere", p); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestDriversOnAPortAreNamed(t *testing.T) {
	s := usbtest.New(t, 1)
	s.Plug("1-2", 5, usbtest.StickAndKeyboard(), []string{"1.0", "1.1"})
	s.Plug("1-2.1", 6, usbtest.Keyboard(), []string{"1.0"})
	s.Bind("1-2.1:1.0", "usbhid")
	if got, err := Drivers(s.Dir, "1-2"); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	s.Bind("1-2:1.1", "usbhid")
	s.Bind("1-2:1.0", "usb-storage")
	if got, err := Drivers(s.Dir, "1-2"); err != nil || !slices.Equal(got, []string{"usb-storage", "usbhid"}) {
		t.Errorf("%v %v", got, err)
	}
	if got, err := Drivers(s.Dir, "1-3"); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "../1-2", "usb1", "1-2:1.0"} {
		if _, err := Drivers(s.Dir, bad); err == nil {
			t.Errorf("%q is a port", bad)
		}
	}
	if _, err := Drivers(t.TempDir(), "1-2"); !errors.Is(err, ErrSysfs) {
		t.Errorf("%v", err)
	}
}
