package container

// fields reads numbers and texts one after the other from a structure in memory. Behind its end everything is zero, and bad
// says so, so that a parser asks once.
type fields struct {
	b   []byte
	bad bool
}

// take returns the next n bytes.
func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) u8() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

// number is a number of seven bits a byte, the lowest first, as xz has them.
func (f *fields) number() (v uint64) {
	for shift := 0; shift < 63; shift += 7 {
		b := f.u8()
		v |= uint64(b&0x7F) << shift
		if b&0x80 == 0 {
			return v
		}
	}
	f.bad = true
	return 0
}
