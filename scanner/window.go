package scanner

import (
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"math"
	"slices"
	"strings"

	"pratique/scanner/container"
	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/structure"
	"pratique/scanner/volume"
)

const (
	// A window is what is sorted by place before it is read: large enough that the order of the medium is kept on a usual
	// stick, small enough for memory (about 40 MiB of entries, 16 MiB of extents, 16 MiB of content that entries hold,
	// 16 MiB of paths and findings: at 32 KiB each, 65,536 paths would be two gigabytes).
	windowEntries = 65_536
	windowExtents = 1 << 20
	windowInline  = 16 << 20
	windowText    = 16 << 20
	// unitText is how much of that one unit has, since orderUnits of them may wait: 32 MiB.
	unitText = 128 << 10
	// maxUnbacked is how much content a medium may have that no byte of it stands behind: holes, zeros behind what is stored,
	// and what grows when it is unpacked. A file of a petabyte costs nothing to make, and for ever to hash. It is the limit
	// on archives too.
	maxUnbacked = 16 << 30
	// batchBytes is how much of small files goes into one request: about a tenth of a second of YARA.
	batchBytes = 8 << 20
	// pieceAlign is where a piece begins in the buffer: on a line of the processor's cache.
	pieceAlign = 64
	// minSlotBytes leaves each half of a buffer room for a block of a stream's grid.
	minSlotBytes = 2 * slot.BlockOverlap
)

// task is one item on its way.
type task struct {
	item    report.Item
	content content
	read    bool  // there is content to read, hash and match; else the item is concluded
	offset  int64 // in the slot's buffer
	scanned bool  // hashed and matched in full
	twin    *task // has the same content and comes right before it in its unit, so that one reading does for both

	hidden   bool // the entry's attribute
	identity structure.Identity
	shape    structure.Result
	packed   bool             // something may be packed in it
	file     *task            // that a member is packed in
	names    []*task          // files with the same content, which is opened once for all of them
	part     bool             // of a document
	opened   container.Result // what became of a member that is a container
	notable  bool             // a member of it was flagged, or could be run
	chain    *chain           // of a stream that was hashed in full
	ends     [2][]byte        // its beginning and its end, until its unit is done
}

// unit is what goes through a slot at once: a batch of small items, or one large one. Its tasks belong to the dispatcher
// until it is handed over, to the lane until done is closed, to the sender after that.
type unit struct {
	tasks   []*task
	halves  [2]bool // of the buffer that it occupies
	stream  bool
	turn    chan struct{} // closed when it is next to be sent
	members chan []*task  // what is packed in its tasks, from then on
	done    chan struct{}
}

// window gathers entries of one volume, or of several with the same files, and dispatches them in the order of their first bytes on the medium.
type window struct {
	scan    *scan
	id      int   // of the volume, or of its first tree
	trees   int   // with the ids that follow
	base    int64 // of the volume on the medium
	bytes   int64 // of the volume
	tasks   []*task
	extents int
	inline  int // bytes
	text    int // bytes
}

func (s *scan) window(id int, base, bytes int64) *window {
	return &window{scan: s, id: id, trees: 1, base: base, bytes: bytes}
}

// enter says that the entries that follow are those of a volume, whose trees are numbered from id. What was gathered before
// stays: places are those on the medium.
func (w *window) enter(id, trees int, c volume.Candidate) {
	w.id, w.trees, w.base, w.bytes = id, trees, c.Start, c.Bytes
}

// add takes one entry.
func (w *window) add(ctx context.Context, e volume.Entry) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if w.scan.reason() != "" {
		return errHalted
	}
	if w.scan.items++; w.scan.items > report.MaxItems {
		return w.scan.halt("There are more than %d items on the medium.", report.MaxItems)
	}
	w.scan.walked.Add(1)
	t := w.task(e)
	w.tasks = append(w.tasks, t)
	w.extents += len(t.content.extents)
	w.inline += len(t.content.inline)
	w.text += t.text()
	if len(w.tasks) >= windowEntries || w.extents >= windowExtents || w.inline >= windowInline || w.text >= windowText {
		return w.flush(ctx)
	}
	return nil
}

// text is what the words of a task take in memory. A finding's own are constants.
func (t *task) text() int {
	const finding = 96
	return len(t.item.Path) + finding*len(t.item.Findings)
}

