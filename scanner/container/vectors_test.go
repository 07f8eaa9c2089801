package container

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/zlib"

	"pratique/scanner/report"
)

// Containers that no program of Debian makes, by hand.

// szddOf stores content in the format of COMPRESS.EXE: flags of ones, so that each byte stands for itself.
func szddOf(content []byte) []byte {
	out := append([]byte(szdd), 'A', 'T')
	out = binary.LittleEndian.AppendUint32(out, uint32(len(content)))
	return append(out, literals(content)...)
}

func literals(content []byte) (out []byte) {
	for i := 0; i < len(content); i += 8 {
		out = append(out, 0xFF)
		out = append(out, content[i:min(i+8, len(content))]...)
	}
	return out
}

func kwajOf(content []byte) []byte {
	out := append([]byte(kwaj), 2, 0, 14, 0, 0, 0)
	return append(out, literals(content)...)
}

// sisOf is a package with one file that is packed and one that is not.
func sisOf(t testing.TB) []byte {
	field := func(kind uint32, value []byte) []byte {
		out := binary.LittleEndian.AppendUint32(nil, kind)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(value)))
		out = append(out, value...)
		return append(out, make([]byte, -len(out)&3)...)
	}
	element := func(value []byte) []byte {
		out := binary.LittleEndian.AppendUint32(nil, uint32(len(value)))
		out = append(out, value...)
		return append(out, make([]byte, -len(out)&3)...)
	}
	packed := func(algorithm uint32, content, stored []byte) []byte {
		out := binary.LittleEndian.AppendUint32(nil, algorithm)
		out = binary.LittleEndian.AppendUint64(out, uint64(len(content)))
		return field(sisCompressed, append(out, stored...))
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(payload(2 * kib)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	array := func(kind uint32, values ...[]byte) []byte {
		out := binary.LittleEndian.AppendUint32(nil, kind)
		for _, v := range values {
			out = append(out, element(v)...)
		}
		return field(sisArray, out)
	}
	unit := array(32, packed(1, payload(2*kib), z.Bytes()), packed(0, payload(300), payload(300)))
	out := append([]byte(sisMagic), make([]byte, 12)...)
	return append(out, field(12, field(30, array(31, unit)))...)
}

// rar4Of and rar5Of store one file in archives of RAR's two formats (https://www.rarlab.com/technote.htm and, for the older
// one, the technote of RAR 2.0).
func rar4Of(content []byte) []byte {
	block := func(kind byte, flags uint16, body []byte) []byte {
		b := []byte{0, 0, kind}
		b = binary.LittleEndian.AppendUint16(b, flags)
		b = binary.LittleEndian.AppendUint16(b, uint16(7+len(body)))
		b = append(b, body...)
		binary.LittleEndian.PutUint16(b, uint16(crc32.ChecksumIEEE(b[2:])))
		return b
	}
	var file []byte
	file = binary.LittleEndian.AppendUint32(file, uint32(len(content)))
	file = binary.LittleEndian.AppendUint32(file, uint32(len(content)))
	file = append(file, 2) // Windows
	file = binary.LittleEndian.AppendUint32(file, crc32.ChecksumIEEE(content))
	file = append(file, 0, 0, 0x21, 0, 20, 0x30) // time, version, stored
	file = binary.LittleEndian.AppendUint16(file, 8)
	file = append(append(file, 0x20, 0, 0, 0), "file.txt"...)
	out := append([]byte("Rar!\x1A\x07\x00"), block(0x73, 0, make([]byte, 6))...)
	out = append(append(out, block(0x74, 0x8000, file)...), content...)
	return append(out, block(0x7B, 0x4000, nil)...)
}

func rar5Of(content []byte) []byte {
	number := func(v uint64) []byte { return binary.AppendUvarint(nil, v) }
	block := func(fields ...[]byte) []byte {
		body := bytes.Join(fields, nil)
		b := append(number(uint64(len(body))), body...)
		return append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)), b...)
	}
	sum := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(content))
	size := number(uint64(len(content)))
	out := append([]byte("Rar!\x1A\x07\x01\x00"), block(number(1), number(0), number(0))...)
	file := block(number(2), number(2), size, number(4), size, number(0x20), sum, number(0), number(0), number(8), []byte("file.txt"))
	out = append(append(out, file...), content...)
	return append(out, block(number(5), number(0), number(0))...)
}

