package sealed

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

var testKey = bytes.Repeat([]byte{7}, KeySize)

func seal(t testing.TB, key []byte, label string, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, key, label)
	if err != nil {
		t.Fatal(err)
	}
	for rest := text; len(rest) > 0; { // in parts of any length
		part := min(len(rest), 1+rand.IntN(2*chunkSize))
		if _, err := w.Write(rest[:part]); err != nil {
			t.Fatal(err)
		}
		rest = rest[part:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(file, key []byte, label string) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(file), key, label)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func noise(n int) []byte {
	text := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(text)
	return text
}

func TestWhatWasSealedOpens(t *testing.T) {
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 5*chunkSize + 99} {
		text := noise(n)
		file := seal(t, testKey, "a", text)
		if got, err := open(file, testKey, "a"); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: %d came back: %v", n, len(got), err)
		}
		chunks := max(1, (n+chunkSize-1)/chunkSize)
		if want := len(magic) + saltSize + n + chunks*tagSize; len(file) != want {
			t.Errorf("%d bytes: a file of %d, want %d", n, len(file), want)
		}
		if bytes.Equal(file, seal(t, testKey, "a", text)) {
			t.Errorf("%d bytes: two files of the same text are the same", n)
		}
	}
}

func TestReadsOfOneByteOpenTheSame(t *testing.T) {
	text := noise(2*chunkSize + 5)
	r, err := NewReader(iotest.OneByteReader(bytes.NewReader(seal(t, testKey, "a", text))), testKey, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(r, text); err != nil {
		t.Error(err)
	}
}

func TestT12_EveryChangedByteOfASealedFileIsRefused(t *testing.T) {
	for _, n := range []int{0, 1000} {
		file := seal(t, testKey, "a", noise(n))
		for i := range file {
			bad := bytes.Clone(file)
			bad[i] ^= 1 << (i % 8)
			if got, err := open(bad, testKey, "a"); !errors.Is(err, ErrDamaged) && !(i < len(magic) && errors.Is(err, ErrNotSealed)) || len(got) > 0 {
				t.Fatalf("%d bytes, changed at %d: %d came back: %v", n, i, len(got), err)
			}
		}
		for i := range file {
			if got, err := open(file[:i], testKey, "a"); err == nil || len(got) > 0 {
				t.Fatalf("%d bytes, cut at %d: %d came back: %v", n, i, len(got), err)
			}
		}
	}
}

// Chunks that are each as they were sealed, in another order or number.
func TestT12_ChunksKeepTheirPlaces(t *testing.T) {
	head, full := len(magic)+saltSize, chunkSize+tagSize
	file, other := seal(t, testKey, "a", noise(3*chunkSize)), seal(t, testKey, "a", noise(3*chunkSize))
	c := func(from []byte, i int) []byte { return from[head+i*full : head+(i+1)*full] }
	for name, parts := range map[string][][]byte{
		"swapped":             {c(file, 1), c(file, 0), c(file, 2)},
		"one left out":        {c(file, 0), c(file, 2)},
		"the first left out":  {c(file, 1), c(file, 2)},
		"the last cut off":    {c(file, 0), c(file, 1)},
		"one twice":           {c(file, 0), c(file, 1), c(file, 1), c(file, 2)},
		"something behind":    {c(file, 0), c(file, 1), c(file, 2), {0}},
		"the last twice":      {c(file, 0), c(file, 1), c(file, 2), c(file, 2)},
		"one of another file": {c(file, 0), c(other, 1), c(file, 2)},
		"cut in the tag":      {c(file, 0), c(file, 1), c(file, 2)[:full-1]},
		"nothing":             nil,
	} {
		got, err := open(append(bytes.Clone(file[:head]), bytes.Join(parts, nil)...), testKey, "a")
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d bytes came back: %v", name, len(got), err)
		}
	}
}

// An empty chunk behind full ones is never written, so it is not taken either, even with the right tag.
func TestAnEmptyLastChunkIsOnlyThatOfAnEmptyText(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, testKey, "a")
	if err != nil {
		t.Fatal(err)
	}
	w.text = append(w.text, noise(chunkSize)...)
	w.flush(false)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(out.Bytes(), testKey, "a"); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestT12_AnotherKeyOrLabelOpensNothing(t *testing.T) {
	file := seal(t, testKey, "a", noise(10))
	for name, open := range map[string]func() ([]byte, error){
		"key":   func() ([]byte, error) { return open(file, bytes.Repeat([]byte{8}, KeySize), "a") },
		"label": func() ([]byte, error) { return open(file, testKey, "b") },
	} {
		if got, err := open(); !errors.Is(err, ErrDamaged) || len(got) > 0 {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := NewWriter(io.Discard, testKey[1:], "a"); err == nil {
		t.Error("a short key was taken")
	}
	if _, err := open(file, nil, "a"); err == nil {
		t.Error("no key was taken")
	}
}

// A writer that was not closed, or whose disk was full, leaves no file that opens.
func TestAFileThatWasNotFinishedDoesNotOpen(t *testing.T) {
	for _, n := range []int{0, 5, chunkSize, 3 * chunkSize} {
		var out bytes.Buffer
		w, err := NewWriter(&out, testKey, "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(noise(n)); err != nil {
			t.Fatal(err)
		}
		if _, err := open(out.Bytes(), testKey, "a"); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	full := &short{room: len(magic) + saltSize + 10}
	w, err := NewWriter(full, testKey, "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(noise(3 * chunkSize))
	if again := w.Close(); !errors.Is(err, io.ErrShortWrite) || !errors.Is(again, io.ErrShortWrite) {
		t.Errorf("%v, then %v", err, again)
	}
	if w, _ = NewWriter(io.Discard, testKey, "a"); w.Close() != nil {
		t.Error("an empty text cannot be closed")
	} else if _, err := w.Write([]byte{1}); err == nil || w.Close() == nil {
		t.Error("written to behind its end")
	}
}

// short is a disk that fills up.
type short struct{ room int }

func (s *short) Write(p []byte) (int, error) {
	if s.room -= len(p); s.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestAReadErrorIsNotTakenForTheEnd(t *testing.T) {
	broken := errors.New("broken disk")
	file := seal(t, testKey, "a", noise(2*chunkSize))
	for _, at := range []int{0, 20, 100, len(magic) + saltSize + chunkSize + tagSize, len(file)} {
		r, err := NewReader(io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(broken)), testKey, "a")
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, broken) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

// FuzzOpen: whatever lies there, what comes back was sealed with this key, and nothing panics.
func FuzzOpen(f *testing.F) {
	text := noise(100)
	file := seal(f, testKey, "a", text)
	f.Add(file)
	f.Add(file[:40])
	f.Add([]byte("pratique manifest 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := open(data, testKey, "a")
		if err == nil && (!bytes.Equal(data, file) || !bytes.Equal(got, text)) {
			t.Errorf("%d bytes came back of a file that nobody sealed", len(got))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	text := noise(1 << 20)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		w, err := NewWriter(io.Discard, testKey, "a")
		if err != nil {
			b.Fatal(err)
		}
		w.Write(text)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
