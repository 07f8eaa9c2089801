package container

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"pratique/scanner/container/lzma"
)

// Formats of one member: content that was packed by itself.

// parts unpacks one stream after another, as many as there are: each of these formats may be joined end to end. Zeros
// between and behind them are the padding of tapes; anything else at the end is damage.
type parts struct {
	src  *bufio.Reader
	next func(*bufio.Reader) (io.Reader, error) // begins a part; errNot if there is none
	r    io.Reader
	any  bool
}

func (p *parts) Read(b []byte) (int, error) {
	for {
		if p.r != nil {
			n, err := p.r.Read(b)
			if err == io.EOF {
				p.r = nil
				if n == 0 {
					continue
				}
				return n, nil
			}
			return n, err
		}
		if p.any {
			for {
				c, err := p.src.ReadByte()
				if err == io.EOF {
					return 0, io.EOF
				}
				if err != nil {
					return 0, err
				}
				if c != 0 {
					if err := p.src.UnreadByte(); err != nil {
						return 0, err
					}
					break
				}
			}
		}
		r, err := p.next(p.src)
		if errors.Is(err, errNot) {
			err = ErrMalformed
		}
		if err != nil {
			return 0, err
		}
		p.r, p.any = r, true
	}
}

// one hands on the only member of a container.
func (l *layer) one(c *Content, name string, window int64, next func(*bufio.Reader) (io.Reader, error)) error {
	return l.member(Member{Name: name, Size: -1, Window: window, Open: func() (io.Reader, error) {
		return &parts{src: bufio.NewReaderSize(c.section(0, c.Size), 64<<10), next: next}, nil
	}})
}

// RFC 1952.
func isGzip(c *Content) bool {
	h := c.piece(0, 10)
	return h != nil && h[0] == 0x1F && h[1] == 0x8B && h[2] == 8 && h[3]&0xE0 == 0
}

func openGzip(c *Content, l *layer) error {
	name := stem(l.name, ".gz", ".tgz>.tar", ".svgz>.svg", ".emz>.emf", ".wmz>.wmf")
	if h, err := gzipHeader(bufio.NewReader(c.section(0, c.Size))); err == nil && h != "" {
		name = h
	}
	return l.one(c, name, 0, gzipPart)
}

// gzipHeader reads a header and returns the name in it.
func gzipHeader(r *bufio.Reader) (name string, err error) {
	var h [10]byte
	if _, err := io.ReadFull(r, h[:]); err != nil || h[0] != 0x1F || h[1] != 0x8B || h[2] != 8 {
		return "", errNot
	}
	if h[3]&4 != 0 {
		var n [2]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return "", ErrMalformed
		}
		if _, err := r.Discard(int(le.Uint16(n[:]))); err != nil {
			return "", ErrMalformed
		}
	}
	for _, flag := range []byte{8, 16} { // the name, a comment
		if h[3]&flag == 0 {
			continue
		}
		text, err := terminated(r)
		if err != nil {
			return "", err
		}
		if flag == 8 {
			name = text
		}
	}
	if h[3]&2 != 0 {
		if _, err := r.Discard(2); err != nil {
			return "", ErrMalformed
		}
	}
	return name, nil
}

// maxText bounds a name that ends with a zero.
const maxText = 32 << 10

func terminated(r *bufio.Reader) (string, error) {
	var b []byte
	for len(b) < maxText {
		c, err := r.ReadByte()
		if err != nil {
			return "", ErrMalformed
		}
		if c == 0 {
			return string(b), nil
		}
		b = append(b, c)
	}
	return "", ErrMalformed
}

func gzipPart(r *bufio.Reader) (io.Reader, error) {
	if _, err := gzipHeader(r); err != nil {
		return nil, err
	}
	return &trailed{r: flate.NewReader(r), src: r, bytes: 8}, nil
}

// trailed holds a stream against the checksum and size of RFC 1952 section 2.3.1 behind it.
type trailed struct {
	r     io.Reader
	src   *bufio.Reader
	sum   uint32
	size  uint32
	bytes int
}

func (t *trailed) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.sum = crc32.Update(t.sum, crc32.IEEETable, p[:n])
	t.size += uint32(n)
	if err != io.EOF {
		return n, err
	}
	h := make([]byte, t.bytes)
	if _, err := io.ReadFull(t.src, h); err != nil || le.Uint32(h) != t.sum || le.Uint32(h[4:]) != t.size {
		return n, ErrMalformed
	}
	return n, io.EOF
}

func isBzip2(c *Content) bool {
	h := c.piece(0, 10)
	return h != nil && string(h[:3]) == "BZh" && h[3] >= '1' && h[3] <= '9' && (string(h[4:]) == "1AY&SY" || string(h[4:]) == "\x17\x72\x45\x38\x50\x90")
}

func openBzip2(c *Content, l *layer) error {
	// Go's reader takes several streams as one by itself.
	return l.member(Member{Name: stem(l.name, ".bz2", ".tbz2>.tar", ".tbz>.tar", ".bz"), Size: -1, Open: func() (io.Reader, error) {
		return bzip2.NewReader(bufio.NewReaderSize(c.section(0, c.Size), 64<<10)), nil
	}})
}

func isXz(c *Content) bool { return c.has(0, "\xFD7zXZ\x00") }

func openXz(c *Content, l *layer) error {
	return l.one(c, stem(l.name, ".xz", ".txz>.tar"), lzma.MaxWindow, xzPart)
}

