package audit

import (
	"context"
	"crypto/hmac"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Disclosed says that two persons were shown names.
type Disclosed struct {
	Session ID        `cbor:"1,keyasint" json:"names_of"` // zero if it is a single entry
	Entry   int64     `cbor:"2,keyasint" json:"entry"`    // -1 if it is a session
	Asked   Pseudonym `cbor:"3,keyasint" json:"asked"`
	Agreed  Pseudonym `cbor:"4,keyasint" json:"agreed"`
	Reason  Word      `cbor:"5,keyasint" json:"reason"`
}

func (d Disclosed) check() error {
	if d.Asked == (Pseudonym{}) || d.Agreed == (Pseudonym{}) || d.Asked == d.Agreed {
		return errors.New("not two persons")
	}
	if d.Entry < -1 || (d.Session != (ID{})) != (d.Entry == -1) {
		return errors.New("want one session or one entry")
	}
	return d.Reason.check()
}

// Disclosure is what the side table keeps of one session, or of one entry that belongs to none, with the keys that prove it:
// the leaf of each entry holds HMAC-SHA256(CommitKey, prefix ‖ text), and an item's pseudonym is Name(ItemKey, ...). The keys
// are the session's own, and say nothing of any other.
type Disclosure struct {
	Session   ID              `json:"session,omitzero"`
	Entries   []NamedEntry    `json:"entries"`
	Items     []DisclosedItem `json:"items,omitempty"`
	CommitKey string          `json:"commit_key"` // hex
	ItemKey   string          `json:"item_key,omitempty"`
}

// NamedEntry is an entry with its names.
type NamedEntry struct {
	Index int64 `json:"index"`
	Named
}

// DisclosedItem is the path of an item, which its pseudonym in the row proves.
type DisclosedItem struct {
	Row       int64     `json:"row"`
	Pseudonym ID        `json:"name"`
	Item      NamedItem `json:"item"`
}

// itemJSON writes a path that is no UTF-8 in base64, so that whoever has the text can check it.
type itemJSON struct {
	Path   string   `json:"path,omitempty"`
	Member string   `json:"member,omitempty"`
	Bytes  [][]byte `json:"bytes,omitempty"` // path and member
}

// MarshalJSON gives path and member, or the bytes of both.
func (it NamedItem) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(it.Path) && utf8.ValidString(it.Member) {
		return json.Marshal(itemJSON{Path: it.Path, Member: it.Member})
	}
	return json.Marshal(itemJSON{Bytes: [][]byte{[]byte(it.Path), []byte(it.Member)}})
}

// UnmarshalJSON is the reverse.
func (it *NamedItem) UnmarshalJSON(data []byte) error {
	var j itemJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	if it.Path, it.Member = j.Path, j.Member; len(j.Bytes) == 2 {
		it.Path, it.Member = string(j.Bytes[0]), string(j.Bytes[1])
	}
	return nil
}

// ErrNotNamed says that the log keeps no names of what was asked for.
var ErrNotNamed = errors.New("no names are kept of it")

// Disclose opens the names of a session or, if session is zero, of the entry at index. The log is told first, so that nothing is
// read that it does not know of. stationKey is the one that NewItems was given. What does not match what the log committed to
// is left out: it was left by a writer that died, or put there.
func (l *Log) Disclose(ctx context.Context, session ID, index int64, told Disclosed, stationKey []byte) (*Disclosure, error) {
	if l.names == nil {
		return nil, fmt.Errorf("disclose: %w", ErrNotNamed)
	}
	subject := session
	if session == (ID{}) {
		var err error
		if subject, err = l.names.subjectOf(ctx, index); err != nil {
			return nil, fmt.Errorf("disclose: %w", err)
		}
	}
	s, err := l.names.secretOf(ctx, l.names.db, subject)
	if err != nil {
		return nil, fmt.Errorf("disclose: %w", namesError(err))
	}
	told.Session, told.Entry = session, index
	if session != (ID{}) {
		told.Entry = -1
	}
	if _, err := l.Append(ctx, Event{Data: told}); err != nil {
		return nil, err
	}
	d := &Disclosure{Session: session, Entries: []NamedEntry{}, CommitKey: hex.EncodeToString(s.commit)}
	if err := l.disclosedEntries(ctx, d, s, subject); err != nil {
		return nil, fmt.Errorf("disclose: %w", err)
	}
	if session != (ID{}) {
		key := s.itemKey(stationKey)
		d.ItemKey = hex.EncodeToString(key)
		if err := l.disclosedItems(ctx, d, s, key); err != nil {
			return nil, fmt.Errorf("disclose: %w", err)
		}
	}
	return d, nil
}

