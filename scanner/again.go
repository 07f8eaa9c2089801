package scanner

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	mathrand "math/rand/v2"
	"slices"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

const (
	// maxAgain bounds what is remembered of items that are to be read again, in items and the pieces that they lie in: some
	// 40 MiB. A medium with more programs than this is one that a kiosk does not get; it is not cleared on half of them.
	maxAgain  = 1 << 18
	maxPieces = 1 << 20
	// partBytes is what is read of an item at once: whole cells, and enough that a stick keeps its rate.
	partBytes = 4 * cellBytes
	// againFlight is how many blocks are asked for before the first of them is compared, so that a stick does not wait for the
	// next question.
	againFlight = 4
)

// Forgetter is a Source behind a memory of its own, such as the kernel's, that can be made to ask the medium again for a
// range. It is called before each read of the second reading, some of which are made side by side.
type Forgetter interface {
	Forget(off, n int64) error
}

// again is what is to be read a second time in full: items that were flagged, and what a computer could run.
type again struct {
	items  []item
	pieces int
}

// item is where the content of one item lies, and what it was.
type item struct {
	extents []volume.Extent
	decode  func() io.ReaderAt
	bytes   int64
	sum     [32]byte // of all of it
	chain   *chain   // of one that is larger than a buffer
}

func (it *item) content() content {
	return content{extents: it.extents, decode: it.decode, bytes: it.bytes}
}

// changes is the finding about a medium that lies.
func changes(at int64) report.Finding {
	return report.Finding{Check: report.CheckMedium, Rule: "medium-changes", Severity: report.Block, Offset: at,
		Text: "The medium changes what it shows: the same place held other bytes when it was read again."}
}

// seedOf is the job's seed, or a fresh one.
func seedOf(job report.Job) (seed [32]byte) {
	if job.Seed != seed {
		return job.Seed
	}
	_, _ = rand.Read(seed[:]) // never fails: without random numbers the program ends
	return seed
}

// remember notes an item whose content was read, hashed and judged, if it is one to read again. What a volume keeps among
// its structures is read again with them.
func (s *scan) remember(t *task) {
	hashed := t.item.SHA256 != [32]byte{} || t.chain != nil
	if !hashed || len(t.item.Findings) == 0 && !t.identity.Runs() && !t.notable ||
		!slices.ContainsFunc(t.content.extents, func(x volume.Extent) bool { return x.Start >= 0 }) {
		return
	}
	pieces := len(t.content.extents)
	if t.chain != nil {
		pieces += len(t.chain.links)
	}
	s.mu.Lock()
	full := len(s.again.items) >= maxAgain || s.again.pieces+pieces > maxPieces
	if !full {
		s.again.pieces += pieces
		s.again.items = append(s.again.items, item{t.content.extents, t.content.decode, t.content.bytes, t.item.SHA256, t.chain})
	}
	s.mu.Unlock()
	if full {
		_ = s.halt("There are more programs and findings on the medium than can be read a second time.")
	}
}

// secondReading reads again what the first reading left remembered, in another order, and says what it sees. Nothing that
// it reads is matched or hashed for the report: it is compared, and that is all. An error is the sender's or the context's.
func (s *scan) secondReading(ctx context.Context, done *report.Done) error {
	before := s.src.bytes.Load()
	w := s.src.witness
	if s.reason() == "" {
		found, err := s.readAgain(ctx, &done.Again)
		if err != nil {
			return err
		}
		done.Again.Bytes = s.src.bytes.Load() - before
		for _, f := range found {
			if err := s.out.Send(report.Message{Finding: &report.VolumeFinding{Volume: -1, Finding: f}}); err != nil {
				return err
			}
		}
	}
	if at, changed := w.change(); changed {
		return s.out.Send(report.Message{Finding: &report.VolumeFinding{Volume: -1, Finding: changes(at)}})
	}
	return nil
}

