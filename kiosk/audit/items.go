package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"

	"pratique/scanner/report"
)

const (
	itemsPrefix = "pratique items v1\x00" // keeps the digest apart from everything else that is hashed
	// itemBatch is how many rows go into one transaction: few enough that another process's entry waits for milliseconds.
	itemBatch = 1000
	// minItemKey: with a shorter key, names could be found by trying keys.
	minItemKey = 16
	// maxRule is longer than libyara lets a rule's name be (128), and than any word of the program.
	maxRule = 128
	// maxType is longer than any registered media type (RFC 6838 section 4.2 allows 127 for each half; none has more than 80).
	maxType = 128
	// invalidWord stands in for a type or a rule's name that has bytes which such words do not have. The fact that there
	// was one is kept; the bytes are not, because they came from the process that read the medium.
	invalidWord = "invalid-name"
)

// Name is an item's pseudonym: the same path has the same one within a session, and another one in the next session.
func Name(key []byte, session ID, path, member string) [16]byte {
	mac := hmac.New(sha256.New, key)
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(path)))
	mac.Write(n[:]) // without it, a path and a member could be cut apart elsewhere and give the same bytes
	mac.Write(session[:])
	mac.Write([]byte(path))
	mac.Write([]byte(member))
	return [16]byte(mac.Sum(nil))
}

// Item is one row: what the log keeps of a report.Item. Its encoding is what the digest is taken over.
type Item struct {
	_        struct{} `cbor:",toarray"`
	Volume   int64    `json:"volume"`
	Kind     string   `json:"kind"`
	Name     ID       `json:"name"` // pseudonym
	Size     int64    `json:"size"`
	SHA256   *Digest  `json:"sha256"` // nil if the item was not seen in full
	Type     string   `json:"type"`
	Outcome  string   `json:"outcome"`
	Findings string   `json:"findings"` // "check:rule", separated by spaces
}

// Items records the items of one session. It is not safe for concurrent use. The first error is final: the session
// cannot be bound to its items any more, and must not be cleared.
type Items struct {
	log     *Log
	session ID
	key     []byte
	rows    []Item // not written yet
	seq     uint64 // of the first of them
	digest  hash.Hash
	rules   ruleFacts
	secret  *secret // of the session; nil where no names are kept
	sealed  []sealedItem
	names   int // that were sealed so far
	bytes   int // of them
	err     error
}

// errClosed is what is left of Items after Close.
var errClosed = errors.New("items: closed")

// NewItems begins the list of a session's items, whose names are turned into pseudonyms under key (at least 16 bytes,
// kept by the caller, never in the log) and, where names are kept, the session's own secret. The names of items that are not
// clean are kept themselves: nobody ever has to be told the others.
func (l *Log) NewItems(session ID, key []byte) *Items {
	it := &Items{log: l, session: session, key: key, digest: newItemsDigest(session), rules: ruleFacts{}}
	if len(key) < minItemKey || session == (ID{}) {
		it.err = errors.New("items: no session, or a key that is too short")
	}
	if it.secret = l.names.of(session); it.secret != nil {
		it.key = it.secret.itemKey(key)
	}
	return it
}

func newItemsDigest(session ID) hash.Hash {
	h := sha256.New()
	h.Write([]byte(itemsPrefix))
	h.Write(session[:])
	return h
}

func addItem(digest hash.Hash, row Item) error {
	data, err := encoder.Marshal(row)
	if err != nil {
		return fmt.Errorf("items: %w", err)
	}
	digest.Write(data)
	return nil
}

// Add records one item. Rows are written a thousand at a time; after a crash those of an unfinished session may be
// there in part, bound by nothing.
func (it *Items) Add(ctx context.Context, item report.Item) error {
	if it.err != nil {
		return it.err
	}
	row := rowOf(item, Name(it.key, it.session, item.Path, item.Member))
	if it.err = addItem(it.digest, row); it.err != nil {
		return it.err
	}
	if it.err = it.seal(item); it.err != nil {
		return it.err
	}
	it.rules.add(row.Findings)
	it.rows = append(it.rows, row)
	if len(it.rows) < itemBatch {
		return nil
	}
	it.err = it.flush(ctx)
	return it.err
}

