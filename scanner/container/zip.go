package container

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
	"golang.org/x/text/encoding/charmap"

	"pratique/scanner/container/lz"
	"pratique/scanner/container/lzma"
	"pratique/scanner/report"
)

// ZIP, after PKWARE's APPNOTE.TXT 6.3.10. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
//
// The table of contents at the end says which members there are, and each member's own header says it again: programs believe
// the one or the other. So every member of the table is opened, what the table does not name is searched for between the
// members, and where both differ the archive is malformed, whichever is right. Sizes decide nothing but where a stored member
// ends: packed data has an end of its own, and is unpacked up to there whatever the header says.
const (
	zipLocal      = "PK\x03\x04"
	zipCentral    = "PK\x01\x02"
	zipEnd        = "PK\x05\x06"
	zipEnd64      = "PK\x06\x06"
	zipLocator64  = "PK\x06\x07"
	zipLocalSize  = 30
	zipEntrySize  = 46
	zipEndSize    = 22
	zipEnd64Size  = 56
	zipEndReach   = 1<<16 - 1 + zipEndSize // how far from the end the end record can be (4.3.16)
	zipEncrypted  = 1 << 0
	zipDescriptor = 1 << 3 // sizes and checksum stand behind the data
	zipUTF8       = 1 << 11
	zipMasked     = 1 << 13 // the headers hide their values, the table of contents is encrypted
	zipStored     = 0
	zipAES        = 99
	zipEntries    = MaxMembers + 1
)

var le, be = binary.LittleEndian, binary.BigEndian

// zipMember is what the table of contents or a local header says of one member.
type zipMember struct {
	name           string
	flags, method  uint16
	crc            uint32
	packed, size   int64
	at             int64 // of the local header
	data           int64 // of the packed bytes
	end            int64 // where the packed bytes must end at the latest
	hidden         bool
	descriptor, ok bool
}

