package ext

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcRaw is CRC-32C as Linux computes it: without the inversions before and behind, so that it can be continued.
func crcRaw(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// crc16 is the checksum of group descriptors before there were others: CRC-16 with the polynomial 0x8005, reflected.
func crc16(seed uint16, p []byte) uint16 {
	for _, b := range p {
		seed ^= uint16(b)
		for range 8 {
			if seed&1 != 0 {
				seed = seed>>1 ^ 0xA001
			} else {
				seed >>= 1
			}
		}
	}
	return seed
}

// crcAround is a checksum over p, in which the n bytes that hold the checksum itself count as zeros.
func crcAround(seed uint32, p []byte, at, n int) uint32 {
	seed = crcRaw(seed, p[:at])
	seed = crcRaw(seed, make([]byte, n))
	return crcRaw(seed, p[at+n:])
}

// descriptorSealed verifies a group's descriptor.
func (g *geometry) descriptorSealed(number int64, d []byte) bool {
	const at = 30
	nr := le.AppendUint32(nil, uint32(number))
	want := le.Uint16(d[at:])
	switch {
	case g.summed():
		return uint16(crcAround(crcRaw(g.seed, nr), d, at, 2)) == want
	case g.ro&roGroupSums != 0:
		sum := crc16(crc16(^uint16(0), g.uuid[:]), nr)
		sum = crc16(sum, d[:at])
		if len(d) > at+2 {
			sum = crc16(sum, d[at+2:])
		}
		return sum == want
	}
	return true
}

// bitmapSealed verifies one of a group's bitmaps. Descriptors of 32 bytes have room for half of the checksum.
func (g *geometry) bitmapSealed(bitmap []byte, bits int64, want uint32) bool {
	if !g.summed() {
		return true
	}
	sum := crcRaw(g.seed, bitmap[:bits/8])
	if g.descriptor < 64 {
		return uint16(sum) == uint16(want)
	}
	return sum == want
}

// inodeSeed begins the checksums of an inode and of all that belongs to it.
func (g *geometry) inodeSeed(number int64, generation uint32) uint32 {
	seed := crcRaw(g.seed, le.AppendUint32(nil, uint32(number)))
	return crcRaw(seed, le.AppendUint32(nil, generation))
}

// inodeSealed verifies an inode. One without room behind the first 128 bytes has half of the checksum.
func (g *geometry) inodeSealed(number int64, raw []byte) bool {
	if !g.summed() {
		return true
	}
	const low, high = 124, 130
	seed := g.inodeSeed(number, le.Uint32(raw[100:]))
	want := uint32(le.Uint16(raw[low:]))
	whole := len(raw) > oldInode && le.Uint16(raw[oldInode:]) >= 4
	sum := crcRaw(seed, raw[:low])
	sum = crcRaw(sum, []byte{0, 0})
	if whole {
		sum = crcAround(sum, raw[low+2:], high-low-2, 2)
		return sum == want|uint32(le.Uint16(raw[high:]))<<16
	}
	return uint16(crcRaw(sum, raw[low+2:])) == uint16(want)
}

// extentsSealed verifies a block of an extent tree, whose checksum stands behind the room for its entries.
func (g *geometry) extentsSealed(seed uint32, b []byte) bool {
	if !g.summed() {
		return true
	}
	at := extentHeader + int(le.Uint16(b[4:]))*extentRecord
	return at+4 <= len(b) && crcRaw(seed, b[:at]) == le.Uint32(b[at:])
}

// attributesSealed verifies a block of extended attributes.
func (g *geometry) attributesSealed(number int64, b []byte) bool {
	const at = 16
	return !g.summed() || crcAround(crcRaw(g.seed, le.AppendUint64(nil, uint64(number))), b, at, 4) == le.Uint32(b[at:])
}

// directorySealed verifies a block of a directory: a leaf has its checksum in what looks like an entry of 12 bytes at its
// end, a block of the index behind the room for its entries.
func (g *geometry) directorySealed(seed uint32, b []byte) bool {
	if !g.summed() {
		return true
	}
	if at, ok := indexEntries(b); ok {
		limit, count := int(le.Uint16(b[at:])), int(le.Uint16(b[at+2:]))
		tail := at + limit*8
		if count > limit || tail+8 > len(b) {
			return false
		}
		sum := crcRaw(seed, b[:at+count*8])
		sum = crcRaw(sum, b[tail:tail+4])
		return crcRaw(sum, make([]byte, 4)) == le.Uint32(b[tail+4:])
	}
	tail := b[len(b)-12:]
	return leafTail(tail) && crcRaw(seed, b[:len(b)-12]) == le.Uint32(tail[8:])
}

// leafTail reports whether the last 12 bytes of a block of a directory are its checksum.
func leafTail(b []byte) bool {
	return le.Uint32(b) == 0 && le.Uint16(b[4:]) == 12 && b[6] == 0 && b[7] == 0xDE
}

// indexEntries says where in a block of a directory the entries of an index begin. The block then looks like one empty
// entry, or like "." and "..", of which the second takes all the rest.
func indexEntries(b []byte) (at int, ok bool) {
	switch n := len(b); {
	case recordBytes(b, n) == n && le.Uint32(b) == 0 && b[6] == 0:
		return 8, true
	case recordBytes(b, n) == 12 && recordBytes(b[12:], n) == n-12 && le.Uint32(b[24:]) == 0 && b[29] == 8:
		return 32, true
	}
	return 0, false
}
