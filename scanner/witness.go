package scanner

import (
	"container/heap"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"sync"
)

// What is remembered of the first reading, to be held against a second one. Which blocks these are depends on the seed
// alone, so the medium, which sees every read as it always was, cannot tell them from the others.
//
// The number of blocks of content that are read again is where the stated probability comes from: see report.Again. One block
// takes 1.2 ms on a stick of 35 MB/s that needs 1 ms for a request. There is one for each blockShare that was read, which is
// 4 % of the time for that, but no fewer than leastBlocks, 0.3 s, and no more than contentBlocks, 0.6 s. Larger blocks would see
// more of a change that is thinly spread, smaller ones would be no cheaper.
const (
	contentBlock  = 8 << 10
	contentBlocks = 512
	leastBlocks   = 256
	blockShare    = 1 << 20
	// structureBlock is what the cache reads at once. 64 MiB is more than describes the volumes of a usual stick,
	// which is a few megabytes; of more than that, a sample of this size is read again.
	structureBlock  = 64 << 10
	structureBlocks = 1024
	// tableBlocks are the first that are read at all: the partition tables, and the beginning of every partition. They are
	// kept in that order, because what a medium has outside its volumes is read in the same way, and could be made to be much.
	tableBlocks = 256
	// placeBlocks are all that the capacity was tried with at seeded places.
	placeBlock  = 4 << 10
	placeBlocks = 64
	// witnessSector is the unit of comparison: the smallest sector that there is, so that every read is made of some.
	witnessSector = 512
)

// witness remembers digests of the first reading, and compares every later one with it. Its memory is bounded by the
// constants above, below 2 MiB whatever the medium's size. It is safe for concurrent use.
type witness struct {
	mu                                  sync.Mutex
	order                               cipher.Block // keyed by the seed; a block's rank is its number under it
	content, tables, structures, places sample
	frozen                              bool  // nothing new is remembered
	changed                             int64 // the lowest place that showed two things, or noChange

	plain, secret [aes.BlockSize]byte
	hashed        [seedBytes + witnessSector]byte // the seed, and the sector that it is to be hashed with
}

const seedBytes = 32

const noChange = math.MaxInt64

// sample is the blocks of the lowest ranks among all that were read. What was read before or in what order makes no
// difference to it: a block that belongs to it at the end belonged to it from its first reading on.
type sample struct {
	kind  byte // sets the ranks of one sample apart from another's
	block int64
	most  int
	first bool // the blocks that were read first instead
	kept  map[int64]*kept
	heap  byRank
}

// kept is what is remembered of one block: a digest of each sector of it that was read.
type kept struct {
	sample *sample
	number int64
	rank   uint64
	have   []bool
	sums   []uint64
}

func newWitness(seed [32]byte) (*witness, error) {
	key := sha256.Sum256(append([]byte("order\x00"), seed[:]...))
	order, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	w := &witness{order: order, changed: noChange}
	digest := sha256.Sum256(append([]byte("digest\x00"), seed[:]...))
	copy(w.hashed[:], digest[:])
	w.content = sample{block: contentBlock, most: contentBlocks}
	w.tables = sample{block: structureBlock, most: tableBlocks, first: true}
	w.structures = sample{block: structureBlock, most: structureBlocks}
	w.places = sample{block: placeBlock, most: placeBlocks}
	for i, s := range w.samples() {
		s.kind, s.kept = byte(i), map[int64]*kept{}
	}
	return w, nil
}

func (w *witness) samples() []*sample {
	return []*sample{&w.content, &w.tables, &w.structures, &w.places}
}

// note takes what a read gave. Parts of sectors are left out: nothing but the end of a file that is no whole medium has one.
func (w *witness) note(s *sample, p []byte, off int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := off + int64(len(p))
	for start := off - off%s.block; start < end; start += s.block {
		k := w.pick(s, start/s.block)
		if k == nil {
			continue
		}
		at := (max(start, off) + witnessSector - 1) / witnessSector * witnessSector
		for ; at+witnessSector <= min(start+s.block, end); at += witnessSector {
			i, sum := (at-start)/witnessSector, w.sum(p[at-off:][:witnessSector])
			if !k.have[i] {
				k.have[i], k.sums[i] = !w.frozen, sum
			} else if k.sums[i] != sum {
				w.changed = min(w.changed, at)
			}
		}
	}
}

