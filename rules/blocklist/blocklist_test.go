package blocklist

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var hashes = flag.Int("hashes", 1_000_000, "SHA-256 in the list of the benchmark; the goal is set for 10,000,000")

func compile(t testing.TB, texts ...string) ([]byte, Stats) {
	t.Helper()
	var readers []io.Reader
	for _, text := range texts {
		readers = append(readers, strings.NewReader(text))
	}
	var out bytes.Buffer
	stats, err := Compile(&out, readers...)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), stats
}

// sum is the n-th hash of an algorithm, and whether n is even it goes on the list.
func sum(alg Algorithm, n int) []byte {
	data := fmt.Appendf(nil, "harmless %d", n)
	switch alg {
	case MD5:
		s := md5.Sum(data)
		return s[:]
	case SHA1:
		s := sha1.Sum(data)
		return s[:]
	}
	s := sha256.Sum256(data)
	return s[:]
}

func TestListHasExactlyWhatWasCompiled(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 8, 9, 100, 5_000} {
		var text strings.Builder
		for i := range n {
			for alg := MD5; alg < algorithmEnd; alg++ {
				format := "%x\n"
				if i%3 == 1 {
					format = "%X \r\n"
				}
				fmt.Fprintf(&text, format, sum(alg, 2*i))
			}
		}
		data, stats := compile(t, text.String())
		list, err := Open(data)
		if err != nil {
			t.Fatal(err)
		}
		for alg := MD5; alg < algorithmEnd; alg++ {
			if stats.Hashes[alg] != n || list.Count(alg) != n {
				t.Errorf("%d %v: compiled %d, opened %d", n, alg, stats.Hashes[alg], list.Count(alg))
			}
			for i := range 2 * n {
				if got := list.Has(alg, sum(alg, i)); got != (i%2 == 0) {
					t.Fatalf("%d %v: hash %d: %v", n, alg, i, got)
				}
			}
			for _, odd := range [][]byte{nil, {}, make([]byte, alg.Size()), bytes.Repeat([]byte{0xFF}, alg.Size()), make([]byte, alg.Size()-1), make([]byte, 64)} {
				if list.Has(alg, odd) {
					t.Errorf("%d %v has %x", n, alg, odd)
				}
			}
		}
		if list.Has(NoAlgorithm, make([]byte, 32)) || list.Has(99, make([]byte, 32)) || list.Count(99) != 0 {
			t.Error("an unknown algorithm is on the list")
		}
	}
}

func TestCompiledFileIsTheSameForAnyOrderOfTheText(t *testing.T) {
	a, b := fmt.Sprintf("%x\n", sum(SHA256, 1)), fmt.Sprintf("%x", sum(SHA256, 2))
	first, stats := compile(t, a+b, a)
	if stats.Duplicates != 1 || stats.Hashes[SHA256] != 2 {
		t.Errorf("%+v", stats)
	}
	if second, _ := compile(t, b, a); !bytes.Equal(first, second) {
		t.Error("the same hashes give different files")
	}
}

