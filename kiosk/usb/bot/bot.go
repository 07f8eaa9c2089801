// Package bot reads a USB stick without the kernel's drivers: Bulk-Only Transport (USB Mass Storage Class, Bulk-Only
// Transport 1.0) and the few SCSI commands that reading takes, in user space, over gousb.
//
// A command is three transfers: a command block wrapper of 31 bytes to the device, the data from it, a status wrapper of 13
// bytes from it. This package can send nothing else: a link's out takes a wrapper and its control takes one of three named
// requests, the wrappers are made from a closed list of commands (opcode), all of which read, and the direction in a wrapper
// is always to the host. There is no code here that could write to a medium.
//
// Nothing that a device says is trusted. Tags, signatures, lengths and residues must be right to the last bit. After a
// transfer that went wrong the device is reset as the specification says (5.3.4) and the command is tried once more; a
// device that fails again is given up for good. Reads are held against the capacity, which is asked for twice at the start and
// again whenever the device says that something happened to it.
//
// Limits: each command has a deadline, each device maxRecoveries, each unit maxBad reads that fail, maxAttentions, readyTimeout.
// A device that names no logical unit has one. Residues are taken at their word: there are sticks that send all and say
// otherwise, and they are refused. An endpoint that stalled is cleared by a request to the device alone, since gousb has
// nothing else: the host's side is reset by the xHCI driver itself, while older controllers may lose the next transfer and
// with it, at worst, the device.
package bot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"pratique/scanner/blocks"
)

const (
	wrapperBytes = 31
	statusBytes  = 13
	wrapperSign  = 0x43425355 // "USBC"
	statusSign   = 0x53425355 // "USBS"
	toHost       = 0x80

	// readTimeout is for one READ. Flash that reorganises itself may think for seconds; full speed carries 1 MiB in one.
	readTimeout = 20 * time.Second
	// askTimeout is for every other command.
	askTimeout = 10 * time.Second
	// maxRecoveries is how often a device may be reset in its life. An honest one rarely needs it at all.
	maxRecoveries = 16
)

// request is what may be sent to the control endpoint.
type request uint8

const (
	getMaxLUN  request = iota + 1 // Bulk-Only Transport 1.0, 3.2
	resetBulk                     // 3.1
	clearInput                    // USB 2.0, 9.4.1: the halt of the IN endpoint
	clearOutput
)

// link is the USB device, as far as the protocol needs it. out sends one command wrapper and nothing else. in returns what
// came until the buffer was full or the device sent a short packet. An error is, or wraps, one of those below.
type link struct {
	out     func(context.Context, *[wrapperBytes]byte) error
	in      func(context.Context, []byte) (int, error)
	control func(request) (answer byte, err error)
}

// What a link says about a transfer.
var (
	errStall  = errors.New("the endpoint stalled")
	errSilent = errors.New("the device does not answer")
	errGone   = errors.New("the device is gone")
	errLink   = errors.New("the transfer went wrong")
)

// errProtocol says that the device broke a rule of the protocol.
var errProtocol = errors.New("the device broke the rules of Bulk-Only Transport")

// Device is an open device. Its units may be read side by side: it does one command at a time.
type Device struct {
	Units []*Unit // by number

	link       link
	mu         sync.Mutex
	tag        uint32
	recoveries int
	dead       *blocks.Error // why it is of no use any more
}

// giveUp says why no later command can do better. The first reason stays.
func (d *Device) giveUp(err error) error {
	if d.dead == nil {
		status := blocks.Failed
		switch {
		case errors.Is(err, errGone):
			status = blocks.Gone
		case errors.Is(err, errSilent):
			status = blocks.TimedOut
		}
		d.dead = &blocks.Error{Status: status}
	}
	return d.dead
}

