package pdf

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/flate"
)

const (
	// maxFilters bounds filters over one another; writers use two.
	maxFilters = 16
	// maxRow bounds a row of a predictor: pictures of 100,000 pixels a row have less.
	maxRow = 1 << 20
)

// Filter is one filter of a stream, with its parameters.
type Filter struct {
	Name   Name
	Params Dict
}

// Filters reads the filters of a stream's dictionary. resolve gives the object that a reference names.
func Filters(d Dict, resolve func(any) any) (filters []Filter, err error) {
	get := func(long, short Name) any {
		if v, ok := d[long]; ok {
			return resolve(v)
		}
		return resolve(d[short])
	}
	names, params := get("Filter", "F"), get("DecodeParms", "DP")
	list, ok := names.(List)
	if !ok {
		if name, ok := names.(Name); ok {
			list, params = List{name}, List{params}
		}
	}
	if len(list) > maxFilters {
		return nil, ErrUnknown
	}
	given, _ := params.(List)
	for i, n := range list {
		name, ok := resolve(n).(Name)
		if !ok {
			return nil, ErrUnknown
		}
		f := Filter{Name: name}
		if i < len(given) {
			f.Params, _ = resolve(given[i]).(Dict)
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// Picture reports whether a filter makes a picture, whose packed form is a file of its own.
func (f Filter) Picture() bool {
	switch f.Name {
	case "DCTDecode", "DCT", "JPXDecode", "CCITTFaxDecode", "CCF", "JBIG2Decode":
		return true
	}
	return false
}

// Decode undoes filters up to the first that makes a picture. damaged is called if one breaks off.
func Decode(r io.Reader, filters []Filter, resolve func(any) any, damaged func()) (io.Reader, error) {
	for _, f := range filters {
		if f.Picture() {
			return r, nil
		}
		src := bufio.NewReaderSize(r, 16<<10)
		number := func(key Name, other int64) int64 {
			if n, ok := resolve(f.Params[key]).(int64); ok {
				return n
			}
			return other
		}
		switch f.Name {
		case "FlateDecode", "Fl":
			if h, err := src.Peek(2); err == nil && h[0]&0xF == 8 && (int(h[0])<<8|int(h[1]))%31 == 0 { // RFC 1950
				if _, err := src.Discard(2); err != nil {
					return nil, err
				}
			}
			r = &tolerant{flate.NewReader(src), damaged}
		case "LZWDecode", "LZW":
			r = &tolerant{&lzw{src: src, early: int(min(1, number("EarlyChange", 1)))}, damaged}
		case "ASCIIHexDecode", "AHx":
			r = &digits{src: src, end: '>'}
		case "ASCII85Decode", "A85":
			r = &digits{src: src, end: '~', five: true}
		case "RunLengthDecode", "RL":
			r = &tolerant{&runs{src: src}, damaged}
		case "Crypt": // undone already, with the file's encryption
			r = src
		default:
			return nil, ErrUnknown
		}
		if f.Name[0] != 'F' && f.Name[0] != 'L' {
			continue
		}
		if kind := number("Predictor", 1); kind > 1 {
			colours, bits, columns := number("Colors", 1), number("BitsPerComponent", 8), number("Columns", 1)
			if colours < 1 || colours > 64 || bits < 1 || bits > 32 || columns < 1 || columns > maxRow {
				return nil, ErrMalformed
			}
			row := (colours*bits*columns + 7) / 8
			if row > maxRow {
				return nil, ErrMalformed
			}
			r = &predictor{src: r, kind: kind, pixel: max(1, int(colours*bits/8)), bits: int(bits), last: make([]byte, row), row: make([]byte, row+1)}
		}
	}
	return r, nil
}

// tolerant ends a stream where its filter breaks off.
type tolerant struct {
	r       io.Reader
	damaged func()
}

func (t *tolerant) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && err != io.EOF {
		t.damaged()
		err = io.EOF
	}
	return n, err
}

// digits are bytes written as hexadecimal digits, or four of them as five digits of base 85 (7.4.2, 7.4.3).
type digits struct {
	src  *bufio.Reader
	end  byte
	five bool
	out  []byte
	buf  [4]byte
	err  error
}

func (d *digits) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		if d.five {
			d.err = d.group()
		} else {
			d.err = d.pair()
		}
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

func (d *digits) pair() error {
	v, have := 0, 0
	for have < 2 {
		c, err := d.src.ReadByte()
		if err != nil || c == d.end {
			if have == 1 {
				d.buf[0] = byte(v << 4)
				d.out = d.buf[:1]
			}
			return io.EOF
		}
		if h := unhex(c); h >= 0 {
			v, have = v<<4|h, have+1
		}
	}
	d.buf[0] = byte(v)
	d.out = d.buf[:1]
	return nil
}

func (d *digits) group() error {
	v, have := uint32(0), 0
	for have < 5 {
		c, err := d.src.ReadByte()
		if err != nil || c == d.end {
			if have > 1 {
				for range 5 - have {
					v = v*85 + 84
				}
				d.put(v, have-1)
			}
			return io.EOF
		}
		switch {
		case c == 'z' && have == 0:
			d.put(0, 4)
			return nil
		case c >= '!' && c <= 'u':
			v, have = v*85+uint32(c-'!'), have+1
		}
	}
	d.put(v, 4)
	return nil
}

func (d *digits) put(v uint32, n int) {
	d.buf = [4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	d.out = d.buf[:n]
}

// runs is RunLengthDecode (7.4.5).
type runs struct {
	src  *bufio.Reader
	left int
	same bool
	c    byte
}

func (r *runs) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.left == 0 {
			c, err := r.src.ReadByte()
			if err != nil || c == 128 {
				return n, io.EOF
			}
			if r.left, r.same = int(c)+1, false; c > 128 {
				r.left, r.same = 257-int(c), true
				if r.c, err = r.src.ReadByte(); err != nil {
					return n, io.ErrUnexpectedEOF
				}
			}
		}
		if !r.same {
			if r.c, err = r.src.ReadByte(); err != nil {
				return n, io.ErrUnexpectedEOF
			}
		}
		p[n] = r.c
		n++
		r.left--
	}
	return n, nil
}

// lzw is LZWDecode (7.4.4): codes of 9 to 12 bits, the highest bit first, 256 to begin anew, 257 at the end; a width grows one
// code early unless the parameters say otherwise.
type lzw struct {
	src    *bufio.Reader
	early  int
	bits   uint32
	have   uint
	width  uint
	next   int
	last   int
	prefix [4096]uint16
	suffix [4096]byte
	stack  []byte
	out    []byte
	done   error
}

func (z *lzw) Read(p []byte) (int, error) {
	if z.width == 0 {
		z.width, z.next, z.last = 9, 258, -1
	}
	for len(z.out) == 0 {
		if z.done != nil {
			return 0, z.done
		}
		z.done = z.step()
	}
	n := copy(p, z.out)
	z.out = z.out[n:]
	return n, nil
}

func (z *lzw) step() error {
	for z.have < z.width {
		c, err := z.src.ReadByte()
		if err != nil {
			return io.EOF
		}
		z.bits, z.have = z.bits<<8|uint32(c), z.have+8
	}
	code := int(z.bits >> (z.have - z.width) & (1<<z.width - 1))
	z.have -= z.width
	switch {
	case code == 256:
		z.width, z.next, z.last = 9, 258, -1
		return nil
	case code == 257:
		return io.EOF
	case z.last < 0:
		if code > 255 {
			return ErrMalformed
		}
		z.out, z.last = append(z.stack[:0], byte(code)), code
		return nil
	case code > z.next || code == z.next && z.next > 4095:
		return ErrMalformed
	}
	at := code
	z.stack = z.stack[:0]
	if code == z.next {
		z.stack, at = append(z.stack, 0), z.last
	}
	for at > 255 {
		z.stack, at = append(z.stack, z.suffix[at]), int(z.prefix[at])
	}
	z.stack = append(z.stack, byte(at))
	if code == z.next {
		z.stack[0] = byte(at)
	}
	if z.next < 4096 {
		z.prefix[z.next], z.suffix[z.next] = uint16(z.last), byte(at)
		z.next++
		if z.next+z.early >= 1<<z.width && z.width < 12 {
			z.width++
		}
	}
	for i, j := 0, len(z.stack)-1; i < j; i, j = i+1, j-1 {
		z.stack[i], z.stack[j] = z.stack[j], z.stack[i]
	}
	z.out, z.last = z.stack, code
	return nil
}

// predictor undoes the differences to the pixel or row before (7.4.4.4): those of TIFF, or a row of PNG with its own kind.
type predictor struct {
	src       io.Reader
	kind      int64
	pixel     int
	bits      int
	last, row []byte
	out       []byte
	err       error
}

func (p *predictor) Read(b []byte) (int, error) {
	for len(p.out) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.err = p.next()
	}
	n := copy(b, p.out)
	p.out = p.out[n:]
	return n, nil
}

