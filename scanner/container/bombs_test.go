package container

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"pratique/scanner/report"
)

const (
	bombTime   = 60 * time.Second
	bombMemory = 384 << 20 // of heap: the rest of 512 MiB is the scanner's
)

// counting is a Sink that looks at every byte and keeps none.
type counting struct {
	members int
	bytes   int64
	barred  bool
	words   map[string]bool
}

func (k *counting) Member(it *Item) error {
	k.members++
	k.bytes += int64(len(it.Data))
	if it.Stream != nil {
		n, err := io.Copy(io.Discard, io.NewSectionReader(it.Stream(), 0, it.Size))
		if err != nil && n == it.Size {
			return err
		}
		k.bytes += n
	}
	return nil
}

func (k *counting) Done(it *Item) error {
	k.barred = k.barred || it.Outcome != report.Unscanned
	for _, f := range it.Findings {
		k.words[f.Rule] = true
		k.barred = k.barred || f.Severity == report.Block
	}
	return nil
}

// watchHeap samples the heap until it is stopped.
func watchHeap() (stop func() uint64) {
	runtime.GC()
	quit, peak := make(chan struct{}), uint64(0)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			peak = max(peak, s.HeapInuse)
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return func() uint64 { close(quit); done.Wait(); return peak }
}

// zipped is an archive of files with one content.
func zipped(t testing.TB, names []string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range names {
		w, err := z.Create(n)
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zeros packs many zeros with a writer.
func zeros(t testing.TB, n int64, wrap func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	w := wrap(&b)
	block := make([]byte, mib)
	for ; n > 0; n -= mib {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// overlapping is an archive whose table of contents names the same packed bytes again and again.
func overlapping(t testing.TB, entries int, kernel []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 9)
	if err == nil {
		_, err = w.Write(kernel)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := crc32.ChecksumIEEE(kernel)
	head := func(packedSize int) []byte {
		h := append([]byte("PK\x03\x04"), 20, 0, 0, 0, 8, 0, 0, 0, 33, 0)
		h = binary.LittleEndian.AppendUint32(h, sum)
		h = binary.LittleEndian.AppendUint32(h, uint32(packedSize))
		h = binary.LittleEndian.AppendUint32(h, uint32(len(kernel)))
		return append(h, 1, 0, 0, 0, 'a')
	}
	out := append(head(packed.Len()), packed.Bytes()...)
	table := len(out)
	for range entries {
		e := append([]byte("PK\x01\x02"), 20, 0, 20, 0, 0, 0, 8, 0, 0, 0, 33, 0)
		e = binary.LittleEndian.AppendUint32(e, sum)
		e = binary.LittleEndian.AppendUint32(e, uint32(packed.Len()))
		e = binary.LittleEndian.AppendUint32(e, uint32(len(kernel)))
		e = append(e, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'a')
		out = append(out, e...)
	}
	size := len(out) - table
	out = append(out, "PK\x05\x06\x00\x00\x00\x00"...)
	out = binary.LittleEndian.AppendUint16(out, uint16(min(entries, 65535)))
	out = binary.LittleEndian.AppendUint16(out, uint16(min(entries, 65535)))
	out = binary.LittleEndian.AppendUint32(out, uint32(size))
	out = binary.LittleEndian.AppendUint32(out, uint32(table))
	return append(out, 0, 0)
}

// bombs are files that are made to keep an unpacker busy.
func bombs(t *testing.T) map[string][]byte {
	gz := func(w io.Writer) io.WriteCloser { z, _ := gzip.NewWriterLevel(w, 9); return z }
	names := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("lib %d.zip", i))
		}
		return out
	}
	forty := zipped(t, []string{"0.dll"}, make([]byte, 64*mib))
	for range 5 {
		forty = zipped(t, names(16), forty)
	}
	deep := zipped(t, []string{"payload.txt"}, payload(kib))
	for i := range 30 {
		deep = zipped(t, []string{fmt.Sprintf("layer %d.zip", i)}, deep)
	}
	var entries bytes.Buffer
	tw := tar.NewWriter(&entries)
	if err := tw.WriteHeader(&tar.Header{Name: "e", Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat(entries.Bytes()[:512], 10_000)
	var millions bytes.Buffer
	g := gz(&millions)
	for range 300 {
		if _, err := g.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	sparse := tree(t, map[string][]byte{"x": nil})
	tool(t, sparse, "sh", "-c", "truncate -s 500G huge && tar -S -cf huge.tar huge && truncate -s 256M one && 7z a -bd -mx=9 one.7z one >/dev/null && xz -k one && bzip2 -k one && zstd -q one && lzip -k one && rm huge one")
	out := map[string][]byte{
		"nested as 42.zip":       forty,
		"thirty layers":          deep,
		"overlapping members":    overlapping(t, 5000, make([]byte, 100*mib)),
		"three million entries":  millions.Bytes(),
		"a gigabyte of zeros":    zeros(t, 1<<30, gz),
		"zeros twice packed":     zipped(t, []string{"a.gz"}, zeros(t, 1<<30, gz)),
		"zip with a lying size":  lying(t),
		"zip64 of 500 GB":        claims(t),
		"members without an end": endless(t),
		"entities of XML":        entityBomb(),
		"dense streams of a PDF": pdfDense(),
		"objects that loop":      pdfLoop(),
	}
	for _, name := range []string{"huge.tar", "one.7z", "one.xz", "one.bz2", "one.zst", "one.lz"} {
		out[name] = read(t, sparse, name)
	}
	return out
}

// lying says that a member has ten bytes which has many.
func lying(t *testing.T) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	packed := zeros(t, 1<<28, func(w io.Writer) io.WriteCloser { f, _ := flate.NewWriter(w, 9); return f })
	w, err := z.CreateRaw(&zip.FileHeader{Name: "small.txt", Method: zip.Deflate, UncompressedSize64: 10, CompressedSize64: uint64(len(packed))})
	if err == nil {
		_, err = w.Write(packed)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// claims says that a stored member has 500 GB, of which there are some.
func claims(t *testing.T) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateRaw(&zip.FileHeader{Name: "huge.bin", UncompressedSize64: 500e9, CompressedSize64: 500e9})
	if err == nil {
		_, err = w.Write(make([]byte, 1000))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// endless is an archive with more members than anybody opens, each small.
func endless(t *testing.T) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range MaxMembers + 10 {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestT07_BombsEndInWordsAndInBoundedMemory(t *testing.T) {
	all := bombs(t)
	for _, name := range slices.Sorted(mapsKeys(all)) {
		bomb := all[name]
		delete(all, name)
		k := &counting{words: map[string]bool{}}
		stop, begin := watchHeap(), time.Now()
		res, err := New(32*mib).Open(t.Context(), whole(bomb), "bomb", k)
		took, heap := time.Since(begin), stop()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, f := range res.Findings {
			k.words[f.Rule] = true
		}
		if res.Outcome == report.Unscanned && !k.barred {
			t.Errorf("%s: nothing says that it was not seen in full", name)
		}
		if !k.words["archive-limit"] && !k.words["archive-damaged"] {
			t.Errorf("%s: %v, and no words", name, res.Outcome)
		}
		if took > bombTime || heap > bombMemory {
			t.Errorf("%s: %v, heap of %d MiB", name, took, heap>>20)
		}
		if k.bytes > FreeBytes+(MaxRatio+1)*int64(len(bomb))+64*mib {
			t.Errorf("%s: %d bytes of %d came out", name, k.bytes, len(bomb))
		}
		t.Logf("%s, %d KiB: %v, %d members, %d MiB unpacked, %.1f s, heap %d MiB", name, len(bomb)/kib, res.Outcome, k.members, k.bytes/mib, took.Seconds(), heap/mib)
	}
}

// A container that holds itself ends at the limit on layers.
func TestT07_AContainerThatHoldsItselfEnds(t *testing.T) {
	o := New(mib)
	o.formats = append(o.formats, format{"quine", func(c *Content) bool { return c.has(0, "QUINE") }, func(c *Content, l *layer) error {
		return l.member(Member{Name: "itself", Size: c.Size, Open: func() (io.Reader, error) { return c.section(0, c.Size), nil }})
	}})
	k, res := take(t, o, whole(bytes.Repeat([]byte("QUINE"), 100)), "q")
	if len(k.order) != MaxDepth || silent(k, res) || strings.Count(k.order[MaxDepth-1], "//") != MaxDepth-1 {
		t.Errorf("%d layers, the last is %+v", len(k.order), k.items[k.order[len(k.order)-1]])
	}
}

// Twenty layers are opened: nobody hides by packing often.
func TestT07_PayloadsInManyLayersAreFound(t *testing.T) {
	want := payload(5 * kib)
	packed, name := want, "payload.txt"
	dir := tree(t, nil)
	for i, tools := 0, []string{"zip -q -X out IN", "gzip -n -c IN > out", "xz -c IN > out", "tar -cf out IN", "bzip2 -c IN > out", "7z a -bd -t7z out IN >/dev/null", "zstd -q -c IN > out"}; i < 21; i++ {
		write(t, dir, name, packed)
		tool(t, dir, "sh", "-c", "rm -f out out.*; "+strings.ReplaceAll(tools[i%len(tools)], "IN", "'"+name+"'")+"; mv out.7z out 2>/dev/null || mv out.zip out 2>/dev/null || true")
		packed, name = read(t, dir, "out"), fmt.Sprintf("layer%d", i)
	}
	k, res := takeBytes(t, packed, "outermost")
	found := slices.ContainsFunc(k.order, func(path string) bool { return bytes.Equal(k.content[path], want) })
	if !found || !silent(k, res) || len(k.order) != 21 {
		t.Errorf("found %v in %d layers, %v %+v", found, len(k.order), res.Outcome, res.Findings)
	}
}
