package audit

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"pratique/scanner/report"
)

// NamesFile is the file beside the log that holds, encrypted, what the log does not say.
const NamesFile = "names.db"

const (
	namesID      = 0x5052544e // "PRTN"
	namesVersion = 1
	namesPrefix  = "pratique names v1\x00" // keeps what is sealed and committed to apart from everything else
	monthLayout  = "2006-01"
	// padTo hides the length of a name: a ciphertext says only how many times 64 bytes there are.
	padTo = 64
	// maxSessionNames bounds what is kept of one session's items. A report has at most 10,000 items that are not clean, and a
	// medium with more is refused; paths of more than eight megabytes in all are an attack on the disk.
	maxSessionNames, maxSessionBytes = report.MaxNotClean, 8 << 20
	// maxName is longer than a person's id, a machine's user or a device's serial number (a USB string has at most 126 letters).
	maxName = 1 << 10
)

// ErrErased says that the key of a name is gone: it was erased, or lost.
var ErrErased = errors.New("the names were erased, or their key is lost")

// Named is what an entry is about and does not say.
type Named struct {
	_      struct{} `cbor:",toarray"`
	Person string   `json:"person,omitempty"` // who did it, as the roster or the machine names them
	Serial string   `json:"serial,omitempty"` // of the medium, as its device says
}

// NamedItem is the path of an item that the log keeps a pseudonym of.
type NamedItem struct {
	_      struct{} `cbor:",toarray"`
	Path   string
	Member string
}

// names is the open file. A nil *names keeps nothing.
type names struct {
	db   *sql.DB // one connection; its transactions are immediate
	keys monthKeys

	mu      sync.Mutex
	secrets map[ID]*secret // of sessions that run in this process
}

// secret is one subject's: a session's, or an entry's that belongs to none.
type secret struct {
	seal   cipher.AEAD
	commit []byte
	items  []byte
	files  []byte
}

// newSecret derives what a subject's 32 bytes are used for (HKDF, RFC 5869), so that what is disclosed of one use says nothing
// of another.
func newSecret(raw []byte) (*secret, error) {
	var out [4][]byte
	for i, use := range []string{"seal", "commit", "items", "files"} {
		key, err := hkdf.Key(sha256.New, raw, nil, namesPrefix+use, 32)
		if err != nil {
			return nil, err
		}
		out[i] = key
	}
	seal, err := newSeal(out[0])
	return &secret{seal, out[1], out[2], out[3]}, err
}

// newSeal is AES-256-GCM with a random nonce in front. A key seals at most some ten thousand texts, where 2^32 are allowed
// (NIST SP 800-38D section 8.3).
func newSeal(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// label binds a sealed text to its place.
func label(kind string, subject ID, place int64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(namesPrefix+kind+"\x00"), subject[:]...), uint64(place))
}

// sealText encodes and pads what is sealed. The zeros behind it are known by the CBOR's own end.
func (s *secret) sealText(kind string, subject ID, place int64, v any) (sealed, text []byte, err error) {
	if text, err = encoder.Marshal(v); err != nil {
		return nil, nil, err
	}
	padded := append(bytes.Clone(text), make([]byte, padTo-len(text)%padTo)...)
	return s.seal.Seal(nil, nil, padded, label(kind, subject, place)), text, nil
}

func (s *secret) openText(kind string, subject ID, place int64, sealed []byte, v any) (text []byte, err error) {
	padded, err := s.seal.Open(nil, nil, sealed, label(kind, subject, place))
	if err != nil {
		return nil, fmt.Errorf("%w: a sealed name was changed or moved", ErrForeign)
	}
	rest, err := namesDecoder.UnmarshalFirst(padded, v)
	if err != nil || len(rest) > padTo || len(bytes.Trim(rest, "\x00")) > 0 {
		return nil, fmt.Errorf("%w: a sealed name is malformed", ErrForeign)
	}
	return padded[:len(padded)-len(rest)], nil
}

