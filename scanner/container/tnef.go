package container

import (
	"bytes"
	"io"
	"strings"
)

// TNEF ([MS-OXTNEF]), the attachment winmail.dat in which Outlook puts a message with its attachments: attributes, each a level,
// a number, a size, its data and a checksum. Properties of MAPI within them hold the long name of an attachment, an object that
// was inserted, and the text in compressed RTF.
const (
	tnefMagic    = 0x223E9F78
	tnefMessage  = 1
	tnefData     = 0x0006800F // bytes of an attachment
	tnefTitle    = 0x00018010
	tnefRender   = 0x00069002 // an attachment begins
	tnefProps    = 0x00069005 // of an attachment
	tnefMessages = 0x00069003 // of the message
	// maxMAPI bounds the properties that are read of one attribute, and maxMAPIBytes what they take.
	maxMAPI      = 4096
	maxMAPIBytes = 16 << 20
)

func isTNEF(c *Content) bool {
	h := c.piece(0, 11)
	return h != nil && le.Uint32(h) == tnefMagic && (h[6] == tnefMessage || h[6] == 2)
}

func openTNEF(c *Content, l *layer) error {
	name := "attachment"
	type part struct {
		at, size int64
	}
	var data []part
	flush := func() error {
		for _, p := range data {
			body := c.section(p.at, p.size)
			if err := l.member(Member{Name: name, Size: p.size, At: body, Open: asItLies(body)}); err != nil {
				return err
			}
		}
		name, data = "attachment", nil
		return nil
	}
	for at := int64(6); at+9 <= c.Size; {
		h := c.piece(at, 9)
		if h == nil {
			return ErrUnread
		}
		if err := l.count(); err != nil {
			return err
		}
		id, size := le.Uint32(h[1:]), int64(le.Uint32(h[5:]))
		at += 9
		if size > c.Size-at {
			l.damaged()
		}
		body := c.section(at, size)
		switch id {
		case tnefRender:
			if err := flush(); err != nil {
				return err
			}
		case tnefTitle:
			if b := c.piece(at, min(size, maxProperty, c.Size-at)); b != nil && name == "attachment" {
				name = lastPart(cString(b), name)
			}
		case tnefData:
			data = append(data, part{at, size})
			if len(data) > maxParts { // no attachment has two
				if err := flush(); err != nil {
					return err
				}
			}
		case tnefProps, tnefMessages:
			b, err := io.ReadAll(io.LimitReader(body, maxMAPIBytes+1))
			if err != nil {
				return err
			}
			if err := l.spend(int64(len(b))); err != nil {
				return err
			}
			if len(b) > maxMAPIBytes {
				return tooHungry
			}
			long, err := l.mapi(b)
			if err != nil {
				return err
			}
			if long != "" {
				name = long
			}
		}
		at += size + 2
	}
	return flush()
}

// mapi reads properties, hands on what they hold, and returns the name of the attachment if one says it.
func (l *layer) mapi(b []byte) (name string, err error) {
	const object, binary, longName, shortName, dataObject, text = 0x0D, 0x102, 0x3707, 0x3704, 0x3701, 0x1009
	f := fields{b: b}
	n := f.u32()
	for range min(n, maxMAPI) {
		kind, id := f.u16(), f.u16()
		if id >= 0x8000 { // a name of its own
			f.take(16)
			if f.u32() == 0 {
				f.u32()
			} else {
				f.take((uint64(f.u32()) + 3) &^ 3)
			}
		}
		count := uint32(1)
		many := kind&0x1000 != 0
		kind &^= 0x1000
		width := map[uint16]uint64{2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0xA: 4, 0xB: 4, 0x14: 8, 0x40: 8, 0x48: 16}[kind]
		if many || width == 0 {
			count = f.u32()
		}
		for range min(count, maxMAPI) {
			if width > 0 {
				f.take(width)
				continue
			}
			size := uint64(f.u32())
			v := f.take(size)
			f.take((4 - size%4) % 4)
			switch {
			case id == longName && kind == 0x1F:
				name = lastPart(strings.TrimRight(wideText(v), "\x00"), name)
			case id == longName || id == shortName && name == "" && kind == 0x1E:
				name = lastPart(strings.TrimRight(string(v), "\x00"), name)
			case id == dataObject && kind == object && len(v) > 16: // its class, then a file
				err = l.bytes("object", v[16:], false)
			case id == dataObject && kind == binary:
				err = l.bytes("data", v, false)
			case id == text && kind == binary:
				err = l.member(Member{Name: "text", Size: -1, Open: func() (io.Reader, error) { return newLZFu(bytes.NewReader(v)) }})
			}
			if err != nil || f.bad {
				return name, err
			}
		}
	}
	return name, nil
}

// bytes hands on what is in memory.
func (l *layer) bytes(name string, b []byte, part bool) error {
	l.part = part
	err := l.member(Member{Name: name, Size: int64(len(b)), Open: func() (io.Reader, error) { return bytes.NewReader(b), nil }})
	l.part = false
	return err
}
