package ntfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// pack is a simple LZNT1 encoder: the longest earlier match, found by looking everywhere.
func pack(plain []byte) []byte {
	var out []byte
	for len(plain) > 0 {
		chunk := plain[:min(len(plain), lzntChunk)]
		plain = plain[len(chunk):]
		body := packChunk(chunk)
		head := uint16(0xB000)
		if len(body) >= lzntChunk && len(chunk) == lzntChunk {
			body, head = chunk, 0x3000
		}
		out = append(le.AppendUint16(out, head|uint16(len(body)-1)), body...)
	}
	return out
}

func packChunk(chunk []byte) (body []byte) {
	for at := 0; at < len(chunk); {
		flags := len(body)
		body = append(body, 0)
		for bit := 0; bit < 8 && at < len(chunk); bit++ {
			split := 12
			for reach := at - 1; reach >= 16; reach >>= 1 {
				split--
			}
			best, back := 0, 0
			for from := max(0, at-1<<(16-split)); from < at; from++ {
				n := 0
				for at+n < len(chunk) && n < 1<<split+2 && chunk[from+n] == chunk[at+n] {
					n++
				}
				if n > best {
					best, back = n, at-from
				}
			}
			if best < 3 {
				body = append(body, chunk[at])
				at++
				continue
			}
			body[flags] |= 1 << bit
			body = le.AppendUint16(body, uint16((back-1)<<split|(best-3)))
			at += best
		}
	}
	return body
}

// contents are what compressors meet.
func contents() map[string][]byte {
	noise := make([]byte, 70_000)
	rand.NewChaCha8([32]byte{5}).Read(noise)
	steps := make([]byte, 0, 65536)
	for n := 1; len(steps) < 65536; n++ { // matches of every distance and length
		steps = append(steps, noise[n%4000:n%4000+n%97]...)
	}
	return map[string][]byte{
		"one byte": {7}, "two bytes": {7, 7}, "zeros": make([]byte, 65536), "noise": noise[:65536], "noise of no whole chunk": noise[:5000],
		"text": []byte(strings.Repeat("the quick brown fox; ", 3000)), "steps": steps[:65536], "one run": bytes.Repeat([]byte{0xAA}, 4096),
		"noise, then text": append(bytes.Clone(noise[:9000]), strings.Repeat("text ", 5000)...),
	}
}

func TestUnpacksWhatWasPacked(t *testing.T) {
	for name, plain := range contents() {
		got := bytes.Repeat([]byte{0xEE}, 65536)
		if err := unpackLZNT1(got, append(pack(plain), 0, 0, 0xEE, 0xEE)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got[:len(plain)], plain[:min(len(plain), len(got))]) || !volume.Zero(got[len(plain):]) {
			t.Errorf("%s: other content", name)
		}
	}
}

