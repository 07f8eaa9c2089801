package report

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pratique/scanner/frame"
)

const mediumBytes = 1 << 20

var testJob = Job{Size: mediumBytes, SectorSize: 512, Slots: 2, SlotBytes: 64 << 20, FileTimeout: 1000}

func file(path string, o Outcome, findings ...Finding) Item {
	return Item{Volume: 0, Path: path, Kind: File, Size: 10, Type: "text/plain", Outcome: o, Findings: findings}
}

var harm = Finding{Check: CheckYARA, Rule: "r", Severity: Block, Offset: -1, Text: "t"}

// stream is a complete scan of one volume with two files.
func stream(items ...Item) []Message {
	if items == nil {
		items = []Item{file("a", Clean), file("b", Flagged, harm)}
	}
	ms := []Message{
		{Ready: &Ready{Layers: []string{"seccomp"}}},
		{Region: &Region{Start: 0, Bytes: 512, Class: RegionTable, What: "MBR"}},
		{Region: &Region{Start: 512, Bytes: mediumBytes - 512, Class: RegionVolume}},
		{Finding: &VolumeFinding{Volume: -1, Finding: Finding{Check: CheckMedium, Rule: "x", Severity: Warn, Text: "t"}}},
		{Volume: &Volume{ID: 0, Start: 512, Bytes: mediumBytes - 512, FileSystem: "fat16"}},
		{Progress: &Progress{Read: 1, Total: 2}},
		{Slot: &SlotState{Slot: 1, Busy: true}},
	}
	for i := range items {
		ms = append(ms, ItemMessage(&items[i]))
	}
	ms = append(ms, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: mediumBytes - 512, FileSystem: "fat16", Outcome: Clean}})
	return append(ms, doneFor(ms, ""))
}

// doneFor is the last message of a sender that counted what it sent.
func doneFor(ms []Message, halted string) Message {
	d, done := NewDigester(), &Done{BytesRead: 5, Halted: halted}
	for _, m := range ms {
		switch {
		case m.Item != nil:
			it, _ := m.Item.Decode()
			done.Tally.Count(&it)
		case m.Region != nil:
			done.Tally.CountRegion()
		case m.Finding != nil:
			done.Tally.CountFinding()
		}
		_ = d.Add(m)
	}
	done.Digest = d.Sum()
	return Message{Done: done}
}

func collect(t *testing.T, ms []Message, emit func(Item) error) (*Collector, error) {
	t.Helper()
	c := NewCollector(testJob, emit)
	var err error
	for _, m := range ms {
		if err = c.Add(m); err != nil {
			break
		}
	}
	return c, err
}

func TestCollectorTakesACompleteScan(t *testing.T) {
	var items []Item
	c, err := collect(t, stream(), func(it Item) error { items = append(items, it); return nil })
	if err != nil {
		t.Fatal(err)
	}
	r := c.Report()
	if !r.Complete || !c.Done() || len(r.Shortfalls) != 0 {
		t.Fatalf("not complete: %+v", r)
	}
	if len(items) != 2 || len(r.NotClean) != 1 || r.NotClean[0].Path != "b" || r.TooMany {
		t.Errorf("%d items, not clean %+v", len(items), r.NotClean)
	}
	if r.Types["text/plain"] != 2 || r.Tally.Files != 2 || r.Tally.Regions != 2 || r.Tally.Findings != 2 || r.Tally.Bytes != 20 {
		t.Errorf("types %v, tally %+v", r.Types, r.Tally)
	}
	if len(r.Volumes) != 1 || r.Volumes[0].Outcome != Clean || len(r.Found) != 1 || r.BytesRead != 5 || r.Bytes != mediumBytes {
		t.Errorf("%+v", r)
	}
}

