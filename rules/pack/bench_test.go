package pack

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

var ruleSets = flag.String("rules", "", "folder of YARA files for the benchmarks, instead of text of the same size")

// largeSource is a pack of public rule sets' size, with a million hashes.
func largeSource(b *testing.B) fstest.MapFS {
	src := sources(1)
	if *ruleSets == "" {
		rule := "rule r%d { strings: $a = \"%064d\" $b = { 01 02 03 04 05 06 07 08 } condition: $a or $b }\n"
		var text bytes.Buffer
		for i := range 1338 * 30 { // public rules are long: some 5 KB each
			fmt.Fprintf(&text, rule, i, i)
		}
		src["yara/large.yar"] = &fstest.MapFile{Data: text.Bytes()}
	} else {
		n := 0
		must(b, filepath.WalkDir(*ruleSets, func(name string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(name) != ".yar" {
				return err
			}
			data, err := os.ReadFile(name)
			n++
			src[fmt.Sprintf("yara/set%d.yar", n)] = &fstest.MapFile{Data: data}
			return err
		}))
	}
	var list bytes.Buffer
	for i := range 1_000_000 {
		fmt.Fprintf(&list, "%x\n", sha256.Sum256(fmt.Append(nil, i)))
	}
	src["hashes.txt"] = &fstest.MapFile{Data: list.Bytes()}
	return src
}

func BenchmarkBuildLargePack(b *testing.B) {
	dir := b.TempDir()
	must(b, os.CopyFS(dir, largeSource(b)))
	for b.Loop() {
		file := build(b, os.DirFS(dir))
		info, err := os.Stat(file)
		must(b, err)
		b.ReportMetric(float64(info.Size())/1e6, "MB")
	}
}

// BenchmarkInstallLargePack is what an import costs without the kiosk's gates: verify, copy, verify the copy, load, commit.
func BenchmarkInstallLargePack(b *testing.B) {
	r := newRig(b)
	r.publishSource(largeSource(b))
	for b.Loop() {
		must(b, install(r.kiosk(), r.dir, today))
	}
}

// BenchmarkCurrentLargePack is what the start of a kiosk costs.
func BenchmarkCurrentLargePack(b *testing.B) {
	r := newRig(b)
	r.publishSource(largeSource(b))
	s := r.kiosk()
	must(b, install(s, r.dir, today))
	for b.Loop() {
		if _, _, err := s.Current(); err != nil {
			b.Fatal(err)
		}
	}
}
