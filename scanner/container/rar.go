package container

import (
	"errors"
	"io"

	"github.com/nwaples/rardecode/v2"

	"pratique/scanner/container/lzma"
	"pratique/scanner/report"
)

// RAR 1.5 to 5, through nwaples/rardecode, whose memory is bounded by the largest dictionary that it may take. Members of a
// solid archive are unpacked in their order. A volume of a set is not the whole, and is malformed.
func isRar(c *Content) bool {
	return c.has(0, "Rar!\x1A\x07\x00") || c.has(0, "Rar!\x1A\x07\x01\x00")
}

func openRar(c *Content, l *layer) error {
	begin := func() (*rardecode.Reader, error) {
		return rardecode.NewReader(c.section(0, c.Size), rardecode.MaxDictionarySize(lzma.MaxWindow), rardecode.SkipCheck)
	}
	if err := l.reserve(lzma.MaxWindow); err != nil {
		return err
	}
	defer func() { l.windows -= lzma.MaxWindow }()
	r, err := begin()
	if err != nil {
		return rarError(err)
	}
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return rarError(err)
		}
		m := Member{Name: h.Name, Size: h.UnPackedSize, Window: lzma.MaxWindow}
		if h.UnKnownSize {
			m.Size = -1
		}
		switch {
		case h.Encrypted:
			m.Outcome = report.Encrypted
		case h.IsDir && h.UnPackedSize <= 0:
		default:
			here, used := r, false
			m.Open = func() (io.Reader, error) {
				if !used { // the first look needs no second pass over what lies before
					used = true
					return rarMember{here}, nil
				}
				again, err := begin()
				if err != nil {
					return nil, rarError(err)
				}
				for range n + 1 {
					if _, err := again.Next(); err != nil {
						return nil, rarError(err)
					}
				}
				return rarMember{again}, nil
			}
		}
		if err := l.member(m); err != nil {
			return err
		}
	}
}

type rarMember struct{ r *rardecode.Reader }

func (m rarMember) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		err = rarError(err)
	}
	return n, err
}

// rarError says what an error of the library means here.
func rarError(err error) error {
	switch {
	case errors.Is(err, rardecode.ErrArchiveEncrypted), errors.Is(err, rardecode.ErrArchivedFileEncrypted), errors.Is(err, rardecode.ErrBadPassword):
		return errEncrypted
	case errors.Is(err, rardecode.ErrDictionaryTooLarge):
		return tooHungry
	case errors.Is(err, rardecode.ErrUnknownDecoder), errors.Is(err, rardecode.ErrUnsupportedDecoder):
		return errUnknown
	}
	return err
}
