// Package scanner reads one medium from its first byte to its last and says what it saw: how the medium is divided, what
// every file, stream, directory and gap is, and what became of each. It is one straight line: the layout, then each volume,
// then each item; one reader, in the order of the medium, fills the slots' buffers; each buffer is hashed here while a
// yaraworker matches the same bytes; and the results leave in the order in which they were read, so that the same medium
// gives the same messages however many slots there are and whichever is faster.
//
// It trusts its own memory, the job, the blocklists, and that whoever reads its messages counts them too. It does not trust
// the medium, which may be crafted, may fail, and may show other bytes when it is read again: what it says of an item is
// taken from one read, and what was hashed is what was matched. It does not trust the yaraworkers either: one that dies,
// hangs or talks nonsense is replaced, and costs the item that it was at.
//
// When everything was read, a part is read again, in an order that a secret seed gives, and compared with digests of the
// first reading; nothing else is done with it. That part is: all flagged content and all that a computer could run; the
// partition tables and what describes the volumes, up to 16 and 64 MiB, and a sample of so much of more; and 256 to 512
// blocks of 8 KiB, by how much there was to read, chosen at random among all of it. A medium that shows something else in a
// share p of its blocks is found out with a probability of 1-(1-p)^n: 99.4 % for n = 512 and one in a hundred, 40 % for one in
// a thousand; report.Again says it of each scan. On a stick of 35 MB/s that needs 1 ms for a request this takes under 3 % of
// the time for a gigabyte, and half a second for little, programs and what is flagged apart. Nothing that
// was read first depends on the seed, so the medium cannot know which of its answers are remembered. One that lies only
// after the scan is not found here: who uses it checks the clearance. Before that second reading the capacity is tried;
// in it, what the kernel keeps of the medium is given up before each read (see Forgetter).
//
// It decides nothing. Every error on the way becomes an outcome other than clean, or a region or volume that bars a
// clearance, or a sentence in the last message. An error of Scan itself means that the last message was not sent.
//
// Limits: windowEntries, windowExtents, windowInline, windowText, batchBytes, maxUnbacked, maxDeaths, maxAgain and those of
// the witness here, those of packages report, slot and volume there. Content is matched whole up to the size of a slot's
// buffer, and in overlapping blocks above; programs above that size are too large, because the part of YARA that understands
// them would see their first block only. What is packed is opened by package container, under its limits. A deep scan reads and hashes unallocated space to its last
// byte, holes of an image too, and so takes as long as the medium is large.
package scanner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pratique/rules/blocklist"
	"pratique/scanner/container"
	"pratique/scanner/report"
	"pratique/scanner/structure"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
)

const (
	// progressSoon is when people see that the first block was read; progressEvery how often the number moves after that;
	// progressIdle how often they and the supervisor hear that YARA is at work, or that a reader finds entries, while nothing
	// is read and no item is done.
	progressSoon  = 10 * time.Millisecond
	progressEvery = 100 * time.Millisecond
	progressIdle  = time.Second
	// maxDeaths is how many yaraworkers may die in one session. Each costs a start and an item; a medium that kills so
	// many was made to.
	maxDeaths = 50
	// orderUnits is how many units may wait for a slow one before them: their items' findings are in memory.
	orderUnits = 256
	// shapeFindings are left free for what is odd about volumes as a whole: every word for some sixteen of them.
	shapeFindings = 16 * structure.VolumeRules
	// lieFindings are left free for what the second reading says.
	lieFindings = 4
)

// scan is one run. What its goroutines share is safe for that by itself or guarded by mu.
type scan struct {
	job    report.Job
	src    *counted
	lists  lists
	out    *Sender
	pool   *pool
	opener *container.Opener
	order  chan outgoing // what is to be sent, in the order of dispatch

	gather   gatherer // the dispatcher's
	sector   int      // the layout's
	items    uint64   // dispatched
	volumes  int      // announced
	zeros    int64    // bytes of content that no byte of the medium stands behind
	findings int      // about volumes
	total    atomic.Int64
	active   atomic.Int64 // units that a yaraworker is at work on
	walked   atomic.Int64 // entries that readers found, whether or not they were dispatched yet
	deaths   atomic.Int64

	mu     sync.Mutex
	halted string
	again  again
}

