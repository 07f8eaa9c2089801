package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// taken is a Sink that keeps what it is given.
type taken struct {
	t       testing.TB
	order   []string
	content map[string][]byte
	items   map[string]Item
	open    []*Item
	most    int64 // of a stream that is read
}

func (k *taken) Member(it *Item) error {
	data := bytes.Clone(it.Data)
	if it.Stream != nil {
		var err error
		if data, err = io.ReadAll(io.NewSectionReader(it.Stream(), 0, min(it.Size, k.most))); err != nil {
			k.t.Errorf("%s: its stream ends after %d of %d bytes: %v", it.Path, len(data), it.Size, err)
		}
	}
	k.content[it.Path] = data
	k.order = append(k.order, it.Path)
	k.open = append(k.open, it)
	return nil
}

func (k *taken) Done(it *Item) error {
	if len(k.open) == 0 || k.open[len(k.open)-1] != it {
		k.t.Errorf("%s is done, which is not the last that is open", it.Path)
		return nil
	}
	k.open = k.open[:len(k.open)-1]
	k.items[it.Path] = *it
	return nil
}

// take opens content and returns what came out of it.
func take(t testing.TB, o *Opener, c *Content, name string) (*taken, Result) {
	t.Helper()
	k := &taken{t: t, content: map[string][]byte{}, items: map[string]Item{}, most: 64 * mib}
	res, err := o.Open(t.Context(), c, name, k)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(k.open) != 0 {
		t.Errorf("%s: %d members are never done", name, len(k.open))
	}
	return k, res
}

func takeBytes(t testing.TB, b []byte, name string) (*taken, Result) {
	t.Helper()
	return take(t, New(mib), whole(b), name)
}

// silent reports whether nothing says that content was not seen in full.
func silent(k *taken, res Result) bool {
	bars := func(o report.Outcome, f []report.Finding) bool {
		return o != report.Unscanned || slices.ContainsFunc(f, func(f report.Finding) bool { return f.Severity == report.Block })
	}
	if bars(res.Outcome, res.Findings) {
		return false
	}
	for _, it := range k.items {
		if bars(it.Outcome, it.Findings) {
			return false
		}
	}
	return true
}

// tool runs a program in a folder.
func tool(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// tree writes files into a new folder.
func tree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// payload is content that shrinks, in which each line tells where it is.
func payload(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a harmless text that a test looks for, %x\n", i, i*i*7919)
	}
	return b.Bytes()[:n]
}

// corpus is what goes into each archive of the tests.
func corpus() map[string][]byte {
	return map[string][]byte{
		"letter.txt":        payload(3 * kib),
		"empty.txt":         {},
		"folder/deep/a.bin": payload(200 * kib),
		"folder/large.dat":  payload(3 * mib / 2), // more than the tests keep in memory
		"zeros.bin":         make([]byte, 100*kib),
		"tool.bin":          machineCode(),
	}
}

