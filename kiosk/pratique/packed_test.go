package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pratique/testdata/stick"
)

// What a scan of packed content may take: T7 of the requirements.
const (
	bombTime   = 60 * time.Second
	bombMemory = 512 // MiB, of all processes together, the shared buffers counted with each
)

func packZIP(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
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

func packGzip(t *testing.T, data ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, d := range data {
		if _, err := z.Write(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packedStick writes a stick with some files.
func packedStick(t *testing.T, files []stick.File) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "packed.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := exfatGiant(f, 256*mib, files); err != nil {
		t.Fatal(err)
	}
	return image
}

func TestT07_BombsOnAStickAreNotCleared(t *testing.T) {
	nested := packZIP(t, map[string][]byte{"0.dll": make([]byte, 64*mib)})
	for range 4 {
		layer := map[string][]byte{}
		for i := range 16 {
			layer[fmt.Sprintf("lib %d.zip", i)] = nested
		}
		nested = packZIP(t, layer)
	}
	deep := []byte("nothing harmful")
	for i := range 30 {
		deep = packZIP(t, map[string][]byte{fmt.Sprint(i): deep})
	}
	var entry bytes.Buffer
	if err := tar.NewWriter(&entry).WriteHeader(&tar.Header{Name: "e", Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	entries := bytes.Repeat(entry.Bytes()[:512], 250_000)
	zeros := make([]byte, 64*mib)
	for name, bomb := range map[string][]byte{"nested": nested, "deep": deep, "entries": packGzip(t, entries), "ratio": packGzip(t, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros)} {
		t.Run(name, func(t *testing.T) {
			image := packedStick(t, []stick.File{{Path: "bomb", Data: bomb}, {Path: "letter.txt", Data: []byte("harmless\n")}})
			w := watch(t, "pratique", "screen", "--json", "--state", t.TempDir(), image)
			var res jsonResult
			if err := json.Unmarshal(w.stdout, &res); err != nil {
				t.Fatalf("exit code %d, %v\n%s", w.code, err, w.stdout)
			}
			if w.code != 4 || len(res.Reasons) == 0 || res.Reasons[0].Code != "too-large" {
				t.Errorf("exit code %d, %+v", w.code, res.Reasons)
			}
			if !slices.ContainsFunc(res.Findings, func(f jsonFinding) bool { return f.Rule == "archive-limit" && f.Path == "bomb" }) {
				t.Errorf("no words: %+v", res.Findings)
			}
			held := int64(0)
			for _, peak := range w.peak {
				held += peak
			}
			if w.took > bombTime || held > bombMemory {
				t.Errorf("%v, %v MiB", w.took, w.peak)
			}
			t.Logf("%s: %v, %v MiB, %d members", name, w.took.Round(100*time.Millisecond), w.peak, res.Counts.Members)
		})
	}
}

func TestWhatIsPackedDecidesTheVerdict(t *testing.T) {
	letter := []byte("harmless\n")
	for _, test := range []struct {
		name   string
		file   []byte
		code   int
		member string
	}{
		{"harmless.zip", packZIP(t, map[string][]byte{"letter.txt": letter}), 0, ""},
		{"evil.zip", packZIP(t, map[string][]byte{"inner.zip": packZIP(t, map[string][]byte{"letter.txt": append(stick.RuleSample(), make([]byte, 1000)...)})}), 3, "inner.zip//letter.txt"},
		{"evil.gz", packGzip(t, stick.RuleSample()), 3, "evil"},
		{"cut.zip", packZIP(t, map[string][]byte{"letter.txt": bytes.Repeat(letter, 100)})[:60], 4, ""},
	} {
		code, res := screenJSON(t, "--items", "--state", t.TempDir(), packedStick(t, []stick.File{{Path: test.name, Data: test.file}}))
		if code != test.code {
			t.Errorf("%s: exit code %d, %+v", test.name, code, res.Reasons)
		}
		if test.member != "" && !slices.ContainsFunc(res.Findings, func(f jsonFinding) bool {
			return f.Path == test.name && f.Member == test.member && f.Check == "yara"
		}) {
			t.Errorf("%s: %+v", test.name, res.Findings)
		}
		if code == 0 && (res.Counts.Members != 1 || res.Clearance == nil) {
			t.Errorf("%s: %+v", test.name, res.Counts)
		}
	}
}
