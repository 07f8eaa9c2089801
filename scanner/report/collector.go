package report

import (
	"errors"
	"fmt"
	"math"
)

// Limits of a Collector beyond those of a Report. The sender may be an attacker's, so each bounds memory or disk.
const (
	maxNotCleanBytes = 32 << 20 // names and findings of the items in Report.NotClean, whatever their number
	maxLayers        = 16       // layers of a jail
	maxWord          = 64       // a layer's name, a file system's name
)

// otherType and noType are the keys of Report.Types for items whose own type has no entry there. Neither is a media type,
// so no list of allowed types can hold them by accident.
const (
	otherType = "other"
	noType    = "unknown"
)

// ErrProtocol marks what Collector.Add returns for a message that the sender may not send: the scanning process is broken
// or an attacker's, and nothing that it says later counts.
var ErrProtocol = errors.New("report: the scanner's messages break their own rules")

// Collector turns the messages of one scan into a Report. It is the receiving end of a pipe whose sender read the medium,
// so it believes nothing: every message is held against the limits, the order and what came before, and the sender's own
// counts at the end must equal the Collector's. After the first error every later message is refused and the Report is
// not complete. A Collector is not safe for concurrent use.
//
// A volume is announced by a Volume message with the outcome Unscanned before its first item, and settled by a second one
// with the same place and name after its last. A refused volume is settled by its first message if that gives a reason.
type Collector struct {
	job     Job
	emit    func(Item) error
	report  Report
	digest  *Digester
	settled []bool // by volume
	next    int64  // the medium is accounted for up to here
	kept    int    // bytes of names and findings in report.NotClean
	items   uint64
	ready   bool
	done    *Done
	err     error
}

// NewCollector returns a Collector for the scan that job describes. emit is called with every item in order, clean ones
// too; its error ends the collection and is returned by Add as it is. emit may be nil.
func NewCollector(job Job, emit func(Item) error) *Collector {
	if emit == nil {
		emit = func(Item) error { return nil }
	}
	return &Collector{
		job: job, emit: emit, digest: NewDigester(),
		report: Report{Bytes: job.Size, SectorSize: job.SectorSize, Deep: job.Deep, Types: map[string]uint64{}},
	}
}

// Add takes the next message. An error that wraps ErrProtocol condemns the sender; any other is emit's. Slot and Progress
// messages are only checked here, what they ask for is the caller's to do.
func (c *Collector) Add(m Message) error {
	if c.err == nil {
		c.err = c.add(m)
	}
	return c.err
}

// Done reports whether the last message arrived. The caller may stop reading.
func (c *Collector) Done() bool { return c.done != nil }

// Ready reports whether the sender said that its jail is closed.
func (c *Collector) Ready() bool { return c.ready }

func (c *Collector) add(m Message) error {
	switch n := m.fields(); {
	case n != 1:
		return broken("a message with %d fields", n)
	case c.done != nil:
		return broken("a message after the last")
	case m.Ready != nil:
		return c.addReady(m.Ready)
	case !c.ready:
		return broken("a message before the sandbox was entered")
	case m.Volume != nil:
		return c.addVolume(m.Volume)
	case m.Region != nil:
		return c.addRegion(m.Region)
	case m.Finding != nil:
		return c.addFinding(m.Finding)
	case m.Item != nil:
		return c.addItem(m)
	case m.Progress != nil:
		if p := m.Progress; p.Read < 0 || p.Total < 0 {
			return broken("progress of %d of %d bytes", p.Read, p.Total)
		}
		return nil
	case m.Slot != nil:
		if s := m.Slot; s.Slot < 0 || s.Slot >= c.job.Slots {
			return broken("slot %d", s.Slot)
		}
		return nil
	default:
		return c.addDone(m.Done)
	}
}

func (c *Collector) addReady(r *Ready) error {
	if c.ready || len(r.Layers) > maxLayers {
		return broken("a second or oversized ready message")
	}
	for _, l := range r.Layers {
		if len(l) > maxWord {
			return broken("a layer's name of %d bytes", len(l))
		}
	}
	c.ready = true
	c.report.Layers = append(c.report.Layers, r.Layers...)
	return nil
}

