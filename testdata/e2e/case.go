package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pratique/testdata/e2e/usbdevice"
	"pratique/testdata/e2e/wire"
	"pratique/testdata/stick"
)

// Case is one row of the tests: what is plugged into a fresh machine, what is done then, and what must come of it.
type Case struct {
	Name   string
	Full   bool                              // only in the full run
	Open   bool                              // the kernel keeps its defaults, as on any desktop: a control
	Before []Step                            // before anything is plugged in
	Things func(r *Rig) ([]Thing, error)     // what is plugged in, one after the other
	Steps  []Step                            // with all of it plugged in
	Expect Expect                            // at the end
	Check  func(r *Rig, seen Seen) (e error) // what no field of Expect says; nil for nothing
}

// Step is something that is done or waited for.
type Step struct {
	Name string
	Do   func(ctx context.Context, r *Rig) error
}

// Expect is what must come of a case. Its zero value is the strictest: no driver was bound at any moment, nothing became an
// input device, a network interface or a disk, no key arrived, and the devices were asked for nothing but descriptors.
type Expect struct {
	Devices  int      // USB devices that the kernel knows at the end; Any of them
	Drivers  []string // that must have been bound to an interface, in any order; no other may but usbfs, a program's claim
	Inputs   bool     // an input device must have appeared; or must not
	Keys     bool     // an input event must have arrived; or must not
	Nets     bool     // a network interface must have appeared; or must not
	Disks    int      // disks that must have appeared
	Commands bool     // a software stick may have been read; never more
	Allowed  []string // what a driver of the kernel may have sent to a software device besides, by how it begins
}

// Any is as many devices as there are: a port that is switched off and on again has one or none.
const Any = -1

// Seen is what came of a case.
type Seen struct {
	Bus     *wire.Bus
	Drivers []string // that were bound to interfaces of devices at any moment
	Inputs  []string
	Nets    []string
	Disks   []string
	Keys    int
}

// Rig is what a case has while it runs.
type Rig struct {
	*Machine
	Plugged []*Plugged
	Station *Station // of the cases of the station
	Notes   []string // said with the result: times, figures

	watcher *Process // program usbwatch
	heard   int      // lines of it that were waited for

	pests []*Process // clients that misbehave

	dir    string
	hashes map[string]string // of the disk images, before
}

// Note adds a figure to the result of a case.
func (r *Rig) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Image writes one of the sample sticks (package stick) into a file and returns its path.
func (r *Rig) Image(name string) (string, error) {
	for _, s := range stick.Sticks() {
		if s.Name == name {
			path := filepath.Join(r.dir, name+".img")
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
			if err := s.Create(path); err != nil {
				return "", err
			}
			return path, r.Watch(path)
		}
	}
	return "", fmt.Errorf("there is no stick %q", name)
}

// Watch holds a disk image to what it is now.
func (r *Rig) Watch(path string) (err error) {
	r.hashes[path], err = fileHash(path)
	return err
}

// Content returns what a software stick needs to show an image: its blocks of 512 bytes, and how it is read.
func (r *Rig) Content(path string) (blocks uint64, content func(n int, p []byte, off int64), err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	return uint64(info.Size() / 512), func(_ int, p []byte, off int64) {
		if n, err := f.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			clear(p[n:]) // the test's own file: the verdict will be another
		}
	}, nil
}

