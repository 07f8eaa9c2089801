package yara

import (
	"errors"
	"fmt"

	libyara "github.com/hillu/go-yara/v4"

	"pratique/scanner/slot"
)

// Fetch fills buf with the content's bytes from an offset. After an error the scan is void.
type Fetch func(buf []byte, offset int64) error

// Fetches counts what one block scan cost.
type Fetches struct {
	First int // blocks fetched for the first time, in order from the content's start to its end
	Again int // blocks that libyara came back for and that had to be fetched once more
}

// ScanBlocks matches the rules against content that does not fit into memory, in blocks of slot.BlockBytes that overlap by
// slot.BlockOverlap. Conditions on offsets, counts and hashes hold as in ScanMem; a match longer than the overlap can be lost
// where two blocks meet. The first and the last block are kept, since that is where rules look again.
func (s *Scanner) ScanBlocks(size int64, fetch Fetch, vars Vars) ([]slot.Match, Fetches, error) {
	if size < 0 {
		return nil, Fetches{}, fmt.Errorf("yara: scan: size %d", size)
	}
	b := &blocks{size: size, fetch: fetch, hits: &s.hits, cache: &s.cache}
	s.cache.forget()
	if err := s.begin(b.head(), size, vars); err != nil {
		return nil, Fetches{}, err
	}
	err := s.lib.ScanMemBlocks(b)
	if err == nil && b.err == nil && b.reached != size {
		// libyara may one day leave out blocks in which no string of any rule can be. Then this package has to fetch them:
		// whoever feeds the blocks hashes them.
		b.err = fmt.Errorf("libyara asked for %d of %d bytes", b.reached, size)
	}
	matches, err := s.end(errors.Join(err, b.err))
	return matches, b.count, err
}

const stride = slot.BlockBytes - slot.BlockOverlap

// blocks is the content as libyara walks over it: once from start to end for the strings, then again from the start for
// each condition that reads the content.
type blocks struct {
	size    int64
	fetch   Fetch
	at      int64 // offset of the current block
	reached int64 // end of what was fetched, without a gap
	count   Fetches
	err     error
	hits    *hits
	cache   *blockCache
	// What libyara's buffer holds. go-yara keeps one buffer for the whole scan, so that a block that is still there need not
	// be copied again: without this, each condition on offset 0 would cost a block.
	held   int64
	buffer *byte
}

// First implements libyara's iterator. It gives a block even after an error: libyara's modules do not look whether there is
// one, and crash if not.
func (b *blocks) First() *libyara.MemoryBlock {
	b.at = 0
	return b.block()
}

// Next implements libyara's iterator. After an error the content ends, so that the scan does. For a module that loads it
// ends behind the first block: pe, elf and their like look for a header in every block, which costs a second read of the
// whole and takes a header in the middle for the content's own.
func (b *blocks) Next() *libyara.MemoryBlock {
	if b.err != nil || b.hits.loading || b.at+slot.BlockBytes >= b.size {
		return nil
	}
	b.at += stride
	return b.block()
}

// Filesize implements libyara's iterator. Without it the variable filesize is undefined and rules are silently false.
func (b *blocks) Filesize() uint64 { return uint64(b.size) }

func (b *blocks) block() *libyara.MemoryBlock {
	offset, n := b.at, min(slot.BlockBytes, b.size-b.at)
	return &libyara.MemoryBlock{Base: uint64(offset), Size: uint64(n), FetchData: func(buf []byte) { b.fill(buf[:n], offset) }}
}

// head fetches the first block before libyara asks for it: its first bytes decide which rules are needed.
func (b *blocks) head() []byte {
	buf := b.cache.first.room()[:min(slot.BlockBytes, b.size)]
	if len(buf) > 0 {
		b.fill(buf, 0)
	}
	return buf
}

// fill is called from C with C's memory, so it neither panics nor fails: an error is kept, and the block is zeros.
func (b *blocks) fill(buf []byte, offset int64) {
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("panic in a fetch: %v", p)
		}
		if b.err != nil {
			clear(buf)
			b.buffer = nil
		}
	}()
	if b.err != nil || b.buffer == &buf[0] && b.held == offset {
		return
	}
	b.buffer = nil
	if !b.cache.get(buf, offset) {
		if b.err = b.fetch(buf, offset); b.err != nil {
			return
		}
		if end := offset + int64(len(buf)); end > b.reached {
			if offset > b.reached {
				b.err = errors.New("a block was left out")
				return
			}
			b.reached = end
			b.count.First++
		} else {
			b.count.Again++
		}
		if offset == 0 || offset+int64(len(buf)) == b.size {
			b.cache.put(buf, offset)
		}
	}
	b.held, b.buffer = offset, &buf[0]
}

// blockCache holds the first and the last block of the content under way. Its memory is kept for the next content.
type blockCache struct{ first, last cached }

type cached struct {
	data   []byte
	offset int64
	n      int // bytes in use; 0 if there is no block
}

func (c *blockCache) forget() { c.first.n, c.last.n = 0, 0 }

func (c *blockCache) put(buf []byte, offset int64) {
	to := &c.last
	if offset == 0 {
		to = &c.first
	}
	to.n, to.offset = copy(to.room(), buf), offset // it may be there already
}

// room is the memory for one block, none of which is larger.
func (c *cached) room() []byte {
	if c.data == nil {
		c.data = make([]byte, slot.BlockBytes)
	}
	return c.data
}

func (c *blockCache) get(buf []byte, offset int64) bool {
	for _, from := range []*cached{&c.first, &c.last} {
		if from.n == len(buf) && from.n > 0 && from.offset == offset {
			copy(buf, from.data)
			return true
		}
	}
	return false
}