func (p *predictor) next() error {
	row, png := p.row[1:], p.kind >= 10
	into := row
	if png {
		into = p.row
	}
	n, err := io.ReadFull(p.src, into)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	if png {
		n--
	}
	if n <= 0 {
		return err
	}
	row = row[:n]
	kind := byte(1)
	if png {
		kind = p.row[0]
	} else if p.bits != 8 { // samples of other sizes are handed on as they are
		kind = 0
	}
	for i := range row {
		left, up, corner := 0, 0, 0
		if i >= p.pixel {
			left = int(row[i-p.pixel])
			corner = int(p.last[i-p.pixel])
		}
		up = int(p.last[i])
		switch kind {
		case 1:
			row[i] += byte(left)
		case 2:
			row[i] += byte(up)
		case 3:
			row[i] += byte((left + up) / 2)
		case 4:
			row[i] += byte(paeth(left, up, corner))
		}
	}
	copy(p.last, row)
	p.out = append(p.out[:0], row...)
	return err
}

func paeth(a, b, c int) int {
	abs := func(v int) int { return max(v, -v) }
	pa, pb, pc := abs(b-c), abs(a-c), abs(a+b-2*c)
	switch {
	case pa <= pb && pa <= pc:
		return a
	case pb <= pc:
		return b
	}
	return c
}
