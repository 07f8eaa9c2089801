package ntfs

import (
	"io"
	"sort"

	"pratique/scanner/volume"
)

// maxUnit bounds a compression unit: Windows compresses 16 clusters together, and only where they are no larger than 4 KiB.
const maxUnit = 64 << 10

// unpacked is the content of a compressed stream. Each unit is a run of clusters and a hole: all clusters and no hole is
// stored as it is, all hole is zeros, anything between is LZNT1. It keeps the last unit, so it serves one reader at a time.
type unpacked struct {
	raw         io.ReaderAt
	extents     []volume.Extent
	ends        []int64
	unit        int64
	size, valid int64 // behind valid there are zeros
	at          int64 // which unit is in plain; -1: none
	plain       []byte
	packed      []byte
}

// decoder is what an entry's Decode is for a compressed stream.
func (s *stream) decoder() func(io.ReaderAt) io.ReaderAt {
	extents, ends, unit, size, valid := s.extents, s.ends, s.unit, s.size, s.valid
	return func(raw io.ReaderAt) io.ReaderAt {
		return &unpacked{raw: raw, extents: extents, ends: ends, unit: unit, size: size, valid: valid, at: -1}
	}
}

// ReadAt follows io.ReaderAt. An error but io.EOF wraps volume.ErrMalformed or volume.ErrUnreadable.
func (u *unpacked) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at < 0 || at >= u.size {
			return done, io.EOF
		}
		if at >= u.valid {
			n := min(u.size-at, int64(len(p)-done))
			clear(p[done : done+int(n)])
			done += int(n)
			continue
		}
		if err := u.load(at / u.unit); err != nil {
			return done, err
		}
		end := min((u.at+1)*u.unit, u.valid)
		done += copy(p[done:], u.plain[at-u.at*u.unit:end-u.at*u.unit])
	}
	return done, nil
}

// load brings one unit into plain.
func (u *unpacked) load(number int64) error {
	if u.at == number {
		return nil
	}
	if u.plain == nil {
		u.plain, u.packed = make([]byte, u.unit), make([]byte, u.unit)
	}
	u.at = -1
	stored, err := u.stored(number * u.unit)
	if err != nil {
		return err
	}
	switch stored {
	case 0:
		clear(u.plain)
	case u.unit:
		if err := readExtents(u.raw, u.extents, u.ends, u.plain, number*u.unit); err != nil {
			return err
		}
	default:
		packed := u.packed[:stored]
		if err := readExtents(u.raw, u.extents, u.ends, packed, number*u.unit); err != nil {
			return err
		}
		if err := unpackLZNT1(u.plain, packed); err != nil {
			return err
		}
	}
	u.at = number
	return nil
}

// stored is how many bytes of the unit that begins at off lie on the medium. They come before its hole.
func (u *unpacked) stored(off int64) (int64, error) {
	end := off + u.unit
	i := sort.Search(len(u.ends), func(i int) bool { return u.ends[i] > off })
	var n int64
	hole := false
	for at := off; at < end; i++ {
		if i >= len(u.extents) {
			return 0, volume.Malformed("it ends within a compression unit.")
		}
		next := min(u.ends[i], end)
		switch {
		case u.extents[i].Start < 0:
			hole = true
		case hole:
			return 0, errPacked
		default:
			n += next - at
		}
		at = next
	}
	return n, nil
}