// cabinetPage is so long that what the compiler adds makes it a whole frame.
const cabinetPage = 25_920

// lzxCabinet puts the stream of a compiled help file, whose frames LZX begins anew at each 64 KiB, into a cabinet.
func lzxCabinet(t testing.TB) []byte {
	t.Helper()
	help := chm(t, map[string][]byte{"page.html": payload(cabinetPage)})
	c := whole(help)
	h := c.piece(0, 0x60)
	base := int64(le.Uint64(h[0x58:]))
	w := &walk{opener: New(mib), allowed: mib}
	files, err := chmFiles(c, int64(le.Uint64(h[0x48:])), &layer{walk: w})
	if err != nil {
		t.Fatal(err)
	}
	var packed, reset, control []byte
	for _, f := range files {
		switch f.name {
		case chmStorage + "Content":
			packed = c.piece(base+f.at, f.len)
		case chmReset:
			reset = c.piece(base+f.at, f.len)
		case chmStorage + "ControlData":
			control = c.piece(base+f.at, f.len)
		}
	}
	size := le.Uint64(reset[0x10:])
	if size != chmFrame || packed == nil { // a whole frame, as a cabinet has it
		t.Fatalf("the help file has %d bytes", size)
	}
	bits := 15
	for le.Uint32(control[16:])*chmFrame > 1<<bits {
		bits++
	}
	name := "page.bin\x00"
	data := 36 + 8 + 16 + len(name)
	out := append([]byte(cabMagic), binary.LittleEndian.AppendUint32(nil, uint32(data+8+len(packed)))...)
	out = append(out, 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint32(out, 36+8)
	out = append(out, 0, 0, 0, 0, 3, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint32(out, uint32(data))
	out = append(out, 1, 0, 3, byte(bits))
	out = binary.LittleEndian.AppendUint32(out, uint32(size))
	out = append(out, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0)
	out = append(out, name...)
	out = append(out, 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(packed)))
	out = binary.LittleEndian.AppendUint16(out, uint16(size))
	return append(out, packed...)
}

func TestContainersByHandAreOpened(t *testing.T) {
	for name, test := range map[string]struct {
		b      []byte
		member string
		want   []byte
	}{
		"SETUP.EX_": {szddOf(payload(500)), "SETUP.EXT", payload(500)},
		"x.kwj":     {kwajOf(payload(500)), "x.kwj", payload(500)},
		"x.sis":     {sisOf(t), "file 1", payload(2 * kib)},
		"y.sis":     {sisOf(t), "file 2", payload(300)},
		"x.rar":     {rar4Of(payload(300)), "file.txt", payload(300)},
		"y.rar":     {rar5Of(payload(300)), "file.txt", payload(300)},
		"x.cab":     {lzxCabinet(t), "page.bin", nil},
	} {
		k, res := takeBytes(t, test.b, name)
		if got := k.content[test.member]; test.want != nil && !bytes.Equal(got, test.want) || res.Outcome != report.Unscanned || k.items[test.member].Outcome != report.Unscanned {
			t.Errorf("%s: %q, %d bytes, %v %+v", name, k.order, len(got), res.Outcome, res.Findings)
		}
		if test.want == nil && !bytes.Contains(k.content[test.member], payload(cabinetPage)) {
			t.Errorf("%s: %q, %d bytes", name, k.order, len(k.content[test.member]))
		}
	}
	// 7-Zip is the oracle of the cabinet.
	dir := tree(t, map[string][]byte{"x.cab": lzxCabinet(t)})
	tool(t, dir, "7z", "x", "-bd", "x.cab")
	k, _ := takeBytes(t, lzxCabinet(t), "x.cab")
	if !bytes.Equal(read(t, dir, "page.bin"), k.content["page.bin"]) {
		t.Error("7-Zip unpacks another content")
	}
}