// readAgain tries the capacity, and then everything that is remembered, until something differs. It returns what was found
// about the capacity; differences are the witness's.
func (s *scan) readAgain(ctx context.Context, told *report.Again) ([]report.Finding, error) {
	if f, ok := s.src.Source.(Forgetter); ok {
		s.src.forget = f.Forget
	}
	first := s.src.bytes.Load()
	rng := mathrand.New(mathrand.NewChaCha8(sha256.Sum256(append([]byte("again\x00"), s.job.Seed[:]...))))
	found, err := s.capacity(ctx, rng)
	if err != nil {
		return nil, err
	}
	w := s.src.witness
	blocks, items := w.again(first), s.again.items
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.extents[0].Start, b.extents[0].Start) })
	for _, k := range blocks {
		_, n := k.span()
		s.total.Add(n)
	}
	for i := range items {
		s.total.Add(items[i].bytes)
	}
	order := rng.Perm(len(blocks) + len(items))
	reads := s.newReads()
	defer reads.wait()
	asked := 0
	for n, i := range order {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if _, changed := w.change(); changed {
			return found, nil
		}
		// Compared is in this order, whichever comes first, so that every run of a medium that lies says the same.
		for asked = max(asked, n); asked < min(n+againFlight, len(order)) && order[asked] < len(blocks); asked++ {
			reads.ask(blocks[order[asked]])
		}
		ok := true
		switch {
		case i >= len(blocks):
			ok = s.itemAgain(ctx, &items[i-len(blocks)], rng)
			told.Items++
		default:
			ok = s.blockAgain(reads.next())
			if blocks[i].sample == &w.content {
				told.Blocks++
			}
		}
		if !ok {
			_ = s.halt("A place on the medium could not be read a second time.")
			return found, nil
		}
	}
	return found, nil
}

// reads are blocks that are being read a second time, in the order in which they were asked for.
type reads struct {
	src     *counted
	buffers chan []byte
	queue   []*blockRead
}

// blockRead is one of them. bytes are what came, once done is closed.
type blockRead struct {
	block *kept
	bytes []byte
	done  chan struct{}
}

func (s *scan) newReads() *reads {
	r := &reads{src: s.src, buffers: make(chan []byte, againFlight)}
	for range againFlight {
		r.buffers <- make([]byte, structureBlock)
	}
	return r
}

// ask has a block read. No more than againFlight are.
func (r *reads) ask(k *kept) {
	b := &blockRead{block: k, done: make(chan struct{})}
	r.queue = append(r.queue, b)
	start, n := k.span()
	b.bytes = (<-r.buffers)[:n]
	go func() {
		defer close(b.done)
		got, _ := r.src.read(b.bytes, start)
		b.bytes = b.bytes[:got]
	}()
}

// next returns the block that was asked for first. Its bytes are good until the next call of ask.
func (r *reads) next() *blockRead {
	b := r.queue[0]
	r.queue = r.queue[1:]
	<-b.done
	r.buffers <- b.bytes[:cap(b.bytes)]
	return b
}

// wait returns when nothing is being read any more.
func (r *reads) wait() {
	for len(r.queue) > 0 {
		r.next()
	}
}

// blockAgain has the witness compare what was read of a block. Where a bad sector lies between, each sector is asked for by
// itself, as it may have been the first time.
func (s *scan) blockAgain(b *blockRead) bool {
	k := b.block
	start, n := k.span()
	s.src.witness.note(k.sample, b.bytes, start)
	if int64(len(b.bytes)) == n {
		return true
	}
	v := view{s.src, k.sample, int(k.sample.block)}
	buf := s.pool.lanes[0].slot.buffer // no unit is left that could be in it
	base := k.number * k.sample.block
	for i, have := range k.have {
		if !have {
			continue
		}
		if got, _ := v.ReadAt(buf[:witnessSector], base+int64(i)*witnessSector); got < witnessSector {
			return false
		}
	}
	return true
}

// itemAgain reads an item in parts and in no order, so that a medium that minds the order of reading sees another one.
func (s *scan) itemAgain(ctx context.Context, it *item, rng *mathrand.Rand) bool {
	c := it.content()
	c.open()
	buffer := s.pool.lanes[0].slot.buffer // no unit is left that could be in it
	parts := int((it.bytes + partBytes - 1) / partBytes)
	order := rng.Perm(parts)
	if it.decode != nil { // decoders go forward; what they read is compared where it lies, too
		slices.Sort(order)
	}
	same := true
	for _, i := range order {
		if ctx.Err() != nil {
			return true // the caller looks, too
		}
		at := int64(i) * partBytes
		n := min(partBytes, it.bytes-at)
		part := buffer[:n]
		if it.chain == nil {
			part = buffer[at:][:n]
		}
		s.gather.read(c.pieces(nil, part, at))
		if c.failed {
			break
		}
		for cell := range slices.Chunk(part, cellBytes) {
			same = same && (it.chain == nil || it.chain.holds(at/cellBytes, cell))
			at += cellBytes
		}
	}
	switch {
	case c.failed && c.why == report.Unreadable:
		return false
	case c.failed, !same, it.chain == nil && sha256.Sum256(buffer[:it.bytes]) != it.sum:
		at := slices.IndexFunc(it.extents, func(x volume.Extent) bool { return x.Start >= 0 })
		s.src.witness.differ(it.extents[at].Start)
	}
	return true
}
