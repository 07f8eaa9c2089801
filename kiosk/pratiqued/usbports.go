package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/usb"
)

const (
	sysfs = "/sys"
	// returnTime is how long the device of a refused port may take to come back once the port is switched on again.
	returnTime = 3 * time.Second
	// nobody is whom usbreader runs as where it cannot have a user of its own, and so who gets a device's node.
	nobody = 65534
)

// usbPorts joins what the kernel says about the ports with the station. Its events are worked off one after the other on
// one goroutine, so that a refused device is switched off before the next medium is opened: libusb, in that medium's
// reader, looks at every device that there is.
type usbPorts struct {
	*daemon
	gate   *usb.Gate
	policy usb.Policy

	mu   sync.Mutex
	held map[string]*hold // by port
}

// hold is a refused device whose port was switched off. While it is, that nothing is there means nothing.
type hold struct {
	digest [32]byte
	timer  *time.Timer // says that the port is empty if nothing comes back
}

func (d *daemon) startUSB(ctx context.Context, sources *sync.WaitGroup) error {
	policy, err := d.cfg.USB()
	if err != nil {
		return err
	}
	u := &usbPorts{daemon: d, policy: policy, held: map[string]*hold{}}
	if d.options.gate != "" {
		u.gate, err = usb.DialGate(d.options.gate)
	} else {
		u.gate, err = usb.StartGate(context.WithoutCancel(ctx), u.gateConfig())
	}
	if err != nil {
		return err
	}
	if err := u.gate.Defaults(); err != nil {
		return errors.Join(err, u.gate.Close())
	}
	// A station that was killed while a port was off left it off. What is in it comes back now, under guard, as if it were
	// plugged in: it was refused for what it is, and is again.
	for _, port := range usb.Off(sysfs, policy) {
		if err := u.gate.Enable(port); err != nil {
			d.log.Warn("a port cannot be switched on", "port", port, "error", err)
		}
	}
	events, err := usb.Watch(ctx, sysfs, policy)
	if err != nil {
		return errors.Join(err, u.gate.Close())
	}
	sources.Go(func() { u.keepGuard(ctx) })
	sources.Go(func() {
		u.work(events)
		// Sessions end before the gate does: it takes back what their media were given.
		d.station.Stop()
		d.complain(u.gate.Close())
	})
	return nil
}

// keepGuard has usbgate set the kernel's defaults again and again, for a controller that came later, and notices when it dies.
func (u *usbPorts) keepGuard(ctx context.Context) {
	again := time.NewTicker(checkupTime)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			u.complain(u.gate.Defaults())
		case <-u.gate.Lost():
			u.complain(u.gate.Defaults()) // which says why
			return
		}
	}
}

// complain says what went wrong. Without usbgate no device can be let in, and none that lives be killed: that ends the station,
// and whoever starts it again starts another gate.
func (u *usbPorts) complain(err error) {
	u.daemon.complain(err)
	if errors.Is(err, usb.ErrGate) {
		select {
		case u.lost <- err:
		default: // it has been said
		}
	}
}

func (u *usbPorts) gateConfig() usb.GateConfig {
	c := usb.GateConfig{Path: filepath.Join(u.workers, "usbgate"), Reader: nobody}
	if os.Geteuid() != 0 {
		c.Reader = os.Geteuid()
	}
	for port := range u.policy.Media {
		c.Media = append(c.Media, port)
	}
	for _, own := range u.policy.Own {
		c.Own = append(c.Own, own.Port)
	}
	return c
}

// work takes events as they come, since Watch must not be kept waiting, and works them off in order.
func (u *usbPorts) work(events <-chan usb.Event) {
	var todo []usb.Event
	busy, done := make(chan usb.Event), make(chan struct{})
	go func() {
		defer close(done)
		for e := range busy {
			u.happened(e)
		}
	}()
	for events != nil || len(todo) > 0 {
		var next usb.Event
		out := busy
		if len(todo) == 0 {
			out = nil
		} else {
			next = todo[0]
		}
		select {
		case e, open := <-events:
			if !open {
				events = nil
				continue
			}
			todo = append(todo, e)
		case out <- next:
			todo = todo[1:]
		}
	}
	close(busy)
	<-done
}

func (u *usbPorts) happened(e usb.Event) {
	switch e.Kind {
	case usb.Attached:
		u.release(e.Port)
		u.attach(e.Device, e.Decision)
	case usb.Admitted:
		var err error
		if e.Decision.Action == usb.Hub {
			err = u.gate.AdmitHub(e.Device, e.Decision.Interface)
		} else {
			err = u.gate.AdmitOwn(e.Device)
		}
		u.complain(err)
	case usb.Refused, usb.Changed:
		u.refuse(e.Device, e.Decision)
	case usb.Removed:
		if !u.holds(e.Port) {
			u.gone(e.Port)
		}
	case usb.Problem:
		u.log.Error("the USB ports cannot be seen", "error", e.Err)
		u.health.set("usb", ailment{"The USB ports cannot be seen.", true})
	case usb.Watching:
		u.health.set("usb", ailment{})
	}
}

