package e2e

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"time"

	"pratique/testdata/e2e/usbdevice"
	"pratique/testdata/e2e/usbredir"
)

// Thing is something that can be plugged in. One field of the first three is set.
type Thing struct {
	Drives []Drive           // QEMU's own stick; with more than one, a device of several logical units
	QEMU   Args              // another device of QEMU's, by its driver
	Model  *usbdevice.Device // a software device

	Bus    string // the controller; empty is the first
	Port   string // on the controller, "1" or "1.2" behind a hub on 1; empty is any
	Serial string // of QEMU's own stick
	UAS    bool   // QEMU's own stick speaks UAS and nothing else
}

// Drive is a disk image as a logical unit of QEMU's own stick.
type Drive struct {
	File     string
	ReadOnly bool  // write-protected, as by a switch on the stick
	CD       bool  // a CD-ROM
	BadAt    int64 // if not 0: the block of 512 bytes there cannot be read
	Rate     int64 // bytes in a second; 0 is as fast as the host
}

// Plugged is a thing that is plugged in.
type Plugged struct {
	Thing  Thing
	Server *usbredir.Server // of a software device

	machine *Machine
	id      string
	served  chan error
}

// node makes a QEMU block device of an image and returns its name. The image stays as it is, whoever writes: the stick of a
// test may be written to, but only so that an attempt is seen.
func (m *Machine) node(ctx context.Context, d Drive) (string, error) {
	m.serial++
	name := fmt.Sprintf("node%d", m.serial)
	file := Args{"driver": "file", "filename": d.File, "read-only": d.ReadOnly, "locking": "off"}
	if d.BadAt != 0 {
		file = Args{"driver": "blkdebug", "image": file, "read-only": d.ReadOnly,
			"inject-error": []Args{{"event": "read_aio", "errno": 5, "sector": d.BadAt, "once": false}}}
	}
	node := Args{"driver": "raw", "read-only": d.ReadOnly, "file": file}
	if d.Rate > 0 {
		group := name + "-rate"
		limits := Args{"bps-total": d.Rate}
		if err := m.monitor.do(ctx, "object-add", Args{"qom-type": "throttle-group", "id": group, "limits": limits}, nil); err != nil {
			return "", err
		}
		node = Args{"driver": "throttle", "throttle-group": group, "read-only": d.ReadOnly, "file": node}
	}
	node["node-name"] = name
	return name, m.monitor.do(ctx, "blockdev-add", node, nil)
}

// Plug plugs a thing in. What the guest makes of it is seen later, by its events.
func (m *Machine) Plug(ctx context.Context, t Thing) (*Plugged, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("QEMU does not plug it in"))
	defer cancel()
	m.serial++
	p := &Plugged{Thing: t, machine: m, id: fmt.Sprintf("thing%d", m.serial)}
	device := Args{"id": p.id, "bus": cmp.Or(t.Bus, "xhci") + ".0"}
	if t.Port != "" {
		device["port"] = t.Port
	}
	switch {
	case t.Model != nil:
		return p, p.plugModel(ctx, device)
	case t.QEMU != nil:
		maps.Copy(device, t.QEMU)
		if device["driver"] == "usb-net" {
			if err := m.monitor.do(ctx, "netdev_add", Args{"type": "hubport", "id": p.id + "-net", "hubid": 0}, nil); err != nil {
				return nil, err
			}
			device["netdev"] = p.id + "-net"
		}
		return p, m.monitor.do(ctx, "device_add", device, nil)
	case len(t.Drives) == 1 && !t.UAS && !t.Drives[0].CD:
		node, err := m.node(ctx, t.Drives[0])
		if err != nil {
			return nil, err
		}
		device["driver"], device["drive"], device["removable"], device["rerror"] = "usb-storage", node, true, "report"
		if t.Serial != "" {
			device["serial"] = t.Serial
		}
		return p, m.monitor.do(ctx, "device_add", device, nil)
	}
	device["driver"] = "usb-bot"
	if t.UAS {
		device["driver"] = "usb-uas"
	}
	if err := m.monitor.do(ctx, "device_add", device, nil); err != nil {
		return nil, err
	}
	for lun, d := range t.Drives {
		node, err := m.node(ctx, d)
		if err != nil {
			return nil, err
		}
		unit := Args{"driver": "scsi-hd", "id": fmt.Sprintf("%s-%d", p.id, lun), "bus": p.id + ".0", "scsi-id": 0, "lun": lun, "drive": node}
		if d.CD {
			unit["driver"] = "scsi-cd"
		}
		if err := m.monitor.do(ctx, "device_add", unit, nil); err != nil {
			return nil, err
		}
	}
	// These two are attached by hand once all their units are there.
	return p, m.monitor.do(ctx, "qom-set", Args{"path": "/machine/peripheral/" + p.id, "property": "attached", "value": true}, nil)
}

