package clearance

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ManifestMagic is how a manifest begins. The digit is the version of the format.
const ManifestMagic = "pratique manifest 1\n"

// WriteTo writes a sealed manifest as a file.
func (m *Manifest) WriteTo(w io.Writer) (int64, error) {
	if m.content == nil {
		return 0, errOpen
	}
	out := &counter{w: bufio.NewWriterSize(w, 64<<10)}
	out.Write([]byte(ManifestMagic))
	out.Write(m.id[:])
	out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(m.volumes))))
	in := m.merge()
	var buf [leafBytes]byte
	for i := range m.volumes {
		out.Write(binary.BigEndian.AppendUint64(nil, m.volumes[i].leaves))
		for range m.volumes[i].leaves {
			r, err := in.next()
			if err == nil && (r == nil || r.volume() != m.volumes[i].id) {
				err = errors.New("manifest: the spool lost entries")
			}
			if err != nil {
				return out.n, err
			}
			out.Write(r.leaf(buf[:0]))
		}
	}
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.n, out.err
}

// counter counts what it writes and keeps the first error.
type counter struct {
	w   *bufio.Writer
	n   int64
	err error
}

func (c *counter) Write(p []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(p)
	c.n, c.err = c.n+int64(n), err
}

// ReadManifest reads what WriteTo wrote, to the end of r, and computes its tree again. It takes no count for granted:
// memory grows only with bytes that were really there. Nothing is proved until the content it returns is held against a
// token, which Verify does.
func ReadManifest(r io.Reader) (*Manifest, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var head [len(ManifestMagic) + 16 + 4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, manifestEnd(err)
	}
	if string(head[:len(ManifestMagic)]) != ManifestMagic {
		return nil, fmt.Errorf("manifest: %w: not a manifest of version 1", ErrMalformed)
	}
	m := NewManifest([16]byte(head[len(ManifestMagic):]))
	volumes := binary.BigEndian.Uint32(head[len(ManifestMagic)+16:])
	if volumes > MaxVolumes {
		return nil, fmt.Errorf("manifest: %w: %d volumes", ErrMalformed, volumes)
	}
	for i := range int(volumes) {
		var count [8]byte
		if _, err := io.ReadFull(in, count[:]); err != nil {
			return nil, manifestEnd(err)
		}
		n := binary.BigEndian.Uint64(count[:])
		if n > uint64(MaxLeaves-m.leaves) {
			return nil, fmt.Errorf("manifest: %w: %d entries", ErrMalformed, n)
		}
		var buf [leafBytes]byte
		var last [32]byte
		for j := range n {
			if _, err := io.ReadFull(in, buf[:]); err != nil {
				return nil, manifestEnd(err)
			}
			r := newRecord(i, buf[0], [32]byte(buf[1:33]), binary.BigEndian.Uint64(buf[33:41]), [32]byte(buf[41:]))
			key := r.key()
			switch { // merging would put things into order, and so accept a second spelling
			case r.kind() == parentMark:
				return nil, fmt.Errorf("manifest: %w: kind", ErrMalformed)
			case j > 0 && bytes.Compare(last[:], key[:]) >= 0:
				return nil, fmt.Errorf("manifest: %w: order", ErrMalformed)
			}
			last = key
			if err := m.keep(r); err != nil {
				return nil, err
			}
		}
		m.leaves += int(n)
		m.volumes = append(m.volumes, volumeTree{id: i})
	}
	if _, err := in.ReadByte(); err != io.EOF {
		if err == nil {
			err = fmt.Errorf("manifest: %w: bytes after the end", ErrMalformed)
		}
		return nil, err
	}
	if _, err := m.Seal(); err != nil {
		return nil, err
	}
	return m, nil
}

// manifestEnd tells a file that is too short, which is malformed, from one that could not be read.
func manifestEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("manifest: %w: it ends too early", ErrMalformed)
	}
	return fmt.Errorf("manifest: %w", err)
}
