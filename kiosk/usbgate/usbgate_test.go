package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb"
	"pratique/kiosk/usb/gate"
	"pratique/kiosk/usb/usbtest"
)

// program is usbgate, built as it is released: with C in it no right could be dropped on all threads.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "usbgate")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "usbgate")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const reader = 4242

// station is an usbgate with a tree, device nodes, a stick on 1-2, the badge reader on 1-4 and a keyboard on 1-3, which is no
// port of anybody's.
type station struct {
	*usbtest.Tree
	dev      string
	gate     *usb.Gate
	stick    usb.Device
	keyboard usb.Device
	badge    usb.Device
}

func device(t *testing.T, s *usbtest.Tree, dev, port string, address int, blob []byte, interfaces ...string) usb.Device {
	t.Helper()
	s.Plug(port, address, blob, interfaces)
	node := filepath.Join(dev, "001", fmt.Sprintf("%03d", address))
	if err := os.MkdirAll(filepath.Dir(node), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(usbMajor, uint32(address-1)))); err != nil {
		t.Fatal(err)
	}
	d, fault := usb.Parse(blob)
	d.Port, d.Bus, d.Address, d.Fault = port, 1, address, fault
	return d
}

func start(t *testing.T) *station {
	t.Helper()
	s := &station{Tree: usbtest.New(t, 2), dev: t.TempDir()}
	s.stick = device(t, s.Tree, s.dev, "1-2", 5, usbtest.Stick(1), "1.0")
	s.keyboard = device(t, s.Tree, s.dev, "1-3", 6, usbtest.Keyboard(), "1.0")
	s.badge = device(t, s.Tree, s.dev, "1-4", 7, usbtest.Keyboard(), "1.0")
	var err error
	s.gate, err = usb.StartGate(t.Context(), usb.GateConfig{Path: program, Media: []string{"1-2", "2-2"}, Own: []string{"1-4"}, Reader: reader, Sys: s.Dir, Dev: s.dev})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.gate.Close() })
	return s
}

