package kiosk

import (
	"context"
	"errors"
	"fmt"

	"pratique/kiosk/usb/lun"
	"pratique/kiosk/worker"
	"pratique/scanner/report"
)

// The codes of a device that could not be read. Each bars a clearance.
const (
	DeviceGone     Code = worker.CodeGone
	DeviceRefused  Code = worker.CodeRefused
	DeviceProtocol Code = worker.CodeNoStorage
	DeviceSilent   Code = worker.CodeSilent
	DeviceChanged  Code = worker.CodeDeviceChanged
	ReaderDied     Code = worker.CodeReaderDied
)

// USBDevice is a device that was authorised for reading.
type USBDevice struct {
	Bus, Address             int
	Configuration, Interface int
	VID, PID                 uint16
	Serial                   string // as the device says; raw bytes
}

// OpenUSB starts the process that reads a device. What is learned of a device that cannot be read is in the medium, and
// bars it; an error is a failure of the kiosk.
func OpenUSB(ctx context.Context, want Screening, d USBDevice) (*Medium, error) {
	// The reader lives as long as the medium; until it is open, as long as who waits for it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	opened := context.AfterFunc(ctx, end)
	r, err := worker.StartReader(life, worker.ReaderConfig{Dir: want.Workers, Bus: d.Bus, Address: d.Address, Configuration: d.Configuration,
		Interface: d.Interface, Vendor: d.VID, Product: d.PID, RequireNamespaces: want.RequireNamespaces})
	m := &Medium{Kind: "usb", VID: d.VID, PID: d.PID, Serial: d.Serial, Once: true}
	opened()
	var learned *worker.DeviceError
	switch {
	case errors.As(err, &learned):
		end()
		m.Refused = learned
		return m, nil
	case err != nil:
		end()
		return nil, workerError(err)
	}
	m.Shut = func() { r.Close(); end() }
	m.Finish = r.Finish
	for i, u := range r.Units {
		unit := Unit{File: u.Blocks, Bytes: u.Bytes, Sector: u.SectorSize}
		if u.Trouble != lun.Good && u.Trouble != lun.NoMedium {
			text := fmt.Sprintf("Part %d of the device cannot be read: %v.", i+1, u.Trouble)
			unit.Unread = &report.Shortfall{Code: string(Unreadable), Text: text}
		}
		m.Units = append(m.Units, unit)
	}
	return m, nil
}