// task turns an entry into a task. An entry that cannot be read is concluded here, and never as clean.
func (w *window) task(e volume.Entry) *task {
	t := &task{item: report.Item{Volume: w.id + e.Tree, Path: e.Path, Kind: e.Kind, Size: e.Size, Outcome: e.Outcome, Findings: e.Findings},
		hidden: e.Hidden}
	if e.Tree < 0 || e.Tree >= w.trees { // a reader's mistake must not become another volume's item
		t.item.Volume, e.Outcome = w.id, report.Malformed
		t.item.Outcome = e.Outcome
	}
	switch e.Kind {
	case report.Directory:
		// A directory has no content of its own here: what it lists are items. Its hash is that of nothing, since an item
		// that was seen in full has one.
		t.item.Size, t.item.SHA256 = 0, sha256.Sum256(nil)
		if seen := e.Outcome == report.Clean || e.Outcome == report.Flagged; seen {
			t.item.Outcome = report.Unscanned
			t.scanned = true
		}
	case report.File, report.Stream, report.Area:
		if e.Outcome.Seen() { // nobody has read content yet
			t.item.Outcome = report.Unscanned
		}
		w.locate(t, e)
	default:
		t.item.Kind, t.item.Outcome = report.File, report.Malformed
	}
	if !t.read {
		conclude(&t.item, t.scanned)
	}
	return t
}

// locate finds where the bytes of an entry lie, and refuses what lies outside its volume.
func (w *window) locate(t *task, e volume.Entry) {
	refuse := func(o report.Outcome) {
		if t.item.Outcome == report.Unscanned {
			t.item.Outcome = o
		}
	}
	if e.Size < 0 {
		refuse(report.Malformed)
		return
	}
	if e.Opaque {
		return // nobody can read it, so it stays unscanned, or what the reader called it
	}
	if e.Inline != nil && (len(e.Extents) > 0 || e.Decode != nil) {
		refuse(report.Malformed) // two contents
		return
	}
	want := min(max(e.Valid, 0), e.Size) // bytes that are stored; the rest is zeros
	have := min(int64(len(e.Inline)), want)
	t.content.inline = e.Inline[:have]
	extents := make([]volume.Extent, 0, len(e.Extents))
	for _, x := range e.Extents {
		switch {
		case x.Bytes < 0 || x.Bytes > math.MaxInt64-have:
			refuse(report.Malformed)
			return
		case x.Start >= 0 && (x.Start > w.bytes || x.Bytes > w.bytes-x.Start):
			refuse(report.Unreadable)
			return
		}
		x.Bytes = min(x.Bytes, want-have)
		if x.Bytes == 0 {
			continue
		}
		if x.Start >= 0 {
			x.Start += w.base
		}
		have += x.Bytes
		// Two file systems may cut the same run of blocks in different ways: a piece of UDF is shorter than a gigabyte.
		if last := len(extents) - 1; last >= 0 && x.Start >= 0 && extents[last].Start >= 0 && extents[last].Start+extents[last].Bytes == x.Start {
			extents[last].Bytes += x.Bytes
			continue
		}
		extents = append(extents, x)
	}
	size := e.Size
	if have < want {
		refuse(report.Malformed)
		size = have
	} else if t.item.Outcome != report.Unscanned {
		size = have // what could be located is matched for its findings; the outcome stays
	}
	// Only holes make content larger than what holds it. Petabytes of zeros are a way to keep a station busy for ever.
	if size > w.scan.job.Size {
		refuse(report.TooLarge)
		return
	}
	if size == 0 && t.item.Outcome != report.Unscanned {
		return
	}
	if !w.scan.unbacked(size - stored(t.content.inline, extents)) {
		refuse(report.TooLarge)
		return
	}
	t.content.extents, t.content.bytes = extents, size
	if e.Decode != nil {
		if t.item.Outcome != report.Unscanned {
			return // a part of what is packed is not a part of the content
		}
		t.content.decode = func() io.ReaderAt { return e.Decode(volume.Section(w.scan.src, w.base, w.bytes)) }
	}
	t.read = true
}

// stored is how many bytes of an item the medium holds.
func stored(inline []byte, extents []volume.Extent) int64 {
	n := int64(len(inline))
	for _, x := range extents {
		if x.Start >= 0 {
			n += x.Bytes
		}
	}
	return n
}

// unbacked counts content that the medium does not hold, and reports whether it may be scanned all the same.
func (s *scan) unbacked(n int64) bool {
	if n <= 0 {
		return true
	}
	if n > maxUnbacked-s.zeros {
		return false
	}
	s.zeros += n
	return true
}