// plugModel serves a software device to a usb-redir of QEMU's.
func (p *Plugged) plugModel(ctx context.Context, device Args) error {
	m := p.machine
	path := filepath.Join(m.dir, p.id)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer listener.Close()
	plugged := make(chan *usbredir.Server, 1)
	p.served = make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = usbredir.Serve(conn, p.Thing.Model, func(s *usbredir.Server) { plugged <- s })
		}
		p.served <- err
	}()
	backend := Args{"type": "socket", "data": Args{"server": false, "addr": Args{"type": "unix", "data": Args{"path": path}}}}
	if err := m.monitor.do(ctx, "chardev-add", Args{"id": p.id + "-wire", "backend": backend}, nil); err != nil {
		return err
	}
	device["driver"], device["chardev"] = "usb-redir", p.id+"-wire"
	if err := m.monitor.do(ctx, "device_add", device, nil); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-p.served:
		return fmt.Errorf("the connection to the device ends: %w", err)
	case p.Server = <-plugged:
		return nil
	}
}

// Unplug pulls a thing out. A software device goes by itself; QEMU takes its own away.
func (p *Plugged) Unplug(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, fmt.Errorf("QEMU does not take it away"))
	defer cancel()
	if p.Server != nil {
		return p.Server.Unplug()
	}
	return p.machine.monitor.remove(ctx, p.id)
}

// AddDisk gives the guest a disk of its own, for the station's state: /dev/vda, then vdb. With a log, every write and flush of it is
// recorded there (ReadBlockLog). It must be there before the guest looks, so it returns when the kernel has it.
func (m *Machine) AddDisk(ctx context.Context, file, log string) (*Plugged, error) {
	m.serial++
	p := &Plugged{machine: m, id: fmt.Sprintf("disk%d", m.serial)}
	// What the guest flushes is on the host's disk; what it does not flush may not be. Nothing here depends on the host's.
	node := Args{"driver": "raw", "file": Args{"driver": "file", "filename": file, "locking": "off"}}
	if log != "" {
		node = Args{"driver": "blklogwrites", "file": node, "log-sector-size": 512,
			"log": Args{"driver": "raw", "file": Args{"driver": "file", "filename": log}}}
	}
	node["node-name"] = p.id + "-node"
	if err := m.monitor.do(ctx, "blockdev-add", node, nil); err != nil {
		return nil, err
	}
	from := m.Guest.Mark()
	// blklogwrites before QEMU 9 loses its place in the log at a "write zeroes", so the guest is not offered any.
	disk := Args{"driver": "virtio-blk-pci", "id": p.id, "drive": p.id + "-node", "bus": "disk", "write-zeroes": "off", "discard": "off"}
	if err := m.monitor.do(ctx, "device_add", disk, nil); err != nil {
		return nil, err
	}
	_, err := m.Guest.Uevent(ctx, from, "add", "block", "disk")
	return p, err
}

// fileHash returns the SHA-256 of a file.
func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// settle is how long a guest is given to do what it should not: a driver that is going to bind has bound long before.
const settle = 2500 * time.Millisecond