// pick returns the memory of a block, or nil if it is not one of the sample.
func (w *witness) pick(s *sample, number int64) *kept {
	if k, ok := s.kept[number]; ok || w.frozen {
		return k
	}
	rank, full := uint64(len(s.heap)), len(s.heap) >= s.most
	if !s.first {
		rank = w.rank(s.kind, number)
	}
	if full && (s.first || rank > s.heap[0].rank) {
		return nil
	}
	if full {
		delete(s.kept, heap.Pop(&s.heap).(*kept).number)
	}
	sectors := s.block / witnessSector
	k := &kept{sample: s, number: number, rank: rank, have: make([]bool, sectors), sums: make([]uint64, sectors)}
	s.kept[number] = k
	heap.Push(&s.heap, k)
	return k
}

func (w *witness) rank(kind byte, number int64) uint64 {
	w.plain[0] = kind
	binary.LittleEndian.PutUint64(w.plain[8:], uint64(number))
	w.order.Encrypt(w.secret[:], w.plain[:])
	return binary.LittleEndian.Uint64(w.secret[:])
}

// sum is a digest under the seed: who does not know it cannot make two sectors of one digest.
func (w *witness) sum(sector []byte) uint64 {
	copy(w.hashed[seedBytes:], sector)
	sum := sha256.Sum256(w.hashed[:])
	return binary.LittleEndian.Uint64(sum[:])
}

// freeze ends the remembering and returns what there is.
func (w *witness) freeze() (all []*kept) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = true
	for _, s := range w.samples() {
		all = append(all, s.heap...)
	}
	return all
}

// again ends the remembering and returns what is to be read a second time where so many bytes were read: of the content's
// blocks those of the lowest ranks, so that it is a sample like the whole.
func (w *witness) again(read int64) []*kept {
	all := w.freeze()
	var ranks []uint64
	for _, k := range w.content.heap {
		ranks = append(ranks, k.rank)
	}
	slices.Sort(ranks)
	n := int(min(max(read/blockShare, leastBlocks), contentBlocks))
	if n >= len(ranks) {
		return all
	}
	return slices.DeleteFunc(all, func(k *kept) bool { return k.sample == &w.content && k.rank >= ranks[n] })
}

// change is the lowest place that showed other bytes when it was read again.
func (w *witness) change() (at int64, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed, w.changed != noChange
}

// differ notes that a place showed other bytes when it was read again.
func (w *witness) differ(at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = min(w.changed, at)
}

// same compares a sector with the i-th of a block as it was first read, and returns its digest.
func (w *witness) same(k *kept, i int, sector []byte) (sum uint64, same bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum = w.sum(sector)
	return sum, k.sums[i] == sum
}

// says reports whether anything but zeros was read of a block.
func (w *witness) says(k *kept) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	zeros := w.sum(make([]byte, witnessSector))
	for i, have := range k.have {
		if have && k.sums[i] != zeros {
			return true
		}
	}
	return false
}

// span is the part of the medium from the first to the last sector of a block that was read; of no bytes if none was.
func (k *kept) span() (start, bytes int64) {
	first, last := int64(-1), int64(-1)
	for i, have := range k.have {
		if have && first < 0 {
			first = int64(i)
		}
		if have {
			last = int64(i)
		}
	}
	if first < 0 {
		return 0, 0
	}
	return k.number*k.sample.block + first*witnessSector, (last - first + 1) * witnessSector
}

// byRank is a heap with the highest rank first: the next to be forgotten.
type byRank []*kept

func (h byRank) Len() int           { return len(h) }
func (h byRank) Less(i, j int) bool { return h[i].rank > h[j].rank }
func (h byRank) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byRank) Push(x any)        { *h = append(*h, x.(*kept)) }
func (h *byRank) Pop() any {
	old := *h
	k := old[len(old)-1]
	*h = old[:len(old)-1]
	return k
}