func (c *Collector) addVolume(v *Volume) error {
	switch {
	case v.ID < 0 || v.ID >= MaxVolumes || v.ID > len(c.report.Volumes):
		return broken("volume %d after %d volumes", v.ID, len(c.report.Volumes))
	case v.Start < 0 || v.Bytes < 0 || v.Start > math.MaxInt64-v.Bytes:
		return broken("volume %d at %d with %d bytes", v.ID, v.Start, v.Bytes)
	case v.FileSystem == "" || len(v.FileSystem) > maxWord || len(v.Reason) > MaxText:
		return broken("volume %d: a file system's name of %d or a reason of %d bytes", v.ID, len(v.FileSystem), len(v.Reason))
	case v.Outcome >= outcomeEnd || v.Outcome == Flagged:
		return broken("volume %d: outcome %d", v.ID, v.Outcome)
	case v.Outcome == Clean && v.Reason != "":
		return broken("volume %d: a reason for being read in full", v.ID)
	}
	if v.ID == len(c.report.Volumes) {
		if v.Outcome == Clean {
			return broken("volume %d is read in full before it was announced", v.ID)
		}
		c.report.Volumes = append(c.report.Volumes, *v)
		c.settled = append(c.settled, v.Outcome != Unscanned || v.Reason != "")
		return nil
	}
	old := &c.report.Volumes[v.ID]
	if c.settled[v.ID] || old.Start != v.Start || old.Bytes != v.Bytes || old.FileSystem != v.FileSystem {
		return broken("volume %d is settled twice, or changed", v.ID)
	}
	old.Outcome, old.Reason = v.Outcome, v.Reason
	c.settled[v.ID] = true
	return nil
}

// addRegion holds the regions to their agreement: in order, disjoint, without a hole. A missing region is no part of the
// medium: it lies at or behind its end.
func (c *Collector) addRegion(r *Region) error {
	switch {
	case len(c.report.Regions) >= MaxRegions:
		return broken("more than %d regions", MaxRegions)
	case r.Class >= regionEnd || len(r.What) > MaxText:
		return broken("region of class %d, %d bytes of text", r.Class, len(r.What))
	case r.Start < 0 || r.Bytes <= 0 || r.Start > math.MaxInt64-r.Bytes:
		return broken("region at %d with %d bytes", r.Start, r.Bytes)
	case r.Class == RegionMissing && r.Start < c.job.Size:
		return broken("region at %d is said to be missing on a medium of %d bytes", r.Start, c.job.Size)
	case r.Class != RegionMissing && (r.Start != c.next || r.Start+r.Bytes > c.job.Size):
		return broken("region at %d with %d bytes, where %d was next of %d", r.Start, r.Bytes, c.next, c.job.Size)
	}
	if r.Class != RegionMissing {
		c.next += r.Bytes
	}
	c.report.Regions = append(c.report.Regions, *r)
	c.report.Tally.CountRegion()
	return nil
}

func (c *Collector) addFinding(f *VolumeFinding) error {
	switch {
	case len(c.report.Found) >= MaxFindings:
		return broken("more than %d findings on volumes", MaxFindings)
	case f.Volume < -1 || f.Volume >= len(c.report.Volumes):
		return broken("a finding on volume %d of %d", f.Volume, len(c.report.Volumes))
	case len(f.Path) > MaxFindingPath || len(f.Path) > 0 && f.Volume < 0:
		return broken("a finding on volume %d with a path of %d bytes", f.Volume, len(f.Path))
	}
	if err := f.Finding.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	c.report.Found = append(c.report.Found, *f)
	c.report.Tally.CountFinding()
	return nil
}

