package container

import (
	"io"
)

const (
	// forwardBlock is the grid on which a stream is read and remembered, forwardBlocks how many of the last are: structures
	// that point a little back cost nothing.
	forwardBlock  = 64 << 10
	forwardBlocks = 16
)

// forward reads anywhere in content that can only be unpacked from its beginning. A look back unpacks it anew, and every byte
// that comes out is counted, so that an archive that is all looks back ends at a limit.
type forward struct {
	walk   *walk
	open   func() (io.Reader, error)
	size   int64
	r      io.Reader
	next   int64 // the block that r gives next
	blocks [forwardBlocks]struct {
		number int64
		data   []byte
	}
}

func (w *walk) forward(open func() (io.Reader, error), size int64) *forward {
	return &forward{walk: w, open: open, size: size}
}

// ReadAt follows io.ReaderAt.
func (f *forward) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off >= f.size {
			return n, io.EOF
		}
		b, err := f.block(off / forwardBlock)
		if err != nil {
			return n, err
		}
		within := int(off % forwardBlock)
		if within >= len(b) {
			return n, io.ErrUnexpectedEOF
		}
		k := copy(p[n:], b[within:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

func (f *forward) block(number int64) ([]byte, error) {
	slot := &f.blocks[number%forwardBlocks]
	if slot.data != nil && slot.number == number {
		return slot.data, nil
	}
	if f.r == nil || number < f.next {
		var err error
		if err = guard(func() (err error) { f.r, err = f.open(); return err }); err != nil {
			f.r = nil
			return nil, err
		}
		f.next = 0
	}
	for {
		slot := &f.blocks[f.next%forwardBlocks]
		if cap(slot.data) == 0 {
			slot.data = make([]byte, forwardBlock)
		}
		slot.data = slot.data[:min(forwardBlock, f.size-f.next*forwardBlock)]
		n := 0
		err := guard(func() (err error) { n, err = io.ReadFull(f.r, slot.data); return err })
		if err == nil {
			err = f.walk.spend(int64(n))
		}
		if err != nil { // it gave more the first time
			slot.data, f.r = nil, nil
			return nil, err
		}
		slot.number = f.next
		f.next++
		if slot.number == number {
			return slot.data, nil
		}
	}
}