func (s *station) owner(t *testing.T, address int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(s.dev, "001", fmt.Sprintf("%03d", address)), &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

func TestAMediumLivesAsLongAsItsSession(t *testing.T) {
	s := start(t)
	if err := s.gate.Defaults(); err != nil {
		t.Fatal(err)
	}
	for _, bus := range []string{"usb1", "usb2"} {
		if s.Attribute(bus, "authorized_default") != "0" || s.Attribute(bus, "interface_authorized_default") != "0" {
			t.Errorf("things live by themselves on %s", bus)
		}
	}
	if err := s.gate.HandOver(s.stick); !errors.Is(err, unix.EPERM) {
		t.Errorf("a node before its device may live: %v", err)
	}
	if err := s.gate.Authorise(s.stick, 0); err != nil {
		t.Fatal(err)
	}
	if s.Attribute("1-2", "authorized") != "1" || s.Attribute("1-2:1.0", "authorized") != "1" {
		t.Error("it does not live")
	}
	if s.Value("bus/usb/drivers_probe") != "" || s.Value("bus/usb/drivers/hub/bind") != "" || s.Value("bus/usb/drivers_autoprobe") != "0" {
		t.Error("a driver was asked, or may come")
	}
	if s.Value("bus/usb/drivers/usb/bind") != "1-2" {
		t.Error("the device has no driver, so the kernel may choose no configuration")
	}
	if err := s.gate.HandOver(s.stick); err != nil {
		t.Fatal(err)
	}
	if s.owner(t, 5) != reader || s.owner(t, 6) != 0 || s.owner(t, 7) != 0 {
		t.Errorf("owners %d %d %d", s.owner(t, 5), s.owner(t, 6), s.owner(t, 7))
	}
	if err := s.gate.TakeBack(s.stick); err != nil || s.owner(t, 5) != 0 {
		t.Errorf("%v, owner %d", err, s.owner(t, 5))
	}
	if err := s.gate.Deauthorise("1-2"); err != nil || s.Attribute("1-2", "authorized") != "0" {
		t.Errorf("%v", err)
	}
	if err := s.gate.Disable("1-2"); err != nil || s.Attribute("1-0:1.0", "usb1-port2/disable") != "1" {
		t.Errorf("%v", err)
	}
	if err := s.gate.Enable("1-2"); err != nil || s.Attribute("1-0:1.0", "usb1-port2/disable") != "0" {
		t.Errorf("%v", err)
	}
	s.Unplug("1-2")
	if err := s.gate.Deauthorise("1-2"); err != nil {
		t.Errorf("de-authorise what is gone: %v", err)
	}
	if err := s.gate.Authorise(s.stick, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("authorise what is gone: %v", err)
	}
}

func TestHubsAndOwnDevicesGetTheirDriversAndNothingElse(t *testing.T) {
	s := start(t)
	if err := s.gate.AdmitOwn(s.badge); !errors.Is(err, unix.EPERM) {
		t.Errorf("before the defaults are set: %v", err)
	}
	if err := s.gate.Defaults(); err != nil {
		t.Fatal(err)
	}
	if err := s.gate.AdmitOwn(s.badge); !errors.Is(err, usb.ErrNoDriver) || s.Value("bus/usb/drivers_probe") != "1-4:1.0" || s.Attribute("1-4:1.0", "authorized") != "1" {
		t.Errorf("its driver is not loaded: %v", err)
	}
	s.Bind("1-4:1.0", "usbhid") // as the kernel does
	if err := s.gate.AdmitOwn(s.badge); err != nil {
		t.Errorf("%v", err)
	}
	s.badge.Configs = append([]usb.Config{{Value: 9, Interfaces: s.badge.Configs[0].Interfaces}}, s.badge.Configs...)
	if err := s.gate.AdmitOwn(s.badge); err != nil {
		t.Errorf("in its second configuration: %v", err)
	}
	hub := device(t, s.Tree, s.dev, "2-2", 8, usbtest.Hub(), "1.0")
	if err := s.gate.AdmitHub(hub, 0); err != nil || s.Value("bus/usb/drivers/hub/bind") != "2-2:1.0" {
		t.Errorf("%v", err)
	}
	behind := device(t, s.Tree, s.dev, "2-2.1", 9, usbtest.Stick(1), "1.0")
	if err := s.gate.Authorise(behind, 0); err != nil || s.Attribute("2-2.1:1.0", "authorized") != "1" {
		t.Errorf("behind a hub: %v", err)
	}
}

func TestT01_TheGateDoesNothingOnOtherPorts(t *testing.T) {
	s := start(t)
	if err := s.gate.Defaults(); err != nil {
		t.Fatal(err)
	}
	before := s.snapshot(t)
	for name, err := range map[string]error{
		"authorise on no port of ours":   s.gate.Authorise(s.keyboard, 0),
		"hub on no port of ours":         s.gate.AdmitHub(s.keyboard, 0),
		"own on no port of ours":         s.gate.AdmitOwn(s.keyboard),
		"own on a media port":            s.gate.AdmitOwn(s.stick),
		"medium on an own port":          s.gate.Authorise(s.badge, 0),
		"node on no port of ours":        s.gate.HandOver(s.keyboard),
		"node of an own device":          s.gate.HandOver(s.badge),
		"node that was never given":      s.gate.TakeBack(s.stick),
		"switch off the badge reader":    s.gate.Disable("1-4"),
		"switch off another's port":      s.gate.Disable("1-3"),
		"a port whose name begins alike": s.gate.Disable("1-21"),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := s.snapshot(t); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

// snapshot is all that the gate could have written.
func (s *station) snapshot(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(s.Dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, err := os.ReadFile(name)
			fmt.Fprintf(&all, "%s=%q %v\n", strings.TrimPrefix(name, s.Dir), b, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for address := 5; address <= 7; address++ {
		fmt.Fprintln(&all, address, s.owner(t, address))
	}
	return all.String()
}

func TestT01_WhatIsNotAsItMustBeIsTakenBack(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(s *station)
		want  error
	}{
		"interfaces live by themselves":  {func(s *station) { s.Set("devices/pci/usb1/interface_authorized_default", "1") }, unix.EPERM},
		"drivers may come by themselves": {func(s *station) { s.Set("bus/usb/drivers_autoprobe", "1") }, unix.EPERM},
		"a driver holds the interface":   {func(s *station) { s.Bind("1-2:1.0", "usb-storage") }, unix.EBUSY},
		"another configuration":          {func(s *station) { s.stick.Configs[0].Value = 2 }, unix.ENOENT},
		"the switch is a link": {func(s *station) {
			s.Remove("1-2", "1-2:1.0/authorized")
			os.Symlink(s.Path("bus/usb/drivers_probe"), s.Path("devices/pci/usb1/1-2/1-2:1.0/authorized"))
		}, unix.ELOOP},
		"the device is a link out of the tree": {func(s *station) {
			os.Remove(s.Path("bus/usb/devices/1-2"))
			os.Symlink(s.dev, s.Path("bus/usb/devices/1-2"))
		}, unix.EXDEV},
	} {
		s := start(t)
		if err := s.gate.Defaults(); err != nil {
			t.Fatal(err)
		}
		tt.spoil(s)
		if err := s.gate.Authorise(s.stick, 0); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, expected %v", name, err, tt.want)
		}
		if s.Value("devices/pci/usb1/1-2/authorized") != "0" || s.Value("bus/usb/drivers_probe") != "" {
			t.Errorf("%s: it lives", name)
		}
	}
}

func TestNodesThatAreNotTheDevicesAreNotGiven(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(s *station, node string)
		want  error
	}{
		"another device's": {func(s *station, node string) { s.stick.Address = 6 }, unix.ENXIO},
		"none":             {func(s *station, node string) { os.Remove(node) }, unix.ENOENT},
		"a link":           {func(s *station, node string) { os.Remove(node); os.Symlink("006", node) }, unix.ENXIO},
		"a disk": {func(s *station, node string) {
			os.Remove(node)
			unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(usbMajor, 4)))
		}, unix.ENXIO},
		"of another driver": {func(s *station, node string) {
			os.Remove(node)
			unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 4)))
		}, unix.ENXIO},
		"a file":                     {func(s *station, node string) { os.Remove(node); os.WriteFile(node, nil, 0o600) }, unix.ENXIO},
		"of a device that is gone":   {func(s *station, node string) { s.Unplug("1-2") }, unix.ENOENT},
		"of one that lives no more":  {func(s *station, node string) { s.Set("devices/pci/usb1/1-2/authorized", "0") }, unix.EPERM},
		"of a number that is a text": {func(s *station, node string) { s.Set("devices/pci/usb1/1-2/dev", "189:04") }, unix.ENXIO},
	} {
		s := start(t)
		if err := errors.Join(s.gate.Defaults(), s.gate.Authorise(s.stick, 0)); err != nil {
			t.Fatal(err)
		}
		tt.spoil(s, filepath.Join(s.dev, "001", "005"))
		if err := s.gate.HandOver(s.stick); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, expected %v", name, err, tt.want)
		}
		if s.owner(t, 6) != 0 || s.owner(t, 7) != 0 {
			t.Errorf("%s: another node was given", name)
		}
	}
}

