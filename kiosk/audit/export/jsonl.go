package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"pratique/kiosk/audit"
)

// jsonl is the form that proves itself: the lines that audit.VerifyExport takes, each one JSON object. The first is an
// audit.Span with the checkpoints of both ends, each other one an audit.Signed with its leaf and its own checkpoint, and behind
// the first verdict of a session its items as audit.ItemLine if they were asked for: all of them or none, since their digest is
// over all.
type jsonl struct {
	x *Export
	w *bufio.Writer
}

func newJSONL(x *Export, w *bufio.Writer) form { return &jsonl{x, w} }

func (j *jsonl) begin(context.Context) error { return line(j.w, j.x.Span) }

func (j *jsonl) entry(r *Record) error { return line(j.w, r.entry) }

func (j *jsonl) item(r *Record, it *Item) error {
	return line(j.w, audit.ItemLine{Session: r.entry.Session, Row: uint64(it.Seq), Item: it.row.Item})
}

func (j *jsonl) end() error { return nil }

// maxCheckpoint is more than any signed checkpoint, and than the first line of an export, which holds two.
const maxCheckpoint = 64 << 10

// Checkpoint reads the checkpoint of an earlier export: from a file that holds it alone, or from the export in this form.
func Checkpoint(from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxCheckpoint))
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(text, []byte("{")) {
		return string(text), nil
	}
	head, _, whole := bytes.Cut(text, []byte("\n"))
	var s audit.Span
	if err := json.Unmarshal(head, &s); err != nil || !whole || s.Checkpoint == "" {
		return "", errors.New("its first line does not say what it is")
	}
	return s.Checkpoint, nil
}

// line writes one object in one line.
func line(w *bufio.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Write(data)
	return w.WriteByte('\n') // a bufio.Writer keeps its first error
}
