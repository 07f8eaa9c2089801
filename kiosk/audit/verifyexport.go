package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
)

// maxLine bounds a line of an export: a leaf in base64, its checkpoint, and what they say in words.
const maxLine = 4*maxLeaf + 2*maxNote

// ItemLine is a row of a session's items in an export. The rows come in order behind the entry with the session's first
// verdict, all of them or none.
type ItemLine struct {
	Session ID     `json:"session"`
	Row     uint64 `json:"row"`
	Item    Item   `json:"item"`
}

// ExportResult is what VerifyExport found out. The zero value is an export that is not sound.
type ExportResult struct {
	Sound     bool    `json:"sound"`
	Bad       *Broken `json:"bad,omitempty"` // the first thing that is wrong
	From      int64   `json:"from"`
	Entries   int64   `json:"entries"` // that were checked
	Items     uint64  `json:"items"`   // rows that were there and match their verdict
	Witnesses int     `json:"witnesses"`
	Head      Head    `json:"head"` // of the log when the export was made
}

// VerifyExport checks an export without the station: lines of JSON, of which the first is a Span, and each other one is a
// Signed or an ItemLine, as encoding/json writes them. The leaves decide; a line that says something else than its leaf is
// wrong. accepted are checkpoints that the reader already has: an export that continues from one proves that it does, and one
// of another history is found. Memory does not grow with the export.
func VerifyExport(from io.Reader, origin string, keys note.Verifiers, accepted ...string) (ExportResult, error) {
	var res ExportResult
	err := verifyExport(from, origin, keys, accepted, &res)
	var bad *Broken
	switch {
	case errors.As(err, &bad):
		res.Bad = bad
		return res, nil
	case err != nil:
		return res, fmt.Errorf("verify the export: %w", err)
	}
	res.Sound = true
	return res, nil
}

func verifyExport(from io.Reader, origin string, keys note.Verifiers, accepted []string, res *ExportResult) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	if !lines.Scan() {
		return errors.Join(&Broken{-1, "it is empty"}, lines.Err())
	}
	var span Span
	if err := json.Unmarshal(lines.Bytes(), &span); err != nil {
		return &Broken{-1, "its first line does not say what it is"}
	}
	if again, err := json.Marshal(span); err != nil || !bytes.Equal(again, lines.Bytes()) { // words that nothing proves
		return &Broken{-1, "its first line says more than what it is"}
	}
	c, err := newChain(span, origin, keys, accepted)
	if err != nil {
		return err
	}
	res.From = span.From
	var items exportedItems
	var steps counts
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"session":`)) { // an entry's line begins with its index
			if err := items.add(lines.Bytes()); err != nil {
				return err
			}
			res.Items++
			continue
		}
		if err := items.end(); err != nil {
			return err
		}
		e, err := c.line(lines.Bytes())
		if err != nil {
			return err
		}
		if err := steps.follow(e); err != nil {
			return err
		}
		items.begin(e)
		res.Entries++
		res.Witnesses = c.seen
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return &Broken{c.size, "its line is longer than any entry's"}
	} else if err != nil {
		return err
	}
	if err := items.end(); err != nil {
		return err
	}
	res.Head, err = c.end()
	res.Witnesses = c.seen
	return err
}

// line checks one entry's line.
func (c *chain) line(line []byte) (Entry, error) {
	var s struct {
		Index      int64  `json:"index"`
		Leaf       []byte `json:"leaf"`
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return Entry{}, &Broken{c.size, "its line cannot be read"}
	}
	if err := c.add(s.Index, s.Leaf, s.Checkpoint); err != nil {
		return Entry{}, err
	}
	e, err := decodeLeaf(s.Leaf)
	if err != nil {
		return Entry{}, &Broken{s.Index, fmt.Sprintf("leaf cannot be read: %v", err)}
	}
	e.Index = s.Index
	again, err := json.Marshal(Signed{e, s.Leaf, s.Checkpoint})
	if err != nil {
		return Entry{}, err
	}
	if !bytes.Equal(again, line) {
		return Entry{}, &Broken{s.Index, "its line says something else than its leaf"}
	}
	return e, nil
}

// exportedItems holds rows against the verdict before them.
type exportedItems struct {
	entry Entry
	rows  uint64
	sum   interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (x *exportedItems) begin(e Entry) { *x = exportedItems{entry: e} }

func (x *exportedItems) add(line []byte) error {
	d, ok := x.entry.Data.(Decided)
	var row ItemLine
	switch {
	case !ok:
		return &Broken{x.entry.Index, "rows of items follow an entry that binds none"}
	case json.Unmarshal(line, &row) != nil:
		return &Broken{x.entry.Index, fmt.Sprintf("row %d of its items cannot be read", x.rows)}
	}
	if again, err := json.Marshal(row); err != nil || !bytes.Equal(again, line) || row.Session != x.entry.Session || row.Row != x.rows || x.rows >= d.Items {
		return &Broken{x.entry.Index, fmt.Sprintf("row %d of its items is not the one that belongs there", x.rows)}
	}
	if x.sum == nil {
		x.sum = newItemsDigest(x.entry.Session)
	}
	data, err := encoder.Marshal(row.Item)
	if err != nil {
		return err
	}
	x.sum.Write(data)
	x.rows++
	return nil
}

// end checks the rows of a verdict once all are there.
func (x *exportedItems) end() error {
	if x.rows == 0 {
		return nil
	}
	d := x.entry.Data.(Decided) // add has seen that it is one
	switch {
	case x.rows < d.Items:
		return &Broken{x.entry.Index, fmt.Sprintf("row %d of its items is missing", x.rows)}
	case Digest(x.sum.Sum(nil)) != d.ItemsDigest:
		return &Broken{x.entry.Index, "its items do not match their digest: a row was changed"}
	}
	return nil
}
