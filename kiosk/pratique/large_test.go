package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/testdata/stick"
)

// sparseStick writes an exFAT medium with one huge file that is a hole, and puts markers into it.
func sparseStick(t *testing.T, size int64, markers map[int64]string) (image string) {
	t.Helper()
	const start = 1 << 20
	image = filepath.Join(t.TempDir(), "large.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bytes := size + size/64 + 64<<20
	bytes -= bytes % (1 << 20)
	if err := f.Truncate(start + bytes); err != nil {
		t.Fatal(err)
	}
	if err := stick.WriteMBR(f, []stick.Partition{{Start: start, Bytes: bytes, Type: 0x07}}, nil); err != nil {
		t.Fatal(err)
	}
	w := io.NewOffsetWriter(f, start)
	v, err := stick.WriteExFAT(w, stick.ExFAT{Bytes: bytes, Start: start, ClusterBytes: 128 << 10}, []stick.File{{Path: "large.bin", Size: size}})
	if err != nil {
		t.Fatal(err)
	}
	for at, text := range markers {
		if at < 0 || at+int64(len(text)) > size {
			t.Fatalf("marker at %d is outside the file", at)
		}
		// The chain is contiguous: nothing else is on the volume.
		if _, err := w.WriteAt([]byte(text), v.Cluster(v.Chain["large.bin"][0])+at); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// Content above the size of a buffer is matched in blocks. No match is lost where blocks meet, at 2 GiB or beyond 4 GiB,
// offsets are those of the whole, and a condition on the beginning holds.
func TestT06_PatternsAnywhereInAHugeFileAreFound(t *testing.T) {
	const (
		size   = 5 << 30
		stride = 15 << 20 // of the blocks, which are 16 MiB and overlap by 1 MiB
	)
	places := map[string]int64{
		"start": 0, "first_border": 16<<20 - 10, "first_stride": stride - 10, "late_border": 100*stride + 16<<20 - 7,
		"two_gib": 2<<30 - 9, "four_gib": 4<<30 - 9, "beyond_four_gib": 4<<30 + 777_777_777, "end": size - 24,
	}
	markers := map[int64]string{}
	var text strings.Builder
	for name, at := range places {
		marker := fmt.Sprintf("PRATIQUE-%-15s", name)
		markers[at] = marker
		fmt.Fprintf(&text, "rule at_%s { strings: $a = %q condition: $a at %d and uint16(0) == 0x5250 and filesize == %d }\n", name, marker, at, int64(size))
	}
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "places.yar"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	code, res := screenJSON(t, "--state", t.TempDir(), "--rules", rules, sparseStick(t, size, markers))
	if code != 3 {
		t.Errorf("exit code %d: %+v", code, res.Reasons)
	}
	found := map[string]int64{}
	for _, f := range res.Findings {
		if f.Check == "yara" {
			found[strings.TrimPrefix(f.Rule, "at_")] = f.Offset
		}
	}
	for name, at := range places {
		if got, ok := found[name]; !ok || got != at {
			t.Errorf("%s: found %v at %d, want %d", name, ok, got, at)
		}
	}
}

// A program that libyara would see only the beginning of is too large, whatever else is in order.
func TestLargeProgramsAreTooLarge(t *testing.T) {
	for name, head := range map[string]string{"pe": "MZ", "elf": "\x7fELF", "macho": "\xcf\xfa\xed\xfe", "dex": "dex\n035\x00"} {
		code, res := screenJSON(t, "--state", t.TempDir(), sparseStick(t, 65<<20, map[int64]string{0: head}))
		if code != 4 || len(res.Reasons) == 0 || res.Reasons[0].Code != "too-large" {
			t.Errorf("%s: exit code %d, %+v", name, code, res.Reasons)
		}
	}
}

// Unallocated space is scanned with --deep and only then, and the token says which it was.
func TestDeepScansUnallocatedSpace(t *testing.T) {
	image := filepath.Join(t.TempDir(), "deep.img")
	data, err := os.ReadFile(sample("clean"))
	if err != nil {
		t.Fatal(err)
	}
	copy(data[len(data)-2<<20:], stick.RuleSample()) // far behind the last file, inside the volume
	if err := os.WriteFile(image, data, 0o644); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	if code, res := screenJSON(t, "--state", state, image); code != 0 {
		t.Errorf("exit code %d, %+v", code, res.Reasons)
	}
	code, res := screenJSON(t, "--state", state, "--deep", image)
	if code != 3 || len(res.Findings) == 0 || res.Findings[0].Check != "yara" {
		t.Errorf("--deep: exit code %d, %+v", code, res.Reasons)
	}
	if code, res := screenJSON(t, "--state", state, "--deep", sample("clean")); code != 0 {
		t.Errorf("--deep on the clean stick: exit code %d, %+v", code, res.Reasons)
	}
}

// A folder with the same files is what was cleared, until somebody adds, removes or changes one.
func TestT13_FolderAsTheDeviceSeesIt(t *testing.T) {
	state := t.TempDir()
	_, res := screenJSON(t, "--state", state, "--out", t.TempDir(), sample("clean"))
	if res.Clearance == nil {
		t.Fatal("not cleared")
	}
	dir := t.TempDir()
	if err := stick.WriteTree(dir, stick.CleanFiles()); err != nil {
		t.Fatal(err)
	}
	check := func(what string, want int) {
		t.Helper()
		code, stdout, stderr := run(t, "clearcheck", "--demo", "--trust", filepath.Join(state, "demo.trust"), "--for", "general",
			"--token", res.Clearance.TokenFile, "--manifest", res.Clearance.ManifestFile, dir)
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s%s", what, code, want, stdout, stderr)
		}
	}
	check("as it was", 0)
	extra := filepath.Join(dir, "extra.txt")
	os.WriteFile(extra, []byte("x"), 0o644)
	check("a file more", 3)
	os.Remove(extra)
	check("taken away again", 0)
	os.Rename(filepath.Join(dir, "REPORT.PDF"), extra)
	check("renamed", 3)
	os.Rename(extra, filepath.Join(dir, "REPORT.PDF"))
	os.Remove(filepath.Join(dir, "EMPTY.TXT"))
	check("a file less", 3)
	os.WriteFile(filepath.Join(dir, "EMPTY.TXT"), []byte("!"), 0o644)
	check("a file changed", 3)
}

// T25: an archive that nobody can see into is never cleared, though no rule matches it.
func TestT25_EncryptedArchiveIsNotCleared(t *testing.T) {
	// A stored member with the encryption flag set, and its entry in the central directory.
	local := "PK\x03\x04\x14\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x05\x00\x00\x00a.txt"
	central := "PK\x01\x02\x14\x00\x14\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x05\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a.txt"
	body := strings.Repeat("\x5a", 16)
	end := "PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00" + string([]byte{byte(len(central)), 0, 0, 0, byte(len(local) + len(body)), 0, 0, 0}) + "\x00\x00"
	image := filepath.Join(t.TempDir(), "locked.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const start, bytes = 1 << 20, 16 << 20
	if err := f.Truncate(start + bytes); err != nil {
		t.Fatal(err)
	}
	if err := stick.WriteMBR(f, []stick.Partition{{Start: start, Bytes: bytes, Type: 0x06}}, nil); err != nil {
		t.Fatal(err)
	}
	files := []stick.File{{Path: "Results.zip", Data: []byte(local + body + central + end)}}
	if _, err := stick.WriteFAT(io.NewOffsetWriter(f, start), stick.FAT{Bits: 16, Bytes: bytes, Start: start}, files); err != nil {
		t.Fatal(err)
	}
	code, res := screenJSON(t, "--state", t.TempDir(), image)
	if code != 4 || len(res.Reasons) == 0 || res.Reasons[0].Code != "encrypted" {
		t.Errorf("exit code %d, %+v", code, res.Reasons)
	}
}