// attach hands a medium to the station. Opening it is the station's job, on a goroutine of its own.
func (u *usbPorts) attach(d usb.Device, decision usb.Decision) {
	if name, ok := u.policy.Socket(d.Port); ok {
		u.complain(u.station.AddPort(kiosk.PortConfig{ID: d.Port, Name: name}))
	}
	u.log.Info("a medium", "device", d.Details())
	u.complain(u.station.Plug(d.Port, kiosk.Plugged{Open: func(ctx context.Context) (*kiosk.Medium, error) { return u.open(ctx, d, decision) }}))
}

// open lets a device live, and has it read. When the medium is closed, the device is dead again. Its node belongs to the
// reader's user for as long as the reader takes to open it; what is open stays open.
func (u *usbPorts) open(ctx context.Context, d usb.Device, decision usb.Decision) (*kiosk.Medium, error) {
	back := func() { u.complain(u.gate.Deauthorise(d.Port)) }
	err := u.gate.Authorise(d, decision.Interface)
	if err == nil {
		err = u.gate.HandOver(d)
	}
	if err != nil {
		back()
		return nil, err
	}
	m, err := kiosk.OpenUSB(ctx, u.want, kiosk.USBDevice{Bus: d.Bus, Address: d.Address, Configuration: decision.Config,
		Interface: decision.Interface, VID: d.Vendor, PID: d.Product, Serial: d.Serial})
	u.complain(u.gate.TakeBack(d))
	if err != nil {
		back()
		return nil, err
	}
	m.Untouched = func() bool { return usb.Untouched(sysfs, d) }
	shut := m.Shut
	m.Shut = func() {
		if shut != nil {
			shut()
		}
		back()
	}
	return m, nil
}

// refuse shows and records a device that may not live, and switches its port off for a while. What comes back as it was is
// refused again without another entry.
func (u *usbPorts) refuse(d usb.Device, decision usb.Decision) {
	u.complain(u.gate.Deauthorise(d.Port))
	name, media := u.policy.Socket(d.Port)
	off, again := media && u.forItself(d, decision.Code), false
	if off {
		again = u.hold(d)
	} else {
		u.release(d.Port)
	}
	if media {
		u.complain(u.station.AddPort(kiosk.PortConfig{ID: d.Port, Name: name}))
	}
	if !again {
		u.log.Warn("a device was refused", "why", string(decision.Code), "device", d.Details())
		err := u.station.Refuse(d.Port, kiosk.Refusal{Code: string(decision.Code), Text: decision.Text, VID: d.Vendor, PID: d.Product, Digest: d.Digest})
		if media { // elsewhere there is no port to show it on
			u.complain(err)
		}
	}
	if !off {
		return
	}
	if err := u.gate.Disable(d.Port); err != nil { // it stays on, so it shows when what is there is pulled
		u.complain(err)
		u.release(d.Port)
		return
	}
	time.AfterFunc(usb.HoldOff, func() { u.complain(u.gate.Enable(d.Port)) })
}

// forItself reports whether a device would be refused however it came. Else its port stays on: off and on again would look
// like a stick that was plugged in anew, and it would be read.
func (u *usbPorts) forItself(d usb.Device, code usb.Code) bool {
	return !code.Arrival() || usb.Decide(d, u.policy).Action == usb.Refuse
}

// hold notes a refusal, and reports whether it is that of a device that came back as it was.
func (u *usbPorts) hold(d usb.Device) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.held[d.Port]
	if old != nil {
		old.timer.Stop()
		again = old.digest == d.Digest
	}
	h := &hold{digest: d.Digest}
	h.timer = time.AfterFunc(usb.HoldOff+returnTime, func() {
		u.mu.Lock()
		mine := u.held[d.Port] == h
		if mine {
			delete(u.held, d.Port)
		}
		u.mu.Unlock()
		if mine {
			u.gone(d.Port)
		}
	})
	u.held[d.Port] = h
	return again
}

// release forgets a refusal: something else is in the port.
func (u *usbPorts) release(port string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if h := u.held[port]; h != nil {
		h.timer.Stop()
		delete(u.held, port)
	}
}

func (u *usbPorts) holds(port string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held[port] != nil
}

// gone tells the station that a port is empty. One that it never heard of is none of its own.
func (u *usbPorts) gone(port string) {
	if _, ok := u.policy.Socket(port); ok {
		u.complain(u.station.Unplug(port))
	}
}