// commitment is what a leaf says of its names: who has the key, and only they, can tell whether a name is the one.
func (s *secret) commitment(text []byte) Digest {
	mac := hmac.New(sha256.New, s.commit)
	mac.Write([]byte(namesPrefix))
	mac.Write(text)
	return Digest(mac.Sum(nil))
}

// itemKey is the key of a session's item pseudonyms: who holds the station's key alone cannot try names against them, and once
// the session's secret is destroyed nobody can.
func (s *secret) itemKey(station []byte) []byte {
	mac := hmac.New(sha256.New, station)
	mac.Write(s.items)
	return mac.Sum(nil)
}

var namesDecoder = mustNamesMode()

func mustNamesMode() cbor.DecMode {
	mode, err := cbor.DecOptions{IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, MaxNestedLevels: 4,
		UTF8: cbor.UTF8DecodeInvalid}.DecMode() // paths are WTF-8
	if err != nil {
		panic(err)
	}
	return mode
}

func (n *names) close() error {
	if n == nil {
		return nil
	}
	return classify(n.db.Close())
}

// begin makes the secret of a session. A crash after it leaves a secret that nothing was sealed with.
func (n *names) begin(ctx context.Context, session ID, at time.Time) error {
	if n == nil {
		return nil
	}
	return n.update(ctx, func(tx *sql.Tx) error {
		s, err := n.makeSecret(ctx, tx, session, at)
		if err == nil {
			n.mu.Lock()
			n.secrets[session] = s
			n.mu.Unlock()
		}
		return err
	})
}

// end forgets a session's secret in this process.
func (n *names) end(session ID) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.secrets, session)
}

// of returns the secret of a session that this process began; nil if there is none.
func (n *names) of(session ID) *secret {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.secrets[session]
}

func (n *names) update(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := n.db.BeginTx(ctx, nil)
	if err != nil {
		return namesError(classify(err))
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return namesError(err)
	}
	return namesError(classify(tx.Commit()))
}

func namesError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", NamesFile, err)
}

// makeSecret draws a subject's secret and wraps it with the key of the month. Which key that is, the table says, inside the
// transaction: so none is used that an erasure is about to destroy.
func (n *names) makeSecret(ctx context.Context, tx *sql.Tx, subject ID, at time.Time) (*secret, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	month := at.UTC().Format(monthLayout)
	generation, key, err := n.monthKey(ctx, tx, month)
	if err != nil {
		return nil, err
	}
	wrapped, err := wrap(key, raw, subject, month, generation)
	if err != nil {
		return nil, err
	}
	// What is there already is of a session whose first entry the log did not take.
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO secret(subject, month, generation, wrapped) VALUES(?, ?, ?, ?)", subject[:], month, generation, wrapped)
	if err != nil {
		return nil, classify(err)
	}
	return newSecret(raw)
}

// monthKey returns the key that new secrets of a month are wrapped with. A key file that is gone is not made again under its
// name: what it wrapped is lost, and that must not look like damage.
func (n *names) monthKey(ctx context.Context, tx *sql.Tx, month string) (generation int64, key []byte, err error) {
	err = tx.QueryRowContext(ctx, "SELECT generation FROM month WHERE month = ?", month).Scan(&generation)
	if errors.Is(err, sql.ErrNoRows) {
		generation = 1
		if _, err := tx.ExecContext(ctx, "INSERT INTO month(month, generation) VALUES(?, 1)", month); err != nil {
			return 0, nil, classify(err)
		}
	} else if err != nil {
		return 0, nil, classify(err)
	}
	var used bool
	err = tx.QueryRowContext(ctx, "SELECT EXISTS(SELECT 1 FROM secret WHERE month = ? AND generation = ?)", month, generation).Scan(&used)
	if err != nil {
		return 0, nil, classify(err)
	}
	if used {
		if key, err = n.keys.read(month, generation); err == nil || !errors.Is(err, ErrErased) {
			return generation, key, err
		}
		generation++
		if _, err := tx.ExecContext(ctx, "UPDATE month SET generation = ? WHERE month = ?", generation, month); err != nil {
			return 0, nil, classify(err)
		}
	}
	key, err = n.keys.make(month, generation)
	return generation, key, err
}