// machineCode is a part of a real program, with its calls and jumps.
func machineCode() []byte {
	name, err := os.Executable()
	if err != nil {
		panic(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b[64*kib : 400*kib]
}

// producer makes a container with a real program.
type producer struct {
	name string // of the file
	args []string
	one  string // the only member, for formats of one
}

// producers are all programs of Debian that make what this package opens. FILES stands for the names in the folder.
var producers = []producer{
	{"a.zip", []string{"zip", "-q", "-r", "a.zip", "FILES"}, ""},
	{"stored.zip", []string{"zip", "-q", "-0", "-r", "stored.zip", "FILES"}, ""},
	{"bzip2.zip", []string{"zip", "-q", "-Z", "bzip2", "-r", "bzip2.zip", "FILES"}, ""},
	{"stream.zip", []string{"sh", "-c", "zip -q -fd -r - FILES | cat > stream.zip"}, ""},
	{"zip64.zip", []string{"sh", "-c", "zip -q -fz -r - FILES | cat > zip64.zip"}, ""},
	{"7z.zip", []string{"7z", "a", "-bd", "-mm=Deflate", "7z.zip", "FILES"}, ""},
	{"lzma.zip", []string{"7z", "a", "-bd", "-mm=LZMA", "lzma.zip", "FILES"}, ""},
	{"7zbzip2.zip", []string{"7z", "a", "-bd", "-mm=BZip2", "7zbzip2.zip", "FILES"}, ""},
	{"a.tar", []string{"tar", "cf", "a.tar", "FILES"}, ""},
	{"v7.tar", []string{"tar", "--format=v7", "-cf", "v7.tar", "FILES"}, ""},
	{"ustar.tar", []string{"tar", "--format=ustar", "-cf", "ustar.tar", "FILES"}, ""},
	{"pax.tar", []string{"tar", "--format=pax", "-cf", "pax.tar", "FILES"}, ""},
	{"sparse.tar", []string{"tar", "--format=gnu", "-S", "-cf", "sparse.tar", "FILES"}, ""},
	{"sparsepax.tar", []string{"tar", "--format=pax", "-S", "-cf", "sparsepax.tar", "FILES"}, ""},
	{"sparse01.tar", []string{"tar", "--format=pax", "--sparse-version=0.1", "-S", "-cf", "sparse01.tar", "FILES"}, ""},
	{"large.dat.gz", []string{"gzip", "-k", "folder/large.dat"}, "folder/large.dat"},
	{"letter.txt.gz", []string{"gzip", "-k", "-n", "letter.txt"}, "letter.txt"},
	{"letter.txt.bz2", []string{"bzip2", "-k", "letter.txt"}, "letter.txt"},
	{"letter.txt.xz", []string{"xz", "-k", "letter.txt"}, "letter.txt"},
	{"letter.txt.lzma", []string{"xz", "-k", "--format=lzma", "letter.txt"}, "letter.txt"},
	{"blocks.xz", []string{"sh", "-c", "xz --block-size=50000 --check=sha256 -c folder/deep/a.bin > blocks.xz"}, "folder/deep/a.bin"},
	{"x86.xz", []string{"sh", "-c", "xz --x86 --lzma2=dict=64KiB -c tool.bin > x86.xz"}, "tool.bin"},
	{"delta.xz", []string{"sh", "-c", "xz --delta=dist=4 --lzma2=dict=64KiB -c folder/deep/a.bin > delta.xz"}, "folder/deep/a.bin"},
	{"a.7z", []string{"7z", "a", "-bd", "a.7z", "FILES"}, ""},
	{"solid.7z", []string{"7z", "a", "-bd", "-ms=on", "-m0=LZMA", "solid.7z", "FILES"}, ""},
	{"bcj2.7z", []string{"7z", "a", "-bd", "-m0=BCJ2", "-m1=LZMA:d20", "-m2=LZMA:d18", "-m3=LZMA:d18", "-mb0:1", "-mb0s1:2", "-mb0s2:3", "bcj2.7z", "FILES"}, ""},
	{"bzip2.7z", []string{"7z", "a", "-bd", "-m0=BZip2", "bzip2.7z", "FILES"}, ""},
	{"deflate64.7z", []string{"7z", "a", "-bd", "-m0=Deflate64", "deflate64.7z", "FILES"}, ""},
	{"delta.7z", []string{"7z", "a", "-bd", "-m0=Delta:4", "-m1=LZMA2", "delta.7z", "FILES"}, ""},
	{"plain.7z", []string{"7z", "a", "-bd", "-mx=0", "-mhc=off", "plain.7z", "FILES"}, ""},
	{"arm.7z", []string{"7z", "a", "-bd", "-m0=ARM", "-m1=LZMA2", "arm.7z", "FILES"}, ""},
	{"ppc.7z", []string{"7z", "a", "-bd", "-m0=PPC", "-m1=LZMA2", "ppc.7z", "FILES"}, ""},
	{"deflate64.zip", []string{"7z", "a", "-bd", "-mm=Deflate64", "deflate64.zip", "FILES"}, ""},
	{"a.ar", []string{"ar", "rcs", "a.ar", "letter.txt", "empty.txt", "zeros.bin", "tool.bin"}, ""},
	{"newc.cpio", []string{"sh", "-c", "printf '%s\\n' FILES | tr ' ' '\\n' | cpio -o -H newc > newc.cpio"}, ""},
	{"crc.cpio", []string{"sh", "-c", "ls FILES | cpio -o -H crc > crc.cpio"}, ""},
	{"odc.cpio", []string{"sh", "-c", "ls FILES | cpio -o -H odc > odc.cpio"}, ""},
	{"bin.cpio", []string{"sh", "-c", "ls FILES | cpio -o -H bin > bin.cpio"}, ""},
	{"swapped.cpio", []string{"sh", "-c", "ls FILES | cpio -o -H bin | cpio -i --to-stdout >/dev/null 2>&1; ls FILES | cpio -o -H bin > swapped.cpio"}, ""},
	{"stored.cab", []string{"gcab", "-c", "stored.cab", "FILES"}, ""},
	{"mszip.cab", []string{"gcab", "-c", "-z", "mszip.cab", "FILES"}, ""},
	{"a.arj", []string{"arj", "a", "-i", "-r", "a.arj", "FILES"}, ""},
	{"m2.arj", []string{"arj", "a", "-i", "-r", "-m2", "m2.arj", "FILES"}, ""},
	{"m4.arj", []string{"arj", "a", "-i", "-r", "-m4", "m4.arj", "FILES"}, ""},
	{"m0.arj", []string{"arj", "a", "-i", "-r", "-m0", "m0.arj", "FILES"}, ""},
	{"a.lzh", []string{"jlha", "aq", "a.lzh", "FILES"}, ""},
	{"old.lzh", []string{"jlha", "aqo", "old.lzh", "FILES"}, ""},
	{"lh6.lzh", []string{"jlha", "aqo6", "lh6.lzh", "FILES"}, ""},
	{"lh7.lzh", []string{"jlha", "aqo7", "lh7.lzh", "FILES"}, ""},
	{"level0.lzh", []string{"jlha", "aq0", "level0.lzh", "FILES"}, ""},
	{"level2.lzh", []string{"jlha", "aq2", "level2.lzh", "FILES"}, ""},
	{"letter.txt.Z", []string{"sh", "-c", "compress -c letter.txt > letter.txt.Z"}, "letter.txt"},
	{"large.Z", []string{"sh", "-c", "compress -c folder/large.dat > large.Z"}, "folder/large.dat"},
	{"twelve.Z", []string{"sh", "-c", "compress -b 12 -c folder/large.dat > twelve.Z"}, "folder/large.dat"},
	{"letter.txt.lz", []string{"lzip", "-k", "letter.txt"}, "letter.txt"},
	{"parts.lz", []string{"sh", "-c", "lzip -b 100000 -s 4096 -c folder/deep/a.bin > parts.lz"}, "folder/deep/a.bin"},
	{"letter.txt.zst", []string{"zstd", "-q", "-k", "letter.txt"}, "letter.txt"},
	{"letter.txt.lz4", []string{"lz4", "-q", "letter.txt", "letter.txt.lz4"}, "letter.txt"},
	{"legacy.lz4", []string{"sh", "-c", "lz4 -q -l -c folder/deep/a.bin > legacy.lz4"}, "folder/deep/a.bin"},
}

// make makes the container in a folder that tree has made, and returns it.
func (p producer) make(t testing.TB, dir string, files map[string][]byte) []byte {
	t.Helper()
	names := slices.Sorted(maps.Keys(files))
	var args []string
	for _, a := range p.args {
		if a == "FILES" {
			args = append(args, names...)
			continue
		}
		args = append(args, strings.ReplaceAll(a, "FILES", strings.Join(names, " ")))
	}
	tool(t, dir, args...)
	for _, name := range []string{p.name, filepath.Join("folder", p.name)} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			return b
		}
	}
	t.Fatalf("%s was not made", p.name)
	return nil
}