func TestT23_TheGateTakesEverythingBackWhenItsMasterEnds(t *testing.T) {
	s := start(t)
	s.Bind("1-4:1.0", "usbhid")
	if err := errors.Join(s.gate.Defaults(), s.gate.Authorise(s.stick, 0), s.gate.HandOver(s.stick), s.gate.AdmitOwn(s.badge)); err != nil {
		t.Fatal(err)
	}
	if s.owner(t, 5) != reader {
		t.Fatal("nothing was given")
	}
	if err := s.gate.Close(); err != nil { // what the kernel does at a death
		t.Fatal(err)
	}
	if s.owner(t, 5) != 0 || s.Attribute("1-2", "authorized") != "0" || s.Attribute("1-4", "authorized") != "1" {
		t.Errorf("owner %d, medium %s, badge reader %s", s.owner(t, 5), s.Attribute("1-2", "authorized"), s.Attribute("1-4", "authorized"))
	}
	if err := s.gate.Defaults(); !errors.Is(err, usb.ErrGate) {
		t.Errorf("after the end: %v", err)
	}
}

// TestT23_AGateThatDiesIsMissedAtOnce: nobody has to ask it for anything.
func TestT23_AGateThatDiesIsMissedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g, err := usb.DialGate(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.Lost():
		t.Fatal("it lives")
	case <-time.After(20 * time.Millisecond):
	}
	c.Close()
	select {
	case <-g.Lost():
	case <-time.After(10 * time.Second):
		t.Fatal("nobody notices")
	}
	if err := g.Enable("1-2"); !errors.Is(err, usb.ErrGate) {
		t.Error(err)
	}
}

// raw starts usbgate and gives its socket.
func raw(t *testing.T, args ...string) (int, *exec.Cmd, *bytes.Buffer) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	its := os.NewFile(uintptr(fds[1]), "its")
	defer its.Close()
	var words bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles, cmd.Stderr, cmd.Env = []*os.File{its}, &words, []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); cmd.Process.Kill(); cmd.Wait() })
	timeout := unix.Timeval{Sec: 20}
	if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return fds[0], cmd, &words
}