func TestCollectorRefusesWhatBreaksTheRules(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	insert := func(at int, m ...Message) func([]Message) []Message {
		return func(ms []Message) []Message {
			if at < 0 {
				at += len(ms)
			}
			return append(append(append([]Message{}, ms[:at]...), m...), ms[at:]...)
		}
	}
	replace := func(at int, m Message) func([]Message) []Message {
		return func(ms []Message) []Message {
			if at < 0 {
				at += len(ms)
			}
			ms[at] = m
			return ms
		}
	}
	item := func(change func(*Item)) Message {
		it := file("c", Clean)
		change(&it)
		return ItemMessage(&it)
	}
	lateItem := file("late", Clean)
	tests := map[string]func([]Message) []Message{
		"no ready":                   func(ms []Message) []Message { return ms[1:] },
		"two readies":                insert(1, Message{Ready: &Ready{}}),
		"too many layers":            replace(0, Message{Ready: &Ready{Layers: make([]string, maxLayers+1)}}),
		"long layer":                 replace(0, Message{Ready: &Ready{Layers: []string{strings.Repeat("x", maxWord+1)}}}),
		"an empty message":           insert(3, Message{}),
		"two fields":                 insert(3, Message{Progress: &Progress{}, Slot: &SlotState{}}),
		"after done":                 func(ms []Message) []Message { return append(ms, Message{Progress: &Progress{}}) },
		"two dones":                  func(ms []Message) []Message { return append(ms, ms[len(ms)-1]) },
		"region with a hole before":  replace(2, Message{Region: &Region{Start: 1024, Bytes: mediumBytes - 1024, Class: RegionVolume}}),
		"region twice":               insert(2, Message{Region: &Region{Start: 0, Bytes: 512, Class: RegionTable}}),
		"region past the end":        replace(2, Message{Region: &Region{Start: 512, Bytes: mediumBytes, Class: RegionVolume}}),
		"region too short":           replace(2, Message{Region: &Region{Start: 512, Bytes: 512, Class: RegionVolume}}),
		"region that overflows":      replace(2, Message{Region: &Region{Start: 512, Bytes: 1<<63 - 1, Class: RegionVolume}}),
		"negative region":            replace(2, Message{Region: &Region{Start: -512, Bytes: 512}}),
		"empty region":               insert(2, Message{Region: &Region{Start: 512}}),
		"unknown class":              replace(2, Message{Region: &Region{Start: 512, Bytes: mediumBytes - 512, Class: regionEnd}}),
		"missing within the medium":  replace(2, Message{Region: &Region{Start: 512, Bytes: mediumBytes - 512, Class: RegionMissing}}),
		"long region":                replace(2, Message{Region: &Region{Start: 512, Bytes: mediumBytes - 512, What: long}}),
		"finding on no volume":       insert(3, Message{Finding: &VolumeFinding{Volume: 0, Finding: harm}}),
		"finding with a long path":   insert(-1, Message{Finding: &VolumeFinding{Volume: 0, Finding: harm, Path: make([]byte, MaxFindingPath+1)}}),
		"path outside volumes":       insert(-1, Message{Finding: &VolumeFinding{Volume: -1, Finding: harm, Path: []byte("p")}}),
		"finding of no check":        insert(-1, Message{Finding: &VolumeFinding{Volume: -1}}),
		"long finding":               insert(-1, Message{Finding: &VolumeFinding{Volume: -1, Finding: Finding{Check: CheckYARA, Text: long}}}),
		"volume out of order":        replace(4, Message{Volume: &Volume{ID: 1, Start: 512, Bytes: 512, FileSystem: "fat16"}}),
		"volume without a name":      replace(4, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: 512}}),
		"volume clean at once":       replace(4, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: 512, FileSystem: "fat16", Outcome: Clean}}),
		"volume flagged":             replace(-2, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: mediumBytes - 512, FileSystem: "fat16", Outcome: Flagged}}),
		"volume moved":               replace(-2, Message{Volume: &Volume{ID: 0, Start: 0, Bytes: mediumBytes - 512, FileSystem: "fat16", Outcome: Clean}}),
		"volume renamed":             replace(-2, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: mediumBytes - 512, FileSystem: "fat32", Outcome: Clean}}),
		"volume settled twice":       insert(-1, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: mediumBytes - 512, FileSystem: "fat16", Outcome: Clean}}),
		"volume never settled":       func(ms []Message) []Message { return append(ms[:len(ms)-2], doneFor(ms[:len(ms)-2], "")) },
		"volume clean with a reason": replace(-2, Message{Volume: &Volume{ID: 0, Start: 512, Bytes: mediumBytes - 512, FileSystem: "fat16", Outcome: Clean, Reason: "no"}}),
		"item after its volume":      insert(-1, ItemMessage(&lateItem)),
		"item of no volume":          insert(5, item(func(it *Item) { it.Volume = 1 })),
		"file outside volumes":       insert(5, item(func(it *Item) { it.Volume = -1 })),
		"item of volume -2":          insert(5, item(func(it *Item) { it.Volume = -2; it.Kind = Area })),
		"item without a path":        insert(5, item(func(it *Item) { it.Path = "" })),
		"item of no kind":            insert(5, item(func(it *Item) { it.Kind = NoKind })),
		"item of unknown outcome":    insert(5, item(func(it *Item) { it.Outcome = outcomeEnd })),
		"member without a name":      insert(5, item(func(it *Item) { it.Kind = Member })),
		"file with a member":         insert(5, item(func(it *Item) { it.Member = "x" })),
		"negative size":              insert(5, item(func(it *Item) { it.Size = -1 })),
		"clean with findings":        insert(5, item(func(it *Item) { it.Findings = []Finding{harm} })),
		"flagged without findings":   insert(5, item(func(it *Item) { it.Outcome = Flagged })),
		"clean without a hash":       insert(5, Message{Item: &wireItem{Path: []byte("x"), Kind: File, Outcome: Clean}}),
		"hash of what was not seen":  insert(5, Message{Item: &wireItem{Path: []byte("x"), Kind: File, SHA256: make([]byte, 32)}}),
		"too many findings on it":    insert(5, item(func(it *Item) { it.Findings = make([]Finding, MaxPerItem+1); it.Outcome = Flagged })),
		"finding of unknown severity": insert(5, item(func(it *Item) {
			it.Findings = []Finding{{Check: CheckYARA, Severity: severityEnd}}
			it.Outcome = Flagged
		})),
		"long path":                 insert(5, item(func(it *Item) { it.Path = strings.Repeat("x", MaxPathBytes+1) })),
		"long type":                 insert(5, item(func(it *Item) { it.Type = long })),
		"progress below zero":       insert(5, Message{Progress: &Progress{Read: -1}}),
		"slot that does not exist":  insert(5, Message{Slot: &SlotState{Slot: 2}}),
		"slot below zero":           insert(5, Message{Slot: &SlotState{Slot: -1}}),
		"an item that was not sent": func(ms []Message) []Message { return append(ms[:7:7], ms[8:]...) },
		"an item more than counted": insert(7, ItemMessage(&lateItem)),
		"items in another order":    func(ms []Message) []Message { ms[7], ms[8] = ms[8], ms[7]; return ms },
		"done with long text":       replace(-1, Message{Done: &Done{Halted: long}}),
		"done below zero":           replace(-1, Message{Done: &Done{BytesRead: -1}}),
		"again below zero":          replace(-1, Message{Done: &Done{Again: Again{Bytes: -1}}}),
		"done with odd sectors":     replace(-1, Message{Done: &Done{Sector: 513}}),
		"an empty done":             replace(-1, Message{Done: &Done{}}),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := collect(t, change(stream()), nil)
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("error %v", err)
			}
			if c.Report().Complete {
				t.Error("the report says it is complete")
			}
			if again := c.Add(Message{Progress: &Progress{}}); !errors.Is(again, ErrProtocol) {
				t.Errorf("a later message was taken: %v", again)
			}
		})
	}
}

