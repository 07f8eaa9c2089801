package scanner

import (
	"crypto/sha256"
	"slices"
	"testing"
)

func TestRunningStateGoesOnWhereItWas(t *testing.T) {
	for _, n := range []int{cellBytes, 3 * cellBytes, 8 * cellBytes} {
		content := marked(n+777, 1)
		h := sha256.New()
		h.Write(content[:n])
		state := link(h)
		if state == [32]byte{} {
			t.Fatal("Go says a running SHA-256 in another way")
		}
		on := sha256.New()
		if !resume(on, state, int64(n)) {
			t.Fatal("Go does not take a running SHA-256")
		}
		on.Write(content[n:])
		if [32]byte(on.Sum(nil)) != sha256.Sum256(content) {
			t.Errorf("%d bytes: another hash", n)
		}
	}
}

// TestT04_EveryByteOfACellIsHeldAgainstTheFirstReading takes contents that end on and off the grid, whatever pieces they came in.
func TestT04_EveryByteOfACellIsHeldAgainstTheFirstReading(t *testing.T) {
	for _, n := range []int{1, cellBytes - 1, cellBytes, cellBytes + 1, 3 * cellBytes, 3*cellBytes + 4000} {
		content := marked(n, 2)
		var c chain
		h := (&lists{}).hasher()
		for piece := range slices.Chunk(content, 2*cellBytes) {
			c.write(h, piece)
		}
		if [32]byte(h.sha256.Sum(nil)) != sha256.Sum256(content) || c.bytes != int64(n) || len(c.links) != n/cellBytes {
			t.Fatalf("%d bytes: %d hashed, %d links", n, c.bytes, len(c.links))
		}
		cells := slices.Collect(slices.Chunk(content, cellBytes))
		for i, cell := range cells {
			if !c.holds(int64(i), cell) {
				t.Errorf("%d bytes: cell %d is not what it was", n, i)
			}
			for _, at := range []int{0, len(cell) / 2, len(cell) - 1} {
				cell[at] ^= 1
				if c.holds(int64(i), cell) {
					t.Errorf("%d bytes: cell %d may change at %d", n, i, at)
				}
				cell[at] ^= 1
			}
			if c.holds(int64(i), cell[:len(cell)-1]) || c.holds(int64(i), append(slices.Clone(cell), 0)) ||
				i+1 < len(cells) && c.holds(int64(i+1), cell[:len(cells[i+1])]) {
				t.Errorf("%d bytes: cell %d may be cut, grow or move", n, i)
			}
		}
		if c.holds(int64(len(cells)), nil) || c.holds(-1, cells[0]) || c.holds(int64(len(cells)), cells[0]) {
			t.Errorf("%d bytes: there are cells behind the end", n)
		}
	}
}