// do carries out one command and reads its data, which may be short if the device says so. An error is a *checkCondition,
// after which the device is fine; d.dead; or what went wrong, after which the device was reset.
func (d *Device) do(ctx context.Context, lun uint8, c command, data []byte, limit time.Duration) (int, error) {
	if d.dead != nil {
		return 0, d.dead
	}
	n, err := d.attempt(ctx, lun, c, data, limit)
	if !errors.Is(err, errFailed) {
		return n, err
	}
	// The sense says why. It is asked for once: a device that cannot say has said nothing.
	var sense [senseBytes]byte
	n, err = d.attempt(ctx, lun, askSense(), sense[:], askTimeout)
	switch {
	case errors.Is(err, errFailed):
		n = 0
	case err != nil:
		return 0, err
	}
	return 0, &checkCondition{parseSense(sense[:n])}
}

// attempt is try, and a reset after what went wrong.
func (d *Device) attempt(ctx context.Context, lun uint8, c command, data []byte, limit time.Duration) (int, error) {
	n, err := d.try(ctx, lun, c, data, limit)
	switch {
	case err == nil || errors.Is(err, errFailed):
		return n, err
	case errors.Is(err, errGone):
		return 0, d.giveUp(err)
	}
	if failure := d.recover(); failure != nil {
		return 0, d.giveUp(failure)
	}
	return 0, err
}

// errFailed is a status wrapper that says that the command failed.
var errFailed = errors.New("the command failed")

// try is one command: three transfers.
func (d *Device) try(ctx context.Context, lun uint8, c command, data []byte, limit time.Duration) (int, error) {
	if len(data) != c.reads {
		return 0, fmt.Errorf("bot: %d bytes for a command that reads %d", len(data), c.reads)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d.tag++
	if err := d.link.out(ctx, wrap(d.tag, lun, c)); err != nil {
		return 0, err // also a stall: the device did not take the wrapper, and must be reset (5.3.1)
	}
	got := 0
	if len(data) > 0 {
		n, err := d.link.in(ctx, data)
		if n < 0 || n > len(data) {
			return 0, errProtocol
		}
		got = n
		switch {
		case errors.Is(err, errStall): // it has no more to send (5.3.2)
			if _, err := d.link.control(clearInput); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		}
	}
	var status [statusBytes]byte
	n, err := d.link.in(ctx, status[:])
	if errors.Is(err, errStall) { // it may stall once before the status (figure 2)
		if _, err := d.link.control(clearInput); err != nil {
			return 0, err
		}
		n, err = d.link.in(ctx, status[:])
	}
	if err != nil {
		return 0, err
	}
	if n != statusBytes {
		return 0, fmt.Errorf("%w: a status of %d bytes", errProtocol, n)
	}
	return got, judge(status, d.tag, len(data), got)
}

func wrap(tag uint32, lun uint8, c command) *[wrapperBytes]byte {
	var w [wrapperBytes]byte
	le := binary.LittleEndian
	le.PutUint32(w[0:], wrapperSign)
	le.PutUint32(w[4:], tag)
	le.PutUint32(w[8:], uint32(c.reads))
	w[12] = toHost
	w[13], w[14] = lun, c.n
	copy(w[15:], c.cdb[:c.n])
	return &w
}

// judge holds a status wrapper against its command (6.3): valid, meaningful, and true of the data that came.
func judge(status [statusBytes]byte, tag uint32, wanted, got int) error {
	le := binary.LittleEndian
	residue := le.Uint32(status[8:])
	switch {
	case le.Uint32(status[0:]) != statusSign:
		return fmt.Errorf("%w: signature", errProtocol)
	case le.Uint32(status[4:]) != tag:
		return fmt.Errorf("%w: tag", errProtocol)
	case status[12] > 1: // a phase error, or a number that is none
		return fmt.Errorf("%w: status %d", errProtocol, status[12])
	case residue > uint32(wanted):
		return fmt.Errorf("%w: residue", errProtocol)
	case status[12] == 1:
		return errFailed
	case int(residue) != wanted-got:
		return fmt.Errorf("%w: residue", errProtocol)
	}
	return nil
}

// recover resets the device's side of the protocol (5.3.4).
func (d *Device) recover() error {
	if d.recoveries++; d.recoveries > maxRecoveries {
		return fmt.Errorf("%w: it was reset %d times", errProtocol, maxRecoveries)
	}
	for _, r := range []request{resetBulk, clearInput, clearOutput} {
		if _, err := d.link.control(r); err != nil {
			return err
		}
	}
	return nil
}
