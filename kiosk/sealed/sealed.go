// Package sealed keeps a long text on a disk so that only who has its key can read it, or can change it without being seen. The
// station's manifests lie in its state folder in this form: their leaves are keyed digests of paths, whose key stands in the token
// and in the log, so that whoever takes the disk could try a dictionary of names against them.
//
// # Format
//
//	magic    16 bytes   "pratique sealed1"
//	salt     32 bytes   random, of this file alone
//	chunks              AES-256-GCM, each 65,536 bytes of text and a tag of 16 bytes; the last may be shorter
//
// The key of the chunks is HKDF-SHA256 (RFC 5869, https://www.rfc-editor.org/rfc/rfc5869) of the caller's 32 bytes with the salt, and
// with the magic, a zero byte and the label as info. The label says what the text is and whose: a file that is moved to another
// place does not open there. The nonce of a chunk is 3 zero bytes, its place as 8 bytes big-endian, and a byte that is 1 for the
// last chunk and 0 for all others: the STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption
// and its Nonce-Reuse Misuse-Resistance", section 7, https://eprint.iacr.org/2015/189). So chunks cannot be reordered, repeated,
// left out or cut off. The last chunk is empty only if the whole text is: a text has one length of file. As the salt is drawn
// anew for each file, no key seals two texts, and no nonce comes twice.
//
// # Trust and limits
//
// It trusts who gives it the key, and nothing in the file: what Read returns was authenticated, in this order and from the start.
// That the text is whole is known only when Read returns io.EOF; who needs all of it or none keeps what was read aside until then.
// It holds one chunk in memory, whatever the file says. The length of the text can be seen from the outside.
package sealed

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic    = "pratique sealed1"
	saltSize = 32
	// KeySize is how many bytes the caller's key has.
	KeySize = 32
	// chunkSize is small enough to hold, and large enough that the tags are nothing (a 4,000th).
	chunkSize = 64 << 10
	tagSize   = 16
)

// What can be wrong with a file. Other errors are those of the reader below.
var (
	ErrNotSealed = errors.New("it is no sealed file")
	ErrDamaged   = errors.New("the sealed file was changed, cut off, or is another's")
	errClosed    = errors.New("the sealed file is closed")
)

// newChunks returns the cipher of a file's chunks.
func newChunks(key, salt []byte, label string) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a key of %d bytes", len(key))
	}
	own, err := hkdf.Key(sha256.New, key, salt, magic+"\x00"+label, KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce is that of the chunk at a place.
func nonce(place uint64, last bool) []byte {
	n := binary.BigEndian.AppendUint64(make([]byte, 3, 12), place)
	if last {
		return append(n, 1)
	}
	return append(n, 0)
}

// Writer seals what is written to it. Without Close the file is cut off, and Read says so.
type Writer struct {
	w      io.Writer
	chunks cipher.AEAD
	place  uint64
	text   []byte // of the chunk that is not yet sealed
	err    error  // the first that there was
}

// NewWriter begins a sealed file in w.
func NewWriter(w io.Writer, key []byte, label string) (*Writer, error) {
	head := append([]byte(magic), make([]byte, saltSize)...)
	salt := head[len(magic):]
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	chunks, err := newChunks(key, salt, label)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(head); err != nil {
		return nil, err
	}
	return &Writer{w: w, chunks: chunks, text: make([]byte, 0, chunkSize+tagSize)}, nil
}

// Write seals a part of the text.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		// A full chunk waits until there is more: only then is it known not to be the last.
		if len(w.text) == chunkSize {
			w.flush(false)
			continue
		}
		part := min(len(p), chunkSize-len(w.text))
		w.text = append(w.text, p[:part]...)
		p, n = p[part:], n+part
	}
	return n, w.err
}

func (w *Writer) flush(last bool) {
	if w.err != nil {
		return
	}
	_, w.err = w.w.Write(w.chunks.Seal(w.text[:0], nonce(w.place, last), w.text, nil))
	w.text, w.place = w.text[:0], w.place+1
}

// Close seals the end of the text. It does not close what is below.
func (w *Writer) Close() error {
	w.flush(true)
	err := w.err
	if w.err == nil {
		w.err = errClosed
	}
	return err
}

// Reader opens what a Writer has sealed.
type Reader struct {
	r      *bufio.Reader
	chunks cipher.AEAD
	place  uint64
	buf    []byte
	text   []byte // of the chunk that was opened last, as far as it was not yet read
	err    error  // what comes after text
}

// NewReader begins to open a sealed file. It returns ErrNotSealed if the file does not begin like one.
func NewReader(r io.Reader, key []byte, label string) (*Reader, error) {
	head := make([]byte, len(magic)+saltSize)
	switch n, err := io.ReadFull(r, head); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if Is(head[:n]) {
			return nil, ErrDamaged
		}
		return nil, ErrNotSealed
	case err != nil:
		return nil, err
	case !Is(head):
		return nil, ErrNotSealed
	}
	chunks, err := newChunks(key, head[len(magic):], label)
	if err != nil {
		return nil, err
	}
	return &Reader{r: bufio.NewReaderSize(r, chunkSize+tagSize), chunks: chunks, buf: make([]byte, chunkSize+tagSize)}, nil
}

// MagicSize is how much of a file's head Is needs.
const MagicSize = len(magic)

// Is reports whether a file with this head claims to be sealed.
func Is(head []byte) bool { return len(head) >= MagicSize && string(head[:MagicSize]) == magic }

// Read returns text that was authenticated; io.EOF only at the end that was sealed.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.text) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.text, r.err = r.next()
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// next opens one chunk. With the last comes io.EOF.
func (r *Reader) next() (text []byte, err error) {
	n, err := io.ReadFull(r.r, r.buf)
	last := errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case last:
	case errors.Is(err, io.EOF): // not even a tag: what was the end is gone
		return nil, ErrDamaged
	case err != nil:
		return nil, err
	default:
		if _, err := r.r.Peek(1); errors.Is(err, io.EOF) {
			last = true
		} else if err != nil {
			return nil, err
		}
	}
	if n < tagSize || n == tagSize && r.place > 0 {
		return nil, ErrDamaged
	}
	text, err = r.chunks.Open(r.buf[:0], nonce(r.place, last), r.buf[:n], nil)
	if err != nil {
		return nil, ErrDamaged
	}
	r.place++
	if last {
		return text, io.EOF
	}
	return text, nil
}