// isLzma: the format has no signature, so the whole header must be what its programs write, and the stream must begin.
// https://github.com/jljusten/LZMA-SDK/blob/master/DOC/lzma-file-format.txt names none; these are what file(1) and 7-Zip ask.
func isLzma(c *Content) bool {
	h := c.piece(0, 14)
	if h == nil || h[0] != 0x5D || h[13] != 0 {
		return false
	}
	dict, size := le.Uint32(h[1:]), le.Uint64(h[5:])
	if dict < 4<<10 || dict&(dict-1) != 0 && dict != 0xFFFFFFFF && (dict/3)&(dict/3-1) != 0 || size != 1<<64-1 && size >= 1<<38 {
		return false
	}
	r, err := lzmaAlone(bufio.NewReader(c.section(0, min(c.Size, 64<<10))))
	if err != nil {
		return false
	}
	n, err := io.CopyN(io.Discard, r, 256)
	return n > 0 && (err == nil || err == io.EOF)
}

func lzmaAlone(r *bufio.Reader) (io.Reader, error) {
	var h [13]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, ErrMalformed
	}
	return lzma.NewReader(r, h[0], le.Uint32(h[1:]), int64(le.Uint64(h[5:])))
}

func openLzma(c *Content, l *layer) error {
	return l.member(Member{Name: stem(l.name, ".lzma", ".tlz>.tar"), Size: -1, Window: lzma.MaxWindow, Open: func() (io.Reader, error) {
		return lzmaAlone(bufio.NewReaderSize(c.section(0, c.Size), 64<<10))
	}})
}

// lzip's format: https://www.nongnu.org/lzip/manual/lzip_manual.html#File-format
func isLzip(c *Content) bool {
	h := c.piece(0, 6)
	return h != nil && string(h[:4]) == "LZIP" && h[4] <= 1
}

func openLzip(c *Content, l *layer) error {
	// A member's size stands behind it, so the streams are found from the end.
	type span struct{ at, size int64 }
	var spans []span
	for end := c.Size; end > 0; {
		t := c.piece(end-20, 20)
		if t == nil || len(spans) > MaxMembers {
			return ErrMalformed
		}
		n := int64(le.Uint64(t[12:]))
		if n < 26 || n > end || !c.has(end-n, "LZIP") {
			if end == c.Size && len(bytes.TrimRight(c.piece(max(0, end-maxText), min(end, maxText)), "\x00")) < int(min(end, maxText)) {
				end-- // padding
				continue
			}
			return ErrMalformed
		}
		end -= n
		spans = append(spans, span{end, n})
	}
	return l.member(Member{Name: stem(l.name, ".lz", ".tlz>.tar"), Size: -1, Window: lzma.MaxWindow, Open: func() (io.Reader, error) {
		var all []io.Reader
		for i := len(spans) - 1; i >= 0; i-- {
			s := spans[i]
			h, t := c.piece(s.at, 6), c.piece(s.at+s.size-20, 20)
			if h == nil || t == nil {
				return nil, ErrUnread
			}
			dict := uint32(1) << (h[5] & 0x1F)
			dict -= dict / 16 * uint32(h[5]>>5)
			r, err := lzma.NewReader(c.section(s.at+6, s.size-26), 93, dict, -1)
			if err != nil {
				return nil, err
			}
			all = append(all, &checked{r: r, sum: crc32.NewIEEE(), want: le.Uint32(t)})
		}
		return io.MultiReader(all...), nil
	}})
}

// RFC 8878. A frame that can be skipped may come first.
func isZstd(c *Content) bool {
	h := c.piece(0, 5)
	return h != nil && (le.Uint32(h) == 0xFD2FB528 && h[4]&8 == 0 || le.Uint32(h)&0xFFFFFFF0 == 0x184D2A50 && c.skippable())
}

// skippable reports whether what follows a skippable frame, which zstd and lz4 share, is a frame of zstd or the end.
func (c *Content) skippable() bool {
	at := int64(0)
	for range 64 {
		h := c.piece(at, 8)
		if h == nil {
			return false
		}
		if le.Uint32(h)&0xFFFFFFF0 != 0x184D2A50 {
			return le.Uint32(h) == 0xFD2FB528
		}
		at += 8 + int64(le.Uint32(h[4:]))
	}
	return false
}

func openZstd(c *Content, l *layer) error {
	return l.member(Member{Name: stem(l.name, ".zst", ".tzst>.tar"), Size: -1, Window: lzma.MaxWindow, Open: func() (io.Reader, error) {
		return unzstd(c.section(0, c.Size))
	}})
}

// unzstd is a decoder without goroutines. A frame that wants a larger window than lzma's is refused as too hungry.
func unzstd(r io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(lzma.MaxWindow),
		zstd.WithDecoderMaxMemory(MaxBytes))
	if err != nil {
		return nil, err
	}
	return &hungry{d, zstd.ErrWindowSizeExceeded}, nil
}

// hungry turns the error of a decoder that wants too much memory into the limit.
type hungry struct {
	r    io.Reader
	more error
}

func (h *hungry) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if err != nil && errors.Is(err, h.more) {
		err = tooHungry
	}
	return n, err
}

// https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
func isLz4(c *Content) bool {
	h := c.piece(0, 5)
	return h != nil && (le.Uint32(h) == 0x184D2204 && h[4]&0xC2 == 0x40 || le.Uint32(h) == 0x184C2102)
}

func openLz4(c *Content, l *layer) error {
	return l.one(c, stem(l.name, ".lz4", ".tlz4>.tar"), 0, lz4Part)
}

func lz4Part(r *bufio.Reader) (io.Reader, error) {
	h, err := r.Peek(4)
	if err != nil {
		return nil, ErrMalformed
	}
	if magic := le.Uint32(h); magic != 0x184D2204 && magic != 0x184C2102 && magic&0xFFFFFFF0 != 0x184D2A50 {
		return nil, errNot
	}
	return lz4.NewReader(r), nil
}