// outgoing is one step of the output: a message, a unit whose items are sent once it is done, or the end of a volume's
// items, after which they are judged together.
type outgoing struct {
	message report.Message
	unit    *unit
	end     *volumeEnd
}

// volumeEnd says that the items of some volumes were all dispatched: those of the trees of one file system.
type volumeEnd struct {
	first int // id
	trees []volume.Tree
}

// errHalted ends the walk after halt; the reason is in scan.halted.
var errHalted = errors.New("scanner: halted")

// Scan scans the medium src as job says and sends what it sees to out, last of all report.Done. The caller has sent
// report.Ready before, and calls Restarted on the slots as the supervisor says; Scan waits for the first of each slot's.
// The slots cannot be used for another scan. An error means that the last message was not sent: ctx ended, the pipe broke,
// or the job cannot be done by this process.
func Scan(ctx context.Context, src volume.Source, job report.Job, slots []*Slot, all []*blocklist.List, out *Sender) error {
	if err := check(src, job, slots, all); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	job.Seed = seedOf(job)
	seen, err := newWitness(job.Seed)
	if err != nil {
		return err
	}
	s := &scan{job: job, src: &counted{Source: src, witness: seen}, lists: newLists(all), out: out, order: make(chan outgoing, orderUnits)}
	s.gather.src = s.src
	s.pool = newPool(ctx, slots)
	s.opener = container.New(job.SlotBytes / 2)
	stopSlots := context.AfterFunc(ctx, func() {
		for _, sl := range slots {
			sl.close()
		}
	})
	defer stopSlots()

	var workers, senders sync.WaitGroup
	for _, l := range s.pool.lanes {
		l.slot.send = out.Send
		workers.Go(func() {
			if err := s.runLane(ctx, l); err != nil {
				cancel(err)
			}
		})
	}
	senders.Go(func() {
		if err := s.sendInOrder(ctx); err != nil {
			cancel(err)
		}
	})
	progress, stopProgress := context.WithCancel(ctx)
	var ticking sync.WaitGroup
	ticking.Go(func() { s.progress(progress) })

	err = s.medium(ctx)
	if err != nil && !errors.Is(err, errHalted) {
		cancel(err)
	}
	s.pool.close()
	workers.Wait()
	close(s.order)
	senders.Wait()
	done := report.Done{BytesRead: s.src.bytes.Load(), Sector: s.sector}
	if ctx.Err() == nil {
		if err := s.secondReading(ctx, &done); err != nil {
			cancel(err)
		}
	}
	stopProgress()
	ticking.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done.Halted = s.reason()
	return out.finish(done)
}

// check refuses a job that does not fit the process that is to do it: a supervisor's mistake.
func check(src volume.Source, job report.Job, slots []*Slot, all []*blocklist.List) error {
	switch {
	case len(slots) == 0 || job.Slots != len(slots):
		return fmt.Errorf("scanner: a job for %d slots, where there are %d", job.Slots, len(slots))
	case job.Lists != len(all):
		return fmt.Errorf("scanner: a job with %d blocklists, where there are %d", job.Lists, len(all))
	case job.Size != src.Size():
		return fmt.Errorf("scanner: a job for %d bytes on a medium of %d", job.Size, src.Size())
	case job.FileTimeout <= 0:
		return errors.New("scanner: a job that leaves no time for a file")
	}
	for _, sl := range slots {
		if job.SlotBytes != int64(len(sl.buffer)) || job.SlotBytes < minSlotBytes {
			return fmt.Errorf("scanner: a slot's buffer of %d bytes, where the job says %d", len(sl.buffer), job.SlotBytes)
		}
	}
	return nil
}

// halt ends the scan with a sentence for the last message. The first one stays.
func (s *scan) halt(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.halted == "" {
		s.halted = fmt.Sprintf(format, args...)
	}
	return errHalted
}

func (s *scan) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halted
}

