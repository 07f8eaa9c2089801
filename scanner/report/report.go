// Package report is what a scan says about a medium, and the bounded form in which it crosses from the process that read
// the medium to the process that decides.
//
// The zero value of every type here refuses: an Item that nobody filled in is unscanned, a Severity that nobody set
// blocks, a Region that nobody classified was not understood, and a Report is not complete until its last message said so
// and every count in that message equals what was received.
//
// Paths are the bytes that the medium stores, as WTF-8 (UTF-16 with lone surrogates kept), components joined with '/'.
// They identify patients: this package carries them, and nothing in it prints them.
package report

import "fmt"

// Limits on what a Report holds. The scanning process may be an attacker's, so each bounds memory, not only style.
const (
	MaxNotClean  = 10_000     // items that are not clean, kept one by one; a medium with more is blocked
	MaxFindings  = 1_000      // findings about a volume or the medium
	MaxPerItem   = 64         // findings on one item
	MaxItems     = 20_000_000 // items in one scan: twice the largest medium foreseen; bounds the log's rows
	MaxVolumes   = 256
	MaxRegions   = 4_096
	MaxTypes     = 256    // distinct content types; further ones are counted as "other"
	MaxPathBytes = 32_767 // Windows' limit on a path, in bytes here; longer is malformed
	MaxText      = 512    // a finding's sentence, a rule's name
	// MaxFindingPath bounds the path of a finding about a volume: MaxFindings of them take 4 MB.
	MaxFindingPath = 4_096
)

// Outcome is what became of one item. The order is the order of design: the zero value refuses.
type Outcome uint8

// The outcomes. Only Clean and Flagged leave a verdict open; every other one keeps a medium from being cleared.
const (
	Unscanned  Outcome = iota // nobody looked, or the process that looked died
	Clean                     // read, hashed and scanned in full; nothing was found
	Flagged                   // read, hashed and scanned in full; it has findings, whose severity decides
	Encrypted                 // its content cannot be seen
	TooLarge                  // a limit on size, depth or number was reached
	TimedOut                  // a limit on time was reached
	Malformed                 // its structure contradicts itself
	Unreadable                // the medium returned an error
	outcomeEnd
)

var outcomeWords = [outcomeEnd]string{"unscanned", "clean", "flagged", "encrypted", "too large", "timed out", "malformed", "unreadable"}

// String returns the word that people and integrators see.
func (o Outcome) String() string {
	if o < outcomeEnd {
		return outcomeWords[o]
	}
	return "unscanned"
}

// Seen reports whether the item was read, hashed and scanned in full.
func (o Outcome) Seen() bool { return o == Clean || o == Flagged }

// Kind is what an item is.
type Kind uint8

// The kinds of item.
const (
	NoKind Kind = iota
	File
	Directory
	Stream // an alternate data stream of a file or directory
	Member // something inside a container
	Area   // bytes that belong to no file: boot code, a gap, unallocated space; the word outside is "region"
	kindEnd
)

var kindWords = [kindEnd]string{"unknown", "file", "directory", "stream", "member", "region"}

// String returns the word that integrators see.
func (k Kind) String() string {
	if k < kindEnd {
		return kindWords[k]
	}
	return kindWords[NoKind]
}

// Severity is what a finding does to the verdict.
type Severity uint8

// The severities, worst first, so that the zero value refuses.
const (
	Block  Severity = iota // the medium is not cleared
	Warn                   // shown to the person; the medium may be cleared
	Inform                 // recorded
	severityEnd
)

var severityWords = [severityEnd]string{"block", "warn", "inform"}

// String returns the word that rule authors and integrators use.
func (s Severity) String() string {
	if s < severityEnd {
		return severityWords[s]
	}
	return severityWords[Block]
}

// ParseSeverity is the reverse of Severity.String. An unknown word is an error, and blocks.
func ParseSeverity(word string) (Severity, error) {
	for s, w := range severityWords {
		if w == word {
			return Severity(s), nil
		}
	}
	return Block, fmt.Errorf("unknown severity %q (want inform, warn or block)", word)
}

// Check is the part of the scanner that made a finding.
type Check uint8

// The checks.
const (
	NoCheck        Check = iota
	CheckYARA            // a YARA rule matched
	CheckBlocklist       // the hash is on a list
	CheckStructure       // the shape of the content, whatever the rules say
	CheckVolume          // how the file system is built
	CheckMedium          // how the device is laid out
	checkEnd
)

var checkWords = [checkEnd]string{"unknown", "yara", "blocklist", "structure", "volume", "medium"}

// String returns the word that integrators see.
func (c Check) String() string {
	if c < checkEnd {
		return checkWords[c]
	}
	return checkWords[NoCheck]
}

// Finding is what one check says. Text is one plain sentence for a person; it never quotes the medium's content or names.
type Finding struct {
	Check    Check    `cbor:"1,keyasint"`
	Rule     string   `cbor:"2,keyasint"` // the rule's name, or the check's fixed word such as "fat-copies-differ"
	Severity Severity `cbor:"3,keyasint"`
	Offset   int64    `cbor:"4,keyasint"` // bytes from the item's or volume's start, -1 where there is none
	Text     string   `cbor:"5,keyasint"`
}

// PartType is the type of a passive part of a document, such as its text, fonts and styles: it has no use by itself, and what
// the class of a policy says about types it says about the document.
const PartType = "application/x-document-part"

