package bot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
)

const (
	// stepBytes is what one READ asks for. Sticks reach their rate with 1 MiB, and the kernel lends all USB programs 16 MiB
	// together (usbcore.usbfs_memory_mb).
	stepBytes = 1 << 20
	// cautiousBytes is what is asked of a device that failed at more. There are bridges that lose count above 64 KiB
	// (Linux, drivers/usb/storage/unusual_devs.h: MAX_SECTORS_64).
	cautiousBytes = 32 << 10
	// maxBad is how many READs of a unit may fail. Each may take seconds; a medium with more holes is not read to its end.
	maxBad = 256
	// maxAttentions is how often a unit may say that something happened to it, after it was ready.
	maxAttentions = 8
	// readyTimeout is for all units of a device to become ready. A disk takes this long to turn.
	readyTimeout = 20 * time.Second
	readyEvery   = 200 * time.Millisecond
)

// Unit is one logical unit. It implements blocks.Medium if its Info is lun.Good.
type Unit struct {
	Info lun.Unit

	device     *Device
	number     uint8
	step       int // bytes of one READ
	bad        int
	attentions int
	hopeless   blocks.Sense // of the last of maxBad READs
}

// probe asks a device what it has. An error is d.dead or a time-out of the whole.
func (d *Device) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	last, err := d.link.control(getMaxLUN)
	switch {
	case errors.Is(err, errStall), errors.Is(err, errLink): // a device with one unit need not know the request (3.2), nor
		last = 0 // do all of them stall as they should; whoever reads such a device sees one unit
	case err != nil:
		return d.giveUp(err)
	case last >= lun.MaxUnits:
		return d.giveUp(fmt.Errorf("%w: %d units", errProtocol, int(last)+1))
	}
	for number := range int(last) + 1 {
		u := &Unit{device: d, number: uint8(number), step: stepBytes}
		d.Units = append(d.Units, u)
		trouble, err := u.meet(ctx)
		if err != nil {
			return d.giveUp(err)
		}
		u.Info.Trouble = trouble
		if trouble != lun.Good {
			u.Info.Bytes, u.Info.SectorSize = 0, 0
		}
	}
	return nil
}

// meet learns what a unit is, waits until it is ready, and asks twice how large it is. What it learns is a trouble; an error
// means that the device cannot be talked to.
func (u *Unit) meet(ctx context.Context) (lun.Trouble, error) {
	var who [inquiryBytes]byte
	n, err := u.ask(ctx, askInquiry(), who[:])
	if refused(err) || err == nil && n < 5 {
		return lun.Refusing, nil
	}
	if err != nil {
		return lun.Unknown, err
	}
	u.Info.Type, u.Info.Removable = who[0]&0x1F, who[1]&0x80 != 0
	if n == inquiryBytes {
		u.Info.Vendor, u.Info.Product, u.Info.Revision = lun.Text(who[8:16]), lun.Text(who[16:32]), lun.Text(who[32:36])
	}
	// A qualifier that is not zero says that there is no unit of this number. It was counted, so it is told.
	if who[0]>>5 != 0 || !disk(u.Info.Type) {
		return lun.WrongType, nil
	}
	if trouble, err := u.wait(ctx); trouble != lun.Good || err != nil {
		return trouble, err
	}
	bytes, sector, trouble, err := u.capacity(ctx)
	if trouble != lun.Good || err != nil {
		return trouble, err
	}
	again, sectorAgain, trouble, err := u.capacity(ctx)
	if err != nil {
		return lun.Unknown, err
	}
	if again != bytes || sectorAgain != sector || trouble != lun.Good {
		return lun.WrongSize, nil
	}
	u.Info.Bytes, u.Info.SectorSize = bytes, sector
	return lun.Good, nil
}

// disk reports whether a peripheral device type is read with the commands of this package: a disk, a CD-ROM, an optical
// memory, a simplified disk (SPC-4, table 150).
func disk(t uint8) bool { return t == 0x00 || t == 0x05 || t == 0x07 || t == 0x0E }

