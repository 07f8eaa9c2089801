package pdf

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestValuesAreReadAsTheStandardWritesThem(t *testing.T) {
	for _, c := range []struct {
		text string
		want any
	}{
		{"12", int64(12)}, {"-.5", -0.5}, {"true", true}, {"null", nil}, {"12 0 R", Ref{12, 0}},
		{"/A#42c", Name("ABc")}, {"/#zz", Name("#zz")}, {"% note\n 3", int64(3)},
		{`(a\(b\)\101\
c(d)\n)`, Text("a(b)Ac(d)\n")},
		{"<48 65 6>", Text("He`")},
		{"[1 2 3 0 R (x)]", List{int64(1), int64(2), Ref{3, 0}, Text("x")}},
		{"<</A 1/B<</C[/D]>>>>", Dict{"A": int64(1), "B": Dict{"C": List{Name("D")}}}},
		{"<</A 1/A 2>>", Dict{"A": int64(1), "1 A": int64(2)}},
	} {
		p := Parser{B: []byte(c.text)}
		if got, err := p.Value(); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, %v", c.text, got, err)
		}
	}
	for _, text := range []string{"", "(", "<41", "[1", "<</A", "<</A 1", strings.Repeat("[", 100), "(\\"} {
		if v, err := (&Parser{B: []byte(text)}).Value(); err == nil {
			t.Errorf("%.20q is %#v", text, v)
		}
	}
}

func TestObjectsAreFoundWhereverTheyAre(t *testing.T) {
	for _, gap := range []int{0, scanBlock - 20, scanBlock - 9, scanBlock - 7, scanBlock - 3, scanBlock, scanBlock + 1} {
		b := append(bytes.Repeat([]byte(" "), gap), "12 3 obj <<>> stream\nx endstream endobj\ntrailer"...)
		l, err := Scan(bytes.NewReader(b), int64(len(b)), func(int64) error { return nil })
		if err != nil || len(l.Objects) != 1 || l.Objects[0] != (Place{12, 3, int64(gap) + 8}) || l.End(0) != int64(gap)+23 || len(l.Trailers) != 1 {
			t.Errorf("behind %d: %+v %v", gap, l, err)
		}
	}
}

// everything reads a file as a whole, as far as this package goes.
func everything(b []byte) {
	l, err := Scan(bytes.NewReader(b), int64(len(b)), func(int64) error { return nil })
	if err != nil {
		return
	}
	same := func(v any) any { return v }
	for _, o := range l.Objects {
		p := Parser{B: b[o.At:]}
		v, err := p.Value()
		d, ok := v.(Dict)
		if err != nil || !ok {
			continue
		}
		if k, err := NewKey(d, Text("id"), same); err == nil {
			k.Text(Text("a text that is longer than a block of AES"), o.Number, o.Generation)
		}
		filters, err := Filters(d, same)
		if err != nil {
			continue
		}
		if r, err := Decode(bytes.NewReader(b[o.At+int64(p.At):]), filters, same, func() {}); err == nil {
			io.CopyN(io.Discard, r, 1<<20)
		}
	}
}

var seeds = []string{
	"%PDF-1.7\n1 0 obj<</Filter[/LZWDecode/FlateDecode/A85/AHx/RL]/DecodeParms[<</EarlyChange 0/Predictor 15/Columns 4>>]>>stream\n\x80\x0B\x60\x50\x22\x0C\x0C\x85\x01\nendstream endobj",
	"2 0 obj<</Filter/Standard/V 5/R 6/CF<</StdCF<</CFM/AESV3>>>>/StmF/StdCF/StrF/StdCF/U(" + strings.Repeat("u", 48) + ")/UE(" + strings.Repeat("e", 32) + ")/O(" + strings.Repeat("o", 48) + ")/P -4>>endobj",
	"3 0 obj<</Filter/Standard/V 2/R 3/Length 128/O<" + strings.Repeat("41", 32) + ">/U<" + strings.Repeat("42", 32) + ">/P -4>>endobj trailer<</Root 1 0 R>>",
	"4 0 obj<</Filter/RunLengthDecode>>stream\n\x05abcdef\xFEz\x80endstream endobj 5 0 obj[(a\\050)<4142>/N#20x 1.5 -2 true null 6 0 R]endobj",
}

func TestT07_MutatedPDFsNeverBreakTheReader(t *testing.T) {
	all := []byte(strings.Join(seeds, "\n"))
	for i := range 1000 {
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		b := bytes.Clone(all)
		for range 1 + rng.IntN(8) {
			b[rng.IntN(len(b))] = "\x00\xFF<>[]()/\\0R"[rng.IntN(12)]
		}
		everything(b[:len(b)-rng.IntN(20)])
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { everything(b) })
}
