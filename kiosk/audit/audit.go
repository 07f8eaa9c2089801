// Package audit is the station's log: what happened, in an order that nobody can change afterwards without it showing.
//
// # The file
//
// The log is one SQLite database, log.db, mode 0600, in WAL mode with synchronous=FULL, so that an entry is on the disk
// when Append returns. Application id 0x50525451 ("PRTQ"), user version 2. Its tables are STRICT and append-only:
//
//	entry(idx, time, kind, leaf)   one row per event; idx counts from 0 without a gap
//	hash(idx, hash)                the tree's stored hashes, numbered as golang.org/x/mod/sumdb/tlog numbers them
//	checkpoint(size, note)         signed tree heads; the first one, of size 0, is as old as the file
//	item(session, seq, ...)        one row per item of a medium, bound by a digest in the session's "decided" entry
//	fact(word, place)              an index (facts.go), and
//	prefix(session, seq, sums)     another one; both follow from the rest and prove nothing
//	cosignature(size, ...)         signed tree heads that a witness has signed too
//
// Version 1 lacked the last three; such a log is upgraded when its station opens it, and read as it is by everybody else.
//
// The columns time and kind repeat what the leaf says, for people with an SQL shell; the leaf alone is evidence. Time is
// UTC as 2006-01-02T15:04:05.000000000Z.
//
// # Leaves
//
// A leaf is the prefix "pratique log v1" and a zero byte, then deterministic CBOR (RFC 8949 section 4.2.1): a map
//
//	{1: version (1), 2: kind (text), 3: time (nanoseconds since 1970, UTC), 4: session (16 bytes, absent if none),
//	 5: how many seconds the clock is behind the latest entry (absent if it is not), 6: data (a map, by kind),
//	 7: commitment to the entry's names (32 bytes, absent if it has none)}
//
// where the data of each kind is the type of that name in event.go; the numbers are in its field tags. The leaf of an
// "issuing" entry is another one: it is the clearance itself less its log index, exactly as package clearance encodes
// it, so that a verifier can rebuild the leaf from a token alone. A reader accepts only the one encoding that this
// package writes. A complete leaf, "removed" of session 0102…10 at 2026-11-21T12:00:00Z:
//
//	707261746971756520 6c6f6720763100                  "pratique log v1", 0
//	a5 01 01                                           {1: 1,
//	   02 67 72656d6f766564                             2: "removed",
//	   03 1b 18ea0da41e9d8000                           3: 1795262400000000000,
//	   04 50 0102030405060708090a0b0c0d0e0f10           4: session,
//	   06 a0                                            6: {}}
//
// # The tree
//
// Leaves are hashed into the Merkle tree of RFC 6962 section 2.1 (https://www.rfc-editor.org/rfc/rfc6962#section-2.1).
// Each transaction that adds entries also signs the new tree head, so there is never an entry that no checkpoint covers.
// A checkpoint is C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) in a signed note (https://c2sp.org/signed-note)
// of exactly three lines: origin, size in decimal, root in base64. Before it extends the tree, the log holds the stored
// hashes and the last leaf against the last checkpoint: it never signs on top of a history that was changed.
//
// # Names
//
// No leaf and no row holds a name. Those that somebody may have to be told later, of persons, of devices and of items that are
// not clean, are in a file of their own, names.db, encrypted: each session, and each entry that belongs to none, has a secret of
// 32 random bytes; from it come (HKDF-SHA256, info "pratique names v1", 0, and the use) a key "seal" for AES-256-GCM, a key
// "commit", a key "items" and a key "files", for what the caller keeps of a session elsewhere (FileKey). A leaf commits to its names with HMAC-SHA256(commit, "pratique names v1" ‖ 0 ‖ text), where text
// is the CBOR array [person, serial]. Secrets are wrapped with the key of their month, one of some files that only the station's
// user may read. To erase is to destroy keys: the tree does not change, and nothing that is left opens what was erased, in a
// backup neither. A disclosure hands out the keys "commit" and "items" of one session, which prove its names and no others'.
//
// # Items
//
// An item's name is HMAC-SHA256(key, length of path (4 bytes) ‖ session ‖ path ‖ member), cut to 16 bytes, where key is
// HMAC-SHA256(the station's key, the session's key "items"). Where no names are kept it is the station's key. The digest in
// "decided" is SHA-256 over the prefix "pratique items v1" and a zero byte, the session, and each row in order as a CBOR
// array [volume, kind, name, size, sha256 or null, type, outcome, findings], where kind and outcome are the words of
// package report, and findings is "check:rule" for each finding, separated by spaces.
//
// # Trust and limits
//
// The log trusts this machine's kernel, its disk's flushes and the keeper of the signing key. It does not trust the
// database file: triggers and an authorizer stop accidents, the tree and its signatures show everything else. What Verify
// cannot see from the file alone is a file put back to an older state, or its tail cut together with the tail's
// checkpoints: for that it needs a checkpoint or a token that left the station (VerifyOptions). Who holds the signing
// key can write any history that no such witness contradicts.
//
// No clear name from a medium is in a leaf or a row: the types of this package have no place for one. A media type or a
// rule's name comes from the process that read the medium and is held to the alphabet of such words, no more.
//
// Names are safe from who copies names.db or a backup, and not from who copies the folder of the months' keys with it: there
// the disk's own encryption must help, and it alone reaches what a flash disk keeps of a key that was overwritten.
package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// FileName is the database's name in the state folder.
const FileName = "log.db"

