package report

import (
	"fmt"
	"math"

	"pratique/scanner/frame"
)

// Message is what scanworker sends to the supervisor, one field set.
//
// The order on the pipe is: Ready; then Volume, Region, Finding, Item, Progress, Slot in any order; then Done, after
// which nothing follows. A stream that ends without Done is an incomplete scan, whatever it held.
type Message struct {
	Ready    *Ready         `cbor:"1,keyasint,omitempty"`
	Volume   *Volume        `cbor:"2,keyasint,omitempty"`
	Region   *Region        `cbor:"3,keyasint,omitempty"`
	Finding  *VolumeFinding `cbor:"4,keyasint,omitempty"`
	Item     *wireItem      `cbor:"5,keyasint,omitempty"`
	Progress *Progress      `cbor:"6,keyasint,omitempty"`
	Slot     *SlotState     `cbor:"7,keyasint,omitempty"`
	Done     *Done          `cbor:"8,keyasint,omitempty"`
}

// Ready says that the sandbox is entered and the slots' buffers are mapped and sealed. No foreign byte was read before.
type Ready struct {
	Layers []string `cbor:"1,keyasint"` // the layers of the jail that are in force
}

// Progress is for people only.
type Progress struct {
	Read  int64  `cbor:"1,keyasint"` // bytes read from the medium so far
	Total int64  `cbor:"2,keyasint"` // best guess of how many there will be; it may grow
	Files uint64 `cbor:"3,keyasint"`
}

// SlotState tells the supervisor about one yaraworker slot.
type SlotState struct {
	Slot int  `cbor:"1,keyasint"`
	Busy bool `cbor:"2,keyasint"` // a request is outstanding; the supervisor's own deadline runs from here
	Kill bool `cbor:"3,keyasint"` // scanworker's deadline has passed: please kill and replace
}

// Done is the last message.
type Done struct {
	Tally     Tally    `cbor:"1,keyasint"`
	Digest    [32]byte `cbor:"2,keyasint"`           // SHA-256 over the encoded Item messages, as Digester computes it
	BytesRead int64    `cbor:"3,keyasint"`           // while everything was read for the first time
	Sector    int      `cbor:"4,keyasint,omitempty"` // sector size that the layout was read with; 0 if it was not read
	// Halted is empty when every region was accounted for. Otherwise it says in one sentence why the scan stopped short.
	Halted string `cbor:"5,keyasint"`
	Again  Again  `cbor:"6,keyasint"`
}

// Again is what was read a second time, to see whether the medium shows the same.
type Again struct {
	Blocks uint64 `cbor:"1,keyasint"` // of content, chosen at random among all that were read
	Items  uint64 `cbor:"2,keyasint"` // flagged or executable, in full
	Bytes  int64  `cbor:"3,keyasint"` // in all, with what describes the volumes
}

// Seen is the probability that a medium is found out which the second time shows something else in a share of the blocks of
// its content: 1-(1-share)^Blocks, and a little more on a small medium. For 512 blocks that is 99.4 % for one block in a
// hundred, 40 % for one in a thousand, 5 % for one in ten thousand; for 256, the fewest, 92.4 %, 23 % and 2.5 %. What describes
// the volumes and the items do not depend on it.
func (a Again) Seen(share float64) float64 {
	return 1 - math.Pow(1-min(max(share, 0), 1), float64(a.Blocks))
}

// Command is what the supervisor sends to scanworker, one field set. Job comes first.
type Command struct {
	Job       *Job       `cbor:"1,keyasint,omitempty"`
	SlotReady *SlotReady `cbor:"2,keyasint,omitempty"`
}

// Job says what to scan and with what.
type Job struct {
	Size        int64 `cbor:"1,keyasint"` // of the medium, in bytes
	SectorSize  int   `cbor:"2,keyasint"` // 512 to 4096; 0 where the source does not say (an image)
	Deep        bool  `cbor:"3,keyasint"`
	Slots       int   `cbor:"4,keyasint"`
	SlotBytes   int64 `cbor:"5,keyasint"` // size of each slot's buffer
	Lists       int   `cbor:"6,keyasint"` // donated blocklists
	FileTimeout int64 `cbor:"7,keyasint"` // milliseconds that YARA may spend on one file of up to a slot's size
	// Seed says what is read a second time, and in what order. The medium must not know it. Zero draws a fresh one.
	Seed [32]byte `cbor:"8,keyasint"`
}

// SlotReady says that a slot has a live yaraworker: at the start, and after one died and was reaped and its pipes drained.
type SlotReady struct {
	Slot  int   `cbor:"1,keyasint"`
	Cause Cause `cbor:"2,keyasint"`
}

