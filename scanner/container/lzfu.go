package container

import (
	"bufio"
	"bytes"
	"io"
)

// The text of messages of Outlook, in compressed RTF ([MS-OXRTFCP]): a header of 16 bytes, then runs of a byte of flags and
// eight tokens, each a byte or a place in a ring of 4096 bytes and a length. The ring begins with words that RTF often has. A
// token that points at the place to be written next is the end.
const (
	lzfuMagic  = "LZFu"
	lzfuStored = "MELA"
	lzfuRing   = 4096
	lzfuWords  = "{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)

type lzfu struct {
	src  *bufio.Reader
	ring [lzfuRing]byte
	at   int
	out  bytes.Buffer
	err  error
}

func newLZFu(r io.Reader) (io.Reader, error) {
	var h [16]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, ErrMalformed
	}
	switch string(h[8:12]) {
	case lzfuStored:
		return r, nil
	case lzfuMagic:
		z := &lzfu{src: bufio.NewReader(r), at: len(lzfuWords)}
		copy(z.ring[:], lzfuWords)
		return z, nil
	}
	return nil, ErrMalformed
}

func (z *lzfu) put(c byte) {
	z.ring[z.at] = c
	z.at = (z.at + 1) % lzfuRing
	z.out.WriteByte(c)
}

func (z *lzfu) Read(p []byte) (int, error) {
	for z.out.Len() == 0 {
		if z.err != nil {
			return 0, z.err
		}
		z.err = z.run()
	}
	return z.out.Read(p)
}

func (z *lzfu) run() error {
	flags, err := z.src.ReadByte()
	if err != nil {
		return err
	}
	for bit := range 8 {
		c, err := z.src.ReadByte()
		if err != nil {
			return err
		}
		if flags>>bit&1 == 0 {
			z.put(c)
			continue
		}
		d, err := z.src.ReadByte()
		if err != nil {
			return early(err)
		}
		from, n := int(c)<<4|int(d>>4), int(d&0xF)+2
		if from == z.at {
			return io.EOF
		}
		for range n {
			z.put(z.ring[from])
			from = (from + 1) % lzfuRing
		}
	}
	return nil
}
