package ntfs

import (
	"pratique/scanner/volume"
)

// Numbers of the records that have a fixed meaning.
const (
	recordTable   = 0
	recordMirror  = 1
	recordLog     = 2
	recordVolume  = 3
	recordRoot    = 5
	recordBitmap  = 6
	recordBad     = 8
	recordUpcase  = 10
	recordExtend  = 11
	systemRecords = 16 // no system shows a record below this number, but for the root
	firstUser     = 24 // those up to here are kept for the table to grow, and need be neither in use nor marked as free
)

// Types of attributes.
const (
	typeStandard   = 0x10
	typeList       = 0x20
	typeName       = 0x30
	typeObject     = 0x40
	typeSecurity   = 0x50
	typeVolumeName = 0x60
	typeVolumeInfo = 0x70
	typeData       = 0x80
	typeIndexRoot  = 0x90
	typeIndexBlock = 0xA0
	typeBitmap     = 0xB0
	typeReparse    = 0xC0
	typeEAInfo     = 0xD0
	typeEA         = 0xE0
	typeEnd        = 0xFFFFFFFF
)

// Flags of an attribute, in whose low byte stands how it is compressed.
const (
	flagCompressed = 0x0001
	maskCompressed = 0x00FF
	flagEncrypted  = 0x4000
)

// stride: the last two bytes of every 512 are swapped for a number, whatever the sector size, so that a torn write shows.
const stride = 512

// mostBytes is more than any stream can have, and leaves room to add two such numbers.
const mostBytes = 1 << 61

// reference is how records name each other: a number in 48 bits and how often the record was used in 16.
type reference uint64

func (r reference) number() int64 { return int64(r & (1<<48 - 1)) }
func (r reference) use() uint16   { return uint16(r >> 48) }

func refer(number int64, use uint16) reference { return reference(number) | reference(use)<<48 }

// record is one record of the file table.
type record struct {
	number     int64
	use        uint16 // its sequence number
	inUse      bool
	dir        bool
	base       reference // of the record that this one continues; 0 if none
	attributes []attribute
}

// attribute is one attribute, or one piece of a large one.
type attribute struct {
	kind     uint32
	name     string
	flags    uint16
	instance uint16
	record   int64 // where it stands
	resident bool
	value    []byte // of a resident one: a part of the record

	first, last            int64 // the clusters of the stream that this piece has
	allocated, size, valid int64 // bytes; the first piece says so
	unit                   uint8 // of compression, as the power of two of a number of clusters
	runs                   []byte
}

// mend checks the numbers at the ends of the sectors and puts back the bytes that they stand for. It works in place.
func mend(b []byte) error {
	at, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if n != len(b)/stride+1 || at%2 != 0 || at < 30 || at+2*n > stride-2 {
		return volume.Malformed("it does not say how its sectors belong together.")
	}
	for i := 1; i < n; i++ {
		end := b[i*stride-2 : i*stride]
		if end[0] != b[at] || end[1] != b[at+1] {
			return volume.Malformed("its sectors do not belong together.")
		}
		copy(end, b[at+2*i:at+2*i+2])
	}
	return nil
}

// parseRecord reads a record, whose bytes it changes and keeps. A record that is not in use has no attributes.
func parseRecord(b []byte, number int64) (*record, error) {
	if string(b[:4]) != "FILE" {
		return nil, volume.Malformed("it is no record of the file table.")
	}
	if err := mend(b); err != nil {
		return nil, err
	}
	flags := le.Uint16(b[22:])
	r := &record{number: number, use: le.Uint16(b[16:]), inUse: flags&1 != 0, dir: flags&2 != 0, base: reference(le.Uint64(b[32:]))}
	if !r.inUse {
		return r, nil
	}
	at, used := int(le.Uint16(b[20:])), le.Uint32(b[24:])
	if at%8 != 0 || at < 48 || used > uint32(len(b)) || at >= int(used) || le.Uint32(b[28:]) != uint32(len(b)) {
		return nil, volume.Malformed("its lengths are impossible.")
	}
	// Since Windows XP a record says its own number; before, the numbers of the sectors began there.
	if le.Uint16(b[4:]) >= 48 && int64(le.Uint32(b[44:])) != number&0xFFFFFFFF {
		return nil, volume.Malformed("it says that it is another record.")
	}
	if r.use == 0 {
		return nil, volume.Malformed("it says that it was never used.")
	}
	b = b[:used]
	for {
		if at+4 > len(b) {
			return nil, volume.Malformed("it has no end.")
		}
		if le.Uint32(b[at:]) == typeEnd {
			return r, nil
		}
		if at+16 > len(b) {
			return nil, volume.Malformed("it has no end.")
		}
		n := le.Uint32(b[at+4:])
		if n < 24 || n%8 != 0 || n > uint32(len(b)-at) {
			return nil, volume.Malformed("one of its attributes has an impossible length.")
		}
		a, err := parseAttribute(b[at : at+int(n)])
		if err != nil {
			return nil, err
		}
		a.record = number
		r.attributes = append(r.attributes, a)
		at += int(n)
	}
}

