package container

import (
	"bytes"
	"io"
	"strconv"

	"pratique/scanner/container/ole"
)

// RTF (https://interoperability.blob.core.windows.net/files/Archive_References/[MSFT-RTF].pdf): groups in braces, control words
// behind a backslash, text. Objects, pictures and data of themes stand in it as hexadecimal digits. Word reads the digits
// through all that is not one: blanks, unknown control words with their numbers, further braces, and groups that are to be
// ignored; which digits of the groups within count is read in both ways, where that makes a difference. An object is an OLE 1
// stream ([MS-OLEDS] 2.2.5): a version, a kind, three texts, its size and its bytes.
const (
	// maxObject bounds one object in memory, and maxRTF a document: what is larger is told, and not opened.
	maxObject = 16 << 20
	maxRTF    = 64 << 20
	// maxRTFDepth bounds groups in groups, of which Word forgives some hundred.
	maxRTFDepth = 1024
	// maxControl bounds a control word; those of the standard have up to 32 letters.
	maxControl = 64
	// minPacked is how many bytes of digits are worth a member.
	minPacked = 16
)

func isRTF(c *Content) bool { return c.has(0, `{\rt`) || c.has(3, `{\rt`) && c.has(0, "\xEF\xBB\xBF") }

// rtfGroup is a group that is open.
type rtfGroup struct {
	kind    string // of digits that it collects, or ""
	ignored bool
	starred bool
}

// rtf is a document while it is read.
type rtf struct {
	l       *layer
	groups  []rtfGroup
	collect int // depth of the group that collects, 0 if none does
	kind    string
	all     nibbles // with the digits of groups within
	own     nibbles // without those of groups that are to be ignored
	count   int
}

// nibbles are digits as they come.
type nibbles struct {
	b    []byte
	half int
}

func (n *nibbles) put(v int) {
	switch {
	case len(n.b) >= maxObject:
	case n.half < 0:
		n.half = v
	default:
		n.b, n.half = append(n.b, byte(n.half<<4|v)), -1
	}
}