func TestCollectorIsNotCompleteBeforeTheEnd(t *testing.T) {
	ms := stream()
	for n := range ms {
		c, err := collect(t, ms[:n], nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Report().Complete {
			t.Errorf("complete after %d of %d messages", n, len(ms))
		}
	}
}

func TestCollectorPassesOnThatAScanHalted(t *testing.T) {
	ms := stream()[:8]
	c, err := collect(t, append(ms, doneFor(ms, "It stopped.")), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Report()
	if r.Complete || len(r.Shortfalls) != 1 || r.Shortfalls[0] != (Shortfall{"scan-halted", "It stopped."}) {
		t.Errorf("%+v", r)
	}
}

func TestCollectorNeverCompletesAnEmptyMedium(t *testing.T) {
	c := NewCollector(Job{Slots: 1}, nil)
	if err := c.Add(Message{Ready: &Ready{}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(doneFor(nil, "")); !errors.Is(err, ErrProtocol) || c.Report().Complete {
		t.Errorf("error %v", err)
	}
}

func TestCollectorTakesMissingRegionsBehindTheEnd(t *testing.T) {
	ms := stream()
	ms = append(ms[:3:3], append([]Message{{Region: &Region{Start: mediumBytes, Bytes: 4096, Class: RegionMissing}}}, ms[3:len(ms)-1]...)...)
	c, err := collect(t, append(ms, doneFor(ms, "")), nil)
	if r := c.Report(); err != nil || !r.Complete || len(r.Regions) != 3 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestCollectorStopsWhenItsCallerCannotGoOn(t *testing.T) {
	full := errors.New("disk full")
	c, err := collect(t, stream(), func(Item) error { return full })
	if err != full || c.Report().Complete {
		t.Errorf("error %v", err)
	}
}

func TestCollectorKeepsWhatIsNotCleanWithinItsLimits(t *testing.T) {
	items := make([]Item, MaxNotClean+5)
	for i := range items {
		items[i] = file("x", Unscanned)
	}
	c, err := collect(t, stream(items...), nil)
	if r := c.Report(); err != nil || len(r.NotClean) != MaxNotClean || !r.TooMany || r.Tally.Outcomes[Unscanned] != MaxNotClean+5 {
		t.Errorf("%v: %d kept, too many %v", err, len(r.NotClean), r.TooMany)
	}

	items = items[:maxNotCleanBytes/MaxPathBytes+5] // fewer, with the longest names
	for i := range items {
		items[i].Path = strings.Repeat("p", MaxPathBytes)
	}
	c, err = collect(t, stream(items...), nil)
	r := c.Report()
	kept := 0
	for _, it := range r.NotClean {
		kept += len(it.Path)
	}
	if err != nil || !r.TooMany || kept > maxNotCleanBytes {
		t.Errorf("%v: %d bytes kept, too many %v", err, kept, r.TooMany)
	}
}

func TestCollectorCountsTypesWithinItsLimits(t *testing.T) {
	var items []Item
	for i := range 2 * MaxTypes {
		it := file("x", Clean)
		it.Type = strings.Repeat("t", i+1)
		items = append(items, it)
	}
	untyped, unseen := file("y", Clean), file("z", Unreadable)
	untyped.Type, unseen.Type = "", ""
	items = append(items, untyped, unseen, Item{Volume: 0, Path: "d", Kind: Directory, Outcome: Clean})
	c, err := collect(t, stream(items...), nil)
	if err != nil {
		t.Fatal(err)
	}
	types := c.Report().Types
	var sum uint64
	for _, n := range types {
		sum += n
	}
	if len(types) > MaxTypes || types[noType] != 1 || types[otherType] == 0 || sum != 2*MaxTypes+1 {
		t.Errorf("%d types, %d without one, %d others, %d in all", len(types), types[noType], types[otherType], sum)
	}
}

func TestItemsSurviveThePipe(t *testing.T) {
	items := []Item{
		{Volume: 0, Path: "a\xed\xa0\x80b", Kind: File, Size: 1, SHA256: [32]byte{1}, Type: "text/plain", Outcome: Clean},
		{Volume: 3, Path: "a", Member: "b//c", Kind: Member, Outcome: TooLarge, Findings: []Finding{harm}},
		{Volume: -1, Path: "gap", Kind: Area, SHA256: [32]byte{2}, Outcome: Flagged, Findings: []Finding{harm}},
	}
	var pipe bytes.Buffer
	w, sent := frame.NewWriter(&pipe), NewDigester()
	for i := range items {
		m := ItemMessage(&items[i])
		if err := errors.Join(w.Write(m), sent.Add(m)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, received := frame.NewReader(&pipe), NewDigester()
	for i := range items {
		var m Message
		if err := r.Next(&m); err != nil {
			t.Fatal(err)
		}
		got, err := m.Item.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if got.Path != items[i].Path || got.Member != items[i].Member || got.SHA256 != items[i].SHA256 || got.Outcome != items[i].Outcome ||
			got.Kind != items[i].Kind || got.Volume != items[i].Volume || len(got.Findings) != len(items[i].Findings) {
			t.Errorf("sent %+v, received %+v", items[i], got)
		}
		if err := received.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Next(new(Message)); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	if sent.Sum() != received.Sum() {
		t.Error("both ends computed different digests")
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	if Outcome(0).Seen() || RegionClass(0).Accounted() || Severity(0) != Block || (Report{}).Complete || Outcome(99).Seen() || RegionClass(99).Accounted() {
		t.Error("a zero or unknown value does not refuse")
	}
	if Outcome(99).String() != "unscanned" || Severity(99).String() != "block" || Kind(99).String() != "unknown" ||
		Check(99).String() != "unknown" || RegionClass(99).String() != "not understood" {
		t.Error("an unknown value has a friendly word")
	}
	if s, err := ParseSeverity("harmless"); err == nil || s != Block {
		t.Errorf("an unknown severity is %v, %v", s, err)
	}
}

// TestMutatedStreamsNeverPass flips every byte of a stream in several ways. What still decodes and still passes must be a
// stream that says the same of every item: a flipped bit may land in a sentence or a number that is not bound.
func TestMutatedStreamsNeverPass(t *testing.T) {
	var pipe bytes.Buffer
	w := frame.NewWriter(&pipe)
	for _, m := range stream() {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	original, err := receive(pipe.Bytes())
	if err != nil || !original.Complete {
		t.Fatal(err)
	}
	tried, passed := 0, 0
	for i := range pipe.Len() {
		for _, flip := range []byte{1, 0x10, 0x80, 0xFF} {
			data := bytes.Clone(pipe.Bytes())
			data[i] ^= flip
			r, _ := receive(data)
			tried++
			if !r.Complete {
				continue
			}
			passed++
			if r.Digest != original.Digest || r.Tally != original.Tally || len(r.NotClean) != 1 {
				t.Errorf("byte %d ^ %#x: passes with other items", i, flip)
			}
		}
		if r, _ := receive(pipe.Bytes()[:i]); r.Complete {
			t.Errorf("cut at %d: complete", i)
		}
	}
	t.Logf("%d mutants, %d pass with the same items", tried, passed)
}

func receive(data []byte) (Report, error) {
	c, in := NewCollector(testJob, nil), frame.NewReader(bytes.NewReader(data))
	for {
		var m Message
		err := in.Next(&m)
		if err == io.EOF {
			return c.Report(), nil
		}
		if err == nil {
			err = c.Add(m)
		}
		if err != nil {
			r := c.Report()
			if err != nil && c.err == nil {
				r.Complete = false // the caller's part: a stream that broke after the last message
			}
			return r, err
		}
	}
}

func FuzzCollector(f *testing.F) {
	var pipe bytes.Buffer
	w := frame.NewWriter(&pipe)
	for _, m := range stream() {
		_ = w.Write(m)
	}
	_ = w.Flush()
	f.Add(pipe.Bytes())
	f.Add([]byte{0, 0, 0, 3, 0xA1, 1, 0xF6})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := receive(data)
		if !r.Complete {
			return
		}
		if err != nil {
			t.Fatal("complete with an error")
		}
		var covered int64
		for _, g := range r.Regions {
			if g.Class != RegionMissing {
				covered += g.Bytes
			}
		}
		var items uint64
		for _, n := range r.Tally.Outcomes {
			items += n
		}
		if covered != testJob.Size || items-r.Tally.Outcomes[Clean] != uint64(len(r.NotClean)) || len(r.Types) > MaxTypes {
			t.Fatalf("complete, but %d bytes in regions, %d items of which %d are kept", covered, items, len(r.NotClean))
		}
	})
}

func TestTypesOfWhatWindowsWritesAreNotCounted(t *testing.T) {
	const folder = "System Volume Information/"
	counted := func(it Item) bool {
		c := NewCollector(Job{}, nil)
		it.Outcome = Clean
		c.countType(&it)
		return len(c.report.Types) > 0
	}
	for name, size := range map[string]int64{"WPSettings.dat": 12, "IndexerVolumeGuid": 76} {
		own := Item{Kind: File, Path: folder + name, Size: size, Type: "application/octet-stream"}
		if counted(own) {
			t.Errorf("%s counts", name)
		}
		for why, change := range map[string]func(*Item){
			"room for content": func(it *Item) { it.Size = 129 },
			"a known type":     func(it *Item) { it.Type = "application/vnd.microsoft.portable-executable" },
			"a stream":         func(it *Item) { it.Kind = Stream },
			"another folder":   func(it *Item) { it.Path = "a/" + it.Path },
			"another name":     func(it *Item) { it.Path += ".exe" },
		} {
			it := own
			if change(&it); !counted(it) {
				t.Errorf("%s with %s does not count", name, why)
			}
		}
	}
}