// stillNamed reports whether a record that is not in use has kept a name: deleting clears one flag, and what was never used
// is blank. The bytes are mended. They are nobody's any more, so that what contradicts itself here is no damage.
func stillNamed(b []byte) bool {
	for at := int(le.Uint16(b[20:])); at+8 <= len(b); {
		kind, n := le.Uint32(b[at:]), le.Uint32(b[at+4:])
		if kind == typeName || kind == typeEnd {
			return kind == typeName
		}
		if n < 24 || n > uint32(len(b)-at) {
			return false
		}
		at += int(n)
	}
	return false
}

// parseAttribute reads one attribute.
func parseAttribute(b []byte) (attribute, error) {
	impossible := volume.Malformed("one of its attributes contradicts itself.")
	a := attribute{kind: le.Uint32(b), resident: b[8] == 0, flags: le.Uint16(b[12:]), instance: le.Uint16(b[14:])}
	if b[8] > 1 || a.kind == 0 || a.kind%16 != 0 {
		return a, impossible
	}
	if units := int(b[9]); units > 0 {
		at := int(le.Uint16(b[10:]))
		if at+2*units > len(b) {
			return a, impossible
		}
		a.name = volume.WTF8(units16(b[at : at+2*units]))
	}
	if a.resident {
		n, at := le.Uint32(b[16:]), uint32(le.Uint16(b[20:]))
		if n > uint32(len(b)) || at > uint32(len(b))-n || at < 24 {
			return a, impossible
		}
		a.value = b[at : at+n]
		return a, nil
	}
	if len(b) < 64 {
		return a, impossible
	}
	first, last, at := le.Uint64(b[16:]), le.Uint64(b[24:]), int(le.Uint16(b[32:]))
	// An empty one says that its last cluster is the one before the first.
	if first >= 1<<50 || last+1 < first || last+1 > 1<<50 || at < 64 || at > len(b) {
		return a, impossible
	}
	a.first, a.last, a.unit, a.runs = int64(first), int64(last), b[34], b[at:]
	if a.first != 0 {
		return a, nil // only the first piece has the lengths
	}
	for _, field := range []struct {
		into *int64
		at   int
	}{{&a.allocated, 40}, {&a.size, 48}, {&a.valid, 56}} {
		n := le.Uint64(b[field.at:])
		if n > mostBytes {
			return a, impossible
		}
		*field.into = int64(n)
	}
	return a, nil
}

// units16 reads UTF-16 as it is stored.
func units16(b []byte) []uint16 {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = le.Uint16(b[2*i:])
	}
	return u
}

// decodeRuns appends to extents where the clusters of one piece lie.
func decodeRuns(extents []volume.Extent, a *attribute, g *geometry) ([]volume.Extent, error) {
	lost := volume.Malformed("where its clusters lie cannot be followed.")
	left, at := a.last+1-a.first, int64(0)
	if a.last >= mostBytes/g.cluster {
		return extents, lost
	}
	for b := a.runs; ; {
		if len(b) == 0 {
			return extents, lost
		}
		sizes := b[0]
		if sizes == 0 {
			break
		}
		wide, far := int(sizes&0x0F), int(sizes>>4)
		if wide == 0 || wide > 8 || far > 8 || 1+wide+far > len(b) {
			return extents, lost
		}
		n := signed(b[1 : 1+wide])
		if n <= 0 || n > left {
			return extents, lost
		}
		x := volume.Extent{Start: -1, Bytes: n * g.cluster}
		if far > 0 {
			// Both are below 2^63 in size, and what is out of range ends the list, so the sum cannot go round.
			step := signed(b[1+wide : 1+wide+far])
			if step < -g.clusters || step > g.clusters {
				return extents, lost
			}
			if at += step; at < 0 || at > g.clusters-n {
				return extents, lost
			}
			x.Start = g.at(at)
		}
		left -= n
		b = b[1+wide+far:]
		if k := len(extents) - 1; k >= 0 && (x.Start < 0) == (extents[k].Start < 0) && (x.Start < 0 || extents[k].Start+extents[k].Bytes == x.Start) {
			extents[k].Bytes += x.Bytes
			continue
		}
		if len(extents) >= maxExtents {
			return extents, errPieces
		}
		extents = append(extents, x)
	}
	if left != 0 {
		return extents, lost
	}
	return extents, nil
}

// signed decodes a number of one to eight bytes.
func signed(b []byte) int64 {
	n := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		n = n<<8 | int64(b[i])
	}
	return n
}