func openRTF(c *Content, l *layer) error {
	if c.Size > maxRTF {
		return tooHungry
	}
	text, err := c.Head, error(nil)
	if int64(len(text)) < c.Size {
		if text, err = io.ReadAll(c.section(0, c.Size)); err != nil {
			return err
		}
	}
	if err := l.spend(int64(len(text))); err != nil {
		return err
	}
	r := &rtf{l: l}
	for i := 0; i < len(text); {
		switch ch := text[i]; ch {
		case '{':
			i++
			if len(r.groups) == maxRTFDepth {
				return ErrMalformed
			}
			r.groups = append(r.groups, rtfGroup{ignored: len(r.groups) > 0 && r.groups[len(r.groups)-1].ignored && r.collect > 0})
		case '}':
			i++
			if err := r.close(); err != nil {
				return err
			}
		case '\\':
			if i, err = r.control(text, i+1); err != nil {
				return err
			}
		default:
			i++
			if r.collect > 0 {
				if v := unhex(ch); v >= 0 {
					r.digit(v)
				}
			}
		}
	}
	for len(r.groups) > 0 { // groups that nobody closes
		if err := r.close(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rtf) digit(v int) {
	r.all.put(v)
	if !r.groups[len(r.groups)-1].ignored {
		r.own.put(v)
	}
}

// control reads a control word or symbol, and returns where it ends.
func (r *rtf) control(text []byte, i int) (int, error) {
	if i >= len(text) {
		return i, nil
	}
	start := i
	for i < len(text) && i-start < maxControl && (text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z') {
		i++
	}
	if i == start { // a symbol
		switch text[i] {
		case '\'':
			return min(i+3, len(text)), nil // a byte of text, which counts as no digit
		case '*':
			if k := len(r.groups); k > 0 {
				r.groups[k-1].starred = true
				r.groups[k-1].ignored = r.collect > 0
			}
		}
		return i + 1, nil
	}
	word := string(text[start:i])
	number := i
	if i < len(text) && text[i] == '-' {
		i++
	}
	for i < len(text) && text[i] >= '0' && text[i] <= '9' && i-number < 12 {
		i++
	}
	value, _ := strconv.Atoi(string(text[number:i]))
	if i < len(text) && text[i] == ' ' {
		i++
	}
	switch word {
	case "bin": // so many bytes as they are
		n := min(max(value, 0), len(text)-i)
		if r.collect > 0 {
			for _, n := range []*nibbles{&r.all, &r.own} {
				n.half = -1
			}
			r.all.b, r.own.b = append(r.all.b, text[i:i+n]...), append(r.own.b, text[i:i+n]...)
		}
		return i + n, nil
	case "objdata", "datastore", "pict", "themedata", "colorschememapping", "blipuid", "oledata":
		if r.collect == 0 && len(r.groups) > 0 {
			r.collect, r.kind = len(r.groups), word
			r.all, r.own = nibbles{half: -1}, nibbles{half: -1}
		}
	case "template", "objupdate", "objautlink", "objlink":
		switch word {
		case "template":
			rest := text[i:min(len(text), i+16)]
			if !bytes.Contains(rest, []byte("://")) && !bytes.HasPrefix(bytes.TrimLeft(rest, `\'`), []byte(`\`)) {
				return i, nil
			}
		case "objupdate":
			return i, nil
		}
		r.l.note(documentExternal())
	case "fldinst":
		if dde := bytes.ToUpper(text[i:min(len(text), i+64)]); bytes.Contains(dde, []byte("DDE")) {
			r.l.note(documentExternal())
		}
	}
	return i, nil
}

// close ends a group, and hands on what was collected in it.
func (r *rtf) close() error {
	k := len(r.groups)
	if k == 0 {
		return nil
	}
	r.groups = r.groups[:k-1]
	if r.collect != k {
		return nil
	}
	r.collect = 0
	if len(r.all.b) >= maxObject {
		return tooHungry
	}
	variants := [][]byte{r.own.b}
	if !bytes.Equal(r.own.b, r.all.b) {
		variants = append(variants, r.all.b)
	}
	r.all, r.own = nibbles{}, nibbles{}
	for _, b := range variants {
		if len(b) < minPacked {
			continue
		}
		if err := r.l.spend(int64(len(b))); err != nil {
			return err
		}
		r.count++
		if err := r.object(b, r.kind+" "+strconv.Itoa(r.count)); err != nil {
			return err
		}
	}
	return nil
}

// object hands on the bytes as they are, and what is in them if they are an object.
func (r *rtf) object(b []byte, name string) error {
	hand := func(name string, b []byte, part bool) error {
		r.l.part = part
		return r.l.member(Member{Name: name, Size: int64(len(b)), Open: func() (io.Reader, error) { return bytes.NewReader(b), nil }})
	}
	if err := hand(name, b, true); err != nil {
		return err
	}
	f := fields{b: b}
	f.u32()
	kind := f.u32()
	class := f.take(uint64(f.u32()))
	f.take(uint64(f.u32()))
	f.take(uint64(f.u32()))
	size := f.u32()
	if f.bad || kind != 1 && kind != 2 {
		// Nobody's object, unless one begins further on.
		if i := bytes.Index(b, []byte(ole.Magic)); i > 0 {
			return hand(name+" (object)", b[i:], false)
		}
		return nil
	}
	if kind == 1 {
		r.l.note(documentExternal())
		return nil
	}
	data := f.b[:min(uint64(size), uint64(len(f.b)))]
	if bytes.EqualFold(bytes.TrimRight(class, "\x00"), []byte("Package")) {
		if n, ok := ole.ParseNative(data, int64(len(data)), false); ok {
			return hand(lastPart(n.Name, "file"), data[n.At:n.At+n.Size], false)
		}
	}
	return hand(name+" (object)", data, false)
}