func isZIP(c *Content) bool {
	if c.has(0, zipLocal) || c.has(0, "PK\x07\x08"+zipLocal) || c.has(0, "PK00"+zipLocal) || c.has(0, zipEnd) {
		return true
	}
	d := zipTable(c)
	// What is embedded in a compound file lies in sectors, in any order: only an archive that ends with the file is one here.
	return d != nil && (d.end == c.Size || !c.has(0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"))
}

// zipDirectory is where the table of contents lies.
type zipDirectory struct {
	at, size, end int64 // of the table, and the end of the end record
	entries       int64
	base          int64 // what is to be added to its offsets: something may stand before the archive
}

// zipTable looks for the end record from the end backwards, as unpackers do, and believes the first whose table is where it
// says, or would be if nothing stood before the archive.
func zipTable(c *Content) *zipDirectory {
	n := min(c.Size, zipEndReach)
	b := c.piece(c.Size-n, n)
	var places []int64 // found from the front, because Go searches faster forwards, and tried from the back
	for at := 0; at < len(b); at += 4 {
		i := bytes.Index(b[at:], []byte(zipEnd))
		if i < 0 {
			break
		}
		at += i
		places = append(places, c.Size-n+int64(at))
	}
	for _, at := range slices.Backward(places) {
		if d := zipEndRecord(c, at); d != nil {
			return d
		}
	}
	return nil
}

func zipEndRecord(c *Content, at int64) *zipDirectory {
	r := c.piece(at, zipEndSize)
	if r == nil {
		return nil
	}
	d := &zipDirectory{entries: int64(le.Uint16(r[10:])), size: int64(le.Uint32(r[12:])), end: at + zipEndSize + int64(le.Uint16(r[20:]))}
	offset, before := int64(le.Uint32(r[16:])), at
	if l := c.piece(at-20, 20); l != nil && string(l[:4]) == zipLocator64 {
		for _, where := range []int64{at - 20 - zipEnd64Size, int64(le.Uint64(l[8:]))} {
			if z := c.piece(where, zipEnd64Size); z != nil && string(z[:4]) == zipEnd64 {
				d.entries, d.size, offset, before = int64(le.Uint64(z[32:])), int64(le.Uint64(z[40:])), int64(le.Uint64(z[48:])), where
				break
			}
		}
	}
	if d.size < 0 || d.size > before || offset < 0 || d.entries < 0 {
		return nil
	}
	d.at = before - d.size
	d.base = max(0, d.at-offset) // Info-ZIP writes an offset of all ones where it could not know better
	switch {
	case d.entries == 0:
		return d
	case c.has(d.at, zipCentral), c.At == nil && c.piece(d.at, 4) == nil: // or it is not in memory to be asked
		return d
	case c.has(offset, zipCentral) && offset < before: // something stands between the table and its end record
		d.at, d.base, d.size = offset, 0, before-offset
		return d
	}
	return nil
}

func openZIP(c *Content, l *layer) error {
	d := zipTable(c)
	var members []zipMember
	end := c.Size // of the members
	if d != nil {
		var complete bool
		members, complete = zipEntriesOf(c, d)
		if !complete {
			l.damaged()
		}
		end = d.at
	} else {
		l.damaged()
	}
	many := len(members) >= zipEntries
	slices.SortStableFunc(members, func(a, b zipMember) int { return cmp.Compare(a.at, b.at) })
	l.part = zipDocument(members)
	at := int64(0) // up to here everything is accounted for
	if len(members) > 0 && !c.has(0, zipLocal) {
		at = members[0].at // a program or picture stands before the archive
	}
	for i := range members {
		m := &members[i]
		if i > 0 && m.at == members[i-1].at {
			l.damaged() // the same bytes under another name
			if err := l.count(); err != nil {
				return err
			}
			continue
		}
		if m.at > at {
			if err := l.hidden(c, at, m.at); err != nil {
				return err
			}
		} else if m.at < at {
			l.damaged()
		}
		m.end = end
		after, err := l.zipMember(c, m)
		if err != nil {
			return err
		}
		at = max(at, after)
	}
	if many {
		return l.stop(tooMany)
	}
	if err := l.hidden(c, at, end); err != nil || d == nil {
		return err
	}
	return l.hidden(c, d.end, c.Size)
}

// zipEntriesOf reads the table of contents.
func zipEntriesOf(c *Content, d *zipDirectory) (members []zipMember, complete bool) {
	r := bufio.NewReaderSize(c.section(d.at, d.size), 64<<10)
	var h [zipEntrySize]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil || string(h[:4]) != zipCentral {
			return members, int64(len(members)) == d.entries || int64(len(members))&0xFFFF == d.entries
		}
		if len(members) == zipEntries {
			return members, true
		}
		rest := make([]byte, int(le.Uint16(h[28:]))+int(le.Uint16(h[30:]))+int(le.Uint16(h[32:])))
		if _, err := io.ReadFull(r, rest); err != nil {
			return members, false
		}
		m := zipMember{flags: le.Uint16(h[8:]), method: le.Uint16(h[10:]), crc: le.Uint32(h[16:]),
			packed: int64(le.Uint32(h[20:])), size: int64(le.Uint32(h[24:])), at: int64(le.Uint32(h[42:]))}
		name := rest[:le.Uint16(h[28:])]
		m.name = zipName(name, m.flags)
		m.extra64(rest[len(name):][:le.Uint16(h[30:])], &m.at)
		m.at += d.base
		members = append(members, m)
	}
}

// extra64 takes the sizes that do not fit into a header from the extra field (4.5.3).
func (m *zipMember) extra64(extra []byte, at *int64) {
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, v := range []*int64{&m.size, &m.packed, at} {
			if v != nil && *v == 0xFFFFFFFF && len(field) >= 8 {
				*v, field = int64(le.Uint64(field)), field[8:]
			}
		}
	}
}

func zipName(name []byte, flags uint16) string {
	if flags&zipUTF8 != 0 || utf8.Valid(name) {
		return string(name)
	}
	if s, err := charmap.CodePage437.NewDecoder().Bytes(name); err == nil { // Appendix D.1
		return string(s)
	}
	return string(name)
}

