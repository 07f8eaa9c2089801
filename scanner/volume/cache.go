package volume

import (
	"container/list"
	"io"
	"sync"
)

const (
	// cacheBlock is what one miss reads. A larger block reads less often, a smaller one reads fewer bytes in vain.
	cacheBlock = 64 << 10
	// cacheBlocks bounds one cache to 16 MiB: the whole allocation table of a usual stick.
	cacheBlocks = 256
)

// Cache is a Source that keeps the blocks read last. Readers put it before a volume for its metadata, which they read in
// small pieces and more than once. Content does not go through it. It is safe for concurrent use.
type Cache struct {
	src    Source
	mu     sync.Mutex
	blocks map[int64]*list.Element // by block number; the value is a *block
	recent *list.List              // the last used first
}

type block struct {
	number int64
	data   []byte
}

// NewCache returns a cache over src. It holds nothing until something is read.
func NewCache(src Source) *Cache {
	return &Cache{src: src, blocks: make(map[int64]*list.Element), recent: list.New()}
}

// Size is the size of what is behind the cache.
func (c *Cache) Size() int64 { return c.src.Size() }

// SectorSize is that of what is behind the cache.
func (c *Cache) SectorSize() int { return c.src.SectorSize() }

// ReadAt follows io.ReaderAt.
func (c *Cache) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at < 0 || at >= c.src.Size() {
			return done, io.EOF
		}
		within := at % cacheBlock
		want := p[done:min(len(p), done+int(cacheBlock-within))]
		n := c.copy(want, at/cacheBlock, within)
		if n == 0 {
			// One bad sector must not take its 127 neighbours with it: ask again for exactly what is wanted.
			var err error
			if n, err = c.src.ReadAt(want, at); err != nil {
				return done + n, err
			}
		}
		done += n
	}
	return done, nil
}

// ReadExact fills p without reading more than is missing, and keeps nothing: it is for a structure that lies among content,
// where what is around it will be read anyway.
func (c *Cache) ReadExact(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at < 0 || at >= c.src.Size() {
			return done, io.EOF
		}
		want := p[done:min(len(p), done+int(cacheBlock-at%cacheBlock))]
		n := c.kept(want, at)
		if n == 0 {
			var err error
			if n, err = ReadExact(c.src, want, at); err != nil {
				return done + n, err
			}
		}
		done += n
	}
	return done, nil
}

// kept fills p from a block that is there, and returns 0 if it is not.
func (c *Cache) kept(p []byte, at int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.blocks[at/cacheBlock]
	if !ok {
		return 0
	}
	c.recent.MoveToFront(e)
	return copy(p, e.Value.(*block).data[at%cacheBlock:])
}

// ReadExact reads from src past every cache's habit of reading more, through sections of it too.
func ReadExact(src Source, p []byte, off int64) (int, error) {
	if exact, ok := src.(interface {
		ReadExact(p []byte, off int64) (int, error)
	}); ok {
		return exact.ReadExact(p, off)
	}
	return src.ReadAt(p, off)
}

// copy fills p from a block, and returns 0 if the block could not be read. The lock is held while reading, so that two
// callers who want the same block cost one read, and while copying, so that an old block's memory can be used again.
func (c *Cache) copy(p []byte, number, within int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.blocks[number]; ok {
		c.recent.MoveToFront(e)
		return copy(p, e.Value.(*block).data[within:])
	}
	fresh := &block{number: number}
	if c.recent.Len() >= cacheBlocks {
		oldest := c.recent.Remove(c.recent.Back()).(*block)
		delete(c.blocks, oldest.number)
		fresh.data = oldest.data[:cap(oldest.data)]
	} else {
		fresh.data = make([]byte, cacheBlock)
	}
	fresh.data = fresh.data[:min(cacheBlock, c.src.Size()-number*cacheBlock)]
	if n, _ := c.src.ReadAt(fresh.data, number*cacheBlock); n < len(fresh.data) {
		return 0
	}
	c.blocks[number] = c.recent.PushFront(fresh)
	return copy(p, fresh.data[within:])
}
