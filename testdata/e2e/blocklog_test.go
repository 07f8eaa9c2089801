package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// blockLog writes a log as QEMU does.
func blockLog(entries ...[]byte) []byte {
	head := make([]byte, 512)
	for i, n := range []uint64{logMagic, 1, uint64(len(entries))} {
		binary.LittleEndian.PutUint64(head[8*i:], n)
	}
	binary.LittleEndian.PutUint32(head[24:], 512)
	return append(head, bytes.Join(entries, nil)...)
}

func entry(sector, sectors, flags uint64, data []byte) []byte {
	b := make([]byte, 512)
	for i, n := range []uint64{sector, sectors, flags, 0} {
		binary.LittleEndian.PutUint64(b[8*i:], n)
	}
	return append(b, data...)
}

func fill(b byte, sectors int) []byte { return bytes.Repeat([]byte{b}, 512*sectors) }

var sampleLog = blockLog(
	entry(1, 2, 0, fill(1, 2)),
	entry(0, 0, logFlush, nil),
	entry(2, 1, 0, fill(2, 1)),
	entry(0, 1, logDiscard, nil),
	entry(0, 0, logFlush, nil),
	entry(3, 1, 0, fill(3, 1)),
)

func openLog(t *testing.T, text []byte) (*BlockLog, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := ReadBlockLog(path)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

func TestDiskIsAsItWasAtEachFlush(t *testing.T) {
	l, err := openLog(t, sampleLog)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Flushes(); !slices.Equal(got, []int{2, 5}) {
		t.Errorf("flushes after %v", got)
	}
	dir := t.TempDir()
	fresh, to := filepath.Join(dir, "fresh"), filepath.Join(dir, "to")
	if err := os.WriteFile(fresh, fill(9, 5), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n    int
		kept func() bool
		want []byte
	}{
		{0, nil, []byte{9, 9, 9, 9, 9}},
		{2, nil, []byte{9, 1, 1, 9, 9}},
		{5, nil, []byte{0, 1, 2, 9, 9}},
		{2, func() bool { return true }, []byte{0, 1, 2, 9, 9}},
		{5, func() bool { return true }, []byte{0, 1, 2, 3, 9}},
		{6, nil, []byte{0, 1, 2, 3, 9}},
	} {
		if err := l.Replay(fresh, to, c.n, c.kept); err != nil {
			t.Fatal(err)
		}
		disk, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		for sector, want := range c.want {
			if !bytes.Equal(disk[512*sector:512*(sector+1)], fill(want, 1)) {
				t.Errorf("%d entries: sector %d begins with %d, not %d", c.n, sector, disk[512*sector], want)
			}
		}
	}
	if err := l.Replay(fresh, to, 7, nil); err == nil {
		t.Error("more entries than there are")
	}
}

func TestLogsThatAreNoneAreErrors(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"magic":            func(b []byte) []byte { b[0]++; return b },
		"version":          func(b []byte) []byte { b[8]++; return b },
		"sector size":      func(b []byte) []byte { b[24] = 3; return b },
		"number":           func(b []byte) []byte { b[23] = 1; return b },
		"one too many":     func(b []byte) []byte { b[16]++; return b },
		"far sector":       func(b []byte) []byte { b[512+7] = 1; return b },
		"very many":        func(b []byte) []byte { b[512+15] = 1; return b },
		"behind the end":   func(b []byte) []byte { b[512+8] = 200; return b },
		"cut in an entry":  func(b []byte) []byte { return b[:len(b)-1024] },
		"cut in the first": func(b []byte) []byte { return b[:520] },
	} {
		if _, err := openLog(t, change(bytes.Clone(sampleLog))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzBlockLog(f *testing.F) {
	f.Add(sampleLog)
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := openLog(t, text)
		if err != nil {
			return
		}
		for _, n := range l.Flushes() {
			if n > l.Entries() {
				t.Errorf("flush after %d of %d", n, l.Entries())
			}
		}
	})
}

func TestInitramfsIsWhatAKernelUnpacks(t *testing.T) {
	var out bytes.Buffer
	c := newCPIO(&out)
	c.file("a/b/file", 0o644, []byte("hello"))
	c.file("a/other", 0o755, nil)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for b := out.Bytes(); len(b) > 0; {
		if string(b[:6]) != "070701" {
			t.Fatalf("no magic: %q", b[:min(len(b), 110)])
		}
		field := func(n int) (v int) {
			for _, digit := range b[6+8*n : 14+8*n] {
				v = v<<4 | bytes.IndexByte([]byte("0123456789ABCDEF"), digit)
			}
			return v
		}
		size, name := field(6), field(11)
		names = append(names, string(b[110:110+name-1]))
		b = b[(110+name+3)&^3:]
		b = b[(size+3)&^3:]
	}
	if want := []string{"a", "a/b", "a/b/file", "a/other", "TRAILER!!!"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