// zipDocument reports whether an archive is a document by nature: then most members are no files that a person opens.
func zipDocument(members []zipMember) bool {
	types, relations, mime := false, false, false
	for i := range members {
		switch strings.ToLower(strings.ReplaceAll(members[i].name, `\`, "/")) {
		case "[content_types].xml":
			types = true
		case "_rels/.rels":
			relations = true
		case "mimetype", "meta-inf/manifest.xml", "meta-inf/container.xml":
			mime = true
		}
	}
	return types && relations || mime && members[0].name == "mimetype"
}

// zipLocalHeader reads the header in front of a member's bytes.
func zipLocalHeader(c *Content, at int64) (m zipMember) {
	h := c.piece(at, zipLocalSize)
	if h == nil || string(h[:4]) != zipLocal {
		return m
	}
	m = zipMember{flags: le.Uint16(h[6:]), method: le.Uint16(h[8:]), crc: le.Uint32(h[14:]),
		packed: int64(le.Uint32(h[18:])), size: int64(le.Uint32(h[22:])), at: at}
	rest := c.piece(at+zipLocalSize, int64(le.Uint16(h[26:]))+int64(le.Uint16(h[28:])))
	if rest == nil {
		return m
	}
	name := rest[:le.Uint16(h[26:])]
	m.name, m.data, m.ok = zipName(name, m.flags), at+zipLocalSize+int64(len(rest)), true
	m.extra64(rest[len(name):], nil)
	m.descriptor = m.flags&zipDescriptor != 0
	return m
}

// zipMember opens a member of the table, and returns where its packed bytes ended.
func (l *layer) zipMember(c *Content, m *zipMember) (after int64, err error) {
	own := zipLocalHeader(c, m.at)
	if !own.ok {
		l.damaged()
		return m.at, l.count()
	}
	differ := own.method != m.method || (own.flags^m.flags)&zipEncrypted != 0
	if !own.descriptor || m.method == zipStored && own.packed != 0 && own.packed != 0xFFFFFFFF { // else it does not say
		differ = differ || own.packed != m.packed || own.size != m.size || own.crc != m.crc && own.crc != 0
	}
	if own.name != m.name || differ {
		if own.flags&zipMasked == 0 {
			l.damaged()
		}
	}
	m.data = own.data
	if after, err = l.zipOpen(c, m); err != nil || !differ || own.flags&zipMasked != 0 {
		return after, err
	}
	own.end, own.hidden = m.end, true
	second, err := l.zipOpen(c, &own)
	return max(after, second), err
}

// zipOpen hands a member on.
func (l *layer) zipOpen(c *Content, m *zipMember) (after int64, err error) {
	if strings.HasSuffix(m.name, "/") && m.size == 0 && m.packed <= 2 {
		return min(m.data+m.packed, m.end), l.member(Member{Name: m.name, Hidden: m.hidden})
	}
	out := Member{Name: m.name, Size: m.size, Hidden: m.hidden}
	if m.flags&zipDescriptor != 0 && m.size == 0 && m.packed == 0 {
		out.Size = -1 // only what stands behind the data knows
	}
	if m.flags&(zipEncrypted|zipMasked) != 0 || m.method == zipAES {
		out.Outcome = report.Encrypted
		return min(m.data+m.packed, m.end), l.member(out)
	}
	unpack, known := zipMethods[m.method]
	packed := m.end - m.data // a packed member has an end of its own
	if !selfEnding(m.method) {
		if m.descriptor && m.packed == 0 {
			packed = zipStoredEnd(c, m)
		} else {
			packed = min(packed, m.packed)
		}
	}
	if packed < 0 {
		l.damaged()
		return m.data, l.count()
	}
	var last *bufio.Reader
	var src *io.SectionReader
	open := func() (io.Reader, error) {
		src = c.section(m.data, packed)
		last = bufio.NewReaderSize(src, 16<<10)
		if !known {
			return last, nil
		}
		r, err := unpack(last, m)
		if err != nil {
			return nil, err
		}
		if m.descriptor && m.crc == 0 {
			return r, nil
		}
		return &checked{r: r, sum: crc32.NewIEEE(), want: m.crc}, nil
	}
	out.Open, out.Unknown = open, !known
	if m.method == 14 || m.method == 93 || m.method == 95 {
		out.Window = lzma.MaxWindow
	}
	if m.method == zipStored && packed > l.opener.inline {
		out.At = c.section(m.data, packed)
	}
	err = l.member(out)
	after = m.data + min(max(m.packed, 0), packed)
	if src != nil && selfEnding(m.method) {
		if at, seekErr := src.Seek(0, io.SeekCurrent); seekErr == nil {
			after = max(after, m.data+at-int64(last.Buffered()))
		}
	}
	return after, err
}

// zipStoredEnd finds the end of stored bytes whose size stands behind them: the next descriptor that agrees with where it is.
func zipStoredEnd(c *Content, m *zipMember) int64 {
	const window = 1 << 20
	for at := m.data; at < m.end; at += window - 16 {
		b := c.piece(at, min(window, m.end-at))
		for i := 0; ; i++ {
			j := bytes.Index(b[min(i, len(b)):], []byte("PK\x07\x08"))
			if j < 0 {
				break
			}
			if i += j; len(b)-i >= 16 && int64(le.Uint32(b[i+8:])) == at+int64(i)-m.data {
				return at + int64(i) - m.data
			}
		}
	}
	return m.end - m.data
}

// hidden opens the members that lie in a range where the table of contents says nothing. A header that only looks like one
// unpacks to nothing that holds together, so it is believed only if its fields can be meant.
func (l *layer) hidden(c *Content, at, end int64) error {
	const window = 1 << 20
	for at+zipLocalSize <= end {
		b := c.piece(at, min(window, end-at))
		if b == nil {
			return ErrUnread
		}
		i := bytes.Index(b, []byte(zipLocal))
		if i < 0 {
			if at += int64(len(b)) - 3; int64(len(b)) < window {
				return nil
			}
			continue
		}
		at += int64(i)
		m := zipLocalHeader(c, at)
		if !m.ok || m.name == "" || le.Uint16(c.piece(at+4, 2))&0xFF > 63 || m.method > 99 || m.packed > end-m.data {
			at += 4
			continue
		}
		m.hidden, m.end = true, end
		after, err := l.zipOpen(c, &m)
		if err != nil {
			return err
		}
		at = max(at+4, after)
	}
	return nil
}

// zipMethods are the ways in which a member is packed (4.4.5). What is not here is known by its number and not unpacked.
var zipMethods = map[uint16]func(r *bufio.Reader, m *zipMember) (io.Reader, error){
	zipStored: func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return r, nil },
	1:         func(r *bufio.Reader, m *zipMember) (io.Reader, error) { return lz.NewShrink(r, m.size), nil },
	2:         zipReduce, 3: zipReduce, 4: zipReduce, 5: zipReduce,
	6: func(r *bufio.Reader, m *zipMember) (io.Reader, error) {
		return lz.NewImplode(r, m.size, m.flags&2 != 0, m.flags&4 != 0)
	},
	8:  func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return flate.NewReader(r), nil },
	9:  func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return lz.NewDeflate64(r), nil },
	12: func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return bzip2.NewReader(r), nil },
	14: zipLzma,
	20: func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return unzstd(r) },
	93: func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return unzstd(r) },
	95: func(r *bufio.Reader, _ *zipMember) (io.Reader, error) { return &parts{src: r, next: xzPart}, nil },
}

// selfEnding are the methods whose decoder takes what belongs to the stream and not a byte more.
func selfEnding(method uint16) bool { return method == 8 || method == 9 }

func zipReduce(r *bufio.Reader, m *zipMember) (io.Reader, error) {
	return lz.NewReduce(r, m.size, int(m.method)-1)
}

// zipLzma is LZMA with a header of its own (5.8.8): version, size of the properties, properties.
func zipLzma(r *bufio.Reader, m *zipMember) (io.Reader, error) {
	var h [9]byte
	if _, err := io.ReadFull(r, h[:]); err != nil || le.Uint16(h[2:]) != 5 {
		return nil, ErrMalformed
	}
	size := m.size
	if m.flags&2 != 0 {
		size = -1 // an end mark says it
	}
	return lzma.NewReader(r, h[4], le.Uint32(h[5:]), size)
}

// checked holds what comes out of a decoder against its checksum.
type checked struct {
	r    io.Reader
	sum  hash.Hash32
	want uint32
}

func (r *checked) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:max(0, min(n, len(p)))])
	if errors.Is(err, io.EOF) && r.sum.Sum32() != r.want {
		return n, ErrMalformed
	}
	return n, err
}
