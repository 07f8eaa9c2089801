package lzma

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"
)

// samples are contents that use every kind of packet.
func samples() map[string][]byte {
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	var text strings.Builder
	for i := range 40_000 {
		text.WriteString([]string{"the ", "patient ", "was ", "seen ", "again ", "on ", "ward "}[i*i%7])
	}
	mixed := bytes.Repeat(append(noise[:70_000:70_000], text.String()[:5_000]...), 30)
	return map[string][]byte{"nothing": {}, "a byte": {7}, "text": []byte(text.String()), "noise": noise, "zeros": make([]byte, 3<<20), "mixed": mixed}
}

func TestUnpacksWhatOthersPack(t *testing.T) {
	for name, want := range samples() {
		for _, mark := range []bool{false, true} {
			if len(want) == 0 && !mark {
				continue // the library writes no such stream
			}
			var b bytes.Buffer
			w, err := lzma.WriterConfig{Size: int64(len(want)), SizeInHeader: !mark, EOSMarker: mark, DictCap: 1 << 20}.NewWriter(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(want); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			h := b.Next(13)
			r, err := NewReader(&b, h[0], binary.LittleEndian.Uint32(h[1:]), int64(binary.LittleEndian.Uint64(h[5:])))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, mark %v: %d of %d bytes, %v", name, mark, len(got), len(want), err)
			}
		}
		var b bytes.Buffer
		w, err := lzma.Writer2Config{DictCap: 1 << 20}.NewWriter2(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b.WriteString("behind")
		src := bufio.NewReader(&b)
		if got, err := io.ReadAll(NewReader2(src, 1<<20)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, LZMA2: %d of %d bytes, %v", name, len(got), len(want), err)
		}
		if rest, _ := io.ReadAll(src); string(rest) != "behind" {
			t.Errorf("%s: %q is left behind the stream", name, rest)
		}
	}
}

func TestUnpacksWhatXzPacks(t *testing.T) {
	want := samples()["mixed"]
	cmd := exec.Command("xz", "--format=raw", "--lzma2=dict=4KiB,lc=2,lp=1,pb=1", "-c")
	cmd.Stdin = bytes.NewReader(want)
	packed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(NewReader2(bufio.NewReader(bytes.NewReader(packed)), 4<<10)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
	cmd = exec.Command("xz", "--format=lzma", "-9e", "-c")
	cmd.Stdin = bytes.NewReader(want)
	if packed, err = cmd.Output(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(packed[13:]), packed[0], binary.LittleEndian.Uint32(packed[1:]), -1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
}

// A stream that was cut or changed gives what it gives, and an end in words; never a panic, never more than was asked for.
func FuzzReaders(f *testing.F) {
	for _, want := range samples() {
		var b bytes.Buffer
		w, err := lzma.Writer2Config{DictCap: 1 << 16}.NewWriter2(&b)
		if err != nil {
			f.Fatal(err)
		}
		_, _ = w.Write(want[:min(len(want), 20_000)])
		_ = w.Close()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		const most = 1 << 20
		_, err := io.CopyN(io.Discard, NewReader2(bufio.NewReader(bytes.NewReader(packed)), 1<<16), most)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrWindow) {
			t.Error(err)
		}
		if len(packed) > 6 {
			if r, err := NewReader(bytes.NewReader(packed[5:]), packed[0], binary.LittleEndian.Uint32(packed[1:]), -1); err == nil {
				_, _ = io.CopyN(io.Discard, r, most)
			}
		}
	})
}

func BenchmarkReader2(b *testing.B) {
	want := samples()["text"]
	var packed bytes.Buffer
	w, _ := lzma.Writer2Config{}.NewWriter2(&packed)
	_, _ = w.Write(want)
	_ = w.Close()
	b.SetBytes(int64(len(want)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, NewReader2(bufio.NewReader(bytes.NewReader(packed.Bytes())), 1<<20)); err != nil {
			b.Fatal(err)
		}
	}
}
