// Package slot is the agreement between scanworker, which puts content into a shared buffer, and one yaraworker, which
// matches it.
//
// A slot is a memfd and two pipes. scanworker maps the memfd for writing and then seals it with F_SEAL_FUTURE_WRITE, so
// that yaraworker, started later, can map it only for reading: libyara cannot change the bytes that are being hashed.
// Requests go down one pipe, answers come up the other, both as frames. Requests are answered in order.
//
// Content of at most a slot's size is sent as pieces of a Batch, each wholly in the buffer, and each piece is answered by
// one Done. Larger content is a Stream: yaraworker asks for each block with Need, scanworker fills a part of
// the buffer and says Filled, and one Done ends it. libyara comes back for blocks that it has seen; scanworker then reads the
// medium again and compares with what it hashed the first time.
//
// Neither side trusts the other. What yaraworker answers can hide a match, which is the loss that design accepts; it can
// not name an item that was not asked, nor make scanworker read outside the item.
package slot

import (
	"fmt"

	"pratique/scanner/report"
)

const (
	// MaxPieces is how many small files go into one request: enough that the round trip costs little, few enough that a
	// killed yaraworker loses little.
	MaxPieces = 64
	// MaxMatches is how many rules are reported for one item; one blocks as well as a thousand.
	MaxMatches = 32
	// BlockBytes is the size of one block of a Stream, BlockOverlap how much of it the block before held already. A match
	// of up to BlockOverlap bytes cannot be lost on a border; what overlaps is searched twice.
	BlockBytes   = 16 << 20
	BlockOverlap = 256 << 10
	// MaxName bounds the name that rules may ask for with the external variables filename and extension.
	MaxName = 255
)

// Request is what scanworker sends, one field set.
type Request struct {
	Batch  []Piece `cbor:"1,keyasint,omitempty"`
	Stream *Stream `cbor:"2,keyasint,omitempty"`
	Filled *Filled `cbor:"3,keyasint,omitempty"`
}

// Piece is one item that lies wholly in the buffer.
type Piece struct {
	ID     uint64 `cbor:"1,keyasint"`
	Offset int64  `cbor:"2,keyasint"` // in the buffer
	Bytes  int64  `cbor:"3,keyasint"`
	Name   []byte `cbor:"4,keyasint"` // last component of the path, cut to MaxName
	Type   string `cbor:"5,keyasint"` // media type by content
}

// Stream is one item that is larger than the buffer.
type Stream struct {
	ID    uint64 `cbor:"1,keyasint"`
	Bytes int64  `cbor:"2,keyasint"`
	Name  []byte `cbor:"3,keyasint"`
	Type  string `cbor:"4,keyasint"`
}

// Filled answers Need: the block is in the buffer. Bytes is 0 if it could not be read, and then the scan of this item is
// void.
type Filled struct {
	Offset int64 `cbor:"1,keyasint"` // in the item
	Bytes  int64 `cbor:"2,keyasint"`
	At     int64 `cbor:"3,keyasint,omitempty"` // in the buffer
}

// Answer is what yaraworker sends, one field set.
type Answer struct {
	Ready *Ready `cbor:"1,keyasint,omitempty"`
	Need  *Need  `cbor:"2,keyasint,omitempty"`
	Done  *Done  `cbor:"3,keyasint,omitempty"`
}

// Ready is the first answer: rules are loaded and the sandbox is entered.
type Ready struct {
	Rules int `cbor:"1,keyasint"`
}

// Need asks for a block of the Stream under way.
type Need struct {
	Offset int64 `cbor:"1,keyasint"`
	Bytes  int64 `cbor:"2,keyasint"` // at most BlockBytes
}

// Done is the result for one item.
type Done struct {
	ID      uint64  `cbor:"1,keyasint"`
	Scanned bool    `cbor:"2,keyasint"` // false: libyara returned an error, and the item is unscanned
	Matches []Match `cbor:"3,keyasint,omitempty"`
}

// Match is one rule that matched.
type Match struct {
	Rule     string          `cbor:"1,keyasint"`
	Severity report.Severity `cbor:"2,keyasint"` // from the rule's meta "severity"; Block where it says nothing
	Offset   int64           `cbor:"3,keyasint"` // of the first string that matched, -1 if the rule has none
	Text     string          `cbor:"4,keyasint"` // the rule's meta "description"
	Author   string          `cbor:"5,keyasint"` // the rule's meta "author"
}

// Finding is the match as a report shows it. What it says comes from a process that held hostile bytes, so it is cut and
// held against the words that exist.
func (m Match) Finding() report.Finding {
	text := cut(m.Text, 320)
	if text == "" {
		text = fmt.Sprintf("The content matches rule %s.", cut(m.Rule, 128))
	}
	if m.Author != "" {
		text += " (rule by " + cut(m.Author, 128) + ")"
	}
	severity := m.Severity
	if severity > report.Inform {
		severity = report.Block
	}
	return report.Finding{Check: report.CheckYARA, Rule: cut(m.Rule, 256), Severity: severity, Offset: max(m.Offset, -1), Text: cut(text, report.MaxText)}
}

// cut shortens s to at most n bytes without leaving half a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
