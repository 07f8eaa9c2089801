package feed

import (
	"encoding/csv"
	"strconv"
	"strings"
	"time"
)

func (w *writer) plain(line string) error {
	hash := line
	if i := strings.IndexAny(line, " \t,;#"); i >= 0 {
		hash = line[:i]
	}
	return w.take(strings.Trim(hash, `"`), "", time.Time{})
}

func (w *writer) hdb(line string) error {
	fields := strings.Split(line, ":")
	if len(fields) < 3 || len(fields) > 5 {
		w.refuse("no entry of a .hdb or .hsb: HASH:SIZE:NAME")
		return nil
	}
	if size := fields[1]; size != "*" {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n < 0 {
			w.refuse("no entry of a .hdb or .hsb: the size is none")
			return nil
		}
		if n < tinyBytes {
			w.refuse("a file of fewer than 64 bytes")
			return nil
		}
	}
	return w.take(fields[0], fields[2], time.Time{})
}

// csv takes the SHA-256 of MalwareBazaar's lines: the weaker hashes beside it are of the same file.
func (w *writer) csv(line string) error {
	r := csv.NewReader(strings.NewReader(line))
	r.TrimLeadingSpace, r.FieldsPerRecord = true, -1
	fields, err := r.Read()
	if err != nil || len(fields) < 2 {
		w.refuse("no line of MalwareBazaar's CSV")
		return nil
	}
	if strings.HasPrefix(fields[0], "first_seen") {
		return nil // the head, where somebody took the # away
	}
	date, err := time.Parse(time.DateTime, fields[0])
	if err != nil {
		w.refuse("no line of MalwareBazaar's CSV: it begins with no date")
		return nil
	}
	note := ""
	if len(fields) > 8 {
		note = fields[8] // the family
	}
	return w.take(fields[1], note, date)
}
