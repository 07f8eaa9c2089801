package kiosk

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
)

// ErrQuery says that what somebody looks for in the log cannot be understood.
var ErrQuery = errors.New("the search cannot be understood")

// Find looks in the log for what somebody asks in words.
func (s *State) Find(ctx context.Context, what localapi.Search) ([]audit.Match, error) {
	if what.Session != "" {
		entries, err := s.Show(ctx, what.Session)
		if err != nil {
			return nil, err
		}
		return []audit.Match{{Session: entries[0].Session, Entries: entries}}, nil
	}
	q, err := s.query(what)
	if err != nil {
		return nil, err
	}
	return s.Search(ctx, q)
}

func (s *State) query(what localapi.Search) (q audit.Query, err error) {
	q = audit.Query{Class: audit.Word(what.Class), Rule: what.Rule, Pack: what.Pack, Limit: what.Max}
	if q.Since, err = ParseTime(what.Since); err != nil {
		return q, err
	}
	if q.Until, err = ParseTime(what.Until); err != nil {
		return q, err
	}
	if what.Verdict != "" {
		all := []audit.Verdict{audit.CouldNotCheck, audit.NotCleared, audit.Cleared}
		i := slices.IndexFunc(all, func(v audit.Verdict) bool { return v.String() == what.Verdict })
		if i < 0 {
			return q, fmt.Errorf("%w: a verdict is cleared, \"not cleared\" or \"could not check\"", ErrQuery)
		}
		q.Verdicts = all[i : i+1]
	}
	if what.Kind != "" {
		k, err := audit.ParseKind(what.Kind)
		if err != nil {
			return q, fmt.Errorf("%w: %w", ErrQuery, err)
		}
		q.Kinds = []audit.Kind{k}
	}
	if what.SHA256 != "" {
		q.SHA256 = new(audit.Digest)
		if err := q.SHA256.UnmarshalText([]byte(strings.ToLower(what.SHA256))); err != nil {
			return q, fmt.Errorf("%w: a SHA-256 has 64 digits", ErrQuery)
		}
	}
	if what.Operator != "" {
		q.Operator = s.pseudonym(what.Operator)
		if p, err := hex.DecodeString(what.Operator); err == nil && len(p) == len(q.Operator) {
			q.Operator = audit.Pseudonym(p)
		}
	}
	return q, nil
}

// ParseTime reads a time as people write it: a day, or RFC 3339. Empty is the zero time.
func ParseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %q is no time such as 2026-11-21 or 2026-11-21T08:00:00Z", ErrQuery, text)
}

// foundMatch is a match on its way from the daemon: leaves, which the other side reads by itself.
type foundMatch struct {
	Session audit.ID     `json:"session"`
	Entries []foundEntry `json:"entries"`
	Items   []audit.Row  `json:"items,omitempty"`
}

type foundEntry struct {
	Index int64  `json:"index"`
	Leaf  []byte `json:"leaf"`
}

// EncodeMatches writes matches for a message of at most limit bytes. more says that the last ones did not fit.
func EncodeMatches(found []audit.Match, limit int) (text []byte, more bool, err error) {
	var lines [][]byte
	left := limit - 2
	for _, m := range found {
		out := foundMatch{Session: m.Session, Items: m.Items}
		for _, e := range m.Entries {
			out.Entries = append(out.Entries, foundEntry{e.Index, e.Leaf})
		}
		line, err := json.Marshal(out)
		if err != nil {
			return nil, false, err
		}
		if left -= len(line) + 1; left < 0 {
			more = true
			break
		}
		lines = append(lines, line)
	}
	text = []byte("[")
	for i, line := range lines {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, line...)
	}
	return append(text, ']'), more, nil
}

// DecodeMatches is the reverse.
func DecodeMatches(text []byte) ([]audit.Match, error) {
	var in []foundMatch
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("what the daemon found: %w", err)
	}
	var out []audit.Match
	for _, m := range in {
		match := audit.Match{Session: m.Session, Items: m.Items}
		for _, e := range m.Entries {
			entry, err := audit.DecodeEntry(e.Index, e.Leaf)
			if err != nil {
				return nil, fmt.Errorf("what the daemon found: %w", err)
			}
			match.Entries = append(match.Entries, entry)
		}
		out = append(out, match)
	}
	return out, nil
}
