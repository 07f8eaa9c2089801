package export

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// csvTable is RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180): a header, lines that end in CRLF, quotes doubled inside of
// quotes. Column "record" says what a line is: "export" (the first: what was exported), "entry", "item" (of the entry before)
// or "checkpoint" (the last: its column "text" holds the signed checkpoint, as "audit verify" and Options.After take it).
//
// Spreadsheets run what looks like a formula. A cell that begins with = + - @, a tab or a line's end gets an apostrophe in
// front (https://owasp.org/www-community/attacks/CSV_Injection), whoever chose its first letter: a rule's name comes from a
// feed. Where a comma does not separate cells, as in much of Europe, a quote in the middle could begin a cell of its own: no
// cell but the checkpoint has any byte but letters, digits, spaces and a few marks that separate nothing there.
type csvTable struct {
	x *Export
	w *bufio.Writer
}

func newCSV(x *Export, w *bufio.Writer) form { return &csvTable{x, w} }

// row is one line, by its columns.
type row map[string]string

var csvColumns = []string{"record", "index", "time", "kind", "session", "person", "second", "port", "class", "verdict", "why", "source", "bytes",
	"vendor", "product", "rules", "rules_digest", "content", "files", "directories", "streams", "members", "findings", "about", "what",
	"number", "digest", "clock_behind", "item", "volume", "item_kind", "name", "size", "sha256", "type", "outcome", "found", "text"}

func (c *csvTable) begin(context.Context) error {
	c.w.WriteString(strings.Join(csvColumns, ",") + "\r\n")
	text := fmt.Sprintf("log %s entries %d to before %d", c.x.Origin, c.x.From, c.x.To)
	if !c.x.Since.IsZero() {
		text += " since " + c.x.Since.Format(time.RFC3339)
	}
	if !c.x.Until.IsZero() {
		text += " until " + c.x.Until.Format(time.RFC3339)
	}
	return c.write(row{"record": "export", "text": plain(text)})
}

func (c *csvTable) entry(r *Record) error {
	out := row{"record": "entry", "index": strconv.FormatInt(r.Index, 10), "time": r.Time.Format(timeLayout), "kind": r.Kind, "session": r.Session,
		"person": r.Person, "second": r.Second, "port": r.Port, "class": r.Class, "verdict": r.Verdict, "why": strings.Join(r.Codes, " "), "rules": r.Rules.String(),
		"rules_digest": r.Rules.Digest, "content": r.Content, "what": r.What, "digest": r.Digest, "text": r.Text}
	if m := r.Medium; m != nil {
		out["source"], out["bytes"] = m.Source, strconv.FormatInt(m.Bytes, 10)
		if m.VID != 0 || m.PID != 0 {
			out["vendor"], out["product"] = fmt.Sprintf("0x%04x", m.VID), fmt.Sprintf("0x%04x", m.PID)
		}
	}
	if n := r.Counts; n != nil {
		for column, v := range map[string]uint64{"files": n.Files, "directories": n.Directories, "streams": n.Streams, "members": n.Members,
			"findings": n.Findings, "bytes": n.Bytes} {
			out[column] = strconv.FormatUint(v, 10)
		}
	}
	if r.About >= 0 {
		out["about"] = strconv.FormatInt(r.About, 10)
	}
	if r.Number > 0 {
		out["number"] = strconv.FormatUint(r.Number, 10)
	}
	if r.Behind > 0 {
		out["clock_behind"] = strconv.FormatUint(r.Behind, 10)
	}
	for column, text := range out {
		out[column] = plain(text)
	}
	return c.write(out)
}

func (c *csvTable) item(r *Record, it *Item) error {
	var found []string
	for _, f := range it.Findings {
		found = append(found, f.String())
	}
	out := row{"record": "item", "index": strconv.FormatInt(r.Index, 10), "session": r.Session, "item": strconv.FormatInt(it.Seq, 10),
		"volume": strconv.FormatInt(it.Volume, 10), "item_kind": it.Kind, "name": it.Name, "size": strconv.FormatInt(it.Size, 10), "sha256": it.SHA256,
		"type": it.Type, "outcome": it.Outcome, "found": strings.Join(found, " ")}
	if it.Volume < 0 { // of no volume: the medium's own
		out["volume"] = ""
	}
	for column, text := range out {
		out[column] = plain(text)
	}
	return c.write(out)
}

func (c *csvTable) end() error {
	return c.write(row{"record": "checkpoint", "index": strconv.FormatInt(c.x.To, 10), "text": c.x.Checkpoint})
}

func (c *csvTable) write(r row) error {
	for i, column := range csvColumns {
		if i > 0 {
			c.w.WriteByte(',')
		}
		c.w.WriteString(cell(r[column]))
	}
	_, err := c.w.WriteString("\r\n")
	return err
}

// cell makes a field of text.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		text = "'" + text
	}
	if strings.Trim(text, "0123456789") == "" {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
}

// plain writes every character that could mean something to a program as its number.
func plain(text string) string {
	ok := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" .:/_+-=@,", r)
	}
	if !strings.ContainsFunc(text, func(r rune) bool { return !ok(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if ok(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "U+%04X", r)
		}
	}
	return b.String()
}

// timeLayout is how every form but those with a rule of their own writes times: UTC, to the nanosecond that the log keeps.
const timeLayout = "2006-01-02T15:04:05.000000000Z"