// ask is do for what is not a READ, with a second try after a reset: a device that was just plugged in may stumble once. One
// that said nothing for so long is not asked again.
func (u *Unit) ask(ctx context.Context, c command, data []byte) (n int, err error) {
	for range 2 {
		n, err = u.device.do(ctx, u.number, c, data, askTimeout)
		if err == nil || refused(err) || errors.Is(err, errSilent) || u.device.dead != nil || ctx.Err() != nil {
			break
		}
	}
	return n, err
}

func refused(err error) bool {
	var check *checkCondition
	return errors.As(err, &check)
}

func senseOf(err error) (s blocks.Sense, ok bool) {
	var check *checkCondition
	if errors.As(err, &check) {
		return check.sense, true
	}
	return s, false
}

// wait asks a unit until it is ready. A unit that was just plugged in first says that it was (6/29), more than once if it
// has more to say: having said it, it may be ready, so it is asked again at once, and with pauses if it goes on.
func (u *Unit) wait(ctx context.Context) (lun.Trouble, error) {
	for said := 0; ; {
		_, err := u.ask(ctx, askReady(), nil)
		if err == nil {
			return lun.Good, nil
		}
		sense, ok := senseOf(err)
		switch {
		case ctx.Err() != nil:
			return lun.NotReady, nil
		case !ok:
			return lun.Unknown, err
		case sense.Key == keyNotReady && sense.Code == codeNoMedium:
			return lun.NoMedium, nil
		case sense.Key == keyUnitAttention && said < maxAttentions:
			said++
			continue
		}
		select {
		case <-ctx.Done():
			return lun.NotReady, nil
		case <-time.After(readyEvery):
		}
	}
}

// capacity asks how large a unit is.
func (u *Unit) capacity(ctx context.Context) (bytes int64, sector int, trouble lun.Trouble, err error) {
	var short [capacity10Bytes]byte
	n, err := u.ask(ctx, askCapacity10(), short[:])
	last, size := uint64(binary.BigEndian.Uint32(short[0:])), binary.BigEndian.Uint32(short[4:])
	if err == nil && n == capacity10Bytes && last == 1<<32-1 { // more than that fits into
		var long [capacity16Bytes]byte
		n, err = u.ask(ctx, askCapacity16(), long[:])
		last, size = binary.BigEndian.Uint64(long[0:]), binary.BigEndian.Uint32(long[8:])
		if n >= 12 {
			n = capacity10Bytes
		} else {
			n = 0
		}
	}
	switch {
	case refused(err) || err == nil && n != capacity10Bytes:
		return 0, 0, lun.Refusing, nil
	case err != nil:
		return 0, 0, lun.Unknown, err
	case size > 4096 || !lun.GoodSector(int(size)) || last >= lun.MaxBytes/uint64(size): // last+1 must fit, too
		return 0, 0, lun.WrongSize, nil
	}
	return int64(last+1) * int64(size), int(size), lun.Good, nil
}

