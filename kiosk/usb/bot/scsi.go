package bot

import (
	"encoding/binary"
	"fmt"

	"pratique/scanner/blocks"
)

// opcode is the first byte of a SCSI command. The list is closed: these read, and there is no other way to make a command
// than the functions below. A test holds every source file of this package against that.
type opcode byte

const (
	testUnitReady   opcode = 0x00 // SPC-4, 6.47
	requestSense    opcode = 0x03 // SPC-4, 6.39
	inquiry         opcode = 0x12 // SPC-4, 6.6
	readCapacity10  opcode = 0x25 // SBC-3, 5.15
	read10          opcode = 0x28 // SBC-3, 5.11
	read16          opcode = 0x88 // SBC-3, 5.13
	serviceActionIn opcode = 0x9E // SPC-4, 4.2.5; with the action below it is READ CAPACITY (16): SBC-3, 5.16
)

const (
	capacityAction = 0x10

	senseBytes      = 18
	inquiryBytes    = 36
	capacity10Bytes = 8
	capacity16Bytes = 32
)

// command is what goes into a command block wrapper. Only the functions of this file make one.
type command struct {
	cdb   [16]byte
	n     uint8 // of cdb
	reads int   // how many bytes the device is to send
}

func newCommand(op opcode, n uint8, reads int) command {
	c := command{n: n, reads: reads}
	c.cdb[0] = byte(op)
	return c
}

func askReady() command { return newCommand(testUnitReady, 6, 0) }

func askSense() command {
	c := newCommand(requestSense, 6, senseBytes)
	c.cdb[4] = senseBytes
	return c
}

func askInquiry() command {
	c := newCommand(inquiry, 6, inquiryBytes)
	c.cdb[4] = inquiryBytes
	return c
}

func askCapacity10() command { return newCommand(readCapacity10, 10, capacity10Bytes) }

func askCapacity16() command {
	c := newCommand(serviceActionIn, 16, capacity16Bytes)
	c.cdb[1] = capacityAction
	c.cdb[13] = capacity16Bytes
	return c
}

// askRead reads count blocks. READ (10) is what every device knows, READ (16) what those know that are too large for it.
func askRead(first, count uint64, sector int) command {
	if first+count <= 1<<32 && count < 1<<16 {
		c := newCommand(read10, 10, int(count)*sector)
		binary.BigEndian.PutUint32(c.cdb[2:], uint32(first))
		binary.BigEndian.PutUint16(c.cdb[7:], uint16(count))
		return c
	}
	c := newCommand(read16, 16, int(count)*sector)
	binary.BigEndian.PutUint64(c.cdb[2:], first)
	binary.BigEndian.PutUint32(c.cdb[10:], uint32(count))
	return c
}

// The sense keys and codes that are told apart (SPC-4, tables 48 and 49).
const (
	keyNone          = 0x0
	keyRecovered     = 0x1
	keyNotReady      = 0x2
	keyIllegal       = 0x5
	keyUnitAttention = 0x6
	keyAborted       = 0xB

	codeNoMedium      = 0x3A
	codeMediumChanged = 0x28
	codeNotReady      = 0x04
)

// parseSense reads fixed-format sense data (SPC-4, 4.5.3). What is too short or of another format is a sense that says
// nothing.
func parseSense(b []byte) blocks.Sense {
	if len(b) < 3 || b[0]&0x7F != 0x70 {
		return blocks.Sense{}
	}
	s := blocks.Sense{Key: b[2] & 0xF}
	if len(b) >= 14 {
		s.Code, s.Qualifier = b[12], b[13]
	}
	return s
}

// checkCondition is a command that the device carried out as far as to say why it cannot.
type checkCondition struct{ sense blocks.Sense }

func (c *checkCondition) Error() string {
	return fmt.Sprintf("check condition %x/%02x/%02x", c.sense.Key, c.sense.Code, c.sense.Qualifier)
}
