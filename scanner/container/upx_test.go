package container

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pratique/scanner/container/lz"
)

// upxVectors are programs that UPX 4.2.2 packed, which Debian 12 does not have, with the first digits of the SHA-256 of what it
// packed: an ELF file, and PE files of 64 and of 32 bits, of some calls and the text of payload, from the GNU assembler.
var upxVectors = map[string]string{
	"upx-nrv2b.elf": "638e4e171f8d740e", "upx-nrv2e.elf": "638e4e171f8d740e", "upx-nrv2d.exe": "bcfef2751e6c9e7f", "upx-lzma.exe": "bcfef2751e6c9e7f", "upx-nrv2b.exe": "afc9c79917814265", "upx-nrv2e.exe": "afc9c79917814265",
}

func upxPrograms(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name := range upxVectors {
		out[name] = read(t, "testdata", name)
	}
	return out
}

func TestT07_ProgramsThatUPXPackedComeOutAsTheyWere(t *testing.T) {
	for name, b := range upxPrograms(t) {
		k, res := takeBytes(t, b, name)
		if !silent(k, res) {
			t.Errorf("%s: %v %+v %q", name, res.Outcome, res.Findings, k.order)
		}
		got := k.content["unpacked"]
		if sum := fmt.Sprintf("%x", sha256.Sum256(got))[:16]; sum != upxVectors[name] || !bytes.Contains(got, payload(5000)) {
			t.Errorf("%s: %d bytes of %s came out", name, len(got), sum)
		}
	}
}

func TestT07_UPXWithoutItsHeaderOrWithALieIsTold(t *testing.T) {
	pe := read(t, "testdata", "upx-nrv2b.exe")
	header := bytes.Index(pe, []byte(upxMagic))
	for name, edit := range map[string]func(b []byte){
		"no header":          func(b []byte) { copy(b[header:], "XXXX") },
		"another sum":        func(b []byte) { b[header+8]++ },
		"another packed sum": func(b []byte) { b[header+12]++ },
		"an unknown method":  func(b []byte) { b[header+6] = 77 },
		"a smaller size":     func(b []byte) { b[header+16] -= 8 },
		"a huge size":        func(b []byte) { b[header+19] = 0x7F },
		"another stream": func(b []byte) {
			copy(b[header+12:], "\x00\x00\x00\x00")
			copy(b[header+40:], bytes.Repeat([]byte{0}, 30))
		},
	} {
		b := bytes.Clone(pe)
		edit(b)
		if k, res := takeBytes(t, b, name); silent(k, res) {
			t.Errorf("%s: silence, %q", name, k.order)
		}
	}
	elf := read(t, "testdata", "upx-nrv2e.elf")
	first := upxBlocks(whole(elf))
	second := first + upxBlock + int64(le.Uint32(elf[first+4:])) // stored as it is
	third := second + upxBlock + int64(le.Uint32(elf[second+4:]))
	for _, at := range []int64{first + 8, second, second + 4, third, third + 4, third + 8} {
		b := bytes.Clone(elf)
		b[at] ^= 0x55
		if k, res := takeBytes(t, b, "elf"); silent(k, res) {
			t.Errorf("a change at %d: silence, %q", at, k.order)
		}
	}
}

func TestT07_StreamsOfNRVNeverBreakTheirDecoder(t *testing.T) {
	all := upxPrograms(t)
	names := slices.Sorted(maps.Keys(all))
	for i := range uint64(*mutants / 10) {
		name := names[i%uint64(len(names))]
		b := mutate(all[name], i)
		for _, kind := range []byte("BDE") {
			m := lz.NRV{Kind: kind, Word: []int{4, 2, 1}[i%3]}
			if out, err := m.Unpack(b[min(len(b), 500):], 1<<16); len(out) > 1<<16 || err == nil && len(out) != 1<<16 {
				t.Fatalf("%d bytes, %v", len(out), err)
			}
		}
	}
}

func FuzzNRV(f *testing.F) {
	for _, b := range upxPrograms(f) {
		f.Add(b[0x200:], byte(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, kind byte) {
		m := lz.NRV{Kind: "BDE"[kind%3], Word: []int{4, 2, 1}[kind/3%3]}
		if out, _ := m.Unpack(b, 1<<16); len(out) > 1<<16 {
			t.Errorf("%d bytes", len(out))
		}
	})
}
