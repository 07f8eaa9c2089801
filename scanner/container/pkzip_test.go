package container

import (
	"archive/zip"
	"bytes"
	"hash/crc32"
	"testing"
)

// bitWriter writes the lowest bits first.
type bitWriter struct {
	out []byte
	n   uint
}

func (w *bitWriter) write(v, n uint) {
	for ; n > 0; n-- {
		if w.n%8 == 0 {
			w.out = append(w.out, 0)
		}
		w.out[len(w.out)-1] |= byte(v&1) << (w.n % 8)
		v >>= 1
		w.n++
	}
}

// shrunk packs by LZW, and clears the leaves when half of the codes are used.
func shrunk(content []byte) []byte {
	w, width := &bitWriter{}, uint(9)
	codes, parents, next := map[string]int{}, map[int]int{}, 257
	free := func() int {
		for taken := map[int]bool{}; ; next++ {
			for _, c := range codes {
				taken[c] = true
			}
			if !taken[next] {
				return next
			}
		}
	}
	put := func(code int) {
		for code >= 1<<width {
			w.write(256, width)
			w.write(1, width)
			width++
		}
		w.write(uint(code), width)
	}
	code := func(s []byte) (int, bool) {
		if len(s) == 1 {
			return int(s[0]), true
		}
		c, ok := codes[string(s)]
		return c, ok
	}
	cleared := false
	for at := 0; at < len(content); {
		n := 1
		for at+n < len(content) {
			if _, ok := code(content[at : at+n+1]); !ok {
				break
			}
			n++
		}
		own, _ := code(content[at : at+n])
		put(own)
		if len(codes) == 150 && !cleared {
			cleared = true
			w.write(256, width)
			w.write(2, width)
			inner := map[int]bool{}
			for _, p := range parents {
				inner[p] = true
			}
			for s, c := range codes {
				if !inner[c] {
					delete(codes, s)
					delete(parents, c)
				}
			}
			next = 257
		}
		if at+n < len(content) { // who unpacks defines it when the next code comes
			c, key := free(), string(content[at:at+n+1])
			if _, still := code(content[at : at+n]); !still {
				key = "what was said last was cleared, so nothing goes on from it"
			}
			codes[key], parents[c] = c, own
		}
		at += n
	}
	return w.out
}

// imploded packs with codes of one length: each byte by itself, and one match at the end that repeats the beginning.
func imploded(content []byte, repeat int) []byte {
	w := &bitWriter{}
	for range 2 { // 64 symbols of 6 bits: four runs of 16
		w.write(3, 8)
		for range 4 {
			w.write(15<<4|5, 8)
		}
	}
	six := func(v uint) { // a code, turned round and its highest bit first
		for i := 5; i >= 0; i-- {
			w.write((v>>i&1)^1, 1)
		}
	}
	for _, c := range content {
		w.write(1, 1)
		w.write(uint(c), 8)
	}
	w.write(0, 1)
	back := uint(len(content)) - 1
	w.write(back&63, 6)
	six(back >> 6)
	six(uint(repeat - 2))
	return w.out
}

// reduced packs with two followers of 'e', and a match at the end that repeats the beginning.
func reduced(content []byte, repeat int) []byte {
	w := &bitWriter{}
	for c := 255; c >= 0; c-- {
		if c != 'e' {
			w.write(0, 6)
			continue
		}
		w.write(2, 6)
		w.write(' ', 8)
		w.write('x', 8)
	}
	last := byte(0)
	put := func(c byte) {
		switch {
		case last == 'e' && c == ' ':
			w.write(0, 1)
			w.write(0, 1)
		case last == 'e':
			w.write(1, 1)
			fallthrough
		default:
			w.write(uint(c), 8)
		}
		last = c
	}
	for _, c := range content {
		put(c)
	}
	back := len(content) - 1
	put(144)
	put(byte(back>>8<<4 | repeat - 3)) // factor 4: four bits of each
	put(byte(back))
	return w.out
}

// 7-Zip unpacks the same of what no program of today packs. It does not know reduce.
func TestMethodsOfOldZIPsAreUnpacked(t *testing.T) {
	text := payload(900)
	for _, test := range []struct {
		name         string
		method       uint16
		packed, want []byte
	}{
		{"shrink", 1, shrunk(payload(6 * kib)), payload(6 * kib)},
		{"reduce", 5, reduced(text, 12), append(bytes.Clone(text), text[:12]...)},
		{"implode", 6, imploded(text, 40), append(bytes.Clone(text), text[:40]...)},
	} {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.CreateRaw(&zip.FileHeader{Name: "old.txt", Method: test.method, CRC32: crc32.ChecksumIEEE(test.want),
			CompressedSize64: uint64(len(test.packed)), UncompressedSize64: uint64(len(test.want))})
		if err == nil {
			_, err = w.Write(test.packed)
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		k, res := takeBytes(t, b.Bytes(), "x.zip")
		if !bytes.Equal(k.content["old.txt"], test.want) || !silent(k, res) {
			t.Errorf("%s: %d of %d bytes, %+v %+v", test.name, len(k.content["old.txt"]), len(test.want), res, k.items)
		}
		if test.name == "reduce" {
			continue
		}
		dir := tree(t, map[string][]byte{"x.zip": b.Bytes()})
		tool(t, dir, "7z", "x", "-bd", "x.zip")
		if !bytes.Equal(read(t, dir, "old.txt"), test.want) {
			t.Errorf("%s: 7-Zip unpacks another content", test.name)
		}
	}
}
