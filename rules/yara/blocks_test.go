package yara

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pratique/scanner/slot"
)

// sparse is content of any size: zeros but for what is planted.
type sparse struct {
	size    int64
	planted map[int64]string
}

func (c sparse) fetch(buf []byte, offset int64) error {
	clear(buf)
	for at, text := range c.planted {
		for i := range len(text) {
			if p := at + int64(i) - offset; p >= 0 && p < int64(len(buf)) {
				buf[p] = text[i]
			}
		}
	}
	return nil
}

func (c sparse) bytes() []byte {
	b := make([]byte, c.size)
	_ = c.fetch(b, 0)
	return b
}

func TestBlocksMatchAsMemoryDoes(t *testing.T) {
	rules := mustCompile(t, `import "hash" import "math"
		rule needle { strings: $a = "NEEDLE-IN-HAYSTACK" condition: $a }
		rule twice { strings: $a = "NEEDLE-IN-HAYSTACK" condition: #a == 2 }
		rule start { strings: $m = "MZ" condition: uint16(0) == 0x5A4D and $m at 0 }
		rule end { condition: uint16be(filesize - 2) == 0x454E }
		rule size { condition: filesize > 33MB }
		rule long { strings: $a = /LONG-{1000}GNOL/ condition: $a }
		rule range { strings: $a = "RANGE" condition: $a in (16MB..17MB) }
		rule hash { condition: hash.md5(0, filesize) != "" and hash.md5(0, 16) != "" }
		rule entropy { condition: math.entropy(0, filesize) >= 0.0 }
		rule undefined { condition: not defined filesize }
		rule absent { strings: $a = "NOWHERE" condition: $a }`)
	s := mustScanner(t, rules)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 6 {
		c := sparse{size: slot.BlockBytes*2 + int64(random.IntN(5<<20)), planted: map[int64]string{}}
		plant := func(text string) { c.planted[random.Int64N(c.size-int64(len(text)))] = text }
		plant("NEEDLE-IN-HAYSTACK")
		plant("LONG" + strings.Repeat("-", 1000) + "GNOL")
		if i%2 == 0 {
			plant("NEEDLE-IN-HAYSTACK")
			c.planted[0] = "MZ"
			c.planted[c.size-2] = "EN"
			c.planted[16<<20+int64(random.IntN(1<<20))] = "RANGE"
		}
		want, err := s.ScanMem(c.bytes(), Vars{})
		if err != nil {
			t.Fatal(err)
		}
		got, fetches, err := s.ScanBlocks(c.size, c.fetch, Vars{})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v: blocks %v, %v\nmemory %v", c.planted, got, err, want)
		}
		t.Logf("%d bytes: %+v, %s", c.size, fetches, names(got))
	}
}

func TestNoMatchIsLostOnABorder(t *testing.T) {
	const needle = "NEEDLE-IN-HAYSTACK"
	s := mustScanner(t, mustCompile(t, `rule one { strings: $a = "`+needle+`" condition: #a == 1 }`))
	var offsets []int64
	for border := int64(stride); border < 3*slot.BlockBytes; border += stride {
		for _, b := range []int64{border, border + slot.BlockOverlap} { // where one block begins, and where the one before ends
			offsets = append(offsets, b-int64(len(needle)), b-int64(len(needle))+1, b-1, b, b+1)
		}
	}
	for _, at := range offsets {
		c := sparse{size: 3 * slot.BlockBytes, planted: map[int64]string{at: needle}}
		m, _, err := s.ScanBlocks(c.size, c.fetch, Vars{})
		if err != nil || names(m) != "one" || m[0].Offset != at {
			t.Errorf("at %d: %v, %v", at, m, err)
		}
	}
}

func TestMatchesBeyondTwoAndFourGiB(t *testing.T) {
	c := sparse{size: 4<<30 + 3*slot.BlockBytes, planted: map[int64]string{
		0: "MZ", 2<<30 - 4: "AT-TWO-GIB", 4<<30 - 5: "AT-FOUR-GIB", 4<<30 + slot.BlockBytes + 7: "BEYOND-FOUR-GIB", 4<<30 + 3*slot.BlockBytes - 7: "THE-END",
	}}
	s := mustScanner(t, mustCompile(t, fmt.Sprintf(`
		rule two { strings: $a = "AT-TWO-GIB" condition: $a at %d }
		rule four { strings: $a = "AT-FOUR-GIB" condition: $a at %d }
		rule beyond { strings: $a = "BEYOND-FOUR-GIB" condition: $a in (4294967296..filesize) }
		rule end { strings: $a = "THE-END" condition: $a at filesize - 7 }
		rule head { condition: uint16(0) == 0x5A4D and filesize > 4096MB }
		rule tail { condition: uint16be(%d) == 0x4E44 }`, 2<<30-4, 4<<30-5, c.size-2)))
	m, fetches, err := s.ScanBlocks(c.size, c.fetch, Vars{})
	if err != nil || names(m) != "beyond end four head tail two" {
		t.Errorf("%v, %v", names(m), err)
	}
	if fetches.Again != 0 {
		t.Errorf("%+v", fetches)
	}
	for _, match := range m {
		if _, ok := c.planted[match.Offset]; !ok && match.Offset != -1 {
			t.Errorf("%s at %d", match.Rule, match.Offset)
		}
	}
}