// seal keeps the name of an item that is not clean, up to the limits.
func (it *Items) seal(item report.Item) error {
	if it.secret == nil || item.Outcome == report.Clean && len(item.Findings) == 0 || it.names >= maxSessionNames || it.bytes > maxSessionBytes {
		return nil
	}
	seq := int64(it.seq) + int64(len(it.rows))
	text, _, err := it.secret.sealText("item", it.session, seq, NamedItem{Path: item.Path, Member: item.Member})
	if err != nil {
		return fmt.Errorf("items: %w", err)
	}
	it.names, it.bytes = it.names+1, it.bytes+len(text)
	it.sealed = append(it.sealed, sealedItem{seq, text})
	return nil
}

// Close writes what is left and returns the digest over all rows and their number, for the session's Decided.
func (it *Items) Close(ctx context.Context) (digest Digest, n uint64, err error) {
	if it.err == nil {
		it.err = it.flush(ctx)
	}
	if it.err != nil {
		return Digest{}, 0, it.err
	}
	it.err = errClosed
	it.log.found(it.session, it.rules.words())
	return Digest(it.digest.Sum(nil)), it.seq, nil
}

// found keeps the facts of a session's items until its first verdict, with which they are entered.
func (l *Log) found(session ID, rules []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.live[session]; s != nil {
		s.rules = rules
	}
}

func (it *Items) flush(ctx context.Context) error {
	if len(it.rows) == 0 {
		return nil
	}
	if err := it.log.names.putItems(ctx, it.session, it.sealed); err != nil {
		return fmt.Errorf("items: %w", err)
	}
	it.sealed = it.sealed[:0]
	tx, err := it.log.w.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("items: %w", classify(err))
	}
	defer tx.Rollback()
	insert, err := tx.PrepareContext(ctx, "INSERT INTO item(session, seq, volume, kind, name, size, sha256, type, outcome, "+
		"findings) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return fmt.Errorf("items: %w", classify(err))
	}
	defer insert.Close()
	quick := context.WithoutCancel(ctx) // one goroutine per row is what watching the context here would cost
	sums := make([]byte, 0, itemBatch*prefixBytes)
	for i, r := range it.rows {
		sums = appendPrefix(sums, r.SHA256)
		var sum []byte // NULL if the item was not seen
		if r.SHA256 != nil {
			sum = r.SHA256[:]
		}
		_, err := insert.ExecContext(quick, it.session[:], int64(it.seq)+int64(i), r.Volume, r.Kind, r.Name[:], r.Size, sum,
			r.Type, r.Outcome, r.Findings)
		if err != nil {
			return fmt.Errorf("items: %w", classify(err))
		}
	}
	if err := addPrefixes(ctx, tx, it.session, int64(it.seq), sums); err != nil {
		return fmt.Errorf("items: %w", err)
	}
	if err := it.log.step("items"); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("items: %w", classify(err))
	}
	it.seq += uint64(len(it.rows))
	it.rows = it.rows[:0]
	return nil
}

// rowOf keeps of an item what names nobody. A file's extension can be part of a name, so it is not kept.
func rowOf(item report.Item, name [16]byte) Item {
	r := Item{Volume: int64(item.Volume), Kind: item.Kind.String(), Name: name, Size: item.Size, Type: mediaType(item.Type),
		Outcome: item.Outcome.String()}
	if item.Outcome.Seen() {
		sum := Digest(item.SHA256)
		r.SHA256 = &sum
	}
	findings := item.Findings
	if len(findings) > report.MaxPerItem { // the report's own limit: more cannot have come through its codec
		findings = findings[:report.MaxPerItem]
	}
	var b strings.Builder
	for i, f := range findings {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(f.Check.String() + ":" + wordOr(f.Rule, maxRule, ""))
	}
	r.Findings = b.String()
	return r
}

// mediaType keeps "type/subtype" and drops parameters.
func mediaType(s string) string {
	if s == "" {
		return ""
	}
	s, _, _ = strings.Cut(s, ";")
	if strings.Count(s, "/") != 1 {
		return invalidWord
	}
	return wordOr(s, maxType, "/")
}

// wordOr returns the word if it has only letters, digits, '.', '_', '-', '+' and the extra bytes, else invalidWord.
func wordOr(s string, limit int, extra string) string {
	if s == "" || len(s) > limit {
		return invalidWord
	}
	for _, c := range []byte(s) {
		if !wordByte(c) && !strings.ContainsRune(extra, rune(c)) {
			return invalidWord
		}
	}
	return s
}