// Item is one file, directory, stream, member or region, and what became of it.
type Item struct {
	Volume   int // the volume's id; -1 for a region outside every volume
	Path     string
	Member   string // path inside a container, outermost first, joined with "//"; empty for the container itself
	Kind     Kind
	Size     int64    // bytes of content
	SHA256   [32]byte // of the bytes that were scanned, of nothing for a directory; valid only if Outcome.Seen()
	Type     string   // media type by content, such as "application/pdf"
	Outcome  Outcome
	Findings []Finding
}

// Volume is one file system, read or refused.
type Volume struct {
	ID         int     `cbor:"1,keyasint"`
	Start      int64   `cbor:"2,keyasint"` // bytes from the medium's start
	Bytes      int64   `cbor:"3,keyasint"`
	FileSystem string  `cbor:"4,keyasint"` // "fat32", "exfat", …, or the name of what is refused, such as "bitlocker"
	Outcome    Outcome `cbor:"5,keyasint"` // Clean once every entry was reached; what any entry holds is its own item's outcome
	Reason     string  `cbor:"6,keyasint"` // one plain sentence if the outcome is not Clean
}

// RegionClass is what a range of the medium was found to be.
type RegionClass uint8

// The classes. Every byte of the medium belongs to exactly one region.
const (
	NotUnderstood    RegionClass = iota // read, but nobody knows what it is: bars a clearance
	RegionTable                         // a partition table or its copy, decoded in full
	RegionZero                          // every byte is zero: read, or a hole of an image by the word of the system that keeps it
	RegionData                          // not zero, in no volume; its bytes are an item of kind region
	RegionVolume                        // belongs to one or more volumes, whose own outcome says the rest
	RegionUnreadable                    // the medium returned an error: bars a clearance
	RegionMissing                       // a table points there, but the medium ends before: bars a clearance
	regionEnd
)

var regionWords = [regionEnd]string{"not understood", "table", "zero", "data", "volume", "unreadable", "missing"}

// String returns the word used in reasons.
func (c RegionClass) String() string {
	if c < regionEnd {
		return regionWords[c]
	}
	return regionWords[NotUnderstood]
}

// Accounted reports whether a region of this class leaves the verdict open.
func (c RegionClass) Accounted() bool {
	return c == RegionTable || c == RegionZero || c == RegionData || c == RegionVolume
}

// Region is a range of the medium.
type Region struct {
	Start int64       `cbor:"1,keyasint"`
	Bytes int64       `cbor:"2,keyasint"`
	Class RegionClass `cbor:"3,keyasint"`
	What  string      `cbor:"4,keyasint"` // "gap before partition 1", "backup GPT", …
}

// VolumeFinding is a finding about a volume, or about the medium when Volume is -1.
type VolumeFinding struct {
	Volume  int     `cbor:"1,keyasint"`
	Finding Finding `cbor:"2,keyasint"`
	// Path is an entry that the finding is about, such as the program that a person is meant to click on; empty if there is
	// none. Like every path it goes to the person at the screen and to nobody else.
	Path []byte `cbor:"3,keyasint,omitempty"`
}

// Tally counts what a scan saw. The scanner sends its own at the end, and the receiver, who counted too, compares.
type Tally struct {
	Files       uint64             `cbor:"1,keyasint"`
	Directories uint64             `cbor:"2,keyasint"`
	Streams     uint64             `cbor:"3,keyasint"`
	Members     uint64             `cbor:"4,keyasint"`
	Areas       uint64             `cbor:"5,keyasint"` // items of kind region
	Regions     uint64             `cbor:"6,keyasint"` // classified ranges of the medium
	Bytes       uint64             `cbor:"7,keyasint"` // content of all items that are no members
	Findings    uint64             `cbor:"8,keyasint"`
	Outcomes    [outcomeEnd]uint64 `cbor:"9,keyasint"` // items by outcome
}

// Count adds one item.
func (t *Tally) Count(it *Item) {
	switch it.Kind {
	case File:
		t.Files++
	case Directory:
		t.Directories++
	case Stream:
		t.Streams++
	case Member:
		t.Members++
	default:
		t.Areas++
	}
	if it.Kind != Member {
		t.Bytes += uint64(max(it.Size, 0))
	}
	t.Findings += uint64(len(it.Findings))
	if it.Outcome < outcomeEnd {
		t.Outcomes[it.Outcome]++
	} else {
		t.Outcomes[Unscanned]++
	}
}

// CountRegion adds one classified range of the medium.
func (t *Tally) CountRegion() { t.Regions++ }

// CountFinding adds one finding about a volume or the medium. Those on items are counted with the item.
func (t *Tally) CountFinding() { t.Findings++ }

// Shortfall says why a scan is not complete.
type Shortfall struct {
	Code string // one of the codes of package kiosk
	Text string // one plain sentence
}

// Report is everything a verdict is taken from.
type Report struct {
	Complete   bool // the scanner's last message arrived and agrees with what was received
	Shortfalls []Shortfall
	Bytes      int64 // the medium's size
	SectorSize int
	BytesRead  int64    // read from the medium while everything was read for the first time, for the cost of a scan
	Again      Again    // what was read a second time
	Deep       bool     // unallocated space and slack were scanned too
	Layers     []string // of the jail that held the scanner; they depend on the machine, so no log entry holds them
	Volumes    []Volume
	Regions    []Region
	Found      []VolumeFinding
	NotClean   []Item // every item that is not Clean, up to MaxNotClean
	TooMany    bool   // there were more
	Types      map[string]uint64
	Tally      Tally
	Digest     [32]byte // SHA-256 over the item messages in order; binds the log's item rows
}