// medium walks the whole medium: step 4a and 4b of the design.
func (s *scan) medium(ctx context.Context) error {
	if s.job.Size <= 0 {
		return s.halt("The medium is empty.")
	}
	cache := volume.NewCache(s.src.asStructures())
	layout, err := s.layout(ctx)
	if err != nil {
		return err
	}
	s.sector = layout.SectorSize
	if len(layout.Volumes) > report.MaxVolumes || len(layout.Regions) > report.MaxRegions {
		return s.halt("The medium is divided into more parts than can be checked.")
	}
	for i := range layout.Regions {
		r := layout.Regions[i]
		r.Class = accounted(r, &layout)
		if err := s.say(ctx, report.Message{Region: &r}); err != nil {
			return err
		}
	}
	if err := s.found(ctx, -1, layout.Found); err != nil {
		return err
	}
	areas := s.window(-1, 0, s.job.Size)
	for _, e := range layout.Areas {
		for _, x := range e.Extents {
			s.total.Add(x.Bytes)
		}
		if err := areas.add(ctx, e); err != nil {
			return err
		}
	}
	if err := areas.flush(ctx); err != nil {
		return err
	}
	for rest := layout.Volumes; len(rest) > 0; {
		n := bridged(rest)
		if err := s.volumesOf(ctx, rest[:n], cache); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// bridged is how many of the first volumes lead to the same files: a disc may name them by ISO 9660 and by UDF, as most DVDs
// do (a bridge disc; the volume recognition sequence of ECMA-167 2/8 has room for the descriptors of both).
func bridged(volumes []volume.Candidate) int {
	disc := func(c volume.Candidate) bool { return c.FileSystem == "iso9660" || c.FileSystem == "udf" }
	if len(volumes) > 1 && disc(volumes[0]) && disc(volumes[1]) && volumes[0].Start == volumes[1].Start {
		return 2
	}
	return 1
}

// layout maps the medium. A panic ends the scan in words: nothing can be read without a layout.
func (s *scan) layout(ctx context.Context) (layout volume.Layout, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.halt("The partition tables are built in a way that this kiosk was not built for.")
		}
	}()
	return volume.Map(ctx, s.src.asTables())
}

// accounted returns the class of a region, less sure where nothing backs it: data must lie in an area that is scanned, and
// a volume's region in volumes that are read or refused. The layout says so by itself; this is the second pair of eyes.
func accounted(r report.Region, layout *volume.Layout) report.RegionClass {
	var ranges []volume.Extent
	switch r.Class {
	case report.RegionData:
		for _, a := range layout.Areas {
			ranges = append(ranges, a.Extents...)
		}
	case report.RegionVolume:
		for _, c := range layout.Volumes {
			ranges = append(ranges, volume.Extent{Start: c.Start, Bytes: c.Bytes})
		}
	default:
		return r.Class
	}
	slices.SortFunc(ranges, func(a, b volume.Extent) int { return cmp.Compare(a.Start, b.Start) })
	at := r.Start
	for _, x := range ranges {
		if x.Start <= at && at < x.Start+x.Bytes {
			at = x.Start + x.Bytes
		}
	}
	if at < r.Start+r.Bytes {
		return report.NotUnderstood
	}
	return r.Class
}