func (n *names) subjectOf(ctx context.Context, index int64) (ID, error) {
	var subject []byte
	err := n.db.QueryRowContext(ctx, "SELECT subject FROM entry WHERE idx = ?", index).Scan(&subject)
	if errors.Is(err, sql.ErrNoRows) {
		return ID{}, ErrNotNamed
	}
	if err != nil {
		return ID{}, namesError(classify(err))
	}
	return ID(subject), nil
}

func (l *Log) disclosedEntries(ctx context.Context, d *Disclosure, s *secret, subject ID) error {
	rows, err := l.names.db.QueryContext(ctx, "SELECT idx, text FROM entry WHERE subject = ? ORDER BY idx", subject[:])
	if err != nil {
		return namesError(classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var e NamedEntry
		var sealed []byte
		if err := rows.Scan(&e.Index, &sealed); err != nil {
			return namesError(classify(err))
		}
		text, err := s.openText("entry", subject, e.Index, sealed, &e.Named)
		if err != nil {
			return namesError(err)
		}
		leaf, err := readEntry(ctx, l.Reader.db, e.Index)
		if errors.Is(err, ErrBroken) && leaf.Leaf == nil { // its writer died before the log took it
			continue
		}
		if err != nil {
			return err
		}
		if leaf.Names != nil && *leaf.Names == s.commitment(text) {
			d.Entries = append(d.Entries, e)
		}
	}
	return namesError(classify(rows.Err()))
}

func (l *Log) disclosedItems(ctx context.Context, d *Disclosure, s *secret, key []byte) error {
	rows, err := l.names.db.QueryContext(ctx, "SELECT seq, text FROM item WHERE subject = ? ORDER BY seq", d.Session[:])
	if err != nil {
		return namesError(classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var it DisclosedItem
		var sealed, name []byte
		if err := rows.Scan(&it.Row, &sealed); err != nil {
			return namesError(classify(err))
		}
		if _, err := s.openText("item", d.Session, it.Row, sealed, &it.Item); err != nil {
			return namesError(err)
		}
		err := l.Reader.db.QueryRowContext(ctx, "SELECT name FROM item WHERE session = ? AND seq = ?", d.Session[:], it.Row).Scan(&name)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return classify(err)
		}
		it.Pseudonym = Name(key, d.Session, it.Item.Path, it.Item.Member)
		if hmac.Equal(it.Pseudonym[:], name) {
			d.Items = append(d.Items, it)
		}
	}
	return namesError(classify(rows.Err()))
}

// Check holds a disclosure against the log, or a copy of it: each name against what was committed to when it was entered. It
// is for who was given one and does not believe the station.
func (d *Disclosure) Check(ctx context.Context, r *Reader) error {
	commit, err := hex.DecodeString(d.CommitKey)
	if err != nil {
		return errors.New("the disclosure's key is malformed")
	}
	s := &secret{commit: commit}
	for _, e := range d.Entries {
		leaf, err := readEntry(ctx, r.db, e.Index)
		if err != nil {
			return err
		}
		text, err := encoder.Marshal(e.Named)
		if err != nil {
			return err
		}
		if leaf.Names == nil || *leaf.Names != s.commitment(text) || leaf.Session != d.Session {
			return &Broken{e.Index, "its names are not what its leaf committed to"}
		}
	}
	key, err := hex.DecodeString(d.ItemKey)
	if err != nil {
		return errors.New("the disclosure's key is malformed")
	}
	for _, it := range d.Items {
		var n int
		name := Name(key, d.Session, it.Item.Path, it.Item.Member)
		row := r.db.QueryRowContext(ctx, "SELECT count(*) FROM item WHERE session = ? AND seq = ? AND name = ?", d.Session[:], it.Row, name[:])
		if err := row.Scan(&n); err != nil {
			return classify(err)
		}
		if n != 1 {
			return &Broken{-1, fmt.Sprintf("the path of row %d is not the one that was seen", it.Row)}
		}
	}
	return nil
}
