package exfat

import (
	"crypto/sha256"
	"encoding/hex"
	"math/bits"

	"pratique/scanner/report"
)

// standardUpcase is the SHA-256 of the table that the specification recommends (7.2.5.1), in full. Windows, macOS and
// Linux all write it, in short or in full.
const standardUpcase = "d82e679f23b7988b320807e81b72f6d965b42068e8aa7f2e0932f07cf349a146"

// readUpcase loads the up-case table (7.2), which says what names a driver takes for the same.
func (fs *FS) readUpcase(w *walker, checksum uint32) {
	const what = "The up-case table: "
	size := fs.table.bytes
	if size == 0 || size > maxUpcase || size%2 != 0 {
		w.Wrong(report.Malformed, "The up-case table has an impossible size.")
		return
	}
	extents, _, err := w.chain(fs.table.first, fs.geo.clustersFor(size), false)
	if err != nil {
		w.blame(what, err)
		return
	}
	var raw []byte
	for _, x := range extents {
		part := make([]byte, min(x.Bytes, size-int64(len(raw))))
		if err := fs.readFull(part, x.Start); err != nil {
			w.blame(what, err)
			return
		}
		raw = append(raw, part...)
	}
	var sum uint32
	for _, b := range raw {
		sum = bits.RotateLeft32(sum, -1) + uint32(b)
	}
	if sum != checksum {
		w.Wrong(report.Malformed, "The checksum of the up-case table is wrong.")
		return
	}
	table, ok := expandUpcase(raw)
	if !ok {
		w.Wrong(report.Malformed, "The up-case table says more than there are letters.")
		return
	}
	fs.upcase = table
	full := make([]byte, 0, 2*len(table))
	for _, u := range table {
		full = le.AppendUint16(full, u)
	}
	if digest := sha256.Sum256(full); hex.EncodeToString(digest[:]) != standardUpcase {
		w.Note("upcase-table", report.Warn, extents[0].Start,
			"The volume has a table of its own for which letters are capitals of which.")
	}
}

// expandUpcase decodes the table: 0xFFFF and a count stand for so many units that stay what they are (7.2.5). What it does
// not mention stays too.
func expandUpcase(raw []byte) ([]uint16, bool) {
	table := make([]uint16, 1<<16)
	for u := range table {
		table[u] = uint16(u)
	}
	u := 0
	for i := 0; i+2 <= len(raw); i += 2 {
		v := le.Uint16(raw[i:])
		// In a table that is written in full the last unit is 0xFFFF itself, with nothing behind it.
		if v == 0xFFFF && i+4 <= len(raw) {
			u += int(le.Uint16(raw[i+2:]))
			i += 2
			continue
		}
		if u >= len(table) {
			return nil, false
		}
		table[u] = v
		u++
	}
	return table, u <= len(table)
}

// nameHash is what a directory entry stores to make searching quick (7.6.4).
func (fs *FS) nameHash(name []uint16) uint16 {
	var h uint16
	for _, u := range name {
		c := fs.upcase[u]
		h = bits.RotateLeft16(h, -1) + c&0xFF
		h = bits.RotateLeft16(h, -1) + c>>8
	}
	return h
}
