package udf

import (
	"bytes"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// span is an extent_ad: bytes, and the block at which they begin (3/7.1).
type span struct{ bytes, block int64 }

func spanOf(b []byte) span { return span{int64(le.Uint32(b)), int64(le.Uint32(b[4:]))} }

// anchor says where the two sequences of descriptors lie (3/10.2).
type anchor struct{ main, reserve span }

// anchors finds the size of a block, and the anchors: at block 256, at the last, and 256 before it (UDF 2.2.3).
func (fs *FS) anchors() ([]anchor, error) {
	var found []anchor
	unread := false
	for _, size := range []int64{2048, 512, 4096, 1024} {
		blocks := fs.src.Size() / size
		raw := make([]byte, size)
		for _, at := range []int64{256, blocks - 1, blocks - 257, 512} {
			if at < 256 || at >= blocks {
				continue
			}
			if fs.readFull(raw, at*size) != nil {
				unread = true
				continue
			}
			if tagOf(raw) != tagAnchor || int64(le.Uint32(raw[12:])) != at || checkTag(raw) != nil {
				continue
			}
			if fs.block != 0 && fs.block != size {
				fs.known.Wrong(report.Malformed, "The volume describes itself in blocks of two sizes.")
				continue
			}
			fs.block, fs.blocks = size, blocks
			found = append(found, anchor{spanOf(raw[16:]), spanOf(raw[24:])})
			fs.head = append(fs.head, volume.Extent{Start: at * size, Bytes: size})
		}
	}
	switch {
	case len(found) == 0 && unread:
		return nil, &volume.Fault{Outcome: report.Unreadable, Text: "an anchor could not be read"}
	case len(found) == 0:
		return nil, volume.Malformed("it has no anchor")
	}
	if slices.ContainsFunc(found, func(a anchor) bool { return a != found[0] }) {
		fs.known.Wrong(report.Malformed, "The anchors of the volume lead to different places.")
	}
	return found, nil
}

// sequence is what one volume descriptor sequence says.
type sequence struct {
	logical    []byte
	partitions [][]byte
	discs      uint16
	number     uint32            // of the logical volume's descriptor
	numbers    map[uint16]uint32 // of the partitions'
	complete   bool              // it came to its end without damage
}

// sequences reads both, and decides by the main one, as every driver does.
func (fs *FS) sequences(anchors []anchor) (*sequence, error) {
	var main, reserve *sequence
	for _, a := range anchors[:1] {
		main, reserve = fs.sequence(a.main), fs.sequence(a.reserve)
	}
	for _, s := range []struct {
		*sequence
		what string
	}{{main, "The volume's descriptors are damaged."}, {reserve, "The reserve of the volume's descriptors is damaged."}} {
		if !s.complete || s.logical == nil || len(s.partitions) == 0 {
			fs.known.Wrong(report.Malformed, s.what)
		}
	}
	if !main.equal(reserve) {
		fs.known.Wrong(report.Malformed, "The volume's descriptors and their reserve describe two different volumes.")
	}
	if main.logical == nil || len(main.partitions) == 0 {
		main = reserve
	}
	if main.logical == nil || len(main.partitions) == 0 {
		return nil, volume.Malformed("it has no descriptor of a logical volume")
	}
	if main.discs > 1 {
		return nil, volume.Malformed("it is one of several discs of a set")
	}
	return main, nil
}

// equal compares what leads anywhere: the tags differ by their places.
func (s *sequence) equal(o *sequence) bool {
	same := func(a, b []byte) bool {
		return (a == nil) == (b == nil) && (a == nil || bytes.Equal(a[20:], b[20:]))
	}
	return same(s.logical, o.logical) && slices.EqualFunc(s.partitions, o.partitions, same)
}

// sequence reads the descriptors from one place on. Of two of a kind the one with the higher number prevails (3/8.4.3).
func (fs *FS) sequence(at span) *sequence {
	s := &sequence{numbers: map[uint16]uint32{}}
	raw := make([]byte, fs.block)
	read := 0
	for pointers := 0; pointers <= maxPointers; pointers++ {
		next := span{}
		for b := at.block; (b-at.block)*fs.block < at.bytes; b++ {
			if read++; read > maxSequence {
				return s
			}
			err := fs.readFull(raw, b*fs.block)
			if err == nil && volume.Zero(raw) {
				s.complete = true // what was not recorded ends it too (3/8.4.2)
				return s
			}
			if err == nil {
				err = checkTag(raw)
			}
			if err != nil || int64(le.Uint32(raw[12:])) != b {
				return s
			}
			fs.head = append(fs.head, volume.Extent{Start: b * fs.block, Bytes: fs.block})
			number := le.Uint32(raw[16:])
			switch tagOf(raw) {
			case tagPrimary:
				s.discs = max(s.discs, le.Uint16(raw[58:]))
			case tagPartition:
				s.partition(raw, number)
			case tagLogicalVolume:
				if s.logical == nil || number >= s.number {
					s.logical, s.number = bytes.Clone(raw), number
				}
			case tagPointer:
				next = spanOf(raw[20:])
			case tagTerminator:
				s.complete = true
				return s
			case tagImplementUse, tagUnallocated:
			default:
				return s
			}
			if next.bytes > 0 {
				break
			}
		}
		if next.bytes == 0 {
			s.complete = true // the extent is full
			return s
		}
		at = next
	}
	return s
}

func (s *sequence) partition(raw []byte, number uint32) {
	id := le.Uint16(raw[22:])
	if old, known := s.numbers[id]; known && number < old {
		return
	}
	s.numbers[id] = number
	s.partitions = slices.DeleteFunc(s.partitions, func(p []byte) bool { return le.Uint16(p[22:]) == id })
	s.partitions = append(s.partitions, bytes.Clone(raw))
}

// describe reads the logical volume: its partitions, whether it was closed, and where its files begin.
func (fs *FS) describe(seq *sequence) error {
	l := seq.logical
	fs.label = dstring(l[84:212])
	if size := int64(le.Uint32(l[212:])); size != fs.block {
		return volume.Malformed("its blocks are of another size than its sectors")
	}
	if id := regid(l[216:248]); id != "*OSTA UDF Compliant" {
		return volume.Malformed("it follows other rules than those of OSTA")
	}
	if err := fs.maps(seq); err != nil {
		return err
	}
	fs.integrity(spanOf(l[432:]))
	return fs.fileSet(longAD(l[248:]))
}

// integrity reads the descriptors that say whether the volume was closed (3/10.10).
func (fs *FS) integrity(at span) {
	raw := make([]byte, fs.block)
	open := false
	for n := 0; at.bytes > 0; n++ {
		next := span{}
		for b := at.block; (b-at.block)*fs.block < at.bytes; b++ {
			if n++; n > maxSequence {
				fs.known.Wrong(report.Malformed, "The volume's record of being closed has no end.")
				return
			}
			if err := fs.readFull(raw, b*fs.block); err != nil {
				fs.known.Wrong(volume.OutcomeOf(err), "The volume's record of being closed cannot be read.")
				return
			}
			if checkTag(raw) != nil || tagOf(raw) != tagIntegrity {
				break
			}
			fs.head = append(fs.head, volume.Extent{Start: b * fs.block, Bytes: fs.block})
			open = le.Uint32(raw[28:]) == 0
			if next = spanOf(raw[32:]); next.bytes > 0 {
				break
			}
		}
		at = next
	}
	if open {
		fs.known.Note("volume-dirty", report.Inform, -1, "The volume was not closed properly.")
	}
}

// fileSet reads the descriptor of the files (4/14.1).
func (fs *FS) fileSet(at address) error {
	raw := make([]byte, fs.block)
	x, err := fs.readBlock(raw, at)
	if err == nil && tagOf(raw) != tagFileSet {
		err = volume.Malformed("it is none.")
	}
	if err != nil {
		return &volume.Fault{Outcome: volume.OutcomeOf(err), Text: "its set of files cannot be found: " + faultText(err)}
	}
	fs.head = append(fs.head, x)
	fs.root, fs.system = longAD(raw[400:]), longAD(raw[464:])
	if next := longAD(raw[448:]); next.bytes > 0 {
		fs.known.Wrong(report.Malformed, "The volume has more than one set of files.")
	}
	if at.bytes > fs.block {
		at.block, at.bytes = at.block+1, at.bytes-fs.block
		if x, err = fs.readBlock(raw, at); err == nil && tagOf(raw) == tagFileSet {
			fs.known.Wrong(report.Malformed, "The volume has more than one set of files.")
		} else if err == nil {
			fs.head = append(fs.head, x)
		}
	}
	return nil
}