// What can be wrong with a log as a whole. All but ErrBusy, ErrOrder and ErrClock are ErrUnusable too.
var (
	ErrUnusable = errors.New("the log cannot be used")
	ErrNewer    = fmt.Errorf("%w: it was written by a newer version of this program", ErrUnusable)
	ErrForeign  = fmt.Errorf("%w: the file is damaged or is no log of this program", ErrUnusable)
	ErrReadOnly = fmt.Errorf("%w: it cannot be written", ErrUnusable)
	ErrFull     = fmt.Errorf("%w: the disk is full", ErrUnusable)
	ErrBroken   = fmt.Errorf("%w: its chain is broken", ErrUnusable)
	ErrBusy     = errors.New("the log is in use by another process for too long")
	ErrOrder    = errors.New("the log does not take this entry at this point of the session")
	ErrClock    = errors.New("the clock jumped during the session")
)

// Broken is what is wrong with a log whose chain does not hold. It is ErrBroken.
type Broken struct {
	Index int64  `json:"index"` // the first bad entry; -1 if it is not about one entry
	What  string `json:"what"`  // one plain phrase, such as "leaf does not match the tree"
}

// Error names the entry.
func (b *Broken) Error() string {
	if b.Index < 0 {
		return b.What
	}
	return fmt.Sprintf("entry %d: %s", b.Index, b.What)
}

// Is makes a Broken an ErrBroken, and so an ErrUnusable.
func (b *Broken) Is(target error) bool { return target == ErrBroken || target == ErrUnusable }

// Options say whose log it is. Origin, Signer and Verifiers are required.
type Options struct {
	Origin    string         // the log's name, the same as the signer's; such as "kiosk-3.stmary.example/log"
	Signer    note.Signer    // signs checkpoints
	Verifiers note.Verifiers // the signer's own key and, after a change of keys, the older ones
	Now       func() time.Time
	// MonthKeys is the folder of the keys of names (NamesFile), which is made if it is not there. Without it no names are kept.
	MonthKeys string
}

// Log is an open log. It is safe for concurrent use, and several processes may have the same log open.
type Log struct {
	*Reader // reads through connections of its own
	opts    Options
	dir     string
	w       *sql.DB // one connection; its transactions are immediate
	names   *names  // nil if none are kept

	mu   sync.Mutex // held while entries are written
	live map[ID]*session

	fault func(step string) error // tests only: fails a write after the named step
}

// Open opens the log in dir, and creates it if there is none. It refuses a log whose last entries do not match the last
// checkpoint, or whose last checkpoint was not signed by a key in opts.Verifiers.
func Open(ctx context.Context, dir string, opts Options) (*Log, error) {
	switch {
	case opts.Signer == nil || opts.Verifiers == nil:
		return nil, fmt.Errorf("%w: no key to sign and check checkpoints", ErrUnusable)
	case !validOrigin(opts.Origin) || opts.Origin != opts.Signer.Name():
		return nil, fmt.Errorf("%w: its name %q is not the name of its key", ErrUnusable, opts.Origin)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	path, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if err := create(ctx, path, opts); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	l := &Log{opts: opts, dir: filepath.Dir(path), w: openWriter(path), live: map[ID]*session{}}
	l.Reader = &Reader{db: openReader(path, false), origin: opts.Origin, keys: opts.Verifiers}
	if err := l.checkTail(ctx); err != nil {
		l.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if opts.MonthKeys != "" {
		if err := l.openNames(ctx); err != nil {
			l.Close()
			return nil, fmt.Errorf("open %s: %w", filepath.Join(dir, NamesFile), err)
		}
	}
	return l, nil
}

// Close releases the database. What Append returned an index for is safe whether or not Close is called.
func (l *Log) Close() error {
	return errors.Join(l.Reader.Close(), classify(l.w.Close()), l.names.close())
}

// Reader reads a log: the list of its entries, and whether they hold together. It needs no private key.
type Reader struct {
	db     *sql.DB
	origin string
	keys   note.Verifiers
}

// OpenReader opens the database file at path for reading, such as a copy in an auditor's hands. A copy must come with
// its "-wal" file if there is one: the newest entries may be in it. The database is never written, but SQLite may leave
// an empty "-wal" and a "-shm" file beside it; in a folder that cannot be written it does without.
func OpenReader(ctx context.Context, path, origin string, keys note.Verifiers) (*Reader, error) {
	if keys == nil || !validOrigin(origin) {
		return nil, fmt.Errorf("%w: no name and key to check it with", ErrUnusable)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	db, err := openCopy(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &Reader{db: db, origin: origin, keys: keys}, nil
}

// Close releases the database.
func (r *Reader) Close() error { return classify(r.db.Close()) }
