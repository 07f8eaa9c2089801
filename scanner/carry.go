package scanner

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pratique/scanner/carry"
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// carryBytes is how much is read at once: what a stick needs to reach its rate.
const carryBytes = 1 << 20

// carrier is one run of Carry. The walk and the reading are those of a scan; nothing is matched, and nothing is judged.
type carrier struct {
	*scan
	folder string
	emit   func(carry.Message) error
	found  []*load
	files  int   // of all folders found
	bytes  int64 // of them
	left   atomic.Int64
}

// load is the folder in one tree of names of one volume.
type load struct {
	there bool            // the folder itself was seen
	names map[string]bool // in it and below, in small letters
	files []*task         // located and not read
}

// refused ends a walk: the medium is refused for this reason.
type refused carry.Code

func (r refused) Error() string { return "scanner: refused: " + string(r) }

// Carry finds the one folder that job names, at the root of one volume, and sends every file in it to emit, and last of all
// carry.Done. All volumes are walked to their ends, since a folder that lies on two says nothing; whatever could not be read
// refuses the medium. The caller has sent carry.Ready before. emit may be called by two goroutines, but not at once. An error
// means that the last message was not sent.
func Carry(ctx context.Context, src volume.Source, job carry.Job, emit func(carry.Message) error) error {
	if err := job.Check(); err != nil {
		return err
	}
	if job.Size != src.Size() {
		return errors.New("scanner: the medium has another size than the job says")
	}
	scanJob := report.Job{Size: job.Size, SectorSize: job.SectorSize}
	seen, err := newWitness(seedOf(scanJob))
	if err != nil {
		return err
	}
	var one sync.Mutex
	c := &carrier{scan: &scan{job: scanJob, src: &counted{Source: src, witness: seen}}, folder: job.Folder, emit: func(m carry.Message) error {
		one.Lock()
		defer one.Unlock()
		return emit(m)
	}}
	c.gather.src = c.src
	ticking, stop := context.WithCancel(ctx)
	var ticker sync.WaitGroup
	ticker.Go(func() { c.tick(ticking) })
	done := carry.Done{}
	err = c.run(ctx)
	stop()
	ticker.Wait()
	var why refused
	switch {
	case errors.As(err, &why):
		done.Refused = carry.Code(why)
	case err != nil:
		return err
	default:
		done.Files, done.Bytes = c.files, c.bytes
	}
	return c.emit(carry.Message{Done: &done})
}

// run walks the medium, and then reads what it found.
func (c *carrier) run(ctx context.Context) error {
	layout, err := c.layout(ctx)
	if errors.Is(err, errHalted) || err == nil && (c.job.Size <= 0 || len(layout.Volumes) > report.MaxVolumes) {
		return refused(carry.Unchecked)
	}
	if err != nil {
		return err
	}
	for _, r := range layout.Regions {
		if !accounted(r, &layout).Accounted() {
			return refused(carry.Unchecked)
		}
	}
	cache := volume.NewCache(c.src.asStructures())
	for _, v := range layout.Volumes {
		if err := c.volume(ctx, v, cache); err != nil {
			return err
		}
	}
	switch {
	case len(c.found) == 0:
		return refused(carry.None)
	case len(c.found) > 1:
		return refused(carry.Several)
	case c.files == 0:
		return refused(carry.None)
	}
	files := c.found[0].files
	slices.SortFunc(files, func(a, b *task) int { return cmp.Compare(a.item.Path, b.item.Path) })
	c.left.Store(c.bytes)
	buffer := make([]byte, carryBytes)
	for _, t := range files {
		if err := c.send(ctx, t, buffer); err != nil {
			return err
		}
	}
	return nil
}

// volume walks one volume. One that cannot be walked to its end could hold the folder too.
func (c *carrier) volume(ctx context.Context, v volume.Candidate, cache *volume.Cache) error {
	fs, err := open(cache, v)
	var trees []volume.Tree
	if err == nil {
		trees, err = treesOf(ctx, fs)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil, len(trees) > report.MaxVolumes:
		return refused(carry.Unchecked)
	}
	w := c.window(0, v.Start, v.Bytes)
	w.trees = len(trees)
	loads := make([]load, len(trees))
	for i := range loads {
		loads[i].names = map[string]bool{}
	}
	summary, err := walk(ctx, fs, volume.Options{}, func(e volume.Entry) error { return c.see(ctx, w, loads, e) })
	if err != nil {
		return err
	}
	here := false
	for i := range loads {
		if loads[i].there {
			c.found, here = append(c.found, &loads[i]), true
		} else if len(loads[i].files) > 0 { // files in a folder that is not there
			return refused(carry.Unread)
		}
	}
	switch {
	case summary.Outcome == report.Clean:
		return nil
	case here:
		return refused(carry.Unread)
	}
	return refused(carry.Unchecked)
}

