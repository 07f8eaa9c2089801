package udf

import (
	"pratique/scanner/volume"
)

// Identifiers of descriptor tags (3/7.2.1, 4/7.2.1).
const (
	tagPrimary       = 1
	tagAnchor        = 2
	tagPointer       = 3
	tagImplementUse  = 4
	tagPartition     = 5
	tagLogicalVolume = 6
	tagUnallocated   = 7
	tagTerminator    = 8
	tagIntegrity     = 9
	tagFileSet       = 256
	tagName          = 257 // a file identifier descriptor
	tagContinued     = 258 // an allocation extent descriptor
	tagIndirect      = 259
	tagTerminal      = 260
	tagFile          = 261
	tagSpaceBitmap   = 264
	tagExtendedFile  = 266

	tagBytes = 16
)

// checkTag verifies the tag at the beginning of a descriptor, which covers what follows it as far as it says.
func checkTag(b []byte) error {
	if len(b) < tagBytes {
		return volume.Malformed("it is too short for a descriptor.")
	}
	var sum byte
	for i, c := range b[:tagBytes] {
		if i != 4 {
			sum += c
		}
	}
	if sum != b[4] {
		return volume.Malformed("its checksum is wrong.")
	}
	if v := le.Uint16(b[2:]); v != 2 && v != 3 {
		return volume.Malformed("it is of a version that is not known.")
	}
	n := int(le.Uint16(b[10:]))
	if tagBytes+n > len(b) || crc(b[tagBytes:tagBytes+n]) != le.Uint16(b[8:]) {
		return volume.Malformed("its CRC is wrong.")
	}
	return nil
}

func tagOf(b []byte) int { return int(le.Uint16(b)) }

// crcTable is for the polynomial x^16+x^12+x^5+1 (3/7.2.6).
var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

func crc(b []byte) (c uint16) {
	for _, x := range b {
		c = c<<8 ^ crcTable[byte(c>>8)^x]
	}
	return c
}

// unicode decodes OSTA compressed Unicode (UDF 2.1.1): a byte that says how wide characters are, and the characters.
func unicode(b []byte) (string, bool) {
	if len(b) == 0 {
		return "", false
	}
	var units []uint16
	switch {
	case b[0] == 8:
		for _, c := range b[1:] {
			units = append(units, uint16(c))
		}
	case b[0] == 16 && len(b)%2 == 1:
		for i := 1; i < len(b); i += 2 {
			units = append(units, be.Uint16(b[i:]))
		}
	default:
		return volume.WTF8([]uint16{0xFFFD}), false
	}
	return volume.WTF8(units), true
}

// dstring decodes a field of fixed length whose last byte is how much of it counts (1/7.2.12).
func dstring(b []byte) string {
	n := min(int(b[len(b)-1]), len(b)-1)
	s, _ := unicode(b[:n])
	return s
}

// regid is the name in an entity identifier (1/7.4).
func regid(b []byte) string {
	n := 1
	for n < 24 && b[n] != 0 {
		n++
	}
	return string(b[1:n])
}
