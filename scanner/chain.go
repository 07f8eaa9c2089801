package scanner

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

// chain is what is remembered of the content of a large item: the running state of its SHA-256 behind each whole cell. So any
// cell can be held against a second reading, in any order, though every byte was hashed only once. Two contents of a cell
// with the same state before and behind them would be a collision of SHA-256.
type chain struct {
	links [][sha256.Size]byte // the state behind each whole cell
	sum   [sha256.Size]byte   // of all of it, which stands for what lies behind the last whole cell
	bytes int64               // that were hashed; unless it is the end, a whole number of cells
}

// What Go says of a running SHA-256 (crypto/sha256, MarshalBinary) is a word of four letters, the state of FIPS 180-4 section
// 6.2, a block that is not full yet, and the length so far. Behind a cell no block is open, so that the state is all there
// is to remember. A Go that says it in another way fails the tests, and no medium would be cleared by it.
const (
	stateMagic = "sha\x03"
	stateBytes = len(stateMagic) + sha256.Size + sha256.BlockSize + 8
)

// write hashes what follows, whole cells or the end, with h.
func (c *chain) write(h *hasher, p []byte) {
	for len(p) > 0 {
		cell := p[:min(len(p), cellBytes)]
		p = p[len(cell):]
		h.write(cell)
		if c.bytes += int64(len(cell)); len(cell) == cellBytes {
			c.links = append(c.links, link(h.sha256))
		}
	}
	if c.bytes%cellBytes != 0 {
		h.sha256.Sum(c.sum[:0])
	}
}

// holds reports whether a cell is what was hashed. number is its place on the grid.
func (c *chain) holds(number int64, cell []byte) bool {
	at := number * cellBytes
	if at < 0 || at+int64(len(cell)) > c.bytes || number > int64(len(c.links)) {
		return false
	}
	h := sha256.New()
	if number > 0 && !resume(h, c.links[number-1], at) {
		return false
	}
	h.Write(cell)
	if len(cell) == cellBytes {
		return link(h) == c.links[number]
	}
	return at+int64(len(cell)) == c.bytes && [sha256.Size]byte(h.Sum(nil)) == c.sum
}

// link is the state of a SHA-256 that stands behind a cell, or zeros if Go does not say it as expected.
func link(h hash.Hash) (state [sha256.Size]byte) {
	var room [stateBytes]byte
	m, ok := h.(encoding.BinaryAppender)
	if !ok {
		return state
	}
	if b, err := m.AppendBinary(room[:0]); err == nil && len(b) == stateBytes {
		copy(state[:], b[len(stateMagic):])
	}
	return state
}

// resume makes h a SHA-256 that stands behind a cell that ends at a place.
func resume(h hash.Hash, state [sha256.Size]byte, at int64) bool {
	var b [stateBytes]byte
	copy(b[:], stateMagic)
	copy(b[len(stateMagic):], state[:])
	binary.BigEndian.PutUint64(b[stateBytes-8:], uint64(at))
	m, ok := h.(encoding.BinaryUnmarshaler)
	return ok && m.UnmarshalBinary(b[:]) == nil
}
