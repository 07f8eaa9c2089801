package feed

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
)

// Poison are hashes that no list may hold, with the reason.
type Poison struct{ sums map[string]string }

// maxFill is the largest file of nothing but one byte that is known here: what a copy that ran out of space leaves behind.
const maxFill = 4 << 20

// NewPoison knows the empty file, all files of one byte, common tiny ones, and files of zeros or ones in the sizes that disks
// and programs make.
func NewPoison() *Poison {
	p := &Poison{sums: map[string]string{}}
	p.Add(nil, "the hash of the empty file")
	for b := range 256 {
		p.Add([]byte{byte(b)}, "the hash of a tiny file")
	}
	for _, text := range []string{"\r\n", "\n\n", "\r\n\r\n", "0\n", "1\n", "0\r\n", "1\r\n", "ok", "OK", "ok\n", "OK\n", "true", "false", "null", "{}", "[]",
		"{}\n", "[]\n", "\uFEFF", "test", "test\n", "hello", "hello\n", "Hello World", "Hello, World!", "hello world\n", "Hello World\n",
		"PK\x05\x06" + string(make([]byte, 18))} { // the last is an empty archive
		p.Add([]byte(text), "the hash of a tiny file")
	}
	for _, fill := range []byte{0, 0xFF} {
		content := bytes.Repeat([]byte{fill}, maxFill)
		for n := 2; n <= maxFill; n *= 2 {
			p.Add(content[:n], "the hash of a file of nothing but one byte")
		}
		for n := 512; n <= 64<<10; n += 512 {
			p.Add(content[:n], "the hash of a file of nothing but one byte")
		}
	}
	return p
}

// Add makes content poison.
func (p *Poison) Add(content []byte, why string) {
	s256, s1, s5 := sha256.Sum256(content), sha1.Sum(content), md5.Sum(content)
	for _, sum := range [][]byte{s256[:], s1[:], s5[:]} {
		if _, known := p.sums[string(sum)]; !known {
			p.sums[string(sum)] = why
		}
	}
}

// Why says why no list may hold a hash; empty if one may.
func (p *Poison) Why(sum []byte) string {
	if p == nil {
		return ""
	}
	return p.sums[string(sum)]
}
