package container

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkPacked is what asking costs each ordinary file.
func BenchmarkPacked(b *testing.B) {
	noise := make([]byte, 30*kib)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	o := New(mib)
	for b.Loop() {
		if o.Packed(whole(noise)) {
			b.Fatal("it is a container")
		}
	}
}

// BenchmarkPackedProgram is what asking costs a program in which nothing is packed, by the byte.
func BenchmarkPackedProgram(b *testing.B) {
	code := peSpec{code: machineCode(), resources: [][]byte{payload(3 * kib), machineCode()[:20*kib]}}.make()
	o := New(mib)
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		if o.Packed(whole(code)) {
			b.Fatal("it is a container")
		}
	}
}
