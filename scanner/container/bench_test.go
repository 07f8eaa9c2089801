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