// ReadAt reads whole sectors. Its errors are *blocks.Error. Bytes before a place that cannot be read are returned.
func (u *Unit) ReadAt(p []byte, off int64) (int, error) {
	sector := int64(u.Info.SectorSize)
	if u.Info.Trouble != lun.Good || off < 0 || off%sector != 0 || int64(len(p))%sector != 0 || off > u.Info.Bytes || int64(len(p)) > u.Info.Bytes-off {
		return 0, &blocks.Error{Status: blocks.OutOfRange}
	}
	u.device.mu.Lock()
	defer u.device.mu.Unlock()
	n, tries, step := 0, 0, u.step
	for n < len(p) {
		if u.bad >= maxBad {
			return n, &blocks.Error{Status: blocks.Unreadable, Sense: u.hopeless}
		}
		part := p[n : n+min(step, len(p)-n)]
		err := u.read(part, uint64((off+int64(n))/sector))
		if err == nil {
			n, tries = n+len(part), 0
			continue
		}
		if u.device.dead != nil {
			return n, u.device.dead
		}
		sense, ok := senseOf(err)
		if !ok { // the transfer went wrong, and the device was reset: once more, with less
			if tries++; tries > 1 {
				return n, u.device.giveUp(err)
			}
			u.step = min(u.step, cautiousBytes)
			step = min(step, u.step)
			continue
		}
		switch sense.Key {
		case keyUnitAttention, keyNotReady:
			if err := u.attend(sense); err != nil {
				return n, err
			}
			continue
		case keyIllegal: // some bridges say so to a READ that is too long for them
			if len(part) > cautiousBytes {
				u.bad++
				u.step = cautiousBytes
				step = cautiousBytes
				continue
			}
		case keyNone, keyRecovered, keyAborted: // it went wrong on the way; a second time it counts
			if tries++; tries == 1 {
				continue
			}
		}
		u.bad++
		u.hopeless = sense
		if len(part) > u.Info.SectorSize { // find the place
			step = max(len(part)/2/u.Info.SectorSize, 1) * u.Info.SectorSize
			continue
		}
		return n, &blocks.Error{Status: blocks.Unreadable, Sense: sense}
	}
	return n, nil
}

// read is one READ. Less than was asked for is an error, whatever the device says.
func (u *Unit) read(p []byte, first uint64) error {
	c := askRead(first, uint64(len(p)/u.Info.SectorSize), u.Info.SectorSize)
	n, err := u.device.do(context.Background(), u.number, c, p, readTimeout)
	if err == nil && n != len(p) {
		return fmt.Errorf("%w: %d bytes of %d", errProtocol, n, len(p))
	}
	return err
}

// attend deals with a unit that says that something happened to it. It returns nil if the unit is what it was: then the READ
// is tried again. A medium that may be another is not read on, since what was read belongs to the one before.
func (u *Unit) attend(sense blocks.Sense) error {
	u.attentions++
	switch {
	case sense.Key == keyNotReady && sense.Code != codeNotReady, sense.Key == keyUnitAttention && sense.Code == codeMediumChanged:
		return u.changed()
	case u.attentions > maxAttentions:
		return u.device.giveUp(fmt.Errorf("%w: attention %d times", errProtocol, maxAttentions))
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return u.unchanged(ctx)
}

// changed gives the device up because its medium is another, or another size.
func (u *Unit) changed() error {
	u.device.dead = &blocks.Error{Status: blocks.Changed}
	return u.device.dead
}

// unchanged waits until the unit is ready, and gives the device up if it is not what it was.
func (u *Unit) unchanged(ctx context.Context) error {
	trouble, err := u.wait(ctx)
	if err != nil {
		return u.device.giveUp(err)
	}
	bytes, sector := int64(0), 0
	if trouble == lun.Good {
		if bytes, sector, trouble, err = u.capacity(ctx); err != nil {
			return u.device.giveUp(err)
		}
	}
	switch {
	case trouble == lun.NotReady:
		return u.device.giveUp(errSilent)
	case trouble != lun.Good || bytes != u.Info.Bytes || sector != u.Info.SectorSize:
		return u.changed()
	}
	return nil
}

// Confirm asks every unit that was read once more whether it is ready and how large it is. It is asked after the last read: a
// device that has turned into another one, or went, while nobody read is then not taken for what was read. An error is
// d.dead.
func (d *Device) Confirm(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, u := range d.Units {
		if u.Info.Trouble != lun.Good {
			continue
		}
		if d.dead != nil {
			return d.dead
		}
		_, err := u.ask(ctx, askReady(), nil)
		if sense, ok := senseOf(err); ok {
			err = u.attend(sense) // a card that was taken out and put back says so
		} else if err != nil {
			err = d.giveUp(err)
		} else {
			err = u.unchanged(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Size returns the unit's size in bytes.
func (u *Unit) Size() int64 { return u.Info.Bytes }

// SectorSize returns the size of the unit's sectors in bytes.
func (u *Unit) SectorSize() int { return u.Info.SectorSize }
