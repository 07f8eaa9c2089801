package volume

import (
	"bytes"
	"fmt"

	"pratique/scanner/report"
)

// maxApple is how many entries an Apple partition map may have; disks have 4 to 16, and discs for Macintosh as many.
const maxApple = 64

func isAppleMap(h hit) bool { return h.name == "apple-map" }

// readApple reads the map of partitions that a Macintosh goes by, and that discs for all kinds of computers have beside the
// others: entries of one block each from block 1 on (Inside Macintosh: Devices, chapter 3). A disc may have two in one, in
// blocks of 512 bytes and of 2048; the first sector says which it is made for. It returns false if there is a map that
// cannot be followed, which is refused by name.
func (m *mapper) readApple() bool {
	head, _ := m.read(0, 512)
	large := len(head) == 512 && string(head[:2]) == "ER" && be.Uint16(head[2:]) == 2048
	sizes := []int64{512}
	if large {
		sizes = []int64{512, 2048}
	}
	read := false
	for _, size := range sizes {
		first, _ := m.read(size, 512)
		if len(first) < 512 || string(first[:4]) != "PM\x00\x00" {
			continue
		}
		count := int64(be.Uint32(first[4:]))
		if count == 0 || count > maxApple {
			return false
		}
		for n := int64(1); n <= count; n++ {
			if large && size == 512 && n%4 == 0 {
				continue // an entry for larger blocks lies there
			}
			e, failed := m.read(n*size, 512)
			if failed || len(e) < 512 || string(e[:2]) != "PM" {
				return false
			}
			read = true
			m.claim(n*size, n*size+512, report.RegionTable, "Apple partition map")
			kind, _, _ := bytes.Cut(e[48:80], []byte{0})
			p := part{start: int64(be.Uint32(e[8:])) * size, bytes: int64(be.Uint32(e[12:])) * size, what: fmt.Sprintf("Apple partition %d", n)}
			switch string(kind) {
			case "Apple_partition_map", "Apple_Free", "Apple_Void", "Empty":
				continue // what is there is a gap, or belongs to what else is there
			case "ISO9660_data":
				p.weak = true // a piece of the disc that the map lies on
			}
			m.add(p)
		}
	}
	if read {
		m.tables++
	}
	return read
}
