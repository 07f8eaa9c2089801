package container

import (
	"bufio"
	"hash/crc32"
	"io"

	"pratique/scanner/container/lzma"
)

// xzPart begins one stream of https://tukaani.org/xz/xz-file-format.txt: a header, blocks, their index and a footer. The index
// says nothing that the blocks do not, and is only walked over.
func xzPart(r *bufio.Reader) (io.Reader, error) {
	var h [12]byte
	if _, err := io.ReadFull(r, h[:]); err != nil || string(h[:6]) != "\xFD7zXZ\x00" {
		return nil, errNot
	}
	if h[6] != 0 || h[7] > 15 || crc32.ChecksumIEEE(h[6:8]) != le.Uint32(h[8:]) {
		return nil, ErrMalformed
	}
	return &xzStream{src: r, check: xzCheck[h[7]]}, nil
}

// xzMaxBlocks is more blocks than 16 GiB have: xz makes none of less than 4 KiB.
const xzMaxBlocks = MaxBytes / (4 << 10)

// xzCheck is how many bytes stand behind a block for each kind of check (2.1.1.2).
var xzCheck = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

type xzStream struct {
	src   *bufio.Reader
	check int
	block io.Reader
}

// counter counts what is read through it.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (s *xzStream) Read(p []byte) (int, error) {
	for {
		if s.block == nil {
			if err := s.begin(); err != nil {
				return 0, err
			}
		}
		n, err := s.block.Read(p)
		if err != io.EOF {
			return n, err
		}
		s.block = nil
		if _, err := s.src.Discard(s.check); err != nil {
			return n, io.ErrUnexpectedEOF
		}
		if n > 0 {
			return n, nil
		}
	}
}

// begin reads the header of the next block (3.1), or the index and the footer, and then the stream has ended.
func (s *xzStream) begin() error {
	size, err := s.src.ReadByte()
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	if size == 0 {
		return s.end()
	}
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if _, err := io.ReadFull(s.src, h[1:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != le.Uint32(h[len(h)-4:]) || body[1]&0x3C != 0 {
		return ErrMalformed
	}
	filters := int(body[1]&3) + 1
	f := fields{b: body[2:]}
	for _, flag := range []byte{0x40, 0x80} { // sizes, which the stream shows by itself
		if body[1]&flag != 0 {
			f.number()
		}
	}
	var chain []coderSpec
	for range filters {
		id := f.number()
		chain = append(chain, coderSpec{method: id, props: f.take(f.number())})
	}
	if f.bad {
		return ErrMalformed
	}
	last := chain[len(chain)-1]
	if last.method != 0x21 || len(last.props) != 1 || last.props[0] > 40 {
		return errUnknown
	}
	// What LZMA2 takes is padded to four bytes. It takes what is its own and no more.
	packed := &counter{r: s.src}
	s.block = &padded{packed, lzma.NewReader2(packed, dictSize2(last.props[0]))}
	for i := len(chain) - 2; i >= 0; i-- {
		if s.block, err = xzFilter(chain[i], s.block); err != nil {
			return err
		}
	}
	return nil
}

// dictSize2 is the size of a dictionary as LZMA2 says it in a byte.
func dictSize2(b byte) uint32 {
	if b >= 40 {
		return 0xFFFFFFFF
	}
	return (2 | uint32(b)&1) << (b/2 + 11)
}

// padded is an LZMA2 stream with the padding behind it.
type padded struct {
	src *counter
	r   io.Reader
}

func (p *padded) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err == io.EOF {
		if _, pad := p.src.r.Discard(int(-p.src.n & 3)); pad != nil {
			return n, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// end walks over the index (4) and the footer (2.1.2).
func (s *xzStream) end() error {
	n := int64(1)
	number := func() (v uint64, err error) {
		for shift := 0; shift < 63; shift += 7 {
			b, err := s.src.ReadByte()
			if err != nil {
				return 0, io.ErrUnexpectedEOF
			}
			n++
			v |= uint64(b&0x7F) << shift
			if b&0x80 == 0 {
				return v, nil
			}
		}
		return 0, ErrMalformed
	}
	records, err := number()
	if err != nil {
		return err
	}
	if records > xzMaxBlocks {
		return ErrMalformed
	}
	for range records {
		for range 2 {
			if _, err := number(); err != nil {
				return err
			}
		}
	}
	if _, err := s.src.Discard(int(-n&3) + 4); err != nil {
		return io.ErrUnexpectedEOF
	}
	var foot [12]byte
	if _, err := io.ReadFull(s.src, foot[:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	if string(foot[10:]) != "YZ" {
		return ErrMalformed
	}
	return io.EOF
}
