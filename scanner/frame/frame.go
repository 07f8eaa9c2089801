// Package frame carries bounded messages over a pipe between two of the program's processes.
//
// A message is a 4-byte big-endian length followed by that many bytes of deterministic CBOR (RFC 8949 section 4.2).
// Either side may be an attacker's: the process that parses a medium is assumed to fall one day. So the reader trusts
// nothing: the length is held against a limit before a byte is read, the CBOR has no tags, no indefinite lengths, no
// duplicate keys and no unknown fields, and nesting and collection sizes are bounded. After the first error a Reader
// returns that error for ever, because what follows in the stream cannot be trusted to be aligned.
package frame

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// MaxBytes is the largest message either side accepts: a request for 64 files with 255-byte names, or one item with
// its findings, stays well below it.
const MaxBytes = 256 << 10

// ErrTooLarge says that a message is longer than MaxBytes.
var ErrTooLarge = errors.New("frame: message is longer than the limit")

var (
	encoder = mustEncMode()
	decoder = mustDecMode()
)

func mustEncMode() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}

func mustDecMode() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       64,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}

// Marshal returns the bytes that a Writer would send for v, without the length.
func Marshal(v any) ([]byte, error) { return encoder.Marshal(v) }

// Unmarshal decodes one message under the limits of this package.
func Unmarshal(data []byte, v any) error {
	if len(data) > MaxBytes {
		return ErrTooLarge
	}
	return decoder.Unmarshal(data, v)
}

// Writer sends messages. It is not safe for concurrent use. Nothing is sent before Flush, or before its buffer is full.
type Writer struct{ w *bufio.Writer }

// NewWriter returns a Writer that sends to w.
func NewWriter(w io.Writer) *Writer { return &Writer{bufio.NewWriterSize(w, 64<<10)} }

// Write queues one message.
func (w *Writer) Write(v any) error {
	data, err := encoder.Marshal(v)
	if err != nil {
		return fmt.Errorf("frame: encode: %w", err)
	}
	if len(data) > MaxBytes {
		return ErrTooLarge
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(data)))
	if _, err := w.w.Write(head[:]); err != nil {
		return err
	}
	_, err = w.w.Write(data)
	return err
}

// Flush sends what is queued.
func (w *Writer) Flush() error { return w.w.Flush() }

// Reader receives messages. It is not safe for concurrent use.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
	err error
}

// NewReader returns a Reader that receives from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10), max: MaxBytes} }

// NewSmallReader returns a Reader that takes messages of at most max bytes and holds no more memory than that, for a side
// that has many senders.
func NewSmallReader(r io.Reader, max int) *Reader {
	max = min(max, MaxBytes)
	return &Reader{r: bufio.NewReaderSize(r, max+4), max: max}
}

// Next decodes the next message into v, which must be a pointer to a zero value. It returns io.EOF when the stream ends
// between two messages, and another error when it ends or breaks within one.
func (r *Reader) Next(v any) error {
	if r.err == nil {
		r.err = r.next(v)
	}
	return r.err
}

func (r *Reader) next(v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return err // io.EOF only if nothing at all was read
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > uint32(r.max) {
		return ErrTooLarge
	}
	if int(n) > cap(r.buf) {
		r.buf = make([]byte, r.max)
	}
	if _, err := io.ReadFull(r.r, r.buf[:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := decoder.Unmarshal(r.buf[:n], v); err != nil {
		return fmt.Errorf("frame: decode: %w", err)
	}
	return nil
}