// see takes one entry of a volume. What is a stream or lies in no file is no part of a pack: the marks that Windows leaves on
// what came from the internet are streams, and nobody carries them.
func (c *carrier) see(ctx context.Context, w *window, loads []load, e volume.Entry) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	c.walked.Add(1)
	if c.items++; c.items > report.MaxItems {
		return refused(carry.Unchecked)
	}
	top, rest, below := strings.Cut(e.Path, "/")
	if e.Kind != report.File && e.Kind != report.Directory || !strings.EqualFold(top, c.folder) {
		return nil
	}
	if e.Tree < 0 || e.Tree >= len(loads) {
		return refused(carry.Unread)
	}
	l := &loads[e.Tree]
	if top != c.folder { // which some systems would take for it, and others not
		return refused(carry.Misnamed)
	}
	switch {
	case below && carry.CheckName(rest) != nil, l.names[strings.ToLower(rest)]:
		return refused(carry.Misnamed)
	case e.Outcome == report.Malformed, e.Outcome == report.Unreadable:
		return refused(carry.Unread)
	case len(e.Findings) > 0 || e.Opaque: // a link, a device, or what Windows keeps in a form of its own
		return refused(carry.Strange)
	case e.Kind == report.Directory && e.Outcome != report.Clean, e.Kind == report.File && e.Outcome != report.Unscanned:
		return refused(carry.Unread)
	case !below:
		if e.Kind != report.Directory {
			return refused(carry.Strange)
		}
		l.there = true
	case len(l.names) > 2*carry.MaxFiles: // with the folders
		return refused(carry.TooMany)
	}
	l.names[strings.ToLower(rest)] = true
	if e.Kind == report.Directory { // the names of its files say what folders there are
		return nil
	}
	return c.pick(w, l, e, rest)
}

// pick takes one file of the folder, whose name below it is name.
func (c *carrier) pick(w *window, l *load, e volume.Entry, name string) error {
	switch {
	case c.files >= carry.MaxFiles:
		return refused(carry.TooMany)
	case e.Size < 0 || e.Size > carry.MaxFile || e.Size > carry.MaxBytes-c.bytes:
		return refused(carry.TooLarge)
	}
	t := w.task(e)
	if w.extents += len(t.content.extents); w.extents > windowExtents {
		return refused(carry.TooLarge)
	}
	if !t.read || t.item.Outcome != report.Unscanned || t.content.bytes != e.Size {
		return refused(carry.Unread)
	}
	t.item.Path = name
	l.files = append(l.files, t)
	c.files, c.bytes = c.files+1, c.bytes+e.Size
	return nil
}

// send reads one file and sends it. Content that contradicts itself, or that a decoder gives up on, is refused as what the
// medium does not give.
func (c *carrier) send(ctx context.Context, t *task, buffer []byte) error {
	if err := c.emit(carry.Message{File: &carry.File{Name: t.item.Path, Size: t.content.bytes}}); err != nil {
		return err
	}
	t.content.open()
	defer t.content.close()
	for at := int64(0); at < t.content.bytes; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		part := buffer[:min(int64(len(buffer)), t.content.bytes-at)]
		c.gather.read(t.content.pieces(nil, part, at))
		if t.content.failed {
			return refused(carry.Unread)
		}
		if err := carry.Send(c.emit, part); err != nil {
			return err
		}
		at += int64(len(part))
		c.left.Add(-int64(len(part)))
	}
	return nil
}

// tick says that something moves. It is silent when nothing does, so that a medium that does not answer is noticed.
func (c *carrier) tick(ctx context.Context) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	var read, walked int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r, w := c.src.bytes.Load(), c.walked.Load()
			if r == read && w == walked {
				continue
			}
			read, walked = r, w
			if c.emit(carry.Message{Progress: &carry.Progress{Read: r, Total: r + c.left.Load()}}) != nil {
				return // the same error ends the run elsewhere
			}
		}
	}
}
