package iso9660

import (
	"bytes"
	"encoding/binary"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// tables holds the path tables of a tree (6.9) against its directories. No system of today enters a directory through them,
// but a directory that only they name, or that they leave out, is one that somebody hid or that a damaged record lost.
func (s *survey) tables(t *tree, dirs []directory) error {
	if t.tableLen > maxTable {
		s.Wrong(report.TooLarge, "A path table is larger than this program follows.")
		return nil
	}
	var entered []int64
	for i := range dirs {
		if dirs[i].start >= 0 {
			entered = append(entered, dirs[i].start-dirs[i].extended)
		}
	}
	slices.Sort(entered)
	if t.tableLen > int64(len(entered))*(fixedPath+256) {
		s.Wrong(report.Malformed, "A path table and the directories do not agree.")
		return nil
	}
	raw := make([]byte, t.tableLen)
	for i, at := range t.table {
		var order binary.ByteOrder = le
		if i >= 2 {
			order = be
		}
		switch {
		case at == 0 && i%2 == 1:
			continue // no copy
		case at == 0 || at+t.tableLen > s.fs.src.Size():
			s.Wrong(report.Malformed, "A path table lies outside the volume.")
			continue
		}
		s.understood(at, t.tableLen)
		if err := s.fs.readFull(raw, at); err != nil {
			s.Wrong(report.Unreadable, "A path table could not be read.")
			continue
		}
		if listed, ok := parseTable(raw, order, t.block, len(entered)); !ok || !slices.Equal(listed, entered) {
			s.Wrong(report.Malformed, "A path table and the directories do not agree.")
		}
	}
	return nil
}

// fixedPath is an entry of a path table without the name (9.4).
const fixedPath = 8

// parseTable lists where the directories of a path table lie, in order. With more than most of them it is not ok.
func parseTable(raw []byte, order binary.ByteOrder, block int64, most int) (starts []int64, ok bool) {
	for len(raw) >= fixedPath {
		n := int(raw[0])
		size := fixedPath + n + n%2
		if n == 0 || size > len(raw) || len(starts) == most {
			break
		}
		starts = append(starts, int64(order.Uint32(raw[2:]))*block)
		raw = raw[size:]
	}
	slices.Sort(starts)
	return starts, volume.Zero(raw)
}

// catalogue reads a boot record and its catalogue (El Torito 1.0, https://pdos.csail.mit.edu/6.828/2014/readings/boot-cdrom.pdf).
// What a firmware starts need not be a file, so each image is an item. How long one is it says only roughly: what it does
// not say belongs to a file or to nobody, and is read either way.
func (s *survey) catalogue(raw []byte, at int64) {
	if !bytes.HasPrefix(raw[7:], []byte("EL TORITO SPECIFICATION")) {
		s.Note("boot-record", report.Warn, at, "The volume has a boot record of a kind that is not known; it was scanned.")
		return
	}
	s.Note("boot-images", report.Inform, at, "The disc has programs that a computer may start from.")
	table := make([]byte, sector)
	place := int64(le.Uint32(raw[71:])) * sector
	if place+sector > s.fs.src.Size() {
		s.Wrong(report.Malformed, "The boot catalogue lies behind the end of the medium.")
		return
	}
	if s.fs.readFull(table, place) != nil {
		s.Wrong(report.Unreadable, "The boot catalogue could not be read.")
		return
	}
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += le.Uint16(table[i:])
	}
	if table[0] != 1 || sum != 0 || table[30] != 0x55 || table[31] != 0xAA {
		s.Note("boot-catalogue", report.Warn, place, "The boot catalogue is damaged; what it may lead to was read as it lies.")
	}
	for i := 32; i+32 <= len(table); i += 32 {
		e := table[i : i+32]
		if e[0] != 0x88 && e[0] != 0 || volume.Zero(e) {
			continue // the head of a section, or what continues an entry
		}
		image := volume.Extent{Start: int64(le.Uint32(e[8:])) * sector, Bytes: int64(le.Uint16(e[6:])) * 512}
		switch e[1] & 0xF {
		case 1:
			image.Bytes = 1200 << 10
		case 2:
			image.Bytes = 1440 << 10
		case 3:
			image.Bytes = 2880 << 10
		case 4:
			image.Bytes = s.diskBytes(image.Start)
		}
		if image.Bytes = min(image.Bytes, s.fs.src.Size()-image.Start); image.Start == 0 || image.Bytes <= 0 {
			s.Note("boot-missing", report.Warn, place, "The boot catalogue names a program that lies behind the end of the medium.")
			continue
		}
		s.images.Add(image.Start, image.Bytes)
	}
}

// diskBytes is how long the image of a disk is, by the one partition that it may have.
func (s *survey) diskBytes(at int64) int64 {
	raw := make([]byte, 512)
	if s.fs.readFull(raw, at) != nil {
		return 0
	}
	return (int64(le.Uint32(raw[454:])) + int64(le.Uint32(raw[458:]))) * 512
}