// volumesOf reads volumes whose files may be the same. Their entries share a window, and so content that both name is read
// once; behind more than a window of entries it is read for each of them.
func (s *scan) volumesOf(ctx context.Context, candidates []volume.Candidate, cache *volume.Cache) error {
	w := s.window(0, 0, 0)
	var walked []*walkedVolume
	var expected int64
	for _, c := range candidates {
		v, err := s.walkVolume(ctx, c, cache, w, &expected)
		if err != nil {
			return err
		}
		if v != nil {
			walked = append(walked, v)
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	for _, v := range walked {
		if err := s.settle(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// walkedVolume is a volume whose entries are in a window.
type walkedVolume struct {
	report.Volume
	trees   []volume.Tree
	summary volume.Summary
}

// walkVolume has one volume's entries gathered, or says why not, and then returns nil. Each tree of its names is a volume in
// the report: a device shows one of them, and what it shows must be what was cleared. expected is how much there is to read in
// the volumes that were walked before, which hold the same.
func (s *scan) walkVolume(ctx context.Context, c volume.Candidate, cache *volume.Cache, w *window, expected *int64) (*walkedVolume, error) {
	v := &walkedVolume{Volume: report.Volume{ID: s.volumes, Start: c.Start, Bytes: c.Bytes, FileSystem: c.FileSystem}}
	fs, err := open(cache, c)
	if err == nil {
		v.trees, err = treesOf(ctx, fs)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if s.volumes += max(len(v.trees), 1); s.volumes > report.MaxVolumes {
		return nil, s.halt("The medium is divided into more parts than can be checked.")
	}
	if err != nil {
		v.Reason, v.Outcome = readers.OutcomeOf(c, err)
		return nil, s.say(ctx, report.Message{Volume: &v.Volume})
	}
	used := max(fs.Used(), *expected)
	s.total.Add(used - *expected)
	*expected = used
	for i := range v.trees {
		announced := v.Volume
		announced.ID += i
		if err := s.say(ctx, report.Message{Volume: &announced}); err != nil {
			return nil, err
		}
	}
	w.enter(v.ID, len(v.trees), c)
	v.summary, err = walk(ctx, fs, volume.Options{Deep: s.job.Deep}, func(e volume.Entry) error { return w.add(ctx, e) })
	return v, err
}

// settle ends a volume whose entries were dispatched.
func (s *scan) settle(ctx context.Context, v *walkedVolume) error {
	if err := s.found(ctx, v.ID, v.summary.Findings); err != nil {
		return err
	}
	if len(v.trees) == 1 {
		v.trees[0].Label = v.summary.Label
	}
	if err := s.put(ctx, outgoing{end: &volumeEnd{v.ID, v.trees}}); err != nil {
		return err
	}
	v.Outcome, v.Reason = v.summary.Outcome, v.summary.Reason
	switch {
	case v.Outcome == report.Clean:
		v.Reason = ""
	case v.Outcome == report.Flagged: // no outcome of a volume: its findings stand by themselves
		v.Outcome, v.Reason = report.Unscanned, "The volume was not read in full."
	}
	for i, t := range v.trees {
		settled := v.Volume
		settled.ID += i
		if t.What != "" {
			if err := s.found(ctx, settled.ID, []report.Finding{nameTree(t.What)}); err != nil {
				return err
			}
		}
		if err := s.say(ctx, report.Message{Volume: &settled}); err != nil {
			return err
		}
	}
	return nil
}

// nameTree says which of several trees a volume of the report is.
func nameTree(what string) report.Finding {
	return report.Finding{Check: report.CheckVolume, Rule: "name-tree", Severity: report.Inform, Offset: -1,
		Text: "The disc names its files in more than one way; this volume has the names of " + what + "."}
}

// open, treesOf and walk end a panic in a reader where it belongs: that volume is malformed, the others are read.
func open(src volume.Source, c volume.Candidate) (fs volume.FileSystem, err error) {
	defer func() {
		if r := recover(); r != nil {
			fs, err = nil, fmt.Errorf("%w: the reader met what it was not built for", volume.ErrMalformed)
		}
	}()
	return readers.Open(src, c)
}

func treesOf(ctx context.Context, fs volume.FileSystem) (trees []volume.Tree, err error) {
	defer func() {
		if r := recover(); r != nil {
			trees, err = nil, fmt.Errorf("%w: the reader met what it was not built for", volume.ErrMalformed)
		}
	}()
	trees, err = volume.Trees(ctx, fs)
	if err == nil && len(trees) == 0 {
		err = fmt.Errorf("%w: it has no tree of names", volume.ErrMalformed)
	}
	return trees, err
}

func walk(ctx context.Context, fs volume.FileSystem, opts volume.Options, emit func(volume.Entry) error) (sum volume.Summary, err error) {
	emitting := false
	defer func() {
		if emitting { // not the reader's
			return
		}
		if r := recover(); r != nil {
			sum, err = volume.Summary{Outcome: report.Malformed, Reason: "The reader met what it was not built for."}, nil
		}
	}()
	return fs.Walk(ctx, opts, func(e volume.Entry) error {
		emitting = true
		err := emit(e)
		emitting = false
		return err
	})
}

// found sends findings about a volume or the medium, the worst first. A medium that has more than a report takes is not
// read on: what is left out could be what matters.
func (s *scan) found(ctx context.Context, id int, findings []report.Finding) error {
	findings = slices.Clone(findings)
	slices.SortStableFunc(findings, func(a, b report.Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	for _, f := range findings {
		s.findings++
		if s.findings > report.MaxFindings-shapeFindings-lieFindings {
			return s.halt("There are more than %d findings about volumes.", report.MaxFindings-shapeFindings-lieFindings)
		}
		if err := s.say(ctx, report.Message{Finding: &report.VolumeFinding{Volume: id, Finding: f}}); err != nil {
			return err
		}
	}
	return nil
}

// say puts a message into the output, behind what was dispatched before it.
func (s *scan) say(ctx context.Context, m report.Message) error {
	return s.put(ctx, outgoing{message: m})
}

func (s *scan) put(ctx context.Context, o outgoing) error {
	select {
	case s.order <- o:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sendInOrder sends everything in the order of dispatch, whatever is done first.
func (s *scan) sendInOrder(ctx context.Context) error {
	trees := map[int]*structure.Tree{} // of the volumes whose items pass
	shapes := 0
	for o := range s.order {
		if o.end != nil {
			for i, t := range o.end.trees {
				if err := s.sendShapes(o.end.first+i, t.Label, trees[o.end.first+i], &shapes); err != nil {
					return err
				}
				delete(trees, o.end.first+i)
			}
			continue
		}
		if o.unit == nil {
			if err := s.out.Send(o.message); err != nil {
				return err
			}
			continue
		}
		if err := s.sendMembers(ctx, o.unit); err != nil || ctx.Err() != nil {
			return err
		}
		for _, t := range o.unit.tasks {
			if err := s.out.item(&t.item); err != nil {
				return err
			}
			if t.item.Volume >= 0 {
				if trees[t.item.Volume] == nil {
					trees[t.item.Volume] = &structure.Tree{}
				}
				trees[t.item.Volume].Add(t.item.Path, t.item.Kind, t.hidden, t.shape)
			}
		}
	}
	return nil
}

// sendMembers gives a unit its turn, and sends what is packed in its tasks until it is done.
func (s *scan) sendMembers(ctx context.Context, u *unit) error {
	close(u.turn)
	for {
		select {
		case members := <-u.members:
			for _, t := range members {
				if err := s.out.item(&t.item); err != nil {
					return err
				}
			}
		case <-u.done:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// sendShapes sends what is odd about a volume as a whole. Where there is no room for more, one finding that blocks says so.
func (s *scan) sendShapes(id int, label string, tree *structure.Tree, sent *int) error {
	if tree == nil {
		return nil // it has no item
	}
	for _, f := range tree.Finish(label) {
		if *sent++; *sent == shapeFindings {
			f = structure.TooManyFindings()
		} else if *sent > shapeFindings {
			break
		}
		if err := s.out.Send(report.Message{Finding: &report.VolumeFinding{Volume: id, Finding: f, Path: []byte(tree.Where(f))}}); err != nil {
			return err
		}
	}
	return nil
}

// progress sends how far the scan is. It is silent when nothing moves, no reader finds anything and YARA has nothing to do
// either: then the medium does not answer, and the supervisor must be able to notice.
func (s *scan) progress(ctx context.Context) {
	ticker := time.NewTicker(progressSoon)
	defer ticker.Stop()
	var last report.Progress
	var said time.Time
	var walked int64
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			read := s.src.bytes.Load()
			p := report.Progress{Read: read, Total: max(s.total.Load(), read), Files: s.out.sent()}
			busy := s.active.Load() > 0 || s.walked.Load() != walked
			if p == last && (!busy || now.Sub(said) < progressIdle) {
				continue
			}
			if last.Read == 0 && read > 0 {
				ticker.Reset(progressEvery)
			}
			last, said, walked = p, now, s.walked.Load()
			if s.out.Send(report.Message{Progress: &p}) != nil {
				return // the same error ends the scan elsewhere
			}
		}
	}
}
