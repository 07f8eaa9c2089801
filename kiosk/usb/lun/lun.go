// Package lun is the agreement between usbreader, which holds one USB device, and the supervisor that started it.
//
// usbreader opens the device, asks it what it has, closes its jail and says Ready, once, as a frame on its report pipe. After
// that it speaks only on the units' channels (package blocks). When all of them are closed it asks the device whether it is still
// what it was, and ends. If it cannot get so far it ends with one of the exit codes below, which say what was learned of the
// device, without a word from the device itself.
//
//	usbreader usb BUS ADDRESS -config N -interface N -device VID:PID
//	3  the report pipe, for writing
//	4  the channel of unit 0, then those of units 1 to MaxUnits-1: a device says how many units it has when it is open
//
// What a device says about itself is untrusted: Ready.Check holds it against the rules of this package, and the strings are
// printable ASCII and nothing else.
package lun

import (
	"fmt"
	"strings"
)

// The exit codes of usbreader, beside sandbox.ExitSandbox, and 0 for a device that was to its end what it was.
const (
	ExitFailed   = 1 // the supervisor is gone, or the machine failed
	ExitUsage    = 2 // the command line or a descriptor is not as above
	ExitGone     = 3 // the device is not there, or was pulled out
	ExitRefused  = 4 // its descriptors are not those of the device that was authorised, or not those of a stick
	ExitProtocol = 5 // it does not speak Bulk-Only Transport as it must
	ExitSilent   = 6 // it does not answer
	ExitAccess   = 7 // this machine does not let it be opened or claimed
	ExitChanged  = 8 // its medium was changed, or its size, after it was opened
)

const (
	// MaxUnits is how many logical units a device can have (USB Mass Storage Bulk-Only Transport 1.0, 3.2).
	MaxUnits = 16
	// MaxBytes is more than any device that a person can carry in a hand holds, and far from where sums overflow.
	MaxBytes = 1 << 48
	// maxText is the longest of the strings in an INQUIRY answer.
	maxText = 16
)

// ReportFD and FirstUnitFD are the descriptors.
const (
	ReportFD    = 3
	FirstUnitFD = 4
)

// Trouble says why a unit cannot be read. The zero value is none that anybody knows, and not good.
type Trouble uint8

// The troubles.
const (
	Unknown   Trouble = 0
	Good      Trouble = 1 // it can be read
	NoMedium  Trouble = 2 // it has nothing in it, as an empty slot of a card reader
	WrongType Trouble = 3 // it is no disk: a tape, a printer, something unknown
	WrongSize Trouble = 4 // its capacity or sector size is none that a stick can have
	NotReady  Trouble = 5 // it has a medium and does not become ready
	Refusing  Trouble = 6 // it does not answer the commands that every disk knows
)

var troubleWords = [...]string{"unknown", "good", "no medium", "no disk", "impossible size", "not ready", "does not answer as a disk"}

// String returns the words for a trouble.
func (t Trouble) String() string {
	if int(t) < len(troubleWords) {
		return troubleWords[t]
	}
	return troubleWords[Unknown]
}

// Unit is one logical unit.
type Unit struct {
	Trouble    Trouble `cbor:"1,keyasint"`
	Bytes      int64   `cbor:"2,keyasint,omitempty"` // only if it is Good
	SectorSize int     `cbor:"3,keyasint,omitempty"` // only if it is Good: 512, 1024, 2048 or 4096
	Type       uint8   `cbor:"4,keyasint"`           // SCSI peripheral device type: 0 disk, 5 CD-ROM, 7 optical, 14 simple disk
	Removable  bool    `cbor:"5,keyasint"`
	Vendor     string  `cbor:"6,keyasint"` // as the device says; printable ASCII
	Product    string  `cbor:"7,keyasint"`
	Revision   string  `cbor:"8,keyasint"`
}

// Ready is the one message: the device is open, its units are known, and the jail is closed.
type Ready struct {
	Layers []string `cbor:"1,keyasint"`
	Units  []Unit   `cbor:"2,keyasint"`
}

// Check returns an error unless a message could have come from a usbreader that works.
func (r *Ready) Check() error {
	if len(r.Units) == 0 || len(r.Units) > MaxUnits {
		return fmt.Errorf("lun: %d units", len(r.Units))
	}
	for i, u := range r.Units {
		size := u.Bytes > 0 && u.Bytes <= MaxBytes && GoodSector(u.SectorSize) && u.Bytes%int64(u.SectorSize) == 0
		none := u.Bytes == 0 && u.SectorSize == 0
		if u.Trouble > Refusing || (u.Trouble == Good && !size) || (u.Trouble != Good && !none) {
			return fmt.Errorf("lun: unit %d: %v with %d bytes in sectors of %d", i, u.Trouble, u.Bytes, u.SectorSize)
		}
		for _, s := range []string{u.Vendor, u.Product, u.Revision} {
			if s != Text([]byte(s)) {
				return fmt.Errorf("lun: unit %d: a string that nobody may be shown", i)
			}
		}
	}
	return nil
}

// GoodSector reports whether disks have sectors of this size.
func GoodSector(n int) bool { return n == 512 || n == 1024 || n == 2048 || n == 4096 }

// Text returns what may be shown of a string from a device: at most 16 characters of ASCII, others as question marks,
// without spaces at its ends.
func Text(b []byte) string {
	clean := make([]byte, 0, maxText)
	for _, c := range b[:min(len(b), maxText)] {
		if c < ' ' || c > '~' {
			c = '?'
		}
		clean = append(clean, c)
	}
	return strings.TrimSpace(string(clean))
}
