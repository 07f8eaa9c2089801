package ole

import (
	"bufio"
	"bytes"
	"io"
)

// VBA unpacks the compressed container of [MS-OVBA] 2.4.1: a byte 1, then chunks of up to 4096 bytes, each with a header of two
// bytes. In a chunk, a byte of flags precedes eight tokens: a byte as it is, or a distance and a length, of which the distance
// takes as many bits as the place in the chunk asks for.
type VBA struct {
	src   *bufio.Reader
	out   []byte
	room  [vbaChunk]byte
	begun bool
	err   error
}

const vbaChunk = 4096

// NewVBA returns a reader of what a compressed container holds.
func NewVBA(r io.Reader) *VBA { return &VBA{src: bufio.NewReader(r)} }

func (v *VBA) Read(p []byte) (int, error) {
	for len(v.out) == 0 {
		if v.err != nil {
			return 0, v.err
		}
		v.err = v.chunk()
	}
	n := copy(p, v.out)
	v.out = v.out[n:]
	return n, nil
}

// chunk unpacks the next one. The end of the source between two chunks, or a header that is none, is the end: a stream of a
// module has other data behind its source.
func (v *VBA) chunk() error {
	if !v.begun {
		if first, err := v.src.ReadByte(); err != nil || first != 1 {
			return ErrMalformed
		}
		v.begun = true
	}
	h, err := v.src.Peek(2)
	if err != nil {
		return io.EOF
	}
	head := le.Uint16(h)
	if head>>12&7 != 3 {
		return io.EOF
	}
	if _, err := v.src.Discard(2); err != nil {
		return err
	}
	packed := make([]byte, int(head&0xFFF)+1)
	n, err := io.ReadFull(v.src, packed)
	packed = packed[:n]
	if err != nil {
		err = ErrMalformed
	}
	if head>>15 == 0 {
		v.out = v.room[:copy(v.room[:], packed)]
		return err
	}
	out := v.room[:0]
	for i := 0; i < len(packed); {
		flags := packed[i]
		i++
		for bit := 0; bit < 8 && i < len(packed); bit++ {
			if flags>>bit&1 == 0 {
				if len(out) == vbaChunk {
					v.out = out
					return ErrMalformed
				}
				out = append(out, packed[i])
				i++
				continue
			}
			if i+2 > len(packed) {
				v.out = out
				return ErrMalformed
			}
			token := le.Uint16(packed[i:])
			i += 2
			bits := 4
			for 1<<bits < len(out) {
				bits++
			}
			length, back := int(token&(0xFFFF>>bits))+3, int(token>>(16-bits))+1
			if back > len(out) || len(out)+length > vbaChunk {
				v.out = out
				return ErrMalformed
			}
			for range length {
				out = append(out, out[len(out)-back])
			}
		}
	}
	v.out = out
	return err
}

// Module is where a module's source lies, as the project's directory says.
type Module struct {
	Stream string
	Offset int64
}

// Modules reads the unpacked stream "dir" of a project ([MS-OVBA] 2.3.4.2): records of a number, a size and data. The records
// of a module name its stream and say where in it the source begins.
func Modules(dir []byte) (modules []Module) {
	const (
		version    = 0x0009 // has two bytes more than it says
		streamName = 0x001A
		offset     = 0x0031
		ends       = 0x002B
	)
	var m Module
	known := false
	for len(dir) >= 6 {
		id, n := le.Uint16(dir), uint64(le.Uint32(dir[2:]))
		dir = dir[6:]
		if id == version {
			n = 6
		}
		if n > uint64(len(dir)) {
			break
		}
		data := dir[:n]
		dir = dir[n:]
		switch {
		case id == streamName:
			m.Stream = string(data)
		case id == offset && n == 4:
			m.Offset, known = int64(le.Uint32(data)), true
		case id == ends:
			if known {
				modules = append(modules, m)
			}
			m, known = Module{}, false
		}
	}
	return modules
}

// Sources finds where sources begin in the bytes of a module, whatever the directory says of them: every source begins with the
// word "Attribute", which packing leaves readable.
func Sources(module []byte) (at []int64) {
	word := []byte("\x00Attribut\x00e")
	for from := 0; ; {
		i := bytes.Index(module[from:], word)
		if i < 0 {
			return at
		}
		from += i + 1
		if start := from - 4; start >= 0 && module[start] == 1 {
			at = append(at, int64(start))
		}
	}
}

// Native is the file in a stream "\1Ole10Native" ([MS-OLEDS] 2.3.6), which the packager of Windows writes: its size, its label,
// the path that it came from and the one to which it goes, and its bytes.
type Native struct {
	Name     string
	At, Size int64
}

// maxNativeName bounds the texts in front of the bytes.
const maxNativeName = 4096

// ParseNative reads the beginning of such a stream; framed says that the size of all stands in front, as it does in a stream,
// and not in an object of a text. Without the packager's texts, the bytes follow the size.
func ParseNative(head []byte, size int64, framed bool) (n Native, ok bool) {
	b, at := head, int64(0)
	if framed {
		if len(b) < 4 {
			return n, false
		}
		n = Native{At: 4, Size: min(int64(le.Uint32(b)), size-4)}
		b, at = b[4:], 4
	}
	rest := b
	text := func() (string, bool) {
		i := bytes.IndexByte(rest[:min(len(rest), maxNativeName)], 0)
		if i < 0 {
			return "", false
		}
		s := string(rest[:i])
		rest = rest[i+1:]
		return s, true
	}
	if len(rest) < 2 || le.Uint16(rest) != 2 {
		return n, framed && n.Size > 0
	}
	rest = rest[2:]
	label, ok1 := text()
	from, ok2 := text()
	if !ok1 || !ok2 || len(rest) < 8 {
		return n, framed && n.Size > 0
	}
	to := uint64(le.Uint32(rest[4:]))
	rest = rest[8:]
	if to > uint64(len(rest)) || uint64(len(rest))-to < 4 {
		return n, framed && n.Size > 0
	}
	rest = rest[to:]
	at += int64(len(b)-len(rest)) + 4
	name := label
	if name == "" {
		name = from
	}
	return Native{name, at, min(int64(le.Uint32(rest)), max(0, size-at))}, true
}
