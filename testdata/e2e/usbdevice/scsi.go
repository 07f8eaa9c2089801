package usbdevice

import (
	"encoding/binary"
	"fmt"
)

// Sense data, as key, code and qualifier (SPC-4 4.5, annex D).
var (
	senseNone       = [3]byte{}
	senseNoMedium   = [3]byte{0x02, 0x3A, 0x00}
	senseNoCommand  = [3]byte{0x05, 0x20, 0x00}
	senseRange      = [3]byte{0x05, 0x21, 0x00}
	senseNoField    = [3]byte{0x05, 0x24, 0x00}
	senseNoLUN      = [3]byte{0x05, 0x25, 0x00}
	sensePowerOn    = [3]byte{0x06, 0x29, 0x00}
	senseNotAllowed = [3]byte{0x07, 0x27, 0x00}
)

// reply returns a command's data, or says that it failed and leaves the reason for REQUEST SENSE.
func (s *Storage) reply(c Command) (data []byte, failed bool) {
	fail := func(sense [3]byte) ([]byte, bool) {
		s.sense = sense
		return nil, true
	}
	if c.Opcode() == requestSense {
		b := make([]byte, 18)
		b[0], b[2], b[7], b[12], b[13] = 0x70, s.sense[0], 10, s.sense[1], s.sense[2]
		s.sense = senseNone
		return b, false
	}
	if int(c.LUN) >= len(s.LUNs) {
		return fail(senseNoLUN)
	}
	l := &s.LUNs[c.LUN]
	if c.Opcode() == inquiry {
		if c.Block[1]&1 != 0 { // no vital product data
			return fail(senseNoField)
		}
		b := make([]byte, 36)
		b[0], b[1], b[2], b[3], b[4] = l.Kind, 0x80, 4, 2, 31
		copy(b[8:], fmt.Sprintf("%-8s%-16s%-4s", "MODEL", fmt.Sprintf("TEST UNIT %d", c.LUN), "1.00"))
		return b, false
	}
	if c.Opcode() == reportLUNs {
		b := make([]byte, 8+8*len(s.LUNs))
		binary.BigEndian.PutUint32(b, uint32(8*len(s.LUNs)))
		for i := range s.LUNs {
			b[8+8*i+1] = byte(i)
		}
		return b, false
	}
	if !s.fresh { // a device tells once that it was just switched on
		s.fresh = true
		return fail(sensePowerOn)
	}
	if l.NoMedium {
		return fail(senseNoMedium)
	}
	switch c.Opcode() {
	case testUnitReady, startStop, preventRemoval:
		return nil, false
	case modeSense6:
		return []byte{3, 0, 0, 0}, false
	case modeSense10:
		return []byte{0, 6, 0, 0, 0, 0, 0, 0}, false
	case readCapacity10:
		last, size := l.capacity()
		b := binary.BigEndian.AppendUint32(nil, uint32(min(last, 1<<32-1)))
		return binary.BigEndian.AppendUint32(b, size), false
	case serviceIn16:
		if c.Block[1]&0x1F != 0x10 {
			return fail(senseNoField)
		}
		last, size := l.capacity()
		b := binary.BigEndian.AppendUint64(nil, last)
		return append(binary.BigEndian.AppendUint32(b, size), make([]byte, 20)...), false
	case read6, read10, read12, read16:
		size := uint64(l.blockBytes())
		if l.Capacity == nil && (c.LBA > l.Blocks || uint64(c.Blocks) > l.Blocks-c.LBA) {
			return fail(senseRange)
		}
		length := uint64(c.Blocks) * size
		if length > maxTransfer || length > uint64(c.Length) {
			length = min(maxTransfer, uint64(c.Length))
		}
		b := make([]byte, length)
		if l.Content != nil {
			l.Content(c.N, b, int64(c.LBA*size))
		}
		return b, false
	}
	if c.changes() && !c.In {
		return fail(senseNotAllowed)
	}
	return fail(senseNoCommand)
}