// Cause says why a slot got a new yaraworker.
type Cause uint8

// The causes. What was in the slot when it was lost gets the outcome that follows from the cause.
const (
	Died      Cause = iota // it crashed or was killed by somebody else: Unscanned
	FirstTime              // nothing was lost
	Deadline               // killed by the clock, on request or by the supervisor: TimedOut
)

// wireItem is Item as CBOR: paths as byte strings, since WTF-8 is not always UTF-8.
type wireItem struct {
	Volume   int       `cbor:"1,keyasint"`
	Path     []byte    `cbor:"2,keyasint"`
	Member   []byte    `cbor:"3,keyasint,omitempty"`
	Kind     Kind      `cbor:"4,keyasint"`
	Size     int64     `cbor:"5,keyasint"`
	SHA256   []byte    `cbor:"6,keyasint,omitempty"`
	Type     string    `cbor:"7,keyasint,omitempty"`
	Outcome  Outcome   `cbor:"8,keyasint"`
	Findings []Finding `cbor:"9,keyasint,omitempty"`
}

// ItemMessage wraps an item for sending.
func ItemMessage(it *Item) Message {
	w := &wireItem{Volume: it.Volume, Path: []byte(it.Path), Member: []byte(it.Member), Kind: it.Kind, Size: it.Size,
		Type: it.Type, Outcome: it.Outcome, Findings: it.Findings}
	if it.Outcome.Seen() {
		w.SHA256 = it.SHA256[:]
	}
	return Message{Item: w}
}

// Decode unwraps an item and holds it against the limits and the rules of the types.
func (w *wireItem) Decode() (Item, error) {
	it := Item{Volume: w.Volume, Path: string(w.Path), Member: string(w.Member), Kind: w.Kind, Size: w.Size,
		Type: w.Type, Outcome: w.Outcome, Findings: w.Findings}
	switch {
	case len(w.Path) > MaxPathBytes || len(w.Member) > MaxPathBytes:
		return Item{}, fmt.Errorf("item: path of %d bytes", len(w.Path)+len(w.Member))
	case w.Kind == NoKind || w.Kind >= kindEnd:
		return Item{}, fmt.Errorf("item: kind %d", w.Kind)
	case w.Outcome >= outcomeEnd:
		return Item{}, fmt.Errorf("item: outcome %d", w.Outcome)
	case w.Size < 0:
		return Item{}, fmt.Errorf("item: size %d", w.Size)
	case w.Volume < -1 || w.Volume >= MaxVolumes:
		return Item{}, fmt.Errorf("item: volume %d", w.Volume)
	case len(w.Type) > MaxText:
		return Item{}, fmt.Errorf("item: type of %d bytes", len(w.Type))
	case len(w.Findings) > MaxPerItem:
		return Item{}, fmt.Errorf("item: %d findings", len(w.Findings))
	case w.Outcome == Clean && len(w.Findings) > 0, w.Outcome == Flagged && len(w.Findings) == 0:
		return Item{}, fmt.Errorf("item: outcome %v with %d findings", w.Outcome, len(w.Findings))
	case w.Outcome.Seen() != (len(w.SHA256) == 32), !w.Outcome.Seen() && len(w.SHA256) != 0:
		return Item{}, fmt.Errorf("item: outcome %v with a hash of %d bytes", w.Outcome, len(w.SHA256))
	}
	for i := range w.Findings {
		if err := w.Findings[i].check(); err != nil {
			return Item{}, err
		}
	}
	copy(it.SHA256[:], w.SHA256)
	return it, nil
}

func (f *Finding) check() error {
	switch {
	case f.Check == NoCheck || f.Check >= checkEnd:
		return fmt.Errorf("finding: check %d", f.Check)
	case f.Severity >= severityEnd:
		return fmt.Errorf("finding: severity %d", f.Severity)
	case len(f.Rule) > MaxText || len(f.Text) > MaxText:
		return fmt.Errorf("finding: text of %d bytes", len(f.Rule)+len(f.Text))
	}
	return nil
}

// fields counts what is set in m: exactly one in a message that keeps the rules.
func (m *Message) fields() int {
	n := 0
	for _, set := range []bool{m.Ready != nil, m.Volume != nil, m.Region != nil, m.Finding != nil, m.Item != nil,
		m.Progress != nil, m.Slot != nil, m.Done != nil} {
		if set {
			n++
		}
	}
	return n
}

// Encode returns the message's bytes, for a Digester.
func (m Message) Encode() ([]byte, error) { return frame.Marshal(m) }