func TestCompileRefusesLinesThatAreNoHashes(t *testing.T) {
	good := fmt.Sprintf("%x", sum(SHA256, 1))
	tests := []struct {
		name, text string
		line       int
	}{
		{"a word", "# comment\n\n" + good + "\nhello\n", 4},
		{"one digit too few", good[:63], 1},
		{"one digit too many", good + "a", 1},
		{"a digit that is none", "g" + good[1:], 1},
		{"a file name behind it", good + "  a.exe", 1},
		{"two on a line", good + good, 1},
		{"a space within", good[:32] + " " + good[32:], 1},
		{"SHA-512", good + good, 1},
		{"a byte order mark", "\xef\xbb\xbf" + good, 1},
		{"a zero byte", good + "\n\x00\n", 2},
		{"a long line", good + "\n#" + strings.Repeat("x", maxLine), 2},
		{"the empty file's MD5", good + "\r\nd41d8cd98f00b204e9800998ecf8427e", 2},
		{"the empty file's SHA-1", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", 1},
		{"the empty file's SHA-256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := Compile(&out, strings.NewReader(good), strings.NewReader(test.text))
			var line *LineError
			if !errors.As(err, &line) || line.Line != test.line || line.Text != 1 {
				t.Fatalf("error %v", err)
			}
			if out.Len() != 0 {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
}

func TestCompileTakesCommentsAndBothLineEnds(t *testing.T) {
	h := fmt.Sprintf("%x", sum(SHA256, 1))
	_, stats := compile(t, "# list\r\n\r\n  \t\n"+h+" # why\r\n#"+h)
	if stats.Hashes[SHA256] != 1 {
		t.Errorf("%+v", stats)
	}
}

func TestCompileReportsReadAndWriteErrors(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Compile(io.Discard, io.MultiReader(strings.NewReader("# x\n"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("read: %v", err)
	}
	text := fmt.Sprintf("%x\n", sum(SHA256, 1))
	if _, err := Compile(failing{broken}, strings.NewReader(text)); !errors.Is(err, broken) {
		t.Errorf("write: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestEveryDamagedByteIsFound(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		for alg := MD5; alg < algorithmEnd; alg++ {
			fmt.Fprintf(&text, "%x\n", sum(alg, i))
		}
	}
	data, _ := compile(t, text.String())
	mutants := 0
	for i := range data {
		for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			mutant := bytes.Clone(data)
			mutant[i] ^= flip
			mutants++
			if _, err := Open(mutant); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d ^ %#x: %v", i, flip, err)
			}
		}
		if _, err := Open(data[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := Open(append(bytes.Clone(data), 0)); !errors.Is(err, ErrDamaged) {
		t.Fatalf("one byte more: %v", err)
	}
	t.Logf("%d mutants and %d truncations refused", mutants, len(data))
}

// resign makes the hash at the end right again, as an attacker would.
func resign(data []byte) []byte {
	body := data[:len(data)-sha256.Size]
	s := sha256.Sum256(body)
	return append(bytes.Clone(body), s[:]...)
}

func TestOpenRefusesCraftedListsWithARightHash(t *testing.T) {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "%x\n", sum(SHA256, i))
	}
	data, _ := compile(t, text.String())
	fan := headBytes + sectionHead
	table := 4 * (1<<fanBits(40) + 1)
	tests := map[string]func(d []byte){
		"another version":              func(d []byte) { d[len(magic)+3] = 2 },
		"four sections":                func(d []byte) { d[len(magic)+7] = 4 },
		"two sections, one there":      func(d []byte) { d[len(magic)+7] = 2 },
		"algorithm 0":                  func(d []byte) { d[headBytes+3] = 0 },
		"algorithm 4":                  func(d []byte) { d[headBytes+3] = 4 },
		"SHA-256 as MD5":               func(d []byte) { d[headBytes+3] = 1 },
		"no hashes":                    func(d []byte) { binary.BigEndian.PutUint64(d[headBytes+4:], 0) },
		"one hash more":                func(d []byte) { d[headBytes+11]++ },
		"2^63 hashes":                  func(d []byte) { d[headBytes+4] = 0x80 },
		"2^32 hashes":                  func(d []byte) { d[headBytes+7] = 1 },
		"table begins above zero":      func(d []byte) { binary.BigEndian.PutUint32(d[fan:], 1) },
		"table points past the end":    func(d []byte) { binary.BigEndian.PutUint32(d[fan+4:], 41) },
		"table points far away":        func(d []byte) { binary.BigEndian.PutUint32(d[fan+4:], 0xFFFFFFFF) },
		"table falls":                  func(d []byte) { binary.BigEndian.PutUint32(d[fan+table-8:], 0) },
		"table ends early":             func(d []byte) { binary.BigEndian.PutUint32(d[fan+table-4:], 39) },
		"a hash in the wrong part":     func(d []byte) { d[fan+table] ^= 0xFF },
		"two hashes in the same place": func(d []byte) { copy(d[fan+table+32:fan+table+64], d[fan+table:]) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			crafted := bytes.Clone(data)
			change(crafted)
			if _, err := Open(resign(crafted)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := Open(resign(data)); err != nil {
		t.Errorf("the list itself: %v", err)
	}
}

func TestOpenFileMapsAListAndRefusesOtherFiles(t *testing.T) {
	data, _ := compile(t, fmt.Sprintf("%x", sum(SHA256, 1)))
	write := func(name string, data []byte) *os.File {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	list, err := OpenFile(write("list", data))
	if err != nil || !list.Has(SHA256, sum(SHA256, 1)) || list.Has(SHA256, sum(SHA256, 2)) {
		t.Errorf("%v", err)
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, f := range map[string]*os.File{"empty": write("e", nil), "text": write("t", []byte("not a list at all, but long enough to be looked at")), "cut": write("c", data[:len(data)-1]), "a directory": dir} {
		if _, err := OpenFile(f); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheExampleInTheCommentIsTrue(t *testing.T) {
	h := sum(SHA256, 1)
	data, _ := compile(t, fmt.Sprintf("%x", h))
	want := append([]byte(magic), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1)
	want = append(want, h...)
	s := sha256.Sum256(want)
	if !bytes.Equal(data, append(want, s[:]...)) {
		t.Errorf("%x", data)
	}
}

func FuzzBlocklist(f *testing.F) {
	data, _ := compile(f, fmt.Sprintf("%x\n%x\n%x", sum(MD5, 1), sum(SHA1, 2), sum(SHA256, 3)))
	f.Add(data, true)
	f.Add([]byte(magic), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign && len(data) >= sha256.Size {
			data = resign(data)
		}
		list, err := Open(data)
		if err != nil {
			return
		}
		for alg := MD5; alg < algorithmEnd; alg++ {
			s := &list.sections[alg]
			for i := range s.count {
				if !list.Has(alg, s.sums[i*alg.Size():(i+1)*alg.Size()]) {
					t.Fatalf("%v hash %d is on the list and not found", alg, i)
				}
			}
			list.Has(alg, make([]byte, alg.Size()))
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("# x\r\n" + fmt.Sprintf("%x\n%X", sum(MD5, 1), sum(SHA256, 2)))
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		stats, err := Compile(&out, strings.NewReader(text))
		if err != nil {
			return
		}
		list, err := Open(out.Bytes())
		if err != nil {
			t.Fatalf("what was compiled cannot be opened: %v", err)
		}
		for alg := MD5; alg < algorithmEnd; alg++ {
			if list.Count(alg) != stats.Hashes[alg] {
				t.Fatalf("%v: %d compiled, %d opened", alg, stats.Hashes[alg], list.Count(alg))
			}
		}
	})
}

// generate writes the text of n hashes, without holding it.
type generate struct {
	n    int
	line [65]byte
	rest []byte
	rng  *rand.ChaCha8
	sum  [32]byte
}

func (g *generate) Read(p []byte) (int, error) {
	if len(g.rest) == 0 {
		if g.n == 0 {
			return 0, io.EOF
		}
		g.n--
		_, _ = g.rng.Read(g.sum[:])
		hex.Encode(g.line[:], g.sum[:])
		g.line[64] = '\n'
		g.rest = g.line[:]
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func BenchmarkHas(b *testing.B) {
	path := filepath.Join(b.TempDir(), "list")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Compile(f, &generate{n: *hashes, rng: rand.NewChaCha8([32]byte{1})}); err != nil {
		b.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	list, err := OpenFile(f)
	if err != nil {
		b.Fatal(err)
	}
	// One look-up in a thousand hits.
	rng, miss := rand.NewChaCha8([32]byte{1}), rand.NewChaCha8([32]byte{2})
	known := make([][32]byte, 1000)
	for i := range known {
		_, _ = rng.Read(known[i][:])
	}
	probes := make([][32]byte, 1<<20)
	for i := range probes {
		_, _ = miss.Read(probes[i][:])
		if i%1000 == 0 {
			probes[i] = known[i/1000%len(known)]
		}
	}
	hits := 0
	for i := 0; b.Loop(); i++ {
		if list.Has(SHA256, probes[i%len(probes)][:]) {
			hits++
		}
	}
	if hits == 0 {
		b.Error("no hit")
	}
	b.ReportMetric(float64(after.Sys-before.Sys)/1e6, "MB-to-compile")
	b.ReportMetric(float64(list.Count(SHA256)), "hashes")
}
