package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

var mutants = flag.Int("mutants", 2_000, "mutated streams to decode; the nightly run uses ten times as many")

type sample struct {
	N    int      `cbor:"1,keyasint"`
	Text string   `cbor:"2,keyasint,omitempty"`
	Data []byte   `cbor:"3,keyasint,omitempty"`
	List []sample `cbor:"4,keyasint,omitempty"`
}

var samples = []sample{{}, {N: -1, Text: "text"}, {N: 1 << 40, Data: bytes.Repeat([]byte{0xFF}, 100_000)}, {List: []sample{{N: 1}, {List: []sample{{N: 2}}}}}}

func stream(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, s := range samples {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, source := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader} {
		r := NewReader(source(bytes.NewReader(stream(t))))
		for _, want := range samples {
			var got sample
			if err := r.Next(&got); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v, %v, want %+v", got, err, want)
			}
		}
		for range 2 {
			if err := r.Next(new(sample)); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		}
	}
}

func frame(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestT03_ReaderRefusesWhatBreaksTheRules(t *testing.T) {
	nested := bytes.Repeat([]byte{0x81}, 100)
	for name, data := range map[string][]byte{
		"longer than the limit":     {0, 4, 0, 1},
		"the longest length":        {0xFF, 0xFF, 0xFF, 0xFF},
		"cut in the length":         {0, 0},
		"cut before the body":       {0, 0, 0, 5},
		"cut in the body":           {0, 0, 0, 5, 0xA1, 1},
		"nothing":                   frame(),
		"no map":                    frame(0x01),
		"an unknown field":          frame(0xA1, 0x18, 99, 1),
		"a field twice":             frame(0xA2, 1, 1, 1, 2),
		"the wrong type":            frame(0xA1, 2, 1),
		"trailing bytes":            frame(0xA1, 1, 1, 0),
		"a tag":                     frame(0xC1, 0xA1, 1, 1),
		"an indefinite map":         frame(0xBF, 1, 1, 0xFF),
		"an indefinite string":      frame(0xA1, 3, 0x5F, 0x41, 1, 0xFF),
		"text that is not UTF-8":    frame(0xA1, 2, 0x61, 0xFF),
		"deeper than the limit":     frame(append([]byte{0xA1, 4}, nested...)...),
		"an array longer than data": frame(0xA1, 4, 0x9B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF),
		"bytes longer than data":    frame(0xA1, 3, 0x5B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF),
		"a number too large":        frame(0xA1, 1, 0x1B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF),
	} {
		// What follows is good, and must not be read any more.
		r := NewReader(bytes.NewReader(append(data, stream(t)...)))
		if strings.HasPrefix(name, "cut") {
			r = NewReader(bytes.NewReader(data))
		}
		err := r.Next(new(sample))
		if err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
		if again := r.Next(new(sample)); again != err {
			t.Errorf("%s: %v after %v", name, again, err)
		}
	}
}

func TestLargeMessagesAreRefusedOnBothSides(t *testing.T) {
	large := sample{Data: make([]byte, MaxBytes)}
	if err := NewWriter(io.Discard).Write(large); !errors.Is(err, ErrTooLarge) {
		t.Errorf("writer: %v", err)
	}
	data, err := Marshal(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal(data, new(sample)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("unmarshal: %v", err)
	}
	fits := sample{Data: make([]byte, MaxBytes-64)}
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := errors.Join(w.Write(fits), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := NewReader(&b).Next(new(sample)); err != nil {
		t.Error(err)
	}
}

func TestSmallReaderTakesSmallMessagesOnly(t *testing.T) {
	data := stream(t)
	r := NewSmallReader(bytes.NewReader(data), 100)
	for i := range 2 {
		if err := r.Next(new(sample)); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if err := r.Next(new(sample)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a message of 100,000 bytes: %v", err)
	}
}

func TestT03_LengthDoesNotSizeMemory(t *testing.T) {
	// A reader that is told of the longest message takes no more than one buffer of the limit, however often.
	allocated := testing.AllocsPerRun(10, func() {
		r := NewReader(bytes.NewReader([]byte{0xFF, 0xFF, 0xFF, 0xFF}))
		_ = r.Next(new(sample))
	})
	if allocated > 10 {
		t.Errorf("%v allocations", allocated)
	}
}

func TestErrorsOfThePipeArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	if err := NewReader(iotest.ErrReader(broken)).Next(new(sample)); !errors.Is(err, broken) {
		t.Error(err)
	}
	w := NewWriter(writer(func([]byte) (int, error) { return 0, broken }))
	if err := errors.Join(w.Write(sample{}), w.Flush()); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestMutatedStreamsEnd(t *testing.T) {
	good := stream(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range *mutants {
		data := bytes.Clone(good)
		for range 1 + random.IntN(4) {
			data[random.IntN(len(data))] ^= byte(1 << random.IntN(8))
		}
		readAll(t, data[:random.IntN(len(data)+1)])
	}
}

// readAll decodes a stream to its end, which must come: every message takes at least four bytes.
func readAll(t *testing.T, data []byte) {
	t.Helper()
	r := NewReader(bytes.NewReader(data))
	for n := 0; ; n++ {
		var s sample
		if r.Next(&s) != nil {
			return
		}
		if n > len(data)/4 {
			t.Fatal("more messages than bytes")
		}
		// What is accepted has one form only.
		again, err := Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var twice sample
		if err := Unmarshal(again, &twice); err != nil || !reflect.DeepEqual(s, twice) {
			t.Fatalf("%+v becomes %+v, %v", s, twice, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(f))
	f.Add([]byte{0, 0, 0, 1, 0xA0})
	f.Fuzz(func(t *testing.T, data []byte) { readAll(t, data) })
}