func wrapLabel(subject ID, month string, generation int64) []byte {
	return append(label("key "+month, subject, generation), 0)
}

func wrap(key, raw []byte, subject ID, month string, generation int64) ([]byte, error) {
	seal, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	return seal.Seal(nil, nil, raw, wrapLabel(subject, month, generation)), nil
}

func unwrap(key, wrapped []byte, subject ID, month string, generation int64) ([]byte, error) {
	seal, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	raw, err := seal.Open(nil, nil, wrapped, wrapLabel(subject, month, generation))
	if err != nil {
		return nil, fmt.Errorf("%w: it belongs to another key", ErrErased)
	}
	return raw, nil
}

// secretOf reads a subject's secret.
func (n *names) secretOf(ctx context.Context, q querier, subject ID) (*secret, error) {
	var month string
	var generation int64
	var wrapped []byte
	err := q.QueryRowContext(ctx, "SELECT month, generation, wrapped FROM secret WHERE subject = ?", subject[:]).Scan(&month, &generation, &wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrErased
	}
	if err != nil {
		return nil, classify(err)
	}
	key, err := n.keys.read(month, generation)
	if err != nil {
		return nil, err
	}
	raw, err := unwrap(key, wrapped, subject, month, generation)
	if err != nil {
		return nil, err
	}
	return newSecret(raw)
}

// FileKey returns the 32 bytes that a session's files are sealed with outside the log, so that an erasure of its names closes them
// too. It is ErrErased if there is no such key any more. It asks the table, and not what this process remembers of the session:
// what is sealed after an erasure could never be opened.
func (l *Log) FileKey(ctx context.Context, session ID) ([]byte, error) {
	if l.names == nil || session == (ID{}) {
		return nil, fmt.Errorf("%w: no names are kept of it", ErrErased)
	}
	s, err := l.names.secretOf(ctx, l.names.db, session)
	if err != nil {
		return nil, namesError(err)
	}
	return s.files, nil
}

// putEntry seals what the entry at idx is about, and returns what its leaf says of it. It is called while the log is locked for
// that entry: what is there under this index was left by a writer whose entry never came.
func (n *names) putEntry(ctx context.Context, idx int64, session ID, at time.Time, named Named) (commitment Digest, err error) {
	if len(named.Person) > maxName || len(named.Serial) > maxName {
		return commitment, fmt.Errorf("a name of more than %d bytes", maxName)
	}
	err = n.update(ctx, func(tx *sql.Tx) error {
		subject, s := session, n.of(session)
		var err error
		if s == nil && session != (ID{}) { // begun by another process, which may have died
			if s, err = n.secretOf(ctx, tx, session); errors.Is(err, ErrErased) {
				s, err = nil, nil
			}
		}
		if s == nil && err == nil {
			if _, err = rand.Read(subject[:]); err == nil {
				s, err = n.makeSecret(ctx, tx, subject, at)
			}
		}
		if err != nil {
			return err
		}
		sealed, text, err := s.sealText("entry", subject, idx, named)
		if err != nil {
			return err
		}
		commitment = s.commitment(text)
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO entry(idx, subject, text) VALUES(?, ?, ?)", idx, subject[:], sealed)
		return classify(err)
	})
	return commitment, err
}

// sealedItem is an item's name on its way into the table.
type sealedItem struct {
	seq  int64
	text []byte
}

// putItems writes names of a session's items.
func (n *names) putItems(ctx context.Context, session ID, items []sealedItem) error {
	if n == nil || len(items) == 0 {
		return nil
	}
	return n.update(ctx, func(tx *sql.Tx) error {
		quick := context.WithoutCancel(ctx)
		for _, it := range items {
			if _, err := tx.ExecContext(quick, "INSERT INTO item(subject, seq, text) VALUES(?, ?, ?)", session[:], it.seq, it.text); err != nil {
				return classify(err)
			}
		}
		return nil
	})
}

// validMonth reports whether a text is a month as the key files are named.
func validMonth(s string) bool {
	at, err := time.Parse(monthLayout, s)
	return err == nil && at.Format(monthLayout) == s
}
