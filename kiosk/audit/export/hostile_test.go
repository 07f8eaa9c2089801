package export

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// A database that somebody changed can hold any text where the station writes words. It stays text: no form has a line, a cell, an
// element or a field more for it.
func TestT09_HostileTextStaysText(t *testing.T) {
	_, x := busy(t)
	nasty := "=cmd|' /C calc'!A1\"\r\n<x>&\x00\x1b[2J\u202e\xff ]\\|\tsuid=root</AuditMessage>"
	item := &Item{Name: nasty, Kind: nasty, Type: nasty, Outcome: nasty, SHA256: nasty, Findings: []Finding{{nasty, nasty}}}
	record := &Record{Kind: "decided", Session: "5e000000000000000000000000000001", Person: nasty, Second: nasty, Port: nasty, Class: nasty, Verdict: nasty,
		Codes: []string{nasty, nasty}, Medium: &Medium{Source: nasty}, Rules: Rules{Name: nasty, Digest: nasty}, Content: nasty, Digest: nasty, What: nasty,
		Text: nasty, Data: json.RawMessage(`{}`), About: -1, failed: []string{nasty}, First: true}
	for _, name := range []Format{CSV, ATNA, FHIR, OCSF, Syslog, ATNASyslog, PDF} {
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		f := forms[name].make(x, w)
		for _, err := range []error{f.begin(t.Context()), f.entry(record), f.item(record, item), f.end(), w.Flush()} {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		switch name {
		case CSV:
			rows, err := csv.NewReader(&out).ReadAll()
			if err != nil || len(rows) != 5 { // header, export, entry, item, checkpoint
				t.Fatalf("%d rows: %v", len(rows), err)
			}
			for _, cell := range append(rows[2], rows[3]...) {
				if strings.ContainsAny(cell, "\"\r\n\x00;|") || cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
					t.Errorf("a cell of %q", cell)
				}
			}
		case ATNA:
			dec, messages := xml.NewDecoder(&out), 0
			for {
				token, err := dec.Token()
				if err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if e, ok := token.(xml.StartElement); ok && e.Name.Local == "AuditMessage" {
					messages++
				} else if ok && e.Name.Local == "x" {
					t.Error("an element of the text's own")
				}
			}
			if messages != 2 || len(lines) != 5 {
				t.Errorf("%d messages in %d lines", messages, len(lines))
			}
		case FHIR, OCSF:
			for _, text := range lines {
				if !json.Valid([]byte(text)) {
					t.Errorf("%s: %s", name, text)
				}
			}
			if want := map[Format]int{FHIR: 2, OCSF: 3}[name]; len(lines) != want {
				t.Errorf("%s: %d lines", name, len(lines))
			}
		case Syslog:
			for _, text := range lines {
				if m := syslogForm.FindStringSubmatch(text); m == nil || strings.Contains(text, " suid=root") {
					t.Errorf("%s", text)
				}
			}
			if len(lines) != 3 {
				t.Errorf("%d lines", len(lines))
			}
		case ATNASyslog:
			if len(lines) != 2 {
				t.Errorf("%d lines", len(lines))
			}
		case PDF:
			if bytes.Contains(out.Bytes(), []byte(nasty)) || bytes.ContainsAny(out.Bytes(), "\x00\x1b") {
				t.Error("the report holds control characters")
			}
		}
	}
}
