package stick

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// Partition is one row of a partition table.
type Partition struct {
	Start, Bytes int64
	Type         byte // of an MBR: 0x06 FAT16, 0x0C FAT32, 0x07 exFAT and NTFS, 0x16 hidden FAT16
	Active       bool
	// Logical puts it into an MBR's extended partition. The sector that leads to it lies LogicalGap before its start,
	// which must be free.
	Logical bool
	GUID    string // type of a GPT partition; "" means BasicData
	Name    string // of a GPT partition
}

// LogicalGap is how far before a logical partition its own table lies.
const LogicalGap = 1 << 20

// BasicData is the GPT type that Windows gives to every volume it mounts.
const BasicData = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"

const sector = 512

// WriteMBR writes a master boot record in sectors of 512, with the code that starts a machine (at most 440 bytes, mostly
// none). Up to four partitions, or three and logical ones, which come last and in order of their start.
func WriteMBR(w io.WriterAt, parts []Partition, code []byte) error {
	mbr := make([]byte, sector)
	if copy(mbr[:440], code) < len(code) {
		return fmt.Errorf("boot code of %d bytes", len(code))
	}
	le.PutUint32(mbr[440:], 0x50524154)
	mbr[510], mbr[511] = 0x55, 0xAA
	row := 0
	for i, p := range parts {
		if p.Logical {
			last := parts[len(parts)-1]
			first := p.Start - LogicalGap
			if row > 3 {
				return fmt.Errorf("no row is left for the extended partition")
			}
			mbrRow(mbr, row, Partition{Start: first, Bytes: last.Start + last.Bytes - first, Type: 0x0F}, 0)
			if _, err := w.WriteAt(mbr, 0); err != nil {
				return err
			}
			return writeLogical(w, parts[i:])
		}
		if row > 3 {
			return fmt.Errorf("an MBR has four rows, not %d", len(parts))
		}
		mbrRow(mbr, row, p, 0)
		row++
	}
	_, err := w.WriteAt(mbr, 0)
	return err
}

// writeLogical writes the chain of small tables, one before each logical partition.
func writeLogical(w io.WriterAt, parts []Partition) error {
	extended := parts[0].Start - LogicalGap
	for i, p := range parts {
		ebr := make([]byte, sector)
		ebr[510], ebr[511] = 0x55, 0xAA
		mbrRow(ebr, 0, p, p.Start-LogicalGap)
		if i+1 < len(parts) {
			next := parts[i+1]
			mbrRow(ebr, 1, Partition{Start: next.Start - LogicalGap, Bytes: next.Bytes + LogicalGap, Type: 0x05}, extended)
		}
		if _, err := w.WriteAt(ebr, p.Start-LogicalGap); err != nil {
			return err
		}
	}
	return nil
}

// mbrRow fills one row of four; base is what its start counts from.
func mbrRow(table []byte, row int, p Partition, base int64) {
	r := table[446+16*row:]
	if p.Active {
		r[0] = 0x80
	}
	copy(r[1:], chs(p.Start/sector))
	r[4] = p.Type
	copy(r[5:], chs((p.Start+p.Bytes)/sector-1))
	le.PutUint32(r[8:], uint32((p.Start-base)/sector))
	le.PutUint32(r[12:], uint32(p.Bytes/sector))
}

// chs is a sector's number as cylinder, head and sector, of 255 heads and 63 sectors.
func chs(n int64) []byte {
	if n >= 1024*255*63 {
		return []byte{0xFE, 0xFF, 0xFF}
	}
	c, h, s := n/(255*63), n/63%255, n%63+1
	return []byte{byte(h), byte(s | c>>2&0xC0), byte(c)}
}

// WriteGPT writes a protective MBR and both copies of a GUID partition table for a medium of so many bytes in sectors of
// sectorSize. Partitions may lie from 34 sectors (6 of 4096) after the start to 33 (5) before the end.
func WriteGPT(w io.WriterAt, size, sectorSize int64, parts []Partition) error {
	const rows, rowBytes = 128, 128
	table := make([]byte, rows*rowBytes)
	if len(parts) > rows {
		return fmt.Errorf("a GPT has %d rows, not %d", rows, len(parts))
	}
	for i, p := range parts {
		kind := p.GUID
		if kind == "" {
			kind = BasicData
		}
		row := table[i*rowBytes:]
		guid, err := parseGUID(kind)
		if err != nil {
			return err
		}
		copy(row, guid)
		copy(row[16:], fixedGUID(fmt.Sprint("partition ", i)))
		le.PutUint64(row[32:], uint64(p.Start/sectorSize))
		le.PutUint64(row[40:], uint64((p.Start+p.Bytes)/sectorSize-1))
		for k, u := range utf16.Encode([]rune(p.Name)) {
			if k < 36 {
				le.PutUint16(row[56+2*k:], u)
			}
		}
	}
	last := size/sectorSize - 1
	tableSectors := int64(len(table)) / sectorSize
	protective := make([]byte, sector)
	protective[510], protective[511] = 0x55, 0xAA
	row := protective[446:]
	copy(row, "\x00\x00\x02\x00\xEE\xFF\xFF\xFF")
	le.PutUint32(row[8:], 1)
	le.PutUint32(row[12:], uint32(min(last, 0xFFFFFFFF)))
	if _, err := w.WriteAt(protective, 0); err != nil {
		return err
	}
	for _, copyOf := range []struct{ self, other, table int64 }{{1, last, 2}, {last, 1, last - tableSectors}} {
		h := make([]byte, 92)
		copy(h, "EFI PART\x00\x00\x01\x00\x5C")
		le.PutUint64(h[24:], uint64(copyOf.self))
		le.PutUint64(h[32:], uint64(copyOf.other))
		le.PutUint64(h[40:], uint64(2+tableSectors))
		le.PutUint64(h[48:], uint64(last-tableSectors-1))
		copy(h[56:], fixedGUID("disk"))
		le.PutUint64(h[72:], uint64(copyOf.table))
		le.PutUint32(h[80:], rows)
		le.PutUint32(h[84:], rowBytes)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(table))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		if _, err := w.WriteAt(h, copyOf.self*sectorSize); err != nil {
			return err
		}
		if _, err := w.WriteAt(table, copyOf.table*sectorSize); err != nil {
			return err
		}
	}
	return nil
}

// parseGUID turns the usual text into the bytes on the medium: the first three groups are little endian.
func parseGUID(text string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("%q is no GUID", text)
	}
	b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7] = b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]
	return b, nil
}

// fixedGUID is a GUID that is the same every time.
func fixedGUID(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	sum[7] = sum[7]&0x0F | 0x40
	sum[8] = sum[8]&0x3F | 0x80
	return sum[:16]
}