func TestHostileMessagesAreAnsweredAndChangeNothing(t *testing.T) {
	s := start(t)
	before := s.snapshot(t)
	fd, _, words := raw(t, "-reader", "4242", "-sys", s.Dir, "-dev", s.dev, "-own", "1-4", "--", "1-2")
	r := rand.New(rand.NewPCG(1, 2))
	good, err := gate.Request{Verb: gate.Disable, Port: "1-3"}.Encode() // which it may not
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64)
	for n := range 5_000 {
		b := bytes.Clone(good)
		switch n % 4 {
		case 0:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 1:
			b = b[:1+r.IntN(len(b)-1)]
		case 2:
			b = append(b, make([]byte, r.IntN(4096))...)
		case 3:
			for i := 8; i < len(b); i++ {
				b[i] = byte(r.Uint32())
			}
		}
		if port := b[min(len(b), 16):min(len(b), 19)]; string(port) == "1-2" { // a flipped bit may make it one that it may
			continue
		}
		if _, err := unix.Write(fd, b); err != nil {
			t.Fatalf("message %d: %v, %s", n, err, words)
		}
		if got, err := unix.Read(fd, answer); err != nil || got != gate.AnswerSize || answer[5] != 0 && gate.Verb(answer[4]) != gate.Deauthorise {
			t.Fatalf("message %d, %x: %x %v", n, b, answer[:max(got, 0)], err)
		}
	}
	if after := s.snapshot(t); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

func TestTheGateHoldsOneRightAndIsJailed(t *testing.T) {
	s := start(t)
	fd, cmd, words := raw(t, "-reader", "4242", "-sys", s.Dir, "-dev", s.dev, "--", "1-2")
	ask, _ := gate.Request{Verb: gate.Defaults}.Encode()
	unix.Write(fd, ask)
	answer := make([]byte, 64)
	if n, err := unix.Read(fd, answer); err != nil || gate.DecodeAnswer(answer[:max(n, 0)], gate.Defaults) != nil {
		t.Fatalf("%x %v %s", answer[:max(n, 0)], err, words)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%v %v", tasks, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000001", "CapEff:\t0000000000000001", "CapBnd:\t0000000000000000",
			"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(status), line+"\n") {
				t.Errorf("%s has not %s:\n%s", task, line, status)
			}
		}
	}
	unix.Close(fd)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%v %s", err, words)
		}
	case <-time.After(20 * time.Second):
		t.Error("it outlives its socket")
	}
}

func TestArgumentsThatCannotBeMeantAreRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"no reader":          {"1-2"},
		"reader below zero":  {"-reader", "-1", "1-2"},
		"path":               {"-reader", "1", "../1-2"},
		"root hub":           {"-reader", "1", "usb1"},
		"own and media":      {"-reader", "1", "-own", "1-2", "1-2"},
		"own behind a media": {"-reader", "1", "-own", "1-2.1", "1-2"},
		"own path":           {"-reader", "1", "-own", "/", "1-2"},
		"unknown flag":       {"-reader", "1", "-force", "1-2"},
		"too many ports":     append([]string{"-reader", "1"}, strings.Split(strings.Repeat("1-2 ", 97)+"1-2", " ")...),
	} {
		var words bytes.Buffer
		if code := run(args, &words); code != 2 || !strings.Contains(words.String(), "usbgate: error: ") {
			t.Errorf("%s: exit code %d, %s", name, code, &words)
		}
	}
	for name, args := range map[string][]string{"no tree": {"-reader", "1", "-sys", "/nowhere", "--", "1-2"}} {
		_, cmd, words := raw(t, args...)
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%s: %v %s", name, cmd.ProcessState, words)
		}
	}
	cmd := exec.Command(program, "-reader", "1", "--", "1-2") // without a socket
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("without a socket: %v", err)
	}
}

func TestAGateThatAnswersWronglyIsLeft(t *testing.T) {
	dir := t.TempDir()
	for name, answer := range map[string][]byte{
		"nothing": nil, "too short": []byte("PGA1"), "too long": append(gate.EncodeAnswer(gate.Disable, true, 0), 0),
		"for another": gate.EncodeAnswer(gate.Enable, true, 0), "garbage": []byte("garbage!"),
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", ""))
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 1)); err != nil {
			t.Fatal(err)
		}
		go func() {
			c, _, err := unix.Accept(fd)
			if err == nil {
				unix.Read(c, make([]byte, 100))
				if answer != nil {
					unix.Write(c, answer)
				}
				unix.Close(c)
			}
			unix.Close(fd)
		}()
		g, err := usb.DialGate(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := g.Disable("1-2"); !errors.Is(err, usb.ErrGate) {
				t.Errorf("%s: %v", name, err)
			}
		}
		select {
		case <-g.Lost():
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nobody notices that it is gone", name)
		}
		g.Close()
	}
	if _, err := usb.DialGate(filepath.Join(dir, "nowhere")); !errors.Is(err, usb.ErrGate) {
		t.Errorf("%v", err)
	}
}