// first is where a task's content begins on the medium; what has none comes before everything.
func (t *task) first() int64 {
	if len(t.content.extents) == 0 {
		return -1
	}
	return t.content.extents[0].Start
}

// flush dispatches what was gathered. The order depends on nothing but the medium.
func (w *window) flush(ctx context.Context) error {
	tasks := w.tasks
	w.tasks, w.extents, w.inline, w.text = nil, 0, 0, 0
	slices.SortStableFunc(tasks, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.first(), b.first()), cmp.Compare(a.content.bytes, b.content.bytes)) // what is the same side by side
	})
	for len(tasks) > 0 {
		if w.scan.reason() != "" {
			return errHalted
		}
		n := w.scan.cut(tasks)
		if err := w.scan.dispatch(ctx, slices.Clone(tasks[:n])); err != nil {
			return err
		}
		clear(tasks[:n]) // sent items need not wait for the rest of the window to be freed
		tasks = tasks[n:]
	}
	return nil
}

// cut returns how many of the first tasks make one unit, and where each lies in its part of the buffer.
func (s *scan) cut(tasks []*task) int {
	limit := min(batchBytes, s.job.SlotBytes/2)
	var end int64
	n, text := 0, 0
	for ; n < len(tasks) && n < slot.MaxPieces; n++ {
		t := tasks[n]
		if text += t.text(); n > 0 && text > unitText {
			break
		}
		if n > 0 && tasks[n-1].shares(t) {
			t.twin, t.offset = tasks[n-1], tasks[n-1].offset
			continue
		}
		t.twin, t.offset = nil, end
		end += (t.content.bytes + pieceAlign - 1) / pieceAlign * pieceAlign
		if n > 0 && (end > limit || t.content.bytes > limit) {
			break
		}
		if t.content.bytes > limit {
			return 1 + s.twins(tasks)
		}
	}
	// What shares content stays together, unless there are more of it than go into a unit.
	whole := n
	for whole > 0 && whole < len(tasks) && tasks[whole-1].shares(tasks[whole]) {
		whole--
	}
	if whole > 0 && whole < n {
		return whole
	}
	return n
}

// twins is how many tasks share the content of the first, which has a unit of its own.
func (s *scan) twins(tasks []*task) int {
	n := 1
	for n < len(tasks) && n < slot.MaxPieces && tasks[0].shares(tasks[n]) {
		tasks[n].twin, tasks[n].offset = tasks[n-1], tasks[n-1].offset
		n++
	}
	return n - 1
}

// shares reports whether another task has the same content in the same place: a file under another name.
func (t *task) shares(o *task) bool {
	return t.read && o.read && t.content.decode == nil && o.content.decode == nil && len(t.content.extents) > 0 &&
		len(t.content.inline)+len(o.content.inline) == 0 && t.content.bytes == o.content.bytes && slices.Equal(t.content.extents, o.content.extents)
}

// dispatch reads a unit into a slot's buffer and hands it over.
func (s *scan) dispatch(ctx context.Context, tasks []*task) error {
	u := &unit{tasks: tasks, turn: make(chan struct{}), members: make(chan []*task), done: make(chan struct{})}
	if !slices.ContainsFunc(tasks, func(t *task) bool { return t.read }) {
		close(u.done)
		return s.put(ctx, outgoing{unit: u})
	}
	largest := tasks[0].content.bytes // a unit with more than one is small
	u.stream = largest > s.job.SlotBytes
	l, err := s.pool.take(ctx, u, largest > s.job.SlotBytes/2)
	if err != nil {
		return err
	}
	var pieces []piece
	for _, t := range tasks {
		if !t.read {
			continue
		}
		t.content.open()
		if u.halves[1] && !u.halves[0] {
			t.offset += s.job.SlotBytes / 2
		}
		if !u.stream && t.twin == nil {
			pieces = t.content.pieces(pieces, l.slot.buffer[t.offset:t.offset+t.content.bytes], 0)
			t.content.close()
		}
	}
	s.gather.read(pieces)
	for _, t := range tasks {
		if t.twin != nil && t.twin.content.failed {
			t.content.fail(t.twin.content.why)
		}
	}
	if err := s.put(ctx, outgoing{unit: u}); err != nil {
		return err
	}
	l.work <- u // never blocks: there is room for a unit in each half
	return nil
}

// name is what rules may know of a path: its last component, cut to slot.MaxName.
func (t *task) name() []byte {
	name := t.path()
	name = name[strings.LastIndexByte(name, '/')+1:]
	return []byte(name[:min(len(name), slot.MaxName)])
}