// Conditions on the start and the end of a file are what most rules have. They must not cost a block each.
func TestBlocksAreFetchedOnce(t *testing.T) {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "rule r%d { condition: uint16(%d) == 0x5A4D and uint16(filesize - %d) == 0x5A4D }\n", i, i%7, 2+i%5)
	}
	c := sparse{size: 5*slot.BlockBytes + 12345, planted: map[int64]string{0: "MZMZMZMZMZ"}}
	c.planted[c.size-10] = "MZMZMZMZMZ"
	var order []int64
	fetch := func(buf []byte, offset int64) error {
		order = append(order, offset)
		return c.fetch(buf, offset)
	}
	s := mustScanner(t, mustCompile(t, text.String()))
	if _, fetches, err := s.ScanBlocks(c.size, fetch, Vars{}); err != nil || fetches.Again != 0 || fetches.First != len(order) {
		t.Errorf("%+v, %v", fetches, err)
	}
	for i, offset := range order {
		if offset != int64(i)*stride {
			t.Errorf("fetched in the order %v", order)
			break
		}
	}
}

func TestFailedFetchVoidsTheScan(t *testing.T) {
	broken := errors.New("broken")
	s := mustScanner(t, mustCompile(t, `import "pe" import "elf" import "macho" import "dex" import "dotnet" import "math" import "hash"
		rule always { condition: true } rule mz { condition: uint16(0) == 0x5A4D } rule last { condition: uint16(filesize - 2) == 0x5A4D }
		rule modules { condition: pe.is_pe or elf.type == 1 or macho.cputype == 1 or dex.header.magic == "" or dotnet.number_of_streams == 1 }
		rule math { condition: math.entropy(0, filesize) > 9.0 or math.mean(5, filesize) > 256.0 or math.deviation(filesize - 5, 5, 0.0) > 300.0 }
		rule hash { condition: hash.md5(0, filesize) == "" or hash.sha256(filesize - 5, 5) == "" or hash.crc32(0, 16) == 1 or hash.checksum32(0, filesize) == 1 }`))
	c := sparse{size: 4 * slot.BlockBytes, planted: map[int64]string{0: "MZ"}}
	for fail := range 12 { // the first pass, and what the modules come back for
		n := 0
		m, _, err := s.ScanBlocks(c.size, func(buf []byte, offset int64) error {
			if n++; n == fail+1 {
				return broken
			}
			return c.fetch(buf, offset)
		}, Vars{})
		if n <= fail {
			break // there are no more fetches to fail
		}
		if !errors.Is(err, broken) || m != nil {
			t.Errorf("fetch %d: %v, %v", fail, m, err)
		}
	}
	if m, _, err := s.ScanBlocks(c.size, func([]byte, int64) error { panic("at the disco") }, Vars{}); err == nil || m != nil {
		t.Errorf("panic: %v, %v", m, err)
	}
	// The scanner is as good as new after it.
	if m, _, err := s.ScanBlocks(c.size, c.fetch, Vars{}); err != nil || names(m) != "always mz" {
		t.Errorf("%v, %v", names(m), err)
	}
	if _, _, err := s.ScanBlocks(-1, c.fetch, Vars{}); err == nil {
		t.Error("a negative size is scanned")
	}
}

func TestSmallContentGoesThroughBlocksToo(t *testing.T) {
	s := mustScanner(t, mustCompile(t, `rule empty { condition: filesize == 0 } rule b { strings: $a = "b" condition: $a }`))
	for _, tt := range []struct {
		size int64
		want string
	}{{0, "empty"}, {1, ""}, {2, "b"}, {slot.BlockBytes, "b"}, {slot.BlockBytes + 1, "b"}} {
		c := sparse{tt.size, map[int64]string{1: "b"}}
		if m, _, err := s.ScanBlocks(tt.size, c.fetch, Vars{}); err != nil || names(m) != tt.want {
			t.Errorf("%d bytes: %q, %v, want %q", tt.size, names(m), err, tt.want)
		}
	}
}
