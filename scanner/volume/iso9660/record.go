package iso9660

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Flags of a directory record (9.1.6).
const (
	flagHidden     = 1 << 0
	flagDirectory  = 1 << 1
	flagAssociated = 1 << 2
	flagMore       = 1 << 7 // the file goes on in the next record

	recordBytes = 33 // without the name
)

// record is one directory record (9.1).
type record struct {
	start, bytes int64 // of the content, without extended attributes
	extended     int64 // bytes of those, which lie before it
	flags        byte
	interleaved  bool
	disc         uint16
	id           []byte // the name as stored
	use          []byte // the system use field
}

// parseRecord reads one record. The block size is the volume's.
func parseRecord(raw []byte, block int64) (record, error) {
	n := int(raw[32])
	if recordBytes+n > len(raw) || n == 0 {
		return record{}, volume.Malformed("its name does not fit into it.")
	}
	r := record{start: int64(le.Uint32(raw[2:])) * block, bytes: int64(le.Uint32(raw[10:])), extended: int64(raw[1]) * block,
		flags: raw[25], interleaved: raw[26] != 0 || raw[27] != 0, disc: le.Uint16(raw[28:]),
		id: bytes.Clone(raw[recordBytes : recordBytes+n]), use: bytes.Clone(systemUse(raw))}
	r.start += r.extended
	if !twice32(raw[2:]) || !twice32(raw[10:]) || !twice16(raw[28:]) {
		return r, volume.Malformed("a number in it is not the same in both orders of bytes.")
	}
	return r, nil
}

// systemUse is what stands behind the name, and behind the byte that makes its end even (9.1.12).
func systemUse(raw []byte) []byte {
	at := recordBytes + int(raw[32])
	at += at % 2
	if at >= len(raw) {
		return nil
	}
	return raw[at:]
}

// self and parent are the names of the first two records of a directory (7.6.2).
func (r *record) self() bool   { return len(r.id) == 1 && r.id[0] == 0 }
func (r *record) parent() bool { return len(r.id) == 1 && r.id[0] == 1 }

// name is what a device shows of a record's own name.
func (t *tree) name(id []byte) (string, error) {
	name := t.text(id)
	if t.naming == joliet && len(id)%2 != 0 {
		return name, volume.Malformed("its name has half a character.")
	}
	i, version := t.version(name)
	if version != 1 {
		return name, nil
	}
	name = name[:i]
	if t.naming != joliet && len(name) > 1 && strings.IndexByte(name, '.') == len(name)-1 {
		name = name[:len(name)-1] // a dot that only parts the name from no extension
	}
	return name, nil
}

// version is the number behind a name's semicolon, and where that is; 0 if there is none (7.5.1).
func (t *tree) version(name string) (at, number int) {
	at = strings.LastIndexByte(name, ';')
	if at <= 0 || t.naming == enhanced {
		return at, 0
	}
	number, err := strconv.Atoi(name[at+1:])
	if err != nil || number < 0 {
		return at, 0
	}
	return at, number
}

// versioned reports whether a name is of a version other than the first.
func (t *tree) versioned(id []byte) bool {
	_, n := t.version(t.text(id))
	return t.naming != rockRidge && n > 1
}

// eachRecord hands out the records of a directory one by one, with their places in it. Sectors that cannot be read count as
// blank, and unread says that there were some. junk says that there are bytes that belong to no record.
func (s *survey) eachRecord(start, length int64, visit func(at int64, raw []byte) error) (unread, junk bool, err error) {
	buf := make([]byte, dirRead)
	for done := int64(0); done < length; {
		part := buf[:min(dirRead, length-done)]
		if s.readSectors(part, start+done) {
			unread = true
		}
		for at := 0; at < len(part); {
			// A record ends in the sector in which it begins (6.8.1.1); a length of zero means that no more begin in it.
			left := part[at:min(at-at%sector+sector, len(part))]
			n := int(left[0])
			if n == 0 {
				junk = junk || !volume.Zero(left)
				at += len(left)
				continue
			}
			if n <= recordBytes || n > len(left) {
				if err := s.damaged("A directory holds a record whose length is impossible."); err != nil {
					return unread, junk, err
				}
				junk = true
				at += len(left)
				continue
			}
			if err := visit(done+int64(at), left[:n]); err != nil {
				return unread, junk, err
			}
			at += n
		}
		done += int64(len(part))
		if s.ctx.Err() != nil {
			return unread, junk, context.Cause(s.ctx)
		}
	}
	return unread, junk, nil
}

// dirRead is how much of a directory is read at once: whole sectors.
const dirRead = 64 << 10

// readSectors fills p, and puts zeros where the medium returned an error.
func (s *survey) readSectors(p []byte, at int64) (unread bool) {
	if n, _ := s.fs.meta.ReadAt(p, at); n == len(p) {
		return false
	}
	for i := 0; i < len(p); i += sector {
		part := p[i:min(i+sector, len(p))]
		if n, _ := s.fs.meta.ReadAt(part, at+int64(i)); n < len(part) {
			clear(part)
			unread = true
		}
	}
	return unread
}

func finding(rule string, severity report.Severity, text string) report.Finding {
	return report.Finding{Check: report.CheckVolume, Rule: rule, Severity: severity, Offset: -1, Text: text}
}
