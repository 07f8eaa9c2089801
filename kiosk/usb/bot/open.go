package bot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/gousb"

	"pratique/scanner/blocks"
)

// The reasons why a device could not be opened.
var (
	ErrAccess   = errors.New("bot: this machine does not let the device be opened or claimed")
	ErrGone     = errors.New("bot: the device is not there")
	ErrRefused  = errors.New("bot: the device is not the one that was authorised, or no stick")
	ErrProtocol = errors.New("bot: the device does not speak Bulk-Only Transport as it must")
	ErrSilent   = errors.New("bot: the device does not answer")
)

// Address is which device is meant, and as what it was authorised.
type Address struct {
	Bus, Number              int
	Vendor, Product          uint16
	Configuration, Interface int
}

// controlTimeout is for one control transfer. USB 2.0, 9.2.6 allows a device 5 s.
const controlTimeout = 5 * time.Second

const (
	classStorage     = 0x08
	subclassSCSI     = 0x06
	protocolBulkOnly = 0x50
	maxInterfaces    = 32 // a stick has one
)

// Open opens a device, claims its interface and learns what units it has. The device stays open for the life of the
// process, which serves nothing else: gousb is given no chance to hand an interface back to a driver. What the kernel is
// told is to claim an interface and, if that has several settings, which one; the configuration stays as it is.
//
// gousb reads the descriptors of every device on the machine, and panics on some that a hostile one can send. Nothing that
// it says after that is used.
func Open(ctx context.Context, a Address) (d *Device, err error) {
	defer func() {
		if r := recover(); r != nil {
			d, err = nil, fmt.Errorf("%w: its descriptors, or another device's, stopped the enumeration", ErrRefused)
			var code gousb.Error
			if e, ok := r.(error); ok && errors.As(e, &code) { // libusb itself could not start
				err = fmt.Errorf("%w: %w", ErrAccess, code)
			}
		}
	}()
	seen := 0
	devices, err := gousb.NewContext().OpenDevices(func(desc *gousb.DeviceDesc) bool {
		if desc.Bus != a.Bus || desc.Address != a.Number {
			return false
		}
		seen++
		return seen == 1
	})
	switch {
	case seen > 1:
		return nil, fmt.Errorf("%w: there is more than one at its address", ErrRefused)
	case len(devices) == 1: // what is wrong with another device is not this one's fault
	case errors.Is(err, gousb.ErrorNoDevice) || errors.Is(err, gousb.ErrorNotFound) || seen == 0 && err == nil:
		return nil, ErrGone
	case seen == 1:
		return nil, fmt.Errorf("%w: %w", ErrAccess, err)
	default: // libusb could not read the descriptors of some device, and this one is missing
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	usb := devices[0]
	usb.ControlTimeout = controlTimeout
	setting, err := choose(usb.Desc, a)
	if err != nil {
		return nil, err
	}
	l, err := claim(usb, a, setting)
	if err != nil {
		return nil, err
	}
	d = &Device{link: l}
	if err := d.probe(ctx); err != nil {
		return nil, opening(err)
	}
	return d, nil
}

// opening turns why a device was given up while it was asked into an error of Open.
func opening(err error) error {
	var e *blocks.Error
	if errors.As(err, &e) {
		switch e.Status {
		case blocks.Gone:
			return ErrGone
		case blocks.TimedOut:
			return ErrSilent
		}
	}
	return ErrProtocol
}

// choose returns the setting of the interface that speaks Bulk-Only Transport. Everything about the device must be as it
// was when it was authorised, and every interface must be storage: this is the second look, at what gousb saw.
func choose(desc *gousb.DeviceDesc, a Address) (*gousb.InterfaceSetting, error) {
	if uint16(desc.Vendor) != a.Vendor || uint16(desc.Product) != a.Product {
		return nil, fmt.Errorf("%w: another vendor or product", ErrRefused)
	}
	config, ok := desc.Configs[a.Configuration]
	if !ok || len(config.Interfaces) == 0 || len(config.Interfaces) > maxInterfaces {
		return nil, fmt.Errorf("%w: no such configuration, or one without interfaces", ErrRefused)
	}
	var found *gousb.InterfaceSetting
	for i, face := range config.Interfaces {
		// gousb uses an interface's number as an index (v1.1.3, Config.Interface), and would end the process.
		if face.Number != i {
			return nil, fmt.Errorf("%w: interface %d has number %d", ErrRefused, i, face.Number)
		}
		for j := range face.AltSettings {
			s := &face.AltSettings[j]
			if s.Number != i || s.Class != classStorage {
				return nil, fmt.Errorf("%w: interface %d is not storage", ErrRefused, i)
			}
			if i == a.Interface && s.SubClass == subclassSCSI && s.Protocol == protocolBulkOnly && found == nil {
				found = s
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: interface %d does not speak Bulk-Only Transport", ErrRefused, a.Interface)
	}
	return found, nil
}

// claim claims an interface and makes a link of its two endpoints.
func claim(usb *gousb.Device, a Address, setting *gousb.InterfaceSetting) (link, error) {
	if active, err := usb.ActiveConfigNum(); err != nil {
		return link{}, access(usb, err)
	} else if active != a.Configuration { // gousb would change it
		return link{}, fmt.Errorf("%w: configuration %d is active", ErrRefused, active)
	}
	config, err := usb.Config(a.Configuration)
	if err != nil {
		return link{}, access(usb, err)
	}
	face, err := config.Interface(a.Interface, setting.Alternate)
	if err != nil {
		return link{}, access(usb, err)
	}
	var in *gousb.InEndpoint
	var out *gousb.OutEndpoint
	for _, e := range setting.Endpoints {
		switch {
		case e.TransferType != gousb.TransferTypeBulk:
			return link{}, fmt.Errorf("%w: an endpoint that is not bulk", ErrRefused)
		case e.Direction == gousb.EndpointDirectionIn && in == nil:
			in, err = face.InEndpoint(e.Number)
		case e.Direction == gousb.EndpointDirectionOut && out == nil:
			out, err = face.OutEndpoint(e.Number)
		default:
			return link{}, fmt.Errorf("%w: too many endpoints", ErrRefused)
		}
		if err != nil {
			return link{}, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if in == nil || out == nil {
		return link{}, fmt.Errorf("%w: an endpoint is missing", ErrRefused)
	}
	return link{
		out: func(ctx context.Context, w *[wrapperBytes]byte) error {
			n, err := out.WriteContext(ctx, w[:])
			if err == nil && n != len(w) {
				return errLink
			}
			return transferred(ctx, err)
		},
		in: func(ctx context.Context, p []byte) (int, error) {
			n, err := in.ReadContext(ctx, p)
			return n, transferred(ctx, err)
		},
		control: func(r request) (byte, error) {
			var answer [1]byte
			n, err := 0, errLink
			switch r {
			case getMaxLUN:
				if n, err = usb.Control(0xA1, 0xFE, 0, uint16(a.Interface), answer[:]); err == nil && n != len(answer) {
					err = errLink
				}
			case resetBulk:
				_, err = usb.Control(0x21, 0xFF, 0, uint16(a.Interface), nil)
			case clearInput:
				_, err = usb.Control(0x02, 0x01, 0, uint16(in.Desc.Address), nil)
			case clearOutput:
				_, err = usb.Control(0x02, 0x01, 0, uint16(out.Desc.Address), nil)
			}
			return answer[0], transferred(context.Background(), err)
		},
	}, nil
}

// access sorts an error of the kernel about a device that was found. gousb makes text of most, so the device is asked again.
func access(usb *gousb.Device, err error) error {
	if _, again := usb.ActiveConfigNum(); errors.Is(transferred(context.Background(), again), errGone) {
		return ErrGone
	}
	return fmt.Errorf("%w: %w", ErrAccess, err)
}

// transferred turns gousb's errors into a link's. Some come as they are, others within text.
func transferred(ctx context.Context, err error) error {
	is := func(all ...error) bool {
		for _, e := range all {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return nil
	case is(gousb.ErrorNoDevice, gousb.TransferNoDevice, errGone):
		return errGone
	case is(gousb.ErrorPipe, gousb.TransferStall):
		return errStall
	case is(gousb.ErrorTimeout, gousb.TransferTimedOut), is(gousb.TransferCancelled) && ctx.Err() != nil:
		return errSilent
	}
	return fmt.Errorf("%w: %w", errLink, err)
}