func (c *Collector) addItem(m Message) error {
	it, err := m.Item.Decode()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	switch {
	case c.items >= MaxItems:
		return broken("more than %d items", MaxItems)
	case it.Volume >= len(c.report.Volumes):
		return broken("an item of volume %d of %d", it.Volume, len(c.report.Volumes))
	case it.Volume >= 0 && c.settled[it.Volume]:
		return broken("an item of volume %d after its outcome", it.Volume)
	case it.Volume < 0 && it.Kind != Area:
		return broken("an item of kind %v outside every volume", it.Kind)
	case it.Path == "" || (it.Member != "") != (it.Kind == Member):
		return broken("an item of kind %v without its name", it.Kind)
	}
	if err := c.digest.Add(m); err != nil {
		return err
	}
	c.items++
	c.report.Tally.Count(&it)
	c.countType(&it)
	c.keep(&it)
	return c.emit(it)
}

func (c *Collector) countType(it *Item) {
	if it.Kind == Directory || it.Kind == Area || it.Type == "" && !it.Outcome.Seen() {
		return // what was not seen has no type, and its outcome refuses
	}
	if it.ofWindows() {
		return
	}
	key := it.Type
	if key == "" {
		key = noType
	}
	// Two places stay free for the two words that are no types.
	if _, known := c.report.Types[key]; !known && key != noType && len(c.report.Types) >= MaxTypes-2 {
		key = otherType
	}
	c.report.Types[key]++
}

// ofWindows reports whether an item is one of the two files that Windows writes to every stick by itself, and has no room
// for content: 12 and 76 bytes. No equipment class needs to take bytes of an unknown type for them.
func (it *Item) ofWindows() bool {
	const folder, most = "System Volume Information", 128
	return it.Kind == File && it.Size <= most && it.Type == "application/octet-stream" &&
		(it.Path == folder+"/WPSettings.dat" || it.Path == folder+"/IndexerVolumeGuid")
}

func (c *Collector) keep(it *Item) {
	if it.Outcome == Clean {
		return
	}
	bytes := len(it.Path) + len(it.Member) + len(it.Type)
	for i := range it.Findings {
		bytes += len(it.Findings[i].Rule) + len(it.Findings[i].Text)
	}
	if len(c.report.NotClean) >= MaxNotClean || c.kept+bytes > maxNotCleanBytes {
		c.report.TooMany = true
		return
	}
	c.kept += bytes
	c.report.NotClean = append(c.report.NotClean, *it)
}

func (c *Collector) addDone(d *Done) error {
	if len(d.Halted) > MaxText || d.BytesRead < 0 {
		return broken("a last message with %d bytes of text and %d bytes read", len(d.Halted), d.BytesRead)
	}
	switch d.Sector {
	case 0:
	case 512, 1024, 2048, 4096:
		c.report.SectorSize = d.Sector
	default:
		return broken("sectors of %d bytes", d.Sector)
	}
	if d.Again.Bytes < 0 {
		return broken("%d bytes read a second time", d.Again.Bytes)
	}
	c.report.BytesRead, c.report.Again = d.BytesRead, d.Again
	if d.Tally != c.report.Tally || d.Digest != c.digest.Sum() {
		return broken("the scanner's counts differ from what was received")
	}
	if d.Halted == "" {
		if c.next != c.job.Size || c.job.Size <= 0 {
			return broken("regions account for %d of %d bytes", c.next, c.job.Size)
		}
		for id, ok := range c.settled {
			if !ok {
				return broken("volume %d has no outcome", id)
			}
		}
	}
	c.done = d
	return nil
}

// Report returns what was collected. It is complete only if every message kept the rules, the last one arrived and said
// that nothing was left out, and its counts and digest equal the Collector's. A scan that stopped short in its own words
// has the shortfall "scan-halted"; why a stream ended early or broke is for the caller to add, who knows how the sender
// ended.
func (c *Collector) Report() Report {
	r := c.report
	r.Digest = c.digest.Sum()
	r.Complete = c.err == nil && c.done != nil && c.done.Halted == ""
	if c.done != nil && c.done.Halted != "" {
		r.Shortfalls = append(r.Shortfalls, Shortfall{Code: "scan-halted", Text: c.done.Halted})
	}
	return r
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}