// The example of [MS-XCA] 3.2 and what a decoder must not accept.
func TestLZNT1ByHand(t *testing.T) {
	example := []byte{0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01, 0xa0, 0x45, 0x20,
		0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef,
		0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00}
	want := "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D"
	got := make([]byte, 4096)
	if err := unpackLZNT1(got, example); err != nil || !bytes.HasPrefix(got, []byte(want)) || !volume.Zero(got[len(want)+1:]) {
		t.Errorf("%v: %q", err, got[:160])
	}
	for name, packed := range map[string][]byte{
		"distance before the beginning": {0x03, 0xB0, 0x02, 'a', 0x00, 0x10},
		"token before any byte":         {0x02, 0xB0, 0x01, 0x00, 0x00},
		"token cut in half":             {0x02, 0xB0, 0x02, 'a', 0x00},
		"more than a chunk":             {0x05, 0xB0, 0x06, 'a', 0xFF, 0x0F, 0xFF, 0x0F},
		"chunk longer than the unit":    {0xFF, 0xBF, 0x00, 'a'},
		"no signature":                  {0x01, 0x80, 0x00, 'a'},
		"short chunk as it is":          append([]byte{0x03, 0x30}, "abcd"...),
	} {
		if err := unpackLZNT1(make([]byte, 65536), packed); !errors.Is(err, volume.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// packedStream lays content out as NTFS does: units of 16 clusters, each packed if that saves one.
func packedStream(plain []byte, cluster int64) (medium []byte, s stream) {
	unit := 16 * cluster
	s = stream{kind: typeData, flags: flagCompressed, unit: unit, size: int64(len(plain)), valid: int64(len(plain))}
	put := func(data []byte, hole int64) {
		for int64(len(data))%cluster != 0 {
			data = append(data, 0)
		}
		if len(data) > 0 {
			s.extents = append(s.extents, volume.Extent{Start: int64(len(medium)), Bytes: int64(len(data))})
			medium = append(medium, data...)
		}
		if hole -= int64(len(data)); hole > 0 {
			s.extents = append(s.extents, volume.Extent{Start: -1, Bytes: hole})
		}
	}
	for len(plain) > 0 {
		part := plain[:min(int64(len(plain)), unit)]
		plain = plain[len(part):]
		packed := pack(part)
		switch {
		case volume.Zero(part):
			put(nil, unit)
		case int64(len(packed)) > unit-cluster:
			put(append(bytes.Clone(part), make([]byte, unit-int64(len(part)))...), unit)
		default:
			put(packed, unit)
		}
	}
	end := int64(0)
	for _, x := range s.extents {
		end += x.Bytes
		s.ends = append(s.ends, end)
	}
	s.allocated = end
	return medium, s
}

func TestCompressedStreamsAreReadFromAnyPlace(t *testing.T) {
	var plain []byte
	all := contents()
	for _, name := range []string{"text", "noise", "zeros", "steps", "noise, then text"} {
		plain = append(plain, all[name]...)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, cluster := range []int64{512, 4096} {
		medium, s := packedStream(plain, cluster)
		want := bytes.Clone(plain)
		s.valid -= 5000
		clear(want[s.valid:])
		r := s.decoder()(volumetest.Bytes(medium, 512))
		for range 300 {
			off, p := rng.IntN(len(want)+100), make([]byte, rng.IntN(200_000))
			n, err := r.ReadAt(p, int64(off))
			expect := want[min(off, len(want)):min(off+len(p), len(want))]
			if !bytes.Equal(p[:n], expect) || (n < len(p)) != (err == io.EOF) {
				t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
			}
		}
		failing := volumetest.FailAt(volumetest.Bytes(medium, 512), []volume.Extent{{Start: 700, Bytes: 1}})
		if _, err := s.decoder()(failing).ReadAt(make([]byte, len(want)), 0); !errors.Is(err, volume.ErrUnreadable) {
			t.Errorf("bad sector: %v", err)
		}
	}
}

func TestAUnitWithItsHoleInTheMiddleIsMalformed(t *testing.T) {
	_, s := packedStream(contents()["text"], 4096)
	s.extents = []volume.Extent{{Start: -1, Bytes: 4096}, {Start: 0, Bytes: s.allocated - 4096}}
	s.ends = []int64{4096, s.allocated}
	if _, err := s.decoder()(volumetest.Bytes(make([]byte, s.allocated), 512)).ReadAt(make([]byte, 10), 0); !errors.Is(err, volume.ErrMalformed) {
		t.Error(err)
	}
}

func FuzzLZNT1(f *testing.F) {
	for _, plain := range contents() {
		f.Add(pack(plain))
	}
	f.Add([]byte{0x03, 0xB0, 0x02, 'a', 0x00, 0x10})
	f.Fuzz(func(t *testing.T, packed []byte) {
		packed = packed[:min(len(packed), maxUnit)]
		plain := make([]byte, maxUnit)
		if err := unpackLZNT1(plain, packed); err != nil {
			if !errors.Is(err, volume.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again := make([]byte, maxUnit)
		if err := unpackLZNT1(again, pack(plain)); err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("packed again: %v", err)
		}
	})
}