func TestWhatRealProgramsPackComesOutAsItWas(t *testing.T) {
	files := corpus()
	for _, p := range producers {
		t.Run(p.name, func(t *testing.T) {
			packed := p.make(t, tree(t, files), files)
			for _, inline := range []int64{mib, 64 * kib} { // members in memory, and as streams
				k, res := take(t, New(inline), whole(packed), p.name)
				if res.Outcome != report.Unscanned || len(res.Findings) > 0 {
					t.Errorf("the container is %v with %+v", res.Outcome, res.Findings)
				}
				if p.one != "" {
					if len(k.order) != 1 || !bytes.Equal(k.content[k.order[0]], files[p.one]) {
						t.Errorf("%d members, the first of %d bytes", len(k.order), len(k.content[k.order[0]]))
					}
					continue
				}
				for name, want := range files {
					if p.name == "a.ar" && strings.Contains(name, "/") {
						continue // ar has no folders
					}
					it, ok := k.items[name]
					if got := k.content[name]; !ok || !bytes.Equal(got, want) || it.Size != int64(len(want)) || it.Outcome != report.Unscanned {
						t.Errorf("%s: %d of %d bytes, %v %+v", name, len(got), len(want), it.Outcome, it.Findings)
					}
				}
				if len(k.order) != len(files) && p.name != "a.ar" {
					t.Errorf("%d members: %q", len(k.order), k.order)
				}
			}
		})
	}
}

func TestContextEndsTheOpening(t *testing.T) {
	files := corpus()
	packed := producers[0].make(t, tree(t, files), files)
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("stop")
	cancel(stop)
	k := &taken{t: t, content: map[string][]byte{}, items: map[string]Item{}, most: mib}
	if _, err := New(mib).Open(ctx, whole(packed), "x", k); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) { return maps.Keys(m) }

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