// Run runs a case and returns what does not hold. An error means that it could not be run.
func (s *Setup) Run(ctx context.Context, c Case) (wrong, notes []string, err error) {
	m, err := s.Restore(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	r := &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}
	defer func() {
		notes = r.Notes
		if err != nil {
			err = fmt.Errorf("%w; the console's last words:\n%s", err, m.Console())
		}
	}()
	if !c.Open {
		if err := m.Guest.LockUSB(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := r.steps(ctx, c.Before); err != nil {
		return nil, nil, err
	}
	if c.Things != nil {
		things, err := c.Things(r)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range things {
			p, err := m.Plug(ctx, t)
			if err != nil {
				return nil, nil, err
			}
			r.Plugged = append(r.Plugged, p)
		}
	}
	if err := r.steps(ctx, c.Steps); err != nil {
		return nil, nil, err
	}
	seen, err := r.seen(ctx)
	if err != nil {
		return nil, nil, err
	}
	wrong = r.judge(c.Expect, seen)
	if c.Check != nil {
		if err := c.Check(r, seen); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	return wrong, nil, nil
}

func (r *Rig) steps(ctx context.Context, steps []Step) error {
	for _, step := range steps {
		if err := step.Do(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	return nil
}

// seen gathers what the guest's kernel did, from all that it said and from what is there now.
func (r *Rig) seen(ctx context.Context) (Seen, error) {
	bus, err := r.Guest.Bus(ctx)
	if err != nil {
		return Seen{}, err
	}
	seen := Seen{Bus: bus, Keys: bus.Keys, Inputs: bus.Inputs, Nets: bus.Nets, Disks: bus.Disks}
	for _, d := range bus.Devices {
		for _, driver := range d.Drivers {
			seen.Drivers = append(seen.Drivers, driver)
		}
	}
	r.Guest.mu.Lock()
	defer r.Guest.mu.Unlock()
	for _, m := range r.Guest.events {
		u := m.Uevent
		onUSB := strings.Contains(u["DEVPATH"], "/usb")
		switch {
		case m.Kind == wire.Input:
			seen.Keys++
		case m.Kind != wire.Uevent:
		case u["ACTION"] == "bind" && u["DEVTYPE"] == "usb_interface":
			seen.Drivers = append(seen.Drivers, u["DRIVER"])
		case u["ACTION"] != "add":
		case u["SUBSYSTEM"] == "input" && onUSB:
			seen.Inputs = append(seen.Inputs, filepath.Base(u["DEVPATH"]))
		case u["SUBSYSTEM"] == "net":
			seen.Nets = append(seen.Nets, u["INTERFACE"])
		case u["SUBSYSTEM"] == "block" && u["DEVTYPE"] == "disk" && onUSB:
			seen.Disks = append(seen.Disks, filepath.Base(u["DEVPATH"]))
		}
	}
	seen.Drivers = slices.DeleteFunc(seen.Drivers, func(driver string) bool { return driver == "usbfs" })
	for _, list := range []*[]string{&seen.Drivers, &seen.Inputs, &seen.Nets, &seen.Disks} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return seen, nil
}

// judge holds what was seen against what must be.
func (r *Rig) judge(want Expect, seen Seen) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if want.Devices != Any && len(seen.Bus.Devices) != want.Devices {
		say("the kernel knows %d devices, not %d", len(seen.Bus.Devices), want.Devices)
	}
	drivers := slices.Sorted(slices.Values(want.Drivers))
	if !slices.Equal(seen.Drivers, drivers) {
		say("drivers %q were bound, and not %q", seen.Drivers, drivers)
	}
	for _, kind := range []struct {
		name string
		want bool
		seen []string
	}{{"input devices", want.Inputs, seen.Inputs}, {"network interfaces", want.Nets, seen.Nets}} {
		if (len(kind.seen) > 0) != kind.want {
			say("%s: %q", kind.name, kind.seen)
		}
	}
	if (seen.Keys > 0) != want.Keys {
		say("%d input events arrived", seen.Keys)
	}
	if len(seen.Disks) != want.Disks {
		say("disks: %q, not %d", seen.Disks, want.Disks)
	}
	for _, p := range r.Plugged {
		if p.Thing.Model == nil {
			continue
		}
		for _, violation := range p.Thing.Model.Violations() {
			if !slices.ContainsFunc(want.Allowed, func(begin string) bool { return strings.HasPrefix(violation, begin) }) {
				say("the stick was sent a %s", violation)
			}
		}
		if s := p.Thing.Model.Storage; s != nil && !want.Commands && len(s.Commands()) > 0 {
			say("the stick was sent %d commands, the first a %v", len(s.Commands()), s.Commands()[0])
		}
	}
	for path, before := range r.hashes {
		if now, err := fileHash(path); err != nil || now != before {
			say("%s is not what it was (%v)", filepath.Base(path), err)
		}
	}
	return wrong
}

// Settle gives the guest the time to do what it should not.
func Settle() Step {
	return Step{"settle", func(ctx context.Context, _ *Rig) error { return sleep(ctx, settle) }}
}

// Appear waits until the kernel knows so many devices.
func Appear(n int) Step {
	return Step{fmt.Sprintf("%d devices appear", n), func(ctx context.Context, r *Rig) error {
		return r.until(ctx, fmt.Sprintf("%d devices", n), func(b *wire.Bus) bool { return len(b.Devices) == n })
	}}
}

// DisksAppear waits until the kernel has made disks of what is plugged.
func DisksAppear(n int) Step {
	return Step{fmt.Sprintf("%d disks appear", n), func(ctx context.Context, r *Rig) error {
		return r.until(ctx, fmt.Sprintf("%d disks", n), func(b *wire.Bus) bool { return len(b.Disks) >= n })
	}}
}

// KeysArrive waits until something was typed.
func KeysArrive() Step {
	return Step{"keys arrive", func(ctx context.Context, r *Rig) error {
		return r.until(ctx, "keys", func(b *wire.Bus) bool { return b.Keys > 0 })
	}}
}

// NetAppears waits for a network interface.
func NetAppears() Step {
	return Step{"a network interface appears", func(ctx context.Context, r *Rig) error {
		return r.until(ctx, "a network interface", func(b *wire.Bus) bool { return len(b.Nets) > 0 })
	}}
}

// Pull pulls a thing out, by its number.
func Pull(n int) Step {
	return Step{fmt.Sprintf("pull %d", n), func(ctx context.Context, r *Rig) error { return r.Plugged[n].Unplug(ctx) }}
}

// ComeBackAs takes a software device off the bus and puts another on its port.
func ComeBackAs(n int, as func() *usbdevice.Device) Step {
	return Step{fmt.Sprintf("%d comes back as another", n), func(ctx context.Context, r *Rig) error {
		from := r.Guest.Mark()
		d := as()
		r.Plugged = append(r.Plugged, &Plugged{Thing: Thing{Model: d}, machine: r.Machine, Server: r.Plugged[n].Server})
		if err := r.Plugged[n].Server.Replace(d); err != nil {
			return err
		}
		if _, err := r.Guest.Uevent(ctx, from, "remove", "usb", "usb_device"); err != nil {
			return err
		}
		_, err := r.Guest.Uevent(ctx, from, "add", "usb", "usb_device")
		return err
	}}
}

// PlugSample plugs in one of QEMU's own sticks, with a sample.
func PlugSample(name string) Step {
	return Step{"plug in " + name, func(ctx context.Context, r *Rig) error {
		path, err := r.Image(name)
		if err != nil {
			return err
		}
		p, err := r.Plug(ctx, Thing{Drives: []Drive{{File: path}}})
		r.Plugged = append(r.Plugged, p)
		return err
	}}
}

// PlugAgain plugs the first software device in again, into the port that it was on.
func PlugAgain() Step {
	return Step{"plug in again", func(_ context.Context, r *Rig) error {
		return r.Plugged[0].Server.Replace(r.Plugged[0].Thing.Model)
	}}
}

// until asks the guest again and again.
func (r *Rig) until(ctx context.Context, what string, yes func(*wire.Bus) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("no %s", what))
	defer cancel()
	for {
		bus, err := r.Guest.Bus(ctx)
		if err != nil {
			return err
		}
		if yes(bus) {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%w; there are %d devices, disks %q, inputs %q, nets %q", err, len(bus.Devices), bus.Disks, bus.Inputs, bus.Nets)
		}
	}
}
